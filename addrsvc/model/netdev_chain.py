"""net/core/dev.c, notifier part: who hears of network devices, and what a newcomer or a leaver is told.

Two chains are called for every event: the namespace's own, then the machine's global one.
"""

from collections.abc import Iterator
from contextlib import suppress

from addrsvc.errors import KernelError
from addrsvc.model.notifier import (
    NOTIFY_DONE,
    NOTIFY_STOP_MASK,
    ChainMoved,
    NotifierBlock,
    call_linked,
    notifier_to_errno,
    raw_notifier_call_chain,
    raw_notifier_call_chain_robust,
    raw_notifier_chain_register,
    raw_notifier_chain_unregister,
)
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_lock
from addrsvc.model.structs import Machine, Net, NetDevice, NetdevNotifierInfo, NetdevNotifierInfoExt
from addrsvc.uapi import IFF_UP, NETDEV_DOWN, NETDEV_GOING_DOWN, NETDEV_REGISTER, NETDEV_UNREGISTER, NETDEV_UP

__all__ = [
    "call_netdevice_notifiers", "call_netdevice_notifiers_extack", "call_netdevice_notifiers_info",
    "call_netdevice_notifiers_info_robust", "call_netdevice_notifiers_mtu", "call_netdevice_register_net_notifiers",
    "for_each_netdev", "raise_veto", "move_netdevice_notifiers_dev_net", "register_netdevice_notifier",
    "register_netdevice_notifier_dev_net", "register_netdevice_notifier_net", "unregister_netdevice_notifier",
    "unregister_netdevice_notifier_dev_net", "unregister_netdevice_notifier_net",
]  # fmt: skip


def for_each_netdev(net: Net) -> Iterator[NetDevice]:
    """The devices of a namespace in order of registration; it may change while one walks.

    Kernel: include/linux/netdevice.h, for_each_netdev().
    """
    return iter(list(net.dev_base_head.values()))


# --- calling --------------------------------------------------------------------------------------------------------


def call_netdevice_notifiers_info(val: int, info: NetdevNotifierInfo) -> int:
    """Call the namespace's chain and, unless that said stop, the global one.  Returns the deciding value.

    Kernel: net/core/dev.c, call_netdevice_notifiers_info().
    """
    dev = info.dev
    if not dev.machine.rtnl_held:
        ASSERT_RTNL(dev)
    if dev.net.netdev_chain.calls:
        ret = raw_notifier_call_chain(dev.net.netdev_chain, val, info)
        if ret & NOTIFY_STOP_MASK:
            return ret
    return raw_notifier_call_chain(dev.machine.netdev_chain, val, info)


def call_netdevice_notifiers(val: int, dev: NetDevice) -> int:
    """Call the chains for an event that says nothing but the device.

    Kernel: net/core/dev.c, call_netdevice_notifiers().
    Differs: where the namespace has no subscriber of its own, which is the rule, the walk of
        raw_notifier_call_chain() stands here once more: two calls less for every event.
    """
    machine = dev.machine
    if dev.net.netdev_chain.calls or not machine.rtnl_held:
        return call_netdevice_notifiers_info(val, dev.notifier_info)
    nh, info = machine.netdev_chain, dev.notifier_info
    ret = usual = nh.usual
    try:
        for call in nh.calls:
            if (ret := call(val, info)) is not usual and ret and ret & NOTIFY_STOP_MASK:
                return ret
    except ChainMoved as moved:
        return call_linked(nh, moved.rest, ret, val, info)[0]
    nh.usual = ret
    return ret or NOTIFY_DONE


def call_netdevice_notifiers_extack(val: int, dev: NetDevice) -> None:
    """Call the chains for an event that may be vetoed.

    Kernel: net/core/dev.c, call_netdevice_notifiers_extack().

    Raises:
        KernelError: a callback refused; its extack text, if it left one, comes along.
    """
    info = NetdevNotifierInfo(dev)
    ret = call_netdevice_notifiers_info(val, info)
    raise_veto(ret, info.extack)


def call_netdevice_notifiers_mtu(val: int, dev: NetDevice, mtu: int) -> int:
    """Call the chains for CHANGEMTU, which tells the MTU from before.

    Kernel: net/core/dev.c, call_netdevice_notifiers_mtu().
    """
    return call_netdevice_notifiers_info(val, NetdevNotifierInfoExt(dev, mtu=mtu))


def call_netdevice_notifiers_info_robust(val_up: int, val_down: int, info: NetdevNotifierInfo) -> int:
    """Call the namespace's chain, and take the event back from those who heard it if one of them refuses.

    Kernel: net/core/dev.c, call_netdevice_notifiers_info_robust().
    """
    ASSERT_RTNL(info.dev)
    return raw_notifier_call_chain_robust(info.dev.net.netdev_chain, val_up, val_down, info)


def raise_veto(ret: int, extack: str | None = None) -> None:
    """Turn a refusal among the values that a chain can return into an exception.  Ours.

    Raises:
        KernelError: the errno in `ret`, if there is one.
    """
    errno = notifier_to_errno(ret)
    if errno:
        raise KernelError(-errno, extack)


# --- replay: what a newcomer is told of the devices that exist ------------------------------------------------------


def _tell(nb: NotifierBlock, val: int, dev: NetDevice) -> int:
    return nb.notifier_call(val, NetdevNotifierInfo(dev)) or NOTIFY_DONE


def _register_one(nb: NotifierBlock, dev: NetDevice) -> None:
    raise_veto(_tell(nb, NETDEV_REGISTER, dev))
    if dev.flags & IFF_UP:
        _tell(nb, NETDEV_UP, dev)


def _unregister_one(nb: NotifierBlock, dev: NetDevice) -> None:
    if dev.flags & IFF_UP:
        _tell(nb, NETDEV_GOING_DOWN, dev)
        _tell(nb, NETDEV_DOWN, dev)
    _tell(nb, NETDEV_UNREGISTER, dev)


def call_netdevice_register_net_notifiers(nb: NotifierBlock, net: Net) -> None:
    """Tell a block of every device of a namespace; if it refuses one, take back the earlier ones, newest first.

    Kernel: net/core/dev.c, call_netdevice_register_net_notifiers().

    Raises:
        KernelError: the block refused a NETDEV_REGISTER.
    """
    told: list[NetDevice] = []
    for dev in for_each_netdev(net):
        try:
            _register_one(nb, dev)
        except KernelError:
            for earlier in reversed(told):
                _unregister_one(nb, earlier)
            raise
        told.append(dev)


def _unregister_net(nb: NotifierBlock, net: Net) -> None:
    for dev in for_each_netdev(net):
        _unregister_one(nb, dev)


# --- registering (each takes RTNL itself) ---------------------------------------------------------------------------


def register_netdevice_notifier(machine: Machine, nb: NotifierBlock) -> None:
    """Add a block to the global chain and tell it what exists: REGISTER, and UP where a device is up.

    Kernel: net/core/dev.c, register_netdevice_notifier().

    Raises:
        KernelError: EEXIST, it is registered already; or the block's own refusal of a REGISTER, after which
            everything it had been told is taken back and it is not registered.
    """
    with rtnl_lock(machine):
        raw_notifier_chain_register(machine.netdev_chain, nb)
        if machine.dev_boot_phase:
            return
        try:
            _tell_all_nets(nb, machine)
        except BaseException:  # a veto, or a bug of the callback: either way it does not stay
            raw_notifier_chain_unregister(machine.netdev_chain, nb)
            raise


def _tell_all_nets(nb: NotifierBlock, machine: Machine) -> None:
    told: list[Net] = []
    for net in list(machine.net_namespace_list):
        try:
            call_netdevice_register_net_notifiers(nb, net)
        except KernelError:
            for earlier in reversed(told):
                _unregister_net(nb, earlier)
            raise
        told.append(net)


def unregister_netdevice_notifier(machine: Machine, nb: NotifierBlock) -> None:
    """Remove a block from the global chain and take back what it was told.

    Kernel: net/core/dev.c, unregister_netdevice_notifier().

    Raises:
        KernelError: ENOENT, it is not registered; nothing was done.
    """
    with rtnl_lock(machine):
        raw_notifier_chain_unregister(machine.netdev_chain, nb)
        for net in list(machine.net_namespace_list):
            _unregister_net(nb, net)


def register_netdevice_notifier_net(net: Net, nb: NotifierBlock) -> None:
    """The same for one namespace.

    Kernel: net/core/dev.c, register_netdevice_notifier_net().

    Raises:
        KernelError: as register_netdevice_notifier().
    """
    with rtnl_lock(net.machine):
        _register_net(net, nb)


def unregister_netdevice_notifier_net(net: Net, nb: NotifierBlock) -> None:
    """The same for one namespace.

    Kernel: net/core/dev.c, unregister_netdevice_notifier_net().

    Raises:
        KernelError: ENOENT, it is not registered there.
    """
    with rtnl_lock(net.machine):
        raw_notifier_chain_unregister(net.netdev_chain, nb)
        _unregister_net(nb, net)


def _register_net(net: Net, nb: NotifierBlock) -> None:
    raw_notifier_chain_register(net.netdev_chain, nb)
    if net.machine.dev_boot_phase:
        return
    try:
        call_netdevice_register_net_notifiers(nb, net)
    except BaseException:
        raw_notifier_chain_unregister(net.netdev_chain, nb)
        raise


def register_netdevice_notifier_dev_net(dev: NetDevice, nb: NotifierBlock) -> None:
    """Register with the namespace of a device, and move along when the device moves.

    Kernel: net/core/dev.c, register_netdevice_notifier_dev_net().

    Raises:
        KernelError: as register_netdevice_notifier().
    """
    with rtnl_lock(dev.machine):
        _register_net(dev.net, nb)
        dev.net_notifier_list.insert(0, nb)


def unregister_netdevice_notifier_dev_net(dev: NetDevice, nb: NotifierBlock) -> None:
    """Undo register_netdevice_notifier_dev_net().

    Kernel: net/core/dev.c, unregister_netdevice_notifier_dev_net().

    Raises:
        KernelError: ENOENT, it is not registered there.
    """
    with rtnl_lock(dev.machine):
        if nb in dev.net_notifier_list:
            dev.net_notifier_list.remove(nb)
        raw_notifier_chain_unregister(dev.net.netdev_chain, nb)
        _unregister_net(nb, dev.net)


def move_netdevice_notifiers_dev_net(dev: NetDevice, net: Net) -> None:
    """Take the blocks that follow a device to its new namespace; refusals there are ignored.

    Kernel: net/core/dev.c, move_netdevice_notifiers_dev_net(), __move_netdevice_notifier_net().
    """
    for nb in dev.net_notifier_list:
        raw_notifier_chain_unregister(dev.net.netdev_chain, nb)
        _unregister_net(nb, dev.net)
        raw_notifier_chain_register(net.netdev_chain, nb)
        with suppress(KernelError):
            call_netdevice_register_net_notifiers(nb, net)
