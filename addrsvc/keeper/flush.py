"""Dropping very many IPv6 addresses of lo at once: IPv6 is turned off there and on again, and what is to stay put back.

Each deletion walks all routes of the namespace, so that of 10,000 addresses one by one takes hundreds of times as long.
The price: for some milliseconds lo has no IPv6 address at all.  Established connections live through that, but what
binds or connects meanwhile fails, and everybody who listens hears of all of it.  What is put back is as it was,
lifetimes included; it was deleted and made again all the same.  IPv4, and lo being up, are not touched.

Being killed between the two would leave IPv6 off, and what was to stay would be lost.  So what there is to do is left
in a safe place beforehand, if there is one, and whoever comes after can `finish` it.

There is no way to do this over rtnetlink.  Taking lo down and up would be one, but that takes IPv4 along, and keeps the
addresses where keep_addr_on_down is set.  So it needs a /proc/sys/net that can be written.
"""

import os
import socket
import stat
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from errno import EADDRNOTAVAIL, EEXIST, EIO
from fcntl import F_GET_SEALS, fcntl
from struct import Struct
from typing import Final, NamedTuple, Protocol

from addrsvc.errors import KernelError
from addrsvc.keeper.dump import Addresses, Route, is_made_by_kernel, read_addresses, read_routes
from addrsvc.keeper.inside import inside
from addrsvc.keeper.messages import DELETE_LOOPBACK, DUMP_ADDRESSES, DUMP_LO_ROUTES6, LOOPBACK, Key, again
from addrsvc.keeper.rtnl import Refusal, Requests, open_rtnl
from addrsvc.uapi import AF_INET6

__all__ = ["NOWHERE", "Finished", "Flushed", "Safe", "fast_flush", "finish"]

_SWITCH: Final = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
_LENGTH: Final = Struct("=I")
"""What a message begins with."""
_ALREADY_SO: Final = (EEXIST, EADDRNOTAVAIL)


class Flushed(NamedTuple):
    """What was put back: the requests for it, and which of them were refused."""

    restored: list[bytes]
    refusals: list[Refusal]


class Finished(NamedTuple):
    """What an earlier process had begun, and what was done about it.

    Attributes:
        label: what it called the namespace.
        was_off: IPv6 was off still.
        restored, refusals: as in `Flushed`.
    """

    label: str
    was_off: bool
    restored: list[bytes]
    refusals: list[Refusal]


class Safe(Protocol):
    """Where descriptors are kept for whoever comes after this process, however it ends."""

    def keep(self, label: str, fds: Sequence[int]) -> Callable[[], object]:
        """Keep some that are about a namespace; when this comes back they are kept.

        Returns:
            What ends that.

        Raises:
            KernelError: they cannot be kept.
        """


class _Nowhere:
    """No safe place."""

    def keep(self, label: str, fds: Sequence[int]) -> Callable[[], object]:
        return lambda: None


NOWHERE: Final = _Nowhere()


def fast_flush(
    requests: Requests,
    netns_fd: int | None,
    addresses: Container[Key],
    routes: Container[Route] = (),
    label: str = "network namespace",
    safe: Safe = NOWHERE,
) -> Flushed:
    """Take all these IPv6 addresses and local routes away from lo, and nothing else but for a moment.

    Args:
        requests: to the namespace.
        netns_fd: the namespace; None for the one that the calling thread is in.
        addresses: which; IPv4 ones among them stay.
        routes: which.
        label: what to call the namespace, where it cannot be entered and in the safe place.
        safe: where to leave what there is to do, before anything is done.

    Raises:
        KernelError: nothing was done, because IPv6 cannot be turned off: EROFS, EACCES or EPERM, /proc/sys may not be
            written; ENOENT, there is no IPv6 on lo.
    """
    with ExitStack() as stack:
        switch = inside(netns_fd, _open_switch, label)
        stack.callback(os.close, switch)
        if _is_off(switch):  # nothing is there to be dropped
            return Flushed([], [])
        stays = _addresses_that_stay(requests, addresses)
        requested = [*stays.values(), *_routes_that_stay(requests, routes)]
        unwanted = [] if LOOPBACK in stays else [DELETE_LOOPBACK]
        forget = _leave(safe, netns_fd, label, switch, [*unwanted, *requested])
        _off_and_on(switch)
    requests.ask(unwanted)
    flushed = Flushed(requested, _asked(requests, requested))
    forget()
    return flushed


def finish(fds: Sequence[int]) -> Finished | None:
    """Finish what an earlier process has left in a safe place; None if that is not all there.

    Args:
        fds: the descriptors, in any order; they are closed.

    Raises:
        OSError: it cannot be finished.
    """
    with ExitStack() as stack:
        for fd in fds:
            stack.callback(os.close, fd)
        by_kind = {_kind(fd): fd for fd in fds}
        if by_kind.keys() != {_SWITCH_KIND, _SOCKET_KIND, _LIST_KIND}:
            return None
        label, requested = _read_list(by_kind[_LIST_KIND])
        was_off = _is_off(by_kind[_SWITCH_KIND])
        if was_off:
            os.pwrite(by_kind[_SWITCH_KIND], b"0", 0)
        with Requests(socket.socket(fileno=os.dup(by_kind[_SOCKET_KIND]))) as requests:
            return Finished(label, was_off, requested, _asked(requests, requested))


def _asked(requests: Requests, requested: Sequence[bytes]) -> list[Refusal]:
    """Ask for all that stays; what was refused though it is not there."""
    return [refusal for refusal in requests.ask(requested) if refusal.errno not in _ALREADY_SO]


# --- what is left in a safe place -------------------------------------------------------------------------------------

_SWITCH_KIND, _SOCKET_KIND, _LIST_KIND = range(3)


def _leave(
    safe: Safe, netns_fd: int | None, label: str, switch: int, requested: Sequence[bytes]
) -> Callable[[], object]:
    """Leave the switch, a socket in the namespace, and all that is to be asked for there; gives what ends that."""
    if safe is NOWHERE:
        return lambda: None
    with ExitStack() as stack:
        asking = stack.enter_context(open_rtnl(netns_fd, label=label))
        todo = os.memfd_create("addrsvc-flush", os.MFD_CLOEXEC)
        stack.callback(os.close, todo)
        _write_list(todo, label, requested)
        return safe.keep(label, (switch, asking.fileno(), todo))


def _kind(fd: int) -> int:
    """What a descriptor is; the path of a file says nothing where mounts were others when it was opened."""
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        return _SOCKET_KIND
    try:
        fcntl(fd, F_GET_SEALS)
    except OSError:
        return _SWITCH_KIND
    return _LIST_KIND


def _write_list(fd: int, label: str, requested: Sequence[bytes]) -> None:
    name = os.fsencode(label)
    rest = b"".join((_LENGTH.pack(len(name)), name, *requested))
    while rest:
        rest = rest[os.write(fd, rest) :]


def _read_list(fd: int) -> tuple[str, list[bytes]]:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    return os.fsdecode(data[_LENGTH.size : start]), list(_messages(data, start))


def _messages(data: bytes, start: int) -> Iterator[bytes]:
    while start < len(data):
        (length,) = _LENGTH.unpack_from(data, start)
        yield data[start : start + length]
        start += length


# --- the switch, and what stays ---------------------------------------------------------------------------------------


def _is_off(switch: int) -> bool:
    return int(os.pread(switch, 16, 0)) != 0


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
