"""No scenario is left out, and none is proven on one kernel only."""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.fidelity import scenarios
from tests.fidelity.scenarios import SCENARIOS
from tests.fidelity.scenarios.conftest import SUBJECTS

BOTH_KERNELS = {"subject", "alone", "lives"}
"""The fixtures that run a test on the model and on the running kernel."""


def proofs() -> Iterator[object]:
    for module in pkgutil.iter_modules(scenarios.__path__):
        if module.name.startswith("test_"):
            members = vars(import_module(f"{scenarios.__name__}.{module.name}"))
            yield from (value for name, value in members.items() if name.startswith("test_"))


def numbers(test: object) -> set[int]:
    """The scenarios that a test proves, by its own mark and by those of its rows."""
    marks: list[pytest.Mark] = list(getattr(test, "pytestmark", ()))
    rows = [row for mark in marks if mark.name == "parametrize" for row in mark.args[1] if hasattr(row, "marks")]
    marks += [mark for row in rows for mark in row.marks]
    return {number for mark in marks if mark.name == "scenario" for number in mark.args}


def test_they_go_from_1_to_88() -> None:
    assert list(SCENARIOS) == list(range(1, 89))


@pytest.mark.parametrize("number", SCENARIOS)
def test_each_is_proven(number: int) -> None:
    assert any(number in numbers(test) for test in proofs()), SCENARIOS[number]


def test_each_test_runs_on_both_kernels() -> None:
    those = [test for test in proofs() if callable(test) and numbers(test)]

    assert {"model", "running"} <= SUBJECTS.keys()
    assert [test for test in those if not BOTH_KERNELS & inspect.signature(test).parameters.keys()] == []
