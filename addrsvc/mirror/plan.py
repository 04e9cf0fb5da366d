"""From two dumps to what has to be sent, and what cannot be: pure values in, pure values out, no kernel.

The rules, in the order in which they decide:

* Causes before effects.  While a device needs something itself, its addresses wait for the next look: a kernel
  makes ::1 and 127.0.0.1 when the loopback device comes up, so `lo up` is all that is sent.
* What a kernel makes by itself is restored only when its cause has passed: ::1 deleted by hand from a device that is
  up comes back as one RTM_NEWADDR that claims IFAPROT_KERNEL_LO and makes no prefix route.
* The host's own is the host's.  Only addresses that carry IFAPROT_ADDRSVC are changed or removed.  A link's
  properties are sent only where the model was changed since the `baseline`, and adopted where only the kernel was;
  being up is the one exception, because it is the main job: it is asserted.
* Routes and multicast groups are effects of addresses; neither is compared or sent.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, Inet6LinkInfo, LinkMsg, Message, Sysctl
from addrsvc.netlink.text import inet_ntop
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    ARPHRD_LOOPBACK,
    IF_OPER_DORMANT,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFAPROT_ADDRSVC,
    IFAPROT_KERNEL_LL,
    IFAPROT_KERNEL_LO,
    IFAPROT_KERNEL_RA,
    IFAPROT_NAMES,
    IFF_ALLMULTI,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_MULTICAST,
    IFF_NAMES,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_UP,
    INFINITY_LIFE_TIME,
    IPV6_MIN_MTU,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_HOST,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTM_NEWLINK,
)

__all__ = ["IFAPROT_ADDRSVC", "Divergence", "Dump", "Plan", "Step", "adopt", "lost", "plan", "rebase"]

T = TypeVar("T")

Dump: TypeAlias = tuple[Message, ...]

_FOREVER: Final = IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)
_LIFETIME_SLACK: Final = 2  # seconds: both sides count down, each by its own clock
_LOCALHOST: Final = (AF_INET, bytes((127, 0, 0, 1)), 8)
_IN6ADDR_LOOPBACK: Final = bytes(15) + b"\x01"
_LOCALHOST6: Final = (AF_INET6, _IN6ADDR_LOOPBACK, 0)
_ASKABLE: Final = IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN


@dataclass(frozen=True, slots=True)
class Step:
    """One request to send, and the reason for it."""

    message: Message
    why: str
    is_repair: bool = False
    """It restores what the kernel made by itself and somebody took away."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """A difference that stays: why it does and, if there is one, the message that is about it."""

    why: str
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, in sending order, and what cannot be sent."""

    steps: tuple[Step, ...] = ()
    divergences: tuple[Divergence, ...] = ()


_Item: TypeAlias = Step | Divergence
_Key: TypeAlias = tuple[int, bytes, int]


def plan(desired: Dump, observed: Dump, *, baseline: Dump = (), refused: Container[Message] = ()) -> Plan:
    """Tell how to make `observed` look like `desired`.

    Args:
        desired: a dump of the model's namespace.
        observed: a dump of the kernel's namespace.
        baseline: the model's namespace when it last agreed with the kernel's, see `adopt`.  Link properties (MTU,
            alias, flags, disable_ipv6, ...) are sent where `desired` differs from it; without one, none is.
        refused: messages that this kernel has refused before; they are not planned again.
    """
    items: list[_Item] = []
    for device in _devices(desired, observed, baseline):
        items += _plan_device(device, refused)
    items += _absent(desired, observed)
    return Plan(
        tuple(item for item in items if isinstance(item, Step)),
        tuple(item for item in items if isinstance(item, Divergence)),
    )


def adopt(observed: Dump, model: Dump, *, baseline: Dump = ()) -> tuple[Message, ...]:
    """The requests by which the model's namespace takes over what is new in the kernel's, so that it never resets it.

    Those are the properties of the devices that both have (MTU, names, hardware addresses, queue length, group, alias,
    flags, addr_gen_mode, disable_ipv6 and, last, being up; never being down) that the model has not changed itself
    since the `baseline`.  Of a device that is not in the baseline, those are all of them, and then the addresses that
    carry our mark: what an earlier service gave outlives it.  Operational state and keep_addr_on_down are not taken
    over: the one is an effect, the other not in a dump.  Neither are foreign addresses, which are never touched.

    Args:
        observed: a dump of the kernel's namespace.
        model: a dump of the model's namespace.
        baseline: what the two last agreed on, see `rebase`.
    """
    devices = list(_devices(model, observed, baseline))
    links = (message for device in devices for message in _news(device))
    return (*links, *(message for device in devices for message in _inherited(device)))


def _news(device: "_Device") -> Iterator[Message]:
    asked = _asked(device)
    for name, message in _changes(device.seen, device.wanted):
        if name not in asked and (name != "UP" or device.seen.ifi_flags & IFF_UP):
            yield message


def _inherited(device: "_Device") -> Iterator[AddrMsg]:
    if device.before is not None:
        return
    for there in _in_order_of_adding(device.seen_addresses.values()):
        if there.proto == IFAPROT_ADDRSVC and _key(there) not in device.wanted_addresses:
            yield _marked(there, device.wanted.ifi_index)


def lost(before: Dump, after: Dump) -> tuple[AddrMsg, ...]:
    """The requests that give back to the model the addresses that it lost by adopting something.

    Args:
        before: a dump of the model's namespace.
        after: a later one.
    """
    then, now = _addresses(before), _addresses(after)
    return tuple(
        _again(msg, link)
        for link in _links(before).values()
        for msg in _in_order_of_adding(then.get(link.ifi_index, {}).values())
        if _key(msg) not in now.get(link.ifi_index, {}) and not _is_brought_by_the_network(msg, link)
    )


def _again(msg: AddrMsg, link: LinkMsg) -> AddrMsg:
    if _is_kernel_made(msg, link):
        return _recipe(msg, link)
    flags = _flags(msg) & _ASKABLE
    return replace(_marked(msg, link.ifi_index), ifa_flags=flags & 0xFF, flags=flags, proto=msg.proto)


def rebase(desired: Dump, observed: Dump, baseline: Dump, *, with_new: bool = False) -> Dump:
    """The baseline after a look: what has been brought in line, property by property, counts from now on.

    Args:
        desired: a dump of the model's namespace.
        observed: a dump of the kernel's namespace, taken after everything was sent or adopted.
        baseline: the baseline until now.
        with_new: devices that the baseline lacks count from now on, too.
    """
    devices = _devices(desired, observed, baseline)
    return tuple(_agreed(device) for device in devices if device.before or with_new)


def _agreed(device: "_Device") -> LinkMsg:
    """The device as both sides have it and, in properties where they differ, as the baseline has it."""
    link = device.wanted
    differing = {name for name, _ in _changes(device.wanted, device.seen)}
    for name, before in _changes(device.before, device.wanted) if device.before else ():
        if name in differing:
            link = _put(link, before)
    return link


# --- devices ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Device:
    """One device as both sides and the baseline have it, and the addresses that each side has on it."""

    wanted: LinkMsg
    seen: LinkMsg
    before: LinkMsg | None
    wanted_addresses: Mapping[_Key, AddrMsg]
    seen_addresses: Mapping[_Key, AddrMsg]

    @property
    def name(self) -> str:
        return self.seen.ifname or f"if{self.seen.ifi_index}"


def _devices(desired: Dump, observed: Dump, baseline: Dump) -> Iterator[_Device]:
    seen, before = _links(observed), _links(baseline)
    ours, theirs = _addresses(desired), _addresses(observed)
    for key, link in _links(desired).items():
        if there := seen.get(key):
            yield _Device(
                link, there, before.get(key), ours.get(link.ifi_index, {}), theirs.get(there.ifi_index, {})
            )  # fmt: skip


def _absent(desired: Dump, observed: Dump) -> Iterator[Divergence]:
    seen = _links(observed)
    for key, link in _links(desired).items():
        if key not in seen:
            yield Divergence(f"{link.ifname} is not in the kernel, and addrsvc makes no devices", link)


def _links(dump: Dump) -> dict[str, LinkMsg]:
    """Devices by name; the loopback device, of which each namespace has one, by no name, as it can be renamed."""
    links = (msg for msg in dump if isinstance(msg, LinkMsg))
    return {
        "" if link.ifi_type == ARPHRD_LOOPBACK else link.ifname or "": link
        for link in links
        if (link.nlmsg_type, link.ifi_family) == (RTM_NEWLINK, AF_UNSPEC)
    }


def _addresses(dump: Dump) -> dict[int, dict[_Key, AddrMsg]]:
    by_index: dict[int, dict[_Key, AddrMsg]] = {}
    for msg in dump:
        if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR:
            by_index.setdefault(msg.ifa_index, {})[_key(msg)] = msg
    return by_index


def _plan_device(device: _Device, refused: Container[Message]) -> Iterator[_Item]:
    cost = _cost_of_up(device)
    if cost:
        yield Divergence(cost)
        return
    yield from _unpromised(device)
    links = [step for step in _link_steps(device) if step.message not in refused]
    if links:
        yield from links
        return
    if device.seen.ifi_flags & ~device.wanted.ifi_flags & IFF_UP:
        yield Divergence(f"{device.name} is down in the model; somebody else has it up, and so it stays")
    for item in _address_items(device):
        if not (isinstance(item, Step) and item.message in refused):
            yield item


# --- link properties ----------------------------------------------------------------------------------------------


def _asked(device: _Device) -> set[str]:
    """The properties that the model was changed in since the baseline."""
    return {name for name, _ in _changes(device.wanted, device.before)} if device.before else set()


def _link_steps(device: _Device) -> Iterator[Step]:
    asked = _asked(device)
    for name, message in _changes(device.wanted, device.seen):
        if name == "UP" and device.wanted.ifi_flags & IFF_UP:
            yield Step(message, _why_up(device))
        elif name in asked:
            yield Step(message, f"{name} of {device.name} was changed in the model")


def _cost_of_up(device: _Device) -> str | None:
    """What bringing a device up would destroy: below IPv6's least MTU the kernel drops all IPv6 addresses."""
    comes_up = device.wanted.ifi_flags & ~device.seen.ifi_flags & IFF_UP
    mtu = device.seen.mtu or 0
    foreign = [
        _text(msg) for msg in device.seen_addresses.values() if len(_own(msg)) == 16 and _is_foreign(msg, device)
    ]
    if not comes_up or mtu >= IPV6_MIN_MTU or not foreign:
        return None
    return (
        f"{device.name} stays down: with its MTU of {mtu}, below {IPV6_MIN_MTU}, the kernel would delete "
        f"{', '.join(foreign)} as it comes up; raise the MTU first"
    )


def _is_foreign(msg: AddrMsg, device: _Device) -> bool:
    return msg.proto != IFAPROT_ADDRSVC and not _is_kernel_made(msg, device.seen)


def _why_up(device: _Device) -> str:
    if device.seen.ifi_type != ARPHRD_LOOPBACK:
        return f"{device.name} is down"
    return f"{device.name} is down; the kernel gives it 127.0.0.1/8 and ::1/128 by itself when it comes up"


def _changes(wanted: LinkMsg, seen: LinkMsg) -> Iterator[tuple[str, Message]]:
    """Every settable property in which two links differ, and the request that gives `seen` what `wanted` has."""
    wanted_here = replace(wanted, ifname=seen.ifname)
    for name, part in _PROPERTIES.items():
        ask = part(wanted_here)
        if ask not in (part(seen), _NOTHING):
            yield name, replace(ask, ifi_index=seen.ifi_index) if isinstance(ask, LinkMsg) else ask
    if wanted.ifname and wanted.ifname != seen.ifname:
        yield "name", LinkMsg(ifi_index=seen.ifi_index, ifname=wanted.ifname)


_NOTHING: Final = LinkMsg()


def _flag(bit: int) -> Callable[[LinkMsg], Message]:
    return lambda link: LinkMsg(ifi_flags=link.ifi_flags & bit, ifi_change=bit)


def _disable_ipv6(link: LinkMsg) -> Message:
    if link.inet6 is None or link.inet6.disable_ipv6 is None:
        return _NOTHING
    device = (link.ifname or "").replace(".", "/")
    return Sysctl(f"net.ipv6.conf.{device}.disable_ipv6", str(link.inet6.disable_ipv6))


def _addr_gen_mode(link: LinkMsg) -> Message:
    if link.inet6 is None or link.inet6.addr_gen_mode is None:
        return _NOTHING
    return LinkMsg(inet6=Inet6LinkInfo(addr_gen_mode=link.inet6.addr_gen_mode))


# One row per property: a link reduced to it, as the request that sets it.  Being up comes last: it is the cause of
# what the others decide.
_PROPERTIES: Final[Mapping[str, Callable[[LinkMsg], Message]]] = {
    "disable_ipv6": _disable_ipv6,
    "addr_gen_mode": _addr_gen_mode,
    "mtu": lambda link: LinkMsg(mtu=link.mtu),
    "txqlen": lambda link: LinkMsg(txqlen=link.txqlen),
    "group": lambda link: LinkMsg(group=link.group),
    "alias": lambda link: LinkMsg(ifalias=link.ifalias or ""),
    "address": lambda link: LinkMsg(address=link.address),
    "broadcast": lambda link: LinkMsg(broadcast=link.broadcast),
    "linkmode": lambda link: LinkMsg(linkmode=link.linkmode),
    **{
        IFF_NAMES[bit]: _flag(bit)
        for bit in (IFF_NOARP, IFF_MULTICAST, IFF_DEBUG, IFF_DYNAMIC, IFF_PROMISC, IFF_ALLMULTI, IFF_UP)
    },
}


def _put(link: LinkMsg, ask: Message) -> LinkMsg:
    """A link with one property as a row of the table asks for it."""
    match ask:
        case Sysctl(value=value):
            return replace(link, inet6=(link.inet6 or Inet6LinkInfo()).having(disable_ipv6=int(value)))
        case LinkMsg(inet6=Inet6LinkInfo(addr_gen_mode=mode)):
            return replace(link, inet6=replace(link.inet6 or Inet6LinkInfo(), addr_gen_mode=mode))
        case LinkMsg(ifi_change=bits) if bits:
            return replace(link, ifi_flags=link.ifi_flags & ~bits | ask.ifi_flags)
        case LinkMsg():
            return replace(
                link,
                ifname=_or(ask.ifname, link.ifname),
                mtu=_or(ask.mtu, link.mtu),
                txqlen=_or(ask.txqlen, link.txqlen),
                group=_or(ask.group, link.group),
                ifalias=_or(ask.ifalias, link.ifalias) or None,
                address=_or(ask.address, link.address),
                broadcast=_or(ask.broadcast, link.broadcast),
                linkmode=_or(ask.linkmode, link.linkmode),
            )
    return link


def _or(given: T | None, otherwise: T | None) -> T | None:
    return otherwise if given is None else given


# --- addresses ----------------------------------------------------------------------------------------------------


def _address_items(device: _Device) -> Iterator[_Item]:
    for key, there in device.seen_addresses.items():
        if key not in device.wanted_addresses:
            yield from _unwanted(there, device)
    for wanted in _in_order_of_adding(device.wanted_addresses.values()):
        there_now = device.seen_addresses.get(_key(wanted))
        if _is_kernel_made(wanted, device.wanted):
            yield from () if there_now else (_restore(wanted, device),)
        else:
            yield from _serve(wanted, there_now, device)


def _in_order_of_adding(addresses: Iterable[AddrMsg]) -> list[AddrMsg]:
    """IPv4 lists the newest address last, IPv6 first: the order in which a kernel ends up with the same list."""
    listed = list(addresses)
    return [a for a in listed if a.ifa_family == AF_INET] + [a for a in reversed(listed) if a.ifa_family != AF_INET]


def _unwanted(there: AddrMsg, device: _Device) -> Iterator[_Item]:
    if there.proto == IFAPROT_ADDRSVC:
        yield Step(_delete(there), f"{_text(there)} on {device.name} is ours, and the model has it no more")
    elif _is_kernel_made(there, device.seen) and device.wanted.ifi_flags & IFF_UP:
        yield Divergence(f"{_text(there)} on {device.name} is the kernel's own, not ours to remove", there)


def _restore(wanted: AddrMsg, device: _Device) -> _Item:
    """A kernel-made address is missing: say what keeps it away or, if nothing can bring it any more, restore it."""
    missing = f"{_text(wanted)} is missing on {device.name}"
    if _is_brought_by_the_network(wanted, device.wanted):
        return Divergence(f"{missing}: only the kernel makes it ({IFAPROT_NAMES[wanted.proto or 0]})", wanted)
    if not device.seen.ifi_flags & IFF_UP:
        return Divergence(f"{missing}: the kernel makes it when {device.name} comes up", wanted)
    if wanted.ifa_family == AF_INET6 and (obstacle := _no_loopback_address(device.seen)):
        return Divergence(f"{missing}: {obstacle}", wanted)
    return Step(_recipe(wanted, device.seen), f"{missing}; {_why_never_by_itself(wanted, device.seen)}", is_repair=True)


def _why_never_by_itself(wanted: AddrMsg, seen: LinkMsg) -> str:
    if wanted.ifa_family == AF_INET6 and _is_too_small(seen):
        return _too_small(seen)
    return "the kernel would make it only at the next up"


def _serve(wanted: AddrMsg, there: AddrMsg | None, device: _Device) -> Iterator[_Item]:
    """An address that somebody gave the model: add it, change it if it is ours, or say why not."""
    ours = _marked(wanted, device.seen.ifi_index)
    where = f"{_text(wanted)} on {device.name}"
    if there is None and wanted.ifa_family == AF_INET6 and (obstacle := _no_ipv6(device.seen)):
        yield Divergence(f"{_text(wanted)} cannot be given to {device.name}: {obstacle}", wanted)
    elif there is None:
        yield Step(ours, f"{where} is in the model and not in the kernel")
    elif _same(there, ours) or _same(there, wanted):
        return
    elif there.proto == IFAPROT_ADDRSVC:
        yield from _change(there, ours, f"{where} is ours and differs from the model's")
    elif there.ifa_prefixlen != wanted.ifa_prefixlen:
        yield Divergence(f"{where} is there as {_text(there)} and not ours to change", there)


def _change(there: AddrMsg, ours: AddrMsg, why: str) -> Iterator[Step]:
    in_place = (replace(ours, nlmsg_flags=NLM_F_REPLACE),)
    for message in in_place if _can_change_in_place(there, ours) else (_delete(there), ours):
        yield Step(message, why)


def _can_change_in_place(there: AddrMsg, ours: AddrMsg) -> bool:
    """Limiting a life that had no end spoils the prefix route in the kernel; prefix and peer it cannot change."""
    if (there.ifa_prefixlen, _peer(there)) != (ours.ifa_prefixlen, _peer(ours)):
        return False
    is_limited_now = _lifetimes(there) == _lifetimes(_RECIPE6) != _lifetimes(ours)
    return not is_limited_now or bool(_flags(there) & IFA_F_NOPREFIXROUTE)


def _unpromised(device: _Device) -> Iterator[Divergence]:
    """A loopback device that is up has ::1: say what is, or will be, in the way where neither side has it."""
    is_promised = device.wanted.ifi_type == ARPHRD_LOOPBACK and device.wanted.ifi_flags & IFF_UP
    if not is_promised or _LOCALHOST6 in device.wanted_addresses or _LOCALHOST6 in device.seen_addresses:
        return
    obstacle = _no_loopback_address(device.seen) or (_too_small(device.seen) if _is_too_small(device.seen) else None)
    if obstacle or device.seen.ifi_flags & IFF_UP:
        remedy = f"the model has none either; taking {device.name} down and up in the model brings it"
        yield Divergence(f"{device.name} has no ::1/128: {obstacle or remedy}", device.seen)


def _no_ipv6(link: LinkMsg) -> str | None:
    if link.inet6 and link.inet6.disable_ipv6:
        return f"IPv6 is disabled on {link.ifname} (disable_ipv6={link.inet6.disable_ipv6})"
    return None


def _no_loopback_address(link: LinkMsg) -> str | None:
    if link.operstate == IF_OPER_DORMANT:
        return f"{link.ifname} is dormant; the kernel makes it when that ends"
    return _no_ipv6(link)


def _is_too_small(link: LinkMsg) -> bool:
    return link.mtu is not None and link.mtu < IPV6_MIN_MTU


def _too_small(link: LinkMsg) -> str:
    """What a small MTU does to a loopback device; what is added afterwards, the kernel keeps."""
    return (
        f"the MTU of {link.ifname} is {link.mtu}; below {IPV6_MIN_MTU} the kernel makes no IPv6 address, and drops all "
        f"when the MTU falls or the device comes up"
    )


# --- address messages ---------------------------------------------------------------------------------------------

_ADD: Final = NLM_F_CREATE | NLM_F_EXCL
_NO_SIDE_EFFECTS: Final = IFA_F_NODAD | IFA_F_NOPREFIXROUTE
_BROUGHT_BY_THE_NETWORK: Final = (IFAPROT_KERNEL_RA, IFAPROT_KERNEL_LL)
_RECIPE4: Final = AddrMsg(
    nlmsg_flags=_ADD,
    ifa_family=AF_INET,
    ifa_prefixlen=8,
    ifa_scope=RT_SCOPE_HOST,
    address=_LOCALHOST[1],
    local=_LOCALHOST[1],
)
_RECIPE6: Final = AddrMsg(
    nlmsg_flags=_ADD,
    ifa_scope=RT_SCOPE_HOST,
    ifa_flags=IFA_F_NODAD,
    address=_IN6ADDR_LOOPBACK,
    flags=_NO_SIDE_EFFECTS,
    proto=IFAPROT_KERNEL_LO,
)


def _key(msg: AddrMsg) -> _Key:
    """What a kernel tells addresses of one device apart by: IPv6 by address, IPv4 by address and prefix length."""
    return msg.ifa_family, _own(msg), msg.ifa_prefixlen if msg.ifa_family == AF_INET else 0


def _own(msg: AddrMsg) -> bytes:
    return msg.local or msg.address or b""


def _peer(msg: AddrMsg) -> bytes:
    return msg.address or _own(msg)


def _is_kernel_made(msg: AddrMsg, link: LinkMsg) -> bool:
    if _is_brought_by_the_network(msg, link):
        return True
    return _key(msg) == _LOCALHOST or (_key(msg) == _LOCALHOST6 and msg.proto == IFAPROT_KERNEL_LO)


def _is_brought_by_the_network(msg: AddrMsg, link: LinkMsg) -> bool:
    """Whether a kernel made it of a prefix.  It makes none such on a loopback device; there, somebody claims it did."""
    return msg.proto in _BROUGHT_BY_THE_NETWORK and link.ifi_type != ARPHRD_LOOPBACK


def _recipe(wanted: AddrMsg, link: LinkMsg) -> AddrMsg:
    """The request that comes closest to what the kernel itself does for ::1 and for 127.0.0.1."""
    recipe = _RECIPE6 if wanted.ifa_family == AF_INET6 else replace(_RECIPE4, label=link.ifname)
    return replace(recipe, ifa_index=link.ifi_index)


def _marked(wanted: AddrMsg, ifindex: int) -> AddrMsg:
    """The request that makes `wanted` one of ours."""
    flags = _asked_flags(wanted)
    lives_forever = _lifetimes(wanted) == _lifetimes(_RECIPE6)
    return AddrMsg(
        nlmsg_flags=_ADD,
        ifa_family=wanted.ifa_family,
        ifa_prefixlen=wanted.ifa_prefixlen,
        ifa_flags=flags & 0xFF,
        ifa_scope=wanted.ifa_scope,
        ifa_index=ifindex,
        address=wanted.address,
        local=wanted.local,
        label=wanted.label,
        broadcast=wanted.broadcast,
        cacheinfo=None if lives_forever else wanted.cacheinfo,
        flags=flags,
        rt_priority=wanted.rt_priority,
        proto=IFAPROT_ADDRSVC,
    )


def _asked_flags(wanted: AddrMsg) -> int:
    flags = _flags(wanted) & _ASKABLE
    if wanted.ifa_family != AF_INET6:
        return flags
    return flags | (_NO_SIDE_EFFECTS if wanted.ifa_prefixlen == 128 else IFA_F_NODAD)


def _delete(there: AddrMsg) -> AddrMsg:
    return AddrMsg(
        nlmsg_type=RTM_DELADDR,
        ifa_family=there.ifa_family,
        ifa_prefixlen=there.ifa_prefixlen,
        ifa_index=there.ifa_index,
        local=_own(there),
    )


def _same(one: AddrMsg, other: AddrMsg) -> bool:
    return _essence(one) == _essence(other) and all(
        abs(a - b) <= _LIFETIME_SLACK for a, b in zip(_lifetimes(one), _lifetimes(other), strict=True)
    )


def _essence(msg: AddrMsg) -> tuple[int, bytes, int, int]:
    return msg.ifa_prefixlen, _peer(msg), _flags(msg) & _ASKABLE, msg.rt_priority or 0


def _flags(msg: AddrMsg) -> int:
    return msg.ifa_flags if msg.flags is None else msg.flags


def _lifetimes(msg: AddrMsg) -> tuple[int, int]:
    info = msg.cacheinfo or _FOREVER
    return info.ifa_prefered, info.ifa_valid


def _text(msg: AddrMsg) -> str:
    return f"{inet_ntop(_own(msg))}/{msg.ifa_prefixlen}"
