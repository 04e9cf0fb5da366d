"""Datagrams that no kernel sends, heard by a keeper, and what must hold: they are ignored, or at most looked into, and
the keeper still heals.
"""

import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from addrsvc.keeper.kept import LOOPBACK, Kept
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_DOWN, LO_UP, deladdr, newaddr
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import FightLimits, Wanted
from addrsvc.mirror.netns import NetNs, create_anonymous
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import IFF_LOOPBACK, IFF_UP, RTM_DELADDR, RTM_NEWADDR, RTM_NEWLINK
from tests.keeper.keeping import Keeping, keeping, service

__all__ = ["HeardVolley", "datagram", "fire"]

ONE: Final = service("fd00::1")
FOUR: Final = service("192.0.2.1")
EACH: Final = 500
"""Datagrams between two looks whether it still heals."""
SWEEP: Final = 1.0
"""Within so many seconds the keeper sees for itself what is so: it may believe what it has heard until then."""
_HEADER: Final = struct.Struct("=IHHII")
_SAID: Final = (
    *(RTM_NEWADDR, RTM_DELADDR, RTM_NEWLINK),
    *(0, 1, 2, 3, 17, 24, 0xFFFF),
)


def _meant() -> list[bytes]:
    """What kernels do say, more or less."""
    links = [LinkMsg(RTM_NEWLINK, ifi_index=1, ifi_flags=IFF_LOOPBACK | up, mtu=mtu) for up in (0, IFF_UP)
             for mtu in (0, 1279, 65536)]  # fmt: skip
    said = [
        newaddr(ONE[0][0]),
        newaddr(FOUR[0][0]),
        deladdr(*ONE[0]),
        deladdr(*FOUR[0]),
        DELETE_LOOPBACK,
        LO_UP,
        LO_DOWN,
    ]
    return [*said, *map(encode, links)]


_MEANT: Final = _meant()


def datagram(rng: Random) -> bytes:
    """A message, or something that looks like one up to a point."""
    data = bytearray(rng.choice(_MEANT))
    for _ in range(rng.randrange(5)):
        rng.choice(_WAYS)(data, rng)
    return bytes(data)


def _cut(data: bytearray, rng: Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _lie(data: bytearray, rng: Random) -> None:
    """A length, of the message or of an attribute, that is not so."""
    at = rng.choice((0, 24, 28, 32, 36, 44))
    size = rng.choice((2, 4)) if at == 0 else 2
    if at + size <= len(data):
        number = rng.choice((0, 1, 3, 4, 15, 16, 20, 0xFFFF, rng.randrange(1 << 16)))
        data[at : at + size] = number.to_bytes(size, "little")


def _retype(data: bytearray, rng: Random) -> None:
    if len(data) >= _HEADER.size:
        struct.pack_into("=H", data, 4, rng.choice(_SAID))


def _noise(data: bytearray, rng: Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at : at + rng.randrange(9)] = rng.randbytes(rng.randrange(9))


def _double(data: bytearray, rng: Random) -> None:
    data += data * rng.choice((1, 1, 100))


_WAYS: Final[tuple[Callable[[bytearray, Random], None], ...]] = (_cut, _lie, _lie, _retype, _noise, _noise, _double)


@dataclass
class HeardVolley:
    """What came of the datagrams of one seed."""

    seed: int
    count: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.most_common())
        return f"seed {self.seed}: {self.count} datagrams heard, {self.seconds:.0f} s, and it heals; {counts}"


def fire(seed: int, count: int) -> HeardVolley:
    """Let a keeper hear so many datagrams, the same for the same seed.

    Raises:
        AssertionError: it does not heal.
    """
    rng, volley, start = Random(seed), HeardVolley(seed), time.monotonic()
    wanted = Wanted(addresses=dict([ONE, FOUR]), fights=FightLimits(reversals=1 << 30))
    with (
        create_anonymous() as netns,
        keeping(netns, wanted, sweep=SWEEP) as it,
        Requests.to(netns.fileno()) as requests,
    ):
        it.ring.subscribe(lambda event: volley.counts.update([event.name]))
        (kept,) = it.keeper
        for number in range(1, count + 1):
            it.keeper.heard(kept, datagram(rng))
            volley.count = number
            if number % EACH == 0 or number == count:
                _must_heal(it, netns, requests, kept)
    volley.seconds = time.monotonic() - start
    return volley


def _must_heal(it: Keeping, netns: NetNs, requests: Requests, kept: Kept) -> None:
    """Whatever it believes by now, it believes the right thing again soon, and repairs what is removed."""
    it.quiet()
    for key, message in ((LOOPBACK, DELETE_LOOPBACK), (ONE[0], deladdr(*ONE[0])), (FOUR[0], deladdr(*FOUR[0]))):
        it.until(lambda key=key: key in requests.addresses())  # type: ignore[misc]
        requests.ask([message])
        it.until(lambda key=key: key in requests.addresses())  # type: ignore[misc]
    it.until(lambda: kept.is_as_wanted)
