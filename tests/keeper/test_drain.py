"""addrsvc.keeper.drain and addrsvc.keeper.sockdiag in namespaces of the running kernel."""

import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from errno import EPERM

import pytest

from addrsvc.errors import KernelError
from addrsvc.keeper import drain, sockdiag
from addrsvc.keeper.drain import Drain, Withdrawal
from addrsvc.keeper.inside import inside
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.messages import LO_UP, Key, deladdr, newaddr
from addrsvc.keeper.rtnl import Refusal, Requests
from addrsvc.keeper.sockdiag import Census
from addrsvc.mirror.netns import NetNs
from tests.keeper.keeping import turn_until
from tests.keeper.used import wait_for_routes

LONG = 60.0
V4, V6 = bytes((192, 0, 2, 1)), bytes.fromhex("20010db8") + bytes(11) + b"\1"


def v6(number: int) -> bytes:
    return bytes.fromhex("20010db8") + number.to_bytes(12)


@pytest.fixture
def requests(netns: NetNs) -> Iterator[Requests]:
    with Requests.to(netns.fileno()) as requests:
        assert requests.ask([LO_UP, newaddr(V4), newaddr(V6), newaddr(v6(2), metric=5)]) == []
        wait_for_routes(netns, V6, v6(2))
        yield requests


class Connection:
    """A TCP or UDP socket in a namespace, connected to a listener at an address there."""

    def __init__(self, netns: NetNs, address: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        self._sockets = inside(netns.fileno(), lambda: list(self._connect(address, kind)))

    def _connect(self, address: str, kind: socket.SocketKind) -> Iterator[socket.socket]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, kind)
        listener.bind((address, 0))
        yield listener
        if kind == socket.SOCK_STREAM:
            listener.listen()
        client = socket.socket(family, kind)
        client.connect(listener.getsockname())
        yield client
        if kind == socket.SOCK_STREAM:
            yield listener.accept()[0]

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def reset(self) -> None:
        """End it without TIME_WAIT, whose sockets are nobody's."""
        for sock in self._sockets:
            if sock.type == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()


# --- who uses an address ----------------------------------------------------------------------------------------------


def count(loop: Loop, netns: NetNs, *addresses: bytes) -> Counter[bytes] | None:
    done: list[Counter[bytes] | None] = []
    census = Census(loop, netns.fileno())
    census.take(addresses, done.append)
    turn_until(loop, lambda: bool(done))
    census.close()
    return done[0]


def test_both_ends_of_connections_count_and_listeners_do_not(requests: Requests, netns: NetNs, loop: Loop) -> None:
    connections = [
        Connection(netns, "2001:db8::1"),
        Connection(netns, "2001:db8::1"),
        Connection(netns, "2001:db8::1", socket.SOCK_DGRAM),
        Connection(netns, "192.0.2.1"),
        Connection(netns, "::ffff:192.0.2.1"),
    ]

    assert count(loop, netns, V6, V4, v6(2)) == {V6: 5, V4: 4}
    for connection in connections:
        connection.reset()
    assert count(loop, netns, V6, V4) == {}


@pytest.mark.parametrize("many", [1, 2, 16, 17, 100], ids="{} addresses".format)
def test_the_kernel_leaves_out_what_is_elsewhere(requests: Requests, netns: NetNs, loop: Loop, many: int) -> None:
    """However many addresses are asked for: each condition of the filter, and the end of it."""
    asked = [v6(number) for number in range(100, 100 + many)]
    assert requests.ask([newaddr(address) for address in asked]) == []
    wait_for_routes(netns, *asked)
    there = [Connection(netns, socket.inet_ntop(socket.AF_INET6, address)) for address in (asked[0], asked[-1], V6)]

    found = count(loop, netns, *asked)

    assert found is not None
    assert [found[address] for address in (asked[0], asked[-1])] == ([4, 4] if many == 1 else [2, 2])
    assert (V6 in found) == (many > 16)
    for connection in there:
        connection.reset()


def test_of_a_mixture_each_is_counted_by_its_own_kind(requests: Requests, netns: NetNs, loop: Loop) -> None:
    connections = [Connection(netns, address) for address in ("2001:db8::1", "192.0.2.1", "::ffff:192.0.2.1", "::1")]

    assert count(loop, netns, V4) == {V4: 4}
    assert count(loop, netns, V6) == {V6: 2}
    assert count(loop, netns, V4, V6) == {V4: 4, V6: 2}
    for connection in connections:
        connection.reset()


def test_many_sockets_are_counted_over_many_turns(requests: Requests, netns: NetNs, loop: Loop) -> None:
    connections = [Connection(netns, "2001:db8::1", socket.SOCK_DGRAM) for _ in range(1000)]
    done: list[Counter[bytes] | None] = []
    census = Census(loop, netns.fileno())
    census.take([V6], done.append)

    turns = 0
    while not done:
        loop.turn(LONG)
        turns += 1

    assert done == [{V6: 1000}]
    assert turns > 4
    census.close()
    for connection in connections:
        connection.close()


def test_only_one_census_is_taken_at_a_time(netns: NetNs, loop: Loop) -> None:
    census = Census(loop, netns.fileno())
    census.take([V6], lambda found: None)
    with pytest.raises(RuntimeError, match="is being taken"):
        census.take([V6], lambda found: None)
    census.close()


def test_a_kernel_that_does_not_tell_gives_no_result(netns: NetNs, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol that does not exist stands in for one whose sockets nobody lists."""
    monkeypatch.setattr(sockdiag, "_CONNECTIONS", {250: 2})

    assert count(loop, netns, V6) is None


# --- withdrawing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def draining(loop: Loop, requests: Requests, netns: NetNs) -> Iterator[tuple[Drain, list[Withdrawal]]]:
    gone: list[Withdrawal] = []
    drain = Drain(loop, requests, netns.fileno(), gone.extend)
    yield drain, gone
    drain.close()


Draining = tuple[Drain, list[Withdrawal]]


@pytest.mark.parametrize("key", [(V6, 128), (V4, 32), (v6(2), 128)], ids=["IPv6", "IPv4", "metric"])
def test_an_address_is_deprecated_and_goes_with_its_last_connection(
    requests: Requests, netns: NetNs, loop: Loop, draining: Draining, key: Key
) -> None:
    drain, gone = draining
    text = socket.inet_ntop(socket.AF_INET6 if len(key[0]) == 16 else socket.AF_INET, key[0])
    first, last = Connection(netns, text), Connection(netns, text)
    before = requests.addresses()[key]

    assert drain.withdraw({key: LONG * 100}) == []

    now = requests.addresses()[key]
    assert (now.preferred_lft, now.metric, now.proto) == (0, before.metric, before.proto)
    first.reset()
    for _ in range(10):
        loop.turn(0.02)
    assert key in drain
    assert key in requests.addresses()
    last.reset()
    turn_until(loop, lambda: bool(gone))
    assert gone == [Withdrawal(key, 0, None)]
    assert key not in drain
    assert key not in requests.addresses()


def test_when_its_time_is_up_it_goes_all_the_same(
    requests: Requests, netns: NetNs, loop: Loop, draining: Draining
) -> None:
    drain, gone = draining
    connection = Connection(netns, "2001:db8::1")

    drain.withdraw({(V6, 128): 0.3})
    turn_until(loop, lambda: bool(gone))

    assert gone == [Withdrawal((V6, 128), 2, None)]
    assert not requests.has(V6)
    connection.close()


def test_without_any_time_nobody_looks(requests: Requests, netns: NetNs, loop: Loop, draining: Draining) -> None:
    drain, gone = draining
    connection = Connection(netns, "2001:db8::1")

    drain.withdraw({(V6, 128): 0, (V4, 32): 0})
    assert requests.addresses()[V6, 128].preferred_lft
    turn_until(loop, lambda: not len(drain))

    assert gone == [Withdrawal((V4, 32), None, None), Withdrawal((V6, 128), None, None)]
    connection.close()


def test_many_go_a_few_at_a_time_the_newest_first(requests: Requests, loop: Loop, draining: Draining) -> None:
    drain, gone = draining
    keys = [(v6(number), 128) for number in range(10, 110)]
    requests.ask([newaddr(address) for address, _ in keys])

    drain.withdraw(dict.fromkeys(keys, 0.0))
    steps = []
    while len(drain):
        loop.turn(LONG)
        steps.append(len(gone))

    assert steps == [16, 32, 48, 64, 80, 96, 100]
    assert [withdrawal.key for withdrawal in gone] == keys[::-1]


def test_what_is_wanted_again_stays(requests: Requests, netns: NetNs, loop: Loop, draining: Draining) -> None:
    drain, gone = draining
    connection = Connection(netns, "2001:db8::1")
    drain.withdraw({(V6, 128): LONG, (V4, 32): 0})

    assert drain.keep((V6, 128))
    assert drain.keep((V4, 32))
    assert not drain.keep((V4, 32))
    connection.reset()
    for _ in range(10):
        loop.turn(0.02)

    assert gone == []
    assert requests.has(V6)
    assert requests.has(V4)


def test_what_somebody_else_has_deleted_is_gone(requests: Requests, loop: Loop, draining: Draining) -> None:
    drain, gone = draining
    requests.ask([deladdr(V6)])

    assert drain.withdraw({(V6, 128): LONG, (v6(99), 128): 0}) == []
    turn_until(loop, lambda: not len(drain))

    assert gone == [Withdrawal((v6(99), 128), None, None), Withdrawal((V6, 128), 0, None)]


def test_a_refusal_is_told(requests: Requests, netns: NetNs, loop: Loop) -> None:
    class Refusing(Requests):
        def ask(self, messages: Sequence[bytes], at_once: int = 0) -> list[Refusal]:
            return [Refusal(nth, EPERM) for nth in range(len(messages))]

    gone: list[Withdrawal] = []
    refusing = Refusing(requests._sock)
    drain = Drain(loop, refusing, netns.fileno(), gone.extend)

    assert drain.withdraw({(V4, 32): 0, (V6, 128): LONG}) == [Refusal(1, EPERM)]
    turn_until(loop, lambda: not len(drain))

    assert gone == [Withdrawal((V4, 32), None, Refusal(0, EPERM)), Withdrawal((V6, 128), 0, Refusal(0, EPERM))]


def test_where_sockets_cannot_be_counted_time_decides(
    requests: Requests, loop: Loop, draining: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*args: object) -> Census:
        raise KernelError(EPERM)

    monkeypatch.setattr(drain, "Census", unable)
    withdrawing, gone = draining

    withdrawing.withdraw({(V6, 128): 0.2})
    turn_until(loop, lambda: bool(gone))

    assert gone == [Withdrawal((V6, 128), None, None)]


def test_afterwards_nothing_is_held(requests: Requests, loop: Loop, draining: Draining) -> None:
    drain, gone = draining
    before = len(os.listdir("/proc/self/fd"))

    drain.withdraw({(V6, 128): LONG})
    turn_until(loop, lambda: bool(gone))

    assert len(os.listdir("/proc/self/fd")) == before
