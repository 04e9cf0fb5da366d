"""addrsvc.mirror.door on namespaces of the running kernel: one at a time, gone and back again."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from addrsvc.errors import ControlError
from addrsvc.mirror.door import NetnsDoor
from addrsvc.mirror.netns import NETNS_RUN_DIR, NoNetns, create_named, remove_named


@pytest.fixture
def name(cap_sys_admin: None) -> Iterator[str]:
    """A namespace below /run/netns that nobody else uses."""
    name = f"addrsvc-door-{os.getpid()}"
    create_named(name).close()
    yield name
    if (NETNS_RUN_DIR / name).exists():
        remove_named(name)


def test_a_door_leads_to_the_namespace_of_its_name(name: str) -> None:
    with closing(NetnsDoor(name)) as door:
        kernel = door.open()

        assert door.is_current()
        assert kernel.netns.inode == (NETNS_RUN_DIR / name).stat().st_ino


def test_through_a_second_door_nobody_passes_while_the_first_is_open(name: str) -> None:
    second = NetnsDoor(str(NETNS_RUN_DIR / name))
    with closing(NetnsDoor(name)) as first:
        first.open()
        with pytest.raises(ControlError, match="is mirrored onto already"):
            second.open()

    second.open()
    second.close()


def test_who_sends_nothing_may_look_in_at_any_time(name: str) -> None:
    with closing(NetnsDoor(name)) as door, closing(NetnsDoor(name, is_dry=True)) as window:
        door.open()

        assert window.open().dump() != ()


def test_a_namespace_that_is_gone_and_back_is_another_one(name: str) -> None:
    with closing(NetnsDoor(name)) as door:
        door.open()
        remove_named(name)
        assert not door.is_current()
        with pytest.raises(NoNetns, match=f'no network namespace "{name}"'):
            door.open()

        with create_named(name) as other:
            assert not door.is_current()
            assert door.open().netns.identity == other.identity
            assert door.is_current()


def test_a_name_without_a_namespace_behind_it_yet_leads_to_none(name: str) -> None:
    remove_named(name)
    (NETNS_RUN_DIR / name).touch()
    try:
        with pytest.raises(NoNetns, match="is not a network namespace"):
            NetnsDoor(name).open()
    finally:
        (NETNS_RUN_DIR / name).unlink()


def test_a_door_may_be_closed_twice(name: str) -> None:
    door = NetnsDoor(name)
    door.open()
    door.close()
    door.close()

    assert not door.is_current()
