"""What a check of ``localhost`` finds, and how a command is written that mends it."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from addrsvc.daemon.symptoms import Facts
from addrsvc.mirror.netns import HOST

__all__ = ["BROKEN", "WARNING", "Check", "Finding", "Look", "in_netns"]

BROKEN: Final = "broken"
WARNING: Final = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: the name of the row that found it.
        severity: BROKEN where something does not work, WARNING where something is odd.
        what: what is wrong.
        why: which rule was broken, and what the kernel, or the C library, does then.
        mend: the commands that mend it, in this order.
        look: commands that show more, where what is wrong has no name.
    """

    check: str
    severity: str
    what: str
    why: str
    mend: tuple[str, ...] = ()
    look: tuple[str, ...] = ()


Look: TypeAlias = Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that can be wrong.

    Attributes:
        name: what findings call it.
        fine: what is to be said where it is not.
        look: what finds it.
        unless: checks that explain it where they find something that is broken; it is not made then.
    """

    name: str
    fine: str
    look: Look
    unless: tuple[str, ...] = ()


def in_netns(facts: Facts, words: str) -> str:
    """A command, to be run in the namespace."""
    name = shlex.quote(facts.spec)
    if facts.spec == HOST:
        return words
    if facts.spec.isdecimal():
        return f"nsenter --target {name} --net {words}"
    if "/" in facts.spec:
        return f"nsenter --net={name} {words}"
    return f"ip -n {name} {words.removeprefix('ip ')}" if words.startswith("ip ") else f"ip netns exec {name} {words}"
