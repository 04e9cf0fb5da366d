"""Asking a keeper about many namespaces, a few at a time, so that no repair waits until all is told."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from addrsvc.keeper.keep import Keeper
from addrsvc.keeper.status import NetnsStatus

__all__ = ["AT_ONCE", "Asked", "labels_of", "statuses"]

T = TypeVar("T")
AT_ONCE: Final = 50
"""How many namespaces are asked about at once: a repair waits no longer than that takes."""


class Asked(Protocol):
    """Who answers questions about a keeper, from any thread."""

    def ask(self, question: Callable[[Keeper], T]) -> T:
        """Have a question answered in the keeper's thread."""


def statuses(asked: Asked, labels: Sequence[str]) -> Iterator[NetnsStatus]:
    """How namespaces are, those that are there still."""
    for start in range(0, len(labels), AT_ONCE):
        yield from asked.ask(partial(_statuses, labels=labels[start : start + AT_ONCE]))


def labels_of(asked: Asked, names: Iterable[str]) -> list[str]:
    """What namespaces are kept under that have these names, those that are there."""
    if not (names := list(names)):
        return []
    return asked.ask(lambda keeper: [kept.label for name in names if (kept := keeper.get(name)) is not None])


def _statuses(keeper: Keeper, labels: Iterable[str]) -> list[NetnsStatus]:
    return [keeper.status(label) for label in labels if keeper.get(label) is not None]
