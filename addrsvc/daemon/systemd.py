"""What systemd and a service tell each other: readiness, life, and descriptors that one keeps for the other.

All of it is environment variables and datagrams, so there is no library.  Outside systemd everything here does nothing.
"""

import array
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

__all__ = [
    "NETLINK", "PROBE", "Passed", "forget", "forgetting", "has_manager", "inherited_socket", "listening_socket",
    "netlink_sockets", "notify", "passed_descriptors", "passed_socket", "reloading", "runtime_directory", "store",
    "storing", "watchdog_period",
]  # fmt: skip

NETLINK: Final = "netlink-"
"""What the name of a netlink socket begins with that systemd opened; the rest is what its namespace is called."""
PROBE: Final = "probe"
"""The name of an IPv6 socket that a service may bind to see whether that can be done."""

_LISTEN_FDS_START: Final = 3
_LISTEN: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_PATIENCE: Final = 1.0
"""How many seconds a manager whose queue is full may take; a service does not hang because its manager does."""


# --- to the service manager -----------------------------------------------------------------------------------------


def has_manager() -> bool:
    """Whether there is a service manager that wants to be told anything."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(*states: str, fds: Sequence[int] = ()) -> bool:
    """Tell the service manager, ``notify("READY=1", "STATUS=serving")``.

    Args:
        states: assignments, as sd_notify(3) has them.
        fds: descriptors that go along; they stay the caller's.

    Returns:
        Whether it was told: there may be none, or it may not listen, as it does not while it is replaced by a new one.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return False
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(_PATIENCE)
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.sendmsg(["\n".join(states).encode()], rights)
    except OSError:
        return False
    return True


def reloading() -> bool:
    """Tell that another configuration is being read; ``READY=1`` ends that, whether it is taken or not."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_period() -> float | None:
    """Within how many seconds ``WATCHDOG=1`` is to be told, again and again; None if nobody waits for it.

    Half of it is a good interval.
    """
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not usec.isdecimal() or pid not in (None, str(os.getpid())):
        return None
    return int(usec) / 1e6 or None


def store(name: str, *fds: int) -> bool:
    """Let the service manager keep descriptors: whoever runs after us finds them among the passed ones.

    It keeps them alive, and with them a namespace, until `forget`.  They are not polled, since a netlink socket that
    was overrun shows an error, and would be dropped when it is needed most.  A unit keeps FileDescriptorStoreMax=.

    Args:
        name: by which they are found again: printable ASCII without a colon, 255 characters at most.
        fds: the descriptors, 253 at most.
    """
    return notify(*storing(name), fds=fds)


def storing(name: str) -> tuple[str, ...]:
    """What `store` says, for who says it in another way."""
    return "FDSTORE=1", f"FDNAME={name}", "FDPOLL=0"


def forget(name: str) -> bool:
    """Let the service manager close what it keeps by this name."""
    return notify(*forgetting(name))


def forgetting(name: str) -> tuple[str, ...]:
    """What `forget` says, for who says it in another way."""
    return "FDSTOREREMOVE=1", f"FDNAME={name}"


# --- from the service manager ---------------------------------------------------------------------------------------


class Passed(NamedTuple):
    """A descriptor that systemd passed.

    Attributes:
        name: of `store`, or of FileDescriptorName= in a socket unit; that unit's own name where it says none.
        fd: the descriptor, which no child inherits.
    """

    name: str
    fd: int


def passed_descriptors() -> list[Passed]:
    """What systemd passed to this very process, sockets that it bound and descriptors that it kept, in its order.

    The variables are taken out of the environment, so that no child believes they are meant for it; a second call
    finds nothing.  The descriptors are the caller's.

    Raises:
        OSError: a descriptor that was announced is not open.
    """
    pid, count, names, _ = (os.environ.pop(variable, "") for variable in _LISTEN)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    fds = range(_LISTEN_FDS_START, _LISTEN_FDS_START + int(count))
    for fd in fds:
        os.set_inheritable(fd, False)  # noqa: FBT003
    named = names.split(":") if names else []
    return [Passed(name, fd) for name, fd in zip([*named, *[""] * len(fds)], fds, strict=False)]


def runtime_directory(name: str) -> Path | None:
    """The directory of this name that systemd has made for this service, to last as long as it runs; None if none."""
    paths = map(Path, os.environ.get("RUNTIME_DIRECTORY", "").split(":"))
    return next((path for path in paths if path.name == name), None)


def listening_socket(
    passed: list[Passed], name: str, kind: socket.SocketKind = socket.SOCK_STREAM
) -> socket.socket | None:
    """Take the listening Unix socket of this name out of what was passed; None if there is none.

    Raises:
        OSError: it is no socket.
        ValueError: it is no listening Unix socket of this kind.
    """
    sock = passed_socket(passed, name)
    return None if sock is None else _checked(sock, kind)


def passed_socket(passed: list[Passed], name: str) -> socket.socket | None:
    """Take the socket of this name out of what was passed; None if there is none.

    Raises:
        OSError: it is no socket.
    """
    for found in passed:
        if found.name == name:
            passed.remove(found)
            return socket.socket(fileno=found.fd)
    return None


def netlink_sockets(passed: list[Passed], prefix: str = NETLINK) -> dict[str, socket.socket]:
    """Take the netlink sockets out of what was passed, by what stands behind a prefix of their names.

    By default those that systemd opened in namespaces (addrsvc-netlink@.socket), by what these are called.  Of several
    that are called alike it is the first.

    Raises:
        OSError: something that is named like one is no socket.
        ValueError: it is another socket.
    """
    found: dict[str, socket.socket] = {}
    for each in [each for each in passed if each.name.startswith(prefix)]:
        passed.remove(each)
        sock = socket.socket(fileno=each.fd)
        if (sock.family, sock.proto) != (socket.AF_NETLINK, socket.NETLINK_ROUTE):
            sock.close()
            raise ValueError(f"systemd passed {each.name}, which is no netlink socket")
        if found.setdefault(each.name.removeprefix(prefix), sock) is not sock:
            sock.close()
    return found


def inherited_socket(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket | None:
    """The one listening Unix socket that systemd passed to this very process, or None if it passed none.

    For a service that can do nothing with more; see `passed_descriptors` for one that can.

    Raises:
        OSError: the descriptor that was announced is not open, or is no socket.
        ValueError: what was passed is not one listening Unix socket of this kind.
    """
    passed = passed_descriptors()
    if not passed:
        return None
    if len(passed) != 1:
        raise ValueError(f"systemd passed {len(passed)} sockets, one was expected")
    return _checked(socket.socket(fileno=passed[0].fd), kind)


def _checked(sock: socket.socket, kind: socket.SocketKind) -> socket.socket:
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if (sock.family, sock.type) == (socket.AF_UNIX, kind) and listening:
        return sock
    sock.close()
    word = {socket.SOCK_STREAM: "stream", socket.SOCK_SEQPACKET: "seqpacket"}[kind]
    raise ValueError(f"systemd passed a socket that is no listening Unix {word} socket")
