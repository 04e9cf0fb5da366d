"""What a service that keeps namespaces would ask for if it began now: found out without starting one."""

from collections.abc import Callable, Iterator
from pathlib import Path

from addrsvc.daemon.answers import PlanRow
from addrsvc.daemon.exits import UNSENT
from addrsvc.daemon.keeper_printer import plan_lines
from addrsvc.daemon.planning import Planned, looked, plan_rows
from addrsvc.daemon.printer import json_text, say
from addrsvc.keeper.alone import Alone, Called
from addrsvc.keeper.config import load, places
from addrsvc.keeper.discover import Discovery, Listener
from addrsvc.keeper.keep import Rules
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import NOTHING
from addrsvc.mirror.netns import has_cap_sys_admin

__all__ = ["foresee"]


def foresee(file: Path | None, *, inside: str | None, as_json: bool) -> int:
    """Print what would be asked for, which is to take away, too, what is our own and not wanted; the exit code.

    Raises:
        ConfigError: the configuration is wrong.
    """
    config = load(places(file)).config
    seen = _Seen(config) if inside is None else _Seen(Alone(config, inside))
    rows = list(_rows(seen, seen if inside is None else Called(seen, inside)))
    say(json_text({"plans": rows}) if as_json else "\n".join(plan_lines(rows, done=False)))
    return UNSENT if any(row["error"] for row in rows) else 0


def _rows(seen: "_Seen", listener: Listener) -> Iterator[PlanRow]:
    with Loop() as loop:
        discovery = Discovery(loop, listener, may_enter=has_cap_sys_admin())
        seen.names = discovery.names
        try:
            discovery.select(seen.rules.selectors())
        finally:
            discovery.close()
    for label, planned in seen.plans.items():
        yield from plan_rows(label, planned)


class _Seen:
    """Looks at each namespace as it is found.

    Attributes:
        names: tells all names of one.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.names: Callable[[str], tuple[str, ...]] = lambda label: (label,)
        self.plans: dict[str, Planned] = {}

    def expected(self, label: str) -> None:
        """There is time enough."""

    def opened(self, label: str, netns_fd: int) -> None:
        """Nothing is done."""

    def found(self, label: str, netns_fd: int, door: object) -> None:
        wanted = self.rules.wanted(*self.names(label)) or NOTHING
        try:
            with Requests.to(netns_fd, label) as requests:
                self.plans[label] = looked(requests, wanted, frozenset())
        except OSError as error:
            self.plans[label] = Planned(error=str(error))

    def gone(self, label: str) -> None:
        self.plans.pop(label, None)

    def renamed(self, label: str, instead: str) -> None:
        self.plans[instead] = self.plans.pop(label)

    def named(self, label: str) -> None:
        """All names are known when it is found."""

    def waiting(self, label: str, why: str) -> None:
        """Nothing can be asked for where nothing is."""
