"""net/ipv6/route.c and ip6_fib.c: tables and their routes, those an address brings, and what a device takes along.

A route belongs to one device.  Look-ups and requests stand next door; nexthop objects and exceptions are nowhere.
"""

from bisect import insort_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from errno import EEXIST, ENOENT, EOPNOTSUPP
from itertools import chain
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import in6addr_loopback, ipv6_addr_prefix
from addrsvc.model.ip6_fib import fib6_has_node, note_fib6_change
from addrsvc.model.neighbour import neigh_ifdown
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_OK, NotifierBlock
from addrsvc.model.rtnl import printk, rtnl_has_listeners, rtnl_notify
from addrsvc.model.structs import (
    ADDRCONF_NOTIFY_PRIORITY,
    Fib6Info,
    Fib6Table,
    HostRoute,
    Inet6Dev,
    Machine,
    Net,
    NetDevice,
    NetdevNotifierInfo,
)
from addrsvc.model.timer import HZ, Timer, del_timer, jiffies_to_clock_t, mod_timer, round_jiffies, skip_idle
from addrsvc.netlink.messages import RouteMsg, RtaCacheinfo
from addrsvc.uapi import (
    AF_INET6,
    IFF_LOOPBACK,
    IFF_UP,
    INT_MAX,
    IP6_RT_PRIO_ADDRCONF,
    NETDEV_REGISTER,
    NETDEV_UNREGISTER,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_COMPAT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTF_ANYCAST,
    RTF_EXPIRES,
    RTF_LOCAL,
    RTF_NONEXTHOP,
    RTF_REJECT,
    RTF_UP,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTN_ANYCAST,
    RTN_MULTICAST,
    RTN_UNICAST,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    RTNLGRP_IPV6_ROUTE,
    RTPROT_KERNEL,
)

__all__ = [
    "addrconf_f6i_alloc", "addrconf_get_prefix_route", "addrconf_prefix_route", "fib6_add", "fib6_clean_expires",
    "fib6_dump", "fib6_get_table", "fib6_ignore_linkdown", "fib6_new_table", "fib6_run_gc", "fib6_set_expires",
    "fib6_table_routes", "fib6_walk_tables", "ip6_del_rt", "ip6_ins_rt", "ip6_route_init", "new_tables",
    "rt6_disable_ip", "rt6_fill_node", "rt6_remove_prefsrc", "rt6_sync_down_dev", "rt6_sync_up",
]  # fmt: skip

IP6_ROUTE_NOTIFY_PRIORITY = ADDRCONF_NOTIFY_PRIORITY - 10
IP6_RT_GC_INTERVAL = 30 * HZ
FIB6_TABLE_HASHSZ = 256
_NEVER = 0xFFFFFFFF
_NO_CREATE = "NLM_F_CREATE should be set when creating new route"
_ROUTE_BIT = 1 << RTNLGRP_IPV6_ROUTE
_TO_HERE = RTF_UP | RTF_NONEXTHOP


def new_tables() -> dict[int, Fib6Table]:
    """The tables of a namespace, in the order in which the kernel walks them.

    Kernel: net/ipv6/ip6_fib.c, fib6_tables_init().
    """
    return {table: Fib6Table(table) for table in (RT_TABLE_MAIN, RT_TABLE_LOCAL)}


def fib6_get_table(net: Net, table: int) -> Fib6Table | None:
    """The table of this number, main for 0, or None if there is none.

    Kernel: net/ipv6/ip6_fib.c, fib6_get_table().
    """
    return net.ipv6.fib6_tables.get(table or RT_TABLE_MAIN)


def fib6_new_table(net: Net, table: int) -> Fib6Table:
    """The table of this number, made if it is not there.

    Kernel: net/ipv6/ip6_fib.c, fib6_new_table().
    """
    return net.ipv6.fib6_tables.setdefault(table or RT_TABLE_MAIN, Fib6Table(table or RT_TABLE_MAIN))


def fib6_walk_tables(net: Net) -> list[Fib6Table]:
    """The tables in the order in which they are walked: by hash, newest first where two share it.

    Kernel: net/ipv6/ip6_fib.c, __fib6_clean_all(), inet6_dump_fib().
    """
    newest_first = list(net.ipv6.fib6_tables.values())[::-1]
    return sorted(newest_first, key=_table_hash)


def _table_hash(table: Fib6Table) -> int:
    return table.id % FIB6_TABLE_HASHSZ


# --- routes as messages ---------------------------------------------------------------------------------------------


def rt6_fill_node(rt: Fib6Info, nlmsg_type: int = RTM_NEWROUTE, nlmsg_flags: int = 0) -> RouteMsg:
    """A route as a message.

    Kernel: net/ipv6/route.c, rt6_fill_node().
    """
    assert rt.dev is not None
    return RouteMsg(
        nlmsg_type=nlmsg_type,
        nlmsg_flags=nlmsg_flags,
        rtm_family=AF_INET6,
        rtm_dst_len=rt.dst_len,
        rtm_table=rt.table if rt.table < FIB6_TABLE_HASHSZ else RT_TABLE_COMPAT,
        rtm_protocol=rt.protocol,
        rtm_scope=RT_SCOPE_UNIVERSE,
        rtm_type=rt.fib6_type,
        rtm_flags=rt.nh_flags | _nh_flags(rt),
        table=rt.table,
        dst=rt.dst if rt.dst_len else None,
        prefsrc=rt.prefsrc,
        metrics=tuple(sorted(rt.metrics.items())) or None,
        priority=rt.metric,
        gateway=rt.gateway or None,
        oif=rt.dev.ifindex,
        cacheinfo=RtaCacheinfo(expires=_expires(rt)),
        pref=rt.pref,
    )


def fib6_ignore_linkdown(rt: Fib6Info) -> bool:
    """Whether a route is passed over because its device has no link.

    Kernel: include/net/addrconf.h, ip6_ignore_linkdown(); net/ipv6/route.c, find_match().
    """
    return bool(_nh_flags(rt) & RTNH_F_DEAD)


def _nh_flags(rt: Fib6Info) -> int:
    dev = rt.dev
    if dev is None or rt.serial > dev.fib6_linkdown_mark or rt.fib6_flags & (RTF_LOCAL | RTF_ANYCAST):
        return 0
    ignored = dev.ip6_ptr is not None and dev.ip6_ptr.cnf["ignore_routes_with_linkdown"]
    return RTNH_F_LINKDOWN | (RTNH_F_DEAD if ignored else 0)


def _expires(rt: Fib6Info) -> int:
    """RTA_CACHEINFO's rta_expires, in 1/100 s from now; 0 for a route that stays."""
    if not rt.fib6_flags & RTF_EXPIRES or rt.expires is None or rt.dev is None:
        return 0
    left = rt.expires - rt.dev.machine.timers.jiffies
    ticks = min(jiffies_to_clock_t(abs(left)), INT_MAX)
    return ticks if left >= 0 else -ticks


# --- the table ------------------------------------------------------------------------------------------------------


def _metric(rt: Fib6Info) -> int:
    return rt.metric


def ip6_ins_rt(net: Net, rt: Fib6Info) -> None:
    """Put the route of an address into its table; nobody looks whether that was refused.

    Kernel: net/ipv6/route.c, ip6_ins_rt().
    """
    table, alone = net.ipv6.fib6_tables[rt.table], [rt]
    if table.routes.setdefault((rt.dst, rt.dst_len), alone) is not alone:
        with suppress(KernelError):
            fib6_add(net, rt)
        return
    _enter(net, table, rt)
    if net.machine.ears.mask & _ROUTE_BIT:
        rtnl_notify(net, rt6_fill_node(rt, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL))


def fib6_add(net: Net, rt: Fib6Info, nlflags: int | None = None) -> None:
    """Put a route into its table, among others of its prefix by rising metric, and say so.

    Args:
        net: where.
        rt: the route.
        nlflags: NLM_F_* of the request that is being served, None if it is none.

    Kernel: net/ipv6/ip6_fib.c, fib6_add(), fib6_add_rt2node().

    Raises:
        KernelError: EEXIST, there is one of this metric, and NLM_F_EXCL, or one over this very device, of which at
            most the expiry changes; ENOENT, there is none to replace.
    """
    table = net.ipv6.fib6_tables[rt.table]
    siblings = table.routes.get((rt.dst, rt.dst_len), [])
    rivals = [other for other in siblings if other.metric == rt.metric]
    if nlflags is not None and not nlflags & NLM_F_CREATE:
        _check_no_create(net, rt, nlflags)
    if nlflags is not None and nlflags & NLM_F_EXCL and rivals:
        raise KernelError(EEXIST)
    told = NLM_F_CREATE | NLM_F_EXCL * (not rivals)
    if nlflags is not None and nlflags & NLM_F_REPLACE:
        if rivals:
            _replace(net, table, siblings, _to_replace(rt, rivals), rt)
            rtnl_notify(net, rt6_fill_node(rt, RTM_NEWROUTE, NLM_F_REPLACE), asked=True)
            return
        _check_replace(net, nlflags)
    else:
        _check_rivals(net, rt, rivals)
        if nlflags is not None and not nlflags & NLM_F_CREATE:
            _warn(net, _NO_CREATE)
    insort_right(siblings, rt, key=_metric)
    table.routes[rt.dst, rt.dst_len] = siblings
    _enter(net, table, rt)
    told |= NLM_F_APPEND & (nlflags or 0)
    rtnl_notify(net, rt6_fill_node(rt, RTM_NEWROUTE, told), asked=nlflags is not None)


def _check_no_create(net: Net, rt: Fib6Info, nlflags: int) -> None:
    """Kernel: net/ipv6/ip6_fib.c, fib6_add(), fib6_add_1(): what is said about a request without NLM_F_CREATE."""
    if not nlflags & NLM_F_REPLACE:
        _warn(net, "RTM_NEWROUTE with no NLM_F_CREATE or NLM_F_REPLACE")
    if not fib6_has_node(net.ipv6.fib6_tables[rt.table], rt.dst, rt.dst_len):
        if nlflags & NLM_F_REPLACE:
            _warn(net, "Can't replace route, no match found")
            raise KernelError(ENOENT, "Can not replace route - no match found")
        _warn(net, _NO_CREATE)


def _check_replace(net: Net, nlflags: int) -> None:
    if not nlflags & NLM_F_CREATE:
        _warn(net, "NLM_F_REPLACE set, but no existing node found!")
        raise KernelError(ENOENT)


def _warn(net: Net, text: str) -> None:
    printk(net.machine, "warning", f"IPv6: {text}")


def _check_rivals(net: Net, rt: Fib6Info, rivals: list[Fib6Info]) -> None:
    """Kernel: net/ipv6/ip6_fib.c, fib6_add_rt2node(); include/net/ip6_route.h, rt6_duplicate_nexthop()."""
    for other in rivals:
        if other.dev is rt.dev and other.gateway == rt.gateway:
            _adopt_expiry(net, other, rt)
            raise KernelError(EEXIST)
    if rt.gateway and any(other.gateway for other in rivals):
        raise KernelError(EOPNOTSUPP, "Routes with several next hops are not modelled")


def _to_replace(rt: Fib6Info, rivals: list[Fib6Info]) -> Fib6Info:
    """Of those of the same metric, the first that has a gateway as the new one has, or has not; else the first."""
    return next((other for other in rivals if bool(other.gateway) == bool(rt.gateway)), rivals[0])


def _replace(net: Net, table: Fib6Table, siblings: list[Fib6Info], old: Fib6Info, rt: Fib6Info) -> None:
    siblings[siblings.index(old)] = rt
    _enter(net, table, rt)
    _leave(net, table, old)


def _enter(net: Net, table: Fib6Table, rt: Fib6Info) -> None:
    """What follows from a route's being in its table."""
    ipv6 = net.ipv6
    table.by_dev[rt.dev][rt] = None
    rt.in_table = True
    table.changes.append(rt)
    ipv6.fib6_serial = rt.serial = ipv6.fib6_serial + 1
    if rt.prefsrc is not None:
        ipv6.with_prefsrc[rt] = None
    if rt.fib6_flags & RTF_EXPIRES:
        table.gc_list[rt] = None
        _start_gc(net)
        if rt.expires is not None:
            _gc_in_time(net, rt.expires)


def rt6_remove_prefsrc(dev: NetDevice, addr: bytes) -> None:
    """An address goes: routes of its device that name it as their source name none any more.

    Kernel: net/ipv6/route.c, rt6_remove_prefsrc(), fib6_remove_prefsrc().
    """
    held = dev.net.ipv6.with_prefsrc
    for rt in [rt for rt in held if rt.dev is dev and rt.prefsrc == addr]:
        rt.prefsrc = None
        del held[rt]


def _leave(net: Net, table: Fib6Table, rt: Fib6Info) -> None:
    """What follows from a route's being there no more."""
    assert rt.dev is not None
    del table.by_dev[rt.dev][rt]
    rt.in_table = False
    net.ipv6.with_prefsrc.pop(rt, None)
    note_fib6_change(table, rt)
    fib6_clean_expires(net, rt)
    if rt.table == RT_TABLE_MAIN:
        _note_loss(rt.dev, rt.dst, rt.dst_len)


def _adopt_expiry(net: Net, present: Fib6Info, rt: Fib6Info) -> None:
    if not present.fib6_flags & RTF_EXPIRES:
        return
    if rt.fib6_flags & RTF_EXPIRES and rt.expires is not None:
        fib6_set_expires(net, present, rt.expires)
    else:
        fib6_clean_expires(net, present)


def ip6_del_rt(net: Net, rt: Fib6Info, *, skip_notify: bool = False, asked: bool = False) -> None:
    """Take a route out of its table and say so; of one that is out already nothing is said.

    Kernel: net/ipv6/route.c, ip6_del_rt(); net/ipv6/ip6_fib.c, fib6_del().
    """
    if not rt.in_table:
        return
    table = net.ipv6.fib6_tables[rt.table]
    siblings = table.routes[rt.dst, rt.dst_len]
    siblings.remove(rt)
    if not siblings:
        del table.routes[rt.dst, rt.dst_len]
    _leave(net, table, rt)
    if not skip_notify and (asked or rtnl_has_listeners(net, RTNLGRP_IPV6_ROUTE)):
        rtnl_notify(net, rt6_fill_node(rt, RTM_DELROUTE), asked=asked)


def _note_loss(dev: NetDevice, prefix: bytes, plen: int) -> None:
    """Remember that the route to a prefix is gone while addresses want it."""
    idev = dev.ip6_ptr
    if idev is not None and _is_wanted(idev, prefix, plen):
        idev.lost_prefixes[prefix, plen] = None


def _is_wanted(idev: Inet6Dev, prefix: bytes, plen: int) -> bool:
    if plen < 128:
        return (prefix, plen) in idev.prefixes
    ifp = idev.addr_hash.get(prefix)
    return ifp is not None and ifp.prefix_len == plen


def _walk_order(rt: Fib6Info) -> tuple[int, int, int]:
    """A tree is walked children first: by the last address of the prefix, longer prefixes before shorter ones."""
    last = int.from_bytes(rt.dst) | (1 << (128 - rt.dst_len)) - 1
    return last, -rt.dst_len, rt.metric


def fib6_dump(net: Net) -> list[RouteMsg]:
    """All routes, main table first, each table as its tree is walked.

    Kernel: net/ipv6/ip6_fib.c, inet6_dump_fib().
    """
    return [rt6_fill_node(rt) for table in fib6_walk_tables(net) for rt in fib6_table_routes(table)]


def fib6_table_routes(table: Fib6Table) -> list[Fib6Info]:
    """The routes of a table as its tree is walked.

    Kernel: net/ipv6/ip6_fib.c, fib6_walk().
    """
    return sorted((rt for routes in table.routes.values() for rt in routes), key=_walk_order)


def rt6_disable_ip(dev: NetDevice, *, unregister: bool) -> None:
    """Remove all routes over a device, saying so unless the namespace wants no word of it when a device goes down.

    Its neighbours go with them.

    Kernel: net/ipv6/route.c, rt6_disable_ip(), rt6_sync_down_dev(), fib6_ifdown().
    """
    net = dev.net
    silent = bool(net.ipv6.skip_notify_on_dev_down) and not unregister
    for table in fib6_walk_tables(net):
        for rt in sorted(table.by_dev.get(dev, ()), key=_walk_order):
            ip6_del_rt(net, rt, skip_notify=silent)
        if unregister:
            table.by_dev.pop(dev, None)
    neigh_ifdown(net.machine.neigh_tables[AF_INET6], dev)


def rt6_sync_down_dev(dev: NetDevice) -> None:
    """The link under an up device is gone: its routes of this moment, but for those to this host, are marked.

    Kernel: net/ipv6/route.c, rt6_sync_down_dev() for NETDEV_CHANGE, fib6_ifdown().
    """
    dev.fib6_linkdown_mark = dev.net.ipv6.fib6_serial


def rt6_sync_up(dev: NetDevice) -> None:
    """The link is back: no route of the device is marked any more.

    Kernel: net/ipv6/route.c, rt6_sync_up(), fib6_ifup().
    """
    dev.fib6_linkdown_mark = 0


# --- routes that expire ---------------------------------------------------------------------------------------------


def fib6_set_expires(net: Net, rt: Fib6Info, expires: int) -> None:
    """Let a route expire, at this jiffies.

    Kernel: include/net/ip6_fib.h, fib6_set_expires(), fib6_add_gc_list().
    """
    rt.expires = expires
    rt.fib6_flags |= RTF_EXPIRES
    if rt.in_table:
        net.ipv6.fib6_tables[rt.table].gc_list.setdefault(rt)
        _gc_in_time(net, expires)


def fib6_clean_expires(net: Net, rt: Fib6Info) -> None:
    """Let a route stay.

    Kernel: include/net/ip6_fib.h, fib6_clean_expires(), fib6_remove_gc_list().
    """
    rt.expires = None
    rt.fib6_flags &= ~RTF_EXPIRES
    gc_list = net.ipv6.fib6_tables[rt.table].gc_list
    if rt not in gc_list:
        return
    del gc_list[rt]
    if next(_expiring(net), None) is None:
        _gc_in_time(net, net.machine.timers.jiffies)  # the next round finds that it was the last


def _expiring(net: Net) -> Iterator[Fib6Info]:
    return chain.from_iterable(table.gc_list for table in net.ipv6.fib6_tables.values())


def _gc_timer(net: Net) -> Timer:
    if net.ipv6.ip6_fib_timer is None:
        net.ipv6.ip6_fib_timer = Timer(lambda: fib6_run_gc(net))
    return net.ipv6.ip6_fib_timer


def _start_gc(net: Net) -> None:
    """Kernel: net/ipv6/ip6_fib.c, fib6_start_gc()."""
    timers = net.machine.timers
    if (timer := _gc_timer(net)).armed is None:
        mod_timer(timers, timer, timers.jiffies + IP6_RT_GC_INTERVAL)


def _gc_in_time(net: Net, expires: int) -> None:
    """See to it that of the rounds that were left out none is missing once a route expires, at this jiffies.  Ours."""
    timer, now = _gc_timer(net), net.machine.timers.jiffies
    if timer.armed is None:
        return
    after = max(expires - IP6_RT_GC_INTERVAL, now)
    if (too_many := (timer.armed[0] - after - 1) // IP6_RT_GC_INTERVAL) > 0:
        mod_timer(net.machine.timers, timer, timer.armed[0] - too_many * IP6_RT_GC_INTERVAL)


def fib6_run_gc(net: Net) -> None:
    """Remove the routes that have expired, and come back while others will.

    Kernel: net/ipv6/ip6_fib.c, fib6_run_gc(), fib6_gc_table(), fib6_age().
    Differs: of the rounds every half a minute those that would find nothing are left out.
    """
    now = net.machine.timers.jiffies
    for table in fib6_walk_tables(net):
        for rt in list(reversed(table.gc_list)):
            if rt.expires is not None and now > rt.expires:
                ip6_del_rt(net, rt)
    if not (expiries := [rt.expires for rt in _expiring(net) if rt.expires is not None]):
        del_timer(_gc_timer(net))
        return
    following = round_jiffies(now + IP6_RT_GC_INTERVAL)
    mod_timer(net.machine.timers, _gc_timer(net), skip_idle(following, IP6_RT_GC_INTERVAL, min(expiries)))


# --- routes of addresses --------------------------------------------------------------------------------------------


def addrconf_f6i_alloc(dev: NetDevice, addr: bytes, *, anycast: bool = False) -> Fib6Info:
    """The host route of an address, not yet in the table.

    Kernel: net/ipv6/route.c, addrconf_f6i_alloc().
    """
    if anycast:
        return Fib6Info(addr, 128, RT_TABLE_LOCAL, dev, 0, RTN_ANYCAST, _TO_HERE | RTF_ANYCAST, RTPROT_KERNEL)
    return HostRoute(addr, dev)


def addrconf_prefix_route(
    dev: NetDevice, addr: bytes, plen: int, *, metric: int = 0, expires: int | None = None
) -> None:
    """Add the prefix route of an address to the main table; one that is there already stays.

    Kernel: net/ipv6/addrconf.c, addrconf_prefix_route(); net/ipv6/route.c, ip6_route_info_create().
    Differs: `expires` is in jiffies, absolute.  Nothing is added on a device that is down, as there.
    """
    if not dev.flags & IFF_UP:
        _note_loss(dev, ipv6_addr_prefix(addr, plen), plen)
        return
    rt = Fib6Info(
        dst=ipv6_addr_prefix(addr, plen),
        dst_len=plen,
        table=RT_TABLE_MAIN,
        dev=dev,
        metric=metric or IP6_RT_PRIO_ADDRCONF,
        fib6_flags=RTF_UP,
        protocol=RTPROT_KERNEL,
    )
    if expires is not None:
        fib6_set_expires(dev.net, rt, expires)
    if _would_loop(dev, addr):
        rt.fib6_flags = RTF_REJECT | RTF_NONEXTHOP
    ip6_ins_rt(dev.net, rt)


def _would_loop(dev: NetDevice, addr: bytes) -> bool:
    """Kernel: net/ipv6/route.c, fib6_is_reject(): true routes over a loopback device are turned into rejects."""
    return bool(dev.flags & IFF_LOOPBACK) and addr != in6addr_loopback


def addrconf_add_mroute(dev: NetDevice) -> None:
    """Add ff00::/8 to the local table, as every device but loopback has it while it is up.

    Kernel: net/ipv6/addrconf.c, addrconf_add_mroute(); net/ipv6/route.c, fib6_nh_init().
    """
    if not dev.flags & IFF_UP:
        return
    rt = Fib6Info(
        dst=b"\xff" + bytes(15),
        dst_len=8,
        table=RT_TABLE_LOCAL,
        dev=dev,
        metric=IP6_RT_PRIO_ADDRCONF,
        fib6_type=RTN_MULTICAST,
        fib6_flags=RTF_UP,
        protocol=RTPROT_KERNEL,
    )
    ip6_ins_rt(dev.net, rt)


def addrconf_get_prefix_route(dev: NetDevice, addr: bytes, plen: int) -> Fib6Info | None:
    """The device's route to a prefix in the main table, if there is one.

    Kernel: net/ipv6/addrconf.c, addrconf_get_prefix_route().
    """
    siblings = dev.net.ipv6.fib6_tables[RT_TABLE_MAIN].routes.get((ipv6_addr_prefix(addr, plen), plen), ())
    return next((rt for rt in siblings if rt.dev is dev and rt.fib6_type == RTN_UNICAST), None)


# --- the null entry -------------------------------------------------------------------------------------------------


def _bind_null_entry(net: Net, dev: NetDevice) -> None:
    net.ipv6.fib6_null_entry = Fib6Info(
        dst=bytes(16),
        dst_len=0,
        table=0,
        dev=dev,
        metric=_NEVER,
        fib6_flags=RTF_REJECT | RTF_NONEXTHOP,
        protocol=RTPROT_KERNEL,
    )


def _release_null_entry(net: Net, dev: NetDevice) -> None:
    if net.ipv6.fib6_null_entry is not None and net.ipv6.fib6_null_entry.dev is dev:
        net.ipv6.fib6_null_entry.dev = None


ON_NETDEV_EVENT: Final[Mapping[int, Callable[[Net, NetDevice], None]]] = {
    NETDEV_REGISTER: _bind_null_entry,
    NETDEV_UNREGISTER: _release_null_entry,
}


def ip6_route_dev_notify(event: int, info: NetdevNotifierInfo) -> int:
    """The routing code's ear on the netdevice chain: the null entry lives on the loopback device.

    Kernel: net/ipv6/route.c, ip6_route_dev_notify().
    """
    act = ON_NETDEV_EVENT.get(event)
    if act is not None and info.dev.flags & IFF_LOOPBACK:
        act(info.dev.net, info.dev)
    return NOTIFY_OK


def ip6_route_init(machine: Machine) -> None:
    """Subscribe routing to devices, behind addrconf, since it needs the IPv6 half of lo.

    Kernel: net/ipv6/route.c, ip6_route_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(ip6_route_dev_notify, IP6_ROUTE_NOTIFY_PRIORITY))
