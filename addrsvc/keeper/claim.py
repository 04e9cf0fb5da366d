"""Whose a namespace is to keep: two services that keep the same one would never agree.

It is a lock on the namespace itself, which ends with the process that has it.
"""

from typing import Final

from addrsvc.mirror.lock import lock, owner, unlock

__all__ = ["SOMEBODY", "claim", "release", "who_keeps"]

SOMEBODY: Final = "another service keeps it"


def claim(netns_fd: int) -> bool:
    """Let no other service keep a namespace; whether none does.  What has no descriptor cannot be claimed."""
    return netns_fd < 0 or lock(netns_fd)


def release(netns_fd: int) -> None:
    """Let another service keep it."""
    if netns_fd >= 0:
        unlock(netns_fd)


def who_keeps(netns_fd: int) -> str:
    """That another service keeps it, and which process that is, if it can be seen from here."""
    pid = owner(netns_fd) if netns_fd >= 0 else 0
    if not pid:
        return SOMEBODY
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"{SOMEBODY}: process {pid} ({file.read().rstrip()})"
    except OSError:
        return f"{SOMEBODY}: process {pid}"
