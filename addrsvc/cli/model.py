"""What status, events and plan are where a model runs; see `keeper` for a service that keeps namespaces."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from addrsvc.cli.desk import open_desk
from addrsvc.daemon.commands import INIT_NET
from addrsvc.daemon.exits import UNSENT
from addrsvc.daemon.printer import Printer, answer_text, json_text, listed, plan_text, say
from addrsvc.errors import ControlError

__all__ = ["events", "plan", "status", "unsent"]


def status(arguments: argparse.Namespace) -> int:
    """Show the service at a glance."""
    with open_desk(arguments) as desk:
        answer = desk.ask("status", {})
    say(json_text(answer) if arguments.json else answer_text(answer))
    return 0


def events(arguments: argparse.Namespace) -> int:
    """Tell what happened, and with --follow what happens."""
    printer = Printer(as_json=arguments.json)
    if arguments.follow and not arguments.once:
        return _follow(arguments, printer)
    if arguments.once:
        return _events_of_a_fresh_model(printer)
    with open_desk(arguments) as desk:
        printer.print_all(desk.ask("history", {})["news"])
    return 0


def _events_of_a_fresh_model(printer: Printer) -> int:
    from addrsvc.daemon.run import booted, bring_up

    service = booted()
    with printer.listening(service):
        bring_up(service, INIT_NET)
    return 0


def _follow(arguments: argparse.Namespace, printer: Printer) -> int:
    from addrsvc.daemon.client import Client, Ended, control_to_ask

    with suppress(KeyboardInterrupt, Ended), Client(control_to_ask(arguments.control)) as client:
        for reply in client.stream("monitor", {"replay": True}, output=sys.stdout.fileno()):
            printer.print_lost(reply["lost"])
            printer.print_all(reply["news"])
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """Show what would be sent."""
    plans = _fresh_plans(arguments.netns) if arguments.once else _service_plans(arguments)
    say(json_text({"plans": plans}) if arguments.json else "\n".join(map(plan_text, plans)) or "nothing is mirrored")
    return unsent(plans)


def _service_plans(arguments: argparse.Namespace) -> list[object]:
    with open_desk(arguments) as desk:
        answers = [desk.ask("plan", {"netns": name}) for name in arguments.netns] or [desk.ask("plan", {})]
    return [planned for answer in answers for planned in listed(answer["plans"])]


def _fresh_plans(names: Sequence[str]) -> list[object]:
    """What `addrsvc run` would send to namespaces of the running kernel."""
    from addrsvc.daemon.run import booted, bring_up, mirror

    if not names:
        raise ControlError("plan: with --once name a namespace of the running kernel: --netns NAME")
    service = booted()
    with ExitStack() as stack:
        for name in names:
            bring_up(service, mirror(service, name, stack, is_dry=True))
        return listed(service.ask("plan", {})["plans"])


def unsent(rows: Sequence[object]) -> int:
    """The exit code of what was planned or sent, namespace by namespace."""
    return UNSENT if any(isinstance(row, dict) and row["divergences"] for row in rows) else 0
