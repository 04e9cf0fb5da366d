"""RTM_GETNETCONF on both kernels, byte for byte."""

import pytest

from addrsvc.uapi import AF_INET, AF_INET6, NLM_F_DUMP, RTM_GETNETCONF
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

IFINDEX, FORWARDING, BC_FORWARDING = 1, 2, 8
FAMILIES = (AF_INET, AF_INET6)


def header(family: int) -> bytes:
    return bytes((family, 0, 0, 0))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ifindex", [1, -1, -2, 0, 2, 0x7FFFFFFF])
@pytest.mark.parametrize("strict", [False, True])
def test_settings_are_told_of_a_device_of_all_and_of_the_default(
    up: Twins, family: int, ifindex: int, strict: bool
) -> None:
    up.ask(nlmsg(RTM_GETNETCONF, header(family) + nla(IFINDEX, ifindex)), strict=strict)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "attrs",
    [
        b"",
        nla(IFINDEX, b"ab"),
        nla(IFINDEX, bytes((1, 0, 0, 0, 9, 9))),
        nla(IFINDEX, 1) + nla(FORWARDING, 1),
        nla(IFINDEX, 1) + nla(FORWARDING, b""),
        nla(3, b"") + nla(IFINDEX, 1),
        nla(BC_FORWARDING, b"") + nla(IFINDEX, 1),
        nla(IFINDEX, 1) + nla(9) + nla(10),
        nla(10) + nla(IFINDEX, 1),
        nla(IFINDEX, 1) + b"\1\2\3",
    ],
)
def test_what_is_refused_of_a_single_request(up: Twins, family: int, strict: bool, attrs: bytes) -> None:
    up.ask(nlmsg(RTM_GETNETCONF, header(family) + attrs), strict=strict)


@pytest.mark.parametrize("family", [*FAMILIES, 0, 7, 28, 128, 129])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("rest", [b"", bytes(3), bytes(7), bytes(3) + nla(IFINDEX, 1)])
def test_dumps(up: Twins, family: int, strict: bool, rest: bytes) -> None:
    up.ask(nlmsg(RTM_GETNETCONF, bytes((family,)) + rest, NLM_F_DUMP), strict=strict)


def test_a_dump_of_all_families_tells_six(twins: Twins) -> None:
    answers = twins.ask(nlmsg(RTM_GETNETCONF, header(0), NLM_F_DUMP))

    assert [len(messages(data)) for data in answers] == [6, 1]
