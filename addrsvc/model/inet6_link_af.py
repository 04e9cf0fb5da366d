"""net/ipv6/addrconf.c, what a link message may want of IPv6 (IFLA_AF_SPEC): the token and how addresses are made."""

from errno import EAFNOSUPPORT, EINVAL

from addrsvc.errors import KernelError
from addrsvc.model.inet6_dev import (
    check_addr_gen_mode,
    check_stable_privacy,
    inet6_fill_link_af,
    inet6_ifinfo_notify,
)
from addrsvc.model.router_solicit import addrconf_ask_again, ipv6_accept_ra
from addrsvc.model.structs import AfReader, Inet6Dev, NetDevice, RtnlAfOps
from addrsvc.netlink.messages import Inet6LinkInfo
from addrsvc.uapi import IFF_LOOPBACK, IFF_NOARP

__all__ = ["inet6_ops", "inet6_set_iftoken", "inet6_set_link_af", "inet6_validate_link_af"]


def _wanted(dev: NetDevice, read: AfReader) -> tuple[Inet6Dev, Inet6LinkInfo]:
    if dev.ip6_ptr is None:
        raise KernelError(EAFNOSUPPORT)
    wish = read()
    assert isinstance(wish, Inet6LinkInfo), "each family reads its own"
    return dev.ip6_ptr, wish


def inet6_validate_link_af(dev: NetDevice, read: AfReader) -> None:
    """Check what a link message wants of IPv6.

    Kernel: net/ipv6/addrconf.c, inet6_validate_link_af().

    Raises:
        KernelError: EAFNOSUPPORT, the device has no IPv6; EINVAL, nothing or nothing possible is wanted.
    """
    idev, wanted = _wanted(dev, read)
    if wanted.addr_gen_mode is None and wanted.token is None:
        raise KernelError(EINVAL)
    if wanted.addr_gen_mode is not None:
        check_addr_gen_mode(wanted.addr_gen_mode)
        check_stable_privacy(idev, wanted.addr_gen_mode)


def inet6_set_link_af(dev: NetDevice, read: AfReader) -> None:
    """Set the token, then the address generation mode; no address is made by that.

    Kernel: net/ipv6/addrconf.c, inet6_set_link_af().

    Raises:
        KernelError: as inet6_set_iftoken().
    """
    idev, wanted = _wanted(dev, read)
    if wanted.token is not None:
        inet6_set_iftoken(idev, wanted.token)
    if wanted.addr_gen_mode is not None:
        idev.cnf["addr_gen_mode"] = wanted.addr_gen_mode


def inet6_set_iftoken(idev: Inet6Dev, token: bytes) -> None:
    """Set the lower half of the addresses that router advertisements make; all zeros for none.

    Kernel: net/ipv6/addrconf.c, inet6_set_iftoken().
    Differs: no address is ever made of it.

    Raises:
        KernelError: EINVAL, the device would never hear a router.
    """
    for never, why in (
        (idev.dev.flags & IFF_LOOPBACK, "Device is loopback"),
        (idev.dev.flags & IFF_NOARP, "Device does not do neighbour discovery"),
        (not ipv6_accept_ra(idev), "Router advertisement is disabled on device"),
        (not idev.cnf["router_solicitations"], "Router solicitation is disabled on device"),
    ):
        if never:
            raise KernelError(EINVAL, f"ipv6: {why}")
    idev.token = bytes(8) + token[8:16]
    if any(token):
        addrconf_ask_again(idev)
    inet6_ifinfo_notify(idev)


inet6_ops = RtnlAfOps(inet6_fill_link_af, inet6_validate_link_af, inet6_set_link_af)
"""Kernel: net/ipv6/addrconf.c, inet6_ops."""
