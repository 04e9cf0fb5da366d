"""addrsvc.service under a real systemd: how it starts, who it is, who may talk to it, and how it stays alive."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from addrsvc.keeper.rtnl import Requests, open_rtnl
from addrsvc.mirror.netns import open_netns
from addrsvc.uapi import RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
from tests.keeper.used import wait_for_routes
from tests.systemd.installation import HOME
from tests.systemd.machine import Machine
from tests.waiting import stays, until

SERVICE = "addrsvc.service"
CONFIGURATION = "/etc/addrsvc/addrsvc.toml"
DROP_IN = f"/run/systemd/system/{SERVICE}.d/test.conf"
SWITCH = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
ANYCAST = "2001:db8::53/128"
OTHER = "2001:db8::7/128"


def rules(*addresses: str) -> str:
    """A configuration that wants these of the host, and ::1."""
    return f'[[rule]]\nname = "host"\nnamespaces = ["host"]\naddresses = {list(addresses)}\n'


def addresses(machine: Machine) -> list[str]:
    """Of lo, version 6."""
    return machine.run("ip", "-6", "-brief", "address", "show", "dev", "lo").split()[2:]


def state(machine: Machine) -> str:
    return machine.systemctl("is-active", SERVICE, code=None)


def main_pid(machine: Machine) -> str:
    return machine.show(SERVICE, "MainPID")


def delete(machine: Machine, address: str = "::1/128") -> None:
    machine.run("ip", "-6", "address", "delete", address, "dev", "lo")


def start(machine: Machine, *wanted: str) -> None:
    machine.write(CONFIGURATION, rules(*wanted))
    machine.systemctl("start", SERVICE)


@pytest.fixture(autouse=True)
def stopped(systemd: Machine) -> None:
    """Each test begins without configuration, with the service stopped, its socket ready, and lo as it was."""
    systemd.systemctl("stop", SERVICE)
    systemd.path(CONFIGURATION).unlink(missing_ok=True)
    systemd.path(DROP_IN).unlink(missing_ok=True)
    systemd.systemctl("daemon-reload")
    systemd.run("sh", "-c", f"echo 0 >{SWITCH}")
    systemd.systemctl("start", "addrsvc.socket")
    systemd.run("ip", "link", "set", "lo", "down")
    systemd.run("ip", "link", "set", "lo", "up")


# --- start ----------------------------------------------------------------------------------------------------------


def test_all_that_is_wanted_is_there_when_it_is_ready(systemd: Machine) -> None:
    delete(systemd)
    start(systemd, ANYCAST, OTHER)

    assert sorted(addresses(systemd)) == [ANYCAST, OTHER, "::1/128"]
    assert "Keeping 3 of 3 addresses" in systemd.show(SERVICE, "StatusText")
    pid = main_pid(systemd)
    assert until(lambda: systemd.journal(f"_PID={pid}", "ADDRSVC_EVENT=ready"))
    assert not systemd.journal(f"_PID={pid}", "ADDRSVC_EVENT=not ready")  # it did not have to wait


NOT_READY = "host: ::1/128 is not there: IPv6 is disabled"


def test_it_is_not_ready_before_and_says_at_once_what_it_waits_for(systemd: Machine) -> None:
    systemd.run("sh", "-c", f"echo 1 >{SWITCH}")
    systemd.systemctl("start", "--no-block", SERVICE)
    assert until(lambda: f"; not ready: {NOT_READY}" in systemd.show(SERVICE, "StatusText"))
    assert f"not ready: {NOT_READY}" in systemd.systemctl("status", SERVICE, code=None)
    told = until(lambda: systemd.journal(f"_PID={main_pid(systemd)}", "ADDRSVC_EVENT=not ready"))
    assert [(entry["ADDRSVC_WHY"], entry["PRIORITY"]) for entry in told] == [(NOT_READY, "4")]

    assert state(systemd) == "activating"
    systemd.run("sh", "-c", f"echo 0 >{SWITCH}")
    assert until(lambda: state(systemd) == "active")
    assert systemd.show(SERVICE, "NRestarts") == "0"
    assert "::1/128" in addresses(systemd)


REFUSING = """
import os, socket
bind = socket.socket.bind
def refused(self, address):
    if self.family == socket.AF_INET6 and os.path.exists("/run/refusing/now"):
        raise OSError(99, os.strerror(99))
    return bind(self, address)
socket.socket.bind = refused
"""


def test_it_is_not_ready_before_a_bind_to_the_loopback_address_succeeds(systemd: Machine) -> None:
    """Though the address is there."""
    systemd.write("/run/refusing/sitecustomize.py", REFUSING)
    systemd.write("/run/refusing/now", "")
    systemd.write(DROP_IN, "[Service]\nEnvironment=PYTHONPATH=/run/refusing\n")
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "--no-block", SERVICE)
    why = "; not ready: bind to ::1: Cannot assign requested address"
    assert until(lambda: why in systemd.show(SERVICE, "StatusText"))
    assert "::1/128" in addresses(systemd)
    assert state(systemd) == "activating"

    systemd.path("/run/refusing/now").unlink()
    assert until(lambda: state(systemd) == "active")
    assert systemd.show(SERVICE, "NRestarts") == "0"


def test_a_start_that_waits_for_what_never_comes_fails_in_time_and_is_tried_again(systemd: Machine) -> None:
    """However little it waits for other namespaces: this is its own."""
    systemd.write(DROP_IN, "[Service]\nTimeoutStartSec=2\nWatchdogSec=1\n")
    systemd.write(CONFIGURATION, f"[daemon]\npatience = 0\n{rules()}")
    systemd.systemctl("daemon-reload")
    systemd.run("sh", "-c", f"echo 1 >{SWITCH}")
    assert "timeout was exceeded" in systemd.systemctl("start", SERVICE, code=1)
    assert until(lambda: int(systemd.show(SERVICE, "NRestarts")) > 0 and state(systemd) == "activating")

    systemd.run("sh", "-c", f"echo 0 >{SWITCH}")
    assert until(lambda: state(systemd) == "active")
    assert "::1/128" in addresses(systemd)


def test_a_start_says_who_else_keeps_what_it_is_to_keep(systemd: Machine) -> None:
    holder = "import fcntl, sys; file = open('/proc/1/ns/net'); fcntl.flock(file, fcntl.LOCK_EX); sys.stdin.read()"
    with systemd.running(f"{HOME}/bin/python", "-c", holder):
        assert until(lambda: "FLOCK" in systemd.path("/proc/locks").read_text())
        systemd.systemctl("start", "--no-block", SERVICE)
        assert until(
            lambda: "not ready: host: another service keeps it: process " in systemd.show(SERVICE, "StatusText")
        )
        assert state(systemd) == "activating"
    assert until(lambda: state(systemd) == "active")


def test_a_start_says_which_address_the_kernel_refuses_it_for_ever(systemd: Machine) -> None:
    systemd.run("ip", "-6", "address", "add", ANYCAST.replace("/128", "/64"), "dev", "lo")
    systemd.write(CONFIGURATION, rules(ANYCAST))
    systemd.systemctl("start", "--no-block", SERVICE)

    why = f"host: {ANYCAST} is not there: it is there with another prefix length"
    assert until(lambda: f"; not ready: {why}" in systemd.show(SERVICE, "StatusText"))
    delete(systemd, ANYCAST.replace("/128", "/64"))
    systemd.systemctl("stop", SERVICE)


def test_what_it_is_to_have_and_may_not_have_is_told_and_keeps_nothing_waiting(systemd: Machine) -> None:
    """The units as they are allow neither."""
    systemd.write(CONFIGURATION, f'[daemon]\nrealtime = 5\n[watch]\nmethod = "nsid"\n{rules()}')
    systemd.systemctl("start", SERVICE)

    assert systemd.show(SERVICE, "NRestarts") == "0"
    pid = main_pid(systemd)
    (refused,) = until(lambda: systemd.journal(f"_PID={pid}", "ADDRSVC_EVENT=refused"))
    assert refused["ADDRSVC_RECIPE"] == "SCHED_FIFO 5"
    (limited,) = until(lambda: systemd.journal(f"_PID={pid}", "ADDRSVC_EVENT=limited"))
    assert "CAP_NET_BROADCAST" in limited["ADDRSVC_WHY"]
    delete(systemd)
    assert until(lambda: "::1/128" in addresses(systemd))


def test_a_process_that_the_sandbox_hides_is_waited_for_with_the_reason(systemd: Machine) -> None:
    systemd.write(CONFIGURATION, '[[rule]]\nname = "it"\nnamespaces = ["host", "pid:1", "pid:4000000"]\n')
    systemd.systemctl("start", SERVICE)

    said = systemd.run("addrsvc", "status")
    assert re.search("^pid:1 +waiting +the process is not to be seen from here, which takes CAP_SYS_PTRACE", said, re.M)
    assert re.search("^pid:4000000 +waiting +there is no such process$", said, re.M)


def test_it_starts_where_there_is_no_ipv6_socket_to_lend(systemd: Machine) -> None:
    """As where the kernel has no IPv6, and IPv4 addresses are to be kept: the sandbox refuses it in the same way."""
    systemd.write(DROP_IN, "[Service]\nExecStartPre=\nExecStartPre=addrsvc systemd lend-probe\n")
    systemd.systemctl("daemon-reload")
    start(systemd, "192.0.2.53")

    assert state(systemd) == "active"
    assert systemd.show(SERVICE, "NFileDescriptorStore") == "1"  # by which it hears the host
    delete(systemd)
    assert until(lambda: "::1/128" in addresses(systemd))


def test_who_connects_starts_it(systemd: Machine) -> None:
    assert state(systemd) == "inactive"

    systemd.run("addrsvc", "status")
    assert until(lambda: state(systemd) == "active")


def test_a_wrong_configuration_is_told_and_tried_once(systemd: Machine) -> None:
    systemd.write(CONFIGURATION, "[[rule]]\nnmae = 1\n")
    systemd.systemctl("start", SERVICE, code=1)

    assert state(systemd) == "failed"
    assert systemd.show(SERVICE, "NRestarts") == "0"
    assert any("did you mean" in entry["MESSAGE"] for entry in systemd.journal(f"--unit={SERVICE}", "--lines=20"))
    systemd.systemctl("reset-failed", SERVICE)


def test_who_connects_to_one_that_cannot_start_is_not_kept_waiting(systemd: Machine) -> None:
    systemd.write(CONFIGURATION, "[[rule]]\nnmae = 1\n")
    assert "(see: journalctl -u addrsvc)" in systemd.run("addrsvc", "status", code=1)
    assert until(lambda: state(systemd) == "failed")
    assert systemd.systemctl("is-active", "addrsvc.socket") == "active"

    systemd.write(CONFIGURATION, rules())
    systemd.run("addrsvc", "status")
    assert until(lambda: state(systemd) == "active")


# --- who it is, and who may talk to it ------------------------------------------------------------------------------


def test_it_runs_as_a_user_of_its_own_with_two_capabilities(systemd: Machine) -> None:
    start(systemd)
    status = systemd.path(f"/proc/{main_pid(systemd)}/status").read_text()

    assert systemd.run("stat", "--format=%U", f"/proc/{main_pid(systemd)}") == "addrsvc"
    assert "CapEff:\t0000000000201000\n" in status  # CAP_NET_ADMIN and CAP_SYS_ADMIN
    assert "NoNewPrivs:\t1\n" in status


def test_the_kernel_may_answer_for_it(systemd: Machine) -> None:
    """No option of the unit keeps it from having an io_uring."""
    start(systemd)
    systemd.require_uring(SERVICE)
    delete(systemd)
    assert until(lambda: "::1/128" in addresses(systemd))


@pytest.mark.parametrize("call", ["io_uring_setup", "io_uring_enter"])
def test_where_the_kernel_may_not_answer_for_it_it_answers_itself(systemd: Machine, call: str) -> None:
    systemd.write(DROP_IN, f"[Service]\nSystemCallFilter=~{call}\n")
    systemd.systemctl("daemon-reload")
    start(systemd)

    assert "io_uring" not in systemd.run("ls", "-l", f"/proc/{main_pid(systemd)}/fd")
    delete(systemd)
    assert until(lambda: addresses(systemd) == ["::1/128"])


def test_a_socket_is_lent_to_it_once_however_often_it_starts(systemd: Machine) -> None:
    start(systemd)
    systemd.systemctl("restart", SERVICE)
    systemd.systemctl("kill", "--signal=KILL", SERVICE)
    assert until(lambda: main_pid(systemd) != "0" and state(systemd) == "active")

    assert systemd.show(SERVICE, "NFileDescriptorStore") == "2"  # and the one by which it hears the host


def test_who_is_not_in_its_group_may_not_even_ask(systemd: Machine) -> None:
    start(systemd)

    why = systemd.run("addrsvc", "status", code=1, user="nobody")
    assert "Permission denied" in why
    assert 'sudo usermod -aG addrsvc "$USER"' in why


def test_who_is_in_its_group_may_ask_and_change_nothing(systemd: Machine) -> None:
    systemd.run("useradd", "--groups=addrsvc", "reader", code=None)
    start(systemd)

    systemd.run("addrsvc", "status", user="reader")
    assert "not permitted" in systemd.run("addrsvc", "link", "set", "lo", "down", code=1, user="reader")
    assert "not permitted" in systemd.run("addrsvc", "inject", "UP", "lo", code=1, user="reader")
    denied = until(lambda: systemd.journal(f"_PID={main_pid(systemd)}", "ADDRSVC_EVENT=denied")[1:])
    assert denied[-1]["ADDRSVC_METHOD"] == "org.addrsvc.Control.Inject"
    assert denied[-1]["ADDRSVC_UID"] == systemd.run("id", "--user", "reader")
    assert denied[-1]["PRIORITY"] == "4"


# --- life -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["::1/128", ANYCAST])
def test_what_somebody_deletes_comes_back(systemd: Machine, address: str) -> None:
    start(systemd, ANYCAST)
    delete(systemd, address)

    assert until(lambda: address in addresses(systemd))


def test_what_was_deleted_while_it_was_dead_comes_back(systemd: Machine) -> None:
    start(systemd)
    before = main_pid(systemd)
    systemd.systemctl("kill", "--signal=KILL", SERVICE)
    delete(systemd)

    assert until(lambda: "::1/128" in addresses(systemd))
    assert main_pid(systemd) != before
    assert systemd.show(SERVICE, "NRestarts") == "1"


def test_what_happened_while_it_was_dead_is_heard_by_the_next_one(systemd: Machine) -> None:
    systemd.write(CONFIGURATION, f'[daemon]\nlog_level = "debug"\n{rules()}')
    systemd.systemctl("start", SERVICE)
    systemd.systemctl("kill", "--signal=KILL", SERVICE)
    delete(systemd)
    assert until(lambda: "::1/128" in addresses(systemd))

    pid = main_pid(systemd)
    assert until(lambda: systemd.journal(f"--unit={SERVICE}", f"_PID={pid}", "ADDRSVC_EVENT=RTM_DELADDR"))


def test_the_watchdog_ends_one_that_hangs(systemd: Machine) -> None:
    systemd.write(DROP_IN, "[Service]\nWatchdogSec=1\n")
    systemd.systemctl("daemon-reload")
    start(systemd)
    before = main_pid(systemd)
    systemd.run("kill", "-STOP", before)
    delete(systemd)

    assert until(lambda: "::1/128" in addresses(systemd))
    assert main_pid(systemd) != before
    assert any("Watchdog timeout" in entry["MESSAGE"] for entry in systemd.journal(f"UNIT={SERVICE}", "--lines=50"))


def test_the_watchdog_leaves_one_alone_that_lives(systemd: Machine) -> None:
    systemd.write(DROP_IN, "[Service]\nWatchdogSec=300ms\n")
    systemd.systemctl("daemon-reload")
    start(systemd)
    fed = int(systemd.show(SERVICE, "WatchdogTimestampMonotonic"))

    assert until(lambda: int(systemd.show(SERVICE, "WatchdogTimestampMonotonic")) > fed + 900_000)
    assert systemd.show(SERVICE, "NRestarts") == "0"


@contextmanager
def no_address_message(machine: Machine) -> Iterator[None]:
    """A block during which the machine's kernel says nothing about addresses."""
    groups = (RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR)
    with open_netns(str(machine.pid)) as netns:
        with Requests.to(netns.fileno()) as requests:
            wait_for_routes(netns, *(address for address, _ in requests.addresses() if len(address) == 16))
        with open_rtnl(netns.fileno(), groups=groups) as sock:
            yield
            with pytest.raises(BlockingIOError):
                sock.recv(4096)
            delete(machine)  # the ear is not deaf
            assert sock.recv(4096)


@pytest.mark.parametrize("how", [("restart",), ("kill", "--signal=KILL"), ("stop",)], ids=" ".join)
def test_however_it_ends_and_starts_again_no_address_is_touched(systemd: Machine, how: tuple[str, ...]) -> None:
    start(systemd, ANYCAST)
    before = main_pid(systemd)
    with no_address_message(systemd):
        systemd.systemctl(*how, SERVICE)
        systemd.systemctl("start", SERVICE)
        assert until(lambda: main_pid(systemd) not in (before, "0") and state(systemd) == "active")


def test_what_another_configuration_wants_is_heard_of_after_a_restart(systemd: Machine) -> None:
    """The socket that systemd keeps may have a filter by then, since there was much noise."""
    start(systemd, ANYCAST)
    systemd.run(
        "sh", "-c", "for n in $(seq 40); do ip -6 address add fd00::$n dev lo; done; ip -6 address flush to fd00::/16"
    )
    systemd.write(CONFIGURATION, rules(OTHER))
    systemd.systemctl("restart", SERVICE)
    delete(systemd, OTHER)

    assert until(lambda: OTHER in addresses(systemd))


# --- reload ---------------------------------------------------------------------------------------------------------


def test_a_reload_touches_only_what_differs(systemd: Machine) -> None:
    start(systemd, ANYCAST)
    before = main_pid(systemd)
    systemd.write(CONFIGURATION, rules(ANYCAST, OTHER))
    systemd.systemctl("reload", SERVICE)

    assert sorted(addresses(systemd)) == [ANYCAST, OTHER, "::1/128"]
    with no_address_message(systemd):
        systemd.systemctl("reload", SERVICE)
    systemd.write(CONFIGURATION, rules(OTHER))
    systemd.systemctl("reload", SERVICE)
    assert sorted(addresses(systemd)) == [OTHER, "::1/128"]
    assert main_pid(systemd) == before


def test_a_bad_reload_leaves_what_was_in_force(systemd: Machine) -> None:
    start(systemd, ANYCAST)
    systemd.write(CONFIGURATION, '[[rule]]\nname = "host"\nadresses = []\n')
    systemd.systemctl("reload", SERVICE, code=1)
    delete(systemd, ANYCAST)

    assert until(lambda: ANYCAST in addresses(systemd))
    assert state(systemd) == "active"
    assert any("did you mean" in entry["MESSAGE"] for entry in systemd.journal(f"--unit={SERVICE}", "--lines=20"))


# --- following ------------------------------------------------------------------------------------------------------

FOLLOWER = "follower.service"
SAID, COMPLAINED = "/run/follower.out", "/run/follower.err"


@pytest.fixture
def follower(systemd: Machine) -> Iterator[None]:
    """`addrsvc events --follow`, begun while the service runs."""
    start(systemd)
    systemd.run(
        "systemd-run", f"--unit={FOLLOWER}", f"--property=StandardOutput=file:{SAID}",
        f"--property=StandardError=file:{COMPLAINED}", f"{HOME}/bin/addrsvc", "events", "--follow", "--level", "info",
    )  # fmt: skip
    yield
    systemd.systemctl("stop", FOLLOWER)


def times(machine: Machine, path: str, text: str) -> int:
    """How often a text stands in a file."""
    return machine.path(path).read_text().count(text)


def test_who_follows_goes_on_after_a_restart_and_starts_nothing_that_was_stopped(
    systemd: Machine, follower: None
) -> None:
    assert until(lambda: times(systemd, SAID, " attached ") == 1)
    systemd.systemctl("restart", SERVICE)
    assert until(lambda: times(systemd, SAID, " attached ") == 2)
    assert "is lost, if there was anything behind" in systemd.path(COMPLAINED).read_text()

    systemd.systemctl("kill", "--signal=KILL", SERVICE)
    assert until(lambda: times(systemd, SAID, " attached ") == 3)

    systemd.systemctl("stop", SERVICE)
    assert until(lambda: times(systemd, COMPLAINED, "the service has ended") == 3)
    stays(lambda: state(systemd) == "inactive", 2.0)
    systemd.systemctl("start", SERVICE)
    assert until(lambda: times(systemd, SAID, " attached ") == 4)
    assert times(systemd, COMPLAINED, "the service has ended") == 3
