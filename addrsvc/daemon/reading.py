"""Reading what the keeper tells, from any cursor on.

A reader holds nothing but its cursor: one that is slow costs no memory, delays nobody, and is told how much it has
lost.  A cursor says which process it is of, so that one that is kept over a restart is not taken for another place.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final, Self, TypedDict

from addrsvc.daemon.log import LEVELS, levels_from
from addrsvc.errors import ControlError
from addrsvc.keeper.events import VOCABULARY, Event, Ring
from addrsvc.keeper.kinds import near_or_all
from addrsvc.netlink.text import Json

__all__ = ["Reader", "Told", "ToldEvent", "cursor_text", "told_event"]


class ToldEvent(TypedDict):
    """One thing that has happened.

    `event` is a word of the keeper's vocabulary, `time` is in seconds since 1970, and `cause` is the `seq` of the event
    that it all began with.
    """

    seq: int
    time: float
    level: str
    event: str
    netns: str
    cause: int
    fields: Json


class Told(TypedDict):
    """What has happened, oldest first, and where to go on.

    `lost` is how many events before these were forgotten before they were read.  `restarted` is whether the cursor was
    of an earlier process, so that it is not known how many were.
    """

    events: list[ToldEvent]
    cursor: str
    lost: int
    restarted: bool


def told_event(event: Event) -> ToldEvent:
    """An event for the wire."""
    return {
        "seq": event.seq,
        "time": event.time / 1e9,
        "level": VOCABULARY[event.name].level,
        "event": event.name,
        "netns": event.netns,
        "cause": event.cause,
        "fields": dict(event.fields),
    }


def cursor_text(ring: Ring, seq: int) -> str:
    """The place before the event of this number."""
    return f"{ring.boot}:{seq}"


@dataclass(slots=True)
class Reader:
    """Reads a ring.

    Attributes:
        ring: what is read.
        cursor: the number of the next event.
        names: the words that are wanted.
        netns: the namespaces that are wanted, by any of their names; all if there are none.
        kept_as: what those are kept under; it is followed as they are renamed.
        is_restarted: the cursor that it began with is of an earlier process.
    """

    ring: Ring
    cursor: int
    names: frozenset[str]
    netns: frozenset[str] = frozenset()
    kept_as: set[str] = field(default_factory=set)
    is_restarted: bool = False

    @classmethod
    def of(
        cls,
        ring: Ring,
        cursor: str | None,
        *,
        replay: bool,
        netns: Collection[str] = (),
        kept_as: Collection[str] = (),
        level: str | None = None,
    ) -> Self:
        """A reader from a cursor on; without one from now on, or, with `replay`, from the oldest event on.

        Raises:
            ControlError: there is no such cursor or level.
        """
        names = _at_least(level or "debug")
        reader = cls(ring, 0 if replay else ring.next, names, frozenset(netns), {*netns, *kept_as})
        if cursor is None:
            return reader
        boot, colon, digits = cursor.partition(":")
        if not (colon and digits.isascii() and digits.isdecimal() and len(digits) < _DIGITS):
            raise ControlError(f"cursor: {cursor!r} is none; take the one that came with the last answer")
        if boot != ring.boot:
            return replace(reader, cursor=0, is_restarted=True)
        if int(digits) > ring.next:
            raise ControlError(f"cursor: {cursor!r} is of an event that is still to come")
        return replace(reader, cursor=int(digits))

    @property
    def has_read_all(self) -> bool:
        """Whether there is nothing left to read."""
        return self.cursor >= self.ring.next

    def take(self, most: int) -> Told:
        """The next events, at most so many."""
        behind, end, lost = self.ring.since(self.cursor, _ALL)
        lost = lost if self.cursor else 0
        found: list[ToldEvent] = []
        for event in behind:
            if self._is_wanted(event):
                if len(found) == most:
                    end = event.seq
                    break
                found.append(told_event(event))
        self.cursor = end
        restarted, self.is_restarted = self.is_restarted, False
        return {"events": found, "cursor": cursor_text(self.ring, end), "lost": lost, "restarted": restarted}

    def _is_wanted(self, event: Event) -> bool:
        if self.netns and "names" in event.fields:
            self._follow(event.netns, event.fields["names"])
        return event.name in self.names and (not self.netns or event.netns in self.kept_as)

    def _follow(self, label: str, names: object) -> None:
        """A namespace has these names from now on."""
        assert isinstance(names, list)
        if self.netns.isdisjoint(names):
            self.kept_as.discard(label)
        else:
            self.kept_as.add(label)


_ALL: Final = 1 << 62
_DIGITS: Final = 20


def _at_least(level: str) -> frozenset[str]:
    if level not in LEVELS:
        raise ControlError(f"level: {level!r} is none{near_or_all(level, LEVELS)}")
    levels = levels_from(level)
    return frozenset(name for name, word in VOCABULARY.items() if word.level in levels)
