"""net/core/dev.c, extended statistics: counters that hardware keeps for a device, asked of it by notifier."""

from errno import EALREADY

from addrsvc.errors import KernelError
from addrsvc.model.netdev_chain import (
    call_netdevice_notifiers_info,
    call_netdevice_notifiers_info_robust,
    raise_veto,
)
from addrsvc.model.rtnl import ASSERT_RTNL
from addrsvc.model.structs import NetDevice, NetdevNotifierOffloadXstatsInfo, RtnlHwStats64
from addrsvc.uapi import (
    NETDEV_OFFLOAD_XSTATS_DISABLE,
    NETDEV_OFFLOAD_XSTATS_ENABLE,
    NETDEV_OFFLOAD_XSTATS_REPORT_DELTA,
    NETDEV_OFFLOAD_XSTATS_REPORT_USED,
)

__all__ = [
    "netdev_offload_xstats_disable", "netdev_offload_xstats_enable", "netdev_offload_xstats_get_stats",
    "netdev_offload_xstats_get_used",
]  # fmt: skip


def netdev_offload_xstats_enable(dev: NetDevice) -> None:
    """Have a device's layer 3 traffic counted by who forwards it in hardware.

    Kernel: net/core/dev.c, netdev_offload_xstats_enable(), netdev_offload_xstats_enable_l3().

    Raises:
        KernelError: EALREADY; a subscriber's refusal.
    """
    ASSERT_RTNL(dev)
    if dev.offload_xstats_l3 is not None:
        raise KernelError(EALREADY)
    info = NetdevNotifierOffloadXstatsInfo(dev)
    dev.offload_xstats_l3 = RtnlHwStats64()
    try:
        ret = call_netdevice_notifiers_info_robust(NETDEV_OFFLOAD_XSTATS_ENABLE, NETDEV_OFFLOAD_XSTATS_DISABLE, info)
        raise_veto(ret, info.extack)
    except KernelError:
        dev.offload_xstats_l3 = None
        raise


def netdev_offload_xstats_disable(dev: NetDevice) -> None:
    """Have it counted no more.

    Kernel: net/core/dev.c, netdev_offload_xstats_disable(), netdev_offload_xstats_disable_l3().

    Raises:
        KernelError: EALREADY.
    """
    ASSERT_RTNL(dev)
    if dev.offload_xstats_l3 is None:
        raise KernelError(EALREADY)
    call_netdevice_notifiers_info(NETDEV_OFFLOAD_XSTATS_DISABLE, NetdevNotifierOffloadXstatsInfo(dev))
    dev.offload_xstats_l3 = None


def netdev_offload_xstats_get_used(dev: NetDevice) -> bool:
    """Whether anybody counts.

    Kernel: net/core/dev.c, netdev_offload_xstats_get_used().

    Raises:
        KernelError: a subscriber's refusal.
    """
    return _reported(dev, NETDEV_OFFLOAD_XSTATS_REPORT_USED).used


def netdev_offload_xstats_get_stats(dev: NetDevice) -> RtnlHwStats64:
    """What has been counted, what subscribers report now included.

    Kernel: net/core/dev.c, netdev_offload_xstats_get_stats().

    Raises:
        KernelError: a subscriber's refusal.
    """
    assert dev.offload_xstats_l3 is not None, "who asks has looked"
    _reported(dev, NETDEV_OFFLOAD_XSTATS_REPORT_DELTA)
    return dev.offload_xstats_l3


def _reported(dev: NetDevice, event: int) -> NetdevNotifierOffloadXstatsInfo:
    """Ask the subscribers; what they counted is kept even if one of them refuses."""
    ASSERT_RTNL(dev)
    info = NetdevNotifierOffloadXstatsInfo(dev)
    ret = call_netdevice_notifiers_info(event, info)
    if dev.offload_xstats_l3 is not None:
        dev.offload_xstats_l3 += info.report_delta
    raise_veto(ret, info.extack)
    return info
