"""net/ethtool: what ethtool asks of a device, and what it may change about its features."""

from dataclasses import dataclass
from errno import EINVAL, EOPNOTSUPP
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.dev_features import netdev_apply_features
from addrsvc.model.features import NETDEV_FEATURE_COUNT, NETIF_F_NEVER_CHANGE, netdev_features_t
from addrsvc.model.netdev_chain import call_netdevice_notifiers
from addrsvc.model.rtnl import ASSERT_RTNL
from addrsvc.model.structs import NetDevice
from addrsvc.uapi import NETDEV_FEAT_CHANGE, SOF_TIMESTAMPING_RX_SOFTWARE, SOF_TIMESTAMPING_SOFTWARE

__all__ = [
    "EthtoolFeatures", "FeatureChanges", "ethtool_get_features", "ethtool_get_link", "ethtool_get_ts_info",
    "ethtool_set_features",
]  # fmt: skip

NETIF_F_ETHTOOL_BITS: Final[netdev_features_t] = (1 << NETDEV_FEATURE_COUNT) - 1 & ~NETIF_F_NEVER_CHANGE


@dataclass(frozen=True, slots=True)
class EthtoolFeatures:
    """The four masks that describe a device's features (struct ethtool_get_features_block).

    Attributes:
        available: may be changed.
        requested: somebody wants them.
        active: are in force.
        never_changed: nobody may ever change them.
    """

    available: netdev_features_t
    requested: netdev_features_t
    active: netdev_features_t
    never_changed: netdev_features_t

    def is_fixed(self, bit: int) -> bool:
        """Whether the feature of this bit cannot be changed on the device."""
        return not self.available >> bit & 1 or bool(self.never_changed >> bit & 1)


@dataclass(frozen=True, slots=True)
class FeatureChanges:
    """What a change of features came to, beside what was asked for.

    Attributes:
        unmet: asked for, and not so.  `wanted` has them as they were asked for.
        changed: are other than before.  `active` has them as they are now.
    """

    unmet: netdev_features_t
    wanted: netdev_features_t
    changed: netdev_features_t
    active: netdev_features_t


def ethtool_get_features(dev: NetDevice) -> EthtoolFeatures:
    """What a device can do, and does.

    Kernel: net/ethtool/features.c, features_prepare_data(); net/ethtool/ioctl.c, ethtool_get_features().
    """
    return EthtoolFeatures(dev.hw_features, dev.wanted_features, dev.features, NETIF_F_NEVER_CHANGE)


def ethtool_set_features(dev: NetDevice, mask: netdev_features_t, wanted: netdev_features_t) -> FeatureChanges:
    """Ask for the features in `mask` to be as in `wanted`; others, and those that depend on them, may follow.

    Kernel: net/ethtool/features.c, ethnl_set_features().

    Raises:
        KernelError: EINVAL, a feature that nobody may change; nothing was changed.
    """
    ASSERT_RTNL(dev)
    if mask & ~NETIF_F_ETHTOOL_BITS:
        raise KernelError(EINVAL, "attempt to change non-ethtool features")
    before = dev.features
    target = dev.wanted_features & ~mask | wanted & mask
    if target != dev.wanted_features:
        dev.wanted_features = dev.wanted_features & ~dev.hw_features | target & dev.hw_features
        netdev_apply_features(dev)
    unmet, changed = (wanted ^ dev.features) & mask, before ^ dev.features
    if changed:
        call_netdevice_notifiers(NETDEV_FEAT_CHANGE, dev)
    return FeatureChanges(unmet, wanted & unmet, changed, dev.features & changed)


def ethtool_get_link(dev: NetDevice) -> int:
    """1 where there is a link; a device that does not run has none.

    Kernel: net/ethtool/ioctl.c, __ethtool_get_link().

    Raises:
        KernelError: EOPNOTSUPP, the device does not know.
    """
    if dev.ethtool_ops is None or dev.ethtool_ops.get_link is None:
        raise KernelError(EOPNOTSUPP)
    return int(dev.running and dev.ethtool_ops.get_link(dev))


def ethtool_get_ts_info(dev: NetDevice) -> int:
    """SOF_TIMESTAMPING_*: which time stamps there are; those that are made on arrival, in software, always.

    Kernel: net/ethtool/common.c, __ethtool_get_ts_info().
    """
    own = dev.ethtool_ops.get_ts_info(dev) if dev.ethtool_ops is not None and dev.ethtool_ops.get_ts_info else 0
    return own | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
