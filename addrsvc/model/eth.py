"""net/ethernet/eth.c: Ethernet headers, made and read; what such devices have in common, and their addresses."""

from errno import EADDRNOTAVAIL, EBUSY, EINVAL
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import HeaderOps, NetDevice
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import (
    ARPHRD_ETHER,
    DEFAULT_TX_QUEUE_LEN,
    ETH_ALEN,
    ETH_DATA_LEN,
    ETH_HLEN,
    ETH_MIN_MTU,
    ETH_P_802_2,
    ETH_P_802_3,
    ETH_P_802_3_MIN,
    IFF_BROADCAST,
    IFF_LIVE_ADDR_CHANGE,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NOARP,
    NET_ADDR_RANDOM,
    PACKET_BROADCAST,
    PACKET_MULTICAST,
    PACKET_OTHERHOST,
)

__all__ = [
    "eth_header", "eth_header_cache", "eth_header_cache_update", "eth_header_ops", "eth_header_parse",
    "eth_header_parse_protocol", "eth_hw_addr_random", "eth_mac_addr", "eth_type_trans", "eth_validate_addr",
    "ether_setup", "is_valid_ether_addr", "validate_ether_link",
]  # fmt: skip

_MULTICAST_BIT: Final = 0x01
_LOCAL_BIT: Final = 0x02
_PROTO: Final = Struct("!H")
_HEADER: Final = Struct("!6s6xH")
_RAW_IPX: Final = b"\xff\xff"


def is_valid_ether_addr(addr: bytes) -> bool:
    """Neither multicast nor all zeros.

    Kernel: include/linux/etherdevice.h, is_valid_ether_addr().
    """
    return not addr[0] & _MULTICAST_BIT and any(addr)


def eth_mac_addr(dev: NetDevice, addr: bytes) -> None:
    """Set a 6-byte hardware address.

    Kernel: net/ethernet/eth.c, eth_mac_addr(), eth_prepare_mac_addr_change().

    Raises:
        KernelError: EBUSY, the device is running and cannot change then; EADDRNOTAVAIL, not a unicast address.
    """
    if not dev.priv_flags & IFF_LIVE_ADDR_CHANGE and dev.running:
        raise KernelError(EBUSY)
    if not is_valid_ether_addr(addr):
        raise KernelError(EADDRNOTAVAIL)
    dev.dev_addr = addr


def eth_validate_addr(dev: NetDevice) -> None:
    """Refuse to open a device whose address is none.

    Kernel: net/ethernet/eth.c, eth_validate_addr().

    Raises:
        KernelError: EADDRNOTAVAIL.
    """
    if not is_valid_ether_addr(dev.dev_addr):
        raise KernelError(EADDRNOTAVAIL)


def eth_hw_addr_random(dev: NetDevice) -> None:
    """Give a device a random address: unicast, locally administered.

    Kernel: include/linux/etherdevice.h, eth_hw_addr_random(), eth_random_addr().
    """
    first, *others = (dev.machine.chance.randrange(256) for _ in range(ETH_ALEN))
    dev.dev_addr = bytes((first & ~_MULTICAST_BIT | _LOCAL_BIT, *others))
    dev.addr_assign_type = NET_ADDR_RANDOM


def ether_setup(dev: NetDevice) -> None:
    """Fill in what Ethernet-like devices have in common.

    Kernel: net/ethernet/eth.c, ether_setup().
    """
    dev.type = ARPHRD_ETHER
    dev.hard_header_len = dev.min_header_len = ETH_HLEN
    dev.mtu = dev.max_mtu = ETH_DATA_LEN
    dev.min_mtu = ETH_MIN_MTU
    dev.addr_len = ETH_ALEN
    dev.tx_queue_len = DEFAULT_TX_QUEUE_LEN
    dev.flags = IFF_BROADCAST | IFF_MULTICAST
    dev.broadcast = b"\xff" * ETH_ALEN


def validate_ether_link(msg: LinkMsg) -> None:
    """Check the hardware address that a request wants for a device of an Ethernet-like kind.

    Kernel: drivers/net/dummy.c, dummy_validate(); drivers/net/ifb.c, ifb_validate(): both alike.

    Raises:
        KernelError: EINVAL, not 6 bytes; EADDRNOTAVAIL, not a unicast address.
    """
    if msg.address is None:
        return
    if len(msg.address) != ETH_ALEN:
        raise KernelError(EINVAL)
    if not is_valid_ether_addr(msg.address):
        raise KernelError(EADDRNOTAVAIL)


# --- headers --------------------------------------------------------------------------------------------------------


def eth_header(
    skb: SkBuff,
    dev: NetDevice,
    type: int,  # noqa: A002 - as header_ops call it
    daddr: bytes | None,
    saddr: bytes | None,
    len: int,  # noqa: A002 - as header_ops call it
) -> int:
    """Put an Ethernet header in front of a packet.

    Kernel: net/ethernet/eth.c, eth_header().

    Args:
        type: ETH_P_*; for 802.2 and 802.3 the header carries `len` in its place.
        daddr: the destination; None leaves it zero, which only a device that asks nobody may do.
        saddr: the source; None is the device's own address.

    Returns:
        The length of the header, negative if it is not complete for want of a destination.
    """
    proto = len if type in (ETH_P_802_3, ETH_P_802_2) else type
    skb.push((daddr or bytes(ETH_ALEN)) + (saddr or dev.dev_addr) + _PROTO.pack(proto))
    if daddr is not None or dev.flags & (IFF_LOOPBACK | IFF_NOARP):
        return ETH_HLEN
    return -ETH_HLEN


def eth_header_parse(skb: SkBuff, dev: NetDevice) -> bytes:
    """The source address of the packet's link header.

    Kernel: net/ethernet/eth.c, eth_header_parse().
    """
    at = (skb.mac_header or 0) + ETH_ALEN
    return bytes(skb.head[at : at + ETH_ALEN])


def eth_header_cache(dev: NetDevice, type: int, ha: bytes) -> bytes | None:  # noqa: A002
    """The header that all packets of a protocol to one neighbour have; None for 802.3, which differ in length.

    Kernel: net/ethernet/eth.c, eth_header_cache().
    """
    return None if type == ETH_P_802_3 else ha + dev.dev_addr + _PROTO.pack(type)


def eth_header_cache_update(header: bytes, haddr: bytes) -> bytes:
    """A cached header for a neighbour that has a new address.

    Kernel: net/ethernet/eth.c, eth_header_cache_update().
    """
    return haddr + header[ETH_ALEN:]


def eth_header_parse_protocol(skb: SkBuff) -> int:
    """The protocol that the packet's link header names.

    Kernel: net/ethernet/eth.c, eth_header_parse_protocol().
    """
    return int(_PROTO.unpack_from(skb.head, (skb.mac_header or 0) + 2 * ETH_ALEN)[0])


eth_header_ops: Final = HeaderOps(
    create=eth_header,
    parse=eth_header_parse,
    cache=eth_header_cache,
    cache_update=eth_header_cache_update,
    parse_protocol=eth_header_parse_protocol,
)
"""Kernel: net/ethernet/eth.c, eth_header_ops."""


def eth_type_trans(skb: SkBuff, dev: NetDevice) -> int:
    """Leave the link header of a packet that arrives behind; set whom it is for, and return its protocol.

    Kernel: net/ethernet/eth.c, eth_type_trans(); include/linux/etherdevice.h, eth_skb_pkt_type().
    Differs: a header that is not in the linear part is moved there; what is missing of a shorter frame is zero.
    """
    skb.dev = dev
    skb.mac_header = start = skb.data
    if skb.pull(ETH_HLEN):
        dest, proto = _HEADER.unpack_from(skb.head, start)
    else:
        dest, proto = _HEADER.unpack(skb.tobytes().ljust(ETH_HLEN, b"\0"))
    if dest != dev.dev_addr:
        skb.pkt_type = _pkt_type(dest, dev)
    if proto >= ETH_P_802_3_MIN:
        return int(proto)
    return ETH_P_802_3 if skb.copy_bits(0, 2) == _RAW_IPX else ETH_P_802_2


def _pkt_type(dest: bytes, dev: NetDevice) -> int:
    if not dest[0] & _MULTICAST_BIT:
        return PACKET_OTHERHOST
    return PACKET_BROADCAST if dest == dev.broadcast else PACKET_MULTICAST
