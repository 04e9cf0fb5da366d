"""drivers/net/dummy.c: a device that swallows what is sent over it."""

from addrsvc.model.eth import (
    eth_header_ops,
    eth_hw_addr_random,
    eth_mac_addr,
    eth_validate_addr,
    ether_setup,
    validate_ether_link,
)
from addrsvc.model.link_watch import netif_carrier_off, netif_carrier_on
from addrsvc.model.loopback import dev_lstats_add, dev_lstats_read
from addrsvc.model.rtnl_link_ops import rtnl_link_register
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import Machine, NetDevice, NetDeviceOps, RtnlLinkOps, RtnlLinkStats64
from addrsvc.uapi import (
    IFF_LIVE_ADDR_CHANGE,
    IFF_MULTICAST,
    IFF_NO_QUEUE,
    IFF_NOARP,
    NETDEV_PCPU_STAT_LSTATS,
    NETDEV_TX_OK,
)

__all__ = ["dummy_init_module", "dummy_setup", "dummy_xmit"]


def dummy_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Count a packet, and be done with it.

    Kernel: drivers/net/dummy.c, dummy_xmit().
    """
    dev_lstats_add(dev, skb.len)
    return NETDEV_TX_OK


def _get_stats64(dev: NetDevice, stats: RtnlLinkStats64) -> None:
    """Kernel: drivers/net/dummy.c, dummy_get_stats64()."""
    stats.tx_packets, stats.tx_bytes = dev_lstats_read(dev)


def _dev_init(dev: NetDevice) -> None:
    """Kernel: drivers/net/dummy.c, dummy_dev_init()."""
    dev.pcpu_stat_type = NETDEV_PCPU_STAT_LSTATS


def _dummy_change_carrier(dev: NetDevice, new_carrier: bool) -> None:  # noqa: FBT001 - the operation's signature
    """Kernel: drivers/net/dummy.c, dummy_change_carrier()."""
    (netif_carrier_on if new_carrier else netif_carrier_off)(dev)


_dummy_netdev_ops = NetDeviceOps(
    ndo_init=_dev_init,
    ndo_start_xmit=dummy_xmit,
    ndo_get_stats64=_get_stats64,
    ndo_validate_addr=eth_validate_addr,
    ndo_set_mac_address=eth_mac_addr,
    ndo_change_carrier=_dummy_change_carrier,
)


def dummy_setup(dev: NetDevice) -> None:
    """Make a device a dummy.

    Kernel: drivers/net/dummy.c, dummy_setup().
    Differs: features are left out.
    """
    ether_setup(dev)
    dev.netdev_ops, dev.header_ops = _dummy_netdev_ops, eth_header_ops
    dev.needs_free_netdev = True
    dev.flags = dev.flags & ~IFF_MULTICAST | IFF_NOARP
    dev.priv_flags |= IFF_LIVE_ADDR_CHANGE | IFF_NO_QUEUE
    dev.lltx = True
    eth_hw_addr_random(dev)
    dev.min_mtu = dev.max_mtu = 0


def dummy_init_module(machine: Machine) -> None:
    """Have devices of the kind "dummy" made by request.

    Kernel: drivers/net/dummy.c, dummy_init_module().
    Differs: none is made by loading it (numdummies=0).
    """
    rtnl_link_register(machine, RtnlLinkOps("dummy", dummy_setup, validate_ether_link))
