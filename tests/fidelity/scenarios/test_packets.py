"""70, 79 and 81 to 83: features, groups and packets, as far as programs see of them."""

import socket
from collections.abc import Mapping
from contextlib import closing
from struct import Struct
from typing import Final

import pytest

from addrsvc.model.features import NETIF_F_ALL_TSO, NETIF_F_TSO, NETIF_F_TSO6, NETIF_F_TSO_MANGLEID
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ETH_P_IPV6,
    NLM_F_ACK,
    PACKET_HOST,
    PACKET_MULTICAST,
    PACKET_OTHERHOST,
    PACKET_OUTGOING,
    RTM_GETLINK,
    RTM_GETROUTE,
)
from tests.af_netlink.twins import nla, nlmsg
from tests.fidelity.asks import down, mac, mtu, up
from tests.fidelity.notation import brief
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.programs import frame
from tests.fidelity.scenarios.subject import Subject, addresses, groups
from tests.fidelity.scenarios.wire import answer, attributes, brief_answer

# --- 70: features ----------------------------------------------------------------------------------------------------

ACTIVE: Final = 0x0000052E401D4C69
CHANGEABLE: Final = 0x0A00000E401D4800
BITS: Final = [bit for bit in range(64) if CHANGEABLE >> bit & 1]


@scenario(70)
def test_what_a_fresh_lo_does(alone: Subject) -> None:
    assert alone.program().features() == ACTIVE


@scenario(70)
@pytest.mark.parametrize("bit", BITS)
def test_each_changeable_feature_goes_and_comes(alone: Subject, bit: int) -> None:
    """Those that depend on it go with it, and come with it, but for what was asked to be so."""
    program, mask = alone.program(), 1 << bit
    is_on = bool(ACTIVE & mask)

    assert program.change_features(mask, 0 if is_on else mask) == ""
    assert brief(alone.wait(0)) == "L"
    assert bool(program.features() & mask) != is_on
    assert program.change_features(mask, mask if is_on else 0) == ""
    assert brief(alone.wait(0)) == "L"
    assert program.features() == ACTIVE


@scenario(70)
def test_a_feature_that_is_fixed_stays(alone: Subject) -> None:
    program = alone.program()

    assert program.change_features(1, 0) == ""
    assert program.change_features(1 << 10, 0) == "EINVAL"
    assert (program.features(), brief(alone.wait(0))) == (ACTIVE, "")


@scenario(70)
def test_tso_takes_along_what_depends_on_it(alone: Subject) -> None:
    program = alone.program()
    program.change_features(NETIF_F_TSO, 0)
    assert program.features() == ACTIVE & ~(NETIF_F_TSO | NETIF_F_TSO_MANGLEID)

    program.change_features(NETIF_F_TSO6, 0)
    assert program.features() == ACTIVE & ~NETIF_F_ALL_TSO


# --- 79: groups ------------------------------------------------------------------------------------------------------

FRESH: Final = "ff02::1 ff01::1"


@scenario(79)
@pytest.mark.parametrize("group", ["ff01::7", "ff02::7", "ff05::7", "ff08::7", "ff0e::7"])
def test_a_group_of_any_scope_is_joined_and_left_aloud(alone: Subject, group: str) -> None:
    with closing(alone.program().join(group)):
        assert brief(alone.wait(0)) == f"M+{group}"
        assert groups(alone) == f"{group} {FRESH}"

    assert brief(alone.wait(0)) == f"M-{group}"
    assert groups(alone) == FRESH


@scenario(79)
def test_the_newest_group_is_left_first(alone: Subject) -> None:
    with closing(alone.program().join("ff02::7", "ff02::8", "ff02::9")):
        assert brief(alone.wait(0)) == "M+ff02::7 M+ff02::8 M+ff02::9"

    assert brief(alone.wait(0)) == "M-ff02::9 M-ff02::8 M-ff02::7"


@scenario(79)
def test_a_group_has_members(alone: Subject) -> None:
    program = alone.program()
    first, second = program.join("ff02::7"), program.join("ff02::7")
    assert brief(alone.wait(0)) == "M+ff02::7"

    first.close()
    assert brief(alone.wait(0)) == ""
    second.close()
    assert brief(alone.wait(0)) == "M-ff02::7"


@scenario(79)
def test_down_and_up_say_nothing_of_groups(alone: Subject) -> None:
    with closing(alone.program().join("ff02::7")):
        alone.wait(0)
        assert "ff02::7" not in alone.ask(up()) + alone.ask(down()) + alone.ask(up())
        assert groups(alone) == f"ff02::7 {FRESH}"


# --- 81 and 82: packets ----------------------------------------------------------------------------------------------

NOBODY: Final = "00:00:00:00:00:00"
ETHERTYPE: Final = 0x88B5
"""For experiments: nobody handles it."""
COUNTERS: Final = (
    "rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors rx_dropped tx_dropped multicast collisions "
    "rx_length_errors rx_over_errors rx_crc_errors rx_frame_errors rx_fifo_errors rx_missed_errors tx_aborted_errors "
    "tx_carrier_errors tx_fifo_errors tx_heartbeat_errors tx_window_errors rx_compressed tx_compressed rx_nohandler "
    "rx_otherhost_dropped"
).split()
IFLA_STATS64: Final = 23
OF_LO: Final = Struct("=BBHiII").pack(0, 0, 0, 1, 0, 0)


class Counters:
    """What lo counts, from now on."""

    def __init__(self, subject: Subject) -> None:
        self._port = subject.port()
        self._before = self._now()

    def _now(self) -> list[int]:
        (_, _, body) = answer(self._port, nlmsg(RTM_GETLINK, OF_LO, 0)).replies[0]
        return list(Struct("=25Q").unpack(dict(attributes(body, len(OF_LO)))[IFLA_STATS64]))

    def grown(self) -> dict[str, int]:
        """Those that have grown, and by how much."""
        pairs = zip(COUNTERS, self._now(), self._before, strict=True)
        return {name: now - before for name, now, before in pairs if now != before}


def both_ways(packets: int, size: int) -> dict[str, int]:
    """One pair of counters is for sent and received alike."""
    counted = {"rx_packets": packets, "tx_packets": packets, "rx_bytes": size, "tx_bytes": size}
    return {name: number for name, number in counted.items() if number}


@scenario(81)
@pytest.mark.parametrize("length", [0, 1, 46, 1500, 65536])
def test_a_frame_is_counted_without_its_header(alone: Subject, length: int) -> None:
    alone.ask(up())
    counters, frames = Counters(alone), alone.program().frames()

    assert frames.send(frame(NOBODY, ETHERTYPE, bytes(length))) == ""
    assert counters.grown() == {**both_ways(1, length), "rx_dropped": 1}


@scenario(81)
def test_nothing_is_counted_of_a_fresh_lo(alone: Subject) -> None:
    (_, _, body) = answer(alone.port(), nlmsg(RTM_GETLINK, OF_LO, 0)).replies[0]

    assert dict(attributes(body, len(OF_LO)))[IFLA_STATS64] == bytes(200)


# A number of bytes, whether somebody receives them, the MTU; packets and bytes.
DATAGRAMS: Final = [(0, True, 65536, 1, 48), (100, True, 65536, 1, 148), (65527, True, 65536, 2, 65631),
                    (1, False, 65536, 2, 146), (3000, True, 1500, 3, 3152)]  # fmt: skip


@scenario(81)
@pytest.mark.parametrize(("size", "bound", "limit", "packets", "total"), DATAGRAMS)
def test_datagrams_are_counted(alone: Subject, size: int, bound: bool, limit: int, packets: int, total: int) -> None:
    """Fragments each by itself, and the refusal that comes back where nobody listens."""
    alone.ask(up(), mtu(limit))
    counters, program = Counters(alone), alone.program()
    receiver, sender = (program.datagrams(socket.AF_INET6) for _ in range(2))
    assert (receiver.bind("::1"), sender.bind("::1")) == ("", "")
    port = receiver.port()
    if not bound:
        receiver.close()

    assert sender.send(size, "::1", port) == ""
    assert counters.grown() == both_ways(packets, total)


@scenario(81)
def test_a_datagram_may_be_too_long(alone: Subject) -> None:
    alone.ask(up())
    counters = Counters(alone)

    assert alone.program().datagrams(socket.AF_INET6).send(65528, "::1", 9) == "EMSGSIZE"
    assert counters.grown() == {}


# A destination, and what is counted of 40 bytes that say they are IPv6, beside the packet itself.
NOT_TAKEN: Final[list[tuple[str, dict[str, int]]]] = [(NOBODY, {}), ("02:00:00:00:00:01", {"rx_otherhost_dropped": 1})]


@scenario(81)
@pytest.mark.parametrize(("destination", "dropped"), NOT_TAKEN)
def test_what_ipv6_does_not_take_is_counted_where_it_is_dropped(
    alone: Subject, destination: str, dropped: dict[str, int]
) -> None:
    alone.ask(up())
    counters = Counters(alone)
    alone.program().frames().send(frame(destination, ETH_P_IPV6, bytes(40)))

    assert counters.grown() == {**both_ways(1, 40), **dropped}


@scenario(81)
@pytest.mark.parametrize(("size", "refusal"), [(13, "EINVAL"), (14 + 1501, "EMSGSIZE")])
def test_a_frame_of_no_size_is_refused_and_not_counted(alone: Subject, size: int, refusal: str) -> None:
    alone.ask(up(), mtu(1500))
    counters = Counters(alone)

    assert alone.program().frames().send(bytes(size)) == refusal
    assert counters.grown() == {}


# A destination, lo's own address, and what a frame to it is taken for.
DESTINATIONS: Final = [
    ("00:00:00:00:00:00", None, PACKET_HOST), ("02:00:00:00:00:01", None, PACKET_OTHERHOST),
    ("01:00:5e:00:00:01", None, PACKET_MULTICAST), ("ff:ff:ff:ff:ff:ff", None, PACKET_MULTICAST),
    ("02:00:00:00:00:01", "02:00:00:00:00:01", PACKET_HOST),
    ("00:00:00:00:00:00", "02:00:00:00:00:01", PACKET_OTHERHOST),
]  # fmt: skip


@scenario(82)
@pytest.mark.parametrize(("destination", "own", "taken_for"), DESTINATIONS)
def test_whom_a_frame_is_for(alone: Subject, destination: str, own: str | None, taken_for: int) -> None:
    """It is seen twice: as it goes, and as it comes.  lo's broadcast address is zero, so there is no broadcast."""
    alone.ask(up(), *([mac(own)] if own else []))
    with closing(alone.program().frames(looking=True)) as frames:
        frames.send(frame(destination, ETHERTYPE, bytes(46)))

        assert frames.types() == [PACKET_OUTGOING, taken_for]


# --- 83: while lo is down --------------------------------------------------------------------------------------------

OIF_LO: Final = nla(4, 1)
ROUTES: Final[Mapping[str, tuple[bytes, str]]] = {
    "::1": (bytes((AF_INET6, 128)).ljust(12, b"\0") + nla(1, bytes(15) + b"\1"), "ENETUNREACH -"),
    "ff02::1": (bytes((AF_INET6, 128)).ljust(12, b"\0") + nla(1, b"\xff\2" + bytes(13) + b"\1") + OIF_LO,
                "ENETUNREACH -"),
    "127.0.0.1": (bytes((AF_INET, 32)).ljust(12, b"\0") + nla(1, b"\x7f\0\0\1"), "ok 1 replies"),
}  # fmt: skip


@pytest.mark.usefixtures("by_root")
@scenario(83)
@pytest.mark.parametrize(("payload", "expected"), ROUTES.values(), ids=ROUTES.keys())
def test_while_down_there_is_a_route_to_127_0_0_1_alone(subject: Subject, payload: bytes, expected: str) -> None:
    subject.ask(up(), down())

    assert brief_answer(subject.port(), nlmsg(RTM_GETROUTE, payload, NLM_F_ACK)) == expected


CALLS: Final = [
    (socket.AF_INET6, "::1", "EADDRNOTAVAIL", "EADDRNOTAVAIL"), (socket.AF_INET, "127.0.0.1", "", ""),
]  # fmt: skip


@scenario(83)
@pytest.mark.parametrize(("family", "address", "sending", "binding"), CALLS)
def test_what_calls_end_with(
    alone: Subject, family: socket.AddressFamily, address: str, sending: str, binding: str
) -> None:
    alone.ask(up(), down())
    program = alone.program()

    assert program.datagrams(family).send(1, address, 9) == sending
    assert program.datagrams(family).bind(address) == binding
    assert (address in addresses(alone)) == (not binding)


@scenario(83)
def test_what_is_sent_is_lost_and_counted(alone: Subject) -> None:
    """A packet socket is told of it, and nothing counted; one of UDP is not."""
    alone.ask(up(), down())
    counters, program = Counters(alone), alone.program()
    assert program.frames().send(frame(NOBODY, ETHERTYPE, bytes(46))) == "ENETDOWN"
    assert counters.grown() == {}

    assert program.datagrams(socket.AF_INET).send(1, "127.0.0.1", 9) == ""
    assert counters.grown() == {"tx_dropped": 1}
