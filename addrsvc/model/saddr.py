"""net/ipv6/addrconf.c, ipv6_dev_get_saddr() and net/ipv4/devinet.c, inet_select_addr(): which source a packet has."""

from collections.abc import Callable, Iterator
from typing import Final

from addrsvc.model.addrconf_core import ipv6_addr_is_multicast, ipv6_addr_src_scope
from addrsvc.model.addrlabel import ipv6_addr_label, label_type
from addrsvc.model.fib_frontend import inet_ifa_match
from addrsvc.model.ifaddr import inet6_addr_list
from addrsvc.model.netdev_chain import for_each_netdev
from addrsvc.model.structs import InDevice, Inet6Dev, Inet6Ifaddr, Net, NetDevice
from addrsvc.uapi import (
    IFA_F_DEPRECATED,
    IFA_F_OPTIMISTIC,
    IFA_F_SECONDARY,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
)

__all__ = ["inet_select_addr", "ipv6_dev_get_saddr"]

_SCOPE_LINKLOCAL: Final = 2
_TOO_SMALL: Final = 128
_ORCHID: Final = (0x20010010, 0xFFFFFFF0)


class _Destination:
    """struct ipv6_saddr_dst."""

    __slots__ = ("addr", "ifindex", "label", "net", "scope")

    def __init__(self, net: Net, addr: bytes, dev: NetDevice | None) -> None:
        self.net, self.addr = net, addr
        self.ifindex = dev.ifindex if dev is not None else 0
        self.scope = ipv6_addr_src_scope(addr)
        self.label = ipv6_addr_label(net, addr, self.ifindex)


# --- the rules, each a number: more is better -------------------------------------------------------------------------


def _same_address(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    return ifp.addr == dst.addr


def _scope(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    scope = ipv6_addr_src_scope(ifp.addr)
    return -scope if scope >= dst.scope else scope - _TOO_SMALL


def _preferred(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    avoid = IFA_F_DEPRECATED
    if not (dst.net.ipv6.devconf_all["use_optimistic"] or ifp.idev.cnf["use_optimistic"]):
        avoid |= IFA_F_OPTIMISTIC
    return bool(label_type(ifp.addr)) or not ifp.flags & avoid


def _outgoing_interface(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    return dst.ifindex in (0, ifp.idev.dev.ifindex)


def _label(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    return ipv6_addr_label(dst.net, ifp.addr, ifp.idev.dev.ifindex) == dst.label


def _privacy(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    wants_temporary = ifp.idev.cnf["use_tempaddr"] >= 2
    return bool(ifp.flags & IFA_F_TEMPORARY) == wants_temporary


def _orchid(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    return _is_orchid(ifp.addr) == _is_orchid(dst.addr)


def _is_orchid(addr: bytes) -> bool:
    prefix, mask = _ORCHID
    return int.from_bytes(addr[:4]) & mask == prefix


def _matching_prefix(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    differs = int.from_bytes(ifp.addr) ^ int.from_bytes(dst.addr)
    return min(128 - differs.bit_length(), ifp.prefix_len)


def _not_optimistic(ifp: Inet6Ifaddr, dst: _Destination) -> int:
    return not ifp.flags & IFA_F_OPTIMISTIC


# Kernel: net/ipv6/addrconf.c, IPV6_SADDR_RULE_*, in order; without mobile IPv6.
_RULES: Final[tuple[Callable[[Inet6Ifaddr, _Destination], int], ...]] = (
    _same_address, _scope, _preferred, _outgoing_interface, _label, _privacy, _orchid, _matching_prefix,
    _not_optimistic,
)  # fmt: skip


def _candidates(net: Net, dst: _Destination, dev: NetDevice | None) -> Iterator[Inet6Ifaddr]:
    for idev in _halves(net, dst, dev):
        for ifp in inet6_addr_list(idev):
            tentative = ifp.flags & IFA_F_TENTATIVE and not ifp.flags & IFA_F_OPTIMISTIC
            if not tentative and not ipv6_addr_is_multicast(ifp.addr):
                yield ifp


def _halves(net: Net, dst: _Destination, dev: NetDevice | None) -> Iterator[Inet6Dev]:
    """Only the outgoing device counts for groups and on a link, and where it says so."""
    if dev is not None:
        idev = dev.ip6_ptr
        local = ipv6_addr_is_multicast(dst.addr) or dst.scope <= _SCOPE_LINKLOCAL
        if local or (idev is not None and idev.cnf["use_oif_addrs_only"]):
            yield from () if idev is None else (idev,)
            return
    yield from (each.ip6_ptr for each in for_each_netdev(net) if each.ip6_ptr is not None)


def ipv6_dev_get_saddr(net: Net, dev: NetDevice | None, daddr: bytes) -> bytes | None:
    """The source for packets to an address over a device, or None if there is none.

    Kernel: net/ipv6/addrconf.c, ipv6_dev_get_saddr(), without preferences of a socket.
    """
    dst = _Destination(net, daddr, dev)
    candidates = list(_candidates(net, dst, dev))
    if len(candidates) < 2:
        return candidates[0].addr if candidates else None
    return max(candidates, key=lambda ifp: [rule(ifp, dst) for rule in _RULES]).addr


# --- IPv4 -------------------------------------------------------------------------------------------------------------


def inet_select_addr(dev: NetDevice, dst: bytes, scope: int) -> bytes:
    """The source for packets to an address over a device, 0.0.0.0 if there is none.

    Kernel: net/ipv4/devinet.c, inet_select_addr().
    """
    own = _own_address(dev.ip_ptr, dst, scope) if dev.ip_ptr is not None else bytes(4)
    if any(own):
        return own
    halves = (each.ip_ptr for each in for_each_netdev(dev.net) if each.ip_ptr is not None)
    return next((addr for half in halves if (addr := _any_address(half, scope))), bytes(4))


def _own_address(in_dev: InDevice, dst: bytes, scope: int) -> bytes:
    """That of the destination's subnet, else the first of those that may be."""
    localnet = in_dev.dev.net.ipv4.devconf_all["route_localnet"] or in_dev.cnf["route_localnet"]
    localnet_scope = RT_SCOPE_LINK if localnet else RT_SCOPE_HOST
    primaries = [ifa for ifa in in_dev.ifa_list if not ifa.ifa_flags & IFA_F_SECONDARY]
    fit = [ifa for ifa in primaries if min(ifa.ifa_scope, localnet_scope) <= scope]
    first = fit[0].ifa_local if fit else bytes(4)
    return next((ifa.ifa_local for ifa in fit if not any(dst) or inet_ifa_match(dst, ifa)), first)


def _any_address(in_dev: InDevice, scope: int) -> bytes | None:
    """Kernel: net/ipv4/devinet.c, in_dev_select_addr()."""
    for ifa in in_dev.ifa_list:
        if not ifa.ifa_flags & IFA_F_SECONDARY and ifa.ifa_scope != RT_SCOPE_LINK and ifa.ifa_scope <= scope:
            return ifa.ifa_local
    return None
