"""Sockets that listen: read as far as it pays, and honest about what a buffer could not hold."""

import socket
from errno import ENOBUFS
from time import monotonic_ns
from typing import Final

from addrsvc.uapi import SO_RCVBUF, SO_RCVBUFFORCE, SOL_SOCKET

__all__ = ["BURST_NS", "DATAGRAM", "KERNEL", "Ear", "set_buffer"]

DATAGRAM: Final = 1 << 15
"""No message about lo is longer."""
KERNEL: Final = 0
"""The port id that messages come from.  Who has CAP_NET_ADMIN in a namespace can send to a group there, too."""
_BURST: Final = 64
BURST_NS: Final = 50_000


class Ear:
    """A socket that listens, as the loop sees it.

    A message that comes alone costs one system call, for finding out that there is no other costs more than reading
    it; what comes in a burst is read in a burst.  When messages were lost `_lost` is called, once what the buffer
    did hold has been read: the kernel adds nothing before that.

    Args:
        sock: a nonblocking socket, closed with this object.
        buffer: bytes that its buffer may take; it doubles whenever that was too little ...
        largest: ... up to so many.
        pause: nanoseconds; what comes sooner than that after the last message is part of a burst.
    """

    __slots__ = ("_buffer", "_is_overrun", "_largest", "_last", "_pause", "_sock", "_whole_until")

    def __init__(self, sock: socket.socket, buffer: int, largest: int, pause: int = BURST_NS) -> None:
        self._sock = sock
        self._buffer = buffer
        self._largest = largest
        self._pause = pause
        self._last = self._whole_until = monotonic_ns()
        self._is_overrun = False

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def ready(self) -> None:
        """Read one message, or many if they come in a burst."""
        if not self._read():
            return
        now = monotonic_ns()
        if now - self._last < self._pause or self._is_overrun:
            self._read_on()
        self._last = now

    def _read_on(self) -> None:
        for _ in range(_BURST):
            if not self._read():
                break

    def _read(self) -> bool:
        """Read one message, and hand it on; whether there may be others."""
        raise NotImplementedError

    def _lost(self, seconds: float) -> None:
        """Say that messages were lost, all of them within so many seconds until now."""
        raise NotImplementedError

    def _unread(self, error: OSError) -> bool:
        """Nothing could be read; whether there may be messages all the same."""
        if isinstance(error, BlockingIOError):
            if self._is_overrun:
                self._is_overrun = False
                self._lost((monotonic_ns() - self._whole_until) / 1e9)
            return False
        if error.errno != ENOBUFS:
            raise error
        self.overrun()
        return True

    def overrun(self) -> None:
        """Messages were lost: have more room for the next ones, and say so when what was not lost has been read."""
        if not self._is_overrun:
            self._is_overrun, self._whole_until = True, self._last
        if self._buffer < self._largest:
            self._buffer = min(2 * self._buffer, self._largest)
            set_buffer(self._sock, self._buffer)

    def close(self) -> None:
        """Hear nothing any more."""
        self._sock.close()


def set_buffer(sock: socket.socket, size: int) -> None:
    """Let a socket's buffer take so many bytes, or as many as the system lets it take without CAP_NET_ADMIN."""
    try:
        sock.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, size)
