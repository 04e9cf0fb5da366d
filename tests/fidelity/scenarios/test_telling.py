"""7, 8 and 40: every byte of lo and of ::1, and what a request for addresses is answered."""

from collections.abc import Mapping
from ipaddress import ip_address
from struct import Struct, unpack, unpack_from
from typing import Final

import pytest

from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ARPHRD_LOOPBACK,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_RUNNING,
    IFF_UP,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_FILTERED,
    NLM_F_MULTI,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
)
from tests.af_netlink.twins import nla, nlmsg
from tests.fidelity.asks import add, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import A1
from tests.fidelity.scenarios.subject import Subject
from tests.fidelity.scenarios.wire import answer, attributes, brief_answer

LOOPBACK: Final = bytes(15) + b"\1"
FOREVER: Final = b"\xff" * 4


# --- lo, attribute by attribute --------------------------------------------------------------------------------------

IFINFOMSG: Final = Struct("=BBHiII")
UP_FLAGS: Final = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP


def u8(value: int) -> bytes:
    return value.to_bytes(1, "little")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


# What is told of lo in a fresh namespace, in order: number, name, payload; None where it is looked at apart.
LO: Final[tuple[tuple[int, str, bytes | None], ...]] = (
    (3, "IFNAME", b"lo\0"), (13, "TXQLEN", u32(1000)), (16, "OPERSTATE", u8(2)), (17, "LINKMODE", u8(0)),
    (67, "NETNS_IMMUTABLE", u8(1)), (4, "MTU", u32(65536)), (50, "MIN_MTU", u32(0)), (51, "MAX_MTU", u32(0)),
    (27, "GROUP", u32(0)), (30, "PROMISCUITY", u32(0)), (61, "ALLMULTI", u32(0)), (31, "NUM_TX_QUEUES", u32(1)),
    (40, "GSO_MAX_SEGS", u32(65535)), (41, "GSO_MAX_SIZE", u32(65536)), (58, "GRO_MAX_SIZE", u32(65536)),
    (63, "GSO_IPV4_MAX_SIZE", u32(65536)), (64, "GRO_IPV4_MAX_SIZE", u32(65536)), (59, "TSO_MAX_SIZE", u32(524280)),
    (60, "TSO_MAX_SEGS", u32(65535)), (66, "MAX_PACING_OFFLOAD_HORIZON", bytes(4)), (32, "NUM_RX_QUEUES", u32(1)),
    (33, "CARRIER", u8(1)), (35, "CARRIER_CHANGES", u32(0)), (47, "CARRIER_UP_COUNT", u32(0)),
    (48, "CARRIER_DOWN_COUNT", u32(0)), (68, "HEADROOM", u16(0)), (69, "TAILROOM", u16(0)), (39, "PROTO_DOWN", u8(0)),
    (1, "ADDRESS", bytes(6)), (2, "BROADCAST", bytes(6)), (23, "STATS64", bytes(200)), (7, "STATS", bytes(96)),
    (43, "XDP", nla(2, u8(0))), (6, "QDISC", b"noop\0"), (26, "AF_SPEC", None), (14, "MAP", bytes(32)),
    (62, "DEVLINK_PORT", b""), (65, "DPLL_PIN", b""),
)  # fmt: skip
INET_CONF: Final = 33
INET6_CONF: Final = (
    0, 64, 65536, 1, 1, 1, 1, -1, 4000, 1000, -1, 604800, 86400, 3, 600, 16, 0, 1, 1, 1, 60000, 0, 0, 0, 0, 0, 0, -1, 0,
    0, 10000, 1000, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 3600000, 0, 0, 1, 0, 0, 0, 0, 0, 1024, 0, 65535, -1, 1, 0, 0, 0,
)  # fmt: skip


def told_of_lo(subject: Subject) -> tuple[bytes, list[tuple[int, bytes]]]:
    """The header of lo's message, and its attributes."""
    ((nlmsg_type, _, body),) = answer(subject.port(), nlmsg(RTM_GETLINK, IFINFOMSG.pack(0, 0, 0, 1, 0, 0), 0)).replies
    assert nlmsg_type == RTM_NEWLINK
    return body[: IFINFOMSG.size], list(attributes(body, IFINFOMSG.size))


@scenario(7)
def test_every_attribute_of_a_fresh_lo_in_order(subject: Subject) -> None:
    header, told = told_of_lo(subject)

    assert IFINFOMSG.unpack(header) == (0, 0, ARPHRD_LOOPBACK, 1, IFF_LOOPBACK, 0)
    assert [number for number, _ in told] == [number for number, _, _ in LO]
    assert [value for number, value in told if number != 26] == [value for number, _, value in LO if number != 26]


@scenario(7)
def test_up_changes_the_flags_the_state_and_the_discipline(subject: Subject) -> None:
    subject.ask(up())
    header, told = told_of_lo(subject)

    changed = {number: value for (number, value), (_, _, before) in zip(told, LO, strict=True) if value != before}
    assert IFINFOMSG.unpack(header)[4] == UP_FLAGS
    assert {number: value for number, value in changed.items() if number != 26} == {16: u8(0), 6: b"noqueue\0"}


@scenario(7)
@pytest.mark.parametrize(("asks", "flags"), [((), 0), ((up(),), 0x80000000)])
def test_every_attribute_of_its_address_families(subject: Subject, asks: tuple[object, ...], flags: int) -> None:
    """But two numbers: when it was said, and the reachable time, which the kernel draws by lot."""
    for ask in asks:
        subject.ask(ask)  # type: ignore[arg-type]
    _, told = told_of_lo(subject)
    families = dict(attributes(dict(told)[26]))
    inet, inet6 = dict(attributes(families[AF_INET])), dict(attributes(families[AF_INET6]))

    assert list(families) == [AF_INET, AF_INET6]
    assert (list(inet), len(inet[1])) == ([1], 4 * INET_CONF)
    assert list(inet6) == [1, 5, 2, 3, 6, 7, 8]
    assert inet6[1] == u32(flags)
    max_reasm_len, _, reachable_time, retrans_time = unpack("=IIII", inet6[5])
    assert (max_reasm_len, retrans_time) == (65535, 1000)
    assert reachable_time == 0 or 15000 <= reachable_time <= 45000  # 0 where two kernels are compared
    assert unpack("=60i", inet6[2]) == INET6_CONF
    assert (unpack_from("=Q", inet6[3])[0], unpack_from("=Q", inet6[6])[0]) == (len(inet6[3]) // 8, len(inet6[6]) // 8)
    assert (inet6[7], inet6[8]) == (bytes(16), u8(0))


# --- ::1, byte by byte -----------------------------------------------------------------------------------------------

TOLD: Final = (
    bytes.fromhex("0a8080fe01000000"), nla(1, LOOPBACK), bytes.fromhex("14000600") + FOREVER * 2,
    bytes.fromhex("0800080080000000 05000b0001000000"),
)  # fmt: skip


def assert_is_the_loopback_address(body: bytes) -> None:
    """Its two time stamps apart."""
    first, second = b"".join(TOLD[:3]), TOLD[3]

    assert len(body) == 64
    assert body[: len(first)] == first
    assert body[len(first) + 8 :] == second


@scenario(8)
def test_every_byte_of_the_loopback_address_in_a_dump(subject: Subject) -> None:
    subject.ask(up())
    it = answer(subject.port(), nlmsg(RTM_GETADDR, bytes((AF_INET6,)).ljust(8, b"\0"), NLM_F_DUMP))
    ((nlmsg_type, flags, body),) = it.replies

    assert (nlmsg_type, flags, it.errno) == (RTM_NEWADDR, NLM_F_MULTI, 0)
    assert_is_the_loopback_address(body)


@scenario(8)
def test_every_byte_of_the_loopback_address_by_itself(subject: Subject) -> None:
    subject.ask(up())
    it = answer(subject.port(), nlmsg(RTM_GETADDR, bytes.fromhex("0a00000001000000") + nla(1, LOOPBACK)))
    ((nlmsg_type, flags, body),) = it.replies

    assert (nlmsg_type, flags) == (RTM_NEWADDR, 0)
    assert_is_the_loopback_address(body)


@scenario(8)
@pytest.mark.parametrize(
    ("ask", "order"),
    [(add(f"{A1}/64"), [1, 6, 8]), (add(f"{A1}/64", peer="2001:db8:2::9"), [2, 1, 6, 8]),
     (add(f"{A1}/64", metric=77, proto=7), [1, 9, 6, 8, 11]), (add(f"{A1}/64", proto=0), [1, 6, 8])],
)  # fmt: skip
def test_the_order_of_the_attributes_of_other_addresses(subject: Subject, ask: object, order: list[int]) -> None:
    subject.ask(ask)  # type: ignore[arg-type]
    it = answer(subject.port(), nlmsg(RTM_GETADDR, bytes.fromhex("0a00000001000000") + nla(2, ip_address(A1).packed)))

    assert [number for number, _ in attributes(it.replies[0][2], 8)] == order


# --- RTM_GETADDR -----------------------------------------------------------------------------------------------------


def ifa(*attrs: bytes, family: int = AF_INET6, plen: int = 0, flags: int = 0, scope: int = 0, index: int = 0) -> bytes:
    return Struct("=BBBBi").pack(family, plen, flags, scope, index) + b"".join(attrs)


IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_TARGET_NETNSID = 1, 2, 8, 10
ONE: Final = nla(IFA_ADDRESS, LOOPBACK)
VALUES = "ipv6: Invalid values in header for address dump request"
# What is sent as RTM_GETADDR to a namespace whose lo is up and has one address more; the two answers: of a socket that
# checks strictly, and of one that does not.
DUMPS: Final[Mapping[str, tuple[bytes, str, str]]] = {
    "all of IPv6": (ifa(), "ok 2 replies", "ok 2 replies"),
    "all of IPv4": (ifa(family=AF_INET), "ok 1 replies", "ok 1 replies"),
    "all": (ifa(family=0), "ok 3 replies", "ok 3 replies"),
    "a family that has none": (ifa(family=99), "ok 3 replies", "ok 3 replies"),
    "one byte": (ifa()[:1], "EINVAL ipv6: Invalid header for address dump request", "ok 2 replies"),
    "a prefix length": (ifa(plen=64), f"EINVAL {VALUES}", "ok 2 replies"),
    "flags": (ifa(flags=1), f"EINVAL {VALUES}", "ok 2 replies"),
    "a scope": (ifa(scope=1), f"EINVAL {VALUES}", "ok 2 replies"),
    "of lo": (ifa(index=1), "ok 2 replies", "ok 2 replies"),
    "of device 9999": (ifa(index=9999), "ENODEV -", "ok 2 replies"),
    "an address": (ifa(ONE), "EINVAL ipv6: Unsupported attribute in dump request", "ok 2 replies"),
    "an attribute that is none": (ifa(nla(200, b"")), "EINVAL Unknown attribute type @24", "ok 2 replies"),
    "a namespace that is not known": (
        ifa(nla(IFA_TARGET_NETNSID, 7)), "EINVAL ipv6: Invalid target network namespace id", "ok 2 replies",
    ),
}  # fmt: skip
SINGLES: Final[Mapping[str, tuple[bytes, str, str]]] = {
    "of lo": (ifa(ONE, index=1), "ok 1 replies", "ok 1 replies"),
    "of any device": (ifa(ONE), "ok 1 replies", "ok 1 replies"),
    "of device 9999, which is any": (ifa(ONE, index=9999), "ok 1 replies", "ok 1 replies"),
    "one that is not there": (ifa(nla(IFA_ADDRESS, bytes(16))), "EADDRNOTAVAIL -", "EADDRNOTAVAIL -"),
    "none": (ifa(), "EINVAL -", "EINVAL -"),
    "with a prefix length": (
        ifa(ONE, plen=128), "EINVAL ipv6: Invalid values in header for get address request", "ok 1 replies",
    ),
    "with flags": (
        ifa(ONE, nla(IFA_FLAGS, 0)), "EINVAL ipv6: Unsupported attribute in get address request", "ok 1 replies",
    ),
    "with an attribute that is none": (ifa(ONE, nla(200, b"")), "EINVAL Unknown attribute type @44", "ok 1 replies"),
    "of IPv4": (ifa(nla(IFA_LOCAL, bytes(4)), family=AF_INET), "EOPNOTSUPP -", "EOPNOTSUPP -"),
    "of no family": (ifa(ONE, family=0), "EOPNOTSUPP -", "EOPNOTSUPP -"),
}  # fmt: skip


@scenario(40)
@pytest.mark.parametrize(("payload", "strictly", "else_"), DUMPS.values(), ids=DUMPS.keys())
def test_a_dump_of_addresses(subject: Subject, payload: bytes, strictly: str, else_: str) -> None:
    subject.ask(up(), add(f"{A1}/64"))

    assert brief_answer(subject.port(), nlmsg(RTM_GETADDR, payload, NLM_F_DUMP)) == else_
    with subject.another() as other:
        other.ask(up(), add(f"{A1}/64"))
        assert brief_answer(other.port(strict=True), nlmsg(RTM_GETADDR, payload, NLM_F_DUMP)) == strictly


@scenario(40)
@pytest.mark.parametrize(("payload", "strictly", "else_"), SINGLES.values(), ids=SINGLES.keys())
def test_a_single_address(subject: Subject, payload: bytes, strictly: str, else_: str) -> None:
    subject.ask(up(), add(f"{A1}/64"))

    assert brief_answer(subject.port(), nlmsg(RTM_GETADDR, payload, NLM_F_ACK)) == else_
    with subject.another() as other:
        other.ask(up(), add(f"{A1}/64"))
        assert brief_answer(other.port(strict=True), nlmsg(RTM_GETADDR, payload, NLM_F_ACK)) == strictly


@scenario(40)
def test_a_dump_that_is_filtered_says_so(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64"))
    replies = answer(subject.port(strict=True), nlmsg(RTM_GETADDR, ifa(index=1), NLM_F_DUMP)).replies

    assert {flags for _, flags, _ in replies} == {NLM_F_MULTI | NLM_F_DUMP_FILTERED}
