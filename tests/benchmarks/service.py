"""Service addresses of lo, by the thousand: what the keeper does with them, against C, iproute2 and pyroute2.

All of them work on the running kernel, each in a fresh namespace of its own, and ask for the same: addresses without
duplicate address detection and without a prefix route and, where they know of marks, with ours.  Adding is over when
the last address is in use, which the kernel leaves to a worker.
"""

import gc
import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING

from addrsvc.keeper.events import Event
from addrsvc.keeper.flush import fast_flush
from addrsvc.keeper.messages import LO_UP, Key, deladdr, newaddr, newroute
from addrsvc.keeper.rtnl import ADDS_AT_ONCE, DELETES_AT_ONCE, Requests, open_rtnl
from addrsvc.keeper.wanted import ServiceAddress, Wanted
from addrsvc.mirror.netns import NetNs, create_anonymous, run_in
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import RouteMsg
from addrsvc.uapi import (
    AF_INET6,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFAPROT_ADDRSVC,
    NLM_F_REQUEST,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTN_LOCAL,
)
from tests.keeper.keeping import keeping

if TYPE_CHECKING:
    from pyroute2 import IPRoute

C_AT_ONCE = 256
_PREFIX = bytes.fromhex("20010db8") + bytes(8)


def address(number: int) -> bytes:
    return _PREFIX + number.to_bytes(4)


def text(number: int) -> str:
    return f"2001:db8::{number >> 16:x}:{number & 0xFFFF:x}"


@contextmanager
def namespace() -> Iterator[tuple[NetNs, Requests]]:
    """A fresh one whose lo is up."""
    with create_anonymous() as netns, Requests.to(netns.fileno()) as requests:
        requests.ask([LO_UP])
        gc.collect()
        yield netns, requests


class InUse:
    """Asks for the way to an address until it leads here, as the client in C does."""

    def __init__(self, netns: NetNs, number: int) -> None:
        self._sock = open_rtnl(netns.fileno())
        route = RouteMsg(RTM_GETROUTE, NLM_F_REQUEST, rtm_family=AF_INET6, rtm_dst_len=128, dst=address(number))
        self._question = encode(route, 1)

    def wait(self) -> None:
        while True:
            self._sock.send(self._question)
            answer = self._sock.recv(1 << 16)
            if answer[4] == RTM_NEWROUTE and answer[23] == RTN_LOCAL:
                self._sock.close()
                return


def added(netns: NetNs, count: int, add: Callable[[], object]) -> int:
    """Nanoseconds that adding takes, until the last address is in use."""
    in_use = InUse(netns, count)
    began = perf_counter_ns()
    add()
    in_use.wait()
    return perf_counter_ns() - began


# --- ours -------------------------------------------------------------------------------------------------------------


def ours_added(count: int) -> int:
    """The messages are made from addresses as a configuration holds them, which is part of it."""
    addresses = [address(number) for number in range(1, count + 1)]
    with namespace() as (netns, requests):

        def add() -> None:
            must_be_granted(requests.ask([newaddr(one) for one in addresses]))

        return added(netns, count, add)


def kept_added(count: int) -> int:
    """The keeper itself: it finds a namespace, hears it, looks at it, and asks for what it lacks."""
    with create_anonymous() as netns, keeping(None, wanting(count)) as kept:
        gc.collect()
        return added(netns, count, lambda: kept.found(netns))


def kept_heard(count: int) -> int:
    """The same, until the keeper has heard from the kernel that the last address is in use."""
    with create_anonymous() as netns, keeping(None, wanting(count)) as kept:
        heard = 0

        def count_those_heard(event: Event) -> None:
            nonlocal heard
            heard += event.name == "RTM_NEWADDR"

        kept.ring.subscribe(count_those_heard)
        gc.collect()
        began = perf_counter_ns()
        kept.found(netns)
        while heard < count:
            kept.loop.turn(1.0)
        return perf_counter_ns() - began


def wanting(count: int) -> Wanted:
    services = [ServiceAddress(address(number), 128) for number in range(1, count + 1)]
    return Wanted(addresses={(each.address, each.prefixlen): each for each in services})


def must_be_granted(refusals: Sequence[object]) -> None:
    if refusals:
        raise AssertionError(f"refused: {refusals[0]}")


def ours_dumped(requests: Requests, count: int) -> int:
    gc.disable()  # a collection just before it would leave nothing in the caches
    began = perf_counter_ns()
    found = requests.addresses()
    taken = perf_counter_ns() - began
    gc.enable()
    assert len(found) >= count
    return taken


def ours_deleted(count: int, at_once: int = DELETES_AT_ONCE) -> tuple[int, int]:
    """Nanoseconds for all, and for the slowest datagram: for so long no signal is heeded."""
    with full(count) as (_, requests):
        messages = [deladdr(address(number)) for number in range(count, 0, -1)]
        longest, began = 0, perf_counter_ns()
        for start in range(0, count, at_once):
            before = perf_counter_ns()
            must_be_granted(requests.ask(messages[start : start + at_once], at_once))
            longest = max(longest, perf_counter_ns() - before)
        return perf_counter_ns() - began, longest


def ours_flushed(count: int) -> int:
    """The fast flush of everything."""
    keys: dict[Key, None] = {(address(number), 128): None for number in range(1, count + 1)}
    with full(count) as (netns, requests):
        began = perf_counter_ns()
        must_be_granted(fast_flush(requests, netns.fileno(), keys).refusals)
        return perf_counter_ns() - began


def ours_routed(count: int) -> int:
    """The same addresses as local routes."""
    addresses = [address(number) for number in range(1, count + 1)]
    with namespace() as (_, requests):
        began = perf_counter_ns()
        must_be_granted(requests.ask([newroute(one, 128) for one in addresses], ADDS_AT_ONCE))
        return perf_counter_ns() - began


@contextmanager
def full(count: int) -> Iterator[tuple[NetNs, Requests]]:
    """A namespace that has them all, and all of them in use."""
    with namespace() as (netns, requests):
        must_be_granted(requests.ask([newaddr(address(number)) for number in range(1, count + 1)]))
        InUse(netns, count).wait()
        yield netns, requests


# --- C ----------------------------------------------------------------------------------------------------------------


def why_no_race() -> str:
    """What keeps the running kernel and its peers out of the race; empty if nothing does."""
    if missing := [program for program in ("gcc", "ip") if shutil.which(program) is None]:
        return f"there is no {missing[0]}"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        return "no namespace can be made for it"
    return ""


class InC:
    """The client in C."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def _ask(self, command: str) -> list[int]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{command}\n")
        stdin.flush()
        return [int(word) for word in stdout.readline().split()]

    def fresh(self) -> None:
        self._ask("fresh")

    def add(self, count: int) -> int:
        return self._ask(f"add 1 {count} {C_AT_ONCE}")[1]

    def added(self, count: int) -> int:
        self.fresh()
        return self.add(count)

    def added_and_heard(self, count: int) -> int:
        """As the keeper does: with a socket that hears of it all."""
        self.fresh()
        self._ask("listen")
        return self.add(count)

    def dumped(self, count: int) -> int:
        taken, found = self._ask("dump")
        assert found >= count
        return taken

    def deleted(self, count: int, at_once: int = DELETES_AT_ONCE) -> tuple[int, int]:
        self.fresh()
        self.add(count)
        taken, longest = self._ask(f"delete 1 {count} {at_once}")
        return taken, longest


@contextmanager
def in_c() -> Iterator[InC]:
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "service")
        subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("service.c")], check=True)
        with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield InC(process)


# --- iproute2 ---------------------------------------------------------------------------------------------------------


def ip_batch_added(count: int) -> int:
    """One ``ip -batch`` that adds them all, start of the program included."""
    lines = (f"addr add {text(n)}/128 dev lo nodad noprefixroute\n" for n in range(1, count + 1))
    with tempfile.NamedTemporaryFile("w") as script, namespace() as (netns, _):
        script.writelines(lines)
        script.flush()
        command = ["ip", "-batch", script.name]
        return run_in(netns, lambda: added(netns, count, lambda: subprocess.run(command, check=True)))


def ip_dumped(netns: NetNs, count: int) -> int:
    """One ``ip -j addr``, start of the program and reading of what it says included."""
    began = perf_counter_ns()
    said = run_in(netns, lambda: subprocess.run(["ip", "-j", "addr"], check=True, stdout=subprocess.PIPE).stdout)
    (lo,) = json.loads(said)
    taken = perf_counter_ns() - began
    assert len(lo["addr_info"]) >= count
    return taken


# --- pyroute2 ---------------------------------------------------------------------------------------------------------


@contextmanager
def iproute(netns: NetNs) -> Iterator["IPRoute"]:
    from addrsvc.pyroute import iproute_in

    with iproute_in(netns) as ipr:
        yield ipr


def pyroute2_added(count: int) -> int:
    """A loop of ``addr("add")`` over an open IPRoute."""
    flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE
    with namespace() as (netns, _), iproute(netns) as ipr:

        def add() -> None:
            for number in range(1, count + 1):
                ipr.addr(
                    "add", index=1, address=text(number), prefixlen=128, flags=flags, proto=IFAPROT_ADDRSVC,
                    family=socket.AF_INET6,
                )  # fmt: skip

        return added(netns, count, add)


def pyroute2_dumped(ipr: "IPRoute", count: int) -> int:
    gc.disable()
    began = perf_counter_ns()
    found = list(ipr.get_addr())
    taken = perf_counter_ns() - began
    gc.enable()
    assert len(found) >= count
    return taken


PEERS_ADDING: dict[str, Callable[[int], int]] = {
    "ip -batch": ip_batch_added,
    "pyroute2 addr(add)": pyroute2_added,
}
