"""Who has asked over the control socket for what they may not, told as events, and never more than anybody can read.

Whoever reaches the socket can ask as often as they like, and by user namespaces even as many users.  So in each span
of time only the first attempts of a user are told one by one, and only the first of all; the others are counted, and
told together when the span is over.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from addrsvc.daemon.authority import Peer
from addrsvc.errors import NotPermitted

__all__ = ["Audit"]

_SPAN: Final = 10.0
"""Seconds."""
_OF_USER: Final = 5
"""How many attempts of one user are told by themselves within that ..."""
_OF_ALL: Final = 40
"""... and how many of all users."""
_NAMED: Final = 16
"""How many users are named whose attempts were only counted."""


class Audit:
    """Tells who was refused.

    Args:
        tell: takes the name of an event and what it says.
        later: has something called after so many seconds, in the thread that uses this object.
    """

    def __init__(self, tell: Callable[..., object], later: Callable[[float, Callable[[], object]], object]) -> None:
        self._tell = tell
        self._later = later
        self._told: Counter[int] = Counter()
        self._untold: Counter[int] = Counter()
        self._others = 0
        self._is_counting = False

    @contextmanager
    def of(self, peer: Peer, method: str) -> Iterator[None]:
        """Tell it if what the block does for somebody, who has called a method, is not permitted."""
        try:
            yield
        except NotPermitted:
            self.denied(peer, method)
            raise

    def denied(self, peer: Peer, method: str) -> None:
        """Somebody was refused."""
        if not self._is_counting:
            self._is_counting = True
            self._later(_SPAN, self.sum_up)
        if self._told[peer.uid] < _OF_USER and self._told.total() < _OF_ALL:
            self._told[peer.uid] += 1
            self._tell("denied", method=method, **peer.identity())
        elif peer.uid in self._untold or len(self._untold) < _NAMED:
            self._untold[peer.uid] += 1
        else:
            self._others += 1

    def sum_up(self) -> None:
        """The span is over: tell how many attempts were only counted, if any were."""
        if count := self._untold.total() + self._others:
            self._tell("denied", count=count, uids=list(self._untold))
        self._told.clear()
        self._untold.clear()
        self._others = 0
        self._is_counting = False
