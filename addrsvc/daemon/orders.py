"""What can be asked of a service that keeps namespaces: one function and one row per order.

As in `commands`, a function's keyword parameters are the order's schema, and its docstring is its help.  The table
says who may give it.  An order is carried out in a thread that may wait; the keeper's own is asked for a little at a
time, so that a repair never waits for an answer to be finished.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain
from typing import Final, NamedTuple, TypeAlias, TypedDict

from addrsvc.daemon.answers import Description, Done, Namespaces, Plans, Reloaded, netns_rows, replies
from addrsvc.daemon.asked import labels_of, statuses
from addrsvc.daemon.authority import Peer, Right
from addrsvc.daemon.commands import did_you_mean
from addrsvc.daemon.keeping import KeeperThread
from addrsvc.daemon.planning import applied, newcomers, planned, plans
from addrsvc.daemon.reading import Reader, Told, ToldEvent, cursor_text, told_event
from addrsvc.errors import ControlError, NotPermitted
from addrsvc.keeper.conditions import key_of
from addrsvc.keeper.config import Config
from addrsvc.keeper.events import Ring
from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.kept import LO, Key, key_text
from addrsvc.keeper.status import Counts, NetnsStatus, Summary
from addrsvc.uapi import NetdevEvent

__all__ = ["Asking", "ORDERS", "Order", "TOLD_AT_ONCE"]

_SHOWN: Final = 16
_NAMED: Final = 8
"""How many namespaces are named to who has named none of them."""
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
        for row in netns_rows(status, details=details)
    )
    yield from (Namespaces(namespaces=some) for some in replies(rows, lambda row: len(row["addresses"])))


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
    raise ControlError(f"netns: {netns!r} is not kept{_meant(netns, [*known, *waiting])}")


def _meant(netns: str, known: Sequence[str]) -> str:
    """What may have been meant, or, where nothing is like it, some of those there are."""
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return did_you_mean(netns, [*known]) or f" (there are: {', '.join(known[:_NAMED]) or 'none'}{more})"


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
    labels = _labels(asking, netns)
    new = {} if rules is None or netns is not None else newcomers(asking.keeping, rules)
    yield from plans(
        (*labels, *new), lambda label: new[label] if label in new else planned(asking.keeping, rules, label)
    )


# --- changing ---------------------------------------------------------------------------------------------------------


def apply(asking: Asking, *, netns: str | None = None) -> Iterator[Plans]:
    """Look at namespaces now, ask for what is missing, and take away what is ours and not wanted."""
    labels = _labels(asking, netns)
    cause = asking.told("command", netns or "", command="apply")
    yield from plans(labels, lambda label: asking.keeping.ask(partial(applied, label=label, cause=cause)))


def _labels(asking: Asking, netns: str | None) -> list[str]:
    """Those that are kept, or the one that is asked for."""
    if netns is not None:
        return [_label(asking, netns)]
    return asking.keeping.ask(lambda keeper: [kept.label for kept in keeper])


def _label(asking: Asking, netns: str) -> str:
    """What one is kept under, by whichever of its names."""
    labels, waiting = asking.keeping.ask(partial(_all_or_one, netns=netns))
    for why in waiting.values():
        raise ControlError(f"netns: {netns!r} is not kept: {why}")
    (label,) = labels
    return label


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
_AT_START: Final = ("daemon.realtime", "daemon.patience", "watch.method", "watch.receive_buffer")
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
    label = _label(asking, netns)
    cause = asking.told("command", label, command="resume")
    addresses = asking.keeping.ask(lambda keeper: keeper.resume(label, cause))
    return _done(asking, addresses, cause)


def withdraw(asking: Asking, *, netns: str, addresses: list[str] | None = None, drain: float | None = None) -> Done:
    """Take service addresses of a namespace away, all or some, and want them no more until it is resumed.

    `drain` is how many seconds their sockets have to end, if not as many as the configuration says.
    """
    if drain is not None and not 0 <= drain <= _DAY:
        raise ControlError(f"drain: {drain} is not between 0 and {_DAY} seconds")
    label = _label(asking, netns)
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
    label = _label(asking, netns)
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
