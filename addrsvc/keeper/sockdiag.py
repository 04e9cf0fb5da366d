"""Who uses an address: the sockets of a namespace, as the kernel lists them (NETLINK_SOCK_DIAG).

A list may be long, so it is read one datagram at a time, whenever the loop finds one there; other work goes on between.
Counted are connections: TCP from the first SYN to the last ACK, and UDP sockets that are connected.  Sockets that
listen, or wait for whatever comes, do not count: they would never end by themselves.
"""

import socket
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from errno import EIO
from struct import Struct
from typing import Final

from addrsvc.keeper.inside import inside
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.messages import family_of
from addrsvc.uapi import AF_INET, AF_INET6, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR

__all__ = ["Census"]

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_INET_DIAG_REQ_BYTECODE: Final = 1
_BC_JMP, _BC_S_COND = 1, 7

_TCP_ESTABLISHED, _TCP_TIME_WAIT, _TCP_CLOSE, _TCP_LISTEN, _TCP_STATES = 1, 6, 7, 10, 13
_EVERY_STATE: Final = (1 << _TCP_STATES) - 2
_CONNECTIONS: Final = {
    socket.IPPROTO_TCP: _EVERY_STATE & ~(1 << _TCP_TIME_WAIT | 1 << _TCP_CLOSE | 1 << _TCP_LISTEN),
    socket.IPPROTO_UDP: 1 << _TCP_ESTABLISHED,
}
"""By protocol: the states of sockets that are at one end of a connection."""

_DATAGRAM: Final = 1 << 16
_NLMSGHDR: Final = Struct("=IHHII")
_REQUEST: Final = Struct("=BBBxI48x")
_START: Final = Struct("=IH10x i")
_SOCKET: Final = Struct("=IH10x B3x 2x2x 16s")
_ATTR: Final = Struct("=HH")
_OP: Final = Struct("=BBH")
_HOST: Final = Struct("=BBxxi")
_ANY_PORT: Final = -1
_MAPPED: Final = bytes(10) + b"\xff\xff"
_FILTERED: Final = 16
"""For so many addresses the kernel is asked to tell of no others; for more, looking at all sockets is quicker."""


class Census:
    """Counts the connections of a namespace by local address.

    Args:
        loop: which it is done in.
        netns_fd: the namespace; None for the one that the calling thread is in.
        label: what to call it where it cannot be entered.

    Raises:
        KernelError: it cannot be entered.
    """

    def __init__(self, loop: Loop, netns_fd: int | None, label: str = "network namespace") -> None:
        self._loop = loop
        self._sock = inside(netns_fd, _diag_socket, label)
        self._questions: list[bytes] = []

    def take(self, addresses: Collection[bytes], done: Callable[[Counter[bytes] | None], object]) -> None:
        """Count, and call back with the number of connections of each address that has some.

        One is taken at a time.  Addresses that were not asked for may be among the result.  It is None where the kernel
        does not tell of sockets.
        """
        if self._questions:
            raise RuntimeError("a census is being taken")
        families = [AF_INET6] if all(len(address) == 16 for address in addresses) else [AF_INET6, AF_INET]
        self._found, self._done = Counter[bytes](), done
        self._questions = [
            _question(family, protocol, addresses) for protocol in reversed(_CONNECTIONS) for family in families
        ]
        self._loop.watch(self._sock.fileno(), self._hear)
        self._ask()

    def close(self) -> None:
        """Count no more; a second time does nothing."""
        if self._sock.fileno() >= 0:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()

    def _ask(self) -> None:
        try:
            self._sock.send(self._questions[-1])
        except OSError as error:
            self._answered(error.errno or EIO)

    def _hear(self) -> None:
        try:
            data = self._sock.recv(_DATAGRAM)
        except BlockingIOError:
            return
        except OSError as error:
            self._answered(error.errno or EIO)
            return
        at = 0
        while at + _START.size <= len(data):
            length, nlmsg_type, code = _START.unpack_from(data, at)
            if nlmsg_type in (NLMSG_DONE, NLMSG_ERROR):
                self._answered(-code)
                return
            if nlmsg_type == _SOCK_DIAG_BY_FAMILY and at + _SOCKET.size <= len(data):
                self._found[_address(*_SOCKET.unpack_from(data, at))] += 1
            at += max(_NLMSGHDR.size, length + 3 & ~3)

    def _answered(self, errno: int) -> None:
        """Ask the next question, or be done; without an answer there is no result."""
        if errno:
            self._questions.clear()
        else:
            self._questions.pop()
        if self._questions:
            self._ask()
            return
        self._loop.unwatch(self._sock.fileno())
        self._done(None if errno else self._found)


def _diag_socket() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    sock.connect((0, 0))
    return sock


def _address(length: int, nlmsg_type: int, family: int, source: bytes) -> bytes:
    """Where a socket is; an IPv6 one may be at an IPv4 address."""
    if family == AF_INET:
        return source[:4]
    return source[12:] if source.startswith(_MAPPED) else source


def _question(family: int, protocol: int, addresses: Collection[bytes]) -> bytes:
    body = _REQUEST.pack(family, protocol, 0, _CONNECTIONS[protocol])
    if len(addresses) <= _FILTERED:
        body += _at_any_of(list(addresses))
    return _NLMSGHDR.pack(_NLMSGHDR.size + len(body), _SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body


def _at_any_of(addresses: Sequence[bytes]) -> bytes:
    """A program by which the kernel leaves out sockets that are elsewhere.

    One condition for each address: where it holds, the jump behind it leads to the end, which is a yes; where not, to
    the next one.  Behind the last one that is beyond the end, which is a no.
    """
    conditions = [_condition(address) for address in addresses]
    left = sum(len(condition) + _OP.size for condition in conditions)
    program = b""
    for condition in conditions:
        left -= len(condition)
        otherwise = len(condition) + _OP.size + (_OP.size if left == _OP.size else 0)
        program += _OP.pack(_BC_S_COND, len(condition), otherwise) + condition[_OP.size :]
        program += _OP.pack(_BC_JMP, _OP.size, left)
        left -= _OP.size
    return _ATTR.pack(_ATTR.size + len(program), _INET_DIAG_REQ_BYTECODE) + program


def _condition(address: bytes) -> bytes:
    """That a socket is at an address: room for the operation, and what it compares with."""
    return bytes(_OP.size) + _HOST.pack(family_of(address), 8 * len(address), _ANY_PORT) + address
