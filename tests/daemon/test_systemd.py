"""What systemd hands over is taken, what it waits for is told."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from addrsvc.daemon.systemd import inherited_socket, notify

TAKE = """
import os, sys
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
from addrsvc.daemon.systemd import inherited_socket
sock = inherited_socket()
print(None if sock is None else sock.getsockname(), "LISTEN_FDS" in os.environ, os.get_inheritable(3))
"""


def take(sock: socket.socket, *, pid: str = "", count: str = "1") -> "subprocess.CompletedProcess[str]":
    """Run `inherited_socket` in a process whose descriptor 3 is `sock`."""
    script = f"exec 3<&{sock.fileno()}; exec {sys.executable} -c '{TAKE}' '{pid}'"
    return subprocess.run(
        ["bash", "-c", script],
        pass_fds=[sock.fileno()],
        env={**os.environ, "LISTEN_FDS": count},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def listening(tmp_path: Path) -> "socket.socket":
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(tmp_path / "control"))
    sock.listen()
    return sock


def test_a_socket_that_systemd_bound_is_taken(listening: socket.socket) -> None:
    with listening:
        done = take(listening)

        assert done.stdout.split() == [listening.getsockname(), "False", "False"]


def test_a_socket_for_another_process_is_left_alone(listening: socket.socket) -> None:
    with listening:
        assert take(listening, pid="1").stdout.startswith("None")


def test_more_sockets_than_one_are_refused(listening: socket.socket) -> None:
    with listening:
        assert "systemd passed 2 sockets" in take(listening, count="2").stderr


def test_a_socket_that_does_not_listen_is_refused() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert "no listening Unix stream socket" in take(left).stderr


def test_without_systemd_there_is_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)

    assert inherited_socket() is None


def test_states_are_told_to_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        assert notify("READY=1", "STATUS=serving")
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"


def test_without_a_service_manager_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert not notify("READY=1")
