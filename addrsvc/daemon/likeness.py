"""A fresh model that is like a namespace of the running kernel: its devices, settings, addresses and routes.

Nothing is copied into the model's memory.  It is asked for what the running kernel was asked for, in an order that
leads to the same lists, so that what it does from there on is what the running kernel would do.  Where it cannot become
alike it says so.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from struct import Struct
from typing import Final, TypeAlias

from addrsvc.errors import KernelError
from addrsvc.linux import Linux, Namespace
from addrsvc.mirror.netns import run_in
from addrsvc.mirror.plan import adopt
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.model.eth import eth_header_ops, eth_mac_addr, eth_validate_addr, ether_setup, validate_ether_link
from addrsvc.model.link_watch import netif_carrier_off, netif_carrier_on
from addrsvc.model.rtnl_link_ops import rtnl_link_register
from addrsvc.model.structs import NetDevice, NetDeviceOps, RtnlLinkOps
from addrsvc.model.sysctl import sysctl_names
from addrsvc.netlink.codec import decode, encode, knows
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, LinkInfo, LinkMsg, Message, RouteMsg, Sysctl, WireMessage
from addrsvc.netlink.text import line, names_of
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    DEVCONF_MTU6,
    IF_OPER_UP,
    IF_READY,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_TENTATIVE,
    IFAPROT_KERNEL_LO,
    IFF_LIVE_ADDR_CHANGE,
    IFF_NO_QUEUE,
    IFF_UP,
    INFINITY_LIFE_TIME,
    IPV6_MIN_MTU,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTN_LOCAL,
    RTNH_F_ONLINK,
)

__all__ = ["Key", "Likeness", "address_key", "like", "route_key"]

_NAME: Final = "what-if"
_DAD: Final = 4.0
"""Seconds after which the addresses of a device that came up are no longer tentative."""
_NLMSGHDR: Final = Struct("=IHHII")
_S32: Final = Struct("=i")
_ROUTES: Final = tuple(RouteMsg(RTM_GETROUTE, NLM_F_DUMP, family) for family in (AF_INET, AF_INET6))

Key: TypeAlias = tuple[object, ...]
"""What tells an address or a route from all others of a namespace, and what can be asked for of it."""


@dataclass(slots=True)
class Likeness:
    """A model, and in what it is not like the namespace.

    Attributes:
        linux: the model.
        net: its namespace.
        notes: what could not be taken over, for people.
    """

    linux: Linux
    net: Namespace
    notes: list[str] = field(default_factory=list)

    def routes(self) -> list[RouteMsg]:
        """All routes of both families."""
        return [msg for question in _ROUTES for msg in self._ask(question) if isinstance(msg, RouteMsg)]

    def request(self, msg: Message) -> None:
        """Ask for something, routes included; that it is refused becomes a note."""
        try:
            if isinstance(msg, RouteMsg):
                self._ask(msg)
            else:
                self.net.request(msg)
        except KernelError as error:
            self.notes.append(f"not taken over: {line(msg, names_of(self.net.dump()))}: {error}")

    def _ask(self, msg: RouteMsg) -> list[WireMessage]:
        """Send a request by a socket, and give what is answered."""
        sock = self.net.socket()
        sock.send(encode(replace(msg, nlmsg_flags=msg.nlmsg_flags | NLM_F_REQUEST | NLM_F_ACK), 1))
        answers = [answer for datagram in sock for answer in _answers(datagram.data)]
        sock.close()
        return answers


def _answers(data: bytes) -> Iterator[WireMessage]:
    at = 0
    while at + _NLMSGHDR.size <= len(data):
        length, nlmsg_type, *_ = _NLMSGHDR.unpack_from(data, at)
        if nlmsg_type == NLMSG_ERROR and (code := _S32.unpack_from(data, at + _NLMSGHDR.size)[0]):
            raise KernelError(-code)
        if knows(nlmsg_type):
            yield decode(data, at)
        at += length + 3 & ~3


def like(kernel: RtnlKernel) -> Likeness:
    """A model like a namespace of the running kernel.

    Raises:
        KernelError: the namespace cannot be looked at.
    """
    observed = kernel.dump()
    routes = [msg for question in _ROUTES for msg in kernel.ask(question) if isinstance(msg, RouteMsg)]
    linux = Linux(effects=False)
    linux.advance(1)  # so that no time stamp is 0
    found = Likeness(linux, linux.add_net(_NAME))
    links = [msg for msg in observed if isinstance(msg, LinkMsg)]
    _make_devices(found, links)
    _settings(found, kernel)
    _links(found, observed)
    linux.advance(_DAD)
    _addresses(found, observed)
    if any(msg.ifi_index != _LO and msg.ifi_flags & IFF_UP for msg in links):  # lo detects no duplicates
        linux.advance(_DAD)
    _routes(found, routes)
    _differences(found, observed, routes)
    found.notes = list(dict.fromkeys(found.notes))
    return found


# --- devices ----------------------------------------------------------------------------------------------------------


def _make_devices(found: Likeness, links: Iterable[LinkMsg]) -> None:
    for link in sorted(links, key=lambda link: link.ifi_index):
        kind = (link.linkinfo and link.linkinfo.kind) or "device"
        if link.ifi_type == ARPHRD_LOOPBACK:
            found.request(LinkMsg(ifi_index=link.ifi_index, ifname=link.ifname))
            continue
        if link.ifi_type != ARPHRD_ETHER:
            found.notes.append(f"{link.ifname} ({kind}) is left out: the model has no such devices")
            continue
        if kind not in _OF_THE_MODEL:
            ops = RtnlLinkOps(kind, partial(_ether_setup, link), validate_ether_link)
            rtnl_link_register(found.linux.machine, ops)
            found.notes.append(f"{link.ifname} ({kind}) is plain Ethernet here: what its driver does is not foretold")
        found.request(
            LinkMsg(
                RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifi_index=link.ifi_index, ifname=link.ifname, mtu=link.mtu,
                address=link.address, linkinfo=LinkInfo(kind=kind), num_tx_queues=link.num_tx_queues,
                num_rx_queues=link.num_rx_queues,
            )
        )  # fmt: skip


_OF_THE_MODEL: Final = ("dummy", "ifb")


def _change_carrier(dev: NetDevice, new_carrier: bool) -> None:  # noqa: FBT001 - the operation's signature
    (netif_carrier_on if new_carrier else netif_carrier_off)(dev)


_OPS: Final = NetDeviceOps(
    ndo_validate_addr=eth_validate_addr, ndo_set_mac_address=eth_mac_addr, ndo_change_carrier=_change_carrier
)


def _ether_setup(link: LinkMsg, dev: NetDevice) -> None:
    """An Ethernet device over which nothing travels."""
    ether_setup(dev)
    dev.netdev_ops, dev.header_ops = _OPS, eth_header_ops
    dev.priv_flags |= IFF_LIVE_ADDR_CHANGE | (IFF_NO_QUEUE if link.qdisc in ("noqueue", _NEVER_UP) else 0)
    dev.min_mtu = dev.max_mtu = 0


def _links(found: Likeness, observed: tuple[Message, ...]) -> None:
    """What each device is like; its MTU comes last, as a small one undoes what coming up does."""
    for msg in adopt(observed, found.net.dump()):
        if isinstance(msg, LinkMsg) and msg.mtu is None:
            found.request(msg)
    modelled = {msg.ifi_index: msg for msg in found.net.dump() if isinstance(msg, LinkMsg)}
    for link in observed:
        if isinstance(link, LinkMsg) and link.ifi_index in modelled:
            _history(found, link, modelled[link.ifi_index], observed)


def _history(found: Likeness, link: LinkMsg, modelled: LinkMsg, observed: tuple[Message, ...]) -> None:
    """Let a device go through what it must have gone through."""
    ifindex = link.ifi_index
    if link.qdisc != _NEVER_UP and not _is_up(link):
        found.request(LinkMsg(ifi_index=ifindex, ifi_flags=IFF_UP, ifi_change=IFF_UP))
        _give(found, _kept(observed, ifindex), AF_INET6, ifindex)
        found.linux.advance(_DAD)
        found.request(LinkMsg(ifi_index=ifindex, ifi_change=IFF_UP))
    mtus = list(_mtus(link, modelled))
    if _is_up(link) and min(mtus, default=IPV6_MIN_MTU) < IPV6_MIN_MTU:
        _give(found, _kept(observed, ifindex), AF_INET6, ifindex)
    for mtu in mtus:
        found.request(LinkMsg(ifi_index=ifindex, mtu=mtu))
    if IPV6_MIN_MTU <= _mtu6(link) < (link.mtu or 0):
        found.request(Sysctl(f"net.ipv6.conf.{(link.ifname or '').replace('.', '/')}.mtu", str(_mtu6(link))))
    if not _is_up(link) and any(msg.proto == IFAPROT_KERNEL_LO for msg in _given(observed, AF_INET6, ifindex)):
        _have_loopback_made(found, link)
    for carrier in _carriers(link):
        found.request(LinkMsg(ifi_index=ifindex, carrier=carrier))


def _have_loopback_made(found: Likeness, link: LinkMsg) -> None:
    """Have the kernel make ::1 on a device that is down, as it does when told anew how addresses are made there."""
    mode = (link.inet6 and link.inet6.addr_gen_mode) or 0
    setting = f"net.ipv6.conf.{(link.ifname or '').replace('.', '/')}.addr_gen_mode"
    for value in (int(not mode), mode):
        found.request(Sysctl(setting, str(value)))


def _kept(observed: tuple[Message, ...], ifindex: int) -> list[AddrMsg]:
    """The addresses that a device had when IPv6 went down on it: those have no local route any more."""
    routed = {
        msg.dst for msg in observed if isinstance(msg, RouteMsg) and (msg.oif, msg.rtm_type) == (ifindex, RTN_LOCAL)
    }
    return [msg for msg in _given(observed, AF_INET6, ifindex) if (msg.local or msg.address) not in routed]


def _carriers(link: LinkMsg) -> tuple[int, ...]:
    """What became of the carrier: none is UP, and not UNKNOWN, but a device whose carrier has come once."""
    if link.carrier == 0 and _is_up(link):
        return (0,)
    return (0, 1) if link.operstate == IF_OPER_UP else ()


_NEVER_UP: Final = "noop"
"""The queueing discipline of a device that has never been up."""


def _mtus(link: LinkMsg, modelled: LinkMsg) -> Iterator[int]:
    """The MTUs that a device has had, as far as that can still be seen.

    After one below what IPv6 needs its IPv6 half is not ready, until it comes up again; and that half keeps the last
    MTU that was enough.
    """
    if _is_ready(modelled) and not _is_ready(link):
        yield IPV6_MIN_MTU - 1
    if _mtu6(link) >= IPV6_MIN_MTU > (link.mtu or 0):
        yield _mtu6(link)
    if link.mtu is not None:
        yield link.mtu


def _mtu6(link: LinkMsg) -> int:
    conf = link.inet6 and link.inet6.conf
    return conf[DEVCONF_MTU6] if conf else 0


def _is_up(link: LinkMsg) -> bool:
    return bool(link.ifi_flags & IFF_UP)


def _is_ready(link: LinkMsg) -> bool:
    return link.inet6 is not None and bool((link.inet6.flags or 0) & IF_READY)


# --- settings ---------------------------------------------------------------------------------------------------------

_OF_EVERY_DEVICE: Final = (".all.", ".default.")
"""What is written to these is copied to others."""
_NO_SETTINGS: Final = (".mtu", ".stable_secret")


def _settings(found: Likeness, kernel: RtnlKernel) -> None:
    """Write what reads otherwise in the namespace: of all, of default, and then of each device."""
    names = [name for name in sysctl_names(found.net.net) if name.startswith(("net.ipv4.", "net.ipv6."))]
    there = run_in(kernel.netns, lambda: {name: _read(name) for name in names})
    for name in sorted(names, key=_generality):
        value = there[name]
        if value is not None and not name.endswith(_NO_SETTINGS) and value != found.net.sysctl(name):
            found.request(Sysctl(name, value))


def _generality(name: str) -> int:
    if ".conf." not in name:
        return -1
    return next((nth for nth, word in enumerate(_OF_EVERY_DEVICE) if word in name), len(_OF_EVERY_DEVICE))


def _read(name: str) -> str | None:
    """A setting of the namespace that the calling thread is in; None where it has none of that name."""
    path = os.path.join("/proc/sys", *(part.replace("/", ".") for part in name.split(".")))
    try:
        with open(path, encoding="ascii") as file:
            return file.read().rstrip("\n")
    except OSError:
        return None


# --- addresses --------------------------------------------------------------------------------------------------------

_ASKABLE: Final = IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN
_FOREVER: Final = IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)


def address_key(msg: AddrMsg) -> Key:
    """An address and all that it was given with, without what changes by itself."""
    life = msg.cacheinfo or _FOREVER
    flags = (msg.ifa_flags if msg.flags is None else msg.flags) & ~(IFA_F_TENTATIVE | IFA_F_DEPRECATED)
    return (
        msg.ifa_family, msg.ifa_index, msg.local or msg.address, msg.address, msg.ifa_prefixlen, msg.ifa_scope, flags,
        msg.label, msg.broadcast, msg.proto or 0, msg.rt_priority or 0, life.ifa_prefered == INFINITY_LIFE_TIME,
        life.ifa_valid == INFINITY_LIFE_TIME,
    )  # fmt: skip


def _given(dump: Iterable[Message], family: int, ifindex: int) -> list[AddrMsg]:
    """The addresses of a device, in the order of its list."""
    wanted = (RTM_NEWADDR, family, ifindex)
    return [
        msg for msg in dump if isinstance(msg, AddrMsg) and (msg.nlmsg_type, msg.ifa_family, msg.ifa_index) == wanted
    ]


def _addresses(found: Likeness, observed: tuple[Message, ...]) -> None:
    for link in [msg for msg in found.net.dump() if isinstance(msg, LinkMsg)]:
        for family in (AF_INET, AF_INET6):
            _give(found, _given(observed, family, link.ifi_index), family, link.ifi_index)


def _give(found: Likeness, wanted: list[AddrMsg], family: int, ifindex: int) -> None:
    """Make the list of a device the wanted one; what is there already may stay, where that makes the same order."""
    keys = [address_key(msg) for msg in wanted]
    for msg in _given(found.net.dump(), family, ifindex):
        if address_key(msg) not in keys:
            found.request(_deletion(msg))
    _add(found, wanted, family, ifindex)
    there = _given(found.net.dump(), family, ifindex)
    if [address_key(msg) for msg in there] != keys:
        for msg in there:
            found.request(_deletion(msg))
        _add(found, wanted, family, ifindex)


def _add(found: Likeness, wanted: list[AddrMsg], family: int, ifindex: int) -> None:
    """Add those that are not there, in the order that leads to the list: IPv6 has the newest first."""
    there = {address_key(msg) for msg in _given(found.net.dump(), family, ifindex)}
    for msg in wanted if family == AF_INET else reversed(wanted):
        if address_key(msg) not in there:
            found.request(_addition(msg))


def _deletion(msg: AddrMsg) -> AddrMsg:
    return AddrMsg(
        RTM_DELADDR, ifa_family=msg.ifa_family, ifa_prefixlen=msg.ifa_prefixlen, ifa_index=msg.ifa_index,
        local=msg.local or msg.address, address=msg.address,
    )  # fmt: skip


def _addition(msg: AddrMsg) -> AddrMsg:
    """The request that an address came from."""
    flags = (msg.ifa_flags if msg.flags is None else msg.flags) & _ASKABLE
    life = msg.cacheinfo or _FOREVER
    is_forever = (life.ifa_prefered, life.ifa_valid) == (INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)
    return replace(
        msg, nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, ifa_flags=flags & 0xFF, flags=flags or None, unknown=(),
        cacheinfo=None if is_forever else IfaCacheinfo(life.ifa_prefered, life.ifa_valid),
    )  # fmt: skip


# --- routes -----------------------------------------------------------------------------------------------------------


def route_key(msg: RouteMsg) -> Key:
    """A route, without what changes by itself."""
    return (
        msg.rtm_family, msg.dst, msg.rtm_dst_len, msg.src, msg.rtm_src_len, msg.table or msg.rtm_table, msg.rtm_tos,
        msg.priority or 0, msg.rtm_type, msg.oif, msg.gateway, msg.via, msg.multipath, msg.prefsrc, msg.rtm_protocol,
    )  # fmt: skip


def _routes(found: Likeness, wanted: list[RouteMsg]) -> None:
    keys = {route_key(msg) for msg in wanted}
    there = found.routes()
    for msg in there:
        if route_key(msg) not in keys:
            found.request(_as_request(msg, RTM_DELROUTE, 0))
    kept = {route_key(msg) for msg in there}
    for msg in sorted(wanted, key=lambda msg: msg.gateway is not None):  # what leads to a gateway comes before it
        if route_key(msg) not in kept:
            found.request(_as_request(msg, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND))


def _as_request(msg: RouteMsg, nlmsg_type: int, nlmsg_flags: int) -> RouteMsg:
    return replace(
        msg, nlmsg_type=nlmsg_type, nlmsg_flags=nlmsg_flags, rtm_flags=msg.rtm_flags & RTNH_F_ONLINK, cacheinfo=None,
        fib_prefsrc=None, unknown=(),
    )  # fmt: skip


# --- how alike it is --------------------------------------------------------------------------------------------------


def _differences(found: Likeness, observed: tuple[Message, ...], routes: list[RouteMsg]) -> None:
    """Tell what is not alike in the end, for whatever reason."""
    model, names = found.net.dump(), names_of(observed)
    known = {msg.ifi_index for msg in model if isinstance(msg, LinkMsg)}
    wanted = _by_key([msg for msg in (*observed, *routes) if _device(msg) in known])
    made = _by_key([*model, *found.routes()])
    for text, here, there in (("only in the namespace", wanted, made), ("only in the model", made, wanted)):
        found.notes += [f"{text}: {line(msg, names)}" for key, msg in here.items() if key not in there]


def _device(msg: Message) -> int | None:
    match msg:
        case AddrMsg():
            return msg.ifa_index
        case RouteMsg():
            return msg.oif if msg.oif is not None else _LO
        case LinkMsg():
            return msg.ifi_index
    return None


_LO: Final = 1


def _by_key(messages: Iterable[Message]) -> Mapping[Key, Message]:
    found: dict[Key, Message] = {}
    for msg in messages:
        match msg:
            case AddrMsg(nlmsg_type=nlmsg_type) if nlmsg_type == RTM_NEWADDR:
                found[address_key(msg)] = msg
            case RouteMsg():
                found[route_key(msg)] = msg
            case LinkMsg():
                found[msg.ifi_index, msg.ifname, msg.ifi_flags, msg.mtu, msg.address] = msg
    return found
