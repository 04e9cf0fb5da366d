"""What every test may ask for beside the test kit: the port of the running kernel."""

import platform
import sys
from collections.abc import Iterator

import pytest

from addrsvc.linux import Linux
from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.uapi import REFERENCE_RELEASE

# Where addrsvc is installed its entry point has loaded the plugin by now; in a bare checkout nobody has.
pytest_plugins = ["pytester", *(["addrsvc.pytest_plugin"] if "addrsvc.pytest_plugin" not in sys.modules else [])]
# What asserts without being a test itself, and should say as much when it fails.
pytest.register_assert_rewrite("tests.af_netlink.twins", "tests.fidelity.scenarios.wire")


@pytest.fixture
def linux(machine: Linux) -> Linux:
    """The machine, by the name that most tests here have for it."""
    return machine


@pytest.fixture
def rtnl(netns: NetNs) -> Iterator[RtnlKernel]:
    """The port of a fresh namespace of the running kernel."""
    with RtnlKernel(netns) as kernel:
        yield kernel


@pytest.fixture
def cap_sys_admin(request: pytest.FixtureRequest) -> None:
    """CAP_SYS_ADMIN itself, as names of namespaces need it."""
    from addrsvc.pytest_plugin import need_cap_sys_admin

    need_cap_sys_admin(request.config)


def pytest_report_header(config: pytest.Config) -> str:
    from addrsvc.pytest_plugin.namespaces import why_no_netns

    namespaces = "off" if config.getoption("--netns") == "off" else why_no_netns() or "yes"
    return f"kernel: {platform.release()} (reference {REFERENCE_RELEASE}); namespaces: {namespaces}"
