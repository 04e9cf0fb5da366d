"""rtnetlink messages as bytes: where on the wire each field of a value lies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, TypeAlias

from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, LinkMsg, Message, NetconfMsg, RouteMsg
from addrsvc.uapi import AF_INET

__all__ = ["encode"]

_NLMSGHDR: Final = Struct("=IHHII")
_NLATTR: Final = Struct("=HH")

_Pack: TypeAlias = Callable[[Any], bytes]


def _name(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape") + b"\0"


def _cacheinfo(value: IfaCacheinfo) -> bytes:
    return _CACHEINFO.pack(value.ifa_prefered, value.ifa_valid, value.cstamp, value.tstamp)


def _expires(value: int) -> bytes:
    return _RTA_CACHEINFO.pack(0, 0, value, 0, 0, 0, 0, 0)


_CACHEINFO: Final = Struct("=IIII")
_RTA_CACHEINFO: Final = Struct("=IIiIIIII")
_u8: Final = Struct("=B").pack
_u32: Final = Struct("=I").pack
_s32: Final = Struct("=i").pack


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """A message on the wire: its header, the fields of it, and its attributes in the kernel's order of sending."""

    header: Struct
    fields: tuple[str, ...]
    attributes: tuple[tuple[int, str, _Pack], ...]


_LAYOUTS: Final[Mapping[type, _Layout]] = {
    LinkMsg: _Layout(
        Struct("=BxHiII"),
        ("ifi_family", "ifi_type", "ifi_index", "ifi_flags", "ifi_change"),
        (
            (3, "ifname", _name), (13, "txqlen", _u32), (16, "operstate", _u8), (17, "linkmode", _u8),
            (67, "netns_immutable", _u8), (4, "mtu", _u32), (50, "min_mtu", _u32), (51, "max_mtu", _u32),
            (27, "group", _u32), (30, "promiscuity", _u32), (61, "allmulti", _u32), (31, "num_tx_queues", _u32),
            (40, "gso_max_segs", _u32), (41, "gso_max_size", _u32), (58, "gro_max_size", _u32),
            (63, "gso_ipv4_max_size", _u32), (64, "gro_ipv4_max_size", _u32), (59, "tso_max_size", _u32),
            (60, "tso_max_segs", _u32), (32, "num_rx_queues", _u32), (33, "carrier", _u8), (20, "ifalias", _name),
            (39, "proto_down", _u8), (1, "address", bytes), (2, "broadcast", bytes), (6, "qdisc", _name),
            (44, "event", _u32), (49, "new_ifindex", _s32),
        ),
    ),
    AddrMsg: _Layout(
        Struct("=BBBBi"),
        ("ifa_family", "ifa_prefixlen", "ifa_flags", "ifa_scope", "ifa_index"),
        (
            (10, "target_netnsid", _s32), (2, "local", bytes), (1, "address", bytes), (7, "multicast", bytes),
            (5, "anycast", bytes), (4, "broadcast", bytes), (3, "label", _name), (9, "rt_priority", _u32),
            (6, "cacheinfo", _cacheinfo), (8, "flags", _u32), (11, "proto", _u8),
        ),
    ),
    RouteMsg: _Layout(
        Struct("=BBBBBBBBI"),
        (
            "rtm_family", "rtm_dst_len", "rtm_src_len", "rtm_tos", "rtm_table", "rtm_protocol", "rtm_scope",
            "rtm_type", "rtm_flags",
        ),
        (
            (15, "table", _u32), (1, "dst", bytes), (6, "priority", _u32), (7, "prefsrc", bytes), (4, "oif", _u32),
            (12, "expires", _expires), (20, "pref", _u8),
        ),
    ),
    NetconfMsg: _Layout(
        Struct("=Bxxx"),
        ("ncm_family",),
        (
            (1, "ifindex", _s32), (2, "forwarding", _s32), (3, "rp_filter", _s32), (4, "mc_forwarding", _s32),
            (8, "bc_forwarding", _s32), (5, "proxy_neigh", _s32), (6, "ignore_routes_with_linkdown", _s32),
        ),
    ),
}  # fmt: skip


_INET_ADDR: Final = _Layout(
    _LAYOUTS[AddrMsg].header,
    _LAYOUTS[AddrMsg].fields,
    (
        (10, "target_netnsid", _s32), (7, "multicast", bytes), (1, "address", bytes), (2, "local", bytes),
        (4, "broadcast", bytes), (3, "label", _name), (11, "proto", _u8), (8, "flags", _u32),
        (9, "rt_priority", _u32), (6, "cacheinfo", _cacheinfo),
    ),
)  # fmt: skip


def encode(msg: Message, seq: int = 0, pid: int = 0) -> bytes:
    """A value as one netlink message, padded to a multiple of four bytes."""
    layout = _INET_ADDR if isinstance(msg, AddrMsg) and msg.ifa_family == AF_INET else _LAYOUTS[type(msg)]
    body = layout.header.pack(*(getattr(msg, name) for name in layout.fields))
    for number, name, pack in layout.attributes:
        value = getattr(msg, name)
        if value is not None:
            payload = pack(value)
            body += _NLATTR.pack(4 + len(payload), number) + payload + bytes(-len(payload) & 3)
    return _NLMSGHDR.pack(16 + len(body), msg.nlmsg_type, msg.nlmsg_flags, seq, pid) + body  # type: ignore[union-attr]
