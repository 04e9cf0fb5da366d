"""52 to 58: the MTU, below which IPv6 (1280) and IPv4 (68) leave the device."""

from addrsvc.uapi import IFF_DEBUG, IFF_MULTICAST, IFF_NOARP, IFF_PROMISC
from tests.fidelity.asks import add, alias, down, flags, ipv6_sysctl, mtu, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import (
    A1,
    DOWN_SAYS,
    FIRST_UP,
    FIRST_UP4,
    GET,
    LATER_UP,
    LO4,
    LOSE,
    PFX,
    UP,
    Row,
    Step,
    each,
    play,
    row,
)
from tests.fidelity.scenarios.subject import Subject, lo

MTU6 = "net.ipv6.conf.lo.mtu"
LOSE4 = "M4-224.0.0.1 A4-127.0.0.1 R4-loc:127.0.0.0/8 R4-brd:127.255.255.255 R4-loc:127.0.0.1 NC4-1"
SMALL: Step = (mtu(1279), None)
GREAT: Step = (mtu(65536), None)


@each(
    row(52, "1279 takes ::1", UP, (mtu(1279), f"L {LOSE}"), leaves=LO4),
    row(52, "1280 takes nothing", UP, (mtu(1280), "L")),
    row(52, "1280 and more after that do not bring ::1 back", UP, SMALL, (mtu(1280), "L"), (mtu(65536), "L"),
        leaves=LO4),
    row(52, "the same MTU again says nothing", UP, (mtu(65536), ""), (mtu(1280), "L"), (mtu(1280), "")),
    row(53, "first up with 1000: ::1 for a moment", (mtu(1000), "L"), (up(), f"{FIRST_UP} {LOSE}"), leaves=LO4),
    row(53, "an address is accepted nevertheless", UP, (mtu(1000), None),
        (add(f"{A1}/64"), f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=f"{LO4} {A1}/64"),
    row(54, "an alias brings ::1 back", UP, SMALL, GREAT, (alias("x"), f"{GET} L")),
    row(54, "DEBUG brings ::1 back", UP, SMALL, GREAT, (flags(IFF_DEBUG), f"L {GET}")),
    row(54, "MULTICAST brings ::1 back", UP, SMALL, GREAT, (flags(IFF_MULTICAST), f"L {GET}")),
    row(54, "NOARP brings ::1 back", UP, SMALL, GREAT, (flags(IFF_NOARP), f"L {GET}")),
    row(54, "PROMISC does not", UP, SMALL, GREAT, (flags(IFF_PROMISC), "L"), leaves=LO4),
    row(54, "down and up do", UP, SMALL, GREAT, (down(), "L M4-224.0.0.1"), (up(), LATER_UP)),
    row(55, "DEBUG: ::1 for a moment", UP, SMALL, (flags(IFF_DEBUG), f"L {GET} {LOSE}"),
        (flags(IFF_DEBUG, on=False), f"L {GET} {LOSE}"), leaves=LO4),
    row(55, "an alias: the same, and told last", UP, SMALL, (alias("x"), f"{GET} {LOSE} L"), leaves=LO4),
    row(56, "67 takes IPv4 too", UP, (mtu(67), f"L {LOSE4} {LOSE}"), leaves=""),
    row(56, "0 takes IPv4 too", UP, (mtu(0), f"L {LOSE4} {LOSE}"), leaves=""),
    row(56, "68 takes IPv6 alone", UP, (mtu(68), f"L {LOSE}"), leaves=LO4),
    row(56, "68 brings IPv4 back, without an address", UP, (mtu(0), None), (mtu(68), "L NC4+1 M4+224.0.0.1"),
        (mtu(0), "L M4-224.0.0.1 NC4-1"), leaves=""),
    row(56, "down and up bring 127.0.0.1 back", UP, (mtu(0), None), GREAT, (down(), "L M4-224.0.0.1"),
        (up(), f"L {FIRST_UP4} {GET}")),
    row(56, "first up with 67: no IPv4", (mtu(67), "L NC4-1"), (up(), f"L {GET} {LOSE}"), leaves=""),
    row(57, "the greatest number", UP, (mtu(2**31 - 1), "L")),
    row(57, "one more", UP, (mtu(2**31), "EINVAL mtu less than device minimum")),
    row(57, "the greatest of 32 bits", UP, (mtu(2**32 - 1), "EINVAL mtu less than device minimum")),
    row(58, "IPv6's own, and its limits", UP, (ipv6_sysctl("mtu", 1279), "EINVAL -"), (ipv6_sysctl("mtu", 1280), ""),
        (ipv6_sysctl("mtu", 70000), "EINVAL -"), (ipv6_sysctl("mtu", 65536), "")),
    row(58, "IPv6's own does not touch ::1", UP, (ipv6_sysctl("mtu", 1280), ""), (down(), DOWN_SAYS), (up(), LATER_UP)),

)  # fmt: skip
def test_the_mtu(subject: Subject, row: Row) -> None:
    play(subject, row)


@scenario(52)
def test_that_of_ipv6_follows_down_to_1280_and_no_further(subject: Subject) -> None:
    subject.ask(up())
    seen = []
    for value in (1500, 1279, 1280, 1279, 9000):
        subject.ask(mtu(value))
        seen.append(subject.read(MTU6))

    assert seen == ["1500", "1500", "1280", "1280", "9000"]


@scenario(57)
def test_a_refused_one_changes_nothing(subject: Subject) -> None:
    before = subject.holds()
    subject.ask(mtu(2**31))

    assert (lo(subject).mtu, subject.holds()) == (65536, before)


@scenario(58)
def test_that_of_ipv6_alone_lasts_until_the_next_up(subject: Subject) -> None:
    subject.ask(up(), ipv6_sysctl("mtu", 1400))
    assert (lo(subject).mtu, subject.read(MTU6)) == (65536, "1400")

    subject.ask(down())
    assert subject.read(MTU6) == "1400"
    subject.ask(up())
    assert subject.read(MTU6) == "65536"


@scenario(58)
def test_that_of_ipv6_alone_may_not_be_above_the_devices(subject: Subject) -> None:
    subject.ask(up(), mtu(1500))

    assert [subject.ask(ipv6_sysctl("mtu", value)) for value in (1500, 1501)] == ["", "EINVAL -"]
