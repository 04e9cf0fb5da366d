"""net/ipv4/ip_output.c: IPv4 packets that this host sends, whole or in fragments."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from errno import EINVAL, EMSGSIZE
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.checksum import completed, csum_fold, csum_partial, csum_pseudo
from addrsvc.model.fib_trie import Flowi4
from addrsvc.model.ip_route import Found, ip_route_output
from addrsvc.model.skbuff import PAGE_SIZE, SkBuff, alloc_skb, skb_partial_csum_set
from addrsvc.model.snmp import snmp_inc_stats
from addrsvc.model.sock import Sock, skb_set_owner_w
from addrsvc.model.structs import Net, NetDevice
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.uapi import ETH_P_IP

__all__ = ["Ip4Dst", "ip_route_output_flow", "ip_transmit"]

_IP_HDR: Final = Struct("!BBHHHBBH4s4s")
_VERSION_IHL: Final = 0x45
IP_DF, IP_MF = 0x4000, 0x2000
_HH_LEN: Final = 16
SKB_MAX_ALLOC: Final = 4 * PAGE_SIZE - 320
_PAGE_FRAG: Final = 8 * PAGE_SIZE
_UDP_LEN: Final = 8


@dataclass(frozen=True, slots=True)
class Ip4Dst:
    """struct rtable and flowi4: over which device a packet leaves, and from which address."""

    dev: NetDevice
    saddr: bytes


def ip_route_output_flow(net: Net, daddr: bytes, saddr: bytes = bytes(4), oif: int = 0, proto: int = 0) -> Ip4Dst:
    """The way to an address.

    Kernel: net/ipv4/route.c, ip_route_output_flow().

    Raises:
        KernelError: there is none, or no such source.
    """
    flow = Flowi4(daddr=daddr, saddr=saddr, oif=oif, iif=1, proto=proto)
    rt = ip_route_output(net, flow, Found())
    return Ip4Dst(rt.dev, flow.saddr)


def ip_transmit(
    net: Net,
    dst: Ip4Dst,
    daddr: bytes,
    proto: int,
    segment: bytes,
    *,
    saddr: bytes | None = None,
    tos: int = 0,
    ttl: int = 64,
    csum_offset: int | None = None,
    sk: Sock | None = None,
    may_fragment: bool = True,
) -> None:
    """Send what a transport protocol says, in fragments where the device does not take it whole.

    Kernel: net/ipv4/ip_output.c, ip_append_data(), __ip_make_skb(), ip_fragment().
    Differs: packets are numbered one after the other; there a hash with a secret tells where numbers begin.

    Args:
        csum_offset: where in the segment its checksum is to stand; only the pseudo header is summed in it, and the rest
            is left to the device if the packet stays whole.
        may_fragment: a packet that is whole may be cut on its way (it has no IP_DF).

    Raises:
        KernelError: EMSGSIZE, more than a packet holds; EINVAL, over a device that cannot send.
    """
    if len(segment) + _IP_HDR.size > 0xFFFF:
        raise KernelError(EMSGSIZE)
    if dst.dev.netdev_ops.ndo_start_xmit is None:
        raise KernelError(EINVAL)
    source = saddr or dst.saddr
    whole = len(segment) + _IP_HDR.size <= dst.dev.mtu
    if csum_offset is not None and not whole:
        segment = completed(segment, csum_offset, csum_pseudo(source, daddr, len(segment), proto))
    net.ip_id = net.ip_id + 1 & 0xFFFF
    snmp_inc_stats(net, "Ip.OutRequests")
    header = _Header(tos, net.ip_id, ttl, proto, source, daddr)
    if not whole:
        _send(net, dst, [header.put(*piece) for piece in _fragments(segment, dst.dev.mtu)], sk)
        return
    skb = header.put(0 if may_fragment else IP_DF, segment)
    if csum_offset is not None:
        skb_partial_csum_set(skb, _IP_HDR.size, csum_offset)
    _send(net, dst, [skb], sk)


def _fragments(segment: bytes, mtu: int) -> Iterator[tuple[int, bytes]]:
    """Each piece of a packet, with what its header says of its place (ip_frag_next())."""
    size = mtu - _IP_HDR.size & ~7
    for at in range(0, len(segment), size):
        more = IP_MF if at + size < len(segment) else 0
        yield more | at >> 3, segment[at : at + size]


@dataclass(frozen=True, slots=True)
class _Header:
    """What the headers of all fragments of a packet have in common."""

    tos: int
    ident: int
    ttl: int
    protocol: int
    saddr: bytes
    daddr: bytes

    def put(self, frag_off: int, body: bytes) -> SkBuff:
        """A packet with this header."""
        header = _IP_HDR.pack(
            _VERSION_IHL, self.tos, _IP_HDR.size + len(body), self.ident, frag_off, self.ttl, self.protocol, 0,
            self.saddr, self.daddr,
        )  # fmt: skip
        return _make_skb(header[:10] + csum_fold(csum_partial(header)).to_bytes(2) + header[12:], body)


def _send(net: Net, dst: Ip4Dst, packets: Sequence[SkBuff], sk: Sock | None) -> None:
    """Send a packet, or its fragments until one is lost.

    Kernel: net/ipv4/ip_output.c, ip_send_skb(), ip_do_fragment().
    """
    for skb in packets:
        if sk is not None:
            skb_set_owner_w(skb, sk)
        lost = _output(net, dst, skb)
        if len(packets) > 1:
            snmp_inc_stats(net, "Ip.FragFails" if lost else "Ip.FragCreates")
        if lost:
            return
    if len(packets) > 1:
        snmp_inc_stats(net, "Ip.FragOKs")


def _make_skb(header: bytes, body: bytes) -> SkBuff:
    """One packet: linear if a few pages hold it, or else its payload in pages of their own."""
    if len(header) + len(body) + _HH_LEN < SKB_MAX_ALLOC:
        skb = alloc_skb(_HH_LEN, header + body)
    else:
        skb = alloc_skb(_HH_LEN, header + body[:_UDP_LEN])
        rest = body[_UDP_LEN:]
        skb.shinfo.frags = [rest[at : at + _PAGE_FRAG] for at in range(0, len(rest), _PAGE_FRAG)]
        skb.truesize += len(rest)
    skb.protocol = ETH_P_IP
    skb.reset_network_header()
    skb.transport_header = skb.data + len(header)
    return skb


def _output(net: Net, dst: Ip4Dst, skb: SkBuff) -> int:
    """Kernel: net/ipv4/ip_output.c, ip_finish_output2(); net/ipv4/arp.c, arp_constructor()."""
    dev = dst.dev
    skb.dev, skb.dst = dev, dst
    snmp_inc_stats(net, "Ip.OutTransmits")
    if dev.header_ops is not None:
        dev.header_ops.create(skb, dev, ETH_P_IP, dev.dev_addr, None, skb.len)
    return dev_queue_xmit(skb)
