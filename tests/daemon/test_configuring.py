"""`addrsvc config`, as a user types it."""

import json
from pathlib import Path

import pytest

from addrsvc.keeper.config import load, parse, places
from addrsvc.keeper.schema import schema
from tests.keeper.configs import EXAMPLE, FULL
from tests.test_cli import run


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "addrsvc.toml"
    path.write_text(FULL)
    (tmp_path / "addrsvc.toml.d").mkdir()
    (tmp_path / "addrsvc.toml.d" / "more.toml").write_text("[watch]\nmethod = 'sockets'\n")
    return path


@pytest.fixture
def bad(good: Path) -> Path:
    (good.parent / "addrsvc.toml.d" / "more.toml").write_text("[wach]\n\n[watch]\nmethod = 'socket'\n")
    return good


def test_a_good_configuration_is_told_by_its_files_and_rules(good: Path) -> None:
    done = run("config", "check", str(good))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(good), f"{good}.d/more.toml", "nothing is wrong; rules: edge"]


def test_all_that_is_wrong_is_told_as_compilers_do(bad: Path) -> None:
    done = run("config", "check", str(bad))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"{bad}.d/more.toml:1: wach: no such section; did you mean watch?",
        f"{bad}.d/more.toml:4: watch.method: 'socket' is not one of auto, sockets, nsid; did you mean sockets?",
    ]


def test_programs_are_told_as_json(good: Path, bad: Path) -> None:
    done = run("config", "check", str(bad), "--json")
    missing = run("config", "check", str(good.with_name("missing.toml")), "-j")

    assert (done.returncode, done.stderr) == (1, "")
    assert [problem["key"] for problem in json.loads(done.stdout)["problems"]] == ["wach", "watch.method"]
    assert json.loads(missing.stdout) == {
        "problems": [
            {"file": str(good.with_name("missing.toml")), "line": 0, "key": "", "text": "No such file or directory"}
        ]
    }


def test_what_is_shown_is_a_configuration_again(good: Path) -> None:
    done = run("config", "show", str(good))

    assert f'method = "sockets"  # {good}.d/more.toml:2' in done.stdout.splitlines()
    assert parse(done.stdout).config == load(places(good)).config


def test_what_is_shown_as_json_has_origins(good: Path) -> None:
    shown = json.loads(run("config", "show", str(good), "--json").stdout)

    assert shown["config"]["watch"] == {"method": "sockets", "receive_buffer": 16 << 20, "sweep": 12.5}
    assert shown["origins"]["watch.method"] == {"file": f"{good}.d/more.toml", "line": 2}
    assert shown["files"] == [str(good), f"{good}.d/more.toml"]


def test_a_bad_configuration_is_not_shown(bad: Path) -> None:
    done = run("config", "show", str(bad))

    assert (done.returncode, done.stdout) == (1, "")
    assert "wach" in done.stderr


def test_the_schema_is_printed() -> None:
    assert json.loads(run("config", "schema").stdout) == schema()


def test_the_example_is_printed() -> None:
    assert run("config", "example").stdout == EXAMPLE
