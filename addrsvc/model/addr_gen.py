"""net/ipv6/addrconf.c, addrconf_addr_gen() and the interface identifiers: the link-local address of a device."""

import sys
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.dad import addrconf_dad_start
from addrsvc.model.ifaddr import Ifa6Config, ipv6_add_addr
from addrsvc.model.ip6_route import addrconf_prefix_route
from addrsvc.model.structs import Inet6Dev, Ipv6Devconf, NetDevice
from addrsvc.uapi import (
    ARPHRD_6LOWPAN,
    ARPHRD_ARCNET,
    ARPHRD_ETHER,
    ARPHRD_FDDI,
    ARPHRD_IEEE1394,
    ARPHRD_INFINIBAND,
    ARPHRD_IP6GRE,
    ARPHRD_IPGRE,
    ARPHRD_RAWIP,
    ARPHRD_SIT,
    ARPHRD_TUNNEL,
    ARPHRD_TUNNEL6,
    ETH_ALEN,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_STABLE_PRIVACY,
    IFA_LINK,
    IFAPROT_KERNEL_LL,
    IFF_NO_ADDRCONF,
    IN6_ADDR_GEN_MODE_EUI64,
    IN6_ADDR_GEN_MODE_NONE,
    IN6_ADDR_GEN_MODE_RANDOM,
)

__all__ = [
    "addrconf_add_linklocal", "addrconf_addr_gen", "ipv6_generate_eui64", "ipv6_generate_stable_address",
    "ipv6_reserved_interfaceid",
]  # fmt: skip

_LINK_LOCAL: Final = bytes((0xFE, 0x80, 0, 0, 0, 0, 0, 0))
_LINK_LOCAL_PLEN: Final = 64
_U_L_BIT: Final = 0x02


def addrconf_addr_gen(idev: Inet6Dev) -> None:
    """Make the link-local address that the device's mode asks for, if there can be one.

    Kernel: net/ipv6/addrconf.c, addrconf_addr_gen().
    """
    if idev.dev.priv_flags & IFF_NO_ADDRCONF or idev.cnf["addr_gen_mode"] == IN6_ADDR_GEN_MODE_NONE:
        return
    if idev.cnf["addr_gen_mode"] == IN6_ADDR_GEN_MODE_EUI64:
        identifier, flags = ipv6_generate_eui64(idev.dev), 0
    else:
        _random_secret(idev)
        identifier, flags = ipv6_generate_stable_address(idev, _LINK_LOCAL), IFA_F_STABLE_PRIVACY
    if identifier is not None:
        addrconf_add_linklocal(idev, _LINK_LOCAL + identifier, flags)


def _random_secret(idev: Inet6Dev) -> None:
    """Kernel: net/ipv6/addrconf.c, ipv6_gen_mode_random_init()."""
    if idev.cnf["addr_gen_mode"] == IN6_ADDR_GEN_MODE_RANDOM and idev.cnf.stable_secret is None:
        chance = idev.dev.machine.chance
        idev.cnf.stable_secret = bytes(chance.randrange(256) for _ in range(16))


def addrconf_add_linklocal(idev: Inet6Dev, addr: bytes, flags: int) -> None:
    """Add a link-local address, with its prefix route, and have it checked for duplicates.

    Kernel: net/ipv6/addrconf.c, addrconf_add_linklocal().
    Differs: a refusal is not an error, as there; it leaves no trace.
    """
    conf_all = idev.dev.net.ipv6.devconf_all
    if (conf_all["optimistic_dad"] or idev.cnf["optimistic_dad"]) and not conf_all["forwarding"]:
        flags |= IFA_F_OPTIMISTIC
    cfg = Ifa6Config(addr, _LINK_LOCAL_PLEN, flags | IFA_F_PERMANENT, IFA_LINK, ifa_proto=IFAPROT_KERNEL_LL)
    try:
        ifp = ipv6_add_addr(idev, cfg)
    except KernelError:
        return
    addrconf_prefix_route(idev.dev, ifp.addr, ifp.prefix_len)
    addrconf_dad_start(ifp)


# --- identifiers of hardware addresses --------------------------------------------------------------------------------


def _eui48(dev: NetDevice) -> bytes | None:
    return _inserted(dev.dev_addr, flip=_U_L_BIT) if dev.addr_len == ETH_ALEN else None


def _inserted(addr: bytes, *, flip: int) -> bytes:
    """The identifier of a 6-byte address: ff:fe in its middle."""
    return bytes((addr[0] ^ flip, *addr[1:3], 0xFF, 0xFE, *addr[3:6]))


def _arcnet(dev: NetDevice) -> bytes | None:
    return bytes(7) + dev.dev_addr[:1] if dev.addr_len == 1 else None


def _infiniband(dev: NetDevice) -> bytes | None:
    return bytes((dev.dev_addr[12] | _U_L_BIT, *dev.dev_addr[13:20])) if dev.addr_len == 20 else None


def _ieee1394(dev: NetDevice) -> bytes | None:
    return bytes((dev.dev_addr[0] ^ _U_L_BIT, *dev.dev_addr[1:8])) if dev.addr_len == 16 else None


def _6lowpan(dev: NetDevice) -> bytes | None:
    if dev.addr_len == ETH_ALEN:
        return _inserted(dev.dev_addr, flip=0)
    return bytes((dev.dev_addr[0] ^ _U_L_BIT, *dev.dev_addr[1:8])) if dev.addr_len == 8 else None


def _ip6tnl(dev: NetDevice) -> bytes:
    return _inserted(dev.perm_addr, flip=_U_L_BIT)


# Networks whose addresses are not unique in the world, so that no identifier made of them is.
_NOT_GLOBAL: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24",
            "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "255.255.255.255/32",
        ),
    )
)  # fmt: skip


def _isatap(dev: NetDevice) -> bytes | None:
    """Kernel: include/net/addrconf.h, __ipv6_isatap_ifid()."""
    addr = dev.dev_addr[:4].ljust(4, b"\0")
    if not any(addr):
        return None
    is_global = not any(IPv4Address(addr) in network for network in _NOT_GLOBAL)
    return bytes((_U_L_BIT * is_global, 0, 0x5E, 0xFE)) + addr


# One row per device type of which an identifier can be made.
_IDENTIFIER: Final[Mapping[int, Callable[[NetDevice], bytes | None]]] = {
    ARPHRD_ETHER: _eui48,
    ARPHRD_FDDI: _eui48,
    ARPHRD_ARCNET: _arcnet,
    ARPHRD_INFINIBAND: _infiniband,
    ARPHRD_SIT: _isatap,
    ARPHRD_IPGRE: _isatap,
    ARPHRD_TUNNEL: _isatap,
    ARPHRD_6LOWPAN: _6lowpan,
    ARPHRD_IEEE1394: _ieee1394,
    ARPHRD_TUNNEL6: _ip6tnl,
    ARPHRD_IP6GRE: _ip6tnl,
    ARPHRD_RAWIP: _ip6tnl,
}


def ipv6_generate_eui64(dev: NetDevice) -> bytes | None:
    """The 8-byte identifier of a device's hardware address, or None if none can be made of it.

    Kernel: net/ipv6/addrconf.c, ipv6_generate_eui64().
    Differs: no device shares its address with others (dev_id).
    """
    identify = _IDENTIFIER.get(dev.type)
    return identify(dev) if identify is not None else None


# --- identifiers that tell nothing of the hardware --------------------------------------------------------------------

_IDGEN_RETRIES: Final = 3
_BLOCK: Final = Struct("16s8s32sB7x")


def ipv6_generate_stable_address(idev: Inet6Dev, prefix: bytes, dad_count: int = 0) -> bytes | None:
    """An 8-byte identifier that is always the same for a prefix; None without a secret to make it of.

    Kernel: net/ipv6/addrconf.c, ipv6_generate_stable_address().
    """
    secret = _secret(idev.cnf, idev.dev.net.ipv6.devconf_dflt)
    if secret is None:
        return None
    for count in range(dad_count, _IDGEN_RETRIES + 1):
        identifier = _hash(_BLOCK.pack(secret, prefix, idev.dev.perm_addr, count))
        if not ipv6_reserved_interfaceid(identifier):
            return identifier
    return None


def _secret(*settings: Ipv6Devconf) -> bytes | None:
    return next((cnf.stable_secret for cnf in settings if cnf.stable_secret is not None), None)


def ipv6_reserved_interfaceid(identifier: bytes) -> bool:
    """Whether an identifier has a meaning of its own: none at all, a proxy's, or an anycast one.

    Kernel: net/ipv6/addrconf.c, ipv6_reserved_interfaceid().
    """
    high, low = int.from_bytes(identifier[:4]), int.from_bytes(identifier[4:])
    return (
        (high | low) == 0
        or (high == 0x02005EFF and low & 0xFE000000 == 0xFE000000)
        or (high == 0xFDFFFFFF and low & 0xFFFFFF80 == 0xFFFFFF80)
    )


def _hash(block: bytes) -> bytes:
    """The first two words that one round of SHA-1 makes of a block, without the padding that a whole hash has."""
    a, b, *_ = _sha1_transform(block)
    return b"".join(word.to_bytes(4, sys.byteorder) for word in (a, b))


_MASK: Final = 0xFFFFFFFF
_SHA1_INIT: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_ROUNDS: Final[tuple[tuple[Callable[[int, int, int], int], int], ...]] = (
    (lambda b, c, d: d ^ (b & (c ^ d)), 0x5A827999),
    (lambda b, c, d: b ^ c ^ d, 0x6ED9EBA1),
    (lambda b, c, d: (b & c) | (d & (b | c)), 0x8F1BBCDC),
    (lambda b, c, d: b ^ c ^ d, 0xCA62C1D6),
)


def _rol(value: int, by: int) -> int:
    return (value << by | value >> 32 - by) & _MASK


def _sha1_transform(block: bytes) -> tuple[int, ...]:
    """Kernel: lib/crypto/sha1.c, sha1_transform(); FIPS 180-4."""
    words = [int.from_bytes(block[at : at + 4]) for at in range(0, 64, 4)]
    for at in range(16, 80):
        words.append(_rol(words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16], 1))
    a, b, c, d, e = _SHA1_INIT
    for at, word in enumerate(words):
        choose, constant = _ROUNDS[at // 20]
        a, b, c, d, e = (_rol(a, 5) + choose(b, c, d) + e + constant + word) & _MASK, a, _rol(b, 30), c, d
    return tuple((new + old) & _MASK for new, old in zip((a, b, c, d, e), _SHA1_INIT, strict=True))
