"""Addresses over rtnetlink, in bytes: the model, the running kernel by a small client in C, and pyroute2's own mock.

All are sent the same requests.  What is timed of the model is everything that a request makes it do, notifications and
the work that it leaves for later among it; of the running kernel, how long until the last request was acknowledged, and
how long until the last address was in use.
"""

import gc
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from sys import byteorder
from time import perf_counter_ns
from typing import TYPE_CHECKING

from addrsvc.uapi import (
    AF_INET6,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_FLAGS,
    IFA_LOCAL,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    RTM_GETADDR,
    RTM_NEWADDR,
    RTNLGRP_IPV6_IFADDR,
)

if TYPE_CHECKING:
    from pyroute2.iproute.ipmock import IPEngine

    from addrsvc.af_netlink.sock import NetlinkSock

SO_RCVBUFFORCE, SOL_SOCKET = 33, 1
LISTENER_BUFFER = 64 << 20

_NEWADDR = Struct("=IHHII BBBBi HH16s HHI")
_GETADDR = Struct("=IHHII BBBBi")
_NLMSGERR = Struct("=16xi")


@dataclass(frozen=True)
class Wish:
    """What the requests are like.

    Attributes:
        name: what they are called.
        flags: of the addresses.
        listens: whether somebody listens, who does not read meanwhile.
        batch: messages in a datagram.
        each: whether each message is to be acknowledged, and not just the last of a datagram.
    """

    name: str
    flags: int
    listens: bool = False
    batch: int = 128
    each: bool = False


_SILENT = IFA_F_NODAD | IFA_F_NOPREFIXROUTE
WISHES = (
    Wish("NODAD|NOPREFIXROUTE", _SILENT),
    Wish("  and a listener", _SILENT, listens=True),
    Wish("  and each acknowledged", _SILENT, each=True),
    Wish("  and one at a time", _SILENT, each=True, batch=1),
    Wish("no flags", 0),
    Wish("  and a listener", 0, listens=True),
)
ONE_AT_A_TIME = WISHES[3]


def newaddr(number: int, flags: int, nlm: int, attr: int = IFA_LOCAL) -> bytes:
    address = bytes.fromhex("20010db8") + number.to_bytes(12, "big")
    nlm |= NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
    header = (_NEWADDR.size, RTM_NEWADDR, nlm, number, 0, AF_INET6, 128, 0, 0, 1)
    return _NEWADDR.pack(*header, 20, attr, address, 8, IFA_FLAGS, flags)


def batches(addresses: int, wish: Wish, attr: int = IFA_LOCAL) -> list[bytes]:
    """Requests for so many addresses on lo, in datagrams."""
    starts = range(1, addresses + 1, wish.batch)
    ends = [min(start + wish.batch, addresses + 1) for start in starts]
    return [
        b"".join(
            newaddr(number, wish.flags, NLM_F_ACK * (wish.each or number == end - 1), attr)
            for number in range(start, end)
        )
        for start, end in zip(starts, ends, strict=True)
    ]


GETADDR = _GETADDR.pack(_GETADDR.size, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0, AF_INET6, 0, 0, 0, 0)


# --- the model --------------------------------------------------------------------------------------------------------


def model(listens: bool = False) -> "NetlinkSock":
    """A socket of a fresh machine whose lo is up; with a listener, one that hears of addresses and does not read."""
    from addrsvc import Linux

    net = Linux(effects=False).init_net
    net.link_set("lo", up=True)
    sock = net.socket()
    sock.bind()
    if listens:
        listener = net.socket()
        listener.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, LISTENER_BUFFER)
        listener.bind(0, 1 << RTNLGRP_IPV6_IFADDR - 1)
    return sock


def served(sock: "NetlinkSock", datagrams: list[bytes]) -> int:
    """Nanoseconds that the model takes for these requests, each of which must be granted."""
    gc.collect()
    began = perf_counter_ns()
    for datagram in datagrams:
        sock.send(datagram)
        while sock.queue:
            must_be_granted(sock.recv().data)
    return perf_counter_ns() - began


def must_be_granted(answer: bytes) -> None:
    if _NLMSGERR.unpack_from(answer)[0]:
        raise AssertionError(f"a request was refused: {answer.hex()}")


def dumped(sock: "NetlinkSock") -> int:
    """Nanoseconds that the model takes to dump its addresses."""
    began = perf_counter_ns()
    sock.send(GETADDR)
    for _ in sock:
        pass
    return perf_counter_ns() - began


# --- the running kernel -----------------------------------------------------------------------------------------------


def why_no_replay() -> str:
    """What keeps the running kernel out of the race; empty if nothing does."""
    if shutil.which("gcc") is None:
        return "there is no gcc to build its client with"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        return "no namespace can be made for it"
    return ""


@dataclass(frozen=True)
class Replayed:
    """Nanoseconds until the running kernel had acknowledged everything, and until everything was in use."""

    acknowledged: int
    in_use: int


@contextmanager
def replay() -> Iterator[Callable[[list[bytes], bool], Replayed]]:
    """A function that tells how long the running kernel takes for datagrams in a fresh namespace."""
    with tempfile.TemporaryDirectory() as directory:
        program, script = Path(directory, "replay"), Path(directory, "script")
        subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("replay.c")], check=True)

        def run(datagrams: list[bytes], listens: bool) -> Replayed:
            script.write_bytes(b"".join(len(data).to_bytes(4, byteorder) + data for data in datagrams))
            listener = [str(int(RTNLGRP_IPV6_IFADDR))] if listens else []
            told = subprocess.run([program, script, *listener], check=True, stdout=subprocess.PIPE).stdout
            return Replayed(*map(int, told.split()))

        yield run


# --- pyroute2's mock --------------------------------------------------------------------------------------------------


@contextmanager
def mock() -> "Iterator[IPEngine]":
    """pyroute2's in-memory IPEngine, with nobody who listens."""
    from pyroute2.iproute.ipmock import IPEngine

    engine = IPEngine()
    with engine.loopback_r, engine.loopback_w:
        yield engine


def mocked(engine: "IPEngine", addresses: int) -> int:
    """Nanoseconds that the mock takes for requests that come one at a time.  It wants the address as IFA_ADDRESS."""
    datagrams = batches(addresses, ONE_AT_A_TIME, IFA_ADDRESS)
    gc.collect()
    began = perf_counter_ns()
    for datagram in datagrams:
        engine.send(datagram)
        must_be_granted(engine.recv(1 << 16))
    return perf_counter_ns() - began


def mock_dumped(engine: "IPEngine") -> int:
    """Nanoseconds that it takes to put its addresses into messages, without sending them."""
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

    began = perf_counter_ns()
    for _ in engine.nl_dump(engine.database["addr"], ifaddrmsg, 1):
        pass
    return perf_counter_ns() - began
