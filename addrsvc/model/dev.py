"""net/core/dev.c, control half: the life of a network device, up and down, its flags.

Its other properties are changed in `dev_api`; who is told stands in `netdev_chain`.  Packets are not handled here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from errno import EBUSY, EEXIST, EINVAL, EIO, ENFILE, ENODEV, ENOMEM

from addrsvc.errors import KernelError
from addrsvc.model.dev_features import netdev_apply_features, netdev_features_init
from addrsvc.model.netdev_chain import (
    call_netdevice_notifiers,
    call_netdevice_notifiers_extack,
    call_netdevice_notifiers_info,
    move_netdevice_notifiers_dev_net,
    raise_veto,
)
from addrsvc.model.netns_ids import peernet2id_alloc
from addrsvc.model.offload_xstats import netdev_offload_xstats_disable
from addrsvc.model.percpu import free_percpu, netdev_alloc_pcpu_stats
from addrsvc.model.rtnl import ASSERT_RTNL, printk, rtmsg_ifinfo, rtmsg_ifinfo_build, rtmsg_ifinfo_send, rtnl_notify
from addrsvc.model.structs import (
    NETREG_REGISTERED,
    NETREG_RELEASED,
    NETREG_UNINITIALIZED,
    NETREG_UNREGISTERED,
    NETREG_UNREGISTERING,
    Net,
    NetDevice,
    NetdevNotifierChangeInfo,
)
from addrsvc.uapi import (
    DEFAULT_TX_QUEUE_LEN,
    IFF_ALLMULTI,
    IFF_AUTOMEDIA,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_MULTICAST,
    IFF_NO_QUEUE,
    IFF_NOARP,
    IFF_NOTRAILERS,
    IFF_PORTSEL,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    IFF_VOLATILE,
    IFF_XMIT_DST_RELEASE,
    IFF_XMIT_DST_RELEASE_PERM,
    IFNAMSIZ,
    INT_MAX,
    NET_ADDR_PERM,
    NETDEV_CHANGE,
    NETDEV_DOWN,
    NETDEV_GOING_DOWN,
    NETDEV_PCPU_STAT_LSTATS,
    NETDEV_POST_INIT,
    NETDEV_PRE_UNINIT,
    NETDEV_PRE_UP,
    NETDEV_REGISTER,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    RTM_DELLINK,
    RTM_NEWLINK,
)

__all__ = [
    "alloc_netdev", "dev_activate", "dev_change_flags", "dev_change_flags_silently", "dev_change_net_namespace",
    "dev_close", "dev_deactivate", "dev_get_by_index", "dev_get_by_name", "dev_get_valid_name", "dev_notify_flags",
    "dev_open", "dev_qdisc_change_tx_queue_len", "dev_set_rx_mode", "dev_valid_name", "netif_state_change",
    "register_netdevice", "unregister_netdevice", "unregister_netdevice_many",
]  # fmt: skip

ALL_CHANGED = 0xFFFFFFFF
_MAX_NUMBERED = 8 * 4096
_NOT_IN_NAMES = b"/: \t\n\v\f\r\xa0"  # the kernel takes 0xa0 for a space, inside UTF-8 too
_USER_FLAGS = (
    IFF_DEBUG | IFF_NOTRAILERS | IFF_NOARP | IFF_DYNAMIC | IFF_MULTICAST | IFF_PORTSEL | IFF_AUTOMEDIA
)  # fmt: skip
_SILENT_FLAGS = IFF_UP | IFF_PROMISC | IFF_ALLMULTI | IFF_VOLATILE


# --- finding, naming, numbering -------------------------------------------------------------------------------------


def dev_get_by_index(net: Net, ifindex: int) -> NetDevice | None:
    """The device with this index, if any.

    Kernel: net/core/dev.c, __dev_get_by_index().
    """
    return net.dev_base_head.get(ifindex)


def dev_get_by_name(net: Net, name: str) -> NetDevice | None:
    """The device with this name, or this alternative name, if any.

    Kernel: net/core/dev.c, __dev_get_by_name().
    """
    return net.dev_name_head.get(name)


def dev_valid_name(name: str) -> bool:
    """Whether a device may be called so: 1 to 15 bytes, no slash, colon or white space, not "." or "..".

    Kernel: net/core/dev.c, dev_valid_name().
    """
    raw = name.encode("utf-8", "surrogateescape")
    if not 0 < len(raw) < IFNAMSIZ or raw in (b".", b".."):
        return False
    return not any(byte in _NOT_IN_NAMES for byte in raw)


def dev_get_valid_name(net: Net, name: str) -> str:
    """The name to take: as wished, or with its %d replaced by the first free number.

    Kernel: net/core/dev.c, dev_get_valid_name(), dev_prep_valid_name().

    Raises:
        KernelError: EINVAL, no name for a device; EEXIST, taken; ENFILE, no number is free.
    """
    if not dev_valid_name(name):
        raise KernelError(EINVAL)
    if "%" in name:
        return _alloc_name(net, name)
    if name in net.dev_name_head:
        raise KernelError(EEXIST)
    return name


def _alloc_name(net: Net, pattern: str) -> str:
    if pattern.count("%") != 1 or "%d" not in pattern:
        raise KernelError(EINVAL)
    for number in range(_MAX_NUMBERED):
        name = pattern.replace("%d", str(number))
        if name not in net.dev_name_head:
            return name
    raise KernelError(ENFILE)


def _index_reserve(net: Net, ifindex: int) -> int:
    """An index for a newcomer: the one it wants, or the next of a cursor that does not reuse (dev_index_reserve)."""
    if ifindex < 0 or ifindex > INT_MAX:
        raise KernelError(EINVAL)
    if ifindex:
        if ifindex in net.dev_base_head:
            raise KernelError(EBUSY)
        return ifindex
    while net.ifindex_cursor in net.dev_base_head:
        net.ifindex_cursor = net.ifindex_cursor % INT_MAX + 1
    taken = net.ifindex_cursor
    net.ifindex_cursor = taken % INT_MAX + 1
    return taken


def _list_netdevice(dev: NetDevice) -> None:
    dev.net.dev_base_head[dev.ifindex] = dev
    for name in (dev.name, *dev.altnames):
        dev.net.dev_name_head[name] = dev
    dev.net.dev_base_seq += 1


def _unlist_netdevice(dev: NetDevice) -> None:
    del dev.net.dev_base_head[dev.ifindex]
    for name in (dev.name, *dev.altnames):
        del dev.net.dev_name_head[name]
    dev.net.dev_base_seq += 1


# --- making and registering -----------------------------------------------------------------------------------------


def alloc_netdev(
    net: Net, name: str, name_assign_type: int, setup: Callable[[NetDevice], None], *, txqs: int = 1, rxqs: int = 1
) -> NetDevice:
    """A device that is not registered yet, filled in by `setup`.

    Kernel: net/core/dev.c, alloc_netdev_mqs(); include/linux/netdevice.h, alloc_netdev().
    Differs: no private area.

    Raises:
        KernelError: EINVAL, the name is longer than 15 bytes (a bug of the driver, there); ENOMEM, no queue at all.
    """
    if len(name.encode("utf-8", "surrogateescape")) >= IFNAMSIZ:
        raise KernelError(EINVAL)
    for number, what in ((txqs, "queues"), (rxqs, "RX queues")):
        if number < 1:
            printk(net.machine, "err", f"alloc_netdev: Unable to allocate device with zero {what}")
            raise KernelError(ENOMEM)
    dev = NetDevice(net, name, name_assign_type)
    dev.priv_flags = IFF_XMIT_DST_RELEASE | IFF_XMIT_DST_RELEASE_PERM
    setup(dev)
    if not dev.tx_queue_len:
        dev.priv_flags |= IFF_NO_QUEUE
        dev.tx_queue_len = DEFAULT_TX_QUEUE_LEN
    dev.num_tx_queues, dev.num_rx_queues = txqs, rxqs
    return dev


def register_netdevice(dev: NetDevice) -> None:
    """Give a device its name and index, tell the chains, and list it.

    Kernel: net/core/dev.c, register_netdevice().
    Differs: ndo_init refuses by KernelError; a refusal that carries no errno is EIO, as a positive one is there.

    Raises:
        KernelError: a bad or used name or index, ndo_init's refusal, or the veto of a callback at POST_INIT or
            REGISTER; the device is then not registered.
    """
    ASSERT_RTNL(dev)
    if dev.reg_state != NETREG_UNINITIALIZED:
        raise AssertionError(f"{dev.name} was registered before")
    dev.name = dev_get_valid_name(dev.net, dev.name)
    _ndo_init(dev)
    try:
        _do_alloc_pcpu_stats(dev)
        dev.ifindex = _index_reserve(dev.net, dev.ifindex)
        netdev_features_init(dev)
        raise_veto(call_netdevice_notifiers(NETDEV_POST_INIT, dev))
    except KernelError:
        _undo_init(dev)
        raise
    dev.reg_state = NETREG_REGISTERED
    netdev_apply_features(dev)
    dev.present = True
    dev.qdisc = dev.qdisc_sleeping = "noop"
    _list_netdevice(dev)
    if dev.addr_assign_type == NET_ADDR_PERM:
        dev.perm_addr = dev.dev_addr.ljust(32, b"\0")
    _announce(dev)


def _ndo_init(dev: NetDevice) -> None:
    if dev.netdev_ops.ndo_init is None:
        return
    try:
        dev.netdev_ops.ndo_init(dev)
    except KernelError as err:
        raise err if err.errno else KernelError(EIO) from err


def _do_alloc_pcpu_stats(dev: NetDevice) -> None:
    """Kernel: net/core/dev.c, netdev_do_alloc_pcpu_stats()."""
    if dev.pcpu_stat_type == NETDEV_PCPU_STAT_LSTATS:
        dev.lstats = netdev_alloc_pcpu_stats(dev.machine.percpu_allocator, dev.machine.cpus)


def _do_free_pcpu_stats(dev: NetDevice) -> None:
    """Kernel: net/core/dev.c, netdev_do_free_pcpu_stats()."""
    free_percpu(dev.machine.percpu_allocator, dev.lstats)
    dev.lstats = None


def _undo_init(dev: NetDevice) -> None:
    _do_free_pcpu_stats(dev)
    if dev.netdev_ops.ndo_uninit is not None:
        dev.netdev_ops.ndo_uninit(dev)
    if dev.priv_destructor is not None:
        dev.priv_destructor(dev)


def _announce(dev: NetDevice) -> None:
    try:
        raise_veto(call_netdevice_notifiers(NETDEV_REGISTER, dev))
    except KernelError:
        dev.needs_free_netdev = False
        unregister_netdevice(dev)
        raise
    if not dev.rtnl_link_initializing:
        rtmsg_ifinfo(RTM_NEWLINK, dev, ALL_CHANGED)


def unregister_netdevice(dev: NetDevice) -> None:
    """Take one device away.

    Kernel: include/linux/netdevice.h, unregister_netdevice().
    """
    unregister_netdevice_many([dev])


def unregister_netdevice_many(devs: Sequence[NetDevice], *, asked: bool = False) -> None:
    """Take devices away together: close all, unlist all, then tell the chains of one after the other.

    Kernel: net/core/dev.c, unregister_netdevice_many_notify().
    Differs: nobody holds references, so nothing is waited for.

    Args:
        devs: in the order in which they go.
        asked: the request that is being served is about them, and is named by the messages.
    """
    for dev in devs:
        ASSERT_RTNL(dev)
        dev.dismantle = True
    _close_many([dev for dev in devs if dev.flags & IFF_UP])
    for dev in devs:
        _unlist_netdevice(dev)
        dev.reg_state = NETREG_UNREGISTERING
    for dev in devs:
        _say_goodbye(dev, asked=asked)
    for dev in devs:
        _netdev_run_todo(dev)


def _say_goodbye(dev: NetDevice, *, asked: bool) -> None:
    dev.qdisc = dev.qdisc_sleeping = "noop"
    if dev.offload_xstats_l3 is not None:
        netdev_offload_xstats_disable(dev)
    call_netdevice_notifiers(NETDEV_UNREGISTER, dev)
    farewell = None if dev.rtnl_link_initializing else rtmsg_ifinfo_build(RTM_DELLINK, dev, ALL_CHANGED)
    dev.altnames.clear()
    call_netdevice_notifiers(NETDEV_PRE_UNINIT, dev)
    if dev.netdev_ops.ndo_uninit is not None:
        dev.netdev_ops.ndo_uninit(dev)
    if farewell is not None:
        rtmsg_ifinfo_send(farewell, dev, asked=asked)


def _netdev_run_todo(dev: NetDevice) -> None:
    dev.reg_state = NETREG_UNREGISTERED
    _do_free_pcpu_stats(dev)
    if dev.priv_destructor is not None:
        dev.priv_destructor(dev)
    if dev.needs_free_netdev:
        dev.reg_state = NETREG_RELEASED


def dev_change_net_namespace(dev: NetDevice, net: Net, pat: str | None = None, new_ifindex: int = 0) -> None:
    """Move a device to another namespace; it arrives closed.

    Kernel: net/core/dev.c, __dev_change_net_namespace().

    Args:
        dev: the device.
        net: where it goes.
        pat: the name to take if its own is taken there; "%d" in it becomes the first free number.
        new_ifindex: the index to have there; 0 for its own, or the next free one if that is taken.

    Raises:
        KernelError: EINVAL, the device may not move; EEXIST, a name is taken and `pat` gives no other; EBUSY, the
            index is.
    """
    ASSERT_RTNL(dev)
    if dev.netns_immutable:
        raise KernelError(EINVAL, "The interface netns is immutable")
    if dev.net is net:
        return
    name = _name_over_there(dev, net, pat)
    ifindex = _index_over_there(dev, net, new_ifindex)
    dev_close(dev)
    _unlist_netdevice(dev)
    dev.qdisc = dev.qdisc_sleeping = "noop"
    call_netdevice_notifiers(NETDEV_UNREGISTER, dev)
    nsid = peernet2id_alloc(dev.net, net)
    farewell = rtmsg_ifinfo_build(RTM_DELLINK, dev, ALL_CHANGED)
    rtnl_notify(dev.net, replace(farewell, new_netnsid=nsid, new_ifindex=ifindex))
    move_netdevice_notifiers_dev_net(dev, net)
    dev.net, dev.name, dev.ifindex = net, name, ifindex
    _list_netdevice(dev)
    call_netdevice_notifiers(NETDEV_REGISTER, dev)
    rtmsg_ifinfo(RTM_NEWLINK, dev, ALL_CHANGED)


def _name_over_there(dev: NetDevice, net: Net, pat: str | None) -> str:
    name = dev.name
    if name in net.dev_name_head:
        if pat is None:
            raise KernelError(EEXIST, "An interface with the same name exists in the target netns")
        try:
            name = dev_get_valid_name(net, pat)
        except KernelError as refusal:
            text = f"Unable to use '{pat}' for the new interface name in the target netns"
            raise KernelError(refusal.errno or EINVAL, text) from refusal
    for altname in dev.altnames:
        if altname in net.dev_name_head:
            raise KernelError(EEXIST, f"An interface with the altname {altname} exists in the target netns")
    return name


def _index_over_there(dev: NetDevice, net: Net, wish: int) -> int:
    if not wish:
        return _index_reserve(net, 0 if dev.ifindex in net.dev_base_head else dev.ifindex)
    try:
        return _index_reserve(net, wish)
    except KernelError as refusal:
        text = f"The ifindex {wish} is not available in the target netns"
        raise KernelError(refusal.errno or EINVAL, text) from refusal


# --- up and down ----------------------------------------------------------------------------------------------------


def dev_open(dev: NetDevice) -> None:
    """Bring a device up.

    Kernel: net/core/dev.c, netif_open() (earlier dev_open()).

    Raises:
        KernelError: ENODEV, it is not present; a callback's veto at PRE_UP; the driver's own refusal.
    """
    if dev.flags & IFF_UP:
        return
    _open(dev)
    rtmsg_ifinfo(RTM_NEWLINK, dev, IFF_UP | IFF_RUNNING)
    call_netdevice_notifiers(NETDEV_UP, dev)


def _open(dev: NetDevice) -> None:
    """Kernel: net/core/dev.c, __dev_open()."""
    ASSERT_RTNL(dev)
    if not dev.present:
        raise KernelError(ENODEV)
    call_netdevice_notifiers_extack(NETDEV_PRE_UP, dev)
    dev.running = True
    try:
        for op in (dev.netdev_ops.ndo_validate_addr, dev.netdev_ops.ndo_open):
            if op is not None:
                op(dev)
    except KernelError:
        dev.running = False
        raise
    dev.flags |= IFF_UP
    dev_set_rx_mode(dev)
    dev_activate(dev)


def dev_activate(dev: NetDevice) -> None:
    """Let a device send, if it has a carrier; the first time it gets a discipline.

    Kernel: net/sched/sch_generic.c, dev_activate().
    """
    if dev.qdisc_sleeping == "noop":
        dev.qdisc_sleeping = _default_qdisc(dev)
    if dev.carrier:
        dev.qdisc = dev.qdisc_sleeping


def dev_deactivate(dev: NetDevice) -> None:
    """Let a device send no more.

    Kernel: net/sched/sch_generic.c, dev_deactivate().
    """
    dev.qdisc = "noop"


_QUEUE_MAX = 4 * 1024 * 1024 // 8
"""Packets in a queue: as many pointers as one allocation may hold (KMALLOC_MAX_SIZE)."""


def _default_qdisc(dev: NetDevice) -> str:
    """A queue that cannot be made is done without.

    Kernel: net/sched/sch_generic.c, attach_default_qdiscs(), attach_one_default_qdisc(), pfifo_fast_init().
    """
    if dev.priv_flags & IFF_NO_QUEUE or not 0 < dev.tx_queue_len <= _QUEUE_MAX:
        return "noqueue"
    return "mq" if dev.num_tx_queues > 1 else "pfifo_fast"


def dev_qdisc_change_tx_queue_len(dev: NetDevice) -> None:
    """Make the queue as long as the device says.

    Kernel: net/sched/sch_generic.c, dev_qdisc_change_tx_queue_len(), pfifo_fast_change_tx_queue_len().

    Raises:
        KernelError: ENOMEM, there is a queue, and it would be too long.
    """
    if dev.qdisc_sleeping in ("mq", "pfifo_fast") and dev.tx_queue_len > _QUEUE_MAX:
        raise KernelError(ENOMEM)


def dev_close(dev: NetDevice) -> None:
    """Take a device down.

    Kernel: net/core/dev.c, netif_close() (earlier dev_close()).
    """
    if dev.flags & IFF_UP:
        _close_many([dev])


def _close_many(devs: Iterable[NetDevice]) -> None:
    """Kernel: net/core/dev.c, netif_close_many()."""
    devs = list(devs)
    _take_down(devs)
    for dev in devs:
        rtmsg_ifinfo(RTM_NEWLINK, dev, IFF_UP | IFF_RUNNING)
        call_netdevice_notifiers(NETDEV_DOWN, dev)


def _close(dev: NetDevice) -> None:
    """Kernel: net/core/dev.c, __dev_close()."""
    _take_down([dev])


def _take_down(devs: Sequence[NetDevice]) -> None:
    """Kernel: net/core/dev.c, __dev_close_many()."""
    for dev in devs:
        ASSERT_RTNL(dev)
        call_netdevice_notifiers(NETDEV_GOING_DOWN, dev)
        dev.running = False
    for dev in devs:
        dev_deactivate(dev)
        if dev.netdev_ops.ndo_stop is not None:
            dev.netdev_ops.ndo_stop(dev)
        dev.flags &= ~IFF_UP


# --- flags ----------------------------------------------------------------------------------------------------------


def dev_change_flags(dev: NetDevice, flags: int) -> None:
    """Set the flags that a user may set; IFF_UP opens or closes the device.

    Kernel: net/core/dev.c, netif_change_flags() (earlier dev_change_flags()).

    Raises:
        KernelError: the device could not be opened.
    """
    old_flags, old_gflags = dev.flags, dev.gflags
    dev_change_flags_silently(dev, flags)
    dev_notify_flags(dev, old_flags, (old_flags ^ dev.flags) | (old_gflags ^ dev.gflags))


def dev_change_flags_silently(dev: NetDevice, flags: int) -> None:
    """Set the flags without a word.

    Kernel: net/core/dev.c, __dev_change_flags().

    Raises:
        KernelError: the device could not be opened.
    """
    ASSERT_RTNL(dev)
    old_flags = dev.flags
    dev.flags = flags & _USER_FLAGS | old_flags & (IFF_UP | IFF_VOLATILE | IFF_PROMISC | IFF_ALLMULTI)
    try:
        if (old_flags ^ flags) & IFF_UP:
            (_close if old_flags & IFF_UP else _open)(dev)
    finally:
        _change_gflags(dev, flags)


def _change_gflags(dev: NetDevice, flags: int) -> None:
    """The flags that are counted; they change even where the device refuses to open."""
    if (flags ^ dev.gflags) & IFF_PROMISC:
        dev.gflags ^= IFF_PROMISC
        _set_promiscuity(dev, 1 if flags & IFF_PROMISC else -1)
    if (flags ^ dev.gflags) & IFF_ALLMULTI:
        dev.gflags ^= IFF_ALLMULTI
        _set_allmulti(dev, 1 if flags & IFF_ALLMULTI else -1)


def _set_promiscuity(dev: NetDevice, inc: int) -> None:
    """Kernel: net/core/dev.c, __dev_set_promiscuity()."""
    ASSERT_RTNL(dev)
    dev.promiscuity += inc
    old = dev.flags
    dev.flags = old | IFF_PROMISC if dev.promiscuity else old & ~IFF_PROMISC
    if dev.flags != old:
        verb = "entered" if dev.flags & IFF_PROMISC else "left"
        printk(dev.machine, "info", f"{dev.name}: {verb} promiscuous mode")


def dev_set_rx_mode(dev: NetDevice) -> None:
    """Have a device that cannot tell hardware addresses apart receive everything while it is to receive some.

    Kernel: net/core/dev.c, __dev_set_rx_mode().
    """
    if dev.flags & IFF_UP and dev.present and bool(dev.uc) != dev.uc_promisc:
        dev.uc_promisc = not dev.uc_promisc
        _set_promiscuity(dev, 1 if dev.uc_promisc else -1)


def _set_allmulti(dev: NetDevice, inc: int) -> None:
    """Kernel: net/core/dev.c, netif_set_allmulti()."""
    dev.allmulti += inc
    old = dev.flags
    dev.flags = old | IFF_ALLMULTI if dev.allmulti else old & ~IFF_ALLMULTI
    if dev.flags != old:
        verb = "entered" if dev.flags & IFF_ALLMULTI else "left"
        printk(dev.machine, "info", f"{dev.name}: {verb} allmulticast mode")


def dev_notify_flags(dev: NetDevice, old_flags: int, gchanges: int, *, asked: bool = False) -> None:
    """Tell listeners of what changed, `gchanges`, and the chains of what became of the flags.

    Kernel: net/core/dev.c, __dev_notify_flags().
    """
    changes = dev.flags ^ old_flags
    if gchanges:
        rtmsg_ifinfo(RTM_NEWLINK, dev, gchanges, asked=asked)
    if changes & IFF_UP:
        call_netdevice_notifiers(NETDEV_UP if dev.flags & IFF_UP else NETDEV_DOWN, dev)
    if dev.flags & IFF_UP and changes & ~_SILENT_FLAGS:
        call_netdevice_notifiers_info(NETDEV_CHANGE, NetdevNotifierChangeInfo(dev, flags_changed=changes))


def netif_state_change(dev: NetDevice) -> None:
    """Tell the chains, then the listeners, that something about an up device changed; of a down one nothing is said.

    Kernel: net/core/dev.c, netif_state_change() (earlier netdev_state_change()).
    """
    if dev.flags & IFF_UP:
        call_netdevice_notifiers_info(NETDEV_CHANGE, NetdevNotifierChangeInfo(dev))
        rtmsg_ifinfo(RTM_NEWLINK, dev, 0)
