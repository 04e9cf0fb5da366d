"""What comes of packets, in the words of neither kernel."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["MARKER", "MARKER_PROTOCOL", "Counters", "Seen", "snmp_counters", "stats_counters"]

Counters: TypeAlias = dict[str, int]

MARKER_PROTOCOL: Final = 0x88B6
MARKER: Final = bytes(12) + MARKER_PROTOCOL.to_bytes(2) + b"all that was sent before has come round"


@dataclass(frozen=True, slots=True)
class Seen:
    """One packet as a packet socket saw it."""

    protocol: int
    pkttype: int
    frame: bytes
    vnet: bytes
    status: int
    length: int
    net: int
    vlan: tuple[int, int] = (0, 0)

    @classmethod
    def refused(cls, errno: int) -> "Seen":
        """What recvmsg() said in place of a packet: EINVAL, nobody can tell how it was to be cut; ENETDOWN."""
        return cls(0, 0, b"", b"", 0, errno, 0)

    def __str__(self) -> str:
        head, more = self.frame[:120].hex(" ", 2), "..." if len(self.frame) > 120 else ""
        return (
            f"{self.protocol:04x} type {self.pkttype} vnet {self.vnet.hex()} status {self.status:#x} "
            f"net {self.net} vlan {self.vlan} len {self.length}: {head}{more}"
        )


_STATS64: Final = (
    "rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
    "multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors",
    "rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors",
    "tx_heartbeat_errors", "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler",
    "rx_otherhost_dropped",
)  # fmt: skip


def stats_counters(stats64: Sequence[int]) -> Counters:
    """A device's counters by name, those that are not 0."""
    return {name: number for name, number in zip(_STATS64, stats64, strict=True) if number}


_NOT_COUNTED: Final = re.compile(
    r"Ip\.(Forwarding|DefaultTTL)|Tcp\.(Rto|MaxConn)|Icmp6(In|Out)[A-Z][A-Za-z]+s$|Icmp6.*MLDv2|Icmp\.(In|Out)[A-Z][A-Za-z]+s$"
)
"""Settings, and types of messages that are told a second time, by number."""
_TOTALS: Final = re.compile(r"Icmp6?\.?(In|Out)(Msgs|Errors|CsumErrors)$")


def snmp_counters(snmp6: str, snmp: str) -> Counters:
    """The counters of /proc/net/snmp6 and /proc/net/snmp that are not 0, IPv4's as ``Ip.InReceives``."""
    found = {name: int(number) for name, number in (line.split() for line in snmp6.splitlines())}
    lines = snmp.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=True):
        prefix = names.split(":")[0]
        pairs = zip(names.split()[1:], numbers.split()[1:], strict=True)
        found |= {f"{prefix}.{name}": int(number) for name, number in pairs}
    return {
        name: number
        for name, number in found.items()
        if number and (_TOTALS.match(name) or not _NOT_COUNTED.match(name))
    }
