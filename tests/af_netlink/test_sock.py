"""Sockets without a descriptor beside the running kernel's: names, options, queues, dumps and acknowledgements.

Each script runs on both sides, each with a fresh namespace, and what it returns is compared; what a test states besides
is for the reader.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from struct import Struct
from typing import Any, Protocol, TypeAlias, TypeVar

import pytest

from addrsvc import Linux
from addrsvc.af_netlink.sock import NetlinkSock
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_LABEL,
    IFA_LOCAL,
    IFF_UP,
    IFLA_EXT_MASK,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_LINKINFO,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_BROADCAST_ERROR,
    NETLINK_CAP_ACK,
    NETLINK_DROP_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NETLINK_LIST_MEMBERSHIPS,
    NETLINK_LISTEN_ALL_NSID,
    NETLINK_NO_ENOBUFS,
    NETLINK_PKTINFO,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_ECHO,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNETCONF,
    RTM_GETQDISC,
    RTM_GETROUTE,
    RTM_NEWACTION,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_MROUTE_R,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_MROUTE_R,
    RTNLGRP_TC,
    SO_MEMINFO,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SOL_NETLINK,
    SOL_SOCKET,
)
from tests.af_netlink.twins import messages, nla
from tests.fidelity.machines import give_up_privilege
from tests.waiting import until

T = TypeVar("T")
Found: TypeAlias = Any
"""Whatever a script finds worth comparing."""
NLMSGHDR = Struct("=IHHII")
IPV6_ADDRESSES = 1 << RTNLGRP_IPV6_IFADDR - 1
IP_ADDRESSES = IPV6_ADDRESSES | 1 << RTNLGRP_IPV4_IFADDR - 1
FLAGS = (
    NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_LISTEN_ALL_NSID, NETLINK_CAP_ACK,
    NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK,
)  # fmt: skip


class Sock(Protocol):
    """What both sides' sockets do; a refusal is an OSError."""

    def bind(self, portid: int = 0, groups: int = 0) -> None: ...
    def connect(self, portid: int = 0, groups: int = 0) -> None: ...
    def getsockname(self) -> tuple[int, int]: ...
    def setsockopt(self, level: int, option: int, value: int) -> None: ...
    def getsockopt(self, level: int, option: int, length: int = 64) -> bytes: ...
    def send(self, data: bytes, portid: int | None = None, groups: int = 0) -> int: ...
    def read(self, size: int = 1 << 16, *, peek: bool = False) -> tuple[bytes, int, int]: ...


class KernelSock:
    def __init__(self, netns: NetNs) -> None:
        self._sock = run_in(netns, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0))

    def bind(self, portid: int = 0, groups: int = 0) -> None:
        self._sock.bind((portid, groups))

    def connect(self, portid: int = 0, groups: int = 0) -> None:
        self._sock.connect((portid, groups))

    def getsockname(self) -> tuple[int, int]:
        portid, groups = self._sock.getsockname()
        return portid, groups

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self._sock.setsockopt(level, option, struct.pack("=I", value & 0xFFFFFFFF))

    def getsockopt(self, level: int, option: int, length: int = 64) -> bytes:
        return self._sock.getsockopt(level, option, length)

    def send(self, data: bytes, portid: int | None = None, groups: int = 0) -> int:
        return self._sock.send(data) if portid is None else self._sock.sendto(data, (portid, groups))

    def read(self, size: int = 1 << 16, *, peek: bool = False) -> tuple[bytes, int, int]:
        data, _, _, (portid, groups) = self._sock.recvmsg(size, 64, socket.MSG_PEEK * peek)
        return data, portid, groups

    def close(self) -> None:
        self._sock.close()


class ModelSock(NetlinkSock):
    """A socket of the model, with a way to read as recvmsg(2) has it."""

    def read(self, size: int = 1 << 16, *, peek: bool = False) -> tuple[bytes, int, int]:
        datagram = self.recv(size, peek=peek)
        return datagram.data[:size], datagram.portid, datagram.nl_groups


class Side:
    """One kernel with one fresh namespace, lo down.

    Attributes:
        open: opens a socket there.
        settle: waits until the kernel has done what it had left for later, as far as the socket can see.
    """

    def __init__(self, open_one: Callable[[], Sock], settle: Callable[[Sock], None]) -> None:
        self.open, self.settle = open_one, settle


def settle(sock: Sock) -> None:
    """Wait until nothing comes for a while."""
    seen: list[dict[str, int]] = []

    def is_settled() -> bool:
        seen.append(meminfo(sock))
        return len(seen) > 5 and seen[-1] == seen[-6]

    until(is_settled)


Script = Callable[[Side], T]


class Both:
    """Runs a script on both sides, and holds the two results against each other."""

    def __init__(self, kernel: Side, model: Side) -> None:
        self._kernel, self._model = kernel, model

    def __call__(self, script: Script[T]) -> T:
        model, kernel = script(self._model), script(self._kernel)
        assert model == kernel, "the model's result is the left one"
        return kernel


def model_side() -> Side:
    linux = Linux()
    linux.advance(1)
    net: Namespace = linux.add_net("compared")
    return Side(lambda: ModelSock(linux.netlink, net.net, pid=os.getpid()), lambda _: None)


@pytest.fixture
def both(netns: NetNs) -> Iterator[Both]:
    opened: list[KernelSock] = []

    def open_one() -> Sock:
        opened.append(KernelSock(netns))
        return opened[-1]

    yield Both(Side(open_one, settle), model_side())
    for sock in opened:
        sock.close()


# --- vocabulary -----------------------------------------------------------------------------------------------------


def result(call: Callable[..., object], *args: object, **keywords: object) -> object:
    """What a call gives, or the name of the errno it is refused with."""
    try:
        return call(*args, **keywords)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def message(nlmsg_type: int, flags: int = 0, body: bytes = b"", seq: int = 1) -> bytes:
    return NLMSGHDR.pack(16 + len(body), nlmsg_type, NLM_F_REQUEST | flags, seq, 0) + body


def noop(size: int = 16) -> bytes:
    """What is acknowledged without being done."""
    return message(NLMSG_NOOP, NLM_F_ACK, bytes(size - 16))


def unknown(size: int = 16) -> bytes:
    """What is refused, and so comes back whole."""
    return message(9999, 0, bytes(size - 16))


def new_address(number: int, flags: int = 0, attr: int = IFA_ADDRESS) -> bytes:
    header = struct.pack("=BBBBi", AF_INET6, 128, 0, 0, 1)
    address = struct.pack("=HH", 20, attr) + bytes.fromhex("20010db8") + number.to_bytes(12)
    bits = struct.pack("=HHI", 8, 8, IFA_F_NODAD | IFA_F_NOPREFIXROUTE)
    return message(RTM_NEWADDR, NLM_F_CREATE | flags, header + address + bits, number)


DUMP = message(RTM_GETADDR, NLM_F_DUMP, struct.pack("=BBBBi", AF_INET6, 0, 0, 0, 0), 7)


def meminfo(sock: Sock) -> dict[str, int]:
    values = struct.unpack("=9I", sock.getsockopt(SOL_SOCKET, SO_MEMINFO, 36))
    return {"rmem": values[0], "drops": values[8]}


def drained(sock: Sock, size: int = 1 << 16) -> list[object]:
    """Read until there is nothing: the length of each datagram, and the errors between."""
    seen: list[object] = []
    while (got := result(sock.read, size)) != "EAGAIN":
        seen.append(len(got[0]) if isinstance(got, tuple) else got)
    return seen


def holding(side: Side, count: int) -> Sock:
    """A socket of a kernel that holds so many addresses."""
    sock = side.open()
    for number in range(count):
        sock.send(new_address(number))
    return sock


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_socket_has_no_name_before_it_is_bound_or_used(both: Both) -> None:
    assert both(lambda side: side.open().getsockname()) == (0, 0)


def test_the_first_that_asks_for_none_has_the_process_id_and_the_others_negative_ones(both: Both) -> None:
    def script(side: Side) -> tuple[int, bool]:
        first, second = side.open(), side.open()
        first.bind()
        second.bind()
        return first.getsockname()[0], second.getsockname()[0] > 0x80000000

    assert both(script) == (os.getpid(), True)


@pytest.mark.parametrize(
    "begin", [lambda sock: sock.send(noop()), lambda sock: sock.connect()], ids=["send", "connect"]
)
def test_what_needs_a_name_takes_one(both: Both, begin: Callable[[Sock], object]) -> None:
    def script(side: Side) -> tuple[int, int]:
        sock = side.open()
        begin(sock)
        return sock.getsockname()

    assert both(script) == (os.getpid(), 0)


def test_a_name_is_given_once_and_one_that_was_refused_shows_all_the_same(both: Both) -> None:
    def script(side: Side) -> Found:
        first, second = side.open(), side.open()
        first.bind(4711)
        refused = result(second.bind, 4711, IPV6_ADDRESSES)
        before = second.getsockname()
        second.send(noop())
        return refused, before, second.getsockname()

    assert both(script) == ("EADDRINUSE", (4711, 0), (os.getpid(), 0))


def test_a_bound_socket_changes_its_groups_and_not_its_name(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.bind(4711, 0x5)
        refusals = [result(sock.bind, portid, 0xFF) for portid in (0, 4712)]
        sock.bind(4711, 0x81)
        return refusals, sock.getsockname()

    assert both(script) == (["EINVAL", "EINVAL"], (4711, 0x81))


def test_bind_replaces_the_first_32_groups_and_leaves_the_others(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        for group in (1, 32, 33, 39):
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        sock.bind(0, 0x2)
        sock.bind(sock.getsockname()[0], 0)
        return sock.getsockname()[1], sock.getsockopt(SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS)

    assert both(script) == (0, (1 << 32 | 1 << 38).to_bytes(8, "little"))


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.needs_cap_sys_admin  # who has less than root gives it up
def test_what_only_an_administrator_may(netns: NetNs) -> None:
    def attempt(sock: Sock) -> list[object]:
        return [
            result(sock.setsockopt, SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20),
            result(sock.setsockopt, SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20),
            result(sock.setsockopt, SOL_SOCKET, SO_RCVBUF, 1 << 20),
            result(sock.setsockopt, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1),
            result(sock.setsockopt, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV4_MROUTE_R),
            result(sock.setsockopt, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV6_IFADDR),
            result(sock.bind, 0, 1 << RTNLGRP_IPV6_MROUTE_R - 1),
            result(sock.connect, 0, 1),
            result(sock.send, noop(), 1),
        ]

    kernel, linux = KernelSock(netns), Linux()
    with ThreadPoolExecutor(1, "unprivileged", give_up_privilege) as unprivileged:
        running = unprivileged.submit(attempt, kernel).result()
    kernel.close()
    model = attempt(ModelSock(linux.netlink, linux.init_net.net, admin=False))

    assert model == running
    assert running == ["EPERM", "EPERM", None, "EPERM", "EPERM", None, "EPERM", "EPERM", "EPERM"]


def test_there_are_39_groups(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        join = [
            result(sock.setsockopt, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group) for group in (0, 40, 64, 0x80000001)
        ]
        leave = [result(sock.setsockopt, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, group) for group in (0, 40, 1, 39)]
        for group in range(1, 40):
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        return join, leave, sock.getsockname()[1], sock.getsockopt(SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS)

    members = ((1 << 39) - 1).to_bytes(8, "little")
    assert both(script) == (["EINVAL"] * 4, ["EINVAL", "EINVAL", None, None], 0xFFFFFFFF, members)


def test_room_for_groups_is_made_when_one_is_asked_for_or_refused(both: Both) -> None:
    def script(side: Side) -> list[int]:
        untouched, refused, bound = side.open(), side.open(), side.open()
        result(refused.setsockopt, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 99)
        bound.bind(0, 1)
        return [len(sock.getsockopt(SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS)) for sock in (untouched, refused, bound)]

    assert both(script) == [0, 8, 8]


@pytest.mark.parametrize("option", FLAGS)
def test_a_flag_is_off_until_it_is_set_to_anything_but_0(both: Both, option: int) -> None:
    def script(side: Side) -> list[bytes]:
        sock, seen = side.open(), []
        for value in (None, 1, 0, -1, 0, 0x80000000):
            if value is not None:
                sock.setsockopt(SOL_NETLINK, option, value)
            seen.append(sock.getsockopt(SOL_NETLINK, option))
        return seen

    assert both(script) == [struct.pack("=i", on) for on in (0, 1, 0, 1, 0, 1)]


@pytest.mark.parametrize("option", [0, 1, 2, 6, 7, 9, 13, 99])
def test_what_is_no_flag_cannot_be_set_or_read_as_one(both: Both, option: int) -> None:
    def script(side: Side) -> list[object]:
        sock = side.open()
        return [result(sock.setsockopt, SOL_NETLINK, option, 7), result(sock.getsockopt, SOL_NETLINK, option)]

    both(script)


@pytest.mark.parametrize("option", [NETLINK_EXT_ACK, NETLINK_LIST_MEMBERSHIPS])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 8, 9])
def test_an_option_is_read_into_the_room_there_is(both: Both, option: int, length: int) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.bind(0, 0xA5)
        got = result(sock.getsockopt, SOL_NETLINK, option, length)
        return got[: length & ~3] if isinstance(got, bytes) else got

    both(script)


@pytest.mark.needs_cap_sys_admin  # SO_RCVBUFFORCE
@pytest.mark.parametrize("option", [SO_RCVBUF, SO_SNDBUF, SO_RCVBUFFORCE])
@pytest.mark.parametrize("value", [0, 1, 1152, 1153, 2304, 2305, 5000, 1 << 20, 1 << 22, (1 << 22) + 1, 0x7FFFFFFF, -1])
def test_buffers_are_as_large_as_asked_for_within_limits(both: Both, option: int, value: int) -> None:
    def script(side: Side) -> list[bytes]:
        sock = side.open()
        sock.setsockopt(SOL_SOCKET, option, value)
        return [sock.getsockopt(SOL_SOCKET, read, 4) for read in (SO_RCVBUF, SO_SNDBUF)]

    both(script)


# --- what is queued, and what overruns ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 232, 236, 240, 684, 688, 1708, 1712, 3756, 3760, 7852, 7856, 20_000])
def test_an_acknowledgement_counts_as_much_as_its_buffer(both: Both, size: int) -> None:
    def script(side: Side) -> dict[str, int]:
        sock = side.open()
        sock.send(unknown(size))
        return meminfo(sock)

    both(script)


@pytest.mark.parametrize("size", [16, 300, 1000, 5000])
@pytest.mark.parametrize("room", [0, 4000, 10_000, 50_000])
def test_a_reader_that_lags_loses_the_same_acknowledgements(both: Both, size: int, room: int) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, room)
        for _ in range(200):
            sock.send(unknown(size))
        full = meminfo(sock)
        seen = drained(sock)
        sock.send(unknown(size))
        return full, seen, drained(sock)

    full, seen, again = both(script)
    assert full["drops"] > 0
    assert seen[0] == "ENOBUFS"
    assert seen.count("ENOBUFS") == 1
    assert again == [size + 20]


def test_an_overrun_socket_hears_nothing_until_it_has_read_everything(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 4000)
        for _ in range(50):
            sock.send(noop())
        first = [result(sock.read) == "ENOBUFS", len(sock.read()[0])]
        sock.send(noop())
        rest = drained(sock)
        sock.send(noop())
        return first, rest, drained(sock)

    first, rest, after = both(script)
    assert (first, len(rest), after) == ([True, 36], 8, [36])


ROOT_DISCIPLINE = message(RTM_GETQDISC, NLM_F_ACK, struct.pack("=B3xiIII", 0, 1, 0, 0xFFFFFFFF, 0))
NO_ACTION = message(RTM_NEWACTION, NLM_F_ACK, bytes(4) + nla(1))


@pytest.mark.parametrize(
    ("request_", "wants", "last"),
    [
        (ROOT_DISCIPLINE, False, 0),
        (ROOT_DISCIPLINE, True, 0),
        pytest.param(NO_ACTION, False, 0, marks=pytest.mark.needs_cap_sys_admin),
        pytest.param(NO_ACTION, True, -errno.ENOBUFS, marks=pytest.mark.needs_cap_sys_admin),
    ],
)
def test_some_requests_fail_where_one_who_wants_that_misses_what_is_told(
    both: Both, request_: bytes, wants: bool, last: int
) -> None:
    """Both are told to whoever listens (NETLINK_BROADCAST_ERROR)."""

    def script(side: Side) -> list[int]:
        asks, ear = side.open(), side.open()
        ear.bind(4711)
        asks.send(message(RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, 1, IFF_UP, IFF_UP)))
        ear.setsockopt(SOL_SOCKET, SO_RCVBUF, 4000)
        ear.setsockopt(SOL_NETLINK, NETLINK_BROADCAST_ERROR, wants)
        ear.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_TC)
        answers = []
        for _ in range(20):
            asks.send(request_)
            answers.append(struct.unpack_from("=i", asks.read()[0], 16)[0])
        assert "ENOBUFS" in drained(ear)
        return answers

    answers = both(script)
    assert (answers[0], answers[-1]) == (0, last)


def test_one_that_wants_no_enobufs_is_not_told(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 4000)
        for _ in range(50):
            sock.send(noop())
        kept = len(sock.read()[0])
        sock.send(noop())
        return meminfo(sock), kept, drained(sock)

    _, kept, rest = both(script)
    assert (kept, rest) == (36, [36] * 9)


def test_asking_for_no_enobufs_ends_a_jam(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 4000)
        for _ in range(50):
            sock.send(noop())
        told = result(sock.read)
        sock.read()
        sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        sock.send(noop())
        return told, drained(sock)

    assert both(script) == ("ENOBUFS", [36] * 9)


def test_a_listener_that_lags_loses_the_same_notifications(both: Both) -> None:
    def script(side: Side) -> Found:
        listens, asks = side.open(), side.open()
        listens.bind(0, IPV6_ADDRESSES)
        listens.setsockopt(SOL_SOCKET, SO_RCVBUF, 8000)
        for number in range(50):
            asks.send(new_address(number))
        side.settle(listens)
        return meminfo(listens), drained(listens)

    memory, seen = both(script)
    assert (memory["drops"], seen) == (31, ["ENOBUFS", *[72] * 19])


@pytest.mark.parametrize("attr", [IFA_LOCAL, IFA_ADDRESS])
def test_a_datagram_of_many_requests_overruns_a_listener_and_who_asks(both: Both, attr: int) -> None:
    def script(side: Side) -> Found:
        listens, asks = side.open(), side.open()
        listens.bind(0, IPV6_ADDRESSES)
        listens.setsockopt(SOL_SOCKET, SO_RCVBUF, 8000)
        asks.setsockopt(SOL_SOCKET, SO_RCVBUF, 6000)
        asks.send(b"".join(new_address(number, NLM_F_ACK, attr) for number in range(50)))
        side.settle(listens)
        return meminfo(listens), drained(listens), meminfo(asks), drained(asks)

    listens, heard, asks, acknowledged = both(script)
    assert (listens["drops"], heard) == (31, ["ENOBUFS", *[72] * 19])
    assert (asks["drops"], acknowledged) == (36, ["ENOBUFS", *[36] * 14])


def test_who_has_no_name_hears_nothing(both: Both) -> None:
    def script(side: Side) -> Found:
        listens, hears, asks = side.open(), side.open(), side.open()
        listens.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV6_IFADDR)
        hears.bind(0, IPV6_ADDRESSES)
        asks.send(new_address(1))
        side.settle(hears)
        return drained(listens), drained(hears)

    assert both(script) == ([], [72])


def address4(number: int, label: str) -> bytes:
    header = struct.pack("=BBBBi", AF_INET, 32, 0, 0, 1)
    return message(
        RTM_NEWADDR, NLM_F_CREATE, header + nla(IFA_LOCAL, bytes((10, 0, 0, number))) + nla(IFA_LABEL, label)
    )


def link(*attrs: bytes, index: int = 1, flags: int = 0, change: int = 0, more: int = 0) -> bytes:
    return message(RTM_NEWLINK, more, struct.pack("=BxHiII", 0, 0, index, flags, change) + b"".join(attrs))


UP, DOWN = link(flags=IFF_UP, change=IFF_UP), link(change=IFF_UP)
IFB = link(nla(IFLA_IFNAME, "ifb7"), nla(IFLA_LINKINFO, nla(1, "ifb")), index=0, more=NLM_F_CREATE)
NOTIFIED = {
    "lo up, then down": [UP, DOWN],
    "IPv6 addresses": [UP, new_address(1), new_address(2)],
    "IPv4 addresses": [UP, address4(1, "lo"), address4(2, "lo:fifteenlong.")],
    **{f"an alias of {size}": [link(nla(IFLA_IFALIAS, "a" * size))] for size in (1, 60, 100, 110, 124, 125, 200, 250)},
    "a device that comes and goes": [
        IFB,
        message(RTM_DELLINK, 0, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + nla(3, "ifb7")),
    ],
}


@pytest.mark.parametrize("requests", NOTIFIED.values(), ids=NOTIFIED)
def test_a_notification_counts_as_much_as_its_buffer(both: Both, requests: list[bytes]) -> None:
    def script(side: Side) -> Found:
        listens, asks = side.open(), side.open()
        listens.bind(0, 0xFFFFFFFF)
        for group in range(33, 40):
            listens.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        for request in requests:
            asks.send(request)
        side.settle(listens)
        seen = []
        while rmem := meminfo(listens)["rmem"]:
            data, _, groups = listens.read()
            seen.append((groups, len(data), rmem - meminfo(listens)["rmem"]))
        return seen

    both(script)


def route_of(family: int, address: bytes) -> bytes:
    header = struct.pack("=BBBBBBBBI", family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0)
    return message(RTM_GETROUTE, 0, header + nla(1, address))


LOOPBACK = bytes(15) + b"\1"
ANSWERED = {
    "a device": message(RTM_GETLINK, 0, struct.pack("=BxHiII", 0, 0, 1, 0, 0)),
    "a device, in short": message(RTM_GETLINK, 0, struct.pack("=BxHiII", 0, 0, 1, 0, 0) + nla(IFLA_EXT_MASK, 8)),
    "an address": message(RTM_GETADDR, 0, struct.pack("=BBBBi", AF_INET6, 128, 0, 0, 1) + nla(1, LOOPBACK)),
    "an IPv6 route": route_of(AF_INET6, LOOPBACK),
    "an IPv4 route": route_of(AF_INET, bytes((127, 0, 0, 1))),
    "settings": message(RTM_GETNETCONF, 0, struct.pack("=Bxxx", AF_INET6) + nla(1, 1)),
}


@pytest.mark.parametrize("request_", ANSWERED.values(), ids=ANSWERED)
def test_an_answer_counts_as_much_as_its_buffer(both: Both, request_: bytes) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.send(UP)
        side.settle(sock)
        sock.send(request_)
        memory = meminfo(sock)
        return memory, [len(data) for data, *_ in (sock.read(),)]

    both(script)


def test_a_datagram_that_is_too_large_is_taken_where_there_is_no_other(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 0)
        sock.send(unknown(50_000))
        alone = meminfo(sock), drained(sock)
        sock.send(noop())
        sock.send(unknown(50_000))
        return alone, drained(sock)

    assert both(script)[1] == ["ENOBUFS", 36]


# --- dumps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 3775, 3777, 4096, 8192, 16_384, 32_448, 32_768, 1 << 20])
def test_a_dump_is_split_by_the_room_that_its_reader_has_shown(both: Both, size: int) -> None:
    def script(side: Side) -> Found:
        sock = holding(side, 700)
        sock.send(DUMP)
        lengths = [len(sock.read(1 << 20, peek=False)[0])] if size == 1 << 20 else []
        while (got := result(sock.read, size)) != "EAGAIN":
            assert isinstance(got, tuple)
            lengths.append(len(got[0]))
        return lengths

    both(script)


def test_the_first_datagram_is_small_and_the_end_is_in_the_last(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = holding(side, 700)
        sock.send(DUMP)
        found = []
        while (got := result(sock.read)) != "EAGAIN":
            assert isinstance(got, tuple)
            found.append([nlmsg_type for nlmsg_type, *_ in messages(got[0])])
        return [len(types) for types in found], [types.count(NLMSG_DONE) for types in found]

    sizes, ends = both(script)
    assert sizes == [52, 450, 199]
    assert ends == [0, 0, 1]


@pytest.mark.parametrize("count", [51, 52, 53, 104])
def test_the_end_that_finds_no_room_comes_alone(both: Both, count: int) -> None:
    def script(side: Side) -> Found:
        sock = holding(side, count)
        sock.send(DUMP)
        return drained(sock, 100)

    both(script)


def test_a_dump_goes_on_when_it_is_read_and_not_before_half_of_the_buffer_is_free(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = holding(side, 700)
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 5000)
        for _ in range(6):
            sock.send(noop())
        sock.send(DUMP)
        return [(result(lambda: len(sock.read(4096)[0])), meminfo(sock)) for _ in range(12)]

    both(script)


def test_peeking_at_a_dump_makes_it_go_on_too(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = holding(side, 700)
        sock.send(DUMP)
        return [(len(sock.read(4096, peek=True)[0]), meminfo(sock)) for _ in range(5)], drained(sock)

    both(script)


def test_one_dump_at_a_time(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = holding(side, 100)
        sock.send(DUMP)
        sock.send(DUMP)
        begun, refused = sock.read()[0], sock.read()[0]
        rest = drained(sock)
        sock.send(DUMP)
        return len(begun), len(refused), struct.unpack_from("=i", refused, 16)[0], rest, drained(sock)

    begun, refused, refusal, rest, again = both(script)
    assert (refused, refusal) == (16 + 4 + len(DUMP), -errno.EBUSY)
    assert begun + sum(rest) == 100 * 72 + 20
    assert again == [100 * 72 + 20]


def test_a_dump_that_finds_no_room_is_refused_and_under_way_all_the_same(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = holding(side, 100)
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 0)
        sock.send(noop())
        sock.send(DUMP)
        sock.send(DUMP)
        return drained(sock)

    both(script)


# --- acknowledgements -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), (NETLINK_CAP_ACK,), (NETLINK_EXT_ACK,), (NETLINK_CAP_ACK, NETLINK_EXT_ACK)])
@pytest.mark.parametrize(
    "data",
    [noop(), noop(30), unknown(), unknown(33), new_address(1, NLM_F_ACK), new_address(1, NLM_F_ACK)[:40]],
    ids=["noop", "long noop", "unknown", "long unknown", "address", "truncated"],
)
def test_acknowledgements_echo_what_the_options_say(both: Both, options: tuple[int, ...], data: bytes) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.bind(4711)
        for option in options:
            sock.setsockopt(SOL_NETLINK, option, 1)
        sock.send(data)
        sock.send(data.ljust(len(data) + 64, b"\0"))
        seen = []
        while (got := result(sock.read)) != "EAGAIN":
            seen.append(got)
        return seen

    both(script)


@pytest.mark.parametrize(
    "data",
    [
        noop() + noop() + noop(),
        noop(17) + bytes(3) + noop(),
        noop(17) + noop(),
        noop() + struct.pack("=I", 15) + noop()[4:] + noop(),
        noop() + struct.pack("=I", 17) + noop()[4:],
        noop() + noop()[:15],
        struct.pack("=IHHII", 16, NLMSG_NOOP, NLM_F_ACK, 5, 9) + noop(),
        struct.pack("=IHHII", 16, 9999, NLM_F_ACK, 5, 9) + unknown(),
        bytes(15),
        bytes(16),
        b"\xff" * 64,
    ],
    ids=range(11),
)
def test_a_datagram_is_served_message_by_message_up_to_the_first_bad_length(both: Both, data: bytes) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.bind(4711)
        sent = result(sock.send, data)
        seen = []
        while (got := result(sock.read)) != "EAGAIN":
            seen.append(got)
        return sent, seen

    both(script)


def test_sending_nothing_or_too_much_is_refused(both: Both) -> None:
    def script(side: Side) -> Found:
        sock = side.open()
        sock.setsockopt(SOL_SOCKET, SO_SNDBUF, 4000)
        sizes = (0, 7968, 7969)
        return [result(sock.send, bytes(size)) for size in sizes], sock.getsockname()[0]

    assert both(script) == (["ENODATA", 7968, "EMSGSIZE"], os.getpid())


@pytest.mark.parametrize("flags", [0, NLM_F_ECHO])
def test_an_echo_comes_once_to_the_asker_who_listens(both: Both, flags: int) -> None:
    """What is told of an IPv4 address says who asked for it; of an IPv6 address nobody did."""

    def script(side: Side) -> Found:
        asks, listens = side.open(), side.open()
        asks.bind(4711, IP_ADDRESSES)
        listens.bind(4712, IP_ADDRESSES)
        asks.send(new_address(1, flags | NLM_F_ACK))
        side.settle(listens)
        local = struct.pack("=BBBBiHH4B", AF_INET, 32, 0, 0, 1, 8, IFA_LOCAL, 10, 0, 0, 1)
        asks.send(message(RTM_NEWADDR, flags | NLM_F_ACK | NLM_F_CREATE, local))
        side.settle(listens)
        return drained(asks), drained(listens)

    asker, listener = both(script)
    assert len(asker) == 4
    assert len(listener) == 2


def test_an_echo_comes_to_the_asker_who_does_not_listen(both: Both) -> None:
    def script(side: Side) -> Found:
        asks = side.open()
        local = struct.pack("=BBBBiHH4B", AF_INET, 32, 0, 0, 1, 8, IFA_LOCAL, 10, 0, 0, 1)
        asks.send(message(RTM_NEWADDR, NLM_F_ECHO | NLM_F_ACK | NLM_F_CREATE, local))
        return [NLMSGHDR.unpack_from(asks.read()[0])[1] for _ in range(2)]

    assert both(script) == [RTM_NEWADDR, NLMSG_ERROR]


# --- other sockets --------------------------------------------------------------------------------------------------


def test_sockets_reach_each_other(both: Both) -> None:
    def script(side: Side) -> Found:
        one, other = side.open(), side.open()
        one.bind(4711)
        other.bind(4712, 0x10)
        refused = result(one.send, b"hello", 4713)
        one.send(b"hello", 4712)
        one.send(b"hello, all", 0, 0x30)
        return refused, [other.read() for _ in range(2)], result(other.read)

    greetings = [(b"hello", 4711, 0), (b"hello, all", 4711, 0x10)]
    assert both(script) == ("ECONNREFUSED", greetings, "EAGAIN")


def test_a_connected_socket_sends_to_and_hears_from_one(both: Both) -> None:
    def script(side: Side) -> Found:
        one, other, third = side.open(), side.open(), side.open()
        for sock, portid in ((one, 4711), (other, 4712), (third, 4713)):
            sock.bind(portid)
        one.connect(4712)
        one.send(b"hello")
        other.send(b"and you", 4711)
        return other.read(), one.read(), result(third.send, b"who?", 4711)

    assert both(script) == ((b"hello", 4711, 0), (b"and you", 4712, 0), "ECONNREFUSED")


@pytest.mark.parametrize("size", [1, 256, 257, 3776, 3777, 5000])
def test_a_full_socket_refuses_what_another_sends(both: Both, size: int) -> None:
    def script(side: Side) -> Found:
        one, other = side.open(), side.open()
        other.bind(4712)
        other.setsockopt(SOL_SOCKET, SO_RCVBUF, 6000)
        results = [result(one.send, bytes(size), 4712) for _ in range(20)]
        return results, meminfo(other)

    results, _ = both(script)
    assert results[-1] == "EAGAIN"


def test_the_model_has_sockets_where_there_is_no_other_kernel() -> None:
    side = model_side()
    sock = side.open()
    sock.send(noop())

    assert drained(sock) == [36]
    with pytest.raises(KernelError):
        sock.read()
