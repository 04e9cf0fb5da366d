"""net/core/gso.c and the segmenters of IPv4, IPv6, TCP, UDP and SCTP: one large packet cut into many.

A segment is a packet of its own: link, network and transport header as the large one has them, with what has to differ
put right.  Where the device computes checksums, segments are left without (CHECKSUM_PARTIAL), as the large one was.
"""

from collections.abc import Callable, Mapping
from errno import EINVAL, EPROTONOSUPPORT
from struct import Struct
from typing import Final, TypeAlias

from addrsvc.errors import KernelError
from addrsvc.model.checksum import csum_fold, csum_partial, csum_pseudo
from addrsvc.model.features import (
    NETIF_F_GSO_ROBUST,
    SKB_GSO_FRAGLIST,
    SKB_GSO_SCTP,
    SKB_GSO_TCP_ACCECN,
    SKB_GSO_TCP_FIXEDID,
    SKB_GSO_TCPV4,
    SKB_GSO_TCPV6,
    SKB_GSO_UDP,
    SKB_GSO_UDP_L4,
    can_checksum_protocol,
    skb_gso_ok,
)
from addrsvc.model.skbuff import SkbSharedInfo, SkBuff
from addrsvc.uapi import CHECKSUM_NONE, CHECKSUM_PARTIAL, ETH_HLEN, ETH_P_IP, ETH_P_IPV6

__all__ = ["skb_gso_segment", "skb_segment"]

IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_SCTP: Final = 132

_IPV4_MIN: Final = 20
_IPV6_LEN: Final = 40
_TCP_MIN: Final = 20
_UDP_LEN: Final = 8
_SCTP_LEN: Final = 12
_EXTENSION_HEADERS: Final = frozenset({0, 43, 60, 44})
_NEXTHDR_FRAGMENT: Final = 44
_IP_MF: Final = 0x2000
_CSUM_MANGLED_0: Final = 0xFFFF
_TCP_FIN, _TCP_PSH, _TCP_CWR = 0x01, 0x08, 0x80
GSO_BY_FRAGS: Final = 0xFFFF
"""A gso_size that says: every packet of the frag_list is a segment."""

_U16: Final = Struct("!H")
_U32: Final = Struct("!I")

_Segmenter: TypeAlias = Callable[[SkBuff, int], list[SkBuff]]
"""Cuts a packet whose data begins at its own header.  An empty list: it is fine as it is."""


def skb_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut a packet into segments that a device with these features takes; an empty list if it is fine as it is.

    Kernel: net/core/gso.c, __skb_gso_segment(), skb_mac_gso_segment().
    Differs: VLAN tags inside of the packet are not looked through.

    Raises:
        KernelError: EINVAL, the headers are not what gso_type says; EPROTONOSUPPORT, nobody cuts this protocol.
    """
    skb.reset_mac_header()
    skb.reset_mac_len()
    segmenter = _BY_ETHERTYPE.get(skb.protocol)
    if segmenter is None or not skb.may_pull(ETH_HLEN):
        raise KernelError(EINVAL if not skb.protocol else EPROTONOSUPPORT)
    start = skb.data
    skb.data += skb.mac_len
    try:
        return segmenter(skb, features)
    finally:
        skb.data = start


# --- the cut ----------------------------------------------------------------------------------------------------------


def skb_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut what follows the current layer into pieces of gso_size, each behind a copy of the headers before it.

    Kernel: net/core/skbuff.c, skb_segment().
    Differs: a segment is linear; where the large packet had fragments is not kept.
    """
    size = skb.shinfo.gso_size
    offloaded = skb.ip_summed == CHECKSUM_PARTIAL and can_checksum_protocol(features, skb.protocol)
    mac = skb.mac_header or 0
    headers = bytes(skb.head[mac : skb.data])
    payloads = _payloads(skb, size)
    return [_segment(skb, headers, payload, offloaded=offloaded) for payload in payloads]


def _payloads(skb: SkBuff, size: int) -> list[bytes]:
    if size == GSO_BY_FRAGS:
        return [part.tobytes() for part in skb.shinfo.frag_list]
    payload = skb.tobytes()
    return [payload[at : at + size] for at in range(0, len(payload), size)]


def _segment(skb: SkBuff, headers: bytes, payload: bytes, *, offloaded: bool) -> SkBuff:
    """A packet like the large one, with other bytes; its data begins at the link header."""
    mac = skb.mac_header or 0
    return SkBuff(
        head=bytearray(headers + payload),
        dev=skb.dev,
        protocol=skb.protocol,
        pkt_type=skb.pkt_type,
        ip_summed=CHECKSUM_PARTIAL if offloaded else CHECKSUM_NONE,
        csum_start=skb.csum_start - mac,
        csum_offset=skb.csum_offset,
        mac_header=0,
        network_header=(skb.network_header or 0) - mac,
        transport_header=(skb.transport_header or 0) - mac,
        mac_len=skb.mac_len,
        queue_mapping=skb.queue_mapping,
        priority=skb.priority,
        mark=skb.mark,
        dst=skb.dst,
        dst_noref=skb.dst_noref,
        sk=skb.sk,
        tstamp=skb.tstamp,
        shinfo=SkbSharedInfo(tx_flags=skb.shinfo.tx_flags),
    )


def _put16(skb: SkBuff, at: int, value: int) -> None:
    _U16.pack_into(skb.head, at, value & 0xFFFF)


def _get16(skb: SkBuff, at: int) -> int:
    return int(_U16.unpack_from(skb.head, at)[0])


# --- IPv4 and IPv6 ----------------------------------------------------------------------------------------------------


def inet_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut an IPv4 packet: each segment has its own length, identification and header checksum.

    Kernel: net/ipv4/af_inet.c, inet_gso_segment().
    Differs: no tunnels.

    Raises:
        KernelError: EINVAL, no IPv4 header; EPROTONOSUPPORT, nobody cuts what is inside.
    """
    skb.reset_network_header()
    start = skb.data
    if not skb.may_pull(_IPV4_MIN):
        raise KernelError(EINVAL)
    ihl = (skb.head[start] & 0x0F) * 4
    if ihl < _IPV4_MIN or not skb.may_pull(ihl):
        raise KernelError(EINVAL)
    ident, proto = _get16(skb, start + 4), skb.head[start + 9]
    skb.data += ihl
    skb.reset_transport_header()
    segments = _by_protocol(_INET_OFFLOADS, proto)(skb, features)
    ufo = bool(skb.shinfo.gso_type & SKB_GSO_UDP) and proto == IPPROTO_UDP
    fixed = bool(skb.shinfo.gso_type & SKB_GSO_TCP_FIXEDID)
    offset = 0
    for nth, segment in enumerate(segments):
        at = segment.network_header or 0
        if ufo:
            more = _IP_MF if nth < len(segments) - 1 else 0
            _put16(segment, at + 6, offset >> 3 | more)
            offset += len(segment.head) - at - ihl
        elif not fixed:
            _put16(segment, at + 4, ident + nth)
        _put16(segment, at + 2, len(segment.head) - at)
        _put16(segment, at + 10, 0)
        _put16(segment, at + 10, csum_fold(csum_partial(segment.head[at : at + ihl])))
    return segments


def ipv6_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut an IPv6 packet: each segment has its own payload length.

    Kernel: net/ipv6/ip6_offload.c, ipv6_gso_segment().
    Differs: no tunnels, no jumbograms, and UDP is not cut into fragments (EPROTONOSUPPORT).

    Raises:
        KernelError: EINVAL, no IPv6 header; EPROTONOSUPPORT, nobody cuts what is inside.
    """
    skb.reset_network_header()
    start = skb.data
    if not skb.may_pull(_IPV6_LEN):
        raise KernelError(EINVAL)
    skb.data += _IPV6_LEN
    proto = _pull_exthdrs(skb, skb.head[start + 6])
    skb.reset_transport_header()
    segments = _by_protocol(_INET6_OFFLOADS, proto)(skb, features)
    for segment in segments:
        at = segment.network_header or 0
        _put16(segment, at + 4, len(segment.head) - at - _IPV6_LEN)
    return segments


def _pull_exthdrs(skb: SkBuff, proto: int) -> int:
    """Kernel: net/ipv6/ip6_offload.c, ipv6_gso_pull_exthdrs()."""
    while proto in _EXTENSION_HEADERS and proto != _NEXTHDR_FRAGMENT:
        if not skb.may_pull(8):
            break
        length = (skb.head[skb.data + 1] + 1) * 8
        if not skb.may_pull(length):
            break
        proto = skb.head[skb.data]
        skb.data += length
    return proto


def _by_protocol(offloads: "Mapping[int, _Segmenter]", proto: int) -> _Segmenter:
    if proto not in offloads:
        raise KernelError(EPROTONOSUPPORT)
    return offloads[proto]


def _addresses(skb: SkBuff) -> tuple[bytes, bytes]:
    at = skb.network_header or 0
    first, length = (12, 4) if skb.protocol == ETH_P_IP else (8, 16)
    return bytes(skb.head[at + first : at + first + length]), bytes(
        skb.head[at + first + length : at + first + 2 * length]
    )


def _pseudo_sum(skb: SkBuff, proto: int) -> int:
    """The sum of the pseudo header of a packet whose transport header is known."""
    saddr, daddr = _addresses(skb)
    return csum_pseudo(saddr, daddr, len(skb.head) - (skb.transport_header or 0), proto)


# --- TCP --------------------------------------------------------------------------------------------------------------


def tcp_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut a TCP packet: sequence numbers go on; FIN and PSH are the last segment's, CWR is the first's.

    Kernel: net/ipv4/tcp_offload.c, tcp4_gso_segment(), tcp_gso_segment(); net/ipv6/tcpv6_offload.c.

    Raises:
        KernelError: EINVAL, the header is not whole, nothing is to be cut, or gso_type says something else.
    """
    wanted = SKB_GSO_TCPV4 if skb.protocol == ETH_P_IP else SKB_GSO_TCPV6
    if not skb.shinfo.gso_type & wanted or not skb.may_pull(_TCP_MIN):
        raise KernelError(EINVAL)
    start = skb.data
    if skb.shinfo.gso_type & SKB_GSO_FRAGLIST and _is_list(skb, (skb.head[start + 12] >> 4) * 4):
        return _segment_list(skb)
    thlen = (skb.head[start + 12] >> 4) * 4
    if skb.ip_summed != CHECKSUM_PARTIAL:
        _leave_checksum(skb, start, 16, IPPROTO_TCP)
    if thlen < _TCP_MIN or skb.csum_start != start or not skb.may_pull(thlen):
        raise KernelError(EINVAL)
    skb.data += thlen
    size = skb.shinfo.gso_size
    if skb.len <= size:
        raise KernelError(EINVAL)
    if skb_gso_ok(skb, features | NETIF_F_GSO_ROBUST):
        skb.shinfo.gso_segs = -(-skb.len // size)
        return []
    segments = skb_segment(skb, features)
    keep_cwr = bool(skb.shinfo.gso_type & SKB_GSO_TCP_ACCECN)
    (seq,) = _U32.unpack_from(skb.head, start + 4)
    for nth, segment in enumerate(segments):
        at = segment.transport_header or 0
        _U32.pack_into(segment.head, at + 4, seq + nth * size & 0xFFFFFFFF)
        if nth < len(segments) - 1:
            segment.head[at + 13] &= ~(_TCP_FIN | _TCP_PSH)
        if nth and not keep_cwr:
            segment.head[at + 13] &= ~_TCP_CWR
        _finish_checksum(segment, at + 16, IPPROTO_TCP)
    return segments


def _leave_checksum(skb: SkBuff, start: int, offset: int, proto: int) -> None:
    """Leave the checksum to whoever cuts or sends: only the pseudo header is summed (__tcp_v4_send_check)."""
    saddr, daddr = _addresses(skb)
    pseudo = csum_pseudo(saddr, daddr, skb.len, proto)
    _put16(skb, start + offset, ~csum_fold(pseudo))
    skb.csum_start, skb.csum_offset = start, offset
    skb.ip_summed = CHECKSUM_PARTIAL


def _finish_checksum(segment: SkBuff, at: int, proto: int) -> None:
    """Sum the pseudo header of a segment, and unless the device does the rest, the rest (gso_make_checksum)."""
    pseudo = _pseudo_sum(segment, proto)
    if segment.ip_summed == CHECKSUM_PARTIAL:
        _put16(segment, at, ~csum_fold(pseudo))
        return
    _put16(segment, at, 0)
    total = csum_fold(pseudo + csum_partial(segment.head[segment.transport_header or 0 :]))
    _put16(segment, at, total or (_CSUM_MANGLED_0 if proto == IPPROTO_UDP else 0))


# --- lists of packets -----------------------------------------------------------------------------------------------


def _is_list(skb: SkBuff, header: int) -> bool:
    """Whether the packet is one segment, and the others hang behind it."""
    shinfo = skb.shinfo
    pagelen = skb.headlen + sum(map(len, shinfo.frags))
    return pagelen - header == shinfo.gso_size


def _segment_list(skb: SkBuff) -> list[SkBuff]:
    """Take a list of packets apart: each has headers of its own already, but for lengths and what the first has.

    Kernel: net/core/skbuff.c, skb_segment_list().
    """
    shinfo, mac = skb.shinfo, skb.mac_header or 0
    headers = bytes(skb.head[mac : skb.data])
    first = bytes(skb.head[skb.data :]) + b"".join(shinfo.frags)
    packets = [first, *(part.tobytes() for part in shinfo.frag_list)]
    return [_segment(skb, headers, payload, offloaded=False) for payload in packets]


# --- UDP and SCTP ---------------------------------------------------------------------------------------------------


def udp_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut a UDP packet into datagrams (UDP_L4), or for IPv4 into fragments of one (UDP).

    Kernel: net/ipv4/udp_offload.c, udp4_ufo_fragment(), __udp_gso_segment(); net/ipv6/udp_offload.c.

    Raises:
        KernelError: EINVAL, the header is not whole, nothing is to be cut, or gso_type says something else.
    """
    gso_type = skb.shinfo.gso_type
    if not gso_type & (SKB_GSO_UDP | SKB_GSO_UDP_L4) or not skb.may_pull(_UDP_LEN):
        raise KernelError(EINVAL)
    if gso_type & SKB_GSO_UDP_L4:
        return _udp_l4(skb, features)
    if skb.protocol != ETH_P_IP:
        raise KernelError(EPROTONOSUPPORT)
    return _ufo(skb, features)


def _udp_l4(skb: SkBuff, features: int) -> list[SkBuff]:
    """Kernel: net/ipv4/udp_offload.c, __udp_gso_segment()."""
    start, size = skb.data, skb.shinfo.gso_size
    is_list = bool(skb.shinfo.gso_type & SKB_GSO_FRAGLIST)
    if skb.len <= _UDP_LEN + size or (skb.csum_start != start and not is_list):
        raise KernelError(EINVAL)
    if skb_gso_ok(skb, features | NETIF_F_GSO_ROBUST):
        skb.shinfo.gso_segs = -(-(skb.len - _UDP_LEN) // size)
        return []
    if is_list and _is_list(skb, _UDP_LEN):
        return _segment_list(skb)
    if is_list:
        _leave_checksum(skb, start, 6, IPPROTO_UDP)
    skb.data += _UDP_LEN
    segments = skb_segment(skb, features)
    for segment in segments:
        at = segment.transport_header or 0
        _put16(segment, at + 4, len(segment.head) - at)
        _finish_checksum(segment, at + 6, IPPROTO_UDP)
    return segments


def _ufo(skb: SkBuff, features: int) -> list[SkBuff]:
    """One datagram as IPv4 fragments: the checksum is that of the whole.

    Kernel: net/ipv4/udp_offload.c, udp4_ufo_fragment().
    """
    size = skb.shinfo.gso_size
    if skb.len <= size:
        raise KernelError(EINVAL)
    if skb_gso_ok(skb, features | NETIF_F_GSO_ROBUST):
        skb.shinfo.gso_segs = -(-skb.len // size)
        return []
    saddr, daddr = _addresses(skb)
    _put16(skb, skb.data + 6, 0)
    total = csum_fold(csum_pseudo(saddr, daddr, skb.len, IPPROTO_UDP) + csum_partial(skb.tobytes()))
    _put16(skb, skb.data + 6, total or _CSUM_MANGLED_0)
    skb.ip_summed = CHECKSUM_NONE
    return skb_segment(skb, features)


def sctp_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Take the packets of an SCTP association apart: each of the frag_list goes behind a common header of its own.

    Kernel: net/sctp/offload.c, sctp_gso_segment().
    Differs: the device computes the CRC, as lo says that it does.

    Raises:
        KernelError: EINVAL, the header is not whole, or gso_type says something else.
    """
    if not skb.shinfo.gso_type & SKB_GSO_SCTP or not skb.may_pull(_SCTP_LEN):
        raise KernelError(EINVAL)
    skb.data += _SCTP_LEN
    if skb_gso_ok(skb, features | NETIF_F_GSO_ROBUST):
        skb.shinfo.gso_segs = len(skb.shinfo.frag_list)
        return []
    return skb_segment(skb, features)


_INET_OFFLOADS: Final[Mapping[int, _Segmenter]] = {
    IPPROTO_TCP: tcp_gso_segment,
    IPPROTO_UDP: udp_gso_segment,
    IPPROTO_SCTP: sctp_gso_segment,
}
_INET6_OFFLOADS: Final[Mapping[int, _Segmenter]] = _INET_OFFLOADS
_BY_ETHERTYPE: Final[Mapping[int, _Segmenter]] = {ETH_P_IP: inet_gso_segment, ETH_P_IPV6: ipv6_gso_segment}
