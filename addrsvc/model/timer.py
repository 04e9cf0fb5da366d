"""kernel/time/timer.c and the work queues, as far as order goes: what is due runs by expiry, then by order of arming.

Time is a whole number of jiffies that someone hands in; nothing here looks at a clock.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, TypeAlias, TypeVar

__all__ = [
    "HZ", "INITIAL_JIFFIES", "USER_HZ", "Timer", "TimerBase", "cstamp_delta", "del_timer",
    "jiffies_to_clock_t", "jiffies_to_msecs", "mod_timer", "msecs_to_jiffies", "next_expiry", "queue_work",
    "round_jiffies", "round_jiffies_up", "run_timers", "skip_idle",
]  # fmt: skip

HZ: Final = 250
"""Jiffies in a second."""
INITIAL_JIFFIES: Final = (1 << 32) - 300 * HZ
"""Jiffies at boot: five minutes before 32 bits overflow."""
USER_HZ: Final = 100
MAX_JIFFY_OFFSET: Final = (1 << 62) - 2
"""Clock ticks in a second, as user space is told of them."""


T = TypeVar("T")


class Timer:
    """struct timer_list, or a delayed work: a function and when to call it.  `armed` is its place, or None."""

    __slots__ = ("armed", "function")

    def __init__(self, function: Callable[[], None]) -> None:
        """A timer that is not armed."""
        self.function = function
        self.armed: tuple[int, int] | None = None


WorkItem: TypeAlias = tuple[int, int, Callable[[Any, int], None], Any]
"""Jiffies and serial number when it was queued, the function, and what it is given."""


class TimerBase:
    """struct timer_base: the armed timers of one machine, its jiffies, and the work that waits for no time to pass.

    Attributes:
        heap: jiffies of expiry, serial number and timer; stale ones are left in until they come up.
        work: work items as they were queued.
        serial: counts what was armed or queued.
    """

    __slots__ = ("heap", "jiffies", "serial", "work")

    def __init__(self, jiffies: int = INITIAL_JIFFIES) -> None:
        """Start the clock at `jiffies`."""
        self.jiffies = jiffies
        self.serial = 0
        self.heap: list[tuple[int, int, Timer]] = []
        self.work: deque[WorkItem] = deque()

    def push(self, timer: Timer, expires: int) -> None:
        """Arm `timer`, whose earlier place, if any, becomes stale."""
        self.serial += 1
        timer.armed = (expires, self.serial)
        heappush(self.heap, (expires, self.serial, timer))

    def peek(self) -> Timer | None:
        """The next armed timer."""
        heap = self.heap
        while heap:
            expires, serial, timer = heap[0]
            if timer.armed == (expires, serial):
                return timer
            heappop(heap)
        return None

    def timer_is_before(self, item: WorkItem) -> bool:
        """Whether a timer is due before a work item."""
        if not self.heap or self.heap[0][0] > item[0]:
            return False
        timer = self.peek()
        return timer is not None and timer.armed is not None and timer.armed < item[:2]


def queue_work(base: TimerBase, function: Callable[[T, int], None], data: T) -> int:
    """Have `function` called with `data`, and with the number returned here, once what was queued before has been.

    By that number it can see whether it is still wanted: nothing is ever taken off the queue.

    Kernel: kernel/workqueue.c, queue_work().
    """
    base.serial = serial = base.serial + 1
    base.work.append((base.jiffies, serial, function, data))
    return serial


def mod_timer(base: TimerBase, timer: Timer, expires: int) -> None:
    """Arm a timer, or move one that is armed.

    Kernel: kernel/time/timer.c, mod_timer(); kernel/workqueue.c, mod_delayed_work().
    """
    base.push(timer, expires)


def del_timer(timer: Timer) -> bool:
    """Disarm a timer.  True if it was armed.

    Kernel: kernel/time/timer.c, timer_delete(); kernel/workqueue.c, cancel_delayed_work().
    """
    was_armed = timer.armed is not None
    timer.armed = None
    return was_armed


def next_expiry(base: TimerBase) -> int | None:
    """The jiffies at which something is due next, or None.  Ours."""
    if base.work:
        return base.work[0][0]
    timer = base.peek()
    return timer.armed[0] if timer is not None and timer.armed else None


def run_timers(base: TimerBase, now: int) -> None:
    """Let time pass until `now`, running each timer at its own time.  Time never goes back.

    Kernel: kernel/time/timer.c, __run_timers().
    """
    _run_work(base)
    while (timer := base.peek()) is not None and timer.armed is not None and timer.armed[0] <= now:
        base.jiffies = max(base.jiffies, timer.armed[0])
        timer.armed = None
        timer.function()
        _run_work(base)
    if now > base.jiffies:
        base.jiffies = now


def _run_work(base: TimerBase) -> None:
    """Work off what was queued, until a timer comes first."""
    work, heap = base.work, base.heap
    while work and not (heap and base.timer_is_before(work[0])):
        _, serial, function, data = work.popleft()
        function(data, serial)


def jiffies_to_clock_t(jiffies: int) -> int:
    """Jiffies as 1/100 s.

    Kernel: kernel/time/time.c, jiffies_to_clock_t().
    """
    return jiffies * USER_HZ // HZ


def jiffies_to_msecs(jiffies: int) -> int:
    """A span of time in milliseconds.

    Kernel: kernel/time/time.c, jiffies_to_msecs().
    """
    return jiffies * (1000 // HZ)


def msecs_to_jiffies(msecs: int) -> int:
    """Milliseconds, of which 32 bits count, as jiffies, rounded up; what would be negative is a very long time.

    Kernel: kernel/time/time.c, msecs_to_jiffies().
    """
    msecs &= 0xFFFFFFFF
    return MAX_JIFFY_OFFSET if msecs >> 31 else -(-msecs * HZ // 1000)


def cstamp_delta(jiffies: int) -> int:
    """A point in time as 1/100 s since boot.

    Kernel: include/net/addrconf.h, cstamp_delta().
    """
    return (jiffies - INITIAL_JIFFIES) * USER_HZ // HZ


def round_jiffies(jiffies: int) -> int:
    """The whole second that a timer may as well run at: up to a quarter of one earlier, or else later.

    Kernel: kernel/time/timer.c, round_jiffies().
    Differs: no per-CPU skew.
    """
    return (jiffies + HZ - HZ // 4) // HZ * HZ


def round_jiffies_up(jiffies: int) -> int:
    """The next whole second, so that timers of one second run together.

    Kernel: kernel/time/timer.c, round_jiffies_up().
    Differs: no per-CPU skew.
    """
    return -(-jiffies // HZ) * HZ


def skip_idle(first: int, period: int, limit: int) -> int:
    """When to come back for whoever would come at `first` and then periodically, and has nothing to do before `limit`.

    It is the last time but one: from there on it is armed when it would have been, and runs in the same turn.  Ours.
    """
    return first + max(0, (limit - first) // period - 1) * period
