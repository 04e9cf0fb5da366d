"""net/ipv6/ndisc.c, as far as device events go: neighbours of IPv6, and when they are forgotten, with stale routes.

Nothing in the model learns of neighbours by itself, since nobody answers; `neigh_update` is for whoever does.
"""

from collections.abc import Callable
from contextlib import suppress
from errno import EINVAL
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import ipv6_addr_is_multicast
from addrsvc.model.dev_addr_lists import group_address
from addrsvc.model.ip6_route import fib6_run_gc
from addrsvc.model.mcast import ipv6_dev_mc_dec, ipv6_dev_mc_inc
from addrsvc.model.neighbour import (
    neigh_carrier_down,
    neigh_changeaddr,
    neigh_dump,
    neigh_ifdown,
    neigh_learn,
    neigh_table_init,
)
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock
from addrsvc.model.structs import (
    ADDRCONF_NOTIFY_PRIORITY,
    Machine,
    Neighbour,
    NeighTable,
    NetDevice,
    NetdevNotifierChangeInfo,
    NetdevNotifierInfo,
    PneighEntry,
)
from addrsvc.uapi import (
    AF_INET6,
    IFF_LOOPBACK,
    IFF_NOARP,
    IFF_POINTOPOINT,
    NETDEV_CHANGE,
    NETDEV_CHANGEADDR,
    NETDEV_DOWN,
    NUD_NOARP,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
)

__all__ = ["ndisc_init", "ndisc_late_init", "ndisc_netdev_event", "neigh_update", "neighbours"]

NDISC_NOTIFY_PRIORITY: Final = ADDRCONF_NOTIFY_PRIORITY - 5
_ENTRY_SIZE: Final = 344


def _nd_tbl(dev: NetDevice) -> NeighTable:
    return dev.machine.neigh_tables[AF_INET6]


def neigh_update(dev: NetDevice, addr: bytes, lladdr: bytes) -> None:
    """Remember where a neighbour is: its IPv6 address and its hardware address, both packed.

    Kernel: net/core/neighbour.c, neigh_update().
    Differs: what is told counts even on a device that does not ask for neighbours.
    """
    neigh_learn(_nd_tbl(dev), addr, dev, lladdr)


def neighbours(dev: NetDevice) -> dict[bytes, bytes]:
    """The neighbours of a device: IPv6 address to hardware address.  Ours."""
    return {neigh.primary_key: neigh.ha for neigh in neigh_dump(dev.net, _nd_tbl(dev)) if neigh.dev is dev}


# --- what a neighbour is like at first --------------------------------------------------------------------------------


def _ndisc_constructor(neigh: Neighbour) -> None:
    """Kernel: net/ipv6/ndisc.c, ndisc_constructor()."""
    dev = neigh.dev
    if dev.ip6_ptr is None or dev.ip6_ptr.nd_parms is None:
        raise KernelError(EINVAL)
    neigh.parms = dev.ip6_ptr.nd_parms
    is_group = ipv6_addr_is_multicast(neigh.primary_key)
    neigh.type = RTN_MULTICAST if is_group else RTN_UNICAST
    if dev.header_ops is None:
        neigh.nud_state = NUD_NOARP
    elif is_group:
        neigh.nud_state, neigh.ha = NUD_NOARP, group_address(dev, neigh.primary_key) or dev.broadcast
    elif dev.flags & (IFF_NOARP | IFF_LOOPBACK):
        neigh.nud_state, neigh.ha = NUD_NOARP, dev.dev_addr
        neigh.type = RTN_LOCAL if dev.flags & IFF_LOOPBACK else RTN_UNICAST
    elif dev.flags & IFF_POINTOPOINT:
        neigh.nud_state, neigh.ha = NUD_NOARP, dev.broadcast


def _ndisc_allow_add(dev: NetDevice) -> None:
    """Kernel: net/ipv6/ndisc.c, ndisc_allow_add()."""
    if dev.ip6_ptr is None or dev.ip6_ptr.cnf["disable_ipv6"]:
        raise KernelError(EINVAL, "IPv6 is disabled on this device")


def _solicited_node(pn: PneighEntry) -> bytes:
    return bytes.fromhex("ff0200000000000000000001ff") + pn.key[13:]


def _pndisc_constructor(pn: PneighEntry) -> None:
    """Kernel: net/ipv6/ndisc.c, pndisc_constructor()."""
    if pn.dev is None:
        raise KernelError(EINVAL)
    ipv6_dev_mc_inc(pn.dev, _solicited_node(pn))


def _pndisc_destructor(pn: PneighEntry) -> None:
    """Kernel: net/ipv6/ndisc.c, pndisc_destructor()."""
    if pn.dev is not None and pn.dev.ip6_ptr is not None:
        with suppress(KernelError):
            ipv6_dev_mc_dec(pn.dev.ip6_ptr, _solicited_node(pn))


# --- devices ----------------------------------------------------------------------------------------------------------


def _change_address(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    """Neighbours go, and with them whatever route has expired."""
    neigh_changeaddr(_nd_tbl(dev), dev)
    fib6_run_gc(dev.net)


def _down(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    neigh_ifdown(_nd_tbl(dev), dev)
    fib6_run_gc(dev.net)


def _change(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    if isinstance(info, NetdevNotifierChangeInfo) and info.flags_changed & IFF_NOARP:
        neigh_changeaddr(_nd_tbl(dev), dev)
    if not dev.carrier and _evicts_without_carrier(dev):
        neigh_carrier_down(_nd_tbl(dev), dev)


def _evicts_without_carrier(dev: NetDevice) -> bool:
    if dev.ip6_ptr is None:
        return True
    return all(cnf["ndisc_evict_nocarrier"] for cnf in (dev.ip6_ptr.cnf, dev.net.ipv6.devconf_all))


ON_NETDEV_EVENT: Final[dict[int, Callable[[NetDevice, NetdevNotifierInfo], None]]] = {
    NETDEV_CHANGEADDR: _change_address,
    NETDEV_CHANGE: _change,
    NETDEV_DOWN: _down,
}


def ndisc_netdev_event(event: int, info: NetdevNotifierInfo) -> int:
    """Neighbour discovery's ear on the netdevice chain, behind addrconf.

    Kernel: net/ipv6/ndisc.c, ndisc_netdev_event().
    Differs: no unsolicited advertisements are sent.
    """
    act = ON_NETDEV_EVENT.get(event)
    if act is not None:
        act(info.dev, info)
    return NOTIFY_DONE


def ndisc_init(machine: Machine) -> None:
    """Make the table of IPv6 neighbours.

    Kernel: net/ipv6/ndisc.c, ndisc_init().
    """
    tbl = neigh_table_init(machine, AF_INET6, "ndisc_cache", key_len=16, entry_size=_ENTRY_SIZE)
    tbl.constructor, tbl.allow_add = _ndisc_constructor, _ndisc_allow_add
    tbl.pconstructor, tbl.pdestructor = _pndisc_constructor, _pndisc_destructor


def ndisc_late_init(machine: Machine) -> None:
    """Subscribe neighbour discovery to devices.

    Kernel: net/ipv6/ndisc.c, ndisc_late_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(ndisc_netdev_event, NDISC_NOTIFY_PRIORITY))
