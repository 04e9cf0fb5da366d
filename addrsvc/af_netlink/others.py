"""Requests about what no device of the model has: data center bridging, multicast groups of bridges, VXLAN filters."""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENODEV, EOPNOTSUPP, EPERM
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import NEXT_DATAGRAM, Dump, Handler, Request
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index, dev_get_by_name
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_LIBERAL,
    NL_VALIDATE_STRICT,
    NLA_BINARY,
    NLA_FLAG,
    NLA_NESTED,
    NLA_NUL_STRING,
    NLA_U8,
    NLA_VALIDATE_FUNCTION,
    ExtAck,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_BRIDGE,
    AF_UNSPEC,
    ETH_P_IP,
    ETH_P_IPV6,
    IFNAMSIZ,
    NLM_F_BULK,
    RTM_DELMDB,
    RTM_DELTUNNEL,
    RTM_GETDCB,
    RTM_GETMDB,
    RTM_GETTUNNEL,
    RTM_NEWMDB,
    RTM_NEWTUNNEL,
    RTM_SETDCB,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16

# --- data center bridging: net/dcb/dcbnl.c ----------------------------------------------------------------------------

_DCBMSG: Final = Struct("=BBH")
_DCB_ATTR_IFNAME: Final = 1
_DCB_ATTR_MAX: Final = 17
_DCB_CMD_MAX: Final = 27
_SETTING: Final = frozenset((2, 4, 6, 8, 9, 13, 15, 17, 19, 20, 23, 25, 27))
"""The commands that change something."""

# Kernel: net/dcb/dcbnl.c, dcbnl_rtnl_policy.
_DCB_POLICY: Final[Policies] = {
    _DCB_ATTR_IFNAME: NlaPolicy(NLA_NUL_STRING, len=IFNAMSIZ - 1),
    **dict.fromkeys((2, 3, 7, 14), NlaPolicy(NLA_U8)),
    **dict.fromkeys((4, 6, 9, 11, 12, 13, 15), NlaPolicy(NLA_NESTED)),
    8: NlaPolicy(NLA_FLAG),
}


def _dcb(request: Request) -> None:
    """Kernel: net/dcb/dcbnl.c, dcb_doit(); no device has struct dcbnl_rtnl_ops."""
    request.tb = nlmsg_parse(
        request.data, _DCBMSG.size, _DCB_ATTR_MAX, _DCB_POLICY, NL_VALIDATE_LIBERAL, request.extack
    )
    _, command, _ = _DCBMSG.unpack_from(request.data, _HDRLEN)
    if command > _DCB_CMD_MAX:
        raise KernelError(EINVAL)
    if not command:
        raise KernelError(EOPNOTSUPP)
    if command in _SETTING and not request.sock.may_admin():
        raise KernelError(EPERM)
    name = request.payload(_DCB_ATTR_IFNAME)
    if name is None:
        raise KernelError(EINVAL)
    if dev_get_by_name(request.net, name.split(b"\0")[0].decode("utf-8", "surrogateescape")) is None:
        raise KernelError(ENODEV)
    raise KernelError(EOPNOTSUPP)


# --- multicast groups of bridges: net/core/rtnetlink.c ----------------------------------------------------------------

_BR_PORT_MSG: Final = Struct("=B3xI")
_MDBA_ENTRY: Final = 1
_MDBA_ENTRY_ATTRS: Final = 2
_BR_MDB_ENTRY: Final = Struct("=IBBH16s")
"""struct br_mdb_entry, but for the protocol of the address and padding at its end."""
_BR_MDB_ENTRY_SIZE: Final = 28
_MDB_TEMPORARY, _MDB_PERMANENT = 0, 1
_VLAN_VID_MAX: Final = 4094


class _MdbEntry:
    """struct br_mdb_entry."""

    __slots__ = ("address", "flags", "ifindex", "protocol", "state", "vid")

    def __init__(self, data: bytes, offset: int, length: int, extack: ExtAck) -> None:
        if length != _BR_MDB_ENTRY_SIZE:
            extack.bad_attr = offset - 4
            raise KernelError(EINVAL, "Invalid attribute length")
        self.ifindex, self.state, self.flags, self.vid, self.address = _BR_MDB_ENTRY.unpack_from(data, offset)
        self.protocol = int.from_bytes(data[offset + 24 : offset + 26])

    def refuse(self, *refusals: tuple[bool, str]) -> None:
        """Refuse it in the first of these words that hold."""
        for holds, words in refusals:
            if holds:
                raise KernelError(EINVAL, words)


def _validate_entry(data: bytes, offset: int, length: int, extack: ExtAck) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_validate_mdb_entry()."""
    entry = _MdbEntry(data, offset, length, extack)
    ip4, ip6 = entry.address[:4], entry.address
    is_ip4, is_ip6, is_l2 = entry.protocol == ETH_P_IP, entry.protocol == ETH_P_IPV6, entry.protocol == 0
    entry.refuse(
        (not entry.ifindex, "Zero entry ifindex is not allowed"),
        (
            is_ip4 and ip4[0] & 0xF0 != 0xE0 and any(ip4),
            "IPv4 entry group address is not multicast or 0.0.0.0",
        ),
        (is_ip4 and ip4[:3] == b"\xe0\0\0", "IPv4 entry group address is local multicast"),
        (is_ip6 and ip6 == b"\xff\2" + bytes(13) + b"\1", "IPv6 entry group address is link-local all nodes"),
        (is_l2 and not entry.address[0] & 1, "L2 entry group is not multicast"),
        (not (is_ip4 or is_ip6 or is_l2), "Unknown entry protocol"),
        (entry.state not in (_MDB_TEMPORARY, _MDB_PERMANENT), "Unknown entry state"),
        (entry.vid > _VLAN_VID_MAX, "Invalid entry VLAN id"),
    )


def _validate_entry_get(data: bytes, offset: int, length: int, extack: ExtAck) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_validate_mdb_entry_get()."""
    entry = _MdbEntry(data, offset, length, extack)
    entry.refuse(
        (bool(entry.ifindex), "Entry ifindex cannot be specified"),
        (bool(entry.state), "Entry state cannot be specified"),
        (bool(entry.flags), "Entry flags cannot be specified"),
        (entry.vid > _VLAN_VID_MAX, "Invalid entry VLAN id"),
        (entry.protocol not in (0, ETH_P_IP, ETH_P_IPV6), "Unknown entry protocol"),
    )


def _validate_entry_del_bulk(data: bytes, offset: int, length: int, extack: ExtAck) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_validate_mdb_entry_del_bulk()."""
    entry = _MdbEntry(data, offset, length, extack)
    entry.refuse(
        (entry.state not in (_MDB_TEMPORARY, _MDB_PERMANENT), "Unknown entry state"),
        (bool(entry.flags), "Entry flags cannot be set"),
        (entry.vid > _VLAN_VID_MAX, "Invalid entry VLAN id"),
        (any(data[offset + 8 : offset + _BR_MDB_ENTRY_SIZE]), "Entry address cannot be set"),
    )


# Kernel: net/core/rtnetlink.c, mdba_policy, mdba_get_policy, mdba_del_bulk_policy.
_MDB_POLICIES: Final[Mapping[str, Policies]] = {
    name: {
        _MDBA_ENTRY: NlaPolicy(NLA_BINARY, validation=NLA_VALIDATE_FUNCTION, validate=validate, len=_BR_MDB_ENTRY_SIZE),
        _MDBA_ENTRY_ATTRS: NlaPolicy(NLA_NESTED),
        **({0: NlaPolicy(strict_start_type=_MDBA_ENTRY_ATTRS + 1)} if name == "SET" else {}),
    }
    for name, validate in (("SET", _validate_entry), ("GET", _validate_entry_get), ("BULK", _validate_entry_del_bulk))
}


def _mdb(request: Request, policy: str, validate: int) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_mdb_add(), rtnl_mdb_del(), rtnl_mdb_get(); no device has such groups."""
    request.tb = nlmsg_parse(
        request.data, _BR_PORT_MSG.size, _MDBA_ENTRY_ATTRS, _MDB_POLICIES[policy], validate, request.extack
    )
    _, ifindex = _BR_PORT_MSG.unpack_from(request.data, _HDRLEN)
    if not ifindex:
        raise KernelError(EINVAL, "Invalid ifindex")
    if dev_get_by_index(request.net, ifindex) is None:
        raise KernelError(ENODEV, "Device doesn't exist")
    if _MDBA_ENTRY not in request.tb:
        which = "GET" if policy == "GET" else "SET"
        raise KernelError(EINVAL, f"Missing MDBA_{which}_ENTRY attribute", missing=_MDBA_ENTRY)
    what = "bulk deletion" if policy == "BULK" else "operations"
    raise KernelError(EOPNOTSUPP, f"Device does not support MDB {what}")


def _newmdb(request: Request) -> None:
    _mdb(request, "SET", NL_VALIDATE_LIBERAL)


def _delmdb(request: Request) -> None:
    if request.flags & NLM_F_BULK:
        _mdb(request, "BULK", NL_VALIDATE_STRICT)
    _mdb(request, "SET", NL_VALIDATE_LIBERAL)


def _getmdb(request: Request) -> None:
    _mdb(request, "GET", NL_VALIDATE_STRICT)


def _dump_mdb(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/rtnetlink.c, rtnl_mdb_dump(), rtnl_mdb_valid_dump_req()."""
    if dump.strict:
        if len(dump.data) < _HDRLEN + _BR_PORT_MSG.size:
            raise KernelError(EINVAL, "Invalid header for mdb dump request")
        if _BR_PORT_MSG.unpack_from(dump.data, _HDRLEN)[1]:
            raise KernelError(EINVAL, "Filtering by device index is not supported for mdb dump request")
        if len(dump.data) > _HDRLEN + _BR_PORT_MSG.size:
            raise KernelError(EINVAL, "Invalid data after header in mdb dump request")
    yield NEXT_DATAGRAM


# --- VXLAN: drivers/net/vxlan/vxlan_vnifilter.c -----------------------------------------------------------------------

_TUNNEL_MSG: Final = Struct("=BBHI")
_TUNNEL_MSG_VALID_USER_FLAGS: Final = 1
_VXLAN_VNIFILTER_ENTRY: Final = 1
_VNI_POLICY: Final[Policies] = {_VXLAN_VNIFILTER_ENTRY: NlaPolicy(NLA_NESTED)}


def _tunnel(request: Request) -> None:
    """Kernel: drivers/net/vxlan/vxlan_vnifilter.c, vxlan_vnifilter_process()."""
    nlmsg_parse(request.data, _TUNNEL_MSG.size, _VXLAN_VNIFILTER_ENTRY, _VNI_POLICY, NL_VALIDATE_STRICT, request.extack)
    if dev_get_by_index(request.net, _TUNNEL_MSG.unpack_from(request.data, _HDRLEN)[3]) is None:
        raise KernelError(ENODEV)
    raise KernelError(EINVAL, "vxlan: The device is not a vxlan device")


def _dump_tunnels(dump: Dump) -> Iterator[bytes]:
    """Kernel: drivers/net/vxlan/vxlan_vnifilter.c, vxlan_vnifilter_dump()."""
    if len(dump.data) < _HDRLEN + _TUNNEL_MSG.size:
        raise KernelError(EINVAL, "Invalid msg length")
    _, flags, _, ifindex = _TUNNEL_MSG.unpack_from(dump.data, _HDRLEN)
    if flags & ~_TUNNEL_MSG_VALID_USER_FLAGS:
        raise KernelError(EINVAL, "Invalid tunnelmsg flags in ancillary header")
    if ifindex and dev_get_by_index(dump.net, ifindex) is None:
        raise KernelError(ENODEV)
    if ifindex:
        raise KernelError(EINVAL, "The device is not a vxlan device")
    yield from ()


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETDCB, AF_UNSPEC): Handler(_dcb),
    (RTM_SETDCB, AF_UNSPEC): Handler(_dcb),
    (RTM_NEWMDB, AF_BRIDGE): Handler(_newmdb),
    (RTM_DELMDB, AF_BRIDGE): Handler(_delmdb, bulk_delete=True),
    (RTM_GETMDB, AF_BRIDGE): Handler(_getmdb, _dump_mdb),
    (RTM_NEWTUNNEL, AF_BRIDGE): Handler(_tunnel),
    (RTM_DELTUNNEL, AF_BRIDGE): Handler(_tunnel),
    (RTM_GETTUNNEL, AF_BRIDGE): Handler(dumpit=_dump_tunnels),
}
