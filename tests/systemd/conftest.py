"""A throw-away machine for each module of tests, with addrsvc installed as the README tells operators to."""

from collections.abc import Iterator, Mapping

import pytest

from tests.systemd.installation import HOME, install_below
from tests.systemd.machine import CannotBoot, Machine


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What a machine sees of this one, and where."""
    try:
        return install_below(tmp_path_factory.mktemp("addrsvc"))
    except CannotBoot as error:
        return {"": str(error)}


@pytest.fixture(scope="module")
def bare(request: pytest.FixtureRequest, installation: Mapping[str, str]) -> Iterator[Machine]:
    """A systemd, just booted; there is the program, and there are no units."""
    how = request.config.getoption("--netns")
    if how == "off":
        pytest.skip("namespaces of the running kernel are left out (--netns=off)")
    try:
        if reason := installation.get(""):
            raise CannotBoot(reason)
        machine = Machine(installation)
    except CannotBoot as error:
        if how == "require":
            pytest.fail(f"{error} (--netns=require)", pytrace=False)
        pytest.skip(str(error))
    with machine:
        yield machine


@pytest.fixture(scope="module")
def systemd(bare: Machine) -> Machine:
    """A systemd with the units, by the commands that the installation itself asks for; nothing is started."""
    for line in bare.run(f"{HOME}/bin/addrsvc", "systemd", "install").splitlines():
        mark, _, command = line.partition(": ")
        if mark == "next" and not command.startswith("systemctl enable"):
            bare.run(*command.split())
    return bare
