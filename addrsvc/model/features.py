"""NETIF_F_* and SKB_GSO_*: what a device can do for a packet, and whether that is enough for this one.

Kernel: include/linux/netdev_features.h, include/linux/skbuff.h, include/linux/netdevice.h.  Features are bits of an
integer (netdev_features_t).  What a device has and may change is decided in `dev_features`.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from addrsvc.uapi import CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, ETH_P_FCOE, ETH_P_IP, ETH_P_IPV6

if TYPE_CHECKING:
    from addrsvc.model.skbuff import SkBuff

__all__ = [
    "GSO_CORRESPONDENCE", "FeatureBit", "can_checksum_protocol", "check_gso_correspondence", "feature_names",
    "for_each_netdev_feature", "net_gso_ok", "netdev_features_strings", "netdev_features_t", "netif_needs_gso",
    "skb_gso_ok",
]  # fmt: skip

netdev_features_t: TypeAlias = int

NETDEV_FEATURE_COUNT: Final = 64


class FeatureBit(IntEnum):
    """NETIF_F_*_BIT of Linux 6.18: bit numbers.  Numbers 2, 12 and 13 are not in use."""

    NETIF_F_SG_BIT = 0
    NETIF_F_IP_CSUM_BIT = 1
    NETIF_F_HW_CSUM_BIT = 3
    NETIF_F_IPV6_CSUM_BIT = 4
    NETIF_F_HIGHDMA_BIT = 5
    NETIF_F_FRAGLIST_BIT = 6
    NETIF_F_HW_VLAN_CTAG_TX_BIT = 7
    NETIF_F_HW_VLAN_CTAG_RX_BIT = 8
    NETIF_F_HW_VLAN_CTAG_FILTER_BIT = 9
    NETIF_F_VLAN_CHALLENGED_BIT = 10
    NETIF_F_GSO_BIT = 11
    NETIF_F_GRO_BIT = 14
    NETIF_F_LRO_BIT = 15
    NETIF_F_TSO_BIT = 16
    NETIF_F_GSO_ROBUST_BIT = 17
    NETIF_F_TSO_ECN_BIT = 18
    NETIF_F_TSO_MANGLEID_BIT = 19
    NETIF_F_TSO6_BIT = 20
    NETIF_F_FSO_BIT = 21
    NETIF_F_GSO_GRE_BIT = 22
    NETIF_F_GSO_GRE_CSUM_BIT = 23
    NETIF_F_GSO_IPXIP4_BIT = 24
    NETIF_F_GSO_IPXIP6_BIT = 25
    NETIF_F_GSO_UDP_TUNNEL_BIT = 26
    NETIF_F_GSO_UDP_TUNNEL_CSUM_BIT = 27
    NETIF_F_GSO_PARTIAL_BIT = 28
    NETIF_F_GSO_TUNNEL_REMCSUM_BIT = 29
    NETIF_F_GSO_SCTP_BIT = 30
    NETIF_F_GSO_ESP_BIT = 31
    NETIF_F_GSO_UDP_BIT = 32
    NETIF_F_GSO_UDP_L4_BIT = 33
    NETIF_F_GSO_FRAGLIST_BIT = 34
    NETIF_F_GSO_ACCECN_BIT = 35
    NETIF_F_FCOE_CRC_BIT = 36
    NETIF_F_SCTP_CRC_BIT = 37
    NETIF_F_NTUPLE_BIT = 38
    NETIF_F_RXHASH_BIT = 39
    NETIF_F_RXCSUM_BIT = 40
    NETIF_F_NOCACHE_COPY_BIT = 41
    NETIF_F_LOOPBACK_BIT = 42
    NETIF_F_RXFCS_BIT = 43
    NETIF_F_RXALL_BIT = 44
    NETIF_F_HW_VLAN_STAG_TX_BIT = 45
    NETIF_F_HW_VLAN_STAG_RX_BIT = 46
    NETIF_F_HW_VLAN_STAG_FILTER_BIT = 47
    NETIF_F_HW_L2FW_DOFFLOAD_BIT = 48
    NETIF_F_HW_TC_BIT = 49
    NETIF_F_HW_ESP_BIT = 50
    NETIF_F_HW_ESP_TX_CSUM_BIT = 51
    NETIF_F_RX_UDP_TUNNEL_PORT_BIT = 52
    NETIF_F_HW_TLS_TX_BIT = 53
    NETIF_F_HW_TLS_RX_BIT = 54
    NETIF_F_GRO_HW_BIT = 55
    NETIF_F_HW_TLS_RECORD_BIT = 56
    NETIF_F_GRO_FRAGLIST_BIT = 57
    NETIF_F_HW_MACSEC_BIT = 58
    NETIF_F_GRO_UDP_FWD_BIT = 59
    NETIF_F_HW_HSR_TAG_INS_BIT = 60
    NETIF_F_HW_HSR_TAG_RM_BIT = 61
    NETIF_F_HW_HSR_FWD_BIT = 62
    NETIF_F_HW_HSR_DUP_BIT = 63


# The name of each bit as ethtool(8) shows it; a bit without one is never shown.
# Kernel: net/ethtool/common.c, netdev_features_strings.
netdev_features_strings: Final[dict[int, str]] = {
    0: "tx-scatter-gather",
    1: "tx-checksum-ipv4",
    3: "tx-checksum-ip-generic",
    4: "tx-checksum-ipv6",
    5: "highdma",
    6: "tx-scatter-gather-fraglist",
    7: "tx-vlan-hw-insert",
    8: "rx-vlan-hw-parse",
    9: "rx-vlan-filter",
    10: "vlan-challenged",
    11: "tx-generic-segmentation",
    14: "rx-gro",
    15: "rx-lro",
    16: "tx-tcp-segmentation",
    17: "tx-gso-robust",
    18: "tx-tcp-ecn-segmentation",
    19: "tx-tcp-mangleid-segmentation",
    20: "tx-tcp6-segmentation",
    21: "tx-fcoe-segmentation",
    22: "tx-gre-segmentation",
    23: "tx-gre-csum-segmentation",
    24: "tx-ipxip4-segmentation",
    25: "tx-ipxip6-segmentation",
    26: "tx-udp_tnl-segmentation",
    27: "tx-udp_tnl-csum-segmentation",
    28: "tx-gso-partial",
    29: "tx-tunnel-remcsum-segmentation",
    30: "tx-sctp-segmentation",
    31: "tx-esp-segmentation",
    33: "tx-udp-segmentation",
    34: "tx-gso-list",
    35: "tx-tcp-accecn-segmentation",
    36: "tx-checksum-fcoe-crc",
    37: "tx-checksum-sctp",
    38: "rx-ntuple-filter",
    39: "rx-hashing",
    40: "rx-checksum",
    41: "tx-nocache-copy",
    42: "loopback",
    43: "rx-fcs",
    44: "rx-all",
    45: "tx-vlan-stag-hw-insert",
    46: "rx-vlan-stag-hw-parse",
    47: "rx-vlan-stag-filter",
    48: "l2-fwd-offload",
    49: "hw-tc-offload",
    50: "esp-hw-offload",
    51: "esp-tx-csum-hw-offload",
    52: "rx-udp_tunnel-port-offload",
    53: "tls-hw-tx-offload",
    54: "tls-hw-rx-offload",
    55: "rx-gro-hw",
    56: "tls-hw-record",
    57: "rx-gro-list",
    58: "macsec-hw-offload",
    59: "rx-udp-gro-forwarding",
    60: "hsr-tag-ins-offload",
    61: "hsr-tag-rm-offload",
    62: "hsr-fwd-offload",
    63: "hsr-dup-offload",
}


def __NETIF_F_BIT(bit: int) -> netdev_features_t:
    """A feature by the number of its bit.

    Kernel: include/linux/netdev_features.h, __NETIF_F_BIT().
    """
    return 1 << bit


def __NETIF_F(name: str) -> netdev_features_t:
    """A feature by its short name: ``__NETIF_F("TSO")``.

    Kernel: include/linux/netdev_features.h, __NETIF_F().
    """
    return __NETIF_F_BIT(FeatureBit[f"NETIF_F_{name}_BIT"])


NETIF_F_SG: Final = __NETIF_F("SG")
NETIF_F_IP_CSUM: Final = __NETIF_F("IP_CSUM")
NETIF_F_HW_CSUM: Final = __NETIF_F("HW_CSUM")
NETIF_F_IPV6_CSUM: Final = __NETIF_F("IPV6_CSUM")
NETIF_F_HIGHDMA: Final = __NETIF_F("HIGHDMA")
NETIF_F_FRAGLIST: Final = __NETIF_F("FRAGLIST")
NETIF_F_HW_VLAN_CTAG_TX: Final = __NETIF_F("HW_VLAN_CTAG_TX")
NETIF_F_HW_VLAN_CTAG_RX: Final = __NETIF_F("HW_VLAN_CTAG_RX")
NETIF_F_HW_VLAN_CTAG_FILTER: Final = __NETIF_F("HW_VLAN_CTAG_FILTER")
NETIF_F_VLAN_CHALLENGED: Final = __NETIF_F("VLAN_CHALLENGED")
NETIF_F_GSO: Final = __NETIF_F("GSO")
NETIF_F_GRO: Final = __NETIF_F("GRO")
NETIF_F_LRO: Final = __NETIF_F("LRO")
NETIF_F_TSO: Final = __NETIF_F("TSO")
NETIF_F_GSO_ROBUST: Final = __NETIF_F("GSO_ROBUST")
NETIF_F_TSO_ECN: Final = __NETIF_F("TSO_ECN")
NETIF_F_TSO_MANGLEID: Final = __NETIF_F("TSO_MANGLEID")
NETIF_F_TSO6: Final = __NETIF_F("TSO6")
NETIF_F_FSO: Final = __NETIF_F("FSO")
NETIF_F_GSO_GRE: Final = __NETIF_F("GSO_GRE")
NETIF_F_GSO_GRE_CSUM: Final = __NETIF_F("GSO_GRE_CSUM")
NETIF_F_GSO_IPXIP4: Final = __NETIF_F("GSO_IPXIP4")
NETIF_F_GSO_IPXIP6: Final = __NETIF_F("GSO_IPXIP6")
NETIF_F_GSO_UDP_TUNNEL: Final = __NETIF_F("GSO_UDP_TUNNEL")
NETIF_F_GSO_UDP_TUNNEL_CSUM: Final = __NETIF_F("GSO_UDP_TUNNEL_CSUM")
NETIF_F_GSO_PARTIAL: Final = __NETIF_F("GSO_PARTIAL")
NETIF_F_GSO_TUNNEL_REMCSUM: Final = __NETIF_F("GSO_TUNNEL_REMCSUM")
NETIF_F_GSO_SCTP: Final = __NETIF_F("GSO_SCTP")
NETIF_F_GSO_ESP: Final = __NETIF_F("GSO_ESP")
NETIF_F_GSO_UDP: Final = __NETIF_F("GSO_UDP")
NETIF_F_GSO_UDP_L4: Final = __NETIF_F("GSO_UDP_L4")
NETIF_F_GSO_FRAGLIST: Final = __NETIF_F("GSO_FRAGLIST")
NETIF_F_GSO_ACCECN: Final = __NETIF_F("GSO_ACCECN")
NETIF_F_FCOE_CRC: Final = __NETIF_F("FCOE_CRC")
NETIF_F_SCTP_CRC: Final = __NETIF_F("SCTP_CRC")
NETIF_F_NTUPLE: Final = __NETIF_F("NTUPLE")
NETIF_F_RXHASH: Final = __NETIF_F("RXHASH")
NETIF_F_RXCSUM: Final = __NETIF_F("RXCSUM")
NETIF_F_NOCACHE_COPY: Final = __NETIF_F("NOCACHE_COPY")
NETIF_F_LOOPBACK: Final = __NETIF_F("LOOPBACK")
NETIF_F_RXFCS: Final = __NETIF_F("RXFCS")
NETIF_F_RXALL: Final = __NETIF_F("RXALL")
NETIF_F_HW_VLAN_STAG_TX: Final = __NETIF_F("HW_VLAN_STAG_TX")
NETIF_F_HW_VLAN_STAG_RX: Final = __NETIF_F("HW_VLAN_STAG_RX")
NETIF_F_HW_VLAN_STAG_FILTER: Final = __NETIF_F("HW_VLAN_STAG_FILTER")
NETIF_F_HW_L2FW_DOFFLOAD: Final = __NETIF_F("HW_L2FW_DOFFLOAD")
NETIF_F_HW_TC: Final = __NETIF_F("HW_TC")
NETIF_F_HW_ESP: Final = __NETIF_F("HW_ESP")
NETIF_F_HW_ESP_TX_CSUM: Final = __NETIF_F("HW_ESP_TX_CSUM")
NETIF_F_RX_UDP_TUNNEL_PORT: Final = __NETIF_F("RX_UDP_TUNNEL_PORT")
NETIF_F_HW_TLS_TX: Final = __NETIF_F("HW_TLS_TX")
NETIF_F_HW_TLS_RX: Final = __NETIF_F("HW_TLS_RX")
NETIF_F_GRO_HW: Final = __NETIF_F("GRO_HW")
NETIF_F_HW_TLS_RECORD: Final = __NETIF_F("HW_TLS_RECORD")
NETIF_F_GRO_FRAGLIST: Final = __NETIF_F("GRO_FRAGLIST")
NETIF_F_HW_MACSEC: Final = __NETIF_F("HW_MACSEC")
NETIF_F_GRO_UDP_FWD: Final = __NETIF_F("GRO_UDP_FWD")
NETIF_F_HW_HSR_TAG_INS: Final = __NETIF_F("HW_HSR_TAG_INS")
NETIF_F_HW_HSR_TAG_RM: Final = __NETIF_F("HW_HSR_TAG_RM")
NETIF_F_HW_HSR_FWD: Final = __NETIF_F("HW_HSR_FWD")
NETIF_F_HW_HSR_DUP: Final = __NETIF_F("HW_HSR_DUP")

NETIF_F_GSO_SHIFT: Final = FeatureBit.NETIF_F_TSO_BIT
NETIF_F_GSO_LAST: Final = FeatureBit.NETIF_F_GSO_ACCECN_BIT
NETIF_F_GSO_MASK: Final = __NETIF_F_BIT(NETIF_F_GSO_LAST + 1) - __NETIF_F_BIT(NETIF_F_GSO_SHIFT)
"""Every feature that stands for a kind of segmentation."""
NETIF_F_ALL_TSO: Final = NETIF_F_TSO | NETIF_F_TSO6 | NETIF_F_TSO_ECN | NETIF_F_TSO_MANGLEID
NETIF_F_ALL_CSUM: Final = NETIF_F_HW_CSUM | NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM
NETIF_F_CSUM_MASK: Final = NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM | NETIF_F_HW_CSUM
NETIF_F_GSO_SOFTWARE_5_17: Final = NETIF_F_ALL_TSO | NETIF_F_GSO_SCTP | NETIF_F_GSO_UDP_L4 | NETIF_F_GSO_FRAGLIST
"""What can be segmented in software, up to the release that the annotated source is of."""
NETIF_F_GSO_SOFTWARE: Final = NETIF_F_GSO_SOFTWARE_5_17 | NETIF_F_GSO_ACCECN
"""The same in the reference release."""
NETIF_F_SOFT_FEATURES: Final = NETIF_F_GSO | NETIF_F_GRO
"""What every device gets at registration."""
NETIF_F_SOFT_FEATURES_OFF: Final = NETIF_F_GRO_FRAGLIST | NETIF_F_GRO_UDP_FWD
"""What every device can be told to do, and does not by itself."""
NETIF_F_NEVER_CHANGE: Final = NETIF_F_VLAN_CHALLENGED
"""What ethtool may never change."""


def for_each_netdev_feature(features: netdev_features_t) -> Iterator[int]:
    """The numbers of the bits that are set, highest first.

    Kernel: include/linux/netdev_features.h, for_each_netdev_feature().
    """
    while features:
        bit = features.bit_length() - 1
        yield bit
        features &= ~(1 << bit)


def feature_names(features: netdev_features_t) -> list[str]:
    """The names of the features that are set, as ethtool(8) has them, in order of their bits.  Ours."""
    return [name for bit, name in netdev_features_strings.items() if features >> bit & 1]


# --- what a packet asks for -----------------------------------------------------------------------------------------

# SKB_GSO_* of Linux 6.18: bits of skb_shared_info.gso_type.  TCP_FIXEDID has moved to bit 30 and has a counterpart for
# inner headers at 31; bit 3, where it was, is what net_gso_ok() turns both into.
SKB_GSO_TCPV4: Final = 1 << 0
SKB_GSO_DODGY: Final = 1 << 1
SKB_GSO_TCP_ECN: Final = 1 << 2
_SKB_GSO_TCP_FIXEDID: Final = 1 << 3
SKB_GSO_TCPV6: Final = 1 << 4
SKB_GSO_FCOE: Final = 1 << 5
SKB_GSO_GRE: Final = 1 << 6
SKB_GSO_GRE_CSUM: Final = 1 << 7
SKB_GSO_IPXIP4: Final = 1 << 8
SKB_GSO_IPXIP6: Final = 1 << 9
SKB_GSO_UDP_TUNNEL: Final = 1 << 10
SKB_GSO_UDP_TUNNEL_CSUM: Final = 1 << 11
SKB_GSO_PARTIAL: Final = 1 << 12
SKB_GSO_TUNNEL_REMCSUM: Final = 1 << 13
SKB_GSO_SCTP: Final = 1 << 14
SKB_GSO_ESP: Final = 1 << 15
SKB_GSO_UDP: Final = 1 << 16
SKB_GSO_UDP_L4: Final = 1 << 17
SKB_GSO_FRAGLIST: Final = 1 << 18
SKB_GSO_TCP_ACCECN: Final = 1 << 19
SKB_GSO_TCP_FIXEDID: Final = 1 << 30
SKB_GSO_TCP_FIXEDID_INNER: Final = 1 << 31

# Each kind of segmentation and the feature that covers it.  Checked at import, as the kernel checks it at build.
GSO_CORRESPONDENCE: Final[tuple[tuple[int, netdev_features_t], ...]] = (
    (SKB_GSO_TCPV4, NETIF_F_TSO),
    (SKB_GSO_DODGY, NETIF_F_GSO_ROBUST),
    (SKB_GSO_TCP_ECN, NETIF_F_TSO_ECN),
    (_SKB_GSO_TCP_FIXEDID, NETIF_F_TSO_MANGLEID),
    (SKB_GSO_TCPV6, NETIF_F_TSO6),
    (SKB_GSO_FCOE, NETIF_F_FSO),
    (SKB_GSO_GRE, NETIF_F_GSO_GRE),
    (SKB_GSO_GRE_CSUM, NETIF_F_GSO_GRE_CSUM),
    (SKB_GSO_IPXIP4, NETIF_F_GSO_IPXIP4),
    (SKB_GSO_IPXIP6, NETIF_F_GSO_IPXIP6),
    (SKB_GSO_UDP_TUNNEL, NETIF_F_GSO_UDP_TUNNEL),
    (SKB_GSO_UDP_TUNNEL_CSUM, NETIF_F_GSO_UDP_TUNNEL_CSUM),
    (SKB_GSO_PARTIAL, NETIF_F_GSO_PARTIAL),
    (SKB_GSO_TUNNEL_REMCSUM, NETIF_F_GSO_TUNNEL_REMCSUM),
    (SKB_GSO_SCTP, NETIF_F_GSO_SCTP),
    (SKB_GSO_ESP, NETIF_F_GSO_ESP),
    (SKB_GSO_UDP, NETIF_F_GSO_UDP),
    (SKB_GSO_UDP_L4, NETIF_F_GSO_UDP_L4),
    (SKB_GSO_FRAGLIST, NETIF_F_GSO_FRAGLIST),
    (SKB_GSO_TCP_ACCECN, NETIF_F_GSO_ACCECN),
)


def check_gso_correspondence(rows: Iterable[tuple[int, netdev_features_t]] = GSO_CORRESPONDENCE) -> None:
    """Check that every SKB_GSO_* bit, shifted, is the feature that covers it.

    Kernel: include/linux/netdevice.h, the BUILD_BUG_ON()s of net_gso_ok().

    Raises:
        AssertionError: one does not correspond.
    """
    for gso_type, feature in rows:
        if gso_type != feature >> NETIF_F_GSO_SHIFT:
            raise AssertionError(f"gso_type {gso_type:#x} does not correspond to feature {feature:#x}")


check_gso_correspondence()


def net_gso_ok(features: netdev_features_t, gso_type: int) -> bool:
    """Whether a device with these features segments packets of this gso_type itself.

    Kernel: include/linux/netdevice.h, net_gso_ok().
    """
    if gso_type & (SKB_GSO_TCP_FIXEDID | SKB_GSO_TCP_FIXEDID_INNER):
        gso_type |= _SKB_GSO_TCP_FIXEDID
    feature = gso_type << NETIF_F_GSO_SHIFT & NETIF_F_GSO_MASK
    return features & feature == feature


def skb_gso_ok(skb: "SkBuff", features: netdev_features_t) -> bool:
    """Whether a device with these features takes this packet unsegmented.

    Kernel: include/linux/netdevice.h, skb_gso_ok().
    """
    if not net_gso_ok(features, skb.shinfo.gso_type):
        return False
    return not skb.shinfo.frag_list or bool(features & NETIF_F_FRAGLIST)


def netif_needs_gso(skb: "SkBuff", features: netdev_features_t) -> bool:
    """Whether the packet has to be segmented in software before such a device gets it.

    Kernel: include/linux/netdevice.h, netif_needs_gso().
    """
    if not skb.shinfo.gso_size:
        return False
    return not skb_gso_ok(skb, features) or skb.ip_summed not in (CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY)


def can_checksum_protocol(features: netdev_features_t, protocol: int) -> bool:
    """Whether such a device computes the checksums of a protocol (ETH_P_*).

    Kernel: include/linux/netdevice.h, can_checksum_protocol().
    """
    if protocol == ETH_P_FCOE:
        return bool(features & NETIF_F_FCOE_CRC)
    if features & NETIF_F_HW_CSUM:
        return True
    by_protocol = {ETH_P_IP: NETIF_F_IP_CSUM, ETH_P_IPV6: NETIF_F_IPV6_CSUM}
    return bool(features & by_protocol.get(protocol, 0))
