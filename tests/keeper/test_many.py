"""Many namespaces at once: disturbed at random, repaired, and forgotten."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.wanted import FightLimits, Wanted
from addrsvc.mirror.netns import NetNs, create_anonymous
from tests.keeper.churn import disturb, is_whole
from tests.keeper.keeping import MakeWatch, keeping, service
from tests.keeper.test_keep import WATCHES

COUNT = 20
STEPS = 400
WANTED = Wanted(
    addresses=dict([service("fd00::1"), service("192.0.2.1")]), fights=FightLimits(reversals=1000, within=0.001)
)


@pytest.fixture
def namespaces(cap_sys_admin: None) -> Iterator[list[NetNs]]:
    with ExitStack() as stack:
        yield [stack.enter_context(create_anonymous(f"many-{number}")) for number in range(COUNT)]


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("make_watch", WATCHES.values(), ids=WATCHES)
def test_all_are_repaired_and_nothing_is_left_of_them(namespaces: list[NetNs], make_watch: MakeWatch) -> None:
    chance = random.Random(0)
    with ExitStack() as stack:
        somebody = [stack.enter_context(Requests.to(netns.fileno())) for netns in namespaces]
        with keeping(None, WANTED, make_watch=make_watch) as kept:
            before = open_descriptors(), threading.active_count()
            for number, netns in enumerate(namespaces):
                kept.found(netns, f"many-{number}")
            for _ in range(STEPS):
                disturb(chance.choice(somebody), chance)
                if chance.random() < 0.1:
                    kept.loop.turn()
            kept.until(lambda: all(map(is_whole, somebody)))
            kept.quiet()
            assert kept.is_as_wanted
            for number in range(COUNT):
                kept.keeper.gone(f"many-{number}")
            kept.quiet()
            assert kept.statuses() == []
            assert (open_descriptors(), threading.active_count()) == before
