"""include/net/snmp.h, ip.h, ipv6.h: counters of a namespace, under their names in /proc/net/snmp6 and /proc/net/snmp.

What IPv6 and ICMPv6 count is counted for the device too.
"""

from typing import Final

from addrsvc.model.structs import Inet6Dev, Net

__all__ = [
    "ICMP6_MIB", "IPSTATS_MIB", "icmp6_inc_stats", "icmp6msg_inc_stats", "icmpmsg_inc_stats", "ip6_inc_stats",
    "snmp_inc_stats",
]  # fmt: skip

# Each counter of IPv6 with its place in IPSTATS_MIB_*: include/uapi/linux/snmp.h.
IPSTATS_MIB: Final = {
    "InReceives": 1, "InHdrErrors": 12, "InTooBigErrors": 13, "InNoRoutes": 14, "InAddrErrors": 15,
    "InUnknownProtos": 16, "InTruncatedPkts": 17, "InDiscards": 18, "InDelivers": 3, "OutForwDatagrams": 11,
    "OutRequests": 8, "OutDiscards": 19, "OutNoRoutes": 20, "ReasmTimeout": 21, "ReasmReqds": 22, "ReasmOKs": 23,
    "ReasmFails": 24, "FragOKs": 25, "FragFails": 26, "FragCreates": 27, "InMcastPkts": 28, "OutMcastPkts": 29,
    "InOctets": 2, "OutOctets": 10, "InMcastOctets": 32, "OutMcastOctets": 33, "InBcastOctets": 34,
    "OutBcastOctets": 35, "InNoECTPkts": 4, "InECT1Pkts": 5, "InECT0Pkts": 6, "InCEPkts": 7, "OutTransmits": 9,
}  # fmt: skip
_IP6_NAMES: Final = {name: f"Ip6{name}" for name in IPSTATS_MIB}
# The same for ICMP6_MIB_*.
ICMP6_MIB: Final = {"InMsgs": 1, "InErrors": 2, "OutMsgs": 3, "OutErrors": 4, "InCsumErrors": 5}
_SENT: Final = 256
"""Where the types that were sent begin in icmpv6msg_mib_device."""


def snmp_inc_stats(net: Net, name: str, number: int = 1) -> None:
    """Count for a namespace alone: ``Udp6NoPorts``, ``Ip.InReceives``.

    Kernel: include/net/snmp.h, SNMP_INC_STATS(), SNMP_ADD_STATS().
    """
    net.mib[name] = net.mib.get(name, 0) + number


def ip6_inc_stats(net: Net, idev: Inet6Dev | None, name: str, number: int = 1) -> None:
    """Count for IPv6: ``InReceives``.

    Kernel: include/net/ipv6.h, IP6_INC_STATS(), IP6_ADD_STATS().
    """
    mib, full_name = net.mib, _IP6_NAMES[name]
    mib[full_name] = mib.get(full_name, 0) + number
    if idev is not None:
        idev.ipstats[IPSTATS_MIB[name]] += number


def icmp6_inc_stats(net: Net, idev: Inet6Dev | None, name: str) -> None:
    """Count for ICMPv6: ``InMsgs``.

    Kernel: include/net/ipv6.h, ICMP6_INC_STATS().
    """
    snmp_inc_stats(net, f"Icmp6{name}")
    if idev is not None:
        idev.icmp6stats[ICMP6_MIB[name]] += 1


def icmp6msg_inc_stats(net: Net, idev: Inet6Dev | None, icmp6_type: int, *, out: bool) -> None:
    """Count a message of ICMPv6 by its type.

    Kernel: include/net/ipv6.h, ICMP6MSGIN_INC_STATS(), ICMP6MSGOUT_INC_STATS().
    """
    snmp_inc_stats(net, f"Icmp6{'Out' if out else 'In'}Type{icmp6_type}")
    if idev is not None:
        idev.icmp6msgstats[_SENT * out + icmp6_type] += 1


def icmpmsg_inc_stats(net: Net, icmp_type: int, *, out: bool) -> None:
    """Count a message of ICMP by its type.

    Kernel: include/net/icmp.h, ICMPMSGOUT_INC_STATS(), ICMPMSGIN_INC_STATS().
    """
    snmp_inc_stats(net, f"IcmpMsg.{'Out' if out else 'In'}Type{icmp_type}")
