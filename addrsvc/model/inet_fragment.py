"""net/ipv4/inet_fragment.c: fragments that wait for the rest of their packet, of either IP."""

from collections.abc import Callable, Hashable
from typing import Final

from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import FragQueue, Net
from addrsvc.model.timer import HZ, Timer, del_timer, mod_timer

__all__ = ["IPFRAG_DUP", "IPFRAG_OK", "IPFRAG_OVERLAP", "inet_frag_find", "inet_frag_kill", "inet_frag_queue_insert"]

IPFRAG_OK, IPFRAG_DUP, IPFRAG_OVERLAP = range(3)
FRAG_TIMEOUT: Final = 30 * HZ
"""IP_FRAG_TIME; IPv6 waits twice as long."""


def inet_frag_find(net: Net, key: tuple[Hashable, ...], timeout: int, expire: Callable[[FragQueue], None]) -> FragQueue:
    """The queue of a packet, made if there is none: after `timeout` jiffies it is given up.

    Kernel: net/ipv4/inet_fragment.c, inet_frag_find(), inet_frag_create().
    """
    queue = net.frags.get(key)
    if queue is None:
        queue = net.frags[key] = FragQueue()

        def expired() -> None:
            inet_frag_kill(net, key)
            expire(queue)

        queue.timer = Timer(expired)
        timers = net.machine.timers
        mod_timer(timers, queue.timer, timers.jiffies + timeout)
    return queue


def inet_frag_kill(net: Net, key: tuple[Hashable, ...]) -> None:
    """Forget a packet, whole or not.

    Kernel: net/ipv4/inet_fragment.c, inet_frag_kill().
    """
    queue = net.frags.pop(key, None)
    if queue is not None and queue.timer is not None:
        del_timer(queue.timer)


def inet_frag_queue_insert(queue: FragQueue, skb: SkBuff, offset: int, payload: bytes) -> int:
    """Add a fragment: IPFRAG_*.

    Kernel: net/ipv4/inet_fragment.c, inet_frag_queue_insert().
    """
    end = offset + len(payload)
    for start, part in queue.fragments.items():
        if start < end and offset < start + len(part):
            return IPFRAG_DUP if start <= offset and end <= start + len(part) else IPFRAG_OVERLAP
    queue.fragments[offset] = payload
    queue.meat += len(payload)
    queue.truesize += skb.truesize
    if not offset:
        queue.first = skb
    return IPFRAG_OK
