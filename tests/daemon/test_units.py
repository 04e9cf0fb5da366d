"""The units for systemd say what is so."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from addrsvc.cli import main

UNITS = Path(__file__).parents[2] / "systemd"


@pytest.fixture
def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / "addrsvc.service")
    return parser["Service"]


def test_the_service_holds_the_two_capabilities_that_mirroring_needs(service: configparser.SectionProxy) -> None:
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_NET_ADMIN CAP_SYS_ADMIN"


def test_the_service_starts_a_command_that_exists(
    service: configparser.SectionProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    program, command, *options = service["ExecStart"].split()
    with pytest.raises(SystemExit):
        main([command, "--help"])

    text = capsys.readouterr().out
    assert program == "addrsvc"
    assert all(option in text for option in options)


def test_the_service_is_hardened() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze(1)")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=16", str(UNITS / "addrsvc.service")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "offline" in done.stderr:
        pytest.skip(done.stderr)

    assert done.returncode == 0, done.stdout[-500:]
