"""RTM_*ADDRLABEL on both kernels, byte for byte."""

from ipaddress import IPv6Address
from random import Random
from struct import pack

import pytest

from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    RTM_DELADDRLABEL,
    RTM_GETADDRLABEL,
    RTM_NEWADDRLABEL,
)
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

ADDRESS, LABEL = 1, 2
PREFIXES = ("::", "::1", "::1.2.3.4", "::ffff:1.2.3.4", "2001:db8::", "2001:db8::1", "fc00::", "ff02::1")


def header(prefixlen: int = 128, ifindex: int = 0, *, family: int = AF_INET6, res: int = 0, flags: int = 0) -> bytes:
    return pack("=BBBBiI", family, res, prefixlen, flags, ifindex, 0)


def address(text: str) -> bytes:
    return nla(ADDRESS, IPv6Address(text).packed)


def dump(sides: Twins) -> list[bytes]:
    return sides.ask(nlmsg(RTM_GETADDRLABEL, header(0), NLM_F_DUMP))


def test_what_there_is_from_the_start(sides: Twins) -> None:
    assert len(messages(dump(sides)[0])) == 11
    for text in PREFIXES:
        sides.ask(nlmsg(RTM_GETADDRLABEL, header() + address(text)))


@pytest.mark.needs_netns
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("nlmsg_type", [RTM_NEWADDRLABEL, RTM_DELADDRLABEL, RTM_GETADDRLABEL])
def test_requests(twins: Twins, nlmsg_type: int, strict: bool) -> None:
    heads = [
        header(), header(129), header(64), header(0), header(ifindex=1), header(ifindex=77), header(ifindex=-1),
        header(family=AF_INET), header(res=1), header(flags=1), header()[:1], header()[:11],
        pack("=BBBBiI", AF_INET6, 0, 128, 0, 0, 5),
    ]  # fmt: skip
    bodies = [
        b"", address("2001:db8::1"), nla(LABEL, 5), address("2001:db8::1") + nla(LABEL, 5), nla(3, 1),
        address("2001:db8::1") + nla(LABEL, 0xFFFFFFFF), nla(ADDRESS, bytes(15)), nla(ADDRESS, bytes(17)),
        address("::1") + nla(LABEL, b"\1"), address("::ffff:1.2.3.4") + nla(LABEL, 7), b"\1\2\3",
    ]  # fmt: skip
    for head in heads:
        for body in bodies:
            twins.ask(nlmsg(nlmsg_type, head + body), strict=strict)
            if nlmsg_type == RTM_GETADDRLABEL:
                twins.ask(nlmsg(nlmsg_type, head + body, NLM_F_DUMP), strict=strict)
    dump(twins)


@pytest.mark.needs_netns
def test_anything(up: Twins) -> None:
    random = Random(1)
    for _ in range(300):
        prefixlen, ifindex = random.choice((0, 7, 64, 96, 97, 128)), random.choice((0, 0, 1))
        body = header(prefixlen, ifindex) + address(random.choice(PREFIXES)) + nla(LABEL, random.choice((1, 2, 50)))
        flags = NLM_F_ACK | random.choice((0, 0, NLM_F_REPLACE))
        up.ask(nlmsg(random.choice((RTM_NEWADDRLABEL, RTM_NEWADDRLABEL, RTM_DELADDRLABEL)), body, flags))
        up.ask(nlmsg(RTM_GETADDRLABEL, header(128, ifindex) + address(random.choice(PREFIXES))))
        dump(up)
