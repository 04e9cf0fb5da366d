"""What is not put back at once, and when it is: what is only reported, what may come back by itself, and fights.

Somebody who undoes what we do, again and again, has a reason or a bug; putting things back for ever at full speed
serves neither.  So after some reversals each repair waits twice as long as the one before, one alert says so, and
peace is when nobody has undone anything for a while.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from addrsvc.keeper.events import Ring
from addrsvc.keeper.fights import Quarrel, process_name, suspects
from addrsvc.keeper.kept import LOOPBACK, Kept, Key, Why, key_text
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.wanted import Reaction, Wanted

__all__ = ["Reactions", "reaction_to"]


def reaction_to(wanted: Wanted, key: Key) -> tuple[Reaction, float]:
    """What a rule says about something that somebody has removed, and how many seconds to yield."""
    if key == LOOPBACK:
        return wanted.loopback_reaction, wanted.loopback_yield_for
    service = wanted.addresses.get(key)
    return (service.reaction, service.yield_for) if service else (Reaction.HEAL, 0.0)


class Reactions:
    """Knows what has to wait, and puts it back when the time has come.

    Args:
        loop: whose timers bring that.
        ring: where it is told.
        put_back: called with the namespace, what to put back, why, and the number of the event that began it.
    """

    def __init__(self, loop: Loop, ring: Ring, put_back: Callable[[Kept, Key, Why, int], object]) -> None:
        self._loop = loop
        self._ring = ring
        self._put_back: Final = put_back

    def is_at_once(self, kept: Kept, key: Key) -> bool:
        """Whether what was removed is put back at once."""
        return not kept.is_fought_about(key) and reaction_to(kept.wanted, key)[0] is Reaction.HEAL

    def hold(self, kept: Kept, key: Key, why: Why, cause: int) -> bool:
        """See to what was removed and is not put back at once; whether it is so."""
        quarrel = kept.quarrel(key)
        if quarrel is not None and quarrel.is_fight:
            self._wait(kept, key, quarrel, cause)
            return True
        reaction, seconds = reaction_to(kept.wanted, key)
        if reaction is Reaction.REPORT:
            self._report(kept, key, why, cause)
        elif reaction is Reaction.YIELD_THEN_HEAL:
            self._yield(kept, key, why, cause, seconds)
        return reaction is not Reaction.HEAL

    def _report(self, kept: Kept, key: Key, why: Why, cause: int) -> None:
        if kept.missing is None or kept.missing.get(key) != "reported":
            self._ring.tell("reported", kept.label, cause, address=key_text(key), why=why.value)
        kept.lacks(key, "reported")

    def _yield(self, kept: Kept, key: Key, why: Why, cause: int, seconds: float) -> None:
        kept.lacks(key, "yield")
        if not kept.is_due(key):
            self._ring.tell("yield", kept.label, cause, address=key_text(key), why=why.value, seconds=seconds)
            kept.due(key, self._loop.call_later(seconds, partial(self._yielded, kept, key, cause)))

    def _yielded(self, kept: Kept, key: Key, cause: int) -> None:
        """It has not come back by itself in time."""
        kept.due(key, None)
        self._put_back(kept, key, Why.YIELDED, cause)
        self.reversed(kept, key, 0, cause)

    # --- fights -------------------------------------------------------------------------------------------------------

    def reversed(self, kept: Kept, key: Key, portid: int, cause: int) -> None:
        """Count that somebody has undone something, and we have put it back."""
        quarrel = kept.quarrel(key)
        if quarrel is None:
            kept.quarrels = kept.quarrels or {}
            quarrel = kept.quarrels[key] = Quarrel()
        if quarrel.count(time.monotonic(), portid, kept.wanted.fights):
            self._begin(kept, key, quarrel, cause)

    def _begin(self, kept: Kept, key: Key, quarrel: Quarrel, cause: int) -> None:
        kept.fighting += 1
        self._await_peace(kept, key, quarrel, cause)
        if kept.fighting == 1:
            kept.fights += 1
            self._ring.tell(
                "fight", kept.label, cause, address=key_text(key), reversals=len(quarrel.times),
                within=kept.wanted.fights.within, wait=quarrel.wait, opponent=_opponent(kept, quarrel),
            )  # fmt: skip

    def _wait(self, kept: Kept, key: Key, quarrel: Quarrel, cause: int) -> None:
        """It was undone in a fight."""
        if kept.missing is not None and kept.missing.get(key) == "fight":
            return
        kept.lacks(key, "fight")
        wait = quarrel.next_wait(kept.wanted.fights)
        quarrel.rearm(self._loop.call_later(wait, partial(self._fight_on, kept, key, quarrel, cause)))

    def _fight_on(self, kept: Kept, key: Key, quarrel: Quarrel, cause: int) -> None:
        kept.has(key)
        self._put_back(kept, key, Why.FIGHT, cause)
        self._await_peace(kept, key, quarrel, cause)

    def _await_peace(self, kept: Kept, key: Key, quarrel: Quarrel, cause: int) -> None:
        wait = max(kept.wanted.fights.within, quarrel.wait)
        quarrel.rearm(self._loop.call_later(wait, partial(self._end, kept, key, cause)))

    def _end(self, kept: Kept, key: Key, cause: int) -> None:
        """Nobody has undone it for a while."""
        kept.forget_quarrel(key)
        if not kept.is_fighting:
            self._ring.tell("peace", kept.label, cause, address=key_text(key))

    def resume(self, kept: Kept) -> list[Key]:
        """End all fights of a namespace by command; what they were about."""
        keys = [key for key, quarrel in (kept.quarrels or {}).items() if quarrel.is_fight]
        for key in tuple(kept.quarrels or ()):
            kept.forget_quarrel(key)
        for key in keys:
            kept.has(key)
        return keys

    def tidy(self, kept: Kept) -> None:
        """Forget quarrels that came to nothing."""
        now = time.monotonic()
        for key, quarrel in tuple((kept.quarrels or {}).items()):
            if quarrel.is_over(now, kept.wanted.fights):
                kept.forget_quarrel(key)


def _opponent(kept: Kept, quarrel: Quarrel) -> str:
    """What is known of who it is: of IPv4 the kernel tells who asked for a change, of IPv6 it does not."""
    if quarrel.opponents:
        return ", ".join(map(process_name, quarrel.opponents))
    found = ", ".join(suspects(kept.netns_fd))
    return f"unknown; rtnetlink is open there in {found}" if found else "unknown"
