"""The system calls of namespaces, Python 3.11 having none of them, and another one that it has not in this form."""

import os
import sys
from collections.abc import Callable
from errno import EINVAL
from functools import cache
from pathlib import Path
from typing import Final, cast

__all__ = [
    "CLONE_NEWNET", "CLONE_NEWNS", "CLONE_NEWUSER", "MNT_DETACH", "MS_BIND", "MS_REC", "MS_SHARED", "MS_SLAVE",
    "NotMounted", "die_with_parent", "disconnect", "mount", "setns", "umount", "unshare",
]  # fmt: skip

CLONE_NEWNET: Final = 0x40000000
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
MS_BIND: Final = 1 << 12
MS_REC: Final = 1 << 14
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MNT_DETACH: Final = 2
_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9
_SOCKADDR_UNSPEC: Final = bytes(16)


class NotMounted(OSError):
    """EINVAL of mount(2) and umount2(2): the path is no mount point."""


def setns(fd: int, nstype: int) -> None:
    """Enter a namespace, with the calling thread alone."""
    if sys.version_info >= (3, 12):
        os.setns(fd, nstype)
    else:
        _call("setns", fd, nstype)


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces."""
    if hasattr(os, "unshare"):
        os.unshare(flags)
    else:
        _call("unshare", flags)


def mount(source: str, target: Path, flags: int) -> None:
    """Mount, or change a mount.

    Raises:
        NotMounted: it is none.
    """
    from ctypes import c_ulong

    _call("mount", source.encode(), os.fsencode(target), b"none", c_ulong(flags), None)


def umount(target: Path) -> None:
    """Take a mount away, at once for the eye.

    Raises:
        NotMounted: it is none.
    """
    _call("umount2", os.fsencode(target), MNT_DETACH)


def disconnect(fd: int) -> None:
    """Undo the bind(2) of a datagram socket to an address without a port, by connect(2) to AF_UNSPEC."""
    _call("connect", fd, _SOCKADDR_UNSPEC, len(_SOCKADDR_UNSPEC))


def die_with_parent() -> None:
    """Have this process killed when the thread that made it ends.  Gaining capabilities undoes it."""
    _call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _call(name: str, *args: object) -> None:
    if _function(name)(*args) == 0:
        return
    from ctypes import get_errno

    errno = get_errno()
    if errno == EINVAL and name in ("mount", "umount2"):
        raise NotMounted(errno, os.strerror(errno))
    raise OSError(errno, os.strerror(errno))


@cache
def _function(name: str) -> Callable[..., int]:
    """Looked up once: that takes many times as long as entering a namespace does."""
    from ctypes import CDLL

    return cast("Callable[..., int]", getattr(CDLL(None, use_errno=True), name))
