"""RTM_NEWADDR and RTM_DELADDR for IPv6: what both kernels refuse, in which order, and what they make of the rest."""

from dataclasses import replace
from functools import partial
from ipaddress import ip_address

import pytest

from addrsvc.errors import KernelError
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, Message
from addrsvc.uapi import (
    AF_INET,
    AF_UNSPEC,
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    NLM_F_APPEND,
    NLM_F_BULK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELADDR,
)
from tests.fidelity.asks import FOREVER, LO, add, delete, disable_ipv6, down, ipv6_sysctl, mtu, up
from tests.fidelity.compare import first_difference
from tests.fidelity.notation import holds, refusal

A1, A2 = "2001:db8::1", "2001:db8::2"
RAW = ip_address(A1).packed
PEER = ip_address("2001:db8::7").packed
GROUP = "ff02::1234"
AGAIN = NLM_F_CREATE | NLM_F_REPLACE


def new(
    text: str = A1, plen: int = 64, flags: int | None = None, *, valid: int | None = None, pref: int = 0
) -> AddrMsg:
    """As ip(8) asks: LOCAL and ADDRESS both."""
    packed = ip_address(text).packed
    return AddrMsg(
        nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, ifa_index=LO, ifa_prefixlen=plen, local=packed, address=packed,
        flags=flags, cacheinfo=None if valid is None else IfaCacheinfo(pref, valid),
    )  # fmt: skip


bare = partial(AddrMsg, ifa_index=LO)
gone = partial(AddrMsg, RTM_DELADDR, ifa_index=LO, ifa_prefixlen=64)


# --- refusals, on both kernels --------------------------------------------------------------------------------------

POLICY = "ERANGE Attribute failed policy validation"
LENGTH = "EINVAL ipv6: Invalid prefix length"
LIFETIME = "EINVAL ipv6: address lifetime invalid"
NO_DEVICE = "ENODEV ipv6: Unable to find the interface"
PRESENT = "EEXIST ipv6: address already assigned"
TEMP = 'EINVAL ipv6: address with "mngtmpaddr" flag must have a prefix length of 64'
MULTICAST = 'EADDRNOTAVAIL ipv6: Cannot assign multicast address without "IFA_F_MCAUTOJOIN" flag'
NOT_THERE = "EADDRNOTAVAIL ipv6: address not found"
NOT_SUPPORTED = "EOPNOTSUPP -"

REFUSALS: list[tuple[str, Message, str]] = [
    ("neither LOCAL nor ADDRESS", bare(), "EINVAL -"),
    ("an address of 4 bytes", bare(local=RAW[:4]), POLICY),
    ("an address of 15 bytes", bare(address=RAW[:15]), POLICY),
    ("prefix length 129", new(plen=129), LENGTH),
    ("prefix length 255", new(plen=255), LENGTH),
    ("valid 0", new(valid=0), LIFETIME),
    ("preferred above valid", new(valid=10, pref=20), LIFETIME),
    ("preferred for ever, valid not", new(valid=10, pref=FOREVER), LIFETIME),
    ("lifetime before device", replace(new(valid=0), ifa_index=9999), LIFETIME),
    ("lifetime before prefix length", new(plen=129, valid=0), LIFETIME),
    ("device before prefix length", replace(new(plen=129), ifa_index=9999), NO_DEVICE),
    ("index 0", replace(new(), ifa_index=0), NO_DEVICE),
    ("index -1", replace(new(), ifa_index=-1), NO_DEVICE),
    ("no address, prefix length 129", new("::", 129), LENGTH),
    ("no address", new("::"), "EADDRNOTAVAIL ipv6: Invalid address"),
    ("a multicast address", new(GROUP), MULTICAST),
    ("MCAUTOJOIN of a unicast address", new(A1, flags=IFA_F_MCAUTOJOIN), "EINVAL ipv6: Multicast auto join failed"),
    ("MANAGETEMPADDR on /63", new(plen=63, flags=IFA_F_MANAGETEMPADDR), TEMP),
    ("MANAGETEMPADDR on /128", new(plen=128, flags=IFA_F_MANAGETEMPADDR), TEMP),
    ("::1 that is there", new("::1", 128), PRESENT),
    ("::1 of another prefix length", new("::1", 64), PRESENT),
    ("AF_INET, prefix length 33", bare(ifa_family=AF_INET, ifa_prefixlen=33, local=RAW),
        "EINVAL ipv4: Invalid prefix length"),
    ("AF_INET, 3 bytes", bare(ifa_family=AF_INET, ifa_prefixlen=8, local=RAW[:3]), POLICY),
    ("AF_INET without LOCAL", bare(ifa_family=AF_INET, ifa_prefixlen=8, address=RAW),
        "EINVAL ipv4: Local address is not supplied"),
    ("AF_INET, no device", bare(ifa_family=AF_INET, ifa_prefixlen=8, ifa_index=99, local=RAW),
        "ENODEV ipv4: Device not found"),
    *((f"family {family}", bare(ifa_family=family, local=RAW), NOT_SUPPORTED) for family in (AF_UNSPEC, 77, 255)),
    ("delete: neither LOCAL nor ADDRESS", gone(), "EINVAL -"),
    ("delete: 15 bytes", gone(local=RAW[:15]), POLICY),
    ("delete: prefix length before device", gone(ifa_index=99, ifa_prefixlen=129, local=RAW), LENGTH),
    ("delete: no device", gone(ifa_index=99, local=RAW), NO_DEVICE),
    ("delete: not there", gone(local=RAW), NOT_THERE),
    ("delete: another prefix length", gone(local=ip_address("::1").packed), NOT_THERE),
    ("delete: LOCAL wins over ADDRESS", gone(local=RAW, address=bytes(15) + b"\1", ifa_prefixlen=128), NOT_THERE),
    ("delete: in bulk", replace(gone(local=RAW), nlmsg_flags=NLM_F_BULK),
        "EOPNOTSUPP Bulk delete is not supported"),
    ("delete: family 77", gone(ifa_family=77, local=RAW), NOT_SUPPORTED),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "answer"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_both_kernels_refuse_with_the_same_errno_and_text_and_change_nothing(
    kernel: Kernel, ask: Message, answer: str
) -> None:
    kernel.request(up())
    before = holds(kernel.dump())

    assert answer_to(kernel, ask) == answer
    assert holds(kernel.dump()) == before


def answer_to(kernel: Kernel, ask: Message) -> str:
    try:
        kernel.request(ask)
    except KernelError as error:
        return refusal(error)
    return ""


LEAD_UPS: list[tuple[str, tuple[Message, ...], Message, str]] = [
    *((f"present, flags {nlm:#x}", (new(),), replace(new(), nlmsg_flags=nlm), PRESENT) for nlm in (
        0, NLM_F_CREATE, NLM_F_EXCL, NLM_F_CREATE | NLM_F_EXCL, NLM_F_APPEND, NLM_F_CREATE | NLM_F_APPEND,
        NLM_F_REPLACE | NLM_F_EXCL)),
    *((f"present, flags {nlm:#x}", (new(),), replace(new(), nlmsg_flags=nlm), "") for nlm in (NLM_F_REPLACE, AGAIN)),
    ("absent, no CREATE", (), replace(new(), nlmsg_flags=0), ""),
    ("absent, REPLACE only", (), replace(new(), nlmsg_flags=NLM_F_REPLACE), ""),
    ("present, REPLACE with prefix length 129", (new(),), replace(new(plen=129), nlmsg_flags=AGAIN), ""),
    ("present, REPLACE with MANAGETEMPADDR, not /64", (new(plen=128),),
        replace(new(flags=IFA_F_MANAGETEMPADDR), nlmsg_flags=AGAIN), "EINVAL -"),
    ("disabled, prefix length first", (disable_ipv6(1),), new(plen=129), LENGTH),
    ("disabled", (disable_ipv6(1),), new(), "EACCES ipv6: IPv6 is disabled on this device"),
    ("disabled, no address first", (disable_ipv6(1),), new("::"), "EACCES ipv6: IPv6 is disabled on this device"),
    ("delete while disabled", (disable_ipv6(1),), gone(local=RAW), NOT_THERE),
    ("NODAD and OPTIMISTIC", (), new(flags=IFA_F_NODAD | IFA_F_OPTIMISTIC), ""),
    ("NODAD and OPTIMISTIC, optimistic_dad on lo", (ipv6_sysctl("optimistic_dad", 1),),
        new(flags=IFA_F_NODAD | IFA_F_OPTIMISTIC),
        "EINVAL IFA_F_NODAD and IFA_F_OPTIMISTIC are mutually exclusive"),
    ("NODAD and OPTIMISTIC, optimistic_dad on all", (ipv6_sysctl("optimistic_dad", 1, "all"),),
        new(flags=IFA_F_NODAD | IFA_F_OPTIMISTIC),
        "EINVAL IFA_F_NODAD and IFA_F_OPTIMISTIC are mutually exclusive"),
    ("the peer is not matched", (replace(new(), address=PEER),), gone(address=PEER), NOT_THERE),
    ("the peer may be named", (replace(new(), address=PEER),), gone(local=RAW, address=PEER), ""),
    ("delete while down", (new(), down()), gone(local=RAW), NOT_THERE),
    ("MCAUTOJOIN twice", (new(GROUP, flags=IFA_F_MCAUTOJOIN),), new(GROUP, flags=IFA_F_MCAUTOJOIN), PRESENT),
]  # fmt: skip


@pytest.mark.parametrize(("lead_up", "ask", "answer"), [r[1:] for r in LEAD_UPS], ids=[r[0] for r in LEAD_UPS])
def test_both_kernels_answer_alike_after_a_lead_up(
    kernel: Kernel, lead_up: tuple[Message, ...], ask: Message, answer: str
) -> None:
    for each in (up(), *lead_up):
        kernel.request(each)

    assert answer_to(kernel, ask) == answer


# --- what they make of it, in every message and field -----------------------------------------------------------------

KEPT = (IFA_F_HOMEADDRESS, IFA_F_NOPREFIXROUTE, IFA_F_MANAGETEMPADDR, IFA_F_NODAD)
IGNORED = (IFA_F_TENTATIVE, IFA_F_DEPRECATED, IFA_F_DADFAILED, IFA_F_TEMPORARY, IFA_F_PERMANENT, 0xFFFFF000, 0x800)
SCRIPTS: dict[str, tuple[Message, ...]] = {
    **{f"flags {flags:#x} are kept": (up(), new(flags=flags)) for flags in KEPT},
    **{f"flags {flags:#x} are ignored": (up(), new(flags=flags)) for flags in IGNORED},
    "the attribute's flags win": (up(), replace(new(flags=IFA_F_NOPREFIXROUTE), ifa_flags=IFA_F_NODAD),
        replace(new(A2), ifa_flags=IFA_F_NODAD)),
    "prefix length 0 is a default route": (up(), new(plen=0), gone(ifa_prefixlen=0, local=RAW)),
    "17 and 20 bytes": (up(), bare(local=RAW + b"x"), bare(address=PEER + b"abcd")),
    "only LOCAL, only ADDRESS": (up(), bare(local=RAW), bare(address=PEER)),
    "a peer has a route of its own": (up(), replace(new(), address=PEER), gone(local=RAW, address=PEER)),
    "16 bytes of IPv4 are 4": (up(), bare(ifa_family=AF_INET, ifa_prefixlen=32, local=RAW)),
    "all scopes": (up(), *map(new, ("::2", "::1.2.3.4", "::ffff:1.2.3.4", "fe80::1", "fec0::1", "fc00::1"))),
    "a group that is joined": (up(), new(GROUP, flags=IFA_F_MCAUTOJOIN), gone(local=ip_address(GROUP).packed)),
    "all-nodes, which is joined already": (up(), new("ff02::1", flags=IFA_F_MCAUTOJOIN)),
    "any ifa_scope": (up(), replace(new(), ifa_scope=77)),
    "any protocol": (up(), *(replace(new(f"2001:db8::1:{p}"), proto=p) for p in (0, 1, 2, 3, 255))),
    "a metric": (up(), replace(new(), rt_priority=77), replace(new(A2), rt_priority=88), gone(local=RAW)),
    "preferred 0, valid for ever": (up(), new(valid=FOREVER, pref=0)),
    "preferred 10,000, valid for ever": (up(), new(valid=FOREVER, pref=10_000)),
    "the longest finite lifetimes": (up(), new(valid=0xFFFFFFFE, pref=0xFFFFFFFE)),
    "OPTIMISTIC without leave": (up(), new(flags=IFA_F_OPTIMISTIC)),
    "OPTIMISTIC with leave": (up(), ipv6_sysctl("optimistic_dad", 1), new(flags=IFA_F_OPTIMISTIC)),
    "a small mtu": (mtu(1000), new(), up(), replace(new(), nlmsg_flags=AGAIN)),
    "modify: flags": (up(), new(), *(replace(new(flags=flags), nlmsg_flags=AGAIN)
        for flags in (IFA_F_NOPREFIXROUTE, None, IFA_F_MANAGETEMPADDR, IFA_F_HOMEADDRESS | IFA_F_NODAD))),
    "modify: metric and protocol": (up(), new(), replace(new(), nlmsg_flags=AGAIN, rt_priority=5),
        replace(new(), nlmsg_flags=AGAIN, proto=9), replace(new(), nlmsg_flags=AGAIN)),
    "modify: finite to finite to for ever to finite": (up(), new(valid=20_000, pref=10_000),
        replace(new(valid=30_000, pref=20_000), nlmsg_flags=AGAIN), replace(new(), nlmsg_flags=AGAIN),
        replace(new(valid=30_000, pref=20_000), nlmsg_flags=AGAIN)),
    "modify: peers": (up(), new(), *(replace(new(), nlmsg_flags=AGAIN, address=peer)
        for peer in (PEER, PEER[:-1] + b"\x08", RAW))),
    "modify: a bad lifetime": (up(), new(), replace(new(valid=0), nlmsg_flags=AGAIN)),
    "modify: the kernel's own ::1": (up(), replace(new("::1", 128), nlmsg_flags=AGAIN, proto=1),
        replace(new("::1", 64, IFA_F_NOPREFIXROUTE), nlmsg_flags=AGAIN)),
    "add and delete while down": (new("::1", 128), new(), gone(local=RAW), delete("::1/128"), up()),
    "IPv4 and IPv6 of one number": (up(), add("10.0.0.1/24"), add("::10.0.0.1/120"), delete("10.0.0.1/24")),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_both_kernels_make_the_same_of_it(netns: NetNs, script: tuple[Message, ...]) -> None:
    assert str(first_difference(script) or "") == ""
