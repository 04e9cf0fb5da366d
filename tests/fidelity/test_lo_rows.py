"""What lo does, operation by operation: the same state, the same messages in the same order, the same refusals.

Each row is a script.  A step is a request and what the kernel says to it; None where the step only leads up to the
next one.  `leaves` are the addresses at the end, as a dump orders them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from addrsvc.errors import KernelError
from addrsvc.mirror.kernel import Kernel, Watch
from addrsvc.mirror.netns import NetNs
from addrsvc.netlink.messages import Message
from addrsvc.uapi import (
    IF_OPER_DORMANT,
    IF_OPER_UP,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFF_DEBUG,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_PROMISC,
    NLM_F_CREATE,
    NLM_F_REPLACE,
)
from tests.fidelity.asks import (
    add,
    alias,
    delete,
    disable_ipv6,
    down,
    flags,
    forwarding,
    gen_mode,
    keep_addr_on_down,
    mac,
    mtu,
    operstate,
    rename,
    sysctl_gen_mode,
    txqlen,
    up,
)
from tests.fidelity.compare import first_difference
from tests.fidelity.notation import brief, holds, refusal

Step = tuple[Message, str | None]


@dataclass(frozen=True)
class Row:
    fact: str
    steps: tuple[Step, ...]
    leaves: str


A1, A2 = "2001:db8::1", "2001:db8::2"
A3 = "2001:db8:1::1"
PFX, PFX3 = "2001:db8::/64", "2001:db8:1::/64"
LO4, LO6 = "127.0.0.1/8", "::1/128"
BOTH = f"{LO4} {LO6}"

ROUTE4 = "R4+brd:127.255.255.255"
FIRST_UP4 = f"A4+127.0.0.1 R4+loc:127.0.0.1 R4+loc:127.0.0.0/8 {ROUTE4} M4+224.0.0.1"
LATER_UP4 = f"M4+224.0.0.1 {ROUTE4}"
GET = "A+::1 R+loc:::1 I"
LOSE = "R-loc:::1 A-::1"
FLUSH4 = "A4-127.0.0.1 R4-loc:127.0.0.0/8 R4-brd:127.255.255.255 R4-loc:127.0.0.1"
FIRST_UP = f"L {FIRST_UP4} {GET}"
NETCONF = "NC4-1 NC4+1 NC-1 NC+1"
DISABLED = "EACCES ipv6: IPv6 is disabled on this device"

KEPT_ROUTES = f"R-pfx:{PFX} R-pfx:{PFX3} R-pfx:fe80::/64 R-loc:::1 R-loc:{A1} R-loc:{A3} R-loc:fe80::1"

UP: Step = (up(), None)
DOWN: Step = (down(), None)
ADDED: Step = (add(f"{A1}/64"), None)
DELETED: Step = (delete(LO6), None)


def row(fact: str, *steps: Step, leaves: str = BOTH) -> Row:
    return Row(fact, steps, leaves)


ROWS = (
    row("up for the first time", (up(), FIRST_UP)),
    row("up again says nothing", UP, (up(), "")),
    row("down while down says nothing", (down(), ""), leaves=""),
    row("down again says nothing", UP, DOWN, (down(), ""), leaves=LO4),
    row("down takes ::1 and leaves 127.0.0.1", UP, (down(), f"L M4-224.0.0.1 {LOSE}"), leaves=LO4),
    row("up for the second time", UP, DOWN, (up(), f"L {LATER_UP4} {GET}")),
    row("an address added while down has no prefix route",
        (add(f"{A1}/64"), f"A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=f"{A1}/64"),
    row("an address added while down gets its prefix route when up", UP, DOWN, ADDED,
        (up(), f"L {LATER_UP4} R+pfx:{PFX} {GET}"), leaves=f"{LO4} {A1}/64 {LO6}"),
    row("an address added while up", UP,
        (add(f"{A1}/64"), f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=f"{LO4} {A1}/64 {LO6}"),
    row("an address added with NODAD is said once", UP,
        (add(f"{A1}/64", flags=IFA_F_NODAD), f"R+pfx:{PFX} A+(NODAD,P){A1} R+loc:{A1}"),
        leaves=f"{LO4} {A1}/64 {LO6}"),
    row("an address added with NOPREFIXROUTE", UP,
        (add(f"{A1}/64", flags=IFA_F_NOPREFIXROUTE), f"A+(T,NOPFX,P){A1} A+(NOPFX,P){A1} R+loc:{A1}"),
        leaves=f"{LO4} {A1}/64 {LO6}"),
    row("a second address of the same prefix brings no second prefix route", UP, ADDED,
        (add(f"{A2}/64"), f"A+(T,P){A2} A+{A2} R+loc:{A2}"), leaves=f"{LO4} {A2}/64 {A1}/64 {LO6}"),
    row("the last address of a prefix takes the prefix route along", UP, ADDED,
        (delete(f"{A1}/64"), f"A-{A1} R-loc:{A1} R-pfx:{PFX}")),
    row("another permanent address of the prefix keeps the prefix route", UP, ADDED, (add(f"{A2}/64"), None),
        (delete(f"{A1}/64"), f"A-{A1} R-loc:{A1}"), leaves=f"{LO4} {A2}/64 {LO6}"),
    row("another NOPREFIXROUTE address of the prefix keeps the prefix route", UP, ADDED,
        (add(f"{A2}/64", flags=IFA_F_NOPREFIXROUTE), None),
        (delete(f"{A1}/64"), f"A-{A1} R-loc:{A1}"), leaves=f"{LO4} {A2}/64 {LO6}"),
    row("another finite address of the prefix keeps the prefix route", UP, ADDED,
        (add(f"{A2}/64", valid=1000, preferred=900), None),
        (delete(f"{A1}/64"), f"A-{A1} R-loc:{A1}"), leaves=f"{LO4} {A2}/64 {LO6}"),
    row("a finite address leaves its prefix route behind", UP,
        (add(f"{A1}/64", valid=1000, preferred=900), f"R+pfx:{PFX} A+(T){A1} A+(){A1} R+loc:{A1}"),
        (delete(f"{A1}/64"), f"A-{A1} R-loc:{A1}")),
    row("down with addresses", UP, ADDED, (add(f"{A2}/64"), None),
        (down(), f"L M4-224.0.0.1 R-pfx:{PFX} R-loc:::1 R-loc:{A1} R-loc:{A2} A-{A2} A-{A1} A-::1"), leaves=LO4),
    row("::1 deleted by hand", UP, (delete(LO6), "A-::1 R-loc:::1"), leaves=LO4),
    row("::1 deleted twice", UP, DELETED, (delete(LO6), "EADDRNOTAVAIL ipv6: address not found"), leaves=LO4),
    row("::1 deleted under another prefix length", UP, (delete("::1/64"), "EADDRNOTAVAIL ipv6: address not found")),
    row("::1 deleted stays gone after a flag", UP, DELETED, (flags(IFF_DEBUG), "L"), leaves=LO4),
    row("::1 deleted stays gone after an mtu", UP, DELETED, (mtu(2000), "L"), leaves=LO4),
    row("::1 deleted stays gone after a rename", UP, DELETED,
        (rename("lo9"), f"L A4+127.0.0.1 {NETCONF}"), leaves=LO4),
    row("::1 deleted stays gone after an alias", UP, DELETED, (alias("x"), "L"), leaves=LO4),
    row("::1 deleted is back after down and up", UP, DELETED,
        (down(), "L M4-224.0.0.1"), (up(), f"L {LATER_UP4} {GET}")),
    row("mtu below 1280 takes ::1", UP, (mtu(1279), f"L {LOSE}"), leaves=LO4),
    row("mtu of 1280 and more does not bring ::1 back", UP, (mtu(1279), None),
        (mtu(1280), "L"), (mtu(65536), "L"), leaves=LO4),
    row("an alias after that brings ::1 back", UP, (mtu(1279), None), (mtu(65536), None), (alias("x"), f"{GET} L")),
    row("DEBUG after that brings ::1 back", UP, (mtu(1279), None), (mtu(65536), None), (flags(IFF_DEBUG), f"L {GET}")),
    row("MULTICAST after that brings ::1 back", UP, (mtu(1279), None), (mtu(65536), None),
        (flags(IFF_MULTICAST), f"L {GET}")),
    row("NOARP after that brings ::1 back", UP, (mtu(1279), None), (mtu(65536), None), (flags(IFF_NOARP), f"L {GET}")),
    row("PROMISC after that does not", UP, (mtu(1279), None), (mtu(65536), None), (flags(IFF_PROMISC), "L"),
        leaves=LO4),
    row("DEBUG with an mtu below 1280 brings ::1 for a moment", UP, (mtu(1279), None),
        (flags(IFF_DEBUG), f"L {GET} {LOSE}"), leaves=LO4),
    row("up for the first time with an mtu below 1280", (mtu(1000), None),
        (up(), f"{FIRST_UP} {LOSE}"), leaves=LO4),
    row("an address is accepted with an mtu below 1280", UP, (mtu(1000), None),
        (add(f"{A1}/64"), f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1}"), leaves=f"{LO4} {A1}/64"),
    row("disable_ipv6 takes every IPv6 address", UP, ADDED,
        (disable_ipv6(1), f"R-pfx:{PFX} R-loc:::1 R-loc:{A1} A-{A1} A-::1"), leaves=LO4),
    row("no address is accepted while disabled", UP, (disable_ipv6(1), None),
        (add(f"{A1}/64"), DISABLED), leaves=LO4),
    row("disable_ipv6 taken back brings ::1", UP, (disable_ipv6(1), None), (disable_ipv6(0), GET)),
    row("disable_ipv6 taken back while down waits for up", UP, DOWN, (disable_ipv6(1), ""), (disable_ipv6(0), ""),
        (up(), f"L {LATER_UP4} {GET}")),
    row("all.disable_ipv6 is as lo's own", UP, (disable_ipv6(1, "all"), LOSE), (disable_ipv6(0, "all"), GET)),
    row("default.disable_ipv6 is for new devices only", UP, (disable_ipv6(1, "default"), "")),
    row("disable_ipv6 of the same value says nothing", UP, (disable_ipv6(0), ""), (disable_ipv6(1), None),
        (disable_ipv6(1), ""), leaves=LO4),
    row("disable_ipv6 does not heed keep_addr_on_down", UP, ADDED, (keep_addr_on_down(1), ""),
        (disable_ipv6(1), f"R-pfx:{PFX} R-loc:::1 R-loc:{A1} A-{A1} A-::1"), leaves=LO4),
    row("keep_addr_on_down keeps what is permanent and neither loopback nor link-local", UP,
        (add("fe80::1/64"), None), (add(f"{A3}/64", valid=1000), None), ADDED, (keep_addr_on_down(1), ""),
        (down(), f"L M4-224.0.0.1 {KEPT_ROUTES} A-{A3} A-fe80::1 A-::1"),
        leaves=f"{LO4} {A1}/64"),
    row("a kept address comes back with up", UP, ADDED, (keep_addr_on_down(1), None), DOWN,
        (up(), f"L {LATER_UP4} R+pfx:{PFX} {GET} A+{A1} R+loc:{A1}"), leaves=f"{LO4} {A1}/64 {LO6}"),
    row("all.keep_addr_on_down of -1 overrides lo's own", UP, ADDED, (keep_addr_on_down(1), None),
        (keep_addr_on_down(-1, "all"), None),
        (down(), f"L M4-224.0.0.1 R-pfx:{PFX} R-loc:::1 R-loc:{A1} A-{A1} A-::1"), leaves=LO4),
    row("all.forwarding reaches default, lo and all", UP, (forwarding(1, "all"), "NC+-2 NC+1 NC+-1")),
    row("all.forwarding gives a subnet-router anycast address", UP, ADDED,
        (forwarding(1, "all"), "NC+-2 R+any:2001:db8:: AC+2001:db8:: NC+1 NC+-1"), leaves=f"{LO4} {A1}/64 {LO6}"),
    row("lo.forwarding gives a subnet-router anycast address", UP, ADDED,
        (forwarding(1), "R+any:2001:db8:: AC+2001:db8:: NC+1"), leaves=f"{LO4} {A1}/64 {LO6}"),
    row("lo.forwarding gives none for a prefix of 127", UP, (add(f"{A1}/127"), None),
        (forwarding(1), "NC+1"), leaves=f"{LO4} {A1}/127 {LO6}"),
    row("::1 added by hand while never up",
        (add(LO6), "A+(T,P)::1 A+::1 R+loc:::1"), leaves=LO6),
    row("::1 added by hand while never up is kept by up", (add(LO6), None),
        (up(), f"L {FIRST_UP4} R+pfx:::1/128 I")),
    row("::1/64 by hand gives way to ::1/128 after down and up", UP, DELETED,
        (add("::1/64"), "R+pfx:::/64 A+(T,P)::1 A+::1 R+loc:::1"),
        (down(), "L M4-224.0.0.1 R-pfx:::/64 R-loc:::1 A-::1"), (up(), f"L {LATER_UP4} {GET}")),
    row("a flush takes 127.0.0.1 and everything of IPv6", UP, ADDED, (add(f"{A2}/64"), None),
        (delete(LO4), FLUSH4), (delete(f"{A2}/64"), f"A-{A2} R-loc:{A2}"),
        (delete(f"{A1}/64"), f"A-{A1} R-loc:{A1} R-pfx:{PFX}"), (delete(LO6), "A-::1 R-loc:::1"), leaves=""),
    row("a flushed lo has both addresses again after down and up", UP, (delete(LO4), None), DELETED, DOWN,
        (up(), FIRST_UP)),
    row("DORMANT leaves the addresses", UP, (operstate(IF_OPER_DORMANT), "L")),
    row("no ::1 while DORMANT", UP, (operstate(IF_OPER_DORMANT), None), (disable_ipv6(1), LOSE), (disable_ipv6(0), ""),
        leaves=LO4),
    row("UP after that brings ::1", UP, (operstate(IF_OPER_DORMANT), None), (disable_ipv6(1), None),
        (disable_ipv6(0), None), (operstate(IF_OPER_UP), f"{GET} L")),
    row("a rename leaves the addresses", UP, (rename("lo9"), f"L A4+127.0.0.1 {NETCONF}")),
    row("a rename while never up", (rename("lo9"), f"L {NETCONF}"), leaves=""),
    row("a rename to all is tried and taken back", UP,
        (rename("all"), "EINVAL - L A4+127.0.0.1 NC4-1 NC-1 L A4+127.0.0.1 NC4-1 NC4+1 NC+1")),
    row("a new hardware address leaves the addresses", UP, (mac("02:00:00:00:00:01"), "L")),
    row("a multicast hardware address is refused", UP, (mac("01:00:00:00:00:01"), "EADDRNOTAVAIL -")),
    row("a transmit queue length", UP, (txqlen(7), "L"), (txqlen(7), "")),
    row("an alias while down says nothing", (alias("x"), ""), leaves=""),
    row("an mtu of no size", UP, (mtu(2**31), "EINVAL mtu less than device minimum")),
    row("an mtu below 68 takes IPv4 too", UP,
        (mtu(0), f"L M4-224.0.0.1 {FLUSH4} NC4-1 {LOSE}"), leaves=""),
    row("an mtu of 68 brings IPv4 back without an address", UP, (mtu(0), None), (mtu(68), "L NC4+1 M4+224.0.0.1"),
        leaves=""),
    row("another addr_gen_mode by sysctl brings a deleted ::1 back", UP, DELETED,
        (sysctl_gen_mode(0), ""), (sysctl_gen_mode(1), "A+::1 R+loc:::1")),
    row("another addr_gen_mode by IFLA_AF_SPEC does not", UP, DELETED, (gen_mode(1), "L"), leaves=LO4),
    row("REPLACE of ::1 takes its mark and gives it a prefix route", UP,
        (add(LO6, nlm=NLM_F_CREATE | NLM_F_REPLACE), "A+::1 R+pfx:::1/128")),
    row("::1 is there already", UP, (add(LO6), "EEXIST ipv6: address already assigned")),
)  # fmt: skip


@pytest.fixture
def watch(kernel: Kernel) -> Iterator[Watch]:
    watch = kernel.watch()
    yield watch
    watch.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fact)
def test_lo(kernel: Kernel, watch: Watch, row: Row) -> None:
    for ask, expected in row.steps:
        answer = ask_and_hear(kernel, watch, ask)
        if expected is not None:
            assert answer == expected

    assert holds(kernel.dump()) == row.leaves


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fact)
def test_lo_in_full(netns: NetNs, row: Row) -> None:
    """Every field of every message and of every dump, the model's against the running kernel's."""
    assert str(first_difference(ask for ask, _ in row.steps) or "") == ""


def ask_and_hear(kernel: Kernel, watch: Watch, ask: Message) -> str:
    """The refusal, if there is one, and everything that was said."""
    try:
        kernel.request(ask)
    except KernelError as error:
        return f"{refusal(error)} {brief(watch)}".rstrip()
    return brief(watch)
