"""The service without sockets: what is asked, what time brings, who is told, who follows."""

from collections.abc import Iterator

import pytest

from addrsvc.daemon.commands import CHANGES, QUERIES, Said
from addrsvc.daemon.printer import listed
from addrsvc.daemon.service import Service, Watcher
from addrsvc.errors import ControlError, KernelError, NotPermitted
from addrsvc.linux import Linux
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NoNetns
from addrsvc.model.timer import HZ
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, Sysctl
from addrsvc.uapi import AF_INET6, IFAPROT_KERNEL_LO, IFF_UP, RTM_DELADDR, RTM_NEWADDR

LOOPBACK = bytes(15) + b"\x01"


@pytest.fixture
def service() -> Service:
    return Service(Linux(seed=0, trace=True))


def said(text: str, seq: int = 0) -> Said:
    return {"seq": seq, "kind": "printk", "net": "", "depth": 0, "text": text, "data": {}}


def up(service: Service, net: str = "init_net") -> None:
    service.ask("link_set", {"dev": "lo", "up": True, "net": net})


def told(service: Service) -> Iterator[str]:
    return (f"{'  ' * said['depth']}{said['text']}" for said in service.history)


def six(kernel: Kernel) -> list[bytes | None]:
    return [m.address for m in kernel.dump() if isinstance(m, AddrMsg) and m.ifa_family == AF_INET6 and not m.multicast]


# --- ask ----------------------------------------------------------------------------------------------------------


def test_lo_coming_up_brings_the_loopback_address(service: Service) -> None:
    up(service)

    links = service.ask("addresses", {"dev": "lo", "family": "inet6"})["links"]
    assert isinstance(links, list)
    assert [(info["local"], info["scope"]) for info in links[0]["addr_info"]] == [("::1", "host")]


def test_a_change_needs_privilege(service: Service) -> None:
    for command in CHANGES:
        with pytest.raises(NotPermitted):
            service.ask(command, {}, privileged=False)


def test_a_query_is_for_everyone(service: Service) -> None:
    needed = {"sysctl": {"name": "net.ipv6.conf.lo.disable_ipv6"}, "proc": {"path": "net/if_inet6"}}
    for command in QUERIES:
        assert service.ask(command, needed.get(command, {}), privileged=False) is not None


def test_a_refusal_of_the_kernel_comes_through(service: Service) -> None:
    with pytest.raises(KernelError) as caught:
        service.ask("addr_del", {"address": "2001:db8::1/64", "dev": "lo"})

    assert caught.value.name == "EADDRNOTAVAIL"


@pytest.mark.parametrize(
    ("command", "parameters", "text"),
    [
        ("lnk_set", {}, "no command 'lnk_set' .did you mean link_set"),
        ("link_set", {"dev": "lo", "mtus": 5}, "no parameter 'mtus' .did you mean mtu"),
        ("link_set", {"up": True}, "dev: missing"),
        ("link_set", {"dev": "lo", "net": "ini_net"}, "did you mean init_net"),
        ("link_set", {"dev": "l0", "up": True}, "did you mean lo"),
        ("links", {"dev": "l0"}, 'Device "l0" does not exist. .did you mean lo'),
        ("inject", {"event": "NETDEV_PU", "dev": "lo"}, "NETDEV_PU"),
        ("inject", {"event": "99", "dev": "lo"}, "99"),
        ("inject", {"event": "NETDEV_UP", "dev": "l0"}, "l0"),
        ("inject", {"event": "NETDEV_UP", "dev": "lo", "info": {"nonsense": "1"}}, "nonsense"),
        ("inject", {"event": "NETDEV_UP", "dev": "lo", "info": {"dev": "lo"}}, "dev is no info"),
        ("plan", {"netns": "blue"}, "not mirrored"),
        ("link_set", {"dev": "lo", "mtu": -1}, "mtu: -1 is not between 0 and 4294967295"),
        ("link_set", {"dev": "lo", "txqlen": 1 << 32}, "txqlen: 4294967296 is not between"),
        ("link_set", {"dev": "lo", "name": "a\0b"}, "is no text"),
        ("link_set", {"dev": "lo", "alias": "\ud800"}, "is no text"),
        ("link_set", {"dev": "lo", "operstate": "upp"}, "operstate: 'upp' is none of unknown, .*, up"),
        ("addr_add", {"dev": "lo", "address": "::2", "proto": 256}, "proto: 256 is not between 0 and 255"),
        ("addr_add", {"dev": "lo", "address": "::g"}, "'::g' is no address"),
        ("link_add", {"name": "x0", "arphrd": "65536"}, "'65536' is no device type"),
        ("net_add", {"net": " "}, "' ' is no name"),
        ("net_add", {"net": "init_net"}, "already"),
        ("net_del", {"net": "init_net"}, "cannot be deleted"),
        ("link_add", {"name": "x0", "arphrd": "eter"}, "did you mean ether"),
    ],
)
def test_a_request_that_is_none_is_refused_and_changes_nothing(
    service: Service, command: str, parameters: dict[str, object], text: str
) -> None:
    before = service.net("init_net").dump()
    service.ask("status")
    heard = len(service.history)
    with pytest.raises(ControlError, match=text):
        service.ask(command, parameters)

    assert service.net("init_net").dump() == before
    assert len(service.history) == heard


def test_injecting_an_event_calls_the_chain_and_leaves_the_device_as_it_is(service: Service) -> None:
    service.ask("inject", {"event": "NETDEV_UP", "dev": "lo"})

    assert "init_net: NETDEV_UP  lo" in " ".join(f"{said['net']}: {said['text']}" for said in service.history)
    links = service.ask("links", {"dev": "lo"})["links"]
    assert isinstance(links, list)
    assert links[0]["flags"] == ["LOOPBACK"]


def test_an_event_is_injected_by_number_too(service: Service) -> None:
    service.ask("inject", {"event": "6", "dev": "lo", "info": {}})

    assert any(said["text"].startswith("NETDEV_UNREGISTER  lo") for said in service.history)


def test_the_info_of_an_event_reaches_the_callbacks(service: Service) -> None:
    service.ask("inject", {"event": "CHANGEMTU", "dev": "lo", "info": {"mtu": "1500"}})

    assert any(said["text"].startswith("NETDEV_CHANGEMTU  lo  (mtu was 1500)") for said in service.history)


def test_a_namespace_of_the_model_comes_and_goes(service: Service) -> None:
    service.ask("net_add", {"net": "blue"})
    up(service, "blue")
    assert six(service.net("blue")) == [LOOPBACK]
    service.ask("net_del", {"net": "blue"})

    with pytest.raises(ControlError, match="blue"):
        service.net("blue")


def test_a_sysctl_is_written_and_read(service: Service) -> None:
    name = "net.ipv6.conf.lo.disable_ipv6"
    service.ask("sysctl_set", {"name": name, "value": "1"})

    assert service.ask("sysctl", {"name": name}) == {"value": "1"}


# --- the story ------------------------------------------------------------------------------------------------------


def test_netdev_up_passes_the_chain_in_the_kernels_order(service: Service) -> None:
    service.ask("status")
    service.history.clear()
    up(service)

    story = list(told(service))
    begin = story.index("NETDEV_UP  lo")
    callbacks = [text.split()[0] for text in story[begin + 1 :] if text.startswith("  ") and text[2] != " "]
    order = [
        "rtnetlink_event", "fib_rules_event", "inetdev_event", "fib_netdev_event", "addrconf_notify",
        "packet_notifier",
        "ndisc_netdev_event", "ip6_route_dev_notify",
    ]  # fmt: skip
    assert [name for name in callbacks if name in order] == order


def test_a_message_stands_under_the_callback_that_caused_it(service: Service) -> None:
    up(service)

    under = ""
    for text in told(service):
        if text.startswith("  ") and text[2] != " ":
            under = text.strip()
        if "RTM_NEWADDR" in text and "::1/128" in text:
            assert under == "addrconf_notify"
            return
    pytest.fail("nobody said RTM_NEWADDR")


def test_an_event_in_which_no_callback_acted_is_one_line(service: Service) -> None:
    service.ask("inject", {"event": "NETDEV_BONDING_FAILOVER", "dev": "lo"})
    service.history.clear()
    service.ask("inject", {"event": "NETDEV_RELEASE", "dev": "lo"})

    assert len(service.history) == 1
    assert "callbacks)" in service.history[0]["text"]


# --- watchers -------------------------------------------------------------------------------------------------------


def test_a_watcher_hears_what_is_said_from_then_on(service: Service) -> None:
    up(service)
    watcher = service.watch()
    service.ask("link_set", {"dev": "lo", "up": False})

    news, lost = watcher.take()
    assert lost == 0
    assert any("RTM_DELADDR" in said["text"] for said in news)
    assert [said["seq"] for said in news] == list(range(news[0]["seq"], news[0]["seq"] + len(news)))


def test_a_slow_watcher_loses_the_oldest_and_is_told_how_many() -> None:
    watcher = Watcher(size=2)
    for number in range(5):
        watcher.offer(said(str(number)))

    news, lost = watcher.take()
    assert ([s["text"] for s in news], lost) == (["3", "4"], 3)
    assert watcher.take() == ([], 0)


def test_a_watcher_is_woken_once_until_it_has_taken() -> None:
    woken: list[int] = []
    watcher = Watcher(wake=lambda: woken.append(1))
    watcher.offer(said("a"))
    watcher.offer(said("b"))
    assert len(woken) == 1

    watcher.take()
    watcher.offer(said("c"))
    assert len(woken) == 2


def test_an_unwatched_watcher_hears_nothing_more(service: Service) -> None:
    watcher = service.watch()
    service.unwatch(watcher)
    up(service)

    assert watcher.take() == ([], 0)
    assert not watcher.is_open


def test_history_keeps_only_what_a_watcher_would_hold(service: Service) -> None:
    for _ in range(60):
        service.ask("link_set", {"dev": "lo", "up": True})
        service.ask("link_set", {"dev": "lo", "up": False})

    assert len(service.history) == service.history.maxlen
    assert service.history[-1]["seq"] > len(service.history)


# --- time -----------------------------------------------------------------------------------------------------------


def test_the_timer_is_armed_for_the_end_of_a_lifetime(service: Service) -> None:
    armed: list[int | None] = []
    service.rearm = armed.append
    up(service)
    service.ask("addr_add", {"address": "2001:db8::1/64", "dev": "lo", "valid_lft": 10, "preferred_lft": 5})

    assert armed[-1] is not None
    assert armed[-1] > service.linux.jiffies


def test_time_ends_a_lifetime(service: Service) -> None:
    up(service)
    service.ask("addr_add", {"address": "2001:db8::1/64", "dev": "lo", "valid_lft": 10, "preferred_lft": 5})
    assert len(six(service.net("init_net"))) == 2
    service.tick(service.linux.jiffies + 60 * 250)

    assert six(service.net("init_net")) == [LOOPBACK]


# --- mirrors: a second model stands for the running kernel -----------------------------------------------------------


@pytest.fixture
def kernel() -> Kernel:
    return Linux(seed=1).init_net


def test_a_kernel_that_follows_becomes_like_the_model(service: Service, kernel: Kernel) -> None:
    service.follow("real", "init_net", kernel)
    up(service)

    assert six(kernel) == [LOOPBACK]
    assert [said["text"] for said in service.history if said["kind"] == "sent"] != []


def test_what_is_already_so_is_not_sent(service: Service, kernel: Kernel) -> None:
    mirror = service.follow("real", "init_net", kernel)
    up(service)
    sent = mirror.sent
    service.ask("converge")

    assert mirror.sent == sent
    assert service.ask("plan") == {"plans": [{"netns": "real", "net": "init_net", "steps": [], "divergences": []}]}


def test_a_deleted_loopback_address_comes_back(service: Service, kernel: Kernel) -> None:
    service.follow("real", "init_net", kernel)
    up(service)
    gone: Message = AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, address=LOOPBACK)
    kernel.request(gone)
    assert six(kernel) == []
    service.history.clear()
    service.ask("converge", {"netns": "real"})

    assert six(kernel) == [LOOPBACK]
    (repair,) = [said for said in service.history if said["kind"] == "sent"]
    assert (repair["data"]["message"], repair["data"]["repair"]) == ("RTM_NEWADDR", True)


def test_an_address_that_is_not_ours_is_left_alone(service: Service, kernel: Kernel) -> None:
    foreign = AddrMsg(nlmsg_type=RTM_NEWADDR, nlmsg_flags=0x600, ifa_index=1, address=bytes([0x20, 1]) + bytes(14))
    service.follow("real", "init_net", kernel)
    up(service)
    kernel.request(foreign)
    service.ask("converge")

    assert foreign.address in six(kernel)


def test_what_the_model_changed_is_sent_once_and_then_left_to_the_host(service: Service, kernel: Kernel) -> None:
    def mtu() -> list[int | None]:
        return [msg.mtu for msg in kernel.dump() if isinstance(msg, LinkMsg)]

    service.follow("real", "init_net", kernel)
    up(service)
    service.ask("link_set", {"dev": "lo", "mtu": 1400})
    assert mtu() == [1400]
    kernel.request(LinkMsg(ifi_index=1, mtu=9000))
    service.ask("converge")

    assert mtu() == [9000]


def test_a_namespace_that_is_followed_is_not_deleted(service: Service, kernel: Kernel) -> None:
    service.ask("net_add", {"net": "blue"})
    service.follow("real", "blue", kernel)

    with pytest.raises(ControlError, match="'blue' is mirrored onto real"):
        service.ask("net_del", {"net": "blue"})


def test_a_dry_mirror_plans_and_sends_nothing(service: Service, kernel: Kernel) -> None:
    before = kernel.dump()
    service.follow("real", "init_net", kernel, is_dry=True)
    up(service)

    plans = service.ask("plan")["plans"]
    assert isinstance(plans, list)
    assert [step["why"] for step in plans[0]["steps"]] != []
    assert kernel.dump() == before


def test_an_address_of_the_kernels_own_kind_is_claimed_as_the_kernel_does(service: Service, kernel: Kernel) -> None:
    service.follow("real", "init_net", kernel)
    up(service)
    kernel.request(AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, address=LOOPBACK))
    service.ask("converge")

    (loopback,) = [m for m in kernel.dump() if isinstance(m, AddrMsg) and m.address == LOOPBACK and not m.multicast]
    assert loopback.proto == IFAPROT_KERNEL_LO


# --- what the host does meanwhile -----------------------------------------------------------------------------------

DISABLE = Sysctl("net.ipv6.conf.lo.disable_ipv6", "1")
ENABLE = Sysctl("net.ipv6.conf.lo.disable_ipv6", "0")
GIVEN = bytes.fromhex("20010db8000000000000000000000001")


def lo(kernel: Kernel) -> LinkMsg:
    (link,) = [msg for msg in kernel.dump() if isinstance(msg, LinkMsg)]
    return link


def whys(service: Service) -> list[str]:
    (mirror,) = service.mirrors.values()
    return [divergence.why for divergence in mirror.divergences]


@pytest.fixture
def mirrored(service: Service, kernel: Kernel) -> Service:
    service.follow("real", "init_net", kernel)
    up(service)
    return service


def test_what_the_host_changes_the_model_adopts_and_tells(mirrored: Service, kernel: Kernel) -> None:
    kernel.request(LinkMsg(ifi_index=1, mtu=1400))
    mirrored.ask("converge")

    assert lo(mirrored.net()).mtu == 1400
    assert [said["text"] for said in mirrored.history if said["kind"] == "adopted"] == [
        "adopted ip link set dev lo mtu 1400  (the host's own)"
    ]


def test_an_operation_counts_even_where_the_model_had_not_heard_of_the_hosts_yet(
    mirrored: Service, kernel: Kernel
) -> None:
    kernel.request(LinkMsg(ifi_index=1, mtu=1400))
    mirrored.ask("link_set", {"dev": "lo", "mtu": 65536})

    assert (lo(kernel).mtu, lo(mirrored.net()).mtu) == (65536, 65536)


def test_what_the_host_changes_again_and_again_is_adopted_each_time(mirrored: Service, kernel: Kernel) -> None:
    for mtu in (1400, 1500, 65536, 1400):
        kernel.request(LinkMsg(ifi_index=1, mtu=mtu))
        mirrored.ask("converge")

        assert (lo(kernel).mtu, lo(mirrored.net()).mtu) == (mtu, mtu)


def test_a_renamed_loopback_device_is_followed(mirrored: Service, kernel: Kernel) -> None:
    kernel.request(LinkMsg(ifi_index=1, ifname="loop"))
    mirrored.ask("addr_add", {"address": "2001:db8::1/128", "dev": "loop"})

    assert lo(kernel).ifname == "loop"
    assert GIVEN in six(kernel)


def test_lo_that_somebody_takes_down_comes_up_again_with_its_addresses(mirrored: Service, kernel: Kernel) -> None:
    mirrored.ask("addr_add", {"address": "2001:db8::1/128", "dev": "lo"})
    kernel.request(LinkMsg(ifi_index=1, ifi_change=IFF_UP))
    mirrored.ask("converge")

    assert sorted(filter(None, six(kernel))) == [LOOPBACK, GIVEN]


def test_an_address_of_ours_that_somebody_deletes_comes_back(mirrored: Service, kernel: Kernel) -> None:
    mirrored.ask("addr_add", {"address": "2001:db8::1/128", "dev": "lo"})
    kernel.request(AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, local=GIVEN))
    mirrored.ask("converge")

    assert GIVEN in six(kernel)


def test_an_mtu_that_falls_takes_no_address_from_the_model(mirrored: Service, kernel: Kernel) -> None:
    mirrored.ask("addr_add", {"address": "2001:db8::1/128", "dev": "lo"})
    kernel.request(LinkMsg(ifi_index=1, mtu=1000))
    assert six(kernel) == []
    mirrored.ask("converge")

    assert lo(mirrored.net()).mtu == 1000
    assert sorted(filter(None, six(kernel))) == sorted(filter(None, six(mirrored.net()))) == [LOOPBACK, GIVEN]


def test_addresses_outlive_that_the_host_disables_ipv6_for_a_while(mirrored: Service, kernel: Kernel) -> None:
    mirrored.ask("addr_add", {"address": "2001:db8::1/128", "dev": "lo"})
    kernel.request(DISABLE)
    mirrored.ask("converge")
    assert ["IPv6 is disabled on lo" in why for why in whys(mirrored)] == [True, True]
    kernel.request(ENABLE)
    mirrored.ask("converge")

    assert whys(mirrored) == []
    assert sorted(filter(None, six(kernel))) == [LOOPBACK, GIVEN]


def test_an_address_that_cannot_be_there_now_can_be_deleted(mirrored: Service, kernel: Kernel) -> None:
    mirrored.ask("addr_add", {"address": "2001:db8::1/128", "dev": "lo"})
    kernel.request(DISABLE)
    mirrored.ask("converge")
    mirrored.ask("addr_del", {"address": "2001:db8::1/128", "dev": "lo"})
    with pytest.raises(KernelError, match="EADDRNOTAVAIL"):
        mirrored.ask("addr_del", {"address": "2001:db8::1/128", "dev": "lo"})
    kernel.request(ENABLE)
    mirrored.ask("converge")

    assert six(kernel) == [LOOPBACK]


def test_what_the_model_refuses_to_adopt_is_told(mirrored: Service, kernel: Kernel) -> None:
    mirrored.ask("link_add", {"name": "x0"})
    kernel.request(LinkMsg(ifi_index=1, ifname="x0"))
    mirrored.ask("converge")

    refusal = "the model refused what the host did, ip link set dev lo name x0: "
    assert any(why.startswith(refusal) for why in whys(mirrored))


def test_a_look_tells_what_cannot_be_sent(mirrored: Service, kernel: Kernel) -> None:
    kernel.request(DISABLE)
    (look,) = listed(mirrored.ask("converge")["mirrors"])

    assert look == {"netns": "real", "net": "init_net", "sent": 1, "divergences": whys(mirrored)}
    assert len(whys(mirrored)) == 1


def test_with_one_mirror_its_namespace_is_the_one_that_is_meant(service: Service, kernel: Kernel) -> None:
    service.ask("net_add", {"net": "blue"})
    assert service.default_net == "init_net"
    service.follow("real", "blue", kernel)
    service.ask("link_set", {"dev": "lo", "up": True})
    assert six(kernel) == [LOOPBACK]

    service.follow("host", "init_net", Linux(seed=2).init_net)
    assert service.default_net == "init_net"


# --- a namespace that goes and comes back ---------------------------------------------------------------------------


class Swing:
    """A door to whatever namespace `leads_to` names, of any kernel."""

    def __init__(self, kernel: Kernel | None) -> None:
        self.leads_to, self._opened = kernel, kernel

    def open(self) -> Kernel:
        if self.leads_to is None:
            raise NoNetns("no such namespace")
        self._opened = self.leads_to
        return self.leads_to

    def is_current(self) -> bool:
        return self._opened is not None and self._opened is self.leads_to

    def close(self) -> None:
        self._opened = None


def test_a_namespace_that_goes_is_told_once_and_one_that_comes_back_is_served(service: Service, kernel: Kernel) -> None:
    heeded: list[Kernel | None] = []
    service.heed = lambda mirror: heeded.append(mirror.kernel)
    door = Swing(kernel)
    service.follow("real", "init_net", kernel, door=door)
    up(service)
    service.ask("addr_add", {"address": "2001:db8::1/128", "dev": "lo"})

    door.leads_to = None
    service.tick(service.linux.jiffies + HZ)
    service.tick(service.linux.jiffies + HZ)
    assert whys(service) == ["real is gone"]
    assert [said["text"] for said in service.history if said["kind"] == "differs"] == ["cannot be sent: real is gone"]
    assert service.ask("plan")["plans"] == [
        {"netns": "real", "net": "init_net", "steps": [], "divergences": [{"why": "real is gone", "text": None}]}
    ]
    service.ask("link_set", {"dev": "lo", "alias": "while it was gone"})

    other = Linux(seed=2).init_net
    other.request(LinkMsg(ifi_index=1, mtu=1400))
    door.leads_to = other
    service.tick(service.linux.jiffies + HZ)
    assert whys(service) == []
    assert sorted(filter(None, six(other))) == [LOOPBACK, GIVEN]
    assert (lo(service.net()).mtu, lo(other).mtu) == (1400, 1400)
    assert heeded == [None, other]


def test_a_namespace_that_is_replaced_between_two_looks_is_served(service: Service, kernel: Kernel) -> None:
    door = Swing(kernel)
    service.follow("real", "init_net", kernel, door=door)
    up(service)
    door.leads_to = Linux(seed=2).init_net
    service.tick(service.linux.jiffies + HZ)

    assert six(door.leads_to) == [LOOPBACK]


def test_where_a_namespace_can_go_the_next_look_is_within_a_second(service: Service, kernel: Kernel) -> None:
    armed: list[int | None] = []
    service.rearm = armed.append
    up(service)
    assert armed[-1] is None
    service.follow("real", "init_net", kernel, door=Swing(kernel))
    service.ask("converge")

    assert armed[-1] == service.linux.jiffies + HZ
