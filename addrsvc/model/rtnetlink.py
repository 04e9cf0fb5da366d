"""net/core/rtnetlink.c, upper half: requests and dumps, and what rtnetlink itself hears of devices."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from errno import EINVAL, EOPNOTSUPP, ERANGE
from typing import Any, Final, TypeAlias, TypeVar

from addrsvc.errors import KernelError
from addrsvc.model.addr_request import inet6_rtm_deladdr, inet6_rtm_newaddr
from addrsvc.model.devinet import inet_fill_ifaddr, inet_ifa_list, inet_rtm_deladdr, inet_rtm_newaddr
from addrsvc.model.ifaddr import inet6_addr_list, inet6_fill_ifaddr
from addrsvc.model.ip6_route import (
    fib6_dump,
)
from addrsvc.model.mcast import inet6_dump_ifmcaddr
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.newlink import rtnl_dellink, rtnl_newlink, rtnl_setlink
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock
from addrsvc.model.rtnl import rtmsg_ifinfo, rtmsg_ifinfo_build, rtnl_lock
from addrsvc.model.structs import Machine, Net, NetdevNotifierInfo
from addrsvc.model.sysctl import sysctl_write
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFALIASZ,
    IFLA_EVENT_BONDING_FAILOVER,
    IFLA_EVENT_BONDING_OPTIONS,
    IFLA_EVENT_FEATURES,
    IFLA_EVENT_IGMP_RESEND,
    IFLA_EVENT_NOTIFY_PEERS,
    IFLA_EVENT_REBOOT,
    IFNAMSIZ,
    MAX_ADDR_LEN,
    NETDEV_BONDING_FAILOVER,
    NETDEV_CHANGE_TX_QUEUE_LEN,
    NETDEV_CHANGEADDR,
    NETDEV_CHANGEINFODATA,
    NETDEV_CHANGELOWERSTATE,
    NETDEV_CHANGEMTU,
    NETDEV_CHANGENAME,
    NETDEV_CHANGEUPPER,
    NETDEV_FEAT_CHANGE,
    NETDEV_NOTIFY_PEERS,
    NETDEV_POST_TYPE_CHANGE,
    NETDEV_REBOOT,
    NETDEV_RESEND_IGMP,
    NLM_F_BULK,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
)

__all__ = ["RTNL_DOIT", "rtnetlink_dump", "rtnetlink_event", "rtnetlink_init", "rtnetlink_rcv_msg"]

# --- policy: what an attribute must look like before anybody reads it -----------------------------------------------

_MAX_TCP_HEADER = 192
_INVALID = "Attribute failed policy validation"
_RANGE = "integer out of range"


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# What an attribute must not be, and what that earns, in the order in which a message carries attributes.
_LINK_POLICY: Final[Sequence[tuple[str, Callable[[Any], bool], tuple[int, str]]]] = (
    ("ifname", lambda name: len(_raw(name)) >= IFNAMSIZ, (ERANGE, _INVALID)),
    ("netns_immutable", lambda _: True, (EINVAL, _INVALID)),
    ("allmulti", lambda _: True, (EINVAL, _INVALID)),
    ("gso_max_size", lambda size: size <= _MAX_TCP_HEADER, (ERANGE, _RANGE)),
    ("gso_ipv4_max_size", lambda size: size <= _MAX_TCP_HEADER, (ERANGE, _RANGE)),
    ("tso_max_size", lambda _: True, (EINVAL, _INVALID)),
    ("tso_max_segs", lambda _: True, (EINVAL, _INVALID)),
    ("ifalias", lambda alias: len(_raw(alias)) >= IFALIASZ, (ERANGE, _INVALID)),
    ("address", lambda addr: len(addr) > MAX_ADDR_LEN, (ERANGE, _INVALID)),
    ("broadcast", lambda addr: len(addr) > MAX_ADDR_LEN, (ERANGE, _INVALID)),
    ("new_ifindex", lambda ifindex: ifindex < 1, (ERANGE, _RANGE)),
)
_ADDR_POLICY: Final[Mapping[int, Sequence[tuple[str, Callable[[Any], bool], tuple[int, str]]]]] = {
    AF_INET: (
        ("address", lambda addr: len(addr) < 4, (ERANGE, _INVALID)),
        ("local", lambda addr: len(addr) < 4, (ERANGE, _INVALID)),
        ("label", lambda label: len(_raw(label)) >= IFNAMSIZ, (ERANGE, _INVALID)),
    ),
    AF_INET6: (
        ("address", lambda addr: len(addr) < 16, (ERANGE, _INVALID)),
        ("local", lambda addr: len(addr) < 16, (ERANGE, _INVALID)),
    ),
}


def _validate_attributes(msg: LinkMsg | AddrMsg) -> None:
    """Kernel: lib/nlattr.c, validate_nla(); net/core/rtnetlink.c, ifla_policy; the families' ifa_*_policy."""
    policy = _LINK_POLICY if isinstance(msg, LinkMsg) else _ADDR_POLICY.get(msg.ifa_family, ())
    for name, is_bad, refusal in policy:
        value = getattr(msg, name)
        if value is not None and is_bad(value):
            raise KernelError(*refusal)


# --- one door for all requests --------------------------------------------------------------------------------------

_M = TypeVar("_M", LinkMsg, AddrMsg)
_AddrHandler: TypeAlias = Callable[[Net, AddrMsg], None]
_LinkHandler: TypeAlias = Callable[[Net, LinkMsg], None]

# One row per request on a link, whatever its family.
RTNL_DOIT_LINK: Final[Mapping[int, _LinkHandler]] = {
    RTM_NEWLINK: rtnl_newlink,
    RTM_SETLINK: rtnl_setlink,
    RTM_DELLINK: rtnl_dellink,
}
# One row per request on an address, by message type and family.
RTNL_DOIT: Final[Mapping[tuple[int, int], _AddrHandler]] = {
    (RTM_NEWADDR, AF_INET): inet_rtm_newaddr,
    (RTM_DELADDR, AF_INET): inet_rtm_deladdr,
    (RTM_NEWADDR, AF_INET6): inet6_rtm_newaddr,
    (RTM_DELADDR, AF_INET6): inet6_rtm_deladdr,
}


_DELETES = (RTM_DELLINK, RTM_DELADDR)


def rtnetlink_rcv_msg(net: Net, msg: Message) -> None:
    """Serve one request, under RTNL.

    Kernel: net/core/rtnetlink.c, rtnetlink_rcv_msg().
    Differs: a Sysctl, which is no rtnetlink message, is served by the same door.

    Raises:
        KernelError: the kernel's errno and text; EOPNOTSUPP for what nobody serves.
    """
    match msg:
        case Sysctl():
            sysctl_write(net, msg.name, msg.value)
        case LinkMsg():
            _serve(net, RTNL_DOIT_LINK.get(msg.nlmsg_type), msg)
        case AddrMsg():
            _serve(net, RTNL_DOIT.get((msg.nlmsg_type, msg.ifa_family)), msg)
        case _:
            raise KernelError(EOPNOTSUPP)


def _serve(net: Net, handler: Callable[[Net, _M], None] | None, msg: _M) -> None:
    if handler is None:
        raise KernelError(EOPNOTSUPP)
    if msg.nlmsg_type in _DELETES and msg.nlmsg_flags & NLM_F_BULK:
        raise KernelError(EOPNOTSUPP, "Bulk delete is not supported")
    _validate_attributes(msg)
    with rtnl_lock(net.machine):
        handler(net, msg)


def rtnetlink_dump(net: Net) -> tuple[Message, ...]:
    """All that a namespace holds: devices by index, IPv4 and IPv6 addresses, IPv6 routes, IPv6 groups.

    Kernel: net/core/rtnetlink.c, rtnl_dump_ifinfo(), rtnl_dump_all() and the families' own.
    """
    with nullcontext() if net.machine.rtnl_held else rtnl_lock(net.machine):  # a callback may look around
        return _all_of(net)


def _all_of(net: Net) -> tuple[Message, ...]:
    devs = [net.dev_base_head[ifindex] for ifindex in sorted(net.dev_base_head)]
    halves = [dev.ip6_ptr for dev in devs if dev.ip6_ptr is not None]
    return (
        *(rtmsg_ifinfo_build(RTM_NEWLINK, dev, 0) for dev in devs),
        *(msg for dev in devs for msg in map(inet_fill_ifaddr, inet_ifa_list(dev))),
        *(inet6_fill_ifaddr(ifp) for idev in halves for ifp in inet6_addr_list(idev)),
        *fib6_dump(net),
        *(msg for dev in devs for msg in inet6_dump_ifmcaddr(dev)),
    )


# --- rtnetlink's own ear --------------------------------------------------------------------------------------------

# One row per event that is worth a link message, with the IFLA_EVENT it carries.
IFLA_EVENT_ON: Final[Mapping[int, int | None]] = {
    NETDEV_REBOOT: IFLA_EVENT_REBOOT,
    NETDEV_CHANGEMTU: None,
    NETDEV_CHANGEADDR: None,
    NETDEV_CHANGENAME: None,
    NETDEV_FEAT_CHANGE: IFLA_EVENT_FEATURES,
    NETDEV_BONDING_FAILOVER: IFLA_EVENT_BONDING_FAILOVER,
    NETDEV_POST_TYPE_CHANGE: None,
    NETDEV_NOTIFY_PEERS: IFLA_EVENT_NOTIFY_PEERS,
    NETDEV_CHANGEUPPER: None,
    NETDEV_RESEND_IGMP: IFLA_EVENT_IGMP_RESEND,
    NETDEV_CHANGEINFODATA: IFLA_EVENT_BONDING_OPTIONS,
    NETDEV_CHANGELOWERSTATE: None,
    NETDEV_CHANGE_TX_QUEUE_LEN: None,
}


def rtnetlink_event(event: int, info: NetdevNotifierInfo) -> int:
    """Tell listeners of what the code that changed the device does not tell itself.

    Kernel: net/core/rtnetlink.c, rtnetlink_event(), rtnl_get_event().
    """
    if event in IFLA_EVENT_ON:
        rtmsg_ifinfo(RTM_NEWLINK, info.dev, 0, IFLA_EVENT_ON[event])
    return NOTIFY_DONE


def rtnetlink_init(machine: Machine) -> None:
    """Subscribe rtnetlink to devices.

    Kernel: net/core/rtnetlink.c, rtnetlink_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(rtnetlink_event))
