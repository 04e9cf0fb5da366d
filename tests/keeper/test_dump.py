"""addrsvc.keeper.dump: runs of messages are read as each of them alone, and nothing that comes does any harm."""

from hypothesis import given
from hypothesis import strategies as st

from addrsvc.keeper.dump import Addresses, LoState, Route, read_addresses, read_lo, read_messages, read_routes
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo, Inet6LinkInfo, LinkMsg, RouteMsg
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    DEVCONF_NAMES,
    INFINITY_LIFE_TIME,
    NLM_F_MULTI,
    RT_TABLE_LOCAL,
    RTN_LOCAL,
    RTPROT_ADDRSVC,
)

small = st.integers(0, 3)
lifetimes = st.sampled_from([0, 100, INFINITY_LIFE_TIME])
FAMILIES = {AF_INET: 4, AF_INET6: 16}


@st.composite
def addresses(draw: st.DrawFn) -> AddrMsg:
    """What a kernel may say of an address, and a little more: few values, so that many messages are alike."""
    family = draw(st.sampled_from(list(FAMILIES)))
    length = FAMILIES[family]
    ends = st.one_of(st.none(), small.map(lambda number: number.to_bytes(length)))
    return AddrMsg(
        nlmsg_flags=draw(st.sampled_from([0, NLM_F_MULTI])),
        ifa_family=family,
        ifa_prefixlen=draw(st.sampled_from([length * 8, 8])),
        ifa_scope=draw(small),
        ifa_index=draw(st.sampled_from([1, 1, 1, 2])),
        address=draw(ends),
        local=draw(ends),
        label=draw(st.sampled_from([None, "lo"])),
        cacheinfo=draw(st.one_of(st.none(), st.builds(IfaCacheinfo, lifetimes, lifetimes, small, small))),
        flags=draw(st.one_of(st.none(), st.sampled_from([0x80, 0x282, 0xA2]))),
        rt_priority=draw(st.one_of(st.none(), small)),
        proto=draw(st.one_of(st.none(), small)),
    )


@given(st.lists(st.tuples(addresses(), st.integers(1, 5)), max_size=20))
def test_a_run_is_read_as_each_of_its_messages(kinds: list[tuple[AddrMsg, int]]) -> None:
    said = [encode(msg, seq=7) for msg, times in kinds for _ in range(times)]
    one_by_one: Addresses = {}
    for message in said:
        read_addresses(message, one_by_one)

    together: Addresses = {}
    end = read_addresses(b"".join(said), together)

    assert end == sum(map(len, said))
    assert list(together.items()) == list(one_by_one.items())


@given(addresses())
def test_an_address_is_read_as_the_codec_reads_it(msg: AddrMsg) -> None:
    found: Addresses = {}
    read_addresses(encode(msg), found)

    address = msg.local or msg.address
    if address is None or msg.ifa_index != 1:
        assert found == {}
        return
    ((key, present),) = found.items()
    assert key == (address, msg.ifa_prefixlen)
    assert (present.scope, present.proto, present.metric) == (msg.ifa_scope, msg.proto or 0, msg.rt_priority or 0)
    assert present.flags == (msg.ifa_flags if msg.flags is None else msg.flags)


@given(st.lists(addresses().map(encode), max_size=5).map(b"".join), st.data())
def test_whatever_comes_is_read_to_its_end(said: bytes, data: st.DataObject) -> None:
    """Messages with anything changed in them, cut off anywhere."""
    damaged = bytearray(said)
    for _ in range(data.draw(small)):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    harmless(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


@given(st.binary(max_size=400))
def test_noise_is_read_to_its_end(noise: bytes) -> None:
    harmless(noise)


def harmless(data: bytes) -> None:
    read_addresses(data, {})
    read_routes(data, [])
    read_messages(data, [])
    read_lo(data)


def test_lo_is_read_from_what_is_said_of_it() -> None:
    conf = tuple(int(name == "disable_ipv6") for name in DEVCONF_NAMES)
    said = encode(LinkMsg(ifi_index=1, ifi_flags=0x49, mtu=1500, inet6=Inet6LinkInfo(conf=conf)))

    assert read_lo(said) == LoState(0x49, 1500, 1)
    assert read_lo(encode(LinkMsg(ifi_index=1, mtu=1500))) == LoState(0, 1500, None)
    assert read_lo(encode(LinkMsg(ifi_index=2))) is None


def test_of_routes_ours_alone_are_read() -> None:
    def said(**fields: int) -> bytes:
        ours = {"rtm_table": RT_TABLE_LOCAL, "rtm_type": RTN_LOCAL, "rtm_protocol": RTPROT_ADDRSVC, "oif": 1}
        return encode(RouteMsg(rtm_family=AF_INET6, rtm_dst_len=64, dst=bytes(16), **(ours | fields)))  # type: ignore[arg-type]

    found: list[Route] = []
    theirs = [said(rtm_table=254), said(rtm_type=1), said(rtm_protocol=4), said(oif=2)]
    read_routes(b"".join([*theirs, said(), said(priority=5), said(priority=1024)]), found)

    assert found == [Route(bytes(16), 64, 0), Route(bytes(16), 64, 5), Route(bytes(16), 64, 0)]
