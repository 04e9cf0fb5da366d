"""`addrsvc what-if`: what the kernel would tell, and what would be lost, if something was done in a namespace.

It is done to a model that is like the namespace (see `likeness`).  In the namespace nothing is changed.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from addrsvc.daemon.likeness import Key, Likeness, like, route_key
from addrsvc.daemon.printer import json_text, say
from addrsvc.daemon.service import Service
from addrsvc.daemon.terminal import printable
from addrsvc.daemon.words import read_command
from addrsvc.errors import ControlError, KernelError
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.places import opened_by
from addrsvc.keeper.sockdiag import Census
from addrsvc.mirror.netns import NetNs, open_netns
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import AddrMsg, Message, RouteMsg
from addrsvc.netlink.text import json_line, names_of, to_json
from addrsvc.uapi import RTM_NEWADDR

__all__ = ["Foretold", "Step", "addresses_in", "command_of", "commands_in", "foretell", "what_if"]

_REFUSED: Final = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and what the kernel would make of it.

    Attributes:
        words: the command.
        messages: what it would tell, in order.
        refusal: why it would refuse; None where it would not.
    """

    words: tuple[str, ...]
    messages: tuple[Message, ...]
    refusal: KernelError | None = None

    def __str__(self) -> str:
        """The command, as it was given."""
        return shlex.join(self.words)


@dataclass(frozen=True, slots=True)
class Foretold:
    """What would come of some commands.

    Attributes:
        steps: up to the first that would be refused.
        lost, gained: addresses and routes.
        notes: in what the model is not like the namespace.
        names: of devices, by index.
        connections: how many there are now at lost addresses; an address without any is left out.
    """

    steps: tuple[Step, ...]
    lost: tuple[Message, ...]
    gained: tuple[Message, ...]
    notes: tuple[str, ...]
    names: Mapping[int, str]
    connections: Mapping[bytes, int] = field(default_factory=dict)


def what_if(netns: str, arguments: Sequence[str], *, seconds: float, as_json: bool) -> int:
    """Foretell what commands would do in a namespace, print it, and give the exit code.

    Raises:
        ControlError: no such namespace, or no such command.
        KernelError: the namespace cannot be looked at.
    """
    commands = list(commands_in(arguments))
    with open_netns(opened_by(netns)) as opened, RtnlKernel(opened) as kernel:
        found = foretell(like(kernel), commands, seconds=seconds)
        found = replace(found, connections=_connections(opened, [_address(msg) for msg in found.lost if _address(msg)]))
    say(json_text({"netns": netns, **_plain(found)}) if as_json else "\n".join(map(printable, _lines(found))))
    return _REFUSED if any(step.refusal for step in found.steps) else 0


def commands_in(arguments: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The commands that arguments are: each one is some, or they are the words of one; a semicolon parts two.

    Raises:
        ControlError: a quotation mark is missing, or a command is.
    """
    texts = arguments if any(" " in argument for argument in arguments) else [" ".join(arguments)]
    found = False
    for text in texts:
        for is_between, words in groupby(_words(text), lambda word: word == ";"):
            if not is_between:
                found = True
                yield tuple(words)
    if not found:
        raise ControlError("what-if: nothing is to be done")


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError as error:
        raise ControlError(f"{text!r}: {error}") from None


# --- foretelling ------------------------------------------------------------------------------------------------------


def foretell(found: Likeness, commands: Sequence[Sequence[str]], *, seconds: float = 0) -> Foretold:
    """Do the commands to a model, and let some seconds pass.

    Raises:
        ControlError: one is no command.
    """
    asked = [command_of(words) for words in commands]
    service = Service(found.linux)
    notes, names = tuple(found.notes), names_of(found.net.dump())
    before = _held(found)
    steps: list[Step] = []
    with found.net.watch() as watch:
        for words, (command, parameters) in zip(commands, asked, strict=True):
            refusal = _refusal(service, command, {**parameters, "net": found.net.name})
            steps.append(Step(tuple(words), tuple(watch), refusal))
            if refusal is not None:
                break
        if seconds:
            found.linux.advance(seconds)
            steps.append(Step((f"{seconds:g}", "seconds", "later"), tuple(watch)))
    after = _held(found)
    return Foretold(
        tuple(steps),
        tuple(msg for key, msg in before.items() if key not in after),
        tuple(msg for key, msg in after.items() if key not in before),
        notes,
        {**names, **names_of(found.net.dump())},
    )


def command_of(words: Sequence[str]) -> tuple[str, Mapping[str, object]]:
    """The command of `addrsvc.daemon.commands` that words mean, and its parameters.

    Raises:
        ControlError: they mean none, or one that changes nothing.
    """
    match [word for nth, word in enumerate(words) if nth or word != "ip"]:
        case ["sysctl", *settings]:
            settings = [setting for setting in settings if setting != "-w"]
            if len(settings) != 1 or "=" not in settings[0]:
                raise ControlError("sysctl: one NAME=VALUE is wanted")
            name, _, value = settings[0].partition("=")
            return "sysctl_set", {"name": name, "value": value}
        case [("link" | "addr"), *_] as rest:
            command, parameters = read_command(rest)
            if command not in _CHANGES:
                raise ControlError(f"{shlex.join(words)}: it changes nothing")
            return command, parameters
    raise ControlError(f"{shlex.join(words)}: {_ACCEPTED}")


_CHANGES: Final = ("link_set", "link_add", "link_del", "addr_add", "addr_del")
_ACCEPTED: Final = "what can be foretold is link set, link add, link del, addr add, addr del and sysctl NAME=VALUE"


def _refusal(service: Service, command: str, parameters: Mapping[str, object]) -> KernelError | None:
    try:
        service.ask(command, parameters)
    except KernelError as error:
        return error
    return None


def _held(found: Likeness) -> dict[Key, Message]:
    """The addresses and routes that there are now."""
    return addresses_in(found.net.dump()) | {("route", *route_key(msg)): msg for msg in found.routes()}


def addresses_in(dump: Iterable[Message]) -> dict[Key, Message]:
    """The addresses of a dump, by what tells one from another."""
    return {
        (msg.ifa_family, msg.ifa_index, msg.local or msg.address, msg.address, msg.ifa_prefixlen): msg
        for msg in dump
        if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR
    }


def _connections(netns: NetNs, addresses: Sequence[bytes]) -> Mapping[bytes, int]:
    """Count the connections of each address; nothing where the kernel does not tell of sockets."""
    counted: Counter[bytes] = Counter()

    def done(found: Counter[bytes] | None) -> None:
        counted.update({address: found[address] for address in addresses if found[address]} if found else {})
        loop.stop()

    if addresses:
        with Loop() as loop, suppress(OSError), closing(Census(loop, netns.fileno(), netns.label)) as census:
            census.take(addresses, done)
            loop.run()
    return counted


def _address(msg: Message) -> bytes:
    return (msg.local or msg.address or b"") if isinstance(msg, AddrMsg) else b""


# --- how it is told ---------------------------------------------------------------------------------------------------


def _lines(found: Foretold) -> Iterator[str]:
    for step in found.steps:
        yield f"{step}"
        if step.refusal is not None:
            yield f"  refused: {step.refusal}"
        for msg in step.messages:
            said = to_json(msg, found.names)
            yield f"  {said['message']}  {json_line(said)}"
        if not step.messages and step.refusal is None:
            yield "  nothing is told"
    for title, messages in (("lost", found.lost), ("gained", found.gained)):
        yield f"{title}:" if messages else f"{title}: nothing"
        for msg in messages:
            used = _used(found.connections.get(_address(msg), 0))
            yield f"  {_thing(msg)}  {json_line(to_json(msg, found.names))}{used}"
    yield from (f"note: {note}" for note in found.notes)


def _used(connections: int) -> str:
    return f"  ({connections} connection{'s' if connections > 1 else ''})" if connections else ""


def _thing(msg: Message) -> str:
    return "route" if isinstance(msg, RouteMsg) else "address"


def _plain(found: Foretold) -> dict[str, object]:
    return {
        "steps": [
            {
                "command": str(step),
                "refused": None if step.refusal is None else str(step.refusal),
                "messages": [to_json(msg, found.names) for msg in step.messages],
            }
            for step in found.steps
        ],
        "lost": [
            {"what": _thing(msg), **_state(msg, found.names), "connections": found.connections.get(_address(msg), 0)}
            for msg in found.lost
        ],
        "gained": [{"what": _thing(msg), **_state(msg, found.names)} for msg in found.gained],
        "notes": list(found.notes),
    }


def _state(msg: Message, names: Mapping[int, str]) -> dict[str, object]:
    """A thing, and not the message that tells of it."""
    return {key: value for key, value in to_json(msg, names).items() if key != "message"}
