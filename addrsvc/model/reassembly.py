"""net/ipv6/reassembly.c: IPv6 fragments become packets again."""

from typing import Final

from addrsvc.model.icmpv6 import (
    ICMPV6_EXC_FRAGTIME,
    ICMPV6_HDR_FIELD,
    ICMPV6_HDR_INCOMP,
    ICMPV6_PARAMPROB,
    ICMPV6_TIME_EXCEED,
    icmpv6_send,
    ipv6_skip_exthdr,
)
from addrsvc.model.inet_fragment import (
    FRAG_TIMEOUT,
    IPFRAG_DUP,
    IPFRAG_OVERLAP,
    inet_frag_find,
    inet_frag_kill,
    inet_frag_queue_insert,
)
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.snmp import ip6_inc_stats
from addrsvc.model.structs import FragQueue
from addrsvc.uapi import CHECKSUM_NONE

__all__ = ["ipv6_frag_rcv"]

_FRAG_HDR_LEN: Final = 8
_IP6_LEN: Final = 40
_OFFSET, _MORE = 0xFFF8, 0x0001
_MOST: Final = 0xFFFF
_UPPER_LENGTH: Final = {6: 20, 17: 8, 58: 8}
"""Bytes of the header of each protocol that the first fragment has to have; of others, one."""
_NOT_UPPER: Final = frozenset({0, 43, 44, 59, 60})


def ipv6_frag_rcv(skb: SkBuff) -> SkBuff | None:
    """Take a fragment, whose fragment header is next: the packet, once it is whole.

    Kernel: net/ipv6/reassembly.c, ipv6_frag_rcv(), ip6_frag_queue().
    """
    dev = skb.dev
    assert dev is not None, "a packet that has arrived has a device"
    net, idev = dev.net, dev.ip6_ptr
    ip6_inc_stats(net, idev, "ReasmReqds")
    at = skb.network_header or 0
    if not int.from_bytes(skb.head[at + 4 : at + 6]) or not skb.may_pull(_FRAG_HDR_LEN):
        _refuse(skb, ICMPV6_HDR_FIELD, 4 if skb.len >= _FRAG_HDR_LEN else skb.data - at)
        return None
    header = bytes(skb.head[skb.data : skb.data + _FRAG_HDR_LEN])
    field = int.from_bytes(header[2:4])
    if not field & (_OFFSET | _MORE):
        ip6_inc_stats(net, idev, "ReasmOKs")
        skb.nexthdr_at = skb.data
        skb.data += _FRAG_HDR_LEN
        skb.nexthdr = header[0]
        return skb
    if not field & _OFFSET and _is_truncated(skb, header[0]):
        _refuse(skb, ICMPV6_HDR_INCOMP, 0)
        return None
    key = ("ip6", bytes(skb.head[at + 8 : at + 40]), header[4:8], dev.ifindex)
    queue = inet_frag_find(net, key, 2 * FRAG_TIMEOUT, lambda queue: _expire(queue))
    return _queue(key, queue, skb, header)


def _is_truncated(skb: SkBuff, nexthdr: int) -> bool:
    """Whether a first fragment ends within the header of the protocol above.

    Kernel: net/ipv6/reassembly.c, ipv6frag_thdr_truncated().
    """
    nexthdr, offset, fragment = ipv6_skip_exthdr(skb.tobytes(), nexthdr, _FRAG_HDR_LEN)
    if nexthdr in _NOT_UPPER or fragment & _OFFSET:
        return False
    return offset + _UPPER_LENGTH.get(nexthdr, 1) > skb.len


def _refuse(skb: SkBuff, code: int, pointer: int) -> None:
    """Answer a fragment that cannot be one."""
    assert skb.dev is not None
    ip6_inc_stats(skb.dev.net, skb.dev.ip6_ptr, "InHdrErrors")
    icmpv6_send(skb, ICMPV6_PARAMPROB, code, pointer)


def _fail(skb: SkBuff) -> None:
    assert skb.dev is not None
    ip6_inc_stats(skb.dev.net, skb.dev.ip6_ptr, "ReasmFails")


def _queue(key: tuple[object, ...], queue: FragQueue, skb: SkBuff, header: bytes) -> SkBuff | None:
    assert skb.dev is not None
    net, at = skb.dev.net, skb.network_header or 0
    field = int.from_bytes(header[2:4])
    offset, more = field & _OFFSET, bool(field & _MORE)
    length = int.from_bytes(skb.head[at + 4 : at + 6]) - (skb.data + _FRAG_HDR_LEN - at - _IP6_LEN)
    end = offset + length
    if end > _MOST:
        _refuse(skb, ICMPV6_HDR_FIELD, skb.data + 2 - at)
        return None
    if more and end & 7:
        _refuse(skb, ICMPV6_HDR_FIELD, 4)
        return None
    wrong = end <= offset or (queue.last_in and (end > queue.len if more else end != queue.len))
    if wrong or (not more and end < queue.len):
        inet_frag_kill(net, key)
        _fail(skb)
        return None
    queue.last_in |= not more
    queue.len = max(queue.len, end)
    payload = skb.copy_bits(_FRAG_HDR_LEN, length)
    done = inet_frag_queue_insert(queue, skb, offset, payload)
    if done == IPFRAG_DUP:
        return None
    if done == IPFRAG_OVERLAP:
        inet_frag_kill(net, key)
        _fail(skb)
        return None
    if queue.first is None or not queue.last_in or queue.meat != queue.len:
        return None
    inet_frag_kill(net, key)
    return _reasm(queue)


def _reasm(queue: FragQueue) -> SkBuff:
    """Kernel: net/ipv6/reassembly.c, ip6_frag_reasm()."""
    skb = queue.first
    assert skb is not None
    assert skb.dev is not None
    at = skb.network_header or 0
    body = b"".join(part for _, part in sorted(queue.fragments.items()))
    nexthdr = skb.head[skb.data]
    field = skb.nexthdr_at
    skb.head[field] = nexthdr
    length = skb.data - at - _IP6_LEN + len(body)
    skb.head[at + 4 : at + 6] = (length & _MOST).to_bytes(2)
    skb.shinfo.frags, skb.shinfo.frag_list = [], []
    skb.head[skb.data :] = body
    skb.nexthdr, skb.truesize = nexthdr, queue.truesize
    skb.ip_summed = CHECKSUM_NONE
    ip6_inc_stats(skb.dev.net, skb.dev.ip6_ptr, "ReasmOKs")
    return skb


def _expire(queue: FragQueue) -> None:
    """Kernel: include/net/ipv6_frag.h, ip6frag_expire_frag_queue()."""
    skb = queue.first
    if skb is None or skb.dev is None:
        return
    ip6_inc_stats(skb.dev.net, skb.dev.ip6_ptr, "ReasmFails")
    ip6_inc_stats(skb.dev.net, skb.dev.ip6_ptr, "ReasmTimeout")
    icmpv6_send(skb, ICMPV6_TIME_EXCEED, ICMPV6_EXC_FRAGTIME, 0)
