"""The Python face of the model: boot a Linux, operate it, listen in, inject, and read what came of it.

Here addresses are text or netaddr objects; behind this page they are packed bytes.  Each `Namespace` is a `Kernel` as
`addrsvc.mirror.kernel` describes it, so whatever works on one works on a namespace of the running kernel too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from random import Random
from threading import RLock
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from addrsvc.af_netlink.faults import Faults
from addrsvc.af_netlink.sock import NetlinkSock
from addrsvc.af_netlink.table import NetlinkTable
from addrsvc.errors import ControlError
from addrsvc.injection import make_info, parse_event
from addrsvc.mirror.operations import Address, Operations, check_range, host_address, hwaddr, no_device
from addrsvc.model.boot import INIT_NET, boot
from addrsvc.model.dev import alloc_netdev, dev_get_by_name, register_netdevice, unregister_netdevice
from addrsvc.model.eth import eth_mac_addr
from addrsvc.model.ethtool import FeatureChanges, ethtool_set_features
from addrsvc.model.net_namespace import cleanup_net, copy_net_ns
from addrsvc.model.netdev_chain import (
    call_netdevice_notifiers_info,
    register_netdevice_notifier,
    unregister_netdevice_notifier,
)
from addrsvc.model.notifier import NotifierBlock, NotifierFn
from addrsvc.model.percpu import Cpus, for_each_possible_cpu
from addrsvc.model.proc import proc_read
from addrsvc.model.rtnetlink import rtnetlink_dump, rtnetlink_rcv_msg
from addrsvc.model.rtnl import drain, effect_of, rtnl_lock
from addrsvc.model.structs import AutoAddrs, Effect, Machine, Net, NetDevice, NetDeviceOps, RtnlNotify, Said
from addrsvc.model.sysctl import sysctl_read
from addrsvc.model.timer import HZ, next_expiry, run_timers
from addrsvc.model.tracepoint import Trace
from addrsvc.netlink.messages import LinkMsg, Message
from addrsvc.ports import Echo, Port, ping
from addrsvc.uapi import (
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    ETH_ALEN,
    ETH_HLEN,
    IFF_LIVE_ADDR_CHANGE,
    INT_MAX,
    NET_NAME_USER,
    RTM_DELLINK,
)

__all__ = ["Address", "Linux", "ModelWatch", "Namespace"]

P = ParamSpec("P")
R = TypeVar("R")


class _HasLock(Protocol):
    @property
    def lock(self) -> RLock: ...


_Locked = TypeVar("_Locked", bound=_HasLock)


def _one_at_a_time(method: Callable[Concatenate[_Locked, P], R]) -> Callable[Concatenate[_Locked, P], R]:
    """Let a call from another thread wait until this one is over, so that threads may share a machine."""

    @wraps(method)
    def call(self: _Locked, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return method(self, *args, **kwargs)

    return call


class Linux:
    """A modelled kernel: network namespaces, their devices, and the clock that somebody else turns.

    Args:
        seed: of the model's random decisions; the same calls with the same seed have the same effects.
        trace: whether walks of notifier chains are recorded from the start.
        effects: whether what the model says is kept for effects(); a program that only uses sockets or watches does
            without, and its memory does not grow.
        cpus: how many CPUs there may be, at most 256.
        cmdline: the kernel's command line, of which ``nr_cpus=`` is heeded.
        bits_per_long: 64, or 32 for a machine whose counters are read in two halves.

    Attributes:
        lock: held by each call while it lasts; who has several calls to make undisturbed, or uses a socket of the model
            where other threads do too, holds it.
    """

    def __init__(
        self, *, seed: int = 0, trace: bool = False, effects: bool = True, cpus: int = 2, cmdline: str = "",
        bits_per_long: int = 64,
    ) -> None:  # fmt: skip
        """Boot it.

        Raises:
            ControlError: no CPU, too many, or words of another size.
        """
        self.lock = RLock()
        self.trace = Trace()
        self.trace.on = trace
        try:
            possible = Cpus((1 << max(cpus, 0)) - 1, cmdline, bits_per_long=bits_per_long)
        except ValueError as error:
            raise ControlError(f"cpus: {error}") from None
        self.machine: Machine = boot(Random(seed), trace=self.trace, cpus=possible)
        self._said: list[Said] = []
        self._keeps_effects = effects
        if not effects:
            self.machine.ears.keep(-1)
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

    @_one_at_a_time
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

    @_one_at_a_time
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

    @contextmanager
    def on_cpu(self, cpu: int) -> Iterator[None]:
        """Run what follows on another CPU than the first: packets are counted and queued there.

        Raises:
            ControlError: there is no such CPU.
        """
        possible = list(for_each_possible_cpu(self.machine.cpus))
        if cpu not in possible:
            raise ControlError(f"cpu: {cpu} is none of {', '.join(map(str, possible))}")
        with self.lock:
            before, self.machine.cpu = self.machine.cpu, cpu
            try:
                yield
            finally:
                self.machine.cpu = before

    # --- what goes wrong ---

    @property
    def faults(self) -> Faults:
        """What its netlink sockets do wrong when asked to: ``linux.faults.fail(RTM_NEWADDR, errno=ENOMEM, nth=3)``."""
        if self.netlink.faults is None:
            self.netlink.faults = Faults()
        return self.netlink.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.netlink.faults = faults

    # --- listening in ---

    @_one_at_a_time
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

    @_one_at_a_time
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

    @_one_at_a_time
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
        machine = self.machine
        with self.lock:
            if not machine.rtnl_held:
                run_timers(machine.timers, machine.timers.jiffies)
                self._pump()

    @_one_at_a_time
    def effects(self) -> list[Effect]:
        """Hand out, and forget, all that was said since the last call: RtnlNotify and Printk, in order.

        They are kept until asked for: a program that runs for long asks now and then.
        """
        said, self._said = self._said, []
        return [effect_of(each) for each in said]

    def _pump(self) -> None:
        if not self.machine.effects:
            return
        said = drain(self.machine)
        if self._keeps_effects:
            self._said += said
        self.netlink.hear(said)
        for watch in self._watches:
            watch.hear(said)

    def watch(self, net: str) -> ModelWatch:
        """Subscribe to what one namespace says."""
        watch = ModelWatch(net, self, self._unwatch)
        self._watches.append(watch)
        self.machine.ears.keep(1)
        return watch

    def _unwatch(self, watch: ModelWatch) -> None:
        self._watches.remove(watch)
        self.machine.ears.keep(-1)


class ModelWatch:
    """A subscription to one namespace: iterating yields what was said since the last look."""

    def __init__(self, net: str, linux: Linux, unsubscribe: Callable[[ModelWatch], None]) -> None:
        self.net, self._linux, self._unsubscribe = net, linux, unsubscribe
        self._heard: list[Message] = []
        self._open = True

    def hear(self, said: list[Said]) -> None:
        """Take note of what was said."""
        effects = map(effect_of, said)
        self._heard += [e.msg for e in effects if isinstance(e, RtnlNotify) and e.net == self.net]

    def __iter__(self) -> Iterator[Message]:
        """What was said since the last look."""
        heard, self._heard = self._heard, []
        return iter(heard)

    def wait(self, seconds: float) -> bool:
        """Turn the model's clock until there is something to hear, at most so far; whether there is."""
        end = self._linux.jiffies + round(seconds * HZ)
        while not self._heard and self._linux.jiffies < end:
            due = self._linux.next_expiry()
            self._linux.run_timers(end if due is None else min(due, end))
        return bool(self._heard)

    def now(self) -> float:
        """Seconds on the clock that `wait` turns: the model's own."""
        return self._linux.jiffies / HZ

    def close(self) -> None:
        """End the subscription; a second time does nothing."""
        if self._open:
            self._open = False
            self._unsubscribe(self)

    def __enter__(self) -> ModelWatch:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Namespace(Operations):
    """A network namespace of a modelled kernel.  It is a `Kernel`: request, dump, watch."""

    def __init__(self, linux: Linux, net: Net) -> None:
        self._linux, self.net = linux, net

    @property
    def linux(self) -> Linux:
        """The machine that it belongs to."""
        return self._linux

    @property
    def lock(self) -> RLock:
        """The machine's."""
        return self._linux.lock

    @property
    def name(self) -> str:
        """As it was called when it was made; "init_net" for the first."""
        return self.net.name

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"

    # --- the port ---

    @_one_at_a_time
    def request(self, msg: Message) -> None:
        """Serve one request, and the work it leaves for the kernel's queues.

        Raises:
            KernelError: the modelled kernel refused.
        """
        try:
            rtnetlink_rcv_msg(self.net, msg)
        finally:
            self._linux.settle()

    @_one_at_a_time
    def dump(self) -> tuple[Message, ...]:
        """Devices, IPv4 and IPv6 addresses, IPv6 groups and routes, each in the kernel's order."""
        return rtnetlink_dump(self.net)

    def watch(self) -> ModelWatch:
        """Subscribe to notifications."""
        return self._linux.watch(self.name)

    def socket(self, *, pid: int = 0, admin: bool = True, uid: int = 0) -> NetlinkSock:
        """Open an AF_NETLINK socket of NETLINK_ROUTE in this namespace: bytes in, bytes out.

        Args:
            pid: the port id that it has if it asks for none, as a process has its own; 0 for a made-up one.
            admin: whether the opener has CAP_NET_ADMIN.
            uid: as whom it asks where a route goes; rules may be about that.
        """
        return NetlinkSock(self._linux.netlink, self.net, admin=admin, uid=uid, pid=pid)

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
            raise no_device(name)
        return dev

    def ifindex(self, dev: str) -> int:
        """The number of the device of this name.

        Raises:
            KernelError: ENODEV.
        """
        return self.device(dev).ifindex

    def port(self, dev: str) -> Port:
        """A device's face for packets: ``send`` frames over it, ``tap`` what passes.

        Raises:
            KernelError: ENODEV.
        """
        return Port(self.device(dev), self.lock, self._linux.settle)

    @property
    def lo(self) -> Port:
        """The same for the namespace's own loopback device, whatever its name is now."""
        assert self.net.loopback_dev is not None
        return self.port(self.net.loopback_dev.name)

    @_one_at_a_time
    def ping(self, address: str, *, count: int = 1, size: int = 56) -> list[Echo | None]:
        """Send echo requests of `size` bytes through a ping socket, and give each one's reply; None where none came.

        Raises:
            ControlError: it is no address.
            KernelError: ENETUNREACH, no way leads there; EADDRNOTAVAIL, no address to send from; EMSGSIZE.
        """
        try:
            return ping(self.net, host_address(address), count, size)
        finally:
            self._linux.settle()

    @_one_at_a_time
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

        check_range(INT_MAX, mtu=mtu)
        check_range(0xFFFF, type=int(type))
        check_range(0xFFFFFFFF, flags=flags)
        dev_addr = hwaddr(address) or self._random_hwaddr()
        if len(dev_addr) != ETH_ALEN:
            raise ControlError(f"address: {address!r} has not {ETH_ALEN} bytes")

        def setup(dev: NetDevice) -> None:
            dev.type, dev.mtu, dev.flags = int(type), mtu, flags
            dev.hard_header_len, dev.addr_len = ETH_HLEN, ETH_ALEN
            dev.priv_flags |= IFF_LIVE_ADDR_CHANGE
            dev.netdev_ops = NetDeviceOps(ndo_set_mac_address=eth_mac_addr)
            dev.broadcast = b"\xff" * ETH_ALEN
            dev.dev_addr = dev_addr

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

    @_one_at_a_time
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

    @_one_at_a_time
    def features_set(self, dev: str, mask: int, wanted: int) -> FeatureChanges:
        """Ask for the features in `mask` (NETIF_F_*) to be as in `wanted`, as ``ethtool -K`` does.

        Raises:
            KernelError: ENODEV; EINVAL, a feature that nobody may change.
        """
        device = self.device(dev)
        try:
            with rtnl_lock(self._linux.machine):
                return ethtool_set_features(device, mask, wanted)
        finally:
            self._linux.settle()

    # --- settings and events ---

    @_one_at_a_time
    def read_sysctl(self, name: str) -> str:
        """A setting, as its file below /proc/sys reads, without the line feed.

        Raises:
            KernelError: ENOENT, there is none of this name; EIO, a secret that was never set.
        """
        return sysctl_read(self.net, name)

    @_one_at_a_time
    def proc(self, path: str) -> str:
        """What a file below /proc holds in this namespace: ``net/if_inet6``, ``sys/net/ipv6/conf/lo/mtu``.

        Raises:
            KernelError: ENOENT, the model has no such file; EIO, a secret that was never set.
        """
        return proc_read(self.net, path)

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
