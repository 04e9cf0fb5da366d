"""RTM_*STATS on both kernels, byte for byte; and what counts in hardware, which only the model has."""

from errno import EBUSY
from struct import Struct, unpack_from

import pytest

from addrsvc import Linux
from addrsvc.model.notifier import NOTIFY_DONE, NOTIFY_OK, notifier_from_errno
from addrsvc.model.structs import NetdevNotifierInfo, NetdevNotifierOffloadXstatsInfo, RtnlHwStats64
from addrsvc.uapi import (
    NETDEV_OFFLOAD_XSTATS_DISABLE,
    NETDEV_OFFLOAD_XSTATS_ENABLE,
    NETDEV_OFFLOAD_XSTATS_REPORT_DELTA,
    NETDEV_OFFLOAD_XSTATS_REPORT_USED,
    NLM_F_DUMP,
    RTM_GETSTATS,
    RTM_NEWSTATS,
    RTM_SETSTATS,
)
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

NESTED = 0x8000
FILTERS, L3_STATS = 1, 2
LINK_64, OFFLOAD, AF_SPEC, EVERYTHING = 1, 8, 16, 31
_IF_STATS_MSG = Struct("=BBHII")


def if_stats_msg(ifindex: int = 1, mask: int = LINK_64, *, family: int = 0, pad1: int = 0, pad2: int = 0) -> bytes:
    return _IF_STATS_MSG.pack(family, pad1, pad2, ifindex & 0xFFFFFFFF, mask)


def filters(*pairs: tuple[int, int]) -> bytes:
    return nla(FILTERS | NESTED, b"".join(nla(attr, mask) for attr, mask in pairs))


HEADERS = [
    *[if_stats_msg(mask=1 << bit) for bit in range(7)],
    *[if_stats_msg(mask=mask) for mask in (0, EVERYTHING, 0xFFFFFFFF)],
    *[if_stats_msg(ifindex) for ifindex in (0, -1, 77)],
    *[if_stats_msg(ifindex, 0) for ifindex in (0, 1, 77)],
    if_stats_msg(0, family=2), if_stats_msg(0, pad1=1), if_stats_msg(0, pad2=1), if_stats_msg(0, 64),
    if_stats_msg(mask=0, family=2), if_stats_msg()[:11], b"\0",
]  # fmt: skip
ATTRS = [
    filters((4, 2)), filters((4, 3)), filters((4, 15)), filters((4, 4)), filters((4, 8)), filters((4, 0)), filters(),
    filters((1, 2)), filters((5, 2)), filters((6, 2)), filters((0, 2)), filters((4, 16)), filters((4, 2), (4, 4)),
    nla(FILTERS, nla(4, 2)), nla(FILTERS), nla(L3_STATS, b"\1"), nla(L3_STATS, 1), nla(3, 1), nla(0, 1), b"\1\2\3",
    nla(FILTERS | NESTED, nla(4, b"\2")), nla(FILTERS | NESTED, b"\1\2\3"),
]  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("state", ["twins", "up"])
@pytest.mark.needs_netns
def test_headers(request: pytest.FixtureRequest, state: str, strict: bool) -> None:
    sides: Twins = request.getfixturevalue(state)
    for header in HEADERS:
        for nlmsg_type, flags in ((RTM_GETSTATS, 4), (RTM_GETSTATS, NLM_F_DUMP), (RTM_SETSTATS, 4)):
            sides.ask(nlmsg(nlmsg_type, header, flags), strict=strict)


@pytest.mark.parametrize("mask", [LINK_64, OFFLOAD, OFFLOAD | AF_SPEC, EVERYTHING])
def test_filters(sides: Twins, mask: int) -> None:
    for attrs in ATTRS:
        sides.ask(nlmsg(RTM_GETSTATS, if_stats_msg(1, mask) + attrs))
        sides.ask(nlmsg(RTM_GETSTATS, if_stats_msg(0, mask) + attrs, NLM_F_DUMP))


def test_counting_in_hardware_is_told_of_once(sides: Twins) -> None:
    for wish in (1, 1, 2, 0, 0, 1):
        sides.ask(nlmsg(RTM_SETSTATS, if_stats_msg(1, 0) + nla(L3_STATS, bytes((wish,)))))
        sides.ask(nlmsg(RTM_GETSTATS, if_stats_msg(1, EVERYTHING)))
        sides.ask(nlmsg(RTM_GETSTATS, if_stats_msg(1, OFFLOAD) + filters((4, 4))))
    for attrs in ATTRS:
        sides.ask(nlmsg(RTM_SETSTATS, if_stats_msg(1, 0) + attrs))
        sides.ask(nlmsg(RTM_GETSTATS, if_stats_msg(0, OFFLOAD) + attrs, NLM_F_DUMP))


# --- the model alone: a subscriber that counts ------------------------------------------------------------------------


class Hardware:
    """Counts one packet of a hundred bytes whenever it is asked, if it wants to."""

    def __init__(self, linux: Linux, refusal: int = 0) -> None:
        self.heard: list[int] = []
        self.refusal = refusal
        linux.register_netdevice_notifier(self, name="hardware")

    def __call__(self, event: int, info: object) -> int:
        assert isinstance(info, NetdevNotifierInfo)
        if not isinstance(info, NetdevNotifierOffloadXstatsInfo):
            return NOTIFY_DONE
        self.heard.append(event)
        if event == NETDEV_OFFLOAD_XSTATS_REPORT_DELTA:
            info.report_delta = RtnlHwStats64(rx_packets=1, rx_bytes=100)
        info.used = True
        return notifier_from_errno(-self.refusal) if self.refusal else NOTIFY_OK


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.link_add("eth0")
    return linux


def body(linux: Linux, nlmsg_type: int, request: bytes) -> tuple[int, bytes]:
    """The type and the payload of the first message that answers."""
    socket = linux.init_net.socket()
    socket.send(nlmsg(nlmsg_type, request))
    nlmsg_type, _, _, _, payload = messages(next(iter(socket)).data)[0]
    socket.close()
    return nlmsg_type, payload


def test_hardware_is_asked(linux: Linux) -> None:
    ifindex = linux.init_net.ifindex("eth0")
    hardware = Hardware(linux)
    body(linux, RTM_SETSTATS, if_stats_msg(ifindex, 0) + nla(L3_STATS, b"\1"))
    for packets in (1, 2):
        nlmsg_type, payload = body(linux, RTM_GETSTATS, if_stats_msg(ifindex, OFFLOAD))
        assert nlmsg_type == RTM_NEWSTATS
        assert payload[12:] == bytes.fromhex(
            "68000400 18000280 14000380 0500010001000000 0500020001000000 4c000300"
        ) + (Struct("=9Q").pack(packets, 0, packets * 100, 0, 0, 0, 0, 0, 0))
    linux.init_net.link_del("eth0")
    assert hardware.heard == [
        NETDEV_OFFLOAD_XSTATS_REPORT_USED,
        *[NETDEV_OFFLOAD_XSTATS_REPORT_USED, NETDEV_OFFLOAD_XSTATS_REPORT_DELTA] * 2,
        NETDEV_OFFLOAD_XSTATS_DISABLE,
    ]


def test_hardware_may_refuse_to_tell(linux: Linux) -> None:
    ifindex = linux.init_net.ifindex("eth0")
    hardware = Hardware(linux)
    body(linux, RTM_SETSTATS, if_stats_msg(ifindex, 0) + nla(L3_STATS, b"\1"))
    hardware.refusal = EBUSY
    _, payload = body(linux, RTM_GETSTATS, if_stats_msg(ifindex, OFFLOAD) + filters((4, 4)))
    assert unpack_from("=i", payload) == (-EBUSY,)
    assert linux.init_net.device("eth0").offload_xstats_l3 == RtnlHwStats64(rx_packets=1, rx_bytes=100)
    assert NETDEV_OFFLOAD_XSTATS_ENABLE not in hardware.heard  # which goes to subscribers of the namespace alone
