"""addrsvc.keeper.messages: the same bytes, but for their order, as the codec makes of values."""

import socket
from dataclasses import replace

import pytest

from addrsvc.keeper import messages
from addrsvc.keeper.messages import deladdr, delroute, getaddr, newaddr, newroute
from addrsvc.mirror.plan import plan
from addrsvc.netlink.codec import decode
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, LinkMsg, RouteMsg, WireMessage
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ARPHRD_LOOPBACK,
    IFA_F_HOMEADDRESS,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFAPROT_ADDRSVC,
    IFAPROT_KERNEL_LO,
    IFF_LOOPBACK,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RT_SCOPE_HOST,
    RT_TABLE_LOCAL,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTN_LOCAL,
    RTPROT_ADDRSVC,
)

V4, V6 = socket.inet_aton("192.0.2.1"), socket.inet_pton(socket.AF_INET6, "2001:db8::1")
ADD = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
CHANGE = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
QUIET = IFA_F_NODAD | IFA_F_NOPREFIXROUTE


def address(nlmsg_type: int, nlmsg_flags: int, local: bytes | None, prefixlen: int, **fields: object) -> AddrMsg:
    family = AF_INET if local is not None and len(local) == 4 else AF_INET6
    return AddrMsg(nlmsg_type, nlmsg_flags, family, prefixlen, ifa_index=1, local=local, **fields)  # type: ignore[arg-type]


def ours(local: bytes, flags: int, nlmsg_flags: int = ADD, **fields: object) -> AddrMsg:
    fields = {"ifa_flags": flags & 0xFF, "flags": flags, "proto": IFAPROT_ADDRSVC, **fields}
    return address(RTM_NEWADDR, nlmsg_flags, local, len(local) * 8, **fields)


def route(nlmsg_type: int, nlmsg_flags: int, dst: bytes | None, dst_len: int, **fields: object) -> RouteMsg:
    return RouteMsg(
        nlmsg_type, nlmsg_flags, rtm_dst_len=dst_len, rtm_table=RT_TABLE_LOCAL, rtm_protocol=RTPROT_ADDRSVC,
        rtm_type=RTN_LOCAL, dst=dst, oif=1, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


SAID: dict[str, tuple[bytes, WireMessage]] = {
    "an IPv6 address": (newaddr(V6), ours(V6, QUIET)),
    "an IPv4 address": (newaddr(V4), ours(V4, 0)),
    "a metric brings a route that it belongs to": (newaddr(V6, metric=7), ours(V6, IFA_F_NODAD, rt_priority=7)),
    "a metric for IPv4": (newaddr(V4, metric=7), ours(V4, 0, rt_priority=7)),
    "deprecated": (
        newaddr(V6, preferred_lft=0, replace=True),
        ours(V6, QUIET, CHANGE, cacheinfo=IfaCacheinfo(0, INFINITY_LIFE_TIME)),
    ),
    "somebody else's": (
        newaddr(V6, flags=IFA_F_HOMEADDRESS, proto=4),
        ours(V6, QUIET | IFA_F_HOMEADDRESS, proto=4),
    ),
    "::1": (
        messages.RESTORE_LOOPBACK,
        ours(bytes(15) + b"\1", QUIET, ifa_scope=RT_SCOPE_HOST, proto=IFAPROT_KERNEL_LO),
    ),
    "no IPv6 address": (deladdr(V6), address(RTM_DELADDR, NLM_F_REQUEST, V6, 128)),
    "no IPv4 address": (deladdr(V4, 8), address(RTM_DELADDR, NLM_F_REQUEST, V4, 8)),
    "no ::1": (messages.DELETE_LOOPBACK, address(RTM_DELADDR, NLM_F_REQUEST, bytes(15) + b"\1", 128)),
    "one address": (getaddr(V6), address(RTM_GETADDR, NLM_F_REQUEST, V6, 0)),
    "all addresses": (
        messages.DUMP_ADDRESSES[AF_INET6],
        address(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, None, 0),
    ),
    "an IPv6 route": (
        newroute(V6, 128, metric=5), route(RTM_NEWROUTE, ADD, V6, 128, rtm_family=AF_INET6, priority=5),
    ),
    "an IPv4 route": (
        newroute(V4, 32), route(RTM_NEWROUTE, ADD, V4, 32, rtm_family=AF_INET, rtm_scope=RT_SCOPE_HOST),
    ),
    "no IPv6 route, and no other metric's": (
        delroute(V6, 128), route(RTM_DELROUTE, NLM_F_REQUEST, V6, 128, rtm_family=AF_INET6, priority=1024),
    ),
    "all our routes": (
        messages.DUMP_ROUTES[AF_INET6], route(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, None, 0, rtm_family=AF_INET6),
    ),
    "lo up": (messages.LO_UP, LinkMsg(RTM_NEWLINK, NLM_F_REQUEST, ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP)),
    "lo down": (messages.LO_DOWN, LinkMsg(RTM_NEWLINK, NLM_F_REQUEST, ifi_index=1, ifi_change=IFF_UP)),
    "lo": (messages.GET_LO, LinkMsg(RTM_GETLINK, NLM_F_REQUEST, ifi_index=1, ext_mask=8)),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), SAID.values(), ids=SAID)
def test_a_message_says(data: bytes, message: WireMessage) -> None:
    assert decode(data) == message


def test_the_loopback_address_is_restored_as_the_mirror_does_it() -> None:
    """Two ways to the same request: by a plan from values, and ready-made."""
    up = LinkMsg(ifi_type=ARPHRD_LOOPBACK, ifi_index=1, ifi_flags=IFF_UP | IFF_LOOPBACK, ifname="lo", mtu=65536)
    there = AddrMsg(
        ifa_prefixlen=128, ifa_scope=RT_SCOPE_HOST, ifa_index=1, address=bytes(15) + b"\1", proto=IFAPROT_KERNEL_LO
    )
    (step,) = plan((up, there), (up,)).steps

    restored = decode(messages.RESTORE_LOOPBACK, without=NLM_F_REQUEST)

    assert isinstance(restored, AddrMsg)
    assert replace(restored, local=None, address=restored.local) == step.message
