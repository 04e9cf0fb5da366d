"""pyroute2 opened on the model, by the hook it has for that (`use_socket`): none of its modules is patched.

``with iproute(Linux().init_net) as ipr: ipr.link("dump")``.  It works wherever Python runs, without netlink and without
privilege; `ndb` needs the parts of pyroute2 that exist on Linux only.
"""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from errno import ENOTCONN
from typing import TYPE_CHECKING, Any, Final

from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.uapi import (
    AF_NETLINK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NETLINK_LISTEN_ALL_NSID,
    SO_RCVBUF,
    SO_SNDBUF,
    SOL_NETLINK,
    SOL_SOCKET,
)

if TYPE_CHECKING:
    from pyroute2 import NDB
    from pyroute2.iproute.linux import AsyncIPRoute, IPRoute

__all__ = ["ModelSocket", "async_iproute", "iproute", "iproute_in", "ndb", "ndb_in"]

_BUFFER: Final = 1 << 20
# What pyroute2 sets on a socket that it makes itself, by its own keywords, and what each is if it is not given.
_SETTINGS: Final[Mapping[str, tuple[int, int, int]]] = {
    "sndbuf": (SOL_SOCKET, SO_SNDBUF, _BUFFER),
    "rcvbuf": (SOL_SOCKET, SO_RCVBUF, _BUFFER),
    "ext_ack": (SOL_NETLINK, NETLINK_EXT_ACK, 0),
    "all_ns": (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 0),
    "strict_check": (SOL_NETLINK, NETLINK_GET_STRICT_CHK, 0),
}


def iproute(namespace: Namespace, *, admin: bool = True, uid: int = 0, **keywords: Any) -> "IPRoute":
    """An `IPRoute` on a namespace of the model.

    Args:
        namespace: where it is opened.
        admin: whether it may change anything; without, it is refused as an unprivileged user is.
        uid: as whom it asks where a route goes; rules may be about that.
        keywords: as `pyroute2.IPRoute` takes them, but for `netns`, `fileno` and `use_socket`.
    """
    from pyroute2.iproute.linux import IPRoute

    return _opened(IPRoute, namespace, admin, uid, keywords)


def iproute_in(netns: NetNs, **keywords: Any) -> "IPRoute":
    """An `IPRoute` in a namespace of the running kernel, one that a user namespace holds included.

    It belongs to the calling thread.  pyroute2's own `netns` keyword needs a name, and the privilege to enter.

    Args:
        netns: where it is opened; it need not stay open.
        keywords: as `pyroute2.IPRoute` takes them, but for `netns`, `fileno` and `use_socket`.
    """
    from pyroute2.iproute.linux import IPRoute

    return IPRoute(fileno=_netlink_socket(netns).detach(), **keywords)


def _netlink_socket(netns: NetNs) -> socket.socket:
    return run_in(netns, lambda: socket.socket(AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE))


def async_iproute(namespace: Namespace, *, admin: bool = True, uid: int = 0, **keywords: Any) -> "AsyncIPRoute":
    """An `AsyncIPRoute` on a namespace of the model; the arguments are those of `iproute`."""
    from pyroute2.iproute.linux import AsyncIPRoute

    return _opened(AsyncIPRoute, namespace, admin, uid, keywords)


def ndb(*namespaces: Namespace, admin: bool = True, uid: int = 0, **keywords: Any) -> "NDB":
    """An `NDB` whose sources are namespaces of the model: the first is its `localhost`, the others go by their names.

    Args:
        namespaces: its sources.
        admin: whether it may change anything.
        uid: as whom it asks.
        keywords: as `pyroute2.NDB` takes them, but for `sources`.
    """
    targets = [keywords.get("localhost", "localhost"), *(namespace.name for namespace in namespaces[1:])]
    sockets = [{"use_socket": ModelSocket(namespace, admin=admin, uid=uid)} for namespace in namespaces]
    return _ndb([{"target": target, **sock} for target, sock in zip(targets, sockets, strict=True)], keywords)


def ndb_in(netns: NetNs, **keywords: Any) -> "NDB":
    """An `NDB` whose one source is a namespace of the running kernel; it cannot start that source again.

    Args:
        netns: its source; it need not stay open.
        keywords: as `pyroute2.NDB` takes them, but for `sources`.
    """
    target = keywords.get("localhost", "localhost")
    return _ndb([{"target": target, "fileno": _netlink_socket(netns).detach()}], keywords)


def _ndb(sources: list[dict[str, Any]], keywords: Mapping[str, Any]) -> Any:
    from pyroute2 import NDB

    class ClosingNDB(NDB):  # type: ignore[misc]
        """An NDB that closes what it has opened: pyroute2's leaves its sockets to the garbage collector."""

        def close(self) -> None:
            """End it; a second time does nothing."""
            if not self._dbm_shutdown.is_set():
                for source in self.sources.cache.values():
                    self.task_manager.event_loop.call_soon_threadsafe(_hang_up, source)
            super().close()

    return ClosingNDB(sources=[{"kind": "local", "nlm_generator": 1, **source} for source in sources], **keywords)


def _hang_up(source: Any) -> None:
    """In NDB's own thread: have a source stop waiting for messages, for good, and close its socket."""
    source.ndb.task_manager.task_map[source.task_id].target_state = "stopped"
    source.state.set("stop")
    source.nl.msg_queue.put_nowait(0, b"")
    source.nl.close()


def _opened(
    make: Callable[..., Any],
    namespace: Namespace,
    admin: bool,  # noqa: FBT001
    uid: int,
    keywords: Mapping[str, Any],
) -> Any:
    settings = {name: int(value) for name, value in keywords.items() if name in _SETTINGS}
    return make(use_socket=ModelSocket(namespace, admin=admin, uid=uid, **settings), **keywords)


class ModelSocket:
    """A socket as far as pyroute2 and asyncio look at one, behind which a namespace of the model answers.

    Each thread that uses it has a netlink socket of its own, as with those that pyroute2 makes itself, and so has each
    of asyncio's transports: one that is given it while the last has not closed it yet gets another netlink socket.

    Args:
        namespace: where it is opened.
        admin: whether it may change anything.
        uid: as whom it asks where a route goes.
        settings: what pyroute2 sets on its sockets, by the same names: `rcvbuf`, `sndbuf`, `ext_ack`, `strict_check`
            and `all_ns`.
    """

    family = AF_NETLINK
    type = socket.SOCK_DGRAM
    proto = 0

    def __init__(self, namespace: Namespace, *, admin: bool = True, uid: int = 0, **settings: int) -> None:
        if unknown := settings.keys() - _SETTINGS.keys():
            raise TypeError(f"ModelSocket() got an unexpected keyword argument {min(unknown)!r}")
        self._namespace, self._admin, self._uid, self._settings = namespace, admin, uid, settings
        self._local = threading.local()
        self._lock = namespace.lock  # to pyroute2 its being here means that threads may share us

    @property
    def _ends(self) -> "deque[_End]":
        """The netlink sockets of the calling thread, the one in use being the last."""
        if not hasattr(self._local, "ends"):
            self._local.ends = deque()
        ends: deque[_End] = self._local.ends
        return ends

    @property
    def _end(self) -> "_End":
        if not self._ends:
            self._open()
        return self._ends[-1]

    def _open(self) -> None:
        end = _End(self._namespace, admin=self._admin, uid=self._uid)
        for name, (level, option, default) in _SETTINGS.items():
            if value := self._settings.get(name, default):
                end.setsockopt(level, option, value)
        self._ends.append(end)

    def fileno(self) -> int:
        """A descriptor that is readable whenever there is something to read."""
        return self._end.ear.fileno()

    def bind(self, address: tuple[int, int]) -> None:
        """Take a port id and listen to groups, both as in struct sockaddr_nl."""
        self._end.bind(address)

    def getsockname(self) -> tuple[int, int]:
        """The port id, and the first 32 groups as a mask."""
        return self._end.getsockname()

    def getpeername(self) -> tuple[int, int]:
        """It has no peer.

        Raises:
            OSError: ENOTCONN, always.
        """
        raise OSError(ENOTCONN, os.strerror(ENOTCONN))

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Set an option of SOL_NETLINK, or the size of a buffer."""
        self._end.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int | bytes:
        """What an option is: a number, or with `buflen` that many bytes of it at most."""
        return self._end.getsockopt(level, option, buflen)

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as a socket has it
        """Whether reading waits for something to read; that it may not is what a transport says when it is given us."""
        if not flag and self._end.is_taken:
            self._open()
        self._end.is_taken = not flag
        self.settimeout(None if flag else 0.0)

    def settimeout(self, seconds: float | None) -> None:
        """How long reading waits for something to read; None for ever."""
        self._end.ear.settimeout(seconds)

    def gettimeout(self) -> float | None:
        """How long reading waits."""
        return self._end.ear.gettimeout()

    def send(self, data: bytes, flags: int = 0) -> int:
        """Have the model serve a datagram, all of it before this returns."""
        return self._end.send(data)

    def sendto(self, data: bytes, address: tuple[int, int]) -> int:
        """Send to a port id, 0 being the kernel."""
        return self._end.send(data, address[0])

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The next datagram, or as much of it as there is room for."""
        return self.recvfrom(size, flags)[0]

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, tuple[int, int]]:
        """The next datagram and who sent it: a port id, and the group as a mask."""
        return self._end.recvfrom(size, peek=bool(flags & socket.MSG_PEEK))

    def close(self) -> None:
        """Close what the calling thread has opened, the oldest first; once too often does nothing."""
        if self._ends:
            self._ends.popleft().close()

    def __conform__(self, protocol: object) -> str:
        """How NDB keeps it in its database: as a word."""
        return repr(self)

    def __repr__(self) -> str:
        return f"ModelSocket({self._namespace!r})"


class _End:
    """One netlink socket of the model, and a pair of real ones, of which `ear` is readable whenever that is.

    Attributes:
        is_taken: a transport reads it.
    """

    def __init__(self, namespace: Namespace, *, admin: bool, uid: int) -> None:
        self._lock = namespace.lock
        self._bell, self.ear = socket.socketpair()
        self._has_rung = False
        self.is_taken = False
        self._sock = namespace.socket(pid=os.getpid(), admin=admin, uid=uid)
        self._sock.on_ready = self._ring

    def bind(self, address: tuple[int, int]) -> None:
        with self._lock:
            self._sock.bind(*address)

    def getsockname(self) -> tuple[int, int]:
        return self._sock.getsockname()

    def setsockopt(self, level: int, option: int, value: int) -> None:
        with self._lock:
            self._sock.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, buflen: int) -> int | bytes:
        value = self._sock.getsockopt(level, option)
        return value[:buflen] if buflen else int.from_bytes(value, "little")

    def send(self, data: bytes, portid: int = 0) -> int:
        with self._lock:
            return self._sock.send(bytes(data), portid)

    def recvfrom(self, size: int, *, peek: bool) -> tuple[bytes, tuple[int, int]]:
        self.ear.recv(1, socket.MSG_PEEK)  # waits, or says that one would have to
        with self._lock:
            try:
                datagram = self._sock.recv(size, peek=peek)
            finally:
                self._hush()
        return datagram.data[:size], (datagram.portid, datagram.nl_groups)

    def _ring(self) -> None:
        if not self._has_rung:
            self._bell.send(b"\0")
            self._has_rung = True

    def _hush(self) -> None:
        if self._has_rung and not self._sock.readable:
            self.ear.recv(1)
            self._has_rung = False

    def close(self) -> None:
        with self._lock:
            self._sock.close()
            self._bell.close()
            self.ear.close()
