"""59 to 64: names, hardware addresses and flags."""

from collections import Counter

import pytest

from addrsvc.errors import KernelError
from addrsvc.netlink.messages import LinkMsg, Message
from addrsvc.uapi import (
    IFF_ALLMULTI,
    IFF_BROADCAST,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_POINTOPOINT,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
)
from tests.fidelity.asks import LO, add, down, flags, mac, rename, up
from tests.fidelity.notation import brief
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import A1, DOWN, DOWN_SAYS, LO4, NETCONF, UP, Row, each, play, row
from tests.fidelity.scenarios.subject import Subject, addresses, lo

RENAMED = f"L A4+127.0.0.1 {NETCONF}"
TRIED = "EINVAL - L A4+127.0.0.1 NC4-1 NC-1 L A4+127.0.0.1 NC4-1 NC4+1 NC+1"
MAC = "02:00:00:00:00:01"
ZERO = "00:00:00:00:00:00"


@each(
    row(59, "a rename leaves the addresses", UP, (rename("lo9"), RENAMED)),
    row(59, "the name it has already", UP, (rename("lo"), "")),
    row(59, "no name at all", UP, (rename(""), "")),
    row(59, "a rename while never up", (rename("lo9"), f"L {NETCONF}"), leaves=""),
    row(59, "a rename while down again", UP, DOWN, (rename("lo9"), RENAMED), leaves=LO4),
    row(59, "all is tried and taken back", UP, (rename("all"), TRIED)),
    row(59, "default is tried and taken back", UP, (rename("default"), TRIED)),
    row(59, "all is tried while never up", (rename("all"), "EINVAL - L NC4-1 NC-1 L NC4-1 NC4+1 NC+1"), leaves=""),
    row(59, "a pattern", UP, (rename("x%d"), RENAMED)),
    row(59, "two patterns", UP, (rename("x%d%d"), "EINVAL -")),
    row(59, "15 characters", UP, (rename("fifteen-letters"), RENAMED)),
    row(59, "16 characters", UP, (rename("sixteen--letters"), "ERANGE Attribute failed policy validation")),
    *(row(59, f"{name!r} is no name", UP, (rename(name), "EINVAL -")) for name in (".", "..", "a/b", "a:b", "a b")),
    row(60, "a hardware address leaves the addresses", UP, (mac(MAC), "L")),
    row(60, "a hardware address while down", (mac(MAC), "L"), leaves=""),
    row(60, "the same again is told again", UP, (mac(MAC), "L"), (mac(MAC), "L")),
    row(60, "zero while it is zero", UP, (mac(ZERO), "L")),
    row(60, "zero once it is not", UP, (mac(MAC), None), (mac(ZERO), "EADDRNOTAVAIL -")),
    row(60, "a multicast address", UP, (mac("01:00:00:00:00:01"), "EADDRNOTAVAIL -")),
    row(60, "the broadcast address", UP, (mac("ff:ff:ff:ff:ff:ff"), "EADDRNOTAVAIL -")),
    row(60, "5 bytes", UP, (mac("02:00:00:00:01"), "EINVAL -")),
    row(60, "8 bytes: the first 6 count", UP, (mac(f"{MAC}:77:88"), "L")),
    *(row(62, f"{name} on and off", UP, (flags(bit), "L"), (flags(bit), ""), (flags(bit, on=False), "L"))
      for name, bit in (("MULTICAST", IFF_MULTICAST), ("DEBUG", IFF_DEBUG), ("DYNAMIC", IFF_DYNAMIC),
                        ("PROMISC", IFF_PROMISC), ("ALLMULTI", IFF_ALLMULTI))),
    row(62, "DEBUG while down", (flags(IFF_DEBUG), "L"), leaves=""),
    *(row(63, f"{name} cannot be changed", UP, (flags(bit), ""), (flags(bit, on=False), ""))
      for name, bit in (("LOOPBACK", IFF_LOOPBACK), ("BROADCAST", IFF_BROADCAST),
                        ("POINTOPOINT", IFF_POINTOPOINT), ("RUNNING", IFF_RUNNING))),
    row(64, "flags without a mask are all flags", UP, (LinkMsg(ifi_index=LO, ifi_flags=IFF_LOOPBACK), DOWN_SAYS),
        leaves=LO4),
    row(64, "no flags and no mask are no change", UP, (LinkMsg(ifi_index=LO), "")),
    row(64, "all flags as they are", UP, (LinkMsg(ifi_index=LO, ifi_flags=IFF_UP, ifi_change=0xFFFFFFFF), "")),
)  # fmt: skip
def test_name_address_and_flags(subject: Subject, row: Row) -> None:
    play(subject, row)


def is_there(subject: Subject, name: str) -> bool:
    try:
        subject.read(f"net.ipv6.conf.{name}.disable_ipv6")
    except KernelError:
        return False
    return True


@scenario(59)
@pytest.mark.parametrize(
    ("asks", "name"),
    [((rename("lo9"),), "lo9"), ((up(), rename("lo9")), "lo9"), ((rename("lo.7"),), "lo/7"), ((rename("all"),), "lo"),
     ((rename("x%d"),), "x0")],
)  # fmt: skip
def test_the_sysctls_follow_the_name(subject: Subject, asks: tuple[Message, ...], name: str) -> None:
    """A dot in it is a slash there."""
    subject.ask(*asks)

    assert [it for it in ("lo", "lo9", "lo/7", "x0") if is_there(subject, it)] == [name]
    assert lo(subject).ifname == name.replace("/", ".")


@scenario(59)
def test_the_counters_of_the_device_follow_its_name(subject: Subject) -> None:
    before = subject.proc("net/dev_snmp6/lo")
    subject.ask(rename("lo9"))

    assert subject.proc("net/dev_snmp6/lo9") == before
    with pytest.raises(KernelError):
        subject.proc("net/dev_snmp6/lo")


@scenario(59)
def test_the_sysctls_keep_their_values_under_another_name(subject: Subject) -> None:
    subject.ask(up(), flags(IFF_DEBUG), rename("lo9"))

    assert subject.read("net.ipv6.conf.lo9.mtu") == "65536"


@scenario(60)
@pytest.mark.parametrize(("given", "has"), [(f"{MAC}:77:88", MAC), ("01:00:00:00:00:01", ZERO), (ZERO, ZERO)])
def test_the_device_has_the_address_that_was_taken(subject: Subject, given: str, has: str) -> None:
    subject.ask(mac(given))

    assert (lo(subject).address or b"").hex(":") == has


@scenario(61)
def test_noarp_has_every_address_announced_again(subject: Subject) -> None:
    """Each after a time of its own within a second, so that any order may be."""
    subject.ask(up(), add(f"{A1}/64"))

    for on in (True, False):
        said = subject.do(flags(IFF_NOARP, on=on)).said
        assert brief(said[:1]) == "L"
        assert Counter(brief(said[1:]).split()) == Counter(["A+::1", f"A+{A1}"])
    assert addresses(subject) == f"{LO4} {A1}/64 ::1/128"


@scenario(61)
def test_noarp_while_down_announces_nothing(subject: Subject) -> None:
    subject.ask(up(), add(f"{A1}/64"), down())

    assert subject.ask(flags(IFF_NOARP)) == "L"


@scenario(62)
def test_promiscuity_is_counted(subject: Subject) -> None:
    subject.ask(up(), flags(IFF_PROMISC), flags(IFF_ALLMULTI))
    assert (lo(subject).promiscuity, lo(subject).allmulti) == (1, 1)

    subject.ask(flags(IFF_PROMISC, on=False))
    assert (lo(subject).promiscuity, lo(subject).allmulti) == (0, 1)
