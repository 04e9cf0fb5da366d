"""What happened, and what happens, in the namespaces that a service keeps: `addrsvc events`."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Final

from addrsvc.cli import model
from addrsvc.cli.adding import Subparsers, add, add_netns
from addrsvc.cli.following import follow
from addrsvc.cli.keeper_desk import Row, Service, add_model, or_model
from addrsvc.cli.refusals import fail
from addrsvc.daemon.printer import json_text, say
from addrsvc.errors import ControlError

__all__ = ["add_events"]

_HELP: Final = """\
Tell what happened lately.

Of a service that keeps namespaces: what was heard, decided, asked for and acknowledged; what belongs together bears the
same cause.  A cursor, printed with --show-cursor and part of each line of JSON, is where to go on later.  Otherwise, or
with --model: what happened in the model.

With --follow it goes on when the service that keeps namespaces is started anew, behind the last event that was told;
what may have been lost then is said on standard error.  It never starts a service that somebody has stopped, but waits
until that runs again, and gives up when nobody has listened at the control socket for a minute."""


def add_events(subparsers: Subparsers) -> None:
    """Add events."""
    parser = add(subparsers, "events", or_model(_events, model.events), _HELP)
    parser.add_argument("--follow", "-f", action="store_true", help="go on telling what happens, until interrupted")
    parser.add_argument("--since", metavar="CURSOR", help="begin behind this cursor, not with the oldest event")
    parser.add_argument("--show-cursor", action="store_true", help="end with the cursor to go on from")
    add_netns(parser, "only of this namespace, by any of its names; may be repeated", metavar="NETNS")
    parser.add_argument("--level", metavar="LEVEL", help="what is at least so serious: debug, info, warning or error")
    add_model(parser)


def _events(arguments: argparse.Namespace, service: Service) -> int:
    told: Row = {}
    count = 0
    code = _say_unknown(arguments.netns, service)
    try:
        for told in _answers(arguments, service):
            _say_told(told, as_json=arguments.json)
            count += len(told["events"])
    except KeyboardInterrupt:
        pass
    finally:
        if arguments.show_cursor and told and not arguments.json:
            say(f"-- cursor: {told['cursor']}")
    return 0 if arguments.follow or count else code


def _say_unknown(names: Sequence[str], service: Service) -> int:
    """Say which names no namespace has; the exit code, if there are no events either of one that had such a name."""
    code = 0
    for name in dict.fromkeys(names):
        try:
            service.all("list", {"netns": name}, "namespaces")
        except ControlError as error:
            code = fail(str(error), 1)
    return code


def _answers(arguments: argparse.Namespace, service: Service) -> Iterator[Row]:
    chosen = {"netns": arguments.netns or None, "level": arguments.level, "cursor": arguments.since}
    parameters = {name: value for name, value in chosen.items() if value is not None}
    if arguments.follow:
        yield from follow(arguments.control, service, {"replay": True, **parameters})
        return
    before = None
    while (told := service.ask("events", parameters))["cursor"] != before:
        yield told
        before = parameters["cursor"] = told["cursor"]


def _say_told(told: Row, *, as_json: bool) -> None:
    from addrsvc.daemon.keeper_printer import event_line

    boot = told["cursor"].partition(":")[0]
    if told["restarted"]:
        say(json_text({"restarted": True}) if as_json else "... the service was started anew since")
    if told["lost"]:
        lost = told["lost"]
        say(json_text({"lost": lost}) if as_json else f"... {lost} lost, as they were not taken in time")
    for event in told["events"]:
        say(json_text({**event, "cursor": f"{boot}:{event['seq'] + 1}"}) if as_json else event_line(event))
