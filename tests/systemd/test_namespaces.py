"""Namespaces under a real systemd: entered, kept by a service that systemd puts inside, or by a socket from outside."""

from collections.abc import Iterator

import pytest

from tests.systemd.installation import HOME
from tests.systemd.machine import Machine
from tests.waiting import stays, until

ADDRSVC = f"{HOME}/bin/addrsvc"
CONFIGURATION = "/etc/addrsvc/addrsvc.toml"
RULES = """
[[rule]]
name = "all"
namespaces = ["host", "blue"]
addresses = ["2001:db8::53"]
"""
WANTED = ["2001:db8::53/128", "::1/128"]


def addresses(machine: Machine, netns: str = "blue") -> list[str]:
    """Of a namespace's lo, version 6."""
    return sorted(machine.run("ip", "-n", netns, "-6", "-brief", "address", "show", "dev", "lo").split()[2:])


def delete(machine: Machine, address: str = "::1/128") -> None:
    machine.run("ip", "-n", "blue", "-6", "address", "delete", address, "dev", "lo")


def capabilities(machine: Machine, unit: str) -> int:
    """That a unit's main process has."""
    status = machine.path(f"/proc/{machine.show(unit, 'MainPID')}/status").read_text()
    return int(status.partition("CapEff:\t")[2].split()[0], 16)


@pytest.fixture(autouse=True)
def blue(systemd: Machine) -> Iterator[None]:
    """A namespace, and rules for it."""
    systemd.write(CONFIGURATION, RULES)
    systemd.run("ip", "netns", "add", "blue")
    yield
    systemd.systemctl("stop", "addrsvc*.path", "addrsvc*.service", "addrsvc*.socket")
    systemd.run("ip", "netns", "delete", "blue", code=None)


def test_a_namespace_is_followed_through_the_sandbox(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc.service")
    assert addresses(systemd) == WANTED
    assert systemd.show("addrsvc.service", "NFileDescriptorStore") == "3"

    systemd.run("ip", "netns", "delete", "blue")
    assert until(lambda: systemd.show("addrsvc.service", "NFileDescriptorStore") == "2")  # what is kept would keep it
    systemd.run("ip", "netns", "add", "blue")
    assert until(lambda: addresses(systemd) == WANTED)


OTHERS = """
[daemon]
patience = 1
[[rule]]
name = "all"
namespaces = ["host", "blue", "good"]
"""
DROP_IN = "/run/systemd/system/addrsvc.service.d/test.conf"


@pytest.fixture
def good(systemd: Machine) -> Iterator[None]:
    """Another namespace, and a service whose start may take no longer than three seconds."""
    systemd.write(CONFIGURATION, OTHERS)
    systemd.write(DROP_IN, "[Service]\nTimeoutStartSec=3\n")
    systemd.systemctl("daemon-reload")
    systemd.run("ip", "netns", "add", "good")
    yield
    systemd.run("ip", "netns", "delete", "good")
    systemd.path(DROP_IN).unlink()
    systemd.systemctl("daemon-reload")


def require_that_it_runs(machine: Machine, why: str) -> None:
    """It is ready, it has been from the first start, and it keeps what can be kept."""
    stays(lambda: machine.systemctl("is-active", "addrsvc.service", code=None) == "active", 4)
    assert machine.show("addrsvc.service", "NRestarts") == "0"
    assert f"; blue: {why}" in machine.show("addrsvc.service", "StatusText")
    (ready,) = machine.journal(f"_PID={machine.show('addrsvc.service', 'MainPID')}", "ADDRSVC_EVENT=ready")
    assert (ready["ADDRSVC_COUNT"], ready["ADDRSVC_WITHOUT"]) == ("1", "blue")
    machine.run("ip", "-n", "good", "-6", "address", "delete", "::1/128", "dev", "lo")
    assert until(lambda: addresses(machine, "good") == ["::1/128"])
    machine.run("addrsvc", "status", code=3)


@pytest.mark.usefixtures("good")
def test_one_namespace_that_cannot_be_right_keeps_no_other_one_waiting(systemd: Machine) -> None:
    switch = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
    systemd.run("ip", "netns", "exec", "blue", "sh", "-c", f"echo 1 >{switch}")
    systemd.systemctl("start", "addrsvc.service")
    require_that_it_runs(systemd, "::1/128 is not there: IPv6 is disabled")

    systemd.run("ip", "netns", "exec", "blue", "sh", "-c", f"echo 0 >{switch}")
    assert until(lambda: addresses(systemd) == ["::1/128"])


@pytest.mark.usefixtures("good")
def test_one_namespace_that_another_service_keeps_keeps_no_other_one_waiting(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc@blue.service")
    systemd.systemctl("start", "addrsvc.service")
    require_that_it_runs(systemd, "another service keeps it")

    systemd.systemctl("stop", "addrsvc@blue.service")
    assert until(lambda: "3 of 3 addresses are there" in systemd.run("addrsvc", "status", code=None))


def test_a_service_inside_keeps_its_namespace_without_cap_sys_admin(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc@blue.service")
    assert addresses(systemd) == WANTED
    assert capabilities(systemd, "addrsvc@blue.service") == 1 << 12
    systemd.require_uring("addrsvc@blue.service")

    delete(systemd)
    assert until(lambda: addresses(systemd) == WANTED)
    assert "blue" in systemd.run("addrsvc", "status", "--control", "/run/addrsvc/blue/control")

    systemd.write(CONFIGURATION, RULES.replace('["2001:db8::53"]', "[]"))
    systemd.systemctl("reload", "addrsvc@blue.service")
    assert addresses(systemd) == ["::1/128"]


def test_a_service_inside_leaves_the_host_alone(systemd: Machine) -> None:
    systemd.run("ip", "-6", "address", "flush", "dev", "lo")
    systemd.systemctl("start", "addrsvc@blue.service")

    assert systemd.run("ip", "-6", "-brief", "address", "show", "dev", "lo") == ""


def test_a_service_inside_ensures_the_loopback_address_where_no_rule_says_otherwise(systemd: Machine) -> None:
    systemd.path(CONFIGURATION).unlink()
    systemd.systemctl("start", "addrsvc@blue.service")

    assert addresses(systemd) == ["::1/128"]


def test_a_service_inside_ends_with_the_name_of_its_namespace(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc@blue.service")
    systemd.run("ip", "netns", "delete", "blue")

    assert until(lambda: systemd.systemctl("is-active", "addrsvc@blue.service", code=None) == "inactive")
    assert systemd.show("addrsvc@blue.service", "Result") == "success"


def test_a_service_inside_of_a_namespace_that_is_not_there_fails_at_once(systemd: Machine) -> None:
    said = systemd.systemctl("start", "addrsvc@nowhere.service", code=1)
    assert "Assertion failed" in said

    status = systemd.systemctl("status", "addrsvc@nowhere.service", code=None)
    assert "AssertPathExists=/run/netns/nowhere was not met" in status
    systemd.run("addrsvc", "status", "--control", "/run/addrsvc/nowhere/control", code=1)  # and is not kept waiting


def test_a_service_inside_is_started_whenever_there_is_its_namespace(systemd: Machine) -> None:
    systemd.run("ip", "netns", "delete", "blue")
    systemd.systemctl("start", "addrsvc@blue.path")
    for _ in range(2):
        systemd.run("ip", "netns", "add", "blue")
        assert until(lambda: addresses(systemd) == WANTED)
        systemd.run("ip", "netns", "delete", "blue")
        assert until(lambda: systemd.systemctl("is-active", "addrsvc@blue.service", code=None) == "inactive")


def test_a_service_for_a_namespace_that_is_not_there_is_not_started(systemd: Machine) -> None:
    assert "assertion" in systemd.systemctl("start", "addrsvc@green.service", code=1).lower()


@pytest.fixture
def host_only(systemd: Machine) -> Iterator[None]:
    systemd.run(ADDRSVC, "systemd", "install", "--host-only")
    systemd.systemctl("daemon-reload")
    yield
    systemd.systemctl("stop", "addrsvc*.service")
    systemd.run(ADDRSVC, "systemd", "install")
    systemd.systemctl("daemon-reload")


@pytest.mark.usefixtures("host_only")
def test_a_socket_from_outside_is_enough_to_keep_a_namespace(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc-netlink@blue.socket")
    systemd.systemctl("start", "addrsvc.service")

    assert capabilities(systemd, "addrsvc.service") == 1 << 12
    assert until(lambda: addresses(systemd) == WANTED)
    delete(systemd)
    assert until(lambda: addresses(systemd) == WANTED)


AGAIN = {
    "with a pause": (("ip", "netns", "delete", "blue"), ("ip", "netns", "add", "blue")),
    "at once": (("sh", "-c", "ip netns delete blue; ip netns add blue"),),
}


@pytest.mark.usefixtures("host_only")
@pytest.mark.parametrize("how", AGAIN)
def test_a_namespace_that_is_made_again_is_kept_by_another_socket(systemd: Machine, how: str) -> None:
    """Nobody does anything: the service sees it, and systemd opens the socket in the new one."""
    systemd.systemctl("start", "addrsvc-netlink@blue.socket")
    systemd.systemctl("start", "addrsvc.service")
    for _ in range(3):
        assert until(lambda: addresses(systemd) == WANTED)
        delete(systemd)
        assert until(lambda: addresses(systemd) == WANTED)
        for command in AGAIN[how]:
            systemd.run(*command)
            if command[2] == "delete":
                assert until(lambda: "waiting" in systemd.run("addrsvc", "status", "blue", code=None))
    assert until(lambda: addresses(systemd) == WANTED)
    assert until(lambda: systemd.systemctl("is-active", "addrsvc.service", code=None) == "active")
    assert systemd.show("addrsvc.service", "NRestarts") == "0"


@pytest.mark.usefixtures("host_only")
def test_a_namespace_that_is_made_again_while_nobody_looks_is_kept_by_another_socket(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc-netlink@blue.socket")
    systemd.systemctl("start", "addrsvc.service")
    assert until(lambda: addresses(systemd) == WANTED)
    systemd.systemctl("stop", "addrsvc.service")
    systemd.run("sh", "-c", "ip netns delete blue; ip netns add blue")

    systemd.systemctl("start", "addrsvc.service")
    assert until(lambda: addresses(systemd) == WANTED)


@pytest.mark.usefixtures("host_only")
def test_a_namespace_that_is_missing_at_the_start_is_kept_when_it_is_made_again(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc-netlink@blue.socket")
    systemd.systemctl("start", "addrsvc.service")
    assert until(lambda: addresses(systemd) == WANTED)
    systemd.run("ip", "netns", "delete", "blue")
    systemd.systemctl("restart", "addrsvc.service")
    systemd.run("ip", "netns", "add", "blue")

    assert until(lambda: addresses(systemd) == WANTED)


@pytest.mark.usefixtures("host_only")
def test_a_namespace_that_there_never_was_is_kept_when_it_is_made(systemd: Machine) -> None:
    """As when the machine has booted: the socket could not be opened, and who made the namespace was not waited for."""
    systemd.run("ip", "netns", "delete", "blue")
    assert "Assertion failed" in systemd.systemctl("start", "addrsvc-netlink@blue.socket", code=1)
    systemd.systemctl("start", "addrsvc.service")
    systemd.run("ip", "netns", "add", "blue")

    assert until(lambda: addresses(systemd) == WANTED)
    assert capabilities(systemd, "addrsvc.service") == 1 << 12


@pytest.mark.usefixtures("host_only")
def test_a_socket_is_opened_anew_though_somebody_starts_the_service_in_between(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc-netlink@blue.socket")
    systemd.systemctl("start", "addrsvc.service")
    with systemd.running("sh", "-c", "while sleep 0.01; do addrsvc status >/dev/null 2>&1; done & read line; kill $!"):
        for _ in range(3):
            systemd.run("sh", "-c", "ip netns delete blue; ip netns add blue")
            assert until(lambda: addresses(systemd) == WANTED)


@pytest.mark.usefixtures("host_only")
def test_what_happens_in_a_namespace_starts_the_service(systemd: Machine) -> None:
    systemd.systemctl("start", "addrsvc-netlink@blue.socket")
    systemd.run("ip", "-n", "blue", "link", "set", "lo", "up")

    assert until(lambda: addresses(systemd) == WANTED)
    assert "addrsvc-netlink@blue.socket" in systemd.show("addrsvc.service", "TriggeredBy").split()


@pytest.mark.usefixtures("host_only")
def test_what_happens_in_a_namespace_does_not_start_a_service_for_ever_that_cannot(systemd: Machine) -> None:
    systemd.write(CONFIGURATION, "[[rule]]\nnmae = 1\n")
    systemd.systemctl("start", "addrsvc-netlink@blue.socket")
    systemd.run("ip", "-n", "blue", "link", "set", "lo", "up")
    assert until(lambda: systemd.systemctl("is-active", "addrsvc.service", code=None) == "failed")

    failed = systemd.show("addrsvc.service", "InvocationID")
    stays(lambda: systemd.show("addrsvc.service", "InvocationID") == failed, 2)
    assert systemd.systemctl("is-active", "addrsvc-netlink@blue.socket") == "active"
    systemd.systemctl("reset-failed", "addrsvc.service")
