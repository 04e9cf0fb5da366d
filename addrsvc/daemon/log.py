"""The log of a running service, by structlog, loaded only by who serves.

An entry is named by the kernel's own word where there is one, or by a word of `keeper.events`:
``log.entry("RTM_NEWADDR", netns="blue", dev="lo", address="::1/128")``.  The log goes to standard error: as text where
people read it (with colours on a terminal), one JSON object a line where a program does; or to the journal, with fields
of its own, where that is what reads standard error.  What is not wanted costs a look into a set.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from addrsvc.daemon.journal import PRIORITIES, is_read_by_journal, send
from addrsvc.daemon.journal import entry as journal_entry
from addrsvc.daemon.lean import without
from addrsvc.daemon.terminal import printable, wants_colour

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["LEVELS", "Log", "levels_from"]

LEVELS: Final = tuple(PRIORITIES)
"""How serious an entry can be, the least serious first."""


def levels_from(least: str) -> frozenset[str]:
    """Those that are at least that serious."""
    return frozenset(LEVELS[LEVELS.index(least) :])


class Log:
    """A log.

    Args:
        form: "text", "json", "journal", or "auto" for what suits who reads standard error.
        least: how serious an entry must be, "debug", "info", "warning" or "error".
    """

    def __init__(self, form: str = "auto", least: str = "info") -> None:
        self.configure(form, least)

    def configure(self, form: str, least: str) -> None:
        """Write in that form, and what is at least that serious, from now on."""
        self._wanted = levels_from(least)
        self._write = _writer(_form(form))

    def entry(self, event: str, level: str = "info", /, **values: object) -> None:
        """Write one entry, if it is wanted and can be written.  `level` is as `least` above.

        It is no `__call__`, which would cost several times as much where nothing is written.
        """
        if level in self._wanted:
            self.write(event, level, time.time(), values)

    def write(self, event: str, level: str, seconds: float, values: Mapping[str, object]) -> None:
        """Write an entry, wanted or not, of what happened so many seconds after 1970."""
        named = {f"{name}_" if name in _TAKEN else name: value for name, value in values.items()}
        with suppress(OSError):
            self._write(event, **named, level=level, timestamp=seconds)

    @property
    def wanted(self) -> frozenset[str]:
        """Which levels are written."""
        return self._wanted


# --- how it is written ------------------------------------------------------------------------------------------------

_Write: TypeAlias = Callable[..., object]
_STDERR: Final = 2
_TAKEN: Final = frozenset({"event", "level", "method_name", "self", "timestamp"})
"""What an entry says itself, and what structlog calls its own: a value of that name gets an underscore."""


def _form(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "journal" if is_read_by_journal(_STDERR) else "text"


def _writer(form: str) -> _Write:
    """What an entry goes through: the processors of its form, and then the end of the pipe."""
    with without("rich"):  # it would be loaded for tracebacks alone
        import structlog
    sink = _ToJournal() if form == "journal" else structlog.PrintLogger(sys.stderr)
    logger = structlog.wrap_logger(sink, processors=_FORMS[form](), wrapper_class=structlog.BoundLogger)
    write: _Write = logger.bind().msg
    return write


def _text() -> "list[Processor]":
    import structlog

    stamp = _unstamped if is_read_by_journal(_STDERR) else _stamped
    render = structlog.dev.ConsoleRenderer(colors=wants_colour(sys.stderr), pad_event_to=20, sort_keys=False)
    return [stamp, _printable, render]


def _json() -> "list[Processor]":
    import structlog

    return [_stamped, structlog.processors.JSONRenderer()]


_FORMS: "Final[Mapping[str, Callable[[], list[Processor]]]]" = {
    "text": _text,
    "json": _json,
    "journal": lambda: [_for_journal],
}


def _stamped(_: "WrappedLogger", __: str, values: "EventDict") -> "EventDict":
    """The time as people and programs read it."""
    from datetime import datetime

    values["timestamp"] = datetime.fromtimestamp(values["timestamp"]).astimezone().isoformat(timespec="milliseconds")
    return values


def _unstamped(_: "WrappedLogger", __: str, values: "EventDict") -> "EventDict":
    """No time: who reads it stamps it."""
    del values["timestamp"]
    return values


def _printable(_: "WrappedLogger", __: str, values: "EventDict") -> "EventDict":
    """Nothing that a terminal would take for more than text; a name can be anything."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in values.items()}


# --- the journal ------------------------------------------------------------------------------------------------------


def _for_journal(_: "WrappedLogger", __: str, values: "EventDict") -> tuple[tuple[object, ...], dict[str, object]]:
    """What `_ToJournal.msg` is called with."""
    event, level = values.pop("event"), values.pop("level")
    del values["timestamp"]
    message = " ".join([event, *(f"{name}={_said(value)}" for name, value in values.items())])
    return (message, level, {"event": event, **values}), {}


def _said(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


class _ToJournal:
    """The end of the pipe to the journal; while nobody listens there, standard error has to do."""

    @staticmethod
    def msg(message: str, level: str, fields: Mapping[str, object]) -> None:
        """Send an entry."""
        try:
            send(journal_entry(message, level, fields))
        except OSError:
            line = message.replace("\n", " ")
            print(f"<{PRIORITIES[level]}>{line}", file=sys.stderr, flush=True)  # noqa: T201
