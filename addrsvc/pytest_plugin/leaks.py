"""What a test may leave behind: names of namespaces, descriptors, threads, processes."""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from addrsvc.mirror.netns import NETNS_RUN_DIR

__all__ = ["check_leaks"]

_PATIENCE: Final = 1.0
"""Seconds that a thread is given to end by itself."""


class check_leaks:
    """A block that has to leave nothing behind which was not there before.

    Raises:
        AssertionError: names of namespaces, descriptors, threads or processes are left; the text lists them.
    """

    def __enter__(self) -> None:
        self._threads, self._before = set(threading.enumerate()), _belongings()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        __tracebackhide__ = True
        gc.collect()
        left = [*_threads_but(self._threads), *sorted(_belongings() - self._before)]
        if left and kind is None:
            raise AssertionError("left behind:" + "".join(f"\n  {what}" for what in left))


def _threads_but(known: set[threading.Thread]) -> Iterator[str]:
    for thread in threading.enumerate():
        if thread not in known:
            thread.join(_PATIENCE)
        if thread not in known and thread.is_alive():
            yield f"thread {thread.name!r}"


def _belongings() -> set[str]:
    return {*_descriptors(), *_children(), *_names()}


def _descriptors() -> Iterator[str]:
    """Each descriptor with what it leads to; that which lists them is gone when it is looked at."""
    for number in _listed(Path("/proc/self/fd")):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{number}")
            yield f"descriptor {number}: {'network namespace ' if target.startswith('net:') else ''}{target}"


def _children() -> Iterator[str]:
    ours = str(os.getpid())
    for pid in filter(str.isdecimal, _listed(Path("/proc"))):
        with suppress(OSError):
            name, _, rest = Path("/proc", pid, "stat").read_text().partition("(")[2].rpartition(")")
            if rest.split()[1] == ours:
                yield f"process {pid}: {name}"


def _names() -> Iterator[str]:
    """The names below /run/netns.  Workers of pytest-xdist share them, and look away."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for name in _listed(NETNS_RUN_DIR):
            yield f"network namespace {name!r} in {NETNS_RUN_DIR}"


def _listed(directory: Path) -> list[str]:
    """The names in a directory; none where there is no such directory, as outside Linux."""
    try:
        return os.listdir(directory)
    except OSError:
        return []
