"""What the fidelity tests ask of lo, one short word per request."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address, ip_interface

from addrsvc.errors import KernelError
from addrsvc.mirror.kernel import Kernel, Watch
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, Inet6LinkInfo, LinkInfo, LinkMsg, Message, Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELADDR,
    RTM_NEWADDR,
)
from tests.fidelity.notation import brief, refusal

LO = 1
FOREVER = INFINITY_LIFE_TIME


# --- the device ---------------------------------------------------------------------------------------------------


def flags(bits: int, *, on: bool = True) -> Message:
    return LinkMsg(ifi_index=LO, ifi_flags=bits if on else 0, ifi_change=bits)


def up() -> Message:
    return flags(IFF_UP)


def down() -> Message:
    return flags(IFF_UP, on=False)


def new_device(name: str, kind: str) -> LinkMsg:
    """With a hardware address of its own, where the kernel would draw one."""
    kind_of_it = LinkInfo(kind=kind)
    return LinkMsg(nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, ifname=name, address=b"\2\0\0\0\0\7", linkinfo=kind_of_it)


def mtu(value: int) -> Message:
    return LinkMsg(ifi_index=LO, mtu=value)


def rename(name: str) -> Message:
    return LinkMsg(ifi_index=LO, ifname=name)


def mac(text: str) -> Message:
    return LinkMsg(ifi_index=LO, address=bytes.fromhex(text.replace(":", "")))


def alias(text: str) -> Message:
    return LinkMsg(ifi_index=LO, ifalias=text)


def txqlen(value: int) -> Message:
    return LinkMsg(ifi_index=LO, txqlen=value)


def group(value: int) -> Message:
    return LinkMsg(ifi_index=LO, group=value)


def operstate(value: int) -> Message:
    return LinkMsg(ifi_index=LO, operstate=value)


def linkmode(value: int) -> Message:
    return LinkMsg(ifi_index=LO, linkmode=value)


def gen_mode(value: int) -> Message:
    """By IFLA_AF_SPEC; `sysctl_gen_mode` is the other door, and another effect."""
    return LinkMsg(ifi_index=LO, inet6=Inet6LinkInfo(addr_gen_mode=value))


# --- sysctls ------------------------------------------------------------------------------------------------------


def ipv6_sysctl(leaf: str, value: int | str, dev: str = "lo") -> Message:
    return Sysctl(f"net.ipv6.conf.{dev.replace('.', '/')}.{leaf}", str(value))


def disable_ipv6(value: int, dev: str = "lo") -> Message:
    return ipv6_sysctl("disable_ipv6", value, dev)


def keep_addr_on_down(value: int, dev: str = "lo") -> Message:
    return ipv6_sysctl("keep_addr_on_down", value, dev)


def forwarding(value: int, dev: str = "lo") -> Message:
    return ipv6_sysctl("forwarding", value, dev)


def sysctl_gen_mode(value: int, dev: str = "lo") -> Message:
    return ipv6_sysctl("addr_gen_mode", value, dev)


# --- addresses ----------------------------------------------------------------------------------------------------


def add(
    address: str,
    *,
    flags: int | None = None,
    nlm: int = NLM_F_CREATE | NLM_F_EXCL,
    metric: int | None = None,
    proto: int | None = None,
    valid: int | None = None,
    preferred: int | None = None,
    peer: str | None = None,
    scope: int = 0,
) -> Message:
    """RTM_NEWADDR as ``ip address add`` sends it; `address` with its prefix length, lifetimes in seconds."""
    lifetimes = None
    if valid is not None or preferred is not None:
        valid = FOREVER if valid is None else valid
        lifetimes = IfaCacheinfo(valid if preferred is None else preferred, valid)
    return _address(
        RTM_NEWADDR, address, peer,
        AddrMsg(nlmsg_flags=nlm, flags=flags, rt_priority=metric, proto=proto, cacheinfo=lifetimes, ifa_scope=scope),
    )  # fmt: skip


def delete(address: str, *, peer: str | None = None) -> Message:
    """RTM_DELADDR as ``ip address del`` sends it."""
    return _address(RTM_DELADDR, address, peer, AddrMsg())


def _address(nlmsg_type: int, text: str, peer: str | None, rest: AddrMsg) -> AddrMsg:
    interface = ip_interface(text)
    family = AF_INET if isinstance(interface, IPv4Interface) else AF_INET6
    other: IPv4Address | IPv6Address = interface.ip if peer is None else ip_address(peer)
    return replace(
        rest, nlmsg_type=nlmsg_type, ifa_family=family, ifa_prefixlen=interface.network.prefixlen, ifa_index=LO,
        local=interface.ip.packed, address=other.packed,
    )  # fmt: skip


# --- asking -------------------------------------------------------------------------------------------------------


def ask_and_hear(kernel: Kernel, watch: Watch, ask: Message) -> str:
    """The refusal, if there is one, and everything that was said."""
    try:
        kernel.request(ask)
    except KernelError as error:
        return f"{refusal(error)} {brief(watch)}".rstrip()
    return brief(watch)
