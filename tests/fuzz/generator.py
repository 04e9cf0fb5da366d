"""Datagrams to send: requests that could be meant, grown at random from what attributes look like, and then mutated."""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from random import Random
from struct import Struct
from typing import Final

from addrsvc.uapi import Rtm

__all__ = ["HEADER_LENGTHS", "Generator", "message", "nla"]

NLMSGHDR: Final = Struct("=IHHII")
NLATTR: Final = Struct("=HH")
NLA_F_NESTED: Final = 0x8000
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300


def nla(nla_type: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    length = NLATTR.size + len(payload)
    return (NLATTR.pack(length & 0xFFFF, nla_type & 0xFFFF) + payload).ljust(length + 3 & ~3, b"\0")


def message(nlmsg_type: int, flags: int, payload: bytes, seq: int = 1, *, length: int | None = None) -> bytes:
    """One message, padded; `length` is what it claims to be, if not what it is."""
    told = NLMSGHDR.size + len(payload) if length is None else length
    padded = payload.ljust(len(payload) + 3 & ~3, b"\0")
    return NLMSGHDR.pack(told & 0xFFFFFFFF, nlmsg_type, flags, seq, 0) + padded


# The length of the family's own header, by the first of the four types that share it.
HEADER_LENGTHS: Final[Mapping[int, int]] = {
    16: 16, 20: 8, 24: 12, 28: 12, 32: 12, 36: 20, 40: 20, 44: 20, 48: 4, 52: 4, 56: 8, 60: 8, 64: 4, 68: 4, 72: 12,
    76: 4, 80: 4, 84: 12, 88: 4, 92: 12, 96: 4, 100: 20, 104: 8, 108: 16, 112: 4, 116: 8, 120: 8,
}  # fmt: skip
SERVED: Final = tuple(int(it) for it in Rtm if it < 36 or 56 <= it < 76 or 80 <= it < 84 or 88 <= it < 96 or it == 110)
TYPES: Final = (*SERVED * 8, *(int(it) for it in Rtm), *range(16), 123, 124, 200, 0x7FFF, 0xFFFF)
FAMILIES: Final = (*(0, 2, 10) * 6, 7, 17, 28, 127, 128, 129, 200, 255)
NUMBERS: Final = (0, 1, 2, 3, 7, 127, 128, 255, 256, 1279, 1280, 1500, 65535, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NAMES: Final = (b"lo", b"lo\0", b"lo9\0", b"all\0", b"x%d\0", b"a/b\0", b"", b"\0", b"dummy0\0", b"dummy\0", b"ifb\0",
                b"y" * 15 + b"\0", b"z" * 16, b"\xff\xfe\0", b"lo\0garbage")  # fmt: skip
ADDRESSES: Final = tuple(ip_address(it).packed for it in (
    "::1", "::", "2001:db8::1", "2001:db8::2", "2001:db8::3", "fe80::1", "fec0::1", "ff02::1", "ff02::99",
    "::ffff:1.2.3.4", "127.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.255", "0.0.0.0", "255.255.255.255", "224.0.0.1",
))  # fmt: skip
LIFETIMES: Final = (0, 1, 2, 1000, 0xFFFFFFFE, 0xFFFFFFFF)


class Generator:
    """An endless source of datagrams, the same for the same seed."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._last = b""
        self._kinds: Sequence[tuple[Callable[[], bytes], int]] = (
            (self._grown, 5), (self._meant, 16), (self._several, 2), (self._noise, 1), (self._again, 1),
        )  # fmt: skip

    def datagram(self) -> bytes:
        """The next one; about half of them are as they were meant, in form at least."""
        rng = self._rng
        (make,) = rng.choices([kind for kind, _ in self._kinds], [weight for _, weight in self._kinds])
        data = make()
        for _ in range(rng.choice((0, 0, 0, 0, 0, 1, 1, 2, 5))):
            data = self._mutated(data)
        self._last = data
        return data

    # --- what could be meant ---

    def _meant(self) -> bytes:
        """A request that does something, or would if it were one bit other."""
        rng = self._rng
        flags = REQUEST | rng.choice((0, ACK, ACK)) | rng.choice((0, 0, 0x100, 0x200, 0x400, 0x600, 0x500, 0xF00, 0x8))
        return rng.choice(
            (self._link, self._link, self._device, self._address, self._address, self._deletion, self._dump,
             self._route, self._route, self._rule, self._label)
        )(flags)  # fmt: skip

    def _link(self, flags: int) -> bytes:
        rng = self._rng
        header = Struct("=BBHiII").pack(
            rng.choice((0, 0, 0, 10)), 0, rng.choice((0, 772)), rng.choice((1, 1, 1, 1, 2, 3, 4, 0, 77, -5)),
            rng.choice((0, 1, 1, 4, 0x80, 0x100, 0xFFFF)), rng.choice((0, 0, 1, 1, 4, 0x80, 0x100, 0xFFFFFFFF)),
        )  # fmt: skip
        attrs = b"".join(self._link_attribute() for _ in range(rng.randrange(4)))
        plain = flags & ~0x300 if rng.random() < 0.8 else flags
        return message(rng.choice((16,) * 6 + (19, 19, 17, 108, 109)), plain, header + attrs)

    def _device(self, flags: int) -> bytes:
        """A device of a kind that can be made, or one deleted."""
        rng = self._rng
        header = Struct("=BBHiII").pack(0, 0, 0, rng.choice((0, 0, 0, 2, 3, 4)), rng.choice((0, 1)), rng.choice((0, 1)))
        if rng.random() < 0.3:
            return message(17, flags, header)
        kind = nla(18 | NLA_F_NESTED, nla(1, rng.choice((b"dummy", b"ifb"))))
        name = nla(3, rng.choice((b"x%d\0", b"dummy0\0", b"ifb%d\0"))) if rng.random() < 0.7 else b""
        return message(16, flags | rng.choice((0x400, 0x600)), header + name + kind + self._link_attribute())

    def _link_attribute(self) -> bytes:
        rng = self._rng
        return rng.choice((
            lambda: nla(1, rng.randbytes(rng.choice((6, 6, 5, 8, 33)))),
            lambda: nla(3, rng.choice(NAMES)),
            lambda: nla(4, self._u32()),
            lambda: nla(13, self._u32()),
            lambda: nla(16, bytes((rng.randrange(9),))),
            lambda: nla(17, bytes((rng.randrange(3),))),
            lambda: nla(18, nla(1, rng.choice((b"dummy", b"ifb", b"veth", b"nope", b"")))),
            lambda: nla(20, rng.randbytes(rng.choice((0, 1, 8, 256)))),
            lambda: nla(26, nla(rng.choice((2, 10, 10, 99)), self._attributes(2))),
            lambda: nla(26, nla(10, nla(8, bytes((rng.randrange(5),))))),
            lambda: nla(27, self._u32()),
            lambda: nla(52, nla(53, rng.choice(NAMES))),
            lambda: nla(rng.randrange(72), self._payload()),
        ))()  # fmt: skip

    def _address(self, flags: int) -> bytes:
        return self._of_address(20, flags)

    def _deletion(self, flags: int) -> bytes:
        return self._of_address(21, flags)

    def _of_address(self, nlmsg_type: int, flags: int) -> bytes:
        rng = self._rng
        own = rng.choice(ADDRESSES)
        family = 2 if len(own) == 4 else 10
        header = Struct("=BBBBi").pack(
            rng.choice((family,) * 30 + FAMILIES),
            rng.choice((0, 8, 24, 32, 33, 64, 64, 64, 64, 127, 128, 128, 129, 255)),
            rng.choice((0, 0, 2, 0x80, 0xFF)), rng.choice((0, 0, 254, 253, 77)),
            rng.choice((1, 1, 1, 1, 1, 2, 2, 3, 0, 9999, -1)),
        )  # fmt: skip
        attrs = [nla(2, own), nla(1, own if rng.random() < 0.8 else rng.choice(ADDRESSES))]
        if rng.random() < 0.3:
            attrs.append(nla(6, Struct("=IIII").pack(*(rng.choice(LIFETIMES) for _ in range(4)))))
        if rng.random() < 0.4:
            attrs.append(nla(8, rng.choice((0, 1, 2, 4, 8, 0x10, 0x100, 0x200, 0x400, 0xFFFF)).to_bytes(4, "little")))
        if rng.random() < 0.2:
            attrs.append(nla(rng.randrange(14), self._payload()))
        rng.shuffle(attrs)
        return message(nlmsg_type, flags, header + b"".join(attrs))

    def _route(self, flags: int) -> bytes:
        rng = self._rng
        length = rng.choice((4, 16))
        to, via = (rng.choice([it for it in ADDRESSES if len(it) == length]) for _ in range(2))
        header = Struct("=BBBBBBBBI").pack(
            2 if length == 4 else 10, rng.choice((0, 8, 24, 32, 64, 128, 129)), 0, rng.choice((0, 0, 0, 4)),
            rng.choice((254, 254, 254, 255, 0, 100)), rng.choice((2, 3, 4, 9, 0)), rng.choice((0, 0, 253, 254, 255)),
            rng.choice((1, 1, 1, 2, 3, 5, 6, 7, 8, 12)), rng.choice((0, 0, 0, 4, 0x200)),
        )  # fmt: skip
        attrs = [nla(1, to), nla(4, rng.choice((1, 1, 2, 3)).to_bytes(4, "little")), nla(5, via), nla(6, self._u32()),
                 nla(7, via), nla(15, rng.choice((254, 255, 100)).to_bytes(4, "little")),
                 nla(8 | NLA_F_NESTED, nla(rng.randrange(1, 18), self._u32())), nla(20, bytes((rng.randrange(4),))),
                 nla(23, self._u32()), nla(rng.randrange(32), self._payload())]  # fmt: skip
        chosen = [attrs[0], attrs[1], *(it for it in attrs[2:] if rng.random() < 0.15)]
        return message(rng.choice((24, 24, 24, 25)), flags, header + b"".join(chosen))

    def _rule(self, flags: int) -> bytes:
        rng = self._rng
        header = Struct("=BBBBBBBBI").pack(
            rng.choice((2, 10)), rng.choice((0, 0, 32)), 0, 0, rng.choice((254, 255, 100)), 0, 0,
            rng.choice((1, 1, 1, 2, 6, 7, 8)), rng.choice((0, 0, 2)),
        )  # fmt: skip
        attrs = [nla(rng.randrange(1, 26), self._payload()) for _ in range(rng.randrange(3))]
        return message(rng.choice((32, 32, 33)), flags, header + b"".join(attrs))

    def _label(self, flags: int) -> bytes:
        rng = self._rng
        header = Struct("=BBBBII").pack(10, 0, rng.choice((0, 64, 128, 129)), 0, rng.choice((0, 0, 1, 7)), 0)
        to = rng.choice([it for it in ADDRESSES if len(it) == 16])
        return message(rng.choice((72, 72, 73, 74)), flags, header + nla(1, to) + nla(2, self._u32()))

    def _dump(self, flags: int) -> bytes:
        rng = self._rng
        nlmsg_type = rng.choice([it for it in SERVED if it & 3 == 2])
        header = bytes((rng.choice(FAMILIES),)).ljust(HEADER_LENGTHS[nlmsg_type & ~3], b"\0")
        attrs = self._attributes(1) if rng.random() < 0.3 else b""
        return message(nlmsg_type, flags | rng.choice((0, DUMP, DUMP)), header + attrs)

    # --- what grows by itself ---

    def _grown(self) -> bytes:
        rng = self._rng
        nlmsg_type = rng.choice(TYPES)
        length = HEADER_LENGTHS.get(nlmsg_type & ~3, 4)
        header = bytearray(rng.choice((bytes(length), rng.randbytes(length), rng.randbytes(rng.randrange(2 * length)))))
        if header:
            header[0] = rng.choice(FAMILIES)
        flags = rng.choice((REQUEST, REQUEST | ACK, REQUEST | ACK | DUMP, rng.randrange(0x10000)))
        padded = bytes(header).ljust(len(header) + 3 & ~3, b"\0")
        return message(nlmsg_type, flags, padded + self._attributes(3), rng.randrange(1 << 32))

    def _attributes(self, depth: int) -> bytes:
        return b"".join(self._attribute(depth) for _ in range(self._rng.choice((0, 1, 1, 2, 3, 6))))

    def _attribute(self, depth: int) -> bytes:
        rng = self._rng
        nla_type = rng.choice((rng.randrange(16), rng.randrange(72), rng.randrange(0x10000)))
        if depth and rng.random() < 0.3:
            return nla(nla_type | rng.choice((0, NLA_F_NESTED)), self._attributes(depth - 1))
        return nla(nla_type, self._payload())

    def _payload(self) -> bytes:
        rng = self._rng
        return rng.choice((
            lambda: b"",
            lambda: bytes((rng.randrange(256),)),
            lambda: rng.choice(NUMBERS).to_bytes(4, "little")[:2],
            self._u32,
            lambda: rng.choice(NUMBERS).to_bytes(8, "little"),
            lambda: rng.choice(ADDRESSES),
            lambda: rng.choice(NAMES),
            lambda: rng.randbytes(rng.choice((3, 5, 16, 20, 33))),
            lambda: bytes(rng.choice((12, 64, 300))),
        ))()  # fmt: skip

    def _u32(self) -> bytes:
        return self._rng.choice(NUMBERS).to_bytes(4, "little")

    # --- and the rest ---

    def _several(self) -> bytes:
        """Several messages in one datagram."""
        return b"".join(self._rng.choice((self._grown, self._meant))() for _ in range(self._rng.randrange(2, 5)))

    def _noise(self) -> bytes:
        return self._rng.randbytes(self._rng.choice((0, 1, 15, 16, 17, 20, 40, 200)))

    def _again(self) -> bytes:
        return self._last

    def _mutated(self, data: bytes) -> bytes:
        """One change of bytes: a bit, a byte, a length that lies, something cut out, put in or said twice."""
        rng = self._rng
        if not data:
            return rng.randbytes(3)
        at, end = rng.randrange(len(data)), rng.randrange(len(data) + 1)
        changed = bytearray(data)
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                return data[:at]
            case 3:
                del changed[at:end]
            case 4:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
            case 5:
                changed[at:at] = data[at:end]
            case 6:
                spot = at & ~3
                changed[spot : spot + 2] = rng.choice(NUMBERS).to_bytes(4, "little")[:2]
        return bytes(changed)
