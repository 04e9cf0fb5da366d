"""net/ipv6/addrlabel.c: the labels by which the source of a packet is chosen (RFC 6724), and requests about them."""

from errno import EEXIST, EINVAL, ESRCH
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_core import in6addr_loopback, ipv6_addr_prefix
from addrsvc.model.structs import AddrLabel, Net, PernetOperations

__all__ = [
    "IPV6_ADDR_LABEL_DEFAULT", "IPV6_ADDR_MAPPED", "ip6addrlbl_add", "ip6addrlbl_del", "ipv6_addr_label",
    "ipv6_addr_label_entry", "ipv6_addr_label_ops", "label_type",
]  # fmt: skip

IPV6_ADDR_LABEL_DEFAULT: Final = 0xFFFFFFFF
IPV6_ADDR_LOOPBACK: Final = 0x0010
IPV6_ADDR_COMPATv4: Final = 0x0080
IPV6_ADDR_MAPPED: Final = 0x1000

# Kernel: net/ipv6/addrlabel.c, ip6addrlbl_init_table.
_DEFAULTS: Final = (
    ("00000000000000000000000000000000", 0, 1),
    ("fc000000000000000000000000000000", 7, 5),
    ("fec00000000000000000000000000000", 10, 11),
    ("20020000000000000000000000000000", 16, 2),
    ("3ffe0000000000000000000000000000", 16, 12),
    ("20010000000000000000000000000000", 32, 6),
    ("20010010000000000000000000000000", 28, 7),
    ("00000000000000000000ffff00000000", 96, 4),
    ("00000000000000000000000000000000", 96, 3),
    ("00000000000000000000000000000001", 128, 0),
)
# The prefix length that an address of a type must come with to stand for the type; a mapped one may not have more.
_PREFIXLEN: Final = {IPV6_ADDR_MAPPED: 96, IPV6_ADDR_COMPATv4: 96, IPV6_ADDR_LOOPBACK: 128}


def label_type(addr: bytes) -> int:
    """What of an address's type labels tell apart.

    Kernel: net/ipv6/addrconf_core.c, __ipv6_addr_type(), masked as in net/ipv6/addrlabel.c, ip6addrlbl_alloc().
    """
    if addr == in6addr_loopback:
        return IPV6_ADDR_LOOPBACK
    if not any(addr[:12]) and any(addr[12:]):
        return IPV6_ADDR_COMPATv4
    return IPV6_ADDR_MAPPED if addr[:12] == bytes(10) + b"\xff\xff" else 0


def _make(prefix: bytes, prefixlen: int, ifindex: int, label: int) -> AddrLabel:
    """Kernel: net/ipv6/addrlabel.c, ip6addrlbl_alloc()."""
    addrtype = label_type(prefix)
    if addrtype == IPV6_ADDR_MAPPED and prefixlen > _PREFIXLEN[addrtype]:
        raise KernelError(EINVAL)
    if addrtype and prefixlen != _PREFIXLEN[addrtype]:
        addrtype = 0
    return AddrLabel(ipv6_addr_prefix(prefix, prefixlen), prefixlen, ifindex, label, addrtype)


def _key(entry: AddrLabel) -> tuple[int, int, bytes]:
    return entry.prefixlen, entry.ifindex, entry.prefix


def ip6addrlbl_add(net: Net, prefix: bytes, prefixlen: int, ifindex: int, label: int, *, replace: bool = False) -> None:
    """Give the addresses of a prefix a label, on one device or on all (0).

    Kernel: net/ipv6/addrlabel.c, ip6addrlbl_add(), __ip6addrlbl_add().

    Raises:
        KernelError: EEXIST, they have one, and no `replace`; EINVAL, a part of ::ffff:0:0/96.
    """
    new = _make(prefix, prefixlen, ifindex, label)
    labels = net.ipv6.addr_labels
    at = len(labels)
    for place, entry in enumerate(labels):
        if _key(entry) == _key(new):
            if not replace:
                raise KernelError(EEXIST)
            labels[place] = new
            break
        if entry.prefixlen < prefixlen or (entry.prefixlen == prefixlen and not entry.ifindex):
            at = place
            labels.insert(at, new)
            break
    else:
        labels.append(new)
    net.ipv6.addr_labels_seq += 1


def ip6addrlbl_del(net: Net, prefix: bytes, prefixlen: int, ifindex: int) -> None:
    """Take a label away.

    Kernel: net/ipv6/addrlabel.c, ip6addrlbl_del().

    Raises:
        KernelError: ESRCH, there is none.
    """
    key = (prefixlen, ifindex, ipv6_addr_prefix(prefix, prefixlen))
    found = next((entry for entry in net.ipv6.addr_labels if _key(entry) == key), None)
    if found is None:
        raise KernelError(ESRCH)
    net.ipv6.addr_labels.remove(found)


def ipv6_addr_label_entry(net: Net, addr: bytes, ifindex: int, addrtype: int) -> AddrLabel | None:
    """The label of an address of this type, with where it comes from.

    Kernel: net/ipv6/addrlabel.c, __ipv6_addr_label().
    """
    for entry in net.ipv6.addr_labels:
        meant = entry.ifindex in (0, ifindex) and entry.addrtype in (0, addrtype)
        if meant and ipv6_addr_prefix(addr, entry.prefixlen) == entry.prefix:
            return entry
    return None


def ipv6_addr_label(net: Net, addr: bytes, ifindex: int) -> int:
    """The label of an address.

    Kernel: net/ipv6/addrlabel.c, ipv6_addr_label().
    """
    entry = ipv6_addr_label_entry(net, addr, ifindex, label_type(addr))
    return entry.label if entry is not None else IPV6_ADDR_LABEL_DEFAULT


def _ip6addrlbl_net_init(net: Net) -> None:
    for prefix, prefixlen, label in _DEFAULTS:
        ip6addrlbl_add(net, bytes.fromhex(prefix), prefixlen, 0, label)


ipv6_addr_label_ops = PernetOperations("ipv6_addr_label_ops", init=_ip6addrlbl_net_init)
"""The labels that every namespace is born with.

Kernel: net/ipv6/addrlabel.c, ipv6_addr_label_ops.
"""
