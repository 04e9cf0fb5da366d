"""Fire datagrams at the model's netlink door, as many as wanted.

    python -m tests.fuzz --datagrams 1000000 --seed 1 --jobs 2
    python -m tests.fuzz --configurations 20000
    python -m tests.fuzz --control 10000
    python -m tests.fuzz --heard 100000

Half of them are grown or meant, the rest mutated or noise, the same for the same seed.  After each, what must hold is
looked at (see target.py).  Memory is measured whenever everything that requests can delete has been deleted, with how
much state is left: permanent rules and routing tables can be deleted by no request, in the running kernel either, and
gather until there is a fresh machine.  It ends with status 1 where something does not hold, where memory grows, or
where a machine keeps more than its state needs.
"""

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz import configurations, control, heard
from tests.fuzz.generator import Generator
from tests.fuzz.target import Broken, Target

LEG: Final = 25_000
"""Datagrams between two measures of memory."""
LEGS: Final = 4
"""Measures of one machine."""
WARM: Final = 4
"""Measures until caches are full and every module is loaded."""
FLAT: Final = 1 << 20
"""Bytes by which memory may grow after that: what the allocator keeps, never what the model does."""
EACH, SLACK = 4, 100
"""Python objects by which a machine may grow for each message or table that is left, and for other reasons."""
HEARING, ROOM, TIME = 16, 64, 32
"""Datagrams, on average, between two looks at what was told, two tidyings, and two steps of time."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What there is when everything that requests can delete has been deleted.

    Attributes:
        leg: counts the measures of a machine, from 0.
        size: how much state the machine has still (see Target.size).
        objects: what Python's collector knows, garbage aside.
        resident: bytes of memory.
    """

    leg: int
    size: int
    objects: int
    resident: int


@dataclass
class Shot:
    """What came of one seed."""

    seed: int
    datagrams: int = 0
    seconds: float = 0.0
    measures: list[Measure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    broken: str = ""

    def measure(self, target: Target, leg: int, *, tells: bool) -> None:
        """Take down how much memory there is, and what for."""
        target.clear()
        size = target.size()
        gc.collect()
        self.measures.append(Measure(leg, size, len(gc.get_objects()), resident()))
        if tells:
            mib = self.measures[-1].resident / (1 << 20)
            sys.stderr.write(f"seed {self.seed}: {self.datagrams} datagrams, {mib:.1f} MiB, state {size}\n")

    @property
    def is_flat(self) -> bool:
        """Whether memory does not grow."""
        warm = [measure.resident for measure in self.measures[WARM:]]
        return not warm or max(warm) - warm[0] <= FLAT

    @property
    def keeps_its_state_alone(self) -> bool:
        """Whether no machine has come to keep more objects than the state that it has gathered explains."""
        first = Measure(0, 0, 0, 0)
        for measure in self.measures:
            first = measure if measure.leg == 0 else first
            if measure.objects - first.objects > EACH * max(0, measure.size - first.size) + SLACK:
                return False
        return True

    @property
    def complaint(self) -> str:
        """What does not hold, if anything."""
        if self.broken:
            return self.broken
        if not self.keeps_its_state_alone:
            return "a machine keeps more than its state"
        return "" if self.is_flat else "memory is not flat"

    def __str__(self) -> str:
        rows = {
            "MiB resident": [f"{measure.resident / (1 << 20):.1f}" for measure in self.measures],
            "state": [f"{measure.size}" for measure in self.measures],
            "objects": [f"{measure.objects}" for measure in self.measures],
        }
        told = "".join(f"\n  {name}: {' '.join(row)}" for name, row in rows.items())
        return f"seed {self.seed}: {self.datagrams} datagrams, {self.seconds:.0f} s: {self.complaint or 'holds'}{told}"


def resident() -> int:
    """Bytes of memory that this process holds just now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fire(seed: int, datagrams: int, *, leg: int = LEG, tells: bool = False) -> Shot:
    """Fire the datagrams of one seed; with `tells`, say after each leg how far it has come."""
    rng, shot, start = Random(seed), Shot(seed), time.monotonic()
    generator, target, datagram = Generator(rng), Target(shot.counts), b""
    try:
        for number in range(1, datagrams + 1):
            datagram = generator.datagram()
            target.feed(datagram, rng.randrange(1 << 16))
            shot.datagrams = number
            _meanwhile(target, rng)
            if number % leg == 0:
                shot.measure(target, (number // leg - 1) % LEGS, tells=tells)
            if number % (LEGS * leg) == 0:
                target = Target(shot.counts)
        datagram = b""
    except Broken as broken:
        shot.broken, datagram = str(broken), b""
    finally:
        if datagram:
            sys.stderr.write(f"seed {seed}: an exception escapes, after {datagram.hex()}\n")
    shot.seconds = time.monotonic() - start
    return shot


def _meanwhile(target: Target, rng: Random) -> None:
    """What else happens on a machine."""
    if not rng.randrange(HEARING):
        target.hear()
    if not rng.randrange(ROOM):
        target.make_room()
    if not rng.randrange(TIME):
        target.pass_time(rng.choice((0, 0.004, 0.5, 3)))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--datagrams", type=int, default=100_000, help="how many in all (default 100000)")
    parser.add_argument("--configurations", type=int, help="read so many broken configurations instead")
    parser.add_argument("--control", type=int, help="send a service so many messages that are no requests instead")
    parser.add_argument("--heard", type=int, help="let a keeper hear so many datagrams that no kernel sends instead")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; each job has its own (default 1)")
    parser.add_argument("--jobs", type=int, default=1, help="how many at the same time (default 1)")
    arguments = parser.parse_args(argv)
    seeds = range(arguments.seed, arguments.seed + arguments.jobs)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for volley, count in _others(arguments):
            if count is not None:
                sys.stdout.writelines(pool.map(partial(_in_words, volley, count // arguments.jobs), seeds))
                return 0
        firing = partial(fire, datagrams=arguments.datagrams // arguments.jobs, tells=True)
        shots = list(pool.map(firing, seeds))
    sys.stdout.writelines(f"{line}\n" for line in report(shots))
    return int(any(shot.complaint for shot in shots))


def _others(arguments: argparse.Namespace) -> tuple[tuple[Callable[[int, int], object], int | None], ...]:
    """What else can be fired, and how much of it."""
    return (
        (configurations.fire, arguments.configurations),
        (control.fire, arguments.control),
        (heard.fire, arguments.heard),
    )


def _in_words(volley: Callable[[int, int], object], count: int, seed: int) -> str:
    return f"{volley(seed, count)}\n"


def report(shots: Sequence[Shot]) -> list[str]:
    """What a reader wants to know, in lines."""
    counts = sum((shot.counts for shot in shots), Counter())
    return [*map(str, shots), "; ".join(f"{name} {count}" for name, count in counts.most_common())]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
