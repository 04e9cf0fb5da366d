"""The trace: what was recorded, told as a nested story."""

import gc
from collections.abc import Callable

import pytest

from addrsvc.model.notifier import (
    NOTIFY_BAD,
    NOTIFY_DONE,
    NOTIFY_OK,
    NotifierBlock,
    RawNotifierHead,
    notifier_call_chain,
    raw_notifier_call_chain,
    raw_notifier_call_chain_robust,
    raw_notifier_chain_register,
    raw_notifier_chain_unregister,
)
from addrsvc.model.tracepoint import CallbackRan, ChainEntered, ChainLeft, Recorded, Trace, Tracepoint


@pytest.fixture
def trace() -> Trace:
    """A trace that is on."""
    trace = Trace()
    trace.on = True
    return trace


def chain(trace: Trace, name: str, *blocks: NotifierBlock) -> RawNotifierHead:
    """A chain of these blocks, whose registration is not told."""
    nh = RawNotifierHead(name, trace)
    for nb in blocks:
        raw_notifier_chain_register(nh, nb)
    trace.clear()
    return nh


def says(trace: Trace, name: str, *effects: str, ret: int = NOTIFY_DONE) -> NotifierBlock:
    """A block whose callback records these effects."""

    def callback(val: int, v: object) -> int:
        for effect in effects:
            trace.record(effect)
        return ret

    return NotifierBlock(callback, name=name)


def test_a_trace_is_off_until_it_is_turned_on() -> None:
    trace = Trace()
    nh = chain(trace, "outer", says(trace, "a", "effect"))

    raw_notifier_call_chain(nh, 1, None)
    trace.hit("notifier_register", "a")

    assert list(trace.story()) == []


def test_a_story_tells_each_callback_before_what_it_caused(trace: Trace) -> None:
    nh = chain(trace, "outer", says(trace, "a", ret=NOTIFY_OK), says(trace, "b", "one", "two"), says(trace, "c"))

    trace.record("before")
    raw_notifier_call_chain(nh, 1, "info")
    trace.record("after")

    assert list(trace.story()) == [
        Recorded(0, "before"),
        ChainEntered(0, "outer", 1, "info"),
        CallbackRan(1, "a", 0, NOTIFY_OK),
        CallbackRan(1, "b", 0, NOTIFY_DONE),
        Recorded(2, "one"),
        Recorded(2, "two"),
        CallbackRan(1, "c", 0, NOTIFY_DONE),
        ChainLeft(0, "outer", NOTIFY_DONE),
        Recorded(0, "after"),
    ]


def test_a_chain_called_by_a_callback_is_told_inside_it(trace: Trace) -> None:
    inner = chain(trace, "inner", says(trace, "x", "effect", ret=NOTIFY_BAD), says(trace, "never"))
    outer = chain(
        trace,
        "outer",
        NotifierBlock(lambda val, v: raw_notifier_call_chain(inner, 2, v) and NOTIFY_OK, 7, "a"),
        says(trace, "b"),
    )

    raw_notifier_call_chain(outer, 1, None)

    assert list(trace.story()) == [
        ChainEntered(0, "outer", 1, None),
        CallbackRan(1, "a", 7, NOTIFY_OK),
        ChainEntered(2, "inner", 2, None),
        CallbackRan(3, "x", 0, NOTIFY_BAD),
        Recorded(4, "effect"),
        ChainLeft(2, "inner", NOTIFY_BAD),
        CallbackRan(1, "b", 0, NOTIFY_DONE),
        ChainLeft(0, "outer", NOTIFY_DONE),
    ]


def test_an_empty_chain_is_not_worth_telling(trace: Trace) -> None:
    nh = chain(trace, "empty")
    raw_notifier_call_chain(nh, 1, None)
    notifier_call_chain(nh, 1, None)

    assert list(trace.story()) == []


def test_counted_and_robust_calls_are_told_too(trace: Trace) -> None:
    nh = chain(trace, "chain", says(trace, "a", ret=NOTIFY_OK), says(trace, "b", ret=NOTIFY_BAD))

    notifier_call_chain(nh, 1, None, 1)
    raw_notifier_call_chain_robust(nh, 2, 3, None)

    assert list(trace.story()) == [
        ChainEntered(0, "chain", 1, None),
        CallbackRan(1, "a", 0, NOTIFY_OK),
        ChainLeft(0, "chain", NOTIFY_OK),
        ChainEntered(0, "chain", 2, None),
        CallbackRan(1, "a", 0, NOTIFY_OK),
        CallbackRan(1, "b", 0, NOTIFY_BAD),
        ChainLeft(0, "chain", NOTIFY_BAD),
        ChainEntered(0, "chain", 3, None),
        CallbackRan(1, "a", 0, NOTIFY_OK),
        ChainLeft(0, "chain", NOTIFY_OK),
    ]


def test_registration_and_removal_are_tracepoints_in_the_kernels_words(trace: Trace) -> None:
    nh = RawNotifierHead("chain", trace)
    nb = says(trace, "addrconf_notify")
    raw_notifier_chain_register(nh, nb)
    raw_notifier_call_chain(nh, 1, None)
    raw_notifier_chain_unregister(nh, nb)

    first, _, ran, _, last = trace.story()

    assert isinstance(first, Recorded)
    assert isinstance(last, Recorded)
    assert [str(first.what), str(ran), str(last.what)] == [
        "notifier_register: addrconf_notify",
        "notifier_run: addrconf_notify",
        "notifier_unregister: addrconf_notify",
    ]


def test_a_chain_that_changes_while_it_runs_is_told_as_it_ran(trace: Trace) -> None:
    def unregister(val: int, v: object) -> int:
        raw_notifier_chain_unregister(nh, third)
        return NOTIFY_OK

    third = says(trace, "c")
    nh = chain(trace, "chain", NotifierBlock(unregister), says(trace, "b", "effect"), third, says(trace, "d"))

    raw_notifier_call_chain(nh, 1, None)

    assert list(trace.story()) == [
        ChainEntered(0, "chain", 1, None),
        CallbackRan(1, "unregister", 0, NOTIFY_OK),
        Recorded(2, Tracepoint("notifier_unregister", "c")),
        CallbackRan(1, "b", 0, NOTIFY_DONE),
        Recorded(2, "effect"),
        CallbackRan(1, "d", 0, NOTIFY_DONE),
        ChainLeft(0, "chain", NOTIFY_DONE),
    ]


@pytest.mark.parametrize("call", [raw_notifier_call_chain, notifier_call_chain])
def test_a_callback_that_raises_ends_the_chain_without_a_value(
    trace: Trace, call: Callable[[RawNotifierHead, int, object], object]
) -> None:
    def bug(val: int, v: object) -> int:
        raise ZeroDivisionError

    nh = chain(trace, "chain", says(trace, "a"), NotifierBlock(bug), says(trace, "never"))

    with pytest.raises(ZeroDivisionError):
        call(nh, 1, None)
    trace.record("after")

    assert list(trace.story()) == [
        ChainEntered(0, "chain", 1, None),
        CallbackRan(1, "a", 0, NOTIFY_DONE),
        CallbackRan(1, "bug", 0, None),
        ChainLeft(0, "chain", None),
        Recorded(0, "after"),
    ]


def test_a_story_told_by_a_running_callback_does_not_know_its_end(trace: Trace) -> None:
    told: list[object] = []

    def tell(val: int, v: object) -> int:
        trace.record("so far")
        told.extend(trace.story())
        return NOTIFY_OK

    raw_notifier_call_chain(chain(trace, "chain", NotifierBlock(tell)), 1, None)

    assert told == [ChainEntered(0, "chain", 1, None), CallbackRan(1, "tell", 0, None), Recorded(2, "so far")]


def test_the_ring_forgets_the_oldest_first_and_tells_the_rest(trace: Trace) -> None:
    """Whatever the ring has lost, the walks that it still holds as a whole are told as ever."""
    blocks = [says(trace, name, f"{name} says") for name in "abc"]
    whole = chain(trace, "chain", *blocks)
    raw_notifier_call_chain(whole, 1, None)
    full = list(trace.story())
    records = len(trace.ring)

    for size in range(records, 2 * records):
        small = Trace(size)
        small.on = True
        small.ring.extend([*trace.ring, *trace.ring])
        told = list(small.story())
        assert told[-len(full) :] == full
        assert all(isinstance(entry, Recorded) for entry in told[: -len(full)])


def test_turning_the_trace_on_inside_a_callback_records_from_the_next_walk_on() -> None:
    trace = Trace()

    def turn_on(val: int, v: object) -> int:
        trace.on = True
        return NOTIFY_OK

    nh = chain(trace, "chain", NotifierBlock(turn_on), says(trace, "b"))
    raw_notifier_call_chain(nh, 1, None)
    assert list(trace.story()) == []

    raw_notifier_call_chain(nh, 2, None)
    assert [type(entry) for entry in trace.story()] == [ChainEntered, CallbackRan, CallbackRan, ChainLeft]


def test_a_walk_that_is_recorded_is_recorded_to_its_end(trace: Trace) -> None:
    def turn_off(val: int, v: object) -> int:
        trace.on = False
        return NOTIFY_OK

    nh = chain(trace, "chain", NotifierBlock(turn_off), says(trace, "b"))
    raw_notifier_call_chain(nh, 1, None)
    told = list(trace.story())
    assert [type(entry) for entry in told] == [ChainEntered, CallbackRan, CallbackRan, ChainLeft]

    raw_notifier_call_chain(nh, 2, None)
    assert list(trace.story()) == told


def test_a_trace_does_not_keep_its_chains_alive(trace: Trace) -> None:
    nh = chain(trace, "chain", says(trace, "a"))
    trace.on = False
    del nh
    gc.collect()

    assert not list(trace.chains)


def test_a_cleared_trace_has_nothing_to_tell(trace: Trace) -> None:
    trace.record("effect")
    trace.clear()

    assert list(trace.story()) == []
