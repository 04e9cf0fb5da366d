"""net/ipv4/devinet.c: a device's IPv4 half, 127.0.0.1/8 on loopback devices, and requests for IPv4 addresses.

It is here because its messages interleave with those of IPv6, and because it is a second subscriber of the chain.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from errno import EADDRNOTAVAIL, EAFNOSUPPORT, EEXIST, EINVAL, ENOBUFS, ENODEV
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addr_check import ADDRCONF_TIMER_FUZZ_MINUS, next_check
from addrsvc.model.arp_tbl import arp_parms_alloc, arp_parms_release
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.fib_frontend import fib_add_ifaddr, fib_del_ifaddr, fib_modify_prefix_metric, inet_ifa_match
from addrsvc.model.igmp import ip_mc_autojoin, ip_mc_autoleave, ip_mc_down, ip_mc_up, ipv4_is_multicast
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import (
    NOTIFY_DONE,
    NotifierBlock,
    blocking_notifier_call_chain,
    notifier_from_errno,
    notifier_to_errno,
)
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_lock, rtnl_notify
from addrsvc.model.structs import (
    AfReader,
    InDevice,
    InetLinkWish,
    InIfaddr,
    InValidatorInfo,
    Ipv4Devconf,
    Machine,
    Net,
    NetDevice,
    NetdevNotifierInfo,
    RtnlAfOps,
)
from addrsvc.model.timer import HZ, Timer, cstamp_delta, mod_timer
from addrsvc.netlink.messages import AddrMsg, AfSpec, IfaCacheinfo, InetLinkInfo, NetconfMsg
from addrsvc.uapi import (
    AF_INET,
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_SECONDARY,
    IFA_F_STABLE_PRIVACY,
    IFA_F_TENTATIVE,
    IFF_LOOPBACK,
    IFF_UP,
    IFNAMSIZ,
    INFINITY_LIFE_TIME,
    IPV4_MIN_MTU,
    NETCONFA_IFINDEX_ALL,
    NETCONFA_IFINDEX_DEFAULT,
    NETDEV_CHANGEMTU,
    NETDEV_CHANGENAME,
    NETDEV_DOWN,
    NETDEV_REGISTER,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_HOST,
    RTM_DELADDR,
    RTM_DELNETCONF,
    RTM_NEWADDR,
    RTM_NEWNETCONF,
)

__all__ = [
    "INADDR_LOOPBACK", "devinet_init", "inet_af_ops", "inet_base_seq", "inet_blackhole_dev_init", "inet_fill_ifaddr",
    "inet_ifa_list", "inet_netconf_fill_devconf", "inet_netconf_get_devconf", "inet_netconf_notify_devconf",
    "inet_rtm_deladdr", "inet_rtm_newaddr", "inet_set_link_af", "inet_validate_link_af", "inetdev_event",
    "ipv4_devconf_setall",
]  # fmt: skip

INADDR_LOOPBACK = bytes((127, 0, 0, 1))
_RESERVED_NAMES = ("all", "default")
_IPV6ONLY_FLAGS = (
    IFA_F_NODAD | IFA_F_OPTIMISTIC | IFA_F_DADFAILED | IFA_F_HOMEADDRESS | IFA_F_TENTATIVE | IFA_F_MANAGETEMPADDR
    | IFA_F_STABLE_PRIVACY
)  # fmt: skip


# --- what is said ---------------------------------------------------------------------------------------------------


def inet_fill_ifaddr(ifa: InIfaddr, nlmsg_type: int = RTM_NEWADDR, nlmsg_flags: int = 0) -> AddrMsg:
    """An IPv4 address as a message.

    Kernel: net/ipv4/devinet.c, inet_fill_ifaddr().
    """
    return AddrMsg(
        nlmsg_type=nlmsg_type,
        nlmsg_flags=nlmsg_flags,
        ifa_family=AF_INET,
        ifa_prefixlen=ifa.ifa_prefixlen,
        ifa_flags=ifa.ifa_flags & 0xFF,
        ifa_scope=ifa.ifa_scope,
        ifa_index=ifa.ifa_dev.dev.ifindex,
        address=ifa.ifa_address if any(ifa.ifa_address) else None,
        local=ifa.ifa_local if any(ifa.ifa_local) else None,
        label=ifa.ifa_label or None,
        broadcast=ifa.ifa_broadcast,
        cacheinfo=_cacheinfo(ifa),
        flags=ifa.ifa_flags,
        rt_priority=ifa.ifa_rt_priority or None,
        proto=ifa.ifa_proto or None,
    )


def _cacheinfo(ifa: InIfaddr) -> IfaCacheinfo:
    stamps = cstamp_delta(ifa.ifa_cstamp), cstamp_delta(ifa.ifa_tstamp)
    preferred, valid = ifa.ifa_preferred_lft, ifa.ifa_valid_lft
    if ifa.ifa_flags & IFA_F_PERMANENT:
        return IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME, *stamps)
    age = (ifa.ifa_dev.dev.machine.timers.jiffies - ifa.ifa_tstamp) // HZ
    return IfaCacheinfo(max(preferred - age, 0), max(valid - age, 0), *stamps)


def _rtmsg_ifa(nlmsg_type: int, ifa: InIfaddr, *, asked: bool = False) -> None:
    rtnl_notify(ifa.ifa_dev.dev.net, inet_fill_ifaddr(ifa, nlmsg_type), asked=asked)


# The settings that a netconf message tells.
_NETCONF: Final = (
    "forwarding", "rp_filter", "mc_forwarding", "proxy_arp", "ignore_routes_with_linkdown", "bc_forwarding",
)  # fmt: skip


def inet_netconf_fill_devconf(ifindex: int, cnf: Mapping[str, int], *settings: str) -> NetconfMsg:
    """Settings as a message, all that it can tell if none is named.

    Kernel: net/ipv4/devinet.c, inet_netconf_fill_devconf().
    """
    told = {setting: cnf[setting] for setting in settings or _NETCONF}
    return NetconfMsg(
        RTM_NEWNETCONF,
        ncm_family=AF_INET,
        ifindex=ifindex,
        forwarding=told.get("forwarding"),
        rp_filter=told.get("rp_filter"),
        mc_forwarding=told.get("mc_forwarding"),
        proxy_neigh=told.get("proxy_arp"),
        ignore_routes_with_linkdown=told.get("ignore_routes_with_linkdown"),
        bc_forwarding=told.get("bc_forwarding"),
    )


def inet_netconf_get_devconf(net: Net, ifindex: int) -> NetconfMsg:
    """The settings of a device, of NETCONFA_IFINDEX_ALL or of NETCONFA_IFINDEX_DEFAULT.

    Kernel: net/ipv4/devinet.c, inet_netconf_get_devconf().

    Raises:
        KernelError: ENODEV, no such device, or none with IPv4.
    """
    common = {NETCONFA_IFINDEX_ALL: net.ipv4.devconf_all, NETCONFA_IFINDEX_DEFAULT: net.ipv4.devconf_dflt}
    cnf: Mapping[str, int] | None = common.get(ifindex)
    if cnf is None:
        dev = net.dev_base_head.get(ifindex)
        if dev is None or dev.ip_ptr is None:
            raise KernelError(ENODEV)
        cnf = dev.ip_ptr.cnf
    return inet_netconf_fill_devconf(ifindex, cnf)


def inet_netconf_notify_devconf(net: Net, ifindex: int, cnf: Mapping[str, int], *settings: str) -> None:
    """Say what settings are; `ifindex` is a device's, NETCONFA_IFINDEX_ALL or NETCONFA_IFINDEX_DEFAULT.

    Kernel: net/ipv4/devinet.c, inet_netconf_notify_devconf().
    """
    rtnl_notify(net, inet_netconf_fill_devconf(ifindex, cnf, *settings))


# --- the IPv4 half of a device --------------------------------------------------------------------------------------


def _sysctl_register(in_dev: InDevice) -> None:
    """Kernel: net/ipv4/devinet.c, devinet_sysctl_register(): no device can have the name of a directory there."""
    if in_dev.dev.name in _RESERVED_NAMES:
        raise KernelError(EINVAL)
    inet_netconf_notify_devconf(in_dev.dev.net, in_dev.dev.ifindex, in_dev.cnf)


def _sysctl_unregister(in_dev: InDevice) -> None:
    """Kernel: net/ipv4/devinet.c, devinet_sysctl_unregister()."""
    rtnl_notify(in_dev.dev.net, NetconfMsg(RTM_DELNETCONF, ncm_family=AF_INET, ifindex=in_dev.dev.ifindex))


def inetdev_init(dev: NetDevice) -> InDevice:
    """Give a device its IPv4 half: settings copied from `default`.

    The blackhole has neither settings that can be seen nor groups.

    Kernel: net/ipv4/devinet.c, inetdev_init().
    """
    ASSERT_RTNL(dev)
    dflt = dev.net.ipv4.devconf_dflt
    in_dev = InDevice(dev, Ipv4Devconf(dflt, dflt.state))
    if dev is not dev.machine.blackhole_netdev:
        _sysctl_register(in_dev)
    dev.ip_ptr = in_dev
    in_dev.arp_parms = arp_parms_alloc(dev)
    if dev.flags & IFF_UP and dev is not dev.machine.blackhole_netdev:
        ip_mc_up(in_dev)
    return in_dev


def _inetdev_destroy(in_dev: InDevice) -> None:
    """Kernel: net/ipv4/devinet.c, inetdev_destroy()."""
    ASSERT_RTNL(in_dev.dev)
    in_dev.dead = True
    ip_mc_down(in_dev)
    while in_dev.ifa_list:
        _del_ifa(in_dev.ifa_list[0])
    in_dev.dev.ip_ptr = None
    _sysctl_unregister(in_dev)
    if in_dev.arp_parms is not None:
        arp_parms_release(in_dev.arp_parms, in_dev.dev)


def ipv4_devconf_setall(in_dev: InDevice) -> None:
    """Count every setting as written: what has addresses is not changed by `default` any more.

    Kernel: include/linux/inetdevice.h, ipv4_devconf_setall().
    """
    in_dev.cnf.state.update(in_dev.cnf)


# --- what a link message says of IPv4, and may want of it -------------------------------------------------------------


def inet_fill_link_af(spec: AfSpec, dev: NetDevice, ext_filter_mask: int) -> AfSpec:
    """Add what a link message says of IPv4; nothing for a device without.

    Kernel: net/ipv4/devinet.c, inet_fill_link_af().
    """
    if dev.ip_ptr is None:
        return spec
    return replace(spec, inet=InetLinkInfo(tuple([value & 0xFFFFFFFF for value in dev.ip_ptr.cnf.values()])))


def _wanted(dev: NetDevice, read: AfReader) -> tuple[InDevice, InetLinkWish]:
    if dev.ip_ptr is None:
        raise KernelError(EAFNOSUPPORT)
    wish = read()
    assert isinstance(wish, InetLinkWish), "each family reads its own"
    return dev.ip_ptr, wish


def inet_validate_link_af(dev: NetDevice, read: AfReader) -> None:
    """Check what a link message wants of IPv4.

    Kernel: net/ipv4/devinet.c, inet_validate_link_af().

    Raises:
        KernelError: EAFNOSUPPORT, the device has no IPv4; EINVAL, there is no such setting.
    """
    in_dev, wanted = _wanted(dev, read)
    if any(not 0 < number <= len(in_dev.cnf) for number, _ in wanted.conf):
        raise KernelError(EINVAL)


def inet_set_link_af(dev: NetDevice, read: AfReader) -> None:
    """Write settings, and no more than that: what a write below /proc does besides is not done.

    Kernel: net/ipv4/devinet.c, inet_set_link_af(); include/linux/inetdevice.h, ipv4_devconf_set().

    Raises:
        KernelError: as inet_validate_link_af().
    """
    in_dev, wanted = _wanted(dev, read)
    settings = list(in_dev.cnf)
    for number, value in wanted.conf:
        in_dev.cnf[settings[number - 1]] = value
        in_dev.cnf.state.add(settings[number - 1])


inet_af_ops = RtnlAfOps(inet_fill_link_af, inet_validate_link_af, inet_set_link_af)
"""Kernel: net/ipv4/devinet.c, inet_af_ops."""


# --- addresses ------------------------------------------------------------------------------------------------------


def _insert_ifa(ifa: InIfaddr, *, asked: bool = False) -> None:
    """Kernel: net/ipv4/devinet.c, __inet_insert_ifa()."""
    in_dev = ifa.ifa_dev
    ASSERT_RTNL(in_dev.dev)
    ifa.ifa_flags &= ~(IFA_F_SECONDARY | _IPV6ONLY_FLAGS)
    for other in in_dev.ifa_list:
        if other.ifa_prefixlen == ifa.ifa_prefixlen and inet_ifa_match(other.ifa_address, ifa):
            _join_subnet(ifa, other)
    _ask_validators(ifa)
    in_dev.ifa_list.insert(_place(ifa), ifa)
    _lifetime_changed(ifa)
    _rtmsg_ifa(RTM_NEWADDR, ifa, asked=asked)
    blocking_notifier_call_chain(in_dev.dev.machine.inetaddr_chain, NETDEV_UP, ifa)


def _join_subnet(ifa: InIfaddr, other: InIfaddr) -> None:
    if other.ifa_local == ifa.ifa_local:
        raise KernelError(EEXIST)
    if other.ifa_scope != ifa.ifa_scope:
        raise KernelError(EINVAL, "ipv4: Invalid scope value")
    ifa.ifa_flags |= IFA_F_SECONDARY


def _ask_validators(ifa: InIfaddr) -> None:
    chain = ifa.ifa_dev.dev.machine.inetaddr_validator_chain
    question = InValidatorInfo(ifa.ifa_address, ifa.ifa_dev)
    errno = notifier_to_errno(blocking_notifier_call_chain(chain, NETDEV_UP, question))
    if errno:
        raise KernelError(-errno, question.extack)


def _place(ifa: InIfaddr) -> int:
    """Secondaries go last; a primary goes behind the last primary whose scope is not narrower."""
    ifa_list = ifa.ifa_dev.ifa_list
    if ifa.ifa_flags & IFA_F_SECONDARY:
        return len(ifa_list)
    before = [i for i, o in enumerate(ifa_list) if not o.ifa_flags & IFA_F_SECONDARY and ifa.ifa_scope <= o.ifa_scope]
    return before[-1] + 1 if before else 0


def _del_ifa(ifa: InIfaddr, *, asked: bool = False) -> None:
    """Delete an address, and with a primary one its secondaries, unless the first of them takes its place.

    Kernel: net/ipv4/devinet.c, __inet_del_ifa().
    """
    in_dev = ifa.ifa_dev
    ASSERT_RTNL(in_dev.dev)
    followers = [] if ifa.ifa_flags & IFA_F_SECONDARY or in_dev.dead else _secondaries(ifa)
    if not followers or not _promotes(in_dev):
        for each in (*followers, ifa):
            _unlink_ifa(each, asked=asked)
        return
    for each in followers:
        fib_del_ifaddr(each, ifa)
    at = _place_of_heir(ifa, followers[0])
    _unlink_ifa(ifa, asked=asked)
    _promote(followers, at, asked=asked)


def _promotes(in_dev: InDevice) -> bool:
    """Kernel: include/linux/inetdevice.h, IN_DEV_PROMOTE_SECONDARIES()."""
    return bool(in_dev.cnf["promote_secondaries"] or in_dev.dev.net.ipv4.devconf_all["promote_secondaries"])


def _unlink_ifa(ifa: InIfaddr, *, asked: bool) -> None:
    in_dev = ifa.ifa_dev
    in_dev.ifa_list.remove(ifa)
    in_dev.dev.net.ipv4.finite.pop(ifa, None)
    _rtmsg_ifa(RTM_DELADDR, ifa, asked=asked)
    blocking_notifier_call_chain(in_dev.dev.machine.inetaddr_chain, NETDEV_DOWN, ifa)


def _place_of_heir(ifa: InIfaddr, heir: InIfaddr) -> int:
    """Where a primary's heir comes to stand once both are out: in its place, or behind primaries of as wide a scope."""
    ifa_list = ifa.ifa_dev.ifa_list
    first, last = ifa_list.index(ifa), ifa_list.index(heir)
    between = enumerate(ifa_list[first + 1 : last], first + 1)
    ahead = [i for i, o in between if not o.ifa_flags & IFA_F_SECONDARY and ifa.ifa_scope <= o.ifa_scope]
    return ahead[-1] if ahead else first


def _promote(followers: list[InIfaddr], at: int, *, asked: bool) -> None:
    heir, *others = followers
    ifa_list = heir.ifa_dev.ifa_list
    ifa_list.remove(heir)
    ifa_list.insert(at, heir)
    heir.ifa_flags &= ~IFA_F_SECONDARY
    _rtmsg_ifa(RTM_NEWADDR, heir, asked=asked)
    blocking_notifier_call_chain(heir.ifa_dev.dev.machine.inetaddr_chain, NETDEV_UP, heir)
    for each in others:
        fib_add_ifaddr(each)


def _secondaries(ifa: InIfaddr) -> list[InIfaddr]:
    ifa_list = ifa.ifa_dev.ifa_list
    return [
        other
        for other in ifa_list[ifa_list.index(ifa) + 1 :]
        if other.ifa_flags & IFA_F_SECONDARY
        and other.ifa_prefixlen == ifa.ifa_prefixlen
        and inet_ifa_match(ifa.ifa_address, other)
    ]


# --- lifetimes ------------------------------------------------------------------------------------------------------


def _lifetime_changed(ifa: InIfaddr) -> None:
    """See to it that an address that does not live for ever is looked at: at once, as a work item."""
    net = ifa.ifa_dev.dev.net
    if ifa.ifa_flags & IFA_F_PERMANENT:
        net.ipv4.finite.pop(ifa, None)
        return
    net.ipv4.finite[ifa] = None
    if net.ipv4.addr_chk_work is None:
        net.ipv4.addr_chk_work = Timer(lambda: _check_lifetime(net))
    mod_timer(net.machine.timers, net.ipv4.addr_chk_work, net.machine.timers.jiffies)


def _check_lifetime(net: Net) -> None:
    """Deprecate and remove what is due, and come back for the next.

    Kernel: net/ipv4/devinet.c, check_lifetime().
    Differs: addresses are looked at in the order of their coming, where the kernel follows its hash table; with
        nothing to wait for it does not come back every two minutes.
    """
    with rtnl_lock(net.machine):
        now = net.machine.timers.jiffies
        for ifa in list(net.ipv4.finite):
            if ifa in net.ipv4.finite:  # and has not just gone with its primary
                _age(ifa, (now - ifa.ifa_tstamp + ADDRCONF_TIMER_FUZZ_MINUS) // HZ)
        limits = [_limit(ifa) for ifa in net.ipv4.finite]
        if limits and net.ipv4.addr_chk_work is not None:
            mod_timer(net.machine.timers, net.ipv4.addr_chk_work, next_check(min(limits), now))


def _age(ifa: InIfaddr, age: int) -> None:
    if age >= ifa.ifa_valid_lft:
        _del_ifa(ifa)
    elif age >= ifa.ifa_preferred_lft and not ifa.ifa_flags & IFA_F_DEPRECATED:
        ifa.ifa_flags |= IFA_F_DEPRECATED
        _rtmsg_ifa(RTM_NEWADDR, ifa)


def _limit(ifa: InIfaddr) -> int:
    """The jiffies at which something happens to this address next."""
    deprecated = ifa.ifa_flags & IFA_F_DEPRECATED
    return ifa.ifa_tstamp + (ifa.ifa_valid_lft if deprecated else ifa.ifa_preferred_lft) * HZ


# --- events ---------------------------------------------------------------------------------------------------------


def inetdev_valid_mtu(mtu: int) -> bool:
    """Whether IPv4 works with this MTU, in bytes.

    Kernel: include/linux/inetdevice.h, inetdev_valid_mtu().
    """
    return mtu >= IPV4_MIN_MTU


def _register(in_dev: InDevice | None, dev: NetDevice) -> None:
    if in_dev is None:
        in_dev = inetdev_init(dev)
        if dev.flags & IFF_LOOPBACK:
            in_dev.cnf["disable_xfrm"] = in_dev.cnf["disable_policy"] = 1


def _up(in_dev: InDevice | None, dev: NetDevice) -> None:
    if in_dev is None or not inetdev_valid_mtu(dev.mtu):
        return
    if dev.flags & IFF_LOOPBACK:
        _add_loopback_address(in_dev)
    ip_mc_up(in_dev)


def _add_loopback_address(in_dev: InDevice) -> None:
    now = in_dev.dev.machine.timers.jiffies
    ifa = InIfaddr(
        INADDR_LOOPBACK,
        INADDR_LOOPBACK,
        8,
        RT_SCOPE_HOST,
        in_dev.dev.name,
        in_dev,
        ifa_flags=IFA_F_PERMANENT,
        ifa_cstamp=now,
        ifa_tstamp=now,
    )
    ipv4_devconf_setall(in_dev)
    try:
        _insert_ifa(ifa)
    except KernelError:
        return  # it is there already, or somebody vetoed it: the kernel does not look either


def _down(in_dev: InDevice | None, dev: NetDevice) -> None:
    if in_dev is not None:
        ip_mc_down(in_dev)


def _changemtu(in_dev: InDevice | None, dev: NetDevice) -> None:
    if inetdev_valid_mtu(dev.mtu):
        if in_dev is None:
            inetdev_init(dev)
    elif in_dev is not None:
        _inetdev_destroy(in_dev)


def _unregister(in_dev: InDevice | None, dev: NetDevice) -> None:
    if in_dev is not None:
        _inetdev_destroy(in_dev)


def _changename(in_dev: InDevice | None, dev: NetDevice) -> None:
    if in_dev is None:
        return
    for nth, ifa in enumerate(in_dev.ifa_list):
        _relabel(ifa, nth, dev.name)
        _rtmsg_ifa(RTM_NEWADDR, ifa)
    _sysctl_unregister(in_dev)
    try:
        _sysctl_register(in_dev)
    except KernelError:
        return  # the IPv6 block refuses the same name, and that undoes the rename


def _relabel(ifa: InIfaddr, nth: int, name: str) -> None:
    """Kernel: net/ipv4/devinet.c, inetdev_changename(): the first label is the name, later ones keep their alias."""
    _, colon, alias = ifa.ifa_label.partition(":")
    suffix = (colon + alias if colon else f":{nth + 1}") if nth else ""
    label, tail = (text.encode("utf-8", "surrogateescape") for text in (name, suffix))
    ifa.ifa_label = (label[: IFNAMSIZ - 1 - len(tail)] + tail).decode("utf-8", "surrogateescape")


ON_NETDEV_EVENT: dict[int, Callable[[InDevice | None, NetDevice], None]] = {
    NETDEV_REGISTER: _register,
    NETDEV_UP: _up,
    NETDEV_DOWN: _down,
    NETDEV_CHANGEMTU: _changemtu,
    NETDEV_UNREGISTER: _unregister,
    NETDEV_CHANGENAME: _changename,
}


def inetdev_event(event: int, info: NetdevNotifierInfo) -> int:
    """IPv4's ear on the netdevice chain.  Only REGISTER can refuse.

    Kernel: net/ipv4/devinet.c, inetdev_event().
    """
    ASSERT_RTNL(info.dev)
    act = ON_NETDEV_EVENT.get(event)
    if act is None:
        return NOTIFY_DONE
    try:
        act(info.dev.ip_ptr, info.dev)
    except KernelError as err:
        return notifier_from_errno(-(err.errno or EINVAL))
    return NOTIFY_DONE


# --- requests -------------------------------------------------------------------------------------------------------


def inet_rtm_newaddr(net: Net, msg: AddrMsg) -> None:
    """Add an IPv4 address, or with NLM_F_REPLACE change one.

    Kernel: net/ipv4/devinet.c, inet_rtm_newaddr(), rtm_to_ifaddr().

    Raises:
        KernelError: the kernel's errno and text, for the first thing that is wrong.
    """
    ASSERT_RTNL(net)
    valid, preferred = _validate_rtm(msg)
    if msg.local is not None and not any(msg.local[:4]):
        return
    ifa = _rtm_to_ifa(net, msg)
    present = next((o for o in ifa.ifa_dev.ifa_list if _matches(o, ifa)), None)
    if present is None:
        _set_lifetime(ifa, valid, preferred)
        if ifa.ifa_flags & IFA_F_MCAUTOJOIN:
            ip_mc_autojoin(ifa.ifa_dev, ifa.ifa_address)
        _insert_ifa(ifa, asked=True)
        return
    if msg.nlmsg_flags & NLM_F_EXCL or not msg.nlmsg_flags & NLM_F_REPLACE:
        raise KernelError(EEXIST, "ipv4: Address already assigned")
    if present.ifa_rt_priority != ifa.ifa_rt_priority:
        fib_modify_prefix_metric(present, ifa.ifa_rt_priority)
        present.ifa_rt_priority = ifa.ifa_rt_priority
    present.ifa_proto = ifa.ifa_proto
    _set_lifetime(present, valid, preferred)
    _lifetime_changed(present)
    _rtmsg_ifa(RTM_NEWADDR, present, asked=True)


def _matches(present: InIfaddr, ifa: InIfaddr) -> bool:
    """Kernel: net/ipv4/devinet.c, find_matching_ifa()."""
    same_prefix = present.ifa_prefixlen == ifa.ifa_prefixlen and inet_ifa_match(present.ifa_address, ifa)
    return same_prefix and present.ifa_local == ifa.ifa_local


def _validate_rtm(msg: AddrMsg) -> tuple[int, int]:
    """The valid and the preferred lifetime of a request that may be served, in seconds.

    Kernel: net/ipv4/devinet.c, inet_validate_rtm().
    """
    if msg.ifa_prefixlen > 32:
        raise KernelError(EINVAL, "ipv4: Invalid prefix length")
    if msg.local is None:
        raise KernelError(EINVAL, "ipv4: Local address is not supplied")
    lifetimes = msg.cacheinfo or IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)
    if not lifetimes.ifa_valid or lifetimes.ifa_prefered > lifetimes.ifa_valid:
        raise KernelError(EINVAL, "ipv4: address lifetime invalid")
    return lifetimes.ifa_valid, lifetimes.ifa_prefered


def _rtm_to_ifa(net: Net, msg: AddrMsg) -> InIfaddr:
    """Kernel: net/ipv4/devinet.c, inet_rtm_to_ifa()."""
    dev = dev_get_by_index(net, msg.ifa_index)
    if dev is None:
        raise KernelError(ENODEV, "ipv4: Device not found")
    if dev.ip_ptr is None:
        raise KernelError(ENOBUFS)
    ipv4_devconf_setall(dev.ip_ptr)
    local = msg.local or b""
    return InIfaddr(
        ifa_local=local[:4],
        ifa_address=(local if msg.address is None else msg.address)[:4],
        ifa_prefixlen=msg.ifa_prefixlen,
        ifa_scope=msg.ifa_scope,
        ifa_label=dev.name if msg.label is None else msg.label.partition("\0")[0],
        ifa_dev=dev.ip_ptr,
        ifa_broadcast=_some(msg.broadcast),
        ifa_flags=msg.ifa_flags if msg.flags is None else msg.flags,
        ifa_proto=msg.proto or 0,
        ifa_rt_priority=msg.rt_priority or 0,
        ifa_cstamp=dev.machine.timers.jiffies,
    )


def _some(addr: bytes | None) -> bytes | None:
    """An address, unless it is 0.0.0.0."""
    return addr[:4] if addr is not None and any(addr[:4]) else None


def _set_lifetime(ifa: InIfaddr, valid: int, preferred: int) -> None:
    """Kernel: net/ipv4/devinet.c, set_ifa_lifetime()."""
    ifa.ifa_flags &= ~(IFA_F_PERMANENT | IFA_F_DEPRECATED)
    ifa.ifa_flags |= IFA_F_PERMANENT * (valid == INFINITY_LIFE_TIME) | IFA_F_DEPRECATED * (preferred == 0)
    ifa.ifa_valid_lft, ifa.ifa_preferred_lft = valid, preferred
    ifa.ifa_tstamp = ifa.ifa_dev.dev.machine.timers.jiffies


def inet_rtm_deladdr(net: Net, msg: AddrMsg) -> None:
    """Delete the first IPv4 address that the request describes.

    Kernel: net/ipv4/devinet.c, inet_rtm_deladdr().

    Raises:
        KernelError: ENODEV, no such device or it has no IPv4; EADDRNOTAVAIL, none fits.
    """
    ASSERT_RTNL(net)
    dev = dev_get_by_index(net, msg.ifa_index)
    if dev is None or dev.ip_ptr is None:
        raise KernelError(ENODEV, "ipv4: Device not found")
    for ifa in dev.ip_ptr.ifa_list:
        if _described(ifa, msg):
            if ipv4_is_multicast(ifa.ifa_address):
                ip_mc_autoleave(dev.ip_ptr, ifa.ifa_address)
            _del_ifa(ifa, asked=True)
            return
    raise KernelError(EADDRNOTAVAIL, "ipv4: Address not found")


def _described(ifa: InIfaddr, msg: AddrMsg) -> bool:
    if msg.local is not None and ifa.ifa_local != msg.local[:4]:
        return False
    if msg.label is not None and ifa.ifa_label != msg.label:
        return False  # a label with a NUL inside is nobody's, though it can be given
    if msg.address is None:
        return True
    return msg.ifa_prefixlen == ifa.ifa_prefixlen and inet_ifa_match(msg.address[:4], ifa)


def inet_ifa_list(dev: NetDevice) -> list[InIfaddr]:
    """The IPv4 addresses of a device, in the kernel's order.  Ours."""
    return dev.ip_ptr.ifa_list if dev.ip_ptr else []


def inet_base_seq(net: Net) -> int:
    """What changes whenever a dump of addresses would.

    Kernel: net/ipv4/devinet.c, inet_base_seq().
    """
    return net.ipv4.dev_addr_genid + net.dev_base_seq


def devinet_init(machine: Machine) -> None:
    """Subscribe IPv4 to devices, and give it its part of link messages.

    Kernel: net/ipv4/devinet.c, devinet_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(inetdev_event))
    machine.rtnl_af_ops[AF_INET] = inet_af_ops


def inet_blackhole_dev_init(machine: Machine) -> None:
    """Give the blackhole its IPv4 half.

    Kernel: net/ipv4/devinet.c, inet_blackhole_dev_init().
    """
    if machine.blackhole_netdev is not None:
        with rtnl_lock(machine):
            inetdev_init(machine.blackhole_netdev)
