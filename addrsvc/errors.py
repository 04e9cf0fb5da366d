"""Every error addrsvc raises on purpose.  What a kernel refuses is a KernelError, whichever kernel it was."""

import os
from collections.abc import Sequence
from errno import EOPNOTSUPP, errorcode
from typing import NamedTuple

__all__ = [
    "AddrsvcError", "CodecError", "ConfigError", "ControlError", "KernelError", "KernelPanic", "NotPermitted",
    "Problem", "RtnlAssertionError",
]  # fmt: skip


class AddrsvcError(Exception):
    """Base of all errors that a caller may want to catch together."""


class KernelError(AddrsvcError, OSError):
    """A kernel, modelled or real, refused a request.

    Attributes:
        errno: the positive error number, as in ``errno.EADDRNOTAVAIL``.
        extack: the kernel's extended-acknowledgement text, or None where it gives none.
        attr: the number of the attribute that the kernel points at, or a path of numbers into nested ones, or None.
        missing: the number of the attribute that the kernel says is missing, or None.
    """

    def __init__(
        self,
        errno: int,
        extack: str | None = None,
        *,
        attr: int | tuple[int, ...] | None = None,
        missing: int | None = None,
    ) -> None:
        super().__init__(errno, os.strerror(errno))
        self.extack = extack
        self.attr = attr
        self.missing = missing

    def __str__(self) -> str:
        """The refusal in the words of ip(8): the extack text if there is one, else the errno's own."""
        return f"{self.extack or self.strerror} ({self.name})"

    @property
    def name(self) -> str:
        """The errno's symbol, ``EADDRNOTAVAIL``; of two for one number, the one that the kernel uses."""
        if self.errno == EOPNOTSUPP:
            return "EOPNOTSUPP"
        return errorcode.get(self.errno, str(self.errno)) if self.errno is not None else "?"


class KernelPanic(AddrsvcError):
    """A modelled kernel cannot go on; the text is the last line that it printed."""


class CodecError(AddrsvcError, ValueError):
    """Bytes that are no message, or a value that has no bytes.

    Attributes:
        offset: where in the bytes, or None for a value.
        attribute: the number of the attribute whose length lies, or None.
    """

    def __init__(self, text: str, offset: int | None = None, attribute: int | None = None) -> None:
        super().__init__(text if offset is None else f"{text} (at byte {offset})")
        self.offset, self.attribute = offset, attribute


class ControlError(AddrsvcError, ValueError):
    """A request that is no request: the text names the parameter and what it would accept."""


class Problem(NamedTuple):
    """One thing that is wrong with a configuration.

    Attributes:
        file: where it is written.
        line: counted from 1; 0 where it is about the file as a whole.
        key: as in ``rule.edge.addresses[0].metric``; empty where it is about no key.
        text: what is wrong, and what would be accepted.
    """

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        """As compilers word it, so that editors find the place."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.key, self.text) if part)


class ConfigError(AddrsvcError, ValueError):
    """A configuration that cannot be used; nothing of it is.

    Attributes:
        problems: all there are, of all files, in order.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class NotPermitted(AddrsvcError):
    """Something was asked for by somebody who may not; the text says who may."""


class RtnlAssertionError(AssertionError):
    """RTNL was not held where the kernel asserts it, or was taken twice: a bug of the caller, never caught."""
