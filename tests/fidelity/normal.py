"""What the campaign does not compare of what two kernels say, each with its reason, and nowhere else.

What it does not ask is in `left_out`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from struct import Struct
from typing import Final, TypeAlias

from tests.fidelity.steps import RESIDENT, Datagram, Heard
from tests.fidelity.wire import HEADER_LENGTHS, NLMSGHDR, Header, attributes, messages

__all__ = ["NORMALISATIONS", "Normaliser", "normal_result"]

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
            f"{what}, once there is traffic",
            "scope: the model sends no packets of its own, no reports of MLD (the kernel's come at random times) and "
            "no announcements of addresses",
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
            ("TCA_STATS", (36,), (3,)),
            ("TCA_STATS2", (36,), (7,)),
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


def places(data: bytes, start: int, end: int, path: tuple[int, ...]) -> Iterator[Place]:
    for nla_type, payload, payload_end in attributes(data, start, end, truncated=True):
        if nla_type != path[0]:
            continue
        if len(path) == 1:
            yield payload, payload_end
        else:
            yield from places(data, payload, payload_end, path[1:])


# What is not told in the bytes of one message.
ORDER: Final = "the order of neighbours within a datagram of a dump: the kernel goes by a hash that begins at random"
GROUPS: Final = (
    "neighbours that are groups, once there is traffic; scope: the model sends no reports of MLD, by which in the "
    "kernel the group that they are sent to is a neighbour, for a random time"
)
MULTI, NTF_PROXY = 0x2, 0x08


def _is_hashed(message: bytes) -> bool:
    """One of a dump's neighbours; proxies and forwarding databases have an order that is no chance."""
    flags, family, ntf = int.from_bytes(message[6:8], "little"), message[16:17], message[26:27]
    return bool(flags & MULTI and family in (b"\x02", b"\x0a") and ntf and not ntf[0] & NTF_PROXY)


def _is_group(message: bytes) -> bool:
    """A neighbour whose address is a group's."""
    found = next(places(message, 28, len(message), (1,)), (0, 0))
    address = message[slice(*found)]
    return address[:2] == b"\xff\x02" if len(address) == 16 else len(address) == 4 and 224 <= address[0] < 240


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
        data = self.data(heard.data)
        return replace(heard, data=data, portid=self.port(heard.portid)) if data or not heard.data else None

    def data(self, data: bytes) -> bytes:
        """A datagram of the kernel's without what cannot be compared."""
        masked = bytearray(data)
        for found in messages(data, truncated=True):
            NLMSGHDR.pack_into(
                masked, found.offset, found.nlmsg_len, found.nlmsg_type, found.flags, found.seq, self.port(found.pid)
            )
            self._mask(masked, data, found)
        return self._neighbours(bytes(masked))

    def _neighbours(self, data: bytes) -> bytes:
        told = list(messages(data, truncated=True))
        if all(found.nlmsg_type not in _NEIGHBOURS for found in told):
            return data
        ends = [*(found.offset for found in told[1:]), len(data)]
        parts = [data[found.offset : end] for found, end in zip(told, ends, strict=True)]
        if self.in_traffic:
            parts = [part for part in parts if not _is_group(part)]
        runs = (
            (hashed, list(run)) for (hashed, _), run in groupby(parts, lambda part: (_is_hashed(part), part[16:17]))
        )
        return b"".join(part for hashed, run in runs for part in (sorted(run) if hashed else run))

    def _mask(self, masked: bytearray, data: bytes, found: Header) -> None:
        start = found.offset + NLMSGHDR.size + HEADER_LENGTHS.get(found.nlmsg_type, 4)
        for rule in _RULES.get(found.nlmsg_type, ()):
            if rule.in_traffic and not self.in_traffic:
                continue
            for payload, payload_end in places(data, start, min(found.end, len(data)), rule.path):
                rule.mask(masked, payload, payload_end)


def normal_result(result: object, normaliser: Normaliser) -> object:
    """A step's own result without what cannot be compared."""
    match result:
        case Datagram():
            return normaliser.heard(result)
        case (int(portid), int(groups)):
            return normaliser.port(portid), groups
        case _:
            return result
