"""Repairs: at once, where one message says what is missing; else by looking at the namespace, and asking for the rest.

Whatever is asked for is told: why, by which recipe, what came of it, and how long that took since it was heard.
"""

import os
import time
from collections.abc import Callable, Container, Mapping, Sequence
from errno import EACCES, EADDRNOTAVAIL, EEXIST, EIO, ESRCH, errorcode
from functools import partial
from typing import Final, TypeAlias

from addrsvc.keeper import compare
from addrsvc.keeper.compare import Step
from addrsvc.keeper.dump import Addresses, Route
from addrsvc.keeper.events import Ring
from addrsvc.keeper.flush import NOWHERE, Safe
from addrsvc.keeper.kept import LO, LOOPBACK, Kept, Key, Owed, Repair, Why, key_text, named
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.messages import IN6ADDR_SIZE, LO_UP
from addrsvc.keeper.reactions import Reactions
from addrsvc.keeper.rtnl import ADDS_AT_ONCE, DELETES_AT_ONCE, Refusal, Requests
from addrsvc.keeper.wanted import NOTHING, Lo, Wanted
from addrsvc.keeper.withdraw import Withdrawals
from addrsvc.uapi import IFF_UP

__all__ = ["KEEPS_MARKS", "LO_UP_STEP", "NOTHING_REFUSED", "Mender", "Refusals", "plan", "why_not"]

NOTHING_REFUSED: Final[Mapping[int, Refusal]] = {}

Refusals: TypeAlias = Mapping[int, Refusal]
"""What was refused, by its place among the steps."""

_ALREADY_SO: Final = (EEXIST, EADDRNOTAVAIL, ESRCH)
"""What comes of adding what is there, and of deleting what is not: nothing is left to do."""
_OWN_WISH: Final = (Why.START, Why.RELOAD, Why.NAMED, Why.RESUME, Why.COMMAND)
"""Why one looks without anybody having removed anything: what is missing is simply made."""
_OTHER_LENGTH: Final = "it is there with another prefix length"
_NOT_TOLD: Final = (Why.LOST, Why.SWEEP, Why.COMMAND)
"""Why one looks for what no message has told."""
_PRUNES: Final = (Why.START, Why.RELOAD, Why.NAMED, Why.COMMAND)
"""Why one looks in order to take away what is not wanted any more, too."""
_REMOVE: Final = (compare.DELETE, compare.DELETE_ROUTE, compare.FORBID)
LO_UP_STEP: Final = Step(LO, compare.LO_UP_RECIPE, LO_UP)
_RETRY: Final = 1.0
"""Seconds after which something that was refused is tried once more."""

_RELEASE: Final = tuple(int(part) for part in os.uname().release.partition("-")[0].split(".")[:2])
KEEPS_MARKS: Final = _RELEASE >= (5, 18)
"""Whether this kernel keeps IFA_PROTO, so that an address tells whose it is."""


def why_not(kept: Kept, key: Key) -> str:
    """Why something cannot be asked for now; empty where it can, as lo being up and IPv4 addresses always can."""
    if len(key[0]) != IN6ADDR_SIZE:
        return ""
    if not kept.is_up:
        return "lo is down"
    return "IPv6 is disabled" if kept.is_disabled else ""


def _with_owed(owed: Owed, why: Why, before: Wanted, prunes: bool) -> tuple[Why, Wanted, bool]:  # noqa: FBT001
    """What a look is about that has to do what an earlier one could not, too."""
    return owed.why if owed.why in _OWN_WISH else why, before.after(owed.before), prunes or owed.prunes


def plan(requests: Requests, wanted: Wanted, ours: Container[Key]) -> list[Step]:
    """What would be asked of a namespace at the start; nothing is, but for what there is.

    Raises:
        KernelError: the kernel does not tell.
    """
    lo, present, routes = requests.lo(), requests.addresses(), requests.routes()
    steps = [] if lo.flags & IFF_UP or wanted.lo is Lo.LEAVE else [LO_UP_STEP]
    comes_with_it = {LOOPBACK} if steps and not lo.disable_ipv6 else ()
    steps += [step for step in compare.missing(wanted, present, routes) if step.key not in comes_with_it]
    steps += compare.differing(wanted, present, ours)
    forbidden = compare.forbidden(wanted, present)
    steps += compare.surplus(wanted, present, ours)
    return [*steps, *([forbidden] if forbidden else []), *compare.surplus_routes(wanted, routes)]


class Mender:
    """Asks for what is missing, and tells.

    Args:
        loop: whose timers bring further tries.
        ring: where everything is told.

    Attributes:
        reactions: to what was removed and is not simply put back.
        has_withdrawn: called with a namespace from which nothing is left to be taken away.
        safe: where it is left what is to be done, lest it is begun and not finished.
        is_swept: there will be a sweep, to which can be left what has time.
    """

    def __init__(self, loop: Loop, ring: Ring) -> None:
        self._loop = loop
        self._ring = ring
        self.reactions: Final = Reactions(loop, ring, self.put_back)
        self.has_withdrawn: Callable[[Kept], object] = lambda kept: None
        self.is_swept = True
        self.safe: Safe = NOWHERE

    # --- looking ------------------------------------------------------------------------------------------------------

    def look(
        self,
        kept: Kept,
        why: Why,
        cause: int,
        since: int = 0,
        only: Key | None = None,
        before: Wanted = NOTHING,
    ) -> None:
        """Look at a namespace, compare, and mend; tell only what there was to mend.

        Args:
            kept: which namespace.
            why: what makes one look, which is also why something is repaired then.
            cause: the number of the event that began it.
            since: when that was heard, in nanoseconds of the monotonic clock; now, if not told.
            only: mend this alone, even if it is fought about; with lo, what went down with it is mended, too.
            before: what was wanted before, which says how to take away what is wanted no more.
        """
        since = since or time.monotonic_ns()
        prunes = why in _PRUNES
        if kept.owed is not None and only is None:
            why, before, prunes = _with_owed(kept.owed, why, before, prunes)
        try:
            self._look_at_lo(kept, why, cause, since, only)
            present, routes = kept.requests.addresses(), self._routes(kept, why)
        except OSError as error:
            self._not_seen(kept, str(error), why, cause, before, prunes=prunes)
            return
        if only is None:
            kept.owes(None)
        only = None if only == LO else only
        self._note(kept, present, routes)
        missing = [*compare.missing(kept.wanted, present, routes)]
        self._tell_drift(kept, missing, why, cause)
        self._put_right(kept, missing, [*compare.differing(kept.wanted, present, kept.ours)], why, cause, since, only)
        if only in (None, LOOPBACK) and (step := compare.forbidden(kept.wanted, present)):
            self.apply(kept, [step] if only or not kept.is_fought_about(LOOPBACK) else [], why, cause, since)
        self.apply(kept, list(compare.surplus_routes(kept.wanted, routes)), why, cause, since)
        kept.is_tidy = kept.is_tidy or why is Why.SWEEP
        if prunes:
            self._withdraw(kept, present, before, why, cause)

    def _put_right(
        self,
        kept: Kept,
        missing: Sequence[Step],
        differing: Sequence[Step],
        why: Why,
        cause: int,
        since: int,
        only: Key | None,
    ) -> None:
        """Add what is missing, and change what differs, as far as that is to be done now."""
        lacked = set(kept.missing or ())
        steps = [*missing, *differing]
        if only is not None or why not in _OWN_WISH or not kept.is_at_peace:
            self._tell_held(kept, [step.key for step in missing if step.key not in lacked], cause)
            steps = [step for step in steps if self._is_due(kept, step, why, cause, only)]
        known = [key for key, text in (kept.missing or {}).items() if text == _OTHER_LENGTH]
        for key in self.apply(kept, steps, why, cause, since):
            self._diverges(kept, key, cause, is_news=key not in known)

    def prune(self, kept: Kept, why: Why, cause: int, before: Wanted) -> None:
        """Take away what is ours and wanted no more, and leave the rest as it is; `before` is as in `look`."""
        since = time.monotonic_ns()
        try:
            present, routes = kept.requests.addresses(), self._routes(kept, why)
        except OSError as error:
            self._not_seen(kept, str(error), Why.RETRY, cause, before, prunes=True)
            return
        self.apply(kept, list(compare.surplus_routes(kept.wanted, routes)), why, cause, since)
        self._withdraw(kept, present, before, why, cause)

    def _tell_drift(self, kept: Kept, missing: Sequence[Step], why: Why, cause: int) -> None:
        """Tell what is missing though no message said so: until now it was believed to be there."""
        if why in _NOT_TOLD and (drifted := [step.key for step in missing if step.key not in (kept.missing or ())]):
            self._ring.tell("drift", kept.label, cause, why=why.value, **named(drifted))

    def _tell_held(self, kept: Kept, keys: Sequence[Key], cause: int) -> None:
        """Tell what cannot be asked for yet; why is the same for all of them."""
        held = [key for key in keys if why_not(kept, key)]
        if held:
            self._ring.tell("held", kept.label, cause, why=why_not(kept, held[0]), **named(held))

    def _diverges(self, kept: Kept, key: Key, cause: int, *, is_news: bool) -> None:
        """The kernel takes an address for there that it does not list like this."""
        if is_news:
            self._ring.tell("divergence", kept.label, cause, address=key_text(key), why=_OTHER_LENGTH)
        kept.lacks(key, _OTHER_LENGTH)

    def _not_seen(self, kept: Kept, error: str, why: Why, cause: int, before: Wanted, *, prunes: bool) -> None:
        """How the namespace is was not told: what would have been done is owed, and it is looked again soon."""
        if kept.missing is None or kept.missing.get(LO) != error:
            self._ring.tell("refused", kept.label, cause, recipe="look", error=error)
        kept.lacks(LO, error)
        if kept.owed is not None:
            why, before, prunes = _with_owed(kept.owed, why, before, prunes)
        timer = self._loop.call_later(_RETRY, partial(self._look_again, kept))
        kept.owes(Owed(why if why in _OWN_WISH else Why.RETRY, before, prunes, timer))

    def _look_again(self, kept: Kept) -> None:
        if kept.is_claimed:
            self.look(kept, Why.RETRY, kept.cause)
        if kept.owed is None and kept.withdrawals is None:
            self.has_withdrawn(kept)

    def _withdraw(self, kept: Kept, present: Addresses, before: Wanted, why: Why, cause: int) -> None:
        """Take away what is ours and wanted no more."""
        surplus = [step.key for step in compare.surplus(kept.wanted, present, kept.ours)]
        if surplus:
            if kept.withdrawals is None:
                kept.withdrawals = Withdrawals(self._loop, self._ring, kept, self._withdrawn, self.safe)
            kept.withdrawals.withdraw(surplus, present, before, why, cause)

    def _withdrawn(self, kept: Kept) -> None:
        """All of it has been taken away."""
        kept.stop_withdrawing()
        self.has_withdrawn(kept)

    def put_back(self, kept: Kept, key: Key, why: Why, cause: int) -> None:
        """Mend one thing that had to wait."""
        self.look(kept, why, cause, only=key)

    def _routes(self, kept: Kept, why: Why) -> list[Route]:
        """Our routes, where they can matter; those of an older configuration have time until the first sweep."""
        is_asked_for = why in (Why.RELOAD, Why.NAMED, Why.COMMAND) or (why is Why.START and not self.is_swept)
        is_needed = kept.wanted.has_routes or is_asked_for or (why is Why.SWEEP and not kept.is_tidy)
        return kept.requests.routes() if is_needed else []

    def _look_at_lo(self, kept: Kept, why: Why, cause: int, since: int, only: Key | None) -> None:
        """Note what lo is like, and bring it up where that is wanted."""
        self.note_lo(kept)
        if kept.wanted.lo is Lo.LEAVE or kept.is_up:
            return
        if only == LO or (only is None and not kept.is_fought_about(LO)):
            self.apply(kept, [LO_UP_STEP], why, cause, since)
            self.note_lo(kept)

    def note_lo(self, kept: Kept) -> None:
        """See what lo is like.

        Raises:
            KernelError: the kernel does not tell.
        """
        kept.flags, kept.mtu, disabled = kept.requests.lo()
        kept.is_disabled = bool(disabled)

    def _note(self, kept: Kept, present: Addresses, routes: Sequence[Route]) -> None:
        """Note what is there after all, and what somebody else has made."""
        there = {(route.prefix, route.prefixlen) for route in routes}
        for key in tuple(kept.missing or ()):
            if key in present or key in there or (key == LO and (kept.is_up or kept.wanted.lo is Lo.LEAVE)):
                kept.has(key)
        foreign = compare.foreign(kept.wanted, present, kept.ours)
        kept.foreign = set(foreign) if foreign else None

    def _is_due(self, kept: Kept, step: Step, why: Why, cause: int, only: Key | None) -> bool:
        """Whether a step is to be taken now; if not it is noted why."""
        if only is not None and step.key != only:
            return False
        if reason := why_not(kept, step.key):
            kept.lacks(step.key, reason)
            return False
        if only is not None:
            return True
        if why in _OWN_WISH and not kept.is_fought_about(step.key):
            return True
        return not self.reactions.hold(kept, step.key, why, cause)

    # --- asking -------------------------------------------------------------------------------------------------------

    def apply(self, kept: Kept, steps: Sequence[Step], why: Why, cause: int, since: int) -> list[Key]:
        """Send steps, take down what came of them, and tell; what the kernel says is there already."""
        if not steps:
            return []
        refusals = self.ask(kept, steps)
        self.tell(kept, steps, refusals, why, cause, (time.monotonic_ns() - since) / 1000)
        return [steps[nth].key for nth, refusal in refusals.items() if refusal.errno == EEXIST]

    def ask(self, kept: Kept, steps: Sequence[Step]) -> Refusals:
        """Send steps; what was refused."""
        at_once = DELETES_AT_ONCE if steps[0].recipe in _REMOVE else ADDS_AT_ONCE
        refusals = kept.requests.ask([step.message for step in steps], at_once)
        return {refusal.nth: refusal for refusal in refusals}

    def put(self, kept: Kept, wire: bytes) -> Refusals:
        """Send one step, by its `wire`, with the least that can be done for it; what was refused."""
        try:
            kept.requests.send(wire)
        except OSError as error:
            return {0: Refusal(0, error.errno or EIO)}
        return self.answer(kept.requests)

    def answer(self, requests: Requests) -> Refusals:
        """What was refused of the one step that was sent last."""
        try:
            refusal = requests.answer()
        except OSError as error:
            refusal = Refusal(0, error.errno or EIO)
        return NOTHING_REFUSED if refusal is None else {0: refusal}

    def tell(self, kept: Kept, steps: Sequence[Step], refusals: Refusals, why: Why, cause: int, us: float) -> None:
        """Take down what came of steps within so many microseconds, and tell."""
        for recipe in dict.fromkeys(step.recipe for step in steps):
            done = [step.key for index, step in enumerate(steps) if step.recipe == recipe and index not in refusals]
            refused = [
                (step.key, refusals[index])
                for index, step in enumerate(steps)
                if step.recipe == recipe and index in refusals
            ]
            news = [(key, refusal) for key, refusal in refused if self._note_refusal(kept, key, recipe, refusal)]
            if recipe in _REMOVE:
                self._note_removed(kept, done, why, recipe, cause)
            else:
                self._note_made(kept, done, why, recipe, cause, us, told=bool(news))
            self._tell_refused(kept, news, why, recipe, cause)

    def _note_made(
        self, kept: Kept, done: Sequence[Key], why: Why, recipe: str, cause: int, us: float, *, told: bool
    ) -> None:
        if done or told:
            self._ring.tell("repair", kept.label, cause, why=why.value, recipe=recipe, **named(done))
        if not done:
            return
        for key in done:
            kept.has(key)
        if not KEEPS_MARKS:
            for key in done:
                kept.is_made(key, made=key not in (LO, LOOPBACK))
        kept.repairs += 1
        what = key_text(done[0]) if len(done) == 1 else f"{len(done)} addresses"
        kept.last = Repair(time.time(), why, recipe, what, us)
        self._ring.tell("repaired", kept.label, cause, recipe=recipe, us=round(us, 1), **named(done))

    def _note_removed(self, kept: Kept, done: Sequence[Key], why: Why, recipe: str, cause: int) -> None:
        if not done:
            return
        for key in done if recipe != compare.DELETE_ROUTE else ():
            kept.expect(key)
        self._ring.tell("withdrawn", kept.label, cause, why=why.value, recipe=recipe, **named(done))

    def _note_refusal(self, kept: Kept, key: Key, recipe: str, refusal: Refusal) -> bool:
        """Remember a refusal; whether it is news."""
        errno = refusal.errno
        if errno in _ALREADY_SO:
            if recipe not in _REMOVE:
                kept.has(key)
            return False
        kept.is_disabled = kept.is_disabled or (errno == EACCES and len(key[0]) == IN6ADDR_SIZE)
        text = (errno == EACCES and why_not(kept, key)) or refusal.extack or os.strerror(errno)
        is_news = kept.missing is None or kept.missing.get(key) != text
        kept.lacks(key, text)
        return is_news

    def _tell_refused(
        self, kept: Kept, refused: Sequence[tuple[Key, Refusal]], why: Why, recipe: str, cause: int
    ) -> None:
        for errno in dict.fromkeys(refusal.errno for _, refusal in refused):
            keys = [key for key, refusal in refused if refusal.errno == errno]
            text = next(refusal.extack for _, refusal in refused if refusal.errno == errno) or os.strerror(errno)
            name = errorcode.get(errno, str(errno))
            self._ring.tell("refused", kept.label, cause, recipe=recipe, errno=name, error=text, **named(keys))
            if errno != EACCES:
                self._try_again(kept, why)

    def _try_again(self, kept: Kept, why: Why) -> None:
        """Look again soon; after that the sweep does."""
        if why is not Why.RETRY and not kept.is_due(LO):
            kept.due(LO, self._loop.call_later(_RETRY, partial(self._retried, kept)))

    def _retried(self, kept: Kept) -> None:
        kept.due(LO, None)
        self.look(kept, Why.RETRY, kept.cause)
