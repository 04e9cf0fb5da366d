"""net/core/dev_addr_lists.c: the multicast addresses that a device is to receive, in hardware's terms."""

from addrsvc.model.structs import NetDevice
from addrsvc.uapi import ARPHRD_ETHER

__all__ = ["dev_mc_add", "dev_mc_del", "group_address"]


def group_address(dev: NetDevice, group: bytes) -> bytes | None:
    """The hardware address of an IPv4 or IPv6 group; None where the device has none that anybody could ask for.

    Kernel: net/ipv6/ndisc.c, ndisc_mc_map(); net/ipv4/arp.c, arp_mc_map().
    Differs: only Ethernet's are told apart.
    """
    if dev.type != ARPHRD_ETHER:
        return None
    if len(group) == 16:
        return b"\x33\x33" + group[12:]
    return b"\x01\x00\x5e" + bytes((group[1] & 0x7F,)) + group[2:]


def dev_mc_add(dev: NetDevice, group: bytes) -> None:
    """Receive a group's frames, or count one more reason to.

    Kernel: net/core/dev_addr_lists.c, dev_mc_add().
    """
    address = group_address(dev, group)
    if address is not None:
        dev.mc[address] = dev.mc.get(address, 0) + 1


def dev_mc_del(dev: NetDevice, group: bytes) -> None:
    """Have one reason less.

    Kernel: net/core/dev_addr_lists.c, dev_mc_del().
    """
    address = group_address(dev, group)
    if address is None or address not in dev.mc:
        return
    dev.mc[address] -= 1
    if not dev.mc[address]:
        del dev.mc[address]
