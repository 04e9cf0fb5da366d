"""Packets as commands of the service: sent, pinged, captured; and the calls that anything leads to."""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypedDict

from addrsvc.errors import ControlError, KernelError

if TYPE_CHECKING:
    from addrsvc.daemon.service import Service
    from addrsvc.ports import Tap

__all__ = ["Called", "Calls", "Captured", "Pings", "Recorder", "capture", "ping", "send", "trace"]

_KEPT: Final = 10_000
_MOST_PINGS: Final = 10_000


class Reply(TypedDict):
    """One echo reply."""

    seq: int
    source: str
    bytes: int
    ttl: int


class Pings(TypedDict):
    """What came of echo requests."""

    address: str
    size: int
    transmitted: int
    replies: list[Reply]


class CapturedPacket(TypedDict):
    """One packet as it passed a device; `data` is the frame in hexadecimal."""

    number: int
    seconds: float
    protocol: int
    pkttype: int
    data: str


class Captured(TypedDict):
    """Packets that have passed, the number to ask from next time, and how many before them are no longer kept."""

    packets: list[CapturedPacket]
    next: int
    lost: int


class Called(TypedDict):
    """One line of the story: a function and its file in the kernel's tree, or what was told (`file` is empty)."""

    depth: int
    text: str
    file: str


class Calls(TypedDict):
    """What ran, in order, what stands deeper being called by what stands above; and the refusal, if any."""

    calls: list[Called]
    refused: str | None


@dataclass(slots=True, eq=False)
class Recorder:
    """What has passed a device since somebody first asked, numbered; the oldest are forgotten."""

    tap: "Tap"
    kept: deque[CapturedPacket] = field(default_factory=lambda: deque(maxlen=_KEPT))
    next: int = 0

    def since(self, number: int) -> Captured:
        """What passed from this number on."""
        for packet in self.tap:
            self.kept.append({
                "number": self.next, "seconds": packet.seconds, "protocol": packet.protocol,
                "pkttype": packet.pkttype, "data": packet.data.hex(),
            })  # fmt: skip
            self.next += 1
        found = [packet for packet in self.kept if packet["number"] >= number]
        first = found[0]["number"] if found else self.next
        return {"packets": found, "next": self.next, "lost": max(first - number, 0) + self._overrun()}

    def _overrun(self) -> int:
        lost, self.tap.lost = self.tap.lost, 0
        return lost


def send(service: "Service", *, frame: str, dev: str = "lo", protocol: int = 0, net: str | None = None) -> None:
    """Send a frame over a device, as a packet socket does; it is given in hexadecimal, link header first."""
    try:
        data = bytes.fromhex(frame)
    except ValueError:
        raise ControlError(f"frame: {_shortened(frame)!r} is not hexadecimal") from None
    service.net(net).port(dev).send(data, protocol)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def ping(service: "Service", *, address: str, count: int = 4, size: int = 56, net: str | None = None) -> Pings:
    """Send echo requests to an address, and tell which were answered."""
    from addrsvc.netlink.text import inet_ntop

    if not 0 < count <= _MOST_PINGS:
        raise ControlError(f"count: {count} is not between 1 and {_MOST_PINGS}")
    echoes = service.net(net).ping(address, count=count, size=size)
    replies: list[Reply] = [
        {"seq": echo.seq, "source": inet_ntop(echo.source), "bytes": len(echo.data) + 8, "ttl": echo.hops}
        for echo in echoes
        if echo is not None
    ]
    return {"address": address, "size": size, "transmitted": len(echoes), "replies": replies}


def capture(service: "Service", *, since: int | None = None, dev: str = "lo", net: str | None = None) -> Captured:
    """Tell which packets have passed a device, from a number on; they are kept from the first call on."""
    namespace = service.net(net)
    port = namespace.port(dev)
    recorder = service.recorders.get(port.dev)
    if recorder is None:
        recorder = service.recorders[port.dev] = Recorder(port.tap(_KEPT))
    if since is None:
        recorder.since(recorder.next)
        return {"packets": [], "next": recorder.next, "lost": 0}
    return recorder.since(since)


def trace(service: "Service", *, words: list[str]) -> Calls:
    """Do something, and tell which functions of the kernel run: ``link set lo up``, ``ping ::1``, ``send HEX``."""
    from addrsvc.daemon import commands
    from addrsvc.daemon.calls import listening
    from addrsvc.daemon.words import read_command

    command, parameters = read_command(words)
    run = commands.look_up(command)
    bound = commands.bind(run, parameters)
    refused = None
    with listening(service.linux) as calls:
        try:
            run(service, **bound)
        except KernelError as error:
            refused = str(error)
    return {"calls": calls, "refused": refused}
