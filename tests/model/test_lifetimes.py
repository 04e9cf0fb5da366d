"""Deprecation and deletion: when an address's time has come, what is said, and what stays behind."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.kernel import Kernel, Watch
from addrsvc.model.ip6_newroute import Fib6Config, ip6_route_add, ip6_route_del
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import Net, RtnlNotify
from addrsvc.model.timer import HZ
from addrsvc.netlink.messages import AddrMsg, LinkMsg, RouteMsg
from addrsvc.uapi import AF_INET6, IFA_F_DEPRECATED, NLM_F_CREATE, NLM_F_REPLACE, RTM_DELADDR, RTM_NEWADDR
from tests.fidelity.asks import FOREVER, add, up
from tests.fidelity.notation import brief
from tests.model.ears import messages, no_link_local, said

A1 = "2001:db8::1"
DEPRECATED = f"A+(D){A1}"
DELETED = f"A-{A1} R-loc:{A1}"


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    linux.effects()
    return linux


@pytest.fixture
def net(linux: Linux) -> Namespace:
    return no_link_local(linux)


def timeline(linux: Linux, seconds: float) -> list[tuple[float, str]]:
    """What is said in the coming seconds, each with the time at which it was."""
    start, end, told = linux.jiffies, linux.jiffies + round(seconds * HZ), []
    while (due := linux.next_expiry()) is not None and due <= end:
        linux.run_timers(due)
        news = said(linux)
        if news:
            told.append(((linux.jiffies - start) / HZ, news))
    return told


# --- on both kernels ------------------------------------------------------------------------------------


def hear_until_gone(kernel: Kernel, watch: Watch) -> list[AddrMsg | RouteMsg | LinkMsg]:
    """Everything said until an address was deleted, for at most half a minute."""
    heard: list[AddrMsg | RouteMsg | LinkMsg] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if isinstance(kernel, Namespace):
            kernel._linux.advance(0.1)
        heard += [msg for msg in watch if isinstance(msg, AddrMsg | RouteMsg | LinkMsg)]
        if any(msg.nlmsg_type == RTM_DELADDR for msg in heard):
            return heard
    return heard


def test_an_address_is_deprecated_when_it_is_no_longer_preferred_and_deleted_when_no_longer_valid(
    kernel: Kernel,
) -> None:
    kernel.request(up())
    watch = kernel.watch()
    list(watch)
    kernel.request(add(f"{A1}/64", valid=2, preferred=1))
    heard = hear_until_gone(kernel, watch)
    watch.close()

    assert brief(heard) == (
        f"R+pfx:2001:db8::/64 A+(T){A1} A+(){A1} R+loc:{A1} {DEPRECATED} {DELETED}"
    )  # fmt: skip
    lifetimes = [msg.cacheinfo for msg in heard if isinstance(msg, AddrMsg)]
    assert [(life.ifa_prefered, life.ifa_valid) for life in lifetimes if life] == [(1, 2), (1, 2), (0, 1), (0, 0)]
    assert [msg for msg in kernel.dump() if isinstance(msg, AddrMsg) and msg.ifa_prefixlen == 64] == []
    left = [msg for msg in kernel.dump() if isinstance(msg, RouteMsg)]
    assert brief(left) == "R+pfx:2001:db8::/64 R+loc:::1"


# --- when -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7, 100, 119, 121, 300])
def test_deprecation_and_deletion_come_no_sooner_than_their_limit_and_at_most_1_3_s_later(
    linux: Linux, net: Namespace, limit: int
) -> None:
    net.addr_add(f"{A1}/64", "lo", valid_lft=limit + 1, preferred_lft=limit)
    linux.effects()
    (deprecated, news), (deleted, more) = timeline(linux, limit + 10)

    assert (news, more) == (DEPRECATED, DELETED)
    assert limit - 0.03 <= deprecated <= limit + 1.3
    assert limit + 1 - 0.03 <= deleted <= limit + 1 + 1.3


@given(st.integers(0, HZ - 1), st.integers(1, 130), st.integers(0, 130))
@settings(max_examples=60, deadline=None)
def test_whatever_the_moment_each_limit_is_kept_within_its_bounds(offset: int, preferred: int, more: int) -> None:
    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    linux.run_timers(linux.jiffies + offset)
    linux.init_net.addr_add(f"{A1}/64", "lo", valid_lft=preferred + more, preferred_lft=preferred)
    linux.effects()
    told = timeline(linux, preferred + more + 10)

    limits = {DEPRECATED: preferred, DELETED: preferred + more}
    assert [news for _, news in told] == ([DEPRECATED, DELETED] if more else [DELETED])
    assert all(limits[news] - 0.03 <= at <= limits[news] + 1.3 for at, news in told)


CASES: list[tuple[str, int | None, int, list[str]]] = [
    ("valid and preferred end together: no deprecation", 3, 3, [DELETED]),
    ("preferred 0 is deprecated from the start", 3, 0, [DELETED]),
    ("valid for ever is only deprecated", None, 3, [DEPRECATED]),
    ("valid for ever, preferred 0", None, 0, []),
]


@pytest.mark.parametrize(("valid", "preferred", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_said_in_a_thousand_seconds(
    linux: Linux, net: Namespace, valid: int | None, preferred: int, told: list[str]
) -> None:
    net.addr_add(f"{A1}/64", "lo", valid_lft=valid, preferred_lft=preferred)
    linux.effects()
    expected = [news.replace("(D)", "(D,P)") if valid is None else news for news in told]

    assert [news for _, news in timeline(linux, 1000)] == expected


def test_an_address_for_ever_arms_nothing(linux: Linux, net: Namespace) -> None:
    net.addr_add(f"{A1}/64", "lo")

    assert linux.next_expiry() is None


def test_lifetimes_that_are_left_are_told_in_whole_seconds(linux: Linux, net: Namespace) -> None:
    net.addr_add(f"{A1}/64", "lo", valid_lft=100, preferred_lft=50)
    told = []
    for _ in range(3):
        told.append([(a.preferred_lft, a.valid_lft) for a in net.addresses("lo") if str(a.network.ip) == A1])
        linux.advance(10.5)

    assert told == [[(50, 100)], [(40, 90)], [(29, 79)]]


# --- what is changed meanwhile --------------------------------------------------------------------------


def test_a_loopback_address_that_was_made_finite_goes_and_only_down_and_up_bring_it_back(
    linux: Linux, net: Namespace
) -> None:
    net.addr_add("::1/128", "lo", valid_lft=3, preferred_lft=1, replace=True)
    linux.effects()
    assert [news for _, news in timeline(linux, 10)] == ["A+(D)::1", "A-::1 R-loc:::1"]

    net.link_set("lo", alias="x")
    assert said(linux) == "L"
    net.link_set("lo", up=False)
    net.link_set("lo", up=True)
    assert [str(a.network) for a in net.addresses("lo")] == ["127.0.0.1/8", "::1/128"]


def test_replacing_starts_the_time_anew(linux: Linux, net: Namespace) -> None:
    net.addr_add(f"{A1}/64", "lo", valid_lft=4)
    linux.advance(3)
    net.addr_add(f"{A1}/64", "lo", valid_lft=4, replace=True)
    linux.effects()
    ((at, news),) = timeline(linux, 20)

    assert news == DELETED
    assert 3.97 <= at <= 5.3


def test_replacing_by_an_address_for_ever_ends_the_waiting(linux: Linux, net: Namespace) -> None:
    net.addr_add(f"{A1}/64", "lo", valid_lft=4, preferred_lft=1)
    linux.advance(2)
    net.addr_add(f"{A1}/64", "lo", replace=True)
    linux.effects()

    assert timeline(linux, 1000) == []
    (address,) = (a for a in net.addresses("lo") if str(a.network.ip) == A1)
    assert address.flags & IFA_F_DEPRECATED == 0


@pytest.mark.parametrize("how", ["delete", "down", "disable", "namespace"])
def test_an_address_that_is_gone_does_not_go_again(linux: Linux, how: str) -> None:
    net = linux.add_net("blue")
    net.link_set("lo", up=True)
    net.addr_add(f"{A1}/64", "lo", valid_lft=4, preferred_lft=1)
    match how:
        case "delete":
            net.addr_del(f"{A1}/64", "lo")
        case "down":
            net.link_set("lo", up=False)
        case "disable":
            net.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
        case "namespace":
            linux.del_net("blue")
    linux.effects()

    assert timeline(linux, 100) == []


def test_many_addresses_of_many_limits_go_in_order_of_their_limits(linux: Linux, net: Namespace) -> None:
    for nth in (7, 3, 9, 1, 5):
        net.addr_add(f"2001:db8::{nth}/64", "lo", valid_lft=nth * 10)
    linux.effects()
    linux.advance(200)
    gone = [m.address for m in messages(linux) if isinstance(m, AddrMsg) and m.nlmsg_type == RTM_DELADDR]

    assert [(addr or b"")[-1] for addr in gone] == [1, 3, 5, 7, 9]


def test_namespaces_have_their_times_apart(linux: Linux) -> None:
    for name, valid in (("blue", 4), ("red", 8)):
        net = linux.add_net(name)
        net.link_set("lo", up=True)
        net.addr_add(f"{A1}/64", "lo", valid_lft=valid)
    linux.effects()
    linux.advance(20)
    heard = [(e.net, e.msg) for e in linux.effects() if isinstance(e, RtnlNotify)]

    assert [net for net, msg in heard if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_DELADDR] == ["blue", "red"]


def test_an_address_of_a_device_with_neighbours_leaves_its_prefix_route_to_expire(linux: Linux, net: Namespace) -> None:
    net.link_add("x0")
    net.link_set("x0", up=True)
    linux.effects()
    net.addr_add(f"{A1}/64", "x0", valid_lft=3, nodad=True)
    (route,) = (m for m in messages(linux) if isinstance(m, RouteMsg) and m.rtm_dst_len == 64)
    assert route.expires == 300
    told = timeline(linux, 100)

    assert [news for _, news in told] == [f"A-{A1} M-ff02::1:ff00:1 R-loc:{A1}", "R-pfx:2001:db8::/64"]
    assert 30 <= told[1][0] <= 31


def test_the_longest_finite_lifetime_is_not_for_ever(net: Namespace) -> None:
    net.addr_add(f"{A1}/64", "lo", valid_lft=FOREVER - 1, preferred_lft=FOREVER - 1)
    (msg,) = (
        m for m in net.dump()
        if isinstance(m, AddrMsg) and (m.nlmsg_type, m.ifa_family, m.ifa_prefixlen) == (RTM_NEWADDR, AF_INET6, 64)
    )  # fmt: skip

    life = msg.cacheinfo
    assert life is not None
    assert (life.ifa_prefered, life.ifa_valid, msg.flags) == (FOREVER - 1, FOREVER - 1, 0)


# --- what is left out of the kernel's periodic rounds --------------------------------------------------------------


def test_decades_pass_at_once_and_what_is_due_in_them_happens_to_the_second(linux: Linux, net: Namespace) -> None:
    year = 365 * 86400
    net.link_add("x0")
    net.link_set("x0", up=True)
    net.addr_add(f"{A1}/64", "x0", valid_lft=20 * year, preferred_lft=10 * year, nodad=True)
    net.addr_add("192.0.2.1/24", "x0", valid_lft=30 * year)
    linux.effects()
    armed = linux.machine.timers.serial
    told = timeline(linux, 40 * year)

    assert [(round(at / year, 6), news.split()[0]) for at, news in told] == [
        (10, f"A+(NODAD,D){A1}"), (20, f"A-{A1}"), (20.000001, "R-pfx:2001:db8::/64"), (30, "A4-192.0.2.1"),
    ]  # fmt: skip
    assert linux.machine.timers.serial - armed < 50


SPANS = st.one_of(st.integers(1, 5), st.integers(25, 35), st.integers(110, 370), st.integers(1000, 20000))
ADDRESSES = st.sampled_from(["2001:db8::1/64", "2001:db8::2/64", "2001:db8:1::1/64", "192.0.2.1/24", "192.0.2.2/24"])
Step: TypeAlias = Callable[[Linux], object]


def adds(address: str, valid: int, preferred: float) -> Step:
    return lambda linux: linux.init_net.addr_add(
        address, "x0", valid_lft=valid, preferred_lft=max(1, round(valid * preferred)), nodad=True, replace=True
    )


def deletes(address: str) -> Step:
    return lambda linux: linux.init_net.addr_del(address, "x0")


def routes_to(where: int, seconds: int | None, change: Callable[[Net, Fib6Config], None] = ip6_route_add) -> Step:
    def run(linux: Linux) -> None:
        dst = (0x20010DB8 << 32 | where).to_bytes(8) + bytes(8)
        flags = NLM_F_CREATE | NLM_F_REPLACE
        net, x0 = linux.init_net, linux.init_net.ifindex("x0")
        with rtnl_lock(linux.machine):
            change(net.net, Fib6Config(254, dst, 64, ifindex=x0, expires=seconds, nlflags=flags))
        linux.settle()

    return run


STEPS = st.one_of(
    st.builds(adds, ADDRESSES, SPANS, st.floats(0, 1)),
    st.builds(deletes, ADDRESSES),
    st.builds(routes_to, st.integers(0, 3), st.none() | SPANS),
    st.builds(routes_to, st.integers(0, 3), st.none(), st.just(ip6_route_del)),
    SPANS,
    st.floats(0, 1),
)


def lived(steps: list[Step | float]) -> list[tuple[int, str]]:
    """What is said, and when, on a model that does these things and then waits for half a day."""
    linux = Linux()
    net = no_link_local(linux)
    net.link_add("x0")
    net.link_set("x0", up=True)
    told: list[tuple[int, str]] = []
    for step in [*steps, 43200]:
        begin = linux.jiffies
        if callable(step):
            with suppress(KernelError):
                step(linux)
            told.append((begin, said(linux)))
        else:
            told += [(begin + round(at * HZ), news) for at, news in timeline(linux, step)]
            linux.run_timers(begin + round(step * HZ))
    return told


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_the_rounds_that_are_left_out_would_have_found_nothing(steps: list[Step | float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("addr_check", "ip6_route"):
            patch.setattr(f"addrsvc.model.{module}.skip_idle", lambda first, period, limit: first)
        expected = lived(steps)

    assert lived(steps) == expected
