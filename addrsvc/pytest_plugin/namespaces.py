"""Namespaces of the running kernel: whether they can be had, how, and what keeps us from having them."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING

from addrsvc.errors import KernelError
from addrsvc.mirror.netns import NetNs, create_anonymous, create_rootless
from addrsvc.mirror.rtnl import RtnlKernel

if TYPE_CHECKING:
    from pyroute2 import IPRoute

    from addrsvc.linux import Namespace

__all__ = ["create", "open_iproute", "why_no_cap_sys_admin", "why_no_netns"]


def create(label: str) -> NetNs:
    """Make a namespace in the way that works here.

    Raises:
        KernelError: none does.
    """
    make = create_rootless if _why_not(create_anonymous) else create_anonymous
    return make(label)


def why_no_netns() -> str:
    """What keeps us from making a namespace and from changing something in it; empty if nothing does."""
    privileged = _why_not(create_anonymous)
    return privileged and _why_not(create_rootless)


def why_no_cap_sys_admin() -> str:
    """What keeps us from making a namespace without a user namespace for it; empty if nothing does."""
    return _why_not(create_anonymous)


@cache
def _why_not(make: Callable[[str], NetNs]) -> str:
    if sys.platform != "linux":
        return f"no namespace of the running kernel: {sys.platform} has none"
    try:
        with make("probe") as netns, RtnlKernel(netns) as kernel:
            kernel.dump()
    except KernelError as error:
        return f"no namespace of the running kernel: {error}"
    return ""


def open_iproute(kernel: "Namespace | RtnlKernel") -> "AbstractContextManager[IPRoute]":
    """A pyroute2 IPRoute on a namespace of either kernel."""
    from addrsvc.pyroute import iproute, iproute_in

    opened: AbstractContextManager[IPRoute] = (
        iproute_in(kernel.netns) if isinstance(kernel, RtnlKernel) else iproute(kernel, uid=_uid())
    )
    return opened


def _uid() -> int:
    """Who we are to a running kernel, which the model is to take us for as well; root where there is none."""
    return os.getuid() if sys.platform == "linux" else 0
