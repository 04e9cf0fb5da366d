"""RTM_*STATS as bytes: net/core/rtnetlink.c, what a device has counted."""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENODEV
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import Dump, Handler, Request, for_each_netdev_dump
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.rtnl_stats import EVERYTHING, IFLA_STATS_FILTER_BIT, rtnl_fill_statsinfo, rtnl_stats_set
from addrsvc.model.structs import NetDevice
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_STRICT,
    NLA_U8,
    NLA_U32,
    NlaPolicy,
    Policies,
    nla_parse_nested,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_UNSPEC,
    IFLA_OFFLOAD_XSTATS_MAX,
    IFLA_STATS_GET_FILTERS,
    IFLA_STATS_GETSET_MAX,
    IFLA_STATS_LINK_OFFLOAD_XSTATS,
    IFLA_STATS_MAX,
    IFLA_STATS_SET_OFFLOAD_XSTATS_L3_STATS,
    RTM_GETSTATS,
    RTM_SETSTATS,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_IF_STATS_MSG: Final = Struct("=BBHII")
_U32: Final = Struct("=I")

# Kernel: net/core/rtnetlink.c, rtnl_stats_get_policy_filters, rtnl_stats_get_policy, ifla_stats_set_policy.
_OFFLOAD_VALID: Final = (1 << IFLA_OFFLOAD_XSTATS_MAX + 1) - 1
_FILTERS: Final[Policies] = {IFLA_STATS_LINK_OFFLOAD_XSTATS: NlaPolicy.masked(NLA_U32, _OFFLOAD_VALID)}
_GET_POLICY: Final[Policies] = {IFLA_STATS_GET_FILTERS: NlaPolicy.nest(IFLA_STATS_MAX, _FILTERS)}
_SET_POLICY: Final[Policies] = {IFLA_STATS_SET_OFFLOAD_XSTATS_L3_STATS: NlaPolicy.at_most(NLA_U8, 1)}


def _header(request: Request, *, is_dump: bool = False) -> tuple[int, int, int]:
    """Family, ifindex and mask.

    Kernel: net/core/rtnetlink.c, rtnl_valid_stats_req().
    """
    if len(request.data) < _HDRLEN + _IF_STATS_MSG.size:
        raise KernelError(EINVAL, "Invalid header for stats dump")
    family, pad1, pad2, ifindex, mask = _IF_STATS_MSG.unpack_from(request.data, _HDRLEN)
    if request.strict and (pad1 or pad2 or (is_dump and ifindex)):
        raise KernelError(EINVAL, "Invalid values in header for stats dump request")
    if request.strict and mask >= IFLA_STATS_FILTER_BIT(IFLA_STATS_MAX + 1):
        raise KernelError(EINVAL, "Invalid stats requested through filter mask")
    return family, ifindex, mask


def _device(request: Request, ifindex: int) -> NetDevice:
    if not ifindex:
        raise KernelError(EINVAL)
    dev = dev_get_by_index(request.net, ifindex)
    if dev is None:
        raise KernelError(ENODEV)
    return dev


def _parse(request: Request, policy: Policies) -> None:
    request.tb = nlmsg_parse(
        request.data, _IF_STATS_MSG.size, IFLA_STATS_GETSET_MAX, policy, NL_VALIDATE_STRICT, request.extack
    )


def _offload_mask(request: Request, mask: int) -> int:
    """Which counters of the hardware are wanted.

    Kernel: net/core/rtnetlink.c, rtnl_stats_get_parse().
    """
    _parse(request, _GET_POLICY)
    place = request.tb.get(IFLA_STATS_GET_FILTERS)
    if place is None:
        return EVERYTHING
    filters = nla_parse_nested(request.data, place, IFLA_STATS_MAX, _FILTERS, request.extack)
    if any(not mask & IFLA_STATS_FILTER_BIT(attr) for attr in filters):
        raise KernelError(EINVAL, "Filtered attribute not enabled in filter_mask")
    if IFLA_STATS_LINK_OFFLOAD_XSTATS not in filters:
        return EVERYTHING
    return int(_U32.unpack_from(request.data, filters[IFLA_STATS_LINK_OFFLOAD_XSTATS][0])[0])


def _get(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_stats_get()."""
    _, ifindex, mask = _header(request)
    dev = _device(request, ifindex)
    if not mask:
        raise KernelError(EINVAL, "Filter mask must be set for stats get")
    request.answer(rtnl_fill_statsinfo(dev, mask, _offload_mask(request, mask)))


def _dump(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/rtnetlink.c, rtnl_stats_dump()."""
    dump.base_seq = lambda: dump.net.dev_base_seq
    _, _, mask = _header(dump, is_dump=True)
    if not mask:
        raise KernelError(EINVAL, "Filter mask must be set for stats dump")
    offload_mask = _offload_mask(dump, mask)
    for dev in for_each_netdev_dump(dump):
        yield dump.message(rtnl_fill_statsinfo(dev, mask, offload_mask))


def _set(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_stats_set()."""
    family, ifindex, mask = _header(request)
    if family != AF_UNSPEC:
        raise KernelError(EINVAL, "Address family should be AF_UNSPEC")
    dev = _device(request, ifindex)
    if mask:
        raise KernelError(EINVAL, "Filter mask must be 0 for stats set")
    _parse(request, _SET_POLICY)
    l3_stats = request.number(IFLA_STATS_SET_OFFLOAD_XSTATS_L3_STATS, 1)
    if l3_stats is not None:
        rtnl_stats_set(dev, l3_stats=bool(l3_stats))


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETSTATS, AF_UNSPEC): Handler(_get, _dump),
    (RTM_SETSTATS, AF_UNSPEC): Handler(_set),
}
