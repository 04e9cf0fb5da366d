"""Scenarios as rows of a table: a script of requests, and what the kernel says to each."""

from dataclasses import dataclass

import pytest

from addrsvc.netlink.messages import Message
from tests.fidelity.asks import add, delete, down, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.subject import Subject, addresses

Step = tuple[Message, str | None]
"""A request and all that is said to it, the refusal first; None where it only leads up to the next."""


@dataclass(frozen=True)
class Row:
    number: int
    fact: str
    steps: tuple[Step, ...]
    leaves: str
    """The addresses at the end, in the order of a dump."""


A1, A2, A3 = "2001:db8::1", "2001:db8::2", "2001:db8:1::1"
PFX, PFX3 = "2001:db8::/64", "2001:db8:1::/64"
LO4, LO6 = "127.0.0.1/8", "::1/128"
BOTH = f"{LO4} {LO6}"

ROUTE4 = "R4+brd:127.255.255.255"
FIRST_UP4 = f"A4+127.0.0.1 R4+loc:127.0.0.1 R4+loc:127.0.0.0/8 {ROUTE4} M4+224.0.0.1"
LATER_UP4 = f"M4+224.0.0.1 {ROUTE4}"
GET = "A+::1 R+loc:::1 I"
LOSE = "R-loc:::1 A-::1"
FIRST_UP = f"L {FIRST_UP4} {GET}"
LATER_UP = f"L {LATER_UP4} {GET}"
NETCONF = "NC4-1 NC4+1 NC-1 NC+1"
DOWN_SAYS = f"L M4-224.0.0.1 {LOSE}"

UP: Step = (up(), None)
DOWN: Step = (down(), None)
ADDED: Step = (add(f"{A1}/64"), None)
DELETED: Step = (delete(LO6), None)


def row(number: int, fact: str, *steps: Step, leaves: str = BOTH) -> Row:
    return Row(number, fact, steps, leaves)


def each(*rows: Row) -> pytest.MarkDecorator:
    """One test for each row, under its fact and with its number."""
    return pytest.mark.parametrize("row", [pytest.param(it, marks=scenario(it.number), id=it.fact) for it in rows])


def play(subject: Subject, row: Row) -> None:
    """Ask what the row asks."""
    for ask, expected in row.steps:
        said = subject.ask(ask)
        if expected is not None:
            assert said == expected
    assert addresses(subject) == row.leaves
