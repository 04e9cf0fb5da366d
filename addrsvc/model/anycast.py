"""net/ipv6/anycast.c: the anycast addresses of a device; here those of a router, one for each of its prefixes."""

from errno import ENODEV, ENOENT

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import ipv6_addr_scope
from addrsvc.model.ip6_route import addrconf_f6i_alloc, ip6_del_rt, ip6_ins_rt
from addrsvc.model.mcast import addrconf_join_solict, addrconf_leave_solict
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_notify
from addrsvc.model.structs import Ifacaddr6, Inet6Dev, NetDevice
from addrsvc.model.timer import cstamp_delta
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo
from addrsvc.uapi import (
    IFA_F_PERMANENT,
    IFA_SITE,
    INFINITY_LIFE_TIME,
    RT_SCOPE_SITE,
    RT_SCOPE_UNIVERSE,
    RTM_DELANYCAST,
    RTM_GETANYCAST,
    RTM_NEWANYCAST,
)

__all__ = ["inet6_dump_ifacaddr", "ipv6_ac_destroy_dev", "ipv6_dev_ac_dec", "ipv6_dev_ac_inc"]


def _fill(aca: Ifacaddr6, dev: NetDevice, nlmsg_type: int) -> AddrMsg:
    """Kernel: net/ipv6/addrconf.c, inet6_fill_ifacaddr()."""
    return AddrMsg(
        nlmsg_type,
        ifa_flags=IFA_F_PERMANENT,
        ifa_scope=RT_SCOPE_SITE if ipv6_addr_scope(aca.aca_addr) & IFA_SITE else RT_SCOPE_UNIVERSE,
        ifa_index=dev.ifindex,
        anycast=aca.aca_addr,
        cacheinfo=IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME, aca.aca_cstamp, aca.aca_cstamp),
    )


def _ifacaddr_notify(nlmsg_type: int, aca: Ifacaddr6, idev: Inet6Dev) -> None:
    """Kernel: net/ipv6/anycast.c, inet6_ifacaddr_notify()."""
    rtnl_notify(idev.dev.net, _fill(aca, idev.dev, nlmsg_type))


def inet6_dump_ifacaddr(dev: NetDevice) -> list[AddrMsg]:
    """The anycast addresses of a device, newest first; the messages have the type of the request, as the kernel's do.

    Kernel: net/ipv6/addrconf.c, inet6_dump_ifacaddr(), in6_dump_addrs().
    """
    addresses = reversed(dev.ip6_ptr.ac_list.values()) if dev.ip6_ptr else ()
    return [_fill(aca, dev, RTM_GETANYCAST) for aca in addresses]


def ipv6_dev_ac_inc(idev: Inet6Dev, addr: bytes) -> None:
    """Take on an anycast address and its route, or count one more user of it.

    Kernel: net/ipv6/anycast.c, __ipv6_dev_ac_inc().

    Raises:
        KernelError: ENODEV, the device is going away.
    """
    ASSERT_RTNL(idev.dev)
    if idev.dead:
        raise KernelError(ENODEV)
    if addr in idev.ac_list:
        idev.ac_list[addr].aca_users += 1
        return
    rt = addrconf_f6i_alloc(idev.dev, addr, anycast=True)
    aca = Ifacaddr6(addr, rt, aca_cstamp=cstamp_delta(idev.dev.machine.timers.jiffies))
    idev.ac_list[addr] = aca
    ip6_ins_rt(idev.dev.net, rt)
    addrconf_join_solict(idev, addr)
    _ifacaddr_notify(RTM_NEWANYCAST, aca, idev)


def ipv6_dev_ac_dec(idev: Inet6Dev, addr: bytes) -> None:
    """Give up an anycast address and its route when its last user does.

    Kernel: net/ipv6/anycast.c, __ipv6_dev_ac_dec().

    Raises:
        KernelError: ENOENT, it has no such address.
    """
    ASSERT_RTNL(idev.dev)
    aca = idev.ac_list.get(addr)
    if aca is None:
        raise KernelError(ENOENT)
    aca.aca_users -= 1
    if not aca.aca_users:
        del idev.ac_list[addr]
        _drop(idev, aca)


def _drop(idev: Inet6Dev, aca: Ifacaddr6) -> None:
    addrconf_leave_solict(idev, aca.aca_addr)
    ip6_del_rt(idev.dev.net, aca.aca_rt)
    _ifacaddr_notify(RTM_DELANYCAST, aca, idev)


def ipv6_ac_destroy_dev(idev: Inet6Dev) -> None:
    """The IPv6 half goes, its anycast addresses with it, newest first.

    Kernel: net/ipv6/anycast.c, ipv6_ac_destroy_dev().
    """
    gone = list(reversed(idev.ac_list.values()))
    idev.ac_list.clear()
    for aca in gone:
        _drop(idev, aca)
