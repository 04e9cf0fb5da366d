"""Which rules are about a namespace, and what they come down to."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from fnmatch import translate
from functools import lru_cache
from itertools import chain
from typing import TypeVar

from addrsvc.keeper.addresses import Prefix
from addrsvc.keeper.places import Place
from addrsvc.keeper.settings import Address, Fights, Rule
from addrsvc.keeper.wanted import FightLimits, Lo, Loopback, ServiceAddress, Wanted

__all__ = ["is_about", "wanted"]

T = TypeVar("T")


def is_about(rule: Rule, name: str, *, is_host: bool = False) -> bool:
    """Whether a rule counts for the namespace of that name.

    Where that is the host's, by whichever name, no glob means it: a rule for containers is none for their host.
    """
    place = Place.of(name)
    return rule.enabled and any(_means(selector, place, is_host=is_host) for selector in rule.namespaces)


def _means(selector: str, place: Place, *, is_host: bool) -> bool:
    directory, is_name, is_glob = _meaning(selector)
    return directory == place.directory and is_name(place.name) is not None and not (is_glob and is_host)


@lru_cache(maxsize=4096)
def _meaning(selector: str) -> tuple[str, Callable[[str], re.Match[str] | None], bool]:
    """Where what it means is, what tells whether a name there is meant, and whether that may be several."""
    place = Place.of(selector)
    return place.directory, re.compile(translate(place.name)).match, place.is_glob


def _laid(under: T, over: T) -> T:
    """One of a kind over another: what the upper one says counts."""
    values = {it.name: getattr(over, it.name) for it in fields(over)}  # type: ignore[arg-type]
    return replace(under, **{name: value for name, value in values.items() if value is not None})  # type: ignore[type-var]


def wanted(rules: Sequence[Rule], groups: Sequence[tuple[int, ...]]) -> Wanted:
    """What is wanted where some of these rules count, by number: a group of them for each name of the namespace.

    All of them are laid over one another in order: what a later one says counts.  Addresses are laid over one another
    by address, and what is adopted adds up.  Only then do the reaction, yield_for and drain that are left hold for
    whatever has none of its own.  To leave something alone is no wish: by another name it may be wanted all the same.
    """
    whole = _laid_over(rules, groups)
    if len(groups) == 1:
        return whole
    by_name = [(group, _laid_over(rules, [group])) for group in groups]
    caring = [group for group, it in by_name if it.loopback is not Loopback.LEAVE]
    loopback = _laid_over(rules, caring).loopback if caring else Loopback.LEAVE
    lo = Lo.UP if any(it.lo is Lo.UP for _, it in by_name) else Lo.LEAVE
    return replace(whole, lo=lo, loopback=loopback, conflict=_conflict([it for _, it in by_name], loopback))


def _conflict(by_name: Sequence[Wanted], loopback: Loopback) -> str:
    wanting, forbidding = (
        ", ".join(dict.fromkeys(chain(*(it.rules for it in by_name if it.loopback is wish))))
        for wish in (Loopback.ENSURE, Loopback.FORBID)
    )
    if not (wanting and forbidding):
        return ""
    verdict = f'loopback = "{loopback}" counts, as the last rule that says anything of it'
    return f"::1 is wanted by one name (rules: {wanting}) and forbidden by another (rules: {forbidding}); {verdict}"


def _laid_over(rules: Sequence[Rule], groups: Iterable[tuple[int, ...]]) -> Wanted:
    some = [rules[number] for number in sorted({*chain(*groups)})]
    return _wanted(tuple(rule.name for rule in some), _combined(some))


def _combined(rules: Sequence[Rule]) -> Rule:
    found, *more = rules
    for rule in more:
        found = replace(
            _laid(found, rule),
            addresses=_by_address(found.addresses, rule.addresses),
            adopt=tuple(dict.fromkeys([*(found.adopt or ()), *(rule.adopt or ())])),
            fights=_laid(found.fights or Fights(), rule.fights or Fights()),
        )
    return found


def _by_address(under: Iterable[Address] | None, over: Iterable[Address] | None) -> tuple[Address, ...]:
    found = {it.address: it for it in under or ()}
    for it in over or ():
        found[it.address] = _laid(found[it.address], it) if it.address in found else it
    return tuple(found.values())


def _wanted(names: tuple[str, ...], rule: Rule) -> Wanted:
    usual = Wanted()
    return Wanted(
        names,
        _or(rule.lo, usual.lo),
        _or(rule.loopback, usual.loopback),
        _or(rule.loopback_reaction, _or(rule.reaction, usual.loopback_reaction)),
        _or(rule.loopback_yield_for, _or(rule.yield_for, usual.loopback_yield_for)),
        {_pair(it.address): _service_address(it, rule) for it in rule.addresses or ()},
        frozenset(map(_pair, rule.adopt or ())),
        _limits(rule.fights or Fights()),
        _or(rule.fast_flush, usual.is_fast_flush),
    )


def _pair(prefix: Prefix) -> tuple[bytes, int]:
    return prefix.address, prefix.prefixlen


def _service_address(it: Address, rule: Rule) -> ServiceAddress:
    usual = ServiceAddress(*it.address)
    return ServiceAddress(
        *it.address,
        _or(it.metric, usual.metric),
        _or(it.preferred_lft, usual.preferred_lft),
        _or(it.reaction, _or(rule.reaction, usual.reaction)),
        _or(it.yield_for, _or(rule.yield_for, usual.yield_for)),
        _or(it.drain, _or(rule.drain, usual.drain)),
        _or(it.route, usual.is_route),
    )


def _limits(fights: Fights) -> FightLimits:
    usual = FightLimits()
    first = _or(fights.first_wait, usual.first_wait)
    return FightLimits(
        _or(fights.reversals, usual.reversals),
        _or(fights.within, usual.within),
        first,
        max(first, _or(fights.longest_wait, usual.longest_wait)),
    )


def _or(said: T | None, usual: T) -> T:
    return usual if said is None else said
