"""What datagrams count against receive buffers: net/core/skbuff.c, and how much senders think that they will need.

A message counts with all that was allocated for it, unless much of that was in vain.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Final

from addrsvc.model.skbuff import skb_truesize
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import (
    AF_INET6,
    AF_UNSPEC,
    ALTIFNAMSIZ,
    IFALIASZ,
    IFNAMSIZ,
    MAX_ADDR_LEN,
    RTEXT_FILTER_VF,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWROUTE,
    RTM_NEWRULE,
)

__all__ = [
    "NLMSG_GOODSIZE", "if_nlmsg_size", "large_truesize", "trimmed", "truesize_of", "truesize_of_ack",
    "truesize_of_link", "truesize_of_reply",
]  # fmt: skip

NLMSG_GOODSIZE: Final = 3776
"""What fits into a page beside struct skb_shared_info."""

_SK_BUFF: Final = 256
_SHARED_INFO: Final = 320
_HDRLEN: Final = 16
_NLA_HDRLEN: Final = 4
_TYPE_AND_FAMILY: Final = Struct("=4xH10xB")


# --- buffers ----------------------------------------------------------------------------------------------------------


def large_truesize(length: int) -> int:
    """What a buffer of this many bytes counts that is no larger than it has to be if it does not fit into a page.

    Kernel: net/netlink/af_netlink.c, netlink_alloc_large_skb().
    """
    if length <= NLMSG_GOODSIZE:
        return skb_truesize(length)
    return _SK_BUFF + (length + 63 & ~63) + _SHARED_INFO


def trimmed(length: int, allocated: int) -> int:
    """What a message of this many bytes counts once what was allocated for it in vain is given back.

    Args:
        length: bytes of the message.
        allocated: what the whole buffer counts.

    Kernel: net/netlink/af_netlink.c, netlink_trim().
    """
    unused = allocated - _SK_BUFF - _SHARED_INFO - length
    return skb_truesize(length) if 2 * unused >= allocated else allocated


# --- messages ---------------------------------------------------------------------------------------------------------


def _roomy(length: int) -> int:
    """What is allocated for a message with room for metrics, or for two whole addresses, that seldom come."""
    return max(length, 512)


# How many bytes are allocated for a message of such a length where that is more, by type and family.
_ALLOCATED: Final[Mapping[tuple[int, int], Callable[[int], int]]] = {
    (RTM_NEWROUTE, AF_INET6): _roomy,
    (RTM_DELROUTE, AF_INET6): _roomy,
    (RTM_NEWRULE, AF_INET6): _roomy,
    (RTM_DELRULE, AF_INET6): _roomy,
}


truesize_of_ack: Final = lru_cache(maxsize=4096)(skb_truesize)
"""What an acknowledgement of so many bytes counts."""


@lru_cache(maxsize=4096)
def truesize_of_reply(length: int) -> int:
    """What an answer of this many bytes counts, for which a page is allocated."""
    return trimmed(length, skb_truesize(max(length, NLMSG_GOODSIZE)))


def truesize_of(message: bytes) -> int:
    """What a notification counts."""
    nlmsg_type, family = _TYPE_AND_FAMILY.unpack_from(message)
    return _notified(len(message), nlmsg_type, family)


@lru_cache(maxsize=4096)
def _notified(length: int, nlmsg_type: int, family: int) -> int:
    size = _ALLOCATED.get((nlmsg_type, family))
    return trimmed(length, skb_truesize(size(length) if size is not None else length))


def truesize_of_link(message: bytes, msg: LinkMsg) -> int:
    """What a notification of a link counts; that of its IPv6 half has no room for more."""
    if msg.ifi_family != AF_UNSPEC:
        return truesize_of(message)
    kind = msg.linkinfo.kind if msg.linkinfo is not None else None
    size = if_nlmsg_size(len(msg.altnames or ()), kind, ipv4=msg.inet is not None, ipv6=msg.inet6 is not None)
    return trimmed(len(message), skb_truesize(size))


# --- links ------------------------------------------------------------------------------------------------------------


def _total(payload: int) -> int:
    """Kernel: include/net/netlink.h, nla_total_size()."""
    return _NLA_HDRLEN + (payload + 3 & ~3)


_IFINFOMSG_SIZE: Final = 16
_IFMAP_SIZE: Final = 32
_MAX_PHYS_ITEM_ID_LEN: Final = 32
_IPV4_DEVCONF_SIZE: Final = 33 * 4
# Of IFLA_INET6_*: flags, cacheinfo, conf, stats, icmp6stats, token, addr_gen_mode, ra_mtu.
_SIZE_OF_INET6: Final = sum(map(_total, (4, 16, 60 * 4, 38 * 8, 7 * 8, 16, 1, 4)))
_U32S: Final = 27
_U8S: Final = 5  # carrier, operstate, link mode, netns_immutable, proto_down
# What any device may need: names and alias, map, addresses, numbers, port ids, XDP, the reason of proto_down, nests of
# the address families, nothing of devlink, dpll and virtual functions, more numbers, the permanent address, counters.
_SIZE_OF_ANY: Final = (
    _IFINFOMSG_SIZE
    + sum(map(_total, (IFNAMSIZ, IFALIASZ, IFNAMSIZ, _IFMAP_SIZE, MAX_ADDR_LEN, MAX_ADDR_LEN)))
    + _U32S * _total(4) + _U8S * _total(1)
    + sum(map(_total, (_MAX_PHYS_ITEM_ID_LEN, _MAX_PHYS_ITEM_ID_LEN, IFNAMSIZ)))
    + sum(map(_total, (0, 1, 4, 4)))
    + _total(0) + _total(4)
    + 4 * _total(_NLA_HDRLEN)
    + _total(0) + _total(0) + _total(0)
    + _total(8) + 2 * _total(2) + _total(MAX_ADDR_LEN)
    + _total(24 * 4) + _total(25 * 8)
)  # fmt: skip


def if_nlmsg_size(altnames: int, kind: str | None, *, ipv4: bool, ipv6: bool, ext_filter_mask: int = 0) -> int:
    """How long a message of a link may become, header included.

    Args:
        altnames: how many alternative names the link has.
        kind: of which kind it is, if it was made.
        ipv4: whether it has an IPv4 half.
        ipv6: whether it has an IPv6 half.
        ext_filter_mask: RTEXT_FILTER_* of who asks.

    Kernel: net/core/rtnetlink.c, if_nlmsg_size(), rtnl_prop_list_size(), rtnl_link_get_size(), rtnl_link_get_af_size().
    """
    size = _HDRLEN + _SIZE_OF_ANY
    if altnames:
        size += _total(0) + altnames * _total(ALTIFNAMSIZ)
    if kind is not None:
        size += _total(_NLA_HDRLEN) + _total(len(kind) + 1)
    if ext_filter_mask & RTEXT_FILTER_VF:
        size += 4
    return size + _total(_IPV4_DEVCONF_SIZE) * ipv4 + _SIZE_OF_INET6 * ipv6
