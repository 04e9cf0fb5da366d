"""Requests about everything else: settings, counters, namespaces, and what nobody serves."""

from random import Random
from struct import pack

from tests.fidelity.requests.parts import (
    FAMILIES,
    dump_flags,
    header_or_less,
    message,
    often,
    request_flags,
    some_bytes,
    u32s,
)
from tests.fidelity.steps import RESIDENT
from tests.fidelity.wire import ACK, DUMP, REQUEST, Message, nest, nla, u8, u32


def getrule(rng: Random) -> Message:
    family = rng.choice((0, 2, 10, 128, 129, *FAMILIES))
    attrs = [nla(rng.choice((1, 3, 6, 15, 200)), some_bytes(rng))] if rng.random() < 0.12 else []
    head = pack(
        "=BBBBBBBBI",
        family,
        often(rng, 0, 64, chance=0.05),
        0,
        often(rng, 0, 4, chance=0.04),
        often(rng, 0, 254, chance=0.05),
        0,
        0,
        often(rng, 0, 1, chance=0.04),
        often(rng, 0, 1, chance=0.04),
    )
    flags = dump_flags(rng) if rng.random() < 0.8 else request_flags(rng)
    return message(rng, 34, flags, header_or_less(rng, head), attrs)


def getnetconf(rng: Random) -> Message:
    family = rng.choice((2, 10, 10, 0, *FAMILIES))
    attrs = [nla(1, u32(rng.choice((1, 1, -1, -2, 0, 2, 77))))] if rng.random() < 0.7 else []
    if rng.random() < 0.1:
        attrs.append(nla(rng.choice((2, 3, 4, 5, 6, 7, 200)), some_bytes(rng)))
    head = pack("=B", family)
    flags = dump_flags(rng) if rng.random() < 0.5 else request_flags(rng)
    if flags & DUMP and rng.random() < 0.7:
        attrs = []
    return message(rng, 82, flags, head, attrs)


def getstats(rng: Random) -> Message:
    mask = rng.choice((1, 1, 2, 4, 8, 16, 31, 0, 32, 0xFFFFFFFF, 17))
    head = pack(
        "=BBHII",
        often(rng, 0, 2, 10, chance=0.1),
        often(rng, 0, 1, chance=0.04),
        often(rng, 0, 1, chance=0.04),
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
        attrs.append(nla(rng.choice((0, 2, 77)), some_bytes(rng)))
    flags = dump_flags(rng) if rng.random() < 0.4 else request_flags(rng)
    return message(rng, rng.choice((94, 94, 94, 94, 95)), flags, header_or_less(rng, head), attrs)


def nsid(rng: Random) -> Message:
    attrs = []
    for nla_type, chance, payload in (
        (1, 0.4, u32s(0, 1, 5, -1, -2)), (2, 0.4, u32s(2**23, -1, RESIDENT, RESIDENT, RESIDENT)),
        (3, 0.4, u32s(2**23, -1)),
        (4, 0.1, u32s(0, 5, -1)), (5, 0.05, u32s(0, 5, -1)), (77, 0.03, some_bytes),
    ):  # fmt: skip
        if rng.random() < chance:
            attrs.append(nla(nla_type, payload(rng)))
    nlmsg_type = rng.choice((90, 90, 90, 88, 88, 89))
    flags = dump_flags(rng) if nlmsg_type == 90 and rng.random() < 0.4 else request_flags(rng)
    return message(rng, nlmsg_type, flags, header_or_less(rng, pack("=B", often(rng, 0, 2, 10, 255))), attrs)


def any_type(rng: Random) -> Message:
    """Types over the whole range, most of them nobody's."""
    nlmsg_type = rng.choice(
        (rng.randrange(16, 130), rng.randrange(16, 130), rng.randrange(130, 65536), rng.randrange(16))
    )
    flags = rng.choice((request_flags(rng), request_flags(rng), dump_flags(rng)))
    head = u8(rng.choice(FAMILIES)) + bytes(rng.choice((0, 0, 3, 7, 11, 15, 19)))
    return message(rng, nlmsg_type, flags, head[: rng.choice((0, 1, len(head), len(head)))])


def control(rng: Random) -> Message:
    flags = rng.choice((0, REQUEST, ACK, REQUEST | ACK, rng.getrandbits(16)))
    return message(rng, rng.choice((0, 1, 2, 3, 4, 5, 15)), flags, rng.choice((b"", b"\0" * 4, u32(-1) + bytes(16))))
