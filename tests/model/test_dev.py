"""net/core/dev.c, control half: the life of a device, event by event, and what can stop it."""

from collections.abc import Callable
from errno import EADDRNOTAVAIL, EBUSY, EEXIST, EINVAL, EIO, ENODEV, EPERM
from typing import Unpack

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.kernel import Kernel
from addrsvc.model.dev import (
    alloc_netdev,
    dev_change_flags,
    dev_change_net_namespace,
    dev_close,
    dev_get_by_index,
    dev_get_by_name,
    dev_get_valid_name,
    dev_open,
    dev_valid_name,
    netif_state_change,
    register_netdevice,
    unregister_netdevice_many,
)
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import (
    NETREG_REGISTERED,
    NETREG_UNINITIALIZED,
    NETREG_UNREGISTERED,
    NetDevice,
    NetDeviceOps,
    NetdevNotifierChangeInfo,
)
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import (
    IFF_ALLMULTI,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NO_QUEUE,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    NET_ADDR_SET,
    NET_NAME_USER,
    RTM_DELLINK,
)
from tests.fidelity.asks import LO, ask_and_hear, flags, rename, up
from tests.fidelity.notation import brief
from tests.model.ears import Change, Story, lines, link_of, listen, messages

Do = Callable[[Namespace], object]


@pytest.fixture
def story(linux: Linux) -> Story:
    return listen(linux)


def locked(act: Callable[[NetDevice], object], name: str = "lo") -> Do:
    """A direct call, as a driver would make it."""

    def do(net: Namespace) -> None:
        with rtnl_lock(net.net.machine):
            act(net.device(name))
        net._linux.settle()

    return do


def change(**how: Unpack[Change]) -> Do:
    return lambda net: net.link_set("lo", **how)


UP: Do = change(up=True)
DOWN: Do = change(up=False)
NOTHING: Do = lambda net: None  # noqa: E731

# --- order of events and messages ----------------------------------------------------------------------------------

SOFT: list[Change] = [{"group": 5}, {"alias": "x"}, {"linkmode": 1}, {"addr_gen_mode": 1}, {"operstate": 6}]
STORIES: list[tuple[str, Do, Do, str]] = [
    ("up", NOTHING, UP, "PRE_UP lo, L(0x1), UP lo"),
    ("up, already up", UP, UP, ""),
    ("down", UP, DOWN, "GOING_DOWN lo, L(0x1), DOWN lo"),
    ("down, already down", NOTHING, DOWN, ""),
    ("dev_open", NOTHING, locked(dev_open), "PRE_UP lo, L(0x41), UP lo"),
    ("dev_open, already up", UP, locked(dev_open), ""),
    ("dev_close", UP, locked(dev_close), "GOING_DOWN lo, L(0x41), DOWN lo"),
    ("dev_close, already down", NOTHING, locked(dev_close), ""),
    ("a flag, up", UP, change(noarp=True), "L(0x80), CHANGE lo"),
    ("a flag, down", NOTHING, change(noarp=True), "L(0x80)"),
    ("a flag and up", NOTHING, change(up=True, debug=True), "PRE_UP lo, L(0x5), UP lo, CHANGE lo"),
    ("a flag and down", UP, change(up=False, debug=True), "GOING_DOWN lo, L(0x5), DOWN lo"),
    ("promisc is no CHANGE", UP, change(promisc=True), "L(0x100)"),
    ("allmulti is no CHANGE", UP, change(allmulti=True), "L(0x200)"),
    ("mtu", NOTHING, change(mtu=1400), "PRECHANGEMTU lo, L(0x0), CHANGEMTU lo"),
    ("mtu, the same", NOTHING, change(mtu=65536), ""),
    ("name", NOTHING, change(name="lo9"), "L(0x0), CHANGENAME lo9"),
    ("name, while up", UP, change(name="lo9"), "L(0x0), CHANGENAME lo9"),
    ("name, the same", NOTHING, change(name="lo"), ""),
    ("name, none", NOTHING, change(name=""), ""),
    ("hardware address", NOTHING, change(address="02:00:00:00:00:01"), "PRE_CHANGEADDR lo, L(0x0), CHANGEADDR lo"),
    ("hardware address, the same", NOTHING, change(address=bytes(6)), "PRE_CHANGEADDR lo, L(0x0), CHANGEADDR lo"),
    ("broadcast address", NOTHING, change(broadcast=bytes(6)), "L(0x0), CHANGEADDR lo"),
    ("queue length", NOTHING, change(txqlen=7), "L(0x0), CHANGE_TX_QUEUE_LEN lo"),
    ("queue length, the same", NOTHING, change(txqlen=1000), ""),
    *((f"{next(iter(how))}, up", UP, change(**how), "CHANGE lo, L(0x0)") for how in SOFT),
    *((f"{next(iter(how))}, down", NOTHING, change(**how), "") for how in SOFT),
    ("several at once", UP, change(group=5, alias="x", linkmode=1), "CHANGE lo, L(0x0)"),
    ("in the kernel's order", UP, change(txqlen=7, mtu=1400, debug=True, name="lo9"),
        "PRECHANGEMTU lo, L(0x0), CHANGEMTU lo, L(0x0), CHANGENAME lo9, L(0x4), CHANGE lo9, L(0x0), "
        "CHANGE_TX_QUEUE_LEN lo9"),
    ("state change, up", UP, locked(netif_state_change), "CHANGE lo, L(0x0)"),
    ("state change, down", NOTHING, locked(netif_state_change), ""),
    ("register", NOTHING, lambda net: net.link_add("x0"), "POST_INIT x0, REGISTER x0, L(0xffffffff)"),
    ("unregister, down", lambda net: net.link_add("x0"), lambda net: net.link_del("x0"),
        "UNREGISTER x0, PRE_UNINIT x0, L-(0xffffffff)"),
]  # fmt: skip


@pytest.mark.parametrize(("lead_up", "do", "expected"), [row[1:] for row in STORIES], ids=[row[0] for row in STORIES])
def test_an_operation_has_its_events_and_link_messages_in_order(
    net: Namespace, story: Story, lead_up: Do, do: Do, expected: str
) -> None:
    lead_up(net)
    story.begin()
    do(net)

    assert story.heard() == expected


def test_a_device_that_is_up_is_closed_before_it_is_unregistered(net: Namespace, story: Story) -> None:
    net.link_add("x0")
    net.link_set("x0", up=True)
    story.begin()
    net.link_del("x0")

    assert story.heard() == (
        "GOING_DOWN x0, L(0x41), DOWN x0, UNREGISTER x0, PRE_UNINIT x0, L-(0xffffffff)"
    )  # fmt: skip
    assert net.links() == ["lo"]


def test_the_last_word_of_a_device_shows_it_without_queue_flags_and_ipv6(linux: Linux, net: Namespace) -> None:
    net.link_add("x0")
    net.link_set("x0", up=True)
    linux.effects()
    net.link_del("x0")
    last = messages(linux)[-1]

    assert isinstance(last, LinkMsg)
    assert (last.nlmsg_type, last.ifname, last.ifi_flags, last.qdisc, last.inet6) == (
        RTM_DELLINK, "x0", 0, "noop", None,
    )  # fmt: skip


def test_devices_that_go_together_are_all_closed_before_the_first_is_unregistered(
    linux: Linux, net: Namespace, story: Story
) -> None:
    devs = [net.link_add(name) for name in ("x0", "x1", "x2")]
    for name in ("x0", "x2"):
        net.link_set(name, up=True)
    story.begin()
    with rtnl_lock(linux.machine):
        unregister_netdevice_many(devs)

    assert [word for word in story.heard().split(", ") if not word.startswith("L")] == [
        "GOING_DOWN x0", "GOING_DOWN x2", "DOWN x0", "DOWN x2",
        "UNREGISTER x0", "PRE_UNINIT x0", "UNREGISTER x1", "PRE_UNINIT x1", "UNREGISTER x2", "PRE_UNINIT x2",
    ]  # fmt: skip
    assert [dev.reg_state for dev in devs] == [NETREG_UNREGISTERED] * 3


def test_a_change_tells_which_flags_changed(net: Namespace, story: Story) -> None:
    net.link_set("lo", up=True)
    story.infos.clear()
    net.link_set("lo", noarp=True, debug=True, promisc=True)
    net.link_set("lo", alias="x")
    changed = [info.flags_changed for info in story.infos if isinstance(info, NetdevNotifierChangeInfo)]

    assert changed == [IFF_NOARP | IFF_DEBUG | IFF_PROMISC, 0]


# --- refusals ------------------------------------------------------------------------------------------------------


def test_pre_up_can_be_vetoed_with_a_reason_and_then_nothing_is_said(linux: Linux, net: Namespace) -> None:
    story = listen(linux, {"PRE_UP lo": EBUSY}, extack="not today")
    with pytest.raises(KernelError) as refused:
        net.link_set("lo", up=True)

    assert (refused.value.errno, refused.value.extack) == (EBUSY, "not today")
    assert (story.heard(), link_of(net, "lo").ifi_flags, net.addresses()) == ("PRE_UP lo", IFF_LOOPBACK, [])


def test_flags_that_are_counted_change_though_the_device_stays_closed(linux: Linux, net: Namespace) -> None:
    listen(linux, {"PRE_UP lo": EBUSY})
    with pytest.raises(KernelError):
        net.link_set("lo", up=True, promisc=True, debug=True)

    assert link_of(net, "lo").ifi_flags == IFF_LOOPBACK | IFF_PROMISC | IFF_DEBUG


@pytest.mark.parametrize("word", ["UP lo", "GOING_DOWN lo", "DOWN lo", "CHANGE lo"])
def test_what_has_happened_cannot_be_vetoed(linux: Linux, net: Namespace, word: str) -> None:
    story = listen(linux, {word: EPERM})
    for how in (True, False):
        net.link_set("lo", up=how, debug=how)
        assert bool(link_of(net, "lo").ifi_flags & IFF_UP) is how

    assert word in story.heard().split(", ")


def test_a_veto_stops_the_chain_for_those_behind(linux: Linux, net: Namespace) -> None:
    """IPv6 stands on the chain: who refuses UP in front of it leaves lo up without ::1."""
    story = Story(linux)
    linux.register_netdevice_notifier(story, priority=1)
    story.vetoes["UP lo"] = EPERM
    net.link_set("lo", up=True)

    assert (net.addresses(), link_of(net, "lo").ifi_flags & IFF_UP) == ([], IFF_UP)


def test_a_vetoed_post_init_leaves_no_device(linux: Linux, net: Namespace) -> None:
    story = listen(linux, {"POST_INIT x0": EBUSY}, extack="no such thing here")
    with pytest.raises(KernelError) as refused:
        net.link_add("x0")

    assert (refused.value.errno, refused.value.extack) == (EBUSY, None), "the kernel passes no text on here"
    assert (story.heard(), net.links()) == ("POST_INIT x0", ["lo"])


def test_a_vetoed_register_takes_the_device_away_again(linux: Linux, net: Namespace) -> None:
    before = net.dump()
    story = listen(linux, {"REGISTER x0": EBUSY}, extack="one is enough")
    with pytest.raises(KernelError) as refused:
        net.link_add("x0")

    assert (refused.value.errno, refused.value.extack) == (EBUSY, None), "the kernel passes no text on here"
    assert story.heard() == "POST_INIT x0, REGISTER x0, UNREGISTER x0, PRE_UNINIT x0, L-(0xffffffff)"
    assert net.dump() == before


# --- what a driver does --------------------------------------------------------------------------------------------


def driven(net: Namespace, ops: NetDeviceOps, called: list[str] | None = None, **fields: object) -> NetDevice:
    """A device with a driver, not registered."""
    dev = alloc_netdev(net.net, "d0", NET_NAME_USER, lambda dev: None)
    dev.mtu, dev.netdev_ops = 1500, ops
    if called is not None:
        dev.priv_destructor = lambda dev: called.append("free")
    for name, value in fields.items():
        setattr(dev, name, value)
    return dev


def register(linux: Linux, dev: NetDevice) -> NetDevice:
    with rtnl_lock(linux.machine):
        register_netdevice(dev)
    return dev


def refusing(errno: int) -> Callable[[NetDevice], None]:
    def op(dev: NetDevice) -> None:
        raise KernelError(errno)

    return op


def test_a_driver_is_called_in_order_of_life(linux: Linux, net: Namespace) -> None:
    called: list[str] = []

    def noting(word: str) -> Callable[[NetDevice], None]:
        return lambda dev: called.append(word)

    ops = NetDeviceOps(
        ndo_init=noting("init"), ndo_uninit=noting("uninit"), ndo_open=noting("open"), ndo_stop=noting("stop"),
        ndo_validate_addr=noting("validate"),
    )  # fmt: skip
    register(linux, driven(net, ops, called))
    net.link_set("d0", up=True)
    net.link_del("d0")

    assert called == ["init", "validate", "open", "stop", "uninit", "free"]


def test_a_vetoed_post_init_undoes_what_the_driver_had_set_up(linux: Linux, net: Namespace) -> None:
    called: list[str] = []
    listen(linux, {"POST_INIT d0": EBUSY})
    dev = driven(net, NetDeviceOps(ndo_uninit=lambda dev: called.append("uninit")), called)
    with pytest.raises(KernelError):
        register(linux, dev)

    assert (called, dev.reg_state) == (["uninit", "free"], NETREG_UNINITIALIZED)


@pytest.mark.parametrize(("said", "errno"), [(EPERM, EPERM), (0, EIO)])
def test_a_driver_that_refuses_to_start_is_heard_and_a_positive_answer_is_an_io_error(
    linux: Linux, net: Namespace, said: int, errno: int
) -> None:
    story = listen(linux)
    with pytest.raises(KernelError) as refused:
        register(linux, driven(net, NetDeviceOps(ndo_init=refusing(said))))

    assert (refused.value.errno, net.links(), story.heard()) == (errno, ["lo"], "")


@pytest.mark.parametrize(
    "ops", [NetDeviceOps(ndo_open=refusing(EADDRNOTAVAIL)), NetDeviceOps(ndo_validate_addr=refusing(EADDRNOTAVAIL))]
)
def test_a_driver_that_refuses_to_open_keeps_the_device_down(linux: Linux, net: Namespace, ops: NetDeviceOps) -> None:
    register(linux, driven(net, ops))
    story = listen(linux)
    with pytest.raises(KernelError) as refused:
        net.link_set("d0", up=True)

    assert (refused.value.errno, story.heard()) == (EADDRNOTAVAIL, "PRE_UP d0")
    assert link_of(net, "d0").ifi_flags & (IFF_UP | IFF_RUNNING) == 0


def test_a_device_that_is_not_present_cannot_be_opened_nor_changed(net: Namespace, story: Story) -> None:
    net.device("lo").present = False
    hows: list[Change] = [{"up": True}, {"mtu": 1400}, {"address": bytes(6)}]
    for how in hows:
        with pytest.raises(KernelError) as refused:
            net.link_set("lo", **how)
        assert refused.value.errno == ENODEV

    assert story.heard() == ""


def test_a_device_is_registered_only_once(linux: Linux, net: Namespace) -> None:
    dev = net.link_add("x0")
    with pytest.raises(AssertionError, match="registered before"):
        register(linux, dev)


def test_the_permanent_address_is_the_first_one_unless_it_was_set(linux: Linux, net: Namespace) -> None:
    mac = bytes.fromhex("020000000001")
    first = register(linux, driven(net, NetDeviceOps(), name="p0", dev_addr=mac))
    other = register(linux, driven(net, NetDeviceOps(), name="p1", dev_addr=mac, addr_assign_type=NET_ADDR_SET))

    assert (first.perm_addr, other.perm_addr) == (mac + bytes(26), bytes(32))


# --- names and numbers ---------------------------------------------------------------------------------------------

NAMES = [
    ("", False), (".", False), ("..", False), ("...", True), ("a/b", False), ("a:b", False), ("a b", False),
    ("a\tb", False), ("a\nb", False), ("x" * 15, True), ("x" * 16, False), ("é" * 7, True), ("é" * 8, False),
    ("a\xa0b", False), ("all", True), ("-", True), ("%d", True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "valid"), NAMES)
def test_a_name_has_1_to_15_bytes_without_slash_colon_or_white_space(name: str, valid: bool) -> None:
    assert dev_valid_name(name) is valid


RENAMES = [
    (".", "EINVAL -"), ("..", "EINVAL -"), ("a/b", "EINVAL -"), ("a:b", "EINVAL -"), ("a b", "EINVAL -"),
    ("x" * 16, "ERANGE Attribute failed policy validation"), ("a%s", "EINVAL -"), ("%d%d", "EINVAL -"),
    ("%", "EINVAL -"), ("", ""), ("lo", ""), ("x" * 15, "L NC4-1 NC4+1 NC-1 NC+1"), ("q%d", "L NC4-1 NC4+1 NC-1 NC+1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer"), RENAMES)
def test_both_kernels_take_and_refuse_the_same_names(kernel: Kernel, name: str, answer: str) -> None:
    watch = kernel.watch()
    assert ask_and_hear(kernel, watch, rename(name)) == answer
    watch.close()
    (link,) = (msg for msg in kernel.dump() if isinstance(msg, LinkMsg))
    assert link.ifname == (name.replace("%d", "0") or "lo" if answer[:1] in ("", "L") else "lo")


def test_a_number_in_a_name_is_the_first_that_is_free(net: Namespace) -> None:
    for name in ("q%d", "q%d", "q5", "q%d"):
        net.link_add(name)
    net.link_del("q1")
    net.link_add("q%d")

    assert net.links() == ["lo", "q0", "q5", "q2", "q1"]


def test_a_name_that_is_used_is_refused(net: Namespace) -> None:
    net.link_add("x0")
    for act in (lambda: net.link_add("x0"), lambda: net.link_set("lo", name="x0")):
        with pytest.raises(KernelError) as refused:
            act()
        assert refused.value.errno == EEXIST
    assert net.links() == ["lo", "x0"]


@pytest.mark.parametrize("pattern", ["a%s", "%d%d", "%", "%%d"])
def test_a_pattern_has_one_number_and_no_other_percent_sign(net: Namespace, pattern: str) -> None:
    with pytest.raises(KernelError) as refused:
        dev_get_valid_name(net.net, pattern)
    assert refused.value.errno == EINVAL


def test_indexes_are_not_used_again_and_a_wish_does_not_move_the_cursor(linux: Linux, net: Namespace) -> None:
    def indexes() -> list[int]:
        return list(net.net.dev_base_head)

    for name in ("a", "b"):
        net.link_add(name)
    for name in ("a", "b"):
        net.link_del(name)
    net.link_add("c")
    assert indexes() == [1, 4]
    for name, wish in (("d", 3), ("e", 0), ("f", 100), ("g", 0), ("h", 2**31 - 1), ("i", 7), ("j", 0)):
        register(linux, driven(net, NetDeviceOps(), name=name, ifindex=wish))
    assert indexes() == [1, 4, 3, 5, 100, 6, 2**31 - 1, 7, 8]
    assert net.links() == ["lo", "d", "c", "e", "g", "i", "j", "f", "h"]


@pytest.mark.parametrize(("wish", "errno"), [(1, EBUSY), (-1, EINVAL), (2**31, EINVAL)])
def test_an_index_that_is_taken_or_none_is_refused(linux: Linux, net: Namespace, wish: int, errno: int) -> None:
    with pytest.raises(KernelError) as refused:
        register(linux, driven(net, NetDeviceOps(), ifindex=wish))
    assert (refused.value.errno, net.links()) == (errno, ["lo"])


def test_a_device_is_found_by_index_and_by_name(net: Namespace) -> None:
    dev = net.link_add("x0")

    assert (dev_get_by_index(net.net, 2), dev_get_by_name(net.net, "x0")) == (dev, dev)
    assert (dev_get_by_index(net.net, 3), dev_get_by_name(net.net, "x1")) == (None, None)


def test_a_device_without_a_queue_length_has_no_queue_and_says_1000(net: Namespace) -> None:
    without = alloc_netdev(net.net, "w", NET_NAME_USER, lambda dev: None)
    with_one = alloc_netdev(net.net, "v", NET_NAME_USER, lambda dev: setattr(dev, "tx_queue_len", 7))

    assert [(dev.tx_queue_len, bool(dev.priv_flags & IFF_NO_QUEUE)) for dev in (without, with_one)] == [
        (1000, True), (7, False),
    ]  # fmt: skip
    assert (without.reg_state, list(net.net.dev_base_head)) == (NETREG_UNINITIALIZED, [1])


# --- moving --------------------------------------------------------------------------------------------------------


def test_a_device_moves_closed_and_keeps_its_index_if_it_is_free(linux: Linux, net: Namespace) -> None:
    blue = linux.add_net("blue")
    dev = net.link_add("x0")
    net.link_set("x0", up=True)
    story = listen(linux)
    with rtnl_lock(linux.machine):
        dev_change_net_namespace(dev, blue.net)

    assert story.heard() == (
        "GOING_DOWN x0, L(0x41), DOWN x0, UNREGISTER x0, L-(0xffffffff), REGISTER x0@blue, L(0xffffffff)"
    )
    assert (net.links(), blue.links(), dev.ifindex, dev.flags & IFF_UP) == (["lo"], ["lo", "x0"], 2, 0)
    assert dev.reg_state == NETREG_REGISTERED


def test_a_device_that_moves_gets_another_index_or_name_if_its_own_is_taken(linux: Linux, net: Namespace) -> None:
    blue = linux.add_net("blue")
    dev = net.link_add("x0")
    blue.link_add("x0")
    with rtnl_lock(linux.machine):
        with pytest.raises(KernelError) as refused:
            dev_change_net_namespace(dev, blue.net)
        assert (refused.value.errno, net.links()) == (EEXIST, ["lo", "x0"])
        assert refused.value.extack == "An interface with the same name exists in the target netns"
        dev_change_net_namespace(dev, blue.net, "x%d")

    assert (blue.links(), dev.name, dev.ifindex) == (["lo", "x0", "x1"], "x1", 3)


def test_lo_does_not_move_and_its_own_namespace_is_no_move(linux: Linux, net: Namespace) -> None:
    blue = linux.add_net("blue")
    dev = net.link_add("x0")
    story = listen(linux)
    with rtnl_lock(linux.machine):
        dev_change_net_namespace(dev, net.net)
        with pytest.raises(KernelError) as refused:
            dev_change_net_namespace(net.device("lo"), blue.net)

    assert (refused.value.errno, refused.value.extack) == (EINVAL, "The interface netns is immutable")
    assert story.heard() == ""


# --- flags, on both kernels ----------------------------------------------------------------------------------------

ALL = 0xFFFFFFFF
FLAGS = [
    ("no mask and no flags is no operation", LinkMsg(ifi_index=LO), "", IFF_UP),
    ("no mask but flags is every flag", LinkMsg(ifi_index=LO, ifi_flags=IFF_LOOPBACK), "L M4-224.0.0.1 R-loc:::1 A-::1",
        0),
    ("every flag, as it is", LinkMsg(ifi_index=LO, ifi_flags=IFF_UP, ifi_change=ALL), "", IFF_UP),
    ("DEBUG", flags(IFF_DEBUG), "L", IFF_UP | IFF_DEBUG),
    ("DYNAMIC", flags(IFF_DYNAMIC), "L", IFF_UP | IFF_DYNAMIC),
    ("MULTICAST", flags(IFF_MULTICAST), "L", IFF_UP | IFF_MULTICAST),
    ("PROMISC", flags(IFF_PROMISC), "L", IFF_UP | IFF_PROMISC),
    ("ALLMULTI", flags(IFF_ALLMULTI), "L", IFF_UP | IFF_ALLMULTI),
    *((f"{bit:#x} is not a user's to set", flags(bit), "", IFF_UP) for bit in (0x2, 0x8, 0x10, 0x40, 0x10000, 0x20000)),
    *((f"{bit:#x} is not a user's to clear", flags(bit, on=False), "", IFF_UP) for bit in (0x8, 0x40, 0x10000)),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "answer", "left"), [row[1:] for row in FLAGS], ids=[row[0] for row in FLAGS])
def test_a_user_may_set_some_flags_of_lo(kernel: Kernel, ask: LinkMsg, answer: str, left: int) -> None:
    kernel.request(up())
    watch = kernel.watch()
    list(watch)
    assert ask_and_hear(kernel, watch, ask) == answer
    watch.close()
    (link,) = (msg for msg in kernel.dump() if isinstance(msg, LinkMsg))
    assert link.ifi_flags & ~0x10040 == left | IFF_LOOPBACK


def test_promiscuous_and_allmulti_are_counted_and_printed(linux: Linux, net: Namespace) -> None:
    linux.effects()
    net.link_set("lo", promisc=True, allmulti=True)
    assert (link_of(net, "lo").promiscuity, link_of(net, "lo").allmulti) == (1, 1)
    net.link_set("lo", promisc=True)
    assert link_of(net, "lo").promiscuity == 1
    net.link_set("lo", promisc=False, allmulti=False)

    assert (link_of(net, "lo").promiscuity, link_of(net, "lo").ifi_flags) == (0, IFF_LOOPBACK)
    assert lines(linux) == [
        ("info", f"lo: {verb} {what} mode") for verb in ("entered", "left") for what in ("promiscuous", "allmulticast")
    ]


def test_changing_flags_directly_says_what_a_request_says(linux: Linux, net: Namespace) -> None:
    story = listen(linux)
    locked(lambda dev: dev_change_flags(dev, dev.flags | IFF_UP))(net)

    assert story.heard() == "PRE_UP lo, L(0x1), UP lo"
    assert brief(msg for msg in net.dump() if isinstance(msg, LinkMsg)) == "L"
