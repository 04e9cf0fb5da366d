"""The files of a throw-away machine: this one's, through an overlay, less what would start by itself."""

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.systemd.syscalls import (
    MNT_DETACH,
    MS_BIND,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SHARED,
    mount,
    pivot_root,
    umount,
)

__all__ = ["NoOverlay", "enter_root"]

_SCRATCH: Final = Path("/sys")
"""Where it is put together: a directory that every machine has, and that nothing needs meanwhile."""
_ITS_OWN: Final = ("/proc", "/sys", "/dev", "/run", "/boot", "/snap", "/var/lib", "/var/snap")
"""What is mounted on these is not passed on."""
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS: Final = {
    "ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}  # fmt: skip
_VENDOR: Final = "usr/lib/systemd/system"
_JOURNAL: Final = {
    "systemd-journald.service": "sysinit.target.wants",
    "systemd-journald.socket": "sockets.target.wants",
    "systemd-journald-dev-log.socket": "sockets.target.wants",
}
_SETTINGS: Final = {
    "etc/fstab": "",
    "etc/systemd/journald.conf": "[Journal]\nStorage=volatile\nRateLimitBurst=0\n",
    # One byte: a core is neither written, nor handed to this machine's handler of cores.
    "etc/systemd/system.conf": "[Manager]\nDefaultLimitCORE=1\n",
}
_MASKED: Final = ("systemd-journald-audit.socket", "tmp.mount")


class NoOverlay(Exception):
    """The kernel does not put an overlay on these files."""


def enter_root(binds: Mapping[str, str], console: str) -> None:
    """Make the machine's root and change to it; in a mount namespace of our own.

    Args:
        binds: directories of this machine, and where the new one is to see them, read only.
        console: what is to be /dev/console.

    Raises:
        NoOverlay: there is no overlay to be had.
    """
    mount("none", Path("/"), None, MS_REC | MS_PRIVATE)
    others = dict.fromkeys(_file_systems())
    mount("tmpfs", _SCRATCH, "tmpfs", 0, "mode=755")
    root = _SCRATCH / "root"
    root.mkdir()
    _put_overlays(root, others)
    _mount_kernel_file_systems(root)
    _make_devices(root / "dev", console)
    _leave_only_the_journal(root)
    for source, target in binds.items():
        place = root / target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        _bind(source, place, MS_RDONLY)
    os.chdir(root)
    pivot_root(Path("."), Path("."))
    umount(Path("."), MNT_DETACH)
    mount("none", Path("/"), None, MS_REC | MS_SHARED)  # as systemd has it: what is mounted later reaches the services
    os.chdir("/")


def _file_systems() -> Iterator[str]:
    """Where this machine has file systems of their own that hold files of its."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        place = left.split()[4]
        is_hidden = any(f"{place}/".startswith(f"{hidden}/") for hidden in _ITS_OWN)
        is_plain = right.split()[0] != "autofs" and "\\" not in place  # an escaped character
        if place != "/" and not is_hidden and is_plain and os.path.isdir(place):
            yield place


def _put_overlays(root: Path, others: Mapping[str, None]) -> None:
    try:
        _overlay("/", root, _SCRATCH / "0")
    except OSError as error:
        raise NoOverlay(f"no overlay on this machine's files: {os.strerror(error.errno or 0)}") from None
    for number, place in enumerate(others, 1):
        with suppress(OSError):  # the machine does without it, then
            _overlay(place, root / place.lstrip("/"), _SCRATCH / str(number))


def _overlay(lower: str, target: Path, scratch: Path) -> None:
    upper, work = scratch / "upper", scratch / "work"
    work.mkdir(parents=True)
    upper.mkdir()
    status = os.stat(lower)
    os.chown(upper, status.st_uid, status.st_gid)
    upper.chmod(status.st_mode & 0o7777)
    mount("overlay", target, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")


def _mount_kernel_file_systems(root: Path) -> None:
    for name in ("proc", "sys", "dev", "run"):
        (root / name).mkdir(exist_ok=True)
    mount("proc", root / "proc", "proc")
    for knob, flags in (("sysrq-trigger", MS_RDONLY), ("sys", MS_RDONLY), ("sys/net", 0)):  # only net's are its own
        if (root / "proc" / knob).exists():
            _bind(str(root / "proc" / knob), root / "proc" / knob, flags)
    mount("sysfs", root / "sys", "sysfs", MS_RDONLY)
    mount("cgroup2", root / "sys/fs/cgroup", "cgroup2")
    mount("tmpfs", root / "run", "tmpfs", MS_NOSUID, "mode=755")
    mount("tmpfs", root / "dev", "tmpfs", MS_NOSUID, "mode=755")


def _make_devices(dev: Path, console: str) -> None:
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount("devpts", dev / "pts", "devpts", 0, "newinstance,ptmxmode=666,mode=620,gid=5")
    mount("tmpfs", dev / "shm", "tmpfs", MS_NOSUID, "mode=1777")
    for name, source in {**{name: f"/dev/{name}" for name in _DEVICES}, "console": console}.items():
        (dev / name).touch()
        mount(source, dev / name, None, MS_BIND)
    for name, target in _LINKS.items():
        (dev / name).symlink_to(target)


def _leave_only_the_journal(root: Path) -> None:
    vendor, etc = root / _VENDOR, root / "etc/systemd/system"
    wanting = [found for kind in ("*.wants", "*.requires") for found in vendor.glob(kind)]
    generators = [*(root / "usr/lib/systemd").glob("*-generators")]
    for directory in (*wanting, *generators, root / "etc/systemd", root / "usr/local/lib/systemd"):
        shutil.rmtree(directory, ignore_errors=True)
    for unit, wants in _JOURNAL.items():
        (vendor / wants).mkdir(parents=True, exist_ok=True)
        (vendor / wants / unit).symlink_to(f"../{unit}")
    etc.mkdir(parents=True)
    for name, text in {**_SETTINGS, "etc/machine-id": f"{uuid.uuid4().hex}\n"}.items():
        (root / name).unlink(missing_ok=True)  # it may be a link
        (root / name).write_text(text)
    for unit in _MASKED:
        (etc / unit).symlink_to("/dev/null")


def _bind(source: str, target: Path, flags: int) -> None:
    mount(source, target, None, MS_BIND | MS_REC)
    mount("none", target, None, MS_BIND | MS_REMOUNT | flags)
