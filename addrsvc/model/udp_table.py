"""net/ipv4/udp.c and net/ipv6/udp.c, looking up: whose a datagram is, and whose an error that came back for one."""

from errno import ECONNREFUSED, EHOSTUNREACH
from typing import Final

from addrsvc.model.structs import InetSock, Net

__all__ = ["udp_err", "udp_lookup"]

_IPPROTO_UDP: Final = 17
_PORT_UNREACH: Final = ((1, 4), (3, 3))
"""Type and code of ICMPv6's and of ICMP's word for a closed port."""


def udp_lookup(net: Net, family: int, addr: bytes, port: int) -> InetSock | None:
    """The socket bound to this address, or else to any.

    Kernel: net/ipv6/udp.c, __udp6_lib_lookup(); net/ipv4/udp.c, __udp4_lib_lookup().
    """
    socks = net.udp_table.get((family, port), ())
    exact = next((sk for sk in socks if sk.saddr == addr), None)
    return exact or next((sk for sk in socks if not any(sk.saddr)), None)


def udp_err(net: Net, family: int, icmp_type: int, code: int, source: bytes, header: bytes) -> bool:
    """Take what came back for a datagram that starts so; False if nobody sent it.

    Kernel: net/ipv6/udp.c, __udp6_lib_err(); net/ipv4/udp.c, __udp4_lib_err().
    Differs: only who asked for it (IP_RECVERR) hears of it, since no socket is connected.
    """
    sk = udp_lookup(net, family, source, int.from_bytes(header[:2]))
    if sk is None:
        return False
    if sk.recverr:
        sk.sk_err = ECONNREFUSED if (icmp_type, code) in _PORT_UNREACH else EHOSTUNREACH
    return True
