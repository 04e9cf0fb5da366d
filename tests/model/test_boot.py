"""The initcalls: who is on the chain in which order, and what a machine holds before anybody asks for anything."""

from errno import EBUSY
from ipaddress import IPv6Address, ip_address
from random import Random

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelPanic
from addrsvc.model.boot import INITCALLS, boot, net_dev_init
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NotifierBlock
from addrsvc.model.structs import Machine, Printk
from addrsvc.model.timer import INITIAL_JIFFIES, TimerBase
from addrsvc.model.tracepoint import Trace
from addrsvc.netlink.messages import AddrMsg, LinkMsg
from addrsvc.uapi import IFF_LOOPBACK
from tests.model.ears import Ear


def test_the_chain_stands_in_the_kernels_order() -> None:
    chain = boot(Random(0)).netdev_chain

    assert [(nb.name, nb.priority) for nb in chain] == [
        ("rtnetlink_event", 0), ("fib_rules_event", 0), ("arp_netdev_event", 0), ("inetdev_event", 0),
        ("fib_netdev_event", 0), ("addrconf_notify", 0), ("packet_notifier", 0), ("ndisc_netdev_event", -5),
        ("ip6_route_dev_notify", -10),
    ]  # fmt: skip


def test_a_machine_starts_with_one_namespace_whose_lo_is_first_and_down() -> None:
    machine = boot(Random(0))
    (net,) = machine.net_namespace_list
    (lo,) = net.dev_base_head.values()

    assert (net.name, net.loopback_dev) == ("init_net", lo)
    assert (lo.name, lo.ifindex, lo.flags, lo.running) == ("lo", 1, IFF_LOOPBACK, False)
    assert (machine.rtnl_held, machine.dev_boot_phase, machine.timers.jiffies) == (False, False, INITIAL_JIFFIES)


def test_nothing_but_lo_and_its_two_groups_is_held_after_boot() -> None:
    link, *groups = Linux().init_net.dump()

    assert isinstance(link, LinkMsg)
    assert [ip_address(msg.multicast or b"") for msg in groups if isinstance(msg, AddrMsg)] == [
        IPv6Address("ff02::1"), IPv6Address("ff01::1"),
    ]  # fmt: skip
    assert len(groups) == 2


def test_vetoing_lo_of_the_first_namespace_is_a_panic_that_cannot_be_overlooked() -> None:
    machine, ear = Machine(Random(0), Trace(), TimerBase()), Ear({"REGISTER lo": EBUSY})
    for initcall in INITCALLS:
        if initcall is net_dev_init:
            break
        initcall(machine)
    register_netdevice_notifier(machine, NotifierBlock(ear))
    with pytest.raises(KernelPanic) as panic:
        net_dev_init(machine)

    assert str(panic.value) == "Kernel panic - not syncing: loopback: Failed to register netdevice: -16"
    assert machine.effects[-1] == Printk("emerg", str(panic.value))
    (net,) = machine.net_namespace_list
    assert (net.dev_base_head, net.dev_name_head, net.loopback_dev) == ({}, {}, None)


def test_machines_are_independent() -> None:
    one, other = Linux(), Linux()
    one.init_net.link_set("lo", up=True)
    one.add_net("blue")

    assert (other.init_net.addresses("lo"), [*other.nets]) == ([], ["init_net"])
