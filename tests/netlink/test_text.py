"""Messages read as ip(8) prints them; the expected lines are iproute2's own, except where a test says otherwise."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import (
    AddrMsg,
    IfaCacheinfo,
    Inet6LinkInfo,
    LinkMsg,
    Message,
    NetconfMsg,
    RouteMsg,
    Sysctl,
)
from addrsvc.netlink.text import (
    addr_show,
    addr_show_json,
    command_line,
    inet_ntop,
    line,
    link_show,
    link_show_json,
    to_json,
)
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ARPHRD_LOOPBACK,
    IF_OPER_UNKNOWN,
    IF_READY,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFA_F_SECONDARY,
    IFA_F_TENTATIVE,
    IFAPROT_KERNEL_LO,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NLM_F_REPLACE,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_DELADDR,
    RTM_DELNETCONF,
    RTM_DELROUTE,
    RTM_NEWMULTICAST,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_UNICAST,
    RTPROT_KERNEL,
)

NAMES = {1: "lo"}
FOREVER = IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)
LO_ADDR = socket.inet_pton(AF_INET6, "::1")
NULL_MAC = bytes(6)

LO = LinkMsg(
    ifi_type=ARPHRD_LOOPBACK,
    ifi_index=1,
    ifi_flags=IFF_LOOPBACK | IFF_UP | IFF_RUNNING | IFF_LOWER_UP,
    ifname="lo",
    mtu=65536,
    qdisc="noqueue",
    operstate=IF_OPER_UNKNOWN,
    linkmode=0,
    group=0,
    txqlen=1000,
    address=NULL_MAC,
    broadcast=NULL_MAC,
    promiscuity=0,
    allmulti=0,
    min_mtu=0,
    max_mtu=0,
    num_tx_queues=1,
    num_rx_queues=1,
    gso_max_size=65536,
    gso_max_segs=65535,
    tso_max_size=524280,
    tso_max_segs=65535,
    gro_max_size=65536,
    inet6=Inet6LinkInfo(addr_gen_mode=0),
)
LO_V4 = AddrMsg(
    ifa_family=AF_INET,
    ifa_prefixlen=8,
    ifa_scope=RT_SCOPE_HOST,
    ifa_index=1,
    address=bytes([127, 0, 0, 1]),
    local=bytes([127, 0, 0, 1]),
    label="lo",
    flags=IFA_F_PERMANENT,
    cacheinfo=FOREVER,
)
LO_V6 = AddrMsg(
    ifa_scope=RT_SCOPE_HOST,
    ifa_index=1,
    address=LO_ADDR,
    flags=IFA_F_PERMANENT,
    cacheinfo=FOREVER,
    proto=IFAPROT_KERNEL_LO,
)
DUMP: tuple[Message, ...] = (LO, LO_V4, LO_V6)


def six(text: str, **fields: object) -> AddrMsg:
    values: dict[str, object] = {"ifa_prefixlen": 64, "flags": IFA_F_PERMANENT, "cacheinfo": FOREVER}
    return AddrMsg(ifa_index=1, address=socket.inet_pton(AF_INET6, text), **(values | fields))  # type: ignore[arg-type]


def route(text: str, dst_len: int, **fields: object) -> RouteMsg:
    values: dict[str, object] = {"rtm_protocol": RTPROT_KERNEL, "oif": 1, "priority": 0, "pref": 0}
    return RouteMsg(
        rtm_dst_len=dst_len,
        dst=socket.inet_pton(AF_INET6, text),
        **(values | fields),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("msg", "expected"),
    [
        (LO_V4, "1: lo    inet 127.0.0.1/8 scope host lo"),
        (LO_V6, "1: lo    inet6 ::1/128 scope host proto kernel_lo"),
        (
            six("2001:db8::b", flags=IFA_F_PERMANENT | IFA_F_TENTATIVE | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR),
            "1: lo    inet6 2001:db8::b/64 scope global home tentative mngtmpaddr",
        ),
        (
            six("fe80::5", flags=IFA_F_TENTATIVE, ifa_scope=RT_SCOPE_LINK, cacheinfo=IfaCacheinfo(50, 100)),
            "1: lo    inet6 fe80::5/64 scope link tentative dynamic valid_lft 100sec preferred_lft 50sec",
        ),
        (
            six("2001:db8::7", flags=IFA_F_PERMANENT | IFA_F_DEPRECATED, rt_priority=77, nlmsg_type=RTM_DELADDR),
            "Deleted 1: lo    inet6 2001:db8::7/64 metric 77 scope global deprecated",
        ),
        (
            six("2001:db8::a", local=socket.inet_pton(AF_INET6, "2001:db8::9"), ifa_prefixlen=128),
            "1: lo    inet6 2001:db8::9 peer 2001:db8::a/128 scope global",
        ),
        (six("2001:db8::c", flags=IFA_F_SECONDARY), "1: lo    inet6 2001:db8::c/64 scope global temporary dynamic"),
    ],
)
def test_an_address_reads_as_ip_monitor_prints_it(msg: Message, expected: str) -> None:
    assert line(msg, NAMES) == expected


@pytest.mark.parametrize(
    ("msg", "expected"),
    [
        (
            route("::1", 128, rtm_type=RTN_LOCAL, rtm_table=RT_TABLE_LOCAL, table=RT_TABLE_LOCAL),
            "local ::1 dev lo table local proto kernel metric 0 pref medium",
        ),
        (
            route("2001:db8::", 64, rtm_type=RTN_UNICAST, rtm_table=RT_TABLE_MAIN, priority=256),
            "2001:db8::/64 dev lo proto kernel metric 256 pref medium",
        ),
        (
            route("fe80::", 64, rtm_type=RTN_UNICAST, table=RT_TABLE_MAIN, priority=256, nlmsg_type=RTM_DELROUTE),
            "Deleted fe80::/64 dev lo proto kernel metric 256 pref medium",
        ),
        (
            RouteMsg(
                rtm_family=AF_INET,
                rtm_dst_len=32,
                dst=bytes([127, 255, 255, 255]),
                rtm_type=RTN_BROADCAST,
                rtm_scope=RT_SCOPE_LINK,
                rtm_table=RT_TABLE_LOCAL,
                rtm_protocol=RTPROT_KERNEL,
                oif=1,
                prefsrc=bytes([127, 0, 0, 1]),
            ),
            "broadcast 127.255.255.255 dev lo table local proto kernel scope link src 127.0.0.1",
        ),
        (
            RouteMsg(
                rtm_type=RTN_UNICAST, rtm_table=RT_TABLE_MAIN, rtm_protocol=RTPROT_KERNEL, oif=1, priority=1, pref=0
            ),
            "default dev lo proto kernel metric 1 pref medium",
        ),
    ],
)
def test_a_route_reads_as_ip_monitor_prints_it(msg: Message, expected: str) -> None:
    assert line(msg, NAMES) == expected


def test_a_link_is_one_line() -> None:
    assert line(LO) == (
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000 "
        "link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00"
    )


def test_a_device_that_is_up_without_carrier_says_so() -> None:
    msg = LinkMsg(ifi_index=1, ifname="lo", ifi_flags=IFF_LOOPBACK | IFF_UP)

    assert line(msg).startswith("1: lo: <NO-CARRIER,LOOPBACK,UP>")


def test_the_ipv6_half_of_a_link_is_told_from_the_link() -> None:
    """Ours: ip(8) does not subscribe to this message."""
    msg = LinkMsg(ifi_family=AF_INET6, ifi_index=1, ifname="lo", mtu=65536, inet6=Inet6LinkInfo(flags=IF_READY))

    assert line(msg) == "inet6 1: lo: <> mtu 65536 ready"


def test_a_netconf_message_names_its_switches() -> None:
    msg = NetconfMsg(ifindex=1, forwarding=0, mc_forwarding=0, proxy_neigh=0, ignore_routes_with_linkdown=0)

    assert line(msg, NAMES) == (
        "inet6 lo forwarding off mc_forwarding off proxy_neigh off ignore_routes_with_linkdown off"
    )
    assert line(NetconfMsg(nlmsg_type=RTM_DELNETCONF, ncm_family=AF_INET, ifindex=1), NAMES) == "Deleted inet lo"


def test_a_multicast_group_has_words_of_our_own() -> None:
    msg = AddrMsg(nlmsg_type=RTM_NEWMULTICAST, ifa_index=1, multicast=socket.inet_pton(AF_INET6, "ff02::1"))

    assert line(msg, NAMES) == "1: lo    inet6 mcast ff02::1 scope global"


def test_a_sysctl_reads_as_sysctl_prints_it() -> None:
    assert line(Sysctl("net.ipv6.conf.lo.disable_ipv6", "1")) == "net.ipv6.conf.lo.disable_ipv6 = 1"


def test_a_device_without_a_known_name_is_spelled_by_its_index() -> None:
    assert line(LO_V6).startswith("1: if1    inet6 ::1/128")


def test_addr_show_prints_a_device_and_its_addresses() -> None:
    assert addr_show(addr_show_json(DUMP)) == (
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000\n"
        "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n"
        "    inet 127.0.0.1/8 scope host lo\n"
        "       valid_lft forever preferred_lft forever\n"
        "    inet6 ::1/128 scope host proto kernel_lo\n"
        "       valid_lft forever preferred_lft forever\n"
    )


def test_link_show_with_details_prints_what_ip_d_prints() -> None:
    assert link_show(link_show_json(DUMP, details=True)) == (
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\n"
        "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00 promiscuity 0 allmulti 0 minmtu 0 maxmtu 0 "
        "addrgenmode eui64 numtxqueues 1 numrxqueues 1 gso_max_size 65536 gso_max_segs 65535 tso_max_size 524280 "
        "tso_max_segs 65535 gro_max_size 65536\n"
    )


def test_the_json_of_an_address_has_the_keys_of_ip_j() -> None:
    assert addr_show_json(DUMP)[0]["addr_info"] == [
        {
            "family": "inet",
            "local": "127.0.0.1",
            "prefixlen": 8,
            "scope": "host",
            "label": "lo",
            "valid_life_time": 4294967295,
            "preferred_life_time": 4294967295,
        },
        {
            "family": "inet6",
            "local": "::1",
            "prefixlen": 128,
            "scope": "host",
            "protocol": "kernel_lo",
            "valid_life_time": 4294967295,
            "preferred_life_time": 4294967295,
        },
    ]


def test_the_json_of_a_message_names_the_message() -> None:
    said = to_json(six("2001:db8::7", nlmsg_type=RTM_DELADDR), NAMES)

    assert (said["message"], said["deleted"], said["dev"]) == ("RTM_DELADDR", True, "lo")


words = st.sampled_from([b"\0\0", b"\0\1", b"\xff\xff", b"\x20\x01", b"\x0d\xb8"])


@given(st.one_of(st.binary(min_size=16, max_size=16), st.lists(words, min_size=8, max_size=8).map(b"".join)))
def test_an_ipv6_address_is_written_as_the_c_library_writes_it(packed: bytes) -> None:
    assert inet_ntop(packed) == socket.inet_ntop(socket.AF_INET6, packed)


@given(st.binary(min_size=4, max_size=4))
def test_an_ipv4_address_is_written_as_the_c_library_writes_it(packed: bytes) -> None:
    assert inet_ntop(packed) == socket.inet_ntop(socket.AF_INET, packed)


# --- beside the real ip(8) --------------------------------------------------------------------------------------------

SCENE = """
ip link set lo up alias "some words" txqueuelen 77
ip addr add 10.0.0.1/24 brd + dev lo label lo:1
ip addr add 2001:db8::1/64 dev lo nodad metric 77
ip addr add 2001:db8::9 peer 2001:db8::a dev lo
ip addr add fe80::5/64 dev lo valid_lft 100000 preferred_lft 50000
ip addr add 2001:db8:1::1/128 dev lo preferred_lft 0 noprefixroute home
ip link set lo arp off promisc on group 5
"""


@pytest.fixture
def scene(cap_sys_admin: None, netns: NetNs, rtnl: RtnlKernel) -> tuple[Kernel, Callable[..., str]]:
    """A namespace in which a little of everything is set up, and ip(8) inside it."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip(8)")
    inside = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{netns.fileno()}"]

    def run(*words: str) -> str:
        return subprocess.run([*inside, *words], capture_output=True, text=True, check=True).stdout

    run("sh", "-ec", SCENE)
    return rtnl, run


def as_old(text: str) -> str:
    """Our text as an ip(8) prints it that does not know IFA_PROTO yet, with the same spaces."""
    text = re.sub(r" +$", "", re.sub(r"(inet6?.*) proto \S+", r"\1", text), flags=re.MULTILINE)
    return re.sub(r"(\S)  +", r"\1 ", text)


def test_addr_show_prints_what_ip_prints(scene: tuple[Kernel, Callable[..., str]]) -> None:
    kernel, ip = scene

    assert as_old(addr_show(addr_show_json(kernel.dump()))) == as_old(ip("ip", "addr", "show"))


def test_link_show_prints_what_ip_prints(scene: tuple[Kernel, Callable[..., str]]) -> None:
    kernel, ip = scene

    assert as_old(link_show(link_show_json(kernel.dump()))) == as_old(ip("ip", "link", "show"))


def test_the_json_of_addresses_is_what_ip_prints(scene: tuple[Kernel, Callable[..., str]]) -> None:
    kernel, ip = scene
    ours = addr_show_json(kernel.dump())
    theirs = json.loads(ip("ip", "-j", "addr", "show"))

    for link in (*ours, *theirs):
        link["addr_info"] = [{k: v for k, v in info.items() if k != "protocol"} for info in link["addr_info"]]
    assert ours == theirs


def test_routes_read_as_ip_prints_them(scene: tuple[Kernel, Callable[..., str]]) -> None:
    kernel, ip = scene
    ours = sorted(line(msg, {1: "lo"}) for msg in kernel.dump() if isinstance(msg, RouteMsg))

    assert re.sub("expires .*sec", "", "\n".join(ours)) == re.sub(
        "expires .*sec", "", "\n".join(sorted(as_old(ip("ip", "-6", "route", "show", "table", "all")).splitlines()))
    )


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("msg", "expected"),
    [
        (LinkMsg(ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP), "ip link set dev lo up"),
        (
            LinkMsg(
                ifi_index=1, ifi_flags=IFF_NOARP, ifi_change=IFF_NOARP | IFF_PROMISC | IFF_UP, mtu=1400, ifname="x"
            ),
            "ip link set dev lo name x mtu 1400 arp off promisc off down",
        ),
        (
            AddrMsg(ifa_index=1, address=LO_ADDR, proto=IFAPROT_KERNEL_LO, flags=IFA_F_NODAD | IFA_F_NOPREFIXROUTE),
            "ip addr add ::1/128 dev lo proto kernel_lo nodad noprefixroute",
        ),
        (
            six("2001:db8::1", nlmsg_flags=NLM_F_REPLACE, cacheinfo=IfaCacheinfo(5, INFINITY_LIFE_TIME), flags=0),
            "ip addr replace 2001:db8::1/64 dev lo valid_lft forever preferred_lft 5sec",
        ),
        (AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, address=LO_ADDR), "ip addr del ::1/128 dev lo"),
        (
            RouteMsg(
                rtm_family=AF_INET6,
                rtm_dst_len=64,
                rtm_table=RT_TABLE_LOCAL,
                rtm_type=RTN_LOCAL,
                rtm_protocol=173,
                dst=bytes.fromhex("fd00") + bytes(14),
                oif=1,
            ),
            "ip route add local fd00::/64 dev lo table local proto 173",
        ),
        (
            RouteMsg(
                nlmsg_type=RTM_DELROUTE,
                rtm_family=AF_INET,
                rtm_dst_len=24,
                rtm_table=RT_TABLE_LOCAL,
                rtm_type=RTN_LOCAL,
                rtm_protocol=173,
                dst=bytes((192, 0, 2, 0)),
                oif=1,
            ),
            "ip route del local 192.0.2.0/24 dev lo table local proto 173",
        ),
        (Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"), "sysctl net.ipv6.conf.lo.disable_ipv6=1"),
    ],
)
def test_a_request_reads_as_the_command_that_would_make_it(msg: Message, expected: str) -> None:
    assert command_line(msg, NAMES) == expected
