"""addrsvc.daemon.keeping and vitals: the keeper's thread, and what the service manager is told of it."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from addrsvc.daemon import vitals
from addrsvc.daemon.keeping import KeeperThread, NotRunning
from addrsvc.daemon.vitals import Vitals
from addrsvc.errors import ConfigError, ControlError
from addrsvc.keeper.events import Ring
from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NetNs, create_named, remove_named
from tests.waiting import PATIENCE, until

RULE = '[[rule]]\nname = "it"\nnamespaces = ["{}"]\naddresses = ["{}"]\n'


class Manager:
    """A service manager, as far as it listens."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind(str(path))
        self.told: list[str] = []

    def has_heard(self, word: str) -> bool:
        while True:
            try:
                self.told += self._sock.recv(4096).decode().splitlines()
            except BlockingIOError:
                return any(line.startswith(word) for line in self.told)

    def fill(self) -> None:
        """Have so much to read that no more can be said."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock, suppress(BlockingIOError):
            while True:
                sock.sendto(b"X_UNREAD=1", self._sock.getsockname())

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def config(tmp_path: Path, netns: NetNs) -> Path:
    """Rules for the namespace alone, by the path of the descriptor on it."""
    path = tmp_path / "addrsvc.toml"
    path.write_text(RULE.format(_selector(netns), "fd00::1"))
    return path


def _selector(netns: NetNs) -> str:
    return f"/proc/{os.getpid()}/fd/{netns.fileno()}"


@pytest.fixture
def failures() -> list[BaseException]:
    return []


@pytest.fixture
def impatient(config: Path) -> None:
    """The rules, and little time for what cannot be had."""
    config.write_text("[daemon]\npatience = 0.2\n" + config.read_text())


@pytest.fixture
def thread(config: Path) -> Iterator[KeeperThread]:
    with KeeperThread(lambda: [config], Ring(), lambda: None) as thread:
        yield thread


def told(thread: KeeperThread, name: str) -> list[dict[str, object]]:
    return [dict(event.fields) for event in thread.ring.since(0)[0] if event.name == name]


def test_it_keeps_what_the_configuration_names(thread: KeeperThread, netns: NetNs) -> None:
    thread.start()
    assert thread.ask(lambda keeper: [kept.label for kept in keeper]) == [_selector(netns)]
    assert thread.ask(Keeper.summary).lacking is None
    with Requests.to(netns.fileno()) as requests:
        requests.ask([DELETE_LOOPBACK])
        until(lambda: requests.has(LOOPBACK[0]))


def test_another_configuration_takes_the_place_of_the_one_before(
    thread: KeeperThread, config: Path, netns: NetNs
) -> None:
    thread.start()
    config.write_text(RULE.format(_selector(netns), "fd00::2"))
    thread.reload()
    with Requests.to(netns.fileno()) as requests:
        until(lambda: {key[0][-1] for key in requests.addresses() if key[0][:1] == b"\xfd"} == {2})


def test_a_wrong_configuration_leaves_the_one_before_in_force(thread: KeeperThread, config: Path) -> None:
    thread.start()
    config.write_text("[[rule]]\nnames = 1\n")
    with pytest.raises(ConfigError):
        thread.reload()
    (failed,) = told(thread, "reload failed")
    assert "names" in str(failed["problems"])
    assert thread.ask(Keeper.summary).lacking is None


def test_what_a_question_refuses_is_raised_where_it_was_asked(thread: KeeperThread) -> None:
    thread.start()
    with pytest.raises(ControlError, match="not kept"):
        thread.ask(lambda keeper: keeper.resume("elsewhere"))


def test_a_bug_ends_it_and_is_told(config: Path) -> None:
    ended = threading.Event()
    with KeeperThread(lambda: [config], Ring(), ended.set) as thread:
        thread.start()

        def bug(keeper: Keeper) -> None:
            raise LookupError("a bug")

        with pytest.raises(NotRunning):
            thread.ask(bug)
        assert ended.wait(PATIENCE)
        assert isinstance(thread.failure, LookupError)


def test_readiness_waits_for_the_addresses_and_for_who_serves(
    thread: KeeperThread, manager: Manager, netns: NetNs
) -> None:
    thread.start()
    until(lambda: manager.has_heard("STATUS=Keeping 2 of 2 addresses in 1 namespace"))
    assert not manager.has_heard("READY=1")
    thread.serving()
    until(lambda: manager.has_heard("READY=1"))


def test_what_is_missing_keeps_it_from_being_ready(
    thread: KeeperThread, manager: Manager, netns: NetNs, config: Path
) -> None:
    from addrsvc.mirror.rtnl import RtnlKernel

    with RtnlKernel(netns) as somebody:
        somebody.link_set("lo", up=True)
        somebody.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
        thread.start()
        thread.serving()
        until(lambda: manager.has_heard("STATUS=Keeping 0 of 2 addresses"))
        why = f"{_selector(netns)}: ::1/128 is not there: IPv6 is disabled, and 1 more"
        assert any(line.endswith(f"; not ready: {why}") for line in manager.told)
        until(lambda: told(thread, "not ready") == [{"why": why}])
        assert not manager.has_heard("READY=1")
        somebody.sysctl("net.ipv6.conf.lo.disable_ipv6", 0)
        until(lambda: manager.has_heard("READY=1"))
        until(lambda: told(thread, "ready") == [{}])


def test_another_namespace_is_waited_for_a_while_only_and_is_kept_all_the_same(
    impatient: None, thread: KeeperThread, manager: Manager, netns: NetNs
) -> None:
    from addrsvc.mirror.rtnl import RtnlKernel

    why = f"{_selector(netns)}: ::1/128 is not there: IPv6 is disabled, and 1 more"
    with RtnlKernel(netns) as somebody, Requests.to(netns.fileno()) as requests:
        somebody.link_set("lo", up=True)
        somebody.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
        thread.start()
        thread.serving()
        until(lambda: manager.has_heard("READY=1"))
        assert told(thread, "not ready") == [{"why": why}]
        assert told(thread, "ready") == [{"count": 1, "without": [_selector(netns)]}]
        manager.told.clear()
        thread.ask(lambda keeper: keeper.look(_selector(netns)))
        somebody.sysctl("net.ipv6.conf.lo.disable_ipv6", 0)
        until(lambda: requests.has(LOOPBACK[0]))
        until(lambda: manager.has_heard("STATUS=Keeping 2 of 2 addresses in 1 namespace"))


def test_a_reload_makes_nothing_ready_that_waits_still(thread: KeeperThread, manager: Manager, netns: NetNs) -> None:
    from addrsvc.mirror.rtnl import RtnlKernel

    with RtnlKernel(netns) as somebody:
        somebody.link_set("lo", up=True)
        somebody.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
        thread.start()
        thread.serving()
        until(lambda: told(thread, "not ready"))
        thread.reload()
        assert not manager.has_heard("READY=1")

        somebody.sysctl("net.ipv6.conf.lo.disable_ipv6", 0)
        until(lambda: manager.has_heard("READY=1"))
        assert not manager.has_heard("RELOADING=1")
    thread.reload()
    assert manager.told.count("READY=1") == 1
    assert manager.has_heard("RELOADING=1")
    assert manager.told.count("READY=1") == 2


def test_the_status_of_one_that_is_ready_tells_what_is_missing(
    thread: KeeperThread, manager: Manager, netns: NetNs
) -> None:
    from addrsvc.mirror.rtnl import RtnlKernel

    thread.start()
    thread.serving()
    until(lambda: manager.has_heard("READY=1"))
    with RtnlKernel(netns) as somebody:
        somebody.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
    why = f"{_selector(netns)}: ::1/128 is not there: IPv6 is disabled, and 1 more"
    until(lambda: manager.has_heard(f"STATUS=Keeping 0 of 2 addresses in 1 namespace; {why}"))


def test_who_keeps_what_it_waits_for_is_told(thread: KeeperThread, manager: Manager, netns: NetNs) -> None:
    with open(f"/proc/self/fd/{netns.fileno()}") as other:
        flock(other.fileno(), LOCK_EX)
        thread.start()
        thread.serving()
        comm = Path("/proc/self/comm").read_text().rstrip()
        why = f"{_selector(netns)}: another service keeps it: process {os.getpid()} ({comm})"
        until(lambda: manager.has_heard("STATUS=Keeping 0 of 2 addresses"))
        assert any(line.endswith(f"; not ready: {why}") for line in manager.told)
        until(lambda: told(thread, "not ready") == [{"why": why}])
    until(lambda: manager.has_heard("READY=1"))


def test_a_start_has_more_time_only_as_long_as_it_gets_on(
    thread: KeeperThread, manager: Manager, netns: NetNs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attaching a namespace is getting on; waiting for IPv6 to be switched on again is not."""
    from addrsvc.mirror.rtnl import RtnlKernel

    monkeypatch.setattr(vitals, "_ASK_EVERY", 0.0)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with RtnlKernel(netns) as somebody:
        somebody.link_set("lo", up=True)
        somebody.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
        thread.start()
        thread.serving()
        until(lambda: manager.has_heard("EXTEND_TIMEOUT_USEC=20000000"))
        for _ in range(3):
            manager.told.clear()
            until(lambda: manager.has_heard("WATCHDOG=1"))
        assert not manager.has_heard("EXTEND_TIMEOUT_USEC")


@pytest.fixture
def hurried(config: Path) -> None:
    """The rules, and a real-time priority."""
    config.write_text("[daemon]\nrealtime = 3\n" + config.read_text())


def test_what_repairs_has_a_real_time_priority_and_nothing_else(
    hurried: None, thread: KeeperThread, manager: Manager, netns: NetNs
) -> None:
    thread.start()
    thread.serving()
    until(lambda: manager.has_heard("READY=1"))
    if told(thread, "refused"):
        pytest.skip("a real-time priority needs CAP_SYS_NICE")
    threads = {it.name: os.sched_getscheduler(it.native_id or 0) for it in threading.enumerate()}
    hurries = {name for name, policy in threads.items() if policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO}
    assert hurries == {"keeper"}
    assert "courier" in threads


def test_that_a_bind_succeeds_at_last_is_noticed(
    thread: KeeperThread, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells it."""
    reasons = ["bind to ::1: Cannot assign requested address"]
    monkeypatch.setattr(Keeper, "wants_loopback", lambda keeper, label: True)
    monkeypatch.setattr(Vitals, "_why_no_bind", lambda vitals: "".join(reasons))
    thread.start()
    thread.serving()
    until(lambda: told(thread, "not ready") == [{"why": reasons[0]}])
    reasons.clear()
    until(lambda: manager.has_heard("READY=1"))


def test_the_watchdog_is_fed_as_long_as_a_kernel_answers(
    thread: KeeperThread, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    thread.start()
    until(lambda: manager.has_heard("WATCHDOG=1"))
    monkeypatch.setattr(Keeper, "is_alive", lambda keeper: False)
    thread.ask(lambda keeper: thread.courier.send("X_ALL=told"))
    until(lambda: manager.has_heard("X_ALL"))
    manager.told.clear()
    for _ in range(5):
        thread.ask(Keeper.summary)
    assert not manager.has_heard("WATCHDOG=1")


def test_a_manager_that_does_not_read_keeps_nothing_waiting(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap_sys_admin: None
) -> None:
    monkeypatch.setattr("addrsvc.daemon.systemd._PATIENCE", 10 * PATIENCE)
    manager.fill()
    names = [f"unread-{secrets.token_hex(6)}" for _ in range(2)]
    config = tmp_path / "addrsvc.toml"
    config.write_text(RULE.format("unread-*", "fd00::1"))
    with ExitStack() as stack:
        thread = stack.enter_context(KeeperThread(lambda: [config], Ring(), lambda: None))
        stack.callback(manager.has_heard, "")  # lest the thread waits for it at the end
        thread.start()
        for name in names:
            netns = stack.enter_context(create_named(name))
            stack.callback(remove_named, name)
            asking = stack.enter_context(Requests.to(netns.fileno()))
            for _ in range(2):
                until(lambda asking=asking: asking.has(LOOPBACK[0]))  # type: ignore[misc]
                asking.ask([DELETE_LOOPBACK])
            until(lambda asking=asking: asking.has(LOOPBACK[0]))  # type: ignore[misc]
        until(lambda: manager.has_heard(f"FDNAME=heard-{names[-1]}"))
