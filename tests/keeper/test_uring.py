"""The kernel sends by itself what it was given beforehand, once a message has come."""

import os
import socket
from collections.abc import Iterator

import pytest

from addrsvc.keeper import uring
from addrsvc.keeper.uring import Pair, Uring

Ends = tuple[socket.socket, socket.socket]
MOST = 2


def forbidden() -> str:
    """Why there is no io_uring here; empty if there is."""
    try:
        Uring(1).close()
    except OSError as error:
        return f"io_uring: {error.strerror}"
    return ""


pytestmark = pytest.mark.skipif(bool(forbidden()), reason=forbidden() or "-")


@pytest.fixture
def ring() -> Iterator[Uring]:
    ring = Uring(MOST)
    yield ring
    ring.close()


def two() -> Iterator[Ends]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with near, far:
        yield near, far


asked = pytest.fixture(two, name="asked")
answering = pytest.fixture(two, name="answering")


@pytest.fixture
def pair(ring: Uring, asked: Ends, answering: Ends) -> Pair:
    return ring.pair(asked[0].fileno(), answering[0].fileno(), b"answer")


def test_a_message_is_answered_without_anything_being_done_about_it(
    ring: Uring, pair: Pair, asked: Ends, answering: Ends
) -> None:
    ring.begin(pair)
    asked[1].send(b"question")
    assert answering[1].recv(100) == b"answer"
    assert ring.has_sent(pair)
    assert pair.has_received(b"question")
    assert not pair.has_received(b"another one")


def test_what_does_not_wait_answers_nothing(ring: Uring, pair: Pair, asked: Ends, answering: Ends) -> None:
    ring.begin(pair)
    assert not ring.has_sent(pair)
    asked[1].send(b"question")
    with pytest.raises(BlockingIOError):
        answering[1].recv(100)
    assert asked[0].recv(100) == b"question"


def test_one_message_is_answered_each_time_that_it_is_begun(
    ring: Uring, pair: Pair, asked: Ends, answering: Ends
) -> None:
    for nth in range(200):  # more than any ring has entries
        asked[1].send(b"question %d" % nth)
        ring.begin(pair)
        assert answering[1].recv(100) == b"answer"
        assert ring.has_sent(pair)
        assert pair.has_received(b"question %d" % nth)
        ring.begin(pair)
        assert not ring.has_sent(pair)


def test_what_cannot_be_sent_was_not_sent(ring: Uring, asked: Ends, answering: Ends) -> None:
    pair = ring.pair(asked[0].fileno(), answering[0].fileno(), b"answer")
    answering[1].close()
    ring.begin(pair)
    asked[1].send(b"question")
    assert not ring.has_sent(pair)


def test_pairs_do_not_mix(ring: Uring, asked: Ends, answering: Ends) -> None:
    both = [ring.pair(asked[0].fileno(), answering[0].fileno(), b"answer") for _ in range(MOST)]
    ring.begin(both[1])
    asked[1].send(b"question")
    assert [ring.has_sent(pair) for pair in both] == [False, True]


def test_sockets_are_let_go_of(ring: Uring, asked: Ends, answering: Ends) -> None:
    pair = ring.pair(asked[0].fileno(), answering[0].fileno(), b"answer")
    ring.begin(pair)
    ring.give_back(pair)
    asked[0].close()
    with pytest.raises((ConnectionRefusedError, BrokenPipeError)):
        asked[1].send(b"question")


def test_no_descriptor_is_left_of_it() -> None:
    before = os.listdir("/proc/self/fd")
    Uring(MOST).close()
    assert os.listdir("/proc/self/fd") == before


def test_where_it_is_missing_that_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uring, "_IO_URING_SETUP", 100_000)
    with pytest.raises(OSError, match="not implemented"):
        Uring(MOST)


def test_what_the_kernel_does_not_take_does_not_wait(
    ring: Uring, pair: Pair, asked: Ends, answering: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = uring._call

    def takes_nothing(number: int, *arguments: object) -> int:
        raise BlockingIOError

    def takes_the_first(number: int, fd: int, count: int, *others: object) -> int:
        return call(number, fd, min(count, 1), *others)

    monkeypatch.setattr(uring, "_call", takes_nothing)
    ring.begin(pair)
    assert not pair.is_waiting
    monkeypatch.setattr(uring, "_call", takes_the_first)
    ring.begin(pair)
    monkeypatch.undo()
    asked[1].send(b"question")
    assert not ring.has_sent(pair)
    ring.begin(pair)
    asked[1].send(b"question")
    assert answering[1].recv(100) == b"answer"
    assert ring.has_sent(pair)


def test_a_signal_does_not_end_waiting(ring: Uring, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ring.begin(pair)
    call, interrupted = uring._call, iter((True, True))

    def interrupt(number: int, fd: int, count: int, least: int, *others: object) -> int:
        if least and next(interrupted, False):
            raise InterruptedError
        return call(number, fd, count, least, *others)

    collect, held_back = ring.collect, iter((True, True))
    monkeypatch.setattr(ring, "collect", lambda: next(held_back, False) or collect())
    monkeypatch.setattr(uring, "_call", interrupt)
    assert not ring.has_sent(pair)


def test_where_a_part_of_it_is_forbidden_that_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(uring, "_IO_URING_ENTER", 100_000)
    with pytest.raises(OSError, match="not implemented"):
        Uring(MOST)
    assert os.listdir("/proc/self/fd") == before
