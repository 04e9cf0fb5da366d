"""addrsvc.daemon.journal: what the journal's socket receives."""

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from addrsvc.daemon import journal
from addrsvc.daemon.journal import entry, is_read_by_journal, send

SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Journald:
    """The other end: takes entries as the journal does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(10)

    def received(self) -> tuple[dict[str, str], bool]:
        """The fields of the next entry, and whether it came in a file."""
        data, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        if not descriptors:
            return fields(data), False
        (descriptor,) = descriptors
        with open(descriptor, "rb") as file:
            assert data == b""
            assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == SEALED
            return fields(os.pread(descriptor, os.fstat(descriptor).st_size, 0)), True

    def close(self) -> None:
        self._socket.close()
        self.path.unlink()


def fields(data: bytes) -> dict[str, str]:
    """An entry taken apart: each field is NAME=value, or a name, the length in eight bytes, and the value."""
    found: list[tuple[bytes, bytes]] = []
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, end, rest = rest[8 : 8 + length], rest[8 + length : 9 + length], rest[9 + length :]
            assert end == b"\n"
        found.append((name, value))
        data = rest
    assert len(dict(found)) == len(found)
    return {name.decode(): value.decode() for name, value in found}


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    journald = Journald(tmp_path / "socket")
    yield journald
    journald.close()


def test_an_entry_has_its_fields(journald: Journald) -> None:
    send(entry("hello", "warning", {"event": "lost", "netns": "blue", "cause": 7}))

    assert journald.received() == (
        {
            "MESSAGE": "hello",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "addrsvc",
            "ADDRSVC_EVENT": "lost",
            "ADDRSVC_NETNS": "blue",
            "ADDRSVC_CAUSE": "7",
        },
        False,
    )


def test_lines_breaks_and_all_kinds_of_values_arrive(journald: Journald) -> None:
    values = {"two lines": "a\nb=c\n", "ok": True, "many": ["a", 1], "é\udcff": "\udcff=", "long" * 30: ""}
    send(entry("x\n\ny", "error", values))
    received, _ = journald.received()

    assert received["MESSAGE"] == "x\n\ny"
    assert received["ADDRSVC_TWO_LINES"] == "a\nb=c\n"
    assert (received["ADDRSVC_OK"], received["ADDRSVC_MANY"], received["ADDRSVC___"]) == ("true", "a 1", "\\udcff=")
    assert max(map(len, received)) == 64


def test_what_is_too_large_goes_in_a_file_that_cannot_be_changed(journald: Journald) -> None:
    large = "x\n" * (8 << 20)
    send(entry(large, "info", {}))

    received, is_file = journald.received()
    assert is_file
    assert received["MESSAGE"] == large


def test_that_nobody_takes_it_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError):
        send(b"")


def test_only_the_very_stream_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "stream", "w") as stream, open(tmp_path / "other", "w") as other:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

        assert is_read_by_journal(stream.fileno())
        assert not is_read_by_journal(other.fileno())
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not is_read_by_journal(2)
    assert not is_read_by_journal(-1)
