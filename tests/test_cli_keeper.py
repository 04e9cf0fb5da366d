"""The command line towards a service that keeps namespaces."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from addrsvc.cli import main
from addrsvc.daemon import client
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NetNs
from tests.daemon.controlled import Controlled, controlled, public_directory, selector
from tests.waiting import PATIENCE, until

Typed = Callable[..., tuple[int, str, str]]


def rules(netns: NetNs, addresses: str = '"fd00::1"', more: str = "") -> str:
    return f'{more}\n[[rule]]\nname = "it"\nnamespaces = ["{selector(netns)}", "nowhere"]\naddresses = [{addresses}]\n'


def typing(it: Controlled, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Types commands: gives the exit code, standard output and standard error."""

    def typed(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--control", str(it.path)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return typed


def test_status_is_a_table_of_namespaces(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        code, said, _ = typed("status")
        assert code == 0
        assert "2 of 2 addresses are there, in 1 namespace, waiting for 1" in said
        assert re.search(r"^NETNS +STATE +WANTED +PRESENT +LO +FIGHTS +LOST +LAST REPAIR$", said, re.M)
        assert re.search(r"kept +2 +2 +up +0 +0 +\d+ s ago: add fd00::1/128 \(start\), \d+ us$", said, re.M)
        assert re.search(r"^nowhere +waiting +there is no such namespace$", said, re.M)
        code, said, _ = typed("status", selector(netns))
        assert "  fd00::1/128: of addrsvc\n" in said
        assert "::1/128: of kernel\n" in said
        assert json.loads(typed("status", "--json")[1])["list"][0]["wanted"] == 2
        assert "reference_release" in typed("status", "--model")[1]
        assert typed("status", "nowere")[::2] == (1, "Error: netns: 'nowere' is not kept (did you mean nowhere?)\n")

    controlled(rules(netns), clients)


def test_status_tells_what_is_missing_and_why(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        with Requests.to(netns.fileno()) as requests:
            requests.ask([DELETE_LOOPBACK])
        it.ask("events")
        it.until(lambda: it.ask("describe")["lacking"])
        code, said, _ = typing(it, capfd)("status")
        assert code == 3
        assert "  ::1/128: reported\n" in said

    controlled(rules(netns).replace("namespaces", 'loopback_reaction = "report"\nnamespaces'), clients)


def test_events_go_on_from_a_cursor(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        code, said, _ = typed("events", "--show-cursor", "--level", "info")
        *lines, last = said.splitlines()
        assert code == 0
        assert re.fullmatch(r"\S+ \S+ info +attached +netns=\S+ rules=it cause=\d+ seq=\d+", lines[0])
        cursor = last.removeprefix("-- cursor: ")
        assert typed("events", "--since", cursor)[1] == ""
        typed("reload")
        events = [json.loads(line) for line in typed("events", "--since", cursor, "--json")[1].splitlines()]
        assert [event["event"] for event in events] == ["command", "reload"]
        again = typed("events", "--since", events[0]["cursor"], "--json")[1]
        assert [json.loads(line) for line in again.splitlines()] == events[1:]
        assert "the service was started anew since" in typed("events", "--since", "0:1")[1]
        assert typed("events", "--level", "warn")[::2] == (1, "Error: level: 'warn' is none; did you mean warning?\n")

    controlled(rules(netns), clients)


def test_of_a_name_that_no_namespace_has_is_said_so(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        assert typed("events", "--netns", "nowere") == (
            1, "", "netns: 'nowere' is not kept (did you mean nowhere?)\n",
        )  # fmt: skip
        code, said, error = typed("events", "--netns", "something-else", "--netns", "nowhere")
        assert (code, "waiting" in said) == (0, True)
        assert error == f"netns: 'something-else' is not kept (there are: {selector(netns)}, nowhere)\n"
        assert typed("events", "--netns", selector(netns), "--netns", "nowhere")[::2] == (0, "")

    controlled(rules(netns), clients)


class Follower:
    """`addrsvc events --follow` in a process of its own, and what it has written so far."""

    def __init__(self, directory: Path, *words: str, patience: float = 60.0) -> None:
        self._out, self._err = directory / "out", directory / "err"
        begin = "import sys; from addrsvc.cli import following, main; following._PATIENCE = float(sys.argv.pop(1)); "
        command = [sys.executable, "-c", f"{begin}sys.exit(main())", str(patience), "events", "--follow", *words]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen([*command, "--control", directory / "control"], stdout=out, stderr=err)

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def complained(self) -> str:
        return self._err.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.splitlines(keepends=True) if line.endswith("\n")]

    def ended(self) -> int:
        return self.process.wait(PATIENCE)


@pytest.fixture
def directory() -> Iterator[Path]:
    with public_directory() as directory:
        yield directory


AWAY = "the service has ended; what it tells is followed again as soon as it runs\n"


def test_who_follows_goes_on_with_the_service_that_comes_next(netns: NetNs, directory: Path) -> None:
    followers: list[Follower] = []

    def first(it: Controlled) -> None:
        followers.append(Follower(directory, "--json", "--netns", "later", "--netns", selector(netns)))
        it.until(lambda: "attached" in followers[0].said)

    def second(it: Controlled) -> None:
        it.until(lambda: followers[0].said.count('"attached"') == 2)

    controlled(rules(netns), first, directory)
    (follower,) = followers
    until(lambda: AWAY in follower.complained)
    last = follower.events[-1]["cursor"]
    controlled(rules(netns), second, directory)
    until(lambda: follower.complained.count(AWAY) == 2)
    follower.process.send_signal(signal.SIGINT)

    assert follower.ended() == 0
    assert [event for event in follower.events if "restarted" in event] == [{"restarted": True}]
    unknown, *said = follower.complained.splitlines(keepends=True)
    assert "'later' is not kept" in unknown
    boot, number = last.split(":")
    lost = re.fullmatch(r"what the service had told .* is lost, if there was anything behind (\w+):(\d+)\n", said[1])
    assert lost is not None
    assert (lost[1], int(lost[2]) >= int(number)) == (boot, True)
    assert [said[0], *said[2:]] == [AWAY, AWAY]


def test_who_follows_nobody_for_long_gives_up_and_says_how_to_start_one(netns: NetNs, directory: Path) -> None:
    followers: list[Follower] = []

    def clients(it: Controlled) -> None:
        followers.append(Follower(directory, patience=0.5))
        it.until(lambda: "attached" in followers[0].said)

    controlled(rules(netns), clients, directory)

    assert followers[0].ended() == 1
    path = directory / "control"
    start = f"to start one: addrsvc run --keep --control {path};"
    assert f"{AWAY}Error: no service is running at {path} ({start}" in followers[0].complained


@pytest.mark.parametrize(
    ("path", "units", "start"),
    [
        ("control", [], "addrsvc run --keep"),
        ("control", ["addrsvc.service"], "systemctl start addrsvc"),
        ("blue/control", ["addrsvc.service"], "addrsvc run --keep --inside blue --control {}"),
        ("blue/control", ["addrsvc@.service"], "systemctl start addrsvc@blue"),
        ("else/where/control", ["addrsvc.service"], "addrsvc run --keep --control {}"),
    ],
)
def test_where_no_service_runs_it_is_said_how_to_start_the_one_of_that_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, units: list[str], start: str
) -> None:
    place = tmp_path / "lib" / "systemd" / "system"
    place.mkdir(parents=True)
    for unit in units:
        (place / unit).touch()
    monkeypatch.setattr(client, "SYSTEM_CONTROL", tmp_path / "control")
    monkeypatch.setattr(client, "_UNITS", (tmp_path / "lib",))
    monkeypatch.setattr(client, "control_path", lambda: tmp_path / "control")

    with pytest.raises(client.ServiceError, match=f"to start one: {re.escape(start.format(tmp_path / path))};"):
        client.Client(tmp_path / path)


def test_waiting_ends_with_3_when_it_is_in_vain(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        where = selector(netns)
        assert typed("wait", "::1", "on", "lo", "in", where) == (0, "", "")
        assert typed("wait", f"::1 on lo in {where}") == (0, "", "")
        assert typed("wait", "--timeout", "0.01", "nowhere attached") == (
            3, "", "not in time: nowhere is not kept: there is no such namespace\n",
        )  # fmt: skip
        code, _, said = typed("wait", "::1", "at", "lo")
        assert (code, "there are: ADDRESS on lo [in NETNS]" in said) == (1, True)

    controlled(rules(netns), clients)


def test_a_reload_says_what_it_changes_and_all_that_is_wrong(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        it.config.write_text(rules(netns, '"fd00::2"'))
        code, said, _ = typed("reload", "--dry-run")
        assert (code, said.splitlines()[1:]) == (
            0, ["  ip addr add fd00::2/128 dev lo proto 173 nodad noprefixroute", "  ip addr del fd00::1/128 dev lo"],
        )  # fmt: skip
        code, said, _ = typed("reload")
        assert (code, said.splitlines()[:2]) == (0, [f"read {it.config}", "rule it: changed"])
        it.config.write_text("[wach]\n[deamon]\n")
        assert typed("reload") == (
            1, "", f"{it.config}:1: wach: no such section; did you mean watch?\n"
            f"{it.config}:2: deamon: no such section; did you mean daemon?\n",
        )  # fmt: skip

    controlled(rules(netns), clients)


def test_withdrawing_and_resuming(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        where = selector(netns)
        code, said, _ = typed("withdraw", where, "fd00::1", "--wait")
        assert (code, said.splitlines()[0]) == (0, "fd00::1/128 withdrawn")
        with Requests.to(netns.fileno()) as requests:
            assert [key for key in requests.addresses() if len(key[0]) == 16] == [LOOPBACK]
            assert "  fd00::1/128: withdrawn by command\n" in typed("status")[1]
            assert typed("resume", where)[1].startswith("fd00::1/128 resumed\n")
            assert requests.has(bytes.fromhex("fd00") + bytes(13) + b"\1")
        assert typed("resume", where)[1].startswith("there was nothing to do\n")
        assert typed("withdraw", where, "::1")[0] == 1

    controlled(rules(netns), clients)


def test_plan_and_apply(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        assert typed("plan") == (0, "1 namespace as wanted\n", "")
        assert typed("apply", "-n", "--netns", selector(netns)) == (0, "1 namespace as wanted\n", "")
        assert typed("apply") == (0, "1 namespace as wanted\n", "")
        it.config.write_text(rules(netns, ""))
        code, said, _ = typed("plan", "--files")
        assert (code, "ip addr del fd00::1/128 dev lo" in said) == (0, True)

    controlled(rules(netns), clients)


def test_who_is_interrupted_while_following_is_told_the_cursor(netns: NetNs, directory: Path) -> None:
    def clients(it: Controlled) -> None:
        follower = Follower(directory, "--show-cursor")
        it.until(lambda: "attached" in follower.said)
        follower.process.send_signal(signal.SIGINT)
        assert follower.ended() == 0
        assert follower.said.splitlines()[-1].startswith("-- cursor: ")

    controlled(rules(netns), clients, directory)


def test_an_event_is_really_injected_only_where_the_configuration_allows_it(
    netns: NetNs, capfd: pytest.CaptureFixture[str]
) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        words = ["inject", "UP", "lo", "--real", "--netns", selector(netns)]
        code, _, said = typed(*words)
        assert (code, "allow_real_injection" in said) == (1, True)
        it.config.write_text(rules(netns, more="[control]\nallow_real_injection = true"))
        typed("reload")
        code, said, _ = typed(*words)
        assert (code, said.splitlines()[0]) == (0, "lo heard of")
        assert typed("inject", "UP", "eth0", "--real")[0] == 1

    controlled(rules(netns), clients)


@pytest.mark.parametrize("answered", [b"", b'{"parameters":{"plans":[]},"continues":true}\0', b'{"parameters":'])
@pytest.mark.parametrize("command", ["plan", "apply"])
def test_an_answer_that_does_not_end_is_not_taken_for_a_whole_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str, answered: bytes
) -> None:
    """As when the service is killed while it answers."""

    def answer() -> None:
        conn, _ = listener.accept()
        with conn:
            conn.recv(1 << 16)
            conn.sendall(answered)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen()
        answering = threading.Thread(target=answer)
        answering.start()
        code = main([command, "--control", str(tmp_path / "control")])
        answering.join()
    assert (code, *capfd.readouterr()) == (1, "", "Error: the service ended before it answered\n")
