"""A service that is killed within a fast flush, under a real systemd: the next one finishes what it had begun."""

from collections.abc import Iterator

import pytest

from tests.systemd.installation import HOME
from tests.systemd.machine import Machine
from tests.waiting import until

ADDRSVC = f"{HOME}/bin/addrsvc"
SERVICE = "addrsvc.service"
CONFIGURATION = "/etc/addrsvc/addrsvc.toml"
SWITCH = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
MANY = [f"2001:db8::{number:x}" for number in range(1, 101)]
THEIRS = "fd00::7/64"
# Kills the process that would write the second half of a flush, unless an earlier one has left something.
DEADLY = """
import os
write = os.pwrite
def deadly(fd, data, offset):
    if data == b"0" and "flush-" not in NAMES:
        os.kill(os.getpid(), 9)
    return write(fd, data, offset)
NAMES = os.environ.get("LISTEN_FDNAMES", "")
os.pwrite = deadly
"""


def rules(addresses: list[str]) -> str:
    return f'[[rule]]\nname = "host"\nnamespaces = ["host"]\nfast_flush = true\naddresses = {addresses}\n'


@pytest.fixture
def deadly(systemd: Machine) -> Iterator[None]:
    """The service, which may flush, and would be killed in the middle of it."""
    systemd.run(ADDRSVC, "systemd", "install", "--fast-flush")
    systemd.write("/run/deadly/sitecustomize.py", DEADLY)
    systemd.write(f"/run/systemd/system/{SERVICE}.d/deadly.conf", "[Service]\nEnvironment=PYTHONPATH=/run/deadly\n")
    systemd.write(CONFIGURATION, rules(MANY))
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", SERVICE)
    yield
    systemd.systemctl("stop", SERVICE)


@pytest.mark.usefixtures("deadly")
def test_a_flush_that_a_service_was_killed_in_is_finished_by_the_next(systemd: Machine) -> None:
    systemd.run("ip", "-6", "address", "add", THEIRS, "dev", "lo", "nodad")
    systemd.write(CONFIGURATION, rules(MANY[:1]))
    systemd.systemctl("reload", SERVICE, code=1)

    assert until(lambda: systemd.systemctl("is-active", SERVICE, code=None) == "active")
    assert systemd.show(SERVICE, "NRestarts") == "1"
    assert systemd.run("cat", SWITCH) == "0"
    found = systemd.run("ip", "-6", "-brief", "address", "show", "dev", "lo").split()[2:]
    assert sorted(found) == sorted([f"{MANY[0]}/128", "::1/128", THEIRS])
    pid = systemd.show(SERVICE, "MainPID")
    (said,) = until(lambda: systemd.journal(f"_PID={pid}", "ADDRSVC_EVENT=finished"))
    assert (said["ADDRSVC_NETNS"], said["ADDRSVC_OFF"], said["ADDRSVC_REFUSED"]) == ("host", "true", "0")
    assert until(lambda: systemd.show(SERVICE, "NFileDescriptorStore") == "2")  # nothing is left to be finished
