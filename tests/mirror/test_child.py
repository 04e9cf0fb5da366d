"""addrsvc.mirror.child: what comes back of a function that is called in a child process."""

import os
import signal
import socket
import threading
import warnings
from errno import EINVAL
from pathlib import Path

import pytest

from addrsvc.errors import KernelError
from addrsvc.mirror.child import Descriptor, in_a_child
from addrsvc.pytest_plugin import check_leaks


def test_it_is_called_in_a_process_of_its_own_that_has_ended() -> None:
    pid = in_a_child(os.getpid)

    assert pid != os.getpid()
    assert not Path("/proc", str(pid)).exists()


def test_what_it_changes_in_memory_is_lost() -> None:
    changed: list[int] = []

    assert in_a_child(lambda: changed.append(1)) is None
    assert changed == []


def test_its_result_comes_back_as_a_copy_however_large() -> None:
    result = {"bytes": bytes(3_000_000), "nested": [(1, "a"), None]}

    assert in_a_child(lambda: result) == result


def test_sockets_and_descriptors_come_back_open_and_private() -> None:
    def opened() -> tuple[list[socket.socket], Descriptor]:
        return list(socket.socketpair()), Descriptor(os.open(__file__, os.O_RDONLY))

    (one, other), descriptor = in_a_child(opened)
    with one, other, open(descriptor.fd) as file:
        one.sendall(b"through")
        assert (other.recv(9), other.family) == (b"through", socket.AF_UNIX)
        assert file.read() == Path(__file__).read_text()
        assert [os.get_inheritable(end.fileno()) for end in (one, other, file)] == [False] * 3


@pytest.mark.parametrize("error", [KernelError(EINVAL, "the text"), LookupError("x", 2), KeyboardInterrupt()], ids=repr)
def test_what_it_raises_is_raised_and_tells_where(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        in_a_child(fail)

    assert (str(raised.value), raised.value.args) == (str(error), error.args)
    assert "in fail" in raised.value.__notes__[0]


class Unportable(Exception):
    def __init__(self, one: object, other: object) -> None:
        super().__init__("no arguments to make it of again")


def test_an_error_that_cannot_be_copied_is_told_of() -> None:
    def fail() -> None:
        raise Unportable(1, 2)

    with pytest.raises(RuntimeError, match="Unportable: no arguments to make it of again"):
        in_a_child(fail)


@pytest.mark.parametrize("result", [lambda: None, threading.Lock()], ids=["function", "lock"])
def test_a_result_that_cannot_be_copied_is_refused(result: object) -> None:
    with pytest.raises(TypeError, match="the result cannot be copied out of the child process"):
        in_a_child(lambda: result)


@pytest.mark.parametrize(
    ("end", "status"), [(lambda: os._exit(3), 3), (lambda: os.kill(os.getpid(), signal.SIGKILL), -9)]
)
def test_a_process_that_ends_without_an_answer_is_told_of(end: object, status: int) -> None:
    with pytest.raises(ChildProcessError, match=rf"gave no answer \(exit status {status}\)"):
        in_a_child(end)  # type: ignore[arg-type]


def test_nothing_is_left_behind_whatever_comes_of_it() -> None:
    def fail() -> None:
        raise LookupError

    with check_leaks():
        in_a_child(socket.socket).close()
        with pytest.raises(LookupError):
            in_a_child(fail)


def test_other_threads_are_no_reason_to_warn() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert in_a_child(lambda: "quiet") == "quiet"
    finally:
        done.set()
        thread.join()


def test_the_child_dies_with_its_parent() -> None:
    """A parent that is killed while its child waits; the child holds the write end of the pipe that we read."""
    reader, writer = os.pipe()

    def wait() -> None:
        os.write(writer, b"x")
        signal.pause()

    parent = os.fork()
    if parent == 0:
        in_a_child(wait)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        assert pipe.read(1) == b"x"
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        assert pipe.read() == b""
