"""72 to 76: addresses that do not live for ever, and when they are told to be old, and gone.

The running kernel needs the time that it takes; so all these lives are lived at once, each in a namespace of its own.
"""

import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from addrsvc.netlink.messages import Message
from addrsvc.pytest_plugin import need_netns
from addrsvc.uapi import NLM_F_CREATE, NLM_F_REPLACE
from tests.fidelity.asks import add, alias, up
from tests.fidelity.notation import brief
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import A1, A2, A3, BOTH, LO4, LO6
from tests.fidelity.scenarios.subject import Model, Running, Subject, addresses

EARLY, LATE = 0.03, 1.3
"""Seconds by which the kernel may miss a limit: whole seconds are counted, and close limits are served together."""
SLOW = 0.7
"""And those that a busy machine may take to let us hear of it."""
CLOSE = 0.25
"""Seconds within which what is said belongs together."""
SPAN = 9.4
STEP = 0.02

Script = tuple[tuple[float, Message], ...]
PAIRS = [(valid, preferred) for valid in range(1, 8) for preferred in range(valid + 1)]


def life(valid: int | None, preferred: int, text: str = f"{A1}/64", nlm: int = NLM_F_CREATE) -> Message:
    return add(text, valid=valid, preferred=preferred, nlm=nlm)


def replaced(valid: int | None, preferred: int, text: str = f"{A1}/64") -> Message:
    return life(valid, preferred, text, NLM_F_CREATE | NLM_F_REPLACE)


SCRIPTS: Mapping[object, Script] = {
    **{pair: ((0, life(*pair)),) for pair in PAIRS},
    "for ever": ((0, life(None, 2)),),
    "extended": ((0, life(2, 2)), (1, replaced(5, 4))),
    "shortened": ((0, life(7, 7)), (1, replaced(2, 1))),
    "renewed": ((0, life(4, 1)), (2, replaced(5, 4))),
    "::1": ((0, replaced(3, 1, LO6)), (5, alias("x"))),
    "together": ((0, life(2, 2)), (0.3, life(2, 2, f"{A2}/64")), (0.6, life(2, 2, f"{A3}/64"))),
    "secondaries": tuple((0, life(2, 2, f"10.0.0.{host}/24")) for host in (1, 2, 3)),
}


@dataclass
class Life:
    """What was asked of one script, what was said, and when; and which addresses were there at the end.

    Times count from the first request.
    """

    subject: Subject
    script: Script
    start: float | None = None
    asked: list[float] = field(default_factory=list)
    heard: list[tuple[float, str]] = field(default_factory=list)
    left: str = ""

    def ask_what_is_due(self, now: Callable[[], float]) -> None:
        while len(self.asked) < len(self.script) and self.script[len(self.asked)][0] <= self._since(now()):
            self.asked.append(self._since(now()))
            self.subject.send(self.script[len(self.asked) - 1][1])

    def hear(self, now: float, said: tuple[Message, ...]) -> None:
        self.heard += [(self._since(now), word) for word in brief(said).split()]

    def _since(self, now: float) -> float:
        if self.start is None:
            self.start = now
        return now - self.start

    def end(self) -> None:
        self.left = addresses(self.subject)
        self.subject.close()

    def when(self, word: str) -> list[float]:
        """The times at which something was said."""
        return [at for at, said in self.heard if said == word]

    def once(self, word: str) -> float:
        (at,) = self.when(word)
        return at


def lives_of_the_model() -> dict[object, Life]:
    lives = {name: Life(Model(), script) for name, script in SCRIPTS.items()}
    for life in lives.values():
        life.subject.ask(up())
        for step in range(round(SPAN / STEP)):
            life.ask_what_is_due(lambda step=step: step * STEP)  # type: ignore[misc]
            life.hear((step + 1) * STEP, life.subject.wait(STEP))
        life.end()
    return lives


def lives_of_the_running_kernel() -> dict[object, Life]:
    subjects = {name: Running() for name in SCRIPTS}
    lives = {name: Life(subject, SCRIPTS[name]) for name, subject in subjects.items()}
    poll = select.poll()
    for subject in subjects.values():
        subject.ask(up())
        poll.register(subject.fileno(), select.POLLIN)
    by_fd = {subject.fileno(): lives[name] for name, subject in subjects.items()}
    until = time.monotonic() + SPAN
    while time.monotonic() < until:
        for life in lives.values():
            life.ask_what_is_due(time.monotonic)
        for fd, _ in poll.poll(STEP * 1000):
            by_fd[fd].hear(time.monotonic(), by_fd[fd].subject.wait(0))
    for life in lives.values():
        life.end()
    return lives


LIVES = {"model": lives_of_the_model, "running": lives_of_the_running_kernel}


@pytest.fixture(scope="module", params=LIVES)
def lives(request: pytest.FixtureRequest) -> dict[object, Life]:
    """All the lives, lived on the model with its own clock, and on the running kernel with ours."""
    if request.param == "running":
        need_netns(request.config)
    return LIVES[request.param]()


def assert_about(seconds: float, limit: float) -> None:
    assert limit - EARLY <= seconds <= limit + LATE + SLOW


@scenario(72)
@pytest.mark.parametrize(("valid", "preferred"), PAIRS)
def test_an_address_grows_old_and_goes(lives: dict[object, Life], valid: int, preferred: int) -> None:
    """It is told to be old once, unless it never is, or is from the start."""
    life = lives[valid, preferred]

    old = life.when(f"A+(D){A1}")
    assert len(old) == (preferred < valid)
    for seconds in old:
        assert_about(seconds, preferred)
    assert_about(life.once(f"A-{A1}"), valid)
    assert [word for _, word in life.heard][-2:] == [f"A-{A1}", f"R-loc:{A1}"]
    assert life.left == BOTH


@scenario(73)
def test_one_that_is_valid_for_ever_grows_old_and_stays(lives: dict[object, Life]) -> None:
    life = lives["for ever"]

    assert_about(life.once(f"A+(D,P){A1}"), 2)
    assert life.left == f"{LO4} {A1}/64 {LO6}"


@scenario(74)
@pytest.mark.parametrize(("how", "old", "gone"), [("extended", 4, 5), ("shortened", 1, 2), ("renewed", 4, 5)])
def test_replace_begins_a_life_anew(lives: dict[object, Life], how: str, old: float, gone: float) -> None:
    """Both limits count from the REPLACE, even where it comes after the first of the old ones."""
    life = lives[how]
    _, replace = life.asked

    assert_about(life.when(f"A+(D){A1}")[-1], replace + old)
    assert_about(life.once(f"A-{A1}"), replace + gone)
    assert len(life.when(f"A+(D){A1}")) == (2 if how == "renewed" else 1)
    assert life.left == BOTH


@scenario(75)
def test_a_finite_loopback_address_goes_like_any_other(lives: dict[object, Life]) -> None:
    """And an alias does not bring it back: IPv6 is ready on lo, so that nothing is configured."""
    life = lives["::1"]

    assert_about(life.once("A+(D)::1"), 1)
    assert_about(life.once("A-::1"), 3)
    assert life.heard[-1][1] == "L"
    assert life.left == LO4


@scenario(76)
def test_close_limits_are_served_together_and_a_second_apart_at_most(lives: dict[object, Life]) -> None:
    """The one work item that serves a namespace comes back after a second at the earliest."""
    life = lives["together"]
    gone = [life.once(f"A-{it}") for it in (A1, A2, A3)]
    for seconds, added in zip(gone, life.asked, strict=True):
        assert_about(seconds, added + 2)

    rounds = [later for earlier, later in pairwise(sorted(gone)) if later - earlier > CLOSE]
    assert len(rounds) <= 1
    assert all(later - min(gone) >= 1 - EARLY - STEP for later in rounds)


def test_of_a_primary_and_its_secondaries_that_end_together_each_goes_once(lives: dict[object, Life]) -> None:
    """The primary takes with it those that have not been looked at yet, which are others each time."""
    life = lives["secondaries"]
    gone = [word for _, word in life.heard if word.startswith("A4-")]

    assert sorted(gone) == ["A4-10.0.0.1", "A4-10.0.0.2", "A4-10.0.0.3"]
    assert gone[-1] == "A4-10.0.0.1"
    assert_about(life.once("A4-10.0.0.1"), 2)
    assert life.left == BOTH
