"""net/ipv4/igmp.c: the one IPv4 group that every up device is in, 224.0.0.1."""

from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_notify
from addrsvc.model.structs import InDevice
from addrsvc.model.timer import cstamp_delta
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo
from addrsvc.uapi import AF_INET, IFA_F_PERMANENT, INFINITY_LIFE_TIME, RTM_DELMULTICAST, RTM_NEWMULTICAST

__all__ = ["INADDR_ALLHOSTS_GROUP", "ip_mc_dec_group", "ip_mc_down", "ip_mc_inc_group", "ip_mc_up"]

INADDR_ALLHOSTS_GROUP = bytes((224, 0, 0, 1))


def _ifmcaddr_notify(nlmsg_type: int, in_dev: InDevice, group: bytes) -> None:
    """Kernel: net/ipv4/igmp.c, inet_ifmcaddr_notify()."""
    now = cstamp_delta(in_dev.dev.machine.timers.jiffies)
    cacheinfo = IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME, now, now)
    msg = AddrMsg(
        nlmsg_type,
        ifa_family=AF_INET,
        ifa_prefixlen=32,
        ifa_flags=IFA_F_PERMANENT,
        ifa_index=in_dev.dev.ifindex,
        multicast=group,
        cacheinfo=cacheinfo,
    )
    rtnl_notify(in_dev.dev.net, msg)


def ip_mc_inc_group(in_dev: InDevice, group: bytes) -> None:
    """Join a group, or count one more user of it.

    Kernel: net/ipv4/igmp.c, ip_mc_inc_group().
    """
    ASSERT_RTNL(in_dev.dev)
    in_dev.mc_list[group] = in_dev.mc_list.get(group, 0) + 1
    if in_dev.mc_list[group] == 1:
        _ifmcaddr_notify(RTM_NEWMULTICAST, in_dev, group)


def ip_mc_dec_group(in_dev: InDevice, group: bytes) -> None:
    """Leave a group when its last user does.

    Kernel: net/ipv4/igmp.c, ip_mc_dec_group().
    """
    ASSERT_RTNL(in_dev.dev)
    if group not in in_dev.mc_list:
        return
    in_dev.mc_list[group] -= 1
    if not in_dev.mc_list[group]:
        del in_dev.mc_list[group]
        _ifmcaddr_notify(RTM_DELMULTICAST, in_dev, group)


def ip_mc_up(in_dev: InDevice) -> None:
    """The device came up: join all-hosts.

    Kernel: net/ipv4/igmp.c, ip_mc_up().
    """
    ASSERT_RTNL(in_dev.dev)
    ip_mc_inc_group(in_dev, INADDR_ALLHOSTS_GROUP)


def ip_mc_down(in_dev: InDevice) -> None:
    """The device went down: leave all-hosts.

    Kernel: net/ipv4/igmp.c, ip_mc_down().
    """
    ASSERT_RTNL(in_dev.dev)
    ip_mc_dec_group(in_dev, INADDR_ALLHOSTS_GROUP)
