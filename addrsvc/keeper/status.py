"""How the kept namespaces are, as values that any thread may have."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from addrsvc.keeper.claim import SOMEBODY
from addrsvc.keeper.kept import LO, LOOPBACK, Kept, Key, Repair, key_text
from addrsvc.keeper.wanted import NOTHING, Lo, Loopback, Wanted

__all__ = ["AddressStatus", "Counts", "NetnsStatus", "Summary", "status_of", "what_lacks"]


class AddressStatus(NamedTuple):
    """One address that is wanted.

    Attributes:
        address: as text, with its prefix length.
        is_present: whether it is there.
        owner: whose it is: "kernel", "addrsvc", "foreign"; empty where it is not there.
        why_not: why it is not there; empty where it is.
        is_route: whether it is a local route.
    """

    address: str
    is_present: bool
    owner: str
    why_not: str
    is_route: bool = False


@dataclass(frozen=True, slots=True)
class NetnsStatus:
    """One namespace.  What is said of each address is found out by who wants to know it, in whichever thread.

    Attributes:
        label: what it is called.
        state: "kept", "missing" where something wanted is not there, "fighting", "claimed" where another service has
            it, "waiting" where it is not there.
        why: why it waits.
        wants: what is wanted of it.
        missing: what of that is not there, and why not.
        foreign: what of that somebody else has made.
        lo_up, mtu: of lo.
        last: the last repair.
        repairs, fights, lost: how many there were.
        aliases: its other names.
        withheld: what was withdrawn by command.
    """

    label: str
    state: str
    why: str = ""
    wants: Wanted = NOTHING
    missing: Mapping[Key, str] = field(default_factory=dict)
    foreign: Container[Key] = ()
    lo_up: bool = False
    mtu: int = 0
    last: Repair | None = None
    repairs: int = 0
    fights: int = 0
    lost: int = 0
    aliases: tuple[str, ...] = ()
    withheld: frozenset[Key] = frozenset()

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that it came from."""
        return self.wants.rules

    @property
    def addresses(self) -> tuple[AddressStatus, ...]:
        """All addresses that are wanted, ::1 first."""
        wanted = self.wants.addresses.items()
        found = [AddressStatus(key_text(key), *self._there(key), service.is_route) for key, service in wanted]
        return (self._loopback(), *found) if self.wants.loopback is Loopback.ENSURE else tuple(found)

    def _loopback(self) -> AddressStatus:
        is_present, owner, why_not = self._there(LOOPBACK)
        return AddressStatus(key_text(LOOPBACK), is_present, owner and "kernel", why_not)

    def _there(self, key: Key) -> tuple[bool, str, str]:
        why_not = self.missing.get(key, "")
        if why_not or self.state == "claimed":
            return False, "", why_not
        return True, "foreign" if key in self.foreign else "addrsvc", ""

    @property
    def wanted(self) -> int:
        """How many addresses are wanted."""
        return len(self.wants.addresses) + (self.wants.loopback is Loopback.ENSURE)

    @property
    def present(self) -> int:
        """How many of them are there."""
        if self.state == "claimed":
            return 0
        has_loopback = self.wants.loopback is Loopback.ENSURE
        lacking = (key in self.wants.addresses or (has_loopback and key == LOOPBACK) for key in self.missing)
        return self.wanted - sum(lacking)


class Counts(NamedTuple):
    """What was counted since the start.

    Attributes:
        repairs: how many there were, by cause.
        lost: how often messages were lost.
        fights: how many there were.
        drifts: how often a look found what no message had told.
        divergences: how often the kernel took an address for there that it does not list.
        watch: how namespaces are watched.
    """

    repairs: Mapping[str, int]
    lost: int
    fights: int
    drifts: int
    divergences: int
    watch: str


class Summary(NamedTuple):
    """The same in numbers, which are quick to find.

    Attributes:
        namespaces, waiting, fighting: how many are there, are not, and are fought about.
        wanted, present: how many addresses.
        lacking: the label of one that is not as it is wanted; None if there is none.
    """

    namespaces: int
    waiting: int
    fighting: int
    wanted: int
    present: int
    lacking: str | None


def status_of(kept: Kept, aliases: tuple[str, ...], withheld: frozenset[Key]) -> NetnsStatus:
    """How a namespace is, in the thread of the keeper."""
    return NetnsStatus(
        kept.label, _state(kept), "", kept.wanted, dict(kept.missing or ()), frozenset(kept.foreign or ()), kept.is_up,
        kept.mtu, kept.last, kept.repairs, kept.fights, kept.lost, aliases,
        withheld,
    )  # fmt: skip


def _state(kept: Kept) -> str:
    if not kept.is_claimed:
        return "claimed"
    if kept.is_fighting:
        return "fighting"
    return "kept" if kept.is_as_wanted else "missing"


def what_lacks(kept: Kept) -> str:
    """Why a namespace is not as it is wanted, in a line, and at the same cost however much there is missing."""
    if not kept.is_claimed:
        return SOMEBODY
    missing = kept.missing or {}
    if LO in missing:
        return missing[LO]
    if missing:
        key = LOOPBACK if LOOPBACK in missing else next(iter(missing))
        others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"{key_text(key)} is not there: {missing[key]}{others}"
    return "lo is down" if kept.wanted.lo is Lo.UP and not kept.is_up else "somebody undoes every repair"
