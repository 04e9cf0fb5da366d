"""RTM_NEWROUTE and RTM_DELROUTE as bytes: net/ipv4/fib_frontend.c, net/ipv6/route.c."""

from collections.abc import Callable, Mapping
from errno import EINVAL, EOPNOTSUPP
from sys import byteorder
from typing import Final

from addrsvc.af_netlink.request import Handler, Request
from addrsvc.af_netlink.rtmsg import IPV4_POLICY, IPV6_POLICY, RTMSG_SIZE, Rtmsg
from addrsvc.errors import KernelError
from addrsvc.model.fib_frontend import inet_rtm_delroute, inet_rtm_newroute
from addrsvc.model.fib_trie import FibConfig
from addrsvc.model.ip6_newroute import Fib6Config, ip6_route_add, ip6_route_del
from addrsvc.model.metrics import Metric
from addrsvc.netlink.nlattr import NL_VALIDATE_LIBERAL, nla_for_each_attr, nlmsg_parse
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ICMPV6_ROUTER_PREF_HIGH,
    ICMPV6_ROUTER_PREF_LOW,
    ICMPV6_ROUTER_PREF_MEDIUM,
    INFINITY_LIFE_TIME,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_ENCAP,
    RTA_ENCAP_TYPE,
    RTA_EXPIRES,
    RTA_FLOW,
    RTA_FLOWLABEL,
    RTA_GATEWAY,
    RTA_MAX,
    RTA_METRICS,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PREF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_SRC,
    RTA_TABLE,
    RTA_VIA,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTN_MAX,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_ECN_BITS: Final = 3
_VIA_FAMILY: Final = 2
_LWTUNNEL_ENCAP_MAX: Final = 10
_ENCAPSULATIONS: Final = (2, 4, 5, 6, 7)
"""LWTUNNEL_ENCAP_* that the running kernel has: IP, IP6, SEG6, BPF, SEG6_LOCAL."""


def _number(payload: bytes) -> int:
    return int.from_bytes(payload[:4], byteorder)


def _metrics(payload: bytes) -> tuple[Metric, ...]:
    found = nla_for_each_attr(payload, 0, len(payload))
    return tuple(Metric(kind, payload[at : at + length]) for kind, at, length in found)


def lwtunnel_valid_encap_type(encap_type: int) -> None:
    """Refuse an encapsulation that there is not.

    Kernel: net/core/lwtunnel.c, lwtunnel_valid_encap_type().

    Raises:
        KernelError: EINVAL, none has this number; EOPNOTSUPP, the running kernel does not have it.
    """
    if not 0 < encap_type <= _LWTUNNEL_ENCAP_MAX:
        raise KernelError(EINVAL, "Unknown lwt encapsulation type")
    if encap_type not in _ENCAPSULATIONS:
        raise KernelError(EOPNOTSUPP, "lwt encapsulation type not supported")


# --- IPv4 -------------------------------------------------------------------------------------------------------------


def _gateway(cfg: FibConfig, payload: bytes) -> None:
    cfg.gw = payload[:4]
    if any(cfg.gw):
        cfg.gw_family = AF_INET


def _via(cfg: FibConfig, payload: bytes) -> None:
    """Kernel: net/ipv4/fib_semantics.c, fib_gw_from_via()."""
    if len(payload) < _VIA_FAMILY:
        raise KernelError(EINVAL, "Invalid attribute length for RTA_VIA")
    family, gw = int.from_bytes(payload[:_VIA_FAMILY], byteorder), payload[_VIA_FAMILY:]
    if family not in (AF_INET, AF_INET6):
        raise KernelError(EINVAL, "Unsupported address family in RTA_VIA")
    if len(gw) != (4 if family == AF_INET else 16):
        raise KernelError(EINVAL, f"Invalid IPv{4 if family == AF_INET else 6} address in RTA_VIA")
    cfg.gw_family, cfg.gw = family, gw


def _encap_type(cfg: FibConfig, payload: bytes) -> None:
    cfg.encap_type = int.from_bytes(payload[:2], byteorder)
    lwtunnel_valid_encap_type(cfg.encap_type)


def _set(name: str, read: Callable[[bytes], object]) -> Callable[[FibConfig, bytes], None]:
    return lambda cfg, payload: setattr(cfg, name, read(payload))


def _address(payload: bytes) -> bytes:
    return payload[:4]


def _present(_: bytes) -> bool:
    return True


_READ: Final[Mapping[int, Callable[[FibConfig, bytes], None]]] = {
    RTA_DST: _set("dst", _address),
    RTA_OIF: _set("oif", _number),
    RTA_GATEWAY: _gateway,
    RTA_VIA: _via,
    RTA_PRIORITY: _set("priority", _number),
    RTA_PREFSRC: _set("prefsrc", _address),
    RTA_METRICS: _set("mx", _metrics),
    RTA_MULTIPATH: _set("multipath", _present),
    RTA_FLOW: _set("flow", _number),
    RTA_TABLE: _set("table", _number),
    RTA_ENCAP: _set("encap", _present),
    RTA_ENCAP_TYPE: _encap_type,
    RTA_NH_ID: _set("nh_id", _number),
}


def _rtm_to_fib_config(request: Request) -> FibConfig:
    """Kernel: net/ipv4/fib_frontend.c, rtm_to_fib_config()."""
    rtm = Rtmsg.of(request)
    request.tb = nlmsg_parse(request.data, RTMSG_SIZE, RTA_MAX, IPV4_POLICY, NL_VALIDATE_LIBERAL, request.extack)
    if rtm.tos & _ECN_BITS:
        raise KernelError(EINVAL, "Invalid dsfield (tos): ECN bits must be 0")
    if rtm.type > RTN_MAX:
        raise KernelError(EINVAL, "Invalid route type")
    cfg = FibConfig(
        table=rtm.table,
        dst=bytes(4),
        dst_len=rtm.dst_len,
        type=rtm.type,
        scope=rtm.scope,
        protocol=rtm.protocol,
        tos=rtm.tos,
        flags=rtm.flags,
        nlflags=request.flags,
    )
    for attr, at, length in nla_for_each_attr(request.data, _HDRLEN + RTMSG_SIZE, len(request.data)):
        if attr in _READ:
            _READ[attr](cfg, request.data[at : at + length])
    _check_config(cfg, has_both=RTA_GATEWAY in request.tb and RTA_VIA in request.tb)
    cfg.table = cfg.table or RT_TABLE_MAIN
    return cfg


def _check_config(cfg: FibConfig, *, has_both: bool) -> None:
    if cfg.dst_len > 32:
        raise KernelError(EINVAL, "Invalid prefix length")
    if int.from_bytes(cfg.dst) << cfg.dst_len & 0xFFFFFFFF:
        raise KernelError(EINVAL, "Invalid prefix for given prefix length")
    if cfg.nh_id and (cfg.oif or cfg.gw_family or cfg.encap or cfg.multipath):
        raise KernelError(EINVAL, "Nexthop specification and nexthop id are mutually exclusive")
    if has_both:
        raise KernelError(EINVAL, "Nexthop configuration can not contain both GATEWAY and VIA")


def _inet_newroute(request: Request) -> None:
    """Kernel: net/ipv4/fib_frontend.c, inet_rtm_newroute()."""
    cfg = _rtm_to_fib_config(request)
    _served(request, lambda: inet_rtm_newroute(request.net, cfg))


def _inet_delroute(request: Request) -> None:
    """Kernel: net/ipv4/fib_frontend.c, inet_rtm_delroute()."""
    inet_rtm_delroute(request.net, _rtm_to_fib_config(request))


def _served(request: Request, change: Callable[[], None]) -> None:
    """Add a route; a metric that is refused is pointed at."""
    try:
        change()
    except KernelError as refusal:
        _blame_metric(request, refusal)
        raise


def _blame_metric(request: Request, refusal: KernelError) -> None:
    """Point at the first metric of its type that is no number, since that is the one which was refused."""
    if not isinstance(refusal.attr, tuple) or refusal.attr[0] != RTA_METRICS:
        return
    at, length = request.tb[RTA_METRICS]
    for kind, payload, size in nla_for_each_attr(request.data, at, at + length):
        if kind == refusal.attr[1] and size != 4:
            request.extack.bad_attr, refusal.attr = payload - 4, None
            return


# --- IPv6 -------------------------------------------------------------------------------------------------------------


def _rtm_to_fib6_config(request: Request) -> Fib6Config:
    """Kernel: net/ipv6/route.c, rtm_to_fib6_config()."""
    request.tb = tb = nlmsg_parse(request.data, RTMSG_SIZE, RTA_MAX, IPV6_POLICY, NL_VALIDATE_LIBERAL, request.extack)
    rtm = Rtmsg.of(request)
    if rtm.tos:
        raise KernelError(EINVAL, "Invalid dsfield (tos): option not available for IPv6")
    if RTA_FLOWLABEL in tb:
        raise KernelError(EINVAL, "Flow label cannot be specified for this operation", attr=RTA_FLOWLABEL)
    if RTA_NH_ID in tb and tb.keys() & {RTA_GATEWAY, RTA_OIF, RTA_MULTIPATH, RTA_ENCAP}:
        raise KernelError(EINVAL, "Nexthop specification and nexthop id are mutually exclusive")
    if RTA_VIA in tb:
        raise KernelError(EINVAL, "IPv6 does not support RTA_VIA attribute")
    dst = _prefix(request, RTA_DST, rtm.dst_len)
    _prefix(request, RTA_SRC, rtm.src_len)
    table = request.number(RTA_TABLE)
    encap_type = request.number(RTA_ENCAP_TYPE, 2)
    if encap_type is not None:
        lwtunnel_valid_encap_type(encap_type)
    return Fib6Config(
        table=rtm.table if table is None else table,
        dst=dst,
        dst_len=rtm.dst_len,
        src_len=rtm.src_len,
        type=rtm.type,
        protocol=rtm.protocol,
        flags=rtm.flags,
        metric=request.number(RTA_PRIORITY) or 0,
        prefsrc=_address6(request, RTA_PREFSRC) or bytes(16),
        ifindex=request.number(RTA_OIF) or 0,
        gateway=_address6(request, RTA_GATEWAY),
        mx=_metrics(request.payload(RTA_METRICS) or b""),
        pref=_pref(request),
        expires=_expires(request),
        nlflags=request.flags,
        multipath=RTA_MULTIPATH in tb,
        encap=RTA_ENCAP in tb,
        encap_type=encap_type or 0,
        nh_id=request.number(RTA_NH_ID) or 0,
    )


def _prefix(request: Request, attr: int, plen: int) -> bytes:
    """As much of an address as the length of its prefix tells."""
    payload, length = request.payload(attr), plen + 7 >> 3
    if payload is None:
        return bytes(16)
    if len(payload) < length:
        raise KernelError(EINVAL)
    return payload[:length].ljust(16, b"\0")


def _address6(request: Request, attr: int) -> bytes | None:
    payload = request.payload(attr)
    return None if payload is None else payload[:16]


def _pref(request: Request) -> int:
    pref = request.number(RTA_PREF, 1)
    return pref if pref in (ICMPV6_ROUTER_PREF_LOW, ICMPV6_ROUTER_PREF_HIGH) else ICMPV6_ROUTER_PREF_MEDIUM


def _expires(request: Request) -> int | None:
    seconds = request.number(RTA_EXPIRES)
    return None if seconds == INFINITY_LIFE_TIME else seconds


def _inet6_newroute(request: Request) -> None:
    """Kernel: net/ipv6/route.c, inet6_rtm_newroute()."""
    cfg = _rtm_to_fib6_config(request)
    _served(request, lambda: ip6_route_add(request.net, cfg))


def _inet6_delroute(request: Request) -> None:
    """Kernel: net/ipv6/route.c, inet6_rtm_delroute()."""
    ip6_route_del(request.net, _rtm_to_fib6_config(request))


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWROUTE, AF_INET): Handler(_inet_newroute),
    (RTM_DELROUTE, AF_INET): Handler(_inet_delroute),
    (RTM_NEWROUTE, AF_INET6): Handler(_inet6_newroute),
    (RTM_DELROUTE, AF_INET6): Handler(_inet6_delroute),
}
