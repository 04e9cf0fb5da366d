"""IPv4, as far as it shows beside IPv6: 127.0.0.1/8, its routes, and requests (devinet.c, fib_frontend.c)."""

from dataclasses import replace
from errno import EBUSY
from functools import partial
from ipaddress import ip_address

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.model.fib_frontend import inet_ifa_match
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock, blocking_notifier_chain_register, notifier_from_errno
from addrsvc.model.structs import InIfaddr, InValidatorInfo
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, LinkMsg, Message
from addrsvc.uapi import (
    AF_INET,
    IFA_F_NOPREFIXROUTE,
    NETDEV_UP,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELADDR,
    NetdevEvent,
)
from tests.fidelity.asks import LO, add, delete, down, mtu, rename, up
from tests.fidelity.compare import first_difference
from tests.fidelity.notation import refusal
from tests.model.ears import no_link_local, said

AGAIN = NLM_F_CREATE | NLM_F_REPLACE
TEN = ip_address("10.0.0.1").packed
bare = partial(AddrMsg, nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, ifa_family=AF_INET, ifa_index=LO, ifa_prefixlen=24)
gone = partial(AddrMsg, RTM_DELADDR, ifa_family=AF_INET, ifa_index=LO, ifa_prefixlen=24)


@pytest.fixture
def net(linux: Linux) -> Namespace:
    return no_link_local(linux)


# --- on both kernels -------------------------------------------------------------------------------------------------

SCRIPTS: dict[str, tuple[Message, ...]] = {
    "primaries and secondaries": (up(), add("10.0.0.1/24"), add("10.0.0.2/24"), add("10.0.0.3/24"),
        delete("10.0.0.2/24"), delete("10.0.0.1/24"), add("10.0.0.4/24"), down(), up()),
    "the same address twice": (up(), add("10.0.0.1/24"), add("10.0.0.1/24"), add("10.0.0.1/25")),
    "a metric is changed": (up(), add("10.0.0.1/24"), add("10.0.0.1/24", nlm=AGAIN, metric=7), delete("10.0.0.1/24")),
    "any prefix": (up(), *map(add, ("10.0.0.3/32", "10.1.0.1/31", "10.2.0.1/30", "0.0.0.0/8", "10.3.0.1/0"))),
    "added while down": (add("10.0.0.1/24"), up(), down(), delete("10.0.0.1/24"), up()),
    "127.0.0.1 and its kin": (up(), add("127.0.0.2/8"), delete("127.0.0.1/8"), down(), up(), delete("127.0.0.2/8")),
    "127.0.0.1 of another length": (add("127.0.0.1/32"), up(), down(), up()),
    "without a prefix route": (up(), add("10.0.0.1/24", flags=IFA_F_NOPREFIXROUTE), delete("10.0.0.1/24")),
    "lifetimes": (up(), add("10.0.0.1/24", valid=0), add("10.0.0.1/24", valid=20_000, preferred=10_000),
        add("10.0.0.2/24", valid=10_000, preferred=20_000), add("10.0.0.1/24", nlm=AGAIN)),
    "scopes": (up(), add("10.0.0.1/24", scope=254), add("10.1.0.1/24"), add("10.2.0.1/24", scope=253),
        add("10.0.0.9/24", scope=253)),
    "a peer": (up(), add("10.0.0.1/24", peer="10.5.5.5"), delete("10.0.0.1/24", peer="10.5.5.5")),
    "broadcast addresses and labels": (up(), bare(local=TEN, address=TEN, broadcast=TEN[:3] + b"\xff", label="lo:7"),
        rename("x1"), rename("averylongname15"), gone(label="nope"), gone()),
    "labels after many renames": (up(), add("10.0.0.1/24"), add("10.0.0.2/24"), rename("averylongname15"), rename("x")),
    "a source must be a host": (up(), add("224.0.0.1/4"), add("0.1.2.3/8"), delete("224.0.0.1/4")),
    "an mtu below 68 and back": (up(), add("10.0.0.1/24"), mtu(67), add("10.0.0.2/24"), mtu(68), add("10.0.0.2/24"),
        down(), up()),
    "a protocol": (up(), add("10.0.0.1/24", proto=7), add("10.0.0.1/24", nlm=AGAIN)),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_both_kernels_agree_in_every_message_and_every_field(netns: NetNs, script: tuple[Message, ...]) -> None:
    assert str(first_difference(script) or "") == ""


REFUSALS: list[tuple[str, Message, str]] = [
    ("prefix length 33", bare(ifa_prefixlen=33, local=TEN), "EINVAL ipv4: Invalid prefix length"),
    ("no LOCAL", bare(address=TEN), "EINVAL ipv4: Local address is not supplied"),
    ("no device", bare(ifa_index=99, local=TEN), "ENODEV ipv4: Device not found"),
    ("a lifetime of 0", bare(local=TEN, cacheinfo=IfaCacheinfo(0, 0)), "EINVAL ipv4: address lifetime invalid"),
    ("there already", add("127.0.0.1/8"), "EEXIST ipv4: Address already assigned"),
    ("another scope in the subnet", add("127.0.0.9/8", scope=0), "EINVAL ipv4: Invalid scope value"),
    ("delete: no device", gone(ifa_index=99, local=TEN), "ENODEV ipv4: Device not found"),
    ("delete: not there", gone(local=TEN, address=TEN), "EADDRNOTAVAIL ipv4: Address not found"),
    ("delete: another length", delete("127.0.0.1/16"), "EADDRNOTAVAIL ipv4: Address not found"),
    ("a label of 16 bytes", bare(local=TEN, label="x" * 16), "ERANGE Attribute failed policy validation"),
]


@pytest.mark.parametrize(("ask", "answer"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_both_kernels_refuse_with_the_same_errno_and_text(kernel: Kernel, ask: Message, answer: str) -> None:
    kernel.request(up())
    with pytest.raises(KernelError) as refused:
        kernel.request(ask)

    assert refusal(refused.value) == answer


# --- the model alone -------------------------------------------------------------------------------------------------


def test_only_a_loopback_device_gets_127_0_0_1(linux: Linux, net: Namespace) -> None:
    net.link_add("x0")
    linux.effects()
    net.link_set("x0", up=True)

    assert (said(linux), net.addresses("x0")) == ("L M4+224.0.0.1 I", [])


def test_a_device_of_ones_own_has_a_unicast_prefix_route(linux: Linux, net: Namespace) -> None:
    net.link_add("x0")
    net.link_set("x0", up=True)
    linux.effects()
    net.addr_add("10.0.0.1/24", "x0")

    assert said(linux) == "A4+10.0.0.1 R4+loc:10.0.0.1 R4+pfx:10.0.0.0/24 R4+brd:10.0.0.255"
    net.link_set("x0", up=False)
    linux.effects()
    net.link_set("x0", up=True)
    assert said(linux) == "L M4+224.0.0.1 R4+pfx:10.0.0.0/24 R4+brd:10.0.0.255 I"


def test_unregistering_takes_the_ipv4_half(linux: Linux, net: Namespace) -> None:
    dev = net.link_add("x0")
    net.addr_add("10.0.0.1/24", "x0")
    linux.effects()
    net.link_del("x0")

    assert said(linux).startswith("A4-10.0.0.1 R4-loc:10.0.0.1 NC4-2")
    assert (dev.ip_ptr, net.net.ipv4.fib) == (None, {})


def test_listeners_hear_of_addresses_and_validators_may_refuse_them(linux: Linux, net: Namespace) -> None:
    heard: list[str] = []

    def listen(event: int, ifa: InIfaddr) -> int:
        heard.append(f"{NetdevEvent(event).name} {ip_address(ifa.ifa_local)}")
        return NOTIFY_DONE

    def validate(event: int, question: InValidatorInfo) -> int:
        assert event == NETDEV_UP
        if question.ivi_addr != TEN:
            return NOTIFY_DONE
        question.extack = "not this one"
        return notifier_from_errno(-EBUSY)

    blocking_notifier_chain_register(linux.machine.inetaddr_chain, NotifierBlock(listen))
    blocking_notifier_chain_register(linux.machine.inetaddr_validator_chain, NotifierBlock(validate))
    net.link_set("lo", up=True)
    net.addr_del("127.0.0.1/8", "lo")
    before = net.dump()
    with pytest.raises(KernelError) as refused:
        net.addr_add("10.0.0.1/24", "lo")

    assert (refused.value.errno, refused.value.extack, net.dump()) == (EBUSY, "not this one", before)
    assert heard == ["NETDEV_UP 127.0.0.1", "NETDEV_DOWN 127.0.0.1"]


def test_a_vetoed_127_0_0_1_is_passed_over_in_silence(linux: Linux, net: Namespace) -> None:
    chain = linux.machine.inetaddr_validator_chain
    blocking_notifier_chain_register(chain, NotifierBlock(lambda event, question: notifier_from_errno(-EBUSY)))
    net.link_set("lo", up=True)

    assert [str(a.network) for a in net.addresses("lo")] == ["::1/128"]


@pytest.mark.parametrize(
    ("addr", "plen", "within"), [("10.0.0.255", 24, True), ("10.0.1.0", 24, False), ("1.2.3.4", 0, True)]
)
def test_an_address_lies_in_the_prefix_of_another(net: Namespace, addr: str, plen: int, within: bool) -> None:
    in_dev = net.device("lo").ip_ptr
    assert in_dev is not None
    ifa = InIfaddr(TEN, TEN, plen, 0, "lo", in_dev)

    assert inet_ifa_match(ip_address(addr).packed, ifa) is within


def test_a_device_called_as_a_directory_is_refused_by_ipv4_and_the_chain_goes_no_further(
    linux: Linux, net: Namespace
) -> None:
    linux.effects()
    with pytest.raises(KernelError) as refused:
        net.link_add("default")

    assert refused.value.name == "EINVAL"
    assert said(linux) == "L-"
    assert [m.ifname for m in net.dump() if isinstance(m, LinkMsg)] == ["lo"]


def test_only_the_first_four_bytes_of_an_address_count(net: Namespace) -> None:
    net.request(replace(bare(local=TEN + bytes(12)), ifa_prefixlen=32))

    assert [str(a.network) for a in net.addresses()] == ["10.0.0.1/32"]
