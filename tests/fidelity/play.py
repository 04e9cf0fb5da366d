"""One script, two kernels: after every step both have said the same, or that is a difference.

The running kernel finishes in a work queue what the model finishes at once, so it is waited for as long as what it has
said is a beginning of what is expected; anything else is a difference at once.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from types import TracebackType
from typing import Final, Self

from tests.fidelity.left_out import starts_traffic
from tests.fidelity.machines import Modelled, Running
from tests.fidelity.normal import Normaliser, normal_result
from tests.fidelity.steps import EARS, SOCKETS, Datagram, Heard, Machine, Op, Outcome, Send
from tests.fidelity.wire import described, header, messages, type_name

__all__ = ["Both", "Difference", "play"]

PATIENCE: Final = 3.0
"""Seconds that the running kernel has for what it does later."""


class Side:
    """One machine, and what of it can be compared."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._normaliser = Normaliser()

    def do(self, op: Op) -> object:
        """Do a step; its result, without what cannot be compared."""
        self._normaliser.in_traffic |= starts_traffic(op)
        result = self.machine.do(op)
        self._normaliser.learn(op.by, self.machine.portid(op.by))
        return normal_result(result, self._normaliser)

    def hear(self, by: int) -> list[Heard]:
        """What a socket has to say, without what cannot be compared."""
        heard = map(self._normaliser.heard, self.machine.hear(by))
        return [each for each in heard if each is not None]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two kernels parted: the script up to the step, and what each made of that step."""

    script: tuple[Op, ...]
    expected: Outcome
    seen: Outcome

    @property
    def kind(self) -> str:
        """What the step was and where the two parted, in few words: differences of a kind are counted together."""
        return f"{_subject(self.script[-1])}: {_where(self.seen, self.expected)}"

    def __str__(self) -> str:
        return "\n".join(
            (
                f"step {len(self.script)}: {self.script[-1]!r}"[:2000],
                *unified_diff(_lines(self.seen), _lines(self.expected), "running kernel", "model", n=3, lineterm=""),
            )
        )


def _subject(op: Op) -> str:
    if isinstance(op, Send):
        return "+".join(dict.fromkeys(type_name(found.nlmsg_type) for found in messages(op.data))) or "no message"
    return f"{type(op).__name__}"


def _where(seen: Outcome, expected: Outcome) -> str:
    if seen.result != expected.result:
        return f"result {_short(seen.result)} / {_short(expected.result)}"
    for by in SOCKETS:
        ours, theirs = expected.heard.get(by, ()), seen.heard.get(by, ())
        for mine, its in zip(ours, theirs, strict=False):
            if mine != its:
                return f"{SOCKETS[by]} {_word(its)} / {_word(mine)}"
        if len(ours) != len(theirs):
            rest, who = (theirs[len(ours) :], "kernel") if len(theirs) > len(ours) else (ours[len(theirs) :], "model")
            return f"{SOCKETS[by]} only the {who}: {_word(rest[0])}"
    return "nothing"


def _short(result: object) -> str:
    return _word(result) if isinstance(result, Datagram) else str(result)[:20]


def _word(heard: Heard) -> str:
    if isinstance(heard, str):
        return heard
    if len(heard.data) < 16:
        return f"{len(heard.data)} bytes"
    found = header(heard.data)
    if found.nlmsg_type == 2 and len(heard.data) >= 20:
        return f"errno {-int.from_bytes(heard.data[16:20], 'little', signed=True)}"
    return type_name(found.nlmsg_type)


def _lines(outcome: Outcome) -> list[str]:
    result = outcome.result
    lines = [f"result: {line}" for line in _told(result)] if isinstance(result, Datagram) else [f"result: {result!r}"]
    for by, heard in outcome.heard.items():
        lines += [f"{SOCKETS[by]} {line}" for each in heard for line in _told(each)]
    return lines


def _told(heard: Heard) -> Iterator[str]:
    if isinstance(heard, str):
        yield heard
        return
    flags = f" flags={heard.flags:#x}" if heard.flags else ""
    nsid = f" nsid={heard.nsid}" if heard.nsid is not None else ""
    yield f"{len(heard.data)} bytes from {heard.portid:#x}/{heard.groups:#x} group={heard.group}{flags}{nsid}"
    for found in messages(heard.data):
        yield f"  {described(heard.data[found.offset : found.end])}"


def _one_processor() -> set[int]:
    """One of those that this process may run on, and another for its neighbour.

    What the running kernel remembers of a route that was looked up, it remembers on the processor that asked.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return {allowed[os.getpid() % len(allowed)]}


class Both:
    """Two fresh machines that are told the same; the model is one of them unless a test says otherwise.

    Attributes:
        script: every step so far.
        said: what the model made of the last one.
        counts: steps, requests, refusals and what was said, by kind.
    """

    def __init__(
        self, model: Callable[[], Machine] = Modelled, *, settle: float = 0.0, patience: float = PATIENCE
    ) -> None:
        self._affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(0, _one_processor())
        self.running = Side(Running())
        self.model = Side(model())
        self._settle = settle
        self._patience = patience
        self.script: list[Op] = []
        self.said: Outcome | None = None
        self.counts: Counter[str] = Counter()

    def do(self, op: Op) -> Difference | None:
        """One step on both; None where they agree."""
        self.script.append(op)
        result = self.running.do(op)
        self.said = expected = self._outcome(self.model, op, self.model.do(op))
        seen = self._wait(op, result, expected)
        self._count(op, seen)
        return None if seen == expected else Difference(tuple(self.script), expected, seen)

    def _outcome(self, side: Side, op: Op, result: object) -> Outcome:
        heard = {by: tuple(side.hear(by)) for by in EARS}
        if not op.hold and op.by not in EARS:
            heard[op.by] = tuple(side.hear(op.by))
        return Outcome(result, heard)

    def _wait(self, op: Op, result: object, expected: Outcome) -> Outcome:
        """What the running kernel came to, once it has said to those who listen what is expected, or something else.

        Reading makes room in a socket's queue, so others are read when everything has been said.
        """
        heard: dict[int, list[Heard]] = {by: [] for by in EARS}
        deadline, quiet = time.monotonic() + self._patience, self._settle
        while True:
            for by, sofar in heard.items():
                sofar += self.running.hear(by)
            if any(tuple(sofar) != expected.heard[by][: len(sofar)] for by, sofar in heard.items()):
                break
            complete = all(len(sofar) == len(expected.heard[by]) for by, sofar in heard.items())
            left = quiet if complete else deadline - time.monotonic()
            if left <= 0:
                break
            quiet = 0.0 if complete else quiet
            self.running.machine.wait(left)
        last = self._outcome(self.running, op, result)
        return Outcome(result, last.heard | {by: (*sofar, *last.heard[by]) for by, sofar in heard.items()})

    def _count(self, op: Op, seen: Outcome) -> None:
        self.counts[f"step: {type(op).__name__}"] += 1
        if isinstance(op, Send):
            for found in messages(op.data):
                self.counts[f"request: {type_name(found.nlmsg_type) if found.nlmsg_type < 124 else 'type > 123'}"] += 1
        if isinstance(seen.result, str) and seen.result.startswith("E"):
            self.counts[f"errno of {type(op).__name__}: {seen.result}"] += 1
        for heard in seen.heard.values():
            for each in heard:
                is_told = isinstance(each, Datagram) and each.group is not None and each.group > 0
                self.counts[f"{'notified' if is_told else 'answered'}: {_word(each)}"] += 1

    def close(self) -> None:
        self.running.machine.close()
        self.model.machine.close()
        os.sched_setaffinity(0, self._affinity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def play(
    script: Iterable[Op],
    model: Callable[[], Machine] = Modelled,
    *,
    settle: float = 0.0,
    patience: float = PATIENCE,
) -> tuple[Difference | None, Counter[str]]:
    """Run a script on both, fresh, until they part."""
    with Both(model, settle=settle, patience=patience) as both:
        for op in script:
            if (difference := both.do(op)) is not None:
                return difference, both.counts
        return None, both.counts
