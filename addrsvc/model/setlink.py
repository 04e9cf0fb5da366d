"""net/core/rtnetlink.c, do_setlink() and what it is made of: how one request changes a device, step by step."""

from collections.abc import Callable
from errno import EAFNOSUPPORT, EBADF, EINVAL, EOPNOTSUPP
from typing import Final, TypeAlias

from addrsvc.errors import KernelError
from addrsvc.model.dev import (
    dev_change_flags,
    dev_change_net_namespace,
    dev_get_by_index,
    netif_state_change,
)
from addrsvc.model.dev_api import (
    dev_change_name,
    dev_change_tx_queue_len,
    dev_set_alias,
    dev_set_broadcast,
    dev_set_group,
    dev_set_mac_address,
    dev_set_mtu,
    netif_change_carrier,
    set_operstate,
)
from addrsvc.model.link_request import LinkAf, LinkRequest, XdpWish
from addrsvc.model.rtnl import printk
from addrsvc.model.structs import Net, NetDevice, RtnlAfOps
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import GRO_MAX_SIZE, GSO_LEGACY_MAX_SIZE, GSO_MAX_SEGS, IFF_ALLMULTI, IFF_PROMISC, INT_MAX

__all__ = [
    "DO_SETLINK_NOTIFY", "as_int", "do_set_master", "do_setlink", "rtnl_dev_combine_flags", "set_sizes",
    "validate_linkmsg",
]  # fmt: skip

_GFLAGS = IFF_PROMISC | IFF_ALLMULTI  # what the user asked for counts, not what the device does
_MODIFIED = 1
DO_SETLINK_NOTIFY: Final = 3


def as_int(value: int) -> int:
    """An unsigned number as the signed one that the kernel takes it for.  Ours."""
    return value - (1 << 32) if value > INT_MAX else value


# --- before anything is changed -------------------------------------------------------------------------------------


def validate_linkmsg(dev: NetDevice, request: LinkRequest) -> None:
    """Refuse what cannot be granted before anything is changed.

    Kernel: net/core/rtnetlink.c, validate_linkmsg().

    Raises:
        KernelError: EINVAL, a short address or a size beyond the device's; or the address family's own refusal.
    """
    msg = request.msg
    for addr in (msg.address, msg.broadcast):
        if addr is not None and len(addr) < dev.addr_len:
            raise KernelError(EINVAL)
    for name, most in (
        ("gso_max_size", dev.tso_max_size),
        ("gso_max_segs", min(GSO_MAX_SEGS, dev.tso_max_segs)),
        ("gro_max_size", GRO_MAX_SIZE),
        ("gso_ipv4_max_size", dev.tso_max_size),
        ("gro_ipv4_max_size", GRO_MAX_SIZE),
    ):
        if (getattr(msg, name) or 0) > most:
            raise KernelError(EINVAL, f"too big {name}")
    for af in request.af_spec:
        ops = _af_ops(dev, af.family)
        if ops.set_link_af is None:
            raise KernelError(EOPNOTSUPP)
        if ops.validate_link_af is not None:
            ops.validate_link_af(dev, af.read)


def _af_ops(dev: NetDevice, family: int) -> RtnlAfOps:
    """Kernel: net/core/rtnetlink.c, rtnl_af_lookup()."""
    ops = dev.machine.rtnl_af_ops.get(family)
    if ops is None:
        raise KernelError(EAFNOSUPPORT)
    return ops


# --- one step each --------------------------------------------------------------------------------------------------


def _set_map(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.map is not None:
        raise KernelError(EOPNOTSUPP)
    return 0


def _set_address(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.address is None:
        return 0
    dev_set_mac_address(dev, request.msg.address)
    return _MODIFIED


def _set_mtu(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.mtu is None:
        return 0
    dev_set_mtu(dev, as_int(request.msg.mtu))
    return _MODIFIED


def _set_group(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.group is None:
        return 0
    dev_set_group(dev, request.msg.group)
    return DO_SETLINK_NOTIFY


def _set_name(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.ifi_index <= 0 or not request.msg.ifname:
        return 0
    dev_change_name(dev, request.msg.ifname)
    return _MODIFIED


def _set_alias(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.ifalias is None:
        return 0
    dev_set_alias(dev, request.msg.ifalias)
    return DO_SETLINK_NOTIFY


def _set_broadcast(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.broadcast is not None:
        dev_set_broadcast(dev, request.msg.broadcast)
    return 0


def _set_flags(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.ifi_flags or request.msg.ifi_change:
        dev_change_flags(dev, rtnl_dev_combine_flags(dev, request.msg))
    return 0


def rtnl_dev_combine_flags(dev: NetDevice, msg: LinkMsg) -> int:
    """The flags that a request makes of a device's; no mask means all of them.

    Kernel: net/core/rtnetlink.c, rtnl_dev_combine_flags(), rtnl_dev_get_flags().
    """
    mask = msg.ifi_change or 0xFFFFFFFF
    current = dev.flags & ~_GFLAGS | dev.gflags & _GFLAGS
    return msg.ifi_flags & mask | current & ~mask


def _set_master(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.master is None:
        return 0
    do_set_master(dev, request.msg.master)
    return _MODIFIED


def do_set_master(dev: NetDevice, ifindex: int) -> None:
    """Put a device under another one, 0 for none.

    Kernel: net/core/rtnetlink.c, do_set_master().
    Differs: no device of the model takes others under it.

    Raises:
        KernelError: EINVAL, there is none of that index; EOPNOTSUPP, it takes none.
    """
    if ifindex:
        raise KernelError(EINVAL if dev_get_by_index(dev.net, as_int(ifindex)) is None else EOPNOTSUPP)


def _set_carrier(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.carrier is None:
        return 0
    netif_change_carrier(dev, new_carrier=bool(request.msg.carrier))
    return _MODIFIED


def _set_txqlen(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.txqlen is None:
        return 0
    dev_change_tx_queue_len(dev, request.msg.txqlen)
    return _MODIFIED


def _set_sizes(dev: NetDevice, request: LinkRequest) -> int:
    return _MODIFIED * set_sizes(dev, request.msg)


def set_sizes(dev: NetDevice, msg: LinkMsg) -> bool:
    """Set the sizes that segments may have; one that IPv4 can have too is IPv4's as well.  True if any changed.

    Kernel: net/core/dev.c, netif_set_gso_max_size() and kin.
    """
    changed = False
    for name in ("gso_max_size", "gso_max_segs", "gro_max_size", "gso_ipv4_max_size", "gro_ipv4_max_size"):
        value = getattr(msg, name)
        if value is None or value == getattr(dev, name):
            continue
        changed = True
        setattr(dev, name, value)
        if name in _IPV4_TOO and value <= GSO_LEGACY_MAX_SIZE:
            setattr(dev, _IPV4_TOO[name], value)
    return changed


_IPV4_TOO: Final = {"gso_max_size": "gso_ipv4_max_size", "gro_max_size": "gro_ipv4_max_size"}


def _set_operstate(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.operstate is not None:
        set_operstate(dev, request.msg.operstate)
    return 0


def _set_linkmode(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.linkmode is None or request.msg.linkmode == dev.link_mode:
        return 0
    dev.link_mode = request.msg.linkmode
    return DO_SETLINK_NOTIFY


def _set_vfinfo(dev: NetDevice, request: LinkRequest) -> int:
    if request.vfinfo is not None:
        request.vfinfo()
    return 0


def _set_vf_ports(dev: NetDevice, request: LinkRequest) -> int:
    if request.has_vf_ports:
        raise KernelError(EOPNOTSUPP)
    return 0


def _set_port_self(dev: NetDevice, request: LinkRequest) -> int:
    if request.port_self is None:
        return 0
    request.port_self()
    raise KernelError(EOPNOTSUPP)


def _set_link_af(af: LinkAf) -> "_Step":
    """A step for each family: what the first has set stays, and is told, where the second refuses."""

    def step(dev: NetDevice, request: LinkRequest) -> int:
        set_link_af = _af_ops(dev, af.family).set_link_af
        assert set_link_af is not None, "validate_linkmsg() let it pass"
        set_link_af(dev, af.read)
        return DO_SETLINK_NOTIFY

    return step


def _set_proto_down(dev: NetDevice, request: LinkRequest) -> int:
    if request.msg.proto_down is not None or request.has_proto_down_reason:
        raise KernelError(EOPNOTSUPP, "Protodown not supported by device")
    return 0


_XDP_FLAGS_MODES = 0x0E
_XDP_FLAGS_REPLACE = 0x10
_XDP_FLAGS_MASK = 0x1F


def _set_xdp(dev: NetDevice, request: LinkRequest) -> int:
    return 0 if request.xdp is None else _change_xdp(request.xdp())


def _change_xdp(wish: XdpWish) -> int:
    """Kernel: net/core/dev.c, dev_change_xdp_fd(): there are no programs here, so only to take one off works."""
    if wish.reads_only or wish.flags & ~_XDP_FLAGS_MASK or (wish.flags & _XDP_FLAGS_MODES).bit_count() > 1:
        raise KernelError(EINVAL)
    if wish.fd is None:
        return 0
    replaces = bool(wish.flags & _XDP_FLAGS_REPLACE)
    if replaces and wish.expected_fd is None:
        raise KernelError(EINVAL)
    if wish.fd >= 0 or (replaces and wish.expected_fd is not None and wish.expected_fd >= 0):
        raise KernelError(EBADF)
    return DO_SETLINK_NOTIFY


_Step: TypeAlias = Callable[[NetDevice, LinkRequest], int]

# The order in which one request changes a device; a refusal leaves the earlier changes in place.
_BEFORE_AF_SPEC: Final[tuple[_Step, ...]] = (
    _set_map, _set_address, _set_mtu, _set_group, _set_name, _set_alias, _set_broadcast, _set_flags, _set_master,
    _set_carrier, _set_txqlen, _set_sizes, _set_operstate, _set_linkmode, _set_vfinfo, _set_vf_ports, _set_port_self,
)  # fmt: skip
_BEHIND_AF_SPEC: Final[tuple[_Step, ...]] = (_set_proto_down, _set_xdp)


def do_setlink(dev: NetDevice, tgt_net: Net, request: LinkRequest, status: int = 0) -> None:
    """Change what the request names, in the kernel's order, and tell of it once where the single change does not.

    Kernel: net/core/rtnetlink.c, do_setlink().
    Differs: the warning that a failed request changed something is not rate limited.

    Args:
        dev: the device.
        tgt_net: the namespace that it is to be in.
        request: what is wanted.
        status: what was done before: 0 or DO_SETLINK_NOTIFY.

    Raises:
        KernelError: the refusal of the step that failed.
    """
    validate_linkmsg(dev, request)
    if tgt_net is not dev.net:
        dev_change_net_namespace(dev, tgt_net, request.msg.ifname or None, request.msg.new_ifindex or 0)
        status |= _MODIFIED
    try:
        for step in (*_BEFORE_AF_SPEC, *map(_set_link_af, request.af_spec), *_BEHIND_AF_SPEC):
            status |= step(dev, request)
    except KernelError:
        _notify(dev, status)
        if status:
            printk(dev.machine, "warning", _LEFT_IN_PIECES.format(dev.name))
        raise
    _notify(dev, status)


def _notify(dev: NetDevice, status: int) -> None:
    if status & DO_SETLINK_NOTIFY == DO_SETLINK_NOTIFY:
        netif_state_change(dev)


_LEFT_IN_PIECES = (
    "A link change request failed with some changes committed already. "
    "Interface {} may have been left with an inconsistent configuration, please check."
)
