"""Who breaks lo, and how: each in a namespace of the running kernel, with the time that the repair took."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from addrsvc.keeper.events import Event
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_UP, deladdr, newaddr
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import Wanted
from addrsvc.mirror.netns import NetNs, create_named, remove_named
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.uapi import IFF_UP
from tests.keeper.keeping import Keeping, Rules, keeping, service

WANTED = Wanted(addresses=dict([service("fd00::1"), service("192.0.2.1")]))
KEYS = [LOOPBACK, *WANTED.addresses]

Breaker = Callable[[RtnlKernel, Keeping], object]
Told = Callable[[str, Event], None]


def sysctl(name: str, *, is_seen: bool = False) -> Breaker:
    """IPv6 off and on again, at once or when it was seen to be off."""

    def toggle(somebody: RtnlKernel, kept: Keeping) -> None:
        somebody.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", 1)
        if is_seen:
            kept.until_told("refused", errno="EACCES")
        somebody.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", 0)

    return toggle


def flush(somebody: RtnlKernel, kept: Keeping) -> None:
    with Requests.to(somebody.netns.fileno()) as requests:
        requests.ask([deladdr(*key) for key in requests.addresses()])


def lo_bounces(somebody: RtnlKernel, kept: Keeping) -> None:
    somebody.link_set("lo", up=False)
    somebody.link_set("lo", up=True)


def mtu_dips(somebody: RtnlKernel, kept: Keeping) -> None:
    somebody.link_set("lo", mtu=1279)
    somebody.link_set("lo", mtu=65536)


# what somebody does, and what a repair that follows gives as its cause and its recipe
BREAKERS: dict[str, tuple[Breaker, str, str]] = {
    "::1 is deleted": (lambda it, _: it.addr_del("::1/128", "lo"), "deleted", "restore ::1"),
    "a service address is deleted": (lambda it, _: it.addr_del("fd00::1/128", "lo"), "deleted", "add"),
    "an IPv4 service address is deleted": (lambda it, _: it.addr_del("192.0.2.1/32", "lo"), "deleted", "add"),
    "all is flushed": (flush, "deleted", "restore ::1"),
    "lo goes down": (lambda it, _: it.link_set("lo", up=False), "lo down", "lo up"),
    "lo goes down and up": (lo_bounces, "lo down", "add"),
    "the MTU falls below 1280": (lambda it, _: it.link_set("lo", mtu=1279), "mtu", "restore ::1"),
    "the MTU falls below 1280 and rises": (mtu_dips, "mtu", "add"),
    "lo's IPv6 is switched off, and on later": (sysctl("lo", is_seen=True), "disable_ipv6", "add"),
    "all IPv6 is switched off, and on later": (sysctl("all", is_seen=True), "disable_ipv6", "add"),
    "lo's IPv6 is switched off and on at once": (sysctl("lo"), "deleted", "add"),
    "all IPv6 is switched off and on at once": (sysctl("all"), "deleted", "add"),
}


@pytest.fixture
def kept(netns: NetNs) -> Iterator[Keeping]:
    with keeping(netns, WANTED) as kept:
        yield kept


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Told:
    """Prints how long a repair took."""

    def tell(what: str, repaired: Event) -> None:
        record_property("us", repaired.fields["us"])
        print(f"{what}: repaired in {repaired.fields['us']} us")  # noqa: T201

    return tell


def is_whole(requests: Requests) -> bool:
    """Whether lo is up and has all that is wanted."""
    return bool(requests.lo().flags & IFF_UP) and requests.addresses().keys() >= set(KEYS)


def test_lo_is_brought_up_and_has_its_addresses_at_the_start(kept: Keeping, requests: Requests) -> None:
    assert is_whole(requests)
    assert [event.fields["recipe"] for event in kept.told("repaired")] == ["lo up", "add"]


def test_what_was_broken_before_the_start_is_repaired(netns: NetNs, requests: Requests, told: Told) -> None:
    """An address of an older configuration goes, too."""
    stale = bytes.fromhex("fd00") + bytes(13) + b"\x99"
    assert requests.ask([LO_UP, DELETE_LOOPBACK, newaddr(stale)]) == []
    with keeping(netns, WANTED) as kept:
        *_, repaired = kept.told("repaired")
        assert {event.fields["why"] for event in kept.told("repair", "withdrawn")} == {"start"}
        assert requests.addresses().keys() >= set(KEYS)
        assert (stale, 128) not in requests.addresses()
        told("missing at the start", repaired)


def test_a_namespace_that_is_made_again_has_all_that_is_wanted(cap_sys_admin: None, told: Told) -> None:
    name = f"healing-{secrets.token_hex(4)}"

    def made(kept: Keeping) -> Event:
        with create_named(name) as netns, Requests.to(netns.fileno()) as requests:
            event = kept.until_told("repaired", recipe="add")
            assert is_whole(requests)
            return event

    with keeping(None, None) as kept, ExitStack() as stack:
        stack.callback(remove_named, name)
        kept.keeper.reconfigure(Named(WANTED, name=name))
        made(kept)
        remove_named(name)
        kept.until_told("gone")
        told("the namespace is made again", made(kept))


@dataclass
class Named(Rules):
    """One namespace is looked for."""

    name: str = ""

    def selectors(self) -> tuple[str, ...]:
        return (self.name,)


@pytest.mark.parametrize("what", BREAKERS)
def test_what_somebody_breaks_is_repaired(
    what: str, kept: Keeping, rtnl: RtnlKernel, requests: Requests, told: Told
) -> None:
    breaks, why, recipe = BREAKERS[what]

    breaks(rtnl, kept)
    event = kept.until_told("repaired", recipe=recipe)
    kept.until(lambda: is_whole(requests))
    kept.quiet()

    repair = next(it for it in kept.told("repair") if it.cause == event.cause and it.fields["recipe"] == recipe)
    assert repair.fields["why"] == why
    (status,) = kept.statuses()
    assert status.state == "kept"
    told(what, event)
