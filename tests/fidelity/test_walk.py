"""A short random walk in every run of the tests; the long one is a command (see walk.py)."""

import pytest

from addrsvc.mirror.netns import NetNs
from tests.fidelity.walk import report, walk

STEPS = 300


@pytest.mark.parametrize("seed", [1, 2])
def test_both_kernels_agree_on_a_random_walk(netns: NetNs, seed: int) -> None:
    """`netns` is here for its probe: without a namespace there is nothing to compare with."""
    result = walk(seed, STEPS)

    assert result.difference is None, "\n".join(report([result]))
    assert result.steps == STEPS
