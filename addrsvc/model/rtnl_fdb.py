"""net/core/rtnetlink.c, forwarding databases: what devices without a bridge make of them, their lists of addresses."""

from collections.abc import Iterator
from errno import EEXIST, EINVAL, ENOENT

from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_set_rx_mode
from addrsvc.model.rtnl import printk, rtnl_notify
from addrsvc.model.structs import NetDevice
from addrsvc.netlink.messages import NeighMsg
from addrsvc.uapi import (
    AF_BRIDGE,
    ARPHRD_ETHER,
    NTF_SELF,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
)

__all__ = ["ndo_dflt_fdb_add", "ndo_dflt_fdb_del", "ndo_dflt_fdb_dump"]

_MULTICAST = 0x01
_LINK_LOCAL = bytes.fromhex("0180c20000")


def _fill(dev: NetDevice, lladdr: bytes, state: int, nlmsg_type: int = RTM_NEWNEIGH) -> NeighMsg:
    """Kernel: net/core/rtnetlink.c, nlmsg_populate_fdb_fill()."""
    return NeighMsg(
        nlmsg_type=nlmsg_type,
        ndm_family=AF_BRIDGE,
        ndm_ifindex=dev.ifindex,
        ndm_state=state,
        ndm_flags=NTF_SELF,
        lladdr=lladdr,
    )


def ndo_dflt_fdb_dump(dev: NetDevice) -> Iterator[NeighMsg]:
    """The hardware addresses whose frames an Ethernet device receives, as entries of its forwarding database.

    Kernel: net/core/rtnetlink.c, ndo_dflt_fdb_dump().
    """
    for lladdr in (*dev.uc, *dev.mc) if dev.type == ARPHRD_ETHER else ():
        yield _fill(dev, lladdr, NUD_PERMANENT)


def _list_of(dev: NetDevice, lladdr: bytes) -> dict[bytes, int]:
    is_group = lladdr[0] & _MULTICAST and lladdr[:5] != _LINK_LOCAL
    return dev.mc if is_group else dev.uc


def ndo_dflt_fdb_add(
    dev: NetDevice, lladdr: bytes, state: int, *, vid: int = 0, flags_ext: bool = False, excl: bool = False
) -> None:
    """Receive the frames to an address.

    Kernel: net/core/rtnetlink.c, ndo_dflt_fdb_add().

    Raises:
        KernelError: EINVAL, it would have to be more than that; EEXIST, they are received, and `excl`.
    """
    if state and not state & NUD_PERMANENT:
        raise _refusal(dev, "default FDB implementation only supports local addresses")
    if flags_ext:
        raise _refusal(dev, "invalid flags given to default FDB implementation")
    if vid:
        raise _refusal(dev, "vlans aren't supported yet for dev_uc|mc_add()")
    listed = _list_of(dev, lladdr)
    if lladdr in listed:
        if excl:
            raise KernelError(EEXIST)
    else:
        listed[lladdr] = 1
        dev_set_rx_mode(dev)
    rtnl_notify(dev.net, _fill(dev, lladdr, state))


def ndo_dflt_fdb_del(dev: NetDevice, lladdr: bytes, state: int) -> None:
    """Receive them no more, unless there is another reason to.

    Kernel: net/core/rtnetlink.c, ndo_dflt_fdb_del().

    Raises:
        KernelError: EINVAL, there is nothing but local addresses; ENOENT, this is none.
    """
    if not state & NUD_PERMANENT:
        raise _refusal(dev, "default FDB implementation only supports local addresses")
    listed = _list_of(dev, lladdr)
    if lladdr not in listed:
        raise KernelError(ENOENT)
    listed[lladdr] -= 1
    if not listed[lladdr]:
        del listed[lladdr]
        dev_set_rx_mode(dev)
    rtnl_notify(dev.net, _fill(dev, lladdr, state, RTM_DELNEIGH))


def _refusal(dev: NetDevice, text: str) -> KernelError:
    printk(dev.machine, "info", f"{dev.name}: {text}")
    return KernelError(EINVAL)
