"""What the service manager is told of the keeper: that it is ready, how it is, and, as long as that is true, alive.

All of it is found out in the keeper's own loop.  Ready means that what is declared is there and that a program can
bind to ::1; alive, that a question to a kernel comes back with the answer that the keeper would give itself.
"""

from errno import EACCES, EAFNOSUPPORT, EPERM
from typing import TYPE_CHECKING, Final

from addrsvc.daemon.courier import Courier
from addrsvc.daemon.probe import bind_loopback
from addrsvc.daemon.systemd import watchdog_period
from addrsvc.keeper.events import Event, Ring
from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.status import NetnsStatus

if TYPE_CHECKING:
    import socket

__all__ = ["Vitals"]

_PAUSE: Final = 0.25
"""Seconds between two looks at how everything is, at least."""
_UNTOLD: Final = ("RTM_NEWADDR", "RTM_DELADDR", "RTM_NEWLINK", "inject")
_FEEDS: Final = 4
"""For how many feedings of the watchdog a start that takes long may go on."""
_NO_SOCKETS: Final = (EAFNOSUPPORT, EPERM, EACCES)
"""How a sandbox refuses an IPv6 socket."""


class Vitals:
    """Tells the service manager.

    Args:
        keeper: whose vitals they are.
        loop: the keeper's loop.
        ring: what makes one look again.
        courier: who tells the service manager.
        probe: an IPv6 socket to bind, where this process may make none.
    """

    def __init__(
        self, keeper: Keeper, loop: Loop, ring: Ring, courier: Courier, probe: "socket.socket | None" = None
    ) -> None:
        self._keeper = keeper
        self._courier = courier
        self._loop = loop
        self._probe = probe
        self._is_serving = False
        self._is_due = False
        self._status = ""
        self.is_ready = False
        ring.subscribe(self._told)
        period = watchdog_period()
        if period is not None:
            self._feed(period / 2)

    def serving(self) -> None:
        """The control socket answers."""
        self._is_serving = True
        self._look()

    def _told(self, event: Event) -> None:
        if not self._is_due and not (self.is_ready and event.name in _UNTOLD):
            self._is_due = True
            self._loop.call_later(0.0 if not self.is_ready else _PAUSE, self._look)

    def _look(self) -> None:
        self._is_due = False
        status = self._find_status()
        if status != self._status:
            self._status = status
            self._courier.replace("status", f"STATUS={status}")
        if not self.is_ready and self._is_serving and not self.why_not_ready():
            self.is_ready = True
            self._courier.send("READY=1")

    def why_not_ready(self) -> str:
        """What is missing still; empty if nothing is."""
        lacking = self._keeper.summary().lacking
        if lacking is not None:
            return f"{lacking}: {_what_lacks(self._keeper.status(lacking))}"
        return self._why_no_bind() if self._keeper.wants_loopback(self._keeper.here) else ""

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
        return f"{text}; not ready: {why}" if why else text

    def _feed(self, interval: float) -> None:
        """Tell that it is alive, if it is, and come back."""
        if self._keeper.is_alive():
            more_time = [] if self.is_ready else [f"EXTEND_TIMEOUT_USEC={int(_FEEDS * interval * 1e6)}"]
            self._courier.replace("life", "WATCHDOG=1", *more_time)
        self._loop.call_later(interval, lambda: self._feed(interval))


def _what_lacks(status: NetnsStatus) -> str:
    if status.state == "claimed":
        return "another service keeps it"
    for address in status.addresses:
        if not address.is_present:
            return f"{address.address} is not there: {address.why_not}"
    return "lo is down"
