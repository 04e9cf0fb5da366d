"""net/core/net_namespace.c: namespaces, and what is set up and torn down with each of them.

"subsys" operations come before all "device" operations; set-up runs in that order, tear-down in the reverse.
"""

from errno import EEXIST
from itertools import count

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_sysctl import DEVCONF, DEVCONF_DFLT
from addrsvc.model.ip6_route import new_tables
from addrsvc.model.rtnl import rtnl_notify
from addrsvc.model.structs import Ipv6Devconf, Machine, Net, NetnsIpv6, PernetOperations
from addrsvc.netlink.messages import NsidMsg
from addrsvc.uapi import NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED, RTM_DELNSID, RTM_NEWNSID

__all__ = [
    "addrconf_ops", "cleanup_net", "copy_net_ns", "get_net_ns_by_id", "peernet2id", "register_pernet_device",
    "register_pernet_subsys", "rtnl_net_newid",
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
        _unhash_nsid(other, net)
    for ops in reversed(_all_ops(machine)):
        _exit(ops, net)


def get_net_ns_by_id(net: Net, nsid: int) -> Net | None:
    """The namespace that `net` knows by this id, if any.

    Kernel: net/core/net_namespace.c, get_net_ns_by_id().
    """
    return net.netns_ids.get(nsid)


def peernet2id(net: Net, peer: Net) -> int:
    """The id that `net` knows a namespace by, itself perhaps; NETNSA_NSID_NOT_ASSIGNED if there is none.

    Kernel: net/core/net_namespace.c, peernet2id().
    """
    return next((nsid for nsid, known in net.netns_ids.items() if known is peer), NETNSA_NSID_NOT_ASSIGNED)


def rtnl_net_newid(net: Net, peer: Net, nsid: int, *, named_by: int) -> None:
    """Let `net` know a namespace by an id, the lowest free one if that is negative.

    Args:
        net: who is to know it.
        peer: the other namespace, or itself.
        nsid: the id.
        named_by: what the request names the other one by, NETNSA_PID or NETNSA_FD.

    Kernel: net/core/net_namespace.c, rtnl_net_newid(), alloc_netid().

    Raises:
        KernelError: EEXIST, it has an id, or the id is another's.
    """
    if peernet2id(net, peer) != NETNSA_NSID_NOT_ASSIGNED:
        raise KernelError(EEXIST, "Peer netns already has a nsid assigned", attr=named_by)
    if nsid in net.netns_ids:
        raise KernelError(EEXIST, "The specified nsid is already used", attr=NETNSA_NSID)
    if nsid < 0:
        nsid = next(free for free in count() if free not in net.netns_ids)
    net.netns_ids[nsid] = peer
    rtnl_notify(net, NsidMsg(RTM_NEWNSID, nsid=nsid), asked=True)


def _unhash_nsid(net: Net, peer: Net) -> None:
    """Kernel: net/core/net_namespace.c, unhash_nsid()."""
    nsid = peernet2id(net, peer)
    if nsid != NETNSA_NSID_NOT_ASSIGNED:
        del net.netns_ids[nsid]
        rtnl_notify(net, NsidMsg(RTM_DELNSID, nsid=nsid))


def _addrconf_init_net(net: Net) -> None:
    net.ipv6 = NetnsIpv6(Ipv6Devconf(DEVCONF), Ipv6Devconf(DEVCONF_DFLT), new_tables())


addrconf_ops = PernetOperations("addrconf_ops", init=_addrconf_init_net)
"""IPv6's settings and routing tables in every namespace.

Kernel: net/ipv6/addrconf.c, addrconf_ops; net/ipv6/ip6_fib.c, fib6_net_ops.
"""
