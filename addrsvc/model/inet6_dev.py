"""net/ipv6/addrconf.c, the IPv6 half of a device: made when IPv6 first needs it, told in link and netconf messages."""

from collections.abc import Mapping
from dataclasses import replace
from errno import EACCES, EINVAL
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import (
    in6addr_interfacelocal_allnodes,
    in6addr_linklocal_allnodes,
    in6addr_linklocal_allrouters,
)
from addrsvc.model.ip6_route import (
    addrconf_add_mroute,
)
from addrsvc.model.mcast import ipv6_dev_mc_inc, ipv6_mc_up
from addrsvc.model.neighbour import neigh_parms_alloc
from addrsvc.model.rtnl import ASSERT_RTNL, dev_get_flags, netif_oper_up, rtnl_notify
from addrsvc.model.structs import (
    Inet6Dev,
    Ipv6Devconf,
    Net,
    NetDevice,
)
from addrsvc.model.timer import cstamp_delta, jiffies_to_msecs
from addrsvc.netlink.messages import AfSpec, IflaCacheinfo, Inet6LinkInfo, LinkMsg, NetconfMsg
from addrsvc.uapi import (
    AF_INET6,
    ARPHRD_NONE,
    ARPHRD_SIT,
    ARPHRD_TUNNEL,
    ARPHRD_TUNNEL6,
    DEVCONF_NAMES,
    ICMP6_MIB_MAX,
    IF_OPER_DOWN,
    IF_READY,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_UP,
    IN6_ADDR_GEN_MODE_EUI64,
    IN6_ADDR_GEN_MODE_RANDOM,
    IN6_ADDR_GEN_MODE_STABLE_PRIVACY,
    IPSTATS_MIB_MAX,
    IPV6_MIN_MTU,
    NDTPA_RETRANS_TIME,
    NETCONFA_IFINDEX_ALL,
    NETCONFA_IFINDEX_DEFAULT,
    RTEXT_FILTER_SKIP_STATS,
    RTM_DELNETCONF,
    RTM_NEWLINK,
    RTM_NEWNETCONF,
)

__all__ = [
    "FORWARDING_IFINDEX", "addrconf_add_dev", "addrconf_link_ready", "addrconf_sysctl_register",
    "addrconf_sysctl_unregister", "check_addr_gen_mode", "check_stable_privacy", "inet6_fill_ifinfo",
    "inet6_fill_ifla6_attrs", "inet6_fill_link_af", "inet6_ifinfo_notify", "inet6_netconf_fill_devconf",
    "inet6_netconf_get_devconf", "inet6_netconf_notify_devconf", "ipv6_add_dev", "ipv6_find_idev", "ipv6_store_devconf",
]  # fmt: skip

_RESERVED_NAMES = ("all", "default")
_NO_TEMPADDR_TYPES = (ARPHRD_TUNNEL, ARPHRD_TUNNEL6, ARPHRD_SIT, ARPHRD_NONE)


# --- the IPv6 half of a device --------------------------------------------------------------------------------------


def addrconf_link_ready(dev: NetDevice) -> bool:
    """Whether addresses may be made: the operational state lets traffic pass, and there is a queue that sends.

    Kernel: net/ipv6/addrconf.c, addrconf_link_ready().
    """
    return netif_oper_up(dev) and dev.qdisc != "noop"


def ipv6_add_dev(dev: NetDevice) -> Inet6Dev:
    """Give a device its IPv6 half: settings copied from `default`, and membership in ff01::1 and ff02::1.

    Kernel: net/ipv6/addrconf.c, ipv6_add_dev().

    The blackhole is exempt from all that anybody could see: the least MTU, settings, groups.

    Raises:
        KernelError: EINVAL, the MTU is below 1280, or the device is called as a directory of /proc already is.
    """
    ASSERT_RTNL(dev)
    is_blackhole = dev is dev.machine.blackhole_netdev
    if dev.mtu < IPV6_MIN_MTU and not is_blackhole:
        raise KernelError(EINVAL)
    idev = Inet6Dev(dev, _devconf_for(dev))
    if dev.running and addrconf_link_ready(dev):
        idev.if_flags |= IF_READY
    idev.tstamp = dev.machine.timers.jiffies
    idev.nd_parms = neigh_parms_alloc(dev, dev.machine.neigh_tables[AF_INET6])
    if not is_blackhole:
        addrconf_sysctl_register(idev)
    dev.ip6_ptr = idev
    if is_blackhole:
        return idev
    ipv6_dev_mc_inc(dev, in6addr_interfacelocal_allnodes)
    ipv6_dev_mc_inc(dev, in6addr_linklocal_allnodes)
    if idev.cnf["forwarding"] and dev.flags & IFF_MULTICAST:
        ipv6_dev_mc_inc(dev, in6addr_linklocal_allrouters)
    return idev


def _devconf_for(dev: NetDevice) -> Ipv6Devconf:
    dflt = dev.net.ipv6.devconf_dflt
    cnf = Ipv6Devconf(dflt, dflt.stable_secret)
    cnf["mtu"] = dev.mtu
    if cnf.stable_secret is not None:
        cnf["addr_gen_mode"] = IN6_ADDR_GEN_MODE_STABLE_PRIVACY
    if dev.flags & (IFF_NOARP | IFF_LOOPBACK):
        cnf["accept_dad"] = -1
    if dev.flags & IFF_LOOPBACK or dev.type in _NO_TEMPADDR_TYPES:
        cnf["use_tempaddr"] = -1
    return cnf


def ipv6_find_idev(dev: NetDevice) -> Inet6Dev:
    """The IPv6 half of a device, made if there is none.

    Kernel: net/ipv6/addrconf.c, ipv6_find_idev().

    Raises:
        KernelError: as ipv6_add_dev().
    """
    ASSERT_RTNL(dev)
    idev = dev.ip6_ptr or ipv6_add_dev(dev)
    if idev.mc_is_down and dev.flags & IFF_UP:
        ipv6_mc_up(idev)
    return idev


def addrconf_add_dev(dev: NetDevice) -> Inet6Dev:
    """The IPv6 half of a device that is about to get an address.

    Kernel: net/ipv6/addrconf.c, addrconf_add_dev().

    Raises:
        KernelError: EACCES, IPv6 is disabled there; or as ipv6_add_dev().
    """
    ASSERT_RTNL(dev)
    idev = ipv6_find_idev(dev)
    if idev.cnf["disable_ipv6"]:
        raise KernelError(EACCES, "ipv6: IPv6 is disabled on this device")
    if not dev.flags & IFF_LOOPBACK:
        addrconf_add_mroute(dev)
    return idev


def addrconf_sysctl_register(idev: Inet6Dev) -> None:
    """Make net.ipv6.conf.NAME appear, and say so.

    Kernel: net/ipv6/addrconf.c, addrconf_sysctl_register(), __addrconf_sysctl_register().

    Raises:
        KernelError: EINVAL, the device is called "all" or "default".
    """
    if idev.dev.name in _RESERVED_NAMES:
        raise KernelError(EINVAL)
    idev.sysctl_registered = True
    rtnl_notify(idev.dev.net, inet6_netconf_fill_devconf(idev.dev.ifindex, idev.cnf))


def addrconf_sysctl_unregister(idev: Inet6Dev) -> None:
    """Make it go, and say so if it was there.

    Kernel: net/ipv6/addrconf.c, addrconf_sysctl_unregister().
    """
    if idev.sysctl_registered:
        idev.sysctl_registered = False
        rtnl_notify(idev.dev.net, NetconfMsg(RTM_DELNETCONF, ifindex=idev.dev.ifindex))


# --- what is said of a device ---------------------------------------------------------------------------------------


# Settings that are told in milliseconds, and are seconds below /proc.
_SECONDS = frozenset({
    "router_probe_interval", "router_solicitation_delay", "router_solicitation_interval",
    "router_solicitation_max_interval",
})  # fmt: skip
_IPV6_MAXPLEN = 65535
_U32_MAX = 0xFFFFFFFF


def ipv6_store_devconf(cnf: Ipv6Devconf) -> tuple[int, ...]:
    """The settings in the order of DEVCONF_*, as signed numbers of 32 bits; of a secret it is not told even that it is.

    Kernel: net/ipv6/addrconf.c, ipv6_store_devconf().
    """
    values = [cnf.get(name, 0) * 1000 if name in _SECONDS else cnf.get(name, 0) for name in DEVCONF_NAMES]
    return tuple([(value + (1 << 31) & 0xFFFFFFFF) - (1 << 31) for value in values])


def inet6_fill_ifla6_attrs(idev: Inet6Dev, ext_filter_mask: int = 0) -> Inet6LinkInfo:
    """The IPv6 half of a device as link messages tell it.

    Kernel: net/ipv6/addrconf.c, inet6_fill_ifla6_attrs().
    Differs: of packets only router solicitations are counted.
    """
    assert idev.nd_parms is not None
    wants_stats = not ext_filter_mask & RTEXT_FILTER_SKIP_STATS
    return Inet6LinkInfo(
        flags=idev.if_flags,
        cacheinfo=IflaCacheinfo(
            _IPV6_MAXPLEN,
            cstamp_delta(idev.tstamp),
            jiffies_to_msecs(idev.nd_parms.reachable_time) & _U32_MAX,
            jiffies_to_msecs(idev.nd_parms.data[NDTPA_RETRANS_TIME]) & _U32_MAX,
        ),
        conf=ipv6_store_devconf(idev.cnf),
        stats=(IPSTATS_MIB_MAX, *idev.ipstats[1:]) if wants_stats else None,
        icmp6stats=(ICMP6_MIB_MAX, *idev.icmp6stats[1:]) if wants_stats else None,
        token=idev.token,
        addr_gen_mode=idev.cnf["addr_gen_mode"],
        ra_mtu=idev.ra_mtu or None,
    )


def inet6_fill_link_af(spec: AfSpec, dev: NetDevice, ext_filter_mask: int) -> AfSpec:
    """Add what a link message says of IPv6; nothing for a device without.

    Kernel: net/ipv6/addrconf.c, inet6_fill_link_af().
    """
    idev = dev.ip6_ptr
    return spec if idev is None else replace(spec, inet6=inet6_fill_ifla6_attrs(idev, ext_filter_mask))


def inet6_fill_ifinfo(idev: Inet6Dev) -> LinkMsg:
    """A device as IPv6 sees it.

    Kernel: net/ipv6/addrconf.c, inet6_fill_ifinfo().
    """
    dev = idev.dev
    return LinkMsg(
        nlmsg_type=RTM_NEWLINK,
        ifi_family=AF_INET6,
        ifi_type=dev.type,
        ifi_index=dev.ifindex,
        ifi_flags=dev_get_flags(dev),
        ifname=dev.name,
        address=dev.dev_addr if dev.addr_len else None,
        mtu=dev.mtu,
        operstate=dev.operstate if dev.running else IF_OPER_DOWN,
        inet6=inet6_fill_ifla6_attrs(idev),
    )


def inet6_ifinfo_notify(idev: Inet6Dev) -> None:
    """Say to the IPV6_IFINFO group how a device stands.

    Kernel: net/ipv6/addrconf.c, inet6_ifinfo_notify().
    """
    rtnl_notify(idev.dev.net, inet6_fill_ifinfo(idev))


def inet6_netconf_fill_devconf(ifindex: int, cnf: Mapping[str, int]) -> NetconfMsg:
    """All settings that a message can tell.

    Kernel: net/ipv6/addrconf.c, inet6_netconf_fill_devconf().
    """
    return NetconfMsg(
        ifindex=ifindex,
        forwarding=cnf["forwarding"],
        mc_forwarding=cnf["mc_forwarding"],
        proxy_neigh=cnf["proxy_ndp"],
        ignore_routes_with_linkdown=cnf["ignore_routes_with_linkdown"],
    )


def inet6_netconf_get_devconf(net: Net, ifindex: int) -> NetconfMsg:
    """The settings of a device, of NETCONFA_IFINDEX_ALL or of NETCONFA_IFINDEX_DEFAULT.

    Kernel: net/ipv6/addrconf.c, inet6_netconf_get_devconf().

    Raises:
        KernelError: EINVAL, no such device, or none with IPv6.
    """
    common = {NETCONFA_IFINDEX_ALL: net.ipv6.devconf_all, NETCONFA_IFINDEX_DEFAULT: net.ipv6.devconf_dflt}
    cnf: Mapping[str, int] | None = common.get(ifindex)
    if cnf is None:
        dev = net.dev_base_head.get(ifindex)
        if dev is None or dev.ip6_ptr is None:
            raise KernelError(EINVAL)
        cnf = dev.ip6_ptr.cnf
    return inet6_netconf_fill_devconf(ifindex, cnf)


def inet6_netconf_notify_devconf(
    net: Net,
    ifindex: int,
    *,
    forwarding: int | None = None,
    proxy_neigh: int | None = None,
    ignore_routes_with_linkdown: int | None = None,
) -> None:
    """Say that a setting changed; `ifindex` is a device's, NETCONFA_IFINDEX_ALL or NETCONFA_IFINDEX_DEFAULT.

    Kernel: net/ipv6/addrconf.c, inet6_netconf_notify_devconf().
    """
    msg = NetconfMsg(
        RTM_NEWNETCONF,
        ifindex=ifindex,
        forwarding=forwarding,
        proxy_neigh=proxy_neigh,
        ignore_routes_with_linkdown=ignore_routes_with_linkdown,
    )
    rtnl_notify(net, msg)


# --- what a link message may want of IPv6 -----------------------------------------------------------------------------


def check_addr_gen_mode(mode: int) -> None:
    """Raise unless it is one of the four modes.

    Kernel: net/ipv6/addrconf.c, check_addr_gen_mode().

    Raises:
        KernelError: EINVAL.
    """
    if not IN6_ADDR_GEN_MODE_EUI64 <= mode <= IN6_ADDR_GEN_MODE_RANDOM:
        raise KernelError(EINVAL)


def check_stable_privacy(idev: Inet6Dev, mode: int) -> None:
    """Raise for stable privacy without a secret.

    Kernel: net/ipv6/addrconf.c, check_stable_privacy().

    Raises:
        KernelError: EINVAL.
    """
    secrets = (idev.cnf.stable_secret, idev.dev.net.ipv6.devconf_dflt.stable_secret)
    if mode == IN6_ADDR_GEN_MODE_STABLE_PRIVACY and secrets == (None, None):
        raise KernelError(EINVAL)


FORWARDING_IFINDEX: Final = {"all": NETCONFA_IFINDEX_ALL, "default": NETCONFA_IFINDEX_DEFAULT}
"""As which device the two that are none appear in netconf messages."""
