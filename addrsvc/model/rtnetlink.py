"""net/core/rtnetlink.c, upper half: requests and dumps, and what rtnetlink itself hears of devices."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from errno import EEXIST, EINVAL, ENODEV, EOPNOTSUPP, EPERM, ERANGE
from typing import Any, Final, TypeAlias, TypeVar

from addrsvc.errors import KernelError
from addrsvc.model.addr_request import inet6_rtm_deladdr, inet6_rtm_newaddr
from addrsvc.model.dev import dev_change_flags, dev_get_by_index, dev_get_by_name, netif_state_change
from addrsvc.model.dev_api import (
    dev_change_name,
    dev_change_tx_queue_len,
    dev_set_alias,
    dev_set_broadcast,
    dev_set_group,
    dev_set_mac_address,
    dev_set_mtu,
    set_operstate,
)
from addrsvc.model.devinet import inet_fill_ifaddr, inet_ifa_list, inet_rtm_deladdr, inet_rtm_newaddr
from addrsvc.model.ifaddr import (
    inet6_fill_ifaddr,
)
from addrsvc.model.inet6_dev import inet6_set_link_af, inet6_validate_link_af
from addrsvc.model.ip6_route import (
    fib6_dump,
)
from addrsvc.model.mcast import inet6_dump_ifmcaddr
from addrsvc.model.netdev_chain import for_each_netdev, register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock
from addrsvc.model.rtnl import rtmsg_ifinfo, rtmsg_ifinfo_build, rtnl_lock
from addrsvc.model.structs import Machine, Net, NetDevice, NetdevNotifierInfo
from addrsvc.model.sysctl import sysctl_write
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFALIASZ,
    IFF_ALLMULTI,
    IFF_PROMISC,
    IFLA_EVENT_BONDING_FAILOVER,
    IFLA_EVENT_BONDING_OPTIONS,
    IFLA_EVENT_FEATURES,
    IFLA_EVENT_IGMP_RESEND,
    IFLA_EVENT_NOTIFY_PEERS,
    IFLA_EVENT_REBOOT,
    IFNAMSIZ,
    INT_MAX,
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
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
)

__all__ = ["RTNL_DOIT", "rtnetlink_dump", "rtnetlink_event", "rtnetlink_init", "rtnetlink_rcv_msg"]

# --- links ----------------------------------------------------------------------------------------------------------

_GFLAGS = IFF_PROMISC | IFF_ALLMULTI  # what the user asked for counts, not what the device does
_MODIFIED = 1
_NOTIFY = 3
_MAX_SEGS = 65535
_MAX_GRO_SIZE = 8 * 65535


def _find_link(net: Net, msg: LinkMsg) -> NetDevice | None:
    if msg.ifi_index > 0:
        return dev_get_by_index(net, msg.ifi_index)
    return dev_get_by_name(net, msg.ifname) if msg.ifname is not None else None


def rtnl_newlink(net: Net, msg: LinkMsg) -> None:
    """Change a device.  None can be made by request: no kind of device is known.

    Kernel: net/core/rtnetlink.c, rtnl_newlink().

    Raises:
        KernelError: the kernel's errno and text, for the first thing that is wrong.
    """
    if msg.ifi_index < 0:
        raise KernelError(EINVAL, "ifindex can't be negative")
    dev = _find_link(net, msg)
    if dev is None:
        if msg.nlmsg_flags & NLM_F_CREATE:
            raise KernelError(EOPNOTSUPP, "Unknown device type")
        if msg.ifi_index or msg.ifname is not None or msg.group is None:
            raise KernelError(ENODEV)
        _change_group(net, msg.group, msg)
        return
    if msg.nlmsg_flags & NLM_F_EXCL:
        raise KernelError(EEXIST)
    if msg.nlmsg_flags & NLM_F_REPLACE:
        raise KernelError(EOPNOTSUPP)
    validate_linkmsg(dev, msg)
    do_setlink(dev, msg)


def _change_group(net: Net, group: int, msg: LinkMsg) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_group_changelink()."""
    for dev in for_each_netdev(net):
        if dev.group == group:
            validate_linkmsg(dev, msg)
            do_setlink(dev, msg)


def rtnl_setlink(net: Net, msg: LinkMsg) -> None:
    """Change a device.

    Kernel: net/core/rtnetlink.c, rtnl_setlink().

    Raises:
        KernelError: as rtnl_newlink().
    """
    dev = _require_link(net, msg)
    validate_linkmsg(dev, msg)
    do_setlink(dev, msg)


def rtnl_dellink(net: Net, msg: LinkMsg) -> None:
    """Refuse to delete a device: those that the model has were not made by request.

    Kernel: net/core/rtnetlink.c, rtnl_dellink().

    Raises:
        KernelError: always; EOPNOTSUPP for a device that exists.
    """
    if msg.ifi_index <= 0 and msg.ifname is None and msg.group is not None:
        _refuse_group(net, msg.group)
    _require_link(net, msg)
    raise KernelError(EOPNOTSUPP)


def _refuse_group(net: Net, group: int) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_group_dellink()."""
    if not group:
        raise KernelError(EPERM)
    found = any(dev.group == group for dev in for_each_netdev(net))
    raise KernelError(EOPNOTSUPP if found else ENODEV)


def _require_link(net: Net, msg: LinkMsg) -> NetDevice:
    if msg.ifi_index <= 0 and msg.ifname is None:
        raise KernelError(EINVAL)
    dev = _find_link(net, msg)
    if dev is None:
        raise KernelError(ENODEV)
    return dev


def validate_linkmsg(dev: NetDevice, msg: LinkMsg) -> None:
    """Refuse what cannot be granted before anything is changed.

    Kernel: net/core/rtnetlink.c, validate_linkmsg().

    Raises:
        KernelError: EINVAL, a short address or a size beyond the device's; or the address family's own refusal.
    """
    for addr in (msg.address, msg.broadcast):
        if addr is not None and len(addr) < dev.addr_len:
            raise KernelError(EINVAL)
    for name, most in (
        ("gso_max_size", dev.tso_max_size),
        ("gso_max_segs", min(_MAX_SEGS, dev.tso_max_segs)),
        ("gro_max_size", _MAX_GRO_SIZE),
        ("gso_ipv4_max_size", dev.tso_max_size),
        ("gro_ipv4_max_size", _MAX_GRO_SIZE),
    ):
        if (getattr(msg, name) or 0) > most:
            raise KernelError(EINVAL, f"too big {name}")
    if msg.inet6 is not None:
        inet6_validate_link_af(dev, msg.inet6)


def _as_int(value: int) -> int:
    """An unsigned number as the signed one that the kernel takes it for."""
    return value - (1 << 32) if value > INT_MAX else value


def _set_address(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.address is None:
        return 0
    dev_set_mac_address(dev, msg.address)
    return _MODIFIED


def _set_mtu(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.mtu is None:
        return 0
    dev_set_mtu(dev, _as_int(msg.mtu))
    return _MODIFIED


def _set_group(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.group is None:
        return 0
    dev_set_group(dev, msg.group)
    return _NOTIFY


def _set_name(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.ifi_index <= 0 or not msg.ifname:
        return 0
    dev_change_name(dev, msg.ifname)
    return _MODIFIED


def _set_alias(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.ifalias is None:
        return 0
    dev_set_alias(dev, msg.ifalias)
    return _NOTIFY


def _set_broadcast(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.broadcast is not None:
        dev_set_broadcast(dev, msg.broadcast)
    return 0


def _set_flags(dev: NetDevice, msg: LinkMsg) -> int:
    """Kernel: net/core/rtnetlink.c, rtnl_dev_combine_flags(): no mask but flags means all of them."""
    if msg.ifi_flags or msg.ifi_change:
        mask = msg.ifi_change or 0xFFFFFFFF
        current = dev.flags & ~_GFLAGS | dev.gflags & _GFLAGS
        dev_change_flags(dev, msg.ifi_flags & mask | current & ~mask)
    return 0


def _set_txqlen(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.txqlen is None:
        return 0
    dev_change_tx_queue_len(dev, msg.txqlen)
    return _MODIFIED


def _set_sizes(dev: NetDevice, msg: LinkMsg) -> int:
    """Kernel: net/core/dev.c, netif_set_gso_max_size() and kin: a size that IPv4 can have is IPv4's too."""
    for name in ("gso_max_size", "gso_max_segs", "gro_max_size", "gso_ipv4_max_size", "gro_ipv4_max_size"):
        value = getattr(msg, name)
        if value is None or value == getattr(dev, name):
            continue
        setattr(dev, name, value)
        if name in _IPV4_TOO and value <= _LEGACY_MAX_SIZE:
            setattr(dev, _IPV4_TOO[name], value)
    return 0


_IPV4_TOO: Final = {"gso_max_size": "gso_ipv4_max_size", "gro_max_size": "gro_ipv4_max_size"}
_LEGACY_MAX_SIZE = 65536


def _set_operstate(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.operstate is not None:
        set_operstate(dev, msg.operstate)
    return 0


def _set_linkmode(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.linkmode is None or msg.linkmode == dev.link_mode:
        return 0
    dev.link_mode = msg.linkmode
    return _NOTIFY


def _set_af_spec(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.inet6 is None:
        return 0
    inet6_set_link_af(dev, msg.inet6)
    return _NOTIFY


def _set_carrier(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.carrier is not None:
        raise KernelError(EOPNOTSUPP)
    return 0


def _set_proto_down(dev: NetDevice, msg: LinkMsg) -> int:
    if msg.proto_down is not None:
        raise KernelError(EOPNOTSUPP, "Protodown not supported by device")
    return 0


# The order in which one request changes a device; a refusal leaves the earlier changes in place.
_SETLINK_STEPS: Final[tuple[Callable[[NetDevice, LinkMsg], int], ...]] = (
    _set_address, _set_mtu, _set_group, _set_name, _set_alias, _set_broadcast, _set_flags, _set_carrier,
    _set_txqlen, _set_sizes, _set_operstate, _set_linkmode, _set_af_spec, _set_proto_down,
)  # fmt: skip


def do_setlink(dev: NetDevice, msg: LinkMsg) -> None:
    """Change what the message names, in the kernel's order, and tell of it once where the single change does not.

    Kernel: net/core/rtnetlink.c, do_setlink().

    Raises:
        KernelError: the refusal of the step that failed.
    """
    status = 0
    try:
        for step in _SETLINK_STEPS:
            status |= step(dev, msg)
    finally:
        if status & _NOTIFY == _NOTIFY:
            netif_state_change(dev)


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
        *(inet6_fill_ifaddr(ifp) for idev in halves for ifp in idev.addr_list),
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
