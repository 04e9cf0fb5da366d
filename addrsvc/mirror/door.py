"""The door to a namespace of the running kernel: opened by name, and locked while it is open."""

from errno import EPERM
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.mirror.netns import Identity, claim, leads_to, open_netns
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import INT_MAX

__all__ = ["NetnsDoor"]

_NOTHING: Final = LinkMsg(ifi_index=INT_MAX)
"""A change of a device that does not exist: who may change nothing hears that first."""


class NetnsDoor:
    """A Door (see addrsvc.mirror.kernel) to a namespace of the running kernel.

    Args:
        spec: a name below /run/netns, a path, a process id, or ``host``.
        is_dry: nothing will ever be sent, so neither privilege nor the lock is needed.
    """

    def __init__(self, spec: str, *, is_dry: bool = False) -> None:
        self.spec = spec
        self._is_dry = is_dry
        self._kernel: RtnlKernel | None = None

    @property
    def identity(self) -> Identity | None:
        """The namespace that was opened, or None where the door is closed."""
        return None if self._kernel is None else self._kernel.netns.identity

    def open(self) -> RtnlKernel:
        """Open the namespace that the name leads to now, and be the only one who changes it.

        Raises:
            NoNetns: it leads to none.
            ControlError: another service, or another door of this one, mirrors onto it.
            KernelError: a privilege is missing.
        """
        self.close()
        with open_netns(self.spec) as netns:
            if not self._is_dry:
                claim(netns)
            kernel = RtnlKernel(netns)
        try:
            self._require_privilege(kernel)
        except BaseException:
            kernel.close()
            raise
        self._kernel = kernel
        return kernel

    def is_current(self) -> bool:
        """Whether what was opened is still what the name leads to."""
        return self.identity is not None and self.identity == leads_to(self.spec)

    def close(self) -> None:
        """Let go of what was opened.  Closing twice is no error."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.close()

    def _require_privilege(self, kernel: RtnlKernel) -> None:
        if self._is_dry:
            return
        try:
            kernel.request(_NOTHING)
        except KernelError as error:
            if error.errno == EPERM:
                raise KernelError(EPERM, f"changing {kernel.netns.label} needs CAP_NET_ADMIN") from None
