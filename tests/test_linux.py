"""The Python face: boot, operate, listen in, let time pass, and read what came of it."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from errno import EEXIST, ENODEV, EOPNOTSUPP

import netaddr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import addrsvc
from addrsvc import Linux
from addrsvc.errors import ControlError, KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.kernel import Kernel
from addrsvc.model.notifier import NOTIFY_DONE
from addrsvc.model.structs import Effect, NetdevNotifierInfo, Printk, RtnlNotify
from addrsvc.model.timer import HZ
from addrsvc.netlink.messages import AddrMsg, Sysctl
from addrsvc.uapi import (
    ARPHRD_ETHER,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFAPROT_KERNEL_LO,
    IFF_NOARP,
    IFF_UP,
    RTM_DELADDR,
)
from tests.fidelity.asks import add, delete, up
from tests.fidelity.notation import brief
from tests.model.ears import Ear, link_of, messages, said

# --- namespaces ------------------------------------------------------------------------------------------------------


def test_the_package_hands_out_the_machine_and_nothing_that_is_not_there() -> None:
    assert addrsvc.Linux is Linux
    with pytest.raises(AttributeError):
        addrsvc.no_such_name  # noqa: B018


def test_namespaces_are_made_found_listed_and_deleted_by_name(linux: Linux) -> None:
    blue, red = linux.add_net("blue"), linux.add_net("red")
    assert linux.nets == {"init_net": linux.init_net, "blue": blue, "red": red}
    assert (linux.net("blue"), blue.name, repr(blue)) == (blue, "blue", "Namespace('blue')")
    linux.del_net("blue")
    assert [*linux.nets] == ["init_net", "red"]
    assert linux.add_net("blue") is not blue


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda linux: linux.net("x"), "net: no namespace 'x'; there are init_net, blue"),
        (lambda linux: linux.add_net("blue"), "net: there is a namespace 'blue' already"),
        (lambda linux: linux.add_net("init_net"), "already"),
        (lambda linux: linux.del_net("x"), "net: no namespace 'x'"),
        (lambda linux: linux.del_net("init_net"), "net: init_net cannot be deleted"),
    ],
)
def test_a_name_that_is_no_namespace_or_is_one_already_is_refused(
    linux: Linux, act: Callable[[Linux], object], text: str
) -> None:
    linux.add_net("blue")
    with pytest.raises(ControlError, match=text):
        act(linux)
    assert [*linux.nets] == ["init_net", "blue"]


def test_what_nets_gives_is_a_copy(linux: Linux) -> None:
    linux.nets.clear()
    assert [*linux.nets] == ["init_net"]


# --- the port ---------------------------------------------------------------------------------------------------------


def test_a_namespace_is_a_kernel(net: Namespace) -> None:
    kernel: Kernel = net
    kernel.request(up())

    assert brief(m for m in kernel.dump() if isinstance(m, AddrMsg) and m.multicast is None) == "A4+127.0.0.1 A+::1"


def test_what_a_request_leaves_for_the_work_queue_is_done_when_it_returns(linux: Linux, net: Namespace) -> None:
    net.link_set("lo", up=True)
    linux.effects()
    net.request(add("2001:db8::1/64"))

    assert said(linux) == "R+pfx:2001:db8::/64 A+(T,P)2001:db8::1 A+2001:db8::1 R+loc:2001:db8::1"
    assert [a.tentative for a in net.addresses("lo")] == [False] * 3


def test_a_refused_request_still_tells_what_was_done_before(linux: Linux, net: Namespace) -> None:
    linux.effects()
    with pytest.raises(KernelError):
        net.link_set("lo", mtu=1400, name="a/b")

    assert said(linux) == "L"


def test_a_watch_hears_its_namespace_from_the_moment_it_was_opened(linux: Linux, net: Namespace) -> None:
    blue = linux.add_net("blue")
    net.link_set("lo", up=True)
    watch = net.watch()
    assert list(watch) == []
    net.link_set("lo", alias="x")
    blue.link_set("lo", up=True)
    assert brief(watch) == "L"
    assert list(watch) == []

    watch.close()
    watch.close()
    net.link_set("lo", alias="y")
    assert list(watch) == []


def test_watches_and_effects_do_not_take_from_one_another(linux: Linux, net: Namespace) -> None:
    linux.effects()
    with net.watch() as one, net.watch() as other:
        net.link_set("lo", up=True)
        heard = list(one)
        assert list(other) == heard == messages(linux)
        assert len(heard) == 9


def test_effects_are_handed_out_once_with_their_namespace(linux: Linux) -> None:
    assert linux.effects() != []
    assert linux.effects() == []
    linux.add_net("blue").link_set("lo", name="lo9")
    effects = linux.effects()

    assert Printk("info", "lo9: renamed from lo") in effects
    assert {e.net for e in effects if isinstance(e, RtnlNotify)} == {"blue"}


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_link_is_set_in_one_request(linux: Linux, net: Namespace) -> None:
    net.link_set(
        "lo", up=True, noarp=True, mtu=1400, name="lo9", address="02:00:00:00:00:01", broadcast=b"\xff" * 6, txqlen=7,
        group=5, alias="mine", linkmode=1, addr_gen_mode=1,
    )  # fmt: skip
    link = link_of(net, "lo9")

    assert link.ifi_flags & (IFF_UP | IFF_NOARP) == IFF_UP | IFF_NOARP
    assert (link.mtu, link.txqlen, link.group, link.ifalias, link.linkmode) == (1400, 7, 5, "mine", 1)
    assert (link.address, link.broadcast) == (b"\x02\0\0\0\0\x01", b"\xff" * 6)
    assert link.inet6 is not None
    assert link.inet6.addr_gen_mode == 1
    net.link_set("lo9", noarp=False)
    assert link_of(net, "lo9").ifi_flags & (IFF_UP | IFF_NOARP) == IFF_UP


def test_flags_that_are_not_named_stay(net: Namespace) -> None:
    net.link_set("lo", up=True, debug=True, promisc=True)
    before = link_of(net, "lo").ifi_flags
    net.link_set("lo", mtu=1400)
    net.link_set("lo", multicast=True)

    assert link_of(net, "lo").ifi_flags == before | 0x1000


def test_an_unknown_flag_or_device_or_address_is_refused(net: Namespace) -> None:
    before = net.dump()
    with pytest.raises(TypeError, match="'loud'"):
        net.link_set("lo", loud=True)
    with pytest.raises(ControlError, match="'zz' is no hardware address"):
        net.link_set("lo", address="zz")
    with pytest.raises(ControlError, match="has not 6 bytes"):
        net.link_add("x0", address="02:00")
    for act in (lambda: net.link_set("x9", up=True), lambda: net.link_del("x9"), lambda: net.addresses("x9")):
        with pytest.raises(KernelError) as refused:
            act()
        assert (refused.value.errno, refused.value.extack) == (ENODEV, 'Cannot find device "x9"')

    assert net.dump() == before


def test_a_device_of_ones_own_is_added_down_and_deleted(net: Namespace) -> None:
    dev = net.link_add("x%d", address="02:00:00:00:00:07", mtu=1300, flags=IFF_NOARP)
    link = link_of(net, "x0")

    assert (dev.name, net.links()) == ("x0", ["lo", "x0"])
    assert (link.ifi_type, link.ifi_flags, link.mtu) == (ARPHRD_ETHER, IFF_NOARP, 1300)
    assert (link.address, link.broadcast) == (b"\x02\0\0\0\0\x07", b"\xff" * 6)
    net.link_del("x0")
    assert net.links() == ["lo"]


def test_lo_is_not_deleted(net: Namespace) -> None:
    net.link_set("lo", up=True)
    before = net.dump()
    with pytest.raises(KernelError) as refused:
        net.link_del("lo")

    assert (refused.value.errno, net.dump()) == (EOPNOTSUPP, before)


def test_a_name_that_is_used_is_refused(net: Namespace) -> None:
    with pytest.raises(KernelError) as refused:
        net.link_add("lo")
    assert (refused.value.errno, net.links()) == (EEXIST, ["lo"])


# --- addresses --------------------------------------------------------------------------------------------------------

SAME = ["2001:db8::1/64", netaddr.IPNetwork("2001:db8::1/64"), "2001:DB8:0::0001/64"]


@pytest.mark.parametrize("address", SAME, ids=repr)
def test_addresses_are_text_or_netaddr_on_the_way_in_and_netaddr_on_the_way_out(
    net: Namespace, address: str | netaddr.IPNetwork
) -> None:
    net.addr_add(address, "lo")
    (found,) = net.addresses("lo")

    assert found.network == netaddr.IPNetwork("2001:db8::1/64")
    assert isinstance(found.network, netaddr.IPNetwork)
    assert (found.network.ip, found.dev, found.scope) == (netaddr.IPAddress("2001:db8::1"), "lo", "global")
    assert (found.proto, found.peer, found.metric, found.valid_lft, found.preferred_lft) == (None,) * 5
    net.addr_del(address, "lo")
    assert net.addresses("lo") == []


def test_an_address_alone_is_a_host(net: Namespace) -> None:
    net.addr_add(netaddr.IPAddress("2001:db8::1"), "lo")
    net.addr_add("10.0.0.1", "lo")

    assert [str(a.network) for a in net.addresses("lo")] == ["10.0.0.1/32", "2001:db8::1/128"]


def test_all_that_an_address_can_have_is_read_back(net: Namespace) -> None:
    net.addr_add(
        "2001:db8::1", "lo", peer="2001:db8:9::1/64", nodad=True, noprefixroute=True, metric=77, proto=88,
        valid_lft=1000, preferred_lft=500,
    )  # fmt: skip
    (found,) = net.addresses()

    assert str(found.network) == "2001:db8::1/64"
    assert found.flags == IFA_F_NODAD | IFA_F_NOPREFIXROUTE
    assert (found.peer, found.metric, found.proto) == (netaddr.IPAddress("2001:db8:9::1"), 77, 88)
    assert (found.valid_lft, found.preferred_lft) == (1000, 500)


def test_the_kernels_own_address_of_lo_is_read(net: Namespace) -> None:
    net.link_set("lo", up=True)
    four, six = net.addresses()

    assert (str(four.network), four.scope, four.proto) == ("127.0.0.1/8", "host", None)
    assert (str(six.network), six.scope, six.proto) == ("::1/128", "host", IFAPROT_KERNEL_LO)


def test_a_valid_lifetime_alone_is_the_preferred_one_too(net: Namespace) -> None:
    net.addr_add("2001:db8::1/64", "lo", valid_lft=1000)
    net.addr_add("2001:db8::2/64", "lo", preferred_lft=500)

    assert [(a.valid_lft, a.preferred_lft) for a in net.addresses()] == [(None, 500), (1000, 1000)]


def test_an_address_is_added_once_unless_it_may_be_replaced(net: Namespace) -> None:
    net.addr_add("2001:db8::1/64", "lo")
    with pytest.raises(KernelError) as refused:
        net.addr_add("2001:db8::1/64", "lo")
    assert (refused.value.errno, refused.value.extack) == (EEXIST, "ipv6: address already assigned")
    net.addr_add("2001:db8::1/64", "lo", metric=5, replace=True)
    assert [a.metric for a in net.addresses()] == [5]


@pytest.mark.parametrize("text", ["", "x", "2001:db8::/129", "10.0.0.1/33", "10.0.0.256", "1.2.3.4/24/5"])
def test_a_text_that_is_no_address_is_named(net: Namespace, text: str) -> None:
    with pytest.raises(ControlError, match="is no address"):
        net.addr_add(text, "lo")
    with pytest.raises(ControlError, match="is no address"):
        net.addr_add("2001:db8::1", "lo", peer=text)
    assert net.addresses() == []


def test_requests_and_calls_are_the_same(net: Namespace) -> None:
    net.addr_add("2001:db8::1/64", "lo")
    net.request(delete("2001:db8::1/64"))
    net.request(add("2001:db8::2/64"))
    net.addr_del("2001:db8::2/64", "lo")
    net.request(Sysctl("net.ipv6.conf.lo.disable_ipv6", "1"))

    assert (net.addresses(), net.sysctl("net.ipv6.conf.lo.disable_ipv6")) == ([], "1")
    assert net.sysctl("net.ipv6.conf.lo.disable_ipv6", 0) == "0"


# --- listening in -----------------------------------------------------------------------------------------------------


def test_a_callback_is_told_of_what_exists_and_of_what_comes_by_priority(linux: Linux, net: Namespace) -> None:
    order: list[str] = []

    def named(name: str) -> Callable[[int, NetdevNotifierInfo], int]:
        def callback(event: int, info: NetdevNotifierInfo) -> int:
            order.append(name)
            return NOTIFY_DONE

        return callback

    for name, priority in (("low", -20), ("high", 20), ("first", 0), ("second", 0)):
        nb = linux.register_netdevice_notifier(named(name), priority=priority, name=name)
        assert (nb.name, nb.priority) == (name, priority)
    assert order == ["low", "high", "first", "second"]
    order.clear()
    net.inject("REBOOT", "lo")
    assert order == ["high", "first", "second", "low"]


def test_a_callback_that_left_hears_no_more(linux: Linux, net: Namespace) -> None:
    ear = Ear()
    nb = linux.register_netdevice_notifier(ear)
    linux.unregister_netdevice_notifier(nb)
    assert ear.heard() == "REGISTER lo, UNREGISTER lo"
    net.link_set("lo", up=True)
    assert ear.heard() == ""
    with pytest.raises(KernelError) as refused:
        linux.unregister_netdevice_notifier(nb)
    assert refused.value.name == "ENOENT"


def test_what_a_callback_of_the_replay_sets_off_is_told_at_once(linux: Linux, net: Namespace) -> None:
    linux.effects()
    linux.register_netdevice_notifier(lambda event, info: linux.machine.effects.append(Printk("info", info.dev.name)))

    assert linux.effects() == [Printk("info", "lo")]


# --- time and chance --------------------------------------------------------------------------------------------------


def test_time_passes_only_when_it_is_let(linux: Linux, net: Namespace) -> None:
    start = linux.jiffies
    net.link_set("lo", up=True)
    assert (linux.jiffies, linux.next_expiry()) == (start, None)
    net.addr_add("2001:db8::1/64", "lo", valid_lft=5)
    due = linux.next_expiry()
    assert due is not None
    assert start + 5 * HZ <= due <= start + 6 * HZ + HZ // 4
    linux.run_timers(due - 1)
    assert len(net.addresses()) == 3
    linux.run_timers(due)
    assert len(net.addresses()) == 2
    linux.advance(2.5)
    assert linux.jiffies == due + round(2.5 * HZ)


def test_what_time_brings_is_told_to_watches(linux: Linux, net: Namespace) -> None:
    net.addr_add("2001:db8::1/64", "lo", valid_lft=5)
    with net.watch() as watch:
        linux.advance(10)
        (gone, *_) = watch

    assert isinstance(gone, AddrMsg)
    assert gone.nlmsg_type == RTM_DELADDR


def test_another_seed_has_other_chances_and_the_same_seed_the_same() -> None:
    def mac(seed: int) -> bytes | None:
        linux = Linux(seed=seed)
        linux.init_net.link_add("x0")
        return link_of(linux.init_net, "x0").address

    assert mac(1) == mac(1) != mac(2)


STEPS: list[Callable[[Linux], object]] = [
    lambda linux: linux.init_net.link_set("lo", up=True),
    lambda linux: linux.init_net.link_set("lo", up=False),
    lambda linux: linux.init_net.link_set("lo", noarp=True),
    lambda linux: linux.init_net.link_set("lo", noarp=False),
    lambda linux: linux.init_net.link_set("lo", mtu=1000),
    lambda linux: linux.init_net.link_set("lo", mtu=1500),
    lambda linux: linux.init_net.addr_add("2001:db8::1/64", "lo", valid_lft=3, preferred_lft=1),
    lambda linux: linux.init_net.addr_add("2001:db8::2/64", "lo"),
    lambda linux: linux.init_net.addr_del("2001:db8::2/64", "lo"),
    lambda linux: linux.init_net.link_add("x%d"),
    lambda linux: linux.init_net.link_set("x0", up=True),
    lambda linux: linux.init_net.addr_add("2001:db8::1/64", "x0"),
    lambda linux: linux.init_net.link_del("x0"),
    lambda linux: linux.init_net.sysctl("net.ipv6.conf.all.disable_ipv6", 1),
    lambda linux: linux.init_net.sysctl("net.ipv6.conf.all.disable_ipv6", 0),
    lambda linux: linux.add_net("blue"),
    lambda linux: linux.del_net("blue"),
    lambda linux: linux.init_net.inject("CHANGE", "lo", flags_changed="NOARP"),
    lambda linux: linux.advance(0.4),
    lambda linux: linux.advance(2),
]


def run(seed: int, script: list[int]) -> tuple[list[str], list[Effect], object]:
    """A script of steps on a fresh machine: what was refused, what was said, and what it holds at the end."""
    linux, refused = Linux(seed=seed), []
    for step in script:
        try:
            STEPS[step](linux)
        except (KernelError, ControlError) as error:
            refused.append(f"{step}: {error}")
    return refused, linux.effects(), [net.dump() for net in linux.nets.values()]


@given(st.integers(0, 2**64), st.lists(st.integers(0, len(STEPS) - 1), max_size=25))
@settings(max_examples=80, deadline=None)
def test_the_same_script_and_seed_have_the_same_effects(seed: int, script: list[int]) -> None:
    assert run(seed, script) == run(seed, script)


def test_the_seed_decides_when_addresses_are_announced_again() -> None:
    orders = {
        brief(effect.msg for effect in run(seed, [0, 7, 2, 19])[1][-2:] if isinstance(effect, RtnlNotify))
        for seed in range(20)
    }

    assert orders == {"A+2001:db8::2 A+::1", "A+::1 A+2001:db8::2"}


# --- traces -----------------------------------------------------------------------------------------------------------


def test_a_trace_is_kept_only_while_it_is_on() -> None:
    silent, traced = Linux(), Linux(trace=True)
    for linux in (silent, traced):
        linux.init_net.link_set("lo", up=True)

    assert (silent.trace.on, list(silent.trace.story())) == (False, [])
    assert traced.trace.on
    assert len(list(traced.trace.story())) > 20


def test_a_callback_with_a_bug_does_not_stay_on_the_chain() -> None:
    def buggy(event: int, info: object) -> int:
        raise ZeroDivisionError

    linux = Linux()
    with pytest.raises(ZeroDivisionError):
        linux.register_netdevice_notifier(buggy)
    linux.init_net.link_set("lo", up=True)

    assert [str(address.network) for address in linux.init_net.addresses("lo")] == ["127.0.0.1/8", "::1/128"]


def test_what_cannot_be_called_is_no_callback() -> None:
    linux = Linux()
    block = linux.register_netdevice_notifier(lambda event, info: None)
    with pytest.raises(ControlError, match=r"callback: .* cannot be called"):
        linux.register_netdevice_notifier(block)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "value"), [("mtu", -1), ("mtu", 1 << 31), ("type", 1 << 16), ("flags", -1)]
)  # fmt: skip
def test_a_device_with_an_impossible_number_is_refused(number: str, value: int) -> None:
    net = Linux().init_net
    with pytest.raises(ControlError, match=f"{number}: {value} is not between"):
        net.link_add("d0", **{number: value})  # type: ignore[arg-type]
    assert net.links() == ["lo"]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_passes_forward_and_by_a_number(seconds: float) -> None:
    with pytest.raises(ControlError, match="no span of time"):
        Linux().advance(seconds)


def test_a_device_shows_itself_on_one_line() -> None:
    assert repr(Linux().init_net.link_add("d0")) == "<NetDevice d0 ifindex 2 in init_net>"


# --- threads ----------------------------------------------------------------------------------------------------------


def test_threads_may_share_a_machine() -> None:
    linux = Linux()
    nets = [linux.init_net, linux.add_net("blue")]

    def toggle(number: int) -> None:
        for _ in range(50):
            nets[number % 2].link_set("lo", up=True)
            nets[number % 2].link_set("lo", up=False)

    switched = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(toggle, range(4))) == [None] * 4
    finally:
        sys.setswitchinterval(switched)
