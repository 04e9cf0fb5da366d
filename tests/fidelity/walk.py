"""A seeded random walk over everything that can be asked of lo, on the model and on the running kernel.

    python -m tests.fidelity.walk --steps 5000 --seeds 1,2,3,4,5 --jobs 2

After every step both have refused, said (in order, in full) and hold the same, or the walk ends there with the step,
both sides, and a short script that still tells them apart.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from random import Random

from addrsvc.netlink.messages import LinkMsg, Message
from addrsvc.uapi import (
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFF_ALLMULTI,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_UP,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
)
from tests.fidelity import asks
from tests.fidelity.compare import GRAIN, Both, Difference, first_difference, ifname, is_a_race
from tests.fidelity.notation import spelled

SHRINKING = 90.0
"""Seconds that may go into a shorter script."""

MTUS = (65536, 65536, 1500, 1500, 1280, 1280, 1281, 65535, 2000, 9000, 1279, 1000, 68, 67, 0, 2**31 - 1, 2**31)
NAMES = ("lo", "lo", "lo0", "lo1", "lo.7", "all", "default", "a/b", "", "x%d", "fifteen-letters", "sixteen--letters")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02", "00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff")
ADDRESSES = (
    "::1/128", "::1/128", "::1/64", "2001:db8::1/64", "2001:db8::1/64", "2001:db8::1/128", "2001:db8::2/64",
    "2001:db8::3/127", "2001:db8::/64", "2001:db8:1::1/64", "2001:db8:1::2/48", "fd00::1/64", "fe80::1/64",
    "fec0::1/64", "::5/128", "::ffff:1.2.3.4/128", "::/64", "ff02::99/128",
)  # fmt: skip
ADDRESSES4 = ("127.0.0.1/8", "127.0.0.1/8", "127.0.0.2/8", "127.0.0.1/32", "10.0.0.1/32", "10.1.0.1/24", "10.1.0.2/24")
PEERS = ("2001:db8:2::9", "2001:db8::9", "2001:db8::1")
NLM_FLAGS = (
    NLM_F_CREATE | NLM_F_EXCL, NLM_F_CREATE | NLM_F_EXCL, NLM_F_CREATE | NLM_F_EXCL, NLM_F_CREATE | NLM_F_REPLACE,
    NLM_F_CREATE | NLM_F_REPLACE, NLM_F_REPLACE, 0, NLM_F_CREATE, NLM_F_APPEND, NLM_F_EXCL | NLM_F_REPLACE,
)  # fmt: skip
LIFETIMES = (GRAIN, 2 * GRAIN, 5 * GRAIN, asks.FOREVER)
IFA_FLAGS = (None, None, 0, IFA_F_NODAD, IFA_F_NODAD, IFA_F_NOPREFIXROUTE, IFA_F_NODAD | IFA_F_NOPREFIXROUTE,
             IFA_F_HOMEADDRESS, IFA_F_MANAGETEMPADDR)  # fmt: skip

Maker = Callable[[Random, str], Message]


def _add(rng: Random, _: str) -> Message:
    valid = rng.choice(LIFETIMES) if rng.random() < 0.25 else None
    return asks.add(
        rng.choice(ADDRESSES),
        flags=rng.choice(IFA_FLAGS),
        nlm=rng.choice(NLM_FLAGS),
        metric=rng.choice((None, None, None, 0, 77, 1024)),
        proto=rng.choice((None, None, 0, 1, 7)),
        valid=valid,
        preferred=rng.choice((0, GRAIN, valid, asks.FOREVER)) if valid is not None else None,
        peer=rng.choice(PEERS) if rng.random() < 0.08 else None,
    )


def _several(rng: Random, name: str) -> Message:
    """More than one change in one request: a later refusal leaves the earlier changes in place."""
    return LinkMsg(
        ifi_index=asks.LO,
        ifi_flags=rng.choice((0, IFF_UP, IFF_UP | IFF_DEBUG)),
        ifi_change=rng.choice((0, IFF_UP, IFF_UP | IFF_DEBUG)),
        ifname=rng.choice((None, name, *NAMES)),
        mtu=rng.choice((None, *MTUS)),
        txqlen=rng.choice((None, 1, 1000)),
        ifalias=rng.choice((None, "", "z")),
        address=rng.choice((None, None, b"\2\0\0\0\0\3", b"\1\0\0\0\0\3")),
    )


def _flag(bit: int) -> Maker:
    return lambda rng, _: asks.flags(bit, on=rng.random() < 0.5)


def _sysctl(leaf: str, values: Sequence[int], devices: Sequence[str] = ("", "", "all", "default")) -> Maker:
    """`devices` with an empty name for lo, by the name it bears just then."""
    return lambda rng, name: asks.ipv6_sysctl(leaf, rng.choice(values), rng.choice(devices) or name)


OPERATIONS: dict[str, tuple[float, Maker]] = {
    "up": (18, lambda rng, _: asks.up()),
    "down": (5, lambda rng, _: asks.down()),
    "mtu": (6, lambda rng, _: asks.mtu(rng.choice(MTUS))),
    "rename": (3, lambda rng, _: asks.rename(rng.choice(NAMES))),
    "mac": (2, lambda rng, _: asks.mac(rng.choice(MACS))),
    "broadcast": (0.5, lambda rng, _: LinkMsg(ifi_index=asks.LO, broadcast=bytes((rng.randrange(256),)) * 6)),
    "alias": (3, lambda rng, _: asks.alias(rng.choice(("", "x", "y")))),
    "txqlen": (1.5, lambda rng, _: asks.txqlen(rng.choice((0, 1, 1000)))),
    "group": (1.5, lambda rng, _: asks.group(rng.choice((0, 1, 7)))),
    "operstate": (4, lambda rng, _: asks.operstate(rng.choice((0, 2, 3, 4, 5, 6, 6, 6, 9)))),
    "linkmode": (1, lambda rng, _: asks.linkmode(rng.choice((0, 1, 2)))),
    "gen_mode": (3, lambda rng, _: asks.gen_mode(rng.choice((0, 1, 2, 3, 4)))),
    "several": (3, _several),
    "DEBUG": (2, _flag(IFF_DEBUG)),
    "DYNAMIC": (1, _flag(IFF_DYNAMIC)),
    "MULTICAST": (2, _flag(IFF_MULTICAST)),
    "PROMISC": (1, _flag(IFF_PROMISC)),
    "ALLMULTI": (1, _flag(IFF_ALLMULTI)),
    "LOOPBACK": (0.3, _flag(IFF_LOOPBACK)),
    "NOARP": (0.7, _flag(IFF_NOARP)),
    "disable_ipv6": (6, _sysctl("disable_ipv6", (0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, -1))),
    "keep_addr_on_down": (3, _sysctl("keep_addr_on_down", (-1, 0, 1, 1))),
    "addr_gen_mode": (3, _sysctl("addr_gen_mode", (0, 1, 2, 3, 4))),
    "forwarding": (2, _sysctl("forwarding", (0, 1), ("", "all", "default"))),
    "add": (22, _add),
    "del": (9, lambda rng, _: asks.delete(rng.choice(ADDRESSES))),
    "add4": (3, lambda rng, _: asks.add(rng.choice(ADDRESSES4), scope=rng.choice((0, 254)))),
    "del4": (2, lambda rng, _: asks.delete(rng.choice(ADDRESSES4))),
}


@dataclass
class Result:
    seed: int
    steps: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    refusals: int = 0
    messages: int = 0
    difference: Difference | None = None
    short: Difference | None = None

    def __str__(self) -> str:
        outcome = "both agree" if self.difference is None else "they part"
        return (
            f"seed {self.seed}: {self.steps} steps, {self.messages} messages, {self.refusals} refusals, "
            f"{self.seconds:.0f} s: {outcome}"
        )


def walk(seed: int, steps: int, *, shrinking: float = SHRINKING) -> Result:
    """Walk until the two kernels part, or for `steps` steps."""
    rng, result, start = Random(seed), Result(seed), time.monotonic()
    with Both() as both:
        for _ in range(steps):
            name, ask = _next(rng, both)
            result.steps += 1
            result.counts[name] += 1
            result.difference = both.ask(ask)
            result.messages += len(both.last.said)
            result.refusals += bool(both.last.refused)
            if result.difference is not None:
                break
    result.seconds = time.monotonic() - start
    if result.difference is not None:
        result.short = shrink(result.difference, time.monotonic() + shrinking)
    return result


def _next(rng: Random, both: Both) -> tuple[str, Message]:
    """The next operation and its request: one that the running kernel has a single answer to."""
    weights = [weight for weight, _ in OPERATIONS.values()]
    while True:
        (name,) = rng.choices(list(OPERATIONS), weights)
        ask = OPERATIONS[name][1](rng, ifname(both.last.holds))
        if not is_a_race(ask, both.last.holds):
            return name, ask


# --- a shorter script -----------------------------------------------------------------------------------------------


def shrink(difference: Difference, deadline: float) -> Difference:
    """The shortest script found until `deadline` on which the two kernels still part."""
    found = _shortest_tail(difference, deadline)
    size = max(1, len(found.script) // 2)
    while time.monotonic() < deadline:
        shorter = _without_some(found, size, deadline)
        if shorter is not None:
            found, size = shorter, min(size, max(1, len(shorter.script) // 2))
        elif size == 1:
            break
        else:
            size //= 2
    return found


def _shortest_tail(difference: Difference, deadline: float) -> Difference:
    """The end of the script alone often does: try ever longer ends."""
    length = 4
    while length < len(difference.script) and time.monotonic() < deadline:
        if (found := first_difference(difference.script[-length:])) is not None:
            return found
        length *= 3
    return difference


def _without_some(found: Difference, size: int, deadline: float) -> Difference | None:
    for start in range(len(found.script) - 1, -1, -size):
        if time.monotonic() > deadline:
            return None
        rest = (*found.script[: max(0, start - size + 1)], *found.script[start + 1 :])
        if rest and (shorter := first_difference(rest)) is not None:
            return shorter
    return None


def as_test(difference: Difference) -> str:
    """A test of the script, ready to be named and put among the found ones."""
    steps = "".join(f"        {spelled(ask)},\n" for ask in difference.script)
    return f"def test_both_agree_on_(netns: NetNs) -> None:\n    script = (\n{steps}    )\n\n    agree(script)\n"


# --- the command ----------------------------------------------------------------------------------------------------


def report(results: Sequence[Result]) -> Iterator[str]:
    """What a reader wants to know of a walk, in lines."""
    for result in results:
        yield str(result)
        for title, difference in (("where they part", result.difference), ("shortened", result.short)):
            if difference is not None:
                yield f"\n--- {title} ---\n{difference}"
        if result.short is not None:
            yield f"\n--- as a test ---\n{as_test(result.short)}"
    counts = sum((result.counts for result in results), Counter())
    yield "operations: " + ", ".join(f"{name} {count}" for name, count in counts.most_common())
    agreed = sum(result.difference is None for result in results)
    yield f"{agreed} of {len(results)} seeds agree, {sum(result.steps for result in results)} steps in all"


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity.walk", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=5000, help="steps of each seed (default 5000)")
    parser.add_argument("--seed", type=int, default=1, help="one seed (default 1)")
    parser.add_argument("--seeds", help="several seeds, separated by commas, instead of --seed")
    parser.add_argument("--jobs", type=int, default=1, help="seeds walked at the same time (default 1)")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    arguments = _arguments(argv)
    seeds = [int(seed) for seed in (arguments.seeds or str(arguments.seed)).split(",")]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(walk, seeds, [arguments.steps] * len(seeds)))
    sys.stdout.writelines(f"{line}\n" for line in report(results))
    return int(any(result.difference is not None for result in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
