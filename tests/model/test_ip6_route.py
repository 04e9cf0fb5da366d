"""The routes an address brings: their tables, their order, what goes with a device, and what expires."""

from ipaddress import IPv6Network, ip_address
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.linux import Namespace
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.model.ip6_route import addrconf_f6i_alloc, addrconf_get_prefix_route, ip6_del_rt, ip6_ins_rt
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.netlink.messages import Message, RouteMsg
from addrsvc.pytest_plugin import wait_until
from addrsvc.uapi import (
    IF_OPER_DORMANT,
    IF_OPER_UP,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTF_NONEXTHOP,
    RTF_REJECT,
    RTF_UP,
    RTM_NEWROUTE,
    RTNH_F_LINKDOWN,
)
from tests.fidelity.asks import add, delete, down, operstate, up
from tests.fidelity.compare import first_difference
from tests.fidelity.notation import brief
from tests.model.ears import messages, no_link_local, said

A1 = ip_address("2001:db8::1").packed


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    linux.effects()
    return linux


@pytest.fixture
def net(linux: Linux) -> Namespace:
    return no_link_local(linux)


def routes(kernel: Kernel) -> list[RouteMsg]:
    return [msg for msg in kernel.dump() if isinstance(msg, RouteMsg)]


# --- insertion and removal -------------------------------------------------------------------------------------------


def test_a_route_is_said_once_when_it_comes_and_once_when_it_goes(linux: Linux, net: Namespace) -> None:
    rt = addrconf_f6i_alloc(net.device("lo"), A1)
    with rtnl_lock(linux.machine):
        for act in (ip6_ins_rt, ip6_ins_rt, ip6_del_rt, ip6_del_rt):
            act(net.net, rt)
    linux.settle()

    assert said(linux) == "R+loc:2001:db8::1 R-loc:2001:db8::1"


def test_a_new_prefix_is_said_as_exclusive_and_a_sibling_is_not(linux: Linux, net: Namespace) -> None:
    for name in ("x0", "x1"):
        net.link_add(name)
        net.link_set(name, up=True)
        net.addr_add("2001:db8::1/64", name, nodad=True)
    news = [m for m in messages(linux) if isinstance(m, RouteMsg) and m.rtm_dst_len == 64]

    assert [m.nlmsg_flags for m in news] == [NLM_F_CREATE | NLM_F_EXCL, NLM_F_CREATE]


def test_siblings_stand_by_metric(net: Namespace) -> None:
    for number, metric in ((1, 300), (2, 100), (3, None), (4, 100)):
        net.link_add(f"x{number}")
        net.link_set(f"x{number}", up=True)
        net.addr_add(f"2001:db8::{number}/64", f"x{number}", metric=metric, nodad=True)

    assert [(r.priority, r.oif) for r in routes(net) if r.rtm_dst_len == 64] == [(100, 3), (100, 5), (256, 4), (300, 2)]


def test_main_comes_before_local_and_longer_prefixes_before_those_around_them(kernel: Kernel) -> None:
    kernel.request(up())
    for address in ("2001:db8:1::1/48", "2001:db8::1/32", "2001:db8:1:2::1/64", "fe80::1/64", "2001:db8:0:1::1/64"):
        kernel.request(add(address))

    wait_until(kernel, lambda: len(routes(kernel)) == 11, timeout=30)
    assert brief(routes(kernel)) == (
        "R+pfx:2001:db8:0:1::/64 R+pfx:2001:db8:1:2::/64 R+pfx:2001:db8:1::/48 R+pfx:2001:db8::/32 R+pfx:fe80::/64 "
        "R+loc:::1 R+loc:2001:db8::1 R+loc:2001:db8:0:1::1 R+loc:2001:db8:1::1 R+loc:2001:db8:1:2::1 R+loc:fe80::1"
    )


@given(st.lists(st.tuples(st.integers(0, 2**128 - 1), st.sampled_from([0, 8, 32, 48, 64, 127])), max_size=12))
@settings(max_examples=50, deadline=None)
def test_no_prefix_comes_before_one_that_lies_within_it(prefixes: list[tuple[int, int]]) -> None:
    linux = Linux()
    net, lo = linux.init_net, linux.init_net.device("lo")
    with rtnl_lock(linux.machine):
        for number, plen in prefixes:
            rt = addrconf_f6i_alloc(lo, IPv6Network((number, plen), strict=False).network_address.packed)
            rt.dst_len = plen
            ip6_ins_rt(net.net, rt)
    linux.settle()
    nets = [IPv6Network((r.dst or bytes(16), r.rtm_dst_len)) for r in routes(net)]

    assert len(nets) == len({IPv6Network(prefix, strict=False) for prefix in prefixes})
    assert all(one.broadcast_address <= other.broadcast_address for one, other in pairwise(nets))
    assert not any(
        nets[j].subnet_of(nets[i]) for i in range(len(nets)) for j in range(i + 1, len(nets))
    )  # fmt: skip


# --- what kind of route -----------------------------------------------------------------------------------------------


def test_a_prefix_route_of_lo_is_a_reject_in_disguise_but_not_that_of_the_loopback_address(
    linux: Linux, net: Namespace
) -> None:
    net.addr_del("::1/128", "lo")
    net.addr_add("::1/128", "lo")
    net.addr_add("2001:db8::1/64", "lo")
    lo = net.device("lo")
    loop = addrconf_get_prefix_route(lo, A1, 64)
    own = addrconf_get_prefix_route(lo, bytes(15) + b"\x01", 128)
    assert loop is not None
    assert own is not None

    assert (loop.fib6_flags, own.fib6_flags) == (RTF_REJECT | RTF_NONEXTHOP, RTF_UP)
    assert addrconf_get_prefix_route(lo, A1, 65) is None


def test_a_finite_address_of_lo_has_a_prefix_route_without_expiry(linux: Linux, net: Namespace) -> None:
    net.addr_add("2001:db8::1/64", "lo", valid_lft=3)
    linux.advance(1000)

    assert [(r.rtm_dst_len, r.expires) for r in routes(net) if r.table == RT_TABLE_MAIN] == [(64, 0)]


def test_routes_of_a_device_without_link_are_marked_but_for_those_to_this_host(kernel: Kernel) -> None:
    def marked() -> list[tuple[int, bool]]:
        return [(route.rtm_dst_len, bool(route.rtm_flags & RTNH_F_LINKDOWN)) for route in routes(kernel)]

    kernel.request(up())
    kernel.request(add("2001:db8::1/64"))
    wait_until(kernel, lambda: len(routes(kernel)) == 3, timeout=30)
    kernel.request(operstate(IF_OPER_DORMANT))
    assert marked() == [(64, True), (128, False), (128, False)]
    kernel.request(operstate(IF_OPER_UP))
    assert marked() == [(64, False), (128, False), (128, False)]


def test_the_null_entry_lives_on_lo(linux: Linux) -> None:
    blue = linux.add_net("blue")
    null = blue.net.ipv6.fib6_null_entry
    assert null is not None
    assert (null.dev, null.dst_len, null.metric, null.in_table) == (blue.device("lo"), 0, 0xFFFFFFFF, False)
    assert routes(blue) == []
    linux.del_net("blue")
    assert null.dev is None


# --- going down -------------------------------------------------------------------------------------------------------


def test_a_device_that_goes_down_takes_its_routes_main_first_and_no_others(linux: Linux, net: Namespace) -> None:
    net.link_add("x0", flags=0x80)
    net.link_set("x0", up=True)
    for dev in ("lo", "x0"):
        net.addr_add("2001:db8::1/64", dev)
    linux.effects()
    net.link_set("x0", up=False)

    assert said(linux) == "L M4-224.0.0.1 R-pfx:2001:db8::/64 R-loc:2001:db8::1 A-2001:db8::1"
    assert {route.oif for route in routes(net)} == {1}


# --- expiry -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def expiring(linux: Linux, net: Namespace) -> None:
    """x0 with a prefix route that expires after 10 s."""
    net.link_add("x0", flags=0x80)
    net.link_set("x0", up=True)
    net.addr_add("2001:db8::1/64", "x0", valid_lft=10)
    linux.effects()


@pytest.mark.usefixtures("expiring")
def test_a_route_counts_down_in_hundredths_of_a_second_and_is_collected_after_30(linux: Linux, net: Namespace) -> None:
    def left() -> list[int | None]:
        return [route.expires for route in routes(net) if route.rtm_dst_len == 64]

    assert left() == [1000]
    linux.advance(2.5)
    assert left() == [750]
    linux.advance(17.5)
    assert left() == [-1000]
    linux.effects()
    linux.advance(10.1)
    assert (left(), said(linux), linux.next_expiry()) == ([], "R-pfx:2001:db8::/64", None)


@pytest.mark.usefixtures("expiring")
def test_a_second_address_that_lasts_longer_lends_the_route_its_time(linux: Linux, net: Namespace) -> None:
    net.addr_add("2001:db8::2/64", "x0", valid_lft=50)
    assert [route.expires for route in routes(net) if route.rtm_dst_len == 64] == [5000]
    net.addr_add("2001:db8::3/64", "x0")
    assert [route.expires for route in routes(net) if route.rtm_dst_len == 64] == [0]
    linux.advance(1000)
    assert [route.rtm_dst_len for route in routes(net) if route.table == RT_TABLE_MAIN] == [64]


@pytest.mark.usefixtures("expiring")
def test_deleting_the_permanent_one_leaves_the_route_the_time_of_the_finite_one(linux: Linux, net: Namespace) -> None:
    net.addr_add("2001:db8::2/64", "x0")
    linux.advance(1)
    linux.effects()
    net.addr_del("2001:db8::2/64", "x0")

    assert said(linux) == "A-2001:db8::2 R-loc:2001:db8::2"
    assert [route.expires for route in routes(net) if route.rtm_dst_len == 64] == [900]


SCRIPTS: dict[str, tuple[Message, ...]] = {
    "nested prefixes": (up(), *(add(f"2001:db8::{plen}/{plen}") for plen in (64, 32, 96, 0, 127)), down(), up()),
    "one prefix, many metrics": (up(), add("2001:db8::1/64", metric=5), add("2001:db8::2/64", metric=9),
        delete("2001:db8::1/64"), delete("2001:db8::2/64")),
    "an anycast address and its own": (up(), add("2001:db8::/64"), add("2001:db8::1/64"), down(), up()),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_both_kernels_agree_in_every_route(netns: NetNs, script: tuple[Message, ...]) -> None:
    assert str(first_difference(script) or "") == ""


def test_a_host_route_is_local_and_not_yet_in_the_table(linux: Linux, net: Namespace) -> None:
    rt = addrconf_f6i_alloc(net.device("lo"), A1)

    assert (rt.table, rt.dst_len, rt.metric, rt.in_table) == (RT_TABLE_LOCAL, 128, 0, False)
    assert [m.nlmsg_type for m in routes(net)] == [RTM_NEWROUTE]
