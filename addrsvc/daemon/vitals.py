"""What the service manager is told of the keeper: that it is ready, how it is, and, as long as that is true, alive.

All of it is found out in the keeper's own loop.  Ready means that what is declared is there and that a program can
bind to ::1; alive, that a question to a kernel comes back with the answer that the keeper would give itself.

A start may take the time that it needs, as long as it gets on.  One that waits for what others would have to do says at
once what that is, and has the time that the unit allows a start, and no more.  That is so of the namespace that the
service itself is in.  Another one is waited for a little only: where something cannot be had there, that is its state
and no reason to end what keeps all others.
"""

import time
from errno import EACCES, EAFNOSUPPORT, EPERM
from typing import TYPE_CHECKING, Final

from addrsvc.daemon.courier import Courier
from addrsvc.daemon.probe import bind_loopback
from addrsvc.daemon.systemd import watchdog_period
from addrsvc.keeper.claim import who_keeps
from addrsvc.keeper.events import Event, Ring
from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.kept import Kept
from addrsvc.keeper.loop import Loop, Timer
from addrsvc.keeper.status import what_lacks

if TYPE_CHECKING:
    import socket

__all__ = ["Vitals"]

_PAUSE: Final = 0.25
"""Seconds between two looks at how everything is, at least."""
_UNTOLD: Final = ("RTM_NEWADDR", "RTM_DELADDR", "RTM_DELROUTE", "RTM_NEWLINK", "inject")
_MORE_TIME: Final = 20.0
"""For how many seconds a start that gets on may go on ..."""
_ASK_EVERY: Final = 2.0
"""... and how often, at most, that is asked for."""
_LOOK_AGAIN: Final = 1.0
"""Seconds until it is looked again what a start waits for: that a bind succeeds is told by nobody."""
_NO_SOCKETS: Final = (EAFNOSUPPORT, EPERM, EACCES)
"""How a sandbox refuses an IPv6 socket."""
_SHOWN: Final = 16
"""How many namespaces an event names."""


class Vitals:
    """Tells the service manager.

    Args:
        keeper: whose vitals they are.
        loop: the keeper's loop.
        ring: what makes one look again.
        courier: who tells the service manager.
        patience: how many seconds a start waits for another namespace than the service's own.
        probe: an IPv6 socket to bind, where this process may make none.
    """

    def __init__(
        self,
        keeper: Keeper,
        loop: Loop,
        ring: Ring,
        courier: Courier,
        *,
        patience: float,
        probe: "socket.socket | None" = None,
    ) -> None:
        self._keeper = keeper
        self._courier = courier
        self._loop = loop
        self._patience = patience
        self._probe = probe
        self._lacking_since: dict[Kept, float] = {}
        self._is_serving = False
        self._is_due = False
        self._status = ""
        self._waits_for = ""
        self._again: Timer | None = None
        self._most = 0
        self._asked_at = time.monotonic()
        self.is_ready = False
        self._ring = ring
        ring.subscribe(self._told)
        period = watchdog_period()
        if period is not None:
            self._feed(period / 2)

    def serving(self) -> None:
        """The control socket answers."""
        self._is_serving = True
        self._look()

    def _told(self, event: Event) -> None:
        if not self.is_ready and event.name == "attached":
            self._ask_for_time()
        if not self._is_due and not (self.is_ready and event.name in _UNTOLD):
            self._is_due = True
            self._loop.call_later(0.0 if not self.is_ready else _PAUSE, self._look)

    def _look(self) -> None:
        self._is_due = False
        status = self._find_status()
        if status != self._status:
            self._status = status
            self._courier.replace("status", f"STATUS={status}")
        if not self.is_ready and self._is_serving:
            self._try_to_be_ready()

    def _try_to_be_ready(self) -> None:
        why = self.why_not_ready()
        if not why:
            self.is_ready = True
            self._courier.send("READY=1")
            self._tell_ready()
            return
        if why != self._waits_for:
            self._waits_for = why
            self._ring.tell("not ready", why=why)
        if self._again is None or not self._again.is_pending:
            self._again = self._loop.call_later(_LOOK_AGAIN, self._look)

    def _tell_ready(self) -> None:
        without = [kept.label for kept in self._lacking_since]
        fields: dict[str, object] = {"count": len(without), "without": without[:_SHOWN]} if without else {}
        self._ring.tell("ready", "", None, **fields)
        self._lacking_since.clear()

    def _ask_for_time(self) -> None:
        """Ask for more time for the start if more namespaces are kept now than there ever were."""
        now = time.monotonic()
        if len(self._keeper) > self._most and now >= self._asked_at + _ASK_EVERY:
            self._most, self._asked_at = len(self._keeper), now
            self._courier.replace("time", f"EXTEND_TIMEOUT_USEC={_MORE_TIME * 1e6:.0f}")

    def why_not_ready(self) -> str:
        """What is missing still; empty if nothing is."""
        awaited = self._awaited()
        if awaited is not None:
            return f"{awaited.label}: {what_lacks(awaited) if awaited.is_claimed else who_keeps(awaited.fd)}"
        return self._why_no_bind() if self._keeper.wants_loopback(self._keeper.here) else ""

    def _awaited(self) -> Kept | None:
        """A namespace that the start waits for; its own, if it does for that."""
        now = time.monotonic()
        before = self._lacking_since
        self._lacking_since = {kept: before.get(kept, now) for kept in self._keeper.lacking()}
        here = self._keeper.get(self._keeper.here)
        if here in self._lacking_since:
            return here
        return next((kept for kept, since in self._lacking_since.items() if now < since + self._patience), None)

    def _why_no_bind(self) -> str:
        try:
            bind_loopback(self._probe)
        except OSError as error:
            if self._probe is None and error.errno in _NO_SOCKETS:
                return ""  # this process may not try; that the address is there was looked at
            return f"bind to ::1: {error.strerror}"
        return ""

    def _find_status(self) -> str:
        why = "" if self.is_ready else self.why_not_ready()
        summary = self._keeper.summary()
        text = f"Keeping {summary.present} of {summary.wanted} addresses in {summary.namespaces} namespace"
        text += "s" if summary.namespaces != 1 else ""
        text += f", waiting for {summary.waiting}" if summary.waiting else ""
        text += f", fighting in {summary.fighting}" if summary.fighting else ""
        if why:
            return f"{text}; not ready: {why}"
        lacking = self._keeper.get(summary.lacking) if summary.lacking else None
        return text if lacking is None else f"{text}; {lacking.label}: {what_lacks(lacking)}"

    def _feed(self, interval: float) -> None:
        """Tell that it is alive, if it is, and come back."""
        if self._keeper.is_alive():
            self._courier.replace("life", "WATCHDOG=1")
        self._loop.call_later(interval, lambda: self._feed(interval))
