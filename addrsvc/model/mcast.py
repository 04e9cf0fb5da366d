"""net/ipv6/mcast.c, as far as membership goes: the IPv6 groups that a device is in.  No MLD is spoken."""

from contextlib import suppress
from errno import EINVAL, ENODEV, ENOENT

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import in6addr_linklocal_allnodes, in6addr_linklocal_allrouters
from addrsvc.model.dev_addr_lists import dev_mc_add, dev_mc_del
from addrsvc.model.rtnl import rtnl_notify
from addrsvc.model.structs import Ifmcaddr6, Inet6Dev, NetDevice
from addrsvc.model.timer import cstamp_delta
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo
from addrsvc.uapi import (
    IFA_F_PERMANENT,
    IFF_LOOPBACK,
    IFF_NOARP,
    INFINITY_LIFE_TIME,
    MAF_LOADED,
    MAF_NOREPORT,
    RT_SCOPE_SITE,
    RT_SCOPE_UNIVERSE,
    RTM_DELMULTICAST,
    RTM_GETMULTICAST,
    RTM_NEWMULTICAST,
)

__all__ = [
    "addrconf_join_solict", "addrconf_leave_solict",
    "inet6_dump_ifmcaddr", "ipv6_dev_mc_dec", "ipv6_dev_mc_inc", "ipv6_mc_destroy_dev", "ipv6_mc_down", "ipv6_mc_up",
]  # fmt: skip

_LINK_LOCAL_SCOPE = 2


def _fill(mc: Ifmcaddr6, dev: NetDevice, nlmsg_type: int, scope: int) -> AddrMsg:
    """Kernel: net/ipv6/addrconf.c, inet6_fill_ifmcaddr()."""
    cacheinfo = IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME, mc.mca_cstamp, mc.mca_cstamp)
    return AddrMsg(
        nlmsg_type,
        ifa_flags=IFA_F_PERMANENT,
        ifa_scope=scope,
        ifa_index=dev.ifindex,
        multicast=mc.mca_addr,
        cacheinfo=cacheinfo,
    )


def _ifmcaddr_notify(nlmsg_type: int, mc: Ifmcaddr6, dev: NetDevice) -> None:
    """Kernel: net/ipv6/mcast.c, inet6_ifmcaddr_notify()."""
    rtnl_notify(dev.net, _fill(mc, dev, nlmsg_type, RT_SCOPE_UNIVERSE))


def ipv6_dev_mc_inc(dev: NetDevice, addr: bytes) -> None:
    """Join a group, or count one more user of it.

    Kernel: net/ipv6/mcast.c, ipv6_dev_mc_inc().

    Raises:
        KernelError: EINVAL, the device has no IPv6; ENODEV, it is going away.
    """
    idev = dev.ip6_ptr
    if idev is None:
        raise KernelError(EINVAL)
    if idev.dead:
        raise KernelError(ENODEV)
    if addr in idev.mc_list:
        idev.mc_list[addr].mca_users += 1
        return
    mc = Ifmcaddr6(addr, mca_flags=_initial_flags(addr), mca_cstamp=cstamp_delta(dev.machine.timers.jiffies))
    idev.mc_list[addr] = mc
    _group_added(dev, mc)
    _ifmcaddr_notify(RTM_NEWMULTICAST, mc, dev)


def _initial_flags(addr: bytes) -> int:
    """Kernel: net/ipv6/mcast.c, mca_alloc(): the groups that nobody is told of."""
    return MAF_NOREPORT * (addr == in6addr_linklocal_allnodes or _scope(addr) < _LINK_LOCAL_SCOPE)


def _scope(group: bytes) -> int:
    return group[1] & 0x0F


def _group_added(dev: NetDevice, mc: Ifmcaddr6) -> None:
    """Kernel: net/ipv6/mcast.c, igmp6_group_added()."""
    if _scope(mc.mca_addr) >= _LINK_LOCAL_SCOPE and not mc.mca_flags & MAF_LOADED:
        mc.mca_flags |= MAF_LOADED
        dev_mc_add(dev, mc.mca_addr)


def _group_dropped(dev: NetDevice, mc: Ifmcaddr6) -> None:
    """Kernel: net/ipv6/mcast.c, igmp6_group_dropped()."""
    if mc.mca_flags & MAF_LOADED:
        mc.mca_flags &= ~MAF_LOADED
        dev_mc_del(dev, mc.mca_addr)


def ipv6_mc_up(idev: Inet6Dev) -> None:
    """Have the device receive its groups.

    Kernel: net/ipv6/mcast.c, ipv6_mc_up().
    """
    if idev.mc_is_down:
        idev.mc_is_down = False
        for mc in reversed(idev.mc_list.values()):
            _group_added(idev.dev, mc)


def ipv6_mc_down(idev: Inet6Dev) -> None:
    """Have the device receive its groups no more; it stays a member.

    Kernel: net/ipv6/mcast.c, ipv6_mc_down().
    """
    idev.mc_is_down = True
    for mc in idev.mc_list.values():
        _group_dropped(idev.dev, mc)


def ipv6_dev_mc_dec(idev: Inet6Dev, addr: bytes) -> None:
    """Leave a group when its last user does.

    Kernel: net/ipv6/mcast.c, __ipv6_dev_mc_dec().

    Raises:
        KernelError: ENOENT, not a member.
    """
    mc = idev.mc_list.get(addr)
    if mc is None:
        raise KernelError(ENOENT)
    mc.mca_users -= 1
    if not mc.mca_users:
        del idev.mc_list[addr]
        _group_dropped(idev.dev, mc)
        _ifmcaddr_notify(RTM_DELMULTICAST, mc, idev.dev)


def ipv6_mc_destroy_dev(idev: Inet6Dev) -> None:
    """The IPv6 half goes: all-nodes (and all-routers) are left aloud, everything else without a word.

    Kernel: net/ipv6/mcast.c, ipv6_mc_destroy_dev().
    """
    aloud = [in6addr_linklocal_allnodes, *([in6addr_linklocal_allrouters] if idev.cnf["forwarding"] else [])]
    for group in aloud:
        if group in idev.mc_list:
            ipv6_dev_mc_dec(idev, group)
    for mc in idev.mc_list.values():
        _group_dropped(idev.dev, mc)
    idev.mc_list.clear()


def inet6_dump_ifmcaddr(dev: NetDevice) -> list[AddrMsg]:
    """The groups of a device, newest first; the messages have the type of the request, as the kernel's do.

    Kernel: net/ipv6/addrconf.c, inet6_dump_ifmcaddr().
    """
    members = reversed(dev.ip6_ptr.mc_list.values()) if dev.ip6_ptr else ()
    return [_fill(mc, dev, RTM_GETMULTICAST, _told_scope(mc.mca_addr)) for mc in members]


def _told_scope(group: bytes) -> int:
    """Only site scope is told apart."""
    return RT_SCOPE_SITE if _scope(group) == 0x05 else RT_SCOPE_UNIVERSE


# --- the groups in which neighbours look for addresses ----------------------------------------------------------------


def _solicited_node(idev: Inet6Dev, addr: bytes) -> bytes | None:
    """The group in which neighbours look for an address; a device without neighbours needs none."""
    if idev.dev.flags & (IFF_LOOPBACK | IFF_NOARP):
        return None
    return bytes.fromhex("ff0200000000000000000001ff") + addr[13:]


def addrconf_join_solict(idev: Inet6Dev, addr: bytes) -> None:
    """Join the solicited-node group of an address.

    Kernel: net/ipv6/addrconf.c, addrconf_join_solict().
    """
    group = _solicited_node(idev, addr)
    if group is not None:
        with suppress(KernelError):
            ipv6_dev_mc_inc(idev.dev, group)


def addrconf_leave_solict(idev: Inet6Dev, addr: bytes) -> None:
    """Leave it.

    Kernel: net/ipv6/addrconf.c, addrconf_leave_solict().
    """
    group = _solicited_node(idev, addr)
    if group is not None:
        with suppress(KernelError):
            ipv6_dev_mc_dec(idev, group)
