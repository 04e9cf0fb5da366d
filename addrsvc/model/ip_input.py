"""net/ipv4/ip_input.c: IPv4 packets that arrive: checked, and given to whom they are for."""

from collections.abc import Callable, Mapping
from errno import EHOSTUNREACH, ENETUNREACH
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.checksum import csum_fold, csum_partial
from addrsvc.model.fib_trie import Flowi4
from addrsvc.model.icmp import ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, icmp_rcv, icmp_send
from addrsvc.model.ip_fragment import ip_defrag
from addrsvc.model.ip_route import Found, ip_route_input
from addrsvc.model.receive import dev_add_pack
from addrsvc.model.skbuff import SkBuff, skb_is_gso
from addrsvc.model.snmp import snmp_inc_stats
from addrsvc.model.structs import Machine, Net, NetDevice, PacketType
from addrsvc.model.tcp import tcp_v4_rcv
from addrsvc.model.udp import udp_rcv
from addrsvc.uapi import ETH_P_IP, PACKET_OTHERHOST, RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST

__all__ = ["ip_local_deliver", "ip_packet_init", "ip_rcv"]

_IP_LEN: Final = 20
_OFFSET_OR_MF: Final = 0x3FFF


def ip_rcv(skb: SkBuff, dev: NetDevice) -> None:
    """Take an IPv4 packet from a device.

    Kernel: net/ipv4/ip_input.c, ip_rcv(), ip_rcv_core(), ip_rcv_finish().
    Differs: options are not heeded.
    """
    if skb.pkt_type == PACKET_OTHERHOST:
        dev.core_stats.rx_otherhost_dropped += 1
        return
    net = dev.net
    snmp_inc_stats(net, "Ip.InReceives")
    if not _is_whole(skb):
        snmp_inc_stats(net, "Ip.InHdrErrors")
        return
    at = skb.data
    length = int.from_bytes(skb.head[at + 2 : at + 4])
    if not length and skb_is_gso(skb):
        length = skb.len
    if skb.len < length:
        return
    if length < (skb.head[at] & 0x0F) * 4:
        snmp_inc_stats(net, "Ip.InHdrErrors")
        return
    skb.trim(length)
    skb.transport_header = at + (skb.head[at] & 0x0F) * 4
    if skb.dst is not None or _is_for_us(skb, dev, net):
        ip_local_deliver(skb, dev, net)


def _is_whole(skb: SkBuff) -> bool:
    """Whether there is an IPv4 header, and it is right."""
    at = skb.data
    if not skb.may_pull(_IP_LEN) or skb.head[at] >> 4 != 4:
        return False
    ihl = (skb.head[at] & 0x0F) * 4
    return ihl >= _IP_LEN and skb.may_pull(ihl) and not csum_fold(csum_partial(skb.head[at : at + ihl]))


def _is_for_us(skb: SkBuff, dev: NetDevice, net: Net) -> bool:
    """Kernel: net/ipv4/ip_input.c, ip_rcv_finish_core(); net/ipv4/route.c, ip_error()."""
    at = skb.data
    flow = Flowi4(
        daddr=bytes(skb.head[at + 16 : at + 20]), saddr=bytes(skb.head[at + 12 : at + 16]), iif=dev.ifindex,
        tos=skb.head[at + 1] & 0xFC, proto=skb.head[at + 9],
    )  # fmt: skip
    found = Found()
    try:
        ip_route_input(net, dev, flow, found)
    except KernelError as error:
        counter = {EHOSTUNREACH: "Ip.InAddrErrors", ENETUNREACH: "Ip.InNoRoutes"}.get(error.errno or 0)
        if counter is not None:
            snmp_inc_stats(net, counter)
        return False
    return found.type in (RTN_LOCAL, RTN_BROADCAST) or found.type == RTN_MULTICAST or found.fib is None


def ip_local_deliver(skb: SkBuff, dev: NetDevice, net: Net) -> None:
    """Give a packet to its protocol.

    Kernel: net/ipv4/ip_input.c, ip_local_deliver(), ip_protocol_deliver_rcu().
    """
    at = skb.network_header or 0
    skb.data = skb.transport_header or 0
    if int.from_bytes(skb.head[at + 6 : at + 8]) & _OFFSET_OR_MF:
        whole = ip_defrag(net, skb)
        if whole is None:
            return
        skb, at = whole, whole.network_header or 0
        skb.transport_header = skb.data
    handler = inet_protos.get(skb.head[at + 9])
    if handler is None:
        snmp_inc_stats(net, "Ip.InUnknownProtos")
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0)
        return
    handler(skb)
    snmp_inc_stats(net, "Ip.InDelivers")


inet_protos: Final[Mapping[int, Callable[[SkBuff], int]]] = {1: icmp_rcv, 6: tcp_v4_rcv, 17: udp_rcv}
"""Kernel: net/ipv4/protocol.c, inet_protos."""


def ip_packet_init(machine: Machine) -> None:
    """Take the IPv4 packets of every device.

    Kernel: net/ipv4/af_inet.c, inet_init(), ip_packet_type.
    """
    dev_add_pack(machine, PacketType(ETH_P_IP, ip_rcv))
