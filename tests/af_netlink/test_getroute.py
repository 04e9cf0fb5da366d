"""RTM_GETROUTE on both kernels, byte for byte: dumps, and where a packet would go."""

from random import Random

import pytest

from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    NLM_F_DUMP,
    RTA_DPORT,
    RTA_DST,
    RTA_FLOWLABEL,
    RTA_GATEWAY,
    RTA_IIF,
    RTA_IP_PROTO,
    RTA_MARK,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_SPORT,
    RTA_SRC,
    RTA_TABLE,
    RTA_UID,
    RTM_F_CLONED,
    RTM_F_FIB_MATCH,
    RTM_F_LOOKUP_TABLE,
    RTM_F_NOTIFY,
    RTM_F_PREFIX,
    RTM_GETROUTE,
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
