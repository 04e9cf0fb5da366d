"""net/core/rtnetlink.c, lower half: the lock, what is said to listeners, and how a device reads as a message."""

from contextlib import AbstractContextManager
from dataclasses import fields, replace
from operator import attrgetter
from types import TracebackType
from typing import Protocol

from addrsvc.errors import RtnlAssertionError
from addrsvc.model.structs import (
    NETREG_REGISTERED,
    Asker,
    Effect,
    Machine,
    Net,
    NetDevice,
    Printk,
    RtnlLinkStats64,
    RtnlNotify,
    Said,
)
from addrsvc.netlink.codec import decode
from addrsvc.netlink.messages import AfSpec, LinkInfo, LinkMsg, WireMessage, Xdp
from addrsvc.uapi import (
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
    "ASSERT_RTNL", "dev_get_flags", "dev_get_stats", "drain", "effect_of", "netif_oper_up", "printk", "rtmsg_ifinfo",
    "rtmsg_ifinfo_build", "rtmsg_ifinfo_send", "rtnl_has_listeners", "rtnl_lock", "rtnl_notify", "rtnl_notify_bytes",
    "rtnl_notify_portid", "rtnl_take",
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
        rtnl_take(self.machine)

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.machine.rtnl_held = False


def rtnl_lock(machine: Machine) -> AbstractContextManager[None]:
    """Hold RTNL for a with block.

    Kernel: net/core/rtnetlink.c, rtnl_lock(), rtnl_unlock().
    Differs: taking it twice raises RtnlAssertionError, where a kernel would hang.
    """
    if machine.rtnl_mutex is None:
        machine.rtnl_mutex = _RtnlLock(machine)
    return machine.rtnl_mutex


def rtnl_take(machine: Machine) -> None:
    """Hold RTNL until `machine.rtnl_held` is reset: rtnl_lock() for who has no time for a with block.  Ours.

    Raises:
        RtnlAssertionError: it is held.
    """
    if machine.rtnl_held:
        raise RtnlAssertionError("RTNL is already held: taken twice, a kernel would hang here")
    machine.rtnl_held = True


def ASSERT_RTNL(it: HasMachine) -> None:
    """Raise RtnlAssertionError unless RTNL is held.

    Kernel: include/linux/rtnetlink.h, ASSERT_RTNL().
    Differs: raises, where the kernel warns once and goes on.
    """
    if not it.machine.rtnl_held:
        raise RtnlAssertionError("RTNL is not held: wrap the call in `with rtnl_lock(machine):`")


def rtnl_has_listeners(net: Net, group: int) -> bool:
    """Whether anybody may hear what is said to a group.

    Kernel: include/linux/rtnetlink.h, rtnl_has_listeners().
    Differs: true as well if somebody listens in another namespace, or keeps all that is said.
    """
    return net.machine.ears.mask >> group & 1 != 0


def rtnl_notify(net: Net, msg: WireMessage, *, asked: bool = False) -> None:
    """Say a message to the listeners of a namespace; one that was `asked` for names the request it answers.

    Kernel: net/core/rtnetlink.c, rtnl_notify().
    """
    _say(net.machine, RtnlNotify(net.name, msg, net.machine.asker if asked else None))


def rtnl_notify_bytes(net: Net, group: int, data: bytes) -> None:
    """Say a message that is in bytes already.

    Kernel: net/core/rtnetlink.c, rtnl_notify().
    """
    machine, said = net.machine, (net.name, group, data)
    machine.effects.append(said)
    if machine.trace.recording:
        machine.trace.record(effect_of(said))


def rtnl_notify_portid(net: Net, msg: WireMessage) -> None:
    """Say a message that names who asks, but not the request, as the kernel does for neighbours.  Ours."""
    asker = net.machine.asker
    _say(net.machine, RtnlNotify(net.name, msg, Asker(asker.portid, 0, echo=False) if asker is not None else None))


def printk(machine: Machine, level: str, text: str) -> None:
    """Remember a line that the kernel would have printed.

    Kernel: kernel/printk/printk.c, printk().
    """
    _say(machine, Printk(level, text))


def _say(machine: Machine, effect: Effect) -> None:
    machine.effects.append(effect)
    if machine.trace.recording:
        machine.trace.record(effect)


def effect_of(said: Said) -> Effect:
    """What was said as a value, if it was said in bytes.  Ours."""
    return RtnlNotify(said[0], decode(said[2])) if isinstance(said, tuple) else said


def drain(machine: Machine) -> list[Said]:
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


def dev_get_stats(dev: NetDevice) -> RtnlLinkStats64:
    """What the driver has counted, and what the core dropped on its behalf.

    Kernel: net/core/dev.c, dev_get_stats().
    """
    stats = RtnlLinkStats64()
    if dev.netdev_ops.ndo_get_stats64 is not None:
        dev.netdev_ops.ndo_get_stats64(dev, stats)
    else:
        stats = replace(dev.stats)
    core = dev.core_stats
    stats.rx_dropped += core.rx_dropped
    stats.tx_dropped += core.tx_dropped
    stats.rx_nohandler += core.rx_nohandler
    stats.rx_otherhost_dropped += core.rx_otherhost_dropped
    return stats


def rtmsg_ifinfo_build(
    nlmsg_type: int, dev: NetDevice, change: int, event: int | None = None, ext_filter_mask: int = 0
) -> LinkMsg:
    """A device as a link message; `ext_filter_mask` is RTEXT_FILTER_*, what a reader wants or does without.

    Kernel: net/core/rtnetlink.c, rtmsg_ifinfo_build_skb(), rtnl_fill_ifinfo().
    """
    ASSERT_RTNL(dev)
    stats = _STATS64(dev_get_stats(dev))
    af_spec = _link_af(dev, ext_filter_mask)
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
        max_pacing_offload_horizon=0,
        num_rx_queues=dev.num_rx_queues,
        carrier=int(dev.carrier),
        ifalias=dev.ifalias,
        carrier_changes=dev.carrier_up_count + dev.carrier_down_count,
        carrier_up_count=dev.carrier_up_count,
        carrier_down_count=dev.carrier_down_count,
        headroom=dev.needed_headroom,
        tailroom=dev.needed_tailroom,
        proto_down=int(dev.proto_down),
        event=event,
        address=dev.dev_addr if dev.addr_len else None,
        broadcast=dev.broadcast if dev.addr_len else None,
        stats64=stats,
        stats=tuple([counter & 0xFFFFFFFF for counter in stats[:_STATS_LENGTH]]),
        xdp=_NO_XDP,
        linkinfo=None if dev.rtnl_link_ops is None else LinkInfo(dev.rtnl_link_ops.kind),
        perm_address=_perm_address(dev),
        qdisc=dev.qdisc_sleeping,
        inet=af_spec.inet,
        inet6=af_spec.inet6,
        af_other=() if af_spec == _NO_AF_SPEC else None,
        map=_NO_IFMAP,
        altnames=tuple(dev.altnames) or None,
        devlink_port=b"",
        dpll_pin=b"",
    )


_STATS64 = attrgetter(*(counter.name for counter in fields(RtnlLinkStats64)))
_STATS_LENGTH = 24
"""Counters of struct rtnl_link_stats, which has no rx_otherhost_dropped."""
_NO_XDP = Xdp(attached=0)
_NO_IFMAP = (0, 0, 0, 0, 0, 0)
_NO_AF_SPEC = AfSpec()


def _perm_address(dev: NetDevice) -> bytes | None:
    address = dev.perm_addr[: dev.addr_len]
    return address if any(address) else None


def _link_af(dev: NetDevice, ext_filter_mask: int) -> AfSpec:
    """Kernel: net/core/rtnetlink.c, rtnl_fill_link_af()."""
    spec = _NO_AF_SPEC
    for ops in dev.machine.rtnl_af_ops.values():
        if ops.fill_link_af is not None:
            spec = ops.fill_link_af(spec, dev, ext_filter_mask)
    return spec


def rtmsg_ifinfo(
    nlmsg_type: int, dev: NetDevice, change: int, event: int | None = None, *, asked: bool = False
) -> None:
    """Say a device to the LINK group, unless it is not yet or no longer registered.

    Kernel: net/core/rtnetlink.c, rtmsg_ifinfo().
    """
    if dev.reg_state == NETREG_REGISTERED:
        rtmsg_ifinfo_send(rtmsg_ifinfo_build(nlmsg_type, dev, change, event), dev, asked=asked)


def rtmsg_ifinfo_send(msg: LinkMsg, dev: NetDevice, *, asked: bool) -> None:
    """Say a message of a device; one that was `asked` for names the request only if an echo is wanted.

    Kernel: net/core/rtnetlink.c, rtmsg_ifinfo_send(), rtmsg_ifinfo_build_skb().
    """
    asker = dev.machine.asker
    rtnl_notify(dev.net, msg, asked=asked and asker is not None and asker.echo)
