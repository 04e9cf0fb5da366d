"""What an entry of the log costs that is not wanted, beside structlog as it comes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING

from addrsvc.daemon.follow import LogFollower
from addrsvc.daemon.log import Log
from addrsvc.keeper.events import Event, Ring
from tests.benchmarks.race import Lap

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

EVENT = Event(1, 0, "RTM_NEWADDR", "blue", 1, {"address": "::1/128"})
"""One that is less serious than what is logged."""


def stock(*, is_bound: bool) -> "FilteringBoundLogger":
    """structlog as its documentation has it: a logger of get_logger() that takes what is info at least."""
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(StringIO()),
    )
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger.bind() if is_bound else logger


def through_structlog(steps: int, *, is_bound: bool) -> Lap:
    logger = stock(is_bound=is_bound)

    def lap() -> None:
        for _ in range(steps):
            logger.debug("RTM_NEWADDR", netns="blue", address="::1/128")

    return lap


def through_log(steps: int) -> Lap:
    log = Log("json")

    def lap() -> None:
        for _ in range(steps):
            log.entry("RTM_NEWADDR", "debug", netns="blue", address="::1/128")

    return lap


@contextmanager
def followed() -> Iterator[Callable[[Event], None]]:
    """What the keeper's thread calls with each event when the log follows what it tells."""
    ring = Ring()
    with LogFollower(ring, Log("json")) as follower:
        yield follower.take


def through_follower(take: Callable[[Event], None], steps: int) -> Lap:
    def lap() -> None:
        for _ in range(steps):
            take(EVENT)

    return lap
