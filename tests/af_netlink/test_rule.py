"""RTM_*RULE on both kernels, byte for byte."""

from random import Random
from struct import pack

import pytest

from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    FRA_DPORT_RANGE,
    FRA_DSCP,
    FRA_DSCP_MASK,
    FRA_DST,
    FRA_FLOW,
    FRA_FLOWLABEL,
    FRA_FLOWLABEL_MASK,
    FRA_FWMARK,
    FRA_FWMASK,
    FRA_GOTO,
    FRA_IIFNAME,
    FRA_IP_PROTO,
    FRA_L3MDEV,
    FRA_OIFNAME,
    FRA_PRIORITY,
    FRA_PROTOCOL,
    FRA_SPORT_MASK,
    FRA_SPORT_RANGE,
    FRA_SRC,
    FRA_SUPPRESS_IFGROUP,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    FRA_TUN_ID,
    FRA_UID_RANGE,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTM_DELRULE,
    RTM_GETRULE,
    RTM_NEWRULE,
    RTNL_FAMILY_IP6MR,
    RTNL_FAMILY_IPMR,
)
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

FAMILIES = (AF_INET, RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR, AF_INET6)


def header(
    family: int, *, table: int = 0, action: int = 1, tos: int = 0, flags: int = 0, dst: int = 0, src: int = 0
) -> bytes:
    return pack("=BBBBBBBBI", family, dst, src, tos, table, 0, 0, action, flags)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("family", [0, *FAMILIES, 7, 17, 28, 200, 255])
def test_a_fresh_namespace_has_seven_rules(twins: Twins, family: int, strict: bool) -> None:
    twins.ask(nlmsg(RTM_GETRULE, header(family, action=0), NLM_F_DUMP), strict=strict)


@pytest.mark.parametrize(
    "body",
    [b"\0", bytes(11), bytes(12) + nla(FRA_PRIORITY, 1), header(0, table=1), header(0, flags=1), header(2, tos=4)],
)
def test_what_strict_dumps_refuse(twins: Twins, body: bytes) -> None:
    twins.ask(nlmsg(RTM_GETRULE, body, NLM_F_DUMP), strict=True)
    twins.ask(nlmsg(RTM_GETRULE, body, NLM_F_DUMP))


@pytest.mark.parametrize("kind", [RTM_NEWRULE, RTM_DELRULE])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rule_has_a_whole_header(twins: Twins, kind: int, family: int) -> None:
    (answer,) = twins.ask(nlmsg(kind, header(family)[:11]))
    assert b"Invalid msg length" in answer


def test_rules_stand_by_priority_and_a_new_one_just_before_the_second(twins: Twins) -> None:
    for table in (100, 101):
        twins.ask(nlmsg(RTM_NEWRULE, header(AF_INET, table=table)))
    twins.ask(nlmsg(RTM_NEWRULE, header(AF_INET, table=102) + nla(FRA_PRIORITY, 32766)))
    answers = twins.ask(nlmsg(RTM_GETRULE, header(AF_INET, action=0), NLM_F_DUMP))

    assert [body[4] for *_, body in messages(answers[0])[:-1]] == [255, 101, 100, 254, 102, 253]


def test_a_goto_finds_its_target_when_that_comes_and_loses_it_when_it_goes(twins: Twins) -> None:
    twins.ask(nlmsg(RTM_NEWRULE, header(AF_INET, action=2) + nla(FRA_GOTO, 70) + nla(FRA_PRIORITY, 50)))
    twins.ask(nlmsg(RTM_NEWRULE, header(AF_INET, table=5) + nla(FRA_PRIORITY, 70)))
    twins.ask(nlmsg(RTM_NEWRULE, header(AF_INET, table=6) + nla(FRA_PRIORITY, 70)))
    for table in (5, 6):
        twins.ask(nlmsg(RTM_GETRULE, header(AF_INET, action=0), NLM_F_DUMP))
        twins.ask(nlmsg(RTM_DELRULE, header(AF_INET, table=table)))
    twins.ask(nlmsg(RTM_GETRULE, header(AF_INET, action=0), NLM_F_DUMP))


def test_a_rule_that_names_a_device_is_detached_until_there_is_one(twins: Twins) -> None:
    twins.ask(nlmsg(RTM_NEWRULE, header(AF_INET6, table=5) + nla(FRA_IIFNAME, "lo7") + nla(FRA_OIFNAME, "lo")))
    for name in (b"lo7\0", b"lo\0"):
        twins.ask(nlmsg(16, pack("=BxHiII", 0, 0, 1, 0, 0) + nla(3, name)))
        twins.ask(nlmsg(RTM_GETRULE, header(AF_INET6, action=0), NLM_F_DUMP))


ATTRS = {
    FRA_DST: (b"\x0a\0\0\1", bytes(16), b"\x20\x01" + bytes(14), b"abc"),
    FRA_SRC: (b"\x0a\0\0\1", bytes(16), b"\x20\x01" + bytes(14)),
    FRA_IIFNAME: ("lo", "lo", "nope", "", b"lo", "sixteen-letters-"),
    FRA_OIFNAME: ("lo", "nope", b""),
    FRA_GOTO: (5, 32766, 40000, 0),
    FRA_PRIORITY: (0, 1, 7, 7, 32766, 32767, 40000, 0xFFFFFFFF, b"ab"),
    FRA_FWMARK: (0, 5, 0xFFFFFFFF),
    FRA_FWMASK: (0, 7),
    FRA_FLOW: (0, 9),
    FRA_TUN_ID: (bytes(8), bytes(7) + b"\7", b"abc"),
    FRA_SUPPRESS_IFGROUP: (0, 1, 0xFFFFFFFF),
    FRA_SUPPRESS_PREFIXLEN: (0, 24, 0xFFFFFFFF),
    FRA_TABLE: (0, 9, 254, 1000),
    FRA_L3MDEV: (b"\0", b"\1", b"\2"),
    FRA_UID_RANGE: (pack("=II", 0, 5), pack("=II", 5, 5), pack("=II", 6, 5), pack("=II", 1, 0xFFFFFFFF), b"1234"),
    FRA_PROTOCOL: (b"\0", b"\4"),
    FRA_IP_PROTO: (b"\0", b"\x11"),
    FRA_SPORT_RANGE: (pack("=HH", 5, 5), pack("=HH", 5, 9), pack("=HH", 0, 9), pack("=HH", 9, 5), b"ab"),
    FRA_DPORT_RANGE: (pack("=HH", 5, 5), pack("=HH", 5, 0xFFFF)),
    FRA_DSCP: (b"\0", b"\x0a", b"\x40", b""),
    FRA_DSCP_MASK: (b"\x0e", b"\x01", b"\x3f", b"\x40"),
    FRA_FLOWLABEL: (pack(">I", 5), pack(">I", 0x100000), b"ab"),
    FRA_FLOWLABEL_MASK: (pack(">I", 7), pack(">I", 2), pack(">I", 0x1FFFFF)),
    FRA_SPORT_MASK: (pack("=H", 0xFF), pack("=H", 2)),
    5: (b"", b"abcd"),
    31: (b"abcd",),
}  # fmt: skip


def random_rule(rng: Random) -> bytes:
    usual = rng.random() < 0.7
    attrs = b"".join(
        nla(attr | rng.choice((0,) * 19 + (0x8000,)), rng.choice(ATTRS[attr]))
        for attr in rng.sample(list(ATTRS), rng.choice((0, 1, 1, 2, 2, 3, 5)))
    )
    if rng.random() < 0.03:
        attrs += bytes(rng.randrange(1, 7))
    head = header(
        rng.choice((AF_INET, AF_INET, AF_INET6, AF_INET6, *FAMILIES, 7)),
        table=rng.choice((0, 9, 9, 100, 254, 255)),
        action=1 if usual else rng.randrange(10),
        tos=0 if usual else rng.choice((0, 4, 8, 0x20, 3, 0xE0)),
        flags=0 if usual else rng.choice((0, 1, 2, 0x10000, 0xFFFFFFFF)),
        dst=0 if usual else rng.choice((0, 8, 32, 33, 64, 129)),
        src=0 if usual else rng.choice((0, 8, 128)),
    )
    return head + attrs


@pytest.mark.needs_cap_sys_admin  # user ids that a user namespace does not have
@pytest.mark.parametrize("seed", range(4))
def test_random_rules(up: Twins, seed: int) -> None:
    """Added and deleted, well- and ill-formed, with what is told of it and what there is in the end."""
    rng = Random(seed)
    for _ in range(150):
        flags = NLM_F_ACK | rng.choice((0, 0, NLM_F_EXCL, 0x400, 0x600, 8))
        kind = rng.choice((RTM_NEWRULE, RTM_NEWRULE, RTM_DELRULE))
        if kind == RTM_DELRULE:
            flags = NLM_F_ACK
        up.ask(nlmsg(kind, random_rule(rng), flags), strict=rng.random() < 0.1)
    up.ask(nlmsg(RTM_GETRULE, header(0, action=0), NLM_F_DUMP))
