"""net/ipv6/ip6_output.c: IPv6 packets that this host sends, whole or in fragments."""

from collections.abc import Sequence
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EINVAL, EMSGSIZE, ENETUNREACH
from struct import Struct
from typing import Final, TypeAlias
from zlib import crc32

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import in6addr_any, ipv6_addr_is_multicast
from addrsvc.model.checksum import completed, csum_pseudo
from addrsvc.model.ip6_lookup import Flowi6, fib6_rule_lookup, rt6_need_strict
from addrsvc.model.saddr import ipv6_dev_get_saddr
from addrsvc.model.skbuff import PAGE_SIZE, SkBuff, alloc_skb, skb_partial_csum_set
from addrsvc.model.snmp import ip6_inc_stats
from addrsvc.model.sock import Sock, skb_set_owner_w
from addrsvc.model.structs import Fib6Info, Net, NetDevice
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.uapi import ETH_P_IPV6, RTF_ANYCAST, RTF_LOCAL

__all__ = ["Ip6Dst", "ip6_dst_lookup", "ip6_send_skb", "ip6_transmit"]

NEXTHDR_FRAGMENT: Final = 44
_IP6HDR: Final = Struct("!IHBB16s16s")
_FRAG_HDR: Final = Struct("!BBHI")
_VERSION: Final = 6 << 28
_LABEL_MASK: Final = 0xFFFFF
_U32_MAX: Final = 0xFFFFFFFF
_LONGEST: Final = 0xFFFF
_HH_LEN: Final = 16
SKB_MAX_ALLOC: Final = 4 * PAGE_SIZE - 320
_PAGE_FRAG: Final = 8 * PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Ip6Dst:
    """struct dst_entry and rt6_info: where a packet goes, and from which address.

    Attributes:
        dev: over which device it leaves.
        saddr: the source it has unless it asks for another.
        is_local: it comes back to this host.
    """

    dev: NetDevice
    saddr: bytes
    is_local: bool
    rt: Fib6Info


def ip6_dst_lookup(net: Net, daddr: bytes, saddr: bytes = in6addr_any, oif: int = 0) -> Ip6Dst:
    """The way to an address.

    Kernel: net/ipv6/ip6_output.c, ip6_dst_lookup_flow(), ip6_dst_lookup_tail().

    Raises:
        KernelError: ENETUNREACH or what the route says, there is none; EADDRNOTAVAIL, no source fits.
    """
    flow = Flowi6(daddr=daddr, saddr=saddr, oif=oif, iif=1)
    strict = rt6_need_strict(daddr) or (bool(oif) and saddr == in6addr_any)
    found = fib6_rule_lookup(net, flow, oif, strict=strict)
    if saddr == in6addr_any:
        flow.saddr = _route_get_saddr(net, found.rt, daddr)
        if found.error or found.rt is None:
            found = fib6_rule_lookup(net, flow, oif, strict=strict)
    if found.error or found.rt is None:
        if found.error == ENETUNREACH:
            ip6_inc_stats(net, None, "OutNoRoutes")
        raise KernelError(found.error)
    is_local = bool(found.rt.fib6_flags & (RTF_LOCAL | RTF_ANYCAST))
    dev = net.loopback_dev if is_local else found.rt.dev
    assert dev is not None, "a route that was found has a device"
    return Ip6Dst(dev, flow.saddr, is_local, found.rt)


def _route_get_saddr(net: Net, rt: Fib6Info | None, daddr: bytes) -> bytes:
    """Kernel: include/net/ip6_route.h, ip6_route_get_saddr().  No route counts as one over lo."""
    if rt is not None and rt.prefsrc:
        return rt.prefsrc
    source = ipv6_dev_get_saddr(net, rt.dev if rt is not None else net.loopback_dev, daddr)
    if source is None:
        raise KernelError(EADDRNOTAVAIL)
    return source


# --- packets ----------------------------------------------------------------------------------------------------------


def ip6_transmit(
    net: Net,
    dst: Ip6Dst,
    daddr: bytes,
    proto: int,
    segment: bytes,
    *,
    saddr: bytes | None = None,
    hops: int = 64,
    tclass: int = 0,
    csum_offset: int | None = None,
    sk: Sock | None = None,
) -> None:
    """Send what a transport protocol says, in fragments where the device does not take it whole.

    Kernel: net/ipv6/ip6_output.c, ip6_append_data(), ip6_make_skb(); include/net/ipv6.h, ip6_make_flowlabel().
    Differs: the hash that the flow label is made of has no key that is drawn at boot.

    Args:
        csum_offset: where in the segment its checksum is to stand; only the pseudo header is summed in it, and the rest
            is left to the device if the packet stays whole.

    Raises:
        KernelError: EMSGSIZE, more than a packet can say that it is.
    """
    if len(segment) > _LONGEST:
        raise KernelError(EMSGSIZE)
    source = saddr or dst.saddr
    whole = len(segment) + _IP6HDR.size <= dst.dev.mtu
    if csum_offset is not None and not whole:
        segment = completed(segment, csum_offset, csum_pseudo(source, daddr, len(segment), proto))
    flow_hash = crc32(source + daddr + segment[:4], proto)
    header = (source, daddr, hops, _VERSION | tclass << 20 | flow_hash & _LABEL_MASK)
    packets = [_make_skb(proto, segment, header)] if whole else _fragments(net, dst, proto, segment, header)
    if csum_offset is not None and whole:
        skb_partial_csum_set(packets[0], _IP6HDR.size, csum_offset)
    ip6_inc_stats(net, dst.dev.ip6_ptr, "OutRequests")
    for skb in packets:
        skb.hash, skb.l4_hash = flow_hash, True
    _send(net, dst, packets, sk)


def _send(net: Net, dst: Ip6Dst, packets: Sequence[SkBuff], sk: Sock | None) -> None:
    """Send a packet, or its fragments until one is lost.

    Kernel: net/ipv6/ip6_output.c, ip6_finish_output(), ip6_fragment().
    """
    idev = dst.dev.ip6_ptr
    for skb in packets:
        if sk is not None:
            skb_set_owner_w(skb, sk)
        lost = ip6_send_skb(net, dst, skb)
        if len(packets) > 1:
            ip6_inc_stats(net, idev, "FragFails" if lost else "FragCreates")
        if lost:
            return
    if len(packets) > 1:
        ip6_inc_stats(net, idev, "FragOKs")


_Header: TypeAlias = tuple[bytes, bytes, int, int]
"""Source, destination, hop limit, and the word with version, traffic class and flow label."""


def _make_skb(proto: int, body: bytes, header: _Header, extension: bytes = b"", following: int = 0) -> SkBuff:
    """One packet: linear if a few pages hold it, or else its payload in pages of their own."""
    saddr, daddr, hops, word = header
    head = _IP6HDR.pack(word, len(extension) + len(body), proto, hops, saddr, daddr) + extension
    length = len(head) + len(body)
    if length + _HH_LEN < SKB_MAX_ALLOC:
        skb = alloc_skb(_HH_LEN, head + body)
    else:
        upper = 8 if not following else 0
        skb = alloc_skb(_HH_LEN, head + body[:upper])
        rest = body[upper:]
        skb.shinfo.frags = [rest[at : at + _PAGE_FRAG] for at in range(0, len(rest), _PAGE_FRAG)]
        skb.truesize += len(rest)
    skb.protocol = ETH_P_IPV6
    skb.reset_network_header()
    skb.transport_header = skb.data + len(head)
    return skb


def _fragments(net: Net, dst: Ip6Dst, proto: int, segment: bytes, header: _Header) -> list[SkBuff]:
    """Kernel: net/ipv6/ip6_output.c, ip6_fragment()."""
    size = dst.dev.mtu - _IP6HDR.size - _FRAG_HDR.size & ~7
    if size < 8:
        raise KernelError(EMSGSIZE)
    ident = 1 + net.machine.chance.randrange(_U32_MAX)
    packets = []
    for offset in range(0, len(segment), size):
        body = segment[offset : offset + size]
        more = offset + size < len(segment)
        extension = _FRAG_HDR.pack(proto, 0, offset | more, ident)
        packets.append(_make_skb(NEXTHDR_FRAGMENT, body, header, extension, offset))
    return packets


def ip6_send_skb(net: Net, dst: Ip6Dst, skb: SkBuff) -> int:
    """Give a packet that is complete its link header, and to its device.

    Kernel: net/ipv6/ip6_output.c, ip6_finish_output2(); net/ipv6/ndisc.c, ndisc_constructor().

    Returns:
        As dev_queue_xmit().

    Raises:
        KernelError: EINVAL, the device cannot send.
    """
    dev, idev = dst.dev, dst.dev.ip6_ptr
    skb.dev, skb.dst = dev, dst
    ip6_inc_stats(net, idev, "OutTransmits")
    ip6_inc_stats(net, idev, "OutOctets", skb.len)
    at = skb.network_header or 0
    if ipv6_addr_is_multicast(bytes(skb.head[at + 24 : at + 40])):
        ip6_inc_stats(net, idev, "OutMcastPkts")
        ip6_inc_stats(net, idev, "OutMcastOctets", skb.len)
    if dev.netdev_ops.ndo_start_xmit is None:
        raise KernelError(EINVAL)
    if dev.header_ops is not None:
        dev.header_ops.create(skb, dev, ETH_P_IPV6, dev.dev_addr, None, skb.len)
    return dev_queue_xmit(skb)
