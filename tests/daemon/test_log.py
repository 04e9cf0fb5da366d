"""addrsvc.daemon.log and addrsvc.daemon.follow: what is written where, and what is not."""

import json
import os
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path

import pytest

from addrsvc.daemon import follow, journal
from addrsvc.daemon.follow import LogFollower
from addrsvc.daemon.log import LEVELS, Log
from addrsvc.keeper.events import VOCABULARY, Ring
from tests.daemon.test_journal import Journald

PATIENCE = 30.0


Capture = pytest.CaptureFixture[str]


# --- forms -----------------------------------------------------------------------------------------------------------


def test_text_has_a_time_a_word_and_what_goes_with_it(capsys: Capture) -> None:
    Log("text").write("repaired", "info", 0.25, {"netns": "blue", "us": 93.5})
    stamp, level, word, *rest = capsys.readouterr().err.split()

    assert stamp.endswith("+00:00") or "." in stamp
    assert (level, word, rest) == ("[info", "]", ["repaired", "netns=blue", "us=93.5"])


def test_a_terminal_is_told_nothing_but_text(capsys: Capture) -> None:
    Log("text").entry("attached", netns="\x1b[2J\nx")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "x1b[2J" in line


def test_json_is_one_object_a_line(capsys: Capture) -> None:
    log = Log("json")
    log.write("repaired", "info", 1.5, {"netns": "blue", "addresses": ["::1"]})
    log.entry("refused", "warning", errno="EPERM")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())

    assert first.pop("timestamp").startswith("1970-01-01T00:00:01.500") or time.localtime(1.5).tm_gmtoff
    assert first == {"event": "repaired", "level": "info", "netns": "blue", "addresses": ["::1"]}
    assert (second["event"], second["level"], second["errno"]) == ("refused", "warning", "EPERM")


def test_a_value_may_have_any_name(capsys: Capture) -> None:
    Log("json").write("inject", "info", 0.0, {"event": "NETDEV_UP", "level": 1, "self": 2, "method_name": 3, "msg": 4})
    found = json.loads(capsys.readouterr().err)

    assert (found["event"], found["level"], found["event_"], found["level_"]) == ("inject", "info", "NETDEV_UP", 1)
    assert (found["self_"], found["method_name_"], found["msg"]) == (2, 3, 4)


def test_the_journal_is_told_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    journald = Journald(tmp_path / "socket")
    Log("journal").entry("repaired", netns="blue", cause=7, us=93.5, text="a\nb")
    received, _ = journald.received()
    journald.close()

    assert received == {
        "MESSAGE": "repaired netns=blue cause=7 us=93.5 text=a\nb",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "addrsvc",
        "ADDRSVC_EVENT": "repaired",
        "ADDRSVC_NETNS": "blue",
        "ADDRSVC_CAUSE": "7",
        "ADDRSVC_US": "93.5",
        "ADDRSVC_TEXT": "a\nb",
    }


def test_while_the_journal_is_away_standard_error_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "nothing"))
    Log("journal").entry("bug", "error", error="a\nb")

    assert capsys.readouterr().err == "<3>bug error=a b\n"


def test_who_reads_standard_error_decides_the_form(tmp_path: Path) -> None:
    """Systemd connects it to the journal, and says which file that is."""
    with open(tmp_path / "stream", "w+") as stream:
        status = os.fstat(stream.fileno())
        script = (
            "from addrsvc.daemon import journal\n"
            f"journal.SOCKET = {str(tmp_path / 'socket')!r}\n"
            "from addrsvc.daemon.log import Log\n"
            "Log().entry('attached', netns='blue')\n"
        )
        journald = Journald(tmp_path / "socket")
        env = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run([sys.executable, "-c", script], stderr=stream, env=env, check=True)
        received, _ = journald.received()
        journald.close()
        done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, env=env, check=True, text=True)

        assert received["ADDRSVC_NETNS"] == "blue"
        assert stream.read() == ""
        assert "attached" in done.stderr


def test_what_is_less_serious_is_not_written(capsys: Capture) -> None:
    log = Log("text", "warning")
    for level in LEVELS:
        log.entry(f"it is {level}", level)
    log.configure("text", "debug")
    log.entry("and now", "debug")

    assert [line.split("] ", 1)[1].strip() for line in capsys.readouterr().err.splitlines()] == [
        "it is warning", "it is error", "and now"
    ]  # fmt: skip


def test_a_log_that_cannot_be_written_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        Log("text").entry("attached")
        with pytest.raises(OSError, match="No space left"):
            full.close()


def test_no_megabytes_are_loaded_for_tracebacks() -> None:
    script = "import sys; from addrsvc.daemon.log import Log; Log('json'); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


# --- following -------------------------------------------------------------------------------------------------------


def test_what_is_told_is_written_with_its_cause(capsys: Capture) -> None:
    ring = Ring()
    with LogFollower(ring, Log("json")) as follower:
        cause = ring.tell("RTM_DELADDR", "blue", address="::1")
        ring.tell("repair", "blue", cause, recipe="RTM_NEWADDR")
        ring.tell("reload")
        follower.configure("json", "debug")
        ring.tell("RTM_DELADDR", "blue", address="::1")
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert [(it["event"], it.get("netns"), it["cause"], it["seq"]) for it in entries] == [
        ("repair", "blue", 1, 2),
        ("reload", None, 3, 3),
        ("RTM_DELADDR", "blue", 4, 4),
    ]
    assert entries[0]["recipe"] == "RTM_NEWADDR"


@pytest.mark.parametrize("word", VOCABULARY)
def test_every_word_of_the_vocabulary_has_a_level(word: str, capsys: Capture) -> None:
    ring = Ring()
    with LogFollower(ring, Log("json", "debug")):
        ring.tell(word, "blue")
    (entry,) = map(json.loads, capsys.readouterr().err.splitlines())

    assert (entry["event"], entry["level"]) == (word, VOCABULARY[word].level)


class Blocked(StringIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        assert self.go.wait(PATIENCE)
        return super().write(text)


def test_a_log_that_stands_still_holds_up_nobody_and_loses_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Blocked()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(follow, "_MOST", 100)
    ring = Ring()
    with LogFollower(ring, Log("json")):
        for _ in range(1000):
            ring.tell("attached", "blue")
        stream.go.set()
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    lost = [it["lost"] for it in entries if it["event"] == "log"]

    assert lost
    assert sum(lost) + len(entries) - len(lost) == 1000


class Noticed(StringIO):
    """A stream that says when something has been written."""

    def __init__(self) -> None:
        super().__init__()
        self.is_written = threading.Event()

    def flush(self) -> None:
        if self.getvalue():
            self.is_written.set()


def pauses_before_writing(patch: pytest.MonkeyPatch, busy: int) -> int:
    """How often the log lets time pass before it writes, if in so many of these pauses something else is told."""
    stream, ring = Noticed(), Ring()
    patch.setattr(sys, "stderr", stream)
    before: list[str] = []

    def pause(seconds: float) -> None:
        before.append(stream.getvalue())
        if len(before) <= busy:
            ring.tell("RTM_NEWADDR", "blue")

    with LogFollower(ring, Log("json"), pause):
        ring.tell("attached", "blue")
        assert stream.is_written.wait(PATIENCE)
    assert set(before) <= {""}
    assert len(stream.getvalue().splitlines()) == 1
    return len(before)


@pytest.mark.parametrize("busy", [0, 5])
def test_nothing_is_written_while_there_is_more_to_come(monkeypatch: pytest.MonkeyPatch, busy: int) -> None:
    assert pauses_before_writing(monkeypatch, busy) == busy + 1


def test_what_has_waited_long_enough_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_LATEST", 0)

    assert pauses_before_writing(monkeypatch, 5) == 0


def test_nothing_is_left_behind() -> None:
    before, ring = threading.active_count(), Ring()
    LogFollower(ring, Log("json")).close()

    assert threading.active_count() == before
