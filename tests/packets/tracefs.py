"""A trace instance of the running kernel: which tracepoints the packets of one thread pass.

tracefs is mounted nowhere for it: the mount is made detached, and reached by its descriptor alone.
"""

import ctypes
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

__all__ = ["NoTracefs", "Tracer", "mounted", "tracing"]

# Numbers of system calls that all architectures share.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSCONFIG_CMD_CREATE: Final = 6
_CLOEXEC: Final = 1
_NUMBERS = count(1)
_EVENT: Final = re.compile(r"\]\s+\S+\s+[\d.]+: (\w+: .*)")
_ADDRESS: Final = re.compile(r"skbaddr=(\S+)")


class NoTracefs(Exception):
    """Why the tracepoints are out of reach."""


def _syscall(what: str, number: int, *args: object) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *args)
    if result < 0:
        raise NoTracefs(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _mount() -> int:
    """A descriptor of the root of tracefs."""
    context = _syscall("tracefs cannot be opened", _FSOPEN, b"tracefs", _CLOEXEC)
    try:
        _syscall("tracefs cannot be set up", _FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall("tracefs cannot be mounted", _FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


class Tracer:
    """What an instance has recorded, line by line, and forgotten once it was read."""

    def __init__(self, instance: int) -> None:
        self._instance = instance

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, flags, dir_fd=self._instance)

    def write(self, name: str, text: str) -> None:
        """Write one of the files of the instance."""
        fd = self._open(name, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def clear(self) -> None:
        """Forget what was recorded."""
        os.close(self._open("trace", os.O_WRONLY | os.O_TRUNC))

    def lines(self) -> list[str]:
        """What the tracepoints printed since the last clear(), oldest first."""
        with open(self._open("trace", os.O_RDONLY)) as trace:
            return [found[1] for line in trace if (found := _EVENT.search(line))]


def of_packets(lines: Iterable[str]) -> list[str]:
    """The lines without what is different every time: addresses, which become numbers, and hashes."""
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"skbaddr={numbers.setdefault(found[1], len(numbers))}"

    return [re.sub(r"\bhash=0x\w+", "hash", _ADDRESS.sub(number, line)) for line in lines]


def _ksoftirqd() -> list[int]:
    """The threads that may receive what the tracing thread has sent."""
    names = Path("/proc").glob("[0-9]*/comm")
    found = []
    for name in names:
        with suppress(OSError):
            if name.read_text().startswith("ksoftirqd/"):
                found.append(int(name.parent.name))
    return found


@contextmanager
def mounted() -> Iterator[int]:
    """A descriptor of the root of tracefs.

    Raises:
        NoTracefs: it cannot be had, and why.
    """
    root = _mount()
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def tracing(events: Iterable[str]) -> Iterator[Tracer]:
    """An instance of its own with these events on (``net/netif_rx``), for the calling thread.

    Raises:
        NoTracefs: it cannot be had, and why.
    """
    name = f"instances/addrsvc-{os.getpid()}-{next(_NUMBERS)}"
    with mounted() as root:
        try:
            os.mkdir(name, dir_fd=root)
        except OSError as error:
            raise NoTracefs(f"a trace instance cannot be made: {error.strerror}") from None
        instance = os.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=root)
        try:
            tracer = Tracer(instance)
            tracer.write("set_event_pid", " ".join(map(str, (threading.get_native_id(), *_ksoftirqd()))))
            for event in events:
                tracer.write(f"events/{event}/enable", "1")
            yield tracer
            tracer.write("events/enable", "0")
        finally:
            os.close(instance)
            os.rmdir(name, dir_fd=root)
