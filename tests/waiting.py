"""Waiting in a test: for something to be so, and never just for time to pass."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 30.0
"""How many seconds a busy machine may need for what an idle one does at once."""


def moment() -> None:
    """Let others do something."""
    time.sleep(0.005)


def until(
    condition: Callable[[], T],
    seconds: float = PATIENCE,
    *,
    pause: Callable[[], object] = moment,
    seen: Callable[[], object] | None = None,
) -> T:
    """Look again and again until it holds, and give what it gave.

    Args:
        condition: what is to hold.
        seconds: how long that may take.
        pause: what is done between two looks.
        seen: what a failure shows, instead of what the condition gave last.

    Raises:
        AssertionError: it did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {(seen or (lambda: found))()!r}"
        pause()
    return found


def stays(condition: Callable[[], object], seconds: float) -> None:
    """Look again and again, for so long, whether it still holds.

    Raises:
        AssertionError: it does not.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition()
        moment()
