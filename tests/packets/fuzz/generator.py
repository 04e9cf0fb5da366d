"""Packets that are wrong somewhere: frames bent and cut, and structures around them that lie about the bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from struct import pack
from typing import Any, Final

from addrsvc.model.features import (
    SKB_GSO_FRAGLIST,
    SKB_GSO_SCTP,
    SKB_GSO_TCPV4,
    SKB_GSO_TCPV6,
    SKB_GSO_UDP_L4,
    FeatureBit,
)
from addrsvc.model.skbuff import SkbSharedInfo, SkBuff, alloc_skb
from addrsvc.uapi import CHECKSUM_PARTIAL, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6
from tests.packets.generator import TCP, UDP, V4, V6, checksummed, ipv4, ipv6, link, tcp, udp

__all__ = ["DOORS", "HANDLED", "Bent", "Generator"]

HANDLED: Final = 0x88B5
"""A protocol that the target itself listens to."""
DOORS: Final = ("dev_queue_xmit", "dev_queue_xmit", "dev_queue_xmit", "netif_rx", "netif_receive_skb", "packet_snd")
"""Where a packet goes in; sending is tried most."""

_ICMP, _ICMPV6, _SCTP, _NOBODY = 1, 58, 132, 253
_LOCAL_V4: Final = (bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]))
_LOCAL_V6: Final = (bytes(15) + b"\x01", bytes(15) + b"\x01")
_FRAGMENT: Final = 44
_EXTENSIONS: Final = (0, 43, 44, 44, 44, 50, 51, 59, 60)
_FRAGMENTS: Final = (0, 0x4000, 0x4000, 0x4000, 0x2000, 0x2001, 1, 2, 0x2002, 0x1FFF)
"""What an IPv4 header says of fragments."""
_FRAGMENTS6: Final = (0, 1, 1, 2, 8, 9, 16, 17, 104, 105, 0xFFF8, 0xFFF9)
"""What a fragment header says of itself."""
_PROTOCOLS: Final = (ETH_P_IP, ETH_P_IPV6, ETH_P_ARP, HANDLED, 0, 1, 4, 0x0600, 0x8100, 0x88A8, 0xFFFF)
_MACS: Final = (bytes(6), bytes(6), b"\x02" + bytes(5), b"\x01\x00\x5e\x00\x00\x01", b"\xff" * 6)
_GSO_TYPES: Final = tuple(1 << bit for bit in range(20))
_GSO_USUAL: Final = {
    (4, TCP): SKB_GSO_TCPV4,
    (6, TCP): SKB_GSO_TCPV6,
    (4, UDP): SKB_GSO_UDP_L4,
    (6, UDP): SKB_GSO_UDP_L4,
    (4, _SCTP): SKB_GSO_SCTP,
    (6, _SCTP): SKB_GSO_SCTP,
}
_GSO_SIZES: Final = (1, 2, 7, 8, 100, 536, 1440, 8000, 32768, 65534, 65535)
_SMALL_ENOUGH: Final = 200
"""Segments that one packet is cut into, except now and then: thousands take their time, and teach nothing more."""
_SHIFTS: Final = (-65536, -40, -20, -14, -8, -2, -1, 1, 2, 8, 14, 20, 40, 1000, 65535)


@dataclass(frozen=True, slots=True)
class Bent:
    """One packet, by which door it goes in, and what its device can do at that time.

    Attributes:
        fields: what is set of the packet's structure by hand.
        vnet: a struct virtio_net_hdr for a packet socket, None for a socket without.
    """

    door: str
    features: int
    linear: bytes
    headroom: int = 0
    frags: Sequence[bytes] = ()
    frag_list: Sequence[bytes] = ()
    gso: tuple[int, int, int] = (0, 0, 0)
    fields: dict[str, Any] = field(default_factory=dict)
    vnet: bytes | None = None
    protocol: int = 0

    def skb(self) -> SkBuff:
        skb = alloc_skb(self.headroom, self.linear)
        size, segs, gso_type = self.gso
        skb.shinfo = SkbSharedInfo(
            list(self.frags), [alloc_skb(0, part) for part in self.frag_list], size, segs, gso_type
        )
        skb.truesize += sum(map(len, (*self.frags, *self.frag_list)))
        skb.protocol = self.protocol
        for name, value in self.fields.items():
            setattr(skb, name, value)
        return skb

    def __str__(self) -> str:
        parts = f"{self.linear[:96].hex()}, frags {[*map(len, self.frags)]}, list {[*map(len, self.frag_list)]}"
        return (
            f"{self.door} {len(self.linear)} bytes after {self.headroom}: {parts}; features {self.features:#x}, "
            f"protocol {self.protocol:#x}, gso {self.gso}, vnet {self.vnet and self.vnet.hex()}, {self.fields}"
        )


class Generator:
    """One bent packet after the other, from one source of chance."""

    def __init__(self, chance: Random, features: int, changeable: int) -> None:
        self.chance, self.features, self.changeable = chance, features, changeable

    def often(self, share: float) -> bool:
        return self.chance.random() < share

    def bent(self) -> Bent:
        """The next one."""
        chance = self.chance
        door = chance.choice(DOORS)
        frame, start, version, proto = self.frame()
        protocol = {4: ETH_P_IP, 6: ETH_P_IPV6}.get(version, HANDLED)
        if self.often(0.15):
            protocol = chance.choice(_PROTOCOLS)
        if door == "packet_snd":
            return Bent(door, self.device_features(), frame, vnet=self.vnet(start), protocol=protocol)
        linear, frags, frag_list = self.split(frame)
        headroom = chance.choice((0, 0, 2, 16, 64, 20000))
        at = 0
        if door != "dev_queue_xmit":
            at = min(14, len(linear)) if self.often(0.9) else 0
        fields = self.fields(headroom, len(linear), start)
        fields["data"] = headroom + at
        gso = self.gso(version, proto, len(frame)) if self.often(0.6) else (0, 0, 0)
        if frag_list and self.often(0.3):
            size = len(linear) + sum(map(len, frags)) - start
            gso = self.gso_of_list(version, proto, size) if size > 20 else gso
        return Bent(door, self.device_features(), linear, headroom, frags, frag_list, gso, fields, None, protocol)

    def device_features(self) -> int:
        """Mostly what somebody may have switched; else anything."""
        chance = self.chance
        if self.often(0.4):
            return self.features
        if self.often(0.7):
            return self.features ^ chance.getrandbits(64) & self.changeable
        known = sum(1 << bit for bit in FeatureBit)
        return chance.getrandbits(64) & known

    # --- bytes ---

    def frame(self) -> tuple[bytes, int, int, int]:
        """A frame, where its transport header begins, and what it was before it was bent."""
        chance = self.chance
        if self.often(0.1):
            return chance.randbytes(chance.choice((0, 1, 12, 13, 14, 15, 33, 34, 54, 60, 300))), 34, 0, 0
        version = chance.choice((4, 6))
        src, dst = chance.choice(((V4, V6), (_LOCAL_V4, _LOCAL_V6)))[version == 6]
        proto, segment = self.segment(src, dst)
        if version == 4:
            packet = ipv4(proto, segment, src, dst, frag=chance.choice(_FRAGMENTS), ident=chance.randrange(4),
                          options=bytes(chance.choice((0, 0, 4, 40))))  # fmt: skip
        else:
            first, extensions = self.extensions(proto)
            packet = ipv6(first, extensions + segment, src, dst)
        ethertype = ETH_P_IP if version == 4 else ETH_P_IPV6
        frame = link(ethertype, packet, chance.choice(_MACS), chance.choice(_MACS))
        start = len(frame) - len(segment)
        return self.bend(frame), start, version, proto

    def segment(self, src: bytes, dst: bytes) -> tuple[int, bytes]:
        chance = self.chance
        payload = bytes([chance.randrange(256)]) * self.length()
        proto = chance.choice((TCP, TCP, UDP, UDP, _SCTP, _ICMP, _ICMPV6, _NOBODY))
        if proto == TCP:
            doff = 5 if self.often(0.8) else chance.randrange(16)
            segment = tcp(payload, flags=chance.randrange(256), seq=chance.getrandbits(32), doff=doff)
            return proto, checksummed(segment, 16, proto, src, dst, partial=self.often(0.5))
        if proto == UDP:
            length = None if self.often(0.8) else chance.randrange(65536)
            segment = udp(payload, dport=chance.choice((7, 53, 2000)), length=length)
            return proto, checksummed(segment, 6, proto, src, dst, partial=self.often(0.5))
        if proto in (_ICMP, _ICMPV6):
            segment = pack("!BBHHH", chance.choice((8, 128, 0, 129, 3, 1, 135, 255)), 0, 0, 1, 1) + payload
            return proto, checksummed(segment, 2, proto, src, dst, partial=False)
        return proto, chance.randbytes(12) + payload

    def length(self) -> int:
        chance = self.chance
        middle = chance.choice((0, 0, 1, 8, 100, 600, 1500, 1500, 3000, 9000)) if self.often(0.97) else 65000
        return middle + chance.randrange(16)

    def extensions(self, proto: int) -> tuple[int, bytes]:
        """A chain of extension headers, whose lengths are true or not, that leads to `proto`."""
        chance = self.chance
        if self.often(0.6):
            return proto, b""
        chain = [chance.choice(_EXTENSIONS) for _ in range(chance.randrange(1, 4))]
        headers = b""
        for kind, nexthdr in zip(chain, (*chain[1:], proto), strict=True):
            if kind == _FRAGMENT:
                headers += pack("!BBHI", nexthdr, 0, chance.choice(_FRAGMENTS6), chance.randrange(4))
            else:
                length = chance.choice((0, 0, 0, 1, 255))
                headers += bytes((nexthdr, length)) + bytes(6 + 8 * min(length, 2))
        return chain[0], headers

    def bend(self, frame: bytes) -> bytes:
        """The same with bytes changed, cut out, or cut off; or as it is."""
        chance = self.chance
        if self.often(0.4):
            return frame
        bent = bytearray(frame)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(min(len(bent), 80)) if bent else 0
            match chance.randrange(5):
                case 0 | 1:
                    bent[at : at + 1] = bytes([chance.choice((0, 1, 4, 5, 15, 0x45, 0x60, 127, 128, 255))])
                case 2:
                    bent[at : at + 2] = pack("!H", chance.choice((0, 1, 19, 20, 40, 0x7FFF, 0x8000, 0xFFFF)))
                case 3:
                    del bent[at : at + chance.randrange(1, 30)]
                case _:
                    del bent[at + chance.randrange(40) :]
        return bytes(bent)

    def split(self, frame: bytes) -> tuple[bytes, tuple[bytes, ...], tuple[bytes, ...]]:
        """The linear part, the pages and the packets behind it; any of them may be empty."""
        chance = self.chance
        if self.often(0.4):
            return frame, (), ()
        cuts = sorted(min(len(frame), chance.choice((0, 13, 14, 34, 54, 74, 600, 1500, 4096))) for _ in range(3))
        cuts += [len(frame)]
        parts = [frame[begin:end] for begin, end in pairwise(cuts)]
        linear, where = frame[: cuts[0]], chance.randrange(3)
        if where == 0:
            return linear, tuple(parts), ()
        return (linear, (), tuple(parts)) if where == 1 else (linear, tuple(parts[:1]), tuple(parts[1:]))

    # --- what is said about them ---

    def fields(self, headroom: int, length: int, start: int) -> dict[str, Any]:
        chance = self.chance
        transport = headroom + start
        said: dict[str, Any] = {"network_header": headroom + 14, "transport_header": transport}
        said["mac_header"] = headroom
        if self.often(0.6):
            said |= {"ip_summed": CHECKSUM_PARTIAL, "csum_start": transport, "csum_offset": chance.choice((6, 16))}
        for name in tuple(said):
            if name != "ip_summed" and self.often(0.08):
                said[name] = self.offset(said[name], headroom, length)
        for name in ("network_header", "transport_header", "mac_header"):
            if self.often(0.1):
                said[name] = None
        others = {
            "ip_summed": chance.randrange(4), "pkt_type": chance.randrange(8), "encapsulation": True,
            "vlan_tci": chance.randrange(65536), "mac_len": chance.randrange(65536), "hash": chance.getrandbits(32),
            "inner_network_header": transport, "inner_transport_header": transport + 8, "queue_mapping": 65535,
            "dst": "a route", "dst_noref": True,
        }  # fmt: skip
        for name in chance.sample(sorted(others), chance.choice((0, 0, 1, 2))):
            said[name] = others[name]
        return said

    def offset(self, right: int, headroom: int, length: int) -> int:
        """An offset of 16 bits into the buffer, or beyond it, that is not the right one."""
        chance = self.chance
        edges = (0, headroom, headroom + length, headroom + length - 1, 65535, chance.randrange(65536))
        return (right + chance.choice(_SHIFTS) if self.often(0.5) else chance.choice(edges)) & 0xFFFF

    def gso(self, version: int, proto: int, length: int) -> tuple[int, int, int]:
        chance = self.chance
        kind = _GSO_USUAL.get((version, proto), 0)
        if not kind or self.often(0.2):
            kind = chance.choice(_GSO_TYPES)
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            kind |= chance.choice(_GSO_TYPES)
        size = chance.choice(_GSO_SIZES)
        if self.often(0.98):
            size = max(size, length // _SMALL_ENOUGH)
        return size, chance.choice((0, 0, 1, 2, 1000, 65535)), kind

    def gso_of_list(self, version: int, proto: int, first: int) -> tuple[int, int, int]:
        """A list of packets, each of which is a segment, the first `first` bytes of TCP or UDP."""
        if proto == _SCTP:
            return 0xFFFF, 0, SKB_GSO_SCTP
        return first - (20 if proto == TCP else 8), 0, SKB_GSO_FRAGLIST | _GSO_USUAL.get((version, proto), 0)

    def vnet(self, start: int) -> bytes | None:
        chance = self.chance
        if self.often(0.2):
            return None
        if self.often(0.1):
            return chance.randbytes(chance.choice((0, 9, 10)))
        size, hdr_len = chance.choice(_GSO_SIZES[3:]), chance.choice((0, start, start + 20, 54, 65535))
        kind = chance.choice((0, 1, 3, 4, 5, 0x80, 0x81, 0x84, chance.randrange(256)))
        csum_start = start if self.often(0.8) else chance.randrange(65536)
        return pack("<BBHHHH", chance.choice((0, 1, 1, 1, 2, 255)), kind, hdr_len, size, csum_start,
                    chance.choice((6, 16, 16, 65535)))  # fmt: skip
