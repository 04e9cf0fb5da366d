"""net/ipv4/ping.c, net/ipv6/ping.c: sockets that send echo requests and read the replies, as ping(8) uses them."""

from dataclasses import dataclass
from errno import EAGAIN, EMSGSIZE
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.icmp_out import icmp_push, icmpv6_push
from addrsvc.model.ip6_output import ip6_dst_lookup
from addrsvc.model.skbuff import SkBuff, skb_clone
from addrsvc.model.sock import sock_queue_rcv_skb
from addrsvc.model.structs import InetSock, Net
from addrsvc.uapi import AF_INET6

__all__ = ["PingMsg", "ping_create", "ping_rcv", "ping_recvmsg", "ping_release", "ping_sendmsg"]

_HEADER: Final = Struct("!BBHHH")
_ICMP_ECHO, _ICMPV6_ECHO_REQUEST = 8, 128
_MOST: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class PingMsg:
    """An echo reply: the message from its type on, who sent it, and the hop limit or time to live that it had left."""

    data: bytes
    source: bytes
    hops: int


def ping_create(net: Net, family: int) -> InetSock:
    """Open a ping socket, with an identifier of its own.

    Kernel: net/ipv4/ping.c, ping_init_sock(), ping_get_port().
    Differs: the lowest identifier that is free.
    """
    ident = next(ident for ident in range(1, 0x10000) if (family, ident) not in net.ping_table)
    sk = net.ping_table[family, ident] = InetSock(net=net, family=family, num=ident)
    return sk


def ping_release(sk: InetSock) -> None:
    """Close it.

    Kernel: net/ipv4/ping.c, ping_close().
    """
    sk.net.ping_table.pop((sk.family, sk.num), None)


def ping_rcv(net: Net, family: int, source: bytes, message: bytes, skb: SkBuff) -> None:
    """Give an echo reply to the socket that has its identifier, if there is one.

    Kernel: net/ipv4/ping.c, ping_rcv().
    """
    sk = net.ping_table.get((family, int.from_bytes(message[4:6])))
    if sk is None:
        return
    at = skb.network_header or 0
    kept = skb_clone(skb)
    kept.cb = PingMsg(message, source, skb.head[at + (7 if len(source) == 16 else 8)])
    sock_queue_rcv_skb(sk, kept)


def ping_recvmsg(sk: InetSock) -> PingMsg:
    """The oldest reply that was not read.

    Kernel: net/ipv4/ping.c, ping_recvmsg().

    Raises:
        KernelError: EAGAIN, there is none; or an error that came for the socket.
    """
    if sk.sk_err:
        err, sk.sk_err = sk.sk_err, 0
        raise KernelError(err)
    if not sk.sk_receive_queue:
        raise KernelError(EAGAIN)
    skb = sk.sk_receive_queue.popleft()
    sk.rmem_alloc -= skb.truesize
    assert isinstance(skb.cb, PingMsg)
    return skb.cb


def ping_sendmsg(sk: InetSock, data: bytes, addr: bytes, seq: int, *, oif: int = 0) -> int:
    """Send an echo request with the socket's identifier; how many bytes it carries.

    Kernel: net/ipv4/ping.c, ping_v4_sendmsg(); net/ipv6/ping.c, ping_v6_sendmsg().

    Raises:
        KernelError: EMSGSIZE, more than a packet holds; there is no way, or no source for it.
    """
    if len(data) > _MOST:
        raise KernelError(EMSGSIZE)
    if sk.family == AF_INET6:
        dst = ip6_dst_lookup(sk.net, addr, oif=oif)
        icmpv6_push(sk.net, dst, addr, _HEADER.pack(_ICMPV6_ECHO_REQUEST, 0, 0, sk.num, seq & _MOST) + data)
    else:
        message = _HEADER.pack(_ICMP_ECHO, 0, 0, sk.num, seq & _MOST) + data
        icmp_push(sk.net, addr, message, oif=oif, may_fragment=False)
    return len(data)
