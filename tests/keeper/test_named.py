"""The keeper with its own eyes: namespaces below /run/netns that come, go, and are named by rules or no more."""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import Wanted
from addrsvc.mirror.netns import NoNetns, create_named, open_netns, remove_named
from tests.keeper.keeping import Keeping, keeping
from tests.keeper.test_keep import ONE, WANTED


@dataclass
class Named:
    """One wish for what bears these names."""

    names: tuple[str, ...]
    wish: Wanted = WANTED

    def selectors(self) -> tuple[str, ...]:
        return self.names

    def wanted(self, *names: str) -> Wanted | None:
        return self.wish if set(names) & set(self.names) else None


@pytest.fixture
def name(cap_sys_admin: None) -> Iterator[str]:
    """A name below /run/netns that nobody else has, free again afterwards."""
    name = f"keep-{secrets.token_hex(6)}"
    yield name
    with suppress(NoNetns):
        remove_named(name)


@pytest.fixture
def kept() -> Iterator[Keeping]:
    with keeping(None, None) as kept:
        yield kept


def addresses(name: str) -> set[tuple[bytes, int]]:
    with open_netns(name) as netns, Requests.to(netns.fileno()) as requests:
        return set(requests.addresses())


def test_a_namespace_is_waited_for_kept_and_forgotten(name: str, kept: Keeping) -> None:
    kept.keeper.reconfigure(Named((name,)))
    assert [status.state for status in kept.statuses()] == ["waiting"]
    for _ in range(2):
        create_named(name).close()
        kept.until_told("attached")
        kept.until(lambda: addresses(name) >= {LOOPBACK, ONE})
        kept.quiet()
        assert [status.state for status in kept.statuses()] == ["kept"]
        remove_named(name)
        kept.until_told("gone")
        assert len(kept.keeper) == 0


def test_what_no_rule_names_any_more_is_let_go(name: str, kept: Keeping) -> None:
    create_named(name).close()
    kept.keeper.reconfigure(Named((name,)))
    kept.quiet()
    assert addresses(name) >= {LOOPBACK, ONE}

    kept.keeper.reconfigure(Named(()))
    kept.until_told("gone")
    assert addresses(name) & {LOOPBACK, ONE} == {LOOPBACK}
    assert kept.statuses() == []
    assert list(kept.keeper.discovery.aliases()) == []


def test_what_a_rule_names_again_before_it_was_let_go_stays(name: str, kept: Keeping) -> None:
    create_named(name).close()
    kept.keeper.reconfigure(Named((name,)))
    kept.keeper.reconfigure(Named(()))
    kept.keeper.reconfigure(Named((name,)))
    kept.quiet()
    assert addresses(name) >= {LOOPBACK, ONE}
    assert [status.state for status in kept.statuses()] == ["kept"]
