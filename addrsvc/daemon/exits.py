"""What a command ends with, where that is more than done, wrong or refused."""

from typing import Final

__all__ = ["EX_CONFIG", "UNSENT"]

UNSENT: Final = 3
"""Everything was done that could be, and something wanted could not."""

EX_CONFIG: Final = 78
"""What a service ends with that trying again will not help (sysexits.h)."""
