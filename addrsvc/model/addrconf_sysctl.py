"""net/ipv6/addrconf.c, net.ipv6.conf.*: the settings of IPv6, their boot values, and what writing them sets off."""

from collections.abc import Callable, Mapping
from errno import EACCES, EINVAL, EIO, ENOENT
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf import addrconf_init_auto_addrs, dev_disable_change, dev_forward_change
from addrsvc.model.dev import dev_get_by_name
from addrsvc.model.inet6_dev import (
    FORWARDING_IFINDEX,
    check_addr_gen_mode,
    check_stable_privacy,
    inet6_netconf_notify_devconf,
)
from addrsvc.model.netdev_chain import for_each_netdev
from addrsvc.model.proc_sysctl import S32, U32, WHITE, CtlTables, first_number, proc_dointvec
from addrsvc.model.structs import Inet6Dev, Net
from addrsvc.model.timer import HZ
from addrsvc.uapi import IN6_ADDR_GEN_MODE_STABLE_PRIVACY, INT_MAX, IPV6_MIN_MTU

__all__ = ["DEVCONF", "DEVCONF_DFLT", "ON_WRITE", "addrconf_sysctl"]

# Kernel: net/ipv6/addrconf.c, ipv6_devconf.
DEVCONF: Final[Mapping[str, int]] = {
    "accept_dad": 0,
    "accept_ra": 1,
    "accept_ra_defrtr": 1,
    "accept_ra_from_local": 0,
    "accept_ra_min_hop_limit": 1,
    "accept_ra_min_lft": 0,
    "accept_ra_mtu": 1,
    "accept_ra_pinfo": 1,
    "accept_ra_rt_info_max_plen": 0,
    "accept_ra_rt_info_min_plen": 0,
    "accept_ra_rtr_pref": 1,
    "accept_redirects": 1,
    "accept_source_route": 0,
    "accept_untracked_na": 0,
    "addr_gen_mode": 0,
    "autoconf": 1,
    "dad_transmits": 1,
    "disable_ipv6": 0,
    "disable_policy": 0,
    "drop_unicast_in_l2_multicast": 0,
    "drop_unsolicited_na": 0,
    "enhanced_dad": 1,
    "force_forwarding": 0,
    "force_mld_version": 0,
    "force_tllao": 0,
    "forwarding": 0,
    "hop_limit": 64,
    "ignore_routes_with_linkdown": 0,
    "ioam6_enabled": 0,
    "ioam6_id": 65535,
    "ioam6_id_wide": 4294967295,
    "keep_addr_on_down": 0,
    "max_addresses": 16,
    "max_desync_factor": 600,
    "mc_forwarding": 0,
    "mldv1_unsolicited_report_interval": 10000,
    "mldv2_unsolicited_report_interval": 1000,
    "mtu": 1280,
    "ndisc_evict_nocarrier": 1,
    "ndisc_notify": 0,
    "ndisc_tclass": 0,
    "optimistic_dad": 0,
    "proxy_ndp": 0,
    "ra_defrtr_metric": 1024,
    "ra_honor_pio_life": 0,
    "ra_honor_pio_pflag": 0,
    "regen_max_retry": 3,
    "regen_min_advance": 2,
    "router_probe_interval": 60,
    "router_solicitation_delay": 1,
    "router_solicitation_interval": 4,
    "router_solicitation_max_interval": 3600,
    "router_solicitations": -1,
    "rpl_seg_enabled": 0,
    "seg6_enabled": 0,
    "seg6_require_hmac": 0,
    "suppress_frag_ndisc": 1,
    "temp_prefered_lft": 86400,
    "temp_valid_lft": 604800,
    "use_oif_addrs_only": 0,
    "use_optimistic": 0,
    "use_tempaddr": 0,
}
# Kernel: net/ipv6/addrconf.c, ipv6_devconf_dflt: where it differs from ipv6_devconf.
DEVCONF_DFLT: Final[Mapping[str, int]] = {**DEVCONF, "accept_dad": 1}

_READ_ONLY = frozenset({"mc_forwarding"})
_MILLISECONDS = frozenset({"mldv1_unsolicited_report_interval", "mldv2_unsolicited_report_interval"})
_MS_PER_JIFFY = 1000 // HZ
_SECONDS = (-(INT_MAX // HZ), INT_MAX // HZ)
# What a setting takes, where that is less than any signed number of 32 bits.
_RANGE: Final[Mapping[str, tuple[int, int]]] = {
    "accept_untracked_na": (0, 2),
    "addr_gen_mode": U32,
    "force_forwarding": (0, 1),
    "hop_limit": (1, 255),
    "ioam6_enabled": (0, 1),
    "ioam6_id": (0, 0xFFFF),
    "ioam6_id_wide": U32,
    "ndisc_evict_nocarrier": (0, 1),
    "ndisc_tclass": (0, 255),
    "ra_defrtr_metric": (1, 0xFFFFFFFF),
    "ra_honor_pio_life": (0, 1),
    "ra_honor_pio_pflag": (0, 1),
    "router_probe_interval": _SECONDS,
    "router_solicitation_delay": _SECONDS,
    "router_solicitation_interval": _SECONDS,
    "router_solicitation_max_interval": _SECONDS,
    "router_solicitations": (-1, INT_MAX),
    "rpl_seg_enabled": (0, 1),
    "skip_notify_on_dev_down": (0, 1),
}
_PREFIX = "net.ipv6.conf."
_SKIP_NOTIFY = "net.ipv6.route.skip_notify_on_dev_down"
_SECRET = "stable_secret"
# Settings that a write without a number puts in force once more.
_REAPPLIED = frozenset({"disable_ipv6", "forwarding", "addr_gen_mode", "ignore_routes_with_linkdown"})


class _Target:
    """The table that a name lies in: `all`, `default`, or a device's."""

    __slots__ = ("cnf", "idev", "net", "where")

    def __init__(self, net: Net, where: str) -> None:
        self.net, self.where = net, where
        self.idev: Inet6Dev | None = None
        ipv6 = net.ipv6
        if where in FORWARDING_IFINDEX:
            self.cnf = ipv6.devconf_all if where == "all" else ipv6.devconf_dflt
            return
        name = where.replace("/", ".")
        dev = dev_get_by_name(net, name)
        if dev is None or dev.name != name or dev.ip6_ptr is None or not dev.ip6_ptr.sysctl_registered:
            raise KernelError(ENOENT)  # an alternative name has no directory
        self.idev, self.cnf = dev.ip6_ptr, dev.ip6_ptr.cnf

    def halves(self) -> list[Inet6Dev]:
        """Every IPv6 half of the namespace, in order of registration."""
        return [dev.ip6_ptr for dev in for_each_netdev(self.net) if dev.ip6_ptr is not None]


# --- what writing sets off ------------------------------------------------------------------------------------------


def _write_disable_ipv6(at: _Target, new: int) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_disable_ipv6(), addrconf_disable_change()."""
    old, at.cnf["disable_ipv6"] = at.cnf["disable_ipv6"], new
    if at.where == "all":
        at.net.ipv6.devconf_dflt["disable_ipv6"] = new
        for idev in at.halves():
            _switch_disable(idev, idev.cnf["disable_ipv6"], new)
    elif at.idev is not None:
        _switch_disable(at.idev, old, new)


def _switch_disable(idev: Inet6Dev, old: int, new: int) -> None:
    idev.cnf["disable_ipv6"] = new
    if bool(old) != bool(new):
        dev_disable_change(idev)


def _write_forwarding(at: _Target, new: int) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_fixup_forwarding(), addrconf_forward_change()."""
    old, at.cnf["forwarding"] = at.cnf["forwarding"], new
    if at.idev is not None:
        _switch_forwarding(at.idev, old, new)
        return
    if at.where == "all":
        dflt = at.net.ipv6.devconf_dflt
        old_dflt, dflt["forwarding"] = dflt["forwarding"], new
        _say_forwarding(at.net, "default", old_dflt, new)
        for idev in at.halves():
            _switch_forwarding(idev, idev.cnf["forwarding"], new)
    _say_forwarding(at.net, at.where, old, new)


def _switch_forwarding(idev: Inet6Dev, old: int, new: int) -> None:
    idev.cnf["forwarding"] = new
    if bool(old) != bool(new):
        dev_forward_change(idev)


def _say_forwarding(net: Net, where: str, old: int, new: int) -> None:
    if bool(old) != bool(new):
        inet6_netconf_notify_devconf(net, FORWARDING_IFINDEX[where], forwarding=new)


def _write_addr_gen_mode(at: _Target, new: int) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_sysctl_addr_gen_mode()."""
    check_addr_gen_mode(new)
    if at.idev is not None:
        check_stable_privacy(at.idev, new)
        _switch_gen_mode(at.idev, new)
    elif at.where == "all":
        at.net.ipv6.devconf_dflt["addr_gen_mode"] = new
        for idev in at.halves():
            _switch_gen_mode(idev, new)
    at.cnf["addr_gen_mode"] = new


def _switch_gen_mode(idev: Inet6Dev, new: int) -> None:
    if idev.cnf["addr_gen_mode"] != new:
        idev.cnf["addr_gen_mode"] = new
        addrconf_init_auto_addrs(idev.dev)


def _write_mtu(at: _Target, new: int) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_sysctl_mtu()."""
    if new < IPV6_MIN_MTU or (at.idev is not None and new > at.idev.dev.mtu):
        raise KernelError(EINVAL)
    at.cnf["mtu"] = new


def _write_proxy_ndp(at: _Target, new: int) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_sysctl_proxy_ndp()."""
    _write_and_say(at, "proxy_ndp", "proxy_neigh", new)


def _write_ignore_routes(at: _Target, new: int) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_fixup_linkdown(), addrconf_linkdown_change()."""
    name = "ignore_routes_with_linkdown"
    old, at.cnf[name] = at.cnf[name], new
    if at.where == "all":
        at.net.ipv6.devconf_dflt[name] = new
        for idev in at.halves():
            changed, idev.cnf[name] = bool(idev.cnf[name]) != bool(new), new
            if changed:
                _say(at.net, idev.dev.ifindex, name, new)
    if bool(old) != bool(new):
        _say(at.net, _ifindex(at), name, new)


def _write_force_forwarding(at: _Target, new: int) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_sysctl_force_forwarding().  What is said does not tell the value."""
    old, at.cnf["force_forwarding"] = at.cnf["force_forwarding"], new
    if old == new:
        return
    inet6_netconf_notify_devconf(at.net, _ifindex(at))
    for idev in at.halves() if at.where == "all" else ():
        if idev.cnf["force_forwarding"] != new:
            idev.cnf["force_forwarding"] = new
            inet6_netconf_notify_devconf(at.net, idev.dev.ifindex)


def _write_and_say(at: _Target, name: str, told: str, new: int) -> None:
    old, at.cnf[name] = at.cnf[name], new
    if old != new:
        _say(at.net, _ifindex(at), told, new)


def _ifindex(at: _Target) -> int:
    return at.idev.dev.ifindex if at.idev is not None else FORWARDING_IFINDEX[at.where]


def _say(net: Net, ifindex: int, told: str, value: int) -> None:
    inet6_netconf_notify_devconf(net, ifindex, **{told: value})


# One row per setting whose writing does more than change it.
ON_WRITE: Final[Mapping[str, Callable[[_Target, int], None]]] = {
    "disable_ipv6": _write_disable_ipv6,
    "forwarding": _write_forwarding,
    "addr_gen_mode": _write_addr_gen_mode,
    "mtu": _write_mtu,
    "proxy_ndp": _write_proxy_ndp,
    "ignore_routes_with_linkdown": _write_ignore_routes,
    "force_forwarding": _write_force_forwarding,
}


# --- the secret -----------------------------------------------------------------------------------------------------


def _read_secret(at: _Target) -> str:
    if at.where == "all" or at.cnf.stable_secret is None:
        raise KernelError(EIO)
    return IPv6Address(at.cnf.stable_secret).exploded


def _write_secret(at: _Target, text: str) -> None:
    """Kernel: net/ipv6/addrconf.c, addrconf_sysctl_stable_secret()."""
    try:
        secret = IPv6Address(text.strip(WHITE)).packed
    except AddressValueError:
        raise KernelError(EIO) from None
    if at.where == "all":
        raise KernelError(EIO)
    at.cnf.stable_secret = secret
    for idev in at.halves() if at.idev is None else [at.idev]:
        idev.cnf["addr_gen_mode"] = IN6_ADDR_GEN_MODE_STABLE_PRIVACY


# --- reading and writing ----------------------------------------------------------------------------------------------


def _resolve(net: Net, name: str) -> tuple[_Target, str]:
    where, dot, leaf = name.removeprefix(_PREFIX).rpartition(".")
    if not name.startswith(_PREFIX) or not dot or leaf not in (*DEVCONF, _SECRET):
        raise KernelError(ENOENT)
    return _Target(net, where), leaf


def _names(net: Net) -> list[str]:
    devs = [idev.dev.name.replace(".", "/") for idev in _Target(net, "all").halves() if idev.sysctl_registered]
    return [f"{_PREFIX}{where}.{leaf}" for where in ("all", "default", *devs) for leaf in DEVCONF] + [_SKIP_NOTIFY]


def _read(net: Net, name: str) -> str:
    if name == _SKIP_NOTIFY:
        return str(net.ipv6.skip_notify_on_dev_down)
    at, leaf = _resolve(net, name)
    return _read_secret(at) if leaf == _SECRET else str(at.cnf[leaf])


def _write(net: Net, name: str, text: str) -> None:
    if name == _SKIP_NOTIFY:
        _write_skip_notify(net, text)
        return
    at, leaf = _resolve(net, name)
    if leaf in _READ_ONLY:
        raise KernelError(EACCES)
    if leaf == _SECRET:
        _write_secret(at, text)
    elif text:
        _store(at, leaf, _parse(leaf, text))
    elif leaf in _REAPPLIED:
        _store(at, leaf, at.cnf[leaf])


def _parse(leaf: str, text: str) -> int:
    if leaf in _MILLISECONDS:
        return _in_jiffies(first_number(text) & 0xFFFFFFFF)
    return proc_dointvec(text, _RANGE.get(leaf, S32))


def _in_jiffies(milliseconds: int) -> int:
    """Milliseconds, rounded up to whole jiffies, which is how they are kept (proc_dointvec_ms_jiffies)."""
    if milliseconds > INT_MAX:
        raise KernelError(EINVAL)
    return -(-milliseconds // _MS_PER_JIFFY) * _MS_PER_JIFFY


def _store(at: _Target, leaf: str, value: int) -> None:
    act = ON_WRITE.get(leaf)
    if act is not None:
        act(at, value)
    else:
        at.cnf[leaf] = value


def _write_skip_notify(net: Net, text: str) -> None:
    if text:
        net.ipv6.skip_notify_on_dev_down = _parse("skip_notify_on_dev_down", text)


addrconf_sysctl: Final = CtlTables(_names, _read, _write)
"""Kernel: net/ipv6/addrconf.c, addrconf_sysctl."""
