"""drivers/net/dummy.c and link_watch.c: the kind that the running kernel was built without, from its source.

What a dummy has in common with an ifb is held against the running kernel in tests/af_netlink/test_link.py.
"""

from ipaddress import IPv6Address

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.netlink.messages import LinkInfo, LinkMsg, RouteMsg
from addrsvc.uapi import (
    ARPHRD_ETHER,
    IF_LINK_MODE_DORMANT,
    IF_OPER_DORMANT,
    IF_OPER_DOWN,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFF_BROADCAST,
    IFF_LOWER_UP,
    IFF_NOARP,
    IFF_RUNNING,
    IFF_UP,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELLINK,
    RTNH_F_LINKDOWN,
)
from tests.model.ears import link_of, listen, no_link_local, said

MAC = b"\2\0\0\0\0\7"
PLAIN = IFF_BROADCAST | IFF_NOARP
RUNS = PLAIN | IFF_UP | IFF_RUNNING | IFF_LOWER_UP


def new(name: str | None = "d", **wish: object) -> LinkMsg:
    made = {"nlmsg_flags": NLM_F_CREATE | NLM_F_EXCL, "linkinfo": LinkInfo(kind="dummy"), **wish}
    return LinkMsg(ifname=name, **made)  # type: ignore[arg-type]


def up(name: str = "d", *, on: bool = True) -> LinkMsg:
    return LinkMsg(ifname=name, ifi_flags=IFF_UP if on else 0, ifi_change=IFF_UP)


@pytest.fixture
def fresh() -> Namespace:
    """With lo alone."""
    return Linux().init_net


@pytest.fixture
def net() -> Namespace:
    """With a dummy that is up and has no address."""
    net = no_link_local(Linux())
    net.request(new(address=MAC))
    net.request(up())
    net.linux.effects()
    return net


def carrier(net: Namespace) -> tuple[int, int | None, int | None, str | None, int | None]:
    link = link_of(net, "d")
    return link.ifi_flags, link.carrier, link.operstate, link.qdisc, link.carrier_changes


def down_routes(net: Namespace) -> list[str]:
    """Those that say that their link is down."""
    routes = (msg for msg in net.dump() if isinstance(msg, RouteMsg) and msg.rtm_flags & RTNH_F_LINKDOWN)
    return [f"{IPv6Address(msg.dst or bytes(16))}/{msg.rtm_dst_len}" for msg in routes]


def test_a_dummy_is_an_ethernet_device_without_arp(fresh: Namespace) -> None:
    fresh.request(new(address=MAC))

    link = link_of(fresh, "d")
    assert (link.ifi_type, link.ifi_flags, link.address, link.broadcast) == (ARPHRD_ETHER, PLAIN, MAC, b"\xff" * 6)
    assert (link.mtu, link.min_mtu, link.max_mtu, link.txqlen, link.qdisc) == (1500, 0, 0, 1000, "noop")
    assert (link.carrier, link.operstate, link.linkinfo) == (1, IF_OPER_DOWN, LinkInfo(kind="dummy"))


def test_its_address_is_drawn(fresh: Namespace) -> None:
    fresh.request(new("d%d"))
    fresh.request(new(None))

    drawn = [link_of(fresh, name).address or b"" for name in ("d0", "dummy0")]
    assert drawn[0] != drawn[1]
    assert [address[0] & 3 for address in drawn] == [2, 2]


@pytest.mark.parametrize(
    ("address", "errno"), [(bytes(6), "EADDRNOTAVAIL"), (b"\1" + bytes(5), "EADDRNOTAVAIL"), (b"\2" * 5, "EINVAL")]
)
def test_it_is_not_made_with_an_address_that_no_device_has(fresh: Namespace, address: bytes, errno: str) -> None:
    with pytest.raises(KernelError, match=errno):
        fresh.request(new(address=address))
    assert fresh.links() == ["lo"]


def test_coming_up_it_makes_a_link_local_address_that_is_good_at_once(fresh: Namespace) -> None:
    fresh.request(new(address=MAC))
    fresh.linux.effects()
    fresh.request(up())

    assert said(fresh.linux) == ("L M4+224.0.0.1 R+pfx:fe80::/64 I A+fe80::ff:fe00:7 R+loc:fe80::ff:fe00:7")


def test_its_name_and_address_change_while_it_is_up(net: Namespace) -> None:
    net.request(LinkMsg(ifname="d", address=b"\2\0\0\0\0\x08"))
    net.request(LinkMsg(ifi_index=2, ifname="e"))

    assert link_of(net, "e").address == b"\2\0\0\0\0\x08"


@pytest.mark.parametrize("mtu", [0, 1279, 0x7FFFFFFF])
def test_any_mtu_will_do(net: Namespace, mtu: int) -> None:
    net.request(LinkMsg(ifname="d", mtu=mtu))

    assert link_of(net, "d").mtu == mtu


def test_its_carrier_can_be_taken_away_and_given_back(net: Namespace) -> None:
    """The work on the queue of events tells of it, after the request that it is owed to."""
    story = listen(net.linux)
    assert carrier(net) == (RUNS, 1, IF_OPER_UNKNOWN, "noqueue", 0)

    net.request(LinkMsg(ifname="d", carrier=0))
    assert (carrier(net), story.heard()) == ((PLAIN | IFF_UP, 0, IF_OPER_DOWN, "noqueue", 1), "CHANGE d, L(0x0)")

    net.request(LinkMsg(ifname="d", carrier=0))
    assert story.heard() == ""

    net.request(LinkMsg(ifname="d", carrier=1))
    assert (carrier(net), story.heard()) == ((RUNS, 1, IF_OPER_UP, "noqueue", 2), "CHANGE d, L(0x0)")


def test_dormant_it_is_not_up_with_its_carrier(net: Namespace) -> None:
    net.request(LinkMsg(ifname="d", carrier=0))
    net.request(LinkMsg(ifname="d", linkmode=IF_LINK_MODE_DORMANT, carrier=1))

    assert link_of(net, "d").operstate == IF_OPER_DORMANT


def test_without_carrier_its_routes_say_so(net: Namespace) -> None:
    net.addr_add("2001:db8::1/64", "d")
    before = down_routes(net)
    net.request(LinkMsg(ifname="d", carrier=0))
    without = down_routes(net)
    net.request(LinkMsg(ifname="d", carrier=1))

    assert (before, without, down_routes(net)) == ([], ["2001:db8::/64", "ff00::/8"], [])


def test_its_carrier_is_none_of_anybodys_business_while_it_is_down(net: Namespace) -> None:
    net.request(up(on=False))
    story = listen(net.linux)
    net.request(LinkMsg(ifname="d", carrier=0))

    assert (link_of(net, "d").operstate, story.heard()) == (IF_OPER_DOWN, "")


def test_a_group_of_them_is_changed_and_deleted_at_once(fresh: Namespace) -> None:
    for name in ("a", "b", "c"):
        fresh.request(new(name, group=7 if name < "c" else 0))

    fresh.request(LinkMsg(group=7, mtu=1400))
    assert [link_of(fresh, name).mtu for name in "abc"] == [1400, 1400, 1500]
    fresh.request(LinkMsg(RTM_DELLINK, group=7))
    assert fresh.links() == ["lo", "c"]


def test_it_is_deleted(net: Namespace) -> None:
    story = listen(net.linux)
    net.request(LinkMsg(RTM_DELLINK, ifname="d"))

    assert (net.links(), story.heard()) == (
        ["lo"], "GOING_DOWN d, L(0x41), DOWN d, UNREGISTER d, PRE_UNINIT d, L-(0xffffffff)",
    )  # fmt: skip
