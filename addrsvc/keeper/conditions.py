"""What one may wait for: conditions in words, and whether they hold.

Each is looked at in the keeper's thread, as often as something is told, and costs no more than a look into a table or,
for an IPv6 address that no rule is about, one question to a kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from addrsvc.errors import ControlError
from addrsvc.keeper.addresses import read_prefix
from addrsvc.keeper.forms import FORMS
from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.kept import LOOPBACK, Kept, Key, key_text
from addrsvc.keeper.kinds import Wrong, near
from addrsvc.keeper.messages import IN6ADDR_SIZE
from addrsvc.keeper.places import HOST, Place
from addrsvc.keeper.status import what_lacks
from addrsvc.keeper.wanted import Loopback

__all__ = ["AddressIs", "AllWanted", "Condition", "LoIs", "NetnsIs", "condition_of", "key_of"]


@dataclass(frozen=True, slots=True)
class AddressIs:
    """An address is on a namespace's lo, or is not."""

    netns: str
    key: Key
    is_there: bool

    def why_not(self, keeper: Keeper) -> str:
        """Why it does not hold; empty where it does."""
        kept = keeper.get(self.netns)
        if kept is None or not kept.is_claimed:
            return _not_kept(keeper, self.netns)
        why = _why_missing(kept, self.key)
        if self.is_there:
            return why and f"{key_text(self.key)} is not on lo in {self.netns}: {why}"
        return "" if why else f"{key_text(self.key)} is on lo in {self.netns}"


@dataclass(frozen=True, slots=True)
class LoIs:
    """A namespace's lo is up, or down."""

    netns: str
    is_up: bool

    def why_not(self, keeper: Keeper) -> str:
        """Why it does not hold; empty where it does."""
        kept = keeper.get(self.netns)
        if kept is None:
            return _not_kept(keeper, self.netns)
        return "" if kept.is_up == self.is_up else f"lo is {'up' if kept.is_up else 'down'} in {self.netns}"


@dataclass(frozen=True, slots=True)
class NetnsIs:
    """A namespace is kept, or is not."""

    netns: str
    is_there: bool

    def why_not(self, keeper: Keeper) -> str:
        """Why it does not hold; empty where it does."""
        kept = keeper.get(self.netns)
        if not self.is_there:
            return "" if kept is None else f"{self.netns} is there"
        return "" if kept is not None and kept.is_claimed else _not_kept(keeper, self.netns)


@dataclass(frozen=True, slots=True)
class AllWanted:
    """All that is wanted is there, in one namespace or in all that are kept."""

    netns: str = ""

    def why_not(self, keeper: Keeper) -> str:
        """Why it does not hold; empty where it does."""
        label = self.netns or keeper.summary().lacking
        if label is None:
            return ""
        kept = keeper.get(label)
        if kept is None:
            return _not_kept(keeper, label)
        return "" if kept.is_as_wanted else f"{label}: {what_lacks(kept)}"


Condition: TypeAlias = AddressIs | LoIs | NetnsIs | AllWanted


def _not_kept(keeper: Keeper, netns: str) -> str:
    if keeper.get(netns) is not None:
        return f"another service keeps {netns}"
    return f"{netns} is not kept: {keeper.awaited().get(netns, 'no rule is about it, or it is not there')}"


def _why_missing(kept: Kept, key: Key) -> str:
    """Why an address is not there; empty where it is."""
    is_kept = key in kept.wanted.addresses or (key == LOOPBACK and kept.wanted.loopback is Loopback.ENSURE)
    if is_kept:
        return (kept.missing or {}).get(key, "")
    if len(key[0]) != IN6ADDR_SIZE:
        return "no rule wants it there"
    try:
        return "" if kept.requests.has(key[0]) else "no rule wants it there"
    except OSError as error:
        return str(error)


# --- in words ---------------------------------------------------------------------------------------------------------


def condition_of(text: str) -> Condition:
    """A condition by its words.

    Raises:
        ControlError: they are none; the text says which there are.
    """
    words = text.split()
    rest, where = words, HOST
    if len(words) > 1 and words[-2] == "in":
        rest, where = words[:-2], _netns(words[-1])
    match rest:
        case ["all", "wanted"]:
            return AllWanted(where if rest is not words else "")
        case ["lo", "up" | "down" as word]:
            return LoIs(where, is_up=word == "up")
        case [address, "on", "lo"]:
            return AddressIs(where, key_of(address), is_there=True)
        case [address, "not", "on", "lo"]:
            return AddressIs(where, key_of(address), is_there=False)
        case [netns, "attached" | "gone" as word] if rest is words:
            return NetnsIs(_netns(netns), is_there=word == "attached")
    raise ControlError(f"condition: {text!r} is none{_meant(words)}; there are: {'; '.join(FORMS)}")


def _netns(text: str) -> str:
    place = Place.of(text)
    if place.is_glob:
        raise ControlError(f"condition: {text!r} may mean several namespaces; name one, or say: all wanted")
    return place.label


def key_of(text: str) -> Key:
    """An address by its text, whole unless the length of a prefix stands behind it.

    Raises:
        ControlError: it is none.
    """
    try:
        address, prefixlen = read_prefix(text)
    except Wrong as wrong:
        raise ControlError(str(wrong)) from None
    return address, prefixlen


_WORDS: Final = ("on", "not", "lo", "up", "down", "in", "all", "wanted", "attached", "gone")


def _meant(words: Sequence[str]) -> str:
    """What may have been meant by the first word that is none of ours and looks like one."""
    return next((meant for word in words if word not in _WORDS and (meant := near(word, _WORDS))), "")
