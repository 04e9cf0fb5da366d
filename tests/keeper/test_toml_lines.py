"""addrsvc.keeper.toml_lines beside tomllib."""

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from addrsvc.keeper.toml_lines import Path, lines
from tests.keeper.configs import FULL

TRICKY = '''\
a = 1
b.c = "x # no comment" # a comment = with, all [ of { it
["q\\u0041".z]
k = [1,
  { u = 2, v = """
s"quoted"""", w = 1979-05-27 07:32:00 },

  [ \'\'\'+"""+ # \'\' \'\'\'\'\', """
 '' \\""" """ ] ] # end
  'bare . less' . x = [
]
[[rule]]
name = "x"
[[rule.addr]]
m = 1
  [ rule . "fights" ]
  z = 1
[[rule]]
[[rule.addr]]
[[rule.addr]]
y = { a.b = 1, c = [ ] }
[rule.addr.deep.er]
end = true'''
WHERE: dict[Path, int] = {
    ("a",): 1,
    ("b",): 2,
    ("b", "c"): 2,
    ("qA",): 3,
    ("qA", "z"): 3,
    ("qA", "z", "k"): 4,
    ("qA", "z", "k", 0): 4,
    ("qA", "z", "k", 1): 5,
    ("qA", "z", "k", 1, "u"): 5,
    ("qA", "z", "k", 1, "v"): 5,
    ("qA", "z", "k", 1, "w"): 6,
    ("qA", "z", "k", 2): 8,
    ("qA", "z", "k", 2, 0): 8,
    ("qA", "z", "k", 2, 1): 8,
    ("qA", "z", "bare . less"): 10,
    ("qA", "z", "bare . less", "x"): 10,
    ("rule",): 12,
    ("rule", 0): 12,
    ("rule", 0, "name"): 13,
    ("rule", 0, "addr"): 14,
    ("rule", 0, "addr", 0): 14,
    ("rule", 0, "addr", 0, "m"): 15,
    ("rule", 0, "fights"): 16,
    ("rule", 0, "fights", "z"): 17,
    ("rule", 1): 18,
    ("rule", 1, "addr"): 19,
    ("rule", 1, "addr", 0): 19,
    ("rule", 1, "addr", 1): 20,
    ("rule", 1, "addr", 1, "y"): 21,
    ("rule", 1, "addr", 1, "y", "a"): 21,
    ("rule", 1, "addr", 1, "y", "a", "b"): 21,
    ("rule", 1, "addr", 1, "y", "c"): 21,
    ("rule", 1, "addr", 1, "deep"): 22,
    ("rule", 1, "addr", 1, "deep", "er"): 22,
    ("rule", 1, "addr", 1, "deep", "er", "end"): 23,
}


def paths(tree: object, path: Path = ()) -> Iterator[Path]:
    """The way to everything in a tree that tomllib made."""
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for part, below in parts:
        yield (*path, part)
        yield from paths(below, (*path, part))


def test_each_key_table_and_element_has_its_line() -> None:
    assert lines(TRICKY) == WHERE


@pytest.mark.parametrize("text", [TRICKY, FULL, "", "# nothing", TRICKY.replace("\n", "\r\n")])
def test_there_is_a_line_for_all_that_tomllib_finds(text: str) -> None:
    assert set(lines(text)) == set(paths(tomllib.loads(text)))


def test_carriage_returns_count_for_nothing() -> None:
    assert lines(TRICKY.replace("\n", "\r\n")) == WHERE


KEYS = st.lists(st.sampled_from(["a", "b", '"c.d"', "'e f'", '"\\u0061"', "1"]), min_size=1, max_size=3).map(" . ".join)
SPACES = st.sampled_from(["", " ", "\t"])
GAPS = st.sampled_from(["", " ", "\n", " # ]}\n", '\n\n# "\n'])
SCALARS = st.sampled_from(
    ["1", "+0.5e3", "inf", "true", "1979-05-27 07:32:00.5Z", '"]}#"', "'\\'", '"\\""', '"""\n"" " ]"""', "'''a\n'''"]
)


def _array(elements: list[str], gap: str) -> str:
    return f"[{gap}{f'{gap},{gap}'.join(elements)}{gap}]"


def _inline(pairs: list[tuple[str, str]]) -> str:
    return f"{{ {', '.join(f'{key} = {value}' for key, value in pairs)} }}"


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(_array, st.lists(inner, max_size=3), GAPS)
        | st.builds(_inline, st.lists(st.tuples(KEYS, inner), max_size=3))
    ),
    max_leaves=6,
)
STATEMENTS = st.one_of(
    st.builds("{}{} = {}".format, SPACES, KEYS, VALUES),
    st.builds("[{}{}]".format, SPACES, KEYS),
    st.builds("[[{}{}]] # [x]".format, SPACES, KEYS),
    st.just("# a = 1"),
    st.just(""),
)


@given(st.lists(STATEMENTS, max_size=12))
def test_there_is_a_line_for_all_that_tomllib_finds_in_anything(statements: list[str]) -> None:
    text = "\n".join(statements)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)
        raise
    starts = [1 + "\n".join(statements[:number]).count("\n") + (number > 0) for number in range(len(statements))]
    found = lines(text)

    assert set(found) == set(paths(tree))
    assert {line for path, line in found.items() if isinstance(path[-1], str) and len(path) == 1} <= set(starts)
