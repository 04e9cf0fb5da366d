"""Packets as commands of the service: sent, pinged, captured; and the calls that anything leads to."""

from itertools import islice
from typing import TYPE_CHECKING, Final, TypedDict

from addrsvc.errors import ControlError, KernelError

if TYPE_CHECKING:
    from addrsvc.daemon.service import Service
    from addrsvc.ports import PacketQueue, Tap

__all__ = ["Called", "Calls", "Captured", "Pings", "Recorder", "capture", "ping", "send", "trace"]

_ANSWER_ROOM: Final = 1 << 20
"""Bytes of packets in one answer; there is always at least one packet."""
_MOST_PINGS: Final = 10_000
_PING_ROOM: Final = 1 << 24
"""Bytes of all requests that are sent at once."""
_MOST_FOLLOWED: Final = 100
"""How many requests can be followed at once: each is hundreds of calls."""


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


class Recorder:
    """What has passed a device since somebody first asked, numbered from 0; the oldest are forgotten.

    Attributes:
        next: the number that the next packet will have.
    """

    def __init__(self, tap: "Tap", kept: "PacketQueue") -> None:
        self.next = 0
        self._tap, self._kept, self._lost = tap, kept, 0

    def since(self, number: int) -> Captured:
        """What passed from this number on, as much of it as one answer holds."""
        self.catch_up()
        first = self.next - len(self._kept)
        begin = max(first, number)
        found: list[CapturedPacket] = []
        room = _ANSWER_ROOM
        for at, packet in enumerate(islice(self._kept, begin - first, None), begin):
            room -= len(packet.data)
            if room < 0 and found:
                break
            found.append({
                "number": at, "seconds": packet.seconds, "protocol": packet.protocol, "pkttype": packet.pkttype,
                "data": packet.data.hex(),
            })  # fmt: skip
        return {"packets": found, "next": begin + len(found), "lost": begin - number}

    def catch_up(self) -> None:
        """Number what has passed since the last look; what the tap has lost had numbers too, and parted the rest."""
        if newly_lost := self._tap.lost - self._lost:
            self._kept, self._lost, self.next = type(self._kept)(), self._tap.lost, self.next + newly_lost
        for packet in self._tap:
            self._kept.append(packet)
            self.next += 1


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
    if count * size > _PING_ROOM and count > 1:
        raise ControlError(f"count: {count} of {size} bytes are more than {_PING_ROOM} in all")
    echoes = service.net(net).ping(address, count=count, size=size)
    replies: list[Reply] = [
        {"seq": echo.seq, "source": inet_ntop(echo.source), "bytes": len(echo.data) + 8, "ttl": echo.hops}
        for echo in echoes
        if echo is not None
    ]
    return {"address": address, "size": size, "transmitted": len(echoes), "replies": replies}


def capture(service: "Service", *, since: int | None = None, dev: str = "lo", net: str | None = None) -> Captured:
    """Tell which packets have passed a device, from a number on; they are kept from the first call on."""
    from addrsvc.ports import PacketQueue

    port = service.net(net).port(dev)
    recorder = service.recorders.get(port.dev)
    if recorder is None:
        recorder = service.recorders[port.dev] = Recorder(port.tap(), PacketQueue())
    if since is None:
        recorder.catch_up()
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
    if isinstance(count := bound.get("count", 1), int) and count > _MOST_FOLLOWED:
        raise ControlError(f"count: {count} are too many to be followed; {_MOST_FOLLOWED} can be")
    refused = None
    with listening(service.linux) as calls:
        try:
            run(service, **bound)
        except KernelError as error:
            refused = str(error)
    return {"calls": calls, "refused": refused}
