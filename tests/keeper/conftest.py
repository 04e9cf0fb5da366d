"""What tests of the keeper may ask for."""

import os
from collections.abc import Iterator

import pytest

from addrsvc.keeper.loop import Loop
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NetNs, create_anonymous


@pytest.fixture
def requests(netns: NetNs) -> Iterator[Requests]:
    """A socket for asking the namespace, of somebody else than the keeper."""
    with Requests.to(netns.fileno()) as requests:
        yield requests


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop; nothing that was opened meanwhile is left open."""
    before = sorted(os.listdir("/proc/self/fd"))
    with Loop() as loop:
        yield loop
    assert sorted(os.listdir("/proc/self/fd")) == before, "a descriptor is left open"


@pytest.fixture
def blue(cap_sys_admin: None) -> Iterator[NetNs]:
    """A namespace."""
    with create_anonymous("blue") as netns:
        yield netns


@pytest.fixture
def red(cap_sys_admin: None) -> Iterator[NetNs]:
    """Another one."""
    with create_anonymous("red") as netns:
        yield netns
