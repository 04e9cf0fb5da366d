"""net/core/dev.c, packet half: the backlog, its limits and budgets, and what may go wrong on the way to the driver."""

from collections.abc import Callable
from errno import ENETDOWN

import pytest

from addrsvc import Linux
from addrsvc.model.loopback import dev_lstats_read
from addrsvc.model.receive import dev_add_pack, do_softirq, netif_receive_skb, netif_rx, softnet_data
from addrsvc.model.skbuff import SkBuff, alloc_skb
from addrsvc.model.structs import NetDevice, NetDeviceOps, PacketType, Printk, SoftnetData
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.netlink.messages import Sysctl
from addrsvc.uapi import NET_RX_DROP, NET_RX_SUCCESS, NET_XMIT_CN, NETDEV_TX_BUSY, NETDEV_TX_OK

PROTOCOL = 0x88B5
FRAME = bytes(12) + PROTOCOL.to_bytes(2) + bytes(46)


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    linux.effects()
    return linux


@pytest.fixture
def lo(linux: Linux) -> NetDevice:
    return linux.init_net.device("lo")


def packet(dev: NetDevice) -> SkBuff:
    skb = alloc_skb(2, FRAME)
    skb.dev, skb.protocol = dev, PROTOCOL
    skb.reset_mac_header()
    return skb


def taken(dev: NetDevice) -> list[SkBuff]:
    """What arrives from now on."""
    packets: list[SkBuff] = []
    dev_add_pack(dev.machine, PacketType(PROTOCOL, lambda skb, _: packets.append(skb)))
    return packets


def test_a_backlog_takes_one_packet_more_than_its_limit_and_counts_the_rest_twice(lo: NetDevice) -> None:
    softnet, packets = lo.machine.softnet, taken(lo)
    softnet.held = True
    answers = [dev_queue_xmit(packet(lo)) for _ in range(softnet.netdev_max_backlog + 3)]

    sd = softnet_data(lo.machine)
    assert answers == [NETDEV_TX_OK] * len(answers)
    assert (sd.dropped, lo.core_stats.rx_dropped) == (2, 2)
    do_softirq(lo.machine)
    assert len(packets) == sd.processed == softnet.netdev_max_backlog + 1


def test_what_did_not_fit_is_not_counted_as_sent(lo: NetDevice) -> None:
    lo.machine.softnet.held = True
    lo.machine.softnet.netdev_max_backlog = 4
    for _ in range(9):
        dev_queue_xmit(packet(lo))

    assert dev_lstats_read(lo) == (5, 5 * 46)


def received(lo: NetDevice, packets: int) -> SoftnetData:
    """What a CPU says that had so many packets waiting at once."""
    lo.machine.softnet.held = True
    for _ in range(packets):
        dev_queue_xmit(packet(lo))
    do_softirq(lo.machine)
    return softnet_data(lo.machine)


def test_a_backlog_that_used_its_weight_begins_another_round_with_a_fresh_budget(lo: NetDevice) -> None:
    """As measured: 700 segments at once leave time_squeeze at 0 where weights and budget are as at boot."""
    sd = received(lo, 700)

    assert (sd.processed, sd.time_squeeze) == (700, 0)


@pytest.mark.parametrize(("budget", "squeezes"), [(65, 0), (64, 10), (1, 11), (0, 11), (-1, 11)])
def test_a_budget_that_is_used_up_by_one_poll_squeezes(linux: Linux, lo: NetDevice, budget: int, squeezes: int) -> None:
    linux.init_net.request(Sysctl("net.core.netdev_budget", str(budget)))
    sd = received(lo, 700)

    assert (sd.processed, sd.time_squeeze) == (700, squeezes)


def test_a_new_weight_counts_from_the_second_poll_on(linux: Linux, lo: NetDevice) -> None:
    received(lo, 1)
    for leaf, value in (("dev_weight", 10), ("dev_weight_rx_bias", 2), ("netdev_budget", 20)):
        linux.init_net.request(Sysctl(f"net.core.{leaf}", str(value)))
    sd = received(lo, 64 + 20 + 20)

    assert sd.time_squeeze == 3
    assert sd.processed == 105


def test_a_device_that_does_not_run_receives_nothing(linux: Linux, lo: NetDevice) -> None:
    linux.init_net.link_set("lo", up=False)

    assert netif_rx(packet(lo)) == NET_RX_DROP
    assert dev_queue_xmit(packet(lo)) == NET_XMIT_CN
    assert (lo.core_stats.rx_dropped, lo.core_stats.tx_dropped) == (1, 1)


def test_what_nobody_takes_is_dropped(lo: NetDevice) -> None:
    assert netif_receive_skb(packet(lo)) == NET_RX_DROP
    packets = taken(lo)
    assert netif_receive_skb(packet(lo)) == NET_RX_SUCCESS
    assert (lo.core_stats.rx_dropped, len(packets)) == (1, 1)


def driver(lo: NetDevice, start_xmit: Callable[[SkBuff, NetDevice], int]) -> None:
    lo.netdev_ops = NetDeviceOps(ndo_start_xmit=start_xmit)


def test_nine_nested_transmissions_pass_and_the_tenth_is_a_dead_loop(linux: Linux, lo: NetDevice) -> None:
    answers: list[int] = []

    def send_again(skb: SkBuff, dev: NetDevice) -> int:
        answers.append(dev_queue_xmit(packet(dev)))
        return NETDEV_TX_OK

    driver(lo, send_again)
    answers.append(dev_queue_xmit(packet(lo)))

    assert answers == [-ENETDOWN] + [NETDEV_TX_OK] * 9
    assert lo.core_stats.tx_dropped == 1
    linux.settle()
    assert Printk("crit", "Dead loop on virtual device lo, fix it urgently!") in linux.effects()


def test_a_driver_that_takes_nothing_loses_it(linux: Linux, lo: NetDevice) -> None:
    driver(lo, lambda skb, dev: NETDEV_TX_BUSY)

    assert dev_queue_xmit(packet(lo)) == -ENETDOWN
    assert lo.core_stats.tx_dropped == 1
    linux.settle()
    assert Printk("crit", "Virtual device lo asks to queue packet!") in linux.effects()
