"""Namespaces with several names: what is wanted by any of them is wanted, and no glob is about the host."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from addrsvc.keeper.conditions import condition_of
from addrsvc.keeper.config import Config, parse
from addrsvc.keeper.kept import LOOPBACK, Key
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import Lo, Loopback
from addrsvc.mirror.libc import MS_BIND, NotMounted, mount, umount
from addrsvc.mirror.netns import NetNs, run_in
from tests.keeper.keeping import Keeping, keeping, service
from tests.keeper.test_drain import Connection
from tests.keeper.used import wait_for_routes

ONE, TWO, BOTH = (service(f"fd00::{number}")[0] for number in (1, 2, 3))


class Names:
    """A directory of names for namespaces."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> str:
        return str(self.path / name)

    def give(self, name: str, netns: NetNs) -> None:
        (self.path / name).touch()
        mount(f"/proc/{os.getpid()}/fd/{netns.fileno()}", self.path / name, MS_BIND)

    def take(self, name: str) -> None:
        with suppress(NotMounted):
            umount(self.path / name)
        (self.path / name).unlink()


@pytest.fixture
def names(tmp_path: Path, cap_sys_admin: None) -> Iterator[Names]:
    names = Names(tmp_path / "names")
    names.path.mkdir()
    yield names
    for path in names.path.iterdir():
        names.take(path.name)


@pytest.fixture
def kept() -> Iterator[Keeping]:
    with keeping(None, None) as kept:
        yield kept


def rules(*texts: str) -> Config:
    """A configuration of rules, each with a number for a name."""
    return parse("\n".join(f"[[rule]]\nname = 'rule-{number}'\n{text}" for number, text in enumerate(texts))).config


def about(selector: str, *lines: str) -> str:
    return "\n".join((f"namespaces = ['{selector}']", *lines))


def a_and_b(names: Names) -> Config:
    """Two rules for a name each, that want an address each and another one both."""
    return rules(
        about(names["a"], "addresses = ['fd00::1', 'fd00::3']"), about(names["b"], "addresses = ['fd00::2', 'fd00::3']")
    )


def service_addresses(netns: NetNs) -> set[Key]:
    with Requests.to(netns.fileno()) as requests:
        return {key for key in requests.addresses() if key[0][:1] == b"\xfd"}


def test_what_is_wanted_by_any_of_its_names_is_wanted(kept: Keeping, names: Names, netns: NetNs) -> None:
    names.give("a", netns)
    names.give("b", netns)
    kept.keeper.reconfigure(a_and_b(names))
    kept.until(lambda: service_addresses(netns) == {ONE, TWO, BOTH})

    (status,) = kept.statuses()
    assert (status.label, status.aliases, status.rules) == (names["a"], (names["b"],), ("rule-0", "rule-1"))
    (attached,) = kept.told("attached")
    assert attached.fields["names"] == [names["a"], names["b"]]


def test_a_start_touches_nothing_where_all_names_have_what_they_want(names: Names, netns: NetNs) -> None:
    names.give("a", netns)
    names.give("b", netns)
    with keeping(None, None) as kept:
        kept.keeper.reconfigure(a_and_b(names))
        kept.until(lambda: service_addresses(netns) == {ONE, TWO, BOTH})
    with keeping(None, None) as other:
        other.keeper.reconfigure(a_and_b(names))
        other.quiet()
        assert [status.state for status in other.statuses()] == ["kept"]
        assert other.told("drift", "repair", "withdraw", "withdrawn", "RTM_NEWADDR", "RTM_DELADDR") == []


def test_names_that_come_and_go_bring_and_take_only_what_they_alone_want(
    kept: Keeping, names: Names, netns: NetNs
) -> None:
    names.give("a", netns)
    kept.keeper.reconfigure(a_and_b(names))
    kept.until(lambda: service_addresses(netns) == {ONE, BOTH})

    names.give("b", netns)
    kept.until_told("named", names=[names["a"], names["b"]])
    kept.until_told("repair", why="named")
    kept.until(lambda: service_addresses(netns) == {ONE, TWO, BOTH})

    names.take("a")
    kept.until_told("renamed", instead=names["b"])
    kept.until_told("named", names=[names["b"]])
    kept.until(lambda: service_addresses(netns) == {TWO, BOTH})
    kept.quiet()
    assert [event.fields["address"] for event in kept.told("withdrawn")] == ["fd00::1/128"]
    assert kept.keeper.status(names["b"]).rules == ("rule-1",)


def test_a_process_is_another_name(kept: Keeping, names: Names, netns: NetNs) -> None:
    names.give("a", netns)
    process = run_in(netns, lambda: subprocess.Popen(["cat"], stdin=subprocess.PIPE))
    try:
        wanted = rules(
            about(names["a"], "addresses = ['fd00::1']"), about(f"pid:{process.pid}", "addresses = ['fd00::2']")
        )
        kept.keeper.reconfigure(wanted)
        kept.until(lambda: service_addresses(netns) == {ONE, TWO})
        assert kept.keeper.status(names["a"]) == kept.keeper.status(f"pid:{process.pid}")
    finally:
        process.communicate()
    kept.until(lambda: service_addresses(netns) == {ONE})


def test_a_reload_may_bring_a_name(kept: Keeping, names: Names, netns: NetNs) -> None:
    names.give("a", netns)
    names.give("b", netns)
    kept.keeper.reconfigure(rules(about(names["b"], "addresses = ['fd00::2', 'fd00::3']")))
    kept.until(lambda: service_addresses(netns) == {TWO, BOTH})

    kept.keeper.reconfigure(a_and_b(names))
    kept.until(lambda: service_addresses(netns) == {ONE, TWO, BOTH})
    kept.keeper.reconfigure(rules(about(names["a"], "addresses = ['fd00::1', 'fd00::3']")))
    kept.until(lambda: service_addresses(netns) == {ONE, BOTH})
    assert [event.fields["address"] for event in kept.told("withdrawn")] == ["fd00::2/128"]


def test_what_no_rule_names_any_more_is_let_go_under_another_name_too(
    kept: Keeping, names: Names, netns: NetNs
) -> None:
    names.give("a", netns)
    names.give("b", netns)
    lasting = "addresses = [{ address = 'fd00::1', drain = 60 }]"
    kept.keeper.reconfigure(rules(about(names["*"], lasting)))
    kept.until(lambda: service_addresses(netns) == {ONE})
    wait_for_routes(netns, ONE[0])
    with closing(Connection(netns, "fd00::1")):
        kept.keeper.reconfigure(rules(about("host", "loopback = 'leave'", "lo = 'leave'", "enabled = false")))
        kept.until_told("withdraw")
        names.take("a")
        kept.until_told("renamed", instead=names["b"])
    kept.until_told("gone")
    assert service_addresses(netns) == set()


# --- names whose rules do not agree -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_to_leave_something_alone_is_no_wish(order: tuple[int, int]) -> None:
    texts = about("a", "loopback = 'ensure'", "lo = 'up'"), about("b", "loopback = 'leave'", "lo = 'leave'")
    config = rules(*(texts[number] for number in order))
    for given in (("a", "b"), ("b", "a")):
        wanted = config.wanted(*given)
        assert wanted is not None
        assert (wanted.lo, wanted.loopback, wanted.conflict) == (Lo.UP, Loopback.ENSURE, "")
    alone = config.wanted("b")
    assert alone is not None
    assert (alone.lo, alone.loopback) == (Lo.LEAVE, Loopback.LEAVE)


def test_where_one_name_is_to_have_loopback_and_another_one_not_the_last_rule_counts(
    kept: Keeping, names: Names, netns: NetNs
) -> None:
    names.give("a", netns)
    names.give("b", netns)
    ensure, forbid = about(names["a"], "loopback = 'ensure'"), about(names["b"], "loopback = 'forbid'")
    for texts, counts in (((ensure, forbid), "forbid"), ((forbid, ensure), "ensure")):
        kept.keeper.reconfigure(rules(*texts))
        told = kept.until_told("conflict")
        assert f'loopback = "{counts}" counts' in str(told.fields["why"])
        assert "rule-0" in str(told.fields["why"])
        assert "rule-1" in str(told.fields["why"])
        kept.quiet()
        with Requests.to(netns.fileno()) as requests:
            assert (LOOPBACK in requests.addresses()) == (counts == "ensure")
        (status,) = kept.statuses()
        assert status.wants.conflict == told.fields["why"]

    names.take("b")
    kept.until_told("named")
    kept.quiet()
    assert kept.keeper.status(names["a"]).wants.conflict == ""


def test_rules_for_one_name_are_no_conflict() -> None:
    wanted = rules(about("*", "loopback = 'ensure'"), about("a", "loopback = 'forbid'")).wanted("a")
    assert wanted is not None
    assert (wanted.loopback, wanted.conflict) == (Loopback.FORBID, "")


# --- the host ---------------------------------------------------------------------------------------------------------


def test_no_glob_is_about_the_host_by_another_name_of_it() -> None:
    config = rules(about("docker:*", "addresses = ['fd00::1']"), about("host"), about("docker:default", "lo = 'leave'"))
    assert config.wanted("host", "docker:default", "hosts-other-name") == rules(
        about("x", "enabled = false"), about("host"), about("docker:default", "lo = 'leave'")
    ).wanted("host", "docker:default")
    assert rules(about("docker:*")).wanted("host", "docker:default") is None
    container = config.wanted("docker:1234")
    assert container is not None
    assert ONE in container.addresses


@pytest.mark.parametrize("about_host", [True, False])
def test_the_host_gets_nothing_by_a_glob(names: Names, netns: NetNs, *, about_host: bool) -> None:
    def keep() -> tuple[set[Key], list[str]]:
        with keeping(None, None) as kept:
            kept.keeper.reconfigure(rules(about(names["*"], "addresses = ['fd00::1']"), *others))
            kept.quiet()
            return service_addresses(netns), [status.label for status in kept.statuses()]

    names.give("default", netns)
    others = [about("host", "addresses = ['fd00::2']")] if about_host else []
    assert run_in(netns, keep) == (({TWO}, ["host"]) if about_host else (set(), []))

    others.append(about(names["default"], "addresses = ['fd00::3']"))
    assert run_in(netns, keep) == (({TWO, BOTH} if about_host else {BOTH}), ["host"])


# --- asked for by any name --------------------------------------------------------------------------------------------


def test_whoever_asks_may_use_any_name(kept: Keeping, names: Names, netns: NetNs) -> None:
    names.give("a", netns)
    names.give("b", netns)
    kept.keeper.reconfigure(a_and_b(names))
    kept.until(lambda: service_addresses(netns) == {ONE, TWO, BOTH})
    for text in ("fd00::2 on lo in {}", "lo up in {}", "all wanted in {}", "{} attached"):
        for name in ("a", "b"):
            assert condition_of(text.format(names[name])).why_not(kept.keeper) == ""
    assert condition_of(f"{names['b']} gone").why_not(kept.keeper) == f"{names['b']} is there"
    assert "is not kept" in condition_of(f"lo up in {names['c']}").why_not(kept.keeper)

    cause = kept.ring.tell("command")
    kept.keeper.withdraw(names["b"], [BOTH], cause)
    kept.until(lambda: service_addresses(netns) == {ONE, TWO})
    assert kept.keeper.status(names["a"]).withheld == {BOTH}
    assert kept.keeper.resume(names["b"]) == ["fd00::3/128"]
    kept.until(lambda: service_addresses(netns) == {ONE, TWO, BOTH})
