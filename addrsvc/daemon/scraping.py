"""Where metrics are fetched: as much of HTTP as that takes, on a Unix socket or a local port, in a thread of its own.

One client is served after the other, each for a second or two at most, so that nobody who may connect can make it cost
more than that.  Everybody on this machine may fetch them.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from errno import EMFILE, ENFILE
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from addrsvc.daemon.asked import Asked
from addrsvc.daemon.client import ServiceError
from addrsvc.daemon.listen import listening_socket
from addrsvc.daemon.log import Log
from addrsvc.daemon.metrics import Exposition, NoClient, Tally
from addrsvc.errors import AddrsvcError
from addrsvc.keeper.events import Ring
from addrsvc.keeper.settings import Metrics
from addrsvc.keeper.texts import Listen

__all__ = ["Scraping"]


class Scraping:
    """Serves metrics wherever the configuration says, or nowhere.

    Args:
        asked: who is asked for the keeper.
        ring: what is counted.
        log: told where it cannot be done: nothing else depends on it.
    """

    def __init__(self, asked: Asked, ring: Ring, log: Log) -> None:
        self._asked = asked
        self._ring = ring
        self._log = log
        self._tally: Tally | None = None
        self._said = Metrics()
        self._serving = ExitStack()

    def configure(self, said: Metrics) -> None:
        """Serve as the configuration says; what is served as it says already goes on."""
        if said == self._said:
            return
        self.close()
        self._said = said
        if said.listen == Listen():
            return
        try:
            self._serve(said)
        except (OSError, NoClient, ServiceError) as error:
            self._log.entry("metrics", "error", listen=str(said.listen), error=str(error))

    def _serve(self, said: Metrics) -> None:
        exposition = Exposition(self._asked, self._counting(), said.addresses)
        with ExitStack() as stack:
            sock = stack.enter_context(_listening(said.listen))
            stack.enter_context(_thread(sock, exposition))
            self._serving = stack.pop_all()

    def _counting(self) -> Tally:
        """What is counted, from the first time that it is wanted."""
        if self._tally is None:
            self._tally = Tally()
            self._ring.subscribe(self._tally.take)
        return self._tally

    def close(self) -> None:
        """Serve no more."""
        self._said = Metrics()
        self._serving.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


@contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    if listen.path:
        with listening_socket(Path(listen.path), option="[metrics] listen") as sock:
            yield sock
    else:
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        with socket.create_server((listen.host, listen.port), family=family) as sock:
            yield sock


@contextmanager
def _thread(sock: socket.socket, exposition: Exposition) -> Iterator[None]:
    """Answer those who connect while the block runs."""
    bell = os.eventfd(0, os.EFD_CLOEXEC)
    thread = threading.Thread(target=_answer_all, args=(sock, bell, exposition), name="metrics")
    thread.start()
    try:
        yield
    finally:
        os.eventfd_write(bell, 1)
        thread.join()
        os.close(bell)


def _answer_all(sock: socket.socket, bell: int, exposition: Exposition) -> None:
    sock.settimeout(0)
    either, bell_alone = _poll(sock.fileno(), bell), _poll(bell)
    while not any(fd == bell for fd, _ in either.poll()):
        try:
            _answer(sock, exposition)
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR:
                bell_alone.poll(_PAUSE * 1000)


def _poll(*fds: int) -> select.poll:
    """What tells which of these can be read."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return poll


_NO_DESCRIPTOR: Final = (EMFILE, ENFILE)
_PAUSE: Final = 0.5
"""How many seconds who has connected waits at the door, where there is no descriptor for them, until the next try."""


# --- one client -------------------------------------------------------------------------------------------------------

_PATIENCE: Final = 1.0
"""How many seconds a client may take to ask, and then again to take the answer."""
_LONGEST: Final = 8192
_END: Final = b"\r\n\r\n"
_PATHS: Final = ("/", "/metrics")


class _Asked(NamedTuple):
    """A request: the words of its first line, and what it accepts."""

    method: str
    path: str
    accept: str


class _Answer(NamedTuple):
    status: str
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


def _answer(sock: socket.socket, exposition: Exposition) -> None:
    """Serve one who has connected."""
    conn, _ = sock.accept()
    with conn:
        asked = _read(conn)
        answer = _BAD if asked is None else _answered(asked, exposition)
        head = f"HTTP/1.1 {answer.status}\r\nContent-Type: {answer.content_type}\r\n"
        head += f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
        conn.settimeout(_PATIENCE)
        conn.sendall(head.encode() + (b"" if asked is not None and asked.method == "HEAD" else answer.body))


def _read(conn: socket.socket) -> _Asked | None:
    """What is asked for; None where that is nothing that can be understood."""
    until = time.monotonic() + _PATIENCE
    data = bytearray()
    while _END not in data and len(data) < _LONGEST:
        conn.settimeout(max(0.001, until - time.monotonic()))
        if not (more := conn.recv(_LONGEST)):
            return None
        data += more
    first, *headers = bytes(data).partition(_END)[0].decode("latin-1").split("\r\n")
    match first.split(" "):
        case [method, path, version] if version.startswith("HTTP/1."):
            return _Asked(method, path.partition("?")[0], _header(headers, "accept"))
    return None


def _header(headers: list[str], wanted: str) -> str:
    pairs = (line.partition(":") for line in headers)
    return next((value.strip() for name, _, value in pairs if name.lower() == wanted), "")


_BAD: Final = _Answer("400 Bad Request", b"this is no request of HTTP/1\n")


def _answered(asked: _Asked, exposition: Exposition) -> _Answer:
    if asked.path not in _PATHS:
        return _Answer("404 Not Found", b"there is only /metrics\n")
    if asked.method not in ("GET", "HEAD"):
        return _Answer("405 Method Not Allowed", b"metrics can only be read\n")
    try:
        return _Answer("200 OK", *exposition.text(asked.accept))
    except AddrsvcError as error:
        return _Answer("503 Service Unavailable", f"{error}\n".encode())
