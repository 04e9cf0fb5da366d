"""What lo counts of packets that nobody looks at: one row of numbers for each, the same on both kernels."""

import socket
from collections.abc import Sequence
from errno import EINVAL, EMSGSIZE, ENETDOWN
from time import monotonic, sleep

import pytest

from addrsvc.mirror.netns import run_in
from addrsvc.model.proc import proc_read
from addrsvc.uapi import ETH_P_IPV6, PACKET_OUTGOING
from tests.packets.compare import compare
from tests.packets.generator import Action, Call, Send, Switch, link
from tests.packets.modelled import ModelLo
from tests.packets.outcome import Counters
from tests.packets.running import RunningLo

UP = Switch("up", ())
MTU_1500 = Switch("mtu", (1500,))


def both(packets: int, octets: int, **others: int) -> Counters:
    """Received is what was sent."""
    counted = {"rx_packets": packets, "tx_packets": packets, "rx_bytes": octets, "tx_bytes": octets, **others}
    return {name: number for name, number in counted.items() if number}


ROWS: dict[str, tuple[Sequence[Action], int, Counters]] = {
    "a datagram": ((UP, Call("udp", (bytes(100), "::1", 7))), 0, both(1, 148)),
    "the longest datagram": ((UP, Call("udp", (bytes(65527), "::1", 7))), 0, both(2, 65631)),
    "one byte more": ((UP, Call("udp", (bytes(65528), "::1", 7))), EMSGSIZE, {}),
    "a closed port": ((UP, Call("udp", (b"x", "::1", 9))), 0, both(2, 146)),
    "fragments": ((UP, MTU_1500, Call("udp", (bytes(3000), "::1", 7))), 0, both(3, 3152)),
    "nothing of an unknown type": ((UP, Send(link(0x88B5, b""), 0x88B5)), 0, both(1, 0, rx_dropped=1)),
    "something of an unknown type": ((UP, Send(link(0x88B5, bytes(46)), 0x88B5)), 0, both(1, 46, rx_dropped=1)),
    "a foreign MAC": (
        (UP, Send(link(ETH_P_IPV6, bytes(40), b"\x02\0\0\0\0\1"), ETH_P_IPV6)), 0, both(1, 40, rx_otherhost_dropped=1),
    ),
    "junk": ((UP, Send(link(ETH_P_IPV6, bytes(40)), ETH_P_IPV6)), 0, both(1, 40)),
    "13 bytes": ((UP, Send(bytes(13), 0x88B5)), EINVAL, {}),
    "above the MTU": ((UP, MTU_1500, Send(bytes(1515), 0x88B5)), EMSGSIZE, {}),
    "down": ((Send(link(0x88B5, bytes(46)), 0x88B5),), ENETDOWN, {}),
    "down, to 127.0.0.1": (
        (UP, Switch("up", (False,)), Call("udp", (b"x", "127.0.0.1", 7))), 0, both(0, 0, tx_dropped=1),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("actions", "errno", "counters"), ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("kernel", ["running", "model"])
def test_what_lo_counts(
    actions: Sequence[Action], errno: int, counters: Counters, kernel: str, request: pytest.FixtureRequest
) -> None:
    lo: RunningLo | ModelLo = request.getfixturevalue(kernel)
    lo.deaf()

    assert [action(lo) for action in actions][-1] == errno
    assert settled(lo, counters) == counters


def settled(lo: RunningLo | ModelLo, expected: Counters) -> Counters:
    """The counters, once they are as expected: bottom halves may run a little later than the sender."""
    end = monotonic() + 30
    while (counted := lo.counters()) != expected and monotonic() < end:
        sleep(0.001)
    return counted


def converse(octets: int) -> None:
    """Send so many bytes over TCP to ::1, and hear that all have come."""
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
        server.accept()[0] as accepted,
    ):
        client.sendall(bytes(octets))
        while octets:
            octets -= len(accepted.recv(octets))


@pytest.mark.parametrize("mtu", [65536, 1500])
def test_a_conversation_over_tcp_is_counted_alike(mtu: int, running: RunningLo, model: ModelLo) -> None:
    """Its packets, which lo need not cut, are sent once more over the model's lo, where no TCP speaks."""
    running.mtu(mtu)
    running.up()
    run_in(running.netns, lambda: converse(100_000))
    before = running.counters()
    sent = [one for one in running.seen() if one.pkttype == PACKET_OUTGOING]
    model.linux.machine.softnet.ptype_base.clear()
    model.up()
    answers = [model.send(one.frame, ETH_P_IPV6, one.vnet) for one in sent]

    assert before["rx_packets"] == len(sent) < 100_000 // 1500
    assert (answers, model.counters()) == ([0] * len(sent), before)


def test_proc_net_snmp6_is_the_same_to_the_letter(running: RunningLo, model: ModelLo) -> None:
    for action in (UP, Call("udp", (b"x", "::1", 9)), Call("ping", (b"x", "::1")), Call("udp", (b"x", "::1", 7))):
        for _ in compare(action, running, model):
            pass

    assert proc_read(model.net.net, "net/snmp6") == running.proc_snmp6()
