"""A small campaign in every run of the tests; the large one is a command (see campaign.py)."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from tests.fidelity.campaign import Result, as_test, campaign, kernel_has_two_answers, main, report
from tests.fidelity.left_out import CHANCE, RACES, SCOPE, starts_traffic, why_not
from tests.fidelity.mutations import MUTATIONS, mutated
from tests.fidelity.normal import NORMALISATIONS, Normaliser
from tests.fidelity.play import Both, Difference
from tests.fidelity.requests import REQUESTS
from tests.fidelity.scripts import script
from tests.fidelity.steps import ASKER, Datagram, Op, Outcome, Send, Setsockopt, Sysctl
from tests.fidelity.wire import ACK, DUMP, REQUEST, Message, header, messages, nest, nla, text, u32

STEPS = 400


@pytest.mark.needs_cap_sys_admin
@pytest.mark.parametrize("seed", [1, 2])
def test_both_kernels_agree_on_a_small_campaign(seed: int) -> None:
    """Its two namespaces have to know one another, which those of two user namespaces do not."""
    result = campaign(seed, STEPS)

    assert not result.kinds, "\n".join(report(result))
    assert result.steps >= STEPS


def alias(value: str) -> Send:
    return Send(bytes(Message(16, REQUEST | ACK, bytes(4) + u32(1) + bytes(8), (nla(20, text(value)),))))


@pytest.mark.needs_cap_sys_admin
def test_a_difference_does_not_go_unseen() -> None:
    """One kernel is told something behind the other's back: the next step says so, with both sides, as a test."""
    with Both() as both:
        assert both.do(Setsockopt(11, u32(1))) is None
        both.running.machine.do(alias("a secret"))
        both.running.machine.hear(ASKER)
        difference = both.do(Send(bytes(Message(18, REQUEST, bytes(4) + u32(1) + bytes(8)))))

    assert difference is not None
    assert difference.kind == "RTM_GETLINK: ASKER RTM_NEWLINK / RTM_NEWLINK"
    assert "-ASKER   RTM_NEWLINK" in str(difference)
    assert b"a secret".hex() in str(difference)
    assert 'Send(bytes.fromhex("2000000012000100' in as_test(difference)
    result = Result(steps=2, found={difference.kind: [difference]}, kinds=Counter({difference.kind: 1}))
    assert "2 steps in 0 scripts, 0 s" in "\n".join(report(result))


@pytest.mark.needs_cap_sys_admin
def test_nothing_but_two_answers_of_the_running_kernel_excuses_a_difference() -> None:
    """Asked again it agrees with the model, which said so before, or did not."""
    steps = (Setsockopt(11, u32(1)), alias("told once"))
    with Both() as both:
        assert [both.do(op) for op in steps] == [None, None]
    another = Outcome("EIO", {})

    assert both.said is not None
    assert kernel_has_two_answers(Difference(steps, expected=both.said, seen=another))
    assert not kernel_has_two_answers(Difference(steps, expected=another, seen=both.said))


def test_a_script_depends_on_its_seed_alone() -> None:
    first, second = (list(script("7.0", 200, Counter())) for _ in range(2))

    assert first == second
    assert first != list(script("7.1", 200, Counter()))


def test_every_kind_of_request_and_of_error_is_sent() -> None:
    rng = Random(1)
    for _, maker in REQUESTS.values():
        for _ in range(50):
            data = bytes(maker(rng))
            assert [found.nlmsg_len for found in messages(data)] == [len(data)]
    counts: Counter[str] = Counter()
    message = Message(20, REQUEST, bytes(8), (nla(2, bytes(16)), nla(1, bytes(16))))
    for _ in range(3000):
        name, raw = mutated(rng, message)
        counts[name] += raw != bytes(message)
    assert set(counts) == set(MUTATIONS)
    assert min(counts.values()) > 0


def test_what_is_not_compared_or_not_asked_has_a_reason() -> None:
    assert all(rule.what and rule.why for rule in NORMALISATIONS)
    assert all(rule.what and rule.why for rule in (*RACES, *SCOPE))
    assert all(CHANCE)


@pytest.mark.parametrize(
    ("op", "why"),
    [
        (Send(bytes(Message(19, REQUEST, bytes(16), (nla(19, u32(1)),)))), "a request that names a process"),
        (Send(bytes(Message(36, REQUEST, bytes(20), (nla(1, text("htb")),)))), "objects that the model does not have"),
        (Send(bytes(Message(36, REQUEST, bytes(20), (nla(1, text("nonesuch")),)))), None),
        (Send(bytes(Message(104, REQUEST, bytes(8), (nla(5, u32(1)),)))), "objects that the model does not have"),
        (Send(bytes(Message(104, REQUEST, bytes(8), (nla(5, u32(77)),)))), None),
        (Send(bytes(Message(20, REQUEST, bytes(8)))), None),
        (Send(2 * bytes(Message(20, REQUEST, b"\x0a" + bytes(7)))), "a message behind one that adds an IPv6 address"),
        (Send(bytes(Message(16, 0x401, bytes(16), (nest(18, nla(1, b"ifb")),)))), "a device that is made without"),
        (Send(bytes(Message(16, 0x401, bytes(16), (nest(18, nla(1, b"vlan")),)))), None),
        (Send(bytes(Message(16, 0x401, bytes(16), (nest(18, nla(1, b"veth")),)))), "RTM_NEWLINK and RTM_GETLINK with"),
        (Send(bytes(Message(18, REQUEST, bytes(16), (nest(18, nla(1, b"dummy")),)))), "RTM_NEWLINK and RTM_GETLINK"),
        (Send(bytes(Message(19, REQUEST, bytes(16), (nest(18, nla(1, b"veth")),)))), None),
        (Sysctl("net/ipv6/conf/lo/dad_transmits", "1"), "net.ipv6.conf.*.dad_transmits"),
        (Sysctl("net/ipv6/conf/lo/dad_transmits"), None),
    ],
)
def test_what_has_no_single_answer_is_not_asked(op: Op, why: str | None) -> None:
    assert (why_not(op) or "")[: len(why or "")] == (why or "")
    assert (why_not(op) is None) == (why is None)


def test_neighbours_are_read_bit_by_bit_as_long_as_there_is_no_traffic() -> None:
    dump = Send(bytes(Message(30, REQUEST | DUMP, bytes(12))), hold=True)

    assert why_not(dump) is None
    assert why_not(dump, in_traffic=True) == SCOPE[0].what
    assert why_not(Send(dump.data), in_traffic=True) is None
    assert starts_traffic(Send(bytes(Message(16, REQUEST, bytes(8) + u32(0x1000) + u32(0x1000)))))
    assert not starts_traffic(dump)


def test_headers_read_as_they_are_written() -> None:
    data = bytes(Message(20, REQUEST | ACK, bytes(8), seq=7, pid=9))

    found = header(data)

    assert (found.nlmsg_len, found.nlmsg_type, found.flags, found.seq, found.pid) == (24, 20, 5, 7, 9)


def neighbour(address: str, flags: int = 2) -> bytes:
    head = bytes((2 if len(address) == 8 else 10,)) + bytes(11)
    return bytes(Message(28, flags, head, (nla(1, bytes.fromhex(address)),)))


def test_neighbours_of_a_dump_are_compared_in_any_order() -> None:
    one, two, other = neighbour("0a000001"), neighbour("0a000002"), neighbour("fd" + 15 * "00")
    normal = Normaliser()

    assert normal.data(two + one + other) == normal.data(one + two + other) == one + two + other
    assert normal.data(other + one) == other + one
    assert normal.data(neighbour("0a000002", 0) + one) == neighbour("0a000002", 0) + one


@pytest.mark.parametrize("group", ["e0000016", "ff02" + 13 * "00" + "16"])
def test_groups_are_no_neighbours_once_there_is_traffic(group: str) -> None:
    told, normal = Datagram(neighbour(group), groups=4, group=3), Normaliser()

    assert normal.heard(told) == told
    normal.in_traffic = True
    assert normal.heard(told) is None
    assert normal.data(neighbour(group) + neighbour("0a000001")) == neighbour("0a000001")


def test_the_command_says_what_it_needs_instead_of_waiting_for_it() -> None:
    dropped = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if dropped and shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv(1)")
    command = [*dropped, sys.executable, "-m", "tests.fidelity", "--steps", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert done.stderr.startswith("tests.fidelity: ")
    assert "CAP_SYS_ADMIN" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--only", "QDISC"], "'QDISC' matches none of: NEWLINK, "),
        (["--only", "("], "is no pattern"),
        (["--seeds", "1,x"], "'1,x' are no seeds"),
    ],
)
def test_the_command_says_what_it_cannot_take(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert why in capsys.readouterr().err
