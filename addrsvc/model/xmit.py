"""net/core/dev.c, packet half, on the way out: from dev_queue_xmit() to the driver.

A device like lo has no queue: what is sent reaches the driver at once, checked first against what the driver can do.
"""

from collections.abc import Sequence
from errno import ENETDOWN, ENOMEM
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.checksum import csum_fold, csum_partial
from addrsvc.model.features import (
    NETIF_F_CSUM_MASK,
    NETIF_F_FRAGLIST,
    NETIF_F_GSO_MASK,
    NETIF_F_GSO_UDP_L4,
    NETIF_F_HW_CSUM,
    NETIF_F_HW_VLAN_CTAG_TX,
    NETIF_F_HW_VLAN_STAG_TX,
    NETIF_F_IP_CSUM,
    NETIF_F_IPV6_CSUM,
    NETIF_F_SG,
    NETIF_F_TSO6,
    NETIF_F_TSO_MANGLEID,
    SKB_GSO_PARTIAL,
    SKB_GSO_TCPV4,
    SKB_GSO_TCPV6,
    SKB_GSO_UDP_L4,
    can_checksum_protocol,
    netif_needs_gso,
)
from addrsvc.model.gso import skb_gso_segment
from addrsvc.model.receive import local_bh_disable, local_bh_enable, softnet_data
from addrsvc.model.rtnl import printk
from addrsvc.model.skbuff import (
    SkBuff,
    eth_type_vlan,
    kfree_skb,
    skb_clone,
    skb_dst_drop,
    skb_dst_force,
    skb_is_gso,
    skb_network_protocol,
)
from addrsvc.model.structs import NetDevice
from addrsvc.model.trace_net import trace_net_dev_queue, trace_net_dev_start_xmit, trace_net_dev_xmit
from addrsvc.uapi import (
    CHECKSUM_NONE,
    CHECKSUM_PARTIAL,
    ETH_P_IPV6,
    IFF_UP,
    IFF_XMIT_DST_RELEASE,
    NET_XMIT_CN,
    NETDEV_TX_BUSY,
    NETDEV_TX_OK,
    PACKET_OUTGOING,
)

__all__ = [
    "dev_hard_start_xmit", "dev_queue_xmit", "netif_skb_features", "skb_checksum_help", "validate_xmit_skb",
]  # fmt: skip

XMIT_RECURSION_LIMIT: Final = 8
_VLAN_TAGS: Final = NETIF_F_HW_VLAN_CTAG_TX | NETIF_F_HW_VLAN_STAG_TX
_U16: Final = Struct("!H")


def dev_queue_xmit(skb: SkBuff) -> int:
    """Send a packet over its device.

    Kernel: net/core/dev.c, dev_queue_xmit(), __dev_queue_xmit().

    Returns:
        NET_XMIT_SUCCESS or another NET_XMIT_*, or a negative errno.
    """
    dev = skb.dev
    assert dev is not None, "a packet that is sent has a device"
    machine = dev.machine
    skb.mac_header = skb.data
    local_bh_disable(machine)
    try:
        if dev.priv_flags & IFF_XMIT_DST_RELEASE:
            skb_dst_drop(skb)
        else:
            skb_dst_force(skb)
        if machine.trace.recording:
            trace_net_dev_queue(skb, dev)
        return _noop_enqueue(skb, dev) if dev.qdisc == "noop" else _xmit_noqueue(skb, dev)
    finally:
        local_bh_enable(machine)


def _noop_enqueue(skb: SkBuff, dev: NetDevice) -> int:
    """What the queue of a device that is down does.

    Kernel: net/sched/sch_generic.c, noop_enqueue().
    """
    _drop(skb, dev)
    return NET_XMIT_CN


def _drop(skb: SkBuff, dev: NetDevice) -> None:
    """Give a packet up that its device will not get, and count it (dev_core_stats_tx_dropped_inc())."""
    dev.core_stats.tx_dropped += 1
    kfree_skb(skb)


def _xmit_noqueue(skb: SkBuff, dev: NetDevice) -> int:
    """Kernel: net/core/dev.c, __dev_queue_xmit(), where the queue has no enqueue function."""
    if not dev.flags & IFF_UP:
        _drop(skb, dev)
        return -ENOMEM
    sd = softnet_data(dev.machine)
    if sd.recursion > XMIT_RECURSION_LIMIT:
        printk(dev.machine, "crit", f"Dead loop on virtual device {dev.name}, fix it urgently!")
        _drop(skb, dev)
        return -ENETDOWN
    packets = validate_xmit_skb(skb, dev)
    if packets is None:
        return -ENOMEM
    sd.recursion += 1
    try:
        rc, left = dev_hard_start_xmit(packets, dev)
    finally:
        sd.recursion -= 1
    if not left:
        return rc
    printk(dev.machine, "crit", f"Virtual device {dev.name} asks to queue packet!")
    for skb in left:
        _drop(skb, dev)
    return NETDEV_TX_OK if len(left) < len(packets) else -ENETDOWN


def dev_hard_start_xmit(packets: Sequence[SkBuff], dev: NetDevice) -> tuple[int, Sequence[SkBuff]]:
    """Give packets to the driver, one after the other, until it refuses one.

    Kernel: net/core/dev.c, dev_hard_start_xmit(), xmit_one().

    Returns:
        The driver's last answer (NETDEV_TX_*), and the packets that it did not take.
    """
    rc = NETDEV_TX_OK
    start_xmit = dev.netdev_ops.ndo_start_xmit
    assert start_xmit is not None, f"{dev.name} cannot send"
    taps, trace = dev.machine.softnet.ptype_all, dev.machine.trace
    for nth, skb in enumerate(packets):
        if taps:
            _dev_queue_xmit_nit(skb, dev)
        if trace.recording:
            length = skb.len
            trace_net_dev_start_xmit(skb, dev)
            rc = start_xmit(skb, dev)
            trace_net_dev_xmit(skb, dev, rc, length)
        else:
            rc = start_xmit(skb, dev)
        if rc == NETDEV_TX_BUSY:
            return rc, packets[nth:]
    return rc, ()


def _dev_queue_xmit_nit(skb: SkBuff, dev: NetDevice) -> None:
    """Show a packet that is sent to the taps.

    Kernel: net/core/dev.c, dev_queue_xmit_nit().
    """
    for pt in dev.machine.softnet.ptype_all:
        if pt.ignore_outgoing or pt.dev not in (None, dev) or pt.net not in (None, dev.net):
            continue
        if pt.owner is not None and pt.owner is skb.sk:
            continue
        seen = skb_clone(skb)
        seen.reset_mac_header()
        if seen.network_header is None or not seen.data <= seen.network_header <= len(seen.head):
            seen.reset_network_header()
        seen.transport_header = seen.network_header
        seen.pkt_type = PACKET_OUTGOING
        pt.func(seen, dev)


# --- what the driver can take -----------------------------------------------------------------------------------------


def validate_xmit_skb(skb: SkBuff, dev: NetDevice) -> list[SkBuff] | None:
    """Make of a packet what the device can take: the packet itself, or its segments; None if it had to be dropped.

    Kernel: net/core/dev.c, validate_xmit_skb().
    Differs: no VLAN tags to insert, no TLS, no IPsec.
    """
    features = netif_skb_features(skb, dev)
    if not netif_needs_gso(skb, features):
        if _complete(skb, features):
            return [skb]
        _drop(skb, dev)
        return None
    try:
        segments = skb_gso_segment(skb, features)
    except KernelError:
        _drop(skb, dev)
        return None
    if not segments:
        return [skb]
    kfree_skb(skb)
    return segments


def _complete(skb: SkBuff, features: int) -> bool:
    """Do what the device leaves to us: one piece of memory, a checksum.  False if that cannot be done."""
    if _needs_linearize(skb, features):
        skb.linearize()
    if skb.ip_summed == CHECKSUM_PARTIAL:
        skb.transport_header = skb.csum_start
        if not features & NETIF_F_HW_CSUM:
            return skb_checksum_help(skb)
    return True


def _needs_linearize(skb: SkBuff, features: int) -> bool:
    """Kernel: net/core/dev.c, skb_needs_linearize()."""
    shinfo = skb.shinfo
    return bool((shinfo.frag_list and not features & NETIF_F_FRAGLIST) or (shinfo.frags and not features & NETIF_F_SG))


def skb_checksum_help(skb: SkBuff) -> bool:
    """Compute the checksum that was left to the device; False if the packet does not say where it goes.

    Kernel: net/core/dev.c, skb_checksum_help().
    """
    if skb.ip_summed != CHECKSUM_PARTIAL:
        skb.ip_summed = CHECKSUM_NONE
        return True
    start = skb.checksum_start_offset
    if not 0 <= start < skb.headlen or start + skb.csum_offset + 2 > skb.headlen:
        return False
    total = csum_fold(csum_partial(skb.tobytes()[start:]))
    _U16.pack_into(skb.head, skb.csum_start + skb.csum_offset, total or 0xFFFF)
    skb.ip_summed = CHECKSUM_NONE
    return True


def netif_skb_features(skb: SkBuff, dev: NetDevice) -> int:
    """What the device can do for this packet.

    Kernel: net/core/dev.c, netif_skb_features().
    Differs: all memory can be reached by devices, so nothing is wrong with high memory.
    """
    features = dev.features
    if skb_is_gso(skb):
        features = _gso_features_check(skb, dev, features)
    if skb.encapsulation:
        features &= dev.hw_enc_features
    if skb.vlan_tci is not None or eth_type_vlan(skb.protocol):
        features = _intersect_features(features, dev.vlan_features | _VLAN_TAGS)
    return _harmonize_features(skb, features)


def _intersect_features(f1: int, f2: int) -> int:
    """Kernel: include/linux/netdevice.h, netdev_intersect_features()."""
    if f1 & NETIF_F_HW_CSUM and not f2 & NETIF_F_HW_CSUM:
        f1 |= NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM
    elif f2 & NETIF_F_HW_CSUM and not f1 & NETIF_F_HW_CSUM:
        f2 |= NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM
    return f1 & f2


def _gso_features_check(skb: SkBuff, dev: NetDevice, features: int) -> int:
    """Kernel: net/core/dev.c, gso_features_check()."""
    shinfo = skb.shinfo
    if shinfo.gso_segs > dev.gso_max_segs or skb.len >= _gso_max_size(skb, dev):
        return features & ~NETIF_F_GSO_MASK
    if not shinfo.gso_type:
        printk(dev.machine, "warning", f"{dev.name}: caps=(0x{dev.features:016x}, 0x{0:016x})")
        return features & ~NETIF_F_GSO_MASK
    if not shinfo.gso_type & SKB_GSO_PARTIAL:
        features &= ~dev.gso_partial_features
    if shinfo.gso_type & SKB_GSO_TCPV4 and not _dont_fragment(skb):
        features &= ~NETIF_F_TSO_MANGLEID
    if features & NETIF_F_IPV6_CSUM and _is_segmented_ipv6(skb) and _has_extension_headers(skb):
        features &= ~(NETIF_F_IPV6_CSUM | NETIF_F_TSO6 | NETIF_F_GSO_UDP_L4)
    return features


def _gso_max_size(skb: SkBuff, dev: NetDevice) -> int:
    """Kernel: include/linux/netdevice.h, netif_get_gso_max_size()."""
    return dev.gso_max_size if skb.protocol == ETH_P_IPV6 else dev.gso_ipv4_max_size


def _dont_fragment(skb: SkBuff) -> bool:
    network_header = skb.inner_network_header if skb.encapsulation else skb.network_header
    at = (network_header or 0) + 6
    return bool(skb.head[at] & 0x40) if at < len(skb.head) else False


def _is_segmented_ipv6(skb: SkBuff) -> bool:
    gso_type = skb.shinfo.gso_type
    return bool(gso_type & SKB_GSO_TCPV6 or (gso_type & SKB_GSO_UDP_L4 and skb.protocol == ETH_P_IPV6))


def _has_extension_headers(skb: SkBuff) -> bool:
    length = (skb.transport_header or 0) - (skb.network_header or 0)
    return skb.transport_header is not None and length != 40


def _harmonize_features(skb: SkBuff, features: int) -> int:
    """Kernel: net/core/dev.c, harmonize_features()."""
    if skb.ip_summed != CHECKSUM_NONE and not can_checksum_protocol(features, skb_network_protocol(skb)[0]):
        features &= ~(NETIF_F_CSUM_MASK | NETIF_F_GSO_MASK)
    return features
