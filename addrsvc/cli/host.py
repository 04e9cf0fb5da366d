"""The commands that look at this host by themselves, whether a service runs or not: config, doctor, what-if."""

import argparse
from pathlib import Path
from typing import Final

from addrsvc.cli.adding import Subparsers, add, add_netns

__all__ = ["add_config", "add_doctor", "add_what_if"]

_DOCTOR_HELP: Final = """\
Tell why localhost does or does not work over IPv6, on the host and in network namespaces, and what mends it.

Looked at are lo (up, MTU, disable_ipv6), ::1 and 127.0.0.1 on it, routes and rules, how the name localhost is found
(hosts file, nsswitch.conf, gai.conf, getaddrinfo), and sockets that are bound and connected for a try.  Each finding
has its cause, what the kernel does about it, and the commands that mend it, in the order in which to run them.  What
only follows from another finding is not told.  Nothing is changed, and no service needs to run."""

_DOCTOR_EXITS: Final = """\
exit codes: 0 all is well, but for warnings; 1 something that was asked for could not be looked at; 3 something is
broken"""

_WHAT_IF_HELP: Final = """\
Foretell what the kernel would tell, and which addresses and routes would be lost, if something was done in a namespace.

A fresh model is made like the namespace, and there it is done; in the namespace nothing is changed.  What of the
namespace the model cannot have is told as a note."""

_WHAT_IF_EPILOG: Final = """\
what can be foretold: link set, link add, link del, addr add, addr del (see addrsvc link --help), sysctl NAME=VALUE

examples:
  addrsvc what-if link set lo mtu 1279
  addrsvc what-if --netns blue 'link set lo down; link set lo up'
  addrsvc what-if 'sysctl net.ipv6.conf.all.disable_ipv6=1' --json
  addrsvc what-if 'addr add 2001:db8::1/128 dev lo valid_lft 60 preferred_lft 30' --seconds 90"""

_CONFIG_HELP: Final = "Look at the configuration of addrsvc run --keep."

_CHECK_HELP: Final = """\
Read the configuration, and tell all that is wrong with it: file, line, key, and what would be accepted."""

_SHOW_HELP: Final = """\
Print what all files of the configuration come down to, with the origin of each value.

What is printed is a configuration again."""

_SCHEMA_HELP: Final = "Print the JSON Schema of a configuration file, for editors."
_EXAMPLE_HELP: Final = "Print a configuration to begin with: all that may stand in one, commented out."

_PLACES_EPILOG: Final = """\
read are, in this order:
  /usr/lib/addrsvc/addrsvc.toml.d/*.toml
  /run/addrsvc/addrsvc.toml.d/*.toml
  /etc/addrsvc/addrsvc.toml
  /etc/addrsvc/addrsvc.toml.d/*.toml
or, with FILE, only FILE and FILE.d/*.toml.  What is read later counts.  Of drop-ins that are called the same only the
last is read, so that an empty one, or a link to /dev/null, takes one away."""


def add_config(subparsers: Subparsers) -> None:
    """Add config."""
    parser = add(subparsers, "config", _config, _CONFIG_HELP, asks=False, prints_json=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for name, description in (("check", _CHECK_HELP), ("show", _SHOW_HELP)):
        action = add(actions, name, _config, description, epilog=_PLACES_EPILOG, asks=False)
        action.add_argument("file", nargs="?", type=Path, metavar="FILE", help="instead of the standard places")
    add(actions, "schema", _config, _SCHEMA_HELP, asks=False)
    add(actions, "example", _config, _EXAMPLE_HELP, asks=False, prints_json=False)


def add_doctor(subparsers: Subparsers) -> None:
    """Add doctor."""
    parser = add(subparsers, "doctor", _doctor, _DOCTOR_HELP, asks=False, exits=_DOCTOR_EXITS)
    add_netns(parser, "look at this namespace: a name below /run/netns, docker:NAME, a path, a process id, host, or "
               "all for the host and all names; may be repeated (default: all that may be entered)")  # fmt: skip
    parser.add_argument("--quiet", "-q", action="store_true", help="tell only what is wrong")


def add_what_if(subparsers: Subparsers) -> None:
    """Add what-if."""
    parser = add(subparsers, "what-if", _what_if, _WHAT_IF_HELP, epilog=_WHAT_IF_EPILOG, asks=False)
    parser.add_argument("--netns", default="host", metavar="NAME", help="a name below /run/netns, docker:NAME, a path, "
                        "a process id, or host (default: host)")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=0, help="let so much time pass afterwards (default: 0)")
    parser.add_argument("words", nargs="+", metavar="COMMAND", help="what would be done: see below")


def _config(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.configuring import check, show, show_example, show_schema

    match arguments.action:
        case "check":
            return check(arguments.file, as_json=arguments.json)
        case "show":
            return show(arguments.file, as_json=arguments.json)
        case "schema":
            return show_schema()
    return show_example()


def _doctor(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.doctor import doctor

    return doctor(arguments.netns, as_json=arguments.json, is_quiet=arguments.quiet)


def _what_if(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.what_if import what_if

    return what_if(arguments.netns, arguments.words, seconds=arguments.seconds, as_json=arguments.json)
