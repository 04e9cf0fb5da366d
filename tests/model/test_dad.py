"""Duplicate address detection: who is asked, how long that takes, and what is said when it is over."""

from errno import EADDRNOTAVAIL
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.model.timer import HZ
from addrsvc.uapi import IFF_NOARP
from tests.model.ears import no_link_local, said

A1 = "2001:db8::1"
SOLICITED = "M+ff02::1:ff00:1"
BEFORE = f"R+pfx:2001:db8::/64 A+(T,P){A1} {SOLICITED}"
AFTER = f"A+{A1} R+loc:{A1}"


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    no_link_local(linux).link_set("lo", up=True)
    linux.init_net.link_add("x0")
    linux.init_net.link_set("x0", up=True)
    linux.effects()
    return linux


@pytest.fixture
def net(linux: Linux) -> Namespace:
    return linux.init_net


def seconds_until_done(linux: Linux) -> float:
    start = linux.jiffies
    while (due := linux.next_expiry()) is not None:
        linux.run_timers(due)
    return (linux.jiffies - start) / HZ


class Least(Random):
    """A chance that draws the least."""

    def random(self) -> float:
        return 0.0

    def getrandbits(self, _: int) -> int:
        return 0


def beginning(linux: Linux, probes: int) -> Namespace:
    """Duplicate address detection has begun on x0, and has so many probes to send."""
    net = no_link_local(linux)
    net.link_add("x0")
    net.link_set("x0", up=True)
    net.sysctl("net.ipv6.conf.x0.dad_transmits", probes)
    linux.effects()
    net.addr_add(f"{A1}/64", "x0")
    return net


@given(st.integers(0, 2**32), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_it_takes_a_random_part_of_a_second_and_one_second_for_each_probe(seed: int, probes: int) -> None:
    linux = Linux(seed=seed)
    net = beginning(linux, probes)

    assume(linux.next_expiry() is not None)
    assert said(linux) == BEFORE
    assert [a.tentative for a in net.addresses("x0")] == [True]
    assert probes <= seconds_until_done(linux) < probes + 1
    assert said(linux) == AFTER
    assert [a.tentative for a in net.addresses("x0")] == [False]


@pytest.mark.parametrize("probes", [0, 1, 2])
def test_where_the_random_part_is_nothing_the_first_step_is_done_at_once(
    monkeypatch: pytest.MonkeyPatch, probes: int
) -> None:
    """Once in HZ times.  With no probe to send there is nothing to wait for, and it is over before anybody can look."""
    linux = Linux()
    monkeypatch.setattr(linux.machine, "chance", Least())
    net = beginning(linux, probes)

    assert said(linux) == (BEFORE if probes else f"{BEFORE} {AFTER}")
    assert [a.tentative for a in net.addresses("x0")] == [probes > 0]
    assert seconds_until_done(linux) == probes
    assert [a.tentative for a in net.addresses("x0")] == [False]


def test_on_lo_nobody_is_asked_whatever_the_settings_say(linux: Linux, net: Namespace) -> None:
    for value in (0, 1, 2):
        net.sysctl("net.ipv6.conf.lo.accept_dad", value)
        net.addr_add(f"2001:db8:{value}::1/64", "lo")

    assert [a.tentative for a in net.addresses("lo")] == [False] * 5
    assert linux.next_expiry() is None


def test_a_device_without_neighbours_asks_nobody_and_joins_no_group(linux: Linux, net: Namespace) -> None:
    net.link_add("tun0", flags=IFF_NOARP)
    net.link_set("tun0", up=True)
    linux.effects()
    net.addr_add(f"{A1}/64", "tun0")

    assert said(linux) == f"R+pfx:2001:db8::/64 A+(T,P){A1} {AFTER}"


@pytest.mark.parametrize(("of_all", "of_x0", "asked"), [(0, 0, False), (0, 1, True), (1, 0, True), (-1, -1, False)])
def test_both_settings_must_say_no_for_nobody_to_be_asked(
    linux: Linux, net: Namespace, of_all: int, of_x0: int, asked: bool
) -> None:
    net.sysctl("net.ipv6.conf.all.accept_dad", of_all)
    net.sysctl("net.ipv6.conf.x0.accept_dad", of_x0)
    linux.effects()
    net.addr_add(f"{A1}/64", "x0")

    assert said(linux) == (BEFORE if asked else f"{BEFORE} {AFTER}")


def test_nodad_is_said_once_with_its_route(linux: Linux, net: Namespace) -> None:
    net.addr_add(f"{A1}/64", "x0", nodad=True)

    assert said(linux) == f"R+pfx:2001:db8::/64 {SOLICITED} A+(NODAD,P){A1} R+loc:{A1}"


def test_an_address_of_a_device_that_is_down_waits_for_it(linux: Linux, net: Namespace) -> None:
    net.link_set("x0", up=False)
    linux.effects()
    net.addr_add(f"{A1}/64", "x0")
    assert said(linux) == f"A+(T,P){A1} {SOLICITED}"
    linux.advance(100)
    assert (said(linux), [a.tentative for a in net.addresses("x0")]) == ("", [True])

    net.link_set("x0", up=True)
    assert said(linux) == "L M4+224.0.0.1 R+pfx:2001:db8::/64 I"
    assert 1 <= seconds_until_done(linux) < 2
    assert said(linux) == AFTER


@pytest.mark.parametrize("how", ["delete", "down", "disable", "unregister"])
def test_an_address_that_is_gone_is_asked_for_no_more(linux: Linux, net: Namespace, how: str) -> None:
    net.addr_add(f"{A1}/64", "x0")
    match how:
        case "delete":
            net.addr_del(f"{A1}/64", "x0")
        case "down":
            net.link_set("x0", up=False)
        case "disable":
            net.sysctl("net.ipv6.conf.x0.disable_ipv6", 1)
        case "unregister":
            net.link_del("x0")
    linux.effects()

    assert (linux.next_expiry(), said(linux)) == (None, "")


def test_a_device_that_goes_down_meanwhile_and_keeps_its_addresses_asks_anew(linux: Linux, net: Namespace) -> None:
    net.sysctl("net.ipv6.conf.x0.keep_addr_on_down", 1)
    net.addr_add(f"{A1}/64", "x0")
    seconds_until_done(linux)
    net.link_set("x0", up=False)
    assert [a.tentative for a in net.addresses("x0")] == [True]
    linux.effects()
    net.link_set("x0", up=True)
    assert 1 <= seconds_until_done(linux) < 2

    assert said(linux) == f"L M4+224.0.0.1 R+pfx:2001:db8::/64 I {SOLICITED} {AFTER}"


def test_noarp_switched_announces_every_address_again_within_a_second_or_two(linux: Linux, net: Namespace) -> None:
    net.addr_add(f"{A1}/64", "lo")
    linux.effects()
    net.link_set("lo", noarp=True)
    assert said(linux) == "L"
    assert seconds_until_done(linux) < 1
    assert sorted(said(linux).split()) == [f"A+{A1}", "A+::1"]


def test_a_tentative_address_cannot_be_deleted_under_another_length(net: Namespace) -> None:
    net.addr_add(f"{A1}/64", "x0")
    with pytest.raises(KernelError) as refused:
        net.addr_del(f"{A1}/128", "x0")
    assert refused.value.errno == EADDRNOTAVAIL
