"""18 to 29: addresses, and the routes that they share."""

import pytest

from addrsvc.netlink.messages import RouteMsg
from addrsvc.uapi import (
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    RT_TABLE_MAIN,
    RTN_UNICAST,
)
from tests.fidelity.asks import add, delete, up
from tests.fidelity.compare import GRAIN
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import A1, A2, ADDED, LO4, LO6, PFX, UP, Row, each, play, row
from tests.fidelity.scenarios.subject import Subject, address, routes

WITH_A1 = f"{LO4} {A1}/64 {LO6}"
WITH_A2 = f"{LO4} {A2}/64 {LO6}"
GOES_ALONE = f"A-{A1} R-loc:{A1}"


@each(
    row(18, "an address is tentative for a moment", UP,
        (add(f"{A1}/64"), f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=WITH_A1),
    row(19, "NODAD: it is said once", UP,
        (add(f"{A1}/64", flags=IFA_F_NODAD), f"R+pfx:{PFX} A+(NODAD,P){A1} R+loc:{A1}"), leaves=WITH_A1),
    row(20, "NOPREFIXROUTE: no route but its own", UP,
        (add(f"{A1}/64", flags=IFA_F_NOPREFIXROUTE), f"A+(T,NOPFX,P){A1} A+(NOPFX,P){A1} R+loc:{A1}"), leaves=WITH_A1),
    row(21, "a metric is the prefix route's", UP,
        (add(f"{A1}/64", metric=77), f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=WITH_A1),
    row(22, "a peer has a route of its own", UP,
        (add(f"{A1}/64", peer="2001:db8:2::9"),
         f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1} R+pfx:2001:db8:2::9/128"), leaves=WITH_A1),
    row(24, "the last address of a prefix takes the prefix route", UP, ADDED,
        (add(f"{A2}/64"), f"A+(T,P){A2} A+{A2} R+loc:{A2}"), (delete(f"{A1}/64"), GOES_ALONE),
        (delete(f"{A2}/64"), f"A-{A2} R-loc:{A2} R-pfx:{PFX}")),
    row(25, "/64 and /128 are two prefixes", UP, ADDED,
        (add(f"{A2}/128"), f"R+pfx:{A2}/128 A+(T,P){A2} A+{A2} R+loc:{A2}"),
        (delete(f"{A1}/64"), f"{GOES_ALONE} R-pfx:{PFX}"), leaves=f"{LO4} {A2}/128 {LO6}"),
    row(27, "another finite address keeps the prefix route", UP, ADDED,
        (add(f"{A2}/64", valid=1000, preferred=900), None), (delete(f"{A1}/64"), GOES_ALONE), leaves=WITH_A2),
    row(28, "a finite address leaves its prefix route behind", UP,
        (add(f"{A1}/64", valid=1000, preferred=900), f"R+pfx:{PFX} A+(T){A1} A+(){A1} R+loc:{A1}"),
        (delete(f"{A1}/64"), GOES_ALONE)),
    row(29, "another NOPREFIXROUTE address keeps the prefix route", UP, ADDED,
        (add(f"{A2}/64", flags=IFA_F_NOPREFIXROUTE), None), (delete(f"{A1}/64"), GOES_ALONE), leaves=WITH_A2),
)  # fmt: skip
def test_an_address(subject: Subject, row: Row) -> None:
    play(subject, row)


def prefix_route(subject: Subject) -> RouteMsg:
    """The one route that is no address's own."""
    (found,) = (msg for msg in subject.holds() if isinstance(msg, RouteMsg) and msg.rtm_type == RTN_UNICAST)
    return found


@scenario(18)
def test_the_prefix_route_is_the_kernels_in_main(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64"))

    route = prefix_route(subject)
    assert (route.table, route.priority, route.expires, route.rtm_dst_len) == (RT_TABLE_MAIN, 256, 0, 64)


@scenario(21)
def test_a_metric_is_shown_with_the_address_too(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64", metric=77))

    assert (prefix_route(subject).priority, address(subject, A1).rt_priority) == (77, 77)


@scenario(22)
def test_a_peer_is_shown_as_the_address_and_ones_own_as_local(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64", peer="2001:db8:2::9"))

    shown = address(subject, A1)
    assert (shown.local, shown.address) == (bytes.fromhex("20010db8" + "0" * 23 + "1"),
                                            bytes.fromhex("20010db80002" + "0" * 19 + "9"))  # fmt: skip


@scenario(23)
@pytest.mark.parametrize(("proto", "shown"), [(0, None), (1, 1), (7, 7), (255, 255)])
def test_a_protocol_is_stored_as_given(subject: Subject, proto: int, shown: int | None) -> None:
    subject.ask(up(), add(f"{A1}/64", proto=proto))

    assert address(subject, A1).proto == shown


@scenario(26)
@pytest.mark.parametrize(
    ("length", "prefix"),
    [(0, "default"), (1, "::/1"), (63, PFX[:-2] + "63"), (64, PFX), (65, PFX[:-2] + "65"), (126, "2001:db8::/126"),
     (127, "2001:db8::/127"), (128, "2001:db8::1/128")],
)  # fmt: skip
def test_any_prefix_length_has_its_route(subject: Subject, length: int, prefix: str) -> None:
    subject.ask(up())

    assert subject.ask(add(f"{A1}/{length}")) == f"R+pfx:{prefix} A+(T,P){A1} A+{A1} R+loc:{A1}"
    assert subject.ask(delete(f"{A1}/{length}")) == f"A-{A1} R-loc:{A1} R-pfx:{prefix}"


@scenario(27)
def test_the_prefix_route_takes_the_expiry_of_the_finite_address_that_stays(subject: Subject) -> None:
    """But lo's own is a reject route, and those do not expire."""
    subject.ask(up(), add(f"{A1}/64"), add(f"{A2}/64", valid=GRAIN))
    assert prefix_route(subject).expires == 0

    subject.ask(delete(f"{A1}/64"))

    assert prefix_route(subject).expires == GRAIN


@scenario(28)
def test_the_route_that_a_finite_address_leaves_never_expires(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64", valid=GRAIN), delete(f"{A1}/64"))

    assert prefix_route(subject).expires == 0
    assert routes(subject) == f"R+pfx:{PFX} R+loc:::1"


@scenario(29)
def test_a_noprefixroute_address_holds_a_route_that_it_never_had(subject: Subject) -> None:
    """And leaves it behind: it is no prefix of its own that goes with it."""
    subject.ask(up(), add(f"{A1}/64"), add(f"{A2}/64", flags=IFA_F_NOPREFIXROUTE), delete(f"{A1}/64"))

    assert subject.ask(delete(f"{A2}/64")) == f"A-{A2} R-loc:{A2}"
    assert routes(subject) == f"R+pfx:{PFX} R+loc:::1"
