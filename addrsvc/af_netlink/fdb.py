"""RTM_*NEIGH of bridges' family as bytes: net/core/rtnetlink.c, forwarding databases.

There are no bridges, but every Ethernet device has its list of addresses.
"""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENODEV, EOPNOTSUPP
from itertools import islice
from typing import Final

from addrsvc.af_netlink.ifinfomsg import IFLA_POLICY
from addrsvc.af_netlink.ndmsg import NDMSG_SIZE, Ndmsg, has_header, parse
from addrsvc.af_netlink.request import NEXT_DATAGRAM, Dump, Handler, Request
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.rtnl_fdb import ndo_dflt_fdb_add, ndo_dflt_fdb_del, ndo_dflt_fdb_dump
from addrsvc.model.structs import Net, NetDevice
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NL_VALIDATE_STRICT,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_BRIDGE,
    ARPHRD_ETHER,
    ETH_ALEN,
    IFLA_MASTER,
    IFLA_MAX,
    NDA_FLAGS_EXT,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_VLAN,
    NDA_VNI,
    NLM_F_BULK,
    NLM_F_EXCL,
    NTF_MASTER,
    NTF_SELF,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_IFINFOMSG_SIZE: Final = 16
_NLA_U32_SIZE: Final = 8


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
    if not has_header(dump):
        raise KernelError(EINVAL, "Invalid header for fdb dump request")
    header = Ndmsg(dump)
    if header.is_odd or header.flags:
        raise KernelError(EINVAL, "Invalid values in header for fdb dump request")
    parse(dump, NL_VALIDATE_DEPRECATED_STRICT, None)
    found = {NDA_MASTER: 0, NDA_IFINDEX: header.ifindex}
    names = {NDA_MASTER: "MASTER", NDA_IFINDEX: "IFINDEX"}
    for attr in sorted(dump.tb):
        if attr not in found:
            raise KernelError(EINVAL, "Unsupported attribute in fdb dump request")
        if dump.tb[attr][1] != 4:
            raise KernelError(EINVAL, f"Invalid {names[attr]} attribute in fdb dump request")
        found[attr] = dump.number(attr) or 0
    return found[NDA_MASTER], found[NDA_IFINDEX]


def _valid_fdb_dump_legacy(dump: Dump) -> tuple[int, int]:
    """Who sends a struct ndmsg, with an attribute of four bytes or none, wants everything.

    Kernel: net/core/rtnetlink.c, valid_fdb_dump_legacy().
    """
    if len(dump.data) - _HDRLEN in (NDMSG_SIZE, NDMSG_SIZE + _NLA_U32_SIZE):
        return 0, 0
    try:
        dump.tb = nlmsg_parse(dump.data, _IFINFOMSG_SIZE, IFLA_MAX, IFLA_POLICY, NL_VALIDATE_LIBERAL, dump.extack)
    except KernelError as refusal:
        raise KernelError(EINVAL, refusal.extack) from None
    return dump.number(IFLA_MASTER) or 0, int.from_bytes(dump.data[_HDRLEN + 4 : _HDRLEN + 8], "little", signed=True)


def _fdb_get(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_fdb_get(): no device of the model looks one up."""
    flags, bridge, port = _valid_fdb_get_strict(request)
    if NDA_LLADDR not in request.tb:
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
    if not has_header(request):
        raise KernelError(EINVAL, "Invalid header for fdb get request")
    header = Ndmsg(request)
    if header.is_odd:
        raise KernelError(EINVAL, "Invalid values in header for fdb get request")
    if header.flags & ~(NTF_MASTER | NTF_SELF):
        raise KernelError(EINVAL, "Invalid flags in header for fdb get request")
    parse(request, NL_VALIDATE_DEPRECATED_STRICT)
    for attr in sorted(request.tb):
        if attr == NDA_LLADDR and request.tb[attr][1] != ETH_ALEN:
            raise KernelError(EINVAL, "Invalid address in fdb get request")
        if attr not in (NDA_MASTER, NDA_LLADDR, NDA_VLAN, NDA_VNI):
            raise KernelError(EINVAL, "Unsupported attribute in fdb get request")
        if attr == NDA_VLAN:
            _parse_vid(request)
    return header.flags, request.number(NDA_MASTER) or 0, header.ifindex


def _parse_vid(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, fdb_vidparse()."""
    if request.tb[NDA_VLAN][1] != 2:
        raise KernelError(EINVAL, "invalid vlan attribute size")
    if not 0 < (request.number(NDA_VLAN, 2) or 0) < 4095:
        raise KernelError(EINVAL, "invalid vlan id")


# --- changes ----------------------------------------------------------------------------------------------------------


def _changed_device(request: Request) -> NetDevice:
    ifindex = Ndmsg(request).ifindex
    if not ifindex:
        raise KernelError(EINVAL, "invalid ifindex")
    return _fdb_device(request, ifindex, "unknown ifindex", ENODEV)


def _address(request: Request) -> bytes:
    lladdr = request.payload(NDA_LLADDR)
    if lladdr is None or len(lladdr) != ETH_ALEN:
        raise KernelError(EINVAL, "invalid address")
    return lladdr


def _only_ethernet(dev: NetDevice, doing: str) -> None:
    if dev.type != ARPHRD_ETHER:
        raise KernelError(EINVAL, f"FDB {doing} only supported for Ethernet devices")


def _vid(request: Request) -> int:
    if NDA_VLAN not in request.tb:
        return 0
    _parse_vid(request)
    return request.number(NDA_VLAN, 2) or 0


def _fdb_add(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_fdb_add(); no device is a bridge's port."""
    parse(request, NL_VALIDATE_LIBERAL, None)
    dev, lladdr = _changed_device(request), _address(request)
    _only_ethernet(dev, "add")
    vid, header = _vid(request), Ndmsg(request)
    if not header.flags & NTF_SELF:
        raise KernelError(EOPNOTSUPP)
    excl, flags_ext = bool(request.flags & NLM_F_EXCL), NDA_FLAGS_EXT in request.tb
    ndo_dflt_fdb_add(dev, lladdr, header.state, vid=vid, flags_ext=flags_ext, excl=excl)


def _fdb_del(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_fdb_del(); no device deletes many entries at once."""
    bulk = bool(request.flags & NLM_F_BULK)
    parse(request, NL_VALIDATE_STRICT if bulk else NL_VALIDATE_LIBERAL, None)
    dev = _changed_device(request)
    lladdr = b"" if bulk else _address(request)
    if not bulk:
        _vid(request)
    _only_ethernet(dev, "delete")
    header = Ndmsg(request)
    if bulk or not header.flags & NTF_SELF:
        raise KernelError(EOPNOTSUPP)
    ndo_dflt_fdb_del(dev, lladdr, header.state)


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWNEIGH, AF_BRIDGE): Handler(_fdb_add),
    (RTM_DELNEIGH, AF_BRIDGE): Handler(_fdb_del, bulk_delete=True),
    (RTM_GETNEIGH, AF_BRIDGE): Handler(_fdb_get, _fdb_dump),
}
