"""30, 31, 39 and 86: what is refused, in which words, where the bad attribute is, and that it changes nothing."""

from collections.abc import Mapping
from ipaddress import ip_address
from itertools import combinations
from struct import Struct
from typing import Final

import pytest

from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_OPTIMISTIC,
    INFINITY_LIFE_TIME,
    NLM_F_ACK,
    NLM_F_BULK,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_SETLINK,
)
from tests.af_netlink.twins import nla, nlmsg
from tests.fidelity.asks import add, disable_ipv6, ipv6_sysctl, up
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import A1, A2
from tests.fidelity.scenarios.subject import Subject
from tests.fidelity.scenarios.wire import brief_answer

IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_ANYCAST, IFA_CACHEINFO, IFA_MULTICAST, IFA_FLAGS = range(1, 9)
IFA_RT_PRIORITY, IFA_TARGET_NETNSID, IFA_PROTO = 9, 10, 11
_IFADDRMSG: Final = Struct("=BBBBi")
INVALID = "Attribute failed policy validation @24"


def ifa(*attrs: bytes, family: int = AF_INET6, plen: int = 64, flags: int = 0, scope: int = 0, index: int = 1) -> bytes:
    """struct ifaddrmsg and what follows it."""
    return _IFADDRMSG.pack(family, plen, flags, scope, index) + b"".join(attrs)


def local(text: str) -> bytes:
    return nla(IFA_LOCAL, ip_address(text).packed)


def lifetimes(preferred: int, valid: int) -> bytes:
    return nla(IFA_CACHEINFO, Struct("=IIII").pack(preferred, valid, 0, 0))


def flags(value: int) -> bytes:
    return nla(IFA_FLAGS, value)


A = local(A2)
OK: Final = "ok"

# What is sent as RTM_NEWADDR to lo, which is up and has ::1 and 2001:db8::1, and the answer.
NEWADDR: Final[Mapping[str, tuple[bytes, str]]] = {
    "prefix length 129": (ifa(A, plen=129), "EINVAL ipv6: Invalid prefix length"),
    "prefix length 255": (ifa(A, plen=255), "EINVAL ipv6: Invalid prefix length"),
    "prefix length 0": (ifa(A, plen=0), OK),
    "16 bytes as an IPv4 address: the first 4 count": (ifa(A, family=AF_INET, plen=32), OK),
    "IPv4 with prefix length 33": (
        ifa(local("10.0.0.1"), family=AF_INET, plen=33), "EINVAL ipv4: Invalid prefix length",
    ),
    "4 bytes as an IPv6 address": (ifa(local("10.0.0.1")), f"ERANGE {INVALID}"),
    "15 bytes": (ifa(nla(IFA_LOCAL, bytes(15))), f"ERANGE {INVALID}"),
    "17 bytes: the first 16 count": (ifa(nla(IFA_LOCAL, ip_address(A2).packed + b"x")), OK),
    "20 bytes: the first 16 count": (ifa(nla(IFA_LOCAL, ip_address(A2).packed + b"abcd")), OK),
    "IFA_FLAGS of 2 bytes": (ifa(nla(IFA_FLAGS, b"\0\0"), A), f"ERANGE {INVALID}"),
    "IFA_CACHEINFO of 8 bytes": (ifa(nla(IFA_CACHEINFO, bytes(8)), A), f"ERANGE {INVALID}"),
    "IFA_RT_PRIORITY of 2 bytes": (ifa(nla(IFA_RT_PRIORITY, b"\1\0"), A), f"ERANGE {INVALID}"),
    "IFA_PROTO of no byte": (ifa(nla(IFA_PROTO, b""), A), f"ERANGE {INVALID} policy"),
    "IFA_FLAGS of 8 bytes": (ifa(nla(IFA_FLAGS, bytes(8)), A), OK),
    "IFA_CACHEINFO of 20 bytes": (ifa(nla(IFA_CACHEINFO, b"\xff" * 20), A), OK),
    "IFA_PROTO of 4 bytes": (ifa(nla(IFA_PROTO, bytes(4)), A), OK),
    **{f"attribute {number} is ignored": (ifa(nla(number, bytes(16)), A), OK)
       for number in (0, IFA_LABEL, IFA_BROADCAST, IFA_ANYCAST, IFA_MULTICAST, IFA_TARGET_NETNSID, 12, 200)},
    "IFA_ADDRESS alone": (ifa(nla(IFA_ADDRESS, ip_address(A2).packed)), OK),
    "both, and equal": (ifa(nla(IFA_ADDRESS, ip_address(A2).packed), A), OK),
    "neither": (ifa(nla(IFA_PROTO, b"\1")), "EINVAL -"),
    "no attribute at all": (ifa(), "EINVAL -"),
    ":: with prefix length 129": (ifa(local("::"), plen=129), "EINVAL ipv6: Invalid prefix length"),
    "::": (ifa(local("::")), "EADDRNOTAVAIL ipv6: Invalid address"),
    "device 9999": (ifa(A, index=9999), "ENODEV ipv6: Unable to find the interface"),
    "device 0": (ifa(A, index=0), "ENODEV ipv6: Unable to find the interface"),
    "device -1": (ifa(A, index=-1), "ENODEV ipv6: Unable to find the interface"),
    "there already": (ifa(local("::1"), plen=128), "EEXIST ipv6: address already assigned"),
    "there already, under another prefix length": (ifa(local("::1"), plen=64), "EEXIST ipv6: address already assigned"),
    **{f"{text} on lo": (ifa(local(text), plen=128), OK)
       for text in ("::2", "::1.2.3.4", "::ffff:1.2.3.4", "fe80::1", "fec0::1", "fc00::1")},
    "a multicast address": (
        ifa(local("ff02::1234")),
        'EADDRNOTAVAIL ipv6: Cannot assign multicast address without "IFA_F_MCAUTOJOIN" flag',
    ),
    "a multicast address with MCAUTOJOIN": (ifa(local("ff02::1234"), flags(IFA_F_MCAUTOJOIN)), OK),
    "a unicast address with MCAUTOJOIN": (ifa(A, flags(IFA_F_MCAUTOJOIN)), "EINVAL ipv6: Multicast auto join failed"),
    "valid for 0 s": (ifa(A, lifetimes(0, 0)), "EINVAL ipv6: address lifetime invalid"),
    "preferred for longer than valid": (ifa(A, lifetimes(20, 10)), "EINVAL ipv6: address lifetime invalid"),
    "preferred for ever and valid for 10 s": (
        ifa(A, lifetimes(INFINITY_LIFE_TIME, 10)), "EINVAL ipv6: address lifetime invalid",
    ),
    "valid for ever and preferred for 0 s": (ifa(A, lifetimes(0, INFINITY_LIFE_TIME)), OK),
    "valid for ever and preferred for 10 s": (ifa(A, lifetimes(10, INFINITY_LIFE_TIME)), OK),
    "the longest finite life": (ifa(A, lifetimes(INFINITY_LIFE_TIME - 1, INFINITY_LIFE_TIME - 1)), OK),
    **{f"MANAGETEMPADDR with prefix length {length}": (
        ifa(A, flags(IFA_F_MANAGETEMPADDR), plen=length),
        'EINVAL ipv6: address with "mngtmpaddr" flag must have a prefix length of 64',
    ) for length in (63, 128)},
    **{f"flags {value:#x}": (ifa(A, flags(value)), OK)
       for value in (0x01, 0x02, 0x08, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x800, 0xFFFFF000)},
    "OPTIMISTIC": (ifa(A, flags(IFA_F_OPTIMISTIC)), OK),
    "NODAD and OPTIMISTIC": (ifa(A, flags(IFA_F_NODAD | IFA_F_OPTIMISTIC)), OK),
    "any scope": (ifa(A, scope=77), OK),
    "a header too short": (ifa()[:7], "EINVAL Invalid header length"),
    "3 bytes behind the attributes": (ifa(A) + b"abc", f"{OK} bytes leftover after parsing attributes"),
    "an attribute that claims more than there is": (
        ifa(A) + Struct("=HH").pack(100, 1), f"{OK} bytes leftover after parsing attributes",
    ),
    "no payload at all": (b"", OK),
    "family 77": (ifa(A, family=77), "EOPNOTSUPP -"),
    "family 0": (ifa(A, family=0), "EOPNOTSUPP -"),
}  # fmt: skip


def addressed(subject: Subject) -> Subject:
    """With lo up and an address beside ::1."""
    subject.ask(up(), add(f"{A1}/64"))
    return subject


@scenario(30)
@pytest.mark.parametrize(("payload", "expected"), NEWADDR.values(), ids=NEWADDR.keys())
def test_a_fault_is_named_and_changes_nothing(subject: Subject, payload: bytes, expected: str) -> None:
    addressed(subject)
    before = subject.holds()

    assert brief_answer(subject.port(), nlmsg(RTM_NEWADDR, payload, NLM_F_ACK | NLM_F_CREATE)) == expected
    subject.wait(0)
    assert (subject.holds() != before) == (expected.startswith(OK) and bool(payload))


# --- two faults at once ----------------------------------------------------------------------------------------------

# What is wrong, in the order in which it is looked for, and the answer; and what has to be as it is for that.
FAULTS: Final[Mapping[str, tuple[dict[str, object], str]]] = {
    "policy": ({"proto": b""}, f"ERANGE {INVALID} policy"),
    "no address": ({"address": None}, "EINVAL -"),
    "lifetime": ({"lifetimes": (0, 0)}, "EINVAL ipv6: address lifetime invalid"),
    "device": ({"index": 9999}, "ENODEV ipv6: Unable to find the interface"),
    "exclusive flags": (
        {"flags": IFA_F_NODAD | IFA_F_OPTIMISTIC}, "EINVAL IFA_F_NODAD and IFA_F_OPTIMISTIC are mutually exclusive",
    ),
    "there already": ({"address": "::1", "disabled": False}, "EEXIST ipv6: address already assigned"),
    "prefix length": ({"plen": 129}, "EINVAL ipv6: Invalid prefix length"),
    "temporary": (
        {"flags": IFA_F_MANAGETEMPADDR}, 'EINVAL ipv6: address with "mngtmpaddr" flag must have a prefix length of 64',
    ),
    "disabled": ({"disabled": True}, "EACCES ipv6: IPv6 is disabled on this device"),
    "join": ({"flags": IFA_F_MCAUTOJOIN, "joins": False}, "EINVAL ipv6: Multicast auto join failed"),
    "any": ({"address": "::"}, "EADDRNOTAVAIL ipv6: Invalid address"),
    "multicast": (
        {"address": "ff02::1234", "joins": True},
        'EADDRNOTAVAIL ipv6: Cannot assign multicast address without "IFA_F_MCAUTOJOIN" flag',
    ),
}  # fmt: skip


def together(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object] | None:
    """Both faults in one request, if there can be such a one."""
    if any(one[key] != other[key] for key in one.keys() & other.keys() - {"flags"}):
        return None
    bits = [it for it in (one.get("flags", 0), other.get("flags", 0)) if isinstance(it, int)]
    return {**one, **other, "flags": bits[0] | bits[1]}


PAIRS: Final = [
    pytest.param(both, answer, id=f"{first} before {second}")
    for (first, (one, answer)), (second, (other, _)) in combinations(FAULTS.items(), 2)
    if (both := together(one, other)) is not None
]


def faulty(what: Mapping[str, object]) -> bytes:
    """A request with these faults; without any, it would be served."""
    text, pair, bits = what.get("address", A2), what.get("lifetimes"), what.get("flags")
    plen, index, proto = what.get("plen", 63), what.get("index", 1), what.get("proto")
    assert isinstance(plen, int)
    assert isinstance(index, int)
    attrs = [nla(IFA_PROTO, proto)] if isinstance(proto, bytes) else []
    attrs += [local(text)] if isinstance(text, str) else []
    attrs += [lifetimes(*pair)] if isinstance(pair, tuple) else []
    attrs += [flags(bits)] if isinstance(bits, int) else []
    return ifa(*attrs, plen=plen, index=index)


@scenario(31)
@pytest.mark.parametrize(("what", "expected"), PAIRS)
def test_the_first_check_wins(subject: Subject, what: Mapping[str, object], expected: str) -> None:
    subject.ask(up(), ipv6_sysctl("optimistic_dad", 1), *[disable_ipv6(1)] * bool(what.get("disabled")))

    assert brief_answer(subject.port(), nlmsg(RTM_NEWADDR, faulty(what))) == expected


@scenario(31)
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_alone_is_one(subject: Subject, name: str) -> None:
    what, expected = FAULTS[name]
    subject.ask(up(), ipv6_sysctl("optimistic_dad", 1), *[disable_ipv6(1)] * bool(what.get("disabled")))

    port = subject.port()

    assert brief_answer(port, nlmsg(RTM_NEWADDR, faulty(what))) == expected
    if not what.get("disabled"):
        assert brief_answer(port, nlmsg(RTM_NEWADDR, faulty({}))) == OK


# --- RTM_DELADDR -----------------------------------------------------------------------------------------------------

ONE: Final = local(A1)
NOT_FOUND = "EADDRNOTAVAIL ipv6: address not found"
# What is sent as RTM_DELADDR to lo, which is up and has ::1, 2001:db8::1/64 and 2001:db8::2/64 with a peer.
DELADDR: Final[Mapping[str, tuple[bytes, str]]] = {
    "an address": (ifa(ONE), OK),
    "::1": (ifa(local("::1"), plen=128), OK),
    "a header too short": (ifa()[:7], "EINVAL Invalid header length"),
    "15 bytes": (ifa(nla(IFA_LOCAL, bytes(15))), f"ERANGE {INVALID}"),
    "IFA_PROTO of no byte": (ifa(nla(IFA_PROTO, b""), ONE), f"ERANGE {INVALID} policy"),
    "no address": (ifa(), "EINVAL -"),
    "prefix length 129": (ifa(ONE, plen=129), "EINVAL ipv6: Invalid prefix length"),
    "prefix length 129 and device 9999": (ifa(ONE, plen=129, index=9999), "EINVAL ipv6: Invalid prefix length"),
    "no address and prefix length 129": (ifa(plen=129), "EINVAL -"),
    "device 9999": (ifa(ONE, index=9999), "ENODEV ipv6: Unable to find the interface"),
    "device 0": (ifa(ONE, index=0), "ENODEV ipv6: Unable to find the interface"),
    "another address": (ifa(local("2001:db8::3")), NOT_FOUND),
    "another prefix length": (ifa(ONE, plen=63), NOT_FOUND),
    "IFA_ADDRESS alone": (ifa(nla(IFA_ADDRESS, ip_address(A1).packed)), OK),
    "IFA_LOCAL wins over IFA_ADDRESS": (ifa(nla(IFA_ADDRESS, ip_address("2001:db8::3").packed), ONE), OK),
    "the peer's address alone": (ifa(nla(IFA_ADDRESS, ip_address("2001:db8:2::9").packed)), NOT_FOUND),
    "one's own without the peer's": (ifa(local(A2)), OK),
    "family 0": (ifa(ONE, family=0), "EOPNOTSUPP -"),
}  # fmt: skip


def with_peer(subject: Subject) -> Subject:
    addressed(subject).ask(add(f"{A2}/64", peer="2001:db8:2::9"))
    return subject


@scenario(39)
@pytest.mark.parametrize(("payload", "expected"), DELADDR.values(), ids=DELADDR.keys())
def test_a_deletion_is_refused_or_not(subject: Subject, payload: bytes, expected: str) -> None:
    before = with_peer(subject).holds()

    assert brief_answer(subject.port(), nlmsg(RTM_DELADDR, payload)) == expected
    subject.wait(0)
    assert (subject.holds() != before) == (expected == OK)


@scenario(39)
def test_a_bulk_deletion_is_not_known(subject: Subject) -> None:
    port = addressed(subject).port()
    bulk, other = NLM_F_ACK | NLM_F_BULK, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE

    assert brief_answer(port, nlmsg(RTM_DELADDR, ifa(ONE), bulk)) == "EOPNOTSUPP Bulk delete is not supported"
    assert brief_answer(port, nlmsg(RTM_DELADDR, ifa(ONE), other)) == OK


@scenario(39)
def test_while_disabled_there_is_nothing_to_delete(subject: Subject) -> None:
    addressed(subject).ask(disable_ipv6(1))

    assert brief_answer(subject.port(), nlmsg(RTM_DELADDR, ifa(ONE))) == NOT_FOUND


# --- without privilege -----------------------------------------------------------------------------------------------

LINK: Final = Struct("=BBHiII").pack(0, 0, 0, 1, 1, 1)
# A request, and what somebody is told who may not change anything.
UNPRIVILEGED: Final[Mapping[str, tuple[bytes, str]]] = {
    "RTM_NEWADDR": (nlmsg(RTM_NEWADDR, ifa(A)), "EPERM -"),
    "RTM_NEWADDR of a family that is none": (nlmsg(RTM_NEWADDR, ifa(A, family=77)), "EPERM -"),
    "RTM_NEWADDR, too short": (nlmsg(RTM_NEWADDR, ifa()[:2]), "EPERM -"),
    "RTM_NEWADDR, empty": (nlmsg(RTM_NEWADDR, b""), OK),
    "RTM_DELADDR": (nlmsg(RTM_DELADDR, ifa(ONE)), "EPERM -"),
    "RTM_NEWLINK": (nlmsg(RTM_NEWLINK, LINK), "EPERM -"),
    "RTM_SETLINK": (nlmsg(RTM_SETLINK, LINK), "EPERM -"),
    "RTM_DELLINK": (nlmsg(RTM_DELLINK, LINK), "EPERM -"),
    "RTM_NEWROUTE": (nlmsg(RTM_NEWROUTE, bytes(12)), "EPERM -"),
    "RTM_GETADDR": (nlmsg(RTM_GETADDR, ifa(ONE)), "ok 1 replies"),
    "RTM_GETLINK": (nlmsg(RTM_GETLINK, LINK), "ok 1 replies"),
    "a type that is none": (nlmsg(500, bytes(4)), "EOPNOTSUPP -"),
}  # fmt: skip


@pytest.mark.usefixtures("by_root")
@scenario(86)
@pytest.mark.parametrize(("data", "expected"), UNPRIVILEGED.values(), ids=UNPRIVILEGED.keys())
def test_without_privilege_one_may_ask_and_no_more(subject: Subject, data: bytes, expected: str) -> None:
    before = addressed(subject).holds()

    assert brief_answer(subject.port(admin=False), data) == expected
    assert subject.holds() == before
