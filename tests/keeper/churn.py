"""A day's worth of churn in small: namespaces come, addresses are removed in all of them at random, all go again.

    python -m tests.keeper.churn --namespaces 200 --events 100000

The service is `addrsvc run --keep` as it is installed, in a process of its own whose memory and descriptors are read
before, meanwhile and after.
"""

import argparse
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from addrsvc.daemon.client import Client
from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_DOWN, deladdr, newaddr
from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import create_named, remove_named
from addrsvc.uapi import IFF_UP

PATIENCE = 120.0
RULES = """\
[[rule]]
name = "churn"
namespaces = ["{prefix}*"]
addresses = ["fd00::1", "192.0.2.1"]
fights = {{ reversals = 100, within = 0.001 }}
"""
WANTED = [LOOPBACK, (bytes.fromhex("fd00") + bytes(13) + b"\1", 128), (bytes((192, 0, 2, 1)), 32)]
LO_DOWN_SHARE = 0.05
FOREIGN = bytes.fromhex("fd00") + bytes(13) + b"\2"

CHANGES = (
    [deladdr(*WANTED[1])],
    [deladdr(*WANTED[2])],
    [newaddr(FOREIGN), deladdr(FOREIGN)],
    [deladdr(*key) for key in WANTED],
)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Daemon:
    """The service, and what it takes."""

    def __init__(self, directory: Path, prefix: str) -> None:
        config = directory / "addrsvc.toml"
        config.write_text(RULES.format(prefix=prefix))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "addrsvc", "run", "--config", str(config), "--control", str(directory / "control")],
            stderr=(directory / "log").open("w"),
        )
        self.log = directory / "log"

    def taken(self) -> tuple[int, int, int]:
        """Its memory in KiB, its descriptors, and its threads."""
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return int(status["VmRSS"].split()[0]), len(os.listdir(proc / "fd")), int(status["Threads"])

    def settle(self) -> None:
        """Wait until it has taken and given back nothing for half a second."""
        seen: list[tuple[int, int, int]] = []

        def is_still() -> bool:
            seen.append(self.taken())
            return len(seen) >= 50 and len(set(seen[-50:])) == 1

        until(is_still, "it is still")

    def say(self, when: str) -> tuple[int, int, int]:
        rss, fds, threads = self.taken()
        say(f"{when:44} {rss:8} KiB  {fds:5} descriptors  {threads:3} threads")
        return rss, fds, threads

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def until(condition: Callable[[], bool], what: str) -> float:
    """Wait until something is so; how many seconds that took."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > PATIENCE:
            raise TimeoutError(what)
        time.sleep(0.01)
    return time.monotonic() - start


def is_whole(requests: Requests) -> bool:
    """Whether all that is wanted is there."""
    return bool(requests.lo().flags & IFF_UP) and requests.addresses().keys() >= set(WANTED)


@contextmanager
def namespaces(prefix: str, count: int) -> Iterator[list[Requests]]:
    """So many namespaces, with a socket in each."""
    with ExitStack() as stack:
        found = []
        for number in range(count):
            with create_named(f"{prefix}{number}") as netns:
                stack.callback(remove_named, f"{prefix}{number}")
                found.append(stack.enter_context(Requests.to(netns.fileno())))
        yield found


def disturb(requests: Requests, chance: random.Random) -> int:
    """Do something to a namespace; how many addresses were added or deleted by that, lo going down not counted."""
    if chance.random() < LO_DOWN_SHARE:
        requests.ask([LO_DOWN])
        return 0
    changes = chance.choice(([DELETE_LOOPBACK], *CHANGES))
    return len(changes) - len(requests.ask(changes))


def run(count: int, events: int, seed: int) -> bool:
    """Churn, and say what it took; whether nothing is left of it."""
    prefix = f"churn{secrets.token_hex(4)}-"
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(Path(directory), prefix)
        try:
            until((Path(directory) / "control").exists, "the service is there")
            with Client(Path(directory) / "control") as client:
                client.ask("links", {})
            with namespaces(prefix, 1) as found:
                until(lambda: is_whole(found[0]), "one namespace")
            daemon.settle()
            before = daemon.say("before, after a first namespace")
            begun = time.monotonic()
            with namespaces(prefix, count) as found:
                made = time.monotonic() - begun
                until(lambda: all(map(is_whole, found)), "all are as wanted")
                late = time.monotonic() - begun - made
                say(f"{count} namespaces made in {made:.2f} s, all as wanted {late:.3f} s later")
                daemon.say("with them")
                done, said = 0, events // 10
                while done < events:
                    done += disturb(chance.choice(found), chance)
                    if done >= said:
                        daemon.say(f"{done} events")
                        said += events // 10
                waited = until(lambda: all(map(is_whole, found)), "all are as wanted again")
                say(f"all as wanted again {waited:.3f} s after the last of {done} events")
                daemon.say("after that")
            until(lambda: daemon.taken()[1] <= before[1], "descriptors are given back")
            daemon.settle()
            after = daemon.say("after all have gone")
            return after[1:] == before[1:]
        finally:
            daemon.close()
            tail = daemon.log.read_text().splitlines()
            say(f"log: {len(tail)} lines; warnings: {sum('warning' in line or 'error' in line for line in tail)}")
            if daemon.process.returncode:
                say("\n".join(tail[-30:]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.keeper.churn", description=__doc__)
    parser.add_argument("--namespaces", type=int, default=200)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    return 0 if run(arguments.namespaces, arguments.events, arguments.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
