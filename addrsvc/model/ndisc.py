"""net/ipv6/ndisc.c, as far as device events go: when a device's neighbours are forgotten, and stale routes with them.

Nothing in the model learns of neighbours by itself, since no packets travel; `neigh_update` is for whoever does.
"""

from collections.abc import Callable
from typing import Final

from addrsvc.model.ip6_route import fib6_run_gc
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock
from addrsvc.model.structs import (
    ADDRCONF_NOTIFY_PRIORITY,
    Machine,
    NetDevice,
    NetdevNotifierChangeInfo,
    NetdevNotifierInfo,
)
from addrsvc.uapi import IFF_NOARP, NETDEV_CHANGE, NETDEV_CHANGEADDR, NETDEV_DOWN

__all__ = ["ndisc_init", "ndisc_netdev_event", "neigh_update", "neighbours"]

NDISC_NOTIFY_PRIORITY: Final = ADDRCONF_NOTIFY_PRIORITY - 5


def neigh_update(dev: NetDevice, addr: bytes, lladdr: bytes) -> None:
    """Remember where a neighbour is: its IPv6 address and its hardware address, both packed.

    Kernel: net/core/neighbour.c, neigh_update().
    Differs: states and ageing are left out.
    """
    dev.net.ipv6.nd_tbl.setdefault(dev, {})[addr] = lladdr


def neighbours(dev: NetDevice) -> dict[bytes, bytes]:
    """The neighbours of a device: IPv6 address to hardware address.  Ours."""
    return dict(dev.net.ipv6.nd_tbl.get(dev, {}))


def _forget(dev: NetDevice) -> None:
    """Kernel: net/core/neighbour.c, neigh_changeaddr(), neigh_ifdown(), neigh_carrier_down()."""
    dev.net.ipv6.nd_tbl.pop(dev, None)


def _forget_and_collect(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    """A new hardware address, or none: neighbours go, and with them whatever route has expired."""
    _forget(dev)
    fib6_run_gc(dev.net)


def _change(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    noarp_changed = isinstance(info, NetdevNotifierChangeInfo) and bool(info.flags_changed & IFF_NOARP)
    if noarp_changed or (not dev.carrier and _evicts_without_carrier(dev)):
        _forget(dev)


def _evicts_without_carrier(dev: NetDevice) -> bool:
    if dev.ip6_ptr is None:
        return True
    return all(cnf["ndisc_evict_nocarrier"] for cnf in (dev.ip6_ptr.cnf, dev.net.ipv6.devconf_all))


ON_NETDEV_EVENT: Final[dict[int, Callable[[NetDevice, NetdevNotifierInfo], None]]] = {
    NETDEV_CHANGEADDR: _forget_and_collect,
    NETDEV_CHANGE: _change,
    NETDEV_DOWN: _forget_and_collect,
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
    """Subscribe neighbour discovery to devices.

    Kernel: net/ipv6/ndisc.c, ndisc_late_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(ndisc_netdev_event, NDISC_NOTIFY_PRIORITY))
