"""What one may wait for, in words; see `conditions`."""

from typing import Final

__all__ = ["FORMS"]

FORMS: Final = (
    "ADDRESS on lo [in NETNS]",
    "ADDRESS not on lo [in NETNS]",
    "lo up [in NETNS]",
    "lo down [in NETNS]",
    "all wanted [in NETNS]",
    "NETNS attached",
    "NETNS gone",
)
"""What can be said.  Where no namespace is named, the host's is meant; with `all wanted`, all of them."""
