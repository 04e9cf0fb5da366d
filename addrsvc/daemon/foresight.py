"""What a service that keeps namespaces would ask for if it began now: found out without starting one."""

from pathlib import Path

from addrsvc.daemon.exits import UNSENT
from addrsvc.daemon.keeper_printer import plan_lines
from addrsvc.daemon.planning import plan_rows, planned_anew
from addrsvc.daemon.printer import json_text, say
from addrsvc.keeper.alone import Alone
from addrsvc.keeper.config import load, places
from addrsvc.mirror.netns import has_cap_sys_admin

__all__ = ["foresee"]


def foresee(file: Path | None, *, inside: str | None, as_json: bool) -> int:
    """Print what would be asked for, which is to take away, too, what is our own and not wanted; the exit code.

    Raises:
        ConfigError: the configuration is wrong.
    """
    config = load(places(file)).config
    plans = planned_anew(config if inside is None else Alone(config, inside), inside, may_enter=has_cap_sys_admin())
    rows = [row for label, planned in plans.items() for row in plan_rows(label, planned)]
    say(json_text({"plans": rows}) if as_json else "\n".join(plan_lines(rows, done=False)))
    return UNSENT if any(row["error"] for row in rows) else 0
