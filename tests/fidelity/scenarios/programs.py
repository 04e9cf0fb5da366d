"""What programs do in a namespace beside netlink: features by ioctl(2), groups, packets.  On both kernels in one way.

What a system call refuses is the name of the errno here, and what it grants no name.
"""

import ctypes
import fcntl
import socket
from collections.abc import Callable
from errno import errorcode
from struct import Struct, pack, unpack_from
from typing import Final, Protocol, TypeVar

from addrsvc import Linux
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.model.af_packet import packet_bind, packet_create, packet_recvmsg, packet_release, packet_snd
from addrsvc.model.ethtool import ethtool_get_features, ethtool_set_features
from addrsvc.model.mcast import ipv6_dev_mc_dec, ipv6_dev_mc_inc
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import Net
from addrsvc.model.udp import udp_bind, udp_create, udp_release, udp_sendmsg
from addrsvc.uapi import ETH_P_ALL

__all__ = ["Datagrams", "Frames", "Member", "Program", "frame", "model_program", "running_program"]

LO: Final = 1
T = TypeVar("T")


def frame(destination: str, ethertype: int, payload: bytes) -> bytes:
    """An Ethernet frame from 00:00:00:00:00:00."""
    return bytes.fromhex(destination.replace(":", "")) + bytes(6) + ethertype.to_bytes(2, "big") + payload


class Member(Protocol):
    """A socket that is in IPv6 groups."""

    def close(self) -> None:
        """Leave them."""


class Frames(Protocol):
    """A packet socket, and another one that looks, since none sees what it sends itself."""

    def send(self, frame: bytes) -> str:
        """Send one."""

    def types(self) -> list[int]:
        """PACKET_* of each that was seen since the last look."""

    def close(self) -> None:
        """Look no more."""


class Datagrams(Protocol):
    """A socket of UDP."""

    def bind(self, address: str) -> str:
        """Take an address, and a port that is free."""

    def port(self) -> int:
        """Which it is."""

    def send(self, size: int, address: str, port: int) -> str:
        """Send so many bytes."""

    def close(self) -> None:
        """Give the port back."""


class Program(Protocol):
    """A program that runs in one namespace and uses lo."""

    def features(self) -> int:
        """Those in force (ETHTOOL_GFEATURES)."""

    def change_features(self, mask: int, wanted: int) -> str:
        """Change those in `mask` (ETHTOOL_SFEATURES)."""

    def join(self, *groups: str) -> Member:
        """Join IPv6 groups by one socket."""

    def frames(self, *, looking: bool = False) -> Frames:
        """Open a packet socket that sends, and one that sees every frame of lo, as it goes and as it comes."""

    def datagrams(self, family: socket.AddressFamily) -> Datagrams:
        """Open a socket of UDP."""


def _errno_of(call: Callable[..., object], *arguments: object) -> str:
    """The name of the errno that a call ends with, if it does."""
    try:
        call(*arguments)
    except OSError as error:
        return errorcode[error.errno or 0]
    return ""


# --- on the model ----------------------------------------------------------------------------------------------------


class _ModelProgram:
    def __init__(self, linux: Linux, namespace: Namespace) -> None:
        self._linux, self._net, self._lo = linux, namespace.net, namespace.device("lo")

    def features(self) -> int:
        return ethtool_get_features(self._lo).active

    def change_features(self, mask: int, wanted: int) -> str:
        return _errno_of(self._locked, lambda: ethtool_set_features(self._lo, mask, wanted))

    def join(self, *groups: str) -> Member:
        packed = [socket.inet_pton(socket.AF_INET6, group) for group in groups]
        for group in packed:
            self._locked(lambda group=group: ipv6_dev_mc_inc(self._lo, group))  # type: ignore[misc]
        return _ModelMember(self, packed)

    def leave(self, group: bytes) -> None:
        idev = self._lo.ip6_ptr
        assert idev is not None
        self._locked(lambda: ipv6_dev_mc_dec(idev, group))

    def frames(self, *, looking: bool = False) -> Frames:
        return _ModelFrames(self._net, looking=looking)

    def datagrams(self, family: socket.AddressFamily) -> Datagrams:
        return _ModelDatagrams(self._net, family)

    def _locked(self, change: Callable[[], T]) -> T:
        try:
            with rtnl_lock(self._linux.machine):
                return change()
        finally:
            self._linux.settle()


class _ModelMember:
    """Of a socket's groups, the one that it joined last is left first (ipv6_sock_mc_close())."""

    def __init__(self, program: _ModelProgram, groups: list[bytes]) -> None:
        self._program, self._groups = program, groups

    def close(self) -> None:
        while self._groups:
            self._program.leave(self._groups.pop())


class _ModelFrames:
    def __init__(self, net: Net, *, looking: bool) -> None:
        self._sender, self._onlooker = packet_create(net), packet_create(net)
        packet_bind(self._onlooker, LO, ETH_P_ALL if looking else 0)

    def send(self, frame: bytes) -> str:
        return _errno_of(packet_snd, self._sender, frame, LO, 0)

    def types(self) -> list[int]:
        return [packet_recvmsg(self._onlooker).name.sll_pkttype for _ in tuple(self._onlooker.sk_receive_queue)]

    def close(self) -> None:
        for sock in (self._sender, self._onlooker):
            packet_release(sock)


class _ModelDatagrams:
    def __init__(self, net: Net, family: socket.AddressFamily) -> None:
        self._family, self._socket = family, udp_create(net, family)

    def bind(self, address: str) -> str:
        return _errno_of(udp_bind, self._socket, socket.inet_pton(self._family, address), 0)

    def port(self) -> int:
        return self._socket.num

    def send(self, size: int, address: str, port: int) -> str:
        return _errno_of(udp_sendmsg, self._socket, bytes(size), socket.inet_pton(self._family, address), port)

    def close(self) -> None:
        udp_release(self._socket)


def model_program(linux: Linux, namespace: Namespace) -> Program:
    """A program on the model."""
    return _ModelProgram(linux, namespace)


# --- on the running kernel -------------------------------------------------------------------------------------------

_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GFEATURES, _ETHTOOL_SFEATURES = 0x3A, 0x3B
_WORDS: Final = 2
"""Of 32 features each."""
_IPV6_JOIN_GROUP: Final = 20
_IFREQ: Final = Struct("=16sQ16x")
_GFEATURES: Final = Struct(f"=II{4 * _WORDS}I")
_U32: Final = 0xFFFFFFFF


class _RunningProgram:
    def __init__(self, netns: NetNs, opened: list[socket.socket]) -> None:
        self._netns, self._sockets = netns, opened

    def _open(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        sock: socket.socket = run_in(self._netns, lambda: socket.socket(family, kind, protocol))
        self._sockets.append(sock)
        return sock

    def _ethtool(self, command: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(command, len(command))
        control = self._open(socket.AF_INET6, socket.SOCK_DGRAM)
        fcntl.ioctl(control, _SIOCETHTOOL, _IFREQ.pack(b"lo", ctypes.addressof(buffer)))
        return buffer.raw

    def features(self) -> int:
        answer = self._ethtool(_GFEATURES.pack(_ETHTOOL_GFEATURES, _WORDS, *[0] * 4 * _WORDS))
        active = [unpack_from("=4I", answer, 8 + 16 * word)[2] for word in range(_WORDS)]
        return sum(int(bits) << 32 * word for word, bits in enumerate(active))

    def change_features(self, mask: int, wanted: int) -> str:
        words = [bits >> 32 * word & _U32 for word in range(_WORDS) for bits in (mask, wanted)]
        return _errno_of(self._ethtool, pack(f"=II{2 * _WORDS}I", _ETHTOOL_SFEATURES, _WORDS, *words))

    def join(self, *groups: str) -> Member:
        member = self._open(socket.AF_INET6, socket.SOCK_DGRAM)
        for group in groups:
            wanted = socket.inet_pton(socket.AF_INET6, group) + pack("=I", LO)
            member.setsockopt(socket.IPPROTO_IPV6, _IPV6_JOIN_GROUP, wanted)
        return member

    def frames(self, *, looking: bool = False) -> Frames:
        sender, onlooker = (self._open(socket.AF_PACKET, socket.SOCK_RAW) for _ in range(2))
        return _RunningFrames(sender, onlooker, looking=looking)

    def datagrams(self, family: socket.AddressFamily) -> Datagrams:
        return _RunningDatagrams(self._open(family, socket.SOCK_DGRAM))


class _RunningFrames:
    def __init__(self, sender: socket.socket, onlooker: socket.socket, *, looking: bool) -> None:
        self._sender, self._onlooker = sender, onlooker
        onlooker.bind(("lo", ETH_P_ALL if looking else 0))
        onlooker.setblocking(False)

    def send(self, frame: bytes) -> str:
        return _errno_of(self._sender.sendto, frame, ("lo", 0))

    def types(self) -> list[int]:
        return list(iter(self._next, -1))

    def _next(self) -> int:
        try:
            return int(self._onlooker.recvfrom(1)[1][2])
        except BlockingIOError:
            return -1

    def close(self) -> None:
        for sock in (self._sender, self._onlooker):
            sock.close()


class _RunningDatagrams:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def bind(self, address: str) -> str:
        return _errno_of(self._socket.bind, (address, 0))

    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def send(self, size: int, address: str, port: int) -> str:
        return _errno_of(self._socket.sendto, bytes(size), (address, port))

    def close(self) -> None:
        self._socket.close()


def running_program(netns: NetNs, opened: list[socket.socket]) -> Program:
    """A program on the running kernel; what it opens and does not close is added to `opened`."""
    return _RunningProgram(netns, opened)
