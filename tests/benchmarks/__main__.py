"""Run all races and print their medians and ratios."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from statistics import median, quantiles
from typing import TypeAlias

from addrsvc.keeper.rtnl import DELETES_AT_ONCE
from tests.benchmarks import addresses, chains, logs, namespaces, packets, requests, service, startup
from tests.benchmarks.race import Lap, Result, race
from tests.fuzz.__main__ import resident

EVENTS, EVENT_ROUNDS = 100_000, 10
SIZES = (10, 1_000, 100_000)
OPERATIONS, OPERATION_ROUNDS = 100, 15
PROCESS_ROUNDS = 40
PACKETS, PACKET_ROUNDS = 8_000, 11
PEER_PACKETS = 500
ASKED_ROUNDS = {100: 40, 1_000: 20, 10_000: 2}
"""Rounds by number of addresses, and half as many without flags, where the running kernel takes much longer."""
MOCKED = (100, 1_000)
"""IPEngine looks through all its addresses for each."""
DUMPED, DUMP_ROUNDS = 1_000, 20
OF_KERNEL, OF_MOCK, OF_MOCK_DUMP = {1_000: 1.0, 10_000: 0.05}, 0.08, 0.005
"""Limits of requests: over the running kernel by number of addresses, and over IPEngine."""
ADDED_ROUNDS, MOST_FOR_PEERS = {1_000: 11, 10_000: 3}, 1_000
SERVED, SERVED_ROUNDS, MOST_SERVED = 1_000, 11, 10_000
OF_ADDING = {1_000: {"C": 1.3, "ip -batch": 0.6, "pyroute2 addr(add)": 0.03}, 10_000: {"C": 1.05}}
OF_ADDING_HEARD = {1_000: {"C, with somebody who listens": 1.3}, 10_000: {"C, with somebody who listens": 1.05}}
OF_DUMPING = {"C": 10, "ip -j addr, and json": 0.12, "pyroute2 get_addr": 0.02}
"""Limits of service addresses: ours over each contender, by number of addresses."""
ENTRIES, ENTRY_ROUNDS, OF_STOCK = 20_000, 20, 0.1
STORMS = {1: (5, 20), 100: (5, 7), 1_000: (3, 3)}
"""Rounds, and storms in each, by number of namespaces."""
OF_STORM = {
    1: {namespaces.C_EPOLL: 1.25, namespaces.ASYNC: 0.25, namespaces.SHELL: 0.08},
    100: {namespaces.C_EPOLL: 1.2, namespaces.ASYNC: 0.12},
    1_000: {namespaces.C_EPOLL: 0.6},
}
ATTACHED_ROUNDS, OF_ATTACHING = {100: 11, 1_000: 5}, 1.4
STARTED, STARTED_ROUNDS, OF_CPU, OF_MEMORY = 1_000, 3, 0.2, 2048
"""Limits of namespaces: seconds of processor time for all, and bytes for each."""
LOADED_ROUNDS, LOADED_LAPS, LOADED_REST, OF_P99, OF_RESIDENT = 3, 100, 0.02, 1.0, 0.9
NOTICED, IN_A_BURST, BURST_ROUNDS, AT_LEAST = 100, 4_000, 20, 300_000
BURST = 20_000
MANY_PACKETS, MEASURES = 1_000_000, 10
FLAT, OF_PEER, GROWTH = 1.25, 0.5, 4.0
"""Limits: over one packet in flight, over the peer, and in MiB after the first measure."""

Replay: TypeAlias = Callable[[list[bytes], bool], requests.Replayed]


def say(line: str = "") -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_ratios(title: str, results: dict[str, Result], *, unit: float, unit_name: str) -> None:
    """One line for each contender, over the first."""
    first = next(iter(results.values()))
    say(title)
    for name, result in results.items():
        say(f"  {name:44} {result.ns / unit:8.2f} {unit_name}  {result.over(first):7.4f} x")
    say()


def events() -> None:
    for title, returns in chains.RETURNS.items():
        functions = chains.callbacks(*returns)
        laps = {"a bare loop over the same callbacks": chains.bare_loop(functions, None, EVENTS)}
        for name, traced in (("trace off", False), ("trace on", True)):
            laps[f"raw_notifier_call_chain, {name}"] = chains.through_chain(
                chains.chain_of(functions, traced=traced), None, EVENTS
            )
            laps[f"call_netdevice_notifiers, {name}"] = chains.through_devices(functions, EVENTS, traced=traced)
        results = race(laps, rounds=EVENT_ROUNDS, steps=EVENTS)
        whole = f"{EVENTS * EVENT_ROUNDS:,} events through {chains.CALLBACKS} callbacks that return {title}, per event"
        say_ratios(whole, results, unit=1000, unit_name="us")


def operations() -> None:
    machines = {size: addresses.crowded(size) for size in SIZES}
    say("One operation on a lo with so many addresses, in us, and over the first column")
    say(f"  {'':28}" + "".join(f"{size:>18,}" for size in SIZES))
    for name, operation in addresses.OPERATIONS.items():
        laps: dict[str, Lap] = {
            str(size): addresses.repeated(operation, linux, OPERATIONS) for size, linux in machines.items()
        }
        results = race(laps, rounds=OPERATION_ROUNDS, steps=OPERATIONS)
        first = results[str(SIZES[0])]
        cells = (f"{result.ns / 1000:8.1f} {result.over(first):7.2f} x" for result in results.values())
        say(f"  {name:28}" + "".join(cells))
    say()


def processes() -> None:
    laps = {"python -c pass": startup.process(*startup.NOTHING), "addrsvc --version": startup.process(*startup.VERSION)}
    say_ratios("Whole processes", race(laps, rounds=PROCESS_ROUNDS), unit=1_000_000, unit_name="ms")


def through_lo() -> None:
    for title, way in packets.PATHS.items():
        path = way()
        laps = {f"lo, {number:,} in flight": path.lap(PACKETS, number) for number in packets.IN_FLIGHT}
        steps = dict.fromkeys(laps, PACKETS)
        peer = "scapy, dissect and build"
        if why := packets.scapy_missing():
            say(f"Nothing to compare with: {why}")
        else:
            laps[peer], steps[peer] = packets.scapy_lap(packets.frames(way), PEER_PACKETS), PEER_PACKETS
        results = race(laps, rounds=PACKET_ROUNDS, steps=steps)
        first = next(iter(results.values()))
        say(f"{title}, each of {PACKETS * PACKET_ROUNDS:,}")
        for name, result in results.items():
            line = f"  {name:28} {result.ns / 1000:8.2f} us  {1e9 / result.ns:9,.0f}/s  {result.over(first):5.2f} x"
            if name != peer:
                line += f" (limit {FLAT})"
                line += f", {result.over(results[peer]):.2f} of scapy (limit {OF_PEER})" if peer in results else ""
            say(line)
        say()
    memory()


def memory() -> None:
    lap = packets.a_datagram().lap(MANY_PACKETS // MEASURES, 64)
    say(f"Memory over {MANY_PACKETS:,} datagrams, MiB resident after each {MANY_PACKETS // MEASURES:,}")
    measured = []
    for _ in range(MEASURES):
        lap()
        measured.append(resident() / (1 << 20))
    say(f"  {' '.join(f'{size:.1f}' for size in measured)}")
    say(f"  {max(measured) - measured[0]:.1f} more than after the first (limit {GROWTH})")
    say()


def over_rtnetlink() -> None:
    why = requests.why_no_replay()
    if why:
        say(f"Nothing of the running kernel to compare with: {why}")
        asked_for(None)
    else:
        with requests.replay() as replay:
            asked_for(replay)
    dumped()


def asked_for(replay: Replay | None) -> None:
    for size, rounds in ASKED_ROUNDS.items():
        say(f"RTM_NEWADDR for {size:,} addresses in rtnetlink's bytes, per address, medians of {rounds} rounds")
        engine = [mocked(size) for _ in range(rounds)] if size in MOCKED else []
        if engine:
            say(f"  {'pyroute2, IPEngine':24} {median(engine) / 1000:8.2f} us")
        for wish in requests.WISHES:
            say(asked_in_one_way(wish, size, rounds if wish.flags else max(rounds // 2, 1), replay, engine))
        say()


def mocked(size: int) -> float:
    with requests.mock() as engine:
        return requests.mocked(engine, size) / size


def asked_in_one_way(wish: requests.Wish, size: int, rounds: int, replay: Replay | None, engine: list[float]) -> str:
    datagrams = requests.batches(size, wish)
    mine, acknowledged, in_use = [], [], []
    for _ in range(rounds):
        mine.append(requests.served(requests.model(wish.listens), datagrams) / size)
        if replay is not None:
            theirs = replay(datagrams, wish.listens)
            acknowledged.append(theirs.acknowledged / size)
            in_use.append(theirs.in_use / size)
    line = f"  {wish.name:24} {median(mine) / 1000:8.2f} us"
    if in_use:
        limit = f" (limit {OF_KERNEL[size]})" if size in OF_KERNEL and wish.batch > 1 else ""
        line += f"; the kernel {median(in_use) / 1000:8.2f}: {ratio(mine, in_use):.3f} x{limit}"
        line += f", {median(acknowledged) / 1000:8.2f} until acknowledged: {ratio(mine, acknowledged):.3f} x"
    if engine:
        line += f"; {median(mine) / median(engine):.3f} of IPEngine (limit {OF_MOCK})"
    return line


def ratio(mine: list[float], theirs: list[float]) -> float:
    """How many times as long, in the median round."""
    return Result(tuple(mine)).over(Result(tuple(theirs)))


def dumped() -> None:
    sock = requests.model()
    requests.served(sock, requests.batches(DUMPED, requests.WISHES[0]))
    first = requests.dumped(sock)
    title = f"A dump of {DUMPED:,} addresses, per address (limit {OF_MOCK_DUMP} x)"
    with requests.mock() as engine:
        requests.mocked(engine, DUMPED)
        laps: dict[str, Lap] = {
            "pyroute2, IPEngine": lambda: requests.mock_dumped(engine),
            "the model": lambda: requests.dumped(sock),
        }
        results = race(laps, rounds=DUMP_ROUNDS, steps=DUMPED)
    say_ratios(f"{title}; the model's first {first / DUMPED / 1000:.2f} us", results, unit=1000, unit_name="us")


def service_addresses() -> None:
    """What the keeper does with many addresses, on the running kernel."""
    if why := service.why_no_race():
        say(f"Nothing to compare with: {why}\n")
        return
    with service.in_c() as in_c:
        for count, rounds in ADDED_ROUNDS.items():
            peers = service.PEERS_ADDING if count <= MOST_FOR_PEERS else {}
            alone = {"C": in_c.added, "the keeper's requests": service.ours_added, **peers}
            whole = {
                "C, with somebody who listens": in_c.added_and_heard,
                "the keeper": service.kept_added,
                "the keeper, until it has heard so": service.kept_heard,
            }
            times = [[lap(count) / count for lap in (alone | whole).values()] for _ in range(rounds)]
            say_limits(f"Adding {count:,} to lo until in use, us each", [*alone, *whole], times, OF_ADDING[count])
            only = [row[len(alone) :] for row in times]
            say_limits("The same, over C with somebody who listens", whole, only, OF_ADDING_HEARD[count])
        dumped_service_addresses(in_c)
        deleted_service_addresses(in_c)


def dumped_service_addresses(in_c: service.InC) -> None:
    in_c.added(SERVED)
    with service.full(SERVED) as (netns, asking), service.iproute(netns) as ipr:
        contenders: dict[str, Callable[[], int]] = {
            "C": lambda: in_c.dumped(SERVED),
            "the keeper's dump": lambda: service.ours_dumped(asking, SERVED),
            "ip -j addr, and json": lambda: service.ip_dumped(netns, SERVED),
            "pyroute2 get_addr": lambda: service.pyroute2_dumped(ipr, SERVED),
        }
        times = [[lap() / SERVED for lap in contenders.values()] for _ in range(SERVED_ROUNDS)]
    say_limits(f"Dumping {SERVED:,}, us each", contenders, times, OF_DUMPING)


def deleted_service_addresses(in_c: service.InC) -> None:
    contenders: dict[str, Callable[[], tuple[int, int]]] = {
        f"C, {DELETES_AT_ONCE} at once": lambda: in_c.deleted(SERVED),
        f"the keeper's requests, {DELETES_AT_ONCE} at once": lambda: service.ours_deleted(SERVED),
        f"the keeper's requests, {service.C_AT_ONCE} at once": lambda: service.ours_deleted(SERVED, service.C_AT_ONCE),
        "the fast flush": lambda: (service.ours_flushed(SERVED), 0),
    }
    both = [[lap() for lap in contenders.values()] for _ in range(SERVED_ROUNDS)]
    say_limits(f"Deleting {SERVED:,}, us each", contenders, [[taken / SERVED for taken, _ in row] for row in both], {})
    say("The longest of their datagrams, which no signal ends, ms")
    for name, column in zip(contenders, zip(*both, strict=True), strict=True):
        if longest := median(longest for _, longest in column):
            say(f"  {name:44} {longest / 1e6:8.2f}")
    say()
    routed = [[service.ours_added(n) / n, service.ours_routed(n) / n] for n in (SERVED,) for _ in range(SERVED_ROUNDS)]
    say_limits(f"{SERVED:,} as local routes, us each", ("addresses", "local routes"), routed, {})
    most = [service.ours_routed(MOST_SERVED) / MOST_SERVED for _ in range(3)]
    say(f"  {MOST_SERVED:,} local routes: {median(most) / 1000:.2f} us each\n")


def say_limits(title: str, names: Iterable[str], times: list[list[float]], limits: Mapping[str, float]) -> None:
    """Medians, ratios over the first, and those of the second over each, where that has a limit."""
    results = dict(zip(names, (Result(column) for column in zip(*times, strict=True)), strict=True))
    first, ours, *_ = results.values()
    say(title)
    for name, result in results.items():
        line = f"  {name:44} {result.ns / 1000:8.2f}  {result.over(first):8.3f} x"
        if name in limits:
            line += f"; ours over it {ours.over(result):.4f} x (limit {limits[name]})"
        say(line)
    say()


def unlogged() -> None:
    with logs.followed() as take:
        laps = {
            "structlog, a logger of get_logger()": logs.through_structlog(ENTRIES, is_bound=False),
            "structlog, that logger after bind()": logs.through_structlog(ENTRIES, is_bound=True),
            "Log": logs.through_log(ENTRIES),
            "LogFollower, as the keeper calls it": logs.through_follower(take, ENTRIES),
        }
        results = race(laps, rounds=ENTRY_ROUNDS, steps=ENTRIES)
    title = f"An entry of the log that is not wanted, per call (limit of ours {OF_STOCK} x)"
    say_ratios(title, results, unit=1, unit_name="ns")


def many_namespaces() -> None:
    """Namespaces by the hundred."""
    if why := namespaces.why_not():
        say(f"Nothing to compare with: {why}\n")
        return
    with namespaces.bench(1) as made:
        noticed(made)  # first: the ends of a thousand namespaces hold RTNL for seconds
    for size, (rounds, laps) in STORMS.items():
        with namespaces.bench(size) as made:
            storms(made, rounds, laps)
    for size, rounds in ATTACHED_ROUNDS.items():
        with namespaces.bench(size) as made:
            attached(made, rounds)
    with namespaces.bench(STARTED) as made:
        started(made)
    with namespaces.bench(1) as made:
        taken_in(made)
        loaded(made)
        resident_set(made)


def storms(made: namespaces.Bench, rounds: int, laps: int) -> None:
    healers = namespaces.healers(made)
    times: dict[str, list[float]] = {name: [] for name in healers}
    for _ in range(rounds):
        for name, healer in healers.items():
            times[name].append(median(namespaces.storms(made, healer, laps)))
    results = {name: Result(tuple(taken)) for name, taken in times.items()}
    say_over(f"::1 deleted in {made.size:,} namespaces at once, until it is back in all", results, OF_STORM[made.size])


def say_over(title: str, results: Mapping[str, Result], limits: Mapping[str, float]) -> None:
    """One line for each contender, and beside ours how they are over the others; the limits are of what is usual."""
    say(title)
    for name, result in results.items():
        told = {other: f" (limit {limit})" if name == namespaces.USUAL else "" for other, limit in limits.items()}
        ratios = [f"{result.over(results[other]):.3f} of {other}{limit}" for other, limit in told.items()]
        say(
            f"  {name:28} {result.ns / 1e6:9.3f} ms  {'; '.join(ratios) if name.startswith('addrsvc') else ''}".rstrip()
        )
    say()


def attached(made: namespaces.Bench, rounds: int) -> None:
    times: dict[str, list[float]] = {"C, a socket each": [], **{f"addrsvc, {way}": [] for way in namespaces.WATCHES}}
    for _ in range(rounds):
        times["C, a socket each"].append(made.ask("attach"))
        for way in namespaces.WATCHES:
            times[f"addrsvc, {way}"].append(namespaces.attached(made, way))
    results = {name: Result(tuple(taken)) for name, taken in times.items()}
    say_over(f"{made.size:,} namespaces opened and heard", results, {"C, a socket each": OF_ATTACHING})


def started(made: namespaces.Bench) -> None:
    say(f"The service begins to keep {made.size:,} namespaces, beyond what it takes for one; medians")
    for way in namespaces.WATCHES:
        few, many = (
            [namespaces.started(selector, way) for _ in range(STARTED_ROUNDS)]
            for selector in (made.names[0], made.selector)
        )
        cpu, memory = (
            median(b) - median(a) for a, b in zip(zip(*few, strict=True), zip(*many, strict=True), strict=True)
        )
        each = memory / (made.size - 1)
        say(f"  {way:8} {cpu:6.3f} s of processor time (limit {OF_CPU}); {each:,.0f} bytes each (limit {OF_MEMORY:,})")
    say()


def noticed(made: namespaces.Bench) -> None:
    for name, more in (("as it comes", ""), ("realtime", namespaces.REAL_TIME)):
        with namespaces.daemon(f"{made.prefix}new-*", more=more):
            count = namespaces.noticed(made, NOTICED)
        say(f"ip netns add had lo up when it ended, {name}: {count} of {NOTICED}")
    say()


def taken_in(made: namespaces.Bench) -> None:
    say("Messages about addresses of others, read and decided upon")
    for way in namespaces.WATCHES:
        result = Result(tuple(namespaces.taken_in(made, way, IN_A_BURST, BURST_ROUNDS)))
        say(f"  {way:8} {1e9 / result.ns:9,.0f}/s (limit {AT_LEAST:,})")
    for way in namespaces.WATCHES:
        with namespaces.daemon(made.names[0], way) as served:
            lost, took = namespaces.burst_heard(made, served, BURST)
        say(f"  {way:8} {BURST:,} at {BURST / took * 1e9:,.0f}/s: lost {lost} times (limit 0)")
    say()


def loaded(made: namespaces.Bench) -> None:
    """Repairs while others want the processors, too."""
    healers: dict[str, namespaces.Healer] = {
        "C": namespaces.healers(made)[namespaces.C_EPOLL],
        "addrsvc, realtime": partial(namespaces.daemon, made.selector, more=namespaces.REAL_TIME),
    }
    times: dict[str, list[int]] = {name: [] for name in healers}
    for _ in range(LOADED_ROUNDS):
        for name, healer in healers.items():
            with healer() as peer, namespaces.hogs():
                times[name] += namespaces.storms(made, partial(nullcontext, peer), LOADED_LAPS, LOADED_REST)
    say("::1 deleted while all processors are wanted by others, until it is back")
    for name, taken in times.items():
        middle, *_, last = quantiles(taken, n=100)[49:99]
        say(f"  {name:28} p50 {middle / 1e6:9.3f} ms  p99 {last / 1e6:9.3f} ms")
    ours, theirs = (quantiles(times[name], n=100)[98] for name in ("addrsvc, realtime", "C"))
    say(f"  p99 over that of C: {ours / theirs:.3f} (limit {OF_P99})")
    say()


def resident_set(made: namespaces.Bench) -> None:
    with namespaces.daemon(made.selector) as served:
        ours, theirs = served.resident, namespaces.memory_with_pyroute2()
    ratio = f"{ours / theirs:.3f} of a process that imports pyroute2 (limit {OF_RESIDENT})"
    say(f"Resident: {ours / (1 << 20):.1f} MiB, {ratio}")
    say()


RACES = {
    "events": events,
    "requests": over_rtnetlink,
    "service": service_addresses,
    "operations": operations,
    "namespaces": many_namespaces,
    "processes": processes,
    "packets": through_lo,
    "log": unlogged,
}


def main(argv: list[str]) -> None:
    parser = ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("race", nargs="*", metavar="RACE", help=f"{', '.join(RACES)}; all of them if none is named")
    names = parser.parse_args(argv).race
    unknown = [name for name in names if name not in RACES]
    if unknown:
        parser.error(f"no race is called {unknown[0]!r}; there are {', '.join(RACES)}")
    for name in names or RACES:
        RACES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
