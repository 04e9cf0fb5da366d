"""Metrics of the hardened service: at a Unix socket, which is all that it may listen at."""

import pytest

from tests.systemd.installation import HOME
from tests.systemd.machine import Machine
from tests.waiting import until

FETCH = """\
import socket
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("/run/addrsvc/metrics/socket")
    sock.sendall(b"GET /metrics HTTP/1.1\\r\\n\\r\\n")
    print(b"".join(iter(lambda: sock.recv(65536), b"")).decode())
"""


@pytest.fixture
def configured(systemd: Machine) -> Machine:
    systemd.systemctl("stop", "addrsvc.service")
    return systemd


def test_anybody_on_the_machine_may_fetch_them(configured: Machine) -> None:
    configured.write("/etc/addrsvc/addrsvc.toml", '[metrics]\nlisten = "unix:/run/addrsvc/metrics/socket"\n')
    configured.systemctl("start", "addrsvc.service")
    said = configured.run(f"{HOME}/bin/python", "-c", FETCH, user="nobody").splitlines()

    assert said[0] == "HTTP/1.1 200 OK"
    assert 'addrsvc_address_present{address="::1/128",netns="host"} 1.0' in said


def test_a_port_is_refused_by_the_unit_and_that_is_all(configured: Machine) -> None:
    configured.write("/etc/addrsvc/addrsvc.toml", '[metrics]\nlisten = "127.0.0.1:9100"\n')
    configured.systemctl("start", "addrsvc.service")

    assert until(lambda: configured.journal("ADDRSVC_LISTEN=127.0.0.1:9100", "--unit=addrsvc.service"))
    (told,) = configured.journal("ADDRSVC_LISTEN=127.0.0.1:9100", "--unit=addrsvc.service")
    assert (told["ADDRSVC_EVENT"], told["PRIORITY"]) == ("metrics", "3")
    assert "Address family not supported" in told["ADDRSVC_ERROR"]
    assert configured.systemctl("is-active", "addrsvc.service") == "active"
