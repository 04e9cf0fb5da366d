"""The face for those who have packets: frames sent over lo, what a tap sees, echo requests."""

from errno import EADDRNOTAVAIL, EINVAL, EMSGSIZE, ENETDOWN, ENETUNREACH

import pytest

from addrsvc import Linux
from addrsvc.errors import ControlError, KernelError
from addrsvc.linux import Namespace
from addrsvc.uapi import ETH_P_IP, ETH_P_IPV6, PACKET_HOST, PACKET_OUTGOING

PROTOCOL = 0x88B5
FRAME = bytes(12) + PROTOCOL.to_bytes(2) + b"hello"


@pytest.fixture
def up(net: Namespace) -> Namespace:
    net.link_set("lo", up=True)
    return net


def test_a_tap_sees_a_frame_as_it_is_sent_and_as_it_arrives(up: Namespace) -> None:
    with up.lo.tap() as tap:
        up.lo.send(FRAME)
        seen = list(tap)

    assert [(packet.data, packet.protocol, packet.pkttype) for packet in seen] == [
        (FRAME, PROTOCOL, PACKET_OUTGOING), (FRAME, PROTOCOL, PACKET_HOST),
    ]  # fmt: skip
    assert [packet.is_outgoing for packet in seen] == [True, False]
    assert list(tap) == []


def test_a_tap_that_is_closed_sees_no_more(up: Namespace) -> None:
    tap = up.lo.tap()
    tap.close()
    tap.close()
    up.lo.send(FRAME)

    assert (list(tap), up.linux.machine.softnet.ptype_all) == ([], [])


def test_a_tap_sees_its_own_device_alone(up: Namespace) -> None:
    other = up.linux.add_net("blue")
    other.link_set("lo", up=True)
    with up.lo.tap() as tap:
        other.lo.send(FRAME)

        assert list(tap) == []


def test_a_tap_that_nobody_looks_at_forgets_the_oldest_and_says_how_many(up: Namespace) -> None:
    with up.lo.tap(size=3) as tap:
        for number in range(3):
            up.lo.send(FRAME + bytes([number]))

        assert [packet.data[-1] for packet in tap] == [1, 2, 2]
        assert tap.lost == 3


def test_packets_are_seen_at_the_time_that_the_model_has(up: Namespace) -> None:
    with up.lo.tap() as tap:
        up.lo.send(FRAME)
        up.linux.advance(2.5)
        up.lo.send(FRAME)

        assert [packet.seconds for packet in tap][::2] == [0.0, 2.5]


@pytest.mark.parametrize(
    ("is_up", "frame", "errno"), [(False, FRAME, ENETDOWN), (True, FRAME[:13], EINVAL), (True, bytes(65551), EMSGSIZE)]
)
def test_what_cannot_be_sent_is_refused(net: Namespace, is_up: bool, frame: bytes, errno: int) -> None:
    net.link_set("lo", up=is_up)
    with pytest.raises(KernelError) as refused:
        net.lo.send(frame)

    assert (refused.value.errno, net.lo.stats().tx_packets) == (errno, 0)


def test_lo_is_found_whatever_it_is_called(up: Namespace) -> None:
    up.link_set("lo", name="self")
    up.lo.send(FRAME)

    assert (repr(up.lo), up.lo.stats().rx_packets) == ("Port('self')", 1)
    assert up.port("self").dev is up.lo.dev


@pytest.mark.parametrize(("address", "protocol", "length"), [("::1", ETH_P_IPV6, 62), ("127.0.0.1", ETH_P_IP, 42)])
def test_an_echo_request_is_answered_over_lo(up: Namespace, address: str, protocol: int, length: int) -> None:
    with up.lo.tap() as tap:
        first, second = up.ping(address, count=2, size=100)
        seen = [(packet.protocol, len(packet.data)) for packet in tap if not packet.is_outgoing]

    assert first is not None
    assert second is not None
    assert (first.seq, second.seq, first.hops, first.data) == (1, 2, 64, bytes(range(100)))
    assert seen == [(protocol, length + 100)] * 4


def test_nothing_is_sent_where_no_way_leads_or_nobody_could_be_answered(net: Namespace) -> None:
    for is_up, address, errno in ((False, "::1", EADDRNOTAVAIL), (True, "2001:db8::1", ENETUNREACH)):
        net.link_set("lo", up=is_up)
        with pytest.raises(KernelError) as refused:
            net.ping(address)
        assert refused.value.errno == errno
    with pytest.raises(ControlError, match="'lo' is no address"):
        net.ping("lo")


def test_what_is_sent_on_a_cpu_is_counted_there() -> None:
    linux = Linux(cpus=3)
    net = linux.init_net
    net.link_set("lo", up=True)
    for cpu, frames in ((0, 1), (2, 2)):
        with linux.on_cpu(cpu):
            for _ in range(frames):
                net.lo.send(FRAME)
    lstats = net.lo.dev.lstats
    assert lstats is not None

    assert [lstats.per_cpu_ptr(cpu).read() for cpu in range(3)] == [(1, 5), (0, 0), (2, 10)]
    assert (net.lo.stats().rx_packets, net.lo.stats().rx_bytes) == (3, 15)
