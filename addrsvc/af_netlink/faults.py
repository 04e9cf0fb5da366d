"""Faults on demand: what a kernel seldom does, done when a test asks for it.  Ours; a kernel has none of this.

A fault says which requests or notifications it is about, which of them is the first to be struck, and how many are.
It counts the requests that are served, and the notifications that somebody listens to.  Where several strike one
request each does its part; a notification is the affair of the first that strikes it.  `Faults.load` reads a file.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from errno import EOPNOTSUPP, errorcode
from math import ceil, isinf
from pathlib import Path
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self, TypeAlias, TypedDict, Unpack

from addrsvc.errors import ControlError, KernelError
from addrsvc.model.timer import HZ, Timer, mod_timer
from addrsvc.uapi import AF_INET, AF_INET6, AF_UNSPEC, NLM_F_DUMP, Rtm, Rtnlgrp

if TYPE_CHECKING:
    from addrsvc.af_netlink.request import Request
    from addrsvc.af_netlink.sock import NetlinkSock
    from addrsvc.af_netlink.table import Datagram, NetlinkTable

__all__ = ["Fault", "Faults", "Telling"]

_HDRLEN: Final = 16
_KIND_GET: Final = 2
_NLMSG_TYPE: Final = Struct("=H")
_NLMSG_TYPE_OFFSET: Final = 4
_Tell: TypeAlias = Callable[[], None]


@dataclass(slots=True, eq=False)
class Fault:
    """One fault, and what has come of it so far.

    Attributes:
        kind: the method of Faults that it was made by.
        about: what a request or notification must be to be counted: its type, family, group and so on.
        nth: of those it is about, the first that it strikes, counted from 1.
        times: how many it strikes from there on; None for all.
        errno: what is refused with it.
        text: and the words that go with it.
        seconds: for how long it holds something up.
        by: how many notifications overtake the one that it strikes.
        seen: how many it has counted.
        struck: how many it has struck.
    """

    kind: str
    about: Mapping[str, object]
    nth: int
    times: int | None
    errno: int = 0
    text: str | None = None
    seconds: float = 0.0
    by: int = 1
    seen: int = 0
    struck: int = 0

    def strikes(self, event: Mapping[str, object]) -> bool:
        """Count an event, if it is one that this fault is about; whether it is struck."""
        if any(event[name] != wanted for name, wanted in self.about.items()):
            return False
        self.seen += 1
        is_struck = self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)
        self.struck += is_struck
        return is_struck

    @property
    def is_spent(self) -> bool:
        """Whether it has struck as often as it was to; one without end, whether it has struck at all."""
        return self.struck >= (self.times or 1)


class WhichRequests(TypedDict, total=False):
    """Which requests a fault is about, beside their type, and which of those it strikes."""

    family: int | str
    portid: int
    """Of who asks."""
    net: str
    """The name of the namespace that it is asked in."""
    nth: int
    times: int | None


class WhichNotifications(TypedDict, total=False):
    """Which notifications a fault is about, beside their group, and which of those it strikes."""

    message: int | str
    """Its type."""
    net: str
    """The name of the namespace that it is told in."""
    nth: int
    times: int | None


@dataclass(slots=True, eq=False)
class Faults:
    """The faults of one machine: of that Linux whose `faults` they are.

    What is left out of `request`, `group` and the rest means any.  A fault strikes from the `nth` on (1, the next) and
    `times` times (once; None for ever).  Types, families, groups and errnos are numbers, or names as the kernel has
    them, RTM_, AF_ and RTNLGRP_ apart.
    """

    faults: list[Fault] = field(default_factory=list)
    _request: "Request | None" = None
    """The one that was served last."""
    _striking: list[Fault] = field(default_factory=list)
    """Those that struck it."""
    _held: list[tuple[int, _Tell]] = field(default_factory=list)
    """Notifications out of order, each with how many are to overtake it yet."""

    # --- of requests ---

    def fail(
        self,
        request: int | str | None = None,
        *,
        errno: int | str,
        text: str | None = None,
        **which: Unpack[WhichRequests],
    ) -> Fault:
        """Refuse a request before it is looked at, with an errno, and a text for the extended acknowledgement."""
        return self._add("fail", {"request": request, **which}, errno=errno, text=text)

    def deny(self, request: int | str | None = None, **which: Unpack[WhichRequests]) -> Fault:
        """Take away the privilege to change anything, for ever if nothing else is said."""
        return self._add("deny", {"request": request, "times": None, **which})

    def slow_ack(self, request: int | str | None = None, *, seconds: float, **which: Unpack[WhichRequests]) -> Fault:
        """Serve a request at once, but acknowledge or refuse it only after some time; inf for never."""
        return self._add("slow_ack", {"request": request, **which}, seconds=seconds)

    def interrupt_dump(self, request: int | str | None = None, **which: Unpack[WhichRequests]) -> Fault:
        """Mark a dump as inconsistent (NLM_F_DUMP_INTR), as if what is dumped had changed meanwhile."""
        return self._add("interrupt_dump", {"request": request, **which}, {"dump": True})

    # --- of notifications ---

    def lose(self, group: int | str | None = None, **which: Unpack[WhichNotifications]) -> Fault:
        """Lose a notification without a word."""
        return self._add("lose", {"group": group, **which})

    def overrun(self, group: int | str | None = None, **which: Unpack[WhichNotifications]) -> Fault:
        """Lose a notification as in a full queue: ENOBUFS for all who listen, and nothing until they have read."""
        return self._add("overrun", {"group": group, **which})

    def duplicate(self, group: int | str | None = None, **which: Unpack[WhichNotifications]) -> Fault:
        """Tell a notification twice."""
        return self._add("duplicate", {"group": group, **which})

    def delay(self, group: int | str | None = None, *, seconds: float, **which: Unpack[WhichNotifications]) -> Fault:
        """Tell a notification only after some time; inf for never."""
        return self._add("delay", {"group": group, **which}, seconds=seconds)

    def reorder(self, group: int | str | None = None, *, by: int = 1, **which: Unpack[WhichNotifications]) -> Fault:
        """Tell a notification only after the next `by` of the machine, whatever those are about."""
        return self._add("reorder", {"group": group, **which}, by=by)

    def _add(
        self, kind: str, which: Mapping[str, object], always: Mapping[str, object] = MappingProxyType({}), **how: object
    ) -> Fault:
        """Make a fault out of what was given: each argument by the row of its name."""
        if unknown := which.keys() - _arguments(kind)[1]:
            raise TypeError(f"{kind}() got an unexpected keyword argument {min(unknown)!r}")
        about = {name: _READ[name](name, value) for name, value in which.items() if value is not None}
        nth, times = about.pop("nth", 1), about.pop("times", None if "times" in which else 1)
        done = {name: _READ[name](name, value) for name, value in how.items() if value is not None}
        fault = Fault(kind, {**about, **always}, nth, times, **done)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    # --- as a whole ---

    def unspent(self) -> list[Fault]:
        """Those that have not struck as often as they were to: a test that expects them did not get there."""
        return [fault for fault in self.faults if not fault.is_spent]

    def clear(self) -> None:
        """Have no faults any more.  What is held back out of order is told now; what is delayed comes in its time."""
        self.faults.clear()
        held, self._held = self._held, []
        for _, tell in held:
            tell()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read faults from a file of TOML: one table for each, named like the method, with its arguments.

        Raises:
            ControlError: what is wrong, with the file, the line and the key.
            OSError: it cannot be read.
        """
        return cls.parse(Path(path).read_text(encoding="utf-8"), str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """The same from a text; `where` is what it is called in errors.

        Raises:
            ControlError: what is wrong, with the line and the key.
        """
        faults = cls()
        for entry in _entries(text, where):
            entry.add_to(faults)
        return faults

    # --- where the sockets ask ---

    def strike(self, request: "Request") -> None:
        """A request is about to be served.

        Raises:
            KernelError: it is refused by a fault.
        """
        data = request.data
        event = {
            "request": request.nlmsg_type,
            "family": data[_HDRLEN] if len(data) > _HDRLEN else AF_UNSPEC,
            "portid": request.portid,
            "net": request.net.name,
            "dump": request.nlmsg_type & 3 == _KIND_GET and bool(request.flags & NLM_F_DUMP),
        }
        self._request = request
        self._striking = [it for it in self.faults if it.kind in _OF_REQUESTS and it.strikes(event)]
        if (failing := self._striking_by("fail")) is not None:
            raise KernelError(failing.errno, failing.text)

    def denies(self, sock: "NetlinkSock") -> bool:
        """Whether the request that is being served has lost its privilege."""
        return self._is_served(sock) and self._striking_by("deny") is not None

    def interrupts(self, sock: "NetlinkSock") -> bool:
        """Whether the dump that is being started is to be marked."""
        return self._is_served(sock) and self._striking_by("interrupt_dump") is not None

    def acknowledge(self, request: "Request", ack: bytes) -> None:
        """Send the acknowledgement of a request, in time or not."""
        sock = request.sock
        slow = self._striking_by("slow_ack") if request is self._request else None
        if slow is None:
            sock.deliver(ack)
        else:
            _later(sock.table, slow.seconds, lambda: _deliver(sock, ack))

    def tell(self, telling: "Telling", net: str) -> None:
        """A notification is about to be sent, which somebody listens to."""
        event = {"group": telling.datagram.group, "message": telling.nlmsg_type, "net": net}
        striking = [it for it in self.faults if it.kind in _OF_NOTIFICATIONS and it.strikes(event)]
        held, self._held = self._held, []
        if striking:
            _OF_NOTIFICATIONS[striking[0].kind](self, striking[0], telling)
        else:
            telling.now()
        for left, tell in held:
            self.hold(left - 1, tell)

    def hold(self, by: int, tell: _Tell) -> None:
        """Tell something after `by` more notifications."""
        if by > 0:
            self._held.append((by, tell))
        else:
            tell()

    def _is_served(self, sock: "NetlinkSock") -> bool:
        return self._request is not None and self._request.sock is sock

    def _striking_by(self, kind: str) -> Fault | None:
        return next((it for it in self._striking if it.kind == kind), None)


# --- what becomes of a notification -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Telling:
    """A notification, and who listens to it."""

    table: "NetlinkTable"
    datagram: "Datagram"
    truesize: int
    """What it counts against receive buffers."""
    to: Mapping["NetlinkSock", "Datagram"]
    """Each of them with what it is told."""

    @property
    def nlmsg_type(self) -> int:
        """RTM_*."""
        return int(_NLMSG_TYPE.unpack_from(self.datagram.data, _NLMSG_TYPE_OFFSET)[0])

    def now(self) -> None:
        """Send it to those who listen still."""
        for sock, datagram in self.to.items():
            if datagram.group in sock.groups:
                sock.take(self.truesize, *datagram)

    def later(self, seconds: float) -> None:
        """Send it when that time has passed."""
        _later(self.table, seconds, self.now)

    def overrun(self) -> None:
        """Have them lose it for want of room."""
        for sock in self.to:
            sock.overrun()


def _deliver(sock: "NetlinkSock", ack: bytes) -> None:
    if sock.bound:
        sock.deliver(ack)


def _later(table: "NetlinkTable", seconds: float, act: _Tell) -> None:
    """Do something when time has passed, after the telling of all that the model has said by then."""
    if isinf(seconds):
        return

    def due() -> None:
        table.pump()
        act()

    timers = table.machine.timers
    mod_timer(timers, Timer(due), timers.jiffies + ceil(seconds * HZ))


def _lose(_: Faults, __: Fault, ___: Telling) -> None:
    """It is not told."""


def _overrun(_: Faults, __: Fault, telling: Telling) -> None:
    telling.overrun()


def _duplicate(_: Faults, __: Fault, telling: Telling) -> None:
    telling.now()
    telling.now()


def _delay(_: Faults, fault: Fault, telling: Telling) -> None:
    telling.later(fault.seconds)


def _reorder(faults: Faults, fault: Fault, telling: Telling) -> None:
    faults.hold(fault.by, telling.now)


# One row per kind of fault.
_OF_NOTIFICATIONS: Final[Mapping[str, Callable[[Faults, Fault, Telling], None]]] = {
    "lose": _lose,
    "overrun": _overrun,
    "duplicate": _duplicate,
    "delay": _delay,
    "reorder": _reorder,
}
_OF_REQUESTS: Final = ("fail", "deny", "slow_ack", "interrupt_dump")


# --- what is given, as it is meant ------------------------------------------------------------------------------------


def _near(word: str, known: Iterable[str]) -> str:
    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _number(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ControlError(f"{name}: {value!r} is no number from {least} to {most}")
    return int(value)


def _one_of(known: Mapping[str, int], prefix: str, most: int, least: int = 0) -> "_Read":
    """A reader of names, with or without their prefix, or numbers."""

    def read(name: str, value: object) -> int:
        if not isinstance(value, str):
            return _number(name, value, least, most)
        word = prefix + value.upper().removeprefix(prefix)
        if word not in known:
            raise ControlError(f"{name}: there is no {value!r}{_near(word, known)}")
        return known[word]

    return read


def _count(name: str, value: object) -> int:
    return _number(name, value, 1, _MOST)


def _times(name: str, value: object) -> int | None:
    """A file has no None: there it is "all"."""
    return None if value == "all" else _count(name, value)


def _portid(name: str, value: object) -> int:
    return _number(name, value, 0, 0xFFFFFFFF)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ControlError(f"{name}: {value!r} is no number of seconds, such as 0.5, or inf")
    return float(value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ControlError(f"{name}: {value!r} is no text")
    return value


_Read: TypeAlias = Callable[[str, object], object]
_MOST: Final = 1 << 31
_TYPE: Final = _one_of({member.name: member.value for member in Rtm}, "RTM_", 0xFFFF)
# One row per argument.
_READ: Final[Mapping[str, _Read]] = {
    "request": _TYPE,
    "message": _TYPE,
    "family": _one_of({"AF_UNSPEC": AF_UNSPEC, "AF_INET": AF_INET, "AF_INET6": AF_INET6}, "AF_", 0xFF),
    "group": _one_of({member.name.upper(): member.value for member in Rtnlgrp}, "RTNLGRP_", max(Rtnlgrp)),
    "errno": _one_of({name: number for number, name in errorcode.items()} | {"EOPNOTSUPP": EOPNOTSUPP}, "", 4095, 1),
    "text": _text,
    "net": _text,
    "portid": _portid,
    "seconds": _seconds,
    "by": _count,
    "nth": _count,
    "times": _times,
}
_KINDS: Final = (*_OF_REQUESTS, *_OF_NOTIFICATIONS)


# --- a file of faults -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """One table of a file, and how to say what is wrong with it."""

    text: str
    where: str
    kind: str
    count: int
    """How many of its kind stand before it."""
    table: Mapping[str, object]

    @property
    def start(self) -> int:
        """Where it begins; at the end of the text if it has no heading of its own."""
        headings = re.finditer(rf"^[ \t]*\[+[ \t]*{re.escape(self.kind)}[ \t]*\]", self.text, re.M)
        return next((it.start() for number, it in enumerate(headings) if number == self.count), len(self.text))

    def wrong(self, what: str, key: str | None = None) -> ControlError:
        """An error that says where."""
        start = self.start
        if key is not None:
            found = re.compile(rf"^[ \t]*{re.escape(key)}[ \t]*=", re.M).search(self.text, start % len(self.text))
            start = found.start() if found else start
        line = f":{self.text.count(chr(10), 0, start) + 1}" if start < len(self.text) else ""
        return ControlError(f"{self.where}{line}: {self.kind}: {what}")

    def add_to(self, faults: Faults) -> None:
        """Add the fault that it describes."""
        if self.kind not in _KINDS:
            raise self.wrong(f"there is no such fault{_near(self.kind, _KINDS)}; there are {', '.join(_KINDS)}")
        required, parameters = _arguments(self.kind)
        for key, value in self.table.items():
            if key not in parameters:
                raise self.wrong(f"it has no {key!r}{_near(key, parameters)}; it has {', '.join(parameters)}", key)
            try:
                _READ[key](key, value)
            except ControlError as error:
                raise self.wrong(str(error), key) from None
        if missing := [key for key in required if key not in self.table]:
            raise self.wrong(f"{missing[0]} is missing")
        getattr(faults, self.kind)(**self.table)


def _arguments(kind: str) -> tuple[list[str], list[str]]:
    """The arguments that a fault must have, and those that it may have."""
    own = [it for it in inspect.signature(getattr(Faults, kind)).parameters.values() if it.name != "self"]
    named = [it for it in own if it.kind is not it.VAR_KEYWORD]
    which = WhichRequests if kind in _OF_REQUESTS else WhichNotifications
    return [it.name for it in named if it.default is it.empty], [*(it.name for it in named), *which.__annotations__]


def _entries(text: str, where: str) -> list[_Entry]:
    """The tables of a text, in its order."""
    from tomllib import TOMLDecodeError, loads

    try:
        document = loads(text)
    except TOMLDecodeError as error:
        raise ControlError(f"{where}: {error}") from None
    entries = []
    for kind, value in document.items():
        for count, table in enumerate(value if isinstance(value, list) else [value]):
            entry = _Entry(text, where, kind, count, table if isinstance(table, dict) else {})
            if not isinstance(table, dict):
                raise entry.wrong(f"a table [[{kind}]] is wanted, not {table!r}", kind)
            entries.append(entry)
    return sorted(entries, key=lambda entry: entry.start)
