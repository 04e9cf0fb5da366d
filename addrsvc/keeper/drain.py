"""Taking addresses away with grace: deprecated first, so that nobody begins anything new with them, and deleted when
the last connection has ended, or when their time is up.

Nothing here waits.  Sockets are counted now and then, ever less often; what can go is deleted a few at a time, one turn
of the loop each, because each deletion takes long where addresses are many.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from errno import EADDRNOTAVAIL, EIO
from time import monotonic
from typing import NamedTuple

from addrsvc.errors import KernelError
from addrsvc.keeper.dump import Present
from addrsvc.keeper.loop import Loop, Timer
from addrsvc.keeper.messages import Key, deladdr, newaddr
from addrsvc.keeper.rtnl import DELETES_AT_ONCE, Refusal, Requests
from addrsvc.keeper.sockdiag import Census

__all__ = ["Drain", "Withdrawal"]

_FIRST_LOOK, _LONGEST_WAIT = 0.05, 1.0


class Withdrawal(NamedTuple):
    """An address that has been deleted, or would not be.

    Attributes:
        key: which.
        users: connections that it had then; None where the kernel does not tell.
        refusal: why it is still there; None where it is gone, whoever deleted it.
    """

    key: Key
    users: int | None
    refusal: Refusal | None


class Drain:
    """Addresses of one namespace that are being withdrawn.

    Args:
        loop: which all of it is done in.
        requests: to the namespace.
        netns_fd: the namespace; None for the one that the calling thread is in.
        withdrawn: called with what came of a few of them, as soon as they were deleted and before that can be heard.
        label: what to call the namespace where it cannot be entered.
    """

    def __init__(
        self,
        loop: Loop,
        requests: Requests,
        netns_fd: int | None,
        withdrawn: Callable[[list[Withdrawal]], object],
        label: str = "network namespace",
    ) -> None:
        self._loop, self._requests, self._withdrawn = loop, requests, withdrawn
        self._netns_fd, self._label = netns_fd, label
        self._until: dict[Key, float] = {}
        self._ready: dict[Key, int | None] = {}
        self._census: Census | None = None
        self._is_counting = self._is_deleting = False
        self._timer: Timer | None = None
        self._wait = _FIRST_LOOK

    def __contains__(self, key: Key) -> bool:
        return key in self._until or key in self._ready

    def __len__(self) -> int:
        return len(self._until) + len(self._ready)

    def withdraw(self, times: Mapping[Key, float]) -> list[Refusal]:
        """Deprecate addresses, and delete each when it has no connection any more.

        Args:
            times: for each, how many seconds that may take; 0 deletes it without a look.

        Returns:
            What could not be deprecated, by its place among `times`; it is withdrawn all the same.
        """
        refusals = self._deprecate([(nth, key) for nth, (key, seconds) in enumerate(times.items()) if seconds > 0])
        now = monotonic()
        for key, seconds in times.items():
            if seconds > 0:
                self._until[key] = now + seconds
            else:
                self._can_go(key, None)
        self._wait = _FIRST_LOOK
        if not self._is_counting:
            self._count()
        return refusals

    def keep(self, key: Key) -> bool:
        """Withdraw an address no more; whether it was about to be.  It stays deprecated."""
        was_there = key in self
        self._until.pop(key, None)
        self._ready.pop(key, None)
        return was_there

    def close(self) -> None:
        """Leave everything as it is now; a second time does nothing."""
        self._until.clear()
        self._ready.clear()
        self._rest()

    # --- while there are connections ---

    def _deprecate(self, keys: Sequence[tuple[int, Key]]) -> list[Refusal]:
        try:
            there = self._requests.addresses() if keys else {}
        except OSError as error:
            extack = error.extack if isinstance(error, KernelError) else None
            return [Refusal(nth, error.errno or EIO, extack) for nth, _ in keys]
        asked = [(nth, _deprecated(key, there[key])) for nth, key in keys if key in there]
        refusals = self._requests.ask([message for _, message in asked])
        return [refusal._replace(nth=asked[refusal.nth][0]) for refusal in refusals]

    def _look(self) -> None:
        self._timer = None
        self._count()

    def _count(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._until:
            self._rest()
            return
        if self._census is None:
            self._census = self._open()
        if self._census is None:
            self._counted(None)
        else:
            self._is_counting = True
            self._census.take([address for address, _ in self._until], self._counted)

    def _open(self) -> Census | None:
        with suppress(OSError):  # some kernels have no sock_diag: then only time tells
            return Census(self._loop, self._netns_fd, self._label)
        return None

    def _counted(self, found: Counter[bytes] | None) -> None:
        self._is_counting = False
        now = monotonic()
        for key, until in list(self._until.items()):
            users = None if found is None else found[key[0]]
            if users == 0 or now >= until:
                del self._until[key]
                self._can_go(key, users)
        if self._until:
            self._timer = self._loop.call_later(min(self._wait, min(self._until.values()) - now), self._look)
            self._wait = min(2 * self._wait, _LONGEST_WAIT)
        else:
            self._rest()

    def _rest(self) -> None:
        """Keep nothing open for what may never come again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._census is not None:
            self._census.close()
        self._timer = self._census = None
        self._is_counting = False

    # --- after that ---

    def _can_go(self, key: Key, users: int | None) -> None:
        self._ready[key] = users
        if not self._is_deleting:
            self._is_deleting = True
            self._loop.call(self._delete)

    def _delete(self) -> None:
        """Delete a few, the newest first: that is quickest."""
        going = [self._ready.popitem() for _ in range(min(len(self._ready), DELETES_AT_ONCE))]
        if going:
            refusals = self._requests.ask([deladdr(*key) for key, _ in going], DELETES_AT_ONCE)
            refused = {refusal.nth: refusal for refusal in refusals}
            self._withdrawn(
                [Withdrawal(key, users, _unless_gone(refused.get(nth))) for nth, (key, users) in enumerate(going)]
            )
        self._is_deleting = bool(self._ready)
        if self._ready:
            self._loop.call(self._delete)


def _deprecated(key: Key, there: Present) -> bytes:
    """The request that deprecates an address and leaves the rest of it as it is."""
    address, prefixlen = key
    return newaddr(
        address, prefixlen, metric=there.metric, proto=there.proto, flags=there.flags, preferred_lft=0, replace=True
    )


def _unless_gone(refusal: Refusal | None) -> Refusal | None:
    return None if refusal is None or refusal.errno == EADDRNOTAVAIL else refusal
