"""What is foretold is what happens then; and foretelling changes nothing."""

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import pytest

from addrsvc.daemon.likeness import like
from addrsvc.daemon.what_if import addresses_in, command_of, commands_in, foretell
from addrsvc.errors import ControlError, KernelError
from addrsvc.mirror.netns import run_in
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import AddrMsg, LinkInfo, LinkMsg, Message, RouteMsg
from addrsvc.netlink.text import inet_ntop
from addrsvc.uapi import NLM_F_CREATE, NLM_F_EXCL, RTM_DELMULTICAST, RTM_NEWLINK, RTM_NEWMULTICAST
from tests.daemon.foretelling import Case, difference, do
from tests.fidelity.compare import normal


@pytest.mark.parametrize("seed", range(40))
def test_what_is_foretold_happens(seed: int, rtnl: RtnlKernel) -> None:
    """In random states, of random commands: each message, in order, what is refused, and what is lost."""
    assert difference(Case.random(seed)) == ""


STATES = {
    "up": ("link set lo up",),
    "it was up once": ("link set lo up", "link set lo down"),
    "it was up once, and keeps its addresses": (
        "link set lo up", "addr add 2001:db8::1/128 dev lo", "sysctl net.ipv6.conf.lo.keep_addr_on_down=1",
        "link set lo down",
    ),
    "its MTU was too small for a while, and it keeps its addresses": (
        "link set lo up", "sysctl net.ipv6.conf.lo.keep_addr_on_down=1", "addr add 2001:db8::1/128 dev lo",
        "link set lo mtu 1000", "link set lo mtu 1500", "addr add 2001:db8::2/128 dev lo",
    ),
    "::1 came after others": (
        "link set lo up", "link set lo down", "addr add fe80::1/64 dev lo", "addr add fd00::1/64 dev lo nodad",
        "link set lo up",
    ),
    "::1 was made while it was down": (
        "link set lo up", "link set lo down", "sysctl net.ipv6.conf.lo.addr_gen_mode=1",
    ),
    "its MTU was too small for a while": ("link set lo up", "link set lo mtu 1000", "link set lo mtu 1500"),
    "its MTU is too small": ("link set lo up", "link set lo mtu 1500", "link set lo mtu 1279"),
    "it has an MTU of IPv6's own": ("link set lo up", "sysctl net.ipv6.conf.lo.mtu=1400"),
    "IPv6 is off": ("link set lo up", "sysctl net.ipv6.conf.all.disable_ipv6=1"),
    "addresses in an order of their own": (
        "link set lo up", "addr add 2001:db8::2/128 dev lo", "addr del ::1/128 dev lo",
        "addr add 2001:db8::1/64 dev lo metric 5", "addr add ::1/128 dev lo", "addr add fd00::1/64 dev lo nodad",
        "addr add 10.0.0.2/24 dev lo", "addr add 10.0.0.1/24 dev lo",
    ),
}  # fmt: skip
COMMANDS = (
    "link set lo up", "link set lo down", "link set lo mtu 1279", "link set lo mtu 1280",
    "addr del ::1/128 dev lo", "addr del 10.0.0.2/24 dev lo", "sysctl net.ipv6.conf.lo.disable_ipv6=0",
    "sysctl net.ipv6.conf.lo.disable_ipv6=1", "addr add ::1/128 dev lo", "addr del 2001:db8::1/128 dev lo",
)  # fmt: skip


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
@pytest.mark.parametrize("command", COMMANDS)
def test_a_state_that_has_a_history_is_taken_over(state: tuple[str, ...], command: str, rtnl: RtnlKernel) -> None:
    assert difference(Case(state, (command,))) == ""


def test_what_is_lost_and_gained_is_told(rtnl: RtnlKernel) -> None:
    do(rtnl, "link set lo up")

    found = foretell(like(rtnl), list(commands_in(["link set lo mtu 1279", "addr add 127.0.0.2/8 dev lo"])))

    assert [inet_ntop(msg.address or b"") for msg in found.lost if isinstance(msg, AddrMsg)] == ["::1"]
    assert [inet_ntop(msg.dst or b"") for msg in found.lost if isinstance(msg, RouteMsg)] == ["::1"]
    assert [inet_ntop(msg.local or b"") for msg in found.gained if isinstance(msg, AddrMsg)] == ["127.0.0.2"]
    assert found.notes == ()


def test_time_can_pass_afterwards(rtnl: RtnlKernel) -> None:
    do(rtnl, "link set lo up")
    command = "addr add 2001:db8::1/128 dev lo valid_lft 60 preferred_lft 30"

    early, late = (foretell(like(rtnl), [command.split()], seconds=seconds) for seconds in (0, 90))

    assert len(early.steps) == 1
    assert any(isinstance(msg, AddrMsg) for msg in early.gained)
    assert not any(isinstance(msg, AddrMsg) for msg in late.gained)
    assert str(late.steps[1]) == "90 seconds later"


def test_what_is_foretold_ends_with_the_first_refusal(rtnl: RtnlKernel) -> None:
    found = foretell(like(rtnl), list(commands_in(["addr del ::1/128 dev lo; link set lo up"])))

    (step,) = found.steps
    assert step.refusal is not None
    assert step.refusal.name == "EADDRNOTAVAIL"
    assert (found.lost, found.gained) == ((), ())


def veth(kernel: RtnlKernel) -> None:
    with suppress(KernelError):
        kernel.request(LinkMsg(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifname="v0", linkinfo=LinkInfo(kind="veth")))
        return
    pytest.skip("this kernel makes no veth")


def test_other_devices_stand_in_as_plain_ethernet_and_that_is_told(rtnl: RtnlKernel) -> None:
    veth(rtnl)

    found = foretell(like(rtnl), list(commands_in(["link set v0 up"])))

    assert "v0 (veth) is plain Ethernet here: what its driver does is not foretold" in found.notes
    assert found.steps[0].refusal is None


@pytest.mark.parametrize("command", ["link set v0 mtu 1279", "link set v0 down", "addr del 192.0.2.1/24 dev v0"])
def test_what_becomes_of_addresses_and_routes_of_other_devices_is_foretold(command: str, rtnl: RtnlKernel) -> None:
    """They are up and lasting: addresses that wait for duplicate address detection come at times of chance."""
    veth(rtnl)
    for dev in ("v0", "veth0"):
        rtnl.link_set(dev, addr_gen_mode=1)
        rtnl.link_set(dev, up=True)
    rtnl.addr_add("2001:db8::1/64", "v0", nodad=True)
    rtnl.addr_add("192.0.2.1/24", "v0")
    with rtnl.watch() as watch:
        watch.settle = 0.05
        list(watch)
        found = foretell(like(rtnl), [command.split()])
        before = addresses_in(rtnl.dump())
        do(rtnl, command)
        happened = of_addresses(list(watch))
    after = addresses_in(rtnl.dump())

    assert of_addresses(found.steps[0].messages) == happened
    assert happened
    assert addresses_in(found.lost).keys() == before.keys() - after.keys()


def of_addresses(messages: Sequence[Message]) -> list[Message]:
    told = [msg for msg in normal(messages) if isinstance(msg, AddrMsg | RouteMsg)]
    return [msg for msg in told if msg.nlmsg_type not in (RTM_NEWMULTICAST, RTM_DELMULTICAST)]


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["link", "set", "lo", "up"], [("link", "set", "lo", "up")]),
        (["link set lo up"], [("link", "set", "lo", "up")]),
        (["link set lo down; link set lo up"], [("link", "set", "lo", "down"), ("link", "set", "lo", "up")]),
        (["link set lo down;", "sysctl a=1"], [("link", "set", "lo", "down"), ("sysctl", "a=1")]),
        (["link set lo alias 'a; b'"], [("link", "set", "lo", "alias", "a; b")]),
    ],
)
def test_commands_are_arguments_or_their_words(arguments: list[str], expected: list[tuple[str, ...]]) -> None:
    assert list(commands_in(arguments)) == expected


@pytest.mark.parametrize(
    "text",
    ["link show", "addr", "ping ::1", "sysctl net.ipv6.bindv6only", "sysctl", "rm -r /", "link set lo mtu", "ip"],
)
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(ControlError):
        command_of(text.split())


@pytest.mark.parametrize("arguments", [[""], [" ; "], ["link set lo alias 'x"]])
def test_no_command_at_all_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ControlError):
        list(commands_in(arguments))


# --- the command ------------------------------------------------------------------------------------------------------


def what_if(kernel: RtnlKernel, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run it inside the namespace, whose name there is host."""
    return run_in(
        kernel.netns,
        lambda: subprocess.run(
            [sys.executable, "-m", "addrsvc", "what-if", *words], capture_output=True, text=True, check=False
        ),
    )


def test_the_command_prints_messages_and_losses_and_changes_nothing(rtnl: RtnlKernel) -> None:
    do(rtnl, "link set lo up")
    before = [msg for msg in rtnl.dump() if isinstance(msg, AddrMsg)]

    done = what_if(rtnl, "ip", "link", "set", "lo", "mtu", "1279")

    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  RTM_DELADDR  Deleted 1: lo    inet6 ::1/128 scope host proto kernel_lo\n" in done.stdout
    assert "lost:\n  address  1: lo    inet6 ::1/128 scope host proto kernel_lo\n" in done.stdout
    assert done.stdout.endswith("gained: nothing\n")
    assert [msg for msg in rtnl.dump() if isinstance(msg, AddrMsg)] == before


def test_connections_at_what_is_lost_are_counted(rtnl: RtnlKernel) -> None:
    do(rtnl, "link set lo up")
    server, client = run_in(rtnl.netns, lambda: (socket.socket(socket.AF_INET6), socket.socket(socket.AF_INET6)))
    with server, client:
        server.bind(("::1", 0))
        server.listen()
        client.connect(server.getsockname())
        done, told = what_if(rtnl, "link set lo mtu 1279"), what_if(rtnl, "link set lo mtu 1279", "--json")

    assert "  address  1: lo    inet6 ::1/128 scope host proto kernel_lo  (2 connections)\n" in done.stdout
    assert [it["connections"] for it in json.loads(told.stdout)["lost"]] == [2, 0]


def test_the_command_speaks_json(rtnl: RtnlKernel) -> None:
    done = what_if(rtnl, "--json", "link set lo up")

    told = json.loads(done.stdout)
    assert told["netns"] == "host"
    assert told["steps"][0]["command"] == "link set lo up"
    assert [it["local"] for it in told["gained"] if it["what"] == "address"] == ["127.0.0.1", "::1"]
    assert (told["lost"], told["notes"]) == ([], [])


def test_the_exit_code_tells_a_refusal(rtnl: RtnlKernel) -> None:
    refused = what_if(rtnl, "addr del ::1/128 dev lo")
    wrong = what_if(rtnl, "link show")
    nowhere = what_if(rtnl, "--netns", "addrsvc-there-is-none", "link set lo up")

    assert (refused.returncode, wrong.returncode, nowhere.returncode) == (2, 1, 1)
    assert "refused: ipv6: address not found (EADDRNOTAVAIL)" in refused.stdout
    assert wrong.stderr == "Error: link show: it changes nothing\n"
    assert nowhere.stderr == 'Error: no network namespace "addrsvc-there-is-none"\n'
