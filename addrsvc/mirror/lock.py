"""The lock of who changes a namespace: flock(2) on the namespace itself.

Whatever name it was opened by, it is one lock, and it ends with the process that has it, however that ends.
"""

import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from typing import Final

__all__ = ["lock", "owner", "unlock"]

_LOCKS: Final = "/proc/locks"


def lock(netns_fd: int) -> bool:
    """Have the lock, which is of the descriptor and its copies; whether nobody else has it."""
    try:
        flock(netns_fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(netns_fd: int) -> None:
    """Let somebody else have the lock."""
    flock(netns_fd, LOCK_UN)


def owner(netns_fd: int) -> int:
    """Who has the lock on a namespace; 0 where nobody has it, or somebody in another pid namespace."""
    status = os.fstat(netns_fd)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        with open(_LOCKS, encoding="ascii") as locks:
            rows = [line.split() for line in locks]
    except OSError:
        return 0
    return next((int(row[4]) for row in rows if row[1:2] == ["FLOCK"] and row[5] == file), 0)
