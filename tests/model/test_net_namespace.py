"""net/core/net_namespace.c: what is set up with a namespace, in which order, and how a failure is undone."""

from errno import EBUSY, ENOMEM

import pytest

from addrsvc import Linux
from addrsvc.errors import ControlError, KernelError
from addrsvc.model.net_namespace import register_pernet_device, register_pernet_subsys
from addrsvc.model.structs import Net, PernetOperations, RtnlNotify
from addrsvc.netlink.messages import LinkMsg
from tests.model.ears import Ear, link_of, listen


class Ops:
    """Pernet operations that write down when they are run, and fail where they are told to."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.failing: str | None = None

    def named(self, name: str) -> PernetOperations:
        def init(net: Net) -> None:
            self.ran.append(f"{name} {net.name}")
            if self.failing == f"{name} {net.name}":
                raise KernelError(ENOMEM)

        return PernetOperations(name, init=init, exit=lambda net: self.ran.append(f"-{name} {net.name}"))

    def done(self) -> str:
        ran, self.ran = self.ran, []
        return ", ".join(ran)


@pytest.fixture
def ops() -> Ops:
    return Ops()


@pytest.fixture
def linux(ops: Ops) -> Linux:
    linux = Linux()
    register_pernet_device(linux.machine, ops.named("dev1"))
    register_pernet_subsys(linux.machine, ops.named("sub1"))
    register_pernet_device(linux.machine, ops.named("dev2"))
    register_pernet_subsys(linux.machine, ops.named("sub2"))
    ops.done()
    return linux


# --- order ---------------------------------------------------------------------------------------------------------


def test_operations_are_set_up_in_every_namespace_that_exists(ops: Ops) -> None:
    linux = Linux()
    linux.add_net("blue")
    register_pernet_subsys(linux.machine, ops.named("sub"))

    assert ops.done() == "sub init_net, sub blue"


def test_subsystems_come_before_devices_and_all_go_in_reverse(linux: Linux, ops: Ops) -> None:
    linux.add_net("blue")
    assert ops.done() == "sub1 blue, sub2 blue, dev1 blue, dev2 blue"

    linux.del_net("blue")
    assert ops.done() == "-dev2 blue, -dev1 blue, -sub2 blue, -sub1 blue"


def test_a_subsystem_is_torn_down_after_lo_is_gone(linux: Linux) -> None:
    left: list[list[str]] = []
    register_pernet_subsys(linux.machine, PernetOperations("late", exit=lambda net: left.append([*net.dev_name_head])))
    register_pernet_device(linux.machine, PernetOperations("soon", exit=lambda net: left.append([*net.dev_name_head])))
    linux.add_net("blue").link_add("b0")
    linux.del_net("blue")

    assert left == [["lo", "b0"], []]


# --- failure -------------------------------------------------------------------------------------------------------


def test_a_set_up_that_fails_in_one_namespace_is_undone_in_the_others_and_forgotten(linux: Linux, ops: Ops) -> None:
    for name in ("blue", "red"):
        linux.add_net(name)
    ops.done()
    ops.failing = "new red"
    with pytest.raises(KernelError) as refused:
        register_pernet_device(linux.machine, ops.named("new"))

    assert (refused.value.errno, ops.done()) == (ENOMEM, "new init_net, new blue, new red, -new init_net, -new blue")
    linux.add_net("green")
    assert "new" not in ops.done()


def test_a_namespace_whose_set_up_fails_is_undone_newest_first_and_is_not_there(linux: Linux, ops: Ops) -> None:
    ops.failing = "dev1 blue"
    with pytest.raises(KernelError):
        linux.add_net("blue")

    assert ops.done() == "sub1 blue, sub2 blue, dev1 blue, -sub2 blue, -sub1 blue"
    assert [*linux.nets] == [net.name for net in linux.machine.net_namespace_list] == ["init_net"]


def test_a_vetoed_lo_leaves_no_namespace(linux: Linux, ops: Ops) -> None:
    ear = Ear({"REGISTER lo@blue": EBUSY})
    linux.register_netdevice_notifier(ear)
    ear.heard()
    before = linux.init_net.dump()
    with pytest.raises(KernelError) as refused:
        linux.add_net("blue")

    assert refused.value.errno == EBUSY
    assert ear.heard() == "POST_INIT lo@blue, REGISTER lo@blue, UNREGISTER lo@blue, PRE_UNINIT lo@blue"
    assert ops.done() == "sub1 blue, sub2 blue, -sub2 blue, -sub1 blue"
    assert [*linux.nets] == [net.name for net in linux.machine.net_namespace_list] == ["init_net"]
    assert (linux.init_net.dump(), linux.next_expiry()) == (before, None)
    with pytest.raises(ControlError, match="blue"):
        linux.net("blue")

    ear.vetoes.clear()
    linux.add_net("blue").link_set("lo", up=True)
    assert [str(a.network) for a in linux.net("blue").addresses("lo")] == ["127.0.0.1/8", "::1/128"]


# --- side by side --------------------------------------------------------------------------------------------------


def test_namespaces_side_by_side_know_nothing_of_one_another() -> None:
    linux = Linux()
    blue, red = linux.add_net("blue"), linux.add_net("red")
    untouched = (linux.init_net.dump(), red.dump())
    linux.effects()
    blue.link_set("lo", up=True, mtu=1400, alias="x", addr_gen_mode=1)
    blue.link_add("b0")
    blue.addr_add("2001:db8::1/64", "lo")
    for where in ("all", "default"):
        blue.sysctl(f"net.ipv6.conf.{where}.disable_ipv6", 1)

    assert (linux.init_net.dump(), red.dump()) == untouched
    assert {effect.net for effect in linux.effects() if isinstance(effect, RtnlNotify)} == {"blue"}
    assert linux.add_net("green").sysctl("net.ipv6.conf.lo.disable_ipv6") == "0"


def test_the_same_names_indexes_and_addresses_can_be_in_two_namespaces() -> None:
    linux = Linux()
    nets = [linux.init_net, linux.add_net("blue")]
    for net in nets:
        net.link_set("lo", up=True)
        net.link_add("x%d")
        net.addr_add("2001:db8::1/64", "lo")

    assert [link_of(net, "x0").ifi_index for net in nets] == [2, 2]
    assert [len(net.addresses("lo")) for net in nets] == [3, 3]


# --- the end -------------------------------------------------------------------------------------------------------


def test_lo_is_the_first_to_come_and_the_last_to_go() -> None:
    linux = Linux()
    story = listen(linux)
    blue = linux.add_net("blue")
    blue.link_add("b0")
    assert [link.ifi_index for link in blue.dump() if isinstance(link, LinkMsg)] == [1, 2]
    blue.link_set("lo", up=True)
    story.begin()
    linux.del_net("blue")

    assert story.heard() == (
        "UNREGISTER b0@blue, L-(0xffffffff), REGISTER b0, L(0xffffffff), "
        "GOING_DOWN lo@blue, L(0x41), DOWN lo@blue, UNREGISTER lo@blue, PRE_UNINIT lo@blue, L-(0xffffffff)"
    )


@pytest.mark.parametrize(
    ("taken", "name"), [([], "b0"), (["b0"], "dev2"), (["b0", "dev2"], "dev0"), (["b0", "dev2", "dev0"], "dev1")]
)
def test_a_device_that_may_move_goes_to_the_first_namespace_under_a_name_that_is_free(
    taken: list[str], name: str
) -> None:
    linux = Linux()
    for used in taken:
        linux.init_net.link_add(used)
    device = linux.add_net("blue").link_add("b0")
    linux.del_net("blue")

    assert linux.init_net.device(name) is device
    assert linux.init_net.links() == ["lo", *taken, name] if taken else ["lo", name]


def test_a_namespace_that_is_gone_is_not_called_upon_again() -> None:
    linux = Linux()
    blue = linux.add_net("blue")
    blue.link_set("lo", up=True)
    blue.addr_add("2001:db8::1/64", "lo", valid_lft=5)
    linux.del_net("blue")
    linux.effects()
    ear = Ear()
    linux.register_netdevice_notifier(ear)
    linux.advance(10)

    assert (ear.heard(), linux.effects(), blue.net.loopback_dev) == ("REGISTER lo", [], None)
