"""inotify(7), Python having none of it: what happens in directories."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from errno import EMFILE, ENOSPC
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError

__all__ = [
    "IN_CREATE", "IN_DELETE", "IN_DELETE_SELF", "IN_IGNORED", "IN_MOVED_FROM", "IN_MOVED_TO", "IN_MOVE_SELF",
    "IN_Q_OVERFLOW", "IN_UNMOUNT", "Inotify",
]  # fmt: skip

IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_UNMOUNT: Final = 0x2000
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
_IN_ONLYDIR: Final = 0x1000000

_WATCHED: Final = (
    IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | _IN_ONLYDIR
)  # the same for all directories, since one that is watched twice has one mask
_EVENT: Final = Struct("@iIII")
_READ: Final = 1 << 16


class Inotify:
    """Watches of directories: their names come and go, and so do they.

    Raises:
        KernelError: this user has too many of them.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._fd = self._done(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            raise KernelError(error.errno or EMFILE, f"inotify_init1: {error.strerror}") from None

    def fileno(self) -> int:
        """The descriptor, readable when something has happened."""
        return self._fd

    def watch(self, directory: str) -> int:
        """Watch a directory; watching it twice gives the same number.

        Raises:
            OSError: it is not there, is no directory, or may not be read; or there are too many watches.
        """
        return self._done(self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _WATCHED), directory)

    def unwatch(self, number: int) -> None:
        """Watch a directory no more; one that has gone meanwhile is none."""
        self._libc.inotify_rm_watch(self._fd, number)

    def read(self) -> Iterator[tuple[int, int, str]]:
        """What has happened since: the number of the directory (-1 with IN_Q_OVERFLOW), the mask, and the name."""
        with suppress(BlockingIOError):
            while data := os.read(self._fd, _READ):
                yield from _events(data)

    def close(self) -> None:
        """End all watches."""
        os.close(self._fd)

    def _done(self, result: int, path: str | None = None) -> int:
        if result >= 0:
            return result
        errno = ctypes.get_errno()
        raise OSError(errno, f"{os.strerror(errno)}{_LIMITS.get(errno, '')}", path)


_LIMITS: Final = {EMFILE: " (see fs.inotify.max_user_instances)", ENOSPC: " (see fs.inotify.max_user_watches)"}
"""What sets a limit that was reached; the error by itself would be about files, or about space."""


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    offset = 0
    while offset < len(data):
        number, mask, _, length = _EVENT.unpack_from(data, offset)
        offset += _EVENT.size
        yield number, mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length
