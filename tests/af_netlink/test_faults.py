"""What goes wrong on demand: said in Python and in a file, seen by a bare socket and by pyroute2."""

from collections.abc import Callable, Iterator
from errno import EINVAL, ENOBUFS, ENOMEM, EPERM
from pathlib import Path
from struct import Struct

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from addrsvc import Linux
from addrsvc.af_netlink.faults import Faults
from addrsvc.af_netlink.sock import NetlinkSock
from addrsvc.errors import ControlError, KernelError
from addrsvc.netlink.codec import decode, encode
from addrsvc.netlink.messages import AddrMsg, Message
from addrsvc.pyroute import iproute
from addrsvc.uapi import (
    NETLINK_ADD_MEMBERSHIP,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_LINK,
    SOL_NETLINK,
)
from tests.fidelity.asks import add, delete, up
from tests.fidelity.notation import brief

HEADER = Struct("=IHHIIi")
SEQ = 5
NODAD = 2


def added(number: int) -> Message:
    """An address that is told once."""
    return add(f"2001:db8::{number}/128", flags=NODAD)


class Client:
    """A socket of the model, which asks in values and counts what it asks."""

    def __init__(self, sock: NetlinkSock) -> None:
        self.sock = sock

    def listen(self, *groups: int) -> None:
        if not self.sock.bound:
            self.sock.bind()  # without a port id it would hear nothing
        for group in groups:
            self.sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def ask(self, msg: Message, flags: int = NLM_F_ACK) -> int | None:
        """The errno of the answer; None as long as there is none."""
        data = bytearray(encode(msg, SEQ))
        HEADER.pack_into(data, 0, *HEADER.unpack_from(data)[:2], flags | NLM_F_REQUEST | msg_flags(msg), SEQ, 0,
                         HEADER.unpack_from(data)[5])  # fmt: skip
        self.sock.send(bytes(data))
        return self.answer()

    def answer(self) -> int | None:
        answers = [HEADER.unpack_from(it.data) for it in self.sock]
        return -answers[0][5] if answers else None

    def heard(self) -> str:
        """What was told, until the queue is empty."""
        return brief(decode(it.data) for it in self.sock)


def msg_flags(msg: Message) -> int:
    return getattr(msg, "nlmsg_flags", 0)


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.request(up())
    return linux


@pytest.fixture
def client(linux: Linux) -> Client:
    return Client(linux.init_net.socket())


@pytest.fixture
def ear(linux: Linux) -> Client:
    ear = Client(linux.init_net.socket())
    ear.listen(RTNLGRP_IPV6_IFADDR)
    return ear


# --- requests --------------------------------------------------------------------------------------------------------


def test_the_nth_request_of_a_type_fails_and_is_not_served(linux: Linux, client: Client) -> None:
    linux.faults.fail(RTM_NEWADDR, errno=ENOMEM, nth=3)

    assert [client.ask(added(number)) for number in range(1, 6)] == [0, 0, ENOMEM, 0, 0]
    assert "2001:db8::3" not in [str(it.network.ip) for it in linux.init_net.addresses("lo")]


def test_a_request_of_another_type_or_family_or_asker_is_not_counted(linux: Linux, client: Client) -> None:
    other = Client(linux.init_net.socket(pid=77))
    fault = linux.faults.fail(RTM_NEWADDR, errno=ENOMEM, family="AF_INET6", portid=77)

    assert client.ask(added(1)) == 0
    assert other.ask(delete("2001:db8::1/128")) == 0
    assert other.ask(add("10.0.0.1/32")) == 0
    assert (fault.seen, fault.struck) == (0, 0)
    assert other.ask(added(2)) == ENOMEM
    assert (fault.seen, fault.struck, fault.is_spent) == (1, 1, True)


def test_several_in_a_row_and_all_that_come(linux: Linux, client: Client) -> None:
    linux.faults.fail("NEWADDR", errno="ENOBUFS", nth=2, times=2)
    linux.faults.fail("RTM_DELADDR", errno=EINVAL, times=None)

    assert [client.ask(added(number)) for number in range(1, 5)] == [0, ENOBUFS, ENOBUFS, 0]
    assert [client.ask(delete("2001:db8::1/128")) for _ in range(3)] == [EINVAL] * 3


def test_the_text_of_a_refusal_is_in_the_extended_acknowledgement(linux: Linux) -> None:
    linux.faults.fail(RTM_NEWADDR, errno=ENOMEM, text="out of luck")
    sock = linux.init_net.socket()
    sock.setsockopt(SOL_NETLINK, 11, 1)
    data = bytearray(encode(added(1)))
    data[6:8] = (NLM_F_REQUEST | NLM_F_ACK).to_bytes(2, "little")
    sock.send(bytes(data))

    assert b"out of luck\0" in sock.recv().data


def test_one_namespace_can_be_meant(linux: Linux, client: Client) -> None:
    other = Client(linux.add_net("blue").socket())
    linux.faults.fail(RTM_NEWADDR, errno=ENOMEM, net="blue")

    assert (client.ask(added(1)), other.ask(added(1))) == (0, ENOMEM)


def test_privilege_is_lost_for_changes_alone(linux: Linux, client: Client) -> None:
    linux.faults.deny(nth=2)

    assert [client.ask(added(1)), client.ask(added(2)), client.ask(delete("2001:db8::1/128"))] == [0, EPERM, EPERM]
    assert client.ask(AddrMsg(RTM_GETADDR, ifa_prefixlen=0), NLM_F_DUMP) is not None
    linux.faults.clear()
    assert client.ask(added(2)) == 0


def test_a_slow_acknowledgement_comes_in_its_time_and_the_change_at_once(linux: Linux, client: Client) -> None:
    linux.faults.slow_ack(RTM_NEWADDR, seconds=0.5)

    assert client.ask(added(1)) is None
    assert "2001:db8::1" in [str(it.network.ip) for it in linux.init_net.addresses("lo")]
    linux.advance(0.48)
    assert client.answer() is None
    linux.advance(0.02)
    assert client.answer() == 0


def test_a_refusal_is_slow_too_and_one_that_never_comes_is_said_by_inf(linux: Linux, client: Client) -> None:
    linux.faults.slow_ack(RTM_DELADDR, seconds=0.1)
    linux.faults.slow_ack(RTM_NEWADDR, seconds=float("inf"))

    assert client.ask(delete("2001:db8::1/128")) is None
    assert client.ask(added(1)) is None
    linux.advance(1000)
    assert client.answer() not in (None, 0)
    assert client.answer() is None


def test_an_acknowledgement_does_not_reach_a_socket_that_is_gone(linux: Linux, client: Client) -> None:
    linux.faults.slow_ack(seconds=0.1)
    client.ask(added(1))
    client.sock.close()
    linux.advance(1)

    assert not client.sock.queue


def test_a_dump_is_marked_as_interrupted_to_its_end(linux: Linux, client: Client) -> None:
    fault = linux.faults.interrupt_dump(RTM_GETADDR)
    client.ask(AddrMsg(RTM_GETADDR), NLM_F_ACK)
    assert fault.seen == 0

    assert dumped(client) == {(RTM_NEWADDR, True), (NLMSG_DONE, True)}
    assert dumped(client) == {(RTM_NEWADDR, False), (NLMSG_DONE, False)}


def dumped(client: Client) -> set[tuple[int, bool]]:
    """Type and mark of each message of a dump of addresses."""
    data = bytearray(encode(AddrMsg(RTM_GETADDR, ifa_prefixlen=0)))
    data[6:8] = (NLM_F_REQUEST | NLM_F_DUMP).to_bytes(2, "little")
    client.sock.send(bytes(data))
    return {(kind, bool(flags & NLM_F_DUMP_INTR)) for it in client.sock for kind, flags in messages(it.data)}


def messages(data: bytes) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset < len(data):
        length, kind, flags = Struct("=IHH").unpack_from(data, offset)
        yield kind, flags
        offset += length + 3 & ~3


# --- notifications ---------------------------------------------------------------------------------------------------


def told(linux: Linux, ear: Client, count: int = 3) -> str:
    """What is heard of so many addresses, by their last digits."""
    for number in range(1, count + 1):
        linux.init_net.request(added(number))
    return " ".join(word.rpartition(":")[2] for word in ear.heard().split())


def test_a_notification_is_lost(linux: Linux, ear: Client) -> None:
    linux.faults.lose(RTNLGRP_IPV6_IFADDR, nth=2)

    assert told(linux, ear) == "1 3"


def test_a_notification_is_told_twice(linux: Linux, ear: Client) -> None:
    linux.faults.duplicate("IPV6_IFADDR", nth=2)

    assert told(linux, ear) == "1 2 2 3"


def test_a_notification_is_overtaken(linux: Linux, ear: Client) -> None:
    linux.faults.reorder(by=2)

    assert told(linux, ear, 4) == "2 3 1 4"


def test_one_that_nobody_overtakes_is_told_at_the_end(linux: Linux, ear: Client) -> None:
    linux.faults.reorder(nth=3)

    assert told(linux, ear) == "1 2"
    linux.faults.clear()
    assert ear.heard().endswith("3")


def test_a_notification_is_late(linux: Linux, ear: Client) -> None:
    linux.faults.delay(seconds=0.5)

    assert told(linux, ear) == "2 3"
    linux.advance(0.496)
    assert ear.heard() == ""
    linux.advance(0.004)
    assert ear.heard() == "A+(NODAD,P)2001:db8::1"


def test_what_is_late_comes_after_what_was_said_before_its_time(linux: Linux, ear: Client) -> None:
    """The address grows old after a second, in the same stretch of time."""
    linux.faults.delay(seconds=2)
    linux.init_net.request(added(1))
    linux.init_net.request(add("2001:db8::2/128", flags=NODAD, valid=10, preferred=1))
    ear.heard()
    linux.advance(3)

    assert ear.heard() == "A+(D,NODAD)2001:db8::2 A+(NODAD,P)2001:db8::1".replace("D,NODAD", "NODAD,D")


def test_a_listener_is_overrun(linux: Linux, ear: Client) -> None:
    """It hears of it once; what comes until it has read everything is lost too."""
    linux.faults.overrun(nth=2)
    for number in range(1, 4):
        linux.init_net.request(added(number))

    with pytest.raises(KernelError) as refused:
        ear.sock.recv()
    assert refused.value.errno == ENOBUFS
    assert ear.heard().endswith("::1")
    linux.init_net.request(added(4))
    assert ear.heard().endswith("::4")


def test_only_what_is_meant_counts(linux: Linux, ear: Client) -> None:
    fault = linux.faults.lose("IPV6_IFADDR", message=RTM_DELADDR)
    ear.listen(RTNLGRP_LINK, RTNLGRP_IPV6_ROUTE)
    linux.init_net.request(added(1))
    linux.init_net.request(delete("2001:db8::1/128"))

    assert (fault.seen, fault.struck) == (1, 1)
    assert "A-" not in ear.heard()


def test_what_nobody_listens_to_does_not_count(linux: Linux, ear: Client) -> None:
    fault = linux.faults.lose(message=RTM_NEWROUTE)
    linux.init_net.request(added(1))

    assert fault.seen == 0


def test_of_several_about_a_notification_the_first_decides(linux: Linux, ear: Client) -> None:
    linux.faults.lose()
    linux.faults.duplicate(nth=2)

    assert told(linux, ear) == "2 2 3"


def test_what_did_not_happen_can_be_asked(linux: Linux, ear: Client) -> None:
    lost, failing = linux.faults.lose(), linux.faults.fail(errno=EINVAL, nth=2)
    denied = linux.faults.deny()
    assert linux.faults.unspent() == [lost, failing, denied]
    linux.init_net.request(added(1))

    assert linux.faults.unspent() == [failing, denied]


def test_without_faults_nothing_is_in_the_way(linux: Linux, client: Client) -> None:
    assert linux.netlink.faults is None
    assert client.ask(added(1)) == 0


# --- the same in Python's words --------------------------------------------------------------------------------------

WRONG: list[tuple[Callable[[Faults], object], str]] = [
    (lambda it: it.fail("RTM_NEWADR", errno=1), "request: there is no 'RTM_NEWADR'; did you mean RTM_NEWADDR?"),
    (lambda it: it.fail(errno="ENOMEN"), "errno: there is no 'ENOMEN'; did you mean ENOMEM?"),
    (lambda it: it.fail(errno=-1), "errno: -1 is no number from 1 to 4095"),
    (lambda it: it.fail(errno=1, nth=0), "nth: 0 is no number from 1 to 2147483648"),
    (lambda it: it.fail(errno=1, times=True), "times: True is no number from 1 to 2147483648"),
    (lambda it: it.lose("IPV6"), "group: there is no 'IPV6'"),
    (lambda it: it.lose(40), "group: 40 is no number from 0 to 39"),
    (lambda it: it.delay(seconds=-1), "seconds: -1 is no number of seconds, such as 0.5, or inf"),
    (lambda it: it.delay(seconds=float("nan")), "seconds: nan is no number of seconds, such as 0.5, or inf"),
    (lambda it: it.reorder(by=0), "by: 0 is no number from 1 to 2147483648"),
    (lambda it: it.fail(errno=1, text=5), "text: 5 is no text"),  # type: ignore[arg-type]
    (lambda it: it.deny(family="INET7"), "family: there is no 'INET7'; did you mean AF_INET?"),
]


@pytest.mark.parametrize(("make", "text"), WRONG, ids=[text for _, text in WRONG])
def test_what_cannot_be_is_refused_at_once(make: Callable[[Faults], object], text: str) -> None:
    faults = Faults()
    with pytest.raises(ControlError) as refused:
        make(faults)

    assert str(refused.value).startswith(text)
    assert faults.faults == []


def test_an_argument_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="'nht'"):
        Faults().lose(nht=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'family'"):
        Faults().lose(family="INET6")  # type: ignore[call-arg]


# --- in a file -------------------------------------------------------------------------------------------------------

FILE = """\
# What goes wrong, in the order in which it is looked at.
[[lose]]
group = "IPV6_IFADDR"
nth = 2

[[fail]]
request = "RTM_NEWADDR"
family = "INET6"
errno = "ENOMEM"
text = "out of luck"
nth = 3

[[lose]]
message = "DELADDR"
times = "all"

[[delay]]
group = 1
seconds = 0.5

[[slow_ack]]
seconds = inf
"""


def test_a_file_says_what_python_says(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(FILE)
    said = Faults()
    said.lose("RTNLGRP_IPV6_IFADDR", nth=2)
    said.fail(RTM_NEWADDR, family=10, errno=ENOMEM, text="out of luck", nth=3)
    said.lose(message=RTM_DELADDR, times=None)
    said.delay(RTNLGRP_LINK, seconds=0.5)
    said.slow_ack(seconds=float("inf"))

    assert [shown(it) for it in Faults.load(path).faults] == [shown(it) for it in said.faults]


def shown(fault: object) -> list[object]:
    return [getattr(fault, name) for name in ("kind", "about", "nth", "times", "errno", "text", "seconds", "by")]


def test_a_file_in_force(linux: Linux, ear: Client, client: Client) -> None:
    linux.faults = Faults.parse(FILE, "faults.toml")
    linux.faults.faults.pop()

    assert [client.ask(added(number)) for number in range(1, 5)] == [0, 0, ENOMEM, 0]
    assert [word.rpartition(":")[2] for word in ear.heard().split()] == ["1", "4"]


BAD_FILES = [
    ('[[lose]]\nnth = 2\n\n[[loose]]\n', "f.toml:4: loose: there is no such fault; did you mean lose?; there are fail"),
    ('[[lose]]\n[[lose]]\ngruop = "LINK"\n', "f.toml:3: lose: it has no 'gruop'; did you mean group?; it has group, "),
    ('[[lose]]\ngroup = "LINKS"\n', "f.toml:2: lose: group: there is no 'LINKS'; did you mean RTNLGRP_LINK?"),
    ('\n[[lose]]\nnth = 0\n[[lose]]\nnth = 1', "f.toml:3: lose: nth: 0 is no number from 1 to"),
    ('[[lose]]\nnth = 1\n[[lose]]\nnth = "1"', "f.toml:4: lose: nth: '1' is no number from 1 to"),
    ('[[fail]]\nrequest = "NEWADDR"\n', "f.toml:1: fail: errno is missing"),
    ('[[fail]]\nerrno = 1\nseconds = 1\n', "f.toml:3: fail: it has no 'seconds'; it has request, errno, text, family"),
    ("[[delay]]\nseconds = '1'\n", "f.toml:2: delay: seconds: '1' is no number of seconds"),
    ("[fail]\nerrno = 1.5\n", "f.toml:2: fail: errno: 1.5 is no number from 1 to 4095"),
    ("fail = [{errno = 1, nth = 0}]\n", "f.toml: fail: nth: 0 is no number from"),
    ("lose = 3\n", "f.toml:1: lose: a table [[lose]] is wanted, not 3"),
    ("[[lose]\n", "f.toml: Expected"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error"), BAD_FILES)
def test_what_is_wrong_with_a_file_is_said_by_line_and_key(text: str, error: str) -> None:
    with pytest.raises(ControlError) as refused:
        Faults.parse(text, "f.toml")

    assert str(refused.value).startswith(error)


def test_an_empty_file_is_no_fault() -> None:
    assert Faults.parse("# nothing\n", "f.toml").faults == []


# --- through pyroute2 ------------------------------------------------------------------------------------------------


def test_pyroute2_is_refused_interrupted_and_served_again(linux: Linux) -> None:
    linux.faults.fail(RTM_NEWADDR, errno=ENOMEM)
    linux.faults.interrupt_dump(RTM_GETADDR)
    with iproute(linux.init_net) as ipr:
        with pytest.raises(NetlinkError) as refused:
            ipr.addr("add", index=1, address="2001:db8::1", prefixlen=64)
        marks = {it["header"]["flags"] & NLM_F_DUMP_INTR for it in ipr.get_addr()}
        ipr.addr("add", index=1, address="2001:db8::1", prefixlen=64)

        assert (refused.value.code, marks) == (ENOMEM, {NLM_F_DUMP_INTR})
        assert "2001:db8::1" in [it.get("address") for it in ipr.get_addr()]


def test_pyroute2_hears_one_message_less(linux: Linux) -> None:
    linux.faults.lose("IPV6_IFADDR")
    with iproute(linux.init_net) as ear, iproute(linux.init_net) as ipr:
        ear.bind()
        for number in (1, 2):
            ipr.addr("add", index=1, address=f"2001:db8::{number}", prefixlen=64, flags=NODAD)
        heard: list[str] = []
        while not heard:
            heard = [it.get("address") for it in ear.get() if it["event"] == "RTM_NEWADDR"]

    assert heard == ["2001:db8::2"]
