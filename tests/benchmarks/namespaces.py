"""Many namespaces: heard, healed all at once, and noticed as they appear; by the service, by C, and by pyroute2.

All contenders are processes of their own, beside the one in C that does the harm and waits until it is mended.
"""

import gc
import json
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from time import perf_counter_ns, sleep
from typing import Any, Final, NamedTuple, TypeAlias

from addrsvc.keeper import events
from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.messages import DELETE_LOOPBACK
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import FightLimits, Wanted
from addrsvc.keeper.watch import AutoWatch, NsidWatch, SocketWatch, Watch
from addrsvc.mirror.netns import NETNS_RUN_DIR, NoNetns, create_named, open_netns, remove_named

PATIENCE: Final = 60.0
_REST: Final = 0.1
_FEW: Final = 100
_MANY: Final = 1000
_NO_FIGHT: Final = f"fights = {{ reversals = {_MANY} }}\n"
"""What undoes every repair here does not want to be left alone."""
WATCHES: Final[dict[str, Callable[..., Watch[Any]]]] = {"sockets": SocketWatch, "nsid": NsidWatch, "auto": AutoWatch}

Healer: TypeAlias = Callable[[], AbstractContextManager[object]]


def why_not() -> str:
    """What keeps all of this from being measured; empty if nothing does."""
    if shutil.which("gcc") is None:
        return "there is no gcc to build the peer with"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        return "no namespace can be made"
    return ""


# --- what is measured with --------------------------------------------------------------------------------------------


class Bench(NamedTuple):
    """Namespaces called PREFIX0, PREFIX1 and so on, and the peer in C."""

    prefix: str
    size: int
    program: Path

    @property
    def names(self) -> list[str]:
        return [f"{self.prefix}{number}" for number in range(self.size)]

    @property
    def selector(self) -> str:
        return f"{self.prefix}*"

    def peer(self, what: str, *arguments: str | int) -> list[str]:
        """The command that has the peer do something."""
        return [str(self.program), what, *map(str, arguments or (self.prefix, self.size))]

    def ask(self, what: str, *arguments: str | int) -> int:
        """Have the peer do something; the number that it tells."""
        return int(subprocess.run(self.peer(what, *arguments), check=True, stdout=subprocess.PIPE).stdout)


@contextmanager
def bench(count: int) -> Iterator[Bench]:
    """So many namespaces, gone afterwards."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        program = Path(directory, "namespaces")
        subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_suffix(".c")], check=True)
        made = Bench(f"addrsvc-bench-{secrets.token_hex(4)}-", count, program)
        for name in made.names:
            create_named(name).close()
            stack.callback(remove_named, name)
        yield made


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that says when it is ready, and is killed in the end with all that it has started."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise AssertionError(f"{command[0]} did not get ready")
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


class Daemon(NamedTuple):
    """The service, ready."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def cpu(self) -> float:
        """Seconds of processor time that it has taken, in itself and in the kernel."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    @property
    def memory(self) -> int:
        """Bytes of its own that are resident."""
        (line,) = (
            line
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            if line.startswith("RssAnon:")
        )
        return int(line.split()[1]) * 1024

    @property
    def resident(self) -> int:
        """Bytes that are resident, shared ones as well."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def told(self, name: str) -> int:
        """How often it has told an event."""
        return sum(json.loads(line)["event"] == name for line in self.log.read_text().splitlines())


@contextmanager
def daemon(selector: str, method: str = "auto", more: str = "") -> Iterator[Daemon]:
    """The service, keeping what a selector means."""
    with tempfile.TemporaryDirectory() as directory:
        config, log, ready = (Path(directory, name) for name in ("addrsvc.toml", "log", "ready"))
        rule = f'[[rule]]\nname = "bench"\nnamespaces = ["{selector}"]\n{_NO_FIGHT}'
        config.write_text(f'[watch]\nmethod = "{method}"\n{more}{rule}')
        command = [sys.executable, "-m", "addrsvc", "run", "--json", "--config", str(config)]
        command += ["--control", str(Path(directory, "control"))]
        with manager(ready) as await_readiness, log.open("wb") as out:
            process = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": str(ready)}, stderr=out)
            try:
                await_readiness()
                yield Daemon(process, log)
            finally:
                process.terminate()
                process.wait(PATIENCE)


@contextmanager
def manager(path: Path) -> Iterator[Callable[[], None]]:
    """A service manager that reads whatever it is told; gives a function that waits until a service is ready."""
    is_ready = Event()

    def read() -> None:
        while told := notified.recv(1 << 12):
            if b"READY=1" in told:
                is_ready.set()

    def await_readiness() -> None:
        if not is_ready.wait(PATIENCE):
            raise AssertionError("the service did not get ready")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(path))
        reader = Thread(target=read)
        reader.start()
        try:
            yield await_readiness
        finally:
            notified.shutdown(socket.SHUT_RD)
            reader.join()


# --- ::1 taken from all at once ---------------------------------------------------------------------------------------


USUAL: Final = "addrsvc, auto"
C_EPOLL: Final = "C, epoll, a socket each"
ASYNC: Final = "pyroute2 AsyncIPRoute"
SHELL: Final = "ip monitor | while read"
_SHELL: Final = """
(sleep 1; echo ready) &
ip monitor address | while read -r line; do
    case $line in "Deleted "*" inet6 ::1/128 "*) ip address add ::1/128 dev lo;; esac
done
"""


def healers(made: Bench) -> dict[str, Healer]:
    """Who heals, by what it is called; others than C only where namespaces are few, since each takes them a process."""
    contenders: dict[str, Healer] = {
        C_EPOLL: lambda: running(made.peer("heal")),
        **{f"addrsvc, {method}": partial(daemon, made.selector, method) for method in WATCHES},
    }
    if made.size <= _FEW:
        command = [sys.executable, "-m", "tests.benchmarks.async_healer", *made.names]
        contenders[ASYNC] = lambda: running(command)
    if made.size == 1:
        contenders[SHELL] = lambda: running(["ip", "netns", "exec", *made.names, "sh", "-c", _SHELL])
    return contenders


def storms(made: Bench, healer: Healer, laps: int, rest: float = _REST) -> list[int]:
    """Nanoseconds until all namespaces have ::1 again, for each time that it was taken from all of them.

    The first time is not counted, when programs fault their pages in.  Before each there is time to finish whatever a
    healer leaves for later.
    """
    with healer() as peer, running(made.peer("storm")) as storm:
        times = [_storm(storm, peer, rest) for _ in range(laps + 1)]
    return times[1:]


def _storm(storm: subprocess.Popen[str], healer: object, rest: float) -> int:
    assert storm.stdin is not None
    assert storm.stdout is not None
    sleep(rest)
    storm.stdin.write("again\n")
    storm.stdin.flush()
    if not (line := storm.stdout.readline()):
        told = healer.log.read_text()[-2000:] if isinstance(healer, Daemon) else ""
        raise AssertionError(f"a namespace does not get ::1 back from {healer}: {told}")
    return int(line)


# --- under load -------------------------------------------------------------------------------------------------------


REAL_TIME: Final = "[daemon]\nrealtime = 10\n"


@contextmanager
def hogs() -> Iterator[None]:
    """As many processes that want the processor for themselves as there are processors."""
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(hog.kill)
        yield


def memory_with_pyroute2() -> int:
    """Bytes that are resident in a process that has imported pyroute2, and has done nothing else."""
    code = "import pyroute2\nprint(open('/proc/self/statm').read().split()[1])"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    return int(done.stdout) * resource.getpagesize()


# --- attached, and started --------------------------------------------------------------------------------------------


class Deaf:
    """Hears nothing."""

    def heard(self, kept: object, message: bytes) -> None:
        """A message."""

    def interests(self, kept: object) -> tuple[bytes, ...]:
        """Nothing is."""
        return ()

    def lost(self, kept: object, seconds: float) -> None:
        """A loss."""

    def limited(self, why: str) -> None:
        """A limit."""


def attached(made: Bench, method: str) -> int:
    """Nanoseconds that it takes to open and hear all namespaces, in the way that the service does.

    There is no collection of garbage before it, which would leave nothing in the caches, nor during it.
    """
    fds = []
    with Loop() as loop:
        watch = WATCHES[method](loop, Deaf())
        gc.disable()
        began = perf_counter_ns()
        for name in made.names:
            fd = os.open(f"{NETNS_RUN_DIR}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            fds.append(fd)
            watch.attach(name, fd)
        took = perf_counter_ns() - began
        gc.enable()
        watch.close()
    for fd in fds:
        os.close(fd)
    return took


def started(selector: str, method: str) -> tuple[float, int]:
    """Seconds of processor time that the service took until it was ready, and bytes that it has of its own then."""
    with daemon(selector, method) as served:
        return served.cpu, served.memory


# --- noticed ----------------------------------------------------------------------------------------------------------


def noticed(made: Bench, count: int) -> int:
    """How many of so many namespaces that ``ip netns add`` makes, one by one, have their lo up when it has ended.

    They go when all of them were made: the end of one holds RTNL, for which whoever brings lo up has to wait.
    """
    names = [f"{made.prefix}new-{number}" for number in range(count)]
    try:
        return sum(made.ask("spawn", name) for name in names)
    finally:
        for name in names:
            with suppress(NoNetns):
                remove_named(name)


# --- bursts -----------------------------------------------------------------------------------------------------------


class One:
    """A configuration that wants ::1 in one namespace."""

    def __init__(self, name: str) -> None:
        self._name = name

    def selectors(self) -> tuple[str, ...]:
        """Which one."""
        return (self._name,)

    def wanted(self, *names: str) -> Wanted:
        """What is wanted there."""
        return Wanted(fights=FightLimits(reversals=_MANY))


def taken_in(made: Bench, method: str, messages: int, rounds: int) -> list[float]:
    """Nanoseconds that the keeper takes for each message about an address of others, for each round of so many.

    They are there before it begins to read, so that it is never kept waiting; behind them ::1 is missing, and all is
    over when that has been put back.
    """
    ring, ended, times = events.Ring(), list[events.Event](), list[float]()
    ring.subscribe(lambda event: ended.append(event) if event.name == "repaired" else None)
    with (
        Loop() as loop,
        open_netns(made.names[0]) as netns,
        Requests.to(netns.fileno()) as requests,
        ExitStack() as stack,
    ):
        keeper = Keeper(loop, ring, One(made.names[0]), make_watch=WATCHES[method])
        stack.callback(keeper.close)
        keeper.start()
        for _ in range(rounds):
            ended.clear()
            made.ask("burst", made.names[0], messages)
            requests.ask([DELETE_LOOPBACK])
            gc.collect()
            began = perf_counter_ns()
            while not ended:
                loop.turn()
            times.append((perf_counter_ns() - began) / messages)
    if any(event.name == "lost" for event in ring.since(1)[0]):
        raise AssertionError("the buffer was too small for what is measured")
    return times


def burst_heard(made: Bench, served: Daemon, messages: int) -> tuple[int, int]:
    """How many losses the service told after a burst at the speed of the kernel, and how long the burst took."""
    took = made.ask("burst", made.names[0], messages)
    return served.told("lost"), took
