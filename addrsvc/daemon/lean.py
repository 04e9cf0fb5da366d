"""What a service does about its memory and limits: loads what somebody uses, and gives back what is not needed."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["settle", "share_one_heap", "take_descriptors", "without"]

_M_ARENA_MAX: Final = -8


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


def share_one_heap() -> None:
    """Have all threads take memory from one place, before there are any; only one of them runs at a time, anyway."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):  # of glibc alone
        libc.mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """What is there now stays, and the collector need not look at it again; what was used to load it is given back."""
    gc.collect()
    gc.freeze()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # of glibc alone
        libc.malloc_trim(0)


def take_descriptors() -> None:
    """Let this process have as many descriptors as it may: each namespace takes up to three."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
