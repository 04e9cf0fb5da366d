"""32 to 38: what becomes of an address that is there already."""

from itertools import product

import pytest

from addrsvc.netlink.messages import Message, RouteMsg
from addrsvc.uapi import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFA_F_TENTATIVE,
    IFAPROT_KERNEL_LO,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTN_UNICAST,
)
from tests.fidelity.asks import add, delete, up
from tests.fidelity.compare import GRAIN
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import A1, A2, ADDED, LO4, LO6, PFX, UP, Row, each, play, row
from tests.fidelity.scenarios.subject import Subject, address, addresses, routes

NLM_FLAGS = (NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND)
NEW = f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1}"
PEER, PEER2 = "2001:db8:2::9", "2001:db8:3::9"
WITH_A1 = f"{LO4} {A1}/64 {LO6}"


def change(text: str, **what: object) -> Message:
    return add(text, nlm=NLM_F_CREATE | NLM_F_REPLACE, **what)  # type: ignore[arg-type]


@scenario(32)
@pytest.mark.parametrize("nlm", [sum(bits) for bits in product(*((0, bit) for bit in NLM_FLAGS))])
def test_replace_without_excl_changes_and_all_else_is_refused(subject: Subject, nlm: int) -> None:
    """An address that is not there is made, whatever the flags are."""
    subject.ask(up())
    assert subject.ask(add(f"{A1}/64", nlm=nlm)) == NEW

    changes = nlm & NLM_F_REPLACE and not nlm & NLM_F_EXCL
    assert subject.ask(add(f"{A1}/64", nlm=nlm)) == (f"A+{A1}" if changes else "EEXIST ipv6: address already assigned")


@scenario(33)
@pytest.mark.parametrize("flag", [IFA_F_NODAD, IFA_F_HOMEADDRESS, IFA_F_MANAGETEMPADDR, IFA_F_NOPREFIXROUTE])
def test_replace_sets_a_flag_and_takes_it(subject: Subject, flag: int) -> None:
    subject.ask(up(), add(f"{A1}/64"), change(f"{A1}/64", flags=flag))
    assert address(subject, A1).flags == IFA_F_PERMANENT | flag

    subject.ask(change(f"{A1}/64"))
    assert address(subject, A1).flags == IFA_F_PERMANENT


@scenario(33)
def test_replace_ignores_the_flags_that_are_the_kernels(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64"), change(f"{A1}/64", flags=IFA_F_TENTATIVE | IFA_F_DEPRECATED | IFA_F_DADFAILED))

    assert address(subject, A1).flags == IFA_F_PERMANENT


@scenario(33)
def test_replace_takes_the_protocol(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64", proto=7), change(f"{A1}/64", proto=8))
    assert address(subject, A1).proto == 8

    subject.ask(change(f"{A1}/64"))
    assert address(subject, A1).proto is None


@scenario(33)
@pytest.mark.parametrize("length", [0, 65, 128])
def test_replace_ignores_the_prefix_length(subject: Subject, length: int) -> None:
    subject.ask(up(), add(f"{A1}/64"))

    assert subject.ask(change(f"{A1}/{length}")) == f"A+{A1}"
    assert addresses(subject) == WITH_A1


@each(
    row(33, "to MANAGETEMPADDR on a prefix that is not of 64 bits", UP, (add(f"{A1}/128"), None),
        (change(f"{A1}/128", flags=IFA_F_MANAGETEMPADDR), "EINVAL -"), leaves=f"{LO4} {A1}/128 {LO6}"),
    row(34, "of the metric: the route is made anew", UP, (add(f"{A1}/64", metric=77), None),
        (change(f"{A1}/64", metric=88), f"A+{A1} R-pfx:{PFX} R+pfx:{PFX}"), leaves=WITH_A1),
    row(34, "of the same metric, of none and of 0: no route", UP, (add(f"{A1}/64", metric=77), None),
        (change(f"{A1}/64", metric=77), f"A+{A1}"), (change(f"{A1}/64"), f"A+{A1}"),
        (change(f"{A1}/64", metric=0), f"A+{A1}"), leaves=WITH_A1),
    row(35, "to NOPREFIXROUTE and back: the route goes and comes", UP, ADDED,
        (change(f"{A1}/64", flags=IFA_F_NOPREFIXROUTE), f"A+(NOPFX,P){A1} R-pfx:{PFX}"),
        (change(f"{A1}/64"), f"A+{A1} R+pfx:{PFX}"), leaves=WITH_A1),
    row(35, "to NOPREFIXROUTE beside another: the route stays", UP, ADDED, (add(f"{A2}/64"), None),
        (change(f"{A1}/64", flags=IFA_F_NOPREFIXROUTE), f"A+(NOPFX,P){A1}"), (change(f"{A1}/64"), f"A+{A1}"),
        leaves=f"{LO4} {A2}/64 {A1}/64 {LO6}"),
    row(36, "of the peer: its prefix has a route from then on", UP, (add(f"{A1}/64", peer=PEER), None),
        (change(f"{A1}/64", peer=PEER2), f"A+{A1} R+pfx:2001:db8:3::/64"), (change(f"{A1}/64"), f"A+{A1}"),
        leaves=WITH_A1),
    row(36, "with a peer where there was none", UP, ADDED,
        (change(f"{A1}/64", peer=PEER2), f"A+{A1} R+pfx:2001:db8:3::/64"), leaves=WITH_A1),
    row(37, "of a lifetime: no route is told", UP, ADDED, (change(f"{A1}/64", valid=GRAIN), f"A+(){A1}"),
        (change(f"{A1}/64", valid=2 * GRAIN), f"A+(){A1}"), (change(f"{A1}/64"), f"A+{A1}"), leaves=WITH_A1),
    row(37, "of the preferred lifetime by 0", UP, ADDED, (change(f"{A1}/64", valid=GRAIN, preferred=0), f"A+(D){A1}"),
        (change(f"{A1}/64", valid=GRAIN), f"A+(){A1}"), leaves=WITH_A1),
    row(38, "of ::1: it loses its mark and has a main route", UP, (change(LO6), "A+::1 R+pfx:::1/128"),
        (change(LO6, valid=GRAIN), "A+()::1"), (change(LO6), "A+::1"),
        (delete(LO6), "A-::1 R-loc:::1 R-pfx:::1/128"), leaves=LO4),
    row(38, "of ::1 with NOPREFIXROUTE and its mark: as the kernel made it", UP,
        (change(LO6, flags=IFA_F_NOPREFIXROUTE, proto=IFAPROT_KERNEL_LO), "A+(NOPFX,P)::1")),
)  # fmt: skip
def test_replace(subject: Subject, row: Row) -> None:
    play(subject, row)


@scenario(34)
def test_replace_of_the_metric_shows_in_both(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64", metric=77), change(f"{A1}/64", metric=88))
    assert (address(subject, A1).rt_priority, main_route(subject).priority) == (88, 88)

    subject.ask(change(f"{A1}/64"))
    assert (address(subject, A1).rt_priority, main_route(subject).priority) == (88, 88)


@scenario(36)
def test_replace_leaves_the_route_of_the_peer_that_was(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64", peer=PEER), change(f"{A1}/64", peer=PEER2))

    assert address(subject, A1).address == bytes.fromhex("20010db80003" + "0" * 19 + "9")
    assert routes(subject) == f"R+pfx:{PFX} R+pfx:{PEER}/128 R+pfx:2001:db8:3::/64 R+loc:::1 R+loc:{A1}"


def main_route(subject: Subject) -> RouteMsg:
    (found,) = (msg for msg in subject.holds() if isinstance(msg, RouteMsg) and msg.rtm_type == RTN_UNICAST)
    return found


@scenario(37)
@pytest.mark.parametrize(("text", "then"), [(LO6, GRAIN), (f"{A1}/64", 0)])
def test_from_forever_to_finite_the_route_has_passed_before_it_began(subject: Subject, text: str, then: int) -> None:
    """The kernel takes jiffies since boot for jiffies from now; the next REPLACE puts it right.

    But lo's prefix routes are reject routes, which do not expire once they are made anew; ::1's is none.
    """
    subject.ask(up(), change(text), change(text, valid=GRAIN))
    assert main_route(subject).expires == -1

    subject.ask(change(text, valid=GRAIN))
    assert main_route(subject).expires == then

    subject.ask(change(text))
    assert main_route(subject).expires == 0


@scenario(38)
def test_replace_of_the_loopback_address_takes_its_mark(subject: Subject) -> None:
    subject.ask(up(), change(LO6))

    assert address(subject, "::1").proto is None
    assert routes(subject) == "R+pfx:::1/128 R+loc:::1"
