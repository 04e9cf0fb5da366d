"""One namespace kept by a service that runs inside it, and so finds it where others have the host's."""

import os
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from addrsvc.keeper.book import Door, Listener
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.places import HOST, Place
from addrsvc.keeper.wanted import Wanted
from addrsvc.mirror.netns import THIS_ONE

__all__ = ["Alone", "Called", "NameWatch", "Rules"]


class Rules(Protocol):
    """What a configuration is asked."""

    def selectors(self) -> "tuple[str, ...]":
        """Which namespaces it is about."""

    def wanted(self, *names: str) -> Wanted | None:
        """What it wants of the one with these names; None where no rule is about it."""


@dataclass(frozen=True, slots=True)
class Alone:
    """The rules for the namespace that a service runs in.  That it was started says that something is wanted there.

    Attributes:
        rules: for all namespaces.
        label: what the namespace is called in them; where none of them is about it, it gets what lo has by itself.
    """

    rules: Rules
    label: str

    def selectors(self) -> tuple[str, ...]:
        """The one namespace that can be found without entering any."""
        return (HOST,)

    def wanted(self, *names: str) -> Wanted | None:
        """What is wanted of it."""
        return (self.rules.wanted(self.label) or Wanted()) if self.label in names else None


class Called:
    """Tells a listener of the host's namespace by another name, which is the one that it is called from outside.

    Args:
        listener: whom to tell.
        here: the name.
    """

    def __init__(self, listener: Listener, here: str) -> None:
        self._listener = listener
        self._here = here

    def _label(self, label: str) -> str:
        return self._here if label == HOST else label

    def expected(self, label: str) -> None:
        """A name will lead to one."""
        self._listener.expected(self._label(label))

    def opened(self, label: str, netns_fd: int) -> Door | None:
        """One can be entered."""
        return self._listener.opened(self._label(label), netns_fd)

    def found(self, label: str, netns_fd: int, door: Door | None) -> None:
        """A namespace is there."""
        self._listener.found(self._label(label), netns_fd, door)

    def gone(self, label: str) -> None:
        """It has gone."""
        self._listener.gone(self._label(label))

    def renamed(self, label: str, instead: str) -> None:
        """It has another name."""
        self._listener.renamed(self._label(label), self._label(instead))

    def named(self, label: str) -> None:
        """It has a name more, or one less."""
        self._listener.named(self._label(label))

    def waiting(self, label: str, why: str) -> None:
        """It is not there."""
        self._listener.waiting(self._label(label), why)


class NameWatch:
    """Sees the name of a namespace go that lasts longer than its name, because a process or a socket is in it.

    Args:
        loop: in whose thread it looks, whenever mounts have changed.
        label: the name; one that does not lead there to begin with does not go.
        gone: called, once, when it does not lead there any more.
        netns: the namespace; the one that this process is in, if nothing is said.
        back: called when it leads to another namespace, and again when that is yet another one, if somebody wants to
            know.
    """

    def __init__(
        self,
        loop: Loop,
        label: str,
        gone: Callable[[], object],
        netns: os.stat_result | None = None,
        back: Callable[[], object] | None = None,
    ) -> None:
        place = Place.of(label)
        self._path = os.path.join(place.directory, place.name)
        self._loop = loop
        self._gone: Callable[[], object] | None = gone
        self._back = back
        self._other = 0
        self._netns = netns or os.stat(THIS_ONE)
        self._mountinfo = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        if not self._leads_there():
            self._gone = None
        if self._gone or self._back:
            loop.watch(self._mountinfo, self.look, select.EPOLLPRI)

    def leads_elsewhere(self) -> bool:
        """Whether there is such a name, of another namespace."""
        there = self._leads_to()
        return there is not None and there.st_dev == self._netns.st_dev and not os.path.samestat(there, self._netns)

    def _leads_there(self) -> bool:
        there = self._leads_to()
        return there is not None and os.path.samestat(there, self._netns)

    def _leads_to(self) -> os.stat_result | None:
        try:
            return os.stat(self._path)
        except OSError:
            return None

    def look(self) -> None:
        """See where the name leads."""
        if self._gone is not None and not self._leads_there():
            gone, self._gone = self._gone, None
            gone()
        if self._back is not None:
            self._look_elsewhere(self._back)
        elif self._gone is None:
            self._loop.unwatch(self._mountinfo)

    def _look_elsewhere(self, back: Callable[[], object]) -> None:
        there = self._leads_to() if self.leads_elsewhere() else None
        before, self._other = self._other, 0 if there is None else there.st_ino
        if self._other not in (0, before):
            back()

    def close(self) -> None:
        """Look no more."""
        self._loop.unwatch(self._mountinfo)
        os.close(self._mountinfo)
