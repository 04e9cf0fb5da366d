"""Requests about objects that the model has none of, on both kernels: what refuses them, and what they still find."""

from errno import EINVAL, ENETDOWN, ENODEV, ENOENT, EOPNOTSUPP
from random import Random
from struct import pack

import pytest

from addrsvc.netlink.codec import decode
from addrsvc.netlink.messages import TcaMsg, TcMsg
from addrsvc.uapi import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    NLM_F_ROOT,
    RTM_DELACTION,
    RTM_DELMDB,
    RTM_DELNEXTHOP,
    RTM_DELQDISC,
    RTM_GETACTION,
    RTM_GETCHAIN,
    RTM_GETDCB,
    RTM_GETMDB,
    RTM_GETNEXTHOP,
    RTM_GETNEXTHOPBUCKET,
    RTM_GETQDISC,
    RTM_GETTCLASS,
    RTM_GETTFILTER,
    RTM_GETTUNNEL,
    RTM_NEWACTION,
    RTM_NEWNEXTHOP,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    RTM_NEWTUNNEL,
)
from tests.af_netlink.twins import Twins, messages, nla, nlmsg
from tests.fidelity.left_out import why_not
from tests.fidelity.requests.objects import OBJECTS
from tests.fidelity.steps import Send

LO, NOWHERE = 1, 77
TC_H_ROOT, TC_H_INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
KIND = 1
BY_ROOT = pytest.mark.parametrize(
    "sides", ["model", pytest.param("both", marks=pytest.mark.needs_cap_sys_admin)], indirect=True
)
"""Actions are the machine's administrator's to change, not a user namespace's."""


def tcmsg(ifindex: int = LO, parent: int = 0, *, handle: int = 0, info: int = 0) -> bytes:
    return pack("=B3xiIII", 0, ifindex, handle, parent, info)


def tcamsg(*actions: bytes) -> bytes:
    return bytes(4) + nla(1, b"".join(nla(number, action) for number, action in enumerate(actions, 1)))


def nhmsg(family: int = 2, *, scope: int = 0, flags: int = 0) -> bytes:
    return pack("=BBBBI", family, scope, 0, 0, flags)


def nhgrp(*ids: int) -> bytes:
    return b"".join(pack("=IBBH", each, 0, 0, 0) for each in ids)


def port(ifindex: int) -> bytes:
    return pack("=B3xi", 7, ifindex)


def refusal(answer: list[bytes]) -> tuple[int, str]:
    """The errno of an acknowledgement, and the words that come with it."""
    (_, _, _, _, body), *_ = messages(answer[-1])
    words = body[24:].split(b"\0")[0].decode() if len(body) > 20 and body[22:24] == b"\1\0" else ""
    return -int.from_bytes(body[:4], "little", signed=True), words


REFUSALS = [
    (RTM_NEWQDISC, 0, tcmsg(NOWHERE), ENODEV, ""),
    (RTM_NEWQDISC, 0, tcmsg(parent=TC_H_ROOT), ENOENT, "Qdisc not found. To create specify NLM_F_CREATE flag"),
    (RTM_NEWQDISC, NLM_F_CREATE, tcmsg(parent=TC_H_ROOT), ENOENT, "Specified qdisc kind is unknown"),
    (RTM_NEWQDISC, 0, tcmsg(parent=0x10000), ENOENT, "Failed to find specified qdisc"),
    (RTM_NEWQDISC, 0, tcmsg(), EINVAL, "Handle cannot be zero"),
    (RTM_NEWQDISC, 0, tcmsg(handle=0x10000), ENOENT, "Specified qdisc not found"),
    (RTM_NEWQDISC, 0, tcmsg(parent=TC_H_ROOT, handle=0x10001), EINVAL, "Invalid minor handle"),
    (RTM_DELQDISC, 0, tcmsg(parent=TC_H_ROOT), ENOENT, "Cannot delete qdisc with handle of zero"),
    (RTM_DELQDISC, 0, tcmsg(parent=TC_H_INGRESS), ENOENT, "Cannot find specified qdisc on specified device"),
    (RTM_GETQDISC, 0, tcmsg(parent=TC_H_ROOT) + nla(KIND, "htb"), EINVAL,
     "Invalid qdisc name: must match existing qdisc"),
    (RTM_GETTCLASS, 0, tcmsg(), ENOENT, ""),
    (RTM_NEWTFILTER, NLM_F_CREATE, tcmsg(), EINVAL, "Qdisc not classful"),
    (RTM_NEWTFILTER, 0, tcmsg(), ENOENT, "Invalid filter command with priority of zero"),
    (RTM_GETCHAIN, 0, tcmsg(-1), EINVAL, "Block of given index was not found"),
    (RTM_NEWACTION, 0, bytes(4), EINVAL, "Netlink action attributes missing"),
    (RTM_NEWACTION, 0, tcamsg(nla(KIND, "nosuch")), ENOENT, "Failed to load TC action module"),
    (RTM_NEWACTION, 0, tcamsg(nla(KIND, "mirred")), EINVAL, "act_mirred: Mirred requires attributes to be passed"),
    (RTM_GETACTION, 0, tcamsg(nla(KIND, "mirred") + nla(3, 5)), ENOENT, "TC action with specified index not found"),
    (RTM_DELACTION, NLM_F_ROOT, tcamsg(nla(KIND, "nosuch")), EINVAL, "Cannot flush unknown TC action"),
    (RTM_NEWNEXTHOP, 0, nhmsg(scope=1), EINVAL, "Invalid values in ancillary header"),
    (RTM_NEWNEXTHOP, 0, nhmsg(0), EINVAL, "Invalid address family"),
    (RTM_NEWNEXTHOP, 0, nhmsg(), EINVAL, "Device attribute required for non-blackhole and non-fdb nexthops"),
    (RTM_NEWNEXTHOP, 0, nhmsg() + nla(5, NOWHERE), EINVAL, "Invalid device index"),
    (RTM_NEWNEXTHOP, NLM_F_REPLACE, nhmsg() + nla(5, NOWHERE), EINVAL, "Replace requires nexthop id"),
    (RTM_NEWNEXTHOP, 0, nhmsg(flags=4) + nla(5, LO), EINVAL,
     "ONLINK flag can not be set for nexthop without a gateway"),
    (RTM_NEWNEXTHOP, 0, nhmsg(0) + nla(2, nhgrp(1, 1)), EINVAL, "Nexthop id can not be used twice in a group"),
    (RTM_NEWNEXTHOP, 0, nhmsg(0) + nla(2, nhgrp(1, 2)), EINVAL, "Invalid nexthop id"),
    (RTM_NEWNEXTHOP, 0, nhmsg(0) + nla(2, nhgrp(1)) + nla(5, LO), EINVAL,
     "No other attributes can be set in nexthop groups"),
    (RTM_NEWNEXTHOP, 0, nhmsg(0) + nla(2, nhgrp(1)[:7]), EINVAL, "Invalid length for nexthop group attribute"),
    (RTM_NEWNEXTHOP, 0, nhmsg(0) + nla(2, pack("=IBBH", 1, 0, 0, 1)), EINVAL,
     "Reserved field in nexthop_grp must be 0"),
    (RTM_NEWNEXTHOP, 0, nhmsg(0) + nla(2, pack("=IBBH", 1, 255, 255, 0)), EINVAL, "Invalid value for weight"),
    (RTM_NEWNEXTHOP, 0, nhmsg() + nla(5, LO) + nla(16, 1), EINVAL,
     "Cannot enable nexthop hardware statistics for non-group nexthops"),
    (RTM_NEWNEXTHOP, 0, nhmsg(0) + nla(2, nhgrp(1)) + nla(3, b"\1\0") + nla(0x800C, nla(1, b"\0\0")), EINVAL,
     "Number of buckets needs to be non-0"),
    (RTM_GETNEXTHOP, 0, nhmsg(0) + nla(1, 5), ENOENT, ""),
    (RTM_DELNEXTHOP, 0, nhmsg(0), EINVAL, "Nexthop id is missing"),
    (RTM_DELNEXTHOP, 0, nhmsg(0) + nla(1, 0), EINVAL, "Invalid nexthop id"),
    (RTM_GETNEXTHOP, 0, nhmsg(0, scope=1) + nla(1, 5), EINVAL, "Invalid values in header"),
    (RTM_GETNEXTHOPBUCKET, 0, nhmsg(0) + nla(1, 5), EINVAL, "Bucket information is missing"),
    (RTM_GETDCB, 0, bytes((0, 1, 0, 0)) + nla(1, "lo"), EOPNOTSUPP, ""),
    (RTM_GETDCB, 0, bytes((0, 1, 0, 0)) + nla(1, "nosuch"), ENODEV, ""),
    (RTM_DELMDB, 0, port(LO), EINVAL, "Missing MDBA_SET_ENTRY attribute"),
    (RTM_GETMDB, 0, port(NOWHERE), ENODEV, "Device doesn't exist"),
    (RTM_NEWTUNNEL, 0, pack("=BBHI", 7, 0, 0, LO), EINVAL, "vxlan: The device is not a vxlan device"),
]  # fmt: skip


@BY_ROOT
@pytest.mark.parametrize(("nlmsg_type", "flags", "body", "errno", "words"), REFUSALS)
def test_refusals(sides: Twins, nlmsg_type: int, flags: int, body: bytes, errno: int, words: str) -> None:
    assert refusal(sides.ask(nlmsg(nlmsg_type, body, NLM_F_ACK | flags))) == (errno, words)


@pytest.mark.needs_netns
def test_a_next_hop_needs_a_device_that_is_up(twins: Twins) -> None:
    answer = twins.ask(nlmsg(RTM_NEWNEXTHOP, nhmsg() + nla(5, LO)))
    assert refusal(answer) == (ENETDOWN, "Nexthop device is not up")


def test_a_discipline_is_found_at_the_root_once_the_device_has_been_up(sides: Twins) -> None:
    (dumped, done) = sides.ask(nlmsg(RTM_GETQDISC, tcmsg(0), NLM_F_DUMP))
    found = decode(dumped)
    assert isinstance(found, TcMsg)
    assert (found.tcm_ifindex, found.tcm_parent, found.kind) == (LO, TC_H_ROOT, "noqueue")
    assert messages(done)[0][0] == 3

    (answer,) = sides.ask(nlmsg(RTM_GETQDISC, tcmsg(parent=TC_H_ROOT)))
    assert refusal([answer]) == (0, "")


@pytest.mark.parametrize("nlmsg_type", [RTM_GETTCLASS, RTM_GETTFILTER, RTM_GETCHAIN, RTM_GETACTION, RTM_GETNEXTHOP,
                                        RTM_GETNEXTHOPBUCKET, RTM_GETTUNNEL])  # fmt: skip
def test_dumps_find_nothing(sides: Twins, nlmsg_type: int) -> None:
    answer = sides.ask(
        nlmsg(nlmsg_type, b"\7".ljust(20, b"\0") if nlmsg_type == RTM_GETTUNNEL else bytes(8), NLM_F_DUMP)
    )
    assert [kind for data in answer for kind, *_ in messages(data)] == [3]


def test_what_is_not_modelled_is_refused_in_words_of_its_own() -> None:
    mirred = nla(1, "mirred") + nla(2, nla(2, bytes(28)))
    with Twins(None) as alone:
        answer = alone.ask(nlmsg(RTM_NEWACTION, tcamsg(mirred), 0x600 | NLM_F_ACK))
    assert refusal(answer) == (EOPNOTSUPP, "Actions are not modelled")


@BY_ROOT
def test_what_is_said_of_the_request_is_told_with_the_action(sides: Twins) -> None:
    sides.ask(nlmsg(RTM_NEWACTION, tcamsg()))
    (answer, ack) = sides.ask(nlmsg(RTM_NEWACTION, tcamsg() + b"???", NLM_F_ACK | 8))
    told = decode(answer)
    assert isinstance(told, TcaMsg)
    assert (told.tab, told.ext_warn_msg) == (b"", "bytes leftover after parsing attributes")
    assert refusal([ack]) == (0, "bytes leftover after parsing attributes")


@pytest.mark.needs_cap_sys_admin  # actions are the machine's administrator's to change
@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("state", ["twins", "up"])
def test_random_requests(kind: str, state: str, request: pytest.FixtureRequest) -> None:
    twins: Twins = request.getfixturevalue(state)
    _, maker = OBJECTS[kind]
    rng = Random(kind)
    for _ in range(400):
        data = bytes(maker(rng).but(seq=1, pid=0))
        if why_not(Send(data)) is None:
            twins.ask(data, strict=rng.random() < 0.2)
