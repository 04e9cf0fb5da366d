"""converge() on both kernels: what it sends, what it leaves alone, and that it ends."""

from collections.abc import Callable
from contextlib import closing, suppress
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.converge import MAX_ROUNDS, Outcome, converge, settle
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.plan import IFAPROT_ADDRSVC, Dump, adopt, plan
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, RouteMsg, Sysctl
from addrsvc.pytest_plugin import wait_until
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_F_TENTATIVE,
    IFAPROT_KERNEL_LO,
    IFAPROT_KERNEL_RA,
    IFF_UP,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_SCOPE_HOST,
    RT_TABLE_MAIN,
    RTM_DELADDR,
    RTM_NEWADDR,
)

LOOPBACK = ip_address("::1").packed
LOCALHOST = ip_address("127.0.0.1").packed
UP = LinkMsg(ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP)
DELETE_LOOPBACK = AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, local=LOOPBACK)


def give(text: str, *, proto: int | None = None) -> AddrMsg:
    """The request of somebody who is not addrsvc."""
    host, _, length = text.partition("/")
    packed = ip_address(host).packed
    return AddrMsg(
        nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL,
        ifa_family=AF_INET if len(packed) == 4 else AF_INET6,
        ifa_prefixlen=int(length),
        ifa_index=1,
        address=packed,
        local=packed,
        proto=proto,
    )


def brought_up() -> Namespace:
    """The main job, done in the model."""
    net = Linux().init_net
    net.link_set("lo", up=True)
    return net


def addresses(kernel: Kernel) -> list[AddrMsg]:
    return [m for m in settle(kernel) if isinstance(m, AddrMsg) and m.nlmsg_type == RTM_NEWADDR]


def shown(kernel: Kernel) -> list[tuple[bytes | None, int, int, int | None]]:
    return [(a.address, a.ifa_prefixlen, a.ifa_scope, a.proto) for a in addresses(kernel)]


def main_routes(dump: Dump) -> list[RouteMsg]:
    return [m for m in dump if isinstance(m, RouteMsg) and m.rtm_table == RT_TABLE_MAIN]


def said_during(kernel: Kernel, work: Callable[[], Outcome]) -> tuple[Outcome, list[Message]]:
    """What a convergence did, and everything that the kernel said meanwhile."""
    with closing(kernel.watch()) as watch:
        list(watch)
        return work(), list(watch)


class Settling:
    """A namespace that finishes something a few looks after it was asked."""

    def __init__(self, kernel: Namespace, looks: int) -> None:
        self.kernel, self.looks = kernel, looks
        self.request, self.watch = kernel.request, kernel.watch

    def dump(self) -> Dump:
        self.looks -= 1
        if self.looks >= 0:
            self.kernel.link_set("lo", txqlen=self.looks)
        return self.kernel.dump()


def test_settling_looks_until_nothing_changes_any_more() -> None:
    net = Linux().init_net

    assert settle(Settling(net, looks=4)) == net.dump()
    assert [m.txqlen for m in net.dump() if isinstance(m, LinkMsg)] == [0]


def test_settling_gives_up_on_a_namespace_that_never_rests() -> None:
    restless = Settling(Linux().init_net, looks=1000)

    settle(restless)

    assert restless.looks > 900


# --- the main job ---------------------------------------------------------------------------------------------


def test_a_fresh_namespace_needs_one_step_and_the_kernel_does_the_rest(kernel: Kernel) -> None:
    outcome = converge(brought_up().dump(), kernel)

    assert [step.message for step in outcome.sent] == [UP]
    assert (outcome.rounds, outcome.divergences) == (1, ())
    assert shown(kernel) == [
        (LOCALHOST, 8, RT_SCOPE_HOST, None),
        (LOOPBACK, 128, RT_SCOPE_HOST, IFAPROT_KERNEL_LO),
    ]


def test_the_second_convergence_sends_nothing(kernel: Kernel) -> None:
    converge(brought_up().dump(), kernel)

    outcome, said = said_during(kernel, lambda: converge(brought_up().dump(), kernel))

    assert outcome == Outcome(0, (), ())
    assert said == []


def test_a_deleted_loopback_address_comes_back_by_one_newaddr_and_no_route_in_main(kernel: Kernel) -> None:
    converge(brought_up().dump(), kernel)
    kernel.request(DELETE_LOOPBACK)

    outcome, said = said_during(kernel, lambda: converge(brought_up().dump(), kernel))

    assert [step.is_repair for step in outcome.sent] == [True]
    newaddrs = [m for m in said if isinstance(m, AddrMsg)]
    assert [(m.nlmsg_type, m.address) for m in newaddrs] == [(RTM_NEWADDR, LOOPBACK)]
    assert main_routes(tuple(said)) == main_routes(settle(kernel)) == []
    assert (LOOPBACK, 128, RT_SCOPE_HOST, IFAPROT_KERNEL_LO) in shown(kernel)
    assert converge(brought_up().dump(), kernel).rounds == 0


def test_a_deleted_localhost_comes_back_as_the_kernel_had_it(kernel: Kernel) -> None:
    converge(brought_up().dump(), kernel)
    before = shown(kernel)
    kernel.request(AddrMsg(nlmsg_type=RTM_DELADDR, ifa_family=AF_INET, ifa_prefixlen=8, ifa_index=1, local=LOCALHOST))

    converge(brought_up().dump(), kernel)

    assert shown(kernel) == before


def test_foreign_addresses_are_untouched_throughout(kernel: Kernel) -> None:
    kernel.request(UP)
    kernel.request(give("2001:db8:f::1/64"))
    kernel.request(give("2001:db8:f::2/128", proto=9))
    wait_until(kernel, lambda: not any((a.flags or 0) & IFA_F_TENTATIVE for a in addresses(kernel)), timeout=30)
    foreign = [a for a in addresses(kernel) if a.address != LOOPBACK]

    converge(brought_up().dump(), kernel)
    kernel.request(DELETE_LOOPBACK)
    converge(brought_up().dump(), kernel)

    assert [a for a in addresses(kernel) if a.address != LOOPBACK] == foreign


def test_an_address_that_claims_to_be_a_kernels_is_foreign_and_nothing_to_tell(kernel: Kernel) -> None:
    kernel.request(UP)
    kernel.request(give("2001:db8:f::2/128", proto=IFAPROT_KERNEL_RA))

    assert converge(brought_up().dump(), kernel) == Outcome(0, (), ())


# --- service addresses ------------------------------------------------------------------------------------------


def test_a_service_address_follows_the_model_to_and_fro(kernel: Kernel) -> None:
    model = brought_up()
    model.addr_add("2001:db8::1/128", dev="lo")
    converge(model.dump(), kernel)
    (ours,) = [a for a in addresses(kernel) if a.proto == IFAPROT_ADDRSVC]

    assert (ours.address, ours.ifa_prefixlen) == (ip_address("2001:db8::1").packed, 128)
    assert main_routes(settle(kernel)) == []

    model.addr_del("2001:db8::1/128", dev="lo")
    converge(model.dump(), kernel)

    assert [a.proto for a in addresses(kernel) if a.ifa_family == AF_INET6] == [IFAPROT_KERNEL_LO]


def test_a_kernel_ends_up_with_the_models_order(kernel: Kernel) -> None:
    model = brought_up()
    for host in range(1, 5):
        model.addr_add(f"2001:db8::{host}/128", dev="lo")

    converge(model.dump(), kernel)

    assert [a.address for a in addresses(kernel)] == [a.address for a in addresses(model)]


def test_a_model_that_lives_on_is_looked_at_anew_in_each_round(kernel: Kernel) -> None:
    model = brought_up()
    looks = 0

    def desired() -> Dump:
        nonlocal looks
        looks += 1
        if looks == 2:
            model.addr_add("2001:db8::1/128", dev="lo")
        return model.dump()

    assert [type(step.message) for step in converge(desired, kernel).sent] == [LinkMsg, AddrMsg]


# --- the host's own ---------------------------------------------------------------------------------------------


def test_a_model_that_took_over_the_hosts_properties_resets_none_of_them(kernel: Kernel) -> None:
    kernel.request(LinkMsg(ifi_index=1, mtu=4000))
    kernel.request(LinkMsg(ifi_index=1, ifalias="the operator's"))
    model = Linux().init_net
    for request in adopt(settle(kernel), model.dump()):
        model.request(request)
    baseline = model.dump()
    model.link_set("lo", up=True, txqlen=500)

    outcome = converge(model.dump(), kernel, baseline=baseline)

    assert [step.message for step in outcome.sent] == [LinkMsg(ifi_index=1, txqlen=500), UP]
    (link,) = [m for m in kernel.dump() if isinstance(m, LinkMsg)]
    assert (link.mtu, link.ifalias, link.txqlen) == (4000, "the operator's", 500)


def test_a_property_follows_the_model_to_and_fro(kernel: Kernel) -> None:
    model = brought_up()
    baseline = model.dump()
    for mtu in (2000, 65536):
        model.link_set("lo", mtu=mtu)
        baseline = converge(model.dump(), kernel, baseline=baseline).baseline

        assert [m.mtu for m in kernel.dump() if isinstance(m, LinkMsg)] == [mtu]


def test_what_an_earlier_service_gave_outlives_it(kernel: Kernel) -> None:
    first = brought_up()
    first.addr_add("2001:db8::1/128", dev="lo")
    first.addr_add("2001:db8::2/64", dev="lo", valid_lft=600, preferred_lft=300)
    converge(first.dump(), kernel)

    second = Linux().init_net
    for request in adopt(settle(kernel), second.dump()):
        second.request(request)

    assert converge(second.dump(), kernel) == Outcome(0, (), ())
    assert [a.address for a in addresses(second)] == [a.address for a in addresses(kernel)]


def test_a_device_without_ipv6_is_told_and_left_without(kernel: Kernel) -> None:
    kernel.request(Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"))

    outcome = converge(brought_up().dump(), kernel)

    assert [step.message for step in outcome.sent] == [UP]
    assert ["IPv6 is disabled on lo (disable_ipv6=1)" in d.why for d in outcome.divergences] == [True]
    assert LOOPBACK not in [a.address for a in addresses(kernel)]


def test_below_the_least_mtu_of_ipv6_addresses_are_sent_as_the_kernel_keeps_them(kernel: Kernel) -> None:
    kernel.request(LinkMsg(ifi_index=1, mtu=1000))
    model = brought_up()
    model.addr_add("2001:db8::1/128", dev="lo")

    outcome = converge(model.dump(), kernel)

    assert ([step.is_repair for step in outcome.sent], outcome.divergences) == ([False, True, False], ())
    assert {LOOPBACK, ip_address("2001:db8::1").packed} <= {a.address for a in addresses(kernel)}
    assert converge(model.dump(), kernel) == Outcome(0, (), ())


# --- refusals -----------------------------------------------------------------------------------------------------


def test_a_refusal_becomes_a_divergence_in_the_kernels_words_and_stops_nothing_else(kernel: Kernel) -> None:
    nobody = AddrMsg(ifa_index=1, address=bytes(16), flags=0)
    somebody = AddrMsg(ifa_index=1, address=ip_address("2001:db8::1").packed, flags=0)

    outcome = converge((*brought_up().dump(), somebody, nobody), kernel)

    assert [type(step.message) for step in outcome.sent] == [LinkMsg, AddrMsg]
    (refusal,) = outcome.divergences
    assert refusal.why.startswith("the kernel refused ip addr add ::/128 dev lo ")
    assert refusal.why.endswith(": ipv6: Invalid address (EADDRNOTAVAIL)")
    assert outcome.rounds < MAX_ROUNDS


class Hurried:
    """A namespace where somebody else does the same a moment before us."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.dump, self.watch = kernel, kernel.dump, kernel.watch

    def request(self, msg: Message) -> None:
        with suppress(KernelError):
            self.kernel.request(msg)
        self.kernel.request(msg)


class Undone:
    """A namespace where somebody deletes ::1 as soon as it is there."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.dump, self.watch = kernel, kernel.dump, kernel.watch

    def request(self, msg: Message) -> None:
        self.kernel.request(msg)
        self.kernel.request(DELETE_LOOPBACK)


def test_what_somebody_else_did_first_is_already_so(kernel: Kernel) -> None:
    model = brought_up()
    model.addr_add("2001:db8::1/128", dev="lo")
    hurried = Hurried(kernel)
    assert converge(model.dump(), hurried).divergences == ()

    model.addr_del("2001:db8::1/128", dev="lo")

    assert converge(model.dump(), hurried).divergences == ()
    assert IFAPROT_ADDRSVC not in [a.proto for a in addresses(kernel)]


def test_a_fight_ends_after_a_bounded_number_of_rounds_and_is_told(kernel: Kernel) -> None:
    outcome = converge(brought_up().dump(), Undone(kernel), max_rounds=3)

    assert (outcome.rounds, len(outcome.sent)) == (3, 3)
    assert ["after 3 rounds still: ::1/128 is missing" in d.why for d in outcome.divergences] == [True]


# --- laws ---------------------------------------------------------------------------------------------------------

OPERATIONS: st.SearchStrategy[Callable[[Namespace], object]] = st.one_of(
    st.booleans().map(lambda up: lambda net: net.link_set("lo", up=up)),
    st.sampled_from([1000, 1280, 65536]).map(lambda mtu: lambda net: net.link_set("lo", mtu=mtu)),
    st.sampled_from(["", "alias"]).map(lambda alias: lambda net: net.link_set("lo", alias=alias)),
    st.sampled_from(["lo", "loop"]).map(lambda name: lambda net: net.request(LinkMsg(ifi_index=1, ifname=name))),
    st.sampled_from(["0", "1"]).map(lambda value: lambda net: net.sysctl("net.ipv6.conf.lo.disable_ipv6", value)),
    st.tuples(
        st.sampled_from(["::1/128", "::1/64", "2001:db8::1/64", "2001:db8::1/128", "2001:db8::2/128"]),
        st.sampled_from([None, IFAPROT_KERNEL_LO, 9, IFAPROT_ADDRSVC]),
    ).map(lambda chosen: lambda net: net.request(give(chosen[0], proto=chosen[1]))),
    st.sampled_from(["::1/128", "2001:db8::1/64", "2001:db8::2/128"]).map(
        lambda text: lambda net: net.addr_del(text, dev="lo")
    ),
)
SCRIPTS = st.lists(OPERATIONS, max_size=8)


def play(script: list[Callable[[Namespace], object]], net: Namespace) -> Namespace:
    for operation in script:
        with suppress(KernelError):
            operation(net)
    return net


@given(SCRIPTS, SCRIPTS, st.booleans())
def test_law_converging_ends_with_nothing_left_to_send(
    wanted: list[Callable[[Namespace], object]], found: list[Callable[[Namespace], object]], has_baseline: bool
) -> None:
    model, kernel = Linux().init_net, play(found, Linux().init_net)
    baseline = model.dump() if has_baseline else ()
    play(wanted, model)

    outcome = converge(model.dump(), kernel, baseline=baseline)

    assert outcome.rounds < MAX_ROUNDS
    refused = [d.message for d in outcome.divergences if d.message]
    assert plan(model.dump(), kernel.dump(), baseline=baseline, refused=refused).steps == ()


@given(SCRIPTS, SCRIPTS)
def test_law_addresses_without_our_mark_survive(
    wanted: list[Callable[[Namespace], object]], found: list[Callable[[Namespace], object]]
) -> None:
    model, kernel = play(wanted, Linux().init_net), play(found, Linux().init_net)
    foreign = [a for a in addresses(kernel) if a.proto not in (IFAPROT_KERNEL_LO, IFAPROT_ADDRSVC)]

    converge(model.dump(), kernel)

    there = [(a.address, a.flags, a.proto) for a in addresses(kernel)]
    assert [a for a in foreign if (a.address, a.flags, a.proto) not in there] == []
