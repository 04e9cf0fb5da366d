"""77 to 80: flushes, forwarding, groups, and the IPv4 half."""

import pytest

from addrsvc.uapi import RT_SCOPE_HOST
from tests.fidelity.asks import add, delete, down, forwarding, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import (
    A1,
    A2,
    A3,
    ADDED,
    BOTH,
    DELETED,
    DOWN,
    FIRST_UP,
    GET,
    LATER_UP,
    LATER_UP4,
    LO4,
    LO6,
    PFX,
    UP,
    Row,
    Step,
    each,
    play,
    row,
)
from tests.fidelity.scenarios.subject import Subject, addresses

FLUSH4 = "A4-127.0.0.1 R4-loc:127.0.0.0/8 R4-brd:127.255.255.255 R4-loc:127.0.0.1"
ANY, ANYCAST = "2001:db8::", f"R+any:{PFX[:-3]} AC+{PFX[:-3]}"
FORWARDING: Step = (forwarding(1), None)


@each(
    row(77, "a flush takes 127.0.0.1 and everything of IPv6", UP, ADDED, (add(f"{A2}/64"), None),
        (delete(LO4), FLUSH4), (delete(f"{A2}/64"), f"A-{A2} R-loc:{A2}"),
        (delete(f"{A1}/64"), f"A-{A1} R-loc:{A1} R-pfx:{PFX}"), (delete(LO6), "A-::1 R-loc:::1"), leaves=""),
    row(77, "both addresses are back after down and up", UP, (delete(LO4), None), DELETED, DOWN, (up(), FIRST_UP)),
    row(78, "of all reaches default, lo and all", UP, (forwarding(1, "all"), "NC+-2 NC+1 NC+-1"),
        (forwarding(1, "all"), ""), (forwarding(0, "all"), "NC+-2 NC+1 NC+-1")),
    row(78, "of all: an anycast address for each prefix", UP, ADDED,
        (forwarding(1, "all"), f"NC+-2 {ANYCAST} NC+1 NC+-1"), leaves=f"{LO4} {A1}/64 {LO6}"),
    row(78, "of lo: an anycast address for each prefix", UP, ADDED, (forwarding(1), f"{ANYCAST} NC+1"),
        (forwarding(0), f"R-any:{ANY} AC-{ANY} NC+1"), leaves=f"{LO4} {A1}/64 {LO6}"),
    row(78, "of default is for new devices", UP, ADDED, (forwarding(1, "default"), "NC+-2"),
        leaves=f"{LO4} {A1}/64 {LO6}"),
    *(row(78, f"a prefix of {length} bits has none", UP, (add(f"{A1}/{length}"), None), (forwarding(1), "NC+1"),
          leaves=f"{LO4} {A1}/{length} {LO6}") for length in (127, 128)),
    row(78, "a prefix of 126 bits has one", UP, (add(f"{A1}/126"), None), (forwarding(1), f"{ANYCAST} NC+1"),
        leaves=f"{LO4} {A1}/126 {LO6}"),
    row(78, "the first address of a prefix brings it, the last takes it", UP, FORWARDING,
        (add(f"{A1}/64"), f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1} {ANYCAST}"),
        (add(f"{A2}/64"), f"A+(T,P){A2} A+{A2} R+loc:{A2}"), (delete(f"{A1}/64"), f"A-{A1} R-loc:{A1}"),
        (delete(f"{A2}/64"), f"A-{A2} R-any:{ANY} AC-{ANY} R-loc:{A2} R-pfx:{PFX}")),
    row(78, "down takes them, up does not bring them", UP, ADDED, FORWARDING,
        (down(), f"L M4-224.0.0.1 R-pfx:{PFX} R-loc:::1 R-any:{ANY} R-loc:{A1} A-{A1} AC-{ANY} A-::1"),
        (up(), LATER_UP)),
    row(80, "127.0.0.1 is brought back beside another address", UP, (add("10.0.0.1/32"), "A4+10.0.0.1 R4+loc:10.0.0.1"),
        (delete(LO4), FLUSH4), DOWN, (up(), FIRST_UP), leaves=f"{LO4} 10.0.0.1/32 {LO6}"),
    row(80, "the order of the list is by scope, widest first", UP, (add(f"{A3}/64"), None), (add("10.0.0.1/32"), None),
        leaves=f"{LO4} 10.0.0.1/32 {A3}/64 {LO6}"),
    row(80, "a prefix brings a route and its broadcast address", UP,
        (add("10.1.0.1/24"), "A4+10.1.0.1 R4+loc:10.1.0.1 R4+loc:10.1.0.0/24 R4+brd:10.1.0.255"),
        (delete("10.1.0.1/24"), "A4-10.1.0.1 R4-loc:10.1.0.0/24 R4-brd:10.1.0.255 R4-loc:10.1.0.1")),
    row(80, "a second address of the prefix follows the first", UP, (add("10.1.0.1/24"), None),
        (add("10.1.0.2/24"), "A4+(P)10.1.0.2 R4+loc:10.1.0.2"),
        (delete("10.1.0.1/24"), "A4-10.1.0.2 R4-loc:10.1.0.2 A4-10.1.0.1 R4-loc:10.1.0.0/24 R4-brd:10.1.0.255 "
                                "R4-loc:10.1.0.1")),
    row(80, "an address of host scope under 127.0.0.1's prefix must say so", UP,
        (add("127.0.0.2/8"), "EINVAL ipv4: Invalid scope value"),
        (add("127.0.0.2/8", scope=RT_SCOPE_HOST), "A4+(P)127.0.0.2 R4+loc:127.0.0.2"),
        leaves=f"{LO4} 127.0.0.2/8 {LO6}"),
    row(80, "there already", UP, (add(LO4, scope=RT_SCOPE_HOST), "EEXIST ipv4: Address already assigned")),
    row(80, "down keeps every address, up tells the broadcast routes", UP, (add("10.1.0.1/24"), None),
        (down(), "L M4-224.0.0.1 R-loc:::1 A-::1"),
        (up(), f"L {LATER_UP4} R4+brd:10.1.0.255 {GET}"), leaves=f"{LO4} 10.1.0.1/24 {LO6}"),
)  # fmt: skip
def test_families(subject: Subject, row: Row) -> None:
    play(subject, row)


@scenario(80)
@pytest.mark.parametrize("gone", ["127.0.0.1/8", "127.0.0.1/32"])
def test_127_0_0_1_is_deleted_by_its_whole_name(subject: Subject, gone: str) -> None:
    subject.ask(up(), delete(gone))

    assert addresses(subject) == (LO6 if gone == LO4 else BOTH)
