"""System calls that Python has no functions for."""

import ctypes
import os
from pathlib import Path
from typing import Final

__all__ = [
    "CLONE_NEWCGROUP", "CLONE_NEWIPC", "CLONE_NEWNET", "CLONE_NEWNS", "CLONE_NEWPID", "CLONE_NEWUTS", "MNT_DETACH",
    "MS_BIND", "MS_NOSUID", "MS_PRIVATE", "MS_RDONLY", "MS_REC", "MS_REMOUNT", "MS_SHARED", "die_with_parent",
    "drop_bound", "mount", "pivot_root", "umount", "unshare",
]  # fmt: skip

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_REMOUNT: Final = 1 << 5
MS_BIND: Final = 1 << 12
MS_REC: Final = 1 << 14
MS_PRIVATE: Final = 1 << 18
MS_SHARED: Final = 1 << 20
MNT_DETACH: Final = 2

CLONE_NEWNS: Final = 1 << 17
CLONE_NEWCGROUP: Final = 1 << 25
CLONE_NEWUTS: Final = 1 << 26
CLONE_NEWIPC: Final = 1 << 27
CLONE_NEWPID: Final = 1 << 29
CLONE_NEWNET: Final = 1 << 30

_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_DROP: Final = 24
_SIGKILL: Final = 9
_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "ppc64le": 203, "s390x": 217}.get(os.uname().machine, 41)

_libc: Final = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """Mount, or change a mount."""
    _call("mount", source, target, kind, ctypes.c_ulong(flags), data)


def umount(target: Path, flags: int = 0) -> None:
    """Take a mount away."""
    _call("umount2", target, flags)


def pivot_root(new: Path, old: Path) -> None:
    """Make `new` the root, and move the root before it to `old`."""
    _call("syscall", _SYS_PIVOT_ROOT, new, old)


def unshare(flags: int) -> None:
    """Give this process namespaces of its own; with CLONE_NEWPID, its next child."""
    _call("unshare", flags)


def die_with_parent() -> None:
    """Have this process killed when its parent ends."""
    _call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def drop_bound(capability: int) -> None:
    """Take a capability away from this process, and from whatever it becomes."""
    _call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)


def _call(name: str, *args: object) -> None:
    raw = [os.fsencode(arg) if isinstance(arg, str | Path) else arg for arg in args]
    if getattr(_libc, name)(*raw) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}{tuple(map(str, args))}: {os.strerror(errno)}")
