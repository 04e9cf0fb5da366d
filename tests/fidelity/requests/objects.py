"""Requests about objects that a namespace has none of and is given none of here: refusals are what is asked for.

Queueing disciplines, classes, filters, chains and actions of traffic control, next hop objects, data center bridging,
multicast groups of bridges, filters of VXLAN.
"""

from collections.abc import Callable, Iterable
from random import Random
from struct import pack
from typing import TypeAlias

from tests.fidelity.requests.parts import (
    AF_BRIDGE,
    Maker,
    dump_flags,
    message,
    name,
    often,
    request_flags,
    some_bytes,
    u32s,
)
from tests.fidelity.wire import ACK, Message, nest, nla, u8, u32

CREATE, EXCL, REPLACE, ROOT = 0x400, 0x200, 0x100, 0x100
Payload: TypeAlias = Callable[[Random], bytes]
INDEXES = (1, 1, 2, 0, 77, -1)


def _attrs(rng: Random, rows: Iterable[tuple[int, float, Payload]]) -> list[bytes]:
    """Attributes: of which type, how likely, and what is in them."""
    return [nla(kind, payload(rng)) for kind, chance, payload in rows if rng.random() < chance]


def _one_of(*payloads: bytes) -> Payload:
    return lambda rng: rng.choice(payloads)


def _flags(rng: Random, nlmsg_type: int) -> int:
    """Of a dump now and then, if the type is that of a GET."""
    if nlmsg_type & 3 == 2 and rng.random() < 0.4:
        return dump_flags(rng)
    return request_flags(rng, 0, 0, CREATE, CREATE | EXCL, CREATE | REPLACE, REPLACE)


# --- traffic control --------------------------------------------------------------------------------------------------

_TC_TYPES = (36, 37, 38, 40, 41, 42, 44, 45, 46, 100, 101, 102)


def traffic_control(rng: Random) -> Message:
    head = pack(
        "=B3xiIII",
        often(rng, 0, 2),
        rng.choice(INDEXES),
        rng.choice((0, 0, 0x10000, 0x10001, 0x80010000, 5, 0xFFFFFFFF)),
        rng.choice((0, 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000, 0x10000, 0x20001, 0xFFFFFFF2)),
        rng.choice((0, 0, 0x10000, 0x10003, 3)),
    )
    attrs = _attrs(
        rng,
        (
            (1, 0.5, _one_of(b"noop\0", b"nonesuch\0", b"x" * 15 + b"\0", b"x" * 16 + b"\0", b"y" * 40, b"", b"noq")),
            (rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 30)), 0.2, some_bytes),
        ),
    )
    nlmsg_type = rng.choice(_TC_TYPES)
    return message(rng, nlmsg_type, _flags(rng, nlmsg_type), head, attrs)


def action(rng: Random) -> Message:
    """Actions, in a table by number."""
    table = b""
    for place in range(1, rng.choice((1, 2, 2, 3))):
        inner = _attrs(
            rng,
            (
                (1, 0.8, _one_of(b"nonesuch\0", b"x" * 15 + b"\0", b"x" * 16 + b"\0", b"none")),
                (3, 0.5, u32s(0, 5)),
                (
                    rng.choice((4, 5, 6, 7, 8, 9, 10, 11)),
                    0.4,
                    _one_of(b"", u32(0) * 2, u32(1) * 2, u32(8) * 2, bytes(17)),
                ),
            ),
        )
        table += nla(often(rng, place, place + 1, 0, 33), b"".join(inner))
    attrs = _attrs(rng, ((1, 0.9, _one_of(table)), (rng.choice((2, 3, 4, 5, 6)), 0.3, some_bytes)))
    nlmsg_type = rng.choice((48, 49, 50))
    flags = ACK | 1 | ROOT if nlmsg_type == 49 and rng.random() < 0.2 else _flags(rng, nlmsg_type)
    return message(rng, nlmsg_type, flags, u8(often(rng, 0, 2)) + bytes(3), attrs)


# --- next hop objects -------------------------------------------------------------------------------------------------


def _group(rng: Random) -> bytes:
    entries = (
        pack("=IBBH", rng.choice((1, 2, 3, 0)), rng.choice((0, 1, 255)), often(rng, 0, 1, 255), often(rng, 0, 9))
        for _ in range(rng.randrange(4))
    )
    return b"".join(entries) + (b"?" if rng.random() < 0.1 else b"")


_NEXTHOP = (
    (1, 0.4, u32s(0, 1, 7, -1)),
    (4, 0.1, lambda rng: b""),
    (6, 0.3, _one_of(bytes((10, 0, 0, 1)), b"\xfe\x80" + bytes(13) + b"\1", bytes(4), bytes(16), b"", b"?")),
    (9, 0.05, lambda rng: b""),
    (10, 0.05, u32s(1, 0, 2**31)),
    (11, 0.15, lambda rng: b""),
    (14, 0.05, u32s(0, 1, 2, 3, 4)),
    (15, 0.05, some_bytes),
    (16, 0.07, u32s(0, 1, 2)),
)


def nexthop(rng: Random) -> Message:
    nlmsg_type = rng.choice((104, 104, 105, 106, 118))
    news = nlmsg_type == 104
    head = pack(
        "=BBBBI",
        rng.choice((0, 2, 2, 10, 10, 7)),
        often(rng, 0, 1),
        rng.choice((0, 4)) if news else often(rng, 0, 3),
        often(rng, 0, 1),
        rng.choice((0, 4, 1, 16)) if news else often(rng, 0, 4),
    )
    attrs = _attrs(rng, _NEXTHOP)
    attrs += _attrs(
        rng,
        (
            (2, 0.3 * news, _group),
            (3, 0.1, _one_of(b"\0\0", b"\1\0", b"\2\0", b"\xff\xff", b"?")),
            (5, 0.05 + 0.45 * news, u32s(2, 77, 0, -1)),
            (7, 0.07, _one_of(b"\0\0", b"\1\0", b"\2\0", b"\5\0", b"\xff\xff", b"?")),
            (rng.choice((12, 13, 17, 18, 30)), 0.05, some_bytes),
        ),
    )
    for kind, chance in ((8, 0.07), (12, 0.25 * news), (13, 0.5 if nlmsg_type == 118 else 0.05)):
        if rng.random() < chance:
            inner = _attrs(rng, ((rng.choice((1, 2, 3, 4)), 0.8, _one_of(bytes(2), bytes(4), u32(5), b"\4\0", b"")),))
            attrs.append(nest(kind, *inner, flagged=rng.random() < 0.9))
    rng.shuffle(attrs)
    return message(rng, nlmsg_type, _flags(rng, nlmsg_type), head, attrs)


# --- what no device has -----------------------------------------------------------------------------------------------


def data_center_bridging(rng: Random) -> Message:
    head = pack("=BBH", often(rng, 0, 2), rng.randrange(30), often(rng, 0, 5))
    attrs = [nla(1, name(rng))] if rng.random() < 0.8 else []
    attrs += [nla(rng.randrange(1, 20) | rng.choice((0, 0, 0x8000)), some_bytes(rng)) for _ in range(rng.randrange(3))]
    return message(rng, rng.choice((78, 79)), request_flags(rng), head, attrs)


def _mdb_entry(rng: Random) -> bytes:
    groups = (
        "e0000001",
        "ef010101",
        "00000000",
        "0a000001",
        "ff02" + "00" * 13 + "01",
        "ff05" + "00" * 13 + "02",
        "0100",
    )
    entry = pack(
        "=IBBH16sHxx",
        rng.choice((0, 1, 2)),
        rng.choice((0, 0, 1, 2)),
        often(rng, 0, 1, 255),
        rng.choice((0, 0, 1, 4094, 4095)),
        bytes.fromhex(rng.choice(groups)),
        rng.choice((0x0008, 0xDD86, 0, 1)),
    )
    return entry + bytes(4) if rng.random() < 0.05 else entry[: often(rng, len(entry), len(entry) - 1, 0)]


def bridge_groups(rng: Random) -> Message:
    nlmsg_type = rng.choice((84, 85, 86))
    attrs = _attrs(rng, ((1, 0.9, _mdb_entry), (rng.choice((3, 4, 9)), 0.1, some_bytes)))
    if rng.random() < 0.3:
        inner = nla(rng.randrange(1, 14), some_bytes(rng))
        attrs.append(nest(2, inner, flagged=rng.random() < 0.7))
    head = pack("=B3xi", often(rng, AF_BRIDGE, 0, 2), rng.choice(INDEXES))
    flags = ACK | 1 | EXCL if nlmsg_type == 85 and rng.random() < 0.3 else _flags(rng, nlmsg_type)
    return message(rng, nlmsg_type, flags, head, attrs)


def tunnel(rng: Random) -> Message:
    nlmsg_type = rng.choice((120, 121, 122))
    inner = _attrs(rng, ((1, 0.6, u32s(5)), (2, 0.3, u32s(9)), (rng.choice((1, 3, 5)), 0.1, some_bytes)))
    attrs = [nest(1, *inner, flagged=rng.random() < 0.7)] if rng.random() < 0.7 else []
    attrs += _attrs(rng, ((rng.choice((2, 3, 9)), 0.1, some_bytes),))
    head = pack("=BBHi", often(rng, AF_BRIDGE, 0), rng.choice((0, 0, 1, 2, 255)), often(rng, 0, 1), rng.choice(INDEXES))
    return message(rng, nlmsg_type, _flags(rng, nlmsg_type), head, attrs)


OBJECTS: dict[str, tuple[float, Maker]] = {
    "traffic control": (2, traffic_control),
    "actions": (1, action),
    "next hop objects": (2, nexthop),
    "data center bridging": (0.5, data_center_bridging),
    "groups of bridges": (1, bridge_groups),
    "filters of tunnels": (0.5, tunnel),
}
"""As rows of REQUESTS."""
