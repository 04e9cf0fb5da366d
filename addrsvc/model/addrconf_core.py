"""net/ipv6/addrconf_core.c: what kind of address it is, and the chains that hear of IPv6 addresses."""

from functools import lru_cache

from addrsvc.model.notifier import (
    NotifierBlock,
    atomic_notifier_call_chain,
    atomic_notifier_chain_register,
    atomic_notifier_chain_unregister,
    blocking_notifier_call_chain,
    blocking_notifier_chain_register,
    blocking_notifier_chain_unregister,
)
from addrsvc.model.structs import In6ValidatorInfo, Inet6Ifaddr, Machine
from addrsvc.uapi import (
    IFA_HOST,
    IFA_LINK,
    IFA_SITE,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_SITE,
    RT_SCOPE_UNIVERSE,
    IPV6_ADDR_COMPATv4,
)

__all__ = [
    "in6addr_any", "in6addr_interfacelocal_allnodes", "in6addr_interfacelocal_allrouters",
    "in6addr_linklocal_allnodes", "in6addr_linklocal_allrouters", "in6addr_loopback",
    "in6addr_sitelocal_allrouters", "inet6addr_notifier_call_chain", "inet6addr_validator_notifier_call_chain",
    "ipv6_addr_is_multicast", "ipv6_addr_prefix", "ipv6_addr_scope", "ipv6_addr_src_scope",
    "register_inet6addr_notifier", "register_inet6addr_validator_notifier", "rt_scope",
    "unregister_inet6addr_notifier", "unregister_inet6addr_validator_notifier",
]  # fmt: skip

in6addr_any = bytes(16)
in6addr_loopback = bytes(15) + b"\x01"
in6addr_interfacelocal_allnodes = bytes.fromhex("ff010000000000000000000000000001")
in6addr_linklocal_allnodes = bytes.fromhex("ff020000000000000000000000000001")
in6addr_interfacelocal_allrouters = bytes.fromhex("ff010000000000000000000000000002")
in6addr_linklocal_allrouters = bytes.fromhex("ff020000000000000000000000000002")
in6addr_sitelocal_allrouters = bytes.fromhex("ff050000000000000000000000000002")

_SCOPE_INVALID = -1
_SCOPE_LINKLOCAL = 0x02
_SCOPE_SITELOCAL = 0x05
_SCOPE_GLOBAL = 0x0E
_MULTICAST_SCOPE = {0x01: IFA_HOST, 0x02: IFA_LINK, 0x05: IFA_SITE}
_RT_SCOPE = ((IFA_HOST, RT_SCOPE_HOST), (IFA_LINK, RT_SCOPE_LINK), (IFA_SITE, RT_SCOPE_SITE))


def ipv6_addr_is_multicast(addr: bytes) -> bool:
    """ff00::/8.

    Kernel: include/net/ipv6.h, ipv6_addr_is_multicast().
    """
    return addr[0] == 0xFF


def _classify(addr: bytes) -> tuple[int, int]:
    """(scope as the address list sorts by it, scope as IFA_* tells it).

    Kernel: net/ipv6/addrconf_core.c, __ipv6_addr_type().
    """
    if addr[0] == 0xFF:
        nibble = addr[1] & 0x0F
        return nibble, _MULTICAST_SCOPE.get(nibble, 0)
    if addr[0] == 0xFE and addr[1] & 0xC0 == 0x80:
        return _SCOPE_LINKLOCAL, IFA_LINK
    if addr[0] == 0xFE and addr[1] & 0xC0 == 0xC0:
        return _SCOPE_SITELOCAL, IFA_SITE
    if addr == in6addr_loopback:
        return _SCOPE_LINKLOCAL, IFA_HOST
    if not any(addr[:12]):
        return (_SCOPE_GLOBAL, IPV6_ADDR_COMPATv4) if any(addr) else (_SCOPE_INVALID, 0)
    return _SCOPE_GLOBAL, 0


def ipv6_addr_src_scope(addr: bytes) -> int:
    """The scope class by which addresses are listed: 14 global, 5 site, 2 link; ::1 counts as link, :: is in none.

    Kernel: include/net/ipv6.h, ipv6_addr_src_scope().
    """
    return _SCOPE_GLOBAL if 0 < addr[0] < 0xFE else _classify(addr)[0]


def ipv6_addr_scope(addr: bytes) -> int:
    """IFA_HOST, IFA_LINK, IFA_SITE, 0 for global, or IPV6_ADDR_COMPATv4, which counts as global.

    Kernel: include/net/ipv6.h, ipv6_addr_scope().
    """
    return 0 if 0 < addr[0] < 0xFE else _classify(addr)[1]


@lru_cache
def rt_scope(ifa_scope: int) -> int:
    """IFA_* as rtnetlink tells it, RT_SCOPE_*.

    Kernel: net/ipv6/addrconf.c, rt_scope().
    """
    return next((told for bit, told in _RT_SCOPE if ifa_scope & bit), RT_SCOPE_UNIVERSE)


_MASKS = tuple(((1 << 128) - (1 << (128 - plen))) for plen in range(129))


def ipv6_addr_prefix(addr: bytes, plen: int) -> bytes:
    """The first `plen` bits of an address, the rest zero.

    Kernel: include/net/ipv6.h, ipv6_addr_prefix().
    """
    return addr if plen == 128 else (int.from_bytes(addr) & _MASKS[plen]).to_bytes(16)


def register_inet6addr_notifier(machine: Machine, nb: NotifierBlock) -> None:
    """Hear of every IPv6 address that comes (NETDEV_UP) or goes (NETDEV_DOWN).

    Kernel: net/ipv6/addrconf_core.c, register_inet6addr_notifier().

    Raises:
        KernelError: EEXIST, it is registered already.
    """
    atomic_notifier_chain_register(machine.inet6addr_chain, nb)


def unregister_inet6addr_notifier(machine: Machine, nb: NotifierBlock) -> None:
    """Stop hearing.

    Kernel: net/ipv6/addrconf_core.c, unregister_inet6addr_notifier().

    Raises:
        KernelError: ENOENT, it is not registered.
    """
    atomic_notifier_chain_unregister(machine.inet6addr_chain, nb)


def inet6addr_notifier_call_chain(val: int, ifp: Inet6Ifaddr) -> int:
    """Tell of an address.

    Kernel: net/ipv6/addrconf_core.c, inet6addr_notifier_call_chain().
    """
    return atomic_notifier_call_chain(ifp.idev.dev.machine.inet6addr_chain, val, ifp)


def register_inet6addr_validator_notifier(machine: Machine, nb: NotifierBlock) -> None:
    """Be asked before an IPv6 address is added.

    Kernel: net/ipv6/addrconf_core.c, register_inet6addr_validator_notifier().

    Raises:
        KernelError: EEXIST, it is registered already.
    """
    blocking_notifier_chain_register(machine.inet6addr_validator_chain, nb)


def unregister_inet6addr_validator_notifier(machine: Machine, nb: NotifierBlock) -> None:
    """Be asked no more.

    Kernel: net/ipv6/addrconf_core.c, unregister_inet6addr_validator_notifier().

    Raises:
        KernelError: ENOENT, it is not registered.
    """
    blocking_notifier_chain_unregister(machine.inet6addr_validator_chain, nb)


def inet6addr_validator_notifier_call_chain(val: int, question: In6ValidatorInfo) -> int:
    """Ask whether an address may be added.

    Kernel: net/ipv6/addrconf_core.c, inet6addr_validator_notifier_call_chain().
    """
    return blocking_notifier_call_chain(question.i6vi_dev.dev.machine.inet6addr_validator_chain, val, question)
