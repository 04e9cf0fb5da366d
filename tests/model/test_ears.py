"""What nobody hears is not put into words; whoever begins to listen, by whatever way, hears all from then on."""

from collections.abc import Callable

import pytest

from addrsvc import Linux
from addrsvc.linux import Namespace
from addrsvc.model.rtnl import rtnl_has_listeners
from addrsvc.model.structs import RtnlNotify
from addrsvc.netlink.messages import AddrMsg
from addrsvc.uapi import NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, SOL_NETLINK
from tests.fidelity.notation import brief


@pytest.fixture
def linux() -> Linux:
    linux = Linux(effects=False)
    linux.init_net.link_set("lo", up=True)
    return linux


@pytest.fixture
def net(linux: Linux) -> Namespace:
    return linux.init_net


def addresses_are_heard(net: Namespace) -> bool:
    return rtnl_has_listeners(net.device("lo").net, RTNLGRP_IPV6_IFADDR)


def of_a_socket(net: Namespace) -> Callable[[], None]:
    sock = net.socket()
    sock.bind(0, 1 << RTNLGRP_IPV6_IFADDR - 1)
    return sock.close


def of_a_member(net: Namespace) -> Callable[[], None]:
    sock = net.socket()
    sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV6_IFADDR)
    return lambda: sock.bind(0, 0)


def of_a_watch(net: Namespace) -> Callable[[], None]:
    return net.watch().close


def of_a_trace(net: Namespace) -> Callable[[], None]:
    net.linux.trace.on = True

    def off() -> None:
        net.linux.trace.on = False

    return off


@pytest.mark.parametrize("ear", [of_a_socket, of_a_member, of_a_watch, of_a_trace])
def test_addresses_are_heard_while_somebody_has_an_ear_for_them(
    net: Namespace, ear: Callable[[Namespace], Callable[[], None]]
) -> None:
    assert not addresses_are_heard(net)
    away = ear(net)
    assert addresses_are_heard(net)
    away()
    assert not addresses_are_heard(net)


def test_one_of_two_that_goes_leaves_the_other(net: Namespace) -> None:
    first, second = net.watch(), net.watch()
    first.close()
    first.close()
    assert addresses_are_heard(net)
    second.close()
    assert not addresses_are_heard(net)


def test_who_has_an_ear_for_another_group_hears_nothing_of_it(net: Namespace) -> None:
    net.socket().bind(0, 1 << RTNLGRP_IPV4_IFADDR - 1)

    assert not addresses_are_heard(net)


def test_a_machine_keeps_what_it_says_unless_it_is_told_not_to(linux: Linux) -> None:
    assert addresses_are_heard(Linux().init_net)
    assert linux.effects() == []


def test_a_socket_in_another_namespace_is_an_ear_too(linux: Linux, net: Namespace) -> None:
    linux.add_net("blue").socket().bind(0, 1 << RTNLGRP_IPV6_IFADDR - 1)

    assert addresses_are_heard(net)


def test_a_watch_that_comes_later_hears_the_rest(net: Namespace) -> None:
    net.addr_add("2001:db8::1/128", "lo")
    with net.watch() as watch:
        net.addr_add("2001:db8::2/128", "lo", nodad=True)
        net.addr_del("2001:db8::1/128", "lo")

        heard = brief(msg for msg in watch if isinstance(msg, AddrMsg))
    assert heard == "A+(NODAD,P)2001:db8::2 A-2001:db8::1"


def test_what_is_said_in_bytes_is_kept_told_and_traced_as_a_value() -> None:
    linux = Linux(trace=True)
    linux.effects()
    linux.trace.clear()
    watch = linux.init_net.watch()
    linux.init_net.link_set("lo", up=True)
    kept = [e.msg for e in linux.effects() if isinstance(e, RtnlNotify)]

    assert kept == list(watch)
    assert kept == [e.msg for e in linux.trace.ring if isinstance(e, RtnlNotify)]
    assert "A+::1" in brief(msg for msg in kept if isinstance(msg, AddrMsg))
