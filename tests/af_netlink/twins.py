"""The running kernel and the model, sent the same datagrams: what each answers, and what each tells its listeners."""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from struct import Struct, unpack_from
from types import TracebackType
from typing import Protocol, Self

from addrsvc import Linux
from addrsvc.af_netlink.groups import NGROUPS
from addrsvc.linux import Namespace
from addrsvc.mirror.child import in_a_child
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.uapi import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NETLINK_PKTINFO,
    NLM_F_ACK,
    NLM_F_REQUEST,
    SOL_NETLINK,
)
from tests.fidelity.machines import give_up_privilege
from tests.fidelity.normal import Normaliser

NLMSGHDR = Struct("=IHHII")
PORTIDS = {(False, True): 40_001, (True, True): 40_002, (False, False): 40_005, (True, False): 40_006}
"""The same on both sides, by whether the socket checks strictly and is an administrator's, since acknowledgements
carry it."""
MONITOR_PORTID, SLOW_PORTID = 40_003, 40_004
_BUFFER = 1 << 20
_PATIENCE = 10.0
_seq = count(1)
_NORMALISER = Normaliser()


def nla(kind: int, payload: bytes | int | str = b"") -> bytes:
    """One attribute: bytes as they are, a number as a u32, text with its NUL."""
    if isinstance(payload, int):
        payload = (payload & 0xFFFFFFFF).to_bytes(4, "little")
    elif isinstance(payload, str):
        payload = payload.encode() + b"\0"
    return (len(payload) + 4).to_bytes(2, "little") + kind.to_bytes(2, "little") + payload + bytes(-len(payload) & 3)


def nlmsg(nlmsg_type: int, body: bytes, flags: int = NLM_F_ACK) -> bytes:
    """One request, numbered, with NLM_F_REQUEST."""
    return NLMSGHDR.pack(16 + len(body), nlmsg_type, NLM_F_REQUEST | flags, next(_seq), 0) + body


class Port(Protocol):
    def send(self, data: bytes, uid: int | None = None) -> object: ...
    def recv(self, size: int) -> bytes: ...
    def heard(self) -> list[tuple[int, bytes]]: ...
    def close(self) -> None: ...


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def _new_unprivileged_socket() -> socket.socket:
    """To be called in a thread that ends soon."""
    give_up_privilege()
    return _new_socket()


class KernelPort:
    """A socket of the running kernel."""

    def __init__(
        self, netns: NetNs, *, portid: int, strict: bool = False, monitor: bool = False, admin: bool = True
    ) -> None:
        self._socket = run_in(netns, _new_socket if admin else _new_unprivileged_socket)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, strict)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.bind((portid, 0))
        self._socket.setblocking(False)
        if monitor:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_PKTINFO, 1)
            for group in range(1, NGROUPS + 1):
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def send(self, data: bytes, uid: int | None = None) -> object:
        return self._socket.send(data) if uid is None else in_a_child(lambda: self._send_as(uid, data))

    def _send_as(self, uid: int, data: bytes) -> int:
        os.setresuid(uid, uid, uid)
        return self._socket.send(data)

    def recv(self, size: int) -> bytes:
        return self._socket.recv(size)

    def heard(self) -> list[tuple[int, bytes]]:
        return list(self._read())

    def _read(self) -> Iterator[tuple[int, bytes]]:
        while True:
            try:
                data, control, _, _ = self._socket.recvmsg(_BUFFER, 64)
            except BlockingIOError:
                return
            yield (unpack_from("=I", control[0][2])[0] if control else 0), data

    def close(self) -> None:
        self._socket.close()


class ModelPort:
    """A socket of the model."""

    def __init__(
        self, net: Namespace, *, portid: int, strict: bool = False, monitor: bool = False, admin: bool = True
    ) -> None:
        self._socket = net.socket(admin=admin)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, strict)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.bind(portid)
        for group in range(1, NGROUPS + 1) if monitor else ():
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def send(self, data: bytes, uid: int | None = None) -> object:
        self._socket.uid = os.getuid() if uid is None else uid
        return self._socket.send(data)

    def recv(self, size: int) -> bytes:
        return self._socket.recv(size).data

    def heard(self) -> list[tuple[int, bytes]]:
        return list(self._read())

    def _read(self) -> Iterator[tuple[int, bytes]]:
        while self._socket.queue:
            datagram = self._socket.recv(_BUFFER)
            yield datagram.group, datagram.data

    def close(self) -> None:
        self._socket.close()


def young_net() -> Namespace:
    """A namespace of the model, lo down, made a second after boot, so that no time stamp in it is 0."""
    linux = Linux()
    linux.advance(1)
    return linux.add_net("young")


class Twins:
    """Both kernels, each with one fresh namespace and lo as told, and sockets that check strictly and that do not.

    Without a namespace of the running kernel the model is alone, and compared with nothing.
    """

    def __init__(self, netns: NetNs | None, net: Namespace | None = None) -> None:
        self.netns, self.net = netns, net or young_net()
        self._ports: dict[tuple[str, bool, bool], Port] = {}
        self._sides = ("model",) if netns is None else ("kernel", "model")
        self._monitors = {side: self._open(side, MONITOR_PORTID, monitor=True) for side in self._sides}

    def _open(self, side: str, portid: int, *, strict: bool = False, monitor: bool = False, admin: bool = True) -> Port:
        if side == "kernel" and self.netns is not None:
            return KernelPort(self.netns, portid=portid, strict=strict, monitor=monitor, admin=admin)
        return ModelPort(self.net, portid=portid, strict=strict, monitor=monitor, admin=admin)

    def port(self, side: str, *, strict: bool = False, admin: bool = True) -> Port:
        """The socket that asks, of "kernel" or "model"."""
        key = (side, strict, admin)
        if key not in self._ports:
            self._ports[key] = self._open(side, PORTIDS[strict, admin], strict=strict, admin=admin)
        return self._ports[key]

    def ask(
        self, data: bytes, *, strict: bool = False, ordered: bool = True, admin: bool = True, uid: int | None = None
    ) -> list[bytes]:
        """Send a datagram to both, compare what comes back and what is told, and hand out the answers.

        What a table tells that is hashed at random is not `ordered`.  Who asks is who runs us, but for a `uid`.
        """
        ports = {side: self.port(side, strict=strict, admin=admin) for side in self._sides}
        for port in ports.values():
            port.send(data, uid)
        return self._compared(ports, data, ordered=ordered)

    def _compared(self, ports: Mapping[str, Port], data: bytes, *, ordered: bool = True) -> list[bytes]:
        answers = {side: [got for _, got in port.heard()] for side, port in ports.items()}
        if "kernel" in answers:
            arranged = list if ordered else sorted
            model, kernel = arranged(spelled(answers["model"])), arranged(spelled(answers["kernel"]))
            assert model == kernel, f"model (left) and kernel (right) answered {data.hex()}"
            told = self.told()
            assert told["model"] == told["kernel"], f"model (left) and kernel (right) told of {data.hex()}"
        return answers["model"]

    @contextmanager
    def half_read(self, data: bytes, size: int, *, strict: bool = False) -> Iterator[list[bytes]]:
        """Send a datagram to both by new sockets, and read one datagram of the answer into so much room.

        The others are read, compared, and put into the list that this gives, when the block ends.
        """
        ports = {side: self._open(side, SLOW_PORTID, strict=strict) for side in self._sides}
        for port in ports.values():
            port.send(data)
        first = [spelled([port.recv(size)]) for port in ports.values()]
        assert first[-1] == first[0], f"model (left) and kernel (right) began to answer {data.hex()}"
        rest: list[bytes] = []
        yield rest
        rest += self._compared(ports, data)
        for port in ports.values():
            port.close()

    def heard(self, side: str) -> list[tuple[int, bytes]]:
        """What one of them, "kernel" or "model", told its listeners since the last look, each with its group."""
        return self._monitors[side].heard()

    def told(self) -> dict[str, list[str]]:
        """What each told its listeners since the last look; the running kernel may still be at it."""
        model = [f"group {group} {line}" for group, data in self._monitors["model"].heard() for line in spell(data)]
        if "kernel" not in self._monitors:
            return {"model": model}
        kernel: list[str] = []
        deadline = time.monotonic() + _PATIENCE
        while True:
            heard = self._monitors["kernel"].heard()
            kernel += [f"group {group} {line}" for group, data in heard for line in spell(data)]
            if kernel == model or time.monotonic() > deadline:
                return {"model": model, "kernel": kernel}
            time.sleep(0.001)

    def close(self) -> None:
        for port in (*self._ports.values(), *self._monitors.values()):
            port.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def messages(data: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """The messages of a datagram: type, flags, sequence number, port id, body."""
    found, offset = [], 0
    while offset + 16 <= len(data):
        length, *header = NLMSGHDR.unpack_from(data, offset)
        found.append((*header, data[offset + 16 : offset + length]))
        offset += length + 3 & ~3
    return found


def spell(data: bytes) -> list[str]:
    """Messages as lines to compare, without what cannot be compared."""
    comparable = messages(_NORMALISER.data(data))
    return [f"type {t} flags {f:#x} seq {seq} pid {pid} {body.hex()}" for t, f, seq, pid, body in comparable]


def spelled(datagrams: list[bytes]) -> list[str]:
    """Datagrams as lines to compare."""
    return [line for number, data in enumerate(datagrams) for line in (f"datagram {number}", *spell(data))]
