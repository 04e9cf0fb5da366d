"""The same done to both kernels, and what is different afterwards."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from addrsvc.uapi import ETH_P_8021AD, ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6
from tests.packets.generator import SENDER, Action
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
    datagrams = running.datagrams(), model.datagrams()
    if datagrams[0] != datagrams[1]:
        yield Difference(action, "datagrams", *datagrams)
    counters = running.counters(), model.counters()
    if counters[0] != counters[1]:
        yield Difference(action, "counters", *counters)
    snmp = running.snmp(), model.snmp()
    if snmp[0] != snmp[1]:
        names = [name for name in snmp[0].keys() | snmp[1] if snmp[0].get(name) != snmp[1].get(name)]
        yield Difference(action, "snmp", *({name: one.get(name, 0) for name in sorted(names)} for one in snmp))


def _unlike(running: Sequence[Seen], model: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """From the first on that is not the same, with one byte of context told."""
    same = next((nth for nth, pair in enumerate(zip(running, model, strict=False)) if pair[0] != pair[1]), 0)
    return list(running[same : same + 4]), list(model[same : same + 4])


# --- chance and secrets -----------------------------------------------------------------------------------------------

_ICMP_FROM_THE_KERNEL: Final = frozenset({0, 3, 8, 11, 12})
"""Echoes and errors: the kernel itself numbers them."""
_IP4, _IP6 = 14 + 20, 14 + 40
"""Where in a frame what follows an IP header begins, at least."""
_FRAGMENT: Final = 44
_VLAN_TYPES: Final = (ETH_P_8021Q, ETH_P_8021AD)
_EXTENSIONS: Final = frozenset({0, 43, 60})


def normal(seen: Sequence[Seen]) -> list[Seen]:
    """Without what the running kernel draws at random, or makes with a secret of its own: nobody can tell it before.

    These are the identification of IPv6 fragments (drawn), IPv6 flow labels (a hash with a key drawn at boot), and the
    identification of IPv4 packets that the kernel itself says (another such hash), each with the checksums over it.
    """
    drawn = {frame[18:20] for frame in (one.frame for one in seen) if _is_numbered_by_the_kernel(frame)}
    return [replace(one, frame=_normal_frame(one.protocol, one.frame, drawn)) for one in seen]


def _normal_frame(protocol: int, frame: bytes, drawn: set[bytes]) -> bytes:
    tags = 0
    while protocol in _VLAN_TYPES:
        tags += 4
        protocol = int.from_bytes(frame[12 + tags : 14 + tags])
    before, frame = frame[:tags], frame[tags:]
    if protocol == ETH_P_IPV6 and len(frame) >= _IP6:
        frame = _normal6(bytearray(frame))
    elif protocol == ETH_P_IP and len(frame) >= _IP4:
        frame = _normal4(bytearray(frame), drawn)
    return before + frame


def _is_numbered_by_the_kernel(frame: bytes) -> bool:
    """An ICMP message, or a datagram of one of our sockets, or the first fragment of one."""
    if frame[12:14] != b"\x08\0" or len(frame) <= _IP4:
        return False
    at = 14 + (frame[14] & 15) * 4
    if frame[23] == socket.IPPROTO_ICMP:
        return frame[at : at + 1] in {bytes([kind]) for kind in _ICMP_FROM_THE_KERNEL}
    return frame[23] == socket.IPPROTO_UDP and frame[at : at + 2] == SENDER


def _normal4(frame: bytearray, drawn: set[bytes]) -> bytes:
    if bytes(frame[18:20]) in drawn:
        frame[18:20] = frame[24:26] = bytes(2)
    quoted = _IP4 + 8
    if frame[23] == socket.IPPROTO_ICMP and frame[quoted + 20 : quoted + 22] == SENDER:
        for at in (_IP4 + 2, quoted + 4, quoted + 10):
            frame[at : at + 2] = bytes(2)
    return bytes(frame)


def _normal6(frame: bytearray) -> bytes:
    _forget_label(frame, 14)
    at, nexthdr = _IP6, frame[20]
    while nexthdr in _EXTENSIONS and at + 8 < len(frame):
        nexthdr, at = frame[at], at + (frame[at + 1] + 1) * 8
    quoted = at + 8
    if nexthdr == _FRAGMENT:
        frame[at + 4 : at + 8] = bytes(len(frame[at + 4 : at + 8]))
    elif nexthdr == socket.IPPROTO_ICMPV6 and frame[quoted + 40 : quoted + 42] == SENDER:
        frame[at + 2 : at + 4] = bytes(2)
        _forget_label(frame, quoted)
    elif nexthdr == socket.IPPROTO_ICMPV6 and frame[at : at + 1] < b"\x80":
        _forget_quoted_ident(frame, at, quoted)
    return bytes(frame)


def _forget_quoted_ident(frame: bytearray, icmp: int, quoted: int) -> None:
    """Of a fragment that the kernel has numbered: those of the generator have small numbers."""
    at = _fragment_header(frame, quoted)
    if at is not None and any(frame[at + 4 : at + 6]):
        frame[at + 4 : at + 8] = bytes(len(frame[at + 4 : at + 8]))
        frame[icmp + 2 : icmp + 4] = bytes(2)


def _fragment_header(frame: bytearray, start: int) -> int | None:
    """Where in an IPv6 packet its fragment header is, if it has one."""
    at, nexthdr = start + 40, frame[start + 6] if start + 40 < len(frame) else None
    while nexthdr in _EXTENSIONS and at + 8 < len(frame):
        nexthdr, at = frame[at], at + (frame[at + 1] + 1) * 8
    return at if nexthdr == _FRAGMENT else None


def _forget_label(frame: bytearray, at: int) -> None:
    frame[at + 1 : at + 4] = bytes((frame[at + 1] & 0xF0, 0, 0))
