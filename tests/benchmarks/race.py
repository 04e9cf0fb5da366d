"""Contenders that take turns, and the medians of their times."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import TypeAlias

Lap: TypeAlias = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Result:
    """The times of one contender, in nanoseconds per step, one for each round."""

    times: tuple[float, ...]

    @property
    def ns(self) -> float:
        return median(self.times)

    def over(self, other: "Result") -> float:
        """How many times as long as the other, in the median round."""
        return median(mine / theirs for mine, theirs in zip(self.times, other.times, strict=True))


def race(contenders: Mapping[str, Lap], *, rounds: int, steps: int | Mapping[str, int] = 1) -> dict[str, Result]:
    """Let each contender run once in each round.  A lap is `steps` steps of what is measured, for all or for each."""
    per_lap = {name: steps if isinstance(steps, int) else steps[name] for name in contenders}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, lap in contenders.items():
            times[name].append(lap_time(lap) / per_lap[name])
    return {name: Result(tuple(taken)) for name, taken in times.items()}


def lap_time(lap: Lap) -> int:
    began = perf_counter_ns()
    lap()
    return perf_counter_ns() - began
