"""net/core/gso.c: what no packet socket can send, cut into packets that were written by hand.

What packet sockets can send is compared with the running kernel.
"""

from struct import pack, pack_into

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.model.features import (
    NETIF_F_FRAGLIST,
    NETIF_F_GSO_FRAGLIST,
    NETIF_F_GSO_SCTP,
    NETIF_F_GSO_UDP_L4,
    NETIF_F_HW_CSUM,
    NETIF_F_SG,
    NETIF_F_TSO,
    SKB_GSO_DODGY,
    SKB_GSO_FRAGLIST,
    SKB_GSO_SCTP,
    SKB_GSO_TCPV4,
    SKB_GSO_UDP_L4,
)
from addrsvc.model.gso import GSO_BY_FRAGS, skb_gso_segment
from addrsvc.model.skbuff import SkBuff, alloc_skb
from addrsvc.model.structs import NetDevice
from addrsvc.uapi import CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, ETH_P_IP, ETH_P_IPV6

LINK = bytes.fromhex("020000000002 020000000001 0800")
LINK6 = LINK[:12] + b"\x86\xdd"
HERE = bytes((127, 0, 0, 1))
TCP, UDP, SCTP = 6, 17, 132
CUT = NETIF_F_SG | NETIF_F_HW_CSUM


@pytest.fixture
def lo(linux: Linux) -> NetDevice:
    return linux.init_net.device("lo")


def ones_complement(data: bytes | bytearray) -> int:
    """The Internet checksum, as RFC 1071 words it."""
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0")) for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(proto: int, body: bytes, ident: int = 7, ttl: int = 64) -> bytes:
    header = bytearray(pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), ident, 0, ttl, proto, 0, HERE, HERE))
    pack_into("!H", header, 10, ones_complement(header))
    return bytes(header) + body


def ipv6(proto: int, body: bytes) -> bytes:
    return pack("!IHBB", 0x60000000, len(body), proto, 64) + bytes(15) + b"\1" + bytes(15) + b"\1" + body


def udp(payload: bytes, check: int, length: int = 0) -> bytes:
    return pack("!HHHH", 1000, 2000, length or 8 + len(payload), check) + payload


def tcp(payload: bytes, seq: int) -> bytes:
    return pack("!HHIIBBHHH", 1000, 2000, seq, 0, 5 << 4, 0x10, 512, 0xBEEF, 0) + payload


def received(packet: bytes, header: int) -> SkBuff:
    """A packet that hangs behind another: its data begins behind its headers, which stand before."""
    skb = alloc_skb(0, packet)
    skb.network_header, skb.transport_header = 0, 20 if packet[0] >> 4 == 4 else 40
    skb.data = skb.transport_header + header
    return skb


def large(lo: NetDevice, frame: bytes, gso_type: int, gso_size: int, parts: list[SkBuff]) -> SkBuff:
    skb = alloc_skb(0, frame)
    skb.dev, skb.protocol, skb.ip_summed = lo, int.from_bytes(frame[12:14]), CHECKSUM_UNNECESSARY
    skb.mac_header, skb.network_header = 0, len(LINK)
    skb.shinfo.gso_type, skb.shinfo.gso_size, skb.shinfo.frag_list = gso_type, gso_size, parts
    return skb


def datagrams(lo: NetDevice, more: int = 0) -> SkBuff:
    """Three datagrams of a flow, the last one shorter, as receiving joins them into a list."""
    parts = [received(ipv4(UDP, udp(b"b" * 10, 0x2222), 20), 8), received(ipv4(UDP, udp(b"c" * 3, 0x3333), 90), 8)]
    frame = LINK + ipv4(UDP, udp(b"a" * 10, 0x1111, length=8 + 10 + 10 + 3), 7)
    return large(lo, frame, SKB_GSO_UDP_L4 | SKB_GSO_FRAGLIST | more, 10, parts)


def test_a_list_of_datagrams_comes_apart_with_lengths_of_their_own_and_numbers_in_a_row(lo: NetDevice) -> None:
    segments = skb_gso_segment(datagrams(lo), CUT)

    assert [segment.tobytes() for segment in segments] == [
        LINK + ipv4(UDP, udp(b"a" * 10, 0x1111), 7),
        LINK + ipv4(UDP, udp(b"b" * 10, 0x2222), 8),
        LINK + ipv4(UDP, udp(b"c" * 3, 0x3333), 9),
    ]
    assert [segment.ip_summed for segment in segments] == [CHECKSUM_UNNECESSARY] * 3
    assert all(segment.dev is lo and not segment.shinfo.gso_size for segment in segments)


def test_a_list_of_datagrams_over_ipv6_comes_apart(lo: NetDevice) -> None:
    part = received(ipv6(UDP, udp(b"b" * 4, 0x2222)), 8)
    frame = LINK6 + ipv6(UDP, udp(b"a" * 10, 0x1111, length=22))
    segments = skb_gso_segment(large(lo, frame, SKB_GSO_UDP_L4 | SKB_GSO_FRAGLIST, 10, [part]), CUT)

    assert [segment.tobytes() for segment in segments] == [
        LINK6 + ipv6(UDP, udp(b"a" * 10, 0x1111)),
        LINK6 + ipv6(UDP, udp(b"b" * 4, 0x2222)),
    ]
    assert {segment.protocol for segment in segments} == {ETH_P_IPV6}


def test_a_list_that_somebody_outside_made_is_cut_by_size_and_summed_anew(lo: NetDevice) -> None:
    segments = skb_gso_segment(datagrams(lo, SKB_GSO_DODGY), NETIF_F_SG)

    assert [segment.tobytes()[42:] for segment in segments] == [b"a" * 10, b"b" * 10, b"c" * 3]
    for segment in segments:
        body = segment.tobytes()[34:]
        assert ones_complement(HERE + HERE + pack("!HH", UDP, len(body)) + body) == 0


def test_a_device_that_takes_lists_gets_the_list(lo: NetDevice) -> None:
    skb = datagrams(lo)

    takes = CUT | NETIF_F_FRAGLIST | NETIF_F_GSO_FRAGLIST | NETIF_F_GSO_UDP_L4
    skb.ip_summed = CHECKSUM_PARTIAL
    skb.csum_start, skb.csum_offset = 34, 6
    assert skb_gso_segment(skb, takes) == []
    assert skb.shinfo.gso_segs == 3


def test_a_list_of_tcp_segments_comes_apart_as_it_was_joined(lo: NetDevice) -> None:
    parts = [received(ipv4(TCP, tcp(b"b" * 10, 110), 50), 20), received(ipv4(TCP, tcp(b"c" * 2, 120), 60), 20)]
    skb = large(lo, LINK + ipv4(TCP, tcp(b"a" * 10, 100), 40), SKB_GSO_TCPV4 | SKB_GSO_FRAGLIST, 10, parts)

    assert [segment.tobytes() for segment in skb_gso_segment(skb, CUT)] == [
        LINK + ipv4(TCP, tcp(b"a" * 10, 100), 40),
        LINK + ipv4(TCP, tcp(b"b" * 10, 110), 41),
        LINK + ipv4(TCP, tcp(b"c" * 2, 120), 42),
    ]


def test_a_packet_of_a_list_that_is_shorter_than_its_headers_is_refused(lo: NetDevice) -> None:
    skb = datagrams(lo)
    del skb.shinfo.frag_list[-1].head[20:]

    with pytest.raises(KernelError, match="EINVAL"):
        skb_gso_segment(skb, 0)


def association(lo: NetDevice, chunks: list[bytes]) -> SkBuff:
    """SCTP packets of one association behind their common header, the checksum left to the device."""
    header = pack("!HHII", 1000, 2000, 0xCAFE, 0)
    frame = LINK + ipv4(SCTP, header, 7)
    skb = large(lo, frame, SKB_GSO_SCTP, GSO_BY_FRAGS, [alloc_skb(0, chunk) for chunk in chunks])
    skb.ip_summed, skb.csum_start, skb.csum_offset = CHECKSUM_PARTIAL, 34, 8
    return skb


def test_every_packet_of_an_association_gets_the_common_header(lo: NetDevice) -> None:
    chunks = [b"\0\3\0\x10" + b"x" * 12, b"\0\3\0\x08yyyy"]
    segments = skb_gso_segment(association(lo, chunks), CUT)

    header = pack("!HHII", 1000, 2000, 0xCAFE, 0)
    assert [segment.tobytes() for segment in segments] == [
        LINK + ipv4(SCTP, header + chunk, 7 + nth) for nth, chunk in enumerate(chunks)
    ]
    assert {(segment.protocol, segment.csum_start) for segment in segments} == {(ETH_P_IP, 34)}


def test_a_device_that_cuts_associations_itself_gets_them_whole(lo: NetDevice) -> None:
    skb = association(lo, [b"\0\3\0\4"] * 5)

    assert skb_gso_segment(skb, CUT | NETIF_F_FRAGLIST | NETIF_F_GSO_SCTP) == []
    assert skb.shinfo.gso_segs == 5


@pytest.mark.parametrize(("proto", "gso_type"), [(SCTP, SKB_GSO_TCPV4), (TCP, SKB_GSO_SCTP), (UDP, SKB_GSO_SCTP)])
def test_a_type_that_is_not_the_protocols_is_refused(lo: NetDevice, proto: int, gso_type: int) -> None:
    skb = large(lo, LINK + ipv4(proto, bytes(40)), gso_type, 10, [])

    with pytest.raises(KernelError, match="EINVAL"):
        skb_gso_segment(skb, CUT | NETIF_F_TSO)
