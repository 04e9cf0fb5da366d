"""plan() alone: two dumps in, steps and divergences out."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc.mirror.plan import IFAPROT_ADDRSVC, Dump, Plan, Step, adopt, lost, plan, rebase
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, Inet6LinkInfo, LinkMsg, Message, RouteMsg, Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    IF_OPER_DORMANT,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFA_F_TENTATIVE,
    IFAPROT_KERNEL_LL,
    IFAPROT_KERNEL_LO,
    IFAPROT_KERNEL_RA,
    IFF_DEBUG,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_HOST,
    RTM_DELADDR,
    RTM_NEWADDR,
)

ADD = NLM_F_CREATE | NLM_F_EXCL


def lo(*, up: bool = True, index: int = 1, name: str = "lo", mtu: int = 65536, disable_ipv6: int = 0) -> LinkMsg:
    """A loopback device as dumps show it."""
    return LinkMsg(
        ifi_type=ARPHRD_LOOPBACK,
        ifi_index=index,
        ifi_flags=IFF_LOOPBACK | (IFF_UP if up else 0),
        ifname=name,
        mtu=mtu,
        txqlen=1000,
        group=0,
        address=bytes(6),
        broadcast=bytes(6),
        inet6=Inet6LinkInfo(addr_gen_mode=0).having(disable_ipv6=disable_ipv6),
    )


def address(text: str, *, flags: int = 0, proto: int | None = None, index: int = 1) -> AddrMsg:
    """An address of `index` as dumps show it."""
    host, _, length = text.partition("/")
    packed = ip_address(host).packed
    is_v4 = len(packed) == 4
    return AddrMsg(
        ifa_family=AF_INET if is_v4 else AF_INET6,
        ifa_prefixlen=int(length),
        ifa_flags=(flags | IFA_F_PERMANENT) & 0xFF,
        ifa_scope=RT_SCOPE_HOST if ip_address(host).is_loopback else 0,
        ifa_index=index,
        address=packed,
        local=packed if is_v4 else None,
        label="lo" if is_v4 else None,
        cacheinfo=IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME, 7, 7),
        flags=flags | IFA_F_PERMANENT,
        proto=proto,
    )


LOCALHOST = address("127.0.0.1/8")
LOOPBACK = address("::1/128", proto=IFAPROT_KERNEL_LO)
BROUGHT_UP = (lo(), LOCALHOST, LOOPBACK)
OURS = IFA_F_NODAD | IFA_F_NOPREFIXROUTE


def messages(of: Plan) -> list[Message]:
    return [step.message for step in of.steps]


def whys(of: Plan) -> list[str]:
    return [divergence.why for divergence in of.divergences]


# --- the main job --------------------------------------------------------------------------------------------


def test_a_device_that_has_to_come_up_is_all_that_is_sent() -> None:
    wanted = (*BROUGHT_UP, address("2001:db8::1/128"))

    assert messages(plan(wanted, (lo(up=False),))) == [LinkMsg(ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP)]


def test_a_kernel_that_did_its_part_needs_nothing() -> None:
    assert plan(BROUGHT_UP, BROUGHT_UP) == Plan()


def test_a_missing_loopback_address_is_restored_by_one_message_that_makes_no_prefix_route() -> None:
    (step,) = plan(BROUGHT_UP, (lo(), LOCALHOST)).steps

    assert step.is_repair
    assert step.message == AddrMsg(
        nlmsg_type=RTM_NEWADDR,
        nlmsg_flags=ADD,
        ifa_family=AF_INET6,
        ifa_prefixlen=128,
        ifa_flags=IFA_F_NODAD,
        ifa_scope=RT_SCOPE_HOST,
        ifa_index=1,
        address=bytes(15) + b"\x01",
        flags=IFA_F_NODAD | IFA_F_NOPREFIXROUTE,
        proto=IFAPROT_KERNEL_LO,
    )


def test_a_restored_loopback_address_is_as_good_as_the_kernels_own() -> None:
    restored = address("::1/128", flags=OURS, proto=IFAPROT_KERNEL_LO)

    assert plan(BROUGHT_UP, (lo(), LOCALHOST, restored)) == Plan()


def test_a_missing_localhost_is_restored_without_a_protocol_as_the_kernel_has_it() -> None:
    (step,) = plan(BROUGHT_UP, (lo(), LOOPBACK)).steps

    assert step.is_repair
    assert step.message == AddrMsg(
        nlmsg_flags=ADD,
        ifa_family=AF_INET,
        ifa_prefixlen=8,
        ifa_scope=RT_SCOPE_HOST,
        ifa_index=1,
        address=bytes((127, 0, 0, 1)),
        local=bytes((127, 0, 0, 1)),
        label="lo",
    )


def test_a_loopback_address_that_somebody_gave_by_hand_is_left_as_it_is() -> None:
    assert plan(BROUGHT_UP, (lo(), LOCALHOST, address("::1/64"))) == Plan()


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (lo(disable_ipv6=1), "IPv6 is disabled on lo (disable_ipv6=1)"),
        (replace(lo(), operstate=IF_OPER_DORMANT), "lo is dormant; the kernel makes it when that ends"),
    ],
)
@pytest.mark.parametrize("model_is_alike", [True, False])
def test_what_keeps_the_loopback_address_away_is_told_not_fought(
    seen: LinkMsg, why: str, *, model_is_alike: bool
) -> None:
    wanted = (seen, LOCALHOST) if model_is_alike else BROUGHT_UP

    told = plan(wanted, (seen, LOCALHOST))

    assert told.steps == ()
    assert len(told.divergences) == 1
    assert why in told.divergences[0].why


def test_below_the_least_mtu_of_ipv6_the_kernel_makes_no_loopback_address_but_keeps_what_is_sent() -> None:
    (step,) = plan(BROUGHT_UP, (lo(mtu=1000), LOCALHOST)).steps

    assert step.is_repair
    assert step.why.startswith(
        "::1/128 is missing on lo; the MTU of lo is 1000; below 1280 the kernel makes no IPv6 ad"
    )


@pytest.mark.parametrize("is_up", [True, False])
def test_what_keeps_the_loopback_address_from_both_sides_is_told_before_lo_is_up(*, is_up: bool) -> None:
    told = plan((lo(mtu=1000), LOCALHOST), (lo(mtu=1000, up=is_up), LOCALHOST))

    assert len(told.steps) == (0 if is_up else 1)
    assert whys(told) == [
        "lo has no ::1/128: the MTU of lo is 1000; below 1280 the kernel makes no IPv6 address, and drops all when "
        "the MTU falls or the device comes up"
    ]


def test_a_loopback_address_that_neither_side_has_is_told_with_what_brings_it() -> None:
    told = plan((lo(), LOCALHOST), (lo(), LOCALHOST))

    assert told.steps == ()
    assert whys(told) == ["lo has no ::1/128: the model has none either; taking lo down and up in the model brings it"]


def test_a_loopback_address_that_the_model_gave_up_is_told_not_removed() -> None:
    told = plan((lo(), LOCALHOST), BROUGHT_UP)

    assert told.steps == ()
    assert whys(told) == ["::1/128 on lo is the kernel's own, not ours to remove"]


def test_a_link_local_address_is_left_to_the_kernel() -> None:
    ether = LinkMsg(ifi_type=ARPHRD_ETHER, ifi_index=2, ifi_flags=IFF_UP, ifname="x0", mtu=1500)
    wanted = (lo(up=False), ether, address("fe80::1/64", proto=IFAPROT_KERNEL_LL, index=2))

    told = plan(wanted, (lo(up=False), ether))

    assert told.steps == ()
    assert whys(told) == ["fe80::1/64 is missing on x0: only the kernel makes it (kernel_ll)"]


# --- service addresses ---------------------------------------------------------------------------------------


def test_a_service_address_is_sent_with_our_mark_and_without_side_effects() -> None:
    (step,) = plan((*BROUGHT_UP, address("2001:db8::1/128")), BROUGHT_UP).steps

    assert step.message == AddrMsg(
        nlmsg_flags=ADD,
        ifa_flags=IFA_F_NODAD,
        ifa_index=1,
        address=ip_address("2001:db8::1").packed,
        flags=OURS,
        proto=IFAPROT_ADDRSVC,
    )
    assert not step.is_repair


def test_a_service_network_keeps_its_prefix_route() -> None:
    (step,) = plan((*BROUGHT_UP, address("2001:db8::1/64")), BROUGHT_UP).steps

    assert isinstance(step.message, AddrMsg)
    assert step.message.flags == IFA_F_NODAD


def test_addresses_are_sent_oldest_first() -> None:
    newest_first = (address("2001:db8::2/128"), address("2001:db8::1/128"))
    sent = messages(plan((*BROUGHT_UP, *newest_first), BROUGHT_UP))

    assert [m.address for m in sent if isinstance(m, AddrMsg)] == [a.address for a in reversed(newest_first)]


def test_an_address_that_carries_our_mark_and_is_unwanted_is_removed() -> None:
    there = address("2001:db8::1/128", flags=OURS, proto=IFAPROT_ADDRSVC)
    (step,) = plan(BROUGHT_UP, (*BROUGHT_UP, there)).steps

    assert step.message == AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, local=there.address)


@pytest.mark.parametrize("proto", [None, IFAPROT_KERNEL_LO, 4, IFAPROT_ADDRSVC + 1])
def test_a_foreign_address_is_not_removed(proto: int | None) -> None:
    assert plan(BROUGHT_UP, (*BROUGHT_UP, address("2001:db8::1/128", proto=proto))).steps == ()


@pytest.mark.parametrize("proto", [IFAPROT_KERNEL_RA, IFAPROT_KERNEL_LL])
def test_an_address_of_lo_that_claims_to_be_a_kernels_is_foreign(proto: int) -> None:
    claimed = address("2001:db8::1/128", proto=proto)

    assert plan(BROUGHT_UP, (*BROUGHT_UP, claimed)) == Plan()
    assert whys(plan(BROUGHT_UP, (lo(up=False, mtu=1000), claimed)))[0].startswith("lo stays down")
    (step,) = plan((*BROUGHT_UP, claimed), BROUGHT_UP).steps
    assert isinstance(step.message, AddrMsg)
    assert step.message.proto == IFAPROT_ADDRSVC


def test_a_foreign_address_that_the_model_wants_too_is_enough() -> None:
    wanted = (*BROUGHT_UP, address("2001:db8::1/128"))

    assert plan(wanted, (*BROUGHT_UP, address("2001:db8::1/128", flags=IFA_F_TENTATIVE, proto=9))) == Plan()


def test_a_foreign_address_of_another_prefix_length_is_told() -> None:
    told = plan((*BROUGHT_UP, address("2001:db8::1/128")), (*BROUGHT_UP, address("2001:db8::1/64")))

    assert told.steps == ()
    assert whys(told) == ["2001:db8::1/128 on lo is there as 2001:db8::1/64 and not ours to change"]


def test_our_address_of_another_prefix_length_is_replaced() -> None:
    there = address("2001:db8::1/64", flags=IFA_F_NODAD, proto=IFAPROT_ADDRSVC)
    sent = messages(plan((*BROUGHT_UP, address("2001:db8::1/128")), (*BROUGHT_UP, there)))

    assert [m.nlmsg_type for m in sent] == [RTM_DELADDR, RTM_NEWADDR]  # type: ignore[union-attr]
    assert [m.ifa_prefixlen for m in sent if isinstance(m, AddrMsg)] == [64, 128]


def test_our_address_with_other_lifetimes_is_changed_in_place() -> None:
    there = address("2001:db8::1/128", flags=OURS, proto=IFAPROT_ADDRSVC)
    wanted = replace(there, cacheinfo=IfaCacheinfo(100, 200), proto=None, flags=0)
    (step,) = plan((*BROUGHT_UP, wanted), (*BROUGHT_UP, there)).steps

    assert isinstance(step.message, AddrMsg)
    assert step.message.nlmsg_flags == NLM_F_REPLACE
    assert step.message.cacheinfo == wanted.cacheinfo


@pytest.mark.parametrize(
    ("prefix_route", "sent"), [(True, [(RTM_DELADDR, 0), (RTM_NEWADDR, ADD)]), (False, [(RTM_NEWADDR, NLM_F_REPLACE)])]
)
def test_an_end_is_given_to_a_life_in_place_only_where_no_prefix_route_can_be_spoilt(
    prefix_route: bool, sent: list[tuple[int, int]]
) -> None:
    there = address("2001:db8::1/64", flags=IFA_F_NODAD if prefix_route else OURS, proto=IFAPROT_ADDRSVC)
    wanted = replace(there, cacheinfo=IfaCacheinfo(100, 200))

    planned = messages(plan((*BROUGHT_UP, wanted), (*BROUGHT_UP, there)))

    assert [(m.nlmsg_type, m.nlmsg_flags) for m in planned if isinstance(m, AddrMsg)] == sent


def test_clocks_that_differ_by_a_second_are_no_reason_to_send() -> None:
    there = replace(address("2001:db8::1/128", flags=OURS, proto=IFAPROT_ADDRSVC), cacheinfo=IfaCacheinfo(99, 199))
    wanted = replace(address("2001:db8::1/128"), cacheinfo=IfaCacheinfo(100, 200))

    assert plan((*BROUGHT_UP, wanted), (*BROUGHT_UP, there)) == Plan()


def test_a_disabled_device_gets_no_service_address() -> None:
    seen = lo(disable_ipv6=1)
    told = plan((*BROUGHT_UP, address("2001:db8::1/128"), address("192.0.2.1/32")), (seen, LOCALHOST))

    assert [m.ifa_family for m in messages(told) if isinstance(m, AddrMsg)] == [AF_INET]
    assert "2001:db8::1/128 cannot be given to lo: IPv6 is disabled on lo (disable_ipv6=1)" in whys(told)


def test_devices_meet_by_name_and_the_loopback_by_what_it_is() -> None:
    wanted = (lo(index=1), LOCALHOST, LOOPBACK, address("2001:db8::1/128"))
    seen = (lo(index=5, name="loop"), replace(LOCALHOST, ifa_index=5), replace(LOOPBACK, ifa_index=5))

    assert [m.ifa_index for m in messages(plan(wanted, seen)) if isinstance(m, AddrMsg)] == [5]


def test_a_device_that_the_kernel_lacks_is_told() -> None:
    x0 = LinkMsg(ifi_type=ARPHRD_ETHER, ifi_index=2, ifi_flags=IFF_UP, ifname="x0")

    assert plan((*BROUGHT_UP, x0, address("2001:db8::1/64", index=2)), BROUGHT_UP).steps == ()
    assert whys(plan((*BROUGHT_UP, x0), BROUGHT_UP)) == ["x0 is not in the kernel, and addrsvc makes no devices"]


def test_a_device_that_the_model_lacks_is_not_its_business() -> None:
    x0 = LinkMsg(ifi_type=ARPHRD_ETHER, ifi_index=2, ifname="x0")
    there = address("2001:db8::1/64", proto=IFAPROT_ADDRSVC, index=2)

    assert plan(BROUGHT_UP, (*BROUGHT_UP, x0, there)) == Plan()


# --- the host's own -------------------------------------------------------------------------------------------

DEBUGGED = replace(lo(), ifi_flags=lo().ifi_flags | IFF_DEBUG)
CHANGED = (
    (lo(mtu=2000), LinkMsg(ifi_index=1, mtu=2000)),
    (replace(lo(), ifalias="x"), LinkMsg(ifi_index=1, ifalias="x")),
    (replace(lo(), txqlen=10), LinkMsg(ifi_index=1, txqlen=10)),
    (replace(lo(), group=3), LinkMsg(ifi_index=1, group=3)),
    (replace(lo(), address=b"\x02abcde"), LinkMsg(ifi_index=1, address=b"\x02abcde")),
    (DEBUGGED, LinkMsg(ifi_index=1, ifi_flags=IFF_DEBUG, ifi_change=IFF_DEBUG)),
    (lo(name="loop"), LinkMsg(ifi_index=1, ifname="loop")),
    (lo(disable_ipv6=1), Sysctl("net.ipv6.conf.lo.disable_ipv6", "1")),
    (
        replace(lo(), inet6=Inet6LinkInfo(addr_gen_mode=1).having(disable_ipv6=0)),
        LinkMsg(ifi_index=1, inet6=Inet6LinkInfo(addr_gen_mode=1)),
    ),
    (lo(up=False), LinkMsg(ifi_index=1, ifi_change=IFF_UP)),
)


@pytest.mark.parametrize(("link", "request_for_it"), CHANGED)
def test_a_property_that_was_changed_in_the_model_is_sent(link: LinkMsg, request_for_it: Message) -> None:
    assert messages(plan((link,), BROUGHT_UP, baseline=BROUGHT_UP)) == [request_for_it]


@pytest.mark.parametrize(("link", "_request"), CHANGED)
def test_a_property_that_only_the_host_changed_is_left_alone(link: LinkMsg, _request: Message) -> None:
    brings_up = [LinkMsg(ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP)] if not link.ifi_flags & IFF_UP else []

    assert messages(plan(BROUGHT_UP, (link, LOCALHOST, LOOPBACK), baseline=BROUGHT_UP)) == brings_up


@pytest.mark.parametrize(("link", "_request"), CHANGED)
def test_without_a_baseline_no_property_but_up_is_sent(link: LinkMsg, _request: Message) -> None:
    assert plan((link, LOCALHOST, LOOPBACK), BROUGHT_UP).steps == ()


@pytest.mark.parametrize(("link", "request_for_it"), CHANGED)
def test_a_model_adopts_every_property_that_it_could_send(link: LinkMsg, request_for_it: Message) -> None:
    being_down = not link.ifi_flags & IFF_UP

    assert adopt((link,), BROUGHT_UP) == (() if being_down else (request_for_it,))


@pytest.mark.parametrize(("link", "request_for_it"), CHANGED)
def test_what_only_the_kernel_changed_since_the_baseline_is_adopted(link: LinkMsg, request_for_it: Message) -> None:
    being_down = not link.ifi_flags & IFF_UP

    assert adopt((link,), BROUGHT_UP, baseline=(lo(),)) == (() if being_down else (request_for_it,))


@pytest.mark.parametrize(("link", "_request"), CHANGED)
def test_what_only_the_model_changed_since_the_baseline_is_not_adopted_back(link: LinkMsg, _request: Message) -> None:
    assert adopt(BROUGHT_UP, (link,), baseline=BROUGHT_UP) == ()


def test_where_both_changed_the_models_change_is_sent() -> None:
    model, kernel, baseline = (lo(mtu=9000),), (lo(mtu=1400),), (lo(),)

    assert adopt(kernel, model, baseline=baseline) == ()
    assert messages(plan(model, kernel, baseline=baseline)) == [LinkMsg(ifi_index=1, mtu=9000)]


def test_a_baseline_counts_property_by_property() -> None:
    model, kernel = (replace(lo(mtu=9000), ifalias="new"),), (replace(lo(), ifalias="new"),)

    assert rebase(model, kernel, (lo(),)) == (replace(lo(), ifalias="new"),)


def test_a_device_that_the_baseline_lacks_is_in_it_once_it_was_adopted() -> None:
    assert rebase(BROUGHT_UP, BROUGHT_UP, ()) == ()
    assert rebase(BROUGHT_UP, BROUGHT_UP, (), with_new=True) == (lo(),)


def test_what_carries_our_mark_is_adopted_with_its_device_and_later_no_more() -> None:
    ours = address("2001:db8::1/128", flags=OURS, proto=IFAPROT_ADDRSVC)

    assert len(adopt((*BROUGHT_UP, ours), BROUGHT_UP)) == 1
    assert adopt((*BROUGHT_UP, ours), BROUGHT_UP, baseline=BROUGHT_UP) == ()


def test_what_adopting_took_from_the_model_is_given_back_as_it_was() -> None:
    served = address("2001:db8::1/64", proto=9)

    again6, again4, loopback = lost((*BROUGHT_UP, served), (lo(),))[1:], lost(BROUGHT_UP, (lo(),))[0], LOOPBACK
    assert again4.local == LOCALHOST.local
    assert [(m.address, m.ifa_prefixlen, m.proto) for m in again6] == [
        (served.address, 64, 9), (loopback.address, 128, IFAPROT_KERNEL_LO),
    ]  # fmt: skip
    assert lost(BROUGHT_UP, BROUGHT_UP) == ()


def test_a_model_that_agrees_with_the_host_adopts_nothing() -> None:
    assert adopt(BROUGHT_UP, BROUGHT_UP) == ()


def test_a_model_adopts_being_up_last() -> None:
    host = lo(mtu=2000, disable_ipv6=1)

    assert adopt((host,), (lo(up=False),)) == (
        Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"),
        LinkMsg(ifi_index=1, mtu=2000),
        LinkMsg(ifi_index=1, ifi_flags=IFF_UP, ifi_change=IFF_UP),
    )


def test_a_model_adopts_the_addresses_that_are_ours_and_no_other() -> None:
    ours = address("2001:db8::1/128", flags=OURS, proto=IFAPROT_ADDRSVC)
    dump = (*BROUGHT_UP, address("2001:db8::2/128"), ours)

    (request,) = adopt(dump, BROUGHT_UP)

    assert request == AddrMsg(
        nlmsg_flags=ADD, ifa_flags=IFA_F_NODAD, ifa_index=1, address=ours.address, flags=OURS, proto=IFAPROT_ADDRSVC
    )
    assert adopt(dump, (*BROUGHT_UP, ours)) == ()


def test_a_model_never_taken_down_takes_nothing_down() -> None:
    told = plan((lo(up=False),), BROUGHT_UP)

    assert told.steps == ()
    assert whys(told) == ["lo is down in the model; somebody else has it up, and so it stays"]


@pytest.mark.parametrize(("link", "_request"), CHANGED)
def test_a_baseline_moves_on_when_a_device_is_in_line(link: LinkMsg, _request: Message) -> None:
    assert rebase((link,), (link,), (lo(),)) == (link,)
    assert rebase((link,), (lo(),), (lo(),)) == (lo(),)
    assert rebase((lo(),), (link,), (lo(),)) == (lo(),)


def test_a_dot_in_a_device_name_is_a_slash_in_its_sysctl() -> None:
    dotted = (lo(name="lo.1"),)

    assert messages(plan((lo(name="lo.1", disable_ipv6=1),), dotted, baseline=dotted)) == [
        Sysctl("net.ipv6.conf.lo/1.disable_ipv6", "1")
    ]


def test_what_was_refused_is_not_planned_again_and_holds_up_nothing() -> None:
    wanted = (lo(mtu=2000), LOCALHOST, LOOPBACK)
    refused = {LinkMsg(ifi_index=1, mtu=2000)}

    (step,) = plan(wanted, (lo(), LOCALHOST), baseline=BROUGHT_UP, refused=refused).steps

    assert step.is_repair


# --- laws -------------------------------------------------------------------------------------------------------

PROTOS = st.sampled_from([None, 0, IFAPROT_KERNEL_LO, IFAPROT_KERNEL_LL, 9, IFAPROT_ADDRSVC])
FLAGS = st.sampled_from([0, IFA_F_NODAD, IFA_F_NOPREFIXROUTE, OURS, IFA_F_TENTATIVE])
TEXTS = st.sampled_from(
    ["::1/128", "::1/64", "127.0.0.1/8", "192.0.2.1/32", "2001:db8::1/64", "2001:db8::1/128", "2001:db8::2/128"]
)
LIFETIMES = st.sampled_from([IfaCacheinfo(10, 20), IfaCacheinfo(INFINITY_LIFE_TIME, INFINITY_LIFE_TIME)])
ADDRESSES = st.builds(
    lambda text, flags, proto, life: replace(address(text, flags=flags, proto=proto), cacheinfo=life),
    TEXTS, FLAGS, PROTOS, LIFETIMES,
)  # fmt: skip
LINKS = st.builds(
    lambda link, flags, alias: replace(link, ifi_flags=link.ifi_flags ^ flags, ifalias=alias),
    st.builds(
        lo,
        up=st.booleans(),
        name=st.sampled_from(["lo", "loop"]),
        mtu=st.sampled_from([1000, 65536]),
        disable_ipv6=st.integers(0, 1),
    ),
    st.sampled_from([0, IFF_DEBUG, IFF_MULTICAST]),
    st.sampled_from([None, "alias"]),
)


def in_a_list(addresses: list[AddrMsg]) -> tuple[AddrMsg, ...]:
    """As a kernel holds them: one of a kind."""
    return tuple(
        {(a.ifa_family, a.address, a.ifa_family == AF_INET and a.ifa_prefixlen): a for a in addresses}.values()
    )


DUMPS: st.SearchStrategy[Dump] = st.builds(
    lambda link, addresses: (link, *in_a_list(addresses), RouteMsg()), LINKS, st.lists(ADDRESSES, max_size=6)
)


def address_steps(of: Plan) -> list[tuple[Step, AddrMsg]]:
    return [(step, step.message) for step in of.steps if isinstance(step.message, AddrMsg)]


@given(DUMPS, DUMPS)
def test_law_equal_dumps_need_no_step(same: Dump, baseline: Dump) -> None:
    assert plan(same, same, baseline=baseline).steps == ()


@given(DUMPS, DUMPS, DUMPS)
def test_law_only_what_carries_our_mark_is_removed_or_changed(desired: Dump, observed: Dump, baseline: Dump) -> None:
    ours = {
        (m.address, m.ifa_prefixlen) for m in observed if isinstance(m, AddrMsg) and m.proto == IFAPROT_ADDRSVC
    }  # fmt: skip

    for _, message in address_steps(plan(desired, observed, baseline=baseline)):
        if message.nlmsg_type == RTM_DELADDR:
            assert (message.local, message.ifa_prefixlen) in ours
        elif message.nlmsg_flags & NLM_F_REPLACE:
            assert (message.address, message.ifa_prefixlen) in ours


@given(DUMPS, DUMPS, DUMPS)
def test_law_what_is_added_carries_our_mark_or_is_a_repair(desired: Dump, observed: Dump, baseline: Dump) -> None:
    for step, message in address_steps(plan(desired, observed, baseline=baseline)):
        if message.nlmsg_type == RTM_NEWADDR:
            assert step.is_repair or message.proto == IFAPROT_ADDRSVC


@given(DUMPS, DUMPS, DUMPS)
def test_law_a_device_and_its_addresses_are_never_in_one_plan(desired: Dump, observed: Dump, baseline: Dump) -> None:
    assert len({isinstance(m, AddrMsg) for m in messages(plan(desired, observed, baseline=baseline))}) < 2


@given(DUMPS, DUMPS, DUMPS)
def test_law_a_plan_that_was_refused_as_a_whole_comes_to_an_end(desired: Dump, observed: Dump, baseline: Dump) -> None:
    refused: set[Message] = set()
    while steps := plan(desired, observed, baseline=baseline, refused=refused).steps:
        assert refused.isdisjoint(step.message for step in steps)
        refused |= {step.message for step in steps}
