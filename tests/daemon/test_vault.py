"""Sockets that the service manager keeps: which are given to it, found again, and forgotten."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from addrsvc.daemon.courier import Courier
from addrsvc.daemon.vault import Vault, name_of
from addrsvc.keeper.bpf import hear_lo
from addrsvc.keeper.kept import Kept
from addrsvc.keeper.messages import newaddr
from addrsvc.keeper.rtnl import Requests, open_rtnl
from addrsvc.keeper.wanted import NOTHING
from addrsvc.mirror.netns import NetNs
from addrsvc.pytest_plugin.namespaces import create
from addrsvc.uapi import RTNLGRP_IPV6_IFADDR


class Manager:
    """A service manager, as far as it keeps descriptors."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind(str(path))
        self._kept: dict[str, socket.socket] = {}

    @property
    def kept(self) -> dict[str, socket.socket]:
        """What it keeps, by name, when it has read what it was told."""
        while True:
            try:
                text, fds, _, _ = socket.recv_fds(self._sock, 1000, 1)
            except BlockingIOError:
                return self._kept
            told = dict(line.split("=", 1) for line in text.decode().splitlines())
            if "FDSTOREREMOVE" in told:
                self._kept.pop(told["FDNAME"]).close()
            else:
                self._kept[told["FDNAME"]] = socket.socket(fileno=fds[0])

    def left(self) -> dict[str, socket.socket]:
        """What the next process finds."""
        return {name.removeprefix("heard-"): sock.dup() for name, sock in self.kept.items()}

    def close(self) -> None:
        self._sock.close()
        for sock in self._kept.values():
            sock.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def kept(netns: NetNs) -> Iterator[Kept]:
    with open_rtnl(netns.fileno()) as sock:
        yield Kept("blue", netns.fileno(), Requests(sock), NOTHING)


@contextmanager
def vault(stored: Mapping[str, socket.socket] | None = None) -> Iterator[Vault]:
    """What it tells has arrived when the block is left."""
    courier = Courier()
    try:
        yield Vault(stored or {}, courier)
    finally:
        courier.close()


def store(kept: Kept, netns: NetNs) -> None:
    """Have a new socket stored."""
    with vault() as one:
        one.open(kept, netns.fileno(), maker(netns)).close()


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def maker(netns: NetNs) -> Callable[[], socket.socket]:
    return lambda: open_rtnl(netns.fileno())


def listener(netns: NetNs) -> Callable[[], socket.socket]:
    return lambda: open_rtnl(netns.fileno(), groups=(RTNLGRP_IPV6_IFADDR,))


def never() -> socket.socket:
    raise AssertionError("there is one already")


def test_a_socket_is_found_again_by_the_next_process(manager: Manager, kept: Kept, netns: NetNs) -> None:
    with vault() as one, one.open(kept, netns.fileno(), maker(netns)) as sock:
        first = inode(sock)
    assert inode(manager.kept["heard-blue"]) == first

    with vault(manager.left()) as another, another.open(kept, netns.fileno(), never) as second:
        assert inode(second) == first
    assert list(manager.kept) == ["heard-blue"]


def test_a_socket_hears_what_is_of_interest_now_not_what_was_when_it_was_left(
    manager: Manager, kept: Kept, netns: NetNs
) -> None:
    before, now = bytes.fromhex("fd00") + bytes(13) + b"\1", bytes.fromhex("fd00") + bytes(13) + b"\2"
    with vault() as one, one.open(kept, netns.fileno(), listener(netns)) as sock:
        hear_lo(sock, addresses=[before])

    with vault(manager.left()) as another, another.open(kept, netns.fileno(), never) as sock:
        with Requests.to(netns.fileno()) as requests:
            assert requests.ask([newaddr(now)]) == []
        assert now in sock.recv(1 << 12)


def test_a_socket_of_another_namespace_of_that_name_is_not_taken(manager: Manager, kept: Kept, netns: NetNs) -> None:
    with create("other") as other:
        store(kept, other)
        before = inode(manager.kept["heard-blue"])
        with vault(manager.left()) as one:
            sock = one.open(kept, netns.fileno(), maker(netns))
            one.tidy()
        with sock:
            assert inode(sock) != before
            assert [inode(each) for each in manager.kept.values()] == [inode(sock)]


def test_a_socket_is_found_again_whatever_its_namespace_is_called_by_now(
    manager: Manager, kept: Kept, netns: NetNs
) -> None:
    store(kept, netns)
    before = inode(manager.kept["heard-blue"])
    kept.label = "docker:1-abc"
    with vault(manager.left()) as one, create("blue") as other:
        with one.open(kept, netns.fileno(), never) as sock:
            assert inode(sock) == before
        with open_rtnl(other.fileno()) as asking:
            namesake = Kept("blue", other.fileno(), Requests(asking), NOTHING)
            one.open(namesake, other.fileno(), maker(other)).close()
            one.release(kept)
    assert list(manager.kept) == ["heard-blue@2"]


def test_what_is_released_is_forgotten(manager: Manager, kept: Kept, netns: NetNs) -> None:
    with vault() as one:
        one.open(kept, netns.fileno(), maker(netns)).close()
        kept.label = "renamed"
        one.release(kept)
        one.release(kept)

    assert manager.kept == {}


def test_what_is_released_at_the_end_is_kept(manager: Manager, kept: Kept, netns: NetNs) -> None:
    with vault() as one:
        one.open(kept, netns.fileno(), maker(netns)).close()
        one.leave()
        one.release(kept)

    assert list(manager.kept) == ["heard-blue"]


def test_what_nobody_wants_any_more_is_forgotten(manager: Manager, kept: Kept, netns: NetNs) -> None:
    store(kept, netns)
    with vault(manager.left()) as one:
        one.tidy()

    assert manager.kept == {}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("blue", "heard-blue"),
        ("docker:1-abc", "heard-docker%3A1-abc"),
        ("a%3Ab", "heard-a%253Ab"),
        ("grün\n", "heard-gr%C3%BCn%0A"),
        ("/srv/ns/red", "heard-/srv/ns/red"),
    ],
)
def test_a_name_says_one_label_in_what_systemd_accepts(label: str, name: str) -> None:
    assert name_of(label) == name
