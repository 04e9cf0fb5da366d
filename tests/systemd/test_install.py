"""`addrsvc systemd` on a real systemd: what is installed is complete, silent and hard, and goes again."""

import pytest

from tests.systemd.installation import HOME
from tests.systemd.machine import Machine

ADDRSVC = f"{HOME}/bin/addrsvc"
UNITS = "/usr/local/lib/systemd/system"
SERVICES = ("addrsvc.service", "addrsvc@blue.service", "addrsvc-netlink@blue.service")
PATHS = ("addrsvc@blue.path", "addrsvc-netlink@blue.path")
SOCKETS = ("addrsvc.socket", "addrsvc@blue.socket", "addrsvc-netlink@blue.socket")


def test_systemd_analyze_finds_nothing_to_say_of_the_units(systemd: Machine) -> None:
    systemd.run("ip", "netns", "add", "blue")
    said = systemd.run("systemd-analyze", "verify", *SERVICES, *SOCKETS, *PATHS).splitlines()

    assert [line for line in said if "symlink" not in line and "/dev/null" not in line] == []  # of systemd 249's own


@pytest.mark.parametrize(
    ("unit", "options", "most"),
    [
        ("addrsvc.service", [], 15),
        ("addrsvc.service", ["--host-only"], 11),
        ("addrsvc@blue.service", [], 11),
        ("addrsvc-netlink@blue.service", [], 11),
    ],
)
def test_a_service_is_exposed_no_more_than_it_must(systemd: Machine, unit: str, options: list[str], most: int) -> None:
    systemd.run(ADDRSVC, "systemd", "install", *options)
    systemd.systemctl("daemon-reload")
    try:
        systemd.require_exposure(unit, most)
    finally:
        systemd.run(ADDRSVC, "systemd", "install")
        systemd.systemctl("daemon-reload")


def test_the_user_of_the_service_exists(systemd: Machine) -> None:
    assert "addrsvc" in systemd.run("id", "addrsvc")


def test_installing_again_changes_nothing(systemd: Machine) -> None:
    lines = systemd.run(ADDRSVC, "systemd", "install").splitlines()

    assert [line for line in lines if not line.startswith(("= ", "next: "))] == []
    assert "next: systemctl try-restart addrsvc.service" in lines


def test_the_program_is_where_systemd_and_people_look_for_it(systemd: Machine) -> None:
    assert systemd.run("addrsvc", "--version").startswith("addrsvc ")


def test_what_is_enabled_is_not_uninstalled(systemd: Machine) -> None:
    systemd.systemctl("enable", "addrsvc.service")
    said = systemd.run(ADDRSVC, "systemd", "uninstall", code=1)
    command = said.partition("first: ")[2].split()

    assert command == ["systemctl", "disable", "--now", "addrsvc.service", "addrsvc.socket"]
    systemd.run(*command)


def test_uninstalling_leaves_nothing_but_what_somebody_changed(bare: Machine) -> None:
    bare.run(ADDRSVC, "systemd", "install", "--docker")
    bare.write(f"{UNITS}/addrsvc.socket", "[Socket]\nListenStream=/run/elsewhere\n")
    said = bare.run(ADDRSVC, "systemd", "uninstall").splitlines()

    assert f"! {UNITS}/addrsvc.socket" in said
    assert bare.run("find", "/usr/local", "-name", "*addrsvc*") == f"{UNITS}/addrsvc.socket"
    bare.path(f"{UNITS}/addrsvc.socket").unlink()
    assert "nothing is installed" in bare.run(ADDRSVC, "systemd", "uninstall", code=1)
