"""RTNL is state: who needs it says so, nobody takes it twice, and nobody outside sees unfinished work."""

import inspect
import pkgutil
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import pytest

import addrsvc.model
from addrsvc import Linux
from addrsvc.errors import KernelError, RtnlAssertionError
from addrsvc.model import (
    addr_request,
    addrconf,
    anycast,
    dev,
    dev_api,
    dev_features,
    devinet,
    ethtool,
    fib_frontend,
    fib_rules,
    fib_trie,
    ifaddr,
    igmp,
    inet6_dev,
    ip6_newroute,
    lifetimes,
    netdev_chain,
    offload_xstats,
    rtnl_stats,
)
from addrsvc.model.addrconf_core import in6addr_loopback
from addrsvc.model.fib_trie import FibConfig
from addrsvc.model.rtnl import (
    ASSERT_RTNL,
    dev_get_flags,
    drain,
    netif_oper_up,
    printk,
    rtmsg_ifinfo,
    rtmsg_ifinfo_build,
    rtnl_lock,
    rtnl_notify,
)
from addrsvc.model.structs import (
    NETREG_UNREGISTERING,
    FibAlias,
    InDevice,
    Inet6Dev,
    Inet6Ifaddr,
    NetDevice,
    NetdevNotifierInfo,
    Printk,
    RtnlNotify,
)
from addrsvc.netlink.messages import AddrMsg, LinkMsg, NetconfMsg, RuleMsg
from addrsvc.uapi import (
    AF_INET,
    IF_OPER_DORMANT,
    IF_OPER_DOWN,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFF_ALLMULTI,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    NETDEV_OFFLOAD_XSTATS_REPORT_USED,
    NETDEV_REBOOT,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTN_LOCAL,
)

ROUTE = FibConfig(table=9, dst=bytes(4), dst_len=0, type=RTN_LOCAL, scope=0)
ROUTE6 = ip6_newroute.Fib6Config(dst_len=64)


def a_route(lo: NetDevice) -> FibAlias:
    return FibAlias(RTN_LOCAL, 9, bytes(4), 0, bytes(4), 0, lo)


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    return linux


@pytest.fixture
def lo(linux: Linux) -> NetDevice:
    return linux.init_net.device("lo")


# --- the lock -------------------------------------------------------------------------------------------------------


def test_taking_it_twice_raises_and_the_first_holder_keeps_it(linux: Linux) -> None:
    with rtnl_lock(linux.machine):
        with pytest.raises(RtnlAssertionError, match="already held"), rtnl_lock(linux.machine):
            pytest.fail("taken twice")
        assert linux.machine.rtnl_held
    assert not linux.machine.rtnl_held


def test_it_is_given_back_whatever_happens(linux: Linux) -> None:
    with pytest.raises(ZeroDivisionError), rtnl_lock(linux.machine):
        raise ZeroDivisionError
    with rtnl_lock(linux.machine):
        ASSERT_RTNL(linux.init_net.net)


def test_machines_have_a_lock_each(linux: Linux) -> None:
    other = Linux()
    with rtnl_lock(linux.machine), rtnl_lock(other.machine):
        assert linux.machine.rtnl_held
    with rtnl_lock(linux.machine):
        assert not other.machine.rtnl_held


def test_a_request_from_within_a_chain_would_hang_a_kernel_and_raises_here(linux: Linux) -> None:
    def ask_again(event: int, info: NetdevNotifierInfo) -> None:
        if event == NETDEV_REBOOT:
            linux.init_net.link_set("lo", mtu=1400)

    linux.register_netdevice_notifier(ask_again)
    with pytest.raises(RtnlAssertionError, match="already held"):
        linux.init_net.inject("REBOOT", "lo")
    assert not linux.machine.rtnl_held


def test_callbacks_run_with_the_lock_held(linux: Linux) -> None:
    held: list[bool] = []
    linux.register_netdevice_notifier(lambda event, info: held.append(linux.machine.rtnl_held))
    linux.add_net("blue").link_set("lo", up=True)
    linux.init_net.inject("REBOOT", "lo")
    linux.init_net.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)

    assert len(held) > 6
    assert all(held)


# --- ASSERT_RTNL wherever the kernel has it ---------------------------------------------------------------------------


def half4(lo: NetDevice) -> InDevice:
    assert lo.ip_ptr is not None
    return lo.ip_ptr


def half6(lo: NetDevice) -> Inet6Dev:
    assert lo.ip6_ptr is not None
    return lo.ip6_ptr


def own(lo: NetDevice) -> Inet6Ifaddr:
    return half6(lo).addr_hash[in6addr_loopback]


OTHER = ifaddr.Ifa6Config(bytes(15) + b"\2", 128)
CALLS: dict[Callable[..., Any], Callable[[NetDevice], object]] = {
    netdev_chain.call_netdevice_notifiers_info:
        lambda lo: netdev_chain.call_netdevice_notifiers_info(NETDEV_REBOOT, lo.notifier_info),
    netdev_chain.call_netdevice_notifiers_info_robust:
        lambda lo: netdev_chain.call_netdevice_notifiers_info_robust(NETDEV_REBOOT, NETDEV_REBOOT, lo.notifier_info),
    dev.register_netdevice: dev.register_netdevice,
    dev.unregister_netdevice_many: lambda lo: dev.unregister_netdevice_many([lo]),
    dev.dev_change_net_namespace: lambda lo: dev.dev_change_net_namespace(lo, lo.net),
    dev._open: dev._open,
    dev._take_down: lambda lo: dev._take_down([lo]),
    dev.dev_change_flags_silently: lambda lo: dev.dev_change_flags_silently(lo, 0),
    dev._set_promiscuity: lambda lo: dev._set_promiscuity(lo, 1),
    dev_features.netdev_apply_features: dev_features.netdev_apply_features,
    ethtool.ethtool_set_features: lambda lo: ethtool.ethtool_set_features(lo, 0, 0),
    dev_api.dev_change_name: lambda lo: dev_api.dev_change_name(lo, "other"),
    addrconf.init_loopback: addrconf.init_loopback,
    addrconf.addrconf_dev_config: addrconf.addrconf_dev_config,
    addrconf.addrconf_ifdown: lambda lo: addrconf.addrconf_ifdown(lo, unregister=False),
    inet6_dev.ipv6_add_dev: inet6_dev.ipv6_add_dev,
    inet6_dev.ipv6_find_idev: inet6_dev.ipv6_find_idev,
    inet6_dev.addrconf_add_dev: inet6_dev.addrconf_add_dev,
    addr_request._addr_add: lambda lo: addr_request._addr_add(lo, OTHER),
    addr_request._autojoin: lambda lo: addr_request._autojoin(lo, OTHER),
    addr_request._addr_modify: lambda lo: addr_request._addr_modify(own(lo), OTHER),
    ifaddr.ipv6_ifa_notify: lambda lo: ifaddr.ipv6_ifa_notify(RTM_NEWADDR, own(lo)),
    ifaddr.ipv6_del_addr: lambda lo: ifaddr.ipv6_del_addr(own(lo)),
    lifetimes.addrconf_verify_rtnl: lambda lo: lifetimes.addrconf_verify_rtnl(lo.net),
    anycast.ipv6_dev_ac_inc: lambda lo: anycast.ipv6_dev_ac_inc(half6(lo), bytes(16)),
    anycast.ipv6_dev_ac_dec: lambda lo: anycast.ipv6_dev_ac_dec(half6(lo), bytes(16)),
    devinet.inetdev_init: devinet.inetdev_init,
    devinet._inetdev_destroy: lambda lo: devinet._inetdev_destroy(half4(lo)),
    devinet.inetdev_event: lambda lo: devinet.inetdev_event(NETDEV_REBOOT, lo.notifier_info),
    devinet.inet_rtm_newaddr: lambda lo: devinet.inet_rtm_newaddr(lo.net, AddrMsg()),
    devinet.inet_rtm_deladdr: lambda lo: devinet.inet_rtm_deladdr(lo.net, AddrMsg()),
    fib_frontend._primary: lambda lo: fib_frontend._primary(half4(lo), half4(lo).ifa_list[0]),
    fib_frontend.inet_rtm_newroute: lambda lo: fib_frontend.inet_rtm_newroute(lo.net, ROUTE),
    fib_frontend.inet_rtm_delroute: lambda lo: fib_frontend.inet_rtm_delroute(lo.net, ROUTE),
    ip6_newroute.ip6_route_add: lambda lo: ip6_newroute.ip6_route_add(lo.net, ROUTE6),
    ip6_newroute.ip6_route_del: lambda lo: ip6_newroute.ip6_route_del(lo.net, ROUTE6),
    fib_trie._rtmsg_fib: lambda lo: fib_trie._rtmsg_fib(lo.net, RTM_NEWROUTE, a_route(lo), 0),
    fib_rules.fib_newrule: lambda lo: fib_rules.fib_newrule(lo.net, RuleMsg(frh_family=AF_INET)),
    fib_rules.fib_delrule: lambda lo: fib_rules.fib_delrule(lo.net, RuleMsg(frh_family=AF_INET)),
    devinet._insert_ifa: lambda lo: devinet._insert_ifa(half4(lo).ifa_list[0]),
    devinet._del_ifa: lambda lo: devinet._del_ifa(half4(lo).ifa_list[0]),
    igmp.ip_mc_up: lambda lo: igmp.ip_mc_up(half4(lo)),
    igmp.ip_mc_down: lambda lo: igmp.ip_mc_down(half4(lo)),
    igmp.ip_mc_inc_group: lambda lo: igmp.ip_mc_inc_group(half4(lo), bytes(4)),
    igmp.ip_mc_dec_group: lambda lo: igmp.ip_mc_dec_group(half4(lo), bytes(4)),
    igmp.ip_mc_autojoin: lambda lo: igmp.ip_mc_autojoin(half4(lo), bytes((239, 1, 2, 3))),
    igmp.ip_mc_autoleave: lambda lo: igmp.ip_mc_autoleave(half4(lo), bytes((239, 1, 2, 3))),
    offload_xstats.netdev_offload_xstats_enable: offload_xstats.netdev_offload_xstats_enable,
    offload_xstats.netdev_offload_xstats_disable: offload_xstats.netdev_offload_xstats_disable,
    offload_xstats._reported: lambda lo: offload_xstats._reported(lo, NETDEV_OFFLOAD_XSTATS_REPORT_USED),
    rtnl_stats.rtnl_fill_statsinfo: lambda lo: rtnl_stats.rtnl_fill_statsinfo(lo, 1),
    rtmsg_ifinfo_build: lambda lo: rtmsg_ifinfo_build(RTM_NEWLINK, lo, 0),
}  # fmt: skip


REFUSE: dict[Callable[..., Any], str] = {
    addr_request._autojoin: "auto join failed",
    anycast.ipv6_dev_ac_dec: "ENOENT",
    dev.dev_change_net_namespace: "immutable",
    dev.register_netdevice: "registered before",
    devinet._insert_ifa: "EEXIST",
    fib_frontend.inet_rtm_newroute: "Invalid scope",
    fib_frontend.inet_rtm_delroute: "ESRCH",
    ip6_newroute.ip6_route_add: "ENODEV",
    ip6_newroute.ip6_route_del: "ESRCH",
    offload_xstats.netdev_offload_xstats_disable: "EALREADY",
    devinet.inet_rtm_newaddr: "Invalid prefix length",
    devinet.inet_rtm_deladdr: "Device not found",
}
"""Those that refuse lo for other reasons."""


def _asserts(text: str) -> bool:
    return "    ASSERT_RTNL(" in text and "rtnl_lock(" not in text


def asserting() -> set[str]:
    """Every function of the model whose own text asserts RTNL without taking it."""
    modules = [import_module(f"addrsvc.model.{info.name}") for info in pkgutil.iter_modules(addrsvc.model.__path__)]
    functions = {
        function
        for module in modules
        for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and _asserts(inspect.getsource(function))
    }
    return {f"{function.__module__}.{function.__name__}" for function in functions}


def test_the_list_of_those_who_assert_is_whole() -> None:
    assert {f"{function.__module__}.{function.__name__}" for function in CALLS} == asserting()


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_who_asserts_raises_without_the_lock_and_has_done_nothing(
    linux: Linux, lo: NetDevice, function: Callable[..., Any]
) -> None:
    before = linux.init_net.dump()
    with pytest.raises(RtnlAssertionError, match="RTNL is not held"):
        CALLS[function](lo)

    assert linux.init_net.dump() == before


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_who_asserts_does_not_mind_when_the_lock_is_held(
    linux: Linux, lo: NetDevice, function: Callable[..., Any]
) -> None:
    why = REFUSE.get(function)
    refusing = pytest.raises((KernelError, AssertionError), match=why) if why else nullcontext()
    with rtnl_lock(linux.machine), refusing:
        CALLS[function](lo)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_nothing_is_handed_out_while_the_lock_is_held(linux: Linux, lo: NetDevice) -> None:
    with rtnl_lock(linux.machine):
        printk(linux.machine, "info", "half done")
        with pytest.raises(RtnlAssertionError, match="drained"):
            drain(linux.machine)
        rtnl_notify(lo.net, NetconfMsg(ifindex=1))

    assert drain(linux.machine) == [Printk("info", "half done"), RtnlNotify("init_net", NetconfMsg(ifindex=1))]
    assert drain(linux.machine) == []


def test_a_device_that_is_not_registered_is_not_told(linux: Linux, lo: NetDevice) -> None:
    lo.reg_state = NETREG_UNREGISTERING
    rtmsg_ifinfo(RTM_NEWLINK, lo, 0)

    assert drain(linux.machine) == []


def test_a_device_without_hardware_addresses_tells_none(lo: NetDevice) -> None:
    lo.addr_len = 0
    with rtnl_lock(lo.machine):
        link = rtmsg_ifinfo_build(RTM_NEWLINK, lo, 5, event=2)

    assert isinstance(link, LinkMsg)
    assert (link.address, link.broadcast, link.ifi_change, link.event) == (None, None, 5, 2)


@pytest.mark.parametrize(
    ("operstate", "up"), [(IF_OPER_UP, True), (IF_OPER_UNKNOWN, True), (IF_OPER_DORMANT, False), (IF_OPER_DOWN, False)]
)
def test_running_is_shown_when_the_operational_state_lets_traffic_pass(lo: NetDevice, operstate: int, up: bool) -> None:
    lo.operstate = operstate

    assert netif_oper_up(lo) is up
    assert dev_get_flags(lo) == IFF_UP | IFF_LOOPBACK | IFF_LOWER_UP | IFF_RUNNING * up


def test_lower_up_is_shown_with_a_carrier_and_promiscuity_as_the_user_asked_for(lo: NetDevice) -> None:
    lo.carrier = False
    lo.flags |= IFF_PROMISC
    lo.gflags |= IFF_ALLMULTI
    assert dev_get_flags(lo) == IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_ALLMULTI
    lo.running = False
    assert dev_get_flags(lo) == IFF_UP | IFF_LOOPBACK | IFF_ALLMULTI
