"""One door for requests, one for dumps, and which events rtnetlink itself tells of."""

from errno import EOPNOTSUPP

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.model.rtnetlink import IFLA_EVENT_ON
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, NetconfMsg, RouteMsg
from addrsvc.uapi import (
    AF_INET6,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETMULTICAST,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWMULTICAST,
    NetdevEvent,
)
from tests.model.ears import messages

# IFLA_EVENT by event: None is a message without; events that are not here make no message.
EVENTS = {
    "REBOOT": 1, "CHANGEMTU": None, "CHANGEADDR": None, "CHANGENAME": None, "FEAT_CHANGE": 2, "BONDING_FAILOVER": 3,
    "POST_TYPE_CHANGE": None, "NOTIFY_PEERS": 4, "CHANGEUPPER": None, "RESEND_IGMP": 5, "CHANGEINFODATA": 6,
    "CHANGELOWERSTATE": None, "CHANGE_TX_QUEUE_LEN": None,
}  # fmt: skip


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.effects()
    return linux


@pytest.fixture
def net(linux: Linux) -> Namespace:
    return linux.init_net


@pytest.mark.parametrize("event", NetdevEvent)
def test_rtnetlink_tells_of_an_event_or_leaves_that_to_others(linux: Linux, net: Namespace, event: NetdevEvent) -> None:
    net.inject(event, "lo")
    links = [m for m in messages(linux) if isinstance(m, LinkMsg) and m.ifi_family != AF_INET6]
    short = event.name.removeprefix("NETDEV_")

    assert [(m.nlmsg_type, m.ifi_change, m.event) for m in links] == (
        [(RTM_NEWLINK, 0, EVENTS[short])] if short in EVENTS else []
    )
    assert (event in IFLA_EVENT_ON) is (short in EVENTS)


@pytest.mark.parametrize(
    "ask",
    [
        RouteMsg(), NetconfMsg(ifindex=1), LinkMsg(RTM_GETLINK, ifi_index=1), AddrMsg(RTM_GETADDR, ifa_index=1),
        AddrMsg(RTM_NEWMULTICAST, ifa_index=1), AddrMsg(RTM_NEWADDR, ifa_family=1, ifa_index=1), LinkMsg(9999),
    ],
)  # fmt: skip
def test_what_nobody_serves_is_not_supported(linux: Linux, net: Namespace, ask: Message) -> None:
    before = net.dump()
    with pytest.raises(KernelError) as refused:
        net.request(ask)

    assert (refused.value.errno, net.dump(), linux.effects()) == (EOPNOTSUPP, before, [])


def test_a_dump_has_devices_by_index_then_addresses_then_routes_then_groups(net: Namespace) -> None:
    net.link_add("x0")
    net.link_add("x1")
    net.link_del("x0")
    net.link_add("x2")
    for name in ("x2", "lo"):
        net.link_set(name, up=True)
        net.addr_add("2001:db8::1/64", name, nodad=True)
        net.addr_add("10.0.0.1/24", name)
    kinds: list[tuple[str, int]] = []
    for msg in net.dump():
        match msg:
            case LinkMsg():
                kinds.append(("link", msg.ifi_index))
            case AddrMsg(nlmsg_type=nlmsg_type) if nlmsg_type == RTM_GETMULTICAST:
                kinds.append(("group", msg.ifa_index))
            case AddrMsg():
                kinds.append((f"address{msg.ifa_family}", msg.ifa_index))
            case RouteMsg():
                kinds.append(("route", msg.table or 0))
            case _:
                pytest.fail(f"{msg} in a dump")

    assert list(dict.fromkeys(kinds)) == [
        ("link", 1), ("link", 3), ("link", 4), ("address2", 1), ("address2", 4), ("address10", 1), ("address10", 4),
        ("route", 254), ("route", 255), ("group", 1), ("group", 3), ("group", 4),
    ]  # fmt: skip
    assert all(getattr(msg, "nlmsg_flags", 0) == 0 for msg in net.dump())


def test_a_dump_changes_nothing_and_is_the_same_twice(linux: Linux, net: Namespace) -> None:
    net.link_set("lo", up=True)
    linux.effects()

    assert net.dump() == net.dump()
    assert linux.effects() == []
