"""What programs do in a namespace beside netlink: features by ioctl(2), groups, packets.

The model has no sockets but netlink's.  There a program does what its system call would end in: it joins a group on the
device, hands a frame to dev_queue_xmit(), and looks at packets where a packet socket does.
"""

import ctypes
import fcntl
import socket
from collections.abc import Callable
from errno import errorcode
from struct import Struct, pack, unpack_from
from typing import Final, Protocol, TypeVar

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.model.ethtool import ethtool_get_features, ethtool_set_features
from addrsvc.model.mcast import ipv6_dev_mc_dec, ipv6_dev_mc_inc
from addrsvc.model.receive import dev_add_pack, dev_remove_pack
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import NetDevice, PacketType
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.uapi import ETH_P_ALL

__all__ = ["Member", "ModelProgram", "Onlooker", "Program", "RunningProgram", "frame"]

LO: Final = 1
T = TypeVar("T")


def frame(destination: str, ethertype: int, payload: bytes) -> bytes:
    """An Ethernet frame from 00:00:00:00:00:00."""
    return bytes.fromhex(destination.replace(":", "")) + bytes(6) + ethertype.to_bytes(2, "big") + payload


class Member(Protocol):
    """A socket that is in groups."""

    def close(self) -> None:
        """Leave them."""


class Onlooker(Protocol):
    """A packet socket that sees every frame, as it goes and as it comes."""

    def types(self) -> list[int]:
        """PACKET_* of each frame since the last look."""

    def close(self) -> None:
        """Look no more."""


class Program(Protocol):
    """A program that runs in one namespace and uses lo."""

    def features(self) -> int:
        """Those in force (ETHTOOL_GFEATURES)."""

    def change_features(self, mask: int, wanted: int) -> str:
        """The name of the errno, or nothing (ETHTOOL_SFEATURES)."""

    def join(self, *groups: str) -> Member:
        """Join IPv6 groups by one socket."""

    def look(self) -> Onlooker:
        """Open a packet socket."""

    def send(self, frame: bytes) -> None:
        """Send a frame by a packet socket."""

    def close(self) -> None:
        """End it, and its sockets."""


# --- on the model ----------------------------------------------------------------------------------------------------


class ModelProgram:
    def __init__(self, linux: Linux, namespace: Namespace) -> None:
        self._linux, self._lo = linux, namespace.device("lo")

    def features(self) -> int:
        return ethtool_get_features(self._lo).active

    def change_features(self, mask: int, wanted: int) -> str:
        try:
            self._locked(lambda: ethtool_set_features(self._lo, mask, wanted))
        except KernelError as refused:
            return refused.name
        return ""

    def join(self, *groups: str) -> Member:
        packed = [socket.inet_pton(socket.AF_INET6, group) for group in groups]
        for group in packed:
            self._locked(lambda group=group: ipv6_dev_mc_inc(self._lo, group))  # type: ignore[misc]
        return _ModelMember(self, packed)

    def leave(self, group: bytes) -> None:
        idev = self._lo.ip6_ptr
        assert idev is not None
        self._locked(lambda: ipv6_dev_mc_dec(idev, group))

    def look(self) -> Onlooker:
        return _ModelOnlooker(self._lo)

    def send(self, frame: bytes) -> None:
        dev_queue_xmit(SkBuff(bytearray(frame), dev=self._lo))

    def close(self) -> None:
        """Nothing is kept."""

    def _locked(self, change: Callable[[], T]) -> T:
        try:
            with rtnl_lock(self._linux.machine):
                return change()
        finally:
            self._linux.settle()


class _ModelMember:
    """Of a socket's groups, the one that it joined last is left first (ipv6_sock_mc_close())."""

    def __init__(self, program: ModelProgram, groups: list[bytes]) -> None:
        self._program, self._groups = program, groups

    def close(self) -> None:
        while self._groups:
            self._program.leave(self._groups.pop())


class _ModelOnlooker:
    def __init__(self, dev: NetDevice) -> None:
        self._machine, self._seen = dev.machine, list[int]()
        self._tap = PacketType(ETH_P_ALL, self._see, dev)
        dev_add_pack(self._machine, self._tap)

    def _see(self, skb: SkBuff, _: NetDevice) -> None:
        self._seen.append(skb.pkt_type)

    def types(self) -> list[int]:
        seen, self._seen = self._seen, []
        return seen

    def close(self) -> None:
        dev_remove_pack(self._machine, self._tap)


# --- on the running kernel -------------------------------------------------------------------------------------------

_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GFEATURES, _ETHTOOL_SFEATURES = 0x3A, 0x3B
_WORDS: Final = 2
"""Of 32 features each."""
_IPV6_JOIN_GROUP: Final = 20
_ETH_P_ALL_BE: Final = socket.htons(ETH_P_ALL)
_IFREQ: Final = Struct("=16sQ16x")
_GFEATURES: Final = Struct(f"=II{4 * _WORDS}I")
_U32: Final = 0xFFFFFFFF


class RunningProgram:
    def __init__(self, netns: NetNs) -> None:
        self._netns = netns
        self._sockets: list[socket.socket] = []
        self._control = self._opened(socket.AF_INET6, socket.SOCK_DGRAM)
        self._packet = self._opened(socket.AF_PACKET, socket.SOCK_RAW)

    def _opened(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        sock: socket.socket = run_in(self._netns, lambda: socket.socket(family, kind, protocol))
        self._sockets.append(sock)
        return sock

    def _ethtool(self, command: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(command, len(command))
        fcntl.ioctl(self._control, _SIOCETHTOOL, _IFREQ.pack(b"lo", ctypes.addressof(buffer)))
        return buffer.raw

    def features(self) -> int:
        answer = self._ethtool(_GFEATURES.pack(_ETHTOOL_GFEATURES, _WORDS, *[0] * 4 * _WORDS))
        active = [unpack_from("=4I", answer, 8 + 16 * word)[2] for word in range(_WORDS)]
        return sum(int(bits) << 32 * word for word, bits in enumerate(active))

    def change_features(self, mask: int, wanted: int) -> str:
        words = [bits >> 32 * word & _U32 for word in range(_WORDS) for bits in (mask, wanted)]
        try:
            self._ethtool(pack(f"=II{2 * _WORDS}I", _ETHTOOL_SFEATURES, _WORDS, *words))
        except OSError as refused:
            return errorcode[refused.errno or 0]
        return ""

    def join(self, *groups: str) -> Member:
        member = self._opened(socket.AF_INET6, socket.SOCK_DGRAM)
        for group in groups:
            wanted = socket.inet_pton(socket.AF_INET6, group) + pack("=I", LO)
            member.setsockopt(socket.IPPROTO_IPV6, _IPV6_JOIN_GROUP, wanted)
        return member

    def look(self) -> Onlooker:
        onlooker = self._opened(socket.AF_PACKET, socket.SOCK_RAW, _ETH_P_ALL_BE)
        onlooker.bind(("lo", ETH_P_ALL))
        onlooker.setblocking(False)
        return _RunningOnlooker(onlooker)

    def send(self, frame: bytes) -> None:
        self._packet.sendto(frame, ("lo", 0))

    def datagrams(self, family: socket.AddressFamily) -> socket.socket:
        """A socket of UDP, which the model has not."""
        return self._opened(family, socket.SOCK_DGRAM)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


class _RunningOnlooker:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def types(self) -> list[int]:
        return list(iter(self._next, -1))

    def _next(self) -> int:
        try:
            return int(self._socket.recvfrom(1)[1][2])
        except BlockingIOError:
            return -1

    def close(self) -> None:
        self._socket.close()
