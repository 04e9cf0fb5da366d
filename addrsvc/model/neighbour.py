"""net/core/neighbour.c, as far as it can be asked: parameters of the neighbour tables, and neighbours one was told of.

There are two tables, arp_cache and ndisc_cache.  Nobody learns of neighbours here, since a device of the model has no
link; `addrsvc.model.ndisc` keeps those that were told to it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from addrsvc.model.addrconf_core import ipv6_addr_is_multicast
from addrsvc.model.netdev_chain import for_each_netdev
from addrsvc.model.structs import Net, NetDevice
from addrsvc.model.timer import HZ
from addrsvc.netlink.messages import NdaCacheinfo, NdtConfig, NeighMsg, NeighParms, NeightblMsg
from addrsvc.uapi import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    ARPHRD_ETHER,
    NTF_SELF,
    NUD_PERMANENT,
    NUD_REACHABLE,
    RTN_MULTICAST,
    RTN_UNICAST,
)

__all__ = [
    "NEIGH_TABLES", "NeighTable", "ndo_dflt_fdb_dump", "neigh_dump", "neigh_parms_dump", "neightbl_fill_info",
]  # fmt: skip

_BASE_REACHABLE_TIME: Final = 30_000
_QUEUE_BYTES: Final = 212_992
_ONE_PACKET: Final = 2_098
"""What a full Ethernet frame counts against a queue of bytes."""
_HASH_BUCKETS: Final = 8
_NO_COUNTS: Final = (0,) * 11

_PARMS: Final = NeighParms(
    refcnt=1,
    queue_lenbytes=_QUEUE_BYTES,
    queue_len=_QUEUE_BYTES // _ONE_PACKET,
    proxy_qlen=64,
    app_probes=0,
    ucast_probes=3,
    mcast_probes=3,
    mcast_reprobes=0,
    reachable_time=_BASE_REACHABLE_TIME,
    base_reachable_time=_BASE_REACHABLE_TIME,
    gc_staletime=60_000,
    delay_probe_time=5_000,
    retrans_time=1_000,
    anycast_delay=1_000,
    proxy_delay=800,
    locktime=1_000,
    interval_probe_time_ms=5_000,
)


@dataclass(frozen=True, slots=True)
class NeighTable:
    """struct neigh_table."""

    family: int
    id: str
    key_len: int
    entry_size: int
    parms: NeighParms


# In the kernel's order.
NEIGH_TABLES: Final[Mapping[int, NeighTable]] = {
    AF_INET: NeighTable(AF_INET, "arp_cache", 4, 336, _PARMS),
    AF_INET6: NeighTable(AF_INET6, "ndisc_cache", 16, 344, replace(_PARMS, locktime=0)),
}


def neightbl_fill_info(net: Net, tbl: NeighTable) -> NeightblMsg:
    """A table, with the parameters that its devices begin with.

    Kernel: net/core/neighbour.c, neightbl_fill_info().
    Differs: counts the neighbours of one namespace, and nothing that happened; nothing random is in it.
    """
    entries = len(list(neigh_dump(net, tbl)))
    return NeightblMsg(
        ndtm_family=tbl.family,
        name=tbl.id,
        gc_interval=30_000,
        thresh1=128,
        thresh2=512,
        thresh3=1024,
        config=NdtConfig(tbl.key_len, tbl.entry_size, entries, hash_mask=_HASH_BUCKETS - 1),
        stats=_NO_COUNTS,
        parms=tbl.parms,
    )


def neigh_parms_dump(net: Net, tbl: NeighTable) -> Iterator[NeightblMsg]:
    """What each device of a namespace has for itself in a table, the newest first.

    Kernel: net/core/neighbour.c, neightbl_fill_param_info().
    Differs: the reachable time of IPv4 neighbours is the one that the kernel's random ones lie around.
    """
    for dev in reversed(net.ipv4.arp_parms if tbl.family == AF_INET else net.ipv6.nd_parms):
        parms = replace(tbl.parms, ifindex=dev.ifindex, reachable_time=_reachable_time(tbl, dev))
        yield NeightblMsg(ndtm_family=tbl.family, name=tbl.id, parms=parms)


def _reachable_time(tbl: NeighTable, dev: NetDevice) -> int:
    if tbl.family == AF_INET or dev.ip6_ptr is None:
        return _BASE_REACHABLE_TIME
    return dev.ip6_ptr.reachable_time * 1000 // HZ


def neigh_dump(net: Net, tbl: NeighTable, ifindex: int = 0) -> Iterator[NeighMsg]:
    """The neighbours in a table, of one device or of all.

    Kernel: net/core/neighbour.c, neigh_dump_table(), neigh_fill_info().
    Differs: in order of their devices; every one of them is reachable, and has been used just now.
    """
    if tbl.family != AF_INET6:
        return
    for dev in for_each_netdev(net):
        if ifindex in (0, dev.ifindex):
            yield from (_neighbour(dev, *entry) for entry in net.ipv6.nd_tbl.get(dev, {}).items())


def _neighbour(dev: NetDevice, addr: bytes, lladdr: bytes) -> NeighMsg:
    return NeighMsg(
        ndm_family=AF_INET6,
        ndm_ifindex=dev.ifindex,
        ndm_state=NUD_REACHABLE,
        ndm_type=RTN_MULTICAST if ipv6_addr_is_multicast(addr) else RTN_UNICAST,
        dst=addr,
        lladdr=lladdr,
        probes=0,
        cacheinfo=NdaCacheinfo(),
    )


def ndo_dflt_fdb_dump(dev: NetDevice) -> Iterator[NeighMsg]:
    """The groups whose frames an Ethernet device receives, as entries of its forwarding database.

    Kernel: net/core/rtnetlink.c, ndo_dflt_fdb_dump().
    """
    for lladdr in dev.mc if dev.type == ARPHRD_ETHER else ():
        yield NeighMsg(
            ndm_family=AF_BRIDGE, ndm_ifindex=dev.ifindex, ndm_state=NUD_PERMANENT, ndm_flags=NTF_SELF, lladdr=lladdr
        )
