"""Directories in which namespaces have names, followed live whether they are there yet or not.

A name appears before there is a namespace behind it, since a file is made first and mounted upon then: that it is
usable is told by a change of the mounts.
"""

import os
import select
from typing import Final, TypeAlias

from addrsvc.keeper.book import Book
from addrsvc.keeper.inotify import (
    IN_CREATE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MOVE_SELF,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
    IN_UNMOUNT,
    Inotify,
)
from addrsvc.keeper.loop import Loop, Timer
from addrsvc.keeper.sources import Source

__all__ = ["Directories", "Directory"]

_Identity: TypeAlias = tuple[int, int]

_MOUNTINFO: Final = "/proc/self/mountinfo"
_APPEARED: Final = IN_CREATE | IN_MOVED_TO
_SELF: Final = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED
_SECOND_LOOK: Final = 1.0
"""How many seconds after a change of the mounts that brought nothing new every name is looked at again."""


class Directory(Source):
    """One directory.

    Attributes:
        watched: the number of the watch, on the directory or on the nearest one above it that is there.
        identity: of the directory itself; None while it is not watched.
    """

    def __init__(self, directory: str, book: Book, inotify: Inotify) -> None:
        super().__init__(directory, book)
        self._inotify = inotify
        self._why_not = ""
        self.watched = -1
        self.identity: _Identity | None = None

    def look(self) -> None:
        """Find out what is there by now."""
        if self.identity is None or self.identity != _identity(self.directory):
            self._follow()
        self._scan()

    def waiting(self) -> dict[str, str]:
        """The labels of what is wanted and is not there, and why; that is the directory's fault if it has one.

        What a glob means nobody can tell then, so it waits, too.
        """
        if not self._why_not:
            return dict(super().waiting())
        return dict.fromkeys((*super().waiting(), *map(self.label, self._globs)), self._why_not)

    def _open(self, name: str) -> int:
        return self._book.open(f"{self.directory}/{name}")

    # --- the directory itself ---

    def _follow(self) -> None:
        """Watch it, or as long as it is not there what is above it, so that nothing is missed in between."""
        while True:
            path, self.watched = self._watch_nearest()
            self.identity = _identity(path) if path == self.directory else None
            if path == self.directory or self._why_not or not os.path.exists(_step(path, self.directory)):
                return

    def _watch_nearest(self) -> tuple[str, int]:
        path, self._why_not = self.directory, ""
        while True:
            try:
                return path, self._inotify.watch(path)
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                self._why_not = f"{path} cannot be watched: {error.strerror}"
            if path == "/":
                return path, -1
            path = os.path.dirname(path)

    def _scan(self) -> None:
        present = self._names()
        for name in [name for name in self.held if name not in present]:
            self.leave(name)
        self.pending = {name: why for name, why in self.pending.items() if name in present}
        self.passed &= present.keys()
        self.check()
        for name in present:
            if name not in self.held:
                self.appeared(name)

    def _names(self) -> dict[str, None]:
        if self.identity is None:
            return {}
        try:
            return dict.fromkeys(sorted(os.listdir(self.directory)))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:  # such as too many open files: nothing is known to have gone, and it is looked again
            self._why_not = f"{self.directory} cannot be listed: {error.strerror}"
            self.identity = None
            self._book.is_short = True
            return dict.fromkeys((*self.held, *self.pending))

    # --- its names ---

    def happened(self, mask: int, name: str) -> None:
        """Something has happened in what is watched."""
        if mask & _SELF or self.identity is None:
            self.identity = None
            self.look()
        elif mask & _APPEARED:
            self.appeared(name)
        else:
            self.disappeared(name)

    def appeared(self, name: str) -> None:
        """A name is there; it may be usable by now."""
        if self.wants(name) and name not in self.held:
            self.enter(name)
            if name in self.pending:
                self._book.expect(self.label(name))

    def disappeared(self, name: str) -> None:
        """A name was taken away; another one like it may be there by now, and even have been found."""
        self.pending.pop(name, None)
        self.passed.discard(name)
        if name in self.held and not self._leads_there(name):
            self.leave(name)

    def try_again(self) -> None:
        """See what there was no descriptor for."""
        if self.identity is None:
            self.look()
        self.retry()

    def retry(self) -> bool:
        """See what is usable by now; whether anything is."""
        before = len(self.pending)
        for name in tuple(self.pending):
            self.enter(name)
        return len(self.pending) < before

    def check(self) -> None:
        """See that each name still leads to where it did: one can be mounted upon again without ever going away."""
        for name in tuple(self.passed):
            self.enter(name)
        for name in tuple(self.held):
            if not self._leads_there(name):
                self.leave(name)
                if os.path.lexists(os.path.join(self.directory, name)):
                    self.enter(name)

    def _leads_there(self, name: str) -> bool:
        identity = _identity(os.path.join(self.directory, name))
        return identity is not None and identity[1] == self.held[name].inode


def _identity(path: str) -> _Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _step(above: str, directory: str) -> str:
    """The path one step below `above` on the way to a directory."""
    return os.path.join(above, os.path.relpath(directory, above).split("/")[0])


class Directories:
    """What all directories have in common: one inotify, and the news of mounts."""

    def __init__(self, book: Book, loop: Loop) -> None:
        self._book = book
        self._loop = loop
        self._all: list[Directory] = []
        self._second_look: Timer | None = None
        self._inotify = Inotify()
        self._mountinfo = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        loop.watch(self._inotify.fileno(), self._read)
        loop.watch(self._mountinfo, self._mounts_changed, select.EPOLLPRI)

    def add(self, path: str) -> Directory:
        """Another directory."""
        directory = Directory(path, self._book, self._inotify)
        self._all.append(directory)
        return directory

    def remove(self, directory: Directory) -> None:
        """A directory of which nothing is wanted or held any more."""
        self._all.remove(directory)
        if all(other.watched != directory.watched for other in self._all):
            self._inotify.unwatch(directory.watched)

    def _read(self) -> None:
        for number, mask, name in self._inotify.read():
            for directory in self._all:
                if mask & IN_Q_OVERFLOW:
                    directory.look()
                elif directory.watched == number:
                    directory.happened(mask, name)
        self._book.settle()

    def _mounts_changed(self) -> None:
        is_explained = False
        for directory in self._all:  # first of all: somebody is about to use what is new
            is_explained |= directory.retry()
        self._book.settle()
        for directory in self._all:
            if directory.identity is None or directory.identity != _identity(directory.directory):
                directory.look()
                is_explained |= directory.retry()
        self._book.settle()
        if not is_explained and self._second_look is None:
            self._second_look = self._loop.call_later(_SECOND_LOOK, self._look_again)

    def _look_again(self) -> None:
        self._second_look = None
        for directory in self._all:
            directory.check()
        self._book.settle()

    def close(self) -> None:
        """Watch nothing any more."""
        if self._second_look is not None:
            self._second_look.cancel()
        for fd in (self._inotify.fileno(), self._mountinfo):
            self._loop.unwatch(fd)
        self._inotify.close()
        os.close(self._mountinfo)
