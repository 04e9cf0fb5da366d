"""What the campaign does not compare, each with its reason, and nowhere else.

NORMALISATIONS are bytes in messages of a kernel; RACES are requests to which the running kernel has no single answer;
SCOPE are requests that the running kernel serves and the model does not claim to.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final, TypeAlias

from tests.fidelity.steps import RESIDENT, Datagram, Heard, Op, Send, Sysctl
from tests.fidelity.wire import HEADER_LENGTHS, NLMSGHDR, Header, attributes, messages

__all__ = [
    "CHANCE", "GRAIN", "NEIGHBOURS", "NORMALISATIONS", "RACES", "SCOPE", "Normaliser", "normal_result", "starts_traffic",
    "asks_for_neighbours", "why_not",
]  # fmt: skip

GRAIN: Final = 10_000
"""Seconds.  Lifetimes are rounded up to a multiple: scripts use multiples, and no script runs that long."""
INFINITY: Final = 0xFFFFFFFF
AF_INET6: Final = 10
_U32: Final = Struct("=I")
_S32: Final = Struct("=i")
_RESIDENT: Final = RESIDENT.to_bytes(4, "little")

Place: TypeAlias = tuple[int, int]
"""Where an attribute's payload begins and ends."""
Mask: TypeAlias = Callable[[bytearray, int, int], None]


# --- in the bytes of messages -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is masked in which attribute of which messages.

    Attributes:
        types: the message types.
        path: the attribute types that lead to it.
    """

    what: str
    why: str
    types: tuple[int, ...]
    path: tuple[int, ...]
    mask: Mask
    in_traffic: bool = False
    """Only once there is traffic (see starts_traffic)."""


def _zero(start: int, end: int) -> Mask:
    def mask(data: bytearray, payload: int, payload_end: int) -> None:
        last = min(payload + end, payload_end)
        data[payload + start : last] = bytes(max(0, last - payload - start))

    return mask


def _any(start: int, end: int) -> Mask:
    """Whether there is a number: any but 0 becomes 1."""

    def mask(data: bytearray, payload: int, payload_end: int) -> None:
        for at in range(payload + start, min(payload + end, payload_end - 3), 4):
            _U32.pack_into(data, at, bool(_U32.unpack_from(data, at)[0]))

    return mask


def _coarse(data: bytearray, payload: int, payload_end: int) -> None:
    """Preferred and valid lifetime, whole seconds."""
    for at in (payload, payload + 4):
        if at + 4 <= payload_end:
            (seconds,) = _U32.unpack_from(data, at)
            if seconds != INFINITY:
                _U32.pack_into(data, at, min(-(-seconds // GRAIN) * GRAIN, INFINITY - 1))


def _coarse_expiry(data: bytearray, payload: int, payload_end: int) -> None:
    """rta_expires of struct rta_cacheinfo, 1/100 s, and the age of its last use."""
    if payload + 16 <= payload_end:
        (expires,) = _S32.unpack_from(data, payload + 8)
        if expires:
            _S32.pack_into(data, payload + 8, max(-1, -(-(expires // 100) // GRAIN) * GRAIN))


def _whole_minutes(data: bytearray, payload: int, payload_end: int) -> None:
    """The first three members of struct nda_cacheinfo, 1/100 s."""
    for at in range(payload, min(payload + 12, payload_end - 3), 4):
        _U32.pack_into(data, at, _U32.unpack_from(data, at)[0] // 6000)


_LINKS = (16, 17)
_ADDRESSES = (20, 21)
_GROUPS = (56, 57, 58, 60, 61, 62)
_ROUTES = (24, 25)
_TABLES = (64,)
_NEIGHBOURS = (28, 29)

NORMALISATIONS: Final = (
    Normalisation(
        "cstamp and tstamp of an address",
        "hundredths of a second since boot: the two kernels did not boot together",
        (*_ADDRESSES, *_GROUPS), (6,), _any(8, 16),
    ),
    Normalisation(
        "finite lifetimes of an address, to 10,000 s",
        "whole seconds that are left: the two kernels are not asked in the same instant",
        _ADDRESSES, (6,), _coarse,
    ),
    Normalisation(
        "expiry of a route, to 10,000 s, and any time past as -1",
        "left over in hundredths of a second; the kernel's bogus expiry (REPLACE of a permanent address by a finite "
        "one) is an absolute number of jiffies since boot, read as if it were one left over",
        _ROUTES, (12,), _coarse_expiry,
    ),
    Normalisation(
        "rta_lastuse of a route that was looked up",
        "hundredths of a second since the first look-up, on the processor that asks",
        _ROUTES, (12,), _zero(4, 8),
    ),
    Normalisation(
        "rta_clntref of a route, but for its being 0",
        "counts internal references, which RCU drops when it likes",
        _ROUTES, (12,), _any(0, 4),
    ),
    Normalisation(
        "tstamp and reachable_time of a device's IPv6 half, in IFLA_AF_SPEC",
        "hundredths of a second since boot; and a time that the kernel draws at random",
        _LINKS, (26, 10, 5), _zero(4, 12),
    ),
    Normalisation(
        "tstamp and reachable_time of a device's IPv6 half, in IFLA_PROTINFO",
        "as above",
        _LINKS, (12, 5), _zero(4, 12),
    ),
    Normalisation(
        "age of a neighbour's confirmation, use and update, to the minute",
        "hundredths of a second: the two kernels are not asked in the same instant",
        _NEIGHBOURS, (3,), _whole_minutes,
    ),
    Normalisation(
        "NDTPA_REACHABLE_TIME",
        "a time that the kernel draws at random",
        _TABLES, (6, 3), _zero(0, 8),
    ),
    Normalisation(
        "NDTPA_REFCNT",
        "counts internal references, which RCU drops when it likes",
        _TABLES, (6, 2), _zero(0, 4),
    ),
    Normalisation(
        "NDTA_CONFIG: entries, last_flush, last_rand, hash_rnd, hash_mask, proxy_qlen",
        "a neighbour table is shared by all namespaces of the machine, others' neighbours are counted; and chance",
        _TABLES, (5,), _zero(4, 32),
    ),
    Normalisation(
        "NDTA_STATS",
        "as above: what all namespaces have done since boot",
        _TABLES, (7,), _zero(0, 96),
    ),
    *(
        Normalisation(
            f"{what}, once there is traffic", "packets of MLD, sent at random times, and announcements of addresses",
            types, path, _zero(0, 1 << 16), in_traffic=True,
        )
        for what, types, path in (
            ("IFLA_STATS", _LINKS, (7,)),
            ("IFLA_STATS64", _LINKS, (23,)),
            ("IFLA_INET6_STATS in IFLA_AF_SPEC", _LINKS, (26, 10, 3)),
            ("IFLA_INET6_ICMP6STATS in IFLA_AF_SPEC", _LINKS, (26, 10, 6)),
            ("IFLA_INET6_STATS in IFLA_PROTINFO", _LINKS, (12, 3)),
            ("IFLA_INET6_ICMP6STATS in IFLA_PROTINFO", _LINKS, (12, 6)),
            ("IFLA_STATS_LINK_64", (92,), (1,)),
        )
    ),
)  # fmt: skip


def _by_type() -> dict[int, list[Normalisation]]:
    table: dict[int, list[Normalisation]] = {}
    for rule in NORMALISATIONS:
        for nlmsg_type in rule.types:
            table.setdefault(nlmsg_type, []).append(rule)
    return table


_RULES: Final = _by_type()


def _places(data: bytes, start: int, end: int, path: tuple[int, ...]) -> Iterator[Place]:
    for nla_type, payload, payload_end in attributes(data, start, end, truncated=True):
        if nla_type != path[0]:
            continue
        if len(path) == 1:
            yield payload, payload_end
        else:
            yield from _places(data, payload, payload_end, path[1:])


class Normaliser:
    """Takes out of what one machine says what cannot be compared, its automatic port ids among it.

    An automatic port id is the process's own, or one that the kernel draws at random from the negative ones.  It is
    replaced by a number of the socket, wherever a header or an address has it.
    """

    def __init__(self) -> None:
        self._aliases: dict[int, int] = {}
        self.in_traffic = False

    def learn(self, by: int, portid: int) -> None:
        """A socket has this port id now."""
        if portid > 9999:
            self._aliases[portid] = 0xA0000000 + by

    def port(self, portid: int) -> int:
        return self._aliases.get(portid, portid)

    def heard(self, heard: Heard) -> Heard | None:
        """What can be compared of it; None where nothing can."""
        if isinstance(heard, str):
            return heard
        if self.in_traffic and heard.groups == NEIGH_MASK:
            return None
        return replace(heard, data=self.data(heard.data), portid=self.port(heard.portid))

    def data(self, data: bytes) -> bytes:
        """A datagram of the kernel's without what cannot be compared."""
        masked = bytearray(data)
        for found in messages(data, truncated=True):
            NLMSGHDR.pack_into(
                masked, found.offset, found.nlmsg_len, found.nlmsg_type, found.flags, found.seq, self.port(found.pid)
            )
            self._mask(masked, data, found)
        return bytes(masked)

    def _mask(self, masked: bytearray, data: bytes, found: Header) -> None:
        start = found.offset + NLMSGHDR.size + HEADER_LENGTHS.get(found.nlmsg_type, 4)
        for rule in _RULES.get(found.nlmsg_type, ()):
            if rule.in_traffic and not self.in_traffic:
                continue
            for payload, payload_end in _places(data, start, min(found.end, len(data)), rule.path):
                rule.mask(masked, payload, payload_end)


NEIGHBOURS: Final = (
    "notifications and dumps of neighbours, once there is traffic: the group that MLD reports are sent to is one then, "
    "which comes and goes at random times"
)
NEIGH_MASK: Final = 1 << 2
"""RTNLGRP_NEIGH in an address."""


def asks_for_neighbours(op: Op) -> bool:
    """Whether a step dumps neighbours; entries of a forwarding database are none."""
    if not isinstance(op, Send):
        return False
    return any(
        found.nlmsg_type == 30 and found.flags & 0x300 and op.data[found.offset + 16 :][:1] != b"\x07"
        for found in messages(op.data)
    )


IFF_UP, IFF_NOARP, IFF_MULTICAST, IFA_F_MCAUTOJOIN = 0x1, 0x80, 0x1000, 0x400


def starts_traffic(op: Op) -> bool:
    """Whether a step may make a device send packets of its own.

    A device with IFF_MULTICAST reports the groups that it joins, and so does lo where an address joins its group.
    Devices that are made have the flag from the start.  With arp_notify and ndisc_notify, addresses are announced.
    """
    if isinstance(op, Sysctl):
        return op.path.endswith(("/arp_notify", "/ndisc_notify")) and op.value is not None
    return isinstance(op, Send) and any(_may_send(op.data, found) for found in messages(op.data))


def _may_send(data: bytes, found: Header) -> bool:
    if found.nlmsg_type in (16, 19) and found.nlmsg_len >= 32:
        flags, change = _U32.unpack_from(data, found.offset + 24)[0], _U32.unpack_from(data, found.offset + 28)[0]
        return bool(flags & IFF_MULTICAST and (change & IFF_MULTICAST or not change)) or bool(_made_kind(data, found))
    if found.nlmsg_type == 20:
        attrs = attributes(data, found.offset + 24, found.end)
        return any(kind == 8 and _number(data, start, end) & IFA_F_MCAUTOJOIN for kind, start, end in attrs)
    return False


def _number(data: bytes, start: int, end: int) -> int:
    return int.from_bytes(data[start : min(end, start + 4)], "little")


def _made_kind(data: bytes, found: Header) -> bytes:
    """The kind of device in IFLA_LINKINFO, if there is one."""
    kind = b""
    for nla_type, payload, payload_end in attributes(data, found.offset + 32, found.end):
        for inner, start, end in attributes(data, payload, payload_end):
            if (nla_type, inner) == (18, 1):
                kind = data[start:end].split(b"\0")[0]
    return kind


# --- requests that are not sent ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exclusion:
    what: str
    why: str
    holds: Callable[[bytes], bool]


def _requests(data: bytes, *types: int) -> Iterator[Header]:
    return (found for found in messages(data) if found.nlmsg_type in types and found.flags & 1)


_LINK_CHANGES = (16, 17, 19, 18)
_NEW_ADDRESS = 20


def _everywhere(data: bytes, start: int, end: int, depth: int = 3) -> Iterator[tuple[int, bytes]]:
    for nla_type, payload, payload_end in attributes(data, start, end):
        yield nla_type, data[payload:payload_end]
        if depth:
            yield from _everywhere(data, payload, payload_end, depth - 1)


def _names_a_process(data: bytes) -> bool:
    """IFLA_NET_NS_PID, IFLA_NET_NS_FD, NETNSA_PID, NETNSA_FD with a number that might be one."""
    for found in _requests(data, *_LINK_CHANGES, 88, 89, 90):
        wanted = (19, 28) if found.nlmsg_type < 80 else (2, 3)
        start = found.offset + 16 + HEADER_LENGTHS[found.nlmsg_type]
        for nla_type, payload in _everywhere(data, start, found.end):
            if nla_type in wanted and len(payload) >= 4 and int.from_bytes(payload[:4], "little") < 1 << 23:
                return True
    return _halves_a_process(data)


def _halves_a_process(data: bytes) -> bool:
    """A message ends within RESIDENT, so that part of the number that stands there really comes back."""
    at = data.find(_RESIDENT)
    return at >= 0 and any(found.offset < at < found.end < at + 4 for found in messages(data))


def _deferred_then_more(data: bytes) -> bool:
    requests = [found for found in messages(data) if found.flags & 1]
    return any(_defers(data, found) for found in requests if found.end + 16 <= len(data))


def _defers(data: bytes, found: Header) -> bool:
    """Whether a request leaves work to a work queue: DAD of an IPv6 address, new, kept, or asked to begin again."""
    if found.nlmsg_type == _NEW_ADDRESS:
        return data[found.offset + 16 :][:1] == b"\x0a"
    if found.nlmsg_type not in (16, 19) or found.nlmsg_len < 32:
        return False
    flags, change = _U32.unpack_from(data, found.offset + 24)[0], _U32.unpack_from(data, found.offset + 28)[0]
    mask = change or 0xFFFFFFFF * bool(flags)
    return bool(mask & IFF_NOARP or flags & mask & IFF_UP)


def _draws_an_address(data: bytes) -> bool:
    """A device is made, without an address."""
    for found in _requests(data, 16):
        attrs = list(attributes(data, found.offset + 32, found.end))
        if _made_kind(data, found) and not any(kind == 1 and end - start >= 6 for kind, start, end in attrs):
            return True
    return False


def _draws_a_secret(data: bytes) -> bool:
    """IFLA_INET6_ADDR_GEN_MODE random of a device that is not lo, the one that makes no such address."""
    for found in _requests(data, 16, 19):
        index = data[found.offset + 20 : found.offset + 24]
        for path in (26, 10, 8), (12, 8):
            for start, end in _places(data, found.offset + 32, found.end, path):
                if data[start:end][:1] == b"\3" and (index != b"\1\0\0\0" or _made_kind(data, found)):
                    return True
    return False


def _expires_soon(data: bytes) -> bool:
    """RTA_EXPIRES."""
    return any(
        kind == 23 and _number(data, start, end) < GRAIN
        for found in _requests(data, 24)
        for kind, start, end in attributes(data, found.offset + 28, found.end)
    )


RACES: Final = (
    Exclusion(
        "addr_gen_mode random, of a device that may not be lo",
        "the kernel draws a secret, of which the device's link-local address is made",
        _draws_a_secret,
    ),
    Exclusion(
        "a route that expires in less than 10,000 s",
        "the two kernels do not look at their clocks in the same instant",
        _expires_soon,
    ),
    Exclusion(
        "a device that is made without a hardware address",
        "the kernel draws one at random",
        _draws_an_address,
    ),
    Exclusion(
        "a request that names a process or a descriptor that may exist",
        "it is one of this test's own, or of the machine it runs on, and means a namespace that is not ours",
        _names_a_process,
    ),
    Exclusion(
        "a message behind one that adds an IPv6 address, changes IFF_NOARP or sets IFF_UP, in one datagram",
        "addresses are finished by a work queue that runs beside what follows",
        _deferred_then_more,
    ),
)


# Where the running kernel gives one answer or another to the same script, whatever is left out above: what is seen again
# with another outcome is one of these.
CHANCE: Final = (
    "an acknowledgement and what a work queue says: it is sent when the lock has been released, so that the work may "
    "come first",
    "kept addresses, when lo comes up with an mtu below 1280: their DAD is queued and IPv6 taken down again in the same "
    "request; whether the work item has started by then is chance",
)


def _served_elsewhere(data: bytes) -> bool:
    return any(found.nlmsg_type in _NOT_MODELLED for found in messages(data) if found.flags & 1)


# Message types that the running kernel serves and the model does not.
_NOT_MODELLED: Final[Mapping[int, str]] = {
    **dict.fromkeys(range(36, 52), "traffic control"),
    **dict.fromkeys(range(76, 80), "data center bridging"),
    **dict.fromkeys(range(84, 87), "bridges"),
    **dict.fromkeys(range(100, 103), "chains of traffic control"),
    **dict.fromkeys(range(104, 107), "nexthop objects"),
    **dict.fromkeys(range(112, 124), "VLANs of bridges, nexthop buckets, tunnels"),
}


def _other_route(data: bytes) -> bool:
    """RTA_MULTIPATH, RTA_VIA or RTA_ENCAP, or an IPv6 route with a source prefix or with a gateway beside others."""
    for found in _requests(data, 24, 25):
        header = data[found.offset + 16 : found.offset + 28]
        kinds = {kind for kind, _, _ in attributes(data, found.offset + 28, found.end)}
        ipv6 = header[:1] == b"\x0a" and found.nlmsg_type == 24
        if kinds & {9, 18, 22} or (ipv6 and (header[2:3] != b"\0" or (5 in kinds and not found.flags & 0x200))):
            return True
    return False


def _other_kind(data: bytes) -> bool:
    """IFLA_LINKINFO with the kind of device that one side has and the other has not."""
    return any(_made_kind(data, found) in _KINDS_ELSEWHERE for found in _requests(data, *_LINK_CHANGES))


_KINDS_ELSEWHERE: Final = (
    b"veth", b"bridge", b"vxlan", b"macvlan", b"macvtap", b"tun", b"dummy", b"ipvlan", b"vlan", b"vrf", b"bond",
    b"wireguard", b"geneve", b"gretap", b"sit", b"hsr", b"gtp", b"can", b"vcan", b"netkit",
)  # fmt: skip

SCOPE: Final = (
    Exclusion(
        "message types of other subsystems",
        "the model does not have them: " + ", ".join(dict.fromkeys(_NOT_MODELLED.values())),
        _served_elsewhere,
    ),
    Exclusion(
        "routes that the model does not have",
        "several next hops, IPv6 gateways of IPv4 routes, encapsulations, source prefixes",
        _other_route,
    ),
    Exclusion(
        "device kinds that only one side has",
        "dummy is not built into the running kernel; veth, bridge, vxlan, macvlan, macvtap are not in the model",
        _other_kind,
    ),
)


SLOW_DAD: Final = (
    "dad_transmits, of a device that may not be lo: with probes to send, DAD ends seconds later, and at a random time"
)


def why_not(op: Op) -> str | None:
    """Why a step is left out, or None."""
    if isinstance(op, Sysctl) and op.value is not None:
        if op.path.endswith("/dad_transmits"):
            return SLOW_DAD
        if op.path.endswith("/addr_gen_mode") and op.value.strip() == "3":
            return RACES[0].what
    if not isinstance(op, Send):
        return None
    for exclusion in (*RACES, *SCOPE):
        if exclusion.holds(op.data):
            return exclusion.what
    return None


def normal_result(result: object, normaliser: Normaliser) -> object:
    """A step's own result without what cannot be compared."""
    match result:
        case Datagram():
            return normaliser.heard(result)
        case (int(portid), int(groups)):
            return normaliser.port(portid), groups
        case _:
            return result
