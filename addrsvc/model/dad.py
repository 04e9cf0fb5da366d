"""net/ipv6/addrconf.c, addrconf_dad_*: how an address stops being tentative.

On lo, and on any device without neighbours, there is nobody to ask: it stops as soon as the work queue gets to it.
"""

from addrsvc.model.ifaddr import cancel_dad_work, inet6_addr_list, ipv6_ifa_notify, set_state
from addrsvc.model.mcast import addrconf_join_solict
from addrsvc.model.router_solicit import addrconf_ask_for_routers
from addrsvc.model.rtnl import rtnl_take
from addrsvc.model.structs import (
    INET6_IFADDR_STATE_DAD,
    INET6_IFADDR_STATE_DEAD,
    INET6_IFADDR_STATE_PREDAD,
    Inet6Dev,
    Inet6Ifaddr,
)
from addrsvc.model.timer import HZ, Timer, del_timer, mod_timer, queue_work
from addrsvc.uapi import (
    IF_READY,
    IFA_F_DADFAILED,
    IFA_F_NODAD,
    IFA_F_OPTIMISTIC,
    IFA_F_TENTATIVE,
    IFA_LINK,
    IFF_LOOPBACK,
    IFF_NOARP,
    NDTPA_RETRANS_TIME,
    RTM_NEWADDR,
)

__all__ = ["addrconf_dad_run", "addrconf_dad_start"]

_WITHOUT_NEIGHBOURS = IFF_NOARP | IFF_LOOPBACK
_SETTLED = IFA_F_TENTATIVE | IFA_F_OPTIMISTIC | IFA_F_DADFAILED


def _mod_dad_work(ifp: Inet6Ifaddr, delay: int) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_mod_dad_work()."""
    timers = ifp.idev.dev.machine.timers
    if not delay:
        if ifp.dad_work is not None:
            del_timer(ifp.dad_work)
        ifp.dad_queued = queue_work(timers, _dad_work, ifp)
        return
    ifp.dad_queued = 0
    if ifp.dad_work is None:
        ifp.dad_work = Timer(lambda: _dad_work(ifp, 0))
    mod_timer(timers, ifp.dad_work, timers.jiffies + delay)


def addrconf_dad_start(ifp: Inet6Ifaddr) -> None:
    """Queue the first step.

    Kernel: net/ipv6/addrconf.c, addrconf_dad_start().
    """
    if ifp.state is not INET6_IFADDR_STATE_DEAD:
        ifp.state = INET6_IFADDR_STATE_PREDAD
        ifp.dad_queued = queue_work(ifp.idev.dev.machine.timers, _dad_work, ifp)


def addrconf_dad_kick(ifp: Inet6Ifaddr) -> None:
    """Queue the next step after a random wait of less than router_solicitation_delay.

    Kernel: net/ipv6/addrconf.c, addrconf_dad_kick().
    """
    cnf, chance = ifp.idev.cnf, ifp.idev.dev.machine.chance
    wait = 0 if ifp.flags & IFA_F_OPTIMISTIC else chance.randrange(max(cnf["router_solicitation_delay"] * HZ, 1))
    ifp.dad_probes = cnf["dad_transmits"]
    _mod_dad_work(ifp, wait)


def addrconf_dad_run(idev: Inet6Dev, *, restart: bool) -> None:
    """Go on with every address that waits for its device, or begin anew with all.

    Kernel: net/ipv6/addrconf.c, addrconf_dad_run().
    Differs: looks only where a tentative address can be, so that the cost does not grow with the others.
    """
    for ifp in list(inet6_addr_list(idev)) if restart else list(idev.waiting):
        if restart:
            set_state(ifp, INET6_IFADDR_STATE_PREDAD)
        addrconf_dad_kick(ifp)


def _dad_work(ifp: Inet6Ifaddr, serial: int) -> None:
    """Do the next step, unless it is one that was queued, as number `serial`, and is no longer wanted.

    Kernel: net/ipv6/addrconf.c, addrconf_dad_work().
    """
    if ifp.dad_queued != serial:
        return
    ifp.dad_queued = 0
    machine = ifp.idev.dev.machine
    rtnl_take(machine)
    try:
        if ifp.state is INET6_IFADDR_STATE_PREDAD:
            _dad_begin(ifp)
        elif ifp.state is not INET6_IFADDR_STATE_DEAD:
            _dad_probe(ifp)
    finally:
        machine.rtnl_held = False


def _dad_begin(ifp: Inet6Ifaddr) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_dad_begin()."""
    idev, ifp.state = ifp.idev, INET6_IFADDR_STATE_DAD
    if idev.predad:
        idev.predad.pop(ifp, None)
    if not idev.dev.flags & _WITHOUT_NEIGHBOURS:
        addrconf_join_solict(idev, ifp.addr)
        if not _nobody_to_ask(ifp):
            _wait_for_answers(ifp)
            return
    _dad_completed(ifp)


def _nobody_to_ask(ifp: Inet6Ifaddr) -> bool:
    """Whether there is no need to ask on a device that has neighbours."""
    dev, cnf = ifp.idev.dev, ifp.idev.cnf
    return bool(
        (dev.net.ipv6.devconf_all["accept_dad"] < 1 and cnf["accept_dad"] < 1)
        or not ifp.flags & IFA_F_TENTATIVE
        or ifp.flags & IFA_F_NODAD
    )


def _wait_for_answers(ifp: Inet6Ifaddr) -> None:
    if ifp.idev.if_flags & IF_READY:
        addrconf_dad_kick(ifp)
    else:
        ifp.idev.waiting[ifp] = None


def _dad_probe(ifp: Inet6Ifaddr) -> None:
    if not ifp.idev.if_flags & IF_READY or ifp.idev.dead:
        ifp.idev.waiting[ifp] = None
        return
    if not ifp.dad_probes:
        _dad_completed(ifp)
        return
    ifp.dad_probes -= 1
    assert ifp.idev.nd_parms is not None
    _mod_dad_work(ifp, max(ifp.idev.nd_parms.data[NDTPA_RETRANS_TIME], HZ // 100))


def _dad_completed(ifp: Inet6Ifaddr) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_dad_completed()."""
    ifp.flags &= ~_SETTLED
    if ifp.idev.waiting:
        ifp.idev.waiting.pop(ifp, None)
    if ifp.dad_work is not None:
        cancel_dad_work(ifp)
    ipv6_ifa_notify(RTM_NEWADDR, ifp)
    if ifp.scope == IFA_LINK:
        addrconf_ask_for_routers(ifp)
