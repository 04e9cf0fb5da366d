"""addrsvc.daemon.audit: who was refused is told, and a flood of attempts is counted."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from addrsvc.daemon.audit import Audit
from addrsvc.daemon.authority import Peer
from addrsvc.errors import NotPermitted

METHOD = "org.addrsvc.Keeper.Reload"


class Told:
    """What is told, and the end of the span that is waited for."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        self.ends: list[Callable[[], object]] = []
        self.audit = Audit(self.tell, lambda seconds, end: self.ends.append(end))

    def tell(self, event: str, **said: object) -> None:
        assert event == "denied"
        self.events.append(said)

    def end(self) -> list[dict[str, object]]:
        """What is told at the end of the span."""
        before = len(self.events)
        self.ends.pop()()
        assert self.ends == []
        return self.events[before:]


@pytest.fixture
def told() -> Told:
    return Told()


def test_who_was_refused_is_told_with_what_they_tried(told: Told) -> None:
    with pytest.raises(NotPermitted), told.audit.of(Peer(os.getpid(), 7, 8), METHOD):
        raise NotPermitted("no")

    comm = Path("/proc/self/comm").read_text().rstrip("\n")
    assert told.events == [{"method": METHOD, "uid": 7, "gid": 8, "pid": os.getpid(), "comm": comm}]
    assert told.end() == []


def test_of_who_is_hidden_the_name_is_not_told(told: Told) -> None:
    told.audit.denied(Peer(0, 7, 8), METHOD)

    assert told.events == [{"method": METHOD, "uid": 7, "gid": 8, "pid": 0}]


def test_who_is_permitted_is_not_told(told: Told) -> None:
    with told.audit.of(Peer(1, 7), METHOD):
        pass

    assert (told.events, told.ends) == ([], [])


def test_a_user_who_tries_again_and_again_hides_no_other(told: Told) -> None:
    for _ in range(1000):
        told.audit.denied(Peer(1, 7), METHOD)
    told.audit.denied(Peer(2, 8), METHOD)

    assert [said["uid"] for said in told.events] == [7] * 5 + [8]
    assert told.end() == [{"count": 995, "uids": [7]}]
    told.audit.denied(Peer(1, 7), METHOD)
    assert told.events[-1]["uid"] == 7


def test_very_many_users_are_counted_too(told: Told) -> None:
    for uid in range(100_000, 165_536):
        told.audit.denied(Peer(1, uid), METHOD)

    assert len(told.events) == 40
    (rest,) = told.end()
    assert rest == {"count": 65_496, "uids": [*range(100_040, 100_056)]}
