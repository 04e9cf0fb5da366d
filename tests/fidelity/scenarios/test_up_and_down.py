"""1 to 6: the device comes up and goes down."""

from addrsvc.uapi import ARPHRD_LOOPBACK, IFF_LOOPBACK
from tests.fidelity.asks import down, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import DOWN, DOWN_SAYS, FIRST_UP, LATER_UP, LO4, UP, Row, each, play, row
from tests.fidelity.scenarios.subject import Subject, addresses, groups, lo, routes


@scenario(1)
def test_a_new_namespace_has_lo_and_no_address(subject: Subject) -> None:
    link = lo(subject)

    assert (link.ifname, link.ifi_index, link.ifi_type) == ("lo", 1, ARPHRD_LOOPBACK)
    assert (link.ifi_flags, link.mtu) == (IFF_LOOPBACK, 65536)
    assert (addresses(subject), routes(subject), groups(subject)) == ("", "", "ff02::1 ff01::1")


@each(
    row(2, "up for the first time", (up(), FIRST_UP)),
    row(3, "up again says nothing", UP, (up(), "")),
    row(4, "down takes ::1 and leaves 127.0.0.1", UP, (down(), DOWN_SAYS), leaves=LO4),
    row(4, "up for the second time", UP, DOWN, (up(), LATER_UP)),
    row(5, "down while down says nothing", (down(), ""), leaves=""),
    row(5, "down again says nothing", UP, DOWN, (down(), ""), leaves=LO4),
)
def test_the_device(subject: Subject, row: Row) -> None:
    play(subject, row)


@scenario(6)
def test_fifty_times_up_and_down_say_the_same(subject: Subject) -> None:
    subject.ask(up())

    assert {(subject.ask(down()), subject.ask(up())) for _ in range(50)} == {(DOWN_SAYS, LATER_UP)}
