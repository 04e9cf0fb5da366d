"""Reading a command line: the parser of all commands, and where words may stand that argparse would not let stand."""

import argparse
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final

from addrsvc import __version__
from addrsvc.cli.adding import EXITS, Parser, Subparsers
from addrsvc.cli.host import add_config, add_doctor, add_what_if
from addrsvc.cli.ip import add_ip
from addrsvc.cli.keeper import add_keeper
from addrsvc.cli.packets import add_packets, set_apart
from addrsvc.cli.rows import add_rows
from addrsvc.cli.services import add_netlink, add_run, add_systemd
from addrsvc.cli.settings import add_ethtool, add_proc, add_sysctl

__all__ = ["parse"]

_BEFORE_THE_COMMAND: Final = ("-4", "-6", "-d", "-j", "--json", "--once")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read a line: options may also stand before the command, as with ip(8), and between the words behind it."""
    hoisted = list(takewhile(_BEFORE_THE_COMMAND.__contains__, argv))
    rest, of_ping = set_apart(argv[len(hoisted) :])
    parser = _parser()
    arguments, more = parser.parse_known_args([*rest, *hoisted])
    if more and (not hasattr(arguments, "words") or any(_is_option(word) for word in more)):
        parser.error(f"not understood: {' '.join(more)}")
    if more:
        arguments.words += more
    if of_ping:
        arguments.words += of_ping
    return arguments


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:].isdigit()


_ADDERS: Final[Sequence[Callable[[Subparsers], None]]] = (
    add_run, add_keeper, add_netlink, add_config, add_doctor, add_what_if, add_systemd,
    add_ip, add_sysctl, add_proc, add_ethtool, add_packets, add_rows,
)  # fmt: skip
"""What adds the commands, in the order in which --help shows them."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="addrsvc", description="Linux's netdevice notifiers, loopback device and IPv6 address "
                     "configuration, modelled, run and mirrored.", epilog=EXITS)  # fmt: skip
    parser.add_argument("--version", "-V", action="version", version=f"addrsvc {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for add_one in _ADDERS:
        add_one(subparsers)
    return parser
