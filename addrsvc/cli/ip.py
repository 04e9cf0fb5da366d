"""The commands in the words of ip(8): link and addr."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Final

from addrsvc.cli.adding import Subparsers, add, add_net, add_once
from addrsvc.cli.desk import open_desk
from addrsvc.daemon.commands import QUERIES
from addrsvc.daemon.printer import json_text, say
from addrsvc.daemon.words import ADDR, LINK, Action, read

__all__ = ["add_ip"]

_LINK_HELP: Final = "Show and change the devices of the model, in the words of ip-link(8)."
_ADDR_HELP: Final = "Show and change the addresses of the model's devices, in the words of ip-address(8)."

_OPERATION: Final = """\
These are operations: they change state, and the events follow from the change.  To call the notifier chain without
a change, see: addrsvc inject --help."""


def add_ip(subparsers: Subparsers) -> None:
    """Add link and addr."""
    _add_words(subparsers, "link", ("l",), LINK, _LINK_HELP)
    _add_words(subparsers, "addr", ("address", "a"), ADDR, _ADDR_HELP)


def _add_words(
    subparsers: Subparsers,
    name: str,
    aliases: Sequence[str],
    actions: Mapping[str, Action],
    description: str,
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        return _ip(arguments, actions)

    parser = add(subparsers, name, run, f"{description}\n\n{_usage(name, actions)}\n\n{_OPERATION}", aliases)
    parser.usage = f"addrsvc {name} [ACTION] [WORD ...] [--net NET] [--json] [--once] [--control PATH] [-d] [-4] [-6]"
    parser.add_argument("words", nargs="*", metavar="WORD", help=argparse.SUPPRESS)
    add_net(parser)
    parser.add_argument("--details", "-d", action="store_true", help="show more")
    parser.add_argument("-4", dest="family", action="store_const", const="inet", help="IPv4 only")
    parser.add_argument("-6", dest="family", action="store_const", const="inet6", help="IPv6 only")
    parser._has_negative_number_optionals.clear()  # so that -3 is still a word, and may be a value
    add_once(parser)


def _usage(name: str, actions: Mapping[str, Action]) -> str:
    return "\n".join(_action_usage(name, spelled, action) for spelled, action in actions.items())


def _action_usage(name: str, spelled: str, action: Action) -> str:
    import textwrap

    bare = f"[{action.bare.upper()}]" if not action.required else action.bare.upper()
    words = [
        f"[{word} {what.usage}]" if what.read else f"[{word}]"
        for word, what in action.words.items()
        if (what.usage or not what.read) and what.parameter not in (action.bare, *action.required)
    ]
    named = [f"dev {w.upper()}" for w in action.required if w != action.bare]
    text = " ".join(["addrsvc", name, spelled, bare, *named, *words])
    return textwrap.fill(text, 100, initial_indent="  ", subsequent_indent=" " * 8, break_on_hyphens=False)


def _ip(arguments: argparse.Namespace, actions: Mapping[str, Action]) -> int:
    action, parameters = read(actions, arguments.words)
    parameters |= {"net": arguments.net} if arguments.net is not None else {}
    if action.command in QUERIES:
        parameters |= {"details": True} if arguments.details else {}
    if action.command == "addresses" and arguments.family:
        parameters["family"] = arguments.family
    with open_desk(arguments) as desk:
        answer = desk.ask(action.command, parameters)
    if action.command in QUERIES:
        _show(answer["links"], has_addresses=action.command == "addresses", as_json=arguments.json)
    return 0


def _show(links: object, *, has_addresses: bool, as_json: bool) -> None:
    from addrsvc.netlink.text import addr_show, link_show

    assert isinstance(links, list)
    show = addr_show if has_addresses else link_show
    say(json_text(links) if as_json else show(links).rstrip("\n"))
