"""Taking away what is ours and wanted no more: with grace, where a rule says so; at once, where it allows that; else
a few at a time.
"""

from collections.abc import Callable, Collection, Mapping
from errno import errorcode
from os import strerror
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.keeper.drain import Drain, Withdrawal
from addrsvc.keeper.dump import Addresses
from addrsvc.keeper.events import Ring
from addrsvc.keeper.flush import NOWHERE, Safe, fast_flush
from addrsvc.keeper.kept import Kept, Key, Why, named
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.messages import IN6ADDR_SIZE
from addrsvc.keeper.wanted import Wanted

__all__ = ["Withdrawals"]

_MANY: Final = 64
"""From so many addresses on, dropping them all at once pays."""


class Withdrawals:
    """What is being taken away from one namespace.

    Args:
        loop: in which it is done.
        ring: where it is told.
        kept: the namespace.
        finished: called when nothing is left to take away.
        safe: where it is left what is to be done, lest it is begun and not finished.
    """

    __slots__ = ("_cause", "_drain", "_finished", "_kept", "_ring", "_safe", "_why")

    def __init__(
        self, loop: Loop, ring: Ring, kept: Kept, finished: Callable[[Kept], object], safe: Safe = NOWHERE
    ) -> None:
        self._safe = safe
        self._ring = ring
        self._kept = kept
        self._finished = finished
        self._why = Why.START
        self._cause = kept.cause
        self._drain = Drain(loop, kept.requests, kept.netns_fd, self._withdrawn, kept.label)

    def __contains__(self, key: Key) -> bool:
        return key in self._drain

    def __len__(self) -> int:
        return len(self._drain)

    def withdraw(self, keys: Collection[Key], present: Addresses, before: Wanted, why: Why, cause: int) -> None:
        """Take addresses away, as the rules said that wanted them before."""
        self._why, self._cause = why, cause
        times = {key: _drain_of(key, before) for key in keys if key not in self._drain}
        if before.is_fast_flush and not any(times.values()) and self._flushed(times, present):
            return
        if graceful := [key for key, seconds in times.items() if seconds]:
            self._ring.tell("withdraw", self._kept.label, cause, why=why.value, **named(graceful))
        for refusal in self._drain.withdraw(times):
            self._refused([list(times)[refusal.nth]], refusal.errno, refusal.extack, "deprecate")

    def _flushed(self, times: Mapping[Key, float], present: Addresses) -> bool:
        """Take all away at once; whether that was done."""
        kept = self._kept
        keys = [key for key in times if len(key[0]) == IN6ADDR_SIZE]
        if len(keys) < _MANY:
            return False
        try:
            flushed = fast_flush(kept.requests, kept.netns_fd, keys, label=kept.label, safe=self._safe)
        except OSError as error:
            extack = error.extack if isinstance(error, KernelError) else None
            self._refused(keys, error.errno or 0, extack, "fast flush")
            return False
        for key in present:
            if len(key[0]) == IN6ADDR_SIZE:
                kept.expect(key)
        self._ring.tell(
            "withdrawn", kept.label, self._cause, why=self._why.value, recipe="fast flush",
            restored=len(flushed.restored), **named(keys),
        )  # fmt: skip
        rest = {key: 0.0 for key in times if len(key[0]) != IN6ADDR_SIZE}
        self._drain.withdraw(rest)
        return True

    def keep(self, wanted: Wanted) -> None:
        """Withdraw nothing of what is wanted now."""
        for key in wanted.addresses:
            self._drain.keep(key)

    def _withdrawn(self, what: list[Withdrawal]) -> None:
        kept = self._kept
        done = [withdrawal.key for withdrawal in what if withdrawal.refusal is None]
        for key in done:
            kept.expect(key)
            kept.is_made(key, made=False)
        if done:
            users = sum(withdrawal.users or 0 for withdrawal in what)
            self._ring.tell(
                "withdrawn", kept.label, self._cause, why=self._why.value, recipe="delete", users=users, **named(done)
            )
        for key, _, refusal in what:
            if refusal is not None:
                self._refused([key], refusal.errno, refusal.extack, "delete")
        if not self._drain:
            self._finished(kept)

    def _refused(self, keys: Collection[Key], errno: int, extack: str | None, recipe: str) -> None:
        self._ring.tell(
            "refused", self._kept.label, self._cause, recipe=recipe, errno=errorcode.get(errno, str(errno)),
            error=extack or strerror(errno), **named(list(keys)),
        )  # fmt: skip

    def close(self) -> None:
        """Leave everything as it is now."""
        self._drain.close()


def _drain_of(key: Key, before: Wanted) -> float:
    service = before.addresses.get(key)
    return 0.0 if service is None else service.drain
