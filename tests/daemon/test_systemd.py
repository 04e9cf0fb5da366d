"""What systemd hands over is taken, what it waits for is told."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from addrsvc.daemon.systemd import (
    Passed,
    forget,
    inherited_socket,
    netlink_sockets,
    notify,
    reloading,
    store,
    watchdog_period,
)

TAKE = """
import os, sys
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
from addrsvc.daemon.systemd import inherited_socket
sock = inherited_socket()
print(None if sock is None else sock.getsockname(), "LISTEN_FDS" in os.environ, os.get_inheritable(3))
"""


def take(sock: socket.socket, *, pid: str = "", count: str = "1") -> "subprocess.CompletedProcess[str]":
    """Run `inherited_socket` in a process whose descriptors 3 and 4 are `sock`."""
    script = f"exec 3<&{sock.fileno()} 4<&{sock.fileno()}; exec {sys.executable} -c '{TAKE}' '{pid}'"
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


TAKE_ALL = """
import os, socket
os.environ["LISTEN_PID"] = str(os.getpid())
from addrsvc.daemon.systemd import listening_socket, passed_descriptors
passed = passed_descriptors()
control = listening_socket(passed, "control")
names, fds = zip(*passed)
print(list(names), list(fds), control.getsockname(), [os.get_inheritable(fd) for fd in fds])
print([name for name in os.environ if name.startswith("LISTEN")], passed_descriptors(), listening_socket(passed, "b"))
"""


def test_descriptors_that_systemd_kept_are_found_by_name(listening: socket.socket) -> None:
    script = f"exec 3</dev/null 4<&{listening.fileno()} 5</dev/zero; exec {sys.executable} -c '{TAKE_ALL}'"
    with listening:
        done = subprocess.run(
            ["bash", "-c", script],
            pass_fds=[listening.fileno()],
            env={**os.environ, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "netns host:control:a"},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.stdout.splitlines() == [
            f"['netns host', 'a'] [3, 5] {listening.getsockname()} [False, False]",
            "[] [] None",
        ], done.stderr


def test_a_netlink_socket_is_taken_by_what_its_namespace_is_called() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        other = Passed("netns-blue", -1)
        passed = [Passed("netlink-blue", os.dup(sock.fileno())), other, Passed("netlink-blue", os.dup(sock.fileno()))]
        taken = netlink_sockets(passed)

        assert list(taken) == ["blue"]
        assert passed == [other]
        assert os.path.samestat(os.fstat(taken["blue"].fileno()), os.fstat(sock.fileno()))
        taken["blue"].close()


def test_what_is_called_a_netlink_socket_has_to_be_one() -> None:
    left, right = socket.socketpair()
    with right, pytest.raises(ValueError, match="netlink-blue, which is no netlink socket"):
        netlink_sockets([Passed("netlink-blue", left.detach())])


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The end of the service manager; a service may be told of it in two ways."""
    name = str(tmp_path / "notify")
    is_path = request.param == "a path"
    monkeypatch.setenv("NOTIFY_SOCKET", name if is_path else f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name if is_path else f"\0{name}")
        yield sock


def test_states_are_told_to_the_service_manager(manager: socket.socket) -> None:
    assert notify("READY=1", "STATUS=serving")
    assert manager.recv(100) == b"READY=1\nSTATUS=serving"


def test_a_reload_is_told_with_its_time(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    assert reloading()

    state, _, usec = manager.recv(100).partition(b"\nMONOTONIC_USEC=")
    assert state == b"RELOADING=1"
    assert before <= int(usec) <= time.monotonic_ns() // 1000


def test_descriptors_are_given_to_the_service_manager_to_keep(manager: socket.socket, tmp_path: Path) -> None:
    with open(tmp_path / "one", "w") as one, open(tmp_path / "two", "w") as two:
        assert store("netns blue", one.fileno(), two.fileno())
        text, fds, _, _ = socket.recv_fds(manager, 100, 2)
        kept = [os.fstat(fd).st_ino for fd in fds]
        for fd in fds:
            os.close(fd)

        assert text == b"FDSTORE=1\nFDNAME=netns blue\nFDPOLL=0"
        assert kept == [os.fstat(one.fileno()).st_ino, os.fstat(two.fileno()).st_ino]


def test_descriptors_are_taken_from_the_service_manager(manager: socket.socket) -> None:
    assert forget("netns blue")
    assert manager.recv(100) == b"FDSTOREREMOVE=1\nFDNAME=netns blue"


@pytest.mark.parametrize(
    ("usec", "pid", "period"),
    [
        ("3000000", None, 3.0),
        ("1500000", str(os.getpid()), 1.5),
        ("3000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_is_fed_by_whom_it_waits_for(
    usec: str | None, pid: str | None, period: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)

    assert watchdog_period() == period


def test_a_service_manager_that_does_not_listen_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    assert not notify("READY=1")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        assert not all(notify("STATUS=busy") for _ in range(5000))  # its queue is full, sooner or later


def test_without_a_service_manager_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert not notify("READY=1")
