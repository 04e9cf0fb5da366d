"""The same done to both kernels, and what is different afterwards."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from addrsvc.uapi import ETH_P_IP, ETH_P_IPV6
from tests.packets.generator import Action
from tests.packets.modelled import ModelLo
from tests.packets.outcome import Seen
from tests.packets.running import RunningLo

__all__ = ["Difference", "compare", "pinned"]


@dataclass(frozen=True, slots=True)
class Difference:
    """What was done, and what each kernel made of it."""

    action: Action
    what: str
    running: object
    model: object

    def __str__(self) -> str:
        return f"{self.action}\n  {self.what}\n  running: {_text(self.running)}\n  model:   {_text(self.model)}"


def _text(value: object) -> str:
    return "".join(f"\n    {one}" for one in value) if isinstance(value, list) else str(value)


@contextmanager
def pinned() -> Iterator[None]:
    """Stay on one CPU: what is sent on one CPU arrives in order."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def compare(action: Action, running: RunningLo, model: ModelLo) -> Iterator[Difference]:
    """Do it to both; what is different."""
    errnos = action(running), action(model)
    if errnos[0] != errnos[1]:
        yield Difference(action, "errno", *errnos)
    seen = normal(running.seen()), normal(model.seen())
    if seen[0] != seen[1]:
        yield Difference(action, "packets", *_unlike(*seen))
    counters = running.counters(), model.counters()
    if counters[0] != counters[1]:
        yield Difference(action, "counters", *counters)


def _unlike(running: Sequence[Seen], model: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """From the first on that is not the same, with one byte of context told."""
    same = next((nth for nth, pair in enumerate(zip(running, model, strict=False)) if pair[0] != pair[1]), 0)
    return list(running[same : same + 4]), list(model[same : same + 4])


# --- chance and secrets -----------------------------------------------------------------------------------------------

_ICMP_FROM_THE_KERNEL: Final = frozenset({0, 3, 11, 12})
"""Echo replies and errors: the kernel itself says them."""


def normal(seen: Sequence[Seen]) -> list[Seen]:
    """Without what the running kernel draws at random, or makes with a secret of its own: nobody can tell it before.

    These are the identification of IPv6 fragments (prandom), IPv6 flow labels (a hash with a key drawn at boot), and
    the identification of IPv4 packets that the kernel itself says (another such hash), with the header checksum.
    """
    return [replace(one, frame=_normal_frame(one)) for one in seen]


def _normal_frame(one: Seen) -> bytes:
    frame = bytearray(one.frame)
    if one.protocol == ETH_P_IPV6 and len(frame) >= 14 + 40:
        frame[14:18] = bytes((frame[14], frame[15] & 0xF0, 0, 0))
        at, nexthdr = 14 + 40, frame[20]
        while nexthdr in (0, 43, 60) and at + 8 < len(frame):
            nexthdr, at = frame[at], at + (frame[at + 1] + 1) * 8
        if nexthdr == 44:
            frame[at + 4 : at + 8] = bytes(len(frame[at + 4 : at + 8]))
    elif one.protocol == ETH_P_IP and len(frame) > 14 + 20 and frame[23] == 1:
        at = 14 + (frame[14] & 15) * 4
        if at < len(frame) and frame[at] in _ICMP_FROM_THE_KERNEL:
            frame[18:20] = frame[24:26] = bytes(2)
    return bytes(frame)
