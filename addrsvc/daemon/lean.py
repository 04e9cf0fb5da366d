"""Loading libraries without what they would load for purposes that nobody has here: megabytes of memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without"]


@contextmanager
def without(name: str) -> Iterator[None]:
    """Have whatever is loaded in this block not find a module that it can do without, unless that is loaded already."""
    is_loaded = name in sys.modules
    if not is_loaded:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if not is_loaded:
            del sys.modules[name]
