"""One thread's epoll: descriptors that are ready, timers that are due, and calls that come from other threads."""

import heapq
import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Final, Self, TypeAlias

__all__ = ["Loop", "Timer"]

Callback: TypeAlias = Callable[[], object]

_AT_ONCE: Final = 256
"""How many ready descriptors are looked at before it is asked again which are."""
_QUIET: Final = 0.001
"""For how many seconds nothing must have been ready before what was left for afterwards is done.  The thread sleeps
meanwhile: the kernel, too, leaves work for later, such as telling that an address can be used, and does it where the
thread that caused it runs, once that does not."""
_ROUNDS: Final = 256
"""How often it is asked, at most, before what was left for afterwards is done."""


class Timer:
    """A call that is due at some time; `cancel` it when it is not wanted any more."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callback) -> None:
        self._callback: Callback | None = callback

    def cancel(self) -> None:
        """It will not be called; a second time does nothing."""
        self._callback = None

    @property
    def is_pending(self) -> bool:
        """Whether it will be called yet."""
        return self._callback is not None

    def fire(self) -> None:
        """Call it, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


def _nothing() -> None:
    """What there is to do where nobody has anything to do."""


class Loop:
    """Waits for descriptors, timers and calls, and does one after the other.

    What it calls must not wait.  An exception of a callback ends `run` with it.  Only `call` and `stop` may be used by
    other threads, and by signal handlers.

    Attributes:
        afterwards: has something called when nothing is ready any more, or too much has been: what must not delay
            what is.
        at_first: called before what is ready.
        at_last: called at the end of each turn.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._calls: deque[Callback] = deque()
        self._afterwards: deque[Callback] = deque()
        self.afterwards: Final[Callable[[Callback], None]] = self._afterwards.append
        self.at_first: Callback = _nothing
        self.at_last: Callback = _nothing
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._bell, self._rung)
        self._is_stopped = False

    # --- what to wait for ---

    def watch(self, fd: int, callback: Callback, events: int = select.EPOLLIN) -> None:
        """Call back whenever a descriptor is ready (level-triggered); watching it again changes both."""
        if fd in self._readers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._readers[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Watch a descriptor no more, before it is closed; a second time does nothing."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call back after a while."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def call(self, callback: Callback) -> None:
        """Call back soon, in the loop's thread, in the order of asking; from any thread, or a signal handler."""
        self._calls.append(callback)
        with suppress(BlockingIOError):
            os.eventfd_write(self._bell, 1)

    def _rung(self) -> None:
        os.eventfd_read(self._bell)

    # --- waiting ---

    def run(self) -> None:
        """Wait and call until `stop`."""
        while not self._is_stopped:
            self.turn(self._pause())

    def stop(self) -> None:
        """End `run`; from any thread, or a signal handler."""
        self._is_stopped = True
        self.call(lambda: None)

    def turn(self, seconds: float | None = 0.0) -> None:
        """Wait so long at most (None: for ever), and call what is ready or due once."""
        self._call_ready(seconds)
        if self._afterwards:
            self._wait_for_quiet()
        while self._afterwards:
            self._afterwards.popleft()()
        for _ in range(len(self._calls)):
            self._calls.popleft()()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2].fire()
        self.at_last()

    def _wait_for_quiet(self) -> None:
        """Call what is ready until nothing is, or there was too much."""
        for _ in range(_ROUNDS):
            if not self._call_ready(_QUIET):
                break

    def _call_ready(self, seconds: float | None) -> bool:
        """Wait so long at most, and call what is ready; whether anything was."""
        readers = self._readers
        ready = self._epoll.poll(seconds, _AT_ONCE)
        self.at_first()
        for fd, _ in ready:
            if fd in readers:  # it may have been closed by one before it
                readers[fd]()
        return bool(ready)

    def _pause(self) -> float | None:
        while self._timers and not self._timers[0][2].is_pending:
            heapq.heappop(self._timers)
        if self._calls or self._afterwards:
            return 0.0
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def close(self) -> None:
        """Give back its own descriptors."""
        self._epoll.close()
        os.close(self._bell)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
