"""The cgroup of a throw-away machine: below our own, and killed and removed however we end."""

import os
import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["Cgroup", "NoCgroup"]

_PREFIX: Final = "addrsvc-test-systemd-"
_STALE: Final = 300.0
"""An empty one that is older was left by a run whose janitor was killed, too."""


class NoCgroup(Exception):
    """There is no cgroup2 hierarchy that we may write to."""


class Cgroup:
    """A new cgroup, and the janitor who takes it away.

    The janitor is a process that waits for this one to end, even by SIGKILL, and then kills and removes the cgroup.

    Raises:
        NoCgroup: none can be made.
    """

    def __init__(self) -> None:
        base = _own()
        _sweep(base)
        self.path = base / f"{_PREFIX}{uuid.uuid4().hex[:12]}"
        self._janitor, self._alive = _fork_janitor(self.path)
        try:
            self.path.mkdir()
        except OSError as error:
            raise NoCgroup(f"no cgroup of our own: {error}") from None

    def enter(self) -> None:
        """Move the calling process into it."""
        (self.path / "cgroup.procs").write_text("0")

    def let_go(self) -> None:
        """In a child: be none of those for whom the janitor waits."""
        os.close(self._alive)

    def close(self) -> None:
        """Have it taken away, and wait until it is."""
        os.close(self._alive)
        os.waitpid(self._janitor, 0)
        _remove(self.path)  # in case that somebody killed the janitor


def _own() -> Path:
    """Where the kernel shows this process's own cgroup of the second version."""
    of_this_process = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"]
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        root, mounted_on = left.split()[3:5]
        if right.split()[0] == "cgroup2" and of_this_process:
            below = os.path.relpath(of_this_process[0], root)
            path = Path(mounted_on) if below.startswith("..") else Path(mounted_on, below)
            if os.access(path, os.W_OK):
                return path
    raise NoCgroup("no writable cgroup2 hierarchy is mounted")


def _fork_janitor(path: Path) -> tuple[int, int]:
    """The janitor's process id, and the descriptor whose last copy being closed is what it waits for."""
    gone, alive = os.pipe()
    pid = os.fork()
    if pid:
        os.close(gone)
        return pid, alive
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.dup2(gone, 3)
        os.closerange(4, 65536)
        os.read(3, 1)
        _remove(path)
    finally:
        os._exit(0)


def _remove(path: Path, seconds: float = 10.0) -> None:
    """Kill what is left in it, and below, and remove both."""
    deadline = time.monotonic() + seconds
    while path.is_dir() and time.monotonic() < deadline:
        below = [Path(name) for name, _, _ in os.walk(path, topdown=False)]
        with suppress(OSError):
            _kill(path, below)
        for directory in below:
            with suppress(OSError):
                directory.rmdir()
        time.sleep(0.002 if path.is_dir() else 0)


def _kill(path: Path, below: list[Path]) -> None:
    if (path / "cgroup.kill").exists():  # since Linux 5.14
        (path / "cgroup.kill").write_text("1")
        return
    for directory in below:
        for pid in (directory / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def _sweep(base: Path) -> None:
    for left in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            is_empty = "populated 0" in (left / "cgroup.events").read_text()
            if is_empty and time.time() - left.stat().st_mtime > _STALE:
                _remove(left, 1.0)
