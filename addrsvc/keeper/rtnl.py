"""rtnetlink at the speed of the kernel: sockets in any namespace, requests by the hundred, and what lo has.

Requests are bytes of `messages`.  The kernel serves a datagram before `send` returns, and whatever it has to say to it
is in the socket's buffer by then: so nothing here ever waits, and what is not there was lost.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from errno import EADDRNOTAVAIL, EINTR, EIO, ENOBUFS, ENODEV, ENOENT
from fcntl import ioctl
from functools import cache, partial
from struct import Struct
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

from addrsvc.errors import KernelError
from addrsvc.keeper.dump import (
    Addresses,
    LoState,
    Present,
    Route,
    read_address,
    read_addresses,
    read_lo,
    read_messages,
    read_routes,
)
from addrsvc.keeper.inside import inside
from addrsvc.keeper.messages import DUMP_ADDRESSES, DUMP_ROUTES, GET_LO, family_of, getaddr
from addrsvc.netlink.nlattr import nla_for_each_attr
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFF_UP,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSGERR_ATTR_MSG,
    SOL_NETLINK,
)

__all__ = ["ADDS_AT_ONCE", "DELETES_AT_ONCE", "Refusal", "Requests", "is_lo_down", "open_rtnl", "ready"]

T = TypeVar("T")

ADDS_AT_ONCE: Final = 128
"""Messages in a datagram: more are no quicker, and the answers to these fit into any buffer, were they all refused."""
DELETES_AT_ONCE: Final = 16
"""A datagram is served to its end, whatever signal comes meanwhile, and of many addresses each takes long to delete."""
_DATAGRAM: Final = 1 << 16
_DUMP_ATTEMPTS: Final = 64
_LAST_SEQUENCE: Final = 1 << 31

_SIOCGIFFLAGS: Final = 0x8913
_IFNAMSIZ: Final = 16
_IFREQ_LO: Final = b"lo".ljust(40, b"\0")
"""struct ifreq, in which SIOCGIFFLAGS answers behind the name; sockets of any kind have it."""
_IFREQ_FLAGS: Final = Struct("=H")

_NLMSGHDR: Final = Struct("=IHHII")
_NLMSGERR: Final = Struct("=i")
_TYPE: Final = Struct("=H")
_TYPE_AT: Final = 4
_FLAGS: Final = Struct("=H")
_FLAGS_AT: Final = 6
_SEQUENCE: Final = Struct("=I")
_SEQUENCE_AT: Final = 8
_ANSWER: Final = Struct("=4xH2xI4xi")
"""The type; of a NLMSG_ERROR to which request it is, and the errno, which is negative, or 0 for an acknowledgement."""
# What stands before the attributes: the errno, and in an error also the header of the request (NETLINK_CAP_ACK).
_BEFORE_TLVS: Final = {
    NLMSG_ERROR: _NLMSGHDR.size + _NLMSGERR.size + _NLMSGHDR.size,
    NLMSG_DONE: _NLMSGHDR.size + _NLMSGERR.size,
}


# --- sockets ----------------------------------------------------------------------------------------------------------


def open_rtnl(
    netns_fd: int | None = None,
    *,
    groups: Iterable[int] = (),
    first: Callable[[socket.socket], object] | None = None,
    prepare: Callable[[socket.socket], object] | None = None,
    label: str = "network namespace",
) -> socket.socket:
    """Open a socket that talks with the rtnetlink of a namespace, and does so from anywhere from then on.

    It never blocks, and no other process can send to it: who has a message of it alone has it from the kernel.

    Args:
        netns_fd: the namespace; None for the one that the calling thread is in.
        groups: RTNLGRP_* to listen to, of the first 32.
        first: called with the socket as soon as there is one, for what must not wait.
        prepare: called with the socket before it can hear anything, for a filter or the size of its buffer.
        label: what to call the namespace where it cannot be entered.

    Raises:
        KernelError: the namespace cannot be entered; the text says what is missing.
    """
    sock = inside(netns_fd, partial(_netlink_socket, first), label)
    try:
        if prepare is not None:
            prepare(sock)
        if mask := _mask(tuple(groups)):
            sock.bind((0, mask))
        sock.connect((0, 0))
    except BaseException:
        sock.close()
        raise
    return sock


@cache
def _mask(groups: tuple[int, ...]) -> int:
    return sum(1 << group - 1 for group in groups)


def _netlink_socket(first: Callable[[socket.socket], object] | None) -> socket.socket:
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    if first is not None:
        first(sock)
    return sock


def is_lo_down(sock: socket.socket) -> bool:
    """Whether lo is down, found out with the least work; one that was renamed is not found to be."""
    try:
        (flags,) = _IFREQ_FLAGS.unpack_from(ioctl(sock, _SIOCGIFFLAGS, _IFREQ_LO), _IFNAMSIZ)
    except OSError:
        return False
    return not flags & IFF_UP


def _to_ask(sock: socket.socket) -> None:
    sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    with suppress(OSError):  # Linux 4.20; without it dumps are longer than they need be
        sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)


# --- requests ---------------------------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """A request that the kernel refused: which of them (from 0), its errno, and its own words if it had some.

    ENOBUFS may also mean that its answer was lost.
    """

    nth: int
    errno: int
    extack: str | None = None


class Requests:
    """A socket for asking one namespace.  It belongs to one thread at a time.

    Args:
        sock: of `open_rtnl`; it is closed with this object.
    """

    __slots__ = ("_is_answer_due", "_refusal", "_sequence", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sequence = 1
        self._is_answer_due = False
        self._refusal: Refusal | None = None

    @classmethod
    def to(
        cls,
        netns_fd: int | None = None,
        label: str = "network namespace",
        first: Callable[[socket.socket], object] | None = None,
    ) -> "Requests":
        """Open a socket in a namespace, see `open_rtnl`; the answer to what `first` sends is that to what is sent."""
        requests = cls(open_rtnl(netns_fd, first=first, prepare=_to_ask, label=label))
        if first is not None:
            requests.expect_answer()
        return requests

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket; a second time does nothing."""
        self._sock.close()

    # --- changes ---

    def ask(self, messages: Sequence[bytes], at_once: int = ADDS_AT_ONCE) -> list[Refusal]:
        """Ask for changes, one after the other; what follows a refused one is done all the same.

        Args:
            messages: of `messages`.
            at_once: how many are sent together; DELETES_AT_ONCE where addresses are deleted.

        Returns:
            What was refused, or could not be sent.  The rest is done.
        """
        refusals: list[Refusal] = []
        for start in range(0, len(messages), at_once):
            some = messages[start : start + at_once]
            try:
                refusals += self._ask(some, start)
            except OSError as error:
                refusals += [Refusal(start + nth, error.errno or EIO) for nth in range(len(some))]
        return refusals

    def _ask(self, messages: Sequence[bytes], start: int) -> list[Refusal]:
        self._settle()
        count = len(messages)
        first = self._reserve(count)
        self._sock.send(_datagram(messages, first))
        refusals: dict[int, Refusal] = {}
        index = -1
        while index != count - 1:  # the last one is acknowledged
            data = self._receive()
            if data is None:
                return [refusals.get(i, Refusal(start + i, ENOBUFS)) for i in range(count)]
            kind, sequence, error = _ANSWER.unpack_from(data)
            if kind != NLMSG_ERROR:
                continue  # on a socket that listens too: what the kernel tells everybody of this very change
            index = sequence - first
            if error and 0 <= index < count:
                refusals[index] = Refusal(start + index, -error, _extack(data))
        return list(refusals.values())

    def send(self, message: bytes) -> None:
        """Ask for one change that is `ready` to be sent, with the least work.

        It is done, or refused, when this returns; `answer` tells, whatever else is asked before that.
        """
        self._settle()
        self._sock.send(message)
        self._is_answer_due = True

    def expect_answer(self) -> None:
        """Something was sent as `send` does it, by this socket, but not by this object."""
        self._is_answer_due = True

    def answer(self) -> Refusal | None:
        """The refusal of what was sent last, if there is one."""
        self._settle()
        return self._refusal

    def _settle(self) -> None:
        """Read what the kernel had to say to what was sent, before it is taken for something else."""
        if self._is_answer_due:
            self._is_answer_due = False
            self._refusal = self._sent()

    def _sent(self) -> Refusal | None:
        """Nothing is said of what is done; what was lost may have been a refusal."""
        lost = None
        while True:
            try:
                data = self._sock.recv(_DATAGRAM)
            except BlockingIOError:
                return lost
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                lost = Refusal(0, ENOBUFS)
                continue
            kind, sequence, error_number = _ANSWER.unpack_from(data)
            if kind == NLMSG_ERROR and sequence == _LAST_SEQUENCE and error_number:
                return Refusal(0, -error_number, _extack(data))

    # --- questions ---

    def addresses(self) -> Addresses:
        """All addresses of lo, the IPv6 ones first, each in the kernel's order.

        Raises:
            KernelError: the kernel refused, or never came to rest while we looked (EINTR).
        """
        found = self._addresses(AF_INET6)
        found.update(self._addresses(AF_INET))
        return found

    def _addresses(self, family: int) -> Addresses:
        return self._dump(DUMP_ADDRESSES[family], read_addresses, Addresses)

    def routes(self) -> list[Route]:
        """All local routes of ours that lead to lo, the IPv6 ones first.

        Raises:
            KernelError: the kernel refused, or never came to rest while we looked (EINTR).
        """
        return self._routes(AF_INET6) + self._routes(AF_INET)

    def _routes(self, family: int) -> list[Route]:
        try:
            return self._dump(DUMP_ROUTES[family], read_routes, list[Route])
        except KernelError as error:
            if error.errno != ENOENT:  # as long as lo has never been up there are no tables of IPv4
                raise
            return []

    def dump(self, request: bytes) -> list[bytes]:
        """All that the kernel answers to a question of `messages` for a list, message by message.

        Raises:
            KernelError: the kernel refused, or never came to rest while we looked (EINTR).
        """
        return self._dump(request, read_messages, list[bytes])

    def present(self, address: bytes) -> Present | None:
        """One address of lo, as the kernel has it; None where it has not.

        Raises:
            KernelError: the kernel refused to tell.
        """
        if family_of(address) == AF_INET:  # of which the kernel tells none alone
            found = self._addresses(AF_INET)
            return next((present for (known, _), present in found.items() if known == address), None)
        try:
            told = read_address(self._get(getaddr(address)))
        except KernelError as error:
            if error.errno != EADDRNOTAVAIL:
                raise
            return None
        return told[1] if told is not None else None

    def has(self, address: bytes) -> bool:
        """Whether lo has an address.

        Raises:
            KernelError: the kernel refused to tell.
        """
        return self.present(address) is not None

    def lo(self) -> LoState:
        """How lo itself is.

        Raises:
            KernelError: the kernel refused to tell.
        """
        state = read_lo(self._get(GET_LO))
        if state is None:
            raise KernelError(ENODEV)
        return state

    def _get(self, request: bytes) -> bytes:
        """The answer to a question that has one."""
        for data in self._answers(request):
            _check(data)
            return data
        raise KernelError(ENOBUFS)

    def _dump(self, request: bytes, read: Callable[[bytes, T], int], make: Callable[[], T]) -> T:
        for _ in range(_DUMP_ATTEMPTS):
            into = make()
            if self._dump_once(request, read, into):
                return into
        raise KernelError(EINTR, "the namespace changes faster than it can be dumped")

    def _dump_once(self, request: bytes, read: Callable[[bytes, T], int], into: T) -> bool:
        """Whether nothing changed meanwhile: what is in `into` is of no use if something did."""
        flags = 0
        for data in self._answers(request):
            at = read(data, into)
            flags |= _flags(data) | _flags(data, at)
            if at < len(data):
                _check(data, at)
                return not flags & NLM_F_DUMP_INTR
        return False

    def _answers(self, request: bytes) -> Iterator[bytes]:
        """Datagrams that answer a question, up to where there are no more or some were lost."""
        self._settle()
        sequence = self._reserve(1)
        self._sock.send(_datagram((request,), sequence, is_acknowledged=False))
        while (data := self._receive()) is not None:
            if _SEQUENCE.unpack_from(data, _SEQUENCE_AT)[0] == sequence:
                yield data

    def _reserve(self, count: int) -> int:
        """The first of so many numbers that were not used lately."""
        first = self._sequence if self._sequence < _LAST_SEQUENCE else 1
        self._sequence = first + count
        return first

    def _receive(self) -> bytes | None:
        """The next datagram; None where there is none, because the buffer had no room for it."""
        while True:
            try:
                return self._sock.recv(_DATAGRAM)
            except BlockingIOError:
                return None
            except OSError as error:  # something was lost, and everything since: what came before is still there
                if error.errno != ENOBUFS:
                    raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def ready(message: bytes) -> bytes:
    """A change as it goes over the wire, for `Requests.send`: its number is one that no other request has.

    No acknowledgement is asked for, since a refusal is told in any case.
    """
    return bytes(_datagram((message,), _LAST_SEQUENCE, is_acknowledged=False))


def _datagram(messages: Sequence[bytes], first: int, *, is_acknowledged: bool = True) -> bytearray:
    """The messages with their numbers; the last one is to be acknowledged, refusals are told in any case."""
    datagram = bytearray().join(messages)
    at = last = 0
    for sequence, message in enumerate(messages, first):
        _SEQUENCE.pack_into(datagram, at + _SEQUENCE_AT, sequence)
        last, at = at, at + len(message)
    if is_acknowledged:
        datagram[last + _FLAGS_AT] |= NLM_F_ACK
    return datagram


# --- answers ----------------------------------------------------------------------------------------------------------


def _flags(data: bytes, at: int = 0) -> int:
    return int(_FLAGS.unpack_from(data, at + _FLAGS_AT)[0]) if at < len(data) else 0


def _error(data: bytes, at: int = 0) -> int:
    """The errno that a NLMSG_ERROR or NLMSG_DONE says, or 0."""
    return -min(0, int(_NLMSGERR.unpack_from(data, at + _NLMSGHDR.size)[0]))


def _check(data: bytes, at: int = 0) -> None:
    """Raise what a NLMSG_ERROR or NLMSG_DONE says, if the message at this place is one and says an error."""
    if _TYPE.unpack_from(data, at + _TYPE_AT)[0] in (NLMSG_ERROR, NLMSG_DONE) and (error := _error(data, at)):
        raise KernelError(error, _extack(data, at))


def _extack(data: bytes, at: int = 0) -> str | None:
    """What the kernel said about it, in words."""
    (nlmsg_type,) = _TYPE.unpack_from(data, at + _TYPE_AT)
    if not _flags(data, at) & NLM_F_ACK_TLVS:
        return None
    for number, place, length in nla_for_each_attr(data, at + _BEFORE_TLVS[nlmsg_type], len(data)):
        if number == NLMSGERR_ATTR_MSG:
            return data[place : place + length].rstrip(b"\0").decode("utf-8", "surrogateescape")
    return None
