"""The initcalls, in order: a machine from nothing to an initial namespace with its lo, still down."""

from collections.abc import Callable, Sequence
from typing import Final

from addrsvc.model.addrconf import addrconf_init
from addrsvc.model.addrlabel import ipv6_addr_label_ops
from addrsvc.model.af_packet import packet_init
from addrsvc.model.arp import arp_init
from addrsvc.model.arp_tbl import arp_tbl_init
from addrsvc.model.dev import dev_change_net_namespace, unregister_netdevice_many
from addrsvc.model.devinet import devinet_init, inet_blackhole_dev_init
from addrsvc.model.devinet_sysctl import devinet_ops
from addrsvc.model.dummy import dummy_init_module
from addrsvc.model.fib_frontend import ip_fib_init
from addrsvc.model.fib_rules import fib_rules_init, fib_rules_net_ops
from addrsvc.model.ifb import ifb_init_module
from addrsvc.model.ip6_input import ipv6_packet_init
from addrsvc.model.ip6_route import ip6_route_init
from addrsvc.model.ip_input import ip_packet_init
from addrsvc.model.llc import llc_init
from addrsvc.model.loopback import blackhole_netdev_init, loopback_net_ops
from addrsvc.model.ndisc import ndisc_init, ndisc_late_init
from addrsvc.model.net_namespace import addrconf_ops, copy_net_ns, register_pernet_device, register_pernet_subsys
from addrsvc.model.netdev_chain import for_each_netdev
from addrsvc.model.percpu import Allocator, Cpus
from addrsvc.model.rtnetlink import rtnetlink_init
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_lock
from addrsvc.model.structs import Chance, Machine, Net, PernetOperations, RtnlAfOps
from addrsvc.model.timer import INITIAL_JIFFIES, TimerBase
from addrsvc.model.tracepoint import Trace
from addrsvc.uapi import AF_BRIDGE

__all__ = ["INITCALLS", "INIT_NET", "boot", "net_dev_init"]

INIT_NET: Final = "init_net"


def _default_device_exit(net: Net) -> None:
    """Send home the devices that may leave a dying namespace, and unregister the rest, lo last.

    Kernel: net/core/dev.c, default_device_exit_batch(), default_device_exit_net().
    """
    init_net = net.machine.net_namespace_list[0]
    with rtnl_lock(net.machine):
        ASSERT_RTNL(net)
        for dev in for_each_netdev(net):
            if not dev.netns_immutable and dev.rtnl_link_ops is None:
                name = f"dev{dev.ifindex}"
                dev_change_net_namespace(dev, init_net, "dev%d" if name in init_net.dev_name_head else name)
        unregister_netdevice_many(list(reversed(list(for_each_netdev(net)))))


default_device_ops = PernetOperations("default_device_ops", exit=_default_device_exit)
"""Kernel: net/core/dev.c, default_device_ops."""


def net_init(machine: Machine) -> None:
    """Make the initial namespace, with nothing in it yet.

    Kernel: net/core/net_namespace.c, net_ns_init().
    """
    copy_net_ns(machine, INIT_NET)


def net_dev_init(machine: Machine) -> None:
    """Let every namespace have its lo, as the first device that comes and the last that goes.

    Kernel: net/core/dev.c, net_dev_init().

    Raises:
        KernelPanic: lo of the initial namespace could not be set up.
    """
    machine.dev_boot_phase = False
    register_pernet_device(machine, loopback_net_ops)
    register_pernet_device(machine, default_device_ops)


def _inet_net_init(machine: Machine) -> None:
    register_pernet_subsys(machine, devinet_ops)
    register_pernet_subsys(machine, fib_rules_net_ops)
    register_pernet_subsys(machine, addrconf_ops)
    register_pernet_subsys(machine, ipv6_addr_label_ops)


def br_init(machine: Machine) -> None:
    """Know of bridges what rtnetlink asks: that a link message may speak of them, and that nothing is set so.

    Kernel: net/bridge/br.c, br_init(); net/bridge/br_netlink.c, br_af_ops.
    Differs: there are no bridges.
    """
    machine.rtnl_af_ops[AF_BRIDGE] = RtnlAfOps()


# In the kernel's order: it decides who is called first among blocks of equal priority.
INITCALLS: Final[Sequence[Callable[[Machine], None]]] = (
    net_init,
    rtnetlink_init,
    fib_rules_init,
    _inet_net_init,
    net_dev_init,
    blackhole_netdev_init,
    arp_tbl_init,
    devinet_init,
    ip_fib_init,
    ndisc_init,
    ip6_route_init,
    addrconf_init,
    ndisc_late_init,
    br_init,
    dummy_init_module,
    ifb_init_module,
    packet_init,
    inet_blackhole_dev_init,
    arp_init,
    ip_packet_init,
    ipv6_packet_init,
    llc_init,
)


def boot(
    chance: Chance, *, trace: Trace | None = None, cpus: Cpus | None = None, percpu_allocator: Allocator | None = None
) -> Machine:
    """Boot a machine.  Ours.

    Args:
        chance: where random decisions come from; the same script and seed give the same effects.
        trace: where walks of chains and effects are recorded, if it is on.
        cpus: those that there may be; two unless told otherwise.
        percpu_allocator: where per-CPU data comes from, and runs out.

    Raises:
        KernelPanic: lo could not be set up.
    """
    memory = percpu_allocator or Allocator()
    machine = Machine(chance, trace or Trace(), TimerBase(INITIAL_JIFFIES), cpus or Cpus(), percpu_allocator=memory)
    for initcall in INITCALLS:
        initcall(machine)
    return machine
