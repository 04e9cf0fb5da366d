"""What the files of a namespace below /proc hold: the tables of net/ipv6 and net/core, in the kernel's own columns.

Each is one function of a namespace, or of one of its devices, and one row in a table at the end.
"""

from collections.abc import Callable, Iterator, Mapping
from errno import ENOENT
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_name
from addrsvc.model.ifaddr import inet6_addr_list
from addrsvc.model.ip6_fib import fib6_borrowed
from addrsvc.model.ip6_route import fib6_table_routes, fib6_walk_tables
from addrsvc.model.netdev_chain import for_each_netdev
from addrsvc.model.percpu import for_each_possible_cpu
from addrsvc.model.rtnl import dev_get_stats
from addrsvc.model.snmp import ICMP6_MIB, IPSTATS_MIB
from addrsvc.model.structs import Fib6Info, Fib6Table, Inet6Dev, Net, NetDevice, SoftnetData
from addrsvc.model.sysctl import sysctl_read
from addrsvc.uapi import RTF_ANYCAST

__all__ = ["PROC_NET", "PROC_NET_DEV_SNMP6", "proc_read"]


def _halves(net: Net) -> Iterator[Inet6Dev]:
    """Every IPv6 half of a namespace, in order of registration."""
    return (dev.ip6_ptr for dev in for_each_netdev(net) if dev.ip6_ptr is not None)


# --- net/ipv6/addrconf.c and mcast.c ---------------------------------------------------------------------------------


def if6_seq_show(net: Net) -> Iterator[str]:
    """/proc/net/if_inet6: every IPv6 address.

    Kernel: net/ipv6/addrconf.c, if6_seq_show().
    Differs: the kernel lists addresses by a hash that is another in each namespace; here they stand by device.
    """
    for idev in _halves(net):
        for ifp in inet6_addr_list(idev):
            numbers = (idev.dev.ifindex, ifp.prefix_len, ifp.scope, ifp.flags & 0xFF)
            yield f"{ifp.addr.hex()} {' '.join(f'{number:02x}' for number in numbers)} {idev.dev.name:>8}\n"


def igmp6_mc_seq_show(net: Net) -> Iterator[str]:
    """/proc/net/igmp6: the IPv6 groups of every device, newest first.

    Kernel: net/ipv6/mcast.c, igmp6_mc_seq_show().
    Differs: no report is ever due, since no MLD is spoken.
    """
    for idev in _halves(net):
        dev = idev.dev
        for mc in reversed(idev.mc_list.values()):
            yield f"{dev.ifindex:<4} {dev.name:<15} {mc.mca_addr.hex()} {mc.mca_users:5} {mc.mca_flags:08X} 0\n"


# --- net/core/net-procfs.c -------------------------------------------------------------------------------------------

_DEV_HEAD: Final = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast"
    "|bytes    packets errs drop fifo colls carrier compressed\n"
)


def dev_seq_show(net: Net) -> Iterator[str]:
    """/proc/net/dev: what every device has counted, by index.

    Kernel: net/core/net-procfs.c, dev_seq_show().
    """
    yield _DEV_HEAD
    for ifindex in sorted(net.dev_base_head):
        yield _dev_seq_printf_stats(net.dev_base_head[ifindex])


def _dev_seq_printf_stats(dev: NetDevice) -> str:
    s = dev_get_stats(dev)
    frame = s.rx_length_errors + s.rx_over_errors + s.rx_crc_errors + s.rx_frame_errors
    carrier = s.tx_carrier_errors + s.tx_aborted_errors + s.tx_window_errors + s.tx_heartbeat_errors
    return (
        f"{dev.name:>6}: {s.rx_bytes:7} {s.rx_packets:7} {s.rx_errors:4} {s.rx_dropped + s.rx_missed_errors:4} "
        f"{s.rx_fifo_errors:4} {frame:5} {s.rx_compressed:10} {s.multicast:9} {s.tx_bytes:8} {s.tx_packets:7} "
        f"{s.tx_errors:4} {s.tx_dropped:4} {s.tx_fifo_errors:4} {s.collisions:5} {carrier:7} {s.tx_compressed:10}\n"
    )


def softnet_seq_show(net: Net) -> Iterator[str]:
    """/proc/net/softnet_stat: what every CPU has received, of all namespaces; a line for each CPU that there may be.

    Kernel: net/core/net-procfs.c, softnet_seq_show().
    Differs: no flow limits.
    """
    machine = net.machine
    for cpu in for_each_possible_cpu(machine.cpus):
        sd = machine.softnet.data.get(cpu) or SoftnetData()
        waiting, taken = len(sd.input_pkt_queue), len(sd.process_queue)
        columns = (
            sd.processed, sd.dropped, sd.time_squeeze, *_NO_LONGER_COUNTED, sd.received_rps, 0, waiting + taken, cpu,
            waiting, taken,
        )  # fmt: skip
        yield " ".join(f"{column & 0xFFFFFFFF:08x}" for column in columns) + "\n"


_NO_LONGER_COUNTED: Final = (0,) * 6


# --- net/ipv6/ip6_fib.c ----------------------------------------------------------------------------------------------

_NOWHERE: Final = f"{'0' * 32} 00 {'0' * 32}"
"""A source of length 0, and no gateway."""


def ipv6_route_seq_show(net: Net) -> Iterator[str]:
    """/proc/net/ipv6_route: the routing tables, each as its tree is walked.

    Kernel: net/ipv6/ip6_fib.c, ipv6_route_seq_show(), ipv6_route_native_seq_show().
    Differs: what looked a route up holds it there too, once for each CPU that did; nothing remembers that here.
    """
    held = {ifp.rt for idev in _halves(net) for ifp in inet6_addr_list(idev) if ifp.rt is not None}
    for table in fib6_walk_tables(net):
        yield from _table(net, table, held)


def _table(net: Net, table: Fib6Table, held: set[Fib6Info]) -> Iterator[str]:
    borrowed = fib6_borrowed(table)
    routes = fib6_table_routes(table)
    for rt in routes:
        yield _route(rt, 1 + borrowed[rt] + (rt in held) + 2 * bool(rt.fib6_flags & RTF_ANYCAST))
    null = net.ipv6.fib6_null_entry
    if null is not None and not (routes and routes[-1].dst_len == 0):
        yield _route(null, 1)


def _route(rt: Fib6Info, references: int) -> str:
    """One line: an anycast route is held by its address, and once more by nobody (the kernel forgets to let go)."""
    name = rt.dev.name if rt.dev is not None else ""
    numbers = f"{rt.metric:08x} {references:08x} {0:08x} {rt.fib6_flags:08x}"
    return f"{rt.dst.hex()} {rt.dst_len:02x} {_NOWHERE} {numbers} {name:>8}\n"


# --- net/ipv6/proc.c -------------------------------------------------------------------------------------------------

_ICMP6_TYPES: Final = {
    "DestUnreachs": 1, "PktTooBigs": 2, "TimeExcds": 3, "ParmProblems": 4, "Echos": 128, "EchoReplies": 129,
    "GroupMembQueries": 130, "GroupMembResponses": 131, "GroupMembReductions": 132, "RouterSolicits": 133,
    "RouterAdvertisements": 134, "NeighborSolicits": 135, "NeighborAdvertisements": 136, "Redirects": 137,
    "MLDv2Reports": 143,
}  # fmt: skip
_WAYS: Final = {"In": 0, "Out": 256}


def snmp6_dev_seq_show(idev: Inet6Dev) -> Iterator[str]:
    """/proc/net/dev_snmp6/NAME: what IPv6 has counted on a device.

    Kernel: net/ipv6/proc.c, snmp6_dev_seq_show().
    """
    for name, value in (("ifIndex", idev.dev.ifindex), *_ip6(idev), *_icmp6(idev)):
        yield f"{name:<32}\t{value}\n"


def _ip6(idev: Inet6Dev) -> Iterator[tuple[str, int]]:
    return ((f"Ip6{name}", idev.ipstats[place]) for name, place in IPSTATS_MIB.items())


def _icmp6(idev: Inet6Dev) -> Iterator[tuple[str, int]]:
    """The types that have names, whether or not there were any; then each type that there was, by number."""
    yield from ((f"Icmp6{name}", idev.icmp6stats[place]) for name, place in ICMP6_MIB.items())
    for way, offset in _WAYS.items():
        for name, number in _ICMP6_TYPES.items():
            yield f"Icmp6{way}{name}", idev.icmp6msgstats[offset + number]
    for way, offset in _WAYS.items():
        for number in range(256):
            if count := idev.icmp6msgstats[offset + number]:
                yield f"Icmp6{way}Type{number}", count


# What UDP counts over IPv6; UDP-Lite, which nobody speaks here, counts the same but for IgnoredMulti.
_UDP6: Final = (
    "InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors",
    "IgnoredMulti", "MemErrors",
)  # fmt: skip


def snmp6_seq_show(net: Net) -> Iterator[str]:
    """/proc/net/snmp6: what IPv6, ICMPv6 and UDP over IPv6 have counted in a namespace.

    Kernel: net/ipv6/proc.c, snmp6_seq_show().
    Differs: what the model sends of its own accord (router solicitations) is counted for the device alone.
    """
    names = [f"Ip6{name}" for name in IPSTATS_MIB]
    names += [f"Icmp6{name}" for name in (*ICMP6_MIB, "OutRateLimitHost")]
    for name in names:
        yield _line(name, net.mib.get(name, 0))
    for way in _WAYS:
        for name, number in _ICMP6_TYPES.items():
            yield _line(f"Icmp6{way}{name}", net.mib.get(f"Icmp6{way}Type{number}", 0))
    for way in _WAYS:
        for number in range(256):
            if count := net.mib.get(f"Icmp6{way}Type{number}"):
                yield _line(f"Icmp6{way}Type{number}", count)
    for name in _UDP6:
        yield _line(f"Udp6{name}", net.mib.get(f"Udp6{name}", 0))
    for name in _UDP6:
        if name != "IgnoredMulti":
            yield _line(f"UdpLite6{name}", 0)


def _line(name: str, value: int) -> str:
    return f"{name:<32}\t{value}\n"


# --- the files -------------------------------------------------------------------------------------------------------

PROC_NET: Final[Mapping[str, Callable[[Net], Iterator[str]]]] = {
    "dev": dev_seq_show,
    "if_inet6": if6_seq_show,
    "igmp6": igmp6_mc_seq_show,
    "ipv6_route": ipv6_route_seq_show,
    "snmp6": snmp6_seq_show,
    "softnet_stat": softnet_seq_show,
}
PROC_NET_DEV_SNMP6: Final = snmp6_dev_seq_show
"""For each device with IPv6."""


def proc_read(net: Net, path: str) -> str:
    """What reading a file below /proc gives in a namespace: ``net/if_inet6``, ``sys/net/ipv6/conf/lo/mtu``.  Ours.

    Raises:
        KernelError: ENOENT, there is no such file; or as sysctl_read().
    """
    match path.split("/"):
        case ["sys", *parts]:
            return sysctl_read(net, ".".join(part.replace(".", "/") for part in parts)) + "\n"
        case ["net", name] if name in PROC_NET:
            return "".join(PROC_NET[name](net))
        case ["net", "dev_snmp6", name]:
            return "".join(PROC_NET_DEV_SNMP6(_with_ipv6(net, name)))
    raise KernelError(ENOENT)


def _with_ipv6(net: Net, name: str) -> Inet6Dev:
    dev = dev_get_by_name(net, name)
    if dev is None or dev.ip6_ptr is None:
        raise KernelError(ENOENT)
    return dev.ip6_ptr
