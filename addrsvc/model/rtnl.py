"""net/core/rtnetlink.c, lower half: the lock, what is said to listeners, and how a device reads as a message."""

from types import TracebackType
from typing import Protocol

from addrsvc.errors import RtnlAssertionError
from addrsvc.model.structs import NETREG_REGISTERED, Effect, Machine, Net, NetDevice, Printk, RtnlNotify
from addrsvc.netlink.messages import LinkMsg, Message
from addrsvc.uapi import (
    AF_INET6,
    IF_OPER_DOWN,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFF_ALLMULTI,
    IFF_DORMANT,
    IFF_LOWER_UP,
    IFF_PROMISC,
    IFF_RUNNING,
)

__all__ = [
    "ASSERT_RTNL", "dev_get_flags", "drain", "netif_oper_up", "printk", "rtmsg_ifinfo", "rtmsg_ifinfo_build",
    "rtnl_lock", "rtnl_notify",
]  # fmt: skip

_SHOWN_ONLY = IFF_RUNNING | IFF_LOWER_UP | IFF_DORMANT


class HasMachine(Protocol):
    """Anything that belongs to a machine: a namespace, a device."""

    machine: Machine


class _RtnlLock:
    """What `with rtnl_lock(machine):` holds."""

    __slots__ = ("machine",)

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __enter__(self) -> None:
        if self.machine.rtnl_held:
            raise RtnlAssertionError("RTNL is already held: taken twice, a kernel would hang here")
        self.machine.rtnl_held = True

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.machine.rtnl_held = False


def rtnl_lock(machine: Machine) -> _RtnlLock:
    """Hold RTNL for a with block.

    Kernel: net/core/rtnetlink.c, rtnl_lock(), rtnl_unlock().
    Differs: taking it twice raises RtnlAssertionError, where a kernel would hang.
    """
    return _RtnlLock(machine)


def ASSERT_RTNL(it: HasMachine) -> None:
    """Raise RtnlAssertionError unless RTNL is held.

    Kernel: include/linux/rtnetlink.h, ASSERT_RTNL().
    Differs: raises, where the kernel warns once and goes on.
    """
    if not it.machine.rtnl_held:
        raise RtnlAssertionError("RTNL is not held: wrap the call in `with rtnl_lock(machine):`")


def rtnl_notify(net: Net, msg: Message, *, asked: bool = False) -> None:
    """Say a message to the listeners of a namespace; one that was `asked` for names the request it answers.

    Kernel: net/core/rtnetlink.c, rtnl_notify().
    """
    _say(net.machine, RtnlNotify(net.name, msg, net.machine.asker if asked else None))


def printk(machine: Machine, level: str, text: str) -> None:
    """Remember a line that the kernel would have printed.

    Kernel: kernel/printk/printk.c, printk().
    """
    _say(machine, Printk(level, text))


def _say(machine: Machine, effect: Effect) -> None:
    machine.effects.append(effect)
    if machine.trace.on:
        machine.trace.record(effect)


def drain(machine: Machine) -> list[Effect]:
    """Hand out, and forget, everything that was said since the last drain.  Ours.

    Raises:
        RtnlAssertionError: RTNL is held; outsiders see finished work only.
    """
    if machine.rtnl_held:
        raise RtnlAssertionError("effects cannot be drained while RTNL is held")
    effects, machine.effects = machine.effects, []
    return effects


def netif_oper_up(dev: NetDevice) -> bool:
    """Whether the operational state lets traffic pass.

    Kernel: include/linux/netdevice.h, netif_oper_up().
    """
    return dev.operstate in (IF_OPER_UP, IF_OPER_UNKNOWN)


def dev_get_flags(dev: NetDevice) -> int:
    """The flags as user space sees them.

    Kernel: net/core/dev.c, netif_get_flags() (earlier dev_get_flags()).
    """
    flags = dev.flags & ~(IFF_PROMISC | IFF_ALLMULTI | _SHOWN_ONLY) | dev.gflags & (IFF_PROMISC | IFF_ALLMULTI)
    if not dev.running:
        return flags
    return flags | IFF_RUNNING * netif_oper_up(dev) | IFF_LOWER_UP * dev.carrier


def rtmsg_ifinfo_build(nlmsg_type: int, dev: NetDevice, change: int, event: int | None = None) -> LinkMsg:
    """A device as a link message.

    Kernel: net/core/rtnetlink.c, rtmsg_ifinfo_build_skb(), rtnl_fill_ifinfo().
    Differs: statistics, XDP, ports and the IPv4 configuration array are left out.
    """
    ASSERT_RTNL(dev)
    af_inet6 = dev.machine.rtnl_af_ops.get(AF_INET6)
    return LinkMsg(
        nlmsg_type=nlmsg_type,
        ifi_type=dev.type,
        ifi_index=dev.ifindex,
        ifi_flags=dev_get_flags(dev),
        ifi_change=change,
        ifname=dev.name,
        txqlen=dev.tx_queue_len,
        operstate=dev.operstate if dev.running else IF_OPER_DOWN,
        linkmode=dev.link_mode,
        netns_immutable=int(dev.netns_immutable),
        mtu=dev.mtu,
        min_mtu=dev.min_mtu,
        max_mtu=dev.max_mtu,
        group=dev.group,
        promiscuity=dev.promiscuity,
        allmulti=dev.allmulti,
        num_tx_queues=dev.num_tx_queues,
        gso_max_segs=dev.gso_max_segs,
        gso_max_size=dev.gso_max_size,
        gro_max_size=dev.gro_max_size,
        gso_ipv4_max_size=dev.gso_ipv4_max_size,
        gro_ipv4_max_size=dev.gro_ipv4_max_size,
        tso_max_size=dev.tso_max_size,
        tso_max_segs=dev.tso_max_segs,
        num_rx_queues=dev.num_rx_queues,
        carrier=int(dev.carrier),
        qdisc=dev.qdisc_sleeping,
        ifalias=dev.ifalias,
        address=dev.dev_addr if dev.addr_len else None,
        broadcast=dev.broadcast if dev.addr_len else None,
        event=event,
        proto_down=int(dev.proto_down),
        inet6=af_inet6.fill_link_af(dev) if af_inet6 else None,
    )


def rtmsg_ifinfo(nlmsg_type: int, dev: NetDevice, change: int, event: int | None = None) -> None:
    """Say a device to the LINK group, unless it is not yet or no longer registered.

    Kernel: net/core/rtnetlink.c, rtmsg_ifinfo().
    """
    if dev.reg_state == NETREG_REGISTERED:
        rtnl_notify(dev.net, rtmsg_ifinfo_build(nlmsg_type, dev, change, event))
