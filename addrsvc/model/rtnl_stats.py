"""net/core/rtnetlink.c, statistics: RTM_*STATS on values."""

from collections.abc import Callable
from dataclasses import astuple
from errno import EALREADY
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.offload_xstats import (
    netdev_offload_xstats_disable,
    netdev_offload_xstats_enable,
    netdev_offload_xstats_get_stats,
    netdev_offload_xstats_get_used,
)
from addrsvc.model.rtnl import ASSERT_RTNL, dev_get_stats, rtnl_notify
from addrsvc.model.structs import NetDevice
from addrsvc.netlink.messages import StatsMsg
from addrsvc.uapi import (
    IFLA_OFFLOAD_XSTATS_HW_S_INFO,
    IFLA_OFFLOAD_XSTATS_L3_STATS,
    IFLA_STATS_AF_SPEC,
    IFLA_STATS_LINK_64,
    IFLA_STATS_LINK_OFFLOAD_XSTATS,
)

__all__ = ["EVERYTHING", "IFLA_STATS_FILTER_BIT", "rtnl_fill_statsinfo", "rtnl_stats_set"]

EVERYTHING: Final = 0xFFFFFFFF
"""A filter that lets everything through."""
_NLA_F_NESTED: Final = 0x8000
# Two nests, then struct nlattr with one byte each: IFLA_OFFLOAD_XSTATS_HW_S_INFO_REQUEST and _USED.
_HW_S_INFO: Final = Struct("=HH HH HHB3x HHB3x")
_L3_STATS: Final = Struct("=HH 9Q")


def IFLA_STATS_FILTER_BIT(attr: int) -> int:
    """The bit of a filter that lets an attribute through.

    Kernel: include/uapi/linux/if_link.h, IFLA_STATS_FILTER_BIT().
    """
    return 1 << attr - 1


def rtnl_fill_statsinfo(dev: NetDevice, filter_mask: int, offload_mask: int = EVERYTHING) -> StatsMsg:
    """A device's counters; no kind of device here has more than the usual ones, and no address family has any.

    Args:
        dev: the device.
        filter_mask: which of them, IFLA_STATS_FILTER_BIT()s.
        offload_mask: which of those that hardware keeps.

    Kernel: net/core/rtnetlink.c, rtnl_fill_statsinfo().

    Raises:
        KernelError: a subscriber's refusal to tell what hardware has counted.
    """
    ASSERT_RTNL(dev)
    wanted = {
        attr: bool(filter_mask & IFLA_STATS_FILTER_BIT(attr))
        for attr in (IFLA_STATS_LINK_64, IFLA_STATS_LINK_OFFLOAD_XSTATS, IFLA_STATS_AF_SPEC)
    }
    return StatsMsg(
        ifindex=dev.ifindex,
        filter_mask=filter_mask,
        link_64=astuple(dev_get_stats(dev)) if wanted[IFLA_STATS_LINK_64] else None,
        link_offload_xstats=_offload_xstats(dev, offload_mask) if wanted[IFLA_STATS_LINK_OFFLOAD_XSTATS] else None,
        af_spec=b"" if wanted[IFLA_STATS_AF_SPEC] else None,
    )


def _offload_xstats(dev: NetDevice, mask: int) -> bytes | None:
    """Kernel: net/core/rtnetlink.c, rtnl_offload_xstats_fill()."""
    filled = b"".join(fill(dev) for attr, fill in _OFFLOAD_XSTATS.items() if mask & IFLA_STATS_FILTER_BIT(attr))
    return filled or None


def _hw_s_info(dev: NetDevice) -> bytes:
    """Kernel: net/core/rtnetlink.c, rtnl_offload_xstats_fill_hw_s_info()."""
    request = dev.offload_xstats_l3 is not None
    used = request and netdev_offload_xstats_get_used(dev)
    length = _HW_S_INFO.size
    nests = (
        length,
        IFLA_OFFLOAD_XSTATS_HW_S_INFO | _NLA_F_NESTED,
        length - 4,
        IFLA_OFFLOAD_XSTATS_L3_STATS | _NLA_F_NESTED,
    )
    return _HW_S_INFO.pack(*nests, 5, 1, request, 5, 2, used)


def _l3_stats(dev: NetDevice) -> bytes:
    if dev.offload_xstats_l3 is None:
        return b""
    return _L3_STATS.pack(_L3_STATS.size, IFLA_OFFLOAD_XSTATS_L3_STATS, *astuple(netdev_offload_xstats_get_stats(dev)))


_OFFLOAD_XSTATS: Final[dict[int, Callable[[NetDevice], bytes]]] = {
    IFLA_OFFLOAD_XSTATS_HW_S_INFO: _hw_s_info,
    IFLA_OFFLOAD_XSTATS_L3_STATS: _l3_stats,
}


def rtnl_stats_set(dev: NetDevice, *, l3_stats: bool) -> None:
    """Have hardware count a device's layer 3 traffic, or not.

    Kernel: net/core/rtnetlink.c, rtnl_stats_set(), rtnl_offload_xstats_notify().

    Raises:
        KernelError: a subscriber's refusal.
    """
    try:
        (netdev_offload_xstats_enable if l3_stats else netdev_offload_xstats_disable)(dev)
    except KernelError as refusal:
        if refusal.errno != EALREADY:
            raise
        return
    mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_OFFLOAD_XSTATS)
    rtnl_notify(dev.net, rtnl_fill_statsinfo(dev, mask, IFLA_STATS_FILTER_BIT(IFLA_OFFLOAD_XSTATS_HW_S_INFO)))
