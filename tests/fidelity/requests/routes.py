"""Requests about routes and policy rules."""

from collections.abc import Callable
from ipaddress import ip_address
from random import Random
from struct import pack

from tests.fidelity.normal import GRAIN
from tests.fidelity.requests.parts import (
    AF_INET,
    AF_INET6,
    FAMILIES,
    FOREVER,
    any32,
    dump_flags,
    message,
    name,
    often,
    packed,
    request_flags,
    some_bytes,
    u8s,
    u32s,
)
from tests.fidelity.wire import Message, nla, text, u16, u32


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
        attrs.append(nla(rng.choice((1, 2, 3, 5, 6, 7, 10, 200)), packed(rng, family)))
    if rng.random() < 0.1:
        return message(rng, 26, dump_flags(rng), pack("=B", family), attrs)
    head = rtmsg(
        rng,
        family,
        table=often(rng, 0, 254, 255, 253, 77, chance=0.3),
        flags=often(rng, 0, 0x200, 0x100, 0x800, 0x1000, 0x2000),
        dst_len=often(rng, 0, 64, chance=0.05),
        src_len=often(rng, 0, 64, chance=0.05),
        tos=often(rng, 0, 4, chance=0.05),
        protocol=often(rng, 0, 2, 3, 4),
        type=often(rng, 0, 1, 2, 3, 4, 7),
        scope=often(rng, 0, 253, 254, 200, chance=0.05),
    )
    return message(rng, 26, dump_flags(rng), head, attrs)


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
        attrs.append(nla(1, ip_address(rng.choice(local)).packed if rng.random() < 0.7 else packed(rng, family)))
    if rng.random() < 0.12:
        attrs.append(nla(2, packed(rng, family)))
    for nla_type, chance, payload in (
        (3, 0.06, u32s(1, 1, 0, 2, 77)), (4, 0.12, u32s(1, 1, 1, 0, 2, 77)), (16, 0.06, u32s(0, 1, 77)),
        (15, 0.04, u32s(254, 255)), (25, 0.04, u32s(0, 1000)), (27, 0.05, u8s(6, 17, 1, 58, 0, 99)),
        (28, 0.05, lambda rng: u16(rng.choice((0, 1, 80)))), (29, 0.05, lambda rng: u16(rng.choice((0, 1, 80)))),
        (31, 0.03, any32), (200, 0.02, some_bytes), (6, 0.02, any32),
    ):  # fmt: skip
        if rng.random() < chance:
            attrs.append(nla(nla_type, payload(rng)))
    head = rtmsg(
        rng,
        family,
        dst_len=often(rng, bits, 0, 64, 24, chance=0.15),
        src_len=often(rng, 0, bits, chance=0.08),
        flags=often(rng, 0, 0x1000, 0x2000, 0x3000, 0x200, 0x100, 0x4000, chance=0.2),
        table=often(rng, 0, 254, chance=0.04),
        tos=often(rng, 0, 4, 0x10, 0xFF, chance=0.06),
        protocol=often(rng, 0, 2, chance=0.03),
        scope=often(rng, 0, 254, chance=0.04),
        type=often(rng, 0, 1, chance=0.03),
    )
    return message(rng, 26, request_flags(rng), head, attrs)


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
        (4, 0.75, u32s(1, 1, 1, 1, 2, 3, 77, 0)),
        (6, 0.35, u32s(0, 1, 100, 256, 1024, 2**32 - 1)),
        (15, 0.25, u32s(254, 255, 253, 77, 1000, 0)),
        (5, 0.15, lambda rng: packed(rng, family)),
        (7, 0.15, lambda rng: packed(rng, family)),
        (8, 0.1, _metrics),
        (20, 0.05, u8s(0, 1, 3, 7)),
        (23, 0.05, u32s(GRAIN, 2 * GRAIN, FOREVER)),
        (30, 0.03, u32s(0, 1, 5)),
        (21, 0.03, lambda rng: u16(rng.choice((0, 1, 4)))),
        (22, 0.02, some_bytes),
        (11, 0.03, any32),
        (9, 0.02, some_bytes),
        (2, 0.03, lambda rng: packed(rng, family)),
        (31, 0.02, any32),
        (26, 0.02, u8s(0, 64)),
        (200, 0.02, some_bytes),
    ]
    return [nla(kind, payload(rng)) for kind, chance, payload in extras if rng.random() < chance]


def _change_route(rng: Random, nlmsg_type: int, family: int) -> Message:
    net, length = rng.choice(NETS4 if family == AF_INET else NETS6)
    attrs = [nla(1, ip_address(net).packed)] if length or rng.random() < 0.3 else []
    attrs += _route_attrs(rng, family)
    head = rtmsg(
        rng,
        family,
        dst_len=often(rng, length, 33, 129, 24, 0),
        src_len=often(rng, 0, 64, chance=0.02),
        tos=often(rng, 0, 4, 8, 0xFF, chance=0.06),
        table=often(rng, 254, 255, 0, 77, 252),
        scope=often(rng, 0, 253, 254, 255),
        protocol=often(rng, 4, 0, 1, 2, 3, 17, 186),
        type=often(rng, 1, 2, 0, 3, 5, 6, 7, 8, 9, 10, 11, 12, chance=0.2),
        flags=often(rng, 0, 1, 4, 0x10, 0x800, 0x200, chance=0.08),
    )
    extra = (0x400, 0x400, 0x600, 0x600, 0x500, 0x100, 0xC00, 0) if nlmsg_type == 24 else (0,)
    return message(rng, nlmsg_type, request_flags(rng, *extra), head, attrs)


def newroute(rng: Random) -> Message:
    return _change_route(rng, 24, rng.choice((AF_INET, AF_INET6, AF_INET6)))


def delroute(rng: Random) -> Message:
    return _change_route(rng, 25, rng.choice((AF_INET, AF_INET6, AF_INET6)))


def _rule_attrs(rng: Random, family: int) -> list[bytes]:
    extras: list[tuple[int, float, Callable[[Random], bytes]]] = [
        (6, 0.6, u32s(1, 100, 101, 32766, 32767, 0)),
        (15, 0.5, u32s(254, 255, 253, 77, 0, 1000)),
        (1, 0.15, lambda rng: packed(rng, family)),
        (2, 0.15, lambda rng: packed(rng, family)),
        (3, 0.15, name),
        (17, 0.1, name),
        (10, 0.1, u32s(0, 1, 255)),
        (16, 0.08, u32s(0, 1, 2**32 - 1)),
        (4, 0.08, u32s(1, 100, 200, 0)),
        (14, 0.06, u32s(0, 1, 2**32 - 1)),
        (13, 0.04, u32s(0, 1, 2**32 - 1)),
        (21, 0.08, u8s(0, 2, 4, 255)),
        (19, 0.03, u8s(0, 1)),
        (20, 0.05, lambda rng: pack("=II", rng.choice((0, 5)), rng.choice((0, 10, 2**32 - 1)))),
        (22, 0.05, u8s(0, 6, 17)),
        (23, 0.05, lambda rng: pack("=HH", rng.choice((0, 1)), rng.choice((0, 80)))),
        (24, 0.05, lambda rng: pack("=HH", rng.choice((0, 1)), rng.choice((0, 80)))),
        (25, 0.04, u8s(0, 1, 63, 64)),
        (11, 0.04, any32),
        (12, 0.02, some_bytes),
        (26, 0.02, any32),
        (28, 0.02, lambda rng: u16(0xFFF)),
        (200, 0.02, some_bytes),
    ]
    return [nla(kind, payload(rng)) for kind, chance, payload in extras if rng.random() < chance]


def change_rule(rng: Random) -> Message:
    family = rng.choice((2, 2, 10, 10, 10, 128, 129, 0, 7))
    attrs = _rule_attrs(rng, family)
    head = pack(
        "=BBBBBBBBI",
        family,
        often(rng, 0, 32, 64, 128, 129),
        often(rng, 0, 32, 64, 128),
        often(rng, 0, 4, 3, 0xFF, chance=0.05),
        often(rng, 254, 0, 255, 77),
        often(rng, 0, 1, chance=0.03),
        often(rng, 0, 1, chance=0.03),
        often(rng, 1, 0, 2, 6, 7, 8, 3, 200, chance=0.2),
        often(rng, 0, 2, 4, 8, 1, 0x10000, chance=0.06),
    )
    return message(rng, rng.choice((32, 32, 33)), request_flags(rng, 0x400, 0x600, 0x600, 0x500, 0), head, attrs)
