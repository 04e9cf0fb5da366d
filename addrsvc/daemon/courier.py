"""What the service manager is told by who must not wait for it: carried there in order, by a thread of its own."""

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from addrsvc.daemon.systemd import has_manager, notify

__all__ = ["Courier"]

_PAUSE: Final = 0.05
"""Seconds until a manager that does not listen is tried again, as it does not while it is replaced by a new one."""
_FLUSH: Final = 2.0
"""How many seconds there are at the end for what has not arrived yet."""


class _Letter(NamedTuple):
    """One message.  Its descriptors are its own, since those that were handed in may be closed before it arrives."""

    about: str
    states: tuple[str, ...]
    fds: tuple[int, ...]

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


class Courier:
    """Carries messages to the service manager, each until it has arrived; where there is no manager it does nothing.

    It may be used by any thread.
    """

    def __init__(self) -> None:
        self._letters: deque[_Letter] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._end: float | None = None

    def send(self, *states: str, fds: Sequence[int] = (), about: str = "") -> None:
        """Have the manager told, see `notify`.

        Args:
            states: the assignments.
            fds: descriptors that go along; they stay the caller's.
            about: what this is about, where it can be taken back.
        """
        if not has_manager():
            return
        letter = _Letter(about, states, tuple(map(os.dup, fds)))
        with self._changed:
            self._letters.append(letter)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._carry, name="courier")
                self._thread.start()

    def replace(self, about: str, *states: str) -> None:
        """The same, of what changes all the time: what was said about it before is of no use if it is here still."""
        self.take_back(about)
        self.send(*states, about=about)

    def take_back(self, about: str) -> bool:
        """Take back what was said last about something, unless it is under way; whether that was still possible."""
        with self._changed:
            for letter in reversed(self._letters):
                if letter.about == about:
                    self._letters.remove(letter)
                    letter.close()
                    return True
        return False

    def close(self) -> None:
        """Carry what there is, as far as that can be done in a moment, and end."""
        with self._changed:
            self._end = time.monotonic() + _FLUSH
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        while self._letters:
            self._letters.popleft().close()

    # --- in its own thread ---

    def _carry(self) -> None:
        while (letter := self._next()) is not None:
            try:
                while not (notify(*letter.states, fds=letter.fds) or self._is_over()):
                    time.sleep(_PAUSE)
            finally:
                letter.close()

    def _next(self) -> _Letter | None:
        with self._changed:
            self._changed.wait_for(lambda: self._letters or self._end is not None)
            return self._letters.popleft() if self._letters and not self._is_over() else None

    def _is_over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end
