"""Requests that are served in a lane of their own have the bytes and the effects of those that are not."""

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from struct import Struct, pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.af_netlink import addr, rcv
from addrsvc.af_netlink import sock as af_netlink
from addrsvc.af_netlink.sock import NetlinkSock
from addrsvc.errors import KernelError
from addrsvc.model.structs import Effect
from addrsvc.netlink.messages import Message
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_ADDRESS,
    IFA_CACHEINFO,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_TEMPORARY,
    IFA_FLAGS,
    IFA_LOCAL,
    IFA_MAX,
    IFA_PROTO,
    IFA_RT_PRIORITY,
    INFINITY_LIFE_TIME,
    NETLINK_ADD_MEMBERSHIP,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    SO_RCVBUF,
    SOL_NETLINK,
    SOL_SOCKET,
)
from tests.fidelity.asks import add

_REQUEST = Struct("=IHHII BBBBi HH16s HHI")
_PLACE = re.compile(r" at 0x\w+")
"""Where an object happens to lie."""
_ASKED = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
_LISTENED = 1 << RTNLGRP_IPV6_IFADDR - 1 | 1 << RTNLGRP_IPV6_ROUTE - 1
_USUAL = (
    _REQUEST.size, RTM_NEWADDR, _ASKED, 7, 0, AF_INET6, 128, 0, 0, 1, 20, IFA_LOCAL, bytes(16), 8, IFA_FLAGS, 0,
)  # fmt: skip
_ADDRESS, _FLAGS = 12, 15
_ODD = (
    (0, 16), (0, 51), (0, 56), (1, RTM_DELADDR), (1, RTM_GETADDR), (2, NLM_F_REQUEST | NLM_F_REPLACE),
    (2, NLM_F_REQUEST), (2, _ASKED | NLM_F_ACK), (2, _ASKED | NLM_F_ACK), (2, _ASKED | NLM_F_ECHO), (2, 0), (3, 8),
    (4, 9), (5, AF_INET), (5, 99), (6, 64), (6, 0), (6, 129), (7, IFA_F_NODAD), (8, 253), (9, 2), (9, 0), (9, -1),
    (10, 19), (10, 8), (11, IFA_ADDRESS), (11, 77), (13, 4), (13, 5), (14, IFA_LOCAL), (14, 77),
)  # fmt: skip
"""In which member a message may differ from the usual ones, and how."""

_LIFETIMES = (
    (INFINITY_LIFE_TIME, INFINITY_LIFE_TIME),
    (INFINITY_LIFE_TIME, 9),
    (9, INFINITY_LIFE_TIME),
    (5, 9),
    (0, 9),
    (0, 0),
)
"""Preferred and valid."""

flags = st.sampled_from([
    IFA_F_NODAD | IFA_F_NOPREFIXROUTE, 0, IFA_F_NODAD, IFA_F_NOPREFIXROUTE, IFA_F_OPTIMISTIC,
    IFA_F_OPTIMISTIC | IFA_F_NODAD, IFA_F_MANAGETEMPADDR, IFA_F_MCAUTOJOIN,
    IFA_F_HOMEADDRESS | IFA_F_TEMPORARY | IFA_F_DEPRECATED, 0xFFFFFFFF,
])  # fmt: skip
addresses = st.sampled_from([
    *(bytes.fromhex("20010db8") + n.to_bytes(12) for n in range(6)), bytes(16), bytes(15) + b"\1",
    bytes.fromhex("ff05") + bytes(13) + b"\5", bytes.fromhex("fe80") + bytes(13) + b"\7",
])  # fmt: skip


def message(address: bytes, flags: int, *odd: tuple[int, int]) -> bytes:
    """A request that is one for the lane, but for what is odd."""
    members: list[int | bytes] = list(_USUAL)
    members[_ADDRESS], members[_FLAGS] = address, flags
    for place, value in odd:
        members[place] = value
    return _REQUEST.pack(*members)


def attribute(nla_type: int, payload: bytes) -> bytes:
    return (pack("=HH", 4 + len(payload), nla_type) + payload).ljust(4 + (len(payload) + 3 & ~3), b"\0")


def formed(attributes: list[bytes], nlmsg_flags: int, cut: int) -> bytes:
    """A request of these attributes, of which the last bytes may be missing."""
    body = pack("=BBBBi", AF_INET6, 128, IFA_F_NODAD, 0, 1) + b"".join(attributes)
    return pack("=IHHII", 16 + len(body) - cut, RTM_NEWADDR, nlmsg_flags, 7, 0) + body[: len(body) - cut]


cacheinfos = st.sampled_from(_LIFETIMES).map(lambda both: pack("=IIII", *both, 5, 6))
well_made = st.tuples(
    st.builds(attribute, st.just(IFA_LOCAL), addresses),
    st.builds(attribute, st.just(IFA_ADDRESS), addresses),
    st.builds(attribute, st.just(IFA_FLAGS), flags.map(partial(pack, "=I"))),
    st.builds(attribute, st.just(IFA_CACHEINFO), cacheinfos),
    st.builds(attribute, st.just(IFA_RT_PRIORITY), st.sampled_from([0, 7]).map(partial(pack, "=I"))),
    st.builds(attribute, st.just(IFA_PROTO), st.sampled_from([b"\0", b"\t"])),
)
"""One attribute of each kind that is looked at."""
some = st.builds(lambda order, count: list(order)[:count], well_made.flatmap(st.permutations), st.integers(2, 6))
ill_made = st.builds(attribute, st.sampled_from([0, *range(IFA_ADDRESS, IFA_MAX + 2)]), st.binary(max_size=20))
by_attributes = st.builds(
    formed,
    st.one_of(some, some, some, st.builds(lambda good, bad: [*good, bad], some, ill_made), st.lists(ill_made)),
    st.sampled_from([_ASKED, _ASKED | NLM_F_ACK, NLM_F_REQUEST | NLM_F_REPLACE]),
    st.sampled_from([0, 0, 0, 0, 0, 0, 1, 4]),
)
usual = st.builds(message, addresses, flags)
acknowledged = st.builds(message, addresses, flags, st.just((2, _ASKED | NLM_F_ACK)))
odd = st.builds(message, addresses, flags, st.sampled_from(_ODD))
datagrams = st.builds(
    lambda messages, size: b"".join(messages)[:size],
    st.lists(usual | acknowledged | odd, min_size=1, max_size=12),
    st.sampled_from([9999, 9999, 9999, 100, 51]),
)


@dataclass
class Outcome:
    """Everything that can be seen of a machine that was asked."""

    answers: list[bytes | str] = field(default_factory=list)
    heard: list[bytes | str] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    state: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """What else there is on the machine."""

    up: bool = True
    listens: bool = False
    hears_itself: bool = False
    keeps: bool = False
    traced: bool = False
    crowded: bool = False
    """There is no room for all that may be said."""
    nameless: bool = False
    """The listener has no port id."""


settings = st.builds(Setting, *[st.booleans()] * 7)


def read(sock: NetlinkSock) -> list[bytes | str]:
    """All that there is to read, and errors."""
    told: list[bytes | str] = []
    while sock.readable:
        try:
            told.append(sock.recv().data)
        except KernelError as err:
            told.append(err.name)
    return told


def outcome(setting: Setting, sent: list[bytes]) -> Outcome:
    """What a fresh machine makes of these datagrams."""
    linux = Linux(effects=setting.keeps, trace=setting.traced)
    net, seen = linux.init_net, Outcome()
    net.link_set("lo", up=setting.up)
    sock, listener = net.socket(), net.socket()
    sock.bind(0, _LISTENED * setting.hears_itself)
    if not setting.nameless:
        listener.bind(0, _LISTENED * setting.listens)
    elif setting.listens:
        listener.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV6_IFADDR)
    if setting.crowded:
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 0)
        listener.setsockopt(SOL_SOCKET, SO_RCVBUF, 0)
    for datagram in filter(None, sent):
        sock.send(datagram)
        linux.advance(1)
        seen.answers += read(sock)
        seen.heard += read(listener)
    seen.effects = linux.effects()
    seen.state = [repr(each) for each in net.dump()]
    seen.state += [_PLACE.sub("", repr(each)) for each in linux.trace.story()] if setting.traced else []
    return seen


@given(settings, st.lists(datagrams, min_size=1, max_size=4))
def test_who_is_served_in_a_lane_sees_no_difference(setting: Setting, sent: list[bytes]) -> None:
    in_lanes = outcome(setting, sent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(af_netlink, "LANES", {})
        assert outcome(setting, sent) == in_lanes


@given(st.lists(st.lists(by_attributes, min_size=1, max_size=4).map(b"".join), min_size=1, max_size=4))
def test_attributes_in_any_order_mean_the_same_in_a_lane(sent: list[bytes]) -> None:
    in_lanes = outcome(Setting(listens=True), sent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(af_netlink, "LANES", {})
        assert outcome(Setting(listens=True), sent) == in_lanes


# --- dumps ------------------------------------------------------------------------------------------------------------

wishes = st.builds(
    add,
    st.integers(1, 99).map("2001:db8::{}/128".format),
    flags=st.just(IFA_F_NODAD),
    proto=st.sampled_from([None, None, None, 9]),
    metric=st.sampled_from([None, None, None, 7]),
    valid=st.sampled_from([None, None, None, 600]),
)


def dumped(number: int, addresses: list[Message], more: list[Message], room: int) -> list[bytes]:
    """The datagrams of a dump to a reader with so much room, with more addresses added after the first of them."""
    linux = Linux()
    net = linux.init_net
    net.link_set("lo", up=True)
    sock = net.socket()
    sock.bind()
    for wish in (*(add(f"2001:db8:1::{place}/128", flags=IFA_F_NODAD) for place in range(number)), *addresses):
        with suppress(KernelError):
            net.request(wish)
    sock.send(_REQUEST.pack(*_USUAL[:1], RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, *_USUAL[3:]))
    told = [sock.recv(room).data]
    for wish in more:
        with suppress(KernelError):
            net.request(wish)
    while sock.queue:
        told.append(sock.recv(room).data)
    return told


@given(
    st.sampled_from([0, 0, 60, 120]), st.lists(wishes, max_size=20), st.lists(wishes, max_size=3),
    st.sampled_from([4096, 8192, 32768]),
)  # fmt: skip
def test_addresses_are_dumped_by_the_score_as_they_are_one_by_one(
    number: int, addresses: list[Message], more: list[Message], room: int
) -> None:
    by_the_score = dumped(number, addresses, more, room)
    getaddr = rcv.HANDLERS[RTM_GETADDR, AF_INET6]
    one_by_one = addr._dumpit(addr._IPV6, addr._inet6_addr_list, addr._one_inet6_ifaddr)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rcv.HANDLERS, (RTM_GETADDR, AF_INET6), replace(getaddr, dumpit=one_by_one))
        assert dumped(number, addresses, more, room) == by_the_score
