"""A namespace that is kept from inside: what is wanted of it, what it is called, and that its name is seen to go."""

import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from addrsvc.keeper.alone import Alone, Called, NameWatch
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.wanted import Lo, Wanted
from addrsvc.mirror.netns import create_named, open_netns, remove_named, run_in
from tests.keeper.keeping import turn_until

LEFT = Wanted(lo=Lo.LEAVE)


class Rules:
    """Rules about one namespace."""

    def selectors(self) -> tuple[str, ...]:
        return ("blue", "host")

    def wanted(self, *names: str) -> Wanted | None:
        return LEFT if set(names) & set(self.selectors()) else None


def test_the_rules_for_its_name_are_the_ones() -> None:
    assert Alone(Rules(), "blue").selectors() == ("host",)
    assert Alone(Rules(), "blue").wanted("blue") is LEFT
    assert Alone(Rules(), "blue").wanted("host") is None


def test_where_no_rule_is_about_it_it_gets_what_lo_has_by_itself() -> None:
    assert Alone(Rules(), "green").wanted("green") == Wanted()


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def expected(self, label: str) -> None:
        pass

    def opened(self, label: str, netns_fd: int) -> None:
        pass

    def found(self, label: str, netns_fd: int, door: object) -> None:
        self.told.append(("found", label, netns_fd))

    def gone(self, label: str) -> None:
        self.told.append(("gone", label))

    def renamed(self, label: str, instead: str) -> None:
        self.told.append(("renamed", label, instead))

    def named(self, label: str) -> None:
        self.told.append(("named", label))

    def waiting(self, label: str, why: str) -> None:
        self.told.append(("waiting", label, why))


def test_the_namespace_that_it_is_in_is_called_as_from_outside() -> None:
    listener = Listener()
    called = Called(listener, "blue")
    called.found("host", 3, None)
    called.renamed("red", "host")
    called.named("host")
    called.waiting("green", "no such namespace")
    called.gone("host")

    assert listener.told == [
        ("found", "blue", 3), ("renamed", "red", "blue"), ("named", "blue"), ("waiting", "green", "no such namespace"),
        ("gone", "blue"),
    ]  # fmt: skip


@pytest.fixture
def name(cap_sys_admin: None) -> Iterator[str]:
    """A namespace below /run/netns, whose name the test takes away."""
    name = f"addrsvc-alone-{uuid.uuid4().hex[:8]}"
    create_named(name).close()
    yield name
    if os.path.exists(f"/run/netns/{name}"):
        remove_named(name)


def seen_to_go(loop: Loop, label: str, name: str) -> list[str]:
    """Take a name away, in a loop that watches a label; whether that was seen."""
    seen: list[str] = []

    def gone() -> None:
        seen.append("gone")
        loop.stop()

    watch = NameWatch(loop, label, gone)
    remove_named(name)
    loop.call_later(10 if label == name else 0.2, loop.stop)
    loop.run()
    watch.close()
    return seen


def test_its_name_is_seen_to_go(name: str) -> None:
    with Loop() as loop, open_netns(name) as netns:
        assert run_in(netns, lambda: seen_to_go(loop, name, name)) == ["gone"]


def test_a_name_that_never_led_here_is_nobodys_business(name: str) -> None:
    with Loop() as loop:
        assert seen_to_go(loop, "addrsvc-nowhere", name) == []


def test_it_is_seen_each_time_that_a_name_leads_to_another_namespace(name: str) -> None:
    """Whether it led there to begin with or not; and that it leads there again is nothing new."""
    seen: list[str] = []
    with Loop() as loop, open_netns(name) as first:

        def note(what: str) -> Callable[[], None]:
            return lambda: seen.append(what)

        def has_seen(count: int) -> bool:
            return len(seen) == count

        watch = NameWatch(loop, name, note("gone"), os.fstat(first.fileno()), note("back"))
        other = NameWatch(loop, name, note("host gone"), back=note("not the host's"))
        watch.look()
        other.look()
        assert seen == ["not the host's"]
        for expected in (4, 6):
            remove_named(name)
            turn_until(loop, lambda: not os.path.exists(f"/run/netns/{name}"))
            loop.turn(0.05)
            with create_named(name):
                turn_until(loop, partial(has_seen, expected))
                loop.turn(0.05)
                loop.turn(0.05)
        watch.close()
        other.close()
    assert sorted(seen[1:]) == sorted(["gone", "back", "not the host's", "back", "not the host's"])
    assert seen[1] == "gone"
