"""net/ipv4/arp.c: who has an IPv4 address, asked and answered."""

from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.fib_trie import Flowi4, inet_addr_type, ipv4_is_multicast
from addrsvc.model.ip_route import Found, ip_route_input
from addrsvc.model.receive import dev_add_pack
from addrsvc.model.skbuff import SkBuff, alloc_skb
from addrsvc.model.structs import Machine, NetDevice, PacketType
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.uapi import ETH_P_ARP, ETH_P_IP, IFF_NOARP, PACKET_OTHERHOST, RTN_LOCAL

__all__ = ["arp_init", "arp_rcv", "arp_send"]

ARPOP_REQUEST, ARPOP_REPLY = 1, 2
_HEADER: Final = Struct("!HHBBH")
_HH_LEN: Final = 16


def arp_rcv(skb: SkBuff, dev: NetDevice) -> None:
    """Take an ARP packet; a request for one of our addresses is answered.

    Kernel: net/ipv4/arp.c, arp_rcv(), arp_process().
    Differs: nobody remembers who asked, and nothing is answered for others (proxy_arp, arp_ignore, arp_filter).
    """
    length = _HEADER.size + 2 * (dev.addr_len + 4)
    if dev.flags & IFF_NOARP or skb.pkt_type == PACKET_OTHERHOST or not skb.may_pull(length):
        return
    hrd, pro, hln, pln, op = _HEADER.unpack_from(skb.head, skb.data)
    if (hrd, pro, hln, pln, op) != (dev.type, ETH_P_IP, dev.addr_len, 4, ARPOP_REQUEST):
        return
    body = skb.copy_bits(_HEADER.size, length - _HEADER.size)
    sha, sip, tip = body[:hln], body[hln : hln + 4], body[-4:]
    if _is_ours(dev, sip, tip):
        arp_send(ARPOP_REPLY, dev, dest_ip=sip, src_ip=tip, dest_hw=sha)


def _is_ours(dev: NetDevice, sip: bytes, tip: bytes) -> bool:
    """Whether this host is what somebody asks for, and may answer."""
    in_dev = dev.ip_ptr
    if in_dev is None or ipv4_is_multicast(tip) or (tip[0] == 127 and not in_dev.cnf["route_localnet"]):
        return False
    if not any(sip):
        return inet_addr_type(dev.net, tip) == RTN_LOCAL
    found = Found()
    try:
        ip_route_input(dev.net, dev, Flowi4(daddr=tip, saddr=sip, iif=dev.ifindex), found)
    except KernelError:
        return False
    return found.type == RTN_LOCAL


def arp_send(op: int, dev: NetDevice, *, dest_ip: bytes, src_ip: bytes, dest_hw: bytes) -> None:
    """Send an ARP packet to one who is known.

    Kernel: net/ipv4/arp.c, arp_send_dst(), arp_create(), arp_xmit().
    """
    header = _HEADER.pack(dev.type, ETH_P_IP, dev.addr_len, 4, op)
    skb = alloc_skb(_HH_LEN, header + dev.dev_addr + src_ip + dest_hw + dest_ip)
    skb.dev, skb.protocol = dev, ETH_P_ARP
    skb.reset_network_header()
    if dev.header_ops is not None:
        dev.header_ops.create(skb, dev, ETH_P_ARP, dest_hw, dev.dev_addr, skb.len)
    dev_queue_xmit(skb)


def arp_init(machine: Machine) -> None:
    """Take the ARP packets of every device.

    Kernel: net/ipv4/arp.c, arp_init().
    """
    dev_add_pack(machine, PacketType(ETH_P_ARP, arp_rcv))
