"""lo of a namespace of the running kernel, reached by packet sockets."""

import os
import socket
import struct
from array import array
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from errno import EINVAL, ENETDOWN
from fcntl import ioctl
from pathlib import Path
from typing import Final

from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.model.checksum import csum_fold, csum_partial
from addrsvc.netlink.codec import decode
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import ETH_P_ALL, IFF_LOOPBACK, IFF_UP, RTM_GETLINK
from tests.netlink.recording import ask
from tests.packets.generator import OPEN_PORT, SENDER
from tests.packets.outcome import MARKER, MARKER_PROTOCOL, Counters, Seen, snmp_counters, stats_counters

__all__ = ["RunningLo"]

SOL_PACKET: Final = 263
PACKET_AUXDATA, PACKET_VNET_HDR = 8, 15
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
SIOCSIFFLAGS, SIOCSIFMTU, SIOCSIFHWADDR, SIOCETHTOOL = 0x8914, 0x8922, 0x8924, 0x8946
ETHTOOL_SFEATURES: Final = 0x3B
ARPHRD_LOOPBACK: Final = 772
_AUXDATA: Final = struct.Struct("=IIIHHHH")
_BIG: Final = 1 << 26
_LONGEST: Final = 1 << 18
_FOR_EVER: Final = 86400


@dataclass(frozen=True, slots=True)
class _Sockets:
    """What is opened inside of the namespace, and works outside."""

    control: socket.socket
    route: socket.socket
    plain: socket.socket
    vnet: socket.socket
    capture: socket.socket
    open6: socket.socket
    open4: socket.socket
    send6: socket.socket
    send4: socket.socket
    raw6: socket.socket
    raw4: socket.socket
    snmp6: int
    snmp: int


def _packet_socket(protocol: int, **options: int) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BIG)
    sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, _BIG)
    for option in options.values():
        sock.setsockopt(SOL_PACKET, option, 1)
    if protocol:
        sock.bind(("lo", protocol))
    sock.setblocking(False)
    return sock


def _bound(family: int, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))
    sock.setblocking(False)
    return sock


def _let_fragments_wait(seconds: int) -> None:
    for name in ("ipv4/ipfrag_time", "ipv6/ip6frag_time"):
        Path("/proc/sys/net", name).write_text(str(seconds))


def _open() -> _Sockets:
    _let_fragments_wait(_FOR_EVER)  # the model's clock stands still meanwhile
    return _Sockets(
        control=socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        route=socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE),
        plain=_packet_socket(0),
        vnet=_packet_socket(0, vnet=PACKET_VNET_HDR),
        capture=_packet_socket(ETH_P_ALL, vnet=PACKET_VNET_HDR, auxdata=PACKET_AUXDATA),
        open6=_bound(socket.AF_INET6, OPEN_PORT),
        open4=_bound(socket.AF_INET, OPEN_PORT),
        send6=_bound(socket.AF_INET6, int.from_bytes(SENDER)),
        send4=_bound(socket.AF_INET, int.from_bytes(SENDER)),
        raw6=socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
        raw4=socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        snmp6=os.open("/proc/thread-self/net/snmp6", os.O_RDONLY),
        snmp=os.open("/proc/thread-self/net/snmp", os.O_RDONLY),
    )


class RunningLo:
    """lo of one namespace of the running kernel: switched, sent to, looked at."""

    def __init__(self, netns: NetNs) -> None:
        self.netns = netns
        self._in = run_in(netns, _open)

    def deaf(self) -> None:
        """Let nobody look at what passes, so that it is dropped if no protocol takes it."""
        self._in.capture.close()

    def close(self) -> None:
        for opened in (getattr(self._in, field.name) for field in fields(self._in)):
            if isinstance(opened, int):
                os.close(opened)
            else:
                opened.close()

    # --- switching ---

    def up(self, up: bool = True) -> None:
        flags = IFF_LOOPBACK | (IFF_UP if up else 0)
        ioctl(self._in.control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))

    def mtu(self, mtu: int) -> None:
        ioctl(self._in.control, SIOCSIFMTU, struct.pack("16si12x", b"lo", mtu))

    def address(self, address: bytes) -> None:
        ioctl(self._in.control, SIOCSIFHWADDR, struct.pack("16sH14s", b"lo", ARPHRD_LOOPBACK, address))

    def features(self, mask: int, wanted: int) -> None:
        """Ask for the features in `mask` to be as in `wanted`, as ethtool -K does."""
        words = [word for shift in (0, 32) for word in (mask >> shift & 0xFFFFFFFF, wanted >> shift & 0xFFFFFFFF)]
        request = array("I", [ETHTOOL_SFEATURES, 2, *words])
        ioctl(self._in.control, SIOCETHTOOL, struct.pack("16sQ16x", b"lo", request.buffer_info()[0]))

    def let_fragments_wait(self, *, seconds: int) -> None:
        run_in(self.netns, lambda: _let_fragments_wait(seconds))

    # --- packets ---

    def send(self, frame: bytes, protocol: int, vnet: bytes | None) -> int:
        """Send one frame; 0, or the errno."""
        try:
            if vnet is None:
                self._in.plain.sendto(frame, ("lo", protocol))
            else:
                self._in.vnet.sendto(vnet + frame, ("lo", protocol))
        except OSError as error:
            return error.errno or EINVAL
        return 0

    def seen(self) -> list[Seen]:
        """What has passed since the last look, in order.

        A marker is sent behind it and waited for, twice: answers to what was sent come behind the first.
        """
        found: list[Seen] = []
        for _ in range(2):
            if self.send(MARKER, MARKER_PROTOCOL, None) == 0:
                self._until_marker(found)
        return found

    def _until_marker(self, found: list[Seen]) -> None:
        self._in.capture.settimeout(5)
        while True:
            one = self._receive()
            if one.frame != MARKER:
                found.append(one)
            elif one.pkttype != socket.PACKET_OUTGOING:
                return

    def _receive(self) -> Seen:
        try:
            data, ancillary, _, name = self._in.capture.recvmsg(_LONGEST, 64)
        except OSError as error:
            if error.errno not in (EINVAL, ENETDOWN):
                raise
            return Seen.refused(error.errno)
        ((_, _, auxdata),) = ancillary
        status, length, _, _, net, *vlan = _AUXDATA.unpack(auxdata)
        return Seen(name[1], name[2], data[10:], data[:10], status, length, net, (vlan[0], vlan[1]))

    def udp(self, data: bytes, addr: str, port: int) -> int:
        """Send a datagram from a socket of its own; 0, or the errno."""
        try:
            (self._in.send6 if ":" in addr else self._in.send4).sendto(data, (addr, port))
        except OSError as error:
            return error.errno or EINVAL
        return 0

    def ping(self, data: bytes, addr: str) -> int:
        """Send an echo request; 0, or the errno."""
        request = struct.pack("!BBHHH", 128 if ":" in addr else 8, 0, 0, 1, 1) + data
        request = request[:2] + csum_fold(csum_partial(request)).to_bytes(2) + request[4:]
        try:
            (self._in.raw6 if ":" in addr else self._in.raw4).sendto(request, (addr, 0))
        except OSError as error:
            return error.errno or EINVAL
        return 0

    def datagrams(self) -> list[bytes]:
        """What the open ports have got."""
        found = []
        for sock in (self._in.open6, self._in.open4):
            with suppress(BlockingIOError):
                while True:
                    found.append(sock.recv(_LONGEST))
        return found

    # --- counters ---

    def counters(self) -> Counters:
        (answer,) = ask(self._in.route, LinkMsg(nlmsg_type=RTM_GETLINK, ifi_index=1), 0)
        link = decode(answer)
        assert isinstance(link, LinkMsg)
        assert link.stats64 is not None
        return stats_counters(link.stats64)

    def snmp(self) -> Mapping[str, int]:
        """The counters of IPv6 and IPv4 of the namespace, by name."""
        return snmp_counters(self.proc_snmp6(), os.pread(self._in.snmp, 1 << 16, 0).decode())

    def proc_snmp6(self) -> str:
        return os.pread(self._in.snmp6, 1 << 16, 0).decode()
