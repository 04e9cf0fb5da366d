"""Random states of a namespace of the running kernel, and random commands: what is foretold, and what happens then.

``python -m tests.daemon.foretelling 1000`` compares so many, and prints where they part.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import unified_diff
from random import Random
from typing import Final

from addrsvc.daemon.likeness import like
from addrsvc.daemon.what_if import Foretold, addresses_in, command_of, foretell
from addrsvc.errors import KernelError
from addrsvc.mirror.rtnl import RtnlKernel, RtnlWatch
from addrsvc.netlink.messages import Message
from addrsvc.pytest_plugin.namespaces import create
from tests.fidelity.compare import normal
from tests.fidelity.notation import spelled

ADDRESSES: Final = (
    "::1/128", "2001:db8::1/128", "2001:db8::2/128", "2001:db8:1::1/64", "fd00::1/64", "fe80::1/64", "127.0.0.1/8",
    "127.0.0.2/8", "10.0.0.1/32", "10.0.1.1/24", "10.0.1.2/24", "::2/128",
)  # fmt: skip
OPTIONS: Final = (
    "", "", "", "nodad", "noprefixroute", "nodad noprefixroute", "metric 77", "valid_lft 100000 preferred_lft 50000",
    "valid_lft 100000 preferred_lft 0", "proto 173",
)  # fmt: skip
LINKS: Final = (
    "up", "up", "down", "mtu 65536", "mtu 1500", "mtu 1280", "mtu 1279", "mtu 1000", "mtu 68", "mtu 67",
    "txqueuelen 5", "alias here", "group 7", "promisc on", "promisc off", "multicast on", "allmulticast on",
    "addrgenmode none", "addrgenmode eui64",
)  # fmt: skip
SETTINGS: Final = (
    ("net.ipv6.conf.{}.disable_ipv6", "01"), ("net.ipv6.conf.{}.forwarding", "01"),
    ("net.ipv6.conf.{}.keep_addr_on_down", "01"), ("net.ipv6.conf.{}.accept_dad", "01"),
    ("net.ipv4.conf.{}.forwarding", "01"), ("net.ipv4.conf.{}.rp_filter", "012"),
    ("net.ipv4.conf.{}.promote_secondaries", "01"),
    ("net.ipv6.conf.{}.addr_gen_mode", "01"), ("net.ipv6.route.skip_notify_on_dev_down", "01"),
)  # fmt: skip


ATTEMPTS: Final = 3


def command(rng: Random) -> str:
    """A command, whatever the state is."""
    kind = rng.choices(("link", "add", "del", "sysctl"), (4, 5, 3, 3))[0]
    if kind == "link":
        return f"link set lo {rng.choice(LINKS)}"
    if kind == "add":
        return f"addr add {rng.choice(ADDRESSES)} dev lo {rng.choice(OPTIONS)}".rstrip()
    if kind == "del":
        return f"addr del {rng.choice(ADDRESSES)} dev lo"
    name, values = rng.choice(SETTINGS)
    return f"sysctl {name.format(rng.choice(('lo', 'lo', 'all', 'default')))}={rng.choice(values)}"


@dataclass(frozen=True)
class Case:
    """What brings a namespace into its state, and what is foretold then."""

    state: tuple[str, ...]
    commands: tuple[str, ...]

    @classmethod
    def random(cls, seed: int) -> "Case":
        rng = Random(seed)
        state = [command(rng) for _ in range(rng.choice((0, 2, 4, 8, 12)))]
        is_up = ["link set lo up"] * (rng.random() < 0.8)
        return cls((*is_up, *state), tuple(command(rng) for _ in range(rng.choice((1, 1, 2, 3)))))


@dataclass(frozen=True)
class Outcome:
    """What came of commands: refusals and messages, one list for each, and the addresses that were lost."""

    steps: tuple[tuple[str, ...], ...]
    lost: frozenset[object]

    def lines(self) -> list[str]:
        return [*(line for step in self.steps for line in ("-", *step)), "lost:", *sorted(map(str, self.lost))]


def compared(case: Case) -> tuple[Outcome, Outcome, tuple[str, ...]]:
    """What is foretold, what happens, and the notes."""
    with create("what-if") as netns, RtnlKernel(netns) as kernel:
        for text in case.state:
            with suppress(KernelError):
                do(kernel, text)
        with kernel.watch() as watch:
            watch.settle = 0.02
            list(watch)
            foretold = undisturbed(kernel, watch, case)
            expected = _outcome(foretold)
            return expected, happening(kernel, watch, case.commands, expected), foretold.notes


def undisturbed(kernel: RtnlKernel, watch: RtnlWatch, case: Case) -> Foretold:
    """What is foretold; once more where something is told meanwhile, as the state may not have settled before."""
    said: list[str] = []
    for _ in range(ATTEMPTS):
        foretold = foretell(like(kernel), [text.split() for text in case.commands])
        said = [spelled(msg) for msg in watch]
        if not said:
            return foretold
    raise AssertionError(f"{case}: foretelling changes something: {said}")


def do(kernel: RtnlKernel, text: str) -> None:
    """Do to the running kernel what is done to the model."""
    name, parameters = command_of(text.split())
    call = {"link_set": kernel.link_set, "addr_add": kernel.addr_add, "addr_del": kernel.addr_del}
    if name == "sysctl_set":
        kernel.sysctl(str(parameters["name"]), str(parameters["value"]))
        return
    given = dict(parameters)
    if mode := given.pop("addr_gen_mode", None):
        given["addr_gen_mode"] = ("eui64", "none").index(str(mode))
    call[name](**given)  # type: ignore[operator]


def happening(kernel: RtnlKernel, watch: RtnlWatch, commands: Sequence[str], expected: Outcome) -> Outcome:
    """What really happens; for what is expected there is more time to come."""
    before = addresses_in(kernel.dump()).keys()
    steps: list[tuple[str, ...]] = []
    for nth, text in enumerate(commands):
        refusal = ""
        try:
            do(kernel, text)
        except KernelError as error:
            refusal = str(error)
        heard: list[Message] = []
        told: tuple[str, ...] = ()
        for watch.settle in (0.002, 0.02, 0.2):
            heard += watch
            told = _step(text, refusal, heard)
            if nth < len(expected.steps) and told == expected.steps[nth]:
                break
        steps.append(told)
        if refusal:
            break
    return Outcome(tuple(steps), frozenset(before - addresses_in(kernel.dump()).keys()))


def _outcome(foretold: Foretold) -> Outcome:
    steps = (_step(str(step), str(step.refusal or ""), step.messages) for step in foretold.steps)
    return Outcome(tuple(steps), frozenset(addresses_in(foretold.lost)))


def _step(text: str, refusal: str, messages: Sequence[Message]) -> tuple[str, ...]:
    return text, f"refused: {refusal or 'no'}", *map(spelled, normal(messages))


def difference(case: Case) -> str:
    """Where what is foretold and what happens part; empty where they do not."""
    expected, happened, notes = compared(case)
    if expected == happened:
        return ""
    told = unified_diff(expected.lines(), happened.lines(), "foretold", "happened", n=100, lineterm="")
    return "\n".join([*case.state, "--", *case.commands, *(f"note: {note}" for note in notes), *told])


def differences(seeds: Sequence[int]) -> Iterator[str]:
    for seed in seeds:
        if found := difference(Case.random(seed)):
            yield f"seed {seed}\n{found}\n"


if __name__ == "__main__":
    parted = 0
    for found in differences(range(int(sys.argv[1]), int(sys.argv[2]))):
        parted += 1
        print(found)  # noqa: T201
    print(parted, "differ")  # noqa: T201
