"""A listening socket's place in the file system: made, taken over from a dead service, and cleared away.

Beside the socket lies a lock file, held for as long as a service lives.  Whoever gets the lock knows that the socket
next to it belongs to nobody, so two services that start at once cannot both believe that it is stale.  The lock file
says how many of the directories above it were made for it: who takes over from a dead service clears those away too.
"""

import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from addrsvc.daemon.client import ServiceError

__all__ = ["control_socket", "listening_socket"]

_EVERYONE: Final = 0o666
_EVERYONE_ENTERS: Final = 0o755
_BACKLOG: Final = 16


def control_socket(path: Path) -> AbstractContextManager[socket.socket]:
    """The control socket of a service, as `listening_socket` makes it."""
    return listening_socket(
        path, option="--control", running="a service is running already at {} (see: addrsvc status)"
    )


@contextmanager
def listening_socket(
    path: Path,
    *,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    option: str = "--listen",
    running: str = "somebody is listening already at {}",
) -> Iterator[socket.socket]:
    """A listening socket at `path` while the block runs; nothing is left behind: socket, lock or directory.

    Everybody may connect; what one may do is decided by who one is.

    Args:
        path: where.
        kind: SOCK_STREAM or SOCK_SEQPACKET.
        option: by which the user names the place, for the words of a refusal.
        running: what to say where somebody holds the place; {} is the place.

    Raises:
        ServiceError: somebody is listening there, or the path cannot be used; the text says why.
    """
    if os.path.isdir(path):
        raise ServiceError(f"{path} is a directory: name the socket that is to be made ({option} PATH)")
    made: list[Path] = []
    try:
        _make_directories(path.parent, made, option)
        with _lock(path, option, running) as lock, _bound(path, kind) as sock:
            made += _made_by_the_dead(lock, path, made)
            yield sock
    finally:
        for directory in made:
            with suppress(OSError):
                directory.rmdir()


def _make_directories(path: Path, made: list[Path], option: str) -> None:
    """Make what is missing, whatever the umask, and put it into `made`, the innermost first."""
    for directory in reversed((path, *path.parents)):
        try:
            directory.mkdir()
            made.insert(0, directory)
            directory.chmod(_EVERYONE_ENTERS)
        except FileExistsError:
            continue
        except OSError as error:
            raise ServiceError(f"{directory}: {error.strerror} (choose another place with {option})") from None


def _made_by_the_dead(lock: int, path: Path, made: Sequence[Path]) -> Sequence[Path]:
    """The directories that a dead service made; if there was none, leave word of our own."""
    before = os.pread(lock, 8, 0)
    if not before:
        os.pwrite(lock, b"%d" % len(made), 0)
    return path.parents[: int(before)] if before.isdigit() else ()


@contextmanager
def _lock(path: Path, option: str, running: str) -> Iterator[int]:
    name = path.with_name(path.name + ".lock")
    while True:
        descriptor = _open_lock(name, option)
        if _is_ours(descriptor, name, running.format(path)):
            break
        os.close(descriptor)
    try:
        yield descriptor
    finally:
        name.unlink(missing_ok=True)
        os.close(descriptor)


def _open_lock(name: Path, option: str) -> int:
    try:
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError:
        raise ServiceError(f"{name}: permission denied (choose another place with {option})") from None
    except OSError as error:
        raise ServiceError(f"{name}: {error.strerror}") from None


def _is_ours(descriptor: int, name: Path, running: str) -> bool:
    """Whether we hold the lock, on the file that bears the name; the last holder may have removed it meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ServiceError(running) from None
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(name))
    return False


@contextmanager
def _bound(path: Path, kind: socket.SocketKind) -> Iterator[socket.socket]:
    _clear(path, kind)
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.bind(os.fspath(path))
        except OSError as error:
            raise ServiceError(f"{path}: {error.strerror or error}") from None
        try:
            path.chmod(_EVERYONE)
            sock.listen(_BACKLOG)
            yield sock
        finally:
            path.unlink(missing_ok=True)


def _clear(path: Path, kind: socket.SocketKind) -> None:
    """Remove the socket of a dead service; anything else is not ours to remove."""
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise ServiceError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise ServiceError(f"{path}: {error.strerror}") from None
        else:
            raise ServiceError(f"somebody is listening already at {path}")
