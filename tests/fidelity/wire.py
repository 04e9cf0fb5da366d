"""Netlink bytes by hand: what the campaign sends is written here, right or wrong, and told to a reader.

Nothing here is shared with the codec that is under test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from struct import Struct

from addrsvc.uapi import Rtm

__all__ = [
    "ACK", "DUMP", "REQUEST", "Message", "align", "attributes", "described", "header", "messages", "nest", "nla",
    "s32", "text", "u8", "u16", "u32", "u64",
]  # fmt: skip

REQUEST, ACK, ECHO, DUMP = 0x001, 0x004, 0x008, 0x300
NLA_F_NESTED, NLA_F_NET_BYTEORDER, NLA_TYPE_MASK = 0x8000, 0x4000, 0x3FFF
NLMSGHDR = Struct("=IHHII")
NLATTR = Struct("=HH")

_FLAGS = (
    (0x001, "REQUEST"), (0x002, "MULTI"), (0x004, "ACK"), (0x008, "ECHO"), (0x010, "DUMP_INTR"),
    (0x020, "DUMP_FILTERED"), (0x100, "ROOT|REPLACE"), (0x200, "MATCH|EXCL"), (0x400, "CREATE"), (0x800, "APPEND"),
)  # fmt: skip
_CONTROL = {1: "NLMSG_NOOP", 2: "NLMSG_ERROR", 3: "NLMSG_DONE", 4: "NLMSG_OVERRUN"}


def align(length: int) -> int:
    """NLMSG_ALIGN and NLA_ALIGN."""
    return length + 3 & ~3


# --- values -----------------------------------------------------------------------------------------------------------


def u8(value: int) -> bytes:
    return (value & 0xFF).to_bytes(1, "little")


def u16(value: int) -> bytes:
    return (value & 0xFFFF).to_bytes(2, "little")


def u32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def s32(value: int) -> bytes:
    return u32(value)


def u64(value: int) -> bytes:
    return (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")


def text(value: str) -> bytes:
    """NLA_STRING as most senders write it: with a NUL."""
    return value.encode() + b"\0"


def nla(nla_type: int, payload: bytes, *, length: int | None = None) -> bytes:
    """One attribute, padded; `length` is what it claims to be, if not what it is."""
    told = NLATTR.size + len(payload) if length is None else length
    return (NLATTR.pack(told & 0xFFFF, nla_type & 0xFFFF) + payload).ljust(align(NLATTR.size + len(payload)), b"\0")


def nest(nla_type: int, *inner: bytes, flagged: bool = True) -> bytes:
    return nla(nla_type | (NLA_F_NESTED if flagged else 0), b"".join(inner))


# --- a message --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """A request: header fields, the family's own header, and attributes, each of them bytes already."""

    nlmsg_type: int
    flags: int
    family_header: bytes
    attrs: tuple[bytes, ...] = ()
    seq: int = 1
    pid: int = 0
    length: int | None = None
    """What it claims to be long, if not what it is."""

    def __bytes__(self) -> bytes:
        body = self.family_header.ljust(align(len(self.family_header)) if self.attrs else 0, b"\0")
        body += b"".join(self.attrs)
        told = NLMSGHDR.size + len(body) if self.length is None else self.length
        return NLMSGHDR.pack(told & 0xFFFFFFFF, self.nlmsg_type, self.flags, self.seq, self.pid) + body

    def but(self, **changes: object) -> "Message":
        return replace(self, **changes)  # type: ignore[arg-type]


def datagram(parts: Sequence[Message]) -> bytes:
    """Several messages in one datagram, each but the last padded."""
    raw = [bytes(part) for part in parts]
    return b"".join(part.ljust(align(len(part)), b"\0") for part in raw[:-1]) + raw[-1]


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """struct nlmsghdr of a message, and where it lies."""

    offset: int
    nlmsg_len: int
    nlmsg_type: int
    flags: int
    seq: int
    pid: int

    @property
    def end(self) -> int:
        return self.offset + self.nlmsg_len


def header(data: bytes, offset: int = 0) -> Header:
    return Header(offset, *NLMSGHDR.unpack_from(data, offset))


def messages(data: bytes, *, truncated: bool = False) -> Iterator[Header]:
    """The messages of a datagram, up to the first length that cannot be; `truncated`, with one that was cut off."""
    offset = 0
    while len(data) - offset >= NLMSGHDR.size:
        found = header(data, offset)
        if found.nlmsg_len < NLMSGHDR.size or (found.nlmsg_len > len(data) - offset and not truncated):
            return
        yield found
        offset += align(found.nlmsg_len)


def attributes(data: bytes, start: int, end: int, *, truncated: bool = False) -> Iterator[tuple[int, int, int]]:
    """Type (without its flags), payload offset and payload end of each attribute."""
    while end - start >= NLATTR.size:
        nla_len, nla_type = NLATTR.unpack_from(data, start)
        if nla_len < NLATTR.size or (nla_len > end - start and not truncated):
            return
        yield nla_type & NLA_TYPE_MASK, start + NLATTR.size, min(start + nla_len, end)
        start += align(nla_len)


# --- for a reader -----------------------------------------------------------------------------------------------------


def type_name(nlmsg_type: int) -> str:
    if nlmsg_type in _CONTROL:
        return _CONTROL[nlmsg_type]
    try:
        return Rtm(nlmsg_type).name
    except ValueError:
        return f"type {nlmsg_type}"


def flag_names(flags: int) -> str:
    names = [name for bit, name in _FLAGS if flags & bit]
    rest = flags & ~sum(bit for bit, _ in _FLAGS)
    return "+".join([*names, *([hex(rest)] if rest else [])]) or "0"


def described(data: bytes) -> str:
    """A datagram in a line: its messages, and what remains of it."""
    parts, end = [], 0
    for found in messages(data):
        parts.append(_described(data, found))
        end = align(found.end)
    if end < len(data):
        parts.append(f"{len(data) - end} bytes {data[end : end + 32].hex()}")
    return "; ".join(parts) or "nothing"


# The family's own header is this long.
HEADER_LENGTHS = {
    **dict.fromkeys((*range(16, 20), *range(108, 111)), 16),
    **dict.fromkeys((*range(20, 24), *range(56, 64), *range(84, 88), *range(104, 107), *range(116, 123)), 8),
    **dict.fromkeys((*range(24, 28), *range(28, 36)), 12),
    **dict.fromkeys((*range(36, 48), *range(100, 104)), 20),
    **dict.fromkeys((*range(48, 52), *range(64, 68), *range(76, 84), *range(88, 92)), 4),
    **dict.fromkeys((*range(72, 76), *range(92, 96)), 12),
}


def _described(data: bytes, found: Header) -> str:
    head = f"{type_name(found.nlmsg_type)} {flag_names(found.flags)} seq={found.seq:#x} pid={found.pid:#x}"
    start = found.offset + NLMSGHDR.size
    if found.nlmsg_type == 2 and found.nlmsg_len >= 20:
        (errno,) = Struct("=i").unpack_from(data, start)
        return f"{head} errno={errno} {data[start + 4 : found.end].hex(' ', 4)}"
    length = HEADER_LENGTHS.get(found.nlmsg_type, 4)
    first = min(start + length, found.end)
    return f"{head} [{data[start:first].hex(' ', 4)}] {_attributes(data, first, found.end)}"


def _attributes(data: bytes, start: int, end: int) -> str:
    shown, last = [], start
    for nla_type, payload, payload_end in attributes(data, start, end):
        value = data[payload:payload_end]
        shown.append(f"{nla_type}={value.hex() if len(value) <= 40 else f'{value[:40].hex()}...({len(value)})'}")
        last = start + align(payload_end - start)
    return " ".join(shown) + (f" rest={data[last:end].hex()}" if last < end else "")
