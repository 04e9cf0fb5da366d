"""Two kernels, one script: what each refuses, says and holds after every request, and where they part.

Order counts everywhere.  What two kernels cannot agree on for reasons that are nobody's behaviour is listed in
NORMALISATIONS, each with its reason, and nowhere else.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from types import TracebackType
from typing import Self

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, LinkMsg, Message, RouteMsg
from addrsvc.pytest_plugin.namespaces import create
from addrsvc.uapi import AF_INET6, IFF_NOARP, IFF_UP, INFINITY_LIFE_TIME, IPV6_MIN_MTU, RTM_NEWADDR
from tests.fidelity.notation import refusal, spelled

GRAIN = 10_000
"""Seconds.  Lifetimes are rounded up to a multiple: scripts use multiples, and no script runs that long."""
DAD_RESTART = 1.1
"""Seconds after which every address has been announced again: more than rtr_solicit_delay."""


# --- what is not compared -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Normalisation:
    what: str
    why: str
    of: Callable[[Message], Message]


def _without_stamps(msg: Message) -> Message:
    if isinstance(msg, AddrMsg) and msg.cacheinfo is not None:
        return replace(msg, cacheinfo=replace(msg.cacheinfo, cstamp=0, tstamp=0))
    if isinstance(msg, LinkMsg) and msg.inet6 is not None and (info := msg.inet6.cacheinfo) is not None:
        return replace(msg, inet6=replace(msg.inet6, cacheinfo=replace(info, tstamp=0)))
    return msg


def _without_counters(msg: Message) -> Message:
    if not isinstance(msg, LinkMsg):
        return msg
    inet6 = msg.inet6 and replace(msg.inet6, stats=_zeros(msg.inet6.stats), icmp6stats=_zeros(msg.inet6.icmp6stats))
    return replace(msg, stats64=_zeros(msg.stats64), stats=_zeros(msg.stats), inet6=inet6)


def _zeros(counters: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return counters and (0,) * len(counters)


def _without_reachable_time(msg: Message) -> Message:
    if isinstance(msg, LinkMsg) and msg.inet6 is not None and (info := msg.inet6.cacheinfo) is not None:
        return replace(msg, inet6=replace(msg.inet6, cacheinfo=replace(info, reachable_time=0)))
    return msg


def _coarse_lifetimes(msg: Message) -> Message:
    if isinstance(msg, AddrMsg) and (life := msg.cacheinfo) is not None:
        coarse = IfaCacheinfo(_coarse(life.ifa_prefered), _coarse(life.ifa_valid), life.cstamp, life.tstamp)
        return replace(msg, cacheinfo=coarse)
    return msg


def _coarse(seconds: int) -> int:
    return seconds if seconds == INFINITY_LIFE_TIME else -(-seconds // GRAIN) * GRAIN


def _coarse_expiry(msg: Message) -> Message:
    if isinstance(msg, RouteMsg) and (info := msg.cacheinfo) is not None and info.expires:
        return replace(msg, cacheinfo=replace(info, expires=max(-1, _coarse(info.expires // 100))))
    return msg


NORMALISATIONS = (
    Normalisation(
        "cstamp and tstamp of an address, and of the IPv6 half of a device",
        "hundredths of a second since boot: the two kernels did not boot together",
        _without_stamps,
    ),
    Normalisation(
        "counters of packets",
        "MLD reports of joined groups travel over lo at times drawn at random; without them there is no traffic",
        _without_counters,
    ),
    Normalisation(
        "reachable_time of the IPv6 half of a device",
        "drawn at random, and drawn again every five minutes",
        _without_reachable_time,
    ),
    Normalisation(
        "finite lifetimes of an address, to 10,000 s",
        "whole seconds that are left: the two kernels are not asked in the same instant",
        _coarse_lifetimes,
    ),
    Normalisation(
        "expiry of a route, to 10,000 s, and any time past as -1",
        "left over in hundredths of a second; the kernel's bogus expiry (REPLACE of a permanent address by a finite "
        "one) is an absolute number of jiffies since boot, read as if it were one left over",
        _coarse_expiry,
    ),
)
CHANCE = (
    "order between addresses after IFF_NOARP changed: each address is announced again after a delay that the kernel "
    "draws at random from 0..1 s; what is said of one address stays in order"
)


def normal(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages without what cannot be compared."""
    return tuple(map(_normal, messages))


def _normal(msg: Message) -> Message:
    for normalisation in NORMALISATIONS:
        msg = normalisation.of(msg)
    return msg


def by_address(messages: Sequence[Message]) -> tuple[Message, ...]:
    """CHANCE taken out: first what concerns no IPv6 address, then what concerns each."""
    return tuple(sorted(messages, key=_address_of))


def _address_of(msg: Message) -> bytes:
    match msg:
        case AddrMsg(ifa_family=family) if family == AF_INET6:
            return msg.local or msg.address or msg.anycast or b""
        case RouteMsg(rtm_family=family, rtm_dst_len=128) if family == AF_INET6:
            return msg.dst or b""
        case _:
            return b""


def is_chancy(ask: Message) -> bool:
    """Whether the request sets off announcements at random times."""
    return isinstance(ask, LinkMsg) and bool(_mask(ask) & IFF_NOARP)


def _mask(ask: LinkMsg) -> int:
    """The flags that a request is about: without a mask all of them, if there is any."""
    return ask.ifi_change or (0xFFFFFFFF if ask.ifi_flags else 0)


# --- what the running kernel leaves to chance -----------------------------------------------------------------------


@dataclass(frozen=True)
class Race:
    what: str
    why: str
    is_on: Callable[[LinkMsg, Sequence[Message]], bool]


def _up_with_a_small_mtu(ask: LinkMsg, holds: Sequence[Message]) -> bool:
    (link,) = (msg for msg in holds if isinstance(msg, LinkMsg))
    comes_up = bool(ask.ifi_flags & IFF_UP) and not link.ifi_flags & IFF_UP
    mtu = link.mtu if ask.mtu is None else ask.mtu
    return comes_up and (mtu or 0) < IPV6_MIN_MTU and bool(_addresses(holds))


def _addresses(holds: Sequence[Message]) -> list[AddrMsg]:
    """The IPv6 addresses of a dump."""
    ipv6 = (RTM_NEWADDR, AF_INET6)
    return [msg for msg in holds if isinstance(msg, AddrMsg) and (msg.nlmsg_type, msg.ifa_family) == ipv6]


RACES = (
    Race(
        "lo coming up with an mtu below 1280 while it holds kept addresses",
        "their DAD is queued and IPv6 taken down again in the same request; whether the work item has started by then "
        "is chance (2 in 5 times)",
        _up_with_a_small_mtu,
    ),
)


def is_a_race(ask: Message, holds: Sequence[Message]) -> bool:
    """Whether the running kernel itself has two answers to the request, so that there is nothing to compare."""
    return isinstance(ask, LinkMsg) and any(race.is_on(ask, holds) for race in RACES)


def ifname(holds: Sequence[Message]) -> str:
    """The name that the loopback device bears."""
    return next(msg.ifname for msg in holds if isinstance(msg, LinkMsg) and msg.ifname)


# --- one kernel -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What one kernel made of one request."""

    refused: str
    said: tuple[Message, ...]
    holds: tuple[Message, ...]

    def lines(self) -> list[str]:
        return [
            f"refused: {self.refused or 'no'}",
            "said:",
            *(f"  {spelled(msg)}" for msg in self.said),
            "holds:",
            *(f"  {spelled(msg)}" for msg in self.holds),
        ]


def _refused(request: Callable[[Message], None], ask: Message) -> str:
    try:
        request(ask)
    except KernelError as error:
        return refusal(error)
    return ""


class Model:
    """A fresh machine of the model, with a clock that follows ours."""

    def __init__(self) -> None:
        self._linux = Linux()
        self._net = self._linux.init_net
        self._watch = self._net.watch()
        self._now = time.monotonic()

    def do(self, ask: Message) -> Outcome:
        self._pass(max(0.0, time.monotonic() - self._now))  # after a wait for chance it is ahead
        refused = _refused(self._net.request, ask)
        if is_chancy(ask):
            self._pass(DAD_RESTART)
        return Outcome(refused, normal(self._watch), self.holds())

    def _pass(self, seconds: float) -> None:
        self._now += seconds
        self._linux.advance(seconds)

    def holds(self) -> tuple[Message, ...]:
        return normal(self._net.dump())


class Running:
    """A fresh namespace of the running kernel."""

    def __init__(self) -> None:
        with create("compared") as netns:
            self._kernel = RtnlKernel(netns)
        self._watch = self._kernel.watch()
        self._refused = ""
        self._said: list[Message] = []

    def ask(self, ask: Message) -> None:
        """Ask, and forget what was said before."""
        self._said.clear()
        self._refused = _refused(self._kernel.request, ask)

    def outcome(self, patience: float) -> Outcome:
        """What came of the request so far; `patience` is how long it has to be quiet."""
        self._watch.settle = patience
        self._said.extend(self._watch)
        return Outcome(self._refused, normal(self._said), normal(self._kernel.dump()))

    def close(self) -> None:
        self._watch.close()
        self._kernel.close()


# --- both -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Where the two kernels parted: the script up to the step, and what each made of that step."""

    script: tuple[Message, ...]
    model: Outcome
    running: Outcome

    def __str__(self) -> str:
        return "\n".join(
            (
                f"step {len(self.script)}: {spelled(self.script[-1])}",
                *unified_diff(self.running.lines(), self.model.lines(), "running kernel", "model", n=100, lineterm=""),
            )
        )


class Both:
    """The model and a namespace of the running kernel, both fresh, both asked the same.

    Attributes:
        script: every request so far.
        last: what the running kernel made of the last one, or held at the start.
    """

    def __init__(self) -> None:
        self.running = Running()
        self.model = Model()
        self.script: list[Message] = []
        self.last = self.running.outcome(0)

    def ask(self, ask: Message) -> Difference | None:
        """One request to both; None where they agree."""
        self.script.append(ask)
        self.running.ask(ask)
        model = self.model.do(ask)
        for patience in _PATIENCE[is_chancy(ask)]:
            self.last = self.running.outcome(patience)
            if _agree(model, self.last, chancy=is_chancy(ask)):
                return None
        return Difference(tuple(self.script), model, self.last)

    def close(self) -> None:
        self.running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


# The running kernel finishes in a work queue, or after a random time, what the model finishes at once.  So it is given
# the longer time only where it has not said everything yet; what it says too much shows in the next step at the latest.
# All of it is less than the second that a timer of DAD takes: what the kernel does by one is not done at once.
_PATIENCE = {False: (0.002, 0.02, 0.2, 0.3, 0.3), True: (0.005, *[0.1] * 10, DAD_RESTART)}


def _agree(model: Outcome, running: Outcome, *, chancy: bool) -> bool:
    if chancy:
        model, running = (replace(outcome, said=by_address(outcome.said)) for outcome in (model, running))
    return model == running


def first_difference(script: Iterable[Message]) -> Difference | None:
    """Run a script on both kernels, fresh; where they part first, or None."""
    with Both() as both:
        return next((difference for ask in script if (difference := both.ask(ask)) is not None), None)
