"""The commands about a model that are made from the command tables: a signature is a schema, a docstring is help."""

import argparse
import inspect
from collections.abc import Iterable
from typing import Final

from addrsvc.cli.adding import DEFAULT_NET, Subparsers, add, add_once
from addrsvc.cli.desk import open_desk
from addrsvc.cli.keeper import inject
from addrsvc.cli.model import unsent
from addrsvc.daemon.commands import CHANGES, QUERIES, Command
from addrsvc.daemon.printer import answer_text, json_text, listed, say
from addrsvc.errors import ControlError
from addrsvc.uapi import NetdevEvent

__all__ = ["add_rows"]

_INJECT_HELP: Final = """\
Call the netdevice notifier chain with an event, as if a driver had announced it.

Injecting only calls the chain: the device itself is not changed, so NETDEV_UP for a device that is down leaves it down,
and subscribers do what they do with such news.  An operation (addrsvc link set lo up) changes the device and
thereby causes its events; that is what you want unless the chain itself is what you look at."""

_INJECT_INFO: Final = """\
what comes with an event, as KEY=VALUE:
  CHANGEMTU                     mtu=1500 (the MTU from before the change)
  CHANGE                        flags_changed=NOARP,DEBUG (or a number)
  PRE_CHANGEADDR                dev_addr=02:00:00:00:00:01
  PRECHANGEUPPER, CHANGEUPPER   upper_dev=DEV master=yes linking=yes"""

_IN_OTHER_WORDS: Final = {
    "status", "plan", "history", "links", "addresses", "link_set", "link_add", "link_del", "addr_add", "addr_del",
    "sysctl", "sysctl_set", "proc", "features", "features_set", "link_state",
    "ping", "send", "capture", "trace",
}  # fmt: skip
"""Rows for which another module has a command."""


def add_rows(subparsers: Subparsers) -> None:
    """Add a command for each row that has none in other words."""
    for name, function in {**QUERIES, **CHANGES}.items():
        if name not in _IN_OTHER_WORDS:
            _add_command(subparsers, name, function)


def _first_line(function: Command) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _add_command(subparsers: Subparsers, name: str, function: Command) -> None:
    """A subcommand out of a row: what has no default is positional, the rest are options."""

    def run(arguments: argparse.Namespace) -> int:
        return inject(arguments) if getattr(arguments, "real", False) else _command(arguments, name, function)

    description, epilog = (_INJECT_HELP, _inject_epilog()) if name == "inject" else (_first_line(function), "")
    parser = add(subparsers, name.replace("_", "-"), run, description, epilog=epilog)
    for parameter in _schema(function):
        _add_parameter(parser, parameter)
    if name == "inject":
        _add_real(parser)
    add_once(parser)


def _add_real(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--real", action="store_true", help="let what keeps a real namespace hear of it, if the "
                        "configuration allows that, and not the model: UP, DOWN or CHANGEMTU, of lo")  # fmt: skip
    parser.add_argument("--netns", metavar="NETNS", help="with --real, which namespace (default: host)")
    parser.add_argument("--address", metavar="ADDRESS", help="with --real, an address of lo that the event is about")


def _schema(function: Command) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[1:]


_POSITIONAL_HELP: Final = {
    "event": "an event of the chain, by name or number: see below",
    "dev": "the device that the event is about",
    "name": "a setting, such as net.ipv6.conf.lo.disable_ipv6",
    "value": "what to write",
    "net": "a namespace of the model",
}


def _add_parameter(parser: argparse.ArgumentParser, parameter: inspect.Parameter) -> None:
    name = parameter.name
    if parameter.default is parameter.empty:
        parser.add_argument(name, metavar=name.upper(), help=_POSITIONAL_HELP.get(name))
    elif parameter.annotation == dict[str, str] | None:
        parser.add_argument(
            "words", nargs="*", default=[], metavar="KEY=VALUE", help="what comes with the event: see below"
        )
    elif parameter.annotation is bool:
        parser.add_argument(f"--{name}", action="store_true")
    else:
        default = DEFAULT_NET if name == "net" else parameter.default or "all"
        parser.add_argument(f"--{name}", default=parameter.default, help=f"default: {default}")


def _inject_epilog() -> str:
    import textwrap

    names = " ".join(event.name.removeprefix("NETDEV_") for event in NetdevEvent)
    events = textwrap.fill(f"events, with or without NETDEV_, or by number: {names}", 110)
    return f"{events}\n\n{_INJECT_INFO}"


def _command(arguments: argparse.Namespace, name: str, function: Command) -> int:
    given = {parameter.name: _value(arguments, parameter) for parameter in _schema(function)}
    with open_desk(arguments) as desk:
        answer = desk.ask(name, {key: value for key, value in given.items() if value is not None})
    if answer:
        say(json_text(answer) if arguments.json else answer_text(answer))
    return unsent(listed(answer["mirrors"])) if name == "converge" else 0


def _value(arguments: argparse.Namespace, parameter: inspect.Parameter) -> object:
    if parameter.annotation == dict[str, str] | None:
        return _once_each(map(_key_value, arguments.words))
    return getattr(arguments, parameter.name)


def _once_each(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for key, value in pairs:
        if key in given:
            raise ControlError(f"{key}: given twice")
        given[key] = value
    return given


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ControlError(f"{text!r} is not KEY=VALUE")
    return key, value
