"""Values into bytes and back: the laws, a kernel's own bytes, another reader, and bytes that are no message."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from addrsvc.errors import CodecError
from addrsvc.mirror.netns import NetNs
from addrsvc.netlink import attributes
from addrsvc.netlink.codec import LAYOUTS, Layout, decode, encode, knows
from addrsvc.netlink.messages import (
    AddrMsg,
    IfaCacheinfo,
    Inet6LinkInfo,
    InetLinkInfo,
    LinkInfo,
    LinkMsg,
    Message,
    NeighMsg,
    RouteMsg,
    RtaCacheinfo,
    Sysctl,
    WireMessage,
)
from addrsvc.uapi import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    IFA_F_PERMANENT,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNSID,
)
from tests.netlink.recording import HEADER, RECORDED, one_of_each, record

# --- any value ------------------------------------------------------------------------------------------------------

_BITS = {"B": 8, "H": 16, "I": 32, "Q": 64}


def numbers(code: str) -> st.SearchStrategy[int]:
    if code == "i":
        return st.integers(-(1 << 31), (1 << 31) - 1)
    return st.integers(0, (1 << _BITS[code[0]]) - 1)


texts = st.binary(max_size=20).filter(lambda raw: 0 not in raw).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def fields_of(kind: attributes.Kind) -> st.SearchStrategy[Any]:
    """Whatever an attribute of this kind can be."""
    match kind:
        case attributes.Number(code=code):
            return numbers(code)
        case attributes.Numbers(codes=codes, make=make):
            members = st.tuples(*(numbers(code) for code in codes if code in "BHIQi"))
            return members.map(lambda values: values if make is None else make(*values))
        case attributes.Array(code=code):
            return st.lists(numbers(code), max_size=5).map(tuple)
        case attributes.Text():
            return texts
        case attributes.Nest(make=make, table=table):
            return attributes_of(table.rows).map(lambda fields: make(**fields))
        case attributes.Names():
            return st.lists(texts, max_size=3).map(tuple)
        case attributes.Metrics():
            number = st.tuples(st.integers(1, 15), numbers("I"))
            return st.lists(st.one_of(number, st.tuples(st.just(16), texts)), max_size=3).map(tuple)
        case attributes.Settings():
            return st.lists(st.tuples(st.integers(1, 99), numbers("I")), max_size=3).map(tuple)
        case _:
            return st.binary(max_size=20)


def attributes_of(rows: tuple[attributes.Row, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Any choice of attributes, and some that nobody knows."""
    known = {nla_type & 0x3FFF for nla_type, _, _ in rows}
    nobody_knows = st.integers(1, 0xFFFF).filter(lambda nla_type: nla_type & 0x3FFF not in known)
    unknown = st.lists(st.tuples(nobody_knows, st.binary(max_size=9)), max_size=2).map(tuple)
    return (
        st.fixed_dictionaries({}, optional={field: fields_of(kind) for _, field, kind in rows})
        .filter(lambda fields: "fib_prefsrc" not in fields or "prefsrc" in fields)
        .flatmap(lambda fields: unknown.map(lambda left: {**fields, "unknown": left} if left else fields))
    )


def variants() -> Iterator[tuple[int, Layout, Mapping[str, int], tuple[str, int] | None]]:
    """Every layout with the message type it belongs to, what its header must be, and the bit that decides for it."""
    for nlmsg_type, (families, other) in LAYOUTS.items():
        for family, layout in [*families.items(), (0, other)]:
            must = {next(iter(layout.header)): family}
            yield nlmsg_type, layout, must, None
            if layout.instead is not None:
                member, bit, instead = layout.instead
                yield nlmsg_type, instead, must, (member, bit)


@cache
def values(nlmsg_type: int, layout: Layout, must: tuple[tuple[str, int], ...], bit: tuple[str, int] | None):  # type: ignore[no-untyped-def]  # noqa: ANN201
    members = {name: numbers(code) for name, code in layout.header.items()} | {"nlmsg_flags": numbers("H")}
    members |= {name: st.just(value) for name, value in must}
    if layout.instead is not None:
        name, clear = layout.instead[:2]
        members[name] = members[name].map(lambda number: number & ~clear)
    if bit is not None:
        members[bit[0]] = members[bit[0]].map(lambda number: number | bit[1])
    types = st.integers(nlmsg_type, nlmsg_type + 3)
    return st.builds(
        lambda kind, header, attributes: layout.make(nlmsg_type=kind, **header, **attributes),
        types, st.fixed_dictionaries(members), attributes_of(layout.rows),
    )  # fmt: skip


ANY_VALUE = st.sampled_from(list(variants())).flatmap(
    lambda found: values(found[0], found[1], tuple(found[2].items()), found[3])
)


@given(ANY_VALUE, numbers("I"), numbers("I"))
def test_what_is_written_is_read_again(msg: WireMessage, seq: int, pid: int) -> None:
    data = encode(msg, seq, pid)

    assert decode(data) == msg
    length, nlmsg_type, flags, *numbers = HEADER.unpack_from(data)
    assert (length, len(data) % 4) == (len(data), 0)
    assert (nlmsg_type, flags, numbers) == (msg.nlmsg_type, msg.nlmsg_flags, [seq, pid])


def test_the_plain_form_of_an_ipv6_address_is_written_and_read_as_the_table_has_it() -> None:
    plain = AddrMsg(address=bytes(16), cacheinfo=IfaCacheinfo(1, 2, 3, 4), flags=IFA_F_PERMANENT, proto=1)
    _, layout = LAYOUTS[RTM_NEWADDR]

    for msg in (plain, AddrMsg(address=bytes(16), cacheinfo=IfaCacheinfo(1, 2), flags=0, nlmsg_type=RTM_DELADDR)):
        data = encode(msg, 7, 8)
        assert data == Layout.encode(layout, msg, 7, 8)
        assert decode(data) == Layout.decode(layout, data, HEADER.size, len(data), msg.nlmsg_type, 0) == msg


# --- what a kernel says ---------------------------------------------------------------------------------------------

RECORDING = [bytes.fromhex(line) for line in RECORDED.read_text().splitlines()]


def rewritten(message: bytes) -> bytes:
    *_, seq, pid = HEADER.unpack_from(message)
    return encode(decode(message), seq, pid)


def named(message: bytes) -> str:
    return f"{HEADER.unpack_from(message)[1]} of family {message[HEADER.size]}"


@pytest.mark.parametrize("message", RECORDING, ids=named)
def test_a_recorded_message_is_written_again_to_the_byte(message: bytes) -> None:
    assert rewritten(message) == message


@pytest.mark.needs_cap_sys_admin  # as some of what is recorded does
def test_what_the_running_kernel_says_is_written_again_to_the_byte(netns: NetNs) -> None:
    said = one_of_each(record(netns))
    types = {HEADER.unpack_from(message)[1] for message in said}

    assert [decode(message) for message in said if rewritten(message) != message] == []
    assert types >= {16, 17, 20, 21, 24, 25, 28, 29, 32, 33, 56, 57, 58, 60, 61, 62, 64, 80, 81, 88, 92}


@pytest.mark.needs_cap_sys_admin
def test_the_running_kernel_says_nothing_of_devices_addresses_and_routes_that_has_no_name(netns: NetNs) -> None:
    decoded = [decode(message) for message in one_of_each(record(netns))]

    assert [msg for msg in decoded if msg.unknown and getattr(msg, "ifi_family", 0) != AF_BRIDGE] == []


def test_a_recorded_message_reads_as_what_it_says() -> None:
    link = next(msg for msg in map(decode, RECORDING) if isinstance(msg, LinkMsg) and msg.altnames)

    assert (link.ifname, link.ifalias, link.altnames) == ("v0", "grüße", ("alternative", "another"))
    assert link.linkinfo == LinkInfo(kind="veth")
    assert link.inet is not None
    assert link.inet.conf is not None
    assert len(link.inet.conf) == 33
    assert link.inet6 is not None
    assert (link.inet6.mtu6, link.inet6.disable_ipv6) == (1500, 0)
    assert len(link.stats64 or ()) == 25


def test_flags_that_say_how_a_message_travels_can_be_left_out() -> None:
    data = encode(LinkMsg(nlmsg_flags=NLM_F_MULTI | 0x400))

    assert decode(data, without=NLM_F_MULTI) == LinkMsg(nlmsg_flags=0x400)


# --- attributes out of the ordinary -----------------------------------------------------------------------------------


def raw(nlmsg_type: int, rest: str) -> bytes:
    payload = bytes.fromhex(rest)
    return HEADER.pack(HEADER.size + len(payload), nlmsg_type, 0, 0, 0) + payload


NSID_HEADER = "00000000 "


def test_what_has_no_name_is_kept_with_its_flags_and_written_last() -> None:
    data = raw(RTM_NEWNSID, NSID_HEADER + "06006380 abcd 0000 08000100 07000000")
    msg = decode(data)

    assert msg.unknown == ((0x8063, b"\xab\xcd"),)
    assert encode(msg) == raw(RTM_NEWNSID, NSID_HEADER + "08000100 07000000 06006380 abcd 0000")
    assert decode(encode(msg)) == msg


def test_of_several_alike_the_first_counts_and_the_others_are_kept() -> None:
    msg = decode(raw(RTM_NEWNSID, NSID_HEADER + "08000100 07000000 08000100 09000000"))

    assert (msg.nsid, msg.unknown) == (7, ((1, b"\x09\0\0\0"),))  # type: ignore[union-attr]


def test_a_number_of_another_size_is_no_number_but_kept() -> None:
    msg = decode(raw(RTM_NEWNSID, NSID_HEADER + "0c000100 0700000000000000"))

    assert (msg.nsid, msg.unknown) == (None, ((1, b"\7\0\0\0\0\0\0\0"),))  # type: ignore[union-attr]


def test_a_header_without_its_padding_is_one() -> None:
    assert decode(raw(RTM_NEWNSID, "0a")) == decode(raw(RTM_NEWNSID, "0a000000"))


def test_an_empty_nest_of_address_families_is_told_from_none() -> None:
    assert decode(encode(LinkMsg(af_other=()))) == LinkMsg(af_other=())
    assert len(encode(LinkMsg(af_other=()))) == len(encode(LinkMsg())) + 4


def test_a_request_says_settings_of_ipv4_one_by_one_and_an_alias_without_its_end() -> None:
    msg = LinkMsg(nlmsg_flags=NLM_F_REQUEST, ifalias="abcd", inet=InetLinkInfo(changes=((1, 1), (30, 0))))
    said = LinkMsg(ifalias="abcd", inet=InetLinkInfo(conf=(1, 0)))

    assert decode(encode(msg)) == msg
    assert encode(msg).count(b"abcd\0") == 0
    assert decode(encode(said)) == said
    assert encode(said).count(b"abcd\0") == 1


# --- another reader -------------------------------------------------------------------------------------------------


def test_pyroute2_reads_the_address_that_is_written() -> None:
    cacheinfo = IfaCacheinfo(50, 100, 7, 8)
    msg = AddrMsg(
        ifa_prefixlen=64, ifa_index=3, local=bytes(15) + b"\2", address=bytes(15) + b"\3", rt_priority=9, flags=0x280,
        cacheinfo=cacheinfo, proto=3,
    )  # fmt: skip
    read = ifaddrmsg(encode(msg, 5, 6))
    read.decode()

    assert (read["family"], read["prefixlen"], read["index"]) == (AF_INET6, 64, 3)
    assert (read["header"]["sequence_number"], read["header"]["pid"]) == (5, 6)
    assert (read.get_attr("IFA_LOCAL"), read.get_attr("IFA_ADDRESS")) == ("::2", "::3")
    assert (read.get_attr("IFA_FLAGS"), read.get_attr("IFA_RT_PRIORITY"), read.get_attr("IFA_PROTO")) == (0x280, 9, 3)
    info = read.get_attr("IFA_CACHEINFO")
    assert (info["ifa_preferred"], info["ifa_valid"], info["cstamp"], info["tstamp"]) == (50, 100, 7, 8)


def test_pyroute2_reads_the_link_that_is_written() -> None:
    msg = LinkMsg(
        ifi_index=7, ifi_flags=0x49, ifname="x7", mtu=1400, operstate=6, address=b"\2\0\0\0\0\7", qdisc="noqueue",
        linkinfo=LinkInfo(kind="dummy"), stats64=tuple(range(25)), altnames=("seven",),
        inet6=Inet6LinkInfo(flags=0x80000000, addr_gen_mode=1).having(forwarding=1, mtu=1400),
    )  # fmt: skip
    read = ifinfmsg(encode(msg))
    read.decode()

    assert (read["index"], read["flags"]) == (7, 0x49)
    assert (read.get_attr("IFLA_IFNAME"), read.get_attr("IFLA_MTU")) == ("x7", 1400)
    assert (read.get_attr("IFLA_OPERSTATE"), read.get_attr("IFLA_QDISC")) == ("UP", "noqueue")
    assert read.get_attr("IFLA_ADDRESS") == "02:00:00:00:00:07"
    assert read.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "dummy"
    assert read.get_attr("IFLA_STATS64")["tx_packets"] == 1
    assert read.get_nested("IFLA_PROP_LIST", "IFLA_ALT_IFNAME") == "seven"
    inet6 = read.get_nested("IFLA_AF_SPEC", "AF_INET6")
    assert (inet6.get_attr("IFLA_INET6_FLAGS"), inet6.get_attr("IFLA_INET6_CONF")["mtu"]) == (0x80000000, 1400)


def test_pyroute2_reads_the_route_that_is_written() -> None:
    msg = RouteMsg(
        rtm_family=AF_INET, rtm_dst_len=16, rtm_table=254, table=254, dst=b"\x0a\1\0\0", oif=3, priority=7,
        gateway=b"\x0a\2\0\1", cacheinfo=RtaCacheinfo(expires=500),
    )  # fmt: skip
    read = rtmsg(encode(msg))
    read.decode()

    assert (read["family"], read["dst_len"], read.get_attr("RTA_DST")) == (AF_INET, 16, "10.1.0.0")
    assert (read.get_attr("RTA_OIF"), read.get_attr("RTA_PRIORITY"), read.get_attr("RTA_GATEWAY")) == (3, 7, "10.2.0.1")
    assert read.get_attr("RTA_CACHEINFO")["rta_expires"] == 500


# --- bytes that are no message ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "offset", "attribute"),
    [
        (b"", 0, None),
        (bytes(15), 0, None),
        (HEADER.pack(15, RTM_NEWLINK, 0, 0, 0), 0, None),
        (HEADER.pack(17, RTM_NEWLINK, 0, 0, 0), 0, None),
        (HEADER.pack(16, 2, 0, 0, 0), 4, None),
        (raw(RTM_NEWLINK, "00"), 16, None),
        (raw(RTM_NEWNSID, ""), 16, None),
        (raw(RTM_NEWNSID, NSID_HEADER + "0800"), 20, None),
        (raw(RTM_NEWNSID, NSID_HEADER + "03000100"), 20, 1),
        (raw(RTM_NEWNSID, NSID_HEADER + "09000180 07000000"), 20, 1),
        (raw(RTM_NEWLINK, "00" * 16 + "0c001200 09000100 61620000"), 36, 1),
    ],
)
def test_bytes_that_are_no_message_say_where(data: bytes, offset: int, attribute: int | None) -> None:
    with pytest.raises(CodecError) as error:
        decode(data)

    assert (error.value.offset, error.value.attribute) == (offset, attribute)
    assert str(error.value).endswith(f"(at byte {offset})")


@pytest.mark.parametrize(
    ("msg", "text"),
    [
        (LinkMsg(mtu=-1), "LinkMsg: "),
        (AddrMsg(address=bytes(16), cacheinfo=IfaCacheinfo(1, 2), flags=1 << 32), "AddrMsg: "),
        (LinkMsg(ifname="\ud800"), "LinkMsg: "),
        (LinkMsg(nlmsg_type=RTM_NEWADDR), "no LinkMsg is of message type 20"),
        (RouteMsg(rtm_family=AF_INET6, fib_prefsrc=bytes(16)), "fib_prefsrc without prefsrc"),
        (NeighMsg(nlmsg_type=2), "no NeighMsg is of message type 2"),
        (Sysctl("net.ipv6.conf.lo.mtu", "1280"), "a setting is written to a file, not sent"),
    ],
)
def test_a_value_that_has_no_bytes_says_why(msg: Message, text: str) -> None:
    with pytest.raises(CodecError, match=text):
        encode(msg)


@given(st.sampled_from(RECORDING), st.data())
def test_mutated_bytes_are_said_to_be_no_message_or_are_one(message: bytes, data: st.DataObject) -> None:
    mutated = bytearray(message)
    for at in data.draw(st.lists(st.integers(0, len(message) - 1), max_size=4)):
        mutated[at] = data.draw(st.integers(0, 255))
    shortened = bytes(mutated[: data.draw(st.integers(0, len(mutated)))])
    try:
        msg = decode(shortened)
    except CodecError:
        return
    assert decode(encode(msg)) == msg
    assert knows(msg.nlmsg_type)
