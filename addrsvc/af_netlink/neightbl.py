"""RTM_*NEIGHTBL as bytes: net/core/neighbour.c."""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENOENT
from itertools import islice
from struct import Struct
from sys import byteorder
from typing import Final

from addrsvc.af_netlink.ndmsg import has_header
from addrsvc.af_netlink.neigh import neigh_tables
from addrsvc.af_netlink.request import NEXT_DATAGRAM, Dump, Handler, Request
from addrsvc.errors import KernelError
from addrsvc.model.neightbl import (
    TIMES,
    lookup_neigh_parms,
    neigh_parms_dump,
    neightbl_fill_info,
    neightbl_fill_param_info,
    set_neigh_parms,
)
from addrsvc.model.structs import NeighTable
from addrsvc.model.timer import msecs_to_jiffies
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_LIBERAL,
    NLA_NESTED,
    NLA_STRING,
    NLA_U32,
    NLA_U64,
    NlaPolicy,
    Policies,
    nla_parse_nested_deprecated,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_UNSPEC,
    NDTA_GC_INTERVAL,
    NDTA_MAX,
    NDTA_NAME,
    NDTA_PARMS,
    NDTA_THRESH1,
    NDTA_THRESH2,
    NDTA_THRESH3,
    NDTPA_APP_PROBES,
    NDTPA_IFINDEX,
    NDTPA_MAX,
    NDTPA_MCAST_PROBES,
    NDTPA_MCAST_REPROBES,
    NDTPA_PROXY_QLEN,
    NDTPA_QUEUE_LEN,
    NDTPA_QUEUE_LENBYTES,
    NDTPA_UCAST_PROBES,
    RTM_GETNEIGHTBL,
    RTM_SETNEIGHTBL,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_NDTMSG: Final = Struct("=BBH")

# Kernel: net/core/neighbour.c, nl_neightbl_policy, nl_ntbl_parm_policy.
_POLICY: Final[Policies] = {
    NDTA_NAME: NlaPolicy(NLA_STRING),
    NDTA_THRESH1: NlaPolicy(NLA_U32),
    NDTA_THRESH2: NlaPolicy(NLA_U32),
    NDTA_THRESH3: NlaPolicy(NLA_U32),
    NDTA_GC_INTERVAL: NlaPolicy(NLA_U64),
    NDTA_PARMS: NlaPolicy(NLA_NESTED),
}
_PARM_POLICY: Final[Policies] = {
    **dict.fromkeys(
        (NDTPA_IFINDEX, NDTPA_QUEUE_LEN, NDTPA_QUEUE_LENBYTES, NDTPA_PROXY_QLEN, NDTPA_APP_PROBES, NDTPA_UCAST_PROBES,
         NDTPA_MCAST_PROBES, NDTPA_MCAST_REPROBES),
        NlaPolicy(NLA_U32),
    ),
    **dict.fromkeys(TIMES, NlaPolicy(NLA_U64)),
}  # fmt: skip
_THRESHOLDS: Final[Mapping[int, str]] = {
    NDTA_THRESH1: "gc_thresh1",
    NDTA_THRESH2: "gc_thresh2",
    NDTA_THRESH3: "gc_thresh3",
}


def _dump_tables(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/neighbour.c, neightbl_dump_info(), neightbl_valid_dump_info()."""
    if dump.strict:
        _valid_tables_req(dump)
    for tbl in neigh_tables(dump.net, dump.data[_HDRLEN]):
        yield from _dump_table(dump, tbl)
    yield NEXT_DATAGRAM


def _dump_table(dump: Dump, tbl: NeighTable) -> Iterator[bytes]:
    """A datagram that goes on within a table begins with the table once more."""
    told = 0
    while True:
        yield dump.message(neightbl_fill_info(dump.net.machine, tbl))
        for parms in islice(neigh_parms_dump(dump.net, tbl), told, None) if not dump.full else ():
            yield dump.message(neightbl_fill_param_info(tbl, parms))
            if dump.full:
                break
            told += 1
        if not dump.full:
            return
        dump.full = False


def _valid_tables_req(dump: Dump) -> None:
    if not has_header(dump, _NDTMSG.size):
        raise KernelError(EINVAL, "Invalid header for neighbor table dump request")
    _, pad1, pad2 = _NDTMSG.unpack_from(dump.data, _HDRLEN)
    if pad1 or pad2:
        raise KernelError(EINVAL, "Invalid values in header for neighbor table dump request")
    if len(dump.data) > _HDRLEN + _NDTMSG.size:
        raise KernelError(EINVAL, "Invalid data after header in neighbor table dump request")


def _set(request: Request) -> None:
    """Kernel: net/core/neighbour.c, neightbl_set()."""
    request.tb = nlmsg_parse(request.data, _NDTMSG.size, NDTA_MAX, _POLICY, NL_VALIDATE_LIBERAL, request.extack)
    name = request.payload(NDTA_NAME)
    if name is None:
        raise KernelError(EINVAL)
    wanted = name.rstrip(b"\0")
    tbl = next((tbl for tbl in neigh_tables(request.net, request.data[_HDRLEN]) if tbl.id.encode() == wanted), None)
    if tbl is None:
        raise KernelError(ENOENT)
    if NDTA_PARMS in request.tb:
        _set_parms(request, tbl)
    _set_table(request, tbl)


def _set_parms(request: Request, tbl: NeighTable) -> None:
    places = nla_parse_nested_deprecated(request.data, request.tb[NDTA_PARMS], NDTPA_MAX, _PARM_POLICY, request.extack)
    values = {
        attr: int.from_bytes(request.data[at : at + (8 if attr in TIMES else 4)], byteorder)
        for attr, (at, _) in places.items()
    }
    parms = lookup_neigh_parms(request.net, tbl, values.get(NDTPA_IFINDEX, 0))
    for attr in sorted(values):
        set_neigh_parms(request.net.machine, parms, attr, values[attr])


def _set_table(request: Request, tbl: NeighTable) -> None:
    """What is the same for all namespaces, only the first may set."""
    given = request.tb.keys() & {*_THRESHOLDS, NDTA_GC_INTERVAL}
    if given and request.net is not request.net.machine.net_namespace_list[0]:
        raise KernelError(ENOENT)
    for attr, name in _THRESHOLDS.items():
        if attr in given:
            setattr(tbl, name, request.number(attr))
    if NDTA_GC_INTERVAL in given:
        tbl.gc_interval = msecs_to_jiffies(request.number(NDTA_GC_INTERVAL, 8) or 0)


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETNEIGHTBL, AF_UNSPEC): Handler(dumpit=_dump_tables),
    (RTM_SETNEIGHTBL, AF_UNSPEC): Handler(_set),
}
