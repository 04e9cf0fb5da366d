"""The commands about settings and files of a model, in the words of sysctl(8) and ethtool(8)."""

import argparse
import errno
from collections.abc import Mapping, Sequence
from typing import Final

from addrsvc.cli.adding import Subparsers, add, add_net, add_once
from addrsvc.cli.desk import Desk, given, open_desk
from addrsvc.cli.refusals import Refused
from addrsvc.daemon.exits import UNSENT
from addrsvc.daemon.printer import json_text, listed, say
from addrsvc.errors import ControlError, KernelError

__all__ = ["add_ethtool", "add_proc", "add_sysctl"]

_SYSCTL_HELP: Final = """\
Show settings of the model, or write them first, in the words of sysctl(8).

They are those below net.ipv4.conf and net.ipv6.conf, and what bounds receiving in net.core.  Where dots part
the words of a name, a dot in the name of a device is written as a slash; the other way round will do as well."""

_PROC_HELP: Final = """\
Show a file below /proc as it would read on the model.

There are net/dev, net/if_inet6, net/igmp6, net/ipv6_route, net/snmp6, net/softnet_stat, net/dev_snmp6/DEV and what
lies below sys/net."""

_ETHTOOL_HELP: Final = """\
Show what a device of the model can do for packets, or switch it, in the words of ethtool(8).

Without an option: whether there is a link.  Groups of features have short names: rx tx sg tso ufo gso gro lro rxvlan
txvlan ntuple rxhash; each feature has the name that -k shows.  What is fixed cannot be switched."""


def add_sysctl(subparsers: Subparsers) -> None:
    """Add sysctl."""
    parser = add(subparsers, "sysctl", _sysctl, _SYSCTL_HELP)
    parser.add_argument("settings", nargs="+", metavar="NAME[=VALUE]", help="net.ipv6.conf.lo.disable_ipv6=1, say")
    add_net(parser)
    add_once(parser)


def add_proc(subparsers: Subparsers) -> None:
    """Add proc."""
    parser = add(subparsers, "proc", _proc, _PROC_HELP)
    parser.add_argument("path", metavar="PATH", help="the file; /proc/ in front may be left out")
    add_net(parser)
    add_once(parser)


def add_ethtool(subparsers: Subparsers) -> None:
    """Add ethtool."""
    parser = add(subparsers, "ethtool", _ethtool, _ETHTOOL_HELP)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--show-features", "--show-offload", "-k", action="store_true", help="show features")
    which.add_argument("--features", "--offload", "-K", action="store_true", help="switch features")
    which.add_argument("--show-time-stamping", "-T", action="store_true", help="show which time stamps there are")
    parser.add_argument("dev", metavar="DEV", help="the device")
    parser.add_argument("words", nargs="*", metavar="FEATURE on|off", help="with -K: what to switch")
    add_net(parser)
    add_once(parser)


def _sysctl(arguments: argparse.Namespace) -> int:
    """Write what has a value, and print what each setting reads as then."""
    at = given(arguments)
    with open_desk(arguments) as desk:
        for setting in arguments.settings:
            written, equals, value = setting.partition("=")
            name = _dotted(written)
            try:
                if equals:
                    desk.ask("sysctl_set", {"name": name, "value": value, **at})
                reads = desk.ask("sysctl", {"name": name, **at})["value"]
            except KernelError as error:
                raise _sysctl_refused(error, name, is_write=bool(equals)) from None
            say(json_text({"name": name, "value": reads}) if arguments.json else f"{name} = {reads}")
    return 0


# How sysctl(8) has it: whichever of the two comes first parts the words of a name, the other stands for itself.
_SWAPPED: Final = str.maketrans("./", "/.")


def _dotted(name: str) -> str:
    """A setting's name with dots between its words, which slashes may part as well."""
    slash, dot = name.find("/"), name.find(".")
    return name.translate(_SWAPPED) if slash >= 0 and not 0 <= dot < slash else name


def _sysctl_refused(error: KernelError, name: str, *, is_write: bool) -> Refused:
    """A refusal as sysctl(8) words it."""
    match error.errno:
        case errno.ENOENT:
            what = f"cannot stat /proc/sys/{name.translate(_SWAPPED)}: {error.strerror}"
        case errno.EACCES | errno.EPERM:
            what = f'permission denied on key "{name}"'
        case _:
            what = f'{"setting" if is_write else "reading"} key "{name}": {error.strerror}'
    return Refused(f"sysctl: {what}")


def _proc(arguments: argparse.Namespace) -> int:
    at = given(arguments)
    path = arguments.path.removeprefix("/proc/")
    with open_desk(arguments) as desk:
        try:
            answer = desk.ask("proc", {"path": path, **at})
        except KernelError as error:
            raise Refused(f"proc: /proc/{path}: {error.strerror}") from None
    say(json_text(answer) if arguments.json else str(answer["content"]).removesuffix("\n"))
    return 0


def _ethtool(arguments: argparse.Namespace) -> int:
    if arguments.words and not arguments.features:
        raise ControlError(f"not understood: {' '.join(arguments.words)}")
    at = given(arguments, "dev")
    with open_desk(arguments) as desk:
        if arguments.features:
            return _ethtool_set(desk, arguments, at)
        answer = desk.ask("features" if arguments.show_features else "link_state", at)
    _say_lines(answer, "timestamping_lines" if arguments.show_time_stamping else "lines", as_json=arguments.json)
    return 0


def _ethtool_set(desk: Desk, arguments: argparse.Namespace, at: Mapping[str, object]) -> int:
    """Switch, and tell what else has changed; with the exit code of what could not be."""
    answer = desk.ask("features_set", {"features": _switches(arguments.words), **at})
    _say_lines(answer, "lines", as_json=arguments.json)
    return UNSENT if answer["unmet"] else 0


def _switches(words: Sequence[str]) -> dict[str, str]:
    """The words behind -K in pairs; of two about the same feature the later counts."""
    if not words or len(words) % 2:
        raise ControlError("-K: each feature wants an on or off behind it")
    return dict(zip(words[::2], words[1::2], strict=True))


def _say_lines(answer: Mapping[str, object], key: str, *, as_json: bool) -> None:
    """Print the lines of an answer, or all the rest of it as JSON."""
    if as_json:
        say(json_text({name: value for name, value in answer.items() if not name.endswith("lines")}))
        return
    for line in listed(answer[key]):
        say(str(line))
