"""Who hears what a machine says, so that nothing need be put into words that nobody hears."""

from addrsvc.model.tracepoint import Trace

__all__ = ["Ears"]

_ALL = -1


class Ears:
    """What of a machine's notifications is heard by anybody.

    Attributes:
        name: what traces call it.
        groups: the groups that sockets listen to, in any namespace, as a mask by group number.
        mask: what is heard in all: the same, or everything where somebody keeps everything, or traces it.
    """

    __slots__ = ("__weakref__", "_keepers", "_trace", "groups", "mask", "name")

    def __init__(self, trace: Trace) -> None:
        """Everything is heard until somebody says otherwise."""
        self.name = "ears"
        self.groups = 0
        self.mask = _ALL
        self._keepers = 1
        self._trace = trace
        trace.chains.add(self)

    def keep(self, by: int) -> None:
        """So many more, or fewer, want everything.  At first it is one."""
        self._keepers += by
        self.retrace()

    def listen(self, groups: int) -> None:
        """Sockets listen to these groups from now on."""
        self.groups = groups
        self.retrace()

    def retrace(self) -> None:
        """Heed that the trace was turned on or off."""
        self.mask = _ALL if self._keepers or self._trace.on else self.groups
