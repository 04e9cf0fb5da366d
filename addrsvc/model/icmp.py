"""net/ipv4/icmp.c: what ICMP says, and what it makes of what it is told."""

from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.checksum import csum_fold, csum_partial
from addrsvc.model.fib_trie import inet_addr_type
from addrsvc.model.icmp_out import icmp_push
from addrsvc.model.ping import ping_rcv
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.snmp import icmpmsg_inc_stats, snmp_inc_stats
from addrsvc.model.structs import Net
from addrsvc.model.udp_table import udp_err
from addrsvc.uapi import AF_INET, PACKET_HOST, RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST

__all__ = [
    "ICMP_DEST_UNREACH", "ICMP_ECHO", "ICMP_ECHOREPLY", "ICMP_PORT_UNREACH", "ICMP_PROT_UNREACH", "icmp_rcv",
    "icmp_send",
]  # fmt: skip

ICMP_ECHOREPLY, ICMP_DEST_UNREACH, ICMP_ECHO, ICMP_TIME_EXCEEDED = 0, 3, 8, 11
ICMP_PROT_UNREACH, ICMP_PORT_UNREACH = 2, 3
NR_ICMP_TYPES: Final = 18
_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
_IPPROTO_ICMP, _IPPROTO_TCP, _IPPROTO_UDP = 1, 6, 17
_HEADER: Final = Struct("!BBHI")
_INTERNETCONTROL: Final = 0xC0
_MOST: Final = 576
_IP_LEN: Final = 20
_FRAG_OFFSET: Final = 0x1FFF


def icmp_send(skb: SkBuff, icmp_type: int, code: int, info: int) -> None:
    """Answer a packet by an error, unless nobody may be told.

    Kernel: net/ipv4/icmp.c, icmp_send(), __icmp_send().
    Differs: nothing is limited: of packets over lo, the kernel limits none either.
    """
    dev, at = skb.dev, skb.network_header or 0
    assert dev is not None, "a packet that has arrived has a device"
    packet = bytes(skb.head[at : skb.data]) + skb.tobytes()
    source, dest = packet[12:16], packet[16:20]
    kind = inet_addr_type(dev.net, dest)
    if (
        skb.pkt_type != PACKET_HOST
        or kind in (RTN_BROADCAST, RTN_MULTICAST)
        or int.from_bytes(packet[6:8]) & _FRAG_OFFSET
    ):
        return
    ihl = (packet[0] & 0x0F) * 4
    if icmp_type in _ERRORS and packet[9] == _IPPROTO_ICMP:
        inner = packet[ihl] if ihl < len(packet) else None
        if inner is None or inner > NR_ICMP_TYPES or inner in _ERRORS:
            return
    saddr = dest if kind == RTN_LOCAL else bytes(4)
    room = min(dev.mtu, _MOST) - _IP_LEN - _HEADER.size
    message = _HEADER.pack(icmp_type, code, 0, info) + packet[:room]
    tos = packet[1] & 0x1E | _INTERNETCONTROL
    try:
        icmp_push(dev.net, source, message, saddr=saddr, tos=tos)
    except KernelError:
        return


def icmp_rcv(skb: SkBuff) -> int:
    """Take a message, whose header is next.

    Kernel: net/ipv4/icmp.c, icmp_rcv().
    Differs: time stamps are not answered; errors are counted and nothing more.
    """
    dev, at = skb.dev, skb.network_header or 0
    assert dev is not None, "a packet that has arrived has a device"
    net, message = dev.net, skb.tobytes()
    snmp_inc_stats(net, "Icmp.InMsgs")
    if csum_fold(csum_partial(message)):
        snmp_inc_stats(net, "Icmp.InCsumErrors")
        snmp_inc_stats(net, "Icmp.InErrors")
        return 0
    if len(message) < _HEADER.size:
        snmp_inc_stats(net, "Icmp.InErrors")
        return 0
    icmpmsg_inc_stats(net, message[0], out=False)
    source, dest = bytes(skb.head[at + 12 : at + 16]), bytes(skb.head[at + 16 : at + 20])
    if message[0] == ICMP_ECHO:
        _reply(net, skb, source, dest, message)
    elif message[0] == ICMP_ECHOREPLY:
        ping_rcv(net, AF_INET, source, message, skb)
    elif message[0] > NR_ICMP_TYPES or (message[0] in _ERRORS and not _notify(net, message)):
        snmp_inc_stats(net, "Icmp.InErrors")
    return 0


def _notify(net: Net, message: bytes) -> bool:
    """Tell an error to whoever sent the packet that it is about; False if nobody did.

    Kernel: net/ipv4/icmp.c, icmp_unreach(), icmp_socket_deliver().
    """
    inner = message[_HEADER.size :]
    ihl = (inner[0] & 0x0F) * 4 if inner else 0
    if len(inner) < ihl + 8 or ihl < _IP_LEN:
        return False
    if inner[9] == _IPPROTO_UDP:
        return udp_err(net, AF_INET, message[0], message[1], inner[12:16], inner[ihl:])
    return inner[9] != _IPPROTO_TCP


def _reply(net: Net, skb: SkBuff, source: bytes, dest: bytes, message: bytes) -> None:
    """Kernel: net/ipv4/icmp.c, icmp_echo(), icmp_reply()."""
    saddr = dest if inet_addr_type(net, dest) == RTN_LOCAL else bytes(4)
    tos = skb.head[(skb.network_header or 0) + 1] & 0x1E
    try:
        icmp_push(net, source, bytes((ICMP_ECHOREPLY,)) + message[1:], saddr=saddr, tos=tos)
    except KernelError:
        return
