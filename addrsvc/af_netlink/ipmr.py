"""net/ipv4/ipmr.c, as far as RTM_GETLINK asks: each namespace has the one table of IPv4 multicast, an empty one."""

from collections.abc import Iterator, Mapping
from errno import EINVAL
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import NEXT_DATAGRAM, NLMSGHDR, Dump, Handler
from addrsvc.errors import KernelError
from addrsvc.uapi import IFLA_AF_SPEC, RT_TABLE_DEFAULT, RTM_GETLINK, RTM_NEWLINK, RTNL_FAMILY_IPMR

__all__ = ["HANDLERS"]

_IFINFOMSG: Final = Struct("=BxHiII")
_NLATTR: Final = Struct("=HH")
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


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETLINK, RTNL_FAMILY_IPMR): Handler(dumpit=_ipmr_rtm_dumplink),
}
