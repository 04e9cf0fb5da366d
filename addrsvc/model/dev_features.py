"""net/core/dev.c, features: what of its abilities a device uses, after what was wished for and what depends on what."""

from collections.abc import Callable, Sequence
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.features import (
    NETIF_F_ALL_TSO,
    NETIF_F_GRO_HW,
    NETIF_F_GSO,
    NETIF_F_GSO_PARTIAL,
    NETIF_F_GSO_UDP_L4,
    NETIF_F_HW_CSUM,
    NETIF_F_HW_TLS_RX,
    NETIF_F_HW_TLS_TX,
    NETIF_F_IP_CSUM,
    NETIF_F_IPV6_CSUM,
    NETIF_F_LRO,
    NETIF_F_NOCACHE_COPY,
    NETIF_F_RXCSUM,
    NETIF_F_RXFCS,
    NETIF_F_SG,
    NETIF_F_SOFT_FEATURES,
    NETIF_F_SOFT_FEATURES_OFF,
    NETIF_F_TSO,
    NETIF_F_TSO6,
    NETIF_F_TSO_ECN,
    NETIF_F_TSO_MANGLEID,
    netdev_features_t,
)
from addrsvc.model.netdev_chain import call_netdevice_notifiers
from addrsvc.model.rtnl import ASSERT_RTNL, printk
from addrsvc.model.structs import NetDevice
from addrsvc.uapi import IFF_LOOPBACK, NETDEV_FEAT_CHANGE

__all__ = ["netdev_apply_features", "netdev_features_init", "netdev_fix_features", "netdev_update_features"]

_ALL_IP_CSUM: Final = NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM


def netdev_features_init(dev: NetDevice) -> None:
    """Add what every device can do in software, when it is registered.

    Kernel: net/core/dev.c, register_netdevice(), its part about features.
    """
    dev.hw_features |= NETIF_F_SOFT_FEATURES | NETIF_F_SOFT_FEATURES_OFF
    dev.features |= NETIF_F_SOFT_FEATURES
    dev.wanted_features = dev.features & dev.hw_features
    if not dev.flags & IFF_LOOPBACK:
        dev.hw_features |= NETIF_F_NOCACHE_COPY
    if dev.hw_features & NETIF_F_TSO:
        dev.hw_features |= NETIF_F_TSO_MANGLEID


def _lacks(features: netdev_features_t, *any_of: netdev_features_t) -> bool:
    return not any(features & needed for needed in any_of)


# What is given up, and when: one row after the other, each looking at what those before it have left.
_RULES: Final[Sequence[tuple[Callable[[netdev_features_t], bool], netdev_features_t, str]]] = (
    (
        lambda have: bool(have & NETIF_F_HW_CSUM and have & _ALL_IP_CSUM),
        _ALL_IP_CSUM,
        "mixed HW and IP checksum settings.",
    ),
    (
        lambda have: bool(have & NETIF_F_ALL_TSO) and _lacks(have, NETIF_F_SG),
        NETIF_F_ALL_TSO,
        "Dropping TSO features since no SG feature.",
    ),
    (
        lambda have: bool(have & NETIF_F_TSO) and _lacks(have, NETIF_F_HW_CSUM, NETIF_F_IP_CSUM),
        NETIF_F_TSO | NETIF_F_TSO_ECN,
        "Dropping TSO features since no CSUM feature.",
    ),
    (
        lambda have: bool(have & NETIF_F_TSO6) and _lacks(have, NETIF_F_HW_CSUM, NETIF_F_IPV6_CSUM),
        NETIF_F_TSO6,
        "Dropping TSO6 features since no CSUM feature.",
    ),
    (lambda have: bool(have & NETIF_F_TSO_MANGLEID) and _lacks(have, NETIF_F_TSO), NETIF_F_TSO_MANGLEID, ""),
    (lambda have: have & NETIF_F_ALL_TSO == NETIF_F_TSO_ECN, NETIF_F_TSO_ECN, ""),
    (
        lambda have: bool(have & NETIF_F_GSO) and _lacks(have, NETIF_F_SG),
        NETIF_F_GSO,
        "Dropping NETIF_F_GSO since no SG feature.",
    ),
    (lambda have: _lacks(have, NETIF_F_RXCSUM), NETIF_F_GRO_HW, ""),
    (lambda have: bool(have & NETIF_F_RXFCS), NETIF_F_LRO | NETIF_F_GRO_HW, ""),
    (lambda have: bool(have & NETIF_F_GRO_HW), NETIF_F_LRO, ""),
    (
        lambda have: (
            bool(have & NETIF_F_HW_TLS_TX) and _lacks(have, NETIF_F_HW_CSUM) and have & _ALL_IP_CSUM != _ALL_IP_CSUM
        ),
        NETIF_F_HW_TLS_TX,
        "Dropping TLS TX HW offload feature since no CSUM feature.",
    ),
    (
        lambda have: bool(have & NETIF_F_HW_TLS_RX) and _lacks(have, NETIF_F_RXCSUM),
        NETIF_F_HW_TLS_RX,
        "Dropping TLS RX HW offload feature since no RXCSUM feature.",
    ),
    (
        lambda have: (
            bool(have & NETIF_F_GSO_UDP_L4) and _lacks(have, NETIF_F_HW_CSUM) and have & _ALL_IP_CSUM != _ALL_IP_CSUM
        ),
        NETIF_F_GSO_UDP_L4,
        "Dropping USO feature since no CSUM feature.",
    ),
)


def netdev_fix_features(dev: NetDevice, features: netdev_features_t) -> netdev_features_t:
    """What is left of wished-for features once none depends on one that is missing.

    Kernel: net/core/dev.c, netdev_fix_features().
    """
    for applies, given_up, words in _RULES:
        if features & given_up and applies(features):
            if words:
                printk(dev.machine, "debug", f"{dev.name}: {words}")
            features &= ~given_up
    if _lacks(features, NETIF_F_GSO_PARTIAL):
        features &= ~dev.gso_partial_features
    return features


def netdev_apply_features(dev: NetDevice) -> bool:
    """Put in force what is wanted, without a word; whether anything has changed, or may have: the driver refused.

    Kernel: net/core/dev.c, __netdev_update_features().
    """
    ASSERT_RTNL(dev)
    features = dev.features & ~dev.hw_features | dev.wanted_features
    if dev.netdev_ops.ndo_fix_features is not None:
        features = dev.netdev_ops.ndo_fix_features(dev, features)
    features = netdev_fix_features(dev, features)
    if features == dev.features:
        return False
    try:
        if dev.netdev_ops.ndo_set_features is not None:
            dev.netdev_ops.ndo_set_features(dev, features)
    except KernelError as refused:
        printk(
            dev.machine, "err", f"{dev.name}: set_features() failed (-{refused.errno}); "
            f"wanted 0x{features:016x}, left 0x{dev.features:016x}",
        )  # fmt: skip
        return True
    dev.features = features
    return True


def netdev_update_features(dev: NetDevice) -> None:
    """Put in force what is wanted, and tell the chain if anything changed.

    Kernel: net/core/dev.c, netdev_update_features(), netdev_features_change().
    """
    if netdev_apply_features(dev):
        call_netdevice_notifiers(NETDEV_FEAT_CHANGE, dev)
