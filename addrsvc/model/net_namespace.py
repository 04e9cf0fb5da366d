"""net/core/net_namespace.c: namespaces, and what is set up and torn down with each of them.

"subsys" operations come before all "device" operations; set-up runs in that order, tear-down in the reverse.
"""

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_sysctl import DEVCONF, DEVCONF_DFLT
from addrsvc.model.ip6_route import new_tables
from addrsvc.model.netns_ids import unhash_nsid
from addrsvc.model.structs import Ipv6Devconf, Machine, Net, NetnsIpv6, PernetOperations

__all__ = [
    "addrconf_ops", "cleanup_net", "copy_net_ns", "register_pernet_device", "register_pernet_subsys",
]  # fmt: skip


def _all_ops(machine: Machine) -> list[PernetOperations]:
    return [*machine.pernet_subsys, *machine.pernet_device]


def _register(machine: Machine, ops: PernetOperations, among: list[PernetOperations]) -> None:
    set_up: list[Net] = []
    among.append(ops)
    for net in list(machine.net_namespace_list) if ops.init else ():
        try:
            _init(ops, net)
        except KernelError:
            for earlier in set_up:
                _exit(ops, earlier)
            among.remove(ops)
            raise
        set_up.append(net)


def _init(ops: PernetOperations, net: Net) -> None:
    if ops.init is not None:
        ops.init(net)


def _exit(ops: PernetOperations, net: Net) -> None:
    if ops.exit is not None:
        ops.exit(net)


def register_pernet_subsys(machine: Machine, ops: PernetOperations) -> None:
    """Have something set up in every namespace, those that exist included, before any device is.

    Kernel: net/core/net_namespace.c, register_pernet_subsys().

    Raises:
        KernelError: a set-up failed; those that had worked are undone.
    """
    _register(machine, ops, machine.pernet_subsys)


def register_pernet_device(machine: Machine, ops: PernetOperations) -> None:
    """Have devices set up in every namespace; torn down before any subsystem is.

    Kernel: net/core/net_namespace.c, register_pernet_device().

    Raises:
        KernelError: as register_pernet_subsys().
    """
    _register(machine, ops, machine.pernet_device)


def copy_net_ns(machine: Machine, name: str) -> Net:
    """Make a namespace.

    Kernel: net/core/net_namespace.c, copy_net_ns(), setup_net().

    Raises:
        KernelError: a set-up failed; those that had worked are undone, newest first, and there is no namespace.
    """
    net = Net(machine, name)
    done: list[PernetOperations] = []
    for ops in _all_ops(machine):
        try:
            _init(ops, net)
        except KernelError:
            for earlier in reversed(done):
                _exit(earlier, net)
            raise
        done.append(ops)
    machine.net_namespace_list.append(net)
    return net


def cleanup_net(net: Net) -> None:
    """Take a namespace away: unlisted first, then torn down in reverse order of set-up.

    Kernel: net/core/net_namespace.c, cleanup_net().
    """
    machine = net.machine
    machine.net_namespace_list.remove(net)
    for other in machine.net_namespace_list:
        unhash_nsid(other, net)
    for ops in reversed(_all_ops(machine)):
        _exit(ops, net)


def _addrconf_init_net(net: Net) -> None:
    net.ipv6 = NetnsIpv6(Ipv6Devconf(DEVCONF), Ipv6Devconf(DEVCONF_DFLT), new_tables())


addrconf_ops = PernetOperations("addrconf_ops", init=_addrconf_init_net)
"""IPv6's settings and routing tables in every namespace.

Kernel: net/ipv6/addrconf.c, addrconf_ops; net/ipv6/ip6_fib.c, fib6_net_ops.
"""
