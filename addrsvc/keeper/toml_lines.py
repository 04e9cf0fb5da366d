"""On which line each key of a TOML text stands, which tomllib does not tell.

The text is one that tomllib has read, so that nothing is checked here: what is looked for is where things begin.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

__all__ = ["Path", "lines"]

Path: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys of tables, and numbers in arrays, counted from 0."""

# No group is possessive: Python 3.11.2 and its like, which systems still have, match such ones wrongly.  Each takes one
# turn for a comment or an escape, not for a character, since every turn is remembered.
_SKIP: Final = re.compile(r"[ \t\n]*+(?:#[^\n]*+[ \t\n]*+)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]++")
_DOT: Final = re.compile(r"[ \t]*+\.[ \t]*+")
_STRING: Final = re.compile(
    r"""
      \"{3} [^"\\]*+ (?: (?: \\. | "{1,2}(?!") ) [^"\\]*+ )* "{3,5}
    | '{3} [^']*+ (?: '{1,2}(?!') [^']*+ )* '{3,5}
    | " [^"\\]*+ (?: \\. [^"\\]*+ )* "
    | ' [^']*+ '
    """,
    re.VERBOSE | re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]++")


def lines(text: str) -> Mapping[Path, int]:
    """The line, counted from 1, of every table, key and element of an array."""
    return _Scan(text.replace("\r\n", "\n")).lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._lengths: dict[Path, int] = {}
        """Of the arrays of tables, which a header may go on with."""
        self._document()

    # --- statements ---

    def _document(self) -> None:
        table: Path = ()
        while self._skip():
            if self._next_is("[["):
                table = self._header("[[", is_element=True)
            elif self._next_is("["):
                table = self._header("[", is_element=False)
            else:
                self._pair(table)

    def _header(self, opening: str, *, is_element: bool) -> Path:
        start = self.at
        self.at += len(opening)
        self._skip()
        path: Path = ()
        *above, last = self._key()
        for part in above:
            path = self._newest((*path, part), start)
        path = (*path, last)
        if is_element:
            self._mark(path, start)
            self._lengths[path] = self._lengths.get(path, 0) + 1
        path = self._newest(path, start)
        self._skip()
        self.at += len(opening)
        return path

    def _newest(self, path: Path, start: int) -> Path:
        """The table itself, or the last one so far if it is an array of them."""
        self._mark(path, start)
        if path in self._lengths:
            path = (*path, self._lengths[path] - 1)
            self._mark(path, start)
        return path

    def _pair(self, table: Path) -> None:
        start, path = self.at, table
        for part in self._key():
            path = (*path, part)
            self._mark(path, start)
        self._skip()
        self.at += len("=")
        self._skip()
        self._value(path)

    # --- what they are made of ---

    def _key(self) -> Iterator[str]:
        """The parts of a dotted key; all of them are to be taken."""
        while True:
            if (match := _STRING.match(self.text, self.at)) is not None:
                yield str(tomllib.loads(f"key = {match[0]}")["key"])
            else:
                match = self._match(_BARE)
                yield match[0]
            self.at = match.end()
            if (dot := _DOT.match(self.text, self.at)) is None:
                return
            self.at = dot.end()

    def _value(self, path: Path) -> None:
        if self._next_is("["):
            self._array(path)
        elif self._next_is("{"):
            self._inline_table(path)
        else:
            match = _STRING.match(self.text, self.at) or self._match(_SCALAR)
            self.at = match.end()

    def _array(self, path: Path) -> None:
        self.at += len("[")
        number = 0
        while self._skip() and not self._next_is("]"):
            element = (*path, number)
            self._mark(element, self.at)
            self._value(element)
            self._comma()
            number += 1
        self.at += len("]")

    def _inline_table(self, path: Path) -> None:
        self.at += len("{")
        while self._skip() and not self._next_is("}"):
            self._pair(path)
            self._comma()
        self.at += len("}")

    def _comma(self) -> None:
        self._skip()
        self.at += self._next_is(",")

    # --- the text ---

    def _skip(self) -> bool:
        """Go on to what means something; whether there is anything."""
        self.at = self._match(_SKIP).end()
        return self.at < len(self.text)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.at)
        assert match is not None, "tomllib has read it"
        return match

    def _next_is(self, word: str) -> bool:
        return self.text.startswith(word, self.at)

    def _mark(self, path: Path, start: int) -> None:
        self.lines.setdefault(path, bisect_right(self._breaks, start) + 1)
