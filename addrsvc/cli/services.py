"""The commands that are a service, and the one that hands services to systemd: run, netlink, systemd."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from addrsvc.cli.adding import Subparsers, add, add_netns
from addrsvc.cli.refusals import fail
from addrsvc.daemon.exits import EX_CONFIG
from addrsvc.daemon.printer import Printer, json_text, say
from addrsvc.errors import ConfigError, ControlError

if TYPE_CHECKING:
    from addrsvc.af_netlink.faults import Faults

__all__ = ["add_netlink", "add_run", "add_systemd"]

_RUN_HELP: Final = """\
Boot a model of Linux, bring its loopback device up, and tell what happens: one line for each event, for each callback
that it passed, and for each rtnetlink message, indented under what caused it.  Then serve the control socket until
SIGINT or SIGTERM.  With --netns the model's namespaces are mirrored onto namespaces of the running kernel, and
repaired whenever somebody changes what is ours there.

With --keep it is the loopback address service instead: it finds the namespaces that the configuration names, follows
them as they come and go, and keeps lo, ::1 and the service addresses there as they are declared.  Without any file of
configuration that is the host: lo is up, and ::1 is there.  With a configuration that is wrong it ends at once, by exit
code 78, which tells a service manager not to try again."""

_NETLINK_HELP: Final = """\
Serve the model to programs that speak rtnetlink: a Unix socket stands in for the kernel.  Each connection is one
netlink socket (protocol NLUX/1), and all of them see the same fresh network namespace, whose lo is down.  A small
library that is preloaded into a program can make its netlink sockets such connections; addrsvc.nlux.NluxSocket is a
client in Python.  With the virtual clock time stands still until a client lets it pass, so that a test of lifetimes
takes no time; with the real one it passes by itself.  With a file of faults some things go wrong that seldom do.
Ends at SIGINT or SIGTERM."""

_NETLINK_EPILOG: Final = """\
examples:
  addrsvc netlink --listen unix:/tmp/model
  addrsvc netlink --listen unix:/tmp/model --clock real
  addrsvc netlink --listen unix:/tmp/model --seed 7       the same chance each time, and another than by default
  addrsvc netlink --listen unix:/tmp/model --faults faults.toml

a file of faults, each from the nth of its kind on (1) and for so many times (1; "all"):
  [[fail]]                   also [[deny]], [[slow_ack]], [[interrupt_dump]]
  request = "RTM_NEWADDR"
  errno = "ENOMEM"
  nth = 3
  [[lose]]                   also [[duplicate]], [[delay]], [[reorder]], [[overrun]]
  group = "IPV6_IFADDR"

who may do what: everybody may connect; to change something one must be root, or who runs this."""

_SYSTEMD_HELP: Final = """\
Put the units for systemd where it finds them, or take them away again.

Beside them there is a user for the service to run as, for systemd-sysusers(8), and a link to this program where systemd
looks for it, unless it lies there itself.  A file that somebody has changed since is not removed.  What is to be done
then is printed, and not done.  With an option the service has more, or less, privilege."""


def add_run(subparsers: Subparsers) -> None:
    """Add run."""
    parser = add(subparsers, "run", _run, _RUN_HELP)
    parser.add_argument("--once", action="store_true", help="end after converging, without serving")
    parser.add_argument("--dry-run", "-n", action="store_true", help="with --keep, only show what would be asked for "
                        "at the start, and end")  # fmt: skip
    add_netns(parser, "mirror onto this namespace of the running kernel: a name below /run/netns, a path, a process "
               "id, or host for the one this command runs in; may be repeated")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the namespaces that the configuration names")
    parser.add_argument("--config", type=Path, metavar="FILE", help="keep what this file, and FILE.d/*.toml, say, "
                        "instead of the files in the standard places")  # fmt: skip
    parser.add_argument("--inside", metavar="NAME", help="keep only the namespace that this command runs in, by the "
                        "rules for this name")  # fmt: skip
    _add_seed(parser)
    parser.add_argument("--verbose", "-v", action="store_true", help="log all that is heard of the running kernel")


def add_netlink(subparsers: Subparsers) -> None:
    """Add netlink."""
    parser = add(subparsers, "netlink", _netlink, _NETLINK_HELP, epilog=_NETLINK_EPILOG, asks=False)
    parser.add_argument("--listen", required=True, metavar="unix:PATH", help="where to listen")
    parser.add_argument(
        "--clock", choices=("virtual", "real"), default="virtual", help="what time the model goes by (default: virtual)"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE", help="what goes wrong, in TOML: see below")
    _add_seed(parser)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="the seed of the model's chance (default: 0)")


def add_systemd(subparsers: Subparsers) -> None:
    """Add systemd."""
    from addrsvc.daemon.units import OPTIONS

    parser = add(subparsers, "systemd", _systemd, _SYSTEMD_HELP, asks=False)
    parser.add_argument(
        "action",
        choices=("install", "uninstall", "show", "lend-probe"),
        help="show is what install would write; lend-probe is for the units alone",
    )
    parser.add_argument("--prefix", type=Path, default=Path("/usr/local"), metavar="DIR", help="default: /usr/local")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="a directory in front of all paths, for packages"
    )
    for option, about in OPTIONS.items():
        parser.add_argument(f"--{option}", dest="options", action="append_const", const=option, default=[], help=about)


def _run(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.run import keep, run

    if arguments.keep or arguments.config or arguments.inside:
        if arguments.netns:
            raise ControlError("--netns: the configuration says which namespaces are kept; --netns is without --keep")
        try:
            if arguments.dry_run:
                return _foresee(arguments)
            return keep(
                arguments.config, inside=arguments.inside, seed=arguments.seed, once=arguments.once,
                control=arguments.control, as_json=arguments.json, verbose=arguments.verbose,
            )  # fmt: skip
        except ConfigError as error:
            return fail(str(error), EX_CONFIG)
    if arguments.dry_run:
        raise ControlError("--dry-run: it is with --keep; what a model would send tells: addrsvc plan --once")
    printer = Printer(as_json=arguments.json)
    return run(
        arguments.netns, printer, seed=arguments.seed, once=arguments.once, control=arguments.control,
        verbose=arguments.verbose,
    )  # fmt: skip


def _foresee(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.foresight import foresee

    return foresee(arguments.config, inside=arguments.inside, as_json=arguments.json)


def _netlink(arguments: argparse.Namespace) -> int:
    if sys.platform != "linux":
        raise ControlError("netlink: this needs Linux; addrsvc.pyroute, in process, needs no particular system")
    from addrsvc.daemon.netlink_server import serve_netlink

    scheme, _, path = arguments.listen.partition(":")
    if scheme != "unix" or not path:
        raise ControlError(f"--listen: {arguments.listen!r} is no place to listen; unix:PATH is")
    serve_netlink(
        Path(path), as_json=arguments.json, seed=arguments.seed, is_real=arguments.clock == "real",
        faults=_faults(arguments.faults),
    )  # fmt: skip
    return 0


def _faults(path: Path | None) -> "Callable[[], Faults] | None":
    """What reads the faults of a file again and again; the file itself is read once, and found wrong at once."""
    from addrsvc.af_netlink.faults import Faults

    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ControlError(f"--faults: {path}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    make = partial(Faults.parse, text, str(path))
    make()
    return make


def _systemd(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.units import Place, install, next_commands, planned, uninstall

    if arguments.action == "lend-probe":
        return _lend_probe()
    place = Place(arguments.prefix.absolute(), arguments.root.absolute())
    if arguments.action == "show":
        files = {str(path): text for path, text in planned(place, arguments.options).items()}
        say(json_text(files) if arguments.json else "\n".join(f"# {path}\n{text}" for path, text in files.items()))
        return 0
    changes = install(place, arguments.options) if arguments.action == "install" else uninstall(place)
    commands = next_commands(place, changes)
    if arguments.json:
        say(json_text({"changes": [[change.what, str(change.path)] for change in changes], "next": commands}))
    else:
        say("\n".join([*map(str, changes), *(f"next: {command}" for command in commands)]))
    return 0


def _lend_probe() -> int:
    from addrsvc.daemon.probe import lend

    if not lend():
        raise ControlError("systemd: lend-probe is for the units: there is no service manager to give a socket to")
    return 0
