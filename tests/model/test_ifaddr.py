"""The address list: its order, what an address brings and takes, and who keeps a prefix route."""

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.kernel import Kernel
from addrsvc.model.addrconf_core import in6addr_loopback
from addrsvc.model.ifaddr import (
    Ifa6Config,
    inet6_fill_ifaddr,
    inet6_ifaddr_wire,
    ipv6_add_addr,
    ipv6_del_addr,
    ipv6_ifa_notify,
)
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import INET6_IFADDR_STATE_DEAD, Inet6Dev
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import Message, RouteMsg
from addrsvc.uapi import (
    IFA_F_HOMEADDRESS,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_NEWADDR,
)
from tests.fidelity.asks import add, up
from tests.fidelity.notation import brief, holds
from tests.model.ears import lines, no_link_local, said


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    linux.effects()
    return linux


@pytest.fixture
def net(linux: Linux) -> Namespace:
    return no_link_local(linux)


@pytest.fixture
def idev(net: Namespace) -> Inet6Dev:
    idev = net.device("lo").ip6_ptr
    assert idev is not None
    return idev


# --- order -----------------------------------------------------------------------------------------------------------


def test_wide_scopes_come_first_and_the_newest_first_within_one(kernel: Kernel) -> None:
    kernel.request(up())
    for address in ("2001:db8::1", "fe80::1", "fec0::1", "2001:db8::2", "fe80::2", "fec0::2", "::2"):
        kernel.request(add(f"{address}/64"))

    assert holds(kernel.dump()) == (
        "127.0.0.1/8 ::2/64 2001:db8::2/64 2001:db8::1/64 fec0::2/64 fec0::1/64 fe80::2/64 fe80::1/64 ::1/128"
    )


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_device_that_is_going_takes_no_address(linux: Linux, idev: Inet6Dev) -> None:
    idev.dead = True
    with rtnl_lock(linux.machine), pytest.raises(KernelError) as refused:
        ipv6_add_addr(idev, Ifa6Config(ip_address("2001:db8::1").packed, 64))

    assert (refused.value.name, refused.value.extack) == ("ENODEV", "ipv6: device is going away")


def test_an_address_is_on_a_device_once_whatever_its_prefix_length(linux: Linux, idev: Inet6Dev) -> None:
    with rtnl_lock(linux.machine), pytest.raises(KernelError) as refused:
        ipv6_add_addr(idev, Ifa6Config(in6addr_loopback, 64))

    assert (refused.value.name, len(idev.addr_hash)) == ("EEXIST", 1)


def test_the_same_address_may_be_on_two_devices(net: Namespace) -> None:
    for name in ("x0", "x1"):
        net.link_add(name)
        net.link_set(name, up=True)
        net.addr_add("2001:db8::1/64", name, nodad=True)

    assert [a.dev for a in net.addresses() if a.network.version == 6] == ["lo", "x0", "x1"]
    assert brief(m for m in net.dump() if isinstance(m, RouteMsg) and m.rtm_dst_len in (64, 128)) == (
        "R+pfx:2001:db8::/64 R+pfx:2001:db8::/64 R+loc:::1 R+loc:2001:db8::1 R+loc:2001:db8::1"
    )


# --- coming and going ------------------------------------------------------------------------------------------------


def test_an_address_that_is_dead_is_not_deleted_again(linux: Linux, idev: Inet6Dev) -> None:
    ifp = idev.addr_hash[in6addr_loopback]
    with rtnl_lock(linux.machine):
        for _ in range(2):
            ipv6_del_addr(ifp)

    linux.settle()
    assert (said(linux), ifp.state, idev.prefixes) == ("A-::1 R-loc:::1", INET6_IFADDR_STATE_DEAD, {})


def test_an_announcement_and_no_more_brings_no_route(linux: Linux, net: Namespace, idev: Inet6Dev) -> None:
    with rtnl_lock(linux.machine):
        ifp = ipv6_add_addr(idev, Ifa6Config(ip_address("2001:db8::1").packed, 64, IFA_F_PERMANENT))
        ipv6_ifa_notify(0, ifp)
    linux.settle()
    assert said(linux) == "A+(T,P)2001:db8::1"
    with rtnl_lock(linux.machine):
        ipv6_ifa_notify(RTM_NEWADDR, ifp)
        ipv6_ifa_notify(RTM_NEWADDR, ifp)
    linux.settle()
    assert said(linux) == "A+(T,P)2001:db8::1 R+loc:2001:db8::1 A+(T,P)2001:db8::1"


def test_an_address_without_its_host_route_is_a_bug_that_is_printed(linux: Linux, idev: Inet6Dev) -> None:
    ifp = idev.addr_hash[in6addr_loopback]
    ifp.rt = None
    with rtnl_lock(linux.machine):
        ipv6_ifa_notify(RTM_NEWADDR, ifp)
    linux.settle()

    assert lines(linux) == [("warning", "IPv6: BUG: Address ::1 on device lo is missing its host route.")]


# --- the prefix route, by a naive count of who needs it --------------------------------------------------------------

PLANS = st.lists(
    st.tuples(
        st.sampled_from(["add", "del"]), st.integers(1, 4), st.sampled_from([64, 96]),
        st.sampled_from(["permanent", "finite", "noprefixroute"]),
    ),
    max_size=14,
)  # fmt: skip


@given(PLANS)
@settings(max_examples=100, deadline=None)
def test_a_prefix_route_stays_while_an_address_is_there_that_needs_it(
    plan: list[tuple[str, int, int, str]],
) -> None:
    """After the kernel's rule: only a permanent address takes the route along, if no other of its prefix is there."""
    linux = Linux()
    net = linux.init_net
    net.link_set("lo", up=True)
    kinds: dict[tuple[int, int], str] = {}
    there = {64: False, 96: False}
    for what, host, plen, kind in plan:
        text = f"2001:db8::{host}/{plen}"
        if what == "add" and not {(host, 64), (host, 96)} & kinds.keys():
            net.addr_add(
                text, "lo", noprefixroute=kind == "noprefixroute", valid_lft=10_000 if kind == "finite" else None
            )
            kinds[host, plen] = kind
            there[plen] |= kind != "noprefixroute"
        elif what == "del" and (host, plen) in kinds:
            net.addr_del(text, "lo")
            alone = not any(other == plen for _, other in kinds.keys() - {(host, plen)})
            there[plen] &= not (kinds.pop((host, plen)) == "permanent" and alone)
    lengths = [m.rtm_dst_len for m in net.dump() if isinstance(m, RouteMsg) and m.rtm_dst_len in there]

    assert sorted(lengths) == [plen for plen, is_there in there.items() if is_there]


# --- bytes that are kept ---------------------------------------------------------------------------------------------

WISHES = st.builds(
    add,
    st.sampled_from(["2001:db8::1/64", "2001:db8::1/128", "2001:db8::2/128", "fe80::3/64"]),
    flags=st.sampled_from([None, IFA_F_NODAD, IFA_F_NODAD | IFA_F_NOPREFIXROUTE, IFA_F_HOMEADDRESS]),
    nlm=st.sampled_from([NLM_F_CREATE, NLM_F_CREATE | NLM_F_REPLACE]),
    metric=st.sampled_from([None, 7]),
    proto=st.sampled_from([None, 9]),
    valid=st.sampled_from([0xFFFFFFFF, 0xFFFFFFFF, 5, 90]),
    preferred=st.sampled_from([0xFFFFFFFF, 0xFFFFFFFF, 5, 0]),
    peer=st.sampled_from([None, None, "2001:db8::9", "::"]),
)


@given(st.lists(st.one_of(WISHES, st.integers(1, 7)), max_size=12))
def test_the_bytes_of_an_address_are_those_of_its_message_whatever_happened_since(plan: list[Message | int]) -> None:
    linux = Linux()
    net = linux.init_net
    net.link_set("lo", up=True)
    idev = net.device("lo").ip6_ptr
    assert idev is not None
    for step in plan:
        if isinstance(step, int):
            linux.advance(step)
        else:
            with suppress(KernelError):
                net.request(step)
        for ifp in idev.addr_hash.values():
            for _ in range(2):
                assert inet6_ifaddr_wire(ifp) == encode(inet6_fill_ifaddr(ifp))
