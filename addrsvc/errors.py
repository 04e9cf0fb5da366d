"""Every error addrsvc raises on purpose.  What a kernel refuses is a KernelError, whichever kernel it was."""

import os
from errno import EOPNOTSUPP, errorcode

__all__ = ["AddrsvcError", "CodecError", "ControlError", "KernelError", "KernelPanic", "RtnlAssertionError"]


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


class RtnlAssertionError(AssertionError):
    """RTNL was not held where the kernel asserts it, or was taken twice: a bug of the caller, never caught."""
