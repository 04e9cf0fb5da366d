"""A short random walk in every run of the tests; the long one is a command (see walk.py)."""

import pytest

from addrsvc.mirror.netns import NetNs
from tests.fidelity.asks import alias, mtu
from tests.fidelity.compare import Both
from tests.fidelity.walk import as_test, report, walk

STEPS = 300


@pytest.mark.parametrize("seed", [1, 2])
def test_both_kernels_agree_on_a_random_walk(netns: NetNs, seed: int) -> None:
    """`netns` is here for its probe: without a namespace there is nothing to compare with."""
    result = walk(seed, STEPS)

    assert result.difference is None, "\n".join(report([result]))
    assert result.steps == STEPS


def test_a_difference_does_not_go_unseen(netns: NetNs) -> None:
    """One kernel is told something behind the other's back: the next step says so, with both sides."""
    with Both() as both:
        both.running.ask(alias("a secret"))
        difference = both.ask(mtu(1500))

    assert difference is not None
    assert difference.script == (mtu(1500),)
    assert "-  LinkMsg(" in str(difference)
    assert "ifalias='a secret'" in str(difference)


def test_a_difference_is_printed_as_a_test(netns: NetNs) -> None:
    with Both() as both:
        both.running.ask(alias("a secret"))
        difference = both.ask(mtu(1500))

    assert difference is not None
    assert "        LinkMsg(ifi_index=1, mtu=1500),\n" in as_test(difference)
