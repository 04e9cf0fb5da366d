"""Local routes of ours that somebody deletes: heard where a rule wants any, and put back.

Who listens to routes is asked about each of them, in whatever namespace, and so slows down everybody who changes some.
So it is done only where routes are wanted, by a socket of its own that the kernel wakes for routes of ours alone, and
in a few namespaces at most; the sweep sees to the others.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from addrsvc.keeper.bpf import hear_deleted_routes
from addrsvc.keeper.dump import Route, read_route
from addrsvc.keeper.ear import DATAGRAM, KERNEL, Ear, set_buffer
from addrsvc.keeper.events import Ring
from addrsvc.keeper.kept import Kept, Key, Why, named
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.mend import Mender
from addrsvc.keeper.rtnl import open_rtnl
from addrsvc.uapi import RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE

__all__ = ["RouteWatch"]

_GROUPS: Final = (RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE)
_MOST: Final = 8
"""In so many namespaces."""
_BUFFER: Final = 1 << 18
_LARGEST: Final = 1 << 20


class _RouteEar(Ear):
    """Hears that routes of one namespace are deleted."""

    __slots__ = ("_deleted", "_kept", "_overrun")

    def __init__(
        self,
        sock: socket.socket,
        kept: Kept,
        deleted: Callable[[Kept, Route], object],
        overrun: Callable[[Kept, float], object],
    ) -> None:
        super().__init__(sock, _BUFFER, _LARGEST)
        self._kept = kept
        self._deleted = deleted
        self._overrun = overrun

    def _read(self) -> bool:
        try:
            message, (sender, _) = self._sock.recvfrom(DATAGRAM)
        except OSError as error:
            return self._unread(error)
        if sender == KERNEL and (route := read_route(message)) is not None:
            self._deleted(self._kept, route)
        return True

    def _lost(self, seconds: float) -> None:
        self._overrun(self._kept, seconds)


class RouteWatch:
    """Hears of deleted routes wherever they matter, and has them put back when all else that is ready was heard.

    Args:
        loop: in whose thread it hears.
        ring: where it is told.
        mender: what puts back.
        settle: called with a namespace before it is asked for anything.
        lost: called with one that has said more than was heard, and within how many seconds until then.
    """

    def __init__(
        self,
        loop: Loop,
        ring: Ring,
        mender: Mender,
        settle: Callable[[Kept], object],
        lost: Callable[[Kept, float], object],
    ) -> None:
        self._loop = loop
        self._ring = ring
        self._mender = mender
        self._settle = settle
        self._lost = lost
        self._ears: dict[Kept, _RouteEar] = {}
        self._deleted: dict[Kept, dict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._ears)

    def follow(self, kept: Kept) -> None:
        """Hear a namespace from now on if routes are wanted there, and no more if not."""
        if not kept.wanted.has_routes:
            self.forget(kept)
        elif kept not in self._ears and kept.fd >= 0 and len(self._ears) < _MOST:
            with suppress(OSError):  # then the sweep has to do
                self._listen(kept)

    def _listen(self, kept: Kept) -> None:
        sock = open_rtnl(kept.fd, groups=_GROUPS, prepare=_prepare, label=kept.label)
        ear = self._ears[kept] = _RouteEar(sock, kept, self._note, self._lost)
        self._loop.watch(ear.fileno(), ear.ready)

    def forget(self, kept: Kept) -> None:
        """Hear it no more; that does nothing if it is not heard."""
        self._deleted.pop(kept, None)
        if (ear := self._ears.pop(kept, None)) is not None:
            self._loop.unwatch(ear.fileno())
            ear.close()

    def _note(self, kept: Kept, route: Route) -> None:
        """A route was deleted; if it is wanted, and that was not what came of something else, it is put back soon."""
        key = route.prefix, route.prefixlen
        service = kept.wanted.addresses.get(key)
        if service is None or not service.is_route or service.metric != route.metric:
            return
        if not self._deleted:
            self._loop.afterwards(self._put_back)
        self._deleted.setdefault(kept, {})[key] = None

    def _put_back(self) -> None:
        deleted, self._deleted = self._deleted, {}
        for kept, keys in deleted.items():
            if kept in self._ears and kept.is_claimed:
                self._look(kept, [key for key in keys if key in kept.wanted.addresses])

    def _look(self, kept: Kept, keys: list[Key]) -> None:
        """Look at the namespace if they are missing still, and count what is put back as undone by somebody."""
        self._settle(kept)
        with suppress(OSError):  # which `look` comes across, too, and sees to
            there = kept.requests.routes()
            keys = [key for key in keys if Route(*key, kept.wanted.addresses[key].metric) not in there]
        if not keys:
            return
        cause = self._ring.tell("RTM_DELROUTE", kept.label, None, **named(keys))
        at_once = [key for key in keys if self._mender.reactions.is_at_once(kept, key)]
        self._mender.look(kept, Why.DELETED, cause)
        for key in at_once:
            if key not in (kept.missing or ()):
                self._mender.reactions.reversed(kept, key, 0, cause)


def _prepare(sock: socket.socket) -> None:
    hear_deleted_routes(sock)
    set_buffer(sock, _BUFFER)
