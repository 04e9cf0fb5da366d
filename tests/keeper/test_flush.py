"""addrsvc.keeper.flush in namespaces of the running kernel."""

import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from errno import EAGAIN, EISDIR, EPERM
from pathlib import Path

import pytest

from addrsvc.errors import KernelError
from addrsvc.keeper import flush
from addrsvc.keeper.dump import Route
from addrsvc.keeper.flush import fast_flush, finish
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_UP, LOOPBACK, newaddr, newroute
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, Message, RouteMsg, Sysctl
from addrsvc.pytest_plugin.waiting import wait_until
from addrsvc.uapi import (
    AF_INET6,
    IFA_F_NODAD,
    INFINITY_LIFE_TIME,
    NLM_F_CREATE,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_NEWADDR,
    RTN_LOCAL,
    RTN_UNICAST,
    RTPROT_STATIC,
)
from tests.keeper.used import SOON

OURS = [(bytes.fromhex("20010db8") + number.to_bytes(12), 128) for number in range(1, 301)]
KEPT, DROPPED = OURS[:10], OURS[10:]
V4 = bytes((192, 0, 2, 1))


def theirs(number: int) -> bytes:
    return bytes.fromhex("fd00") + number.to_bytes(14)


@pytest.fixture
def requests(cap_sys_admin: None, netns: NetNs) -> Iterator[Requests]:
    with Requests.to(netns.fileno()) as requests:
        assert requests.ask([LO_UP, *(newaddr(address) for address, _ in OURS), newaddr(V4)]) == []
        yield requests


def everything(kernel: RtnlKernel) -> list[tuple[object, ...]]:
    """Addresses and routes, without times of day; nothing while an address is not in use yet."""
    dump = kernel.dump()
    routed = [msg.dst for msg in dump if isinstance(msg, RouteMsg) and msg.table == RT_TABLE_LOCAL]
    used = [msg.local or msg.address for msg in dump if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR]
    if any(address not in routed for address in used if address and len(address) == 16):
        return []
    return sorted(map(essence, dump), key=repr)


def essence(msg: Message) -> tuple[object, ...]:
    match msg:
        case AddrMsg():
            assert msg.cacheinfo is not None
            times = (msg.cacheinfo.ifa_prefered, msg.cacheinfo.ifa_valid)
            return (
                "addr", msg.address, msg.local, msg.ifa_prefixlen, msg.flags, msg.proto, msg.ifa_scope, times,
                msg.rt_priority,
            )  # fmt: skip
        case RouteMsg():
            return ("route", msg.dst, msg.rtm_dst_len, msg.table, msg.rtm_protocol, msg.rtm_type, msg.priority, msg.oif)
    return ("other", None)


THEIRS: tuple[AddrMsg | RouteMsg, ...] = (
    AddrMsg(ifa_prefixlen=64, ifa_index=1, local=theirs(1), flags=IFA_F_NODAD),
    AddrMsg(ifa_prefixlen=128, ifa_index=1, local=theirs(2), address=theirs(3), flags=IFA_F_NODAD, proto=9),
    AddrMsg(
        ifa_prefixlen=128, ifa_index=1, local=theirs(4), flags=IFA_F_NODAD, rt_priority=3,
        cacheinfo=IfaCacheinfo(0, INFINITY_LIFE_TIME),
    ),
    RouteMsg(
        nlmsg_flags=NLM_F_CREATE, rtm_family=AF_INET6, dst=theirs(1 << 80), rtm_dst_len=64, oif=1,
        rtm_table=RT_TABLE_MAIN, rtm_protocol=RTPROT_STATIC, rtm_type=RTN_UNICAST,
    ),
    RouteMsg(
        nlmsg_flags=NLM_F_CREATE, rtm_family=AF_INET6, dst=theirs(1 << 81), rtm_dst_len=64, oif=1, priority=7,
        rtm_table=RT_TABLE_LOCAL, rtm_protocol=RTPROT_STATIC, rtm_type=RTN_LOCAL,
    ),
)  # fmt: skip


def test_what_is_not_dropped_is_as_before(requests: Requests, netns: NetNs) -> None:
    prefixes = [Route(theirs(1 << 90), 40, 0), Route(theirs(1 << 91), 40, 6)]
    with RtnlKernel(netns) as kernel:
        for msg in THEIRS:
            kernel.request(msg)
        before = wait_until(kernel, lambda: everything(kernel), timeout=SOON)
        assert requests.ask([newroute(prefix, length, metric=metric) for prefix, length, metric in prefixes]) == []

        flushed = fast_flush(requests, netns.fileno(), DROPPED, prefixes)

        gone = {address for address, _ in DROPPED}
        assert flushed.refusals == []
        remaining = [item for item in before if item[1] not in gone]
        assert wait_until(kernel, lambda: everything(kernel) == remaining, timeout=SOON)


def test_prefixes_of_ours_stay_too(requests: Requests, netns: NetNs) -> None:
    requests.ask([newroute(theirs(0), 64, metric=5), newroute(theirs(0), 64)])
    before = requests.routes()

    fast_flush(requests, netns.fileno(), OURS)

    assert requests.routes() == before


def test_the_newest_is_still_the_first(requests: Requests, netns: NetNs) -> None:
    before = [key for key in requests.addresses() if key not in DROPPED]

    fast_flush(requests, netns.fileno(), DROPPED)

    assert list(requests.addresses()) == before


@pytest.mark.parametrize("dropped", [[], [LOOPBACK]], ids=["it was not there", "it is dropped"])
def test_a_loopback_address_that_nobody_wants_does_not_stay(
    requests: Requests, netns: NetNs, dropped: list[tuple[bytes, int]]
) -> None:
    """The kernel makes it whenever IPv6 is turned on."""
    if not dropped:
        requests.ask([DELETE_LOOPBACK])

    fast_flush(requests, netns.fileno(), OURS + dropped)

    assert list(requests.addresses()) == [(bytes((127, 0, 0, 1)), 8), (V4, 32)]


def test_where_ipv6_is_off_it_stays_off(requests: Requests, netns: NetNs) -> None:
    with RtnlKernel(netns) as kernel:
        kernel.request(Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"))

    assert fast_flush(requests, netns.fileno(), OURS) == ([], [])

    assert requests.lo().disable_ipv6 == 1


# --- killed in the middle of it ---------------------------------------------------------------------------------------


class Shelf:
    """A safe place that outlives a process forked by the test, whose descriptors the test gets."""

    def __init__(self) -> None:
        self.here, self._there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def keep(self, label: str, fds: Sequence[int]) -> Callable[[], object]:
        socket.send_fds(self._there, [label.encode()], list(fds))
        return lambda: self._there.send(b"forget")

    def close(self) -> None:
        self.here.close()
        self._there.close()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    shelf.close()


def flush_and_be_killed(netns: NetNs, dropped: list[tuple[bytes, int]], shelf: Shelf, before: bytes) -> list[int]:
    """Let another process flush, and be killed before it writes this; gives what it has left."""
    child = os.fork()
    if not child:
        write = os.pwrite

        def deadly(fd: int, data: bytes, offset: int) -> int:
            if data == before:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(fd, data, offset)

        os.pwrite = deadly  # type: ignore[assignment]
        try:
            with Requests.to(netns.fileno()) as requests:
                fast_flush(requests, netns.fileno(), dropped, label="blue", safe=shelf)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    label, fds, _, _ = socket.recv_fds(shelf.here, 1024, 8)
    assert (label, len(fds)) == (b"blue", 3)
    return fds[::-1]  # in any order


@pytest.mark.parametrize("before", [b"1", b"0"], ids=["before it is off", "while it is off"])
def test_what_a_process_was_killed_in_is_finished_by_the_next(
    requests: Requests, netns: NetNs, shelf: Shelf, before: bytes
) -> None:
    with RtnlKernel(netns) as kernel:
        for msg in THEIRS:
            kernel.request(msg)
        was = wait_until(kernel, lambda: everything(kernel), timeout=SOON)
        left = flush_and_be_killed(netns, DROPPED, shelf, before)
        assert requests.lo().disable_ipv6 == (before == b"0")

        finished = finish(left)

        assert finished is not None
        assert (finished.label, finished.was_off, finished.refusals) == ("blue", before == b"0", [])
        assert requests.lo().disable_ipv6 == 0
        gone = {address for address, _ in DROPPED} if finished.was_off else ()
        remaining = [item for item in was if item[1] not in gone]
        assert wait_until(kernel, lambda: everything(kernel) == remaining, timeout=SOON)


def test_a_loopback_address_that_nobody_wanted_does_not_come_with_finishing(
    requests: Requests, netns: NetNs, shelf: Shelf
) -> None:
    requests.ask([DELETE_LOOPBACK])
    left = flush_and_be_killed(netns, OURS, shelf, b"0")

    assert finish(left) is not None
    assert not requests.has(LOOPBACK[0])


def test_nothing_is_left_of_one_that_has_ended_well(requests: Requests, netns: NetNs, shelf: Shelf) -> None:
    before = len(os.listdir("/proc/self/fd"))
    fast_flush(requests, netns.fileno(), OURS, safe=shelf)
    assert len(os.listdir("/proc/self/fd")) == before

    _, fds, _, _ = socket.recv_fds(shelf.here, 1024, 8)
    for fd in fds:
        os.close(fd)
    assert shelf.here.recv(1024) == b"forget"


def test_what_is_not_all_there_is_not_finished(netns: NetNs) -> None:
    one, other = os.pipe()

    assert finish([one, other]) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(one)


def test_what_cannot_be_left_is_not_begun(requests: Requests, netns: NetNs) -> None:
    class Full:
        def keep(self, label: str, fds: Sequence[int]) -> Callable[[], object]:
            raise KernelError(EAGAIN)

    before = requests.addresses()
    with pytest.raises(KernelError):
        fast_flush(requests, netns.fileno(), OURS, safe=Full())
    assert requests.addresses() == before


def test_where_settings_cannot_be_written_nothing_is_done(
    requests: Requests, netns: NetNs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a unit with ProtectKernelTunables=."""
    before = requests.addresses()
    monkeypatch.setattr(flush, "_SWITCH", str(tmp_path))

    with pytest.raises(KernelError, match="IPv6 cannot be turned off on lo: ") as caught:
        fast_flush(requests, netns.fileno(), OURS)

    assert caught.value.errno == EISDIR
    assert requests.addresses() == before


def test_where_the_setting_is_refused_it_stays_on(
    requests: Requests, netns: NetNs, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = requests.addresses(), os.pwrite

    def refusing(fd: int, data: bytes, offset: int) -> int:
        if data == b"1":
            raise PermissionError(EPERM, os.strerror(EPERM))
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", refusing)
    with pytest.raises(KernelError, match="IPv6 cannot be turned off on lo: Operation not permitted"):
        fast_flush(requests, netns.fileno(), OURS)

    assert requests.addresses() == before
    assert requests.lo().disable_ipv6 == 0
