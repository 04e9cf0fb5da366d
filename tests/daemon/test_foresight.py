"""`addrsvc run --keep --dry-run`: what a service would ask for at its start is told, and nothing is asked for."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from addrsvc.keeper.messages import LO_UP, newaddr
from addrsvc.keeper.rtnl import Requests, open_rtnl
from addrsvc.keeper.watch import GROUPS
from addrsvc.mirror.libc import MS_BIND, mount, umount
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.uapi import IFAPROT_ADDRSVC
from tests.keeper.used import wait_for_routes

CONFIG = """\
[[rule]]
name = "host"
namespaces = ["host"]
addresses = ["fd00::1"]
"""
STALE, FOREIGN = (bytes.fromhex("fd00") + bytes(13) + bytes([number]) for number in (8, 9))


@pytest.fixture
def requests(netns: NetNs) -> Iterator[Requests]:
    with Requests.to(netns.fileno()) as requests:
        yield requests


def dry_run(netns: NetNs, tmp_path: Path, *words: str, config: str = CONFIG) -> "subprocess.CompletedProcess[str]":
    path = tmp_path / "addrsvc.toml"
    path.write_text(config)
    command = [sys.executable, "-m", "addrsvc", "run", "--config", str(path), "--dry-run", *words]
    return run_in(netns, lambda: subprocess.run(command, capture_output=True, text=True, check=False, timeout=60))


def test_what_would_be_asked_for_at_the_start_is_told_and_not_asked_for(
    netns: NetNs, requests: Requests, tmp_path: Path
) -> None:
    assert requests.ask([LO_UP, newaddr(STALE, proto=IFAPROT_ADDRSVC), newaddr(FOREIGN, proto=99)]) == []
    wait_for_routes(netns, STALE, FOREIGN)

    with open_rtnl(netns.fileno(), groups=GROUPS) as sock:
        told = dry_run(netns, tmp_path)
        with pytest.raises(BlockingIOError):
            sock.recv(1 << 16)

    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines() == [
        "host: 2 changes to ask for",
        "  ip addr add fd00::1/128 dev lo proto 173 nodad noprefixroute",
        "  ip addr del fd00::8/128 dev lo",
    ]


def test_a_namespace_is_told_once_by_the_rules_for_all_of_its_names(
    netns: NetNs, requests: Requests, tmp_path: Path
) -> None:
    requests.ask([LO_UP])
    alias = tmp_path / "alias"
    alias.touch()
    mount(f"/proc/{os.getpid()}/fd/{netns.fileno()}", alias, MS_BIND)
    rules = "".join(
        f'[[rule]]\nname = "{number}"\nnamespaces = ["{selector}"]\naddresses = ["fd00::{number}"]\n'
        for number, selector in enumerate(("host", alias, tmp_path / "a*"), 1)
    )
    try:
        told = dry_run(netns, tmp_path, config=rules)
    finally:
        umount(alias)

    assert told.stdout.splitlines() == [
        "host: 2 changes to ask for",
        "  ip addr add fd00::1/128 dev lo proto 173 nodad noprefixroute",
        "  ip addr add fd00::2/128 dev lo proto 173 nodad noprefixroute",
    ]


def test_it_is_told_as_json_too(netns: NetNs, requests: Requests, tmp_path: Path) -> None:
    told = dry_run(netns, tmp_path, "--json")

    (plan,) = json.loads(told.stdout)["plans"]
    assert [step["recipe"] for step in plan["steps"]] == ["lo up", "add"]


def test_from_inside_a_namespace_it_is_about_its_name(netns: NetNs, requests: Requests, tmp_path: Path) -> None:
    requests.ask([LO_UP])
    told = dry_run(netns, tmp_path, "--inside", "blue", config=CONFIG.replace('"host"]', '"blue"]'))

    assert told.stdout.splitlines() == [
        "blue: 1 change to ask for",
        "  ip addr add fd00::1/128 dev lo proto 173 nodad noprefixroute",
    ]


def test_a_configuration_that_is_wrong_is_no_start(netns: NetNs, tmp_path: Path) -> None:
    told = dry_run(netns, tmp_path, config="[[rule]]")

    assert told.returncode == 78
    assert "it has no name" in told.stderr


def test_it_is_only_about_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    from addrsvc.cli import main

    assert main(["run", "--dry-run"]) == 1
    assert "--dry-run: it is with --keep" in capsys.readouterr().err


def test_that_there_is_nothing_to_look_at_is_told(netns: NetNs, tmp_path: Path) -> None:
    told = dry_run(netns, tmp_path, config=CONFIG.replace('"host"]', '"nowhere"]'))
    assert (told.returncode, told.stdout, told.stderr) == (0, "0 namespaces as wanted\n", "")
