"""The IPv6 half of a device: when it is made, what it starts with, and what a link message may want of it."""

from ipaddress import ip_address

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.model.inet6_dev import ipv6_add_dev, ipv6_find_idev
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import Inet6Dev
from addrsvc.netlink.messages import NetconfMsg
from addrsvc.uapi import (
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    ARPHRD_NONE,
    ARPHRD_SIT,
    ARPHRD_TUNNEL,
    ARPHRD_TUNNEL6,
    IF_READY,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NOARP,
)
from tests.model.ears import link_of, messages


def half(net: Namespace, name: str) -> Inet6Dev:
    idev = net.device(name).ip6_ptr
    assert idev is not None
    return idev


@pytest.mark.parametrize(
    ("arphrd", "flags", "accept_dad", "use_tempaddr"),
    [
        (ARPHRD_ETHER, 0, 1, 0), (ARPHRD_ETHER, IFF_NOARP, -1, 0), (ARPHRD_LOOPBACK, IFF_LOOPBACK, -1, -1),
        (ARPHRD_ETHER, IFF_LOOPBACK, -1, -1), (ARPHRD_TUNNEL, 0, 1, -1), (ARPHRD_TUNNEL6, 0, 1, -1),
        (ARPHRD_SIT, 0, 1, -1), (ARPHRD_NONE, 0, 1, -1), (ARPHRD_NONE, IFF_NOARP, -1, -1),
    ],
)  # fmt: skip
def test_the_type_and_flags_of_a_device_decide_on_dad_and_temporary_addresses(
    net: Namespace, arphrd: int, flags: int, accept_dad: int, use_tempaddr: int
) -> None:
    net.link_add("x0", type=arphrd, flags=flags)

    assert net.sysctl("net.ipv6.conf.x0.accept_dad") == str(accept_dad)
    assert net.sysctl("net.ipv6.conf.x0.use_tempaddr") == str(use_tempaddr)


def test_a_new_half_copies_the_defaults_and_takes_the_devices_mtu(linux: Linux, net: Namespace) -> None:
    net.sysctl("net.ipv6.conf.default.hop_limit", 7)
    net.sysctl("net.ipv6.conf.all.hop_limit", 9)
    net.sysctl("net.ipv6.conf.default.mtu", 1300)
    net.link_add("x0", mtu=1400)

    assert [net.sysctl(f"net.ipv6.conf.x0.{leaf}") for leaf in ("hop_limit", "mtu")] == ["7", "1400"]
    news = [m for m in messages(linux) if isinstance(m, NetconfMsg) and m.ifindex == 2 and m.ncm_family == 10]
    assert news == [
        NetconfMsg(ifindex=2, forwarding=0, mc_forwarding=0, proxy_neigh=0, ignore_routes_with_linkdown=0)
    ]  # fmt: skip


def test_a_default_secret_makes_new_devices_generate_stable_addresses(net: Namespace) -> None:
    net.sysctl("net.ipv6.conf.default.stable_secret", "2001:db8::1")
    net.link_add("x0")

    assert net.sysctl("net.ipv6.conf.x0.addr_gen_mode") == "2"


@pytest.mark.parametrize(
    ("forwarding", "flags", "groups"),
    [
        (0, 0, "ff01::1 ff02::1"), (1, 0, "ff01::1 ff02::1"), (0, IFF_MULTICAST, "ff01::1 ff02::1"),
        (1, IFF_MULTICAST, "ff01::1 ff02::1 ff02::2"),
    ],
)  # fmt: skip
def test_a_router_joins_the_routers_on_devices_that_can(
    net: Namespace, forwarding: int, flags: int, groups: str
) -> None:
    net.sysctl("net.ipv6.conf.default.forwarding", forwarding)
    net.link_add("x0", flags=flags)

    assert [str(ip_address(group)) for group in half(net, "x0").mc_list] == groups.split()


def test_a_half_is_made_once(linux: Linux, net: Namespace) -> None:
    with rtnl_lock(linux.machine):
        assert ipv6_find_idev(net.device("lo")) is half(net, "lo")


def test_no_half_is_made_for_a_small_mtu_or_a_reserved_name(linux: Linux, net: Namespace) -> None:
    dev = net.link_add("x0", mtu=1279)
    for mtu, name in ((1279, "x0"), (1280, "all")):
        dev.mtu, dev.name = mtu, name
        with rtnl_lock(linux.machine), pytest.raises(KernelError) as refused:
            ipv6_add_dev(dev)
        assert (refused.value.name, dev.ip6_ptr) == ("EINVAL", None)


def test_a_half_is_ready_at_once_only_on_a_device_that_runs(linux: Linux, net: Namespace) -> None:
    dev = net.link_add("x0", mtu=1279)
    net.link_set("x0", up=True)
    assert half(net, "lo").if_flags & IF_READY == 0
    dev.mtu = 1280
    with rtnl_lock(linux.machine):
        assert ipv6_find_idev(dev).if_flags & IF_READY


def test_ready_comes_with_up_and_goes_with_down(net: Namespace) -> None:
    seen = []
    for up in (True, False, True):
        net.link_set("lo", up=up)
        told = link_of(net, "lo").inet6
        assert told is not None
        seen.append(told.flags)

    assert seen == [IF_READY, 0, IF_READY]
