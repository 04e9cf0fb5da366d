"""Requests that are served in a lane of their own have the bytes and the effects of those that are not."""

import re
from dataclasses import dataclass, field
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.af_netlink import sock as af_netlink
from addrsvc.model.structs import Effect
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_ADDRESS,
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
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
)

_REQUEST = Struct("=IHHII BBBBi HH16s HHI")
_PLACE = re.compile(r" at 0x\w+")
"""Where an object happens to lie."""
_ASKED = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
_LISTENED = 1 << RTNLGRP_IPV6_IFADDR - 1 | 1 << RTNLGRP_IPV6_ROUTE - 1

flags = st.sampled_from([
    IFA_F_NODAD | IFA_F_NOPREFIXROUTE, 0, IFA_F_NODAD, IFA_F_NOPREFIXROUTE, IFA_F_OPTIMISTIC,
    IFA_F_OPTIMISTIC | IFA_F_NODAD, IFA_F_MANAGETEMPADDR, IFA_F_MCAUTOJOIN,
    IFA_F_HOMEADDRESS | IFA_F_TEMPORARY | IFA_F_DEPRECATED, 0xFFFFFFFF,
])  # fmt: skip
addresses = st.sampled_from([
    *(bytes.fromhex("20010db8") + n.to_bytes(12) for n in range(6)), bytes(16), bytes(15) + b"\1",
    bytes.fromhex("ff05") + bytes(13) + b"\5", bytes.fromhex("fe80") + bytes(13) + b"\7",
])  # fmt: skip


def mostly(usual: int, *others: int) -> st.SearchStrategy[int]:
    """The usual number, and once in a while another one."""
    return st.integers(0, 15).flatmap(lambda chance: st.sampled_from(others) if chance == 15 else st.just(usual))


requests = st.builds(
    _REQUEST.pack,
    mostly(_REQUEST.size, 16, 51, 56),
    mostly(RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR),
    mostly(_ASKED, NLM_F_REQUEST | NLM_F_REPLACE, NLM_F_REQUEST, _ASKED | NLM_F_ACK, _ASKED | NLM_F_ECHO, 0),
    st.integers(0, 3),
    st.just(0),
    mostly(AF_INET6, AF_INET, 99),
    mostly(128, 64, 0, 129),
    mostly(0, IFA_F_NODAD),
    mostly(0, 253),
    mostly(1, 2, 0, -1),
    mostly(20, 19, 8),
    mostly(IFA_LOCAL, IFA_ADDRESS, 77),
    addresses,
    mostly(8, 4, 5),
    mostly(IFA_FLAGS, IFA_LOCAL, 77),
    flags,
)
"""Single messages: most are for the lane, some differ from those in one place or another."""
datagrams = st.builds(
    lambda messages, size: b"".join(messages)[:size], st.lists(requests, min_size=1, max_size=12), mostly(9999, 100, 51)
)


@dataclass
class Outcome:
    """Everything that can be seen of a machine that was asked."""

    answers: list[bytes] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    state: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """What else there is on the machine."""

    up: bool = True
    listens: bool = False
    keeps: bool = False
    traced: bool = False


settings = st.builds(Setting, up=st.booleans(), listens=st.booleans(), keeps=st.booleans(), traced=st.booleans())


def outcome(setting: Setting, sent: list[bytes]) -> Outcome:
    """What a fresh machine makes of these datagrams."""
    linux = Linux(effects=setting.keeps, trace=setting.traced)
    net, seen = linux.init_net, Outcome()
    net.link_set("lo", up=setting.up)
    sock, listener = net.socket(), net.socket()
    sock.bind()
    listener.bind(0, _LISTENED * setting.listens)
    for datagram in filter(None, sent):
        sock.send(datagram)
        linux.advance(1)
        seen.answers += [datagram.data for datagram in sock]
        seen.heard += [datagram.data for datagram in listener]
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
