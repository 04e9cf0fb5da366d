"""pyroute2 on the model and on a namespace of the running kernel: one test body, two kernels."""

import asyncio
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from errno import EACCES, EEXIST, EIO, ENODEV, ENOTCONN, EPERM
from typing import Any, Final

import pytest
from pyroute2 import NDB, AsyncIPRoute, IPBatch, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from addrsvc import Linux
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.pyroute import ModelSocket, async_iproute, iproute, iproute_in, ndb, ndb_in
from addrsvc.uapi import RTM_GETNEIGH

Open = Callable[..., Any]
AF_INET: Final = int(socket.AF_INET)
AF_INET6: Final = int(socket.AF_INET6)
NODAD: Final = 0x02
ADDRESS: Final = {"index": 1, "address": "2001:db8::1", "prefixlen": 64, "flags": NODAD}


def _descriptor(netns: NetNs) -> int:
    """A netlink socket inside a namespace; pyroute2 takes it over."""
    return run_in(netns, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)).detach()


def _opener(request: pytest.FixtureRequest, on_the_model: Open, on_the_kernel: Open) -> Open:
    if request.param == "model":
        net = Linux().init_net
        return lambda **keywords: on_the_model(net, **keywords)
    netns = request.getfixturevalue("netns")
    return lambda **keywords: on_the_kernel(fileno=_descriptor(netns), **keywords)


@pytest.fixture(params=["model", "namespace"])
def open_iproute(request: pytest.FixtureRequest) -> Open:
    """Opens an IPRoute in a fresh namespace of either kernel, the same one each time."""
    return _opener(request, iproute, IPRoute)


@pytest.fixture(params=["model", "namespace"])
def open_async(request: pytest.FixtureRequest) -> Open:
    """The same for AsyncIPRoute."""
    return _opener(request, async_iproute, AsyncIPRoute)


@pytest.fixture
def ipr(open_iproute: Open) -> Iterator[IPRoute]:
    with open_iproute() as ipr:
        yield ipr


@pytest.fixture
def net() -> Namespace:
    return Linux().init_net


def addresses(ipr: IPRoute) -> list[tuple[str, int]]:
    return [(msg.get("address"), msg["prefixlen"]) for msg in ipr.addr("dump", family=AF_INET6)]


def refusal(call: Callable[..., object], *args: object, **keywords: object) -> tuple[int, str]:
    with pytest.raises(NetlinkError) as refused:
        call(*args, **keywords)
    return refused.value.args[0], refused.value.args[1]


# --- the same on both kernels ---------------------------------------------------------------------------------------


def test_an_address_is_added_shown_and_deleted(ipr: IPRoute) -> None:
    ipr.addr("add", **ADDRESS)
    assert addresses(ipr) == [("2001:db8::1", 64)]

    ipr.addr("del", index=1, address="2001:db8::1", prefixlen=64)
    assert addresses(ipr) == []


def test_lo_is_found_set_and_shown(ipr: IPRoute) -> None:
    (lo,) = ipr.link_lookup(ifname="lo")
    ipr.link("set", index=lo, state="up", mtu=1400, ifalias="hello")
    (shown,) = ipr.get_links(lo)

    assert [shown.get(name) for name in ("ifname", "state", "mtu", "ifalias")] == ["lo", "up", 1400, "hello"]
    assert shown.get(("af_spec", "af_inet6", "inet6_addr_gen_mode")) == 0
    assert addresses(ipr) == [("::1", 128)]


def test_a_device_is_made_renamed_and_deleted(ipr: IPRoute) -> None:
    ipr.link("add", ifname="ifb7", kind="ifb", address="02:00:00:00:00:07")
    (index,) = ipr.link_lookup(ifname="ifb7", kind="ifb")
    ipr.link("set", index=index, ifname="other")
    names = [link.get("ifname") for link in ipr.link("dump")]
    ipr.link("del", index=index)

    assert names == ["lo", "other"]
    assert [link.get("ifname") for link in ipr.link("dump")] == ["lo"]


def test_addresses_are_flushed(ipr: IPRoute) -> None:
    ipr.link("set", index=1, state="up")
    for number in range(1, 60):
        ipr.addr("add", index=1, address=f"2001:db8::{number:x}", prefixlen=64, flags=NODAD)
    assert len(addresses(ipr)) == 60

    ipr.flush_addr(index=1, family=AF_INET6)
    assert addresses(ipr) == []


def test_routes_and_rules_are_shown(ipr: IPRoute) -> None:
    ipr.link("set", index=1, state="up")
    ipr.addr("add", **ADDRESS)
    routes = [(route.get("dst"), route["dst_len"], route.get("table")) for route in ipr.route("dump", family=AF_INET6)]
    local = [route.get("dst") for route in ipr.route("dump", family=AF_INET, table=255)]

    assert ("2001:db8::", 64, 254) in routes
    assert ("::1", 128, 255) in routes
    assert local == ["127.0.0.0", "127.0.0.1", "127.255.255.255"]
    assert [rule.get("table") for rule in ipr.get_rules(family=AF_INET)] == [255, 254, 253]


def test_a_route_to_oneself_is_looked_up(ipr: IPRoute) -> None:
    ipr.link("set", index=1, state="up")
    (found,) = ipr.route("get", dst="127.0.0.1")

    assert [found.get(name) for name in ("dst", "oif", "prefsrc", "table")] == ["127.0.0.1", 1, "127.0.0.1", 254]


def test_requests_in_one_datagram_are_served_one_by_one(open_iproute: Open) -> None:
    with open_iproute() as sends, open_iproute() as looks, IPBatch() as batch:
        for number in (1, 2, 2, 3):
            batch.addr("add", index=1, address=f"2001:db8::{number}", prefixlen=64, flags=NODAD)
        sends.sendto(bytes(batch.asyncore.batch), (0, 0))

        assert len(addresses(looks)) == 3


def test_a_refusal_carries_the_kernels_errno_and_without_ext_ack_only_its_name(ipr: IPRoute) -> None:
    ipr.addr("add", **ADDRESS)

    assert refusal(ipr.addr, "add", **ADDRESS) == (EEXIST, "File exists")
    assert refusal(ipr.addr, "add", **{**ADDRESS, "index": 7}) == (ENODEV, "No such device")


def test_with_ext_ack_a_refusal_carries_the_kernels_words(open_iproute: Open) -> None:
    with open_iproute(ext_ack=True) as ipr:
        assert refusal(ipr.addr, "add", **{**ADDRESS, "index": 7}) == (ENODEV, "ipv6: Unable to find the interface")


def test_what_one_does_another_hears(open_iproute: Open) -> None:
    with open_iproute() as listener, open_iproute() as ipr:
        listener.bind()
        ipr.addr("add", **ADDRESS)
        heard: list[str] = []
        while "RTM_NEWADDR" not in heard:
            heard += [msg["event"] for msg in listener.get()]

    assert heard[-1] == "RTM_NEWADDR"


def test_asynchronously_it_is_the_same(open_async: Open) -> None:
    async def script() -> tuple[list[str], list[str]]:
        async with open_async() as listener, open_async() as ipr:
            await listener.bind()
            await ipr.addr("add", **ADDRESS)
            shown = [msg.get("address") async for msg in await ipr.addr("dump", family=AF_INET6)]
            heard: list[str] = []
            while "RTM_NEWADDR" not in heard:
                heard += [msg["event"] async for msg in listener.get()]
        return shown, heard[-1:]

    assert asyncio.run(script()) == (["2001:db8::1"], ["RTM_NEWADDR"])


def test_two_handles_have_port_ids_of_their_own(open_iproute: Open) -> None:
    with open_iproute() as one, open_iproute() as other:
        one.bind()
        other.bind()
        first, second = one.asyncore.socket.getsockname(), other.asyncore.socket.getsockname()

    assert first[0] != second[0]
    assert first[0] & 0x3FFFFF == second[0] & 0x3FFFFF == os.getpid() & 0x3FFFFF
    assert first[1] == second[1] == 0x040405DD


# --- NDB --------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["model", "namespace"])
def db(request: pytest.FixtureRequest) -> Iterator[NDB]:
    """An NDB on a fresh namespace of either kernel, lo up."""
    if request.param == "model":
        net = Linux().init_net
        net.link_set("lo", up=True)
        db = ndb(net)
    else:
        netns = request.getfixturevalue("netns")
        with iproute_in(netns) as ipr:
            ipr.link("set", index=1, state="up")
        db = ndb_in(netns)
    with db:
        yield db


def test_ndb_knows_what_was_there_before_it(db: NDB) -> None:
    assert [link.ifname for link in db.interfaces.dump()] == ["lo"]
    assert [address.address for address in db.addresses.dump()] == ["127.0.0.1", "::1"]
    assert [route.dst for route in db.routes.dump()] == ["127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"]
    assert [rule.table for rule in db.rules.dump()] == [255, 254, 253, 255, 254]


def test_ndb_changes_a_device_and_its_addresses(db: NDB) -> None:
    with db.interfaces["lo"] as lo:
        lo.set(mtu=1500).add_ip("2001:db8::1/64").add_ip("10.1.1.1/24")
    assert db.interfaces["lo"]["mtu"] == 1500
    assert {address.address for address in db.addresses.dump()} >= {"2001:db8::1", "10.1.1.1"}

    with db.interfaces["lo"] as lo:
        lo.del_ip("10.1.1.1/24")
    assert "10.1.1.1" not in {address.address for address in db.addresses.dump()}


def test_ndb_makes_and_removes_a_device(db: NDB) -> None:
    db.interfaces.create(ifname="ifb7", kind="ifb").set(state="up").commit()
    assert [link.ifname for link in db.interfaces.dump()] == ["lo", "ifb7"]

    db.interfaces["ifb7"].remove().commit()
    assert [link.ifname for link in db.interfaces.dump()] == ["lo"]


def test_ndb_takes_back_what_could_not_be_done_as_a_whole(db: NDB) -> None:
    with pytest.raises(NetlinkError, match="Cannot assign requested address"):
        db.interfaces["lo"].set(mtu=1500).add_ip("ff02::1/64").commit()

    assert db.interfaces["lo"]["mtu"] == 65536


def test_ndb_hears_what_others_do(net: Namespace) -> None:
    with ndb(net) as db:
        net.link_set("lo", mtu=1400)
        assert db.interfaces.wait(ifname="lo", mtu=1400, timeout=10)["mtu"] == 1400


def test_ndb_keeps_several_namespaces_apart() -> None:
    linux = Linux()
    blue = linux.add_net("blue")
    blue.link_set("lo", mtu=1400)
    with ndb(linux.init_net, blue) as db:
        seen = {
            link.target: db.interfaces[{"target": link.target, "ifname": "lo"}]["mtu"] for link in db.interfaces.dump()
        }

    assert seen == {"localhost": 65536, "blue": 1400}


def test_ndb_starts_its_source_again_after_an_error(net: Namespace) -> None:
    net.linux.faults.fail(RTM_GETNEIGH, errno=EIO)
    with ndb(net) as db:
        db.interfaces.wait(ifname="lo", timeout=10)
        db.rules.wait(table=253, timeout=10)
        net.link_set("lo", mtu=1400)
        assert db.interfaces.wait(ifname="lo", mtu=1400, timeout=10)["mtu"] == 1400


def test_an_ndb_that_is_closed_leaves_nothing(net: Namespace) -> None:
    with ndb(net):
        pass  # what is opened once and for all has been opened
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with ndb(net) as db:
            db.interfaces.summary()

    assert net.linux.netlink.socks == {}
    assert len(os.listdir("/proc/self/fd")) == before
    assert [thread for thread in threading.enumerate() if thread.name == "NDB main loop"] == []


# --- the model's side -----------------------------------------------------------------------------------------------


def test_each_thread_has_a_socket_of_its_own(net: Namespace) -> None:
    def in_a_thread() -> None:
        ipr.addr("add", **ADDRESS)
        seen.extend(addresses(ipr))

    seen: list[tuple[str, int]] = []
    with iproute(net) as ipr:
        thread = threading.Thread(target=in_a_thread)
        thread.start()
        thread.join()
        assert addresses(ipr) == seen == [("2001:db8::1", 64)]


def test_without_privilege_only_looking_is_allowed(net: Namespace) -> None:
    with iproute(net, admin=False) as ipr:
        assert refusal(ipr.addr, "add", **ADDRESS) == (EPERM, "Operation not permitted")
        assert addresses(ipr) == []


def test_who_asks_for_a_route_is_whom_one_says(net: Namespace) -> None:
    """To rules by uid, that is: here one that keeps a user from 127.0.0.1."""
    net.link_set("lo", up=True)
    with iproute(net) as ipr, iproute(net, uid=1000) as user:
        ipr.rule("del", table=255, priority=0)
        ipr.rule("add", table=255, priority=9)
        ipr.rule("add", action="prohibit", priority=5, uid_range="1000:1000")

        assert len(ipr.route("get", dst="127.0.0.1")) == 1
        assert refusal(user.route, "get", dst="127.0.0.1") == (EACCES, "Permission denied")


def test_closing_leaves_no_descriptor_and_no_port_id(net: Namespace) -> None:
    with iproute(net):
        pass  # what is opened once and for all has been opened
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(5):
        with iproute(net) as ipr:
            ipr.bind()
            ipr.addr("dump")

    assert net.linux.netlink.socks == {}
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_what_the_program_does_itself_wakes_a_listener(net: Namespace) -> None:
    with closing(ModelSocket(net)) as sock:
        sock.bind((0, 1 << 8))
        assert select.select([sock], [], [], 0) == ([], [], [])
        net.addr_add("2001:db8::1/64", "lo", nodad=True)
        assert select.select([sock], [], [], 0) == ([sock], [], [])
        sock.recv(4096)
        assert select.select([sock], [], [], 0) == ([], [], [])


def test_a_reader_that_may_not_wait_is_told_that_there_is_nothing(net: Namespace) -> None:
    with closing(ModelSocket(net)) as sock:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert sock.gettimeout() == 0.01


def test_options_are_those_that_pyroute2_would_set(net: Namespace) -> None:
    with iproute(net) as plain, iproute(net, ext_ack=True, strict_check=True, all_ns=True, rcvbuf=4096) as fancy:
        bare, told = plain.asyncore.socket, fancy.asyncore.socket

        assert [bare.getsockopt(270, option) for option in (11, 12, 8)] == [0, 0, 0]
        assert [told.getsockopt(270, option) for option in (11, 12, 8)] == [1, 1, 1]
        assert (bare.getsockopt(1, 8), told.getsockopt(1, 8), bare.getsockopt(1, 8, 4)) == (
            2097152, 8192, (2097152).to_bytes(4, sys.byteorder)
        )  # fmt: skip


def test_a_wrong_setting_is_a_mistake_of_the_caller(net: Namespace) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'netns'"):
        ModelSocket(net, netns=1)


def test_it_has_no_peer(net: Namespace) -> None:
    with closing(ModelSocket(net)) as sock, pytest.raises(OSError, match="not connected") as refused:
        sock.getpeername()
    assert refused.value.errno == ENOTCONN


def test_where_there_is_no_netlink_it_works_all_the_same() -> None:
    script = """
import ctypes.util, sys, socket  # of which not every Linux has the half that is for darwin
sys.platform = "darwin"
for name in [name for name in dir(socket) if name.startswith(("AF_NETLINK", "NETLINK", "AF_BRIDGE"))]:
    delattr(socket, name)
from addrsvc import Linux
from addrsvc.pyroute import iproute
with iproute(Linux().init_net) as ipr:
    ipr.addr("add", index=1, address="2001:db8::1", prefixlen=64)
    print(*(msg.get("address") for msg in ipr.addr("dump", family=socket.AF_INET6)))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("2001:db8::1\n", "")
