"""The model behind a Unix socket: NLUX/1, rule by rule, and what clients can do to the server."""

import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from errno import (
    EACCES,
    EADDRINUSE,
    EBUSY,
    ECONNRESET,
    EINVAL,
    ENOBUFS,
    ENOENT,
    ENOMEM,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPERM,
    EPROTONOSUPPORT,
)
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pytest

from addrsvc import Linux
from addrsvc.af_netlink.sock import NetlinkSock
from addrsvc.af_netlink.table import Datagram
from addrsvc.cli import main
from addrsvc.daemon.netlink_server import _OUTQ_EMPTY, _Connection, _Model, _unread
from addrsvc.errors import KernelError
from addrsvc.netlink.codec import decode
from addrsvc.netlink.messages import RouteMsg
from addrsvc.nlux import CAN_RESET, WANTS_REPLY, Control, NluxSocket, Op
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_F_NODAD,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_LIST_MEMBERSHIPS,
    NETLINK_PKTINFO,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    RTA_DST,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    SO_RCVBUF,
    SOL_NETLINK,
    SOL_SOCKET,
)
from tests.door.serving import Server

NLMSGHDR = Struct("=IHHII")
IPV6_ADDRESSES = 1 << RTNLGRP_IPV6_IFADDR - 1
LASTING = (0xFFFFFFFF, 0xFFFFFFFF)


def message(nlmsg_type: int, flags: int, body: bytes = b"", seq: int = 1) -> bytes:
    return NLMSGHDR.pack(16 + len(body), nlmsg_type, NLM_F_REQUEST | flags, seq, 0) + body


def new_address(number: int = 1, *, ack: bool = True, lifetime: int | None = None, seq: int = 1) -> bytes:
    body = struct.pack("=BBBBi", AF_INET6, 128, IFA_F_NODAD, 0, 1)
    body += struct.pack("=HH", 20, 1) + bytes.fromhex("20010db8") + number.to_bytes(12)
    if lifetime is not None:
        body += struct.pack("=HHIIII", 20, 6, lifetime, lifetime, 0, 0)
    return message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_ACK * ack, body, seq)


NOOP = message(NLMSG_NOOP, NLM_F_ACK)
DUMP = message(RTM_GETADDR, NLM_F_DUMP, struct.pack("=BBBBi", AF_INET6, 0, 0, 0, 0))


def types_of(datagram: Datagram) -> list[int]:
    types, offset = [], 0
    while offset < len(datagram.data):
        length, nlmsg_type, *_ = NLMSGHDR.unpack_from(datagram.data, offset)
        types.append(nlmsg_type)
        offset += length + 3 & ~3
    return types


def type_of(datagram: Datagram) -> int:
    (nlmsg_type,) = types_of(datagram)
    return nlmsg_type


def errno_of(datagram: Datagram) -> int:
    assert type_of(datagram) == NLMSG_ERROR
    return -int(struct.unpack_from("=i", datagram.data, 16)[0])


def refused(call: Callable[..., object], *args: object) -> int | None:
    with pytest.raises(KernelError) as refusal:
        call(*args)
    return refusal.value.errno


@pytest.fixture
def unstarted(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path / "model")) as server:
        yield server


@pytest.fixture
def server(unstarted: Server) -> Server:
    unstarted.start()
    return unstarted


@pytest.fixture
def client(server: Server) -> NluxSocket:
    return server.client()


# --- names ----------------------------------------------------------------------------------------------------------


def test_hello_tells_the_port_id_the_groups_and_what_a_virtual_clock_allows(server: Server) -> None:
    first, second = server.client(), server.client()

    assert first.portid == os.getpid()
    assert second.portid not in (0, first.portid)
    assert (first.ngroups, first.capabilities) == (39, CAN_RESET)


def test_a_port_id_may_be_asked_for_and_is_given_once(server: Server) -> None:
    assert server.client(4711).portid == 4711
    assert refused(server.client, 4711) == EADDRINUSE


def test_another_version_is_refused(server: Server) -> None:
    conn = server.raw()
    conn.send(bytes(Control(Op.HELLO, struct.pack("=II", 2, 0), WANTS_REPLY, 9)))

    assert Control.parse(conn.recv(4096)) == Control(Op.HELLO, struct.pack("=i", EPROTONOSUPPORT), 2, 9)


def test_bind_keeps_the_port_id_of_hello_or_takes_the_one_it_names(server: Server) -> None:
    keeps, changes = server.client(), server.client()

    assert keeps.bind(0, 1) == keeps.portid
    assert refused(changes.bind, keeps.portid, 0) == EADDRINUSE
    assert changes.bind(99, 0) == 99


def test_a_bound_socket_is_bound_for_good_as_the_kernels_are(server: Server) -> None:
    bound, used = server.client(), server.client()
    bound.bind(77, 0)
    used.send(NOOP)

    assert (refused(bound.bind, 0, 1), refused(used.bind, 0, 1)) == (EINVAL, EINVAL)
    assert (bound.bind(77, 1), used.bind(used.portid, 1)) == (77, used.portid)


def test_replies_bear_the_port_id_of_the_connection(server: Server) -> None:
    client = server.client(4711)
    client.send(NOOP)

    assert NLMSGHDR.unpack_from(client.recv().data) == (36, NLMSG_ERROR, 0x100, 1, 4711)


def test_the_port_id_of_one_who_has_gone_is_free_again(server: Server) -> None:
    server.client(4711).close()
    server.client().setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)  # by its answer the server has seen the other go

    assert server.client(4711).portid == 4711


# --- options --------------------------------------------------------------------------------------------------------


def test_options_are_set_and_told(client: NluxSocket) -> None:
    client.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    client.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 38)
    client.setsockopt(SOL_SOCKET, SO_RCVBUF, 5000)

    assert client.getsockopt(SOL_NETLINK, NETLINK_EXT_ACK) == struct.pack("=i", 1)
    assert client.getsockopt(SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS) == (1 << 37).to_bytes(8, sys.byteorder)
    assert client.getsockopt(SOL_SOCKET, SO_RCVBUF) == struct.pack("=i", 10000)


def test_options_are_refused_as_by_the_kernel(client: NluxSocket) -> None:
    assert refused(client.setsockopt, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 40) == EINVAL
    assert refused(client.setsockopt, SOL_NETLINK, 99, 1) == ENOPROTOOPT
    assert refused(client.getsockopt, SOL_NETLINK, 99) == ENOPROTOOPT


def test_with_pktinfo_each_datagram_comes_with_its_group(client: NluxSocket) -> None:
    client.bind(0, IPV6_ADDRESSES)
    client.setsockopt(SOL_NETLINK, NETLINK_PKTINFO, 1)
    client.send(new_address())

    heard = [client.recv() for _ in range(2)]
    assert sorted((datagram.group, type_of(datagram)) for datagram in heard) == [
        (0, NLMSG_ERROR),
        (RTNLGRP_IPV6_IFADDR, RTM_NEWADDR),
    ]


# --- order ----------------------------------------------------------------------------------------------------------


def test_what_control_datagrams_say_holds_before_a_request_that_came_later_is_served(unstarted: Server) -> None:
    asks, listens = unstarted.raw(), unstarted.raw()
    listens.send(bytes(Control(Op.BIND, struct.pack("=II", 0, IPV6_ADDRESSES))))
    asks.send(new_address())
    unstarted.start()

    assert NLMSGHDR.unpack_from(listens.recv(4096))[1] == RTM_NEWADDR


def test_a_control_datagram_behind_a_request_waits_for_it_and_others_wait_for_both(unstarted: Server) -> None:
    asks, listens = unstarted.raw(), unstarted.raw()
    listens.send(new_address(1, ack=False))
    option = struct.pack("=IIi", SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV6_IFADDR)
    listens.send(bytes(Control(Op.SETSOCKOPT, option)))
    asks.send(new_address(2))
    unstarted.start()

    assert (2).to_bytes(12) in listens.recv(4096)


def test_the_answer_to_a_noop_comes_behind_every_notification_of_what_went_before(server: Server) -> None:
    listens, asks = server.client(), server.client()
    listens.bind(0, IPV6_ADDRESSES | 1 << RTNLGRP_IPV6_ROUTE - 1)
    for number in range(20):
        asks.send(new_address(number, ack=False))
    asks.send(NOOP)
    asks.recv()
    listens.send(NOOP)

    heard = [type_of(listens.recv()) for _ in range(41)]
    assert sorted(heard[:-1]) == [RTM_NEWADDR] * 20 + [RTM_NEWROUTE] * 20
    assert heard[-1] == NLMSG_ERROR


def test_the_answer_to_a_control_datagram_comes_behind_what_was_said_before(server: Server) -> None:
    conn = server.raw()
    conn.send(NOOP)
    conn.send(bytes(Control(Op.GETSOCKOPT, struct.pack("=II", SOL_NETLINK, NETLINK_EXT_ACK), WANTS_REPLY, 5)))
    conn.send(NOOP)
    answers = [conn.recv(4096) for _ in range(3)]

    assert [Control.parse(answer) is not None for answer in answers] == [False, True, False]


def test_a_datagram_with_several_messages_is_served_up_to_the_first_bad_header(client: NluxSocket) -> None:
    client.send(new_address(1, seq=1) + new_address(2, seq=2) + struct.pack("=IHHII", 8, 16, 5, 3, 0) + NOOP)
    client.send(message(NLMSG_NOOP, NLM_F_ACK, seq=9))

    assert [NLMSGHDR.unpack_from(client.recv().data)[3] for _ in range(3)] == [1, 2, 9]


# --- slow readers ---------------------------------------------------------------------------------------------------


def lost_after(sock: NetlinkSock | NluxSocket, ask: Callable[[bytes], object]) -> int:
    """How many notifications a listener that does not read is kept, before it is told that some are lost."""
    sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 8192)
    sock.bind(0, IPV6_ADDRESSES)
    for number in range(1000):
        ask(new_address(number, ack=False))
    before, errno = read_on(sock)
    assert errno == ENOBUFS
    after, _ = read_on(sock)
    return before + after


def read_on(sock: NetlinkSock | NluxSocket) -> tuple[int, int | None]:
    """Read until nothing comes; how often something came, and the errno if there was one."""
    for number in range(1000):
        try:
            sock.recv()
        except OSError as error:
            return number, error.errno
    pytest.fail("there is no end to it")


def test_a_listener_that_does_not_read_loses_what_a_kernels_would_and_holds_up_nobody(server: Server) -> None:
    def ask(datagram: bytes) -> None:
        asks.send(datagram)
        asks.send(NOOP)
        asks.recv()

    asks, listens = server.client(), server.client()
    net = Linux(effects=False).init_net
    in_process = lost_after(net.socket(), net.socket().send)
    listens.settimeout(0.2)

    assert lost_after(listens, ask) == in_process > 10


def test_one_that_was_overrun_hears_on_when_it_has_read_what_was_kept(server: Server) -> None:
    asks, listens = server.client(), server.client()
    listens.settimeout(0.2)
    lost_after(listens, asks.send)
    asks.send(new_address(5000))
    asks.recv()

    assert type_of(listens.recv()) == RTM_NEWADDR


def test_a_dump_waits_for_its_reader(client: NluxSocket) -> None:
    for number in range(500):
        client.send(new_address(number, ack=False))
    client.send(DUMP)
    client.send(DUMP)
    datagrams = [client.recv()]
    while NLMSG_DONE not in types_of(datagrams[-1]):
        datagrams.append(client.recv())
    (error,) = (datagram for datagram in datagrams if types_of(datagram) == [NLMSG_ERROR])

    assert errno_of(error) == EBUSY
    assert len(datagrams) > 2


def test_replies_that_nobody_reads_do_not_pile_up_for_ever(server: Server) -> None:
    conn = server.raw()
    conn.setblocking(False)
    ask = bytes(Control(Op.GETSOCKOPT, struct.pack("=II", SOL_NETLINK, NETLINK_EXT_ACK), WANTS_REPLY, 5))
    asks = server.client()
    for _ in range(30):
        with suppress(BlockingIOError):
            for _ in range(1000):
                conn.send(ask)
        asks.send(NOOP)
        asks.recv()
    conn.settimeout(0.2)
    answers = []
    with suppress(TimeoutError):
        for _ in range(10_000):
            answers.append(Control.parse(conn.recv(4096)))

    assert 1000 < len(answers) < 1500
    assert [answer.op for answer in answers if answer and answer.op != Op.GETSOCKOPT] == [Op.OVERRUN]


# --- what one does with the model -----------------------------------------------------------------------------------


def addresses(client: NluxSocket) -> int:
    """How many there are."""
    types: list[int] = []
    client.send(DUMP)
    while NLMSG_DONE not in types:
        types += types_of(client.recv())
    return types.count(RTM_NEWADDR)


def test_reset_forgets_the_model_and_keeps_the_sockets(server: Server) -> None:
    client, other = server.client(), server.client()
    other.bind(0, IPV6_ADDRESSES)
    client.send(new_address(1))
    client.recv()
    client.reset()
    assert addresses(client) == 0

    client.send(new_address(2))
    assert errno_of(client.recv()) == 0
    assert [type_of(other.recv()) for _ in range(2)] == [RTM_NEWADDR, RTM_NEWADDR]
    assert other.bind(0, 0) == other.portid


def test_time_passes_when_it_is_let_and_what_is_less_than_a_jiffy_is_not_lost(client: NluxSocket) -> None:
    client.bind(0, IPV6_ADDRESSES)
    client.send(new_address(1, lifetime=2))
    assert sorted(type_of(client.recv()) for _ in range(2)) == [NLMSG_ERROR, RTM_NEWADDR]
    client.settimeout(0.05)
    for _ in range(1999):
        client.advance(0.0005)
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv()
    client.settimeout(10)
    client.advance(3)

    assert type_of(client.recv()) == RTM_DELADDR


def test_a_real_clock_runs_by_itself_and_cannot_be_turned(tmp_path: Path) -> None:
    with closing(Server(tmp_path / "model", is_real=True)) as server:
        server.start()
        client = server.client()
        client.bind(0, IPV6_ADDRESSES)
        assert (client.capabilities, refused(client.advance, 1)) == (0, EOPNOTSUPP)
        client.send(new_address(1, lifetime=1, ack=False))

        assert [type_of(client.recv()) for _ in range(2)] == [RTM_NEWADDR, RTM_DELADDR]


def test_files_below_proc_sys_are_read_and_written(client: NluxSocket) -> None:
    path = "net/ipv6/conf/lo/disable_ipv6"
    assert client.sysctl(path) == "0"
    assert client.sysctl(path, "1") == ""
    assert client.sysctl(path) == "1"


def test_files_are_refused_as_by_the_kernel(client: NluxSocket) -> None:
    assert refused(client.sysctl, "net/ipv6/conf/eth7/disable_ipv6") == ENOENT
    assert refused(client.sysctl, "net/ipv6/conf/lo/disable_ipv6", "no") == EINVAL


# --- what clients can do to the server ------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [b"", b"\0", bytes(3)], ids=len)
@pytest.mark.parametrize("op", [Op.HELLO, Op.BIND, Op.SETSOCKOPT, Op.GETSOCKOPT, Op.ADVANCE])
def test_a_control_datagram_that_is_too_short_is_refused(server: Server, op: Op, args: bytes) -> None:
    conn = server.raw()
    conn.send(bytes(Control(op, args, WANTS_REPLY, 7)))

    assert Control.parse(conn.recv(4096)) == Control(op, struct.pack("=i", EINVAL), 2, 7)


@pytest.mark.parametrize("op", [0, 5, 6, 7, 15, 19, 0xFFFF])
def test_an_operation_that_there_is_not_is_refused(server: Server, op: int) -> None:
    conn = server.raw()
    conn.send(bytes(Control(op, b"", WANTS_REPLY, 7)))

    assert Control.parse(conn.recv(4096)) == Control(op, struct.pack("=i", EOPNOTSUPP), 2, 7)


def test_a_path_that_is_none_is_refused(client: NluxSocket) -> None:
    conn_refused = [refused(client.sysctl, path) for path in ("", "/", "net", "\udcff", "net//ipv6", "../sys/net")]
    assert conn_refused == [ENOENT] * 6
    assert refused(client._ask, Op.SYSCTL, b"a\0b\0c\0") == EINVAL


def test_garbage_is_dropped_without_a_trace(server: Server) -> None:
    conn, chance = server.raw(), random.Random(3)
    for _ in range(2000):
        size = chance.choice((0, 1, 4, 8, 12, 15, 16, 20, 64, 300))
        start = chance.choice((b"", bytes(4), bytes(Control(chance.randrange(30)))[:8]))
        conn.send(start[:size] + chance.randbytes(max(0, size - len(start))))
    conn.send(bytes(Control(Op.RESET, b"", WANTS_REPLY, 0xFFFFFFFF)))
    while (answer := Control.parse(conn.recv(1 << 20))) is None or answer.tag != 0xFFFFFFFF or answer.op != Op.RESET:
        pass

    assert answer.args == bytes(4)


def test_the_largest_datagram_is_served(client: NluxSocket) -> None:
    client.send(message(9999, 0, bytes(150_000)))

    assert errno_of(answer := client.recv()) == EOPNOTSUPP
    assert len(answer.data) == 150_000 + 16 + 20


def test_a_client_that_sends_faster_than_it_is_served_has_to_wait() -> None:
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.settimeout(0)
    buffer, sent = bytearray(1 << 20), 0
    with far, closing(_Connection(near, _Model(0, is_real=False, faults=None), lambda _: None)) as connection:
        for _ in range(2000):
            with suppress(BlockingIOError):
                far.send(bytes(20_000))
                sent += 1
            connection.fetch(buffer, 1)
        held = len(connection.inbox)
        connection.take()
        connection.fetch(buffer, 2)

        assert 800 < held < sent < 900
        assert len(connection.inbox) == held


def test_what_a_client_sent_before_it_went_is_done(server: Server) -> None:
    for number in range(50):
        client = server.client()
        client.send(new_address(number))
        client.close()

    assert addresses(server.client()) == 50


def test_one_that_only_stops_sending_gets_its_answers(server: Server) -> None:
    conn = server.raw()
    for _ in range(5):
        conn.send(NOOP)
    conn.shutdown(socket.SHUT_WR)
    answers = [conn.recv(4096) for _ in range(5)]

    assert [len(answer) for answer in answers] == [36] * 5


def test_many_clients_come_and_go_and_leave_no_descriptor(server: Server) -> None:
    asks = server.client()
    asks.send(NOOP)
    asks.recv()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        clients = [server.client() for _ in range(50)]
        for client in clients:
            client.bind(client.portid, IPV6_ADDRESSES)
        asks.send(new_address(1))
        assert all(type_of(client.recv()) == RTM_NEWADDR for client in clients)
        asks.recv()
        for client in clients:
            client.close()
        asks.reset()

    assert len(os.listdir("/proc/self/fd")) == before
    assert len(server.linux.netlink.socks) == 1


class Nobody:
    """A process that has given up being root, and does something when it is told to; made before there are threads."""

    def __init__(self, what: Callable[[], str]) -> None:
        told, self._tell = os.pipe()
        self._said, says = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                os.read(told, 1)
                os.write(says, what().encode())
            finally:
                os._exit(0)
        os.close(told)
        os.close(says)

    def __call__(self) -> str:
        os.write(self._tell, b".")
        os.close(self._tell)
        with open(self._said) as said:
            text = said.read()
        os.waitpid(self._pid, 0)
        return text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_is_neither_root_nor_the_servers_user_may_only_look() -> None:
    def look_and_try() -> str:
        with NluxSocket(path) as client:
            client.send(new_address())
            tried = [errno_of(client.recv()), refused(client.reset), refused(client.advance, 1)]
            tried.append(refused(client.sysctl, "net/ipv6/conf/lo/disable_ipv6", "1"))
            return f"{tried} {client.sysctl('net/ipv6/conf/lo/disable_ipv6')} {addresses(client)}"

    with TemporaryDirectory() as directory:
        path = Path(directory) / "model"
        path.parent.chmod(0o755)
        nobody = Nobody(look_and_try)
        with closing(Server(path)) as server:
            server.start()
            assert nobody() == f"{[EPERM, EPERM, EPERM, EACCES]} 0 0"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_asks_for_a_route_is_who_has_connected() -> None:
    def ask() -> str:
        with NluxSocket(path) as client:
            header = struct.pack("=BB10x", AF_INET, 32)
            client.send(message(RTM_GETROUTE, 0, header + struct.pack("=HH4B", 8, RTA_DST, 127, 0, 0, 1)))
            answer = decode(client.recv().data)
            assert isinstance(answer, RouteMsg)
            return str(answer.uid)

    with TemporaryDirectory() as directory:
        path = Path(directory) / "model"
        path.parent.chmod(0o755)
        nobody = Nobody(ask)
        with closing(Server(path)) as server:
            server.linux.net("netlink").link_set("lo", up=True)
            server.start()
            assert (ask(), nobody()) == ("0", "65534")


# --- the command ----------------------------------------------------------------------------------------------------


COMMAND = [sys.executable, "-m", "addrsvc", "netlink"]


class Process:
    def __init__(self, *words: str, **keywords: object) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords
        )  # type: ignore[call-overload]
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()

    def end(self, number: int = signal.SIGTERM) -> tuple[str, str, int]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return out, err, self.process.returncode


Start: TypeAlias = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the command in the background; it does not outlive the test."""
    started: list[Process] = []

    def start(*words: str, **keywords: object) -> Process:
        started.append(Process(*words, **keywords))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


def refusal(*words: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_leaves_nothing_behind(
    tmp_path: Path, number: int, start: Callable[..., Process]
) -> None:
    path = tmp_path / "run" / "model"
    process = start("--listen", f"unix:{path}")
    assert process.first == f"netlink: unix:{path}\n"
    client = NluxSocket(path)
    client.send(NOOP)
    client.recv()

    assert process.end(number) == ("", "", 0)
    assert refused(client.recv) == ECONNRESET
    assert list(tmp_path.iterdir()) == []
    client.close()


HARD_OF_HEARING = """
import signal, sys, threading
from addrsvc.cli import main
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
sys.exit(main(["netlink", *sys.argv[1:]]))
"""
"""The command, where signals are noted by another thread, and so never interrupt what the main thread waits for."""


def test_a_signal_that_comes_just_before_it_begins_to_wait_ends_it_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    """The handler is noted by then, and does not run before the wait is over."""
    monkeypatch.setattr(f"{__name__}.COMMAND", [sys.executable, "-c", HARD_OF_HEARING])
    process = start("--listen", f"unix:{tmp_path / 'model'}")
    with NluxSocket(tmp_path / "model") as client:
        client.send(NOOP)
        client.recv()

    assert process.end() == ("", "", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_somebody_elses_affair_wakes_it_once(server: Server, client: NluxSocket) -> None:
    os.write(server.bell, b"\0")
    client.send(NOOP)
    client.recv()

    assert _unread(server.bell) <= _OUTQ_EMPTY


def test_the_clock_is_virtual_unless_the_real_one_is_asked_for(tmp_path: Path, start: Start) -> None:
    capabilities = []
    for number, words in enumerate(([], ["--clock", "virtual"], ["--clock", "real"])):
        process = start("--listen", f"unix:{tmp_path / str(number)}", *words)
        with NluxSocket(tmp_path / str(number)) as client:
            capabilities.append(client.capabilities)
        process.end()

    assert capabilities == [CAN_RESET, CAN_RESET, 0]


def test_a_place_that_is_taken_is_left_to_who_has_it(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "model"
    process = start("--listen", f"unix:{path}")
    assert refusal("--listen", f"unix:{path}") == (1, f"Error: somebody is listening already at {path}\n")
    NluxSocket(path).close()
    process.end()


def test_what_a_dead_one_left_is_taken_over(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "model"
    start("--listen", f"unix:{path}").end(signal.SIGKILL)
    assert path.exists()
    process = start("--listen", f"unix:{path}")
    NluxSocket(path).close()
    process.end()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "tcp:80"], "Error: --listen: 'tcp:80' is no place to listen; unix:PATH is\n"),
        (["--listen", "model"], "Error: --listen: 'model' is no place to listen; unix:PATH is\n"),
        (["--listen", "unix:"], "Error: --listen: 'unix:' is no place to listen; unix:PATH is\n"),
        (["--listen", "unix:/tmp"], "Error: /tmp is a directory: name the socket that is to be made (--listen PATH)\n"),
        (["--listen", f"unix:/tmp/{'x' * 120}"], f"Error: /tmp/{'x' * 120}: AF_UNIX path too long\n"),
    ],
    ids=["another scheme", "no scheme", "no path", "a directory", "too long"],
)
def test_a_place_where_one_cannot_listen_is_refused(words: list[str], said: str) -> None:
    assert refusal(*words) == (1, said)


def test_what_a_file_says_goes_wrong_and_again_after_a_reset(tmp_path: Path, start: Start) -> None:
    path, faults = tmp_path / "model", tmp_path / "faults.toml"
    faults.write_text('[[fail]]\nrequest = "RTM_NEWADDR"\nerrno = "ENOMEM"\nnth = 2\n')
    process = start("--listen", f"unix:{path}", "--faults", str(faults))
    with NluxSocket(path) as client:
        answers = []
        for _ in range(2):
            for number in (1, 2, 3):
                client.send(new_address(number))
                answers.append(errno_of(client.recv()))
            client.reset()

    assert answers == [0, ENOMEM, 0] * 2
    assert process.end() == ("", "", 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[fail]]\nerrno = "ENOMEN"\n', "{path}:2: fail: errno: there is no 'ENOMEN'; did you mean ENOMEM?"),
        (None, "--faults: {path}: No such file or directory"),
        ("\udcff", "--faults: {path}: it is no text"),
    ],
)
def test_a_file_of_faults_that_is_wrong_is_refused_before_anybody_is_served(
    tmp_path: Path, text: str | None, said: str
) -> None:
    faults = tmp_path / "faults.toml"
    if text is not None:
        faults.write_text(text, errors="surrogateescape")

    expected = f"Error: {said.format(path=faults)}\n"
    assert refusal("--listen", f"unix:{tmp_path / 'model'}", "--faults", str(faults)) == (1, expected)


def test_a_clock_that_there_is_not_is_refused() -> None:
    code, said = refusal("--listen", "unix:/tmp/model", "--clock", "sundial")

    assert code == 1
    assert "invalid choice: 'sundial' (choose from" in said


def test_another_system_than_linux_is_told_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert main(["netlink", "--listen", "unix:/tmp/model"]) == 1
    assert capsys.readouterr().err.startswith("Error: netlink: this needs Linux; ")


def test_where_descriptors_run_out_clients_wait_for_others_to_go(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "model"
    process = start("--listen", f"unix:{path}", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)))
    conns = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(32)]
    for conn in conns:
        conn.connect(str(path))
        conn.settimeout(10)
        conn.send(NOOP)
    for conn in conns:
        assert len(conn.recv(4096)) == 36
        conn.close()

    assert process.end() == ("", "", 0)


def test_a_socket_that_systemd_passed_is_served(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "passed"))
        listener.listen()
        script = f"exec env LISTEN_PID=$$ LISTEN_FDS=1 {' '.join(COMMAND)} --listen unix:{tmp_path}/ignored"
        process = subprocess.Popen(
            ["bash", "-c", f"exec 3<&{listener.fileno()}; {script}"],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        )
    with NluxSocket(tmp_path / "passed") as client:
        assert client.ngroups == 39
    process.terminate()
    out, _ = process.communicate(timeout=30)

    assert out == f"netlink: unix:{tmp_path}/passed\n"
    assert [path.name for path in tmp_path.iterdir()] == ["passed"]
