"""A throw-away machine as a test sees it: commands that run inside, files, the journal."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from tests.systemd.boot import ENVIRONMENT, SKIP
from tests.waiting import PATIENCE, until

__all__ = ["CannotBoot", "Machine"]

_REPOSITORY: Final = Path(__file__).parents[2]


class CannotBoot(Exception):
    """This machine cannot boot another beside itself; the text says why."""


class Machine:
    """A systemd, booted.

    Args:
        binds: directories of this machine, and where it is to see them.

    Attributes:
        pid: its process 1, as this machine numbers it.

    Raises:
        CannotBoot: there is no way.
        AssertionError: there should have been.
    """

    def __init__(self, binds: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.systemd.boot", json.dumps(binds)],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        pid = self._process.stdout.readline().strip()
        if not pid:
            _, reason = self._process.communicate()
            if self._process.returncode == SKIP:
                raise CannotBoot(reason.strip())
            raise AssertionError(reason)
        self.pid = int(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate(timeout=PATIENCE)

    def path(self, inside: str) -> Path:
        """Where this machine sees a file of that one."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def write(self, inside: str, text: str) -> None:
        """Write a file, in a directory that is made if need be."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *words: str, code: int | None = 0, user: str = "root") -> str:
        """Run a command inside, and give what it wrote, standard error first.

        Args:
            words: the command.
            code: how it must end; None for any way.
            user: who runs it.
        """
        as_user = () if user == "root" else ("runuser", f"--user={user}", "--")
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", "--", *as_user, *words],
            env={**ENVIRONMENT, "SYSTEMD_PAGER": "cat", "SYSTEMD_COLORS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        said = (done.stderr + done.stdout).strip()
        if code not in (None, done.returncode):
            last = "" if words[0] == "journalctl" else self.run("journalctl", "--lines=20", "--output=cat", code=None)
            raise AssertionError(f"{words}: {done.returncode}, not {code}\n{said}\nin the journal:\n{last}")
        return said

    @contextmanager
    def running(self, *words: str) -> Iterator[None]:
        """A command that runs inside until the block is over, as long as its standard input is open."""
        argv = ["nsenter", "--target", str(self.pid), "--all", "--", *words]
        with subprocess.Popen(argv, env=ENVIRONMENT, stdin=subprocess.PIPE):
            yield

    def systemctl(self, *words: str, code: int | None = 0) -> str:
        """Run systemctl(1)."""
        return self.run("systemctl", *words, code=code)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit, as systemctl(1) has it."""
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def require_uring(self, unit: str) -> None:
        """Have a unit's main process have an io_uring, soon; what this machine gives to nobody is not asked for."""
        said = Path("/proc/sys/kernel/io_uring_disabled")
        if said.exists() and said.read_text().strip() != "0":
            pytest.skip("this machine gives no io_uring to a service (kernel.io_uring_disabled)")
        pid = self.show(unit, "MainPID")
        assert until(lambda: "anon_inode:[io_uring]" in self.run("ls", "-l", f"/proc/{pid}/fd"))

    def require_exposure(self, unit: str, most: int) -> None:
        """Have systemd-analyze(1) find a unit exposed no more than so many tenths."""
        if int(self.systemctl("--version").split()[1]) < 250:
            pytest.skip("systemd-analyze(1) knows no threshold before systemd 250")
        self.run("systemd-analyze", "security", f"--threshold={most}", unit)

    def journal(self, *matches: str) -> list[dict[str, str]]:
        """What the journal holds, oldest first; see journalctl(1) for what may be matched."""
        self.run("journalctl", "--sync", code=None)
        lines = self.run("journalctl", "--quiet", "--output=json", "--all", *matches, code=None).splitlines()
        return [json.loads(line) for line in lines]
