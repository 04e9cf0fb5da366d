"""Oddities that the random walk found, each by name."""

from collections.abc import Iterable

import pytest

from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.netlink.messages import LinkMsg, Message
from addrsvc.uapi import IFA_F_MCAUTOJOIN, IFF_DEBUG, IFF_NOARP, IFF_UP, NLM_F_CREATE, NLM_F_REPLACE
from tests.fidelity.asks import (
    LO,
    add,
    delete,
    disable_ipv6,
    down,
    flags,
    forwarding,
    keep_addr_on_down,
    mtu,
    rename,
    up,
)
from tests.fidelity.compare import GRAIN, first_difference
from tests.fidelity.notation import brief


def agree(script: Iterable[Message]) -> None:
    """Both kernels, fresh, answer the whole script alike."""
    assert str(first_difference(script) or "") == ""


def test_a_kept_address_may_complete_while_a_small_mtu_takes_ipv6_down_again(kernel: Kernel) -> None:
    """The running kernel itself has two answers here: whether the work item has begun is chance."""
    for ask in (keep_addr_on_down(1), up(), add("2001:db8::1/64")):
        kernel.request(ask)
    settle(kernel)
    for ask in (down(), mtu(1000)):
        kernel.request(ask)
    watch = kernel.watch()
    kernel.request(up())
    said = brief(watch)
    watch.close()

    always = (
        "L M4+224.0.0.1 R4+brd:127.255.255.255 R+pfx:2001:db8::/64 A+::1 R+loc:::1 I "
        "R-pfx:2001:db8::/64 R-loc:::1 A-::1"
    )
    assert said in (always, f"{always} A+2001:db8::1")


def test_a_name_of_two_parts_is_one_part_of_a_sysctl(netns: NetNs) -> None:
    agree((up(), rename("lo.7"), disable_ipv6(1, "lo.7"), disable_ipv6(0, "lo.7")))


def test_a_name_too_long_stops_the_whole_request(netns: NetNs) -> None:
    agree((LinkMsg(ifi_index=LO, ifname="sixteen--letters", mtu=1400),))


def test_a_subnet_router_address_of_its_own_is_announced_without_a_second_route(netns: NetNs) -> None:
    agree((add("2001:db8::/64"), forwarding(1, "all"), up(), forwarding(0, "all")))


def test_a_loopback_address_of_finite_lifetime_has_a_main_route_that_expires(netns: NetNs) -> None:
    agree((up(), delete("::1/128"), add("::1/128", valid=GRAIN), down()))


def test_flags_without_a_mask_are_all_flags(netns: NetNs) -> None:
    agree((up(), flags(IFF_DEBUG | IFF_NOARP), LinkMsg(ifi_index=LO, ifi_flags=IFF_UP), LinkMsg(ifi_index=LO)))


def settle(kernel: Kernel) -> None:
    watch = kernel.watch()
    list(watch)
    watch.close()


def test_a_prefix_route_that_expires_already_keeps_its_expiry(netns: NetNs) -> None:
    change = NLM_F_CREATE | NLM_F_REPLACE
    agree(
        (
            up(),
            add("2001:db8::1/64", metric=77),
            add("2001:db8::1/64", nlm=change, metric=77, valid=GRAIN),
            add("2001:db8::2/64"),
            delete("2001:db8::2/64"),
        )
    )


def test_a_small_gso_size_is_for_ipv4_too(netns: NetNs) -> None:
    agree((LinkMsg(ifi_index=1, gso_max_size=1000), LinkMsg(ifi_index=1, gro_max_size=1000)))
    agree((LinkMsg(ifi_index=1, gso_max_size=70000),))


@pytest.mark.parametrize(
    "ask",
    [
        LinkMsg(ifi_index=1, mtu=1400, tso_max_size=1),
        LinkMsg(ifi_index=1, mtu=1400, tso_max_segs=1),
        LinkMsg(ifi_index=1, mtu=1400, netns_immutable=1),
        LinkMsg(ifi_index=1, mtu=1400, allmulti=1),
    ],
)
def test_what_only_a_driver_sets_is_refused_first(netns: NetNs, ask: LinkMsg) -> None:
    agree((ask,))


def test_a_group_joined_for_an_address_outlives_it(netns: NetNs) -> None:
    join = add("ff02::1234/128", flags=IFA_F_MCAUTOJOIN)
    agree((join, up(), down(), join))
