"""::1 is put back by the kernel itself, as long as that is what would be decided, and told as if we had done it."""

import sys
from collections.abc import Iterator
from functools import partial
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from threading import Thread

import pytest

from addrsvc.keeper import reflex
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_DOWN, LO_UP, deladdr, newaddr
from addrsvc.keeper.rtnl import Requests, open_rtnl
from addrsvc.keeper.wanted import FightLimits, Lo, Loopback, Reaction, Wanted
from addrsvc.keeper.watch import SocketWatch
from addrsvc.mirror.netns import NetNs
from addrsvc.uapi import RTM_DELADDR, RTNLGRP_IPV6_IFADDR
from tests.keeper.keeping import LABEL, Keeping, keeping, service
from tests.keeper.test_uring import forbidden
from tests.waiting import until

WANTED = Wanted(fights=FightLimits(reversals=100))

pytestmark = pytest.mark.skipif(bool(forbidden()), reason=forbidden() or "-")


@pytest.fixture
def kept(netns: NetNs) -> Iterator[Keeping]:
    with keeping(netns, WANTED) as kept:
        yield kept


def delete(netns: NetNs) -> None:
    """Have ::1 deleted by another thread: what is asked of the kernel here is answered here, too."""
    aside(netns, DELETE_LOOPBACK)


def aside(netns: NetNs, message: bytes) -> None:
    def body() -> None:
        with Requests.to(netns.fileno()) as requests:
            assert requests.ask([message]) == []

    thread = Thread(target=body)
    thread.start()
    thread.join()


def told_deletion(netns: NetNs) -> bytes:
    """What the kernel says when ::1 is deleted, having that done."""
    with open_rtnl(netns.fileno(), groups=(RTNLGRP_IPV6_IFADDR,)) as listening:
        delete(netns)
        return listening.recv(1 << 12)


def pretend(netns: NetNs, said: bytes) -> None:
    """Say what the kernel has said, as somebody who may send for it."""
    with open_rtnl(netns.fileno()) as sock:
        sock.sendto(said, (0, 1 << RTNLGRP_IPV6_IFADDR - 1))


def has_reflex(kept: Keeping) -> bool:
    one = kept.keeper.get(LABEL)
    return one is not None and one.reflex is not None


def test_it_is_back_before_the_keeper_does_anything(netns: NetNs, kept: Keeping, requests: Requests) -> None:
    assert has_reflex(kept)
    before = kept.ring.next
    delete(netns)
    until(lambda: requests.has(LOOPBACK[0]))
    assert kept.ring.next == before
    gone = kept.until_told("RTM_DELADDR", address="::1/128")
    assert kept.until_told("repair", why="deleted", recipe="restore ::1").cause == gone.seq
    assert kept.until_told("repaired", recipe="restore ::1").cause == gone.seq


def test_it_is_ready_for_the_next_time(netns: NetNs, kept: Keeping, requests: Requests) -> None:
    for _ in range(30):
        delete(netns)
        until(lambda: requests.has(LOOPBACK[0]))
        kept.until_told("repaired", recipe="restore ::1")
        kept.loop.turn()
    repairs = [event for event in kept.told("repair") if event.fields["why"] == "deleted"]
    assert len(kept.told("RTM_DELADDR")) == len(repairs) == 30


def test_one_deletion_behind_another_is_answered_too(netns: NetNs, kept: Keeping, requests: Requests) -> None:
    delete(netns)
    until(lambda: requests.has(LOOPBACK[0]))
    delete(netns)
    kept.until_told("repaired")
    kept.until_told("repaired")
    assert requests.has(LOOPBACK[0])


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(loopback=Loopback.LEAVE),
        Wanted(loopback=Loopback.FORBID),
        Wanted(loopback_reaction=Reaction.REPORT),
        Wanted(loopback_reaction=Reaction.YIELD_THEN_HEAL, loopback_yield_for=1000.0),
    ],
    ids=["leave", "forbid", "report", "yield"],
)
def test_it_is_not_put_back_where_that_is_not_wanted(
    netns: NetNs, kept: Keeping, requests: Requests, wanted: Wanted
) -> None:
    kept.want(wanted)
    if wanted.loopback is not Loopback.FORBID:
        delete(netns)
    kept.quiet()
    assert not requests.has(LOOPBACK[0])


def test_a_fight_is_not_fought_by_reflex(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(fights=FightLimits(reversals=3))) as kept:
        for _ in range(3):
            delete(netns)
            kept.until_told("repaired", recipe="restore ::1")
            kept.quiet()
        assert kept.told("fight")
        delete(netns)
        assert not requests.has(LOOPBACK[0])


def test_what_only_pretends_to_be_the_kernel_is_seen_through(netns: NetNs, kept: Keeping, requests: Requests) -> None:
    said = told_deletion(netns)
    kept.until_told("repaired", recipe="restore ::1")
    kept.quiet()
    pretend(netns, said)
    kept.quiet()
    assert len(kept.told("RTM_DELADDR")) == 1
    delete(netns)
    kept.until_told("repaired", recipe="restore ::1")
    assert requests.has(LOOPBACK[0])


def test_what_was_answered_to_a_pretender_is_not_taken_for_what_comes_of_the_next_repair(
    netns: NetNs, kept: Keeping
) -> None:
    said = told_deletion(netns)
    kept.until_told("repaired", recipe="restore ::1")
    kept.quiet()
    pretend(netns, said)
    for _ in range(3):
        delete(netns)
        kept.until_told("repaired", recipe="restore ::1")
        kept.quiet()


def test_who_knows_what_the_kernel_will_say_and_says_it_before_keeps_nothing_from_being_repaired(
    netns: NetNs, kept: Keeping, requests: Requests
) -> None:
    with open_rtnl(netns.fileno(), groups=(RTNLGRP_IPV6_IFADDR,)) as listening:
        delete(netns)
        kept.until_told("repaired", recipe="restore ::1")
        kept.quiet()
        _, made = listening.recv(1 << 12), listening.recv(1 << 12)
        foretold = made[:4] + int(RTM_DELADDR).to_bytes(2, sys.byteorder) + made[6:]
        pretend(netns, foretold)
        listening.recv(1 << 12)
        delete(netns)
        assert listening.recv(1 << 12) == foretold
    kept.until_told("repaired", recipe="restore ::1")
    assert requests.has(LOOPBACK[0])


def test_what_it_has_answered_is_told_whatever_else_is_wanted_meanwhile(netns: NetNs, kept: Keeping) -> None:
    delete(netns)
    kept.want(Wanted(fights=FightLimits(reversals=50)))
    cause = kept.until_told("RTM_DELADDR", address="::1/128").seq
    assert kept.until_told("repaired", recipe="restore ::1").cause == cause


def test_any_number_of_namespaces_may_have_one_after_the_other(blue: NetNs, red: NetNs) -> None:
    with keeping(blue, WANTED) as kept:
        for _ in range(10):
            kept.found(red, "red")
            kept.quiet()
            there = kept.keeper.get("red")
            assert there is not None
            assert there.reflex is not None
            kept.keeper.gone("red")


def test_any_number_of_deletions_while_it_does_not_wait_ends_nothing(netns: NetNs, requests: Requests) -> None:
    limits = FightLimits(reversals=3, within=0.2, first_wait=0.2, longest_wait=0.2)
    with keeping(netns, Wanted(fights=limits)) as kept:
        for _ in range(3):
            delete(netns)
            kept.until_told("repaired", recipe="restore ::1")
            kept.quiet()
        assert kept.told("fight")
        said = told_deletion(netns)
        for _ in range(2000):
            pretend(netns, said)
        kept.until_told("peace")
        kept.quiet()
        delete(netns)
        kept.until_told("repaired", recipe="restore ::1")
        until(lambda: requests.has(LOOPBACK[0]))


@pytest.mark.parametrize("count", [1, 100])
def test_it_waits_again_after_addresses_were_taken_away(netns: NetNs, requests: Requests, count: int) -> None:
    addresses = dict(service(f"fd00::{number:x}") for number in range(1, count + 1))
    with keeping(netns, Wanted(addresses=addresses, is_fast_flush=True)) as kept:
        kept.want(WANTED)
        kept.until_told("withdrawn")
        kept.quiet()
        for _ in range(10):
            kept.loop.turn()
        assert [event.fields.get("own") for event in kept.told("RTM_DELADDR")] == [True] * (count > 1)
        delete(netns)
        until(lambda: requests.has(LOOPBACK[0]))


def test_it_waits_again_when_what_it_has_answered_was_lost(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, WANTED, make_watch=partial(SocketWatch, largest=1 << 12)) as kept:
        noise = bytes.fromhex("fd00") + bytes(13) + b"\1"
        for _ in range(50):
            aside(netns, newaddr(noise))
            aside(netns, deladdr(noise))
        delete(netns)
        until(lambda: requests.has(LOOPBACK[0]))
        kept.until_told("lost")
        kept.quiet()
        assert not kept.told("RTM_DELADDR")
        delete(netns)
        until(lambda: requests.has(LOOPBACK[0]))


def test_it_puts_nothing_on_a_lo_that_may_stay_down(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(lo=Lo.LEAVE)) as kept:
        assert requests.ask([LO_UP]) == []
        kept.until(lambda: requests.has(LOOPBACK[0]))
        kept.quiet()
        aside(netns, LO_DOWN)
        kept.quiet()
        assert not requests.has(LOOPBACK[0])


def test_where_there_are_few_descriptors_they_are_for_other_things(netns: NetNs) -> None:
    limits = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (256, limits[1]))
    try:
        with keeping(netns, WANTED) as kept:
            assert not has_reflex(kept)
    finally:
        setrlimit(RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("what", ["Uring", "Reflex"])
def test_without_it_all_is_repaired_in_the_usual_way(
    netns: NetNs, requests: Requests, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def refuse(*_: object) -> object:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(reflex, what, refuse)
    with keeping(netns, WANTED) as kept:
        assert not has_reflex(kept)
        delete(netns)
        kept.until_told("repaired", recipe="restore ::1")
        assert requests.has(LOOPBACK[0])
