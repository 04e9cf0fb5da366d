"""A look at everything now and then, spread out in time: a safety net for what no message has told."""

from collections.abc import Callable
from math import ceil
from typing import Final, Generic, TypeVar

from addrsvc.keeper.loop import Loop, Timer

__all__ = ["Sweep"]

T = TypeVar("T")

_TURNS: Final = 60
"""Into how many parts a round falls, at most."""


class Sweep(Generic[T]):
    """Goes round, so that each has its turn once in so many seconds.

    Args:
        loop: whose timers do it.
        everybody: gives whom a round is about, when it begins.
        look: called with each in turn.
    """

    def __init__(self, loop: Loop, everybody: Callable[[], list[T]], look: Callable[[T], object]) -> None:
        self._loop = loop
        self._everybody: Final = everybody
        self._look: Final = look
        self._to_come: list[T] = []
        self._size = 0
        self._seconds = 0.0
        self._timer: Timer | None = None

    def every(self, seconds: float) -> None:
        """A round is to take that long from now on; with 0 there is none."""
        if seconds != self._seconds:
            self.stop()
            self._seconds = seconds
            self._go_on()

    def stop(self) -> None:
        """Go round no more."""
        self._seconds = 0.0
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _go_on(self) -> None:
        if self._seconds:
            self._timer = self._loop.call_later(self._seconds / self._turns, self._turn)

    @property
    def _turns(self) -> int:
        """How many turns a round has: one for each, or fewer where they would be too many."""
        return max(1, min(self._size, _TURNS))

    def _turn(self) -> None:
        if not self._to_come:
            self._to_come = self._everybody()
            self._size = len(self._to_come)
        for _ in range(min(len(self._to_come), ceil(self._size / self._turns))):
            self._look(self._to_come.pop())
        self._go_on()
