"""The log of a running service, by structlog, configured once and only when something is logged.

An entry is named by the kernel's own word where there is one: ``log("RTM_NEWADDR", netns="blue", dev="lo",
address="::1/128")``.  The log goes to standard error: as text where people read it (with colours on a terminal), one
JSON object a line where a program does.
"""

import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

__all__ = ["Log", "wants_colour"]


class Log:
    """A log on standard error; structlog is loaded with the first entry.

    Args:
        as_json: one JSON object a line.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._logger: FilteringBoundLogger | None = None

    def __call__(self, event: str, level: str = "info", /, **values: object) -> None:
        """Write one entry.  `level` is "info", "warning" or "error"."""
        if self._logger is None:
            self._logger = _logger(_renderer(as_json=self._as_json))
        getattr(self._logger, level)(event, **values)


def wants_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user did not ask for plain text (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _logger(renderer: "Processor") -> "FilteringBoundLogger":
    import structlog

    made: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.add_log_level, *_stamps(), renderer],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
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
