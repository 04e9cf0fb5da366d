"""Oddities that the random walk and the campaign found, each by name."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message
from addrsvc.uapi import IF_OPER_TESTING, IFA_F_MCAUTOJOIN, IFF_DEBUG, IFF_NOARP, IFF_UP, NLM_F_CREATE, NLM_F_REPLACE
from tests.fidelity.asks import (
    LO,
    add,
    delete,
    disable_ipv6,
    down,
    flags,
    forwarding,
    keep_addr_on_down,
    mtu,
    new_device,
    rename,
    up,
)
from tests.fidelity.compare import GRAIN, first_difference
from tests.fidelity.notation import brief
from tests.fidelity.play import play
from tests.fidelity.scenarios.subject import Compared, routes
from tests.fidelity.steps import (
    ASKER,
    LAGGARD,
    LISTENER,
    OUTSIDER,
    RESIDENT,
    SECOND,
    SOL_SOCKET,
    Bind,
    Connect,
    Getsockname,
    Getsockopt,
    Op,
    Read,
    Reopen,
    Send,
    Setsockopt,
    Sysctl,
)
from tests.fidelity.wire import Message as Wire
from tests.fidelity.wire import nest, nla, u32


def agree(script: Iterable[Message]) -> None:
    """Both kernels, fresh, answer the whole script alike."""
    assert str(first_difference(script) or "") == ""


def test_a_kept_address_may_complete_while_a_small_mtu_takes_ipv6_down_again(kernel: Kernel) -> None:
    """The running kernel itself has two answers here: whether the work item has begun is chance."""
    for ask in (keep_addr_on_down(1), up(), add("2001:db8::1/64")):
        kernel.request(ask)
    settle(kernel)
    for ask in (down(), mtu(1000)):
        kernel.request(ask)
    watch = kernel.watch()
    kernel.request(up())
    said = brief(watch)
    watch.close()

    always = (
        "L M4+224.0.0.1 R4+brd:127.255.255.255 R+pfx:2001:db8::/64 A+::1 R+loc:::1 I "
        "R-pfx:2001:db8::/64 R-loc:::1 A-::1"
    )
    assert said in (always, f"{always} A+2001:db8::1")


def test_a_name_of_two_parts_is_one_part_of_a_sysctl(netns: NetNs) -> None:
    agree((up(), rename("lo.7"), disable_ipv6(1, "lo.7"), disable_ipv6(0, "lo.7")))


def test_a_name_too_long_stops_the_whole_request(netns: NetNs) -> None:
    agree((LinkMsg(ifi_index=LO, ifname="sixteen--letters", mtu=1400),))


def test_a_subnet_router_address_of_its_own_is_announced_without_a_second_route(netns: NetNs) -> None:
    agree((add("2001:db8::/64"), forwarding(1, "all"), up(), forwarding(0, "all")))


def test_a_loopback_address_of_finite_lifetime_has_a_main_route_that_expires(netns: NetNs) -> None:
    agree((up(), delete("::1/128"), add("::1/128", valid=GRAIN), down()))


def test_flags_without_a_mask_are_all_flags(netns: NetNs) -> None:
    agree((up(), flags(IFF_DEBUG | IFF_NOARP), LinkMsg(ifi_index=LO, ifi_flags=IFF_UP), LinkMsg(ifi_index=LO)))


def test_a_device_that_is_down_has_no_route_to_multicast_groups(netns: NetNs) -> None:
    """Though each address that is asked for on it brings that route, if it is not there yet."""
    group = bytes.fromhex("ff02" + "0" * 27 + "1")
    with Compared() as both:
        both.ask(new_device("ifb0", "ifb"))

        assert both.ask(AddrMsg(nlmsg_flags=NLM_F_CREATE, ifa_index=2, local=group)).startswith("EADDRNOTAVAIL")
        assert routes(both) == ""


def test_an_address_that_is_refused_leaves_the_route_to_multicast_groups(netns: NetNs) -> None:
    """It is missing where a device came up in a state in which nothing is configured."""
    testing = replace(new_device("ifb0", "ifb"), ifi_flags=IFF_UP, ifi_change=IFF_UP, operstate=IF_OPER_TESTING)
    with Compared() as both:
        assert both.ask(testing).endswith("L M4+224.0.0.1")

        refused = both.ask(AddrMsg(nlmsg_flags=NLM_F_CREATE, ifa_index=2, local=bytes(15) + b"\1"))
        assert refused == "EADDRNOTAVAIL ipv6: Cannot assign loopback address on this device R+mc:ff00::/8"
        assert routes(both) == "R+mc:ff00::/8"


def settle(kernel: Kernel) -> None:
    watch = kernel.watch()
    list(watch)
    watch.close()


def test_a_prefix_route_that_expires_already_keeps_its_expiry(netns: NetNs) -> None:
    change = NLM_F_CREATE | NLM_F_REPLACE
    agree(
        (
            up(),
            add("2001:db8::1/64", metric=77),
            add("2001:db8::1/64", nlm=change, metric=77, valid=GRAIN),
            add("2001:db8::2/64"),
            delete("2001:db8::2/64"),
        )
    )


def test_a_small_gso_size_is_for_ipv4_too(netns: NetNs) -> None:
    agree((LinkMsg(ifi_index=1, gso_max_size=1000), LinkMsg(ifi_index=1, gro_max_size=1000)))
    agree((LinkMsg(ifi_index=1, gso_max_size=70000),))


@pytest.mark.parametrize(
    "ask",
    [
        LinkMsg(ifi_index=1, mtu=1400, tso_max_size=1),
        LinkMsg(ifi_index=1, mtu=1400, tso_max_segs=1),
        LinkMsg(ifi_index=1, mtu=1400, netns_immutable=1),
        LinkMsg(ifi_index=1, mtu=1400, allmulti=1),
    ],
)
def test_what_only_a_driver_sets_is_refused_first(netns: NetNs, ask: LinkMsg) -> None:
    agree((ask,))


def test_a_group_joined_for_an_address_outlives_it(netns: NetNs) -> None:
    join = add("ff02::1234/128", flags=IFA_F_MCAUTOJOIN)
    agree((join, up(), down(), join))


# --- in bytes, on sockets ---------------------------------------------------------------------------------------------

REQUEST, ACK, ECHO, DUMP = 0x1, 0x4, 0x8, 0x300
PORTS = {SECOND: 2000, LISTENER: 1000}


def agree_on_steps(*steps: Op) -> None:
    """Both kernels, fresh, and all their sockets, answer every step with the same bytes."""
    difference, _ = play(steps, settle=0.005)
    assert str(difference or "") == ""


def ask(nlmsg_type: int, head: bytes, *attrs: bytes, flags: int = REQUEST | ACK) -> bytes:
    return bytes(Wire(nlmsg_type, flags, head, attrs))


def new_address(local: str, *attrs: bytes, flags: int = REQUEST | ACK | NLM_F_CREATE) -> bytes:
    return ask(20, b"\x0a\x40\0\0" + u32(1), nla(2, bytes.fromhex(local)), *attrs, flags=flags)


ADDRESS = "20010db8000000000000000000000001"


def test_a_local_address_longer_than_an_address_has_a_peer_always(cap_sys_admin: None) -> None:
    """The two are compared with their lengths, but only that of LOCAL."""
    same = nla(1, bytes.fromhex(ADDRESS))
    agree_on_steps(Send(new_address(ADDRESS, nla(1, bytes.fromhex(ADDRESS) + b"longer"))))
    agree_on_steps(Send(new_address(ADDRESS + "00", same)))


def test_the_end_of_a_dump_of_all_families_is_never_interrupted(cap_sys_admin: None) -> None:
    """It stands in a datagram of its own, before which no family is asked again."""
    agree_on_steps(
        Send(new_address(ADDRESS)),
        Send(ask(22, bytes(8), flags=REQUEST | DUMP), hold=True),
        Send(new_address(ADDRESS.replace("1", "2")), hold=True),
        Getsockname(hold=False),
    )


@pytest.mark.parametrize("length", [17, 18, 19, 20, 21])
@pytest.mark.parametrize("ext_ack", [0, 1])
def test_an_acknowledgement_is_padded_behind_what_it_repeats(cap_sys_admin: None, length: int, ext_ack: int) -> None:
    agree_on_steps(Setsockopt(11, u32(ext_ack)), Send(ask(27, bytes(length - 16), flags=REQUEST)))


@pytest.mark.parametrize("length", [-1, 0, 1, 3, 4, 7, 8, 9])
def test_groups_are_listed_by_whole_words_once_there_is_room_for_them(cap_sys_admin: None, length: int) -> None:
    agree_on_steps(
        Getsockopt(9, length, SECOND), Setsockopt(2, u32(7), SECOND), Getsockopt(9, length, SECOND),
        Setsockopt(1, u32(39), SECOND), Getsockopt(9, length, SECOND),
    )  # fmt: skip


def test_a_datagram_to_another_socket_shows_the_group_it_went_to_before(cap_sys_admin: None) -> None:
    data = ask(27, b"hello")
    agree_on_steps(
        *(Send(data, by, to, groups) for by in (ASKER, SECOND, OUTSIDER) for to in (0, 1000, 2000, 7)
          for groups in (0, 1, 6, 1 << 31)),
    )  # fmt: skip


def test_who_is_connected_hears_only_the_one_he_talks_to(cap_sys_admin: None) -> None:
    data = ask(27, b"hello")
    agree_on_steps(
        Connect(1000, 0, SECOND), Send(data, to=2000), Send(data, SECOND), Connect(0, 0, SECOND), Send(data, SECOND),
        Connect(0, 1, OUTSIDER), Connect(0, 0, OUTSIDER), Send(data, OUTSIDER), Getsockname(OUTSIDER),
    )  # fmt: skip


def test_a_full_queue_loses_what_comes_and_says_so_once(cap_sys_admin: None) -> None:
    meminfo = Getsockopt(55, 36, LAGGARD, SOL_SOCKET)
    script: list[Op] = []
    for last in range(1, 9):
        script += [Send(new_address(f"{ADDRESS[:-1]}{last}"), LAGGARD, hold=True), meminfo]
    reads: list[Op] = [Read(LAGGARD), meminfo] * 3
    agree_on_steps(*script, *reads, *script, Getsockname(LAGGARD, hold=False), meminfo, *reads)


def test_a_dump_waits_for_room_in_the_queue(cap_sys_admin: None) -> None:
    dump = Send(ask(22, bytes(8), flags=REQUEST | DUMP), SECOND, hold=True)
    small = Setsockopt(8, u32(2304), SECOND, SOL_SOCKET)
    agree_on_steps(
        Send(new_address(ADDRESS)), small, dump, dump, dump, *[Read(SECOND)] * 6, Getsockname(SECOND, hold=False)
    )


def test_a_socket_opened_anew_has_nothing_of_the_old_one(cap_sys_admin: None) -> None:
    agree_on_steps(
        Bind(2000, 0x11),
        Setsockopt(11, u32(1), SECOND),
        Reopen(SECOND),
        Getsockopt(9, 8, SECOND),
        Getsockopt(11, 4, SECOND),
        Bind(1000, 0),
        Bind(2000, 0),
        Bind(2001, 0),
        Getsockname(SECOND),
        Send(ask(27, b""), SECOND),
    )


def test_a_member_of_a_group_hears_nothing_before_it_has_a_port_id(cap_sys_admin: None) -> None:
    join = Setsockopt(1, u32(9), SECOND)
    look = Getsockname(SECOND, hold=False)
    agree_on_steps(
        Reopen(SECOND),
        join,
        Send(new_address(ADDRESS)),
        look,
        Bind(0, 0x100),
        Send(new_address(ADDRESS[:-1] + "2")),
        look,
    )


@pytest.mark.parametrize("strict", [0, 1])
@pytest.mark.parametrize("rest", [b"", bytes(15), bytes(3) + u32(1) + bytes(8), bytes(15) + nla(29, u32(1))])
def test_multicast_routing_has_a_table_among_the_links(cap_sys_admin: None, strict: int, rest: bytes) -> None:
    dump = ask(18, b"\x80" + rest, flags=REQUEST | DUMP)
    agree_on_steps(Setsockopt(11, u32(1)), Setsockopt(12, u32(strict)), Send(dump))


def test_an_alternative_name_has_no_sysctls(cap_sys_admin: None) -> None:
    head = bytes(4) + u32(1) + bytes(8)
    path = "net/ipv{}/conf/alt/forwarding"
    agree_on_steps(
        Send(ask(108, head, nest(52, nla(53, b"alt\0")))), Sysctl(path.format(6), "1"), Sysctl(path.format(4), "1")
    )


def test_a_port_id_that_is_taken_is_the_sockets_name_all_the_same(cap_sys_admin: None) -> None:
    look = Getsockname(SECOND, hold=False)
    agree_on_steps(Reopen(SECOND), Bind(1000, 0), look, Setsockopt(1, u32(9), SECOND), Send(new_address(ADDRESS)), look)


def test_a_reply_without_room_is_a_refusal_without_room(cap_sys_admin: None) -> None:
    """It is told, though, where the socket does not mind to lose something."""
    look, meminfo = (
        Send(ask(18, bytes(4) + u32(1) + bytes(8)), SECOND, hold=True),
        Getsockopt(55, 36, SECOND, SOL_SOCKET),
    )
    for careless in (0, 1):
        agree_on_steps(
            Setsockopt(8, u32(2304), SECOND, SOL_SOCKET), Setsockopt(5, u32(careless), SECOND),
            look, meminfo, look, meminfo, look, meminfo, Getsockname(SECOND, hold=False), meminfo,
        )  # fmt: skip


LO_UP = ask(16, bytes(4) + u32(1) + u32(1) + u32(1))


def new_address4(local: str, plen: int, *attrs: bytes) -> bytes:
    return ask(20, bytes((2, plen, 0, 0)) + u32(1), nla(2, bytes.fromhex(local)), *attrs)


def test_a_net_of_nobody_keeps_no_broadcast_route(cap_sys_admin: None) -> None:
    """127.0.0.1/1 begins at 0.0.0.0: its last address, which is 127.0.0.1/8's too, does not count."""
    agree_on_steps(Send(LO_UP), Send(new_address4("7f000001", 1)), Send(ask(21, b"\x02\x08\0\0" + u32(1))))


@pytest.mark.parametrize("family", [2, 10])
def test_the_end_of_a_dump_in_a_datagram_of_its_own_is_never_interrupted(cap_sys_admin: None, family: int) -> None:
    dump = Send(ask(22, bytes((family, 0, 0, 0)) + u32(0), flags=REQUEST | DUMP), SECOND, hold=True)
    look = Getsockname(SECOND, hold=False)
    agree_on_steps(Send(new_address4("0a000001", 8)), dump, Send(LO_UP), look, dump, Send(new_address(ADDRESS)), look)


def test_no_address_is_too_near_for_a_packet_to_nowhere(cap_sys_admin: None) -> None:
    """:: has no scope at all, so ::1 is a better source than a global address."""
    agree_on_steps(
        Send(ask(20, b"\x0a\0\0\0" + u32(1), nla(2, bytes.fromhex(ADDRESS)))), Send(LO_UP),
        Send(ask(26, b"\x0a\x80" + bytes(10), nla(1, bytes(16)))),
    )  # fmt: skip


def test_a_loopback_address_made_while_the_device_was_down_has_a_route_in_main(cap_sys_admin: None) -> None:
    agree_on_steps(Sysctl("net/ipv6/conf/lo/addr_gen_mode", "1"), Send(LO_UP))


def test_a_reply_counts_what_it_is_and_a_notification_what_it_might_have_been(cap_sys_admin: None) -> None:
    """A route's notification is allocated for all that a route may have; a reply gives back what it does not need."""
    meminfo = Getsockopt(55, 36, SECOND, SOL_SOCKET)
    route = Send(ask(26, b"\x0a\x80" + bytes(10), nla(1, bytes(15) + b"\1"), flags=REQUEST), SECOND, hold=True)
    agree_on_steps(Send(LO_UP), route, meminfo, Bind(2000, 0x7FB), Send(new_address(ADDRESS)), meminfo)


def new_ifb(*attrs: bytes, flags: int = 0, change: int = 0) -> Send:
    head = bytes(8) + u32(flags) + u32(change)
    return Send(ask(16, head, nest(18, nla(1, b"ifb\0")), nla(1, bytes.fromhex("020000000012")), *attrs, flags=0x605))


def test_an_anycast_address_has_a_solicited_node_group_too(cap_sys_admin: None) -> None:
    """Flags without a mask clear IFF_NOARP, so the device has neighbours."""
    agree_on_steps(
        Sysctl("net/ipv6/conf/default/dad_transmits", "0"),
        Sysctl("net/ipv6/conf/default/router_solicitation_delay", "0"),
        Sysctl("net/ipv6/conf/all/forwarding", "1"),
        new_ifb(flags=1),
        Sysctl("net/ipv6/conf/all/forwarding", "0"),
        Sysctl("net/ipv6/conf/all/forwarding", "1"),
        Send(ask(17, bytes(4) + u32(2) + bytes(8))),
    )


@pytest.mark.parametrize("queues", [1, 2])
def test_a_queue_that_cannot_be_made_is_done_without(cap_sys_admin: None, queues: int) -> None:
    """One of no packets, and one that no allocation can hold; it is not made later either."""
    sizes = (0, 1, 524288, 524289, 2**31, 2**32 - 1)
    devices = [new_ifb(nla(13, u32(size)), nla(31, u32(queues)), flags=1, change=1) for size in sizes]
    changes = [
        Send(ask(16, bytes(4) + u32(index) + bytes(8), nla(13, u32(size)))) for index in (2, 3) for size in sizes
    ]
    agree_on_steps(Sysctl("net/ipv6/conf/default/disable_ipv6", "1"), *devices, *changes)


def test_a_dump_of_neighbour_tables_that_goes_on_tells_the_table_again(cap_sys_admin: None) -> None:
    devices = [new_ifb(nla(3, f"ifb{number}\0".encode())) for number in range(12)]
    dump = Send(ask(66, bytes(4), flags=REQUEST | DUMP), SECOND, hold=True)
    agree_on_steps(*devices, dump, Read(SECOND, 4096), Read(SECOND, 4096), Getsockname(SECOND, hold=False))


def test_a_dump_of_forwarding_databases_looks_once_more_for_devices(cap_sys_admin: None) -> None:
    dump = Send(ask(30, b"\x07" + bytes(11), flags=REQUEST | DUMP), SECOND, hold=True)
    agree_on_steps(new_ifb(), dump, new_ifb(flags=1, change=1), Getsockname(SECOND, hold=False))


@pytest.mark.parametrize("index", [0, 1, 2, 77])
@pytest.mark.parametrize("flags", [0, 2, 4, 8])
@pytest.mark.parametrize("family", [0, 2, 7, 10])
def test_neighbours_are_looked_up(cap_sys_admin: None, index: int, flags: int, family: int) -> None:
    head = bytes((family, 0, 0, 0)) + u32(index) + bytes((0, 0, flags, 0))
    destination = nla(1, bytes(4 if family == 2 else 16))
    tries = (
        (),
        (destination,),
        (nla(1, b"abc"),),
        (destination, nla(8, u32(1))),
        (nla(2, b"abcdef"),),
        (nla(9, u32(1)),),
    )
    agree_on_steps(Setsockopt(11, u32(1)), new_ifb(), *(Send(ask(30, head, *attrs)) for attrs in tries))


@pytest.mark.parametrize("nlmsg_type", [24, 25])
def test_no_device_takes_part_in_multicast_routing(cap_sys_admin: None, nlmsg_type: int) -> None:
    """What is wrong with a request is told; what is right with it is refused."""
    head = bytes((128, 32, 0, 0, 0, 4, 0, 5)) + bytes(4)
    heads = (b"\x80", head[:1] + b"\x18" + head[2:], head[:5] + b"\3" + head[6:], head[:6] + b"\xfe\5" + head[8:], head)
    index, nowhere, table, hops = nla(3, u32(1)), nla(3, u32(77)), nla(15, u32(254)), nla(9, b"\x08\0\0\1" + u32(1))
    tries = (
        (),
        (index,),
        (nowhere, nla(9, bytes(8))),
        (nla(9, bytes(8)), nowhere),
        (hops, table),
        (index, hops),
        (nla(3, b""),),
    )
    agree_on_steps(
        Setsockopt(11, u32(1)),
        *(Send(ask(nlmsg_type, each)) for each in heads), *(Send(ask(nlmsg_type, head, *attrs)) for attrs in tries),
    )  # fmt: skip


def test_a_source_address_that_goes_is_no_routes_source_any_more(cap_sys_admin: None) -> None:
    net = nla(1, bytes.fromhex("20010db8000500000000000000000000"))
    route = ask(24, b"\x0a\x40\0\0\xfe\4\0\1" + bytes(4), net, nla(4, u32(1)), nla(7, bytes(15) + b"\1"), flags=0x405)
    dump = Send(ask(26, b"\x0a" + bytes(11), flags=REQUEST | DUMP))
    agree_on_steps(
        Send(LO_UP), Send(route), dump, Send(ask(21, b"\x0a\x80\0\0" + u32(1), nla(2, bytes(15) + b"\1"))), dump
    )


def test_what_one_family_has_set_is_told_where_the_next_refuses(cap_sys_admin: None) -> None:
    conf = nest(2, nest(1, nla(30, u32(1))))
    token = nest(10, nla(7, bytes.fromhex(ADDRESS)))
    for families in ((conf, token), (token, conf), (conf, conf, token)):
        agree_on_steps(Send(LO_UP), Send(ask(16, bytes(4) + u32(1) + bytes(8), nest(26, *families))))


@pytest.mark.parametrize("nlmsg_type", [24, 25])
def test_a_route_has_no_flow_label(cap_sys_admin: None, nlmsg_type: int) -> None:
    net, label = nla(1, bytes.fromhex("20010db8000500000000000000000000")), nla(31, u32(5))
    head = b"\x0a\x30\0\0\xfe\4\0\1" + bytes(4)
    for attrs in ((label,), (nla(31, b"ab"),), (label, nla(30, u32(1))), (label, nla(5, b"ab"))):
        agree_on_steps(Setsockopt(11, u32(1)), Send(ask(nlmsg_type, head, net, nla(4, u32(1)), *attrs, flags=0x405)))


def neighbour(last: int, flags: int = 0, *attrs: bytes, how: int = 0x605) -> Send:
    head = b"\x0a\0\0\0" + u32(1) + bytes((0x80, 0, flags, 0))
    return Send(ask(28, head, nla(1, bytes.fromhex(ADDRESS)[:-1] + bytes((last,))), *attrs, flags=how))


def test_proxies_are_told_by_hash_and_go_the_other_way_around(cap_sys_admin: None) -> None:
    dump = Send(ask(30, bytes(10) + b"\x08\0", flags=REQUEST | DUMP))
    proxies = [neighbour(last, 8) for last in (0x31, 0x02, 0x40, 0x13, 0x20, 0x0F, 0x01, 0x77)]
    agree_on_steps(Send(LO_UP), *proxies, dump, Sysctl("net/ipv6/conf/lo/disable_ipv6", "1"), dump)


@pytest.mark.parametrize("end", [b"", b"\0", b"\0\0", b"\0\xff", b"x"])
def test_a_neighbour_table_has_a_name_with_any_number_of_nuls(cap_sys_admin: None, end: bytes) -> None:
    agree_on_steps(Send(ask(67, bytes(4), nla(1, b"ndisc_cache" + end), nest(6, nla(1, u32(1)), nla(10, u32(5))))))


def test_whoever_adds_an_address_has_the_device_receive_its_groups_again(cap_sys_admin: None) -> None:
    """Even if IPv6 is disabled there, so that the address is refused."""
    received = Send(ask(30, b"\x07" + bytes(11), flags=REQUEST | DUMP))
    wanted = ask(20, b"\x0a\x40\0\0" + u32(2), nla(2, bytes.fromhex(ADDRESS)), flags=0x605)
    switch = "net/ipv6/conf/ifb0/disable_ipv6"
    agree_on_steps(
        Sysctl("net/ipv6/conf/default/dad_transmits", "0"),
        Sysctl("net/ipv6/conf/default/router_solicitation_delay", "0"),
        new_ifb(flags=1), Sysctl(switch, "2"), received, Send(wanted), received,
        Sysctl(switch, "0"), Sysctl(switch, "1"), received,
        Sysctl(switch, "0"), Getsockname(LISTENER, hold=False), received,
    )  # fmt: skip


def test_a_change_of_actions_fails_if_one_misses_it_who_wants_that_known(cap_sys_admin: None) -> None:
    change = Send(ask(48, bytes(4), nla(1, b"")))
    agree_on_steps(change, Send(LO_UP), Setsockopt(4, u32(1), by=LAGGARD, level=270, hold=True), change)


@pytest.mark.parametrize("nlmsg_type", [48, 49, 50])
def test_what_is_said_of_a_change_of_actions_is_told_with_it(cap_sys_admin: None, nlmsg_type: int) -> None:
    for wanted in (REQUEST | ACK, REQUEST | ACK | ECHO):
        agree_on_steps(Send(ask(nlmsg_type, bytes(4), nla(1, b""), b"???", flags=wanted)))


@pytest.mark.parametrize("length", [4, 60, 126])
@pytest.mark.parametrize("number", [1, 9, 14, 15, 20, 31, 47])
def test_what_a_large_message_counts(cap_sys_admin: None, number: int, length: int) -> None:
    """A notification, a reply and a refusal of one link: each is allocated in its own way."""
    head = bytes(4) + u32(1) + bytes(8)
    names = nest(52, *(nla(53, f"{name:03}".ljust(length, "-").encode() + b"\0") for name in range(number)))
    meminfo = Getsockopt(55, 36, SECOND, SOL_SOCKET)
    link = [Send(ask(18, head, nla(29, u32(mask)), flags=REQUEST), SECOND, hold=True) for mask in (0, 1, 8)]
    refused = Send(ask(108, head, names), SECOND, hold=True)
    agree_on_steps(Bind(2000, 1), Send(ask(108, head, names)), meminfo, *link, meminfo, refused, meminfo)


@pytest.mark.parametrize("attr", [5, 3])
@pytest.mark.parametrize("value", [2**32 - 1, 2**35 - 10, 2**64 - 1])
def test_times_of_neighbours_are_told_in_four_bytes(cap_sys_admin: None, attr: int, value: int) -> None:
    times = nest(6, nla(1, u32(1)), nla(attr, value.to_bytes(8, "little")))
    ask_for = Send(ask(18, bytes(4) + u32(1) + bytes(8)))
    agree_on_steps(Send(ask(67, bytes(4), nla(1, b"ndisc_cache\0"), times)), ask_for, Send(LO_UP))


def test_metrics_are_looked_at_before_next_hops(cap_sys_admin: None) -> None:
    net, metrics, hop = (
        nla(1, bytes.fromhex("20010db8000500000000000000000000")),
        nla(8, nla(20, u32(1))),
        nla(30, u32(1)),
    )
    head = b"\x0a\x80\0\0\xfe\4\0\1" + bytes(4)
    for attrs in ((metrics, hop), (hop,), (metrics,)):
        agree_on_steps(Setsockopt(11, u32(1)), Send(ask(24, head, net, *attrs, flags=0x405)))


@pytest.mark.parametrize("strict", [0, 1])
def test_only_the_privileged_look_into_other_namespaces(cap_sys_admin: None, strict: int) -> None:
    """By its id, which moving a device there gives it."""
    there = [nla(19, u32(RESIDENT)), nla(46, u32(0)), nla(46, u32(7)), nla(10, u32(0)), nla(10, u32(7))]
    link, address = b"\0" + bytes(15), b"\x0a" + bytes(7)
    asks = [
        ask(18, link, there[1], nla(3, b"lo\0")), ask(18, link, there[2], nla(3, b"lo\0")),
        ask(18, link, there[1], flags=REQUEST | DUMP), ask(18, link, there[2], flags=REQUEST | DUMP),
        ask(22, address, there[3], nla(1, bytes(15) + b"\1")), ask(22, address, there[4], nla(1, bytes(16))),
        ask(22, address, there[3], flags=REQUEST | DUMP), ask(22, address, there[4], flags=REQUEST | DUMP),
    ]  # fmt: skip
    options = [Setsockopt(option, u32(on), by) for option, on in ((11, 1), (12, strict)) for by in (ASKER, OUTSIDER)]
    moved = Send(ask(19, bytes(4) + u32(2) + bytes(8), there[0]))
    agree_on_steps(*options, new_ifb(), moved, *(Send(each, by) for each in asks for by in (ASKER, OUTSIDER)))


@pytest.mark.parametrize(("family", "plen", "group"), [(10, 128, "ff02" + 13 * "00" + "99"), (2, 32, "e0010203")])
def test_a_group_stays_joined_for_an_address_when_the_device_is_gone(
    netns: NetNs, family: int, plen: int, group: str
) -> None:
    """So that it cannot be joined on the next device with that index, until the address is asked to be deleted."""
    addr, index = nla(2, bytes.fromhex(group)), u32(50)
    attrs = (nla(1, bytes.fromhex("020000000001")), nla(3, b"i0\0"), nest(18, nla(1, b"ifb")))
    made = Send(ask(16, bytes(4) + index + bytes(8), *attrs, flags=0x605))
    joined, plain = (
        Send(ask(20, bytes((family, plen, 0, 0)) + index, addr, nla(8, u32(flags)), flags=0x605))
        for flags in (0x400, 0)
    )
    left, gone = Send(ask(21, bytes((family, plen, 0, 0)) + index, addr)), Send(ask(17, bytes(4) + index + bytes(8)))
    agree_on_steps(Setsockopt(11, u32(1)), made, joined, gone, made, joined, left, joined, plain, left, joined, left)
