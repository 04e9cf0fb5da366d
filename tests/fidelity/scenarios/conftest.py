"""The kernels on which a scenario is proven."""

from collections.abc import Iterator

import pytest

from addrsvc.pytest_plugin import need_cap_sys_admin, need_netns
from tests.fidelity.scenarios.subject import Compared, Model, Running, Subject

SUBJECTS = {"model": Model, "running": Running, "compared": Compared}


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A fresh namespace: of the model, of the running kernel, and of both at once."""
    if request.param != "model":
        need_netns(request.config)
    with SUBJECTS[request.param]() as subject:
        yield subject


@pytest.fixture(params=["model", "running"])
def alone(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """The same, for what is no matter of values: bytes, and the time at which something is said."""
    if request.param != "model":
        need_netns(request.config)
    with SUBJECTS[request.param]() as subject:
        yield subject


@pytest.fixture
def by_root(request: pytest.FixtureRequest) -> None:
    """Where it matters who asks: the running kernel is asked by root, not by an administrator of a user namespace."""
    if "model" not in request.node.callspec.params.values():
        need_cap_sys_admin(request.config)
