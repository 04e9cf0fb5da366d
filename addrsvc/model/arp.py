"""net/ipv4/arp.c and net/llc: who takes packets of other protocols, and makes nothing of them here."""

from addrsvc.model.receive import dev_add_pack
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import Machine, NetDevice, PacketType
from addrsvc.uapi import ETH_P_802_2, ETH_P_ARP

__all__ = ["arp_init", "arp_rcv", "llc_rcv"]


def arp_rcv(skb: SkBuff, dev: NetDevice) -> None:
    """Take an ARP packet.

    Kernel: net/ipv4/arp.c, arp_rcv().
    Differs: nobody is answered; neighbours of lo are itself.
    """


def llc_rcv(skb: SkBuff, dev: NetDevice) -> None:
    """Take a frame of 802.2.

    Kernel: net/llc/llc_input.c, llc_rcv().
    Differs: there are no stations.
    """


def arp_init(machine: Machine) -> None:
    """Take ARP packets and frames of 802.2.

    Kernel: net/ipv4/arp.c, arp_init(); net/llc/llc_core.c, llc_init().
    """
    dev_add_pack(machine, PacketType(ETH_P_ARP, arp_rcv))
    dev_add_pack(machine, PacketType(ETH_P_802_2, llc_rcv))
