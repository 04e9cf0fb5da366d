"""Every type of request, for every family, with hardly anything in it, on both kernels, byte for byte."""

from collections.abc import Iterator
from itertools import product
from struct import pack

import pytest

from addrsvc.uapi import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    AF_PACKET,
    AF_UNSPEC,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTM_MAX,
    RTNL_FAMILY_IP6MR,
    RTNL_FAMILY_IPMR,
)
from tests.af_netlink.twins import Twins, messages, nlmsg

FOURS = range(16, RTM_MAX + 2, 4)
"""The first of four types about the same thing: new, delete, get, set.  The last four there are not."""
AF_PHONET, AF_MPLS, AF_CAN, AF_DECNET = 35, 28, 29, 12
_UNUSED = 3, 5, 9, 127, 130, 255
FAMILIES = (
    AF_UNSPEC, AF_INET, AF_INET6, AF_BRIDGE, AF_PACKET, AF_PHONET, AF_MPLS, AF_CAN, AF_DECNET, 1, 45,
    RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR, *_UNUSED,
)  # fmt: skip
LO = pack("=i", 1)


def bodies(family: int) -> Iterator[bytes]:
    """A family, and zeros as long as one header or another; and with lo's index where most have an index."""
    for length in (1, 4, 12, 16, 20):
        yield bytes([family]).ljust(length, b"\0")
    for length in (8, 20):
        yield (bytes([family, 0, 0, 0]) + LO).ljust(length, b"\0")


FLAGS = NLM_F_ACK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, NLM_F_ACK | NLM_F_DUMP


def requests(first: int) -> Iterator[tuple[bytes, bool]]:
    """Requests of four types, each with whether the socket is to check it strictly."""
    for nlmsg_type, strict, flags, family in product(range(first, first + 4), (False, True), FLAGS, FAMILIES):
        for body in bodies(family):
            yield nlmsg(nlmsg_type, body, flags), strict


@pytest.mark.needs_cap_sys_admin  # an administrator of the machine, not of a user namespace
@pytest.mark.parametrize("first", FOURS)
@pytest.mark.parametrize("state", ["twins", "up"])
def test_what_an_administrator_is_answered(state: str, first: int, request: pytest.FixtureRequest) -> None:
    twins: Twins = request.getfixturevalue(state)
    for data, strict in requests(first):
        twins.ask(data, strict=strict)


@pytest.mark.needs_cap_sys_admin  # an administrator of the machine, not of a user namespace
@pytest.mark.parametrize("first", FOURS)
def test_what_anybody_else_is_answered(first: int, twins: Twins) -> None:
    for data, strict in requests(first):
        twins.ask(data, strict=strict, admin=False)


@pytest.mark.parametrize("admin", [True, pytest.param(False, marks=pytest.mark.needs_cap_sys_admin)])
def test_a_header_alone_is_granted_whatever_it_asks(admin: bool, twins: Twins) -> None:
    for nlmsg_type, flags in product(range(RTM_MAX + 3), FLAGS):
        (answer,) = twins.ask(nlmsg(nlmsg_type, b"", flags), admin=admin)
        granted = nlmsg_type <= RTM_MAX
        assert (messages(answer)[0][4][:4] == bytes(4)) == granted
