"""`addrsvc run --keep` in a namespace of its own: log and metrics are as the configuration says, also later on."""

import json
import os
import resource
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from addrsvc.daemon.client import KEEPER, Client
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NETNS_RUN_DIR, NetNs, create_named, open_netns, remove_named, run_in
from tests.daemon.test_metrics import ByPath, fetched, samples
from tests.waiting import PATIENCE, until


class Kept:
    """A service that keeps the namespace that it runs in."""

    def __init__(self, netns: NetNs, directory: Path, config: str) -> None:
        self.config = directory / "addrsvc.toml"
        self.control = directory / "control"
        self.log = directory / "log"
        self.write(config)
        words = ["run", "--config", str(self.config), "--control", str(self.control)]
        self.process = run_in(netns, lambda: self._started(words))

    def _started(self, words: list[str]) -> "subprocess.Popen[bytes]":
        env = {name: value for name, value in os.environ.items() if name not in ("JOURNAL_STREAM", "NOTIFY_SOCKET")}
        with self.log.open("wb") as log:
            return subprocess.Popen([sys.executable, "-m", "addrsvc", *words], stdout=log, stderr=log, env=env)

    def write(self, config: str) -> None:
        self.config.write_text(config)

    def reload(self, config: str) -> None:
        self.write(config)
        self.process.send_signal(signal.SIGHUP)

    def until(self, condition: Callable[[], object]) -> None:
        def holds() -> object:
            assert self.process.poll() is None, self.log.read_text()
            return condition()

        until(holds, seen=self.log.read_text)

    def entries(self) -> list[dict[str, object]]:
        """The entries of the log that are JSON, whole ones."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def told(self, name: str) -> bool:
        return any(entry["event"] == name for entry in self.entries())

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(netns: NetNs, tmp_path: Path) -> Iterator[Callable[[str], Kept]]:
    if os.geteuid() != 0:
        pytest.skip("a service in a namespace of its own needs to be root")
    started: list[Kept] = []

    def started_with(config: str) -> Kept:
        started.append(Kept(netns, tmp_path, config))
        return started[-1]

    yield started_with
    for kept in started:
        kept.process.kill()
        kept.process.wait()


def told_at(path: Path) -> dict[str, float]:
    """What is told there, as soon as there is something."""
    with closing(ByPath(path)) as connection:
        try:
            status, body = fetched(connection)
        except (FileNotFoundError, ConnectionRefusedError):
            return {}
    return samples(body) if status == 200 else {}


def test_a_reload_changes_what_is_logged_and_where_metrics_are(
    start: Callable[[str], Kept], netns: NetNs, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    kept = start(f'[daemon]\nlog_level = "error"\nlog_format = "json"\n[metrics]\nlisten = "unix:{first}"\n')
    kept.until(lambda: told_at(first).get("addrsvc_addresses_present{netns=host}") == 1)
    kept.reload(f'[daemon]\nlog_format = "json"\n[metrics]\nlisten = "unix:{second}"\n')
    kept.until(lambda: told_at(second))
    with Requests.to(netns.fileno()) as requests:
        requests.ask([DELETE_LOOPBACK])
        kept.until(lambda: kept.told("repaired"))
        assert requests.has(LOOPBACK[0])

    assert told_at(second)["addrsvc_repairs_total{cause=deleted}"] == 1
    assert not first.exists()
    assert not kept.told("attached")
    repair, repaired = (it for it in kept.entries() if it["event"] in ("repair", "repaired"))
    assert (repair["netns"], repair["why"], repair["cause"]) == ("host", "deleted", repaired["cause"])
    assert kept.end() == 0
    assert not second.exists()


@pytest.mark.parametrize(
    ("limit", "code", "said"),
    [
        (
            "max_inotify_instances",
            2,
            "Error: inotify_init1: Too many open files (see fs.inotify.max_user_instances).\n",
        ),
        ("max_inotify_watches", 0, "cannot be watched: No space left on device (see fs.inotify.max_user_watches)"),
    ],
)
def test_what_inotify_lacks_is_told_by_the_setting_that_limits_it(
    tmp_path: Path, limit: str, code: int, said: str
) -> None:
    (tmp_path / "addrsvc.toml").write_text('[[rule]]\nname = "it"\nnamespaces = ["host", "/nowhere/it"]\n')
    run = f"{sys.executable} -m addrsvc run --once --config {tmp_path}/addrsvc.toml"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", f"echo 0 >/proc/sys/user/{limit} && exec {run}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.stderr.startswith("unshare:"):
        pytest.skip(f"this system makes no user namespaces: {done.stderr.strip()}")

    assert done.returncode == code, done.stderr
    assert said in done.stderr


MANY = 32


@pytest.fixture
def prefix(cap_sys_admin: None) -> Iterator[str]:
    """The beginning of names below /run/netns, which are taken away when the test ends."""
    prefix = f"addrsvc-test-{secrets.token_hex(4)}-"
    yield prefix
    for path in NETNS_RUN_DIR.glob(f"{prefix}*"):
        remove_named(path.name)


def make_many(prefix: str) -> None:
    for number in range(MANY):
        create_named(f"{prefix}{number}").close()


def states(control: Path) -> Counter[tuple[str, str]]:
    """How many namespaces are in which state, and why."""
    with Client(control) as client:
        answers = [answer["namespaces"] for answer in client.stream("list", {}, interface=KEEPER)]
    return Counter((row["state"], row["why"]) for rows in answers for row in rows)  # type: ignore[attr-defined]


@pytest.mark.parametrize("are_there", [True, False])
def test_a_service_that_has_no_descriptor_left_keeps_what_it_has(
    start: Callable[[str], Kept], prefix: str, are_there: bool
) -> None:
    if are_there:
        make_many(prefix)
    kept = start(f'[[rule]]\nname = "many"\nnamespaces = ["{prefix}*"]\n')
    resource.prlimit(kept.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    kept.until(kept.control.exists)
    if not are_there:
        make_many(prefix)
    kept.until(lambda: states(kept.control).total() == MANY)

    assert states(kept.control).keys() == {("kept", ""), ("waiting", "this process has too many files open")}
    with open_netns(f"{prefix}0") as first, Requests.to(first.fileno()) as requests:
        requests.ask([DELETE_LOOPBACK])
        kept.until(lambda: requests.has(LOOPBACK[0]))
    for number in range(MANY):
        remove_named(f"{prefix}{number}")
    with create_named(f"{prefix}again") as again, Requests.to(again.fileno()) as requests:
        kept.until(lambda: requests.has(LOOPBACK[0]))
    assert kept.end() == 0


def test_a_bad_reload_is_told_and_changes_nothing(start: Callable[[str], Kept]) -> None:
    kept = start('[daemon]\nlog_format = "json"\n')
    kept.until(lambda: kept.told("repaired"))
    kept.reload('[daemon]\nlog_level = "warn"\n[wach]\n')
    kept.until(lambda: kept.told("reload failed"))
    (failed,) = (it for it in kept.entries() if it["event"] == "reload failed")

    assert failed["problems"] == [
        f"{kept.config}:2: daemon.log_level: 'warn' is not one of debug, info, warning, error; did you mean warning?",
        f"{kept.config}:3: wach: no such section; did you mean watch?",
    ]
    kept.reload('[daemon]\nlog_format = "json"\n')
    kept.until(lambda: kept.told("reload"))
    assert kept.end() == 0


def test_it_does_not_start_with_a_bad_configuration(start: Callable[[str], Kept]) -> None:
    kept = start("[wach]\n")

    assert kept.process.wait(PATIENCE) == 78  # which tells a service manager not to try again
    assert kept.log.read_text() == f"{kept.config}:1: wach: no such section; did you mean watch?\n"
