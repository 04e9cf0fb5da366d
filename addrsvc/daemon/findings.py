"""What keeps ``localhost`` from working, made out of facts: each thing once, in the order in which to mend it."""

from collections.abc import Iterator
from typing import Final

from addrsvc.daemon.finding import BROKEN, WARNING, Check, Finding
from addrsvc.daemon.loopback_checks import LOOPBACK_CHECKS
from addrsvc.daemon.name_checks import NAME_CHECKS
from addrsvc.daemon.symptoms import Facts

__all__ = ["BROKEN", "CHECKS", "WARNING", "Finding", "find", "fine", "untried"]

CHECKS: Final = (*LOOPBACK_CHECKS, *NAME_CHECKS)
"""All that is looked at, in the order in which it has to be mended."""


def find(facts: Facts) -> list[Finding]:
    """All that is wrong, each thing once: what follows from another thing is not told."""
    return [finding for _, findings in _checked(facts) for finding in findings or ()]


def fine(facts: Facts) -> list[str]:
    """What was looked at and is as it should be, in words."""
    return [check.fine.format(dev=facts.dev) for check, findings in _checked(facts) if findings == []]


def untried(facts: Facts) -> list[str]:
    """The names of checks that nothing can be said of before what was found is mended."""
    return [check.name for check, findings in _checked(facts) if findings is None]


def _checked(facts: Facts) -> Iterator[tuple[Check, list[Finding] | None]]:
    """Each check that is about these facts, and what it found; None where it cannot be made."""
    broken: set[str] = set()
    for check in CHECKS:
        if facts.names is None and check in NAME_CHECKS:
            continue
        if not broken.isdisjoint(check.unless):
            yield check, None
            continue
        findings = list(check.look(facts))
        broken |= {finding.check for finding in findings if finding.severity == BROKEN}
        yield check, findings
