"""addrconf_notify: dispatch by event, then by device type; what each type gets without anybody asking."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.model.addr_gen import ipv6_generate_eui64, ipv6_reserved_interfaceid
from addrsvc.model.addrconf import (
    AUTO_ADDRS_BY_TYPE,
    ON_NETDEV_EVENT,
    add_addr,
    addrconf_notify,
    init_loopback,
    ipv6_dev_notf,
)
from addrsvc.model.inet6_dev import addrconf_add_dev
from addrsvc.model.notifier import NOTIFY_OK
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import ADDRCONF_NOTIFY_PRIORITY, Inet6Dev, NetDevice
from addrsvc.netlink.messages import AddrMsg, LinkMsg, RouteMsg
from addrsvc.uapi import (
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    ARPHRD_NONE,
    IF_READY,
    IFA_F_PERMANENT,
    IFA_F_STABLE_PRIVACY,
    IFAPROT_KERNEL_LL,
    IFAPROT_KERNEL_LO,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NO_ADDRCONF,
    IFF_NOARP,
    IN6_ADDR_GEN_MODE_EUI64,
    IN6_ADDR_GEN_MODE_NONE,
    IN6_ADDR_GEN_MODE_RANDOM,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_TABLE_LOCAL,
    RTM_NEWADDR,
    RTN_MULTICAST,
    Arphrd,
    NetdevEvent,
)
from tests.fidelity.notation import brief
from tests.model.ears import lines, messages, no_link_local, said

MAC = "02:11:22:33:44:55"
# What a device of each type makes of that address.
LINK_LOCAL = {
    ARPHRD_ETHER: "fe80::11:22ff:fe33:4455", 774: "fe80::11:22ff:fe33:4455", 7: None, 32: None, 24: None,
    768: "fe80::200:5efe:211:2233", 769: "fe80::11:22ff:fe33:4455", 823: "fe80::11:22ff:fe33:4455",
    519: "fe80::11:22ff:fe33:4455", 825: "fe80::211:22ff:fe33:4455",
}  # fmt: skip
LEFT_ALONE = (
    776, 778, 0, 6, 27, 256, 271, 280, 290, 512, 513, 770, 773, 777, 779, 780, 801, 804, 805, 820, 822, 824, 65535,
)  # fmt: skip


def half(dev: NetDevice) -> Inet6Dev:
    assert dev.ip6_ptr is not None
    return dev.ip6_ptr


def routes(net: Namespace, dev: NetDevice) -> list[RouteMsg]:
    return [m for m in net.dump() if isinstance(m, RouteMsg) and m.oif == dev.ifindex]


def addresses(net: Namespace, dev: str) -> list[str]:
    return [str(address.network) for address in net.addresses(dev)]


# --- by type ---------------------------------------------------------------------------------------------------------


def test_every_device_type_is_a_row_or_like_ethernet_or_left_alone() -> None:
    assert [*AUTO_ADDRS_BY_TYPE] == [ARPHRD_LOOPBACK]
    assert sorted(Arphrd) == sorted({*AUTO_ADDRS_BY_TYPE, *LINK_LOCAL, ARPHRD_NONE, *LEFT_ALONE})


@pytest.mark.parametrize("arphrd", [*LINK_LOCAL, ARPHRD_NONE], ids=lambda arphrd: Arphrd(arphrd).name)
def test_a_device_like_ethernet_gets_its_multicast_route_when_it_comes_up(
    linux: Linux, net: Namespace, arphrd: int
) -> None:
    no_link_local(linux)
    dev = net.link_add("x0", type=arphrd)
    assert routes(net, dev) == []
    linux.effects()
    net.link_set("x0", up=True)

    (route,) = routes(net, dev)
    assert (str(ip_address(route.dst or b"")), route.rtm_dst_len, route.table) == ("ff00::", 8, RT_TABLE_LOCAL)
    assert (route.rtm_type, route.priority) == (RTN_MULTICAST, 256)
    assert addresses(net, "x0") == []
    news = messages(linux)
    assert [m for m in news if isinstance(m, RouteMsg)] == [replace(route, nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL)]
    assert brief(m for m in news if not isinstance(m, RouteMsg)) == "L M4+224.0.0.1 I"


@pytest.mark.parametrize(("arphrd", "expected"), LINK_LOCAL.items(), ids=lambda it: str(it))
def test_a_device_like_ethernet_makes_a_link_local_address_of_its_own(
    linux: Linux, net: Namespace, arphrd: int, expected: str | None
) -> None:
    net.link_add("x0", type=arphrd, flags=IFF_NOARP, address=MAC)
    linux.effects()
    net.link_set("x0", up=True)

    assert addresses(net, "x0") == ([] if expected is None else [f"{expected}/64"])
    assert said(linux) == (
        "L M4+224.0.0.1 I" if expected is None else f"L M4+224.0.0.1 R+pfx:fe80::/64 I A+{expected} R+loc:{expected}"
    )
    for address in net.addresses("x0"):
        assert (address.proto, address.scope, address.tentative) == (IFAPROT_KERNEL_LL, "link", False)


def test_with_a_secret_a_link_local_address_tells_nothing_of_the_hardware(net: Namespace) -> None:
    """The same as the running kernel made of this secret."""
    net.sysctl("net.ipv6.conf.default.stable_secret", "2001:db8::1:2:3:4")
    net.link_add("x0", flags=IFF_NOARP, address=bytes(6))
    net.link_set("x0", up=True)

    (address,) = net.addresses("x0")
    assert str(address.network) == "fe80::6092:4257:ee30:1a1d/64"
    assert address.flags == IFA_F_PERMANENT | IFA_F_STABLE_PRIVACY


def test_a_device_without_a_hardware_address_makes_a_random_secret(net: Namespace) -> None:
    dev = net.link_add("tun0", type=ARPHRD_NONE, flags=IFF_NOARP)
    net.link_set("tun0", up=True)

    (address,) = net.addresses("tun0")
    assert address.flags == IFA_F_PERMANENT | IFA_F_STABLE_PRIVACY
    assert half(dev).cnf.stable_secret is not None
    net.link_set("tun0", up=False)
    net.link_set("tun0", up=True)
    assert addresses(net, "tun0") == [str(address.network)]


@pytest.mark.parametrize("identifier", [bytes(8), bytes.fromhex("02005efffe000001"), bytes.fromhex("fdffffffffffff80")])
def test_an_identifier_with_a_meaning_of_its_own_is_not_made(identifier: bytes) -> None:
    assert ipv6_reserved_interfaceid(identifier)
    assert not ipv6_reserved_interfaceid(bytes((1, *identifier[1:])))


@pytest.mark.parametrize(
    ("arphrd", "addr_len", "address", "identifier"),
    [
        (7, 1, "ab", "00000000000000ab"),
        (32, 20, "00" * 12 + "0102030405060708", "0302030405060708"),
        (24, 16, "0102030405060708" + "00" * 8, "0302030405060708"),
        (825, 8, "0102030405060708", "0302030405060708"),
        (776, 4, "0a000001", "00005efe0a000001"),
        (778, 4, "08080808", "02005efe08080808"),
        (768, 4, "00000000", None),
        (ARPHRD_ETHER, 5, "0102030405", None),
        (ARPHRD_NONE, 6, "010203040506", None),
    ],
)
def test_identifiers_of_hardware_addresses_by_type(
    net: Namespace, arphrd: int, addr_len: int, address: str, identifier: str | None
) -> None:
    dev = net.link_add("x0", type=arphrd)
    dev.addr_len, dev.dev_addr = addr_len, bytes.fromhex(address)

    assert ipv6_generate_eui64(dev) == (None if identifier is None else bytes.fromhex(identifier))


@pytest.mark.parametrize("arphrd", [*LEFT_ALONE, 4242])
def test_a_device_of_any_other_type_gets_its_groups_and_nothing_else(linux: Linux, net: Namespace, arphrd: int) -> None:
    dev = net.link_add("x0", type=arphrd)
    linux.effects()
    net.link_set("x0", up=True)

    assert (routes(net, dev), addresses(net, "x0")) == ([], [])
    assert brief(messages(linux)) == "L M4+224.0.0.1 I"
    assert [str(ip_address(group)) for group in half(dev).mc_list] == ["ff01::1", "ff02::1"]
    assert half(dev).if_flags & IF_READY


def test_a_device_of_lo_s_type_without_its_flag_is_refused_its_address(linux: Linux, net: Namespace) -> None:
    net.link_add("tun0", type=ARPHRD_LOOPBACK)
    lines(linux)
    net.link_set("tun0", up=True)

    assert (addresses(net, "tun0"), routes(net, net.device("tun0")), lines(linux)) == ([], [], [])


def test_a_device_of_lo_s_type_with_its_flag_gets_both_loopback_addresses(net: Namespace) -> None:
    net.link_add("lo2", type=ARPHRD_LOOPBACK, flags=IFF_LOOPBACK, mtu=65536)
    net.link_set("lo2", up=True)

    assert addresses(net, "lo2") == ["127.0.0.1/8", "::1/128"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (IN6_ADDR_GEN_MODE_EUI64, IN6_ADDR_GEN_MODE_RANDOM),
        (IN6_ADDR_GEN_MODE_NONE, IN6_ADDR_GEN_MODE_NONE),
        (IN6_ADDR_GEN_MODE_RANDOM, IN6_ADDR_GEN_MODE_RANDOM),
    ],
)
def test_a_device_without_link_layer_generates_addresses_at_random(net: Namespace, before: int, after: int) -> None:
    net.link_add("tun0", type=ARPHRD_NONE)
    net.link_set("tun0", addr_gen_mode=before)
    net.link_set("tun0", up=True)

    assert net.sysctl("net.ipv6.conf.tun0.addr_gen_mode") == str(int(after))


@pytest.mark.parametrize("arphrd", [4242, ARPHRD_ETHER, ARPHRD_LOOPBACK])
def test_a_handler_of_ones_own_is_called_for_its_type_and_wins_over_the_table(
    linux: Linux, net: Namespace, arphrd: int
) -> None:
    called: list[str] = []

    def handler(dev: NetDevice) -> None:
        called.append(dev.name)
        add_addr(addrconf_add_dev(dev), ip_address("fd00::1").packed, 64, scope=0, proto=77)

    linux.register_auto_addrs(arphrd, handler)
    net.link_add("x0", type=arphrd)
    net.link_add("y0", type=512)
    for name in ("x0", "y0"):
        net.link_set(name, up=True)

    assert called == ["x0"]
    assert [(str(a.network), a.proto, a.tentative) for a in net.addresses("x0")] == [("fd00::1/64", 77, False)]
    net.link_set("x0", up=False)
    net.link_set("x0", up=True)
    net.sysctl("net.ipv6.conf.x0.addr_gen_mode", 1)
    assert called == ["x0"] * 3


# --- init_loopback ---------------------------------------------------------------------------------------------------


def test_an_ipv6_half_that_cannot_be_made_is_a_debug_line_and_no_error(linux: Linux, net: Namespace) -> None:
    net.link_set("lo", mtu=1000)
    with rtnl_lock(linux.machine):
        addrconf_notify(NetdevEvent.NETDEV_UNREGISTER, net.device("lo").notifier_info)
    linux.settle()
    linux.effects()
    net.link_set("lo", up=True)

    assert lines(linux) == [("debug", "IPv6: init_loopback: add_dev failed")]
    assert addresses(net, "lo") == ["127.0.0.1/8"]


def test_an_address_that_is_there_already_is_left_as_it_is_without_a_word(linux: Linux, net: Namespace) -> None:
    net.link_set("lo", up=True)
    linux.effects()
    with rtnl_lock(linux.machine):
        init_loopback(net.device("lo"))
    linux.settle()

    assert linux.effects() == []


def test_init_loopback_gives_a_permanent_host_address_that_is_never_tentative(linux: Linux, net: Namespace) -> None:
    linux.effects()
    with rtnl_lock(linux.machine):
        init_loopback(net.device("lo"))
    linux.settle()

    news = messages(linux)
    assert brief(news) == "A+::1 R+loc:::1"
    assert isinstance(news[0], AddrMsg)
    assert (news[0].ifa_scope, news[0].flags, news[0].proto) == (254, 0x80, IFAPROT_KERNEL_LO)


# --- by event --------------------------------------------------------------------------------------------------------


def test_ipv6_listens_with_the_priority_of_addrconf() -> None:
    assert (ipv6_dev_notf().priority, ipv6_dev_notf().notifier_call) == (ADDRCONF_NOTIFY_PRIORITY, addrconf_notify)
    assert ipv6_dev_notf() is not ipv6_dev_notf()


@pytest.mark.parametrize("event", [event for event in NetdevEvent if event not in ON_NETDEV_EVENT])
def test_an_event_without_a_row_is_agreed_to_and_does_nothing(linux: Linux, net: Namespace, event: NetdevEvent) -> None:
    net.link_set("lo", up=True)
    before = net.dump()
    linux.effects()
    with rtnl_lock(linux.machine):
        assert addrconf_notify(event, net.device("lo").notifier_info) == NOTIFY_OK
    linux.settle()

    assert (net.dump(), linux.effects()) == (before, [])


def test_a_device_called_as_a_directory_of_proc_is_cannot_be_registered(net: Namespace) -> None:
    for name in ("all", "default"):
        with pytest.raises(KernelError) as refused:
            net.link_add(name)
        assert refused.value.name == "EINVAL"
    assert net.links() == ["lo"]


def test_up_does_nothing_where_addrconf_keeps_its_hands_off(linux: Linux, net: Namespace) -> None:
    net.link_add("x0").priv_flags |= IFF_NO_ADDRCONF
    net.link_add("x1")
    net.sysctl("net.ipv6.conf.x1.disable_ipv6", 1)
    linux.effects()
    for name in ("x0", "x1"):
        net.link_set(name, up=True)

    assert brief(messages(linux)) == "L M4+224.0.0.1 L M4+224.0.0.1"


# --- the mtu ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(net: Namespace) -> NetDevice:
    """An up device that lost its IPv6 half to an MTU of 1279."""
    no_link_local(net._linux)
    dev = net.link_add("x0", flags=IFF_MULTICAST)
    net.link_set("x0", up=True)
    net.link_set("x0", mtu=1279)
    return dev


def test_a_small_mtu_takes_the_ipv6_half_of_any_device_but_lo(linux: Linux, net: Namespace) -> None:
    no_link_local(linux)
    net.link_add("x0", flags=IFF_MULTICAST)
    for name in ("lo", "x0"):
        net.link_set(name, up=True)
    net.addr_add("2001:db8::1/64", "x0", nodad=True)
    linux.effects()
    net.link_set("x0", mtu=1279)
    assert said(linux) == (
        "L R-pfx:2001:db8::/64 R-loc:2001:db8::1 A-2001:db8::1 M-ff02::1:ff00:1 M-ff02::1 NC-2"
    )  # fmt: skip
    net.link_set("lo", mtu=1279)

    assert (net.device("x0").ip6_ptr, half(net.device("lo")).dead) == (None, False)


def test_an_mtu_of_1280_brings_a_fresh_ipv6_half_and_configures_it(
    linux: Linux, net: Namespace, small: NetDevice
) -> None:
    linux.effects()
    net.link_set("x0", mtu=1280)

    assert said(linux) == "L NC+2 M+ff01::1 M+ff02::1 I"
    assert len(routes(net, small)) == 1
    assert half(small).cnf["mtu"] == 1280


def test_a_device_without_an_ipv6_half_refuses_addresses_and_says_nothing_of_ipv6(
    net: Namespace, small: NetDevice
) -> None:
    with pytest.raises(KernelError) as refused:
        net.addr_add("2001:db8::1/64", "x0")
    assert (refused.value.name, refused.value.extack) == ("EINVAL", None)
    with pytest.raises(KernelError) as refused:
        net.addr_del("2001:db8::1/64", "x0")
    assert (refused.value.name, refused.value.extack) == ("ENXIO", "ipv6: IPv6 is disabled on this device")
    with pytest.raises(KernelError) as refused:
        net.link_set("x0", addr_gen_mode=1)
    assert refused.value.name == "EAFNOSUPPORT"
    (link,) = (m for m in net.dump() if isinstance(m, LinkMsg) and m.ifname == "x0")
    assert link.inet6 is None


def test_a_device_registered_with_a_small_mtu_has_no_ipv6(linux: Linux, net: Namespace) -> None:
    linux.effects()
    net.link_add("x0", mtu=1279)
    net.link_set("x0", up=True)

    assert brief(messages(linux)) == "NC4+2 L L M4+224.0.0.1"
    assert net.device("x0").ip6_ptr is None


def test_an_mtu_of_1280_is_enough(net: Namespace) -> None:
    assert half(net.link_add("x0", mtu=1280)).cnf["mtu"] == 1280


def test_coming_up_makes_the_ipv6_half_that_is_missing(net: Namespace, small: NetDevice) -> None:
    net.link_set("x0", up=False)
    net.link_set("x0", mtu=1500)
    assert half(small).if_flags & IF_READY == 0
    net.link_set("x0", up=True)

    assert half(small).if_flags & IF_READY
    assert [m.inet6.flags for m in net.dump() if isinstance(m, LinkMsg) and m.inet6] == [0, IF_READY]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_unregistering_takes_addresses_groups_and_settings(linux: Linux, net: Namespace) -> None:
    no_link_local(linux)
    dev = net.link_add("x0")
    net.link_set("x0", up=True)
    net.addr_add("2001:db8::1/64", "x0", nodad=True)
    idev = half(dev)
    linux.effects()
    net.link_del("x0")

    assert said(linux) == (
        "L M4-224.0.0.1 R-pfx:2001:db8::/64 R-loc:2001:db8::1 A-2001:db8::1 M-ff02::1:ff00:1 NC4-2 M-ff02::1 NC-2 L-"
    )
    assert (idev.dead, dev.ip6_ptr, len(idev.addr_hash), idev.mc_list) == (True, None, 0, {})
    assert [m for m in net.dump() if isinstance(m, AddrMsg) and m.nlmsg_type == RTM_NEWADDR] == []
