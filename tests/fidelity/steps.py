"""What the campaign does to a kernel, one value per step, and what it observes of each.

A machine is a fresh namespace with five sockets, opened in the order of their numbers, and another fresh namespace with
one.  LISTENER, and ELSEWHERE in the other namespace, are members of all groups and are read after every step; of the
others, a step reads the one it used, unless it `hold`s.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

__all__ = [
    "ASKER", "EARS", "ELSEWHERE", "LAGGARD", "LISTENER", "OUTSIDER", "RESIDENT", "SECOND", "SOCKETS", "Bind", "Connect",
    "Datagram", "Getsockname", "Getsockopt", "Heard", "Machine", "Op", "Outcome", "Read", "Reopen", "Send",
    "Setsockopt", "Sysctl", "named",
]  # fmt: skip

LISTENER = 0
"""A member of every group, with NETLINK_PKTINFO and room for everything."""
ASKER = 1
"""Who asks most of the time."""
SECOND = 2
"""Who asks sometimes, and has groups and options set to try them."""
LAGGARD = 3
"""Whose receive buffer is small, and who reads only when a step says so."""
OUTSIDER = 4
"""Opened without CAP_NET_ADMIN."""
ELSEWHERE = 5
"""A member of every group in the other namespace, who asks there, too."""
SOCKETS = {LISTENER: "LISTENER", ASKER: "ASKER", SECOND: "SECOND", LAGGARD: "LAGGARD", OUTSIDER: "OUTSIDER",
           ELSEWHERE: "ELSEWHERE"}  # fmt: skip
EARS = (LISTENER, ELSEWHERE)
RESIDENT = 0x7EE57EE5
"""Stands in a request for the process id of somebody who is in the other namespace."""
SOL_SOCKET, SOL_NETLINK = 1, 270
WHOLE = 65536
"""Bytes of a read that wants everything."""


# --- steps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """sendto(2).  `to` and `groups` are the address: the kernel's own is 0."""

    data: bytes
    by: int = ASKER
    to: int = 0
    groups: int = 0
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """One recvmsg(2), with what flags it is told (MSG_PEEK, MSG_TRUNC)."""

    by: int = ASKER
    size: int = WHOLE
    flags: int = 0
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Setsockopt:
    option: int
    value: bytes
    by: int = ASKER
    level: int = SOL_NETLINK
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Getsockopt:
    option: int
    length: int = 4
    by: int = ASKER
    level: int = SOL_NETLINK
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Bind:
    pid: int
    groups: int
    by: int = SECOND
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Connect:
    pid: int
    groups: int
    by: int = SECOND
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Getsockname:
    by: int = ASKER
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Reopen:
    """Close the socket and open another one in its place."""

    by: int = SECOND
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Sysctl:
    """Write a file below /proc/sys; without a value, read it.  By ELSEWHERE, in the other namespace."""

    path: str
    value: str | None = None
    by: int = LISTENER
    hold: bool = True


Op: TypeAlias = Send | Read | Setsockopt | Getsockopt | Bind | Connect | Getsockname | Reopen | Sysctl


# --- what is observed -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Datagram:
    """What one recvmsg(2) brought.

    Attributes:
        flags: msg_flags, MSG_TRUNC that is.
        portid, groups: the sender's address.
        group: what NETLINK_PKTINFO says, None without it.
        nsid: what NETLINK_LISTEN_ALL_NSID says, None if it does not.
    """

    data: bytes
    flags: int = 0
    portid: int = 0
    groups: int = 0
    group: int | None = None
    nsid: int | None = None


Heard: TypeAlias = Datagram | str
"""A datagram, or the name of the errno that a read failed with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step came to: its own result, and what was then read from each socket."""

    result: object
    heard: dict[int, tuple[Heard, ...]]


class Machine(Protocol):
    """A fresh kernel with its five sockets."""

    def do(self, op: Op) -> object:
        """Do one step; the result, or the name of the errno."""

    def hear(self, by: int) -> list[Heard]:
        """Read a socket until it is empty."""

    def wait(self, seconds: float) -> None:
        """Until there is something to be heard, or for so long."""

    def portid(self, by: int) -> int:
        """The port id of a socket, 0 while it has none."""

    def close(self) -> None: ...


def named(op: Op) -> str:
    return type(op).__name__
