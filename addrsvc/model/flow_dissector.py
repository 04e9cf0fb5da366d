"""net/core/flow_dissector.c: where in a packet the transport header is, and whose it is.

Only what skb_flow_dissect_flow_keys_basic() is asked for here.  Differs: of tunnels it looks into IP in IP alone.
"""

from dataclasses import dataclass
from typing import Final

from addrsvc.model.skbuff import VLAN_HLEN, SkBuff, eth_type_vlan
from addrsvc.uapi import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6

__all__ = ["FlowKeysBasic", "skb_flow_dissect_flow_keys_basic", "skb_probe_transport_header"]

_IPPROTO_IPIP, _IPPROTO_IPV6 = 4, 41
_HOP, _ROUTING, _FRAGMENT, _DEST = 0, 43, 44, 60
_IP_OFFSET_OR_MF: Final = 0x3FFF
_MAX_HEADERS: Final = 15
"""MAX_FLOW_DISSECT_HDRS."""
_INNER: Final = {_IPPROTO_IPIP: ETH_P_IP, _IPPROTO_IPV6: ETH_P_IPV6}


@dataclass(slots=True)
class FlowKeysBasic:
    """struct flow_keys_basic: the protocol of the network and of the transport layer, and where the latter begins."""

    n_proto: int
    ip_proto: int = 0
    thoff: int = 0


class _NotThere(Exception):
    """The packet ends before what is looked for."""


def skb_flow_dissect_flow_keys_basic(skb: SkBuff) -> FlowKeysBasic | None:
    """What a packet is, by its own word; None if that cannot be told.

    Kernel: include/linux/skbuff.h, skb_flow_dissect_flow_keys_basic(); net/core/flow_dissector.c, __skb_flow_dissect().
    """
    keys = FlowKeysBasic(skb.protocol, thoff=skb.network_offset)
    try:
        known = _network(skb, keys)
    except _NotThere:
        return None
    keys.thoff = min(keys.thoff, skb.len)
    return keys if known else None


def _read(skb: SkBuff, at: int, length: int) -> bytes:
    data = skb.copy_bits(at, length)
    if len(data) < length:
        raise _NotThere
    return data


def _network(skb: SkBuff, keys: FlowKeysBasic) -> bool:
    for _ in range(_MAX_HEADERS):
        if eth_type_vlan(keys.n_proto):
            keys.n_proto = int.from_bytes(_read(skb, keys.thoff, VLAN_HLEN)[2:])
            keys.thoff += VLAN_HLEN
            continue
        if keys.n_proto == ETH_P_IP:
            done = _ipv4(skb, keys)
        elif keys.n_proto == ETH_P_IPV6:
            done = _ipv6(skb, keys)
        else:
            return keys.n_proto == ETH_P_ARP
        if done or keys.ip_proto not in _INNER:
            return True
        keys.n_proto = _INNER[keys.ip_proto]
    return True


def _ipv4(skb: SkBuff, keys: FlowKeysBasic) -> bool:
    """Pass an IPv4 header; whether nothing behind it is to be looked at."""
    header = _read(skb, keys.thoff, 20)
    if header[0] & 0x0F < 5:
        raise _NotThere
    keys.thoff += (header[0] & 0x0F) * 4
    keys.ip_proto = header[9]
    return bool(int.from_bytes(header[6:8]) & _IP_OFFSET_OR_MF)


def _ipv6(skb: SkBuff, keys: FlowKeysBasic) -> bool:
    """Pass an IPv6 header and its extensions; whether nothing behind them is to be looked at."""
    header = _read(skb, keys.thoff, 40)
    keys.thoff += 40
    keys.ip_proto = header[6]
    for _ in range(_MAX_HEADERS):
        if keys.ip_proto == _FRAGMENT:
            keys.ip_proto = _read(skb, keys.thoff, 8)[0]
            keys.thoff += 8
            return True
        if keys.ip_proto not in (_HOP, _ROUTING, _DEST):
            return False
        keys.ip_proto, length = _read(skb, keys.thoff, 2)
        keys.thoff += (length + 1) * 8
    return True


def skb_probe_transport_header(skb: SkBuff) -> None:
    """Find the transport header of a packet from user space, if that can be done.

    Kernel: include/linux/skbuff.h, skb_probe_transport_header().
    """
    if skb.transport_header is None and (keys := skb_flow_dissect_flow_keys_basic(skb)) is not None:
        skb.transport_header = skb.data + keys.thoff
