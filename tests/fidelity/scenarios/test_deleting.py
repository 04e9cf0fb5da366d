"""9 to 17: ::1 deleted, added by hand, and what makes it the kernel's own again."""

from addrsvc.uapi import IFA_F_PERMANENT, IFAPROT_KERNEL_LO, IFF_DEBUG
from tests.fidelity.asks import add, alias, delete, down, flags, gen_mode, mtu, rename, sysctl_gen_mode, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import (
    BOTH,
    DELETED,
    FIRST_UP4,
    GET,
    LATER_UP,
    LATER_UP4,
    LO4,
    LO6,
    NETCONF,
    UP,
    Row,
    each,
    play,
    row,
)
from tests.fidelity.scenarios.subject import Subject, address, addresses, routes

BY_HAND = "R+pfx:::1/128 A+(T,P)::1 A+::1 R+loc:::1"


@each(
    row(9, "::1 deleted by hand", UP, (delete(LO6), "A-::1 R-loc:::1"), leaves=LO4),
    row(9, "::1 deleted twice", UP, DELETED, (delete(LO6), "EADDRNOTAVAIL ipv6: address not found"), leaves=LO4),
    row(10, "::1 deleted under another prefix length", UP, (delete("::1/64"), "EADDRNOTAVAIL ipv6: address not found")),
    row(11, "::1 deleted and added by hand has a main route", UP, DELETED, (add(LO6), BY_HAND)),
    row(12, "down takes both routes of a ::1 added by hand, up brings the kernel's own", UP, DELETED, (add(LO6), None),
        (down(), "L M4-224.0.0.1 R-pfx:::1/128 R-loc:::1 A-::1"), (up(), LATER_UP)),
    row(12, "::1 deleted is back after down and up", UP, DELETED, (down(), "L M4-224.0.0.1"), (up(), LATER_UP)),
    row(13, "an alias leaves ::1 gone", UP, DELETED, (alias("x"), "L"), leaves=LO4),
    row(13, "a flag leaves ::1 gone", UP, DELETED, (flags(IFF_DEBUG), "L"), leaves=LO4),
    row(13, "an mtu leaves ::1 gone", UP, DELETED, (mtu(2000), "L"), leaves=LO4),
    row(13, "a rename leaves ::1 gone", UP, DELETED, (rename("lo9"), f"L A4+127.0.0.1 {NETCONF}"), leaves=LO4),
    row(14, "another addr_gen_mode by sysctl brings ::1 back", UP, DELETED, (sysctl_gen_mode(0), ""),
        (sysctl_gen_mode(1), "A+::1 R+loc:::1")),
    row(15, "another addr_gen_mode by IFLA_AF_SPEC does not", UP, DELETED, (gen_mode(1), "L"), leaves=LO4),
    row(16, "::1 added while never up is kept by up", (add(LO6), "A+(T,P)::1 A+::1 R+loc:::1"),
        (up(), f"L {FIRST_UP4} R+pfx:::1/128 I")),
    row(17, "::1/64 by hand gives way to ::1/128 after down and up", UP, DELETED,
        (add("::1/64"), "R+pfx:::/64 A+(T,P)::1 A+::1 R+loc:::1"),
        (down(), "L M4-224.0.0.1 R-pfx:::/64 R-loc:::1 A-::1"), (up(), LATER_UP)),
)  # fmt: skip
def test_the_loopback_address(subject: Subject, row: Row) -> None:
    play(subject, row)


@scenario(11)
def test_one_added_by_hand_does_not_bear_the_kernels_mark(subject: Subject) -> None:
    subject.ask(up())
    assert address(subject, "::1").proto == IFAPROT_KERNEL_LO

    subject.ask(delete(LO6), add(LO6))

    assert (address(subject, "::1").proto, address(subject, "::1").flags) == (None, IFA_F_PERMANENT)
    assert routes(subject) == "R+pfx:::1/128 R+loc:::1"


@scenario(12)
def test_down_and_up_make_it_the_kernels_own_again(subject: Subject) -> None:
    subject.ask(up(), delete(LO6), add(LO6), down(), up())

    assert address(subject, "::1").proto == IFAPROT_KERNEL_LO
    assert routes(subject) == "R+loc:::1"


@scenario(16)
def test_up_does_not_put_its_mark_on_one_added_before(subject: Subject) -> None:
    subject.ask(add(LO6), up())

    assert address(subject, "::1").proto is None


@scenario(17)
def test_a_finite_one_added_before_the_first_up_is_not_renewed(subject: Subject) -> None:
    """lo counts as configured while it is up, so that nothing but down and up brings ::1 back."""
    subject.ask(add("::1/64", valid=2, preferred=1))
    assert subject.ask(up()) == f"L {FIRST_UP4} I"

    subject.wait(4)

    assert addresses(subject) == LO4
    assert subject.ask(alias("x")) == "L"
    subject.ask(down())
    assert subject.ask(up()) == f"L {LATER_UP4} {GET}"
    assert addresses(subject) == BOTH
