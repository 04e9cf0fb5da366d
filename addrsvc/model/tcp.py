"""net/ipv4/tcp_ipv4.c and net/ipv6/tcp_ipv6.c, where nobody listens: every segment is answered by a reset."""

from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.checksum import csum_fold, csum_partial, csum_pseudo
from addrsvc.model.fib_trie import inet_addr_type
from addrsvc.model.ifaddr import ipv6_get_ifaddr
from addrsvc.model.ip6_output import ip6_dst_lookup, ip6_transmit
from addrsvc.model.ip_output import ip_route_output_flow, ip_transmit
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.snmp import snmp_inc_stats
from addrsvc.model.structs import Net
from addrsvc.uapi import AF_INET, AF_INET6, PACKET_HOST, RTN_LOCAL

__all__ = ["tcp_v4_rcv", "tcp_v6_rcv"]

_HEADER: Final = Struct("!HHIIBBHHH")
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_DOFF: Final = 5
_CHECK: Final = 16
IPPROTO_TCP: Final = 6
_U32_MAX: Final = 0xFFFFFFFF


def tcp_v6_rcv(skb: SkBuff) -> int:
    """Take a segment over IPv6, whose header is next.

    Kernel: net/ipv6/tcp_ipv6.c, tcp_v6_rcv().
    Differs: there are no TCP sockets.
    """
    at = skb.network_header or 0
    _rcv(skb, AF_INET6, bytes(skb.head[at + 8 : at + 24]), bytes(skb.head[at + 24 : at + 40]))
    return 0


def tcp_v4_rcv(skb: SkBuff) -> int:
    """Take a segment over IPv4, whose header is next.

    Kernel: net/ipv4/tcp_ipv4.c, tcp_v4_rcv().
    Differs: there are no TCP sockets.
    """
    at = skb.network_header or 0
    _rcv(skb, AF_INET, bytes(skb.head[at + 12 : at + 16]), bytes(skb.head[at + 16 : at + 20]))
    return 0


def _rcv(skb: SkBuff, family: int, source: bytes, dest: bytes) -> None:
    dev = skb.dev
    assert dev is not None, "a packet that has arrived has a device"
    net = dev.net
    if skb.pkt_type != PACKET_HOST:
        return
    snmp_inc_stats(net, "Tcp.InSegs")
    if not skb.may_pull(_HEADER.size):
        return
    doff = (skb.head[skb.data + 12] >> 4) * 4
    if doff < _HEADER.size:
        snmp_inc_stats(net, "Tcp.InErrs")
        return
    if not skb.may_pull(doff):
        return
    pseudo = csum_pseudo(source, dest, skb.len, IPPROTO_TCP)
    if not skb.csum_is_right and csum_fold(pseudo + csum_partial(skb.tobytes())):
        snmp_inc_stats(net, "Tcp.InCsumErrors")
        snmp_inc_stats(net, "Tcp.InErrs")
        return
    _send_reset(net, skb, family, source, dest)


def _send_reset(net: Net, skb: SkBuff, family: int, source: bytes, dest: bytes) -> None:
    """Kernel: net/ipv6/tcp_ipv6.c, tcp_v6_send_reset(); net/ipv4/tcp_ipv4.c, tcp_v4_send_reset()."""
    sport, dport, seq, ack, doff, flags, *_ = _HEADER.unpack_from(skb.head, skb.data)
    if flags & _RST:
        return
    answer_seq, answer_ack, answer_flags = ack, 0, _RST
    if not flags & _ACK:
        length = bool(flags & _SYN) + bool(flags & _FIN) + skb.len - (doff >> 4) * 4
        answer_seq, answer_ack, answer_flags = 0, seq + length & _U32_MAX, _RST | _ACK
    pseudo = ~csum_fold(csum_pseudo(dest, source, _HEADER.size, IPPROTO_TCP)) & 0xFFFF
    segment = _HEADER.pack(dport, sport, answer_seq, answer_ack, _DOFF << 4, answer_flags, 0, pseudo, 0)
    try:
        _OUTPUT[family](net, source, dest, segment)
    except KernelError:
        return
    snmp_inc_stats(net, "Tcp.OutSegs")
    snmp_inc_stats(net, "Tcp.OutRsts")


def _send6(net: Net, to: bytes, own: bytes, segment: bytes) -> None:
    if ipv6_get_ifaddr(net, own, None) is None:
        return
    ip6_transmit(net, ip6_dst_lookup(net, to, own), to, IPPROTO_TCP, segment, csum_offset=_CHECK)


def _send4(net: Net, to: bytes, own: bytes, segment: bytes) -> None:
    if inet_addr_type(net, own) != RTN_LOCAL:
        return
    dst = ip_route_output_flow(net, to, own, proto=IPPROTO_TCP)
    ip_transmit(net, dst, to, IPPROTO_TCP, segment, csum_offset=_CHECK, may_fragment=False)


_OUTPUT: Final = {AF_INET: _send4, AF_INET6: _send6}
