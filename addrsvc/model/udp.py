"""net/ipv4/udp.c and net/ipv6/udp.c: datagrams of sockets, of either IP."""

from collections.abc import Callable
from dataclasses import dataclass
from errno import EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EINVAL, EMSGSIZE, ENETUNREACH
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import ipv6_addr_is_multicast
from addrsvc.model.checksum import csum_fold, csum_partial, csum_pseudo
from addrsvc.model.fib_trie import inet_addr_type
from addrsvc.model.gso import skb_gso_segment
from addrsvc.model.icmp import ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, icmp_send
from addrsvc.model.icmpv6 import ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, icmpv6_send
from addrsvc.model.ifaddr import ipv6_get_ifaddr
from addrsvc.model.ip6_output import ip6_dst_lookup, ip6_transmit
from addrsvc.model.ip_output import ip_route_output_flow, ip_transmit
from addrsvc.model.skbuff import SkBuff, skb_is_gso
from addrsvc.model.snmp import snmp_inc_stats
from addrsvc.model.sock import sock_queue_rcv_skb
from addrsvc.model.structs import InetSock, Net
from addrsvc.model.udp_table import udp_lookup
from addrsvc.uapi import AF_INET, AF_INET6, RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST

__all__ = ["UdpMsg", "udp_bind", "udp_create", "udp_rcv", "udp_recvmsg", "udp_release", "udp_sendmsg", "udpv6_rcv"]

_HEADER: Final = Struct("!HHHH")
IPPROTO_UDP: Final = 17
_CHECK: Final = 6
_LONGEST: Final = {AF_INET: 65507, AF_INET6: 65527}
_EPHEMERAL: Final = range(32768, 61000)
_NAMES: Final = {AF_INET: "Udp.", AF_INET6: "Udp6"}


@dataclass(frozen=True, slots=True)
class UdpMsg:
    """A datagram, and where it came from."""

    data: bytes
    source: bytes
    port: int


def udp_create(net: Net, family: int) -> InetSock:
    """Open a socket.

    Kernel: net/ipv4/udp.c, udp_init_sock(); net/ipv6/udp.c, udpv6_init_sock().
    """
    return InetSock(net=net, family=family, saddr=bytes(16 if family == AF_INET6 else 4))


def udp_bind(sk: InetSock, addr: bytes, port: int) -> None:
    """Give a socket an address and a port; 0 for one that is free.

    Kernel: net/ipv4/af_inet.c, __inet_bind(); net/ipv6/af_inet6.c, __inet6_bind(); net/ipv4/udp.c, udp_lib_get_port().

    Raises:
        KernelError: EINVAL, it has a port already, or the address means nothing without a device; EADDRNOTAVAIL, not
            an address of this host; EADDRINUSE.
    """
    if sk.num:
        raise KernelError(EINVAL)
    if any(addr):
        _CHECKS[sk.family](sk, addr)
    sk.saddr = addr
    _get_port(sk, port)


def _check4(sk: InetSock, addr: bytes) -> None:
    """Kernel: include/net/inet_sock.h, inet_addr_valid_or_nonlocal()."""
    if inet_addr_type(sk.net, addr) not in (RTN_LOCAL, RTN_MULTICAST, RTN_BROADCAST):
        raise KernelError(EADDRNOTAVAIL)


def _check6(sk: InetSock, addr: bytes) -> None:
    """Kernel: net/ipv6/af_inet6.c, __inet6_bind()."""
    if not sk.bound_dev_if and _needs_scope_id(addr):
        raise KernelError(EINVAL)
    if not ipv6_addr_is_multicast(addr) and ipv6_get_ifaddr(sk.net, addr, None) is None:
        raise KernelError(EADDRNOTAVAIL)


def _needs_scope_id(addr: bytes) -> bool:
    """Kernel: include/net/ipv6.h, __ipv6_addr_needs_scope_id()."""
    if ipv6_addr_is_multicast(addr):
        return addr[1] & 0x0F in (1, 2)
    return addr[0] == 0xFE and addr[1] & 0xC0 == 0x80


_CHECKS: Final[dict[int, Callable[[InetSock, bytes], None]]] = {AF_INET: _check4, AF_INET6: _check6}


def _get_port(sk: InetSock, port: int) -> None:
    table = sk.net.udp_table
    if not port:
        port = next((free for free in _EPHEMERAL if not table.get((sk.family, free))), 0)
    others = table.setdefault((sk.family, port), [])
    if not port or any(not any(other.saddr) or not any(sk.saddr) or other.saddr == sk.saddr for other in others):
        raise KernelError(EADDRINUSE)
    sk.num = port
    others.append(sk)


def udp_release(sk: InetSock) -> None:
    """Close a socket.

    Kernel: net/ipv4/udp.c, udp_lib_unhash().
    """
    others = sk.net.udp_table.get((sk.family, sk.num), [])
    if sk in others:
        others.remove(sk)


# --- sending ----------------------------------------------------------------------------------------------------------


def udp_sendmsg(sk: InetSock, data: bytes, addr: bytes, port: int) -> int:
    """Send a datagram; how many bytes it carries.

    Kernel: net/ipv4/udp.c, udp_sendmsg(); net/ipv6/udp.c, udpv6_sendmsg().

    Raises:
        KernelError: EMSGSIZE, more than a packet holds; EINVAL, to port 0; ENETUNREACH, EADDRNOTAVAIL, there is no way,
            or no source for it; ECONNREFUSED and the like, what came back for an earlier one.
    """
    if sk.sk_err:
        err, sk.sk_err = sk.sk_err, 0
        raise KernelError(err)
    if sk.family == AF_INET and len(data) > 0xFFFF:
        raise KernelError(EMSGSIZE)
    if not port:
        raise KernelError(EINVAL)
    if not sk.num:
        _get_port(sk, 0)
    _SEND[sk.family](sk, data, addr, port)
    snmp_inc_stats(sk.net, f"{_NAMES[sk.family]}OutDatagrams")
    return len(data)


def _datagram(sk: InetSock, data: bytes, saddr: bytes, daddr: bytes, port: int) -> bytes:
    """A datagram with the sum of its pseudo header in place of its checksum."""
    if len(data) > _LONGEST[sk.family]:
        raise KernelError(EMSGSIZE)
    length = _HEADER.size + len(data)
    pseudo = ~csum_fold(csum_pseudo(saddr, daddr, length, IPPROTO_UDP)) & 0xFFFF
    return _HEADER.pack(sk.num, port, length, pseudo) + data


def _send6(sk: InetSock, data: bytes, addr: bytes, port: int) -> None:
    dst = ip6_dst_lookup(sk.net, addr, sk.saddr, sk.bound_dev_if)
    segment = _datagram(sk, data, dst.saddr, addr, port)
    ip6_transmit(sk.net, dst, addr, IPPROTO_UDP, segment, csum_offset=_CHECK, sk=sk)


def _send4(sk: InetSock, data: bytes, addr: bytes, port: int) -> None:
    try:
        dst = ip_route_output_flow(sk.net, addr, sk.saddr, sk.bound_dev_if, IPPROTO_UDP)
    except KernelError as error:
        if error.errno == ENETUNREACH:
            snmp_inc_stats(sk.net, "Ip.OutNoRoutes")
        raise
    segment = _datagram(sk, data, dst.saddr, addr, port)
    ip_transmit(sk.net, dst, addr, IPPROTO_UDP, segment, csum_offset=_CHECK, sk=sk, may_fragment=False)


_SEND: Final[dict[int, Callable[[InetSock, bytes, bytes, int], None]]] = {AF_INET: _send4, AF_INET6: _send6}


# --- receiving --------------------------------------------------------------------------------------------------------


def udpv6_rcv(skb: SkBuff) -> int:
    """Take a datagram over IPv6, whose header is next.

    Kernel: net/ipv6/udp.c, udpv6_rcv(), __udp6_lib_rcv().
    """
    at = skb.network_header or 0
    _rcv(skb, AF_INET6, bytes(skb.head[at + 8 : at + 24]), bytes(skb.head[at + 24 : at + 40]))
    return 0


def udp_rcv(skb: SkBuff) -> int:
    """Take a datagram over IPv4, whose header is next.

    Kernel: net/ipv4/udp.c, udp_rcv(), __udp4_lib_rcv().
    """
    at = skb.network_header or 0
    _rcv(skb, AF_INET, bytes(skb.head[at + 12 : at + 16]), bytes(skb.head[at + 16 : at + 20]))
    return 0


def _rcv(skb: SkBuff, family: int, source: bytes, dest: bytes) -> None:
    assert skb.dev is not None, "a packet that has arrived has a device"
    net = skb.dev.net
    if not _is_whole(skb, family):
        snmp_inc_stats(net, f"{_NAMES[family]}InErrors")
        return
    sport, dport, _, check = _HEADER.unpack_from(skb.head, skb.data)
    sk = udp_lookup(net, family, dest, dport)
    unsummed = family == AF_INET6 and not check and (sk is None or not sk.no_check6_rx)
    right = not unsummed and (not check or _is_right(skb, source, dest))
    if sk is None and _is_for_many(net, family, dest):
        snmp_inc_stats(net, f"{_NAMES[family]}IgnoredMulti")
    elif sk is not None and not unsummed:
        _queue(sk, skb, source, sport, right=right)
    elif not right:
        _count_wrong(net, family)
    else:
        snmp_inc_stats(net, f"{_NAMES[family]}NoPorts")
        _unreachable(skb, family)


def _is_whole(skb: SkBuff, family: int) -> bool:
    """Whether there is a header whose length is not longer than the packet; what is behind the datagram is cut off."""
    if not skb.may_pull(_HEADER.size):
        return False
    ulen = int(_HEADER.unpack_from(skb.head, skb.data)[2])
    if family == AF_INET6 and not ulen:
        ulen = skb.len
    if not _HEADER.size <= ulen <= skb.len:
        return False
    skb.trim(ulen)
    return True


def _count_wrong(net: Net, family: int) -> None:
    """Count a datagram whose checksum is wrong."""
    snmp_inc_stats(net, f"{_NAMES[family]}InCsumErrors")
    snmp_inc_stats(net, f"{_NAMES[family]}InErrors")


def _is_for_many(net: Net, family: int, dest: bytes) -> bool:
    """Kernel: net/ipv4/udp.c, __udp4_lib_mcast_deliver(); net/ipv6/udp.c, __udp6_lib_mcast_deliver()."""
    if family == AF_INET6:
        return ipv6_addr_is_multicast(dest)
    return inet_addr_type(net, dest) in (RTN_BROADCAST, RTN_MULTICAST)


def _unreachable(skb: SkBuff, family: int) -> None:
    if family == AF_INET6:
        icmpv6_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0)
    else:
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0)


def _is_right(skb: SkBuff, source: bytes, dest: bytes) -> bool:
    if skb.csum_is_right:
        return True
    pseudo = csum_pseudo(source, dest, skb.len, IPPROTO_UDP)
    return not csum_fold(pseudo + csum_partial(skb.tobytes()))


def _queue(sk: InetSock, skb: SkBuff, source: bytes, sport: int, *, right: bool) -> None:
    """Kernel: net/ipv4/udp.c, udp_queue_rcv_skb(); include/net/udp.h, udp_rcv_segment()."""
    if not skb_is_gso(skb):
        _queue_one(sk, skb, source, sport, right=right)
        return
    end, skb.data = skb.data, skb.mac_header or 0
    try:
        segments = skb_gso_segment(skb, 0)
    except KernelError:
        snmp_inc_stats(sk.net, f"{_NAMES[sk.family]}InErrors")
        return
    finally:
        skb.data = end
    for segment in segments:
        segment.data = segment.transport_header or 0
        _queue_one(sk, segment, source, sport, right=right)


def _queue_one(sk: InetSock, skb: SkBuff, source: bytes, sport: int, *, right: bool) -> None:
    skb.cb = UdpMsg(skb.tobytes()[_HEADER.size :], source, sport) if right else None
    if not sock_queue_rcv_skb(sk, skb):
        snmp_inc_stats(sk.net, f"{_NAMES[sk.family]}RcvbufErrors")
        snmp_inc_stats(sk.net, f"{_NAMES[sk.family]}InErrors")


def udp_recvmsg(sk: InetSock) -> UdpMsg:
    """The oldest datagram that was not read; those whose checksum is wrong are counted and passed over.

    Kernel: net/ipv4/udp.c, udp_recvmsg(); net/ipv6/udp.c, udpv6_recvmsg().

    Raises:
        KernelError: EAGAIN, there is none; or what came back for one that was sent.
    """
    if sk.sk_err:
        err, sk.sk_err = sk.sk_err, 0
        raise KernelError(err)
    while sk.sk_receive_queue:
        skb = sk.sk_receive_queue.popleft()
        sk.rmem_alloc -= skb.truesize
        if isinstance(skb.cb, UdpMsg):
            snmp_inc_stats(sk.net, f"{_NAMES[sk.family]}InDatagrams")
            return skb.cb
        _count_wrong(sk.net, sk.family)
    raise KernelError(EAGAIN)
