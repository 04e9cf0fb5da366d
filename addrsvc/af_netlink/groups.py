"""Which multicast group a notification goes to: what each caller of rtnl_notify() names."""

from collections.abc import Mapping
from typing import Final

from addrsvc.netlink.messages import (
    AddrMsg,
    LinkMsg,
    Message,
    NeighMsg,
    NetconfMsg,
    NsidMsg,
    RouteMsg,
    RuleMsg,
    StatsMsg,
    TcaMsg,
    TcMsg,
)
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    RTM_DELANYCAST,
    RTM_DELMULTICAST,
    RTM_NEWANYCAST,
    RTM_NEWMULTICAST,
    RTNL_FAMILY_IP6MR,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_MCADDR,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV4_RULE,
    RTNLGRP_IPV6_ACADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_IFINFO,
    RTNLGRP_IPV6_MCADDR,
    RTNLGRP_IPV6_NETCONF,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_IPV6_RULE,
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_NSID,
    RTNLGRP_STATS,
    RTNLGRP_TC,
    Rtnlgrp,
)

__all__ = ["NGROUPS", "group_of"]

NGROUPS: Final = max(Rtnlgrp)
"""Multicast groups of NETLINK_ROUTE."""

_ADDRESS: Final[Mapping[int, int]] = {AF_INET: RTNLGRP_IPV4_IFADDR, AF_INET6: RTNLGRP_IPV6_IFADDR}
_MULTICAST: Final[Mapping[int, int]] = {AF_INET: RTNLGRP_IPV4_MCADDR, AF_INET6: RTNLGRP_IPV6_MCADDR}
_ANYCAST: Final[Mapping[int, int]] = {AF_INET6: RTNLGRP_IPV6_ACADDR}
_OTHERS: Final[Mapping[int, Mapping[int, int]]] = {
    **dict.fromkeys((RTM_NEWMULTICAST, RTM_DELMULTICAST), _MULTICAST),
    **dict.fromkeys((RTM_NEWANYCAST, RTM_DELANYCAST), _ANYCAST),
}


def group_of(msg: Message) -> int:
    """RTNLGRP_* of a notification.  Ours: the kernel's callers each name it.

    Raises:
        KeyError: nobody is ever told of such a message.
    """
    match msg:
        case LinkMsg(ifi_family=family):
            return RTNLGRP_IPV6_IFINFO if family == AF_INET6 else RTNLGRP_LINK
        case AddrMsg(nlmsg_type=nlmsg_type, ifa_family=family):
            return _OTHERS.get(nlmsg_type, _ADDRESS)[family]
        case RouteMsg(rtm_family=family):
            return RTNLGRP_IPV6_ROUTE if family == AF_INET6 else RTNLGRP_IPV4_ROUTE
        case RuleMsg(frh_family=family):
            return RTNLGRP_IPV6_RULE if family in (AF_INET6, RTNL_FAMILY_IP6MR) else RTNLGRP_IPV4_RULE
        case NeighMsg():
            return RTNLGRP_NEIGH
        case NsidMsg():
            return RTNLGRP_NSID
        case StatsMsg():
            return RTNLGRP_STATS
        case TcMsg() | TcaMsg():
            return RTNLGRP_TC
        case NetconfMsg(ncm_family=family):
            return RTNLGRP_IPV6_NETCONF if family == AF_INET6 else RTNLGRP_IPV4_NETCONF
        case _:
            raise KeyError(msg)
