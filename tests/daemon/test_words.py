"""The words of ip(8) become parameters of commands."""

import inspect
import re

import pytest

from addrsvc.daemon.commands import look_up
from addrsvc.daemon.words import ADDR, LINK, Action, read
from addrsvc.errors import ControlError
from addrsvc.uapi import INFINITY_LIFE_TIME


def link(line: str) -> tuple[str, dict[str, object]]:
    action, parameters = read(LINK, line.split())
    return action.command, parameters


def addr(line: str) -> tuple[str, dict[str, object]]:
    action, parameters = read(ADDR, line.split())
    return action.command, parameters


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ("links", {})),
        ("show lo", ("links", {"dev": "lo"})),
        ("list dev lo", ("links", {"dev": "lo"})),
        ("set lo up", ("link_set", {"dev": "lo", "up": True})),
        ("set dev lo mtu 1400 up", ("link_set", {"dev": "lo", "mtu": 1400, "up": True})),
        ("set lo down txqlen 500", ("link_set", {"dev": "lo", "up": False, "txqlen": 500})),
        ("set lo arp off multicast on", ("link_set", {"dev": "lo", "noarp": True, "multicast": True})),
        ("set lo group default", ("link_set", {"dev": "lo", "group": 0})),
        ("set dev up up", ("link_set", {"dev": "up", "up": True})),
        ("add x0 type ether mtu 0x5dc", ("link_add", {"name": "x0", "arphrd": "ether", "mtu": 1500})),
        ("delete x0", ("link_del", {"dev": "x0"})),
    ],
)
def test_link_words_are_parameters(line: str, expected: tuple[str, dict[str, object]]) -> None:
    assert link(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("show dev lo", ("addresses", {"dev": "lo"})),
        ("s lo", ("addresses", {"dev": "lo"})),
        (
            "add 2001:db8::1/64 dev lo nodad",
            ("addr_add", {"address": "2001:db8::1/64", "dev": "lo", "nodad": True}),
        ),
        (
            "a local ::2 dev lo peer ::3 valid_lft forever preferred_lft 60 metric 5 proto kernel_lo",
            (
                "addr_add",
                {
                    "address": "::2",
                    "dev": "lo",
                    "peer": "::3",
                    "valid_lft": INFINITY_LIFE_TIME,
                    "preferred_lft": 60,
                    "metric": 5,
                    "proto": 1,
                },
            ),
        ),
        ("del ::1/128 dev lo", ("addr_del", {"address": "::1/128", "dev": "lo"})),
    ],
)
def test_addr_words_are_parameters(line: str, expected: tuple[str, dict[str, object]]) -> None:
    assert addr(line) == expected


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("set", '"dev" argument is required'),
        ("set lo mtu", '"mtu" wants a value'),
        ("set lo mtu big", 'argument "big" is wrong: Invalid "mtu" value (a number is wanted)'),
        ("set lo arp maybe", 'argument "maybe" is wrong: Invalid "arp" value (on or off is wanted)'),
        ("set lo mtu -3", 'argument "-3" is wrong: Invalid "mtu" value (it is negative)'),
        ("set lo pu", '"pu" is not understood here'),
        ("set lo multicas on", "did you mean multicast?"),
        ("shwo", "did you mean show?"),
    ],
)
def test_a_word_that_is_none_is_refused(line: str, text: str) -> None:
    with pytest.raises(ControlError, match=re.escape(text)):
        link(line)


@pytest.mark.parametrize("action", [*LINK.values(), *ADDR.values()], ids=lambda action: action.command)
def test_every_word_sets_a_parameter_of_its_command(action: Action) -> None:
    known = inspect.signature(look_up(action.command)).parameters

    assert {word.parameter for word in action.words.values()} | {action.bare, *action.required} <= set(known)
