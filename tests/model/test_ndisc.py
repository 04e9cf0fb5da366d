"""When a device's neighbours are forgotten, and expired routes with them."""

from collections.abc import Callable

import pytest

from addrsvc import Linux
from addrsvc.linux import Namespace
from addrsvc.model.ndisc import NDISC_NOTIFY_PRIORITY, neigh_update, neighbours
from addrsvc.model.rtnl import rtnl_lock
from tests.model.ears import said

PEER, MAC = bytes(15) + b"\x07", bytes.fromhex("020000000007")


@pytest.fixture
def linux() -> Linux:
    """x0 and x1, up, each with a neighbour."""
    linux = Linux()
    for name in ("x0", "x1"):
        linux.init_net.link_add(name)
        linux.init_net.link_set(name, up=True)
        with rtnl_lock(linux.machine):
            neigh_update(linux.init_net.device(name), PEER, MAC)
    return linux


def no_carrier(net: Namespace) -> None:
    net.device("x0").carrier = False
    net.link_set("x0", alias="x")


def no_carrier_but_kept(net: Namespace) -> None:
    net.sysctl("net.ipv6.conf.x0.ndisc_evict_nocarrier", 0)
    no_carrier(net)


def no_carrier_but_kept_by_all(net: Namespace) -> None:
    net.sysctl("net.ipv6.conf.all.ndisc_evict_nocarrier", 0)
    no_carrier(net)


@pytest.mark.parametrize(
    ("act", "left"),
    [
        (lambda net: net.link_set("x0", up=False), {}),
        (lambda net: net.link_set("x0", address="02:00:00:00:00:01"), {}),
        (lambda net: net.link_set("x0", noarp=True), {}),
        (lambda net: net.link_set("x0", debug=True), {PEER: MAC}),
        (lambda net: net.link_set("x0", mtu=1400), {PEER: MAC}),
        (lambda net: net.link_set("x0", alias="x"), {PEER: MAC}),
        (lambda net: net.inject("CHANGE", "x0", flags_changed="NOARP"), {}),
        (lambda net: net.inject("NOTIFY_PEERS", "x0"), {PEER: MAC}),
        (no_carrier, {}),
        (no_carrier_but_kept, {PEER: MAC}),
        (no_carrier_but_kept_by_all, {PEER: MAC}),
    ],
)
def test_neighbours_are_forgotten_when_they_can_no_longer_be_true(
    linux: Linux, act: Callable[[Namespace], object], left: dict[bytes, bytes]
) -> None:
    net = linux.init_net
    act(net)

    assert neighbours(net.device("x0")) == left
    assert neighbours(net.device("x1")) == {PEER: MAC}


def test_what_neighbours_gives_is_a_copy(linux: Linux) -> None:
    neighbours(linux.init_net.device("x0")).clear()
    assert neighbours(linux.init_net.device("x0")) == {PEER: MAC}


@pytest.mark.parametrize(("what", "collected"), [("address", True), ("down", True), ("alias", False)])
def test_a_new_address_or_none_collects_what_has_expired(linux: Linux, what: str, collected: bool) -> None:
    net = linux.init_net
    net.addr_add("2001:db8::1/64", "x1", valid_lft=5)
    linux.advance(10)
    linux.effects()
    match what:
        case "address":
            net.link_set("x0", address="02:00:00:00:00:01")
        case "down":
            net.link_set("x0", up=False)
        case "alias":
            net.link_set("x0", alias="x")

    assert ("R-pfx:2001:db8::/64" in said(linux)) is collected


def test_neighbour_discovery_stands_behind_addrconf() -> None:
    assert NDISC_NOTIFY_PRIORITY == -5
