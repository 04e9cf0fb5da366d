"""net/ipv4/fib_frontend.c: the IPv4 routes that an address brings and takes, and requests for routes."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import EINVAL, ESRCH
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.arp_tbl import arp_ifdown
from addrsvc.model.fib_semantics import fib_create_info, fib_nh_match, fib_sync_down_dev, fib_sync_up
from addrsvc.model.fib_trie import (
    FibConfig,
    fib_flush,
    fib_get_table,
    fib_new_table,
    fib_table_delete,
    fib_table_insert,
    find_routes,
    inet_addr_type,
    ipv4_is_zeronet,
    masked,
    rt_cache_flush,
)
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock, blocking_notifier_chain_register
from addrsvc.model.rtnl import ASSERT_RTNL, dev_get_flags
from addrsvc.model.structs import InDevice, InIfaddr, Machine, Net, NetDevice, NetdevNotifierInfo
from addrsvc.uapi import (
    IFA_F_NOPREFIXROUTE,
    IFA_F_SECONDARY,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_RUNNING,
    IFF_UP,
    NETDEV_CHANGE,
    NETDEV_CHANGEMTU,
    NETDEV_DOWN,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    NLM_F_APPEND,
    NLM_F_CREATE,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_UNICAST,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    RTPROT_KERNEL,
)

__all__ = [
    "fib_add_ifaddr", "fib_del_ifaddr", "fib_modify_prefix_metric", "inet_ifa_match", "inet_rtm_delroute",
    "inet_rtm_newroute", "ip_fib_init",
]  # fmt: skip

_LIMITED_BROADCAST = b"\xff\xff\xff\xff"


# --- IPv4 prefixes --------------------------------------------------------------------------------------------------


def _last(addr: bytes, plen: int) -> bytes:
    return (int.from_bytes(addr) | 0xFFFFFFFF >> plen).to_bytes(4)


def inet_ifa_match(addr: bytes, ifa: InIfaddr) -> bool:
    """Whether an address lies in the prefix of another.

    Kernel: include/linux/inetdevice.h, inet_ifa_match().
    """
    return masked(addr, ifa.ifa_prefixlen) == masked(ifa.ifa_address, ifa.ifa_prefixlen)


# --- requests -------------------------------------------------------------------------------------------------------


def inet_rtm_newroute(net: Net, cfg: FibConfig) -> None:
    """Add a route, and its table if that is not there.

    Kernel: net/ipv4/fib_frontend.c, inet_rtm_newroute().

    Raises:
        KernelError: no such route can be (fib_create_info()), or is to be (fib_table_insert()).
    """
    ASSERT_RTNL(net)
    fib_new_table(net, cfg.table)
    fib_table_insert(net, fib_create_info(net, cfg), cfg.nlflags, asked=True)
    if cfg.type == RTN_LOCAL:
        net.ipv4.fib_has_custom_local_routes = True


def inet_rtm_delroute(net: Net, cfg: FibConfig) -> None:
    """Delete the first route that is as the request says, as far as it says anything.

    Kernel: net/ipv4/fib_frontend.c, inet_rtm_delroute().

    Raises:
        KernelError: ESRCH.
    """
    ASSERT_RTNL(net)
    if cfg.nh_id:
        raise KernelError(EINVAL, "Nexthop id does not exist")
    if fib_get_table(net, cfg.table) is None:
        raise KernelError(ESRCH, "FIB table does not exist")
    _delete(net, cfg, asked=True)


def _delete(net: Net, cfg: FibConfig, *, asked: bool = False) -> None:
    """Kernel: net/ipv4/fib_trie.c, fib_table_delete()."""
    for fa in find_routes(net, cfg.table, cfg.dst, cfg.dst_len, cfg.tos):
        if (
            cfg.type in (0, fa.type)
            and cfg.scope in (RT_SCOPE_NOWHERE, fa.scope)
            and (not any(cfg.prefsrc) or cfg.prefsrc == fa.prefsrc)
            and cfg.protocol in (0, fa.protocol)
            and fib_nh_match(cfg, fa)
        ):
            fib_table_delete(net, fa, asked=asked)
            return
    raise KernelError(ESRCH)


def _fib_magic(nlmsg_type: int, kind: int, dst: bytes, plen: int, ifa: InIfaddr, priority: int = 0) -> None:
    """Add or delete one route on behalf of an address; whether that worked nobody asks.

    Kernel: net/ipv4/fib_frontend.c, fib_magic().
    """
    dev = ifa.ifa_dev.dev
    cfg = FibConfig(
        table=fib_new_table(dev.net, RT_TABLE_MAIN if kind == RTN_UNICAST else RT_TABLE_LOCAL),
        dst=dst,
        dst_len=plen,
        type=kind,
        scope=RT_SCOPE_HOST if kind == RTN_LOCAL else RT_SCOPE_LINK,
        protocol=RTPROT_KERNEL,
        priority=priority,
        prefsrc=ifa.ifa_local,
        oif=dev.ifindex,
        nlflags=NLM_F_CREATE | NLM_F_APPEND,
    )
    with suppress(KernelError):
        if nlmsg_type == RTM_NEWROUTE:
            fib_table_insert(dev.net, fib_create_info(dev.net, cfg), cfg.nlflags)
        else:
            _delete(dev.net, cfg)


# --- what an address brings and takes -------------------------------------------------------------------------------


def _primary(in_dev: InDevice, ifa: InIfaddr) -> InIfaddr | None:
    """Kernel: net/ipv4/devinet.c, inet_ifa_byprefix()."""
    ASSERT_RTNL(in_dev.dev)
    for other in in_dev.ifa_list:
        if other.ifa_prefixlen == ifa.ifa_prefixlen and inet_ifa_match(ifa.ifa_address, other):
            return other
    return None


def _prefix_type(dev: NetDevice) -> int:
    return RTN_LOCAL if dev.flags & IFF_LOOPBACK else RTN_UNICAST


def fib_add_ifaddr(ifa: InIfaddr) -> None:
    """The routes of an address: to itself, and on an up device its broadcasts and its prefix.

    Kernel: net/ipv4/fib_frontend.c, fib_add_ifaddr().
    """
    dev, plen = ifa.ifa_dev.dev, ifa.ifa_prefixlen
    secondary = bool(ifa.ifa_flags & IFA_F_SECONDARY)
    prim = _primary(ifa.ifa_dev, ifa) if secondary else ifa
    if prim is None:
        return
    _fib_magic(RTM_NEWROUTE, RTN_LOCAL, ifa.ifa_local, 32, prim)
    if not dev.flags & IFF_UP:
        return
    if ifa.ifa_broadcast and ifa.ifa_broadcast != _LIMITED_BROADCAST:
        _fib_magic(RTM_NEWROUTE, RTN_BROADCAST, ifa.ifa_broadcast, 32, prim)
    if not secondary and _brings_prefix(ifa):
        prefix = masked(ifa.ifa_address, plen)
        if not ifa.ifa_flags & IFA_F_NOPREFIXROUTE:
            _fib_magic(RTM_NEWROUTE, _prefix_type(dev), prefix, plen, prim, ifa.ifa_rt_priority)
        if plen < 31:
            _fib_magic(RTM_NEWROUTE, RTN_BROADCAST, _last(prefix, plen), 32, prim)


def _brings_prefix(ifa: InIfaddr) -> bool:
    prefix = masked(ifa.ifa_address, ifa.ifa_prefixlen)
    return not ipv4_is_zeronet(prefix) and (prefix != ifa.ifa_local or ifa.ifa_prefixlen < 32)


def fib_del_ifaddr(ifa: InIfaddr, iprim: InIfaddr | None = None) -> None:
    """Take back the routes of an address that no other address of the device needs.

    With `iprim` the address stays: it is a secondary whose primary, `iprim`, goes, so that its routes will name
    another source.

    Kernel: net/ipv4/fib_frontend.c, fib_del_ifaddr().
    """
    in_dev, plen = ifa.ifa_dev, ifa.ifa_prefixlen
    secondary = bool(ifa.ifa_flags & IFA_F_SECONDARY)
    prim = _primary(in_dev, ifa) if secondary else ifa
    if prim is None:
        return
    first, last = masked(ifa.ifa_address, plen), _last(ifa.ifa_address, plen)
    subnet = not secondary and _brings_prefix(ifa)
    if subnet and not ifa.ifa_flags & IFA_F_NOPREFIXROUTE:
        _fib_magic(RTM_DELROUTE, _prefix_type(in_dev.dev), first, plen, prim)
    others = _same_source(ifa, prim, iprim)
    kept = _still_needed(others)
    if ifa.ifa_broadcast and ifa.ifa_broadcast not in kept:
        _fib_magic(RTM_DELROUTE, RTN_BROADCAST, ifa.ifa_broadcast, 32, prim)
    for broadcast in (last, first) if subnet and plen < 31 else ():
        if broadcast not in kept:
            _fib_magic(RTM_DELROUTE, RTN_BROADCAST, broadcast, 32, prim)
    if not any(other.ifa_local == ifa.ifa_local for other in others):
        _fib_magic(RTM_DELROUTE, RTN_LOCAL, ifa.ifa_local, 32, prim)
        if iprim is None:
            _flush_source(in_dev.dev, ifa.ifa_local)


def _same_source(ifa: InIfaddr, prim: InIfaddr, iprim: InIfaddr | None) -> list[InIfaddr]:
    """The other addresses whose routes name the same source and go on doing so.

    There are none while the whole device loses its IPv4 half.
    """
    if ifa.ifa_dev.dead:
        return []
    others = [other for other in ifa.ifa_dev.ifa_list if other is not ifa]
    if iprim is not None:
        others = [other for other in others if not _same_subnet(other, iprim)]
    return [other for other in others if _source(other) == prim.ifa_local]


def _source(ifa: InIfaddr) -> bytes | None:
    prim = _primary(ifa.ifa_dev, ifa) if ifa.ifa_flags & IFA_F_SECONDARY else ifa
    return prim.ifa_local if prim else None


def _same_subnet(ifa: InIfaddr, other: InIfaddr) -> bool:
    return ifa.ifa_prefixlen == other.ifa_prefixlen and inet_ifa_match(ifa.ifa_address, other)


def _still_needed(others: list[InIfaddr]) -> set[bytes]:
    """The broadcast addresses for which another address keeps the route."""
    kept: set[bytes] = set()
    for other in others:
        if other.ifa_broadcast:
            kept.add(other.ifa_broadcast)
        first = masked(other.ifa_address, other.ifa_prefixlen)
        primary = not other.ifa_flags & IFA_F_SECONDARY
        if primary and other.ifa_prefixlen < 31 and not ipv4_is_zeronet(first):
            kept |= {first, _last(other.ifa_address, other.ifa_prefixlen)}
    return kept


def _flush_source(dev: NetDevice, addr: bytes) -> None:
    """Delete what still names a source address that is gone.

    Kernel: net/ipv4/fib_semantics.c, fib_sync_down_addr().
    """
    if inet_addr_type(dev.net, addr, RT_TABLE_LOCAL, dev) == RTN_LOCAL:
        return
    routes = [fa for aliases in dev.net.ipv4.fib.values() for fa in aliases]
    fib_flush(dev.net, [fa for fa in routes if fa.prefsrc == addr and fa.table == RT_TABLE_MAIN], silent=False)


def fib_modify_prefix_metric(ifa: InIfaddr, new_metric: int) -> None:
    """Give the prefix route of an address another metric: the new one first, then the old one goes.

    Kernel: net/ipv4/fib_frontend.c, fib_modify_prefix_metric().
    """
    dev, plen = ifa.ifa_dev.dev, ifa.ifa_prefixlen
    prefix = masked(ifa.ifa_address, plen)
    silent = ifa.ifa_flags & (IFA_F_SECONDARY | IFA_F_NOPREFIXROUTE)
    if not dev.flags & IFF_UP or silent or ipv4_is_zeronet(prefix) or (prefix == ifa.ifa_local and plen == 32):
        return
    _fib_magic(RTM_NEWROUTE, _prefix_type(dev), prefix, plen, ifa, new_metric)
    _fib_magic(RTM_DELROUTE, _prefix_type(dev), prefix, plen, ifa, ifa.ifa_rt_priority)


# --- subscribers ----------------------------------------------------------------------------------------------------


def fib_inetaddr_event(event: int, ifa: InIfaddr) -> int:
    """The FIB's ear on the IPv4 address chain.

    Kernel: net/ipv4/fib_frontend.c, fib_inetaddr_event().
    """
    dev = ifa.ifa_dev.dev
    if event == NETDEV_UP:
        fib_add_ifaddr(ifa)
        fib_sync_up(dev, RTNH_F_DEAD)
    elif event == NETDEV_DOWN:
        fib_del_ifaddr(ifa)
        if not ifa.ifa_dev.ifa_list:
            _disable_ip(dev, force=True)
    _addresses_changed(dev)
    return NOTIFY_DONE


def _addresses_changed(dev: NetDevice) -> None:
    dev.net.ipv4.dev_addr_genid += 1
    rt_cache_flush(dev.net)


def _disable_ip(dev: NetDevice, *, force: bool) -> None:
    """Forget, without a word, the routes over a device that is gone; those to this host stay unless forced.

    Kernel: net/ipv4/fib_frontend.c, fib_disable_ip().
    """
    fib_flush(dev.net, fib_sync_down_dev(dev, force=force))
    rt_cache_flush(dev.net)
    arp_ifdown(dev)


def _up(dev: NetDevice) -> None:
    for ifa in dev.ip_ptr.ifa_list if dev.ip_ptr else ():
        fib_add_ifaddr(ifa)
    fib_sync_up(dev, RTNH_F_DEAD)
    _addresses_changed(dev)


def _down(dev: NetDevice) -> None:
    _disable_ip(dev, force=False)


def _change(dev: NetDevice) -> None:
    if dev_get_flags(dev) & (IFF_RUNNING | IFF_LOWER_UP):
        fib_sync_up(dev, RTNH_F_LINKDOWN)
    else:
        fib_sync_down_dev(dev, linkdown=True)
    rt_cache_flush(dev.net)


def _change_mtu(dev: NetDevice) -> None:
    rt_cache_flush(dev.net)


ON_NETDEV_EVENT: Final[Mapping[int, Callable[[NetDevice], None]]] = {
    NETDEV_UP: _up,
    NETDEV_DOWN: _down,
    NETDEV_CHANGE: _change,
    NETDEV_CHANGEMTU: _change_mtu,
}


def fib_netdev_event(event: int, info: NetdevNotifierInfo) -> int:
    """The FIB's ear on the netdevice chain.

    Kernel: net/ipv4/fib_frontend.c, fib_netdev_event().
    """
    if event == NETDEV_UNREGISTER:
        _disable_ip(info.dev, force=True)
    elif info.dev.ip_ptr is not None and (act := ON_NETDEV_EVENT.get(event)) is not None:
        act(info.dev)
    return NOTIFY_DONE


def ip_fib_init(machine: Machine) -> None:
    """Subscribe the FIB to devices and addresses.

    Kernel: net/ipv4/fib_frontend.c, ip_fib_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(fib_netdev_event))
    blocking_notifier_chain_register(machine.inetaddr_chain, NotifierBlock(fib_inetaddr_event))
