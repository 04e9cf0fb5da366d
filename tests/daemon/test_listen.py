"""The control socket is taken over from the dead, never from the living, and nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from addrsvc.daemon.client import ServiceError
from addrsvc.daemon.listen import control_socket

HOLD = """
import sys
from pathlib import Path
from addrsvc.daemon.listen import control_socket
with control_socket(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


def held_elsewhere(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_everybody_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with control_socket(path):
        assert connects(path)
        assert path.stat().st_mode & 0o777 == 0o666


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with control_socket(tmp_path / "run" / "addrsvc" / "control"):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_made_directory_in_which_somebody_put_something_stays(tmp_path: Path) -> None:
    with control_socket(tmp_path / "run" / "addrsvc" / "control"):
        (tmp_path / "run" / "precious").touch()

    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run" / "precious"]


def test_everybody_may_enter_a_made_directory_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with control_socket(tmp_path / "run" / "addrsvc" / "control"):
            modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("run", "run/addrsvc", "run/addrsvc/control")]
    finally:
        os.umask(before)

    assert modes == [0o755, 0o755, 0o666]


def test_a_failure_leaves_no_directory_behind(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="xxx"), control_socket(tmp_path / "run" / "addrsvc" / ("x" * 300)):
        pass

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", "/", ".", "..", "/tmp"])
def test_a_directory_is_no_place_for_a_socket(path: str) -> None:
    with pytest.raises(ServiceError, match="is a directory"), control_socket(Path(path)):
        pass


def test_a_directory_that_was_there_before_stays(tmp_path: Path) -> None:
    with control_socket(tmp_path / "control"):
        pass

    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_a_living_service_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with control_socket(path):
        with pytest.raises(ServiceError, match="running already"), control_socket(path):
            pass
        assert connects(path)


def test_the_socket_of_a_dead_service_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with held_elsewhere(path) as process:
        process.send_signal(signal.SIGKILL)
    assert path.is_socket()
    assert not connects(path)

    with control_socket(path):
        assert connects(path)

    assert list(tmp_path.iterdir()) == []


def test_who_takes_over_clears_away_what_the_dead_service_made(tmp_path: Path) -> None:
    path = tmp_path / "run" / "addrsvc" / "control"
    for _ in range(2):
        with held_elsewhere(path) as process:
            process.send_signal(signal.SIGKILL)
    with control_socket(path):
        assert connects(path)

    assert list(tmp_path.iterdir()) == []


def test_of_two_services_that_start_over_a_dead_one_only_one_lives(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with held_elsewhere(path) as process:
        process.send_signal(signal.SIGKILL)

    starts = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    said = [start.stdout.readline() for start in starts if start.stdout]
    ended = [start.communicate() for start in starts]

    assert sorted(said) == ["", "", "", "ready\n"]
    assert len(ended) == 4
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ServiceError, match="somebody is listening"), control_socket(path):
            pass
        assert connects(path)


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "control"
    path.write_text("precious")
    with pytest.raises(ServiceError, match="no socket"), control_socket(path):
        pass

    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(ServiceError, match="xxx"), control_socket(path):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_place_where_one_may_not_write_is_named() -> None:
    with pytest.raises(ServiceError, match="--control"), control_socket(Path("/proc/addrsvc/control")):
        pass
