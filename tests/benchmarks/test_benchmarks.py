"""Each workload does what it says; pytest-benchmark tells its cost where it is asked to (--benchmark-enable)."""

from collections.abc import Callable
from functools import partial

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from addrsvc import Linux, __version__
from tests.benchmarks import addresses, chains, packets, startup
from tests.benchmarks.addresses import OPERATIONS, Operation
from tests.benchmarks.chains import CALLBACKS, EVENT, Callback
from tests.benchmarks.race import Lap, Result, race

EVENTS = 10
WAYS: dict[str, Callable[[list[Callback]], Lap]] = {
    "bare loop": lambda functions: chains.bare_loop(functions, None, EVENTS),
    "chain": lambda functions: chains.through_chain(chains.chain_of(functions), None, EVENTS),
    "chain, traced": lambda functions: chains.through_chain(chains.chain_of(functions, traced=True), None, EVENTS),
    "devices": lambda functions: chains.through_devices(functions, EVENTS),
    "devices, traced": lambda functions: chains.through_devices(functions, EVENTS, traced=True),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_event_reaches_every_callback_in_order(
    benchmark: BenchmarkFixture, way: Callable[[list[Callback]], Lap]
) -> None:
    heard: list[tuple[int, int]] = []

    def subscriber(number: int) -> Callback:
        def callback(val: int, v: object) -> int:
            heard.append((number, val))
            return 0

        return callback

    way([subscriber(number) for number in range(CALLBACKS)])()
    assert heard == [(number, EVENT) for number in range(CALLBACKS)] * EVENTS

    benchmark(way(chains.callbacks(0)))


@pytest.fixture(scope="module", params=[10, 1_000])
def crowd(request: pytest.FixtureRequest) -> tuple[Linux, int]:
    """A machine, and how many addresses its lo has."""
    return addresses.crowded(request.param), request.param


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_among_many_addresses_leaves_their_number(
    benchmark: BenchmarkFixture, crowd: tuple[Linux, int], operation: Operation
) -> None:
    linux, size = crowd

    benchmark(addresses.repeated(operation, linux, 1))

    assert sum(address.network.version == 6 for address in linux.init_net.addresses("lo")) == size


@pytest.mark.parametrize("in_flight", packets.IN_FLIGHT)
@pytest.mark.parametrize("frame", packets.FRAMES.values(), ids=packets.FRAMES)
def test_every_packet_through_lo_is_taken(benchmark: BenchmarkFixture, frame: bytes, in_flight: int) -> None:
    path = packets.Path(frame)

    path.lap(1_000, in_flight)()

    assert path.taken == 1_000 // in_flight * in_flight
    assert path.linux.machine.softnet.data[0].processed == path.taken
    benchmark(path.lap(in_flight, in_flight))


@pytest.mark.skipif(bool(packets.scapy_missing()), reason=packets.scapy_missing())
@pytest.mark.parametrize("frame", packets.FRAMES.values(), ids=packets.FRAMES)
def test_scapy_builds_what_it_has_dissected(benchmark: BenchmarkFixture, frame: bytes) -> None:
    benchmark(packets.scapy_lap(frame, 1))


def test_the_version_is_said_by_a_process_of_its_own(benchmark: BenchmarkFixture) -> None:
    said = benchmark(startup.process(*startup.VERSION))

    assert said.decode() == f"addrsvc {__version__}\n"


def test_contenders_take_turns() -> None:
    turns: list[str] = []

    results = race({name: partial(turns.append, name) for name in "ab"}, rounds=3)

    assert turns == ["a", "b", "a", "b", "a", "b"]
    assert len(results["a"].times) == 3


def test_a_ratio_is_taken_round_by_round() -> None:
    assert Result((10.0, 40.0, 90.0)).over(Result((10.0, 20.0, 30.0))) == 2.0
