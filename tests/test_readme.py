"""README.md keeps its word: its Python blocks run, its commands exist."""

import doctest
import re
import shlex
import subprocess
import sys
from errno import ENOMEM
from importlib.util import find_spec
from pathlib import Path
from socket import AF_INET6, inet_ntop
from textwrap import dedent

import pytest

from addrsvc.af_netlink.faults import Faults
from addrsvc.keeper.config import parse
from addrsvc.keeper.wanted import Reaction
from addrsvc.uapi import RTM_DELADDR, RTM_NEWADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_LINK
from tests.pytest_plugin.test_examples import EXAMPLES

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, without the indentation of a list they may stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", TEXT, re.M | re.S)
    return [re.sub(f"(?m)^{indent}", "", body) for indent, body in found]


def commands() -> list[str]:
    """The `addrsvc` command lines of the quick start, without their comments."""
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line.removeprefix("sudo ") for line in lines if line.removeprefix("sudo ").startswith("addrsvc ")]


def test_the_blocks_for_programmers_do_what_they_show() -> None:
    examples = "\n".join(blocks("pycon"))
    test = doctest.DocTestParser().get_doctest(examples, {}, "README.md", str(README), 0)
    report: list[str] = []
    failed, attempted = doctest.DocTestRunner().run(test, out=report.append)

    assert attempted > 10
    assert failed == 0, "".join(report)


def test_the_examples_for_tests_are_those_that_the_tests_run() -> None:
    run = {dedent(example).strip() for example in EXAMPLES.values()}

    assert blocks("python")
    assert [block for block in blocks("python") if block.strip() not in run] == []


def test_the_file_of_faults_does_what_its_comments_say() -> None:
    (text,) = (block for block in blocks("toml") if "[[fail]]" in block)
    faults = Faults.parse(text, "README.md").faults

    assert [(fault.kind, fault.nth, fault.times) for fault in faults] == [
        ("fail", 3, 2), ("delay", 1, None), ("lose", 1, 1),
    ]  # fmt: skip
    assert [fault.about for fault in faults] == [
        {"request": RTM_NEWADDR},
        {"group": RTNLGRP_LINK},
        {"group": RTNLGRP_IPV6_IFADDR, "message": RTM_DELADDR},
    ]
    assert (faults[0].errno, faults[0].text, faults[1].seconds) == (ENOMEM, "out of sorts", 0.5)


def test_the_configuration_is_one_and_means_what_stands_there() -> None:
    (text,) = (block for block in blocks("toml") if "[[rule]]" in block)
    config = parse(text, "README.md").config

    assert config.selectors() == ("host", "edge-*", "docker:*")
    wanted = config.wanted("edge-7")
    assert wanted is not None
    assert [(inet_ntop(AF_INET6, a.address), a.reaction, a.drain) for a in wanted.addresses.values()] == [
        ("2001:db8::53", Reaction.HEAL, 0.0), ("2001:db8::7", Reaction.YIELD_THEN_HEAL, 30.0),
    ]  # fmt: skip
    assert config.wanted("other") is None


def test_the_two_commands_are_complete_and_start_from_nothing() -> None:
    two = [block.strip() for block in blocks("sh")[:2]]

    assert all(command.startswith("python3 -m venv .venv && .venv/bin/pip install ") for command in two)
    assert two[0].endswith(".venv/bin/addrsvc run --once")
    assert two[1].endswith(".venv/bin/python -m pytest")


@pytest.mark.parametrize("command", sorted({shlex.split(line)[1] for line in commands()}))
def test_every_command_of_the_quick_start_has_help(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "addrsvc", command, "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert command in done.stdout


@pytest.mark.parametrize("command", sorted(set(re.findall(r"addrsvc (inject [A-Z_]+ lo[ a-z0-9=]*)", TEXT))))
def test_every_injection_on_the_page_is_accepted(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "addrsvc", *command.split(), "--once"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_main_job_shows_the_loopback_address() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "addrsvc", "run", "--once"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert re.search(r"inet6 ::1/128 scope host", done.stdout)


def test_the_modules_that_the_page_runs_exist() -> None:
    modules = re.findall(r"python -m (tests\.[\w.]+)", TEXT)

    assert modules
    assert [name for name in modules if find_spec(name) is None] == []


def test_links_within_the_page_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", TEXT, re.M)
    }

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
