"""net/ipv4/fib_frontend.c and fib_trie.c, as far as addresses go: the IPv4 routes that an address brings and takes."""

from collections.abc import Callable, Mapping
from typing import Final

from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock, blocking_notifier_chain_register
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_notify
from addrsvc.model.structs import FibAlias, InDevice, InIfaddr, Machine, NetDevice, NetdevNotifierInfo
from addrsvc.netlink.messages import RouteMsg
from addrsvc.uapi import (
    AF_INET,
    IFA_F_NOPREFIXROUTE,
    IFA_F_SECONDARY,
    IFF_LOOPBACK,
    IFF_UP,
    NETDEV_DOWN,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_UNICAST,
    RTPROT_KERNEL,
)

__all__ = ["fib_add_ifaddr", "fib_del_ifaddr", "fib_modify_prefix_metric", "inet_ifa_match", "ip_fib_init"]

_LIMITED_BROADCAST = b"\xff\xff\xff\xff"


# --- IPv4 prefixes --------------------------------------------------------------------------------------------------


def _mask(addr: bytes, plen: int) -> bytes:
    keep = 0xFFFFFFFF << (32 - plen) & 0xFFFFFFFF
    return (int.from_bytes(addr) & keep).to_bytes(4)


def _last(addr: bytes, plen: int) -> bytes:
    return (int.from_bytes(addr) | 0xFFFFFFFF >> plen).to_bytes(4)


def _is_zeronet(addr: bytes) -> bool:
    return not any(addr)


def _is_multicast(addr: bytes) -> bool:
    return addr[0] & 0xF0 == 0xE0


def inet_ifa_match(addr: bytes, ifa: InIfaddr) -> bool:
    """Whether an address lies in the prefix of another.

    Kernel: include/linux/inetdevice.h, inet_ifa_match().
    """
    return _mask(addr, ifa.ifa_prefixlen) == _mask(ifa.ifa_address, ifa.ifa_prefixlen)


# --- the table ------------------------------------------------------------------------------------------------------


def _fib_magic(nlmsg_type: int, kind: int, dst: bytes, plen: int, ifa: InIfaddr, priority: int = 0) -> None:
    """Add or delete one route on behalf of an address.

    Kernel: net/ipv4/fib_frontend.c, fib_magic(); net/ipv4/fib_trie.c, fib_table_insert(), fib_table_delete().
    """
    route = FibAlias(
        type=kind,
        table=RT_TABLE_MAIN if kind == RTN_UNICAST else RT_TABLE_LOCAL,
        dst=dst,
        dst_len=plen,
        prefsrc=ifa.ifa_local,
        scope=RT_SCOPE_HOST if kind == RTN_LOCAL else RT_SCOPE_LINK,
        dev=ifa.ifa_dev.dev,
        priority=priority,
    )
    if nlmsg_type == RTM_NEWROUTE:
        _insert(route)
    else:
        _delete(route)


def _insert(route: FibAlias) -> None:
    if not _valid_prefsrc(route):
        return
    aliases = route.dev.net.ipv4.fib.setdefault((route.table, route.dst, route.dst_len), [])
    rivals = [alias for alias in aliases if alias.priority == route.priority]
    if any(_same(alias, route) for alias in rivals):
        return
    aliases.append(route)
    aliases.sort(key=_priority)
    _rtmsg_fib(RTM_NEWROUTE, route, NLM_F_CREATE | (NLM_F_APPEND if rivals else NLM_F_EXCL))


def _valid_prefsrc(route: FibAlias) -> bool:
    """Only an address of this host may be a source, but for its route to itself.

    Kernel: net/ipv4/fib_semantics.c, fib_valid_prefsrc(); net/ipv4/fib_frontend.c, inet_addr_type().
    """
    if route.type == RTN_LOCAL and route.dst == route.prefsrc:
        return True
    if _is_zeronet(route.prefsrc) or _is_multicast(route.prefsrc) or route.prefsrc == _LIMITED_BROADCAST:
        return False
    return _local_type(route.dev, route.prefsrc) == RTN_LOCAL


def _priority(route: FibAlias) -> int:
    return route.priority


def _same(a: FibAlias, b: FibAlias) -> bool:
    return (a.type, a.scope, a.prefsrc, a.dev) == (b.type, b.scope, b.prefsrc, b.dev)


def _delete(route: FibAlias) -> None:
    key = (route.table, route.dst, route.dst_len)
    aliases = route.dev.net.ipv4.fib.get(key, [])
    found = next((a for a in aliases if _same(a, route) and route.priority in (0, a.priority)), None)
    if found is None:
        return
    _forget(found)
    _rtmsg_fib(RTM_DELROUTE, found, 0)


def _forget(route: FibAlias) -> None:
    fib = route.dev.net.ipv4.fib
    key = (route.table, route.dst, route.dst_len)
    fib[key].remove(route)
    if not fib[key]:
        del fib[key]


def _rtmsg_fib(nlmsg_type: int, route: FibAlias, nlmsg_flags: int) -> None:
    """Kernel: net/ipv4/fib_semantics.c, rtmsg_fib(), fib_dump_info()."""
    msg = RouteMsg(
        nlmsg_type=nlmsg_type,
        nlmsg_flags=nlmsg_flags,
        rtm_family=AF_INET,
        rtm_dst_len=route.dst_len,
        rtm_table=route.table,
        rtm_protocol=RTPROT_KERNEL,
        rtm_scope=route.scope,
        rtm_type=route.type,
        table=route.table,
        dst=route.dst if route.dst_len else None,
        priority=route.priority or None,
        oif=route.dev.ifindex,
        prefsrc=route.prefsrc,
    )
    rtnl_notify(route.dev.net, msg)


def _flush(dev: NetDevice, *, force: bool) -> None:
    """Forget, without a word, the routes over a device that is gone; those to this host stay unless forced.

    Kernel: net/ipv4/fib_frontend.c, fib_disable_ip(); net/ipv4/fib_semantics.c, fib_sync_down_dev().
    """
    routes = [route for aliases in dev.net.ipv4.fib.values() for route in aliases]
    for route in routes:
        if route.dev is dev and (force or route.scope != RT_SCOPE_HOST):
            _forget(route)


def _local_type(dev: NetDevice, addr: bytes) -> int | None:
    """The type of the longest match in the local table, if there is one (inet_addr_type)."""
    fib = dev.net.ipv4.fib
    for plen in range(32, -1, -1):
        aliases = fib.get((RT_TABLE_LOCAL, _mask(addr, plen), plen))
        if aliases:
            return aliases[0].type
    return None


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
        prefix = _mask(ifa.ifa_address, plen)
        if not ifa.ifa_flags & IFA_F_NOPREFIXROUTE:
            _fib_magic(RTM_NEWROUTE, _prefix_type(dev), prefix, plen, prim, ifa.ifa_rt_priority)
        if plen < 31:
            _fib_magic(RTM_NEWROUTE, RTN_BROADCAST, _last(prefix, plen), 32, prim)


def _brings_prefix(ifa: InIfaddr) -> bool:
    prefix = _mask(ifa.ifa_address, ifa.ifa_prefixlen)
    return not _is_zeronet(prefix) and (prefix != ifa.ifa_local or ifa.ifa_prefixlen < 32)


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
    first, last = _mask(ifa.ifa_address, plen), _last(ifa.ifa_address, plen)
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
        if not other.ifa_flags & IFA_F_SECONDARY and other.ifa_prefixlen < 31 and not _is_zeronet(other.ifa_address):
            kept |= {_mask(other.ifa_address, other.ifa_prefixlen), _last(other.ifa_address, other.ifa_prefixlen)}
    return kept


def _flush_source(dev: NetDevice, addr: bytes) -> None:
    """Forget, without a word, what still names a source address that is gone (fib_sync_down_addr)."""
    if _local_type(dev, addr) == RTN_LOCAL:
        return
    for route in [route for aliases in dev.net.ipv4.fib.values() for route in aliases]:
        if route.prefsrc == addr and route.table == RT_TABLE_MAIN:
            _forget(route)


def fib_modify_prefix_metric(ifa: InIfaddr, new_metric: int) -> None:
    """Give the prefix route of an address another metric: the new one first, then the old one goes.

    Kernel: net/ipv4/fib_frontend.c, fib_modify_prefix_metric().
    """
    dev, plen = ifa.ifa_dev.dev, ifa.ifa_prefixlen
    prefix = _mask(ifa.ifa_address, plen)
    silent = ifa.ifa_flags & (IFA_F_SECONDARY | IFA_F_NOPREFIXROUTE)
    if not dev.flags & IFF_UP or silent or _is_zeronet(prefix) or (prefix == ifa.ifa_local and plen == 32):
        return
    _fib_magic(RTM_NEWROUTE, _prefix_type(dev), prefix, plen, ifa, new_metric)
    _fib_magic(RTM_DELROUTE, _prefix_type(dev), prefix, plen, ifa, ifa.ifa_rt_priority)


# --- subscribers ----------------------------------------------------------------------------------------------------


def fib_inetaddr_event(event: int, ifa: InIfaddr) -> int:
    """The FIB's ear on the IPv4 address chain.

    Kernel: net/ipv4/fib_frontend.c, fib_inetaddr_event().
    """
    ifa.ifa_dev.dev.net.ipv4.dev_addr_genid += 1
    if event == NETDEV_UP:
        fib_add_ifaddr(ifa)
    elif event == NETDEV_DOWN:
        fib_del_ifaddr(ifa)
        if not ifa.ifa_dev.ifa_list:
            _flush(ifa.ifa_dev.dev, force=True)
    return NOTIFY_DONE


def _up(dev: NetDevice) -> None:
    for ifa in dev.ip_ptr.ifa_list if dev.ip_ptr else ():
        fib_add_ifaddr(ifa)


def _down(dev: NetDevice) -> None:
    if dev.ip_ptr:
        _flush(dev, force=False)


def _unregister(dev: NetDevice) -> None:
    _flush(dev, force=True)


ON_NETDEV_EVENT: Final[Mapping[int, Callable[[NetDevice], None]]] = {
    NETDEV_UP: _up,
    NETDEV_DOWN: _down,
    NETDEV_UNREGISTER: _unregister,
}


def fib_netdev_event(event: int, info: NetdevNotifierInfo) -> int:
    """The FIB's ear on the netdevice chain.

    Kernel: net/ipv4/fib_frontend.c, fib_netdev_event().
    """
    act = ON_NETDEV_EVENT.get(event)
    if act is not None:
        act(info.dev)
    return NOTIFY_DONE


def ip_fib_init(machine: Machine) -> None:
    """Subscribe the FIB to devices and addresses.

    Kernel: net/ipv4/fib_frontend.c, ip_fib_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(fib_netdev_event))
    blocking_notifier_chain_register(machine.inetaddr_chain, NotifierBlock(fib_inetaddr_event))
