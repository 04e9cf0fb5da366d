"""RTM_*LINK and RTM_*LINKPROP on both kernels, byte for byte: what is refused and why, what is done, what is told."""

from itertools import product
from struct import pack

import pytest

from addrsvc.uapi import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    AF_PACKET,
    AF_UNSPEC,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_ALLMULTI,
    IFLA_ALT_IFNAME,
    IFLA_BROADCAST,
    IFLA_CARRIER,
    IFLA_EXT_MASK,
    IFLA_GROUP,
    IFLA_GSO_MAX_SEGS,
    IFLA_GSO_MAX_SIZE,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_LINKMODE,
    IFLA_MAP,
    IFLA_MASTER,
    IFLA_MAX,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_NET_NS_PID,
    IFLA_NEW_IFINDEX,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    IFLA_OPERSTATE,
    IFLA_PORT_SELF,
    IFLA_PROP_LIST,
    IFLA_PROTINFO,
    IFLA_PROTO_DOWN,
    IFLA_PROTO_DOWN_REASON,
    IFLA_TARGET_NETNSID,
    IFLA_TXQLEN,
    IFLA_VF_PORTS,
    IFLA_VFINFO_LIST,
    IFLA_XDP,
    IN6_ADDR_GEN_MODE_NONE,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELLINK,
    RTM_DELLINKPROP,
    RTM_GETLINK,
    RTM_GETLINKPROP,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
    RTM_NEWNSID,
    RTM_SETLINK,
)
from tests.af_netlink.peer import Peer
from tests.af_netlink.twins import Twins, nla, nlmsg

NESTED = 0x8000
MAKE = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
MAC = bytes.fromhex("021122334455")
INFO_KIND, INFO_DATA, INFO_SLAVE_DATA = 1, 2, 5


def ifinfomsg(family: int = 0, type_: int = 0, index: int = 0, flags: int = 0, change: int = 0, pad: int = 0) -> bytes:
    return pack("=BBHiII", family, pad, type_, index, flags, change)


def kind(name: str, *more: bytes) -> bytes:
    return nla(IFLA_LINKINFO, nla(INFO_KIND, name) + b"".join(more))


def newlink(*attrs: bytes, nlmsg_flags: int = NLM_F_ACK, **header: int) -> bytes:
    return nlmsg(RTM_NEWLINK, ifinfomsg(**header) + b"".join(attrs), nlmsg_flags)


def make(twins: Twins, name: str = "i0", *attrs: bytes, kind_: str = "ifb", **header: int) -> None:
    """An ifb with an address that is no chance."""
    twins.ask(newlink(nla(IFLA_IFNAME, name), nla(IFLA_ADDRESS, MAC), kind(kind_), *attrs, nlmsg_flags=MAKE, **header))


def af(family: int, *attrs: bytes) -> bytes:
    return nla(IFLA_AF_SPEC, nla(family, b"".join(attrs)))


def u8(attr: int, value: int) -> bytes:
    return nla(attr, bytes((value,)))


# --- what attributes must look like -----------------------------------------------------------------------------------

SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 31, 32, 33, 36, 127, 128, 129, 255, 256, 257]


@pytest.mark.parametrize("attr", range(IFLA_MAX + 3))
def test_every_attribute_in_every_size(twins: Twins, attr: int) -> None:
    """To a device that is not there, so that nothing but the attribute's own form is looked at."""
    for size, nested, nlmsg_type in product(SIZES, (0, NESTED), (RTM_NEWLINK, RTM_NEWLINKPROP)):
        twins.ask(nlmsg(nlmsg_type, ifinfomsg(index=9999) + nla(attr | nested, b"\1" * size)))


@pytest.mark.parametrize("nlmsg_type", [RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWLINKPROP, 110])
@pytest.mark.parametrize("strict", [False, True])
def test_headers_of_every_length_and_what_is_left_over(twins: Twins, nlmsg_type: int, strict: bool) -> None:
    for length in range(1, 40):
        twins.ask(nlmsg(nlmsg_type, ifinfomsg(index=9999).ljust(length, b"\0")[:length]), strict=strict)
    for rest in (b"\1", b"\1\2\3", b"\3\0\0\0", b"\x20\0\3\0", nla(IFLA_IFNAME, "lo") + b"\1\2\3"):
        twins.ask(nlmsg(nlmsg_type, ifinfomsg(index=9999) + rest), strict=strict)
        twins.ask(nlmsg(nlmsg_type, ifinfomsg(index=1) + rest), strict=strict)


@pytest.mark.parametrize("attr", range(IFLA_MAX + 3))
def test_every_attribute_on_lo(up: Twins, attr: int) -> None:
    for size in (0, 1, 4, 6, 8, 32):
        for value in (1, 255) if attr == IFLA_NET_NS_FD else (0, 1, 255):  # a test has a descriptor 0
            up.ask(newlink(nla(attr, bytes((value,)) * size), index=1))
            up.ask(nlmsg(RTM_SETLINK, ifinfomsg() + nla(IFLA_IFNAME, "lo") + nla(attr, bytes((value,)) * size)))
    up.ask(nlmsg(RTM_GETLINK, ifinfomsg(index=1)))


# --- which device is meant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nlmsg_type", [RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWLINKPROP, 109])
@pytest.mark.parametrize("family", [AF_UNSPEC, AF_INET6, AF_BRIDGE, AF_PACKET, 255])
def test_a_device_is_named_by_index_then_by_name_then_by_alternative_name(
    twins: Twins, nlmsg_type: int, family: int
) -> None:
    twins.ask(nlmsg(RTM_NEWLINKPROP, ifinfomsg(index=1) + nla(IFLA_PROP_LIST | NESTED, nla(IFLA_ALT_IFNAME, "alt"))))
    names = [b"", nla(IFLA_IFNAME, "lo"), nla(IFLA_IFNAME, "alt"), nla(IFLA_IFNAME, "none"), nla(IFLA_IFNAME, b"\0"),
             nla(IFLA_IFNAME, b"lo"), nla(IFLA_IFNAME, b"lo\0x\0")]  # fmt: skip
    altnames = [b"", nla(IFLA_ALT_IFNAME, "alt"), nla(IFLA_ALT_IFNAME, "lo"), nla(IFLA_ALT_IFNAME, "none")]
    for index, name, altname in product((0, 1, 77, -5, 0x7FFFFFFF), names, altnames):
        twins.ask(nlmsg(nlmsg_type, ifinfomsg(family, index=index) + name + altname))


@pytest.mark.parametrize("flags", [0, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_CREATE | NLM_F_EXCL, 0x800, 0xF00])
def test_flags_of_the_message_on_a_device_that_is_there_and_on_one_that_is_not(twins: Twins, flags: int) -> None:
    for attrs, index in product(
        (b"", nla(IFLA_IFNAME, "lo"), nla(IFLA_IFNAME, "none"), nla(IFLA_GROUP, 0), nla(IFLA_GROUP, 9),
        nla(IFLA_GROUP, 0) + nla(IFLA_IFALIAS, b"x"), kind("none"), kind("veth"),
        kind("ifb") + nla(IFLA_IFNAME, "lo") + nla(IFLA_ADDRESS, MAC),
         nla(IFLA_MAP, bytes(32)), nla(IFLA_PROTINFO)),
        (0, 1, 77),
    ):  # fmt: skip
        if kind("veth") not in attrs or not flags & NLM_F_CREATE:
            twins.ask(newlink(attrs, nlmsg_flags=NLM_F_ACK | flags, index=index))


@pytest.mark.parametrize("nlmsg_type", [RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWLINKPROP])
def test_a_namespace_can_be_named_once_and_has_to_be_there(twins: Twins, nlmsg_type: int) -> None:
    names = [nla(IFLA_NET_NS_PID, 999_999_999), nla(IFLA_NET_NS_FD, 999_999), nla(IFLA_TARGET_NETNSID, 5),
             nla(IFLA_TARGET_NETNSID, -1), nla(IFLA_LINK_NETNSID, 3)]  # fmt: skip
    for first, second, index in product([b"", *names], names, (1, 77)):
        twins.ask(nlmsg(nlmsg_type, ifinfomsg(index=index) + first + second))
        twins.ask(nlmsg(nlmsg_type, ifinfomsg(index=index) + first + second + kind("ifb")))


# --- lo refuses, and goes on ------------------------------------------------------------------------------------------

NESTS = [
    *(af(family) for family in (0, 1, AF_INET, AF_INET6, AF_BRIDGE, 28, 45, 99)),
    af(AF_INET6, u8(8, 4)), af(AF_INET6, u8(8, 2)), af(AF_INET6, u8(8, 1)), af(AF_INET6, u8(8, 0)),
    af(AF_INET6, nla(8)), af(AF_INET6, nla(7, bytes(16))), af(AF_INET6, nla(7, bytes(15))), af(AF_INET6, nla(9, 1)),
    af(AF_INET6, u8(8, 1), b"\1"), af(AF_INET6, nla(1, 1)), af(AF_INET6, u8(200, 1)), af(AF_INET6, u8(8 | NESTED, 0)),
    af(AF_INET, nla(1, nla(1, 1))), af(AF_INET, nla(1, nla(1, 0))), af(AF_INET, nla(1, nla(0, 1))),
    af(AF_INET, nla(1, nla(34, 1))), af(AF_INET, nla(1, nla(33, -1))), af(AF_INET, nla(1, u8(1, 1))),
    af(AF_INET, nla(1, b"ab")), af(AF_INET, nla(1)), af(AF_INET, nla(2, nla(1, 1))),
    nla(IFLA_AF_SPEC), nla(IFLA_AF_SPEC, nla(AF_INET, nla(1, nla(1, 1))) + nla(AF_INET6, u8(8, 7))),
    nla(IFLA_AF_SPEC, nla(AF_INET6, u8(8, 1)) + nla(99)), nla(IFLA_AF_SPEC, nla(AF_INET6, u8(8, 1)) + b"\1\2\3\4\5"),
    *(nla(IFLA_VFINFO_LIST, vf) for vf in (
        b"", nla(1), nla(2, bytes(4)), nla(1, bytes(4)), nla(1, bytes(3)), b"\1\2\3\4",
        nla(1, nla(1, bytes(36))), nla(1, nla(1, bytes(35))), nla(1, nla(1, b"\xff" * 36)), nla(1, nla(13, bytes(36))),
        *(nla(1, nla(setting, bytes(40))) for setting in range(14)),
        *(nla(1, nla(setting, b"\xff" * 40)) for setting in range(14)),
    )),
    nla(IFLA_VF_PORTS), nla(IFLA_VF_PORTS, nla(1, bytes(4))),
    nla(IFLA_PORT_SELF), nla(IFLA_PORT_SELF, nla(1)), nla(IFLA_PORT_SELF, nla(2, b"x" * 41)),
    nla(IFLA_PORT_SELF, nla(7, bytes(2))), nla(IFLA_PORT_SELF, nla(7, bytes(1))),
    nla(IFLA_XDP), nla(IFLA_XDP, nla(1, -1)), nla(IFLA_XDP, nla(1, 999_999)), nla(IFLA_XDP, nla(1)),
    nla(IFLA_XDP, u8(2, 0)), nla(IFLA_XDP, nla(4, 0)), nla(IFLA_XDP, nla(3, 0)), nla(IFLA_XDP, nla(3, 0x20)),
    *(nla(IFLA_XDP, nla(1, -1) + nla(3, flags)) for flags in (0, 1, 2, 4, 6, 8, 14, 16, 31, 32)),
    *(nla(IFLA_XDP, nla(1, -1) + nla(3, 16) + nla(8, fd)) for fd in (-1, 999_999)),
    nla(IFLA_XDP, nla(1, -1) + nla(8, 999_999)), nla(IFLA_XDP, nla(1, -1) + nla(8, bytes(8))),
    nla(IFLA_PROTO_DOWN_REASON), u8(IFLA_PROTO_DOWN, 0), u8(IFLA_PROTO_DOWN, 1), u8(IFLA_CARRIER, 1),
    nla(IFLA_MAP, bytes(32)), nla(IFLA_MASTER, 0), nla(IFLA_MASTER, 1), nla(IFLA_MASTER, 77), nla(IFLA_MASTER, -1),
    nla(IFLA_LINKINFO), kind("x"), kind(""), kind("ifb", nla(INFO_DATA)), nla(IFLA_LINKINFO, nla(INFO_DATA)),
    nla(IFLA_LINKINFO, nla(INFO_SLAVE_DATA)), nla(IFLA_LINKINFO, nla(INFO_KIND, b"")), nla(IFLA_LINKINFO, b"\1\2\3"),
    kind("ifb") + nla(IFLA_ADDRESS, bytes(6)), kind("ifb") + nla(IFLA_ADDRESS, b"\2\0\0"),
]  # fmt: skip


@pytest.mark.parametrize("nest", NESTS)
def test_what_nests_say_to_lo(up: Twins, nest: bytes) -> None:
    """Each beside an MTU, which shows how far the request had come when it was refused."""
    up.ask(newlink(nest, index=1))
    up.ask(newlink(nla(IFLA_MTU, 1400), nest, nla(IFLA_IFALIAS, b"there"), index=1))
    up.ask(nlmsg(RTM_SETLINK, ifinfomsg(index=1) + nest + nla(IFLA_TXQLEN, 7)))
    up.ask(nlmsg(RTM_DELLINK, ifinfomsg(index=1) + nest))
    up.ask(nlmsg(RTM_GETLINK, ifinfomsg(index=1) + nest), strict=True)
    up.ask(nlmsg(RTM_GETLINK, ifinfomsg(index=1) + nest))


@pytest.mark.parametrize(
    "attrs",
    [
        nla(IFLA_MTU, 1400) + nla(IFLA_ADDRESS, bytes(6)),
        nla(IFLA_MTU, 1400) + nla(IFLA_ADDRESS, b"\1" * 6),
        nla(IFLA_MTU, 1400) + nla(IFLA_ADDRESS, b"\2" * 32) + nla(IFLA_BROADCAST, b"\3" * 32),
        nla(IFLA_MTU, -1),
        nla(IFLA_IFNAME, "x") + nla(IFLA_GSO_MAX_SIZE, 524281),
        nla(IFLA_IFNAME, "x") + nla(IFLA_GSO_MAX_SEGS, 65536),
        nla(IFLA_IFNAME, "x") + nla(IFLA_TXQLEN, -1) + nla(58, 524281),
        nla(IFLA_IFNAME, "x") + nla(63, 524281),
        nla(IFLA_IFNAME, "x") + nla(64, 524281),
        nla(IFLA_IFNAME, "x") + nla(IFLA_GSO_MAX_SIZE, 192),
        nla(IFLA_IFNAME, "x") + nla(IFLA_GSO_MAX_SIZE, 193) + nla(IFLA_GSO_MAX_SEGS, 1) + nla(58, 1) + nla(63, 200),
        nla(IFLA_IFNAME, "a/b"),
        nla(IFLA_IFNAME, "all") + nla(IFLA_MTU, 3000),
        nla(IFLA_IFNAME, "q%d"),
        nla(IFLA_IFNAME, "q%s"),
        nla(IFLA_IFALIAS, b"\0\0") + nla(IFLA_GROUP, -1) + u8(IFLA_LINKMODE, 9) + u8(IFLA_OPERSTATE, 5),
        nla(IFLA_IFALIAS, b"\xff\xfe") + u8(IFLA_OPERSTATE, 4),
        nla(IFLA_NEW_IFINDEX, 0),
        nla(IFLA_NEW_IFINDEX, 7),
        nla(IFLA_ALLMULTI, 7),
        nla(IFLA_MTU, 1400) + nla(IFLA_MTU, 1500),
        nla(IFLA_MTU, 1400) + nla(IFLA_MTU, b"ab"),
    ],
)
def test_what_single_values_do_to_lo(up: Twins, attrs: bytes) -> None:
    up.ask(newlink(attrs, index=1))
    up.ask(newlink(attrs, index=1, nlmsg_flags=NLM_F_ACK | NLM_F_ECHO))
    up.ask(nlmsg(RTM_GETLINK, ifinfomsg(index=1)))
    up.ask(newlink(attrs, index=1, change=0xFFFFFFFF))
    up.ask(nlmsg(RTM_GETLINK, ifinfomsg(index=1)))


# --- alternative names ------------------------------------------------------------------------------------------------

LONG = "n" * 127


@pytest.mark.parametrize("fixture", ["twins", "up"])
def test_alternative_names(request: pytest.FixtureRequest, fixture: str) -> None:
    both: Twins = request.getfixturevalue(fixture)
    lists = [
        nla(IFLA_ALT_IFNAME, "alt"), nla(IFLA_ALT_IFNAME, "lo"), nla(IFLA_ALT_IFNAME, ""),
        nla(IFLA_ALT_IFNAME, "a/b c"),
        nla(IFLA_ALT_IFNAME, LONG), nla(IFLA_ALT_IFNAME, LONG + "n"), nla(IFLA_ALT_IFNAME, b""),
        nla(IFLA_ALT_IFNAME, b"x\0y"), nla(IFLA_ALT_IFNAME | NESTED, "bit"), b"", b"\1\2\3\4",
        nla(IFLA_IFNAME, "other"),
        nla(IFLA_ALT_IFNAME, "one") + nla(IFLA_ALT_IFNAME, "two"), nla(IFLA_ALT_IFNAME, "q%d"),
        nla(IFLA_ALT_IFNAME, "three") + nla(IFLA_ALT_IFNAME, "three"), nla(IFLA_ALT_IFNAME, "four") + b"\1\2",
        nla(IFLA_ALT_IFNAME, "five") + nla(IFLA_ALT_IFNAME, b""), nla(99) + nla(IFLA_ALT_IFNAME, "six"),
    ]  # fmt: skip
    for nlmsg_type, names in product((RTM_NEWLINKPROP, RTM_NEWLINKPROP, RTM_DELLINKPROP, RTM_DELLINKPROP), lists):
        both.ask(nlmsg(nlmsg_type, ifinfomsg(index=1) + nla(IFLA_PROP_LIST | NESTED, names)))
        both.ask(nlmsg(RTM_GETLINK, ifinfomsg(index=1)))


def test_alternative_names_are_asked_for_by_strict_checks(twins: Twins) -> None:
    for nlmsg_type in (RTM_NEWLINKPROP, RTM_DELLINKPROP, RTM_GETLINKPROP):
        for flags in (NLM_F_ACK, NLM_F_ACK | 0x200, NLM_F_DUMP):
            for attrs in (b"", nla(IFLA_PROP_LIST), nla(IFLA_PROP_LIST, nla(IFLA_ALT_IFNAME, "x")), nla(IFLA_MTU, 5)):
                twins.ask(nlmsg(nlmsg_type, ifinfomsg(index=1) + attrs, flags))


def test_an_alternative_name_is_a_name_like_any_other(twins: Twins) -> None:
    def prop(name: str, index: int = 1) -> bytes:
        return nlmsg(RTM_NEWLINKPROP, ifinfomsg(index=index) + nla(IFLA_PROP_LIST | NESTED, nla(IFLA_ALT_IFNAME, name)))

    make(twins)
    for name in ("q0", "q1", "i1"):
        twins.ask(prop(name))
    twins.ask(prop("q1", 2))
    twins.ask(newlink(nla(IFLA_IFNAME, "q0"), index=1))
    twins.ask(newlink(nla(IFLA_IFNAME, "q0"), index=2))
    twins.ask(newlink(nla(IFLA_IFNAME, "q%d"), index=2))
    make(twins, "i1")
    make(twins, "i%d")
    twins.ask(nlmsg(RTM_DELLINKPROP, ifinfomsg(index=2) + nla(IFLA_PROP_LIST | NESTED, nla(IFLA_ALT_IFNAME, "q1"))))
    twins.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))


def test_more_alternative_names_than_a_datagram_holds(twins: Twins) -> None:
    for number in range(0, 560, 20):
        names = b"".join(nla(IFLA_ALT_IFNAME, f"name{n}") for n in range(number, number + 20))
        twins.ask(nlmsg(RTM_NEWLINKPROP, ifinfomsg(index=1) + nla(IFLA_PROP_LIST | NESTED, names)))
        twins.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))
        twins.ask(nlmsg(RTM_GETLINK, ifinfomsg() + nla(IFLA_EXT_MASK, 8), NLM_F_DUMP))
        twins.ask(nlmsg(RTM_GETLINK, ifinfomsg() + nla(IFLA_EXT_MASK, 1), NLM_F_DUMP))
    twins.ask(nlmsg(RTM_GETLINK, ifinfomsg(index=1)))


# --- RTM_GETLINK ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("family", [AF_UNSPEC, AF_INET, AF_INET6, AF_BRIDGE, AF_PACKET, 28, 127, 200, 255])
def test_dumps_and_what_narrows_them(up: Twins, strict: bool, family: int) -> None:
    make(up)
    for body in (
        bytes((family,)), bytes((family,)) + bytes(7), bytes((family,)) + bytes(3) + nla(IFLA_EXT_MASK, 8),
        ifinfomsg(family), ifinfomsg(family, index=1), ifinfomsg(family, index=-1), ifinfomsg(family, type_=1),
        ifinfomsg(family, flags=1), ifinfomsg(family, change=1), ifinfomsg(family, pad=1),
        *(ifinfomsg(family) + nla(IFLA_EXT_MASK, mask) for mask in (0, 1, 2, 8, 9, 0xFFFFFFFF)),
        ifinfomsg(family) + nla(IFLA_EXT_MASK, b"ab"), ifinfomsg(family) + nla(IFLA_EXT_MASK, bytes(8)),
        *(ifinfomsg(family) + nla(IFLA_MASTER, master) for master in (0, 1, 2, 77, -1)),
        *(ifinfomsg(family) + kind(name) for name in ("ifb", "none", "")),
        ifinfomsg(family) + nla(IFLA_LINKINFO), ifinfomsg(family) + nla(IFLA_LINKINFO, nla(INFO_KIND, b"")),
        ifinfomsg(family) + kind("ifb") + nla(IFLA_MASTER, -1), ifinfomsg(family) + kind("ifb") + nla(IFLA_MASTER, 1),
        ifinfomsg(family) + nla(IFLA_TARGET_NETNSID, 7), ifinfomsg(family) + nla(IFLA_TARGET_NETNSID, -1),
        ifinfomsg(family) + nla(IFLA_IFNAME, "lo"), ifinfomsg(family) + nla(IFLA_MTU, 1), ifinfomsg(family) + nla(200),
        ifinfomsg(family) + nla(IFLA_IFNAME, b"x" * 20), ifinfomsg(family) + b"\1\2\3", ifinfomsg(family) + nla(43),
    ):  # fmt: skip
        up.ask(nlmsg(RTM_GETLINK, body, NLM_F_DUMP), strict=strict)


@pytest.mark.parametrize("strict", [False, True])
def test_a_single_device_is_asked_for(up: Twins, strict: bool) -> None:
    make(up, "i0", flags=1, change=1)
    for body in (
        ifinfomsg(index=1), ifinfomsg(index=2), ifinfomsg(AF_INET6, index=1), ifinfomsg(AF_BRIDGE, index=1),
        ifinfomsg(index=1, type_=1), ifinfomsg(index=1, flags=1), ifinfomsg(index=1, change=1),
        ifinfomsg(pad=1, index=1),
        *(ifinfomsg(index=1) + nla(IFLA_EXT_MASK, mask) for mask in (0, 1, 2, 8, 9, 0xFFFFFFFF)),
        ifinfomsg() + nla(IFLA_IFNAME, "i0") + nla(IFLA_EXT_MASK, 9), ifinfomsg() + nla(IFLA_ALT_IFNAME, "i0"),
        ifinfomsg(index=1) + nla(IFLA_MTU, 1), ifinfomsg(index=1) + nla(200),
        ifinfomsg(index=1) + nla(IFLA_TARGET_NETNSID, 1),
    ):  # fmt: skip
        up.ask(nlmsg(RTM_GETLINK, body, NLM_F_ACK), strict=strict)
        up.ask(nlmsg(RTM_GETLINK, body, 0), strict=strict)


def test_a_dump_of_many_devices_goes_on_behind_the_last_index(twins: Twins) -> None:
    for number in range(9):
        make(twins, f"i{number}")
    for mask in (0, 1, 8):
        with twins.half_read(nlmsg(RTM_GETLINK, ifinfomsg() + nla(IFLA_EXT_MASK, mask), NLM_F_DUMP), 4000):
            pass
        with twins.half_read(nlmsg(RTM_GETLINK, ifinfomsg() + nla(IFLA_EXT_MASK, mask), NLM_F_DUMP), 4000):
            twins.ask(nlmsg(RTM_DELLINK, ifinfomsg() + nla(IFLA_IFNAME, f"i{mask}")))
        with twins.half_read(nlmsg(RTM_GETLINK, ifinfomsg() + nla(IFLA_EXT_MASK, mask), NLM_F_DUMP), 4000):
            make(twins, f"j{mask}", index=3)
        with twins.half_read(nlmsg(RTM_GETLINK, ifinfomsg(AF_INET6), NLM_F_DUMP), 4000):
            make(twins, f"k{mask}")


# --- bridges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nlmsg_type", [RTM_SETLINK, RTM_DELLINK, RTM_NEWLINK])
def test_there_are_no_bridges(twins: Twins, nlmsg_type: int) -> None:
    for index in (0, 1, 77, -1):
        for spec in (
            b"", nla(IFLA_AF_SPEC), *(nla(IFLA_AF_SPEC, nla(0, pack("=H", flags))) for flags in (0, 1, 2, 3, 4)),
            nla(IFLA_AF_SPEC, nla(0, b"a")), nla(IFLA_AF_SPEC, nla(1, b"a")), nla(IFLA_AF_SPEC, nla(1, bytes(2))),
            nla(IFLA_AF_SPEC, nla(0, bytes(2)) + nla(0, b"a")), nla(IFLA_AF_SPEC, nla(0, bytes(2)) + nla(1, b"")),
            nla(IFLA_MTU, b"a"), nla(IFLA_AF_SPEC, bytes(3)),
        ):  # fmt: skip
            twins.ask(nlmsg(nlmsg_type, ifinfomsg(AF_BRIDGE, index=index) + spec))


# --- devices that are made by request ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attrs",
    [
        b"",
        nla(IFLA_MTU, 1400),
        nla(IFLA_MTU, 0),
        nla(IFLA_MTU, 1000),
        nla(IFLA_MTU, -1),
        nla(IFLA_TXQLEN, 0),
        nla(IFLA_TXQLEN, 77) + nla(IFLA_GROUP, 5) + nla(IFLA_IFALIAS, b"hello") + u8(IFLA_LINKMODE, 1),
        u8(IFLA_OPERSTATE, 6),
        u8(IFLA_OPERSTATE, 2),
        nla(IFLA_NUM_TX_QUEUES, 3) + nla(IFLA_NUM_RX_QUEUES, 2),
        nla(IFLA_NUM_TX_QUEUES, 0),
        nla(IFLA_NUM_TX_QUEUES, 4097),
        nla(IFLA_NUM_RX_QUEUES, 0),
        nla(IFLA_NUM_RX_QUEUES, -1),
        nla(IFLA_GSO_MAX_SIZE, 1000) + nla(IFLA_GSO_MAX_SEGS, 10) + nla(58, 2000) + nla(63, 3000) + nla(64, 4000),
        nla(IFLA_GSO_MAX_SIZE, 524281),
        nla(IFLA_BROADCAST, b"\3" * 6),
        nla(IFLA_BROADCAST, b"\3" * 5),
        nla(IFLA_BROADCAST, b"\3" * 32),
        nla(IFLA_ADDRESS, b"\3" * 6),
        nla(IFLA_ADDRESS, b"\2" * 7),
        nla(IFLA_ADDRESS, b"\2" * 5),
        nla(IFLA_ADDRESS, bytes(6)),
        u8(IFLA_CARRIER, 0),
        u8(IFLA_PROTO_DOWN, 1),
        nla(IFLA_XDP, nla(1, 999)),
        nla(IFLA_VF_PORTS),
        nla(IFLA_MAP, bytes(32)),
        nla(IFLA_PROTINFO),
        nla(IFLA_MASTER, 0),
        nla(IFLA_MASTER, 1),
        nla(IFLA_MASTER, 77),
        af(AF_INET6, u8(8, 1)),
        af(AF_INET, nla(1, nla(1, 1))),
        af(AF_BRIDGE),
        af(99),
        nla(IFLA_IFNAME, "a b"),
        nla(IFLA_IFNAME, "lo"),
        nla(IFLA_IFNAME, "x%d"),
        nla(IFLA_IFNAME, "all"),
        nla(IFLA_IFNAME, b"\0"),
        nla(IFLA_ALT_IFNAME, "alt"),
        nla(IFLA_LINKINFO, nla(INFO_KIND, "ifb") + nla(INFO_DATA)),
        nla(IFLA_LINKINFO, nla(INFO_KIND, b"ifb")),
        nla(IFLA_LINKINFO, nla(INFO_KIND, b"ifb\0x")),
        nla(IFLA_LINKINFO, nla(INFO_KIND, "ifb") + nla(INFO_SLAVE_DATA)),
        nla(IFLA_LINKINFO, nla(INFO_KIND, "loopback")),
        nla(IFLA_LINKINFO, nla(INFO_KIND, "")),
        nla(IFLA_LINKINFO),
    ],
)
@pytest.mark.parametrize("flags", [0])
def test_making_an_ifb(twins: Twins, attrs: bytes, flags: int) -> None:
    body = ifinfomsg(flags=flags, change=flags) + nla(IFLA_ADDRESS, MAC) + kind("ifb") + attrs
    twins.ask(nlmsg(RTM_NEWLINK, body, MAKE))
    twins.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))
    twins.ask(nlmsg(RTM_DELLINK, ifinfomsg(index=2)))


# --- to and from another namespace ------------------------------------------------------------------------------------


def over_there(peer: Peer) -> Twins:
    return Twins(peer.netns, peer.net)


def to_peer(peer: Peer, *attrs: bytes, nlmsg_flags: int = NLM_F_ACK, index: int = 2) -> bytes:
    return newlink(nla(IFLA_NET_NS_PID, peer.process.pid), *attrs, nlmsg_flags=nlmsg_flags, index=index)


@pytest.mark.parametrize("flags", [0, NLM_F_ECHO])
@pytest.mark.parametrize(
    "attrs",
    [
        b"", nla(IFLA_IFNAME, "moved"), nla(IFLA_NEW_IFINDEX, 77), nla(IFLA_NEW_IFINDEX, 1), nla(IFLA_NEW_IFINDEX, 3),
        nla(IFLA_IFNAME, "lo"), nla(IFLA_IFNAME, "i%d"), nla(IFLA_MTU, 1400) + nla(IFLA_NEW_IFINDEX, 5),
        nla(IFLA_MTU, 20), u8(IFLA_CARRIER, 1),
    ],
)  # fmt: skip
def test_a_device_moves(twins: Twins, peer: Peer, attrs: bytes, flags: int) -> None:
    make(twins)
    with over_there(peer) as there:
        make(there, index=3)
        twins.ask(to_peer(peer, attrs, nlmsg_flags=NLM_F_ACK | flags))
        there.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))
        twins.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))


def test_a_device_that_is_up_moves_and_comes_back(twins: Twins, peer: Peer) -> None:
    """Each namespace gets to know the other by an id, and names it by that the second time, too."""
    listing = nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP)
    make(twins)
    alternative = nla(IFLA_ALT_IFNAME, "other") + nla(IFLA_ALT_IFNAME, "another")
    twins.ask(nlmsg(RTM_NEWLINKPROP, ifinfomsg(index=2) + nla(IFLA_PROP_LIST | NESTED, alternative)))
    with over_there(peer) as there:
        for _ in range(2):
            twins.ask(newlink(af(AF_INET6, u8(8, IN6_ADDR_GEN_MODE_NONE)), index=2))
            twins.ask(newlink(index=2, flags=IFF_UP, change=IFF_UP))
            twins.ask(to_peer(peer))
            there.ask(listing)
            twins.ask(nlmsg(RTM_GETLINK, ifinfomsg(index=2) + nla(IFLA_TARGET_NETNSID, 0)))
            twins.ask(nlmsg(RTM_GETLINK, ifinfomsg() + nla(IFLA_TARGET_NETNSID, 0), NLM_F_DUMP))
            there.ask(newlink(nla(IFLA_TARGET_NETNSID, 0), index=2))
            twins.ask(listing)


def test_a_device_is_made_over_there(twins: Twins, peer: Peer) -> None:
    with over_there(peer) as there:
        make(twins, "i0", nla(IFLA_NET_NS_PID, peer.process.pid))
        make(twins, "i0", nla(IFLA_NET_NS_PID, peer.process.pid))
        make(twins, "i1", nla(IFLA_NET_NS_PID, peer.process.pid), index=2)
        make(twins, "i1", nla(IFLA_NET_NS_PID, peer.process.pid), nla(IFLA_MASTER, 9))
        there.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))
        twins.ask(nlmsg(RTM_NEWNSID, bytes(4) + nla(1, 4) + peer.pid))
        make(twins, "i1", nla(IFLA_TARGET_NETNSID, 4))
        make(twins, "i2", nla(IFLA_LINK_NETNSID, 4))
        there.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))
        twins.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))
        twins.ask(nlmsg(RTM_DELLINK, ifinfomsg() + nla(IFLA_IFNAME, "i1") + nla(IFLA_TARGET_NETNSID, 4)))
        twins.ask(nlmsg(RTM_SETLINK, ifinfomsg() + nla(IFLA_IFNAME, "i0") + nla(IFLA_TARGET_NETNSID, 4)))
        there.ask(nlmsg(RTM_GETLINK, ifinfomsg(), NLM_F_DUMP))
