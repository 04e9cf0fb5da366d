"""RTM_*NEIGH on both kernels, byte for byte: neighbours, proxy entries, forwarding databases of devices."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from random import Random
from struct import pack

import pytest

from addrsvc.uapi import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    IFF_UP,
    NDA_DST,
    NDA_FLAGS_EXT,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_PROBES,
    NDA_PROTOCOL,
    NDA_VLAN,
    NLM_F_ACK,
    NLM_F_BULK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NTF_MASTER,
    NTF_PROXY,
    NTF_ROUTER,
    NTF_SELF,
    NTF_USE,
    NUD_DELAY,
    NUD_FAILED,
    NUD_NOARP,
    NUD_NONE,
    NUD_PERMANENT,
    NUD_PROBE,
    NUD_REACHABLE,
    NUD_STALE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
)
from tests.af_netlink.twins import Twins, messages, nla, nlmsg, young_net

MAC, OTHER_MAC = bytes.fromhex("020000000009"), bytes.fromhex("020000000008")
ADDRESS = {AF_INET: "10.0.0.5", AF_INET6: "fd00::5"}
LO, IFB = 1, 2
CREATE = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
EXT_MANAGED, EXT_VALIDATED = 1, 4
STATES = (NUD_NONE, NUD_REACHABLE, NUD_STALE, NUD_FAILED, NUD_NOARP, NUD_PERMANENT)

pytestmark = pytest.mark.needs_netns


def ndmsg(family: int, ifindex: int = LO, state: int = 0, flags: int = 0, *, kind: int = 0, pad: int = 0) -> bytes:
    return pack("=BBHiHBB", family, pad, 0, ifindex, state, flags, kind)


def dst(text: str) -> bytes:
    return nla(NDA_DST, ip_address(text).packed)


def add(twins: Twins, text: str, *attrs: bytes, how: int = CREATE, **header: int) -> None:
    family = AF_INET6 if ":" in text else AF_INET
    twins.ask(nlmsg(RTM_NEWNEIGH, ndmsg(family, **header) + dst(text) + b"".join(attrs), how))


def delete(twins: Twins, text: str, **header: int) -> None:
    family = AF_INET6 if ":" in text else AF_INET
    twins.ask(nlmsg(RTM_DELNEIGH, ndmsg(family, **header) + dst(text)))


def delete_proxies_of_no_device(twins: Twins) -> None:
    """The running kernel keeps them for good, and shows them to the next namespace that is made at the same address."""
    for text in ("fd00::5", "fd00::6"):
        delete(twins, text, ifindex=0, flags=NTF_PROXY)


def dump(twins: Twins, flags: int = 0) -> None:
    twins.ask(nlmsg(RTM_GETNEIGH, ndmsg(0, 0, 0, flags), NLM_F_DUMP), ordered=False)


@pytest.fixture
def ifb(up: Twins) -> Twins:
    """lo and an Ethernet device beside it, both up."""
    link = pack("=BxHiII", 0, 0, 0, 0, 0) + nla(3, "ifb7") + nla(1, bytes((2, 0, 0, 0, 0, 7))) + nla(18, nla(1, b"ifb"))
    up.ask(nlmsg(RTM_NEWLINK, link, CREATE))
    up.ask(nlmsg(RTM_NEWLINK, pack("=BxHiII", 0, 0, IFB, IFF_UP, IFF_UP)))
    return up


# --- what is refused, and what is looked up ---------------------------------------------------------------------------

HEADERS = [
    ndmsg(AF_INET), ndmsg(AF_INET6), ndmsg(0), ndmsg(28), ndmsg(AF_INET, 0), ndmsg(AF_INET, 77), ndmsg(AF_INET, -1),
    ndmsg(AF_INET6, state=NUD_PERMANENT), ndmsg(AF_INET6, pad=1), ndmsg(AF_INET6, kind=1),
    ndmsg(AF_INET6, flags=NTF_SELF), ndmsg(AF_INET6, flags=NTF_PROXY), ndmsg(AF_INET6, 0, flags=NTF_PROXY),
    ndmsg(AF_INET6)[:1], ndmsg(AF_INET6)[:4], ndmsg(AF_INET6)[:11],
]  # fmt: skip
ATTRS = [
    b"", dst("10.0.0.5"), dst("fd00::5"), nla(NDA_DST, bytes(3)), nla(NDA_DST, bytes(17)), nla(NDA_DST, bytes(33)),
    dst("fd00::5") + nla(NDA_LLADDR, MAC), dst("fd00::5") + nla(NDA_LLADDR, MAC[:5]), nla(0, 1) + dst("fd00::5"),
    dst("fd00::5") + nla(NDA_LLADDR, bytes(33)), dst("fd00::5") + nla(NDA_FLAGS_EXT, 2), nla(30, 1),
    dst("fd00::5") + nla(NDA_PROBES, b"\1"), dst("fd00::5") + nla(NDA_IFINDEX, 1), nla(NDA_MASTER, 1), b"\1\2\3",
    dst("fd00::6") + dst("fd00::5"),
]  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("nlmsg_type", [RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH])
def test_requests(up: Twins, nlmsg_type: int, strict: bool) -> None:
    for header in HEADERS:
        for attrs in ATTRS:
            up.ask(nlmsg(nlmsg_type, header + attrs), strict=strict)
    for header in HEADERS if nlmsg_type == RTM_GETNEIGH else ():
        for attrs in (b"", nla(NDA_IFINDEX, 1), nla(NDA_MASTER, 1), nla(NDA_MASTER, -1), dst("fd00::5")):
            up.ask(nlmsg(nlmsg_type, header + attrs, NLM_F_DUMP), strict=strict)
    delete_proxies_of_no_device(up)


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("lladdr", [None, MAC])
def test_a_neighbour_comes_changes_and_goes(up: Twins, family: int, state: int, lladdr: bytes | None) -> None:
    text = ADDRESS[family]
    address = nla(NDA_LLADDR, lladdr) if lladdr else b""
    add(up, text, address, how=NLM_F_ACK, state=state)
    add(up, text, address, nla(NDA_PROTOCOL, b"\3"), state=state)
    up.ask(nlmsg(RTM_GETNEIGH, ndmsg(family) + dst(text)))
    dump(up)
    for flags in (CREATE, NLM_F_ACK, NLM_F_ACK | NLM_F_REPLACE):
        for after in STATES:
            add(up, text, nla(NDA_LLADDR, OTHER_MAC), how=flags, state=after)
            add(up, text, how=flags, state=after)
    delete(up, text)
    delete(up, "0.0.0.0" if family == AF_INET else text)
    dump(up)


@pytest.mark.parametrize("ext", [EXT_MANAGED, EXT_VALIDATED, EXT_MANAGED | EXT_VALIDATED])
@pytest.mark.parametrize("flags", [0, NTF_USE, NTF_ROUTER, NTF_PROXY])
def test_flags(up: Twins, ext: int, flags: int) -> None:
    for state in STATES:
        text = f"fd00::{state:x}"
        for extended in (ext, 0, ext):
            add(up, text, nla(NDA_LLADDR, MAC), nla(NDA_FLAGS_EXT, extended), how=0x400 | 4, state=state, flags=flags)
        delete(up, text)


def test_proxy_entries(up: Twins) -> None:
    for text in ("10.0.0.5", "fd00::5"):
        for _ in range(2):
            add(up, text, nla(NDA_PROTOCOL, b"\3"), flags=NTF_PROXY)
        up.ask(nlmsg(RTM_GETNEIGH, ndmsg(AF_INET6 if ":" in text else AF_INET, flags=NTF_PROXY) + dst(text)))
    dump(up, NTF_PROXY)
    add(up, "fd00::6", ifindex=0, flags=NTF_PROXY)
    for text in ("10.0.0.5", "fd00::5", "fd00::5"):
        delete(up, text, flags=NTF_PROXY)
    dump(up, NTF_PROXY)
    delete_proxies_of_no_device(up)


@pytest.mark.parametrize(("flags", "change"), [(0, IFF_UP), (0x80, 0x80)])
def test_neighbours_go_with_their_device(up: Twins, flags: int, change: int) -> None:
    for text in ("fd00::1", "fd00::2", "10.0.0.1"):
        add(up, text, nla(NDA_LLADDR, MAC), state=NUD_STALE)
    up.ask(nlmsg(RTM_NEWLINK, pack("=BxHiII", 0, 0, LO, flags, change)))
    dump(up)


@pytest.mark.parametrize("seed", range(3))
def test_anything(up: Twins, seed: int) -> None:
    random = Random(seed)
    pick = random.choice
    for _ in range(150):
        text = pick(("10.0.0.5", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fd00::1", "fd00::2", "::", "ff02::7"))
        attrs = [nla(NDA_LLADDR, pick((MAC, OTHER_MAC))), nla(NDA_PROTOCOL, pick((b"\0", b"\3")))]
        attrs.append(nla(NDA_FLAGS_EXT, pick((0, 0, EXT_MANAGED, EXT_VALIDATED))))
        kept = [attr for attr in attrs if random.random() < 0.6]
        flags = NLM_F_ACK | pick((0x600, 0x400, 0x500, 0, 0x100))
        add(up, text, *kept, how=flags, state=pick(STATES), flags=pick((0, 0, 0, NTF_USE, 0x10, NTF_ROUTER)))
        if random.random() < 0.3:
            delete(up, pick((text, "fd00::1", "0.0.0.0")))
        dump(up)


# --- time, which only the model turns ---------------------------------------------------------------------------------


def heard(twins: Twins) -> list[tuple[int, int]]:
    """The type and the state of each neighbour that was told of."""
    return [
        (kind, body[8])
        for _, data in twins.heard("model")
        for kind, _, _, _, body in messages(data)
        if kind in (28, 29)
    ]


@pytest.fixture
def model() -> Iterator[Twins]:
    """The model alone, since the running kernel would have to be waited for."""
    net = young_net()
    net.link_set("lo", up=True)
    with Twins(None, net) as alone:
        alone.heard("model")
        yield alone


def test_what_was_reachable_becomes_stale(model: Twins) -> None:
    add(model, "fd00::1", nla(NDA_LLADDR, MAC), state=NUD_REACHABLE)
    model.net.linux.advance(46)
    assert heard(model) == [(RTM_NEWNEIGH, NUD_REACHABLE), (RTM_NEWNEIGH, NUD_STALE)]


def test_who_does_not_answer_fails(model: Twins) -> None:
    add(model, "fd00::1", nla(NDA_LLADDR, MAC), state=NUD_DELAY)
    model.net.linux.advance(10)
    states = [(RTM_NEWNEIGH, state) for state in (NUD_DELAY, NUD_PROBE, NUD_FAILED)]
    assert heard(model) == states


def test_who_was_vouched_for_does_not(model: Twins) -> None:
    add(model, "fd00::1", nla(NDA_LLADDR, MAC), nla(NDA_FLAGS_EXT, EXT_VALIDATED), state=NUD_PROBE)
    model.net.linux.advance(10)
    assert heard(model) == [(RTM_NEWNEIGH, NUD_PROBE), (RTM_NEWNEIGH, NUD_STALE)]


# --- forwarding databases ---------------------------------------------------------------------------------------------

LLADDR: dict[str, bytes] = {
    "unicast": MAC, "group": bytes.fromhex("01005e000007"), "link-local": bytes.fromhex("0180c2000003"),
    "known group": bytes.fromhex("01005e000001"), "short": MAC[:5],
}  # fmt: skip


@pytest.mark.parametrize("nlmsg_type", [RTM_NEWNEIGH, RTM_DELNEIGH])
@pytest.mark.parametrize("ifindex", [0, LO, IFB, 77])
@pytest.mark.parametrize("flags", [0, NTF_SELF, NTF_MASTER])
def test_forwarding_databases(ifb: Twins, nlmsg_type: int, ifindex: int, flags: int) -> None:
    asks: list[Callable[[bytes], bytes]] = [
        lambda lladdr: nla(NDA_LLADDR, lladdr), lambda lladdr: b"",
        lambda lladdr: nla(NDA_LLADDR, lladdr) + nla(NDA_VLAN, b"\1\0"),
        lambda lladdr: nla(NDA_LLADDR, lladdr) + nla(NDA_VLAN, b"\0\0"),
        lambda lladdr: nla(NDA_LLADDR, lladdr) + nla(NDA_VLAN, b"\1"),
        lambda lladdr: nla(NDA_LLADDR, lladdr) + nla(NDA_FLAGS_EXT, 1),
    ]  # fmt: skip
    for lladdr in LLADDR.values():
        for attrs in asks:
            for state in (NUD_NONE, NUD_PERMANENT, NUD_REACHABLE):
                request = ndmsg(AF_BRIDGE, ifindex, state, flags) + attrs(lladdr)
                for more in (CREATE, NLM_F_ACK, NLM_F_ACK | NLM_F_BULK):
                    ifb.ask(nlmsg(nlmsg_type, request, more))
    ifb.ask(nlmsg(RTM_GETNEIGH, ndmsg(AF_BRIDGE, 0), NLM_F_DUMP))


def test_a_device_is_promiscuous_for_addresses_of_others(ifb: Twins) -> None:
    entry = ndmsg(AF_BRIDGE, IFB, NUD_PERMANENT, NTF_SELF) + nla(NDA_LLADDR, MAC)
    for nlmsg_type in (RTM_NEWNEIGH, RTM_NEWNEIGH, RTM_DELNEIGH, RTM_DELNEIGH):
        ifb.ask(nlmsg(nlmsg_type, entry))
        ifb.ask(nlmsg(18, pack("=BxHiII", 0, 0, IFB, 0, 0)))
        ifb.ask(nlmsg(RTM_GETNEIGH, ndmsg(AF_BRIDGE, 0), NLM_F_DUMP))
