"""net/ipv6/addrconf.c, the address list: how an IPv6 address is added, changed, removed and announced.

Whether it has to prove itself first (`dad`) and how long it lives (`lifetimes`) stand next door.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES, EADDRNOTAVAIL, EEXIST, ENODEV
from heapq import heappop, heappush
from ipaddress import IPv6Address
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import (
    in6addr_any,
    in6addr_loopback,
    inet6addr_notifier_call_chain,
    inet6addr_validator_notifier_call_chain,
    ipv6_addr_is_multicast,
    ipv6_addr_prefix,
    ipv6_addr_src_scope,
    rt_scope,
)
from addrsvc.model.anycast import ipv6_dev_ac_dec, ipv6_dev_ac_inc
from addrsvc.model.ip6_route import (
    addrconf_get_prefix_route,
    addrconf_prefix_route,
    fib6_set_expires,
    ip6_del_rt,
    ip6_ins_rt,
    rt6_remove_prefsrc,
)
from addrsvc.model.mcast import addrconf_leave_solict
from addrsvc.model.notifier import notifier_to_errno
from addrsvc.model.rtnl import ASSERT_RTNL, printk, rtnl_notify_bytes
from addrsvc.model.structs import (
    INET6_IFADDR_STATE_DEAD,
    INET6_IFADDR_STATE_PREDAD,
    HostRoute,
    In6ValidatorInfo,
    Inet6Dev,
    Inet6Ifaddr,
    InetIfaddrState,
    Net,
    NetDevice,
    PrefixUsers,
)
from addrsvc.model.timer import HZ, cstamp_delta, del_timer
from addrsvc.netlink.codec import encode, inet6_ifaddr_pack, nlmsg_put
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo
from addrsvc.netlink.nlattr import NLMSG_HDRLEN
from addrsvc.uapi import (
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_TENTATIVE,
    IFA_HOST,
    IFA_LINK,
    IFF_LOOPBACK,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NETDEV_DOWN,
    NETDEV_UP,
    RTF_EXPIRES,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTNLGRP_IPV6_IFADDR,
)

__all__ = [
    "Ifa6Config", "addrconf_join_anycast", "addrconf_leave_anycast", "cancel_dad_work", "cleanup_prefix_route",
    "inet6_addr_list", "inet6_base_seq", "inet6_fill_ifaddr", "inet6_ifaddr_wire", "ipv6_add_addr", "ipv6_chk_addr",
    "ipv6_del_addr", "ipv6_get_ifaddr", "ipv6_ifa_notify", "ipv6_unlink_addr",
]  # fmt: skip


_WHOLE: Final = 128
_IFADDR_BIT: Final = 1 << RTNLGRP_IPV6_IFADDR
_PARTICULAR: Final = (0x00, 0xFF)
"""How the addresses begin that may not be just anybody's: ::, ::1 and groups."""


@dataclass(slots=True)
class Ifa6Config:
    """struct ifa6_config: an address that is wished for.  Lifetimes are seconds."""

    pfx: bytes
    plen: int
    ifa_flags: int = 0
    scope: int = 0
    peer_pfx: bytes | None = None
    rt_priority: int = 0
    ifa_proto: int = 0
    valid_lft: int = INFINITY_LIFE_TIME
    preferred_lft: int = INFINITY_LIFE_TIME


# --- what is said ---------------------------------------------------------------------------------------------------


def inet6_fill_ifaddr(ifp: Inet6Ifaddr, nlmsg_type: int = RTM_NEWADDR, nlmsg_flags: int = 0) -> AddrMsg:
    """An IPv6 address as a message.

    Kernel: net/ipv6/addrconf.c, inet6_fill_ifaddr().
    """
    return AddrMsg(
        nlmsg_type=nlmsg_type,
        nlmsg_flags=nlmsg_flags,
        ifa_prefixlen=ifp.prefix_len,
        ifa_flags=ifp.flags & 0xFF,
        ifa_scope=rt_scope(ifp.scope),
        ifa_index=ifp.idev.dev.ifindex,
        local=ifp.addr if ifp.peer_addr else None,
        address=ifp.peer_addr or ifp.addr,
        cacheinfo=_cacheinfo(ifp),
        flags=ifp.flags,
        rt_priority=ifp.rt_priority or None,
        proto=ifp.ifa_proto or None,
    )


def inet6_ifaddr_wire(ifp: Inet6Ifaddr) -> bytes:
    """The announcement of an IPv6 address in bytes.  It is kept while it cannot change.

    Kernel: net/ipv6/addrconf.c, inet6_fill_ifaddr().
    """
    flags = ifp.flags
    if ifp.wire_flags == flags:
        return ifp.wire
    if not flags & IFA_F_PERMANENT or ifp.prefered_lft != INFINITY_LIFE_TIME or ifp.peer_addr or ifp.rt_priority:
        return encode(inet6_fill_ifaddr(ifp))
    created = cstamp_delta(ifp.cstamp)
    ifp.wire_flags, ifp.wire = flags, inet6_ifaddr_pack(
        ifp.prefix_len, flags, rt_scope(ifp.scope) if ifp.scope else 0, ifp.idev.dev.ifindex, ifp.addr,
        created, created if ifp.tstamp == ifp.cstamp else cstamp_delta(ifp.tstamp), ifp.ifa_proto,
    )  # fmt: skip
    return ifp.wire


def _farewell(ifp: Inet6Ifaddr) -> bytes:
    body = inet6_ifaddr_wire(ifp)[NLMSG_HDRLEN:]
    return nlmsg_put(len(body), RTM_DELADDR) + body


def _cacheinfo(ifp: Inet6Ifaddr) -> IfaCacheinfo:
    """Lifetimes left.  They only shrink while the preferred one is finite, as in the kernel."""
    preferred, valid = ifp.prefered_lft, ifp.valid_lft
    stamps = cstamp_delta(ifp.cstamp), cstamp_delta(ifp.tstamp)
    if ifp.flags & IFA_F_PERMANENT and preferred == INFINITY_LIFE_TIME:
        return IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME, *stamps)
    if preferred == INFINITY_LIFE_TIME:
        return IfaCacheinfo(preferred, valid, *stamps)
    age = (ifp.idev.dev.machine.timers.jiffies - ifp.tstamp) // HZ
    left = valid if valid == INFINITY_LIFE_TIME else max(valid - age, 0)
    return IfaCacheinfo(max(preferred - age, 0), left, *stamps)


# --- finding --------------------------------------------------------------------------------------------------------


def inet6_addr_list(idev: Inet6Dev) -> list[Inet6Ifaddr]:
    """The addresses of a device by falling scope class, newest first within one.  Not to be changed.

    Kernel: include/net/if_inet6.h, inet6_dev.addr_list; net/ipv6/addrconf.c, ipv6_link_dev_addr().
    """
    if idev.addr_list is None:
        newest_first = reversed(idev.addr_hash.values())
        idev.addr_list = sorted(newest_first, key=_class)
    return idev.addr_list


def ipv6_get_ifaddr(net: Net, addr: bytes, dev: NetDevice | None) -> Inet6Ifaddr | None:
    """An address of a device or, without one, the latest of any.

    Kernel: net/ipv6/addrconf.c, ipv6_get_ifaddr(), strictly by device.
    """
    halves = [each.ip6_ptr for each in ((dev,) if dev else net.dev_base_head.values()) if each.ip6_ptr]
    found = [idev.addr_hash[addr] for idev in halves if addr in idev.addr_hash]
    return max(found, key=_serial, default=None)


def ipv6_chk_addr(net: Net, addr: bytes, dev: NetDevice | None, *, tentative: bool = False) -> bool:
    """Whether this host has an address, and on this device if it means nothing on another.

    Args:
        net: where.
        addr: the address.
        dev: the device, None for any.
        tentative: whether one that is not known yet to be its only owner's counts.

    Kernel: net/ipv6/addrconf.c, ipv6_chk_addr(), ipv6_chk_addr_and_flags().
    """
    for other in net.dev_base_head.values():
        ifp = other.ip6_ptr.addr_hash.get(addr) if other.ip6_ptr is not None else None
        if ifp is None or (dev not in (None, other) and ifp.scope & (IFA_LINK | IFA_HOST)):
            continue
        if tentative or not ifp.flags & IFA_F_TENTATIVE or ifp.flags & IFA_F_OPTIMISTIC:
            return True
    return False


def _serial(ifp: Inet6Ifaddr) -> int:
    return ifp.serial


def _class(ifp: Inet6Ifaddr) -> int:
    return -ipv6_addr_src_scope(ifp.addr)


def _place(ifp: Inet6Ifaddr) -> tuple[int, int]:
    return _class(ifp), -ifp.serial


def inet6_base_seq(net: Net) -> int:
    """What changes whenever a dump of addresses would.

    Kernel: net/ipv6/addrconf.c, inet6_base_seq().
    """
    return net.ipv6.dev_addr_genid + net.dev_base_seq


# --- keeping count --------------------------------------------------------------------------------------------------


def set_state(ifp: Inet6Ifaddr, state: InetIfaddrState) -> None:
    """Change the state of an address, and with it the device's list of those that have DAD before them.  Ours."""
    ifp.state, predad = state, ifp.idev.predad
    if state is INET6_IFADDR_STATE_PREDAD:
        predad[ifp] = None
    elif predad:
        predad.pop(ifp, None)


# --- who needs which prefix route -----------------------------------------------------------------------------------


def _prefix_key(ifp: Inet6Ifaddr) -> tuple[bytes, int]:
    return ipv6_addr_prefix(ifp.addr, ifp.prefix_len), ifp.prefix_len


def prefix_join(ifp: Inet6Ifaddr) -> None:
    """Count an address among the users of its prefix; again after its flags or lifetime changed.  Ours.

    Where the prefix is as long as an address nobody else can use it.
    """
    if ifp.prefix_len == _WHOLE:
        return
    users = ifp.idev.prefixes.setdefault(_prefix_key(ifp), PrefixUsers())
    users.holders.pop(ifp.addr, None)
    users.finite.pop(ifp.addr, None)
    if ifp.flags & (IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE):
        users.holders[ifp.addr] = ifp
    else:
        users.finite[ifp.addr] = ifp
        heappush(users.expiries, (-_valid_until(ifp), ifp.addr))


def _prefix_leave(ifp: Inet6Ifaddr) -> None:
    key, idev = _prefix_key(ifp), ifp.idev
    if ifp.prefix_len == _WHOLE:
        idev.lost_prefixes.pop(key, None)
        return
    users = idev.prefixes[key]
    users.holders.pop(ifp.addr, None)
    users.finite.pop(ifp.addr, None)
    if not users.holders and not users.finite:
        del idev.prefixes[key]
        idev.lost_prefixes.pop(key, None)


def _prefix_holders(idev: Inet6Dev, prefix: bytes, plen: int) -> Iterable[Inet6Ifaddr]:
    if plen < _WHOLE:
        return idev.prefixes[prefix, plen].holders.values()
    return (idev.addr_hash[prefix],)


def addresses_to_restore(idev: Inet6Dev) -> list[Inet6Ifaddr]:
    """Those that a device coming up looks at: DAD before them, or a prefix route missing; in list order.  Ours."""
    found = dict(idev.predad)
    for prefix, plen in idev.lost_prefixes:
        found.update(dict.fromkeys(_prefix_holders(idev, prefix, plen)))
    idev.lost_prefixes.clear()
    return sorted(found, key=_place)


def _valid_until(ifp: Inet6Ifaddr) -> int:
    return ifp.tstamp + ifp.valid_lft * HZ


def _latest_expiry(users: PrefixUsers) -> int:
    while True:
        until, addr = users.expiries[0]
        ifp = users.finite.get(addr)
        if ifp is not None and _valid_until(ifp) == -until:
            return -until
        heappop(users.expiries)


def check_cleanup_prefix_route(ifp: Inet6Ifaddr) -> Callable[[], None]:
    """What has to happen to the prefix route once this address no longer needs it; call the result then.

    Kernel: net/ipv6/addrconf.c, check_cleanup_prefix_route().
    Differs: asks an index of users of the prefix where the kernel searches the address list.
    """
    users = ifp.idev.prefixes.get(_prefix_key(ifp), PrefixUsers())
    holders = len(users.holders) - (ifp.addr in users.holders)
    if holders:
        return _leave_prefix_route
    finite = len(users.finite) - (ifp.addr in users.finite)
    if not finite:
        return lambda: cleanup_prefix_route(ifp, ifp.addr)
    expires = max(_latest_expiry(users), ifp.idev.dev.machine.timers.jiffies)
    return lambda: cleanup_prefix_route(ifp, ifp.addr, expires=expires)


def _leave_prefix_route() -> None:
    return


def cleanup_prefix_route(ifp: Inet6Ifaddr, addr: bytes, *, expires: int | None = None) -> None:
    """Delete the route to an address's prefix or, given `expires` in jiffies, let it expire unless it does already.

    Kernel: net/ipv6/addrconf.c, cleanup_prefix_route().
    """
    dev = ifp.idev.dev
    rt = addrconf_get_prefix_route(dev, addr, ifp.prefix_len)
    if rt is None:
        return
    if expires is None:
        ip6_del_rt(dev.net, rt)
    elif not rt.fib6_flags & RTF_EXPIRES:
        fib6_set_expires(dev.net, rt, expires)


# --- adding ---------------------------------------------------------------------------------------------------------


def ipv6_add_addr(idev: Inet6Dev, cfg: Ifa6Config) -> Inet6Ifaddr:
    """Link a new address, tentative unless it asks for no DAD, and tell the inet6addr chain.

    Kernel: net/ipv6/addrconf.c, ipv6_add_addr().

    Raises:
        KernelError: the kernel's errno and text: no address, a multicast one, ::1 on a device that is no loopback, a
            device that is going or has IPv6 disabled, a validator's veto, or EEXIST.
    """
    dev, addr, flags = idev.dev, cfg.pfx, cfg.ifa_flags
    machine = dev.machine
    if addr[0] in _PARTICULAR:
        _refuse_particular(idev, cfg)
    if idev.dead:
        raise KernelError(ENODEV, "ipv6: device is going away")
    if idev.cnf["disable_ipv6"]:
        raise KernelError(EACCES, "ipv6: IPv6 is disabled on this device")
    if machine.inet6addr_validator_chain.head is not None:
        _ask_validators(idev, cfg)
    if addr in idev.addr_hash:
        raise KernelError(EEXIST, "ipv6: address already assigned")
    ipv6, now = dev.net.ipv6, machine.timers.jiffies
    ipv6.addr_serial = serial = ipv6.addr_serial + 1
    if not flags & IFA_F_NODAD:
        flags |= IFA_F_TENTATIVE
    ifp = Inet6Ifaddr(
        addr, cfg.plen, idev, flags, cfg.scope, cfg.peer_pfx, cfg.rt_priority, cfg.ifa_proto, cfg.valid_lft,
        cfg.preferred_lft, now, now, INET6_IFADDR_STATE_PREDAD, serial, HostRoute(addr, dev),
    )  # fmt: skip
    if cfg.peer_pfx == in6addr_any:
        ifp.peer_addr = None
    idev.addr_hash[addr], idev.addr_list = ifp, None
    if cfg.plen != _WHOLE:
        prefix_join(ifp)
    if machine.inet6addr_chain.head is not None:
        inet6addr_notifier_call_chain(NETDEV_UP, ifp)
    return ifp


def _refuse_particular(idev: Inet6Dev, cfg: Ifa6Config) -> None:
    if cfg.pfx == in6addr_any:
        raise KernelError(EADDRNOTAVAIL, "ipv6: Invalid address")
    if ipv6_addr_is_multicast(cfg.pfx) and not cfg.ifa_flags & IFA_F_MCAUTOJOIN:
        raise KernelError(EADDRNOTAVAIL, 'ipv6: Cannot assign multicast address without "IFA_F_MCAUTOJOIN" flag')
    if cfg.pfx == in6addr_loopback and not idev.dev.flags & IFF_LOOPBACK:
        raise KernelError(EADDRNOTAVAIL, "ipv6: Cannot assign loopback address on this device")


def _ask_validators(idev: Inet6Dev, cfg: Ifa6Config) -> None:
    question = In6ValidatorInfo(cfg.pfx, idev)
    errno = notifier_to_errno(inet6addr_validator_notifier_call_chain(NETDEV_UP, question))
    if errno:
        raise KernelError(-errno, question.extack)


# --- announcing -----------------------------------------------------------------------------------------------------


def ipv6_ifa_notify(event: int, ifp: Inet6Ifaddr) -> None:
    """Announce an address and give it, or take from it, its routes; event 0 is an announcement and no more.

    Kernel: net/ipv6/addrconf.c, ipv6_ifa_notify(), __ipv6_ifa_notify().
    """
    dev = ifp.idev.dev
    net = dev.net
    if net.machine.ears.mask & _IFADDR_BIT:
        data = _farewell(ifp) if event == RTM_DELADDR else inet6_ifaddr_wire(ifp)
        rtnl_notify_bytes(net, RTNLGRP_IPV6_IFADDR, data)
    if event:
        ASSERT_RTNL(dev)
        _ROUTES_ON[event](ifp)
    net.ipv6.dev_addr_genid += 1


def _give_routes(ifp: Inet6Ifaddr) -> None:
    dev, rt = ifp.idev.dev, ifp.rt
    if rt is not None and not rt.in_table:
        ip6_ins_rt(dev.net, rt)
    elif rt is None and dev.flags & IFF_UP:
        text = f"IPv6: BUG: Address {IPv6Address(ifp.addr)} on device {dev.name} is missing its host route."
        printk(dev.machine, "warning", text)
    if ifp.idev.cnf["forwarding"]:
        addrconf_join_anycast(ifp)
    if ifp.peer_addr:
        addrconf_prefix_route(dev, ifp.peer_addr, 128, metric=ifp.rt_priority)


def _take_routes(ifp: Inet6Ifaddr) -> None:
    dev = ifp.idev.dev
    if ifp.idev.cnf["forwarding"]:
        addrconf_leave_anycast(ifp)
    addrconf_leave_solict(ifp.idev, ifp.addr)
    to_peer = addrconf_get_prefix_route(dev, ifp.peer_addr, 128) if ifp.peer_addr else None
    for rt in (to_peer, ifp.rt):
        if rt is not None:
            ip6_del_rt(dev.net, rt)
    ifp.rt = None


_ROUTES_ON: dict[int, Callable[[Inet6Ifaddr], None]] = {RTM_NEWADDR: _give_routes, RTM_DELADDR: _take_routes}


def _router_anycast(ifp: Inet6Ifaddr) -> bytes | None:
    """The subnet-router anycast address of an address, where RFC 6164 allows one."""
    prefix = ipv6_addr_prefix(ifp.addr, ifp.prefix_len)
    return prefix if ifp.prefix_len < 127 and prefix != in6addr_any else None


def addrconf_join_anycast(ifp: Inet6Ifaddr) -> None:
    """A router answers to the first address of each of its prefixes.

    Kernel: net/ipv6/addrconf.c, addrconf_join_anycast().
    """
    addr = _router_anycast(ifp)
    if addr is not None:
        with suppress(KernelError):
            ipv6_dev_ac_inc(ifp.idev, addr)


def addrconf_leave_anycast(ifp: Inet6Ifaddr) -> None:
    """And no longer does.

    Kernel: net/ipv6/addrconf.c, addrconf_leave_anycast().
    """
    addr = _router_anycast(ifp)
    if addr is not None:
        with suppress(KernelError):
            ipv6_dev_ac_dec(ifp.idev, addr)


# --- removing -------------------------------------------------------------------------------------------------------


def ipv6_unlink_addr(ifp: Inet6Ifaddr) -> None:
    """Take an address off every list, without a word, and stop its clocks.  Ours."""
    idev = ifp.idev
    del idev.addr_hash[ifp.addr]
    idev.addr_list = None
    _prefix_leave(ifp)
    idev.waiting.pop(ifp, None)
    ifp.lifetime_serial = 0
    cancel_dad_work(ifp)


def cancel_dad_work(ifp: Inet6Ifaddr) -> None:
    """Let no step of DAD follow.  Ours."""
    ifp.dad_queued = 0
    if ifp.dad_work is not None:
        del_timer(ifp.dad_work)


def ipv6_del_addr(ifp: Inet6Ifaddr) -> None:
    """Remove an address: announce it, take its routes, tell the chain, and see to its prefix route.

    Kernel: net/ipv6/addrconf.c, ipv6_del_addr().
    """
    ASSERT_RTNL(ifp.idev.dev)
    if ifp.state == INET6_IFADDR_STATE_DEAD:
        return
    set_state(ifp, INET6_IFADDR_STATE_DEAD)
    own_prefix_route = ifp.flags & IFA_F_PERMANENT and not ifp.flags & IFA_F_NOPREFIXROUTE
    afterwards = check_cleanup_prefix_route(ifp) if own_prefix_route else _leave_prefix_route
    ipv6_unlink_addr(ifp)
    ipv6_ifa_notify(RTM_DELADDR, ifp)
    inet6addr_notifier_call_chain(NETDEV_DOWN, ifp)
    afterwards()
    rt6_remove_prefsrc(ifp.idev.dev, ifp.addr)
