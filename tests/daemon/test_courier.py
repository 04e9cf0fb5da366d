"""addrsvc.daemon.courier: what the service manager is told in order, however long it does not listen."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from addrsvc.daemon.courier import Courier

MANY = 100
PATIENCE = 30.0


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    return path


def listening(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind(path)
    return sock


@pytest.fixture
def manager(path: str) -> Iterator[socket.socket]:
    with listening(path) as sock:
        yield sock


@pytest.fixture
def courier() -> Iterator[Courier]:
    courier = Courier()
    yield courier
    courier.close()


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_more_than_the_manager_has_room_for_arrives_in_order(courier: Courier, manager: socket.socket) -> None:
    for number in range(MANY):
        courier.send(f"STATUS={number}", "X=1")

    assert [manager.recv(100) for _ in range(MANY)] == [f"STATUS={number}\nX=1".encode() for number in range(MANY)]


def test_a_descriptor_may_be_closed_before_it_has_arrived(courier: Courier, manager: socket.socket) -> None:
    before = open_fds()
    for number in range(MANY):
        reader, writer = os.pipe()
        os.write(writer, b"%d" % number)
        courier.send("FDSTORE=1", fds=[reader])
        os.close(reader)
        os.close(writer)

    for number in range(MANY):
        _, (fd,), _, _ = socket.recv_fds(manager, 100, 1)
        assert os.read(fd, 10) == b"%d" % number
        os.close(fd)
    courier.close()
    assert open_fds() == before


def test_a_manager_that_is_replaced_meanwhile_is_told_afterwards(courier: Courier, path: str) -> None:
    courier.send("FIRST=1")
    courier.send("SECOND=1")
    with listening(path) as manager:
        assert [manager.recv(100), manager.recv(100)] == [b"FIRST=1", b"SECOND=1"]


def test_what_has_not_gone_yet_can_be_taken_back(courier: Courier, path: str) -> None:
    courier.send("FIRST=1")  # which is under way, or waits, until somebody listens
    reader, writer = os.pipe()
    courier.send("SECOND=1", fds=[writer], about="it")
    os.close(writer)
    courier.send("THIRD=1")
    assert courier.take_back("it")
    assert not courier.take_back("it")
    assert os.read(reader, 1) == b""  # nobody has the other end any more
    os.close(reader)

    with listening(path) as manager:
        assert [manager.recv(100), manager.recv(100)] == [b"FIRST=1", b"THIRD=1"]


def test_of_what_changes_all_the_time_the_last_word_counts(courier: Courier, path: str) -> None:
    courier.send("FIRST=1")
    for number in range(MANY):
        courier.replace("status", f"STATUS={number}")
    courier.send("LAST=1")
    with listening(path) as manager:
        told = [manager.recv(100), manager.recv(100), manager.recv(100)]

    assert told == [b"FIRST=1", f"STATUS={MANY - 1}".encode(), b"LAST=1"]


def test_it_ends_though_nobody_listens_and_leaves_nothing(
    courier: Courier, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("addrsvc.daemon.courier._FLUSH", 0.1)
    before = open_fds(), threading.active_count()
    with open(os.devnull) as file:
        for _ in range(MANY):
            courier.send("FDSTORE=1", fds=[file.fileno()])
    courier.close()

    assert (open_fds(), threading.active_count()) == before


def test_where_there_is_no_manager_there_is_no_thread(courier: Courier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    before = threading.active_count()
    courier.send("READY=1")

    assert threading.active_count() == before
