"""65 to 68: what else can be set, and the operational state."""

from itertools import product

import pytest

from addrsvc.netlink.messages import LinkMsg, Message
from addrsvc.uapi import (
    IF_OPER_DORMANT,
    IF_OPER_DOWN,
    IF_OPER_TESTING,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFF_DORMANT,
    IFF_LOWER_UP,
    IFF_RUNNING,
)
from tests.fidelity.asks import LO, add, alias, disable_ipv6, down, gen_mode, group, linkmode, operstate, txqlen, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import A1, GET, LATER_UP, LATER_UP4, LO4, LOSE, UP, Row, each, play, row
from tests.fidelity.scenarios.subject import Subject, lo


def link(**what: object) -> Message:
    return LinkMsg(ifi_index=LO, **what)  # type: ignore[arg-type]


# A property; whether it is told while up, once more while up, and while down.
PROPERTIES: tuple[tuple[str, Message, str, str, str], ...] = (
    ("txqlen", txqlen(7), "L", "", "L"),
    ("group", group(3), "L", "L", ""),
    ("alias", alias("x"), "L", "L", ""),
    ("linkmode", linkmode(1), "L", "", ""),
    ("linkmode of no meaning", linkmode(9), "L", "", ""),
    ("addr_gen_mode", gen_mode(1), "L", "L", ""),
    ("broadcast", link(broadcast=b"\1" * 6), "L", "L", "L"),
    ("gso_max_size", link(gso_max_size=5000), "", "", ""),
    ("gso_max_segs", link(gso_max_segs=50), "", "", ""),
    ("gro_max_size", link(gro_max_size=5000), "", "", ""),
    ("gso_ipv4_max_size", link(gso_ipv4_max_size=5000), "", "", ""),
    ("gro_ipv4_max_size", link(gro_ipv4_max_size=5000), "", "", ""),
)  # fmt: skip
REFUSED = (
    ("carrier", link(carrier=1), "EOPNOTSUPP -"),
    ("proto_down", link(proto_down=1), "EOPNOTSUPP Protodown not supported by device"),
    ("gso_max_size beyond tso_max_size", link(gso_max_size=524281), "EINVAL too big gso_max_size"),
    ("gso_max_segs beyond 65535", link(gso_max_segs=65536), "EINVAL too big gso_max_segs"),
    ("gro_max_size beyond 8 times 65535", link(gro_max_size=524281), "EINVAL too big gro_max_size"),
    ("gso_max_size of 192", link(gso_max_size=192), "ERANGE integer out of range"),
    ("an alias of 256 bytes", alias("x" * 256), "ERANGE Attribute failed policy validation"),
)


@scenario(65)
@pytest.mark.parametrize(("ask", "first", "again", "while_down"), [it[1:] for it in PROPERTIES],
                         ids=[it[0] for it in PROPERTIES])  # fmt: skip
def test_a_property_is_told_or_not(subject: Subject, ask: Message, first: str, again: str, while_down: str) -> None:
    with subject.another() as down_there:
        assert down_there.ask(ask) == while_down
    subject.ask(up())

    assert (subject.ask(ask), subject.ask(ask)) == (first, again)


@scenario(65)
@pytest.mark.parametrize(("ask", "refusal"), [it[1:] for it in REFUSED], ids=[it[0] for it in REFUSED])
def test_a_property_is_refused(subject: Subject, ask: Message, refusal: str) -> None:
    for state in (down(), up()):
        subject.ask(state)
        before = subject.holds()
        assert subject.ask(ask) == refusal
        assert subject.holds() == before


# --- the operational state -------------------------------------------------------------------------------------------

STATES = (IF_OPER_UNKNOWN, IF_OPER_DOWN, IF_OPER_TESTING, IF_OPER_DORMANT, IF_OPER_UP)
TAKEN = {  # current: asked for
    IF_OPER_UNKNOWN: {IF_OPER_TESTING, IF_OPER_DORMANT, IF_OPER_UP},
    IF_OPER_UP: {IF_OPER_TESTING, IF_OPER_DORMANT},
    IF_OPER_DORMANT: {IF_OPER_UP},
    IF_OPER_TESTING: {IF_OPER_UP},
}
DORMANT = (operstate(IF_OPER_DORMANT), None)


@scenario(66)
@pytest.mark.parametrize(("current", "wanted"), list(product(TAKEN, STATES)))
def test_a_state_is_taken_or_ignored(subject: Subject, current: int, wanted: int) -> None:
    subject.ask(up(), *[operstate(current)] * (current != IF_OPER_UNKNOWN))
    assert lo(subject).operstate == current

    told = subject.ask(operstate(wanted))

    is_taken = wanted in TAKEN[current]
    assert told == "L" * is_taken
    assert lo(subject).operstate == (wanted if is_taken else current)


@scenario(66)
@pytest.mark.parametrize(
    ("state", "shown"),
    [(IF_OPER_UP, IFF_RUNNING), (IF_OPER_TESTING, 0), (IF_OPER_DORMANT, 0)],
)  # fmt: skip
def test_only_up_and_unknown_count_as_running(subject: Subject, state: int, shown: int) -> None:
    subject.ask(up(), operstate(state))

    assert lo(subject).ifi_flags & (IFF_RUNNING | IFF_LOWER_UP | IFF_DORMANT) == IFF_LOWER_UP | shown


@scenario(66)
def test_a_device_that_is_down_reads_as_down_and_takes_no_state(subject: Subject) -> None:
    assert subject.ask(operstate(IF_OPER_UP)) == ""
    assert lo(subject).operstate == IF_OPER_DOWN


@each(
    row(67, "DORMANT leaves the addresses", UP, (operstate(IF_OPER_DORMANT), "L")),
    row(67, "no ::1 while DORMANT, UP brings it", UP, DORMANT, (disable_ipv6(1), LOSE), (disable_ipv6(0), ""),
        (operstate(IF_OPER_UP), f"{GET} L")),
    row(67, "an address while DORMANT", UP, DORMANT,
        (add(f"{A1}/64"), f"R+pfx:2001:db8::/64 A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=f"{LO4} {A1}/64 ::1/128"),
    row(67, "an address though IPv6 is not ready", UP, DORMANT, (disable_ipv6(1), None), (disable_ipv6(0), None),
        (add(f"{A1}/64"), f"R+pfx:2001:db8::/64 A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=f"{LO4} {A1}/64"),
    row(68, "DORMANT outlives down and up: no ::1", UP, DORMANT, (down(), f"L M4-224.0.0.1 {LOSE}"),
        (up(), f"L {LATER_UP4}"), leaves=LO4),
    row(68, "until UP", UP, DORMANT, (down(), None), (up(), None), (operstate(IF_OPER_UP), f"{GET} L"), (down(), None),
        (up(), LATER_UP)),
)  # fmt: skip
def test_dormant(subject: Subject, row: Row) -> None:
    play(subject, row)
