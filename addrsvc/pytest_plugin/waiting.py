"""Waiting for something to happen, instead of sleeping: woken by what the kernel says, and in its own time."""

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from addrsvc.mirror.kernel import Kernel
from addrsvc.netlink.messages import Message
from addrsvc.pytest_plugin.messages import Ear
from addrsvc.pytest_plugin.table import matches

__all__ = ["wait_for", "wait_until"]

T = TypeVar("T")


class wait_for:
    """A block after which a message is waited for that the block sets off.

    As the block's target it gives the list of messages, which is filled when the block ends; the last is the one.

    Args:
        kernel: the namespace, of either kernel.
        expected: a line as ``ip monitor`` prints it; ``...`` stands for anything.
        timeout: how many seconds to wait.  On the model nobody waits: its clock is turned.

    Raises:
        AssertionError: it was not said in time; the text shows what was.
    """

    def __init__(self, kernel: Kernel, expected: str, *, timeout: float = 5.0) -> None:
        self._kernel, self._expected, self._timeout = kernel, expected, timeout

    def __enter__(self) -> list[Message]:
        self._ear = Ear(self._kernel)
        return self._ear.messages

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        __tracebackhide__ = True
        try:
            if kind is None and not self._heard():
                said = "".join(f"\n  {line}" for line in self._ear.lines) or " nothing"
                raise AssertionError(f"not said within {self._timeout:g} s: {self._expected}\nsaid was:{said}")
        finally:
            self._ear.close()

    def _heard(self) -> bool:
        done = 0
        for _ in self._ear.hear_more(self._timeout):
            for nth, line in enumerate(self._ear.lines[done:], done + 1):
                if matches(self._expected, line):
                    del self._ear.messages[nth:]
                    return True
            done = len(self._ear.lines)
        return False


def wait_until(kernel: Kernel, condition: Callable[[], T], *, timeout: float = 5.0) -> T:
    """Look whenever the kernel has said something, until a condition holds, and give what it gave.

    Args:
        kernel: the namespace, of either kernel.
        condition: what is to become true.
        timeout: how many seconds to wait.  On the model nobody waits: its clock is turned.

    Raises:
        AssertionError: it did not become true in time; the text shows what was said meanwhile.
    """
    __tracebackhide__ = True
    ear = Ear(kernel)
    try:
        if found := condition():
            return found
        for _ in ear.hear_more(timeout):
            if found := condition():
                return found
    finally:
        ear.close()
    said = "".join(f"\n  {line}" for line in ear.lines) or " nothing"
    raise AssertionError(f"not true within {timeout:g} s\nsaid meanwhile:{said}")
