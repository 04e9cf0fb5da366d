"""net/ipv6/addrconf.c, addrconf_verify_rtnl(): deprecating and removing addresses whose time has come.

The kernel walks every address of the namespace each time; here a queue by the next limit says which ones to look at.
"""

from heapq import heappop, heappush

from addrsvc.model.addr_check import ADDRCONF_TIMER_FUZZ_MINUS, next_check
from addrsvc.model.ifaddr import ipv6_del_addr, ipv6_ifa_notify
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_lock
from addrsvc.model.structs import INET6_IFADDR_STATE_DEAD, Inet6Ifaddr, Net, NetnsIpv6
from addrsvc.model.timer import HZ, Timer, mod_timer
from addrsvc.uapi import IFA_F_DEPRECATED, INFINITY_LIFE_TIME

__all__ = ["addrconf_verify_rtnl", "lifetime_changed"]


def _limit(ifp: Inet6Ifaddr) -> int | None:
    """The jiffies at which something happens to this address next, if ever."""
    if ifp.prefered_lft == INFINITY_LIFE_TIME:
        return None
    if not ifp.flags & IFA_F_DEPRECATED:
        return ifp.tstamp + ifp.prefered_lft * HZ
    return None if ifp.valid_lft == INFINITY_LIFE_TIME else ifp.tstamp + ifp.valid_lft * HZ


def lifetime_changed(ifp: Inet6Ifaddr) -> None:
    """Queue an address by its next limit, which makes an earlier entry of it stale.  Ours."""
    ipv6 = ifp.idev.dev.net.ipv6
    limit = _limit(ifp)
    ifp.lifetime_serial = 0
    if limit is not None:
        ipv6.lifetime_serial += 1
        ifp.lifetime_serial = ipv6.lifetime_serial
        heappush(ipv6.lifetimes, (limit, ifp.lifetime_serial, ifp))


def _next_limit(ipv6: NetnsIpv6) -> tuple[int, Inet6Ifaddr] | None:
    while ipv6.lifetimes:
        limit, serial, ifp = ipv6.lifetimes[0]
        if ifp.lifetime_serial == serial and ifp.state != INET6_IFADDR_STATE_DEAD:
            return limit, ifp
        heappop(ipv6.lifetimes)
    return None


def _act(ifp: Inet6Ifaddr, now: int) -> None:
    age = (now - ifp.tstamp + ADDRCONF_TIMER_FUZZ_MINUS) // HZ
    if ifp.valid_lft != INFINITY_LIFE_TIME and age >= ifp.valid_lft:
        ipv6_del_addr(ifp)
        return
    if age >= ifp.prefered_lft and not ifp.flags & IFA_F_DEPRECATED:
        ifp.flags |= IFA_F_DEPRECATED
        ipv6_ifa_notify(0, ifp)
    lifetime_changed(ifp)


def addrconf_verify_rtnl(net: Net) -> None:
    """Deprecate and remove what is due, and come back for the next.

    Kernel: net/ipv6/addrconf.c, addrconf_verify_rtnl().
    Differs: equal limits are served by age of the entry, where the kernel follows its hash table; with nothing
        to wait for it does not come back every two minutes.
    """
    ASSERT_RTNL(net)
    now = net.machine.timers.jiffies
    while (due := _next_limit(net.ipv6)) is not None and due[0] - ADDRCONF_TIMER_FUZZ_MINUS <= now:
        _act(due[1], now)
    if due is not None:
        _come_back(net, due[0], now)


def _come_back(net: Net, limit: int, now: int) -> None:
    if net.ipv6.addr_chk_work is None:
        net.ipv6.addr_chk_work = Timer(lambda: _verify_work(net))
    mod_timer(net.machine.timers, net.ipv6.addr_chk_work, next_check(limit, now))


def _verify_work(net: Net) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_verify_work()."""
    with rtnl_lock(net.machine):
        addrconf_verify_rtnl(net)
