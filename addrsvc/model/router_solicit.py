"""net/ipv6/addrconf.c and ndisc.c, the part that asks for routers once a device has a link-local address.

Nobody ever answers; but the packets are counted, and the timer goes on.
"""

from struct import Struct
from typing import Final

from addrsvc.model.addrconf_core import in6addr_linklocal_allrouters, ipv6_addr_is_multicast
from addrsvc.model.checksum import csum_fold, csum_partial, csum_pseudo
from addrsvc.model.ifaddr import inet6_addr_list
from addrsvc.model.neighbour import neigh_create_noref
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import Inet6Dev, Inet6Ifaddr, NetDevice
from addrsvc.model.timer import HZ, Timer, mod_timer
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.uapi import (
    AF_INET6,
    ARPHRD_TUNNEL,
    ETH_P_IPV6,
    ICMP6_MIB_OUTMSGS,
    IF_RA_RCVD,
    IF_READY,
    IF_RS_SENT,
    IFA_F_DADFAILED,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_TENTATIVE,
    IFA_LINK,
    IFF_LOOPBACK,
    IPSTATS_MIB_OUTMCASTOCTETS,
    IPSTATS_MIB_OUTMCASTPKTS,
    IPSTATS_MIB_OUTOCTETS,
    IPSTATS_MIB_OUTPKTS,
    IPSTATS_MIB_OUTREQUESTS,
)

__all__ = ["addrconf_ask_again", "addrconf_ask_for_routers", "ipv6_accept_ra", "ndisc_send_rs"]

_IPV6HDR: Final = Struct("!IHBB16s16s")
_VERSION: Final = 6 << 28
_IPPROTO_ICMPV6: Final = 58
_HOP_LIMIT: Final = 255
_RS: Final = Struct("!BBHI")
_ROUTER_SOLICITATION: Final = 133
_SENT: Final = 256
_SOURCE_LL_ADDR: Final = 1
_UNSETTLED: Final = IFA_F_TENTATIVE | IFA_F_OPTIMISTIC | IFA_F_DADFAILED
_MILLION: Final = 1_000_000


def ipv6_accept_ra(idev: Inet6Dev) -> bool:
    """Whether advertisements of routers are heard; a router hears others only if that is insisted on.

    Kernel: include/net/ipv6.h, ipv6_accept_ra().
    """
    accept_ra = idev.cnf["accept_ra"]
    return accept_ra == 2 if idev.cnf["forwarding"] else bool(accept_ra)


def addrconf_ask_for_routers(ifp: Inet6Ifaddr) -> None:
    """Begin to ask, if this address is the first with which that can be done.

    Kernel: net/ipv6/addrconf.c, addrconf_dad_completed().
    Differs: groups are not reported again.
    """
    idev, dev = ifp.idev, ifp.idev.dev
    if ifp.scope != IFA_LINK or not _is_lonely(ifp) or not ipv6_accept_ra(idev):
        return
    if not idev.cnf["router_solicitations"] or dev.flags & IFF_LOOPBACK or dev.type == ARPHRD_TUNNEL:
        return
    _ask(idev)


def addrconf_ask_again(idev: Inet6Dev) -> None:
    """Begin anew to ask, if the device is ready; otherwise coming up will do it.

    Kernel: net/ipv6/addrconf.c, inet6_set_iftoken().
    """
    if not idev.dead and idev.if_flags & IF_READY:
        _ask(idev)


def _ask(idev: Inet6Dev) -> None:
    lladdr = _lladdr(idev)
    if lladdr is None:
        return
    ndisc_send_rs(idev.dev, lladdr, in6addr_linklocal_allrouters)
    idev.rs_interval = _about(9, 11, idev, idev.cnf["router_solicitation_interval"] * HZ)
    idev.rs_probes = 1
    idev.if_flags |= IF_RS_SENT
    _mod_rs_timer(idev, idev.rs_interval)


def _is_lonely(ifp: Inet6Ifaddr) -> bool:
    """Kernel: net/ipv6/addrconf.c, ipv6_lonely_lladdr()."""
    return not any(
        other.scope == IFA_LINK and other is not ifp and other.flags & (IFA_F_PERMANENT | _UNSETTLED) == IFA_F_PERMANENT
        for other in inet6_addr_list(ifp.idev)
    )


def _lladdr(idev: Inet6Dev) -> bytes | None:
    """The oldest link-local address that may be used as a source.

    Kernel: net/ipv6/addrconf.c, ipv6_get_lladdr().
    """
    usable = [ifp.addr for ifp in inet6_addr_list(idev) if ifp.scope == IFA_LINK and not ifp.flags & IFA_F_TENTATIVE]
    return usable[-1] if usable else None


def _mod_rs_timer(idev: Inet6Dev, delay: int) -> None:
    if idev.rs_timer is None:
        idev.rs_timer = Timer(lambda: _rs_timer(idev))
    timers = idev.dev.machine.timers
    mod_timer(timers, idev.rs_timer, timers.jiffies + delay)


def _rs_timer(idev: Inet6Dev) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_rs_timer()."""
    with rtnl_lock(idev.dev.machine):
        if idev.dead or not idev.if_flags & IF_READY or idev.if_flags & IF_RA_RCVD or not ipv6_accept_ra(idev):
            return
        most = idev.cnf["router_solicitations"]
        if 0 <= most <= idev.rs_probes:
            return
        idev.rs_probes += 1
        lladdr = _lladdr(idev)
        if lladdr is None:
            return
        ndisc_send_rs(idev.dev, lladdr, in6addr_linklocal_allrouters)
        idev.rs_interval = _longer(idev, idev.cnf["router_solicitation_max_interval"] * HZ)
        last = idev.rs_probes == most
        _mod_rs_timer(idev, idev.cnf["router_solicitation_delay"] * HZ if last else idev.rs_interval)


def _longer(idev: Inet6Dev, most: int) -> int:
    """Kernel: net/ipv6/addrconf.c, rfc3315_s14_backoff_update()."""
    interval = _about(19, 21, idev, idev.rs_interval)
    return interval if interval <= most else _about(9, 11, idev, most)


def _about(low: int, high: int, idev: Inet6Dev, interval: int) -> int:
    """A random multiple of an interval, between so many tenths.

    Kernel: net/ipv6/addrconf.c, rfc3315_s14_backoff_init() and its kin.
    """
    drawn = idev.dev.machine.chance.randrange((high - low) * _MILLION // 10 + 1)
    return (low * _MILLION // 10 + drawn) * interval // _MILLION


# --- packets ----------------------------------------------------------------------------------------------------------


def ndisc_send_rs(dev: NetDevice, saddr: bytes, daddr: bytes) -> None:
    """Send a router solicitation.

    Kernel: net/ipv6/ndisc.c, ndisc_send_rs(), ndisc_send_skb().
    """
    body = _RS.pack(_ROUTER_SOLICITATION, 0, 0, 0) + _source_option(dev)
    total = csum_pseudo(saddr, daddr, len(body), _IPPROTO_ICMPV6) + csum_partial(body)
    body = _RS.pack(_ROUTER_SOLICITATION, 0, csum_fold(total), 0) + body[_RS.size :]
    _output(dev, _IPV6HDR.pack(_VERSION, len(body), _IPPROTO_ICMPV6, _HOP_LIMIT, saddr, daddr) + body, daddr)


def _source_option(dev: NetDevice) -> bytes:
    """Kernel: include/net/ndisc.h, ndisc_opt_addr_space()."""
    if not dev.addr_len:
        return b""
    units = (2 + dev.addr_len + 7) // 8
    return (bytes((_SOURCE_LL_ADDR, units)) + dev.dev_addr[: dev.addr_len]).ljust(8 * units, b"\0")


def _output(dev: NetDevice, packet: bytes, daddr: bytes) -> None:
    """Count a packet, find out where on the link it goes, and send it.

    Kernel: net/ipv6/ip6_output.c, ip6_finish_output2().
    """
    idev = dev.ip6_ptr
    if idev is None:
        return
    idev.ipstats[IPSTATS_MIB_OUTREQUESTS] += 1
    idev.ipstats[IPSTATS_MIB_OUTPKTS] += 1
    idev.ipstats[IPSTATS_MIB_OUTOCTETS] += len(packet)
    if ipv6_addr_is_multicast(daddr):
        idev.ipstats[IPSTATS_MIB_OUTMCASTPKTS] += 1
        idev.ipstats[IPSTATS_MIB_OUTMCASTOCTETS] += len(packet)
    idev.icmp6stats[ICMP6_MIB_OUTMSGS] += 1
    idev.icmp6msgstats[_SENT + packet[_IPV6HDR.size]] += 1
    neigh = neigh_create_noref(dev.machine.neigh_tables[AF_INET6], daddr, dev)
    if dev.netdev_ops.ndo_start_xmit is None:
        return
    skb = SkBuff(bytearray(packet), dev=dev, protocol=ETH_P_IPV6, network_header=0, transport_header=_IPV6HDR.size)
    if dev.header_ops is not None:
        dev.header_ops.create(skb, dev, ETH_P_IPV6, neigh.ha, None, len(packet))
    dev_queue_xmit(skb)
