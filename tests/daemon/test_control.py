"""A service that keeps namespaces, over its control socket: what is asked and ordered, by whom, and what happens."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from addrsvc.daemon.authority import Peer
from addrsvc.daemon.client import KEEPER, Client, NoInterface, ServiceError, TimedOut
from addrsvc.daemon.orders import ORDERS
from addrsvc.errors import ConfigError, ControlError
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_DOWN, newaddr
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.child import in_a_child
from addrsvc.mirror.libc import MS_BIND, NotMounted, mount, umount
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import LinkMsg
from addrsvc.pytest_plugin.namespaces import create
from addrsvc.uapi import IFF_UP, NLM_F_REQUEST, RTM_NEWLINK
from tests.daemon.controlled import NOBODY, Controlled, controlled, selector
from tests.daemon.test_server import served
from tests.keeper.used import wait_for_routes
from tests.waiting import PATIENCE

ONE = (bytes.fromhex("fd00") + bytes(13) + b"\1", 128)
READER, OPERATOR, STRANGER = 64001, 64002, 64003
GROUP = 64010


def rules(netns: NetNs, addresses: str = '"fd00::1"', more: str = "") -> str:
    return f'{more}\n[[rule]]\nname = "it"\nnamespaces = ["{selector(netns)}", "nowhere"]\naddresses = [{addresses}]\n'


@pytest.fixture
def requests(netns: NetNs) -> Iterator[Requests]:
    with Requests.to(netns.fileno()) as requests:
        yield requests


def names(events: list[dict[str, object]]) -> list[object]:
    return [event["event"] for event in events]


# --- asking -----------------------------------------------------------------------------------------------------------


def test_the_service_tells_how_it_and_its_namespaces_are(netns: NetNs) -> None:
    def clients(it: Controlled) -> None:
        described = it.ask("describe")
        assert (described["namespaces"], described["waiting"], described["wanted"], described["present"]) == (
            1,
            1,
            2,
            2,
        )
        assert described["files"] == [str(it.config)]
        assert described["lacking"] is None
        rows = [row for answer in it.all("list", details=True) for row in answer["namespaces"]]
        assert [(row["netns"], row["state"]) for row in rows] == [(selector(netns), "kept"), ("nowhere", "waiting")]
        assert [(a["address"], a["present"], a["owner"]) for a in rows[0]["addresses"]] == [
            ("::1/128", True, "kernel"), ("fd00::1/128", True, "addrsvc"),
        ]  # fmt: skip
        (last,) = [row["last"] for row in rows if row["last"]]
        assert (last["why"], last["recipe"], last["what"]) == ("start", "add", "fd00::1/128")
        with pytest.raises(ControlError, match="did you mean nowhere"):
            it.all("list", netns="nowere")

    controlled(rules(netns), clients)


@pytest.mark.parametrize("order", ["plan", "apply", "resume", "withdraw", "inject"])
def test_who_wants_something_of_a_namespace_that_is_waited_for_is_told_why_it_is_not_kept(
    netns: NetNs, order: str
) -> None:
    def clients(it: Controlled) -> None:
        with pytest.raises(ControlError, match="'nowhere' is not kept: there is no such namespace"):
            it.all(order, netns="nowhere", **({"event": "UP"} if order == "inject" else {}))

    controlled(rules(netns, more="[control]\nallow_real_injection = true"), clients)


def test_many_addresses_come_in_several_replies(netns: NetNs) -> None:
    texts = [f"fd00::{number:x}" for number in range(1, 1201)]

    def clients(it: Controlled) -> None:
        answers = it.all("list", netns=selector(netns), details=True)
        rows = [row for answer in answers for row in answer["namespaces"]]
        assert len(answers) == 3
        assert {row["present"] for row in rows} == {1201}
        assert [a["address"] for row in rows for a in row["addresses"]][1:] == [f"{text}/128" for text in texts]

    controlled(rules(netns, ", ".join(f'"{text}"' for text in texts)), clients)


def test_the_interface_describes_every_order(netns: NetNs) -> None:
    def clients(it: Controlled) -> str:
        with it.client() as client:
            answer = client.ask("get_interface_description", {"interface": KEEPER}, interface="org.varlink.service")
        return str(answer["description"])

    description = controlled(rules(netns), clients)
    for name in (*ORDERS, "monitor", "wait"):
        assert f"method {name.capitalize()}(" in description


def test_a_model_has_no_such_interface(tmp_path: object) -> None:
    def clients(path: object) -> None:
        with Client(path) as client:  # type: ignore[arg-type]
            client.ask("describe", {}, interface=KEEPER)

    with pytest.raises(NoInterface, match="does not keep namespaces"):
        served(tmp_path, clients)  # type: ignore[arg-type]


def test_a_namespace_is_told_and_asked_for_by_each_of_its_names(netns: NetNs, requests: Requests) -> None:
    first, second = selector(netns), f"/proc/self/fd/{netns.fileno()}"
    config = (
        f'[[rule]]\nname = "one"\nnamespaces = ["{first}"]\naddresses = ["fd00::1"]\n'
        f'[[rule]]\nname = "other"\nnamespaces = ["{second}"]\nloopback = "forbid"\n'
    )

    def clients(it: Controlled) -> None:
        for name in (first, second):
            (answer,) = it.all("list", netns=name, details=True)
            (row,) = answer["namespaces"]
            assert {row["netns"], *row["aliases"]} == {first, second}
            assert row["rules"] == ["one", "other"]
            assert "(rules: one) and forbidden by another (rules: other)" in row["conflict"]
            assert [address["address"] for address in row["addresses"]] == ["fd00::1/128"]
            told = it.ask("events", netns=[name], level="info")["events"]
            assert {"attached", "repaired"} < set(names(told))
            assert it.ask("wait", condition=f"fd00::1 on lo in {name}", seconds=PATIENCE)
        assert it.ask("withdraw", netns=second, addresses=["fd00::1"])["addresses"] == ["fd00::1/128"]
        it.ask("wait", condition=f"fd00::1 not on lo in {second}", seconds=PATIENCE)
        assert ONE not in requests.addresses()
        assert it.ask("resume", netns=second)["addresses"] == ["fd00::1/128"]
        with pytest.raises(ControlError, match="did you mean"):
            it.all("list", netns=f"{second}x")

    controlled(config, clients)


def test_who_follows_a_namespace_follows_it_under_all_of_its_names(netns: NetNs, tmp_path: Path) -> None:
    directory = tmp_path / "names"
    directory.mkdir()
    one, other = directory / "one", directory / "other"

    def give(path: Path) -> None:
        path.touch()
        mount(selector(netns), path, MS_BIND)

    def take(path: Path) -> None:
        with suppress(NotMounted, FileNotFoundError):
            umount(path)
        path.unlink(missing_ok=True)

    def clients(it: Controlled) -> None:
        give(one)
        it.ask("wait", condition=f"{one} attached", seconds=PATIENCE)
        with it.client() as client:
            stream = client.stream("monitor", {"netns": [str(other)], "level": "info"}, interface=KEEPER)
            assert next(stream)["events"] == []
            give(other)
            assert names(_events_until(stream, "named")) == ["named"]
            take(one)
            assert {"renamed", "named"} <= set(names(_events_until(stream, "named")))
            take(other)
            assert names(_events_until(stream, "gone"))[-1:] == ["gone"]

    try:
        controlled(f'[[rule]]\nname = "it"\nnamespaces = ["{directory}/*"]\n', clients)
    finally:
        take(one)
        take(other)


def _events_until(stream: Iterator[dict[str, object]], name: str) -> list[dict[str, object]]:
    """What is told until something of that name is."""
    events: list[dict[str, object]] = []
    while name not in names(events):
        events += next(stream)["events"]  # type: ignore[arg-type]
    return events


# --- ordering ---------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_would_be_asked_and_asks_for_nothing(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        assert [row["steps"] for answer in it.all("plan") for row in answer["plans"]] == [[]]
        it.config.write_text(rules(netns, '"fd00::2"'))
        before = requests.addresses()
        (answer,) = it.all("plan", files=True)
        assert [step["text"] for step in answer["plans"][0]["steps"]] == [
            "ip addr add fd00::2/128 dev lo proto 173 nodad noprefixroute",
            "ip addr del fd00::1/128 dev lo",
        ]
        assert requests.addresses() == before

    controlled(rules(netns), clients)


def test_a_plan_of_the_files_is_about_namespaces_that_are_not_kept_yet_too(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        with create("other") as other:
            both = f'"{selector(netns)}", "{selector(other)}"'
            it.config.write_text(rules(netns).replace(f'"{selector(netns)}"', both))
            (answer,) = it.all("plan", files=True)
            assert {row["netns"]: [step["text"] for step in row["steps"]] for row in answer["plans"]} == {
                selector(netns): [],
                selector(other): [
                    "ip link set dev lo up",
                    "ip addr add fd00::1/128 dev lo proto 173 nodad noprefixroute",
                ],
            }
            (answer,) = it.all("plan", files=True, netns=selector(netns))
            assert [row["netns"] for row in answer["plans"]] == [selector(netns)]
            with Requests.to(other.fileno()) as asking:
                assert not asking.lo().flags & IFF_UP

    controlled(rules(netns), clients)


def test_apply_takes_away_what_is_ours_and_not_wanted(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        stale = bytes.fromhex("fd00") + bytes(13) + b"\x63"
        requests.ask([newaddr(stale)])
        (answer,) = it.all("apply", netns=selector(netns))
        assert [step["recipe"] for step in answer["plans"][0]["steps"]] == ["delete"]
        it.until(lambda: (stale, 128) not in requests.addresses())
        assert ONE in requests.addresses()
        told = it.ask("events")["events"]
        (command,) = [event for event in told if event["event"] == "command"]
        (withdrawn,) = [event for event in told if event["event"] == "withdrawn"]
        assert withdrawn["cause"] == command["seq"]

    controlled(rules(netns), clients)


def test_a_withdrawn_address_stays_away_over_reloads_until_it_is_resumed(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        where = selector(netns)
        assert it.ask("withdraw", netns=where, addresses=["fd00::1"])["addresses"] == ["fd00::1/128"]
        it.ask("wait", condition=f"fd00::1 not on lo in {where}", seconds=20)
        assert ONE not in requests.addresses()
        it.config.write_text(rules(netns, '"fd00::1", "fd00::2"'))
        it.ask("reload")
        it.ask("wait", condition=f"fd00::2 on lo in {where}", seconds=20)
        assert ONE not in requests.addresses()
        (row,) = it.all("list", netns=where)[0]["namespaces"]
        assert (row["withdrawn"], row["state"], row["wanted"]) == (["fd00::1/128"], "kept", 2)
        assert it.ask("resume", netns=where)["addresses"] == ["fd00::1/128"]
        assert ONE in requests.addresses()

    controlled(rules(netns), clients)


def test_a_withdrawn_address_is_deprecated_while_somebody_uses_it(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        def connected() -> tuple[socket.socket, socket.socket]:
            with socket.create_server(("fd00::1", 0), family=socket.AF_INET6) as listener:
                conn = socket.create_connection(listener.getsockname()[:2])
                return conn, listener.accept()[0]

        wait_for_routes(netns, ONE[0])
        one, other = run_in(netns, connected)
        with one, other:
            it.ask("withdraw", netns=selector(netns), drain=60.0)
            it.until(lambda: requests.addresses()[ONE].preferred_lft == 0)
        it.until(lambda: ONE not in requests.addresses())

    controlled(rules(netns), clients)


@pytest.mark.parametrize(
    ("command", "parameters", "text"),
    [
        ("withdraw", {"addresses": ["::1"]}, "no rule wants ::1/128"),
        ("withdraw", {"addresses": ["fd00::zz"]}, "is not an address"),
        ("withdraw", {"drain": -1.0}, "drain"),
        ("inject", {"event": "UPP"}, "did you mean UP"),
    ],
)
def test_an_order_that_is_none_is_refused(netns: NetNs, command: str, parameters: dict[str, object], text: str) -> None:
    def clients(it: Controlled) -> None:
        it.ask(command, netns=selector(netns), **parameters)

    with pytest.raises(ControlError, match=text):
        controlled(rules(netns, more="[control]\nallow_real_injection = true"), clients)


def test_a_reload_tells_what_has_changed(netns: NetNs) -> None:
    def clients(it: Controlled) -> None:
        more = '[daemon]\nlog_level = "error"\nrealtime = 3\n[[rule]]\nname = "new"\nnamespaces = ["elsewhere"]'
        it.config.write_text(rules(netns, '"fd00::2"', more))
        told = it.ask("reload")
        assert (told["added"], told["removed"], told["changed"]) == (["new"], [], ["it"])
        assert (told["settings"], told["later"]) == (["daemon.realtime", "daemon.log_level"], ["daemon.realtime"])
        assert names(told["events"])[:3] == ["reload", "repair", "repaired"]

    controlled(rules(netns), clients)


def test_a_bad_reload_tells_every_error_and_changes_nothing(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        it.config.write_text('[daemon]\nlog_level = "warn"\n[wach]\n')
        with pytest.raises(ConfigError) as caught:
            it.ask("reload")
        assert [(problem.line, problem.key) for problem in caught.value.problems] == [
            (2, "daemon.log_level"), (3, "wach"),
        ]  # fmt: skip
        assert ONE in requests.addresses()
        assert "reload failed" in names(it.ask("events")["events"])

    controlled(rules(netns), clients)


def test_an_injected_event_goes_to_the_model_and_is_audited(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        with it.client() as client:
            client.ask("inject", {"event": "NETDEV_DOWN", "dev": "lo"})
            said = client.ask("history", {})["news"]
        assert "NETDEV_DOWN  lo" in str(said)
        it.until(lambda: "inject" in names(it.ask("events")["events"]))
        (event,) = [event for event in it.ask("events")["events"] if event["event"] == "inject"]
        fields = event["fields"]
        assert (fields["val"], fields["real"], fields["uid"]) == ("NETDEV_DOWN", False, os.geteuid())
        assert (fields["pid"], fields["program"]) == (os.getpid(), os.readlink("/proc/self/exe"))
        with pytest.raises(ServiceError, match="allow_real_injection"):
            it.ask("inject", event="DOWN", netns=selector(netns))
        it.until(lambda: "denied" in names(it.ask("events")["events"]))

    controlled(rules(netns), clients)


def test_the_model_beside_reacts_as_a_kernel_whose_lo_is_up(netns: NetNs) -> None:
    """::1 that was deleted by hand is made again when the chain hears that lo has come up."""

    def clients(it: Controlled) -> None:
        with it.client() as client:
            before = _repairs(it)
            client.ask("addr_del", {"address": "::1/128", "dev": "lo"})
            assert _loopbacks(client) == []
            client.ask("inject", {"event": "NETDEV_UP", "dev": "lo"})
            assert _loopbacks(client) == ["::1"]
            assert _repairs(it) == before

    controlled(rules(netns), clients)


def _loopbacks(client: Client) -> list[object]:
    """Of the model."""
    links: Any = client.ask("addresses", {"dev": "lo"})["links"]
    return [info["local"] for link in links for info in link["addr_info"] if info["family"] == "inet6"]


def test_a_really_injected_event_makes_the_keeper_look(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        told = it.ask("inject", event="DOWN", netns=selector(netns), address="::1")
        (event,) = told["events"]
        assert (event["event"], event["fields"]["real"], event["fields"]["what"]) == ("inject", True, "::1/128")
        assert LOOPBACK in requests.addresses()

    controlled(rules(netns, more="[control]\nallow_real_injection = true"), clients)


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["all wanted", "all wanted in {}", "::1 on lo in {}", "lo up in {}", "{} attached"])
def test_what_holds_already_is_answered_at_once(netns: NetNs, form: str) -> None:
    def clients(it: Controlled) -> None:
        cursor = it.ask("wait", condition=form.format(selector(netns)))["cursor"]
        assert cursor.startswith(it.thread.ring.boot)

    controlled(rules(netns), clients)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("lo down in {}", "lo is up in"),
        ("fd00::9 on lo in {}", "no rule wants it there"),
        ("192.0.2.9 on lo in {}", "no rule wants it there"),
        ("::1 not on lo in {}", "::1/128 is on lo in"),
        ("{} gone", "is there"),
        ("nowhere attached", "there is no such namespace"),
        ("::1 on lo in elsewhere", "no rule is about it"),
    ],
)
def test_what_does_not_hold_in_time_is_told_with_what_is_in_its_way(netns: NetNs, form: str, why: str) -> None:
    def clients(it: Controlled) -> None:
        it.ask("wait", condition=form.format(selector(netns)), seconds=0.05)

    with pytest.raises(TimedOut, match=why):
        controlled(rules(netns), clients)


def test_a_wait_ends_when_it_comes_true(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        where = selector(netns)
        with it.client() as client:
            client._send("wait", {"condition": f"lo down in {where}"}, KEEPER, more=False)
            it.until(lambda: it.thread.ring._wakers)
            requests.ask([LO_DOWN])
            assert "cursor" in str(client._receive())

    controlled(rules(netns, more="").replace("namespaces", 'lo = "leave"\nnamespaces'), clients)


def test_a_wait_sees_what_no_rule_is_about(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        foreign = bytes.fromhex("fd00") + bytes(13) + b"\x09"
        with it.client() as client:
            client._send("wait", {"condition": f"fd00::9 on lo in {selector(netns)}"}, KEEPER, more=False)
            requests.ask([newaddr(foreign, proto=7)])
            assert "cursor" in str(client._receive())

    controlled(rules(netns), clients)


@pytest.mark.parametrize(
    ("text", "meant"), [("::1 onn lo", "did you mean on"), ("all wnted", "did you mean wanted"), ("", "there are"),
                        ("::1 on lo in web-*", "may mean several"), ("x::y on lo", "is not an address")],
)  # fmt: skip
def test_a_condition_that_is_none_is_told_with_what_may_be_meant(netns: NetNs, text: str, meant: str) -> None:
    with pytest.raises(ControlError, match=meant):
        controlled(rules(netns), lambda it: it.ask("wait", condition=text))


def test_who_hangs_up_is_waited_for_no_more(netns: NetNs) -> None:
    def clients(it: Controlled) -> None:
        with it.client() as client:
            client._send("wait", {"condition": f"{selector(netns)} gone"}, KEEPER, more=False)
            it.until(lambda: len(it.thread.ring._wakers) == 3)
        it.until(lambda: len(it.thread.ring._wakers) == 2)

    controlled(rules(netns), clients)


# --- what happens -----------------------------------------------------------------------------------------------------


def test_a_reader_goes_on_where_it_was(netns: NetNs, requests: Requests) -> None:
    def clients(it: Controlled) -> None:
        first = it.ask("events", most=2)
        assert len(first["events"]) == 2
        with it.client() as client:
            stream = client.stream("monitor", {"cursor": first["cursor"], "level": "info"}, interface=KEEPER)
            told = next(stream)
            requests.ask([DELETE_LOOPBACK])
            events: list[Any] = told["events"]  # type: ignore[assignment]
            while "repaired" not in names(events[-1:]) or events[-1]["fields"]["address"] != "::1/128":
                events += next(stream)["events"]  # type: ignore[arg-type]
        assert events[0]["seq"] == first["events"][-1]["seq"] + 1
        repair, repaired = events[-2:]
        assert (repair["fields"]["why"], repair["cause"]) == ("deleted", repaired["cause"])

    controlled(rules(netns), clients)


def test_a_cursor_of_an_earlier_process_is_told(netns: NetNs) -> None:
    before = controlled(rules(netns), lambda it: it.ask("events")["cursor"])

    def clients(it: Controlled) -> None:
        it.until(lambda: "ready" in names(it.ask("events")["events"]))  # then nothing more is told by itself
        told = it.ask("events", cursor=before)
        assert told["restarted"]
        assert told["events"][0]["seq"] == 1
        again = it.ask("events", cursor=told["cursor"])
        assert (again["restarted"], again["events"], again["lost"]) == (False, [], 0)

    controlled(rules(netns), clients)


@pytest.mark.parametrize("cursor", ["", "7", "x:y", "{}:-1", "{}:9999", "{}:" + "9" * 5000])
def test_a_cursor_that_is_none_is_refused(netns: NetNs, cursor: str) -> None:
    with pytest.raises(ControlError, match="cursor"):
        controlled(rules(netns), lambda it: it.ask("events", cursor=cursor.format(it.thread.ring.boot)))


def test_only_what_is_wanted_is_told(netns: NetNs) -> None:
    def clients(it: Controlled) -> None:
        assert set(names(it.ask("events", netns=["nowhere"])["events"])) == {"waiting"}
        assert it.ask("events", level="error")["events"] == []

    controlled(rules(netns), clients)


def _mtu(mtu: int) -> bytes:
    return encode(LinkMsg(RTM_NEWLINK, NLM_F_REQUEST, ifi_index=1, mtu=mtu))


def _repairs(it: Controlled) -> int:
    return it.thread.ask(lambda keeper: sum(kept.repairs for kept in keeper))


def _has_repaired(it: Controlled, before: int) -> bool:
    return _repairs(it) > before


def _checked(told: dict[str, Any], seq: int) -> int:
    """How many were lost, which is what the numbers of the events say, too."""
    assert [event["seq"] for event in told["events"]] == list(
        range(seq + told["lost"], seq + told["lost"] + len(told["events"]))
    )
    return int(told["lost"])


def test_a_slow_reader_delays_no_repair_and_is_told_what_it_has_lost(netns: NetNs, requests: Requests) -> None:
    """20,000 events pass while it does not read, and ::1 is deleted and put back among them."""
    burst = list(islice(cycle([_mtu(65535), _mtu(65536)]), 1000))

    def clients(it: Controlled) -> None:
        with it.client() as deaf:
            stream = deaf.stream("monitor", {"replay": True}, interface=KEEPER)
            first = next(stream)
            start = it.thread.ring.next
            while it.thread.ring.next < start + 20_000:
                assert requests.ask(burst) == []
                before = _repairs(it)
                requests.ask([DELETE_LOOPBACK])
                it.until(partial(_has_repaired, it, before))
            assert requests.has(LOOPBACK[0])
            seq = int(str(first["cursor"]).partition(":")[2])
            while not (lost := _checked(told := next(stream), seq)):
                seq = int(str(told["cursor"]).partition(":")[2])
            assert lost > 1000

    controlled(rules(netns).replace("namespaces", "fights = { reversals = 1000000 }\nnamespaces"), clients)


# --- who may ----------------------------------------------------------------------------------------------------------

WHO = f"[control]\ngroup = {GROUP}\nusers = [{OPERATOR}]"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs to be root")


@needs_root
@pytest.mark.parametrize(
    ("uid", "groups", "command", "refused"),
    [
        (READER, [GROUP], "describe", None),
        (READER, [GROUP], "reload", "changes are for root"),
        (READER, [*range(70000, 70300), GROUP], "describe", None),
        (OPERATOR, [], "describe", None),
        (OPERATOR, [], "reload", None),
        (STRANGER, [], "describe", f'sudo usermod -aG {GROUP} "\\$USER"'),
        (STRANGER, [], "reload", "changes are for root"),
        (0, [], "reload", None),
    ],
)
def test_who_may_do_what(netns: NetNs, uid: int, groups: list[int], command: str, refused: str | None) -> None:
    def clients(it: Controlled) -> None:
        if refused is None:
            it.ask_as(uid, groups, command)
        else:
            with pytest.raises(ServiceError, match=f"not permitted: .*{refused}"):
                it.ask_as(uid, groups, command)
            it.until(lambda: "denied" in names(it.ask("events")["events"]))

    controlled(rules(netns, more=WHO), clients)


@needs_root
@pytest.mark.parametrize(
    "method",
    [f"Control.{name}" for name in ("Status", "Inject", "Monitor")]
    + [f"Keeper.{name}" for name in ("Monitor", "Wait", "List", "Plan")],
)
def test_a_stranger_is_told_nothing(netns: NetNs, method: str) -> None:
    parameters = {"Control.Inject": {"event": "UP", "dev": "lo"}, "Keeper.Wait": {"condition": "all wanted"}}

    def clients(it: Controlled) -> None:
        def asked() -> bytes:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            call = {"method": f"org.addrsvc.{method}", "parameters": parameters.get(method, {}), "more": True}
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.connect(str(it.path))
                sock.sendall(json.dumps(call).encode() + b"\0")
                return sock.recv(1 << 16)

        answer = json.loads(in_a_child(asked).rstrip(b"\0"))
        assert answer["error"].endswith(".PermissionDenied")
        assert "parameters" in answer
        it.until(lambda: "denied" in names(it.ask("events")["events"]))
        (fields,) = [event["fields"] for event in it.ask("events")["events"] if event["event"] == "denied"]
        assert (fields["method"], fields["uid"], fields["gid"]) == (f"org.addrsvc.{method}", STRANGER, NOBODY)
        assert fields["pid"] > 1

    controlled(rules(netns, more=WHO), clients)


@needs_root
def test_the_group_is_that_of_the_socket_where_the_configuration_names_none(netns: NetNs) -> None:
    def clients(it: Controlled) -> None:
        os.chown(it.path, -1, GROUP)
        it.ask_as(READER, [GROUP], "describe")
        with pytest.raises(ServiceError, match="not permitted"):
            it.ask_as(READER, [GROUP + 1], "describe")
        assert stat.S_ISSOCK(it.path.stat().st_mode)

    controlled(rules(netns), clients)


@needs_root
@pytest.mark.parametrize(("mode", "why"), [(0o660, f'sudo usermod -aG {GROUP} "$USER"'), (0o600, "another user")])
def test_who_does_not_get_to_the_socket_is_told_why(netns: NetNs, mode: int, why: str) -> None:
    def clients(it: Controlled) -> None:
        os.chown(it.path, -1, GROUP)
        it.path.chmod(mode)
        with pytest.raises(ServiceError) as refused:
            it.ask_as(STRANGER, [], "describe")
        assert str(refused.value).startswith(f"{it.path}: Permission denied: ")
        assert why in str(refused.value)

    controlled(rules(netns), clients)


@needs_root
def test_who_may_changes_with_a_reload(netns: NetNs) -> None:
    def clients(it: Controlled) -> None:
        with pytest.raises(ServiceError, match="not permitted"):
            it.ask_as(OPERATOR, [], "resume", netns=selector(netns))
        it.config.write_text(rules(netns, more=WHO))
        it.ask("reload")
        it.ask_as(OPERATOR, [], "resume", netns=selector(netns))

    controlled(rules(netns), clients)


def test_of_a_program_that_is_hidden_nothing_is_told() -> None:
    assert Peer(os.getpid(), 1).told() == {"uid": 1, "pid": os.getpid(), "program": os.readlink("/proc/self/exe")}
    assert Peer(0, 1).told() == {"uid": 1, "pid": 0}


def test_what_is_ordered_is_told_with_who_ordered_it(netns: NetNs) -> None:
    def clients(it: Controlled) -> None:
        it.ask("resume", netns=selector(netns))
        (event,) = [event for event in it.ask("events")["events"] if event["event"] == "command"]
        assert (event["fields"]["command"], event["fields"]["uid"]) == ("resume", os.geteuid())

    controlled(rules(netns), clients)
