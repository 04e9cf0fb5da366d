"""The command line: subcommands made from the command tables, and the words of ip(8) where ip has the thing.

Nothing heavy is imported before it is needed: a fresh model needs neither an event loop nor a running kernel.
"""

import argparse
import errno
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from addrsvc import __version__
from addrsvc.cli_keeper import add_commands, inject
from addrsvc.daemon import commands
from addrsvc.daemon.commands import CHANGES, INIT_NET, QUERIES, Command
from addrsvc.daemon.printer import OutputError, Printer, answer_text, json_text, listed, nobody_reads, plan_text, say
from addrsvc.daemon.words import ADDR, LINK, Action, read
from addrsvc.errors import AddrsvcError, ConfigError, ControlError, KernelError
from addrsvc.netlink.text import Json, addr_show, link_show
from addrsvc.uapi import NetdevEvent

if TYPE_CHECKING:
    from addrsvc.af_netlink.faults import Faults
    from addrsvc.daemon.pcap import PcapWriter

__all__ = ["main"]

_EXITS: Final = (
    "exit codes: 0 done; 1 the request is no request, or no service answers; 2 a kernel refused; 3 all was done that "
    "could be, but not all that was wanted"
)

_EX_CONFIG: Final = 78
"""What a service ends with that trying again will not help (sysexits.h)."""

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

_LINK_HELP: Final = "Show and change the devices of the model, in the words of ip-link(8)."
_ADDR_HELP: Final = "Show and change the addresses of the model's devices, in the words of ip-address(8)."
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

_PING_HELP: Final = """\
Send echo requests through a ping socket of the model, and print what comes back, as ping(8) does.

The model's time stands still meanwhile, so nothing is waited for and no time is shown.  The exit code is ping's: 0 if
anything was answered, 1 if nothing was, 2 if nothing could be sent."""

_SEND_HELP: Final = """\
Send frames over a device of the model, as a packet socket does.

A frame begins with its link header; for lo that is 12 zero bytes and the protocol.  SOURCE is a frame in hexadecimal, a
pcap or pcapng file, a text file with one frame in hexadecimal on each line, or - for standard input, which may be any
of these."""

_CAPTURE_HELP: Final = """\
Write what passes a device of the model into a pcapng file, until interrupted.

With a command of link, addr, ping or send behind it, and its words and options: what passes while that is done.  Of
each packet on lo there are two, one as it is sent and one as it arrives, as a packet socket sees them; --received
leaves out the first."""

_TRACE_HELP: Final = """\
Do something, and print which functions of the kernel run, as a tree: what is indented is called by what stands above.

Messages, lines of the kernel's log and tracepoints stand where they are told.  What can be followed: link, addr, ping
(with its options) and send (of a frame, or of each in a file).  Functions of the kernel's header files are left out,
unless --all is given."""

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

_DEFAULT_NET: Final = f"the one that is mirrored, or {INIT_NET} where it is not exactly one"
_OPERATION: Final = """\
These are operations: they change state, and the events follow from the change.  To call the notifier chain without
a change, see: addrsvc inject --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit code, 0 or one of `_EXITS`."""
    _prepare_streams()
    try:
        arguments = _arguments(sys.argv[1:] if argv is None else argv)
        result: int = arguments.run(arguments)
        return result
    except KernelError as error:
        return _fail(_refusal(error), 2)
    except _Refused as error:
        return _fail(str(error), 2)
    except OutputError as error:
        nobody_reads()
        return _fail(f"Error: {error}", 1)
    except ConfigError as error:
        return _fail(str(error), 1)
    except AddrsvcError as error:
        return _fail(f"Error: {error}", 1)
    except BrokenPipeError:
        nobody_reads()
        return 0
    except KeyboardInterrupt:
        return 130


def _prepare_streams() -> None:
    """Let the streams take any text; one that was closed before we started takes it nowhere."""
    from io import TextIOWrapper

    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(text: str, code: int) -> int:
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
    return code


def _refusal(error: KernelError) -> str:
    """A refusal as ip(8) words it."""
    if error.extack is None:
        return f"RTNETLINK answers: {error.strerror}"
    return f"Error: {error.extack.removesuffix('.')}."


class _Refused(Exception):
    """A refusal in the words of the tool that users know for it, if that is not ip(8)."""


# How sysctl(8) has it: whichever of the two comes first parts the words of a name, the other stands for itself.
_SWAPPED: Final = str.maketrans("./", "/.")


def _dotted(name: str) -> str:
    """A setting's name with dots between its words, which slashes may part as well."""
    slash, dot = name.find("/"), name.find(".")
    return name.translate(_SWAPPED) if slash >= 0 and not 0 <= dot < slash else name


def _sysctl_refused(error: KernelError, name: str, *, is_write: bool) -> _Refused:
    """A refusal as sysctl(8) words it."""
    match error.errno:
        case errno.ENOENT:
            what = f"cannot stat /proc/sys/{name.translate(_SWAPPED)}: {error.strerror}"
        case errno.EACCES | errno.EPERM:
            what = f'permission denied on key "{name}"'
        case _:
            what = f'{"setting" if is_write else "reading"} key "{name}": {error.strerror}'
    return _Refused(f"sysctl: {what}")


# --- the parser -----------------------------------------------------------------------------------------------------


_BEFORE_THE_COMMAND: Final = ("-4", "-6", "-d", "-j", "--json", "--once")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse: options may also stand before the command, as with ip(8), and between the words behind it."""
    hoisted = list(takewhile(_BEFORE_THE_COMMAND.__contains__, argv))
    rest, of_ping = _set_apart(argv[len(hoisted) :])
    parser = _parser()
    arguments, more = parser.parse_known_args([*rest, *hoisted])
    if more and (not hasattr(arguments, "words") or any(_is_option(word) for word in more)):
        parser.error(f"not understood: {' '.join(more)}")
    if more:
        arguments.words += more
    if of_ping:
        arguments.words += of_ping
    return arguments


_FOLLOWING: Final = ("capture", "trace")
_WITH_A_VALUE: Final = ("-c", "-w", "--control", "--count", "--dev", "--net", "--write")


def _set_apart(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take out the options of a ping that is followed, lest they are taken for those of who follows it."""
    is_followed = [word == "ping" and before not in _WITH_A_VALUE for before, word in pairwise(argv)]
    if not argv or argv[0] not in _FOLLOWING or True not in is_followed:
        return list(argv), []
    behind = is_followed.index(True) + 2
    parser = _Parser(prog="addrsvc ping", add_help=False, allow_abbrev=False)
    _add_echoes(parser)
    options, others = parser.parse_known_args(argv[behind:])
    given = {"-c": options.count, "-s": options.size}
    return [*argv[:behind], *others], [
        w for key, value in given.items() if value is not None for w in (key, str(value))
    ]


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:].isdigit()


class _Parser(argparse.ArgumentParser):
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
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="addrsvc", description="Linux's netdevice notifiers, loopback device and IPv6 address "
                     "configuration, modelled, run and mirrored.", epilog=_EXITS)  # fmt: skip
    parser.add_argument("--version", "-V", action="version", version=f"addrsvc {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(subparsers)
    add_commands(subparsers, _add, {"status": _status, "events": _events, "plan": _plan})
    _add_netlink(subparsers)
    _add_config(subparsers)
    _add_doctor(subparsers)
    _add_what_if(subparsers)
    _add_systemd(subparsers)
    _add_words(subparsers, "link", ("l",), LINK, _LINK_HELP)
    _add_words(subparsers, "addr", ("address", "a"), ADDR, _ADDR_HELP)
    _add_sysctl(subparsers)
    _add_proc(subparsers)
    _add_ethtool(subparsers)
    _add_packets(subparsers)
    for name, function in {**QUERIES, **CHANGES}.items():
        if name not in _IN_OTHER_WORDS:
            _add_command(subparsers, name, function)
    return parser


_IN_OTHER_WORDS: Final = {
    "status", "plan", "history", "links", "addresses", "link_set", "link_add", "link_del", "addr_add", "addr_del",
    "sysctl", "sysctl_set", "proc", "features", "features_set", "link_state",
    "ping", "send", "capture", "trace",
}  # fmt: skip


def _add(
    subparsers: "argparse._SubParsersAction[_Parser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    description: str,
    aliases: Sequence[str] = (),
    epilog: str = "",
    *,
    asks: bool = True,
    prints_json: bool = True,
    exits: str = _EXITS,
) -> _Parser:
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


def _add_once(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="ask a fresh model (lo is up) instead of a running service")


def _add_netns(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--netns", action="append", default=[], metavar="NAME", help=about)


def _add_run(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "run", _run, _RUN_HELP)
    parser.add_argument("--once", action="store_true", help="end after converging, without serving")
    parser.add_argument("--dry-run", "-n", action="store_true", help="with --keep, only show what would be asked for "
                        "at the start, and end")  # fmt: skip
    _add_netns(parser, "mirror onto this namespace of the running kernel: a name below /run/netns, a path, a process "
               "id, or host for the one this command runs in; may be repeated")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the namespaces that the configuration names")
    parser.add_argument("--config", type=Path, metavar="FILE", help="keep what this file, and FILE.d/*.toml, say, "
                        "instead of the files in the standard places")  # fmt: skip
    parser.add_argument("--inside", metavar="NAME", help="keep only the namespace that this command runs in, by the "
                        "rules for this name")  # fmt: skip
    _add_seed(parser)
    parser.add_argument("--verbose", "-v", action="store_true", help="log all that is heard of the running kernel")


def _add_config(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "config", _config, _CONFIG_HELP, asks=False, prints_json=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for name, description in (("check", _CHECK_HELP), ("show", _SHOW_HELP)):
        action = _add(actions, name, _config, description, epilog=_PLACES_EPILOG, asks=False)
        action.add_argument("file", nargs="?", type=Path, metavar="FILE", help="instead of the standard places")
    _add(actions, "schema", _config, _SCHEMA_HELP, asks=False)
    _add(actions, "example", _config, _EXAMPLE_HELP, asks=False, prints_json=False)


def _add_doctor(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "doctor", _doctor, _DOCTOR_HELP, asks=False, exits=_DOCTOR_EXITS)
    _add_netns(parser, "look at this namespace: a name below /run/netns, docker:NAME, a path, a process id, host, or "
               "all for the host and all names; may be repeated (default: all that may be entered)")  # fmt: skip
    parser.add_argument("--quiet", "-q", action="store_true", help="tell only what is wrong")


def _add_what_if(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "what-if", _what_if, _WHAT_IF_HELP, epilog=_WHAT_IF_EPILOG, asks=False)
    parser.add_argument("--netns", default="host", metavar="NAME", help="a name below /run/netns, docker:NAME, a path, "
                        "a process id, or host (default: host)")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=0, help="let so much time pass afterwards (default: 0)")
    parser.add_argument("words", nargs="+", metavar="COMMAND", help="what would be done: see below")


def _add_netlink(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "netlink", _netlink, _NETLINK_HELP, epilog=_NETLINK_EPILOG, asks=False)
    parser.add_argument("--listen", required=True, metavar="unix:PATH", help="where to listen")
    parser.add_argument(
        "--clock", choices=("virtual", "real"), default="virtual", help="what time the model goes by (default: virtual)"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE", help="what goes wrong, in TOML: see below")
    _add_seed(parser)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="the seed of the model's chance (default: 0)")


def _add_systemd(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    from addrsvc.daemon.units import OPTIONS

    parser = _add(subparsers, "systemd", _systemd, _SYSTEMD_HELP, asks=False)
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


def _add_words(
    subparsers: "argparse._SubParsersAction[_Parser]",
    name: str,
    aliases: Sequence[str],
    actions: Mapping[str, Action],
    description: str,
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        return _ip(arguments, actions)

    parser = _add(subparsers, name, run, f"{description}\n\n{_usage(name, actions)}\n\n{_OPERATION}", aliases)
    parser.usage = f"addrsvc {name} [ACTION] [WORD ...] [--net NET] [--json] [--once] [--control PATH] [-d] [-4] [-6]"
    parser.add_argument("words", nargs="*", metavar="WORD", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=f"the model's namespace (default: {_DEFAULT_NET})")
    parser.add_argument("--details", "-d", action="store_true", help="show more")
    parser.add_argument("-4", dest="family", action="store_const", const="inet", help="IPv4 only")
    parser.add_argument("-6", dest="family", action="store_const", const="inet6", help="IPv6 only")
    parser._has_negative_number_optionals.clear()  # so that -3 is still a word, and may be a value
    _add_once(parser)


def _add_sysctl(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "sysctl", _sysctl, _SYSCTL_HELP)
    parser.add_argument("settings", nargs="+", metavar="NAME[=VALUE]", help="net.ipv6.conf.lo.disable_ipv6=1, say")
    parser.add_argument("--net", help=f"the model's namespace (default: {_DEFAULT_NET})")
    _add_once(parser)


def _add_proc(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "proc", _proc, _PROC_HELP)
    parser.add_argument("path", metavar="PATH", help="the file; /proc/ in front may be left out")
    parser.add_argument("--net", help=f"the model's namespace (default: {_DEFAULT_NET})")
    _add_once(parser)


def _add_ethtool(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "ethtool", _ethtool, _ETHTOOL_HELP)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--show-features", "--show-offload", "-k", action="store_true", help="show features")
    which.add_argument("--features", "--offload", "-K", action="store_true", help="switch features")
    which.add_argument("--show-time-stamping", "-T", action="store_true", help="show which time stamps there are")
    parser.add_argument("dev", metavar="DEV", help="the device")
    parser.add_argument("words", nargs="*", metavar="FEATURE on|off", help="with -K: what to switch")
    parser.add_argument("--net", help=f"the model's namespace (default: {_DEFAULT_NET})")
    _add_once(parser)


def _add_packets(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    """What is about packets: ping, send, capture, trace."""
    parser = _add(subparsers, "ping", _ping, _PING_HELP)
    parser.add_argument("address", metavar="ADDRESS", help="whom: ::1, say")
    _add_echoes(parser)
    _add_where(parser, dev=False)
    parser = _add(subparsers, "send", _send, _SEND_HELP)
    parser.add_argument("source", metavar="SOURCE", help="a frame, a file, or -")
    _add_where(parser)
    parser = _add(subparsers, "capture", _capture, _CAPTURE_HELP)
    parser.add_argument("--write", "-w", type=Path, required=True, metavar="FILE", help="the pcapng file")
    parser.add_argument("--count", "-c", type=int, help="end after so many packets")
    parser.add_argument("--received", action="store_true", help="only what is received, not what is sent")
    _add_where(parser)
    parser.add_argument("words", nargs="*", metavar="CMD", help="what to do meanwhile")
    parser = _add(subparsers, "trace", _trace, _TRACE_HELP)
    parser.add_argument("--all", "-a", action="store_true", help="show functions of header files too")
    parser.add_argument("--files", "-f", action="store_true", help="show the file of each function")
    parser.add_argument("words", nargs="+", metavar="CMD", help="what to do")
    _add_once(parser)


def _add_echoes(parser: argparse.ArgumentParser) -> None:
    """What echo requests a ping sends."""
    parser.add_argument("--count", "-c", type=int, help="how many (default: 4, and 1 where it is followed)")
    parser.add_argument("--size", "-s", type=int, help="bytes behind the header (default: 56)")


def _add_where(parser: argparse.ArgumentParser, *, dev: bool = True) -> None:
    if dev:
        parser.add_argument("--dev", default="lo", help="the device (default: lo)")
    parser.add_argument("--net", help=f"the model's namespace (default: {_DEFAULT_NET})")
    _add_once(parser)


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


def _first_line(function: Command) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _add_command(subparsers: "argparse._SubParsersAction[_Parser]", name: str, function: Command) -> None:
    """A subcommand out of a row: what has no default is positional, the rest are options."""

    def run(arguments: argparse.Namespace) -> int:
        return inject(arguments) if getattr(arguments, "real", False) else _command(arguments, name, function)

    description, epilog = (_INJECT_HELP, _inject_epilog()) if name == "inject" else (_first_line(function), "")
    parser = _add(subparsers, name.replace("_", "-"), run, description, epilog=epilog)
    for parameter in _schema(function):
        _add_parameter(parser, parameter)
    if name == "inject":
        _add_real(parser)
    _add_once(parser)


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
        default = _DEFAULT_NET if name == "net" else parameter.default or "all"
        parser.add_argument(f"--{name}", default=parameter.default, help=f"default: {default}")


def _given(arguments: argparse.Namespace, parameter: inspect.Parameter) -> object:
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


def _inject_epilog() -> str:
    import textwrap

    names = " ".join(event.name.removeprefix("NETDEV_") for event in NetdevEvent)
    events = textwrap.fill(f"events, with or without NETDEV_, or by number: {names}", 110)
    return f"{events}\n\n{_INJECT_INFO}"


# --- who is asked ---------------------------------------------------------------------------------------------------


class _Desk(Protocol):
    """Whoever answers: a running service, or a fresh model."""

    def ask(self, command: str, parameters: Mapping[str, object]) -> dict[str, object]:
        """Run one command."""


@contextmanager
def _desk(arguments: argparse.Namespace) -> Iterator[_Desk]:
    if arguments.once:
        yield _Fresh(arguments)
        return
    from addrsvc.daemon.client import Client, control_to_ask

    with Client(control_to_ask(arguments.control)) as client:
        yield client


_TOLD_BY_ANSWER: Final = ("ping", "send", "capture", "trace")


class _Fresh:
    """A fresh model, as `addrsvc run` makes it; what a change sets off is told."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from addrsvc.daemon.run import booted, bring_up

        self._service = booted()
        bring_up(self._service, INIT_NET)
        self._printer = Printer(as_json=arguments.json)

    def ask(self, command: str, parameters: Mapping[str, object]) -> dict[str, object]:
        if command not in CHANGES or command in _TOLD_BY_ANSWER:
            return self._service.ask(command, parameters)
        with self._printer.listening(self._service):
            return self._service.ask(command, parameters)


# --- commands -------------------------------------------------------------------------------------------------------


def _ip(arguments: argparse.Namespace, actions: Mapping[str, Action]) -> int:
    action, parameters = read(actions, arguments.words)
    parameters |= {"net": arguments.net} if arguments.net is not None else {}
    if action.command in QUERIES:
        parameters |= {"details": True} if arguments.details else {}
    if action.command == "addresses" and arguments.family:
        parameters["family"] = arguments.family
    with _desk(arguments) as desk:
        answer = desk.ask(action.command, parameters)
    if action.command in QUERIES:
        _show(answer["links"], addr_show if action.command == "addresses" else link_show, as_json=arguments.json)
    return 0


def _show(links: object, show: Callable[[list[Json]], str], *, as_json: bool) -> None:
    assert isinstance(links, list)
    say(json_text(links) if as_json else show(links).rstrip("\n"))


def _command(arguments: argparse.Namespace, name: str, function: Command) -> int:
    given = {parameter.name: _given(arguments, parameter) for parameter in _schema(function)}
    with _desk(arguments) as desk:
        answer = desk.ask(name, {key: value for key, value in given.items() if value is not None})
    if answer:
        say(json_text(answer) if arguments.json else answer_text(answer))
    return _unsent(listed(answer["mirrors"])) if name == "converge" else 0


def _unsent(rows: Sequence[object]) -> int:
    """The exit code of what was planned or sent, namespace by namespace."""
    from addrsvc.daemon.run import UNSENT

    return UNSENT if any(isinstance(row, dict) and row["divergences"] for row in rows) else 0


def _sysctl(arguments: argparse.Namespace) -> int:
    """Write what has a value, and print what each setting reads as then."""
    at = {} if arguments.net is None else {"net": arguments.net}
    with _desk(arguments) as desk:
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


def _proc(arguments: argparse.Namespace) -> int:
    at = {} if arguments.net is None else {"net": arguments.net}
    path = arguments.path.removeprefix("/proc/")
    with _desk(arguments) as desk:
        try:
            answer = desk.ask("proc", {"path": path, **at})
        except KernelError as error:
            raise _Refused(f"proc: /proc/{path}: {error.strerror}") from None
    say(json_text(answer) if arguments.json else str(answer["content"]).removesuffix("\n"))
    return 0


def _ethtool(arguments: argparse.Namespace) -> int:
    if arguments.words and not arguments.features:
        raise ControlError(f"not understood: {' '.join(arguments.words)}")
    at = {"dev": arguments.dev} | ({} if arguments.net is None else {"net": arguments.net})
    with _desk(arguments) as desk:
        if arguments.features:
            return _ethtool_set(desk, arguments, at)
        answer = desk.ask("features" if arguments.show_features else "link_state", at)
    _say_lines(answer, "timestamping_lines" if arguments.show_time_stamping else "lines", as_json=arguments.json)
    return 0


def _ethtool_set(desk: _Desk, arguments: argparse.Namespace, at: Mapping[str, object]) -> int:
    """Switch, and tell what else has changed; with the exit code of what could not be."""
    from addrsvc.daemon.run import UNSENT

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


def _at(arguments: argparse.Namespace, *names: str) -> dict[str, object]:
    """The parameters of these names, those that were given."""
    return {name: value for name in (*names, "net") if (value := getattr(arguments, name)) is not None}


def _ping(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.printer import ping_lines

    with _desk(arguments) as desk:
        try:
            answer = desk.ask("ping", _at(arguments, "address", "count", "size"))
        except KernelError as error:
            raise _Refused(f"ping: connect: {error.strerror}") from None
    say(json_text(answer) if arguments.json else "\n".join(ping_lines(answer)))
    return 0 if answer["replies"] else 1


def _send(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.pcap import frames_of

    with _desk(arguments) as desk:
        sent = 0
        for frame in frames_of(arguments.source):
            desk.ask("send", {"frame": frame.hex(), **_at(arguments, "dev")})
            sent += 1
    if arguments.json:
        say(json_text({"sent": sent}))
    return 0


def _capture(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.pcap import PcapWriter
    from addrsvc.daemon.words import read_command

    if arguments.once and not arguments.words:
        raise ControlError("capture: with --once name something to do, such as: ping ::1")
    todo = [read_command(words) for words in _one_by_one(arguments.words)]
    with _desk(arguments) as desk:
        begin = desk.ask("capture", _at(arguments, "dev"))["next"]
        assert isinstance(begin, int)
        with PcapWriter.open(arguments.write, arguments.dev) as writer:
            for command, parameters in todo:
                desk.ask(command, parameters | _at(arguments))
            written = _capture_into(writer, desk, arguments, begin, is_over=bool(arguments.words))
    sys.stderr.write(f"{written} packets\n")
    return 0


def _one_by_one(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """What is to be followed; a file of frames to be sent is one thing after the other."""
    match words:
        case ["send", source]:
            from addrsvc.daemon.pcap import frames_of

            yield from (["send", frame.hex()] for frame in frames_of(source))
        case [_, *_]:
            yield words


_CAPTURE_EVERY: Final = 0.1
"""Seconds between two looks at what has passed."""


def _capture_into(
    writer: "PcapWriter", desk: _Desk, arguments: argparse.Namespace, number: object, *, is_over: bool
) -> int:
    """Write what passes from this number on; how many packets it was."""
    import time

    written, most = 0, arguments.count if arguments.count is not None else float("inf")
    with suppress(KeyboardInterrupt):
        while written < most:
            answer = desk.ask("capture", {"since": number, **_at(arguments, "dev")})
            number = answer["next"]
            packets = listed(answer["packets"])
            for packet in packets:
                written += writer.write_row(packet, received_only=arguments.received) if written < most else 0
            if not packets and is_over:
                break
            time.sleep(0 if packets else _CAPTURE_EVERY)
    return written


def _trace(arguments: argparse.Namespace) -> int:
    with _desk(arguments) as desk:
        for words in _one_by_one(arguments.words):
            _tell_calls(desk.ask("trace", {"words": words}), arguments)
    return 0


def _tell_calls(answer: Mapping[str, object], arguments: argparse.Namespace) -> None:
    from addrsvc.daemon.printer import call_lines

    if arguments.json:
        say(json_text(answer))
    else:
        for line in call_lines(listed(answer["calls"]), inline=arguments.all, files=arguments.files):
            say(line)
    if answer["refused"] is not None:
        raise _Refused(f"Error: {answer['refused']}")


def _status(arguments: argparse.Namespace) -> int:
    return _command(arguments, "status", commands.status)


def _events(arguments: argparse.Namespace) -> int:
    printer = Printer(as_json=arguments.json)
    if arguments.follow and not arguments.once:
        return _follow(arguments, printer)
    if arguments.once:
        return _events_of_a_fresh_model(printer)
    with _desk(arguments) as desk:
        printer.print_all(desk.ask("history", {})["news"])
    return 0


def _events_of_a_fresh_model(printer: Printer) -> int:
    from addrsvc.daemon.run import booted, bring_up

    service = booted()
    with printer.listening(service):
        bring_up(service, INIT_NET)
    return 0


def _follow(arguments: argparse.Namespace, printer: Printer) -> int:
    from addrsvc.daemon.client import Client, control_to_ask

    try:
        with Client(control_to_ask(arguments.control)) as client:
            for reply in client.stream("monitor", {"replay": True}, output=sys.stdout.fileno()):
                printer.print_lost(reply["lost"])
                printer.print_all(reply["news"])
    except KeyboardInterrupt:
        pass
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    plans = _fresh_plans(arguments.netns) if arguments.once else _service_plans(arguments)
    say(json_text({"plans": plans}) if arguments.json else "\n".join(map(plan_text, plans)) or "nothing is mirrored")
    return _unsent(plans)


def _service_plans(arguments: argparse.Namespace) -> list[object]:
    with _desk(arguments) as desk:
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
            return _fail(str(error), _EX_CONFIG)
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
