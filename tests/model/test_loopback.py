"""drivers/net/loopback.c: the device that is first in every namespace."""

import socket
from struct import pack

import pytest

from addrsvc import Linux
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.model.dev import alloc_netdev, register_netdevice
from addrsvc.model.inet6_dev import inet6_fill_ifinfo
from addrsvc.model.loopback import loopback_setup
from addrsvc.model.net_namespace import register_pernet_subsys
from addrsvc.model.rtnl import rtmsg_ifinfo_build, rtnl_lock
from addrsvc.model.structs import NETREG_RELEASED, Net, NetDevice, PernetOperations, RtnlNotify
from addrsvc.netlink.codec import decode, encode
from addrsvc.netlink.messages import IflaCacheinfo, Inet6LinkInfo, InetLinkInfo, LinkMsg, Xdp
from addrsvc.uapi import (
    AF_INET6,
    AF_UNSPEC,
    ARPHRD_LOOPBACK,
    IF_OPER_DOWN,
    IF_OPER_UNKNOWN,
    IFF_LIVE_ADDR_CHANGE,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_NO_QUEUE,
    IFF_RUNNING,
    IFF_UP,
    IFF_XMIT_DST_RELEASE,
    NET_NAME_ENUM,
    NET_NAME_PREDICTABLE,
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
