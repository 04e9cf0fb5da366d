"""net/ipv6/addrconf.c, requests: RTM_NEWADDR and RTM_DELADDR for IPv6, checked in the order of the kernel."""

from errno import EADDRINUSE, EADDRNOTAVAIL, EEXIST, EINVAL, ENODEV, ENXIO
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import in6addr_any, ipv6_addr_is_multicast, ipv6_addr_scope
from addrsvc.model.dad import addrconf_dad_start
from addrsvc.model.dev import (
    dev_get_by_index,
)
from addrsvc.model.ifaddr import (
    Ifa6Config,
    check_cleanup_prefix_route,
    cleanup_prefix_route,
    ipv6_add_addr,
    ipv6_del_addr,
    ipv6_ifa_notify,
    prefix_join,
)
from addrsvc.model.inet6_dev import addrconf_add_dev, ipv6_find_idev
from addrsvc.model.ip6_route import (
    addrconf_get_prefix_route,
    addrconf_prefix_route,
    fib6_clean_expires,
    fib6_set_expires,
    ip6_del_rt,
)
from addrsvc.model.lifetimes import addrconf_verify_rtnl, lifetime_changed
from addrsvc.model.mcast import ipv6_dev_mc_dec, ipv6_dev_mc_inc
from addrsvc.model.rtnl import ASSERT_RTNL
from addrsvc.model.structs import Inet6Dev, Inet6Ifaddr, Net, NetDevice
from addrsvc.model.timer import HZ, USER_HZ
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo
from addrsvc.uapi import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    INFINITY_LIFE_TIME,
    IP6_RT_PRIO_ADDRCONF,
    NLM_F_EXCL,
    NLM_F_REPLACE,
)

__all__ = ["REQUESTABLE", "inet6_newaddr", "inet6_rtm_deladdr", "inet6_rtm_newaddr"]

REQUESTABLE: Final = (
    IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN | IFA_F_OPTIMISTIC
)  # fmt: skip
_REPLACED = (
    IFA_F_DEPRECATED | IFA_F_PERMANENT | IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE
)  # fmt: skip


def _wish(msg: AddrMsg) -> Ifa6Config:
    """What a request wants: LOCAL is the address, a different ADDRESS then is the peer.

    The first 16 bytes count of what is longer; but a LOCAL that is longer differs from every ADDRESS.
    """
    pfx = msg.local if msg.local is not None else msg.address
    if pfx is None:
        raise KernelError(EINVAL)
    peer = msg.address[:16] if msg.local is not None and msg.address is not None else None
    lifetimes = msg.cacheinfo or IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)
    return Ifa6Config(
        pfx=pfx[:16],
        plen=msg.ifa_prefixlen,
        ifa_flags=(msg.ifa_flags if msg.flags is None else msg.flags) & REQUESTABLE,
        scope=0,
        peer_pfx=None if peer == msg.local else peer,
        rt_priority=msg.rt_priority or 0,
        ifa_proto=msg.proto or 0,
        valid_lft=lifetimes.ifa_valid,
        preferred_lft=lifetimes.ifa_prefered,
    )


def _apply_lifetimes(cfg: Ifa6Config) -> None:
    """Lifetimes decide two flags: without end is PERMANENT, nothing left to prefer is DEPRECATED."""
    if cfg.valid_lft == INFINITY_LIFE_TIME:
        cfg.ifa_flags |= IFA_F_PERMANENT
    if cfg.preferred_lft == 0:
        cfg.ifa_flags |= IFA_F_DEPRECATED


def _expires(dev: NetDevice, cfg: Ifa6Config) -> int | None:
    if cfg.valid_lft == INFINITY_LIFE_TIME:
        return None
    return dev.machine.timers.jiffies + cfg.valid_lft * HZ


def inet6_rtm_newaddr(net: Net, msg: AddrMsg) -> None:
    """Add an IPv6 address, or with NLM_F_REPLACE change one.

    Kernel: net/ipv6/addrconf.c, inet6_rtm_newaddr(), inet6_addr_add(), inet6_addr_modify().
    Differs: addresses are never managed temporary ones.

    Raises:
        KernelError: the kernel's errno and text, for the first thing that is wrong.
    """
    inet6_newaddr(net, msg.ifa_index, msg.nlmsg_flags, _wish(msg))


def inet6_newaddr(net: Net, ifindex: int, nlmsg_flags: int, cfg: Ifa6Config) -> None:
    """The same for a request that was read already: `cfg` bears flags that may be requested only.

    Kernel: net/ipv6/addrconf.c, inet6_rtm_newaddr().

    Raises:
        KernelError: the kernel's errno and text, for the first thing that is wrong.
    """
    if not cfg.valid_lft or cfg.preferred_lft > cfg.valid_lft:
        raise KernelError(EINVAL, "ipv6: address lifetime invalid")
    dev = net.dev_base_head.get(ifindex)
    if dev is None:
        raise KernelError(ENODEV, "ipv6: Unable to find the interface")
    idev = dev.ip6_ptr
    if idev is None or idev.mc_is_down:
        idev = ipv6_find_idev(dev)
    if cfg.ifa_flags & IFA_F_OPTIMISTIC:
        _mind_optimism(idev, cfg)
    present = idev.addr_hash.get(cfg.pfx)
    if present is None:
        _addr_add(dev, cfg)
    elif nlmsg_flags & NLM_F_EXCL or not nlmsg_flags & NLM_F_REPLACE:
        raise KernelError(EEXIST, "ipv6: address already assigned")
    else:
        _addr_modify(present, cfg)


def _mind_optimism(idev: Inet6Dev, cfg: Ifa6Config) -> None:
    if not (idev.cnf["optimistic_dad"] or idev.dev.net.ipv6.devconf_all["optimistic_dad"]):
        cfg.ifa_flags &= ~IFA_F_OPTIMISTIC
    if cfg.ifa_flags & IFA_F_NODAD and cfg.ifa_flags & IFA_F_OPTIMISTIC:
        raise KernelError(EINVAL, "IFA_F_NODAD and IFA_F_OPTIMISTIC are mutually exclusive")


def _addr_add(dev: NetDevice, cfg: Ifa6Config) -> None:
    """Kernel: net/ipv6/addrconf.c, inet6_addr_add()."""
    ASSERT_RTNL(dev)
    flags, plen = cfg.ifa_flags, cfg.plen
    if plen > 128:
        raise KernelError(EINVAL, "ipv6: Invalid prefix length")
    if flags & IFA_F_MANAGETEMPADDR and plen != 64:
        raise KernelError(EINVAL, 'ipv6: address with "mngtmpaddr" flag must have a prefix length of 64')
    idev = addrconf_add_dev(dev)
    _apply_lifetimes(cfg)
    cfg.scope = ipv6_addr_scope(cfg.pfx)
    ifp = _join_and_add(idev, cfg) if flags & IFA_F_MCAUTOJOIN else ipv6_add_addr(idev, cfg)
    if not flags & IFA_F_NOPREFIXROUTE:
        addrconf_prefix_route(dev, ifp.addr, plen, metric=ifp.rt_priority, expires=_expires(dev, cfg))
    if not flags & (IFA_F_OPTIMISTIC | IFA_F_NODAD):
        ipv6_ifa_notify(0, ifp)
    addrconf_dad_start(ifp)
    if cfg.preferred_lft != INFINITY_LIFE_TIME:
        lifetime_changed(ifp)
    if dev.net.ipv6.lifetimes:
        addrconf_verify_rtnl(dev.net)


def _join_and_add(idev: Inet6Dev, cfg: Ifa6Config) -> Inet6Ifaddr:
    _autojoin(idev.dev, cfg)
    try:
        return ipv6_add_addr(idev, cfg)
    except KernelError:
        _autoleave(idev, cfg.pfx)
        raise


def _autojoin(dev: NetDevice, cfg: Ifa6Config) -> None:
    """Kernel: net/ipv6/addrconf.c, ipv6_mc_config(): a socket of the kernel's own joins, once for each group."""
    ASSERT_RTNL(dev)
    if not ipv6_addr_is_multicast(cfg.pfx):
        raise KernelError(EINVAL, "ipv6: Multicast auto join failed")
    if (dev.ifindex, cfg.pfx) in dev.net.ipv6.mc_autojoin:
        raise KernelError(EADDRINUSE, "ipv6: Multicast auto join failed")
    ipv6_dev_mc_inc(dev, cfg.pfx)
    dev.net.ipv6.mc_autojoin[dev.ifindex, cfg.pfx] = None


def _autoleave(idev: Inet6Dev, group: bytes) -> None:
    joined = idev.dev.net.ipv6.mc_autojoin
    if (idev.dev.ifindex, group) in joined:
        del joined[idev.dev.ifindex, group]
        if group in idev.mc_list:  # a device that had this index before was the one that joined
            ipv6_dev_mc_dec(idev, group)


def _addr_modify(ifp: Inet6Ifaddr, cfg: Ifa6Config) -> None:
    """Kernel: net/ipv6/addrconf.c, inet6_addr_modify()."""
    ASSERT_RTNL(ifp.idev.dev)
    if cfg.ifa_flags & IFA_F_MANAGETEMPADDR and (ifp.flags & IFA_F_TEMPORARY or ifp.prefix_len != 64):
        raise KernelError(EINVAL)
    if not ifp.flags & IFA_F_TENTATIVE or ifp.flags & IFA_F_DADFAILED:
        cfg.ifa_flags &= ~IFA_F_OPTIMISTIC
    _apply_lifetimes(cfg)
    new_peer = cfg.peer_pfx is not None and cfg.peer_pfx != (ifp.peer_addr or in6addr_any)
    if new_peer and ifp.peer_addr:
        cleanup_prefix_route(ifp, ifp.peer_addr)
    had_prefixroute = bool(ifp.flags & IFA_F_PERMANENT) and not ifp.flags & IFA_F_NOPREFIXROUTE
    _overwrite(ifp, cfg, new_peer=new_peer)
    if not ifp.flags & IFA_F_TENTATIVE:
        ipv6_ifa_notify(0, ifp)
    if not cfg.ifa_flags & IFA_F_NOPREFIXROUTE:
        _renew_prefix_routes(ifp, cfg, had_prefixroute=had_prefixroute)
    elif had_prefixroute:
        check_cleanup_prefix_route(ifp)()
    lifetime_changed(ifp)
    addrconf_verify_rtnl(ifp.idev.dev.net)


def _overwrite(ifp: Inet6Ifaddr, cfg: Ifa6Config, *, new_peer: bool) -> None:
    ifp.flags = ifp.flags & ~_REPLACED | cfg.ifa_flags
    ifp.wire_flags = -1
    ifp.tstamp = ifp.idev.dev.machine.timers.jiffies
    ifp.valid_lft, ifp.prefered_lft = cfg.valid_lft, cfg.preferred_lft
    ifp.ifa_proto = cfg.ifa_proto
    ifp.rt_priority = cfg.rt_priority or ifp.rt_priority
    if new_peer:
        ifp.peer_addr = cfg.peer_pfx if cfg.peer_pfx != in6addr_any else None
    prefix_join(ifp)


def _renew_prefix_routes(ifp: Inet6Ifaddr, cfg: Ifa6Config, *, had_prefixroute: bool) -> None:
    """The prefix route follows; one that is missing is made.  The same for the peer's."""
    for addr in (ifp.addr, ifp.peer_addr):
        if addr and not (had_prefixroute and _modify_prefix_route(ifp, addr, cfg)):
            expires = _expires(ifp.idev.dev, cfg)
            addrconf_prefix_route(ifp.idev.dev, addr, ifp.prefix_len, metric=ifp.rt_priority, expires=expires)


def _modify_prefix_route(ifp: Inet6Ifaddr, addr: bytes, cfg: Ifa6Config) -> bool:
    """Kernel: net/ipv6/addrconf.c, modify_prefix_route().  False if there is no such route."""
    dev = ifp.idev.dev
    rt = addrconf_get_prefix_route(dev, addr, ifp.prefix_len)
    if rt is None:
        return False
    if rt.metric != (ifp.rt_priority or IP6_RT_PRIO_ADDRCONF):
        ip6_del_rt(dev.net, rt)
        expires = _expires(dev, cfg)
        addrconf_prefix_route(dev, addr, ifp.prefix_len, metric=ifp.rt_priority, expires=expires)
    elif cfg.valid_lft == INFINITY_LIFE_TIME:
        fib6_clean_expires(dev.net, rt)
    else:
        fib6_set_expires(dev.net, rt, _absurd_expiry(cfg))
    return True


def _absurd_expiry(cfg: Ifa6Config) -> int:
    """When a route expires that is changed in place: 6.18 takes the lifetime, in clock ticks, for absolute jiffies."""
    return cfg.valid_lft * USER_HZ


def inet6_rtm_deladdr(net: Net, msg: AddrMsg) -> None:
    """Delete an IPv6 address, which the request must name with its prefix length.

    Kernel: net/ipv6/addrconf.c, inet6_rtm_deladdr(), inet6_addr_del().

    Raises:
        KernelError: the kernel's errno and text, for the first thing that is wrong.
    """
    cfg = _wish(msg)
    if cfg.plen > 128:
        raise KernelError(EINVAL, "ipv6: Invalid prefix length")
    dev = dev_get_by_index(net, msg.ifa_index)
    if dev is None:
        raise KernelError(ENODEV, "ipv6: Unable to find the interface")
    if dev.ip6_ptr is None:
        raise KernelError(ENXIO, "ipv6: IPv6 is disabled on this device")
    ifp = dev.ip6_ptr.addr_hash.get(cfg.pfx)
    if ifp is None or ifp.prefix_len != cfg.plen:
        raise KernelError(EADDRNOTAVAIL, "ipv6: address not found")
    ipv6_del_addr(ifp)
    addrconf_verify_rtnl(net)
    _autoleave(dev.ip6_ptr, cfg.pfx)
