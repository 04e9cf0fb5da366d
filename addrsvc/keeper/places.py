"""What namespaces are called: the labels of those that are there, and the selectors that mean them.

Both are written alike; in a selector the last part may be a glob::

    host            the namespace that the service itself is in
    blue, web-*     names below /run/netns, where ``ip netns`` keeps them
    docker:*        names below /run/docker/netns
    pid:4711        the namespace of a process
    /srv/ns/red     a file anywhere else
"""

from functools import lru_cache
from os.path import join, normpath, split
from typing import Final, NamedTuple

from addrsvc.errors import ControlError
from addrsvc.mirror.netns import HOST, NETNS_RUN_DIR, THIS_ONE

__all__ = ["DOCKER_DIR", "HOST", "PROC", "Place", "opened_by"]

DOCKER_DIR: Final = "/run/docker/netns"
PROC: Final = "/proc"
_RUN_DIR: Final = str(NETNS_RUN_DIR)
_DOCKER: Final = "docker:"
_PID: Final = "pid:"
_ALWAYS_THERE: Final = ""
_DIRECTORIES: Final = {_DOCKER: DOCKER_DIR, _PID: PROC}


class Place(NamedTuple):
    """Where a namespace is found.

    Attributes:
        directory: what it is below; empty for the host's, PROC for that of a process.
        name: its name there, or a glob, or a process id.
    """

    directory: str
    name: str

    @classmethod
    @lru_cache(maxsize=4096)  # each namespace is asked for by its name several times when it is found
    def of(cls, text: str) -> "Place":
        """What a label or a selector means.

        Raises:
            ControlError: it means nothing.
        """
        if text == HOST:
            return cls(_ALWAYS_THERE, HOST)
        place = _path(text) if text.startswith("/") else _name(text)
        if place.name in ("", ".", "..") or "/" in place.name:
            raise ControlError(f"{text!r} is no namespace; accepted are {_ACCEPTED}")
        if place.directory == PROC and not place.name.isdecimal():
            raise ControlError(f"{text!r}: {place.name!r} is no process id")
        return place

    @property
    def label(self) -> str:
        """What it is called."""
        if self.directory == _RUN_DIR:
            return join(self.directory, self.name) if _is_reserved(self.name) else self.name
        if self.directory == DOCKER_DIR:
            return _DOCKER + self.name
        if self.directory == PROC:
            return _PID + self.name
        return join(self.directory, self.name)

    @property
    def path(self) -> str:
        """The file that leads to it."""
        if self.directory == PROC:
            return f"{PROC}/{self.name}/ns/net"
        return join(self.directory, self.name) if self.directory else THIS_ONE

    @property
    def is_glob(self) -> bool:
        """Whether it may mean several."""
        return any(mark in self.name for mark in "*?[")


def opened_by(text: str) -> str:
    """What `addrsvc.mirror.netns.open_netns` takes for a label; what is none of ours is left as it is."""
    return Place.of(text).path if text.startswith(tuple(_DIRECTORIES)) else text


_ACCEPTED: Final = (
    f"{HOST!r}, names and globs below {NETNS_RUN_DIR}, '{_DOCKER}' and such below {DOCKER_DIR}, '{_PID}' and a process "
    "id, and paths"
)


def _name(text: str) -> Place:
    for prefix, directory in _DIRECTORIES.items():
        if text.startswith(prefix):
            return Place(directory, text.removeprefix(prefix))
    return Place(str(NETNS_RUN_DIR), text)


def _path(text: str) -> Place:
    path = normpath("/" + text.lstrip("/"))
    if path.startswith("/var/run/"):
        path = path.removeprefix("/var")
    directory, name = split(path)
    parts = path.split("/")
    return Place(PROC, parts[2]) if parts[1] == "proc" and parts[3:] == ["ns", "net"] else Place(directory, name)


def _is_reserved(name: str) -> bool:
    return name == HOST or name.startswith(tuple(_DIRECTORIES))
