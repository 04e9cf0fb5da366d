"""How the kept namespaces are, as values that any thread may have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from addrsvc.keeper.kept import LOOPBACK, Kept, Repair, key_text
from addrsvc.keeper.wanted import Loopback

__all__ = ["AddressStatus", "Counts", "NetnsStatus", "Snapshot", "Summary", "status_of"]


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
    """One namespace.

    Attributes:
        label: what it is called.
        state: "kept", "missing" where something wanted is not there, "fighting", "claimed" where another service has
            it, "waiting" where it is not there.
        why: why it waits.
        rules: the rules that it came from.
        lo_up, mtu: of lo.
        addresses: all that are wanted, ::1 first.
        last: the last repair.
        repairs, fights, lost: how many there were.
    """

    label: str
    state: str
    why: str = ""
    rules: tuple[str, ...] = ()
    lo_up: bool = False
    mtu: int = 0
    addresses: tuple[AddressStatus, ...] = ()
    last: Repair | None = None
    repairs: int = 0
    fights: int = 0
    lost: int = 0
    aliases: tuple[str, ...] = ()

    @property
    def wanted(self) -> int:
        """How many addresses are wanted."""
        return len(self.addresses)

    @property
    def present(self) -> int:
        """How many of them are there."""
        return sum(address.is_present for address in self.addresses)

    @property
    def is_as_wanted(self) -> bool:
        """Whether nothing is missing."""
        return self.state == "kept"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All namespaces at one moment.

    Attributes:
        namespaces: those that are there, and those that are waited for.
        repairs: how many repairs there were, by cause.
        lost: how often messages were lost.
        fights: how many fights there were.
        divergences: how often a look found what no message had told.
        lag: how many seconds a call had to wait for its turn in the keeper's thread.
        watch: how namespaces are watched.
    """

    namespaces: tuple[NetnsStatus, ...]
    repairs: Mapping[str, int]
    lost: int
    fights: int
    divergences: int
    lag: float
    watch: str

    @property
    def is_as_wanted(self) -> bool:
        """Whether nothing is missing in any namespace that is there."""
        return all(status.is_as_wanted for status in self.namespaces if status.state != "waiting")


class Counts(NamedTuple):
    """What was counted since the start.

    Attributes:
        repairs, lost, fights, divergences: as in `Snapshot`.
        watch: how namespaces are watched.
    """

    repairs: Mapping[str, int]
    lost: int
    fights: int
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


def status_of(kept: Kept, aliases: tuple[str, ...] = ()) -> NetnsStatus:
    """How a namespace is."""
    wanted = kept.wanted
    addresses = [_loopback(kept)] if wanted.loopback is Loopback.ENSURE else []
    addresses += [
        AddressStatus(key_text(key), *_there(kept, key), service.is_route) for key, service in wanted.addresses.items()
    ]
    return NetnsStatus(
        kept.label, _state(kept), "", wanted.rules, kept.is_up, kept.mtu, tuple(addresses), kept.last, kept.repairs,
        kept.fights, kept.lost, aliases,
    )  # fmt: skip


def _state(kept: Kept) -> str:
    if not kept.is_claimed:
        return "claimed"
    if kept.is_fighting:
        return "fighting"
    return "kept" if kept.is_as_wanted else "missing"


def _loopback(kept: Kept) -> AddressStatus:
    is_present, owner, why_not = _there(kept, LOOPBACK)
    return AddressStatus(key_text(LOOPBACK), is_present, owner and "kernel", why_not)


def _there(kept: Kept, key: tuple[bytes, int]) -> tuple[bool, str, str]:
    why_not = (kept.missing or {}).get(key, "")
    if why_not or not kept.is_claimed:
        return False, "", why_not
    return True, "foreign" if key in (kept.foreign or ()) else "addrsvc", ""
