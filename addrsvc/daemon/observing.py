"""How clients of a service that keeps namespaces are answered: beside the keeper's thread, which never waits for them.

Orders are carried out by a few threads that may wait.  Who follows or waits is woken by a bell, which rings a moment
after something was told, so that a burst of events wakes nobody more than once.
"""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

from addrsvc.daemon.asked import labels_of
from addrsvc.daemon.audit import Audit
from addrsvc.daemon.authority import Authority, Peer, Right, require
from addrsvc.daemon.client import KEEPER, method_name
from addrsvc.daemon.commands import bind
from addrsvc.daemon.keeper_interface import Held, TimeIsUp
from addrsvc.daemon.keeping import KeeperThread, NotRunning
from addrsvc.daemon.orders import ORDERS, TOLD_AT_ONCE, Asking
from addrsvc.daemon.reading import Reader, Told, cursor_text
from addrsvc.errors import ControlError
from addrsvc.keeper.conditions import Condition, condition_of
from addrsvc.keeper.events import Event, Ring

__all__ = ["Bell", "ClientDesk", "HangUp", "Observation"]

T = TypeVar("T")

_MOMENT: Final = 0.02
"""Seconds between something being told and those being woken who want to know."""
_LOOK_AGAIN: Final = 1.0
"""Seconds after which a condition is looked at though nothing was told: it may be about what nobody hears of.  And
seconds between two looks whether a client is there still."""
_THREADS: Final = 4
_LONGEST: Final = 366 * 86400.0


class HangUp:
    """Notices that a client hangs up while nobody reads its connection, by looking now and then.

    The connection is not watched: that is for its transport, which may begin to read again at any time.

    Args:
        loop: in which it is looked.
        conn: the connection.
        gone: called when the client has gone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, conn: socket.socket, gone: Callable[[], object]) -> None:
        self._loop = loop
        self._conn = conn
        self._gone = gone
        self._timer: asyncio.TimerHandle | None = None
        self.has_gone = False

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.has_gone = self._conn.fileno() < 0 or _is_hung_up(self._conn)
        if self.has_gone:
            self._gone()
        else:
            self._timer = self._loop.call_later(_LOOK_AGAIN, self._look)


def _is_hung_up(conn: socket.socket) -> bool:
    """Whether nobody has the other end any more; one who only sends nothing more may still read."""
    poll = select.poll()
    poll.register(conn, 0)
    return bool(poll.poll(0))


class Bell:
    """Wakes all who wait for something to be told.  Nothing is heard of what is told while nobody listens.

    Args:
        loop: in which they wait.
        ring: where it is told.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Ring) -> None:
        self._loop = loop
        self._ring = ring
        self._listeners = 0
        self._end: Callable[[], None] = lambda: None
        self._is_pulled = False
        self._sound = asyncio.Event()
        self.rings = 0
        self.is_open = True

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Somebody listens while the block runs."""
        if not self._listeners:
            self._end = self._ring.subscribe(self._told)
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._end()

    @property
    def listeners(self) -> int:
        """How many listen."""
        return self._listeners

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until it rings, or until so many seconds are over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._sound.wait(), seconds)

    def _told(self, event: Event) -> None:
        """In the keeper's thread."""
        if not self._is_pulled:
            self._is_pulled = True
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._loop.call_later, _MOMENT, self.ring)

    def ring(self) -> None:
        """Wake all who wait."""
        self._is_pulled = False
        self.rings += 1
        sound, self._sound = self._sound, asyncio.Event()
        sound.set()

    def close(self) -> None:
        """Ring for the last time."""
        self.is_open = False
        self.ring()


class Observation:
    """All clients of a keeper.

    Args:
        keeping: the keeper's thread.
        authority: who may what.
        audit: tells who was refused.
    """

    def __init__(self, keeping: KeeperThread, authority: Authority, audit: Audit) -> None:
        self.keeping: Final = keeping
        self.authority: Final = authority
        self.audit: Final = audit
        self.loop: Final = asyncio.get_running_loop()
        self.bell: Final = Bell(self.loop, keeping.ring)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="control")
        self._looks: dict[Condition, asyncio.Future[str]] = {}
        self._looked_at = -1, 0.0

    async def aside(self, function: Callable[[], T]) -> T:
        """Have something done that may wait, in a thread that may.

        Raises:
            NotRunning: the service ends.
        """
        if not self.bell.is_open:
            raise NotRunning("the service ends")
        return await self.loop.run_in_executor(self._threads, function)

    async def why_not(self, condition: Condition) -> str:
        """Why a condition does not hold; however many want to know, the keeper is asked once until the bell rings."""
        now = self.bell.rings, self.loop.time() // _LOOK_AGAIN
        if self._looked_at != now:
            self._looks.clear()
            self._looked_at = now
        if condition not in self._looks:
            self._looks[condition] = asyncio.ensure_future(self._look(condition))
        return await asyncio.shield(self._looks[condition])

    async def _look(self, condition: Condition) -> str:
        return await self.aside(partial(self.keeping.ask, condition.why_not))

    def close(self) -> None:
        """Answer nobody any more."""
        self.bell.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


class ClientDesk:
    """What answers one client.

    Args:
        observation: of all of them.
        peer: who it is.
        conn: its connection.
    """

    def __init__(self, observation: Observation, peer: Peer, conn: socket.socket) -> None:
        self._all = observation
        self._peer = peer
        self._conn = conn

    def _audited(self, method: str) -> AbstractContextManager[None]:
        return self._all.audit.of(self._peer, f"{KEEPER}.{method}")

    def _require_reader(self, method: str) -> None:
        with self._audited(method):
            require(self._all.authority, self._peer, Right.READ)

    # --- orders ---

    def _order(self, name: str, parameters: Mapping[str, object]) -> Callable[[], object]:
        order = ORDERS[name]
        require(self._all.authority, self._peer, order.right)
        asking = Asking(self._all.keeping, self._peer)
        return partial(order.run, asking, **bind(order.run, parameters))

    async def ask(self, name: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        """Have an order carried out that has one answer."""
        with self._audited(method_name(name)):
            answer = await self._all.aside(self._order(name, parameters))
        assert isinstance(answer, dict)
        return answer

    async def stream(self, name: str, parameters: Mapping[str, object]) -> AsyncIterator[Mapping[str, object]]:
        """Have one carried out that has several."""
        with self._audited(method_name(name)):
            answers = self._order(name, parameters)()
        assert isinstance(answers, Iterator)
        while (answer := await self._all.aside(partial(next, answers, None))) is not None:
            yield answer

    # --- what happens ---

    async def monitor(
        self, *, cursor: str | None, replay: bool, netns: list[str], level: str | None
    ) -> AsyncIterator[Told]:
        """What happens, until the service ends, see `Desk`."""
        self._require_reader("Monitor")
        kept_as = await self._all.aside(partial(labels_of, self._all.keeping, netns))
        reader = Reader.of(self._all.keeping.ring, cursor, replay=replay, netns=netns, kept_as=kept_as, level=level)
        bell = self._all.bell
        with bell.heard(), HangUp(self._all.loop, self._conn, bell.ring) as client:
            yield reader.take(TOLD_AT_ONCE)
            while bell.is_open and not client.has_gone:
                if reader.has_read_all:
                    await bell.wait()
                told = reader.take(TOLD_AT_ONCE)
                if told["events"] or told["lost"]:
                    yield told
        if client.has_gone:
            raise ConnectionError("the reader has hung up")

    async def wait(self, *, condition: str, seconds: float | None) -> Held:
        """Come back when a condition holds, see `Desk`."""
        self._require_reader("Wait")
        if seconds is not None and not 0 <= seconds <= _LONGEST:
            raise ControlError(f"seconds: {seconds} is not between 0 and {_LONGEST:.0f}")
        bell, wanted = self._all.bell, condition_of(condition)
        end = self._all.loop.time() + (_LONGEST if seconds is None else seconds)
        with bell.heard(), HangUp(self._all.loop, self._conn, bell.ring) as client:
            while bell.is_open and not client.has_gone:
                rings, why = bell.rings, await self._all.why_not(wanted)
                if not why:
                    return {"cursor": cursor_text(self._all.keeping.ring, self._all.keeping.ring.next)}
                left = end - self._all.loop.time()
                if left <= 0:
                    raise TimeIsUp(why)
                if rings == bell.rings:
                    await bell.wait(min(left, _LOOK_AGAIN))
        raise ConnectionError("the client has hung up, or the service ends")
