"""The journal of systemd by its native protocol: an entry is a datagram of fields, and needs no library.

See https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import fcntl
import os
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from errno import EMSGSIZE, ENOBUFS
from typing import Final

__all__ = ["PRIORITIES", "SOCKET", "entry", "is_read_by_journal", "send"]

SOCKET = "/run/systemd/journal/socket"
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""What syslog calls our levels."""
_PREFIX: Final = "ADDRSVC_"
_LONGEST_NAME: Final = 64
_NO_NAME: Final = re.compile(r"[^A-Z0-9_]")
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE: Final = (EMSGSIZE, ENOBUFS)


def is_read_by_journal(fd: int) -> bool:
    """Whether a descriptor is the stream to the journal that systemd has opened for this service.

    What $JOURNAL_STREAM says must be true of the descriptor itself, which may have been redirected since.
    """
    with suppress(OSError):
        status = os.fstat(fd)
        return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False


def entry(message: str, level: str, fields: Mapping[str, object]) -> bytes:
    """An entry as the journal wants it; what it says in `fields` gets names of our own."""
    own = {_PREFIX + _name(name): value for name, value in fields.items()}
    said = {"MESSAGE": message, "PRIORITY": PRIORITIES[level], "SYSLOG_IDENTIFIER": "addrsvc", **own}
    return b"".join(_field(name, value) for name, value in said.items())


def _name(name: str) -> str:
    return _NO_NAME.sub("_", name.upper())[: _LONGEST_NAME - len(_PREFIX)]


def _field(name: str, value: object) -> bytes:
    """One field; a value with line breaks goes with its length instead of a line's end."""
    data = _text(value).encode(errors="backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case list() | tuple():
            return " ".join(map(_text, value))
    return str(value)


def send(data: bytes) -> None:
    """Send an entry to the journal.

    Raises:
        OSError: nobody takes it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(data, SOCKET)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            _send_file(sock, data)


def _send_file(sock: socket.socket, data: bytes) -> None:
    """Send what is too large for a datagram in a file that cannot be changed any more."""
    with open(os.memfd_create("addrsvc", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
        file.write(data)
        file.flush()
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        descriptor = file.fileno().to_bytes(4, sys.byteorder)  # socket.send_fds() forgets the address
        sock.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor)], 0, SOCKET)
