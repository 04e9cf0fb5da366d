"""RTM_*ROUTE as bytes: net/ipv4/fib_frontend.c, net/ipv4/route.c, net/ipv6/route.c and the multicast routers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from errno import EINVAL, ENODEV, ENOENT, EOPNOTSUPP
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import Dump, Handler, Request, resumable
from addrsvc.af_netlink.rtmsg import IPV4_POLICY, IPV6_POLICY, RTMSG_SIZE, Rtmsg
from addrsvc.errors import KernelError
from addrsvc.model.fib_trie import fib_dump_info, fib_get_table, fib_table_dump, fib_tables
from addrsvc.model.ip6_lookup import Flowi6, Route6Query
from addrsvc.model.ip6_lookup import inet6_rtm_getroute as model_inet6_rtm_getroute
from addrsvc.model.ip6_route import fib6_get_table, fib6_table_routes, fib6_walk_tables, rt6_fill_node
from addrsvc.model.ip_route import INVALID_UID, RouteQuery
from addrsvc.model.ip_route import inet_rtm_getroute as model_inet_rtm_getroute
from addrsvc.model.structs import Fib6Info, FibAlias, NetDevice
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NL_VALIDATE_STRICT,
    NLA_U32,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    NLM_F_DUMP_FILTERED,
    RT_TABLE_DEFAULT,
    RT_TABLE_MAIN,
    RTA_DPORT,
    RTA_DST,
    RTA_FLOWLABEL,
    RTA_IIF,
    RTA_IP_PROTO,
    RTA_MARK,
    RTA_MAX,
    RTA_OIF,
    RTA_SPORT,
    RTA_SRC,
    RTA_TABLE,
    RTA_UID,
    RTM_F_CLONED,
    RTM_F_FIB_MATCH,
    RTM_F_LOOKUP_TABLE,
    RTM_F_NOTIFY,
    RTM_F_PREFIX,
    RTM_GETROUTE,
    RTNL_FAMILY_IP6MR,
    RTNL_FAMILY_IPMR,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_RTMSG: Final = Struct("=BBBBBBBBI")
_RTNEXTHOP_SIZE: Final = 8
_FLOWLABEL_MASK: Final = 0x000FFFFF
_IPPROTO_ICMP, _IPPROTO_TCP, _IPPROTO_UDP, _IPPROTO_ICMPV6 = 1, 6, 17, 58


# --- dumps ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Filter:
    """struct fib_dump_filter: which routes a dump is about."""

    flags: int = 0
    table: int = 0
    protocol: int = 0
    rt_type: int = 0
    dev: NetDevice | None = None
    routes: bool = True
    exceptions: bool = True
    filter_set: bool = False

    @property
    def told(self) -> int:
        """The flag of messages that are not all there are."""
        return NLM_F_DUMP_FILTERED * (self.filter_set or not self.routes or not self.exceptions)

    def takes(self, kind: int, protocol: int, dev: NetDevice | None) -> bool:
        """Whether a route is among those."""
        return self.rt_type in (0, kind) and self.protocol in (0, protocol) and (self.dev is None or self.dev is dev)


def _ip_valid_fib_dump_req(dump: Dump) -> _Filter:
    """Kernel: net/ipv4/fib_frontend.c, ip_valid_fib_dump_req()."""
    rtm = Rtmsg.of(dump, "Invalid header for FIB dump request")
    if rtm.dst_len or rtm.src_len or rtm.tos or rtm.scope:
        raise KernelError(EINVAL, "Invalid values in header for FIB dump request")
    if rtm.flags & ~(RTM_F_CLONED | RTM_F_PREFIX):
        raise KernelError(EINVAL, "Invalid flags for FIB dump request")
    cloned = bool(rtm.flags & RTM_F_CLONED)
    wanted = _Filter(rtm.flags, rtm.table, rtm.protocol, rtm.type, routes=not cloned, exceptions=cloned)
    dump.tb = nlmsg_parse(dump.data, RTMSG_SIZE, RTA_MAX, IPV4_POLICY, NL_VALIDATE_DEPRECATED_STRICT, dump.extack)
    for attr in sorted(dump.tb):
        if attr == RTA_TABLE:
            wanted.table = dump.number(RTA_TABLE) or 0
        elif attr == RTA_OIF:
            wanted.dev = dump.net.dev_base_head.get(dump.number(RTA_OIF, signed=True) or 0)
            if wanted.dev is None:
                raise KernelError(ENODEV)
        else:
            raise KernelError(EINVAL, "Unsupported attribute in dump request")
    if wanted.flags or wanted.protocol or wanted.rt_type or wanted.table or wanted.dev:
        wanted.filter_set, dump.answer_flags = True, NLM_F_DUMP_FILTERED
    return wanted


def _filter_of(dump: Dump, honoured: int) -> _Filter:
    """What is asked for: everything, but for flags, unless the socket checks strictly."""
    if dump.strict:
        return _ip_valid_fib_dump_req(dump)
    if len(dump.data) < _HDRLEN + RTMSG_SIZE:
        return _Filter()
    return _Filter(flags=Rtmsg.of(dump, "").flags & honoured)


def _inet_dump_fib(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv4/fib_frontend.c, inet_dump_fib(); net/ipv4/fib_trie.c, fn_trie_dump_leaf()."""
    wanted = _filter_of(dump, RTM_F_PREFIX | RTM_F_CLONED)
    if wanted.flags & RTM_F_PREFIX or not wanted.routes:
        if wanted.table and not wanted.flags & RTM_F_PREFIX:
            _check_table(dump, AF_INET, fib_get_table(dump.net, wanted.table) is not None)
        return
    tables = [wanted.table] if wanted.table else fib_tables(dump.net)
    if wanted.table and not _check_table(dump, AF_INET, fib_get_table(dump.net, wanted.table) is not None):
        return

    def routes() -> list[FibAlias]:
        found = (fa for table in tables for fa in fib_table_dump(dump.net, table))
        return [fa for fa in found if not wanted.filter_set or wanted.takes(fa.type, fa.protocol, fa.dev)]

    for fa in resumable(dump, routes):
        yield dump.message(fib_dump_info(fa), wanted.told)


def _check_table(dump: Dump, family: int, there: bool) -> bool:  # noqa: FBT001
    """Whether a table is there; one that is not is an error to who asks for this family only."""
    if not there and dump.data[_HDRLEN] == family:
        prefix = "ipv4" if family == AF_INET else "ipv6"
        raise KernelError(ENOENT, f"{prefix}: FIB table does not exist")
    return there


def _inet6_dump_fib(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv6/ip6_fib.c, inet6_dump_fib(); net/ipv6/route.c, rt6_dump_route()."""
    wanted = _filter_of(dump, RTM_F_PREFIX)
    tables = fib6_walk_tables(dump.net)
    if wanted.table:
        table = fib6_get_table(dump.net, wanted.table)
        if not _check_table(dump, AF_INET6, table is not None):
            return
        tables = [table] if table is not None else []

    def routes() -> list[Fib6Info]:
        if not wanted.routes or wanted.flags & RTM_F_PREFIX:
            return []
        found = (rt for table in tables for rt in fib6_table_routes(table))
        return [rt for rt in found if not wanted.filter_set or wanted.takes(rt.fib6_type, rt.protocol, rt.dev)]

    for rt in resumable(dump, routes):
        yield dump.message(rt6_fill_node(rt), wanted.told)


# --- single look-ups --------------------------------------------------------------------------------------------------


def _parse(request: Request, policy: Policies) -> None:
    validate = NL_VALIDATE_DEPRECATED_STRICT if request.strict else NL_VALIDATE_LIBERAL
    request.tb = nlmsg_parse(request.data, RTMSG_SIZE, RTA_MAX, policy, validate, request.extack)


def _check_lengths(rtm: Rtmsg, bits: int, refusal: str) -> None:
    if rtm.src_len not in (0, bits) or rtm.dst_len not in (0, bits):
        raise KernelError(EINVAL, refusal)


def _check_attributes(request: Request, rtm: Rtmsg, allowed: frozenset[int], prefix: str, bits: int, of: str) -> None:
    """What strict checks want of the attributes of a look-up."""
    if (RTA_SRC in request.tb and not rtm.src_len) or (RTA_DST in request.tb and not rtm.dst_len):
        family = "IPv4" if bits == 32 else "IPv6"
        raise KernelError(EINVAL, f"{prefix}: rtm_src_len and rtm_dst_len must be {bits} for {family}")
    if RTA_FLOWLABEL in allowed and _flowlabel(request) & ~_FLOWLABEL_MASK:
        raise KernelError(EINVAL, "Invalid flow label", attr=RTA_FLOWLABEL)
    if request.tb.keys() - allowed:
        raise KernelError(EINVAL, f"{prefix}: Unsupported attribute in {of} request")


def _ip_proto(request: Request, family: int) -> int | None:
    """Kernel: net/ipv4/netlink.c, rtm_getroute_parse_ip_proto()."""
    proto = request.number(RTA_IP_PROTO, 1)
    icmp = _IPPROTO_ICMP if family == AF_INET else _IPPROTO_ICMPV6
    if proto not in (None, _IPPROTO_TCP, _IPPROTO_UDP, icmp):
        raise KernelError(EOPNOTSUPP, "Unsupported ip proto")
    return proto


def _port(request: Request, attr: int) -> int:
    payload = request.payload(attr)
    return int.from_bytes(payload[:2]) if payload is not None else 0


_FLOW_ATTRS: Final = frozenset(
    (RTA_IIF, RTA_OIF, RTA_SRC, RTA_DST, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT, RTA_MARK, RTA_UID)
)
_FLOW6_ATTRS: Final = _FLOW_ATTRS | {RTA_FLOWLABEL}


def _inet_rtm_getroute(request: Request) -> None:
    """Kernel: net/ipv4/route.c, inet_rtm_getroute(), inet_rtm_valid_getroute_req()."""
    rtm = Rtmsg.of(request, "ipv4: Invalid header for route get request")
    if request.strict:
        refusal = "ipv4: Invalid values in header for route get request"
        _check_lengths(rtm, 32, refusal)
        if rtm.table or rtm.protocol or rtm.scope or rtm.type:
            raise KernelError(EINVAL, refusal)
        if rtm.flags & ~(RTM_F_NOTIFY | RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH):
            raise KernelError(EINVAL, "ipv4: Unsupported rtm_flags for route get request")
    _parse(request, IPV4_POLICY)
    if request.strict:
        _check_attributes(request, rtm, _FLOW_ATTRS, "ipv4", 32, "route get")
    proto = _ip_proto(request, AF_INET)
    iif, uid = request.number(RTA_IIF) or 0, request.number(RTA_UID)
    query = RouteQuery(
        flags=rtm.flags,
        tos=rtm.tos,
        dst=(request.payload(RTA_DST) or bytes(4))[:4],
        src=(request.payload(RTA_SRC) or bytes(4))[:4],
        iif=iif,
        oif=request.number(RTA_OIF) or 0,
        mark=request.number(RTA_MARK) or 0,
        uid=uid if uid is not None else _uid(request, iif),
        proto=_IPPROTO_UDP if proto is None else proto,
        sport=_port(request, RTA_SPORT),
        dport=_port(request, RTA_DPORT),
    )
    request.answer(model_inet_rtm_getroute(request.net, query))


def _uid(request: Request, iif: int) -> int:
    """Who asks, if nobody else is named; of a packet that comes in nobody is the user."""
    return INVALID_UID if iif else request.sock.uid


def _inet6_rtm_getroute(request: Request) -> None:
    """Kernel: net/ipv6/route.c, inet6_rtm_getroute(), inet6_rtm_valid_getroute_req()."""
    rtm = Rtmsg.of(request, "ipv6: Invalid header for get route request")
    if request.strict:
        refusal = "ipv6: Invalid values in header for get route request"
        _check_lengths(rtm, 128, refusal)
        if rtm.table or rtm.protocol or rtm.scope or rtm.type:
            raise KernelError(EINVAL, refusal)
        if rtm.flags & ~RTM_F_FIB_MATCH:
            raise KernelError(EINVAL, "ipv6: Invalid flags for get route request")
    _parse(request, IPV6_POLICY)
    if request.strict:
        _check_attributes(request, rtm, _FLOW6_ATTRS, "ipv6", 128, "get route")
    iif, uid = request.number(RTA_IIF) or 0, request.number(RTA_UID)
    flow = Flowi6(
        daddr=_address(request, RTA_DST),
        saddr=_address(request, RTA_SRC),
        oif=request.number(RTA_OIF) or 0,
        iif=iif,
        mark=request.number(RTA_MARK) or 0,
        uid=uid if uid is not None else _uid(request, iif),
        proto=_ip_proto(request, AF_INET6) or 0,
        sport=_port(request, RTA_SPORT),
        dport=_port(request, RTA_DPORT),
        tclass=rtm.tos,
        flowlabel=_flowlabel(request) & _FLOWLABEL_MASK,
    )
    query = Route6Query(fibmatch=bool(rtm.flags & RTM_F_FIB_MATCH), flow=flow)
    request.answer(model_inet6_rtm_getroute(request.net, query))


def _flowlabel(request: Request) -> int:
    return int.from_bytes((request.payload(RTA_FLOWLABEL) or b"")[:4])


def _address(request: Request, attr: int) -> bytes:
    payload = request.payload(attr)
    if payload is None:
        return bytes(16)
    if len(payload) < 16:
        raise KernelError(EINVAL)
    return payload[:16]


# --- the multicast routers, which have no routes ----------------------------------------------------------------------

# Kernel: net/ipv6/ip6mr.c, ip6mr_getroute_policy.
_IP6MR_POLICY: Final[Policies] = {
    RTA_SRC: NlaPolicy.exact_len(16),
    RTA_DST: NlaPolicy.exact_len(16),
    RTA_TABLE: NlaPolicy(NLA_U32),
}
_MR_ATTRS: Final = frozenset((RTA_SRC, RTA_DST, RTA_TABLE))


def _check_mr_header(rtm: Rtmsg, bits: int, prefix: str) -> None:
    refusal = f"{prefix}: Invalid values in header for multicast route get request"
    _check_lengths(rtm, bits, refusal)
    if rtm.tos or rtm.table or rtm.protocol or rtm.scope or rtm.type or rtm.flags:
        raise KernelError(EINVAL, refusal)


def _ipmr_rtm_getroute(request: Request) -> None:
    """Kernel: net/ipv4/ipmr.c, ipmr_rtm_getroute(), ipmr_rtm_valid_getroute_req()."""
    rtm = Rtmsg.of(request, "ipv4: Invalid header for multicast route get request")
    if request.strict:
        _check_mr_header(rtm, 32, "ipv4")
    _parse(request, IPV4_POLICY)
    if request.strict:
        _check_attributes(request, rtm, _MR_ATTRS, "ipv4", 32, "multicast route get")
    raise KernelError(ENOENT)


def _ip6mr_rtm_getroute(request: Request) -> None:
    """Kernel: net/ipv6/ip6mr.c, ip6mr_rtm_getroute(), ip6mr_rtm_valid_getroute_req()."""
    request.tb = nlmsg_parse(request.data, RTMSG_SIZE, RTA_MAX, _IP6MR_POLICY, NL_VALIDATE_STRICT, request.extack)
    rtm = Rtmsg.of(request, "Invalid header length")
    _check_mr_header(rtm, 128, "ipv6")
    _check_attributes(request, rtm, _MR_ATTRS, "ipv6", 128, "multicast route get")
    if request.number(RTA_TABLE) != RT_TABLE_MAIN:
        raise KernelError(ENOENT, "ipv6: MR table does not exist")
    raise KernelError(ENOENT, "ipv6: MR cache entry not found")


def _mr_dumproute(family: int) -> Callable[[Dump], Iterator[bytes]]:
    prefix, table = ("ipv4", RT_TABLE_DEFAULT) if family == RTNL_FAMILY_IPMR else ("ipv6", RT_TABLE_MAIN)

    def dumpit(dump: Dump) -> Iterator[bytes]:
        """Kernel: net/ipv4/ipmr.c, ipmr_rtm_dumproute(); net/ipv6/ip6mr.c likewise."""
        wanted = _ip_valid_fib_dump_req(dump) if dump.strict else _Filter()
        if wanted.table not in (0, table) and dump.data[_HDRLEN] == family:
            raise KernelError(ENOENT, f"{prefix}: MR table does not exist")
        yield from ()

    return dumpit


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETROUTE, AF_INET): Handler(_inet_rtm_getroute, _inet_dump_fib, split_done=True),
    (RTM_GETROUTE, AF_INET6): Handler(_inet6_rtm_getroute, _inet6_dump_fib, split_done=True),
    (RTM_GETROUTE, RTNL_FAMILY_IPMR): Handler(_ipmr_rtm_getroute, _mr_dumproute(RTNL_FAMILY_IPMR)),
    (RTM_GETROUTE, RTNL_FAMILY_IP6MR): Handler(_ip6mr_rtm_getroute, _mr_dumproute(RTNL_FAMILY_IP6MR)),
}
