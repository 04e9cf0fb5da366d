"""Assertions on what a kernel says: messages as the lines of ip-monitor(8), in which ``...`` stands for anything."""

from collections.abc import Collection, Iterator
from types import TracebackType

from addrsvc.mirror.kernel import Kernel
from addrsvc.netlink.messages import Message, Sysctl
from addrsvc.netlink.text import line, names_of
from addrsvc.pytest_plugin.table import align, matches, side_by_side
from addrsvc.uapi import Rtm

__all__ = ["Ear", "expect_messages"]


class Ear:
    """What a namespace says from now on, as messages and as lines with the names of devices.

    Attributes:
        messages: what was heard so far, of the types that count.
        lines: the same, in the words of ``ip monitor``.
    """

    def __init__(self, kernel: Kernel, only: Collection[str] = ()) -> None:
        self.messages: list[Message] = []
        self.lines: list[str] = []
        self._only = {_type(name) for name in only} or set(Rtm)
        self._names = names_of(kernel.dump())
        self._watch = kernel.watch()

    def hear(self) -> None:
        """Take note of what was said by now."""
        for msg in self._watch:
            self._names |= names_of([msg])
            if not isinstance(msg, Sysctl) and msg.nlmsg_type in self._only:
                self.messages.append(msg)
                self.lines.append(line(msg, self._names))

    def hear_more(self, timeout: float) -> Iterator[None]:
        """Take note of what is said, and come back each time there is more, until the time is over."""
        end = self._watch.now() + timeout
        self.hear()
        yield
        while self._watch.wait(max(0.0, end - self._watch.now())):
            self.hear()
            yield

    def close(self) -> None:
        """Listen no more."""
        self._watch.close()


def _type(name: str) -> Rtm:
    if name not in Rtm.__members__:
        raise ValueError(f"only: {name!r} is no message; {Rtm.RTM_NEWADDR.name} is one")
    return Rtm[name]


class expect_messages:
    """A block in which a namespace says exactly these messages, in this order; none, if none are given.

    As the block's target it gives the list of messages, which is filled when the block ends.

    Args:
        kernel: the namespace, of either kernel.
        expected: lines as ``ip monitor`` prints them; ``...`` stands for anything.
        only: the names of the messages that count, such as RTM_NEWADDR; all, if none are given.
        timeout: how many seconds to wait, after the block, for messages that are missing.  On the model nobody waits:
            its clock is turned.

    Raises:
        ValueError: there is no message of a name in `only`.
        AssertionError: others were said; the text shows expected and seen side by side.
    """

    def __init__(self, kernel: Kernel, *expected: str, only: Collection[str] = (), timeout: float = 1.0) -> None:
        self._expected, self._timeout = expected, timeout
        self._kernel, self._only = kernel, only

    def __enter__(self) -> list[Message]:
        self._ear = Ear(self._kernel, self._only)
        return self._ear.messages

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        __tracebackhide__ = True
        try:
            if kind is None:
                self._listen()
        finally:
            self._ear.close()
        if kind is None:
            self._compare(self._ear.lines)

    def _listen(self) -> None:
        for _ in self._ear.hear_more(self._timeout):
            if len(self._ear.lines) >= len(self._expected):
                break

    def _compare(self, seen: list[str]) -> None:
        __tracebackhide__ = True
        rows = align(self._expected, seen)
        if not all(matches(*row) for row in rows):
            raise AssertionError(f"not the messages that were expected:\n{side_by_side(rows)}")
