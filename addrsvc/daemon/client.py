"""Where the control socket is, and a blocking client for it.

A Varlink message is a JSON object and a zero byte, which is little enough to speak without a library: a command of a
moment does not pay for an event loop.  The service's side is `interface`, where the library is.
"""

import json
import os
import select
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_IWGRP
from types import TracebackType
from typing import Final, Self

from addrsvc.errors import AddrsvcError, ConfigError, ControlError, KernelError, Problem

__all__ = [
    "INTERFACE",
    "KEEPER",
    "Client",
    "Ended",
    "NoInterface",
    "ServiceError",
    "TimedOut",
    "control_path",
    "find_control",
    "method_name",
]

INTERFACE: Final = "org.addrsvc.Control"
"""Of a model."""
KEEPER: Final = "org.addrsvc.Keeper"
"""Of a service that keeps namespaces."""
SYSTEM_CONTROL: Final = Path("/run/addrsvc/control")
_CHUNK: Final = 1 << 16


class ServiceError(AddrsvcError):
    """There is no service to ask, it has gone, or it does not do what was asked for."""


class NoInterface(ServiceError):
    """There is a service, but of another kind than the one that would do what was asked for."""


class Ended(ServiceError):
    """The service has ended, or is about to, before it answered."""


class TimedOut(ServiceError):
    """What was waited for has not come true in time."""


def control_path() -> Path | None:
    """Where the control socket is by default, or None for a user to whom the system gives no directory."""
    if os.geteuid() == 0:
        return SYSTEM_CONTROL
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime, "addrsvc", "control") if runtime else None


def find_control() -> Path | None:
    """The control socket to ask by default: one's own if there is one, else the system's."""
    own = control_path()
    if (own is None or not os.path.exists(own)) and os.path.exists(SYSTEM_CONTROL):
        return SYSTEM_CONTROL
    return own


def control_to_ask(given: Path | None) -> Path:
    """The control socket that was named, or the one to ask by default.

    Raises:
        ServiceError: none was named, and there is no default.
    """
    path = given or find_control()
    if path is None:
        raise ServiceError("no default control socket, as XDG_RUNTIME_DIR is not set: name it with --control PATH")
    return path


def method_name(command: str) -> str:
    """A command's name in Varlink's spelling: ``link_set`` is ``LinkSet``."""
    return "".join(word.capitalize() for word in command.split("_"))


class Client:
    """A connection to a running service.

    Args:
        path: the control socket.

    Raises:
        ServiceError: nobody listens there, or one may not connect.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._unread = b""
        self._path = path
        try:
            self._socket.connect(os.fspath(path))
        except OSError as error:
            self._socket.close()
            raise ServiceError(_no_service(path, error)) from None

    @property
    def listener(self) -> int:
        """Which process listens at the socket: the service, or whoever starts it for those who connect."""
        pid, _, _ = struct.unpack("3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def ask(self, command: str, parameters: Mapping[str, object], *, interface: str = INTERFACE) -> dict[str, object]:
        """Run one command of the service and give what it answers.

        Raises:
            KernelError: the service's kernel refused.
            ControlError: the service could make nothing of the request.
            ConfigError: it was to read a configuration, which is wrong.
            NoInterface: it has no such interface.
            ServiceError: it may not be done, or the service went away.
        """
        self._send(command, parameters, interface, more=False)
        return _parameters(self._receive())

    def stream(
        self,
        command: str,
        parameters: Mapping[str, object],
        *,
        output: int | None = None,
        interface: str = INTERFACE,
    ) -> Iterator[dict[str, object]]:
        """Run a command that answers many times, until the service has no more to say.

        Args:
            command: what to run.
            parameters: what it takes.
            output: a descriptor that the answers will be written to.
            interface: whose command it is.

        Raises:
            BrokenPipeError: nobody reads `output` any more.
            Ended: the service has ended and had more to say.
            AddrsvcError: as with `ask`.
        """
        self._send(command, parameters, interface, more=True)
        continues: object = True
        while continues:
            reply = self._receive(output)
            continues = reply.get("continues")
            yield _parameters(reply)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _send(self, command: str, parameters: Mapping[str, object], interface: str, *, more: bool) -> None:
        call: dict[str, object] = {"method": f"{interface}.{method_name(command)}", "parameters": dict(parameters)}
        if more:
            call["more"] = True
        try:
            self._socket.sendall(json.dumps(call).encode() + b"\0")
        except ConnectionError:
            raise Ended("the service hung up") from None

    def _receive(self, output: int | None = None) -> dict[str, object]:
        while b"\0" not in self._unread:
            if output is not None:
                self._wait_beside(output)
            self._unread += self._read()
        first, self._unread = self._unread.split(b"\0", 1)
        reply: dict[str, object] = json.loads(first)
        return reply

    def _read(self) -> bytes:
        with suppress(ConnectionError):
            if data := self._socket.recv(_CHUNK):
                return data
        raise Ended(f"the service ended before it answered{_to_see_why(self._path)}")

    def _wait_beside(self, output: int) -> None:
        """Wait for the service to speak; a pipe whose reader has gone says so by an error, unasked."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(output, 0)
        if output in dict(poll.poll()):
            raise BrokenPipeError


def _no_service(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError() | ConnectionRefusedError():
            return f"no service is running at {path} (to start one: {_to_start(path)}; to ask a fresh model: --once)"
        case PermissionError():
            return f"{path}: {error.strerror}: {_who_may_connect(path)}"
        case _:
            return f"{path}: {error.strerror or error}"


def _to_see_why(path: Path) -> str:
    """What to add where a service has ended, if there is somewhere to look."""
    unit = _unit(path)
    return f" (see: journalctl -u {unit})" if unit else ""


def _to_start(path: Path) -> str:
    """How there comes to be a service at a socket; a service manager starts one where its units are installed."""
    unit, instance = _unit(path), _instance(path)
    if unit:
        return f"systemctl start {unit}"
    keep = f"addrsvc run --keep --inside {instance}" if instance else "addrsvc run --keep"
    return keep if path == control_path() else f"{keep} --control {path}"


def _unit(path: Path) -> str:
    """Whose socket it is, as systemctl(1) calls it; empty where it is no unit's."""
    instance = _instance(path)
    name = "addrsvc@" if instance else "addrsvc"
    if not instance and path != SYSTEM_CONTROL:
        return ""
    is_installed = any(os.path.lexists(f"{place}/systemd/system/{name}.service") for place in _UNITS)
    return f"{name}{instance}" if is_installed else ""


def _instance(path: Path) -> str:
    """Of which namespace alone a service is, by its socket; empty where it is not of one alone."""
    return path.parent.name if path.parent.parent == SYSTEM_CONTROL.parent else ""


_UNITS: Final = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
"""Below which service managers find units."""


def _who_may_connect(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "the service belongs to another user"
    if not status.st_mode & S_IWGRP:
        return "the service belongs to another user"
    from addrsvc.daemon.authority import for_readers

    return for_readers(status.st_gid)


def _parameters(reply: Mapping[str, object]) -> dict[str, object]:
    given = reply.get("parameters")
    parameters: dict[str, object] = given if isinstance(given, dict) else {}
    if "error" in reply:
        raise _error(str(reply["error"]), parameters)
    return parameters


def _error(name: str, given: Mapping[str, object]) -> AddrsvcError:
    interface, _, word = name.rpartition(".")
    match word if interface in (INTERFACE, KEEPER) else name, given:
        case "KernelRefused", {"errno": int(errno)}:
            extack = given.get("extack")
            return KernelError(errno, None if extack is None else str(extack))
        case "BadRequest", {"text": text}:
            return ControlError(str(text))
        case "BadConfiguration", {"problems": list(problems)}:
            return ConfigError([Problem(**problem) for problem in problems])
        case "PermissionDenied", {"text": text}:
            return ServiceError(f"not permitted: {text}")
        case "TimedOut", {"text": text}:
            return TimedOut(str(text))
        case "Unavailable", {"text": text}:
            return Ended(str(text))
        case "org.varlink.service.InvalidParameter", {"parameter": parameter}:
            return ControlError(f"{parameter}: not of the kind that is expected there")
        case "org.varlink.service.InterfaceNotFound", {"interface": found}:
            return NoInterface(_NO_INTERFACE.get(str(found), f"the service has no interface {found}"))
        case _:
            return ServiceError(f"the service answered {name} {dict(given) or ''}".rstrip())


_NO_INTERFACE: Final = {
    KEEPER: "the service that runs does not keep namespaces (one that does: addrsvc run --keep)",
    INTERFACE: "the service that runs has no model",
}
