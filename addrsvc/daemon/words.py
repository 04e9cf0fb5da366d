"""The words of ip(8) as parameters of commands: ``dev lo mtu 1400 up`` is ``dev="lo", mtu=1400, up=True``.

One table per action; a word that stands alone where the grammar allows it is the parameter named first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from addrsvc.daemon.commands import did_you_mean
from addrsvc.errors import ControlError
from addrsvc.uapi import IFAPROT_NAMES, INFINITY_LIFE_TIME

__all__ = ["ADDR", "LINK", "Action", "read", "read_command"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the grammar: what parameter it sets, and how the word after it is read (None: there is none)."""

    parameter: str
    read: Callable[[str], object] | None = None
    value: object = None
    usage: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done with an object: the command it is, its grammar, and the parameter that needs no word."""

    command: str
    bare: str
    words: Mapping[str, Word]
    about: str
    required: tuple[str, ...] = ()


def read(actions: Mapping[str, Action], words: Sequence[str]) -> tuple[Action, dict[str, object]]:
    """The action that words ask for, and its parameters.

    Without an action it is the first one, ``show``.  Actions may be shortened as in ip(8): ``a``, ``del``, ``delete``.

    Raises:
        ControlError: a word that is none, or is missing.
    """
    name, rest = _action(actions, words)
    return actions[name], _required(actions[name], rest)


def _required(action: Action, words: Sequence[str]) -> dict[str, object]:
    """The parameters that words set, none of the required ones missing."""
    parameters = _parameters(action, words)
    for parameter in action.required:
        if parameter not in parameters:
            raise ControlError(f'Not enough information: "{parameter}" argument is required.')
    return parameters


_SPELLINGS: Final = {"list": "show", "lst": "show", "ls": "show", "delete": "del"}


def _action(actions: Mapping[str, Action], words: Sequence[str]) -> tuple[str, Sequence[str]]:
    if not words:
        return next(iter(actions)), words
    first = _SPELLINGS.get(words[0], words[0])
    for name in (first, *(name for name in actions if name.startswith(first))):
        if name in actions:
            return name, words[1:]
    raise ControlError(f'"{words[0]}" is unknown, try one of: {", ".join(actions)}{did_you_mean(first, list(actions))}')


def _parameters(action: Action, words: Sequence[str]) -> dict[str, object]:
    parameters: dict[str, object] = {}
    rest = list(words)
    while rest:
        spelled = rest.pop(0)
        word = action.words.get(spelled)
        if word is None:
            parameter, value = _bare(action, spelled, parameters)
        elif word.read is None:
            parameter, value = word.parameter, word.value
        else:
            parameter, value = word.parameter, _value(spelled, word.read, rest)
        parameters[parameter] = value
    return parameters


def _bare(action: Action, spelled: str, parameters: Mapping[str, object]) -> tuple[str, object]:
    if action.bare in parameters:
        raise ControlError(f'"{spelled}" is not understood here{did_you_mean(spelled, list(action.words))}')
    return action.bare, spelled


def _value(spelled: str, convert: Callable[[str], object], rest: list[str]) -> object:
    if not rest:
        raise ControlError(f'Command line is not complete: "{spelled}" wants a value.')
    text = rest.pop(0)
    try:
        return convert(text)
    except ValueError as error:
        raise ControlError(f'argument "{text}" is wrong: Invalid "{spelled}" value ({error})') from None


# --- how values are written -----------------------------------------------------------------------------------------


def _number(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        raise ValueError("a number is wanted") from None
    if number < 0:
        raise ValueError("it is negative")
    return number


def _on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("on or off is wanted")
    return text == "on"


def _off_on(text: str) -> bool:
    return not _on_off(text)


def _group(text: str) -> int:
    return 0 if text == "default" else _number(text)


def _lifetime(text: str) -> int:
    return INFINITY_LIFE_TIME if text == "forever" else _number(text.removesuffix("sec"))


def _proto(text: str) -> int:
    return {name: number for number, name in IFAPROT_NAMES.items()}.get(text) or _number(text)


# --- the tables -----------------------------------------------------------------------------------------------------

_DEV: Final = {"dev": Word("dev", str, usage="DEV")}

LINK: Final[Mapping[str, Action]] = {
    "show": Action("links", "dev", _DEV, "show devices"),
    "set": Action(
        "link_set",
        "dev",
        {
            **_DEV,
            "up": Word("up", value=True),
            "down": Word("up", value=False),
            "mtu": Word("mtu", _number, usage="MTU"),
            "name": Word("name", str, usage="NEWNAME"),
            "alias": Word("alias", str, usage="TEXT"),
            "address": Word("address", str, usage="LLADDR"),
            "broadcast": Word("broadcast", str, usage="LLADDR"),
            "brd": Word("broadcast", str),
            "txqueuelen": Word("txqlen", _number, usage="PACKETS"),
            "txqlen": Word("txqlen", _number),
            "qlen": Word("txqlen", _number),
            "group": Word("group", _group, usage="NUMBER"),
            "state": Word("operstate", str, usage="up|down|dormant|..."),
            "mode": Word("linkmode", str, usage="default|dormant"),
            "addrgenmode": Word("addr_gen_mode", str, usage="eui64|none|stable_secret|random"),
            "arp": Word("noarp", _off_on, usage="on|off"),
            "multicast": Word("multicast", _on_off, usage="on|off"),
            "allmulticast": Word("allmulti", _on_off, usage="on|off"),
            "promisc": Word("promisc", _on_off, usage="on|off"),
            "dynamic": Word("dynamic", _on_off, usage="on|off"),
            "debug": Word("debug", _on_off, usage="on|off"),
        },
        "change a device",
        ("dev",),
    ),
    "add": Action(
        "link_add",
        "name",
        {
            "dev": Word("name", str, usage="NAME"),
            "name": Word("name", str),
            "type": Word("arphrd", str, usage="ARPHRD"),
            "mtu": Word("mtu", _number, usage="MTU"),
            "address": Word("address", str, usage="LLADDR"),
        },
        "register a device of the model",
        ("name",),
    ),
    "del": Action("link_del", "dev", _DEV, "unregister a device of the model", ("dev",)),
}

ADDR: Final[Mapping[str, Action]] = {
    "show": Action("addresses", "dev", _DEV, "show devices and their addresses"),
    "add": Action(
        "addr_add",
        "address",
        {
            "local": Word("address", str),
            **_DEV,
            "peer": Word("peer", str, usage="ADDRESS"),
            "metric": Word("metric", _number, usage="NUMBER"),
            "proto": Word("proto", _proto, usage="NUMBER"),
            "valid_lft": Word("valid_lft", _lifetime, usage="SECONDS|forever"),
            "preferred_lft": Word("preferred_lft", _lifetime, usage="SECONDS|forever"),
            "nodad": Word("nodad", value=True),
            "noprefixroute": Word("noprefixroute", value=True),
        },
        "add an address to a device",
        ("address", "dev"),
    ),
    "del": Action(
        "addr_del", "address", {"local": Word("address", str), **_DEV}, "delete an address", ("address", "dev")
    ),
}

_COUNT: Final = Word("count", _number, usage="COUNT")
_SIZE: Final = Word("size", _number, usage="BYTES")
_SAID_IN_WORDS: Final[Mapping[str, Mapping[str, Action]]] = {"link": LINK, "addr": ADDR}
_WITHOUT_ACTIONS: Final[Mapping[str, Action]] = {
    "ping": Action(
        "ping",
        "address",
        {"-c": _COUNT, "--count": _COUNT, "-s": _SIZE, "--size": _SIZE},
        "send echo requests, one unless it is said how many",
        ("address",),
    ),
    "send": Action("send", "frame", {}, "send a frame", ("frame",)),
}
_UNLESS_SAID: Final[Mapping[str, Mapping[str, object]]] = {"ping": {"count": 1}}


def read_command(words: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The command, and its parameters, that the words of a command line ask for: of link, addr, ping and send.

    Raises:
        ControlError: they ask for none of these.
    """
    match words:
        case [name, *rest] if name in _SAID_IN_WORDS:
            action, parameters = read(_SAID_IN_WORDS[name], rest)
            return action.command, parameters
        case [name, *rest] if name in _WITHOUT_ACTIONS:
            return name, {**_UNLESS_SAID.get(name, {}), **_required(_WITHOUT_ACTIONS[name], rest)}
    known = (*_SAID_IN_WORDS, *_WITHOUT_ACTIONS)
    raise ControlError(f'"{" ".join(words)}" is no command that can be followed; those of {", ".join(known)} can')
