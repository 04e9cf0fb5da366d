"""net/core/dev.c and dev_api.c: changing one property of a device, with those who are told and those who may veto."""

from errno import EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP

from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_valid_name, dev_qdisc_change_tx_queue_len, netif_state_change
from addrsvc.model.netdev_chain import (
    call_netdevice_notifiers,
    call_netdevice_notifiers_info,
    call_netdevice_notifiers_mtu,
    raise_veto,
)
from addrsvc.model.notifier import notifier_to_errno
from addrsvc.model.rtnl import ASSERT_RTNL, printk
from addrsvc.model.structs import (
    NetDevice,
    NetdevNotifierPreChangeaddrInfo,
)
from addrsvc.uapi import (
    IF_OPER_DORMANT,
    IF_OPER_TESTING,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFALIASZ,
    IFF_UP,
    NET_ADDR_SET,
    NET_NAME_RENAMED,
    NETDEV_CHANGE_TX_QUEUE_LEN,
    NETDEV_CHANGEADDR,
    NETDEV_CHANGEMTU,
    NETDEV_CHANGENAME,
    NETDEV_PRE_CHANGEADDR,
    NETDEV_PRECHANGEMTU,
)

__all__ = [
    "dev_change_name", "dev_change_tx_queue_len", "dev_set_alias", "dev_set_broadcast", "dev_set_group",
    "dev_set_mac_address", "dev_set_mtu", "dev_validate_mtu", "netdev_name_node_alt_create",
    "netdev_name_node_alt_destroy", "netif_change_carrier", "set_operstate",
]  # fmt: skip

# which operational states each wish is granted from
_OPERSTATE_FROM = {
    IF_OPER_UP: (IF_OPER_DORMANT, IF_OPER_TESTING, IF_OPER_UNKNOWN),
    IF_OPER_TESTING: (IF_OPER_UP, IF_OPER_UNKNOWN),
    IF_OPER_DORMANT: (IF_OPER_UP, IF_OPER_UNKNOWN),
}


def set_operstate(dev: NetDevice, transition: int) -> None:
    """Wish for an operational state; what cannot be granted is ignored.

    Kernel: net/core/rtnetlink.c, set_operstate().
    """
    if dev.operstate in _OPERSTATE_FROM.get(transition, ()):
        dev.operstate = transition
        netif_state_change(dev)


def dev_set_mtu(dev: NetDevice, new_mtu: int) -> None:
    """Change the MTU, in bytes.

    Kernel: net/core/dev.c, netif_set_mtu_ext().

    Raises:
        KernelError: EINVAL, outside of what the device takes; ENODEV, it is not present; a callback's veto at
            PRECHANGEMTU, or at CHANGEMTU, after which everybody was told of the old MTU again.
    """
    if new_mtu == dev.mtu:
        return
    dev_validate_mtu(dev, new_mtu)
    if not dev.present:
        raise KernelError(ENODEV)
    raise_veto(call_netdevice_notifiers(NETDEV_PRECHANGEMTU, dev))
    orig_mtu = dev.mtu
    _write_mtu(dev, new_mtu)
    veto = call_netdevice_notifiers_mtu(NETDEV_CHANGEMTU, dev, orig_mtu)
    if notifier_to_errno(veto):
        _write_mtu(dev, orig_mtu)
        call_netdevice_notifiers_mtu(NETDEV_CHANGEMTU, dev, new_mtu)
        raise_veto(veto)


def dev_validate_mtu(dev: NetDevice, new_mtu: int) -> None:
    """Refuse an MTU that a device does not take.

    Kernel: net/core/dev.c, dev_validate_mtu().

    Raises:
        KernelError: EINVAL.
    """
    if new_mtu < 0 or new_mtu < dev.min_mtu:
        raise KernelError(EINVAL, "mtu less than device minimum")
    if 0 < dev.max_mtu < new_mtu:
        raise KernelError(EINVAL, "mtu greater than device maximum")


def _write_mtu(dev: NetDevice, mtu: int) -> None:
    if dev.netdev_ops.ndo_change_mtu is not None:
        dev.netdev_ops.ndo_change_mtu(dev, mtu)
    else:
        dev.mtu = mtu


def dev_change_name(dev: NetDevice, newname: str) -> None:
    """Rename a device, up or down; "%d" in the name becomes the first free number.

    Kernel: net/core/dev.c, netif_change_name() (earlier dev_change_name()).

    Raises:
        KernelError: EINVAL, no name for a device; EEXIST, taken; a callback's veto at CHANGENAME, after which
            everybody was told of the old name again.
    """
    ASSERT_RTNL(dev)
    if newname == dev.name:
        return
    oldname, old_assign_type = dev.name, dev.name_assign_type
    _rename(dev, dev_get_valid_name(dev.net, newname), NET_NAME_RENAMED)
    while_up = " (while UP)" if dev.flags & IFF_UP else ""
    printk(dev.machine, "info", f"{dev.name}: renamed from {oldname}{while_up}")
    veto = call_netdevice_notifiers(NETDEV_CHANGENAME, dev)
    if not notifier_to_errno(veto):
        return
    _rename(dev, oldname, old_assign_type)
    again = notifier_to_errno(call_netdevice_notifiers(NETDEV_CHANGENAME, dev))
    if again:
        printk(dev.machine, "err", f"{dev.name}: name change rollback failed: {again}")
    raise_veto(veto)


def _rename(dev: NetDevice, name: str, assign_type: int) -> None:
    del dev.net.dev_name_head[dev.name]
    dev.name, dev.name_assign_type = name, assign_type
    dev.net.dev_name_head[name] = dev


def netdev_name_node_alt_create(dev: NetDevice, name: str) -> None:
    """Give a device one more name, which may be anything that no device is called yet.

    Kernel: net/core/dev.c, netdev_name_node_alt_create().

    Raises:
        KernelError: EEXIST.
    """
    if name in dev.net.dev_name_head:
        raise KernelError(EEXIST)
    dev.altnames[name] = None
    dev.net.dev_name_head[name] = dev


def netdev_name_node_alt_destroy(dev: NetDevice, name: str) -> None:
    """Take an alternative name from a device.

    Kernel: net/core/dev.c, netdev_name_node_alt_destroy().

    Raises:
        KernelError: ENOENT, nobody has it; EINVAL, another device has, or it is the device's own.
    """
    if name not in dev.net.dev_name_head:
        raise KernelError(ENOENT)
    if name not in dev.altnames:
        raise KernelError(EINVAL)
    del dev.altnames[name], dev.net.dev_name_head[name]


def netif_change_carrier(dev: NetDevice, *, new_carrier: bool) -> None:
    """Pretend that the carrier comes or goes.

    Kernel: net/core/dev.c, netif_change_carrier().

    Raises:
        KernelError: EOPNOTSUPP, the device cannot; ENODEV, it is not present.
    """
    if dev.netdev_ops.ndo_change_carrier is None:
        raise KernelError(EOPNOTSUPP)
    if not dev.present:
        raise KernelError(ENODEV)
    dev.netdev_ops.ndo_change_carrier(dev, new_carrier)


def dev_set_mac_address(dev: NetDevice, addr: bytes) -> None:
    """Set the hardware address; bytes beyond the device's address length are ignored.

    Kernel: net/core/dev.c, netif_set_mac_address() (earlier dev_set_mac_address()).

    Raises:
        KernelError: EOPNOTSUPP, the device cannot; EINVAL, too short; ENODEV, not present; a callback's veto at
            PRE_CHANGEADDR; the driver's refusal of the address.
    """
    ndo_set_mac_address = dev.netdev_ops.ndo_set_mac_address
    if ndo_set_mac_address is None:
        raise KernelError(EOPNOTSUPP)
    if len(addr) < dev.addr_len:
        raise KernelError(EINVAL)
    if not dev.present:
        raise KernelError(ENODEV)
    addr = addr[: dev.addr_len]
    info = NetdevNotifierPreChangeaddrInfo(dev, dev_addr=addr)
    raise_veto(call_netdevice_notifiers_info(NETDEV_PRE_CHANGEADDR, info), info.extack)
    if addr != dev.dev_addr:
        ndo_set_mac_address(dev, addr)
    dev.addr_assign_type = NET_ADDR_SET
    call_netdevice_notifiers(NETDEV_CHANGEADDR, dev)


def dev_set_broadcast(dev: NetDevice, addr: bytes) -> None:
    """Set the broadcast address, unchecked.

    Kernel: net/core/rtnetlink.c, do_setlink(), IFLA_BROADCAST.
    """
    dev.broadcast = addr[: dev.addr_len]
    call_netdevice_notifiers(NETDEV_CHANGEADDR, dev)


def dev_change_tx_queue_len(dev: NetDevice, new_len: int) -> None:
    """Set the transmit queue length, in packets.

    Kernel: net/core/dev.c, netif_change_tx_queue_len() (earlier dev_change_tx_queue_len()).

    Raises:
        KernelError: a callback's veto, after which the old length stands, or ENOMEM.
    """
    if new_len == dev.tx_queue_len:
        return
    orig_len, dev.tx_queue_len = dev.tx_queue_len, new_len
    veto = call_netdevice_notifiers(NETDEV_CHANGE_TX_QUEUE_LEN, dev)
    try:
        raise_veto(veto)
        dev_qdisc_change_tx_queue_len(dev)
    except KernelError:
        printk(dev.machine, "err", f"{dev.name}: refused to change device tx_queue_len")
        dev.tx_queue_len = orig_len
        raise


def dev_set_alias(dev: NetDevice, alias: str) -> None:
    """Set the alias; an empty one removes it.  The caller tells of it.

    Kernel: net/core/dev.c, dev_set_alias().

    Raises:
        KernelError: EINVAL, 256 bytes or more.
    """
    if len(alias.encode("utf-8", "surrogateescape")) >= IFALIASZ:
        raise KernelError(EINVAL)
    dev.ifalias = alias or None


def dev_set_group(dev: NetDevice, group: int) -> None:
    """Set the device group.  The caller tells of it.

    Kernel: net/core/dev.c, netif_set_group() (earlier dev_set_group()).
    """
    dev.group = group
