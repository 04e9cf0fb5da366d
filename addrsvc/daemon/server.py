"""The service on its sockets: asyncio, the one timer, the signals.

This is the one place where the service waits, and the one place where a bug becomes a closed connection and a line in
the log.
"""

import asyncio
import os
import signal
import socket
import struct
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from asyncvarlink import FileDescriptorArray, VarlinkInterfaceServerProtocol, VarlinkTransport

from addrsvc.daemon.interface import Control, News, registry
from addrsvc.daemon.log import Log
from addrsvc.daemon.service import Mirror, Service, Watcher
from addrsvc.daemon.systemd import notify
from addrsvc.model.timer import HZ
from addrsvc.netlink.messages import AddrMsg, LinkMsg
from addrsvc.netlink.text import names_of, to_json
from addrsvc.uapi import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, Rtm

if TYPE_CHECKING:
    from addrsvc.mirror.rtnl import RtnlWatch

__all__ = ["Server", "serve"]

_MAX_REQUEST: Final = 1 << 20
_HEARD_AT_ONCE: Final = 4096
_MATTERS: Final = (RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR)
"""What is heard of a kernel's namespace that can make it differ from the model's."""
_FAREWELL: Final = 20
"""How many times, a hundredth of a second apart, to look whether the last replies have gone out."""
_UCRED: Final = struct.Struct("=iII")


def serve(service: Service, sock: socket.socket, *, as_json: bool = False) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        service: what answers; its `rearm` is taken over.
        sock: a listening Unix stream socket; it stays the caller's to close.
        as_json: the log is JSON.
    """
    asyncio.run(Server(service, sock, as_json=as_json).run())


class Server:
    """One service on one control socket."""

    def __init__(self, service: Service, sock: socket.socket, *, as_json: bool = False) -> None:
        self._service = service
        self._socket = sock
        self._log = Log(as_json=as_json)
        self._connections: list[tuple[VarlinkTransport, socket.socket]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None
        self._endings: list[Callable[[], object]] = []

    async def run(self) -> None:
        """Serve until a signal says to stop, or until a callback of the loop fails.

        Raises:
            BaseException: what failed, as it was raised.
        """
        # asyncvarlink 0.3 does not await the closing of a stream whose reader has hung up; the loop closes it anyway.
        warnings.filterwarnings("ignore", "coroutine method 'aclose' of 'Control.Monitor'", RuntimeWarning)
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._epoch = self._loop.time() - self._service.linux.jiffies / HZ
        self._loop.set_exception_handler(self._callback_failed)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self.stop)
        try:
            self._open()
            await self._stopped.wait()
        finally:
            await self._close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End run()."""
        self._stopped.set()

    def _open(self) -> None:
        self._socket.settimeout(0)
        self._loop.add_reader(self._socket, self._accept)
        for mirror in self._service.mirrors.values():
            self._listen(mirror)
        self._service.rearm = self._rearm
        self._tick()
        notify("READY=1", f"STATUS=Mirroring {len(self._service.mirrors)} namespaces of the running kernel")

    async def _close(self) -> None:
        notify("STOPPING=1")
        self._service.rearm = lambda expires: None
        self._rearm(None)
        self._loop.remove_reader(self._socket)
        for end in self._endings:
            end()
        self._service.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        """Let what is on its way go out, for a moment; a reader that does not read is not waited for."""
        await asyncio.sleep(0.01)
        for transport, _ in self._connections:
            transport.close()
        for _ in range(_FAREWELL):
            if any(conn.fileno() >= 0 for _, conn in self._connections):
                await asyncio.sleep(0.01)
        for _, conn in self._connections:
            if conn.fileno() >= 0:
                self._loop.remove_writer(conn)
                conn.close()

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """A callback of ours failed outside a request: nothing sensible can follow."""
        exception = context.get("exception")
        if isinstance(exception, BaseException):
            self._failure = exception
            self._stopped.set()
        else:
            self._log("loop", "warning", message=context.get("message"))

    # --- time ---

    def _tick(self) -> None:
        now = int((self._loop.time() - self._epoch) * HZ)
        self._service.tick(max(now, self._service.linux.jiffies))

    def _rearm(self, expires: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = None if expires is None else self._epoch + (expires + 0.5) / HZ
        self._timer = None if when is None else self._loop.call_at(when, self._tick)

    # --- the running kernel ---

    def _listen(self, mirror: Mirror) -> None:
        """Look again whenever the kernel's namespace changes."""
        from addrsvc.mirror.rtnl import RtnlKernel

        if not isinstance(mirror.kernel, RtnlKernel):
            return
        watch = mirror.kernel.watch(settle=0)
        mirror.is_due = True  # for what happened since the last look
        names = names_of(mirror.kernel.dump())
        self._loop.add_reader(watch.fileno(), self._heard, mirror, watch, names)
        self._endings += [partial(self._loop.remove_reader, watch.fileno()), watch.close]

    def _heard(self, mirror: Mirror, watch: "RtnlWatch", names: dict[int, str]) -> None:
        from addrsvc.mirror.rtnl import MessagesLost

        try:
            heard = [msg for msg in islice(watch, _HEARD_AT_ONCE) if isinstance(msg, LinkMsg | AddrMsg)]
        except MessagesLost:
            self._log("ENOBUFS", "warning", netns=mirror.name)
        else:
            heard = [msg for msg in heard if msg.nlmsg_type in _MATTERS]
            if not heard:
                return
            for msg in heard:
                names |= names_of([msg])
                self._log(Rtm(msg.nlmsg_type).name, netns=mirror.name, **_in_short(msg, names))
        self._tick()
        self._service.ask("converge", {"netns": mirror.name})

    # --- connections ---

    def _accept(self) -> None:
        try:
            conn, _ = self._socket.accept()
        except OSError as error:
            self._log("accept", "warning", error=error.strerror)
            return
        uid = _peer_uid(conn)
        control = Control(partial(self._ask, uid), partial(self._newsroom, conn))
        transport = VarlinkTransport(self._loop, conn, conn, Connection(control, self._log))
        self._connections = [(t, c) for t, c in self._connections if c.fileno() >= 0]
        self._connections.append((transport, conn))

    def _ask(self, uid: int, command: str, parameters: Mapping[str, object]) -> dict[str, object]:
        self._tick()
        return self._service.ask(command, parameters, privileged=uid in (0, os.geteuid()))

    async def _newsroom(self, conn: socket.socket, *, replay: bool) -> AsyncIterator[News]:
        """What is said, as it is said, until the service ends or the reader hangs up."""
        woken = asyncio.Event()
        before = list(self._service.history) if replay else []
        watcher = self._service.watch(wake=woken.set)
        self._loop.add_reader(conn, self._reader_spoke, conn, watcher)
        try:
            if before:
                yield {"news": before, "lost": 0}
            while watcher.is_open:
                await woken.wait()
                woken.clear()
                news, lost = watcher.take()
                if news:
                    yield {"news": news, "lost": lost}
        finally:
            self._service.unwatch(watcher)
            if conn.fileno() >= 0:
                self._loop.remove_reader(conn)
        if not self._stopped.is_set():
            raise ConnectionError("the reader has hung up")

    def _reader_spoke(self, conn: socket.socket, watcher: Watcher) -> None:
        """While a stream runs nobody reads the connection, so its end would not be noticed in a quiet service."""
        self._loop.remove_reader(conn)
        try:
            gone = conn.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            gone = True
        if gone:
            self._service.unwatch(watcher)


class Connection(VarlinkInterfaceServerProtocol):
    """One client.  A request that finds a bug costs the client its connection, and the service a line in its log."""

    def __init__(self, control: Control, log: Log) -> None:
        super().__init__(registry(control))
        self._log = log

    def message_received(self, data: bytes, fds: FileDescriptorArray | None) -> None:
        """Hang up on who sends a request without an end."""
        super().message_received(data, fds)
        if len(self._recv_buffer) > _MAX_REQUEST:
            self._log("request without an end", "warning")
            self.close()

    def handle_call_exception(self, exc: BaseException, oneway: bool) -> None:  # noqa: FBT001
        """A bug."""
        import traceback

        self._log("bug", "error", error="".join(traceback.format_exception(exc)))
        self.close()


def _in_short(msg: LinkMsg | AddrMsg, names: Mapping[int, str]) -> dict[str, object]:
    said = to_json(msg, names)
    match msg:
        case LinkMsg():
            return {"dev": said["ifname"], "flags": said["flags"], "mtu": said.get("mtu")}
        case AddrMsg():
            return {"dev": said["dev"], "address": f"{said['local']}/{msg.ifa_prefixlen}"}


def _peer_uid(conn: socket.socket) -> int:
    credentials = conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    return int(uid)
