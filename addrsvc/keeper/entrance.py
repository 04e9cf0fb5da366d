"""The first thing that is done in a namespace: it is entered, and its lo brought up."""

import os
import socket
import time
from contextlib import suppress
from typing import Final

from addrsvc.keeper.mend import LO_UP_STEP
from addrsvc.keeper.rtnl import Requests, is_lo_down
from addrsvc.mirror.netns import THIS_ONE

__all__ = ["Entrance", "rehearse"]


class Entrance:
    """A socket for asking a namespace; its lo, if it is down, was brought up by it before anything else was done.

    What the kernel refuses is asked for once more, and told, by `Mender.look`.

    Args:
        netns_fd: which one.
        label: what it is called.
        raises: whether its lo is to be up.

    Attributes:
        requests: the socket.

    Raises:
        OSError: the namespace cannot be entered, or there is no descriptor for a socket.
    """

    __slots__ = ("_us", "requests")

    def __init__(self, netns_fd: int, label: str, *, raises: bool) -> None:
        self._us: float | None = None
        self.requests: Final = Requests.to(netns_fd, label, self._raise if raises else _only_look)

    def _raise(self, sock: socket.socket) -> None:
        if is_lo_down(sock):
            since = time.monotonic_ns()
            with suppress(OSError):
                sock.send(LO_UP_STEP.wire)
                self._us = (time.monotonic_ns() - since) / 1000

    def raised(self) -> float | None:
        """In how many microseconds its lo was brought up; None if it was not."""
        return None if self._us is None or self.requests.answer() is not None else self._us

    def close(self) -> None:
        """Close the socket."""
        self.requests.close()


def _only_look(sock: socket.socket) -> None:
    is_lo_down(sock)


def rehearse(label: str) -> None:
    """Enter the namespace that this process is in, and do nothing there.

    Soon after that another one is entered much faster: what was used a moment ago need not be fetched from memory.
    """
    with suppress(OSError):
        fd = os.open(THIS_ONE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            Entrance(fd, label, raises=False).close()
        finally:
            os.close(fd)
