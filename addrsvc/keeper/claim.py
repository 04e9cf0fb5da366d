"""Whose a namespace is to keep: two services that keep the same one would never agree.

It is a lock on the namespace itself, which ends with the process that has it.
"""

import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from typing import Final

__all__ = ["SOMEBODY", "claim", "release", "who_keeps"]

_LOCKS: Final = "/proc/locks"
SOMEBODY: Final = "another service keeps it"


def claim(netns_fd: int) -> bool:
    """Let no other service keep a namespace; whether none does.  What has no descriptor cannot be claimed."""
    if netns_fd >= 0:
        try:
            flock(netns_fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
    return True


def release(netns_fd: int) -> None:
    """Let another service keep it."""
    if netns_fd >= 0:
        flock(netns_fd, LOCK_UN)


def who_keeps(netns_fd: int) -> str:
    """That another service keeps it, and which process that is, if it can be seen from here."""
    pid = _owner(netns_fd)
    if not pid:
        return SOMEBODY
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"{SOMEBODY}: process {pid} ({file.read().rstrip()})"
    except OSError:
        return f"{SOMEBODY}: process {pid}"


def _owner(netns_fd: int) -> int:
    """Who has the lock on a namespace; 0 where nobody has it, or somebody in another pid namespace."""
    if netns_fd < 0:
        return 0
    status = os.fstat(netns_fd)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        with open(_LOCKS, encoding="ascii") as locks:
            rows = [line.split() for line in locks]
    except OSError:
        return 0
    return next((int(row[4]) for row in rows if row[1:2] == ["FLOCK"] and row[5] == file), 0)
