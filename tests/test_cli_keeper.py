"""The command line towards a service that keeps namespaces."""

import json
import re
import threading
from collections.abc import Callable

import pytest

from addrsvc.cli import main
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NetNs
from tests.daemon.controlled import Controlled, controlled, selector

Typed = Callable[..., tuple[int, str, str]]


def rules(netns: NetNs, addresses: str = '"fd00::1"', more: str = "") -> str:
    return f'{more}\n[[rule]]\nname = "it"\nnamespaces = ["{selector(netns)}", "nowhere"]\naddresses = [{addresses}]\n'


def typing(it: Controlled, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Types commands: gives the exit code, standard output and standard error."""

    def typed(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--control", str(it.path)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return typed


def test_status_is_a_table_of_namespaces(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        code, said, _ = typed("status")
        assert code == 0
        assert "2 of 2 addresses are there, in 1 namespace, waiting for 1" in said
        assert re.search(r"^NETNS +STATE +WANTED +PRESENT +LO +FIGHTS +LOST +LAST REPAIR$", said, re.M)
        assert re.search(r"kept +2 +2 +up +0 +0 +\d+ s ago: add fd00::1/128 \(start\), \d+ us$", said, re.M)
        assert re.search(r"^nowhere +waiting +there is no such namespace$", said, re.M)
        code, said, _ = typed("status", selector(netns))
        assert "  fd00::1/128: of addrsvc\n" in said
        assert "::1/128: of kernel\n" in said
        assert json.loads(typed("status", "--json")[1])["list"][0]["wanted"] == 2
        assert "reference_release" in typed("status", "--model")[1]
        assert typed("status", "nowere")[::2] == (1, "Error: netns: 'nowere' is not kept (did you mean nowhere?)\n")

    controlled(rules(netns), clients)


def test_status_tells_what_is_missing_and_why(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        with Requests.to(netns.fileno()) as requests:
            requests.ask([DELETE_LOOPBACK])
        it.ask("events")
        it.until(lambda: it.ask("describe")["lacking"])
        code, said, _ = typing(it, capfd)("status")
        assert code == 3
        assert "  ::1/128: reported\n" in said

    controlled(rules(netns).replace("namespaces", 'loopback_reaction = "report"\nnamespaces'), clients)


def test_events_go_on_from_a_cursor(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        code, said, _ = typed("events", "--show-cursor", "--level", "info")
        *lines, last = said.splitlines()
        assert code == 0
        assert re.fullmatch(r"\S+ \S+ info +attached +netns=\S+ rules=it cause=\d+ seq=\d+", lines[0])
        cursor = last.removeprefix("-- cursor: ")
        assert typed("events", "--since", cursor)[1] == ""
        typed("reload")
        events = [json.loads(line) for line in typed("events", "--since", cursor, "--json")[1].splitlines()]
        assert [event["event"] for event in events] == ["command", "reload"]
        again = typed("events", "--since", events[0]["cursor"], "--json")[1]
        assert [json.loads(line) for line in again.splitlines()] == events[1:]
        assert "the service was started anew since" in typed("events", "--since", "0:1")[1]
        assert typed("events", "--level", "warn")[::2] == (1, "Error: level: 'warn' is none; did you mean warning?\n")

    controlled(rules(netns), clients)


def test_waiting_ends_with_3_when_it_is_in_vain(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        where = selector(netns)
        assert typed("wait", "::1", "on", "lo", "in", where) == (0, "", "")
        assert typed("wait", f"::1 on lo in {where}") == (0, "", "")
        assert typed("wait", "--timeout", "0.01", "nowhere attached") == (
            3, "", "not in time: nowhere is not kept: there is no such namespace\n",
        )  # fmt: skip
        code, _, said = typed("wait", "::1", "at", "lo")
        assert (code, "there are: ADDRESS on lo [in NETNS]" in said) == (1, True)

    controlled(rules(netns), clients)


def test_a_reload_says_what_it_changes_and_all_that_is_wrong(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        it.config.write_text(rules(netns, '"fd00::2"'))
        code, said, _ = typed("reload", "--dry-run")
        assert (code, said.splitlines()[1:]) == (
            0, ["  ip addr add fd00::2/128 dev lo proto 173 nodad noprefixroute", "  ip addr del fd00::1/128 dev lo"],
        )  # fmt: skip
        code, said, _ = typed("reload")
        assert (code, said.splitlines()[:2]) == (0, [f"read {it.config}", "rule it: changed"])
        it.config.write_text("[wach]\n[deamon]\n")
        assert typed("reload") == (
            1, "", f"{it.config}:1: wach: no such section; did you mean watch?\n"
            f"{it.config}:2: deamon: no such section; did you mean daemon?\n",
        )  # fmt: skip

    controlled(rules(netns), clients)


def test_withdrawing_and_resuming(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        where = selector(netns)
        code, said, _ = typed("withdraw", where, "fd00::1", "--wait")
        assert (code, said.splitlines()[0]) == (0, "fd00::1/128 withdrawn")
        with Requests.to(netns.fileno()) as requests:
            assert [key for key in requests.addresses() if len(key[0]) == 16] == [LOOPBACK]
            assert "  fd00::1/128: withdrawn by command\n" in typed("status")[1]
            assert typed("resume", where)[1].startswith("fd00::1/128 resumed\n")
            assert requests.has(bytes.fromhex("fd00") + bytes(13) + b"\1")
        assert typed("resume", where)[1].startswith("there was nothing to do\n")
        assert typed("withdraw", where, "::1")[0] == 1

    controlled(rules(netns), clients)


def test_plan_and_apply(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        assert typed("plan") == (0, "1 namespace as wanted\n", "")
        assert typed("apply", "-n", "--netns", selector(netns)) == (0, "1 namespace as wanted\n", "")
        assert typed("apply") == (0, "1 namespace as wanted\n", "")
        it.config.write_text(rules(netns, ""))
        code, said, _ = typed("plan", "--files")
        assert (code, "ip addr del fd00::1/128 dev lo" in said) == (0, True)

    controlled(rules(netns), clients)


def test_following_ends_with_the_service(netns: NetNs, capfd: pytest.CaptureFixture[str]) -> None:
    threads: list[threading.Thread] = []

    def clients(it: Controlled) -> None:
        words = ["events", "--follow", "--show-cursor", "--control", str(it.path)]
        threads.append(threading.Thread(target=main, args=(words,)))
        threads[0].start()
        it.until(lambda: it.thread.ask(lambda keeper: len(it.thread.ring._wakers)) > 2)

    controlled(rules(netns), clients)
    threads[0].join(20)
    *_, last = capfd.readouterr().out.splitlines()
    assert last.startswith("-- cursor: ")


def test_an_event_is_really_injected_only_where_the_configuration_allows_it(
    netns: NetNs, capfd: pytest.CaptureFixture[str]
) -> None:
    def clients(it: Controlled) -> None:
        typed = typing(it, capfd)
        words = ["inject", "UP", "lo", "--real", "--netns", selector(netns)]
        code, _, said = typed(*words)
        assert (code, "allow_real_injection" in said) == (1, True)
        it.config.write_text(rules(netns, more="[control]\nallow_real_injection = true"))
        typed("reload")
        code, said, _ = typed(*words)
        assert (code, said.splitlines()[0]) == (0, "lo heard of")
        assert typed("inject", "UP", "eth0", "--real")[0] == 1

    controlled(rules(netns), clients)
