"""addrsvc.keeper.watch on namespaces of the running kernel, by each of its ways."""

import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EADDRNOTAVAIL, EEXIST, EPERM
from functools import partial
from pathlib import Path

import pytest

from addrsvc.errors import KernelError
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_DOWN, LO_UP, RESTORE_LOOPBACK, deladdr, newaddr
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.watch import GROUPS, AutoWatch, NsidWatch, SocketWatch, Watch
from addrsvc.mirror.netns import NetNs, open_netns, run_in
from addrsvc.netlink.codec import decode
from addrsvc.netlink.messages import AddrMsg
from addrsvc.uapi import NLMSG_DONE, NLMSG_ERROR, RTM_DELADDR, RTM_NEWADDR, RTM_NEWLINK
from tests.keeper.keeping import turn_until

NOBODY = 0x7FFFFFFE
V6, V4 = bytes([0xFD, *bytes(14), 9]), bytes([192, 0, 2, 9])
OTHER_V6, OTHER_V4 = bytes([0xFD, 1, *bytes(13), 9]), bytes([192, 0, 2, 10])


class Heard:
    """Notes who was heard, and what."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.losses: list[str | None] = []
        self.only: tuple[bytes, ...] | None = None

    def heard(self, kept: str, message: bytes) -> bool:
        self.messages.append((kept, message))
        return self.only is not None and not any(address in message for address in self.only)

    def interests(self, kept: str) -> tuple[bytes, ...] | None:
        return self.only

    def lost(self, kept: str | None, seconds: float) -> None:
        self.losses.append(kept)

    def limited(self, why: str) -> None:
        raise AssertionError(why)

    @property
    def kinds(self) -> list[tuple[str, int]]:
        return [(kept, int.from_bytes(message[4:6], sys.byteorder)) for kept, message in self.messages]


WAYS: dict[str, Callable[..., Watch[str]]] = {
    "sockets": SocketWatch,
    "nsid": NsidWatch,
    "auto": partial(AutoWatch, many=1),
}
pytestmark = pytest.mark.needs_cap_sys_admin


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(params=WAYS)
def watch(request: pytest.FixtureRequest, loop: Loop, heard: Heard) -> Iterator[Watch[str]]:
    watch = WAYS[request.param](loop, heard)
    yield watch
    watch.close()


def change(netns: NetNs, *messages: bytes) -> None:
    with Requests.to(netns.fileno()) as requests:
        assert requests.ask(messages) == []


def hears(loop: Loop, heard: Heard, *kinds: tuple[str, int]) -> None:
    """Let the loop turn until these messages have been heard, and nothing else."""
    with suppress(AssertionError):
        turn_until(loop, lambda: len(heard.messages) >= len(kinds))
    for _ in range(3):
        loop.turn()
    assert heard.kinds == list(kinds)


def test_what_happens_to_lo_is_heard_with_where_it_happened(
    watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs, red: NetNs
) -> None:
    watch.attach("blue", blue.fileno())
    watch.attach("red", red.fileno())

    change(blue, LO_UP)
    hears(loop, heard, ("blue", RTM_NEWLINK), ("blue", RTM_NEWADDR), ("blue", RTM_NEWADDR))
    heard.messages.clear()
    change(red, LO_UP, DELETE_LOOPBACK)

    hears(loop, heard, *(("red", kind) for kind in (RTM_NEWLINK, RTM_NEWADDR, RTM_NEWADDR, RTM_DELADDR)))
    gone = decode(heard.messages[-1][1])
    assert isinstance(gone, AddrMsg)
    assert gone.address == bytes(15) + b"\1"


def test_the_host_is_heard_like_any_other(heard: Heard, loop: Loop, blue: NetNs, red: NetNs) -> None:
    """By whichever way: from within a namespace, which is the host's for who is there."""

    def inside() -> None:
        for make in WAYS.values():
            watch = make(loop, heard)
            with open_netns("host") as host:
                watch.attach("host", host.fileno())
            watch.attach("red", red.fileno())
            change(blue, newaddr(V6))
            hears(loop, heard, ("host", RTM_NEWADDR))
            heard.messages.clear()
            change(blue, deladdr(V6))
            hears(loop, heard, ("host", RTM_DELADDR))
            heard.messages.clear()
            watch.close()

    run_in(blue, inside)


def test_addresses_of_both_families_are_heard(watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs) -> None:
    change(blue, LO_UP)
    watch.attach("blue", blue.fileno())

    change(blue, newaddr(V4), deladdr(V4))
    hears(loop, heard, ("blue", RTM_NEWADDR), ("blue", RTM_DELADDR))


def test_what_happens_to_other_devices_is_not_heard(watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs) -> None:
    change(blue, LO_UP)
    watch.attach("blue", blue.fileno())

    for _ in range(20):
        ip(blue, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip(blue, "link", "del", "v0")
    change(blue, DELETE_LOOPBACK)

    hears(loop, heard, ("blue", RTM_DELADDR))
    assert heard.losses == []


def ip(netns: NetNs, *arguments: str) -> None:
    run_in(netns, lambda: subprocess.run(["ip", *arguments], check=True))


def test_a_noisy_namespace_gets_a_filter(loop: Loop, heard: Heard, blue: NetNs) -> None:
    """From then on its kernel does not even queue what it says of other devices."""
    watch = SocketWatch[str](loop, heard)
    change(blue, LO_UP)
    watch.attach("blue", blue.fileno())

    is_readable = []
    for _ in range(10):
        ip(blue, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip(blue, "link", "del", "v0")
        is_readable.append(bool(select.select([watch._ears["blue"].fileno()], [], [], 0)[0]))
        for _ in range(100):
            loop.turn()

    assert is_readable[0]
    assert not is_readable[-1]
    change(blue, DELETE_LOOPBACK)
    hears(loop, heard, ("blue", RTM_DELADDR))
    watch.close()


def make_noise(netns: NetNs, count: int = 20) -> None:
    """Addresses that nobody is interested in come and go."""
    for _ in range(count):
        change(netns, newaddr(OTHER_V6), deladdr(OTHER_V6), newaddr(OTHER_V4), deladdr(OTHER_V4))


def queued(sock: socket.socket) -> Iterator[bytes]:
    """What waits to be read."""
    with suppress(BlockingIOError):
        while True:
            yield sock.recv(1 << 15)


def test_what_is_of_no_interest_is_not_even_queued_when_there_is_much_of_it(
    loop: Loop, heard: Heard, blue: NetNs
) -> None:
    change(blue, LO_UP)
    heard.only = (V6, V4, bytes(15) + b"\1")
    watch = SocketWatch[str](loop, heard)
    watch.attach("blue", blue.fileno())
    make_noise(blue)
    turn_until(loop, lambda: heard.kinds.count(("blue", RTM_DELADDR)) == 40)  # the kernel may not tell all that came
    heard.messages.clear()

    make_noise(blue)
    change(blue, newaddr(V6), newaddr(V4), DELETE_LOOPBACK, deladdr(V4), deladdr(V6), LO_DOWN)
    gone = [("blue", RTM_DELADDR)] * 3
    turn_until(loop, lambda: heard.kinds[-1:] == [("blue", RTM_NEWLINK)])
    assert [kind for kind in heard.kinds if kind == gone[0]] == gone
    assert heard.kinds.count(("blue", RTM_NEWADDR)) <= 3  # of an address that has gone again the kernel may not tell
    watch.close()


@pytest.mark.parametrize(
    ("address", "peer"), [("fd00::9", "fd01::9/128"), ("192.0.2.9", "192.0.2.10/32")], ids=["IPv6", "IPv4"]
)
def test_an_address_of_interest_is_heard_of_though_there_is_another_one_at_its_other_end(
    loop: Loop, heard: Heard, blue: NetNs, address: str, peer: str
) -> None:
    change(blue, LO_UP)
    heard.only = (V6, V4)
    watch = SocketWatch[str](loop, heard)
    watch.attach("blue", blue.fileno())
    make_noise(blue)
    turn_until(loop, lambda: heard.kinds.count(("blue", RTM_DELADDR)) == 40)  # the kernel may not tell all that came
    heard.messages.clear()
    ip(blue, "address", "add", address, "peer", peer, "dev", "lo")
    ip(blue, "address", "del", address, "peer", peer, "dev", "lo")
    turn_until(loop, lambda: heard.kinds[-1:] == [("blue", RTM_DELADDR)])
    watch.close()


def test_other_addresses_may_be_of_interest_later(loop: Loop, heard: Heard, blue: NetNs) -> None:
    change(blue, LO_UP)
    heard.only = (V6,)
    watch = SocketWatch[str](loop, heard)
    watch.attach("blue", blue.fileno())
    make_noise(blue)
    turn_until(loop, lambda: heard.kinds.count(("blue", RTM_DELADDR)) == 40)  # the kernel may not tell all that came
    heard.messages.clear()

    heard.only = (OTHER_V4,)
    watch.turn_to("blue")
    change(blue, newaddr(V6), newaddr(OTHER_V4))
    hears(loop, heard, ("blue", RTM_NEWADDR))
    assert OTHER_V4 in heard.messages[0][1]
    watch.close()


def test_who_is_heard_by_one_socket_and_not_kept_is_noise(loop: Loop, heard: Heard, blue: NetNs, red: NetNs) -> None:
    """It may have its id from somebody else: a container engine's namespaces all have one."""
    change(blue, LO_UP)
    change(red, LO_UP)
    heard.only = (V6,)
    watch = NsidWatch[str](loop, heard)
    watch.attach("blue", blue.fileno())
    watch.attach("red", red.fileno())
    watch.detach("red")
    make_noise(red)
    for _ in range(100):
        loop.turn()
    make_noise(red)
    assert not any(OTHER_V6 in message or OTHER_V4 in message for message in queued(watch._ear._sock))
    change(blue, newaddr(V6))
    hears(loop, heard, ("blue", RTM_NEWADDR))
    watch.close()


def test_addresses_that_were_of_interest_once_are_not_gathered_for_ever(
    loop: Loop, heard: Heard, blue: NetNs, red: NetNs
) -> None:
    heard.only = (V6,)
    watch = NsidWatch[str](loop, heard)
    watch.attach("blue", blue.fileno())
    change(blue, LO_UP)
    make_noise(blue)
    turn_until(loop, lambda: heard.kinds.count(("blue", RTM_DELADDR)) == 40)
    for number in range(100):
        heard.only = (bytes([0xFD, *bytes(14), number]),)
        watch.turn_to("blue")
    last = bytes([0xFD, *bytes(14), 99])
    assert watch._ear._known is None
    heard.messages.clear()
    change(blue, newaddr(last))
    hears(loop, heard, ("blue", RTM_NEWADDR))
    watch.close()


@pytest.mark.parametrize("count", [1, 16, 17, 3000])
def test_any_number_of_addresses_may_be_of_interest(loop: Loop, heard: Heard, blue: NetNs, count: int) -> None:
    change(blue, LO_UP)
    heard.only = tuple(bytes([0xFD, *bytes(13), *number.to_bytes(2)]) for number in range(1, count + 1))
    watch = SocketWatch[str](loop, heard)
    watch.attach("blue", blue.fileno())
    make_noise(blue)
    turn_until(loop, lambda: heard.kinds.count(("blue", RTM_DELADDR)) == 40)  # the kernel may not tell all that came
    heard.messages.clear()

    last = heard.only[-1]
    change(blue, newaddr(last), deladdr(last))
    turn_until(loop, lambda: heard.kinds[-1:] == [("blue", RTM_DELADDR)])
    watch.close()


def test_additions_may_be_left_out(loop: Loop, heard: Heard, blue: NetNs, red: NetNs) -> None:
    change(blue, LO_UP)
    change(red, LO_UP)
    for make in WAYS.values():
        watch = make(loop, heard, additions=False)
        watch.attach("blue", blue.fileno())
        watch.attach("red", red.fileno())
        for number in range(40):
            change(red, newaddr(bytes([*V6[:15], number])))
        change(red, DELETE_LOOPBACK, RESTORE_LOOPBACK)
        change(red, *(deladdr(bytes([*V6[:15], number])) for number in range(40)))

        hears(loop, heard, *[("red", RTM_DELADDR)] * 41)
        heard.messages.clear()
        watch.close()


def test_what_is_detached_is_not_heard(watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs, red: NetNs) -> None:
    change(blue, LO_UP)
    change(red, LO_UP)
    for name, netns in (("blue", blue), ("red", red)):
        watch.attach(name, netns.fileno())
    watch.detach("red")
    watch.detach("red")

    change(red, DELETE_LOOPBACK)
    change(blue, DELETE_LOOPBACK)
    hears(loop, heard, ("blue", RTM_DELADDR))

    watch.attach("red again", red.fileno())
    change(red, RESTORE_LOOPBACK)
    hears(loop, heard, ("blue", RTM_DELADDR), ("red again", RTM_NEWADDR))


@pytest.mark.parametrize(
    ("make", "who"), [(SocketWatch, "red"), (NsidWatch, None), (partial(AutoWatch, many=1), None)], ids=WAYS
)
def test_what_no_buffer_holds_is_told_once_and_what_it_holds_is_heard(
    make: Callable[..., Watch[str]], who: str | None, loop: Loop, heard: Heard, blue: NetNs, red: NetNs
) -> None:
    watch = make(loop, heard, largest=1 << 14)
    watch.attach("blue", blue.fileno())
    watch.attach("red", red.fileno())
    many = [make_one(bytes([*V6[:14], 1, number])) for number in range(100) for make_one in (newaddr, deladdr)]

    for losses in (1, 2):
        change(red, *many)
        turn_until(loop, lambda count=losses: len(heard.losses) == count)  # type: ignore[misc]
        for _ in range(10):
            loop.turn()
        assert heard.losses == [who] * losses
        assert 0 < len(heard.messages) < len(many)
        heard.messages.clear()
        change(red, newaddr(V6), deladdr(V6))
        hears(loop, heard, ("red", RTM_DELADDR))
        heard.messages.clear()
    watch.close()


def test_a_buffer_grows_when_it_was_too_small(loop: Loop, heard: Heard, blue: NetNs) -> None:
    """What overran it three times it holds at last; nobody has to say how large it has to be."""
    watch = SocketWatch[str](loop, heard)
    watch.attach("blue", blue.fileno())
    many = [
        make_one(bytes([*V4[:2], *divmod(number, 256)])) for number in range(4000) for make_one in (newaddr, deladdr)
    ]

    for _ in range(8):
        heard.messages.clear()
        heard.losses.clear()
        change(blue, *many)
        for _ in range(1000):
            loop.turn()
        if not heard.losses:
            break
    assert len(heard.messages) == len(many)
    watch.close()


def test_a_burst_is_heard_in_order(watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs, red: NetNs) -> None:
    watch.attach("blue", blue.fileno())
    watch.attach("red", red.fileno())
    addresses = [bytes([*V4[:2], *divmod(number, 256)]) for number in range(300)]

    change(red, *map(newaddr, addresses))

    turn_until(loop, lambda: len(heard.messages) == len(addresses))
    messages = [decode(message) for _, message in heard.messages]
    assert [message.local for message in messages if isinstance(message, AddrMsg)] == addresses


# --- a socket that somebody else has opened -----------------------------------------------------------------------


@pytest.fixture
def given(blue: NetNs) -> socket.socket:
    """As PID 1 opens it for a .socket unit: in another namespace, joined to groups, and able to block."""

    def inside() -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        sock.bind((0, sum(1 << group - 1 for group in GROUPS)))
        return sock

    return run_in(blue, inside)


def test_a_namespace_is_heard_and_asked_by_one_socket(
    watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs, given: socket.socket
) -> None:
    with Requests(watch.adopt("blue", given)) as requests:
        assert requests.ask([LO_UP]) == []
        hears(loop, heard, ("blue", RTM_NEWLINK), ("blue", RTM_NEWADDR), ("blue", RTM_NEWADDR))
        heard.messages.clear()

        change(blue, DELETE_LOOPBACK)
        assert set(requests.addresses()) == {(bytes([127, 0, 0, 1]), 8)}
        assert requests.ask([RESTORE_LOOPBACK]) == []
        assert len(requests.addresses()) == 2

        hears(loop, heard, ("blue", RTM_DELADDR), ("blue", RTM_NEWADDR))
    watch.detach("blue")


def test_what_is_come_across_while_asking_is_heard_before_what_is_said_later(
    watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs, given: socket.socket
) -> None:
    with Requests(watch.adopt("blue", given)) as requests:
        for _ in range(20):
            change(blue, newaddr(V4))
            assert len(requests.addresses()) == 1
            change(blue, deladdr(V4))
            loop.turn()
    assert heard.kinds == [("blue", RTM_NEWADDR), ("blue", RTM_DELADDR)] * 20


def test_what_everybody_is_told_of_a_change_is_no_answer_to_it(
    watch: Watch[str], loop: Loop, blue: NetNs, given: socket.socket
) -> None:
    """The kernel names us in it."""
    with Requests(watch.adopt("blue", given)) as requests:
        assert requests.ask([newaddr(V4), newaddr(V6), LO_UP]) == []
        assert [refusal.errno for refusal in requests.ask([deladdr(V4), newaddr(V6), deladdr(V4)])] == [
            EEXIST,
            EADDRNOTAVAIL,
        ]


def test_what_was_said_before_a_socket_was_taken_over_is_heard(
    watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs, given: socket.socket
) -> None:
    change(blue, LO_UP, DELETE_LOOPBACK)

    with Requests(watch.adopt("blue", given)) as requests:
        hears(loop, heard, *(("blue", kind) for kind in (RTM_NEWLINK, RTM_NEWADDR, RTM_NEWADDR, RTM_DELADDR)))
        assert requests.ask([RESTORE_LOOPBACK]) == []


def test_what_is_lost_while_asking_is_told(loop: Loop, heard: Heard, blue: NetNs, given: socket.socket) -> None:
    watch = SocketWatch[str](loop, heard, largest=1 << 14)
    with Requests(watch.adopt("blue", given)) as requests:
        change(blue, *(make_one(bytes([*V4[:3], n])) for n in range(200) for make_one in (newaddr, deladdr)))
        requests.ask([LO_UP])
        turn_until(loop, lambda: heard.losses == ["blue"])
    watch.close()


def test_nothing_is_heard_of_a_socket_that_was_let_go_meanwhile(
    loop: Loop, heard: Heard, blue: NetNs, given: socket.socket
) -> None:
    watch = SocketWatch[str](loop, heard)
    with Requests(watch.adopt("blue", given)) as requests:
        change(blue, LO_UP)
        assert requests.ask([LO_UP]) == []
        watch.detach("blue")
        for _ in range(3):
            loop.turn()
    assert heard.messages == []


# --- what no kernel says ----------------------------------------------------------------------------------------------


@pytest.fixture
def somebody(blue: NetNs) -> Iterator[socket.socket]:
    """Who may do anything in a namespace, and so send to its groups, and to sockets there."""
    with run_in(blue, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)) as sock:
        yield sock


def lies(portid: int = 0) -> Iterator[bytes]:
    """Messages as a kernel would send them, and shorter ones: news, and answers to whatever may have been asked."""
    answers = [struct.pack("=IHHIIiI", 36, kind, 0, sequence, portid, error, 0) for kind in (NLMSG_ERROR, NLMSG_DONE)
               for sequence in (1, 2, 3, 0xFFFFFFFF) for error in (0, -EPERM)]  # fmt: skip
    for message in (DELETE_LOOPBACK, LO_DOWN, newaddr(V4), *answers):
        for size in (1, 4, 8, 15, 16, 20, 24, 1000):
            yield message[:size]


def test_what_no_kernel_has_said_is_not_heard(
    watch: Watch[str], loop: Loop, heard: Heard, blue: NetNs, red: NetNs, somebody: socket.socket
) -> None:
    watch.attach("red", red.fileno())
    watch.attach("blue", blue.fileno())
    for group in GROUPS:
        for lie in lies():
            with suppress(ConnectionRefusedError):  # of that port, which is nobody's, so that the kernel does not obey
                somebody.sendto(lie, (NOBODY, 1 << group - 1))

    change(blue, LO_UP)
    hears(loop, heard, ("blue", RTM_NEWLINK), ("blue", RTM_NEWADDR), ("blue", RTM_NEWADDR))


def test_what_no_kernel_has_said_deafens_nobody(
    watch: Watch[str], blue: NetNs, given: socket.socket, somebody: socket.socket, loop: Loop
) -> None:
    with Requests(watch.adopt("blue", given)) as requests:
        for _ in range(100):
            with suppress(ConnectionRefusedError):
                somebody.sendto(RESTORE_LOOPBACK, (NOBODY, 1 << GROUPS[-1] - 1))
            loop.turn()
        assert [refusal.errno for refusal in requests.ask([LO_UP, deladdr(V6)])] == [EADDRNOTAVAIL]
        assert len(requests.addresses()) == 2
    watch.detach("blue")


def test_what_no_kernel_has_answered_is_no_answer(
    loop: Loop, heard: Heard, blue: NetNs, given: socket.socket, somebody: socket.socket
) -> None:
    watch = SocketWatch[str](loop, heard)
    with Requests(watch.adopt("blue", given)) as requests:
        portid = given.getsockname()[0]
        for lie in lies(portid):
            with suppress(ConnectionRefusedError):
                somebody.sendto(lie, (portid, 0))
        assert [refusal.errno for refusal in requests.ask([LO_UP, deladdr(V6)])] == [EADDRNOTAVAIL]
        assert len(requests.addresses()) == 2
        hears(loop, heard, ("blue", RTM_NEWLINK), ("blue", RTM_NEWADDR), ("blue", RTM_NEWADDR))
    watch.close()


# --- what is not allowed ------------------------------------------------------------------------------------------


def test_who_may_not_hear_all_by_one_socket_uses_many_and_says_why(blue: NetNs, red: NetNs) -> None:
    script = f"""
import sys
from addrsvc.errors import KernelError
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.watch import AutoWatch, NsidWatch

class Heard:
    def heard(self, kept, message): print(kept, message[4])
    def interests(self, kept): return ()
    def limited(self, why): print(why, flush=True)

with Loop() as loop:
    try:
        NsidWatch(loop, Heard())
    except KernelError as error:
        print(error, flush=True)
    watch = AutoWatch(loop, Heard(), many=1)
    watch.attach("blue", {blue.fileno()})
    watch.attach("red", {red.fileno()})
    print("attached", flush=True)
    sys.stdin.readline()
    loop.turn(10)
"""
    without = [
        "setpriv",
        "--bounding-set",
        "-net_broadcast",
        "--inh-caps",
        "-net_broadcast",
        sys.executable,
        "-c",
        script,
    ]
    process = subprocess.Popen(
        without, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[blue.fileno(), red.fileno()]
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        why = "hearing all network namespaces by one socket needs CAP_NET_BROADCAST (EPERM)\n"
        assert [process.stdout.readline() for _ in range(3)] == [why, why, "attached\n"]
        change(red, newaddr(V4))
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.stdout.read() == f"red {int(RTM_NEWADDR)}\n"


def test_what_is_no_namespace_cannot_be_attached(watch: Watch[str], tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file, pytest.raises(KernelError):
        watch.attach("file", file.fileno())
    with open(tmp_path / "file") as file, pytest.raises(KernelError):
        watch.attach("file", file.fileno())
