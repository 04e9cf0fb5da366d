"""Send bent packets through lo of the model, as many as wanted.

    python -m tests.packets.fuzz --inputs 100000 --seed 1

After each, what must hold is looked at (see target.py).  It ends with status 1 where something does not hold.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from random import Random
from time import monotonic

from tests.packets.fuzz.generator import Generator
from tests.packets.fuzz.target import Target

__all__ = ["fire", "main"]


def fire(chance: Random, inputs: int) -> Counter[str]:
    """Send so many; what came of them.

    Raises:
        Broken: something that must hold does not.
    """
    target = Target()
    generator = Generator(chance, target.features, target.changeable)
    bent = None
    try:
        for _ in range(inputs):
            bent = generator.bent()
            target.feed(bent, chance)
        bent = None
    finally:
        if bent is not None:
            sys.stderr.write(f"after {sum(target.counts.values())} of {inputs}: {bent}\n")
    return target.counts


def main(argv: list[str]) -> int:
    parser = ArgumentParser(prog="python -m tests.packets.fuzz", description=__doc__)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("--inputs", type=int, default=10_000, help="how many packets (default 10000)")
    parser.add_argument("--seed", type=int, default=1, help="the same packets for the same seed (default 1)")
    args = parser.parse_args(argv)
    began = monotonic()
    counts = fire(Random(args.seed), args.inputs)
    for name, count in sorted(counts.items()):
        sys.stdout.write(f"{count:8,}  {name}\n")
    sys.stdout.write(f"seed {args.seed}: {args.inputs:,} packets, all holds, {monotonic() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
