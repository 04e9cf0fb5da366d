"""drivers/net/loopback.c: the device that is first in every namespace."""

from addrsvc.model.dev import alloc_netdev, register_netdevice
from addrsvc.model.eth import eth_mac_addr
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import Net, NetDevice, NetDeviceOps, PernetOperations
from addrsvc.uapi import (
    ARPHRD_LOOPBACK,
    ETH_ALEN,
    ETH_HLEN,
    IFF_LIVE_ADDR_CHANGE,
    IFF_LOOPBACK,
    IFF_NO_QUEUE,
    IFF_XMIT_DST_RELEASE,
    IFF_XMIT_DST_RELEASE_PERM,
    NET_NAME_PREDICTABLE,
)

__all__ = [
    "LOOPBACK_IFINDEX", "gen_lo_setup", "loopback_dev_free", "loopback_dev_init", "loopback_net_init",
    "loopback_net_ops", "loopback_ops", "loopback_setup",
]  # fmt: skip

LOOPBACK_IFINDEX = 1
_MTU = 64 * 1024
_TSO_MAX_SIZE = 8 * 65535


def loopback_dev_init(dev: NetDevice) -> None:
    """What the driver does when lo is registered.

    Kernel: drivers/net/loopback.c, loopback_dev_init().
    Differs: it only sets lock classes in 6.18, and there are no locks here; so it clears what a device must not
        carry over from an earlier life, its running state.
    """
    dev.running = False


def loopback_dev_free(dev: NetDevice) -> None:
    """What the driver does when lo is gone: its namespace forgets it.

    Kernel: drivers/net/loopback.c, loopback_dev_free().
    """
    dev.net.loopback_dev = None


loopback_ops = NetDeviceOps(ndo_init=loopback_dev_init, ndo_set_mac_address=eth_mac_addr)
"""Kernel: drivers/net/loopback.c, loopback_ops."""


def gen_lo_setup(dev: NetDevice, mtu: int, dev_ops: NetDeviceOps) -> None:
    """Fill in what all loopback-like devices have in common; `mtu` is in bytes.

    Kernel: drivers/net/loopback.c, gen_lo_setup().
    Differs: features, header and ethtool operations are left out; the destructor is set by the caller.
    """
    dev.mtu = mtu
    dev.hard_header_len = dev.min_header_len = ETH_HLEN
    dev.addr_len = ETH_ALEN
    dev.dev_addr = dev.broadcast = bytes(ETH_ALEN)
    dev.type = ARPHRD_LOOPBACK
    dev.flags = IFF_LOOPBACK
    dev.priv_flags |= IFF_LIVE_ADDR_CHANGE | IFF_NO_QUEUE
    dev.priv_flags &= ~(IFF_XMIT_DST_RELEASE | IFF_XMIT_DST_RELEASE_PERM)
    dev.lltx = dev.netns_immutable = dev.needs_free_netdev = True
    dev.netdev_ops = dev_ops
    dev.tso_max_size = _TSO_MAX_SIZE


def loopback_setup(dev: NetDevice) -> None:
    """Make a device lo.

    Kernel: drivers/net/loopback.c, loopback_setup().
    """
    gen_lo_setup(dev, _MTU, loopback_ops)
    dev.priv_destructor = loopback_dev_free


def loopback_net_init(net: Net) -> None:
    """Set up and register the loopback device of a namespace.

    Kernel: drivers/net/loopback.c, loopback_net_init().
    Differs: a failure is raised for the initial namespace too, where the kernel panics.

    Raises:
        KernelError: a callback vetoed the device.
    """
    dev = alloc_netdev(net, "lo", NET_NAME_PREDICTABLE, loopback_setup)
    with rtnl_lock(net.machine):
        register_netdevice(dev)
    if dev.ifindex != LOOPBACK_IFINDEX:
        raise AssertionError(f"lo has index {dev.ifindex}: it must be the first device of its namespace")
    net.loopback_dev = dev


loopback_net_ops = PernetOperations("loopback_net_ops", init=loopback_net_init)
"""Kernel: drivers/net/loopback.c, loopback_net_ops; registered by net_dev_init()."""
