"""What can be asked of a service that keeps namespaces: one function and one row per order.

As in `commands`, a function's keyword parameters are the order's schema, and its docstring is its help.  The table
says who may give it.  An order is carried out in a thread that may wait; the keeper's own is asked for a little at a
time, so that a repair never waits for an answer to be finished.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain
from typing import Final, NamedTuple, TypeAlias, TypedDict, TypeVar

from addrsvc.daemon.asked import AT_ONCE, labels_of, statuses
from addrsvc.daemon.authority import Peer, Right
from addrsvc.daemon.commands import did_you_mean
from addrsvc.daemon.keeping import KeeperThread
from addrsvc.daemon.reading import Reader, Told, ToldEvent, cursor_text, told_event
from addrsvc.errors import ControlError, NotPermitted
from addrsvc.keeper import mend
from addrsvc.keeper.compare import Step
from addrsvc.keeper.conditions import key_of
from addrsvc.keeper.config import Config
from addrsvc.keeper.events import Ring
from addrsvc.keeper.keep import Keeper, Rules
from addrsvc.keeper.kept import LO, Key, Repair, key_text
from addrsvc.keeper.messages import LO_IFINDEX
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.status import AddressStatus, Counts, NetnsStatus, Summary
from addrsvc.keeper.wanted import Wanted
from addrsvc.netlink.text import command_line
from addrsvc.uapi import NetdevEvent

__all__ = ["Asking", "ORDERS", "Order", "PlanRow", "Planned", "TOLD_AT_ONCE", "looked", "plan_rows"]

T = TypeVar("T")

_ROWS: Final = 500
"""How many things one reply lists: whoever makes it keeps the interpreter from others meanwhile."""
_SHOWN: Final = 16
_DAY: Final = 86400.0
TOLD_AT_ONCE: Final = 100
"""How many events one reply tells."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and whom.

    Attributes:
        keeping: the keeper's thread.
        peer: who asks.
    """

    keeping: KeeperThread
    peer: Peer

    @property
    def ring(self) -> Ring:
        """Where everything is told."""
        return self.keeping.ring

    def told(self, event: str, netns: str, **values: object) -> int:
        """Have it told who asks for what; the number of the event."""
        who = self.peer.told()
        return self.keeping.ask(lambda keeper: self.ring.tell(event, netns, None, **values, **who))


OrderFunction: TypeAlias = "Callable[..., Mapping[str, object] | Iterator[Mapping[str, object]]]"


class Order(NamedTuple):
    """A row: what carries the order out, and which right it takes."""

    run: OrderFunction
    right: Right


# --- answers ----------------------------------------------------------------------------------------------------------


class Description(TypedDict):
    """The service at a glance.

    `lacking` names a namespace where something wanted is missing, if there is one; `lag` is how many seconds a
    question waited for its turn in the thread that repairs; `repairs` are counted by cause.
    """

    version: str
    pid: int
    watch: str
    files: list[str]
    rules: list[str]
    namespaces: int
    waiting: int
    fighting: int
    wanted: int
    present: int
    lacking: str | None
    repairs: dict[str, int]
    lost: int
    fights: int
    drifts: int
    divergences: int
    lag: float
    cursor: str


class AddressRow(TypedDict):
    """One address that is wanted: whose it is ("kernel", "addrsvc", "foreign"), or why it is not there."""

    address: str
    present: bool
    owner: str
    why_not: str
    route: bool


class RepairRow(TypedDict):
    """A repair: when, in seconds since 1970, why, how, of what, and in how many microseconds since it was heard."""

    time: float
    why: str
    recipe: str
    what: str
    us: float


class NetnsRow(TypedDict):
    """One namespace.

    `state` is "kept", "missing" where something wanted is not there, "fighting", "claimed" where another service has
    it, or "waiting" where it is not there; `why` says more.  `addresses` are those that are not there, or all of them
    if that was asked for; where they are many they go on in another row of the same namespace.  `withdrawn` are those
    that were withdrawn by command.  `aliases` are its other names, and `conflict` is on what the rules for its names do
    not agree, and which counts.
    """

    netns: str
    state: str
    why: str
    rules: list[str]
    aliases: list[str]
    conflict: str
    lo_up: bool
    mtu: int
    wanted: int
    present: int
    addresses: list[AddressRow]
    withdrawn: list[str]
    last: RepairRow | None
    repairs: int
    fights: int
    lost: int


class Namespaces(TypedDict):
    """Some namespaces, those that are kept first."""

    namespaces: list[NetnsRow]


class StepRow(TypedDict):
    """One request to a kernel: by which recipe, about what, and as a command of ip(8)."""

    recipe: str
    address: str
    text: str


class PlanRow(TypedDict):
    """What is asked of one namespace; where that is much, it goes on in another row of the same namespace.

    `left` is what was wanted still after it was asked for, and `error` why it is not known how the namespace is.
    """

    netns: str
    steps: list[StepRow]
    left: list[str]
    error: str | None


class Plans(TypedDict):
    """What is asked, by namespace."""

    plans: list[PlanRow]


class Reloaded(TypedDict):
    """What another configuration has changed: rules and settings by name, and the events that tell what was done.

    `later` are settings that hold from the next start on.
    """

    files: list[str]
    added: list[str]
    removed: list[str]
    changed: list[str]
    settings: list[str]
    later: list[str]
    events: list[ToldEvent]
    cursor: str


class Done(TypedDict):
    """What was done: about which addresses, and the events that tell it."""

    addresses: list[str]
    events: list[ToldEvent]
    cursor: str


# --- asking -----------------------------------------------------------------------------------------------------------


def describe(asking: Asking) -> Description:
    """Show the service at a glance."""
    from addrsvc import __version__

    asked = time.monotonic()

    def look(keeper: Keeper) -> tuple[float, Summary, Counts]:
        return time.monotonic() - asked, keeper.summary(), keeper.counts()

    lag, summary, counts = asking.keeping.ask(look)
    loaded = asking.keeping.loaded
    return {
        "version": __version__,
        "pid": os.getpid(),
        "watch": counts.watch,
        "files": list(loaded.files),
        "rules": [rule.name for rule in loaded.config.rules if rule.enabled],
        "namespaces": summary.namespaces,
        "waiting": summary.waiting,
        "fighting": summary.fighting,
        "wanted": summary.wanted,
        "present": summary.present,
        "lacking": summary.lacking,
        "repairs": dict(counts.repairs),
        "lost": counts.lost,
        "fights": counts.fights,
        "drifts": counts.drifts,
        "divergences": counts.divergences,
        "lag": lag,
        "cursor": cursor_text(asking.ring, asking.ring.next),
    }


def list_(asking: Asking, *, netns: str | None = None, details: bool = False) -> Iterator[Namespaces]:
    """Show namespaces, or one of them; with details, all of their addresses and not only those that are missing."""
    labels, waiting = asking.keeping.ask(partial(_all_or_one, netns=netns))
    missing = [NetnsStatus(label, "waiting", why) for label, why in waiting.items()]
    rows = (
        row
        for status in chain(statuses(asking.keeping, labels), missing)
        for row in _netns_rows(status, details=details)
    )
    yield from (Namespaces(namespaces=some) for some in _replies(rows, lambda row: len(row["addresses"])))


def _replies(rows: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Rows in lists that are not too long, at least one."""
    some: list[T] = []
    total = 0
    for row in rows:
        if len(some) == AT_ONCE or (some and total + size(row) > _ROWS):
            yield some
            some, total = [], 0
        some.append(row)
        total += size(row)
    yield some


def _all_or_one(keeper: Keeper, netns: str | None) -> tuple[list[str], dict[str, str]]:
    """Those that are kept, and those that are waited for; or the one that is called so, by whichever of its names."""
    waiting = keeper.awaited()
    if netns is None:
        return [kept.label for kept in keeper], waiting
    if (kept := keeper.get(netns)) is not None:
        return [kept.label], {}
    if netns in waiting:
        return [], {netns: waiting[netns]}
    known = [name for kept in keeper for name in keeper.discovery.names(kept.label)]
    raise ControlError(f"netns: {netns!r} is not kept{did_you_mean(netns, [*known, *waiting])}")


def _netns_rows(status: NetnsStatus, *, details: bool) -> Iterator[NetnsRow]:
    addresses = [address for address in status.addresses if details or not address.is_present]
    last = status.last
    for start in range(0, len(addresses) or 1, _ROWS):
        yield {
            "netns": status.label,
            "state": status.state,
            "why": status.why,
            "rules": list(status.rules),
            "aliases": list(status.aliases),
            "conflict": status.wants.conflict,
            "lo_up": status.lo_up,
            "mtu": status.mtu,
            "wanted": status.wanted,
            "present": status.present,
            "addresses": [_address_row(address) for address in addresses[start : start + _ROWS]],
            "withdrawn": [key_text(key) for key in status.withheld],
            "last": None if last is None else _repair_row(last),
            "repairs": status.repairs,
            "fights": status.fights,
            "lost": status.lost,
        }


def _address_row(it: AddressStatus) -> AddressRow:
    return {
        "address": it.address, "present": it.is_present, "owner": it.owner, "why_not": it.why_not, "route": it.is_route,
    }  # fmt: skip


def _repair_row(it: Repair) -> RepairRow:
    return {"time": it.time, "why": it.why.value, "recipe": it.recipe, "what": it.what, "us": it.us}


def events(
    asking: Asking,
    *,
    cursor: str | None = None,
    netns: list[str] | None = None,
    level: str | None = None,
    most: int = 100,
) -> Told:
    """Tell what has happened since a cursor, or since the oldest event that is remembered."""
    kept_as = labels_of(asking.keeping, netns or ())
    reader = Reader.of(asking.ring, cursor, replay=True, netns=netns or (), kept_as=kept_as, level=level)
    return reader.take(min(most, TOLD_AT_ONCE))


def plan(asking: Asking, *, netns: str | None = None, files: bool = False) -> Iterator[Plans]:
    """Show what would be asked of kernels if the service began now; with files, if it read its files again."""
    rules = asking.keeping.rules_on_disk() if files else None
    yield from _plans(_labels(asking, netns), partial(_planned, asking, rules))


# --- changing ---------------------------------------------------------------------------------------------------------


def apply(asking: Asking, *, netns: str | None = None) -> Iterator[Plans]:
    """Look at namespaces now, ask for what is missing, and take away what is ours and not wanted."""
    labels = _labels(asking, netns)
    cause = asking.told("command", netns or "", command="apply")
    yield from _plans(labels, lambda label: asking.keeping.ask(partial(_applied, label=label, cause=cause)))


def _labels(asking: Asking, netns: str | None) -> list[str]:
    """Those that are kept, or the one that is asked for."""
    labels, _ = asking.keeping.ask(partial(_all_or_one, netns=netns))
    return labels


class Planned(NamedTuple):
    """What is asked of a namespace, what is missing after that, and why it is not known how it is, as in `PlanRow`."""

    steps: Sequence[Step] = ()
    left: Sequence[str] = ()
    error: str | None = None


_GONE: Final = Planned(error="it has gone")


def _plans(labels: Iterable[str], find: Callable[[str], Planned]) -> Iterator[Plans]:
    rows = (row for label in labels for row in plan_rows(label, find(label)))
    yield from (Plans(plans=some) for some in _replies(rows, lambda row: len(row["steps"])))


class _View(NamedTuple):
    """What tells what would be asked of a namespace: a way there, what is wanted, and what is known to be ours."""

    fd: int
    wanted: Wanted
    ours: frozenset[Key]


def _planned(asking: Asking, rules: Rules | None, label: str) -> Planned:
    """What would be asked of a namespace, found out beside the keeper wherever one can go there."""

    def view(keeper: Keeper) -> _View | Planned:
        kept = keeper.get(label)
        if kept is None:
            return _GONE
        wanted, ours = keeper.wanted(label, rules), frozenset(kept.made or ())
        if kept.netns_fd is None:
            return looked(kept.requests, wanted, ours)
        try:
            return _View(os.dup(kept.netns_fd), wanted, ours)
        except OSError as error:
            return Planned(error=str(error))

    seen = asking.keeping.ask(view)
    if isinstance(seen, Planned):
        return seen
    try:
        with Requests.to(seen.fd, label) as requests:
            return looked(requests, seen.wanted, seen.ours)
    except OSError as error:
        return Planned(error=str(error))
    finally:
        os.close(seen.fd)


def looked(requests: Requests, wanted: Wanted, ours: frozenset[Key]) -> Planned:
    """What would be asked of a namespace, where this is wanted and those are known to be ours."""
    try:
        return Planned(mend.plan(requests, wanted, ours))
    except OSError as error:
        return Planned(error=str(error))


def _applied(keeper: Keeper, label: str, cause: int) -> Planned:
    kept = keeper.get(label)
    if kept is None:
        return _GONE
    if not kept.is_claimed:
        return Planned(error="another service keeps it")
    planned = looked(kept.requests, kept.wanted, frozenset(kept.made or ()))
    if planned.error is None:
        keeper.look(label, cause)
    left = [f"{key_text(key)} is not there: {why}" for key, why in (kept.missing or {}).items()]
    return planned._replace(left=left)


def plan_rows(label: str, planned: Planned) -> Iterator[PlanRow]:
    """The same for the wire, in parts that are not too long."""
    steps = planned.steps
    for start in range(0, len(steps) or 1, _ROWS):
        rows = [_step_row(step) for step in steps[start : start + _ROWS]]
        left = list(planned.left) if not start else []
        yield {"netns": label, "steps": rows, "left": left, "error": planned.error}


def _step_row(step: Step) -> StepRow:
    from addrsvc.netlink.codec import decode

    text = command_line(decode(step.message), {LO_IFINDEX: "lo"})
    return {"recipe": step.recipe, "address": key_text(step.key), "text": text}


def reload(asking: Asking) -> Reloaded:
    """Read the configuration again and put it in force; tells what has changed, or all that is wrong with it."""
    asking.told("command", "", command="reload")
    before = asking.keeping.loaded
    cause = asking.keeping.reload()
    after = asking.keeping.loaded
    changed = list(_differing_settings(before.config, after.config))
    told = _caused(asking.ring, cause)
    return {
        "files": list(after.files),
        **_differing_rules(before.config, after.config),
        "settings": changed,
        "later": [name for name in changed if name in _AT_START],
        "events": told,
        "cursor": cursor_text(asking.ring, asking.ring.next),
    }


_SECTIONS: Final = ("daemon", "control", "watch", "metrics")
_AT_START: Final = ("daemon.realtime", "watch.method", "watch.receive_buffer")
"""Settings that hold from the start of the service on."""


def _differing_settings(before: Config, after: Config) -> Iterator[str]:
    for section in _SECTIONS:
        one, other = getattr(before, section), getattr(after, section)
        for it in fields(one):
            if getattr(one, it.name) != getattr(other, it.name):
                yield f"{section}.{it.name}"


class _Rules(TypedDict):
    added: list[str]
    removed: list[str]
    changed: list[str]


def _differing_rules(before: Config, after: Config) -> _Rules:
    one, other = ({rule.name: rule for rule in config.rules} for config in (before, after))
    return {
        "added": [name for name in other if name not in one],
        "removed": [name for name in one if name not in other],
        "changed": [name for name in other if name in one and one[name] != other[name]],
    }


def _caused(ring: Ring, cause: int) -> list[ToldEvent]:
    """What was told because of something."""
    found, _, _ = ring.since(cause, 1 << 62)
    return [told_event(event) for event in found if event.cause == cause][:TOLD_AT_ONCE]


def resume(asking: Asking, *, netns: str) -> Done:
    """End all fights of a namespace, want again what was withdrawn there by command, and mend at once."""
    (label,) = _labels(asking, netns)
    cause = asking.told("command", label, command="resume")
    addresses = asking.keeping.ask(lambda keeper: keeper.resume(label, cause))
    return _done(asking, addresses, cause)


def withdraw(asking: Asking, *, netns: str, addresses: list[str] | None = None, drain: float | None = None) -> Done:
    """Take service addresses of a namespace away, all or some, and want them no more until it is resumed.

    `drain` is how many seconds their sockets have to end, if not as many as the configuration says.
    """
    if drain is not None and not 0 <= drain <= _DAY:
        raise ControlError(f"drain: {drain} is not between 0 and {_DAY} seconds")
    (label,) = _labels(asking, netns)
    keys = asking.keeping.ask(partial(_keys_of, label=label, texts=addresses))
    cause = asking.told("command", label, command="withdraw", addresses=[key_text(key) for key in keys[:_SHOWN]])
    asking.keeping.ask(lambda keeper: keeper.withdraw(label, keys, cause, drain))
    return _done(asking, [key_text(key) for key in keys], cause)


def _keys_of(keeper: Keeper, label: str, texts: list[str] | None) -> list[Key]:
    """Which addresses are meant; all that rules want there where none is named."""
    if texts is not None:
        return list(dict.fromkeys(map(key_of, texts)))
    return list(keeper.declared(label).addresses)


def _done(asking: Asking, addresses: list[str], cause: int) -> Done:
    ring = asking.ring
    return {"addresses": addresses, "events": _caused(ring, cause), "cursor": cursor_text(ring, ring.next)}


_EVENTS: Final = {
    name: event
    for event in (NetdevEvent.NETDEV_UP, NetdevEvent.NETDEV_DOWN, NetdevEvent.NETDEV_CHANGEMTU)
    for name in (event.name, event.name.removeprefix("NETDEV_"))
}


def inject(asking: Asking, *, event: str, netns: str, address: str | None = None) -> Done:
    """Let an event run through the chain that decides about real namespaces, as if a kernel had told it.

    It is about an address, or about lo.  Nothing is believed: what is missing is mended.  The configuration has to
    allow it.
    """
    if not asking.keeping.loaded.config.control.allow_real_injection:
        raise NotPermitted("[control] allow_real_injection of the configuration does not allow it")
    if event not in _EVENTS:
        raise ControlError(f"event: {event!r} is none that the keeper hears{did_you_mean(event, list(_EVENTS))}")
    (label,) = _labels(asking, netns)
    key, val = LO if address is None else key_of(address), _EVENTS[event]
    cause = asking.told("inject", label, val=val.name, what=key_text(key), real=True)
    asking.keeping.ask(lambda keeper: keeper.inject(int(val), label, key, cause))
    asking.keeping.ask(Keeper.summary)  # what was left for afterwards is done by now
    return _done(asking, [key_text(key)], cause)


ORDERS: Final[Mapping[str, Order]] = {
    "describe": Order(describe, Right.READ),
    "list": Order(list_, Right.READ),
    "events": Order(events, Right.READ),
    "plan": Order(plan, Right.READ),
    "apply": Order(apply, Right.CHANGE),
    "reload": Order(reload, Right.CHANGE),
    "resume": Order(resume, Right.CHANGE),
    "withdraw": Order(withdraw, Right.CHANGE),
    "inject": Order(inject, Right.CHANGE),
}
