"""Waiting for addresses to be in use: where nobody detects duplicates, a worker makes the route soon after.

There is one such worker for all namespaces of the machine, so that "soon" depends on what goes on in the others.
"""

from typing import Final

from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import LinkMsg, RouteMsg
from addrsvc.pytest_plugin.waiting import wait_until
from addrsvc.uapi import RT_TABLE_LOCAL

SOON: Final = 60.0


def wait_for_routes(netns: NetNs, *addresses: bytes) -> None:
    """Until each of these IPv6 addresses has its local route, and the worker that made it is done with it."""
    with RtnlKernel(netns) as kernel:
        wait_until(kernel, lambda: set(addresses) <= local(kernel), timeout=SOON)
        kernel.request(LinkMsg(ifi_index=1))  # changes nothing, and needs the lock that the worker holds


def local(kernel: RtnlKernel) -> set[bytes | None]:
    return {msg.dst for msg in kernel.dump() if isinstance(msg, RouteMsg) and msg.table == RT_TABLE_LOCAL}
