"""Whether ::1 can be bound to is tried, by a socket of one's own or by one that was lent."""

import os
import socket
from collections.abc import Iterator
from errno import EADDRNOTAVAIL
from pathlib import Path

import pytest

from addrsvc.daemon.probe import bind_loopback, lend
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.mirror.rtnl import RtnlKernel


@pytest.fixture(params=["of its own", "lent"])
def probe(request: pytest.FixtureRequest, netns: NetNs) -> Iterator[socket.socket | None]:
    """A socket of the namespace; None where it is made when it is needed."""
    if request.param == "of its own":
        yield None
        return
    with run_in(netns, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
        yield sock


@pytest.mark.needs_netns
def test_it_tells_whether_there_is_a_loopback_address(
    netns: NetNs, rtnl: RtnlKernel, probe: socket.socket | None
) -> None:
    with pytest.raises(OSError, match="assign") as refused:
        run_in(netns, lambda: bind_loopback(probe))
    assert refused.value.errno == EADDRNOTAVAIL

    rtnl.link_set("lo", up=True)
    for _ in range(3):
        run_in(netns, lambda: bind_loopback(probe))

    rtnl.link_set("lo", up=False)
    with pytest.raises(OSError, match="assign"):
        run_in(netns, lambda: bind_loopback(probe))


def test_a_lent_socket_is_the_only_one_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        assert lend()
        assert manager.recv(100) == b"FDSTOREREMOVE=1\nFDNAME=probe"
        text, fds, _, _ = socket.recv_fds(manager, 100, 1)

        assert text.startswith(b"FDSTORE=1\nFDNAME=probe\n")
        with socket.socket(fileno=fds[0]) as lent:
            assert lent.family == socket.AF_INET6
            assert os.fstat(lent.fileno()).st_ino


def test_nothing_is_lent_where_nobody_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert not lend()
