"""47 to 51: disable_ipv6, of lo, of all and of default."""

from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import IFF_UP, NLM_F_CREATE, NLM_F_REPLACE
from tests.fidelity.asks import add, disable_ipv6, down, new_device, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import (
    A1,
    ADDED,
    DOWN,
    GET,
    LATER_UP,
    LATER_UP4,
    LO4,
    LO6,
    LOSE,
    PFX,
    UP,
    Row,
    each,
    play,
    row,
)
from tests.fidelity.scenarios.subject import Subject

DISABLED = "EACCES ipv6: IPv6 is disabled on this device"


@each(
    row(47, "takes every IPv6 address", UP, ADDED,
        (disable_ipv6(1), f"R-pfx:{PFX} R-loc:::1 R-loc:{A1} A-{A1} A-::1"), leaves=LO4),
    row(47, "taken back brings ::1", UP, (disable_ipv6(1), LOSE), (disable_ipv6(0), GET)),
    row(47, "a second time says nothing", UP, (disable_ipv6(0), ""), (disable_ipv6(1), LOSE), (disable_ipv6(1), ""),
        leaves=LO4),
    row(47, "any number but 0 is on, and on is on", UP, (disable_ipv6(2), LOSE), (disable_ipv6(-1), ""),
        (disable_ipv6(0), GET)),
    row(47, "while down waits for up", UP, DOWN, (disable_ipv6(1), ""), (disable_ipv6(1), ""),
        (up(), f"L {LATER_UP4}"), (disable_ipv6(0), GET)),
    row(47, "taken back while down waits for up", UP, DOWN, (disable_ipv6(1), None), (disable_ipv6(0), ""),
        (up(), LATER_UP)),
    row(47, "takes an address added while down", (add(f"{A1}/64"), None), (disable_ipv6(1), f"R-loc:{A1} A-{A1}"),
        leaves=""),
    row(48, "of all while down, then up: no IPv6", UP, DOWN, (disable_ipv6(1, "all"), ""), (up(), f"L {LATER_UP4}"),
        (disable_ipv6(0, "all"), GET)),
    row(48, "of all while up is as lo's own", UP, (disable_ipv6(1, "all"), LOSE), (disable_ipv6(0, "all"), GET)),
    row(49, "of all, lo's own taken back", UP, (disable_ipv6(1, "all"), LOSE), (disable_ipv6(0), GET), DOWN,
        (up(), LATER_UP)),
    row(50, "of default is not for lo", UP, (disable_ipv6(1, "default"), "")),
    row(51, "no address is added", UP, (disable_ipv6(1), None), (add(f"{A1}/64"), DISABLED), (add(LO6), DISABLED),
        leaves=LO4),
    row(51, "nor replaced", UP, (disable_ipv6(1), None), (add(LO6, nlm=NLM_F_CREATE | NLM_F_REPLACE), DISABLED),
        leaves=LO4),
    row(51, "nor while down", UP, DOWN, (disable_ipv6(1), None), (add(f"{A1}/64"), DISABLED), leaves=LO4),
)  # fmt: skip
def test_disable_ipv6(subject: Subject, row: Row) -> None:
    play(subject, row)


@scenario(48)
def test_that_of_all_is_written_to_default_and_to_every_device(subject: Subject) -> None:
    subject.ask(disable_ipv6(1, "all"))

    assert [subject.read(f"net.ipv6.conf.{dev}.disable_ipv6") for dev in ("all", "default", "lo")] == ["1"] * 3


@scenario(49)
def test_the_last_word_counts_for_lo(subject: Subject) -> None:
    subject.ask(disable_ipv6(1, "all"), disable_ipv6(0))

    assert [subject.read(f"net.ipv6.conf.{dev}.disable_ipv6") for dev in ("all", "default", "lo")] == ["1", "1", "0"]


@scenario(50)
def test_that_of_default_is_for_a_new_device(subject: Subject) -> None:
    subject.ask(disable_ipv6(1, "default"), new_device("ifb0", "ifb"))
    assert [subject.read(f"net.ipv6.conf.{dev}.disable_ipv6") for dev in ("all", "default", "lo", "ifb0")] == [
        "0", "1", "0", "1"
    ]  # fmt: skip

    is_up = LinkMsg(ifi_index=2, ifi_flags=IFF_UP, ifi_change=IFF_UP)
    assert subject.ask(is_up) == "L M4+224.0.0.1"


@scenario(50)
def test_that_of_default_is_not_another_namespaces(subject: Subject) -> None:
    """Its lo is a new device too, but made with the boot values, whatever the first namespace's default says."""
    subject.ask(disable_ipv6(1, "default"), down())

    with subject.another() as other:
        assert [other.read(f"net.ipv6.conf.{dev}.disable_ipv6") for dev in ("all", "default", "lo")] == ["0"] * 3
