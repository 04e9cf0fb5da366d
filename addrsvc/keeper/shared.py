"""One socket for listening and for asking: all there is of a namespace that may not be entered."""

import os
import socket
from collections.abc import Callable
from errno import ENOBUFS
from struct import Struct
from typing import Final

from addrsvc.keeper.ear import KERNEL

__all__ = ["Answers"]

_PORTID: Final = Struct("=I")
_PORTID_AT: Final = 12
"""Who asked for what a message says; errors among the answers bear it like all others."""


class Answers(socket.socket):
    """Another descriptor of a socket that listens, of which only answers are read.

    Args:
        sock: which one.
        aside: called with each other message that is come across.
        lost: called where messages were lost, answers among them or not.
    """

    def __init__(self, sock: socket.socket, aside: Callable[[bytes], object], lost: Callable[[], object]) -> None:
        super().__init__(fileno=os.dup(sock.fileno()))
        self._portid: int = self.getsockname()[0]
        self._aside = aside
        self._lost = lost

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """The next answer."""
        while True:
            try:
                message, (sender, _) = self.recvfrom(bufsize, flags)
            except OSError as error:
                if error.errno == ENOBUFS:
                    self._lost()
                raise
            if sender != KERNEL:
                continue
            if _PORTID.unpack_from(message, _PORTID_AT)[0] == self._portid:
                return message
            self._aside(message)
