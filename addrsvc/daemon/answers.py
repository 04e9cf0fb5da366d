"""What a service that keeps namespaces answers, as JSON has it, and how a long answer falls into replies."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypedDict, TypeVar

from addrsvc.daemon.asked import AT_ONCE
from addrsvc.daemon.reading import ToldEvent
from addrsvc.keeper.kept import Repair, key_text
from addrsvc.keeper.status import AddressStatus, NetnsStatus

__all__ = [
    "Description", "Done", "Namespaces", "NetnsRow", "PlanRow", "Plans", "ROWS", "Reloaded", "StepRow", "netns_rows",
    "replies",
]  # fmt: skip

T = TypeVar("T")

ROWS: Final = 500
"""How many things one reply lists: whoever makes it keeps the interpreter from others meanwhile."""


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


# --- their rows -------------------------------------------------------------------------------------------------------


def replies(rows: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Rows in lists that are not too long, at least one."""
    some: list[T] = []
    total = 0
    for row in rows:
        if len(some) == AT_ONCE or (some and total + size(row) > ROWS):
            yield some
            some, total = [], 0
        some.append(row)
        total += size(row)
    yield some


def netns_rows(status: NetnsStatus, *, details: bool) -> Iterator[NetnsRow]:
    """A namespace, in as many rows as its addresses take; with details, all of them and not only the missing ones."""
    addresses = [address for address in status.addresses if details or not address.is_present]
    last = status.last
    for start in range(0, len(addresses) or 1, ROWS):
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
            "addresses": [_address_row(address) for address in addresses[start : start + ROWS]],
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
