"""Netlink attributes as the kernel reads them: policies, validation, and what it says about a refusal.

Kernel: lib/nlattr.c, and the part of net/netlink/policy.c that shows one policy to user space.  An attribute is a
place in the message, not a copy: offsets count from the message's own nlmsghdr, so they are the offsets that an
extended acknowledgement tells.  What the attributes mean is not known here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import EINVAL, ERANGE
from struct import Struct
from typing import Final, NoReturn, TypeAlias

from addrsvc.errors import KernelError

__all__ = [
    "Attrs", "ExtAck", "nla_for_each_attr", "nla_parse", "nla_parse_nested", "nla_parse_nested_deprecated", "NlaPolicy",
    "NLMSG_ALIGN", "nlmsg_parse", "Policies", "policy_tlv",
]  # fmt: skip

NLMSG_HDRLEN: Final = 16
NLA_HDRLEN: Final = 4
NLA_F_NESTED: Final = 0x8000
NLA_F_NET_BYTEORDER: Final = 0x4000
NLA_TYPE_MASK: Final = 0x3FFF

(
    NLA_UNSPEC, NLA_U8, NLA_U16, NLA_U32, NLA_U64, NLA_STRING, NLA_FLAG, NLA_MSECS, NLA_NESTED, NLA_NESTED_ARRAY,
    NLA_NUL_STRING, NLA_BINARY, NLA_S8, NLA_S16, NLA_S32, NLA_S64, NLA_BITFIELD32, NLA_REJECT, NLA_BE16, NLA_BE32,
    NLA_SINT, NLA_UINT,
) = range(22)  # fmt: skip

(
    NLA_VALIDATE_NONE, NLA_VALIDATE_RANGE, NLA_VALIDATE_RANGE_WARN_TOO_LONG, NLA_VALIDATE_MIN, NLA_VALIDATE_MAX,
    NLA_VALIDATE_MASK, NLA_VALIDATE_FUNCTION,
) = range(7)  # fmt: skip

NL_VALIDATE_LIBERAL: Final = 0x00
NL_VALIDATE_TRAILING: Final = 0x01
NL_VALIDATE_MAXTYPE: Final = 0x02
NL_VALIDATE_UNSPEC: Final = 0x04
NL_VALIDATE_STRICT_ATTRS: Final = 0x08
NL_VALIDATE_NESTED: Final = 0x10
NL_VALIDATE_DEPRECATED_STRICT: Final = NL_VALIDATE_TRAILING | NL_VALIDATE_MAXTYPE
NL_VALIDATE_STRICT: Final = (
    NL_VALIDATE_DEPRECATED_STRICT | NL_VALIDATE_UNSPEC | NL_VALIDATE_STRICT_ATTRS | NL_VALIDATE_NESTED
)

MAX_POLICY_RECURSION_DEPTH: Final = 10

_NLATTR: Final = Struct("=HH")
_BITFIELD32: Final = Struct("=II")


def NLMSG_ALIGN(length: int) -> int:
    """So many bytes and what pads them.

    Kernel: include/uapi/linux/netlink.h, NLMSG_ALIGN(), NLA_ALIGN().
    """
    return length + 3 & ~3


@dataclass(frozen=True, slots=True)
class _Number:
    """How a type of number lies in its bytes, and what it can hold."""

    length: int
    tell: int
    """NL_ATTR_TYPE_*; 0 where the kernel does not tell the type of a policy."""
    signed: bool = False
    big_endian: bool = False

    def read(self, payload: bytes) -> int:
        return int.from_bytes(payload[: self.length], "big" if self.big_endian else sys.byteorder, signed=self.signed)

    @property
    def limits(self) -> tuple[int, int]:
        bits = 8 * self.length
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.signed else (0, (1 << bits) - 1)


_NUMBERS: Final[Mapping[int, _Number]] = {
    NLA_U8: _Number(1, 2),
    NLA_U16: _Number(2, 3),
    NLA_U32: _Number(4, 4),
    NLA_U64: _Number(8, 5),
    NLA_MSECS: _Number(8, 5),
    NLA_S8: _Number(1, 6, signed=True),
    NLA_S16: _Number(2, 7, signed=True),
    NLA_S32: _Number(4, 8, signed=True),
    NLA_S64: _Number(8, 9, signed=True),
    NLA_BE16: _Number(2, 0, big_endian=True),
    NLA_BE32: _Number(4, 0, big_endian=True),
    NLA_SINT: _Number(8, 16, signed=True),
    NLA_UINT: _Number(8, 17),
}
_VARIABLE_INTS: Final = (NLA_SINT, NLA_UINT)
# NLA_MSECS may be longer than its number; the others are refused so by strict checks.
_EXACT: Final = {
    type_: number.length for type_, number in _NUMBERS.items() if type_ not in (NLA_MSECS, *_VARIABLE_INTS)
}
_BINARY_MAX: Final = 0xFFFF
_MINIMUM: Final = _EXACT | {NLA_MSECS: 8}
_NEVER: Final = 1 << 16
"""More than any attribute has."""


@dataclass(frozen=True, slots=True)
class NlaPolicy:
    """What an attribute has to be: one entry of the kernel's struct nla_policy arrays.

    The constructors named after the kernel's macros (`exact_len`, `range`, ...) say what they mean; for the rest
    ``NlaPolicy(NLA_U32)`` is the whole of it.
    """

    type: int = NLA_UNSPEC
    len: int = 0
    """Longest string or binary, shortest anything else, or the highest attribute type inside of a nest."""
    validation: int = NLA_VALIDATE_NONE
    min: int = 0
    max: int = 0
    mask: int = 0
    """The bits that may be set: of a number (NLA_VALIDATE_MASK) or of an NLA_BITFIELD32."""
    nested: Policies | None = None
    reject: str | None = None
    """The kernel's words for an NLA_REJECT that has words of its own."""
    validate: Callable[[bytes, int, int, ExtAck], None] | None = None
    """NLA_VALIDATE_FUNCTION: told the message, the payload's offset and length; raises KernelError."""
    strict_start_type: int = 0
    """Of entry 0 only: from this attribute type on, every check is strict."""
    least: int = field(init=False, compare=False, repr=False, default=_NEVER)
    """Ours: all that liberal checks want of the attribute is that it has so many bytes."""

    def __post_init__(self) -> None:
        """Find out whether there is anything to check but a least length."""
        if self.validation == NLA_VALIDATE_NONE and (self.type == NLA_UNSPEC or self.type in _MINIMUM):
            object.__setattr__(self, "least", self.len or _MINIMUM.get(self.type, 0))

    @classmethod
    def nest(cls, maxtype: int, policy: Policies | None) -> NlaPolicy:
        """NLA_POLICY_NESTED: a nest whose attributes have policies of their own."""
        return cls(NLA_NESTED, len=maxtype, nested=policy)

    @classmethod
    def array(cls, maxtype: int, policy: Policies | None) -> NlaPolicy:
        """NLA_POLICY_NESTED_ARRAY: nests in a nest, numbered as the sender likes."""
        return cls(NLA_NESTED_ARRAY, len=maxtype, nested=policy)

    @classmethod
    def range(cls, type: int, min: int, max: int) -> NlaPolicy:  # noqa: A002 - the kernel's names
        """NLA_POLICY_RANGE: a number in a range, or an NLA_BINARY whose length is."""
        return cls(type, validation=NLA_VALIDATE_RANGE, min=min, max=max)

    @classmethod
    def at_least(cls, type: int, min: int) -> NlaPolicy:  # noqa: A002
        """NLA_POLICY_MIN."""
        return cls(type, validation=NLA_VALIDATE_MIN, min=min)

    @classmethod
    def at_most(cls, type: int, max: int) -> NlaPolicy:  # noqa: A002
        """NLA_POLICY_MAX."""
        return cls(type, validation=NLA_VALIDATE_MAX, max=max)

    @classmethod
    def masked(cls, type: int, mask: int) -> NlaPolicy:  # noqa: A002
        """NLA_POLICY_MASK."""
        return cls(type, validation=NLA_VALIDATE_MASK, mask=mask)

    @classmethod
    def exact_len(cls, length: int) -> NlaPolicy:
        """NLA_POLICY_EXACT_LEN: so many bytes, no more and no fewer."""
        return cls.range(NLA_BINARY, length, length)

    @classmethod
    def exact_len_warn(cls, length: int) -> NlaPolicy:
        """NLA_POLICY_EXACT_LEN_WARN: more bytes are refused by strict checks only; fewer always."""
        return cls(NLA_BINARY, validation=NLA_VALIDATE_RANGE_WARN_TOO_LONG, min=length, max=length)

    @classmethod
    def min_len(cls, length: int) -> NlaPolicy:
        """NLA_POLICY_MIN_LEN."""
        return cls.at_least(NLA_BINARY, length)

    @classmethod
    def bitfield32(cls, valid: int) -> NlaPolicy:
        """NLA_POLICY_BITFIELD32."""
        return cls(NLA_BITFIELD32, mask=valid)

    @classmethod
    def refuse(cls, message: str | None = None) -> NlaPolicy:
        """NLA_REJECT, with or without words of its own."""
        return cls(NLA_REJECT, reject=message)


Policies: TypeAlias = Mapping[int, NlaPolicy]
"""Policies by attribute type; a type that is missing is NLA_UNSPEC.  Entry 0 holds `strict_start_type`."""

Attrs: TypeAlias = dict[int, tuple[int, int]]
"""Attribute type -> (offset of the payload in the message, its length)."""


@dataclass(slots=True)
class ExtAck:
    """What the kernel has to say about a request besides its errno: struct netlink_ext_ack."""

    msg: str | None = None
    bad_attr: int | None = None
    """The blamed attribute's offset from the nlmsghdr."""
    policy: NlaPolicy | None = None
    miss_type: int | None = None
    miss_nest: int | None = None
    cookie: bytes = b""

    def blame(self, attr: int, msg: str | None, policy: NlaPolicy | None = None) -> None:
        """NL_SET_ERR_MSG_ATTR_POL: the words, the attribute (by the offset of its header) and the policy it broke."""
        self.msg, self.bad_attr, self.policy = msg, attr, policy


def nlmsg_parse(
    data: bytes, hdrlen: int, maxtype: int, policy: Policies | None, validate: int, extack: ExtAck
) -> Attrs:
    """The attributes of one netlink message, which `data` is, behind its family's header of `hdrlen` bytes.

    Kernel: include/net/netlink.h, __nlmsg_parse().
    """
    if len(data) < NLMSG_HDRLEN + hdrlen:
        extack.msg = "Invalid header length"
        raise KernelError(EINVAL, extack.msg)
    return nla_parse(data, NLMSG_HDRLEN + NLMSG_ALIGN(hdrlen), len(data), maxtype, policy, validate, extack)


def nla_parse(
    data: bytes, start: int, end: int, maxtype: int, policy: Policies | None, validate: int, extack: ExtAck
) -> Attrs:
    """The attributes between two offsets of a message, checked against their policies; of two alike the last counts.

    Kernel: lib/nlattr.c, __nla_parse().  Raises KernelError with what it has left in `extack`.
    """
    return _validate_parse(data, start, end, maxtype, policy, validate, extack, 0)


def nla_for_each_attr(data: bytes, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type without its flags, and place of the payload (offset, length), of each attribute up to one that cannot be.

    Kernel: include/net/netlink.h, nla_for_each_attr().
    """
    while end - pos >= NLA_HDRLEN:
        nla_len, nla_type = _NLATTR.unpack_from(data, pos)
        if not NLA_HDRLEN <= nla_len <= end - pos:
            return
        yield nla_type & NLA_TYPE_MASK, pos + NLA_HDRLEN, nla_len - NLA_HDRLEN
        pos += NLMSG_ALIGN(nla_len)


def nla_parse_nested(
    data: bytes, attr: tuple[int, int], maxtype: int, policy: Policies | None, extack: ExtAck
) -> Attrs:
    """The attributes inside of an attribute, by strict checks.

    Kernel: include/net/netlink.h, nla_parse_nested().
    """
    offset, length = attr
    header = offset - NLA_HDRLEN
    if not _NLATTR.unpack_from(data, header)[1] & NLA_F_NESTED:
        _refuse(extack, header, "NLA_F_NESTED is missing")
    return nla_parse(data, offset, offset + length, maxtype, policy, NL_VALIDATE_STRICT, extack)


def nla_parse_nested_deprecated(
    data: bytes, attr: tuple[int, int], maxtype: int, policy: Policies | None, extack: ExtAck
) -> Attrs:
    """The attributes inside of an attribute, by liberal checks.

    Kernel: include/net/netlink.h, nla_parse_nested_deprecated().
    """
    offset, length = attr
    return nla_parse(data, offset, offset + length, maxtype, policy, NL_VALIDATE_LIBERAL, extack)


def _validate_parse(
    data: bytes, pos: int, end: int, maxtype: int, policy: Policies | None, validate: int, extack: ExtAck, depth: int
) -> Attrs:
    if depth >= MAX_POLICY_RECURSION_DEPTH:
        extack.msg = "allowed policy recursion depth exceeded"
        raise KernelError(EINVAL, extack.msg)
    found: Attrs = {}
    strict_from = policy[0].strict_start_type if policy is not None and 0 in policy else 0
    while end - pos >= NLA_HDRLEN:
        nla_len, nla_type = _NLATTR.unpack_from(data, pos)
        if not NLA_HDRLEN <= nla_len <= end - pos:
            break
        type_ = nla_type & NLA_TYPE_MASK
        if 0 < type_ <= maxtype:
            if policy is not None:
                pt = policy.get(type_, _UNSPEC)
                how = validate | NL_VALIDATE_STRICT if strict_from and type_ >= strict_from else validate
                if how or nla_len - NLA_HDRLEN < pt.least:
                    _validate_nla(data, pos, nla_len, nla_type, pt, how, extack, depth)
            found[type_] = (pos + NLA_HDRLEN, nla_len - NLA_HDRLEN)
        elif validate & NL_VALIDATE_MAXTYPE:
            _refuse(extack, pos, "Unknown attribute type")
        pos += NLMSG_ALIGN(nla_len)
    if pos < end:
        extack.msg = "bytes leftover after parsing attributes"
        if validate & NL_VALIDATE_TRAILING:
            raise KernelError(EINVAL, extack.msg)
    return found


def _validate_nla(
    data: bytes, pos: int, nla_len: int, nla_type: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int
) -> None:
    length = nla_len - NLA_HDRLEN
    if validate & NL_VALIDATE_STRICT_ATTRS and length != _EXACT.get(pt.type, length):
        _refuse(extack, pos, "invalid attribute length", pt)
    if pt.type in _VARIABLE_INTS and length not in (4, 8):
        _refuse(extack, pos, "invalid attribute length", pt)
    if validate & NL_VALIDATE_NESTED:
        _check_nested_bit(pt, pos, nla_type, extack)
    _CHECKS.get(pt.type, _check_minimum)(data, pos, length, pt, validate, extack, depth)
    if pt.validation:
        _VALIDATIONS[pt.validation](data, pos, length, pt, validate, extack)


def _check_nested_bit(pt: NlaPolicy, pos: int, nla_type: int, extack: ExtAck) -> None:
    has = bool(nla_type & NLA_F_NESTED)
    if pt.type in (NLA_NESTED, NLA_NESTED_ARRAY):
        if not has:
            _refuse(extack, pos, "NLA_F_NESTED is missing", pt)
    elif pt.type != NLA_UNSPEC and has:
        _refuse(extack, pos, "NLA_F_NESTED not expected", pt)


# --- by type ---------------------------------------------------------------------------------------------------------
def _check_reject(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int) -> None:
    if pt.reject is not None:
        _refuse(extack, pos, pt.reject)
    _fail(extack, pos, pt, EINVAL)


def _check_flag(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int) -> None:
    if length:
        _fail(extack, pos, pt)


def _check_bitfield32(
    data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int
) -> None:
    if length != _BITFIELD32.size:
        _fail(extack, pos, pt)
    value, selector = _BITFIELD32.unpack_from(data, pos + NLA_HDRLEN)
    if not pt.mask or (selector | value) & ~pt.mask or value & ~selector:
        _fail(extack, pos, pt, EINVAL)


def _check_nul_string(
    data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int
) -> None:
    start = pos + NLA_HDRLEN
    searched = min(length, pt.len + 1) if pt.len else length
    if data.find(0, start, start + searched) < 0:
        _fail(extack, pos, pt, EINVAL)
    _check_string(data, pos, length, pt, validate, extack, depth)


def _check_string(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int) -> None:
    if length < 1:
        _fail(extack, pos, pt)
    if pt.len and length - (data[pos + NLA_HDRLEN + length - 1] == 0) > pt.len:
        _fail(extack, pos, pt)


def _check_binary(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int) -> None:
    if pt.len and length > pt.len:
        _fail(extack, pos, pt)


def _check_nested(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int) -> None:
    if not length:
        return
    if length < NLA_HDRLEN:
        _fail(extack, pos, pt)
    if pt.nested is not None:
        start = pos + NLA_HDRLEN
        _validate_parse(data, start, start + length, pt.len, pt.nested, validate, extack, depth + 1)


def _check_array(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int) -> None:
    if not length:
        return
    if length < NLA_HDRLEN:
        _fail(extack, pos, pt)
    if pt.nested is None:
        return
    at, end = pos + NLA_HDRLEN, pos + NLA_HDRLEN + length
    while end - at >= NLA_HDRLEN:
        nla_len, _ = _NLATTR.unpack_from(data, at)
        if not NLA_HDRLEN <= nla_len <= end - at:
            return
        if NLA_HDRLEN < nla_len < 2 * NLA_HDRLEN:
            _refuse(extack, at, "Array element too short", pt.nested.get(0, _UNSPEC), ERANGE)
        if nla_len > NLA_HDRLEN:
            _validate_parse(data, at + NLA_HDRLEN, at + nla_len, pt.len, pt.nested, validate, extack, depth + 1)
        at += NLMSG_ALIGN(nla_len)


def _check_unspec(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int) -> None:
    if validate & NL_VALIDATE_UNSPEC:
        _refuse(extack, pos, "Unsupported attribute")
    if length < pt.len:
        _fail(extack, pos, pt)


def _check_minimum(
    data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck, depth: int
) -> None:
    if length < (pt.len or _MINIMUM.get(pt.type, 0)):
        _fail(extack, pos, pt)


_UNSPEC: Final = NlaPolicy()
_CHECKS: Final[Mapping[int, Callable[[bytes, int, int, NlaPolicy, int, ExtAck, int], None]]] = {
    NLA_UNSPEC: _check_unspec,
    NLA_STRING: _check_string,
    NLA_FLAG: _check_flag,
    NLA_NESTED: _check_nested,
    NLA_NESTED_ARRAY: _check_array,
    NLA_NUL_STRING: _check_nul_string,
    NLA_BINARY: _check_binary,
    NLA_BITFIELD32: _check_bitfield32,
    NLA_REJECT: _check_reject,
}


# --- by value --------------------------------------------------------------------------------------------------------
def _validate_range(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck) -> None:
    value = length if pt.type == NLA_BINARY else _value(data, pos, length, pt)
    low, high = _range(pt)
    if pt.validation == NLA_VALIDATE_RANGE_WARN_TOO_LONG and pt.type == NLA_BINARY and value > high:
        if validate & NL_VALIDATE_STRICT_ATTRS:
            _refuse(extack, pos, "invalid attribute length", pt)
        return
    if not low <= value <= high:
        words = "binary attribute size out of range" if pt.type == NLA_BINARY else "integer out of range"
        _refuse(extack, pos, words, pt, ERANGE)


def _validate_mask(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck) -> None:
    if _value(data, pos, length, pt) & ~pt.mask:
        _refuse(extack, pos, "reserved bit set")


def _validate_function(data: bytes, pos: int, length: int, pt: NlaPolicy, validate: int, extack: ExtAck) -> None:
    if pt.validate is not None:
        pt.validate(data, pos + NLA_HDRLEN, length, extack)


_VALIDATIONS: Final[Mapping[int, Callable[[bytes, int, int, NlaPolicy, int, ExtAck], None]]] = {
    NLA_VALIDATE_RANGE: _validate_range,
    NLA_VALIDATE_RANGE_WARN_TOO_LONG: _validate_range,
    NLA_VALIDATE_MIN: _validate_range,
    NLA_VALIDATE_MAX: _validate_range,
    NLA_VALIDATE_MASK: _validate_mask,
    NLA_VALIDATE_FUNCTION: _validate_function,
}


def _value(data: bytes, pos: int, length: int, pt: NlaPolicy) -> int:
    start = pos + NLA_HDRLEN
    return _NUMBERS[pt.type].read(data[start : start + length])


def _range(pt: NlaPolicy) -> tuple[int, int]:
    low, high = (0, _BINARY_MAX) if pt.type == NLA_BINARY else _NUMBERS[pt.type].limits
    if pt.validation in (NLA_VALIDATE_RANGE, NLA_VALIDATE_RANGE_WARN_TOO_LONG):
        return pt.min, pt.max
    if pt.validation == NLA_VALIDATE_MIN:
        return pt.min, high
    return (low, pt.max) if pt.validation == NLA_VALIDATE_MAX else (low, high)


def _fail(extack: ExtAck, pos: int, pt: NlaPolicy, errno: int = ERANGE) -> NoReturn:
    _refuse(extack, pos, "Attribute failed policy validation", pt, errno)


def _refuse(extack: ExtAck, pos: int, words: str, pt: NlaPolicy | None = None, errno: int = EINVAL) -> NoReturn:
    extack.blame(pos, words, pt)
    raise KernelError(errno, words)


# --- what is told of a policy ----------------------------------------------------------------------------------------
NL_POLICY_TYPE_ATTR_TYPE: Final = 1
NL_POLICY_TYPE_ATTR_MIN_VALUE_S: Final = 2
NL_POLICY_TYPE_ATTR_MAX_VALUE_S: Final = 3
NL_POLICY_TYPE_ATTR_MIN_VALUE_U: Final = 4
NL_POLICY_TYPE_ATTR_MAX_VALUE_U: Final = 5
NL_POLICY_TYPE_ATTR_MIN_LENGTH: Final = 6
NL_POLICY_TYPE_ATTR_MAX_LENGTH: Final = 7
NL_POLICY_TYPE_ATTR_BITFIELD32_MASK: Final = 10
NL_POLICY_TYPE_ATTR_MASK: Final = 12

_TYPES: Final[Mapping[int, int]] = {
    NLA_FLAG: 1,
    **{type_: number.tell for type_, number in _NUMBERS.items() if number.tell},
    NLA_BINARY: 10,
    NLA_STRING: 11,
    NLA_NUL_STRING: 12,
    NLA_NESTED: 13,
    NLA_NESTED_ARRAY: 14,
    NLA_BITFIELD32: 15,
}


def policy_tlv(policy: NlaPolicy) -> bytes:
    """The payload of NLMSGERR_ATTR_POLICY; empty where the kernel leaves the attribute out.

    Kernel: net/netlink/policy.c, netlink_policy_dump_write_attr().
    """
    if (told := _TYPES.get(policy.type)) is None:
        return b""
    return _limits_tlv(policy) + _put_u32(NL_POLICY_TYPE_ATTR_TYPE, told)


def _limits_tlv(policy: NlaPolicy) -> bytes:
    if policy.type in _NUMBERS:
        return _number_tlv(policy, signed=_NUMBERS[policy.type].signed)
    if policy.type == NLA_BITFIELD32:
        return _put_u32(NL_POLICY_TYPE_ATTR_BITFIELD32_MASK, policy.mask)
    if policy.type in (NLA_STRING, NLA_NUL_STRING, NLA_BINARY):
        return _length_tlv(policy)
    return b""


def _number_tlv(policy: NlaPolicy, *, signed: bool) -> bytes:
    if policy.validation == NLA_VALIDATE_MASK and not signed:
        return _put_64(NL_POLICY_TYPE_ATTR_MASK, policy.mask)
    low, high = _range(policy)
    if signed:
        return _put_64(NL_POLICY_TYPE_ATTR_MIN_VALUE_S, low) + _put_64(NL_POLICY_TYPE_ATTR_MAX_VALUE_S, high)
    return _put_64(NL_POLICY_TYPE_ATTR_MIN_VALUE_U, low) + _put_64(NL_POLICY_TYPE_ATTR_MAX_VALUE_U, high)


def _length_tlv(policy: NlaPolicy) -> bytes:
    if policy.validation in (NLA_VALIDATE_RANGE, NLA_VALIDATE_RANGE_WARN_TOO_LONG):
        shortest = _put_u32(NL_POLICY_TYPE_ATTR_MIN_LENGTH, policy.min) if policy.min else b""
        longest = _put_u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, policy.max) if policy.max < _BINARY_MAX else b""
        return shortest + longest
    return _put_u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, policy.len) if policy.len else b""


def _put_u32(attr: int, value: int) -> bytes:
    return _NLATTR.pack(NLA_HDRLEN + 4, attr) + value.to_bytes(4, sys.byteorder)


def _put_64(attr: int, value: int) -> bytes:
    return _NLATTR.pack(NLA_HDRLEN + 8, attr) + (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, sys.byteorder)
