"""lo of a fresh namespace of the running kernel, and the model's beside it."""

from collections.abc import Iterator

import pytest

from addrsvc.mirror.netns import NetNs
from tests.packets.compare import pinned
from tests.packets.modelled import ModelLo
from tests.packets.running import RunningLo


@pytest.fixture
def running(netns: NetNs, cap_sys_admin: None) -> Iterator[RunningLo]:
    lo = RunningLo(netns)
    try:
        with pinned():
            yield lo
    finally:
        lo.close()


@pytest.fixture
def model() -> ModelLo:
    return ModelLo()
