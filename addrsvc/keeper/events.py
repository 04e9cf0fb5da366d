"""What the keeper tells: events of one vocabulary, in a ring that can be read from any cursor.

An event is a tuple until somebody wants to read it.  Events that belong together bear the same `cause`, the number of
the first of them: what the kernel said, what was decided, what was asked, what was acknowledged.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count, islice
from typing import Final, NamedTuple

__all__ = ["VOCABULARY", "Event", "Ring", "Word"]


class Word(NamedTuple):
    """An event's kind: how serious it is ("debug", "info", "warning", "error"), and what it says."""

    level: str
    about: str


VOCABULARY: Final[Mapping[str, Word]] = {
    "RTM_NEWADDR": Word("debug", "the kernel has an address more, or one has changed"),
    "RTM_DELADDR": Word("debug", "the kernel has an address less"),
    "RTM_DELROUTE": Word("debug", "the kernel has a local route less that a rule wants"),
    "RTM_NEWLINK": Word("debug", "lo has changed"),
    "not ready": Word("warning", "the start waits; field why tells for what"),
    "ready": Word(
        "info",
        "the start is over: all that is wanted is there, except where it cannot be had; field without names those "
        "namespaces",
    ),
    "attached": Word("info", "a namespace is watched from now on"),
    "renamed": Word("info", "a namespace is kept under another of its names from now on, which field instead tells"),
    "named": Word("info", "a namespace has a name more, or one less; field names tells all that it has"),
    "conflict": Word("warning", "the rules for a namespace's names do not agree; field why tells which count"),
    "gone": Word("info", "a namespace has gone"),
    "waiting": Word("info", "a namespace that is wanted is not there"),
    "drift": Word("info", "something was missing, or too much, when it was looked at"),
    "repair": Word("info", "what was missing is asked for; field recipe tells how, and why what"),
    "repaired": Word("info", "the kernel has acknowledged it; field us tells how long it took"),
    "refused": Word("warning", "the kernel has refused it"),
    "held": Word("info", "something is missing and cannot be asked for yet; field why tells what it waits for"),
    "yield": Word("info", "a repair waits for what has gone to come back by itself"),
    "reported": Word("warning", "something is missing, and the rule says only to tell"),
    "withdraw": Word("info", "an address that is not wanted any more is deprecated, and drains"),
    "withdrawn": Word("info", "an address of ours has been deleted"),
    "finished": Word(
        "warning",
        "an earlier process was killed while it dropped many addresses at once; field off tells whether IPv6 was off "
        "on lo since, and restored how much was asked for again",
    ),
    "limited": Word("info", "namespaces are heard in a way that costs more; field why tells what is missing"),
    "lost": Word(
        "warning",
        "the kernel said more than the buffer holds, within as many seconds as field seconds tells; everything was "
        "looked at again",
    ),
    "fight": Word("error", "somebody undoes every repair; repairs are made ever more seldom"),
    "peace": Word("info", "a fight has ended, or was resumed by command"),
    "reload": Word("info", "another configuration is in force"),
    "reload failed": Word("error", "a configuration is wrong; the one before stays in force"),
    "command": Word("info", "somebody asked for a change, which field command tells; fields uid and pid tell who"),
    "inject": Word(
        "info", "somebody injected an event; fields uid and pid tell who, and real whether the keeper hears it"
    ),
    "denied": Word(
        "warning",
        "somebody asked for what they may not, by the method of the control socket that is told; fields uid, gid, pid "
        "and comm tell who, or count how many more attempts there were",
    ),
    "divergence": Word("warning", "what the model and the kernel say differs, and cannot be mended"),
}


class Event(NamedTuple):
    """One thing that has happened.

    Attributes:
        seq: its number, which is also a reader's cursor.
        time: nanoseconds since 1970.
        name: a word of VOCABULARY.
        netns: which namespace it is about; empty where none.
        cause: the number of the event that it all began with.
        fields: what else there is to say, values that JSON knows.
    """

    seq: int
    time: int
    name: str
    netns: str
    cause: int
    fields: Mapping[str, object]


class Ring:
    """The last events.  One thread tells, any may read.

    Args:
        size: how many it keeps.
        first: the number of the first event to be told; numbers of an earlier process are smaller.

    Attributes:
        boot: tells this ring from that of any other process.
    """

    def __init__(self, size: int = 10_000, first: int = 1) -> None:
        self._events: deque[Event] = deque(maxlen=size)
        self._numbers = count(first)
        self._next = first
        self._wakers: list[Callable[[Event], None]] = []
        self.boot: Final = os.urandom(8).hex()

    @property
    def next(self) -> int:
        """The cursor of who has read everything."""
        return self._next

    def tell(self, name: str, netns: str = "", cause: int | None = None, **fields: object) -> int:
        """Add an event.

        Returns:
            Its number, the `cause` of what follows from it.
        """
        seq = next(self._numbers)
        event = Event(seq, time.time_ns(), name, netns, seq if cause is None else cause, fields)
        self._events.append(event)
        self._next = seq + 1
        for waker in self._wakers:
            waker(event)
        return seq

    def since(self, cursor: int, most: int = 1000) -> tuple[list[Event], int, int]:
        """The events from `cursor` on, at most so many; the cursor behind them; how many before them were lost."""
        events = list(self._events)
        first = events[0].seq if events else self._next
        start = max(cursor, first)
        found = list(islice(events, max(0, start - first), max(0, start - first) + most))
        return found, (found[-1].seq + 1 if found else start), start - cursor

    def subscribe(self, waker: Callable[[Event], None]) -> Callable[[], None]:
        """Call back with each event, in the thread that tells it, quickly; the result ends that."""
        self._wakers = [*self._wakers, waker]

        def end() -> None:
            self._wakers = [other for other in self._wakers if other is not waker]

        return end
