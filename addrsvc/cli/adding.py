"""Adding a command to the parser, and the options that several of them have."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from addrsvc.daemon.commands import INIT_NET
from addrsvc.daemon.printer import OutputError

__all__ = ["DEFAULT_NET", "EXITS", "Parser", "Run", "Subparsers", "add", "add_net", "add_netns", "add_once"]

EXITS: Final = (
    "exit codes: 0 done; 1 the request is no request, or no service answers; 2 a kernel refused; 3 all was done that "
    "could be, but not all that was wanted"
)
DEFAULT_NET: Final = f"the one that is mirrored, or {INIT_NET} where it is not exactly one"


class Parser(argparse.ArgumentParser):
    """Reads a command line; what is wrong with it is an exit code of 1."""

    def _print_message(self, message: str, file: object = None) -> None:
        """Print, and fail if that fails."""
        stream = (sys.stderr, sys.stdout)[file is sys.stdout]
        try:
            stream.write(message)
            stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from None

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong, and end."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


Run: TypeAlias = Callable[[argparse.Namespace], int]
Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"


def add(
    subparsers: Subparsers,
    name: str,
    run: Run,
    description: str,
    aliases: Sequence[str] = (),
    epilog: str = "",
    *,
    asks: bool = True,
    prints_json: bool = True,
    exits: str = EXITS,
) -> Parser:
    """Add a command.

    Args:
        subparsers: where.
        name: what it is called.
        run: does it, and gives the exit code.
        description: what it does; the first sentence stands in the list of all commands.
        aliases: what it is called as well.
        epilog: what stands below the options.
        asks: whether it asks a service, so that it has --control.
        prints_json: whether it has --json.
        exits: its exit codes.
    """
    parser = subparsers.add_parser(
        name, aliases=aliases, help=_summary(description), description=description,
        epilog=f"{epilog}\n\n{exits}".strip(), formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=run)
    if asks:
        parser.add_argument("--control", type=Path, metavar="PATH", help="the control socket, if not the default one")
    if prints_json:
        parser.add_argument("--json", "-j", action="store_true", help="print JSON")
    return parser


def _summary(description: str) -> str:
    first, _, _ = description.partition("\n\n")
    sentence = " ".join(first.split()).partition(". ")[0].partition(":")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def add_net(parser: argparse.ArgumentParser) -> None:
    """Add --net, a namespace of the model."""
    parser.add_argument("--net", help=f"the model's namespace (default: {DEFAULT_NET})")


def add_once(parser: argparse.ArgumentParser) -> None:
    """Add --once."""
    parser.add_argument("--once", action="store_true", help="ask a fresh model (lo is up) instead of a running service")


def add_netns(parser: argparse.ArgumentParser, about: str, *, metavar: str = "NAME") -> None:
    """Add --netns, namespaces of the running kernel."""
    parser.add_argument("--netns", action="append", default=[], metavar=metavar, help=about)
