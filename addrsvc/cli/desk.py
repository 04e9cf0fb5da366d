"""Who is asked by the commands about a model: a running service, or a fresh model in this process."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from addrsvc.daemon.commands import CHANGES, INIT_NET
from addrsvc.daemon.printer import Printer

__all__ = ["Desk", "given", "open_desk"]


class Desk(Protocol):
    """Whoever answers: a running service, or a fresh model."""

    def ask(self, command: str, parameters: Mapping[str, object]) -> dict[str, object]:
        """Run one command."""


@contextmanager
def open_desk(arguments: argparse.Namespace) -> Iterator[Desk]:
    """Who answers: with --once a fresh model."""
    if arguments.once:
        yield _Fresh(arguments)
        return
    from addrsvc.daemon.client import Client, control_to_ask

    with Client(control_to_ask(arguments.control)) as client:
        yield client


_TOLD_BY_ANSWER: Final = ("ping", "send", "capture", "trace")


class _Fresh:
    """A fresh model, as `addrsvc run` makes it; what a change sets off is told."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from addrsvc.daemon.run import booted, bring_up

        self._service = booted()
        bring_up(self._service, INIT_NET)
        self._printer = Printer(as_json=arguments.json)

    def ask(self, command: str, parameters: Mapping[str, object]) -> dict[str, object]:
        if command not in CHANGES or command in _TOLD_BY_ANSWER:
            return self._service.ask(command, parameters)
        with self._printer.listening(self._service):
            return self._service.ask(command, parameters)


def given(arguments: argparse.Namespace, *names: str) -> dict[str, object]:
    """The parameters of these names, those that were given."""
    return {name: value for name in (*names, "net") if (value := getattr(arguments, name)) is not None}
