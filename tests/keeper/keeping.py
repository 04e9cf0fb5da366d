"""A keeper in the thread of the test: namespaces are handed to it, time passes as the test turns its loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from addrsvc.keeper.events import Event, Ring
from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.kept import Kept
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.status import NetnsStatus
from addrsvc.keeper.wanted import ServiceAddress, Wanted
from addrsvc.keeper.watch import AutoWatch, Hearer, Watch
from addrsvc.mirror.netns import NetNs
from tests.waiting import until

MakeWatch = Callable[[Loop, Hearer[Kept]], Watch[Kept]]
LABEL = "blue"


@dataclass
class Rules:
    """The same is wanted of every namespace, unless one is named; none is looked for."""

    usual: Wanted | None
    by_label: dict[str, Wanted | None] = field(default_factory=dict)

    def selectors(self) -> tuple[str, ...]:
        return ()

    def wanted(self, *names: str) -> Wanted | None:
        return self.by_label.get(names[0], self.usual)


def turn_until(loop: Loop, condition: Callable[[], object], *, seen: Callable[[], object] | None = None) -> None:
    """Turn a loop until something is so."""
    until(condition, pause=partial(loop.turn, 0.01), seen=seen)


class Keeping:
    """A keeper with its loop and ring, and what it has told since the last look."""

    def __init__(self, wanted: Wanted | None, *, sweep: float = 0.0, make_watch: MakeWatch = AutoWatch) -> None:
        self.loop = Loop()
        self.ring = Ring()
        self.keeper = Keeper(self.loop, self.ring, Rules(wanted), sweep=sweep, make_watch=make_watch)
        self.keeper.start()
        self._cursor = self.ring.next

    def close(self) -> None:
        self.keeper.close()
        self.loop.close()

    def found(self, netns: NetNs, label: str = LABEL) -> None:
        self.keeper.found(label, netns.fileno())

    def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop until something is so."""
        turn_until(self.loop, condition, seen=lambda: [tuple(event)[2:] for event in self.ring.since(0)[0]])

    def until_told(self, name: str, **fields: object) -> Event:
        """Turn the loop until such an event is told, and go on behind it."""
        found: list[Event] = []

        def is_told() -> bool:
            for event in self.ring.since(self._cursor)[0]:
                if event.name == name and fields.items() <= dict(event.fields).items():
                    self._cursor = event.seq + 1
                    found.append(event)
                    return True
            return False

        self.until(is_told)
        return found[0]

    def statuses(self) -> list[NetnsStatus]:
        """How all namespaces are, those that are waited for last."""
        waiting = [NetnsStatus(label, "waiting", why) for label, why in self.keeper.awaited().items()]
        return [*(self.keeper.status(kept.label) for kept in self.keeper), *waiting]

    @property
    def is_as_wanted(self) -> bool:
        """Whether nothing is missing in any namespace that is there."""
        return self.keeper.summary().lacking is None

    def want(self, wanted: Wanted | None) -> None:
        """Put other rules in force."""
        self.keeper.reconfigure(Rules(wanted))

    def quiet(self) -> None:
        """Turn the loop until nothing is ready any more."""
        before = -1
        while before != self.ring.next:
            before = self.ring.next
            for _ in range(3):
                self.loop.turn(0.001)

    def skip(self) -> None:
        """Let `until_told` pass by what was told until now."""
        self._cursor = self.ring.next

    def told(self, *names: str) -> list[Event]:
        """All events of these names that were ever told."""
        return [event for event in self.ring.since(0, 1 << 20)[0] if event.name in names]


@contextmanager
def keeping(
    netns: NetNs | None, wanted: Wanted | None, *, sweep: float = 0.0, make_watch: MakeWatch = AutoWatch
) -> Iterator[Keeping]:
    """Keep a namespace while the block runs."""
    kept = Keeping(wanted, sweep=sweep, make_watch=make_watch)
    try:
        if netns is not None:
            kept.found(netns)
            kept.quiet()
            kept.skip()
        yield kept
    finally:
        kept.close()


def service(text: str, **values: object) -> tuple[tuple[bytes, int], ServiceAddress]:
    """A service address by its text."""
    from socket import AF_INET, AF_INET6, inet_pton

    address, _, length = text.partition("/")
    packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    prefixlen = int(length or len(packed) * 8)
    return (packed, prefixlen), ServiceAddress(packed, prefixlen, **values)  # type: ignore[arg-type]
