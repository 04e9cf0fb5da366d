"""The story of ::1, effect by effect: what happens between `lo up` and an address that nobody asked for."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from addrsvc.mirror.kernel import Kernel, Watch
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, LinkMsg, Message, RouteMsg, RtaCacheinfo
from addrsvc.uapi import (
    AF_INET6,
    ARPHRD_LOOPBACK,
    IF_READY,
    IFA_F_PERMANENT,
    IFAPROT_KERNEL_LO,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_RUNNING,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_SCOPE_HOST,
    RT_TABLE_LOCAL,
    RTM_NEWADDR,
    RTN_LOCAL,
    RTPROT_KERNEL,
)
from tests.fidelity.asks import LO, up
from tests.fidelity.compare import normal
from tests.fidelity.notation import brief

LOOPBACK = bytes(15) + b"\1"
UP_FLAGS = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP
ADDRESS = AddrMsg(
    ifa_family=AF_INET6, ifa_prefixlen=128, ifa_flags=IFA_F_PERMANENT, ifa_scope=RT_SCOPE_HOST, ifa_index=LO,
    address=LOOPBACK, cacheinfo=IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME), flags=IFA_F_PERMANENT,
    proto=IFAPROT_KERNEL_LO,
)  # fmt: skip
ROUTE = RouteMsg(
    rtm_family=AF_INET6, rtm_dst_len=128, rtm_table=RT_TABLE_LOCAL, rtm_protocol=RTPROT_KERNEL, rtm_type=RTN_LOCAL,
    table=RT_TABLE_LOCAL, dst=LOOPBACK, priority=0, oif=LO, cacheinfo=RtaCacheinfo(), pref=0,
)  # fmt: skip


@pytest.fixture
def before(kernel: Kernel) -> tuple[Message, ...]:
    """What the namespace holds before the story begins."""
    return normal(kernel.dump())


@pytest.fixture
def said(kernel: Kernel, before: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """Everything the kernel says while lo comes up."""
    watch: Watch = kernel.watch()
    kernel.request(up())
    yield normal(watch)
    watch.close()


def link(messages: tuple[Message, ...], family: int = 0) -> LinkMsg:
    (found,) = (msg for msg in messages if isinstance(msg, LinkMsg) and msg.ifi_family == family)
    return found


def ipv6_of(msg: LinkMsg) -> tuple[int | None, ...]:
    """Flags, address generation mode, disable_ipv6 and MTU."""
    assert msg.inet6 is not None
    return msg.inet6.flags, msg.inet6.addr_gen_mode, msg.inet6.disable_ipv6, msg.inet6.mtu6


def test_in_the_beginning_lo_is_down_and_has_no_address(before: tuple[Message, ...]) -> None:
    assert link(before).ifi_flags == IFF_LOOPBACK
    assert [msg for msg in before if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR] == []
    assert [msg for msg in before if isinstance(msg, RouteMsg)] == []


def test_the_whole_story_in_order(said: tuple[Message, ...]) -> None:
    assert brief(said) == (
        "L A4+127.0.0.1 R4+loc:127.0.0.1 R4+loc:127.0.0.0/8 R4+brd:127.255.255.255 M4+224.0.0.1 A+::1 R+loc:::1 I"
    )


def test_first_the_device_is_said_to_be_up_though_ipv6_is_not_ready_yet(said: tuple[Message, ...]) -> None:
    news = said[0]

    assert isinstance(news, LinkMsg)
    assert (news.ifi_type, news.ifname, news.ifi_flags, news.ifi_change) == (ARPHRD_LOOPBACK, "lo", UP_FLAGS, IFF_UP)
    assert ipv6_of(news) == (0, 0, 0, 65536)


def test_then_the_address_comes_never_tentative_and_with_the_kernels_mark(said: tuple[Message, ...]) -> None:
    assert said[6] == ADDRESS


def test_then_its_route_in_the_local_table_and_no_other(said: tuple[Message, ...]) -> None:
    routes = [msg for msg in said if isinstance(msg, RouteMsg) and msg.rtm_family == AF_INET6]

    assert routes == [said[7]]
    assert routes == [replace(ROUTE, nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL)]


def test_at_last_ipv6_is_said_to_be_ready(said: tuple[Message, ...]) -> None:
    news = said[8]

    assert isinstance(news, LinkMsg)
    assert (news.ifi_family, news.ifi_change, news.ifi_flags) == (AF_INET6, 0, UP_FLAGS)
    assert ipv6_of(news) == (IF_READY, 0, 0, 65536)


def test_a_dump_shows_what_was_said(said: tuple[Message, ...], kernel: Kernel) -> None:
    after = normal(kernel.dump())

    assert link(after).inet6 == link(said, AF_INET6).inet6
    assert ADDRESS in after
    assert [msg for msg in after if isinstance(msg, RouteMsg)] == [ROUTE]
