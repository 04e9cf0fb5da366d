"""net/ipv4/fib_semantics.c and metrics.c: what makes an IPv4 route a good one, and what a device's going does to it.

A route has one next hop.  Routes with several, next hop objects and encapsulations are not here.
"""

from collections.abc import Mapping
from contextlib import suppress
from errno import EINVAL, ENETDOWN, ENODEV, EOPNOTSUPP
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.fib_rules import fib_lookup
from addrsvc.model.fib_trie import (
    FIB_ERRORS,
    FibConfig,
    FibResult,
    Flowi4,
    fib_table_lookup,
    inet_addr_type,
    rt_cache_flush,
)
from addrsvc.model.metrics import fib_metrics_match, ip_metrics_convert
from addrsvc.model.rtnl import dev_get_flags
from addrsvc.model.structs import FibAlias, Net, NetDevice
from addrsvc.uapi import (
    AF_INET,
    IFF_LOWER_UP,
    IFF_RUNNING,
    IFF_UP,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTA_ENCAP,
    RTN_ANYCAST,
    RTN_BLACKHOLE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MAX,
    RTN_MULTICAST,
    RTN_NAT,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTN_UNSPEC,
    RTN_XRESOLVE,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    RTNH_F_ONLINK,
    RTNH_F_PERVASIVE,
)

__all__ = ["fib_create_info", "fib_nh_match", "fib_sync_down_dev", "fib_sync_up"]

# Kernel: net/ipv4/fib_semantics.c, fib_props: the widest scope that a route of a type may have.
_SCOPES: Final[Mapping[int, int]] = {
    RTN_UNSPEC: RT_SCOPE_NOWHERE,
    RTN_UNICAST: RT_SCOPE_UNIVERSE,
    RTN_LOCAL: RT_SCOPE_HOST,
    RTN_BROADCAST: RT_SCOPE_LINK,
    RTN_ANYCAST: RT_SCOPE_LINK,
    RTN_MULTICAST: RT_SCOPE_UNIVERSE,
    RTN_BLACKHOLE: RT_SCOPE_UNIVERSE,
    RTN_UNREACHABLE: RT_SCOPE_UNIVERSE,
    RTN_PROHIBIT: RT_SCOPE_UNIVERSE,
    RTN_THROW: RT_SCOPE_UNIVERSE,
    RTN_NAT: RT_SCOPE_NOWHERE,
    RTN_XRESOLVE: RT_SCOPE_NOWHERE,
}
_REAL_TYPES: Final = (RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST)


def fib_create_info(net: Net, cfg: FibConfig) -> FibAlias:
    """A route as it is asked for, its next hop looked up.

    Kernel: net/ipv4/fib_semantics.c, fib_create_info().

    Raises:
        KernelError: EINVAL, no such route can be; ENODEV, ENETDOWN, its device; the errno of the look-up of a gateway.
    """
    if cfg.type > RTN_MAX:
        raise KernelError(EINVAL)
    if _SCOPES[cfg.type] > cfg.scope:
        raise KernelError(EINVAL, "Invalid scope")
    if cfg.flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN):
        raise KernelError(EINVAL, "Invalid rtm_flags - can not contain DEAD or LINKDOWN")
    if cfg.nh_id:
        raise KernelError(EINVAL, "Nexthop id does not exist")
    metrics = ip_metrics_convert(cfg.mx or ())
    _check_modelled(cfg)
    fa = FibAlias(
        type=cfg.type,
        table=cfg.table,
        dst=cfg.dst,
        dst_len=cfg.dst_len,
        prefsrc=cfg.prefsrc,
        scope=cfg.scope,
        dev=None,
        priority=cfg.priority,
        tos=cfg.tos,
        protocol=cfg.protocol,
        gw=cfg.gw if cfg.gw_family else b"",
        nh_scope=0,
        nh_flags=cfg.flags & 0xFF,
        fib_flags=cfg.flags,
        tclassid=cfg.flow,
        metrics=metrics,
    )
    if cfg.type in FIB_ERRORS:
        if cfg.gw_family or cfg.oif:
            raise KernelError(EINVAL, "Gateway, device and multipath can not be specified for this route type")
        return fa
    if cfg.type not in _REAL_TYPES:
        raise KernelError(EINVAL, "Invalid route type")
    if cfg.scope > RT_SCOPE_HOST:
        raise KernelError(EINVAL, "Invalid scope")
    _check_nexthop(net, fa, cfg)
    if any(fa.prefsrc) and not _valid_prefsrc(net, cfg):
        raise KernelError(EINVAL, "Invalid prefsrc address")
    return fa


def _check_modelled(cfg: FibConfig) -> None:
    """Kernel: net/ipv4/fib_semantics.c, fib_get_nhs(), fib_nh_common_init()."""
    if cfg.multipath:
        raise KernelError(EOPNOTSUPP, "Routes with several next hops are not modelled")
    if cfg.encap and not cfg.encap_type:
        raise KernelError(EINVAL, "Unknown LWT encapsulation type", attr=RTA_ENCAP)
    if cfg.encap:
        raise KernelError(EOPNOTSUPP, "Encapsulations are not modelled")


def _check_nexthop(net: Net, fa: FibAlias, cfg: FibConfig) -> None:
    if cfg.scope == RT_SCOPE_HOST:
        if cfg.gw_family:
            raise KernelError(EINVAL, "Route with host scope can not have a gateway")
        fa.nh_scope = RT_SCOPE_NOWHERE
        fa.dev = net.dev_base_head.get(cfg.oif)
        if fa.dev is None:
            raise KernelError(ENODEV)
    elif cfg.gw_family == AF_INET:
        _check_gateway(net, fa, cfg)
    elif cfg.gw_family:
        raise KernelError(EOPNOTSUPP, "IPv6 gateways of IPv4 routes are not modelled")
    else:
        _check_nongw(net, fa, cfg)


def _check_nongw(net: Net, fa: FibAlias, cfg: FibConfig) -> None:
    """Kernel: net/ipv4/fib_semantics.c, fib_check_nh_nongw()."""
    if fa.nh_flags & (RTNH_F_PERVASIVE | RTNH_F_ONLINK):
        raise KernelError(EINVAL, "Invalid flags for nexthop - PERVASIVE and ONLINK can not be set")
    dev = net.dev_base_head.get(cfg.oif)
    if dev is None or dev.ip_ptr is None:
        raise KernelError(ENODEV)
    if not dev.flags & IFF_UP:
        raise KernelError(ENETDOWN, "Device for nexthop is not up")
    _take_device(fa, dev, RT_SCOPE_HOST)


def _take_device(fa: FibAlias, dev: NetDevice, scope: int) -> None:
    fa.dev, fa.nh_scope = dev, scope
    if not dev.carrier:
        fa.nh_flags |= RTNH_F_LINKDOWN


def _check_gateway(net: Net, fa: FibAlias, cfg: FibConfig) -> None:
    """Kernel: net/ipv4/fib_semantics.c, fib_check_nh_v4_gw()."""
    if fa.nh_flags & RTNH_F_ONLINK:
        _check_onlink(net, fa, cfg)
        return
    flow = Flowi4(daddr=cfg.gw, scope=max(cfg.scope + 1, RT_SCOPE_LINK), oif=cfg.oif, iif=1)
    found = _find_gateway(net, flow, cfg.table)
    if found.type not in (RTN_UNICAST, RTN_LOCAL):
        raise KernelError(EINVAL, "Nexthop has invalid gateway")
    if found.fa.dev is None:
        raise KernelError(EINVAL, "No egress device for nexthop gateway")
    _take_device(fa, found.fa.dev, found.fa.scope)
    if not found.fa.dev.flags & IFF_UP:
        raise KernelError(ENETDOWN)


def _find_gateway(net: Net, flow: Flowi4, table: int) -> FibResult:
    """In the route's own table first, unless that is main."""
    try:
        if table != RT_TABLE_MAIN:
            with suppress(KernelError):
                return fib_table_lookup(net, table, flow, ignore_linkstate=True)
        return fib_lookup(net, flow, ignore_linkstate=True)
    except KernelError as error:
        raise KernelError(error.errno or EINVAL, "Nexthop has invalid gateway") from None


def _check_onlink(net: Net, fa: FibAlias, cfg: FibConfig) -> None:
    if cfg.scope >= RT_SCOPE_LINK:
        raise KernelError(EINVAL, "Nexthop has invalid scope")
    dev = net.dev_base_head.get(cfg.oif)
    if dev is None:
        raise KernelError(ENODEV, "Nexthop device required for onlink")
    if not dev.flags & IFF_UP:
        raise KernelError(ENETDOWN, "Nexthop device is not up")
    if inet_addr_type(net, cfg.gw) != RTN_UNICAST:
        raise KernelError(EINVAL, "Nexthop has invalid gateway")
    _take_device(fa, dev, RT_SCOPE_LINK)


def _valid_prefsrc(net: Net, cfg: FibConfig) -> bool:
    """Only an address of this host may be a source, but for its route to itself.

    Kernel: net/ipv4/fib_semantics.c, fib_valid_prefsrc().
    """
    if cfg.type == RTN_LOCAL and any(cfg.dst) and cfg.dst == cfg.prefsrc:
        return True
    tables = {RT_TABLE_LOCAL if cfg.table == RT_TABLE_MAIN else cfg.table, RT_TABLE_LOCAL}
    return any(inet_addr_type(net, cfg.prefsrc, table) == RTN_LOCAL for table in tables)


def fib_nh_match(cfg: FibConfig, fa: FibAlias) -> bool:
    """Whether a route goes where a request to delete one says, as far as it says anything.

    Kernel: net/ipv4/fib_semantics.c, fib_nh_match().
    """
    if cfg.priority and cfg.priority != fa.priority:
        return False
    if cfg.oif or cfg.gw_family:
        oif = fa.dev.ifindex if fa.dev is not None else 0
        if cfg.flow and cfg.flow != fa.tclassid:
            return False
        if cfg.oif and cfg.oif != oif:
            return False
        if cfg.gw_family and cfg.gw != fa.gw:
            return False
    return fib_metrics_match(cfg.mx, fa.metrics)


# --- devices that go and come -----------------------------------------------------------------------------------------


def _routes_over(dev: NetDevice) -> list[FibAlias]:
    return [fa for aliases in dev.net.ipv4.fib.values() for fa in aliases if fa.dev is dev]


def fib_sync_down_dev(dev: NetDevice, *, force: bool = False, linkdown: bool = False) -> list[FibAlias]:
    """Mark the routes over a device that goes down, or that has lost its link; hand out those that are dead by that.

    Kernel: net/ipv4/fib_semantics.c, fib_sync_down_dev().
    """
    touched = [fa for fa in _routes_over(dev) if force or fa.nh_scope != RT_SCOPE_NOWHERE]
    for fa in touched:
        fa.nh_flags |= RTNH_F_LINKDOWN if linkdown else RTNH_F_DEAD | RTNH_F_LINKDOWN
    return [] if linkdown else touched


def fib_sync_up(dev: NetDevice, nh_flags: int) -> None:
    """Take marks off the routes over a device.

    Kernel: net/ipv4/fib_semantics.c, fib_sync_up().
    """
    if not dev.flags & IFF_UP:
        return
    if nh_flags & RTNH_F_DEAD and dev_get_flags(dev) & (IFF_RUNNING | IFF_LOWER_UP):
        nh_flags |= RTNH_F_LINKDOWN
    for fa in _routes_over(dev):
        if fa.nh_flags & nh_flags and dev.ip_ptr is not None:
            fa.nh_flags &= ~nh_flags
    rt_cache_flush(dev.net)
