"""Requests about devices: RTM_*LINK and RTM_*LINKPROP."""

from collections.abc import Callable, Mapping
from random import Random
from struct import pack
from typing import Final

from tests.fidelity.requests.parts import (
    AF_INET,
    AF_INET6,
    ALTNAMES,
    FAMILIES,
    IFF_UP,
    INDEXES,
    KINDS,
    MTUS,
    NAMES,
    RACY_FLAGS,
    any32,
    dump_flags,
    mac,
    message,
    name,
    often,
    packed,
    request_flags,
    some_bytes,
    u8s,
    u32s,
)
from tests.fidelity.steps import RESIDENT
from tests.fidelity.wire import Message, nest, nla, text, u8, u16, u32


def ifinfomsg(rng: Random, *, index: int | None = None, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return pack(
        "=BxHiII",
        family,
        often(rng, 0, 1, 772, chance=0.1),
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
            inner.append(nla(7, packed(rng, AF_INET6)))
        if rng.random() < 0.15:
            inner.append(nla(rng.choice((1, 2, 3, 4, 5, 6, 9, 10, 11, 77)), some_bytes(rng)))
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
        inner.append(nest(2, nla(rng.randrange(4), some_bytes(rng))))
    if rng.random() < 0.05:
        inner.append(nla(rng.choice((3, 4, 5, 6)), rng.choice((text("bridge"), some_bytes(rng)))))
    return b"".join(inner)


def _xdp(rng: Random) -> bytes:
    inner = [nla(1, u32(rng.choice((-1, -1, 9999999))))] if rng.random() < 0.8 else []
    if rng.random() < 0.3:
        inner.append(nla(3, u32(rng.choice((0, 1, 2, 4, 8, 16, 6, 255)))))
    if rng.random() < 0.1:
        inner.append(nla(rng.choice((2, 4, 5, 6, 7, 8, 9)), u32(1)))
    return b"".join(inner)


def _nested_bytes(rng: Random) -> bytes:
    return b"".join(nla(rng.randrange(1, 12), some_bytes(rng)) for _ in range(rng.choice((0, 1, 2))))


def _props(rng: Random) -> bytes:
    return b"".join(nla(53, text(rng.choice(ALTNAMES))) for _ in range(rng.choice((1, 1, 1, 2, 0))))


# What may stand in an RTM_NEWLINK, by attribute type: how often, and a payload.
LINK_ATTRS: Final[Mapping[int, tuple[float, Callable[[Random], bytes]]]] = {
    0: (0.3, some_bytes), 1: (5, mac), 2: (2, mac), 3: (8, name), 4: (12, lambda rng: u32(rng.choice(MTUS))),
    5: (0.5, any32), 6: (0.5, lambda rng: text("noqueue")), 7: (0.3, some_bytes), 8: (0.3, some_bytes),
    9: (0.3, some_bytes), 10: (2, u32s(0, 0, 1, 2, 3, 77)), 11: (0.3, some_bytes), 12: (0.5, _nested_bytes),
    13: (4, u32s(0, 1, 1000, 1000, 2**31, 2**32 - 1)), 14: (1, lambda rng: bytes(rng.choice((32, 28, 27, 0)))),
    15: (0.5, any32), 16: (6, u8s(0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 9, 255)), 17: (3, u8s(0, 1, 2, 9)),
    18: (1.5, _linkinfo), 19: (0.6, u32s(2**23, 2**31, RESIDENT, RESIDENT)), 20: (5, _alias), 21: (0.3, any32),
    22: (0.5, _nested_bytes), 23: (0.3, some_bytes), 24: (0.5, _nested_bytes), 25: (0.5, _nested_bytes),
    26: (8, _af_spec),
    27: (4, u32s(0, 0, 1, 7, 2**32 - 1)), 28: (0.3, u32s(2**23, 2**32 - 1)),
    29: (1.5, u32s(0, 1, 2, 8, 9, 15, 2**32 - 1)), 30: (0.5, any32), 31: (1, u32s(0, 1, 2, 4096, 4097)),
    32: (1, u32s(0, 1, 2, 4096, 4097)), 33: (1.5, u8s(0, 1)), 34: (0.3, some_bytes), 35: (0.3, any32),
    36: (0.3, some_bytes), 37: (0.3, any32), 38: (0.3, some_bytes), 39: (2, u8s(0, 1, 2)),
    40: (2, u32s(0, 1, 2, 65535, 65536, 2**32 - 1)), 41: (2, u32s(192, 193, 1000, 65536, 70000, 524280, 524281, 0)),
    42: (0.3, some_bytes), 43: (1.5, _xdp), 44: (0.5, any32), 45: (0.3, any32), 46: (0.5, u32s(0, 1, 77, -1)),
    47: (0.3, any32), 48: (0.3, any32), 49: (0.7, u32s(0, 1, 5, -1)), 50: (0.5, any32), 51: (0.5, any32),
    52: (1, _props), 53: (1, lambda rng: text(rng.choice(ALTNAMES))), 54: (0.3, some_bytes), 55: (1.5, _some_ints),
    56: (0.3, lambda rng: text("x")), 57: (0.3, lambda rng: text("x")),
    58: (2, u32s(0, 1000, 65536, 70000, 524280, 2**32 - 1)), 59: (0.4, any32), 60: (0.4, any32), 61: (0.4, any32),
    62: (0.3, _nested_bytes), 63: (2, u32s(192, 193, 1000, 65536, 70000, 0)), 64: (2, u32s(0, 1000, 65536, 70000)),
    65: (0.3, _nested_bytes), 66: (0.3, any32), 67: (0.4, any32), 68: (0.4, any32), 69: (0.4, any32),
    70: (0.2, some_bytes), 200: (0.2, some_bytes), 0x3FFF: (0.2, some_bytes),
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
    head = ifinfomsg(rng, flags=bits, change=change, family=often(rng, 0, *FAMILIES, chance=0.04))
    return message(rng, nlmsg_type, request_flags(rng, *flags), head, attrs)


def newlink(rng: Random) -> Message:
    return _change_link(rng, 16, 0, 0, 0, 0, 0, 0x100, 0x200, 0x400, 0x600)


def setlink(rng: Random) -> Message:
    return _change_link(rng, 19)


def link_flags(rng: Random) -> Message:
    change = rng.choice(_CHANGES) if rng.random() < 0.9 else rng.choice((0, 0xFFFFFFFF, 0xFFFFFF7F))
    bits = rng.choice((change, change, change, 0, IFF_UP)) & 0xFFFFFF7F
    if not change:
        bits &= ~RACY_FLAGS
    return message(
        rng,
        rng.choice((16, 16, 16, 19)),
        request_flags(rng),
        ifinfomsg(rng, index=often(rng, 1, *INDEXES), flags=bits, change=change),
    )


def up(rng: Random) -> Message:
    return message(rng, 16, request_flags(rng), ifinfomsg(rng, index=1, flags=IFF_UP, change=IFF_UP))


def down(rng: Random) -> Message:
    return message(rng, 16, request_flags(rng), ifinfomsg(rng, index=1, flags=0, change=IFF_UP))


def rename_back(rng: Random) -> Message:
    return message(rng, 16, request_flags(rng), ifinfomsg(rng, index=1), (nla(3, text("lo")),))


def noarp(rng: Random) -> Message:
    return message(rng, 16, request_flags(rng), ifinfomsg(rng, index=1, flags=rng.choice((0, 0x80)), change=0x80))


def create_link(rng: Random) -> Message:
    attrs = [nest(18, _linkinfo(rng, None if rng.random() < 0.3 else "ifb"))]
    if rng.random() < 0.6:
        attrs.append(nla(3, text(rng.choice(("ifb0", "ifb1", "ifb%d", *NAMES)))))
    attrs.append(nla(1, bytes.fromhex(rng.choice(("020000000011", "020000000012", "020000000013")))))
    attrs += [link_attr(rng) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    rng.shuffle(attrs)
    flags = rng.choice((0, 0, IFF_UP, IFF_UP, 0x1003))
    head = ifinfomsg(rng, index=rng.choice((0, 0, 0, 0, 2, 3, 5, 1, -1)), flags=flags, change=rng.choice((0, flags)))
    return message(rng, 16, request_flags(rng, 0x600, 0x600, 0x600, 0x400, 0x500), head, attrs)


def move_link(rng: Random) -> Message:
    """Into the other namespace, perhaps while it is made."""
    attrs = [nla(19, u32(RESIDENT))]
    if rng.random() < 0.3:
        attrs.append(nla(3, name(rng)))
    if rng.random() < 0.2:
        attrs.append(nla(49, u32(rng.choice((0, 1, 2, 5, -1)))))
    if rng.random() < 0.4:
        attrs += [nest(18, _linkinfo(rng, "ifb")), nla(1, bytes.fromhex("020000000014"))]
        return message(rng, 16, request_flags(rng, 0x600), ifinfomsg(rng, index=rng.choice((0, 0, 0, 2, 5))), attrs)
    if rng.random() < 0.2:
        attrs.append(link_attr(rng))
    return message(
        rng, rng.choice((16, 19)), request_flags(rng), ifinfomsg(rng, index=rng.choice((2, 2, 3, 3, 1, 0))), attrs
    )


def dellink(rng: Random) -> Message:
    attrs = []
    index = rng.choice(INDEXES)
    if rng.random() < 0.4:
        index = rng.choice((0, 0, index))
        attrs.append(nla(rng.choice((3, 3, 3, 53, 27)), rng.choice((name(rng), u32(rng.choice((0, 7, 99)))))))
    if rng.random() < 0.1:
        attrs.append(link_attr(rng, rng.choice((18, 29, 46, 27))))
    return message(rng, 17, request_flags(rng), ifinfomsg(rng, index=index), attrs)


def linkprop(rng: Random) -> Message:
    attrs = [nest(52, _props(rng), flagged=rng.random() < 0.95)] if rng.random() < 0.95 else []
    index = rng.choice((1, 1, 1, 1, 0, 2, 77))
    if rng.random() < 0.15:
        attrs.append(nla(rng.choice((3, 53)), name(rng)))
    return message(
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
        attrs.append(nla(rng.choice((3, 3, 53)), name(rng)))
        index = rng.choice((0, 0, index))
    if rng.random() < 0.4:
        attrs.append(nla(29, u32(rng.choice((0, 1, 8, 9, 2, 4, 16, 15)))))
    if rng.random() < 0.1:
        attrs.append(link_attr(rng, rng.choice((46, 18, 10, 27, 4, 200))))
    head = ifinfomsg(rng, index=index, family=often(rng, 0, *FAMILIES), flags=often(rng, 0, 1, chance=0.05))
    return message(rng, 18, request_flags(rng), head, attrs)


def getlink_dump(rng: Random) -> Message:
    family = rng.choice((0, 0, 0, 10, 10, 17, *FAMILIES))
    attrs = []
    if rng.random() < 0.5:
        attrs.append(nla(29, u32(rng.choice((0, 1, 8, 9, 2, 4, 15)))))
    if rng.random() < 0.2:
        attrs.append(link_attr(rng, rng.choice((10, 18, 46, 3, 4, 27, 200))))
    if rng.random() < 0.1:
        return message(rng, 18, dump_flags(rng), pack("=B", family), attrs)
    head = ifinfomsg(
        rng,
        index=often(rng, 0, 1, 2, 77),
        family=family,
        flags=often(rng, 0, 1, chance=0.05),
        change=often(rng, 0, 1, 2**32 - 1, chance=0.05),
    )
    return message(rng, 18, dump_flags(rng), head, attrs)
