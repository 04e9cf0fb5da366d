"""The log of a running service, by structlog, loaded only by who serves.

An entry is named by the kernel's own word where there is one: ``log("RTM_NEWADDR", netns="blue", dev="lo",
address="::1/128")``.  The log goes to standard error: as text where people read it (with colours on a terminal), one
JSON object a line where a program does.
"""

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

__all__ = ["Log", "wants_colour"]


class Log:
    """A log on standard error.

    Args:
        as_json: one JSON object a line.
        verbose: log what needed no action, too.
    """

    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self._logger = _logger(_renderer(as_json=as_json), "debug" if verbose else "info")

    def __call__(self, event: str, level: str = "info", /, **values: object) -> None:
        """Write one entry, if it can be written.  `level` is "debug", "info", "warning" or "error"."""
        with suppress(OSError):
            getattr(self._logger, level)(event, **values)


def wants_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user did not ask for plain text (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _logger(renderer: "Processor", least: str) -> "FilteringBoundLogger":
    import structlog

    made: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.add_log_level, *_stamps(), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
    )
    return made


def _stamps() -> "list[Processor]":
    """A time stamp, unless the journal stamps what it reads."""
    import structlog

    return [] if os.environ.get("JOURNAL_STREAM") else [structlog.processors.TimeStamper(fmt="iso", utc=False)]


def _renderer(*, as_json: bool) -> "Processor":
    import structlog

    if as_json:
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=wants_colour(sys.stderr), pad_event_to=20)
