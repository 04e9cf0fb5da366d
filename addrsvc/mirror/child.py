"""A function called in a child process: for what no thread can do, such as entering a user namespace.

What it returns or raises comes back as a copy, sockets in it as sockets.  What else it changes in memory is lost.
"""

import os
import pickle
import socket
import traceback
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Final, NoReturn, TypeVar, cast

from addrsvc.mirror.libc import die_with_parent

__all__ = ["Descriptor", "in_a_child"]

T = TypeVar("T")

_SCM_MAX_FD: Final = 253
_CHUNK: Final = 1 << 16


class Descriptor:
    """A file descriptor on its way from a child process to its parent, which has to close it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


def in_a_child(function: Callable[[], T]) -> T:
    """Call `function` in a forked process and give back what it returned, or raise what it raised.

    Raises:
        TypeError: the result is nothing that can be copied.
        ChildProcessError: the process ended without an answer.
    """
    ours, theirs = socket.socketpair()
    with ours:
        child = _fork()
        if child == 0:
            _answer(theirs, function)
        theirs.close()
        answer = _hear(ours)
    _, status = os.waitpid(child, 0)
    if not answer:
        raise ChildProcessError(f"the child process gave no answer (exit status {os.waitstatus_to_exitcode(status)})")
    error, result = answer
    if error is not None:
        raise error
    return cast(T, result)


def _fork() -> int:
    """Fork, without the warning of newer Pythons where there are other threads: the child starts none of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


# --- in the child -----------------------------------------------------------------------------------------------------


def _answer(sock: socket.socket, function: Callable[[], object]) -> NoReturn:
    """Send what comes of `function` and end, leaving to the parent all that is the parent's."""
    try:
        die_with_parent()
        _result, (data, fds) = _outcome(function)
        socket.send_fds(sock, [b"\0"], fds)
        sock.sendall(data)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _outcome(function: Callable[[], object]) -> tuple[object, tuple[bytes, list[int]]]:
    """The result, which keeps its descriptors open, and how it is told."""
    try:
        result = function()
        return result, _dump_result(result)
    except BaseException as error:
        error.add_note(f"In the child process:\n{traceback.format_exc()}")
        return None, _dump((_portable(error), None))


def _dump_result(result: object) -> tuple[bytes, list[int]]:
    try:
        return _dump((None, result))
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise TypeError(f"the result cannot be copied out of the child process: {error}") from None


def _portable(error: BaseException) -> BaseException:
    """The error, if it survives being copied; else one that tells of it."""
    try:
        pickle.loads(pickle.dumps(error))
    except (AttributeError, TypeError, ValueError, pickle.PickleError):
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


class _Pickler(pickle.Pickler):
    """Leaves descriptors out of what it writes, and remembers them."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self.fds: list[int] = []

    def persistent_id(self, obj: object) -> tuple[str, int] | None:
        """What stands for a descriptor: what it is, and which."""
        match obj:
            case socket.socket():
                self.fds.append(obj.fileno())
                return "socket", len(self.fds) - 1
            case Descriptor():
                self.fds.append(obj.fd)
                return "descriptor", len(self.fds) - 1
        return None


def _dump(outcome: object) -> tuple[bytes, list[int]]:
    buffer = BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(outcome)
    return buffer.getvalue(), pickler.fds


# --- in the parent ----------------------------------------------------------------------------------------------------


def _hear(sock: socket.socket) -> tuple[BaseException | None, object] | None:
    start, fds, _, _ = socket.recv_fds(sock, 1, _SCM_MAX_FD)
    if not start:
        return None
    data = b"".join(iter(lambda: sock.recv(_CHUNK), b""))
    outcome: tuple[BaseException | None, object] = _Unpickler(BytesIO(data), fds).load()
    return outcome


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BytesIO, fds: list[int]) -> None:
        super().__init__(file)
        self._fds = fds

    def persistent_load(self, pid: tuple[str, int]) -> object:
        """Make of a received descriptor what it was."""
        kind, nth = pid
        fd = self._fds[nth]
        os.set_inheritable(fd, False)  # noqa: FBT003 - the system call has it so
        return socket.socket(fileno=fd) if kind == "socket" else Descriptor(fd)
