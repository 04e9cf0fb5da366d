"""What is remembered of one namespace that is kept: what is wanted of it, and where it differs.

Namespaces are many and nearly all of them are as they should be, so only what is out of the ordinary is stored: who is
wanted alike shares one `Wanted`, and what has no entry here is as it should be.
"""

from collections.abc import Container, Sequence
from enum import StrEnum
from functools import lru_cache
from socket import inet_ntop
from typing import TYPE_CHECKING, Final, NamedTuple

from addrsvc.keeper.fights import Quarrel
from addrsvc.keeper.loop import Timer
from addrsvc.keeper.messages import LOOPBACK, Key, family_of
from addrsvc.keeper.wanted import Lo, Loopback, Wanted
from addrsvc.uapi import IFF_UP

if TYPE_CHECKING:
    from addrsvc.keeper.reflex import Reflex
    from addrsvc.keeper.rtnl import Requests
    from addrsvc.keeper.withdraw import Withdrawals

__all__ = ["LO", "LOOPBACK", "Kept", "Key", "Owed", "Repair", "Restored", "Why", "key_text", "named"]

LO: Final[Key] = (b"", 0)
"""Stands for lo being up, where addresses and lo are listed together."""


_SHOWN: Final = 16
"""How many addresses an event names."""


@lru_cache(maxsize=4096)
def key_text(key: Key) -> str:
    """An address as people write it; ``lo`` for lo itself."""
    address, prefixlen = key
    return f"{inet_ntop(family_of(address), address)}/{prefixlen}" if address else "lo"


def named(keys: Sequence[Key]) -> dict[str, object]:
    """How an event names addresses: one by itself, several by their number and the first of them."""
    texts = [key_text(key) for key in keys[:_SHOWN]]
    return {"address": texts[0]} if len(keys) == 1 else {"count": len(keys), "addresses": texts}


class Why(StrEnum):
    """What a repair is caused by."""

    DELETED = "deleted"
    """Somebody has deleted it."""
    LO_DOWN = "lo down"
    """lo went down, and IPv6 addresses with it."""
    MTU = "mtu"
    """The MTU fell below 1280, and IPv6 addresses with it."""
    DISABLED = "disable_ipv6"
    """IPv6 was switched off, and addresses with it, and is on again."""
    START = "start"
    """It was missing when the namespace was first looked at."""
    RELOAD = "reload"
    """Another configuration wants it, or wants it no more."""
    NAMED = "named"
    """It has a name more, or one less, and other rules are about it."""
    LOST = "lost"
    """It was missing when the namespace was looked at because messages were lost."""
    SWEEP = "sweep"
    """It was missing though nobody said so; found by looking now and then."""
    YIELDED = "yielded"
    """It has not come back by itself in time."""
    FIGHT = "fight"
    """It has waited in a fight."""
    RESUME = "resume"
    """A fight was ended by command."""
    RETRY = "retry"
    """It was refused before."""
    COMMAND = "command"
    """Somebody asked for it."""


class Repair(NamedTuple):
    """The last repair of a namespace: when (seconds since 1970), why, how, of what, and in how many microseconds."""

    time: float
    why: Why
    recipe: str
    what: str
    us: float


class Owed(NamedTuple):
    """What a look owes that has failed, since the kernel did not tell how the namespace is.

    Attributes:
        why: what made one look.
        before: what was wanted before, which says how to take away what is wanted no more.
        prunes: what is wanted no more is to be taken away.
        timer: looks again.
    """

    why: Why
    before: Wanted
    prunes: bool
    timer: Timer


class Restored(NamedTuple):
    """::1 was put back before anybody was told: the message that it was gone, when that was heard and when it was done
    (nanoseconds of the monotonic clock), and the socket that knows what came of it.
    """

    message: bytes
    since: int
    done: int
    requests: "Requests"


class Kept:
    """One namespace that is kept.

    Attributes:
        label: what discovery calls it.
        fd: the namespace; -1 where only a socket of it is known.  It belongs to discovery.
        requests: the socket for asking.
        wanted: what is wanted of it.
        cause: the number of the event that attached it.
        flags, mtu: of lo, as last heard.
        reason: why addresses are going just now: their deletion, unless something else was heard.
        is_disabled: IPv6 is switched off, so that there is no use in asking for its addresses.
        missing: what is wanted and is not there, and why not.
        foreign: addresses that are wanted, and somebody else has made.
        made: those that we have made, remembered only where the kernel keeps no marks.
        expected: what we have deleted and have not heard of yet.
        quarrels: about addresses, or LO.
        timers: what is due for an address: the end of yielding, of a drain, or another try.
        withdrawals: what is being taken away from it.
        owed: what is to be done yet, since it was not told how the namespace is.
        last: the last repair.
        reflex: the kernel's own answer to the deletion of ::1, where there is one.
        restored: what ::1 was put back for, as long as the chain has not heard of it.
        fighting: how many things are fought about just now.
        repairs, fights, lost: how many there were.
        is_claimed: it is ours to keep; nobody else's service has the namespace.
        is_tidy: it was looked for routes that an older configuration wanted.
    """

    __slots__ = (
        "__weakref__", "cause", "expected", "fd", "fighting", "fights", "flags", "foreign", "is_claimed",
        "is_disabled", "is_tidy", "label", "last", "lost", "made", "missing", "mtu", "owed", "quarrels", "reason",
        "reflex", "repairs", "requests", "restored", "timers", "wanted", "withdrawals",
    )  # fmt: skip

    def __init__(self, label: str, fd: int, requests: "Requests", wanted: Wanted) -> None:
        self.label = label
        self.fd = fd
        self.requests = requests
        self.wanted = wanted
        self.cause = 0
        self.flags = 0
        self.mtu = 0
        self.reason = Why.DELETED
        self.is_disabled = False
        self.missing: dict[Key, str] | None = None
        self.foreign: set[Key] | None = None
        self.made: set[Key] | None = None
        self.expected: dict[Key, int] | None = None
        self.quarrels: dict[Key, Quarrel] | None = None
        self.timers: dict[Key, Timer] | None = None
        self.withdrawals: Withdrawals | None = None
        self.owed: Owed | None = None
        self.last: Repair | None = None
        self.reflex: Reflex | None = None
        self.restored: Restored | None = None
        self.fighting = 0
        self.repairs = 0
        self.fights = 0
        self.lost = 0
        self.is_claimed = True
        self.is_tidy = False

    @property
    def netns_fd(self) -> int | None:
        """The namespace for who wants to enter it; None where it cannot be, and is hoped to be the host's."""
        return self.fd if self.fd >= 0 else None

    @property
    def is_up(self) -> bool:
        """Whether lo is up, as last heard."""
        return bool(self.flags & IFF_UP)

    @property
    def is_as_wanted(self) -> bool:
        """Whether nothing is missing."""
        is_down = self.wanted.lo is Lo.UP and not self.is_up
        return self.is_claimed and not self.missing and not is_down and not self.is_fighting

    @property
    def how_many(self) -> int:
        """How many addresses are wanted."""
        return len(self.wanted.addresses) + (self.wanted.loopback is Loopback.ENSURE)

    @property
    def ours(self) -> Container[Key]:
        """What we know to be ours beside what bears our mark."""
        return self.made or ()

    def turn_to(self, wanted: Wanted) -> Wanted:
        """Want something else of it; what was wanted before."""
        before, self.wanted = self.wanted, wanted
        for key in tuple(self.expected or ()):
            if not self._is_heard_of(key):
                self.expects_no_more(key)
        return before

    # --- what is missing ---

    def lacks(self, key: Key, why: str) -> None:
        """Remember that something is not there."""
        if self.missing is None:
            self.missing = {}
        self.missing[key] = why

    def has(self, key: Key) -> None:
        """Remember that something is there."""
        if self.missing is not None and self.missing.pop(key, None) is not None and not self.missing:
            self.missing = None

    def is_foreign(self, key: Key, *, foreign: bool) -> None:
        """Remember whether somebody else has made an address."""
        if foreign:
            self.foreign = self.foreign or set()
            self.foreign.add(key)
        elif self.foreign is not None:
            self.foreign.discard(key)

    def lacks_or_shares(self, key: Key) -> bool:
        """Whether an address was missing until now, or is somebody else's."""
        return (self.missing is not None and key in self.missing) or (self.foreign is not None and key in self.foreign)

    # --- what we did ourselves ---

    def is_made(self, key: Key, *, made: bool) -> None:
        """Remember whether we have made an address, where the kernel does not."""
        if made:
            self.made = self.made or set()
            self.made.add(key)
        elif self.made is not None:
            self.made.discard(key)

    def expect(self, key: Key) -> None:
        """Expect to hear that an address is gone, since we have deleted it; of what is not wanted nothing is heard."""
        if not self._is_heard_of(key):
            return
        if self.expected is None:
            self.expected = {}
        self.expected[key] = self.expected.get(key, 0) + 1

    def is_expected(self, key: Key) -> bool:
        """Whether that an address is gone was expected; once for each time."""
        if self.expected is None or key not in self.expected:
            return False
        self.expected[key] -= 1
        if not self.expected[key]:
            del self.expected[key]
        if not self.expected:
            self.expected = None
        return True

    def expects_no_more(self, key: Key) -> None:
        """An address is there: what was heard of it before is over."""
        if self.expected is not None:
            self.expected.pop(key, None)
            self.expected = self.expected or None

    def _is_heard_of(self, key: Key) -> bool:
        return key == LOOPBACK or key in self.wanted.addresses

    # --- what is due ---

    def due(self, key: Key, timer: Timer | None) -> None:
        """Have something due for an address instead of what was due before, or nothing."""
        before = self.timers.pop(key, None) if self.timers is not None else None
        if before is not None:
            before.cancel()
        if timer is not None:
            self.timers = self.timers or {}
            self.timers[key] = timer
        if not self.timers:
            self.timers = None

    def is_due(self, key: Key) -> bool:
        """Whether something is due for an address."""
        return self.timers is not None and key in self.timers

    def quarrel(self, key: Key) -> Quarrel | None:
        """The quarrel about something, if there is one."""
        return None if self.quarrels is None else self.quarrels.get(key)

    def is_fought_about(self, key: Key) -> bool:
        """Whether repairs of something have to wait."""
        quarrel = self.quarrel(key)
        return quarrel is not None and quarrel.is_fight

    def forget_quarrel(self, key: Key) -> None:
        """Forget a quarrel, and what is due in it; a second time does nothing."""
        quarrel = self.quarrels.pop(key, None) if self.quarrels is not None else None
        if quarrel is not None:
            quarrel.rearm(None)
            self.fighting -= quarrel.is_fight
        if not self.quarrels:
            self.quarrels = None

    @property
    def is_fighting(self) -> bool:
        """Whether any repair has to wait."""
        return self.fighting > 0

    @property
    def is_at_peace(self) -> bool:
        """Whether nothing stands in the way of any address: lo is up, IPv6 is on, and nobody quarrels."""
        return self.is_up and not self.is_disabled and self.quarrels is None

    def owes(self, owed: Owed | None) -> Owed | None:
        """Owe this from now on, or nothing; what was owed until now, which is not due any more."""
        before, self.owed = self.owed, owed
        if before is not None:
            before.timer.cancel()
        return before

    def stop_withdrawing(self) -> None:
        """Take no more away; what is deprecated stays so."""
        if self.withdrawals is not None:
            self.withdrawals.close()
        self.withdrawals = None

    def calm(self) -> None:
        """Cancel all that is due, and forget quarrels."""
        for timer in (self.timers or {}).values():
            timer.cancel()
        for quarrel in (self.quarrels or {}).values():
            quarrel.rearm(None)
        self.timers = self.quarrels = None
        self.fighting = 0

    def __repr__(self) -> str:
        return f"<Kept: {self.label}>"
