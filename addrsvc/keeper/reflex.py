"""::1 put back by the kernel itself: for a few namespaces a pair of io_uring waits for its deletion.

Waking a program and having it answer takes longer than the answer.  So the answer is given to the kernel beforehand,
as long as it is certain; whether it was given is asked when the deletion is heard of in the usual way.  A deletion
that comes before the pair waits again, and one of a namespace that has no pair, is answered in the usual way, too.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from errno import EEXIST
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from time import monotonic, sleep
from typing import Final

from addrsvc.keeper.bpf import hear_deleted
from addrsvc.keeper.compare import RESTORED
from addrsvc.keeper.ear import set_buffer
from addrsvc.keeper.kept import LOOPBACK, Kept
from addrsvc.keeper.rtnl import Refusal, Requests, open_rtnl
from addrsvc.keeper.uring import Uring
from addrsvc.uapi import NETLINK_NO_ENOBUFS, RTNLGRP_IPV6_IFADDR, SOL_NETLINK

__all__ = ["Reflex", "Reflexes", "hold"]

_MOST: Final = 8
"""How many namespaces have one: the kernel lets the one thread answer one after the other."""
_PLENTY: Final = 512
"""Where there are fewer descriptors than that they are for keeping namespaces, not for doing so sooner."""
_DATAGRAM: Final = 1 << 12
_BUFFER: Final = 1 << 14
_MANY: Final = 64
"""More than such a buffer takes; there are more only if somebody sends as fast as they are read."""
_REST: Final = 0.0001
"""Seconds; a thread of real-time priority would keep all others from running for as long as it has something to do."""
_REST_EVERY: Final = 0.01
"""So seldom, at most: where many have lost ::1 at once there is no time for it."""


class Reflex:
    """The one of a namespace.

    Raises:
        KernelError: the namespace cannot be entered.
    """

    __slots__ = ("_hears", "_is_set", "_pair", "_uring", "requests")

    def __init__(self, uring: Uring, netns_fd: int) -> None:
        self._uring = uring
        self.requests: Final = Requests.to(netns_fd)
        try:
            self._hears = open_rtnl(netns_fd, groups=(RTNLGRP_IPV6_IFADDR,), prepare=_prepare)
        except OSError:
            self.requests.close()
            raise
        self._pair = uring.pair(self._hears.fileno(), self.requests.fileno(), RESTORED.wire)
        self._is_set = False

    def set(self, *, is_wanted: bool) -> None:
        """Have it wait, or wait no more; what it has answered already is asked for when that is heard of."""
        if is_wanted and not self._is_set:
            self._forget()
            self._uring.begin(self._pair)
            self._is_set = True
        elif self._is_set and not is_wanted:
            self._is_set = self._uring.has_sent(self._pair)

    def _forget(self) -> None:
        """What has been answered in the usual way meanwhile."""
        with suppress(BlockingIOError):
            for _ in range(_MANY):
                self._hears.recv(_DATAGRAM)

    def lost(self) -> None:
        """What it has answered may never be heard of."""
        if self._is_set:
            self._is_set = False
            if self._uring.has_sent(self._pair):
                self._answer()

    def has_answered(self, message: bytes) -> bool:
        """Whether it has answered this deletion, which is heard of just now; what came of it `requests` can tell.

        Where ::1 was there all the same it was something else that was answered, such as what a process has sent that
        may send for the kernel.
        """
        if not self._is_set:
            return False
        self._is_set = False
        if not self._uring.has_sent(self._pair):
            return False
        refusal = self._answer()
        return self._pair.has_received(message) and (refusal is None or refusal.errno != EEXIST)

    def _answer(self) -> Refusal | None:
        """What came of what it has sent, of interest or not: else it would be taken for what comes of the next one."""
        self.requests.expect_answer()
        return self.requests.answer()

    def close(self) -> None:
        """Let go of the namespace."""
        self._uring.give_back(self._pair)
        self.requests.close()
        self._hears.close()


def _prepare(sock: socket.socket) -> None:
    """Nobody reads what comes while it does not wait, and so nobody is to be told that this was too much."""
    hear_deleted(sock, LOOPBACK[0])
    set_buffer(sock, _BUFFER)
    sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)


class Reflexes:
    """All of them, in the thread of the keeper.

    Args:
        is_wanted: whether it is certain just now that ::1 of a namespace would be put back at once.
    """

    def __init__(self, is_wanted: Callable[[Kept], bool]) -> None:
        self._is_wanted = is_wanted
        self._uring: Uring | None = None
        self._is_allowed = True
        self._new: list[Kept] = []
        self._all: list[Kept] = []
        self._next_rest = 0.0

    def add(self, kept: Kept) -> None:
        """Give a namespace one when there is time, if there are not too many."""
        if kept.fd >= 0 and self._is_allowed and len(self._new) + len(self._all) < _MOST and _are_plenty():
            self._new.append(kept)

    def remove(self, kept: Kept) -> None:
        """Let go of a namespace; that does nothing where it has none."""
        if kept in self._new:
            self._new.remove(kept)
        if kept.reflex is not None:
            self._all.remove(kept)
            kept.reflex.close()
            kept.reflex = None
        if self._uring is not None and not self._all:
            self._uring.close()
            self._uring = None

    def rest(self) -> None:
        """Sleep for a moment if an answer was just given: the kernel finishes it in a thread of the same processor."""
        if self._uring is not None and self._uring.collect() and (now := monotonic()) > self._next_rest:
            self._next_rest = now + _REST_EVERY
            sleep(_REST)

    def turn(self) -> None:
        """There is time: have those wait that should, now that all that was heard has been seen to."""
        while self._new:
            self._open(self._new.pop(0))
        for kept in self._all:
            if kept.reflex is not None:
                kept.reflex.set(is_wanted=self._is_wanted(kept))

    def _open(self, kept: Kept) -> None:
        try:
            self._uring = self._uring or Uring(_MOST)
        except OSError:  # it is missing, or forbidden
            self._is_allowed = False
            self._new.clear()
            return
        with suppress(OSError):  # it has just gone, or is like those that only a process of their own can enter
            kept.reflex = Reflex(self._uring, kept.fd)
            self._all.append(kept)

    def close(self) -> None:
        """Let go of all."""
        for kept in tuple(self._all):
            self.remove(kept)
        self._new.clear()


def _are_plenty() -> bool:
    """Whether nobody has to be sparing of descriptors."""
    limit, _ = getrlimit(RLIMIT_NOFILE)
    return limit == RLIM_INFINITY or limit >= _PLENTY


def hold(kept: Kept) -> None:
    """Have the reflex of a namespace wait no more, before something is done that it must not answer."""
    if kept.reflex is not None:
        kept.reflex.set(is_wanted=False)
