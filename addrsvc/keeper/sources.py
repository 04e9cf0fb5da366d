"""Where namespaces are found: that of the host, and those of processes.  What has names is in `directories`."""

import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import Final

from addrsvc.keeper.book import MISSING, Book, Held, Unusable
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.places import Place

__all__ = ["Processes", "Source"]

_HIDDEN: Final = "the process is not to be seen from here, which takes CAP_SYS_PTRACE and ProtectProc=default"


class Source:
    """One place where namespaces are found.  As it stands it has the host's alone.

    Attributes:
        directory: as in `Place`.
        held: what was found, by name.
        pending: names that are wanted and lead to nothing usable, and why not.
        passed: names that are wanted among others, and lead to the host's, which is meant by no such selector.
    """

    def __init__(self, directory: str, book: Book) -> None:
        self.directory = directory
        self.held: dict[str, Held] = {}
        self.pending: dict[str, str] = {}
        self.passed: set[str] = set()
        self._book = book
        self._literals: tuple[str, ...] = ()
        self._globs: tuple[str, ...] = ()
        self._pattern: re.Pattern[str] | None = None

    def choose(self, places: Sequence[Place]) -> None:
        """Look for these from now on, and for nothing else."""
        self._literals = tuple(place.name for place in places if not place.is_glob)
        self._globs = tuple(place.name for place in places if place.is_glob)
        self._pattern = re.compile("|".join(translate(place.name) for place in places)) if places else None
        self.pending = {name: why for name, why in self.pending.items() if self.wants(name)}
        self.look()

    def wants(self, name: str) -> bool:
        """Whether a name is looked for."""
        return self._pattern is not None and self._pattern.match(name) is not None

    def means(self, name: str, held: Held) -> bool:
        """Whether what was found under a name is looked for by it: a glob never means the host's."""
        return name in self._literals if held.is_host else self.wants(name)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is wanted or held any more."""
        return self._pattern is None and not self.held

    def look(self) -> None:
        """Look for what has no namespace yet."""
        for name in self._literals:
            if name not in self.held:
                self.enter(name)

    def label(self, name: str) -> str:
        """What is found under a name is called so."""
        return Place(self.directory, name).label

    def enter(self, name: str) -> None:
        """See whether a name leads to a namespace, and hold it."""
        try:
            fd = self._open(name)
        except Unusable as error:
            self.pending[name] = str(error)
            return
        self.pending.pop(name, None)
        self.passed.discard(name)
        if name not in self._literals and self._book.is_host(fd):
            os.close(fd)
            self.passed.add(name)
        else:
            self.held[name] = self._book.enter(self.label(name), fd)

    def leave(self, name: str) -> None:
        """A name leads there no more."""
        self._book.leave(self.label(name), self.release(name))

    def forget(self, name: str) -> None:
        """A name is of no interest any more."""
        self._book.forget(self.label(name), self.release(name))

    def release(self, name: str) -> Held:
        """Hold nothing under a name."""
        return self.held.pop(name)

    def waiting(self) -> Mapping[str, str]:
        """The labels of what is wanted and is not there, and why."""
        missing = {name: MISSING for name in self._literals if name not in self.held}
        return {self.label(name): why for name, why in (missing | self.pending).items()}

    def _open(self, name: str) -> int:
        return self._book.open(Place(self.directory, name).path)


class Processes(Source):
    """The namespaces that processes were in when they were looked for.  That one ends is told by its pidfd."""

    def __init__(self, directory: str, book: Book, loop: Loop) -> None:
        super().__init__(directory, book)
        self._loop = loop
        self._pidfds: dict[str, int] = {}

    def _open(self, name: str) -> int:
        try:
            pidfd = os.pidfd_open(int(name))
        except (ProcessLookupError, OverflowError):
            raise Unusable("there is no such process") from None
        except OSError as error:
            raise Unusable(f"the process cannot be followed: {error.strerror}") from None
        try:
            fd = super()._open(name)
        except Unusable:
            os.close(pidfd)
            if not os.path.exists(os.path.join(self.directory, name)):
                raise Unusable(_HIDDEN) from None
            raise
        self._pidfds[name] = pidfd
        self._loop.watch(pidfd, lambda: self._ended(name))
        return fd

    def _ended(self, name: str) -> None:
        self.leave(name)
        self.pending[name] = "the process has ended"
        self._book.settle()

    def release(self, name: str) -> Held:
        """Hold nothing under a name, and follow its process no more."""
        pidfd = self._pidfds.pop(name)
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        return super().release(name)
