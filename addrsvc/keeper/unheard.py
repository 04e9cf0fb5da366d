"""Namespaces that cannot be heard or asked just now: tried again and again, ever more seldom."""

from collections.abc import Callable, Mapping
from typing import Final

from addrsvc.keeper.events import Ring
from addrsvc.keeper.loop import Loop, Timer

__all__ = ["Unheard"]

_FIRST: Final = 1.0
"""Seconds until what cannot be heard or asked is tried again; each time it is twice as long ..."""
_LONGEST: Final = 60.0
"""... up to this."""


class Unheard:
    """Those there are.

    Args:
        loop: whose timer brings the next try.
        ring: where it is told why, as long as that is news.
        again: tries one, by its label and its descriptor; where that fails once more it comes back by `add`.
    """

    def __init__(self, loop: Loop, ring: Ring, again: Callable[[str, int], object]) -> None:
        self._loop = loop
        self._ring = ring
        self._again: Final = again
        self._all: dict[str, tuple[int, str]] = {}
        self._timer: Timer | None = None
        self._seconds = _FIRST

    def add(self, label: str, netns_fd: int, why: str) -> None:
        """One cannot be heard or asked: try again, soon if that is new."""
        before = self._all.get(label, (0, ""))[1]
        if before != why:
            self._ring.tell("waiting", label, None, why=why)
        self._all[label] = netns_fd, why
        self._try_in(self._seconds if before else _FIRST)

    def forget(self, label: str) -> None:
        """It can be heard, or has gone."""
        self._all.pop(label, None)

    def rename(self, label: str, instead: str) -> None:
        """It is called otherwise, if it is one of these."""
        if label in self._all:
            self._all[instead] = self._all.pop(label)

    def why(self) -> Mapping[str, str]:
        """Why, for each."""
        return {label: why for label, (_, why) in self._all.items()}

    def close(self) -> None:
        """Try no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _try_in(self, seconds: float) -> None:
        """Try again after so many seconds, if that is not to be done before."""
        if self._timer is not None:
            if self._seconds <= seconds:
                return
            self._timer.cancel()
        self._seconds = seconds
        self._timer = self._loop.call_later(seconds, self._try)

    def _try(self) -> None:
        self._timer = None
        self._seconds = min(2 * self._seconds, _LONGEST)
        for label, (netns_fd, _) in tuple(self._all.items()):
            self._again(label, netns_fd)
