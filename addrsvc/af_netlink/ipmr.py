"""net/ipv4/ipmr.c: multicast routing, of which each namespace has one table, with no interfaces and no entries.

What reads its entries is in `route`.
"""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENFILE, ENODEV, ENOENT
from struct import Struct
from sys import byteorder
from typing import Final

from addrsvc.af_netlink.request import NEXT_DATAGRAM, NLMSGHDR, Dump, Handler, Request
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.netlink.nlattr import NL_VALIDATE_LIBERAL, NLA_U32, NlaPolicy, Policies, nla_for_each_attr, nla_parse
from addrsvc.uapi import (
    IFLA_AF_SPEC,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_DEFAULT,
    RTA_DST,
    RTA_IIF,
    RTA_MAX,
    RTA_MULTIPATH,
    RTA_SRC,
    RTA_TABLE,
    RTM_DELROUTE,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTN_MULTICAST,
    RTNL_FAMILY_IPMR,
    RTPROT_STATIC,
)

__all__ = ["HANDLERS"]

_IFINFOMSG: Final = Struct("=BxHiII")
_RTMSG: Final = Struct("=BBBBBBBBI")
_RTNEXTHOP: Final = Struct("=HBBi")
_NLATTR: Final = Struct("=HH")
_MAXVIFS: Final = 32
_RTPROT_MROUTED: Final = 17
_PROTOCOLS: Final = (RTPROT_STATIC, _RTPROT_MROUTED)
_TABLE_ID, _QUEUE_LEN, _REG_VIF_NUM, _DO_ASSERT, _DO_PIM, _VIFS, _DO_WRVIFWHOLE = range(1, 8)


def _nla(nla_type: int, payload: bytes) -> bytes:
    length = _NLATTR.size + len(payload)
    return (_NLATTR.pack(length, nla_type) + payload).ljust(length + 3 & ~3, b"\0")


def _u32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


_TABLE: Final = _IFINFOMSG.pack(RTNL_FAMILY_IPMR, 0, 0, 0, 0) + _nla(
    IFLA_AF_SPEC,
    _nla(_TABLE_ID, _u32(RT_TABLE_DEFAULT))
    + _nla(_QUEUE_LEN, _u32(0))
    + _nla(_REG_VIF_NUM, _u32(-1))
    + _nla(_DO_ASSERT, b"\0")
    + _nla(_DO_PIM, b"\0")
    + _nla(_DO_WRVIFWHOLE, b"\0")
    + _nla(_VIFS, b""),
)


def _ipmr_rtm_dumplink(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv4/ipmr.c, ipmr_rtm_dumplink(), ipmr_fill_table()."""
    if dump.strict:
        _valid_dumplink(dump)
    header = NLMSGHDR.pack(NLMSGHDR.size + len(_TABLE), RTM_NEWLINK, dump.nlmsg_flags(), dump.seq, dump.portid)
    yield header + _TABLE
    yield NEXT_DATAGRAM


def _valid_dumplink(dump: Dump) -> None:
    """Kernel: net/ipv4/ipmr.c, ipmr_valid_dumplink()."""
    body = dump.data[NLMSGHDR.size :]
    if len(body) < _IFINFOMSG.size:
        raise KernelError(EINVAL, "ipv4: Invalid header for ipmr link dump")
    if len(body) > _IFINFOMSG.size:
        raise KernelError(EINVAL, "Invalid data after header in ipmr link dump")
    if any(body[1:]):
        raise KernelError(EINVAL, "Invalid values in header for ipmr link dump request")


# --- forwarding entries of a user's own, which need an interface that takes part --------------------------------------

_POLICY: Final[Policies] = {
    RTA_SRC: NlaPolicy(NLA_U32),
    RTA_DST: NlaPolicy(NLA_U32),
    RTA_IIF: NlaPolicy(NLA_U32),
    RTA_TABLE: NlaPolicy(NLA_U32),
    RTA_MULTIPATH: NlaPolicy(len=_RTNEXTHOP.size),
}


def _newroute(request: Request) -> None:
    """Kernel: net/ipv4/ipmr.c, ipmr_rtm_route(), ipmr_mfc_add(): no interface takes part."""
    _rtm_to_ipmr_mfcc(request)
    raise KernelError(ENFILE)


def _delroute(request: Request) -> None:
    """Kernel: net/ipv4/ipmr.c, ipmr_rtm_route(), ipmr_mfc_delete(): there is no entry."""
    _rtm_to_ipmr_mfcc(request)
    raise KernelError(ENOENT)


def _rtm_to_ipmr_mfcc(request: Request) -> None:
    """Refuse what is no entry.

    Kernel: net/ipv4/ipmr.c, rtm_to_ipmr_mfcc(): attributes are looked at in their order.
    """
    data, attrs = request.data, NLMSGHDR.size + _RTMSG.size
    if len(data) < attrs:
        raise KernelError(EINVAL)
    nla_parse(data, attrs, len(data), RTA_MAX, _POLICY, NL_VALIDATE_LIBERAL, request.extack)
    _, dst_len, _, _, _, protocol, scope, rtm_type, _ = _RTMSG.unpack_from(data, NLMSGHDR.size)
    if (dst_len, rtm_type, scope) != (32, RTN_MULTICAST, RT_SCOPE_UNIVERSE) or protocol not in _PROTOCOLS:
        raise KernelError(EINVAL)
    table = RT_TABLE_DEFAULT
    for kind, offset, length in nla_for_each_attr(data, attrs, len(data)):
        if kind == RTA_IIF and dev_get_by_index(request.net, _number(data, offset)) is None:
            raise KernelError(ENODEV)
        if kind == RTA_MULTIPATH:
            _check_next_hops(data, offset, length)
        if kind == RTA_TABLE:
            table = _number(data, offset)
    if table != RT_TABLE_DEFAULT:
        raise KernelError(ENOENT)


def _number(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], byteorder)


def _check_next_hops(data: bytes, offset: int, remaining: int) -> None:
    """Kernel: net/ipv4/ipmr.c, ipmr_nla_get_ttls()."""
    for _ in range(_MAXVIFS):
        length = _RTNEXTHOP.unpack_from(data, offset)[0] if remaining >= _RTNEXTHOP.size else 0
        if not _RTNEXTHOP.size <= length <= remaining:
            break
        offset, remaining = offset + (length + 3 & ~3), remaining - (length + 3 & ~3)
    if remaining > 0:
        raise KernelError(EINVAL)


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETLINK, RTNL_FAMILY_IPMR): Handler(dumpit=_ipmr_rtm_dumplink),
    (RTM_NEWROUTE, RTNL_FAMILY_IPMR): Handler(_newroute),
    (RTM_DELROUTE, RTNL_FAMILY_IPMR): Handler(_delroute),
}
