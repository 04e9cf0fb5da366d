"""Configurations that are broken in all ways, and what must hold of each: it is read, or refused with a ConfigError."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from addrsvc.errors import ConfigError, Problem
from addrsvc.keeper.config import Config, Loaded, parse
from addrsvc.keeper.toml_text import toml
from tests.keeper.configs import EXAMPLE, FULL, instance, uncommented

SEEDS: Final = tuple(text.encode() for text in (FULL, uncommented(EXAMPLE), instance(EXAMPLE)))
PIECES: Final = tuple(
    b"""[ ] [[ ]] { } = , . # " ' \"\"\" ''' \\ \\u0000 \\ud800 \n \r\n \0 \xff \xef\xbb\xbf true nan -inf 1e999 0x7f
    1979-05-27 99999999999999999999 -1 0.5 [[rule]] name=''host'' namespaces= addresses= "fd00::1" ::1/128 fights.
    daemon. realtime= "pid:1" "docker:*" """.split(b" ")
)


def mutated(data: bytes, rng: Random) -> bytes:
    """The same with some things in it gone, doubled, moved, changed or come from elsewhere."""
    for _ in range(rng.randint(1, 6)):
        data = rng.choice(_WAYS)(data, rng)
    return data


def _span(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 1, 2, 8, 40)))


def _cut(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _double(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 3, 200)) + data[end:]


def _move(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return _insert(data[:start] + data[end:], rng, data[start:end])


def _insert(data: bytes, rng: Random, piece: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + piece + data[at:]


def _add(data: bytes, rng: Random) -> bytes:
    return _insert(data, rng, rng.choice(PIECES))


def _change(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _swap_lines(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def _replace_word(data: bytes, rng: Random) -> bytes:
    """A value or a word becomes another one."""
    words = data.split(b" ")
    words[rng.randrange(len(words))] = rng.choice(PIECES)
    return b" ".join(words)


_WAYS: Final = (_cut, _double, _move, _add, _change, _swap_lines, _replace_word)


def judge(data: bytes) -> str:
    """Read a configuration; what came of it, in a word.

    Raises:
        AssertionError: what it comes down to, written, does not read as the same, or an error says no place.
    """
    try:
        config = parse(data.decode(), "fuzzed").config
    except UnicodeDecodeError:
        return "no text"
    except ConfigError as error:
        return _judge_refusal(error.problems, data)
    assert parse(toml(Loaded(config, {}, ()))).config == config, "it does not read as the same when it is written"
    _ask(config)
    return "read"


def _judge_refusal(problems: Sequence[Problem], data: bytes) -> str:
    assert problems, "refused for no reason"
    assert all(it.text and it.line <= data.count(b"\n") + 1 for it in problems), problems
    return "refused"


def _ask(config: Config) -> None:
    for label in ("host", "blue", "docker:1", "pid:1", "/srv/red"):
        config.wanted(label)


@dataclass
class Volley:
    """What came of the configurations of one seed."""

    seed: int
    count: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.most_common())
        return f"seed {self.seed}: {self.count} configurations, {self.seconds:.0f} s: {counts}"


def fire(seed: int, count: int, seeds: Sequence[bytes] = SEEDS) -> Volley:
    """Read so many broken configurations, the same for the same seed."""
    rng, volley, start = Random(seed), Volley(seed), time.monotonic()
    for _ in range(count):
        volley.counts[judge(mutated(rng.choice(seeds), rng))] += 1
        volley.count += 1
    volley.seconds = time.monotonic() - start
    return volley
