"""A namespace against what is wanted of it: pure values in, the steps that mend it out.

The rules are few.  What is missing is added, ::1 by the recipe closest to the kernel's own.  What carries our mark is
changed where it differs, and taken away where nobody wants it any more.  What somebody else has made is theirs: it
serves where it is wanted, and is never changed.
"""

from collections.abc import Container, Iterator, Sequence
from typing import Final, NamedTuple

from addrsvc.keeper.dump import Addresses, Present, Route
from addrsvc.keeper.kept import LOOPBACK, Key
from addrsvc.keeper.messages import (
    DELETE_LOOPBACK,
    IN6ADDR_SIZE,
    RESTORE_LOOPBACK,
    deladdr,
    delroute,
    newaddr,
    newroute,
)
from addrsvc.keeper.rtnl import ready
from addrsvc.keeper.wanted import Loopback, ServiceAddress, Wanted
from addrsvc.uapi import IFA_F_NOPREFIXROUTE, IFAPROT_ADDRSVC, INFINITY_LIFE_TIME

__all__ = [
    "add", "ADD", "change", "CHANGE", "DELETE", "DELETE_ROUTE", "differing", "FORBID", "FORBIDDEN", "forbidden",
    "foreign", "is_ours", "LO_UP_RECIPE", "missing", "RESTORE", "RESTORED", "ROUTE", "Step", "surplus",
    "surplus_routes",
]  # fmt: skip


LO_UP_RECIPE: Final = "lo up"
RESTORE: Final = "restore ::1"
ADD: Final = "add"
CHANGE: Final = "change"
DELETE: Final = "delete"
DELETE_ROUTE: Final = "delete route"
FORBID: Final = "forbid ::1"
ROUTE: Final = "add route"


class Step(NamedTuple):
    """One request, what it is about, and the recipe that it belongs to."""

    key: Key
    recipe: str
    message: bytes

    @property
    def wire(self) -> bytes:
        """The request, ready to be sent alone."""
        return ready(self.message)


RESTORED: Final = Step(LOOPBACK, RESTORE, RESTORE_LOOPBACK)
FORBIDDEN: Final = Step(LOOPBACK, FORBID, DELETE_LOOPBACK)


def add(key: Key, service: ServiceAddress | None) -> Step:
    """What brings an address that is not there; ::1 where no service address is given."""
    if service is None:
        return RESTORED
    if service.is_route:
        return Step(key, ROUTE, newroute(*key, metric=service.metric))
    return Step(key, ADD, newaddr(key[0], metric=service.metric, preferred_lft=service.preferred_lft))


def missing(wanted: Wanted, present: Addresses, routes: Container[Route]) -> Iterator[Step]:
    """What is wanted and is not there."""
    if wanted.loopback is Loopback.ENSURE and LOOPBACK not in present:
        yield add(LOOPBACK, None)
    for key, service in wanted.addresses.items():
        is_there = Route(*key, service.metric) in routes if service.is_route else key in present
        if not is_there:
            yield add(key, service)


def differing(wanted: Wanted, present: Addresses, ours: Container[Key]) -> Iterator[Step]:
    """What is ours, and is not as it is wanted."""
    for key in wanted.addresses:
        if key in present and (step := change(wanted, key, present[key], ours)) is not None:
            yield step


def change(wanted: Wanted, key: Key, seen: Present, ours: Container[Key]) -> Step | None:
    """What makes an address that is there as it is wanted, if it is ours and differs."""
    service = wanted.addresses.get(key)
    if service is None or service.is_route or not is_ours(key, seen, wanted, ours) or _is_alike(service, seen):
        return None
    message = newaddr(key[0], metric=service.metric, preferred_lft=service.preferred_lft, replace=True)
    return Step(key, CHANGE, message)


def surplus(wanted: Wanted, present: Addresses, ours: Container[Key]) -> Iterator[Step]:
    """What is ours, and wanted no more."""
    for key, seen in present.items():
        if key != LOOPBACK and key not in wanted.addresses and is_ours(key, seen, wanted, ours):
            yield Step(key, DELETE, deladdr(*key))


def forbidden(wanted: Wanted, present: Container[Key]) -> Step | None:
    """What takes ::1 away, where it is forbidden and there."""
    return FORBIDDEN if wanted.loopback is Loopback.FORBID and LOOPBACK in present else None


def foreign(wanted: Wanted, present: Addresses, ours: Container[Key]) -> list[Key]:
    """What is wanted, and somebody else has made."""
    there = ((key, present[key]) for key in wanted.addresses if key in present)
    return [key for key, seen in there if not is_ours(key, seen, wanted, ours)]


def surplus_routes(wanted: Wanted, routes: Sequence[Route]) -> Iterator[Step]:
    """Which routes of ours are wanted no more."""
    for route in routes:
        service = wanted.addresses.get((route.prefix, route.prefixlen))
        if service is None or not service.is_route:
            yield Step((route.prefix, route.prefixlen), DELETE_ROUTE, delroute(*route[:2], metric=route.metric))


def is_ours(key: Key, seen: Present, wanted: Wanted, ours: Container[Key]) -> bool:
    """Whether an address may be changed and taken away: by its mark, by a rule, or because we remember making it."""
    return seen.proto == IFAPROT_ADDRSVC or key in wanted.adopted or key in ours


def _is_alike(service: ServiceAddress, seen: Present) -> bool:
    """Whether metric and preferred lifetime are as wanted; a lifetime that ends runs down by itself.

    An IPv4 address that is valid for ever is deprecated or not: a kernel takes no notice of a time in between.
    """
    if _metric(service.address, service.metric, has_route=service.metric > 0) != _metric(
        service.address, seen.metric, has_route=not seen.flags & IFA_F_NOPREFIXROUTE
    ):
        return False
    if len(service.address) != IN6ADDR_SIZE:
        return (service.preferred_lft == 0) == (seen.preferred_lft == 0)
    if INFINITY_LIFE_TIME in (service.preferred_lft, seen.preferred_lft):
        return service.preferred_lft == seen.preferred_lft
    return seen.preferred_lft <= service.preferred_lft


def _metric(address: bytes, metric: int, *, has_route: bool) -> int | None:
    """The metric of an address's route; None where it has no route, whatever metric the kernel remembers."""
    return None if len(address) == IN6ADDR_SIZE and not has_route else metric
