"""net/core/gso.c and the segmenters of IPv4, IPv6, TCP, UDP and SCTP: one large packet cut into many.

A segment is a packet of its own: link, network and transport header as the large one has them, with what has to differ
put right.  Where the device computes checksums, segments are left without (CHECKSUM_PARTIAL), as the large one was.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from errno import EINVAL, EPROTONOSUPPORT
from struct import Struct
from typing import Final, TypeAlias

from addrsvc.errors import KernelError
from addrsvc.model.checksum import csum_fold, csum_partial, csum_pseudo
from addrsvc.model.features import (
    NETIF_F_CSUM_MASK,
    NETIF_F_GSO_ROBUST,
    NETIF_F_GSO_UDP_L4,
    NETIF_F_HW_CSUM,
    NETIF_F_SG,
    SKB_GSO_DODGY,
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
from addrsvc.model.skbuff import SkbSharedInfo, SkBuff, skb_network_protocol, skb_truesize
from addrsvc.model.sock import sock_wfree
from addrsvc.uapi import CHECKSUM_NONE, CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, ETH_HLEN, ETH_P_IP, ETH_P_IPV6

__all__ = ["skb_gso_segment", "skb_segment"]

IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_SCTP: Final = 132

_IPV4_MIN: Final = 20
_IPV6_LEN: Final = 40
_TCP_MIN: Final = 20
_UDP_LEN: Final = 8
_SCTP_LEN: Final = 12
_NEXTHDR_HOP, _NEXTHDR_ROUTING, _NEXTHDR_FRAGMENT, _NEXTHDR_DEST = 0, 43, 44, 60
_EXTENSION_HEADERS: Final = frozenset({_NEXTHDR_HOP, _NEXTHDR_ROUTING, _NEXTHDR_FRAGMENT, _NEXTHDR_DEST})
_FRAG_HDR: Final = Struct("!BBHI")
_FRAG_HDR_LEN: Final = 8
_IP_MF: Final = 0x2000
_IP_DF: Final = 0x40
_IP6_MF: Final = 0x0001
_U32_MAX: Final = 0xFFFFFFFF
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
    Differs: a link header that is longer than the packet is refused, where the kernel would stop (BUG).

    Raises:
        KernelError: EINVAL, the headers are not what gso_type says; EPROTONOSUPPORT, nobody cuts this protocol.
    """
    skb.reset_mac_header()
    skb.reset_mac_len()
    protocol, depth = skb_network_protocol(skb)
    segmenter = _BY_ETHERTYPE.get(protocol)
    if segmenter is None or not skb.may_pull(ETH_HLEN):
        raise KernelError(EINVAL if not protocol else EPROTONOSUPPORT)
    start = skb.data
    if not skb.pull(depth if depth > ETH_HLEN else skb.mac_len):
        raise KernelError(EINVAL)
    try:
        return segmenter(skb, features)
    finally:
        skb.data = start


# --- the cut ----------------------------------------------------------------------------------------------------------


def skb_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut what follows the current layer into pieces of gso_size, each behind a copy of the headers before it.

    Kernel: net/core/skbuff.c, skb_segment().
    Differs: packets of a frag_list are cut as if they were one piece of memory; where it should be cut by a list that
        is not there, the kernel would follow a null pointer.

    Raises:
        KernelError: EINVAL, there is no such list.
    """
    size = skb.shinfo.gso_size
    if size == GSO_BY_FRAGS and not skb.shinfo.frag_list:
        raise KernelError(EINVAL)
    sg = bool(features & NETIF_F_SG)
    checksummed = can_checksum_protocol(features, skb_network_protocol(skb)[0])
    linear = bytes(skb.head[skb.data :])
    frags = [*skb.shinfo.frags, *(part.tobytes() for part in skb.shinfo.frag_list)]
    if not sg or size == GSO_BY_FRAGS:
        pieces: Iterable[tuple[bytes, list[bytes]]] = ((piece, []) for piece in _linear_pieces(skb, size))
    else:
        pieces = _pieces(linear, frags, size)
    segments = [_segment(skb, *piece) for piece in pieces]
    if not checksummed:
        for segment in segments:
            segment.ip_summed = CHECKSUM_NONE
    if skb.destructor is sock_wfree:
        _hand_over(skb, segments[-1])
    return segments


def _linear_pieces(skb: SkBuff, size: int) -> list[bytes]:
    """What the segments carry, where each is to be one piece of memory; there is always one, be it empty."""
    if size == GSO_BY_FRAGS:
        return [part.tobytes() for part in skb.shinfo.frag_list]
    payload = skb.tobytes()
    return [payload[at : at + size] for at in range(0, len(payload) or 1, size)]


def _pieces(linear: bytes, frags: list[bytes], size: int) -> Iterator[tuple[bytes, list[bytes]]]:
    """What the segments carry: the linear part, as far as it goes, and parts of the pages behind it."""
    at, end = 0, len(linear) + sum(map(len, frags))
    queue = deque(frags)
    while True:
        length = min(size, end - at)
        head = linear[at : at + length]
        at += length
        yield head, _take(queue, length - len(head))
        if at >= end:
            return


def _take(queue: deque[bytes], length: int) -> list[bytes]:
    taken = []
    while length:
        part = queue.popleft()
        if len(part) > length:
            queue.appendleft(part[length:])
            part = part[:length]
        taken.append(part)
        length -= len(part)
    return taken


def _segment(skb: SkBuff, payload: bytes, frags: list[bytes]) -> SkBuff:
    """A packet with the headers of the large one; its data begins at the link header."""
    mac = skb.mac_header or 0
    head = skb.head[: skb.data]
    return SkBuff(
        head=head + payload,
        data=mac,
        dev=skb.dev,
        protocol=skb.protocol,
        pkt_type=skb.pkt_type,
        ip_summed=skb.ip_summed,
        csum_start=skb.csum_start,
        csum_offset=skb.csum_offset,
        mac_header=mac,
        network_header=skb.network_header,
        transport_header=skb.transport_header,
        mac_len=skb.mac_len,
        hash=skb.hash,
        l4_hash=skb.l4_hash,
        queue_mapping=skb.queue_mapping,
        priority=skb.priority,
        mark=skb.mark,
        dst=skb.dst,
        dst_noref=skb.dst_noref,
        tstamp=skb.tstamp,
        truesize=skb_truesize(len(head) + len(payload)) + sum(map(len, frags)),
        shinfo=SkbSharedInfo(frags=frags),
    )


def _hand_over(skb: SkBuff, segment: SkBuff) -> None:
    """Let the last segment stand for the large packet in its socket's account."""
    segment.sk, segment.destructor, segment.truesize = skb.sk, skb.destructor, skb.truesize
    skb.sk = skb.destructor = None


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
    ufo = bool(skb.shinfo.gso_type & SKB_GSO_UDP)
    fixed = bool(skb.shinfo.gso_type & SKB_GSO_TCP_FIXEDID)
    if fixed and not skb.head[start + 6] & _IP_DF:
        raise KernelError(EINVAL)
    segments = _by_protocol(_INET_OFFLOADS, proto)(skb, features)
    offset = 0
    for nth, segment in enumerate(segments):
        at = segment.network_header or 0
        if ufo:
            more = _IP_MF if nth < len(segments) - 1 else 0
            _put16(segment, at + 6, offset >> 3 | more)
            offset += segment.len - (at - segment.data) - ihl
        elif not fixed:
            _put16(segment, at + 4, ident + nth)
        _put16(segment, at + 2, segment.len - (at - segment.data))
        _put16(segment, at + 10, 0)
        _put16(segment, at + 10, csum_fold(csum_partial(segment.head[at : at + ihl])))
    return segments


def ipv6_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut an IPv6 packet: each segment has its own payload length.

    Kernel: net/ipv6/ip6_offload.c, ipv6_gso_segment().
    Differs: no tunnels, no jumbograms.

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
    offset = 0
    for segment in segments:
        at = segment.network_header or 0
        length = segment.len - (at - segment.data) - _IPV6_LEN
        _put16(segment, at + 4, length)
        if proto == IPPROTO_UDP and skb.shinfo.gso_type & SKB_GSO_UDP:
            fragment = at + ip6_find_1stfragopt(segment)[0]
            _put16(segment, fragment + 2, offset | (_IP6_MF if segment is not segments[-1] else 0))
            offset += length - _FRAG_HDR_LEN
    return segments


def ip6_find_1stfragopt(skb: SkBuff) -> tuple[int, int]:
    """Where the part of a packet that every fragment repeats ends, and where the number of what follows stands.

    Kernel: net/ipv6/output_core.c, ip6_find_1stfragopt().
    Differs: home address options are not looked for.

    Raises:
        KernelError: EINVAL, the packet is all extension headers.
    """
    start = skb.network_header or 0
    end = len(skb.head) - start
    offset, nexthdr, found_rhdr = _IPV6_LEN, 6, False
    while offset <= end:
        kind = skb.head[start + nexthdr]
        if kind == _NEXTHDR_ROUTING:
            found_rhdr = True
        elif kind not in (_NEXTHDR_HOP, _NEXTHDR_DEST) or (kind == _NEXTHDR_DEST and found_rhdr):
            return offset, nexthdr
        if offset + 2 > end:
            break
        nexthdr, offset = offset, offset + (skb.head[start + offset + 1] + 1) * 8
    raise KernelError(EINVAL)


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


def _is_ipv4(skb: SkBuff) -> bool:
    return skb_network_protocol(skb)[0] == ETH_P_IP


def _addresses(skb: SkBuff) -> tuple[bytes, bytes]:
    at = skb.network_header or 0
    first, length = (12, 4) if _is_ipv4(skb) else (8, 16)
    return bytes(skb.head[at + first : at + first + length]), bytes(
        skb.head[at + first + length : at + first + 2 * length]
    )


def _csum16_add(csum: int, addend: int) -> int:
    """Kernel: include/net/checksum.h, csum16_add()."""
    total = csum + addend
    return total + (total >> 16) & 0xFFFF


def _replace_length(check: int, old: int, new: int) -> int:
    """A sum in which one 16-bit number has given way to another (csum16_sub(), csum16_add())."""
    return _csum16_add(_csum16_add(check, ~old & 0xFFFF), new)


# --- TCP --------------------------------------------------------------------------------------------------------------


def tcp_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut a TCP packet: sequence numbers go on; FIN and PSH are the last segment's, CWR is the first's.

    Kernel: net/ipv4/tcp_offload.c, tcp4_gso_segment(), tcp_gso_segment(); net/ipv6/tcpv6_offload.c.

    Raises:
        KernelError: EINVAL, the header is not whole, nothing is to be cut, or gso_type says something else.
    """
    wanted = SKB_GSO_TCPV4 if _is_ipv4(skb) else SKB_GSO_TCPV6
    if not skb.shinfo.gso_type & wanted or not skb.may_pull(_TCP_MIN):
        raise KernelError(EINVAL)
    start = skb.data
    thlen = (skb.head[start + 12] >> 4) * 4
    if skb.shinfo.gso_type & SKB_GSO_FRAGLIST:
        if _is_list(skb, thlen):
            return _segment_list(skb, thlen)
        skb.ip_summed = CHECKSUM_NONE
    if skb.ip_summed != CHECKSUM_PARTIAL:
        _leave_checksum(skb, start, 16, IPPROTO_TCP)
    if thlen < _TCP_MIN or skb.csum_start != start or not skb.may_pull(thlen):
        raise KernelError(EINVAL)
    oldlen = skb.len
    skb.data += thlen
    if skb.len <= skb.shinfo.gso_size:
        raise KernelError(EINVAL)
    if skb_gso_ok(skb, features | NETIF_F_GSO_ROBUST):
        skb.shinfo.gso_segs = -(-skb.len // skb.shinfo.gso_size)
        return []
    segments = skb_segment(skb, features)
    _number_segments(skb, segments, oldlen, thlen)
    return segments


def _number_segments(skb: SkBuff, segments: Sequence[SkBuff], oldlen: int, thlen: int) -> None:
    """Give each segment its place in the stream, and a checksum that differs from the large packet's as it must."""
    size, last = skb.shinfo.gso_size, len(segments) - 1
    keep_cwr = bool(skb.shinfo.gso_type & SKB_GSO_TCP_ACCECN)
    at = skb.transport_header or 0
    (seq,) = _U32.unpack_from(skb.head, at + 4)
    check = _get16(skb, at + 16)
    for nth, segment in enumerate(segments):
        length = thlen + size if nth < last else segment.len - (at - segment.data)
        _U32.pack_into(segment.head, at + 4, seq + nth * size & _U32_MAX)
        if nth < last:
            segment.head[at + 13] &= ~(_TCP_FIN | _TCP_PSH)
        if nth and not keep_cwr:
            segment.head[at + 13] &= ~_TCP_CWR
        delta = (~oldlen & _U32_MAX) + length & _U32_MAX
        _put16(segment, at + 16, ~csum_fold(check + (delta >> 16) + (delta & 0xFFFF)))
        if segment.ip_summed != CHECKSUM_PARTIAL:
            _put16(segment, at + 16, _make_checksum(segment))


def _leave_checksum(skb: SkBuff, start: int, offset: int, proto: int) -> None:
    """Leave the checksum to whoever cuts or sends: only the pseudo header is summed (__tcp_v4_send_check)."""
    saddr, daddr = _addresses(skb)
    pseudo = csum_pseudo(saddr, daddr, skb.len, proto)
    _put16(skb, start + offset, ~csum_fold(pseudo))
    skb.csum_start, skb.csum_offset = start, offset
    skb.ip_summed = CHECKSUM_PARTIAL


def _make_checksum(segment: SkBuff) -> int:
    """The checksum from the transport header on, whose field holds what has been summed so far.

    Kernel: include/net/gso.h, gso_make_checksum().
    """
    at = (segment.transport_header or 0) - segment.data
    return csum_fold(csum_partial(segment.tobytes()[at:]))


# --- lists of packets -----------------------------------------------------------------------------------------------


def _is_list(skb: SkBuff, header: int) -> bool:
    """Whether the packet is one segment, the others hang behind it, and nobody outside says so (SKB_GSO_DODGY)."""
    shinfo = skb.shinfo
    pagelen = skb.headlen + sum(map(len, shinfo.frags))
    return pagelen - header == shinfo.gso_size and not shinfo.gso_type & SKB_GSO_DODGY


def _segment_list(skb: SkBuff, header: int) -> list[SkBuff]:
    """Take a list of packets apart: each has its own network and transport header, and the first one's link header.

    Kernel: net/core/skbuff.c, skb_segment_list().
    Differs: nothing translates addresses and ports of the first, so the others never have to follow it.  One that has
        no room for such headers, which in a kernel cannot come, is refused.

    Args:
        header: the length of the transport header.

    Raises:
        KernelError: EINVAL, a packet of the list is shorter than its headers.
    """
    needed = skb.data - (skb.network_header or 0) + header
    if any(len(part.head) - (part.network_header or 0) < needed for part in skb.shinfo.frag_list):
        raise KernelError(EINVAL)
    first = _segment(skb, bytes(skb.head[skb.data :]), list(skb.shinfo.frags))
    return [first, *(_unchain(skb, part) for part in skb.shinfo.frag_list)]


def _unchain(skb: SkBuff, part: SkBuff) -> SkBuff:
    """A packet that hung behind another, with what the other one knows of its way."""
    segment, start, own = _segment(skb, b"", list(part.shinfo.frags)), skb.network_header or 0, part.network_header or 0
    segment.head = skb.head[:start] + part.head[own:]
    segment.transport_header = start + (part.transport_header or 0) - own
    segment.truesize = part.truesize
    return segment


# --- UDP and SCTP ---------------------------------------------------------------------------------------------------


def udp_gso_segment(skb: SkBuff, features: int) -> list[SkBuff]:
    """Cut a UDP packet into datagrams (UDP_L4), or into fragments of one (UDP).

    Kernel: net/ipv4/udp_offload.c, udp4_ufo_fragment(), __udp_gso_segment(); net/ipv6/udp_offload.c.

    Raises:
        KernelError: EINVAL, the header is not whole, nothing is to be cut, or gso_type says something else.
    """
    gso_type = skb.shinfo.gso_type
    if not gso_type & (SKB_GSO_UDP | SKB_GSO_UDP_L4) or not skb.may_pull(_UDP_LEN):
        raise KernelError(EINVAL)
    if gso_type & SKB_GSO_UDP_L4:
        return _udp_l4(skb, features)
    return _ufo(skb, features)


def _udp_l4(skb: SkBuff, features: int) -> list[SkBuff]:
    """Kernel: net/ipv4/udp_offload.c, __udp_gso_segment()."""
    start, size = skb.data, skb.shinfo.gso_size
    is_list = bool(skb.shinfo.gso_type & SKB_GSO_FRAGLIST)
    if skb.len <= _UDP_LEN + size or (skb.csum_start != start and not is_list):
        raise KernelError(EINVAL)
    if skb.ip_summed != CHECKSUM_PARTIAL:
        features &= ~(NETIF_F_GSO_UDP_L4 | NETIF_F_CSUM_MASK)
    if skb_gso_ok(skb, features | NETIF_F_GSO_ROBUST):
        skb.shinfo.gso_segs = -(-(skb.len - _UDP_LEN) // size)
        return []
    if is_list and _is_list(skb, _UDP_LEN):
        segments = _segment_list(skb, _UDP_LEN)
        _put16(segments[0], start + 4, _UDP_LEN + size)
        return segments
    if is_list:
        _leave_checksum(skb, start, 6, IPPROTO_UDP)
    skb.data += _UDP_LEN
    sk, destructor = skb.sk, skb.destructor
    if destructor is sock_wfree:
        skb.sk = skb.destructor = None
    try:
        segments = skb_segment(skb, features)
    except KernelError:
        skb.sk, skb.destructor = sk, destructor
        raise
    for segment in segments:
        segment.sk, segment.destructor = sk, destructor
        _finish_datagram(segment, segment.len - (start - segment.data))
    if destructor is sock_wfree and sk is not None:
        sk.wmem_alloc += sum(segment.truesize for segment in segments) - skb.truesize
    return segments


def _finish_datagram(segment: SkBuff, length: int) -> None:
    """Give a datagram its length, and the checksum that follows from the large packet's."""
    at = segment.transport_header or 0
    check = _replace_length(_get16(segment, at + 6), _get16(segment, at + 4), length & 0xFFFF)
    _put16(segment, at + 4, length)
    _put16(segment, at + 6, check)
    if segment.ip_summed != CHECKSUM_PARTIAL:
        _put16(segment, at + 6, _make_checksum(segment) or _CSUM_MANGLED_0)


def _ufo(skb: SkBuff, features: int) -> list[SkBuff]:
    """One datagram as fragments: the checksum is that of the whole.

    Kernel: net/ipv4/udp_offload.c, udp4_ufo_fragment(); net/ipv6/udp_offload.c, udp6_ufo_fragment().
    """
    if skb.len <= skb.shinfo.gso_size:
        raise KernelError(EINVAL)
    saddr, daddr = _addresses(skb)
    _put16(skb, skb.data + 6, 0)
    total = csum_fold(csum_pseudo(saddr, daddr, skb.len, IPPROTO_UDP) + csum_partial(skb.tobytes()))
    _put16(skb, skb.data + 6, total or _CSUM_MANGLED_0)
    skb.ip_summed = CHECKSUM_UNNECESSARY
    if not _is_ipv4(skb):
        _insert_fragment_header(skb)
    return skb_segment(skb, features | NETIF_F_HW_CSUM)


def _insert_fragment_header(skb: SkBuff) -> None:
    """Make room between what every fragment repeats and the rest, and put a fragment header there."""
    length, nexthdr = ip6_find_1stfragopt(skb)
    start, dev = skb.network_header or 0, skb.dev
    assert dev is not None, "a packet that is cut has a device"
    ident = 1 + dev.machine.chance.randrange(_U32_MAX)
    header = _FRAG_HDR.pack(skb.head[start + nexthdr], 0, 0, ident)
    skb.head[start + nexthdr] = _NEXTHDR_FRAGMENT
    skb.head[start + length : start + length] = header
    skb.data += _FRAG_HDR_LEN
    skb.transport_header = skb.data


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
