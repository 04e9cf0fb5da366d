"""addrsvc.keeper.keep: what belongs to whom, what is not put back at once, and what another configuration changes."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EMFILE, ENOMEM
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from functools import partial
from pathlib import Path

import pytest

from addrsvc.errors import KernelError
from addrsvc.keeper import routes
from addrsvc.keeper.kept import LOOPBACK, Kept
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_DOWN, LO_UP, deladdr, delroute, newaddr
from addrsvc.keeper.rtnl import Requests, open_rtnl
from addrsvc.keeper.wanted import FightLimits, Lo, Loopback, Reaction, Wanted
from addrsvc.keeper.watch import GROUPS, AutoWatch, NsidWatch, SocketWatch
from addrsvc.mirror.netns import NetNs, open_netns, run_in
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.uapi import IFA_F_NOPREFIXROUTE, IFAPROT_ADDRSVC, IFF_UP, INFINITY_LIFE_TIME
from tests.keeper.keeping import LABEL, MakeWatch, keeping, service
from tests.keeper.used import wait_for_routes

ONE, ONE_SERVICE = service("fd00::1")
TWO, TWO_SERVICE = service("fd00::2")
V4, V4_SERVICE = service("192.0.2.1")
WANTED = Wanted(addresses={ONE: ONE_SERVICE, V4: V4_SERVICE})
WATCHES: dict[str, MakeWatch] = {"sockets": SocketWatch, "nsid": NsidWatch, "auto": partial(AutoWatch, many=7)}
SOMEBODY_ELSE = 99  # as the mark of an address


@contextmanager
def nothing_said(netns: NetNs) -> Iterator[None]:
    """A block in which a namespace's kernel says nothing about links and addresses."""
    with open_rtnl(netns.fileno(), groups=GROUPS) as sock:
        yield
        with pytest.raises(BlockingIOError):
            sock.recv(1 << 16)


# --- ownership --------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_where_all_is_well(netns: NetNs) -> None:
    """A restart: what the one before has made is found as it should be."""
    with keeping(netns, WANTED):
        pass
    wait_for_routes(netns, LOOPBACK[0], ONE[0])
    with nothing_said(netns), keeping(netns, WANTED) as kept:
        assert kept.told("repair", "withdrawn", "refused") == []
        assert kept.is_as_wanted


@pytest.mark.parametrize("text", ["fd00::3", "192.0.2.3"])
@pytest.mark.parametrize("preferred_lft", [0, 100, INFINITY_LIFE_TIME])
@pytest.mark.parametrize("metric", [0, 7])
def test_whatever_is_wanted_of_an_address_it_is_asked_for_once(
    netns: NetNs, text: str, preferred_lft: int, metric: int
) -> None:
    key, wanted = service(text, preferred_lft=preferred_lft, metric=metric)
    with keeping(netns, Wanted(addresses={key: wanted})) as kept:
        wait_for_routes(netns, LOOPBACK[0], *([key[0]] if ":" in text else []))
        kept.quiet()
        for _ in range(2):
            kept.keeper.look(LABEL)
            kept.quiet()

        assert [event.fields["recipe"] for event in kept.told("repair")] == ["lo up", "add"]
    with keeping(netns, Wanted(addresses={key: wanted})) as again:
        assert again.told("repair", "withdrawn") == []


def test_what_was_deleted_in_the_meantime_is_repaired_at_the_start(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, WANTED):
        pass
    requests.ask([DELETE_LOOPBACK, deladdr(*ONE)])
    with keeping(netns, WANTED) as kept:
        assert [event.fields["why"] for event in kept.told("repair")] == ["start", "start"]
        assert requests.addresses().keys() >= {LOOPBACK, ONE, V4}


def test_what_is_ours_and_wanted_no_more_is_withdrawn_at_the_start(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, WANTED):
        pass
    with keeping(netns, Wanted(addresses={TWO: TWO_SERVICE})) as kept:
        (event,) = kept.told("withdrawn")
        assert event.fields["count"] == 2
        assert requests.addresses().keys() & {ONE, TWO, V4} == {TWO}


def test_what_somebody_else_has_made_is_theirs(netns: NetNs, requests: Requests) -> None:
    requests.ask([LO_UP, newaddr(ONE[0], proto=SOMEBODY_ELSE), newaddr(TWO[0], proto=SOMEBODY_ELSE, metric=7)])
    with keeping(netns, Wanted(addresses={TWO: TWO_SERVICE})) as kept:
        assert kept.told("repair", "withdrawn") == []
        kept.want(Wanted())
        assert requests.addresses().keys() >= {ONE, TWO}
        (status,) = kept.statuses()
        assert status.state == "kept"


def test_the_owner_of_each_address_is_told(netns: NetNs, requests: Requests) -> None:
    requests.ask([LO_UP, newaddr(ONE[0], proto=SOMEBODY_ELSE)])
    with keeping(netns, WANTED) as kept:
        (status,) = kept.statuses()
        assert [(it.address, it.owner) for it in status.addresses] == [
            ("::1/128", "kernel"), ("fd00::1/128", "foreign"), ("192.0.2.1/32", "addrsvc"),
        ]  # fmt: skip


def test_what_a_rule_adopts_is_treated_as_ours(netns: NetNs, requests: Requests) -> None:
    requests.ask([LO_UP, newaddr(ONE[0], proto=SOMEBODY_ELSE), newaddr(TWO[0], proto=SOMEBODY_ELSE)])
    with keeping(netns, Wanted(adopted=frozenset([ONE]))) as kept:
        kept.until(lambda: ONE not in requests.addresses())
        assert TWO in requests.addresses()


@pytest.mark.parametrize("change", [{"metric": 7}, {"preferred_lft": 0}])
def test_what_somebody_changes_of_ours_is_changed_back(
    netns: NetNs, requests: Requests, change: dict[str, int]
) -> None:
    with keeping(netns, WANTED) as kept:
        wait_for_routes(netns, ONE[0])  # or the worker may tell of the change once more
        kept.quiet()
        requests.ask([newaddr(ONE[0], replace=True, **change)])
        kept.until_told("repaired", recipe="change")
        kept.quiet()
        present = requests.addresses()[ONE]
        assert present.flags & IFA_F_NOPREFIXROUTE
        assert (present.proto, present.preferred_lft) == (IFAPROT_ADDRSVC, ONE_SERVICE.preferred_lft)
        assert len([event for event in kept.told("repair") if event.fields["recipe"] == "change"]) == 1


def test_an_address_that_is_there_with_another_prefix_length_is_told_once(netns: NetNs, requests: Requests) -> None:
    requests.ask([LO_UP, newaddr(ONE[0], 64, proto=SOMEBODY_ELSE)])
    with keeping(netns, WANTED) as kept:
        kept.keeper.look(LABEL)
        assert [event.fields["address"] for event in kept.told("divergence")] == ["fd00::1/128"]
        assert (kept.keeper.counts().divergences, kept.keeper.counts().drifts) == (1, 0)
        assert not kept.is_as_wanted
        requests.ask([deladdr(ONE[0], 64)])
        kept.until_told("repaired", recipe="add", address="fd00::1/128")
        assert kept.is_as_wanted


def test_what_was_in_the_way_of_the_loopback_address_is_told_when_it_goes(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(loopback_reaction=Reaction.REPORT)) as kept:
        requests.ask([DELETE_LOOPBACK, newaddr(LOOPBACK[0], 64)])
        kept.quiet()
        kept.want(Wanted())
        kept.until_told("divergence", address="::1/128")
        kept.quiet()
        requests.ask([deladdr(LOOPBACK[0], 64)])
        cause = kept.until_told("RTM_DELADDR", address="::1/128").seq
        assert kept.until_told("repaired", recipe="restore ::1").cause == cause
        assert LOOPBACK in requests.addresses()


def test_one_that_can_ask_no_kernel_is_not_alive(netns: NetNs) -> None:
    with keeping(netns, WANTED) as kept:
        (one,) = kept.keeper
        assert kept.keeper.is_alive()
        one.requests.close()
        assert not kept.keeper.is_alive()


def test_a_namespace_has_one_keeper(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, WANTED), keeping(None, Wanted()) as other, open(f"/proc/self/fd/{netns.fileno()}") as own:
        other.keeper.found(LABEL, own.fileno())
        (why,) = [event.fields["why"] for event in other.told("waiting")]
        assert str(why).startswith(f"another service keeps it: process {os.getpid()} (")
        assert requests.addresses().keys() >= {ONE, V4}
        status = other.keeper.status(LABEL)
        assert (status.state, status.lo_up, status.mtu) == ("claimed", True, 65536)
        other.keeper.gone(LABEL)


def test_lo_of_what_another_service_keeps_is_left_alone(netns: NetNs, requests: Requests) -> None:
    with open(f"/proc/self/fd/{netns.fileno()}") as own, keeping(None, WANTED) as kept:
        flock(own.fileno(), LOCK_EX)
        kept.found(netns)
        assert not requests.lo().flags & IFF_UP

        flock(own.fileno(), LOCK_UN)
        kept.until(lambda: requests.lo().flags & IFF_UP)


def test_lo_is_up_before_anything_else_is_known(netns: NetNs, requests: Requests) -> None:
    """Who makes a namespace uses it next; that it could not be heard then changes nothing."""

    class Slow(SocketWatch[Kept]):
        def attach(self, kept: Kept, netns_fd: int) -> None:
            raise KernelError(EMFILE) if not requests.lo().flags & IFF_UP else KernelError(ENOMEM)

    with keeping(netns, WANTED, make_watch=Slow) as kept:
        (failed,) = [event.fields["why"] for event in kept.told("waiting")]
        assert failed == str(KernelError(ENOMEM))
        with open(f"/proc/self/fd/{netns.fileno()}") as own:
            flock(own.fileno(), LOCK_EX | LOCK_NB)  # another service may have it


def test_that_lo_was_brought_up_at_first_is_told_as_a_repair(netns: NetNs) -> None:
    with keeping(netns, WANTED) as kept:
        (repair, *_) = kept.told("repair")
        (attached,) = kept.told("attached")
        assert (repair.fields["recipe"], repair.fields["why"], repair.cause) == ("lo up", "start", attached.seq)
        assert [event.fields["recipe"] for event in kept.told("repaired")].count("lo up") == 1


def test_what_another_keeper_lets_go_of_is_kept(netns: NetNs, requests: Requests) -> None:
    """However it ends, and without waiting for a sweep."""
    with keeping(None, WANTED) as other, open(f"/proc/self/fd/{netns.fileno()}") as own:
        with keeping(netns, WANTED):
            other.keeper.found(LABEL, own.fileno())
            assert other.told("waiting")
        requests.ask([DELETE_LOOPBACK])

        other.until(lambda: LOOPBACK in requests.addresses())
        assert other.is_as_wanted
        other.keeper.gone(LABEL)


# --- lo, and ::1 ------------------------------------------------------------------------------------------------------


def test_lo_is_left_alone_where_a_rule_says_so_and_addresses_wait_for_it(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, replace(WANTED, lo=Lo.LEAVE)) as kept:
        assert not requests.lo().flags & IFF_UP
        (status,) = kept.statuses()
        assert [it.why_not for it in status.addresses] == ["lo is down", "lo is down", ""]
        kept.keeper.look(LABEL)
        assert [event.fields["why"] for event in kept.told("held")] == ["lo is down"]

        requests.ask([LO_UP])
        kept.until(lambda: ONE in requests.addresses())
        kept.quiet()
        assert kept.is_as_wanted


def test_a_forbidden_loopback_address_is_taken_away_whenever_it_comes(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(loopback=Loopback.FORBID)) as kept:
        assert LOOPBACK not in requests.addresses()
        requests.ask([LO_DOWN, LO_UP])
        kept.until_told("withdrawn")
        kept.quiet()
        assert requests.lo().flags & IFF_UP
        assert LOOPBACK not in requests.addresses()


def test_a_loopback_address_that_is_left_alone_stays_away(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(loopback=Loopback.LEAVE)) as kept:
        requests.ask([DELETE_LOOPBACK])
        kept.until_told("RTM_DELADDR")
        kept.quiet()
        assert LOOPBACK not in requests.addresses()


# --- reactions --------------------------------------------------------------------------------------------------------


def with_reaction(reaction: Reaction, **values: object) -> Wanted:
    return Wanted(addresses=dict([service("fd00::1", reaction=reaction, **values)]))


def test_what_is_only_reported_is_not_put_back(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, with_reaction(Reaction.REPORT)) as kept:
        requests.ask([deladdr(*ONE)])
        assert kept.until_told("reported").fields["address"] == "fd00::1/128"
        kept.quiet()
        assert ONE not in requests.addresses()
        kept.keeper.look(LABEL)
        assert ONE in requests.addresses()


def test_what_yields_is_put_back_if_it_does_not_come_back(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, with_reaction(Reaction.YIELD_THEN_HEAL, yield_for=0.05)) as kept:
        requests.ask([deladdr(*ONE)])
        began = kept.until_told("yield")
        assert ONE not in requests.addresses()
        assert kept.until_told("repaired").cause == began.cause
        assert ONE in requests.addresses()


def test_what_yields_is_left_to_who_brings_it_back(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, with_reaction(Reaction.YIELD_THEN_HEAL, yield_for=0.05)) as kept:
        requests.ask([deladdr(*ONE), newaddr(ONE[0], proto=SOMEBODY_ELSE)])
        kept.until_told("yield")
        kept.until(lambda: [it.owner for it in kept.statuses()[0].addresses] == ["kernel", "foreign"])
        kept.until(lambda: next(iter(kept.keeper)).timers is None)
        assert [event.fields["recipe"] for event in kept.told("repair")] == ["lo up", "add"]


# --- fights -----------------------------------------------------------------------------------------------------------

LIMITS = FightLimits(reversals=3, within=10.0, first_wait=0.05, longest_wait=0.1)


def test_repairs_are_made_ever_more_seldom_in_a_fight(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(fights=LIMITS)) as kept:
        for _ in range(3):
            requests.ask([DELETE_LOOPBACK])
            kept.until_told("repaired")
        fight = kept.until_told("fight", reversals=3)
        for wait in (0.05, 0.1, 0.1):
            (quarrel,) = (next(iter(kept.keeper)).quarrels or {}).values()
            assert quarrel.wait == wait
            requests.ask([DELETE_LOOPBACK])
            kept.until_told("RTM_DELADDR")
            assert not requests.has(LOOPBACK[0])
            assert kept.statuses()[0].state == "fighting"
            kept.until(lambda: requests.has(LOOPBACK[0]))
        assert kept.told("fight") == [fight]
        assert {event.fields["why"] for event in kept.told("repair")} == {"start", "deleted", "fight"}


def test_one_flush_by_ip_is_no_fight_though_it_tries_ten_times(netns: NetNs, requests: Requests) -> None:
    if shutil.which("ip") is None:
        pytest.skip("there is no ip(8)")
    with keeping(netns, WANTED) as kept:
        flush = run_in(netns, lambda: subprocess.Popen(["ip", "addr", "flush", "dev", "lo"], stderr=subprocess.DEVNULL))
        kept.until(lambda: flush.poll() is not None)
        kept.until(lambda: requests.addresses().keys() >= {LOOPBACK, ONE, V4})

        assert not kept.told("fight")


def test_lo_is_brought_up_ever_more_seldom_in_a_fight_too(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, replace(WANTED, fights=LIMITS)) as kept:
        for _ in range(3):
            requests.ask([LO_DOWN])
            kept.until_told("repaired", recipe="lo up")
        kept.until_told("fight", address="lo")
        kept.quiet()
        requests.ask([LO_DOWN])
        kept.until_told("RTM_NEWLINK", up=False)
        assert not requests.lo().flags & IFF_UP

        assert kept.until_told("repair", recipe="lo up").fields["why"] == "fight"
        kept.until(lambda: requests.addresses().keys() >= {LOOPBACK, ONE, V4})


def test_a_fight_is_ended_by_command(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(fights=replace(LIMITS, reversals=1, first_wait=60.0))) as kept:
        for _ in range(2):
            requests.ask([DELETE_LOOPBACK])
            kept.until_told("RTM_DELADDR")
        assert not requests.has(LOOPBACK[0])

        assert kept.keeper.resume(LABEL) == ["::1/128"]
        assert requests.has(LOOPBACK[0])
        assert kept.told("peace")
        assert kept.is_as_wanted


def test_a_fight_ends_when_nobody_fights_any_more(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(fights=replace(LIMITS, reversals=1, within=0.05, first_wait=0.01))) as kept:
        requests.ask([DELETE_LOOPBACK])
        kept.until_told("fight")
        kept.until_told("peace")
        assert next(iter(kept.keeper)).quarrels is None


def test_the_opponent_is_named_where_the_kernel_tells(netns: NetNs) -> None:
    limits = replace(LIMITS, reversals=1)
    somebody = os.getppid()
    with keeping(netns, replace(WANTED, fights=limits)) as kept:
        sock = run_in(netns, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))
        with sock:
            sock.bind((somebody, 0))
            sock.send(deladdr(*V4))
        name = Path(f"/proc/{somebody}/comm").read_text().strip()
        assert kept.until_told("fight").fields["opponent"] == f"{name} ({somebody})"


def test_where_the_kernel_does_not_tell_the_suspects_are_named(netns: NetNs, requests: Requests) -> None:
    suspect = os.getppid()
    sock = run_in(netns, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))
    with sock, keeping(netns, Wanted(fights=replace(LIMITS, reversals=1))) as kept:
        sock.bind((suspect, 0))
        requests.ask([DELETE_LOOPBACK])
        opponent = str(kept.until_told("fight").fields["opponent"])
        assert opponent.startswith("unknown; rtnetlink is open there in")
        assert f"({suspect})" in opponent


def test_what_we_withdraw_ourselves_is_no_reversal(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, replace(WANTED, fights=replace(LIMITS, reversals=1))) as kept:
        for _ in range(3):
            kept.want(Wanted(fights=replace(LIMITS, reversals=1)))
            kept.want(replace(WANTED, fights=replace(LIMITS, reversals=1)))
            kept.quiet()
        assert requests.addresses().keys() >= {ONE, V4}
        assert kept.told("fight") == []


# --- another configuration --------------------------------------------------------------------------------------------


def test_a_reload_does_not_touch_what_both_want(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, WANTED) as kept:
        wait_for_routes(netns, ONE[0])
        with nothing_said(netns):
            kept.want(replace(WANTED, rules=("another",), fights=LIMITS))
        kept.want(Wanted(addresses={ONE: ONE_SERVICE, TWO: TWO_SERVICE}))
        kept.until(lambda: V4 not in requests.addresses())
        assert {str(event.fields["address"]) for event in kept.told("RTM_DELADDR")} <= {"192.0.2.1/32"}
        assert requests.addresses().keys() & {ONE, TWO, V4} == {ONE, TWO}


def test_what_no_rule_names_any_more_loses_what_is_ours_and_keeps_the_rest(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, WANTED) as kept:
        kept.want(None)
        kept.until(lambda: not requests.addresses().keys() & {ONE, V4})
        assert LOOPBACK in requests.addresses()


def test_an_address_with_connections_is_withdrawn_when_they_have_ended(netns: NetNs, requests: Requests) -> None:
    wanted = Wanted(addresses=dict([service("fd00::1", drain=30.0)]))
    with keeping(netns, wanted) as kept:
        wait_for_routes(netns, ONE[0])
        listener = run_in(netns, lambda: socket.create_server(("fd00::1", 0), family=socket.AF_INET6))
        here = run_in(netns, lambda: socket.socket(socket.AF_INET6))
        with listener:
            here.connect(listener.getsockname())
            there, _ = listener.accept()
        with there, here:
            kept.want(Wanted())
            kept.until_told("withdraw")
            kept.quiet()
            assert requests.addresses()[ONE].preferred_lft == 0
        kept.until_told("withdrawn")
        assert ONE not in requests.addresses()


def test_an_address_that_drains_is_preferred_again_when_it_is_wanted_again(netns: NetNs, requests: Requests) -> None:
    wanted = Wanted(addresses=dict([service("fd00::1", drain=30.0)]))
    with keeping(netns, wanted) as kept:
        wait_for_routes(netns, ONE[0])
        listener = run_in(netns, lambda: socket.create_server(("fd00::1", 0), family=socket.AF_INET6))
        here = run_in(netns, lambda: socket.socket(socket.AF_INET6))
        with listener, here:
            here.connect(listener.getsockname())
            kept.want(Wanted())
            kept.until_told("withdraw")
            kept.want(wanted)
            kept.quiet()
            assert requests.addresses()[ONE].preferred_lft == ONE_SERVICE.preferred_lft
        assert kept.told("withdrawn") == []


def test_what_is_withdrawn_by_command_touches_nothing_else(netns: NetNs, requests: Requests) -> None:
    """Neither what is only reported, nor what is fought about."""
    reported, another = (service(text, reaction=Reaction.REPORT) for text in ("fd00::3", "fd00::4"))
    wanted = Wanted(
        addresses=dict([reported, another, (ONE, ONE_SERVICE), (TWO, TWO_SERVICE)]),
        fights=replace(LIMITS, reversals=1, first_wait=60.0, longest_wait=60.0),
    )
    with keeping(netns, wanted) as kept:
        for key in (reported[0], another[0], ONE, ONE):
            requests.ask([deladdr(*key)])
            kept.until_told("RTM_DELADDR")
        before = requests.addresses().keys()

        kept.keeper.withdraw(LABEL, [TWO, reported[0]], kept.ring.tell("command"))
        kept.until(lambda: TWO not in requests.addresses())
        kept.quiet()

        assert requests.addresses().keys() == before - {TWO}
        assert kept.told("drift") == []
        (status,) = kept.statuses()
        assert {it.address: it.why_not for it in status.addresses if not it.is_present} == {
            "fd00::4/128": "reported", "fd00::1/128": "fight",
        }  # fmt: skip


@pytest.mark.needs_cap_sys_admin
def test_many_addresses_are_dropped_at_once_where_a_rule_allows_it(netns: NetNs, requests: Requests) -> None:
    many = dict(service(f"fd00::{number:x}") for number in range(1, 101))
    with keeping(netns, Wanted(addresses={**many, V4: V4_SERVICE}, is_fast_flush=True)) as kept:
        kept.want(Wanted(addresses={ONE: ONE_SERVICE}))
        kept.until(lambda: V4 not in requests.addresses())
        kept.quiet()
        assert [event.fields["recipe"] for event in kept.told("withdrawn")] == ["fast flush", "delete"]
        assert {key for key in requests.addresses() if len(key[0]) == 16} == {LOOPBACK, ONE}
        assert [event for event in kept.told("repair") if event.fields["why"] != "start"] == []


# --- routes -----------------------------------------------------------------------------------------------------------


def test_a_prefix_is_answered_for_by_one_route(
    netns: NetNs, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody listens to routes the sweep finds what is missing."""
    monkeypatch.setattr(routes, "_MOST", 0)
    wanted = Wanted(addresses=dict([service("fd00:1::/64", is_route=True)]))
    with keeping(netns, wanted, sweep=0.05) as kept:
        assert [route.prefixlen for route in requests.routes()] == [64]
        requests.ask([delroute(bytes.fromhex("fd000001") + bytes(12), 64)])
        repair = kept.until_told("repair", recipe="add route")
        assert repair.fields["why"] == "sweep"
        assert [event.fields["address"] for event in kept.told("drift")] == ["fd00:1::/64"]
        assert (kept.keeper.counts().divergences, kept.keeper.counts().drifts) == (0, 1)
        kept.want(Wanted())
        assert requests.routes() == []


@pytest.mark.parametrize("loopback", Loopback)
@pytest.mark.parametrize("breaks", ["lo", "mtu", "lo's disable_ipv6", "all's disable_ipv6"])
def test_routes_are_back_when_what_has_taken_them_is_over(
    netns: NetNs, rtnl: RtnlKernel, requests: Requests, loopback: Loopback, breaks: str
) -> None:
    """Nobody says that they have gone; that something is back that they depend on is heard."""
    name = breaks.partition("'")[0]
    with keeping(netns, Wanted(loopback=loopback, addresses=dict([service("fd00:1::/64", is_route=True)]))) as kept:
        kept.quiet()
        for value in (1, 0):
            if breaks == "lo":
                rtnl.link_set("lo", up=not value)
            elif breaks == "mtu":
                rtnl.link_set("lo", mtu=1279 if value else 65536)
            else:
                rtnl.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", value)
        kept.until_told("repaired", recipe="add route")

        assert [route.prefixlen for route in requests.routes()] == [64]


def test_of_all_that_is_missing_while_ipv6_is_off_it_is_said_why(netns: NetNs, rtnl: RtnlKernel) -> None:
    """The first one that is asked for is refused, and that is how it is known."""
    with keeping(netns, WANTED) as kept:
        rtnl.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
        kept.until_told("refused", errno="EACCES")
        kept.quiet()
        (status,) = kept.statuses()
        missing = [address.why_not for address in status.addresses if not address.is_present]

    assert missing
    assert set(missing) == {"IPv6 is disabled"}


# --- before it is found -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lo", "is_up"), [(Lo.UP, True), (Lo.LEAVE, False)], ids=lambda it: str(it))
def test_lo_is_brought_up_before_a_namespace_is_told_of(netns: NetNs, requests: Requests, lo: Lo, is_up: bool) -> None:
    with keeping(None, Wanted(lo=lo)) as kept:
        kept.keeper.expected(LABEL)
        assert not requests.lo().flags & IFF_UP
        door = kept.keeper.opened(LABEL, netns.fileno())
        assert bool(requests.lo().flags & IFF_UP) is is_up
        assert kept.told("attached") == []
        kept.keeper.found(LABEL, netns.fileno(), door)
        assert [event.fields["recipe"] for event in kept.told("repaired")] == (["lo up"] if is_up else [])


def test_what_another_service_keeps_is_not_touched_before_it_is_told_of(netns: NetNs, requests: Requests) -> None:
    with open_netns(f"/proc/self/fd/{netns.fileno()}") as own, keeping(None, Wanted()) as kept:
        flock(own.fileno(), LOCK_EX)
        door = kept.keeper.opened(LABEL, netns.fileno())
        assert not requests.lo().flags & IFF_UP
        kept.keeper.found(LABEL, netns.fileno(), door)
        assert kept.told("repaired") == []


# --- what was lost, and what goes -------------------------------------------------------------------------------------


def test_what_was_lost_is_looked_at_and_told_once(netns: NetNs, requests: Requests) -> None:
    """A burst that overruns a buffer of a few messages, while nobody reads; so much is wanted that no filter helps."""
    burst = [bytes((10, 1, 0, number)) for number in range(1, 201)]
    many = {**WANTED.addresses, **dict(service(f"fd00:2::{number}") for number in range(1, 20))}
    with keeping(netns, Wanted(addresses=many), make_watch=partial(SocketWatch, largest=4096)) as kept:
        for _ in range(3):
            told, since = len(kept.told("lost")), time.monotonic()
            requests.ask(
                [*(newaddr(address, proto=SOMEBODY_ELSE) for address in burst), deladdr(*ONE), DELETE_LOOPBACK]
            )
            unheard = time.monotonic() - since
            kept.quiet()
            assert len(kept.told("lost")) == told + 1
            assert float(str(kept.told("lost")[-1].fields["seconds"])) >= unheard
            assert requests.addresses().keys() >= {LOOPBACK, ONE}
            requests.ask([deladdr(address) for address in burst])
            kept.quiet()


@pytest.mark.parametrize("make_watch", [SocketWatch, NsidWatch])
def test_what_is_wanted_later_is_heard_of_though_there_was_noise_before(
    netns: NetNs, requests: Requests, make_watch: MakeWatch
) -> None:
    noise = bytes((10, 1, 0, 1))
    with keeping(netns, WANTED, make_watch=make_watch) as kept:
        for _ in range(20):
            requests.ask([newaddr(noise), deladdr(noise)])
        kept.quiet()
        kept.want(Wanted(addresses=dict([service("fd00::77")])))
        kept.quiet()
        kept.skip()
        requests.ask([deladdr(*service("fd00::77")[0])])
        kept.until_told("repaired", recipe="add", address="fd00::77/128")


def test_what_is_of_no_interest_overruns_nothing(netns: NetNs, requests: Requests) -> None:
    burst = [bytes((10, 1, 0, number)) for number in range(1, 201)]
    with keeping(netns, WANTED, make_watch=partial(SocketWatch, largest=4096)) as kept:
        for _ in range(5):
            requests.ask([newaddr(address, proto=SOMEBODY_ELSE) for address in burst[:20]])
            kept.quiet()
            requests.ask([deladdr(address) for address in burst[:20]])
            kept.quiet()
        told = len(kept.told("lost"))
        requests.ask([*(newaddr(address, proto=SOMEBODY_ELSE) for address in burst), deladdr(*ONE), DELETE_LOOPBACK])
        kept.quiet()
        assert len(kept.told("lost")) == told
        assert requests.addresses().keys() >= {LOOPBACK, ONE}


def test_nothing_is_left_of_a_namespace_that_has_gone(netns: NetNs, requests: Requests) -> None:
    with keeping(None, replace(WANTED, fights=replace(LIMITS, reversals=1))) as kept:
        before = (os.listdir("/proc/self/fd"), threading.active_count())
        kept.found(netns)
        kept.quiet()
        requests.ask([DELETE_LOOPBACK])
        kept.until_told("fight")
        kept.keeper.gone(LABEL)
        assert len(kept.keeper) == 0
        assert kept.told("gone")
        assert (os.listdir("/proc/self/fd"), threading.active_count()) == before
