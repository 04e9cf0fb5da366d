"""Hearing what the kernels of many namespaces say about lo: one seam, two ways behind it, and a choice between them.

One way is a socket in each namespace, with a buffer of its own.  The other is a single socket, which hears all
namespaces that have an id in the service's own (NETLINK_LISTEN_ALL_NSID).  A kernel that has something to say walks
all sockets that listen, in whatever namespace, so that a thousand of them slow everybody down, themselves most of all.
"""

import socket
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable
from errno import EPERM
from functools import partial
from sys import byteorder
from time import monotonic_ns
from typing import Final, Generic, Protocol, TypeVar

from addrsvc.errors import KernelError
from addrsvc.keeper.bpf import FEW, hear_lo
from addrsvc.keeper.ear import BURST_NS, DATAGRAM, KERNEL, Ear, set_buffer
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.nsid import HERE, Ids
from addrsvc.keeper.rtnl import open_rtnl
from addrsvc.keeper.shared import Answers
from addrsvc.uapi import (
    NETLINK_LISTEN_ALL_NSID,
    RTM_NEWADDR,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_LINK,
    SOL_NETLINK,
)

__all__ = ["GROUPS", "AutoWatch", "Hearer", "NsidWatch", "SocketWatch", "Sockets", "Watch"]

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", contravariant=True)

GROUPS: Final = (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR)
"""Never those of routes: whoever changes routes would pay for it."""
_MANY: Final = 4
"""More than so many namespaces do not get a socket each."""
_AT_FIRST: Final = 4 << 20
"""What a buffer may take where there are many of them; it costs nothing until it is used."""
_AT_LAST: Final = 8 << 20
_NOISY: Final = 16
"""So many messages that are of no interest are worth a filter, which costs more than all else of a socket together."""
_ABOUT: Final = slice(20, 24)
"""Where a message says which device it is about, in struct ifinfomsg and struct ifaddrmsg alike."""
_LO: Final = (1).to_bytes(4, byteorder)
_KIND: Final = slice(4, 6)
_NEWADDR: Final = int(RTM_NEWADDR).to_bytes(2, byteorder)


class Hearer(Protocol[K_contra]):
    """Who hears, in the thread of the loop."""

    def heard(self, kept: K_contra, message: bytes) -> object:
        """The kernel of a namespace has said something; true if that is of no interest."""

    def interests(self, kept: K_contra) -> Collection[bytes] | None:
        """Which addresses of a namespace's lo are of interest, 4 or 16 bytes each; None for all."""

    def lost(self, kept: K_contra | None, seconds: float) -> object:
        """It has said more than its buffer takes, within so many seconds until now; None where it is not known who."""

    def limited(self, why: str) -> object:
        """Namespaces are heard in another way than the one that costs least, from now on."""


class Watch(Protocol[K_contra]):
    """Hears namespaces; `kept` is what those call them that attach them."""

    def attach(self, kept: K_contra, netns_fd: int) -> None:
        """Hear a namespace from now on.

        Raises:
            KernelError: it cannot be heard; the text says what is missing.
        """

    def adopt(self, kept: K_contra, sock: socket.socket) -> socket.socket:
        """Hear a namespace by a socket that somebody else has opened there and joined to `GROUPS`, PID 1 for one.

        Returns:
            A socket for asking there: it is the same one, of which it gives answers alone.
        """

    def turn_to(self, kept: K_contra) -> None:
        """Other addresses of a namespace are of interest from now on."""

    def detach(self, kept: K_contra) -> None:
        """Hear it no more; that does nothing if it is not heard."""

    def close(self) -> None:
        """Hear nothing any more."""


# --- sockets with filters ---------------------------------------------------------------------------------------------


class _LoEar(Ear, Generic[K]):
    """Hears of lo.  Its socket gets a filter once there is so much noise that it pays."""

    __slots__ = ("_additions", "_heard", "_hearer", "_known", "_noise")

    def __init__(
        self, sock: socket.socket, hearer: Hearer[K], buffer: int, largest: int, pause: int, *, additions: bool
    ) -> None:
        super().__init__(sock, buffer, largest, pause)
        self._hearer = hearer
        self._heard = hearer.heard
        self._additions = additions
        self._noise = 0
        self._known: set[bytes] | None = set()

    def _take(self, kept: K, message: bytes, sender: int) -> None:
        """Hand on a message, if it is a kernel's, and about what it is to be heard of."""
        is_meant = message[_ABOUT] == _LO and sender == KERNEL and (self._additions or message[_KIND] != _NEWADDR)
        if not is_meant or self._heard(kept, message):
            self._hear_noise()

    def _hear_noise(self) -> None:
        """It has heard what is of no interest."""
        self._noise += 1
        if self._noise == _NOISY:
            self._know(*self._all())
            self._filter(self._known)

    def _all(self) -> Iterable[K]:
        """All that are heard by this socket."""
        raise NotImplementedError

    def turn_to(self, kept: K) -> None:
        """A namespace is heard from now on, or other addresses in it are of interest."""
        if self._noise >= _NOISY:
            before = self._known
            self._know(kept)
            if self._known != before:
                self._filter(self._known)

    def _know(self, *those: K) -> None:
        """What is of interest in namespaces is to pass the filter; it is let pass from then on."""
        for kept in those:
            interests = self._hearer.interests(kept)
            known = None if interests is None or self._known is None else self._known.union(interests)
            self._known = None if known is None or len(known) > FEW else known

    def _filter(self, addresses: Collection[bytes] | None) -> None:
        hear_lo(self._sock, additions=self._additions, addresses=addresses)


# --- a socket in each namespace ---------------------------------------------------------------------------------------


class _OneEar(_LoEar[K]):
    """Hears one namespace."""

    __slots__ = ("_kept", "_recv")

    def __init__(
        self, sock: socket.socket, kept: K, hearer: Hearer[K], buffer: int, largest: int, *, additions: bool
    ) -> None:
        super().__init__(sock, hearer, buffer, largest, BURST_NS, additions=additions)
        self._kept = kept
        self._recv = sock.recvfrom

    def ready(self) -> None:
        """Read one message, or many if they come in a burst; the first one goes to the hearer by the shortest way."""
        try:
            message, (sender, _) = self._recv(DATAGRAM)
        except OSError as error:
            if not self._unread(error):
                return
        else:
            self._take(self._kept, message, sender)
        now = monotonic_ns()
        if now - self._last < self._pause or self._is_overrun:
            self._read_on()
        self._last = now

    def _read(self) -> bool:
        try:
            message, (sender, _) = self._recv(DATAGRAM)
        except OSError as error:
            return self._unread(error)
        self._take(self._kept, message, sender)
        return True

    def _all(self) -> tuple[K]:
        return (self._kept,)

    def turn_to(self, kept: K) -> None:
        """Other addresses in the namespace are of interest from now on."""
        self._known = set()
        super().turn_to(kept)

    def _lost(self, seconds: float) -> None:
        self._hearer.lost(self._kept, seconds)


class _SharedEar(_OneEar[K]):
    """Hears a namespace by a socket of which others read answers; what they came across before is heard first."""

    __slots__ = ("_aside",)

    def __init__(
        self, sock: socket.socket, kept: K, hearer: Hearer[K], buffer: int, largest: int, *, additions: bool
    ) -> None:
        super().__init__(sock, kept, hearer, buffer, largest, additions=additions)
        self._aside: deque[bytes] = deque()
        self._filter(None)

    ready = Ear.ready

    def _filter(self, addresses: Collection[bytes] | None) -> None:
        hear_lo(self._sock, additions=self._additions, answers=True, addresses=addresses)

    def put_aside(self, message: bytes) -> None:
        """A message that is no answer."""
        self._aside.append(message)

    def _read(self) -> bool:
        while self._aside:
            self._hearer.heard(self._kept, self._aside.popleft())
        return super()._read()


class Sockets(Protocol[K_contra]):
    """Has the sockets by which namespaces are heard one by one, and may have them longer than this process lasts."""

    def open(self, kept: K_contra, netns_fd: int, make: Callable[[], socket.socket]) -> socket.socket:
        """The socket of a namespace: one that there is already, or a new one, made by `make`.

        Raises:
            KernelError: it cannot be made.
        """

    def release(self, kept: K_contra) -> None:
        """It is not heard any more, and its socket is not needed."""


class _Fresh:
    """Every time another one, which lasts as long as it is heard."""

    def open(self, kept: object, netns_fd: int, make: Callable[[], socket.socket]) -> socket.socket:
        return make()

    def release(self, kept: object) -> None:
        pass


class SocketWatch(Generic[K]):
    """Hears each namespace by a socket of its own.

    Args:
        loop: in whose thread it hears.
        hearer: who is told.
        additions: whether addresses that come or change matter too, not only those that go.
        largest: bytes that a buffer may grow to.
        sockets: who has the sockets.
    """

    def __init__(
        self,
        loop: Loop,
        hearer: Hearer[K],
        *,
        additions: bool = True,
        largest: int = _AT_LAST,
        sockets: Sockets[K] | None = None,
    ) -> None:
        self._loop = loop
        self._hearer = hearer
        self._sockets = sockets or _Fresh()
        self._additions = additions
        self._buffers = min(_AT_FIRST, largest), largest
        self._ears: dict[K, _OneEar[K]] = {}

    def __len__(self) -> int:
        return len(self._ears)

    def attach(self, kept: K, netns_fd: int) -> None:
        """Hear a namespace from now on, see `Watch`."""
        make = partial(open_rtnl, netns_fd, groups=GROUPS, prepare=self._prepare)
        sock = self._sockets.open(kept, netns_fd, make)
        self._listen(kept, _OneEar(sock, kept, self._hearer, *self._buffers, additions=self._additions))

    def _prepare(self, sock: socket.socket) -> None:
        set_buffer(sock, self._buffers[0])

    def adopt(self, kept: K, sock: socket.socket) -> socket.socket:
        """Hear a namespace by a socket that was opened there, see `Watch`."""
        sock.settimeout(0)
        self._prepare(sock)
        ear = _SharedEar(sock, kept, self._hearer, *self._buffers, additions=self._additions)
        self._listen(kept, ear)

        def soon() -> None:
            self._loop.call(lambda: ear.ready() if self._ears.get(kept) is ear else None)

        def aside(message: bytes) -> None:
            ear.put_aside(message)
            soon()

        def lost() -> None:
            ear.overrun()
            soon()

        return Answers(sock, aside, lost)

    def turn_to(self, kept: K) -> None:
        """Other addresses are of interest from now on, see `Watch`."""
        if (ear := self._ears.get(kept)) is not None:
            ear.turn_to(kept)

    def _listen(self, kept: K, ear: _OneEar[K]) -> None:
        self._ears[kept] = ear
        self._loop.watch(ear.fileno(), ear.ready)

    def detach(self, kept: K) -> None:
        """Hear it no more, see `Watch`."""
        if (ear := self._ears.pop(kept, None)) is not None:
            self._loop.unwatch(ear.fileno())
            ear.close()
            self._sockets.release(kept)

    def close(self) -> None:
        """Hear nothing any more."""
        for kept in tuple(self._ears):
            self.detach(kept)


# --- one socket for all -----------------------------------------------------------------------------------------------


class _AllEars(_LoEar[K]):
    """Hears all namespaces that have an id."""

    __slots__ = ("_by_id",)

    def __init__(
        self, sock: socket.socket, by_id: dict[bytes, K], hearer: Hearer[K], largest: int, *, additions: bool
    ) -> None:
        super().__init__(sock, hearer, largest, largest, _ANY_PAUSE, additions=additions)
        self._by_id = by_id

    def _read(self) -> bool:
        try:
            message, ancillary, _, (sender, _) = self._sock.recvmsg(DATAGRAM, _ANCILLARY)
        except OSError as error:
            return self._unread(error)
        kept = self._by_id.get(ancillary[0][2] if ancillary else HERE)
        if kept is not None:
            self._take(kept, message, sender)
        else:  # it has an id, and is not kept
            self._hear_noise()
        return True

    def _all(self) -> Iterable[K]:
        return self._by_id.values()

    def _lost(self, seconds: float) -> None:
        self._hearer.lost(None, seconds)


_ANCILLARY: Final = socket.CMSG_SPACE(4)
_ANY_PAUSE: Final = 1 << 63
"""Where there are many namespaces, one message is seldom alone."""


class NsidWatch(Generic[K]):
    """Hears all namespaces by one socket, having given each of them an id.  Its arguments are those of `SocketWatch`.

    Raises:
        KernelError: CAP_NET_BROADCAST is missing.
    """

    def __init__(
        self,
        loop: Loop,
        hearer: Hearer[K],
        *,
        additions: bool = True,
        largest: int = _AT_LAST,
        sockets: Sockets[K] | None = None,
    ) -> None:
        def prepare(sock: socket.socket) -> None:
            set_buffer(sock, largest)
            _hear_all(sock)

        self._loop = loop
        self._by_id: dict[bytes, K] = {}
        self._id_of: dict[K, bytes] = {}
        self._ear = _AllEars(
            open_rtnl(groups=GROUPS, prepare=prepare), self._by_id, hearer, largest, additions=additions
        )
        self._ids = Ids()
        self._adopted = SocketWatch(loop, hearer, additions=additions, largest=largest, sockets=sockets)
        loop.watch(self._ear.fileno(), self._ear.ready)

    def __len__(self) -> int:
        return len(self._id_of) + len(self._adopted)

    def attach(self, kept: K, netns_fd: int) -> None:
        """Hear a namespace from now on, see `Watch`."""
        number = self._id_of[kept] = self._ids.of(netns_fd)
        self._by_id[number] = kept
        self._ear.turn_to(kept)

    def adopt(self, kept: K, sock: socket.socket) -> socket.socket:
        """Hear a namespace by a socket that was opened there, see `Watch`."""
        return self._adopted.adopt(kept, sock)

    def turn_to(self, kept: K) -> None:
        """Other addresses are of interest from now on, see `Watch`."""
        if kept in self._id_of:
            self._ear.turn_to(kept)
        else:
            self._adopted.turn_to(kept)

    def detach(self, kept: K) -> None:
        """Hear it no more, see `Watch`."""
        self._adopted.detach(kept)
        if (number := self._id_of.pop(kept, None)) is not None:
            del self._by_id[number]

    def close(self) -> None:
        """Hear nothing any more."""
        self._adopted.close()
        self._loop.unwatch(self._ear.fileno())
        self._ear.close()
        self._ids.close()


def _hear_all(sock: socket.socket) -> None:
    try:
        sock.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
    except PermissionError as error:
        raise KernelError(
            error.errno or EPERM, "hearing all network namespaces by one socket needs CAP_NET_BROADCAST"
        ) from None


# --- both -------------------------------------------------------------------------------------------------------------


class AutoWatch(Generic[K]):
    """Hears the first namespaces by a socket each, and all others by one, which is opened when it is needed first.

    It is closed when the last of them has gone.  Where it may not be opened all get sockets, and the hearer is
    told why.  The arguments are those of `SocketWatch`, and how many are the first.
    """

    def __init__(
        self,
        loop: Loop,
        hearer: Hearer[K],
        *,
        additions: bool = True,
        largest: int = _AT_LAST,
        sockets: Sockets[K] | None = None,
        many: int = _MANY,
    ) -> None:
        self._sockets = SocketWatch(loop, hearer, additions=additions, largest=largest, sockets=sockets)
        self._open: Callable[[], NsidWatch[K]] = lambda: NsidWatch(loop, hearer, additions=additions, largest=largest)
        self._others: NsidWatch[K] | None = None
        self._hearer = hearer
        self._many = many
        self._is_limited = False

    def attach(self, kept: K, netns_fd: int) -> None:
        """Hear a namespace from now on, see `Watch`."""
        others = self._for_others() if len(self._sockets) >= self._many else None
        (self._sockets if others is None else others).attach(kept, netns_fd)

    def _for_others(self) -> NsidWatch[K] | None:
        if self._others is None and not self._is_limited:
            try:
                self._others = self._open()
            except KernelError as error:
                self._is_limited = True
                self._hearer.limited(str(error))
        return self._others

    def adopt(self, kept: K, sock: socket.socket) -> socket.socket:
        """Hear a namespace by a socket that was opened there, see `Watch`."""
        return self._sockets.adopt(kept, sock)

    def turn_to(self, kept: K) -> None:
        """Other addresses are of interest from now on, see `Watch`."""
        self._sockets.turn_to(kept)
        if self._others is not None:
            self._others.turn_to(kept)

    def detach(self, kept: K) -> None:
        """Hear it no more, see `Watch`."""
        self._sockets.detach(kept)
        if self._others is not None:
            self._others.detach(kept)
            if not self._others:
                self._others.close()
                self._others = None

    def close(self) -> None:
        """Hear nothing any more."""
        self._sockets.close()
        if self._others is not None:
            self._others.close()
