"""Send generated packets through lo of both kernels, and compare what comes of each."""

import sys
from argparse import ArgumentParser
from time import monotonic

from addrsvc.mirror.netns import create_anonymous
from tests.packets.compare import Difference, compare, pinned
from tests.packets.generator import Switch, actions
from tests.packets.modelled import ModelLo
from tests.packets.running import RunningLo


def campaign(seed: int, packets: int, *, stop_after: int = 1) -> tuple[int, list[Difference]]:
    """How many packets were sent, and where the kernels differ."""
    differences: list[Difference] = []
    sent = 0
    with create_anonymous() as netns, pinned():
        running, model = RunningLo(netns), ModelLo()
        try:
            for action in actions(seed, packets):
                sent += not isinstance(action, Switch)
                differences += compare(action, running, model)
                if len(differences) >= stop_after:
                    break
        finally:
            running.close()
    return sent, differences


def main(argv: list[str]) -> int:
    parser = ArgumentParser(prog="python -m tests.packets", description=__doc__)
    parser.add_argument("--packets", type=int, default=1000, help="how many for each seed")
    parser.add_argument("--seeds", default="1", help="numbers, with commas between them")
    parser.add_argument("--stop-after", type=int, default=1, help="so many differences")
    args = parser.parse_args(argv)
    failed = False
    for seed in map(int, args.seeds.split(",")):
        began = monotonic()
        sent, differences = campaign(seed, args.packets, stop_after=args.stop_after)
        failed |= bool(differences)
        for difference in differences:
            sys.stdout.write(f"{difference}\n")
        sys.stdout.write(
            f"seed {seed}: {sent:,} packets, {len(differences)} differences, {monotonic() - began:.0f} s\n"
        )
        sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
