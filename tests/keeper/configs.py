"""Configurations of all kinds, as Hypothesis strategies, and the files that are in the project."""

import re
from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from addrsvc.keeper.addresses import Prefix, route_is_wrong, service_is_wrong
from addrsvc.keeper.config import Config
from addrsvc.keeper.settings import (
    Address,
    Control,
    Daemon,
    Fights,
    Level,
    LogFormat,
    Method,
    Metrics,
    Rule,
    Watch,
)
from addrsvc.keeper.texts import Listen
from addrsvc.keeper.wanted import Lo, Loopback, Reaction
from addrsvc.uapi import INFINITY_LIFE_TIME

EXAMPLE = (Path(__file__).parents[2] / "systemd" / "addrsvc.toml").read_text()


def uncommented(text: str) -> str:
    """The example with what is commented out in it taken as said; what is said about it are comments still."""
    return re.sub(r"(?m)^#(?=[\w\[])", "", text)


def instance(text: str) -> str:
    """What the example shows as an instance, and nothing else of it."""
    return "\n".join(re.findall(r"(?m)^##(.*)$", text))


FULL = """\
[daemon]
realtime = 10
patience = 0.5
log_level = "debug"
log_format = "json"

[control]
users = [1000, "root"]
group = 4
allow_real_injection = true

[watch]
method = "nsid"
receive_buffer = "16M"
sweep = 12.5

[metrics]
listen = "[::1]:9100"
addresses = 20

[[rule]]
name = "edge"
namespaces = ["host", "web-*", "docker:*", "pid:1", "/srv/ns/red"]
lo = "up"
loopback = "ensure"
loopback_reaction = "yield-then-heal"
loopback_yield_for = 0.5
reaction = "report"
adopt = ["192.0.2.9/24", "fd00::99"]
fast_flush = true
fights = { reversals = 3, within = 5, first_wait = 2, longest_wait = 60 }
addresses = [
    "fd00::1",
    "192.0.2.1/32",
    { address = "fd00::2", metric = 50, preferred_lft = 0, reaction = "heal", yield_for = 3, drain = 10 },
    { address = "fd00:1::/64", route = true },
]

[[rule]]
name = "quiet"
enabled = false
loopback = "leave"
"""

SECONDS = st.floats(0, 86400)
MAYBE_SECONDS = st.none() | SECONDS
WAITS = st.floats(0.001, 86400)
PREFIXES = st.one_of(
    st.builds(Prefix, st.binary(min_size=16, max_size=16), st.integers(0, 128)),
    st.builds(Prefix, st.binary(min_size=4, max_size=4), st.integers(0, 32)),
)
REACTIONS = st.none() | st.sampled_from(Reaction)


SERVICES = PREFIXES.map(lambda it: it.whole).filter(lambda it: service_is_wrong(it) is None)
ADOPTED = PREFIXES.filter(lambda it: service_is_wrong(it.whole) is None)
ROUTES = PREFIXES.map(lambda it: it.network).filter(lambda it: route_is_wrong(it) is None)
LIFETIMES = st.none() | st.integers(0, INFINITY_LIFE_TIME)
METRICS = st.none() | st.integers(0, 0xFFFFFFFF)


def _possible(it: Address) -> Address:
    """An IPv4 address is deprecated, or preferred for ever."""
    is_between = it.preferred_lft not in (None, 0, INFINITY_LIFE_TIME)
    return replace(it, preferred_lft=0) if it.address.bits == 32 and is_between else it


ADDRESSES = st.one_of(
    st.builds(
        Address, SERVICES, METRICS, LIFETIMES, REACTIONS, MAYBE_SECONDS, MAYBE_SECONDS, st.sampled_from([None, False])
    ).map(_possible),
    st.builds(Address, ROUTES, METRICS, st.none(), REACTIONS, MAYBE_SECONDS, MAYBE_SECONDS, st.just(True)),
)
NAMES = st.text("abcxyzABC019_-", min_size=1, max_size=64)
FILE_NAMES = st.text(
    st.characters(exclude_characters="/\0:", exclude_categories=["Cs"]), min_size=1, max_size=60
).filter(lambda it: it not in (".", ".."))
SELECTORS = st.one_of(
    st.just("host"),
    FILE_NAMES,
    FILE_NAMES.map("docker:{}".format),
    st.integers(1, 4_000_000).map("pid:{}".format),
    FILE_NAMES.map("/srv/{}".format),
)


def _fights(reversals: int | None, within: float | None, waits: list[float]) -> Fights:
    first, longest = sorted(waits)
    return Fights(reversals, within, first, longest)


RULES = st.builds(
    Rule,
    NAMES,
    st.booleans(),
    st.lists(SELECTORS, min_size=1, max_size=5, unique=True).map(tuple),
    st.none() | st.sampled_from(Lo),
    st.none() | st.sampled_from(Loopback),
    REACTIONS,
    MAYBE_SECONDS,
    st.none() | st.lists(ADDRESSES, max_size=6, unique_by=lambda it: it.address).map(tuple),
    REACTIONS,
    MAYBE_SECONDS,
    MAYBE_SECONDS,
    st.none() | st.lists(ADOPTED, max_size=3, unique=True).map(tuple),
    st.none()
    | st.just(Fights())
    | st.builds(
        _fights, st.none() | st.integers(1, 1_000_000), st.none() | WAITS, st.lists(WAITS, min_size=2, max_size=2)
    ),
    st.none() | st.booleans(),
)
IDS = st.integers(0, 0xFFFFFFFE)
LISTENS = st.one_of(
    st.just(Listen()),
    FILE_NAMES.filter(lambda it: len(it.encode()) < 100).map(lambda name: Listen(path=f"/run/{name}")),
    st.builds(Listen, st.just(""), st.sampled_from(["127.0.0.1", "::1"]), st.integers(1, 65535)),
)
CONFIGS = st.builds(
    Config,
    st.builds(Daemon, st.integers(0, 99), SECONDS, st.sampled_from(Level), st.sampled_from(LogFormat)),
    st.builds(Control, st.lists(IDS, max_size=3, unique=True).map(tuple), st.none() | IDS, st.booleans()),
    st.builds(Watch, st.sampled_from(Method), st.integers(4096, 1 << 30), SECONDS),
    st.builds(Metrics, LISTENS, st.integers(0, 1_000_000)),
    st.lists(RULES, min_size=1, max_size=4, unique_by=lambda it: it.name).map(tuple),
)
