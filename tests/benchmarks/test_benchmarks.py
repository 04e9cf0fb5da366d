"""Each workload does what it says; pytest-benchmark tells its cost where it is asked to (--benchmark-enable)."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from subprocess import CalledProcessError

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from addrsvc import Linux, __version__
from addrsvc.af_netlink.sock import NetlinkSock
from addrsvc.model.ifaddr import inet6_addr_list
from addrsvc.model.receive import dev_add_pack, dev_remove_pack
from addrsvc.model.skbuff import SkBuff, skb_clone
from addrsvc.model.structs import Inet6Dev, NetDevice, PacketType
from addrsvc.model.xmit import skb_checksum_help
from addrsvc.pytest_plugin import need_cap_sys_admin
from addrsvc.uapi import ETH_P_ALL, ETH_P_IPV6, NLM_F_ACK, PACKET_OUTGOING
from tests.benchmarks import addresses, chains, logs, namespaces, packets, requests, service, startup
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
@pytest.mark.parametrize("way", packets.PATHS.values(), ids=packets.PATHS)
def test_every_packet_through_lo_is_taken(
    benchmark: BenchmarkFixture, way: Callable[[], packets.Path], in_flight: int
) -> None:
    path, seen = way(), Tap()
    dev_add_pack(path.linux.machine, PacketType(ETH_P_ALL, seen))

    path.lap(in_flight, in_flight)()

    assert seen.frames == Counter(packets.frames(way) * in_flight)
    dev_remove_pack(path.linux.machine, path.linux.machine.softnet.ptype_all[0])
    benchmark(path.lap(in_flight, in_flight))


class Tap:
    """Sees the frames that arrive, with the checksum that the device was left to compute, and no flow label."""

    def __init__(self) -> None:
        self.frames = Counter[bytes]()

    def __call__(self, skb: SkBuff, dev: NetDevice) -> None:
        if skb.pkt_type != PACKET_OUTGOING:
            whole = skb_clone(skb)
            skb_checksum_help(whole)
            whole.data = whole.mac_header or 0
            if skb.protocol == ETH_P_IPV6:
                whole.head[skb.data + 1 : skb.data + 4] = bytes(3)
            self.frames[whole.tobytes()] += 1


@pytest.mark.skipif(bool(packets.scapy_missing()), reason=packets.scapy_missing())
@pytest.mark.parametrize("way", packets.PATHS.values(), ids=packets.PATHS)
def test_scapy_builds_what_it_has_dissected(benchmark: BenchmarkFixture, way: Callable[[], packets.Path]) -> None:
    benchmark(packets.scapy_lap(packets.frames(way), 1))


@pytest.mark.parametrize("wish", requests.WISHES, ids=lambda wish: wish.name)
def test_the_model_grants_every_request_and_dumps_the_addresses(wish: requests.Wish) -> None:
    sock = requests.model(wish.listens)

    assert requests.served(sock, requests.batches(300, wish)) > 0
    assert sum(len(sock.queue) for sock in sock.table.listeners) == 300 * wish.listens * (1 if wish.flags else 2)
    assert len(inet6_addr_list(half(sock))) == 301
    assert requests.dumped(sock) > 0


def half(sock: NetlinkSock) -> Inet6Dev:
    """The IPv6 half of lo."""
    idev = sock.net.dev_base_head[1].ip6_ptr
    assert idev is not None
    return idev


@pytest.mark.skipif(bool(requests.why_no_replay()), reason=requests.why_no_replay())
def test_the_running_kernel_grants_the_same_requests() -> None:
    with requests.replay() as replay:
        for wish in requests.WISHES:
            replayed = replay(requests.batches(300, wish), wish.listens)
            assert 0 < replayed.acknowledged < replayed.in_use


def test_the_running_kernel_is_not_timed_over_requests_that_it_refuses() -> None:
    if why := requests.why_no_replay():
        pytest.skip(why)
    with requests.replay() as replay, pytest.raises(CalledProcessError):
        replay([requests.newaddr(1, 0, NLM_F_ACK)] * 2, False)


def test_the_mock_grants_the_same_requests_and_dumps_the_addresses() -> None:
    with requests.mock() as engine:
        assert requests.mocked(engine, 20) > 0
        assert sum(each.prefixlen == 128 for each in engine.database["addr"]) == 20
        assert requests.mock_dumped(engine) > 0


def test_the_version_is_said_by_a_process_of_its_own(benchmark: BenchmarkFixture) -> None:
    said = benchmark(startup.process(*startup.VERSION))

    assert said.decode() == f"addrsvc {__version__}\n"


def test_entries_that_are_not_wanted_are_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    with logs.followed() as take:
        for lap in (
            logs.through_structlog(3, is_bound=False),
            logs.through_structlog(3, is_bound=True),
            logs.through_log(3),
            logs.through_follower(take, 3),
        ):
            lap()

    assert capfd.readouterr() == ("", "")


def test_contenders_take_turns() -> None:
    turns: list[str] = []

    results = race({name: partial(turns.append, name) for name in "ab"}, rounds=3)

    assert turns == ["a", "b", "a", "b", "a", "b"]
    assert len(results["a"].times) == 3


def test_a_ratio_is_taken_round_by_round() -> None:
    assert Result((10.0, 40.0, 90.0)).over(Result((10.0, 20.0, 30.0))) == 2.0


# --- service addresses, on the running kernel -------------------------------------------------------------------------

FEW = 40


@pytest.fixture(scope="module")
def in_c() -> Iterator[service.InC]:
    if why := service.why_no_race():
        pytest.skip(f"no race of service addresses: {why}")
    with service.in_c() as in_c:
        yield in_c


def test_every_contender_adds_what_it_is_told(in_c: service.InC) -> None:
    """Each waits for the last address to be in use, and fails where one is refused."""
    contenders = [
        in_c.added,
        service.kept_added,
        service.kept_heard,
        service.ours_added,
        *service.PEERS_ADDING.values(),
    ]

    assert all(added(FEW) > 0 for added in contenders)


def test_every_contender_reads_all_there_is(in_c: service.InC) -> None:
    in_c.added(FEW)
    with service.full(FEW) as (netns, requests), service.iproute(netns) as ipr:
        assert len(requests.addresses()) == FEW + 2
        assert in_c.dumped(FEW) > 0
        assert service.ours_dumped(requests, FEW) > 0
        assert service.ip_dumped(netns, FEW) > 0
        assert service.pyroute2_dumped(ipr, FEW) > 0


def test_deletions_are_timed_as_a_whole_and_one_by_one(in_c: service.InC) -> None:
    for whole, longest in (in_c.deleted(FEW), service.ours_deleted(FEW), service.ours_deleted(FEW, service.C_AT_ONCE)):
        assert whole > longest > 0
    assert service.ours_flushed(FEW) > 0
    assert service.ours_routed(FEW) > 0


# --- namespaces -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest) -> Iterator[namespaces.Bench]:
    """Three namespaces, and the peer in C."""
    need_cap_sys_admin(request.config)
    if why := namespaces.why_not():
        pytest.skip(why)
    with namespaces.bench(3) as made:
        yield made


@pytest.mark.parametrize(
    "name", [namespaces.C_EPOLL, namespaces.ASYNC, *(f"addrsvc, {way}" for way in namespaces.WATCHES)]
)
def test_everybody_who_heals_gives_the_address_back_to_all(made: namespaces.Bench, name: str) -> None:
    assert len(namespaces.storms(made, namespaces.healers(made)[name], laps=2)) == 2


@pytest.mark.parametrize("way", namespaces.WATCHES)
def test_what_is_measured_of_many_namespaces_is_done(made: namespaces.Bench, way: str) -> None:
    assert namespaces.attached(made, way) > 0
    assert len(namespaces.taken_in(made, way, 128, 2)) == 2
    with namespaces.daemon(made.names[0], way) as served:
        assert served.cpu > 0
        assert served.memory > 0
        assert namespaces.burst_heard(made, served, 1000)[0] == 0


def test_a_namespace_that_ip_makes_is_looked_at_when_that_has_ended(made: namespaces.Bench) -> None:
    assert namespaces.noticed(made, 2) == 0
    assert made.ask("attach") > 0
