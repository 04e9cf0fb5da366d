"""RTM_*NEIGH as bytes: net/core/neighbour.c."""

from collections.abc import Iterator, Mapping
from errno import EAFNOSUPPORT, EINVAL, ENODEV, ENOENT
from typing import Final

from addrsvc.af_netlink.ndmsg import NDMSG_SIZE, Ndmsg, has_header, parse
from addrsvc.af_netlink.request import Dump, Handler, Request, resumable
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.neighbour import (
    NeighRequest,
    neigh_add,
    neigh_delete,
    neigh_dump,
    neigh_fill_info,
    neigh_lookup,
    pneigh_dump,
    pneigh_fill_info,
    pneigh_lookup,
)
from addrsvc.model.structs import Neighbour, NeighTable, Net, NetDevice
from addrsvc.netlink.messages import NeighMsg
from addrsvc.netlink.nlattr import NL_VALIDATE_DEPRECATED_STRICT, NL_VALIDATE_LIBERAL, nla_for_each_attr
from addrsvc.uapi import (
    AF_UNSPEC,
    NDA_DST,
    NDA_FLAGS_EXT,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_PROTOCOL,
    NDA_UNSPEC,
    NLM_F_CREATE,
    NLM_F_DUMP_FILTERED,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NTF_EXT_SHIFT,
    NTF_PROXY,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
)

__all__ = ["HANDLERS", "neigh_tables"]

_HDRLEN: Final = 16
_NO_MASTER: Final = 0xFFFFFFFF
"""NDA_MASTER of a dump that is about devices without one."""


# --- neighbours -------------------------------------------------------------------------------------------------------


def _valid_get_req(request: Request) -> Ndmsg:
    """Kernel: net/core/neighbour.c, neigh_valid_get_req()."""
    if not has_header(request):
        raise KernelError(EINVAL, "Invalid header for neighbor get request")
    header = Ndmsg(request)
    if header.is_odd:
        raise KernelError(EINVAL, "Invalid values in header for neighbor get request")
    if header.flags & ~NTF_PROXY:
        raise KernelError(EINVAL, "Invalid flags in header for neighbor get request")
    if not header.flags & NTF_PROXY and not header.ifindex:
        raise KernelError(EINVAL, "No device specified")
    parse(request, NL_VALIDATE_DEPRECATED_STRICT)
    _only_destination(request)
    return header


def _only_destination(request: Request) -> None:
    """The attributes are looked at in order of their types."""
    if NDA_UNSPEC in request.tb:
        raise KernelError(EINVAL, "Unsupported attribute in neighbor get request")
    if NDA_DST not in request.tb:
        request.extack.miss_type = NDA_DST
        raise KernelError(EINVAL)
    if len(request.tb) > 1:
        raise KernelError(EINVAL, "Unsupported attribute in neighbor get request")


def _get(request: Request) -> None:
    """Kernel: net/core/neighbour.c, neigh_get()."""
    header = _valid_get_req(request)
    tbl = request.net.machine.neigh_tables.get(header.family)
    if tbl is None:
        raise KernelError(EAFNOSUPPORT, "Unsupported family in header for neighbor get request")
    dst = request.payload(NDA_DST) or b""
    if len(dst) != tbl.key_len:
        raise KernelError(EINVAL, "Invalid network address in neighbor get request")
    dev = dev_get_by_index(request.net, header.ifindex) if header.ifindex else None
    if header.ifindex and dev is None:
        raise KernelError(ENODEV, "Unknown device ifindex")
    if header.flags & NTF_PROXY:
        pn = pneigh_lookup(tbl, request.net, dst, dev)
        if pn is None:
            raise KernelError(ENOENT, "Proxy neighbour entry not found")
        request.answer(pneigh_fill_info(tbl, pn))
        return
    assert dev is not None, "without a device only proxies are asked for"
    neigh = neigh_lookup(tbl, dst, dev)
    if neigh is None:
        raise KernelError(ENOENT, "Neighbour entry not found")
    request.answer(_held(neigh))


def _held(neigh: Neighbour) -> NeighMsg:
    """A neighbour as a message while who tells of it holds it."""
    neigh.held += 1
    msg = neigh_fill_info(neigh)
    neigh.held -= 1
    return msg


def _valid_dump_req(dump: Dump) -> tuple[int, int]:
    """Of which device, and of devices with which master.

    Kernel: net/core/neighbour.c, neigh_valid_dump_req().
    """
    if not dump.strict:
        parse(dump, NL_VALIDATE_LIBERAL)
        return dump.number(NDA_IFINDEX) or 0, dump.number(NDA_MASTER) or 0
    if not has_header(dump):
        raise KernelError(EINVAL, "Invalid header for neighbor dump request")
    header = Ndmsg(dump)
    if header.is_odd or header.ifindex:
        raise KernelError(EINVAL, "Invalid values in header for neighbor dump request")
    if header.flags & ~NTF_PROXY:
        raise KernelError(EINVAL, "Invalid flags in header for neighbor dump request")
    parse(dump, NL_VALIDATE_DEPRECATED_STRICT)
    if any(attr not in (NDA_IFINDEX, NDA_MASTER) for attr in dump.tb):
        raise KernelError(EINVAL, "Unsupported attribute in neighbor dump request")
    return dump.number(NDA_IFINDEX) or 0, dump.number(NDA_MASTER) or 0


def _dump_info(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/neighbour.c, neigh_dump_info(): what cannot be read is passed over, if not strict."""
    family = dump.data[_HDRLEN]
    proxies = has_header(dump) and Ndmsg(dump).flags == NTF_PROXY
    try:
        ifindex, master = _valid_dump_req(dump)
    except KernelError as refusal:
        if dump.strict:
            raise
        dump.extack.msg = refusal.extack or dump.extack.msg  # told all the same
        ifindex, master = 0, 0
    filtered = NLM_F_DUMP_FILTERED * bool(ifindex or master)
    listed = _proxies if proxies else _neighbours

    def entries() -> list[NeighMsg]:
        found = (entry for tbl in neigh_tables(dump.net, family) for entry in listed(dump.net, tbl))
        return [msg for msg in found if ifindex in (0, msg.ndm_ifindex) and master in (0, _NO_MASTER)]

    for entry in resumable(dump, entries):
        yield dump.message(entry, filtered)


def _neighbours(net: Net, tbl: NeighTable) -> Iterator[NeighMsg]:
    return map(neigh_fill_info, neigh_dump(net, tbl))


def _proxies(net: Net, tbl: NeighTable) -> Iterator[NeighMsg]:
    return (pneigh_fill_info(tbl, pn) for pn in pneigh_dump(net, tbl))


def neigh_tables(net: Net, family: int) -> list[NeighTable]:
    """The tables of a family, or of all.  Ours."""
    return [tbl for tbl in net.machine.neigh_tables.values() if family in (AF_UNSPEC, tbl.family)]


# --- changes ----------------------------------------------------------------------------------------------------------


def _table(request: Request, header: Ndmsg) -> NeighTable:
    tbl = request.net.machine.neigh_tables.get(header.family)
    if tbl is None:
        raise KernelError(EAFNOSUPPORT)
    return tbl


def _device(request: Request, header: Ndmsg) -> NetDevice | None:
    dev = dev_get_by_index(request.net, header.ifindex) if header.ifindex else None
    if header.ifindex and dev is None:
        raise KernelError(ENODEV)
    return dev


def _key(tbl: NeighTable, dst: bytes) -> bytes:
    if len(dst) < tbl.key_len:
        raise KernelError(EINVAL, "Invalid network address")
    return dst[: tbl.key_len]


def _add(request: Request) -> None:
    """Kernel: net/core/neighbour.c, neigh_add()."""
    parse(request, NL_VALIDATE_LIBERAL)
    header, dst, lladdr = Ndmsg(request), request.payload(NDA_DST), request.payload(NDA_LLADDR)
    if dst is None:
        raise KernelError(EINVAL, "Network address not specified")
    dev = _device(request, header)
    if dev is not None and lladdr is not None and len(lladdr) < dev.addr_len:
        raise KernelError(EINVAL, "Invalid link address")
    tbl = _table(request, header)
    wanted = NeighRequest(
        tbl,
        _key(tbl, dst),
        dev,
        header.state & 0xFF,
        header.flags | (request.number(NDA_FLAGS_EXT) or 0) << NTF_EXT_SHIFT,
        lladdr,
        request.number(NDA_PROTOCOL, 1) or 0,
        create=bool(request.flags & NLM_F_CREATE),
        excl=bool(request.flags & NLM_F_EXCL),
        replace=bool(request.flags & NLM_F_REPLACE),
    )
    neigh_add(request.net, wanted)


def _delete(request: Request) -> None:
    """Kernel: net/core/neighbour.c, neigh_delete(): of the attributes the first address is looked at, and no other."""
    if not has_header(request):
        raise KernelError(EINVAL)
    found = nla_for_each_attr(request.data, _HDRLEN + NDMSG_SIZE, len(request.data))
    dst = next((request.data[at : at + length] for attr, at, length in found if attr == NDA_DST), None)
    if dst is None:
        raise KernelError(EINVAL, "Network address not specified")
    header = Ndmsg(request)
    dev = _device(request, header)
    tbl = _table(request, header)
    neigh_delete(request.net, NeighRequest(tbl, _key(tbl, dst), dev, flags=header.flags))


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWNEIGH, AF_UNSPEC): Handler(_add),
    (RTM_DELNEIGH, AF_UNSPEC): Handler(_delete),
    (RTM_GETNEIGH, AF_UNSPEC): Handler(_get, _dump_info),
}
