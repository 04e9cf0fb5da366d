"""NLUX/1, netlink sockets over a Unix socket: what travels beside the netlink datagrams, and a client.

One connection (AF_UNIX, SOCK_SEQPACKET) is one netlink socket, and one Unix datagram is one netlink datagram.  What a
netlink socket says outside its payload travels as a control datagram, which begins with a zero where a netlink message
has its length.  There is none for the id of the namespace that NETLINK_LISTEN_ALL_NSID tells of with a notification.

A control datagram, whose numbers are in the host's order: u32 zero, u32 magic (0x58554C4E), u16 op, u16 flags, u32 tag,
then what the op takes.  With the flag 1 an answer is wanted: it has the flag 2, the same op and tag, an s32 errno (0
for yes), then what the op gives.  What each takes and gives stands with `Op`.  Control datagrams are obeyed before the
requests of others, and requests are served one at a time, each with all the work that it leaves behind; so who has had
the acknowledgement of a NLMSG_NOOP has had every notification of what was served before.
"""

import os
import socket
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from errno import ECONNRESET, ENOBUFS
from itertools import count
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Final, Self

from addrsvc.af_netlink.table import Datagram
from addrsvc.errors import KernelError

__all__ = ["CAN_RESET", "IS_REPLY", "LARGEST", "VERSION", "WANTS_REPLY", "Control", "NluxSocket", "Op"]

VERSION: Final = 1
CAN_RESET: Final = 1
"""Of the capabilities in the answer to HELLO: RESET, ADVANCE and SYSCTL work."""
WANTS_REPLY: Final = 1
IS_REPLY: Final = 2
LARGEST: Final = 1 << 20
"""More bytes than any datagram has."""

_MAGIC: Final = 0x58554C4E
_HEADER: Final = Struct("=IIHHI")
_S32: Final = Struct("=i")
_U32: Final = Struct("=I")
_U32S: Final = Struct("=II")
_OPTION: Final = Struct("=IIi")
_WELCOME: Final = Struct("=IIII")
_U64: Final = Struct("=Q")


class Op(IntEnum):
    """What a control datagram is about.  All are the client's but PKTINFO and OVERRUN, which are the server's."""

    HELLO = 1
    """Takes u32 version (1), u32 port id (0 for any); gives u32 version, u32 port id, u32 how many groups there are,
    u32 capabilities (1: RESET, ADVANCE and SYSCTL work)."""
    BIND = 2
    """bind(2): takes u32 port id, u32 groups; gives u32 port id."""
    SETSOCKOPT = 3
    """setsockopt(2): takes u32 level, u32 option, s32 value."""
    GETSOCKOPT = 4
    """getsockopt(2): takes u32 level, u32 option; gives its bytes."""
    PKTINFO = 5
    """u32 group, then a netlink datagram: what comes in place of the bare one where NETLINK_PKTINFO is on."""
    OVERRUN = 6
    """The next read is to fail with ENOBUFS."""
    RESET = 16
    """A fresh network namespace; the connections keep their port ids, groups and options."""
    ADVANCE = 17
    """Time passes: takes u64 microseconds.  EOPNOTSUPP where the clock is the real one."""
    SYSCTL = 18
    """Takes a path below /proc/sys/ and a NUL, and to write a value and a NUL; gives the value that is read."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control datagram."""

    op: int
    args: bytes = b""
    flags: int = 0
    tag: int = 0

    @classmethod
    def parse(cls, datagram: bytes) -> Self | None:
        """A datagram as a control datagram, or None where it is none."""
        if len(datagram) < _HEADER.size:
            return None
        zero, magic, op, flags, tag = _HEADER.unpack_from(datagram)
        return None if zero or magic != _MAGIC else cls(op, datagram[_HEADER.size :], flags, tag)

    def __bytes__(self) -> bytes:
        """As it travels."""
        return _HEADER.pack(0, _MAGIC, self.op, self.flags, self.tag) + self.args

    def reply(self, errno: int, args: bytes = b"") -> "Control":
        """The answer to it."""
        return Control(self.op, _S32.pack(errno) + args, IS_REPLY, self.tag)


class NluxSocket:
    """A netlink socket of the model behind a Unix socket: what `addrsvc netlink --listen unix:PATH` serves.

    Args:
        path: where it is served.
        portid: the port id to have; 0 for any.
        timeout: how many seconds to wait for an answer; None for ever.

    Attributes:
        portid: the port id it has.
        ngroups: how many multicast groups there are.
        capabilities: CAN_RESET, or nothing.

    Raises:
        OSError: nobody listens there, or the port id is taken.
    """

    def __init__(self, path: str | Path, portid: int = 0, *, timeout: float | None = 10) -> None:
        self.portid: int
        self._tags = count(1)
        self._waiting: deque[bytes] = deque()
        self._conn = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._conn.settimeout(timeout)
            self._conn.connect(os.fspath(path))
            welcome = self._ask(Op.HELLO, _U32S.pack(VERSION, portid))
        except OSError:
            self._conn.close()
            raise
        _, self.portid, self.ngroups, self.capabilities = _WELCOME.unpack(welcome)

    def fileno(self) -> int:
        """A descriptor that is readable when there is something to read that has not been fetched yet."""
        return self._conn.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """How long to wait for an answer; None for ever."""
        self._conn.settimeout(seconds)

    # --- what a netlink socket does ---

    def bind(self, portid: int = 0, groups: int = 0) -> int:
        """Take a port id and listen to groups, as bind(2) does; the port id that it has then.

        Raises:
            KernelError: EADDRINUSE, EINVAL or EPERM.
        """
        (self.portid,) = _U32.unpack(self._ask(Op.BIND, _U32S.pack(portid, groups)))
        return self.portid

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Set an option.

        Raises:
            KernelError: as setsockopt(2).
        """
        self._ask(Op.SETSOCKOPT, _OPTION.pack(level, option, value))

    def getsockopt(self, level: int, option: int) -> bytes:
        """What an option is.

        Raises:
            KernelError: as getsockopt(2).
        """
        return self._ask(Op.GETSOCKOPT, _U32S.pack(level, option))

    def send(self, data: bytes) -> None:
        """Send a netlink datagram; the kernel's answer is to be received."""
        self._conn.send(data)

    def recv(self) -> Datagram:
        """The next netlink datagram, and the group it was sent to where NETLINK_PKTINFO is set.

        Raises:
            KernelError: ENOBUFS, some were lost; ECONNRESET, the server has gone.
            TimeoutError: none came in time.
            BlockingIOError: there is none, and the timeout is 0.
        """
        datagram = self._waiting.popleft() if self._waiting else self._fetch()
        control = Control.parse(datagram)
        if control is None:
            return Datagram(datagram)
        if control.op == Op.OVERRUN:
            raise KernelError(ENOBUFS)
        return Datagram(control.args[_U32.size :], group=_U32.unpack_from(control.args)[0])

    # --- what one does with the model behind it ---

    def reset(self) -> None:
        """Forget everything: the model starts again, with a fresh network namespace.

        Raises:
            KernelError: EOPNOTSUPP.
        """
        self._ask(Op.RESET)

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            KernelError: EOPNOTSUPP, its clock is the real one.
        """
        self._ask(Op.ADVANCE, _U64.pack(round(seconds * 1e6)))

    def sysctl(self, path: str, value: str | None = None) -> str:
        """Read a file below /proc/sys/, or write it.

        Raises:
            KernelError: as open(2), read(2) and write(2).
        """
        words = (path,) if value is None else (path, value)
        return self._ask(Op.SYSCTL, b"".join(os.fsencode(word) + b"\0" for word in words)).decode()

    def close(self) -> None:
        """End it; a second time does nothing."""
        self._conn.close()

    def _ask(self, op: Op, args: bytes = b"") -> bytes:
        """Send a control datagram and wait for the reply; what comes before it waits to be received."""
        tag = next(self._tags)
        self._conn.send(bytes(Control(op, args, WANTS_REPLY, tag)))
        while True:
            datagram = self._fetch()
            control = Control.parse(datagram)
            if control is not None and control.flags & IS_REPLY and control.tag == tag:
                break
            self._waiting.append(datagram)
        (errno,) = _S32.unpack_from(control.args)
        if errno:
            raise KernelError(errno)
        return control.args[_S32.size :]

    def _fetch(self) -> bytes:
        datagram = self._conn.recv(LARGEST)
        if not datagram:
            raise KernelError(ECONNRESET)
        return datagram

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
