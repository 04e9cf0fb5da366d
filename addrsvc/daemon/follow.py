"""What the keeper tells, written into the log by a thread of its own: a slow log keeps no repair waiting.

The keeper's thread looks whether an event is wanted, and hands on those that are.  They are written when nothing has
been told for a moment, since whatever is done about them would have to share the interpreter with their writing; and if
it never ends, when they are a second old.  Events that belong together bear the same `cause`.
"""

import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

from addrsvc.daemon.log import Log
from addrsvc.keeper.events import VOCABULARY, Event, Ring

__all__ = ["LogFollower"]

_MOMENT: Final = 0.01
"""How many seconds must pass without an event ..."""
_LATEST: Final = 1_000_000_000
"""... and how many nanoseconds an event waits for that."""
_MOST: Final = 10_000
"""How many events may wait; what comes then is counted only."""


class LogFollower:
    """Writes what a ring tells from now on into a log.

    Args:
        ring: what is told.
        log: whose levels say what is wanted.
        pause: lets so many seconds pass.
    """

    def __init__(self, ring: Ring, log: Log, pause: Callable[[float], object] = time.sleep) -> None:
        self._log = log
        self._names = _names(log.wanted)
        self._ring = ring
        self._pause = pause
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._lost = 0
        self._seen = ring.next
        self._is_ending = False
        self._unsubscribe = ring.subscribe(self.take)
        self._thread = threading.Thread(target=self._follow, name="log")
        self._thread.start()

    def configure(self, form: str, least: str) -> None:
        """Have the log written in that form, and what is at least that serious, from now on."""
        self._log.configure(form, least)
        self._names = _names(self._log.wanted)

    # --- in the thread of who tells ---

    def take(self, event: Event) -> None:
        """An event is told: hand it on, if it is wanted."""
        if event.name in self._names:
            self._hand_on(event)

    def _hand_on(self, event: Event) -> None:
        if self._queue.qsize() < _MOST:
            self._queue.put(event)
        else:
            self._lost += 1

    # --- in its own ---

    def _follow(self) -> None:
        told = 0
        while (event := self._queue.get()) is not None:
            self._let_pass(event)
            self._write(event)
            if (lost := self._lost) != told:
                self._log.entry("log", "warning", lost=lost - told)
                told = lost

    def _let_pass(self, event: Event) -> None:
        """Wait until nothing is told any more."""
        while self._seen != self._ring.next and not self._is_ending and time.time_ns() - event.time < _LATEST:
            self._seen = self._ring.next
            self._pause(_MOMENT)

    def _write(self, event: Event) -> None:
        netns = {"netns": event.netns} if event.netns else {}
        values = {**netns, **event.fields, "cause": event.cause, "seq": event.seq}
        self._log.write(event.name, VOCABULARY[event.name].level, event.time / 1e9, values)

    def close(self) -> None:
        """Write what there is, and end."""
        self._unsubscribe()
        self._is_ending = True
        self._queue.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _names(levels: Iterable[str]) -> frozenset[str]:
    """The words of the vocabulary that are that serious."""
    return frozenset(name for name, word in VOCABULARY.items() if word.level in levels)
