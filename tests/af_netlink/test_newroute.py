"""RTM_NEWROUTE and RTM_DELROUTE on both kernels, byte for byte."""

from errno import EOPNOTSUPP
from random import Random
from struct import pack

import pytest

from addrsvc.model.structs import Printk
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFF_UP,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_ENCAP,
    RTA_ENCAP_TYPE,
    RTA_EXPIRES,
    RTA_FLOW,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PREF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_SRC,
    RTA_TABLE,
    RTA_VIA,
    RTAX_ADVMSS,
    RTAX_CC_ALGO,
    RTAX_FEATURES,
    RTAX_HOPLIMIT,
    RTAX_LOCK,
    RTAX_MTU,
    RTM_DELROUTE,
    RTM_F_CLONED,
    RTM_F_FIB_MATCH,
    RTM_GETROUTE,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTN_BLACKHOLE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    RTNH_F_ONLINK,
)
from tests.af_netlink.rtmsg import add_address, packed, rtmsg
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

NESTED = 0x8000
FAMILIES = (AF_INET, AF_INET6)
LO, IFB = 1, 2
CREATE = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
BITS = {AF_INET: 32, AF_INET6: 128}
HOST = {AF_INET: "10.7.0.1", AF_INET6: "2001:db8::7"}
NET = {AF_INET: "10.7.0.0/16", AF_INET6: "2001:db8:7::/48"}
SCOPES = {RTN_UNICAST: RT_SCOPE_LINK, RTN_LOCAL: RT_SCOPE_HOST, RTN_BROADCAST: RT_SCOPE_LINK, 4: RT_SCOPE_LINK}


def route(
    prefix: str, *attrs: bytes, kind: int = RTN_UNICAST, oif: int | None = LO, table: int = RT_TABLE_MAIN,
    scope: int | None = None, proto: int = 3, flags: int = 0, tos: int = 0,
) -> bytes:  # fmt: skip
    """struct rtmsg and attributes of a route."""
    text, _, plen = prefix.partition("/")
    dst = packed(text)
    family = AF_INET if len(dst) == 4 else AF_INET6
    if scope is None:
        scope = SCOPES.get(kind, RT_SCOPE_UNIVERSE) if family == AF_INET else RT_SCOPE_UNIVERSE
    length = int(plen) if plen else BITS[family]
    header = rtmsg(family, dst=length, tos=tos, table=table, proto=proto, scope=scope, kind=kind, flags=flags)
    to = nla(RTA_DST, dst) if length else b""
    return header + to + (nla(RTA_OIF, oif) if oif is not None else b"") + b"".join(attrs)


def metrics(*pairs: tuple[int, int | str | bytes]) -> bytes:
    return nla(RTA_METRICS | NESTED, b"".join(nla(kind, value) for kind, value in pairs))


def add(twins: Twins, request: bytes, flags: int = CREATE) -> int:
    """Add a route; the errno, 0 for none."""
    return _errno(twins.ask(nlmsg(RTM_NEWROUTE, request, flags)))


def delete(twins: Twins, request: bytes) -> int:
    return _errno(twins.ask(nlmsg(RTM_DELROUTE, request)))


def _errno(answers: list[bytes]) -> int:
    body = messages(answers[-1])[-1][4]
    return -int.from_bytes(body[:4], "little", signed=True)


def dump(twins: Twins) -> None:
    for family in FAMILIES:
        twins.ask(nlmsg(RTM_GETROUTE, rtmsg(family), NLM_F_DUMP))


def look_up(twins: Twins, text: str) -> None:
    dst = packed(text)
    family = AF_INET if len(dst) == 4 else AF_INET6
    for flags in (0, RTM_F_FIB_MATCH):
        twins.ask(nlmsg(RTM_GETROUTE, rtmsg(family, dst=BITS[family], flags=flags) + nla(RTA_DST, dst)))


@pytest.fixture
def ifb(up: Twins) -> Twins:
    """lo and a device beside it, both up; it has an address of each family."""
    link = pack("=BxHiII", 0, 0, 0, 0, 0) + nla(3, "ifb7") + nla(1, bytes((2, 0, 0, 0, 0, 7))) + nla(18, nla(1, b"ifb"))
    up.ask(nlmsg(RTM_NEWLINK, link, CREATE))
    up.ask(nlmsg(RTM_NEWLINK, pack("=BxHiII", 0, 0, IFB, IFF_UP, IFF_UP)))
    add_address(up, "10.0.0.1", 24, IFB)
    add_address(up, "2001:db8::1", 64, IFB)
    return up


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED = [
    pytest.param({"kind": 12}, b"", id="type"),
    pytest.param({"kind": 0}, b"", id="no type"),
    pytest.param({"kind": 10, "oif": None}, b"", id="nat"),
    pytest.param({"tos": 3}, b"", id="tos"),
    pytest.param({"scope": RT_SCOPE_NOWHERE}, b"", id="nowhere"),
    pytest.param({"scope": RT_SCOPE_HOST, "kind": RTN_UNICAST}, b"", id="unicast to host"),
    pytest.param({"scope": RT_SCOPE_UNIVERSE, "kind": RTN_LOCAL}, b"", id="local to universe"),
    pytest.param({"flags": RTNH_F_DEAD}, b"", id="dead"),
    pytest.param({"flags": RTNH_F_LINKDOWN}, b"", id="linkdown"),
    pytest.param({"flags": RTNH_F_ONLINK}, b"", id="onlink"),
    pytest.param({"flags": RTNH_F_ONLINK, "oif": None}, b"", id="onlink nowhere"),
    pytest.param({"flags": RTM_F_CLONED}, b"", id="cloned"),
    pytest.param({"oif": 77}, b"", id="no device"),
    pytest.param({"oif": None}, b"", id="device not given"),
    pytest.param({"kind": RTN_BLACKHOLE}, b"", id="blackhole over a device"),
    pytest.param({}, nla(RTA_VIA, b"\2\0\1\2\3\4"), id="via"),
    pytest.param({}, nla(RTA_VIA, b"\2\0\1\2\3"), id="via short"),
    pytest.param({}, nla(RTA_VIA, b"\2"), id="via shorter"),
    pytest.param({}, nla(RTA_VIA, b"\x0a\0" + bytes(4)), id="via IPv6 short"),
    pytest.param({}, nla(RTA_VIA, b"\x0b\0" + bytes(4)), id="via another family"),
    pytest.param({}, nla(RTA_VIA, b"\2\0\1\2\3\4") + nla(RTA_GATEWAY, bytes(16)), id="via and gateway"),
    pytest.param({}, nla(RTA_NH_ID, 5), id="nexthop and device"),
    pytest.param({"oif": None}, nla(RTA_NH_ID, 5), id="nexthop"),
    *[pytest.param({}, nla(RTA_ENCAP_TYPE, bytes((kind, 0))), id=f"encapsulation {kind}") for kind in (0, 1, 3, 8, 11)],
    pytest.param({}, nla(RTA_ENCAP | NESTED), id="encapsulation without type"),
    pytest.param({}, metrics((18, 1)), id="unknown metric"),
    pytest.param({}, metrics((RTAX_MTU, b"\1\0"), (RTAX_MTU, 1400)), id="short metric"),
    pytest.param({}, metrics((RTAX_MTU, 1400), (RTAX_HOPLIMIT, b"\1")), id="another short metric"),
    pytest.param({}, metrics((RTAX_FEATURES, 0x20)), id="features"),
    pytest.param({}, metrics((RTAX_CC_ALGO, "nosuch")), id="algorithm"),
    pytest.param({}, nla(RTA_METRICS, b"\1\2\3"), id="metrics"),
    pytest.param({}, nla(RTA_PREFSRC, bytes((9, 9, 9, 9)) + bytes(12)), id="source"),
    pytest.param({}, nla(RTA_PRIORITY, b"\1"), id="priority"),
    pytest.param({}, nla(RTA_TABLE, b"\1"), id="table"),
    pytest.param({}, nla(RTA_GATEWAY, b"\1\2"), id="gateway"),
    pytest.param({}, nla(RTA_SRC, b"\1\2"), id="source prefix"),
]  # fmt: skip


@pytest.mark.needs_netns
@pytest.mark.parametrize("state", ["twins", "up"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("how", "attrs"), REFUSED)
def test_requests(request: pytest.FixtureRequest, state: str, family: int, how: dict[str, int], attrs: bytes) -> None:
    sides: Twins = request.getfixturevalue(state)
    for prefix in (HOST[family], NET[family]):
        for flags in (CREATE, NLM_F_ACK, NLM_F_ACK | NLM_F_REPLACE):
            sides.ask(nlmsg(RTM_NEWROUTE, route(prefix, attrs, **how), flags))
        sides.ask(nlmsg(RTM_DELROUTE, route(prefix, attrs, **how)))
    dump(sides)


@pytest.mark.needs_netns
@pytest.mark.parametrize("nlmsg_type", [RTM_NEWROUTE, RTM_DELROUTE])
def test_headers(up: Twins, nlmsg_type: int) -> None:
    for family in FAMILIES:
        for header in (rtmsg(family)[:size] for size in (1, 4, 11)):
            up.ask(nlmsg(nlmsg_type, header))
        for plen in (0, 33, 129):
            up.ask(nlmsg(nlmsg_type, rtmsg(family, dst=plen, kind=1) + nla(RTA_OIF, 1), CREATE))
            up.ask(nlmsg(nlmsg_type, rtmsg(family, dst=plen, kind=1) + nla(RTA_OIF, 1) + nla(RTA_DST, 1), CREATE))
        up.ask(nlmsg(nlmsg_type, route("10.7.0.1/16"), CREATE))
        up.ask(nlmsg(nlmsg_type, route("2001:db8::1/64"), CREATE))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_route_of_several_next_hops_is_not_half_made(family: int) -> None:
    """The running kernel would make it; the model has none, and says so."""
    hops = pack("=HBBi", 8, 0, 0, 1) * 2
    with Twins(None) as alone:
        before = alone.ask(nlmsg(RTM_GETROUTE, rtmsg(family), NLM_F_DUMP))
        (answer,) = alone.ask(nlmsg(RTM_NEWROUTE, route(NET[family], nla(RTA_MULTIPATH, hops)), CREATE))
        after = alone.ask(nlmsg(RTM_GETROUTE, rtmsg(family), NLM_F_DUMP))

    assert _errno([answer]) == EOPNOTSUPP
    assert b"Routes with several next hops are not modelled" in answer
    assert len(before) == len(after)


# --- what is added and deleted ----------------------------------------------------------------------------------------


@pytest.mark.needs_netns
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, 4, 5, RTN_BLACKHOLE, RTN_UNREACHABLE, 8, 9])
@pytest.mark.parametrize("table", [RT_TABLE_MAIN, RT_TABLE_LOCAL, 100])
def test_a_route_comes_and_goes(up: Twins, family: int, kind: int, table: int) -> None:
    oif = None if kind in (RTN_BLACKHOLE, RTN_UNREACHABLE, 8, 9) else LO
    wanted = route(NET[family], kind=kind, table=table, oif=oif)
    assert add(up, wanted) == 0
    dump(up)
    look_up(up, packed_host(NET[family]))
    assert add(up, wanted) == 17
    add(up, wanted, NLM_F_ACK | NLM_F_CREATE)
    add(up, wanted, NLM_F_ACK | NLM_F_REPLACE)
    assert delete(up, wanted) == 0
    assert delete(up, wanted) == 3
    look_up(up, packed_host(NET[family]))


def packed_host(prefix: str) -> str:
    """An address in a prefix."""
    text = prefix.partition("/")[0]
    return f"{text}9" if text.endswith(":") else text.rpartition(".")[0] + ".9"


@pytest.mark.needs_netns
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("flags", [NLM_F_ACK, NLM_F_ACK | NLM_F_ECHO])
def test_notifications_name_who_asks(up: Twins, family: int, flags: int) -> None:
    assert add(up, route(HOST[family], kind=RTN_LOCAL, table=RT_TABLE_LOCAL), flags | NLM_F_CREATE) == 0
    up.ask(nlmsg(RTM_DELROUTE, route(HOST[family], kind=RTN_LOCAL, table=RT_TABLE_LOCAL), flags))


@pytest.mark.needs_netns
@pytest.mark.parametrize("family", FAMILIES)
def test_routes_of_one_prefix(up: Twins, family: int) -> None:
    for number, flags in enumerate((0, NLM_F_APPEND, NLM_F_APPEND, 0, NLM_F_REPLACE)):
        for priority in (7, 7, 3, 9):
            request = route(NET[family], nla(RTA_PRIORITY, priority), proto=number + 3)
            add(up, request, NLM_F_ACK | NLM_F_CREATE | flags)
            add(up, request, NLM_F_ACK | flags)
        dump(up)
    for priority in (9, 0, 0, 0, 0, 0, 0, 0, 0):
        delete(up, route(NET[family], nla(RTA_PRIORITY, priority), proto=0))


@pytest.mark.needs_netns
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_request_to_delete_need_not_name(up: Twins, family: int) -> None:
    for how in ({"proto": 0}, {"oif": None}, {"kind": 0}, {"scope": RT_SCOPE_NOWHERE}, {"proto": 4}, {"oif": 5}):
        add(up, route(NET[family], metrics((RTAX_MTU, 1400)), kind=RTN_BROADCAST, scope=RT_SCOPE_LINK))
        for mx in ((), (RTAX_MTU, 1400), (RTAX_MTU, 1500), (RTAX_HOPLIMIT, 0), (RTAX_CC_ALGO, "reno"), (18, 1)):
            delete(up, route(NET[family], metrics(*[mx] if mx else []), **{"scope": RT_SCOPE_LINK, "kind": 3} | how))


@pytest.mark.needs_netns
@pytest.mark.parametrize("family", FAMILIES)
def test_attributes_are_kept(up: Twins, family: int) -> None:
    kept = [
        metrics((RTAX_MTU, 1 << 30), (RTAX_ADVMSS, 1 << 30), (RTAX_HOPLIMIT, 300), (RTAX_LOCK, 4), (5, 0)),
        metrics((RTAX_CC_ALGO, "cubic"), (RTAX_FEATURES, 0x11)),
        nla(RTA_FLOW, 0x10002),
        nla(RTA_PREF, b"\1"),
        nla(RTA_PREF, b"\2"),
        nla(RTA_EXPIRES, 1000),
        nla(RTA_EXPIRES, 0xFFFFFFFF),
        nla(RTA_PREFSRC, packed("127.0.0.1" if family == AF_INET else "::1")),
        nla(RTA_TABLE, 1000),
    ]
    for number, attr in enumerate(kept):
        assert add(up, route(NET[family], attr, nla(RTA_PRIORITY, number + 1))) == 0
        look_up(up, packed_host(NET[family]))
    dump(up)


@pytest.mark.needs_netns
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("flags", [0, RTNH_F_ONLINK])
@pytest.mark.parametrize("oif", [None, LO, IFB])
def test_gateways(ifb: Twins, family: int, flags: int, oif: int | None) -> None:
    gateways = {
        AF_INET: ("10.0.0.2", "10.0.0.1", "10.0.0.255", "0.0.0.0", "127.0.0.1", "1.2.3.4", "224.0.0.1"),
        AF_INET6: ("2001:db8::2", "2001:db8::1", "fe80::2", "::", "::1", "ff02::1", "2001:db8:9::1", "::ffff:1.2.3.4"),
    }
    for gateway in gateways[family]:
        wanted = route(NET[family], nla(RTA_GATEWAY, packed(gateway)), oif=oif, scope=0, flags=flags)
        if add(ifb, wanted) == 0:
            dump(ifb)
            delete(ifb, route(NET[family], nla(RTA_GATEWAY, packed("1.1.1.1" if family == AF_INET else "fe80::9"))))
            assert delete(ifb, wanted) == 0


@pytest.mark.needs_netns
def test_routes_go_with_what_they_need(ifb: Twins) -> None:
    add(ifb, route("10.7.0.0/16", nla(RTA_PREFSRC, packed("10.0.0.1")), oif=IFB))
    add(ifb, route("10.8.0.0/16", nla(RTA_GATEWAY, packed("10.0.0.2")), oif=None, scope=0))
    add(ifb, route("10.9.0.0/16", kind=RTN_BLACKHOLE, oif=None))
    ifb.ask(nlmsg(21, pack("=BBBBi", AF_INET, 24, 0, 0, IFB) + nla(2, packed("10.0.0.1"))))
    dump(ifb)


@pytest.mark.needs_netns
def test_expired_routes_are_passed_over(up: Twins) -> None:
    add(up, route("2001:db8:7::/48", nla(RTA_EXPIRES, 0)))
    add(up, route("2001:db8::/32", kind=RTN_LOCAL))
    look_up(up, "2001:db8:7::9")


def test_the_kernel_warns_of_requests_without_flags(up: Twins) -> None:
    """Measured with the running kernel's log, which does not belong to one namespace."""
    linux = up.net.linux
    linux.effects()
    for prefix, flags in (("fd00:1::/64", 0), ("fd00:1::/64", NLM_F_REPLACE), ("fd00:9::/64", NLM_F_REPLACE)):
        add(up, route(prefix, nla(RTA_PRIORITY, flags + 1)), NLM_F_ACK | flags)
    assert [effect.text for effect in linux.effects() if isinstance(effect, Printk)] == [
        "IPv6: RTM_NEWROUTE with no NLM_F_CREATE or NLM_F_REPLACE",
        "IPv6: NLM_F_CREATE should be set when creating new route",
        "IPv6: NLM_F_CREATE should be set when creating new route",
        "IPv6: NLM_F_REPLACE set, but no existing node found!",
        "IPv6: Can't replace route, no match found",
    ]


# --- anything ---------------------------------------------------------------------------------------------------------

PREFIXES = {
    AF_INET: ("10.0.0.0", "10.0.0.5", "10.1.0.0", "127.0.0.1", "127.0.0.0", "0.0.0.0", "224.0.0.0", "10.0.0.255"),
    AF_INET6: ("::", "::1", "2001:db8::", "2001:db8::1", "2001:db8:1::", "fe80::", "ff00::", "ff02::1", "fd00::"),
}
LENGTHS = {AF_INET: (0, 8, 16, 24, 32, 32), AF_INET6: (0, 8, 10, 48, 64, 126, 127, 128, 128)}


def anything(random: Random, family: int) -> bytes:
    """A route that may be any good, or not."""
    bits, plen = BITS[family], random.choice(LENGTHS[family])
    number = int.from_bytes(packed(random.choice(PREFIXES[family])))
    dst = (number >> bits - plen << bits - plen).to_bytes(bits // 8)
    kind = random.choice((1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9))
    scope = random.choice((SCOPES.get(kind, 0), SCOPES.get(kind, 0), 0, 253, 254))
    header = rtmsg(
        family,
        dst=plen,
        tos=random.choice((0, 0, 0, 0x10, 0x1C)) if family == AF_INET else 0,
        table=random.choice((254, 254, 255, 0, 100)),
        proto=random.choice((0, 2, 3, 99)),
        scope=scope,
        kind=kind,
        flags=random.choice((0, 0, 0, RTNH_F_ONLINK)),
    )
    attrs = [
        (0.9, nla(RTA_DST, dst)),
        (0.8, nla(RTA_OIF, LO)),
        (0.1, nla(RTA_GATEWAY, packed(random.choice(PREFIXES[family])))),
        (0.4, nla(RTA_PRIORITY, random.choice((1, 2, 1024)))),
        (0.1, nla(RTA_PREFSRC, packed(random.choice(PREFIXES[family])))),
        (0.1, metrics((RTAX_MTU, random.choice((1400, 1 << 20))))),
        (0.1, nla(RTA_PREF, random.choice((b"\0", b"\1", b"\2", b"\3")))),
        (0.1, nla(RTA_EXPIRES, 1000)),
    ]
    return header + b"".join(attr for chance, attr in attrs if random.random() < chance)


@pytest.mark.needs_netns
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_anything(up: Twins, family: int, seed: int) -> None:
    random = Random(seed)
    kept: list[bytes] = []
    for _ in range(150):
        kept = [*kept[-9:], anything(random, family)]
        flags = random.choice((0x600, 0x600, 0x400, 0x500, 0x100, 0xC00, 0))
        up.ask(nlmsg(RTM_NEWROUTE, kept[-1], NLM_F_ACK | flags))
        if random.random() < 0.5:
            up.ask(nlmsg(RTM_DELROUTE, random.choice(kept)))
        look_up(up, random.choice(PREFIXES[family]))
    dump(up)
