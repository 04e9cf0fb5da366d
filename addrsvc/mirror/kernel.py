"""The port: what addrsvc asks of a kernel.  It has two sides, the running kernel and the model itself."""

from collections.abc import Iterator
from typing import Protocol

from addrsvc.netlink.messages import Message

__all__ = ["Door", "Kernel", "Watch"]


class Watch(Protocol):
    """A subscription to everything that one namespace says over rtnetlink, from the moment it was opened."""

    def __iter__(self) -> Iterator[Message]:
        """Yield what was said since the last look, in the kernel's order, and end when the namespace is quiet."""

    def wait(self, seconds: float) -> bool:
        """Let time pass until there is something to hear, at most so much; whether there is."""

    def now(self) -> float:
        """Seconds on the clock that `wait` goes by."""

    def close(self) -> None:
        """End the subscription."""


class Kernel(Protocol):
    """One network namespace of a kernel."""

    def request(self, msg: Message) -> None:
        """Ask for a change and wait for the answer.

        Raises:
            KernelError: the kernel refused, with its errno and extack text.
        """

    def dump(self) -> tuple[Message, ...]:
        """All devices, then addresses (IPv4, IPv6), then IPv6 routes of main and local, each in the kernel's order."""

    def watch(self) -> Watch:
        """Subscribe to notifications."""


class Door(Protocol):
    """The way to a namespace that is known by a name, and can go, and come back as another one of that name."""

    def open(self) -> Kernel:
        """Open the namespace that the name leads to now.

        Raises:
            ControlError: it leads to none, or to one that is not to be had.
            KernelError: a privilege is missing.
        """

    def is_current(self) -> bool:
        """Whether what was opened is still what the name leads to."""

    def close(self) -> None:
        """Let go of what was opened.  Closing twice is no error."""
