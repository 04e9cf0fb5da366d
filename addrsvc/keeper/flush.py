"""Dropping very many IPv6 addresses of lo at once: IPv6 is turned off there and on again, and what is to stay put back.

Each deletion walks all routes of the namespace, so that of 10,000 addresses one by one takes hundreds of times as long.
The price: for some milliseconds lo has no IPv6 address at all.  Established connections live through that, but what
binds or connects meanwhile fails, and everybody who listens hears of all of it.  What is put back is as it was,
lifetimes included; it was deleted and made again all the same.  Being killed between the two would leave IPv6 off.
IPv4, and lo being up, are not touched.

There is no way to do this over rtnetlink.  Taking lo down and up would be one, but that takes IPv4 along, and keeps the
addresses where keep_addr_on_down is set.  So it needs a /proc/sys/net that can be written.
"""

import os
from collections.abc import Container
from errno import EEXIST, EIO
from typing import Final, NamedTuple

from addrsvc.errors import KernelError
from addrsvc.keeper.dump import Addresses, Key, Route, is_made_by_kernel, read_addresses, read_routes
from addrsvc.keeper.inside import inside
from addrsvc.keeper.messages import DELETE_LOOPBACK, DUMP_ADDRESSES, DUMP_LO_ROUTES6, LOOPBACK, again
from addrsvc.keeper.rtnl import Refusal, Requests
from addrsvc.uapi import AF_INET6

__all__ = ["Flushed", "fast_flush"]

_SWITCH: Final = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"


class Flushed(NamedTuple):
    """What was put back: the requests for it, and which of them were refused."""

    restored: list[bytes]
    refusals: list[Refusal]


def fast_flush(
    requests: Requests,
    netns_fd: int | None,
    addresses: Container[Key],
    routes: Container[Route] = (),
    label: str = "network namespace",
) -> Flushed:
    """Take all these IPv6 addresses and local routes away from lo, and nothing else but for a moment.

    Args:
        requests: to the namespace.
        netns_fd: the namespace; None for the one that the calling thread is in.
        addresses: which; IPv4 ones among them stay.
        routes: which.
        label: what to call the namespace where it cannot be entered.

    Raises:
        KernelError: nothing was done, because IPv6 cannot be turned off: EROFS, EACCES or EPERM, /proc/sys may not be
            written; ENOENT, there is no IPv6 on lo.
    """
    switch = inside(netns_fd, _open_switch, label)
    try:
        if int(os.pread(switch, 16, 0)):  # it is off, and nothing is there to be dropped
            return Flushed([], [])
        stays = _addresses_that_stay(requests, addresses)
        requested = [*stays.values(), *_routes_that_stay(requests, routes)]
        _off_and_on(switch)
    finally:
        os.close(switch)
    if LOOPBACK not in stays:
        requests.ask([DELETE_LOOPBACK])
    return Flushed(requested, [refusal for refusal in requests.ask(requested) if refusal.errno != EEXIST])


def _open_switch() -> int:
    """A descriptor of the setting; it works from anywhere, on the namespace where it was opened."""
    try:
        return os.open(_SWITCH, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot(error) from None


def _off_and_on(switch: int) -> None:
    """Whatever happens between, it is on in the end."""
    try:
        try:
            os.pwrite(switch, b"1", 0)
        finally:
            os.pwrite(switch, b"0", 0)
    except OSError as error:
        raise _cannot(error) from None


def _cannot(error: OSError) -> KernelError:
    return KernelError(error.errno or EIO, f"IPv6 cannot be turned off on lo: {error.strerror}")


def _addresses_that_stay(requests: Requests, dropped: Container[Key]) -> dict[Key, bytes]:
    """The request for each, in the order in which they were made: the kernel lists the newest first."""
    stays: dict[Key, bytes] = {}
    for said in reversed(requests.dump(DUMP_ADDRESSES[AF_INET6])):
        found: Addresses = {}
        read_addresses(said, found)
        stays.update((key, again(said)) for key in found if key not in dropped)
    return stays


def _routes_that_stay(requests: Requests, dropped: Container[Route]) -> list[bytes]:
    """The requests for them; those that the kernel makes come and go with the addresses."""
    stays: list[bytes] = []
    for said in requests.dump(DUMP_LO_ROUTES6):
        ours: list[Route] = []
        read_routes(said, ours)
        if not is_made_by_kernel(said) and not any(route in dropped for route in ours):
            stays.append(again(said))
    return stays
