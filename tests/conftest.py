"""What every test may ask for: a namespace of the running kernel, and a kernel that is either side of the port."""

import functools
import platform
from collections.abc import Iterator

import pytest

from addrsvc.errors import KernelError
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs, create_anonymous
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.uapi import REFERENCE_RELEASE


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--netns",
        choices=("auto", "require", "off"),
        default="auto",
        help="tests on namespaces of the running kernel: skip them where none can be made (auto), "
        "fail there (require), or leave them out (off)",
    )


@functools.cache
def why_no_namespace() -> str | None:
    """What keeps us from making a namespace and from changing something in it, or None."""
    try:
        with create_anonymous() as netns, RtnlKernel(netns) as kernel:
            kernel.dump()
    except KernelError as error:
        return f"no namespace of the running kernel: {error}"
    return None


def need_namespace(config: pytest.Config) -> None:
    """Skip the test that cannot have a namespace; with --netns=require, fail it."""
    if config.getoption("--netns") == "off":
        pytest.skip("namespaces of the running kernel are left out (--netns=off)")
    if (reason := why_no_namespace()) is None:
        return
    if config.getoption("--netns") == "require":
        pytest.fail(f"{reason} (--netns=require)")
    pytest.skip(reason)


@pytest.fixture
def netns(request: pytest.FixtureRequest) -> Iterator[NetNs]:
    """A fresh namespace of the running kernel, without a name, gone after the test."""
    need_namespace(request.config)
    with create_anonymous(request.node.name) as netns:
        yield netns


@pytest.fixture
def rtnl(netns: NetNs) -> Iterator[RtnlKernel]:
    """The port of a fresh namespace of the running kernel."""
    with RtnlKernel(netns) as kernel:
        yield kernel


@pytest.fixture(params=["model", "namespace"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """A kernel with one fresh namespace: the model, then the running one."""
    if request.param == "model":
        from addrsvc import Linux

        return Linux().init_net
    rtnl: RtnlKernel = request.getfixturevalue("rtnl")
    return rtnl


def pytest_report_header(config: pytest.Config) -> str:
    namespaces = "off" if config.getoption("--netns") == "off" else why_no_namespace() or "yes"
    return f"kernel: {platform.release()} (reference {REFERENCE_RELEASE}); namespaces: {namespaces}"
