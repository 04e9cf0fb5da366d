"""What is wanted of a namespace's loopback device, as plain frozen values: what a configuration comes down to."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from addrsvc.uapi import INFINITY_LIFE_TIME

__all__ = ["FightLimits", "Lo", "Loopback", "NOTHING", "Reaction", "ServiceAddress", "Wanted"]


class Lo(StrEnum):
    """What to do about lo being down."""

    UP = "up"
    LEAVE = "leave"


class Loopback(StrEnum):
    """What to do about ::1."""

    ENSURE = "ensure"
    FORBID = "forbid"
    LEAVE = "leave"


class Reaction(StrEnum):
    """What to do where somebody else has removed an address."""

    HEAL = "heal"
    """Put it back at once."""
    YIELD_THEN_HEAL = "yield-then-heal"
    """Put it back unless it has come back by itself after a while."""
    REPORT = "report"
    """Only tell."""


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """An address that a rule wants on lo.

    Attributes:
        address: in network order, 4 or 16 bytes.
        prefixlen: 32 or 128; less only where `is_route`.
        metric: of the address's routes (IFA_RT_PRIORITY); 0 for the kernel's own choice.
        preferred_lft: seconds; 0 for a deprecated address, INFINITY_LIFE_TIME for ever.
        reaction: to its removal by somebody else.
        yield_for: with YIELD_THEN_HEAL, how many seconds to wait.
        drain: how many seconds, at most, its sockets have to end when it is withdrawn; 0 withdraws it at once.
        is_route: it is no address but a local route, whose cost does not grow with their number; binding to what it
            covers takes IPV6_FREEBIND.
    """

    address: bytes
    prefixlen: int
    metric: int = 0
    preferred_lft: int = INFINITY_LIFE_TIME
    reaction: Reaction = Reaction.HEAL
    yield_for: float = 1.0
    drain: float = 0.0
    is_route: bool = False


@dataclass(frozen=True, slots=True)
class FightLimits:
    """When a quarrel with somebody who undoes what we do becomes a fight, and how it is fought.

    Attributes:
        reversals: so many of them ...
        within: ... in so many seconds.
        first_wait: seconds before the first repair after that; each later one waits twice as long ...
        longest_wait: ... and never longer than so many seconds.
    """

    reversals: int = 20
    within: float = 10.0
    first_wait: float = 1.0
    longest_wait: float = 300.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of one namespace.  Namespaces to which the same rules apply share one object.

    Attributes:
        rules: the names of the rules that it came from.
        lo, loopback: what about lo, and what about ::1.
        loopback_reaction, loopback_yield_for: to ::1 being removed by somebody else.
        addresses: by (address, prefixlen).
        adopted: addresses of others, without our mark, that may be treated as ours.
        fights: the limits.
        is_fast_flush: dropping everything may be done by turning IPv6 off and on again.
        conflict: on what the rules for its several names do not agree, and which counts; empty where they do.
        has_routes: some of it are routes, of which nothing is heard in most namespaces.
    """

    rules: tuple[str, ...] = ()
    lo: Lo = Lo.UP
    loopback: Loopback = Loopback.ENSURE
    loopback_reaction: Reaction = Reaction.HEAL
    loopback_yield_for: float = 1.0
    addresses: Mapping[tuple[bytes, int], ServiceAddress] = field(default_factory=dict)
    adopted: frozenset[tuple[bytes, int]] = frozenset()
    fights: FightLimits = FightLimits()
    is_fast_flush: bool = False
    conflict: str = ""
    has_routes: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look once for what each message is asked about."""
        object.__setattr__(self, "has_routes", any(service.is_route for service in self.addresses.values()))

    def without(self, keys: Container[tuple[bytes, int]]) -> "Wanted":
        """The same without some addresses."""
        return replace(self, addresses={key: it for key, it in self.addresses.items() if key not in keys})

    def after(self, earlier: "Wanted") -> "Wanted":
        """The same, and of what it does not name what was wanted earlier."""
        return replace(self, addresses={**earlier.addresses, **self.addresses})

    def draining(self, seconds: float) -> "Wanted":
        """The same with so many seconds for the sockets of each address that is withdrawn."""
        return replace(self, addresses={key: replace(it, drain=seconds) for key, it in self.addresses.items()})


NOTHING: Final = Wanted(lo=Lo.LEAVE, loopback=Loopback.LEAVE)
"""Of a namespace that no rule names."""
