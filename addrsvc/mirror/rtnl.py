"""The running kernel as a port: rtnetlink over sockets of our own.

The sockets are opened inside the namespace by `run_in` and work from anywhere afterwards.
"""

import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from errno import EINTR, EINVAL, EIO, ENOBUFS
from types import TracebackType
from typing import Final, Self

from addrsvc.errors import AddrsvcError, ControlError, KernelError
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.mirror.operations import Operations, no_device
from addrsvc.netlink.codec import decode, encode, knows
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, RouteMsg, Sysctl, WireMessage
from addrsvc.netlink.nlattr import NL_VALIDATE_LIBERAL, NLMSG_HDRLEN, ExtAck, nla_parse
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_DUMP,
    NLM_F_DUMP_FILTERED,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSGERR_ATTR_MSG,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETMULTICAST,
    RTM_GETROUTE,
    SOL_NETLINK,
    Rtnlgrp,
)

__all__ = ["MessagesLost", "RtnlKernel", "RtnlWatch"]

_HOW_A_DUMP_TRAVELS: Final = NLM_F_MULTI | NLM_F_DUMP_INTR | NLM_F_DUMP_FILTERED
_SO_RCVBUFFORCE: Final = 33
_WATCH_BUFFER: Final = 8 << 20
_DATAGRAM: Final = 1 << 16
_DUMP_ATTEMPTS: Final = 64

_WATCHED: Final = (
    Rtnlgrp.RTNLGRP_LINK, Rtnlgrp.RTNLGRP_IPV4_IFADDR, Rtnlgrp.RTNLGRP_IPV4_ROUTE, Rtnlgrp.RTNLGRP_IPV6_IFADDR,
    Rtnlgrp.RTNLGRP_IPV6_ROUTE, Rtnlgrp.RTNLGRP_IPV6_IFINFO, Rtnlgrp.RTNLGRP_IPV4_NETCONF,
    Rtnlgrp.RTNLGRP_IPV6_NETCONF, Rtnlgrp.RTNLGRP_IPV4_MCADDR, Rtnlgrp.RTNLGRP_IPV6_MCADDR,
    Rtnlgrp.RTNLGRP_IPV6_ACADDR,
)  # fmt: skip


class MessagesLost(AddrsvcError):
    """The kernel said more than the watch's buffer holds: what a watcher knows is no longer whole.  Dump again."""


# --- answers --------------------------------------------------------------------------------------------------------

# What stands before the attributes: the errno, and in an error also the header of the request (NETLINK_CAP_ACK).
_BEFORE_TLVS: Final = {NLMSG_ERROR: NLMSG_HDRLEN + 4 + NLMSG_HDRLEN, NLMSG_DONE: NLMSG_HDRLEN + 4}


def _split(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(offset, type, flags, sequence) of each message in a datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, nlmsg_type, flags, sequence = struct.unpack_from("=IHHI", data, offset)
        yield offset, nlmsg_type, flags, sequence
        offset += max(length + 3 & ~3, 16)


def _check(data: bytes, offset: int, nlmsg_type: int, flags: int) -> None:
    """Raise what a NLMSG_ERROR or NLMSG_DONE says, if it says an error."""
    (code,) = struct.unpack_from("=i", data, offset + 16)
    if code >= 0:
        return
    if not flags & NLM_F_ACK_TLVS:
        raise KernelError(-code)
    raise KernelError(-code, _extack(data, offset + _BEFORE_TLVS[nlmsg_type], offset + _length(data, offset)))


def _length(data: bytes, offset: int) -> int:
    return int(struct.unpack_from("=I", data, offset)[0])


def _extack(data: bytes, start: int, end: int) -> str | None:
    found = nla_parse(data, start, end, NLMSGERR_ATTR_MSG, None, NL_VALIDATE_LIBERAL, ExtAck())
    if NLMSGERR_ATTR_MSG not in found:
        return None
    at, length = found[NLMSGERR_ATTR_MSG]
    return data[at : at + length].rstrip(b"\0").decode("utf-8", "surrogateescape")


# --- the port -----------------------------------------------------------------------------------------------------

_LINKS: Final = LinkMsg(nlmsg_type=RTM_GETLINK, ifi_family=AF_UNSPEC)
_DUMPS: Final[tuple[WireMessage, ...]] = (
    _LINKS,
    AddrMsg(nlmsg_type=RTM_GETADDR, ifa_family=AF_INET, ifa_prefixlen=0),
    AddrMsg(nlmsg_type=RTM_GETADDR, ifa_family=AF_INET6, ifa_prefixlen=0),
    RouteMsg(nlmsg_type=RTM_GETROUTE, rtm_family=AF_INET6),
    AddrMsg(nlmsg_type=RTM_GETMULTICAST, ifa_family=AF_INET6, ifa_prefixlen=0),
)


class RtnlKernel(Operations):
    """One network namespace of the running kernel: a Kernel port (see addrsvc.mirror.kernel).

    It holds the namespace by a descriptor of its own, so `netns` may be closed as soon as this object exists.  It
    belongs to one thread at a time.
    """

    def __init__(self, netns: NetNs) -> None:
        self._netns = netns.dup()
        self._sequence = 0
        try:
            self._socket = run_in(self._netns, _request_socket)
        except BaseException:
            self._netns.close()
            raise

    def __repr__(self) -> str:
        return f"<RtnlKernel: {self._netns.label}>"

    @property
    def netns(self) -> NetNs:
        """The namespace; closed with this object."""
        return self._netns

    def request(self, msg: Message) -> None:
        """Ask for a change and wait for the answer; what it set off by work queues may still be to come.

        Raises:
            KernelError: the kernel refused, with its errno and extack text.
            ControlError: a Sysctl whose name is not below ``net.``.
        """
        if isinstance(msg, Sysctl):
            run_in(self._netns, lambda: _write_sysctl(msg))
            return
        sequence = self._send(msg, NLM_F_REQUEST | NLM_F_ACK)
        _check(*next(answer for answer in self._answers(sequence) if answer[2] == NLMSG_ERROR))

    def ask(self, question: WireMessage) -> list[Message]:
        """What a RTM_GET* request is answered; with NLM_F_DUMP among its flags, all that it lists.

        Raises:
            KernelError: the kernel refused, with its errno and extack text.
        """
        if question.nlmsg_flags & NLM_F_DUMP == NLM_F_DUMP:
            return self._dump_one(question)
        messages: list[Message] = []
        for data, offset, nlmsg_type, flags in self._answers(self._send(question, NLM_F_REQUEST | NLM_F_ACK)):
            if nlmsg_type == NLMSG_ERROR:
                _check(data, offset, nlmsg_type, flags)
                break
            messages.append(decode(data, offset))
        return messages

    def dump(self) -> tuple[Message, ...]:
        """All devices, addresses (IPv4, IPv6), IPv6 routes of main and local, IPv6 multicast memberships.

        Each in the kernel's order; nlmsg_flags are without NLM_F_MULTI and its kin, which say how a dump travels and
        nothing of what it says.

        Raises:
            KernelError: the kernel refused, or never came to rest while we looked (EINTR).
        """
        return tuple(msg for question in _DUMPS for msg in self._dump_one(question) if _wanted(msg))

    def watch(self, *, settle: float = 0.008) -> "RtnlWatch":
        """Subscribe to notifications.

        Args:
            settle: seconds of silence after which the namespace counts as quiet.
        """
        return RtnlWatch(run_in(self._netns, _watch_socket), settle)

    def read_sysctl(self, name: str) -> str:
        """A setting, as its file below /proc/sys reads, without the line feed.

        Raises:
            KernelError: it cannot be opened or read.
            ControlError: its name is not below ``net.``.
        """
        return run_in(self._netns, lambda: _read(_sysctl_path(name))).removesuffix("\n")

    def proc(self, path: str) -> str:
        """What a file below /proc holds in this namespace: ``net/if_inet6``, ``sys/net/ipv6/conf/lo/mtu``.

        Raises:
            KernelError: it cannot be opened or read.
            ControlError: it is not below ``net/`` or ``sys/net/``, which alone differ between namespaces.
        """
        return run_in(self._netns, lambda: _read(_proc_path(path)))

    def ifindex(self, dev: str) -> int:
        """The number of the device of this name.

        Raises:
            KernelError: ENODEV.
        """
        for msg in self._dump_one(_LINKS):
            if isinstance(msg, LinkMsg) and msg.ifname == dev:
                return msg.ifi_index
        raise no_device(dev)

    def close(self) -> None:
        """Close the socket and let go of the namespace.  Watches live on until they are closed."""
        self._socket.close()
        self._netns.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _send(self, msg: WireMessage, flags: int) -> int:
        self._sequence += 1
        self._socket.send(encode(replace(msg, nlmsg_flags=msg.nlmsg_flags | flags), self._sequence))
        return self._sequence

    def _answers(self, sequence: int) -> Iterator[tuple[bytes, int, int, int]]:
        while True:
            data = self._socket.recv(_DATAGRAM)
            for offset, nlmsg_type, flags, number in _split(data):
                if number == sequence:
                    yield data, offset, nlmsg_type, flags

    def _dump_one(self, question: WireMessage) -> list[Message]:
        for _ in range(_DUMP_ATTEMPTS):
            messages, interrupted = self._dump_once(question)
            if not interrupted:
                return messages
        raise KernelError(EINTR, "the namespace changes faster than it can be dumped")

    def _dump_once(self, question: WireMessage) -> tuple[list[Message], bool]:
        messages: list[Message] = []
        interrupted = False
        sequence = self._send(question, NLM_F_REQUEST | NLM_F_DUMP)
        for data, offset, nlmsg_type, flags in self._answers(sequence):
            interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
            if nlmsg_type in (NLMSG_DONE, NLMSG_ERROR):
                _check(data, offset, nlmsg_type, flags)
                break
            messages.append(decode(data, offset, without=_HOW_A_DUMP_TRAVELS))
        return messages, interrupted


def _wanted(msg: Message) -> bool:
    """Whether a dump shows it: of routes those in main and local."""
    return not isinstance(msg, RouteMsg) or msg.table in (RT_TABLE_MAIN, RT_TABLE_LOCAL)


class RtnlWatch:
    """A subscription to what is told of links, addresses, routes and settings: a Watch port (addrsvc.mirror.kernel).

    Attributes:
        settle: seconds of silence after which the namespace counts as quiet; may be set at any time.
    """

    def __init__(self, sock: socket.socket, settle: float) -> None:
        self.settle = settle
        self._socket = sock
        self._pending: deque[Message] = deque()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def fileno(self) -> int:
        """A descriptor that polls readable when there is something to hear; -1 after close()."""
        return self._socket.fileno()

    def __iter__(self) -> Iterator[Message]:
        """Yield what was said since the last look, in the kernel's order, and end when it has been quiet.

        Raises:
            MessagesLost: the kernel dropped messages for want of room.  Iterating again goes on with what is left.
        """
        while self._pending or self._poll.poll(self.settle * 1000):
            if not self._pending:
                self._pending.extend(self._receive())
            while self._pending:
                yield self._pending.popleft()

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to hear, at most so long; whether there is."""
        return bool(self._pending or self._poll.poll(seconds * 1000))

    def now(self) -> float:
        """Seconds on the clock that `wait` goes by: the monotonic one."""
        return time.monotonic()

    def _receive(self) -> Iterator[Message]:
        try:
            data = self._socket.recv(_DATAGRAM)
        except OSError as error:
            if error.errno == ENOBUFS:
                raise MessagesLost("the kernel said more than was read in time") from None
            raise
        for offset, nlmsg_type, _, _ in _split(data):
            if knows(nlmsg_type):
                yield decode(data, offset, without=_HOW_A_DUMP_TRAVELS)

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


# --- called inside the namespace ----------------------------------------------------------------------------------


def _request_socket() -> socket.socket:
    sock = _netlink_socket()
    sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    return sock


def _watch_socket() -> socket.socket:
    sock = _netlink_socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _WATCH_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WATCH_BUFFER)
    for group in _WATCHED:
        _join(sock, group)
    return sock


def _join(sock: socket.socket, group: Rtnlgrp) -> None:
    """Join a group; one that this kernel does not have is one that it has nothing to say to."""
    try:
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError as error:
        if error.errno != EINVAL:
            raise


def _netlink_socket() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.bind((0, 0))
    return sock


def _read(path: str) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise KernelError(error.errno or EIO) from None


def _write_sysctl(sysctl: Sysctl) -> None:
    path = _sysctl_path(sysctl.name)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb", buffering=0) as file:
            file.write(sysctl.value.encode())
    except OSError as error:
        raise KernelError(error.errno or EIO) from None


def _proc_path(path: str) -> str:
    parts = path.split("/")
    if parts[0] == "net":
        parts = ["thread-self", *parts]
    elif parts[:2] != ["sys", "net"]:
        parts = []
    if not all(parts[1:]) or len(parts) < 3 or {".", ".."} & set(parts):
        raise ControlError(f"proc: {path!r} is no path below net/ or sys/net/; an example is net/if_inet6")
    return os.path.join("/proc", *parts)


def _sysctl_path(name: str) -> str:
    parts = [part.replace("/", ".") for part in name.split(".")]
    if parts[0] != "net" or len(parts) < 2 or not all(parts) or "." in parts or ".." in parts:
        raise ControlError(f"sysctl: {name!r} is no name below net.; an example is net.ipv6.conf.lo.disable_ipv6")
    return os.path.join("/proc/sys", *parts)
