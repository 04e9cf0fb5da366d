"""net/ipv6/ip6_input.c: IPv6 packets that arrive: checked, and given to whom they are for."""

from collections.abc import Callable, Mapping
from typing import Final

from addrsvc.model.addrconf_core import in6addr_any, in6addr_loopback, ipv6_addr_is_multicast
from addrsvc.model.icmpv6 import (
    ICMPV6_DEST_UNREACH,
    ICMPV6_HDR_FIELD,
    ICMPV6_NOROUTE,
    ICMPV6_PARAMPROB,
    ICMPV6_UNK_NEXTHDR,
    icmpv6_rcv,
    icmpv6_send,
)
from addrsvc.model.ip6_lookup import Flowi6, fib6_rule_lookup, rt6_need_strict
from addrsvc.model.reassembly import ipv6_frag_rcv
from addrsvc.model.receive import dev_add_pack
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.snmp import ip6_inc_stats
from addrsvc.model.structs import Inet6Dev, Machine, Net, NetDevice, PacketType
from addrsvc.model.tcp import tcp_v6_rcv
from addrsvc.model.udp import udpv6_rcv
from addrsvc.uapi import (
    ETH_P_IPV6,
    IFF_LOOPBACK,
    PACKET_BROADCAST,
    PACKET_MULTICAST,
    PACKET_OTHERHOST,
    RTF_ANYCAST,
    RTF_LOCAL,
)

__all__ = ["ip6_input", "ipv6_packet_init", "ipv6_rcv"]

_IP6_LEN: Final = 40
_HOP, _ROUTING, _FRAGMENT, _NONE, _DEST = 0, 43, 44, 59, 60
_ECN_MASK: Final = 3
_ECN_NAMES: Final = ("InNoECTPkts", "InECT1Pkts", "InECT0Pkts", "InCEPkts")


class _Refused(Exception):
    """What a packet that goes no further is counted as."""

    def __init__(self, counter: str) -> None:
        super().__init__(counter)
        self.counter = counter


def ipv6_rcv(skb: SkBuff, dev: NetDevice) -> None:
    """Take an IPv6 packet from a device.

    Kernel: net/ipv6/ip6_input.c, ipv6_rcv(), ip6_rcv_core().
    """
    if skb.pkt_type == PACKET_OTHERHOST:
        dev.core_stats.rx_otherhost_dropped += 1
        return
    net, idev = dev.net, dev.ip6_ptr
    ip6_inc_stats(net, idev, "InReceives")
    ip6_inc_stats(net, idev, "InOctets", skb.len)
    try:
        if idev is None or idev.cnf["disable_ipv6"]:
            raise _Refused("InDiscards")
        _check(skb, dev, net, idev)
    except _Refused as refusal:
        ip6_inc_stats(net, idev, refusal.counter)
        return
    _finish(skb, dev, net)


def _check(skb: SkBuff, dev: NetDevice, net: Net, idev: Inet6Dev) -> None:
    """Kernel: net/ipv6/ip6_input.c, ip6_rcv_core(), behind its first counters."""
    at = skb.data
    if not skb.may_pull(_IP6_LEN) or skb.head[at] >> 4 != 6:
        raise _Refused("InHdrErrors")
    ecn = _ECN_NAMES[skb.head[at + 1] >> 4 & _ECN_MASK]
    ip6_inc_stats(net, idev, ecn, max(1, skb.shinfo.gso_segs))
    _check_addresses(skb, dev, bytes(skb.head[at + 8 : at + 24]), bytes(skb.head[at + 24 : at + 40]))
    skb.transport_header = at + _IP6_LEN
    length, nexthdr = int.from_bytes(skb.head[at + 4 : at + 6]), skb.head[at + 6]
    if length or nexthdr != _HOP:
        if length + _IP6_LEN > skb.len:
            raise _Refused("InTruncatedPkts")
        skb.trim(length + _IP6_LEN)
    skb.nexthdr_at = at + 6
    if nexthdr == _HOP and not _skip_header(skb, _IP6_LEN):
        raise _Refused("InHdrErrors")


def _check_addresses(skb: SkBuff, dev: NetDevice, saddr: bytes, daddr: bytes) -> None:
    to_group, on_lo = ipv6_addr_is_multicast(daddr), bool(dev.flags & IFF_LOOPBACK)
    idev = dev.ip6_ptr
    assert idev is not None
    wrong = in6addr_loopback in (saddr, daddr) and not on_lo
    wrong |= to_group and daddr[1] & 0x0F == 0
    wrong |= to_group and daddr[1] & 0x0F == 1 and not on_lo
    wrong |= ipv6_addr_is_multicast(saddr)
    by_link = skb.pkt_type in (PACKET_BROADCAST, PACKET_MULTICAST)
    wrong |= by_link and not to_group and bool(idev.cnf["drop_unicast_in_l2_multicast"])
    if wrong:
        raise _Refused("InHdrErrors")


def _skip_header(skb: SkBuff, offset: int) -> bool:
    """Pass an extension header; False if it is not whole."""
    if not skb.may_pull(offset + 8):
        return False
    start = skb.data + offset
    length = (skb.head[start + 1] + 1) * 8
    if not skb.may_pull(offset + length):
        return False
    skb.nexthdr_at = start
    skb.transport_header = start + length
    return True


# --- where to ---------------------------------------------------------------------------------------------------------


def _finish(skb: SkBuff, dev: NetDevice, net: Net) -> None:
    """Kernel: net/ipv6/ip6_input.c, ip6_rcv_finish(); net/ipv6/route.c, ip6_route_input()."""
    at = skb.data
    daddr = bytes(skb.head[at + 24 : at + 40])
    if skb.dst is not None:
        ip6_input(skb, dev, net)
        return
    flow = Flowi6(daddr=daddr, saddr=bytes(skb.head[at + 8 : at + 24]), iif=dev.ifindex)
    found = fib6_rule_lookup(net, flow, dev.ifindex, strict=rt6_need_strict(daddr))
    rt = found.rt
    if rt is None or found.error:
        _pkt_discard(skb, dev, net, daddr)
    elif rt.fib6_flags & (RTF_LOCAL | RTF_ANYCAST):
        ip6_input(skb, dev, net)
    elif ipv6_addr_is_multicast(daddr):
        _mc_input(skb, dev, net, daddr)
    else:
        _forward(skb, dev, net, daddr)


def _pkt_discard(skb: SkBuff, dev: NetDevice, net: Net, daddr: bytes) -> None:
    """Kernel: net/ipv6/route.c, ip6_pkt_discard(), ip6_pkt_drop()."""
    ip6_inc_stats(net, dev.ip6_ptr, "InAddrErrors" if daddr == in6addr_any else "InNoRoutes")
    icmpv6_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_NOROUTE, 0)


def _mc_input(skb: SkBuff, dev: NetDevice, net: Net, daddr: bytes) -> None:
    """Kernel: net/ipv6/ip6_input.c, ip6_mc_input()."""
    idev = dev.ip6_ptr
    ip6_inc_stats(net, idev, "InMcastPkts")
    ip6_inc_stats(net, idev, "InMcastOctets", skb.len)
    if idev is not None and daddr in idev.mc_list:
        ip6_input(skb, dev, net)


def _forward(skb: SkBuff, dev: NetDevice, net: Net, daddr: bytes) -> None:
    """Kernel: net/ipv6/ip6_output.c, ip6_forward(), of a host, which forwards nothing."""
    ip6_inc_stats(net, dev.ip6_ptr, "InDiscards")


# --- to this host -----------------------------------------------------------------------------------------------------


def ip6_input(skb: SkBuff, dev: NetDevice, net: Net) -> None:
    """Give a packet to its protocol, one extension header after the other.

    Kernel: net/ipv6/ip6_input.c, ip6_input(), ip6_input_finish(), ip6_protocol_deliver_rcu().
    """
    skb.nexthdr = skb.head[skb.nexthdr_at]
    skb.data = skb.transport_header or 0
    while True:
        kind = skb.nexthdr
        if kind == _FRAGMENT:
            whole = ipv6_frag_rcv(skb)
            if whole is None:
                return
            skb = whole
        elif kind in (_ROUTING, _DEST):
            if not _extension(skb, dev, net):
                return
        else:
            _deliver(kind, skb, dev, net)
            return
        skb.transport_header = skb.data


def _extension(skb: SkBuff, dev: NetDevice, net: Net) -> bool:
    """Kernel: net/ipv6/exthdrs.c, ipv6_destopt_rcv(), ipv6_rthdr_rcv(), of headers that ask for nothing."""
    if not skb.may_pull(8) or not skb.may_pull((skb.head[skb.data + 1] + 1) * 8):
        ip6_inc_stats(net, dev.ip6_ptr, "InHdrErrors")
        return False
    if skb.nexthdr == _ROUTING and skb.head[skb.data + 3]:
        ip6_inc_stats(net, dev.ip6_ptr, "InHdrErrors")
        icmpv6_send(skb, ICMPV6_PARAMPROB, ICMPV6_HDR_FIELD, skb.data + 2 - (skb.network_header or 0))
        return False
    skb.nexthdr_at = skb.data
    skb.nexthdr = skb.head[skb.data]
    skb.data += (skb.head[skb.data + 1] + 1) * 8
    return True


def _deliver(kind: int, skb: SkBuff, dev: NetDevice, net: Net) -> None:
    handler = inet6_protos.get(kind)
    if handler is None:
        ip6_inc_stats(net, dev.ip6_ptr, "InUnknownProtos")
        icmpv6_send(skb, ICMPV6_PARAMPROB, ICMPV6_UNK_NEXTHDR, skb.nexthdr_at - (skb.network_header or 0))
        return
    handler(skb)
    ip6_inc_stats(net, dev.ip6_ptr, "InDelivers")


def _discard(skb: SkBuff) -> int:
    """Kernel: net/ipv6/exthdrs.c, nodata_protocol."""
    return 0


inet6_protos: Final[Mapping[int, Callable[[SkBuff], int]]] = {
    6: tcp_v6_rcv,
    17: udpv6_rcv,
    58: icmpv6_rcv,
    _NONE: _discard,
}
"""Kernel: net/ipv6/protocol.c, inet6_protos."""


def ipv6_packet_init(machine: Machine) -> None:
    """Take the IPv6 packets of every device.

    Kernel: net/ipv6/af_inet6.c, ipv6_packet_init().
    """
    dev_add_pack(machine, PacketType(ETH_P_IPV6, ipv6_rcv))
