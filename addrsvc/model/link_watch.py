"""net/core/link_watch.c: a carrier that comes or goes, and the work that tells of it.

Devices of the kinds that report no carrier never come here: theirs is always there, their state UNKNOWN.
"""

from addrsvc.model.dev import dev_activate, dev_deactivate, netif_state_change
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import NETREG_REGISTERED, NETREG_UNINITIALIZED, NetDevice
from addrsvc.model.timer import Timer, mod_timer
from addrsvc.uapi import (
    IF_LINK_MODE_DORMANT,
    IF_LINK_MODE_TESTING,
    IF_OPER_DORMANT,
    IF_OPER_DOWN,
    IF_OPER_TESTING,
    IF_OPER_UP,
    IFF_UP,
)

__all__ = ["linkwatch_fire_event", "netif_carrier_off", "netif_carrier_on", "rfc2863_policy"]

# what a link mode makes of a state that would be UP
_INSTEAD_OF_UP = {IF_LINK_MODE_DORMANT: IF_OPER_DORMANT, IF_LINK_MODE_TESTING: IF_OPER_TESTING}


def netif_carrier_on(dev: NetDevice) -> None:
    """The carrier is there.

    Kernel: net/sched/sch_generic.c, netif_carrier_on().
    """
    if not dev.carrier:
        dev.carrier = True
        if dev.reg_state != NETREG_UNINITIALIZED:
            dev.carrier_up_count += 1
            linkwatch_fire_event(dev)


def netif_carrier_off(dev: NetDevice) -> None:
    """The carrier is gone.

    Kernel: net/sched/sch_generic.c, netif_carrier_off().
    """
    if dev.carrier:
        dev.carrier = False
        if dev.reg_state != NETREG_UNINITIALIZED:
            dev.carrier_down_count += 1
            linkwatch_fire_event(dev)


def rfc2863_policy(dev: NetDevice) -> None:
    """Derive the operational state from the carrier and the link mode.

    Kernel: net/core/link_watch.c, rfc2863_policy(), default_operstate().
    """
    if not dev.carrier:
        dev.operstate = IF_OPER_DOWN
    else:
        dev.operstate = _INSTEAD_OF_UP.get(dev.link_mode, IF_OPER_UP)


def linkwatch_fire_event(dev: NetDevice) -> None:
    """Queue the work that tells of the carrier.

    Kernel: net/core/link_watch.c, linkwatch_fire_event().
    Differs: it is never put off to keep to one round a second.
    """
    if dev.link_watch is None:
        dev.link_watch = Timer(lambda: _linkwatch_do_dev(dev))
    mod_timer(dev.machine.timers, dev.link_watch, dev.machine.timers.jiffies)


def _linkwatch_do_dev(dev: NetDevice) -> None:
    """Kernel: net/core/link_watch.c, linkwatch_do_dev()."""
    with rtnl_lock(dev.machine):
        if dev.reg_state != NETREG_REGISTERED:
            return
        rfc2863_policy(dev)
        if dev.flags & IFF_UP:
            (dev_activate if dev.carrier else dev_deactivate)(dev)
            netif_state_change(dev)
