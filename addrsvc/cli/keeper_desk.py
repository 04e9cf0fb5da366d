"""Who is asked by the commands about namespaces that are kept: a running service, and where that has none its model."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from addrsvc.cli.adding import Run, add_once

if TYPE_CHECKING:
    from addrsvc.daemon.client import Client

__all__ = ["Command", "Row", "Service", "add_model", "of_keeper", "open_service", "or_model"]

Row: TypeAlias = dict[str, Any]
"""Of an answer, as JSON has it."""


class Service:
    """A running service that keeps namespaces, by a connection to it."""

    def __init__(self, client: "Client") -> None:
        from addrsvc.daemon.client import KEEPER

        self.client: Final = client
        self.ask = partial(client.ask, interface=KEEPER)
        self.stream = partial(client.stream, interface=KEEPER)

    def all(self, command: str, parameters: Mapping[str, object], key: str) -> list[Row]:
        """All rows of a long answer."""
        answers = self.stream(command, {name: it for name, it in parameters.items() if it is not None})
        return [row for answer in answers for row in answer[key]]  # type: ignore[attr-defined]


@contextmanager
def open_service(control: Path | None) -> Iterator[Service]:
    """Connect to the service at a control socket, or at the default one."""
    from addrsvc.daemon.client import Client, control_to_ask

    with Client(control_to_ask(control)) as client:
        yield Service(client)


Command: TypeAlias = Callable[[argparse.Namespace, Service], int]


def of_keeper(command: Command) -> Run:
    """What is done with a service that keeps namespaces."""

    def run(arguments: argparse.Namespace) -> int:
        with open_service(arguments.control) as service:
            return command(arguments, service)

    return run


def or_model(command: Command, of_model: Run) -> Run:
    """What is done with a keeper where there is one, and is otherwise done with the model."""

    def run(arguments: argparse.Namespace) -> int:
        from addrsvc.daemon.client import NoInterface

        if arguments.model or arguments.once:
            return of_model(arguments)
        try:
            return of_keeper(command)(arguments)
        except NoInterface:
            return of_model(arguments)

    return run


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options by which a model is asked all the same."""
    parser.add_argument("--model", action="store_true", help="ask the model that runs beside")
    add_once(parser)
