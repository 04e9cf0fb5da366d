"""The service under a real systemd."""

import pytest

from tests.systemd.machine import Machine, until

DELETED = ("ip", "-6", "address", "delete", "::1/128", "dev", "lo")


def has_loopback(machine: Machine) -> bool:
    return "::1/128" in machine.run("ip", "-6", "-brief", "address", "show", "dev", "lo")


@pytest.fixture(autouse=True)
def stopped(systemd: Machine) -> None:
    """Each test begins with the service stopped, and its socket ready."""
    systemd.systemctl("stop", "addrsvc.service")
    systemd.systemctl("start", "addrsvc.socket")


def test_who_connects_starts_it(systemd: Machine) -> None:
    assert systemd.systemctl("is-active", "addrsvc.service", code=None) == "inactive"

    systemd.run("addrsvc", "status")
    assert until(lambda: systemd.systemctl("is-active", "addrsvc.service", code=None) == "active")


def test_the_address_is_there_when_it_is_ready(systemd: Machine) -> None:
    systemd.run(*DELETED)
    systemd.systemctl("start", "addrsvc.service")

    assert has_loopback(systemd)


def test_what_somebody_deletes_comes_back(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc.service")
    systemd.run(*DELETED)

    assert until(lambda: has_loopback(systemd))


def test_what_was_deleted_while_it_was_dead_comes_back(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc.service")
    before = systemd.show("addrsvc.service", "MainPID")
    systemd.systemctl("kill", "--signal=KILL", "addrsvc.service")
    systemd.run(*DELETED)

    assert until(lambda: has_loopback(systemd))
    assert systemd.show("addrsvc.service", "MainPID") != before
    assert systemd.show("addrsvc.service", "NRestarts") == "1"


def test_who_is_not_in_its_group_may_not_even_ask(systemd: Machine) -> None:
    assert "ermission denied" in systemd.run("addrsvc", "status", code=1, user="nobody")


def test_it_runs_as_a_user_of_its_own(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc.service")

    assert systemd.run("stat", "--format=%U", f"/proc/{systemd.show('addrsvc.service', 'MainPID')}") == "addrsvc"
