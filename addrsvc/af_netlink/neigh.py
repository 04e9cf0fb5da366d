"""RTM_GETNEIGH and RTM_GETNEIGHTBL as bytes: net/core/neighbour.c, and for bridges' families net/core/rtnetlink.c."""

from collections.abc import Iterator, Mapping
from errno import EAFNOSUPPORT, EINVAL, ENODEV, ENOENT, EOPNOTSUPP
from itertools import islice
from struct import Struct
from typing import Final

from addrsvc.af_netlink.link import IFLA_POLICY
from addrsvc.af_netlink.request import NEXT_DATAGRAM, Dump, Handler, Request, resumable
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.neighbour import (
    NEIGH_TABLES,
    NeighTable,
    ndo_dflt_fdb_dump,
    neigh_dump,
    neigh_parms_dump,
    neightbl_fill_info,
)
from addrsvc.model.structs import Net, NetDevice
from addrsvc.netlink.messages import NeighMsg
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NLA_BINARY,
    NLA_NESTED,
    NLA_U8,
    NLA_U16,
    NLA_U32,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_BRIDGE,
    AF_UNSPEC,
    ETH_ALEN,
    IFLA_MASTER,
    IFLA_MAX,
    MAX_ADDR_LEN,
    NLM_F_DUMP_FILTERED,
    NTF_EXT_MASK,
    NTF_MASTER,
    NTF_PROXY,
    NTF_SELF,
    RTM_GETNEIGH,
    RTM_GETNEIGHTBL,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_NDMSG: Final = Struct("=BBHiHBB")
_NDTMSG: Final = Struct("=BBH")
_IFINFOMSG_SIZE: Final = 16
_NLA_U32_SIZE: Final = 8

(
    _NDA_UNSPEC, _NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO, _NDA_PROBES, _NDA_VLAN, _NDA_PORT, _NDA_VNI, _NDA_IFINDEX,
    _NDA_MASTER, _NDA_LINK_NETNSID, _NDA_SRC_VNI, _NDA_PROTOCOL, _NDA_NH_ID, _NDA_FDB_EXT_ATTRS, _NDA_FLAGS_EXT,
    _NDA_NDM_STATE_MASK, _NDA_NDM_FLAGS_MASK,
) = range(18)  # fmt: skip
_NDA_MAX: Final = _NDA_NDM_FLAGS_MASK

# Kernel: net/core/neighbour.c, nda_policy.
_NDA_POLICY: Final[Policies] = {
    _NDA_UNSPEC: NlaPolicy(strict_start_type=_NDA_NH_ID),
    _NDA_DST: NlaPolicy(NLA_BINARY, len=MAX_ADDR_LEN),
    _NDA_LLADDR: NlaPolicy(NLA_BINARY, len=MAX_ADDR_LEN),
    _NDA_CACHEINFO: NlaPolicy(len=16),
    _NDA_PROBES: NlaPolicy(NLA_U32),
    _NDA_VLAN: NlaPolicy(NLA_U16),
    _NDA_PORT: NlaPolicy(NLA_U16),
    _NDA_VNI: NlaPolicy(NLA_U32),
    _NDA_IFINDEX: NlaPolicy(NLA_U32),
    _NDA_MASTER: NlaPolicy(NLA_U32),
    _NDA_PROTOCOL: NlaPolicy(NLA_U8),
    _NDA_NH_ID: NlaPolicy(NLA_U32),
    _NDA_FLAGS_EXT: NlaPolicy.masked(NLA_U32, NTF_EXT_MASK),
    _NDA_FDB_EXT_ATTRS: NlaPolicy(NLA_NESTED),
}


class _Header:
    """struct ndmsg."""

    __slots__ = ("family", "flags", "ifindex", "is_odd", "state")

    def __init__(self, request: Request) -> None:
        self.family, pad1, pad2, self.ifindex, self.state, self.flags, ndm_type = _NDMSG.unpack_from(
            request.data, _HDRLEN
        )
        self.is_odd = bool(pad1 or pad2 or self.state or ndm_type)


def _has_header(request: Request, size: int = _NDMSG.size) -> bool:
    return len(request.data) >= _HDRLEN + size


def _parse(request: Request, validate: int, policy: Policies | None = _NDA_POLICY) -> None:
    request.tb = nlmsg_parse(request.data, _NDMSG.size, _NDA_MAX, policy, validate, request.extack)


# --- neighbours -------------------------------------------------------------------------------------------------------


def _valid_get_req(request: Request) -> _Header:
    """Kernel: net/core/neighbour.c, neigh_valid_get_req()."""
    if not _has_header(request):
        raise KernelError(EINVAL, "Invalid header for neighbor get request")
    header = _Header(request)
    if header.is_odd:
        raise KernelError(EINVAL, "Invalid values in header for neighbor get request")
    if header.flags & ~NTF_PROXY:
        raise KernelError(EINVAL, "Invalid flags in header for neighbor get request")
    if not header.flags & NTF_PROXY and not header.ifindex:
        raise KernelError(EINVAL, "No device specified")
    _parse(request, NL_VALIDATE_DEPRECATED_STRICT)
    _only_destination(request)
    return header


def _only_destination(request: Request) -> None:
    """The attributes are looked at in order of their types."""
    if _NDA_UNSPEC in request.tb:
        raise KernelError(EINVAL, "Unsupported attribute in neighbor get request")
    if _NDA_DST not in request.tb:
        request.extack.miss_type = _NDA_DST
        raise KernelError(EINVAL)
    if len(request.tb) > 1:
        raise KernelError(EINVAL, "Unsupported attribute in neighbor get request")


def _get(request: Request) -> None:
    """Kernel: net/core/neighbour.c, neigh_get()."""
    header = _valid_get_req(request)
    tbl = NEIGH_TABLES.get(header.family)
    if tbl is None:
        raise KernelError(EAFNOSUPPORT, "Unsupported family in header for neighbor get request")
    dst = request.payload(_NDA_DST) or b""
    if len(dst) != tbl.key_len:
        raise KernelError(EINVAL, "Invalid network address in neighbor get request")
    if header.ifindex and dev_get_by_index(request.net, header.ifindex) is None:
        raise KernelError(ENODEV, "Unknown device ifindex")
    if header.flags & NTF_PROXY:
        raise KernelError(ENOENT, "Proxy neighbour entry not found")
    for neighbour in neigh_dump(request.net, tbl, header.ifindex):
        if neighbour.dst == dst:
            request.answer(neighbour)
            return
    raise KernelError(ENOENT, "Neighbour entry not found")


def _valid_dump_req(dump: Dump) -> tuple[int, int]:
    """Of which device, and of devices with which master.

    Kernel: net/core/neighbour.c, neigh_valid_dump_req().
    """
    if not dump.strict:
        _parse(dump, NL_VALIDATE_LIBERAL)
        return dump.number(_NDA_IFINDEX) or 0, dump.number(_NDA_MASTER) or 0
    if not _has_header(dump):
        raise KernelError(EINVAL, "Invalid header for neighbor dump request")
    header = _Header(dump)
    if header.is_odd or header.ifindex:
        raise KernelError(EINVAL, "Invalid values in header for neighbor dump request")
    if header.flags & ~NTF_PROXY:
        raise KernelError(EINVAL, "Invalid flags in header for neighbor dump request")
    _parse(dump, NL_VALIDATE_DEPRECATED_STRICT)
    if any(attr not in (_NDA_IFINDEX, _NDA_MASTER) for attr in dump.tb):
        raise KernelError(EINVAL, "Unsupported attribute in neighbor dump request")
    return dump.number(_NDA_IFINDEX) or 0, dump.number(_NDA_MASTER) or 0


def _dump_info(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/neighbour.c, neigh_dump_info(): what cannot be read is passed over, if not strict."""
    family = dump.data[_HDRLEN]
    proxies = _has_header(dump) and _Header(dump).flags == NTF_PROXY
    try:
        ifindex, master = _valid_dump_req(dump)
    except KernelError as refusal:
        if dump.strict:
            raise
        dump.extack.msg = refusal.extack or dump.extack.msg  # told all the same
        ifindex, master = 0, 0
    filtered = NLM_F_DUMP_FILTERED * bool(ifindex or master)
    tables = _tables(family) if not proxies and not master else []

    def neighbours() -> list[NeighMsg]:
        return [neighbour for tbl in tables for neighbour in neigh_dump(dump.net, tbl, ifindex)]

    for neighbour in resumable(dump, neighbours):
        yield dump.message(neighbour, filtered)


def _tables(family: int) -> list[NeighTable]:
    return [tbl for tbl in NEIGH_TABLES.values() if family in (AF_UNSPEC, tbl.family)]


# --- neighbour tables -------------------------------------------------------------------------------------------------


def _dump_tables(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/neighbour.c, neightbl_dump_info(), neightbl_valid_dump_info()."""
    if dump.strict:
        _valid_tables_req(dump)
    for tbl in _tables(dump.data[_HDRLEN]):
        yield from _dump_table(dump, tbl)
    yield NEXT_DATAGRAM


def _dump_table(dump: Dump, tbl: NeighTable) -> Iterator[bytes]:
    """A datagram that goes on within a table begins with the table once more."""
    told = 0
    while True:
        yield dump.message(neightbl_fill_info(dump.net, tbl))
        for parms in islice(neigh_parms_dump(dump.net, tbl), told, None) if not dump.full else ():
            yield dump.message(parms)
            if dump.full:
                break
            told += 1
        if not dump.full:
            return
        dump.full = False


def _valid_tables_req(dump: Dump) -> None:
    if not _has_header(dump, _NDTMSG.size):
        raise KernelError(EINVAL, "Invalid header for neighbor table dump request")
    _, pad1, pad2 = _NDTMSG.unpack_from(dump.data, _HDRLEN)
    if pad1 or pad2:
        raise KernelError(EINVAL, "Invalid values in header for neighbor table dump request")
    if len(dump.data) > _HDRLEN + _NDTMSG.size:
        raise KernelError(EINVAL, "Invalid data after header in neighbor table dump request")


# --- forwarding databases: there are no bridges, but every Ethernet device has its groups -----------------------------


def _fdb_dump(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/rtnetlink.c, rtnl_fdb_dump()."""
    bridge, port = _valid_fdb_dump_strict(dump) if dump.strict else _valid_fdb_dump_legacy(dump)
    if bridge:
        if dev_get_by_index(dump.net, bridge) is None:
            raise KernelError(ENODEV)
        return
    ifindex, told, has_told = 0, 0, True
    while has_told:  # and once more, for the sake of devices that have come meanwhile
        has_told = False
        while (dev := _device_from(dump.net, ifindex, port)) is not None:
            ifindex = dev.ifindex
            for entry in islice(ndo_dflt_fdb_dump(dev), told, None):
                yield dump.message(entry)
                if dump.full:
                    break
                told, has_told = told + 1, True
            if not dump.full:
                ifindex, told = ifindex + 1, 0
            dump.full = False
        yield NEXT_DATAGRAM


def _device_from(net: Net, ifindex: int, only: int) -> NetDevice | None:
    """The next device from an index on, if it is the one that is wanted or none in particular is."""
    left = [index for index in net.dev_base_head if index >= ifindex and only in (0, index)]
    return net.dev_base_head[min(left)] if left else None


def _valid_fdb_dump_strict(dump: Dump) -> tuple[int, int]:
    """Kernel: net/core/rtnetlink.c, valid_fdb_dump_strict()."""
    if not _has_header(dump):
        raise KernelError(EINVAL, "Invalid header for fdb dump request")
    header = _Header(dump)
    if header.is_odd or header.flags:
        raise KernelError(EINVAL, "Invalid values in header for fdb dump request")
    _parse(dump, NL_VALIDATE_DEPRECATED_STRICT, None)
    found = {_NDA_MASTER: 0, _NDA_IFINDEX: header.ifindex}
    names = {_NDA_MASTER: "MASTER", _NDA_IFINDEX: "IFINDEX"}
    for attr in sorted(dump.tb):
        if attr not in found:
            raise KernelError(EINVAL, "Unsupported attribute in fdb dump request")
        if dump.tb[attr][1] != 4:
            raise KernelError(EINVAL, f"Invalid {names[attr]} attribute in fdb dump request")
        found[attr] = dump.number(attr) or 0
    return found[_NDA_MASTER], found[_NDA_IFINDEX]


def _valid_fdb_dump_legacy(dump: Dump) -> tuple[int, int]:
    """Who sends a struct ndmsg, with an attribute of four bytes or none, wants everything.

    Kernel: net/core/rtnetlink.c, valid_fdb_dump_legacy().
    """
    if len(dump.data) - _HDRLEN in (_NDMSG.size, _NDMSG.size + _NLA_U32_SIZE):
        return 0, 0
    try:
        dump.tb = nlmsg_parse(dump.data, _IFINFOMSG_SIZE, IFLA_MAX, IFLA_POLICY, NL_VALIDATE_LIBERAL, dump.extack)
    except KernelError as refusal:
        raise KernelError(EINVAL, refusal.extack) from None
    return dump.number(IFLA_MASTER) or 0, int.from_bytes(dump.data[_HDRLEN + 4 : _HDRLEN + 8], "little", signed=True)


def _fdb_get(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_fdb_get(): no device of the model looks one up."""
    flags, bridge, port = _valid_fdb_get_strict(request)
    if _NDA_LLADDR not in request.tb:
        raise KernelError(EINVAL, "Missing lookup address for fdb get request")
    dev = _fdb_device(request, port, "Unknown device ifindex", ENODEV) if port else None
    if bridge:
        if dev is not None:
            raise KernelError(EINVAL, "Master and device are mutually exclusive")
        _fdb_device(request, bridge, "Invalid master ifindex", EINVAL)
    if dev is not None and (not flags or flags & NTF_MASTER):
        raise KernelError(EINVAL, "Device is not a bridge port")
    if dev is None and not bridge:
        raise KernelError(ENODEV, "No device specified")
    raise KernelError(EOPNOTSUPP, "Fdb get operation not supported by device")


def _fdb_device(request: Request, ifindex: int, text: str, errno: int) -> NetDevice:
    dev = dev_get_by_index(request.net, ifindex)
    if dev is None:
        raise KernelError(errno, text)
    return dev


def _valid_fdb_get_strict(request: Request) -> tuple[int, int, int]:
    """The flags, the bridge and the port.

    Kernel: net/core/rtnetlink.c, valid_fdb_get_strict().
    """
    if not _has_header(request):
        raise KernelError(EINVAL, "Invalid header for fdb get request")
    header = _Header(request)
    if header.is_odd:
        raise KernelError(EINVAL, "Invalid values in header for fdb get request")
    if header.flags & ~(NTF_MASTER | NTF_SELF):
        raise KernelError(EINVAL, "Invalid flags in header for fdb get request")
    _parse(request, NL_VALIDATE_DEPRECATED_STRICT)
    for attr in sorted(request.tb):
        if attr == _NDA_LLADDR and request.tb[attr][1] != ETH_ALEN:
            raise KernelError(EINVAL, "Invalid address in fdb get request")
        if attr not in (_NDA_MASTER, _NDA_LLADDR, _NDA_VLAN, _NDA_VNI):
            raise KernelError(EINVAL, "Unsupported attribute in fdb get request")
        if attr == _NDA_VLAN:
            _parse_vid(request)
    return header.flags, request.number(_NDA_MASTER) or 0, header.ifindex


def _parse_vid(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, fdb_vid_parse()."""
    if request.tb[_NDA_VLAN][1] != 2:
        raise KernelError(EINVAL, "invalid vlan attribute size")
    if not 0 < (request.number(_NDA_VLAN, 2) or 0) < 4095:
        raise KernelError(EINVAL, "invalid vlan id")


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETNEIGH, AF_UNSPEC): Handler(_get, _dump_info),
    (RTM_GETNEIGH, AF_BRIDGE): Handler(_fdb_get, _fdb_dump),
    (RTM_GETNEIGHTBL, AF_UNSPEC): Handler(dumpit=_dump_tables),
}
