"""The two sides: sockets in fresh namespaces of the running kernel, and the same sockets of a fresh model."""

import ctypes
import errno
import os
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Final

from addrsvc import Linux
from addrsvc.af_netlink.sock import NetlinkSock
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.netlink.messages import Sysctl as SysctlMsg
from addrsvc.pytest_plugin.namespaces import create
from tests.fidelity.steps import (
    EARS,
    ELSEWHERE,
    LAGGARD,
    LISTENER,
    OUTSIDER,
    RESIDENT,
    SECOND,
    SOCKETS,
    SOL_NETLINK,
    SOL_SOCKET,
    WHOLE,
    Bind,
    Connect,
    Datagram,
    Getsockname,
    Getsockopt,
    Heard,
    Op,
    Read,
    Reopen,
    Send,
    Setsockopt,
    Sysctl,
)

__all__ = ["Modelled", "Running", "Twin"]

GROUPS: Final = 39
SO_RCVBUF, SO_RCVBUFFORCE = 8, 33
ADD_MEMBERSHIP, PKTINFO, LISTEN_ALL_NSID, LIST_MEMBERSHIPS = 1, 3, 8, 9
PORTS: Final = {LISTENER: 1000, SECOND: 2000, LAGGARD: 3000, OUTSIDER: 4000, ELSEWHERE: 5000}
"""Port ids taken at the start; ASKER's is automatic."""
LAG: Final = 4096
"""SO_RCVBUF of LAGGARD."""
LAGGARD_GROUPS: Final = 0x7FB
"""The first eleven, but for NEIGH, whose messages come at random times."""
_S32: Final = Struct("=i")
_FAULTS: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, StructError, TypeError, ValueError)
"""What nothing that is sent may make the model raise: no kernel answers so, and a difference can be made smaller."""
_HDRLEN: Final = 16
_RESIDENT: Final = _S32.pack(RESIDENT)
_NLMSG_ERROR: Final = b"\2\0"


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, str(number))


# --- the running kernel -----------------------------------------------------------------------------------------------

_CAP_NET_BROADCAST, _CAP_NET_ADMIN = 11, 12


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def give_up_privilege() -> None:
    """Take CAP_NET_ADMIN and CAP_NET_BROADCAST from the calling thread: capset(2) is about one thread."""
    head, data = _CapHeader(0x20080522, 0), (_CapData * 2)()
    if _LIBC.capget(ctypes.byref(head), data) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    data[0].effective &= ~(1 << _CAP_NET_ADMIN | 1 << _CAP_NET_BROADCAST)
    if _LIBC.capset(ctypes.byref(head), data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


class _Resident:
    """A thread that lives in a namespace, or a process where no thread can, by whose number a request can name that."""

    def __init__(self, netns: NetNs) -> None:
        self._told, self._tells = os.pipe()
        hears, says = os.pipe()

        def live() -> None:
            os.write(says, _S32.pack(threading.get_native_id()))
            os.read(self._told, 1)

        def lodge() -> None:
            try:
                run_in(netns, live)
            finally:
                os.close(says)

        self._thread = threading.Thread(target=lodge, name="resident")
        self._thread.start()
        with open(hears, "rb", buffering=0) as ear:
            (self.pid,) = _S32.unpack(ear.read(_S32.size))

    def close(self) -> None:
        os.write(self._tells, b".")
        self._thread.join()
        os.close(self._told)
        os.close(self._tells)


class Running:
    """A fresh namespace of the running kernel and another one, and sockets that were opened in them.

    What OUTSIDER does is done by a thread of its own that is as unprivileged as its socket.
    """

    def __init__(self) -> None:
        self._netns, self._other = create("compared"), create("elsewhere")
        self._resident = _Resident(self._other)
        self._unprivileged = ThreadPoolExecutor(1, "outsider", give_up_privilege)
        self._socks = {by: self._opened(by) for by in SOCKETS}
        self._poll = select.poll()
        for by in EARS:
            self._poll.register(self._socks[by], select.POLLIN)

    def _home(self, by: int) -> NetNs:
        return self._other if by == ELSEWHERE else self._netns

    def _opened(self, by: int) -> socket.socket:
        opened: socket.socket = run_in(self._home(by), _new_socket if by != OUTSIDER else _new_unprivileged_socket)
        if by in PORTS:
            opened.bind((PORTS[by], LAGGARD_GROUPS if by == LAGGARD else 0))
        if by in EARS:
            opened.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
            opened.setsockopt(SOL_NETLINK, PKTINFO, 1)
            for group in range(1, GROUPS + 1):
                opened.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        if by == LAGGARD:
            opened.setsockopt(SOL_SOCKET, SO_RCVBUF, LAG)
        return opened

    def do(self, op: Op) -> object:
        if op.by == OUTSIDER:
            return self._unprivileged.submit(self._do, op).result()
        return self._do(op)

    def _do(self, op: Op) -> object:
        try:
            return self._done(op)
        except OSError as error:
            return _name(error.errno)

    def _done(self, op: Op) -> object:
        sock, done = self._socks[op.by], None
        match op:
            case Send():
                data = _replaced(op.data, _HDRLEN, _RESIDENT, _S32.pack(self._resident.pid))
                return sock.sendto(data, (op.to, op.groups)) if op.to or op.groups else sock.send(data)
            case Read():
                return self._read(sock, op.size, op.flags)
            case Getsockopt():
                return _getsockopt(sock, op.level, op.option, op.length)
            case Getsockname():
                return sock.getsockname()
            case Sysctl():
                return run_in(self._home(op.by), lambda: _sysctl(op))
            case Setsockopt():
                sock.setsockopt(op.level, op.option, op.value)
            case Bind():
                sock.bind((op.pid, op.groups))
            case Connect():
                sock.connect((op.pid, op.groups))
            case Reopen():
                sock.close()
                self._socks[op.by] = run_in(self._netns, _new_socket)
        return done

    def _read(self, sock: socket.socket, size: int, flags: int) -> Heard:
        try:
            data, ancillary, msg_flags, (portid, groups) = sock.recvmsg(size, 256, flags)
        except OSError as error:
            return _name(error.errno)
        if portid or data[4:6] == _NLMSG_ERROR:  # what was sent comes back
            data = _replaced(data, _HDRLEN if portid else 2 * _HDRLEN + 4, _S32.pack(self._resident.pid), _RESIDENT)
        return Datagram(data, msg_flags & ~socket.MSG_CMSG_CLOEXEC, portid, groups, *_control(ancillary))

    def hear(self, by: int) -> list[Heard]:
        heard: list[Heard] = []
        while (found := self._read(self._socks[by], WHOLE, 0)) != "EAGAIN":
            heard.append(found)
        return heard

    def wait(self, seconds: float) -> None:
        self._poll.poll(seconds * 1000)

    def portid(self, by: int) -> int:
        return int(self._socks[by].getsockname()[0])

    def close(self) -> None:
        self._unprivileged.shutdown()
        self._resident.close()
        for sock in self._socks.values():
            sock.close()
        self._netns.close()
        self._other.close()


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)


def _new_unprivileged_socket() -> socket.socket:
    """To be called in a thread that ends soon."""
    give_up_privilege()
    return _new_socket()


def _replaced(data: bytes, start: int, word: bytes, by: bytes) -> bytes:
    """A datagram with one of its words replaced wherever it is, from `start` on."""
    words = [data[at : at + 4] for at in range(start, len(data), 4)]
    return data[:start] + b"".join(by if each == word else each for each in words)


def _control(ancillary: list[tuple[int, int, bytes]]) -> tuple[int | None, int | None]:
    """The group and the id of the namespace that a datagram comes from, where it says so."""
    told = {kind: _S32.unpack_from(data)[0] for level, kind, data in ancillary if level == SOL_NETLINK}
    return told.get(PKTINFO), told.get(LISTEN_ALL_NSID)


_LIBC = ctypes.CDLL(None, use_errno=True)


def _getsockopt(sock: socket.socket, level: int, option: int, length: int) -> tuple[int, bytes]:
    """What comes back, and the length that the kernel says it has, which may be another."""
    buffer, size = ctypes.create_string_buffer(max(length, 0) + 64), ctypes.c_int(length)
    if _LIBC.getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(size)) != 0:
        raise OSError(ctypes.get_errno(), "getsockopt")
    return size.value, buffer.raw[: max(length, 0)]


def _sysctl(op: Sysctl) -> str | None:
    path = Path("/proc/sys") / op.path
    if op.value is None:
        return path.read_text()
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, op.value.encode())
    finally:
        os.close(fd)
    return None


class Twin(Running):
    """A second namespace of the running kernel in the model's place: it says all that it has to say when asked."""

    _QUIET = 0.004

    def hear(self, by: int) -> list[Heard]:
        heard = super().hear(by)
        while by == LISTENER:
            self.wait(self._QUIET)
            if not (more := super().hear(by)):
                break
            heard += more
        return heard


# --- the model --------------------------------------------------------------------------------------------------------


class Modelled:
    """A fresh model, with a clock that follows ours."""

    def __init__(self) -> None:
        self._linux = Linux(effects=False)
        self._linux.advance(1)  # so that no time stamp is 0
        self._net = self._linux.add_net("campaign")
        self._other = self._linux.add_net("elsewhere")
        self._now = time.monotonic()
        self._socks = {by: self._open(by) for by in SOCKETS}

    def _home(self, by: int) -> Namespace:
        return self._other if by == ELSEWHERE else self._net

    def _open(self, by: int) -> NetlinkSock:
        pid = RESIDENT if by == ELSEWHERE else os.getpid()
        sock = self._home(by).socket(pid=pid, admin=by != OUTSIDER, uid=os.getuid())
        if by in PORTS:
            sock.bind(PORTS[by], LAGGARD_GROUPS if by == LAGGARD else 0)
        if by in EARS:
            sock.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
            sock.setsockopt(SOL_NETLINK, PKTINFO, 1)
            for group in range(1, GROUPS + 1):
                sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        if by == LAGGARD:
            sock.setsockopt(SOL_SOCKET, SO_RCVBUF, LAG)
        return sock

    def do(self, op: Op) -> object:
        now = time.monotonic()
        self._linux.advance(now - self._now)
        self._now = now
        try:
            return self._done(op)
        except KernelError as error:
            return _name(error.errno)
        except _FAULTS as fault:
            return f"raised {fault!r}"

    def _done(self, op: Op) -> object:
        sock, done = self._socks[op.by], None
        match op:
            case Send():
                return sock.send(op.data, op.to, op.groups) if op.to or op.groups else sock.send(op.data)
            case Read():
                return self._read(sock, op.size, op.flags)
            case Getsockopt():
                return _getsockopt_of_the_model(sock, op)
            case Getsockname():
                return sock.getsockname()
            case Sysctl():
                return self._sysctl(op)
            case Setsockopt():
                # The kernel takes no value from too short a one.
                value = _S32.unpack(op.value)[0] if len(op.value) == _S32.size else 0
                sock.setsockopt(op.level, op.option, value)
            case Bind():
                sock.bind(op.pid, op.groups)
            case Connect():
                sock.connect(op.pid, op.groups)
            case Reopen():
                sock.close()
                self._socks[op.by] = self._net.socket(pid=os.getpid(), admin=op.by != OUTSIDER, uid=os.getuid())
        return done

    def _sysctl(self, op: Sysctl) -> str | None:
        name = op.path.translate(str.maketrans("/.", "./"))
        if op.value is None:
            return self._home(op.by).sysctl(name) + "\n"
        self._home(op.by).request(SysctlMsg(name, op.value))
        return None

    def _read(self, sock: NetlinkSock, size: int, flags: int) -> Heard:
        try:
            found = sock.recv(size, peek=bool(flags & socket.MSG_PEEK))
        except KernelError as error:
            return _name(error.errno)
        kept = found.data[:size]
        told = socket.MSG_TRUNC if len(kept) < len(found.data) else 0
        return Datagram(kept, told, found.portid, found.nl_groups, found.group if sock.pktinfo else None, found.nsid)

    def hear(self, by: int) -> list[Heard]:
        heard: list[Heard] = []
        while (found := self._read(self._socks[by], WHOLE, 0)) != "EAGAIN":
            heard.append(found)
        return heard

    def wait(self, seconds: float) -> None:
        """Everything has been said."""

    def portid(self, by: int) -> int:
        return self._socks[by].getsockname()[0]

    def close(self) -> None:
        """Nothing to let go of."""


def _getsockopt_of_the_model(sock: NetlinkSock, op: Getsockopt) -> tuple[int, bytes]:
    """As getsockopt(2) has it: a membership list is copied by whole words."""
    value = sock.getsockopt(op.level, op.option, op.length)
    kept = value[: op.length & ~3 if op.option == LIST_MEMBERSHIPS and op.level == SOL_NETLINK else op.length]
    return len(value), kept.ljust(op.length, b"\0")
