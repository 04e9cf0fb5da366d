"""Requests about neighbours: the entries of tables, what those tables go by, forwarding databases, address labels."""

from random import Random
from struct import pack

from tests.fidelity.normal import GRAIN
from tests.fidelity.requests.parts import (
    ADDRESSES6,
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    FAMILIES,
    FOREVER,
    any32,
    dump_flags,
    header_or_less,
    mac,
    message,
    often,
    packed,
    request_flags,
    some_bytes,
    u8s,
    u32s,
)
from tests.fidelity.wire import Message, nest, nla, text, u8, u32

NTF_SELF, NTF_PROXY = 0x02, 0x08


# --- entries ----------------------------------------------------------------------------------------------------------


def getneigh(rng: Random) -> Message:
    family = rng.choice((0, 2, 10, 10, 7, *FAMILIES))
    attrs = []
    if rng.random() < 0.6:
        attrs.append(nla(1, packed(rng, family)))
    if rng.random() < 0.15:
        attrs.append(nla(rng.choice((8, 9, 5, 2, 10, 11, 15, 200)), u32(rng.choice((0, 1, 2, 77)))))
    head = pack(
        "=BxHiHBB",
        family,
        0,
        rng.choice((0, 0, 1, 1, 2, 77)),
        often(rng, 0, 2, chance=0.05),
        often(rng, 0, 0, NTF_PROXY, NTF_PROXY, 2, chance=0.3),
        often(rng, 0, 1, chance=0.05),
    )
    flags = dump_flags(rng) if rng.random() < 0.6 else request_flags(rng)
    return message(rng, 30, flags, header_or_less(rng, head), attrs)


_STATES = (0x80, 0x80, 0x80, 0x40, 0x02, 0x04, 0x20, 0x00, 0xC0, 0x84, 0x100, 0x8080)
_FLAGS = (0, 0, 0, 0, 0, NTF_PROXY, NTF_PROXY, 0x10, 0x80, 0x90, 0x04, 0x18, 0x20, 0x40, 0x02)
_EXTRAS = (
    (0.15, 12, u8s(0, 2, 4, 255)), (0.12, 15, u32s(0, 1, 2, 4, 5, 6, -1)), (0.02, 8, u32s(0, 1)),
    (0.02, 9, u32s(0, 1)), (0.02, 13, any32), (0.03, 5, some_bytes), (0.02, 77, some_bytes),
)  # fmt: skip


def change_neigh(rng: Random) -> Message:
    """A neighbour, or an address that is answered for."""
    family = rng.choice((AF_INET, AF_INET6, AF_INET6, AF_INET6))
    attrs = [nla(1, packed(rng, family))] if rng.random() < 0.97 else []
    if rng.random() < 0.6:
        attrs.append(nla(2, mac(rng)))
    attrs += [nla(nla_type, payload(rng)) for chance, nla_type, payload in _EXTRAS if rng.random() < chance]
    head = pack(
        "=BxHiHBB",
        often(rng, family, *FAMILIES, chance=0.05),
        0,
        rng.choice((1, 1, 1, 1, 2, 2, 3, 0, 77)),
        rng.choice(_STATES),
        rng.choice(_FLAGS),
        often(rng, 0, 1, 5, chance=0.05),
    )
    flags = request_flags(rng, 0x600, 0x400, 0x500, 0x100, 0)
    return message(rng, rng.choice((28, 28, 28, 29, 29)), flags, header_or_less(rng, head), attrs)


def change_fdb(rng: Random) -> Message:
    """A hardware address that a device receives for."""
    attrs = [nla(2, mac(rng))] if rng.random() < 0.95 else []
    if rng.random() < 0.1:
        attrs.append(nla(5, rng.choice((pack("=H", 0), pack("=H", 1), pack("=H", 4095), u8(1), u32(1)))))
    if rng.random() < 0.1:
        attrs.append(nla(rng.choice((15, 8, 9, 7, 6, 12, 1, 77)), u32(rng.choice((0, 1, 2)))))
    head = pack(
        "=BxHiHBB", AF_BRIDGE, 0, rng.choice((2, 2, 2, 1, 3, 0, 77)), rng.choice((0x80, 0x80, 0x80, 0, 0xC0, 0x40)),
        rng.choice((NTF_SELF, NTF_SELF, NTF_SELF, 0, 4, 6, 0xFF)), 0,
    )  # fmt: skip
    flags = request_flags(rng, 0x600, 0x400, 0x200, 0x100, 0)
    return message(rng, rng.choice((28, 28, 29)), flags, header_or_less(rng, head), attrs)


# --- tables -----------------------------------------------------------------------------------------------------------


def getneightbl(rng: Random) -> Message:
    family = rng.choice((0, 2, 10, *FAMILIES))
    attrs = [nla(rng.choice((1, 6, 77)), some_bytes(rng))] if rng.random() < 0.1 else []
    head = pack("=BBH", family, often(rng, 0, 1, chance=0.05), often(rng, 0, 1, chance=0.05))
    flags = dump_flags(rng) if rng.random() < 0.8 else request_flags(rng)
    return message(rng, 66, flags, header_or_less(rng, head), attrs)


_NAMES = ("arp_cache", "ndisc_cache", "arp_cache", "ndisc_cache", "nonesuch", "", "arp_cach")
_COUNTS = (0, 1, 3, 64, 2090, 2089, 212992, 2**31 - 1, 2**31, FOREVER)
_TIMES = (0, 1, 9, 10, 11, 1000 * GRAIN, 2**31 - 1, 2**31, 2**32, 2**64 - 1, 10 * (2**31 - 1))


def _parameter(rng: Random) -> bytes:
    nla_type = rng.randrange(1, 20)
    if nla_type in (8, 9, 10, 11, 14, 16, 17):
        return nla(nla_type, u32(rng.choice(_COUNTS)))
    if nla_type == 1:
        return nla(nla_type, u32(rng.choice((0, 1, 2, 77))))
    return nla(nla_type, pack("=Q", rng.choice(_TIMES)))


def setneightbl(rng: Random) -> Message:
    attrs = [nla(1, text(rng.choice(_NAMES)))] if rng.random() < 0.95 else []
    if rng.random() < 0.85:
        index = [nla(1, u32(rng.choice((1, 1, 1, 2, 0, 77))))] if rng.random() < 0.95 else []
        attrs.append(
            nest(6, *index, *(_parameter(rng) for _ in range(rng.choice((0, 1, 1, 2, 3)))), flagged=rng.random() < 0.5)
        )
    if rng.random() < 0.15:
        attrs.append(nla(rng.choice((2, 3, 4, 5, 7, 77)), u32(rng.choice((0, 128)))))
    if rng.random() < 0.05:
        attrs.append(nla(8, pack("=Q", 30_000)))
    head = pack("=BBH", rng.choice((0, 2, 10, *FAMILIES)), often(rng, 0, 1), 0)
    return message(rng, 67, request_flags(rng), header_or_less(rng, head), attrs)


# --- address labels ---------------------------------------------------------------------------------------------------

_LABELLED = (*ADDRESSES6, "2002::", "fc00::", "2001::", "3ffe::", "::ffff:0.0.0.0")


def addrlabel(rng: Random) -> Message:
    nlmsg_type = rng.choice((72, 72, 72, 73, 73, 74, 74, 74))
    attrs = []
    if rng.random() < 0.95:
        attrs.append(nla(1, packed(rng, AF_INET6)))
    if rng.random() < (0.95 if nlmsg_type != 74 else 0.1):
        attrs.append(nla(2, u32(rng.choice((0, 1, 7, 99, 99, 2**31, FOREVER)))))
    if rng.random() < 0.05:
        attrs.append(nla(rng.choice((0, 3, 77)), some_bytes(rng)))
    head = pack(
        "=BBBBiI",
        often(rng, AF_INET6, *FAMILIES, chance=0.08),
        often(rng, 0, 1, chance=0.04),
        rng.choice((128, 128, 128, 64, 48, 0, 96, 10, 129, 255)),
        often(rng, 0, 1, chance=0.04),
        rng.choice((0, 0, 0, 1, 2, 77, -1)),
        often(rng, 0, 1, chance=0.04),
    )
    if nlmsg_type == 74 and rng.random() < 0.5:
        head = u8(head[0]) + bytes(11) if rng.random() < 0.8 else head
        return message(rng, 74, dump_flags(rng), header_or_less(rng, head), attrs if rng.random() < 0.1 else [])
    return message(rng, nlmsg_type, request_flags(rng, 0, 0x400, 0x500, 0x600), header_or_less(rng, head), attrs)
