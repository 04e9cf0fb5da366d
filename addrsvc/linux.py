"""The Python face of the model: boot a Linux, operate it, listen in, inject, and read what came of it.

Here addresses are text or netaddr objects; behind this page they are packed bytes.  Each `Namespace` is a `Kernel` as
`addrsvc.mirror.kernel` describes it, so whatever works on one works on a namespace of the running kernel too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import ENODEV
from random import Random
from typing import TYPE_CHECKING, Literal, TypeAlias

from addrsvc.af_netlink.sock import NetlinkSock, NetlinkTable
from addrsvc.errors import ControlError, KernelError
from addrsvc.injection import make_info, parse_event
from addrsvc.model.boot import INIT_NET, boot
from addrsvc.model.dev import alloc_netdev, dev_get_by_name, register_netdevice, unregister_netdevice
from addrsvc.model.eth import eth_mac_addr
from addrsvc.model.net_namespace import cleanup_net, copy_net_ns
from addrsvc.model.netdev_chain import (
    call_netdevice_notifiers_info,
    register_netdevice_notifier,
    unregister_netdevice_notifier,
)
from addrsvc.model.notifier import NotifierBlock, NotifierFn
from addrsvc.model.rtnetlink import rtnetlink_dump, rtnetlink_rcv_msg
from addrsvc.model.rtnl import drain, rtnl_lock
from addrsvc.model.structs import AutoAddrs, Effect, Machine, Net, NetDevice, NetDeviceOps, RtnlNotify
from addrsvc.model.sysctl import sysctl_read
from addrsvc.model.timer import HZ, next_expiry, run_timers
from addrsvc.model.tracepoint import Trace
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, Inet6LinkInfo, LinkMsg, Message, Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    ETH_ALEN,
    ETH_HLEN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_TENTATIVE,
    IFF_ALLMULTI,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_LIVE_ADDR_CHANGE,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_UP,
    INFINITY_LIFE_TIME,
    INT_MAX,
    NET_NAME_USER,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_NAMES,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
)

if TYPE_CHECKING:
    import netaddr

    AnyAddress: TypeAlias = str | netaddr.IPNetwork | netaddr.IPAddress

__all__ = ["Address", "Linux", "ModelWatch", "Namespace"]

_FLAGS = {
    "up": IFF_UP,
    "noarp": IFF_NOARP,
    "multicast": IFF_MULTICAST,
    "debug": IFF_DEBUG,
    "dynamic": IFF_DYNAMIC,
    "promisc": IFF_PROMISC,
    "allmulti": IFF_ALLMULTI,
}


class Linux:
    """A modelled kernel: network namespaces, their devices, and the clock that somebody else turns.

    Args:
        seed: of the model's random decisions; the same calls with the same seed have the same effects.
        trace: whether walks of notifier chains are recorded from the start.
        effects: whether what the model says is kept for effects(); a program that only uses sockets or watches does
            without, and its memory does not grow.
    """

    def __init__(self, *, seed: int = 0, trace: bool = False, effects: bool = True) -> None:
        self.trace = Trace()
        self.trace.on = trace
        self.machine: Machine = boot(Random(seed), trace=self.trace)
        self._effects: list[Effect] = []
        self._keeps_effects = effects
        self._watches: list[ModelWatch] = []
        self.netlink = NetlinkTable(self.machine, self._pump, self.settle)
        self._nets: dict[str, Namespace] = {INIT_NET: Namespace(self, self.machine.net_namespace_list[0])}
        self.settle()

    # --- namespaces ---

    @property
    def init_net(self) -> Namespace:
        """The namespace that is there from the start; its lo is down."""
        return self._nets[INIT_NET]

    @property
    def nets(self) -> dict[str, Namespace]:
        """All namespaces by name, in order of creation."""
        return dict(self._nets)

    def net(self, name: str) -> Namespace:
        """The namespace of this name.

        Raises:
            ControlError: there is none.
        """
        if name not in self._nets:
            raise ControlError(f"net: no namespace {name!r}; there are {', '.join(self._nets)}")
        return self._nets[name]

    def add_net(self, name: str) -> Namespace:
        """Make a namespace, with its own lo, down.

        Raises:
            ControlError: the name is taken.
            KernelError: a callback vetoed its lo.
        """
        if name in self._nets:
            raise ControlError(f"net: there is a namespace {name!r} already")
        try:
            self._nets[name] = Namespace(self, copy_net_ns(self.machine, name))
        finally:
            self.settle()
        return self._nets[name]

    def del_net(self, name: str) -> None:
        """Take a namespace away; devices that may move go to init_net.

        Raises:
            ControlError: there is none, or it is init_net.
        """
        if name == INIT_NET:
            raise ControlError(f"net: {INIT_NET} cannot be deleted")
        cleanup_net(self.net(name).net)
        del self._nets[name]
        self.settle()
        for watch in [watch for watch in self._watches if watch.net == name]:
            watch.close()

    # --- listening in ---

    def register_netdevice_notifier(
        self, callback: NotifierFn, *, priority: int = 0, name: str | None = None
    ) -> NotifierBlock:
        """Have `callback(event, info)` called for every netdevice event, and at once for the devices that exist.

        It returns NOTIFY_* of `addrsvc.model.notifier` (None counts as NOTIFY_DONE), or `notifier_from_errno` of a
        negative errno to veto what may be vetoed.

        Raises:
            ControlError: it cannot be called.
            KernelError: the callback vetoed a device that exists; it is not registered then.
        """
        if not callable(callback):
            raise ControlError(f"callback: {callback!r} cannot be called; a function of (event, info) is wanted")
        nb = NotifierBlock(callback, priority, name)
        try:
            register_netdevice_notifier(self.machine, nb)
        finally:
            self.settle()
        return nb

    def unregister_netdevice_notifier(self, nb: NotifierBlock) -> None:
        """Call it no more; it is told that every device goes.

        Raises:
            KernelError: ENOENT, it is not registered.
        """
        unregister_netdevice_notifier(self.machine, nb)
        self.settle()

    def register_auto_addrs(self, arphrd: int, handler: AutoAddrs) -> None:
        """Have `handler(dev)` called when a device of type `arphrd` (ARPHRD_*) comes up, to make its addresses."""
        self.machine.auto_addrs_by_type[int(arphrd)] = handler

    # --- time, and what came of it ---

    @property
    def jiffies(self) -> int:
        """The model's clock; `addrsvc.model.timer.HZ` jiffies make a second."""
        return self.machine.timers.jiffies

    def next_expiry(self) -> int | None:
        """The jiffies at which something is due next, or None."""
        return next_expiry(self.machine.timers)

    def run_timers(self, now: int) -> None:
        """Let time pass until `now`, in jiffies."""
        run_timers(self.machine.timers, now)
        self._pump()

    def advance(self, seconds: float) -> None:
        """Let this much time pass.

        Raises:
            ControlError: not a number, or time that would go back.
        """
        if not 0 <= seconds < float("inf"):
            raise ControlError(f"seconds: {seconds} is no span of time")
        self.run_timers(self.jiffies + round(seconds * HZ))

    def settle(self) -> None:
        """Run the work that is due now; every request does so before it returns.  Within a callback, nothing is."""
        if not self.machine.rtnl_held:
            self.run_timers(self.jiffies)

    def effects(self) -> list[Effect]:
        """Hand out, and forget, all that was said since the last call: RtnlNotify and Printk, in order.

        They are kept until asked for: a program that runs for long asks now and then.
        """
        effects, self._effects = self._effects, []
        return effects

    def _pump(self) -> None:
        effects = drain(self.machine)
        if self._keeps_effects:
            self._effects += effects
        self.netlink.hear(effects)
        for watch in self._watches:
            watch.hear(effects)

    def watch(self, net: str) -> ModelWatch:
        """Subscribe to what one namespace says."""
        watch = ModelWatch(net, self._watches.remove)
        self._watches.append(watch)
        return watch


class ModelWatch:
    """A subscription to one namespace: iterating yields what was said since the last look."""

    def __init__(self, net: str, unsubscribe: Callable[[ModelWatch], None]) -> None:
        self.net, self._unsubscribe = net, unsubscribe
        self._heard: list[Message] = []
        self._open = True

    def hear(self, effects: list[Effect]) -> None:
        """Take note of what was said."""
        self._heard += [e.msg for e in effects if isinstance(e, RtnlNotify) and e.net == self.net]

    def __iter__(self) -> Iterator[Message]:
        """What was said since the last look."""
        heard, self._heard = self._heard, []
        return iter(heard)

    def close(self) -> None:
        """End the subscription; a second time does nothing."""
        if self._open:
            self._open = False
            self._unsubscribe(self)

    def __enter__(self) -> ModelWatch:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


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


class Namespace:
    """A network namespace of a modelled kernel.  It is a `Kernel`: request, dump, watch."""

    def __init__(self, linux: Linux, net: Net) -> None:
        self._linux, self.net = linux, net

    @property
    def name(self) -> str:
        """As it was called when it was made; "init_net" for the first."""
        return self.net.name

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"

    # --- the port ---

    def request(self, msg: Message) -> None:
        """Serve one request, and the work it leaves for the kernel's queues.

        Raises:
            KernelError: the modelled kernel refused.
        """
        try:
            rtnetlink_rcv_msg(self.net, msg)
        finally:
            self._linux.settle()

    def dump(self) -> tuple[Message, ...]:
        """Devices, IPv4 and IPv6 addresses, IPv6 groups and routes, each in the kernel's order."""
        return rtnetlink_dump(self.net)

    def watch(self) -> ModelWatch:
        """Subscribe to notifications."""
        return self._linux.watch(self.name)

    def socket(self, *, pid: int = 0, admin: bool = True) -> NetlinkSock:
        """Open an AF_NETLINK socket of NETLINK_ROUTE in this namespace: bytes in, bytes out.

        Args:
            pid: the port id that it has if it asks for none, as a process has its own; 0 for a made-up one.
            admin: whether the opener has CAP_NET_ADMIN.
        """
        return NetlinkSock(self._linux.netlink, self.net, admin=admin, pid=pid)

    # --- links ---

    def links(self) -> list[str]:
        """The names of the devices, in order of index."""
        return [self.net.dev_base_head[ifindex].name for ifindex in sorted(self.net.dev_base_head)]

    def device(self, name: str) -> NetDevice:
        """The device of this name.

        Raises:
            KernelError: ENODEV.
        """
        dev = dev_get_by_name(self.net, name)
        if dev is None:
            raise KernelError(ENODEV, f'Cannot find device "{name}"')
        return dev

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
        _check_range(0xFFFFFFFF, mtu=mtu, txqlen=txqlen, group=group)
        _check_range(0xFF, operstate=operstate, linkmode=linkmode, addr_gen_mode=addr_gen_mode)
        msg = LinkMsg(
            ifi_index=self.device(dev).ifindex,
            ifi_flags=sum(_FLAGS[flag] for flag, on in flags.items() if on),
            ifi_change=sum(_FLAGS[flag] for flag in flags),
            ifname=name,
            mtu=mtu,
            address=_hwaddr(address),
            broadcast=_hwaddr(broadcast),
            txqlen=txqlen,
            group=group,
            ifalias=alias,
            operstate=operstate,
            linkmode=linkmode,
            inet6=None if addr_gen_mode is None else Inet6LinkInfo(addr_gen_mode=addr_gen_mode),
        )
        self.request(msg)

    def link_add(
        self,
        name: str,
        *,
        type: int = ARPHRD_ETHER,  # noqa: A002 - ip(8) and the kernel call it so
        mtu: int = 1500,
        flags: int = 0,
        address: str | bytes | None = None,
    ) -> NetDevice:
        """Register a device of one's own, of any type (ARPHRD_*); it is down.  "%d" in the name becomes a number.

        It has no driver, so nothing travels over it: it is there to be operated and to have events.

        Raises:
            ControlError: no hardware address of 6 bytes, or a number that no device can have.
            KernelError: a bad or used name, or a callback's veto.
        """

        _check_range(INT_MAX, mtu=mtu)
        _check_range(0xFFFF, type=int(type))
        _check_range(0xFFFFFFFF, flags=flags)
        hwaddr = _hwaddr(address) or self._random_hwaddr()
        if len(hwaddr) != ETH_ALEN:
            raise ControlError(f"address: {address!r} has not {ETH_ALEN} bytes")

        def setup(dev: NetDevice) -> None:
            dev.type, dev.mtu, dev.flags = int(type), mtu, flags
            dev.hard_header_len, dev.addr_len = ETH_HLEN, ETH_ALEN
            dev.priv_flags |= IFF_LIVE_ADDR_CHANGE
            dev.netdev_ops = NetDeviceOps(ndo_set_mac_address=eth_mac_addr)
            dev.broadcast = b"\xff" * ETH_ALEN
            dev.dev_addr = hwaddr

        dev = alloc_netdev(self.net, name, NET_NAME_USER, setup)
        try:
            with rtnl_lock(self._linux.machine):
                register_netdevice(dev)
        finally:
            self._linux.settle()
        return dev

    def _random_hwaddr(self) -> bytes:
        chance = self._linux.machine.chance
        return bytes((chance.randrange(256) & 0xFC | 0x02, *(chance.randrange(256) for _ in range(ETH_ALEN - 1))))

    def link_del(self, name: str) -> None:
        """Unregister a device of one's own.

        Raises:
            KernelError: ENODEV; EOPNOTSUPP for lo, which the kernel lets nobody delete.
        """
        dev = self.device(name)
        if dev.type == ARPHRD_LOOPBACK and dev is self.net.loopback_dev:
            self.request(LinkMsg(RTM_DELLINK, ifi_index=dev.ifindex))
        try:
            with rtnl_lock(self._linux.machine):
                unregister_netdevice(dev)
        finally:
            self._linux.settle()

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
            self.device(dev).ifindex,
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
        self.request(_addr_msg(RTM_DELADDR, address, self.device(dev).ifindex))

    def addresses(self, dev: str | None = None) -> list[Address]:
        """The addresses of a device, or of all, in the kernel's order: IPv4, then IPv6.

        Raises:
            KernelError: ENODEV.
        """
        ifindex = self.device(dev).ifindex if dev is not None else None
        said = [msg for msg in self.dump() if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR]
        return [self._address(msg) for msg in said if ifindex in (None, msg.ifa_index)]

    def _address(self, msg: AddrMsg) -> Address:
        from netaddr import IPAddress, IPNetwork

        version: Literal[4, 6] = 4 if msg.ifa_family == AF_INET else 6
        own, other = msg.local or msg.address or b"", msg.address if msg.local else None
        lifetimes = msg.cacheinfo or IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)
        return Address(
            network=IPNetwork((int.from_bytes(own), msg.ifa_prefixlen), version=version),
            dev=self.net.dev_base_head[msg.ifa_index].name,
            scope=RT_SCOPE_NAMES.get(msg.ifa_scope, str(msg.ifa_scope)),
            flags=msg.flags or 0,
            proto=msg.proto,
            peer=IPAddress(int.from_bytes(other), version) if other and other != own else None,
            metric=msg.rt_priority,
            valid_lft=None if lifetimes.ifa_valid == INFINITY_LIFE_TIME else lifetimes.ifa_valid,
            preferred_lft=None if lifetimes.ifa_prefered == INFINITY_LIFE_TIME else lifetimes.ifa_prefered,
        )

    # --- settings and events ---

    def sysctl(self, name: str, value: str | int | None = None) -> str:
        """Read a setting, or write it first: ``net.ipv6.conf.lo.disable_ipv6``.  Returns what it reads as then.

        Raises:
            KernelError: ENOENT, EACCES or EINVAL, as opening or writing the file gives.
        """
        if value is not None:
            self.request(Sysctl(name, str(value)))
        return sysctl_read(self.net, name)

    def inject(self, event: str | int, dev: str, /, **info: object) -> int:
        """Call the netdevice chain with an event, by name or number, on a device, with the info that belongs to it.

        Only the chain is called: the device stays as it is, unless a callback changes it.

        Returns:
            What the chain returned: NOTIFY_*, or an encoded errno.

        Raises:
            ControlError: no such event, device or info; nothing was done.
        """
        val = parse_event(event)
        device = dev_get_by_name(self.net, dev)
        if device is None:
            raise ControlError(f"dev: no device {dev!r} in namespace {self.name}; there are {', '.join(self.links())}")
        built = make_info(val, device, info)
        try:
            with rtnl_lock(self._linux.machine):
                return call_netdevice_notifiers_info(val, built)
        finally:
            self._linux.settle()


# --- from the outside in --------------------------------------------------------------------------------------------


def _check_range(most: int, **values: int | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 <= value <= most:
            raise ControlError(f"{name}: {value} is not between 0 and {most}")


def _hwaddr(value: str | bytes | None) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    try:
        return bytes.fromhex(value.replace(":", "").replace("-", ""))
    except ValueError:
        raise ControlError(f"{value!r} is no hardware address, such as 02:00:00:00:00:01") from None


def _network(address: AnyAddress) -> netaddr.IPNetwork:
    from netaddr import AddrFormatError, IPNetwork

    try:
        return IPNetwork(address)
    except (AddrFormatError, ValueError, TypeError):
        raise ControlError(f"{str(address)!r} is no address, such as 2001:db8::1/64 or 127.0.0.1/8") from None


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
        ifa_index=ifindex,
        local=network.ip.packed,
        address=network.ip.packed if peer is None else _network(peer).ip.packed,
        flags=flags or None,
        rt_priority=rt_priority,
        proto=proto,
        cacheinfo=cacheinfo,
    )
