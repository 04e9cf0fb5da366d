"""Start-up is part of the product: what is not needed is not imported."""

import subprocess
import sys

import pytest

HEAVY = {"asyncio", "asyncvarlink", "netaddr", "pyroute2", "structlog"}


def imported_by(*args: str) -> set[str]:
    """The top-level modules that a Python process with these arguments imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["-c", "import addrsvc"], set()),
        (["-m", "addrsvc", "--version"], set()),
        (["-m", "addrsvc", "--help"], set()),
        (["-m", "addrsvc", "run", "--once"], {"netaddr"}),
        (["-c", "import addrsvc; addrsvc.Linux()"], {"netaddr"}),
        (["-c", "import addrsvc.mirror.plan"], set()),
        (["-c", "import addrsvc.pytest_plugin"], set()),
    ],
    ids=" ".join,
)
def test_heavy_imports_wait_until_they_are_needed(arguments: list[str], allowed: set[str]) -> None:
    assert imported_by(*arguments) & HEAVY <= allowed


def test_the_pytest_plugin_loads_nothing_of_ours_but_itself() -> None:
    loaded = (
        "import sys; from addrsvc import pytest_plugin; print(*(n for n in sys.modules if n.startswith('addrsvc')))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["addrsvc", "addrsvc.pytest_plugin"]


def test_saying_the_version_needs_no_parser() -> None:
    assert not imported_by("-m", "addrsvc", "--version") & {"argparse", "dataclasses", "json", "socket"}


def test_asking_a_service_needs_no_values_of_messages() -> None:
    asking = "import sys, addrsvc.cli, addrsvc.daemon.client, addrsvc.daemon.keeper_printer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True, check=True)

    assert "addrsvc.daemon.keeper_printer" in done.stdout.split()
    assert not {"addrsvc.netlink.messages", "addrsvc.netlink.text"} & set(done.stdout.split())
