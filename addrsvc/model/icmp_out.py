"""net/ipv4/icmp.c and net/ipv6/icmp.c, on the way out: messages get their checksums, are counted, and sent."""

from addrsvc.model.checksum import csum_fold, csum_partial, csum_pseudo
from addrsvc.model.ip6_output import Ip6Dst, ip6_transmit
from addrsvc.model.ip_output import ip_route_output_flow, ip_transmit
from addrsvc.model.snmp import icmp6_inc_stats, icmp6msg_inc_stats, icmpmsg_inc_stats, snmp_inc_stats
from addrsvc.model.structs import Net

__all__ = ["icmp_push", "icmpv6_push"]

_IPPROTO_ICMP, _IPPROTO_ICMPV6 = 1, 58


def icmpv6_push(
    net: Net, dst: Ip6Dst, daddr: bytes, message: bytes, *, saddr: bytes | None = None, tclass: int = 0
) -> None:
    """Send a message whose checksum is yet to be computed.

    Kernel: net/ipv6/icmp.c, icmpv6_push_pending_frames(); net/ipv6/ip6_output.c, ip6_send_skb().
    """
    source = saddr or dst.saddr
    total = csum_fold(csum_pseudo(source, daddr, len(message), _IPPROTO_ICMPV6) + csum_partial(message))
    message = message[:2] + total.to_bytes(2) + message[4:]
    icmp6msg_inc_stats(net, dst.dev.ip6_ptr, message[0], out=True)
    icmp6_inc_stats(net, dst.dev.ip6_ptr, "OutMsgs")
    ip6_transmit(net, dst, daddr, _IPPROTO_ICMPV6, message, saddr=source, tclass=tclass)


def icmp_push(
    net: Net,
    daddr: bytes,
    message: bytes,
    *,
    saddr: bytes = bytes(4),
    tos: int = 0,
    oif: int = 0,
    may_fragment: bool = True,
) -> None:
    """Send a message whose checksum is yet to be computed.

    Kernel: net/ipv4/icmp.c, icmp_push_reply(), icmp_out_count().

    Raises:
        KernelError: there is no way.
    """
    dst = ip_route_output_flow(net, daddr, saddr, oif, _IPPROTO_ICMP)
    message = message[:2] + csum_fold(csum_partial(message[:2] + bytes(2) + message[4:])).to_bytes(2) + message[4:]
    icmpmsg_inc_stats(net, message[0], out=True)
    snmp_inc_stats(net, "Icmp.OutMsgs")
    ip_transmit(net, dst, daddr, _IPPROTO_ICMP, message, tos=tos, may_fragment=may_fragment)
