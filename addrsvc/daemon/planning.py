"""What is asked of kernels by a service that keeps namespaces, or would be: found out, done, and put into rows."""

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from addrsvc.daemon.answers import ROWS, PlanRow, Plans, StepRow, replies
from addrsvc.daemon.keeping import KeeperThread
from addrsvc.keeper import mend
from addrsvc.keeper.alone import Called
from addrsvc.keeper.compare import Step
from addrsvc.keeper.discover import Discovery
from addrsvc.keeper.keep import Keeper, Rules
from addrsvc.keeper.kept import Key, key_text
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.messages import LO_IFINDEX
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import NOTHING, Wanted
from addrsvc.netlink.text import command_line

__all__ = ["Planned", "applied", "looked", "newcomers", "plan_rows", "planned", "planned_anew", "plans"]


class Planned(NamedTuple):
    """What is asked of a namespace, what is missing after that, and why it is not known how it is, as in `PlanRow`."""

    steps: Sequence[Step] = ()
    left: Sequence[str] = ()
    error: str | None = None


_GONE: Final = Planned(error="it has gone")


def plans(labels: Iterable[str], find: Callable[[str], Planned]) -> Iterator[Plans]:
    """What is asked of namespaces, each found out when its turn has come, in replies."""
    rows = (row for label in labels for row in plan_rows(label, find(label)))
    yield from (Plans(plans=some) for some in replies(rows, lambda row: len(row["steps"])))


class _View(NamedTuple):
    """What tells what would be asked of a namespace: a way there, what is wanted, and what is known to be ours."""

    fd: int
    wanted: Wanted
    ours: frozenset[Key]


def planned(keeping: KeeperThread, rules: Rules | None, label: str) -> Planned:
    """What would be asked of a namespace, found out beside the keeper wherever one can go there."""

    def view(keeper: Keeper) -> _View | Planned:
        kept = keeper.get(label)
        if kept is None:
            return _GONE
        wanted, ours = keeper.wanted(label, rules), frozenset(kept.made or ())
        if kept.netns_fd is None:
            return looked(kept.requests, wanted, ours)
        try:
            return _View(os.dup(kept.netns_fd), wanted, ours)
        except OSError as error:
            return Planned(error=str(error))

    seen = keeping.ask(view)
    if isinstance(seen, Planned):
        return seen
    try:
        with Requests.to(seen.fd, label) as requests:
            return looked(requests, seen.wanted, seen.ours)
    except OSError as error:
        return Planned(error=str(error))
    finally:
        os.close(seen.fd)


def looked(requests: Requests, wanted: Wanted, ours: frozenset[Key]) -> Planned:
    """What would be asked of a namespace, where this is wanted and those are known to be ours."""
    try:
        return Planned(mend.plan(requests, wanted, ours))
    except OSError as error:
        return Planned(error=str(error))


def newcomers(keeping: KeeperThread, rules: Rules) -> dict[str, Planned]:
    """What would be asked of namespaces that these rules mean, and that are not kept yet."""
    if keeping.inside is not None:
        return {}
    kept = keeping.ask(lambda keeper: frozenset(os.fstat(kept.fd).st_ino for kept in keeper if kept.fd >= 0))
    return planned_anew(rules, None, may_enter=keeping.may_enter, but=kept)


def planned_anew(rules: Rules, inside: str | None, *, may_enter: bool, but: Container[int] = ()) -> dict[str, Planned]:
    """What a service would ask of each namespace if it began now.

    Args:
        rules: what it would want.
        inside: what the one is called that it would keep, if it is the one that this thread is in.
        may_enter: whether it may enter others.
        but: the inodes of those that are left out.
    """
    seen = _Seen(rules, but)
    with Loop() as loop:
        discovery = Discovery(loop, seen if inside is None else Called(seen, inside), may_enter=may_enter)
        seen.names = discovery.names
        try:
            discovery.select(rules.selectors())
        finally:
            discovery.close()
    return seen.plans


class _Seen:
    """Looks at each namespace as it is found.

    Args:
        rules: what is wanted.
        but: the inodes of those that are left out.

    Attributes:
        names: tells all names of one.
        plans: what would be asked of each.
    """

    def __init__(self, rules: Rules, but: Container[int]) -> None:
        self._rules = rules
        self._but = but
        self.names: Callable[[str], tuple[str, ...]] = lambda label: (label,)
        self.plans: dict[str, Planned] = {}

    def expected(self, label: str) -> None:
        """There is time enough."""

    def opened(self, label: str, netns_fd: int) -> None:
        """Nothing is done."""

    def found(self, label: str, netns_fd: int, door: object) -> None:
        if os.fstat(netns_fd).st_ino in self._but:
            return
        wanted = self._rules.wanted(*self.names(label)) or NOTHING
        try:
            with Requests.to(netns_fd, label) as requests:
                self.plans[label] = looked(requests, wanted, frozenset())
        except OSError as error:
            self.plans[label] = Planned(error=str(error))

    def gone(self, label: str) -> None:
        self.plans.pop(label, None)

    def renamed(self, label: str, instead: str) -> None:
        if label in self.plans:
            self.plans[instead] = self.plans.pop(label)

    def named(self, label: str) -> None:
        """All names are known when it is found."""

    def waiting(self, label: str, why: str) -> None:
        """Nothing can be asked for where nothing is."""


def applied(keeper: Keeper, label: str, cause: int) -> Planned:
    """Ask a namespace for what is missing, and take away what is ours and not wanted, in the keeper's thread."""
    kept = keeper.get(label)
    if kept is None:
        return _GONE
    if not kept.is_claimed:
        return Planned(error="another service keeps it")
    planned = looked(kept.requests, kept.wanted, frozenset(kept.made or ()))
    if planned.error is None:
        keeper.look(label, cause)
    left = [f"{key_text(key)} is not there: {why}" for key, why in (kept.missing or {}).items()]
    return planned._replace(left=left)


def plan_rows(label: str, planned: Planned) -> Iterator[PlanRow]:
    """The same for the wire, in parts that are not too long."""
    steps = planned.steps
    for start in range(0, len(steps) or 1, ROWS):
        rows = [_step_row(step) for step in steps[start : start + ROWS]]
        left = list(planned.left) if not start else []
        yield {"netns": label, "steps": rows, "left": left, "error": planned.error}


def _step_row(step: Step) -> StepRow:
    from addrsvc.netlink.codec import decode

    text = command_line(decode(step.message), {LO_IFINDEX: "lo"})
    return {"recipe": step.recipe, "address": key_text(step.key), "text": text}
