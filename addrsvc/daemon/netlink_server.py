"""rtnetlink bytes on a Unix socket, answered by the model: NLUX/1 (`addrsvc.nlux`), one process, several connections.

It needs what Linux has: Unix sockets that keep datagrams apart, and epoll(7).
"""

import os
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EACCES, EINVAL, EOPNOTSUPP, EPERM, EPROTONOSUPPORT
from fcntl import ioctl
from pathlib import Path
from struct import Struct
from termios import TIOCOUTQ
from types import FrameType, TracebackType
from typing import Final, NamedTuple, Self, TypeAlias

from addrsvc.af_netlink.faults import Faults
from addrsvc.af_netlink.groups import NGROUPS
from addrsvc.af_netlink.table import Datagram
from addrsvc.daemon.listen import listening_socket
from addrsvc.daemon.printer import json_text, say
from addrsvc.daemon.systemd import inherited_socket, notify
from addrsvc.errors import KernelError
from addrsvc.linux import Linux
from addrsvc.model.timer import HZ
from addrsvc.netlink.messages import Sysctl
from addrsvc.nlux import CAN_RESET, LARGEST, VERSION, WANTS_REPLY, Control, Op

__all__ = ["NetlinkServer", "serve_netlink"]

MakeFaults: TypeAlias = Callable[[], Faults]

_NET: Final = "netlink"
"""The namespace that is served: one like all others, which the first of a machine is not."""
_SNDBUF: Final = 1 << 20
_READ_SIZE: Final = 32768
"""What a client is taken to read with: ip(8) does, and to the kernel anything above is the same."""
_MOST_REPLIES: Final = 1000
"""How many replies to control datagrams may wait for a client that does not read."""
_MOST_HELD: Final = 1 << 24
"""How many bytes of what a client has sent may wait to be served; what is above waits in its socket."""
_OVERHEAD: Final = 256
"""How many bytes a datagram counts beside its own."""
_TRY_AGAIN: Final = 0.2
"""How many seconds not to accept connections where there are no descriptors for them."""
_EVENTS: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_OUTQ_EMPTY: Final = 1
"""A datagram counts for a last byte until the kernel has told us that it was read."""
_RINGS: Final = 4096
"""How often the bell may have rung between two looks; if it was more, the next look begins at once."""
_UCRED: Final = Struct("=iII")
_S32: Final = Struct("=i")
_U32: Final = Struct("=I")
_U32S: Final = Struct("=II")
_U64: Final = Struct("=Q")
_OPTION: Final = Struct("=IIi")
_WELCOME: Final = Struct("=IIII")


def serve_netlink(
    path: Path, *, as_json: bool = False, seed: int = 0, is_real: bool = False, faults: MakeFaults | None = None
) -> None:
    """Serve at `path`, or on the socket that systemd passed, until SIGINT or SIGTERM; nothing is left behind.

    Args:
        path: where to listen.
        as_json: tell in JSON that one may connect.
        seed: of the model's chance.
        is_real: its clock is the real one; otherwise ADVANCE turns it.
        faults: makes what goes wrong with it, anew whenever it begins again.

    Raises:
        OutputError: that could not be told.
        ServiceError: somebody is listening there, or the path cannot be used.
    """
    with (
        _signals(signal.default_int_handler),
        suppress(KeyboardInterrupt),
        inherited_socket(socket.SOCK_SEQPACKET) or listening_socket(path, kind=socket.SOCK_SEQPACKET) as listener,
        NetlinkServer(listener, seed=seed, is_real=is_real, faults=faults) as server,
        _signals(lambda *_: server.stop()),
        _wakes(server),
    ):
        where = f"unix:{listener.getsockname()}"
        say(json_text({"kind": "netlink", "listen": where}) if as_json else f"netlink: {where}")
        notify("READY=1")
        server.run()
        notify("STOPPING=1")


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def _wakes(server: "NetlinkServer") -> Iterator[None]:
    """Let signals end the wait, also one that is about to begin: it would hold up the handlers that Python runs."""
    before = signal.set_wakeup_fd(server.bell, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)


class _Model:
    """The model that is served, and its clock: the real one, or one that ADVANCE turns."""

    def __init__(self, seed: int, *, is_real: bool, faults: MakeFaults | None) -> None:
        self._seed, self.is_real, self._faults = seed, is_real, faults
        self.boot()

    def boot(self) -> None:
        """Begin again."""
        self.linux = Linux(seed=self._seed, effects=False)
        if self._faults is not None:
            self.linux.faults = self._faults()
        self.net = self.linux.add_net(_NET)
        self._epoch, self._start, self._elapsed = self.linux.jiffies, time.monotonic_ns() // 1000, 0

    def advance(self, microseconds: int) -> None:
        """Let time pass; what is less than a jiffy is kept for the next time."""
        self._elapsed += microseconds
        self.linux.run_timers(self._epoch + self._elapsed * HZ // 1_000_000)

    def catch_up(self) -> None:
        """Let so much time pass as has passed."""
        if self.is_real:
            self.advance(time.monotonic_ns() // 1000 - self._start - self._elapsed)

    def pause(self) -> float | None:
        """In how many seconds something is due."""
        due = self.linux.next_expiry() if self.is_real else None
        if due is None:
            return None
        return max(0.0, (due - self._epoch) / HZ - (time.monotonic_ns() // 1000 - self._start) / 1e6)


class _Reply(NamedTuple):
    """The answer to a control datagram, and behind how many datagrams of the netlink socket it is sent."""

    behind: int
    datagram: bytes


class _Sent(NamedTuple):
    """A datagram that a client has sent: the number of the look that found it, and what it is."""

    look: int
    datagram: bytes
    control: Control | None


class _Connection:
    """One client, and the netlink socket that it has.

    A datagram is taken from the netlink socket when the client has read it, so what the client has not read fills
    that socket's buffer and holds up its dump, as in the kernel; only one is on its way at a time.

    Attributes:
        inbox: what the client has sent and has not been served yet.
        controls: how many control datagrams are among it.
        has_gone: it will neither send nor read any more.
        is_new: it has neither bound the socket nor sent a request, so it may still choose the port id.
    """

    def __init__(self, conn: socket.socket, model: _Model, heard: Callable[["_Connection"], None]) -> None:
        conn.settimeout(0)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SNDBUF)
        pid, uid, _ = _UCRED.unpack(conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        self._conn = conn
        self.sock = model.net.socket(pid=pid, admin=uid in (0, os.geteuid()), uid=uid)
        self.sock.on_ready = lambda: heard(self)
        self.inbox: deque[_Sent] = deque()
        self.controls = 0
        self._held = 0
        self.has_gone = False
        self.is_new = True
        self._replies: deque[_Reply] = deque()
        self._taken = 0
        self._overran = False
        self._on_its_way: Datagram | None = None

    def fileno(self) -> int:
        return self._conn.fileno()

    def close(self) -> None:
        self.sock.close()
        self._conn.close()

    # --- in ---

    def fetch(self, buffer: bytearray, look: int) -> bool:
        """Put what the client has sent into the inbox; False where there may be more."""
        while self._held < _MOST_HELD:
            try:
                size = self._conn.recv_into(buffer)
            except BlockingIOError:
                return True
            except ConnectionResetError:  # it has gone without reading everything; what it sent is still there
                continue
            if size == 0 and (hung_up := self._hung_up()):
                self.has_gone = bool(hung_up & select.POLLHUP)
                return True
            self._put(_Sent(look, datagram := bytes(memoryview(buffer)[:size]), Control.parse(datagram)))
        return False

    def _put(self, sent: _Sent) -> None:
        self.inbox.append(sent)
        self.controls += sent.control is not None
        self._held += _OVERHEAD + len(sent.datagram)

    def take(self) -> _Sent:
        """What is to be served next."""
        sent = self.inbox.popleft()
        self.controls -= sent.control is not None
        self._held -= _OVERHEAD + len(sent.datagram)
        return sent

    def _hung_up(self) -> int:
        """POLLRDHUP where reading nothing meant the end, not a datagram of no bytes; POLLHUP where it will not read."""
        poll = select.poll()
        poll.register(self._conn, select.POLLRDHUP)
        return sum(mask for _, mask in poll.poll(0))

    # --- out ---

    def answer(self, reply: Control) -> None:
        """Send the answer to a control datagram, behind what was said before."""
        if len(self._replies) < _MOST_REPLIES:
            self._replies.append(_Reply(self._taken + len(self.sock.queue), bytes(reply)))
        else:
            self._overran = True

    def move(self, model: _Model) -> None:
        """Be a socket of a model that has begun again; what its predecessor had to say is forgotten."""
        self.sock.move(model.linux.netlink, model.net.net)
        self.is_new = True
        self._on_its_way, self._overran = None, False
        self._replies = deque(reply._replace(behind=0) for reply in self._replies)

    @property
    def has_read(self) -> bool:
        """Whether the client has read all that was sent to it."""
        return _unread(self._conn) <= _OUTQ_EMPTY

    def flush(self) -> None:
        """Take what the client has read from its netlink socket, and send it what comes next."""
        if self._on_its_way is not None:
            self._on_its_way = None
            self._taken += 1
            self._read()
        if datagram := self._next():
            with suppress(OSError):  # it has gone; reading will tell
                self._conn.send(datagram)

    def _next(self) -> bytes:
        """What is to be sent now; nothing where there is nothing."""
        if self._overran:
            self._overran = False
            return bytes(Control(Op.OVERRUN))
        if self._replies and self._replies[0].behind <= self._taken:
            return self._replies.popleft().datagram
        datagram = self._read(peek=True)
        if self._overran:
            return self._next()
        self._on_its_way = datagram
        return b"" if datagram is None else self._wrapped(datagram)

    def _read(self, *, peek: bool = False) -> Datagram | None:
        while self.sock.readable:
            try:
                return self.sock.recv(_READ_SIZE, peek=peek)
            except KernelError:  # ENOBUFS, which is said once
                self._overran = True
        return None

    def _wrapped(self, datagram: Datagram) -> bytes:
        if not self.sock.pktinfo:
            return datagram.data
        return bytes(Control(Op.PKTINFO, _U32.pack(datagram.group) + datagram.data))


def _unread(conn: socket.socket | int) -> int:
    """How much of what was sent the other side has not read (SIOCOUTQ)."""
    (unread,) = _S32.unpack(ioctl(conn, TIOCOUTQ, bytes(_S32.size)))
    return int(unread)


class NetlinkServer:
    """Serves a model on a listening Unix socket.

    Args:
        listener: of type SOCK_SEQPACKET; it stays the caller's to close.
        seed: of the model's chance.
        is_real: its clock is the real one; otherwise ADVANCE turns it.
        faults: makes what goes wrong with it, anew whenever it begins again.
    """

    def __init__(
        self, listener: socket.socket, *, seed: int = 0, is_real: bool = False, faults: MakeFaults | None = None
    ) -> None:
        self._listener = listener
        self._listener.settimeout(0)
        self._model = _Model(seed, is_real=is_real, faults=faults)
        self._connections: dict[int, _Connection] = {}
        self._heard: dict[_Connection, None] = {}
        self._unfetched: dict[_Connection, None] = {}
        self._buffer = bytearray(LARGEST)
        self._looks = 0
        self._is_stopped = False
        self._bell, self._ear = socket.socketpair()
        self._bell.settimeout(0)
        self._poll = select.epoll()
        self._poll.register(self._ear, select.EPOLLIN)
        self._welcome()

    @property
    def linux(self) -> Linux:
        """The machine that is served."""
        return self._model.linux

    @property
    def bell(self) -> int:
        """A descriptor: whoever writes to it makes run() look around, though nobody has come."""
        return self._bell.fileno()

    def stop(self) -> None:
        """End run(), from whatever thread or signal."""
        self._is_stopped = True
        with suppress(BlockingIOError):
            self._bell.send(b"\0")

    def close(self) -> None:
        """Hang up on every client."""
        for connection in list(self._connections.values()):
            self._hang_up(connection)
        for end in (self._poll, self._bell, self._ear):
            end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def run(self) -> None:
        """Serve until stop() is called."""
        while not self._is_stopped:
            self._look(self._pause())
            self._model.catch_up()
            if (connection := self._turn()) is not None:
                self._serve(connection)
            self._flush()

    def _pause(self) -> float | None:
        """How many seconds there is nothing to do unless somebody comes; None for ever."""
        if self._unfetched or any(connection.inbox for connection in self._connections.values()):
            return 0
        pause = self._model.pause()
        return pause if self._has_room else min(_TRY_AGAIN, pause or _TRY_AGAIN)

    # --- who is there ---

    def _look(self, seconds: float | None) -> None:
        """Take note of who has connected, sent something, read something or gone, waiting for it so long."""
        self._looks += 1
        events = self._poll.poll(seconds)
        if not events and not self._has_room:
            self._welcome()
        for fd, _ in events:
            if fd == self._listener.fileno():
                self._accept()
            elif fd == self._ear.fileno():
                self._ear.recv(_RINGS)
            elif (connection := self._connections.get(fd)) is not None:
                self._unfetched[connection] = self._heard[connection] = None
        for connection in list(self._unfetched):
            if connection.fetch(self._buffer, self._looks):
                del self._unfetched[connection]

    def _welcome(self) -> None:
        self._poll.register(self._listener, select.EPOLLIN)
        self._has_room = True

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while self._has_room:
                self._accept_one()

    def _accept_one(self) -> None:
        try:
            conn, _ = self._listener.accept()
        except BlockingIOError:
            raise
        except OSError:  # there is no descriptor for it: it waits until somebody goes
            self._poll.unregister(self._listener)
            self._has_room = False
            return
        connection = _Connection(conn, self._model, self._hear)
        self._connections[conn.fileno()] = connection
        self._poll.register(conn, _EVENTS)
        self._unfetched[connection] = None

    def _hear(self, connection: _Connection) -> None:
        self._heard[connection] = None

    def _hang_up(self, connection: _Connection) -> None:
        del self._connections[connection.fileno()]
        self._unfetched.pop(connection, None)
        self._poll.unregister(connection.fileno())
        connection.close()

    # --- in ---

    def _turn(self) -> _Connection | None:
        """Whose datagram is next: the first that came, but control datagrams before requests of others.

        A request has to wait for one more look, lest a control datagram that came before it has been overlooked.
        """
        waiting = [connection for connection in self._connections.values() if connection.inbox]
        eager = [connection for connection in waiting if connection.controls]
        seen_before = [connection for connection in waiting if connection.inbox[0].look < self._looks]
        return min(eager or seen_before, key=lambda connection: connection.inbox[0].look, default=None)

    def _serve(self, connection: _Connection) -> None:
        sent = connection.take()
        if sent.control is not None:
            self._obey(connection, sent.control)
        elif sent.datagram:
            connection.is_new = False
            with suppress(KernelError):  # what send(2) would have returned there is nobody to tell
                connection.sock.send(sent.datagram)

    def _obey(self, connection: _Connection, control: Control) -> None:
        errno, args = 0, b""
        try:
            args = _OPERATIONS.get(control.op, _unknown)(self, connection, control.args)
        except KernelError as error:
            errno = error.errno or EINVAL
        except (struct.error, UnicodeError):
            errno = EINVAL
        if control.flags & WANTS_REPLY:
            connection.answer(control.reply(errno, args))
            self._heard[connection] = None

    # --- out ---

    def _flush(self) -> None:
        for connection in [c for c in self._connections.values() if c.has_gone and not c.inbox]:
            self._hang_up(connection)
        for connection in [c for c in self._heard if c.fileno() not in self._connections or self._is_answered(c)]:
            del self._heard[connection]

    def _is_answered(self, connection: _Connection) -> bool:
        """Send what is next; False where the client, before it read what went before, has asked for something else."""
        if not connection.has_read:
            return True
        connection.fetch(self._buffer, self._looks)
        if connection.inbox:
            return False
        connection.flush()
        return True

    # --- for control datagrams ---

    def hello(self, connection: _Connection, args: bytes) -> bytes:
        """HELLO: agree on the version, and on a port id, which BIND may still change."""
        version, portid = _U32S.unpack_from(args)
        if version != VERSION:
            raise KernelError(EPROTONOSUPPORT)
        sock = connection.sock
        if connection.is_new:
            sock.name(portid)
        elif portid not in (0, sock.portid):
            raise KernelError(EINVAL)
        return _WELCOME.pack(VERSION, sock.portid, NGROUPS, 0 if self._model.is_real else CAN_RESET)

    def bind(self, connection: _Connection, args: bytes) -> bytes:
        """BIND: bind(2)."""
        portid, groups = _U32S.unpack_from(args)
        sock = connection.sock
        if connection.is_new:
            sock.name(portid or sock.portid)
            portid = sock.portid
        sock.bind(portid, groups)
        connection.is_new = False
        return _U32.pack(sock.portid)

    def setsockopt(self, connection: _Connection, args: bytes) -> bytes:
        """SETSOCKOPT: setsockopt(2)."""
        connection.sock.setsockopt(*_OPTION.unpack_from(args))
        return b""

    def getsockopt(self, connection: _Connection, args: bytes) -> bytes:
        """GETSOCKOPT: getsockopt(2)."""
        return connection.sock.getsockopt(*_U32S.unpack_from(args))

    def reset(self, connection: _Connection, args: bytes) -> bytes:
        """RESET: begin again; the sockets keep their port ids, groups and options."""
        _require_admin(connection, EPERM)
        self._model.boot()
        for each in self._connections.values():
            each.move(self._model)
        return b""

    def advance(self, connection: _Connection, args: bytes) -> bytes:
        """ADVANCE: let time pass."""
        if self._model.is_real:
            raise KernelError(EOPNOTSUPP)
        _require_admin(connection, EPERM)
        (microseconds,) = _U64.unpack_from(args)
        self._model.advance(microseconds)
        return b""

    def sysctl(self, connection: _Connection, args: bytes) -> bytes:
        """SYSCTL: read or write a file below /proc/sys/."""
        path, *value = os.fsdecode(args.removesuffix(b"\0")).split("\0")
        if len(value) > 1:
            raise KernelError(EINVAL)
        if value:
            _require_admin(connection, EACCES)
        name = path.translate(_DOTTED)
        if not value:
            return os.fsencode(self._model.net.read_sysctl(name))
        self._model.net.request(Sysctl(name, *value))
        return b""


def _require_admin(connection: _Connection, errno: int) -> None:
    if not connection.sock.admin:
        raise KernelError(errno)


def _unknown(server: NetlinkServer, connection: _Connection, args: bytes) -> bytes:
    raise KernelError(EOPNOTSUPP)


_DOTTED: Final = str.maketrans("/.", "./")
_OPERATIONS: Final[Mapping[int, Callable[[NetlinkServer, _Connection, bytes], bytes]]] = {
    Op.HELLO: NetlinkServer.hello,
    Op.BIND: NetlinkServer.bind,
    Op.SETSOCKOPT: NetlinkServer.setsockopt,
    Op.GETSOCKOPT: NetlinkServer.getsockopt,
    Op.RESET: NetlinkServer.reset,
    Op.ADVANCE: NetlinkServer.advance,
    Op.SYSCTL: NetlinkServer.sysctl,
}
