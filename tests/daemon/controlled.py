"""A keeper and its control socket in the process of the test, for clients in a thread beside it."""

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from addrsvc.daemon.client import KEEPER, Client
from addrsvc.daemon.keeping import KeeperThread
from addrsvc.daemon.listen import control_socket
from addrsvc.daemon.log import Log
from addrsvc.daemon.run import shadow
from addrsvc.daemon.server import Server
from addrsvc.keeper.events import Ring
from addrsvc.mirror.child import in_a_child
from addrsvc.mirror.netns import NetNs
from tests.waiting import until

T = TypeVar("T")
PATIENCE = 60.0
NOBODY = 65534


def selector(netns: NetNs) -> str:
    """What the namespace is called, being without a name."""
    return f"/proc/{os.getpid()}/fd/{netns.fileno()}"


class Controlled:
    """A service that runs, as its clients see it.

    Attributes:
        thread: the keeper's.
        config: its configuration.
        path: the control socket.
    """

    def __init__(self, thread: KeeperThread, config: Path, path: Path) -> None:
        self.thread = thread
        self.config = config
        self.path = path

    @contextmanager
    def client(self) -> Iterator[Client]:
        with Client(self.path) as client:
            yield client

    def ask(self, command: str, **parameters: object) -> dict[str, Any]:
        """Ask for one thing over a connection of its own."""
        with self.client() as client:
            return client.ask(command, parameters, interface=KEEPER)

    def all(self, command: str, **parameters: object) -> list[dict[str, Any]]:
        """Everything that comes of it."""
        with self.client() as client:
            return list(client.stream(command, parameters, interface=KEEPER))

    def ask_as(self, uid: int, groups: Sequence[int], command: str, **parameters: object) -> dict[str, Any]:
        """Ask as somebody else; the last group is a supplementary one."""

        def asked() -> dict[str, Any]:
            os.setgroups(groups)
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(uid, uid, uid)
            return self.ask(command, **parameters)

        return in_a_child(asked)

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, PATIENCE, seen=lambda: [tuple(event)[2:] for event in self.thread.ring.since(0)[0]])


@contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that everybody may enter."""
    name = tempfile.mkdtemp(prefix="addrsvc-test-")
    try:
        os.chmod(name, 0o755)
        yield Path(name)
    finally:
        shutil.rmtree(name)


def controlled(config: str, clients: Callable[[Controlled], T], directory: Path | None = None) -> T:
    """Run a service while `clients` runs in a thread beside it; give what it gives.  Its socket is in a directory."""
    with public_directory() if directory is None else nullcontext(directory) as directory:
        file = directory / "addrsvc.toml"
        file.write_text(config)
        with (
            KeeperThread(lambda: [file], Ring(), lambda: None) as thread,
            control_socket(directory / "control") as sock,
        ):
            thread.start()
            return asyncio.run(_both(thread, sock, lambda: clients(Controlled(thread, file, directory / "control"))))


async def _both(thread: KeeperThread, sock: socket.socket, clients: Callable[[], T]) -> T:
    server = Server(shadow, sock, Log(least="error"), thread.serving, thread)
    task = asyncio.create_task(server.run())
    try:
        return await asyncio.wait_for(asyncio.to_thread(clients), PATIENCE)
    finally:
        server.stop()
        await task
