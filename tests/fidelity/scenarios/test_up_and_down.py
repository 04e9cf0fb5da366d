"""1 to 6: the device comes up and goes down."""

import pytest

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_sysctl import DEVCONF
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


@scenario(1)
def test_the_settings_of_all_of_default_and_of_lo(subject: Subject) -> None:
    """Three of them are not the same for all three."""
    settings = {
        name: tuple(subject.read(f"net.ipv6.conf.{dev}.{name}") for dev in ("all", "default", "lo")) for name in DEVCONF
    }

    assert {name: values for name, values in settings.items() if len(set(values)) > 1} == {
        "accept_dad": ("0", "1", "-1"), "mtu": ("1280", "1280", "65536"), "use_tempaddr": ("0", "0", "-1"),
    }  # fmt: skip
    assert {name: int(all_) for name, (all_, _, _) in settings.items()} == DEVCONF


@scenario(1)
@pytest.mark.parametrize("dev", ["all", "default", "lo"])
def test_there_is_no_secret(subject: Subject, dev: str) -> None:
    with pytest.raises(KernelError) as refused:
        subject.read(f"net.ipv6.conf.{dev}.stable_secret")

    assert refused.value.name == "EIO"


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
