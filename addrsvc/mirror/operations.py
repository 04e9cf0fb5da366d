"""What one does with a namespace of either kernel, in the words of ip(8): made of nothing but requests and dumps.

Here addresses are text or netaddr objects; in the messages they are packed bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from errno import ENODEV
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from addrsvc.errors import ControlError, KernelError
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, Inet6LinkInfo, LinkMsg, Message, Sysctl
from addrsvc.netlink.text import names_of
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_TENTATIVE,
    IFF_ALLMULTI,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_HOST,
    RT_SCOPE_NAMES,
    RT_SCOPE_UNIVERSE,
    RTM_DELADDR,
    RTM_NEWADDR,
)

if TYPE_CHECKING:
    import netaddr

    from addrsvc.mirror.kernel import Watch

    AnyAddress: TypeAlias = str | netaddr.IPNetwork | netaddr.IPAddress

__all__ = ["Address", "Operations", "check_range", "hwaddr", "no_device"]

_FLAGS: Final = {
    "up": IFF_UP,
    "noarp": IFF_NOARP,
    "multicast": IFF_MULTICAST,
    "debug": IFF_DEBUG,
    "dynamic": IFF_DYNAMIC,
    "promisc": IFF_PROMISC,
    "allmulti": IFF_ALLMULTI,
}


@dataclass(frozen=True, slots=True)
class Address:
    """An address that a device has."""

    network: netaddr.IPNetwork
    """The address with its prefix length; `network.ip` is the address alone."""
    dev: str
    scope: str
    """"global", "site", "link" or "host"."""
    flags: int
    """IFA_F_*."""
    proto: int | None
    """IFAPROT_*, or None where the kernel tells none."""
    peer: netaddr.IPAddress | None
    metric: int | None
    valid_lft: int | None
    """Seconds left, None for ever."""
    preferred_lft: int | None

    @property
    def tentative(self) -> bool:
        """Whether it still waits for duplicate address detection."""
        return bool(self.flags & IFA_F_TENTATIVE)


class Operations(ABC):
    """A Kernel (see addrsvc.mirror.kernel), operated by name and with addresses as people write them."""

    @abstractmethod
    def request(self, msg: Message) -> None:
        """See addrsvc.mirror.kernel."""

    @abstractmethod
    def dump(self) -> tuple[Message, ...]:
        """See addrsvc.mirror.kernel."""

    @abstractmethod
    def watch(self) -> Watch:
        """See addrsvc.mirror.kernel."""

    @abstractmethod
    def read_sysctl(self, name: str) -> str:
        """A setting, as its file below /proc/sys reads, without the line feed.

        Raises:
            KernelError: it cannot be opened or read.
        """

    @abstractmethod
    def proc(self, path: str) -> str:
        """What a file below /proc holds in this namespace: ``net/if_inet6``, ``sys/net/ipv6/conf/lo/mtu``.

        Raises:
            KernelError: it cannot be opened or read.
        """

    # --- links ---

    def links(self) -> list[str]:
        """The names of the devices, in order of index."""
        names = names_of(self.dump())
        return [names[ifindex] for ifindex in sorted(names)]

    def ifindex(self, dev: str) -> int:
        """The number of the device of this name.

        Raises:
            KernelError: ENODEV.
        """
        found = [ifindex for ifindex, name in names_of(self.dump()).items() if name == dev]
        if not found:
            raise no_device(dev)
        return found[0]

    def link_set(
        self,
        dev: str,
        *,
        name: str | None = None,
        mtu: int | None = None,
        address: str | bytes | None = None,
        broadcast: str | bytes | None = None,
        txqlen: int | None = None,
        group: int | None = None,
        alias: str | None = None,
        operstate: int | None = None,
        linkmode: int | None = None,
        addr_gen_mode: int | None = None,
        **flags: bool,
    ) -> None:
        """Change a device, in one request.  Flags are up, noarp, multicast, debug, dynamic, promisc and allmulti.

        Raises:
            ControlError: a value that no message could carry.
            KernelError: the kernel refused; what it did before that stays done.
            TypeError: an unknown flag.
        """
        unknown = flags.keys() - _FLAGS.keys()
        if unknown:
            raise TypeError(f"link_set() got an unexpected keyword argument {min(unknown)!r}")
        check_range(0xFFFFFFFF, mtu=mtu, txqlen=txqlen, group=group)
        check_range(0xFF, operstate=operstate, linkmode=linkmode, addr_gen_mode=addr_gen_mode)
        msg = LinkMsg(
            ifi_index=self.ifindex(dev),
            ifi_flags=sum(_FLAGS[flag] for flag, on in flags.items() if on),
            ifi_change=sum(_FLAGS[flag] for flag in flags),
            ifname=name,
            mtu=mtu,
            address=hwaddr(address),
            broadcast=hwaddr(broadcast),
            txqlen=txqlen,
            group=group,
            ifalias=alias,
            operstate=operstate,
            linkmode=linkmode,
            inet6=None if addr_gen_mode is None else Inet6LinkInfo(addr_gen_mode=addr_gen_mode),
        )
        self.request(msg)

    # --- addresses ---

    def addr_add(
        self,
        address: AnyAddress,
        dev: str,
        *,
        peer: AnyAddress | None = None,
        nodad: bool = False,
        noprefixroute: bool = False,
        metric: int | None = None,
        proto: int | None = None,
        valid_lft: int | None = None,
        preferred_lft: int | None = None,
        replace: bool = False,
    ) -> None:
        """Add an address with its prefix length (without one: /128 or /32); lifetimes are seconds, None for ever.

        Raises:
            ControlError: no address.
            KernelError: the kernel refused.
        """
        finite = (valid_lft, preferred_lft) != (None, None)
        valid = INFINITY_LIFE_TIME if valid_lft is None else valid_lft
        preferred = valid if preferred_lft is None else preferred_lft
        msg = _addr_msg(
            RTM_NEWADDR,
            address,
            self.ifindex(dev),
            peer=peer,
            nlmsg_flags=NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL),
            flags=IFA_F_NODAD * nodad | IFA_F_NOPREFIXROUTE * noprefixroute,
            rt_priority=metric,
            proto=proto,
            cacheinfo=IfaCacheinfo(preferred, valid) if finite else None,
        )
        self.request(msg)

    def addr_del(self, address: AnyAddress, dev: str) -> None:
        """Delete an address, which is named with its prefix length.

        Raises:
            ControlError: no address.
            KernelError: the kernel refused.
        """
        self.request(_addr_msg(RTM_DELADDR, address, self.ifindex(dev)))

    def addresses(self, dev: str | None = None) -> list[Address]:
        """The addresses of a device, or of all, in the kernel's order: IPv4, then IPv6.

        Raises:
            KernelError: ENODEV.
        """
        ifindex = self.ifindex(dev) if dev is not None else None
        dump = self.dump()
        names = names_of(dump)
        said = [msg for msg in dump if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR]
        return [_address(msg, names[msg.ifa_index]) for msg in said if ifindex in (None, msg.ifa_index)]

    # --- settings ---

    def sysctl(self, name: str, value: str | int | None = None) -> str:
        """Read a setting, or write it first: ``net.ipv6.conf.lo.disable_ipv6``.  Returns what it reads as then.

        Raises:
            KernelError: ENOENT, EACCES or EINVAL, as opening or writing the file gives.
        """
        if value is not None:
            self.request(Sysctl(name, str(value)))
        return self.read_sysctl(name)


def no_device(name: str) -> KernelError:
    """What ip(8) says of a device that is not there."""
    return KernelError(ENODEV, f'Cannot find device "{name}"')


def _address(msg: AddrMsg, dev: str) -> Address:
    from netaddr import IPAddress, IPNetwork

    version: Literal[4, 6] = 4 if msg.ifa_family == AF_INET else 6
    own, other = msg.local or msg.address or b"", msg.address if msg.local else None
    lifetimes = msg.cacheinfo or IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)
    return Address(
        network=IPNetwork((int.from_bytes(own), msg.ifa_prefixlen), version=version),
        dev=dev,
        scope=RT_SCOPE_NAMES.get(msg.ifa_scope, str(msg.ifa_scope)),
        flags=msg.flags or 0,
        proto=msg.proto,
        peer=IPAddress(int.from_bytes(other), version) if other and other != own else None,
        metric=msg.rt_priority,
        valid_lft=None if lifetimes.ifa_valid == INFINITY_LIFE_TIME else lifetimes.ifa_valid,
        preferred_lft=None if lifetimes.ifa_prefered == INFINITY_LIFE_TIME else lifetimes.ifa_prefered,
    )


# --- from the outside in --------------------------------------------------------------------------------------------


def check_range(most: int, **values: int | None) -> None:
    """Refuse, by name, a number that is not between 0 and `most`.

    Raises:
        ControlError: one is not.
    """
    for name, value in values.items():
        if value is not None and not 0 <= value <= most:
            raise ControlError(f"{name}: {value} is not between 0 and {most}")


def hwaddr(value: str | bytes | None) -> bytes | None:
    """A hardware address as bytes.

    Raises:
        ControlError: it is none.
    """
    if value is None or isinstance(value, bytes):
        return value
    try:
        return bytes.fromhex(value.replace(":", "").replace("-", ""))
    except ValueError:
        raise ControlError(f"{value!r} is no hardware address, such as 02:00:00:00:00:01") from None


def host_address(text: str) -> bytes:
    """An address without a prefix length, as bytes.

    Raises:
        ControlError: it is none.
    """
    import netaddr

    try:
        return netaddr.IPAddress(text).packed
    except (netaddr.AddrFormatError, ValueError, TypeError):
        raise ControlError(f"{text!r} is no address, such as ::1 or 127.0.0.1") from None


def _network(address: AnyAddress) -> netaddr.IPNetwork:
    from netaddr import AddrFormatError, IPNetwork

    try:
        return IPNetwork(address)
    except (AddrFormatError, ValueError, TypeError):
        raise ControlError(f"{str(address)!r} is no address, such as 2001:db8::1/64 or 127.0.0.1/8") from None


def _scope(network: netaddr.IPNetwork) -> int:
    """What ip(8) asks for: IPv6 does not heed it, IPv4 refuses 127.0.0.2/8 beside 127.0.0.1/8 with another one."""
    return RT_SCOPE_HOST if network.version == 4 and network.ip.packed[0] == _LOOPBACKNET else RT_SCOPE_UNIVERSE


_LOOPBACKNET: Final = 127


def _addr_msg(
    nlmsg_type: int,
    address: AnyAddress,
    ifindex: int,
    *,
    peer: AnyAddress | None = None,
    nlmsg_flags: int = 0,
    flags: int = 0,
    rt_priority: int | None = None,
    proto: int | None = None,
    cacheinfo: IfaCacheinfo | None = None,
) -> AddrMsg:
    """A request as ip(8) makes it: LOCAL and ADDRESS both, ADDRESS being the peer where there is one."""
    network = _network(address)
    plen = network.prefixlen if peer is None else _network(peer).prefixlen
    return AddrMsg(
        nlmsg_type=nlmsg_type,
        nlmsg_flags=nlmsg_flags,
        ifa_family=AF_INET if network.version == 4 else AF_INET6,
        ifa_prefixlen=plen,
        ifa_flags=flags & 0xFF,
        ifa_scope=_scope(network),
        ifa_index=ifindex,
        local=network.ip.packed,
        address=network.ip.packed if peer is None else _network(peer).ip.packed,
        flags=flags or None,
        rt_priority=rt_priority,
        proto=proto,
        cacheinfo=cacheinfo,
    )
