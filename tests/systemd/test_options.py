"""What the sandbox of addrsvc.service lets through, and what an option adds to that or takes from it."""

from collections.abc import Iterator

import pytest

from tests.systemd.installation import HOME
from tests.systemd.machine import Machine

ADDRSVC = f"{HOME}/bin/addrsvc"
SCRIPT = "/opt/tried.py"
# The service's own sandbox, around something else.
INSTEAD = f"[Service]\nType=oneshot\nExecStart=\nExecStartPre=\nExecStart={HOME}/bin/python {SCRIPT}\nRestart=no\n"
ENTER = """
import os
from addrsvc.mirror.libc import CLONE_NEWNET, setns
setns(os.open({path!r}, os.O_RDONLY), CLONE_NEWNET)
"""
HURRY = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))"
SWITCH = """
with open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "r+") as switch:
    switch.write("1")
"""
HEAR_ALL = """
import socket
from addrsvc.uapi import NETLINK_LISTEN_ALL_NSID, SOL_NETLINK
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
    sock.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
"""
NAMED = ENTER.format(path="/run/netns/blue")
IN_DOCKER = ENTER.format(path="/run/docker/netns/1-abc")
OF_A_PROCESS = ENTER.format(path="/run/of-a-process")


@pytest.fixture(scope="module", autouse=True)
def namespaces(systemd: Machine) -> None:
    """A named one, one where docker has its own, and one of somebody else's process."""
    systemd.run("ip", "netns", "add", "blue")
    systemd.run("mkdir", "--mode=700", "/run/docker")
    systemd.run("mkdir", "/run/docker/netns")
    systemd.run("touch", "/run/docker/netns/1-abc")
    systemd.run("mount", "--bind", "/run/netns/blue", "/run/docker/netns/1-abc")
    systemd.write("/etc/systemd/system/other.service",
                  "[Service]\nType=exec\nExecStart=sleep infinity\nUser=daemon\nPrivateNetwork=yes\n")  # fmt: skip
    systemd.systemctl("start", "other.service")
    systemd.path("/run/of-a-process").symlink_to(f"/proc/{systemd.show('other.service', 'MainPID')}/ns/net")


@pytest.fixture
def option(request: pytest.FixtureRequest, systemd: Machine) -> Iterator[str]:
    """An option that is installed during the test; empty for none."""
    words = [f"--{request.param}"] if request.param else []
    systemd.run(ADDRSVC, "systemd", "install", *words)
    yield request.param
    systemd.run(ADDRSVC, "systemd", "install")


@pytest.mark.parametrize(
    ("option", "script", "error"),
    [
        ("", NAMED, None),
        ("host-only", NAMED, "Operation not permitted"),
        ("", IN_DOCKER, "Permission denied"),
        ("docker", IN_DOCKER, None),
        ("", OF_A_PROCESS, "No such file"),  # ProtectProc= hides it
        ("pids", OF_A_PROCESS, None),
        ("", HEAR_ALL, "Operation not permitted"),
        ("many", HEAR_ALL, None),
        ("", NAMED + SWITCH, "Read-only file system"),
        ("fast-flush", NAMED + SWITCH, None),
        ("", HURRY, "Operation not permitted"),
        ("realtime", HURRY, None),
    ],
    indirect=["option"],
)
def test_an_option_is_what_something_needs(systemd: Machine, option: str, script: str, error: str | None) -> None:
    systemd.write(SCRIPT, script)
    systemd.write("/etc/systemd/system/addrsvc.service.d/90-instead.conf", INSTEAD)
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "addrsvc.service", code=0 if error is None else 1)

    if error is not None:
        assert error in systemd.journal("--unit=addrsvc.service", "--identifier=python")[-1]["MESSAGE"]


@pytest.mark.parametrize(
    ("option", "most"),
    [("docker", 16), ("fast-flush", 15), ("many", 16), ("pids", 19), ("realtime", 17)],
    indirect=["option"],
)
def test_an_option_costs_little_of_what_holds_it(systemd: Machine, option: str, most: int) -> None:
    systemd.systemctl("daemon-reload")
    systemd.require_exposure("addrsvc.service", most)


@pytest.mark.parametrize("option", ["fast-flush"], indirect=True)
def test_what_is_switched_is_the_namespace_that_was_entered(systemd: Machine, option: str) -> None:
    switch = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
    systemd.run("ip", "netns", "exec", "blue", "sh", "-c", f"echo 0 >{switch}")
    systemd.write(SCRIPT, NAMED + SWITCH)
    systemd.write("/etc/systemd/system/addrsvc.service.d/90-instead.conf", INSTEAD)
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "addrsvc.service")

    assert systemd.run("cat", switch) == "0"
    assert systemd.run("ip", "netns", "exec", "blue", "cat", switch) == "1"
