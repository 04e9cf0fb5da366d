"""addrsvc.daemon.metrics and addrsvc.daemon.scraping: what Prometheus is told of namespaces of the running kernel."""

import http.client
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

from addrsvc.daemon import scraping
from addrsvc.daemon.log import Log
from addrsvc.daemon.metrics import BUCKETS, Exposition, Tally
from addrsvc.daemon.scraping import Scraping
from addrsvc.errors import ControlError
from addrsvc.keeper.config import parse
from addrsvc.keeper.events import Event, Ring
from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.messages import DELETE_LOOPBACK, deladdr, newaddr
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.settings import Metrics
from addrsvc.keeper.texts import Listen
from addrsvc.keeper.wanted import Reaction, Wanted
from addrsvc.mirror.netns import NetNs
from tests.descriptors import descriptors
from tests.keeper.keeping import Keeping, keeping, service
from tests.waiting import PATIENCE

T = TypeVar("T")
ONE, ONE_SERVICE = service("fd00::1", reaction=Reaction.REPORT)
WANTED = Wanted(addresses={ONE: ONE_SERVICE})


class Running:
    """A keeper whose loop turns in a thread of its own, as it does in the service."""

    def __init__(self, kept: Keeping) -> None:
        self.kept = kept
        self.tally = Tally()
        kept.ring.subscribe(self.tally.take)
        self._thread = threading.Thread(target=kept.loop.run)
        self._thread.start()

    def ask(self, question: Callable[[Keeper], T]) -> T:
        answers: SimpleQueue[T] = SimpleQueue()
        self.kept.loop.call(lambda: answers.put(question(self.kept.keeper)))
        return answers.get(timeout=PATIENCE)

    def until_told(self, name: str, what: Callable[[], object]) -> None:
        """Do something, and wait until an event of that name is told."""
        told = threading.Event()

        def hear(event: Event) -> None:
            if event.name == name:
                told.set()

        end = self.kept.ring.subscribe(hear)
        what()
        assert told.wait(PATIENCE)
        end()

    def close(self) -> None:
        self.kept.loop.stop()
        self._thread.join()


@contextmanager
def running(netns: NetNs | None) -> Iterator[Running]:
    with keeping(netns, WANTED) as kept:
        it = Running(kept)
        try:
            yield it
        finally:
            it.close()


@pytest.fixture
def service_(netns: NetNs) -> Iterator[Running]:
    with running(netns) as it:
        yield it


@pytest.fixture
def requests(netns: NetNs) -> Iterator[Requests]:
    """Somebody else's socket."""
    with Requests.to(netns.fileno()) as requests:
        yield requests


def samples(text: str) -> dict[str, float]:
    """Every series of ours with its labels, and its value."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}".replace("{}", "")] = sample.value
    return {name: value for name, value in found.items() if name.startswith("addrsvc_")}


def scraped(running: Running, most: int = 1000) -> dict[str, float]:
    return samples(Exposition(running, running.tally, most).text()[0].decode())


# --- what is told ----------------------------------------------------------------------------------------------------


def test_each_address_is_told_with_its_owner(service_: Running) -> None:
    found = scraped(service_)

    assert found["addrsvc_addresses_wanted{netns=blue}"] == found["addrsvc_addresses_present{netns=blue}"] == 2
    for address, owner in (("::1/128", "kernel"), ("fd00::1/128", "addrsvc")):
        assert found[f"addrsvc_address_wanted{{address={address},netns=blue}}"] == 1
        assert found[f"addrsvc_address_present{{address={address},netns=blue}}"] == 1
        assert found[f"addrsvc_address_owner{{address={address},netns=blue,owner={owner}}}"] == 1
    assert found["addrsvc_namespaces{state=kept}"] == 1
    assert found["addrsvc_namespaces{state=waiting}"] == 0
    assert found["addrsvc_addresses_untold"] == 0
    assert 0 < found["addrsvc_lag_seconds"] < PATIENCE


def test_a_repair_is_counted_by_its_cause_and_timed(service_: Running, requests: Requests) -> None:
    service_.until_told("repaired", lambda: requests.ask([DELETE_LOOPBACK]))
    found = scraped(service_)

    assert found["addrsvc_repairs_total{cause=deleted}"] == 1
    assert found["addrsvc_repair_seconds_count"] == found["addrsvc_repair_seconds_bucket{le=+Inf}"] == 1
    assert 0 < found["addrsvc_repair_seconds_sum"] < PATIENCE
    assert found["addrsvc_events_total{event=repaired}"] == 1
    assert found["addrsvc_lost_intervals_total"] == found["addrsvc_fights_total"] == 0


def test_what_is_missing_is_told_and_told_first(service_: Running, requests: Requests) -> None:
    service_.until_told("reported", lambda: requests.ask([deladdr(*ONE)]))
    found = scraped(service_, most=1)

    assert found["addrsvc_addresses_wanted{netns=blue}"] == 2
    assert found["addrsvc_addresses_present{netns=blue}"] == 1
    assert found["addrsvc_namespaces{state=missing}"] == 1
    assert {name: value for name, value in found.items() if name.startswith("addrsvc_address_")} == {
        "addrsvc_address_wanted{address=fd00::1/128,netns=blue}": 1,
        "addrsvc_address_present{address=fd00::1/128,netns=blue}": 0,
    }
    assert found["addrsvc_addresses_untold"] == 1


def test_what_others_do_makes_no_series(service_: Running, requests: Requests) -> None:
    before = scraped(service_).keys()
    requests.ask([newaddr(bytes((0xFD, *bytes(14), number))) for number in range(100, 150)])

    assert scraped(service_).keys() == before


def test_series_vanish_with_their_namespace(service_: Running) -> None:
    service_.ask(lambda keeper: keeper.gone("blue"))
    found = scraped(service_)

    assert not [name for name in found if "blue" in name]
    assert found["addrsvc_namespaces{state=kept}"] == 0


def test_other_names_of_a_namespace_are_told_by_themselves(netns: NetNs, service_: Running) -> None:
    label, alias = (f"/proc/{process}/fd/{netns.fileno()}" for process in (os.getpid(), "self"))
    with keeping(None, None) as kept:
        kept.keeper.reconfigure(parse(f"[[rule]]\nname = 'it'\nnamespaces = ['{label}', '{alias}']").config)
        it = Running(kept)
        found = scraped(it)
        it.close()

    assert found[f"addrsvc_alias{{alias={alias},netns={label}}}"] == 1
    assert found[f"addrsvc_addresses_wanted{{netns={label}}}"] == 1
    assert f"addrsvc_addresses_wanted{{netns={alias}}}" not in found
    assert not [name for name in scraped(service_) if name.startswith("addrsvc_alias{")]


def test_a_namespace_may_have_any_name(netns: NetNs) -> None:
    with keeping(None, WANTED) as kept:
        kept.found(netns, 'odd"\\\n\udcff')
        it = Running(kept)
        found = scraped(it)
        it.close()

    assert found['addrsvc_addresses_wanted{netns=odd"\\\n\\udcff}'] == 2


def test_one_that_is_gone_between_two_questions_is_left_out(netns: NetNs) -> None:
    class Fleeting(Running):
        """Everything is gone when it is asked for a second time."""

        def ask(self, question: Callable[[Keeper], T]) -> T:
            answer = super().ask(question)
            super().ask(lambda keeper: keeper.gone("blue"))
            return answer

    with keeping(netns, WANTED) as kept:
        fleeting = Fleeting(kept)
        found = scraped(fleeting)
        fleeting.close()

    assert found["addrsvc_namespaces{state=kept}"] == 0


def test_a_tally_puts_each_repair_into_its_bucket() -> None:
    tally = Tally()
    times = (1.0, BUCKETS[0] * 1e6, BUCKETS[0] * 1e6 + 1, 5e6)
    for seq, us in enumerate(times):
        tally.take(Event(seq, 0, "repaired", "blue", seq, {"us": us}))
    tally.take(Event(9, 0, "RTM_NEWADDR", "blue", 9, {}))

    assert tally.buckets == [2, 1, *[0] * (len(BUCKETS) - 2), 1]
    assert tally.seconds == pytest.approx(sum(times) / 1e6)
    assert sum(tally.events.values()) == 4


def test_prometheus_client_is_not_loaded_unless_it_is_wanted() -> None:
    script = (
        "import sys; from addrsvc.daemon.scraping import Scraping; from addrsvc.daemon.log import Log; "
        "from addrsvc.keeper.events import Ring; from addrsvc.keeper.settings import Metrics; "
        "Scraping(None, Ring(), Log()).configure(Metrics()); print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


# --- where it is fetched ---------------------------------------------------------------------------------------------


class ByPath(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


@pytest.fixture
def serving(service_: Running) -> Iterator[Scraping]:
    with Scraping(service_, service_.kept.ring, Log()) as serving:
        yield serving


def fetched(connection: http.client.HTTPConnection, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    connection.request(method, path, headers={"Accept": "text/plain"})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_they_are_fetched_at_a_unix_socket(serving: Scraping, tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics"
    serving.configure(Metrics(Listen(path=str(path))))
    status, body = fetched(ByPath(path))

    assert status == 200
    assert samples(body)["addrsvc_addresses_wanted{netns=blue}"] == 2
    assert "process_resident_memory_bytes" in body
    serving.configure(Metrics())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_they_are_fetched_at_a_local_port(serving: Scraping, host: str) -> None:
    port = free_port(host)
    serving.configure(Metrics(Listen(host=host, port=port)))
    status, body = fetched(http.client.HTTPConnection(host, port, timeout=PATIENCE))

    assert status == 200
    assert samples(body)["addrsvc_addresses_wanted{netns=blue}"] == 2


def test_another_configuration_serves_elsewhere(serving: Scraping, tmp_path: Path) -> None:
    for name in ("one", "two"):
        serving.configure(Metrics(Listen(path=str(tmp_path / name))))
        assert fetched(ByPath(tmp_path / name))[0] == 200

    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/metrics?x=y", 200), ("GET", "/", 200), ("HEAD", "/metrics", 200), ("GET", "/etc/passwd", 404),
     ("POST", "/metrics", 405)],
)  # fmt: skip
def test_there_is_one_thing_to_fetch(serving: Scraping, tmp_path: Path, method: str, path: str, status: int) -> None:
    serving.configure(Metrics(Listen(path=str(tmp_path / "metrics"))))
    answered, body = fetched(ByPath(tmp_path / "metrics"), path, method)

    assert answered == status
    assert bool(body) == (method != "HEAD")


@pytest.mark.parametrize(
    "said", [b"", b"x", b"GET /metrics\r\n\r\n", b"\0" * 20_000, b"GET  / HTTP/1.1\r\n\r\n", b"\r\n\r\n"]
)
def test_who_talks_nonsense_holds_up_nobody(
    serving: Scraping, tmp_path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraping, "_PATIENCE", 0.05)
    serving.configure(Metrics(Listen(path=str(tmp_path / "metrics"))))
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as talking:
        for sock in (silent, talking):
            sock.connect(str(tmp_path / "metrics"))
        talking.sendall(said)

        assert fetched(ByPath(tmp_path / "metrics"))[0] == 200


def test_without_descriptors_it_waits_for_some(serving: Scraping, tmp_path: Path) -> None:
    serving.configure(Metrics(Listen(path=str(tmp_path / "metrics"))))
    with closing(ByPath(tmp_path / "metrics")) as connection:
        with descriptors(1):
            used = time.process_time()
            connection.request("GET", "/metrics")
            assert not select.select([connection.sock], [], [], 0.3)[0]
            assert time.process_time() - used < 0.15
        assert connection.getresponse().status == 200


def test_that_it_cannot_be_served_is_told_and_is_all(
    service_: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Scraping(service_, service_.kept.ring, Log()) as serving:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            serving.configure(Metrics(Listen(host="127.0.0.1", port=taken.getsockname()[1])))
        assert "Address already in use" in capsys.readouterr().err

        serving.configure(Metrics(Listen(path=str(tmp_path / "metrics"))))
        assert fetched(ByPath(tmp_path / "metrics"))[0] == 200


def test_without_prometheus_client_it_says_what_is_missing(
    service_: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with Scraping(service_, service_.kept.ring, Log()) as serving:
        serving.configure(Metrics(Listen(path=str(tmp_path / "metrics"))))

    assert "pip install 'addrsvc[metrics]'" in capsys.readouterr().err


def test_when_the_keeper_has_ended_there_is_nothing_to_fetch(tmp_path: Path) -> None:
    class Ended:
        def ask(self, question: Callable[[Keeper], T]) -> T:
            raise ControlError("it has ended")

    with Scraping(Ended(), Ring(), Log()) as serving:
        serving.configure(Metrics(Listen(path=str(tmp_path / "metrics"))))

        assert fetched(ByPath(tmp_path / "metrics")) == (503, "it has ended\n")
