"""Netlink sockets that outlive the service, however it ends, since systemd keeps them.

What a kernel says while the service is dead waits in them, and the next one hears it: so it knows not only what is
missing, but what has happened.  What is kept keeps its namespace alive, so it is forgotten as soon as that has gone.
Which namespace a socket is of is asked of the kernel: it may have another name by now, or be kept under another one.
"""

import os
import socket
from collections.abc import Callable, Mapping
from fcntl import ioctl
from itertools import chain, count
from typing import Final

from addrsvc.daemon.courier import Courier
from addrsvc.daemon.systemd import forgetting, storing
from addrsvc.keeper.bpf import hear_everything
from addrsvc.keeper.kept import Kept

__all__ = ["STORED", "Vault", "name_of", "netns_of"]

STORED: Final = "heard-"
"""What the name of such a socket begins with."""
_SIOCGSKNS: Final = 0x894C


def name_of(label: str) -> str:
    """What systemd is to call the socket of a namespace; a name of its may hold no colon, and only ASCII."""
    return STORED + "".join(
        char if " " <= char <= "~" and char not in ":%" else "".join(f"%{byte:02X}" for byte in os.fsencode(char))
        for char in label
    )


class Vault:
    """The sockets.

    Args:
        stored: those that an earlier process left, by the rest of their names behind STORED.
        courier: who tells the service manager.
    """

    def __init__(self, stored: Mapping[str, socket.socket], courier: Courier) -> None:
        self._courier = courier
        self._stored: Final = {STORED + rest: sock for rest, sock in stored.items()}
        self._by_netns = {_identity(netns): name for name, sock in self._stored.items() if (netns := netns_of(sock))}
        self._taken = {*self._stored}
        self._names: dict[Kept, str] = {}
        self._is_left = False

    def open(self, kept: Kept, netns_fd: int, make: Callable[[], socket.socket]) -> socket.socket:
        """The one that was left in this very namespace; or a new one, which is kept from now on.

        What is of interest now may be something else than what its filter passed: there is none until there is another.
        """
        name = self._by_netns.get(_identity(os.fstat(netns_fd)))
        if name is not None and name in self._stored:
            sock = self._stored.pop(name)
            sock.setblocking(False)  # noqa: FBT003
            hear_everything(sock)
        else:
            sock, name = make(), self._free_name(kept.label)
            self._taken.add(name)
            self._courier.send(*storing(name), fds=[sock.fileno()], about=name)
        self._names[kept] = name
        return sock

    def _free_name(self, label: str) -> str:
        """One that is no other socket's: what has had this label before may have another one now."""
        names = chain([name_of(label)], (f"{name_of(label)}@{number}" for number in count(2)))
        return next(name for name in names if name not in self._taken)

    def release(self, kept: Kept) -> None:
        """Its namespace has gone, or is not wanted any more."""
        name = self._names.pop(kept, None)
        if name is not None and not self._is_left:
            self._forget(name)

    def tidy(self) -> None:
        """Forget what was left for namespaces that are not there any more."""
        for name, sock in self._stored.items():
            self._drop(name, sock)
        self._stored.clear()

    def leave(self) -> None:
        """Leave everything to the next process: what is released from now on is kept."""
        self._is_left = True

    def _drop(self, name: str, sock: socket.socket) -> None:
        sock.close()
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._taken.discard(name)
        if not self._courier.take_back(name):
            self._courier.send(*forgetting(name))


def netns_of(sock: socket.socket) -> os.stat_result | None:
    """Which namespace a socket is in; None where the kernel does not tell."""
    try:
        fd = ioctl(sock, _SIOCGSKNS)
    except OSError:
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _identity(netns: os.stat_result) -> tuple[int, int]:
    """What tells one namespace from another."""
    return netns.st_dev, netns.st_ino
