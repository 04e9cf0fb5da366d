"""The trace: a bounded ring of what happened, off until somebody turns it on, told as a nested story afterwards.

Recording is one append of an object that exists anyway; everything else waits until the story is asked for.  Into the
ring go, in the order in which they happened:

- ``(chain, val, v, blocks)``: a walk of a notifier chain begins, which will call these blocks in this order,
- ``(block,)``: the block that runs next, where the blocks told at the beginning no longer hold,
- the return value of the block that ran,
- `CHAIN_LEFT` or `CHAIN_RAISED`: the walk is over,
- anything else: an effect or a tracepoint, recorded by whoever caused it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, cast
from weakref import WeakSet

__all__ = [
    "CHAIN_LEFT", "CHAIN_RAISED", "CallbackRan", "ChainEntered", "ChainLeft", "Recorded", "StoryEntry", "Trace",
    "Tracepoint",
]  # fmt: skip


class Named(Protocol):
    """What the story calls by its name."""

    @property
    def name(self) -> str:
        """As the kernel's variable or function is called."""


class Block(Named, Protocol):
    """What the story wants to know of a notifier block."""

    priority: int


class Chain(Named, Protocol):
    """What the trace wants of a notifier chain."""

    def retrace(self) -> None:
        """Heed that the trace was turned on or off."""


WalkBegins: TypeAlias = tuple[Named, int, object, tuple[Block, ...]]
BlockRuns: TypeAlias = tuple[Block]


class _Ending:
    """How a walk ended; only its identity counts."""

    __slots__ = ()


CHAIN_LEFT: Final = _Ending()
CHAIN_RAISED: Final = _Ending()


@dataclass(frozen=True, slots=True)
class Tracepoint:
    """A tracepoint that was hit, printed as the kernel prints it: ``notifier_register: addrconf_notify``."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


@dataclass(frozen=True, slots=True)
class ChainEntered:
    """A chain is called with an event."""

    depth: int
    chain: str
    val: int
    v: object


@dataclass(frozen=True, slots=True)
class CallbackRan:
    """A block of the chain was called; printed as the kernel's tracepoint notifier:notifier_run prints it."""

    depth: int
    name: str
    priority: int
    ret: int | None
    """What it returned; None if it raised, or is still running."""

    def __str__(self) -> str:
        return f"notifier_run: {self.name}"


@dataclass(frozen=True, slots=True)
class Recorded:
    """An effect or a tracepoint, at the place where it happened."""

    depth: int
    what: object


@dataclass(frozen=True, slots=True)
class ChainLeft:
    """A chain's walk is over."""

    depth: int
    chain: str
    ret: int | None
    """What the chain returned; None if a callback raised."""


StoryEntry: TypeAlias = ChainEntered | CallbackRan | Recorded | ChainLeft


class Trace:
    """A ring of at most `maxlen` records; the oldest are lost first.

    Attributes:
        ring: the records, oldest first.
        recording: what `on` says, for those who ask at every packet; it is set there.
        chains: the chains whose walks are recorded here.  Each is told when the trace is turned on or off, so that a
            walk need not ask.
    """

    __slots__ = ("chains", "recording", "ring")

    def __init__(self, maxlen: int = 65536) -> None:
        self.recording = False
        self.ring: Final[deque[object]] = deque(maxlen=maxlen)
        self.chains: Final[WeakSet[Chain]] = WeakSet()

    @property
    def on(self) -> bool:
        """Whether anything is recorded.  A walk that is under way goes on as it began."""
        return self.recording

    @on.setter
    def on(self, on: bool) -> None:
        self.recording = on
        for chain in self.chains:
            chain.retrace()

    def record(self, what: object) -> None:
        """Add one record if the trace is on.  Ours."""
        if self.recording:
            self.ring.append(what)

    def hit(self, name: str, text: str) -> None:
        """Record that the tracepoint `name` was hit, if the trace is on.  Ours."""
        if self.recording:
            self.ring.append(Tracepoint(name, text))

    def clear(self) -> None:
        """Forget all records.  Ours."""
        self.ring.clear()

    def story(self) -> Iterator[StoryEntry]:
        """Yield what the ring holds, oldest first; each callback comes before what it caused, one level up.  Ours.

        Of walks whose beginning the ring has lost only the effects are told, at the depth that can still be seen.
        """
        return iter(_tell(self.ring))


class _Walk:
    """One walk as the story follows it: where it stands, and where in the story its running callback is told."""

    __slots__ = ("blocks", "chain", "ran", "ret", "running", "told_at")

    def __init__(self, chain: Named, blocks: tuple[Block, ...]) -> None:
        self.chain = chain
        self.blocks = blocks
        self.ran = 0
        self.ret = 0
        self.running: Block | None = None
        self.told_at = 0


class _Teller:
    """Turns records into a story.  Between two return values of a walk exactly one callback has run."""

    def __init__(self) -> None:
        self.story: list[StoryEntry] = []
        self.walks: list[_Walk] = []

    @property
    def depth(self) -> int:
        return 2 * len(self.walks)

    def enter(self, chain: Named, val: int, v: object, blocks: tuple[Block, ...]) -> None:
        self.run_expected()
        self.story.append(ChainEntered(self.depth, chain.name, val, v))
        self.walks.append(_Walk(chain, blocks))

    def run_expected(self) -> None:
        """Something happened inside the innermost walk: the callback whose turn it was is running."""
        if not self.walks:
            return
        walk = self.walks[-1]
        if walk.running is None and walk.ran < len(walk.blocks):
            self.run(walk.blocks[walk.ran])

    def run(self, block: Block) -> None:
        if not self.walks:
            return
        walk = self.walks[-1]
        walk.running, walk.told_at = block, len(self.story)
        self.story.append(CallbackRan(self.depth - 1, block.name, block.priority, None))

    def returned(self, ret: int) -> None:
        self.run_expected()
        if not self.walks or (block := self.walks[-1].running) is None:
            return
        walk = self.walks[-1]
        self.story[walk.told_at] = CallbackRan(self.depth - 1, block.name, block.priority, ret)
        walk.running, walk.ret, walk.ran = None, ret, walk.ran + 1

    def leave(self, *, raised: bool) -> None:
        if raised:
            self.run_expected()
        if self.walks:
            walk = self.walks.pop()
            self.story.append(ChainLeft(self.depth, walk.chain.name, None if raised else walk.ret))

    def happened(self, what: object) -> None:
        self.run_expected()
        self.story.append(Recorded(self.depth, what))


def _tell(ring: Iterable[object]) -> list[StoryEntry]:
    teller = _Teller()
    for record in ring:
        match record:
            case (_, _, _, _):
                teller.enter(*cast(WalkBegins, record))
            case (_,):
                teller.run(*cast(BlockRuns, record))
            case int() | None:
                teller.returned(record or 0)
            case _Ending():
                teller.leave(raised=record is CHAIN_RAISED)
            case _:
                teller.happened(record)
    return teller.story
