"""net/ipv6/icmp.c: what ICMPv6 says, and what it makes of what it is told."""

from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import in6addr_any, ipv6_addr_is_multicast
from addrsvc.model.checksum import csum_fold, csum_partial, csum_pseudo
from addrsvc.model.icmp_out import icmpv6_push
from addrsvc.model.ifaddr import ipv6_get_ifaddr
from addrsvc.model.ip6_lookup import Flowi6, fib6_rule_lookup, rt6_need_strict
from addrsvc.model.ip6_output import ip6_dst_lookup
from addrsvc.model.ping import ping_rcv
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.snmp import icmp6_inc_stats, icmp6msg_inc_stats
from addrsvc.model.structs import Net, NetDevice
from addrsvc.model.udp_table import udp_err
from addrsvc.uapi import AF_INET6, IPV6_MIN_MTU, PACKET_HOST, RTF_LOCAL

__all__ = [
    "ICMPV6_DEST_UNREACH", "ICMPV6_ECHO_REPLY", "ICMPV6_ECHO_REQUEST", "ICMPV6_HDR_FIELD", "ICMPV6_NOROUTE",
    "ICMPV6_PARAMPROB", "ICMPV6_PORT_UNREACH", "ICMPV6_UNK_NEXTHDR", "icmpv6_rcv", "icmpv6_send", "ipv6_skip_exthdr",
]  # fmt: skip

ICMPV6_DEST_UNREACH, ICMPV6_PKT_TOOBIG, ICMPV6_TIME_EXCEED, ICMPV6_PARAMPROB = 1, 2, 3, 4
ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY = 128, 129
ICMPV6_NOROUTE, ICMPV6_PORT_UNREACH = 0, 4
ICMPV6_HDR_FIELD, ICMPV6_UNK_NEXTHDR, ICMPV6_UNK_OPTION, ICMPV6_HDR_INCOMP = 0, 1, 2, 3
ICMPV6_EXC_FRAGTIME: Final = 1
_INFORMATIONAL: Final = 0x80
_IPPROTO_TCP, _IPPROTO_UDP = 6, 17
_NEXTHDR_FRAGMENT, _NEXTHDR_NONE = 44, 59
_IPPROTO_ICMPV6: Final = 58
_HEADER: Final = Struct("!BBHI")
_IP6_LEN: Final = 40
_EXTENSION_HEADERS: Final = frozenset({0, 43, 44, 60})


# --- sending ----------------------------------------------------------------------------------------------------------


def icmpv6_send(skb: SkBuff, icmp6_type: int, code: int, info: int) -> None:
    """Answer a packet by an error, unless nobody may be told.

    Kernel: net/ipv6/icmp.c, icmp6_send().
    Differs: nothing is limited: of packets over lo, the kernel limits none either.
    """
    dev = skb.dev
    assert dev is not None, "a packet that has arrived has a device"
    at = skb.network_header or 0
    source, dest = bytes(skb.head[at + 8 : at + 24]), bytes(skb.head[at + 24 : at + 40])
    own = dest if ipv6_get_ifaddr(dev.net, dest, dev) is not None else in6addr_any
    if ipv6_addr_is_multicast(dest) or skb.pkt_type != PACKET_HOST:
        if icmp6_type != ICMPV6_PKT_TOOBIG and (icmp6_type, code) != (ICMPV6_PARAMPROB, ICMPV6_UNK_OPTION):
            return
        own = in6addr_any
    if source == in6addr_any or ipv6_addr_is_multicast(source) or _is_ineligible(skb):
        return
    try:
        dst = ip6_dst_lookup(dev.net, source, own, dev.ifindex if rt6_need_strict(source) else 0)
    except KernelError:
        return
    packet = bytes(skb.head[at : skb.data]) + skb.tobytes()
    quoted = packet[: IPV6_MIN_MTU - _IP6_LEN - _HEADER.size]
    icmpv6_push(dev.net, dst, source, _HEADER.pack(icmp6_type, code, 0, info) + quoted)


def _is_ineligible(skb: SkBuff) -> bool:
    """Whether a packet is itself an error, or no first fragment: nobody answers those.

    Kernel: net/ipv6/icmp.c, is_ineligible().
    """
    at = skb.network_header or 0
    packet = bytes(skb.head[at : skb.data]) + skb.tobytes()
    nexthdr, offset, fragment = ipv6_skip_exthdr(packet, packet[6], _IP6_LEN)
    if nexthdr != _IPPROTO_ICMPV6:
        return False
    if offset >= len(packet):
        return not fragment
    return not packet[offset] & _INFORMATIONAL


def ipv6_skip_exthdr(packet: bytes, nexthdr: int, offset: int) -> tuple[int, int, int]:
    """What follows the extension headers from `offset` on, where, and the offset and flags of the fragment that it is.

    Kernel: net/ipv6/exthdrs_core.c, ipv6_skip_exthdr().
    Differs: a packet that ends before is told by an extension header that follows (here _NEXTHDR_NONE too).
    """
    fragment = 0
    while nexthdr in _EXTENSION_HEADERS and offset + 8 <= len(packet):
        length = (packet[offset + 1] + 1) * 8
        if nexthdr == _NEXTHDR_FRAGMENT:
            fragment, length = int.from_bytes(packet[offset + 2 : offset + 4]), 8
            if fragment & ~7:
                break
        nexthdr, offset = packet[offset], offset + length
    return nexthdr, offset, fragment


# --- receiving --------------------------------------------------------------------------------------------------------


def icmpv6_rcv(skb: SkBuff) -> int:
    """Take a message, whose header is next.

    Kernel: net/ipv6/icmp.c, icmpv6_rcv().
    Differs: neighbour discovery, multicast listener discovery and errors are counted and nothing more.
    """
    dev = skb.dev
    assert dev is not None, "a packet that has arrived has a device"
    net, idev = dev.net, dev.ip6_ptr
    icmp6_inc_stats(net, idev, "InMsgs")
    at = skb.network_header or 0
    source, dest = bytes(skb.head[at + 8 : at + 24]), bytes(skb.head[at + 24 : at + 40])
    message = skb.tobytes()
    pseudo = csum_pseudo(source, dest, len(message), _IPPROTO_ICMPV6)
    if not skb.csum_is_right and csum_fold(pseudo + csum_partial(message)):
        icmp6_inc_stats(net, idev, "InCsumErrors")
        icmp6_inc_stats(net, idev, "InErrors")
        return 0
    if len(message) < _HEADER.size:
        icmp6_inc_stats(net, idev, "InErrors")
        return 0
    icmp6_type = message[0]
    icmp6msg_inc_stats(net, idev, icmp6_type, out=False)
    if icmp6_type == ICMPV6_ECHO_REQUEST:
        _echo_reply(net, dev, source, dest, message, tclass=_tclass(skb))
    elif icmp6_type == ICMPV6_ECHO_REPLY:
        ping_rcv(net, AF_INET6, source, message, skb)
    elif not icmp6_type & _INFORMATIONAL and not _notify(net, message):
        icmp6_inc_stats(net, idev, "InErrors")
    return 0


def _notify(net: Net, message: bytes) -> bool:
    """Tell an error to whoever sent the packet that it is about; False if nobody did.

    Kernel: net/ipv6/icmp.c, icmpv6_notify().
    """
    inner = message[_HEADER.size :]
    if len(inner) < _IP6_LEN:
        return False
    nexthdr, offset, fragment = ipv6_skip_exthdr(inner, inner[6], _IP6_LEN)
    if fragment & ~7:
        return True
    if nexthdr == _NEXTHDR_NONE or offset + 8 > len(inner):
        return False
    if nexthdr == _IPPROTO_UDP:
        return udp_err(net, AF_INET6, message[0], message[1], inner[8:24], inner[offset:])
    return nexthdr != _IPPROTO_TCP


def _tclass(skb: SkBuff) -> int:
    at = skb.network_header or 0
    return (skb.head[at] & 0x0F) << 4 | skb.head[at + 1] >> 4


def _echo_reply(net: Net, dev: NetDevice, source: bytes, dest: bytes, message: bytes, *, tclass: int) -> None:
    """Kernel: net/ipv6/icmp.c, icmpv6_echo_reply()."""
    found = fib6_rule_lookup(net, Flowi6(daddr=dest, iif=dev.ifindex), dev.ifindex, strict=rt6_need_strict(dest))
    unicast = found.rt is not None and bool(found.rt.fib6_flags & RTF_LOCAL)
    try:
        dst = ip6_dst_lookup(net, source, dest if unicast else in6addr_any, dev.ifindex)
    except KernelError:
        return
    reply = bytes((ICMPV6_ECHO_REPLY, message[1], 0, 0)) + message[4:]
    icmpv6_push(net, dst, source, reply, tclass=tclass)
