"""The command line: subcommands made from the command tables, and the words of ip(8) where ip has the thing.

Nothing heavy is imported before it is needed: a fresh model needs neither an event loop nor a running kernel.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from addrsvc import __version__
from addrsvc.daemon import commands
from addrsvc.daemon.commands import CHANGES, INIT_NET, QUERIES, Command, Said
from addrsvc.daemon.words import ADDR, LINK, Action, read
from addrsvc.errors import AddrsvcError, ControlError, KernelError
from addrsvc.netlink.text import Json, addr_show, link_show
from addrsvc.uapi import NetdevEvent

if TYPE_CHECKING:
    import socket

    from addrsvc.daemon.service import Service
    from addrsvc.mirror.kernel import Kernel

__all__ = ["main"]

_EXITS: Final = "exit codes: 0 done; 1 the request is no request, or no service answers; 2 a kernel refused"

_RUN_HELP: Final = """\
Boot a model of Linux, bring its loopback device up, and tell what happens: one line for each event, for each callback
that it passed, and for each rtnetlink message, indented under what caused it.  Then serve the control socket until
SIGINT or SIGTERM.  With --netns the model's namespaces are mirrored onto namespaces of the running kernel, and
repaired whenever somebody changes what is ours there."""

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
_OPERATION: Final = """\
These are operations: they change state, and the events follow from the change.  To call the notifier chain without
a change, see: addrsvc inject --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit code: 0, 1 for a wrong request, 2 for a kernel's refusal."""
    from io import TextIOWrapper

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _arguments(sys.argv[1:] if argv is None else argv)
        result: int = arguments.run(arguments)
        sys.stdout.flush()
        return result
    except KernelError as error:
        return _fail(_refusal(error), 2)
    except AddrsvcError as error:
        return _fail(f"Error: {error}", 1)
    except BrokenPipeError:
        return _nobody_reads()
    except KeyboardInterrupt:
        return 130


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"{text}\n")
    return code


def _refusal(error: KernelError) -> str:
    """A refusal as ip(8) words it."""
    if error.extack is None:
        return f"RTNETLINK answers: {error.strerror}"
    return f"Error: {error.extack.removesuffix('.')}."


def _nobody_reads() -> int:
    """The reader of our output has gone; there is nobody to tell, and the interpreter must not try at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


# --- the parser -----------------------------------------------------------------------------------------------------


_BEFORE_THE_COMMAND: Final = ("-4", "-6", "-d", "-j", "--json", "--once")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse: options may also stand before the command, as with ip(8), and between the words behind it."""
    rest = list(argv)
    hoisted = [rest.pop(0) for word in argv if rest and rest[0] in _BEFORE_THE_COMMAND]
    parser = _parser()
    arguments, more = parser.parse_known_args([*rest, *hoisted])
    if more and (not hasattr(arguments, "words") or any(word.startswith("-") for word in more)):
        parser.error(f"not understood: {' '.join(more)}")
    if more:
        arguments.words += more
    return arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="addrsvc", description="Linux's netdevice notifiers, loopback device and IPv6 address "
                     "configuration, modelled, run and mirrored.", epilog=_EXITS)  # fmt: skip
    parser.add_argument("--version", "-V", action="version", version=f"addrsvc {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(subparsers)
    _add_events(subparsers)
    _add_plan(subparsers)
    _add_words(subparsers, "link", ("l",), LINK, _LINK_HELP)
    _add_words(subparsers, "addr", ("address", "a"), ADDR, _ADDR_HELP)
    for name, function in {**QUERIES, **CHANGES}.items():
        if name not in _IN_OTHER_WORDS:
            _add_command(subparsers, name, function)
    return parser


_IN_OTHER_WORDS: Final = {
    "plan", "history", "links", "addresses", "link_set", "link_add", "link_del", "addr_add", "addr_del",
}  # fmt: skip


def _add(
    subparsers: "argparse._SubParsersAction[_Parser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    description: str,
    aliases: Sequence[str] = (),
    epilog: str = "",
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name, aliases=aliases, help=_summary(description), description=description,
        epilog=f"{epilog}\n\n{_EXITS}".strip(), formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=run)
    parser.add_argument("--control", type=Path, metavar="PATH", help="the control socket, if not the default one")
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
    _add_netns(parser, "mirror onto this namespace of the running kernel: a name below /run/netns, a path, a process "
               "id, or host for the one this command runs in; may be repeated")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="the seed of the model's chance (default: 0)")


def _add_events(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "events", _events, "Tell what happened lately.")
    parser.add_argument("--follow", "-f", action="store_true", help="go on telling what happens, until interrupted")
    _add_once(parser)


def _add_plan(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _add(subparsers, "plan", _plan, _first_line(commands.plan))
    _add_once(parser)
    _add_netns(parser, "only this namespace; with --once, what addrsvc run would do with it; may be repeated")


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
    parser.add_argument("--net", default=INIT_NET, help=f"the model's namespace (default: {INIT_NET})")
    parser.add_argument("--details", "-d", action="store_true", help="show more")
    parser.add_argument("-4", dest="family", action="store_const", const="inet", help="IPv4 only")
    parser.add_argument("-6", dest="family", action="store_const", const="inet6", help="IPv6 only")
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
        return _command(arguments, name, function)

    description, epilog = (_INJECT_HELP, _inject_epilog()) if name == "inject" else (_first_line(function), "")
    parser = _add(subparsers, name.replace("_", "-"), run, description, epilog=epilog)
    for parameter in _schema(function):
        _add_parameter(parser, parameter)
    _add_once(parser)


def _schema(function: Command) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[1:]


def _add_parameter(parser: argparse.ArgumentParser, parameter: inspect.Parameter) -> None:
    name = parameter.name
    if parameter.default is parameter.empty:
        parser.add_argument(name, metavar=name.upper())
    elif parameter.annotation == dict[str, str] | None:
        parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    elif parameter.annotation is bool:
        parser.add_argument(f"--{name}", action="store_true")
    else:
        parser.add_argument(f"--{name}", default=parameter.default, help=f"default: {parameter.default or 'all'}")


def _given(arguments: argparse.Namespace, parameter: inspect.Parameter) -> object:
    if parameter.annotation == dict[str, str] | None:
        return dict(map(_key_value, arguments.words))
    return getattr(arguments, parameter.name)


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
    from addrsvc.daemon.client import Client

    with Client(_control_path(arguments.control)) as client:
        yield client


def _control_path(given: Path | None) -> Path:
    from addrsvc.daemon.client import ServiceError, control_path

    path = given or control_path()
    if path is None:
        raise ServiceError("no default control socket, as XDG_RUNTIME_DIR is not set: name it with --control PATH")
    return path


class _Fresh:
    """A fresh model, as `addrsvc run` makes it; what a change sets off is told."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._service = _boot(0)
        _bring_up(self._service, INIT_NET)
        self._printer = _Printer(as_json=arguments.json)

    def ask(self, command: str, parameters: Mapping[str, object]) -> dict[str, object]:
        if command not in CHANGES:
            return self._service.ask(command, parameters)
        with self._printer.listening(self._service):
            return self._service.ask(command, parameters)


def _boot(seed: int) -> "Service":
    from addrsvc.daemon.service import Service
    from addrsvc.linux import Linux

    return Service(Linux(seed=seed, trace=True))


def _bring_up(service: "Service", net: str) -> None:
    service.ask("link_set", {"dev": _loopback(service, net), "up": True, "net": net})


def _loopback(service: "Service", net: str) -> str:
    """The name of a namespace's loopback device, its first one; a mirrored one may have been renamed."""
    links = _listed(service.ask("links", {"net": net})["links"])
    assert isinstance(links[0], dict)
    return str(links[0]["ifname"])


# --- commands -------------------------------------------------------------------------------------------------------


def _ip(arguments: argparse.Namespace, actions: Mapping[str, Action]) -> int:
    action, parameters = read(actions, arguments.words)
    parameters["net"] = arguments.net
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
    sys.stdout.write(f"{_json(links)}\n" if as_json else show(links))


def _command(arguments: argparse.Namespace, name: str, function: Command) -> int:
    given = {parameter.name: _given(arguments, parameter) for parameter in _schema(function)}
    with _desk(arguments) as desk:
        answer = desk.ask(name, {key: value for key, value in given.items() if value is not None})
    if answer:
        _say(_json(answer) if arguments.json else _answer_text(answer))
    return 0


def _answer_text(answer: Mapping[str, object]) -> str:
    return "\n".join(line for key, value in answer.items() for line in _value_lines(key, value))


def _value_lines(key: str, value: object) -> Iterator[str]:
    match value:
        case dict():
            yield from (f"{name} {number}" for name, number in value.items())
        case list():
            yield from map(_row_text, value)
        case _:
            yield f"{key}: {value}"


def _row_text(row: object) -> str:
    """One of a list of things: what it is, and then the rest of it."""
    assert isinstance(row, dict)
    first, *rest = (f"{key} {_joined(value)}" for key, value in row.items())
    return f"{first}: {', '.join(rest)}"


def _joined(value: object) -> object:
    return "; ".join(value) or "none" if isinstance(value, list) else value


def _events(arguments: argparse.Namespace) -> int:
    printer = _Printer(as_json=arguments.json)
    if arguments.follow and not arguments.once:
        return _follow(arguments, printer)
    if arguments.once:
        service = _boot(0)
        with printer.listening(service):
            _bring_up(service, INIT_NET)
        return 0
    with _desk(arguments) as desk:
        printer.print_all(desk.ask("history", {})["news"])
    return 0


def _follow(arguments: argparse.Namespace, printer: "_Printer") -> int:
    from addrsvc.daemon.client import Client

    try:
        with Client(_control_path(arguments.control)) as client:
            for reply in client.stream("monitor", {"replay": True}):
                printer.print_lost(reply["lost"])
                printer.print_all(reply["news"])
    except KeyboardInterrupt:
        pass
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    plans: list[object] = []
    with ExitStack() as stack:
        if arguments.once:
            if not arguments.netns:
                raise ControlError("plan: with --once name a namespace of the running kernel: --netns NAME")
            service = _boot(0)
            for name in arguments.netns:
                _bring_up(service, _mirror(service, name, stack, is_dry=True))
            plans += _listed(service.ask("plan", {})["plans"])
        else:
            desk = stack.enter_context(_desk(arguments))
            for name in arguments.netns or [None]:
                plans += _listed(desk.ask("plan", {} if name is None else {"netns": name})["plans"])
    _say(_json({"plans": plans}) if arguments.json else "\n".join(map(_plan_text, plans)) or "nothing is mirrored")
    return 0


def _listed(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _plan_text(planned: object) -> str:
    assert isinstance(planned, dict)
    lines = [f"{planned['netns']}: {_count(len(planned['steps']))} to send"]
    for step in planned["steps"]:
        lines += [f"  {step['message']['message']}  {step['text']}", f"    because {step['why']}"]
    for divergence in planned["divergences"]:
        lines.append(f"  cannot be sent: {divergence['why']}")
    return "\n".join(lines)


def _count(number: int) -> str:
    return {0: "no messages", 1: "1 message"}.get(number, f"{number} messages")


# --- run ------------------------------------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run_until_told(arguments)
    except KeyboardInterrupt:
        return 130 if arguments.once else 0


def _run_until_told(arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        sock = None if arguments.once else stack.enter_context(_control_socket(arguments))
        service = _boot(arguments.seed)
        printer = _Printer(as_json=arguments.json)
        with printer.listening(service):
            nets = [_mirror(service, name, stack) for name in arguments.netns] or [INIT_NET]
            for net in nets:
                _bring_up(service, net)
        for net in nets:
            printer.print_addresses(
                net, service.ask("addresses", {"dev": _loopback(service, net), "net": net})["links"]
            )
        if sock is not None:
            _serve(service, sock, printer)
    return 0


def _serve(service: "Service", sock: "socket.socket", printer: "_Printer") -> None:
    from addrsvc.daemon.server import serve

    printer.print_note("control", str(sock.getsockname()))
    with printer.listening_aside(service):
        serve(service, sock, as_json=printer.as_json)


def _mirror(service: "Service", name: str, stack: ExitStack, *, is_dry: bool = False) -> str:
    """Let a namespace of the running kernel follow one of the model's, of the same name."""
    from addrsvc.mirror.netns import HOST, open_netns
    from addrsvc.mirror.rtnl import RtnlKernel

    with open_netns(name) as netns:
        kernel = stack.enter_context(RtnlKernel(netns))
    if not is_dry:
        _require_privilege(name, kernel)
    net = INIT_NET if name == HOST else name
    if net not in service.linux.nets:
        service.ask("net_add", {"net": net})
    service.follow(name, net, kernel, is_dry=is_dry)
    return net


def _require_privilege(name: str, kernel: "Kernel") -> None:
    """Ask for a change of a device that does not exist: who may change nothing hears that first."""
    from errno import EPERM

    from addrsvc.netlink.messages import LinkMsg
    from addrsvc.uapi import INT_MAX

    try:
        kernel.request(LinkMsg(ifi_index=INT_MAX))
    except KernelError as error:
        if error.errno == EPERM:
            raise KernelError(EPERM, f'changing network namespace "{name}" needs CAP_NET_ADMIN') from None


@contextmanager
def _control_socket(arguments: argparse.Namespace) -> "Iterator[socket.socket]":
    from addrsvc.daemon.client import control_path
    from addrsvc.daemon.listen import control_socket
    from addrsvc.daemon.systemd import inherited_socket

    inherited = inherited_socket()
    if inherited is not None:
        with inherited:
            yield inherited
        return
    with ExitStack() as stack:
        path = arguments.control or control_path() or stack.enter_context(_private_directory()) / "control"
        yield stack.enter_context(control_socket(path))


@contextmanager
def _private_directory() -> Iterator[Path]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="addrsvc-", ignore_cleanup_errors=True) as name:
        yield Path(name)


# --- output ---------------------------------------------------------------------------------------------------------

_COLOURS: Final = {
    "event": "1", "callback": "36", "message": "32", "sent": "33", "differs": "31", "printk": "35", "tracepoint": "2",
}  # fmt: skip


class _Printer:
    """Tells on standard output what was said, as lines or as one JSON object a line."""

    def __init__(self, *, as_json: bool) -> None:
        from addrsvc.daemon.log import wants_colour

        self.as_json = as_json
        self._colours = wants_colour(sys.stdout)

    @contextmanager
    def listening(self, service: "Service") -> Iterator[None]:
        """Tell what a service says while the block runs, as it says it; what it has done before is not told."""
        watcher = service.watch(wake=lambda: self.print_all(watcher.take()[0]))
        try:
            yield
        finally:
            service.unwatch(watcher)

    @contextmanager
    def listening_aside(self, service: "Service") -> Iterator[None]:
        """The same in a thread of its own, so that output which nobody takes holds nothing up.

        Where nobody ever will, SIGTERM is sent to this process, as a pipe's writer would get SIGPIPE.
        """
        from threading import Event, Thread

        woken = Event()
        watcher = service.watch(wake=woken.set)

        def tell() -> None:
            while watcher.is_open:
                woken.wait()
                woken.clear()
                self._tell_aside(*watcher.take())

        thread = Thread(target=tell, name="story", daemon=True)
        thread.start()
        try:
            yield
        finally:
            service.unwatch(watcher)
            thread.join(1)

    def _tell_aside(self, news: "list[Said]", lost: int) -> None:
        """Write past sys.stdout: a thread that is stuck in a write must hold no lock that the interpreter's end needs."""
        import os
        import signal

        lines = [self._lost(lost)] * bool(lost) + [self._text(said) for said in news]
        data = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(sys.stdout.fileno(), data) :]
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGTERM)

    def print_all(self, news: object) -> None:
        for said in _listed(news):
            _say(self._text(said))  # type: ignore[arg-type]

    def print_lost(self, lost: object) -> None:
        if lost:
            _say(self._lost(lost))

    def _lost(self, lost: object) -> str:
        return _json({"lost": lost}) if self.as_json else f"... {lost} lost, as they were not read in time"

    def _text(self, said: Said) -> str:
        return _json(said) if self.as_json else self._line(said)

    def print_addresses(self, net: str, links: object) -> None:
        if self.as_json:
            _say(_json({"kind": "addresses", "net": net, "links": links}))
        else:
            _say(f"\n{net}:\n" + addr_show(links).rstrip())  # type: ignore[arg-type]

    def print_sent(self, netns: str, sent: int) -> None:
        if self.as_json:
            _say(_json({"kind": "mirrored", "netns": netns, "sent": sent}))
        else:
            _say(f"\n{netns}: {_count(sent)} sent")

    def print_note(self, key: str, value: str) -> None:
        _say(_json({"kind": key, key: value}) if self.as_json else f"\n{key}: {value}")

    def _line(self, said: Said) -> str:
        net = f"{said['net']}: " if said["net"] and not said["depth"] else ""
        text = "  " * said["depth"] + net + said["text"]
        if not self._colours:
            return text
        return f"\033[{_COLOURS[said['kind']]}m{text}\033[0m"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _json(value: object) -> str:
    import json

    return json.dumps(value, separators=(",", ":"))
