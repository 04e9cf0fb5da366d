"""One namespace kept by a service that runs inside it, and so finds it where others have the host's."""

from dataclasses import dataclass

from addrsvc.keeper.keep import Rules
from addrsvc.keeper.places import HOST
from addrsvc.keeper.wanted import Wanted

__all__ = ["Alone"]


@dataclass(frozen=True, slots=True)
class Alone:
    """The rules for the namespace that a service runs in.  That it was started says that something is wanted there.

    Attributes:
        rules: for all namespaces.
        label: what the namespace is called in them; where none of them is about it, it gets what lo has by itself.
    """

    rules: Rules
    label: str

    def selectors(self) -> tuple[str, ...]:
        """The one namespace that can be found without entering any."""
        return (HOST,)

    def wanted(self, label: str) -> Wanted | None:
        """What is wanted of it."""
        return (self.rules.wanted(self.label) or Wanted()) if label == HOST else None
