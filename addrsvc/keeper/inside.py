"""Going into a network namespace for a moment, to open there what works from anywhere afterwards.

`addrsvc.mirror.netns.run_in` gives each visit a thread of its own, which never has to come back.  Who visits thousands
of namespaces goes there in its own thread, where it is certain that it may come back: that is tried beforehand.
"""

import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from addrsvc.mirror.libc import CLONE_NEWNET, setns
from addrsvc.mirror.netns import THIS_ONE, NetNs, run_in

__all__ = ["inside"]

T = TypeVar("T")


def inside(netns_fd: int | None, function: Callable[[], T], label: str = "network namespace") -> T:
    """Call a short function inside a namespace; its result or its exception comes back.

    Args:
        netns_fd: a descriptor of the namespace; None for the one that the calling thread is in.
        function: what to call.  It may be called in another thread or, in a copy of this process, for a namespace
            that belongs to a user namespace of the caller's: see `run_in`.
        label: what to call the namespace where it cannot be entered.

    Raises:
        KernelError: it cannot be entered; the text says what is missing.
    """
    if netns_fd is None:
        return function()
    home = _HERE.home
    if home is None or not _enter(netns_fd):
        with NetNs(os.dup(netns_fd), label) as netns:
            return run_in(netns, function)
    _HERE.home = None  # who goes on from there goes by another thread
    try:
        return function()
    finally:
        setns(home.fd, CLONE_NEWNET)
        _HERE.home = home


def _enter(netns_fd: int) -> bool:
    try:
        setns(netns_fd, CLONE_NEWNET)
    except OSError:  # run_in knows other ways, and says what is missing for them
        return False
    return True


class _Home:
    """The namespace that a thread was in when it first visited another one."""

    def __init__(self) -> None:
        self.fd = os.open(THIS_ONE, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # which outlives this module
        close(self.fd)


class _Here(threading.local):
    """What is known of each thread: the way back, or None where there is none.

    Entering the namespace where one is already takes the same privilege as coming back to it does.
    """

    def __init__(self) -> None:
        home = _Home()
        self.home: _Home | None = home if _enter(home.fd) else None


_HERE: Final = _Here()
