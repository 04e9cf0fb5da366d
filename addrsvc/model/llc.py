"""net/llc/llc_input.c: who takes frames of 802.2."""

from addrsvc.model.receive import dev_add_pack
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import Machine, NetDevice, PacketType
from addrsvc.uapi import ETH_P_802_2

__all__ = ["llc_init", "llc_rcv"]


def llc_rcv(skb: SkBuff, dev: NetDevice) -> None:
    """Take a frame, which is dropped and not counted, as outside of the initial namespace it is there too.

    Kernel: net/llc/llc_input.c, llc_rcv().
    Differs: there are no stations in the initial namespace.
    """


def llc_init(machine: Machine) -> None:
    """Take the frames of 802.2 of every device.

    Kernel: net/llc/llc_core.c, llc_init().
    """
    dev_add_pack(machine, PacketType(ETH_P_802_2, llc_rcv))
