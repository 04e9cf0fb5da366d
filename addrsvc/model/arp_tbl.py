"""net/ipv4/arp.c, the table: neighbours of IPv4, and when they are forgotten."""

from errno import EINVAL
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.dev_addr_lists import group_address
from addrsvc.model.fib_trie import inet_addr_type, rt_cache_flush
from addrsvc.model.neighbour import (
    neigh_carrier_down,
    neigh_changeaddr,
    neigh_ifdown,
    neigh_parms_alloc,
    neigh_parms_release,
    neigh_table_init,
)
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock
from addrsvc.model.structs import (
    Machine,
    Neighbour,
    NeighParms,
    NeighTable,
    NetDevice,
    NetdevNotifierChangeInfo,
    NetdevNotifierInfo,
)
from addrsvc.model.timer import HZ
from addrsvc.uapi import (
    AF_INET,
    IFF_LOOPBACK,
    IFF_NOARP,
    IFF_POINTOPOINT,
    NETDEV_CHANGE,
    NETDEV_CHANGEADDR,
    NUD_NOARP,
    RTN_BROADCAST,
    RTN_MULTICAST,
)

__all__ = ["arp_ifdown", "arp_netdev_event", "arp_parms_alloc", "arp_parms_release", "arp_tbl_init"]

_ENTRY_SIZE: Final = 336
_INADDR_ANY: Final = bytes(4)


def _arp_tbl(machine: Machine) -> NeighTable:
    return machine.neigh_tables[AF_INET]


def _arp_constructor(neigh: Neighbour) -> None:
    """Kernel: net/ipv4/arp.c, arp_constructor(): all neighbours on a link with two ends or none are one."""
    dev = neigh.dev
    if dev.flags & (IFF_LOOPBACK | IFF_POINTOPOINT):
        neigh.primary_key = _INADDR_ANY
    if dev.ip_ptr is None or dev.ip_ptr.arp_parms is None:
        raise KernelError(EINVAL)
    neigh.type = inet_addr_type(dev.net, neigh.primary_key)
    neigh.parms = dev.ip_ptr.arp_parms
    if dev.header_ops is None:
        neigh.nud_state = NUD_NOARP
    elif neigh.type == RTN_MULTICAST:
        neigh.nud_state, neigh.ha = NUD_NOARP, group_address(dev, neigh.primary_key) or dev.broadcast
    elif dev.flags & (IFF_NOARP | IFF_LOOPBACK):
        neigh.nud_state, neigh.ha = NUD_NOARP, dev.dev_addr
    elif neigh.type == RTN_BROADCAST or dev.flags & IFF_POINTOPOINT:
        neigh.nud_state, neigh.ha = NUD_NOARP, dev.broadcast


def arp_parms_alloc(dev: NetDevice) -> NeighParms:
    """The parameters of a device's IPv4 neighbours.  Ours."""
    return neigh_parms_alloc(dev, _arp_tbl(dev.machine))


def arp_parms_release(parms: NeighParms, dev: NetDevice) -> None:
    """Take them back, and forget the neighbours.

    Kernel: net/ipv4/devinet.c, inetdev_destroy().
    """
    neigh_parms_release(_arp_tbl(dev.machine), parms)
    arp_ifdown(dev)


def arp_ifdown(dev: NetDevice) -> None:
    """Forget a device's neighbours.

    Kernel: net/ipv4/arp.c, arp_ifdown().
    """
    neigh_ifdown(_arp_tbl(dev.machine), dev)


def arp_netdev_event(event: int, info: NetdevNotifierInfo) -> int:
    """ARP's ear on the netdevice chain.

    Kernel: net/ipv4/arp.c, arp_netdev_event().
    """
    dev = info.dev
    tbl = _arp_tbl(dev.machine)
    if event == NETDEV_CHANGEADDR:
        neigh_changeaddr(tbl, dev)
        rt_cache_flush(dev.net)
    elif event == NETDEV_CHANGE:
        if isinstance(info, NetdevNotifierChangeInfo) and info.flags_changed & IFF_NOARP:
            neigh_changeaddr(tbl, dev)
        if not dev.carrier and _evicts_without_carrier(dev):
            neigh_carrier_down(tbl, dev)
    return NOTIFY_DONE


def _evicts_without_carrier(dev: NetDevice) -> bool:
    """Kernel: net/ipv4/arp.c, arp_netdev_event(), IN_DEV_ARP_EVICT_NOCARRIER."""
    everywhere = dev.net.ipv4.devconf_all["arp_evict_nocarrier"]
    return dev.ip_ptr is None or bool(everywhere and dev.ip_ptr.cnf["arp_evict_nocarrier"])


def arp_tbl_init(machine: Machine) -> None:
    """Make the table of IPv4 neighbours, and subscribe it to devices.

    Kernel: net/ipv4/arp.c, arp_init(), its first half.
    """
    tbl = neigh_table_init(machine, AF_INET, "arp_cache", key_len=4, entry_size=_ENTRY_SIZE, locktime=HZ)
    tbl.constructor = _arp_constructor
    register_netdevice_notifier(machine, NotifierBlock(arp_netdev_event))
