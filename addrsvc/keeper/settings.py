"""What a configuration may say: a class for each of its tables, a field for each of its keys.

This is the one place where a key is added: the reader, the schema, `config show` and the tests of the example go by
these fields.  Each says of which kind its values are, what holds where nothing is written, and what it is about.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from addrsvc.keeper.addresses import ADDRESS, ADOPTED, Prefix, route_is_wrong, service_is_wrong
from addrsvc.keeper.kinds import (
    Boolean,
    Integer,
    List,
    Number,
    OrElse,
    Size,
    Spot,
    Table,
    Told,
    Word,
    Wrong,
    key,
    part,
    required,
    said,
    shown,
)
from addrsvc.keeper.texts import GROUP, LISTEN, RULE_NAME, SELECTOR, USER, Listen
from addrsvc.keeper.wanted import FightLimits, Lo, Loopback, Reaction, Wanted
from addrsvc.uapi import INFINITY_LIFE_TIME

__all__ = ["Address", "Control", "Daemon", "Fights", "Level", "LogFormat", "Method", "Metrics", "Rule", "Watch"]

_T = TypeVar("_T")
_U32: Final = 0xFFFFFFFF
_DAY: Final = 86400.0
_MEGABYTE: Final = 1 << 20
_SECONDS: Final = Number(0, _DAY)
_SOME_SECONDS: Final = Number(0.001, _DAY)


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
    patience: float = key(
        _SECONDS,
        10.0,
        "how many seconds a start waits for another namespace than the service's own where something wanted cannot be "
        "had; then it is ready without that",
    )
    log_level: Level = key(Word(Level), Level.INFO, "how serious an event must be to be logged")
    log_format: LogFormat = key(
        Word(LogFormat),
        LogFormat.AUTO,
        "how the log is written; auto means the journal's own fields where standard error leads to the journal, and "
        "text otherwise",
    )


class Method(StrEnum):
    """How namespaces are watched."""

    AUTO = "auto"
    SOCKETS = "sockets"
    NSID = "nsid"


@dataclass(frozen=True, slots=True)
class Watch:
    """What [watch] says: how kernels are listened to."""

    method: Method = key(
        Word(Method),
        Method.AUTO,
        "by a socket in each namespace, by one socket that hears all that have an id (nsid), or by what costs less for "
        "as many as there are",
    )
    receive_buffer: int = key(
        Size(4096, 1 << 30), 8 * _MEGABYTE, "how many bytes a receive buffer may grow to; K, M or G may stand behind it"
    )
    sweep: float = key(
        _SECONDS, 60.0, "seconds between two looks at each namespace, for whatever no message has told; 0 for none"
    )


# --- [control], [metrics] -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Control:
    """What [control] says: who may do what over the control socket, beside root."""

    users: tuple[int, ...] = key(
        List(USER, "users", _itself), (), "users, by name or number, who may change and inject, as root may"
    )
    group: int | None = said(
        GROUP,
        None,
        "the group, by name or number, whose members may read; the group that the socket belongs to if nothing is said",
    )
    allow_real_injection: bool = key(
        Boolean(),
        usual=False,
        about="whether an event may be injected into what decides about real namespaces; otherwise only a model hears "
        "of it",
    )


@dataclass(frozen=True, slots=True)
class Metrics:
    """What [metrics] says."""

    listen: Listen = key(LISTEN, Listen(), f"where Prometheus finds them: {LISTEN.accepts}")
    addresses: int = key(
        Integer(0, 1_000_000),
        1000,
        "of how many addresses each is told by itself, what is missing first; of more than that there are sums",
    )


# --- [[rule]] -------------------------------------------------------------------------------------------------------

_FIGHTS: Final = FightLimits()
_WANTED: Final = Wanted()
_REACTION: Final = Word(Reaction)


@dataclass(frozen=True, slots=True)
class Fights:
    """What `fights` says: when a quarrel over an address becomes a fight, and how it is fought."""

    reversals: int | None = said(
        Integer(1, 1_000_000), _FIGHTS.reversals, "so many repairs undone by somebody else ..."
    )
    within: float | None = said(_SOME_SECONDS, _FIGHTS.within, "... in so many seconds are a fight")
    first_wait: float | None = said(
        _SOME_SECONDS, _FIGHTS.first_wait, "seconds before the next repair then; each later one waits twice as long"
    )
    longest_wait: float | None = said(_SOME_SECONDS, _FIGHTS.longest_wait, "but never longer than this")


@dataclass(frozen=True, slots=True)
class Address:
    """What an element of `addresses` says: one address that lo is to have, or a route."""

    address: Prefix = required(ADDRESS, "the address; for a route a prefix, such as fd00::/64")
    metric: int | None = said(Integer(0, _U32), 0, "of its route; 0 for the kernel's own choice")
    preferred_lft: int | None = said(
        OrElse("forever", INFINITY_LIFE_TIME, Integer(0, _U32 - 1)),
        INFINITY_LIFE_TIME,
        "for how many seconds it is preferred; 0 for a deprecated address",
    )
    reaction: Reaction | None = said(_REACTION, None, "to its removal by somebody else; the rule's if nothing is said")
    yield_for: float | None = said(
        _SECONDS, None, "with yield-then-heal, seconds to wait; the rule's if nothing is said"
    )
    drain: float | None = said(
        _SECONDS, None, "how many seconds its sockets have to end when it is withdrawn; the rule's if nothing is said"
    )
    route: bool | None = said(
        Boolean(),
        usual=False,
        about="it is a local route, whose cost does not grow with their number, and no address; binding to what it "
        "covers takes IPV6_FREEBIND",
    )


_ADDRESS: Final = Table(Address)


class _Entry:
    """An address as text, or a table with more to say of it."""

    def read(self, value: object, at: Spot) -> Address:
        """What it says."""
        match value:
            case str():
                entry, where = Address(ADDRESS.read(value, at)), at
            case dict():
                entry, where = self._from_table(value, at), at["address"]
            case _:
                raise Wrong(f"{shown(value)} is neither an address nor a table")
        why = route_is_wrong(entry.address) if entry.route else service_is_wrong(entry.address)
        if why is not None:
            where.wrong(why)
        if entry.route and entry.preferred_lft is not None:
            at["preferred_lft"].wrong("a route has no preferred lifetime")
        elif entry.address.bits == 32 and entry.preferred_lft not in (None, 0, INFINITY_LIFE_TIME):
            at["preferred_lft"].wrong('an IPv4 address that stays is preferred "forever" or, with 0, never')
        return entry

    def _from_table(self, value: dict[str, object], at: Spot) -> Address:
        written = _ADDRESS.read(value, at)
        if "address" not in value:
            raise Wrong('no address is said; it takes address = "fd00::1", say')
        if "address" not in written:
            raise Told
        return _ADDRESS.made(written)

    def plain(self, value: object) -> object:
        """A text where that says all."""
        plain = _ADDRESS.plain(value)
        return plain if len(plain) > 1 else plain["address"]

    def schema(self) -> dict[str, object]:
        """A string or an object."""
        return {"anyOf": [ADDRESS.schema(), _ADDRESS.schema()]}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a [[rule]] says: which namespaces it is about, and what is wanted of their loopback devices.

    What is None is not said: a rule before it may have said it, and otherwise what is usual holds.
    """

    name: str = required(
        RULE_NAME, "what it is called; a file that is read later says more about a rule by calling it the same"
    )
    enabled: bool = key(Boolean(), usual=True, about="whether it counts at all")
    namespaces: tuple[str, ...] = key(
        List(SELECTOR, "namespaces", _itself), (), f"which it is about: {SELECTOR.accepts}; no glob means the host"
    )
    lo: Lo | None = said(Word(Lo), _WANTED.lo, "whether lo is brought up, or left as it is")
    loopback: Loopback | None = said(
        Word(Loopback), _WANTED.loopback, "whether ::1 is put back, taken away, or left as it is"
    )
    loopback_reaction: Reaction | None = said(
        _REACTION, None, "to ::1 being removed by somebody else; the rule's reaction if nothing is said"
    )
    loopback_yield_for: float | None = said(
        _SECONDS, None, "with yield-then-heal, seconds to wait for ::1; the rule's yield_for if nothing is said"
    )
    addresses: tuple[Address, ...] | None = said(
        List(_Entry(), "addresses", lambda it: it.address),
        (),
        "what lo is to have beside: addresses, or tables with an address and more",
    )
    reaction: Reaction | None = said(
        _REACTION,
        _WANTED.loopback_reaction,
        "what to do where somebody else has removed an address: put it back, put it back if it has not come back by "
        "itself, or only tell",
    )
    yield_for: float | None = said(_SECONDS, _WANTED.loopback_yield_for, "with yield-then-heal, seconds to wait")
    drain: float | None = said(_SECONDS, 0.0, "how many seconds an address's sockets have to end when it is withdrawn")
    adopt: tuple[Prefix, ...] | None = said(
        List(ADOPTED, "addresses", _itself),
        (),
        "addresses without our mark, made by others, that are to be treated as ours, and may be removed",
    )
    fights: Fights | None = part(Fights, "when and how repairs are made more seldom")
    fast_flush: bool | None = said(
        Boolean(),
        usual=False,
        about="dropping everything may be done by turning IPv6 off and on again, which is quick and interrupts "
        "everything that uses lo",
    )
