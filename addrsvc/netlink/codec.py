"""rtnetlink messages as bytes: where on the wire each field of a value lies, one table for both directions.

A table is in the kernel's order of sending, so that what a kernel said comes out again as it was; what a table does
not know is in the value's `unknown`.  Nothing is judged here: whether a request makes sense is seen elsewhere.
"""

import struct
from collections.abc import Callable, Mapping
from operator import attrgetter
from struct import Struct
from typing import Any, Final

from addrsvc.errors import CodecError
from addrsvc.netlink.attributes import (
    BYTES,
    METRICS,
    NAME,
    PLAIN,
    S32,
    S32S,
    U8,
    U16,
    U32,
    U32S,
    U64,
    U64S,
    Names,
    Nest,
    Numbers,
    Row,
    Settings,
    Table,
    Text,
)
from addrsvc.netlink.messages import (
    AddrMsg,
    AfSpec,
    IfaCacheinfo,
    IflaCacheinfo,
    Inet6LinkInfo,
    InetLinkInfo,
    LinkInfo,
    LinkMsg,
    Message,
    NdaCacheinfo,
    NdtConfig,
    NeighMsg,
    NeighParms,
    NeightblMsg,
    NetconfMsg,
    NsidMsg,
    RouteMsg,
    RtaCacheinfo,
    RuleMsg,
    StatsMsg,
    Sysctl,
    TcaMsg,
    TcMsg,
    WireMessage,
    Xdp,
)
from addrsvc.netlink.nlattr import NLA_F_NESTED, NLMSG_HDRLEN
from addrsvc.uapi import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    IFA_ADDRESS,
    IFA_CACHEINFO,
    IFA_FLAGS,
    IFA_PROTO,
    NLM_F_REQUEST,
    RTM_F_CLONED,
    Rtm,
)

__all__ = ["LAYOUTS", "Layout", "decode", "encode", "inet6_ifaddr_pack", "knows", "nlmsg_put"]

_NLMSGHDR: Final = Struct("=IHHII")
_NLATTR: Final = Struct("=HH")


class Layout:
    """A message on the wire: its header, and its attributes.

    Attributes:
        header: the members of the header, in order, with their struct codes.
        instead: a header member, a bit, and the layout to take where the member has it.
    """

    __slots__ = (
        "_header", "_header_size", "_members", "_names", "_table", "family", "header", "instead", "make", "value",
    )  # fmt: skip

    def __init__(
        self,
        value: type[WireMessage],
        header: str,
        *rows: Row,
        make: Callable[..., WireMessage] | None = None,
        instead: "tuple[str, int, Layout] | None" = None,
    ) -> None:
        """`header` names its members, each behind its struct code, the family first; a code without a name is padding.

        Padding at the end is not needed in what is read.
        """
        members = [tuple(member.split(":")) for member in header.split()]
        self.header = {name: code for code, *names in members for name in names}
        self._names = tuple(self.header)
        self._header = Struct("=" + "".join(member[0] for member in members))
        self._header_size = struct.calcsize("=" + "".join(code for code, *name in members if name))
        self._members = attrgetter("nlmsg_type", "nlmsg_flags", *self._names)
        self._table = Table(rows)
        self.make: Callable[..., WireMessage] = make or value
        self.family = attrgetter(self._names[0])
        self.value = value
        self.instead = instead

    @property
    def rows(self) -> tuple[Row, ...]:
        """The attributes, in the kernel's order of sending."""
        return self._table.rows

    def encode(self, msg: WireMessage, seq: int, pid: int) -> bytes:
        """The message in bytes."""
        instead = self.instead
        if instead is not None and getattr(msg, instead[0]) & instead[1]:
            return instead[2].encode(msg, seq, pid)
        nlmsg_type, nlmsg_flags, *members = self._members(msg)
        attributes = self._table.write(msg)
        header = self._header.pack(*members)
        length = NLMSG_HDRLEN + len(header) + len(attributes)
        return _NLMSGHDR.pack(length, nlmsg_type, nlmsg_flags, seq, pid) + header + attributes

    def decode(self, data: bytes, start: int, end: int, nlmsg_type: int, nlmsg_flags: int) -> WireMessage:
        """The message whose header begins at `start`."""
        header = self._header
        if end - start >= header.size:
            members = header.unpack_from(data, start)
        elif end - start >= self._header_size:  # the kernel takes a header without its padding
            members = header.unpack(data[start:end].ljust(header.size, b"\0"))
        else:
            raise CodecError(f"a header of {end - start} bytes, where {self._header_size} are needed", start)
        fields: dict[str, Any] = {"nlmsg_type": nlmsg_type, "nlmsg_flags": nlmsg_flags}
        fields.update(zip(self._names, members, strict=True))
        layout, instead = self, self.instead
        if instead is not None and fields[instead[0]] & instead[1]:
            layout = instead[2]
        layout._table.read(data, start + header.size, end, fields)
        return layout.make(**fields)


# --- links: net/core/rtnetlink.c, rtnl_fill_ifinfo() ----------------------------------------------------------------

_N: Final = NLA_F_NESTED

_IFLA_CACHEINFO: Final = Numbers("IIII", IflaCacheinfo, "max_reasm_len", "tstamp", "reachable_time", "retrans_time")
_INET6: Final = Nest(
    Inet6LinkInfo,
    (1, "flags", U32), (5, "cacheinfo", _IFLA_CACHEINFO), (2, "conf", S32S), (3, "stats", U64S),
    (6, "icmp6stats", U64S), (7, "token", BYTES), (8, "addr_gen_mode", U8), (9, "ra_mtu", U32),
)  # fmt: skip


def _af_spec(inet_conf: Row) -> Nest:
    return Nest(AfSpec, (AF_INET, "inet", Nest(InetLinkInfo, inet_conf)), (AF_INET6, "inet6", _INET6))


_LINKINFO: Final = Nest(
    LinkInfo,
    (1, "kind", NAME), (3, "xstats", BYTES), (2, "data", BYTES), (4, "slave_kind", NAME), (5, "slave_data", BYTES),
)  # fmt: skip
_XDP: Final = Nest(
    Xdp,
    (2, "attached", U8), (4, "prog_id", U32), (5, "drv_prog_id", U32), (6, "skb_prog_id", U32), (7, "hw_prog_id", U32),
)  # fmt: skip
_IFMAP: Final = Numbers("QQQHBB4x")


def _link(*, af_spec: Nest, alias: Text) -> tuple[Row, ...]:
    return (
        (46, "target_netnsid", S32), (3, "ifname", NAME), (13, "txqlen", U32), (16, "operstate", U8),
        (17, "linkmode", U8), (67, "netns_immutable", U8), (4, "mtu", U32), (50, "min_mtu", U32), (51, "max_mtu", U32),
        (27, "group", U32), (30, "promiscuity", U32), (61, "allmulti", U32), (31, "num_tx_queues", U32),
        (40, "gso_max_segs", U32), (41, "gso_max_size", U32), (58, "gro_max_size", U32),
        (63, "gso_ipv4_max_size", U32), (64, "gro_ipv4_max_size", U32), (59, "tso_max_size", U32),
        (60, "tso_max_segs", U32), (66, "max_pacing_offload_horizon", U32), (32, "num_rx_queues", U32),
        (10, "master", U32), (33, "carrier", U8), (20, "ifalias", alias), (35, "carrier_changes", U32),
        (47, "carrier_up_count", U32), (48, "carrier_down_count", U32), (68, "headroom", U16), (69, "tailroom", U16),
        (39, "proto_down", U8), (55, "proto_down_reason", BYTES), (44, "event", U32), (1, "address", BYTES),
        (2, "broadcast", BYTES), (34, "phys_port_id", BYTES), (38, "phys_port_name", NAME),
        (36, "phys_switch_id", BYTES), (21, "num_vf", U32), (22, "vfinfo_list", BYTES), (23, "stats64", U64S),
        (7, "stats", U32S), (43, "xdp", _XDP), (18, "linkinfo", _LINKINFO), (45, "new_netnsid", S32),
        (49, "new_ifindex", S32), (54, "perm_address", BYTES), (37, "link_netnsid", S32), (5, "link", U32),
        (6, "qdisc", NAME), (26, "af_spec", af_spec), (14, "map", _IFMAP), (52 | _N, "altnames", Names(53)),
        (56, "parent_dev_name", NAME), (57, "parent_dev_bus_name", NAME), (62 | _N, "devlink_port", BYTES),
        (65 | _N, "dpll_pin", BYTES), (53, "alt_ifname", NAME), (29, "ext_mask", U32), (19, "net_ns_pid", U32),
        (28, "net_ns_fd", U32),
    )  # fmt: skip


def _make_link(*, af_spec: AfSpec | None = None, **fields: Any) -> LinkMsg:
    if af_spec is None:
        return LinkMsg(**fields)
    inet, inet6, other = af_spec.inet, af_spec.inet6, af_spec.unknown
    says_more = other or (inet is None and inet6 is None)
    return LinkMsg(**fields, inet=inet, inet6=inet6, af_other=other if says_more else None)


_IFINFOMSG: Final = "Bx:ifi_family H:ifi_type i:ifi_index I:ifi_flags I:ifi_change"
# A request says settings of IPv4 one by one, and an alias without a zero byte, which would count as a character.
_LINK_REQUEST: Final = Layout(
    LinkMsg, _IFINFOMSG, *_link(af_spec=_af_spec((1, "changes", Settings())), alias=PLAIN), make=_make_link
)
_IS_LINK_REQUEST: Final = ("nlmsg_flags", NLM_F_REQUEST, _LINK_REQUEST)
_LINK: Final = Layout(
    LinkMsg,
    _IFINFOMSG,
    *_link(af_spec=_af_spec((1, "conf", U32S)), alias=NAME),
    make=_make_link,
    instead=_IS_LINK_REQUEST,
)
# net/ipv6/addrconf.c, inet6_fill_ifinfo().
_INET6_LINK: Final = Layout(
    LinkMsg,
    _IFINFOMSG,
    (3, "ifname", NAME), (1, "address", BYTES), (4, "mtu", U32), (5, "link", U32), (16, "operstate", U8),
    (12, "inet6", _INET6),
    instead=_IS_LINK_REQUEST,
)  # fmt: skip
# net/bridge/br_netlink.c, br_fill_ifinfo().
_BRIDGE_LINK: Final = Layout(
    LinkMsg,
    _IFINFOMSG,
    (3, "ifname", NAME), (10, "master", U32), (4, "mtu", U32), (16, "operstate", U8), (1, "address", BYTES),
    (5, "link", U32), (29, "ext_mask", U32),
)  # fmt: skip

# --- addresses ------------------------------------------------------------------------------------------------------

_IFADDRMSG: Final = "B:ifa_family B:ifa_prefixlen B:ifa_flags B:ifa_scope i:ifa_index"
_U8_PADDED: Final = Struct("=4sB3x")
_CACHEINFO: Final = Numbers("IIII", IfaCacheinfo, "ifa_prefered", "ifa_valid", "cstamp", "tstamp")


class _Inet6AddrLayout(Layout):
    """Most IPv6 addresses are said in one form, and a kernel says many: that one is one struct.

    It has an address, its lifetimes and flags, and perhaps who made it.
    """

    __slots__ = ()

    _FORM: Final = Struct("=BBBBi 4s16s 4sIIII 4sI")
    _FIELDS: Final = Struct("=BBBBi 4x16s 4xIIII 4xI")
    _HEADERS: Final = Struct("=8x 4s16x 4s16x 4s4x")
    _PLAIN: Final = (_NLATTR.pack(20, 1), _NLATTR.pack(20, 6), _NLATTR.pack(8, 8))
    """The headers of IFA_ADDRESS, IFA_CACHEINFO and IFA_FLAGS."""
    _PROTO: Final = _NLATTR.pack(5, 11)
    _SIZES: Final = (_FORM.size, _FORM.size + 8)
    _OTHERS: Final = attrgetter(
        "local", "rt_priority", "multicast", "anycast", "target_netnsid", "broadcast", "label", "unknown"
    )
    _NO_OTHERS: Final = (None,) * 7 + ((),)

    def encode(self, msg: WireMessage, seq: int, pid: int) -> bytes:
        """The message in bytes."""
        if type(msg) is AddrMsg and self._OTHERS(msg) == self._NO_OTHERS:
            address, info, flags = msg.address, msg.cacheinfo, msg.flags
            if address is not None and len(address) == 16 and info is not None and flags is not None:
                one, two, three = self._PLAIN
                body = self._FORM.pack(
                    msg.ifa_family, msg.ifa_prefixlen, msg.ifa_flags, msg.ifa_scope, msg.ifa_index, one, address,
                    two, info.ifa_prefered, info.ifa_valid, info.cstamp, info.tstamp, three, flags,
                )  # fmt: skip
                if msg.proto is not None:
                    body += _U8_PADDED.pack(self._PROTO, msg.proto)
                return _NLMSGHDR.pack(NLMSG_HDRLEN + len(body), msg.nlmsg_type, msg.nlmsg_flags, seq, pid) + body
        return super().encode(msg, seq, pid)

    def decode(self, data: bytes, start: int, end: int, nlmsg_type: int, nlmsg_flags: int) -> WireMessage:
        """The message whose header begins at `start`."""
        size, plain = end - start, self._FORM.size
        is_plain = size in self._SIZES and self._HEADERS.unpack_from(data, start) == self._PLAIN
        if not is_plain or (size > plain and data[start + plain : end - 4] != self._PROTO):
            return super().decode(data, start, end, nlmsg_type, nlmsg_flags)
        family, prefixlen, flags8, scope, ifindex, address, *info, flags = self._FIELDS.unpack_from(data, start)
        proto = data[end - 4] if size > plain else None
        return AddrMsg(
            nlmsg_type, nlmsg_flags, family, prefixlen, flags8, scope, ifindex,
            address=address, cacheinfo=IfaCacheinfo(*info), flags=flags, proto=proto,
        )  # fmt: skip


_LASTING: Final = Struct("=17sBBBi 4s16s 12sII 4sI")
_LASTING_HEAD, _LASTING_HEAD_WITH_PROTO = (
    _NLMSGHDR.pack(size, Rtm.RTM_NEWADDR, 0, 0, 0) + bytes([AF_INET6]) for size in (_LASTING.size, _LASTING.size + 8)
)
_ADDRESS_OF_16: Final = _NLATTR.pack(20, IFA_ADDRESS)
_FOR_EVER: Final = _NLATTR.pack(20, IFA_CACHEINFO) + b"\xff" * 8
_FLAGS_OF_4: Final = _NLATTR.pack(8, IFA_FLAGS)
_PROTO_OF_1: Final = _NLATTR.pack(5, IFA_PROTO)


def inet6_ifaddr_pack(
    plen: int, flags: int, scope: int, ifindex: int, addr: bytes, cstamp: int, tstamp: int, proto: int
) -> bytes:
    """The notification of an IPv6 address that lives for ever, without peer and metric.

    It is what encode() makes of the AddrMsg, for who says so many that they cannot be values first.
    """
    head = _LASTING_HEAD_WITH_PROTO if proto else _LASTING_HEAD
    plain = _LASTING.pack(
        head, plen, flags & 0xFF, scope, ifindex, _ADDRESS_OF_16, addr, _FOR_EVER, cstamp, tstamp, _FLAGS_OF_4, flags
    )
    return plain + _U8_PADDED.pack(_PROTO_OF_1, proto) if proto else plain


# net/ipv6/addrconf.c, inet6_fill_ifaddr(), inet6_fill_ifmcaddr(), inet6_fill_ifacaddr().
_INET6_ADDR: Final = _Inet6AddrLayout(
    AddrMsg,
    _IFADDRMSG,
    (10, "target_netnsid", S32), (2, "local", BYTES), (1, "address", BYTES), (7, "multicast", BYTES),
    (5, "anycast", BYTES), (9, "rt_priority", U32), (6, "cacheinfo", _CACHEINFO), (8, "flags", U32),
    (11, "proto", U8), (4, "broadcast", BYTES), (3, "label", NAME),
)  # fmt: skip
# net/ipv4/devinet.c, inet_fill_ifaddr(), inet_fill_ifmcaddr().
_INET_ADDR: Final = Layout(
    AddrMsg,
    _IFADDRMSG,
    (10, "target_netnsid", S32), (1, "address", BYTES), (2, "local", BYTES), (4, "broadcast", BYTES),
    (3, "label", NAME), (11, "proto", U8), (8, "flags", U32), (9, "rt_priority", U32), (7, "multicast", BYTES),
    (6, "cacheinfo", _CACHEINFO), (5, "anycast", BYTES),
)  # fmt: skip

# --- routes and rules -----------------------------------------------------------------------------------------------

_RTMSG: Final = (
    "B:rtm_family B:rtm_dst_len B:rtm_src_len B:rtm_tos B:rtm_table B:rtm_protocol B:rtm_scope B:rtm_type I:rtm_flags"
)
_RTA_CACHEINFO: Final = Numbers(
    "IIiIIIII", RtaCacheinfo, "clntref", "lastuse", "expires", "error", "used", "id", "ts", "tsage"
)
_ONLY_ASKED: Final[tuple[Row, ...]] = ((27, "ip_proto", U8), (28, "sport", BYTES), (29, "dport", BYTES))
# net/ipv6/route.c, rt6_fill_node().
_INET6_ROUTE: Final = Layout(
    RouteMsg,
    _RTMSG,
    (15, "table", U32), (1, "dst", BYTES), (2, "src", BYTES), (3, "iif", U32), (7, "prefsrc", BYTES),
    (7, "fib_prefsrc", BYTES), (8, "metrics", METRICS), (6, "priority", U32), (30, "nh_id", U32),
    (9, "multipath", BYTES), (5, "gateway", BYTES), (18, "via", BYTES), (4, "oif", U32), (11, "flow", U32),
    (22, "encap", BYTES), (21, "encap_type", U16), (12, "cacheinfo", _RTA_CACHEINFO), (20, "pref", U8),
    (16, "mark", U32), (25, "uid", U32), *_ONLY_ASKED,
)  # fmt: skip
# net/ipv4/route.c, rt_fill_info(): what a look-up found.
_INET_ROUTE_FOUND: Final = Layout(
    RouteMsg,
    _RTMSG,
    (15, "table", U32), (1, "dst", BYTES), (2, "src", BYTES), (4, "oif", U32), (11, "flow", U32),
    (22, "encap", BYTES), (21, "encap_type", U16), (7, "prefsrc", BYTES), (5, "gateway", BYTES), (18, "via", BYTES),
    (8, "metrics", METRICS), (16, "mark", U32), (25, "uid", U32), (3, "iif", U32), (12, "cacheinfo", _RTA_CACHEINFO),
    (6, "priority", U32), (9, "multipath", BYTES), (30, "nh_id", U32), (20, "pref", U8), *_ONLY_ASKED,
)  # fmt: skip
# net/ipv4/fib_semantics.c, fib_dump_info().
_INET_ROUTE: Final = Layout(
    RouteMsg,
    _RTMSG,
    (15, "table", U32), (1, "dst", BYTES), (6, "priority", U32), (8, "metrics", METRICS), (7, "prefsrc", BYTES),
    (30, "nh_id", U32), (5, "gateway", BYTES), (18, "via", BYTES), (4, "oif", U32), (11, "flow", U32),
    (22, "encap", BYTES), (21, "encap_type", U16), (9, "multipath", BYTES), (2, "src", BYTES), (3, "iif", U32),
    (16, "mark", U32), (25, "uid", U32), (12, "cacheinfo", _RTA_CACHEINFO), (20, "pref", U8), *_ONLY_ASKED,
    instead=("rtm_flags", RTM_F_CLONED, _INET_ROUTE_FOUND),
)  # fmt: skip
# net/core/fib_rules.c, fib_nl_fill_rule(); net/ipv4/fib_rules.c and net/ipv6/fib6_rules.c, fib4_rule_fill() and kin.
_RULE: Final = Layout(
    RuleMsg,
    "B:frh_family B:frh_dst_len B:frh_src_len B:frh_tos B2x:frh_table B:frh_action I:frh_flags",
    (15, "table", U32), (14, "suppress_prefixlen", U32), (21, "protocol", U8), (3, "iifname", NAME),
    (17, "oifname", NAME), (6, "priority", U32), (10, "fwmark", U32), (16, "fwmask", U32), (4, "goto", U32),
    (12, "tun_id", BYTES), (19, "l3mdev", U8), (20, "uid_range", Numbers("II")), (23, "sport_range", Numbers("HH")),
    (28, "sport_mask", U16), (24, "dport_range", Numbers("HH")), (29, "dport_mask", U16), (22, "ip_proto", U8),
    (13, "suppress_ifgroup", U32), (25, "dscp", U8), (30, "dscp_mask", U8), (26, "flowlabel", BYTES),
    (27, "flowlabel_mask", BYTES), (1, "dst", BYTES), (2, "src", BYTES), (11, "flow", U32),
)  # fmt: skip

# --- neighbours: net/core/neighbour.c -------------------------------------------------------------------------------

_NDMSG: Final = "B3x:ndm_family i:ndm_ifindex H:ndm_state B:ndm_flags B:ndm_type"
_NDA_CACHEINFO: Final = Numbers("IIII", NdaCacheinfo, "confirmed", "used", "updated", "refcnt")
_NEIGH: Final = Layout(
    NeighMsg,
    _NDMSG,
    (1, "dst", BYTES), (2, "lladdr", BYTES), (4, "probes", U32), (3, "cacheinfo", _NDA_CACHEINFO),
    (12, "protocol", U8), (15, "flags_ext", U32), (9, "master", U32), (8, "ifindex", U32), (7, "vni", U32),
)  # fmt: skip
# net/bridge/br_fdb.c, fdb_fill_info(); drivers/net/vxlan, vxlan_fdb_info().
_FDB: Final = Layout(
    NeighMsg,
    _NDMSG,
    (10, "link_netnsid", S32), (2, "lladdr", BYTES), (9, "master", U32), (13, "nh_id", U32), (1, "dst", BYTES),
    (6, "port", BYTES), (7, "vni", U32), (11, "src_vni", U32), (8, "ifindex", U32), (15, "flags_ext", U32),
    (3, "cacheinfo", _NDA_CACHEINFO), (5, "vlan", U16), (14 | _N, "fdb_ext_attrs", BYTES), (4, "probes", U32),
    (12, "protocol", U8),
)  # fmt: skip
_NDT_CONFIG: Final = Numbers(
    "HHIIIIIII", NdtConfig,
    "key_len", "entry_size", "entries", "last_flush", "last_rand", "hash_rnd", "hash_mask", "hash_chain_gc",
    "proxy_qlen",
)  # fmt: skip
_NEIGH_PARMS: Final = Nest(
    NeighParms,
    (1, "ifindex", U32), (2, "refcnt", U32), (16, "queue_lenbytes", U32), (8, "queue_len", U32),
    (14, "proxy_qlen", U32), (9, "app_probes", U32), (10, "ucast_probes", U32), (11, "mcast_probes", U32),
    (17, "mcast_reprobes", U32), (3, "reachable_time", U64), (4, "base_reachable_time", U64), (6, "gc_staletime", U64),
    (7, "delay_probe_time", U64), (5, "retrans_time", U64), (12, "anycast_delay", U64), (13, "proxy_delay", U64),
    (15, "locktime", U64), (19, "interval_probe_time_ms", U64),
)  # fmt: skip
_NEIGHTBL: Final = Layout(
    NeightblMsg,
    "B3x:ndtm_family",
    (1, "name", NAME), (8, "gc_interval", U64), (2, "thresh1", U32), (3, "thresh2", U32), (4, "thresh3", U32),
    (5, "config", _NDT_CONFIG), (7, "stats", U64S), (6, "parms", _NEIGH_PARMS),
)  # fmt: skip

# --- the rest -------------------------------------------------------------------------------------------------------

# net/ipv4/devinet.c, inet_netconf_fill_devconf(); net/ipv6/addrconf.c, inet6_netconf_fill_devconf().
_NETCONF: Final = Layout(
    NetconfMsg,
    "B:ncm_family 3x",
    (1, "ifindex", S32), (2, "forwarding", S32), (3, "rp_filter", S32), (4, "mc_forwarding", S32),
    (8, "bc_forwarding", S32), (5, "proxy_neigh", S32), (6, "ignore_routes_with_linkdown", S32),
)  # fmt: skip
# net/core/rtnetlink.c, rtnl_fill_statsinfo().
_STATS: Final = Layout(
    StatsMsg,
    "B3x:family I:ifindex I:filter_mask",
    (1, "link_64", U64S), (2, "link_xstats", BYTES), (3, "link_xstats_slave", BYTES),
    (4, "link_offload_xstats", BYTES), (5, "af_spec", BYTES),
)  # fmt: skip
# net/core/net_namespace.c, rtnl_net_fill().
_NSID: Final = Layout(
    NsidMsg,
    "B:rtgen_family 3x",
    (1, "nsid", S32), (5, "current_nsid", S32), (2, "pid", U32), (3, "fd", U32), (4, "target_nsid", S32),
)  # fmt: skip

# net/sched/sch_api.c, tc_fill_qdisc().
_TC: Final = Layout(
    TcMsg,
    "B3x:tcm_family i:tcm_ifindex I:tcm_handle I:tcm_parent I:tcm_info",
    (1, "kind", NAME), (2, "options", BYTES), (12, "hw_offload", U8), (7, "stats2", BYTES), (3, "stats", BYTES),
)  # fmt: skip
# net/sched/act_api.c, tca_get_fill().
_TCA: Final = Layout(TcaMsg, "B3x:tca_family", (5, "ext_warn_msg", NAME), (1, "tab", BYTES))

# One row per message type, without its last two bits (NEW, DEL, GET, SET): the layout of each family that has one of
# its own, and that of all others.
LAYOUTS: Final[Mapping[int, tuple[Mapping[int, Layout], Layout]]] = {
    Rtm.RTM_NEWLINK: ({AF_INET6: _INET6_LINK, AF_BRIDGE: _BRIDGE_LINK}, _LINK),
    Rtm.RTM_NEWADDR: ({AF_INET: _INET_ADDR}, _INET6_ADDR),
    Rtm.RTM_NEWROUTE: ({AF_INET: _INET_ROUTE}, _INET6_ROUTE),
    Rtm.RTM_NEWNEIGH: ({AF_BRIDGE: _FDB}, _NEIGH),
    Rtm.RTM_NEWRULE: ({}, _RULE),
    Rtm.RTM_NEWMULTICAST: ({AF_INET: _INET_ADDR}, _INET6_ADDR),
    Rtm.RTM_NEWANYCAST: ({AF_INET: _INET_ADDR}, _INET6_ADDR),
    Rtm.RTM_NEWNEIGHTBL: ({}, _NEIGHTBL),
    Rtm.RTM_NEWNETCONF: ({}, _NETCONF),
    Rtm.RTM_NEWNSID: ({}, _NSID),
    Rtm.RTM_NEWACTION: ({}, _TCA),
    **dict.fromkeys((Rtm.RTM_NEWQDISC, Rtm.RTM_NEWTCLASS, Rtm.RTM_NEWTFILTER, Rtm.RTM_NEWCHAIN), ({}, _TC)),
    Rtm.RTM_NEWSTATS: ({}, _STATS),
    Rtm.RTM_NEWLINKPROP: ({}, _LINK),
}


def knows(nlmsg_type: int) -> bool:
    """Whether there is a value for messages of this type."""
    return nlmsg_type & ~3 in LAYOUTS


def nlmsg_put(length: int, nlmsg_type: int, nlmsg_flags: int = 0, seq: int = 0, pid: int = 0) -> bytes:
    """The header of a message whose body has so many bytes: struct nlmsghdr."""
    return _NLMSGHDR.pack(NLMSG_HDRLEN + length, nlmsg_type, nlmsg_flags, seq, pid)


def encode(msg: Message, seq: int = 0, pid: int = 0) -> bytes:
    """A value as one netlink message, padded to a multiple of four bytes.

    Raises:
        CodecError: a Sysctl; a type that the value cannot have; a number that does not fit where it belongs; a text
            that is none; what is sent as the second of two without the first.
    """
    if isinstance(msg, Sysctl):
        raise CodecError("a setting is written to a file, not sent")
    found = LAYOUTS.get(msg.nlmsg_type & ~3)
    if found is None or type(msg) is not found[1].value:
        raise CodecError(f"no {type(msg).__name__} is of message type {int(msg.nlmsg_type)}")
    families, layout = found
    if families:
        layout = families.get(layout.family(msg), layout)
    try:
        return layout.encode(msg, seq, pid)
    except (struct.error, UnicodeEncodeError) as error:
        raise CodecError(f"{type(msg).__name__}: {error}") from None


def decode(data: bytes, offset: int = 0, *, without: int = 0) -> WireMessage:
    """The message that begins at `offset`; its nlmsg_flags are without those in `without`.

    Raises:
        CodecError: it is cut short, a length in it lies, or there is no value for messages of its type.
    """
    if len(data) - offset < NLMSG_HDRLEN:
        raise CodecError(f"{len(data) - offset} bytes, where a message has at least {NLMSG_HDRLEN}", offset)
    length, nlmsg_type, nlmsg_flags, _, _ = _NLMSGHDR.unpack_from(data, offset)
    if not NLMSG_HDRLEN <= length <= len(data) - offset:
        raise CodecError(f"a message of {length} bytes, where {len(data) - offset} are left", offset)
    if not knows(nlmsg_type):
        raise CodecError(f"no value for messages of type {nlmsg_type}", offset + 4)
    families, layout = LAYOUTS[nlmsg_type & ~3]
    start = offset + NLMSG_HDRLEN
    if families and length > NLMSG_HDRLEN:
        layout = families.get(data[start], layout)
    return layout.decode(data, start, offset + length, nlmsg_type, nlmsg_flags & ~without)
