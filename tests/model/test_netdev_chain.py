"""net/core/dev.c, notifier part: what a newcomer is told, how that is taken back, and which chain comes first."""

from errno import EBUSY, EEXIST, EINVAL, ENOENT, EPERM
from random import Random

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.model.boot import INITCALLS, net_dev_init
from addrsvc.model.dev import dev_change_net_namespace
from addrsvc.model.netdev_chain import (
    call_netdevice_notifiers,
    call_netdevice_notifiers_extack,
    call_netdevice_notifiers_info,
    call_netdevice_notifiers_info_robust,
    register_netdevice_notifier,
    register_netdevice_notifier_dev_net,
    register_netdevice_notifier_net,
    unregister_netdevice_notifier,
    unregister_netdevice_notifier_dev_net,
    unregister_netdevice_notifier_net,
)
from addrsvc.model.notifier import (
    NOTIFY_BAD,
    NOTIFY_DONE,
    NOTIFY_OK,
    NOTIFY_STOP,
    NotifierBlock,
    raw_notifier_chain_unregister,
)
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import Machine, NetdevNotifierInfo
from addrsvc.model.timer import TimerBase
from addrsvc.model.tracepoint import Trace
from addrsvc.uapi import (
    NETDEV_CHANGE,
    NETDEV_OFFLOAD_XSTATS_DISABLE,
    NETDEV_OFFLOAD_XSTATS_ENABLE,
    NETDEV_REBOOT,
    NetdevEvent,
)
from tests.model.ears import Ear, of

REPLAY = (
    "REGISTER lo, UP lo, REGISTER a0, REGISTER a1, UP a1, "
    "REGISTER lo@blue, REGISTER b0@blue, UP b0@blue, "
    "REGISTER lo@red, UP lo@red, REGISTER r0@red, UP r0@red, REGISTER r1@red"
)
GONE_INIT = "GOING_DOWN lo, DOWN lo, UNREGISTER lo, UNREGISTER a0, GOING_DOWN a1, DOWN a1, UNREGISTER a1"
GONE_BLUE = "UNREGISTER lo@blue, GOING_DOWN b0@blue, DOWN b0@blue, UNREGISTER b0@blue"
GONE_RED = (
    "GOING_DOWN lo@red, DOWN lo@red, UNREGISTER lo@red, GOING_DOWN r0@red, DOWN r0@red, UNREGISTER r0@red, "
    "UNREGISTER r1@red"
)


@pytest.fixture
def linux() -> Linux:
    """Three namespaces: lo, a0 (down), a1 - lo (down), b0 - lo, r0, r1 (down)."""
    linux = Linux()
    for name, devs in (("init_net", "a0 a1"), ("blue", "b0"), ("red", "r0 r1")):
        net = linux.nets.get(name) or linux.add_net(name)
        for dev in devs.split():
            net.link_add(dev)
    for net_name, dev in (("init_net", "lo"), ("init_net", "a1"), ("blue", "b0"), ("red", "lo"), ("red", "r0")):
        linux.net(net_name).link_set(dev, up=True)
    return linux


@pytest.fixture
def machine(linux: Linux) -> Machine:
    return linux.machine


# --- register and unregister ---------------------------------------------------------------------------------------


def test_a_newcomer_is_told_of_every_device_in_namespace_and_device_order(machine: Machine) -> None:
    ear = Ear()
    register_netdevice_notifier(machine, NotifierBlock(ear))

    assert ear.heard() == REPLAY


def test_nobody_is_told_anything_before_the_boot_phase_is_over() -> None:
    machine, ear = Machine(Random(0), Trace(), TimerBase()), Ear()
    for initcall in INITCALLS[: INITCALLS.index(net_dev_init)]:
        initcall(machine)
    register_netdevice_notifier(machine, NotifierBlock(ear))

    assert ear.heard() == ""
    net_dev_init(machine)
    assert ear.heard() == "POST_INIT lo, REGISTER lo"


def test_a_refused_up_in_the_replay_is_ignored(machine: Machine) -> None:
    ear = Ear({"UP lo": EBUSY, "UP r0@red": EPERM})
    register_netdevice_notifier(machine, NotifierBlock(ear))

    assert ear.heard() == REPLAY


def test_a_refused_register_is_taken_back_newest_first_there_and_in_earlier_namespaces_forward(
    machine: Machine, linux: Linux
) -> None:
    ear = Ear({"REGISTER r1@red": EBUSY})
    nb = NotifierBlock(ear)
    with pytest.raises(KernelError) as refused:
        register_netdevice_notifier(machine, nb)

    assert refused.value.errno == EBUSY
    assert ear.heard() == (
        f"{REPLAY}, GOING_DOWN r0@red, DOWN r0@red, UNREGISTER r0@red, GOING_DOWN lo@red, DOWN lo@red, "
        f"UNREGISTER lo@red, {GONE_BLUE}, {GONE_INIT}"
    )
    assert nb not in machine.netdev_chain
    linux.init_net.link_set("a0", up=True)
    assert ear.heard() == ""


def test_refusing_the_very_first_device_takes_nothing_back(machine: Machine) -> None:
    ear = Ear({"REGISTER lo": EINVAL})
    nb = NotifierBlock(ear)
    with pytest.raises(KernelError) as refused:
        register_netdevice_notifier(machine, nb)

    assert (refused.value.errno, ear.heard()) == (EINVAL, "REGISTER lo")
    ear.vetoes.clear()
    register_netdevice_notifier(machine, nb)
    assert ear.heard() == REPLAY


def test_a_leaver_is_told_that_every_device_goes(machine: Machine) -> None:
    ear = Ear()
    nb = NotifierBlock(ear)
    register_netdevice_notifier(machine, nb)
    ear.heard()
    unregister_netdevice_notifier(machine, nb)

    assert ear.heard() == f"{GONE_INIT}, {GONE_BLUE}, {GONE_RED}"
    assert nb not in machine.netdev_chain


def test_registering_twice_is_refused_and_tells_nothing_again(machine: Machine, linux: Linux) -> None:
    ear = Ear()
    nb = NotifierBlock(ear)
    register_netdevice_notifier(machine, nb)
    ear.heard()
    with pytest.raises(KernelError) as refused:
        register_netdevice_notifier(machine, nb)

    assert (refused.value.errno, ear.heard()) == (EEXIST, "")
    linux.init_net.link_set("a0", up=True)
    assert ear.heard() == "PRE_UP a0, UP a0"


def test_unregistering_a_stranger_is_refused_and_tells_nothing(machine: Machine) -> None:
    ear = Ear()
    with pytest.raises(KernelError) as refused:
        unregister_netdevice_notifier(machine, NotifierBlock(ear))

    assert (refused.value.errno, ear.heard()) == (ENOENT, "")


# --- one namespace -------------------------------------------------------------------------------------------------


def test_the_chain_of_a_namespace_is_told_of_that_namespace_only(machine: Machine, linux: Linux) -> None:
    ear, blue = Ear(), linux.net("blue")
    nb = NotifierBlock(ear)
    register_netdevice_notifier_net(blue.net, nb)
    assert ear.heard() == "REGISTER lo@blue, REGISTER b0@blue, UP b0@blue"

    linux.init_net.link_set("a0", up=True)
    blue.link_set("lo", up=True)
    assert ear.heard() == "PRE_UP lo@blue, UP lo@blue"

    with pytest.raises(KernelError) as refused:
        unregister_netdevice_notifier_net(linux.init_net.net, nb)
    assert (refused.value.errno, ear.heard()) == (ENOENT, "")
    unregister_netdevice_notifier_net(blue.net, nb)
    assert ear.heard() == (
        "GOING_DOWN lo@blue, DOWN lo@blue, UNREGISTER lo@blue, GOING_DOWN b0@blue, DOWN b0@blue, UNREGISTER b0@blue"
    )


def test_a_refusal_in_one_namespace_is_taken_back_newest_first(linux: Linux) -> None:
    ear = Ear({"REGISTER r1@red": EBUSY})
    nb, red = NotifierBlock(ear), linux.net("red").net
    with pytest.raises(KernelError) as refused:
        register_netdevice_notifier_net(red, nb)

    assert refused.value.errno == EBUSY
    assert ear.heard().endswith(
        "REGISTER r1@red, GOING_DOWN r0@red, DOWN r0@red, UNREGISTER r0@red, GOING_DOWN lo@red, DOWN lo@red, "
        "UNREGISTER lo@red"
    )
    assert nb not in red.netdev_chain


# --- a block that follows a device ---------------------------------------------------------------------------------


@pytest.fixture
def moved(linux: Linux) -> tuple[Ear, NotifierBlock]:
    """A block that follows a1, just after a1 moved from init_net to blue."""
    ear = Ear()
    nb, dev = NotifierBlock(ear), linux.init_net.device("a1")
    register_netdevice_notifier_dev_net(dev, nb)
    assert ear.heard() == "REGISTER lo, UP lo, REGISTER a0, REGISTER a1, UP a1"
    with rtnl_lock(linux.machine):
        dev_change_net_namespace(dev, linux.net("blue").net)
    return ear, nb


def test_a_block_follows_its_device_to_another_namespace(linux: Linux, moved: tuple[Ear, NotifierBlock]) -> None:
    ear, _ = moved
    assert ear.heard() == (
        "GOING_DOWN a1, DOWN a1, UNREGISTER a1, "  # the device leaves
        "GOING_DOWN lo, DOWN lo, UNREGISTER lo, UNREGISTER a0, "  # the block leaves
        "REGISTER lo@blue, REGISTER b0@blue, UP b0@blue, "  # the block arrives
        "REGISTER a1@blue"  # the device arrives
    )
    linux.init_net.link_set("a0", up=True)
    linux.net("blue").link_set("lo", up=True)
    assert ear.heard() == "PRE_UP lo@blue, UP lo@blue"


def test_a_block_that_followed_unregisters_where_it_is_now(linux: Linux, moved: tuple[Ear, NotifierBlock]) -> None:
    ear, nb = moved
    ear.heard()
    dev = linux.net("blue").device("a1")
    unregister_netdevice_notifier_dev_net(dev, nb)

    assert ear.heard() == f"{GONE_BLUE}, UNREGISTER a1@blue"
    assert (nb in linux.net("blue").net.netdev_chain, dev.net_notifier_list) == (False, [])
    with pytest.raises(KernelError) as refused:
        unregister_netdevice_notifier_dev_net(dev, nb)
    assert refused.value.errno == ENOENT


def test_a_refusal_at_the_new_place_is_ignored(linux: Linux) -> None:
    ear = Ear({"REGISTER b0@blue": EBUSY})
    dev, blue = linux.init_net.device("a1"), linux.net("blue").net
    nb = NotifierBlock(ear)
    register_netdevice_notifier_dev_net(dev, nb)
    with rtnl_lock(linux.machine):
        dev_change_net_namespace(dev, blue)

    assert ear.heard().endswith("REGISTER lo@blue, REGISTER b0@blue, UNREGISTER lo@blue, REGISTER a1@blue")
    assert nb in blue.netdev_chain


# --- two chains for every event ------------------------------------------------------------------------------------


def returning(ret: int | None, ran: list[str], name: str) -> NotifierBlock:
    def callback(event: int, info: NetdevNotifierInfo) -> int | None:
        if event == NETDEV_REBOOT:
            ran.append(name)
            return ret
        return None

    return NotifierBlock(callback, -99, name)


@pytest.mark.parametrize(
    ("of_the_net", "of_all", "deciding", "ran"),
    [
        (NOTIFY_DONE, NOTIFY_OK, NOTIFY_OK, ["net", "all"]),
        (NOTIFY_OK, NOTIFY_DONE, NOTIFY_DONE, ["net", "all"]),
        (NOTIFY_OK, NOTIFY_BAD, NOTIFY_BAD, ["net", "all"]),
        (NOTIFY_OK, None, NOTIFY_DONE, ["net", "all"]),
        (NOTIFY_STOP, NOTIFY_OK, NOTIFY_STOP, ["net"]),
        (NOTIFY_BAD, NOTIFY_OK, NOTIFY_BAD, ["net"]),
    ],
)
def test_the_namespaces_chain_comes_first_and_its_stop_ends_it(
    linux: Linux, of_the_net: int, of_all: int | None, deciding: int, ran: list[str]
) -> None:
    names: list[str] = []
    register_netdevice_notifier(linux.machine, returning(of_all, names, "all"))
    register_netdevice_notifier_net(linux.init_net.net, returning(of_the_net, names, "net"))

    with rtnl_lock(linux.machine):
        dev = linux.init_net.device("lo")
        assert call_netdevice_notifiers(NETDEV_REBOOT, dev) == deciding
        assert names == ran
        assert call_netdevice_notifiers_info(NETDEV_REBOOT, NetdevNotifierInfo(dev)) == deciding
    assert names == ran + ran


@pytest.mark.parametrize("ret", [NOTIFY_DONE, NOTIFY_OK, NOTIFY_STOP, NOTIFY_BAD, None])
def test_without_a_chain_of_the_namespace_the_global_one_decides(linux: Linux, ret: int | None) -> None:
    names: list[str] = []
    register_netdevice_notifier(linux.machine, returning(ret, names, "first"))
    register_netdevice_notifier(linux.machine, returning(ret, names, "second"))
    with rtnl_lock(linux.machine):
        answer = call_netdevice_notifiers(NETDEV_REBOOT, linux.init_net.device("lo"))

    assert answer == (ret or NOTIFY_DONE)
    assert names == (["first"] if ret in (NOTIFY_STOP, NOTIFY_BAD) else ["first", "second"])


@pytest.mark.parametrize("traced", [False, True])
def test_a_block_may_remove_itself_while_the_chain_runs(linux: Linux, traced: bool) -> None:
    linux.trace.on = traced
    ran: list[str] = []

    def leave(event: int, info: NetdevNotifierInfo) -> None:
        if event == NETDEV_REBOOT:
            ran.append("leaver")
            raw_notifier_chain_unregister(linux.machine.netdev_chain, leaver)

    leaver = linux.register_netdevice_notifier(leave, priority=-99)
    register_netdevice_notifier(linux.machine, returning(NOTIFY_OK, ran, "behind"))
    with rtnl_lock(linux.machine):
        answers = [call_netdevice_notifiers(NETDEV_REBOOT, linux.init_net.device("lo")) for _ in range(2)]

    assert (ran, answers) == (["leaver", "behind", "behind"], [NOTIFY_OK, NOTIFY_OK])


def test_a_robust_call_takes_back_the_event_within_the_namespace_and_asks_nobody_else(linux: Linux) -> None:
    on, off = NETDEV_OFFLOAD_XSTATS_ENABLE, NETDEV_OFFLOAD_XSTATS_DISABLE
    first, second, third, everybody = Ear(), Ear({"OFFLOAD_XSTATS_ENABLE lo": EBUSY}), Ear(), Ear()
    register_netdevice_notifier(linux.machine, NotifierBlock(everybody))
    for ear in (first, second, third):
        register_netdevice_notifier_net(linux.init_net.net, NotifierBlock(ear))
    for ear in (first, second, third, everybody):
        ear.heard()
    with rtnl_lock(linux.machine):
        info = NetdevNotifierInfo(linux.init_net.device("lo"))
        ret = call_netdevice_notifiers_info_robust(on, off, info)

    assert ret == 0x8000 | 1 + EBUSY
    assert [ear.heard() for ear in (first, second, third, everybody)] == [
        "OFFLOAD_XSTATS_ENABLE lo, OFFLOAD_XSTATS_DISABLE lo", "OFFLOAD_XSTATS_ENABLE lo", "", "",
    ]  # fmt: skip


def test_a_veto_brings_its_errno_and_its_reason(linux: Linux) -> None:
    linux.register_netdevice_notifier(Ear({"PRE_UP a0": EBUSY}, extack="story: not now"))
    with rtnl_lock(linux.machine), pytest.raises(KernelError) as refused:
        call_netdevice_notifiers_extack(NetdevEvent.NETDEV_PRE_UP, linux.init_net.device("a0"))

    assert (refused.value.errno, refused.value.extack) == (EBUSY, "story: not now")


@pytest.mark.parametrize("event", NetdevEvent)
def test_every_event_passes_the_chain_by_its_number(linux: Linux, event: NetdevEvent) -> None:
    ear = Ear()
    linux.register_netdevice_notifier(ear)
    ear.heard()
    with rtnl_lock(linux.machine):
        call_netdevice_notifiers(int(event), linux.init_net.device("a0"))

    assert ear.heard() == f"{event.name.removeprefix('NETDEV_')} a0"


def test_the_events_have_the_kernels_names_and_numbers() -> None:
    names = """
        UP DOWN REBOOT CHANGE REGISTER UNREGISTER CHANGEMTU CHANGEADDR PRE_CHANGEADDR GOING_DOWN
        CHANGENAME FEAT_CHANGE BONDING_FAILOVER PRE_UP PRE_TYPE_CHANGE POST_TYPE_CHANGE POST_INIT PRE_UNINIT RELEASE
        NOTIFY_PEERS JOIN CHANGEUPPER RESEND_IGMP PRECHANGEMTU CHANGEINFODATA BONDING_INFO PRECHANGEUPPER
        CHANGELOWERSTATE UDP_TUNNEL_PUSH_INFO UDP_TUNNEL_DROP_INFO CHANGE_TX_QUEUE_LEN CVLAN_FILTER_PUSH_INFO
        CVLAN_FILTER_DROP_INFO SVLAN_FILTER_PUSH_INFO SVLAN_FILTER_DROP_INFO OFFLOAD_XSTATS_ENABLE
        OFFLOAD_XSTATS_DISABLE OFFLOAD_XSTATS_REPORT_USED OFFLOAD_XSTATS_REPORT_DELTA XDP_FEAT_CHANGE
    """.split()

    assert {event.name: int(event) for event in NetdevEvent} == {
        f"NETDEV_{name}": number for number, name in enumerate(names, 1)
    }
    assert len(names) == 40


def test_a_change_of_one_device_reaches_who_asked_for_all(linux: Linux) -> None:
    ear = Ear()
    linux.register_netdevice_notifier(ear)
    ear.heard()
    with rtnl_lock(linux.machine):
        for net in linux.nets.values():
            call_netdevice_notifiers(NETDEV_CHANGE, net.device("lo"))

    assert ear.heard() == ", ".join(f"CHANGE {of(net.device('lo'))}" for net in linux.nets.values())
