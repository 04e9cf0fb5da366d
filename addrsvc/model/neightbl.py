"""net/core/neighbour.c, tables: what RTM_*NEIGHTBL tells of them and sets."""

from collections.abc import Iterator, Mapping
from errno import ENOENT
from typing import Any, Final

from addrsvc.errors import KernelError
from addrsvc.model.neighbour import neigh_rand_reach_time
from addrsvc.model.structs import Machine, NeighParms, NeighTable, Net
from addrsvc.model.timer import jiffies_to_msecs, msecs_to_jiffies
from addrsvc.netlink.messages import NdtConfig, NeightblMsg
from addrsvc.netlink.messages import NeighParms as NeighParmsMsg
from addrsvc.uapi import (
    NDTPA_ANYCAST_DELAY,
    NDTPA_APP_PROBES,
    NDTPA_BASE_REACHABLE_TIME,
    NDTPA_DELAY_PROBE_TIME,
    NDTPA_GC_STALETIME,
    NDTPA_INTERVAL_PROBE_TIME_MS,
    NDTPA_LOCKTIME,
    NDTPA_MCAST_PROBES,
    NDTPA_MCAST_REPROBES,
    NDTPA_PROXY_DELAY,
    NDTPA_PROXY_QLEN,
    NDTPA_QUEUE_LEN,
    NDTPA_QUEUE_LENBYTES,
    NDTPA_RETRANS_TIME,
    NDTPA_UCAST_PROBES,
)

__all__ = [
    "TIMES", "lookup_neigh_parms", "neigh_parms_dump", "neightbl_fill_info", "neightbl_fill_param_info",
    "set_neigh_parms",
]  # fmt: skip

_ONE_PACKET: Final = 2090
"""SKB_TRUESIZE(ETH_FRAME_LEN): what a full Ethernet frame counts against a queue of bytes."""
_U32_MAX: Final = 0xFFFFFFFF
_U64_MAX: Final = (1 << 64) - 1

_COUNTS: Final[Mapping[int, str]] = {
    NDTPA_PROXY_QLEN: "proxy_qlen",
    NDTPA_APP_PROBES: "app_probes",
    NDTPA_UCAST_PROBES: "ucast_probes",
    NDTPA_MCAST_PROBES: "mcast_probes",
    NDTPA_MCAST_REPROBES: "mcast_reprobes",
}
TIMES: Final[Mapping[int, str]] = {
    NDTPA_BASE_REACHABLE_TIME: "base_reachable_time",
    NDTPA_GC_STALETIME: "gc_staletime",
    NDTPA_DELAY_PROBE_TIME: "delay_probe_time",
    NDTPA_RETRANS_TIME: "retrans_time",
    NDTPA_ANYCAST_DELAY: "anycast_delay",
    NDTPA_PROXY_DELAY: "proxy_delay",
    NDTPA_LOCKTIME: "locktime",
    NDTPA_INTERVAL_PROBE_TIME_MS: "interval_probe_time_ms",
}
"""Parameters that are times: told and set in milliseconds, in eight bytes; with the names that messages have."""

# struct ndt_stats, in its order.
_STATS: Final = (
    "allocs", "destroys", "hash_grows", "res_failed", "lookups", "hits", "rcv_probes_mcast", "rcv_probes_ucast",
    "periodic_gc_runs", "forced_gc_runs", "table_fulls",
)  # fmt: skip


def _fill_parms(tbl: NeighTable, parms: NeighParms) -> NeighParmsMsg:
    """Kernel: net/core/neighbour.c, neightbl_fill_parms()."""
    bytes_queued = parms.data[NDTPA_QUEUE_LENBYTES]
    numbers: dict[str, Any] = {name: parms.data[attr] & _U32_MAX for attr, name in _COUNTS.items()}
    numbers |= {name: jiffies_to_msecs(parms.data[attr]) & _U32_MAX for attr, name in TIMES.items()}
    return NeighParmsMsg(
        ifindex=parms.dev.ifindex if parms.dev is not None else None,
        refcnt=1 + sum(neigh.parms is parms for neigh in tbl.entries.values()),
        queue_lenbytes=bytes_queued & _U32_MAX,
        queue_len=(bytes_queued & _U64_MAX) // _ONE_PACKET & _U32_MAX,
        reachable_time=jiffies_to_msecs(parms.reachable_time),
        **numbers,
    )


def neightbl_fill_info(machine: Machine, tbl: NeighTable) -> NeightblMsg:
    """A table, with the parameters that its devices begin with.

    Kernel: net/core/neighbour.c, neightbl_fill_info().
    """
    now = machine.timers.jiffies
    return NeightblMsg(
        ndtm_family=tbl.family,
        name=tbl.id,
        gc_interval=jiffies_to_msecs(tbl.gc_interval),
        thresh1=tbl.gc_thresh1,
        thresh2=tbl.gc_thresh2,
        thresh3=tbl.gc_thresh3,
        config=NdtConfig(
            key_len=tbl.key_len,
            entry_size=tbl.entry_size,
            entries=len(tbl.entries),
            last_flush=jiffies_to_msecs(now - tbl.last_flush) & _U32_MAX,
            last_rand=jiffies_to_msecs(now - tbl.last_rand) & _U32_MAX,
            hash_rnd=tbl.hash_rnd,
            hash_mask=(1 << tbl.hash_shift) - 1,
        ),
        stats=tuple(tbl.stats[name] for name in _STATS),
        parms=_fill_parms(tbl, tbl.parms),
    )


def neightbl_fill_param_info(tbl: NeighTable, parms: NeighParms) -> NeightblMsg:
    """What a device has for itself.

    Kernel: net/core/neighbour.c, neightbl_fill_param_info().
    """
    return NeightblMsg(ndtm_family=tbl.family, name=tbl.id, parms=_fill_parms(tbl, parms))


def neigh_parms_dump(net: Net, tbl: NeighTable) -> Iterator[NeighParms]:
    """The parameters of each device of a namespace, the newest first.

    Kernel: net/core/neighbour.c, neightbl_dump_info().
    """
    return (parms for parms in list(tbl.parms_list) if parms.dev is not None and parms.dev.net is net)


def lookup_neigh_parms(net: Net, tbl: NeighTable, ifindex: int) -> NeighParms:
    """The parameters of a device, or those of devices to come, which only the first namespace has.

    Kernel: net/core/neighbour.c, lookup_neigh_parms().

    Raises:
        KernelError: ENOENT.
    """
    if not ifindex and net is net.machine.net_namespace_list[0]:
        return tbl.parms
    for parms in neigh_parms_dump(net, tbl):
        if parms.dev is not None and parms.dev.ifindex == ifindex:
            return parms
    raise KernelError(ENOENT)


def _int(value: int) -> int:
    """What is left of a number in the kernel's int."""
    return (value + (1 << 31) & _U32_MAX) - (1 << 31)


def set_neigh_parms(machine: Machine, parms: NeighParms, attr: int, value: int) -> None:
    """Set a parameter; times are in milliseconds.

    Kernel: net/core/neighbour.c, neightbl_set().
    """
    if attr == NDTPA_QUEUE_LEN:
        parms.data[NDTPA_QUEUE_LENBYTES] = _int(value * _ONE_PACKET)
    elif attr in TIMES:
        parms.data[attr] = _int(msecs_to_jiffies(value))
    elif attr in _COUNTS or attr == NDTPA_QUEUE_LENBYTES:
        parms.data[attr] = _int(value)
    if attr == NDTPA_BASE_REACHABLE_TIME:
        parms.reachable_time = neigh_rand_reach_time(machine, parms.data[attr] & _U32_MAX)
