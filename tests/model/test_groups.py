"""Membership: IPv6 multicast and anycast (net/ipv6/mcast.c, anycast.c) and IPv4 multicast (net/ipv4/igmp.c)."""

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.model.anycast import ipv6_ac_destroy_dev, ipv6_dev_ac_dec, ipv6_dev_ac_inc
from addrsvc.model.igmp import INADDR_ALLHOSTS_GROUP, ip_mc_dec_group, ip_mc_inc_group
from addrsvc.model.mcast import inet6_dump_ifmcaddr, ipv6_dev_mc_dec, ipv6_dev_mc_inc, ipv6_mc_destroy_dev
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import InDevice, Inet6Dev, NetDevice
from addrsvc.netlink.messages import AddrMsg
from addrsvc.uapi import RTM_GETMULTICAST
from tests.model.ears import messages, said

GROUP, ANYCAST, ROUTERS = (ip_address(text).packed for text in ("ff05::99", "2001:db8::", "ff02::2"))


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    linux.effects()
    return linux


@pytest.fixture
def lo(linux: Linux) -> NetDevice:
    return linux.init_net.device("lo")


@pytest.fixture
def idev(lo: NetDevice) -> Inet6Dev:
    assert lo.ip6_ptr is not None
    return lo.ip6_ptr


@pytest.fixture
def in_dev(lo: NetDevice) -> InDevice:
    assert lo.ip_ptr is not None
    return lo.ip_ptr


def doing(linux: Linux, *acts: Callable[[], object]) -> str:
    """Do it with the lock held; what was said."""
    with rtnl_lock(linux.machine):
        for act in acts:
            act()
    linux.settle()
    return said(linux)


# --- multicast -------------------------------------------------------------------------------------------------------


def test_a_group_is_joined_by_its_first_user_and_left_by_its_last(linux: Linux, lo: NetDevice, idev: Inet6Dev) -> None:
    def join() -> None:
        ipv6_dev_mc_inc(lo, GROUP)

    def leave() -> None:
        ipv6_dev_mc_dec(idev, GROUP)

    assert doing(linux, join) == "M+ff05::99"
    assert doing(linux, join, leave) == ""
    assert doing(linux, leave) == "M-ff05::99"
    with rtnl_lock(linux.machine), pytest.raises(KernelError) as refused:
        leave()
    assert refused.value.name == "ENOENT"


def test_a_device_without_or_with_a_dying_ipv6_half_joins_nothing(linux: Linux, lo: NetDevice, idev: Inet6Dev) -> None:
    idev.dead = True
    with pytest.raises(KernelError) as refused:
        ipv6_dev_mc_inc(lo, GROUP)
    assert refused.value.name == "ENODEV"
    lo.ip6_ptr = None
    with pytest.raises(KernelError) as refused:
        ipv6_dev_mc_inc(lo, GROUP)
    assert refused.value.name == "EINVAL"


def test_groups_are_dumped_newest_first_with_site_scope_told_apart(linux: Linux, lo: NetDevice, idev: Inet6Dev) -> None:
    doing(linux, lambda: ipv6_dev_mc_inc(lo, GROUP))
    dumped = inet6_dump_ifmcaddr(idev.dev)

    assert [str(ip_address(m.multicast or b"")) for m in dumped] == ["ff05::99", "ff02::1", "ff01::1"]
    assert [(m.nlmsg_type, m.ifa_scope) for m in dumped] == [(RTM_GETMULTICAST, scope) for scope in (200, 0, 0)]


def test_a_notification_tells_no_scope(linux: Linux, lo: NetDevice) -> None:
    with rtnl_lock(linux.machine):
        ipv6_dev_mc_inc(lo, GROUP)
    linux.settle()
    (news,) = messages(linux)

    assert isinstance(news, AddrMsg)
    assert (news.multicast, news.ifa_scope, news.ifa_index) == (GROUP, 0, 1)


@pytest.mark.parametrize(("forwarding", "told"), [(0, "M-ff02::1"), (1, "M-ff02::1 M-ff02::2")])
def test_a_half_that_goes_leaves_all_nodes_and_as_a_router_all_routers_aloud(
    linux: Linux, lo: NetDevice, idev: Inet6Dev, forwarding: int, told: str
) -> None:
    doing(linux, lambda: ipv6_dev_mc_inc(lo, GROUP), lambda: ipv6_dev_mc_inc(lo, ROUTERS))
    idev.cnf["forwarding"] = forwarding

    assert doing(linux, lambda: ipv6_mc_destroy_dev(idev)) == told
    assert idev.mc_list == {}


# --- anycast ---------------------------------------------------------------------------------------------------------


def test_an_anycast_address_brings_its_route_and_counts_its_users(linux: Linux, idev: Inet6Dev) -> None:
    def take() -> None:
        ipv6_dev_ac_inc(idev, ANYCAST)

    def give() -> None:
        ipv6_dev_ac_dec(idev, ANYCAST)

    assert doing(linux, take) == "R+any:2001:db8:: AC+2001:db8::"
    assert doing(linux, take, give) == ""
    assert doing(linux, give) == "R-any:2001:db8:: AC-2001:db8::"
    with rtnl_lock(linux.machine), pytest.raises(KernelError) as refused:
        give()
    assert refused.value.name == "ENOENT"


def test_a_dying_half_takes_no_anycast_address_and_gives_up_those_it_has_newest_first(
    linux: Linux, idev: Inet6Dev
) -> None:
    doing(linux, lambda: ipv6_dev_ac_inc(idev, ANYCAST), lambda: ipv6_dev_ac_inc(idev, ip_address("fd00::").packed))
    idev.dead = True
    with rtnl_lock(linux.machine), pytest.raises(KernelError) as refused:
        ipv6_dev_ac_inc(idev, ROUTERS)

    assert refused.value.name == "ENODEV"
    assert doing(linux, lambda: ipv6_ac_destroy_dev(idev)) == "R-any:fd00:: AC-fd00:: R-any:2001:db8:: AC-2001:db8::"
    assert idev.ac_list == {}


# --- IPv4 ------------------------------------------------------------------------------------------------------------


def test_an_ipv4_group_is_counted_too(linux: Linux, in_dev: InDevice) -> None:
    group = ip_address("239.1.2.3").packed

    def join() -> None:
        ip_mc_inc_group(in_dev, group)

    def leave() -> None:
        ip_mc_dec_group(in_dev, group)

    assert doing(linux, join, join, leave) == "M4+239.1.2.3"
    assert doing(linux, leave, leave) == "M4-239.1.2.3"


def users(in_dev: InDevice) -> dict[bytes, int]:
    return {group: im.users for group, im in in_dev.mc_list.items()}


def test_every_up_device_is_one_of_all_hosts(linux: Linux, in_dev: InDevice) -> None:
    net = linux.init_net
    assert users(in_dev) == {INADDR_ALLHOSTS_GROUP: 1}
    net.link_set("lo", up=False)
    assert (users(in_dev), "M4-224.0.0.1" in said(linux)) == ({}, True)
    net.link_set("lo", up=True)
    assert (users(in_dev), "M4+224.0.0.1" in said(linux)) == ({INADDR_ALLHOSTS_GROUP: 1}, True)
