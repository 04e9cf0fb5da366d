"""drivers/net/loopback.c: the device that is first in every namespace, and the blackhole, which is in none."""

from collections.abc import Callable
from typing import NoReturn

from addrsvc.errors import KernelError, KernelPanic
from addrsvc.model.dev import alloc_netdev, dev_activate, register_netdevice
from addrsvc.model.eth import eth_header_ops, eth_mac_addr, eth_type_trans
from addrsvc.model.features import (
    NETIF_F_FRAGLIST,
    NETIF_F_GSO_SOFTWARE,
    NETIF_F_HIGHDMA,
    NETIF_F_HW_CSUM,
    NETIF_F_LOOPBACK,
    NETIF_F_RXCSUM,
    NETIF_F_SCTP_CRC,
    NETIF_F_SG,
    NETIF_F_VLAN_CHALLENGED,
)
from addrsvc.model.percpu import lstats_read
from addrsvc.model.receive import netif_rx
from addrsvc.model.rtnl import printk, rtnl_lock
from addrsvc.model.skbuff import SkBuff, skb_dst_force, skb_orphan
from addrsvc.model.structs import (
    EthtoolOps,
    HeaderOps,
    Machine,
    Net,
    NetDevice,
    NetDeviceOps,
    PernetOperations,
    RtnlLinkStats64,
)
from addrsvc.uapi import (
    ARPHRD_LOOPBACK,
    ETH_ALEN,
    ETH_HLEN,
    ETH_MIN_MTU,
    GSO_MAX_SIZE,
    IFF_LIVE_ADDR_CHANGE,
    IFF_LOOPBACK,
    IFF_NO_QUEUE,
    IFF_RUNNING,
    IFF_UP,
    IFF_XMIT_DST_RELEASE,
    IFF_XMIT_DST_RELEASE_PERM,
    NET_NAME_PREDICTABLE,
    NET_NAME_UNKNOWN,
    NET_RX_SUCCESS,
    NETDEV_PCPU_STAT_LSTATS,
    NETDEV_TX_OK,
    SOF_TIMESTAMPING_TX_SOFTWARE,
)

__all__ = [
    "LOOPBACK_IFINDEX", "blackhole_netdev_init", "blackhole_netdev_ops", "blackhole_netdev_setup",
    "blackhole_netdev_xmit", "dev_lstats_add", "dev_lstats_read", "gen_lo_setup", "loopback_dev_free",
    "loopback_dev_init", "loopback_ethtool_ops", "loopback_get_stats64", "loopback_net_init", "loopback_net_ops",
    "loopback_ops", "loopback_setup", "loopback_xmit",
]  # fmt: skip

LOOPBACK_IFINDEX = 1
_MTU = 64 * 1024
_FEATURES = (
    NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_GSO_SOFTWARE | NETIF_F_HW_CSUM | NETIF_F_RXCSUM | NETIF_F_SCTP_CRC
    | NETIF_F_HIGHDMA | NETIF_F_VLAN_CHALLENGED | NETIF_F_LOOPBACK
)  # fmt: skip


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


def loopback_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Receive what is sent: always NETDEV_TX_OK, and counted if there was room for it.

    Kernel: drivers/net/loopback.c, loopback_xmit().
    """
    skb.tstamp = 0
    skb_orphan(skb)
    skb_dst_force(skb)
    skb.protocol = eth_type_trans(skb, dev)
    length = skb.len
    if netif_rx(skb) == NET_RX_SUCCESS:
        dev_lstats_add(dev, length)
    return NETDEV_TX_OK


def loopback_get_stats64(dev: NetDevice, stats: RtnlLinkStats64) -> None:
    """What was sent was received.

    Kernel: drivers/net/loopback.c, loopback_get_stats64().
    """
    stats.rx_packets, stats.rx_bytes = stats.tx_packets, stats.tx_bytes = dev_lstats_read(dev)


def dev_lstats_read(dev: NetDevice) -> tuple[int, int]:
    """Packets and bytes of all possible CPUs together.

    Kernel: drivers/net/loopback.c, dev_lstats_read().
    """
    assert dev.lstats is not None
    return lstats_read(dev.lstats, dev.machine.cpus)


def dev_lstats_add(dev: NetDevice, length: int) -> None:
    """Count one packet of `length` bytes on the CPU that runs.

    Kernel: include/linux/netdevice.h, dev_lstats_add().
    """
    assert dev.lstats is not None
    dev.lstats.per_cpu_ptr(dev.machine.cpu).add(length)


def _always_on(dev: NetDevice) -> int:
    return 1


def _ethtool_op_get_ts_info(dev: NetDevice) -> int:
    """Kernel: net/ethtool/ioctl.c, ethtool_op_get_ts_info()."""
    return SOF_TIMESTAMPING_TX_SOFTWARE


loopback_ethtool_ops = EthtoolOps(get_link=_always_on, get_ts_info=_ethtool_op_get_ts_info)
"""Kernel: drivers/net/loopback.c, loopback_ethtool_ops."""
loopback_ops = NetDeviceOps(
    ndo_init=loopback_dev_init,
    ndo_start_xmit=loopback_xmit,
    ndo_get_stats64=loopback_get_stats64,
    ndo_set_mac_address=eth_mac_addr,
)
"""Kernel: drivers/net/loopback.c, loopback_ops."""


def gen_lo_setup(
    dev: NetDevice,
    mtu: int,
    eth_ops: EthtoolOps | None,
    hdr_ops: HeaderOps | None,
    dev_ops: NetDeviceOps,
    dev_destructor: Callable[[NetDevice], None] | None,
) -> None:
    """Fill in what all loopback-like devices have in common; `mtu` is in bytes.

    Kernel: drivers/net/loopback.c, gen_lo_setup().
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
    dev.hw_features = NETIF_F_GSO_SOFTWARE
    dev.features = _FEATURES
    dev.ethtool_ops, dev.header_ops, dev.netdev_ops = eth_ops, hdr_ops, dev_ops
    dev.pcpu_stat_type = NETDEV_PCPU_STAT_LSTATS
    dev.priv_destructor = dev_destructor
    dev.tso_max_size = GSO_MAX_SIZE


def loopback_setup(dev: NetDevice) -> None:
    """Make a device lo.

    Kernel: drivers/net/loopback.c, loopback_setup().
    """
    gen_lo_setup(dev, _MTU, loopback_ethtool_ops, eth_header_ops, loopback_ops, loopback_dev_free)


def loopback_net_init(net: Net) -> None:
    """Set up and register the loopback device of a namespace.

    Kernel: drivers/net/loopback.c, loopback_net_init().

    Raises:
        KernelError: a callback vetoed the device, or there was no memory for its counters.
        KernelPanic: the same, for the initial namespace.
    """
    dev = alloc_netdev(net, "lo", NET_NAME_PREDICTABLE, loopback_setup)
    try:
        with rtnl_lock(net.machine):
            register_netdevice(dev)
    except KernelError as error:
        if net is net.machine.net_namespace_list[0]:
            _panic(net.machine, error)
        raise
    if dev.ifindex != LOOPBACK_IFINDEX:
        raise AssertionError(f"lo has index {dev.ifindex}: it must be the first device of its namespace")
    net.loopback_dev = dev


def _panic(machine: Machine, error: KernelError) -> NoReturn:
    text = f"Kernel panic - not syncing: loopback: Failed to register netdevice: -{error.errno}"
    printk(machine, "emerg", text)
    raise KernelPanic(text) from error


loopback_net_ops = PernetOperations("loopback_net_ops", init=loopback_net_init)
"""Kernel: drivers/net/loopback.c, loopback_net_ops; registered by net_dev_init()."""


# --- the device that packets without a device are given to -----------------------------------------------------------


def blackhole_netdev_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Drop what is sent.

    Kernel: drivers/net/loopback.c, blackhole_netdev_xmit().
    Differs: every packet is told of; the kernel tells of ten in five seconds.
    """
    skb_orphan(skb)
    printk(dev.machine, "warning", "blackhole_netdev_xmit(): Dropping skb.")
    return NETDEV_TX_OK


blackhole_netdev_ops = NetDeviceOps(ndo_start_xmit=blackhole_netdev_xmit)
"""Kernel: drivers/net/loopback.c, blackhole_netdev_ops."""


def blackhole_netdev_setup(dev: NetDevice) -> None:
    """Make a device the blackhole: like lo in all but what it can tell and what becomes of packets.

    Kernel: drivers/net/loopback.c, blackhole_netdev_setup().
    """
    gen_lo_setup(dev, ETH_MIN_MTU, None, None, blackhole_netdev_ops, None)


def blackhole_netdev_init(machine: Machine) -> None:
    """Make the one device of the machine that is never registered, and up all the same.

    Kernel: drivers/net/loopback.c, blackhole_netdev_init().
    """
    dev = alloc_netdev(machine.net_namespace_list[0], "blackhole_dev", NET_NAME_UNKNOWN, blackhole_netdev_setup)
    with rtnl_lock(machine):
        dev_activate(dev)
    dev.flags |= IFF_UP | IFF_RUNNING
    machine.blackhole_netdev = dev
