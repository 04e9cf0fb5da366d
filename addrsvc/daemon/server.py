"""The service on its sockets: asyncio, the one timer, the signals.

This is the one place where the service waits, and the one place where a bug becomes a closed connection and a line in
the log.
"""

import asyncio
import logging
import resource
import signal
import socket
import warnings
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncvarlink import (
    FileDescriptorArray,
    VarlinkInterface,
    VarlinkInterfaceRegistry,
    VarlinkInterfaceServerProtocol,
    VarlinkMethodReply,
    VarlinkTransport,
)

from addrsvc.daemon.audit import Audit
from addrsvc.daemon.authority import Authority, ForEverybody, ForGroup, Peer, Right, peer_of, require
from addrsvc.daemon.client import INTERFACE, method_name
from addrsvc.daemon.commands import CHANGES
from addrsvc.daemon.interface import Control, News, registry
from addrsvc.daemon.keeper_interface import KeeperControl
from addrsvc.daemon.log import Log
from addrsvc.daemon.observing import ClientDesk, HangUp, Observation
from addrsvc.daemon.systemd import notify
from addrsvc.keeper.events import VOCABULARY
from addrsvc.model.timer import HZ
from addrsvc.netlink.messages import AddrMsg, LinkMsg
from addrsvc.netlink.text import names_of, to_json
from addrsvc.uapi import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, Rtm

if TYPE_CHECKING:
    from asyncvarlink.types import JSONObject

    from addrsvc.daemon.keeping import KeeperThread
    from addrsvc.daemon.service import Mirror, Service
    from addrsvc.mirror.rtnl import RtnlWatch

__all__ = ["Server", "serve"]

_MAX_REQUEST: Final = 1 << 18
"""Bytes; the longest frame that lo takes has 65550, and is sent in hexadecimal."""
_MAX_CONNECTIONS: Final = 256
_PAUSE: Final = 1.0
"""How many seconds not to accept connections where there are no descriptors for them."""
_COMPLAINTS: Final = 10
"""How many complaints of a kind are logged within as many seconds: clients can provoke them at will."""
_HEARD_AT_ONCE: Final = 4096
_MATTERS: Final = (RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR)
"""What is heard of a kernel's namespace that can make it differ from the model's."""
_FAREWELL: Final = 20
"""How many times, a hundredth of a second apart, to look whether the last replies have gone out."""


class _Client(NamedTuple):
    """A connection, and who is at its other end."""

    peer: Peer
    conn: socket.socket
    transport: VarlinkTransport

    @property
    def is_connected(self) -> bool:
        return self.conn.fileno() >= 0


def serve(
    service: "Callable[[], Service]",
    sock: socket.socket,
    log: Log,
    ready: Callable[[], object] | None = None,
    keeping: "KeeperThread | None" = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        service: gives what answers, when somebody asks it, or has something to mirror: a model takes memory.  Its
            `rearm` is taken over.
        sock: a listening Unix stream socket; it stays the caller's to close.
        log: what clients do wrong, what was heard of the running kernel, and what came of it.
        ready: called when clients are answered; if not given, the service manager is told that all is ready.
        keeping: the keeper beside which the model stands, if there is one: clients are answered for it, too.
    """
    asyncio.run(Server(service, sock, log, ready, keeping).run())


class Server:
    """One service on one control socket."""

    def __init__(
        self,
        service: "Callable[[], Service]",
        sock: socket.socket,
        log: Log,
        ready: Callable[[], object] | None = None,
        keeping: "KeeperThread | None" = None,
    ) -> None:
        self._ready = self._tell_ready if ready is None else ready
        self._make_service = service
        self._socket = sock
        self._log = log
        self._complaints: defaultdict[str, deque[float]] = defaultdict(partial(deque, maxlen=_COMPLAINTS))
        self._clients: list[_Client] = []
        self._keeping = keeping
        self._observation: Observation | None = None
        self._authority: Authority = _authority(keeping, sock)
        self._timer: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None
        self._watches: dict[str, RtnlWatch] = {}

    async def run(self) -> None:
        """Serve until a signal says to stop, or until a callback of the loop fails.

        Raises:
            BaseException: what failed, as it was raised.
        """
        # asyncvarlink 0.3 does not await the closing of a stream whose reader has hung up; the loop closes it anyway.
        warnings.filterwarnings("ignore", "coroutine method 'aclose' of '(Keeper)?Control\\.", RuntimeWarning)
        # What it logs, with a traceback, is that a client did not wait for its answer; a bug comes to us.
        logging.getLogger("asyncvarlink").setLevel(logging.CRITICAL)
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._loop.set_exception_handler(self._callback_failed)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self.stop)
        self._audit = Audit(self._tell, self._loop.call_later)
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
        if self._keeping is not None:
            self._observation = Observation(self._keeping, self._authority, self._audit)
        self._welcome()
        self._ready()

    @cached_property
    def _service(self) -> "Service":
        """What answers, from the first question on; its time begins then."""
        service = self._make_service()
        self._epoch = self._loop.time() - service.linux.jiffies / HZ
        for mirror in service.mirrors.values():
            self._listen(mirror)
        self._sent = {name: mirror.sent for name, mirror in service.mirrors.items()}
        service.rearm, service.heed = self._pumped, self._listen
        return service

    def _tell_ready(self) -> None:
        self._tick()
        notify("READY=1", f"STATUS=Mirroring {len(self._service.mirrors)} namespaces of the running kernel")

    async def _close(self) -> None:
        notify("STOPPING=1")
        self._loop.remove_reader(self._socket)
        if "_service" in vars(self):
            self._close_service()
        if self._observation is not None:
            self._observation.close()
        self._audit.sum_up()
        await self._hang_up()

    def _close_service(self) -> None:
        self._service.rearm, self._service.heed = lambda expires: None, lambda mirror: None
        self._rearm(None)
        for name in list(self._watches):
            self._listen_no_more(name)
        self._service.close()

    async def _hang_up(self) -> None:
        """Let what is on its way go out, for a moment; a reader that does not read is not waited for."""
        await asyncio.sleep(0.01)
        for client in self._clients:
            client.transport.close()
        for _ in range(_FAREWELL):
            if any(client.is_connected for client in self._clients):
                await asyncio.sleep(0.01)
        for client in self._clients:
            if client.is_connected:
                self._loop.remove_writer(client.conn)
                client.conn.close()

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """A callback of ours failed outside a request: nothing sensible can follow."""
        exception = context.get("exception")
        if isinstance(exception, BaseException):
            self._failure = exception
            self._stopped.set()
        else:
            self._log.entry("loop", "warning", message=context.get("message"))

    # --- time ---

    def _tick(self) -> None:
        service = self._service
        now = int((self._loop.time() - self._epoch) * HZ)
        service.tick(max(now, service.linux.jiffies))

    def _rearm(self, expires: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = None if expires is None else self._epoch + (expires + 0.5) / HZ
        self._timer = None if when is None else self._loop.call_at(when, self._tick)

    # --- the running kernel ---

    def _listen(self, mirror: "Mirror") -> None:
        """Look again whenever the kernel's namespace changes."""
        from addrsvc.mirror.rtnl import RtnlKernel

        self._listen_no_more(mirror.name)
        if not isinstance(mirror.kernel, RtnlKernel):
            return
        watch = mirror.kernel.watch(settle=0)
        mirror.is_due = True  # for what happened since the last look
        names = names_of(mirror.kernel.dump())
        self._loop.add_reader(watch.fileno(), self._heard, mirror, watch, names)
        self._watches[mirror.name] = watch

    def _listen_no_more(self, name: str) -> None:
        if watch := self._watches.pop(name, None):
            self._loop.remove_reader(watch.fileno())
            watch.close()

    def _heard(self, mirror: "Mirror", watch: "RtnlWatch", names: dict[int, str]) -> None:
        from addrsvc.mirror.rtnl import MessagesLost

        try:
            heard = [msg for msg in islice(watch, _HEARD_AT_ONCE) if isinstance(msg, LinkMsg | AddrMsg)]
        except MessagesLost:
            self._log.entry("ENOBUFS", "warning", netns=mirror.name)
        else:
            heard = [msg for msg in heard if msg.nlmsg_type in _MATTERS]
            if not heard:
                return
            for msg in heard:
                names |= names_of([msg])
                self._log.entry(Rtm(msg.nlmsg_type).name, "debug", netns=mirror.name, **_in_short(msg, names))
        self._tick()
        self._service.ask("converge", {"netns": mirror.name})

    def _pumped(self, expires: int | None) -> None:
        """The service has done its work, and wants to be called again."""
        self._rearm(expires)
        for mirror in self._service.mirrors.values():
            sent, self._sent[mirror.name] = self._sent.get(mirror.name, 0), mirror.sent
            if mirror.sent > sent:
                self._log.entry("converged", netns=mirror.name, sent=mirror.sent - sent)

    # --- connections ---

    def _welcome(self) -> None:
        if not self._stopped.is_set():
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        try:
            conn, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._complain("accept", error=error.strerror)
            self._loop.remove_reader(self._socket)
            self._loop.call_later(_PAUSE, self._welcome)
            return
        self._clients = [client for client in self._clients if client.is_connected]
        peer = peer_of(conn)
        if self._has_room(peer):
            self._connect(peer, conn)
        else:
            conn.close()
            self._complain("too many connections", **peer.identity())

    def _has_room(self, peer: Peer) -> bool:
        """Nobody may take more than half of the connections, and who may change something is not kept out by others."""
        most = _max_connections()
        of_uid = sum(client.peer.uid == peer.uid for client in self._clients)
        may_change = not self._authority.why_not(peer, Right.CHANGE)
        return of_uid < most // 2 and (may_change or len(self._clients) < most)

    def _connect(self, peer: Peer, conn: socket.socket) -> None:
        served: list[VarlinkInterface] = [Control(partial(self._ask, peer), partial(self._newsroom, peer, conn))]
        if self._observation is not None:
            served.append(KeeperControl(ClientDesk(self._observation, peer, conn)))
        connection = Connection(registry(*served), self._log, partial(self._complain, uid=peer.uid))
        # Without boundaries it reads but a little at a time, and does not read on as long as a client writes.
        transport = VarlinkTransport(self._loop, conn, conn, connection, boundary_predictor=None)
        self._clients.append(_Client(peer, conn, transport))

    def _complain(self, event: str, **values: object) -> None:
        now, before = self._loop.time(), self._complaints[event]
        if len(before) == _COMPLAINTS and now - before[0] < _COMPLAINTS:
            return
        before.append(now)
        self._log.entry(event, "warning", **values)

    def _ask(self, peer: Peer, command: str, parameters: Mapping[str, object]) -> dict[str, object]:
        with self._audit.of(peer, f"{INTERFACE}.{method_name(command)}"):
            require(self._authority, peer, Right.CHANGE if command in CHANGES else Right.READ)
        if command == "inject":
            self._tell_injection(peer, parameters)
        self._tick()
        return self._service.ask(command, parameters)

    def _tell_injection(self, peer: Peer, parameters: Mapping[str, object]) -> None:
        """Have it known who lets the model hear of an event."""
        values = {"val": parameters.get("event"), "what": parameters.get("dev"), "net": parameters.get("net")}
        self._tell("inject", **values, real=False, **peer.told())

    def _tell(self, event: str, **said: object) -> None:
        """Have something told by which somebody is known."""
        if self._keeping is not None:
            self._keeping.tell(event, "", **said)
        else:
            self._log.entry(event, VOCABULARY[event].level, **said)

    async def _newsroom(self, peer: Peer, conn: socket.socket, *, replay: bool) -> AsyncIterator[News]:
        """What is said, as it is said, until the service ends or the reader hangs up."""
        with self._audit.of(peer, f"{INTERFACE}.Monitor"):
            require(self._authority, peer, Right.READ)
        woken = asyncio.Event()
        before = list(self._service.history) if replay else []
        watcher = self._service.watch(wake=woken.set)
        with HangUp(self._loop, conn, lambda: self._service.unwatch(watcher)):
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
        if not self._stopped.is_set():
            raise ConnectionError("the reader has hung up")


class Connection(VarlinkInterfaceServerProtocol):
    """One client, whose requests are answered one after the other.

    What is no request, or finds a bug, costs the client its connection, and the service a line in its log.
    """

    def __init__(self, interfaces: VarlinkInterfaceRegistry, log: Log, complain: Callable[[str], None]) -> None:
        super().__init__(interfaces)
        self._log = log
        self._complain = complain
        self._answer: asyncio.Future[None] | None = None

    def message_received(self, data: bytes, fds: FileDescriptorArray | None) -> None:
        """Take what was sent, but no descriptors, and read no more until it is answered."""
        try:
            super().message_received(data, None)
        except (ValueError, RecursionError) as error:
            self.error_received(error, data, None)
        if len(self._recv_buffer) > _MAX_REQUEST:
            self._hang_up("request without an end")
        if self._consumer_queue and self._transport is not None:
            self._transport.pause_reading()

    def error_received(self, err: Exception, data: bytes, fds: FileDescriptorArray | None) -> None:
        """Hang up on who sends what is no JSON object."""
        self._hang_up("no request")

    def request_received(self, obj: "JSONObject", fds: FileDescriptorArray | None) -> asyncio.Future[None] | None:
        """Take up the next request when the answer to this one has gone out: who does not read may not ask on."""
        self._answer = None
        return super().request_received(obj, fds) or self._answer

    def send_reply(
        self,
        reply: VarlinkMethodReply,
        fds: list[int] | None = None,
        autoclose: bool = True,  # noqa: FBT001, FBT002
    ) -> asyncio.Future[None]:
        """Send a reply, and remember it."""
        self._answer = super().send_reply(reply, fds, autoclose)
        return self._answer

    def handle_call_exception(self, exc: BaseException, oneway: bool) -> None:  # noqa: FBT001
        """A bug."""
        import traceback

        self._log.entry("bug", "error", error="".join(traceback.format_exception(exc)))
        self.close()

    def _hang_up(self, why: str) -> None:
        self._complain(why)
        self._consumer_queue.clear()
        self.close()


def _max_connections() -> int:
    """Half of the descriptors that this process may have, or as many as anybody needs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MAX_CONNECTIONS, soft // 2)


def _authority(keeping: "KeeperThread | None", sock: socket.socket) -> Authority:
    """Who may what: the configuration says it where there is one."""
    if keeping is None:
        return ForEverybody()
    return ForGroup(lambda: keeping.loaded.config.control, str(sock.getsockname()))


def _in_short(msg: LinkMsg | AddrMsg, names: Mapping[int, str]) -> dict[str, object]:
    said = to_json(msg, names)
    match msg:
        case LinkMsg():
            return {"dev": said["ifname"], "flags": said["flags"], "mtu": said.get("mtu")}
        case AddrMsg():
            return {"dev": said["dev"], "address": f"{said['local']}/{msg.ifa_prefixlen}"}
