"""Packets through lo, from whoever sends them to whoever takes them; and scapy, which takes the same frames apart and
puts them together again.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from struct import pack
from typing import TYPE_CHECKING, Final

from tests.benchmarks.race import Lap
from tests.packets.generator import ICMPV6, UDP, checksummed, ipv6, link, udp

if TYPE_CHECKING:
    from addrsvc.linux import Linux
    from addrsvc.model.skbuff import SkBuff
    from addrsvc.model.structs import NetDevice

__all__ = ["IN_FLIGHT", "PATHS", "Path", "frames", "scapy_lap", "scapy_missing"]

IN_FLIGHT: Final = (1, 64, 1_000)
_ETH_P_OURS, _ETH_P_IPV6, _PORT, _ECHO_REQUEST, _ECHO_REPLY = 0x88B5, 0x86DD, 7, 128, 129
_LO6: Final = bytes(15) + b"\x01"
_PAYLOAD: Final = b"addrsvc." * 8
_ROOM: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Path:
    """A way through lo of a machine of its own: how one packet is sent, and how one that has arrived is taken."""

    linux: "Linux"
    send: Callable[[], object]
    take: Callable[[], object]

    def lap(self, packets: int, in_flight: int) -> Lap:
        """So many packets, of which so many are under way when bottom halves run; each is taken, or the lap raises."""
        from addrsvc.model.receive import do_softirq

        machine, send, take = self.linux.machine, self.send, self.take

        def lap() -> None:
            for _ in range(packets // in_flight):
                for _ in range(in_flight):
                    send()
                do_softirq(machine)
                for _ in range(in_flight):
                    take()

        return lap


def _linux() -> "Linux":
    """A machine whose lo is up, and whose bottom halves wait to be run."""
    from addrsvc import Linux

    linux = Linux(effects=False)
    linux.init_net.link_set("lo", up=True)
    linux.machine.softnet.held = True
    return linux


def a_frame() -> Path:
    """From dev_queue_xmit() to the handler of a protocol."""
    from addrsvc.model.receive import dev_add_pack
    from addrsvc.model.skbuff import alloc_skb
    from addrsvc.model.structs import PacketType
    from addrsvc.model.xmit import dev_queue_xmit

    linux = _linux()
    lo, (frame,), taken = linux.init_net.device("lo"), frames(a_frame), deque["SkBuff"]()

    def send() -> None:
        skb = alloc_skb(2, frame)
        skb.dev, skb.protocol, skb.network_header = lo, _ETH_P_OURS, 16
        dev_queue_xmit(skb)

    def take(skb: "SkBuff", dev: "NetDevice") -> None:
        taken.append(skb)

    dev_add_pack(linux.machine, PacketType(_ETH_P_OURS, take))
    return Path(linux, send, taken.popleft)


def a_datagram() -> Path:
    """From a UDP socket to another, over ::1."""
    from addrsvc.model.udp import udp_bind, udp_create, udp_recvmsg, udp_sendmsg
    from addrsvc.uapi import AF_INET6

    linux = _linux()
    sender, reader = (udp_create(linux.init_net.net, AF_INET6) for _ in range(2))
    udp_bind(reader, bytes(16), _PORT)
    reader.sk_rcvbuf = _ROOM
    return Path(linux, partial(udp_sendmsg, sender, _PAYLOAD, _LO6, _PORT), partial(udp_recvmsg, reader))


def an_echo() -> Path:
    """From a ping socket to ::1, and back."""
    from addrsvc.model.ping import ping_create, ping_recvmsg, ping_sendmsg
    from addrsvc.uapi import AF_INET6

    linux = _linux()
    sock = ping_create(linux.init_net.net, AF_INET6)
    sock.sk_rcvbuf = _ROOM
    return Path(linux, partial(ping_sendmsg, sock, _PAYLOAD, _LO6, 1), partial(ping_recvmsg, sock))


PATHS: Final[dict[str, Callable[[], Path]]] = {
    "A frame to a handler": a_frame,
    "A datagram to a socket": a_datagram,
    "An echo there and back": an_echo,
}


def frames(path: Callable[[], Path]) -> tuple[bytes, ...]:
    """What lo carries for one packet sent on this path."""
    return _FRAMES[path]


def _over_ipv6(proto: int, segment: bytes, check: int) -> bytes:
    segment = checksummed(segment, check, proto, _LO6, _LO6, partial=False)
    return link(_ETH_P_IPV6, ipv6(proto, segment, _LO6, _LO6))


def _echo(icmp6_type: int) -> bytes:
    return _over_ipv6(ICMPV6, pack("!BBHHH", icmp6_type, 0, 0, 1, 1) + _PAYLOAD, 2)


_FRAMES: Final = {
    a_frame: (link(_ETH_P_OURS, _PAYLOAD),),
    a_datagram: (_over_ipv6(UDP, udp(_PAYLOAD, sport=32768, dport=_PORT), 6),),
    an_echo: (_echo(_ECHO_REQUEST), _echo(_ECHO_REPLY)),
}


# --- the peer ---------------------------------------------------------------------------------------------------------


def scapy_missing() -> str:
    """Why there is nothing to compare with; nothing if there is."""
    try:
        import scapy  # noqa: F401 - whether it is there
    except ImportError as error:
        return f"{error} (it comes with the extra addrsvc[bench])"
    return ""


def scapy_lap(frames: Sequence[bytes], times: int) -> Lap:
    """The same frames taken apart into their layers, and put together from them."""
    from scapy.layers.inet6 import IPv6  # noqa: F401 - a layer is known once it is imported
    from scapy.layers.l2 import Ether

    def lap() -> None:
        for _ in range(times):
            for frame in frames:
                packet = Ether(frame)
                packet.clear_cache()
                assert bytes(packet) == frame

    return lap
