"""The units for systemd say what is so, and get where they should."""

import configparser
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from addrsvc.cli import main
from addrsvc.daemon.units import OPTIONS, Place, install, planned, uninstall
from addrsvc.errors import ControlError
from tests.test_cli import run

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICES = ("addrsvc.service", "addrsvc@.service")


def section(unit: str, name: str = "Service") -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / unit)
    return parser[name]


# --- what they say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "capabilities"),
    [("addrsvc.service", "CAP_NET_ADMIN CAP_SYS_ADMIN"), ("addrsvc@.service", "CAP_NET_ADMIN")],
)
def test_a_service_holds_the_capabilities_that_it_needs(unit: str, capabilities: str) -> None:
    service = section(unit)

    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == capabilities


@pytest.mark.parametrize("key", ["ExecStart", "ExecStartPre", "ExecReload"])
@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_starts_commands_that_exist(unit: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, command, *words = section(unit)[key].split()
    with pytest.raises(SystemExit):
        main([command, "--help"])

    text = capsys.readouterr().out
    assert program.lstrip("+") == "addrsvc"
    assert all(word in text for word in words if "%" not in word and "/" not in word)


def test_the_two_services_differ_only_in_what_they_are_for() -> None:
    ours, its = section("addrsvc.service"), section("addrsvc@.service")

    assert {key for key in {**ours, **its} if ours.get(key) != its.get(key)} == {
        "AmbientCapabilities", "CapabilityBoundingSet", "ExecReload", "ExecStart", "FileDescriptorStoreMax",
        "LimitNOFILE", "NetworkNamespacePath", "RestrictNamespaces", "RuntimeDirectory",
    }  # fmt: skip


def test_every_option_is_a_file() -> None:
    assert {path.stem for path in (UNITS / "options").iterdir()} == set(OPTIONS)


def test_the_wheel_carries_the_units_to_where_the_program_looks_for_them() -> None:
    assert 'force-include = { "systemd" = "addrsvc/systemd" }' in (ROOT / "pyproject.toml").read_text()


# --- where they get -------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A root for a package that is put together."""
    return Place(Path("/usr"), tmp_path)


def tree(place: Place) -> dict[str, str]:
    """The files below it."""
    files = (path for path in place.root.rglob("*") if path.is_file() and path != place.manifest)
    return {f"/{path.relative_to(place.root)}": path.read_text() for path in files}


def test_what_is_shown_is_what_is_installed(place: Place) -> None:
    install(place)

    assert tree(place) == {f"/{path.relative_to(place.root)}": text for path, text in planned(place).items()}
    assert tree(place)["/usr/lib/systemd/system/addrsvc.service"] == (UNITS / "addrsvc.service").read_text()
    assert "/usr/lib/sysusers.d/addrsvc.conf" in tree(place)


def test_an_option_is_a_drop_in_that_goes_when_it_is_not_given_again(place: Place) -> None:
    install(place, ["host-only"])
    (option,) = tree(place).keys() - {f"/{path.relative_to(place.root)}" for path in planned(place)}
    install(place)

    assert option == "/usr/lib/systemd/system/addrsvc.service.d/50-host-only.conf"
    assert option not in tree(place)


def test_installing_again_writes_nothing(place: Place) -> None:
    assert {change.what for change in install(place)} == {"+"}
    assert {change.what for change in install(place)} == {"="}


def test_installing_over_a_changed_file_of_ours_restores_it(place: Place) -> None:
    install(place)
    changed = place.path("lib/systemd/system/addrsvc.socket")
    changed.write_text("[Socket]\n")

    assert [change.path for change in install(place) if change.what == "+"] == [changed]


def test_a_file_of_somebody_else_is_not_overwritten(place: Place) -> None:
    theirs = place.path("lib/systemd/system/addrsvc.service")
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[Service]\n")

    with pytest.raises(ControlError, match="in the way"):
        install(place)
    assert tree(place) == {"/usr/lib/systemd/system/addrsvc.service": "[Service]\n"}


def test_uninstalling_leaves_what_was_there_before(place: Place) -> None:
    theirs = place.path("lib/systemd/system/other.service")
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[Service]\n")
    install(place, list(OPTIONS))
    uninstall(place)

    assert [path for path in sorted(place.root.rglob("*")) if path.is_file()] == [theirs]
    assert not place.path("share").exists()


def test_an_installation_that_was_broken_off_can_be_undone(place: Place) -> None:
    in_the_way = place.path("lib/systemd/system/addrsvc.service.d")
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    with pytest.raises(ControlError, match="Not a directory"):
        install(place, ["docker"])
    assert len(tree(place)) > 1
    in_the_way.unlink()
    uninstall(place)

    assert tree(place) == {}


def test_nothing_is_uninstalled_where_nothing_was_installed(place: Place) -> None:
    with pytest.raises(ControlError, match="nothing is installed"):
        uninstall(place)


def test_a_damaged_manifest_is_told(place: Place) -> None:
    install(place)
    place.manifest.write_text("{")
    with pytest.raises(ControlError, match="damaged"):
        uninstall(place)


@pytest.fixture
def tight_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_everybody_may_read_what_is_installed(place: Place, tight_umask: None) -> None:
    install(place)

    assert {oct(path.stat().st_mode & 0o777) for path in place.root.rglob("*") if path.is_file()} == {"0o644"}
    assert {oct(path.stat().st_mode & 0o777) for path in place.root.rglob("*") if path.is_dir()} == {"0o755"}


def test_the_command_tells_what_it_did_as_json(tmp_path: Path) -> None:
    done = run("systemd", "install", "--root", str(tmp_path), "--prefix", "/usr", "--docker", "--json")
    told = json.loads(done.stdout)

    assert ["+", f"{tmp_path}/usr/lib/systemd/system/addrsvc.service.d/50-docker.conf"] in told["changes"]
    assert told["next"] == []


def test_the_command_shows_what_it_would_do(tmp_path: Path) -> None:
    done = run("systemd", "show", "--root", str(tmp_path))

    assert f"# {tmp_path}/usr/local/lib/systemd/system/addrsvc.socket\n" in done.stdout
    assert list(tmp_path.iterdir()) == []
