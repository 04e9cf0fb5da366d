"""net/ipv4/devinet.c, net.ipv4.conf.*: the settings of IPv4, their boot values, and what writing them sets off."""

from collections.abc import Callable, Iterator, Mapping
from errno import EACCES, ENOENT
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_name
from addrsvc.model.devinet import inet_netconf_notify_devconf
from addrsvc.model.netdev_chain import for_each_netdev
from addrsvc.model.proc_sysctl import CtlTables, proc_dointvec
from addrsvc.model.structs import InDevice, Ipv4Devconf, Net, NetnsIpv4, PernetOperations
from addrsvc.uapi import NETCONFA_IFINDEX_ALL, NETCONFA_IFINDEX_DEFAULT

__all__ = ["DEVCONF", "DEVCONF_DFLT", "ON_WRITE", "devinet_ops", "devinet_sysctl"]

# Kernel: net/ipv4/devinet.c, ipv4_devconf; include/uapi/linux/ip.h, IPV4_DEVCONF_*, whose order messages keep.
DEVCONF: Final[Mapping[str, int]] = {
    "forwarding": 0,
    "mc_forwarding": 0,
    "proxy_arp": 0,
    "accept_redirects": 1,
    "secure_redirects": 1,
    "send_redirects": 1,
    "shared_media": 1,
    "rp_filter": 0,
    "accept_source_route": 0,
    "bootp_relay": 0,
    "log_martians": 0,
    "tag": 0,
    "arp_filter": 0,
    "medium_id": 0,
    "disable_xfrm": 0,
    "disable_policy": 0,
    "force_igmp_version": 0,
    "arp_announce": 0,
    "arp_ignore": 0,
    "promote_secondaries": 0,
    "arp_accept": 0,
    "arp_notify": 0,
    "accept_local": 0,
    "src_valid_mark": 0,
    "proxy_arp_pvlan": 0,
    "route_localnet": 0,
    "igmpv2_unsolicited_report_interval": 10000,
    "igmpv3_unsolicited_report_interval": 1000,
    "ignore_routes_with_linkdown": 0,
    "drop_unicast_in_l2_multicast": 0,
    "drop_gratuitous_arp": 0,
    "bc_forwarding": 0,
    "arp_evict_nocarrier": 1,
}
# Kernel: net/ipv4/devinet.c, ipv4_devconf_dflt: where it differs from ipv4_devconf.
DEVCONF_DFLT: Final[Mapping[str, int]] = {**DEVCONF, "accept_source_route": 1}

_PREFIX = "net.ipv4.conf."
_IP_FORWARD = "net.ipv4.ip_forward"
_READ_ONLY = frozenset({"mc_forwarding"})
_TOLD = ("rp_filter", "proxy_arp", "ignore_routes_with_linkdown")


class _Target:
    """The table that a name lies in: `all`, `default`, or a device's."""

    __slots__ = ("cnf", "ifindex", "is_all", "is_dflt", "net")

    def __init__(self, net: Net, where: str) -> None:
        self.net, self.is_all, self.is_dflt = net, where == "all", where == "default"
        self.cnf, self.ifindex = self._find(where)

    def _find(self, where: str) -> tuple[Ipv4Devconf, int]:
        if self.is_all:
            return self.net.ipv4.devconf_all, NETCONFA_IFINDEX_ALL
        if self.is_dflt:
            return self.net.ipv4.devconf_dflt, NETCONFA_IFINDEX_DEFAULT
        name = where.replace("/", ".")
        dev = dev_get_by_name(self.net, name)
        if dev is None or dev.name != name or dev.ip_ptr is None:
            raise KernelError(ENOENT)  # an alternative name has no directory
        return dev.ip_ptr.cnf, dev.ifindex

    def say(self, setting: str) -> None:
        inet_netconf_notify_devconf(self.net, self.ifindex, self.cnf, setting)


def _halves(net: Net) -> Iterator[InDevice]:
    """Every IPv4 half of a namespace, in order of registration."""
    return (dev.ip_ptr for dev in for_each_netdev(net) if dev.ip_ptr is not None)


# --- writing --------------------------------------------------------------------------------------------------------


def _devinet_conf_proc(at: _Target, setting: str, text: str) -> None:
    """Write a setting which, in `default`, devices follow that never had it written; a bad number counts as written.

    Kernel: net/ipv4/devinet.c, devinet_conf_proc().
    """
    old = at.cnf[setting]
    try:
        _doint(at, setting, text)
    finally:
        at.cnf.state.add(setting)
        if at.is_dflt:
            _devinet_copy_dflt_conf(at.net, setting)
        if setting in _TOLD and at.cnf[setting] != old:
            at.say(setting)


def _devinet_copy_dflt_conf(net: Net, setting: str) -> None:
    for in_dev in _halves(net):
        if setting not in in_dev.cnf.state:
            in_dev.cnf[setting] = net.ipv4.devconf_dflt[setting]


def _devinet_sysctl_forward(at: _Target, setting: str, text: str) -> None:
    """Kernel: net/ipv4/devinet.c, devinet_sysctl_forward()."""
    old = at.cnf[setting]
    _doint(at, setting, text)
    if at.cnf[setting] == old:
        return
    if at.is_all:
        _inet_forward_change(at.net, at.cnf[setting])
    else:
        at.say(setting)


def _inet_forward_change(net: Net, on: int) -> None:
    """Kernel: net/ipv4/devinet.c, inet_forward_change()."""
    ipv4 = net.ipv4
    ipv4.devconf_all["accept_redirects"] = int(not on)
    ipv4.devconf_dflt["forwarding"] = on
    inet_netconf_notify_devconf(net, NETCONFA_IFINDEX_ALL, ipv4.devconf_all, "forwarding")
    inet_netconf_notify_devconf(net, NETCONFA_IFINDEX_DEFAULT, ipv4.devconf_dflt, "forwarding")
    for in_dev in _halves(net):
        in_dev.cnf["forwarding"] = on
        in_dev.cnf.state.add("forwarding")
        inet_netconf_notify_devconf(net, in_dev.dev.ifindex, in_dev.cnf, "forwarding")


def _doint(at: _Target, setting: str, text: str) -> None:
    """Write a setting, and nothing more.

    Kernel: net/ipv4/devinet.c, ipv4_doint_and_flush(), without the flush: there is no cache of routes.
    """
    if text:
        at.cnf[setting] = proc_dointvec(text)


# One row per setting that is not written as most are.
ON_WRITE: Final[Mapping[str, Callable[[_Target, str, str], None]]] = {
    "forwarding": _devinet_sysctl_forward,
    "disable_policy": _doint,
    "disable_xfrm": _doint,
    "drop_unicast_in_l2_multicast": _doint,
    "promote_secondaries": _doint,
    "route_localnet": _doint,
}


# --- the tables -----------------------------------------------------------------------------------------------------


def _resolve(net: Net, name: str) -> tuple[_Target, str]:
    if name == _IP_FORWARD:
        name = f"{_PREFIX}all.forwarding"
    where, dot, setting = name.removeprefix(_PREFIX).rpartition(".")
    if not name.startswith(_PREFIX) or not dot or setting not in DEVCONF:
        raise KernelError(ENOENT)
    return _Target(net, where), setting


def _names(net: Net) -> list[str]:
    devs = [in_dev.dev.name.replace(".", "/") for in_dev in _halves(net)]
    return [f"{_PREFIX}{where}.{leaf}" for where in ("all", "default", *devs) for leaf in DEVCONF] + [_IP_FORWARD]


def _read(net: Net, name: str) -> str:
    at, setting = _resolve(net, name)
    return str(at.cnf[setting])


def _write(net: Net, name: str, text: str) -> None:
    at, setting = _resolve(net, name)
    if setting in _READ_ONLY:
        raise KernelError(EACCES)
    ON_WRITE.get(setting, _devinet_conf_proc)(at, setting, text)


devinet_sysctl: Final = CtlTables(_names, _read, _write)
"""Kernel: net/ipv4/devinet.c, devinet_sysctl."""


# --- a namespace's own ----------------------------------------------------------------------------------------------


def _devinet_init_net(net: Net) -> None:
    """Take what init_net has now, as net.core.devconf_inherit_init_net says where nobody changed it."""
    init_net = net.machine.net_namespace_list[0]
    if net is init_net:
        net.ipv4 = NetnsIpv4(Ipv4Devconf(DEVCONF), Ipv4Devconf(DEVCONF_DFLT))
        return
    all_, dflt = init_net.ipv4.devconf_all, init_net.ipv4.devconf_dflt
    net.ipv4 = NetnsIpv4(Ipv4Devconf(all_, all_.state), Ipv4Devconf(dflt, dflt.state))


devinet_ops: Final = PernetOperations("devinet_ops", init=_devinet_init_net)
"""IPv4's settings and routes in every namespace.

Kernel: net/ipv4/devinet.c, devinet_ops.
"""
