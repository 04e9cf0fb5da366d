"""net/core/net_namespace.c: the ids by which namespaces know one another."""

from errno import EEXIST
from itertools import count

from addrsvc.errors import KernelError
from addrsvc.model.rtnl import rtnl_notify
from addrsvc.model.structs import Net
from addrsvc.netlink.messages import NsidMsg
from addrsvc.uapi import NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED, RTM_DELNSID, RTM_NEWNSID

__all__ = ["get_net_ns_by_id", "peernet2id", "peernet2id_alloc", "rtnl_net_newid", "unhash_nsid"]


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


def peernet2id_alloc(net: Net, peer: Net) -> int:
    """The id that `net` knows a namespace by: if it had none the lowest free one, unless it is being torn down.

    Kernel: net/core/net_namespace.c, peernet2id_alloc().
    """
    nsid = peernet2id(net, peer)
    if nsid != NETNSA_NSID_NOT_ASSIGNED or net not in net.machine.net_namespace_list:
        return nsid
    return _alloc(net, peer, -1, asked=False)


def _alloc(net: Net, peer: Net, nsid: int, *, asked: bool) -> int:
    """Kernel: net/core/net_namespace.c, alloc_netid(), rtnl_net_notifyid()."""
    if nsid < 0:
        nsid = next(free for free in count() if free not in net.netns_ids)
    net.netns_ids[nsid] = peer
    rtnl_notify(net, NsidMsg(RTM_NEWNSID, nsid=nsid), asked=asked)
    return nsid


def rtnl_net_newid(net: Net, peer: Net, nsid: int, *, named_by: int) -> None:
    """Let `net` know a namespace by an id, the lowest free one if that is negative.

    Args:
        net: who is to know it.
        peer: the other namespace, or itself.
        nsid: the id.
        named_by: what the request names the other one by, NETNSA_PID or NETNSA_FD.

    Kernel: net/core/net_namespace.c, rtnl_net_newid().

    Raises:
        KernelError: EEXIST, it has an id, or the id is another's.
    """
    if peernet2id(net, peer) != NETNSA_NSID_NOT_ASSIGNED:
        raise KernelError(EEXIST, "Peer netns already has a nsid assigned", attr=named_by)
    if nsid in net.netns_ids:
        raise KernelError(EEXIST, "The specified nsid is already used", attr=NETNSA_NSID)
    _alloc(net, peer, nsid, asked=True)


def unhash_nsid(net: Net, peer: Net) -> None:
    """Let `net` know a namespace by no id any more.

    Kernel: net/core/net_namespace.c, unhash_nsid().
    """
    nsid = peernet2id(net, peer)
    if nsid != NETNSA_NSID_NOT_ASSIGNED:
        del net.netns_ids[nsid]
        rtnl_notify(net, NsidMsg(RTM_DELNSID, nsid=nsid))
