"""net/core/sock.c: what sockets that send and receive packets have in common: memory on account, and queues."""

from collections import deque
from dataclasses import dataclass, field
from errno import EAGAIN, ENOBUFS
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.skbuff import (
    MAX_SKB_FRAGS,
    PAGE_ALLOC_COSTLY_ORDER,
    PAGE_SIZE,
    SkBuff,
    alloc_skb_with_frags,
)

__all__ = ["Sock", "sock_alloc_send_pskb", "sock_queue_rcv_skb", "sock_rfree", "sock_wfree", "skb_set_owner_w"]

SK_MEM_DEFAULT: Final = 212992
"""net.core.wmem_default and rmem_default."""


@dataclass(slots=True, eq=False, repr=False)
class Sock:
    """struct sock, of those that take packets.

    Attributes:
        sk_receive_queue: what has arrived and was not read.
        wmem_alloc, rmem_alloc: bytes of packets under way, and of those not read.
        drops: packets that did not fit.
        sk_err: an error that the next call is to report.
    """

    sk_receive_queue: deque[SkBuff] = field(default_factory=deque)
    sk_sndbuf: int = SK_MEM_DEFAULT
    sk_rcvbuf: int = SK_MEM_DEFAULT
    wmem_alloc: int = 0
    rmem_alloc: int = 0
    drops: int = 0
    sk_err: int = 0


def sock_wfree(skb: SkBuff) -> None:
    """Take a packet that was sent off its socket's account.

    Kernel: net/core/sock.c, sock_wfree().
    """
    if skb.sk is not None:
        skb.sk.wmem_alloc -= skb.truesize


def sock_rfree(skb: SkBuff) -> None:
    """Take a packet that was read off its socket's account.

    Kernel: net/core/sock.c, sock_rfree().
    """
    if skb.sk is not None:
        skb.sk.rmem_alloc -= skb.truesize


def skb_set_owner_w(skb: SkBuff, sk: Sock) -> None:
    """Put a packet that is being sent on a socket's account.

    Kernel: net/core/sock.c, skb_set_owner_w().
    """
    skb.sk, skb.destructor = sk, sock_wfree
    sk.wmem_alloc += skb.truesize


def sock_alloc_send_pskb(sk: Sock, headroom: int, data: bytes, linear: int, tailroom: int = 0) -> SkBuff:
    """A packet to send: `linear` bytes in one piece, the rest in pages.

    Kernel: net/core/sock.c, sock_alloc_send_pskb().

    Raises:
        KernelError: EAGAIN, the socket has too much under way; ENOBUFS, more than a packet can hold.
    """
    if sk.wmem_alloc >= sk.sk_sndbuf:
        raise KernelError(EAGAIN)
    if len(data) - linear > MAX_SKB_FRAGS * (PAGE_SIZE << PAGE_ALLOC_COSTLY_ORDER):
        raise KernelError(ENOBUFS)
    skb = alloc_skb_with_frags(headroom, data[:linear], data[linear:], PAGE_ALLOC_COSTLY_ORDER, tailroom)
    skb_set_owner_w(skb, sk)
    return skb


def sock_queue_rcv_skb(sk: Sock, skb: SkBuff) -> bool:
    """Put a packet into a socket's queue; False, and counted, if its account is full.

    Kernel: net/core/sock.c, sock_queue_rcv_skb(), __sock_queue_rcv_skb().
    """
    if sk.rmem_alloc >= sk.sk_rcvbuf:
        sk.drops += 1
        return False
    skb.sk, skb.destructor = sk, sock_rfree
    sk.rmem_alloc += skb.truesize
    sk.sk_receive_queue.append(skb)
    return True
