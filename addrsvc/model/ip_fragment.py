"""net/ipv4/ip_fragment.c: IPv4 fragments become packets again."""

from typing import Final

from addrsvc.model.checksum import csum_fold, csum_partial
from addrsvc.model.icmp import ICMP_TIME_EXCEEDED, icmp_send
from addrsvc.model.inet_fragment import (
    FRAG_TIMEOUT,
    IPFRAG_DUP,
    IPFRAG_OVERLAP,
    inet_frag_find,
    inet_frag_kill,
    inet_frag_queue_insert,
)
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.snmp import snmp_inc_stats
from addrsvc.model.structs import FragQueue, Net
from addrsvc.uapi import CHECKSUM_NONE

__all__ = ["ip_defrag"]

_OFFSET, _MF = 0x1FFF, 0x2000
_EXC_FRAGTIME: Final = 1
_MOST: Final = 0xFFFF


def ip_defrag(net: Net, skb: SkBuff) -> SkBuff | None:
    """Take a fragment, whose payload is next: the packet, once it is whole.

    Kernel: net/ipv4/ip_fragment.c, ip_defrag(), ip_frag_queue().
    """
    snmp_inc_stats(net, "Ip.ReasmReqds")
    at = skb.network_header or 0
    header = bytes(skb.head[at : skb.data])
    key = ("ip", header[12:20], header[4:6], header[9])
    queue = inet_frag_find(net, key, FRAG_TIMEOUT, lambda queue: _expire(net, queue))
    field, length = int.from_bytes(header[6:8]), skb.len
    offset, more = (field & _OFFSET) * 8, bool(field & _MF)
    end = offset + (length & ~7 if more else length)
    wrong = end <= offset or (queue.last_in and (end > queue.len if more else end != queue.len))
    if wrong or (not more and end < queue.len):
        _fail(net, key)
        return None
    queue.last_in |= not more
    queue.len = max(queue.len, end)
    done = inet_frag_queue_insert(queue, skb, offset, skb.copy_bits(0, end - offset))
    if done == IPFRAG_DUP:
        return None
    if done == IPFRAG_OVERLAP:
        _fail(net, key)
        return None
    if queue.first is None or not queue.last_in or queue.meat != queue.len:
        return None
    inet_frag_kill(net, key)
    return _reasm(net, queue)


def _fail(net: Net, key: tuple[object, ...]) -> None:
    inet_frag_kill(net, key)
    snmp_inc_stats(net, "Ip.ReasmFails")


def _reasm(net: Net, queue: FragQueue) -> SkBuff | None:
    """Kernel: net/ipv4/ip_fragment.c, ip_frag_reasm()."""
    skb = queue.first
    assert skb is not None
    at = skb.network_header or 0
    body = b"".join(part for _, part in sorted(queue.fragments.items()))
    length = skb.data - at + len(body)
    if length > _MOST:
        snmp_inc_stats(net, "Ip.ReasmFails")
        return None
    skb.shinfo.frags, skb.shinfo.frag_list = [], []
    skb.head[skb.data :] = body
    skb.head[at + 2 : at + 4] = length.to_bytes(2)
    skb.head[at + 6 : at + 8] = skb.head[at + 10 : at + 12] = bytes(2)
    skb.head[at + 10 : at + 12] = csum_fold(csum_partial(skb.head[at : skb.data])).to_bytes(2)
    skb.ip_summed, skb.truesize = CHECKSUM_NONE, queue.truesize
    snmp_inc_stats(net, "Ip.ReasmOKs")
    return skb


def _expire(net: Net, queue: FragQueue) -> None:
    """Kernel: net/ipv4/ip_fragment.c, ip_expire()."""
    snmp_inc_stats(net, "Ip.ReasmFails")
    snmp_inc_stats(net, "Ip.ReasmTimeout")
    if queue.first is not None:
        icmp_send(queue.first, ICMP_TIME_EXCEEDED, _EXC_FRAGTIME, 0)
