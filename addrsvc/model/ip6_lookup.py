"""net/ipv6/route.c and fib6_rules.c, looking up: where an IPv6 packet goes, asked by RTM_GETROUTE."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from errno import EACCES, EAGAIN, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETUNREACH, ENODEV
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import in6addr_any, in6addr_loopback, ipv6_addr_is_multicast, ipv6_addr_prefix
from addrsvc.model.fib_rules import fib_rule_match, ports_match, walk_rules
from addrsvc.model.ip6_route import fib6_get_table, fib6_ignore_linkdown, rt6_fill_node
from addrsvc.model.saddr import ipv6_dev_get_saddr
from addrsvc.model.structs import Fib6Info, Fib6Table, FibRule, Net
from addrsvc.model.timer import jiffies_to_clock_t
from addrsvc.netlink.messages import RouteMsg, RtaCacheinfo
from addrsvc.uapi import (
    AF_INET6,
    FR_ACT_BLACKHOLE,
    FR_ACT_PROHIBIT,
    FR_ACT_TO_TBL,
    FR_ACT_UNREACHABLE,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTF_ANYCAST,
    RTF_EXPIRES,
    RTF_LOCAL,
    RTF_REJECT,
    RTN_BLACKHOLE,
    RTN_NAT,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNREACHABLE,
    RTN_XRESOLVE,
)

__all__ = ["Flowi6", "Route6Query", "fib6_rule_lookup", "fib6_table_lookup", "inet6_rtm_getroute"]

FIB_RULE_FIND_SADDR: Final = 0x00010000
LOOPBACK_IFINDEX: Final = 1
INVALID_UID: Final = 0xFFFFFFFF

# Kernel: net/ipv6/route.c, fib6_prop; net/ipv6/fib6_rules.c, __fib6_rule_action().
_TYPE_ERRORS: Final[Mapping[int, int]] = {
    RTN_BLACKHOLE: EINVAL,
    RTN_UNREACHABLE: EHOSTUNREACH,
    RTN_PROHIBIT: EACCES,
    RTN_THROW: EAGAIN,
    RTN_NAT: EINVAL,
    RTN_XRESOLVE: EINVAL,
}
_ACTION_ERRORS: Final[Mapping[int, int]] = {
    FR_ACT_UNREACHABLE: ENETUNREACH,
    FR_ACT_BLACKHOLE: EINVAL,
    FR_ACT_PROHIBIT: EACCES,
}


@dataclass(slots=True)
class Flowi6:
    """struct flowi6: what a look-up is for."""

    daddr: bytes = in6addr_any
    saddr: bytes = in6addr_any
    oif: int = 0
    iif: int = 0
    mark: int = 0
    uid: int = 0
    proto: int = 0
    sport: int = 0
    dport: int = 0
    tun_id: bytes = bytes(8)
    tclass: int = 0
    flowlabel: int = 0


@dataclass(frozen=True, slots=True)
class Route6Query:
    """What RTM_GETROUTE asks of IPv6."""

    fibmatch: bool = False
    flow: Flowi6 = field(default_factory=Flowi6)


@dataclass(frozen=True, slots=True)
class _Found:
    """struct rt6_info: a route, or none, and how it refuses."""

    rt: Fib6Info | None
    error: int = 0


_NULL_ENTRY: Final = _Found(None, ENETUNREACH)


def rt6_need_strict(addr: bytes) -> bool:
    """Whether an address means nothing without a device.

    Kernel: include/net/ip6_route.h, rt6_need_strict().
    """
    return ipv6_addr_is_multicast(addr) or _is_linklocal(addr) or addr == in6addr_loopback


def _is_linklocal(addr: bytes) -> bool:
    return addr[0] == 0xFE and addr[1] & 0xC0 == 0x80


# --- one table --------------------------------------------------------------------------------------------------------


def fib6_table_lookup(
    net: Net, table: Fib6Table, oif: int, daddr: bytes, *, strict: bool, ignore_linkstate: bool = False
) -> Fib6Info | None:
    """The best route of the longest match that has a fit one.

    Kernel: net/ipv6/route.c, fib6_table_lookup(), rt6_select(), find_rr_leaf().
    """
    for plen in range(128, -1, -1):
        routes = table.routes.get((ipv6_addr_prefix(daddr, plen), plen))
        best = _select(net, routes, oif, strict=strict, ignore_linkstate=ignore_linkstate) if routes else None
        if best is not None:
            return best
    return None


def _select(net: Net, routes: list[Fib6Info], oif: int, *, strict: bool, ignore_linkstate: bool) -> Fib6Info | None:
    """The best score among those of the lowest metric that have any; the first of equals."""
    best: Fib6Info | None = None
    high = -1
    for rt in routes:
        if best is not None and rt.metric != best.metric:
            break
        score = -1 if fib6_ignore_linkdown(rt) and not ignore_linkstate else _score(net, rt, oif, strict=strict)
        if score > high:
            best, high = rt, score
    return best


def _score(net: Net, rt: Fib6Info, oif: int, *, strict: bool) -> int:
    """Kernel: net/ipv6/route.c, find_match(), rt6_score_route(), fib6_check_expired()."""
    dev = rt.dev
    expired = rt.fib6_flags & RTF_EXPIRES and rt.expires is not None and net.machine.timers.jiffies > rt.expires
    if dev is None or expired:
        return -1
    matches = oif in (0, dev.ifindex)
    if not matches and strict:
        return -1
    return 2 * matches | _PREFERENCE[rt.pref] << 2


# Kernel: include/net/ip6_route.h, IPV6_DECODE_PREF(): medium, high, invalid, low.
_PREFERENCE: Final = (2, 3, 0, 1)


def _found(rt: Fib6Info | None) -> _Found:
    """Kernel: net/ipv6/route.c, ip6_rt_init_dst(), ip6_rt_init_dst_reject()."""
    if rt is None:
        return _NULL_ENTRY
    return _Found(rt, _TYPE_ERRORS.get(rt.fib6_type, 0) if rt.fib6_flags & RTF_REJECT else 0)


# --- by the rules -----------------------------------------------------------------------------------------------------


def fib6_rule_lookup(net: Net, flow: Flowi6, oif: int, *, strict: bool) -> _Found:
    """The route for a flow; `oif` is the device that routes have to have, or 0.

    Kernel: net/ipv6/fib6_rules.c, fib6_rule_lookup().
    """
    if net.ipv6.fib6_has_custom_rules:
        found = _lookup_by_rules(net, flow, oif, strict=strict)
        return next(found, _NULL_ENTRY)
    for table in (RT_TABLE_LOCAL, RT_TABLE_MAIN):
        here = _found(fib6_table_lookup(net, net.ipv6.fib6_tables[table], oif, flow.daddr, strict=strict))
        if here.rt is not None and here.error != EAGAIN:
            return here
    return _NULL_ENTRY


def _lookup_by_rules(net: Net, flow: Flowi6, oif: int, *, strict: bool) -> Iterator[_Found]:
    has_saddr = flow.saddr != in6addr_any

    def about(rule: FibRule) -> bool:
        return fib_rule_match(rule, flow, family_matches=lambda: fib6_rule_match(rule, flow, has_saddr=has_saddr))

    for rule in walk_rules(net.rules_ops[AF_INET6], about):
        if rule.action != FR_ACT_TO_TBL:
            yield _Found(None, _ACTION_ERRORS.get(rule.action, EINVAL))
        table = fib6_get_table(net, rule.table) if rule.action == FR_ACT_TO_TBL else None
        rt = fib6_table_lookup(net, table, oif, flow.daddr, strict=strict) if table is not None else None
        if rt is None or rt.dev is None or rt.dev.ip6_ptr is None or not _source_fits(net, rule, rt, flow, has_saddr):
            continue
        found = _found(rt)
        if found.error != EAGAIN and not (found.error == 0 and _suppresses(rule, rt)):
            yield found


def fib6_rule_match(rule: FibRule, flow: Flowi6, *, has_saddr: bool) -> bool:
    """Whether an IPv6 rule is about a flow, in what IPv6 adds.

    Kernel: net/ipv6/fib6_rules.c, fib6_rule_match().
    """
    if rule.dst_len and ipv6_addr_prefix(flow.daddr, rule.dst_len) != ipv6_addr_prefix(rule.dst, rule.dst_len):
        return False
    if rule.src_len:
        if has_saddr:
            if ipv6_addr_prefix(flow.saddr, rule.src_len) != ipv6_addr_prefix(rule.src, rule.src_len):
                return False
        elif not rule.flags & FIB_RULE_FIND_SADDR:
            return False
    if (rule.dscp ^ flow.tclass) & rule.dscp_mask:
        return False
    if (rule.flowlabel ^ flow.flowlabel) & rule.flowlabel_mask:
        return False
    return ports_match(rule, flow)


def _source_fits(net: Net, rule: FibRule, rt: Fib6Info, flow: Flowi6, has_saddr: bool) -> bool:  # noqa: FBT001
    """Kernel: net/ipv6/fib6_rules.c, fib6_rule_saddr()."""
    if not rule.flags & FIB_RULE_FIND_SADDR or not rule.src_len or has_saddr:
        return True
    saddr = ipv6_dev_get_saddr(net, rt.dev, flow.daddr)
    if saddr is None or ipv6_addr_prefix(saddr, rule.src_len) != ipv6_addr_prefix(rule.src, rule.src_len):
        return False
    flow.saddr = saddr
    return True


def _suppresses(rule: FibRule, rt: Fib6Info) -> bool:
    """Kernel: net/ipv6/fib6_rules.c, fib6_rule_suppress()."""
    if rt.dst_len <= rule.suppress_prefixlen:
        return True
    return rule.suppress_ifgroup != -1 and rt.dev is not None and rt.dev.group == rule.suppress_ifgroup


# --- the request ------------------------------------------------------------------------------------------------------


def inet6_rtm_getroute(net: Net, query: Route6Query) -> RouteMsg:
    """Where a packet would go, or the route that would take it there.

    Kernel: net/ipv6/route.c, inet6_rtm_getroute().

    Raises:
        KernelError: ENODEV, no such device; ENETUNREACH, no route; the errno of the route or the rule that refuses;
            EMSGSIZE, of a packet to a group that comes in only the multicast router knows, of which there is none.
    """
    flow = replace(query.flow)
    iif = flow.iif
    if iif:
        if iif not in net.dev_base_head:
            raise KernelError(ENODEV)
        found = fib6_rule_lookup(net, flow, iif, strict=rt6_need_strict(flow.daddr))
    else:
        flow.iif = LOOPBACK_IFINDEX
        strict = rt6_need_strict(flow.daddr) or (bool(flow.oif) and flow.saddr == in6addr_any)
        found = fib6_rule_lookup(net, flow, flow.oif, strict=strict)
    if found.error or found.rt is None:
        raise KernelError(found.error)
    _keep(net, found.rt)
    if iif and ipv6_addr_is_multicast(found.rt.dst):
        raise KernelError(EMSGSIZE)
    if query.fibmatch:
        return replace(rt6_fill_node(found.rt), iif=iif or None)
    return _fill_found(net, found.rt, flow, iif)


def _keep(net: Net, rt: Fib6Info) -> None:
    """Kernel: net/ipv6/route.c, rt6_make_pcpu_route()."""
    if rt.pcpu is None:
        rt.pcpu = net.machine.timers.jiffies


def _fill_found(net: Net, rt: Fib6Info, flow: Flowi6, iif: int) -> RouteMsg:
    """Kernel: net/ipv6/route.c, rt6_fill_node() for a result of a look-up."""
    now = net.machine.timers.jiffies
    dev = net.loopback_dev if rt.fib6_flags & (RTF_LOCAL | RTF_ANYCAST) else rt.dev
    assert dev is not None
    assert rt.pcpu is not None
    source = rt.prefsrc or ipv6_dev_get_saddr(net, rt.dev, flow.daddr)
    return replace(
        rt6_fill_node(rt),
        rtm_dst_len=128,
        rtm_src_len=128,
        rtm_flags=0,
        dst=flow.daddr,
        src=flow.saddr,
        iif=iif or None,
        prefsrc=rt.prefsrc if iif else source,
        fib_prefsrc=None if iif else rt.prefsrc,
        oif=dev.ifindex,
        cacheinfo=RtaCacheinfo(clntref=2, lastuse=jiffies_to_clock_t(now - rt.pcpu)),
    )
