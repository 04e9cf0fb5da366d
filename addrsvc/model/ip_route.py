"""net/ipv4/route.c: where an IPv4 packet goes, asked by RTM_GETROUTE, and what is kept of the answer.

What a look-up has come to is kept once for routes alike, where the kernel keeps it for each CPU.
"""

from dataclasses import dataclass, replace
from errno import EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.fib_frontend import inet_ifa_match
from addrsvc.model.fib_rules import fib_lookup
from addrsvc.model.fib_trie import (
    FIB_ERRORS,
    FibResult,
    Flowi4,
    fib_dump_info,
    fib_info_key,
    fib_table_lookup,
    ipv4_is_lbcast,
    ipv4_is_multicast,
    ipv4_is_zeronet,
    via6,
)
from addrsvc.model.saddr import inet_select_addr
from addrsvc.model.structs import FibAlias, InDevice, Net, NetDevice, Rtable
from addrsvc.model.timer import jiffies_to_clock_t
from addrsvc.netlink.messages import RouteMsg, RtaCacheinfo
from addrsvc.uapi import (
    AF_INET,
    IFA_F_SECONDARY,
    IFF_LOOPBACK,
    IFF_UP,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_COMPAT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_F_CLONED,
    RTM_F_FIB_MATCH,
    RTM_F_LOOKUP_TABLE,
    RTM_F_NOTIFY,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
    RTN_UNREACHABLE,
)

__all__ = ["Found", "RouteQuery", "inet_rtm_getroute", "ip_route_input", "ip_route_output"]

RTCF_NOTIFY: Final = 0x00010000
RTCF_DOREDIRECT: Final = 0x01000000
RTCF_BROADCAST: Final = 0x10000000
RTCF_MULTICAST: Final = 0x20000000
RTCF_LOCAL: Final = 0x80000000
LOOPBACK_IFINDEX: Final = 1
INVALID_UID: Final = 0xFFFFFFFF
IPPROTO_IGMP: Final = 2
_INADDR_LOOPBACK: Final = bytes((127, 0, 0, 1))
_DSCP_MASK: Final = 0xFC
_SHOWN_RT_FLAGS: Final = 0xFFFF0000


@dataclass(frozen=True, slots=True)
class RouteQuery:
    """What RTM_GETROUTE asks of IPv4."""

    flags: int = 0
    tos: int = 0
    dst: bytes = bytes(4)
    src: bytes = bytes(4)
    iif: int = 0
    oif: int = 0
    mark: int = 0
    uid: int = INVALID_UID
    proto: int = 0
    sport: int = 0
    dport: int = 0


@dataclass(slots=True)
class Found:
    """What a look-up has come to: struct fib_result, as far as the reply wants it."""

    fib: FibResult | None = None
    type: int = 0
    redirects: bool = False


def _is_loopback(addr: bytes) -> bool:
    return addr[0] == 127


def _is_local_multicast(addr: bytes) -> bool:
    return addr[:3] == b"\xe0\0\0"


# --- output -----------------------------------------------------------------------------------------------------------


def _find_source_device(net: Net, addr: bytes) -> NetDevice:
    """The device that has an address.

    Kernel: net/ipv4/devinet.c, __ip_dev_find().

    Raises:
        KernelError: ENETUNREACH, none has.
    """
    dev = _has_address(net, addr)
    if dev is not None:
        return dev
    try:
        found = fib_table_lookup(net, RT_TABLE_LOCAL, Flowi4(daddr=addr))
    except KernelError:
        raise KernelError(ENETUNREACH) from None
    if found.type != RTN_LOCAL or found.fa.dev is None:
        raise KernelError(ENETUNREACH)
    return found.fa.dev


def _has_address(net: Net, addr: bytes) -> NetDevice | None:
    """Kernel: net/ipv4/devinet.c, inet_lookup_ifaddr_rcu()."""
    for dev in net.dev_base_head.values():
        if dev.ip_ptr is not None and any(ifa.ifa_local == addr for ifa in dev.ip_ptr.ifa_list):
            return dev
    return None


def ip_route_output(net: Net, flow: Flowi4, found: Found) -> Rtable:
    """The way out for a flow, whose source and device are filled in.

    Kernel: net/ipv4/route.c, ip_route_output_key_hash_rcu().

    Raises:
        KernelError: there is no way, or no such source or device.
    """
    orig_oif, flags = flow.oif, 0
    dev: NetDevice | None = None
    if any(flow.saddr):
        dev = _check_source(net, flow)
        if dev is not None:
            flow.oif = dev.ifindex
            return _mkroute_output(net, flow, found, orig_oif, dev, flags)
    if flow.oif:
        dev = _outgoing_device(net, flow)
        if _is_local_multicast(flow.daddr) or ipv4_is_lbcast(flow.daddr) or flow.proto == IPPROTO_IGMP:
            if not any(flow.saddr):
                flow.saddr = inet_select_addr(dev, bytes(4), RT_SCOPE_LINK)
            return _mkroute_output(net, flow, found, orig_oif, dev, flags)
        if not any(flow.saddr):
            _choose_source(flow, dev)
    if not any(flow.daddr):
        return _to_oneself(net, flow, found, orig_oif)
    try:
        found.fib = fib_lookup(net, flow)
    except KernelError:
        if dev is None:
            raise
        if not any(flow.saddr):
            flow.saddr = inet_select_addr(dev, bytes(4), RT_SCOPE_LINK)
        found.type = RTN_UNICAST
        return _mkroute_output(net, flow, found, orig_oif, dev, flags)
    return _by_route(net, flow, found, orig_oif)


def _check_source(net: Net, flow: Flowi4) -> NetDevice | None:
    """The device that a group or a broadcast is sent over for the sake of its source."""
    if ipv4_is_multicast(flow.saddr) or ipv4_is_lbcast(flow.saddr) or ipv4_is_zeronet(flow.saddr):
        raise KernelError(EINVAL)
    dev = _find_source_device(net, flow.saddr)
    many = ipv4_is_multicast(flow.daddr) or ipv4_is_lbcast(flow.daddr)
    return dev if not flow.oif and many else None


def _outgoing_device(net: Net, flow: Flowi4) -> NetDevice:
    dev = net.dev_base_head.get(flow.oif)
    if dev is None:
        raise KernelError(ENODEV)
    if not dev.flags & IFF_UP or dev.ip_ptr is None:
        raise KernelError(ENETUNREACH)
    return dev


def _choose_source(flow: Flowi4, dev: NetDevice) -> None:
    if ipv4_is_multicast(flow.daddr):
        flow.saddr = inet_select_addr(dev, bytes(4), flow.scope)
    elif not any(flow.daddr):
        flow.saddr = inet_select_addr(dev, bytes(4), RT_SCOPE_HOST)


def _to_oneself(net: Net, flow: Flowi4, found: Found, orig_oif: int) -> Rtable:
    flow.daddr = flow.saddr
    if not any(flow.daddr):
        flow.daddr = flow.saddr = _INADDR_LOOPBACK
    assert net.loopback_dev is not None
    flow.oif, found.type = LOOPBACK_IFINDEX, RTN_LOCAL
    return _mkroute_output(net, flow, found, orig_oif, net.loopback_dev, RTCF_LOCAL)


def _by_route(net: Net, flow: Flowi4, found: Found, orig_oif: int) -> Rtable:
    assert found.fib is not None
    fa = found.fib.fa
    assert fa.dev is not None
    found.type = fa.type
    if fa.type == RTN_LOCAL:
        if not any(flow.saddr):
            flow.saddr = fa.prefsrc if any(fa.prefsrc) else flow.daddr
        assert net.loopback_dev is not None
        flow.oif = net.loopback_dev.ifindex
        return _mkroute_output(net, flow, found, fa.dev.ifindex, net.loopback_dev, RTCF_LOCAL)
    if not any(flow.saddr):
        flow.saddr = fa.prefsrc if any(fa.prefsrc) else inet_select_addr(fa.dev, _gateway4(fa), fa.scope)
    return _mkroute_output(net, flow, found, orig_oif, fa.dev, 0)


def _gateway4(fa: FibAlias) -> bytes:
    return fa.gw if len(fa.gw) == 4 else bytes(4)


def _mkroute_output(net: Net, flow: Flowi4, found: Found, orig_oif: int, dev: NetDevice, flags: int) -> Rtable:
    """Kernel: net/ipv4/route.c, __mkroute_output()."""
    in_dev = dev.ip_ptr
    if in_dev is None:
        raise KernelError(EINVAL)
    if not _route_localnet(in_dev) and _is_loopback(flow.saddr) and not dev.flags & IFF_LOOPBACK:
        raise KernelError(EINVAL)
    kind, fa = found.type, found.fib.fa if found.fib is not None else None
    if ipv4_is_lbcast(flow.daddr):
        kind, fa = RTN_BROADCAST, None
    elif ipv4_is_multicast(flow.daddr):
        kind = RTN_MULTICAST
    elif ipv4_is_zeronet(flow.daddr):
        raise KernelError(EINVAL)
    if dev.flags & IFF_LOOPBACK:
        flags |= RTCF_LOCAL
    caches = True
    if kind == RTN_BROADCAST:
        flags |= RTCF_BROADCAST | RTCF_LOCAL
    elif kind == RTN_MULTICAST:
        flags |= RTCF_MULTICAST | RTCF_LOCAL
        if flow.daddr in in_dev.mc_list:
            caches = False
        else:
            flags &= ~RTCF_LOCAL
        if found.fib is not None and found.fib.prefixlen < 4:
            fa = None
    elif kind == RTN_LOCAL and orig_oif not in (0, dev.ifindex):
        caches = False
    key = ("output", fib_info_key(fa)) if fa is not None and caches else None
    if key in net.ipv4.rt_cache:
        return net.ipv4.rt_cache[key]
    tclassid = _class_tag(fa.tclassid, found.fib.tclassid) if fa is not None and found.fib is not None else 0
    rth = Rtable(dev, kind, flags, _jiffies(net), route=fa, tclassid=tclassid)
    if key is not None:
        net.ipv4.rt_cache[key], rth.clntref = rth, 2
    return rth


def _jiffies(net: Net) -> int:
    return net.machine.timers.jiffies


# --- input ------------------------------------------------------------------------------------------------------------


def ip_route_input(net: Net, dev: NetDevice, flow: Flowi4, found: Found) -> Rtable:
    """The way of a packet that comes in over a device.

    Kernel: net/ipv4/route.c, ip_route_input_rcu(), ip_route_input_slow(), ip_route_input_mc().

    Raises:
        KernelError: EINVAL, from or to where no packet may come, or not over this device; EHOSTUNREACH.
    """
    in_dev = dev.ip_ptr
    if in_dev is None:
        raise KernelError(EINVAL)
    if ipv4_is_multicast(flow.daddr):
        return _input_mc(net, in_dev, flow)
    if ipv4_is_multicast(flow.saddr) or ipv4_is_lbcast(flow.saddr):
        raise KernelError(EINVAL)
    if ipv4_is_lbcast(flow.daddr) or not (any(flow.saddr) or any(flow.daddr)):
        return _input_broadcast(net, in_dev, flow, found)
    if ipv4_is_zeronet(flow.saddr) or ipv4_is_zeronet(flow.daddr):
        raise KernelError(EINVAL)
    if (_is_loopback(flow.daddr) or _is_loopback(flow.saddr)) and not _route_localnet(in_dev):
        raise KernelError(EINVAL)
    return _input_unicast(net, in_dev, flow, found)


def _route_localnet(in_dev: InDevice) -> bool:
    """Kernel: include/linux/inetdevice.h, IN_DEV_ROUTE_LOCALNET."""
    return _either(in_dev, "route_localnet")


def _either(in_dev: InDevice, setting: str) -> bool:
    """Kernel: include/linux/inetdevice.h, IN_DEV_ORCONF."""
    return bool(in_dev.dev.net.ipv4.devconf_all[setting] or in_dev.cnf[setting])


def _both(in_dev: InDevice, setting: str) -> bool:
    """Kernel: include/linux/inetdevice.h, IN_DEV_ANDCONF."""
    return bool(in_dev.dev.net.ipv4.devconf_all[setting] and in_dev.cnf[setting])


def _input_unicast(net: Net, in_dev: InDevice, flow: Flowi4, found: Found) -> Rtable:
    looking = replace(flow, proto=0, sport=0, dport=0)
    try:
        found.fib = fib_lookup(net, looking)
    except KernelError as error:
        found.type = RTN_UNREACHABLE
        raise error if in_dev.cnf["forwarding"] else KernelError(EHOSTUNREACH) from None
    found.type = found.fib.type
    if found.type == RTN_BROADCAST:
        if _both(in_dev, "bc_forwarding"):
            return _mkroute_input(net, in_dev, flow, found)
        return _input_broadcast(net, in_dev, flow, found, caches=not net.ipv4.devconf_all["bc_forwarding"])
    if found.type == RTN_LOCAL:
        _, itag = fib_validate_source(net, flow, flow.daddr, 0, in_dev)
        return _input_local(net, in_dev, found, RTCF_LOCAL, itag)
    if not in_dev.cnf["forwarding"]:
        found.fib, found.type = None, RTN_UNREACHABLE
        raise KernelError(EHOSTUNREACH)
    if found.type != RTN_UNICAST:
        raise KernelError(EINVAL)
    return _mkroute_input(net, in_dev, flow, found)


def _input_broadcast(net: Net, in_dev: InDevice, flow: Flowi4, found: Found, *, caches: bool = True) -> Rtable:
    itag = 0
    if not ipv4_is_zeronet(flow.saddr):
        _, itag = fib_validate_source(net, flow, bytes(4), 0, in_dev)
    found.type = RTN_BROADCAST
    return _input_local(net, in_dev, found, RTCF_BROADCAST | RTCF_LOCAL, itag, caches=caches)


def _input_local(net: Net, in_dev: InDevice, found: Found, flags: int, itag: int, *, caches: bool = True) -> Rtable:
    """To this host: what is kept of it is kept with the route."""
    fa = found.fib.fa if found.fib is not None else None
    assert net.loopback_dev is not None
    return _kept_input(net, fa if caches and not itag else None, net.loopback_dev, found.type, flags, itag, None)


def _kept_input(
    net: Net, fa: FibAlias | None, dev: NetDevice, kind: int, flags: int, tclassid: int, route: FibAlias | None
) -> Rtable:
    key = ("input", fib_info_key(fa)) if fa is not None else None
    if key in net.ipv4.rt_cache:
        net.ipv4.rt_cache[key].clntref = 1
        return net.ipv4.rt_cache[key]
    rth = Rtable(dev, kind, flags, _jiffies(net), route=route, is_input=True, tclassid=tclassid)
    if key is not None:
        net.ipv4.rt_cache[key], rth.clntref = rth, 2
    return rth


def _mkroute_input(net: Net, in_dev: InDevice, flow: Flowi4, found: Found) -> Rtable:
    """Kernel: net/ipv4/route.c, __mkroute_input()."""
    assert found.fib is not None
    fa = found.fib.fa
    if fa.dev is None or fa.dev.ip_ptr is None:
        raise KernelError(EINVAL)
    near, itag = fib_validate_source(net, flow, flow.daddr, fa.dev.ifindex, in_dev)
    redirects = fa.dev is in_dev.dev and near and _either(in_dev, "send_redirects")
    found.redirects = redirects and (_either(in_dev, "shared_media") or _is_onlink(in_dev, flow.saddr, _gateway4(fa)))
    tclassid = _class_tag(fa.tclassid, found.fib.tclassid, itag)
    return _kept_input(net, None if itag else fa, fa.dev, found.type, 0, tclassid, fa)


def _is_onlink(in_dev: InDevice, a: bytes, b: bytes) -> bool:
    """Kernel: net/ipv4/devinet.c, inet_addr_onlink()."""
    return any(
        inet_ifa_match(a, ifa) and (not any(b) or inet_ifa_match(b, ifa))
        for ifa in in_dev.ifa_list
        if not ifa.ifa_flags & IFA_F_SECONDARY
    )


def _class_tag(*tags: int) -> int:
    """Kernel: net/ipv4/route.c, set_class_tag(), one tag after the other."""
    tclassid = 0
    for tag in tags:
        for half in (0x0000FFFF, 0xFFFF0000):
            if not tclassid & half:
                tclassid |= tag & half
    return tclassid


def _input_mc(net: Net, in_dev: InDevice, flow: Flowi4) -> Rtable:
    """To a group."""
    ours = flow.daddr in in_dev.mc_list
    routed = not _is_local_multicast(flow.daddr) and _both(in_dev, "mc_forwarding")
    if not ours and not routed:
        raise KernelError(EINVAL)
    itag = _check_mc_source(net, in_dev, flow)
    assert net.loopback_dev is not None
    flags = RTCF_MULTICAST | (RTCF_LOCAL if ours else 0)
    return _kept_input(net, None, net.loopback_dev, RTN_MULTICAST, flags, itag, None)


def _check_mc_source(net: Net, in_dev: InDevice, flow: Flowi4) -> int:
    """Kernel: net/ipv4/route.c, ip_mc_validate_source()."""
    if ipv4_is_multicast(flow.saddr) or ipv4_is_lbcast(flow.saddr):
        raise KernelError(EINVAL)
    if _is_loopback(flow.saddr) and not _route_localnet(in_dev):
        raise KernelError(EINVAL)
    if ipv4_is_zeronet(flow.saddr):
        if not _is_local_multicast(flow.daddr) and flow.proto != IPPROTO_IGMP:
            raise KernelError(EINVAL)
        return 0
    return fib_validate_source(net, flow, bytes(4), 0, in_dev)[1]


def fib_validate_source(net: Net, flow: Flowi4, dst: bytes, oif: int, in_dev: InDevice) -> tuple[bool, int]:
    """Whether the source is on the device's own link, and its realm.

    Kernel: net/ipv4/fib_frontend.c, fib_validate_source().

    Raises:
        KernelError: EINVAL, the source is this host, or no address of one, or lies elsewhere.
    """
    rpf = max(net.ipv4.devconf_all["rp_filter"], in_dev.cnf["rp_filter"])
    leaves = in_dev.dev.ifindex != oif or not _either(in_dev, "send_redirects")
    if not rpf and leaves and not _has_realms(net):
        if _either(in_dev, "accept_local"):
            return False, 0
        if not net.ipv4.fib_has_custom_local_routes and not net.ipv4.fib_has_custom_rules:
            if _has_address(net, flow.saddr) is not None:
                raise KernelError(EINVAL)
            return False, 0
    return _validate_source(net, flow, dst, oif, rpf, in_dev)


def _has_realms(net: Net) -> bool:
    routes = (fa for aliases in net.ipv4.fib.values() for fa in aliases)
    return any(fa.tclassid for fa in routes) or any(rule.tclassid for rule in net.rules_ops[AF_INET])


def _validate_source(net: Net, flow: Flowi4, dst: bytes, oif: int, rpf: int, in_dev: InDevice) -> tuple[bool, int]:
    """Kernel: net/ipv4/fib_frontend.c, __fib_validate_source()."""
    mark = flow.mark if _either(in_dev, "src_valid_mark") else 0
    back = Flowi4(daddr=flow.saddr, saddr=dst, iif=oif or LOOPBACK_IFINDEX, mark=mark, tos=flow.tos, uid=flow.uid)
    try:
        found = fib_lookup(net, back)
    except KernelError:
        return _last_resort(rpf)
    if found.type != RTN_UNICAST and (found.type != RTN_LOCAL or not _either(in_dev, "accept_local")):
        raise KernelError(EINVAL)
    itag = found.fa.tclassid << 16 & 0xFFFFFFFF
    itag |= (0 if itag else found.tclassid << 16 & 0xFFFFFFFF) | found.tclassid >> 16
    dev = in_dev.dev
    if found.fa.dev is dev or (found.type == RTN_LOCAL and dev is net.loopback_dev):
        return found.fa.nh_scope >= RT_SCOPE_HOST, itag
    if not in_dev.ifa_list:
        return _last_resort(rpf)
    if rpf == 1:
        raise KernelError(EINVAL)
    back.oif = dev.ifindex
    try:
        found = fib_lookup(net, back, ignore_linkstate=True)
    except KernelError:
        return False, itag
    return found.type == RTN_UNICAST and found.fa.nh_scope >= RT_SCOPE_HOST, itag


def _last_resort(rpf: int) -> tuple[bool, int]:
    if rpf:
        raise KernelError(EINVAL)
    return False, 0


# --- the request ------------------------------------------------------------------------------------------------------


def inet_rtm_getroute(net: Net, query: RouteQuery) -> RouteMsg:
    """Where a packet would go, or the route that would take it there.

    Kernel: net/ipv4/route.c, inet_rtm_getroute().

    Raises:
        KernelError: ENODEV, no such device; the refusal of the look-up; EHOSTUNREACH, no route was needed, and the
            route was asked for.
    """
    flow = Flowi4(
        daddr=query.dst, saddr=query.src, oif=query.oif, iif=query.iif or LOOPBACK_IFINDEX, mark=query.mark,
        tos=query.tos & _DSCP_MASK, proto=query.proto, uid=query.uid, sport=query.sport, dport=query.dport,
    )  # fmt: skip
    found = Found()
    rth = _look_up(net, query, flow, found)
    if query.flags & RTM_F_NOTIFY:
        rth.rt_flags |= RTCF_NOTIFY
    table = RT_TABLE_MAIN
    if query.flags & RTM_F_LOOKUP_TABLE:
        table = found.fib.table if found.fib is not None else 0
    if not query.flags & RTM_F_FIB_MATCH:
        return _rt_fill_info(net, query, flow, rth, found, table)
    if found.fib is None:
        raise KernelError(FIB_ERRORS.get(found.type, EHOSTUNREACH))
    return replace(fib_dump_info(found.fib.fa, table=table), rtm_type=rth.rt_type)


def _look_up(net: Net, query: RouteQuery, flow: Flowi4, found: Found) -> Rtable:
    if not query.iif:
        return ip_route_output(net, flow, found)
    dev = net.dev_base_head.get(query.iif)
    if dev is None:
        raise KernelError(ENODEV)
    return ip_route_input(net, dev, replace(flow, oif=0, uid=0), found)


def _rt_fill_info(net: Net, query: RouteQuery, flow: Flowi4, rth: Rtable, found: Found, table: int) -> RouteMsg:
    """Kernel: net/ipv4/route.c, rt_fill_info()."""
    route = rth.route
    via = route.gw if route is not None and route.nh_scope == RT_SCOPE_LINK else b""
    told_source = any(query.src)
    return RouteMsg(
        rtm_family=AF_INET,
        rtm_dst_len=32,
        rtm_src_len=32 if told_source else 0,
        rtm_tos=found.fib.fa.tos if found.fib is not None else 0,
        rtm_table=table if table < 256 else RT_TABLE_COMPAT,
        rtm_scope=RT_SCOPE_UNIVERSE,
        rtm_type=rth.rt_type,
        rtm_flags=rth.rt_flags & _SHOWN_RT_FLAGS
        | RTM_F_CLONED
        | RTM_F_NOTIFY * bool(rth.rt_flags & RTCF_NOTIFY)
        | RTCF_DOREDIRECT * found.redirects,
        table=table,
        dst=query.dst,
        src=query.src if told_source else None,
        oif=rth.dev.ifindex,
        flow=rth.tclassid or None,
        prefsrc=flow.saddr if not rth.is_input and flow.saddr != query.src else None,
        gateway=via if len(via) == 4 else None,
        via=via6(via) if len(via) == 16 else None,
        metrics=tuple(sorted(route.metrics.items())) or None if route is not None else None,
        mark=query.mark or None,
        uid=query.uid if query.uid != INVALID_UID else None,
        iif=query.iif if rth.is_input else None,
        cacheinfo=RtaCacheinfo(clntref=rth.clntref, lastuse=jiffies_to_clock_t(_jiffies(net) - rth.lastuse)),
    )
