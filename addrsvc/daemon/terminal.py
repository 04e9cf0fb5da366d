"""What may go to a terminal: text without anything that it would take for more than text, and colours if it likes."""

import os
from typing import TextIO

__all__ = ["printable", "wants_colour"]


def printable(text: str) -> str:
    """Text whose parts somebody else has named, without what would move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def wants_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user did not ask for plain text (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
