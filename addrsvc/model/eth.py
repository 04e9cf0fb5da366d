"""net/ethernet/eth.c: how a device with Ethernet-like addresses takes a new one."""

from errno import EADDRNOTAVAIL, EBUSY

from addrsvc.errors import KernelError
from addrsvc.model.structs import NetDevice
from addrsvc.uapi import IFF_LIVE_ADDR_CHANGE

__all__ = ["eth_mac_addr", "is_valid_ether_addr"]

_MULTICAST_BIT = 0x01


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
