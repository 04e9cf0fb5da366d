"""What there is to see of loopback in a namespace of the running kernel: facts, of which `findings` makes sense."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from errno import ETIMEDOUT
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from addrsvc.daemon.names import Names
from addrsvc.errors import KernelError
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import AddrMsg, LinkMsg, RouteMsg, RuleMsg
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    NLM_F_DUMP,
    RT_TABLE_LOCAL,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWADDR,
    RTN_LOCAL,
)

__all__ = ["IN6ADDR_LOOPBACK", "INADDR_LOOPBACK", "Facts", "Probe", "Settings", "look"]

T = TypeVar("T")

IN6ADDR_LOOPBACK: Final = bytes(15) + b"\x01"
INADDR_LOOPBACK: Final = bytes((127, 0, 0, 1))
_LO_IFINDEX: Final = 1
_PATIENCE: Final = 1.0
"""Seconds that a packet may need to come back to where it was sent from."""


class Probe(NamedTuple):
    """What came of sending a byte from a socket to another one, over loopback.

    Attributes:
        protocol: "TCP" or "UDP".
        address: "::1" or "127.0.0.1".
        step: the system call that failed; empty if none did.
        errno: why it did; ETIMEDOUT where nothing came.
    """

    protocol: str
    address: str
    step: str = ""
    errno: int = 0

    @property
    def works(self) -> bool:
        """Whether the byte arrived."""
        return not self.step

    def __str__(self) -> str:
        """What failed and why, for people."""
        if self.works:
            return f"{self.address} works over {self.protocol}"
        return f"{self.address} does not work over {self.protocol}: {self.step}: {os.strerror(self.errno)}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set below /proc/sys/net/ipv6; None where there is no such file."""

    all_disabled: int | None = None
    default_disabled: int | None = None
    lo_disabled: int | None = None
    bindv6only: int | None = None


_UNKNOWN: Final = Settings()


@dataclass(frozen=True, slots=True)
class Facts:
    """One namespace.

    Attributes:
        spec: how it was named.
        has_ipv6: whether this kernel has IPv6 at all.
        cmdline: of the kernel.
        lo: the loopback device.
        settings: of IPv6.
        addresses: of lo, of both families.
        local: the routes of IPv6's table local that lead to ::1 itself.
        lookup: where the kernel routes what is sent to ::1; its refusal where it does not.
        rules: of IPv6, in order.
        probes: TCP and UDP, over ::1 and over 127.0.0.1.
        names: how localhost is found; None where that is the same as for the host, and told there.
    """

    spec: str
    has_ipv6: bool
    lo: LinkMsg
    cmdline: str = ""
    settings: Settings = _UNKNOWN
    addresses: tuple[AddrMsg, ...] = ()
    local: tuple[RouteMsg, ...] = ()
    lookup: RouteMsg | KernelError | None = None
    rules: tuple[RuleMsg, ...] = ()
    probes: tuple[Probe, ...] = ()
    names: Names | None = None

    @property
    def dev(self) -> str:
        """What the loopback device is called here."""
        return self.lo.ifname or "lo"

    def address(self, wanted: bytes) -> AddrMsg | None:
        """An address of lo."""
        return next((msg for msg in self.addresses if (msg.local or msg.address) == wanted), None)


_ATTEMPTS: Final = 4
"""How often what changes while it is looked at is looked at again."""


def look(spec: str, netns: NetNs, names: Names | None = None) -> Facts:
    """Gather the facts; nothing is changed.

    They are gathered again where the namespace changed meanwhile, so that they fit together.

    Raises:
        KernelError: the namespace cannot be entered.
    """
    with RtnlKernel(netns) as kernel:
        facts = _state(spec, netns, kernel)
        for _ in range(_ATTEMPTS):
            before = facts
            probes = run_in(netns, _probes)
            facts = replace(_state(spec, netns, kernel), probes=probes)
            if _in_short(before) == _in_short(facts):
                break
    return replace(facts, names=names)


def _in_short(facts: Facts) -> tuple[object, ...]:
    """What has to stay while probes run; counters and ages do not."""
    addresses = [(msg.ifa_family, msg.local or msg.address, msg.ifa_flags) for msg in facts.addresses]
    local = [(msg.priority, msg.rtm_flags) for msg in facts.local]
    return facts.lo.ifi_flags, facts.lo.mtu, facts.lo.qdisc, facts.settings, addresses, local, len(facts.rules)


def _state(spec: str, netns: NetNs, kernel: RtnlKernel) -> Facts:
    """All but what is tried out."""
    has_ipv6, settings = run_in(netns, lambda: (_has_ipv6(), _settings()))
    links = kernel.ask(LinkMsg(RTM_GETLINK, ifi_index=_LO_IFINDEX))
    lo = next(msg for msg in links if isinstance(msg, LinkMsg))
    facts = Facts(spec, has_ipv6, lo, Path("/proc/cmdline").read_text(), settings, _addresses(kernel))
    return _with_routes(facts, kernel) if has_ipv6 else facts


def _with_routes(facts: Facts, kernel: RtnlKernel) -> Facts:
    routes = kernel.ask(RouteMsg(RTM_GETROUTE, NLM_F_DUMP, AF_INET6))
    rules = kernel.ask(RuleMsg(RTM_GETRULE, NLM_F_DUMP, AF_INET6))
    return replace(
        facts,
        local=tuple(msg for msg in routes if isinstance(msg, RouteMsg) and _leads_to_loopback(msg)),
        rules=tuple(msg for msg in rules if isinstance(msg, RuleMsg)),
        lookup=_looked_up(kernel),
    )


def _leads_to_loopback(msg: RouteMsg) -> bool:
    is_local = (msg.table, msg.rtm_type) == (RT_TABLE_LOCAL, RTN_LOCAL)
    return is_local and (msg.dst, msg.rtm_dst_len) == (IN6ADDR_LOOPBACK, 128)


def _looked_up(kernel: RtnlKernel) -> RouteMsg | KernelError | None:
    question = RouteMsg(RTM_GETROUTE, rtm_family=AF_INET6, rtm_dst_len=128, dst=IN6ADDR_LOOPBACK)
    try:
        return next((msg for msg in kernel.ask(question) if isinstance(msg, RouteMsg)), None)
    except KernelError as error:
        return error


def _addresses(kernel: RtnlKernel) -> tuple[AddrMsg, ...]:
    return tuple(
        msg
        for family in (AF_INET, AF_INET6)
        for msg in kernel.ask(AddrMsg(RTM_GETADDR, NLM_F_DUMP, family, ifa_prefixlen=0))
        if isinstance(msg, AddrMsg)
        and (msg.nlmsg_type, msg.ifa_family, msg.ifa_index) == (RTM_NEWADDR, family, _LO_IFINDEX)
    )


# --- called inside the namespace --------------------------------------------------------------------------------------


def _has_ipv6() -> bool:
    return Path("/proc/thread-self/net/if_inet6").exists()


def _settings() -> Settings:
    name = socket.if_indextoname(_LO_IFINDEX)
    of_all, default, lo = (_setting(f"conf/{dev}/disable_ipv6") for dev in ("all", "default", name))
    return Settings(of_all, default, lo, _setting("bindv6only"))


def _setting(path: str) -> int | None:
    try:
        return int(Path("/proc/sys/net/ipv6", path).read_text())
    except OSError:
        return None


_KINDS: Final = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
_FAMILIES: Final = {"::1": socket.AF_INET6, "127.0.0.1": socket.AF_INET}


def _probes() -> tuple[Probe, ...]:
    return tuple(_probe(protocol, address) for address in _FAMILIES for protocol in _KINDS)


def _probe(protocol: str, address: str) -> Probe:
    """Bind one socket to an address, and send it a byte from another one."""
    steps = _Steps()
    try:
        with steps.socket(protocol, address) as server, steps.socket(protocol, address) as client:
            steps.run("bind()", lambda: server.bind((address, 0)))
            if protocol == "TCP":
                steps.run("listen()", server.listen)
            steps.run("connect()", lambda: client.connect(server.getsockname()))
            steps.run("send()", lambda: client.send(b"."))
            if protocol == "TCP":
                steps.run("accept()", server.accept)[0].close()
            else:
                steps.run("recv()", lambda: server.recv(1))
    except TimeoutError:
        return Probe(protocol, address, steps.current, ETIMEDOUT)
    except OSError as error:
        return Probe(protocol, address, steps.current, error.errno or ETIMEDOUT)
    return Probe(protocol, address)


class _Steps:
    """Remembers which system call it was that failed."""

    def __init__(self) -> None:
        self.current = "socket()"

    def socket(self, protocol: str, address: str) -> socket.socket:
        sock = socket.socket(_FAMILIES[address], _KINDS[protocol])
        sock.settimeout(_PATIENCE)
        return sock

    def run(self, step: str, call: Callable[[], T]) -> T:
        self.current = step
        return call()
