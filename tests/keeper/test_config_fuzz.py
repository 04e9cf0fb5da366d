"""Whatever a configuration is, it is read, or refused with all that is wrong; nothing else comes of it."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc.errors import ConfigError
from addrsvc.keeper.config import load
from tests.fuzz.__main__ import main
from tests.fuzz.configurations import fire, judge

TOKENS = st.sampled_from(
    [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        '"',
        "'",
        "\n",
        "#",
        " ",
        "rule",
        "name",
        "daemon",
        "a",
        "1",
        "fd00::1",
    ]
)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_mutated_is_read_or_refused(seed: int) -> None:
    counts = fire(seed, 1000).counts

    assert counts["refused"] > 200
    assert counts["read"] > 50


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    judge(data)


@settings(max_examples=200, deadline=None)
@given(st.lists(TOKENS, max_size=40).map("".join))
def test_any_words_are_read_or_refused(text: str) -> None:
    judge(text.encode())


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=100))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = Path(tmp_path_factory.getbasetemp(), "fuzzed.toml")
    path.write_bytes(data)
    with suppress(ConfigError):
        load([path])


def test_the_command_says_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--configurations", "200", "--seed", "3", "--jobs", "2"]) == 0

    said = capsys.readouterr().out
    assert "seed 3: 100 configurations" in said
    assert "seed 4: 100 configurations" in said
