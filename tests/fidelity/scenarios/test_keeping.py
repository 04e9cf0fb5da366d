"""41 to 46: the order of the list, and which addresses outlive the device's going down."""

import pytest

from addrsvc.netlink.messages import Message
from addrsvc.uapi import IFA_F_MCAUTOJOIN, IFA_F_NODAD
from tests.fidelity.asks import add, disable_ipv6, down, keep_addr_on_down, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import (
    A1,
    A2,
    A3,
    ADDED,
    DOWN,
    GET,
    LATER_UP,
    LATER_UP4,
    LO4,
    LO6,
    PFX,
    PFX3,
    UP,
    Row,
    each,
    play,
    row,
)
from tests.fidelity.scenarios.subject import Subject, addresses

ALL_KINDS = (
    (add("fec0::1/64"), None), (add("fe80::1/64"), None), (add(f"{A3}/64", valid=1000), None), ADDED,
    (add(f"{A2}/64", flags=IFA_F_NODAD), None),
)  # fmt: skip
ALL_ROUTES = (
    f"R-pfx:{PFX} R-pfx:{PFX3} R-pfx:fe80::/64 R-pfx:fec0::/64 "
    f"R-loc:::1 R-loc:{A1} R-loc:{A2} R-loc:{A3} R-loc:fe80::1 R-loc:fec0::1"
)
COMES_DOWN = f"L M4-224.0.0.1 R-pfx:{PFX} R-loc:::1 R-loc:{A1}"
COMES_UP = f"L {LATER_UP4} R+pfx:{PFX} {GET} A+{A1} R+loc:{A1}"
WITH_A1 = f"{LO4} {A1}/64 {LO6}"


@scenario(41)
def test_the_list_is_by_scope_and_the_newest_is_first_in_each(subject: Subject) -> None:
    """Host and link scope are one class, and so are fd00::, ::5 and 2001:db8::."""
    subject.ask(
        up(),
        *(add(f"{it}/128") for it in ("fe80::1", "2001:db8::1", "fec0::1", "::5", "fd00::1", "2001:db8::2")),
        add("ff02::99/128", flags=IFA_F_MCAUTOJOIN),
    )

    order = f"{LO4} 2001:db8::2/128 fd00::1/128 ::5/128 2001:db8::1/128 fec0::1/128 ff02::99/128 fe80::1/128 {LO6}"
    assert addresses(subject) == order


@each(
    row(42, "added while down: no prefix route",
        (add(f"{A1}/64"), f"A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=f"{A1}/64"),
    row(42, "up brings its prefix route and says nothing of itself", UP, DOWN, ADDED,
        (up(), f"L {LATER_UP4} R+pfx:{PFX} {GET}"), leaves=WITH_A1),
    row(42, "down takes it", UP, DOWN, ADDED, UP, (down(), f"{COMES_DOWN} A-{A1} A-::1"), (up(), LATER_UP)),
    row(43, "of lo: what is permanent and neither loopback nor link-local stays", UP, *ALL_KINDS,
        (keep_addr_on_down(1), ""), (down(), f"L M4-224.0.0.1 {ALL_ROUTES} A-{A3} A-fe80::1 A-::1"),
        leaves=f"{LO4} {A2}/64 {A1}/64 fec0::1/64"),
    row(43, "what stayed comes back in the order of the list", UP, *ALL_KINDS, (keep_addr_on_down(1), None), DOWN,
        (up(), f"L {LATER_UP4} R+pfx:{PFX} R+pfx:fec0::/64 {GET} "
               f"A+(NODAD,P){A2} R+loc:{A2} A+{A1} R+loc:{A1} A+fec0::1 R+loc:fec0::1"),
        leaves=f"{LO4} {A2}/64 {A1}/64 fec0::1/64 {LO6}"),
    row(44, "of all: the same though lo's own is 0", UP, ADDED, (keep_addr_on_down(1, "all"), ""),
        (down(), f"{COMES_DOWN} A-::1"), (up(), COMES_UP), leaves=WITH_A1),
    row(45, "of all: -1 overrides lo's 1", UP, ADDED, (keep_addr_on_down(1), ""), (keep_addr_on_down(-1, "all"), ""),
        (down(), f"{COMES_DOWN} A-{A1} A-::1"), leaves=LO4),
    row(46, "disable_ipv6 takes all", UP, ADDED, (keep_addr_on_down(1), ""),
        (disable_ipv6(1), f"R-pfx:{PFX} R-loc:::1 R-loc:{A1} A-{A1} A-::1"), (disable_ipv6(0), GET)),
    row(46, "disable_ipv6 takes what was kept while down", UP, ADDED, (keep_addr_on_down(1), ""), DOWN,
        (disable_ipv6(1), f"A-{A1}"), (up(), f"L {LATER_UP4}"), leaves=LO4),
)  # fmt: skip
def test_addresses_and_going_down(subject: Subject, row: Row) -> None:
    play(subject, row)


@scenario(43)
@pytest.mark.parametrize("value", [1, 2, 100])
def test_any_positive_number_keeps(subject: Subject, value: int) -> None:
    subject.ask(up(), add(f"{A1}/64"), keep_addr_on_down(value), down())

    assert addresses(subject) == f"{LO4} {A1}/64"


@scenario(44)
@pytest.mark.parametrize("asks", [(keep_addr_on_down(0),), (keep_addr_on_down(-1),)])
def test_zero_and_less_do_not(subject: Subject, asks: tuple[Message, ...]) -> None:
    subject.ask(up(), add(f"{A1}/64"), *asks)

    assert subject.ask(down()) == f"{COMES_DOWN} A-{A1} A-::1"
