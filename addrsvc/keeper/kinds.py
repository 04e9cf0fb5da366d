"""What the values of a configuration may be: a class per kind, which reads, writes and describes them.

The reader (`config`), the schema (`schema`) and what shows a configuration (`toml_text`) all go by these, and by the
keys of `settings`, which say which key is of which kind.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final, Generic, NamedTuple, Protocol, TypeVar, cast

from addrsvc.errors import Problem
from addrsvc.keeper.toml_lines import Path

__all__ = [
    "Boolean", "Integer", "Key", "Kind", "List", "Number", "Origin", "OrElse", "Size", "Spot", "Table", "Text", "Told",
    "Word", "Wrong", "key", "near", "near_or_all", "part", "required", "said", "section", "shown",
]  # fmt: skip

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Wrong(Exception):
    """A value is not what its key would accept; the text says what that is."""


class Told(Wrong):
    """A value is wrong in parts, each of which has been told."""


class Origin(NamedTuple):
    """Where a value is written; what is written nowhere has none."""

    file: str
    line: int


# --- where one is ---------------------------------------------------------------------------------------------------


class Spot:
    """A place in a file that is being read: what is wrong there is gathered, and where what is right stands."""

    def __init__(self, file: str, lines: Mapping[Path, int]) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.origins: dict[str, Origin] = {}
        self._lines = lines
        self._path: Path = ()
        self.key = ""

    def __getitem__(self, part: str | int) -> "Spot":
        """The place of a key of this table, or of an element of this array."""
        return self.named(part, f"{self.key}[{part}]" if isinstance(part, int) else f"{self.key}.{part}".lstrip("."))

    def named(self, part: str | int, key: str) -> "Spot":
        """The same, called by another name."""
        spot = Spot(self.file, self._lines)
        spot.problems, spot.origins, spot._path, spot.key = self.problems, self.origins, (*self._path, part), key
        return spot

    @property
    def origin(self) -> Origin:
        """The file and the line; of what has no line of its own, that of what it belongs to."""
        path = self._path
        while path and path not in self._lines:
            path = path[:-1]
        return Origin(self.file, self._lines.get(path, 0))

    def wrong(self, text: str) -> None:
        """Remember what is wrong here."""
        self.problems.append(Problem(*self.origin, self.key, text))

    def read(self, kind: "Kind[T]", value: object) -> list[T]:
        """What a value means, in a list of one; an empty one where it is wrong, which is remembered."""
        self.origins[self.key] = self.origin
        try:
            return [kind.read(value, self)]
        except Told:
            return []
        except Wrong as wrong:
            self.wrong(str(wrong))
            return []


def shown(value: object) -> str:
    """A value as it may stand in an error: as TOML has it, and not too long."""
    match value:
        case bool():
            text = str(value).lower()
        case str():
            text = repr(value)
        case dict():
            text = "a table"
        case list():
            text = "an array"
        case _:
            text = str(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


_LONG: Final = 60


def near(word: object, known: Iterable[str]) -> str:
    """What may have been meant, as the end of an error; empty where nothing is like it."""
    from difflib import get_close_matches

    found = get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def near_or_all(word: str, known: Iterable[str]) -> str:
    """The same, with all there are where nothing is like it."""
    return near(word, known) or f"; there are {', '.join(known)}"


# --- the kinds ------------------------------------------------------------------------------------------------------


class Kind(Protocol[T_co]):
    """One kind of value."""

    def read(self, value: object, at: Spot) -> T_co:
        """What a value of TOML means.

        Raises:
            Wrong: it is none of this kind.
        """

    def plain(self, value: object) -> object:
        """A value as TOML and JSON have it, so that `read` gives the same again."""

    def schema(self) -> dict[str, object]:
        """What JSON Schema says of it."""


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    def read(self, value: object, at: Spot) -> bool:
        """It, if it is one."""
        if not isinstance(value, bool):
            raise Wrong(f"{shown(value)} is not true or false")
        return value

    def plain(self, value: object) -> object:
        """Itself."""
        return value

    def schema(self) -> dict[str, object]:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number in a range."""

    least: int
    most: int

    def read(self, value: object, at: Spot) -> int:
        """It, if it is one."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise Wrong(f"{shown(value)} is not a whole number from {self.least} to {self.most}")
        return value

    def plain(self, value: object) -> object:
        """Itself."""
        return value

    def schema(self) -> dict[str, object]:
        """An integer."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a range; of seconds, mostly."""

    least: float
    most: float
    unit: str = "seconds"

    def read(self, value: object, at: Spot) -> float:
        """It, if it is one."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self._has(value):
            raise Wrong(f"{shown(value)} is not a number of {self.unit} from {self.least:g} to {self.most:g}")
        return float(value)

    def _has(self, value: float) -> bool:
        return self.least <= value <= self.most  # which no nan is, and of integers none that is too large for a float

    def plain(self, value: object) -> object:
        """Itself."""
        return value

    def schema(self) -> dict[str, object]:
        """A number."""
        return {"type": "number", "minimum": self.least, "maximum": self.most}


_E = TypeVar("_E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Word(Generic[_E]):
    """One of some words."""

    words: type[_E]

    def read(self, value: object, at: Spot) -> _E:
        """The word that it is."""
        try:
            return self.words(cast(str, value))
        except ValueError:
            raise Wrong(f"{shown(value)} is not one of {', '.join(self.words)}{near(value, self.words)}") from None

    def plain(self, value: object) -> object:
        """The word."""
        return str(value)

    def schema(self) -> dict[str, object]:
        """An enumeration."""
        return {"enum": [str(word) for word in self.words]}


@dataclass(frozen=True, slots=True)
class Text(Generic[T]):
    """A text of some form.

    Attributes:
        meaning: takes a text, and gives what it means or raises Wrong.
        accepts: what it may be, to be told of what is no text at all.
        text: what it means, as a text again.
        pattern: of what JSON Schema lets pass, which may be more.
    """

    meaning: Callable[[str], T]
    accepts: str
    text: Callable[[T], str]
    pattern: str

    def read(self, value: object, at: Spot) -> T:
        """What it means."""
        if not isinstance(value, str):
            raise Wrong(f"{shown(value)} is not {self.accepts}")
        return self.meaning(value)

    def plain(self, value: object) -> object:
        """The text."""
        return self.text(cast(T, value))

    def schema(self) -> dict[str, object]:
        """A string."""
        return {"type": "string", "pattern": self.pattern}


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes, which may be written with K, M or G behind it."""

    least: int
    most: int

    def read(self, value: object, at: Spot) -> int:
        """How many bytes."""
        size = _bytes(value) if isinstance(value, str) else value
        if isinstance(size, bool) or not isinstance(size, int) or not self.least <= size <= self.most:
            raise Wrong(f"{shown(value)} is not a size from {_sized(self.least)} to {_sized(self.most)}")
        return size

    def plain(self, value: object) -> object:
        """The number."""
        return value

    def schema(self) -> dict[str, object]:
        """An integer or a string."""
        number = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}


_SIZE: Final = re.compile(r"[0-9]{1,12}[KMG]?")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _bytes(text: str) -> int | None:
    if not text.isascii() or _SIZE.fullmatch(text) is None:
        return None
    digits = text.rstrip("KMG")
    return int(digits) * _UNITS[text[len(digits) :]]


def _sized(number: int) -> str:
    unit = max((unit for unit, size in _UNITS.items() if number % size == 0), key=_UNITS.__getitem__)
    return f"{number // _UNITS[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class OrElse(Generic[T]):
    """A word that stands for some value, or else another kind."""

    word: str
    value: T
    kind: Kind[T]

    def read(self, value: object, at: Spot) -> T:
        """What either means."""
        if value == self.word:
            return self.value
        try:
            return self.kind.read(value, at)
        except Wrong as wrong:
            raise Wrong(f"{wrong}, nor {self.word!r}{near(value, [self.word])}") from None

    def plain(self, value: object) -> object:
        """The word, or what the other kind has."""
        return self.word if value == self.value else self.kind.plain(value)

    def schema(self) -> dict[str, object]:
        """Either."""
        return {"anyOf": [{"const": self.word}, self.kind.schema()]}


@dataclass(frozen=True, slots=True)
class List(Generic[T]):
    """An array, of which no two elements are about the same.

    Attributes:
        kind: of its elements.
        of: what its elements are, to be told of what is no array.
        about: what an element is about.
    """

    kind: Kind[T]
    of: str
    about: Callable[[T], Hashable]

    def read(self, value: object, at: Spot) -> tuple[T, ...]:
        """What its elements mean, those that mean something."""
        if not isinstance(value, list):
            raise Wrong(f"{shown(value)} is not an array of {self.of}")
        first: dict[Hashable, int] = {}
        found: list[T] = []
        for number, element in enumerate(value):
            for read in at[number].read(self.kind, element):
                if (before := first.setdefault(self.about(read), number)) != number:
                    at[number].wrong(f"the same as {at[before].key}, line {at[before].origin.line}")
                found.append(read)
        return tuple(found)

    def plain(self, value: object) -> object:
        """An array."""
        return [self.kind.plain(element) for element in cast(tuple[T, ...], value)]

    def schema(self) -> dict[str, object]:
        """An array."""
        return {"type": "array", "items": self.kind.schema()}


# --- tables ---------------------------------------------------------------------------------------------------------


class Key(NamedTuple):
    """One key of a table: its kind, what it is about, and what holds where it is not written."""

    kind: Kind[object]
    about: str
    usual: object

    @property
    def is_required(self) -> bool:
        """Whether it must be written."""
        return self.usual is _REQUIRED


_REQUIRED: Final = object()


def key(kind: Kind[T], usual: T, about: str) -> T:
    """A field whose value is this where nothing is written."""
    made: T = field(default=usual, metadata={"key": Key(kind, about, usual)})
    return made


def said(kind: Kind[T], usual: T | None, about: str) -> T | None:
    """A field that is None where nothing is written; then `usual` holds, unless something else says otherwise."""
    made: None = field(default=None, metadata={"key": Key(kind, about, usual)})
    return made


def required(kind: Kind[T], about: str) -> T:
    """A field that must be written."""
    made: T = field(metadata={"key": Key(kind, about, _REQUIRED)})
    return made


def section(settings: type[T], about: str) -> T:
    """A field that is a table of its own."""
    made: T = field(default_factory=settings, metadata={"key": Key(Table(settings), about, None)})
    return made


def part(settings: type[T], about: str) -> T | None:
    """A field that is a table of its own, and None where nothing of it is written."""
    made: None = field(default=None, metadata={"key": Key(Table(settings), about, None)})
    return made


def keys(settings: type[object]) -> Mapping[str, Key]:
    """The keys of a class of settings, in order."""
    found = fields(settings)  # type: ignore[arg-type]
    return {it.name: it.metadata["key"] for it in found if "key" in it.metadata}


class Table(Generic[T]):
    """A table, whose keys are the fields of a class of settings.

    What it reads is a dict of what is written, so that several of them can be laid over one another before `made`
    makes an object of it.
    """

    def __init__(self, settings: type[T]) -> None:
        self.settings = settings
        self.keys = keys(settings)

    def read(self, value: object, at: Spot) -> dict[str, object]:
        """What is written, as far as it is right."""
        if not isinstance(value, dict):
            raise Wrong(f"{shown(value)} is not a table")
        return {name: read for name, item in value.items() for read in self._item(name, item, at[name])}

    def _item(self, name: str, item: object, at: Spot) -> list[object]:
        if (found := self.keys.get(name)) is not None:
            return at.read(found.kind, item)
        at.wrong(f"no such key{near_or_all(name, self.keys)}")
        return []

    def plain(self, value: object) -> dict[str, object]:
        """A table of what is said."""
        values = {name: getattr(value, name) for name in self.keys}
        return {name: self.keys[name].kind.plain(it) for name, it in values.items() if it is not None}

    def made(self, written: Mapping[str, object]) -> T:
        """The object."""
        return self.settings(**{name: self._made(self.keys[name].kind, it) for name, it in written.items()})

    @staticmethod
    def _made(kind: Kind[object], written: object) -> object:
        return kind.made(cast(Mapping[str, object], written)) if isinstance(kind, Table) else written

    def schema(self) -> dict[str, object]:
        """An object."""
        return {
            "type": "object",
            "properties": {name: self._property(it) for name, it in self.keys.items()},
            "required": [name for name, it in self.keys.items() if it.is_required],
            "additionalProperties": False,
        }

    @staticmethod
    def _property(it: Key) -> dict[str, object]:
        usual = {} if it.usual is None or it.is_required else {"default": it.kind.plain(it.usual)}
        return {**it.kind.schema(), "description": it.about, **usual}
