"""Attributes as fields of values: the kinds of payload there are, and tables of them that work both ways.

A table is in the kernel's order of sending.  What it does not know is kept raw, and so is what is not of its kind, and
all but the first of several attributes alike.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from struct import Struct
from typing import Any, Final, Protocol, TypeAlias

from addrsvc.errors import CodecError
from addrsvc.netlink.nlattr import NLA_HDRLEN, NLA_TYPE_MASK
from addrsvc.uapi import RTAX_CC_ALGO

__all__ = [
    "Array", "BYTES", "Kind", "METRICS", "Metrics", "NAME", "Names", "Nest", "Number", "Numbers", "PLAIN", "Raw",
    "Row", "S32", "S32S", "Settings", "Table", "Text", "U16", "U32", "U32S", "U64", "U64S", "U8",
]  # fmt: skip

_NLATTR: Final = Struct("=HH")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")

Put: TypeAlias = Callable[[Any], bytes]
"""A field as an attribute: header, payload and padding."""
Get: TypeAlias = Callable[[bytes, int, int], Any]
"""The field that a payload is, by its offset and length; None where it is not of this kind."""


class Kind(Protocol):
    """How one attribute's payload is a field, and back."""

    def putter(self, nla_type: int) -> Put:
        """What writes the field as an attribute of this type."""

    def get(self, data: bytes, start: int, length: int) -> Any:
        """The field that a payload is, by its offset and length; None where it is not of this kind."""


def attribute(nla_type: int, payload: bytes) -> bytes:
    """An attribute as it goes into a message: header, payload, and zeros up to a multiple of four bytes."""
    length = len(payload)
    return _NLATTR.pack(NLA_HDRLEN + length, nla_type) + payload + _PADDING[length & 3]


class Number:
    """One number."""

    def __init__(self, code: str) -> None:
        self.code = code
        self._struct = Struct(f"={code}")
        self._whole = Struct(f"=HH{code}{-self._struct.size & 3}x")

    def putter(self, nla_type: int) -> Put:
        return partial(self._whole.pack, NLA_HDRLEN + self._struct.size, nla_type)

    def get(self, data: bytes, start: int, length: int) -> int | None:
        if length != self._struct.size:
            return None
        number: int = self._struct.unpack_from(data, start)[0]
        return number


class Numbers:
    """A fixed number of numbers, as a tuple or as a value of its own."""

    def __init__(self, codes: str, make: Callable[..., Any] | None = None, *members: str) -> None:
        self.codes, self.make = codes, make
        self._struct = Struct(f"={codes}")
        self._whole = Struct(f"=HH{codes}{-self._struct.size & 3}x")
        self._members = attrgetter(*members) if members else None

    def putter(self, nla_type: int) -> Put:
        pack, length, members = self._whole.pack, NLA_HDRLEN + self._struct.size, self._members
        if members is None:
            return lambda value: pack(length, nla_type, *value)
        return lambda value: pack(length, nla_type, *members(value))

    def get(self, data: bytes, start: int, length: int) -> Any:
        if length != self._struct.size:
            return None
        numbers = self._struct.unpack_from(data, start)
        return numbers if self.make is None else self.make(*numbers)


class Array:
    """Any number of numbers of one size."""

    def __init__(self, code: str) -> None:
        self.code = code
        self._size = struct.calcsize(f"={code}")

    def putter(self, nla_type: int) -> Put:
        code = self.code
        return lambda value: attribute(nla_type, struct.pack(f"={len(value)}{code}", *value))

    def get(self, data: bytes, start: int, length: int) -> tuple[int, ...] | None:
        if length % self._size:
            return None
        return struct.unpack_from(f"={length // self._size}{self.code}", data, start)


class Raw:
    """Bytes."""

    def putter(self, nla_type: int) -> Put:
        return partial(attribute, nla_type)

    def get(self, data: bytes, start: int, length: int) -> bytes:
        return data[start : start + length]


class Text:
    """A text, with a zero byte behind it or without; one that is read may have it or not."""

    def __init__(self, end: bytes) -> None:
        self.end = end

    def putter(self, nla_type: int) -> Put:
        end = self.end
        return lambda value: attribute(nla_type, value.encode("utf-8", "surrogateescape") + end)

    def get(self, data: bytes, start: int, length: int) -> str:
        return data[start : start + length].rstrip(b"\0").decode("utf-8", "surrogateescape")


class Nest:
    """Attributes in an attribute, as a value of its own."""

    def __init__(self, make: Callable[..., Any], *rows: "Row") -> None:
        self.make = make
        self.table = Table(rows)

    def putter(self, nla_type: int) -> Put:
        write = self.table.write
        return lambda value: attribute(nla_type, write(value))

    def get(self, data: bytes, start: int, length: int) -> Any:
        fields: dict[str, Any] = {}
        self.table.read(data, start, start + length, fields)
        return self.make(**fields)


class Names:
    """Texts in a nest, all of one attribute type."""

    def __init__(self, nla_type: int) -> None:
        self._type = nla_type

    def putter(self, nla_type: int) -> Put:
        put = NAME.putter(self._type)
        return lambda value: attribute(nla_type, b"".join(map(put, value)))

    def get(self, data: bytes, start: int, length: int) -> tuple[str, ...] | None:
        found = list(attributes(data, start, start + length))
        if any(nla_type & NLA_TYPE_MASK != self._type for nla_type, _, _ in found):
            return None
        return tuple(NAME.get(data, at, size) for _, at, size in found)


class Settings:
    """Numbers in a nest, as pairs of attribute type and value."""

    def putter(self, nla_type: int) -> Put:
        return lambda value: attribute(nla_type, b"".join(U32.putter(number)(setting) for number, setting in value))

    def get(self, data: bytes, start: int, length: int) -> tuple[tuple[int, int], ...] | None:
        found = [(nla_type, U32.get(data, at, size)) for nla_type, at, size in attributes(data, start, start + length)]
        pairs = tuple((nla_type, value) for nla_type, value in found if value is not None)
        return pairs if len(pairs) == len(found) else None


class Metrics:
    """RTAX_* in a nest, as pairs of attribute type and value: all are numbers but the name of an algorithm."""

    def putter(self, nla_type: int) -> Put:
        return lambda value: attribute(nla_type, b"".join(self._kind(kind).putter(kind)(each) for kind, each in value))

    def get(self, data: bytes, start: int, length: int) -> tuple[tuple[int, int | str], ...] | None:
        found = list(attributes(data, start, start + length))
        values = [(kind, self._kind(kind).get(data, at, size)) for kind, at, size in found]
        pairs = tuple((kind, value) for kind, value in values if value is not None)
        return pairs if len(pairs) == len(found) else None

    @staticmethod
    def _kind(nla_type: int) -> Kind:
        return NAME if nla_type == RTAX_CC_ALGO else U32


U8: Final = Number("B")
U16: Final = Number("H")
U32: Final = Number("I")
U64: Final = Number("Q")
S32: Final = Number("i")
S32S: Final = Array("i")
U32S: Final = Array("I")
U64S: Final = Array("Q")
BYTES: Final = Raw()
NAME: Final = Text(b"\0")
PLAIN: Final = Text(b"")
METRICS: Final = Metrics()

Row: TypeAlias = tuple[int, str, Kind]
"""An attribute: its type, with NLA_F_NESTED where it is sent so, the field that it is, and how."""


class Table:
    """The attributes of a message, or of a nest, in the kernel's order of sending.

    One that the kernel may send twice has two rows, of which the second says nothing without the first.
    """

    __slots__ = ("_again", "_getters", "_putters", "_twice", "_values", "rows")

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self.rows = rows
        self._putters: tuple[Put, ...] = tuple(kind.putter(nla_type) for nla_type, _, kind in rows)
        self._values = attrgetter(*(field for _, field, _ in rows), "unknown")
        self._again: Mapping[int, tuple[str, Get]] = {
            nla_type & NLA_TYPE_MASK: (field, kind.get) for nla_type, field, kind in rows
        }
        self._getters: Mapping[int, tuple[str, Get]] = {
            nla_type & NLA_TYPE_MASK: (field, kind.get) for nla_type, field, kind in reversed(rows)
        }
        fields = [field for _, field, _ in rows]
        firsts = [self._getters[nla_type & NLA_TYPE_MASK][0] for nla_type, _, _ in rows]
        self._twice = tuple((fields.index(it), second) for second, it in enumerate(firsts) if it != fields[second])

    def write(self, value: object) -> bytes:
        """The attributes of a value.

        Raises:
            CodecError: of one that may be sent twice there is the second without the first.
        """
        values = self._values(value)
        for first, second in self._twice:
            if values[first] is None and values[second] is not None:
                raise CodecError(f"{self.rows[second][1]} without {self.rows[first][1]}")
        written = [put(field) for put, field in zip(self._putters, values, strict=False) if field is not None]
        if values[-1]:
            written += [attribute(*each) for each in values[-1]]
        return b"".join(written)

    def read(self, data: bytes, start: int, end: int, fields: dict[str, Any]) -> None:
        """Add to `fields` what the attributes between two offsets say."""
        getters = self._getters
        unknown: list[tuple[int, bytes]] = []
        for nla_type, at, length in attributes(data, start, end):
            field, get = getters.get(nla_type & NLA_TYPE_MASK, _NO_FIELD)
            if field in fields:
                field, get = self._again[nla_type & NLA_TYPE_MASK]
            if field not in fields and (value := get(data, at, length)) is not None:
                fields[field] = value
            else:
                unknown.append((nla_type, data[at : at + length]))
        if unknown:
            fields["unknown"] = tuple(unknown)


_NO_FIELD: Final[tuple[str, Get]] = ("", lambda data, start, length: None)


def attributes(data: bytes, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type as it was sent, and offset and length of the payload, of each attribute.

    Raises:
        CodecError: bytes are left over, or a length lies.
    """
    while pos < end:
        if end - pos < NLA_HDRLEN:
            raise CodecError(f"{end - pos} bytes are left over behind the attributes", pos)
        length, nla_type = _NLATTR.unpack_from(data, pos)
        if not NLA_HDRLEN <= length <= end - pos:
            text = f"an attribute of {length} bytes, where {end - pos} are left"
            raise CodecError(text, pos, nla_type & NLA_TYPE_MASK)
        yield nla_type, pos + NLA_HDRLEN, length - NLA_HDRLEN
        pos += length + 3 & ~3
