"""What a kernel said about a namespace's lo, read out of one rtnetlink message: what, of which address, by whom.

The message comes from outside and is believed as far as it reaches, and no further.
"""

from struct import Struct
from struct import error as struct_error
from sys import byteorder
from typing import TYPE_CHECKING, Final, TypeAlias

from addrsvc.keeper.dump import Present, read_address
from addrsvc.keeper.kept import LO, LOOPBACK, Kept, Key, Why
from addrsvc.keeper.messages import LO_IFINDEX
from addrsvc.netlink.nlattr import nla_for_each_attr
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IFA_ADDRESS,
    IFA_LOCAL,
    IFLA_MTU,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTM_NEWLINK,
)

if TYPE_CHECKING:
    from addrsvc.keeper.compare import Step
    from addrsvc.keeper.mend import Refusals

__all__ = ["Heard", "Message", "hear", "is_about_others", "present_of"]

Message: TypeAlias = bytes | bytearray | memoryview

_START: Final = Struct("=IH2x4xIBB2xIHH16s")
"""nlmsg_len, nlmsg_type, nlmsg_pid; family, prefix length and ifindex of an ifaddrmsg; the first attribute's length and
type, and 16 bytes from where it begins."""
_LINK: Final = Struct("=IH2x4xIBxxxiI")
"""nlmsg_len, nlmsg_type, nlmsg_pid; family, ifindex and flags of an ifinfomsg."""
_U32: Final = Struct("=I")
_ADDRESSES_AT: Final = 24
_LINKS_AT: Final = 32
_LOCAL_V4: Final = Struct("=HH").pack(8, IFA_LOCAL)
_KIND: Final = slice(4, 6)
_OF_ADDRESSES: Final = frozenset(int(kind).to_bytes(2, byteorder) for kind in (RTM_NEWADDR, RTM_DELADDR))
_PREFIXLEN_AT: Final = 17
_FIRST_ATTR: Final = slice(24, 28)
_SECOND_ATTR: Final = slice(32, 36)
_STARTS_V6: Final = frozenset(Struct("=HH").pack(20, number) for number in (IFA_ADDRESS, IFA_LOCAL))
_START_V4: Final = Struct("=HH").pack(8, IFA_ADDRESS)
_LOOPBACK: Final = LOOPBACK[0]
_V6_AT: Final = slice(28, 44)
_V4_AT: Final = slice(36, 40)
_WHOLE: Final = 128
"""The prefix length of an IPv6 address that is wanted on lo; others are those of routes."""
_LENGTHS: Final = {AF_INET: 4, AF_INET6: 16}


class Heard:
    """Something that has happened in a namespace, on its way down the chain: what a kernel hands its notifiers.

    Attributes:
        kept: where.
        key: which address; LO for lo.
        kind: the message's type; 0 where no message was heard, and somebody has only said so.
        portid: who asked the kernel for it, where the message tells; else 0.
        since: when it was heard, in nanoseconds of the monotonic clock.
        data: the message, as long as the chain is walked.
        flags, mtu: of lo, if it is about lo.
        why: what it counts as, where something is repaired because of it.
        is_own: it is our own doing.
        answer: what would undo it, where a rule wants that.
        step, refusals, us: what was asked for at once, what was refused of it, and how long that took since `since`.
        cause: the number of the event that told it.
    """

    __slots__ = (
        "answer",
        "cause",
        "data",
        "flags",
        "is_own",
        "kept",
        "key",
        "kind",
        "mtu",
        "portid",
        "refusals",
        "since",
        "step",
        "us",
        "why",
    )  # fmt: skip

    def __init__(
        self,
        kept: Kept,
        key: Key,
        kind: int,
        since: int = 0,
        portid: int = 0,
        data: Message = b"",
        why: Why = Why.DELETED,
    ) -> None:
        self.kept = kept
        self.key = key
        self.kind = kind
        self.since = since
        self.portid = portid
        self.data = data
        self.flags = kept.flags
        self.mtu = kept.mtu
        self.why = why
        self.is_own = False
        self.answer: Step | None = None
        self.step: Step | None = None
        self.refusals: Refusals = {}
        self.us = 0.0
        self.cause = 0


def is_about_others(kept: Kept, data: bytes) -> bool:
    """Whether a message is, for certain, about an address of no interest: so most are that come in thousands."""
    start = data[_FIRST_ATTR]
    if start in _STARTS_V6:
        address = data[_V6_AT]
        is_known = address == _LOOPBACK or (address, _WHOLE) in kept.wanted.addresses
    elif start == _START_V4 and data[_SECOND_ATTR] == _LOCAL_V4:
        is_known = (data[_V4_AT], data[_PREFIXLEN_AT]) in kept.wanted.addresses
    else:
        return False
    return not is_known and data[_KIND] in _OF_ADDRESSES


def hear(kept: Kept, data: Message, since: int) -> Heard | None:
    """What a message says, if it is about lo, or about an address of lo that a rule has something to say of."""
    try:
        _, kind, portid, family, prefixlen, ifindex, length, number, start = _START.unpack_from(data)
    except struct_error:
        return None
    if ifindex != LO_IFINDEX:
        return None
    if kind == RTM_NEWLINK:
        return _hear_lo(kept, data, since) if family == AF_UNSPEC else None
    if kind not in (RTM_NEWADDR, RTM_DELADDR):
        return None
    if family == AF_INET6 and length == 20 and number in (IFA_ADDRESS, IFA_LOCAL):
        key = start, prefixlen
    elif family == AF_INET and start[4:8] == _LOCAL_V4:
        key = start[8:12], prefixlen
    elif (found := _address_of(data, family)) is not None:
        key = found, prefixlen
    else:
        return None
    if key not in kept.wanted.addresses and key != LOOPBACK:
        key = key[0], _WHOLE  # IPv6 has each address once, with whatever length: this one was in its way
        if kind == RTM_NEWADDR or (key not in kept.wanted.addresses and key != LOOPBACK):
            return None
    return Heard(kept, key, kind, since, portid, data, kept.reason)


def _address_of(data: Message, family: int) -> bytes | None:
    """The address of a message that is not laid out as most are."""
    at_of = {number: at for number, at, _ in nla_for_each_attr(bytes(data), _ADDRESSES_AT, _end(data))}
    at = at_of.get(IFA_LOCAL, at_of.get(IFA_ADDRESS))
    size = _LENGTHS.get(family)
    return None if at is None or size is None else bytes(data[at : at + size])


def _hear_lo(kept: Kept, data: Message, since: int) -> Heard | None:
    if len(data) < _LINKS_AT:
        return None
    _, kind, portid, _, _, flags = _LINK.unpack_from(data)
    heard = Heard(kept, LO, kind, since, portid, data, Why.LO_DOWN)
    heard.flags = flags
    for number, at, size in nla_for_each_attr(bytes(data), _LINKS_AT, _end(data)):
        if number == IFLA_MTU and size >= _U32.size:
            (heard.mtu,) = _U32.unpack_from(data, at)
    return heard


def _end(data: Message) -> int:
    length: int = _U32.unpack_from(data)[0]
    return min(length, len(data))


def present_of(data: Message, key: Key) -> Present | None:
    """What an RTM_NEWADDR says of an address."""
    found = read_address(bytes(data))
    return found[1] if found is not None and found[0] == key else None
