"""A short fire in every run of the tests; the long one is a command (see __main__.py)."""

import os
from errno import EPERM
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc.mirror.netns import NetNs
from addrsvc.model.addrconf_core import register_inet6addr_validator_notifier
from addrsvc.model.notifier import NotifierBlock, notifier_from_errno
from addrsvc.model.structs import In6ValidatorInfo
from addrsvc.netlink.messages import LinkMsg
from tests.fidelity.asks import up
from tests.fuzz import control, heard
from tests.fuzz.__main__ import LEGS, Measure, Shot, fire, main, report
from tests.fuzz.generator import HEADER_LENGTHS, Generator, message, nla
from tests.fuzz.target import WHOLE, Broken, Target, messages, served

DATAGRAMS, LEG = 2000, 400
EXAMPLES = 150

# --- by seed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_what_must_hold_holds(seed: int) -> None:
    shot = fire(seed, DATAGRAMS, leg=LEG)

    assert not shot.complaint, "\n".join(report([shot]))
    assert shot.datagrams == DATAGRAMS
    assert [measure.leg for measure in shot.measures] == [0, 1, 2, 3, 0]


def test_they_are_not_all_of_a_kind() -> None:
    counts = fire(3, DATAGRAMS).counts

    assert min(counts[name] for name in ("answers", "dumps", "notifications")) > 20
    assert {"RTM_NEWLINK", "RTM_NEWADDR", "RTM_DELADDR", "RTM_NEWROUTE"} <= {it.removeprefix("done: ") for it in counts}
    assert {"EPERM", "EINVAL", "ERANGE", "EEXIST", "ENODEV"} <= {name.removeprefix("refused: ") for name in counts}


def test_the_same_seed_fires_the_same() -> None:
    first, second, other = (Generator(Random(seed)) for seed in (1, 1, 2))
    datagrams = [first.datagram() for _ in range(100)]

    assert datagrams == [second.datagram() for _ in range(100)]
    assert datagrams != [other.datagram() for _ in range(100)]


def test_the_command_says_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--datagrams", "400", "--seed", "7", "--jobs", "2"]) == 0

    said = capsys.readouterr().out
    assert "seed 7: 200 datagrams" in said
    assert "seed 8: 200 datagrams" in said
    assert "datagrams 400; " in said


def test_memory_that_grows_is_told() -> None:
    sizes = [1 << 20, 2 << 20, 3 << 20, 9 << 20, 9 << 20, 14 << 20]
    shot = Shot(1, 5, 0.0, [Measure(nth % LEGS, 50, 40_000, size) for nth, size in enumerate(sizes)])

    assert shot.complaint == "memory is not flat"
    assert "memory is not flat\n  MiB resident: 1.0 2.0 3.0 9.0 9.0 14.0\n  state: 50 50" in str(shot)


def test_what_no_request_can_delete_may_be_kept() -> None:
    """Rules with FIB_RULE_PERMANENT."""
    shot, target = Shot(1), Target()
    shot.measure(target, 0, tells=False)
    for pref in range(1, 60):
        target.feed(message(32, 5, bytes.fromhex("02000000 fe000001 01000000") + nla(6, pref.to_bytes(4, "little"))))
    shot.measure(target, 1, tells=False)

    assert shot.measures[1].size == shot.measures[0].size + 59
    assert not shot.complaint


def test_what_is_kept_of_what_is_gone_is_told() -> None:
    shot, target, kept = Shot(1), Target(), list[NotifierBlock]()
    shot.measure(target, 0, tells=False)
    kept += [NotifierBlock(lambda _, __: 0) for _ in range(200)]
    shot.measure(target, 1, tells=False)

    assert len(kept) == 200
    assert shot.complaint == "a machine keeps more than its state"


# --- by Hypothesis ---------------------------------------------------------------------------------------------------

NLA_TYPES = st.one_of(st.integers(0, 80), st.integers(0, 0xFFFF))
LEAVES = st.builds(nla, NLA_TYPES, st.binary(max_size=40))
ATTRIBUTES = st.recursive(
    LEAVES, lambda inner: st.builds(nla, NLA_TYPES, st.lists(inner, max_size=4).map(b"".join)), max_leaves=8
)
PAYLOADS = st.builds(
    lambda header, attributes: header.ljust(len(header) + 3 & ~3, b"\0") + b"".join(attributes),
    st.binary(max_size=24),
    st.lists(ATTRIBUTES, max_size=5),
)
TYPES = st.one_of(
    st.sampled_from([base + kind for base in HEADER_LENGTHS for kind in range(4)]), st.integers(0, 0xFFFF)
)
MESSAGES = st.builds(
    message,
    TYPES,
    st.one_of(st.just(5), st.just(0x305), st.integers(0, 0xFFFF)),
    PAYLOADS,
    length=st.one_of(st.none(), st.none(), st.none(), st.integers(0, 0xFFFFFFFF)),
)
DATAGRAMS_AT_ALL = st.one_of(st.binary(max_size=200), st.lists(MESSAGES, max_size=4).map(b"".join))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(DATAGRAMS_AT_ALL, st.integers(0, 3)), max_size=12))
def test_what_must_hold_holds_for_anything(fired: list[tuple[bytes, int]]) -> None:
    target = Target()
    for datagram, asker in fired:
        target.feed(datagram, asker)
    target.hear()


# --- the looking -----------------------------------------------------------------------------------------------------

NEWADDR = message(20, 5, bytes((10, 64, 0, 0, 1, 0, 0, 0)) + nla(2, bytes(15) + b"\5"))


def test_an_exception_that_escapes_is_not_caught() -> None:
    target = Target()

    def bug(_: int, __: object) -> int:
        raise ZeroDivisionError

    register_inet6addr_validator_notifier(target.linux.machine, NotifierBlock(bug))
    with pytest.raises(ZeroDivisionError):
        target.feed(NEWADDR)


def test_a_refusal_that_changes_something_is_seen() -> None:
    target = Target()

    def two_faced(_: int, info: In6ValidatorInfo) -> int:
        info.i6vi_dev.dev.ifalias = "changed"
        return notifier_from_errno(-EPERM)

    register_inet6addr_validator_notifier(target.linux.machine, NotifierBlock(two_faced))
    with pytest.raises(Broken, match="has changed something"):
        target.feed(NEWADDR)


def test_a_change_that_only_some_dump_tells_is_seen_soon() -> None:
    """IPv4 routes are not among what is looked at each time."""
    target = Target()
    target.net.request(up())
    target.pass_time(0)
    refusals = count(1)

    def two_faced(_: int, info: In6ValidatorInfo) -> int:
        if next(refusals) > WHOLE:
            info.i6vi_dev.dev.net.ipv4.fib.clear()
        return notifier_from_errno(-EPERM)

    register_inet6addr_validator_notifier(target.linux.machine, NotifierBlock(two_faced))
    with pytest.raises(Broken, match="has changed what a dump tells"):
        list(map(target.feed, [NEWADDR] * 3 * WHOLE))


def test_what_is_no_netlink_is_seen() -> None:
    good = message(2, 0, bytes(20))

    assert [length for _, _, length in messages(good * 2)] == [36, 36]
    for bad in (good + b"\0", good[:-4], message(2, 0, b"", length=8)):
        with pytest.raises(Broken):
            list(messages(bad))


def test_the_requests_of_a_datagram_are_those_that_the_kernel_sees() -> None:
    lying = message(16, 1, b"", length=15)

    assert list(served(NEWADDR + lying + NEWADDR)) == [20]
    assert list(served(message(20, 4, bytes(8)) + message(3, 1, b"") + NEWADDR[:-1])) == []


def test_room_is_made_before_it_is_crowded() -> None:
    target = Target()
    target.net.request(up())
    target.net.request(LinkMsg(ifi_index=1, ifname="lo9"))
    for number in range(100):
        target.net.addr_add(f"2001:db8::{number:x}/128", "lo9", nodad=True)
    target.pass_time(0)
    target.make_room()

    assert target.net.addresses("lo") == []


# --- the control socket, and what is heard ---------------------------------------------------------------------------


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a namespace without a name needs to be root")


@needs_root
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_clients_get_clear_errors_and_it_still_heals(netns: NetNs, seed: int) -> None:
    volley = control.fire(seed, 150)

    assert volley.count == 150
    assert volley.counts["answered"] > 10
    assert volley.counts["InvalidParameter"] + volley.counts["BadRequest"] > 10


@pytest.mark.parametrize(
    "answer", [b"no\0", b'{"error":1}\0', b'{"error":"x.InternalServerError"}\0'], ids=["no JSON", "number", "bug"]
)
def test_an_answer_that_is_none_is_told(answer: bytes) -> None:
    with pytest.raises(control.Broken):
        control.judge(b'{"parameters":{}}\0' + answer)


@needs_root
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_datagrams_are_heard_and_it_still_heals(netns: NetNs, seed: int) -> None:
    volley = heard.fire(seed, 2000)

    assert volley.count == 2000
    assert min(volley.counts[name] for name in ("RTM_NEWLINK", "RTM_NEWADDR", "RTM_DELADDR", "repaired")) > 10
