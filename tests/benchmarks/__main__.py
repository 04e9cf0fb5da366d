"""Run all races and print their medians and ratios."""

import sys
from argparse import ArgumentParser

from addrsvc.uapi import NLM_F_ACK
from tests.benchmarks import addresses, chains, packets, requests, startup
from tests.benchmarks.race import Lap, Result, race
from tests.fuzz.__main__ import resident

EVENTS, EVENT_ROUNDS = 100_000, 10
SIZES = (10, 1_000, 100_000)
OPERATIONS, OPERATION_ROUNDS = 100, 15
PROCESS_ROUNDS = 40
PACKETS, PACKET_ROUNDS = 8_000, 11
PEER_PACKETS = 500
ASKED = {100: 15, 1_000: 9, 10_000: 2}
"""Addresses, and rounds: the running kernel takes long for many."""
OF_KERNEL = {1_000: 1.0, 10_000: 0.05}
MOCKED, MOCK_ROUNDS, OF_MOCK, DUMP_OF_MOCK = 1_000, 3, 0.08, 0.005
MANY_PACKETS, MEASURES = 1_000_000, 10
FLAT, OF_PEER, GROWTH = 1.25, 0.5, 4.0
"""Limits: over one packet in flight, over the peer, and in MiB after the first measure."""


def say(line: str = "") -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_ratios(title: str, results: dict[str, Result], *, unit: float, unit_name: str) -> None:
    """One line for each contender, over the first."""
    first = next(iter(results.values()))
    say(title)
    for name, result in results.items():
        say(f"  {name:44} {result.ns / unit:8.2f} {unit_name}  {result.over(first):5.2f} x")
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


def asked() -> None:
    """Requests for addresses, in bytes."""
    if why := requests.why_no_replay():
        say(f"Nothing to compare with: {why}\n")
        return
    say(
        "RTM_NEWADDR in datagrams of many, us each: model; running kernel, until acknowledged and until settled; ratios"
    )
    with requests.replay() as kernel:
        for size, rounds in ASKED.items():
            for wish in requests.WISHES:
                datagrams = requests.batches(size, wish.flags)
                times = [
                    (requests.served(requests.model(wish.listens), datagrams), *kernel(datagrams, wish.listens))
                    for _ in range(rounds)
                ]
                columns = zip(*times, strict=True)
                ours, acknowledged, settled = (Result(tuple(t / size for t in column)) for column in columns)
                figures = " ".join(f"{result.ns / 1000:8.2f}" for result in (ours, acknowledged, settled))
                ratios = f"{ours.over(acknowledged):6.3f} x {ours.over(settled):6.3f} x"
                limit = f" (limit {OF_KERNEL[size]})" if size in OF_KERNEL else ""
                say(f"  {size:6,} {wish.name:32} {figures}  {ratios}{limit}")
    say()
    against_the_mock()


def against_the_mock() -> None:
    single = [requests.newaddr(n, requests.WISHES[0].flags, NLM_F_ACK) for n in range(1, MOCKED + 1)]
    adding = [(requests.served(requests.model(), single), requests.mocked(MOCKED)) for _ in range(MOCK_ROUNDS)]
    sock = requests.model()
    requests.served(sock, requests.batches(MOCKED, requests.WISHES[0].flags))
    requests.dumped(sock)  # the first one encodes what the others send again
    dumping = [(requests.dumped(sock), requests.mock_dumped(MOCKED)) for _ in range(MOCK_ROUNDS)]
    say(f"The same by pyroute2's IPEngine, {MOCKED:,} addresses one by one, and a dump of them, us per address")
    for what, times, limit in (("RTM_NEWADDR", adding, OF_MOCK), ("dump", dumping, DUMP_OF_MOCK)):
        ours, theirs = (Result(tuple(t / MOCKED for t in column)) for column in zip(*times, strict=True))
        ratio = f"{ours.over(theirs):.4f} x (limit {limit})"
        say(f"  {what:12} {ours.ns / 1000:8.3f}; IPEngine {theirs.ns / 1000:8.2f}; {ratio}")
    say()


RACES = {"events": events, "requests": asked, "operations": operations, "processes": processes, "packets": through_lo}


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
