"""What the kernel says lo has, as values: answers to the requests of `messages` for addresses, routes and lo itself.

Addresses that were given alike are told alike, but for the address itself and for when it was given.  So a long dump is
runs of messages that differ from one another in known places only; what is in the other places is read once for a run.
"""

from struct import Struct
from sys import byteorder
from typing import Final, NamedTuple, TypeAlias

from addrsvc.keeper.messages import LO_IFINDEX, Key
from addrsvc.netlink.nlattr import NLA_TYPE_MASK
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    DEVCONF_DISABLE_IPV6,
    IFA_ADDRESS,
    IFA_CACHEINFO,
    IFA_F_DEPRECATED,
    IFA_FLAGS,
    IFA_LOCAL,
    IFA_PROTO,
    IFA_RT_PRIORITY,
    IFLA_AF_SPEC,
    IFLA_INET6_CONF,
    IFLA_MTU,
    INFINITY_LIFE_TIME,
    IP6_RT_PRIO_USER,
    NLMSG_DONE,
    NLMSG_ERROR,
    RT_TABLE_LOCAL,
    RTA_DST,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    RTN_LOCAL,
    RTPROT_ADDRSVC,
    RTPROT_KERNEL,
    RTPROT_RA,
)

__all__ = [
    "Addresses", "LoState", "Present", "Route", "is_made_by_kernel", "read_address", "read_addresses", "read_lo",
    "read_messages", "read_route", "read_routes",
]  # fmt: skip


class Present(NamedTuple):
    """What the kernel says of an address.

    Attributes:
        flags: IFA_F_*.
        proto: whose it is (IFA_PROTO); kernels before Linux 5.18 do not remember that.
        scope: RT_SCOPE_*.
        preferred_lft: seconds from now; 0 once it is deprecated.  A time in between is IPv6's alone.
        valid_lft: seconds from now.
        metric: of its route in the main table; 0 for the kernel's own choice, or none.
    """

    flags: int
    proto: int = 0
    scope: int = 0
    preferred_lft: int = INFINITY_LIFE_TIME
    valid_lft: int = INFINITY_LIFE_TIME
    metric: int = 0


Addresses: TypeAlias = dict[Key, Present]


class LoState(NamedTuple):
    """lo itself: IFF_* flags, MTU, and its disable_ipv6, which is None where there is no IPv6."""

    flags: int
    mtu: int
    disable_ipv6: int | None


_NLMSGHDR: Final = Struct("=IHHII")
_START: Final = Struct("=IH")
_IFADDRMSG: Final = Struct("=BBBBI")
_RTMSG: Final = Struct("=BBBBBBBBI")
_IFINFOMSG: Final = Struct("=BxHiII")
_HEADERS: Final = _NLMSGHDR.size + _IFADDRMSG.size
_NLATTR: Final = Struct("=HH")
_U32: Final = Struct("=I")
_TIMES: Final = Struct("=II")
_LENGTHS: Final = {AF_INET: 4, AF_INET6: 16}

# --- addresses --------------------------------------------------------------------------------------------------------

_ROWS: Final = {
    (AF_INET6, 72): Struct("=28s 16s 12s8x 8s"),
    (AF_INET6, 80): Struct("=28s 16s 12s8x 16s"),
    (AF_INET6, 88): Struct("=28s 16s 20s8x 16s"),
    (AF_INET, 76): Struct("=24s12x 4s 8s 20s8x"),
    (AF_INET, 84): Struct("=24s12x 4s 8s 28s8x"),
    (AF_INET, 92): Struct("=24s12x 4s 8s 36s8x"),
}
"""By family and length of a message: what stands before the address, the address, and what follows it in two parts
without the times of day; with a mark it is 8 bytes longer, with a metric 8 more.  Where an IPv4 address is, IFA_LOCAL
is meant."""
_START_IS: Final = slice(8)
_ABOUT_IS: Final = slice(_NLMSGHDR.size, None)
_PREFIXLEN_AT: Final = _NLMSGHDR.size + 1
_FAMILY_AT: Final = _NLMSGHDR.size


def read_addresses(data: bytes, into: Addresses) -> int:
    """Add the addresses of lo that the RTM_NEWADDR messages at the start of `data` tell of; gives where they end."""
    at, end = 0, len(data)
    while at + _HEADERS <= end:
        length, nlmsg_type = _START.unpack_from(data, at)
        if nlmsg_type != RTM_NEWADDR:
            break
        row = _ROWS.get((data[at + _FAMILY_AT], length))
        if row is not None and at + length <= end:
            at = _read_run(data, at, row, into)
            continue
        if (found := read_address(data, at)) is not None:
            into[found[0]] = found[1]
        at += max(_NLMSGHDR.size, length + 3 & ~3)
    return at


def _read_run(data: bytes, at: int, row: Struct, into: Addresses) -> int:
    """Read messages of one length; gives where another one begins."""
    before = behind = rest = b""
    present, prefixlen = None, 0
    whole = (len(data) - at) // row.size * row.size
    for row_before, address, row_behind, row_rest in row.iter_unpack(memoryview(data)[at : at + whole]):
        if row_rest != rest or row_behind != behind or row_before != before:
            if before and row_before[_START_IS] != before[_START_IS]:
                return at
            before, behind, rest = row_before, row_behind, row_rest
            key, present = read_address(data, at) or (None, None)
            if key is not None and present is not None:
                into[key] = present
                if key[0] != address or not _is_timed(row_behind):  # it is laid out otherwise, in spite of the length
                    return at + row.size
            prefixlen = row_before[_PREFIXLEN_AT]
        elif present is not None:
            into[address, prefixlen] = present
        at += row.size
    return at


def read_address(data: bytes, at: int = 0) -> tuple[Key, Present] | None:
    """What one RTM_NEWADDR or RTM_DELADDR message tells; None if it is not about an address of lo."""
    if len(data) - at < _HEADERS:
        return None
    (length,) = _U32.unpack_from(data, at)
    row = _ROWS.get((data[at + _FAMILY_AT], length))
    if row is None or len(data) - at < length:
        return _walk(data, at)
    before, address, *behind = row.unpack_from(data, at)
    like = (before[_ABOUT_IS], *behind)
    if not _is_timed(behind[0]):
        return _walk(data, at)
    if (present := _KNOWN.get(like)) is not None:
        return (address, before[_PREFIXLEN_AT]), present
    found = _walk(data, at)
    if found is not None and found[0] == (address, before[_PREFIXLEN_AT]):
        if len(_KNOWN) >= _MANY:
            _KNOWN.clear()
        _KNOWN[like] = found[1]
    return found


def _is_timed(behind: bytes) -> bool:
    """Whether what is skipped behind it are the times of day of IFA_CACHEINFO, and nothing else."""
    return behind[-12:-8] == _CACHEINFO


_CACHEINFO: Final = _NLATTR.pack(20, IFA_CACHEINFO)
_KNOWN: Final[dict[tuple[bytes, ...], Present]] = {}
"""What was read of late of messages that come one by one, by what they have in common."""
_MANY: Final = 256


def _walk(data: bytes, at: int) -> tuple[Key, Present] | None:
    """Read a message attribute by attribute."""
    (length,) = _U32.unpack_from(data, at)
    family, prefixlen, flags, scope, ifindex = _IFADDRMSG.unpack_from(data, at + _NLMSGHDR.size)
    found = _attributes(data, at + _HEADERS, min(at + length, len(data)))
    address = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS, b"")
    if ifindex != LO_IFINDEX or len(address) != _LENGTHS.get(family):
        return None
    flags = _u32(found, IFA_FLAGS, flags)
    preferred_lft, valid_lft = _TIMES.unpack_from(found.get(IFA_CACHEINFO, b"").ljust(_TIMES.size, b"\xff"))
    return (address, prefixlen), Present(
        flags,
        _u32(found, IFA_PROTO),
        scope,
        0 if flags & IFA_F_DEPRECATED else preferred_lft,  # of an IPv4 address that lasts, flags alone tell the truth
        valid_lft,
        _u32(found, IFA_RT_PRIORITY),
    )


def _attributes(data: bytes, at: int, end: int) -> dict[int, bytes]:
    """Each attribute's payload, by its number, up to one that cannot be: nla_for_each_attr() in a hurry."""
    found: dict[int, bytes] = {}
    while at + _NLATTR.size <= end:
        length, number = _NLATTR.unpack_from(data, at)
        if not _NLATTR.size <= length <= end - at:
            break
        found[number & NLA_TYPE_MASK] = data[at + _NLATTR.size : at + length]
        at += length + 3 & ~3
    return found


def _u32(attributes: dict[int, bytes], number: int, missing: int = 0) -> int:
    payload = attributes.get(number)
    return missing if payload is None else int.from_bytes(payload, byteorder)


# --- routes, lo -------------------------------------------------------------------------------------------------------


class Route(NamedTuple):
    """A local route of ours on lo; metric 0 is the kernel's own choice."""

    prefix: bytes
    prefixlen: int
    metric: int


def read_routes(data: bytes, into: list[Route]) -> int:
    """Add the local routes of ours that the RTM_NEWROUTE messages at the start of `data` tell of; where they end."""
    at, end = 0, len(data)
    while at + _NLMSGHDR.size + _RTMSG.size <= end:
        length, nlmsg_type = _START.unpack_from(data, at)
        if nlmsg_type != RTM_NEWROUTE:
            break
        _read_route(data, at, min(at + length, end), into)
        at += max(_NLMSGHDR.size, length + 3 & ~3)
    return at


def _read_route(data: bytes, at: int, end: int, into: list[Route]) -> None:
    family, prefixlen, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(data, at + _NLMSGHDR.size)
    found = _attributes(data, at + _NLMSGHDR.size + _RTMSG.size, end)
    is_ours = protocol == RTPROT_ADDRSVC and table == RT_TABLE_LOCAL and kind == RTN_LOCAL
    if not is_ours or _u32(found, RTA_OIF) != LO_IFINDEX or family not in _LENGTHS:
        return
    metric = _u32(found, RTA_PRIORITY)
    prefix = found.get(RTA_DST, bytes(_LENGTHS[family]))
    into.append(Route(prefix, prefixlen, 0 if metric == IP6_RT_PRIO_USER and family == AF_INET6 else metric))


def read_route(said: bytes) -> Route | None:
    """The local route of ours that one message tells of, that it is there or that it is gone."""
    routes: list[Route] = []
    if len(said) >= _NLMSGHDR.size + _RTMSG.size:
        _read_route(said, 0, min(_START.unpack_from(said)[0], len(said)), routes)
    return routes[0] if routes else None


def is_made_by_kernel(said: bytes) -> bool:
    """Whether a route that a RTM_NEWROUTE message tells of is there because of an address or an advertisement."""
    return _RTMSG.unpack_from(said, _NLMSGHDR.size)[5] in (RTPROT_KERNEL, RTPROT_RA)


def read_lo(data: bytes, at: int = 0) -> LoState | None:
    """lo as a RTM_NEWLINK message tells of it; None where it is about another device."""
    if len(data) - at < _NLMSGHDR.size + _IFINFOMSG.size:
        return None
    (length,) = _U32.unpack_from(data, at)
    _, _, ifindex, flags, _ = _IFINFOMSG.unpack_from(data, at + _NLMSGHDR.size)
    if ifindex != LO_IFINDEX:
        return None
    start, end = at + _NLMSGHDR.size + _IFINFOMSG.size, min(at + length, len(data))
    mtu = int.from_bytes(_attribute(data, IFLA_MTU, start, end), byteorder)
    return LoState(flags, mtu, _disable_ipv6(_attribute(data, IFLA_AF_SPEC, start, end)))


def _disable_ipv6(af_spec: bytes) -> int | None:
    inet6 = _attribute(af_spec, AF_INET6, 0, len(af_spec))
    conf = _attribute(inet6, IFLA_INET6_CONF, 0, len(inet6))
    return _U32.unpack_from(conf, 4 * DEVCONF_DISABLE_IPV6)[0] if len(conf) > 4 * DEVCONF_DISABLE_IPV6 else None


def _attribute(data: bytes, number: int, at: int, end: int) -> bytes:
    """The payload of one attribute, empty if it is not there: lo has dozens, and this is read of every namespace."""
    while end - at >= _NLATTR.size:
        length, nla_type = _NLATTR.unpack_from(data, at)
        if not _NLATTR.size <= length <= end - at:
            break
        if nla_type & NLA_TYPE_MASK == number:
            return data[at + _NLATTR.size : at + length]
        at += length + 3 & ~3
    return b""


# --- bytes ------------------------------------------------------------------------------------------------------------


def read_messages(data: bytes, into: list[bytes]) -> int:
    """Add the messages at the start of `data`, as they are, up to what ends a dump; gives where that is."""
    at, end = 0, len(data)
    while at + _NLMSGHDR.size <= end:
        length, nlmsg_type = _START.unpack_from(data, at)
        if nlmsg_type in (NLMSG_DONE, NLMSG_ERROR):
            break
        into.append(data[at : at + length])
        at += max(_NLMSGHDR.size, length + 3 & ~3)
    return at
