"""What a process may be killed in the middle of, left with systemd beforehand and finished by the next one.

Only a fast flush is such a thing (`addrsvc.keeper.flush`): between its two halves a namespace has no IPv6 on lo.
"""

import os
from collections.abc import Callable, Sequence
from errno import EAGAIN
from itertools import count
from typing import TYPE_CHECKING, Final

from addrsvc.daemon.systemd import forget, has_manager, store
from addrsvc.errors import KernelError
from addrsvc.keeper.events import Ring
from addrsvc.keeper.flush import finish

if TYPE_CHECKING:
    from addrsvc.daemon.systemd import Passed

__all__ = ["FLUSH", "ManagersSafe", "finish_all", "take_unfinished"]

FLUSH: Final = "flush-"
"""What the names begin with by which systemd keeps it."""


class ManagersSafe:
    """The service manager, as a safe place; where there is none nothing is kept."""

    def __init__(self) -> None:
        self._numbers = count()

    def keep(self, label: str, fds: Sequence[int]) -> Callable[[], object]:
        """Keep descriptors, see `addrsvc.keeper.flush.Safe`.

        The manager is told directly, not by the courier: what it has been told when this process ends is kept, even if
        it has not read it yet.
        """
        if not has_manager():
            return lambda: None
        name = f"{FLUSH}{os.getpid()}-{next(self._numbers)}"
        if not store(name, *fds):
            raise KernelError(EAGAIN, "the service manager does not take what would have to be finished after a crash")
        return lambda: forget(name)


def take_unfinished(passed: "list[Passed]") -> dict[str, list[int]]:
    """Take what an earlier process has left out of what was passed: descriptors by name."""
    found: dict[str, list[int]] = {}
    for each in [each for each in passed if each.name.startswith(FLUSH)]:
        passed.remove(each)
        found.setdefault(each.name, []).append(each.fd)
    return found


def finish_all(unfinished: dict[str, list[int]], ring: Ring) -> None:
    """Finish it, tell what was done, and have it forgotten."""
    for name, fds in unfinished.items():
        try:
            if (done := finish(fds)) is not None:
                said = {"off": done.was_off, "restored": len(done.restored), "refused": len(done.refusals)}
                ring.tell("finished", done.label, None, **said)
        except OSError as error:
            ring.tell("refused", "", None, recipe="finish fast flush", error=str(error))
        forget(name)
    unfinished.clear()
