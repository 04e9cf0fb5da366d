"""addrsvc.keeper.rtnl in namespaces of the running kernel."""

import os
import socket
from collections.abc import Callable, Iterator
from errno import EADDRNOTAVAIL, EBADF, ECONNREFUSED, EEXIST, EINTR, EINVAL, ENOBUFS, ESRCH
from functools import partial
from typing import cast

import pytest

from addrsvc.errors import KernelError
from addrsvc.keeper.dump import Addresses, LoState, Present, Route, read_addresses
from addrsvc.keeper.inside import inside
from addrsvc.keeper.messages import (
    DELETE_LOOPBACK,
    LO_DOWN,
    LO_UP,
    LOOPBACK,
    RESTORE_LOOPBACK,
    deladdr,
    delroute,
    newaddr,
    newroute,
)
from addrsvc.keeper.rtnl import DELETES_AT_ONCE, Refusal, Requests, open_rtnl, ready
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import AddrMsg, LinkInfo, LinkMsg, RouteMsg, Sysctl
from addrsvc.pytest_plugin.namespaces import create
from addrsvc.pytest_plugin.waiting import wait_until
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_F_DEPRECATED,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFAPROT_ADDRSVC,
    IFAPROT_KERNEL_LO,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NLM_F_CREATE,
    RT_SCOPE_HOST,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_NEWADDR,
    RTN_LOCAL,
    RTNLGRP_IPV6_IFADDR,
    RTPROT_STATIC,
)
from tests.keeper.used import SOON, wait_for_routes
from tests.mirror.test_netns import run_without_privilege

IP_FREEBIND, IPV6_FREEBIND = 15, 78
QUIET = IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_PERMANENT
LOCALHOST = (bytes((127, 0, 0, 1)), 8)


def v6(number: int) -> bytes:
    return bytes.fromhex("20010db8") + number.to_bytes(12)


def v4(number: int) -> bytes:
    return bytes((10, 9)) + number.to_bytes(2)


@pytest.fixture
def requests(netns: NetNs) -> Iterator[Requests]:
    """A socket in a namespace whose lo is up."""
    with Requests.to(netns.fileno()) as requests:
        assert requests.ask([LO_UP]) == []
        yield requests


def test_lo_has_what_the_kernel_gave_it(requests: Requests) -> None:
    assert requests.addresses() == {
        LOOPBACK: Present(QUIET & ~IFA_F_NODAD & ~IFA_F_NOPREFIXROUTE, IFAPROT_KERNEL_LO, RT_SCOPE_HOST),
        LOCALHOST: Present(IFA_F_PERMANENT, 0, RT_SCOPE_HOST),
    }


def test_lo_itself(requests: Requests, netns: NetNs) -> None:
    state = requests.lo()

    assert (state.flags & IFF_UP, state.mtu, state.disable_ipv6) == (IFF_UP, 65536, 0)
    with RtnlKernel(netns) as kernel:
        kernel.request(Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"))
        assert requests.lo().disable_ipv6 == 1
        kernel.request(LinkMsg(ifi_index=1, mtu=1279))
    requests.ask([LO_DOWN])
    assert requests.lo() == LoState(requests.lo().flags & ~IFF_UP, 1279, 1)


def test_the_loopback_address_comes_back_as_the_kernel_made_it(requests: Requests, netns: NetNs) -> None:
    with RtnlKernel(netns) as kernel:
        before = kernel.dump()
        assert requests.ask([DELETE_LOOPBACK]) == []
        assert requests.present(LOOPBACK[0]) is None

        assert requests.ask([RESTORE_LOOPBACK]) == []

        assert requests.present(LOOPBACK[0]) == Present(QUIET, IFAPROT_KERNEL_LO, RT_SCOPE_HOST)
        wait_until(kernel, lambda: routes_of(kernel.dump()) == routes_of(before), timeout=SOON)


def routes_of(dump: tuple[object, ...]) -> list[tuple[object, ...]]:
    routes = [msg for msg in dump if isinstance(msg, RouteMsg)]
    return [(msg.table, msg.rtm_type, msg.dst, msg.priority, msg.oif, msg.rtm_protocol) for msg in routes]


@pytest.mark.parametrize(
    ("asked", "key", "present"),
    [
        (newaddr(v6(1)), (v6(1), 128), Present(QUIET, IFAPROT_ADDRSVC)),
        (newaddr(v4(1)), (v4(1), 32), Present(IFA_F_PERMANENT, IFAPROT_ADDRSVC)),
        (
            newaddr(v6(1), metric=7),
            (v6(1), 128),
            Present(QUIET & ~IFA_F_NOPREFIXROUTE, IFAPROT_ADDRSVC, metric=7),
        ),
        (newaddr(v4(1), metric=7), (v4(1), 32), Present(IFA_F_PERMANENT, IFAPROT_ADDRSVC, metric=7)),
        (
            newaddr(v6(1), preferred_lft=0),
            (v6(1), 128),
            Present(QUIET | IFA_F_DEPRECATED, IFAPROT_ADDRSVC, preferred_lft=0),
        ),
        (
            newaddr(v4(1), preferred_lft=0),
            (v4(1), 32),
            Present(IFA_F_PERMANENT | IFA_F_DEPRECATED, IFAPROT_ADDRSVC, preferred_lft=0),
        ),
        (newaddr(v6(1), proto=0), (v6(1), 128), Present(QUIET)),
    ],
    ids=["IPv6", "IPv4", "metric", "IPv4 metric", "deprecated", "IPv4 deprecated", "unmarked"],
)
def test_an_address_is_there_as_it_was_asked_for(
    requests: Requests, asked: bytes, key: tuple[bytes, int], present: Present
) -> None:
    assert requests.ask([asked]) == []

    assert requests.addresses()[key] == requests.present(key[0]) == present
    assert requests.ask([deladdr(*key)]) == []
    assert not requests.has(key[0])


def test_a_metric_is_that_of_a_route_in_the_main_table(requests: Requests, netns: NetNs) -> None:
    requests.ask([newaddr(v6(1)), newaddr(v6(2), metric=77)])

    with RtnlKernel(netns) as kernel:
        main = [msg for msg in kernel.dump() if isinstance(msg, RouteMsg) and msg.table == RT_TABLE_MAIN]
    assert [(msg.dst, msg.priority) for msg in main] == [(v6(2), 77)]


def test_an_address_is_deprecated_and_preferred_again(requests: Requests) -> None:
    requests.ask([newaddr(v6(1)), newaddr(v4(1))])

    assert requests.ask([newaddr(a, preferred_lft=0, replace=True) for a in (v6(1), v4(1))]) == []
    assert [requests.addresses()[key].preferred_lft for key in ((v6(1), 128), (v4(1), 32))] == [0, 0]

    assert requests.ask([newaddr(a, preferred_lft=INFINITY_LIFE_TIME, replace=True) for a in (v6(1), v4(1))]) == []
    assert requests.addresses()[v6(1), 128] == Present(QUIET, IFAPROT_ADDRSVC)
    assert requests.addresses()[v4(1), 32] == Present(IFA_F_PERMANENT, IFAPROT_ADDRSVC)


@pytest.mark.parametrize("make", [v6, v4])
def test_refusals_are_told_by_their_place_and_the_rest_is_done(
    requests: Requests, make: Callable[[int], bytes]
) -> None:
    requests.ask([newaddr(make(number)) for number in (1, 300, 500)])

    refusals = requests.ask([newaddr(make(number)) for number in range(1, 501)])

    assert [(refusal.nth, refusal.errno) for refusal in refusals] == [(0, EEXIST), (299, EEXIST), (499, EEXIST)]
    assert {key[0] for key in requests.addresses()} >= {make(number) for number in range(1, 501)}


def test_every_request_of_many_may_be_refused(requests: Requests) -> None:
    """The answers to one datagram fit into the buffer, and the next one begins with an empty one."""
    refusals = requests.ask([deladdr(v6(number)) for number in range(1000)])

    assert [refusal.nth for refusal in refusals] == list(range(1000))
    assert {(refusal.errno, refusal.extack) for refusal in refusals} == {(EADDRNOTAVAIL, "ipv6: address not found")}


def test_an_answer_that_was_lost_counts_as_a_refusal(requests: Requests) -> None:
    refusals = requests.ask([deladdr(v6(number)) for number in range(1000)], at_once=1000)

    assert [refusal.nth for refusal in refusals] == list(range(1000))
    assert {refusal.errno for refusal in refusals} == {EADDRNOTAVAIL, ENOBUFS}
    assert requests.ask([newaddr(v6(1))]) == []
    assert requests.has(v6(1))


def test_what_cannot_be_sent_counts_as_a_refusal(requests: Requests) -> None:
    requests.close()

    assert requests.ask([newaddr(v6(1)), newaddr(v6(2))], at_once=1) == [Refusal(0, EBADF), Refusal(1, EBADF)]


def test_many_addresses_come_and_go(requests: Requests) -> None:
    keys = [(make(number), length) for make, length in ((v6, 128), (v4, 32)) for number in range(1, 1201)]
    kept: Addresses = requests.addresses()

    assert requests.ask([newaddr(address) for address, _ in keys]) == []
    assert requests.addresses() == kept | {
        key: Present(QUIET if len(key[0]) == 16 else IFA_F_PERMANENT, IFAPROT_ADDRSVC) for key in keys
    }
    assert requests.ask([deladdr(*key) for key in reversed(keys)], at_once=DELETES_AT_ONCE) == []
    assert requests.addresses() == kept


def test_addresses_of_all_kinds_are_read_from_one_dump(requests: Requests, netns: NetNs) -> None:
    """Runs of messages that are alike, broken by others: by length, by attributes, by values."""
    kinds: list[Callable[[bytes], bytes]] = [
        newaddr,
        partial(newaddr, metric=5),
        partial(newaddr, proto=0),
        newaddr,
        partial(newaddr, preferred_lft=0),
        partial(newaddr, proto=9, metric=6),
        newaddr,
    ]
    assert requests.ask([kinds[number % 7](make(number)) for make in (v6, v4) for number in range(1, 200)]) == []
    with RtnlKernel(netns) as kernel:
        kernel.request(AddrMsg(ifa_prefixlen=64, ifa_index=1, local=v6(999), address=v6(1000), flags=IFA_F_NODAD))

        assert requests.addresses() == slowly_read(kernel)


def slowly_read(kernel: RtnlKernel) -> Addresses:
    """The addresses of lo, by the codec."""
    found: Addresses = {}
    for msg in kernel.dump():
        if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR:
            assert msg.cacheinfo is not None
            flags, preferred = msg.flags or 0, msg.cacheinfo.ifa_prefered
            found[msg.local or msg.address or b"", msg.ifa_prefixlen] = Present(
                flags,
                msg.proto or 0,
                msg.ifa_scope,
                0 if flags & IFA_F_DEPRECATED else preferred,
                msg.cacheinfo.ifa_valid,
                msg.rt_priority or 0,
            )
    return found


def test_addresses_of_other_devices_are_not_lo_s(requests: Requests, netns: NetNs) -> None:
    with RtnlKernel(netns) as kernel:
        kernel.request(LinkMsg(nlmsg_flags=NLM_F_CREATE, ifname="other", linkinfo=LinkInfo(kind="veth")))
        other = kernel.ifindex("other")
        kernel.request(AddrMsg(ifa_prefixlen=128, ifa_index=other, local=v6(1)))
        kernel.request(AddrMsg(ifa_family=AF_INET, ifa_prefixlen=32, ifa_index=other, local=v4(1)))

    assert list(requests.addresses()) == [LOOPBACK, LOCALHOST]
    assert not requests.has(v6(1))
    assert not requests.has(v4(1))


def test_a_socket_that_is_not_strict_reads_the_same(requests: Requests, netns: NetNs) -> None:
    """As before Linux 4.20, where a dump is of all devices and of all routes."""
    assert requests.ask([newaddr(v6(1)), newaddr(v4(1)), newroute(v6(1 << 64), 64)]) == []
    sock = open_rtnl(netns.fileno())
    with Requests(sock) as liberal:
        assert liberal.addresses() == requests.addresses()
        assert liberal.routes() == requests.routes()
        assert liberal.lo() == requests.lo()


def test_local_routes_answer_for_whole_prefixes(requests: Requests, netns: NetNs) -> None:
    routes = [Route(v6(1 << 64), 64, 0), Route(v6(1 << 65), 64, 9), Route(v6(1 << 65), 64, 0), Route(v4(0), 24, 3)]
    assert requests.ask([newroute(prefix, length, metric=metric) for prefix, length, metric in routes]) == []

    assert sorted(requests.routes()) == sorted(routes)
    assert inside(netns.fileno(), lambda: reaches(socket.AF_INET6, "2001:db8:0:1::5"))
    assert inside(netns.fileno(), lambda: reaches(socket.AF_INET, "10.9.0.77"))

    assert requests.ask([delroute(*routes[2][:2])]) == []
    assert sorted(requests.routes()) == sorted(routes[:2] + routes[3:])
    assert requests.ask([delroute(prefix, length, metric=metric) for prefix, length, metric in routes]) == [
        Refusal(2, ESRCH)
    ]


def test_only_local_routes_of_ours_are_deleted(requests: Requests, netns: NetNs) -> None:
    with RtnlKernel(netns) as kernel:
        kernel.request(
            RouteMsg(
                nlmsg_flags=NLM_F_CREATE, rtm_family=AF_INET6, dst=v6(0), rtm_dst_len=64, oif=1,
                rtm_table=RT_TABLE_LOCAL, rtm_type=RTN_LOCAL, rtm_protocol=RTPROT_STATIC,
            )
        )  # fmt: skip

    assert requests.routes() == []
    assert [refusal.errno for refusal in requests.ask([delroute(v6(0), 64)])] == [ESRCH]


def reaches(family: int, address: str) -> bool:
    """Whether what is sent to an address arrives at who is bound to it; called inside the namespace."""
    level = socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP
    option = IPV6_FREEBIND if family == socket.AF_INET6 else IP_FREEBIND
    with socket.socket(family, socket.SOCK_DGRAM) as receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
        receiver.settimeout(30)
        receiver.setsockopt(level, option, 1)
        receiver.bind((address, 0))
        sender.sendto(b"hello", receiver.getsockname())
        return receiver.recv(100) == b"hello"


# --- sockets ----------------------------------------------------------------------------------------------------------


def test_a_socket_belongs_to_the_namespace_and_works_from_anywhere(netns: NetNs) -> None:
    with create("another") as other, Requests.to(netns.fileno()) as here, Requests.to(other.fileno()) as there:
        here.ask([LO_UP])

        assert here.lo().flags & IFF_UP
        assert not there.lo().flags & IFF_UP


def test_without_a_descriptor_it_is_the_callers_own(netns: NetNs) -> None:
    with run_in(netns, Requests.to) as here, Requests.to(netns.fileno()) as same:
        here.ask([LO_UP, newaddr(v6(1))])
        assert same.has(v6(1))


def test_a_listener_is_prepared_before_it_can_hear(netns: NetNs) -> None:
    prepared: list[tuple[int, int]] = []

    def prepare(sock: socket.socket) -> None:
        prepared.append(sock.getsockname())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    listener = open_rtnl(netns.fileno(), groups=[RTNLGRP_IPV6_IFADDR], prepare=prepare)
    with listener, Requests.to(netns.fileno()) as requests:
        assert prepared == [(0, 0)]
        with pytest.raises(BlockingIOError):
            listener.recv(1)
        requests.ask([LO_UP])
        found: Addresses = {}
        assert read_addresses(listener.recv(1 << 16), found)
        assert list(found) == [LOOPBACK]


def test_nobody_but_the_kernel_can_send_to_it(netns: NetNs) -> None:
    with open_rtnl(netns.fileno()) as sock, forger(netns) as other:
        portid, _ = sock.getsockname()
        with pytest.raises(OSError, match="refused") as caught:
            other.sendto(RESTORE_LOOPBACK, (portid, 0))
        assert caught.value.errno == ECONNREFUSED


def forger(netns: NetNs) -> socket.socket:
    return run_in(netns, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))


def test_a_message_that_is_none_is_refused_and_those_behind_it_are_served(requests: Requests) -> None:
    nonsense = newaddr(v6(1))[:24].ljust(len(newaddr(v6(1))), b"\xff")

    refusals = requests.ask([newaddr(v6(1)), nonsense, newaddr(v6(2))])

    assert [(refusal.nth, refusal.errno) for refusal in refusals] == [(1, EINVAL)]
    assert requests.has(v6(1))
    assert requests.has(v6(2))


# --- a dump that is disturbed -----------------------------------------------------------------------------------------


class Disturbed:
    """A socket on which something happens in the midst of some dumps: `meddle`, between datagrams."""

    def __init__(self, sock: socket.socket, meddle: Callable[[], object], times: int) -> None:
        self.sock, self.meddle, self.times, self.sent = sock, meddle, times, 0

    def send(self, data: bytes) -> int:
        self.sent += 1
        return self.sock.send(data)

    def recv(self, size: int) -> bytes:
        data = self.sock.recv(size)
        if self.sent <= self.times and len(data) > 1000:
            self.meddle()
        return data

    def close(self) -> None:
        self.sock.close()


def test_a_dump_that_was_disturbed_is_repeated(requests: Requests, netns: NetNs) -> None:
    assert requests.ask([newaddr(v6(number)) for number in range(1000)]) == []
    wait_for_routes(netns, *(v6(number) for number in range(1000)))  # the worker disturbs dumps, too
    going = iter(deladdr(v6(number)) for number in range(1000))
    disturbed = Disturbed(open_rtnl(netns.fileno()), lambda: requests.ask([next(going)]), times=2)
    with Requests(cast(socket.socket, disturbed)) as disturbable:
        assert disturbable.addresses() == requests.addresses()
    assert disturbed.sent == 4  # two disturbed ones, a good one, and one for IPv4


def test_a_dump_that_is_always_disturbed_is_given_up(requests: Requests, netns: NetNs) -> None:
    assert requests.ask([newaddr(v6(number)) for number in range(1000)]) == []
    going = iter(deladdr(v6(number)) for number in range(1000))
    disturbed = Disturbed(open_rtnl(netns.fileno()), lambda: requests.ask([next(going)]), times=1 << 30)
    with Requests(cast(socket.socket, disturbed)) as disturbable, pytest.raises(KernelError, match="faster") as caught:
        disturbable.addresses()
    assert caught.value.errno == EINTR


ROOTLESS = """
from addrsvc.keeper.messages import LO_UP, newaddr
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import create_rootless

with create_rootless("mine") as netns, Requests.to(netns.fileno()) as requests:
    print(requests.ask([LO_UP, newaddr(bytes(range(16)))]), [address.hex() for address, _ in requests.addresses()])
"""


def test_without_privilege_namespaces_of_ones_own_are_served_alike() -> None:
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    done = run_without_privilege([] if os.geteuid() else words, ROOTLESS)

    addresses = [bytes(range(16)).hex(), LOOPBACK[0].hex(), LOCALHOST[0].hex()]
    assert (done.stderr, done.stdout) == ("", f"[] {addresses}\n")


def test_what_was_sent_is_answered_whatever_is_asked_meanwhile(requests: Requests) -> None:
    errnos = []
    for _ in range(2):
        requests.send(ready(newaddr(v6(1))))
        assert requests.has(v6(1))
        assert [refusal.errno for refusal in requests.ask([newaddr(v6(1))])] == [EEXIST]
        refusal = requests.answer()
        errnos.append(refusal and refusal.errno)
    assert errnos == [None, EEXIST]
