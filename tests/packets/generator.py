"""A seeded generator of what is done to lo: frames sent to it, and switches thrown in between."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from struct import pack
from typing import Final, Protocol, TypeAlias

from addrsvc.model.checksum import csum_fold, csum_partial, csum_pseudo
from addrsvc.model.virtio_net import (
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_ECN,
    VIRTIO_NET_HDR_GSO_TCPV4,
    VIRTIO_NET_HDR_GSO_TCPV6,
    VIRTIO_NET_HDR_GSO_UDP,
    VIRTIO_NET_HDR_GSO_UDP_L4,
    VirtioNetHdr,
)
from addrsvc.uapi import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6

__all__ = [
    "OPEN_PORT",
    "SENDER",
    "Action",
    "Call",
    "Lo",
    "Send",
    "Switch",
    "actions",
    "ipv4",
    "ipv6",
    "link",
    "tcp",
    "udp",
]

TCP, UDP, ICMPV6, ICMP = 6, 17, 58, 1
OPEN_PORT: Final = 7
"""Where a socket of each IP listens."""
SENDER: Final = b"\xc3\x50"
"""The port of the sockets that send."""


class Lo(Protocol):
    """A loopback device, on whichever kernel."""

    def up(self, up: bool = True) -> None: ...
    def mtu(self, mtu: int) -> None: ...
    def address(self, address: bytes) -> None: ...
    def features(self, mask: int, wanted: int) -> None: ...
    def send(self, frame: bytes, protocol: int, vnet: bytes | None) -> int: ...


@dataclass(frozen=True, slots=True)
class Send:
    """A frame, the protocol that its sender says it has, and what it leaves to the device."""

    frame: bytes
    protocol: int = 0
    vnet: VirtioNetHdr | None = None

    def __call__(self, lo: Lo) -> int:
        return lo.send(self.frame, self.protocol, None if self.vnet is None else self.vnet.pack())

    def __str__(self) -> str:
        return f"send {len(self.frame)} bytes as {self.protocol:#06x}, {self.vnet}: {self.frame[:120].hex(' ', 2)}"


@dataclass(frozen=True, slots=True)
class Switch:
    """Something about the device that is changed: ``Switch("mtu", 1500)``."""

    name: str
    args: tuple[object, ...]

    def __call__(self, lo: Lo) -> int:
        getattr(lo, self.name)(*self.args)
        return 0

    def __str__(self) -> str:
        return f"{self.name}{self.args}"


@dataclass(frozen=True, slots=True)
class Call:
    """Something that a program asks of a socket: ``Call("udp", (b"hello", "::1", 7))``."""

    name: str
    args: tuple[object, ...]

    def __call__(self, lo: Lo) -> int:
        errno: int = getattr(lo, self.name)(*self.args)
        return errno


Action: TypeAlias = Send | Switch | Call


# --- frames -----------------------------------------------------------------------------------------------------------


def link(protocol: int, payload: bytes, dest: bytes = bytes(6), source: bytes = bytes(6)) -> bytes:
    return dest + source + protocol.to_bytes(2) + payload


def ipv4(
    proto: int, payload: bytes, src: bytes, dst: bytes, *, ident: int = 1, frag: int = 0x4000, options: bytes = b"",
    tot_len: int | None = None,
) -> bytes:  # fmt: skip
    ihl = 5 + len(options) // 4
    length = ihl * 4 + len(payload) if tot_len is None else tot_len
    header = pack("!BBHHHBBH", 0x40 | ihl, 0, length & 0xFFFF, ident, frag, 64, proto, 0) + src + dst + options
    return header[:10] + csum_fold(csum_partial(header)).to_bytes(2) + header[12:] + payload


def ipv6(nexthdr: int, payload: bytes, src: bytes, dst: bytes, *, length: int | None = None, hops: int = 64) -> bytes:
    length = len(payload) if length is None else length
    return pack("!IHBB", 6 << 28, length & 0xFFFF, nexthdr, hops) + src + dst + payload


def tcp(payload: bytes, *, flags: int = 0x10, seq: int = 1, ack: int = 1, check: int = 0, doff: int = 5) -> bytes:
    return pack("!HHIIBBHHH", 1000, 2000, seq, ack, doff << 4, flags, 1000, check, 0) + payload


def udp(payload: bytes, *, sport: int = 1000, dport: int = 2000, length: int | None = None, check: int = 0) -> bytes:
    return pack("!HHHH", sport, dport, (8 + len(payload) if length is None else length) & 0xFFFF, check) + payload


def checksummed(segment: bytes, at: int, proto: int, src: bytes, dst: bytes, *, partial: bool) -> bytes:
    """A segment with its checksum, or with that of the pseudo header alone."""
    pseudo = csum_pseudo(src, dst, len(segment), proto)
    check = ~csum_fold(pseudo) & 0xFFFF if partial else csum_fold(pseudo + csum_partial(segment)) or 0xFFFF
    return segment[:at] + check.to_bytes(2) + segment[at + 2 :]


# --- chance -----------------------------------------------------------------------------------------------------------

MTUS: Final = (65536, 65536, 9000, 1500, 1280, 576)
CHANGEABLE: Final = (11, 14, 16, 18, 19, 20, 30, 33, 34, 35)
SEGMENTING: Final = (11, 16, 18, 19, 20, 33)
STRANGE_MACS: Final = (bytes(6), b"\x02" + bytes(4) + b"\x09", b"\x01\x00\x5e\x00\x00\x01", b"\xff" * 6)
OWN_MACS: Final = (b"\x02" + bytes(4) + b"\x01", b"\x02" + bytes(4) + b"\x02")
UNKNOWN: Final = (0x88B5, 0x9000, 0x0600, 0x05FF, 0x002E, 0x1234, 0xFFFF, ETH_P_ARP)
V6: Final = (bytes.fromhex("20010db8" + "0" * 23 + "1"), bytes.fromhex("20010db8" + "0" * 23 + "2"))
LO6: Final = bytes(15) + b"\x01"
ALL_NODES: Final = b"\xff\x01" + bytes(13) + b"\x01"
LO4: Final = bytes([127, 0, 0, 1])
V4: Final = (bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]))


def _size(chance: Random, mtu: int) -> int:
    """A size of payload that is near some limit, or not."""
    middle = chance.choice((0, 8, 46, 240, 1024, 4040, 8000, 32768, mtu - 40, mtu - 14, mtu, 65535 - 40, 60000))
    return max(0, middle + chance.randrange(-24, 25))


def _payload(chance: Random, length: int) -> bytes:
    return chance.randbytes(min(length, 64)) + bytes([chance.randrange(256)]) * max(0, length - 64)


class Generator:
    """Frames and switches, one after the other, from one source of chance."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now_mtu, self.now_address = 65536, bytes(6)

    def __iter__(self) -> Iterator[Action]:
        yield Switch("up", ())
        while True:
            if self.chance.randrange(12) == 0:
                yield self.switch()
            else:
                yield self.send()

    def switch(self) -> Action:
        chance = self.chance
        match chance.randrange(8):
            case 0:
                return Switch("up", (chance.random() < 0.7,))
            case 1 | 2:
                self.now_mtu = chance.choice(MTUS)
                return Switch("mtu", (self.now_mtu,))
            case 3:
                if chance.random() < 0.5:
                    return Switch("up", ())
                self.now_address = chance.choice(OWN_MACS)
                return Switch("address", (self.now_address,))
            case _:
                bits = chance.sample(SEGMENTING if chance.random() < 0.8 else CHANGEABLE, chance.randrange(1, 4))
                mask = sum(1 << bit for bit in bits)
                return Switch("features", (mask, mask if chance.random() < 0.5 else 0))

    def send(self) -> Action:
        kinds: Sequence[Callable[[], Action]] = (
            self.unknown, self.short, self.internet, self.segmented, self.segmented, self.local, self.local, self.asked,
            self.tagged,
        )  # fmt: skip
        return self.chance.choice(kinds)()

    def _vnet(self) -> VirtioNetHdr | None:
        return self.chance.choice((None, VirtioNetHdr()))

    def _dest(self) -> bytes:
        return self.chance.choice((self.now_address,) * 12 + STRANGE_MACS)

    def unknown(self) -> Send:
        chance = self.chance
        protocol = chance.choice(UNKNOWN)
        payload = _payload(chance, _size(chance, self.now_mtu))
        if protocol < 0x600:
            payload = chance.choice((b"\xff\xff\x00", b"\x42\x42\x03")) + payload
        said = chance.choice((protocol, protocol, 0, 3))
        return Send(link(protocol, payload, self._dest(), chance.choice(STRANGE_MACS)), said, self._vnet())

    def short(self) -> Send:
        frame = self.chance.randbytes(self.chance.randrange(0, 24))
        if frame[12:14] in (b"\x81\x00", b"\x88\xa8"):
            frame = frame[:12]
        return Send(frame, 0x88B5, self._vnet())

    def internet(self) -> Send:
        """TCP or UDP, whole, with a checksum or without, or with one that is left to the device."""
        chance = self.chance
        version, proto = chance.choice((4, 6)), chance.choice((TCP, UDP))
        payload = _payload(chance, _size(chance, self.now_mtu))
        frame, start = self._packet(version, proto, payload, partial=False)
        vnet = self._vnet()
        if vnet is not None and chance.random() < 0.5:
            vnet = VirtioNetHdr(VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, 0, 0, start, 16 if proto == TCP else 6)
            self._spoil(vnet)
        return Send(frame, self._said(version), vnet)

    def _said(self, version: int) -> int:
        said = ETH_P_IP if version == 4 else ETH_P_IPV6
        return self.chance.choice((said, said, said, 0))

    def _packet(self, version: int, proto: int, payload: bytes, *, partial: bool) -> tuple[bytes, int]:
        """A frame, and where in it the transport header begins."""
        chance = self.chance
        src, dst = V4 if version == 4 else chance.choice((V6, V6, (LO6, LO6)))
        if proto == TCP:
            segment = tcp(payload, flags=chance.randrange(256), seq=chance.choice((1, 0xFFFFFFF0, 1 << 31)))
            at = 16
        else:
            segment, at = udp(payload, dport=chance.choice((2000, 2000, OPEN_PORT))), 6
        if chance.random() < 0.8:
            segment = checksummed(segment, at, proto, src, dst, partial=partial)
        if version == 4:
            options = bytes(chance.choice((0, 0, 0, 4)))
            frag = chance.choice((0x4000, 0x4000, 0))
            packet = ipv4(proto, segment, src, dst, ident=chance.choice((1, 65534)), frag=frag, options=options)
        else:
            extension = pack("!BB6x", proto, 0) if chance.random() < 0.15 else b""
            packet = ipv6(60 if extension else proto, extension + segment, src, dst)
        start = 14 + len(packet) - len(segment)
        return link(ETH_P_IP if version == 4 else ETH_P_IPV6, packet, self._dest()), start

    def tagged(self) -> Send:
        """What another kind sends, behind a VLAN tag or two."""
        chance = self.chance
        action = chance.choice((self.unknown, self.internet, self.segmented, self.local))()
        frame, vnet, tags = action.frame, action.vnet, b""
        for _ in range(chance.choice((1, 1, 2))):
            tags += chance.choice((0x8100, 0x8100, 0x88A8)).to_bytes(2)
            tags += chance.choice((0, 0, 5, 0xE000, 0x2FFF)).to_bytes(2)
        frame = frame[:12] + tags + frame[12:]
        if vnet is not None and chance.random() < 0.8:
            vnet.csum_start += len(tags)
        said = chance.choice((int.from_bytes(tags[:2]), 0, action.protocol))
        return Send(frame[: chance.choice((len(frame),) * 9 + (17, 20))], said, vnet)

    def asked(self) -> Call:
        """What a program asks of a socket: a datagram, or an echo."""
        chance = self.chance
        addr = chance.choice(("::1",) * 4 + ("127.0.0.1",) * 3 + ("127.9.9.9", "ff02::1", "2001:db8::9", "192.0.2.9"))
        overhead = chance.choice((0, 8, 28, 48, 56))
        size = chance.choice((0, 1, 200, 240, 1000, self.now_mtu - overhead, 3 * self.now_mtu, 65507, 65527))
        payload = _payload(chance, max(0, min(size + chance.randrange(-9, 10), 65600)))
        if chance.random() < 0.3:
            return Call("ping", (payload[:2000], addr))
        return Call("udp", (payload, addr, chance.choice((OPEN_PORT, OPEN_PORT, 9))))

    def local(self) -> Send:
        """For lo's own addresses: datagrams, echoes, what nobody speaks, whole or in pieces, sound or not."""
        chance = self.chance
        proto = chance.choice((UDP, UDP, ICMPV6, ICMPV6, 59, 200, 253))
        size = chance.choice((0, 1, 7, 100, 1000, 1300, 3000, 9000)) + chance.randrange(9)
        payload = _payload(chance, size)
        if chance.random() < 0.2:
            return self._local4(payload)
        if proto == UDP:
            segment = udp(payload, dport=chance.choice((OPEN_PORT, 2000)), length=self._lie(8 + size))
            segment = checksummed(segment, 6, UDP, LO6, LO6, partial=False)
        elif proto == ICMPV6:
            kind = chance.choice((128, 128, 128, 129, 1, 3, 200, 100))
            segment = pack("!BBHI", kind, 0, 0, chance.randrange(1 << 32)) + payload
            segment = checksummed(segment, 2, ICMPV6, LO6, LO6, partial=False)
        else:
            segment = payload
        if chance.random() < 0.1 and segment:
            segment = segment[:-1] + bytes([segment[-1] ^ 1])
        return self._local6(proto, segment)

    def _lie(self, length: int) -> int:
        return length + self.chance.choice((0,) * 12 + (-1, 1, 500, -length, 8 - length))

    def _local6(self, proto: int, segment: bytes) -> Send:
        """The packet, or a fragment of it."""
        chance = self.chance
        source = chance.choice((LO6,) * 6 + (V6[0], bytes(16), ALL_NODES))
        dest = chance.choice(
            (LO6,) * 9 + (bytes(16), b"\xff\x01" + bytes(13) + b"\x01", b"\xff\x02" + bytes(13) + b"\x09")
        )
        if chance.random() < 0.3:
            size = chance.choice((8, 16, 1000, 1232))
            at = chance.choice((0, 0, size, 2 * size, 65528))
            piece = segment[at : at + size]
            more = at + size < len(segment) and chance.random() < 0.9
            header = pack("!BBHI", proto, 0, at | more, chance.choice((1, 2, 3)))
            proto, segment = 44, header + piece
        elif chance.random() < 0.15:
            proto, segment = chance.choice((60, 60, 0)), pack("!BBHI", proto, 0, 0x0104, 0) + segment
        packet = ipv6(proto, segment, source, dest, length=self._lie(len(segment)), hops=chance.choice((64, 1, 255)))
        if chance.random() < 0.05:
            packet = bytes([chance.randrange(256)]) + packet[1:]
        return Send(link(ETH_P_IPV6, packet, self._dest()), ETH_P_IPV6)

    def _local4(self, payload: bytes) -> Send:
        chance = self.chance
        source, dest = chance.choice((LO4, V4[0])), chance.choice((LO4, V4[1], b"\xff" * 4, b"\xe0\0\0\1"))
        packet = ipv4(
            chance.choice((UDP, ICMP, 253)), payload, source, dest, frag=chance.choice((0x4000, 0, 0x2000, 5))
        )
        at = chance.randrange(20)
        if chance.random() < 0.1:
            packet = packet[:at] + bytes([chance.randrange(256)]) + packet[at + 1 :]
        return Send(link(ETH_P_IP, packet, self._dest()), ETH_P_IP)

    def segmented(self) -> Send:
        """What is to be cut, by the device or before it."""
        chance = self.chance
        version, proto = chance.choice((4, 6)), chance.choice((TCP, TCP, UDP))
        payload = _payload(chance, chance.choice((0, 1, 100, 1000, 3000, 5000, 20000, 65000)) + chance.randrange(50))
        frame, start = self._packet(version, proto, payload, partial=True)
        if proto == TCP:
            gso_type = VIRTIO_NET_HDR_GSO_TCPV4 if version == 4 else VIRTIO_NET_HDR_GSO_TCPV6
            gso_type |= chance.choice((0, 0, VIRTIO_NET_HDR_GSO_ECN))
        else:
            gso_type = chance.choice((VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_HDR_GSO_UDP))
        length = len(payload)
        size = chance.choice((length // 2, length // 3, length // 10, 536, 1440, 1000, length, length - 1, 32768))
        size = max(1, min(65535, size), length // 200)
        flags = VIRTIO_NET_HDR_F_NEEDS_CSUM if chance.random() < 0.85 else 0
        vnet = VirtioNetHdr(flags, gso_type, 0, size, start, 16 if proto == TCP else 6)
        vnet.hdr_len = chance.choice((0, start + (20 if proto == TCP else 8), 14, min(128, len(frame))))
        self._spoil(vnet)
        return Send(frame, self._said(version), vnet)

    def _spoil(self, vnet: VirtioNetHdr) -> None:
        """Now and then, tell a lie."""
        chance = self.chance
        if chance.random() < 0.85:
            return
        match chance.randrange(7):
            case 0:
                vnet.gso_type = chance.choice((0, 1, 2, 3, 4, 5, 0x80, 0x81, 0x83, 0x84, 0x85, 0xFF))
            case 1:
                vnet.gso_size = chance.choice((0, 65535, 65534))
            case 2:
                vnet.csum_start = max(0, vnet.csum_start + chance.choice((-60, -20, -1, 1, 7, 100, 5000, 65000)))
                vnet.csum_start &= 0xFFFF
            case 3:
                vnet.csum_offset = chance.choice((0, 6, 16, 17, 500, 65535))
            case 4:
                vnet.hdr_len = chance.choice((1, 2000, 65535))
            case 5:
                vnet.flags = chance.choice((0, 1, 2, 4, 255))
            case _:
                vnet.csum_start = 0


def actions(seed: int, packets: int) -> Iterator[Action]:
    """What is done until so many packets have been sent."""
    sent = 0
    for action in Generator(seed):
        yield action
        sent += not isinstance(action, Switch)
        if sent == packets:
            return
