"""Hostile clients of the control socket, and what must hold: a clear error or a closed connection each, and a service
that still heals.

The service is a real one, in a process and a network namespace of its own; its clients may do everything, so that what
they send gets as far as it can.
"""

import inspect
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from addrsvc.daemon.client import INTERFACE, KEEPER, Client, method_name
from addrsvc.daemon.commands import CHANGES, QUERIES
from addrsvc.daemon.orders import ORDERS
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NetNs, create_anonymous, run_in

__all__ = ["Broken", "ControlVolley", "Service", "call", "fire", "message"]

PATIENCE: Final = 30.0
EACH: Final = 250
"""Messages between two looks whether it still heals."""
AT_ONCE: Final = 40
"""Connections at the same time, now and then."""
CONFIG: Final = """\
[daemon]
log_format = "json"
[control]
allow_real_injection = true
[[rule]]
name = "fuzzed"
namespaces = ["host", "nowhere"]
addresses = ["fd00::1", "192.0.2.1"]
fights = { reversals = 1000000 }
"""


class Broken(Exception):
    """Something does not hold."""


# --- the service ------------------------------------------------------------------------------------------------------


class Service:
    """A service in a process and a namespace of its own."""

    def __init__(self, directory: Path, netns: NetNs) -> None:
        self.path = directory / "control"
        self.log = directory / "log"
        self._config = directory / "addrsvc.toml"
        self._config.write_text(CONFIG)
        self.process = run_in(netns, self._started)
        self._requests = Requests.to(netns.fileno())
        self._until(self.path.exists)

    def _started(self) -> "subprocess.Popen[bytes]":
        env = {name: value for name, value in os.environ.items() if name not in ("JOURNAL_STREAM", "NOTIFY_SOCKET")}
        python = [sys.executable, "-X", "faulthandler", "-m", "addrsvc"]
        words = [*python, "run", "--config", str(self._config), "--control", str(self.path)]
        with self.log.open("wb") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, env=env)

    def must_run(self) -> None:
        """See that it has not ended."""
        if self.process.poll() is not None:
            raise Broken(f"the service has ended: {self.log.read_text()[-4000:]}")

    def _until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            self.must_run()
            if time.monotonic() > end:
                raise self.fails("it does not come true")
            time.sleep(0.002)

    def fails(self, why: object) -> Broken:
        """What is raised where it does not answer: with what it is about."""
        self.process.send_signal(signal.SIGABRT)
        self.process.wait(PATIENCE)
        return Broken(f"{why}: {self.log.read_text()[-4000:]}")

    def must_heal(self) -> None:
        """Delete ::1, and see it come back; a sensible client is answered, too."""
        self._until(lambda: self._requests.has(LOOPBACK[0]))
        self._requests.ask([DELETE_LOOPBACK])
        self._until(lambda: self._requests.has(LOOPBACK[0]))
        with Client(self.path) as client:
            client.ask("describe", {}, interface=KEEPER)
        bugs = [line for line in self.log.read_text().splitlines() if '"event": "bug"' in line]
        if bugs:
            raise Broken(f"a bug: {bugs[0]}")

    def sockets(self) -> int:
        """How many it has open."""
        return sum(_is_socket(f"/proc/{self.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{self.process.pid}/fd"))

    def sockets_at_rest(self) -> int:
        """How many it has open when all are gone that have just talked to it, and its own are there."""
        before = -1
        while before != (count := self.sockets()):
            before = count
            time.sleep(0.1)
        return count

    def close(self) -> None:
        self._requests.close()
        self.process.terminate()
        self.process.wait(PATIENCE)


def _is_socket(path: str) -> bool:
    """Whether a descriptor is still there, and of a socket."""
    with suppress(FileNotFoundError):
        return os.readlink(path).startswith("socket:")
    return False


@contextmanager
def running() -> Iterator[Service]:
    """A service while the block runs."""
    with tempfile.TemporaryDirectory(prefix="addrsvc-fuzz-") as name, create_anonymous() as netns:
        service = Service(Path(name), netns)
        try:
            yield service
        finally:
            service.close()


# --- what is sent -----------------------------------------------------------------------------------------------------

_COMMANDS: Final[Mapping[str, Callable[..., object]]] = {
    **{f"{INTERFACE}.{method_name(name)}": function for name, function in {**QUERIES, **CHANGES}.items()},
    **{f"{KEEPER}.{method_name(name)}": order.run for name, order in ORDERS.items()},
    f"{INTERFACE}.Monitor": lambda it, *, replay: None,
    f"{KEEPER}.Monitor": lambda it, *, cursor, replay, netns, level: None,
    f"{KEEPER}.Wait": lambda it, *, condition, seconds: None,
    "org.varlink.service.GetInfo": lambda it: None,
    "org.varlink.service.GetInterfaceDescription": lambda it, *, interface: None,
}
_NAMES: Final = {method: list(inspect.signature(function).parameters)[1:] for method, function in _COMMANDS.items()}
TEXTS: Final = (
    "", "lo", "host", "nowhere", "::1", "::1/128", "fd00::1", "::1 on lo", "all wanted", "UP", "NETDEV_DOWN", "info",
    "net.ipv6.conf.lo.disable_ipv6", "net/if_inet6", "../../etc/passwd", "a\0b", "\ud800", "é" * 300, "x" * 70000,
    "%s%n", "1e999", "-1", "/proc/self/ns/net", "pid:1", "*", "\x1b[2J",
)  # fmt: skip
NUMBERS: Final = (0, 1, -1, 2**31, 2**32, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"))


def _value(rng: Random, depth: int = 0) -> Any:  # noqa: ANN401 - of any kind
    kinds: list[Callable[[], Any]] = [
        lambda: rng.choice(TEXTS),
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice((None, True, False)),
    ]
    if depth < 3:
        kinds.append(lambda: [_value(rng, depth + 1) for _ in range(rng.randrange(4))])
        kinds.append(lambda: {rng.choice(TEXTS[:12]): _value(rng, depth + 1) for _ in range(rng.randrange(4))})
    return rng.choice(kinds)()


_ADDRESSES: Final = ("::1", "fd00::1", "192.0.2.1", "fd00::/8", "::", "127.0.0.1/8", "x", "fd00::1/129", "")
_WORDS: Final = ("::1", "fd00::1", "on", "not", "lo", "in", "host", "nowhere", "up", "gone", "all", "wanted", "\0", "*")
_LIKELY: Final[Mapping[str, Callable[[Random], Any]]] = {
    "addresses": lambda rng: [rng.choice(_ADDRESSES) for _ in range(rng.randrange(3))],
    "address": lambda rng: rng.choice(_ADDRESSES),
    "condition": lambda rng: " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(7))),
    "cursor": lambda rng: f"{rng.choice(('', 'ffff', 'x' * 16))}:{rng.choice(NUMBERS)}",
    "event": lambda rng: rng.choice(("UP", "DOWN", "CHANGEMTU", "NETDEV_REGISTER", "7")),
    "netns": lambda rng: rng.choice(("host", "nowhere", ["host"], "host/../..", "*")),
    "dev": lambda rng: rng.choice(("lo", "eth0", "")),
    "seconds": lambda rng: rng.choice((0, 0.01, 1e9, -1)),
    "most": lambda rng: rng.choice((0, -1, 1, 10**6)),
    "level": lambda rng: rng.choice(("debug", "info", "warn")),
    **dict.fromkeys(("details", "files", "replay", "up"), lambda rng: rng.random() < 0.5),
}
"""Values that some command may take."""


def call(rng: Random) -> dict[str, Any]:
    """A call that is one, as far as its form goes: of a method that there is, with parameters that may be wrong."""
    method = rng.choice(list(_NAMES))
    chosen = [name for name in _NAMES[method] if rng.random() < 0.6]
    made: dict[str, Any] = {
        "method": method,
        "parameters": {
            name: _LIKELY[name](rng) if name in _LIKELY and rng.random() < 0.8 else _value(rng) for name in chosen
        },
    }
    if rng.random() < 0.5 or method.endswith(("Monitor", "Keeper.List", "Keeper.Plan", "Keeper.Apply")):
        made["more"] = True
    return made


def _odd(rng: Random) -> dict[str, Any]:
    """A call whose form is wrong somewhere."""
    made = call(rng)
    key = rng.choice(["method", "parameters", "more", "oneway", "upgrade", "error", "continues"])
    made[key] = _value(rng)
    if rng.random() < 0.2:
        del made[rng.choice(list(made))]
    return made


def _whole(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass") + b"\0"


def _mutated(rng: Random) -> bytes:
    data = bytearray(_whole(call(rng)))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.randrange(3)] = rng.choice((b"\0", b'"', b"{", b"}", b"\xff", b"\\u", rng.randbytes(2)))
    return bytes(data) + b"\0"


def _deep(rng: Random) -> bytes:
    depth = rng.choice((50, 500, 5000, 50000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return b'{"method":"org.addrsvc.Keeper.Describe","parameters":' + opening * depth + b"1" + closing * depth + b"}\0"


def _huge(rng: Random) -> bytes:
    size = rng.choice((1 << 16, 1 << 18, 1 << 20))
    return rng.choice((b"x" * size, _whole({"method": "x" * size}), b"\0" * 1000, b"{" + b" " * size + b"}\0"))


_WAYS: Final[tuple[Callable[[Random], bytes], ...]] = (
    lambda rng: rng.randbytes(rng.choice((1, 10, 1000))) + rng.choice((b"", b"\0")),
    lambda rng: _whole(_value(rng)),
    lambda rng: _whole(call(rng)),
    lambda rng: _whole(call(rng)),
    lambda rng: _whole(_odd(rng)),
    lambda rng: _whole(_odd(rng)),
    _mutated,
    _mutated,
    lambda rng: _whole(call(rng))[: rng.randrange(40)],
    lambda rng: b"".join(_whole(call(rng)) for _ in range(rng.randrange(30))),
    _deep,
    _huge,
)


def message(rng: Random) -> bytes:
    """Something that a client may send."""
    return rng.choice(_WAYS)(rng)


# --- what comes of it -------------------------------------------------------------------------------------------------


def judge(data: bytes) -> list[str]:
    """What a service has answered, in a word for each reply.

    Raises:
        Broken: that is no answer.
    """
    *replies, rest = data.split(b"\0")
    if rest:
        return [*map(_judged, replies), "half a reply"]
    return list(map(_judged, replies))


def _judged(data: bytes) -> str:
    try:
        reply = json.loads(data)
    except ValueError:
        raise Broken(f"no JSON: {data[:200]!r}") from None
    error = reply.get("error")
    if error is None:
        return "answered"
    if not isinstance(error, str) or "InternalServerError" in error:
        raise Broken(f"no clear error: {data[:200]!r}")
    return error.rpartition(".")[2]


@dataclass
class ControlVolley:
    """What came of the messages of one seed."""

    seed: int
    count: int = 0
    seconds: float = 0.0
    sockets: tuple[int, int] = (0, 0)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.most_common())
        before, after = self.sockets
        return (
            f"seed {self.seed}: {self.count} messages, {self.seconds:.0f} s, and it heals; "
            f"{before} sockets before and {after} after; {counts}"
        )


def fire(seed: int, count: int) -> ControlVolley:
    """Send so many messages, the same for the same seed.

    Raises:
        Broken: something does not hold.
    """
    rng, volley, start = Random(seed), ControlVolley(seed), time.monotonic()
    with running() as service:
        service.must_heal()
        before = service.sockets_at_rest()
        while volley.count < count:
            some = min(AT_ONCE if rng.random() < 0.1 else 1, count - volley.count)
            service.must_run()
            messages = [message(rng) for _ in range(some)]
            try:
                volley.counts.update(_exchange(service.path, messages, rng))
            except (BlockingIOError, ConnectionError) as error:
                raise service.fails(error) from None
            if volley.count // EACH != (volley.count + some) // EACH:
                service.must_heal()
            volley.count += some
        service.must_heal()
        service._until(lambda: service.sockets() <= before)
        volley.sockets = before, service.sockets()
    volley.seconds = time.monotonic() - start
    return volley


def _exchange(path: Path, messages: list[bytes], rng: Random) -> list[str]:
    """Send each message over a connection of its own, all at once; what came of them."""
    found: list[str] = []
    conns = [_sent(path, data, rng) for data in messages]
    for conn in conns:
        with conn:
            found += _answered(conn, rng)
    return found


def _sent(path: Path, data: bytes, rng: Random) -> socket.socket:
    conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))
    conn.connect(str(path))  # blocking: else it does not wait where many others do
    conn.settimeout(0.2)
    with suppress(OSError):
        if rng.random() < 0.05:
            socket.send_fds(conn, [data[:1]], [0, 1, 2])
            data = data[1:]
        conn.sendall(data)
    with suppress(OSError):
        if rng.random() < 0.7:
            conn.shutdown(socket.SHUT_WR)
    return conn


def _answered(conn: socket.socket, rng: Random) -> list[str]:
    """What comes back until it ends, or until a moment passes in which nothing does."""
    data = b""
    patience = rng.choice((0.0, 0.01, 0.05))
    while select.select([conn], [], [], patience)[0]:
        try:
            more = conn.recv(1 << 16)
        except OSError:
            return [*judge(data), "hung up"]
        if not more:
            return [*judge(data), "closed"]
        data += more
        if len(data) > 1 << 20:
            break
    return [*judge(data), "left"]
