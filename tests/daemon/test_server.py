"""The service on a socket: what a client may do, and what it cannot do to others."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from asyncvarlink import VarlinkClientProtocol, VarlinkInterface, connect_unix_varlink
from asyncvarlink.serviceinterface import VarlinkServiceInterface

from addrsvc.daemon import commands, server
from addrsvc.daemon.authority import Peer
from addrsvc.daemon.client import Client, ServiceError
from addrsvc.daemon.interface import Control
from addrsvc.daemon.listen import control_socket
from addrsvc.daemon.log import Log
from addrsvc.daemon.server import Server
from addrsvc.daemon.service import Service
from addrsvc.errors import ControlError, KernelError
from addrsvc.linux import Linux
from tests.descriptors import descriptors
from tests.waiting import until

T = TypeVar("T")


def served(tmp_path: Path, clients: Callable[[Path], T], service: Service | None = None) -> T:
    """Serve a fresh model while `clients` runs in a thread beside it; give what it gives."""

    async def both(sock: socket.socket) -> T:
        served = service or Service(Linux(seed=0, trace=True))
        running = Server(lambda: served, sock, Log())
        task = asyncio.create_task(running.run())
        try:
            return await asyncio.wait_for(asyncio.to_thread(clients, tmp_path / "control"), 30)
        finally:
            running.stop()
            await task

    with control_socket(tmp_path / "control") as sock:
        return asyncio.run(both(sock))


def raw(path: Path, call: Mapping[str, object]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    sock.sendall(json.dumps(call).encode() + b"\0")
    return sock


def test_a_client_asks_and_changes(tmp_path: Path) -> None:
    def clients(path: Path) -> object:
        with Client(path) as client:
            client.ask("link_set", {"dev": "lo", "up": True})
            return client.ask("addresses", {"dev": "lo", "family": "inet6"})["links"]

    links = served(tmp_path, clients)
    assert isinstance(links, list)
    assert [info["local"] for info in links[0]["addr_info"]] == ["::1"]


def test_a_refusal_of_the_kernel_comes_through_whole(tmp_path: Path) -> None:
    def clients(path: Path) -> None:
        with Client(path) as client:
            client.ask("link_set", {"dev": "lo", "up": True})
            client.ask("addr_add", {"address": "::1/128", "dev": "lo"})

    with pytest.raises(KernelError) as caught:
        served(tmp_path, clients)
    assert (caught.value.name, caught.value.extack) == ("EEXIST", "ipv6: address already assigned")


@pytest.mark.parametrize(
    ("command", "parameters", "text"),
    [
        ("link_set", {"dev": "l0", "up": True}, "did you mean lo"),
        ("link_set", {"dev": "lo", "mtu": "big"}, "mtu"),
        ("link_set", {"dev": 5}, "dev"),
        ("inject", {"event": "UPP", "dev": "lo"}, "UPP"),
    ],
)
def test_a_request_that_is_none_is_refused(
    tmp_path: Path, command: str, parameters: dict[str, object], text: str
) -> None:
    def clients(path: Path) -> None:
        with Client(path) as client:
            client.ask(command, parameters)

    with pytest.raises(ControlError, match=text):
        served(tmp_path, clients)


def test_who_is_neither_root_nor_the_services_own_user_may_only_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "peer_of", lambda conn: Peer(0, os.geteuid() + 1))

    def clients(path: Path) -> object:
        with Client(path) as client:
            client.ask("status", {})
            client.ask("link_set", {"dev": "lo", "up": True})
        return None

    with pytest.raises(ServiceError, match="not permitted"):
        served(tmp_path, clients)


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    def clients(path: Path) -> None:
        with Client(path) as client:
            client.ask("nonsense", {})

    with pytest.raises(ServiceError, match="MethodNotFound"):
        served(tmp_path, clients)


def test_the_interface_describes_every_command(tmp_path: Path) -> None:
    def clients(path: Path) -> str:
        async def describe() -> str:
            transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, path)
            proxy = protocol.make_proxy(VarlinkServiceInterface)
            answer = await proxy.GetInterfaceDescription(interface=Control.name)
            transport.close()
            return str(answer["description"])

        return asyncio.run(describe())

    description = served(tmp_path, clients)
    assert issubclass(Control, VarlinkInterface)
    for name in (*commands.QUERIES, *commands.CHANGES, "monitor"):
        assert f"method {''.join(map(str.capitalize, name.split('_')))}(" in description


def test_a_stream_replays_and_follows(tmp_path: Path) -> None:
    def clients(path: Path) -> list[str]:
        with Client(path) as watching, Client(path) as changing:
            changing.ask("link_set", {"dev": "lo", "up": True})
            stream = watching.stream("monitor", {"replay": True})
            texts = [said["text"] for said in _news(next(stream))]
            changing.ask("link_set", {"dev": "lo", "up": False})
            while not any("RTM_DELADDR" in text for text in texts):
                texts += [said["text"] for said in _news(next(stream))]
            return texts

    texts = served(tmp_path, clients)
    assert any("NETDEV_UP  lo" in text for text in texts)
    assert any("NETDEV_DOWN  lo" in text for text in texts)


def _news(reply: Mapping[str, object]) -> list[dict[str, str]]:
    news = reply["news"]
    assert isinstance(news, list)
    return news


def test_a_stream_ends_when_the_service_does(tmp_path: Path) -> None:
    watching: list[Client] = []

    def clients(path: Path) -> None:
        with Client(path) as other:
            other.ask("link_set", {"dev": "lo", "up": True})
        client = Client(path)
        watching.append(client)
        stream = client.stream("monitor", {"replay": True})
        next(stream)
        watching.append(stream)  # type: ignore[arg-type]

    served(tmp_path, clients)
    client, stream = watching
    assert [reply["news"] for reply in stream] == [[]]  # type: ignore[attr-defined]
    client.close()


def test_a_reader_that_never_reads_holds_nobody_up_and_costs_bounded_memory(tmp_path: Path) -> None:
    def clients(path: Path) -> object:
        with (
            raw(path, {"method": "org.addrsvc.Control.Monitor", "more": True}) as deaf,
            Client(path) as client,
        ):
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            for _ in range(300):
                client.ask("link_set", {"dev": "lo", "up": True})
                client.ask("link_set", {"dev": "lo", "up": False})
            assert client.ask("status", {})["watchers"] == 1
            return _read_until_something_is_lost(deaf)

    assert served(tmp_path, clients)


def _read_until_something_is_lost(deaf: socket.socket) -> bool:
    data = b""
    while True:
        data += deaf.recv(1 << 16)
        *replies, data = data.split(b"\0")
        if any(json.loads(reply)["parameters"]["lost"] for reply in replies):
            return True


def test_a_reader_that_hangs_up_is_noticed_in_a_quiet_service(tmp_path: Path) -> None:
    def clients(path: Path) -> bool:
        with Client(path) as client:
            sock = raw(path, {"method": "org.addrsvc.Control.Monitor", "more": True})
            until(lambda: client.ask("status", {})["watchers"] == 1)
            sock.close()
            until(lambda: client.ask("status", {})["watchers"] == 0)
        return True

    assert served(tmp_path, clients)


def test_a_request_without_an_end_costs_the_connection(tmp_path: Path) -> None:
    def clients(path: Path) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, Client(path) as other:
            sock.connect(str(path))
            try:
                for _ in range(64):
                    sock.sendall(b"x" * 65536)
            except (BrokenPipeError, ConnectionResetError):
                pass
            other.ask("status", {})
            try:
                return sock.recv(1)
            except ConnectionResetError:
                return b""

    assert served(tmp_path, clients) == b""


@pytest.mark.parametrize(
    "sent",
    [b"[" * 60000, b'{"a":' + b"1" * 5000 + b"}", b"garbage", b"", b"[]", b"null", b"\xff\xfe", b"\x80"],
    ids=["deep", "long number", "garbage", "empty", "list", "null", "half a character", "no character"],
)
def test_what_is_no_request_costs_the_connection_and_one_line_of_the_log(
    tmp_path: Path, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    def clients(path: Path) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, Client(path) as other:
            sock.connect(str(path))
            sock.sendall(sent + b"\0")
            answer = sock.recv(1)
            assert other.ask("status", {})["pid"] == os.getpid()
            return answer

    assert served(tmp_path, clients) == b""
    (line,) = capfd.readouterr().err.splitlines()
    assert "no request" in line
    assert f"uid={os.geteuid()}" in line


def test_what_was_asked_before_it_is_answered(tmp_path: Path) -> None:
    def clients(path: Path) -> bytes:
        with raw(path, {"method": "org.addrsvc.Control.Status"}) as sock:
            sock.sendall(b"garbage\0")
            return b"".join(iter(lambda: sock.recv(4096), b""))

    answer, rest = served(tmp_path, clients).split(b"\0")
    assert json.loads(answer)["parameters"]["pid"] == os.getpid()
    assert rest == b""


def test_many_requests_at_once_are_all_answered(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call = json.dumps({"method": "org.addrsvc.Control.Status"}).encode() + b"\0"

    def clients(path: Path) -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(path))
            sock.sendall(call * 2000)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b"")).count(b"\0")

    assert served(tmp_path, clients) == 2000
    assert capfd.readouterr().err == ""


def test_who_asks_and_never_reads_is_not_listened_to_for_ever(tmp_path: Path) -> None:
    call = json.dumps({"method": "org.addrsvc.Control.History"}).encode() + b"\0"

    def clients(path: Path) -> object:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, Client(path) as other:
            sock.connect(str(path))
            sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                sock.sendall(call * 100000)
            return other.ask("status", {})["pid"]

    assert served(tmp_path, clients) == os.getpid()


def test_nobody_may_take_more_than_half_of_the_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 8)

    def clients(path: Path) -> tuple[int, object]:
        with ExitStack() as stack:
            taken = [stack.enter_context(Client(path)) for _ in range(4)]
            for client in taken:
                client.ask("status", {})
            refused = stack.enter_context(Client(path))
            with pytest.raises(ServiceError, match="the service"):
                refused.ask("status", {})
            taken.pop().close()
            return len(taken), _asked_again(path)

    assert served(tmp_path, clients) == (3, os.getpid())
    assert f"too many connections uid={os.geteuid()}" in " ".join(capfd.readouterr().err.split())


def _asked_again(path: Path) -> object:
    """Ask until the service has noticed that there is room."""
    while True:
        try:
            with Client(path) as client:
                return client.ask("status", {})["pid"]
        except ServiceError:
            os.sched_yield()


def test_who_may_change_something_is_not_kept_out_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uids = iter([70001, 70001, 70002, 70002, 70003, os.geteuid()])
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 4)
    monkeypatch.setattr(server, "peer_of", lambda conn: Peer(0, next(uids)))

    def clients(path: Path) -> object:
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(Client(path)).ask("status", {})
            with pytest.raises(ServiceError, match="the service"):
                stack.enter_context(Client(path)).ask("status", {})
            return stack.enter_context(Client(path)).ask("status", {})["pid"]

    assert served(tmp_path, clients) == os.getpid()


def test_without_descriptors_the_service_waits_for_some(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(path: Path) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            with descriptors(0):
                used = time.process_time()
                sock.connect(str(path))
                sock.sendall(b'{"method":"org.addrsvc.Control.Status"}\0')
                sock.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    sock.recv(1)
                assert time.process_time() - used < 0.2
            sock.settimeout(20)
            return sock.recv(1)

    assert served(tmp_path, clients) == b"{"
    (line,) = capfd.readouterr().err.splitlines()
    assert "Too many open files" in line


def test_complaints_about_clients_do_not_flood_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def clients(path: Path) -> None:
        for _ in range(200):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.connect(str(path))
                sock.sendall(b"\0")
                assert sock.recv(1) == b""

    served(tmp_path, clients)
    assert len(capfd.readouterr().err.splitlines()) == 10


def test_a_bug_costs_the_connection_and_not_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(service: Service) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(commands.QUERIES, "status", broken)

    def clients(path: Path) -> object:
        with Client(path) as client, pytest.raises(ServiceError, match="ended before it answered"):
            client.ask("status", {})
        with Client(path) as client:
            return client.ask("links", {})["links"]

    assert served(tmp_path, clients)
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err


def test_time_passes_without_anybody_asking(tmp_path: Path) -> None:
    def clients(path: Path) -> bool:
        with Client(path) as watching, Client(path) as client:
            client.ask("link_set", {"dev": "lo", "up": True})
            stream = watching.stream("monitor", {"replay": True})
            next(stream)
            client.ask("addr_add", {"address": "2001:db8::1/64", "dev": "lo", "valid_lft": 1, "preferred_lft": 1})
            while True:
                for said in _news(next(stream)):
                    if "RTM_DELADDR" in said["text"] and "2001:db8::1" in said["text"]:
                        return True

    assert served(tmp_path, clients)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_service(tmp_path: Path, number: signal.Signals) -> None:
    with control_socket(tmp_path / "control") as sock:

        async def run() -> None:
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), number)
            await asyncio.wait_for(Server(lambda: Service(Linux(seed=0)), sock, Log()).run(), 10)

        asyncio.run(run())
