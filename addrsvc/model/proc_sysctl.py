"""kernel/sysctl.c: numbers out of what is written below /proc/sys, and what a part of that tree has to answer."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from errno import EINVAL
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.structs import Net
from addrsvc.uapi import INT_MAX

__all__ = ["S32", "U32", "WHITE", "CtlTables", "first_number", "proc_dointvec"]

S32: Final = (-INT_MAX - 1, INT_MAX)
U32: Final = (0, 0xFFFFFFFF)
WHITE: Final = " \t\n"
_FIRST_NUMBER = re.compile(r"[ \t-\r]*(-?)(0[xX][0-9a-fA-F]+|[0-9]+)(?:[ \t\n]|\Z)")


@dataclass(frozen=True, slots=True)
class CtlTables:
    """Ours: the settings of one protocol in a namespace.  What cannot be had is a KernelError, ENOENT."""

    names: Callable[[Net], list[str]]
    """All that can be read now."""
    read: Callable[[Net, str], str]
    write: Callable[[Net, str, str], None]
    """RTNL is held."""


def first_number(text: str) -> int:
    """The first number of a text: decimal, 0x or 0 octal.

    Kernel: kernel/sysctl.c, proc_get_long().

    Raises:
        KernelError: EINVAL, it does not begin with one.
    """
    found = _FIRST_NUMBER.match(text)
    if found is None:
        raise KernelError(EINVAL)
    sign, digits = found.groups()
    try:
        value = int(digits, 8 if digits[0] == "0" and digits.isdigit() else 0)
    except ValueError:
        raise KernelError(EINVAL) from None
    return -value if sign else value


def proc_dointvec(text: str, limits: tuple[int, int] = S32) -> int:
    """The number that a text means, if it lies within limits.

    Kernel: kernel/sysctl.c, proc_dointvec(), proc_douintvec() and their kin.

    Raises:
        KernelError: EINVAL, no number or none that fits.
    """
    value = first_number(text)
    least, most = limits
    if not least <= value <= most:
        raise KernelError(EINVAL)
    return value
