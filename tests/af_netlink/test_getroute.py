"""RTM_GETROUTE on both kernels, byte for byte: dumps, and where a packet would go."""

from collections.abc import Sequence
from errno import EHOSTUNREACH, ENETUNREACH
from random import Random
from struct import pack

import pytest

from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_UP,
    NLM_F_ACK,
    NLM_F_DUMP,
    RTA_DPORT,
    RTA_DST,
    RTA_FLOWLABEL,
    RTA_GATEWAY,
    RTA_IIF,
    RTA_IP_PROTO,
    RTA_MARK,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_SPORT,
    RTA_SRC,
    RTA_TABLE,
    RTA_UID,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_F_CLONED,
    RTM_F_FIB_MATCH,
    RTM_F_LOOKUP_TABLE,
    RTM_F_NOTIFY,
    RTM_F_PREFIX,
    RTM_GETROUTE,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTNL_FAMILY_IP6MR,
    RTNL_FAMILY_IPMR,
)
from tests.af_netlink.rtmsg import add_address, packed, rtmsg
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

FAMILIES = (AF_INET, AF_INET6)
LOCAL = {AF_INET: "127.0.0.1", AF_INET6: "::1"}


# --- dumps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("family", [0, *FAMILIES, 7, 17, 28, 127, RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR, 200, 255])
def test_dumps_by_family(up: Twins, family: int, strict: bool) -> None:
    for size in (1, 4, 12):
        up.ask(nlmsg(RTM_GETROUTE, rtmsg(family)[:size], NLM_F_DUMP), strict=strict)


@pytest.mark.parametrize("family", [0, *FAMILIES, RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR])
@pytest.mark.parametrize("table", [0, 1, 252, 253, 254, 255, 1000])
def test_dumps_by_table(twins: Twins, family: int, table: int) -> None:
    """Before lo is up IPv4 has no table at all."""
    for attrs in (nla(RTA_TABLE, table), b""):
        head = rtmsg(family, table=min(table, 252) if table > 255 else table)
        twins.ask(nlmsg(RTM_GETROUTE, head + attrs, NLM_F_DUMP), strict=True)


@pytest.mark.parametrize("family", [0, *FAMILIES])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("fields", "attrs"),
    [
        ({"flags": RTM_F_CLONED}, b""),
        ({"flags": RTM_F_PREFIX}, b""),
        ({"flags": RTM_F_PREFIX | RTM_F_CLONED}, b""),
        ({"flags": RTM_F_CLONED, "table": 7}, b""),
        ({"flags": RTM_F_NOTIFY}, b""),
        ({"dst": 8}, b""),
        ({"src": 8}, b""),
        ({"tos": 4}, b""),
        ({"scope": 200}, b""),
        ({"proto": 2}, b""),
        ({"proto": 3}, b""),
        ({"kind": 2}, b""),
        ({"kind": 1}, b""),
        ({"kind": 3, "table": 255}, b""),
        ({"table": 255}, b""),
        ({"table": 254}, b""),
        ({}, nla(RTA_OIF, 1)),
        ({}, nla(RTA_OIF, 77)),
        ({}, nla(RTA_OIF, 0)),
        ({}, nla(RTA_OIF, b"a")),
        ({}, nla(RTA_TABLE, 255) + nla(RTA_OIF, 1)),
        ({}, nla(RTA_OIF, 77) + nla(RTA_DST, 1)),
        ({}, nla(RTA_PRIORITY, 1)),
        ({}, nla(31, 1)),
        ({}, nla(32, 1)),
        ({}, b"\1\2\3"),
    ],
)
def test_filters(up: Twins, family: int, strict: bool, fields: dict[str, int], attrs: bytes) -> None:
    up.ask(nlmsg(RTM_GETROUTE, rtmsg(family, **fields) + attrs, NLM_F_DUMP), strict=strict)


def test_routes_of_addresses_in_the_order_of_the_tables(up: Twins) -> None:
    for text, plen in (("10.0.0.1", 24), ("10.0.0.9", 24), ("10.0.0.1", 8), ("192.168.0.0", 31), ("0.0.0.0", 0)):
        add_address(up, text, plen)
    for text, plen in (("2001:db8::1", 64), ("2001:db8::2", 48), ("fe80::1", 64), ("fc00::", 7), ("::2", 0)):
        add_address(up, text, plen, 1, nla(8, 0x02))
    answers = up.ask(nlmsg(RTM_GETROUTE, rtmsg(0), NLM_F_DUMP))

    assert len(messages(answers[0])) > 12


@pytest.mark.parametrize("family", [RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("fields", "attrs"),
    [
        ({}, b""),
        ({}, nla(RTA_TABLE, 254)),
        ({}, nla(RTA_TABLE, 253)),
        ({"dst": 32}, nla(RTA_DST, b"abcd")),
        ({"dst": 128}, nla(RTA_DST, bytes(16))),
        ({"dst": 9}, b""),
        ({}, nla(RTA_DST, b"abcd")),
        ({}, nla(RTA_DST, bytes(16))),
        ({"flags": 1}, b""),
        ({}, nla(RTA_OIF, 1)),
        ({}, nla(40, 1)),
    ],
)
def test_the_multicast_routers_have_no_route(
    up: Twins, family: int, strict: bool, fields: dict[str, int], attrs: bytes
) -> None:
    up.ask(nlmsg(RTM_GETROUTE, rtmsg(family, **fields) + attrs), strict=strict)
    up.ask(nlmsg(RTM_GETROUTE, bytes((family,))), strict=strict)


# --- single look-ups --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "flags", [0, RTM_F_FIB_MATCH, RTM_F_LOOKUP_TABLE, RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH, 1, 0x4000]
)
@pytest.mark.parametrize("oif", [None, 0, 1, 77])
def test_to_this_host(up: Twins, family: int, strict: bool, flags: int, oif: int | None) -> None:
    addr = packed(LOCAL[family])
    attrs = nla(RTA_DST, addr) + (b"" if oif is None else nla(RTA_OIF, oif))
    up.ask(nlmsg(RTM_GETROUTE, rtmsg(family, dst=8 * len(addr), flags=flags) + attrs), strict=strict)


DESTINATIONS = {
    AF_INET: ("127.0.0.1", "127.0.0.2", "127.255.255.255", "10.0.0.1", "10.0.0.2", "10.0.0.255", "10.9.9.9", "0.0.0.0",
              "255.255.255.255", "224.0.0.1", "224.1.2.3", "239.255.255.250", "8.8.8.8"),
    AF_INET6: ("::1", "::", "::2", "2001:db8::1", "2001:db8::2", "2001:db8::", "2001:db8:1::5", "fe80::1", "fe80::2",
               "ff02::1", "ff01::1", "ff0e::1", "fc00::1", "::ffff:10.0.0.1"),
}  # fmt: skip


def random_lookup(rng: Random) -> bytes:
    family = rng.choice(FAMILIES)
    bits = 32 if family == AF_INET else 128
    attrs = []
    if rng.random() < 0.95:
        attrs.append(nla(RTA_DST, packed(rng.choice(DESTINATIONS[family]))))
    if rng.random() < 0.3:
        attrs.append(nla(RTA_SRC, packed(rng.choice(DESTINATIONS[family]))))
    for attr, chance, values in (
        (RTA_OIF, 0.25, (1, 1, 0, 2, 77)), (RTA_IIF, 0.25, (1, 1, 0, 2, 77)), (RTA_MARK, 0.1, (0, 5)),
        (RTA_UID, 0.1, (0, 1000)), (RTA_IP_PROTO, 0.1, (b"\6", b"\x11", b"\1", b"\x3a", b"\2", b"\x63")),
        (RTA_SPORT, 0.1, (b"\0\x50", b"\0\0")), (RTA_DPORT, 0.1, (b"\0\x50",)), (RTA_TABLE, 0.05, (254,)),
        (RTA_FLOWLABEL, 0.05, (b"\0\0\0\5", b"\0\x10\0\0", b"ab")), (RTA_GATEWAY, 0.03, (b"\1\2\3\4",)),
        (32, 0.02, (1,)),
    ):  # fmt: skip
        if rng.random() < chance:
            attrs.append(nla(attr, rng.choice(list[bytes | int](values))))
    rng.shuffle(attrs)
    usual = rng.random() < 0.8
    head = rtmsg(
        family,
        dst=bits if usual else rng.choice((0, 8, bits)),
        src=rng.choice((0, bits)) if usual else 9,
        tos=0 if usual else rng.choice((0, 4, 0x1C, 0xFF)),
        table=0 if usual else rng.choice((0, 254)),
        flags=rng.choice((0, 0, 0, RTM_F_FIB_MATCH, RTM_F_LOOKUP_TABLE, 0x3000))
        if usual
        else rng.choice((0x400, 0x4000, 1)),
    )
    return head + b"".join(attrs)


@pytest.mark.parametrize("head", [rtmsg(AF_INET6), rtmsg(AF_INET6, dst=128), rtmsg(AF_INET6, src=128)])
@pytest.mark.parametrize("strict", [False, True])
def test_a_flow_label_is_looked_at_before_what_may_not_be_there(up: Twins, head: bytes, strict: bool) -> None:
    label = nla(RTA_FLOWLABEL, b"\xff\xff\xff\xff")
    for attrs in (b"", nla(RTA_SRC, packed("::1")), nla(RTA_DST, packed("::1")), nla(RTA_TABLE, 255), nla(RTA_OIF, 77)):
        up.ask(nlmsg(RTM_GETROUTE, head + label + attrs), strict=strict)


@pytest.mark.parametrize("seed", range(4))
def test_random_lookups(up: Twins, seed: int) -> None:
    for text, plen in (("10.0.0.1", 24), ("10.0.0.9", 24)):
        add_address(up, text, plen)
    for text, plen in (("2001:db8::1", 64), ("2001:db8::2", 48), ("fe80::1", 64)):
        add_address(up, text, plen, 1, nla(8, 0x02))
    rng = Random(seed)
    for _ in range(200):
        up.ask(nlmsg(RTM_GETROUTE, random_lookup(rng)), strict=rng.random() < 0.3)


def errno_of(answer: list[bytes]) -> int:
    (_, _, _, _, body), *_ = messages(answer[-1])
    return -int.from_bytes(body[:4], "little", signed=True)


USER, TABLE_OF_THE_USER, UNREACHABLE = 1000, 100, 7


@pytest.mark.needs_cap_sys_admin  # only root becomes somebody else
@pytest.mark.parametrize("family", FAMILIES)
def test_who_asks_is_told_and_decides_which_rules_apply(up: Twins, family: int) -> None:
    """That is who sends, whoever opened the socket."""
    there = packed({AF_INET: "10.9.9.9", AF_INET6: "2001:db8::9"}[family])
    head = rtmsg(family, dst=8 * len(there))
    of_the_user = nla(20, pack("=II", USER, USER)) + nla(15, TABLE_OF_THE_USER)
    up.ask(nlmsg(RTM_NEWRULE, rtmsg(family, table=0, kind=1) + of_the_user, NLM_F_ACK | 0x600))
    refused = rtmsg(family, table=TABLE_OF_THE_USER, proto=3, kind=UNREACHABLE)
    up.ask(nlmsg(RTM_NEWROUTE, refused, NLM_F_ACK | 0x600))
    local = packed(LOCAL[family])
    (told,) = up.ask(nlmsg(RTM_GETROUTE, rtmsg(family, dst=8 * len(local)) + nla(RTA_DST, local), 0), uid=USER)

    answers = [
        up.ask(nlmsg(RTM_GETROUTE, head + nla(RTA_DST, there) + attrs, 0), uid=uid)
        for attrs, uid in ((b"", None), (b"", USER), (nla(RTA_UID, USER), None), (nla(RTA_UID, 0), USER))
    ]

    assert answers[0] != answers[1]
    assert [errno_of(answer) for answer in answers] == [ENETUNREACH, EHOSTUNREACH, EHOSTUNREACH, ENETUNREACH]
    assert (nla(RTA_UID, USER) in told) == (family == AF_INET)


# --- where rules, other tables and settings come in, and a second device ----------------------------------------------

IFB = 2
TABLES = (254, 254, 255, 100, 101, 1000)
SETTINGS = {
    AF_INET: [
        *(f"net.ipv4.conf.{dev}.{name}" for dev in ("all", "lo", "ifb0") for name in ("forwarding", "rp_filter")),
        *(f"net.ipv4.conf.{dev}.{name}" for dev in ("all", "ifb0") for name in ("accept_local", "route_localnet")),
        "net.ipv4.conf.all.ignore_routes_with_linkdown", "net.ipv4.conf.ifb0.src_valid_mark",
    ],
    AF_INET6: [f"net.ipv6.conf.{dev}.forwarding" for dev in ("all", "lo", "ifb0")],
}  # fmt: skip


def of_some(rng: Random, *rows: tuple[float, int, Sequence[bytes | int | str]]) -> bytes:
    """Attributes: how likely, of which type, and what may be in them."""
    return b"".join(nla(attr, rng.choice(values)) for chance, attr, values in rows if rng.random() < chance)


def random_route(rng: Random, family: int) -> bytes:
    bits = 32 if family == AF_INET else 128
    there = [packed(text) for text in DESTINATIONS[family]]
    plen, kind = rng.choice((0, bits, bits // 2, 24, 8)), rng.choice((1, 1, 1, 2, 6, 7, 8, 9))
    attrs = of_some(
        rng, (plen > 0, RTA_DST, there), (kind < 3, RTA_OIF, (1, IFB, IFB)), (0.3, RTA_GATEWAY, there),
        (0.4, RTA_PRIORITY, (0, 1, 5, 300)), (0.2, RTA_PREFSRC, there), (1, RTA_TABLE, TABLES),
    )  # fmt: skip
    scope, flags = rng.choice((0, 0, 253, 254)), rng.choice((0, 0, 0, 4))
    head = rtmsg(family, dst=plen, table=0, proto=3, scope=scope, kind=kind, flags=flags)
    return nlmsg(
        rng.choice((RTM_NEWROUTE,) * 3 + (RTM_DELROUTE,)), head + attrs, NLM_F_ACK | rng.choice((0x600, 0xC00))
    )


def random_rule(rng: Random, family: int) -> bytes:
    bits = 32 if family == AF_INET else 128
    there = [packed(text) for text in DESTINATIONS[family]]
    to, of, action = rng.choice((0, 0, 8, bits)), rng.choice((0, 0, 24, bits)), rng.choice((1, 1, 1, 1, 6, 7, 8, 2, 3))
    attrs = of_some(
        rng, (to > 0, 1, there), (of > 0, 2, there), (0.3, 3, ("lo", "ifb0", "nosuch")), (0.2, 17, ("lo", "ifb0")),
        (0.8, 6, (1, 5, 100, 200, 32765, 40000)), (action == 2, 4, (5, 100, 200, 32766)), (0.2, 10, (1, 5)),
        (0.15, 14, (0, 7)), (0.1, 13, (0, 1)), (0.15, 20, (pack("=II", 0, 10),)), (0.1, 22, (b"\6", b"\x11")),
        (0.1, 24, (pack("=HH", 80, 100),)), (1, 15, TABLES),
    )  # fmt: skip
    head = rtmsg(family, dst=to, src=of, tos=rng.choice((0, 0, 0, 8)), kind=action, flags=rng.choice((0, 0, 0, 2)))
    return nlmsg(rng.choice((RTM_NEWRULE,) * 3 + (RTM_DELRULE,)), head + attrs, NLM_F_ACK | 0x600)


def random_query(rng: Random, family: int) -> bytes:
    bits = 32 if family == AF_INET else 128
    there = [packed(text) for text in DESTINATIONS[family]]
    attrs = of_some(
        rng, (0.9, RTA_DST, there), (0.3, RTA_SRC, there), (0.2, RTA_IIF, (1, IFB)), (0.2, RTA_OIF, (1, IFB)),
        (0.2, RTA_MARK, (1, 5, 7)), (0.2, RTA_UID, (0, 5, 77)), (0.2, RTA_IP_PROTO, (b"\6", b"\x11")),
        (0.2, RTA_SPORT, (b"\0\x50",)), (0.2, RTA_DPORT, (b"\0\x50", b"\0\x5a")),
    )  # fmt: skip
    flags = rng.choice((0, 0, RTM_F_FIB_MATCH))
    return nlmsg(RTM_GETROUTE, rtmsg(family, dst=bits, src=bits, tos=rng.choice((0, 0, 8)), flags=flags) + attrs)


@pytest.mark.needs_cap_sys_admin  # rules by uid are not for who is outside the user namespace
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", FAMILIES)
def test_random_lookups_among_rules_and_tables(up: Twins, family: int, seed: int) -> None:
    rng = Random(seed)
    new = nla(3, "ifb0") + nla(1, b"\2\0\0\0\0\1") + nla(18, nla(1, "ifb"))
    up.ask(nlmsg(RTM_NEWLINK, bytes(16) + new, NLM_F_ACK | 0x600))
    up.ask(nlmsg(RTM_NEWLINK, pack("=BxHiII", 0, 0, IFB, 0, IFF_MULTICAST)))
    up.ask(nlmsg(RTM_NEWLINK, pack("=BxHiII", 0, 0, IFB, IFF_UP | IFF_NOARP, IFF_UP | IFF_NOARP)))
    for text, plen in (("10.0.0.1", 24), ("10.1.0.1", 16)) if family == AF_INET else (("2001:db8::1", 64),):
        add_address(up, text, plen, IFB, nla(8, 0x82))
    for _ in range(300):
        chance = rng.random()
        if chance < 0.05:
            write_sysctl(up, rng.choice(SETTINGS[family]), rng.choice("01"))
        maker = random_route if chance < 0.2 else random_rule if chance < 0.3 else random_query
        up.ask(maker(rng, family), strict=rng.random() < 0.2)


def write_sysctl(twins: Twins, name: str, value: str) -> None:
    twins.net.sysctl(name, value)
    assert twins.netns is not None
    with RtnlKernel(twins.netns) as kernel:
        kernel.request(Sysctl(name, value))
    told = twins.told()
    assert told["model"] == told["kernel"]
