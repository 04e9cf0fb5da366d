"""Network namespaces: made, held by file descriptor, entered in a thread that ends there.

A thread that has entered a namespace never leaves it and is never used again, so there is nothing to restore.  What
was opened inside (a netlink socket) keeps working outside.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST, EINVAL, ENOTTY, EPERM
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

from addrsvc.errors import ControlError, KernelError
from addrsvc.mirror.child import Descriptor, in_a_child
from addrsvc.mirror.libc import (
    CLONE_NEWNET,
    CLONE_NEWUSER,
    MS_BIND,
    MS_REC,
    MS_SHARED,
    NotMounted,
    die_with_parent,
    mount,
    setns,
    umount,
    unshare,
)

__all__ = [
    "HOST", "NETNS_RUN_DIR", "THIS_ONE", "Identity", "NetNs", "NoNetns", "claim", "create_anonymous", "create_named",
    "create_rootless", "has_cap_sys_admin", "is_netns", "leads_to", "open_netns", "remove_named", "run_in",
]  # fmt: skip

T = TypeVar("T")

Identity: TypeAlias = tuple[int, int]
"""Device and inode number, which tell a namespace from every other one alive."""

NETNS_RUN_DIR: Final = Path("/run/netns")
HOST: Final = "host"
"""The word for the namespace that the calling thread is in: "this one", not that of process 1."""

THIS_ONE: Final = "/proc/thread-self/ns/net"
"""The namespace that the calling thread is in."""
_NS_GET_USERNS: Final = 0xB701
_NS_GET_NSTYPE: Final = 0xB703
_CAP_SYS_ADMIN: Final = 1 << 21


class NoNetns(ControlError):
    """A name leads to no network namespace."""


class NetNs:
    """A network namespace, kept alive by the descriptor that this object owns.

    Attributes:
        label: what it is called in messages to people: ``network namespace "blue"``.
    """

    def __init__(self, fd: int, label: str) -> None:
        self._fd = fd
        self.label = label

    def fileno(self) -> int:
        """The descriptor; -1 after close()."""
        return self._fd

    @property
    def inode(self) -> int:
        """The number that tells this namespace from every other one alive."""
        return os.fstat(self._fd).st_ino

    @property
    def identity(self) -> Identity:
        """What tells this namespace from every other one alive."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def dup(self) -> "NetNs":
        """Another handle on the same namespace, with a life of its own."""
        return NetNs(os.dup(self._fd), self.label)

    def close(self) -> None:
        """Let go of the namespace.  Closing twice is no error."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<NetNs: {self.label}>"


# --- open -------------------------------------------------------------------------------------------------------


def open_netns(spec: str) -> NetNs:
    """Hold the namespace that `spec` names.

    Args:
        spec: ``host`` for this one, a process id, a path (anything with a slash), or a name below /run/netns.

    Raises:
        NoNetns: there is no such namespace, or it is none.
        ControlError: `spec` is empty or cannot be a name.
        KernelError: it needs a privilege; the text says which.
    """
    path = _path(spec)
    label = f"network namespace of process {spec}" if spec.isdecimal() else _called(spec)
    with _refusals(label, "opening", "CAP_SYS_PTRACE"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    netns = NetNs(fd, label)
    if not is_netns(fd):
        netns.close()
        raise NoNetns(f"{path} is not a network namespace")
    return netns


def leads_to(spec: str) -> Identity | None:
    """The namespace that `spec` names now; None where it names none.

    Raises:
        ControlError: `spec` is empty or cannot be a name.
    """
    try:
        status = os.stat(_path(spec))
    except OSError:
        return None
    return status.st_dev, status.st_ino


def claim(netns: NetNs) -> None:
    """Be the only one who mirrors onto a namespace, until the last handle that was made of this one is closed.

    It is the lock of `addrsvc.mirror.lock`.

    Raises:
        ControlError: another one does.
    """
    from addrsvc.mirror.lock import lock, owner

    if not lock(netns.fileno()):
        pid = owner(netns.fileno())
        raise ControlError(f"{netns.label} is mirrored onto already{f' by process {pid}' if pid else ''}")


def _path(spec: str) -> str:
    if spec == HOST:
        return THIS_ONE
    if "/" in spec:
        return spec
    return f"/proc/{spec}/ns/net" if spec.isdecimal() else str(_named(spec))


def _called(name: str) -> str:
    return f'network namespace "{name}"'


def _named(name: str) -> Path:
    if not name or "/" in name or name in (".", "..", HOST) or name.isdecimal():
        raise ControlError(
            f"netns: {name!r} is no name; accepted are a file name below {NETNS_RUN_DIR} (not a number), "
            f"a path, a process id or {HOST!r}"
        )
    return NETNS_RUN_DIR / name


def is_netns(fd: int) -> bool:
    """Whether a descriptor is of a network namespace."""
    from fcntl import ioctl

    try:
        return ioctl(fd, _NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError as error:
        if error.errno in (ENOTTY, EINVAL):
            return False
        raise


@contextmanager
def _refusals(label: str, doing: str, capability: str) -> Iterator[None]:
    """Say which namespace, and which capability was missing, in place of a bare errno."""
    try:
        yield
    except KernelError:
        raise
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        raise NoNetns(f"no {label}") from None
    except FileExistsError:
        raise KernelError(EEXIST, f"{label} exists already") from None
    except PermissionError as error:
        raise KernelError(error.errno or EPERM, f"{doing} {label} needs {capability}") from None
    except OSError as error:
        raise KernelError(error.errno or EINVAL, f"{doing} {label}: {error.strerror}") from None


# --- enter ------------------------------------------------------------------------------------------------------


def run_in(netns: NetNs, function: Callable[[], T]) -> T:
    """Call `function` in a thread that is inside `netns` and ends there; its result or its exception comes back.

    Nothing is entered, and no privilege needed, where the caller is inside already.  A namespace that belongs to a
    user namespace of the caller's (see `create_rootless`) is entered by a child process instead, if the caller has no
    privilege: what comes back is a copy then, sockets in it are sockets, and what else `function` changes is lost.

    Raises:
        KernelError: the namespace cannot be entered (CAP_SYS_ADMIN).
    """

    def inside() -> T:
        if not _is_here(netns):
            with _refusals(netns.label, "entering", "CAP_SYS_ADMIN"):
                setns(netns.fileno(), CLONE_NEWNET)
        return function()

    def inside_its_user_namespace() -> T:
        with _refusals(netns.label, "entering", "CAP_SYS_ADMIN"):
            _enter_user_namespace(netns)
        return inside()

    if _is_here(netns) or has_cap_sys_admin() or not _has_a_user_namespace_of_its_own(netns):
        return _in_a_thread(inside)
    return in_a_child(inside_its_user_namespace)


def _is_here(netns: NetNs) -> bool:
    return os.path.samestat(os.stat(THIS_ONE), os.fstat(netns.fileno()))


def has_cap_sys_admin() -> bool:
    """Whether the calling thread has CAP_SYS_ADMIN where it is, and so in every user namespace below."""
    (line,) = (line for line in Path("/proc/thread-self/status").read_text().splitlines() if line.startswith("CapEff"))
    return bool(int(line.split()[1], 16) & _CAP_SYS_ADMIN)


def _has_a_user_namespace_of_its_own(netns: NetNs) -> bool:
    """Whether it belongs to another user namespace than ours, and one that we may ask for."""
    try:
        with open(_user_namespace(netns)) as user:
            return not os.path.samestat(os.stat("/proc/thread-self/ns/user"), os.fstat(user.fileno()))
    except OSError:
        return False


def _user_namespace(netns: NetNs) -> int:
    """A new descriptor of the user namespace that a network namespace belongs to."""
    from fcntl import ioctl

    return ioctl(netns.fileno(), _NS_GET_USERNS)


def _enter_user_namespace(netns: NetNs) -> None:
    """Enter the user namespace of a network namespace, and be root there: for a process of one thread."""
    setns(_user_namespace(netns), CLONE_NEWUSER)
    die_with_parent()


def _in_a_thread(function: Callable[[], T]) -> T:
    """Run `function` in a thread of its own, which ends with it."""
    done: list[T] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            done.append(function())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failed:
        raise failed.pop()
    return done.pop()


# --- make and remove ----------------------------------------------------------------------------------------------


def create_anonymous(label: str = "anonymous") -> NetNs:
    """Make a namespace that has no name and ends when the last descriptor on it is closed.

    Raises:
        KernelError: CAP_SYS_ADMIN is missing.
    """
    return _in_a_thread(lambda: _unshared(_called(label)))


def create_rootless(label: str = "anonymous") -> NetNs:
    """Make a namespace without a name that belongs to a user namespace of its own, where the caller is root.

    That needs no privilege where everybody may have user namespaces.  Nothing is left running: both namespaces last as
    long as the descriptor.

    Raises:
        KernelError: this system keeps user namespaces to the privileged, or has no more of them.
    """
    try:
        return NetNs(in_a_child(_unshared_with_user).fd, _called(label))
    except OSError as error:
        raise KernelError(error.errno or EPERM, f"creating {_called(label)} needs {_A_USER_NAMESPACE}") from None


_A_USER_NAMESPACE: Final = (
    "CAP_SYS_ADMIN or a user namespace; see user.max_user_namespaces, kernel.unprivileged_userns_clone and "
    "kernel.apparmor_restrict_unprivileged_userns"
)


def _unshared_with_user() -> Descriptor:
    """Give the calling process, which must be of one thread, a new user and a new network namespace."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    die_with_parent()
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/thread-self", name).write_text(text)
    return Descriptor(os.open(THIS_ONE, os.O_RDONLY | os.O_CLOEXEC))


def create_named(name: str) -> NetNs:
    """Make a namespace below /run/netns, as ``ip netns add`` does, and hold it.

    Raises:
        ControlError: `name` cannot be a name.
        KernelError: it exists already, or CAP_SYS_ADMIN is missing.
    """
    path = _named(name)
    with _refusals(_called(name), "creating", "CAP_SYS_ADMIN"):
        _share_run_dir()
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        try:
            return _in_a_thread(lambda: _unshared(_called(name), mounted_on=path))
        except BaseException:
            path.unlink()
            raise


def remove_named(name: str) -> None:
    """Take the name away, as ``ip netns del`` does; the namespace ends when nobody holds it any more.

    Raises:
        ControlError: `name` cannot be a name.
        NoNetns: there is none.
        KernelError: CAP_SYS_ADMIN is missing.
    """
    path = _named(name)
    with _refusals(_called(name), "removing", "CAP_SYS_ADMIN"):
        with suppress(NotMounted):
            umount(path)
        path.unlink()


def _unshared(label: str, mounted_on: Path | None = None) -> NetNs:
    """Give the calling thread, which must end soon, a new namespace."""
    with _refusals(label, "creating", "CAP_SYS_ADMIN"):
        unshare(CLONE_NEWNET)
        if mounted_on is not None:
            mount(THIS_ONE, mounted_on, MS_BIND)
        return NetNs(os.open(THIS_ONE, os.O_RDONLY | os.O_CLOEXEC), label)


def _share_run_dir() -> None:
    """Make /run/netns a shared mount, so that names come and go in every mount namespace alike."""
    NETNS_RUN_DIR.mkdir(mode=0o755, exist_ok=True)
    try:
        mount("", NETNS_RUN_DIR, MS_SHARED | MS_REC)
    except NotMounted:
        mount(str(NETNS_RUN_DIR), NETNS_RUN_DIR, MS_BIND | MS_REC)
        mount("", NETNS_RUN_DIR, MS_SHARED | MS_REC)
