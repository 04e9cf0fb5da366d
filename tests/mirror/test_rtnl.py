"""addrsvc.mirror.rtnl: the port on a namespace of the running kernel."""

import os
import socket
import subprocess
import sys
from errno import EADDRNOTAVAIL, EEXIST, EINVAL, ENODEV, ENOENT
from operator import attrgetter
from pathlib import Path

import pytest

from addrsvc.errors import ControlError, KernelError
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.mirror.rtnl import MessagesLost, RtnlKernel
from addrsvc.netlink.messages import (
    AddrMsg,
    IfaCacheinfo,
    Inet6LinkInfo,
    LinkMsg,
    NetconfMsg,
    RouteMsg,
    RtaCacheinfo,
    Sysctl,
)
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFF_LOOPBACK,
    IFF_UP,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_SCOPE_HOST,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_DELADDR,
    RTM_GETMULTICAST,
    RTM_NEWADDR,
    RTN_LOCAL,
)

LOOPBACK = socket.inet_pton(socket.AF_INET6, "::1")
DOC1 = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
UP = LinkMsg(ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP)


def links(kernel: RtnlKernel) -> list[LinkMsg]:
    return [msg for msg in kernel.dump() if isinstance(msg, LinkMsg)]


def addresses(kernel: RtnlKernel) -> list[AddrMsg]:
    return [msg for msg in kernel.dump() if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR]


def routes(kernel: RtnlKernel) -> list[RouteMsg]:
    return [msg for msg in kernel.dump() if isinstance(msg, RouteMsg)]


def settled(kernel: RtnlKernel) -> None:
    with kernel.watch() as watch:
        list(watch)


def test_a_fresh_namespace_dumps_its_multicast_memberships_as_the_kernel_says_them(rtnl: RtnlKernel) -> None:
    groups = [msg for msg in rtnl.dump() if isinstance(msg, AddrMsg)]

    assert [msg.nlmsg_type for msg in groups] == [RTM_GETMULTICAST] * 2
    assert [socket.inet_ntop(socket.AF_INET6, msg.multicast or b"") for msg in groups] == ["ff02::1", "ff01::1"]


def test_lo_coming_up_is_heard_whole_and_in_order(rtnl: RtnlKernel) -> None:
    with rtnl.watch() as watch:
        rtnl.request(UP)
        said = list(watch)

    link, address4, *routes4, group4, address6, route6, ifinfo = said
    assert isinstance(link, LinkMsg)
    assert (link.ifi_change, link.operstate, link.qdisc) == (IFF_UP, 0, "noqueue")
    assert isinstance(address4, AddrMsg)
    assert (address4.ifa_family, address4.label, address4.local) == (AF_INET, "lo", b"\x7f\0\0\1")
    assert [type(route) for route in routes4] == [RouteMsg] * 3
    assert isinstance(group4, AddrMsg)
    assert group4.multicast == b"\xe0\0\0\1"
    assert isinstance(address6, AddrMsg)
    assert address6.cacheinfo is not None
    assert address6 == AddrMsg(
        ifa_prefixlen=128, ifa_flags=IFA_F_PERMANENT, ifa_scope=RT_SCOPE_HOST, ifa_index=1, address=LOOPBACK,
        cacheinfo=IfaCacheinfo(0xFFFFFFFF, 0xFFFFFFFF, address6.cacheinfo.cstamp, address6.cacheinfo.tstamp),
        flags=IFA_F_PERMANENT, proto=1,
    )  # fmt: skip
    assert route6 == RouteMsg(
        nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, rtm_dst_len=128, rtm_table=RT_TABLE_LOCAL, rtm_protocol=2,
        rtm_type=RTN_LOCAL, table=RT_TABLE_LOCAL, dst=LOOPBACK, priority=0, oif=1, cacheinfo=RtaCacheinfo(), pref=0,
    )  # fmt: skip
    assert isinstance(ifinfo, LinkMsg)
    assert ifinfo.ifi_family == AF_INET6
    assert ifinfo.inet6 is not None
    assert (ifinfo.inet6.flags, ifinfo.inet6.disable_ipv6, ifinfo.inet6.mtu6) == (0x80000000, 0, 65536)


def test_a_watch_hears_nothing_of_what_was_before_it(rtnl: RtnlKernel) -> None:
    rtnl.request(UP)
    with rtnl.watch() as watch:
        assert list(watch) == []


def test_a_watch_that_stopped_half_way_goes_on_there(rtnl: RtnlKernel) -> None:
    with rtnl.watch() as watch:
        rtnl.request(UP)
        first = next(iter(watch))
        rest = list(watch)

    assert isinstance(first, LinkMsg)
    assert len(rest) == 8


def test_a_watch_hears_forwarding_as_netconf(rtnl: RtnlKernel) -> None:
    with rtnl.watch() as watch:
        rtnl.request(Sysctl("net.ipv6.conf.lo.forwarding", "1"))
        assert list(watch) == [NetconfMsg(ifindex=1, forwarding=1)]


def test_an_overrun_watch_says_that_it_lost_messages(rtnl: RtnlKernel) -> None:
    with rtnl.watch() as watch:
        with socket.socket(fileno=os.dup(watch.fileno())) as narrow:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for txqlen in range(100):
            rtnl.request(LinkMsg(ifi_index=1, txqlen=txqlen))
        with pytest.raises(MessagesLost):
            list(watch)
        assert 0 < len(list(watch)) < 100
        rtnl.request(LinkMsg(ifi_index=1, txqlen=7))
        assert [msg.txqlen for msg in watch if isinstance(msg, LinkMsg)] == [7]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (LinkMsg(ifi_index=1, mtu=1400), {"mtu": 1400}),
        (LinkMsg(ifname="lo", mtu=1400), {"mtu": 1400}),
        (LinkMsg(ifi_index=1, ifname="lo9"), {"ifname": "lo9"}),
        (LinkMsg(ifi_index=1, txqlen=77), {"txqlen": 77}),
        (LinkMsg(ifi_index=1, group=5), {"group": 5}),
        (LinkMsg(ifi_index=1, ifalias="grüße"), {"ifalias": "grüße"}),
        (LinkMsg(ifi_index=1, address=b"\2\0\0\0\0\1"), {"address": b"\2\0\0\0\0\1"}),
        (LinkMsg(ifi_index=1, broadcast=b"\2\0\0\0\0\2"), {"broadcast": b"\2\0\0\0\0\2"}),
        (LinkMsg(ifi_index=1, linkmode=1), {"linkmode": 1}),
        (LinkMsg(ifi_index=1, gso_max_size=4096), {"gso_max_size": 4096}),
        (LinkMsg(ifi_index=1, gso_max_segs=7), {"gso_max_segs": 7}),
        (LinkMsg(ifi_index=1, inet6=Inet6LinkInfo(addr_gen_mode=1)), {"inet6.addr_gen_mode": 1}),
        (LinkMsg(ifi_index=1, ifi_flags=0x84, ifi_change=0x84), {"ifi_flags": IFF_LOOPBACK | 0x84}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_field_of_a_link_request_arrives(rtnl: RtnlKernel, asked: LinkMsg, found: dict[str, object]) -> None:
    rtnl.request(asked)

    (link,) = links(rtnl)
    assert {name: attrgetter(name)(link) for name in found} == found


def test_an_operstate_request_arrives(rtnl: RtnlKernel) -> None:
    rtnl.request(UP)
    rtnl.request(LinkMsg(ifi_index=1, operstate=5))

    assert [link.operstate for link in links(rtnl)] == [5]


def test_an_empty_name_is_no_rename(rtnl: RtnlKernel) -> None:
    rtnl.request(LinkMsg(ifi_index=1, ifname="", txqlen=7))

    assert [(link.ifname, link.txqlen) for link in links(rtnl)] == [("lo", 7)]


def test_an_empty_alias_takes_the_alias_away(rtnl: RtnlKernel) -> None:
    rtnl.request(LinkMsg(ifi_index=1, ifalias="x"))
    rtnl.request(LinkMsg(ifi_index=1, ifalias=""))

    assert [link.ifalias for link in links(rtnl)] == [None]


def test_the_fields_of_an_address_request_arrive(rtnl: RtnlKernel) -> None:
    rtnl.request(UP)
    rtnl.request(
        AddrMsg(
            nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, ifa_prefixlen=64, ifa_index=1, local=DOC1, address=LOOPBACK,
            flags=IFA_F_NODAD | IFA_F_NOPREFIXROUTE, rt_priority=77, proto=9, cacheinfo=IfaCacheinfo(100, 200),
        )
    )  # fmt: skip
    settled(rtnl)

    (address,) = [msg for msg in addresses(rtnl) if msg.local == DOC1]
    assert (address.address, address.ifa_prefixlen, address.rt_priority, address.proto) == (LOOPBACK, 64, 77, 9)
    assert address.flags == IFA_F_NODAD | IFA_F_NOPREFIXROUTE
    assert address.cacheinfo is not None
    assert 99 <= address.cacheinfo.ifa_prefered <= 100


def test_the_dump_orders_ipv4_before_ipv6_before_routes(rtnl: RtnlKernel) -> None:
    rtnl.request(UP)
    rtnl.request(AddrMsg(ifa_prefixlen=64, ifa_index=1, address=DOC1))
    settled(rtnl)

    assert [(msg.ifa_family, msg.address) for msg in addresses(rtnl)] == [
        (AF_INET, b"\x7f\0\0\1"),
        (AF_INET6, DOC1),
        (AF_INET6, LOOPBACK),
    ]
    assert [(route.table, route.rtm_dst_len, route.nlmsg_flags) for route in routes(rtnl)] == [
        (RT_TABLE_MAIN, 64, 0),
        (RT_TABLE_LOCAL, 128, 0),
        (RT_TABLE_LOCAL, 128, 0),
    ]


@pytest.mark.parametrize(
    ("asked", "errno", "extack"),
    [
        (LinkMsg(ifi_index=1, mtu=1 << 31), EINVAL, "mtu less than device minimum"),
        (LinkMsg(ifi_index=77, mtu=1400), ENODEV, None),
        (LinkMsg(ifi_index=1, address=b"\xff" * 6), EADDRNOTAVAIL, None),
        (AddrMsg(ifa_index=1, ifa_prefixlen=129, address=DOC1), EINVAL, "ipv6: Invalid prefix length"),
        (AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, address=DOC1), EADDRNOTAVAIL, "ipv6: address not found"),
        (Sysctl("net.ipv6.conf.lo.disable_ipv6", "x"), EINVAL, None),
        (Sysctl("net.ipv6.conf.eth9.disable_ipv6", "1"), ENOENT, None),
        (Sysctl("net.ipv6.conf.lo.no_such_thing", "1"), ENOENT, None),
    ],
)
def test_a_refusal_carries_errno_and_extack(
    rtnl: RtnlKernel, asked: LinkMsg | AddrMsg | Sysctl, errno: int, extack: str | None
) -> None:
    with pytest.raises(KernelError) as refused:
        rtnl.request(asked)

    assert (refused.value.errno, refused.value.extack) == (errno, extack)


def test_a_second_add_is_refused_and_the_socket_goes_on(rtnl: RtnlKernel) -> None:
    add = AddrMsg(nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, ifa_index=1, address=DOC1)
    rtnl.request(add)
    with pytest.raises(KernelError) as refused:
        rtnl.request(add)
    rtnl.request(AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, address=DOC1))

    assert (refused.value.errno, refused.value.extack) == (EEXIST, "ipv6: address already assigned")
    assert addresses(rtnl) == []


def test_a_sysctl_is_written_inside_the_namespace(rtnl: RtnlKernel, netns: NetNs) -> None:
    rtnl.request(Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"))

    assert [link.inet6.disable_ipv6 for link in links(rtnl) if link.inet6] == [1]
    assert run_in(netns, Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").read_text) == "1\n"


def test_a_dot_inside_a_device_name_is_written_as_a_slash(rtnl: RtnlKernel) -> None:
    rtnl.request(LinkMsg(ifi_index=1, ifname="lo.1"))
    rtnl.request(Sysctl("net.ipv6.conf.lo/1.disable_ipv6", "1"))

    assert [link.inet6.disable_ipv6 for link in links(rtnl) if link.inet6] == [1]


@pytest.mark.parametrize("name", ["kernel.hostname", "net", "net..x", "net.//.//.kernel.hostname", ""])
def test_a_sysctl_outside_net_is_no_request(rtnl: RtnlKernel, name: str) -> None:
    with pytest.raises(ControlError, match="is no name below net"):
        rtnl.request(Sysctl(name, "1"))


def test_a_kernel_lives_on_when_the_handle_it_was_made_of_is_closed(netns: NetNs) -> None:
    handle = netns.dup()
    with RtnlKernel(handle) as kernel:
        handle.close()
        kernel.request(Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"))
        assert len(kernel.dump()) == 3


def test_a_kernel_says_of_which_namespace_it_is(netns: NetNs) -> None:
    with RtnlKernel(netns) as kernel:
        assert repr(kernel) == f"<RtnlKernel: {netns.label}>"


def test_the_port_needs_no_pyroute2() -> None:
    script = "import sys, addrsvc.mirror.rtnl; sys.exit('pyroute2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
