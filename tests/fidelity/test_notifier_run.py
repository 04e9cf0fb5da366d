"""The netdevice chain's order and call count, against the running kernel's tracepoint notifier:notifier_run."""

import ctypes
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from addrsvc import Linux
from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.model.tracepoint import CallbackRan, Recorded, StoryEntry, Tracepoint
from addrsvc.netlink.messages import Message
from tests.fidelity.asks import add, delete, down, up

CLONE_NEWNS = 0x20000
MS_PRIVATE_REC = 0x44000
ADDRESS = "2001:db8::1/64"


class NoTracefs(Exception):
    """Why the tracepoint is out of reach."""


@contextmanager
def tracing(mount_point: Path) -> Iterator[Path]:
    """A trace instance of our own, with notifier_run on for the calling thread alone; it must end soon.

    The thread gets a mount namespace of its own, so that nobody else sees tracefs appear.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    target = os.fsencode(mount_point)
    for step, failed in (
        ("a mount namespace", libc.unshare(CLONE_NEWNS)),
        ("a private mount namespace", libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_PRIVATE_REC), None)),
        ("tracefs", libc.mount(b"nodev", target, b"tracefs", ctypes.c_ulong(0), None)),
    ):
        if failed:
            raise NoTracefs(f"{step} cannot be had: {os.strerror(ctypes.get_errno())}")
    instance = mount_point / "instances" / f"addrsvc-{os.getpid()}"
    event = instance / "events/notifier/notifier_run/enable"
    try:
        instance.mkdir()
    except OSError as error:
        raise NoTracefs(f"a trace instance cannot be made: {error}") from None
    try:
        if not event.exists():
            raise NoTracefs("this kernel has no tracepoint notifier:notifier_run")
        (instance / "set_event_pid").write_text(str(threading.get_native_id()))
        event.write_text("1")
        yield instance
        event.write_text("0")
    finally:
        instance.rmdir()


def running_story(netns: NetNs, asks: Sequence[Message], mount_point: Path) -> list[str]:
    """The callbacks that the running kernel called for the requests, in order."""
    with RtnlKernel(netns) as kernel, tracing(mount_point) as instance:
        for ask in asks:
            kernel.request(ask)
        lines = (instance / "trace").read_text()
    return re.findall(r"notifier_run: (\w+)", lines)


def model_story(asks: Sequence[Message]) -> tuple[list[str], set[str]]:
    """The callbacks that the model called for the requests, in order, and the names of all that it knows."""
    linux = Linux(trace=True)
    booting = list(linux.trace.story())
    linux.trace.clear()
    for ask in asks:
        linux.init_net.request(ask)
    return callbacks(linux.trace.story()), registered(booting)


def callbacks(story: Iterable[StoryEntry]) -> list[str]:
    return [entry.name for entry in story if isinstance(entry, CallbackRan)]


def registered(story: Iterable[StoryEntry]) -> set[str]:
    hits = (entry.what for entry in story if isinstance(entry, Recorded) and isinstance(entry.what, Tracepoint))
    return {hit.text for hit in hits if hit.name == "notifier_register"}


@pytest.mark.parametrize(
    "asks",
    [(up(),), (up(), down()), (up(), down(), up()), (up(), add(ADDRESS), delete(ADDRESS))],
    ids=["up", "up, down", "up, down, up", "up, add, delete"],
)
def test_the_callbacks_run_in_the_kernels_order_and_number(
    netns: NetNs, tmp_path: Path, asks: tuple[Message, ...]
) -> None:
    """Nested chains included: those of the addresses run inside inetdev_event and addrconf_notify."""
    with ThreadPoolExecutor(1) as thread:
        try:
            running = thread.submit(running_story, netns, asks, tmp_path).result()
        except NoTracefs as reason:
            pytest.skip(str(reason))
    model, known = model_story(asks)

    assert "addrconf_notify" in known
    assert model == [name for name in running if name in known]
