"""net/core/rtnetlink.c, requests for links: which device is meant, made, changed, deleted, or named once more."""

from collections.abc import Iterable
from errno import EEXIST, EINVAL, ENODEV, EOPNOTSUPP, EPERM
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.dev import (
    ALL_CHANGED,
    alloc_netdev,
    dev_change_flags_silently,
    dev_get_by_index,
    dev_get_by_name,
    dev_notify_flags,
    netif_state_change,
    register_netdevice,
    unregister_netdevice,
    unregister_netdevice_many,
)
from addrsvc.model.dev_api import (
    dev_set_group,
    dev_validate_mtu,
    netdev_name_node_alt_create,
    netdev_name_node_alt_destroy,
    set_operstate,
)
from addrsvc.model.link_request import LinkRequest
from addrsvc.model.netdev_chain import for_each_netdev
from addrsvc.model.rtnl_link_ops import rtnl_link_ops_get
from addrsvc.model.setlink import (
    as_int,
    do_set_master,
    do_setlink,
    rtnl_dev_combine_flags,
    set_sizes,
    validate_linkmsg,
)
from addrsvc.model.structs import Net, NetDevice, RtnlLinkOps
from addrsvc.netlink.messages import LinkInfo, LinkMsg
from addrsvc.uapi import (
    ALTIFNAMSIZ,
    NET_ADDR_SET,
    NET_NAME_ENUM,
    NET_NAME_USER,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
)

__all__ = [
    "dellink", "find_link", "newlink", "rtnl_configure_link", "rtnl_create_link", "rtnl_dellink", "rtnl_linkprop",
    "rtnl_newlink", "rtnl_setlink", "setlink",
]  # fmt: skip

_MAX_QUEUES = 4096
_MAKE: Final = NLM_F_CREATE | NLM_F_EXCL


def rtnl_newlink(net: Net, msg: LinkMsg) -> None:
    """Make a device, or change one, as a message wants it that says all there is to say.

    Kernel: net/core/rtnetlink.c, rtnl_newlink().

    Raises:
        KernelError: as newlink().
    """
    newlink(net, LinkRequest.of(msg))


def newlink(net: Net, request: LinkRequest) -> None:
    """Make a device, or change one, or all of a group.

    Kernel: net/core/rtnetlink.c, rtnl_newlink(), __rtnl_newlink().

    Raises:
        KernelError: the kernel's errno and text, for the first thing that is wrong.
    """
    msg = request.msg
    ops = rtnl_link_ops_get(net.machine, request.kind)
    if ops is not None:
        ops.validate(msg)
    tgt_net = request.target(net)
    if request.link_net is not None:
        request.link_net()
    if msg.ifi_index < 0:
        raise KernelError(EINVAL, "ifindex can't be negative")
    makes = msg.nlmsg_flags & _MAKE == _MAKE
    dev = _find_link(tgt_net if makes else net, request)
    if dev is not None:
        _changelink(dev, tgt_net, request)
    elif not msg.nlmsg_flags & NLM_F_CREATE:
        _change_group(net, tgt_net, request)
    elif msg.map is not None or request.has_protinfo:
        raise KernelError(EOPNOTSUPP)
    elif ops is None:
        raise KernelError(EOPNOTSUPP, "Unknown device type")
    else:
        _newlink_create(tgt_net, ops, request)


def _find_link(net: Net, request: LinkRequest) -> NetDevice | None:
    """By index, else by name, else by alternative name (rtnl_dev_get)."""
    if request.msg.ifi_index > 0:
        return dev_get_by_index(net, request.msg.ifi_index)
    name = request.msg.alt_ifname if request.msg.ifname is None else request.msg.ifname
    return dev_get_by_name(net, name) if name is not None else None


def _changelink(dev: NetDevice, tgt_net: Net, request: LinkRequest) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_changelink(): no kind of the model can be changed, none has slaves."""
    info = request.msg.linkinfo or LinkInfo()
    if request.msg.nlmsg_flags & NLM_F_EXCL:
        raise KernelError(EEXIST)
    if request.msg.nlmsg_flags & NLM_F_REPLACE or info.data is not None or info.slave_data is not None:
        raise KernelError(EOPNOTSUPP)
    do_setlink(dev, tgt_net, request)


def _change_group(net: Net, tgt_net: Net, request: LinkRequest) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_group_changelink()."""
    if request.names_a_link or request.msg.group is None:
        raise KernelError(ENODEV)
    for dev in for_each_netdev(net):
        if dev.group == request.msg.group:
            do_setlink(dev, tgt_net, request)


def _newlink_create(net: Net, ops: RtnlLinkOps, request: LinkRequest) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_newlink_create()."""
    dev = rtnl_create_link(net, ops, request)
    dev.ifindex = request.msg.ifi_index
    register_netdevice(dev)
    try:
        rtnl_configure_link(dev, request.msg)
        if request.msg.master is not None:
            do_set_master(dev, request.msg.master)
    except KernelError:
        unregister_netdevice(dev)
        raise


def rtnl_create_link(net: Net, ops: RtnlLinkOps, request: LinkRequest) -> NetDevice:
    """A device of a kind, not yet registered, with what a request can give it from the start.

    Kernel: net/core/rtnetlink.c, rtnl_create_link().

    Raises:
        KernelError: EINVAL, no number of queues, no MTU; or as validate_linkmsg().
    """
    msg = request.msg
    txqs = _queues(msg.num_tx_queues, "transmit")
    rxqs = _queues(msg.num_rx_queues, "receive")
    name, assigned = (f"{ops.kind}%d", NET_NAME_ENUM) if msg.ifname is None else (msg.ifname, NET_NAME_USER)
    dev = alloc_netdev(net, name, assigned, ops.setup, txqs=txqs, rxqs=rxqs)
    validate_linkmsg(dev, request)
    dev.rtnl_link_ops, dev.rtnl_link_initializing = ops, True
    if msg.mtu is not None:
        dev_validate_mtu(dev, as_int(msg.mtu))
        dev.mtu = msg.mtu
    _fill_in(dev, msg)
    return dev


def _queues(wish: int | None, way: str) -> int:
    if wish is None:
        return 1
    if not 1 <= wish <= _MAX_QUEUES:
        raise KernelError(EINVAL, f"Invalid number of {way} queues")
    return wish


def _fill_in(dev: NetDevice, msg: LinkMsg) -> None:
    if msg.address is not None:
        dev.dev_addr, dev.addr_assign_type = msg.address[: dev.addr_len], NET_ADDR_SET
    if msg.broadcast is not None:
        dev.broadcast = msg.broadcast[: dev.addr_len]
    if msg.txqlen is not None:
        dev.tx_queue_len = msg.txqlen
    if msg.operstate is not None:
        set_operstate(dev, msg.operstate)
    if msg.linkmode is not None:
        dev.link_mode = msg.linkmode
    if msg.group is not None:
        dev_set_group(dev, msg.group)
    set_sizes(dev, msg)


def rtnl_configure_link(dev: NetDevice, msg: LinkMsg) -> None:
    """Set the flags of a device that was just made, and tell of it.

    Kernel: net/core/rtnetlink.c, rtnl_configure_link().

    Raises:
        KernelError: the device could not be opened.
    """
    old_flags = dev.flags
    if msg.ifi_flags or msg.ifi_change:
        dev_change_flags_silently(dev, rtnl_dev_combine_flags(dev, msg))
    dev.rtnl_link_initializing = False
    dev_notify_flags(dev, old_flags, ALL_CHANGED, asked=True)


def rtnl_setlink(net: Net, msg: LinkMsg) -> None:
    """Change a device, as a message wants it that says all there is to say.

    Kernel: net/core/rtnetlink.c, rtnl_setlink().

    Raises:
        KernelError: as setlink().
    """
    setlink(net, LinkRequest.of(msg))


def setlink(net: Net, request: LinkRequest) -> None:
    """Change a device.

    Kernel: net/core/rtnetlink.c, rtnl_setlink().

    Raises:
        KernelError: EINVAL, none is named; ENODEV, there is none; or as do_setlink().
    """
    tgt_net = request.target(net)
    do_setlink(find_link(net, request), tgt_net, request)


def rtnl_dellink(net: Net, msg: LinkMsg) -> None:
    """Delete a device, as a message wants it that says all there is to say.

    Kernel: net/core/rtnetlink.c, rtnl_dellink().

    Raises:
        KernelError: as dellink().
    """
    dellink(net, LinkRequest.of(msg))


def dellink(net: Net, request: LinkRequest) -> None:
    """Delete a device, or all of a group.

    Kernel: net/core/rtnetlink.c, rtnl_dellink(), rtnl_delete_link().

    Raises:
        KernelError: EINVAL, none is named; ENODEV, there is none; EOPNOTSUPP, it was not made by request; EPERM, the
            group is 0, to which all devices belong at first.
    """
    net = request.target(net)
    if not request.names_a_link and request.msg.group is not None:
        _dellink_group(net, request.msg.group)
        return
    dev = find_link(net, request)
    if dev.rtnl_link_ops is None:
        raise KernelError(EOPNOTSUPP)
    unregister_netdevice_many([dev], asked=True)


def _dellink_group(net: Net, group: int) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_group_dellink()."""
    if not group:
        raise KernelError(EPERM)
    devs = [dev for dev in for_each_netdev(net) if dev.group == group]
    if any(dev.rtnl_link_ops is None for dev in devs):
        raise KernelError(EOPNOTSUPP)
    if not devs:
        raise KernelError(ENODEV)
    unregister_netdevice_many(devs)


def find_link(net: Net, request: LinkRequest) -> NetDevice:
    """The device that a request names.

    Kernel: net/core/rtnetlink.c, rtnl_setlink() and kin, each for itself.

    Raises:
        KernelError: EINVAL, none is named; ENODEV, there is none.
    """
    if not request.names_a_link:
        raise KernelError(EINVAL)
    dev = _find_link(net, request)
    if dev is None:
        raise KernelError(ENODEV)
    return dev


# --- alternative names ----------------------------------------------------------------------------------------------

_PROP_LIST_MAX = 0xFFFF


def rtnl_linkprop(net: Net, request: LinkRequest, names: Iterable[str], *, add: bool) -> None:
    """Give a device alternative names, or take them; the first that cannot be ends it, and what was done stays.

    Kernel: net/core/rtnetlink.c, rtnl_linkprop(), rtnl_alt_ifname().

    Args:
        net: the request's namespace.
        request: which names the device.
        names: the names, which are read one by one.
        add: give them (RTM_NEWLINKPROP), or take them (RTM_DELLINKPROP).

    Raises:
        KernelError: as find_link(); EEXIST, a name is taken; ENOENT, there is none; EINVAL, it is another device's, or
            no alternative one, or there are too many.
    """
    dev = find_link(net, request)
    changed = False
    for name in names:
        (_add_altname if add else netdev_name_node_alt_destroy)(dev, name)
        changed = True
    if changed:
        netif_state_change(dev)


def _add_altname(dev: NetDevice, name: str) -> None:
    if _prop_list_size(dev) + _nla_total_size(ALTIFNAMSIZ) >= _PROP_LIST_MAX:
        raise KernelError(EINVAL, "effective property list too long")
    netdev_name_node_alt_create(dev, name)


def _prop_list_size(dev: NetDevice) -> int:
    """Kernel: net/core/rtnetlink.c, rtnl_prop_list_size(): what the alternative names may need in a message."""
    return _nla_total_size(0) + len(dev.altnames) * _nla_total_size(ALTIFNAMSIZ) if dev.altnames else 0


def _nla_total_size(payload: int) -> int:
    return 4 + (payload + 3 & ~3)
