"""The server in a thread of its own, for tests that come through its door."""

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

from addrsvc.daemon.listen import listening_socket
from addrsvc.daemon.netlink_server import NetlinkServer
from addrsvc.linux import Linux
from addrsvc.nlux import NluxSocket


class Server:
    """A server of a fresh model at `path`; it serves from start() to close()."""

    def __init__(self, path: Path, *, is_real: bool = False) -> None:
        self.path = path
        self._stack = ExitStack()
        listener = self._stack.enter_context(listening_socket(path, kind=socket.SOCK_SEQPACKET))
        self._server = self._stack.enter_context(NetlinkServer(listener, is_real=is_real))
        self._thread = threading.Thread(target=self._server.run)

    @property
    def linux(self) -> Linux:
        """The machine that is served."""
        return self._server.linux

    @property
    def bell(self) -> int:
        """What wakes it."""
        return self._server.bell

    def start(self) -> None:
        self._thread.start()

    def client(self, portid: int = 0) -> NluxSocket:
        return self._stack.enter_context(NluxSocket(self.path, portid))

    def raw(self) -> socket.socket:
        """A connection that has not said hello."""
        conn = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        conn.settimeout(10)
        conn.connect(str(self.path))
        return conn

    def close(self) -> None:
        self._server.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._stack.close()
