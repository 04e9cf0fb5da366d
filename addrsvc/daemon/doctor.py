"""`addrsvc doctor`: why ``localhost`` does or does not work over IPv6, namespace by namespace.

`names` and `symptoms` gather the facts, `findings` makes sense of them; here is whom they are asked about, and how it
is told.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from addrsvc.daemon.findings import BROKEN, Finding, find, fine, untried
from addrsvc.daemon.names import look_up_names, overlay
from addrsvc.daemon.printer import json_text, say
from addrsvc.daemon.symptoms import Facts, look
from addrsvc.daemon.terminal import printable, wants_colour
from addrsvc.errors import AddrsvcError, KernelError
from addrsvc.keeper.places import opened_by
from addrsvc.mirror.netns import HOST, NETNS_RUN_DIR, Identity, open_netns

__all__ = ["ALL", "CANNOT_LOOK", "IS_BROKEN", "Examined", "doctor", "examine"]

ALL: Final = "all"
CANNOT_LOOK: Final = 1
IS_BROKEN: Final = 3


@dataclass(frozen=True, slots=True)
class Examined:
    """One namespace, looked at.

    Attributes:
        spec: how it was named.
        facts: what there is; None where it could not be looked at.
        findings: what is wrong.
        why_not: why it could not be looked at.
        was_asked_for: whether somebody named it.
    """

    spec: str
    facts: Facts | None = None
    findings: tuple[Finding, ...] = ()
    why_not: str = ""
    was_asked_for: bool = True

    @property
    def is_broken(self) -> bool:
        """Whether something in it does not work."""
        return any(finding.severity == BROKEN for finding in self.findings)


def doctor(specs: Sequence[str], *, as_json: bool, is_quiet: bool) -> int:
    """Look at namespaces, say what is wrong with each, and give the exit code.

    What is fine is told where it is one namespace.
    """
    examined = list(examine(specs))
    if as_json:
        say(json_text({"namespaces": [_plain(each) for each in examined]}))
    else:
        is_short = is_quiet or len(examined) > 1
        lines = [
            line for each in examined if not is_quiet or _is_worth_telling(each)
            for line in _lines(each, _Marks.suiting(), is_short=is_short)
        ]  # fmt: skip
        if lines:
            say("\n".join(lines))
    return _exit_code(examined)


def _exit_code(examined: Sequence[Examined]) -> int:
    if any(each.is_broken for each in examined):
        return IS_BROKEN
    return CANNOT_LOOK if any(each.facts is None and each.was_asked_for for each in examined) else 0


# --- whom -------------------------------------------------------------------------------------------------------------


def examine(specs: Sequence[str]) -> Iterator[Examined]:
    """Look at namespaces, each once: at those that are named; at all there are, if none is.

    Args:
        specs: names below /run/netns, paths, process ids, labels of the keeper's, "host", or "all" for the host and
            all names there are.

    Raises:
        ControlError: one means nothing.
    """
    seen: dict[Identity, str] = {}
    has_names = False
    for spec, was_asked_for in _meant(specs).items():
        try:
            facts = _facts(spec, seen, has_names=has_names)
        except AddrsvcError as error:
            why_not = f"{error.extack or error.strerror}" if isinstance(error, KernelError) else str(error)
            yield Examined(spec, why_not=why_not, was_asked_for=was_asked_for)
            continue
        if facts is not None:
            has_names = has_names or (facts.names is not None and not overlay(spec))
            yield Examined(spec, facts, tuple(find(facts)))


def _meant(specs: Sequence[str]) -> dict[str, bool]:
    """Which, and whether somebody wants to know of it where it cannot be looked at."""
    meant: dict[str, bool] = {}
    for spec in specs or (ALL,):
        every = [HOST, *_names()] if spec == ALL else [opened_by(spec)]
        meant |= dict.fromkeys(every, bool(specs))
    return meant


def _names() -> list[str]:
    return sorted(entry.name for entry in NETNS_RUN_DIR.iterdir()) if NETNS_RUN_DIR.is_dir() else []


def _facts(spec: str, seen: dict[Identity, str], *, has_names: bool) -> Facts | None:
    """The facts, or None where the same namespace was seen under another name."""
    with open_netns(spec) as netns:
        if seen.setdefault(netns.identity, spec) != spec:
            return None
        instead = overlay(spec)
        return look(spec, netns, None if has_names and not instead else look_up_names(netns, instead))


# --- how it is told ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Marks:
    """What stands before a line, which a terminal may not be able to show."""

    is_unicode: bool
    is_coloured: bool

    @classmethod
    def suiting(cls) -> "_Marks":
        """Those that standard output can show."""
        is_unicode = sys.stdout.isatty() and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        return cls(is_unicode, wants_colour(sys.stdout))

    def of(self, severity: str) -> str:
        """The mark of a line."""
        sign, word, colour = _MARKS[severity]
        mark = sign if self.is_unicode else word
        return f"\033[{colour}m{mark}\033[0m" if self.is_coloured else mark


_FINE: Final = "fine"
_MARKS: Final = {_FINE: ("✓", "ok", "32"), "warning": ("!", "warning:", "33"), BROKEN: ("✗", "broken:", "31")}


def _is_worth_telling(each: Examined) -> bool:
    return bool(each.findings) or (each.facts is None and each.was_asked_for)


def _lines(each: Examined, marks: _Marks, *, is_short: bool) -> Iterator[str]:
    spec = printable(each.spec)
    if each.facts is None:
        yield f"{spec}: not looked at: {printable(each.why_not)}"
        return
    yield f"{spec}: {_summary(each)}"
    for finding in each.findings:
        yield f"  {marks.of(finding.severity)} {printable(finding.what)}"
        yield f"      {printable(finding.why)}"
        yield from (f"      mend: {printable(command)}" for command in finding.mend)
        yield from (f"      look: {printable(command)}" for command in finding.look)
    if later := untried(each.facts):
        yield f"  not tried before that is mended: {', '.join(later)}"
    if not is_short:
        yield from (f"  {marks.of(_FINE)} {printable(text)}" for text in fine(each.facts))


def _summary(each: Examined) -> str:
    """What a program sees."""
    assert each.facts is not None
    failed = [str(probe) for probe in each.facts.probes if probe.address == "::1" and not probe.works]
    if failed:
        return failed[0]
    return "::1 works" if not each.is_broken else "::1 works, but not all else does"


def _plain(each: Examined) -> dict[str, object]:
    facts = each.facts
    if facts is None:
        return {"netns": each.spec, "looked": False, "why_not": each.why_not}
    return {
        "netns": each.spec,
        "looked": True,
        "broken": each.is_broken,
        "probes": [
            {"address": it.address, "protocol": it.protocol, "works": it.works, "step": it.step or None,
             "error": os.strerror(it.errno) if it.errno else None}
            for it in facts.probes
        ],
        "localhost": list(facts.names.answer) if facts.names else None,
        "findings": [asdict(finding) for finding in each.findings],
        "fine": fine(facts),
        "untried": untried(facts),
    }  # fmt: skip
