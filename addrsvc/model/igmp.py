"""net/ipv4/igmp.c, as far as membership goes: the IPv4 groups that a device is in.  No IGMP is spoken."""

from errno import EADDRINUSE, EINVAL, ENOBUFS
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.dev_addr_lists import dev_mc_add, dev_mc_del
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_notify
from addrsvc.model.structs import InDevice, IpMcList, NetDevice
from addrsvc.model.timer import cstamp_delta
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo
from addrsvc.uapi import (
    AF_INET,
    IFA_F_PERMANENT,
    INFINITY_LIFE_TIME,
    RTM_DELMULTICAST,
    RTM_GETMULTICAST,
    RTM_NEWMULTICAST,
)

__all__ = [
    "INADDR_ALLHOSTS_GROUP", "inet_dump_ifmcaddr", "ip_mc_autojoin", "ip_mc_autoleave", "ip_mc_dec_group",
    "ip_mc_down", "ip_mc_inc_group", "ip_mc_up", "ipv4_is_multicast",
]  # fmt: skip

INADDR_ALLHOSTS_GROUP = bytes((224, 0, 0, 1))
IP_MAX_MEMBERSHIPS: Final = 20
"""net.ipv4.igmp_max_memberships: as many groups one socket may join."""


def ipv4_is_multicast(addr: bytes) -> bool:
    """224.0.0.0/4.

    Kernel: include/linux/in.h, ipv4_is_multicast().
    """
    return addr[0] & 0xF0 == 0xE0


def _fill(im: IpMcList, dev: NetDevice, nlmsg_type: int) -> AddrMsg:
    """Kernel: net/ipv4/igmp.c, inet_fill_ifmcaddr()."""
    return AddrMsg(
        nlmsg_type,
        ifa_family=AF_INET,
        ifa_prefixlen=32,
        ifa_flags=IFA_F_PERMANENT,
        ifa_index=dev.ifindex,
        multicast=im.multiaddr,
        cacheinfo=IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME, im.mca_cstamp, im.mca_cstamp),
    )


def _ifmcaddr_notify(nlmsg_type: int, im: IpMcList, dev: NetDevice) -> None:
    """Kernel: net/ipv4/igmp.c, inet_ifmcaddr_notify()."""
    rtnl_notify(dev.net, _fill(im, dev, nlmsg_type))


def inet_dump_ifmcaddr(dev: NetDevice) -> list[AddrMsg]:
    """The groups of a device, newest first; the messages have the type of the request, as the kernel's do.

    Kernel: net/ipv4/devinet.c, in_dev_dump_ifmcaddr().
    """
    members = reversed(dev.ip_ptr.mc_list.values()) if dev.ip_ptr else ()
    return [_fill(im, dev, RTM_GETMULTICAST) for im in members]


def _group_added(in_dev: InDevice, im: IpMcList) -> None:
    """Kernel: net/ipv4/igmp.c, igmp_group_added()."""
    if not im.loaded:
        im.loaded = True
        dev_mc_add(in_dev.dev, im.multiaddr)


def _group_dropped(in_dev: InDevice, im: IpMcList) -> None:
    """Kernel: net/ipv4/igmp.c, igmp_group_dropped()."""
    if im.loaded:
        im.loaded = False
        dev_mc_del(in_dev.dev, im.multiaddr)


def ip_mc_inc_group(in_dev: InDevice, group: bytes) -> None:
    """Join a group, or count one more user of it.

    Kernel: net/ipv4/igmp.c, ip_mc_inc_group().
    """
    ASSERT_RTNL(in_dev.dev)
    if group in in_dev.mc_list:
        in_dev.mc_list[group].users += 1
        return
    im = IpMcList(group, mca_cstamp=cstamp_delta(in_dev.dev.machine.timers.jiffies))
    in_dev.mc_list[group] = im
    _group_added(in_dev, im)
    _ifmcaddr_notify(RTM_NEWMULTICAST, im, in_dev.dev)


def ip_mc_dec_group(in_dev: InDevice, group: bytes) -> None:
    """Leave a group when its last user does.

    Kernel: net/ipv4/igmp.c, ip_mc_dec_group().
    """
    ASSERT_RTNL(in_dev.dev)
    im = in_dev.mc_list.get(group)
    if im is None:
        return
    im.users -= 1
    if not im.users:
        del in_dev.mc_list[group]
        _group_dropped(in_dev, im)
        _ifmcaddr_notify(RTM_DELMULTICAST, im, in_dev.dev)


def ip_mc_autojoin(in_dev: InDevice, group: bytes) -> None:
    """Have a socket of the kernel's own join a group for the sake of an address.

    Kernel: net/ipv4/devinet.c, ip_mc_autojoin_config(); net/ipv4/igmp.c, ip_mc_join_group().

    Raises:
        KernelError: EINVAL, no group; EADDRINUSE, it is joined; ENOBUFS, the socket is in 20 groups.
    """
    ASSERT_RTNL(in_dev.dev)
    joined = in_dev.dev.net.ipv4.mc_autojoin
    if not ipv4_is_multicast(group):
        raise KernelError(EINVAL, "ipv4: Multicast auto join failed")
    if (in_dev.dev.ifindex, group) in joined:
        raise KernelError(EADDRINUSE, "ipv4: Multicast auto join failed")
    if len(joined) >= IP_MAX_MEMBERSHIPS:
        raise KernelError(ENOBUFS, "ipv4: Multicast auto join failed")
    joined[in_dev.dev.ifindex, group] = None
    ip_mc_inc_group(in_dev, group)


def ip_mc_autoleave(in_dev: InDevice, group: bytes) -> None:
    """Have it leave the group, if it is in it.

    Kernel: net/ipv4/devinet.c, ip_mc_autojoin_config(); net/ipv4/igmp.c, ip_mc_leave_group().
    """
    ASSERT_RTNL(in_dev.dev)
    joined = in_dev.dev.net.ipv4.mc_autojoin
    if (in_dev.dev.ifindex, group) in joined:
        del joined[in_dev.dev.ifindex, group]
        ip_mc_dec_group(in_dev, group)


def ip_mc_up(in_dev: InDevice) -> None:
    """The device came up: join all-hosts, and have the device receive its groups.

    Kernel: net/ipv4/igmp.c, ip_mc_up().
    """
    ASSERT_RTNL(in_dev.dev)
    ip_mc_inc_group(in_dev, INADDR_ALLHOSTS_GROUP)
    for im in reversed(in_dev.mc_list.values()):
        _group_added(in_dev, im)


def ip_mc_down(in_dev: InDevice) -> None:
    """The device went down: have it receive no groups, and leave all-hosts.

    Kernel: net/ipv4/igmp.c, ip_mc_down().
    """
    ASSERT_RTNL(in_dev.dev)
    for im in in_dev.mc_list.values():
        _group_dropped(in_dev, im)
    ip_mc_dec_group(in_dev, INADDR_ALLHOSTS_GROUP)
