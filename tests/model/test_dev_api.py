"""Changing one property of a device: who may veto, what is rolled back, and what lo refuses on both kernels."""

from dataclasses import replace
from errno import EADDRNOTAVAIL, EBUSY, EINVAL, EOPNOTSUPP, EPERM
from functools import partial
from typing import Unpack

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.model.dev_api import dev_set_alias
from addrsvc.model.structs import (
    NetDevice,
    NetDeviceOps,
    NetdevNotifierInfoExt,
    NetdevNotifierPreChangeaddrInfo,
)
from addrsvc.netlink.messages import Inet6LinkInfo, LinkMsg, Message
from addrsvc.uapi import (
    IF_OPER_DORMANT,
    IF_OPER_DOWN,
    IF_OPER_TESTING,
    IF_OPER_UNKNOWN,
    IF_OPER_UP,
    IFF_LIVE_ADDR_CHANGE,
    IFF_RUNNING,
    NET_ADDR_PERM,
    NET_ADDR_SET,
    NET_NAME_PREDICTABLE,
    NET_NAME_RENAMED,
    NLM_F_BULK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELLINK,
    RTM_SETLINK,
)
from tests.fidelity.asks import LO, down, gen_mode, mac, mtu, operstate, rename, txqlen, up
from tests.fidelity.compare import first_difference
from tests.fidelity.notation import refusal
from tests.model.ears import Change, lines, link_of, listen

MAC = bytes.fromhex("020000000001")


@pytest.fixture
def lo(net: Namespace) -> NetDevice:
    return net.device("lo")


def refused_of(net: Namespace, **how: Unpack[Change]) -> tuple[int | None, str | None]:
    with pytest.raises(KernelError) as refused:
        net.link_set("lo", **how)
    return refused.value.errno, refused.value.extack


# --- vetoes and what is rolled back ---------------------------------------------------------------------------------


def test_a_veto_before_the_mtu_changes_leaves_it(linux: Linux, net: Namespace, lo: NetDevice) -> None:
    story = listen(linux, {"PRECHANGEMTU lo": EBUSY})

    assert refused_of(net, mtu=1400) == (EBUSY, None)
    assert (story.heard(), lo.mtu) == ("PRECHANGEMTU lo", 65536)


def test_a_veto_after_the_mtu_changed_sets_it_back_and_tells_everybody_again(
    linux: Linux, net: Namespace, lo: NetDevice
) -> None:
    story = listen(linux, {"CHANGEMTU lo": EBUSY})

    assert refused_of(net, mtu=1400) == (EBUSY, None)
    assert (story.heard(), lo.mtu) == ("PRECHANGEMTU lo, L(0x0), CHANGEMTU lo, L(0x0), CHANGEMTU lo", 65536)
    assert [info.mtu for info in story.infos if isinstance(info, NetdevNotifierInfoExt)] == [65536, 1400]


def test_a_driver_may_refuse_an_mtu_and_then_nobody_hears_of_it(linux: Linux, net: Namespace, lo: NetDevice) -> None:
    def refuse(dev: NetDevice, mtu: int) -> None:
        raise KernelError(EINVAL)

    lo.netdev_ops = replace(lo.netdev_ops, ndo_change_mtu=refuse)
    story = listen(linux)

    assert refused_of(net, mtu=1400) == (EINVAL, None)
    assert (story.heard(), lo.mtu) == ("PRECHANGEMTU lo", 65536)


def test_a_device_may_bound_its_mtu(net: Namespace) -> None:
    dev = net.link_add("x0")
    dev.min_mtu, dev.max_mtu = 68, 65535
    for mtu_, text in ((67, "mtu less than device minimum"), (65536, "mtu greater than device maximum")):
        with pytest.raises(KernelError) as refused:
            net.link_set("x0", mtu=mtu_)
        assert (refused.value.errno, refused.value.extack) == (EINVAL, text)
    for mtu_ in (68, 65535):
        net.link_set("x0", mtu=mtu_)
        assert link_of(net, "x0").mtu == mtu_


def test_a_vetoed_name_is_taken_back_before_everybody(linux: Linux, net: Namespace, lo: NetDevice) -> None:
    story = listen(linux, {"CHANGENAME new": EBUSY})

    assert refused_of(net, name="new") == (EBUSY, None)
    assert story.heard() == "L(0x0), CHANGENAME new, L(0x0), CHANGENAME lo"
    assert (net.links(), lo.name_assign_type) == (["lo"], NET_NAME_PREDICTABLE)
    net.link_set("lo", name="other")
    assert (net.links(), lo.name_assign_type) == (["other"], NET_NAME_RENAMED)


def test_a_name_that_nobody_wants_stays_the_old_one_and_that_is_printed(linux: Linux, net: Namespace) -> None:
    listen(linux, {"CHANGENAME new": EBUSY, "CHANGENAME lo": EPERM})

    assert refused_of(net, name="new") == (EBUSY, None)
    assert lines(linux) == [
        ("info", "new: renamed from lo"), ("err", f"lo: name change rollback failed: {-EPERM}"),
    ]  # fmt: skip
    assert net.links() == ["lo"]


def test_a_rename_is_printed_and_says_whether_the_device_is_up(linux: Linux, net: Namespace) -> None:
    net.link_set("lo", up=True)
    linux.effects()
    net.link_set("lo", name="new")

    assert lines(linux) == [("info", "new: renamed from lo (while UP)")]


def test_a_new_hardware_address_can_be_vetoed_with_a_reason(linux: Linux, net: Namespace, lo: NetDevice) -> None:
    story = listen(linux, {"PRE_CHANGEADDR lo": EBUSY}, extack="I am bound to this address")

    assert refused_of(net, address=MAC) == (EBUSY, "I am bound to this address")
    assert (story.heard(), lo.dev_addr, lo.addr_assign_type) == ("PRE_CHANGEADDR lo", bytes(6), NET_ADDR_PERM)
    (info,) = story.infos[1:]
    assert isinstance(info, NetdevNotifierPreChangeaddrInfo)
    assert info.dev_addr == MAC


def test_a_hardware_address_that_is_set_is_marked_so_even_if_it_is_the_same(net: Namespace, lo: NetDevice) -> None:
    net.link_set("lo", address=bytes(6))
    assert (lo.dev_addr, lo.addr_assign_type) == (bytes(6), NET_ADDR_SET)
    net.link_set("lo", address=MAC + b"more")
    assert (lo.dev_addr, lo.perm_addr) == (MAC, bytes(32))


def test_a_device_without_the_operation_has_no_address_to_set(net: Namespace, lo: NetDevice) -> None:
    lo.netdev_ops = NetDeviceOps()
    assert refused_of(net, address=MAC) == (EOPNOTSUPP, None)


def test_a_running_device_changes_its_address_only_if_it_can_do_so_live(net: Namespace, lo: NetDevice) -> None:
    lo.priv_flags &= ~IFF_LIVE_ADDR_CHANGE
    net.link_set("lo", up=True)
    assert refused_of(net, address=MAC) == (EBUSY, None)
    net.link_set("lo", up=False)
    net.link_set("lo", address=MAC)
    assert lo.dev_addr == MAC


def test_a_veto_after_the_hardware_address_changed_is_ignored(linux: Linux, net: Namespace, lo: NetDevice) -> None:
    listen(linux, {"CHANGEADDR lo": EBUSY})
    net.link_set("lo", address=MAC, broadcast=MAC)

    assert (lo.dev_addr, lo.broadcast) == (MAC, MAC)


def test_a_vetoed_queue_length_is_set_back_and_that_is_printed(linux: Linux, net: Namespace, lo: NetDevice) -> None:
    story = listen(linux, {"CHANGE_TX_QUEUE_LEN lo": EBUSY})
    assert refused_of(net, txqlen=7) == (EBUSY, None)
    assert lines(linux) == [("err", "lo: refused to change device tx_queue_len")]

    assert (story.heard(), lo.tx_queue_len) == ("L(0x0), CHANGE_TX_QUEUE_LEN lo", 1000)


def test_an_alias_has_less_than_256_bytes_and_none_is_no_alias(lo: NetDevice) -> None:
    dev_set_alias(lo, "é" * 127)
    assert lo.ifalias == "é" * 127
    with pytest.raises(KernelError) as refused:
        dev_set_alias(lo, "é" * 128)
    assert (refused.value.errno, lo.ifalias) == (EINVAL, "é" * 127)
    dev_set_alias(lo, "")
    assert lo.ifalias is None


# --- what lo refuses, on both kernels -------------------------------------------------------------------------------

POLICY = "Attribute failed policy validation"
UNKNOWN_TYPE = "EOPNOTSUPP Unknown device type"


link = partial(LinkMsg, ifi_index=LO)
REFUSALS: list[tuple[str, Message, str]] = [
    ("mtu 0", mtu(0), ""),
    ("mtu, the most", mtu(2**31 - 1), ""),
    ("mtu, a bit more", mtu(2**31), "EINVAL mtu less than device minimum"),
    ("mtu -1", mtu(2**32 - 1), "EINVAL mtu less than device minimum"),
    ("zero hardware address on a fresh lo", mac("00:00:00:00:00:00"), ""),
    ("broadcast hardware address", mac("ff:ff:ff:ff:ff:ff"), "EADDRNOTAVAIL -"),
    ("multicast hardware address", mac("01:00:00:00:00:01"), "EADDRNOTAVAIL -"),
    ("short hardware address", link(address=MAC[:5]), "EINVAL -"),
    ("long hardware address", link(address=MAC + b"xx"), ""),
    ("hardware address of 33 bytes", link(address=bytes(33)), f"ERANGE {POLICY}"),
    ("any broadcast address", link(broadcast=b"\x01" * 6), ""),
    ("short broadcast address", link(broadcast=MAC[:5]), "EINVAL -"),
    ("queue length 0", txqlen(0), ""),
    ("queue length, the most", txqlen(2**32 - 1), ""),
    ("alias of 255 bytes", link(ifalias="x" * 255), ""),
    ("alias of 256 bytes", link(ifalias="x" * 256), f"ERANGE {POLICY}"),
    ("gso_max_size, the most", link(gso_max_size=524280), ""),
    ("gso_max_size, a bit more", link(gso_max_size=524281), "EINVAL too big gso_max_size"),
    ("gso_max_segs, a bit more", link(gso_max_segs=65536), "EINVAL too big gso_max_segs"),
    ("gro_max_size, a bit more", link(gro_max_size=524281), "EINVAL too big gro_max_size"),
    ("gso_ipv4_max_size, a bit more", link(gso_ipv4_max_size=524281), "EINVAL too big gso_ipv4_max_size"),
    ("gro_ipv4_max_size, a bit more", link(gro_ipv4_max_size=524281), "EINVAL too big gro_ipv4_max_size"),
    ("gso_max_size, the least", link(gso_max_size=193), ""),
    ("gso_max_size, a bit less", link(gso_max_size=192), "ERANGE integer out of range"),
    ("gso_ipv4_max_size, a bit less", link(gso_ipv4_max_size=192), "ERANGE integer out of range"),
    ("gro_max_size, the least", link(gro_max_size=0, gro_ipv4_max_size=0, gso_max_segs=0), ""),
    *(("not to be set", ask, f"EINVAL {POLICY}") for ask in
        (link(tso_max_size=1), link(tso_max_segs=1), link(allmulti=1), link(netns_immutable=1))),
    ("ignored", link(num_tx_queues=5, num_rx_queues=5, min_mtu=5, max_mtu=5, event=5, promiscuity=5), ""),
    ("index to move to", link(new_ifindex=5), ""),
    ("index to move to, 0", link(new_ifindex=0), "ERANGE integer out of range"),
    ("carrier", link(carrier=1), "EOPNOTSUPP -"),
    ("proto_down", link(proto_down=1), "EOPNOTSUPP Protodown not supported by device"),
    ("nothing wanted of IPv6", link(inet6=Inet6LinkInfo()), "EINVAL -"),
    ("addr_gen_mode 4", gen_mode(4), "EINVAL -"),
    ("addr_gen_mode 2 without a secret", gen_mode(2), "EINVAL -"),
    ("an index that is not there", link(ifi_index=77), "ENODEV -"),
    ("a negative index", link(ifi_index=-5), "EINVAL ifindex can't be negative"),
    ("a name that is not there", LinkMsg(ifname="nope"), "ENODEV -"),
    ("neither index nor name", LinkMsg(), "ENODEV -"),
    ("found by name", LinkMsg(ifname="lo", mtu=1400), ""),
    ("create what exists", link(nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL), "EEXIST -"),
    ("replace", link(nlmsg_flags=NLM_F_REPLACE), "EOPNOTSUPP -"),
    ("create, without a kind", LinkMsg(ifname="q0", nlmsg_flags=NLM_F_CREATE), UNKNOWN_TYPE),
    ("set an index that is not there", LinkMsg(RTM_SETLINK, ifi_index=77), "ENODEV -"),
    ("set neither index nor name", LinkMsg(RTM_SETLINK), "EINVAL -"),
    ("set a negative index", LinkMsg(RTM_SETLINK, ifi_index=-5), "EINVAL -"),
    ("delete an index that is not there", LinkMsg(RTM_DELLINK, ifi_index=77), "ENODEV -"),
    ("delete neither index nor name", LinkMsg(RTM_DELLINK), "EINVAL -"),
    ("delete lo", LinkMsg(RTM_DELLINK, ifi_index=LO), "EOPNOTSUPP -"),
    ("delete lo by name", LinkMsg(RTM_DELLINK, ifname="lo"), "EOPNOTSUPP -"),
    ("delete in bulk", LinkMsg(RTM_DELLINK, NLM_F_BULK, ifi_index=LO), "EOPNOTSUPP Bulk delete is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "answer"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_lo_takes_or_refuses_on_both_kernels(kernel: Kernel, ask: Message, answer: str) -> None:
    before = kernel.dump()
    if not answer:
        kernel.request(ask)
        return
    with pytest.raises(KernelError) as refused:
        kernel.request(ask)

    assert refusal(refused.value) == answer
    assert kernel.dump() == before


SCRIPTS: dict[str, tuple[Message, ...]] = {
    "an mtu stays changed though the name is refused": (up(), link(mtu=1400, ifname="a/b")),
    "a refused hardware address leaves the mtu": (up(), link(mtu=1400, address=b"\x01" * 6)),
    "a refused gen mode leaves the mtu": (up(), link(mtu=1400, inet6=Inet6LinkInfo(addr_gen_mode=9))),
    "sizes are changed without a word": (up(), link(gso_max_size=555, gso_max_segs=4, gro_max_size=3)),
    "zero cannot be set back": (mac("02:00:00:00:00:01"), mac("00:00:00:00:00:00")),
    "all operational states, up": (up(), *map(operstate, (0, 1, 2, 3, 4, 5, 6, 4, 6, 5, 7, 255))),
    "an operational state survives": (up(), operstate(IF_OPER_DORMANT), down(), up()),
    "operational states while down": (operstate(IF_OPER_DORMANT), up(), operstate(IF_OPER_UP)),
    "link modes": (up(), *(link(linkmode=mode) for mode in (0, 1, 2, 9, 9, 255))),
    "groups": (up(), link(group=5), link(group=5), link(group=2**32 - 1)),
    "aliases": (up(), link(ifalias="x"), link(ifalias="x"), link(ifalias="")),
    "broadcast addresses": (up(), link(broadcast=b"\x03" * 8), link(broadcast=b"\x03" * 6)),
    "set or new is the same": (up(), LinkMsg(RTM_SETLINK, ifi_index=LO, mtu=1400, txqlen=5, ifalias="x")),
    "an address may be followed by a name": (rename("x%d"), LinkMsg(ifname="x0", mtu=1280), rename("lo")),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_both_kernels_agree_in_every_message_and_every_field(netns: NetNs, script: tuple[Message, ...]) -> None:
    assert str(first_difference(script) or "") == ""


OPERSTATES = [
    (IF_OPER_UNKNOWN, IF_OPER_UP, True), (IF_OPER_UNKNOWN, IF_OPER_DORMANT, True),
    (IF_OPER_UNKNOWN, IF_OPER_TESTING, True), (IF_OPER_UP, IF_OPER_DORMANT, True),
    (IF_OPER_UP, IF_OPER_TESTING, True), (IF_OPER_UP, IF_OPER_UNKNOWN, False), (IF_OPER_UP, IF_OPER_DOWN, False),
    (IF_OPER_DORMANT, IF_OPER_UP, True), (IF_OPER_DORMANT, IF_OPER_TESTING, False),
    (IF_OPER_TESTING, IF_OPER_UP, True), (IF_OPER_TESTING, IF_OPER_DORMANT, False),
]  # fmt: skip


@pytest.mark.parametrize(("state", "wish", "granted"), OPERSTATES)
def test_an_operational_state_is_granted_from_some_others_only(
    linux: Linux, net: Namespace, lo: NetDevice, state: int, wish: int, granted: bool
) -> None:
    net.link_set("lo", up=True)
    lo.operstate = state
    story = listen(linux)
    net.link_set("lo", operstate=wish)

    assert (lo.operstate, story.heard()) == ((wish, "CHANGE lo, L(0x0)") if granted else (state, ""))
    runs = lo.operstate in (IF_OPER_UNKNOWN, IF_OPER_UP)
    assert bool(link_of(net, "lo").ifi_flags & IFF_RUNNING) is runs


def test_refused_names_are_told_by_errno(net: Namespace) -> None:
    assert refused_of(net, name="a/b") == (EINVAL, None)
    assert refused_of(net, address=b"\x01" * 6) == (EADDRNOTAVAIL, None)
