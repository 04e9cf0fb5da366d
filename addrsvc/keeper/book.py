"""The namespaces that are held by a descriptor, each once, whatever its names."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES, EMFILE, ENFILE, EPERM
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Final, Protocol

from addrsvc.keeper.places import HOST, Place
from addrsvc.mirror.netns import is_netns

__all__ = ["MISSING", "Book", "Held", "Listener", "Unusable"]

MISSING: Final = "there is no such namespace"
_NOT_ONE: Final = "it is not, or not yet, a network namespace"
_REFUSALS: Final = {
    EACCES: "it may not be opened, which takes CAP_SYS_PTRACE, or CAP_DAC_READ_SEARCH on the way to it",
    EPERM: "it may not be opened, which takes CAP_SYS_PTRACE",
    EMFILE: "this process has too many files open",
    ENFILE: "this system has too many files open",
}


_RESERVE: Final = 64
"""So many descriptors, or half of those there are, are left to whatever else this process does: it has to answer, to
log and to feed its watchdog however many namespaces there are."""
_EACH: Final = 2
"""How many more a namespace takes once it is told of."""


class Door(Protocol):
    """What was opened of a namespace before it was told of."""

    def close(self) -> object:
        """It is not told of, after all."""


class Listener(Protocol):
    """Whom is told of namespaces that come and go, in the thread of the loop."""

    def expected(self, label: str) -> object:
        """A name is there, and will lead to a namespace in a moment."""

    def opened(self, label: str, netns_fd: int) -> Door | None:
        """One can be entered that is new, before all of its names are known: do what must not wait until then."""

    def found(self, label: str, netns_fd: int, door: Door | None) -> object:
        """A namespace is there and can be entered, with what `opened` gave.

        The descriptor is good until `gone`, or until it is forgotten.
        """

    def gone(self, label: str) -> object:
        """Nothing leads to it any more; the descriptor is closed after this."""

    def renamed(self, label: str, instead: str) -> object:
        """Its first name has gone, and it is kept under another one that it had too; `named` follows."""

    def named(self, label: str) -> object:
        """It has a name more, or one less, beside the one that it is kept under."""

    def waiting(self, label: str, why: str) -> object:
        """A selector names it, and it is not there or cannot be used."""


class Unusable(Exception):
    """A path leads to no namespace, or to none that may be used; the text says why."""


class _NoDescriptor(Unusable):
    """There is no descriptor for it just now."""


@dataclass(slots=True, eq=False)
class Held:
    """A namespace that is kept alive.

    Attributes:
        fd, inode: what it is.
        labels: by which names it was found, in that order.
        is_host: it is the host's.
        told: what names its listener knows of; none if it does not know of it.
        door: what its listener has opened of it.
    """

    fd: int
    inode: int
    labels: tuple[str, ...]
    is_host: bool
    told: tuple[str, ...] = ()
    door: Door | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called, beginning with what it is kept under: the host's is called so, however it was found."""
        if not self.is_host:
            return self.labels
        return (HOST, *(label for label in self.labels if label != HOST))


class Book:
    """All that are held.

    The network namespaces of a machine live in one file system, so the inode is all that tells one from another.  What
    is new, and which names there are more or less, is told when all of them are known that are there by now: else what
    one name asks for would be taken away until the next one is found.

    Attributes:
        is_short: something could not be opened for want of descriptors since `settle`, which calls `short` then.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._by_inode: dict[int, Held] = {}
        self._changed: dict[Held, None] = {}
        self.is_short = False
        self.short: Callable[[], object] = lambda: None
        host = os.stat(Place.of(HOST).path)
        self._host, self._nsfs = host.st_ino, host.st_dev

    @property
    def host(self) -> Held | None:
        """The host's, if it is held."""
        return self._by_inode.get(self._host)

    def is_host(self, fd: int) -> bool:
        """Whether a descriptor is of the host's."""
        return os.fstat(fd).st_ino == self._host

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self._by_inode.values()))

    def open(self, path: str) -> int:
        """A descriptor of the namespace that a path leads to.

        Raises:
            Unusable: it leads to none, or not yet; or there are too few descriptors left.
        """
        try:
            return self._unreserved(_opened(path, self._nsfs))
        except _NoDescriptor:
            self.is_short = True
            raise

    def _unreserved(self, fd: int) -> int:
        """The same descriptor, unless it is one of the last and of a namespace that is not held yet."""
        if self._is_reserved(fd) and os.fstat(fd).st_ino not in self._by_inode:
            os.close(fd)
            raise _NoDescriptor(_REFUSALS[EMFILE])
        return fd

    def _is_reserved(self, fd: int) -> bool:
        """Whether few descriptors are left, less those that what is new will take: one gets the lowest free number."""
        limit, _ = getrlimit(RLIMIT_NOFILE)
        return limit != RLIM_INFINITY and fd + _EACH * len(self._changed) >= max(limit - _RESERVE, limit // 2)

    def enter(self, label: str, fd: int) -> Held:
        """A name leads to the namespace of a descriptor, which is the book's from now on."""
        inode = os.fstat(fd).st_ino
        held = self._by_inode.get(inode)
        if held is None:
            held = self._by_inode[inode] = Held(fd, inode, (), inode == self._host)
            held.door = self._listener.opened(HOST if held.is_host else label, fd)
        else:
            os.close(fd)
        held.labels += (label,)
        self._changed[held] = None
        return held

    def settle(self) -> None:
        """All names are known that are there by now: tell what is new."""
        changed, self._changed = self._changed, {}
        for held in changed:
            before, held.told = held.told, held.names
            if not before:
                door, held.door = held.door, None
                self._listener.found(held.told[0], held.fd, door)
            elif before != held.told:
                self._listener.named(held.told[0])
        if self.is_short:
            self.is_short = False
            self.short()

    def expect(self, label: str) -> None:
        """A name is there, and will lead to a namespace in a moment."""
        self._listener.expected(label)

    def leave(self, label: str, held: Held) -> None:
        """A name leads there no more."""
        first = held.names[0]
        self._strike(label, held)
        if not held.labels:
            if held.told:
                self._listener.gone(first)
            self._close(held)
            return
        self._changed[held] = None
        if held.told and held.names[0] != first:
            self._listener.renamed(first, held.names[0])

    def forget(self, label: str, held: Held) -> None:
        """A name is of no interest any more: nobody is told."""
        self._strike(label, held)
        if not held.labels:
            self._close(held)

    def _strike(self, label: str, held: Held) -> None:
        held.labels = tuple(other for other in held.labels if other != label)

    def _close(self, held: Held) -> None:
        del self._by_inode[held.inode]
        if held.door is not None:
            held.door.close()
        self._changed.pop(held, None)
        os.close(held.fd)

    def close(self) -> None:
        """Let go of all; nobody is told."""
        for held in self:
            self._close(held)


def _opened(path: str, nsfs: int) -> int:
    """Open what is in that file system: opening something else can have effects, as with a device."""
    try:
        if os.stat(path).st_dev != nsfs:
            raise Unusable(_NOT_ONE)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        kind = _NoDescriptor if error.errno in (EMFILE, ENFILE) else Unusable
        raise kind(_REFUSALS.get(error.errno or 0, MISSING)) from None
    with suppress(OSError):  # another file has taken its place since it was looked at
        if is_netns(fd):
            return fd
    os.close(fd)
    raise Unusable(_NOT_ONE)
