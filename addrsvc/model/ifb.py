"""drivers/net/ifb.c: a device that gives back what is redirected to it; of the rest it says that it was dropped."""

from addrsvc.model.eth import eth_header_ops, eth_hw_addr_random, eth_validate_addr, ether_setup, validate_ether_link
from addrsvc.model.rtnl_link_ops import rtnl_link_register
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import Machine, NetDevice, NetDeviceOps, RtnlLinkOps
from addrsvc.uapi import (
    GSO_MAX_SIZE,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_XMIT_DST_RELEASE,
    IFF_XMIT_DST_RELEASE_PERM,
    NETDEV_TX_OK,
)

__all__ = ["ifb_init_module", "ifb_setup", "ifb_xmit"]

_TX_Q_LIMIT = 32


def ifb_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Count a packet that nobody redirected here, and drop it.

    Kernel: drivers/net/ifb.c, ifb_xmit().
    Differs: nothing is ever redirected.
    """
    dev.stats.rx_packets += 1
    dev.stats.rx_bytes += skb.len
    dev.stats.rx_dropped += 1
    return NETDEV_TX_OK


_ifb_netdev_ops = NetDeviceOps(ndo_start_xmit=ifb_xmit, ndo_validate_addr=eth_validate_addr)


def ifb_setup(dev: NetDevice) -> None:
    """Make a device an ifb.

    Kernel: drivers/net/ifb.c, ifb_setup().
    Differs: features are left out.
    """
    ether_setup(dev)
    dev.netdev_ops, dev.header_ops = _ifb_netdev_ops, eth_header_ops
    dev.tx_queue_len = _TX_Q_LIMIT
    dev.flags = dev.flags & ~IFF_MULTICAST | IFF_NOARP
    dev.priv_flags &= ~(IFF_XMIT_DST_RELEASE | IFF_XMIT_DST_RELEASE_PERM)
    eth_hw_addr_random(dev)
    dev.needs_free_netdev = True
    dev.min_mtu = dev.max_mtu = 0
    dev.tso_max_size = GSO_MAX_SIZE


def ifb_init_module(machine: Machine) -> None:
    """Have devices of the kind "ifb" made by request.

    Kernel: drivers/net/ifb.c, ifb_init_module().
    Differs: none is made by loading it (numifbs=0).
    """
    rtnl_link_register(machine, RtnlLinkOps("ifb", ifb_setup, validate_ether_link))
