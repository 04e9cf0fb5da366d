"""net/ipv6/addrconf.c: what IPv6 makes of the events of network devices; dispatch by event, then by device type.

The rest of that file stands in `inet6_dev`, `ifaddr`, `dad`, `lifetimes`, `addr_request` and `sysctl`.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import EINVAL
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addr_gen import addrconf_addr_gen
from addrsvc.model.addrconf_core import (
    in6addr_interfacelocal_allrouters,
    in6addr_linklocal_allrouters,
    in6addr_loopback,
    in6addr_sitelocal_allrouters,
    inet6addr_notifier_call_chain,
    ipv6_addr_prefix,
)
from addrsvc.model.anycast import ipv6_ac_destroy_dev
from addrsvc.model.dad import addrconf_dad_run, addrconf_dad_start
from addrsvc.model.ifaddr import (
    Ifa6Config,
    addrconf_join_anycast,
    addrconf_leave_anycast,
    addresses_to_restore,
    cancel_dad_work,
    inet6_addr_list,
    ipv6_add_addr,
    ipv6_ifa_notify,
    ipv6_unlink_addr,
    set_state,
)
from addrsvc.model.inet6_dev import (
    addrconf_add_dev,
    addrconf_link_ready,
    addrconf_sysctl_register,
    addrconf_sysctl_unregister,
    inet6_ifinfo_notify,
    inet6_netconf_notify_devconf,
    ipv6_add_dev,
    ipv6_find_idev,
)
from addrsvc.model.inet6_link_af import inet6_ops
from addrsvc.model.ip6_route import (
    addrconf_f6i_alloc,
    addrconf_prefix_route,
    rt6_disable_ip,
    rt6_sync_down_dev,
    rt6_sync_up,
)
from addrsvc.model.mcast import (
    addrconf_leave_solict,
    ipv6_dev_mc_dec,
    ipv6_dev_mc_inc,
    ipv6_mc_destroy_dev,
    ipv6_mc_down,
    ipv6_mc_up,
)
from addrsvc.model.neighbour import neigh_ifdown, neigh_parms_release
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_OK, NotifierBlock, notifier_from_errno
from addrsvc.model.rtnl import ASSERT_RTNL, printk, rtnl_lock
from addrsvc.model.structs import (
    ADDRCONF_NOTIFY_PRIORITY,
    INET6_IFADDR_STATE_DEAD,
    INET6_IFADDR_STATE_PREDAD,
    Inet6Dev,
    Inet6Ifaddr,
    Machine,
    NetDevice,
    NetdevNotifierChangeInfo,
    NetdevNotifierInfo,
)
from addrsvc.model.timer import del_timer
from addrsvc.uapi import (
    AF_INET6,
    ARPHRD_6LOWPAN,
    ARPHRD_ARCNET,
    ARPHRD_ETHER,
    ARPHRD_FDDI,
    ARPHRD_IEEE1394,
    ARPHRD_INFINIBAND,
    ARPHRD_IP6GRE,
    ARPHRD_LOOPBACK,
    ARPHRD_NONE,
    ARPHRD_RAWIP,
    ARPHRD_TUNNEL,
    ARPHRD_TUNNEL6,
    IF_RA_RCVD,
    IF_READY,
    IF_RS_SENT,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFA_F_TENTATIVE,
    IFA_HOST,
    IFA_LINK,
    IFAPROT_KERNEL_LO,
    IFF_MULTICAST,
    IFF_NO_ADDRCONF,
    IFF_NOARP,
    IFF_UP,
    IN6_ADDR_GEN_MODE_EUI64,
    IN6_ADDR_GEN_MODE_RANDOM,
    IPV6_MIN_MTU,
    NETDEV_CHANGE,
    NETDEV_CHANGEMTU,
    NETDEV_CHANGENAME,
    NETDEV_DOWN,
    NETDEV_REGISTER,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    RTM_DELADDR,
    RTM_NEWADDR,
)

__all__ = [
    "AUTO_ADDRS_BY_TYPE", "ON_NETDEV_EVENT", "add_addr", "addrconf_ifdown", "addrconf_init",
    "addrconf_init_auto_addrs", "addrconf_notify", "dev_disable_change", "dev_forward_change", "init_loopback",
    "ipv6_dev_notf",
]  # fmt: skip

_ALL_ROUTERS = (in6addr_linklocal_allrouters, in6addr_interfacelocal_allrouters, in6addr_sitelocal_allrouters)


# --- addresses that come by themselves: dispatch by device type -----------------------------------------------------


def add_addr(idev: Inet6Dev, addr: bytes, plen: int, *, scope: int, proto: int) -> None:
    """Add an address on the kernel's own behalf: permanent, not tentative, announced at once.

    Kernel: net/ipv6/addrconf.c, add_addr().
    Differs: a refusal is not an error, as there; it leaves no trace.
    """
    cfg = Ifa6Config(addr, plen, IFA_F_PERMANENT, scope, ifa_proto=proto)
    try:
        ifp = ipv6_add_addr(idev, cfg)
    except KernelError:
        return
    ifp.flags &= ~IFA_F_TENTATIVE
    # Nobody has made its prefix route; that of a device which is down is made when it comes up.
    idev.lost_prefixes[ipv6_addr_prefix(addr, plen), plen] = None
    ipv6_ifa_notify(RTM_NEWADDR, ifp)


def init_loopback(dev: NetDevice) -> None:
    """Give the loopback device its one address.

    Kernel: net/ipv6/addrconf.c, init_loopback().
    Differs: the debug line is remembered as a Printk effect.
    """
    ASSERT_RTNL(dev)
    try:
        idev = ipv6_find_idev(dev)
    except KernelError:
        printk(dev.machine, "debug", "IPv6: init_loopback: add_dev failed")
        return
    add_addr(idev, in6addr_loopback, 128, scope=IFA_HOST, proto=IFAPROT_KERNEL_LO)


def addrconf_dev_config(dev: NetDevice) -> None:
    """Configure a device that is like Ethernet; of any other type nothing but its groups.

    Kernel: net/ipv6/addrconf.c, addrconf_dev_config().
    """
    ASSERT_RTNL(dev)
    if dev.type not in _ETHERNET_LIKE:
        if dev.ip6_ptr is not None and dev.flags & IFF_UP and dev.flags & IFF_MULTICAST:
            ipv6_mc_up(dev.ip6_ptr)
        return
    try:
        idev = addrconf_add_dev(dev)
    except KernelError:
        return
    if dev.type == ARPHRD_NONE and idev.cnf["addr_gen_mode"] == IN6_ADDR_GEN_MODE_EUI64:
        idev.cnf["addr_gen_mode"] = IN6_ADDR_GEN_MODE_RANDOM
    addrconf_addr_gen(idev)


# The types whose addresses addrconf_dev_config() knows how to make; all others it leaves alone.
_ETHERNET_LIKE: Final = (
    ARPHRD_ETHER, ARPHRD_FDDI, ARPHRD_ARCNET, ARPHRD_INFINIBAND, ARPHRD_IEEE1394, ARPHRD_TUNNEL, ARPHRD_TUNNEL6,
    ARPHRD_IP6GRE, ARPHRD_RAWIP, ARPHRD_6LOWPAN, ARPHRD_NONE,
)  # fmt: skip

# One row per device type that is not left to addrconf_dev_config().  SIT and IPGRE have functions of their own in
# kernels built with CONFIG_IPV6_SIT and CONFIG_NET_IPGRE; the reference kernel is built without.
AUTO_ADDRS_BY_TYPE: Final[Mapping[int, Callable[[NetDevice], None]]] = {ARPHRD_LOOPBACK: init_loopback}


def addrconf_init_auto_addrs(dev: NetDevice) -> None:
    """Make the addresses that a device of this type has by itself.

    Kernel: net/ipv6/addrconf.c, addrconf_init_auto_addrs().
    Differs: handlers that a user added for a type win over the table.
    """
    handler = dev.machine.auto_addrs_by_type.get(dev.type) or AUTO_ADDRS_BY_TYPE.get(dev.type, addrconf_dev_config)
    handler(dev)


# --- a device goes down ---------------------------------------------------------------------------------------------


def _keeps_addresses(idev: Inet6Dev) -> bool:
    """keep_addr_on_down: `all` decides, unless it is 0 and leaves it to the device."""
    if idev.cnf["disable_ipv6"]:
        return False
    return (idev.dev.net.ipv6.devconf_all["keep_addr_on_down"] or idev.cnf["keep_addr_on_down"]) > 0


def _release_neighbours(idev: Inet6Dev) -> None:
    nd_tbl = idev.dev.machine.neigh_tables[AF_INET6]
    if idev.nd_parms is not None:
        neigh_parms_release(nd_tbl, idev.nd_parms)
    neigh_ifdown(nd_tbl, idev.dev)


def addrconf_ifdown(dev: NetDevice, *, unregister: bool) -> None:
    """Remove routes and addresses of a device; its IPv6 half too, if it is to be unregistered.

    Kernel: net/ipv6/addrconf.c, addrconf_ifdown().
    """
    ASSERT_RTNL(dev)
    rt6_disable_ip(dev, unregister=unregister)
    idev = dev.ip6_ptr
    if idev is None:
        return
    if idev.rs_timer is not None:
        del_timer(idev.rs_timer)
    keep = not unregister and _keeps_addresses(idev)
    was_ready = idev.if_flags & IF_READY
    if unregister:
        idev.dead = True
        dev.ip6_ptr = None
    else:
        idev.if_flags &= ~(IF_RS_SENT | IF_RA_RCVD | IF_READY)
    for ifp in list(inet6_addr_list(idev)):
        if keep and ifp.flags & IFA_F_PERMANENT and not ifp.scope & (IFA_HOST | IFA_LINK):
            _keep_through_ifdown(ifp)
        else:
            _drop_at_ifdown(ifp)
    idev.tstamp = dev.machine.timers.jiffies
    if unregister:
        ipv6_ac_destroy_dev(idev)
        ipv6_mc_destroy_dev(idev)
        addrconf_sysctl_unregister(idev)
        _release_neighbours(idev)
    elif was_ready:
        ipv6_mc_down(idev)


def _keep_through_ifdown(ifp: Inet6Ifaddr) -> None:
    cancel_dad_work(ifp)
    set_state(ifp, INET6_IFADDR_STATE_PREDAD)
    if not ifp.flags & IFA_F_NODAD:
        ifp.flags |= IFA_F_TENTATIVE
    ifp.rt = None
    if not ifp.flags & IFA_F_NOPREFIXROUTE:
        ifp.idev.lost_prefixes[ipv6_addr_prefix(ifp.addr, ifp.prefix_len), ifp.prefix_len] = None
    if ifp.idev.cnf["forwarding"]:
        addrconf_leave_anycast(ifp)
    addrconf_leave_solict(ifp.idev, ifp.addr)


def _drop_at_ifdown(ifp: Inet6Ifaddr) -> None:
    was_dead = ifp.state == INET6_IFADDR_STATE_DEAD
    set_state(ifp, INET6_IFADDR_STATE_DEAD)
    if not was_dead:
        ipv6_ifa_notify(RTM_DELADDR, ifp)
        inet6addr_notifier_call_chain(NETDEV_DOWN, ifp)
    ipv6_unlink_addr(ifp)


# --- a device comes up or changes -----------------------------------------------------------------------------------


def _permanent_addr(idev: Inet6Dev) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_permanent_addr(), fixup_permanent_addr().

    Differs: looks only at addresses for which there is something to do.
    """
    for ifp in addresses_to_restore(idev):
        if not ifp.flags & IFA_F_PERMANENT:
            continue
        if ifp.rt is None or not ifp.rt.in_table:
            ifp.rt = addrconf_f6i_alloc(idev.dev, ifp.addr)
        if not ifp.flags & IFA_F_NOPREFIXROUTE:
            addrconf_prefix_route(idev.dev, ifp.addr, ifp.prefix_len, metric=ifp.rt_priority)
        if ifp.state == INET6_IFADDR_STATE_PREDAD:
            addrconf_dad_start(ifp)


def _find_idev(dev: NetDevice) -> Inet6Dev | None:
    """The IPv6 half, made if the MTU allows it."""
    with suppress(KernelError):
        return dev.ip6_ptr or ipv6_add_dev(dev)
    return None


def _out_of_bounds(dev: NetDevice) -> bool:
    """Whether addrconf keeps its hands off: IPv6 is disabled there, or the device is marked so."""
    disabled = dev.ip6_ptr is not None and dev.ip6_ptr.cnf["disable_ipv6"]
    return bool(disabled or dev.priv_flags & IFF_NO_ADDRCONF)


def _up(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    if _out_of_bounds(dev):
        return
    if dev.ip6_ptr is not None:
        _permanent_addr(dev.ip6_ptr)
    if not addrconf_link_ready(dev):
        return
    idev = _find_idev(dev)
    if idev is not None:
        idev.if_flags |= IF_READY
    _configure(dev, idev)


def _change(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    if _out_of_bounds(dev):
        return
    if not addrconf_link_ready(dev):
        rt6_sync_down_dev(dev)
        return
    idev = dev.ip6_ptr
    if idev is not None and idev.if_flags & IF_READY:
        if isinstance(info, NetdevNotifierChangeInfo) and info.flags_changed & IFF_NOARP:
            addrconf_dad_run(idev, restart=True)
        rt6_sync_up(dev)
        ipv6_mc_up(idev)
        return
    if idev is not None:
        idev.if_flags |= IF_READY
    _configure(dev, idev)


def _configure(dev: NetDevice, idev: Inet6Dev | None) -> None:
    """The common end of UP, of CHANGE to ready, and of an MTU that allows IPv6 again."""
    addrconf_init_auto_addrs(dev)
    if idev is None:
        return
    addrconf_dad_run(idev, restart=False)
    rt6_sync_up(dev)
    if dev.mtu >= IPV6_MIN_MTU:
        idev.cnf["mtu"] = dev.mtu
    idev.tstamp = dev.machine.timers.jiffies
    inet6_ifinfo_notify(idev)
    if dev.mtu < IPV6_MIN_MTU:
        addrconf_ifdown(dev, unregister=dev is not dev.net.loopback_dev)


def _changemtu(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    idev = dev.ip6_ptr
    if dev.mtu < IPV6_MIN_MTU:
        addrconf_ifdown(dev, unregister=dev is not dev.net.loopback_dev)
    elif idev is not None:
        idev.cnf["mtu"] = dev.mtu
    else:
        idev = _find_idev(dev)
        if idev is not None and idev.if_flags & IF_READY and not _out_of_bounds(dev):
            _configure(dev, idev)


def _register(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    if dev.ip6_ptr is None and dev.mtu >= IPV6_MIN_MTU:
        ipv6_add_dev(dev)


def _down(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    addrconf_ifdown(dev, unregister=False)


def _unregister(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    addrconf_ifdown(dev, unregister=True)


def _changename(dev: NetDevice, info: NetdevNotifierInfo) -> None:
    if dev.ip6_ptr is not None:
        addrconf_sysctl_unregister(dev.ip6_ptr)
        addrconf_sysctl_register(dev.ip6_ptr)


# One row per event that IPv6 reacts to.
ON_NETDEV_EVENT: Final[Mapping[int, Callable[[NetDevice, NetdevNotifierInfo], None]]] = {
    NETDEV_REGISTER: _register,
    NETDEV_CHANGEMTU: _changemtu,
    NETDEV_UP: _up,
    NETDEV_CHANGE: _change,
    NETDEV_DOWN: _down,
    NETDEV_UNREGISTER: _unregister,
    NETDEV_CHANGENAME: _changename,
}


def addrconf_notify(event: int, info: NetdevNotifierInfo) -> int:
    """IPv6's ear on the netdevice chain.  Only REGISTER and CHANGENAME can refuse.

    Kernel: net/ipv6/addrconf.c, addrconf_notify().
    Differs: multicast filters are not modelled, so type changes do nothing; there are no L3 masters, so CHANGEUPPER
        does nothing.
    """
    act = ON_NETDEV_EVENT.get(event)
    if act is None:
        return NOTIFY_OK
    try:
        act(info.dev, info)
    except KernelError as err:
        return notifier_from_errno(-(err.errno or EINVAL))
    return NOTIFY_OK


# --- settings that act on a device ----------------------------------------------------------------------------------


def dev_disable_change(idev: Inet6Dev) -> None:
    """disable_ipv6 was switched: to IPv6 alone it is as if the device went down or came up.

    Kernel: net/ipv6/addrconf.c, dev_disable_change().
    """
    event = NETDEV_DOWN if idev.cnf["disable_ipv6"] else NETDEV_UP
    addrconf_notify(event, idev.dev.notifier_info)


def dev_forward_change(idev: Inet6Dev) -> None:
    """forwarding was switched: join or leave the routers' groups and anycast addresses, and say so.

    Kernel: net/ipv6/addrconf.c, dev_forward_change().
    """
    dev, forwarding = idev.dev, idev.cnf["forwarding"]
    if dev.flags & IFF_MULTICAST:
        for group in _ALL_ROUTERS:
            _membership(idev, group, join=bool(forwarding))
    for ifp in list(inet6_addr_list(idev)):
        if ifp.flags & IFA_F_TENTATIVE:
            continue
        if forwarding:
            addrconf_join_anycast(ifp)
        else:
            addrconf_leave_anycast(ifp)
    inet6_netconf_notify_devconf(dev.net, dev.ifindex, forwarding=forwarding)


def _membership(idev: Inet6Dev, group: bytes, *, join: bool) -> None:
    with suppress(KernelError):
        if join:
            ipv6_dev_mc_inc(idev.dev, group)
        else:
            ipv6_dev_mc_dec(idev, group)


def ipv6_dev_notf() -> NotifierBlock:
    """IPv6's subscription to the netdevice chain, new for each machine.

    Kernel: net/ipv6/addrconf.c, ipv6_dev_notf.
    """
    return NotifierBlock(addrconf_notify, ADDRCONF_NOTIFY_PRIORITY)


def addrconf_init(machine: Machine) -> None:
    """Subscribe IPv6 to devices, and put its part into link messages; the blackhole gets its IPv6 half now.

    Kernel: net/ipv6/addrconf.c, addrconf_init().
    """
    if machine.blackhole_netdev is not None:
        with rtnl_lock(machine):
            ipv6_add_dev(machine.blackhole_netdev)
    machine.rtnl_af_ops[AF_INET6] = inet6_ops
    register_netdevice_notifier(machine, ipv6_dev_notf())
