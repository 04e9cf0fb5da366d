"""What a configuration may say: a class for each of its tables, a field for each of its keys.

This is the one place where a key is added: the reader, the schema, `config show` and the example go by these fields.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from addrsvc.errors import ControlError
from addrsvc.keeper.addresses import ACCEPTS, ADDRESS, Prefix, route_is_wrong, service_is_wrong
from addrsvc.keeper.kinds import (
    Boolean,
    Integer,
    List,
    Number,
    OrElse,
    Size,
    Spot,
    Table,
    Text,
    Told,
    Word,
    Wrong,
    key,
    near,
    part,
    required,
    said,
    shown,
)  # fmt: skip
from addrsvc.keeper.places import Place
from addrsvc.keeper.wanted import FightLimits, Lo, Loopback, Reaction, Wanted
from addrsvc.uapi import INFINITY_LIFE_TIME

__all__ = ["Address", "Control", "Daemon", "Fights", "Listen", "Metrics", "Rule", "Watch", "is_rule_name"]

_T = TypeVar("_T")
_U32: Final = 0xFFFFFFFF
_DAY: Final = 86400.0
_MEGABYTE: Final = 1 << 20


def _itself(value: _T) -> _T:
    return value


# --- [daemon], [watch] ----------------------------------------------------------------------------------------------


class Level(StrEnum):
    """How serious an event must be to be logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How the log is written."""

    AUTO = "auto"
    """As the journal has it where standard error is its, otherwise as text."""
    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Daemon:
    """What [daemon] says: how the process runs, and what it logs."""

    realtime: int = key(Integer(0, 99), 0, "the SCHED_FIFO priority of the thread that repairs; 0 for none")
    log_level: Level = key(Word(Level), Level.INFO, "how serious an event must be to be logged")
    log_format: LogFormat = key(
        Word(LogFormat), LogFormat.AUTO, "how the log is written; auto means the journal's own fields where standard "
        "error leads to the journal, and text otherwise"
    )  # fmt: skip


class Method(StrEnum):
    """How namespaces are watched."""

    AUTO = "auto"
    SOCKETS = "sockets"
    NSID = "nsid"


@dataclass(frozen=True, slots=True)
class Watch:
    """What [watch] says: how kernels are listened to."""

    method: Method = key(
        Word(Method), Method.AUTO, "by a socket in each namespace, by one socket that hears all that have an id "
        "(nsid), or by what costs less for as many as there are"
    )  # fmt: skip
    receive_buffer: int = key(
        Size(4096, 1 << 30), 8 * _MEGABYTE, "how many bytes a receive buffer may grow to; K, M or G may stand behind it"
    )
    sweep: float = key(
        Number(0, _DAY), 60.0, "seconds between two looks at each namespace, for whatever no message has told; 0 for "
        "none"
    )  # fmt: skip


# --- [control], [metrics] -------------------------------------------------------------------------------------------


def _user(name: str) -> int:
    from pwd import getpwall, getpwnam

    try:
        return getpwnam(name).pw_uid
    except (KeyError, ValueError):
        raise Wrong(f"there is no user {name!r}{near(name, [it.pw_name for it in getpwall()])}") from None


def _group(name: str) -> int:
    from grp import getgrall, getgrnam

    try:
        return getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise Wrong(f"there is no group {name!r}{near(name, [it.gr_name for it in getgrall()])}") from None


@dataclass(frozen=True, slots=True)
class Named:
    """A number, or a name that stands for it."""

    names: Text[int]

    def read(self, value: object, at: Spot) -> int:
        """The number."""
        return self.names.read(value, at) if isinstance(value, str) else _ID.read(value, at)

    def plain(self, value: object) -> object:
        """The number."""
        return value

    def schema(self) -> dict[str, object]:
        """An integer or a string."""
        return {"anyOf": [_ID.schema(), self.names.schema()]}


_ID: Final = Integer(0, _U32 - 1)
_USER: Final = Named(Text(_user, "a user", str, "^[^:]+$"))
_GROUP: Final = Named(Text(_group, "a group", str, "^[^:]+$"))


@dataclass(frozen=True, slots=True)
class Control:
    """What [control] says: who may do what over the control socket, beside root."""

    users: tuple[int, ...] = key(
        List(_USER, "users", _itself), (), "users, by name or number, who may change and inject, as root may"
    )
    group: int | None = said(
        _GROUP, None, "the group, by name or number, whose members may read; the group that the socket belongs to if "
        "nothing is said"
    )  # fmt: skip
    allow_real_injection: bool = key(
        Boolean(), usual=False, about="whether an event may be injected into what decides about real namespaces; "
        "otherwise only a model hears of it"
    )  # fmt: skip


class Listen(NamedTuple):
    """Where to listen: at a path, or at a port of a local address; nowhere if neither is said."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if not self.host:
            return _OFF
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_OFF: Final = "off"
_LISTEN: Final = "unix:/PATH, 127.0.0.1:PORT, [::1]:PORT or off"
_LOCAL: Final = {"127.0.0.1": "127.0.0.1", "[::1]": "::1"}
_PORTS: Final = range(1, 65536)
_LONGEST_PATH: Final = 107


def _listen(text: str) -> Listen:
    if text == _OFF:
        return Listen()
    scheme, _, path = text.partition(":")
    if scheme == "unix":
        return Listen(path=_socket_path(path))
    host, _, digits = text.rpartition(":")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= len("65535") and int(digits) in _PORTS):
        raise Wrong(f"{text!r} is not {_LISTEN}")
    if host not in _LOCAL:
        raise Wrong(f"{text!r} is not {_LISTEN}: who is elsewhere may ask a proxy")
    return Listen(host=_LOCAL[host], port=int(digits))


def _socket_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path or len(path.encode()) > _LONGEST_PATH:
        raise Wrong(f"{path!r} is not an absolute path of at most {_LONGEST_PATH} bytes")
    return path


@dataclass(frozen=True, slots=True)
class Metrics:
    """What [metrics] says."""

    listen: Listen = key(
        Text(_listen, _LISTEN, str, r"^(off|unix:/[^\u0000]+|(127\.0\.0\.1|\[::1\]):[0-9]{1,5})$"), Listen(),
        f"where Prometheus finds them: {_LISTEN}",
    )  # fmt: skip
    addresses: int = key(
        Integer(0, 1_000_000), 1000, "of how many addresses each is told by itself, what is missing first; of more "
        "than that there are sums"
    )  # fmt: skip


# --- [[rule]] -------------------------------------------------------------------------------------------------------

_FIGHTS: Final = FightLimits()
_WANTED: Final = Wanted()
_LONG: Final = Number(0, _DAY)
_COUNT: Final = Integer(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Fights:
    """What `fights` says: when a quarrel over an address becomes a fight, and how it is fought."""

    reversals: int | None = said(_COUNT, _FIGHTS.reversals, "so many repairs undone by somebody else ...")
    within: float | None = said(Number(0.001, _DAY), _FIGHTS.within, "... in so many seconds are a fight")
    first_wait: float | None = said(
        Number(0.001, _DAY), _FIGHTS.first_wait, "seconds before the next repair then; each later one waits twice as "
        "long"
    )  # fmt: skip
    longest_wait: float | None = said(Number(0.001, _DAY), _FIGHTS.longest_wait, "but never longer than this")


_REACTION: Final = Word(Reaction)


@dataclass(frozen=True, slots=True)
class Address:
    """What an element of `addresses` says: one address that lo is to have, or a route."""

    address: Prefix = required(ADDRESS, "the address; for a route a prefix, such as fd00::/64")
    metric: int | None = said(Integer(0, _U32), 0, "of its route; 0 for the kernel's own choice")
    preferred_lft: int | None = said(
        OrElse("forever", INFINITY_LIFE_TIME, Integer(0, _U32 - 1)), INFINITY_LIFE_TIME,
        "for how many seconds it is preferred; 0 for a deprecated address",
    )  # fmt: skip
    reaction: Reaction | None = said(_REACTION, None, "to its removal by somebody else; the rule's if nothing is said")
    yield_for: float | None = said(_LONG, None, "with yield-then-heal, seconds to wait; the rule's if nothing is said")
    drain: float | None = said(
        _LONG, None, "how many seconds its sockets have to end when it is withdrawn; the rule's if nothing is said"
    )
    route: bool | None = said(
        Boolean(), usual=False, about="it is a local route, whose cost does not grow with their number, and no "
        "address; binding to what it covers takes IPV6_FREEBIND"
    )  # fmt: skip


class _Entry:
    """An address as text, or a table with more to say of it."""

    def read(self, value: object, at: Spot) -> Address:
        """What it says."""
        if isinstance(value, str):
            entry, where = Address(ADDRESS.read(value, at)), at
        elif isinstance(value, dict):
            entry, where = self._from_table(value, at), at["address"]
        else:
            raise Wrong(f"{shown(value)} is neither an address nor a table")
        why = route_is_wrong(entry.address) if entry.route else service_is_wrong(entry.address)
        if why is not None:
            where.wrong(why)
        if entry.route and entry.preferred_lft is not None:
            at["preferred_lft"].wrong("a route has no preferred lifetime")
        return entry

    def _from_table(self, value: dict[str, object], at: Spot) -> Address:
        written = _ADDRESS_TABLE.read(value, at)
        if "address" not in value:
            raise Wrong('no address is said; it takes address = "fd00::1", say')
        if "address" not in written:
            raise Told
        return _ADDRESS_TABLE.made(written)

    def plain(self, value: object) -> object:
        """A text where that says all."""
        plain = _ADDRESS_TABLE.plain(value)
        return plain if len(plain) > 1 else plain["address"]

    def schema(self) -> dict[str, object]:
        """A string or an object."""
        return {"anyOf": [ADDRESS.schema(), _ADDRESS_TABLE.schema()]}


_ADDRESS_TABLE: Final = Table(Address)


def _adopted(text: str) -> Prefix:
    prefix = ADDRESS.meaning(text)
    if (why := service_is_wrong(Prefix(prefix.address, prefix.bits))) is not None:
        raise Wrong(why)
    return prefix


_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME_IS: Final = "a name of letters, digits, _ and -"


def is_rule_name(text: str) -> bool:
    """Whether a rule may be called that; a key that stands for it needs no quotes then."""
    return _NAME.fullmatch(text) is not None


def _rule_name(text: str) -> str:
    if not is_rule_name(text):
        raise Wrong(f"{shown(text)} is not {_NAME_IS}")
    return text


_SELECTOR_IS: Final = "host, a name or glob below /run/netns, docker:GLOB, pid:NUMBER or a path"
_ANY: Final = r"^[^\u0000]+$"
_PREFIXES: Final = ("docker", "pid")
_LONGEST_NAME: Final = 255


def _selector(text: str) -> str:
    """A selector as it is spelled best."""
    try:
        place = Place.of(text)
    except ControlError:
        raise Wrong(f"{shown(text)} is not {_SELECTOR_IS}") from None
    if "\0" in text or len(place.name.encode()) > _LONGEST_NAME:
        raise Wrong(f"{shown(text)} is not {_SELECTOR_IS}")
    prefix, colon, _ = text.partition(":")
    if colon and place.label == text and prefix not in _PREFIXES and (hint := near(prefix, _PREFIXES)):
        raise Wrong(f"{shown(text)} is not {_SELECTOR_IS}{hint}")
    return place.label


@dataclass(frozen=True, slots=True)
class Rule:
    """What a [[rule]] says: which namespaces it is about, and what is wanted of their loopback devices.

    What is None is not said: a rule before it may have said it, and otherwise what is usual holds.
    """

    name: str = required(Text(_rule_name, _NAME_IS, str, f"^{_NAME.pattern}$"), "what it is called; a file that is "
                         "read later says more about a rule by calling it the same")  # fmt: skip
    enabled: bool = key(Boolean(), usual=True, about="whether it counts at all")
    namespaces: tuple[str, ...] = key(
        List(Text(_selector, _SELECTOR_IS, str, _ANY), "namespaces", _itself),
        (),
        f"which it is about: {_SELECTOR_IS}",
    )
    lo: Lo | None = said(Word(Lo), _WANTED.lo, "whether lo is brought up, or left as it is")
    loopback: Loopback | None = said(
        Word(Loopback), _WANTED.loopback, "whether ::1 is put back, taken away, or left as it is"
    )
    loopback_reaction: Reaction | None = said(
        _REACTION, None, "to ::1 being removed by somebody else; the rule's reaction if nothing is said"
    )
    loopback_yield_for: float | None = said(
        _LONG, None, "with yield-then-heal, seconds to wait for ::1; the rule's yield_for if nothing is said"
    )
    addresses: tuple[Address, ...] | None = said(
        List(_Entry(), "addresses", lambda it: it.address), (), "what lo is to have beside: addresses, or tables with "
        "an address and more"
    )  # fmt: skip
    reaction: Reaction | None = said(
        _REACTION, _WANTED.loopback_reaction, "what to do where somebody else has removed an address: put it back, put "
        "it back if it has not come back by itself, or only tell"
    )  # fmt: skip
    yield_for: float | None = said(_LONG, _WANTED.loopback_yield_for, "with yield-then-heal, seconds to wait")
    drain: float | None = said(_LONG, 0.0, "how many seconds an address's sockets have to end when it is withdrawn")
    adopt: tuple[Prefix, ...] | None = said(
        List(Text(_adopted, ACCEPTS, str, ADDRESS.pattern), "addresses", _itself), (),
        "addresses without our mark, made by others, that are to be treated as ours, and may be removed",
    )  # fmt: skip
    fights: Fights | None = part(Fights, "when and how repairs are made more seldom")
    fast_flush: bool | None = said(
        Boolean(), usual=False, about="dropping everything may be done by turning IPv6 off and on again, which is "
        "quick and interrupts everything that uses lo"
    )  # fmt: skip
