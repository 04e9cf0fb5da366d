"""drivers/net/loopback.c: the device that is first in every namespace."""

import socket
from errno import ENOMEM
from random import Random
from struct import pack

import pytest

from addrsvc import Linux
from addrsvc.errors import ControlError, KernelError, KernelPanic
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.model.boot import boot
from addrsvc.model.dev import alloc_netdev, register_netdevice
from addrsvc.model.eth import eth_header_ops, eth_mac_addr
from addrsvc.model.inet6_dev import inet6_fill_ifinfo
from addrsvc.model.loopback import (
    blackhole_netdev_ops,
    dev_lstats_add,
    dev_lstats_read,
    gen_lo_setup,
    loopback_dev_free,
    loopback_dev_init,
    loopback_ethtool_ops,
    loopback_get_stats64,
    loopback_ops,
    loopback_setup,
    loopback_xmit,
)
from addrsvc.model.net_namespace import register_pernet_subsys
from addrsvc.model.percpu import Allocator
from addrsvc.model.rtnl import dev_get_stats, rtmsg_ifinfo_build, rtnl_lock
from addrsvc.model.skbuff import SkBuff, alloc_skb
from addrsvc.model.structs import (
    NETREG_RELEASED,
    NETREG_UNINITIALIZED,
    Net,
    NetDevice,
    NetDeviceOps,
    PernetOperations,
    Printk,
    RtnlLinkStats64,
    RtnlNotify,
)
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.netlink.codec import decode, encode
from addrsvc.netlink.messages import IflaCacheinfo, Inet6LinkInfo, InetLinkInfo, LinkMsg, Xdp
from addrsvc.uapi import (
    AF_INET6,
    AF_UNSPEC,
    ARPHRD_LOOPBACK,
    IF_OPER_DOWN,
    IF_OPER_UNKNOWN,
    IF_READY,
    IFF_LIVE_ADDR_CHANGE,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_NO_QUEUE,
    IFF_RUNNING,
    IFF_UP,
    IFF_XMIT_DST_RELEASE,
    NET_NAME_ENUM,
    NET_NAME_PREDICTABLE,
    NET_NAME_UNKNOWN,
    NETDEV_PCPU_STAT_LSTATS,
    NETDEV_TX_OK,
    NLM_F_DUMP,
    RTEXT_FILTER_SKIP_STATS,
    RTM_GETLINK,
    RTM_NEWLINK,
)
from tests.fidelity.asks import down, up
from tests.fidelity.compare import normal
from tests.fidelity.notation import brief
from tests.netlink.recording import ask

FRESH = LinkMsg(
    ifi_type=ARPHRD_LOOPBACK, ifi_index=1, ifi_flags=IFF_LOOPBACK, ifname="lo", txqlen=1000, operstate=IF_OPER_DOWN,
    linkmode=0, netns_immutable=1, mtu=65536, min_mtu=0, max_mtu=0, group=0, promiscuity=0, allmulti=0,
    num_tx_queues=1, num_rx_queues=1, gso_max_segs=65535, gso_max_size=65536, gro_max_size=65536,
    gso_ipv4_max_size=65536, gro_ipv4_max_size=65536, tso_max_size=524280, tso_max_segs=65535,
    max_pacing_offload_horizon=0, carrier=1, carrier_changes=0, carrier_up_count=0, carrier_down_count=0, headroom=0,
    tailroom=0, proto_down=0, address=bytes(6), broadcast=bytes(6), stats64=(0,) * 25, stats=(0,) * 24,
    xdp=Xdp(attached=0), qdisc="noop", map=(0, 0, 0, 0, 0, 0), devlink_port=b"", dpll_pin=b"",
    inet=InetLinkInfo((
        0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10000, 1000, 0, 0, 0, 0, 1,
    )),
    inet6=Inet6LinkInfo(
        flags=0, cacheinfo=IflaCacheinfo(max_reasm_len=65535, retrans_time=1000), addr_gen_mode=0, token=bytes(16),
        conf=(
            0, 64, 65536, 1, 1, 1, 1, -1, 4000, 1000, -1, 604800, 86400, 3, 600, 16, 0, 1, 1, 1, 60000, 0, 0, 0, 0, 0,
            0, -1, 0, 0, 10000, 1000, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 3600000, 0, 0, 1, 0, 0, 0, 0, 0, 1024, 0, 65535,
            -1, 1, 0, 0, 0,
        ),
        stats=(38, *[0] * 37), icmp6stats=(7, *[0] * 6),
    ),
)  # fmt: skip


def lo_of(kernel: Kernel) -> LinkMsg:
    (link,) = (msg for msg in kernel.dump() if isinstance(msg, LinkMsg))
    return link


def test_a_fresh_lo_is_the_same_on_both_kernels_in_every_attribute(kernel: Kernel) -> None:
    assert normal([lo_of(kernel)]) == normal([FRESH])


def answer(question: LinkMsg, flags: int = 0) -> bytes:
    """RTM_NEWLINK of lo as the running kernel sends it."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        (message,) = ask(sock, question, flags)
        return message


def without_chance(message: bytes) -> bytes:
    """What follows the netlink header, but for tstamp and reachable_time of IFLA_INET6_CACHEINFO."""
    before, found, after = message[16:].partition(pack("=HHI", 20, 5, 65535))
    assert found
    return before + found + after[8:]


@pytest.mark.parametrize("family", [AF_UNSPEC, AF_INET6])
def test_the_message_of_a_fresh_lo_is_that_of_the_running_kernel_to_the_byte(netns: NetNs, family: int) -> None:
    linux = Linux()
    lo = linux.init_net.device("lo")
    assert lo.ip6_ptr is not None
    with rtnl_lock(linux.machine):
        msg = rtmsg_ifinfo_build(RTM_NEWLINK, lo, 0) if family == AF_UNSPEC else inet6_fill_ifinfo(lo.ip6_ptr)

    question = LinkMsg(nlmsg_type=RTM_GETLINK, ifi_family=family)
    assert without_chance(encode(msg)) == without_chance(run_in(netns, lambda: answer(question, NLM_F_DUMP)))


def test_lo_runs_as_soon_as_it_is_up_and_keeps_its_queue_when_down(kernel: Kernel) -> None:
    kernel.request(up())
    link = lo_of(kernel)
    flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP
    assert (link.ifi_flags, link.operstate, link.qdisc) == (flags, IF_OPER_UNKNOWN, "noqueue")

    kernel.request(down())
    link = lo_of(kernel)
    assert (link.ifi_flags, link.operstate, link.qdisc) == (IFF_LOOPBACK, IF_OPER_DOWN, "noqueue")


def test_what_no_message_tells_of_lo() -> None:
    lo = Linux().init_net.device("lo")

    assert (lo.name_assign_type, lo.hard_header_len, lo.addr_len) == (NET_NAME_PREDICTABLE, 14, 6)
    assert lo.priv_flags & (IFF_LIVE_ADDR_CHANGE | IFF_NO_QUEUE) == IFF_LIVE_ADDR_CHANGE | IFF_NO_QUEUE
    assert not lo.priv_flags & IFF_XMIT_DST_RELEASE
    assert (lo.lltx, lo.netns_immutable, lo.perm_addr) == (True, True, bytes(32))


def test_the_birth_of_lo_is_said_by_ipv4_then_ipv6_then_as_a_link() -> None:
    linux = Linux()
    linux.effects()
    linux.add_net("blue")
    said = [effect.msg for effect in linux.effects() if isinstance(effect, RtnlNotify) and effect.net == "blue"]

    assert brief(said) == "NC4+1 NC+1 M+ff01::1 M+ff02::1 L"
    assert isinstance(said[-1], LinkMsg)
    assert said[-1].ifi_change == 0xFFFFFFFF


def test_lo_must_be_the_first_device_of_its_namespace() -> None:
    linux = Linux()

    def too_early(net: Net) -> None:
        if net.name != "blue":
            return
        with rtnl_lock(net.machine):
            register_netdevice(alloc_netdev(net, "early", NET_NAME_ENUM, lambda dev: None))

    register_pernet_subsys(linux.machine, PernetOperations("early", init=too_early))
    with pytest.raises(AssertionError, match="must be the first"):
        linux.add_net("blue")


def test_a_namespace_forgets_its_lo_when_it_is_freed() -> None:
    linux = Linux()
    net = linux.add_net("blue").net
    lo = net.loopback_dev
    assert isinstance(lo, NetDevice)
    linux.del_net("blue")

    assert (net.loopback_dev, lo.reg_state) == (None, NETREG_RELEASED)


def test_another_device_can_be_set_up_like_lo_without_being_the_namespaces_own() -> None:
    linux = Linux()
    net = linux.init_net
    with rtnl_lock(linux.machine):
        register_netdevice(alloc_netdev(net.net, "lo2", NET_NAME_ENUM, loopback_setup))
    net.link_set("lo2", up=True)

    assert [str(a.network) for a in net.addresses("lo2")] == ["127.0.0.1/8", "::1/128"]
    assert net.net.loopback_dev is net.device("lo")


def test_a_reader_who_wants_no_statistics_does_without_those_of_ipv6_alone(netns: NetNs) -> None:
    linux = Linux()
    with rtnl_lock(linux.machine):
        model = rtmsg_ifinfo_build(RTM_NEWLINK, linux.init_net.device("lo"), 0, None, RTEXT_FILTER_SKIP_STATS)
    wish = LinkMsg(nlmsg_type=RTM_GETLINK, ifi_index=1, ext_mask=RTEXT_FILTER_SKIP_STATS)
    (running,) = normal([decode(run_in(netns, lambda: answer(wish)))])

    assert running == normal([model])[0]
    assert isinstance(running, LinkMsg)
    assert running.inet6 is not None
    assert (running.stats64, running.inet6.stats) == ((0,) * 25, None)


# --- set-up ---------------------------------------------------------------------------------------------------------


def set_up() -> NetDevice:
    """lo as the driver leaves it, before it is registered."""
    return alloc_netdev(Linux().init_net.net, "lo", NET_NAME_PREDICTABLE, loopback_setup)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "lo"), ("name_assign_type", NET_NAME_PREDICTABLE), ("mtu", 65536), ("min_mtu", 0), ("max_mtu", 0),
        ("type", ARPHRD_LOOPBACK), ("flags", IFF_LOOPBACK), ("priv_flags", IFF_LIVE_ADDR_CHANGE | IFF_NO_QUEUE),
        ("lltx", True), ("netns_immutable", True), ("needs_free_netdev", True), ("hard_header_len", 14),
        ("min_header_len", 14), ("addr_len", 6), ("dev_addr", bytes(6)), ("broadcast", bytes(6)),
        ("hw_features", 0xE401D0000), ("features", 0x52E401D0469), ("ethtool_ops", loopback_ethtool_ops),
        ("header_ops", eth_header_ops), ("netdev_ops", loopback_ops), ("priv_destructor", loopback_dev_free),
        ("tso_max_size", 524280), ("gso_max_size", 65536), ("gso_ipv4_max_size", 65536), ("gso_max_segs", 65535),
        ("pcpu_stat_type", NETDEV_PCPU_STAT_LSTATS), ("tx_queue_len", 1000), ("num_tx_queues", 1),
        ("num_rx_queues", 1), ("group", 0), ("ifindex", 0), ("reg_state", NETREG_UNINITIALIZED), ("lstats", None),
    ],
)  # fmt: skip
def test_gen_lo_setup_fills_in(field: str, value: object) -> None:
    assert getattr(set_up(), field) == value


def test_registration_adds_what_every_device_can_do_in_software() -> None:
    lo = Linux().init_net.device("lo")

    assert (lo.hw_features, lo.features, lo.wanted_features) == (0xA00000E401D4800, 0x52E401D4C69, 0xE401D4800)
    assert lo.lstats is not None


def test_lo_can_do_nothing_that_its_driver_does_not_say() -> None:
    assert loopback_ops == NetDeviceOps(
        ndo_init=loopback_dev_init, ndo_start_xmit=loopback_xmit, ndo_get_stats64=loopback_get_stats64,
        ndo_set_mac_address=eth_mac_addr,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("txqs", "rxqs", "words"), [(0, 1, "zero queues"), (1, 0, "zero RX queues"), (0, 0, "zero queues")]
)
def test_a_device_without_a_queue_cannot_be_made(txqs: int, rxqs: int, words: str) -> None:
    linux = Linux()
    linux.effects()
    with pytest.raises(KernelError) as refused:
        alloc_netdev(linux.init_net.net, "d0", NET_NAME_ENUM, loopback_setup, txqs=txqs, rxqs=rxqs)
    linux.settle()

    assert refused.value.errno == ENOMEM
    assert linux.effects() == [Printk("err", f"alloc_netdev: Unable to allocate device with {words}")]


# --- no memory ------------------------------------------------------------------------------------------------------


def test_without_memory_for_counters_there_is_no_namespace_and_nothing_is_left_of_it() -> None:
    linux = Linux()
    machine, memory = linux.machine, linux.machine.percpu_allocator
    linux.effects()
    in_use, memory.left = memory.in_use, 0
    with pytest.raises(KernelError) as refused:
        linux.add_net("blue")

    assert refused.value.errno == ENOMEM
    assert ([*linux.nets], len(machine.net_namespace_list)) == (["init_net"], 1)
    assert (memory.in_use, machine.rtnl_held, linux.effects()) == (in_use, False, [])
    memory.left = None
    assert linux.add_net("blue").links() == ["lo"]


def test_a_device_that_gets_no_counters_is_undone_by_its_driver() -> None:
    linux, undone = Linux(), list[str]()
    ops = NetDeviceOps(
        ndo_init=lambda dev: undone.append("init"), ndo_uninit=lambda dev: undone.append("uninit")
    )  # fmt: skip

    def setup(dev: NetDevice) -> None:
        gen_lo_setup(dev, 1500, None, None, ops, lambda dev: undone.append("destructor"))

    linux.machine.percpu_allocator.left = 0
    dev = alloc_netdev(linux.init_net.net, "d0", NET_NAME_ENUM, setup)
    with rtnl_lock(linux.machine), pytest.raises(KernelError, match="ENOMEM"):
        register_netdevice(dev)

    assert undone == ["init", "uninit", "destructor"]
    assert (dev.ifindex, dev.reg_state, linux.init_net.links()) == (0, NETREG_UNINITIALIZED, ["lo"])


def test_without_memory_for_the_first_lo_the_machine_does_not_boot() -> None:
    with pytest.raises(KernelPanic) as panic:
        boot(Random(0), percpu_allocator=Allocator(left=0))

    assert str(panic.value) == "Kernel panic - not syncing: loopback: Failed to register netdevice: -12"
    assert not isinstance(panic.value, OSError)


def test_counters_are_given_back_with_their_device() -> None:
    linux = Linux()
    memory = linux.machine.percpu_allocator
    before = memory.in_use
    linux.add_net("blue")
    during = memory.in_use
    linux.del_net("blue")

    assert (during, memory.in_use) == (before + 1, before)


# --- CPUs -----------------------------------------------------------------------------------------------------------


def test_packets_of_all_cpus_are_counted_together_whatever_the_size_of_a_word() -> None:
    for bits in (64, 32):
        linux = Linux(cpus=4, bits_per_long=bits)
        lo = linux.init_net.device("lo")
        for cpu, length in ((0, 10), (1, 20), (3, (1 << 32) - 1)):
            with linux.on_cpu(cpu):
                dev_lstats_add(lo, length)

        assert dev_lstats_read(lo) == (3, 30 + (1 << 32) - 1)
        stats = dev_get_stats(lo)
        assert (stats.rx_packets, stats.rx_bytes) == (stats.tx_packets, stats.tx_bytes) == dev_lstats_read(lo)


def test_a_machine_has_as_many_cpus_as_its_command_line_leaves_it() -> None:
    linux = Linux(cpus=4, cmdline="quiet nr_cpus=2")

    assert linux.machine.cpus.nr_cpu_ids == 2
    with pytest.raises(ControlError, match="cpu: 2 is none of 0, 1"), linux.on_cpu(2):
        pass


@pytest.mark.parametrize("cpus", [0, -1, 257])
def test_a_machine_needs_a_cpu_and_has_at_most_256(cpus: int) -> None:
    with pytest.raises(ControlError, match="cpus"):
        Linux(cpus=cpus)


# --- the blackhole --------------------------------------------------------------------------------------------------


def blackhole(linux: Linux) -> NetDevice:
    dev = linux.machine.blackhole_netdev
    assert dev is not None
    return dev


def test_the_blackhole_is_set_up_like_lo_but_for_what_can_be_told_and_done_of_it() -> None:
    dev, lo = blackhole(Linux()), set_up()

    assert (dev.name, dev.name_assign_type, dev.mtu) == ("blackhole_dev", NET_NAME_UNKNOWN, 68)
    assert (dev.ethtool_ops, dev.header_ops, dev.netdev_ops) == (None, None, blackhole_netdev_ops)
    assert (dev.priv_destructor, dev.flags) == (None, IFF_LOOPBACK | IFF_UP | IFF_RUNNING)
    for field in ("type", "priv_flags", "features", "hw_features", "hard_header_len", "tso_max_size", "lltx"):
        assert getattr(dev, field) == getattr(lo, field)


def test_the_blackhole_belongs_to_no_list_and_nobody_hears_of_it() -> None:
    linux = Linux()
    dev = blackhole(linux)

    assert linux.init_net.links() == ["lo"]
    assert (dev.ifindex, dev.reg_state, dev.running, dev.qdisc) == (0, NETREG_UNINITIALIZED, False, "noqueue")
    assert [effect for effect in linux.effects() if "blackhole" in str(effect)] == []


def test_the_blackhole_speaks_ipv6_below_1280_without_settings_or_groups() -> None:
    dev = blackhole(Linux())
    idev = dev.ip6_ptr
    assert idev is not None

    assert (idev.sysctl_registered, idev.mc_list, idev.if_flags & IF_READY) == (False, {}, 0)
    assert (idev.cnf["mtu"], idev.cnf["accept_dad"]) == (68, -1)


def test_the_blackhole_takes_every_packet_and_counts_none() -> None:
    linux = Linux()
    dev, gone = blackhole(linux), list[SkBuff]()
    linux.effects()
    skb = alloc_skb(0, b"\x60" + bytes(39))
    skb.dev, skb.destructor = dev, gone.append
    assert dev_queue_xmit(skb) == NETDEV_TX_OK
    linux.settle()

    assert (gone, linux.effects()) == ([skb], [Printk("warning", "blackhole_netdev_xmit(): Dropping skb.")])
    assert dev_get_stats(dev) == RtnlLinkStats64()
