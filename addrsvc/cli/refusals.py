"""How a command ends that could not do what it was asked for."""

import sys
from contextlib import suppress

from addrsvc.errors import KernelError

__all__ = ["Refused", "fail", "refusal"]


class Refused(Exception):
    """A refusal in the words of the tool that users know for it, if that is not ip(8)."""


def fail(text: str, code: int) -> int:
    """Tell why, where errors are told, and give the exit code."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
    return code


def refusal(error: KernelError) -> str:
    """A refusal as ip(8) words it."""
    if error.extack is None:
        return f"RTNETLINK answers: {error.strerror}"
    return f"Error: {error.extack.removesuffix('.')}."
