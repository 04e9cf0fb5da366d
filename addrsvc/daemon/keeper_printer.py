"""What the command line prints of a service that keeps namespaces: tables and lines for people."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from addrsvc.daemon.terminal import printable, wants_colour

__all__ = ["change_lines", "event_line", "plan_lines", "status_lines"]

Row: TypeAlias = Mapping[str, Any]
"""Of an answer, as JSON has it; `answers` and `reading` say what is in it."""

_COLOURS: Final = {"debug": "2", "warning": "33", "error": "31"}
_STATES: Final = {"missing": "31", "fighting": "31", "claimed": "33", "waiting": "2"}


def _coloured(text: str, colour: str | None) -> str:
    return f"\033[{colour}m{text}\033[0m" if colour and wants_colour(sys.stdout) else text


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}{'es' if what.endswith('s') else 's'}"


# --- status -----------------------------------------------------------------------------------------------------------

_HEAD: Final = ("NETNS", "STATE", "WANTED", "PRESENT", "LO", "FIGHTS", "LOST", "LAST REPAIR")


def status_lines(service: Row, namespaces: Sequence[Row], *, details: bool) -> Iterator[str]:
    """How the service is, and a table of namespaces with what is missing in each."""
    yield from _service_lines(service)
    yield ""
    cells = [_HEAD, *map(_cells, namespaces)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    for row, it in zip(cells, (None, *namespaces), strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield line if it is None else _coloured(line, _STATES.get(it["state"]))
        yield from () if it is None else _address_lines(it, details=details)


def _service_lines(it: Row) -> Iterator[str]:
    where = _count(it["namespaces"], "namespace")
    waiting = f", waiting for {it['waiting']}" if it["waiting"] else ""
    yield f"addrsvc {it['version']}, process {it['pid']}"
    yield f"{it['present']} of {it['wanted']} addresses are there, in {where}{waiting}"
    files = ", ".join(map(printable, it["files"])) or "no file: the built-in rule holds"
    yield f"configuration: {files}"
    causes = ", ".join(f"{why} {number}" for why, number in it["repairs"].items())
    yield (
        f"{_count(sum(it['repairs'].values()), 'repair')}{f' ({causes})' if causes else ''}, "
        f"{_count(it['fights'], 'fight')}, {_count(it['lost'], 'lost interval')}, "
        f"{_count(it['drifts'], 'drift')}, {_count(it['divergences'], 'divergence')}, lag {it['lag'] * 1000:.1f} ms"
    )


def _cells(it: Row) -> tuple[str, ...]:
    if it["state"] == "waiting":
        return (printable(it["netns"]), "waiting", "", "", "", "", "", it["why"])
    last = it["last"]
    return (
        printable(it["netns"]), it["state"], str(it["wanted"]), str(it["present"]), "up" if it["lo_up"] else "down",
        str(it["fights"]), str(it["lost"]), "" if last is None else _repair(last),
    )  # fmt: skip


def _repair(it: Row) -> str:
    what = it["recipe"] if it["what"] == "lo" else f"{it['recipe']} {it['what']}"
    return f"{_ago(time.time() - it['time'])} ago: {what} ({it['why']}), {it['us']:.0f} us"


_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def _ago(seconds: float) -> str:
    size, unit = next((it for it in _UNITS if seconds >= it[0]), (1, "s"))
    return f"{max(0, int(seconds / size))} {unit}"


def _address_lines(it: Row, *, details: bool) -> Iterator[str]:
    if details and it["rules"]:
        yield f"  rules: {', '.join(it['rules'])}"
    if details and it["aliases"]:
        yield f"  also called: {', '.join(map(printable, it['aliases']))}"
    if it["conflict"]:
        yield _coloured(f"  {it['conflict']}", _COLOURS["warning"])
    for address in it["addresses"]:
        if not address["present"]:
            yield _coloured(f"  {address['address']}: {address['why_not'] or it['state']}", "31")
        elif details:
            yield f"  {address['address']}: of {address['owner']}{', a route' if address['route'] else ''}"
    for text in it["withdrawn"]:
        yield f"  {text}: withdrawn by command"


# --- events -----------------------------------------------------------------------------------------------------------


def event_line(it: Row) -> str:
    """One event."""
    when = datetime.fromtimestamp(it["time"]).astimezone().isoformat(sep=" ", timespec="milliseconds")
    fields = {"netns": it["netns"]} if it["netns"] else {}
    fields |= it["fields"]
    said = " ".join(f"{name}={_value(value)}" for name, value in fields.items())
    line = f"{when} {it['level']:7} {it['event']:12} {said} cause={it['cause']} seq={it['seq']}"
    return _coloured(line, _COLOURS.get(it["level"]))


def _value(value: object) -> str:
    match value:
        case str():
            text = printable(value)
            return repr(value) if " " in text or not text else text
        case list():
            return ",".join(map(_value, value))
        case bool():
            return "yes" if value else "no"
    return str(value)


# --- plans and changes ------------------------------------------------------------------------------------------------


def plan_lines(plans: Iterable[Row], *, done: bool) -> Iterator[str]:
    """What would be asked, or has been, namespace by namespace; those where that is nothing are counted."""
    idle, is_all = 0, True
    for it in plans:
        if not (it["steps"] or it["left"] or it["error"]):
            idle += 1
            continue
        is_all = False
        verb = "" if it["error"] else ("asked for" if done else "to ask for")
        yield f"{printable(it['netns'])}: {it['error'] or _count(len(it['steps']), 'change')} {verb}"
        yield from (f"  {step['text']}" for step in it["steps"])
        yield from (f"  left: {text}" for text in it["left"])
    if idle or is_all:
        yield f"{_count(idle, 'namespace')} as wanted"


def change_lines(it: Row) -> Iterator[str]:
    """What another configuration has changed."""
    yield from (f"read {printable(name)}" for name in it["files"])
    for word in ("added", "removed", "changed"):
        yield from (f"rule {name}: {word}" for name in it[word])
    for name in it["settings"]:
        yield f"{name}: changed{', from the next start on' if name in it['later'] else ''}"
    yield from map(event_line, it["events"])
