"""Who may do what over the control socket: the kernel tells who has connected, and the configuration who may what."""

import ctypes
import os
import socket
import struct
from collections.abc import Callable
from enum import Enum
from errno import ERANGE
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from addrsvc.errors import NotPermitted
from addrsvc.keeper.settings import Control
from addrsvc.uapi import SOL_SOCKET

__all__ = ["Authority", "ForEverybody", "ForGroup", "Peer", "Right", "for_readers", "peer_of", "require"]

_UCRED: Final = struct.Struct("=iII")
_SO_PEERGROUPS: Final = 59
_SOME_GROUPS: Final = 64
_GID: Final = 4


class Right(Enum):
    """What a command takes."""

    READ = "ask"
    CHANGE = "change something"


class Peer(NamedTuple):
    """Who was connected when the connection was made.

    Attributes:
        pid: 0 where it lives in another pid namespace.
        uid, gid: its effective ones.
        groups: its supplementary groups.
    """

    pid: int
    uid: int
    gid: int = -1
    groups: frozenset[int] = frozenset()

    def is_in(self, gid: int) -> bool:
        """Whether it is a member of a group."""
        return gid == self.gid or gid in self.groups

    @property
    def program(self) -> str:
        """What it runs, as far as we may know."""
        try:
            return os.readlink(f"/proc/{self.pid}/exe")
        except OSError:
            return _comm(self.pid)

    def told(self) -> dict[str, object]:
        """What is told of it with what it has asked for; of what it runs nothing where other processes are hidden."""
        program = self.program
        return {"uid": self.uid, "pid": self.pid, **({"program": program} if program else {})}

    def identity(self) -> dict[str, object]:
        """Who it is, for who looks into what it has tried; its name is its own choice, and may be hidden."""
        comm = _comm(self.pid)
        return {"uid": self.uid, "gid": self.gid, "pid": self.pid, **({"comm": comm} if comm else {})}


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def peer_of(conn: socket.socket) -> Peer:
    """Who is at the other end of a connected Unix socket."""
    pid, uid, gid = _UCRED.unpack(conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid, gid, frozenset(_groups(conn.fileno())))


def _groups(fd: int) -> tuple[int, ...]:
    """The supplementary groups of a peer, of which there can be more than `socket.getsockopt` has room for."""
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.c_uint32(_SOME_GROUPS * _GID)
    for _ in range(2):
        buffer = ctypes.create_string_buffer(room.value)
        if libc.getsockopt(fd, SOL_SOCKET, _SO_PEERGROUPS, buffer, ctypes.byref(room)) == 0:
            return struct.unpack(f"={room.value // _GID}I", buffer.raw[: room.value])
        if ctypes.get_errno() != ERANGE:
            break
    return ()


# --- who may what -----------------------------------------------------------------------------------------------------


class Authority(Protocol):
    """Says who may do what."""

    def why_not(self, peer: Peer, right: Right) -> str:
        """Why somebody has not a right; empty if they have it."""


def require(authority: Authority, peer: Peer, right: Right) -> None:
    """Refuse who has not a right.

    Raises:
        NotPermitted: the text says who has it, and how to get it.
    """
    why = authority.why_not(peer, right)
    if why:
        raise NotPermitted(why)


def _is_ours(peer: Peer) -> bool:
    return peer.uid in (0, os.geteuid())


class ForEverybody:
    """The authority over a model: everybody may ask it, who runs it may change it."""

    def why_not(self, peer: Peer, right: Right) -> str:
        """Why somebody has not a right."""
        if right is Right.READ or _is_ours(peer):
            return ""
        return "changes are for root and for the user that the service runs as"


class ForGroup:
    """The authority over a service that keeps a machine: a group may ask, root and some users may change.

    Args:
        said: gives what the configuration in force says.
        path: of the control socket, whose group it is if the configuration names none.
    """

    def __init__(self, said: Callable[[], Control], path: str) -> None:
        self._said = said
        self._path = path

    def why_not(self, peer: Peer, right: Right) -> str:
        """Why somebody has not a right."""
        said = self._said()
        if _is_ours(peer) or peer.uid in said.users:
            return ""
        group = self._group(said)
        if right is Right.READ:
            return "" if peer.is_in(group) else for_readers(group)
        return "changes are for root, and for the users that [control] users of the configuration names"

    def _group(self, said: Control) -> int:
        if said.group is not None:
            return said.group
        try:
            return os.stat(self._path).st_gid
        except (OSError, ValueError):
            return os.getegid()


def for_readers(gid: int) -> str:
    """Who may ask where a group may, and how to become one of those."""
    name = _group_name(gid)
    if gid == 0:
        return f'asking is for root and the group {name}; [control] group = "NAME" in the configuration lets others ask'
    return f'asking is for root and the group {name}; to join it: sudo usermod -aG {name} "$USER", and log in again'


@lru_cache(maxsize=16)
def _group_name(gid: int) -> str:
    from grp import getgrgid

    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
