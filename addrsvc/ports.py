"""The model's face for those who have packets: frames sent over a device, a tap on what passes it, echo requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from errno import EAGAIN
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.af_packet import packet_bind, packet_create, packet_release, packet_snd
from addrsvc.model.ping import ping_create, ping_recvmsg, ping_release, ping_sendmsg
from addrsvc.model.receive import dev_add_pack, dev_remove_pack
from addrsvc.model.rtnl import dev_get_stats
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import InetSock, Net, NetDevice, PacketType, RtnlLinkStats64
from addrsvc.model.timer import HZ, INITIAL_JIFFIES
from addrsvc.uapi import AF_INET, AF_INET6, ETH_P_ALL, PACKET_OUTGOING

__all__ = ["Echo", "Packet", "PacketQueue", "Port", "Tap", "ping"]

_ECHO_HEADER: Final = 8
TAP_SIZE: Final = 10_000
"""How many packets a tap keeps for its reader."""
TAP_ROOM: Final = 1 << 24
"""How many bytes of them."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it was seen on a device.

    Attributes:
        data: the frame, link header first.
        protocol: ETH_P_*.
        pkttype: PACKET_OUTGOING while it is being sent, else what it is to the receiver: PACKET_HOST and so on.
        seconds: when, since the model was booted.
        dev: the device's name.
    """

    data: bytes
    protocol: int
    pkttype: int
    seconds: float
    dev: str

    @property
    def is_outgoing(self) -> bool:
        """Whether it was being sent; lo shows each packet twice, and once so."""
        return self.pkttype == PACKET_OUTGOING


class PacketQueue:
    """Packets for somebody to read: so many, and so many bytes of them; the oldest are lost first.

    Attributes:
        lost: how many were.
    """

    def __init__(self, size: int = TAP_SIZE, room: int = TAP_ROOM) -> None:
        self.lost = 0
        self._size, self._room = size, room
        self._packets, self._bytes = deque[Packet](), 0

    def append(self, packet: Packet) -> None:
        """Add the newest."""
        self._packets.append(packet)
        self._bytes += len(packet.data)
        while len(self._packets) > self._size or self._bytes > self._room:
            self.popleft()
            self.lost += 1

    def popleft(self) -> Packet:
        """Take the oldest."""
        packet = self._packets.popleft()
        self._bytes -= len(packet.data)
        return packet

    def __len__(self) -> int:
        return len(self._packets)

    def __iter__(self) -> Iterator[Packet]:
        return iter(self._packets)


class Tap:
    """What passes a device from now on; iterating yields what has passed since the last look."""

    def __init__(self, dev: NetDevice, size: int = TAP_SIZE) -> None:
        self._dev, self._queue = dev, PacketQueue(size)
        self._hook = PacketType(ETH_P_ALL, self._see, dev, dev.net)
        dev_add_pack(dev.machine, self._hook)

    @property
    def lost(self) -> int:
        """Packets that were not kept because nobody looked for so long."""
        return self._queue.lost

    def _see(self, skb: SkBuff, dev: NetDevice) -> None:
        if dev.header_ops is not None:
            skb.data = skb.mac_header or 0
        seconds = (dev.machine.timers.jiffies - INITIAL_JIFFIES) / HZ
        self._queue.append(Packet(skb.tobytes(), skb.protocol, skb.pkt_type, seconds, dev.name))

    def __iter__(self) -> Iterator[Packet]:
        """What has passed since the last look, oldest first."""
        while self._queue:
            yield self._queue.popleft()

    def close(self) -> None:
        """See no more; a second time does nothing."""
        dev_remove_pack(self._dev.machine, self._hook)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Port:
    """One device of a modelled kernel, for those who have packets.

    Args:
        dev: the device.
        one_at_a_time: held while something is done to the machine.
        settle: runs the work that is due afterwards.
    """

    def __init__(
        self, dev: NetDevice, one_at_a_time: AbstractContextManager[object], settle: Callable[[], None]
    ) -> None:
        self.dev, self._one_at_a_time, self._settle = dev, one_at_a_time, settle

    def __repr__(self) -> str:
        return f"Port({self.dev.name!r})"

    def send(self, frame: bytes, protocol: int = 0) -> None:
        """Send a frame, link header first, as a packet socket does; `protocol` is ETH_P_*, or 0 for the header's own.

        Raises:
            KernelError: ENETDOWN, the device is down; EINVAL, less than a link header; EMSGSIZE, more than the device
                takes; ENOBUFS or ENOMEM, it was dropped on the way.
        """
        with self._one_at_a_time:
            sk = packet_create(self.dev.net)
            try:
                packet_bind(sk, self.dev.ifindex, 0)
                packet_snd(sk, frame, self.dev.ifindex, protocol)
            finally:
                packet_release(sk)
                self._settle()

    def tap(self, size: int = TAP_SIZE) -> Tap:
        """See what is sent and received from now on; close it, or use it as a context manager."""
        with self._one_at_a_time:
            return Tap(self.dev, size)

    def stats(self) -> RtnlLinkStats64:
        """What the device has counted."""
        with self._one_at_a_time:
            return dev_get_stats(self.dev)


# --- echo -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Echo:
    """An echo reply: who sent it, and what it came with."""

    source: bytes
    seq: int
    hops: int
    data: bytes


def ping(net: Net, addr: bytes, count: int, size: int) -> list[Echo | None]:
    """Send echo requests, numbered from 1, and give each one's reply; None where none came.

    Raises:
        KernelError: there is no way, or no source for them, or they are too long.
    """
    sk = ping_create(net, AF_INET6 if len(addr) == 16 else AF_INET)
    try:
        return [_ping_once(sk, addr, seq, size) for seq in range(1, count + 1)]
    finally:
        ping_release(sk)


_TOO_LONG: Final = 1 << 16
"""So many bytes are refused, so that there is no need for more to be refused."""


def _ping_once(sk: InetSock, addr: bytes, seq: int, size: int) -> Echo | None:
    ping_sendmsg(sk, bytes(at & 0xFF for at in range(min(size, _TOO_LONG))), addr, seq)
    try:
        reply = ping_recvmsg(sk)
    except KernelError as error:
        if error.errno != EAGAIN:
            raise
        return None
    return Echo(reply.source, int.from_bytes(reply.data[6:_ECHO_HEADER]), reply.hops, reply.data[_ECHO_HEADER:])
