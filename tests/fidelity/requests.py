"""Well-formed requests, at random: a table of makers with weights, each of them one kind of request.

What they ask may be refused, but no length lies and no attribute is cut; `mutations` sees to that.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from random import Random
from struct import pack
from typing import Final, TypeAlias

from tests.fidelity.normal import GRAIN
from tests.fidelity.steps import RESIDENT
from tests.fidelity.wire import ACK, DUMP, ECHO, REQUEST, Message, nest, nla, text, u8, u16, u32

__all__ = ["REQUESTS", "Repertoire"]

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
KINDS = ("nonesuch", "loopback", "ifb", "ifb", "ifb", "ifb", "", "x" * 60)
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


# --- parts ------------------------------------------------------------------------------------------------------------


def _often(rng: Random, usual: int, *others: int, chance: float = 0.12) -> int:
    return rng.choice(others) if rng.random() < chance else usual


def _number(rng: Random) -> int:
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


def _packed(rng: Random, family: int) -> bytes:
    return ip_address(rng.choice(ADDRESSES4 if family == AF_INET else ADDRESSES6)).packed


def _name(rng: Random) -> bytes:
    return text(rng.choice(NAMES))


def _mac(rng: Random) -> bytes:
    return bytes.fromhex(rng.choice(MACS))


def _u8s(*values: int) -> Callable[[Random], bytes]:
    return lambda rng: u8(rng.choice(values))


def _u32s(*values: int) -> Callable[[Random], bytes]:
    return lambda rng: u32(rng.choice(values))


def _any32(rng: Random) -> bytes:
    return u32(_number(rng))


def _some_bytes(rng: Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 16, 28, 32, 96, 200)))


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
    flags = REQUEST | _often(rng, DUMP, 0x100, 0x200, DUMP | 0x400)
    return flags | _often(rng, 0, ACK, ECHO, ACK | ECHO, 0x10, 0x20, 0x2, 0xF000)


def _message(rng: Random, nlmsg_type: int, flags: int, head: bytes, attrs: Sequence[bytes] = ()) -> Message:
    return Message(nlmsg_type, flags, head, tuple(attrs), seq=rng.getrandbits(32), pid=_often(rng, 0, 1, 2000, 77777))


# --- links ------------------------------------------------------------------------------------------------------------


def ifinfomsg(rng: Random, *, index: int | None = None, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return pack(
        "=BxHiII",
        family,
        _often(rng, 0, 1, 772, chance=0.1),
        rng.choice(INDEXES) if index is None else index,
        flags,
        change,
    )


def _af_spec(rng: Random) -> bytes:
    def inet(rng: Random) -> bytes:
        conf = [nla(rng.choice((*range(36), 200)), _some_int(rng)) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
        inner = [nest(1, *conf, flagged=rng.random() < 0.8)] if rng.random() < 0.9 else []
        return nest(AF_INET, *inner)

    def inet6(rng: Random) -> bytes:
        inner = []
        if rng.random() < 0.7:
            inner.append(nla(8, u8(rng.choice((0, 1, 2, 3, 4, 255)))))
        if rng.random() < 0.2:
            inner.append(nla(7, _packed(rng, AF_INET6)))
        if rng.random() < 0.15:
            inner.append(nla(rng.choice((1, 2, 3, 4, 5, 6, 9, 10, 11, 77)), _some_bytes(rng)))
        rng.shuffle(inner)
        return nest(AF_INET6, *inner, flagged=rng.random() < 0.8)

    def other(rng: Random) -> bytes:
        return nest(rng.choice((0, 1, 7, 17, 28, 45, 99, 200)), nla(1, u32(0)))

    makers = (inet6, inet6, inet6, inet, other)
    return b"".join(rng.choice(makers)(rng) for _ in range(rng.choice((0, 1, 1, 1, 1, 2))))


def _some_int(rng: Random) -> bytes:
    return rng.choice((u32(0), u32(1), u32(1), u32(2), u32(0xFFFFFFFF), u16(1), u8(1), b"", u32(1) * 2))


def _some_ints(rng: Random) -> bytes:
    return b"".join(nla(rng.choice((1, 2, 3)), _some_int(rng)) for _ in range(rng.choice((0, 1, 2))))


def _alias(rng: Random) -> bytes:
    return rng.choice((b"", b"\0", b"x", b"y\0", b"x" * 255, b"x" * 256, b"x" * 257))


def _linkinfo(rng: Random, kind: str | None = None) -> bytes:
    inner = [nla(1, text(rng.choice(KINDS) if kind is None else kind))]
    if rng.random() < 0.1:
        inner.append(nest(2, nla(rng.randrange(4), _some_bytes(rng))))
    if rng.random() < 0.05:
        inner.append(nla(rng.choice((3, 4, 5, 6)), rng.choice((text("bridge"), _some_bytes(rng)))))
    return b"".join(inner)


def _xdp(rng: Random) -> bytes:
    inner = [nla(1, u32(rng.choice((-1, -1, 9999999))))] if rng.random() < 0.8 else []
    if rng.random() < 0.3:
        inner.append(nla(3, u32(rng.choice((0, 1, 2, 4, 8, 16, 6, 255)))))
    if rng.random() < 0.1:
        inner.append(nla(rng.choice((2, 4, 5, 6, 7, 8, 9)), u32(1)))
    return b"".join(inner)


def _nested_bytes(rng: Random) -> bytes:
    return b"".join(nla(rng.randrange(1, 12), _some_bytes(rng)) for _ in range(rng.choice((0, 1, 2))))


def _props(rng: Random) -> bytes:
    return b"".join(nla(53, text(rng.choice(ALTNAMES))) for _ in range(rng.choice((1, 1, 1, 2, 0))))


# What may stand in an RTM_NEWLINK, by attribute type: how often, and a payload.
LINK_ATTRS: Final[Mapping[int, tuple[float, Callable[[Random], bytes]]]] = {
    0: (0.3, _some_bytes), 1: (5, _mac), 2: (2, _mac), 3: (8, _name), 4: (12, lambda rng: u32(rng.choice(MTUS))),
    5: (0.5, _any32), 6: (0.5, lambda rng: text("noqueue")), 7: (0.3, _some_bytes), 8: (0.3, _some_bytes),
    9: (0.3, _some_bytes), 10: (2, _u32s(0, 0, 1, 2, 3, 77)), 11: (0.3, _some_bytes), 12: (0.5, _nested_bytes),
    13: (4, _u32s(0, 1, 1000, 1000, 2**31, 2**32 - 1)), 14: (1, lambda rng: bytes(rng.choice((32, 28, 27, 0)))),
    15: (0.5, _any32), 16: (6, _u8s(0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 9, 255)), 17: (3, _u8s(0, 1, 2, 9)),
    18: (1.5, _linkinfo), 19: (0.6, _u32s(2**23, 2**31, RESIDENT, RESIDENT)), 20: (5, _alias), 21: (0.3, _any32),
    22: (0.5, _nested_bytes), 23: (0.3, _some_bytes), 24: (0.5, _nested_bytes), 25: (0.5, _nested_bytes),
    26: (8, _af_spec),
    27: (4, _u32s(0, 0, 1, 7, 2**32 - 1)), 28: (0.3, _u32s(2**23, 2**32 - 1)),
    29: (1.5, _u32s(0, 1, 2, 8, 9, 15, 2**32 - 1)), 30: (0.5, _any32), 31: (1, _u32s(0, 1, 2, 4096, 4097)),
    32: (1, _u32s(0, 1, 2, 4096, 4097)), 33: (1.5, _u8s(0, 1)), 34: (0.3, _some_bytes), 35: (0.3, _any32),
    36: (0.3, _some_bytes), 37: (0.3, _any32), 38: (0.3, _some_bytes), 39: (2, _u8s(0, 1, 2)),
    40: (2, _u32s(0, 1, 2, 65535, 65536, 2**32 - 1)), 41: (2, _u32s(192, 193, 1000, 65536, 70000, 524280, 524281, 0)),
    42: (0.3, _some_bytes), 43: (1.5, _xdp), 44: (0.5, _any32), 45: (0.3, _any32), 46: (0.5, _u32s(0, 1, 77, -1)),
    47: (0.3, _any32), 48: (0.3, _any32), 49: (0.7, _u32s(0, 1, 5, -1)), 50: (0.5, _any32), 51: (0.5, _any32),
    52: (1, _props), 53: (1, lambda rng: text(rng.choice(ALTNAMES))), 54: (0.3, _some_bytes), 55: (1.5, _some_ints),
    56: (0.3, lambda rng: text("x")), 57: (0.3, lambda rng: text("x")),
    58: (2, _u32s(0, 1000, 65536, 70000, 524280, 2**32 - 1)), 59: (0.4, _any32), 60: (0.4, _any32), 61: (0.4, _any32),
    62: (0.3, _nested_bytes), 63: (2, _u32s(192, 193, 1000, 65536, 70000, 0)), 64: (2, _u32s(0, 1000, 65536, 70000)),
    65: (0.3, _nested_bytes), 66: (0.3, _any32), 67: (0.4, _any32), 68: (0.4, _any32), 69: (0.4, _any32),
    70: (0.2, _some_bytes), 200: (0.2, _some_bytes), 0x3FFF: (0.2, _some_bytes),
}  # fmt: skip
_LINK_TYPES = list(LINK_ATTRS)
_LINK_WEIGHTS = [weight for weight, _ in LINK_ATTRS.values()]
_NESTED_LINK = (12, 18, 22, 24, 25, 26, 43, 52, 55, 62, 65)
# The flags that a request may be about.
_CHANGES = (
    IFF_UP,
    IFF_UP,
    IFF_UP,
    IFF_UP,
    4,
    0x8000,
    0x1000,
    0x100,
    0x200,
    8,
    2,
    0x40,
    IFF_UP | 4,
    0x10000,
    0x20,
    0x2000,
)


def link_attr(rng: Random, nla_type: int | None = None) -> bytes:
    wanted = rng.choices(_LINK_TYPES, _LINK_WEIGHTS)[0] if nla_type is None else nla_type
    payload = LINK_ATTRS[wanted][1](rng)
    flag = 0x8000 if (rng.random() < (0.9 if wanted in _NESTED_LINK else 0.02)) else 0
    return nla(wanted | flag, payload)


def _change_link(rng: Random, nlmsg_type: int, *flags: int) -> Message:
    attrs = [link_attr(rng) for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 2, 3, 5)))]
    bits, change = 0, 0
    if rng.random() < 0.25:
        change = rng.choice(_CHANGES)
        bits = rng.choice((change, change, 0))
    head = ifinfomsg(rng, flags=bits, change=change, family=_often(rng, 0, *FAMILIES, chance=0.04))
    return _message(rng, nlmsg_type, request_flags(rng, *flags), head, attrs)


def newlink(rng: Random) -> Message:
    return _change_link(rng, 16, 0, 0, 0, 0, 0, 0x100, 0x200, 0x400, 0x600)


def setlink(rng: Random) -> Message:
    return _change_link(rng, 19)


def link_flags(rng: Random) -> Message:
    change = rng.choice(_CHANGES) if rng.random() < 0.9 else rng.choice((0, 0xFFFFFFFF, 0xFFFFFF7F))
    bits = rng.choice((change, change, change, 0, IFF_UP)) & 0xFFFFFF7F
    if not change:
        bits &= ~RACY_FLAGS
    return _message(
        rng,
        rng.choice((16, 16, 16, 19)),
        request_flags(rng),
        ifinfomsg(rng, index=_often(rng, 1, *INDEXES), flags=bits, change=change),
    )


def up(rng: Random) -> Message:
    return _message(rng, 16, request_flags(rng), ifinfomsg(rng, index=1, flags=IFF_UP, change=IFF_UP))


def down(rng: Random) -> Message:
    return _message(rng, 16, request_flags(rng), ifinfomsg(rng, index=1, flags=0, change=IFF_UP))


def rename_back(rng: Random) -> Message:
    return _message(rng, 16, request_flags(rng), ifinfomsg(rng, index=1), (nla(3, text("lo")),))


def noarp(rng: Random) -> Message:
    return _message(rng, 16, request_flags(rng), ifinfomsg(rng, index=1, flags=rng.choice((0, 0x80)), change=0x80))


def create_link(rng: Random) -> Message:
    attrs = [nest(18, _linkinfo(rng, None if rng.random() < 0.3 else "ifb"))]
    if rng.random() < 0.6:
        attrs.append(nla(3, text(rng.choice(("ifb0", "ifb1", "ifb%d", *NAMES)))))
    attrs.append(nla(1, bytes.fromhex(rng.choice(("020000000011", "020000000012", "020000000013")))))
    attrs += [link_attr(rng) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    rng.shuffle(attrs)
    flags = rng.choice((0, 0, IFF_UP, IFF_UP, 0x1003))
    head = ifinfomsg(rng, index=rng.choice((0, 0, 0, 0, 2, 3, 5, 1, -1)), flags=flags, change=rng.choice((0, flags)))
    return _message(rng, 16, request_flags(rng, 0x600, 0x600, 0x600, 0x400, 0x500), head, attrs)


def move_link(rng: Random) -> Message:
    """Into the other namespace, perhaps while it is made."""
    attrs = [nla(19, u32(RESIDENT))]
    if rng.random() < 0.3:
        attrs.append(nla(3, _name(rng)))
    if rng.random() < 0.2:
        attrs.append(nla(49, u32(rng.choice((0, 1, 2, 5, -1)))))
    if rng.random() < 0.4:
        attrs += [nest(18, _linkinfo(rng, "ifb")), nla(1, bytes.fromhex("020000000014"))]
        return _message(rng, 16, request_flags(rng, 0x600), ifinfomsg(rng, index=rng.choice((0, 0, 0, 2, 5))), attrs)
    if rng.random() < 0.2:
        attrs.append(link_attr(rng))
    return _message(
        rng, rng.choice((16, 19)), request_flags(rng), ifinfomsg(rng, index=rng.choice((2, 2, 3, 3, 1, 0))), attrs
    )


def dellink(rng: Random) -> Message:
    attrs = []
    index = rng.choice(INDEXES)
    if rng.random() < 0.4:
        index = rng.choice((0, 0, index))
        attrs.append(nla(rng.choice((3, 3, 3, 53, 27)), rng.choice((_name(rng), u32(rng.choice((0, 7, 99)))))))
    if rng.random() < 0.1:
        attrs.append(link_attr(rng, rng.choice((18, 29, 46, 27))))
    return _message(rng, 17, request_flags(rng), ifinfomsg(rng, index=index), attrs)


def linkprop(rng: Random) -> Message:
    attrs = [nest(52, _props(rng), flagged=rng.random() < 0.95)] if rng.random() < 0.95 else []
    index = rng.choice((1, 1, 1, 1, 0, 2, 77))
    if rng.random() < 0.15:
        attrs.append(nla(rng.choice((3, 53)), _name(rng)))
    return _message(
        rng,
        rng.choice((108, 108, 109, 109, 110)),
        request_flags(rng, 0, 0, 0, 0x200, 0x600, 0x800),
        ifinfomsg(rng, index=index),
        attrs,
    )


def getlink(rng: Random) -> Message:
    attrs = []
    index = rng.choice((1, 1, 1, 0, 2, 77, -1))
    if rng.random() < 0.5:
        attrs.append(nla(rng.choice((3, 3, 53)), _name(rng)))
        index = rng.choice((0, 0, index))
    if rng.random() < 0.4:
        attrs.append(nla(29, u32(rng.choice((0, 1, 8, 9, 2, 4, 16, 15)))))
    if rng.random() < 0.1:
        attrs.append(link_attr(rng, rng.choice((46, 18, 10, 27, 4, 200))))
    head = ifinfomsg(rng, index=index, family=_often(rng, 0, *FAMILIES), flags=_often(rng, 0, 1, chance=0.05))
    return _message(rng, 18, request_flags(rng), head, attrs)


def getlink_dump(rng: Random) -> Message:
    family = rng.choice((0, 0, 0, 10, 10, 17, *FAMILIES))
    attrs = []
    if rng.random() < 0.5:
        attrs.append(nla(29, u32(rng.choice((0, 1, 8, 9, 2, 4, 15)))))
    if rng.random() < 0.2:
        attrs.append(link_attr(rng, rng.choice((10, 18, 46, 3, 4, 27, 200))))
    if rng.random() < 0.1:
        return _message(rng, 18, dump_flags(rng), pack("=B", family), attrs)
    head = ifinfomsg(
        rng,
        index=_often(rng, 0, 1, 2, 77),
        family=family,
        flags=_often(rng, 0, 1, chance=0.05),
        change=_often(rng, 0, 1, 2**32 - 1, chance=0.05),
    )
    return _message(rng, 18, dump_flags(rng), head, attrs)


# --- addresses --------------------------------------------------------------------------------------------------------


def ifaddrmsg(rng: Random, family: int, prefixlen: int, *, index: int, flags: int = 0, scope: int = 0) -> bytes:
    return pack("=BBBBi", family, prefixlen, flags, scope, index)


_PREFIXES6 = (128, 128, 64, 64, 64, 64, 127, 126, 48, 65, 63, 1, 0, 129, 255)
_PREFIXES4 = (8, 8, 32, 24, 24, 16, 31, 30, 0, 1, 33, 255)
_FLAG_BITS = (
    0,
    0,
    0,
    0x02,
    0x02,
    0x04,
    0x06,
    0x10,
    0x20,
    0x40,
    0x80,
    0x01,
    0x08,
    0x100,
    0x200,
    0x200,
    0x202,
    0x800,
    0xFFFFF000,
)


def _lifetimes(rng: Random) -> bytes:
    valid = rng.choice((GRAIN, GRAIN, 2 * GRAIN, 5 * GRAIN, FOREVER, FOREVER, 0, FOREVER - 1))
    preferred = rng.choice((0, GRAIN, valid, valid, FOREVER))
    return pack("=IIII", preferred, valid, 0, 0)


def _address_attrs(rng: Random, family: int) -> list[bytes]:
    address = _packed(rng, family)
    peer = address if rng.random() < 0.9 else _packed(rng, family)
    attrs = rng.choice(
        (
            [nla(2, address), nla(1, peer)],
            [nla(2, address), nla(1, peer)],
            [nla(2, address)],
            [nla(1, address)],
            [nla(1, peer), nla(2, address)],
        )
    )
    return list(attrs) if rng.random() < 0.97 else []


def _address_extras(rng: Random, family: int) -> list[bytes]:
    extras = []
    if rng.random() < 0.35:
        extras.append(nla(8, u32(rng.choice(_FLAG_BITS))))
    if rng.random() < 0.25:
        extras.append(nla(6, _lifetimes(rng)))
    if rng.random() < 0.15:
        extras.append(nla(9, u32(rng.choice((0, 77, 256, 1024, 2**32 - 1)))))
    if rng.random() < 0.15:
        extras.append(nla(11, u8(rng.choice((0, 1, 2, 3, 7, 255)))))
    if rng.random() < (0.2 if family == AF_INET else 0.03):
        extras.append(
            nla(3, text(rng.choice(("lo", "lo:1", "lo:label", "x", "", "fifteen-letters", "sixteen--letters"))))
        )
    if rng.random() < (0.2 if family == AF_INET else 0.03):
        extras.append(nla(4, _packed(rng, AF_INET)))
    if rng.random() < 0.06:
        extras.append(nla(rng.choice((0, 5, 7, 10, 12, 13, 77, 200)), _some_bytes(rng)))
    return extras


def _change_address(rng: Random, nlmsg_type: int, family: int, flags: int) -> Message:
    attrs = _address_attrs(rng, family)
    if nlmsg_type == 20 or rng.random() < 0.1:
        attrs += _address_extras(rng, family)
    if rng.random() < 0.2:
        rng.shuffle(attrs)
    prefixlen = rng.choice(_PREFIXES4 if family == AF_INET else _PREFIXES6)
    head = ifaddrmsg(
        rng,
        family,
        prefixlen,
        index=_often(rng, 1, *INDEXES, chance=0.08),
        flags=_often(rng, 0, 0x02, 0x80, 0x20, 0xFF, 0x01),
        scope=_often(rng, 0, 254, 253, 200, 255, 99),
    )
    return _message(rng, nlmsg_type, flags, head, attrs)


_ADD_FLAGS = (0x600, 0x600, 0x600, 0x400, 0x500, 0x500, 0x100, 0, 0x200, 0x800, 0xC00, 0x300)


def newaddr6(rng: Random) -> Message:
    return _change_address(rng, 20, AF_INET6, request_flags(rng, *_ADD_FLAGS))


def newaddr4(rng: Random) -> Message:
    return _change_address(rng, 20, AF_INET, request_flags(rng, *_ADD_FLAGS))


def deladdr6(rng: Random) -> Message:
    return _change_address(rng, 21, AF_INET6, request_flags(rng))


def deladdr4(rng: Random) -> Message:
    return _change_address(rng, 21, AF_INET, request_flags(rng))


def changeaddr_other(rng: Random) -> Message:
    """Families that have no addresses here."""
    message = _change_address(rng, rng.choice((20, 21)), AF_INET6, request_flags(rng, *_ADD_FLAGS))
    return message.but(family_header=u8(rng.choice((0, 1, 7, 17, 28, 45, 77, 128, 255))) + message.family_header[1:])


def getaddr(rng: Random) -> Message:
    family = rng.choice((10, 10, 10, 10, 2, 0, 7, 45, 99))
    attrs = [nla(rng.choice((1, 1, 1, 2)), _packed(rng, family))] if rng.random() < 0.9 else []
    if rng.random() < 0.15:
        attrs.append(nla(rng.choice((1, 2, 6, 8, 10, 77)), _some_bytes(rng)))
    if rng.random() < 0.1:
        attrs.append(nla(10, u32(rng.choice((0, 1, 77, -1)))))
    head = ifaddrmsg(
        rng,
        family,
        _often(rng, 0, 64, 128),
        index=rng.choice((0, 0, 1, 1, 2, 9999)),
        flags=_often(rng, 0, 1, chance=0.05),
        scope=_often(rng, 0, 254, chance=0.05),
    )
    return _message(rng, 22, request_flags(rng), head, attrs)


def _dump_of(*types: int) -> Maker:
    """A dump of what a struct ifaddrmsg asks for: addresses, and the groups that are joined."""

    def make(rng: Random) -> Message:
        family = rng.choice((10, 10, 10, 2, 2, 0, *FAMILIES))
        attrs = []
        if rng.random() < 0.1:
            attrs.append(nla(10, u32(rng.choice((0, 1, 77, -1)))))
        if rng.random() < 0.08:
            attrs.append(nla(rng.choice((1, 2, 6, 8, 77, 200)), _packed(rng, AF_INET6)))
        if rng.random() < 0.1:
            return _message(rng, rng.choice(types), dump_flags(rng), pack("=B", family), attrs)
        head = ifaddrmsg(
            rng,
            family,
            _often(rng, 0, 64, chance=0.05),
            index=_often(rng, 0, 1, 1, 2, 9999, chance=0.3),
            flags=_often(rng, 0, 1, chance=0.05),
            scope=_often(rng, 0, 254, chance=0.05),
        )
        return _message(rng, rng.choice(types), dump_flags(rng), head, attrs)

    return make


def get_group(rng: Random) -> Message:
    """Single look-ups that nobody serves."""
    return _dump_of(58, 62)(rng).but(flags=request_flags(rng))


# --- routes -----------------------------------------------------------------------------------------------------------


def rtmsg(
    rng: Random, family: int, *, dst_len: int = 0, src_len: int = 0, table: int = 0, flags: int = 0, **rest: int
) -> bytes:
    return pack(
        "=BBBBBBBBI",
        family,
        dst_len,
        src_len,
        rest.get("tos", 0),
        table,
        rest.get("protocol", 0),
        rest.get("scope", 0),
        rest.get("type", 0),
        flags,
    )


def getroute_dump(rng: Random) -> Message:
    family = rng.choice((10, 10, 10, 10, 2, 2, 2, 0, *FAMILIES))
    attrs = []
    if rng.random() < 0.2:
        attrs.append(nla(15, u32(rng.choice((254, 255, 253, 0, 77, 1000)))))
    if rng.random() < 0.2:
        attrs.append(nla(4, u32(rng.choice((1, 1, 0, 2, 77)))))
    if rng.random() < 0.1:
        attrs.append(nla(rng.choice((1, 2, 3, 5, 6, 7, 10, 200)), _packed(rng, family)))
    if rng.random() < 0.1:
        return _message(rng, 26, dump_flags(rng), pack("=B", family), attrs)
    head = rtmsg(
        rng,
        family,
        table=_often(rng, 0, 254, 255, 253, 77, chance=0.3),
        flags=_often(rng, 0, 0x200, 0x100, 0x800, 0x1000, 0x2000),
        dst_len=_often(rng, 0, 64, chance=0.05),
        src_len=_often(rng, 0, 64, chance=0.05),
        tos=_often(rng, 0, 4, chance=0.05),
        protocol=_often(rng, 0, 2, 3, 4),
        type=_often(rng, 0, 1, 2, 3, 4, 7),
        scope=_often(rng, 0, 253, 254, 200, chance=0.05),
    )
    return _message(rng, 26, dump_flags(rng), head, attrs)


def getroute(rng: Random) -> Message:
    family = rng.choice((10, 10, 10, 2, 2, 2, 0, 7, 28, 128, 129))
    bits = 32 if family == AF_INET else 128
    attrs = []
    if rng.random() < 0.93:
        local = (
            ("127.0.0.1", "127.0.0.1", "10.0.0.1")
            if family == AF_INET
            else ("::1", "::1", "2001:db8::1", "2001:db8::2")
        )
        attrs.append(nla(1, ip_address(rng.choice(local)).packed if rng.random() < 0.7 else _packed(rng, family)))
    if rng.random() < 0.12:
        attrs.append(nla(2, _packed(rng, family)))
    for nla_type, chance, payload in (
        (3, 0.06, _u32s(1, 1, 0, 2, 77)), (4, 0.12, _u32s(1, 1, 1, 0, 2, 77)), (16, 0.06, _u32s(0, 1, 77)),
        (15, 0.04, _u32s(254, 255)), (25, 0.04, _u32s(0, 1000)), (27, 0.05, _u8s(6, 17, 1, 58, 0, 99)),
        (28, 0.05, lambda rng: u16(rng.choice((0, 1, 80)))), (29, 0.05, lambda rng: u16(rng.choice((0, 1, 80)))),
        (31, 0.03, _any32), (200, 0.02, _some_bytes), (6, 0.02, _any32),
    ):  # fmt: skip
        if rng.random() < chance:
            attrs.append(nla(nla_type, payload(rng)))
    head = rtmsg(
        rng,
        family,
        dst_len=_often(rng, bits, 0, 64, 24, chance=0.15),
        src_len=_often(rng, 0, bits, chance=0.08),
        flags=_often(rng, 0, 0x1000, 0x2000, 0x3000, 0x200, 0x100, 0x4000, chance=0.2),
        table=_often(rng, 0, 254, chance=0.04),
        tos=_often(rng, 0, 4, 0x10, 0xFF, chance=0.06),
        protocol=_often(rng, 0, 2, chance=0.03),
        scope=_often(rng, 0, 254, chance=0.04),
        type=_often(rng, 0, 1, chance=0.03),
    )
    return _message(rng, 26, request_flags(rng), head, attrs)


NETS4 = (("10.2.0.0", 16), ("10.2.3.0", 24), ("0.0.0.0", 0), ("10.2.3.4", 32), ("127.0.0.0", 8), ("10.2.3.1", 24))
NETS6 = (
    ("2001:db8:5::", 48),
    ("2001:db8:5:1::", 64),
    ("::", 0),
    ("2001:db8:5::1", 128),
    ("fd00::", 8),
    ("fe80::", 64),
    ("2001:db8:5::1", 64),
)


def _metrics(rng: Random) -> bytes:
    return b"".join(
        nla(rng.choice((2, 2, 4, 7, 8, 10, 13, 16, 17, 20)), rng.choice((u32(1400), u32(1), text("cubic"))))
        for _ in range(rng.choice((1, 1, 2)))
    )


def _route_attrs(rng: Random, family: int) -> list[bytes]:
    extras: list[tuple[int, float, Callable[[Random], bytes]]] = [
        (4, 0.75, _u32s(1, 1, 1, 1, 2, 3, 77, 0)),
        (6, 0.35, _u32s(0, 1, 100, 256, 1024, 2**32 - 1)),
        (15, 0.25, _u32s(254, 255, 253, 77, 1000, 0)),
        (5, 0.15, lambda rng: _packed(rng, family)),
        (7, 0.15, lambda rng: _packed(rng, family)),
        (8, 0.1, _metrics),
        (20, 0.05, _u8s(0, 1, 3, 7)),
        (23, 0.05, _u32s(GRAIN, 2 * GRAIN, FOREVER)),
        (30, 0.03, _u32s(0, 1, 5)),
        (21, 0.03, lambda rng: u16(rng.choice((0, 1, 4)))),
        (22, 0.02, _some_bytes),
        (11, 0.03, _any32),
        (9, 0.02, _some_bytes),
        (2, 0.03, lambda rng: _packed(rng, family)),
        (31, 0.02, _any32),
        (26, 0.02, _u8s(0, 64)),
        (200, 0.02, _some_bytes),
    ]
    return [nla(kind, payload(rng)) for kind, chance, payload in extras if rng.random() < chance]


def _change_route(rng: Random, nlmsg_type: int, family: int) -> Message:
    net, length = rng.choice(NETS4 if family == AF_INET else NETS6)
    attrs = [nla(1, ip_address(net).packed)] if length or rng.random() < 0.3 else []
    attrs += _route_attrs(rng, family)
    head = rtmsg(
        rng,
        family,
        dst_len=_often(rng, length, 33, 129, 24, 0),
        src_len=_often(rng, 0, 64, chance=0.02),
        tos=_often(rng, 0, 4, 8, 0xFF, chance=0.06),
        table=_often(rng, 254, 255, 0, 77, 252),
        scope=_often(rng, 0, 253, 254, 255),
        protocol=_often(rng, 4, 0, 1, 2, 3, 17, 186),
        type=_often(rng, 1, 2, 0, 3, 5, 6, 7, 8, 9, 10, 11, 12, chance=0.2),
        flags=_often(rng, 0, 1, 4, 0x10, 0x800, 0x200, chance=0.08),
    )
    extra = (0x400, 0x400, 0x600, 0x600, 0x500, 0x100, 0xC00, 0) if nlmsg_type == 24 else (0,)
    return _message(rng, nlmsg_type, request_flags(rng, *extra), head, attrs)


def newroute(rng: Random) -> Message:
    return _change_route(rng, 24, rng.choice((AF_INET, AF_INET6, AF_INET6)))


def delroute(rng: Random) -> Message:
    return _change_route(rng, 25, rng.choice((AF_INET, AF_INET6, AF_INET6)))


def _rule_attrs(rng: Random, family: int) -> list[bytes]:
    extras: list[tuple[int, float, Callable[[Random], bytes]]] = [
        (6, 0.6, _u32s(1, 100, 101, 32766, 32767, 0)),
        (15, 0.5, _u32s(254, 255, 253, 77, 0, 1000)),
        (1, 0.15, lambda rng: _packed(rng, family)),
        (2, 0.15, lambda rng: _packed(rng, family)),
        (3, 0.15, _name),
        (17, 0.1, _name),
        (10, 0.1, _u32s(0, 1, 255)),
        (16, 0.08, _u32s(0, 1, 2**32 - 1)),
        (4, 0.08, _u32s(1, 100, 200, 0)),
        (14, 0.06, _u32s(0, 1, 2**32 - 1)),
        (13, 0.04, _u32s(0, 1, 2**32 - 1)),
        (21, 0.08, _u8s(0, 2, 4, 255)),
        (19, 0.03, _u8s(0, 1)),
        (20, 0.05, lambda rng: pack("=II", rng.choice((0, 5)), rng.choice((0, 10, 2**32 - 1)))),
        (22, 0.05, _u8s(0, 6, 17)),
        (23, 0.05, lambda rng: pack("=HH", rng.choice((0, 1)), rng.choice((0, 80)))),
        (24, 0.05, lambda rng: pack("=HH", rng.choice((0, 1)), rng.choice((0, 80)))),
        (25, 0.04, _u8s(0, 1, 63, 64)),
        (11, 0.04, _any32),
        (12, 0.02, _some_bytes),
        (26, 0.02, _any32),
        (28, 0.02, lambda rng: u16(0xFFF)),
        (200, 0.02, _some_bytes),
    ]
    return [nla(kind, payload(rng)) for kind, chance, payload in extras if rng.random() < chance]


def change_rule(rng: Random) -> Message:
    family = rng.choice((2, 2, 10, 10, 10, 128, 129, 0, 7))
    attrs = _rule_attrs(rng, family)
    head = pack(
        "=BBBBBBBBI",
        family,
        _often(rng, 0, 32, 64, 128, 129),
        _often(rng, 0, 32, 64, 128),
        _often(rng, 0, 4, 3, 0xFF, chance=0.05),
        _often(rng, 254, 0, 255, 77),
        _often(rng, 0, 1, chance=0.03),
        _often(rng, 0, 1, chance=0.03),
        _often(rng, 1, 0, 2, 6, 7, 8, 3, 200, chance=0.2),
        _often(rng, 0, 2, 4, 8, 1, 0x10000, chance=0.06),
    )
    return _message(rng, rng.choice((32, 32, 33)), request_flags(rng, 0x400, 0x600, 0x600, 0x500, 0), head, attrs)


# --- the rest ---------------------------------------------------------------------------------------------------------


def _header_or_less(rng: Random, head: bytes) -> bytes:
    return head[: rng.choice((1, 4))] if rng.random() < 0.08 else head


def getneigh(rng: Random) -> Message:
    family = rng.choice((0, 2, 10, 10, 7, *FAMILIES))
    attrs = []
    if rng.random() < 0.6:
        attrs.append(nla(1, _packed(rng, family)))
    if rng.random() < 0.15:
        attrs.append(nla(rng.choice((8, 9, 5, 2, 10, 11, 15, 200)), u32(rng.choice((0, 1, 2, 77)))))
    head = pack(
        "=BxHiHBB",
        family,
        0,
        rng.choice((0, 0, 1, 1, 2, 77)),
        _often(rng, 0, 2, chance=0.05),
        _often(rng, 0, 0, 8, 2, chance=0.15),
        _often(rng, 0, 1, chance=0.05),
    )
    flags = dump_flags(rng) if rng.random() < 0.6 else request_flags(rng)
    return _message(rng, 30, flags, _header_or_less(rng, head), attrs)


def getneightbl(rng: Random) -> Message:
    family = rng.choice((0, 2, 10, *FAMILIES))
    attrs = [nla(rng.choice((1, 6, 77)), _some_bytes(rng))] if rng.random() < 0.1 else []
    head = pack("=BBH", family, _often(rng, 0, 1, chance=0.05), _often(rng, 0, 1, chance=0.05))
    flags = dump_flags(rng) if rng.random() < 0.8 else request_flags(rng)
    return _message(rng, 66, flags, _header_or_less(rng, head), attrs)


def getrule(rng: Random) -> Message:
    family = rng.choice((0, 2, 10, 128, 129, *FAMILIES))
    attrs = [nla(rng.choice((1, 3, 6, 15, 200)), _some_bytes(rng))] if rng.random() < 0.12 else []
    head = pack(
        "=BBBBBBBBI",
        family,
        _often(rng, 0, 64, chance=0.05),
        0,
        _often(rng, 0, 4, chance=0.04),
        _often(rng, 0, 254, chance=0.05),
        0,
        0,
        _often(rng, 0, 1, chance=0.04),
        _often(rng, 0, 1, chance=0.04),
    )
    flags = dump_flags(rng) if rng.random() < 0.8 else request_flags(rng)
    return _message(rng, 34, flags, _header_or_less(rng, head), attrs)


def getnetconf(rng: Random) -> Message:
    family = rng.choice((2, 10, 10, 0, *FAMILIES))
    attrs = [nla(1, u32(rng.choice((1, 1, -1, -2, 0, 2, 77))))] if rng.random() < 0.7 else []
    if rng.random() < 0.1:
        attrs.append(nla(rng.choice((2, 3, 4, 5, 6, 7, 200)), _some_bytes(rng)))
    head = pack("=B", family)
    flags = dump_flags(rng) if rng.random() < 0.5 else request_flags(rng)
    if flags & DUMP and rng.random() < 0.7:
        attrs = []
    return _message(rng, 82, flags, head, attrs)


def getstats(rng: Random) -> Message:
    mask = rng.choice((1, 1, 2, 4, 8, 16, 31, 0, 32, 0xFFFFFFFF, 17))
    head = pack(
        "=BBHII",
        _often(rng, 0, 2, 10, chance=0.1),
        _often(rng, 0, 1, chance=0.04),
        _often(rng, 0, 1, chance=0.04),
        rng.choice((1, 1, 1, 0, 2, 77, 2**32 - 1)),
        mask,
    )
    attrs = []
    if rng.random() < 0.2:
        attrs.append(
            nest(
                rng.choice((1, 1, 1, 2)),
                nla(rng.choice((1, 2, 4)), u32(rng.choice((0, 1, 2, 31)))),
                flagged=rng.random() < 0.9,
            )
        )
    if rng.random() < 0.05:
        attrs.append(nla(rng.choice((0, 2, 77)), _some_bytes(rng)))
    flags = dump_flags(rng) if rng.random() < 0.4 else request_flags(rng)
    return _message(rng, rng.choice((94, 94, 94, 94, 95)), flags, _header_or_less(rng, head), attrs)


def nsid(rng: Random) -> Message:
    attrs = []
    for nla_type, chance, payload in (
        (1, 0.4, _u32s(0, 1, 5, -1, -2)), (2, 0.4, _u32s(2**23, -1, RESIDENT, RESIDENT, RESIDENT)),
        (3, 0.4, _u32s(2**23, -1)),
        (4, 0.1, _u32s(0, 5, -1)), (5, 0.05, _u32s(0, 5, -1)), (77, 0.03, _some_bytes),
    ):  # fmt: skip
        if rng.random() < chance:
            attrs.append(nla(nla_type, payload(rng)))
    nlmsg_type = rng.choice((90, 90, 90, 88, 88, 89))
    flags = dump_flags(rng) if nlmsg_type == 90 and rng.random() < 0.4 else request_flags(rng)
    return _message(rng, nlmsg_type, flags, _header_or_less(rng, pack("=B", _often(rng, 0, 2, 10, 255))), attrs)


def any_type(rng: Random) -> Message:
    """Types over the whole range, most of them nobody's."""
    nlmsg_type = rng.choice(
        (rng.randrange(16, 130), rng.randrange(16, 130), rng.randrange(130, 65536), rng.randrange(16))
    )
    flags = rng.choice((request_flags(rng), request_flags(rng), dump_flags(rng)))
    head = u8(rng.choice(FAMILIES)) + bytes(rng.choice((0, 0, 3, 7, 11, 15, 19)))
    return _message(rng, nlmsg_type, flags, head[: rng.choice((0, 1, len(head), len(head)))])


def control(rng: Random) -> Message:
    flags = rng.choice((0, REQUEST, ACK, REQUEST | ACK, rng.getrandbits(16)))
    return _message(rng, rng.choice((0, 1, 2, 3, 4, 5, 15)), flags, rng.choice((b"", b"\0" * 4, u32(-1) + bytes(16))))


# One row per kind of request.
REQUESTS: Final[Mapping[str, tuple[float, Maker]]] = {
    "NEWLINK": (12, newlink),
    "SETLINK": (3, setlink),
    "link flags": (7, link_flags),
    "up": (9, up),
    "down": (3, down),
    "rename back": (2, rename_back),
    "NOARP": (0.7, noarp),
    "create link": (2.5, create_link),
    "move link": (1, move_link),
    "DELLINK": (1.5, dellink),
    "LINKPROP": (3, linkprop),
    "GETLINK": (4, getlink),
    "GETLINK dump": (5, getlink_dump),
    "NEWADDR inet6": (18, newaddr6),
    "DELADDR inet6": (8, deladdr6),
    "NEWADDR inet": (7, newaddr4),
    "DELADDR inet": (4, deladdr4),
    "NEW/DELADDR other family": (0.7, changeaddr_other),
    "GETADDR": (4, getaddr),
    "GETADDR dump": (5, _dump_of(22)),
    "GETMULTICAST dump": (2, _dump_of(58)),
    "GETANYCAST dump": (2, _dump_of(62)),
    "GETMULTICAST/GETANYCAST": (0.4, get_group),
    "GETROUTE dump": (6, getroute_dump),
    "GETROUTE": (7, getroute),
    "NEWROUTE": (4, newroute),
    "DELROUTE": (2, delroute),
    "NEWRULE, DELRULE": (2, change_rule),
    "GETNEIGH": (3, getneigh),
    "GETNEIGHTBL": (1.5, getneightbl),
    "GETRULE": (2.5, getrule),
    "GETNETCONF": (3, getnetconf),
    "GETSTATS": (3, getstats),
    "NSID": (2.5, nsid),
    "any type": (3, any_type),
    "control": (1, control),
}


_EVERYTHING: Final = (
    ("GETLINK dump", 18, bytes(16)),
    ("GETLINK dump", 18, u8(AF_INET6) + bytes(15)),
    ("GETADDR dump", 22, bytes(8)),
    ("GETROUTE dump", 26, u8(AF_INET) + bytes(11)),
    ("GETROUTE dump", 26, u8(AF_INET6) + bytes(11)),
    ("GETMULTICAST dump", 58, u8(AF_INET) + bytes(7)),
    ("GETMULTICAST dump", 58, u8(AF_INET6) + bytes(7)),
    ("GETANYCAST dump", 62, u8(AF_INET6) + bytes(7)),
    ("GETNEIGH", 30, bytes(12)),
    ("GETNEIGHTBL", 66, bytes(4)),
    ("GETRULE", 34, bytes(12)),
    ("GETNETCONF", 82, u8(AF_INET) + bytes(3)),
    ("GETNETCONF", 82, u8(AF_INET6) + bytes(3)),
    ("NSID", 90, bytes(4)),
    ("GETSTATS", 94, bytes(8) + u32(31)),
)


class Repertoire:
    """Requests of all kinds, or of those whose name `only` matches.

    Attributes:
        dumps: the requests whose answers are all that a namespace holds.
    """

    def __init__(self, only: str = "") -> None:
        self._rows = {name: row for name, row in REQUESTS.items() if re.search(only, name)}
        self._weights = [weight for weight, _ in self._rows.values()]
        self.dumps = [
            Message(nlmsg_type, REQUEST | DUMP, head, seq=0x5EC)
            for name, nlmsg_type, head in _EVERYTHING
            if re.search(only, name)
        ]

    def request(self, rng: Random) -> tuple[str, Message]:
        """Of which kind it is, and a request."""
        (name,) = rng.choices(list(self._rows), self._weights)
        return name, self._rows[name][1](rng)

    def dump(self, rng: Random) -> Message:
        """One of the dumps, or any request where there is none."""
        return rng.choice(self.dumps) if self.dumps else self.request(rng)[1]
