"""kernel/time/timer.c: what is due runs by expiry, then by order of arming; time is handed in and never goes back."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc.model.timer import (
    HZ,
    INITIAL_JIFFIES,
    Timer,
    TimerBase,
    cstamp_delta,
    del_timer,
    jiffies_to_clock_t,
    mod_timer,
    next_expiry,
    round_jiffies_up,
    run_timers,
)


class Clock:
    """A base at 0 whose timers write down their name and when they ran."""

    def __init__(self) -> None:
        self.base = TimerBase(0)
        self.ran: list[tuple[str, int]] = []

    def timer(self, name: str, then: Callable[[], object] | None = None) -> Timer:
        def run() -> None:
            self.ran.append((name, self.base.jiffies))
            if then:
                then()

        return Timer(run)

    def arm(self, name: str, expires: int, then: Callable[[], object] | None = None) -> Timer:
        timer = self.timer(name, then)
        mod_timer(self.base, timer, expires)
        return timer


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_clock_starts_five_minutes_before_32_bits_overflow() -> None:
    assert TimerBase().jiffies == INITIAL_JIFFIES == 2**32 - 300 * HZ
    assert HZ == 250


@given(st.lists(st.integers(0, 50)))
def test_timers_run_by_expiry_then_by_order_of_arming_each_at_its_own_time(expiries: list[int]) -> None:
    clock = Clock()
    for nth, expires in enumerate(expiries):
        clock.arm(f"{nth:03}", expires)
    run_timers(clock.base, 100)

    assert clock.ran == sorted(((f"{nth:03}", at) for nth, at in enumerate(expiries)), key=lambda ran: (ran[1], ran[0]))


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 60)))
def test_time_in_many_small_steps_runs_the_same_as_in_one(expiries: list[int], steps: list[int]) -> None:
    whole, parts = Clock(), Clock()
    for clock in (whole, parts):
        for nth, expires in enumerate(expiries):
            clock.arm(f"{nth:03}", expires)
    run_timers(whole.base, 60)
    for now in [*sorted(steps), 60]:
        run_timers(parts.base, now)

    assert whole.ran == parts.ran


def test_what_is_not_due_waits(clock: Clock) -> None:
    clock.arm("late", 11)
    run_timers(clock.base, 10)
    assert (clock.ran, clock.base.jiffies, next_expiry(clock.base)) == ([], 10, 11)
    run_timers(clock.base, 11)
    assert (clock.ran, next_expiry(clock.base)) == ([("late", 11)], None)


def test_arming_again_moves_a_timer(clock: Clock) -> None:
    timer = clock.arm("a", 5)
    clock.arm("b", 7)
    mod_timer(clock.base, timer, 7)
    assert next_expiry(clock.base) == 7
    run_timers(clock.base, 10)

    assert clock.ran == [("b", 7), ("a", 7)]


def test_a_timer_that_is_disarmed_does_not_run(clock: Clock) -> None:
    timer = clock.arm("a", 5)

    assert (del_timer(timer), del_timer(timer), next_expiry(clock.base)) == (True, False, None)
    run_timers(clock.base, 10)
    assert clock.ran == []


def test_a_timer_may_arm_itself_and_others_and_disarm_who_is_due(clock: Clock) -> None:
    victim = clock.arm("victim", 6)
    again: list[Timer] = []

    def act() -> None:
        del_timer(victim)
        clock.arm("other", 5)
        if clock.base.jiffies < 20:
            mod_timer(clock.base, again[0], clock.base.jiffies + 10)

    again.append(clock.arm("again", 5, act))
    run_timers(clock.base, 30)

    assert clock.ran == [("again", 5), ("other", 5), ("again", 15), ("other", 15), ("again", 25), ("other", 25)]


def test_time_never_goes_back(clock: Clock) -> None:
    run_timers(clock.base, 10)
    run_timers(clock.base, 5)
    assert clock.base.jiffies == 10
    clock.arm("past", 3)
    run_timers(clock.base, 0)
    assert clock.ran == []
    run_timers(clock.base, 10)
    assert clock.ran == [("past", 10)]


@pytest.mark.parametrize(("jiffies", "up"), [(0, 0), (1, 250), (249, 250), (250, 250), (251, 500)])
def test_rounding_up_gives_whole_seconds(jiffies: int, up: int) -> None:
    assert round_jiffies_up(jiffies) == up


@pytest.mark.parametrize(("jiffies", "ticks"), [(0, 0), (2, 0), (3, 1), (250, 100), (251, 100)])
def test_user_space_is_told_hundredths_of_a_second(jiffies: int, ticks: int) -> None:
    assert jiffies_to_clock_t(jiffies) == ticks
    assert cstamp_delta(INITIAL_JIFFIES + jiffies) == ticks
