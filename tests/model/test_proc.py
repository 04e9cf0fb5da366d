"""Files below /proc/net, byte for byte as the running kernel has them."""

import random
import time
from collections.abc import Iterator
from difflib import unified_diff
from errno import ENOENT
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc.errors import ControlError, KernelError
from addrsvc.linux import Linux, Namespace
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.mirror.operations import Operations
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.model.ip6_fib import fib6_borrowed
from addrsvc.model.ip6_route import fib6_table_routes
from addrsvc.model.structs import Fib6Info, Fib6Table
from addrsvc.netlink.messages import LinkInfo, LinkMsg, Message, Sysctl
from addrsvc.pytest_plugin import wait_until
from addrsvc.uapi import IFA_F_MCAUTOJOIN, IFA_F_NODAD, NLM_F_CREATE, NLM_F_EXCL, RT_TABLE_LOCAL, RT_TABLE_MAIN
from tests.fidelity.asks import add, alias, delete, disable_ipv6, down, flags, mtu, operstate, rename, up
from tests.packets.modelled import ModelLo
from tests.packets.running import RunningLo

FILES = ("net/dev", "net/igmp6", "net/ipv6_route", "net/dev_snmp6/lo")
UNSORTED = ("net/if_inet6",)
"""In the kernel by a hash that is another in each namespace."""


def read(kernel: Operations, dev: str = "lo") -> list[str]:
    """All the files, as lines; those without an order are sorted."""
    texts = [kernel.proc(path.replace("lo", dev)).splitlines(keepends=True) for path in FILES]
    return [line for text in (*texts, *(sorted(kernel.proc(path).splitlines()) for path in UNSORTED)) for line in text]


def assert_same(net: Namespace, rtnl: RtnlKernel, dev: str = "lo") -> None:
    """The running kernel finishes in a work queue what the model finishes at once."""
    end = time.monotonic() + 1
    while (real := read(rtnl, dev)) != read(net, dev) and time.monotonic() < end:
        with rtnl.watch() as watch:
            list(watch)
    assert "".join(unified_diff(real, read(net, dev), "running kernel", "model", n=0)) == ""


FORWARDING = Sysctl("net.ipv6.conf.lo.forwarding", "1")
NOT_FORWARDING = Sysctl("net.ipv6.conf.lo.forwarding", "0")
SCRIPTS: dict[str, tuple[Message, ...]] = {
    "nothing": (),
    "up and down": (up(), down(), up()),
    "addresses": (up(), add("2001:db8::1/64"), add("fe80::1/64"), add("::5/128"), delete("2001:db8::1/64")),
    "an address while down": (add("2001:db8::1/64"), up(), down()),
    "a default route": (up(), add("2001:db8::1/0"), delete("2001:db8::1/0")),
    "prefixes within prefixes": (up(), *(add(f"2001:db8::{n}/{plen}") for n, plen in enumerate((32, 64, 48, 65, 127)))),
    "IPv6 disabled": (up(), add("2001:db8::1/64"), disable_ipv6(1), disable_ipv6(0)),
    "routers": (up(), add("2001:db8::1/64"), FORWARDING, add("2001:db8:1::1/64"), NOT_FORWARDING),
    "no IPv6 by MTU": (up(), mtu(1279), mtu(1280), alias("x"), mtu(1000), down(), up()),
    "dormant": (up(), operstate(5), down(), up(), operstate(6)),
    "flags": (up(), flags(0x1000), flags(0x100), flags(0x100, on=False)),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_every_file_reads_the_same_on_both_kernels(
    net: Namespace, rtnl: RtnlKernel, script: tuple[Message, ...]
) -> None:
    assert_same(net, rtnl)
    for ask in script:
        net.request(ask)
        rtnl.request(ask)
        assert_same(net, rtnl)


def test_a_group_of_ones_own_is_received_while_the_device_is_up(kernel: Operations) -> None:
    """Its reports travel over lo on the running kernel, where they are counted: so one file only."""
    seen = []
    for ask in (up(), add("ff02::1234/128", flags=IFA_F_MCAUTOJOIN), down(), up()):
        kernel.request(ask)
        seen.append([line.split()[2:5:2] for line in kernel.proc("net/igmp6").splitlines()])

    own, nodes, interface = (f"ff0{scope}{group:028x}" for scope, group in ((2, 0x1234), (2, 1), (1, 1)))
    assert seen == [
        [[nodes, "0000000C"], [interface, "00000008"]],
        [[own, "00000004"], [nodes, "0000000C"], [interface, "00000008"]],
        [[own, "00000000"], [nodes, "00000008"], [interface, "00000008"]],
        [[own, "00000004"], [nodes, "0000000C"], [interface, "00000008"]],
    ]


def test_files_bear_the_name_of_a_device_that_was_renamed(net: Namespace, rtnl: RtnlKernel) -> None:
    for kernel in (net, rtnl):
        kernel.request(up())
        kernel.request(rename("a.long-name"))

    assert_same(net, rtnl, "a.long-name")
    for kernel in (net, rtnl):
        assert kernel.proc("sys/net/ipv6/conf/a.long-name/mtu") == "65536\n"
        with pytest.raises(KernelError) as refused:
            kernel.proc("net/dev_snmp6/lo")
        assert refused.value.errno == ENOENT


@pytest.mark.parametrize("seed", range(4))
def test_who_refers_to_a_route_follows_from_the_tree_on_both_kernels(
    net: Namespace, rtnl: RtnlKernel, seed: int
) -> None:
    """Prefixes that share beginnings, coming and going: nodes without a route borrow one."""
    net.request(up())
    rtnl.request(up())
    with rtnl.watch(settle=0.002) as watch:
        for ask in comings_and_goings(random.Random(seed)):
            assert _answer(net, ask) == _answer(rtnl, ask)
            list(watch)

    assert_same(net, rtnl)


def comings_and_goings(chance: random.Random) -> Iterator[Message]:
    held: list[str] = []
    for _ in range(150):
        if held and chance.random() < 0.45:
            yield delete(held.pop(chance.randrange(len(held))))
            continue
        bits = chance.choice((0, 0x2001 << 112, 0xFD << 120)) | chance.randrange(64) << chance.choice((0, 58, 110))
        address = str(IPv6Address(bits))
        if bits > 1 and address not in [text.partition("/")[0] for text in held]:
            held.append(f"{address}/{chance.choice((128, 128, 127, 66, 64, 61, 16, 3, 0))}")
            yield add(held[-1], flags=IFA_F_NODAD)


def _answer(kernel: Operations, ask: Message) -> str:
    try:
        kernel.request(ask)
    except KernelError as error:
        return str(error)
    return ""


def test_devices_stand_by_index_in_one_file_and_by_age_in_another(machine: Linux) -> None:
    net = machine.init_net
    net.link_add("x0")
    blue = machine.add_net("blue")
    blue.link_add("y0")

    assert [line.split(":")[0].strip() for line in net.proc("net/dev").splitlines()[2:]] == ["lo", "x0"]
    assert [line.split()[1] for line in net.proc("net/igmp6").splitlines()] == ["lo", "lo", "x0", "x0"]
    assert [line.split()[:2] for line in blue.proc("net/igmp6").splitlines()[2:]] == [["2", "y0"]] * 2


@pytest.mark.parametrize("path", ["", "net", "net/", "net/dev/", "net/nothing", "net/dev_snmp6/nobody", "sys", "self"])
def test_what_is_not_there_cannot_be_read(net: Namespace, path: str) -> None:
    with pytest.raises(KernelError) as refused:
        net.proc(path)

    assert refused.value.errno == ENOENT


@pytest.mark.parametrize("path", ["", "net", "net/", "self/maps", "sys/kernel/ostype", "net/../version", "sys/net"])
def test_of_the_running_kernel_no_more_is_read_than_its_namespaces(rtnl: RtnlKernel, path: str) -> None:
    with pytest.raises(ControlError, match=r"is no path below net/ or sys/net/"):
        rtnl.proc(path)


def test_the_files_are_read_inside_the_namespace(rtnl: RtnlKernel) -> None:
    assert rtnl.proc("net/dev").count("\n") == 3
    assert rtnl.proc("net/dev") == run_in(rtnl.netns, Path("/proc/thread-self/net/dev").read_text)


def test_however_often_routes_come_and_go_little_is_remembered_of_it(net: Namespace) -> None:
    net.link_set("lo", up=True)
    table = net.net.ipv6.fib6_tables[RT_TABLE_LOCAL]
    for n in range(3000):
        net.addr_add(f"2001:db8::{n % 7}", "lo", nodad=True)
        net.addr_del(f"2001:db8::{n % 7}", "lo")

    assert len(table.changes) < 2000
    assert fib6_borrowed(table) == {}
    assert [rt.dst for rt in fib6_table_routes(table)] == [bytes(15) + b"\1"]


def test_of_a_table_without_routes_nothing_is_remembered(net: Namespace) -> None:
    net.link_set("lo", up=True)
    table = net.net.ipv6.fib6_tables[RT_TABLE_MAIN]
    net.addr_add("2001:db8::1/64", "lo", nodad=True)
    net.addr_add("2001:db8:1::1/64", "lo", nodad=True)
    assert len(table.routes) == 2

    net.link_set("lo", up=False)
    assert (table.routes, table.changes) == ({}, [])


def prefix(number: int) -> tuple[bytes, int]:
    """The nodes of a binary tree by number: 1 is ::/0, 2 ::/1, 3 8000::/1, 4 ::/2."""
    plen = number.bit_length() - 1
    return (number << 128 - plen & (1 << 128) - 1).to_bytes(16), plen


@given(st.permutations(range(1, 16)), st.permutations(range(1, 16)), st.integers(0, 15))
def test_nothing_but_a_root_is_left_of_a_tree_whose_routes_are_gone(come: list[int], go: list[int], count: int) -> None:
    """Grown and withered step by step."""
    table = Fib6Table(RT_TABLE_MAIN)
    routes = {number: Fib6Info(*prefix(number), table.id, None) for number in come[:count]}
    changes: list[list[Fib6Info | None]] = [[rt] for rt in routes.values()]
    changes += [[None, routes[number]] for number in go if number in routes]
    for change in changes:
        table.changes += change
        fib6_borrowed(table)

    assert (table.root.left, table.root.right, table.root.leaf, table.root.routes) == (None, None, None, [])


def test_what_a_device_counts_is_shown_on_both_kernels(net: Namespace, rtnl: RtnlKernel) -> None:
    """An ifb that comes up has its link-local address at once, and asks for routers."""
    made = LinkMsg(
        nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, ifname="i0", address=b"\2\0\0\0\0\1", linkinfo=LinkInfo(kind="ifb")
    )
    for kernel in (net, rtnl):
        kernel.request(made)
        kernel.link_set("i0", up=True)

    wait_until(rtnl, lambda: "Icmp6OutType133" in rtnl.proc("net/dev_snmp6/i0"), timeout=30)
    assert "Icmp6OutRouterSolicits          \t1\n" in net.proc("net/dev_snmp6/i0")
    assert_same(net, rtnl, "i0")


# --- packets --------------------------------------------------------------------------------------------------------

FRAME = bytes(12) + b"\x88\xb5" + bytes(46)


def softnet(net: Namespace) -> list[list[int]]:
    return [[int(column, 16) for column in line.split()] for line in net.proc("net/softnet_stat").splitlines()]


def test_every_cpu_has_a_line_of_what_it_received(net: Namespace) -> None:
    net.link_set("lo", up=True)
    for cpu, frames in ((0, 2), (1, 3)):
        with net.linux.on_cpu(cpu):
            for _ in range(frames):
                net.lo.send(FRAME)

    assert softnet(net) == [[2, *[0] * 11, 0, 0, 0], [3, *[0] * 11, 1, 0, 0]]
    assert len(softnet(Linux(cpus=5, cmdline="nr_cpus=3").init_net)) == 3


def test_what_waits_and_what_found_no_room_is_counted(net: Namespace) -> None:
    net.link_set("lo", up=True)
    softirqs = net.linux.machine.softnet
    softirqs.held, softirqs.netdev_max_backlog = True, 3
    for _ in range(7):
        net.lo.send(FRAME)

    assert softnet(net)[0] == [0, 3, *[0] * 9, 4, 0, 4, 0]
    assert net.proc("net/dev").splitlines()[2].split()[1:5] == ["184", "4", "0", "3"]


def test_softnet_stat_has_the_columns_of_the_running_kernel(net: Namespace) -> None:
    path = Path("/proc/net/softnet_stat")
    if not path.exists():
        pytest.skip(f"{path} is not there")
    widths = {tuple(map(len, line.split(" "))) for line in path.read_text().splitlines()}

    assert {tuple(map(len, line.split(" "))) for line in net.proc("net/softnet_stat").splitlines()} == widths


@pytest.mark.needs_cap_sys_admin  # its packet socket sets SO_RCVBUFFORCE
def test_packets_are_counted_alike_in_every_file_and_in_link_messages(netns: NetNs) -> None:
    model = ModelLo()
    running = RunningLo(netns)
    with RtnlKernel(netns) as rtnl:
        try:
            for lo in (running, model):
                lo.up()
                lo.send(FRAME, 0x88B5, None)
                lo.send(FRAME[:14], 0x88B5, None)
                lo.udp(b"x", "::1", 9)
                lo.ping(bytes(100), "::1")
                lo.seen()
            for path in ("net/dev", "net/dev_snmp6/lo"):
                assert model.net.proc(path) == rtnl.proc(path)
            told = [link for link in rtnl.dump() if isinstance(link, LinkMsg)]
        finally:
            running.close()
    (ours,) = (link for link in model.net.dump() if isinstance(link, LinkMsg))

    assert [(link.stats64, link.stats) for link in told] == [(ours.stats64, ours.stats)]
    assert sum(ours.stats64 or ()) > 0
