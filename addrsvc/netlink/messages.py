"""rtnetlink messages as frozen values: the one currency of addrsvc.

The model says them, the mirror compares and sends them, the command line prints them.  A field that is None is an
attribute that the message does not carry.  Addresses are packed bytes: 4 for AF_INET, 16 for AF_INET6, 6 for the
loopback's hardware address.  Where the bytes lie on the wire is not known here.
"""

from dataclasses import dataclass
from typing import TypeAlias

from addrsvc.uapi import (
    AF_INET6,
    AF_UNSPEC,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNETCONF,
    RTM_NEWROUTE,
)

__all__ = [
    "AddrMsg", "IfaCacheinfo", "Inet6LinkInfo", "LinkMsg", "Message", "NetconfMsg", "RouteMsg", "Sysctl",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Inet6LinkInfo:
    """What a link message says of IPv6 (IFLA_AF_SPEC/AF_INET6, or IFLA_PROTINFO in family AF_INET6)."""

    flags: int | None = None
    """IFLA_INET6_FLAGS: IF_READY and kin."""
    addr_gen_mode: int | None = None
    """IFLA_INET6_ADDR_GEN_MODE: IN6_ADDR_GEN_MODE_*."""
    disable_ipv6: int | None = None
    """The device's disable_ipv6, out of IFLA_INET6_CONF.  Read only: it is set by a Sysctl."""
    mtu6: int | None = None
    """The device's IPv6 MTU, out of IFLA_INET6_CONF.  Read only."""


@dataclass(frozen=True, slots=True)
class LinkMsg:
    """RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK: a device, or a request to change one."""

    nlmsg_type: int = RTM_NEWLINK
    nlmsg_flags: int = 0
    ifi_family: int = AF_UNSPEC
    ifi_type: int = 0
    ifi_index: int = 0
    ifi_flags: int = 0
    ifi_change: int = 0
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
    num_rx_queues: int | None = None
    carrier: int | None = None
    qdisc: str | None = None
    ifalias: str | None = None
    address: bytes | None = None
    broadcast: bytes | None = None
    event: int | None = None
    proto_down: int | None = None
    new_ifindex: int | None = None
    inet6: Inet6LinkInfo | None = None


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
    target_netnsid: int | None = None
    """The id by which the asker knows the namespace that it asked about."""


@dataclass(frozen=True, slots=True)
class RouteMsg:
    """RTM_NEWROUTE and RTM_DELROUTE."""

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
    priority: int | None = None
    oif: int | None = None
    gateway: bytes | None = None
    prefsrc: bytes | None = None
    expires: int | None = None
    """The rta_expires of RTA_CACHEINFO, in 1/100 s; 0 for a route that does not expire."""
    pref: int | None = None


@dataclass(frozen=True, slots=True)
class NetconfMsg:
    """RTM_NEWNETCONF and RTM_DELNETCONF."""

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


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A write below /proc/sys/net: not rtnetlink, but the other door by which a namespace is configured.

    `name` is dotted with the device name as one part, ``net.ipv6.conf.lo.disable_ipv6``; a dot inside a device name is
    written as a slash, as sysctl(8) does.  `value` is the text written.
    """

    name: str
    value: str


Message: TypeAlias = LinkMsg | AddrMsg | RouteMsg | NetconfMsg | Sysctl
