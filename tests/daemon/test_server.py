"""The service on a socket: what a client may do, and what it cannot do to others."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from asyncvarlink import VarlinkClientProtocol, VarlinkInterface, connect_unix_varlink
from asyncvarlink.serviceinterface import VarlinkServiceInterface

from addrsvc.daemon import commands, server
from addrsvc.daemon.client import Client, ServiceError
from addrsvc.daemon.interface import Control
from addrsvc.daemon.listen import control_socket
from addrsvc.daemon.server import Server
from addrsvc.daemon.service import Service
from addrsvc.errors import ControlError, KernelError
from addrsvc.linux import Linux

T = TypeVar("T")


def served(tmp_path: Path, clients: Callable[[Path], T], service: Service | None = None) -> T:
    """Serve a fresh model while `clients` runs in a thread beside it; give what it gives."""

    async def both(sock: socket.socket) -> T:
        running = Server(service or Service(Linux(seed=0, trace=True)), sock)
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


def until(condition: Callable[[], bool]) -> None:
    """Look until it is so; the test's own time limit ends a wait for what never comes."""
    while not condition():
        os.sched_yield()


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
    monkeypatch.setattr(server, "_peer_uid", lambda conn: os.geteuid() + 1)

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
            await asyncio.wait_for(Server(Service(Linux(seed=0)), sock).run(), 10)

        asyncio.run(run())
