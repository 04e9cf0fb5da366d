"""The log as the journal of a real systemd has it."""

import pytest

from tests.systemd.installation import HOME
from tests.systemd.machine import Machine
from tests.waiting import until

UNIT = f"""\
[Service]
Type=notify
ExecStart={HOME}/bin/addrsvc run --config /etc/addrsvc/addrsvc.toml --control /run/logged/control
RuntimeDirectory=logged
"""
DELETED = ("ip", "-6", "address", "delete", "::1/128", "dev", "lo")
SEND = "from addrsvc.daemon.journal import entry, send; send(entry({message}, {level!r}, {fields!r}))"


def told(machine: Machine, event: str) -> list[dict[str, str]]:
    """The entries of that event."""
    return machine.journal(f"ADDRSVC_EVENT={event}", "--unit=logged.service")


@pytest.fixture(scope="module")
def logged(bare: Machine) -> Machine:
    """A service that keeps the machine's own namespace, and logs all there is."""
    bare.write("/etc/addrsvc/addrsvc.toml", '[daemon]\nlog_level = "debug"\n')
    bare.write("/etc/systemd/system/logged.service", UNIT)
    bare.systemctl("daemon-reload")
    bare.systemctl("start", "logged.service")
    return bare


def test_a_repair_is_found_by_its_fields_and_its_cause(logged: Machine) -> None:
    logged.run(*DELETED)
    assert until(lambda: [it for it in told(logged, "repaired") if it["ADDRSVC_NETNS"] == "host"])
    repaired = told(logged, "repaired")[-1]
    (because,) = (it for it in told(logged, "RTM_DELADDR") if it["ADDRSVC_SEQ"] == repaired["ADDRSVC_CAUSE"])

    assert repaired["ADDRSVC_ADDRESS"] == because["ADDRSVC_ADDRESS"] == "::1/128"
    assert float(repaired["ADDRSVC_US"]) > 0
    assert (repaired["PRIORITY"], because["PRIORITY"]) == ("6", "7")
    assert repaired["SYSLOG_IDENTIFIER"] == "addrsvc"
    assert repaired["MESSAGE"].startswith("repaired netns=host ")


def test_a_bad_reload_is_an_error_in_the_journal(logged: Machine) -> None:
    logged.write("/etc/addrsvc/addrsvc.toml", "[deamon]\n")
    logged.systemctl("kill", "--signal=HUP", "logged.service")

    assert until(lambda: told(logged, "reload failed"))
    (failed,) = told(logged, "reload failed")
    assert failed["PRIORITY"] == "3"
    assert "/etc/addrsvc/addrsvc.toml:1: deamon: no such section; did you mean daemon?" in failed["ADDRSVC_PROBLEMS"]


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["small", "too large for a datagram"])
def test_lines_and_sizes_do_not_matter(bare: Machine, size: int) -> None:
    sent = SEND.format(
        message=f"'one\\ntwo\\n' + {size} * 'x'", level="warning", fields={"event": "lost", "size": size}
    )
    bare.run(f"{HOME}/bin/python", "-c", sent)

    assert until(lambda: bare.journal(f"ADDRSVC_SIZE={size}"))
    (found,) = bare.journal(f"ADDRSVC_SIZE={size}")
    assert found["MESSAGE"] == "one\ntwo\n" + size * "x"
    assert (found["PRIORITY"], found["ADDRSVC_EVENT"]) == ("4", "lost")
