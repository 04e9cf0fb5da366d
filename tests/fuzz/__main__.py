"""Fire datagrams at the model's netlink door, as many as wanted.

    python -m tests.fuzz --datagrams 1000000 --seed 1 --jobs 2

Half of them are grown or meant, the rest mutated or noise, the same for the same seed.  After each, what must hold is
looked at (see target.py); memory is measured on the way.  It ends with status 1 where something does not hold.
"""

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.generator import Generator
from tests.fuzz.target import Broken, Target

MEASURES: Final = 20
"""How often memory is measured."""
WARM: Final = 4
"""Measures until caches are full and every module is loaded."""
FLAT: Final = 4 << 20
"""Bytes by which memory may grow after that: what the allocator keeps, never what the model does."""
HEARING, ROOM, TIME = 16, 64, 32
"""Datagrams, on average, between two looks at what was told, two tidyings, and two steps of time."""


@dataclass
class Shot:
    """What came of one seed."""

    seed: int
    datagrams: int = 0
    seconds: float = 0.0
    memory: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    broken: str = ""

    def measure(self, *, tells: bool) -> None:
        """Take down how much memory there is."""
        gc.collect()
        self.memory.append(resident())
        if tells:
            sys.stderr.write(f"seed {self.seed}: {self.datagrams} datagrams, {self.memory[-1] / (1 << 20):.1f} MiB\n")

    @property
    def is_flat(self) -> bool:
        warm = self.memory[WARM:]
        return not warm or max(warm) - warm[0] <= FLAT

    @property
    def holds(self) -> bool:
        return not self.broken and self.is_flat

    def __str__(self) -> str:
        rss = " ".join(f"{size / (1 << 20):.1f}" for size in self.memory)
        outcome = self.broken or ("holds" if self.is_flat else "memory is not flat")
        return f"seed {self.seed}: {self.datagrams} datagrams, {self.seconds:.0f} s: {outcome}\n  MiB resident: {rss}"


def resident() -> int:
    """Bytes of memory that this process holds just now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fire(seed: int, datagrams: int, *, tells: bool = False) -> Shot:
    """Fire the datagrams of one seed; with `tells`, say how far it has come."""
    rng, target, shot, start = Random(seed), Target(), Shot(seed), time.monotonic()
    generator, datagram = Generator(rng), b""
    try:
        for number in range(1, datagrams + 1):
            datagram = generator.datagram()
            target.feed(datagram, rng.randrange(1 << 16))
            shot.datagrams = number
            _meanwhile(target, rng)
            if number % max(1, datagrams // MEASURES) == 0:
                shot.measure(tells=tells)
        datagram = b""
    except Broken as broken:
        shot.broken, datagram = str(broken), b""
    finally:
        if datagram:
            sys.stderr.write(f"seed {seed}: an exception escapes, after {datagram.hex()}\n")
    shot.counts, shot.seconds = target.counts, time.monotonic() - start
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
    parser.add_argument("--seed", type=int, default=1, help="the first seed; each job has its own (default 1)")
    parser.add_argument("--jobs", type=int, default=1, help="how many at the same time (default 1)")
    arguments = parser.parse_args(argv)
    seeds = range(arguments.seed, arguments.seed + arguments.jobs)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        firing = partial(fire, datagrams=arguments.datagrams // arguments.jobs, tells=True)
        shots = list(pool.map(firing, seeds))
    sys.stdout.writelines(f"{line}\n" for line in report(shots))
    return int(not all(shot.holds for shot in shots))


def report(shots: Sequence[Shot]) -> list[str]:
    """What a reader wants to know, in lines."""
    counts = sum((shot.counts for shot in shots), Counter())
    return [*map(str, shots), "; ".join(f"{name} {count}" for name, count in counts.most_common())]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
