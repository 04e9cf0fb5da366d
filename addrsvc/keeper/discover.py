"""Which namespaces there are: found where selectors look for them, and followed as they come and go, without polling.

That a name can be used is told by a change of the mounts, that it has gone by inotify, and that a process has ended by
its pidfd.  A namespace that has several names is kept once, under the first as long as that lasts; the host's always as
such.  Others than itself mean the host's only by naming it: no glob does.
"""

from collections.abc import Iterable
from typing import Final

from addrsvc.keeper.book import Book, Held, Listener
from addrsvc.keeper.directories import Directories, Directory
from addrsvc.keeper.loop import Loop, Timer
from addrsvc.keeper.places import HOST, PROC, Place
from addrsvc.keeper.sources import Processes, Source
from addrsvc.mirror.netns import NETNS_RUN_DIR

__all__ = ["NOT_ALLOWED", "Discovery", "Listener"]

NOT_ALLOWED: Final = "entering another namespace than the host's needs CAP_SYS_ADMIN"

_TRY_AGAIN: Final = 5.0
"""Seconds until what there was no descriptor for is tried again."""


def _not_allowed(place: Place) -> str:
    """What a namespace waits for that may not be entered: there is a unit for those below /run/netns."""
    if place.directory != str(NETNS_RUN_DIR) or place.is_glob:
        return NOT_ALLOWED
    return f"{NOT_ALLOWED}, or addrsvc-netlink@{place.name}.socket to be started"


class Discovery:
    """Finds the namespaces that selectors mean, and tells as they come and go.

    Args:
        loop: in whose thread all of this happens.
        listener: whom to tell.
        may_enter: whether this process may enter other namespaces, as `has_cap_sys_admin` of mirror.netns tells.  If
            not, it finds the host's alone, and waits for all others.
    """

    def __init__(self, loop: Loop, listener: Listener, *, may_enter: bool = True) -> None:
        self._listener = listener
        self._may_enter = may_enter
        self._book = Book(listener)
        self._book.short = self._try_later
        self._loop = loop
        self._trying: Timer | None = None
        self._directories = Directories(self._book, loop)
        self._sources: dict[str, Source] = {"": Source("", self._book), PROC: Processes(PROC, self._book, loop)}
        self._not_allowed: dict[str, str] = {}

    def select(self, selectors: Iterable[str]) -> list[str]:
        """Find what these mean, instead of what was meant before.

        Returns:
            The labels of what is held and is not meant any more.  It is followed until it is forgotten.

        Raises:
            ControlError: one of them means nothing.
        """
        places = tuple(dict.fromkeys(map(Place.of, selectors)))
        before = self.waiting()
        allowed = [place for place in places if self._may_enter or not place.directory]
        self._not_allowed = {place.label: _not_allowed(place) for place in places if place not in allowed}
        for directory in dict.fromkeys((*self._sources, *(place.directory for place in allowed))):
            self._source(directory).choose([place for place in allowed if place.directory == directory])
        left = self._not_meant()
        self._book.settle()
        for label, why in self.waiting().items():
            if label not in before:
                self._listener.waiting(label, why)
        self._tidy()
        return left

    def _try_later(self) -> None:
        """There were no descriptors for something: nothing tells when there are some again."""
        if self._trying is None:
            self._trying = self._loop.call_later(_TRY_AGAIN, self._try_again)

    def _try_again(self) -> None:
        self._trying = None
        for source in tuple(self._sources.values()):
            if isinstance(source, Directory):
                source.try_again()
        self._book.settle()

    def _source(self, directory: str) -> Source:
        if directory not in self._sources:
            self._sources[directory] = self._directories.add(directory)
        return self._sources[directory]

    def _not_meant(self) -> list[str]:
        """Names that nobody wants are dropped where another one is wanted; what has no such name is returned."""
        left = []
        for held in self._book:
            unwanted = [label for label in held.labels if not self._means(label, held)]
            if len(unwanted) == len(held.labels):
                left.append(held.names[0])
                continue
            for label in unwanted:
                source, name = self._at(label)
                source.leave(name)
        return left

    def _means(self, label: str, held: Held) -> bool:
        source, name = self._at(label)
        return source.means(name, held)

    def _at(self, label: str) -> tuple[Source, str]:
        place = Place.of(label)
        return self._sources[place.directory], place.name

    def forget(self, label: str) -> None:
        """Let go of what is not meant any more, with all its names; nothing is told, and its descriptor is closed."""
        for held in self._book:
            if label == held.names[0]:
                for other in held.labels:
                    source, name = self._at(other)
                    source.forget(name)
        self._tidy()

    def _tidy(self) -> None:
        """Follow no directory any more of which nothing is wanted or held."""
        for path, source in tuple(self._sources.items()):
            if isinstance(source, Directory) and source.is_idle:
                self._directories.remove(source)
                del self._sources[path]

    def waiting(self) -> dict[str, str]:
        """The labels of what is meant and is not there or cannot be used, and why."""
        found = dict(self._not_allowed)
        for source in self._sources.values():
            found |= source.waiting()
        return found

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """The other names of those that have any."""
        return {held.names[0]: held.names[1:] for held in self._book if len(held.names) > 1}

    def names(self, name: str) -> tuple[str, ...]:
        """All names of the namespace that has this one, beginning with what it is kept under; else this one alone.

        Raises:
            ControlError: it means nothing.
        """
        place = Place.of(name)
        source = self._sources.get(place.directory)
        held = self._book.host if name == HOST else source and source.held.get(place.name)
        return held.names if held else (name,)

    def close(self) -> None:
        """Let go of everything; nothing is told."""
        if self._trying is not None:
            self._trying.cancel()
        for held in self._book:
            for label in held.labels:
                source, name = self._at(label)
                source.forget(name)
        self._directories.close()
