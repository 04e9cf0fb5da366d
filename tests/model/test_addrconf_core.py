"""What kind of address it is, who hears of addresses, and who may refuse them."""

from errno import EBUSY, EEXIST, ENOENT, EPERM
from ipaddress import IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.model.addrconf_core import (
    ipv6_addr_is_multicast,
    ipv6_addr_prefix,
    ipv6_addr_scope,
    ipv6_addr_src_scope,
    register_inet6addr_notifier,
    register_inet6addr_validator_notifier,
    rt_scope,
    unregister_inet6addr_notifier,
    unregister_inet6addr_validator_notifier,
)
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock, notifier_from_errno
from addrsvc.model.structs import In6ValidatorInfo, Inet6Ifaddr
from addrsvc.uapi import IFA_HOST, IFA_LINK, IFA_SITE, NETDEV_UP, IPV6_ADDR_COMPATv4, NetdevEvent
from tests.model.ears import said

# --- kinds of addresses ----------------------------------------------------------------------------------------------

KINDS = [
    ("::1", IFA_HOST, 2, 254), ("::", 0, -1, 0), ("::2", IPV6_ADDR_COMPATv4, 14, 0),
    ("::ffff:1.2.3.4", 0, 14, 0), ("2001:db8::1", 0, 14, 0), ("fc00::1", 0, 14, 0),
    ("fe80::1", IFA_LINK, 2, 253), ("febf::1", IFA_LINK, 2, 253), ("fec0::1", IFA_SITE, 5, 200),
    ("feff::1", IFA_SITE, 5, 200), ("ff01::1", IFA_HOST, 1, 254), ("ff02::1", IFA_LINK, 2, 253),
    ("ff05::1", IFA_SITE, 5, 200), ("ff08::1", 0, 8, 0), ("ff0e::1", 0, 14, 0), ("ff12::1", IFA_LINK, 2, 253),
]  # fmt: skip


@pytest.mark.parametrize(("text", "scope", "src_scope", "told"), KINDS)
def test_an_address_has_a_scope_a_class_and_a_scope_as_it_is_told(
    text: str, scope: int, src_scope: int, told: int
) -> None:
    packed = ip_address(text).packed

    assert (ipv6_addr_scope(packed), ipv6_addr_src_scope(packed)) == (scope, src_scope)
    assert rt_scope(ipv6_addr_scope(packed)) == told


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_the_standard_library_agrees_on_kinds(address: IPv6Address) -> None:
    assert ipv6_addr_is_multicast(address.packed) is address.is_multicast
    if not address.is_multicast:
        assert bool(ipv6_addr_scope(address.packed) & IFA_LINK) is address.is_link_local
        assert bool(ipv6_addr_scope(address.packed) & IFA_SITE) is address.is_site_local


@given(st.integers(0, 2**128 - 1), st.integers(0, 128))
def test_the_standard_library_agrees_on_prefixes(number: int, plen: int) -> None:
    network = IPv6Network((number, plen), strict=False)

    assert ipv6_addr_prefix(number.to_bytes(16), plen) == network.network_address.packed


# --- who hears -------------------------------------------------------------------------------------------------------


class Listener:
    """Hears of addresses as words: "UP ::1"."""

    def __init__(self, linux: Linux) -> None:
        self.words: list[str] = []
        self.block = NotifierBlock(self)
        self._linux = linux

    def __call__(self, event: int, ifp: Inet6Ifaddr) -> int:
        self.words.append(f"{NetdevEvent(event).name.removeprefix('NETDEV_')} {ip_address(ifp.addr)}")
        assert self._linux.machine.rtnl_held
        return NOTIFY_DONE

    def heard(self) -> str:
        words, self.words = self.words, []
        return ", ".join(words)


@pytest.fixture
def listener(linux: Linux) -> Listener:
    listener = Listener(linux)
    register_inet6addr_notifier(linux.machine, listener.block)
    return listener


def test_every_address_is_heard_of_when_it_comes_and_when_it_goes(net: Namespace, listener: Listener) -> None:
    net.link_set("lo", up=True)
    net.addr_add("2001:db8::1/64", "lo")
    net.addr_add("10.0.0.1/24", "lo")
    assert listener.heard() == "UP ::1, UP 2001:db8::1"

    net.addr_del("2001:db8::1/64", "lo")
    net.addr_add("2001:db8::2/64", "lo")
    net.link_set("lo", up=False)
    assert listener.heard() == "DOWN 2001:db8::1, UP 2001:db8::2, DOWN 2001:db8::2, DOWN ::1"


def test_a_kept_address_is_not_heard_of(net: Namespace, listener: Listener) -> None:
    net.sysctl("net.ipv6.conf.lo.keep_addr_on_down", 1)
    net.link_set("lo", up=True)
    net.addr_add("2001:db8::1/64", "lo")
    listener.heard()
    for up in (False, True):
        net.link_set("lo", up=up)

    assert listener.heard() == "DOWN ::1, UP ::1"


def test_who_unregisters_hears_no_more_and_nobody_is_on_the_chain_twice(
    linux: Linux, net: Namespace, listener: Listener
) -> None:
    with pytest.raises(KernelError) as refused:
        register_inet6addr_notifier(linux.machine, listener.block)
    assert refused.value.errno == EEXIST
    unregister_inet6addr_notifier(linux.machine, listener.block)
    with pytest.raises(KernelError) as refused:
        unregister_inet6addr_notifier(linux.machine, listener.block)
    assert refused.value.errno == ENOENT
    net.link_set("lo", up=True)

    assert listener.heard() == ""


def test_a_listener_cannot_refuse(linux: Linux, net: Namespace) -> None:
    register_inet6addr_notifier(linux.machine, NotifierBlock(lambda event, ifp: notifier_from_errno(-EPERM)))
    net.link_set("lo", up=True)

    assert [str(a.network) for a in net.addresses("lo")] == ["127.0.0.1/8", "::1/128"]


# --- who may refuse --------------------------------------------------------------------------------------------------


class Validator:
    def __init__(self, forbidden: str) -> None:
        self.forbidden = ip_address(forbidden).packed
        self.asked: list[tuple[int, str, str]] = []

    def __call__(self, event: int, question: In6ValidatorInfo) -> int:
        self.asked.append((event, str(ip_address(question.i6vi_addr)), question.i6vi_dev.dev.name))
        if question.i6vi_addr != self.forbidden:
            return NOTIFY_DONE
        question.extack = "validator: not this one"
        return notifier_from_errno(-EBUSY)


def test_a_validator_refuses_with_its_errno_and_its_text_and_nothing_is_said(linux: Linux, net: Namespace) -> None:
    validator = Validator("2001:db8::1")
    register_inet6addr_validator_notifier(linux.machine, NotifierBlock(validator))
    before = net.dump()
    linux.effects()
    with pytest.raises(KernelError) as refused:
        net.addr_add("2001:db8::1/64", "lo")

    assert (refused.value.errno, refused.value.extack) == (EBUSY, "validator: not this one")
    assert (said(linux), net.dump()) == ("", before)
    net.addr_add("2001:db8::2/64", "lo")
    assert validator.asked == [(NETDEV_UP, "2001:db8::1", "lo"), (NETDEV_UP, "2001:db8::2", "lo")]


def test_a_refused_loopback_address_leaves_lo_without_it_and_no_word(linux: Linux, net: Namespace) -> None:
    register_inet6addr_validator_notifier(linux.machine, NotifierBlock(Validator("::1")))
    linux.effects()
    net.link_set("lo", up=True)

    assert said(linux) == ("L A4+127.0.0.1 R4+loc:127.0.0.1 R4+loc:127.0.0.0/8 R4+brd:127.255.255.255 M4+224.0.0.1 I")
    assert [str(a.network) for a in net.addresses("lo")] == ["127.0.0.1/8"]


def test_validators_are_not_asked_for_what_is_refused_anyway_nor_for_what_is_there(
    linux: Linux, net: Namespace
) -> None:
    validator = Validator("::1")
    net.link_set("lo", up=True)
    net.link_add("x0")
    register_inet6addr_validator_notifier(linux.machine, NotifierBlock(validator))
    for address, dev in (("::", "lo"), ("ff02::9", "lo"), ("::1", "x0"), ("::1/128", "lo")):
        with pytest.raises(KernelError):
            net.addr_add(address, dev)

    assert validator.asked == []


def test_a_validator_that_unregisters_is_asked_no_more(linux: Linux, net: Namespace) -> None:
    block = NotifierBlock(Validator("2001:db8::1"))
    register_inet6addr_validator_notifier(linux.machine, block)
    with pytest.raises(KernelError) as refused:
        register_inet6addr_validator_notifier(linux.machine, block)
    assert refused.value.errno == EEXIST
    unregister_inet6addr_validator_notifier(linux.machine, block)
    with pytest.raises(KernelError) as refused:
        unregister_inet6addr_validator_notifier(linux.machine, block)
    assert refused.value.errno == ENOENT
    net.addr_add("2001:db8::1/64", "lo")

    assert [str(a.network) for a in net.addresses("lo")] == ["2001:db8::1/64"]
