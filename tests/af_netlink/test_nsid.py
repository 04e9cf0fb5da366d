"""RTM_*NSID on both kernels, byte for byte, and NETLINK_LISTEN_ALL_NSID."""

import socket
from contextlib import ExitStack
from struct import Struct, pack

import pytest

from addrsvc.mirror.netns import create_anonymous, run_in
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.model.netns_ids import rtnl_net_newid
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import (
    IFF_UP,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_LISTEN_ALL_NSID,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_ECHO,
    RTM_DELNSID,
    RTM_GETNSID,
    RTM_NEWLINK,
    RTM_NEWNSID,
    RTNLGRP_LINK,
    SOL_NETLINK,
)
from tests.af_netlink.peer import Peer
from tests.af_netlink.twins import Twins, messages, nla, nlmsg, spell
from tests.waiting import until

NSID, PID, FD, TARGET, CURRENT = range(1, 6)
HEADER = bytes(4)
NOBODY, NO_FD = 4_000_000, 999_999
_S32 = Struct("=i")

pytestmark = pytest.mark.needs_netns


def ids(answers: list[bytes]) -> list[tuple[int, ...]]:
    """The numbers in the attributes of RTM_NEWNSID messages."""
    return [
        tuple(_S32.unpack_from(body, offset)[0] for offset in range(8, len(body), 8))
        for answer in answers
        for kind, *_, body in messages(answer)
        if kind == RTM_NEWNSID
    ]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "attrs",
    [
        b"",
        nla(NSID, 0),
        nla(NSID, -1),
        nla(NSID, 0) + nla(TARGET, 0),
        nla(PID, 0),
        nla(PID, NOBODY),
        nla(PID, NOBODY) + nla(FD, NO_FD) + nla(NSID, 0),
        nla(FD, NO_FD),
        nla(FD, NO_FD) + nla(CURRENT, 0),
        nla(CURRENT, 0),
        nla(NSID, b"ab"),
        nla(NSID, bytes(8)),
        nla(77),
        nla(0, 0),
        b"xyz",
    ],
)  # fmt: skip
def test_refusals(twins: Twins, attrs: bytes, strict: bool) -> None:
    for nlmsg_type in (RTM_NEWNSID, RTM_DELNSID, RTM_GETNSID):
        for header in (HEADER, bytes((10, 1, 2, 3)), HEADER[:1]):
            twins.ask(nlmsg(nlmsg_type, header + attrs), strict=strict)
    twins.ask(nlmsg(RTM_GETNSID, HEADER + attrs, NLM_F_DUMP), strict=strict)


def test_an_id_is_given_and_found_again(twins: Twins, peer: Peer) -> None:
    assert ids(twins.ask(nlmsg(RTM_GETNSID, HEADER + peer.pid))) == [(-1,)]
    twins.ask(nlmsg(RTM_NEWNSID, HEADER + nla(NSID, 5) + peer.pid))
    assert ids(twins.ask(nlmsg(RTM_GETNSID, HEADER + peer.pid))) == [(5,)]
    assert ids(twins.ask(nlmsg(RTM_GETNSID, HEADER + nla(NSID, 5)))) == [(5,)]
    assert ids(twins.ask(nlmsg(RTM_GETNSID, HEADER + nla(NSID, 5) + nla(TARGET, 5)))) == [(-1, 5)]
    twins.ask(nlmsg(RTM_NEWNSID, HEADER + nla(NSID, 6) + peer.pid))
    twins.ask(nlmsg(RTM_NEWNSID, HEADER + nla(NSID, 5) + nla(FD, NO_FD)))
    twins.ask(nlmsg(RTM_GETNSID, HEADER + nla(NSID, 5) + nla(TARGET, 6)))
    twins.ask(nlmsg(RTM_GETNSID, HEADER + nla(NSID, 5) + nla(CURRENT, 6)), strict=True)


@pytest.mark.parametrize("flags", [NLM_F_ACK, NLM_F_ACK | NLM_F_ECHO])
@pytest.mark.parametrize("nsid", [-1, -(1 << 31), 0, 3, (1 << 31) - 2])
def test_ids_are_told_of(twins: Twins, peer: Peer, nsid: int, flags: int) -> None:
    twins.ask(nlmsg(RTM_NEWNSID, HEADER + nla(NSID, nsid) + peer.pid, flags))
    assert ids(twins.ask(nlmsg(RTM_GETNSID, HEADER, NLM_F_DUMP))) == [(max(nsid, 0),)]


@pytest.mark.parametrize("strict", [False, True])
def test_dumps(twins: Twins, peer: Peer, strict: bool) -> None:
    twins.ask(nlmsg(RTM_NEWNSID, HEADER + nla(NSID, 7) + peer.pid))
    for attrs in (b"", nla(TARGET, 7), nla(TARGET, 8), nla(NSID, 7), nla(TARGET, 7) + nla(PID, 1), nla(77)):
        twins.ask(nlmsg(RTM_GETNSID, HEADER + attrs, NLM_F_DUMP), strict=strict)


def test_a_namespace_that_goes_takes_its_id_along(twins: Twins, peer: Peer) -> None:
    twins.ask(nlmsg(RTM_NEWNSID, HEADER + nla(NSID, -1) + peer.pid))
    peer.vanish()
    model = [(group, spell(data)) for group, data in twins.heard("model")]
    kernel = until(lambda: [(group, spell(data)) for group, data in twins.heard("kernel")])
    assert model == kernel != []
    assert ids(twins.ask(nlmsg(RTM_GETNSID, HEADER, NLM_F_DUMP))) == []


def test_a_dump_ends_with_its_first_datagram_whatever_is_left(twins: Twins, cap_sys_admin: None) -> None:
    kernel, linux = twins.port("kernel"), twins.net.linux
    twins.ask(nlmsg(RTM_GETNSID, HEADER, NLM_F_DUMP))  # by which both learn how much the reader can take
    with ExitStack() as others:
        for nsid in range(140):
            other = others.enter_context(create_anonymous())
            kernel.send(nlmsg(RTM_NEWNSID, HEADER + nla(NSID, nsid) + nla(FD, other.fileno())))
            rtnl_net_newid(twins.net.net, linux.add_net(f"net{nsid}").net, nsid, named_by=FD)
        linux.settle()
        kernel.heard()
        for side in ("kernel", "model"):
            twins.heard(side)
        for size in (1 << 12, 1 << 15):
            with twins.half_read(nlmsg(RTM_GETNSID, HEADER, NLM_F_DUMP), size) as rest:
                pass
            assert not rest
        assert len(ids(twins.ask(nlmsg(RTM_GETNSID, HEADER, NLM_F_DUMP)))) == 140


def link_up() -> bytes:
    return nlmsg(RTM_NEWLINK, pack("=BxHiII", 0, 0, 1, IFF_UP, IFF_UP))


def test_a_socket_that_listens_to_all_namespaces_is_told_where_news_come_from(twins: Twins, peer: Peer) -> None:
    assert twins.netns is not None
    kernel = run_in(twins.netns, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))
    model = twins.net.socket()
    kernel.bind((0, 0))
    model.bind()
    for sock in (kernel, model):
        sock.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK)
    kernel.settimeout(5)

    def flip(flags: int) -> None:
        peer.net.request(LinkMsg(ifi_index=1, ifi_flags=flags, ifi_change=IFF_UP))
        with RtnlKernel(peer.netns) as rtnl:
            rtnl.request(LinkMsg(ifi_index=1, ifi_flags=flags, ifi_change=IFF_UP))

    flip(IFF_UP)  # nobody here knows the other one
    twins.ask(nlmsg(RTM_NEWNSID, HEADER + nla(NSID, 4) + peer.pid))
    flip(0)
    twins.ask(link_up())
    heard = [(datagram.nsid, spell(datagram.data)) for datagram in model]
    assert [nsid for nsid, _ in heard] == [4, None]
    for nsid, lines in heard:
        data, control, _, _ = kernel.recvmsg(1 << 16, 64)
        assert ([_S32.unpack(value)[0] for _, kind, value in control if kind == NETLINK_LISTEN_ALL_NSID] or [None]) == [
            nsid
        ]
        assert spell(data) == lines
    kernel.close()
