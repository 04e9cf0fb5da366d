"""Requests about addresses, groups and anycast addresses."""

from random import Random
from struct import pack

from tests.fidelity.normal import GRAIN
from tests.fidelity.requests.parts import (
    AF_INET,
    AF_INET6,
    FAMILIES,
    FOREVER,
    INDEXES,
    Maker,
    dump_flags,
    message,
    often,
    packed,
    request_flags,
    some_bytes,
)
from tests.fidelity.wire import Message, nla, text, u8, u32


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
    address = packed(rng, family)
    peer = address if rng.random() < 0.9 else packed(rng, family)
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
        extras.append(nla(4, packed(rng, AF_INET)))
    if rng.random() < 0.06:
        extras.append(nla(rng.choice((0, 5, 7, 10, 12, 13, 77, 200)), some_bytes(rng)))
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
        index=often(rng, 1, *INDEXES, chance=0.08),
        flags=often(rng, 0, 0x02, 0x80, 0x20, 0xFF, 0x01),
        scope=often(rng, 0, 254, 253, 200, 255, 99),
    )
    return message(rng, nlmsg_type, flags, head, attrs)


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
    attrs = [nla(rng.choice((1, 1, 1, 2)), packed(rng, family))] if rng.random() < 0.9 else []
    if rng.random() < 0.15:
        attrs.append(nla(rng.choice((1, 2, 6, 8, 10, 77)), some_bytes(rng)))
    if rng.random() < 0.1:
        attrs.append(nla(10, u32(rng.choice((0, 1, 77, -1)))))
    head = ifaddrmsg(
        rng,
        family,
        often(rng, 0, 64, 128),
        index=rng.choice((0, 0, 1, 1, 2, 9999)),
        flags=often(rng, 0, 1, chance=0.05),
        scope=often(rng, 0, 254, chance=0.05),
    )
    return message(rng, 22, request_flags(rng), head, attrs)


def dump_of(*types: int) -> Maker:
    """A dump of what a struct ifaddrmsg asks for: addresses, and the groups that are joined."""

    def make(rng: Random) -> Message:
        family = rng.choice((10, 10, 10, 2, 2, 0, *FAMILIES))
        attrs = []
        if rng.random() < 0.1:
            attrs.append(nla(10, u32(rng.choice((0, 1, 77, -1)))))
        if rng.random() < 0.08:
            attrs.append(nla(rng.choice((1, 2, 6, 8, 77, 200)), packed(rng, AF_INET6)))
        if rng.random() < 0.1:
            return message(rng, rng.choice(types), dump_flags(rng), pack("=B", family), attrs)
        head = ifaddrmsg(
            rng,
            family,
            often(rng, 0, 64, chance=0.05),
            index=often(rng, 0, 1, 1, 2, 9999, chance=0.3),
            flags=often(rng, 0, 1, chance=0.05),
            scope=often(rng, 0, 254, chance=0.05),
        )
        return message(rng, rng.choice(types), dump_flags(rng), head, attrs)

    return make


def get_group(rng: Random) -> Message:
    """Single look-ups that nobody serves."""
    return dump_of(58, 62)(rng).but(flags=request_flags(rng))
