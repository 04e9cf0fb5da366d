"""Quarrels: somebody undoes what we do, we do it again, and when that becomes a fight we do it ever more seldom.

A quarrel is about one thing of one namespace: an address, or lo being up.  It begins with the first repair and is
forgotten when nobody undid anything for a while.
"""

import os
from itertools import islice
from socket import NETLINK_ROUTE
from typing import Final

from addrsvc.keeper.inside import inside
from addrsvc.keeper.loop import Timer
from addrsvc.keeper.wanted import FightLimits

__all__ = ["Quarrel", "process_name", "suspects"]

_OPPONENTS: Final = 8
"""How many port ids are remembered of those who undid something."""


class Quarrel:
    """What is remembered of one thing that was undone.

    Attributes:
        times: when, in seconds of the monotonic clock; the last few within FightLimits.within.
        wait: seconds until the next repair; 0 as long as this is no fight.
        timer: what is due: the next repair, or the end of the fight.
        opponents: the port ids of those who did it, where the kernel told them.
    """

    __slots__ = ("opponents", "timer", "times", "wait")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.wait = 0.0
        self.timer: Timer | None = None
        self.opponents: tuple[int, ...] = ()

    @property
    def is_fight(self) -> bool:
        """Whether repairs have to wait."""
        return self.wait > 0

    def count(self, now: float, portid: int, limits: FightLimits) -> bool:
        """Count one reversal; whether it has made a fight of the quarrel."""
        self.times = [
            time for time in self.times[max(0, len(self.times) + 1 - limits.reversals) :] if now - time < limits.within
        ]
        self.times.append(now)
        if portid and portid not in self.opponents:
            self.opponents = (*self.opponents, portid)[-_OPPONENTS:]
        if self.is_fight or len(self.times) < limits.reversals:
            return False
        self.wait = limits.first_wait
        return True

    def next_wait(self, limits: FightLimits) -> float:
        """How many seconds the next repair has to wait; the one after that waits twice as long."""
        wait = self.wait
        self.wait = min(2 * wait, limits.longest_wait)
        return wait

    def is_over(self, now: float, limits: FightLimits) -> bool:
        """Whether it can be forgotten."""
        return not self.is_fight and (not self.times or now - self.times[-1] >= limits.within)

    def rearm(self, timer: Timer | None) -> None:
        """Have something else due, or nothing."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer


def suspects(netns_fd: int | None) -> list[str]:
    """Processes that have rtnetlink open in a namespace, beside this one: who undoes things there may be among them."""
    try:
        rows = inside(netns_fd, _netlink_sockets)
    except OSError:
        return []
    portids = {int(pid) for _, protocol, pid, *_ in rows if int(protocol) == NETLINK_ROUTE}
    there = (portid for portid in sorted(portids) if portid != os.getpid() and os.path.exists(f"/proc/{portid}"))
    return [process_name(portid) for portid in islice(there, _OPPONENTS) if portid]


def _netlink_sockets() -> list[list[str]]:
    with open("/proc/thread-self/net/netlink", encoding="ascii") as file:
        return [line.split() for line in file][1:]


def process_name(portid: int) -> str:
    """What is known of who holds a port id: ``NetworkManager (731)``; the port id is the process's, as a rule."""
    try:
        with open(f"/proc/{portid}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()} ({portid})"
    except OSError:
        return f"port id {portid}"
