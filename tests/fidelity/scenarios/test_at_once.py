"""84, 85, 87 and 88: requests in a rush, several changes in one, and two namespaces at a time."""

import pytest

from addrsvc.netlink.messages import Inet6LinkInfo, LinkMsg, Message
from addrsvc.uapi import IFA_F_NODAD, IFF_DEBUG, IFF_UP
from tests.fidelity.asks import LO, add, delete, disable_ipv6, down, rename, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import A1, BOTH, DOWN_SAYS, FIRST_UP, FIRST_UP4, GET, LO4, NETCONF, PFX
from tests.fidelity.scenarios.subject import Subject, addresses, lo

TRIED = "L A4+127.0.0.1 NC4-1 NC-1 L A4+127.0.0.1 NC4-1 NC4+1 NC+1"
TIMES = 20


# --- what the running kernel itself has two answers to ---------------------------------------------------------------

# Requests in a rush, what is said where the work queue is the faster, and where the second request is.
RACES: dict[str, tuple[tuple[Message, ...], str, str]] = {
    "added and deleted": (
        (add(f"{A1}/64"), delete(f"{A1}/64")),
        f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1} A-{A1} R-loc:{A1} R-pfx:{PFX}",
        f"R+pfx:{PFX} A+(T,P){A1} A-{A1} R-pfx:{PFX}",
    ),
    "added with NODAD and deleted": (
        (add(f"{A1}/64", flags=IFA_F_NODAD), delete(f"{A1}/64")),
        f"R+pfx:{PFX} A+(NODAD,P){A1} R+loc:{A1} A-{A1} R-loc:{A1} R-pfx:{PFX}",
        f"R+pfx:{PFX} A-{A1} R-pfx:{PFX}",
    ),
    "added and taken down": (
        (add(f"{A1}/64"), down()),
        f"R+pfx:{PFX} A+(T,P){A1} A+{A1} R+loc:{A1} L M4-224.0.0.1 R-pfx:{PFX} R-loc:::1 R-loc:{A1} A-{A1} A-::1",
        f"R+pfx:{PFX} A+(T,P){A1} L M4-224.0.0.1 R-pfx:{PFX} R-loc:::1 A-{A1} A-::1",
    ),
}


@pytest.mark.parametrize("race", [
    pytest.param(race, marks=scenario(85 if name.endswith("down") else 84), id=name) for name, race in RACES.items()
])  # fmt: skip
def test_one_of_exactly_two_stories_is_told(alone: Subject, race: tuple[tuple[Message, ...], str, str]) -> None:
    """And nothing is left of the address in either; the model's work queue is always the faster."""
    asks, *stories = race
    for _ in range(TIMES):
        alone.ask(up())
        assert alone.rush(*asks) in stories
        assert A1 not in addresses(alone)


# --- several changes in one request ----------------------------------------------------------------------------------


def at_once(**what: object) -> LinkMsg:
    return LinkMsg(ifi_index=LO, **what)  # type: ignore[arg-type]


RENAMED = f"L A4+127.0.0.1 {NETCONF}"
# A request; what is said to it while lo is up; what of it is there afterwards.
CHANGES: dict[str, tuple[LinkMsg, str, dict[str, object]]] = {
    "name, mtu and down": (
        at_once(ifname="lo9", mtu=1400, ifi_change=IFF_UP), f"L {RENAMED} {DOWN_SAYS}", {"ifname": "lo9", "mtu": 1400},
    ),
    "a bad name comes after the mtu": (
        at_once(ifname="a/b", mtu=1400, ifi_change=IFF_UP), "EINVAL - L", {"ifname": "lo", "mtu": 1400},
    ),
    "a name that is tried comes after the mtu": (
        at_once(ifname="all", mtu=1279), f"EINVAL - L R-loc:::1 A-::1 {TRIED}", {"ifname": "lo", "mtu": 1279},
    ),
    "a name too long is seen before anything is done": (
        at_once(ifname="x" * 16, mtu=1400), "ERANGE Attribute failed policy validation", {"ifname": "lo", "mtu": 65536},
    ),
    "a bad hardware address comes before the mtu": (
        at_once(address=b"\1" * 6, mtu=1400), "EADDRNOTAVAIL -", {"mtu": 65536},
    ),
    "a short hardware address is seen before anything is done": (
        at_once(address=b"\2" * 5, mtu=1400), "EINVAL -", {"mtu": 65536},
    ),
    "a bad addr_gen_mode is seen before anything is done": (
        at_once(mtu=1400, inet6=Inet6LinkInfo(addr_gen_mode=9)), "EINVAL -", {"mtu": 65536},
    ),
    "the carrier comes after the flags and before the queue": (
        at_once(mtu=1400, ifname="lo9", ifi_flags=IFF_DEBUG, ifi_change=IFF_DEBUG, carrier=1, txqlen=7),
        f"EOPNOTSUPP - L {RENAMED} L", {"mtu": 1400, "ifname": "lo9", "txqlen": 1000},
    ),
    "a refusal does not keep the change that is told last from being told": (
        at_once(mtu=1400, ifalias="x", txqlen=7, proto_down=1), "EOPNOTSUPP Protodown not supported by device L L L",
        {"mtu": 1400, "ifalias": "x", "txqlen": 7},
    ),
}  # fmt: skip


@scenario(87)
@pytest.mark.parametrize(("ask", "says", "leaves"), CHANGES.values(), ids=CHANGES.keys())
def test_what_came_before_the_bad_part_stays(
    subject: Subject, ask: LinkMsg, says: str, leaves: dict[str, object]
) -> None:
    subject.ask(up())

    assert subject.ask(ask) == says
    assert {name: getattr(lo(subject), name) for name in leaves} == leaves


@scenario(87)
def test_all_that_is_asked_at_once_is_done_in_the_kernels_order(subject: Subject) -> None:
    """The MTU, the name, up, the queue, and at last, though done third, what the alias has to tell."""
    everything = at_once(ifname="lo9", mtu=1400, txqlen=7, ifalias="x", ifi_flags=IFF_UP, ifi_change=IFF_UP)

    assert subject.ask(everything) == f"L L {NETCONF} L {FIRST_UP4} {GET} L L"


# --- two namespaces --------------------------------------------------------------------------------------------------


@scenario(88)
def test_what_one_namespace_does_the_other_does_not_hear(subject: Subject) -> None:
    with subject.another() as other:
        before = other.holds()
        assert subject.ask(up(), add(f"{A1}/64"), rename("lo9"), disable_ipv6(1, "all")) != ""

        assert (other.wait(0), other.holds()) == ((), before)
        assert other.ask(up()) == FIRST_UP
        assert (addresses(subject), addresses(other)) == (LO4, BOTH)
