"""RTM_*NEIGHTBL on both kernels, byte for byte."""

from struct import pack

import pytest

from addrsvc import Linux
from addrsvc.linux import Namespace
from addrsvc.netlink.codec import decode
from addrsvc.netlink.messages import NeightblMsg
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    NDTA_GC_INTERVAL,
    NDTA_NAME,
    NDTA_PARMS,
    NDTA_THRESH1,
    NDTA_THRESH3,
    NDTPA_APP_PROBES,
    NDTPA_BASE_REACHABLE_TIME,
    NDTPA_GC_STALETIME,
    NDTPA_IFINDEX,
    NDTPA_INTERVAL_PROBE_TIME_MS,
    NDTPA_LOCKTIME,
    NDTPA_MAX,
    NDTPA_MCAST_PROBES,
    NDTPA_QUEUE_LEN,
    NDTPA_QUEUE_LENBYTES,
    NDTPA_RETRANS_TIME,
    NDTPA_UCAST_PROBES,
    NLM_F_ACK,
    NLM_F_DUMP,
    RTM_GETNEIGHTBL,
    RTM_SETNEIGHTBL,
)
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

TABLES = {AF_INET: "arp_cache", AF_INET6: "ndisc_cache"}
LO = 1


def ndtmsg(family: int, pad1: int = 0, pad2: int = 0) -> bytes:
    return pack("=BBH", family, pad1, pad2)


def u64(value: int) -> bytes:
    return pack("=Q", value)


def parms(*pairs: tuple[int, int | bytes]) -> bytes:
    return nla(NDTA_PARMS, b"".join(nla(attr, value) for attr, value in pairs))


def dump(sides: Twins) -> None:
    for family in (0, *TABLES):
        sides.ask(nlmsg(RTM_GETNEIGHTBL, ndtmsg(family), NLM_F_DUMP))


@pytest.mark.needs_netns
@pytest.mark.parametrize("strict", [False, True])
def test_dumps(twins: Twins, strict: bool) -> None:
    for header in (*map(ndtmsg, (0, AF_INET, AF_INET6, 7, 28, 128)), ndtmsg(0, 1), ndtmsg(0, 0, 1), b"\2", b"\2\0\0"):
        for attrs in (b"", nla(NDTA_NAME, "arp_cache")):
            for flags in (NLM_F_DUMP, NLM_F_ACK):
                twins.ask(nlmsg(RTM_GETNEIGHTBL, header + attrs, flags), strict=strict)


SETTINGS = [
    b"", parms(), parms((NDTPA_IFINDEX, LO)), parms((NDTPA_IFINDEX, 77)), parms((NDTPA_IFINDEX, 0)),
    parms((NDTPA_IFINDEX, b"\1")), parms((NDTPA_IFINDEX, LO), (NDTPA_MAX + 1, 5)), nla(NDTA_PARMS, b"\1\2\3"),
    parms((NDTPA_IFINDEX, LO), (NDTPA_QUEUE_LEN, 1)), parms((NDTPA_IFINDEX, LO), (NDTPA_QUEUE_LENBYTES, -1)),
    parms((NDTPA_IFINDEX, LO), (NDTPA_APP_PROBES, 3), (NDTPA_UCAST_PROBES, -1), (NDTPA_MCAST_PROBES, 1 << 31)),
    parms((NDTPA_IFINDEX, LO), (NDTPA_BASE_REACHABLE_TIME, u64(0))),
    *[
        parms((NDTPA_IFINDEX, LO), (attr, u64(msecs)))
        for attr in (NDTPA_BASE_REACHABLE_TIME, NDTPA_RETRANS_TIME, NDTPA_GC_STALETIME, NDTPA_LOCKTIME,
                     NDTPA_INTERVAL_PROBE_TIME_MS)
        for msecs in (1, 5, 999, 60_001, 1 << 31, (1 << 32) + 8)
    ],
    parms((NDTPA_IFINDEX, LO), (NDTPA_RETRANS_TIME, 5)),
    nla(NDTA_THRESH1, 5), nla(NDTA_THRESH3, b"\1"), nla(NDTA_GC_INTERVAL, u64(5)), nla(NDTA_GC_INTERVAL, 5),
    parms((NDTPA_IFINDEX, LO), (NDTPA_LOCKTIME, u64(123))) + nla(NDTA_THRESH1, 5),
]  # fmt: skip


@pytest.mark.needs_netns
@pytest.mark.parametrize("name", [None, *TABLES.values(), "nosuch"])
def test_settings(twins: Twins, name: str | None) -> None:
    named = nla(NDTA_NAME, name) if name else b""
    for settings in SETTINGS:
        for family in (0, AF_INET, 28):
            twins.ask(nlmsg(RTM_SETNEIGHTBL, ndtmsg(family) + named + settings))
        dump(twins)
    twins.ask(nlmsg(RTM_SETNEIGHTBL, ndtmsg(0)[:1] + b""))
    twins.ask(nlmsg(18, pack("=BxHiII", 0, 0, LO, 0, 0)))


# --- the first namespace, whose settings are everybody's: that of the running kernel is left alone --------------------


def tables(net: Namespace) -> list[NeightblMsg]:
    socket = net.socket()
    socket.send(nlmsg(RTM_GETNEIGHTBL, ndtmsg(AF_INET), NLM_F_DUMP))
    found = [data for datagram in socket for data in _split(datagram.data)]
    socket.close()
    return [msg for data in found if isinstance(msg := decode(data), NeightblMsg)]


def _split(data: bytes) -> list[bytes]:
    parts, offset = [], 0
    for kind, *_, body in messages(data):
        length = 16 + len(body)
        if kind != 3:
            parts.append(data[offset : offset + length])
        offset += length + 3 & ~3
    return parts


def test_the_first_namespace_sets_what_devices_to_come_will_have() -> None:
    linux = Linux()
    socket = linux.init_net.socket()
    for settings in (nla(NDTA_THRESH1, 5) + nla(NDTA_GC_INTERVAL, u64(40)), parms((NDTPA_LOCKTIME, u64(20)))):
        socket.send(nlmsg(RTM_SETNEIGHTBL, ndtmsg(AF_INET) + nla(NDTA_NAME, "arp_cache") + settings))
    table, lo = tables(linux.init_net)[:2]
    assert (table.thresh1, table.gc_interval) == (5, 40)
    assert table.parms is not None and lo.parms is not None  # noqa: PT018
    assert (table.parms.locktime, lo.parms.locktime) == (20, 1000)
    linux.init_net.link_add("d0")
    newest = next(msg.parms for msg in tables(linux.init_net)[1:] if msg.parms and msg.parms.ifindex not in (0, LO))
    assert newest.locktime == 20
