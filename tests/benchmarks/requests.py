"""Addresses over rtnetlink, in bytes: the model, the running kernel by a small client in C, and pyroute2's own mock.

All are sent the same datagrams.  What is timed is the serving alone: everything that a request makes the model do, work
that it leaves for later and notifications among it.  The running kernel does such work on another processor meanwhile.
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
    NLMSG_ERROR,
    RTM_GETADDR,
    RTM_NEWADDR,
    RTNLGRP_IPV6_IFADDR,
)

if TYPE_CHECKING:
    from pyroute2.iproute.ipmock import IPEngine

    from addrsvc.af_netlink.sock import NetlinkSock

BATCH = 256
"""Messages in a datagram: about what clients send that are in a hurry."""
SO_RCVBUFFORCE, SOL_SOCKET = 33, 1
LISTENER_BUFFER = 64 << 20

_NEWADDR = Struct("=IHHII BBBBi HH16s HHI")
_GETADDR = Struct("=IHHII BBBBi")


@dataclass(frozen=True)
class Wish:
    """What the requests ask for: flags of the addresses, and whether somebody listens."""

    name: str
    flags: int
    listens: bool = False


WISHES = (
    Wish("NODAD|NOPREFIXROUTE", IFA_F_NODAD | IFA_F_NOPREFIXROUTE),
    Wish("NODAD|NOPREFIXROUTE, a listener", IFA_F_NODAD | IFA_F_NOPREFIXROUTE, listens=True),
    Wish("no flags", 0),
    Wish("no flags, a listener", 0, listens=True),
)


def newaddr(number: int, flags: int, nlm: int, attr: int = IFA_LOCAL) -> bytes:
    address = bytes.fromhex("20010db8") + number.to_bytes(12)
    nlm |= NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
    header = (_NEWADDR.size, RTM_NEWADDR, nlm, number, 0, AF_INET6, 128, 0, 0, 1)
    return _NEWADDR.pack(*header, 20, attr, address, 8, IFA_FLAGS, flags)


def batches(addresses: int, flags: int, size: int = BATCH) -> list[bytes]:
    """Requests for so many addresses on lo, in datagrams; the last of each is to be acknowledged."""
    starts = range(1, addresses + 1, size)
    ends = [min(start + size, addresses + 1) for start in starts]
    return [
        b"".join(newaddr(number, flags, NLM_F_ACK * (number == end - 1)) for number in range(start, end))
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
        answer = sock.recv().data
        if answer[4] != NLMSG_ERROR or any(answer[16:20]):
            raise AssertionError(f"a request was refused: {answer.hex()}")
    return perf_counter_ns() - began


def dumped(sock: "NetlinkSock") -> int:
    """Nanoseconds that the model takes to dump its addresses."""
    gc.collect()
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


@contextmanager
def replay() -> Iterator[Callable[[list[bytes], bool], tuple[int, int]]]:
    """A function that tells how long the running kernel takes for the datagrams in a fresh namespace.

    Nanoseconds until it has acknowledged them all, and until the last address is in use.
    """
    with tempfile.TemporaryDirectory() as directory:
        program, script = Path(directory, "replay"), Path(directory, "script")
        subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("replay.c")], check=True)

        def run(datagrams: list[bytes], listens: bool) -> tuple[int, int]:
            script.write_bytes(b"".join(len(data).to_bytes(4, "little") + data for data in datagrams))
            listener = [str(int(RTNLGRP_IPV6_IFADDR))] if listens else []
            out = subprocess.run([program, script, *listener], check=True, stdout=subprocess.PIPE).stdout
            acknowledged, settled = map(int, out.split())
            return acknowledged, settled

        yield run


# --- pyroute2's mock --------------------------------------------------------------------------------------------------


def mocked(addresses: int) -> int:
    """Nanoseconds that pyroute2's in-memory IPEngine takes for so many requests, sent one by one and answered so.

    They name the address by IFA_ADDRESS, the only attribute that it looks at.
    """
    engine = _engine()
    datagrams = [newaddr(n, WISHES[0].flags, NLM_F_ACK, IFA_ADDRESS) for n in range(1, addresses + 1)]
    began = perf_counter_ns()
    for datagram in datagrams:
        engine.send(datagram)
        engine.recv(1 << 16)
    return perf_counter_ns() - began


def _engine() -> "IPEngine":
    from pyroute2.iproute.ipmock import IPEngine

    return IPEngine()


def mock_dumped(addresses: int) -> int:
    """Nanoseconds that IPEngine takes to make a dump of so many addresses, without sending it."""
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

    engine = _engine()
    for number in range(1, addresses + 1):
        engine.send(newaddr(number, WISHES[0].flags, NLM_F_ACK, IFA_ADDRESS))
        engine.recv(1 << 16)
    began = perf_counter_ns()
    for _ in engine.nl_dump(engine.database["addr"], ifaddrmsg, 1):
        pass
    return perf_counter_ns() - began
