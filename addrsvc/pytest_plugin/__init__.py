"""The test kit, as a pytest plugin: namespaces of either kernel as fixtures, and assertions on what they do and say.

Loading it imports nothing but pytest: each fixture imports what it needs when it is first asked for, and so does each
name that is not a fixture.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pyroute2 import IPRoute

    from addrsvc.linux import Linux, Namespace
    from addrsvc.mirror.netns import NetNs
    from addrsvc.mirror.rtnl import RtnlKernel
    from addrsvc.model.structs import NetDevice
    from addrsvc.pytest_plugin.addresses import assert_addresses
    from addrsvc.pytest_plugin.leaks import check_leaks
    from addrsvc.pytest_plugin.messages import expect_messages
    from addrsvc.pytest_plugin.waiting import wait_for, wait_until

__all__ = [
    "assert_addresses", "check_leaks", "expect_messages", "need_cap_sys_admin", "need_netns", "wait_for", "wait_until",
]  # fmt: skip

_HOME: Final = {
    "assert_addresses": "addresses",
    "check_leaks": "leaks",
    "expect_messages": "messages",
    "wait_for": "waiting",
    "wait_until": "waiting",
}
_MARKERS: Final = (
    "needs_netns: needs a network namespace of the running kernel; see --netns",
    "needs_cap_sys_admin: needs CAP_SYS_ADMIN itself, which a user namespace does not give; see --netns",
)


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# --- hooks ----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --netns."""
    parser.getgroup("addrsvc").addoption(
        "--netns",
        choices=("auto", "require", "off"),
        default="auto",
        help="tests on namespaces of the running kernel: skip them where none can be made (auto), "
        "fail there (require), or leave them out (off)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep a test from running that says it needs what cannot be had."""
    if item.get_closest_marker("needs_netns"):
        need_netns(item.config)
    if item.get_closest_marker("needs_cap_sys_admin"):
        need_cap_sys_admin(item.config)


def need_netns(config: pytest.Config) -> None:
    """Skip the test that needs a namespace of the running kernel and cannot have it; with --netns=require, fail it."""
    _require(config, "why_no_netns")


def need_cap_sys_admin(config: pytest.Config) -> None:
    """The same for a test that needs CAP_SYS_ADMIN itself."""
    _require(config, "why_no_cap_sys_admin")


def _require(config: pytest.Config, why_not: str) -> None:
    """Skip the test that cannot have its namespace; with --netns=require, fail it."""
    if config.getoption("--netns") == "off":
        pytest.skip("namespaces of the running kernel are left out (--netns=off)")
    reason = getattr(import_module(f"{__name__}.namespaces"), why_not)()
    if reason and config.getoption("--netns") == "require":
        pytest.fail(f"{reason} (--netns=require)", pytrace=False)
    if reason:
        pytest.skip(reason)


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine() -> "Linux":
    """A modelled kernel, just booted: namespaces, devices, and a clock that only you turn."""
    from addrsvc.linux import Linux

    return Linux()


@pytest.fixture
def net(machine: "Linux") -> "Namespace":
    """The first namespace of `machine`; its lo is down."""
    return machine.init_net


@pytest.fixture
def lo(net: "Namespace") -> "NetDevice":
    """The loopback device of `net`, as the model remembers it."""
    return net.device("lo")


# --- the running kernel ---------------------------------------------------------------------------------------------


@pytest.fixture
def netns(request: pytest.FixtureRequest) -> Iterator["NetNs"]:
    """A fresh namespace of the running kernel, without a name, gone after the test, however that ends.

    Without privilege it belongs to a user namespace of its own, where the system lets everybody have one.
    """
    need_netns(request.config)
    from addrsvc.pytest_plugin.namespaces import create

    with create(request.node.name) as netns:
        yield netns


# --- either ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["model", pytest.param("namespace", marks=pytest.mark.needs_netns)])
def kernel(request: pytest.FixtureRequest) -> Iterator["Namespace | RtnlKernel"]:
    """A fresh namespace, first of the model (it is `net`), then of the running kernel (it is `netns`)."""
    if request.param == "model":
        yield request.getfixturevalue("net")
        return
    from addrsvc.mirror.rtnl import RtnlKernel

    with RtnlKernel(request.getfixturevalue("netns")) as kernel:
        yield kernel


@pytest.fixture
def iproute(kernel: "Namespace | RtnlKernel") -> Iterator["IPRoute"]:
    """A pyroute2 IPRoute on the namespace that is `kernel`."""
    from addrsvc.pytest_plugin.namespaces import open_iproute

    with open_iproute(kernel) as iproute:
        yield iproute


@pytest.fixture
def leak_check() -> Iterator[None]:
    """Fail the test that leaves namespaces, descriptors, threads or processes behind."""
    from addrsvc.pytest_plugin.leaks import check_leaks

    try:
        with check_leaks():
            yield
    except AssertionError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
