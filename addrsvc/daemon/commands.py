"""What can be asked of the service: one function and one row per command.

A function's keyword parameters are the command's schema and its docstring is its help, on the control socket and on
the command line alike.  The table is the permission: anyone may run a query, a change needs privilege.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, TypedDict

from addrsvc.daemon.ethtool import features, features_set, link_state
from addrsvc.daemon.packets import capture, ping, send, trace
from addrsvc.errors import ControlError, KernelError
from addrsvc.uapi import ARPHRD_VOID, IF_OPER_NAMES, REFERENCE_RELEASE, Arphrd, NetdevEvent

if TYPE_CHECKING:
    from addrsvc.daemon.service import Mirror, Service
    from addrsvc.linux import Namespace
    from addrsvc.netlink.messages import AddrMsg
    from addrsvc.netlink.text import Json

__all__ = ["CHANGES", "INIT_NET", "QUERIES", "Command", "Said", "bind", "look_up"]

INIT_NET: Final = "init_net"

Command: TypeAlias = Callable[..., Mapping[str, object] | None]


class Links(TypedDict):
    """Devices, spelled as ``ip -j`` spells them."""

    links: list["Json"]


class MirrorStatus(TypedDict):
    """One namespace of the running kernel, and the model's namespace that it follows."""

    netns: str
    net: str
    sent: int
    divergences: list[str]


class NetStatus(TypedDict):
    """One namespace of the model."""

    net: str
    devices: int
    addresses: int


class Status(TypedDict):
    """The service at a glance."""

    version: str
    reference_release: str
    pid: int
    jiffies: int
    next_expiry: int | None
    nets: list[NetStatus]
    mirrors: list[MirrorStatus]
    watchers: int


class PlannedStep(TypedDict):
    """One message that would be sent, and why."""

    text: str
    why: str
    repair: bool
    message: "Json"


class PlannedDivergence(TypedDict):
    """A difference that cannot be sent, and why."""

    why: str
    text: str | None


class NetnsPlan(TypedDict):
    """What would be sent to one namespace of the running kernel."""

    netns: str
    net: str
    steps: list[PlannedStep]
    divergences: list[PlannedDivergence]


class Plans(TypedDict):
    """What would be sent, by namespace."""

    plans: list[NetnsPlan]


class Looks(TypedDict):
    """What a look at each mirrored namespace came to."""

    mirrors: list[MirrorStatus]


class Said(TypedDict):
    """One thing told.

    `kind` is "event" (a chain is called), "callback" (a block of it ran), "message" (an rtnetlink notification),
    "printk", "tracepoint"; or, of the mirror, "sent" (a message to the running kernel), "adopted" (a request to the
    model, for what changed in the running kernel) and "differs" (what cannot be sent).  `depth` is the nesting: what
    stands deeper was caused by what stands above it.
    """

    seq: int
    kind: str
    net: str
    depth: int
    text: str
    data: "Json"


class History(TypedDict):
    """What was said lately, oldest first."""

    news: list[Said]


class Value(TypedDict):
    """A value below /proc/sys."""

    value: str


class Content(TypedDict):
    """What a file below /proc holds."""

    content: str


class Events(TypedDict):
    """The events of the netdevice notifier chain, by name."""

    events: dict[str, int]


# --- queries ------------------------------------------------------------------------------------------------------


def status(service: "Service") -> Status:
    """Show the service at a glance: its namespaces, what it mirrors, what it waits for."""
    import os

    from addrsvc import __version__

    return {
        "version": __version__,
        "reference_release": REFERENCE_RELEASE,
        "pid": os.getpid(),
        "jiffies": service.linux.jiffies,
        "next_expiry": service.linux.next_expiry(),
        "nets": [_net_status(ns) for ns in service.linux.nets.values()],
        "mirrors": [_mirror_status(mirror) for mirror in service.mirrors.values()],
        "watchers": service.watchers,
    }


def _mirror_status(mirror: "Mirror") -> MirrorStatus:
    whys = [divergence.why for divergence in mirror.divergences]
    return {"netns": mirror.name, "net": mirror.net.name, "sent": mirror.sent, "divergences": whys}


def _net_status(ns: "Namespace") -> NetStatus:
    from addrsvc.netlink.text import addr_show_json

    links = addr_show_json(ns.dump())
    return {"net": ns.name, "devices": len(links), "addresses": sum(map(_count_addresses, links))}


def _count_addresses(link: "Json") -> int:
    infos = link["addr_info"]
    return len(infos) if isinstance(infos, list) else 0


def links(service: "Service", *, net: str | None = None, dev: str | None = None, details: bool = False) -> Links:
    """Show devices, as ``ip -j link show`` does."""
    from addrsvc.netlink.text import link_show_json

    return {"links": _of_device(link_show_json(service.net(net).dump(), details=details), dev)}


def addresses(
    service: "Service",
    *,
    net: str | None = None,
    dev: str | None = None,
    family: str | None = None,
    details: bool = False,
) -> Links:
    """Show devices with their addresses, as ``ip -j addr show`` does; family is inet or inet6."""
    from addrsvc.netlink.text import addr_show_json

    shown = _of_device(addr_show_json(service.net(net).dump(), details=details), dev)
    return {"links": shown if family is None else [_of_family(link, family) for link in shown]}


def _of_device(shown: "list[Json]", dev: str | None) -> "list[Json]":
    if dev is None:
        return shown
    found = [link for link in shown if link["ifname"] == dev]
    if not found:
        raise ControlError(f'Device "{dev}" does not exist.{did_you_mean(dev, [str(k["ifname"]) for k in shown])}')
    return found


def _of_family(link: "Json", family: str) -> "Json":
    if family not in ("inet", "inet6"):
        raise ControlError(f"family: {family!r} is neither inet nor inet6")
    infos = link["addr_info"]
    assert isinstance(infos, list)
    hardware = ("link_type", "address", "broadcast")
    return {k: v for k, v in link.items() if k not in hardware} | {
        "addr_info": [info for info in infos if info["family"] == family]
    }


def plan(service: "Service", *, netns: str | None = None) -> Plans:
    """Show what would be sent to the mirrored namespaces of the running kernel, and why; nothing is sent."""
    return {"plans": [_planned(service, name) for name in service.mirror_names(netns)]}


def _planned(service: "Service", name: str) -> NetnsPlan:
    from addrsvc.netlink.text import command_line, names_of, to_json

    mirror = service.mirrors[name]
    todo = mirror.plan()
    names = names_of(() if mirror.kernel is None else mirror.kernel.dump())
    return {
        "netns": name,
        "net": mirror.net.name,
        "steps": [
            {
                "text": command_line(s.message, names),
                "why": s.why,
                "repair": s.is_repair,
                "message": to_json(s.message, names),
            }
            for s in todo.steps
        ],
        "divergences": [
            {"why": d.why, "text": None if d.message is None else command_line(d.message, names)}
            for d in todo.divergences
        ],
    }


def sysctl(service: "Service", *, name: str, net: str | None = None) -> Value:
    """Read a value below /proc/sys of a namespace: ``net.ipv6.conf.lo.disable_ipv6``."""
    return {"value": service.net(net).sysctl(name)}


def proc(service: "Service", *, path: str, net: str | None = None) -> Content:
    """Show a file below /proc of a namespace: ``net/if_inet6``."""
    return {"content": service.net(net).proc(path)}


def history(service: "Service") -> History:
    """Tell what happened lately."""
    return {"news": list(service.history)}


def netdev_events(service: "Service") -> Events:
    """List the events of the netdevice notifier chain with their numbers."""
    return {"events": {event.name: event.value for event in NetdevEvent}}


# --- changes ------------------------------------------------------------------------------------------------------


def link_set(
    service: "Service",
    *,
    dev: str,
    net: str | None = None,
    up: bool | None = None,
    mtu: int | None = None,
    name: str | None = None,
    address: str | None = None,
    broadcast: str | None = None,
    txqlen: int | None = None,
    group: int | None = None,
    alias: str | None = None,
    operstate: str | None = None,
    linkmode: str | None = None,
    addr_gen_mode: str | None = None,
    noarp: bool | None = None,
    multicast: bool | None = None,
    debug: bool | None = None,
    dynamic: bool | None = None,
    promisc: bool | None = None,
    allmulti: bool | None = None,
) -> None:
    """Change a device, as ``ip link set`` does; the events of the change follow from it."""
    from addrsvc.netlink.text import ADDR_GEN_MODES, LINK_MODES

    _device(service, net, dev).link_set(
        dev, name=name, mtu=mtu, address=address, broadcast=broadcast, txqlen=txqlen, group=group, alias=alias,
        operstate=_one_of("operstate", IF_OPER_NAMES, operstate),
        linkmode=_one_of("linkmode", LINK_MODES, linkmode),
        addr_gen_mode=_one_of("addr_gen_mode", ADDR_GEN_MODES, addr_gen_mode),
        **_given(up=up, noarp=noarp, multicast=multicast, debug=debug, dynamic=dynamic, promisc=promisc,
                 allmulti=allmulti),
    )  # fmt: skip


def link_add(
    service: "Service",
    *,
    name: str,
    net: str | None = None,
    arphrd: str = "ether",
    mtu: int = 1500,
    address: str | None = None,
) -> None:
    """Register a device of the model: of an ARPHRD type by name (``ether``, ``sit``) or number."""
    service.net(net).link_add(name, type=_arphrd(arphrd), mtu=mtu, address=address)


def link_del(service: "Service", *, dev: str, net: str | None = None) -> None:
    """Unregister a device of the model."""
    _device(service, net, dev).link_del(dev)


def addr_add(
    service: "Service",
    *,
    address: str,
    dev: str,
    net: str | None = None,
    peer: str | None = None,
    metric: int | None = None,
    proto: int | None = None,
    valid_lft: int | None = None,
    preferred_lft: int | None = None,
    nodad: bool = False,
    noprefixroute: bool = False,
) -> None:
    """Add an address to a device, as ``ip addr add`` does."""
    _device(service, net, dev).addr_add(
        address, dev, peer=peer, nodad=nodad, noprefixroute=noprefixroute, metric=metric, proto=proto,
        valid_lft=valid_lft, preferred_lft=preferred_lft,
    )  # fmt: skip


def addr_del(service: "Service", *, address: str, dev: str, net: str | None = None) -> None:
    """Delete an address from a device, as ``ip addr del`` does."""
    namespace = _device(service, net, dev)
    try:
        namespace.addr_del(address, dev)
    except KernelError:
        ifindex = namespace.device(dev).ifindex
        if not service.withdraw(namespace.name, lambda msg: msg.ifa_index == ifindex and _is(msg, address)):
            raise


def _is(msg: "AddrMsg", address: str) -> bool:
    from netaddr import IPNetwork

    meant = IPNetwork(address)
    return (msg.local or msg.address, msg.ifa_prefixlen) == (meant.ip.packed, meant.prefixlen)


def inject(
    service: "Service", *, event: str, dev: str, net: str | None = None, info: dict[str, str] | None = None
) -> None:
    """Call the notifier chain with an event, by name or number, for a device; no state is changed before the call."""
    if taken := {"self", "event", "dev"} & set(info or {}):
        raise ControlError(f"info: {min(taken)} is no info of an event")
    _device(service, net, dev).inject(event, dev, **(info or {}))


def sysctl_set(service: "Service", *, name: str, value: str, net: str | None = None) -> None:
    """Write a value below /proc/sys of a namespace."""
    service.net(net).sysctl(name, value)


def net_add(service: "Service", *, net: str) -> None:
    """Make a namespace of the model; its loopback device comes with it, down."""
    if not net or not net.isprintable() or net.isspace():
        raise ControlError(f"net: {net!r} is no name")
    service.linux.add_net(net)


def net_del(service: "Service", *, net: str) -> None:
    """Remove a namespace of the model, with its devices."""
    for mirror in service.mirrors.values():
        if mirror.net.name == net:
            raise ControlError(f"net: {net!r} is mirrored onto {mirror.name}")
    service.linux.del_net(net)


def converge(service: "Service", *, netns: str | None = None) -> Looks:
    """Look at the mirrored namespaces of the running kernel now, send what is missing, and tell what cannot be sent."""
    return {"mirrors": [_mirror_status(mirror) for mirror in service.look(service.mirror_names(netns))]}


QUERIES: Final[dict[str, Command]] = {
    "status": status,
    "links": links,
    "addresses": addresses,
    "plan": plan,
    "sysctl": sysctl,
    "proc": proc,
    "features": features,
    "link_state": link_state,
    "history": history,
    "netdev_events": netdev_events,
}
CHANGES: Final[dict[str, Command]] = {
    "link_set": link_set,
    "link_add": link_add,
    "link_del": link_del,
    "addr_add": addr_add,
    "addr_del": addr_del,
    "features_set": features_set,
    "send": send,
    "ping": ping,
    "capture": capture,
    "trace": trace,
    "inject": inject,
    "sysctl_set": sysctl_set,
    "net_add": net_add,
    "net_del": net_del,
    "converge": converge,
}


def look_up(command: str) -> Command:
    """The function of a command.

    Raises:
        ControlError: there is no such command.
    """
    found = QUERIES.get(command) or CHANGES.get(command)
    if found is None:
        raise ControlError(f"no command {command!r}{did_you_mean(command, [*QUERIES, *CHANGES])}")
    return found


def bind(command: Callable[..., object], parameters: Mapping[str, object]) -> dict[str, object]:
    """The parameters, if a command would take them.

    Raises:
        ControlError: one is missing, is none of the command's, or has a value that no message could carry.
    """
    known = dict(list(inspect.signature(command).parameters.items())[1:])
    given = {name: value for name, value in parameters.items() if value is not None}
    for name, value in given.items():
        if name not in known:
            raise ControlError(f"no parameter {name!r}{did_you_mean(name, list(known))}")
        _check(name, value)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            raise ControlError(f"{name}: missing")
    return given


_U32_MAX: Final = 0xFFFFFFFF
_LARGEST: Final = {"proto": 0xFF}


def _check(name: str, value: object) -> None:
    largest = _LARGEST.get(name, _U32_MAX)
    match value:
        case int() if not 0 <= value <= largest:
            raise ControlError(f"{name}: {value} is not between 0 and {largest}")
        case str() if not _is_text(value):
            raise ControlError(f"{name}: {value!r} is no text")


def _is_text(value: str) -> bool:
    """Whether a kernel could be told it: it has bytes, and none of them is zero."""
    try:
        return b"\0" not in value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False


def did_you_mean(word: str, known: list[str]) -> str:
    """`` (did you mean lo?)``, or nothing where nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def _given(**values: bool | None) -> dict[str, bool]:
    return {key: value for key, value in values.items() if value is not None}


def _device(service: "Service", net: str | None, dev: str) -> "Namespace":
    """The namespace, if it has the device."""
    namespace = service.net(net)
    if dev not in (known := namespace.links()):
        raise ControlError(f'Cannot find device "{dev}"{did_you_mean(dev, known)}')
    return namespace


def _one_of(parameter: str, known: Sequence[str], text: str | None) -> int | None:
    if text is None:
        return None
    spelled = [word.lower() for word in known]
    if text.lower() not in spelled:
        raise ControlError(f"{parameter}: {text!r} is none of {', '.join(spelled)}")
    return spelled.index(text.lower())


def _arphrd(text: str) -> int:
    if text.isdecimal() and int(text) <= ARPHRD_VOID:
        return int(text)
    known = {kind.name.removeprefix("ARPHRD_").lower(): kind.value for kind in Arphrd}
    if text.lower() not in known:
        raise ControlError(f"arphrd: {text!r} is no device type{did_you_mean(text.lower(), list(known))}")
    return known[text.lower()]
