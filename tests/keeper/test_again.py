"""What fails is tried again, and owes nothing afterwards, though nobody sweeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EMFILE, ENOBUFS

import pytest

from addrsvc.errors import KernelError
from addrsvc.keeper import mend, unheard
from addrsvc.keeper.dump import Addresses
from addrsvc.keeper.kept import LOOPBACK, Kept
from addrsvc.keeper.messages import DELETE_LOOPBACK, newaddr, newroute
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import Reaction, Wanted
from addrsvc.keeper.watch import SocketWatch
from addrsvc.mirror.netns import NetNs
from tests.keeper.keeping import LABEL, keeping, service
from tests.keeper.used import wait_for_routes

ONE, ONE_SERVICE = service("fd00::1")
TWO, TWO_SERVICE = service("fd00::2", reaction=Reaction.REPORT)
OLD, NEW = Wanted(addresses={ONE: ONE_SERVICE}), Wanted(addresses={TWO: TWO_SERVICE})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried in a moment."""
    monkeypatch.setattr(mend, "_RETRY", 0.01)
    monkeypatch.setattr(unheard, "_FIRST", 0.01)


@contextmanager
def not_seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A block in which no kernel tells which addresses there are."""

    def refused(self: Requests) -> Addresses:
        raise KernelError(ENOBUFS)

    with monkeypatch.context() as patch:
        patch.setattr(Requests, "addresses", refused)
        yield


class Seldom(SocketWatch[Kept]):
    """Hears a namespace when asked for the fourth time."""

    tries = 0

    def attach(self, kept: Kept, netns_fd: int) -> None:
        self.tries += 1
        if self.tries < 4:
            raise KernelError(EMFILE)
        super().attach(kept, netns_fd)


def test_a_namespace_that_cannot_be_heard_is_tried_again_without_a_sweep(netns: NetNs) -> None:
    with keeping(netns, OLD, make_watch=Seldom) as kept:
        kept.until(lambda: kept.keeper.get(LABEL) is not None)
        assert len(kept.told("waiting")) == 1
        assert kept.is_as_wanted


def test_one_that_has_gone_meanwhile_is_not_tried_again(netns: NetNs) -> None:
    with keeping(netns, OLD, make_watch=Seldom) as kept:
        kept.keeper.gone(LABEL)
        for _ in range(10):
            kept.loop.turn(0.01)
        assert kept.keeper.get(LABEL) is None


def test_a_reload_that_did_not_see_the_addresses_is_made_up_for(
    netns: NetNs, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wanted no more goes, and what is wanted now comes, even where its removal would only be reported."""
    with keeping(netns, OLD) as kept:
        with not_seen(monkeypatch):
            kept.want(NEW)
            kept.want(NEW)
            for _ in range(3):
                kept.loop.turn(0.02)
        assert requests.addresses().keys() >= {ONE}
        kept.until(lambda: ONE not in requests.addresses())
        assert {key for key in requests.addresses() if len(key[0]) == 16} == {LOOPBACK, TWO}
        assert kept.is_as_wanted
        assert len(kept.told("refused")) == 1


def test_a_look_for_another_reason_makes_up_for_it_too(
    netns: NetNs, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keeping(netns, OLD) as kept:
        monkeypatch.setattr(mend, "_RETRY", 3600.0)
        with not_seen(monkeypatch):
            kept.want(NEW)
        there = kept.keeper.get(LABEL)
        assert there is not None
        kept.keeper.lost(there, 0.0)
        kept.until(lambda: ONE not in requests.addresses())
        assert {key for key in requests.addresses() if len(key[0]) == 16} == {LOOPBACK, TWO}
        assert there.owed is None


def test_a_namespace_that_no_rule_names_any_more_is_let_go_of_when_its_addresses_are(
    netns: NetNs, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keeping(netns, OLD) as kept:
        kept.keeper.discovery.select = lambda selectors: [LABEL]  # type: ignore[method-assign]
        with not_seen(monkeypatch):
            kept.want(None)
        kept.until_told("gone")
        assert ONE not in requests.addresses()


def test_what_was_withdrawn_by_command_and_not_seen_goes_and_nothing_else_is_put_back(
    netns: NetNs, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Wanted(loopback_reaction=Reaction.REPORT, addresses={ONE: ONE_SERVICE, TWO: TWO_SERVICE})
    with keeping(netns, both) as kept:
        requests.ask([DELETE_LOOPBACK])
        kept.until_told("reported")
        with not_seen(monkeypatch):
            kept.keeper.withdraw(LABEL, [ONE], 0)
        kept.until_told("withdrawn")
        assert {key for key in requests.addresses() if len(key[0]) == 16} == {TWO}


def test_without_a_sweep_routes_of_an_older_configuration_go_at_the_start(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, OLD):
        wait_for_routes(netns, LOOPBACK[0], ONE[0])
    requests.ask([newroute(bytes.fromhex("fd000001") + bytes(12), 64), newaddr(TWO[0])])
    with keeping(netns, OLD):
        assert requests.routes() == []
        assert TWO not in requests.addresses()
