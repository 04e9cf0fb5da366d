"""addrsvc.keeper.routes: what somebody deletes of the local routes that a rule wants is back at once, unswept."""

import os
from contextlib import ExitStack

import pytest

from addrsvc.keeper import routes as routes_module
from addrsvc.keeper.bpf import hear_deleted_routes
from addrsvc.keeper.kept import Key, Why
from addrsvc.keeper.messages import deladdr, delroute, newaddr, newroute
from addrsvc.keeper.rtnl import Requests, open_rtnl
from addrsvc.keeper.wanted import FightLimits, Reaction, Wanted
from addrsvc.mirror.netns import NetNs, create_anonymous
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.uapi import RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE
from tests.keeper.keeping import LABEL, Keeping, keeping, service
from tests.keeper.used import wait_for_routes

SIX, SIX_SERVICE = service("fd00:1::/64", is_route=True)
FOUR, FOUR_SERVICE = service("198.51.100.0/24", is_route=True)
METRIC, METRIC_SERVICE = service("fd00:2::/64", is_route=True, metric=7)
WANTED = Wanted(addresses={SIX: SIX_SERVICE, FOUR: FOUR_SERVICE, METRIC: METRIC_SERVICE})
LIMITS = FightLimits(reversals=5, within=10, first_wait=0.05, longest_wait=300.0)


def there(requests: Requests) -> set[Key]:
    return {(route.prefix, route.prefixlen) for route in requests.routes()}


def followed(kept: Keeping) -> int:
    return len(kept.keeper._routes)


@pytest.mark.parametrize(("key", "metric"), [(SIX, 0), (FOUR, 0), (METRIC, 7)])
def test_a_deleted_route_is_back_at_once(netns: NetNs, requests: Requests, key: Key, metric: int) -> None:
    with keeping(netns, WANTED) as kept:
        requests.ask([delroute(*key, metric=metric)])
        repair = kept.until_told("repair", recipe="add route")
        assert repair.fields["why"] == Why.DELETED
        assert [event.name for event in kept.told("RTM_DELROUTE", "drift")] == ["RTM_DELROUTE"]
        assert there(requests) == set(WANTED.addresses)


def test_all_that_goes_together_is_looked_at_together(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, WANTED) as kept:
        requests.ask([delroute(*SIX), delroute(*FOUR), delroute(*METRIC, metric=7)])
        kept.until_told("repaired", recipe="add route")
        kept.quiet()

        assert there(requests) == set(WANTED.addresses)
        assert [event.fields["count"] for event in kept.told("RTM_DELROUTE")] == [3]


def test_a_route_of_another_metric_is_of_no_interest(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, WANTED) as kept:
        requests.ask([newroute(*SIX, metric=9)])
        requests.ask([delroute(*SIX, metric=9)])
        kept.quiet()
        assert kept.told("RTM_DELROUTE") == []


def test_who_deletes_it_again_and_again_is_fought_ever_more_seldom(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted(addresses=WANTED.addresses, fights=LIMITS)) as kept:
        for _ in range(LIMITS.reversals):
            requests.ask([delroute(*SIX)])
            kept.until_told("repaired", recipe="add route")
        kept.until_told("fight", address="fd00:1::/64")
        requests.ask([delroute(*SIX)])
        assert kept.until_told("repair", recipe="add route").fields["why"] == Why.FIGHT


def test_what_is_only_reported_is_not_put_back(netns: NetNs, requests: Requests) -> None:
    key, wanted = service("fd00:1::/64", is_route=True, reaction=Reaction.REPORT)
    with keeping(netns, Wanted(addresses={key: wanted})) as kept:
        requests.ask([delroute(*SIX)])
        kept.until_told("reported")
        kept.quiet()
        assert there(requests) == set()


def test_what_goes_with_lo_counts_as_that(netns: NetNs, requests: Requests, rtnl: RtnlKernel) -> None:
    with keeping(netns, WANTED) as kept:
        rtnl.link_set("lo", up=False)
        kept.until(lambda: there(requests) == set(WANTED.addresses))
        kept.quiet()
        assert {event.fields["why"] for event in kept.told("repair") if event.fields["why"] != Why.START} == {
            Why.LO_DOWN
        }
        assert kept.is_as_wanted


def test_it_is_listened_to_routes_only_where_some_are_wanted(netns: NetNs, requests: Requests) -> None:
    with keeping(netns, Wanted()) as kept:
        before = len(os.listdir("/proc/self/fd"))
        assert followed(kept) == 0
        kept.want(WANTED)
        assert followed(kept) == 1
        requests.ask([delroute(*SIX)])
        kept.until_told("repaired", recipe="add route")
        kept.want(Wanted())
        kept.quiet()
        assert (followed(kept), len(os.listdir("/proc/self/fd"))) == (0, before)
        assert there(requests) == set()
        kept.want(WANTED)
        kept.keeper.gone(LABEL)
        assert followed(kept) == 0


def test_it_is_listened_to_routes_in_a_few_namespaces_only(cap_sys_admin: None) -> None:
    with ExitStack() as stack:
        many = [stack.enter_context(create_anonymous(str(number))) for number in range(routes_module._MOST + 2)]
        kept = stack.enter_context(keeping(None, WANTED))
        for number, netns in enumerate(many):
            kept.found(netns, str(number))
        assert followed(kept) == routes_module._MOST
        kept.keeper.gone("0")
        kept.keeper.reconfigure(kept.keeper.rules, sweep=0.01)
        kept.until(lambda: followed(kept) == routes_module._MOST)  # another one has its place


def test_what_was_lost_is_looked_at(netns: NetNs, requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_module, "_BUFFER", 4096)
    monkeypatch.setattr(routes_module, "_LARGEST", 4096)
    many = [(bytes.fromhex("fd000003") + number.to_bytes(12), 128) for number in range(100)]
    with keeping(netns, WANTED) as kept:
        requests.ask([newroute(*key) for key in many])
        requests.ask([*(delroute(*key) for key in many), delroute(*SIX)])
        kept.until_told("lost")
        kept.until(lambda: there(requests) == set(WANTED.addresses))


def test_nothing_is_heard_of_routes_that_are_not_ours(netns: NetNs, requests: Requests) -> None:
    """Nor that ours are added; it is only told when one is deleted."""
    ours = newroute(*SIX)
    theirs = bytearray(newroute(*METRIC))
    theirs[21] = 4  # rtm_protocol
    gone = bytearray(delroute(*METRIC))
    gone[21] = 4
    address = bytes.fromhex("fd00") + bytes(13) + b"\x09"
    with keeping(netns, Wanted()):
        pass
    groups = (RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE)
    with open_rtnl(netns.fileno(), groups=groups, prepare=hear_deleted_routes) as sock:
        assert requests.ask([bytes(theirs), newaddr(address), newaddr(bytes((192, 0, 2, 9)))]) == []
        wait_for_routes(netns, address)
        assert requests.ask([bytes(gone), deladdr(address, 128), deladdr(bytes((192, 0, 2, 9))), ours]) == []
        with pytest.raises(BlockingIOError):
            sock.recv(4096)
        assert requests.ask([delroute(*SIX)]) == []
        assert sock.recv(4096)
