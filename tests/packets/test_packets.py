"""The same packets through lo of both kernels: delivered bytes, counters, errors, and the tracepoints on the way."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from struct import pack
from time import monotonic, sleep

import pytest

from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.model.trace_net import NetDevStartXmit, NetDevTemplate, NetDevXmit, NetifRxExit, NetifRxVerbose
from addrsvc.model.virtio_net import (
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_TCPV4,
    VIRTIO_NET_HDR_GSO_TCPV6,
    VIRTIO_NET_HDR_GSO_UDP,
    VIRTIO_NET_HDR_GSO_UDP_L4,
    VirtioNetHdr,
)
from addrsvc.uapi import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6
from tests.fidelity.asks import add
from tests.packets.compare import compare, normal
from tests.packets.generator import (
    LO6,
    TCP,
    UDP,
    V4,
    V6,
    Action,
    Call,
    Send,
    Switch,
    actions,
    ipv4,
    ipv6,
    link,
    tcp,
    udp,
)
from tests.packets.modelled import ModelLo
from tests.packets.running import RunningLo
from tests.packets.tracefs import NoTracefs, of_packets, tracing

TRACEPOINTS = (
    "net_dev_queue", "net_dev_start_xmit", "net_dev_xmit", "netif_rx", "netif_rx_entry", "netif_rx_exit",
    "netif_receive_skb", "netif_receive_skb_entry", "netif_receive_skb_exit",
)  # fmt: skip
OF_THE_PATH = (NetDevTemplate, NetDevStartXmit, NetDevXmit, NetifRxVerbose, NetifRxExit)
ALL_TSO = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 20
UDP_L4 = 1 << 33
UP = Switch("up", ())
TSO_OFF = Switch("features", (ALL_TSO, 0))
USO_OFF = Switch("features", (UDP_L4, 0))
FOREIGN, GROUP = b"\x02\0\0\0\0\1", b"\xff" * 6


def to_be_cut(gso_type: int, size: int, start: int, offset: int) -> VirtioNetHdr:
    return VirtioNetHdr(VIRTIO_NET_HDR_F_NEEDS_CSUM, gso_type, start + 20, size, start, offset)


def tcp6(length: int) -> Send:
    packet = ipv6(TCP, tcp(bytes(range(250)) * (length // 250), flags=0x99), *V6)
    return Send(link(ETH_P_IPV6, packet), ETH_P_IPV6, to_be_cut(VIRTIO_NET_HDR_GSO_TCPV6, 1440, 54, 16))


def tcp4(length: int) -> Send:
    packet = ipv4(TCP, tcp(bytes(range(250)) * (length // 250), flags=0x99), *V4)
    return Send(link(ETH_P_IP, packet), ETH_P_IP, to_be_cut(VIRTIO_NET_HDR_GSO_TCPV4, 1448, 34, 16))


def udp6(length: int, gso_type: int) -> Send:
    packet = ipv6(UDP, udp(bytes(length)), *V6)
    return Send(link(ETH_P_IPV6, packet), ETH_P_IPV6, to_be_cut(gso_type, 1200, 54, 6))


CASES: dict[str, Sequence[Action]] = {
    "one UDP datagram to ::1": (UP, Call("udp", (b"hello", "::1", 7))),
    "one UDP datagram to 127.0.0.1": (UP, Call("udp", (b"hello", "127.0.0.1", 7))),
    "one echo": (UP, Call("ping", (bytes(56), "::1"))),
    "one echo of IPv4": (UP, Call("ping", (bytes(56), "127.0.0.1"))),
    "a TCP-sized packet to be cut, TSO on": (UP, tcp6(30000)),
    "a TCP-sized packet to be cut, TSO off": (UP, TSO_OFF, tcp6(30000)),
    "the same of IPv4, TSO on": (UP, tcp4(30000)),
    "the same of IPv4, TSO off": (UP, TSO_OFF, tcp4(30000)),
    "a large packet to be cut, longer than gso_max_size": (UP, tcp6(65500)),
    "datagrams to be cut by lo": (UP, udp6(9000, VIRTIO_NET_HDR_GSO_UDP_L4)),
    "datagrams to be cut before lo": (UP, USO_OFF, udp6(9000, VIRTIO_NET_HDR_GSO_UDP_L4)),
    "one datagram to be cut into fragments": (UP, udp6(9000, VIRTIO_NET_HDR_GSO_UDP)),
    "a frame to a foreign MAC": (UP, Send(link(ETH_P_IPV6, ipv6(59, b"", *V6), FOREIGN), ETH_P_IPV6)),
    "a frame to ff:ff:ff:ff:ff:ff": (UP, Send(link(ETH_P_IPV6, ipv6(59, b"", *V6), GROUP), ETH_P_IPV6)),
    "a frame to lo's own new MAC": (
        UP, Switch("address", (FOREIGN,)), Send(link(ETH_P_IPV6, bytes(40), FOREIGN), ETH_P_IPV6),
    ),
    "an unknown protocol": (UP, Send(link(0x88B5, bytes(46)), 0x88B5)),
    "an unknown protocol, nothing behind the header": (UP, Send(link(0x88B5, b""), 0x88B5)),
    "a frame of half a page": (UP, Send(link(0x88B5, bytes(2000)), 0x88B5)),
    "a frame in pages": (UP, Send(link(0x88B5, bytes(60000)), 0x88B5)),
    "a device that is down": (Send(link(0x88B5, bytes(46)), 0x88B5),),
    "a datagram over a device that is down": (
        UP, Switch("up", (False,)), Call("udp", (b"hello", "127.0.0.1", 7)), Call("udp", (b"hello", "::1", 7)),
    ),
    "the MTU, and one more": (
        UP, Switch("mtu", (1500,)), Send(link(0x88B5, bytes(1500)), 0x88B5), Send(link(0x88B5, bytes(1501)), 0x88B5),
    ),
    "a frame of 13 bytes": (UP, Send(bytes(13), 0x88B5)),
    "junk of IPv6": (UP, Send(link(ETH_P_IPV6, bytes(40)), ETH_P_IPV6)),
    "a datagram to a closed port": (UP, Call("udp", (b"x", "::1", 9))),
    "a datagram to a closed port of IPv4": (UP, Call("udp", (b"x", "127.0.0.1", 9))),
    "a datagram of 3000 bytes, MTU 1500": (UP, Switch("mtu", (1500,)), Call("udp", (bytes(3000), "::1", 7))),
    "a datagram of 3000 bytes of IPv4, MTU 1500": (
        UP, Switch("mtu", (1500,)), Call("udp", (bytes(3000), "127.0.0.1", 7)),
    ),
    "the longest datagrams, and more": (
        UP, Call("udp", (bytes(65527), "::1", 7)), Call("udp", (bytes(65528), "::1", 7)),
        Call("udp", (bytes(65507), "127.0.0.1", 7)), Call("udp", (bytes(65508), "127.0.0.1", 7)),
    ),
    "lo without ::1": (UP, Switch("mtu", (1000,)), Call("udp", (b"x", "::1", 7)), Call("ping", (b"x", "::1"))),
    "groups of lo": (UP, Call("udp", (b"x", "ff02::1", 7)), Call("udp", (b"x", "ff01::1", 7))),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_packet_comes_round_alike(case: Sequence[Action], running: RunningLo, model: ModelLo) -> None:
    differences = [str(found) for action in case for found in compare(action, running, model)]

    assert differences == []


@contextmanager
def traced(model: ModelLo) -> Iterator[None]:
    model.linux.trace.clear()
    model.linux.trace.on = True
    yield
    model.linux.trace.on = False


# Longer datagrams lie in pages that a process goes on using: how many pieces that makes depends on what it sent before.
IN_PAGES = ("the longest datagrams, and more",)


TRACED = {name: case for name, case in CASES.items() if name not in IN_PAGES}


@pytest.mark.parametrize("case", TRACED.values(), ids=TRACED)
def test_a_packet_passes_the_same_tracepoints(case: Sequence[Action], running: RunningLo, model: ModelLo) -> None:
    *switches, last = case
    for action in switches:
        action(running)
        action(model)
    running.seen()
    try:
        with tracing(f"net/{name}" for name in TRACEPOINTS) as tracer:
            last(running)
            lines = of_packets(tracer.lines())
    except NoTracefs as reason:
        pytest.skip(str(reason))
    with traced(model):
        last(model)
    ours = of_packets(str(hit) for hit in model.linux.trace.ring if isinstance(hit, OF_THE_PATH))

    assert ours == lines


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_generated_packets_come_round_alike(seed: int, running: RunningLo, model: ModelLo) -> None:
    """In small; the README tells of the long run: ``python -m tests.packets``."""
    differences = [str(found) for action in actions(seed, 200) for found in compare(action, running, model)]

    assert differences == []


def asks(tip: bytes, *, sip: bytes = V4[0], hrd: int = 772, op: int = 1) -> Send:
    """An ARP packet: who has tip, says sip?"""
    body = pack("!HHBBH6s4s6s4s", hrd, ETH_P_IP, 6, 4, op, FOREIGN, sip, bytes(6), tip)
    return Send(link(ETH_P_ARP, body), ETH_P_ARP)


def test_who_asks_for_an_address_of_lo_is_answered_alike(running: RunningLo, model: ModelLo) -> None:
    ours, nobodys, lo = V4[1], V4[0][:3] + b"\x09", bytes((127, 0, 0, 1))
    wrong = (asks(ours, hrd=1), asks(ours, op=2), asks(nobodys), asks(lo), asks(ours, sip=ours))
    UP(running)
    UP(model)
    with RtnlKernel(running.netns) as kernel:
        for port in (kernel, model.net):
            port.request(add("192.0.2.2/32"))
    differences = [
        str(found)
        for action in (asks(ours), asks(ours, sip=bytes(4)), *wrong)
        for found in compare(action, running, model)
    ]

    assert differences == []
    asks(ours)(model)
    assert [one.frame[14 + 7] for one in model.seen()] == [1, 1, 2, 2]


def test_a_packet_that_never_comes_whole_is_given_up_alike(running: RunningLo, model: ModelLo) -> None:
    """The first fragment is quoted in the word that is sent of it."""
    fragment = pack("!BBHI", UDP, 0, 1, 7) + udp(bytes(16))
    first = Send(link(ETH_P_IPV6, ipv6(44, fragment, LO6, LO6)), ETH_P_IPV6)
    running.let_fragments_wait(seconds=1)
    assert [str(found) for action in (UP, first) for found in compare(action, running, model)] == []

    end = monotonic() + 30
    while "Ip6ReasmTimeout" not in running.snmp() and monotonic() < end:
        sleep(0.01)
    model.linux.advance(61)

    assert normal(running.seen()) == normal(model.seen())
    assert (running.snmp(), running.counters()) == (model.snmp(), model.counters())
    assert model.snmp()["Icmp6OutType3"] == 1


def test_what_is_different_is_found(running: RunningLo, model: ModelLo) -> None:
    UP(running)
    UP(model)
    model.lo.broadcast = GROUP

    found = [found.what for found in compare(CASES["a frame to ff:ff:ff:ff:ff:ff"][1], running, model)]

    assert found == ["packets"]
