"""addrsvc.keeper.sweep: everybody has a turn, and a round takes its time."""

from addrsvc.keeper.loop import Loop
from addrsvc.keeper.sweep import Sweep
from tests.keeper.keeping import turn_until


def test_everybody_has_a_turn_in_each_round(loop: Loop) -> None:
    seen: list[int] = []
    sweep = Sweep(loop, lambda: [1, 2, 3], seen.append)
    sweep.every(0.03)
    turn_until(loop, lambda: len(seen) >= 6)
    assert sorted(seen[:3]) == sorted(seen[3:6]) == [1, 2, 3]


def test_a_round_is_spread_over_its_time(loop: Loop) -> None:
    seen: list[int] = []
    Sweep(loop, lambda: list(range(100)), seen.append).every(3.0)
    turn_until(loop, lambda: len(seen) >= 1)
    assert len(seen) < 100


def test_whoever_stops_it_is_left_alone(loop: Loop) -> None:
    seen: list[int] = []
    sweep = Sweep(loop, lambda: [1], seen.append)
    sweep.every(0.01)
    turn_until(loop, lambda: len(seen) >= 1)
    sweep.every(0)
    seen.clear()
    for _ in range(5):
        loop.turn(0.01)
    assert seen == []
    sweep.every(0.01)
    turn_until(loop, lambda: len(seen) >= 1)
