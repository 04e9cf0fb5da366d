"""Expected and seen, aligned."""

import pytest

from addrsvc.pytest_plugin.table import align, matches, side_by_side


@pytest.mark.parametrize(
    ("expected", "seen", "whether"),
    [
        ("a b", "a b", True),
        ("a b", "a b c", False),
        ("a", "b", False),
        ("...", "", True),
        ("...", "a\nb", True),
        ("a...c", "a b c", True),
        ("a...c", "ac", True),
        ("a...c", "a b", False),
        ("...b...", "abc", True),
        ("a ...", "a", False),
        ("<.*> [x]", "<.*> [x]", True),
        ("<.*> [x]", "<up> x", False),
        (None, "a", False),
        ("a", None, False),
    ],
)
def test_three_dots_stand_for_anything_and_all_else_for_itself(
    expected: str | None, seen: str | None, whether: bool
) -> None:
    assert matches(expected, seen) is whether


@pytest.mark.parametrize(
    ("expected", "seen", "rows"),
    [
        ("", "", []),
        ("abc", "abc", ["aa", "bb", "cc"]),
        ("ac", "abc", ["aa", "-b", "cc"]),
        ("abc", "ac", ["aa", "b-", "cc"]),
        ("axc", "ayc", ["aa", "xy", "cc"]),
        ("axxc", "ayc", ["aa", "xy", "x-", "cc"]),
        ("ab", "ba", ["a-", "bb", "-a"]),
        ("xyz", "", ["x-", "y-", "z-"]),
        ("", "xy", ["-x", "-y"]),
        ("abcd", "bcda", ["a-", "bb", "cc", "dd", "-a"]),
    ],
)
def test_as_much_as_possible_is_paired_in_order(expected: str, seen: str, rows: list[str]) -> None:
    assert [f"{left or '-'}{right or '-'}" for left, right in align(list(expected), list(seen))] == rows


def test_long_lines_are_wrapped_in_their_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    table = side_by_side([("one two three four five six seven", "1"), ("a", "b " * 20)])

    assert table.splitlines() == [
        "   expected                 | seen",
        "   -------------------------+-------------------------",
        " ! one two three four five  | 1",
        "       six seven            |",
        " ! a                        | b b b b b b b b b b b b",
        "                            |     b b b b b b b b",
    ]
