"""How well-made requests for IPv6 addresses are laid out, so that who sends many alike has but one of them parsed."""

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from struct import Struct
from typing import Any, Final, NamedTuple

from addrsvc.netlink.nlattr import NLMSG_HDRLEN
from addrsvc.uapi import (
    AF_INET6,
    IFA_ADDRESS,
    IFA_CACHEINFO,
    IFA_FLAGS,
    IFA_LOCAL,
    IFA_PROTO,
    IFA_RT_PRIORITY,
    INFINITY_LIFE_TIME,
    RTM_NEWADDR,
)

__all__ = ["ABSENT", "NewaddrForm", "newaddr_form"]

_NLATTR: Final = Struct("=HH")
_WORD: Final = Struct("=I")
_HEADERS: Final = Struct("=IHH8x BBBxi")
_HEADER_MEMBERS: Final = ("length", "type", "nlmsg_flags", "family", "plen", "ifa_flags", "ifindex")


class _Attr(NamedTuple):
    """An attribute as it lies in a message, padding included."""

    format: str
    members: tuple[str, ...]


def _head(nla_type: int, payload: int) -> int:
    """The header of an attribute as one number."""
    return int(_WORD.unpack(_NLATTR.pack(_NLATTR.size + payload, nla_type))[0])


# One row per attribute that is looked at, where it has the size that it should have.
_ATTRS: Final = {
    _head(IFA_LOCAL, 16): _Attr("I16s", ("local",)),
    _head(IFA_ADDRESS, 16): _Attr("I16s", ("address",)),
    _head(IFA_FLAGS, 4): _Attr("II", ("flags",)),
    _head(IFA_CACHEINFO, 16): _Attr("III8x", ("preferred", "valid")),
    _head(IFA_RT_PRIORITY, 4): _Attr("II", ("priority",)),
    _head(IFA_PROTO, 1): _Attr("IB3x", ("proto",)),
}
_SIZES: Final = {head: Struct("=" + attr.format).size for head, attr in _ATTRS.items()}

ABSENT: Final = (None, 0, INFINITY_LIFE_TIME)
"""What stands for members that a message does not have: to be put before those that it has."""
_ABSENT_MEMBERS: Final = ("nothing", "zero", "for ever")


class NewaddrForm(NamedTuple):
    """Messages that have the same attributes in the same order.

    Attributes:
        layout: unpacks the members of a message.
        frame: picks out of them what is the same in all messages of the form.
        alike: what that is.
        wish: picks out of ABSENT and the members what is asked for: nlmsg_flags, ifindex, prefix length, address, the
            other address if there are two, metric, protocol, flags, valid and preferred lifetime.
    """

    layout: Struct
    frame: Callable[[tuple[Any, ...]], tuple[int, ...]]
    alike: tuple[int, ...]
    wish: Callable[[tuple[Any, ...]], tuple[Any, ...]]


def newaddr_form(data: bytes, offset: int, length: int) -> NewaddrForm | None:
    """The form of a message, or None where it has one that is not so simple."""
    heads, place, end = [], offset + NLMSG_HDRLEN + 8, offset + (length & ~3)
    while place < end:
        head = _WORD.unpack_from(data, place)[0]
        size = _SIZES.get(head)
        if size is None:
            return None
        heads.append(head)
        place += size
    return _form(tuple(heads)) if place == offset + length else None


@lru_cache(maxsize=256)
def _form(heads: tuple[int, ...]) -> NewaddrForm | None:
    members = [*_ABSENT_MEMBERS, *_HEADER_MEMBERS]
    frame = [members.index(name) for name in ("length", "type", "family")]
    for head in heads:
        frame.append(len(members))
        members += ["head", *_ATTRS[head].members]
    has = {*members}.__contains__
    if len({*heads}) < len(heads) or not (has("local") or has("address")):
        return None
    layout = Struct(_HEADERS.format + " ".join(_ATTRS[head].format for head in heads))
    wish = (
        "nlmsg_flags", "ifindex", "plen",
        "local" if has("local") else "address",
        "address" if has("local") and has("address") else "nothing",
        "priority" if has("priority") else "zero",
        "proto" if has("proto") else "zero",
        "flags" if has("flags") else "ifa_flags",
        "valid" if has("valid") else "for ever",
        "preferred" if has("preferred") else "for ever",
    )  # fmt: skip
    return NewaddrForm(
        layout,
        itemgetter(*(place - len(ABSENT) for place in frame)),
        (layout.size, RTM_NEWADDR, AF_INET6, *heads),
        itemgetter(*map(members.index, wish)),
    )
