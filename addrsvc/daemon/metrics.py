"""What Prometheus is told, by prometheus-client, loaded only where the configuration asks for it.

Nothing is kept by namespace or address: what there is, is read from the keeper when it is asked for, so that series
vanish with their namespaces.  Their number is bounded by what is declared and watched, never by what others do, and
addresses beyond a number that the configuration names are told in sums only.  What is counted, is counted as it is
told, in the keeper's thread: a few nanoseconds an event.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeVar

from addrsvc import __version__
from addrsvc.daemon.asked import Asked, statuses
from addrsvc.errors import AddrsvcError
from addrsvc.keeper.events import VOCABULARY, Event
from addrsvc.keeper.status import AddressStatus, NetnsStatus

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["Exposition", "NoClient", "Scraped", "Tally", "scrape"]

T = TypeVar("T")
BUCKETS: Final = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 0.1, 0.5, 1.0)
"""Upper limits of how many seconds a repair took."""


class NoClient(AddrsvcError):
    """prometheus-client is not installed."""

    def __init__(self) -> None:
        super().__init__("metrics need prometheus-client: pip install 'addrsvc[metrics]'")


# --- what is counted --------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Tally:
    """Counts what is told, in the thread that tells it.

    Attributes:
        events: by word, those of the vocabulary that are more than messages of a kernel.
        repairs: by cause.
        buckets: repairs by how long they took; the last is what took longer than any of BUCKETS.
        seconds: how long all of them took.
    """

    events: dict[str, int] = field(
        default_factory=lambda: {name: 0 for name, word in VOCABULARY.items() if word.level != "debug"}
    )
    repairs: Counter[str] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def take(self, event: Event) -> None:
        """An event is told."""
        if event.name in self.events:
            self.events[event.name] += 1
            if event.name == "repair":
                self.repairs[str(event.fields.get("why"))] += 1
            elif event.name == "repaired":
                self._took(float(str(event.fields.get("us", 0))) / 1e6)

    def _took(self, seconds: float) -> None:
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def copy(self) -> "Tally":
        """What it is just now, for another thread."""
        return Tally(dict(self.events), Counter(self.repairs), list(self.buckets), self.seconds)


# --- what is read -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scraped:
    """All that a scrape tells.

    Attributes:
        namespaces: those that are there, and those that are waited for.
        tally: what was counted.
        lag: how many seconds the keeper took until it answered.
    """

    namespaces: Sequence[NetnsStatus]
    tally: Tally
    lag: float


def scrape(asked: Asked, tally: Tally) -> Scraped:
    """Read everything, some namespaces at a time."""
    import time

    began = time.monotonic()
    counted, labels, waiting = asked.ask(lambda keeper: (tally.copy(), [it.label for it in keeper], keeper.awaited()))
    lag = time.monotonic() - began
    missing = [NetnsStatus(label, "waiting", why) for label, why in waiting.items()]
    return Scraped([*statuses(asked, labels), *missing], counted, lag)


# --- what is told -----------------------------------------------------------------------------------------------------


class _Collector:
    """Makes series of what is read whenever somebody asks for them."""

    def __init__(self, asked: Asked, tally: Tally, most: int) -> None:
        self._asked = asked
        self._tally = tally
        self._most = most

    def collect(self) -> "Iterator[Metric]":
        """All series."""
        scraped = scrape(self._asked, self._tally)
        for family in _FAMILIES:
            yield family(scraped)
        yield from _addresses(scraped.namespaces, self._most)

    def describe(self) -> "Iterable[Metric]":
        """Nothing before it is asked for."""
        return ()


class Exposition:
    """What whoever asks for metrics is told.

    Args:
        asked: who is asked for the keeper.
        tally: what is counted.
        most: of how many addresses each is told by itself.

    Raises:
        NoClient: there is nothing to make series with.
    """

    def __init__(self, asked: Asked, tally: Tally, most: int) -> None:
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector
        except ImportError:
            raise NoClient from None
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(asked, tally, most))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All series of the service and of its process, in a form that is accepted; and the name of that form.

        Raises:
            AddrsvcError: nobody answers for the keeper any more.
        """
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


def _gauge(name: str, about: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], float]]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"addrsvc_{name}", about, labels=labels), rows)


def _counter(name: str, about: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], float]]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"addrsvc_{name}", about, labels=labels), rows)


_M = TypeVar("_M", bound="GaugeMetricFamily | CounterMetricFamily")


def _filled(family: _M, rows: Iterable[tuple[Sequence[str], float]]) -> _M:
    for values, number in rows:
        family.add_metric(_told(values), number)
    return family


def _told(values: Sequence[str]) -> list[str]:
    """Values of labels as they can be told: names of files may hold what is no text."""
    return [value.encode(errors="backslashreplace").decode() for value in values]


def _build(_: Scraped) -> "Metric":
    return _gauge("build_info", "Which version this is.", ["version"], [([__version__], 1)])


_STATES: Final = ("kept", "missing", "fighting", "claimed", "waiting")


def _namespaces(scraped: Scraped) -> "Metric":
    counts = Counter(it.state for it in scraped.namespaces)
    rows = [([state], counts[state]) for state in dict.fromkeys((*_STATES, *counts))]
    return _gauge("namespaces", "How many namespaces are in which state.", ["state"], rows)


def _wanted(scraped: Scraped) -> "Metric":
    rows = [([it.label], it.wanted) for it in scraped.namespaces if it.state != "waiting"]
    return _gauge("addresses_wanted", "How many addresses are wanted in a namespace.", ["netns"], rows)


def _present(scraped: Scraped) -> "Metric":
    rows = [([it.label], it.present) for it in scraped.namespaces if it.state != "waiting"]
    return _gauge("addresses_present", "How many of them are there.", ["netns"], rows)


def _aliases(scraped: Scraped) -> "Metric":
    rows = [((it.label, alias), 1) for it in scraped.namespaces for alias in it.aliases]
    return _gauge("alias", "That a namespace has another name, too.", ["netns", "alias"], rows)


def _repairs(scraped: Scraped) -> "Metric":
    rows = [([cause], number) for cause, number in scraped.tally.repairs.items()]
    return _counter("repairs", "Repairs that were begun, by cause.", ["cause"], rows)


def _repair_seconds(scraped: Scraped) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    tally = scraped.tally
    limits = [*map(str, BUCKETS), "+Inf"]
    family = HistogramMetricFamily("addrsvc_repair_seconds", "From hearing of it until the kernel's acknowledgement.")
    family.add_metric([], list(zip(limits, accumulate(tally.buckets), strict=True)), tally.seconds)
    return family


def _count_of(word: str, name: str, about: str) -> "Callable[[Scraped], Metric]":
    return lambda scraped: _counter(name, about, [], [([], scraped.tally.events[word])])


def _events(scraped: Scraped) -> "Metric":
    rows = [([word], number) for word, number in scraped.tally.events.items()]
    return _counter("events", "What the log tells, by word.", ["event"], rows)


def _lag(scraped: Scraped) -> "Metric":
    about = "How long the thread that repairs took until it answered."
    return _gauge("lag_seconds", about, [], [([], scraped.lag)])


# One row per family that is always there.
_FAMILIES: "Final[tuple[Callable[[Scraped], Metric], ...]]" = (
    _build,
    _namespaces,
    _aliases,
    _wanted,
    _present,
    _repairs,
    _repair_seconds,
    _count_of("lost", "lost_intervals", "Intervals in which a kernel said more than the buffer holds."),
    _count_of("fight", "fights", "Fights that have begun."),
    _count_of("drift", "drifts", "Looks that found what no message had told."),
    _count_of("divergence", "divergences", "Differences between the model and a kernel that cannot be mended."),
    _events,
    _lag,
)


def _addresses(namespaces: Sequence[NetnsStatus], most: int) -> "Iterator[Metric]":
    """Each address by itself, what is missing first; and how many are not told."""
    rows = [(it.label, address) for it in namespaces for address in it.addresses]
    told = sorted(rows, key=lambda row: row[1].is_present)[:most]
    labels = ("netns", "address")
    yield _gauge("address_wanted", "That an address is wanted.", labels, [(_named(*row), 1) for row in told])
    yield _gauge("address_present", "Whether it is there.", labels, [(_named(*row), row[1].is_present) for row in told])
    owners = [((*_named(*row), row[1].owner), 1) for row in told if row[1].is_present]
    yield _gauge("address_owner", "Whose it is: the kernel's, ours, or somebody else's.", (*labels, "owner"), owners)
    untold = len(rows) - len(told)
    yield _gauge("addresses_untold", "How many addresses are told in sums only.", [], [([], untold)])


def _named(netns: str, address: AddressStatus) -> tuple[str, str]:
    return netns, address.address
