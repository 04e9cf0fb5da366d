"""Packets through lo, from dev_queue_xmit() to whoever takes the protocol; and scapy, which takes the same frames apart
and puts them together again.
"""

from typing import TYPE_CHECKING, Final

from tests.benchmarks.race import Lap
from tests.packets.generator import UDP, checksummed, ipv6, link, udp

if TYPE_CHECKING:
    from addrsvc.model.skbuff import SkBuff
    from addrsvc.model.structs import NetDevice

__all__ = ["FRAMES", "IN_FLIGHT", "Path", "scapy_lap", "scapy_missing"]

IN_FLIGHT: Final = (1, 64, 1_000)
HANDLED: Final = 0x88B5
_LO6: Final = bytes(15) + b"\x01"
_PAYLOAD: Final = b"addrsvc." * 8
_DATAGRAM: Final = checksummed(udp(_PAYLOAD), 6, UDP, _LO6, _LO6, partial=False)

FRAMES: Final = {
    "A frame of a protocol of its own": link(HANDLED, _PAYLOAD),
    "A datagram": link(0x86DD, ipv6(UDP, _DATAGRAM, _LO6, _LO6)),
}


class Path:
    """lo of a machine of its own, with somebody behind it who takes what arrives."""

    def __init__(self, frame: bytes) -> None:
        from addrsvc import Linux
        from addrsvc.model.receive import dev_add_pack
        from addrsvc.model.structs import PacketType

        self.linux: Linux = Linux(effects=False)
        self.linux.init_net.link_set("lo", up=True)
        self.lo: NetDevice = self.linux.init_net.device("lo")
        self.frame, self.protocol, self.taken = frame, int.from_bytes(frame[12:14]), 0
        self.linux.machine.softnet.ptype_base.pop(self.protocol, None)
        dev_add_pack(self.linux.machine, PacketType(self.protocol, self._take))

    def _take(self, skb: "SkBuff", dev: "NetDevice") -> None:
        self.taken += 1

    def lap(self, packets: int, in_flight: int) -> Lap:
        """So many packets, of which so many are under way when bottom halves run."""
        from addrsvc.model.receive import do_softirq
        from addrsvc.model.skbuff import alloc_skb
        from addrsvc.model.xmit import dev_queue_xmit

        machine, lo, frame, protocol = self.linux.machine, self.lo, self.frame, self.protocol
        machine.softnet.held = True

        def lap() -> None:
            for _ in range(packets // in_flight):
                for _ in range(in_flight):
                    skb = alloc_skb(2, frame)
                    skb.dev, skb.protocol, skb.network_header = lo, protocol, 16
                    dev_queue_xmit(skb)
                do_softirq(machine)

        return lap


# --- the peer ---------------------------------------------------------------------------------------------------------


def scapy_missing() -> str:
    """Why there is nothing to compare with; nothing if there is."""
    try:
        import scapy  # noqa: F401 - whether it is there
    except ImportError as error:
        return f"{error} (it comes with the extra addrsvc[bench])"
    return ""


def scapy_lap(frame: bytes, packets: int) -> Lap:
    """The same frame taken apart into its layers, and put together from them."""
    from scapy.layers.inet6 import IPv6  # noqa: F401 - a layer is known once it is imported
    from scapy.layers.l2 import Ether

    def lap() -> None:
        for _ in range(packets):
            packet = Ether(frame)
            packet.clear_cache()
            assert bytes(packet) == frame

    return lap
