"""Requests to rtnetlink about lo, as bytes that are ready but for their number: joined, never packed, where many are.

lo has number 1 in every namespace, because it is the first device there and cannot leave.  A sequence number and
NLM_F_ACK are put in by who sends (`rtnl`).
"""

import sys
from functools import lru_cache
from struct import Struct
from typing import Final, TypeAlias

from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IFA_CACHEINFO,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_FLAGS,
    IFA_LOCAL,
    IFA_PROTO,
    IFA_RT_PRIORITY,
    IFAPROT_ADDRSVC,
    IFAPROT_KERNEL_LO,
    IFF_UP,
    IFLA_EXT_MASK,
    INFINITY_LIFE_TIME,
    IP6_RT_PRIO_USER,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RT_SCOPE_HOST,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_LOCAL,
    RTA_DST,
    RTA_OIF,
    RTA_PRIORITY,
    RTEXT_FILTER_SKIP_STATS,
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

__all__ = [
    "DELETE_LOOPBACK", "DUMP_ADDRESSES", "DUMP_LO_ROUTES6", "DUMP_ROUTES", "GET_LO", "IN6ADDR_SIZE", "Key", "LOOPBACK",
    "LO_DOWN", "LO_IFINDEX", "LO_UP", "RESTORE_LOOPBACK", "again", "deladdr", "delroute", "family_of", "getaddr",
    "newaddr", "newroute",
]  # fmt: skip

LO_IFINDEX: Final = 1
IN6ADDR_SIZE: Final = 16

Key: TypeAlias = tuple[bytes, int]
"""An address in network order, and its prefix length."""

LOOPBACK: Final[Key] = (bytes(15) + b"\1", 128)
"""::1/128."""

_NLMSGHDR: Final = Struct("=IHHII")
_IFINFOMSG: Final = Struct("=BxHiII")
_IFADDRMSG: Final = Struct("=BBBBI")
_RTMSG: Final = Struct("=BBBBBBBBI")
_NLATTR: Final = Struct("=HH")
_IFA_CACHEINFO: Final = Struct("=IIII")
_ADDRESS_AT: Final = _NLMSGHDR.size + _IFADDRMSG.size + _NLATTR.size

_ADD: Final = NLM_F_CREATE | NLM_F_EXCL
_CHANGE: Final = NLM_F_CREATE | NLM_F_REPLACE
_HOW: Final = {AF_INET: 0, AF_INET6: IFA_F_NODAD | IFA_F_NOPREFIXROUTE}


def family_of(address: bytes) -> int:
    """AF_INET or AF_INET6, by its length."""
    return AF_INET6 if len(address) == IN6ADDR_SIZE else AF_INET


def _message(nlmsg_type: int, flags: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _NLMSGHDR.pack(_NLMSGHDR.size + len(body), nlmsg_type, NLM_F_REQUEST | flags, 0, 0) + body


def _attr(number: int, payload: bytes) -> bytes:
    return _NLATTR.pack(_NLATTR.size + len(payload), number) + payload + bytes(-len(payload) % 4)


def _u32(number: int, value: int) -> bytes:
    return _attr(number, value.to_bytes(4, sys.byteorder))


def _around(length: int, message: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind the address of this length, which is the first attribute."""
    return message[:_ADDRESS_AT], message[_ADDRESS_AT + length :]


# --- addresses --------------------------------------------------------------------------------------------------------


def newaddr(
    address: bytes,
    prefixlen: int | None = None,
    *,
    metric: int = 0,
    preferred_lft: int = INFINITY_LIFE_TIME,
    flags: int = 0,
    proto: int = IFAPROT_ADDRSVC,
    replace: bool = False,
) -> bytes:
    """Give lo an address of ours that is valid for ever.

    An IPv6 address comes without duplicate address detection, whose work would be many times that of adding it, and
    without a route in the main table, which it does not need, unless it has a metric: that is what a metric belongs to.

    Args:
        address: 4 or 16 bytes.
        prefixlen: how long its prefix is; it covers itself alone unless told.
        metric: of the route in the main table; 0 for none.
        preferred_lft: seconds, after which it is deprecated; 0 deprecates it at once.  An IPv4 address that is valid
            for ever takes no notice of a time in between.
        flags: IFA_F_* to ask for besides.
        proto: whose it is.
        replace: change it, if it is there; else that is refused with EEXIST.
    """
    prefixlen = len(address) * 8 if prefixlen is None else prefixlen
    before, behind = _newaddr(
        len(address), prefixlen, metric, preferred_lft, flags, proto, _CHANGE if replace else _ADD
    )
    return b"".join((before, address, behind))


@lru_cache(maxsize=256)
def _newaddr(
    length: int, prefixlen: int, metric: int, preferred_lft: int, flags: int, proto: int, how: int
) -> tuple[bytes, bytes]:
    family = AF_INET6 if length == IN6ADDR_SIZE else AF_INET
    flags |= _HOW[family] & ~(IFA_F_NOPREFIXROUTE if metric else 0)
    attributes = [_attr(IFA_LOCAL, bytes(length)), _u32(IFA_FLAGS, flags), _attr(IFA_PROTO, bytes((proto,)))]
    if metric:
        attributes.append(_u32(IFA_RT_PRIORITY, metric))
    if preferred_lft != INFINITY_LIFE_TIME:
        attributes.append(_attr(IFA_CACHEINFO, _IFA_CACHEINFO.pack(preferred_lft, INFINITY_LIFE_TIME, 0, 0)))
    header = _IFADDRMSG.pack(family, prefixlen, flags & 0xFF, RT_SCOPE_UNIVERSE, LO_IFINDEX)
    return _around(length, _message(RTM_NEWADDR, how, header, *attributes))


def deladdr(address: bytes, prefixlen: int | None = None) -> bytes:
    """Take an address away from lo, whoever put it there; it covers itself alone unless told."""
    before, behind = _deladdr(len(address), len(address) * 8 if prefixlen is None else prefixlen)
    return b"".join((before, address, behind))


@lru_cache(maxsize=256)
def _deladdr(length: int, prefixlen: int) -> tuple[bytes, bytes]:
    header = _IFADDRMSG.pack(AF_INET6 if length == IN6ADDR_SIZE else AF_INET, prefixlen, 0, 0, LO_IFINDEX)
    return _around(length, _message(RTM_DELADDR, 0, header, _attr(IFA_LOCAL, bytes(length))))


def getaddr(address: bytes) -> bytes:
    """Ask for one IPv6 address of lo."""
    return b"".join((_GETADDR_BEFORE, address))


RESTORE_LOOPBACK: Final = _message(
    RTM_NEWADDR,
    _ADD,
    _IFADDRMSG.pack(AF_INET6, 128, IFA_F_NODAD, RT_SCOPE_HOST, LO_IFINDEX),
    _attr(IFA_LOCAL, LOOPBACK[0]),
    _u32(IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE),
    _attr(IFA_PROTO, bytes((IFAPROT_KERNEL_LO,))),
)
"""::1 as close as can be to how the kernel itself makes it when lo comes up: the same scope, mark and routes."""
DELETE_LOOPBACK: Final = deladdr(*LOOPBACK)
_GETADDR_BEFORE: Final = _around(
    16, _message(RTM_GETADDR, 0, _IFADDRMSG.pack(AF_INET6, 0, 0, 0, LO_IFINDEX), _attr(IFA_LOCAL, bytes(16)))
)[0]
DUMP_ADDRESSES: Final = {
    family: _message(RTM_GETADDR, NLM_F_DUMP, _IFADDRMSG.pack(family, 0, 0, 0, LO_IFINDEX))
    for family in (AF_INET6, AF_INET)
}
"""By address family: those of lo alone where the socket is strict (NETLINK_GET_STRICT_CHK), else of all devices."""


# --- local routes -----------------------------------------------------------------------------------------------------

_ROUTE: Final = {AF_INET: (RT_SCOPE_HOST, 0), AF_INET6: (RT_SCOPE_UNIVERSE, IP6_RT_PRIO_USER)}
"""The scope, and the metric that the kernel chooses: said aloud, since a deletion without one takes any route."""


def newroute(prefix: bytes, prefixlen: int, *, metric: int = 0) -> bytes:
    """Have lo answer for all addresses of a prefix: a local route of ours, whose cost does not grow with their number.

    What binds to one of them needs IPV6_FREEBIND (IP_FREEBIND), unless it binds to all (``::``, ``0.0.0.0``).

    Args:
        prefix: 4 or 16 bytes; those behind prefixlen are 0.
        prefixlen: how long it is.
        metric: its own; 0 for the kernel's choice.
    """
    return _route(RTM_NEWROUTE, _ADD, prefix, prefixlen, metric)


def delroute(prefix: bytes, prefixlen: int, *, metric: int = 0) -> bytes:
    """Take such a route away, if it is ours."""
    return _route(RTM_DELROUTE, 0, prefix, prefixlen, metric)


def _route(nlmsg_type: int, flags: int, prefix: bytes, prefixlen: int, metric: int) -> bytes:
    family = family_of(prefix)
    scope, no_metric = _ROUTE[family]
    header = _RTMSG.pack(family, prefixlen, 0, 0, RT_TABLE_LOCAL, RTPROT_ADDRSVC, scope, RTN_LOCAL, 0)
    attributes = [_attr(RTA_DST, prefix), _u32(RTA_OIF, LO_IFINDEX)]
    if metric or no_metric:
        attributes.append(_u32(RTA_PRIORITY, metric or no_metric))
    return _message(nlmsg_type, flags, header, *attributes)


DUMP_ROUTES: Final = {
    family: _message(
        RTM_GETROUTE,
        NLM_F_DUMP,
        _RTMSG.pack(family, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_ADDRSVC, 0, RTN_LOCAL, 0),
        _u32(RTA_OIF, LO_IFINDEX),
    )
    for family in (AF_INET6, AF_INET)
}
"""By address family: our local routes alone where the socket is strict, else all routes."""
DUMP_LO_ROUTES6: Final = _message(
    RTM_GETROUTE, NLM_F_DUMP, _RTMSG.pack(AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0), _u32(RTA_OIF, LO_IFINDEX)
)
"""All IPv6 routes over lo, whoever made them, where the socket is strict."""


def again(said: bytes) -> bytes:
    """The request that makes an address or a route which the kernel told of, as it was."""
    length, nlmsg_type, _, _, _ = _NLMSGHDR.unpack_from(said)
    return _NLMSGHDR.pack(length, nlmsg_type, NLM_F_REQUEST | _ADD, 0, 0) + said[_NLMSGHDR.size :]


# --- lo ---------------------------------------------------------------------------------------------------------------

LO_UP: Final = _message(RTM_NEWLINK, 0, _IFINFOMSG.pack(AF_UNSPEC, 0, LO_IFINDEX, IFF_UP, IFF_UP))
LO_DOWN: Final = _message(RTM_NEWLINK, 0, _IFINFOMSG.pack(AF_UNSPEC, 0, LO_IFINDEX, 0, IFF_UP))
GET_LO: Final = _message(
    RTM_GETLINK,
    0,
    _IFINFOMSG.pack(AF_UNSPEC, 0, LO_IFINDEX, 0, 0),
    _u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS),
)
