"""RTM_*ADDR, RTM_GETMULTICAST and RTM_GETANYCAST: what is stated here of the model, and byte for byte of both kernels.

The running kernel, where it can be had, is sent the same datagrams; `Twins` compares every answer and every
notification, so that a row need only state what a reader wants to know of it.
"""

import errno
import random
import time
from collections.abc import Sequence
from ipaddress import ip_address
from itertools import product
from struct import Struct

import pytest

from addrsvc import Linux
from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IFA_ADDRESS,
    IFA_ANYCAST,
    IFA_BROADCAST,
    IFA_CACHEINFO,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_SECONDARY,
    IFA_FLAGS,
    IFA_LABEL,
    IFA_LOCAL,
    IFA_MULTICAST,
    IFA_PROTO,
    IFA_RT_PRIORITY,
    IFA_TARGET_NETNSID,
    INFINITY_LIFE_TIME,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_BULK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_DUMP_FILTERED,
    NLM_F_DUMP_INTR,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_MULTI,
    NLM_F_REPLACE,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_GETANYCAST,
    RTM_GETMULTICAST,
    RTM_NEWADDR,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
)
from tests.af_netlink.test_link import make
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

IFADDRMSG = Struct("=BBBBi")
LO, NO_DEVICE = 1, 9999
FOREVER = INFINITY_LIFE_TIME
REPLACE = NLM_F_ACK | NLM_F_REPLACE


# --- requests ---------------------------------------------------------------------------------------------------------


def packed(address: str) -> bytes:
    return ip_address(address).packed


def local(address: str) -> bytes:
    return nla(IFA_LOCAL, packed(address))


def peer(address: str) -> bytes:
    return nla(IFA_ADDRESS, packed(address))


def lifetimes(preferred: int, valid: int) -> bytes:
    return nla(IFA_CACHEINFO, Struct("=IIII").pack(preferred, valid, 0, 0))


def body(attrs: bytes, family: int, plen: int = 0, flags: int = 0, scope: int = 0, index: int = LO) -> bytes:
    return IFADDRMSG.pack(family, plen, flags, scope, index) + attrs


def new6(attrs: bytes, plen: int = 64, *, nlm: int = NLM_F_ACK, flags: int = 0, index: int = LO) -> bytes:
    return nlmsg(RTM_NEWADDR, body(attrs, AF_INET6, plen, flags, index=index), nlm)


def del6(attrs: bytes, plen: int = 64, *, nlm: int = NLM_F_ACK, index: int = LO) -> bytes:
    return nlmsg(RTM_DELADDR, body(attrs, AF_INET6, plen, index=index), nlm)


def new4(attrs: bytes, plen: int = 24, *, nlm: int = NLM_F_ACK, scope: int = 0, index: int = LO) -> bytes:
    return nlmsg(RTM_NEWADDR, body(attrs, AF_INET, plen, scope=scope, index=index), nlm)


def del4(attrs: bytes, plen: int = 24, *, nlm: int = NLM_F_ACK, index: int = LO) -> bytes:
    return nlmsg(RTM_DELADDR, body(attrs, AF_INET, plen, index=index), nlm)


def get(
    attrs: bytes = b"", *, kind: int = RTM_GETADDR, family: int = AF_INET6, nlm: int = NLM_F_ACK, **header: int
) -> bytes:
    return nlmsg(kind, body(attrs, family, **{"index": 0, **header}), nlm)


def dump(family: int = AF_UNSPEC, *, kind: int = RTM_GETADDR, attrs: bytes = b"", **header: int) -> bytes:
    return get(attrs, kind=kind, family=family, nlm=NLM_F_DUMP, **header)


DUMPS = (
    dump(),
    dump(AF_INET6, kind=RTM_GETMULTICAST),
    dump(AF_INET, kind=RTM_GETMULTICAST),
    dump(AF_INET6, kind=RTM_GETANYCAST),
)  # fmt: skip


# --- answers ----------------------------------------------------------------------------------------------------------


def attributes(data: bytes) -> dict[int, bytes]:
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = Struct("=HH").unpack_from(data, offset)
        found[kind] = data[offset + 4 : offset + length]
        offset += length + 3 & ~3
    return found


def outcome(answers: Sequence[bytes]) -> str:
    """The errno and the words of what ends an answer: "ok", "EINVAL: ipv6: Invalid prefix length"."""
    kind, flags, _, _, ending = messages(answers[-1])[-1]
    number = -Struct("=i").unpack_from(ending)[0]
    tlvs = attributes(ending[20 if kind == NLMSG_ERROR else 4 :]) if flags & 0x200 else {}
    words = [{0: "ok", errno.EOPNOTSUPP: "EOPNOTSUPP"}.get(number) or errno.errorcode[number]]
    if 1 in tlvs:
        words.append(tlvs[1].rstrip(b"\0").decode())
    return ": ".join(words)


def told(answers: Sequence[bytes]) -> list[tuple[str, int]]:
    """The addresses, groups or anycast addresses of an answer, each with its whole flags."""
    found = []
    for kind, _, _, _, data in (message for answer in answers for message in messages(answer)):
        if kind in (NLMSG_DONE, NLMSG_ERROR):
            continue
        attrs = attributes(data[8:])
        address = next(attrs[a] for a in (IFA_LOCAL, IFA_ADDRESS, IFA_MULTICAST, IFA_ANYCAST) if a in attrs)
        flags = int.from_bytes(attrs[IFA_FLAGS], "little") if IFA_FLAGS in attrs else data[2]
        found.append((f"{ip_address(address)}/{data[1]}", flags))
    return found


def addresses(sides: Twins, family: int = AF_UNSPEC) -> list[str]:
    return [address for address, _ in told(sides.ask(dump(family)))]


def compare_state(sides: Twins) -> None:
    for request in DUMPS:
        sides.ask(request)


# --- RTM_NEWADDR, IPv6 ------------------------------------------------------------------------------------------------

A = local("2001:db8::a")
LOST = local("2001:db8::10")

REFUSED_NEW6 = [
    ("prefix length 129", A, 129, LO, "EINVAL: ipv6: Invalid prefix length"),
    ("prefix length 255", A, 255, LO, "EINVAL: ipv6: Invalid prefix length"),
    ("no address", nla(IFA_FLAGS, 0), 64, LO, "EINVAL"),
    ("a short address", nla(IFA_LOCAL, bytes(15)), 64, LO, "ERANGE: Attribute failed policy validation"),
    ("an IPv4 address", local("10.0.0.1"), 64, LO, "ERANGE: Attribute failed policy validation"),
    ("short flags", A + nla(IFA_FLAGS, b"ab"), 64, LO, "ERANGE: Attribute failed policy validation"),
    ("a short cacheinfo", A + nla(IFA_CACHEINFO, bytes(8)), 64, LO, "ERANGE: Attribute failed policy validation"),
    ("a short metric", A + nla(IFA_RT_PRIORITY, b"ab"), 64, LO, "ERANGE: Attribute failed policy validation"),
    ("an empty protocol", A + nla(IFA_PROTO), 64, LO, "ERANGE: Attribute failed policy validation"),
    ("a short netnsid", A + nla(IFA_TARGET_NETNSID, b"ab"), 64, LO, "ERANGE: Attribute failed policy validation"),
    ("no device", A, 64, NO_DEVICE, "ENODEV: ipv6: Unable to find the interface"),
    ("device 0", A, 64, 0, "ENODEV: ipv6: Unable to find the interface"),
    ("device -1", A, 64, -1, "ENODEV: ipv6: Unable to find the interface"),
    ("no device before the prefix length", A, 129, NO_DEVICE, "ENODEV: ipv6: Unable to find the interface"),
    ("lifetime 0", A + lifetimes(0, 0), 64, LO, "EINVAL: ipv6: address lifetime invalid"),
    ("more preferred than valid", A + lifetimes(11, 10), 64, LO, "EINVAL: ipv6: address lifetime invalid"),
    ("preferred for ever but not valid", A + lifetimes(FOREVER, 9), 64, LO, "EINVAL: ipv6: address lifetime invalid"),
    ("lifetime before the device", A + lifetimes(0, 0), 64, NO_DEVICE, "EINVAL: ipv6: address lifetime invalid"),
    ("lifetime before the prefix length", A + lifetimes(0, 0), 129, LO, "EINVAL: ipv6: address lifetime invalid"),
    ("no address before lifetime", lifetimes(0, 0), 64, LO, "EINVAL"),
    ("::1 again", local("::1"), 128, LO, "EEXIST: ipv6: address already assigned"),
    ("::1 with another prefix length", local("::1"), 64, LO, "EEXIST: ipv6: address already assigned"),
    ("::1 with an impossible prefix length", local("::1"), 129, LO, "EEXIST: ipv6: address already assigned"),
    ("::", local("::"), 64, LO, "EADDRNOTAVAIL: ipv6: Invalid address"),
    ("the prefix length before ::", local("::"), 129, LO, "EINVAL: ipv6: Invalid prefix length"),
    (
        "a multicast address", local("ff02::99"), 128, LO,
        'EADDRNOTAVAIL: ipv6: Cannot assign multicast address without "IFA_F_MCAUTOJOIN" flag',
    ),
    (
        "joining what is no group", A + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 64, LO,
        "EINVAL: ipv6: Multicast auto join failed",
    ),
    (
        "temporary ones out of a /63", A + nla(IFA_FLAGS, IFA_F_MANAGETEMPADDR), 63, LO,
        'EINVAL: ipv6: address with "mngtmpaddr" flag must have a prefix length of 64',
    ),
]  # fmt: skip

ACCEPTED_NEW6 = [
    *((f"prefix length {plen}", A, plen) for plen in (0, 1, 63, 64, 65, 126, 127, 128)),
    ("only IFA_ADDRESS", peer("2001:db8::a"), 64),
    ("both alike", A + peer("2001:db8::a"), 64),
    ("a peer", A + peer("2001:db8::b"), 64),
    ("the peer ::", A + peer("::"), 64),
    ("a long address", nla(IFA_LOCAL, packed("2001:db8::a") + b"more"), 64),
    ("the last of two", local("2001:db8::b") + A, 64),
    ("a nest bit", nla(IFA_LOCAL | 0x8000, packed("2001:db8::a")), 64),
    ("long flags", A + nla(IFA_FLAGS, b"\2\0\0\0abcd"), 64),
    ("a long cacheinfo", A + nla(IFA_CACHEINFO, b"\xff" * 8 + bytes(12)), 64),
    ("a long protocol", A + nla(IFA_PROTO, 7), 64),
    ("a metric", A + nla(IFA_RT_PRIORITY, 77), 64),
    *((f"protocol {proto}", A + nla(IFA_PROTO, bytes((proto,))), 64) for proto in (0, 1, 2, 3, 255)),
    ("a netnsid", A + nla(IFA_TARGET_NETNSID, 5), 64),
    ("what is IPv4's", A + nla(IFA_LABEL, "x") + nla(IFA_BROADCAST) + nla(IFA_ANYCAST) + nla(IFA_MULTICAST), 64),
    ("types of nobody", nla(0, b"x") + A + nla(200, b"x"), 64),
    ("lifetimes", A + lifetimes(100, 200), 64),
    ("lifetimes alike", A + lifetimes(100, 100), 64),
    ("deprecated", A + lifetimes(0, 100), 64),
    ("deprecated for ever", A + lifetimes(0, FOREVER), 64),
    ("preferred for a while", A + lifetimes(100, FOREVER), 64),
    ("lifetimes for ever", A + lifetimes(FOREVER, FOREVER), 64),
    ("the longest lifetimes", A + lifetimes(FOREVER - 1, FOREVER - 1), 64),
    *(
        (f"flags {flags:#x}", A + nla(IFA_FLAGS, flags), 64)
        for flags in (
            IFA_F_NODAD, IFA_F_NOPREFIXROUTE, IFA_F_HOMEADDRESS, IFA_F_MANAGETEMPADDR, IFA_F_OPTIMISTIC,
            IFA_F_NODAD | IFA_F_OPTIMISTIC, 0x8E9, 0xFFFFF000,
        )
    ),
    ("a group to join", local("ff02::99") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 128),
    ("a group of the site to join", local("ff05::99") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 128),
    *(
        (address, local(address), 64)
        for address in ("fe80::1", "fec0::1", "fd00::1", "::2", "::ffff:1.2.3.4", "::1.2.3.4")
    ),
    ("3 bytes left over", A + b"abc", 64),
    ("an attribute shorter than its header", A + b"\3\0\1\0", 64),
    ("an attribute longer than the message", A + b"\x40\0\1\0", 64),
]  # fmt: skip


@pytest.mark.parametrize(
    ("attrs", "plen", "index", "refusal"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED_NEW6]
)
def test_what_is_no_ipv6_address_to_add_is_refused_and_nothing_changes(
    sides: Twins, attrs: bytes, plen: int, index: int, refusal: str
) -> None:
    assert outcome(sides.ask(new6(attrs, plen, index=index))) == refusal
    compare_state(sides)
    assert addresses(sides) == ["127.0.0.1/8", "::1/128"]


@pytest.mark.parametrize(("attrs", "plen"), [pytest.param(*row[1:], id=row[0]) for row in ACCEPTED_NEW6])
def test_an_ipv6_address_is_added_and_deleted(sides: Twins, attrs: bytes, plen: int) -> None:
    assert outcome(sides.ask(new6(attrs, plen))).startswith("ok")
    compare_state(sides)
    assert len(addresses(sides, AF_INET6)) == 2
    assert outcome(sides.ask(del6(attrs, plen))).startswith("ok")
    compare_state(sides)
    assert addresses(sides, AF_INET6) == ["::1/128"]


def test_what_is_left_over_is_worth_a_warning(sides: Twins) -> None:
    assert outcome(sides.ask(new6(A + b"abc"))) == "ok: bytes leftover after parsing attributes"


@pytest.mark.parametrize("length", range(9))
@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@pytest.mark.parametrize("kind", [RTM_NEWADDR, RTM_DELADDR])
def test_a_header_that_is_cut_off(sides: Twins, kind: int, family: int, length: int) -> None:
    answer = outcome(sides.ask(nlmsg(kind, body(b"", family)[:length])))

    if not length:
        assert answer == "ok"
    elif length < IFADDRMSG.size:
        assert answer == "EINVAL: Invalid header length"


@pytest.mark.parametrize("kind", [RTM_NEWADDR, RTM_DELADDR])
@pytest.mark.parametrize("family", [AF_UNSPEC, 7, 77, 128, 255])
def test_no_other_family_has_addresses(sides: Twins, kind: int, family: int) -> None:
    assert outcome(sides.ask(nlmsg(kind, body(A, family)))) == "EOPNOTSUPP"


FLAGS = [
    first | second
    for first in (0, NLM_F_CREATE, NLM_F_APPEND, NLM_F_CREATE | NLM_F_APPEND, NLM_F_ECHO)
    for second in (0, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_EXCL | NLM_F_REPLACE)
]


@pytest.mark.parametrize("nlm", FLAGS)
def test_only_replace_without_excl_changes_what_is_there(sides: Twins, nlm: int) -> None:
    replaces = nlm & (NLM_F_EXCL | NLM_F_REPLACE) == NLM_F_REPLACE
    for add, word in ((new6(A, nlm=NLM_F_ACK | nlm), "ipv6: address"), (new4(L, nlm=NLM_F_ACK | nlm), "ipv4: Address")):
        assert outcome(sides.ask(add)) == "ok"
        assert outcome(sides.ask(add)) == ("ok" if replaces else f"EEXIST: {word} already assigned")
    compare_state(sides)


@pytest.mark.parametrize("nlm", FLAGS)
def test_a_deletion_heeds_no_flag_but_bulk(sides: Twins, nlm: int) -> None:
    sides.ask(new6(A))
    refusal = "EOPNOTSUPP: Bulk delete is not supported" if nlm & NLM_F_BULK else "ok"

    assert outcome(sides.ask(del6(A, nlm=NLM_F_ACK | nlm))) == refusal
    compare_state(sides)


def test_the_flags_of_the_header_count_where_there_is_no_attribute(sides: Twins) -> None:
    sides.ask(new6(A, flags=IFA_F_NODAD))
    sides.ask(new6(LOST + nla(IFA_FLAGS, IFA_F_HOMEADDRESS), flags=IFA_F_NODAD))

    assert told(sides.ask(dump(AF_INET6)))[:2] == [("2001:db8::10/64", 0x90), ("2001:db8::a/64", 0x82)]


# --- NLM_F_REPLACE, IPv6 ----------------------------------------------------------------------------------------------

REPLACING6 = {
    "flags, each set and cleared": [
        new6(A + nla(IFA_FLAGS, flags), nlm=REPLACE) for flags in (2, 0x10, 0x100, 0x200, 0, 0x400, 4, 6, 0x212, 0)
    ],
    "a protocol that is not named again is gone": [new6(A + nla(IFA_PROTO, b"\5"), nlm=REPLACE), new6(A, nlm=REPLACE)],
    "the prefix length is not looked at": [new6(A, 129, nlm=REPLACE), new6(A, 0, nlm=REPLACE), del6(A, 128), del6(A)],
    "metrics": [new6(A + nla(IFA_RT_PRIORITY, metric), nlm=REPLACE) for metric in (7, 7, 0, 256, 1)],
    "lifetimes": [
        new6(A + lifetimes(*pair), nlm=REPLACE)
        for pair in ((100, 200), (FOREVER,) * 2, (0, FOREVER), (100, FOREVER), (50, 100), (0, 100), (FOREVER,) * 2)
    ],
    "peers": [
        *(
            new6(A + peer(address), nlm=REPLACE)
            for address in ("2001:db8:1::1", "2001:db8:2::1", "2001:db8::a", "::", "2001:db8:3::3")
        ),
        del6(A),
    ],
    "no prefix route, and back": [
        new6(A + nla(IFA_FLAGS, IFA_F_NOPREFIXROUTE), nlm=REPLACE), new6(A, nlm=REPLACE), del6(A),
    ],
    "::1 itself": [new6(local("::1"), 128, nlm=REPLACE), new6(local("::1") + lifetimes(50, 100), 128, nlm=REPLACE)],
    "temporary ones out of ::1": [new6(local("::1") + nla(IFA_FLAGS, IFA_F_MANAGETEMPADDR), 128, nlm=REPLACE)],
    "neighbours in a prefix": [
        new6(local("2001:db8::b") + lifetimes(100, 200)), new6(LOST + nla(IFA_FLAGS, IFA_F_NOPREFIXROUTE)), del6(LOST),
        del6(A), del6(local("2001:db8::b")),
    ],
    "a group": [
        new6(local("ff02::99") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 128),
        new6(local("ff02::99") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 128),
        new6(local("ff02::99") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 128, nlm=REPLACE),
        del6(local("ff02::99"), 128), del6(local("ff02::99"), 128),
    ],
}  # fmt: skip


@pytest.mark.parametrize("script", REPLACING6.values(), ids=REPLACING6)
def test_an_ipv6_address_is_changed(sides: Twins, script: list[bytes]) -> None:
    sides.ask(new6(A))
    for request in script:
        sides.ask(request)
        compare_state(sides)


def test_a_dump_has_wider_scopes_first_and_the_newest_of_each(sides: Twins) -> None:
    for address in ("fe80::1", "2001:db8::1", "fec0::1", "::5", "fd00::1"):
        sides.ask(new6(local(address)))
    sides.ask(new6(local("ff02::99") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN)))

    assert addresses(sides, AF_INET6) == [
        "fd00::1/64", "::5/64", "2001:db8::1/64", "fec0::1/64", "ff02::99/64", "fe80::1/64", "::1/128",
    ]  # fmt: skip


# --- RTM_DELADDR, IPv6 ------------------------------------------------------------------------------------------------

REFUSED_DEL6 = [
    ("no address", b"", 64, LO, "EINVAL"),
    ("a short address", nla(IFA_LOCAL, bytes(15)), 64, LO, "ERANGE: Attribute failed policy validation"),
    ("the prefix length before the device", A, 129, NO_DEVICE, "EINVAL: ipv6: Invalid prefix length"),
    ("no device", A, 64, NO_DEVICE, "ENODEV: ipv6: Unable to find the interface"),
    ("another prefix length", A, 128, LO, "EADDRNOTAVAIL: ipv6: address not found"),
    ("another address", local("2001:db8::b"), 64, LO, "EADDRNOTAVAIL: ipv6: address not found"),
    ("its peer alone", peer("2001:db8::ff"), 64, LO, "EADDRNOTAVAIL: ipv6: address not found"),
    ("::1/64", local("::1"), 64, LO, "EADDRNOTAVAIL: ipv6: address not found"),
    ("no address, no device", b"", 129, NO_DEVICE, "EINVAL"),
]


@pytest.mark.parametrize(
    ("attrs", "plen", "index", "refusal"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED_DEL6]
)
def test_what_is_no_ipv6_address_of_the_device_is_not_deleted(
    sides: Twins, attrs: bytes, plen: int, index: int, refusal: str
) -> None:
    sides.ask(new6(A + peer("2001:db8::ff")))

    assert outcome(sides.ask(del6(attrs, plen, index=index))) == refusal
    compare_state(sides)
    assert addresses(sides, AF_INET6) == ["2001:db8::a/64", "::1/128"]


@pytest.mark.parametrize("attrs", [A, A + peer("2001:db8::b"), peer("2001:db8::a"), A + nla(IFA_FLAGS, 0x100)])
def test_local_wins_over_address_in_a_deletion(sides: Twins, attrs: bytes) -> None:
    sides.ask(new6(A))

    assert outcome(sides.ask(del6(attrs))) == "ok"


# --- RTM_GETADDR for one address --------------------------------------------------------------------------------------

GET6: list[tuple[str, bytes, dict[str, int], str, str]] = [
    ("::1 of lo", local("::1"), {"index": LO}, "ok", "ok"),
    ("::1 of any device", local("::1"), {}, "ok", "ok"),
    ("::1 of no device", local("::1"), {"index": NO_DEVICE}, "ok", "ok"),
    ("by IFA_ADDRESS", peer("::1"), {}, "ok", "ok"),
    ("IFA_LOCAL wins", peer("2001:db8::77") + local("::1"), {}, "ok", "ok"),
    ("one that is not there", local("2001:db8::77"), {}, "EADDRNOTAVAIL", "EADDRNOTAVAIL"),
    ("a peer", peer("2001:db8::ff"), {}, "EADDRNOTAVAIL", "EADDRNOTAVAIL"),
    ("no address", b"", {}, "EINVAL", "EINVAL"),
    ("no namespace of this id", local("::1") + nla(IFA_TARGET_NETNSID, 5), {}, "EINVAL", "EINVAL"),
    (
        "a short address", nla(IFA_LOCAL, b"abc"), {},
        "ERANGE: Attribute failed policy validation", "ERANGE: Attribute failed policy validation",
    ),
    (
        "a prefix length", local("::1"), {"plen": 128},
        "ok", "EINVAL: ipv6: Invalid values in header for get address request",
    ),
    ("flags", local("::1"), {"flags": 1}, "ok", "EINVAL: ipv6: Invalid values in header for get address request"),
    ("a scope", local("::1"), {"scope": 1}, "ok", "EINVAL: ipv6: Invalid values in header for get address request"),
    (
        "an attribute of no use", local("::1") + nla(IFA_FLAGS, 1), {},
        "ok", "EINVAL: ipv6: Unsupported attribute in get address request",
    ),
    ("an attribute of nobody", local("::1") + nla(200), {}, "ok", "EINVAL: Unknown attribute type"),
    (
        "bytes left over", local("::1") + b"ab", {},
        "ok: bytes leftover after parsing attributes", "EINVAL: bytes leftover after parsing attributes",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("attrs", "header", "loose", "strict"), [pytest.param(*row[1:], id=row[0]) for row in GET6])
def test_one_address_is_asked_for(sides: Twins, attrs: bytes, header: dict[str, int], loose: str, strict: str) -> None:
    sides.ask(new6(A + peer("2001:db8::ff")))

    assert outcome(sides.ask(get(attrs, **header))) == loose
    assert outcome(sides.ask(get(attrs, **header), strict=True)) == strict


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("length", range(1, 8))
def test_one_address_is_asked_for_with_half_a_header(sides: Twins, length: int, strict: bool) -> None:
    answer = sides.ask(nlmsg(RTM_GETADDR, body(b"", AF_INET6)[:length]), strict=strict)

    assert outcome(answer) == "EINVAL: ipv6: Invalid header for get address request"


@pytest.mark.parametrize("family", [AF_UNSPEC, AF_INET, 7, 255])
@pytest.mark.parametrize("kind", [RTM_GETADDR, RTM_GETMULTICAST, RTM_GETANYCAST])
def test_other_families_and_groups_are_dumped_only(sides: Twins, kind: int, family: int) -> None:
    assert outcome(sides.ask(get(local("127.0.0.1"), kind=kind, family=family))) == "EOPNOTSUPP"


def test_an_address_on_two_devices_is_the_one_that_came_last(sides: Twins) -> None:
    for name in ("a0", "b0"):
        make(sides, name)
    first, second = (sides.net.device(name).ifindex for name in ("b0", "a0"))
    for index in (first, second):
        sides.ask(new6(local("2001:db8::7") + nla(IFA_FLAGS, IFA_F_NODAD), 64, index=index))

    (answer, _) = sides.ask(get(local("2001:db8::7")))
    assert IFADDRMSG.unpack_from(messages(answer)[0][4])[4] == second


# --- dumps ------------------------------------------------------------------------------------------------------------


HEADERS = [{}, {"index": LO}, {"index": NO_DEVICE}, {"index": -1}, {"plen": 1}, {"flags": 1}]
ATTRIBUTES = [
    b"", nla(IFA_LOCAL, bytes(16)), nla(IFA_ANYCAST, b"x"), nla(IFA_LOCAL, b"abc"), nla(200), b"ab",
    nla(IFA_TARGET_NETNSID, 5), nla(IFA_TARGET_NETNSID, -1), nla(IFA_TARGET_NETNSID, b"ab"),
    nla(IFA_TARGET_NETNSID, 5) + nla(IFA_PROTO, b"\1"), nla(IFA_TARGET_NETNSID, 5) + nla(IFA_LOCAL, bytes(16)),
]  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", [RTM_GETADDR, RTM_GETMULTICAST, RTM_GETANYCAST])
@pytest.mark.parametrize("family", [AF_UNSPEC, AF_INET, AF_INET6, 7, 17, 28, 99, 128, 129, 255])
def test_dumps_of_all_kinds(sides: Twins, kind: int, family: int, strict: bool) -> None:
    for header, attrs in product(HEADERS, ATTRIBUTES):
        sides.ask(dump(family, kind=kind, attrs=attrs, **header), strict=strict)


STRICT: list[tuple[str, dict[str, int], bytes, str]] = [
    ("a device", {"index": LO}, b"", "ok"),
    ("no device", {"index": NO_DEVICE}, b"", "ENODEV"),
    ("a prefix length", {"plen": 1}, b"", "EINVAL: {}: Invalid values in header for address dump request"),
    ("an attribute", {}, nla(IFA_LOCAL, bytes(16)), "EINVAL: {}: Unsupported attribute in dump request"),
    ("a netnsid", {}, nla(IFA_TARGET_NETNSID, 5), "EINVAL: {}: Invalid target network namespace id"),
    ("an attribute of nobody", {}, nla(200), "EINVAL: Unknown attribute type"),
]


@pytest.mark.parametrize(("header", "attrs", "refusal"), [pytest.param(*row[1:], id=row[0]) for row in STRICT])
@pytest.mark.parametrize(("family", "name"), [(AF_INET, "ipv4"), (AF_INET6, "ipv6"), (AF_UNSPEC, "ipv4")])
def test_a_dump_that_is_checked_is_refused_or_filtered(
    sides: Twins, family: int, name: str, header: dict[str, int], attrs: bytes, refusal: str
) -> None:
    answers = sides.ask(dump(family, attrs=attrs, **header), strict=True)

    assert outcome(answers) == refusal.format(name)
    filtered = NLM_F_DUMP_FILTERED if header.get("index") else 0
    assert messages(answers[-1])[-1][1] & NLM_F_DUMP_FILTERED == filtered
    assert outcome(sides.ask(dump(family, attrs=attrs, **header))).startswith("ok")


@pytest.mark.parametrize("family", [AF_UNSPEC, AF_INET, AF_INET6])
@pytest.mark.parametrize("kind", [RTM_GETADDR, RTM_GETMULTICAST, RTM_GETANYCAST])
@pytest.mark.parametrize("length", range(1, 8))
def test_a_dump_with_half_a_header(sides: Twins, kind: int, family: int, length: int) -> None:
    for strict in (False, True):
        sides.ask(nlmsg(kind, body(b"", family)[:length], NLM_F_DUMP), strict=strict)


def test_groups_and_anycast_addresses_have_the_type_of_the_request(sides: Twins) -> None:
    sides.ask(new6(local("ff05::99") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 128))
    answers = sides.ask(dump(AF_INET6, kind=RTM_GETMULTICAST))

    assert told(answers) == [("ff05::99/128", 0x80), ("ff02::1/128", 0x80), ("ff01::1/128", 0x80)]
    assert [kind for kind, *_ in messages(answers[0])] == [RTM_GETMULTICAST] * 3 + [NLMSG_DONE]
    assert told(sides.ask(dump(AF_INET, kind=RTM_GETMULTICAST))) == [("224.0.0.1/32", 0x80)]


def test_a_router_answers_to_the_first_address_of_its_prefix(sides: Twins) -> None:
    sides.ask(new6(A))
    write_sysctl(sides, "net.ipv6.conf.lo.forwarding", "1")

    assert told(sides.ask(dump(AF_INET6, kind=RTM_GETANYCAST))) == [("2001:db8::/128", 0x80)]


def write_sysctl(sides: Twins, name: str, value: str) -> None:
    sides.net.sysctl(name, value)
    if sides.netns is not None:
        with RtnlKernel(sides.netns) as kernel:
            kernel.request(Sysctl(name, value))
    sides.told()


# --- dumps in several datagrams ---------------------------------------------------------------------------------------

CROWD = 120


@pytest.fixture
def crowd(sides: Twins) -> Twins:
    """So many addresses of either family that a dump of them takes several datagrams."""
    for number in range(CROWD):
        sides.ask(
            new6(nla(IFA_LOCAL, packed("2001:db8::1:0")[:15] + bytes((number,))) + nla(IFA_FLAGS, IFA_F_NODAD), 128)
        )
        sides.ask(new4(nla(IFA_LOCAL, bytes((10, 0, number, 1)))))
    return sides


def shape(datagrams: Sequence[bytes]) -> list[list[int]]:
    """The flags of the messages of each datagram."""
    return [sorted({flags for _, flags, *_ in messages(data)}) for data in datagrams]


@pytest.mark.parametrize("size", [4096, 8192, 16384, 32768, 1 << 20])
@pytest.mark.parametrize("family", [AF_UNSPEC, AF_INET, AF_INET6])
def test_a_dump_is_split_by_how_much_its_reader_takes(crowd: Twins, family: int, size: int) -> None:
    request = dump(family)
    with crowd.half_read(request, size) as rest:
        pass
    assert rest


@pytest.mark.parametrize(
    ("family", "filtered", "change", "told_of"),
    [
        (AF_INET6, False, new6(local("2001:db8::ffff")), True),
        (AF_INET6, False, del6(local("2001:db8::1:5"), 128), True),
        (AF_INET6, False, new4(local("192.0.2.1")), False),
        (AF_INET, False, new4(local("192.0.2.1")), True),
        (AF_INET, False, del4(local("10.0.7.1")), True),
        (AF_INET, False, new6(local("2001:db8::ffff")), False),
        (AF_UNSPEC, False, new4(local("192.0.2.1")), True),
        (AF_UNSPEC, False, new6(local("2001:db8::ffff")), False),
        (AF_INET6, True, new6(local("2001:db8::ffff")), False),
        (AF_INET, True, new4(local("192.0.2.1")), False),
    ],
)
def test_a_dump_during_which_addresses_change_says_so(
    crowd: Twins, family: int, filtered: bool, change: bytes, told_of: bool
) -> None:
    request = dump(family, index=LO if filtered else 0)
    with crowd.half_read(request, 4096, strict=filtered) as rest:
        crowd.ask(change)

    usual = NLM_F_MULTI | NLM_F_DUMP_FILTERED * filtered
    assert any(usual | NLM_F_DUMP_INTR in flags for flags in shape(rest)) == told_of


# --- IPv4 -------------------------------------------------------------------------------------------------------------

L = local("10.1.2.3")

REFUSED_NEW4 = [
    ("prefix length 33", L, 33, LO, "EINVAL: ipv4: Invalid prefix length"),
    ("no local address", peer("10.1.2.3"), 24, LO, "EINVAL: ipv4: Local address is not supplied"),
    ("the prefix length before the address", b"", 33, LO, "EINVAL: ipv4: Invalid prefix length"),
    ("a short address", nla(IFA_LOCAL, b"abc"), 24, LO, "ERANGE: Attribute failed policy validation"),
    ("a short broadcast", L + nla(IFA_BROADCAST, b"ab"), 24, LO, "ERANGE: Attribute failed policy validation"),
    ("an empty label", L + nla(IFA_LABEL, b""), 24, LO, "ERANGE: Attribute failed policy validation"),
    ("a label of 16", L + nla(IFA_LABEL, b"x" * 16), 24, LO, "ERANGE: Attribute failed policy validation"),
    ("a short cacheinfo", L + nla(IFA_CACHEINFO, bytes(8)), 24, LO, "ERANGE: Attribute failed policy validation"),
    ("an empty protocol", L + nla(IFA_PROTO), 24, LO, "ERANGE: Attribute failed policy validation"),
    ("lifetime 0", L + lifetimes(0, 0), 24, LO, "EINVAL: ipv4: address lifetime invalid"),
    ("more preferred than valid", L + lifetimes(11, 10), 24, LO, "EINVAL: ipv4: address lifetime invalid"),
    ("lifetime before the device", L + lifetimes(0, 0), 24, NO_DEVICE, "EINVAL: ipv4: address lifetime invalid"),
    ("no device", L, 24, NO_DEVICE, "ENODEV: ipv4: Device not found"),
    ("127.0.0.1/8 again", local("127.0.0.1"), 8, LO, "EEXIST: ipv4: Address already assigned"),
    ("another scope in a subnet", local("127.0.0.2"), 8, LO, "EINVAL: ipv4: Invalid scope value"),
    (
        "joining what is no group", L + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 24, LO,
        "EINVAL: ipv4: Multicast auto join failed",
    ),
]  # fmt: skip

ACCEPTED_NEW4 = [
    *((f"prefix length {plen}", L, plen) for plen in (0, 1, 8, 24, 30, 31, 32)),
    ("an IPv6 address", local("2001:db8::a"), 24),
    ("a peer", L + peer("10.9.9.9"), 24),
    ("the peer 0.0.0.0", L + peer("0.0.0.0"), 24),
    ("a broadcast", L + nla(IFA_BROADCAST, packed("10.1.2.255")), 24),
    ("another broadcast", L + nla(IFA_BROADCAST, packed("10.7.7.7")), 24),
    ("the broadcast 0.0.0.0", L + nla(IFA_BROADCAST, bytes(4)), 24),
    ("the limited broadcast", L + nla(IFA_BROADCAST, b"\xff" * 4), 24),
    ("a long broadcast", L + nla(IFA_BROADCAST, packed("10.1.2.255") + b"more"), 24),
    ("a label", L + nla(IFA_LABEL, "lo:1"), 24),
    ("a label of nothing", L + nla(IFA_LABEL, b"\0"), 24),
    ("a label of 15", L + nla(IFA_LABEL, b"x" * 15), 24),
    ("a label with zero bytes behind it", L + nla(IFA_LABEL, b"lo\0\0"), 24),
    ("a label that is no text", L + nla(IFA_LABEL, b"\xff\xfe"), 24),
    ("a metric", L + nla(IFA_RT_PRIORITY, 77), 24),
    ("a protocol", L + nla(IFA_PROTO, b"\7"), 24),
    ("what is IPv6's", L + nla(IFA_ANYCAST) + nla(IFA_MULTICAST) + nla(IFA_TARGET_NETNSID, 5), 24),
    ("lifetimes", L + lifetimes(100, 200), 24),
    ("deprecated", L + lifetimes(0, 100), 24),
    ("deprecated for ever", L + lifetimes(0, FOREVER), 24),
    ("preferred for a while", L + lifetimes(100, FOREVER), 24),
    ("every flag but one", L + nla(IFA_FLAGS, 0xFFFFFFFF & ~IFA_F_MCAUTOJOIN), 24),
    ("no prefix route", L + nla(IFA_FLAGS, IFA_F_NOPREFIXROUTE), 24),
    ("a group", local("239.1.2.3"), 32),
    ("a group to join", local("239.1.2.3") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 32),
    ("a group to join as a peer", L + peer("239.1.2.3") + nla(IFA_FLAGS, IFA_F_MCAUTOJOIN), 32),
    ("the limited broadcast as an address", local("255.255.255.255"), 32),
    ("of net 0", local("0.1.2.3"), 24),
    ("the first of a subnet", local("10.1.2.0"), 24),
    ("the last of a subnet", local("10.1.2.255"), 24),
]  # fmt: skip


@pytest.mark.parametrize(
    ("attrs", "plen", "index", "refusal"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED_NEW4]
)
def test_what_is_no_ipv4_address_to_add_is_refused_and_nothing_changes(
    sides: Twins, attrs: bytes, plen: int, index: int, refusal: str
) -> None:
    assert outcome(sides.ask(new4(attrs, plen, index=index))) == refusal
    compare_state(sides)
    assert addresses(sides) == ["127.0.0.1/8", "::1/128"]


@pytest.mark.parametrize(("attrs", "plen"), [pytest.param(*row[1:], id=row[0]) for row in ACCEPTED_NEW4])
def test_an_ipv4_address_is_added_changed_and_deleted(sides: Twins, attrs: bytes, plen: int) -> None:
    assert outcome(sides.ask(new4(attrs, plen))) == "ok"
    compare_state(sides)
    assert outcome(sides.ask(new4(attrs + nla(IFA_PROTO, b"\6"), plen, nlm=REPLACE))) == "ok"
    compare_state(sides)
    assert outcome(sides.ask(del4(nla(IFA_LOCAL, attributes(attrs)[IFA_LOCAL]), plen))) == "ok"
    compare_state(sides)
    assert addresses(sides, AF_INET) == ["127.0.0.1/8"]


def test_the_address_0_0_0_0_is_added_without_effect(sides: Twins) -> None:
    for index in (LO, NO_DEVICE):
        assert outcome(sides.ask(new4(local("0.0.0.0"), index=index))) == "ok"
    assert addresses(sides, AF_INET) == ["127.0.0.1/8"]


@pytest.mark.parametrize("attrs", [b"", L, peer("10.1.2.99"), nla(IFA_LABEL, "lo"), nla(IFA_LABEL, "lo") + L])
@pytest.mark.parametrize("plen", [8, 24])
def test_an_ipv4_deletion_takes_the_first_that_fits(sides: Twins, attrs: bytes, plen: int) -> None:
    for address in ("10.1.2.3", "10.1.2.4", "10.2.0.1"):
        sides.ask(new4(local(address)))

    sides.ask(del4(attrs, plen))
    compare_state(sides)


@pytest.mark.parametrize(
    ("attrs", "index", "refusal"),
    [
        (L, NO_DEVICE, "ENODEV: ipv4: Device not found"),
        (L, LO, "EADDRNOTAVAIL: ipv4: Address not found"),
        (nla(IFA_LABEL, "lo:9"), LO, "EADDRNOTAVAIL: ipv4: Address not found"),
        (nla(IFA_LABEL, b"lo\0x"), LO, "EADDRNOTAVAIL: ipv4: Address not found"),
        (peer("127.0.0.1"), LO, "EADDRNOTAVAIL: ipv4: Address not found"),
        (nla(IFA_LOCAL, b"abc"), LO, "ERANGE: Attribute failed policy validation"),
    ],
)
def test_what_is_no_ipv4_address_of_the_device_is_not_deleted(
    sides: Twins, attrs: bytes, index: int, refusal: str
) -> None:
    assert outcome(sides.ask(del4(attrs, 24, index=index))) == refusal


def test_a_socket_of_the_kernels_own_joins_20_groups(sides: Twins) -> None:
    joining = nla(IFA_FLAGS, IFA_F_MCAUTOJOIN)
    answers = [outcome(sides.ask(new4(local(f"239.0.0.{n}") + joining, 32))) for n in range(1, 22)]

    assert answers == ["ok"] * 20 + ["ENOBUFS: ipv4: Multicast auto join failed"]
    assert (
        outcome(sides.ask(new4(L + peer("239.0.0.1") + joining, 32))) == "EADDRINUSE: ipv4: Multicast auto join failed"
    )
    compare_state(sides)


def test_the_requester_is_named_in_what_is_said_of_ipv4_only(sides: Twins) -> None:
    listener = sides.net.socket()
    listener.bind(0, 1 << RTNLGRP_IPV4_IFADDR - 1 | 1 << RTNLGRP_IPV6_IFADDR - 1)
    sides.ask(new4(L))
    sides.ask(new6(A + nla(IFA_FLAGS, IFA_F_NODAD)))

    said = [(bool(seq), bool(pid)) for heard in listener for _, _, seq, pid, _ in messages(heard.data)]
    assert said == [(True, True), (False, False)]


def test_an_echo_is_of_ipv4_only(sides: Twins) -> None:
    echoed = sides.ask(new4(L, nlm=NLM_F_ACK | NLM_F_ECHO))
    assert [messages(data)[0][0] for data in echoed] == [RTM_NEWADDR, NLMSG_ERROR]
    silent = sides.ask(new6(A, nlm=NLM_F_ACK | NLM_F_ECHO))
    assert [messages(data)[0][0] for data in silent] == [NLMSG_ERROR]


# --- secondary addresses ----------------------------------------------------------------------------------------------


def test_a_primary_takes_its_secondaries_along(sides: Twins) -> None:
    for address in ("10.1.2.3", "10.1.2.4", "10.1.3.3", "10.1.2.5"):
        sides.ask(new4(local(address)))
    primary, secondary = 0x80, 0x80 | IFA_F_SECONDARY
    assert told(sides.ask(dump(AF_INET))) == [
        ("127.0.0.1/8", primary), ("10.1.2.3/24", primary), ("10.1.3.3/24", primary),
        ("10.1.2.4/24", secondary), ("10.1.2.5/24", secondary),
    ]  # fmt: skip

    sides.ask(del4(local("10.1.2.3")))
    assert addresses(sides, AF_INET) == ["127.0.0.1/8", "10.1.3.3/24"]


@pytest.mark.parametrize("where", ["all", "lo"])
def test_the_first_secondary_is_promoted_where_that_is_wished(sides: Twins, where: str) -> None:
    write_sysctl(sides, f"net.ipv4.conf.{where}.promote_secondaries", "1")
    for address in ("10.1.2.3", "10.1.2.4", "10.1.2.5"):
        sides.ask(new4(local(address)))

    sides.ask(del4(local("10.1.2.3")))
    assert [flags for address, flags in told(sides.ask(dump(AF_INET))) if address.startswith("10.")] == [0x80, 0x81]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_and_goes_in_a_few_subnets(sides: Twins, seed: int) -> None:
    chance = random.Random(seed)
    write_sysctl(sides, f"net.ipv4.conf.{chance.choice(('all', 'lo'))}.promote_secondaries", chance.choice("0111"))
    for _ in range(14):
        address = f"10.1.{chance.randrange(2)}.{chance.randrange(1, 5)}"
        plen = chance.choice((8, 16, 23, 24, 24, 24, 30, 31, 32))
        if chance.randrange(5):
            attrs = local(address)
            attrs += peer(f"10.2.0.{chance.randrange(3)}") if chance.random() < 0.2 else b""
            attrs += nla(IFA_BROADCAST, packed("10.1.0.255")) if chance.random() < 0.2 else b""
            attrs += nla(IFA_RT_PRIORITY, chance.randrange(3)) if chance.random() < 0.2 else b""
            attrs += nla(IFA_FLAGS, IFA_F_NOPREFIXROUTE) if chance.random() < 0.1 else b""
            nlm = NLM_F_ACK | chance.choice((NLM_F_CREATE, NLM_F_CREATE, NLM_F_REPLACE))
            sides.ask(new4(attrs, plen, nlm=nlm, scope=chance.choice((0, 0, 0, 253, 254))))
        else:
            sides.ask(del4(chance.choice((b"", local(address), peer(address))), plen))
        compare_state(sides)


# --- lifetimes of IPv4 addresses --------------------------------------------------------------------------------------


GROUPS = (RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR)


def test_ipv4_addresses_are_deprecated_and_removed_in_time() -> None:
    machine = Linux()
    net = machine.init_net
    sides = Twins(None, net)
    sides.ask(new4(L + lifetimes(2, 5), 32))
    listener = net.socket()
    listener.bind(0, 1 << RTNLGRP_IPV4_IFADDR - 1)

    def said_after(seconds: float) -> list[tuple[int, int]]:
        machine.advance(seconds)
        found = [message for heard in listener for message in messages(heard.data)]
        return [(kind, int.from_bytes(attributes(data[8:])[IFA_FLAGS], "little")) for kind, *_, data in found]

    assert said_after(1.5) == []
    assert said_after(1.0) == [(RTM_NEWADDR, IFA_F_DEPRECATED)]
    assert said_after(2.0) == []
    assert said_after(1.5) == [(RTM_DELADDR, IFA_F_DEPRECATED)]
    assert addresses(sides, AF_INET) == []


LIMITS = [(preferred, valid) for valid in (1, 2, 3) for preferred in range(valid + 1)]
WINDOW = 1.2
"""Seconds by which the two may part: how late a busy machine runs a timer."""


@pytest.mark.needs_netns
def test_both_kernels_age_addresses_alike(netns: NetNs, machine: Linux) -> None:
    machine.advance(1)
    with Twins(netns, machine.add_net("young")) as sides:
        began = time.monotonic()
        for preferred, valid in LIMITS:
            sides.ask(new4(nla(IFA_LOCAL, bytes((10, 9, preferred, valid))) + lifetimes(preferred, valid), 32))
            sides.ask(new6(local(f"2001:db8::{preferred}:{valid}") + lifetimes(preferred, valid), 128))
        said: dict[str, dict[bytes, list[tuple[float, int, bytes, bytes]]]] = {"kernel": {}, "model": {}}
        passed = 0.0
        while passed < max(valid for _, valid in LIMITS) + 2 * WINDOW:
            time.sleep(0.02)
            now = time.monotonic() - began
            machine.advance(now - passed)
            passed = now
            for side, heard in said.items():
                for group, data in sides.heard(side):
                    for kind, *_, content in messages(data) if group in GROUPS else ():
                        attrs = attributes(content[8:])
                        event = (now, kind, attrs[IFA_FLAGS], attrs[IFA_CACHEINFO][:8])
                        heard.setdefault(attrs[IFA_ADDRESS], []).append(event)

    assert len(said["model"]) == 2 * len(LIMITS)
    for address, modelled in said["model"].items():
        seen = said["kernel"][address]
        assert [event[1:] for event in modelled] == [event[1:] for event in seen]
        assert all(abs(mine[0] - other[0]) < WINDOW for mine, other in zip(modelled, seen, strict=True))
