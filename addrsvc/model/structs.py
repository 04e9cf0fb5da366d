"""The nouns: every struct that the model remembers, on one page, because the kernel's structs refer to one another.

No behaviour lives here.  Packed addresses are bytes (16 for IPv6, 4 for IPv4); times are jiffies; lists whose order
is behaviour are lists or dicts.  Fields carry the kernel's spelling.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, field
from enum import IntEnum
from operator import add
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from addrsvc.model.ears import Ears
from addrsvc.model.notifier import AtomicNotifierHead, BlockingNotifierHead, NotifierBlock, RawNotifierHead
from addrsvc.model.percpu import Allocator, Cpus, PcpuLstats, PerCpu
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.sock import Sock
from addrsvc.model.timer import Timer, TimerBase
from addrsvc.model.tracepoint import Trace
from addrsvc.netlink.messages import AfSpec, Inet6LinkInfo, LinkMsg, WireMessage
from addrsvc.uapi import (
    ICMP6_MIB_MAX,
    IF_OPER_UNKNOWN,
    INFINITY_LIFE_TIME,
    IPSTATS_MIB_MAX,
    NET_ADDR_PERM,
    NET_NAME_ENUM,
    RT_SCOPE_HOST,
    RT_TABLE_LOCAL,
    RTF_LOCAL,
    RTF_NONEXTHOP,
    RTF_UP,
    RTN_LOCAL,
    RTN_UNICAST,
    RTPROT_KERNEL,
)

# --- what the model says --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sent the request that is being served: what the kernel hands down as portid and struct nlmsghdr."""

    portid: int
    seq: int
    echo: bool
    """NLM_F_ECHO: the notification goes to the asker, once, whether or not it listens."""


@dataclass(frozen=True, slots=True)
class RtnlNotify:
    """An rtnetlink notification: sent to the listeners of namespace `net`."""

    net: str
    msg: WireMessage
    asker: Asker | None = None
    """Whose sequence number and port id it bears; those the kernel makes by itself bear none."""


@dataclass(frozen=True, slots=True)
class Printk:
    """A line that the kernel would have printed.  `level` is "debug", "info", "warning", "err" or "emerg"."""

    level: str
    text: str


Effect: TypeAlias = RtnlNotify | Printk
RtnlBytes: TypeAlias = tuple[str, int, bytes]
"""A notification that was said in bytes: the namespace, the group, and the message.

It bears nobody's number, and no more room was made for it than it takes.
"""
Said: TypeAlias = Effect | RtnlBytes


# --- devices --------------------------------------------------------------------------------------------------------


class NetdevState(IntEnum):
    """dev->reg_state: include/linux/netdevice.h."""

    NETREG_UNINITIALIZED = 0
    NETREG_REGISTERED = 1
    NETREG_UNREGISTERING = 2
    NETREG_UNREGISTERED = 3
    NETREG_RELEASED = 4


(
    NETREG_UNINITIALIZED,
    NETREG_REGISTERED,
    NETREG_UNREGISTERING,
    NETREG_UNREGISTERED,
    NETREG_RELEASED,
) = NetdevState


netdev_tx_t: TypeAlias = int
"""What a driver answers to a packet: NETDEV_TX_OK or NETDEV_TX_BUSY."""


@dataclass(frozen=True, slots=True)
class NetDeviceOps:
    """struct net_device_ops, the members that a model device can have.

    Setters return nothing and refuse by KernelError.
    """

    ndo_init: "Callable[[NetDevice], None] | None" = None
    ndo_uninit: "Callable[[NetDevice], None] | None" = None
    ndo_open: "Callable[[NetDevice], None] | None" = None
    ndo_stop: "Callable[[NetDevice], None] | None" = None
    ndo_validate_addr: "Callable[[NetDevice], None] | None" = None
    ndo_set_mac_address: "Callable[[NetDevice, bytes], None] | None" = None
    ndo_change_mtu: "Callable[[NetDevice, int], None] | None" = None
    ndo_start_xmit: "Callable[[SkBuff, NetDevice], netdev_tx_t] | None" = None
    """Takes the packet and returns NETDEV_TX_OK, or leaves it alone and returns NETDEV_TX_BUSY."""
    ndo_get_stats64: "Callable[[NetDevice, RtnlLinkStats64], None] | None" = None
    """Fills in what the device has counted; without it, `NetDevice.stats` is what it has (ndo_get_stats)."""
    ndo_fix_features: "Callable[[NetDevice, int], int] | None" = None
    ndo_set_features: "Callable[[NetDevice, int], None] | None" = None
    ndo_change_carrier: "Callable[[NetDevice, bool], None] | None" = None


@dataclass(frozen=True, slots=True)
class HeaderOps:
    """struct header_ops: how a link layer's headers are made and read."""

    create: "Callable[[SkBuff, NetDevice, int, bytes | None, bytes | None, int], int]"
    parse: "Callable[[SkBuff, NetDevice], bytes]"
    cache: "Callable[[NetDevice, int, bytes], bytes | None]"
    cache_update: "Callable[[bytes, bytes], bytes]"
    parse_protocol: "Callable[[SkBuff], int]"


@dataclass(frozen=True, slots=True)
class EthtoolOps:
    """struct ethtool_ops, the members that a model device can have.

    Attributes:
        get_link: 1 where there is a link.
        get_ts_info: SOF_TIMESTAMPING_*, what the device can do about time stamps.
    """

    get_link: "Callable[[NetDevice], int] | None" = None
    get_ts_info: "Callable[[NetDevice], int] | None" = None


@dataclass(slots=True)
class RtnlLinkStats64:
    """struct rtnl_link_stats64 (and its predecessor net_device_stats): what a device has counted."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0
    multicast: int = 0
    collisions: int = 0
    rx_length_errors: int = 0
    rx_over_errors: int = 0
    rx_crc_errors: int = 0
    rx_frame_errors: int = 0
    rx_fifo_errors: int = 0
    rx_missed_errors: int = 0
    tx_aborted_errors: int = 0
    tx_carrier_errors: int = 0
    tx_fifo_errors: int = 0
    tx_heartbeat_errors: int = 0
    tx_window_errors: int = 0
    rx_compressed: int = 0
    tx_compressed: int = 0
    rx_nohandler: int = 0
    rx_otherhost_dropped: int = 0


@dataclass(frozen=True, slots=True)
class RtnlHwStats64:
    """struct rtnl_hw_stats64: what hardware has counted on behalf of a device."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0
    multicast: int = 0

    def __add__(self, delta: "RtnlHwStats64") -> "RtnlHwStats64":
        """What was counted before and since."""
        return RtnlHwStats64(*map(add, astuple(self), astuple(delta)))


@dataclass(slots=True)
class NetDeviceCoreStats:
    """struct net_device_core_stats: what the core itself drops on behalf of a device."""

    rx_dropped: int = 0
    tx_dropped: int = 0
    rx_nohandler: int = 0
    rx_otherhost_dropped: int = 0


@dataclass(frozen=True, slots=True)
class RtnlLinkOps:
    """struct rtnl_link_ops: a kind of device that can be made by request.

    Attributes:
        setup: fills in a device that was just allocated.
        validate: refuses, by KernelError, what a request of this kind wants, before any device is looked for.
    """

    kind: str
    setup: "Callable[[NetDevice], None]"
    validate: Callable[[LinkMsg], None]


@dataclass(slots=True, eq=False, repr=False)
class NetDevice:
    """struct net_device."""

    net: "Net"
    name: str
    name_assign_type: int = NET_NAME_ENUM
    ifindex: int = 0
    type: int = 0
    flags: int = 0
    gflags: int = 0
    priv_flags: int = 0
    mtu: int = 0
    min_mtu: int = 0
    max_mtu: int = 0
    hard_header_len: int = 0
    min_header_len: int = 0
    addr_len: int = 0
    dev_addr: bytes = b""
    perm_addr: bytes = bytes(32)
    broadcast: bytes = b""
    addr_assign_type: int = NET_ADDR_PERM
    tx_queue_len: int = 0
    num_tx_queues: int = 1
    num_rx_queues: int = 1
    group: int = 0
    ifalias: str | None = None
    altnames: dict[str, None] = field(default_factory=dict)
    """The names beside `name` (dev->name_node->list), oldest first."""
    operstate: int = IF_OPER_UNKNOWN
    link_mode: int = 0
    promiscuity: int = 0
    allmulti: int = 0
    proto_down: bool = False
    gso_max_size: int = 65536
    gso_max_segs: int = 65535
    gro_max_size: int = 65536
    gso_ipv4_max_size: int = 65536
    gro_ipv4_max_size: int = 65536
    tso_max_size: int = 65536
    tso_max_segs: int = 65535
    lltx: bool = False
    netns_immutable: bool = False
    needs_free_netdev: bool = False
    dismantle: bool = False
    reg_state: NetdevState = NETREG_UNINITIALIZED
    present: bool = False
    """__LINK_STATE_PRESENT."""
    running: bool = False
    """__LINK_STATE_START."""
    carrier: bool = True
    """Not __LINK_STATE_NOCARRIER."""
    carrier_up_count: int = 0
    carrier_down_count: int = 0
    needed_headroom: int = 0
    needed_tailroom: int = 0
    link_watch: Timer | None = None
    """Ours: the work that tells of a change of the carrier, once there was one."""
    mc: dict[bytes, int] = field(default_factory=dict)
    """Hardware addresses of the groups to receive, oldest first, each with how many groups it stands for."""
    uc: dict[bytes, int] = field(default_factory=dict)
    """Hardware addresses to receive beside the device's own, oldest first, each with how often it was asked for."""
    uc_promisc: bool = False
    """The device is promiscuous for their sake."""
    qdisc: str = "noop"
    """The queue's active discipline: "noop" while the device is down."""
    qdisc_sleeping: str = "noop"
    """The discipline that is shown, and that comes back when the device does."""
    ingress_queue: bool = False
    """Somebody has asked for a discipline on what comes in."""
    features: int = 0
    """NETIF_F_*: what is in force.  `hw_features` may be changed, `wanted_features` were asked for."""
    hw_features: int = 0
    wanted_features: int = 0
    vlan_features: int = 0
    hw_enc_features: int = 0
    gso_partial_features: int = 0
    pcpu_stat_type: int = 0
    """NETDEV_PCPU_STAT_*: which counters the core allocates for the driver."""
    lstats: "PerCpu[PcpuLstats] | None" = None
    core_stats: NetDeviceCoreStats = field(default_factory=NetDeviceCoreStats)
    stats: RtnlLinkStats64 = field(default_factory=RtnlLinkStats64)
    offload_xstats_l3: RtnlHwStats64 | None = None
    """Kept only while somebody wants it."""
    header_ops: HeaderOps | None = None
    ethtool_ops: EthtoolOps | None = None
    netdev_ops: NetDeviceOps = NetDeviceOps()
    rtnl_link_ops: RtnlLinkOps | None = None
    rtnl_link_initializing: bool = False
    """It is being made by request: who makes it tells of it, and nobody before."""
    priv_destructor: "Callable[[NetDevice], None] | None" = None
    ip_ptr: "InDevice | None" = None
    ip6_ptr: "Inet6Dev | None" = None
    fib6_linkdown_mark: int = 0
    """Ours: routes over the device up to this serial carry RTNH_F_LINKDOWN."""
    net_notifier_list: list[NotifierBlock] = field(default_factory=list)
    notifier_info: "NetdevNotifierInfo" = field(init=False)
    """The info of a call that says nothing but the device, made once because every event needs one."""
    machine: "Machine" = field(init=False)

    def __post_init__(self) -> None:
        """Tie the device to its machine."""
        self.machine = self.net.machine
        self.notifier_info = NetdevNotifierInfo(self)

    def __repr__(self) -> str:
        """Enough to know it by: everything it refers to would be the whole machine."""
        return f"<NetDevice {self.name} ifindex {self.ifindex} in {self.net.name}>"


@dataclass(slots=True, eq=False, repr=False)
class NetdevNotifierInfo:
    """struct netdev_notifier_info: what comes with every netdevice event."""

    dev: NetDevice
    extack: str | None = None
    """A callback that vetoes may put the reason here."""


@dataclass(slots=True, eq=False, repr=False)
class NetdevNotifierInfoExt(NetdevNotifierInfo):
    """struct netdev_notifier_info_ext, of CHANGEMTU: the MTU from before the change."""

    mtu: int = 0


@dataclass(slots=True, eq=False, repr=False)
class NetdevNotifierChangeInfo(NetdevNotifierInfo):
    """struct netdev_notifier_change_info, of CHANGE: the flag bits that changed."""

    flags_changed: int = 0


@dataclass(slots=True, eq=False, repr=False)
class NetdevNotifierPreChangeaddrInfo(NetdevNotifierInfo):
    """struct netdev_notifier_pre_changeaddr_info: the hardware address to come."""

    dev_addr: bytes = b""


@dataclass(slots=True, eq=False, repr=False)
class NetdevNotifierOffloadXstatsInfo(NetdevNotifierInfo):
    """struct netdev_notifier_offload_xstats_info: what a subscriber that counts in hardware answers.

    Kernel: net/core/dev.c, netdev_offload_xstats_report_delta(), netdev_offload_xstats_report_used().
    """

    used: bool = False
    report_delta: RtnlHwStats64 = RtnlHwStats64()
    """What was counted since the last answer."""


@dataclass(slots=True, eq=False, repr=False)
class NetdevNotifierChangeupperInfo(NetdevNotifierInfo):
    """struct netdev_notifier_changeupper_info."""

    upper_dev: NetDevice | None = None
    master: bool = False
    linking: bool = False


# --- IPv4 -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False, repr=False)
class InIfaddr:
    """struct in_ifaddr."""

    ifa_local: bytes
    ifa_address: bytes
    ifa_prefixlen: int
    ifa_scope: int
    ifa_label: str
    ifa_dev: "InDevice"
    ifa_broadcast: bytes | None = None
    ifa_flags: int = 0
    ifa_proto: int = 0
    ifa_rt_priority: int = 0
    ifa_valid_lft: int = INFINITY_LIFE_TIME
    ifa_preferred_lft: int = INFINITY_LIFE_TIME
    ifa_cstamp: int = 0
    ifa_tstamp: int = 0


class Ipv4Devconf(dict[str, int]):
    """struct ipv4_devconf: net.ipv4.conf.NAME.*, under the names of /proc, in the order of IPV4_DEVCONF_*."""

    __slots__ = ("state",)

    def __init__(self, values: Mapping[str, int], state: Set[str] = frozenset()) -> None:
        """Copy `values`; `state` names those that were written, which no later default replaces."""
        super().__init__(values)
        self.state = set(state)


@dataclass(slots=True, eq=False, repr=False)
class IpMcList:
    """struct ip_mc_list: a group that the device has joined."""

    multiaddr: bytes
    users: int = 1
    mca_cstamp: int = 0
    loaded: bool = False
    """Whether the device receives its frames."""


@dataclass(slots=True, eq=False, repr=False)
class InDevice:
    """struct in_device: a device's IPv4 half."""

    dev: NetDevice
    cnf: Ipv4Devconf
    arp_parms: "NeighParms | None" = None
    ifa_list: list[InIfaddr] = field(default_factory=list)
    mc_list: dict[bytes, IpMcList] = field(default_factory=dict)
    """Newest last; the kernel's list is read from the end."""
    dead: bool = False


@dataclass(slots=True, eq=False, repr=False)
class FibAlias:
    """One IPv4 route: struct fib_alias, with its struct fib_info and the one struct fib_nh of that."""

    type: int
    table: int
    dst: bytes
    dst_len: int
    prefsrc: bytes
    scope: int
    dev: NetDevice | None
    """None for a route that refuses."""
    priority: int = 0
    tos: int = 0
    protocol: int = RTPROT_KERNEL
    gw: bytes = b""
    """The gateway, of IPv4 or of IPv6; empty if there is none."""
    nh_scope: int = RT_SCOPE_HOST
    nh_flags: int = 0
    fib_flags: int = 0
    """As the request had them."""
    tclassid: int = 0
    metrics: Mapping[int, int | str] = field(default_factory=dict)
    """RTAX_* that are not zero."""
    accessed: bool = False
    """A look-up has come by: FA_S_ACCESSED."""


@dataclass(slots=True, eq=False, repr=False)
class Rtable:
    """struct rtable: how a packet to an IPv4 address goes."""

    dev: NetDevice
    rt_type: int
    rt_flags: int
    lastuse: int
    """jiffies."""
    route: FibAlias | None = None
    """Where gateway and metrics come from."""
    is_input: bool = False
    tclassid: int = 0
    clntref: int = 1
    """References to it, that of who asks among them."""


@dataclass(slots=True, eq=False, repr=False)
class FibRule:
    """struct fib_rule, with what struct fib4_rule and struct fib6_rule add to it."""

    family: int
    pref: int = 0
    table: int = 0
    action: int = 0
    flags: int = 0
    proto: int = 0
    iifname: str = ""
    iifindex: int = 0
    """-1 for a device that is not there."""
    oifname: str = ""
    oifindex: int = 0
    mark: int = 0
    mark_mask: int = 0
    tun_id: bytes = bytes(8)
    l3mdev: int = 0
    suppress_prefixlen: int = -1
    suppress_ifgroup: int = -1
    target: int = 0
    ctarget: "FibRule | None" = None
    """The rule that `target` leads to, if there is one."""
    uid_range: tuple[int, int] | None = None
    ip_proto: int = 0
    sport_range: tuple[int, int] | None = None
    sport_mask: int = 0
    dport_range: tuple[int, int] | None = None
    dport_mask: int = 0
    src: bytes = b""
    src_len: int = 0
    dst: bytes = b""
    dst_len: int = 0
    dscp: int = 0
    """As in the second byte of a header."""
    dscp_mask: int = 0
    dscp_full: bool = False
    flowlabel: int = 0
    flowlabel_mask: int = 0
    tclassid: int = 0


# --- IPv6 -----------------------------------------------------------------------------------------------------------


class Ipv6Devconf(dict[str, int]):
    """struct ipv6_devconf: net.ipv6.conf.NAME.*, under the names of /proc."""

    __slots__ = ("stable_secret",)

    def __init__(self, values: Mapping[str, int], stable_secret: bytes | None = None) -> None:
        """Copy `values`; a secret of None is one that was never set."""
        super().__init__(values)
        self.stable_secret = stable_secret


class InetIfaddrState(IntEnum):
    """ifp->state: include/net/if_inet6.h."""

    INET6_IFADDR_STATE_PREDAD = 0
    INET6_IFADDR_STATE_DAD = 1
    INET6_IFADDR_STATE_POSTDAD = 2
    INET6_IFADDR_STATE_ERRDAD = 3
    INET6_IFADDR_STATE_DEAD = 4


(
    INET6_IFADDR_STATE_PREDAD,
    INET6_IFADDR_STATE_DAD,
    INET6_IFADDR_STATE_POSTDAD,
    INET6_IFADDR_STATE_ERRDAD,
    INET6_IFADDR_STATE_DEAD,
) = InetIfaddrState


@dataclass(slots=True, eq=False, repr=False)
class Inet6Ifaddr:
    """struct inet6_ifaddr."""

    addr: bytes
    prefix_len: int
    idev: "Inet6Dev"
    flags: int
    scope: int
    peer_addr: bytes | None = None
    rt_priority: int = 0
    ifa_proto: int = 0
    valid_lft: int = INFINITY_LIFE_TIME
    prefered_lft: int = INFINITY_LIFE_TIME
    cstamp: int = 0
    tstamp: int = 0
    state: InetIfaddrState = INET6_IFADDR_STATE_PREDAD
    serial: int = 0
    """Ours: counts the addresses of a namespace."""
    rt: "Fib6Info | None" = None
    dad_work: Timer | None = field(default=None, init=False)
    dad_queued: int = field(default=0, init=False)
    """Ours: the number of the queued work item that is this address's, while there is one."""
    dad_probes: int = field(default=0, init=False)
    lifetime_serial: int = field(default=0, init=False)
    """Ours: which entry of the queue of lifetimes is this address's."""
    wire: bytes = field(default=b"", init=False)
    """Ours: its announcement in bytes, as ifaddr.inet6_ifaddr_wire() keeps it."""
    wire_flags: int = field(default=-1, init=False)
    """Ours: the flags that are told there; -1 where nothing is kept."""


@dataclass(slots=True, eq=False, repr=False)
class Ifmcaddr6:
    """struct ifmcaddr6: a group that the device has joined."""

    mca_addr: bytes
    mca_users: int = 1
    mca_flags: int = 0
    mca_cstamp: int = 0


@dataclass(slots=True, eq=False, repr=False)
class Ifacaddr6:
    """struct ifacaddr6: an anycast address of the device."""

    aca_addr: bytes
    aca_rt: "Fib6Info"
    aca_users: int = 1
    aca_cstamp: int = 0


@dataclass(slots=True, eq=False, repr=False)
class PrefixUsers:
    """Ours: the addresses of one device that share a prefix, kept so that nobody has to search for them.

    `holders` are those for whose sake the prefix route stays (permanent, or without a prefix route of their own);
    `finite` are the others.  Both keep the order of joining.
    """

    holders: dict[bytes, Inet6Ifaddr] = field(default_factory=dict)
    finite: dict[bytes, Inet6Ifaddr] = field(default_factory=dict)
    expiries: list[tuple[int, bytes]] = field(default_factory=list)
    """A heap of (-jiffies of expiry, address) over `finite`, with stale entries left in until they come up."""


@dataclass(slots=True, eq=False, repr=False)
class Inet6Dev:
    """struct inet6_dev: a device's IPv6 half."""

    dev: NetDevice
    cnf: Ipv6Devconf
    if_flags: int = 0
    dead: bool = False
    sysctl_registered: bool = False
    """/proc/sys/net/ipv6/conf/NAME is there."""
    token: bytes = bytes(16)
    """Upper half always zero."""
    rs_timer: Timer | None = None
    rs_interval: int = 0
    """jiffies."""
    rs_probes: int = 0
    ipstats: list[int] = field(default_factory=lambda: [0] * IPSTATS_MIB_MAX)
    icmp6stats: list[int] = field(default_factory=lambda: [0] * ICMP6_MIB_MAX)
    icmp6msgstats: Counter[int] = field(default_factory=Counter)
    """struct icmpv6msg_mib_device: by type, plus 256 for those that were sent."""
    tstamp: int = 0
    ra_mtu: int = 0
    nd_parms: "NeighParms | None" = None
    addr_hash: dict[bytes, Inet6Ifaddr] = field(default_factory=dict)
    """The device's part of net->ipv6.inet6_addr_lst; oldest first."""
    addr_list: list[Inet6Ifaddr] | None = field(default_factory=list)
    """The same as the kernel has it, where that is known: ifaddr.inet6_addr_list() gives it."""
    prefixes: dict[tuple[bytes, int], PrefixUsers] = field(default_factory=dict)
    """Prefixes shorter than an address."""
    waiting: dict[Inet6Ifaddr, None] = field(default_factory=dict)
    """Ours: addresses whose DAD waits for the device to be ready."""
    predad: dict[Inet6Ifaddr, None] = field(default_factory=dict)
    """Ours: addresses in INET6_IFADDR_STATE_PREDAD."""
    lost_prefixes: dict[tuple[bytes, int], None] = field(default_factory=dict)
    """Ours: prefixes in use whose route may be missing, so that coming up need not look at every address."""
    mc_list: dict[bytes, Ifmcaddr6] = field(default_factory=dict)
    """Newest last; the kernel's list is read from the end."""
    mc_is_down: bool = False
    """Ours: groups have been dropped since they were last added to the device, so that there is something to add."""
    ac_list: dict[bytes, Ifacaddr6] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class Fib6Info:
    """struct fib6_info: one IPv6 route.  A null entry (::/0, reject) belongs to no table."""

    dst: bytes
    dst_len: int
    table: int
    dev: NetDevice | None
    metric: int = 0
    fib6_type: int = RTN_UNICAST
    fib6_flags: int = 0
    protocol: int = 0
    expires: int | None = None
    """jiffies, or None for a route that stays."""
    gateway: bytes = b""
    prefsrc: bytes | None = None
    pref: int = 0
    """ICMPV6_ROUTER_PREF_*."""
    metrics: Mapping[int, int | str] = field(default_factory=dict)
    """RTAX_* that are not zero."""
    nh_flags: int = 0
    pcpu: int | None = None
    """jiffies of the first look-up that led here, whose result is kept."""
    in_table: bool = False
    """fib6_node is set."""
    serial: int = 0
    """Ours: counts insertions, so that a device can mark all its routes of a moment at once."""


class HostRoute(Fib6Info):
    """The route to an address of this host, of which there may be many: what they have in common is the class's."""

    dst_len = 128
    table = RT_TABLE_LOCAL
    fib6_type = RTN_LOCAL
    fib6_flags = RTF_UP | RTF_NONEXTHOP | RTF_LOCAL
    protocol = RTPROT_KERNEL
    metrics: Mapping[int, int | str] = MappingProxyType({})

    def __init__(self, dst: bytes, dev: NetDevice) -> None:
        self.dst, self.dev = dst, dev


@dataclass(slots=True, eq=False, repr=False)
class Fib6Node:
    """struct fib6_node: a prefix in the tree of a table, as a number and a length.

    One without routes has two nodes below it, and borrows the route of one of them as its leaf.
    """

    key: int = 0
    bit: int = 0
    parent: "Fib6Node | None" = None
    left: "Fib6Node | None" = None
    right: "Fib6Node | None" = None
    leaf: Fib6Info | None = None
    routes: list[Fib6Info] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Fib6Table:
    """struct fib6_table: routes by (prefix, length), siblings by rising metric; and by device, for its going down."""

    id: int
    routes: dict[tuple[bytes, int], list[Fib6Info]] = field(default_factory=dict)
    by_dev: defaultdict[NetDevice | None, dict[Fib6Info, None]] = field(default_factory=lambda: defaultdict(dict))
    gc_list: dict[Fib6Info, None] = field(default_factory=dict)
    """tb6_gc_hlist: routes that expire.  Newest last; the kernel's list is read from the end."""
    root: Fib6Node = field(default_factory=Fib6Node)
    """tb6_root, as it was before `changes`."""
    changes: list[Fib6Info | None] = field(default_factory=list)
    """Ours: routes that came, and behind a None each that went, since the tree was grown."""


@dataclass(frozen=True, slots=True)
class AddrLabel:
    """struct ip6addrlbl_entry: what label addresses of a prefix have when a source is chosen."""

    prefix: bytes
    prefixlen: int
    ifindex: int
    label: int
    addrtype: int = 0


# --- neighbours -----------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False, repr=False)
class NeighParms:
    """struct neigh_parms: how a table treats the neighbours of a device, or (None) of devices to come.

    Attributes:
        data: counts and times in jiffies, by NDTPA_*.
        reachable_time: jiffies, drawn about NDTPA_BASE_REACHABLE_TIME.
    """

    dev: NetDevice | None
    data: dict[int, int]
    reachable_time: int


@dataclass(slots=True, eq=False, repr=False)
class Neighbour:
    """struct neighbour.

    Attributes:
        ha: its hardware address.
        used, confirmed, updated: jiffies.
        nud_state: NUD_*.
        flags: NTF_*, those of NDA_FLAGS_EXT shifted by NTF_EXT_SHIFT.
        type: RTN_*.
        held: references beside those of the table and of the timer.
    """

    tbl: "NeighTable"
    parms: NeighParms
    dev: NetDevice
    primary_key: bytes
    ha: bytes
    used: int
    confirmed: int
    updated: int
    nud_state: int = 0
    flags: int = 0
    type: int = RTN_UNICAST
    protocol: int = 0
    probes: int = 0
    held: int = 0
    timer: Timer | None = None


@dataclass(slots=True, eq=False, repr=False)
class PneighEntry:
    """struct pneigh_entry: an address that this host answers for in place of its owner."""

    net: "Net"
    dev: NetDevice | None
    key: bytes
    flags: int = 0
    protocol: int = 0
    permanent: bool = False


@dataclass(slots=True, eq=False, repr=False)
class NeighTable:
    """struct neigh_table: the neighbours of one family, in all namespaces of a machine.

    Attributes:
        constructor: makes of a new neighbour what its address and its device ask for, or raises KernelError.
        pconstructor: lets a new proxy entry be, or raises KernelError.
        pdestructor: undoes that.
        allow_add: raises KernelError if a device has no neighbours by request.
        last_flush, last_rand: jiffies.
        parms_list: those of devices, newest first.
        entries: by device and key, oldest first.
        phash_buckets: proxy entries, newest first.
        stats: struct neigh_statistics.
    """

    family: int
    id: str
    key_len: int
    entry_size: int
    parms: NeighParms
    hash_rnd: int
    last_flush: int
    last_rand: int
    constructor: Callable[[Neighbour], None] | None = None
    pconstructor: Callable[[PneighEntry], None] | None = None
    pdestructor: Callable[[PneighEntry], None] | None = None
    allow_add: Callable[[NetDevice], None] | None = None
    gc_interval: int = 0
    gc_thresh1: int = 128
    gc_thresh2: int = 512
    gc_thresh3: int = 1024
    hash_shift: int = 3
    parms_list: list[NeighParms] = field(default_factory=list)
    entries: dict[tuple[NetDevice, bytes], Neighbour] = field(default_factory=dict)
    phash_buckets: list[PneighEntry] = field(default_factory=list)
    stats: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False, repr=False)
class In6ValidatorInfo:
    """struct in6_validator_info: an address that is about to be added."""

    i6vi_addr: bytes
    i6vi_dev: Inet6Dev
    extack: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class InValidatorInfo:
    """struct in_validator_info."""

    ivi_addr: bytes
    ivi_dev: InDevice
    extack: str | None = None


# --- namespaces and the machine -------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False, repr=False)
class NetnsIpv6:
    """struct netns_ipv6."""

    devconf_all: Ipv6Devconf
    devconf_dflt: Ipv6Devconf
    fib6_tables: dict[int, Fib6Table]
    skip_notify_on_dev_down: int = 0
    dev_addr_genid: int = 0
    addr_serial: int = 0
    """Ours: counts the addresses that came."""
    addr_chk_work: Timer | None = None
    lifetime_serial: int = 0
    lifetimes: list[tuple[int, int, Inet6Ifaddr]] = field(default_factory=list)
    """Ours: a heap of (jiffies of the next limit, serial, address), stale entries left in until they come up."""
    fib6_has_custom_rules: bool = False
    addr_labels: list[AddrLabel] = field(default_factory=list)
    addr_labels_seq: int = 0
    fib6_null_entry: Fib6Info | None = None
    fib6_serial: int = 0
    ip6_fib_timer: Timer | None = None
    mc_autojoin: dict[tuple[int, bytes], None] = field(default_factory=dict)
    """What mc_autojoin_sk is a member of: groups joined for the sake of an address with IFA_F_MCAUTOJOIN.

    By index, since it stays a member when the device is gone.
    """
    with_prefsrc: dict[Fib6Info, None] = field(default_factory=dict)
    """Ours: the routes that name a source."""


@dataclass(slots=True, eq=False, repr=False)
class NetnsIpv4:
    """struct netns_ipv4."""

    devconf_all: Ipv4Devconf
    devconf_dflt: Ipv4Devconf
    fib: dict[tuple[int, bytes, int], list[FibAlias]] = field(default_factory=dict)
    """By (table, prefix, length)."""
    fib_tables: dict[int, None] = field(default_factory=dict)
    """The tables that there are, oldest first; one without routes stays."""
    fib_has_custom_rules: bool = False
    """local and main are two tables; until then a look-up in either goes through both."""
    fib_has_custom_local_routes: bool = False
    rt_cache: dict[tuple[str, object], Rtable] = field(default_factory=dict)
    """What look-ups have come to, by direction and by what the routes they came from are like."""
    dev_addr_genid: int = 0
    addr_chk_work: Timer | None = None
    finite: dict[InIfaddr, None] = field(default_factory=dict)
    """Ours: the addresses of inet_addr_lst that do not live for ever."""
    mc_autojoin: dict[tuple[int, bytes], None] = field(default_factory=dict)
    """What mc_autojoin_sk is a member of: groups joined for the sake of an address with IFA_F_MCAUTOJOIN.

    By index, since it stays a member when the device is gone.
    """


@dataclass(slots=True, eq=False, repr=False)
class Net:
    """struct net: a network namespace."""

    machine: "Machine"
    name: str
    netdev_chain: RawNotifierHead = field(init=False)
    dev_base_head: dict[int, NetDevice] = field(default_factory=dict)
    """Devices in registration order, by ifindex."""
    dev_name_head: dict[str, NetDevice] = field(default_factory=dict)
    """Devices by name, and by alternative name."""
    netns_ids: "dict[int, Net]" = field(default_factory=dict)
    """Other namespaces by the ids that this one knows them by."""
    ifindex_cursor: int = 1
    dev_base_seq: int = 1
    """Counts devices that come and go."""
    loopback_dev: NetDevice | None = None
    packet_sklist: "list[PacketSock]" = field(default_factory=list)
    """net->packet.sklist: the packet sockets, oldest first."""
    udp_table: dict[tuple[int, int], "list[InetSock]"] = field(default_factory=dict)
    """UDP sockets by family and port."""
    ping_table: dict[tuple[int, int], "InetSock"] = field(default_factory=dict)
    """Ping sockets by family and identifier."""
    frags: dict[tuple[object, ...], "FragQueue"] = field(default_factory=dict)
    """Packets of which fragments have come."""
    mib: dict[str, int] = field(default_factory=dict)
    """Counters under their names in /proc/net/snmp6, and in /proc/net/snmp as ``Ip.InReceives``."""
    ip_id: int = 0
    """Ours: the identification of the IPv4 packet that was sent last."""
    ipv4: NetnsIpv4 = field(init=False)
    ipv6: NetnsIpv6 = field(init=False)
    rules_ops: dict[int, list[FibRule]] = field(default_factory=dict)
    """Policy rules by family, in order of registration; those of a family by rising priority."""

    def __post_init__(self) -> None:
        """Give the namespace its own, empty, notifier chain."""
        self.netdev_chain = RawNotifierHead("netdev_chain (per namespace)", self.machine.trace)

    def __repr__(self) -> str:
        """Enough to know it by."""
        return f"<Net {self.name}>"


@dataclass(frozen=True, slots=True, eq=False)
class PernetOperations:
    """struct pernet_operations: what is set up and torn down with every namespace."""

    name: str
    init: Callable[[Net], None] | None = None
    exit: Callable[[Net], None] | None = None


@dataclass(slots=True, eq=False)
class PacketType:
    """struct packet_type: who takes packets of a protocol, or with ETH_P_ALL a look at all of them.

    Attributes:
        type: ETH_P_*.
        func: takes the packet, which is a copy where others get it too.
        dev: only packets of this device.
        ignore_outgoing: not those that are being sent.
    """

    type: int
    func: "Callable[[SkBuff, NetDevice], None]"
    dev: "NetDevice | None" = None
    net: "Net | None" = None
    owner: object = None
    """The socket behind it: it does not see what it sends itself."""
    ignore_outgoing: bool = False


@dataclass(slots=True, eq=False, repr=False)
class PacketSock(Sock):
    """struct packet_sock: a socket that sends frames as they are, and sees what devices send and receive.

    Attributes:
        num: ETH_P_* of what it wants to see, 0 for nothing.
        ifindex: only of this device; 0 for all, -1 once that is gone.
        vnet_hdr: a struct virtio_net_hdr stands in front of every packet (PACKET_VNET_HDR).
        prot_hook: registered while it sees packets.
    """

    net: "Net" = field(kw_only=True)
    num: int = 0
    ifindex: int = 0
    vnet_hdr: bool = False
    ignore_outgoing: bool = False
    tp_packets: int = 0
    prot_hook: PacketType | None = None


@dataclass(slots=True, eq=False, repr=False)
class InetSock(Sock):
    """struct inet_sock: a UDP or ping socket of IPv4 or IPv6.

    Attributes:
        family: AF_INET or AF_INET6.
        saddr: the address that it is bound to, all zeros for any.
        num: the port that it is bound to, or a ping socket's identifier; 0 while it has none.
        no_check6_rx: takes IPv6 datagrams without a checksum (UDP_NO_CHECK6_RX).
    """

    net: "Net" = field(kw_only=True)
    family: int = field(kw_only=True)
    saddr: bytes = b""
    num: int = 0
    bound_dev_if: int = 0
    no_check6_rx: bool = False
    recverr: bool = False


@dataclass(slots=True, eq=False, repr=False)
class FragQueue:
    """struct inet_frag_queue: the fragments of one packet, as far as they have come.

    Attributes:
        fragments: by offset; `first` is the packet that came with offset 0.
        len: bytes of the whole, as far as that is known.
        meat: bytes that have come.
    """

    fragments: dict[int, bytes] = field(default_factory=dict)
    first: SkBuff | None = None
    len: int = 0
    meat: int = 0
    last_in: bool = False
    complete: bool = False
    truesize: int = 0
    timer: Timer | None = None


@dataclass(slots=True, eq=False)
class SoftnetData:
    """struct softnet_data: one CPU's packets on their way from sending to receiving.

    Attributes:
        backlog_scheduled: the backlog's NAPI is on the poll list (NAPI_STATE_SCHED).
        recursion: transmissions nested within one another (xmit.recursion).
        processed, dropped, time_squeeze: columns of /proc/net/softnet_stat.
        weight: how many packets its next poll takes, which is what was set when it was last polled; 0, never.
    """

    input_pkt_queue: deque[SkBuff] = field(default_factory=deque)
    process_queue: deque[SkBuff] = field(default_factory=deque)
    backlog_scheduled: bool = False
    recursion: int = 0
    processed: int = 0
    dropped: int = 0
    time_squeeze: int = 0
    received_rps: int = 0
    weight: int = 0


@dataclass(slots=True, eq=False)
class Softnet:
    """What net/core/dev.c remembers of packets for the whole machine, and its settings (net.core.*).

    Attributes:
        bh_disabled: how often bottom halves are turned off; at 0 they run.
        held: bottom halves run only when somebody asks for it, so that packets can be looked at in flight.
        pending: NET_RX_SOFTIRQ is raised.
    """

    data: dict[int, SoftnetData] = field(default_factory=dict)
    ptype_all: list[PacketType] = field(default_factory=list)
    ptype_base: dict[int, list[PacketType]] = field(default_factory=dict)
    bh_disabled: int = 0
    held: bool = False
    pending: bool = False
    running: bool = False
    netdev_max_backlog: int = 1000
    dev_weight: int = 64
    dev_weight_rx_bias: int = 1
    dev_weight_tx_bias: int = 1
    netdev_budget: int = 300

    @property
    def dev_rx_weight(self) -> int:
        """How many packets one poll of a backlog takes (net_hotdata.dev_rx_weight)."""
        return self.dev_weight * self.dev_weight_rx_bias


AutoAddrs: TypeAlias = Callable[[NetDevice], None]


class Chance(Protocol):
    """Where every random decision of the model comes from; random.Random is one."""

    def randrange(self, stop: int, /) -> int:
        """A number from 0 up to, not including, `stop`."""


@dataclass(frozen=True, slots=True)
class InetLinkWish:
    """What a request wants of IPv4 (IFLA_AF_SPEC/AF_INET): settings by IPV4_DEVCONF_*, in the request's order."""

    conf: tuple[tuple[int, int], ...] = ()


AfReader: TypeAlias = Callable[[], Inet6LinkInfo | InetLinkWish]
"""Reads what a request wants of an address family, or raises KernelError if that cannot be read."""


@dataclass(frozen=True, slots=True)
class RtnlAfOps:
    """struct rtnl_af_ops: what an address family says and takes in a link message."""

    fill_link_af: Callable[[AfSpec, NetDevice, int], AfSpec] | None = None
    """Told what the others say, the device, and RTEXT_FILTER_*."""
    validate_link_af: Callable[[NetDevice, AfReader], None] | None = None
    set_link_af: Callable[[NetDevice, AfReader], None] | None = None


@dataclass(slots=True, eq=False, repr=False)
class Machine:
    """Everything that one modelled kernel remembers."""

    chance: Chance
    trace: Trace
    timers: TimerBase
    cpus: Cpus = field(default_factory=Cpus)
    cpu: int = 0
    """The CPU that the caller runs on."""
    percpu_allocator: Allocator = field(default_factory=Allocator)
    softnet: Softnet = field(default_factory=Softnet)
    blackhole_netdev: NetDevice | None = None
    """The device of packets that have lost their own; it is in no list."""
    rtnl_held: bool = False
    rtnl_mutex: AbstractContextManager[None] | None = None
    """What rtnl_lock() gives."""
    asker: Asker | None = None
    """Whose request is being served, if it came through a socket."""
    effects: list[Said] = field(default_factory=list)
    neigh_tables: dict[int, NeighTable] = field(default_factory=dict)
    """By family, that of ARP first."""
    net_namespace_list: list[Net] = field(default_factory=list)
    pernet_subsys: list[PernetOperations] = field(default_factory=list)
    pernet_device: list[PernetOperations] = field(default_factory=list)
    dev_boot_phase: bool = True
    rtnl_af_ops: dict[int, RtnlAfOps] = field(default_factory=dict)
    link_ops: dict[str, RtnlLinkOps] = field(default_factory=dict)
    """Kinds of devices, by name."""
    auto_addrs_by_type: dict[int, AutoAddrs] = field(default_factory=dict)
    """Device type handlers added by users; they win over addrconf.AUTO_ADDRS_BY_TYPE."""
    netdev_chain: RawNotifierHead = field(init=False)
    inetaddr_chain: BlockingNotifierHead = field(init=False)
    inetaddr_validator_chain: BlockingNotifierHead = field(init=False)
    inet6addr_chain: AtomicNotifierHead = field(init=False)
    inet6addr_validator_chain: BlockingNotifierHead = field(init=False)
    ears: Ears = field(init=False)

    def __post_init__(self) -> None:
        """Make the chains."""
        self.ears = Ears(self.trace)
        self.netdev_chain = RawNotifierHead("netdev_chain", self.trace)
        self.inetaddr_chain = BlockingNotifierHead("inetaddr_chain", self.trace)
        self.inetaddr_validator_chain = BlockingNotifierHead("inetaddr_validator_chain", self.trace)
        self.inet6addr_chain = AtomicNotifierHead("inet6addr_chain", self.trace)
        self.inet6addr_validator_chain = BlockingNotifierHead("inet6addr_validator_chain", self.trace)


ADDRCONF_NOTIFY_PRIORITY: Final = 0
"""Kernel: include/net/addrconf.h."""
