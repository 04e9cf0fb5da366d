"""addrsvc.keeper.rtnl in namespaces of the running kernel."""

from collections.abc import Iterator

import pytest

from addrsvc.keeper.dump import Present
from addrsvc.keeper.messages import (
    LO_UP,
    LOOPBACK,
)
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NetNs
from addrsvc.uapi import (
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFAPROT_KERNEL_LO,
    RT_SCOPE_HOST,
)

QUIET = IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_PERMANENT
LOCALHOST = (bytes((127, 0, 0, 1)), 8)


def v6(number: int) -> bytes:
    return bytes.fromhex("20010db8") + number.to_bytes(12)


def v4(number: int) -> bytes:
    return bytes((10, 9)) + number.to_bytes(2)


@pytest.fixture
def requests(netns: NetNs) -> Iterator[Requests]:
    """A socket in a namespace whose lo is up."""
    with Requests.to(netns.fileno()) as requests:
        assert requests.ask([LO_UP]) == []
        yield requests


def test_lo_has_what_the_kernel_gave_it(requests: Requests) -> None:
    assert requests.addresses() == {
        LOOPBACK: Present(QUIET & ~IFA_F_NODAD & ~IFA_F_NOPREFIXROUTE, IFAPROT_KERNEL_LO, RT_SCOPE_HOST),
        LOCALHOST: Present(IFA_F_PERMANENT, 0, RT_SCOPE_HOST),
    }
