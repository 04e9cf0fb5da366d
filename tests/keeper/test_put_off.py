"""What cannot wait is done before what can, however many namespaces and descriptors there are."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from addrsvc.keeper.events import Event
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.messages import DELETE_LOOPBACK
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import Wanted
from addrsvc.keeper.watch import NsidWatch, SocketWatch
from addrsvc.mirror.netns import NetNs, create_anonymous
from tests.keeper.keeping import MakeWatch, keeping

MANY = 8


@pytest.fixture
def many(cap_sys_admin: None) -> Iterator[list[tuple[NetNs, Requests]]]:
    with ExitStack() as stack:
        netns = [stack.enter_context(create_anonymous(str(number))) for number in range(MANY)]
        yield [(each, stack.enter_context(Requests.to(each.fileno()))) for each in netns]


@pytest.mark.parametrize("make_watch", [SocketWatch, NsidWatch])
def test_all_namespaces_are_healed_before_anything_is_told(
    many: list[tuple[NetNs, Requests]], make_watch: MakeWatch
) -> None:
    """Whatever listens to what is told keeps no namespace waiting."""
    with keeping(None, Wanted(), make_watch=make_watch) as kept:
        for number, (netns, _) in enumerate(many):
            kept.found(netns, str(number))
        kept.quiet()
        present: list[int] = []

        def told(event: Event) -> None:
            present.append(sum(requests.has(LOOPBACK[0]) for _, requests in many))

        kept.ring.subscribe(told)
        for _, requests in many:
            assert requests.ask([DELETE_LOOPBACK]) == []
        kept.until(lambda: present)

        assert present[0] == MANY


def test_what_is_heard_depends_on_what_was_put_off(many: list[tuple[NetNs, Requests]]) -> None:
    """Of one namespace everything is done in order, even if all of it is there before anything is read."""
    with keeping(None, Wanted()) as kept:
        (netns, requests), *_ = many
        kept.found(netns)
        kept.quiet()
        kept.skip()
        for _ in range(3):
            assert requests.ask([DELETE_LOOPBACK]) == []
            kept.until_told("repaired")
        names = [event.name for event in kept.told("RTM_DELADDR", "repair", "repaired")][-9:]

        assert names == ["RTM_DELADDR", "repair", "repaired"] * 3


# --- the loop ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_what_is_left_for_afterwards_is_done_when_nothing_is_ready(loop: Loop, pipe: tuple[int, int]) -> None:
    done: list[str] = []

    def ready() -> None:
        done.append(os.read(pipe[0], 1).decode())
        loop.afterwards(lambda: done.append("afterwards"))

    loop.watch(pipe[0], ready)
    os.write(pipe[1], b"abc")
    loop.call(lambda: done.append("call"))
    loop.turn()

    assert done == ["a", "b", "c", *["afterwards"] * 3, "call"]


def test_what_is_always_ready_does_not_keep_what_was_left_for_ever(loop: Loop, pipe: tuple[int, int]) -> None:
    done: list[int] = []
    loop.watch(pipe[0], lambda: loop.afterwards(lambda: done.append(1)))
    os.write(pipe[1], b"a")

    loop.turn()

    assert done


def test_what_is_left_for_afterwards_by_a_call_is_done_without_anything_being_ready(loop: Loop) -> None:
    loop.call(lambda: loop.afterwards(loop.stop))

    loop.run()
