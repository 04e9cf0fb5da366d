"""What requests are made of: flags, names, numbers and addresses, mostly of the usual kind."""

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from random import Random
from typing import Final, TypeAlias

from tests.fidelity.wire import ACK, DUMP, ECHO, REQUEST, Message, text, u8, u32

Maker: TypeAlias = Callable[[Random], Message]

AF_INET, AF_BRIDGE, AF_INET6, AF_PACKET = 2, 7, 10, 17
FAMILIES: Final = (0, 2, 2, 10, 10, 10, 7, 17, 28, 45, 99, 127, 128, 129, 200, 255)
FOREVER: Final = 0xFFFFFFFF
IFF_UP: Final = 1
RACY_FLAGS: Final = 0x80
"""IFF_NOARP: what it sets off comes at a random time unless router_solicitation_delay is 0."""

MTUS = (65536, 65536, 1500, 1500, 1280, 1280, 1281, 65535, 2000, 9000, 1279, 1000, 68, 67, 0, 2**31 - 1, 2**31)
NAMES = (
    "lo",
    "lo",
    "lo",
    "lo",
    "lo0",
    "lo1",
    "lo.7",
    "all",
    "default",
    "a/b",
    "",
    "x%d",
    "ifb0",
    "ifb1",
    "alt0",
    "alt1",
    "fifteen-letters",
    "sixteen--letters",
    "a b",
    "lo:1",
    ".",
    "..",
    "nonesuch",
)
ALTNAMES = ("alt0", "alt1", "alt2", "lo", "an-alternative-name-of-many-letters", "x/y", "", "a b", "y" * 127, "z" * 128)
MACS = ("020000000001", "020000000002", "000000000000", "01005e000001", "ffffffffffff", "0200", "", "02" * 8, "02" * 33)
KINDS = ("nonesuch", "loopback", "ifb", "ifb", "ifb", "ifb", "", "x" * 60, "vlan", "vrf", "dummy", "bridge")
ADDRESSES6 = (
    "::1",
    "::1",
    "2001:db8::1",
    "2001:db8::1",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8::3",
    "2001:db8::",
    "2001:db8:1::1",
    "2001:db8:1::2",
    "fd00::1",
    "fe80::1",
    "fec0::1",
    "::5",
    "::ffff:1.2.3.4",
    "::",
    "ff02::99",
)
ADDRESSES4 = (
    "127.0.0.1",
    "127.0.0.1",
    "127.0.0.2",
    "10.0.0.1",
    "10.0.0.1",
    "10.1.0.1",
    "10.1.0.2",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "10.0.0.255",
)
INDEXES = (1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2, 3, 77, -1, -5, 2**31 - 1)


def often(rng: Random, usual: int, *others: int, chance: float = 0.12) -> int:
    return rng.choice(others) if rng.random() < chance else usual


def number(rng: Random) -> int:
    return rng.choice(
        (
            0,
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            9,
            10,
            64,
            127,
            128,
            129,
            200,
            253,
            254,
            255,
            256,
            1000,
            32767,
            32768,
            65535,
            65536,
            65537,
            524280,
            524281,
            2**31 - 1,
            2**31,
            2**32 - 1,
        )
    )


def packed(rng: Random, family: int) -> bytes:
    return ip_address(rng.choice(ADDRESSES4 if family == AF_INET else ADDRESSES6)).packed


def name(rng: Random) -> bytes:
    return text(rng.choice(NAMES))


def mac(rng: Random) -> bytes:
    return bytes.fromhex(rng.choice(MACS))


def u8s(*values: int) -> Callable[[Random], bytes]:
    return lambda rng: u8(rng.choice(values))


def u32s(*values: int) -> Callable[[Random], bytes]:
    return lambda rng: u32(rng.choice(values))


def any32(rng: Random) -> bytes:
    return u32(number(rng))


def some_bytes(rng: Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 16, 28, 32, 96, 200)))


def header_or_less(rng: Random, head: bytes) -> bytes:
    return head[: rng.choice((1, 4))] if rng.random() < 0.08 else head


def request_flags(rng: Random, *extra: int) -> int:
    """NLM_F_REQUEST and what else a change carries, now and then in odd combinations."""
    flags = REQUEST
    if rng.random() < 0.6:
        flags |= ACK
    if rng.random() < 0.06:
        flags |= ECHO
    if extra:
        flags |= rng.choice(extra)
    if rng.random() < 0.05:
        flags |= rng.getrandbits(12) & 0xF00
    if rng.random() < 0.02:
        flags |= rng.getrandbits(16)
    if rng.random() < 0.02:
        flags &= ~REQUEST
    return flags


def dump_flags(rng: Random) -> int:
    """Any bit of NLM_F_DUMP makes a GET a dump."""
    flags = REQUEST | often(rng, DUMP, 0x100, 0x200, DUMP | 0x400)
    return flags | often(rng, 0, ACK, ECHO, ACK | ECHO, 0x10, 0x20, 0x2, 0xF000)


def message(rng: Random, nlmsg_type: int, flags: int, head: bytes, attrs: Sequence[bytes] = ()) -> Message:
    return Message(nlmsg_type, flags, head, tuple(attrs), seq=rng.getrandbits(32), pid=often(rng, 0, 1, 2000, 77777))
