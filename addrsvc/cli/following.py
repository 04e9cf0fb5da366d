"""Following what a service tells, from one of its processes to the next."""

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from addrsvc.cli.keeper_desk import Row, Service, open_service
from addrsvc.cli.refusals import fail

__all__ = ["follow"]

_PATIENCE: Final = 60.0
"""For how many seconds there may be nobody to connect to."""
_PAUSE: Final = 250
"""Milliseconds between two looks whether the service runs again."""
_AWAY: Final = "the service has ended; what it tells is followed again as soon as it runs"


def follow(control: Path | None, service: Service, parameters: Row) -> Iterator[Row]:
    """What a service tells, and what the one tells that comes after it, behind what was told before.

    Args:
        control: the control socket; the default one, if none is named.
        service: who is asked to begin with.
        parameters: what is to be told.

    Raises:
        BrokenPipeError: nobody reads standard output any more.
        ServiceError: there was nobody to connect to for long, or one may not follow.
    """
    from addrsvc.daemon.client import Ended, NoInterface, ServiceError, control_to_ask

    path, parameters = control_to_ask(control), dict(parameters)
    unit, is_away = None, False
    with ExitStack() as stack:
        while True:
            try:
                unit = _Unit.of(service)
                for told in service.stream("monitor", parameters, output=sys.stdout.fileno()):
                    yield told
                    if is_away:
                        _say_back(told, parameters)
                    parameters["cursor"], is_away = told["cursor"], False
            except Ended:
                pass
            except NoInterface as error:
                raise ServiceError(str(error)) if is_away else error from None
            if not is_away:
                fail(_AWAY, 0)
            is_away = True
            stack.close()
            service = _next(path, unit, stack)


def _say_back(told: Row, before: Row) -> None:
    """Say what may be lost: of a process that has ended nothing can be read any more."""
    if told["restarted"] and "cursor" in before:
        fail(f"what the service had told before it ended is lost, if there was anything behind {before['cursor']}", 0)


def _next(path: Path, unit: "_Unit | None", stack: ExitStack) -> Service:
    """The service that runs next, at once or after a while; the connection is left to a stack."""
    from addrsvc.daemon.client import ServiceError

    since: float | None = None
    while True:
        _pause()
        if unit is not None and os.path.exists(path) and not unit.runs_again():
            since = None
            continue
        try:
            return stack.enter_context(open_service(path))
        except ServiceError:
            since = time.monotonic() if since is None else since
            if time.monotonic() - since > _PATIENCE:
                raise


def _pause() -> None:
    """Let some time pass.

    Raises:
        BrokenPipeError: nobody reads standard output any more.
    """
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if poll.poll(_PAUSE):
        raise BrokenPipeError


@dataclass(frozen=True, slots=True)
class _Unit:
    """A service whose socket somebody else listens at, who starts it for whoever connects.

    Who only looks on starts nothing that was stopped, and so sees first whether it runs.

    Attributes:
        pid: its process.
        processes: where the kernel tells which processes it has.
    """

    pid: str
    processes: Path

    @classmethod
    def of(cls, service: Service) -> Self | None:
        """The one that is asked; None where it listens itself, or where nobody is told which processes it has."""
        pid = str(service.ask("describe", {})["pid"])
        if pid == str(service.client.listener):
            return None
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
                unit = cls(pid, Path(f"/sys/fs/cgroup{line.removeprefix('0::')}", "cgroup.procs"))
                if line.startswith("0::") and pid in unit._pids():
                    return unit
        return None

    def _pids(self) -> list[str]:
        return self.processes.read_text().split()

    def runs_again(self) -> bool:
        """Whether there is another process of it."""
        with suppress(OSError):
            return any(pid != self.pid for pid in self._pids())
        return False
