"""The commands for a service that keeps namespaces; where a model runs instead, those that mean it too mean it."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from addrsvc.cli import model
from addrsvc.cli.adding import Subparsers, add, add_netns
from addrsvc.cli.events import add_events
from addrsvc.cli.keeper_desk import Row, Service, add_model, of_keeper, open_service, or_model
from addrsvc.daemon.exits import UNSENT
from addrsvc.daemon.printer import json_text, say
from addrsvc.errors import AddrsvcError, ControlError

__all__ = ["add_keeper", "inject"]

_STATUS_HELP: Final = """\
Show how a running service is.

Of one that keeps namespaces: each of them, how many addresses are wanted and there, the last repair, and what is
missing and why; the exit code is 3 if anything is.  Otherwise, or with --model: the namespaces of the model."""

_WAIT_HELP: Final = """\
Wait until something holds in the namespaces that are kept: words as below, quoted or not.

The exit code is 0 when it holds, and 3 when it does not within the time limit."""

_RELOAD_HELP: Final = """\
Have the configuration read again and put in force, and tell what that changes.

What both configurations want is not touched.  If anything in the files is wrong, all of it is told, the exit code is 1,
and the configuration before stays in force."""

_RESUME_HELP: Final = """\
End all fights in a namespace, want again what was withdrawn there by command, and mend at once."""

_WITHDRAW_HELP: Final = """\
Take service addresses of a namespace away, all or some, until resumed.

Each is deprecated first, so that nothing new uses it, and deleted when its sockets have ended or the time for that is
over.  It stays away over reloads, until addrsvc resume, the end of the namespace or a restart of the service."""

_PLAN_HELP: Final = """\
Show what would be sent to namespaces of the running kernel; nothing is sent.

Of a service that keeps namespaces: what it would ask for if it began now, which is to take away, too, what is its own
and not wanted any more; with --files, if it read its configuration anew.  Otherwise, or with --model: what the model
has and its mirrors have not; with --once, what addrsvc run would send."""

_APPLY_HELP: Final = """\
Look at all namespaces that are kept, or at one, and mend at once what is not as wanted.

What bears our mark and is not wanted any more is taken away.  The exit code is 3 if something is missing still."""


def add_keeper(subparsers: Subparsers) -> None:
    """Add all of them."""
    from addrsvc.keeper.forms import FORMS

    parser = add(subparsers, "status", or_model(_status, model.status), _STATUS_HELP)
    parser.add_argument("netns", nargs="?", metavar="NETNS", help="only this namespace")
    parser.add_argument("--details", "-d", action="store_true", help="show all addresses")
    add_model(parser)
    add_events(subparsers)
    parser = add(subparsers, "plan", or_model(_plan, model.plan), _PLAN_HELP)
    add_netns(parser, "only this namespace; may be repeated", metavar="NETNS")
    parser.add_argument("--files", action="store_true", help="if the files of the configuration were read again")
    add_model(parser)
    parser = add(subparsers, "apply", of_keeper(_apply), _APPLY_HELP)
    add_netns(parser, "only this namespace; may be repeated", metavar="NETNS")
    parser.add_argument("--dry-run", "-n", action="store_true", help="only show what would be asked for")
    forms = "\n".join(f"  {form}" for form in FORMS)
    example = "  addrsvc wait --timeout 10 ::1 on lo in blue"
    parser = add(
        subparsers, "wait", of_keeper(_wait), _WAIT_HELP, epilog=f"what can hold:\n{forms}\n\nexample:\n{example}"
    )
    parser.add_argument("condition", nargs="+", metavar="WORD", help="what is to hold")
    parser.add_argument("--timeout", "-t", type=float, metavar="SECONDS", help="how long to wait (default: for ever)")
    parser = add(subparsers, "reload", of_keeper(_reload), _RELOAD_HELP)
    parser.add_argument("--dry-run", "-n", action="store_true", help="only read it, and show what would be asked for")
    parser = add(subparsers, "resume", of_keeper(_resume), _RESUME_HELP)
    parser.add_argument("netns", metavar="NETNS", help="the namespace")
    parser = add(subparsers, "withdraw", of_keeper(_withdraw), _WITHDRAW_HELP)
    parser.add_argument("netns", metavar="NETNS", help="the namespace")
    parser.add_argument("addresses", nargs="*", metavar="ADDRESS", help="which of its addresses (default: all)")
    parser.add_argument("--drain", type=float, metavar="SECONDS", help="how long their sockets have to end (default: "
                        "as the configuration says)")  # fmt: skip
    parser.add_argument("--wait", "-w", action="store_true", help="come back when they are gone")


def _say_all(lines: Iterator[str]) -> None:
    for line in lines:
        say(line)


def _status(arguments: argparse.Namespace, service: Service) -> int:
    from addrsvc.daemon.keeper_printer import status_lines

    described = service.ask("describe", {})
    details = arguments.details or arguments.netns is not None
    parameters = {"netns": arguments.netns, "details": details or arguments.json}
    namespaces = _joined(service.all("list", parameters, "namespaces"), "addresses")
    if arguments.json:
        say(json_text({**described, "list": namespaces}))
    else:
        _say_all(status_lines(described, namespaces, details=details))
    return UNSENT if any(row["state"] not in ("kept", "waiting") for row in namespaces) else 0


def _joined(rows: list[Row], key: str) -> list[Row]:
    """Rows of the same namespace as one."""
    found: list[Row] = []
    for row in rows:
        if found and found[-1]["netns"] == row["netns"]:
            found[-1][key] += row[key]
        else:
            found.append(row)
    return found


def _plan(arguments: argparse.Namespace, service: Service) -> int:
    plans = _all_plans(arguments, service, "plan", {"files": arguments.files})
    _say_plans(arguments, plans, done=False)
    return 0


def _apply(arguments: argparse.Namespace, service: Service) -> int:
    command = "plan" if arguments.dry_run else "apply"
    plans = _all_plans(arguments, service, command, {})
    _say_plans(arguments, plans, done=not arguments.dry_run)
    return UNSENT if any(row["left"] or row["error"] for row in plans) else 0


def _all_plans(
    arguments: argparse.Namespace, service: Service, command: str, parameters: Mapping[str, object]
) -> list[Row]:
    names = arguments.netns or [None]
    rows = [row for name in names for row in service.all(command, {"netns": name, **parameters}, "plans")]
    return _joined(rows, "steps")


def _say_plans(arguments: argparse.Namespace, plans: list[Row], *, done: bool) -> None:
    from addrsvc.daemon.keeper_printer import plan_lines

    if arguments.json:
        say(json_text({"plans": plans}))
    else:
        _say_all(plan_lines(plans, done=done))


def _wait(arguments: argparse.Namespace, service: Service) -> int:
    from addrsvc.daemon.client import TimedOut

    given = {} if arguments.timeout is None else {"seconds": arguments.timeout}
    try:
        answer = service.ask("wait", {"condition": " ".join(arguments.condition), **given})
    except TimedOut as error:
        return _not_in_time(error)
    if arguments.json:
        say(json_text(answer))
    return 0


def _not_in_time(error: AddrsvcError) -> int:
    sys.stderr.write(f"not in time: {error}\n")
    return UNSENT


def _reload(arguments: argparse.Namespace, service: Service) -> int:
    from addrsvc.daemon.keeper_printer import change_lines

    if arguments.dry_run:
        _say_plans(arguments, _joined(service.all("plan", {"files": True}, "plans"), "steps"), done=False)
        return 0
    answer = service.ask("reload", {})
    if arguments.json:
        say(json_text(answer))
    else:
        _say_all(change_lines(answer))
    return 0


def _resume(arguments: argparse.Namespace, service: Service) -> int:
    answer = service.ask("resume", {"netns": arguments.netns})
    _say_done(arguments, answer, "resumed")
    return 0


def _withdraw(arguments: argparse.Namespace, service: Service) -> int:
    given = {"addresses": arguments.addresses or None, "drain": arguments.drain}
    parameters = {name: value for name, value in given.items() if value is not None}
    answer = service.ask("withdraw", {"netns": arguments.netns, **parameters})
    for address in answer["addresses"] if arguments.wait else ():  # type: ignore[attr-defined]
        service.ask("wait", {"condition": f"{address} not on lo in {arguments.netns}"})
    _say_done(arguments, answer, "withdrawn")
    return 0


def inject(arguments: argparse.Namespace) -> int:
    """Let an event run through the chain that decides about a real namespace."""
    if arguments.dev != "lo":
        raise ControlError(f"{arguments.dev!r}: with --real an event is about lo, or with --address about one of its")
    parameters = {"event": arguments.event, "netns": arguments.netns or "host"}
    parameters |= {} if arguments.address is None else {"address": arguments.address}
    with open_service(arguments.control) as service:
        _say_done(arguments, service.ask("inject", parameters), "heard of")
    return 0


def _say_done(arguments: argparse.Namespace, answer: dict[str, Any], word: str) -> None:
    from addrsvc.daemon.keeper_printer import event_line

    if arguments.json:
        say(json_text(answer))
        return
    say("\n".join(f"{address} {word}" for address in answer["addresses"]) or "there was nothing to do")
    _say_all(event_line(event) for event in answer["events"])
