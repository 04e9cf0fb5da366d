"""net/ipv6/route.c, requests: IPv6 routes that a user adds and deletes.

A route has one next hop and no source prefix.  Routes with several, next hop objects and encapsulations are not here.
"""

from dataclasses import dataclass
from errno import EACCES, EHOSTUNREACH, EINVAL, ENETDOWN, ENODEV, ENOENT, EOPNOTSUPP, ESRCH
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import in6addr_any, in6addr_loopback, ipv6_addr_is_multicast, ipv6_addr_prefix
from addrsvc.model.ifaddr import ipv6_chk_addr
from addrsvc.model.ip6_fib import fib6_has_node
from addrsvc.model.ip6_lookup import Flowi6, fib6_rule_lookup, fib6_table_lookup
from addrsvc.model.ip6_route import fib6_add, fib6_get_table, fib6_new_table, fib6_set_expires, ip6_del_rt
from addrsvc.model.metrics import Metric, ip_metrics_convert
from addrsvc.model.rtnl import ASSERT_RTNL, printk
from addrsvc.model.structs import Fib6Info, Net, NetDevice
from addrsvc.model.timer import HZ
from addrsvc.uapi import (
    IFF_LOOPBACK,
    IFF_UP,
    IP6_RT_PRIO_USER,
    NLM_F_CREATE,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTA_ENCAP,
    RTF_LOCAL,
    RTF_NONEXTHOP,
    RTF_REJECT,
    RTF_UP,
    RTM_F_CLONED,
    RTN_BLACKHOLE,
    RTN_LOCAL,
    RTN_MAX,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTNH_F_ONLINK,
    RTPROT_BOOT,
)

__all__ = ["Fib6Config", "ip6_route_add", "ip6_route_del"]

_REJECT_TYPES: Final = (RTN_UNREACHABLE, RTN_BLACKHOLE, RTN_PROHIBIT, RTN_THROW)
_PREFIX_MAX: Final = 128


@dataclass(slots=True)
class Fib6Config:
    """struct fib6_config: a route that is to be added or deleted.

    Attributes:
        expires: seconds until the route goes, None if it stays.
        mx: its metrics as the request has them.
        pref: ICMPV6_ROUTER_PREF_*.
    """

    table: int = 0
    dst: bytes = in6addr_any
    dst_len: int = 0
    src_len: int = 0
    type: int = 0
    protocol: int = 0
    flags: int = 0
    """RTM_F_* and RTNH_F_* of the request."""
    metric: int = 0
    prefsrc: bytes = in6addr_any
    ifindex: int = 0
    gateway: bytes | None = None
    mx: tuple[Metric, ...] = ()
    pref: int = 0
    expires: int | None = None
    nlflags: int = 0
    multipath: bool = False
    encap: bool = False
    encap_type: int = 0
    nh_id: int = 0


# --- adding -----------------------------------------------------------------------------------------------------------


def ip6_route_add(net: Net, cfg: Fib6Config) -> None:
    """Add a route, and its table if that is not there.

    Kernel: net/ipv6/route.c, ip6_route_add(), ip6_route_info_create().

    Raises:
        KernelError: EINVAL, no such route can be; ENODEV, ENETDOWN, EACCES, its device; EHOSTUNREACH, its gateway;
            EEXIST, ENOENT, as fib6_add(); EOPNOTSUPP, it has several next hops.
    """
    ASSERT_RTNL(net)
    if cfg.multipath:
        raise KernelError(EOPNOTSUPP, "Routes with several next hops are not modelled")
    _check(cfg)
    table = fib6_get_table(net, cfg.table)
    if table is None:
        if not cfg.nlflags & NLM_F_CREATE:
            printk(net.machine, "warning", "IPv6: NLM_F_CREATE should be specified when creating new route")
        table = fib6_new_table(net, cfg.table)
    metrics = ip_metrics_convert(cfg.mx)
    rejects = cfg.type in _REJECT_TYPES
    rt = Fib6Info(
        dst=ipv6_addr_prefix(cfg.dst, cfg.dst_len),
        dst_len=cfg.dst_len,
        table=table.id,
        dev=None,
        metric=cfg.metric or IP6_RT_PRIO_USER,
        fib6_type=cfg.type or RTN_UNICAST,
        fib6_flags=RTF_UP | RTF_REJECT * rejects | RTF_LOCAL * (cfg.type == RTN_LOCAL),
        protocol=cfg.protocol or RTPROT_BOOT,
        pref=cfg.pref,
        metrics=metrics,
    )
    if cfg.expires is not None:
        fib6_set_expires(net, rt, net.machine.timers.jiffies + cfg.expires * HZ)
    if cfg.nh_id:
        raise KernelError(EINVAL, "Nexthop id does not exist")
    rt.dev = _fib6_nh_init(net, rt, cfg)
    if rejects or (rt.dev.flags & IFF_LOOPBACK and cfg.dst != in6addr_loopback and cfg.type != RTN_LOCAL):
        rt.fib6_flags, rt.pref = RTF_REJECT | RTF_NONEXTHOP, 0
    if any(cfg.prefsrc):
        if not ipv6_chk_addr(net, cfg.prefsrc, rt.dev):
            raise KernelError(EINVAL, "Invalid source address")
        rt.prefsrc = cfg.prefsrc
    fib6_add(net, rt, cfg.nlflags)


def _check(cfg: Fib6Config) -> None:
    """Kernel: net/ipv6/route.c, fib6_config_validate()."""
    if cfg.flags & RTM_F_CLONED:
        raise KernelError(EINVAL, "Userspace can not set RTF_CACHE")
    if cfg.type > RTN_MAX:
        raise KernelError(EINVAL, "Invalid route type")
    if cfg.dst_len > _PREFIX_MAX:
        raise KernelError(EINVAL, "Invalid prefix length")
    if cfg.src_len > _PREFIX_MAX:
        raise KernelError(EINVAL, "Invalid source address length")
    if cfg.src_len:
        raise KernelError(EOPNOTSUPP, "Routes with a source prefix are not modelled")


# --- next hops --------------------------------------------------------------------------------------------------------


def _fib6_nh_init(net: Net, rt: Fib6Info, cfg: Fib6Config) -> NetDevice:
    """The device of a route, and its gateway, if that can be one.

    Kernel: net/ipv6/route.c, fib6_nh_init().
    """
    dev = net.dev_base_head.get(cfg.ifindex)
    if cfg.ifindex and (dev is None or dev.ip6_ptr is None):
        raise KernelError(ENODEV)
    if cfg.flags & RTNH_F_ONLINK:
        if dev is None:
            raise KernelError(ENODEV, "Nexthop device required for onlink")
        if not dev.flags & IFF_UP:
            raise KernelError(ENETDOWN, "Nexthop device is not up")
        rt.nh_flags |= RTNH_F_ONLINK
    if rt.fib6_flags & RTF_REJECT:
        if net.loopback_dev is None or net.loopback_dev.ip6_ptr is None:
            raise KernelError(ENODEV)
        return net.loopback_dev
    if cfg.gateway is not None:
        dev = _ip6_validate_gw(net, cfg, cfg.gateway, dev)
        rt.gateway = cfg.gateway
    if dev is None:
        raise KernelError(ENODEV)
    if dev.ip6_ptr is None or dev.ip6_ptr.cnf["disable_ipv6"]:
        raise KernelError(EACCES, "IPv6 is disabled on nexthop device")
    if not dev.flags & IFF_UP:
        raise KernelError(ENETDOWN, "Nexthop device is not up")
    if cfg.encap and not cfg.encap_type:
        raise KernelError(EINVAL, "Unknown LWT encapsulation type", attr=RTA_ENCAP)
    if cfg.encap:
        raise KernelError(EOPNOTSUPP, "Encapsulations are not modelled")
    return dev


def _ip6_validate_gw(net: Net, cfg: Fib6Config, gw: bytes, dev: NetDevice | None) -> NetDevice:
    """The device behind which a gateway is.

    Kernel: net/ipv6/route.c, ip6_validate_gw().
    """
    linklocal = gw[0] == 0xFE and gw[1] & 0xC0 == 0x80
    if dev is not None:
        _check_not_ours(net, gw, dev, linklocal=linklocal)
    found = dev
    if not linklocal:
        if gw == in6addr_any or ipv6_addr_is_multicast(gw):
            raise KernelError(EINVAL, "Invalid gateway address")
        if cfg.flags & RTNH_F_ONLINK:
            _check_nh_onlink(net, cfg, gw, dev)
        else:
            found = _check_nh(net, cfg, gw, dev)
    if found is None:
        raise KernelError(EINVAL, "Egress device not specified")
    if found.flags & IFF_LOOPBACK:
        raise KernelError(EINVAL, "Egress device can not be loopback device for this route")
    if dev is None:
        _check_not_ours(net, gw, found, linklocal=linklocal)
    return found


def _check_not_ours(net: Net, gw: bytes, dev: NetDevice, *, linklocal: bool) -> None:
    if ipv6_chk_addr(net, gw, dev if linklocal else None, tentative=True):
        raise KernelError(EINVAL, "Gateway can not be a local address")


def _lookup_table(net: Net, cfg: Fib6Config, gw: bytes, table: int, *, strict: bool) -> Fib6Info | None:
    """Kernel: net/ipv6/route.c, ip6_nh_lookup_table()."""
    found = fib6_get_table(net, table)
    if found is None:
        return None
    return fib6_table_lookup(net, found, cfg.ifindex, gw, strict=strict, ignore_linkstate=True)


def _check_nh_onlink(net: Net, cfg: Fib6Config, gw: bytes, dev: NetDevice | None) -> None:
    """Kernel: net/ipv6/route.c, ip6_route_check_nh_onlink()."""
    rt = _lookup_table(net, cfg, gw, RT_TABLE_MAIN, strict=False)
    if rt is None or rt.fib6_flags & RTF_REJECT or rt.dst == in6addr_any:
        return
    if rt.fib6_type != RTN_UNICAST or rt.dev is not dev:
        raise KernelError(EINVAL, "Nexthop has invalid gateway or device mismatch")


def _check_nh(net: Net, cfg: Fib6Config, gw: bytes, dev: NetDevice | None) -> NetDevice | None:
    """Kernel: net/ipv6/route.c, ip6_route_check_nh()."""
    rt = _lookup_table(net, cfg, gw, cfg.table, strict=True) if cfg.table else None
    if rt is None or rt.fib6_flags & RTF_REJECT or rt.gateway or dev not in (None, rt.dev):
        rt = _lookup(net, cfg, gw)
    if rt is None or rt.fib6_flags & RTF_REJECT or rt.gateway or dev not in (None, rt.dev):
        raise KernelError(EHOSTUNREACH)
    return rt.dev


def _lookup(net: Net, cfg: Fib6Config, gw: bytes) -> Fib6Info | None:
    """Kernel: net/ipv6/fib6_rules.c, fib6_lookup()."""
    if net.ipv6.fib6_has_custom_rules:
        return fib6_rule_lookup(net, Flowi6(daddr=gw, oif=cfg.ifindex), cfg.ifindex, strict=True).rt
    tables = [net.ipv6.fib6_tables[table] for table in (RT_TABLE_LOCAL, RT_TABLE_MAIN)]
    found = (fib6_table_lookup(net, table, cfg.ifindex, gw, strict=True) for table in tables)
    return next((rt for rt in found if rt is not None), None)


# --- deleting ---------------------------------------------------------------------------------------------------------


def ip6_route_del(net: Net, cfg: Fib6Config) -> None:
    """Delete the first route that is as the request says, as far as it says anything; its type does not matter.

    Nor does its source prefix, as long as no route to the prefix has one.

    Kernel: net/ipv6/route.c, inet6_rtm_delroute(), ip6_route_del().

    Raises:
        KernelError: ESRCH, there is none; ENOENT, only the null entry is.
    """
    ASSERT_RTNL(net)
    if cfg.nh_id:
        raise KernelError(EINVAL, "Nexthop id does not exist")
    if cfg.multipath:
        raise KernelError(EOPNOTSUPP, "Routes with several next hops are not modelled")
    table = fib6_get_table(net, cfg.table)
    if table is None:
        raise KernelError(ESRCH, "FIB table does not exist")
    prefix = ipv6_addr_prefix(cfg.dst, cfg.dst_len) if cfg.dst_len <= _PREFIX_MAX else b""
    routes = table.routes.get((prefix, cfg.dst_len), ())
    if cfg.flags & RTM_F_CLONED:
        # No route has exceptions to delete; it is enough that there is one near by.
        if not routes and cfg.dst_len and fib6_has_node(table, prefix, cfg.dst_len):
            raise KernelError(ESRCH)
        return
    null_entry = net.ipv6.fib6_null_entry
    if not routes and not cfg.dst_len and null_entry is not None and _is_meant(cfg, null_entry):
        raise KernelError(ENOENT)
    rt = next((rt for rt in routes if _is_meant(cfg, rt)), None)
    if rt is None:
        raise KernelError(ESRCH)
    ip6_del_rt(net, rt, asked=True)


def _is_meant(cfg: Fib6Config, rt: Fib6Info) -> bool:
    return (
        cfg.metric in (0, rt.metric)
        and cfg.protocol in (0, rt.protocol)
        and (not cfg.ifindex or (rt.dev is not None and rt.dev.ifindex == cfg.ifindex))
        and (cfg.gateway is None or cfg.gateway == (rt.gateway or in6addr_any))
    )
