"""The campaign: many random scripts on the model and on the running kernel, and what came of them.

    python -m tests.fidelity --steps 5000 --seeds 1,2,3 --jobs 2

Each seed is a row of scripts, each of them with a fresh namespace.  Where the two kernels part, that script ends, the
next one begins, and a script as short as can be found that still tells them apart is printed as a test.
"""

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Final

from addrsvc.pytest_plugin.namespaces import why_no_cap_sys_admin
from tests.fidelity.machines import Modelled, Twin
from tests.fidelity.play import Both, Difference, play
from tests.fidelity.requests import REQUESTS
from tests.fidelity.scripts import script
from tests.fidelity.steps import Op, Send
from tests.fidelity.wire import described

__all__ = ["Result", "campaign", "main"]

LENGTH: Final = 250
"""Steps of a script."""
SHRINKING: Final = 20.0
"""Seconds that may go into a shorter script."""
RETRIES: Final = 5
SETTLE: Final = 0.004
"""Seconds of silence after each step, while a script is shortened: what comes late is told apart from what follows."""
HASTE: Final = 3.0
"""Seconds of patience while a script is shortened, which most often ends with a difference."""
SHOWN: Final = 3
"""Differences of one kind that are shortened and shown."""


@dataclass
class Result:
    """What came of one seed, or of several.

    Attributes:
        found: differences by kind, each with the first few scripts that show it.
        chance: how often the running kernel gave first another answer than the model and then the same, by kind.
        twofold: one such case of each kind, by the name of its script.
    """

    steps: int = 0
    scripts: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    chance: Counter[str] = field(default_factory=Counter)
    found: dict[str, list[Difference]] = field(default_factory=dict)
    twofold: dict[str, tuple[str, Difference]] = field(default_factory=dict)

    def add(self, other: "Result") -> None:
        """Take in the result of another part."""
        self.steps += other.steps
        self.scripts += other.scripts
        self.seconds += other.seconds
        self.counts += other.counts
        self.kinds += other.kinds
        self.chance += other.chance
        self.twofold = other.twofold | self.twofold
        for kind, differences in other.found.items():
            mine = self.found.setdefault(kind, [])
            mine += differences[: SHOWN - len(mine)]


# --- one seed ---------------------------------------------------------------------------------------------------------


def campaign(seed: int, steps: int, *, only: str = "", twin: bool = False, shrinking: float = SHRINKING) -> Result:
    """Play scripts of one seed until there were so many steps."""
    result, start = Result(), time.monotonic()
    while result.steps < steps:
        length, name = min(LENGTH, steps - result.steps), f"{seed}.{result.scripts}"
        _one(name, script(name, length, result.counts, only), result, twin=twin, shrinking=shrinking)
        result.scripts += 1
    result.seconds = time.monotonic() - start
    return result


def _one(name: str, steps: Iterator[Op], result: Result, *, twin: bool, shrinking: float) -> None:
    model = Twin if twin else Modelled
    difference, counts = play(steps, model)
    result.counts += counts
    result.steps += sum(count for name, count in counts.items() if name.startswith("step: "))
    if difference is None:
        return
    if not twin and kernel_has_two_answers(difference):
        result.chance[difference.kind] += 1
        result.twofold.setdefault(difference.kind, (name, difference))
        return
    result.kinds[difference.kind] += 1
    shown = result.found.setdefault(difference.kind, [])
    if len(shown) < SHOWN:
        shown.append(shrink(difference, time.monotonic() + shrinking, twin=twin) if shrinking else difference)


def kernel_has_two_answers(difference: Difference) -> bool:
    """Whether the running kernel, asked the same again, says what the model said, which says the same again.

    Nothing else excuses a difference: one that does not show again because the model said something else is one.
    """
    for _ in range(RETRIES):
        with Both(settle=SETTLE) as both:
            if all(both.do(op) is None for op in difference.script):
                return both.said == difference.expected
    return False


# --- a shorter script -------------------------------------------------------------------------------------------------


def shrink(difference: Difference, deadline: float, *, twin: bool = False) -> Difference:
    """The shortest script found until `deadline` on which the two kernels part."""
    found = difference
    size = max(1, len(found.script) // 2)
    while time.monotonic() < deadline:
        shorter = _without_some(found, size, deadline, twin=twin)
        if shorter is not None:
            found, size = shorter, min(size, max(1, len(shorter.script) // 2))
        elif size == 1:
            break
        else:
            size //= 2
    return found


def _without_some(found: Difference, size: int, deadline: float, *, twin: bool) -> Difference | None:
    """Leave out `size` steps before the last one; the same kind of difference has to remain."""
    before = len(found.script) - 1
    for end in range(before, 0, -size):
        if time.monotonic() > deadline:
            return None
        rest = (*found.script[: max(0, end - size)], *found.script[end:])
        shorter, _ = play(rest, Twin if twin else Modelled, settle=SETTLE, patience=HASTE)
        if shorter is not None and shorter.kind == found.kind:
            return shorter
    return None


def as_test(difference: Difference) -> str:
    """A test of the script, ready to be named and put among the found ones."""
    steps = "".join(f"        {_spelled(op)}\n" for op in difference.script)
    return f"def test_both_agree_on_(netns: NetNs) -> None:\n    agree_on_steps(\n{steps}    )\n"


def _spelled(op: Op) -> str:
    """A step as Python spells it, a datagram in lines that fit, with what it says as a comment."""
    if not isinstance(op, Send):
        return f"{op!r},"
    rest = "".join(
        f", {name}={getattr(op, name)!r}"
        for name in ("by", "to", "groups", "hold")
        if getattr(op, name) != _DEFAULTS[name]
    )
    raw, comment = op.data.hex(), described(op.data)
    said = "".join(f"        # {comment[at : at + 108]}\n" for at in range(0, min(len(comment), 432), 108)).lstrip()
    if len(raw) <= 80:
        return f'{said}        Send(bytes.fromhex("{raw}"){rest}),'
    pieces = "".join(f'\n            "{raw[at : at + 96]}"' for at in range(0, len(raw), 96))
    return f"{said}        Send(bytes.fromhex({pieces}\n        ){rest}),"


_DEFAULTS = {"by": Send(b"").by, "to": 0, "groups": 0, "hold": False}


# --- the command ------------------------------------------------------------------------------------------------------


def report(result: Result) -> Iterator[str]:
    """What a reader wants to know, in lines."""
    for kind, differences in result.found.items():
        yield f"\n=== {kind} ({result.kinds[kind]} times) ==="
        for difference in differences:
            yield f"{difference}\n\n{as_test(difference)}"
    for kind, (name, difference) in result.twofold.items():
        times = f"{result.chance[kind]} times, so in script {name}"
        yield f"\n=== two answers of the running kernel: {kind} ({times}) ===\n{difference}"
    yield ""
    yield from _categories(result.counts)
    for title, kinds in (
        ("differences by kind", result.kinds),
        ("two answers of the running kernel, which should be among left_out.CHANCE", result.chance),
    ):
        if kinds:
            yield f"\n{title}:"
            yield from (f"  {count:6} {kind}" for kind, count in kinds.most_common())
    yield (
        f"\n{result.steps} steps in {result.scripts} scripts, {result.seconds:.0f} s "
        f"({result.steps / max(result.seconds, 0.001):.0f} steps/s of one core): "
        f"{result.kinds.total()} differences; "
        f"{result.chance.total()} times the running kernel gave two answers"
    )


def _categories(counts: Counter[str]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for name, count in counts.most_common():
        group, _, rest = name.partition(": ")
        groups.setdefault(group if rest else "sent", []).append(f"{rest or group} {count}")
    for group, lines in sorted(groups.items()):
        yield f"{group}: {', '.join(lines)}"


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=5000, help="steps of each seed (default 5000)")
    parser.add_argument("--seed", type=int, default=1, help="one seed (default 1)")
    parser.add_argument("--seeds", type=_seeds, help="several seeds, 1,2,3 or 1-20, instead of --seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--only", default="", type=_pattern, help="a pattern: requests of the kinds whose name it matches"
    )
    parser.add_argument("--shrink", type=float, default=SHRINKING, help="seconds for a shorter script (default 20)")
    parser.add_argument(
        "--twin", action="store_true",
        help="the running kernel against itself: whatever differs is chance, and belongs on the list of it",
    )  # fmt: skip
    return parser.parse_args(argv)


def _pattern(only: str) -> str:
    """What matches some kind of request."""
    try:
        found = any(re.search(only, name) for name in REQUESTS)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{only!r} is no pattern: {error}") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{only!r} matches none of: {', '.join(REQUESTS)}")
    return only


def _seeds(spec: str) -> list[int]:
    seeds: list[int] = []
    for part in spec.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise argparse.ArgumentTypeError(f"{spec!r} are no seeds; 1,2,3 and 1-20 are")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def _progress(line: str) -> None:
    """On a terminal, in place of the line before."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


def main(argv: Sequence[str]) -> int:
    """Run the command; 1 if there was a difference."""
    arguments = _arguments(argv)
    if reason := why_no_cap_sys_admin():
        sys.exit(f"tests.fidelity: {reason}")
    seeds = arguments.seeds or [arguments.seed]
    total = Result()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        running = [
            pool.submit(
                campaign, seed, arguments.steps, only=arguments.only, twin=arguments.twin, shrinking=arguments.shrink
            )
            for seed in seeds
        ]
        for number, done in enumerate(as_completed(running), 1):
            total.add(done.result())
            _progress(f"{number} of {len(seeds)} seeds, {total.steps} steps, {total.kinds.total()} differences")
    _progress("")
    sys.stdout.writelines(f"{line}\n" for line in report(total))
    return int(bool(total.kinds))
