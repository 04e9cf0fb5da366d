"""rtnetlink messages as frozen values: the one currency of addrsvc.

The model says them, the mirror compares and sends them, the command line prints them.  A field that is None is an
attribute that the message does not carry.  Addresses are packed bytes: 4 for AF_INET, 16 for AF_INET6, 6 for the
loopback's hardware address.  What only a certain kind of device or route has is kept as the bytes of its attribute.
Where the bytes lie on the wire is not known here.
"""

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TypeAlias

from addrsvc.uapi import (
    AF_INET6,
    AF_UNSPEC,
    DEVCONF_DISABLE_IPV6,
    DEVCONF_MTU6,
    DEVCONF_NAMES,
    RTM_NEWACTION,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWNEIGHTBL,
    RTM_NEWNETCONF,
    RTM_NEWNSID,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_NEWSTATS,
)

__all__ = [
    "AddrMsg", "AfSpec", "IfaCacheinfo", "IflaCacheinfo", "Inet6LinkInfo", "InetLinkInfo", "LinkInfo", "LinkMsg",
    "Message", "NdaCacheinfo", "NdtConfig", "NeighMsg", "NeighParms", "NeightblMsg", "NetconfMsg", "NsidMsg",
    "RouteMsg", "RtaCacheinfo", "RuleMsg", "StatsMsg", "Sysctl", "TcaMsg", "TcMsg", "Unknown", "WireMessage", "Xdp",
]  # fmt: skip


Unknown: TypeAlias = tuple[tuple[int, bytes], ...]
"""Attributes that addrsvc has no name for: the type as it was sent, with NLA_F_NESTED if it was, and the payload."""


# --- links --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IflaCacheinfo:
    """IFLA_INET6_CACHEINFO: the time of the last change in 1/100 s since boot, the others in bytes and milliseconds."""

    max_reasm_len: int = 0
    tstamp: int = 0
    reachable_time: int = 0
    retrans_time: int = 0


@dataclass(frozen=True, slots=True)
class InetLinkInfo:
    """What a link message says of IPv4 (IFLA_AF_SPEC/AF_INET)."""

    conf: tuple[int, ...] | None = None
    """IFLA_INET_CONF as a kernel says it: every setting, in the order of IPV4_DEVCONF_*."""
    changes: tuple[tuple[int, int], ...] | None = None
    """IFLA_INET_CONF as a request says it: IPV4_DEVCONF_* and value."""
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class Inet6LinkInfo:
    """What a link message says of IPv6 (IFLA_AF_SPEC/AF_INET6, or IFLA_PROTINFO in family AF_INET6)."""

    flags: int | None = None
    """IFLA_INET6_FLAGS: IF_READY and kin."""
    cacheinfo: IflaCacheinfo | None = None
    conf: tuple[int, ...] | None = None
    """IFLA_INET6_CONF: every setting, in the order of DEVCONF_*, times in milliseconds.  Read only."""
    stats: tuple[int, ...] | None = None
    """IFLA_INET6_STATS: IPSTATS_MIB_*, the first being their number."""
    icmp6stats: tuple[int, ...] | None = None
    """IFLA_INET6_ICMP6STATS: ICMP6_MIB_*, the first being their number."""
    token: bytes | None = None
    addr_gen_mode: int | None = None
    """IFLA_INET6_ADDR_GEN_MODE: IN6_ADDR_GEN_MODE_*."""
    ra_mtu: int | None = None
    unknown: Unknown = ()

    @property
    def disable_ipv6(self) -> int | None:
        """The device's disable_ipv6, out of `conf`.  It is set by a Sysctl."""
        return self._setting(DEVCONF_DISABLE_IPV6)

    @property
    def mtu6(self) -> int | None:
        """The device's IPv6 MTU, out of `conf`."""
        return self._setting(DEVCONF_MTU6)

    def having(self, **settings: int) -> "Inet6LinkInfo":
        """The same with some settings of `conf` as given, by their names below /proc; those never told are 0."""
        conf = self.conf or (0,) * len(DEVCONF_NAMES)
        told = zip_longest(DEVCONF_NAMES, conf)
        return replace(self, conf=tuple(settings.get(name or "", number or 0) for name, number in told))

    def _setting(self, number: int) -> int | None:
        return self.conf[number] if self.conf is not None and number < len(self.conf) else None


@dataclass(frozen=True, slots=True)
class AfSpec:
    """IFLA_AF_SPEC as one: what each address family says of the device."""

    inet: InetLinkInfo | None = None
    inet6: Inet6LinkInfo | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """IFLA_LINKINFO: of which kind a device is, and its master; what only one kind says is raw."""

    kind: str | None = None
    data: bytes | None = None
    xstats: bytes | None = None
    slave_kind: str | None = None
    slave_data: bytes | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class Xdp:
    """IFLA_XDP: where a program is attached, and which."""

    attached: int | None = None
    prog_id: int | None = None
    drv_prog_id: int | None = None
    skb_prog_id: int | None = None
    hw_prog_id: int | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class LinkMsg:
    """RTM_*LINK and RTM_*LINKPROP: a device, or a request for or about one."""

    nlmsg_type: int = RTM_NEWLINK
    nlmsg_flags: int = 0
    ifi_family: int = AF_UNSPEC
    ifi_type: int = 0
    ifi_index: int = 0
    ifi_flags: int = 0
    ifi_change: int = 0
    target_netnsid: int | None = None
    ifname: str | None = None
    txqlen: int | None = None
    operstate: int | None = None
    linkmode: int | None = None
    netns_immutable: int | None = None
    mtu: int | None = None
    min_mtu: int | None = None
    max_mtu: int | None = None
    group: int | None = None
    promiscuity: int | None = None
    allmulti: int | None = None
    num_tx_queues: int | None = None
    gso_max_segs: int | None = None
    gso_max_size: int | None = None
    gro_max_size: int | None = None
    gso_ipv4_max_size: int | None = None
    gro_ipv4_max_size: int | None = None
    tso_max_size: int | None = None
    tso_max_segs: int | None = None
    max_pacing_offload_horizon: int | None = None
    num_rx_queues: int | None = None
    master: int | None = None
    carrier: int | None = None
    ifalias: str | None = None
    carrier_changes: int | None = None
    carrier_up_count: int | None = None
    carrier_down_count: int | None = None
    headroom: int | None = None
    tailroom: int | None = None
    proto_down: int | None = None
    proto_down_reason: bytes | None = None
    event: int | None = None
    address: bytes | None = None
    broadcast: bytes | None = None
    phys_port_id: bytes | None = None
    phys_port_name: str | None = None
    phys_switch_id: bytes | None = None
    num_vf: int | None = None
    vfinfo_list: bytes | None = None
    stats64: tuple[int, ...] | None = None
    """struct rtnl_link_stats64, in its order."""
    stats: tuple[int, ...] | None = None
    """struct rtnl_link_stats: the same, as far as they go, in 32 bits."""
    xdp: Xdp | None = None
    linkinfo: LinkInfo | None = None
    new_netnsid: int | None = None
    new_ifindex: int | None = None
    perm_address: bytes | None = None
    link_netnsid: int | None = None
    link: int | None = None
    qdisc: str | None = None
    inet: InetLinkInfo | None = None
    inet6: Inet6LinkInfo | None = None
    af_other: Unknown | None = None
    """What else IFLA_AF_SPEC says; () where it is there and says nothing at all."""
    map: tuple[int, int, int, int, int, int] | None = None
    """struct rtnl_link_ifmap: mem_start, mem_end, base_addr, irq, dma, port."""
    altnames: tuple[str, ...] | None = None
    """IFLA_PROP_LIST/IFLA_ALT_IFNAME."""
    parent_dev_name: str | None = None
    parent_dev_bus_name: str | None = None
    devlink_port: bytes | None = None
    dpll_pin: bytes | None = None
    alt_ifname: str | None = None
    """IFLA_ALT_IFNAME of a request: a name to find the device by."""
    ext_mask: int | None = None
    """IFLA_EXT_MASK of a request: RTEXT_FILTER_*."""
    net_ns_pid: int | None = None
    net_ns_fd: int | None = None
    unknown: Unknown = ()

    @property
    def af_spec(self) -> AfSpec | None:
        """IFLA_AF_SPEC as one, or None where the message has none."""
        if self.inet is None and self.inet6 is None and self.af_other is None:
            return None
        return AfSpec(self.inet, self.inet6, self.af_other or ())


# --- addresses ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IfaCacheinfo:
    """IFA_CACHEINFO: lifetimes in whole seconds, time stamps in 1/100 s since boot."""

    ifa_prefered: int
    ifa_valid: int
    cstamp: int = 0
    tstamp: int = 0


@dataclass(frozen=True, slots=True)
class AddrMsg:
    """The messages with a struct ifaddrmsg: RTM_*ADDR, RTM_*MULTICAST, RTM_*ANYCAST."""

    nlmsg_type: int = RTM_NEWADDR
    nlmsg_flags: int = 0
    ifa_family: int = AF_INET6
    ifa_prefixlen: int = 128
    ifa_flags: int = 0
    """The header's flags: the low byte only.  `flags` is the whole."""
    ifa_scope: int = 0
    ifa_index: int = 0
    target_netnsid: int | None = None
    """The id by which the asker knows the namespace that it asked about."""
    address: bytes | None = None
    local: bytes | None = None
    label: str | None = None
    broadcast: bytes | None = None
    anycast: bytes | None = None
    multicast: bytes | None = None
    cacheinfo: IfaCacheinfo | None = None
    flags: int | None = None
    rt_priority: int | None = None
    proto: int | None = None
    unknown: Unknown = ()


# --- routes and rules ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RtaCacheinfo:
    """RTA_CACHEINFO: struct rta_cacheinfo."""

    clntref: int = 0
    lastuse: int = 0
    """In 1/100 s."""
    expires: int = 0
    """In 1/100 s from now; 0 for a route that does not expire."""
    error: int = 0
    used: int = 0
    id: int = 0
    ts: int = 0
    tsage: int = 0


@dataclass(frozen=True, slots=True)
class RouteMsg:
    """RTM_*ROUTE: a route, or a request for or about one."""

    nlmsg_type: int = RTM_NEWROUTE
    nlmsg_flags: int = 0
    rtm_family: int = AF_INET6
    rtm_dst_len: int = 0
    rtm_src_len: int = 0
    rtm_tos: int = 0
    rtm_table: int = 0
    rtm_protocol: int = 0
    rtm_scope: int = 0
    rtm_type: int = 0
    rtm_flags: int = 0
    table: int | None = None
    dst: bytes | None = None
    src: bytes | None = None
    iif: int | None = None
    prefsrc: bytes | None = None
    metrics: tuple[tuple[int, int | str], ...] | None = None
    """RTA_METRICS: RTAX_*, each with its value."""
    priority: int | None = None
    nh_id: int | None = None
    multipath: bytes | None = None
    """RTA_MULTIPATH: one struct rtnexthop after the other."""
    gateway: bytes | None = None
    via: bytes | None = None
    """RTA_VIA: the family of the gateway, in two bytes, and its address."""
    oif: int | None = None
    flow: int | None = None
    encap: bytes | None = None
    encap_type: int | None = None
    mark: int | None = None
    uid: int | None = None
    cacheinfo: RtaCacheinfo | None = None
    pref: int | None = None
    ip_proto: int | None = None
    sport: bytes | None = None
    dport: bytes | None = None
    fib_prefsrc: bytes | None = None
    """RTA_PREFSRC once more, of IPv6: what a look-up found has the route's own behind the source that was chosen."""
    unknown: Unknown = ()

    @property
    def expires(self) -> int | None:
        """The expiry out of `cacheinfo`, in 1/100 s from now; 0 for a route that does not expire."""
        return None if self.cacheinfo is None else self.cacheinfo.expires


@dataclass(frozen=True, slots=True)
class RuleMsg:
    """RTM_*RULE: a policy routing rule, or a request for or about one."""

    nlmsg_type: int = RTM_NEWRULE
    nlmsg_flags: int = 0
    frh_family: int = AF_INET6
    frh_dst_len: int = 0
    frh_src_len: int = 0
    frh_tos: int = 0
    frh_table: int = 0
    frh_action: int = 0
    frh_flags: int = 0
    table: int | None = None
    suppress_prefixlen: int | None = None
    protocol: int | None = None
    iifname: str | None = None
    oifname: str | None = None
    priority: int | None = None
    fwmark: int | None = None
    fwmask: int | None = None
    goto: int | None = None
    tun_id: bytes | None = None
    l3mdev: int | None = None
    uid_range: tuple[int, int] | None = None
    sport_range: tuple[int, int] | None = None
    sport_mask: int | None = None
    dport_range: tuple[int, int] | None = None
    dport_mask: int | None = None
    ip_proto: int | None = None
    suppress_ifgroup: int | None = None
    dst: bytes | None = None
    src: bytes | None = None
    flow: int | None = None
    dscp: int | None = None
    dscp_mask: int | None = None
    flowlabel: bytes | None = None
    flowlabel_mask: bytes | None = None
    unknown: Unknown = ()


# --- neighbours ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NdaCacheinfo:
    """NDA_CACHEINFO: ages in 1/100 s, and the number of references."""

    confirmed: int = 0
    used: int = 0
    updated: int = 0
    refcnt: int = 0


@dataclass(frozen=True, slots=True)
class NeighMsg:
    """RTM_*NEIGH: a neighbour, an entry of a forwarding database, or a request for or about one."""

    nlmsg_type: int = RTM_NEWNEIGH
    nlmsg_flags: int = 0
    ndm_family: int = AF_INET6
    ndm_ifindex: int = 0
    ndm_state: int = 0
    ndm_flags: int = 0
    ndm_type: int = 0
    dst: bytes | None = None
    lladdr: bytes | None = None
    probes: int | None = None
    cacheinfo: NdaCacheinfo | None = None
    protocol: int | None = None
    flags_ext: int | None = None
    master: int | None = None
    nh_id: int | None = None
    port: bytes | None = None
    vni: int | None = None
    src_vni: int | None = None
    ifindex: int | None = None
    link_netnsid: int | None = None
    vlan: int | None = None
    fdb_ext_attrs: bytes | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class NdtConfig:
    """NDTA_CONFIG: struct ndt_config."""

    key_len: int = 0
    entry_size: int = 0
    entries: int = 0
    last_flush: int = 0
    last_rand: int = 0
    hash_rnd: int = 0
    hash_mask: int = 0
    hash_chain_gc: int = 0
    proxy_qlen: int = 0


@dataclass(frozen=True, slots=True)
class NeighParms:
    """NDTA_PARMS: the parameters of a neighbour table, or of one device in it; times in milliseconds."""

    ifindex: int | None = None
    refcnt: int | None = None
    queue_lenbytes: int | None = None
    queue_len: int | None = None
    proxy_qlen: int | None = None
    app_probes: int | None = None
    ucast_probes: int | None = None
    mcast_probes: int | None = None
    mcast_reprobes: int | None = None
    reachable_time: int | None = None
    base_reachable_time: int | None = None
    gc_staletime: int | None = None
    delay_probe_time: int | None = None
    retrans_time: int | None = None
    anycast_delay: int | None = None
    proxy_delay: int | None = None
    locktime: int | None = None
    interval_probe_time_ms: int | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class NeightblMsg:
    """RTM_*NEIGHTBL: a neighbour table, or what is different for one device."""

    nlmsg_type: int = RTM_NEWNEIGHTBL
    nlmsg_flags: int = 0
    ndtm_family: int = AF_INET6
    name: str | None = None
    gc_interval: int | None = None
    thresh1: int | None = None
    thresh2: int | None = None
    thresh3: int | None = None
    config: NdtConfig | None = None
    stats: tuple[int, ...] | None = None
    """struct ndt_stats, in its order."""
    parms: NeighParms | None = None
    unknown: Unknown = ()


# --- the rest -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NetconfMsg:
    """RTM_*NETCONF: the settings of a device that routing daemons want to know, or a request for them."""

    nlmsg_type: int = RTM_NEWNETCONF
    nlmsg_flags: int = 0
    ncm_family: int = AF_INET6
    ifindex: int | None = None
    forwarding: int | None = None
    rp_filter: int | None = None
    mc_forwarding: int | None = None
    proxy_neigh: int | None = None
    ignore_routes_with_linkdown: int | None = None
    bc_forwarding: int | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class StatsMsg:
    """RTM_*STATS: counters of a device, or a request for those that `filter_mask` names."""

    nlmsg_type: int = RTM_NEWSTATS
    nlmsg_flags: int = 0
    family: int = AF_UNSPEC
    ifindex: int = 0
    filter_mask: int = 0
    link_64: tuple[int, ...] | None = None
    """struct rtnl_link_stats64, in its order."""
    link_xstats: bytes | None = None
    link_xstats_slave: bytes | None = None
    link_offload_xstats: bytes | None = None
    af_spec: bytes | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class TcMsg:
    """RTM_*QDISC, *TCLASS, *TFILTER, *CHAIN: traffic control on a device, or a request for or about it."""

    nlmsg_type: int = RTM_NEWQDISC
    nlmsg_flags: int = 0
    tcm_family: int = AF_UNSPEC
    tcm_ifindex: int = 0
    tcm_handle: int = 0
    tcm_parent: int = 0
    tcm_info: int = 0
    kind: str | None = None
    options: bytes | None = None
    hw_offload: int | None = None
    stats2: bytes | None = None
    stats: bytes | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class TcaMsg:
    """RTM_*ACTION: what traffic control does to packets, or a request for or about it."""

    nlmsg_type: int = RTM_NEWACTION
    nlmsg_flags: int = 0
    tca_family: int = AF_UNSPEC
    tab: bytes | None = None
    """TCA_ACT_TAB: the actions, numbered from 1."""
    ext_warn_msg: str | None = None
    """What was to be said about the request."""
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class NsidMsg:
    """RTM_*NSID: the number by which one network namespace knows another, or a request for or about it."""

    nlmsg_type: int = RTM_NEWNSID
    nlmsg_flags: int = 0
    rtgen_family: int = AF_UNSPEC
    nsid: int | None = None
    pid: int | None = None
    fd: int | None = None
    target_nsid: int | None = None
    current_nsid: int | None = None
    unknown: Unknown = ()


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A write below /proc/sys/net: not rtnetlink, but the other door by which a namespace is configured.

    `name` is dotted with the device name as one part, ``net.ipv6.conf.lo.disable_ipv6``; a dot inside a device name is
    written as a slash, as sysctl(8) does.  `value` is the text written.
    """

    name: str
    value: str


WireMessage: TypeAlias = (
    LinkMsg | AddrMsg | RouteMsg | RuleMsg | NeighMsg | NeightblMsg | NetconfMsg | StatsMsg | NsidMsg | TcMsg | TcaMsg
)
"""What travels in bytes."""
Message: TypeAlias = WireMessage | Sysctl
