"""Both kernels side by side."""

import subprocess
from collections.abc import Iterator

import pytest

from addrsvc.mirror.netns import NetNs, create_anonymous, run_in
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import IFF_UP
from tests.af_netlink.peer import Peer
from tests.af_netlink.twins import Twins, young_net


@pytest.fixture
def twins(netns: NetNs) -> Iterator[Twins]:
    """A fresh namespace of either kernel, lo down."""
    with Twins(netns) as twins:
        yield twins


@pytest.fixture
def up(netns: NetNs) -> Iterator[Twins]:
    """A fresh namespace of either kernel, lo up."""
    net = young_net()
    net.link_set("lo", up=True)
    with RtnlKernel(netns) as kernel:
        kernel.request(LinkMsg(ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP))
    with Twins(netns, net) as twins:
        yield twins


@pytest.fixture(params=["model", pytest.param("both", marks=pytest.mark.needs_netns)])
def sides(request: pytest.FixtureRequest) -> Iterator[Twins]:
    """The model alone, then it and the running kernel side by side; lo is up."""
    net = young_net()
    net.link_set("lo", up=True)
    if request.param == "model":
        with Twins(None, net) as twins:
            yield twins
        return
    netns: NetNs = request.getfixturevalue("netns")
    with RtnlKernel(netns) as kernel:
        kernel.request(LinkMsg(ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP))
    with Twins(netns, net) as twins:
        yield twins


@pytest.fixture
def peer(twins: Twins, cap_sys_admin: None) -> Iterator[Peer]:
    netns = create_anonymous("peer")
    process = run_in(netns, lambda: subprocess.Popen(["sleep", "60"]))
    net = twins.net.linux.add_net("peer")
    net.socket(pid=process.pid).bind()
    yield Peer(netns, net, process)
    process.kill()
    process.wait()
    netns.close()
