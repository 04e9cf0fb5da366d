"""What was expected and what was seen, line by line and side by side.

An expected line matches a line that is the same, ``...`` in it standing for anything, and for nothing.
"""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import zip_longest
from typing import Final

__all__ = ["Row", "align", "matches", "side_by_side"]

Row = tuple[str | None, str | None]
"""What was expected and what was seen; None where there is nothing on that side."""

_ANYTHING: Final = "..."
_NARROWEST: Final = 60
_WIDEST: Final = 200
_TAKEN: Final = 11
"""Columns that pytest's own mark, ours and the bar in the middle need."""


def matches(expected: str | None, seen: str | None) -> bool:
    """Whether a line was seen that was expected."""
    return expected is not None and seen is not None and _pattern(expected).fullmatch(seen) is not None


@cache
def _pattern(expected: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, expected.split(_ANYTHING))), re.DOTALL)


def align(expected: Sequence[str], seen: Sequence[str]) -> list[Row]:
    """Pair what was expected with what was seen, so that as many as possible match, both in order."""
    rows: list[Row] = []
    i = j = 0
    for at, other in [*_matching(expected, seen), (len(expected), len(seen))]:
        rows += zip_longest(expected[i:at], seen[j:other])
        rows += zip(expected[at : at + 1], seen[other : other + 1], strict=True)
        i, j = at + 1, other + 1
    return rows


def _matching(expected: Sequence[str], seen: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The positions of a longest common subsequence."""
    longest = [[0] * (len(seen) + 1) for _ in range(len(expected) + 1)]
    for i in reversed(range(len(expected))):
        for j in reversed(range(len(seen))):
            both = longest[i + 1][j + 1] + matches(expected[i], seen[j])
            longest[i][j] = max(both, longest[i + 1][j], longest[i][j + 1])
    i = j = 0
    while i < len(expected) and j < len(seen):
        if longest[i][j] == longest[i + 1][j]:
            i += 1
        elif longest[i][j] == longest[i][j + 1]:
            j += 1
        else:
            yield i, j
            i, j = i + 1, j + 1


def side_by_side(rows: Sequence[Row]) -> str:
    """The rows as a table: ``!`` marks what differs, ``<`` what is missing, ``>`` what nobody expected."""
    columns = shutil.get_terminal_size().columns
    width = (min(max(columns, _NARROWEST), _WIDEST) - _TAKEN) // 2
    lines = [_line(" ", "expected", "seen", width), f"   {'-' * width}-+-{'-' * width}"]
    for row in rows:
        left, right = (textwrap.wrap(text or "", width, subsequent_indent="    ") for text in row)
        cells = zip_longest([_mark(*row)], left, right, fillvalue="")
        lines += [_line(mark, one, other, width) for mark, one, other in cells]
    return "\n".join(lines)


def _mark(expected: str | None, seen: str | None) -> str:
    if expected is None:
        return ">"
    if seen is None:
        return "<"
    return "" if matches(expected, seen) else "!"


def _line(mark: str, left: str, right: str, width: int) -> str:
    return f" {mark:1} {left:{width}} | {right}".rstrip()
