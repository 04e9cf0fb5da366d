"""What the running kernel says in bytes of everything that the codec knows, recorded in a namespace of its own.

``python -m tests.netlink.recording`` writes one message of each form that occurs to recorded.txt, for those who cannot
make a namespace.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_NETLINK, NETLINK_ROUTE, SOCK_RAW, inet_pton
from struct import Struct
from typing import Final, TypeAlias

from addrsvc.mirror.netns import NetNs, create_anonymous, run_in
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.codec import encode, knows
from addrsvc.netlink.messages import (
    AddrMsg,
    IfaCacheinfo,
    LinkInfo,
    LinkMsg,
    Message,
    NeighMsg,
    NeightblMsg,
    NetconfMsg,
    NsidMsg,
    RouteMsg,
    RuleMsg,
    StatsMsg,
    Sysctl,
    WireMessage,
)
from addrsvc.uapi import (
    AF_BRIDGE,
    AF_UNSPEC,
    IFF_UP,
    NETLINK_ADD_MEMBERSHIP,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_DELLINK,
    RTM_DELRULE,
    RTM_GETADDR,
    RTM_GETANYCAST,
    RTM_GETLINK,
    RTM_GETMULTICAST,
    RTM_GETNEIGH,
    RTM_GETNEIGHTBL,
    RTM_GETNETCONF,
    RTM_GETNSID,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_GETSTATS,
    RTM_NEWLINKPROP,
    RTN_UNICAST,
    SOL_NETLINK,
    Rtnlgrp,
)

RECORDED: Final = Path(__file__).with_name("recorded.txt")
HEADER: Final = Struct("=IHHII")
_ATTRIBUTE: Final = Struct("=HH")
_FAMILY_HEADER: Final = {16: 16, 20: 8, 24: 12, 28: 12, 32: 12, 56: 8, 60: 8, 64: 4, 80: 4, 88: 4, 92: 12}
"""How many bytes stand before the attributes, by the first message type of each four."""
Form: TypeAlias = tuple[object, ...]

_NEW: Final = NLM_F_CREATE | NLM_F_EXCL
_RCVBUFFORCE: Final = 33
_LO, _V0, _V1 = 1, 3, 2  # the peer of a veth is made first
_MAIN: Final = 254
_UNIVERSE, _STATIC = 0, 4
_REACHABLE, _PERMANENT = 0x02, 0x80
_TO_TABLE, _GOTO = 1, 2


def four(text: str) -> bytes:
    return inet_pton(AF_INET, text)


def six(text: str) -> bytes:
    return inet_pton(AF_INET6, text)


def _kind(name: str, kind: str) -> LinkMsg:
    return LinkMsg(nlmsg_flags=_NEW, ifname=name, linkinfo=LinkInfo(kind=kind))


def _up(ifindex: int) -> LinkMsg:
    return LinkMsg(ifi_index=ifindex, ifi_flags=IFF_UP, ifi_change=IFF_UP)


def _addr(local: bytes, length: int, ifindex: int, **more: object) -> AddrMsg:
    family = AF_INET if len(local) == 4 else AF_INET6
    basic = {"nlmsg_flags": _NEW, "ifa_family": family, "ifa_prefixlen": length, "ifa_index": ifindex}
    return AddrMsg(**{**basic, "local": local, "address": local, **more})  # type: ignore[arg-type]


def _route(dst: bytes, length: int, **more: object) -> RouteMsg:
    basic = {
        "nlmsg_flags": _NEW, "rtm_family": AF_INET if len(dst) == 4 else AF_INET6, "rtm_dst_len": length,
        "rtm_table": _MAIN, "rtm_protocol": _STATIC, "rtm_scope": _UNIVERSE, "rtm_type": RTN_UNICAST, "dst": dst,
    }  # fmt: skip
    return RouteMsg(**{**basic, **more})  # type: ignore[arg-type]


def _neigh(dst: bytes, **more: object) -> NeighMsg:
    family = AF_INET if len(dst) == 4 else AF_INET6
    basic = {"nlmsg_flags": _NEW, "ndm_family": family, "ndm_ifindex": _V0, "ndm_state": _PERMANENT, "dst": dst}
    return NeighMsg(**{**basic, "lladdr": b"\2\0\0\0\0\7", **more})  # type: ignore[arg-type]


# What is asked of the kernel, to make it say as much as it can.  Kinds of devices that it lacks are left out.
SCRIPT: Final[tuple[Message, ...]] = (
    _up(_LO),
    _kind("v0", "veth"),
    _addr(six("2001:db8::1"), 64, _LO),
    _addr(six("2001:db8::2"), 64, _LO, address=six("2001:db8::3"), rt_priority=7, proto=9,
          cacheinfo=IfaCacheinfo(50, 100)),
    _addr(four("10.0.0.1"), 24, _LO, broadcast=four("10.0.0.255"), label="lo:x", rt_priority=5, proto=7),
    _addr(four("10.0.0.2"), 24, _LO, address=four("10.0.0.7"), cacheinfo=IfaCacheinfo(50, 100)),
    _up(_V0),
    _up(_V1),
    _addr(four("10.1.0.1"), 24, _V0),
    _addr(six("2001:db8:1::1"), 64, _V0, flags=2),
    LinkMsg(ifi_index=_V0, ifalias="grüße"),
    LinkMsg(nlmsg_type=RTM_NEWLINKPROP, nlmsg_flags=_NEW, ifi_index=_V0, altnames=("alternative", "another")),
    _kind("ifb7", "ifb"),
    _kind("br0", "bridge"),
    LinkMsg(ifi_index=_V1, master=5),
    LinkMsg(nlmsg_flags=_NEW, ifname="mv0", link=_V0, linkinfo=LinkInfo(kind="macvlan")),
    _route(four("10.9.0.0"), 16, gateway=four("10.1.0.9"), oif=_V0, prefsrc=four("10.1.0.1"), priority=9, flow=3,
           metrics=((2, 1400),), table=100),
    _route(six("2001:db8:9::"), 48, gateway=six("2001:db8:1::9"), oif=_V0, pref=1, priority=8,
           metrics=((2, 1400),)),
    _route(four("10.8.0.0"), 16, multipath=bytes((16, 0, 0, 1)) + _V0.to_bytes(4, "little") + b"\x08\0\5\0"
           + four("10.1.0.8") + bytes((16, 0, 0, 0)) + _V0.to_bytes(4, "little") + b"\x08\0\5\0" + four("10.1.0.9")),
    _route(four("10.6.0.0"), 16, via=b"\x0a\0" + six("2001:db8:1::9"), oif=_V0),
    _route(four("10.7.0.0"), 16, rtm_type=6),
    _route(six("2001:db8:7::"), 48, rtm_type=7, oif=_LO),
    RuleMsg(nlmsg_flags=_NEW, frh_family=AF_INET, frh_action=_TO_TABLE, frh_src_len=8, src=four("10.0.0.0"),
            iifname="lo", oifname="v0", fwmark=3, fwmask=7, table=100, priority=50, suppress_prefixlen=3, protocol=4),
    RuleMsg(nlmsg_flags=_NEW, frh_family=AF_INET6, frh_action=_TO_TABLE, frh_dst_len=32, dst=six("2001:db8::"),
            ip_proto=6, sport_range=(3, 4), dport_range=(80, 80), uid_range=(3, 5), table=300, priority=60,
            tun_id=bytes(7) + b"\7"),
    RuleMsg(nlmsg_flags=_NEW, frh_family=AF_INET, frh_action=_GOTO, goto=50, priority=40),
    _neigh(four("10.1.0.2")),
    _neigh(six("2001:db8:1::2"), ndm_state=_REACHABLE, protocol=9),
    NeighMsg(nlmsg_flags=_NEW, ndm_family=AF_INET6, ndm_ifindex=_V0, ndm_flags=8, dst=six("2001:db8:1::4")),
    NeighMsg(nlmsg_flags=_NEW, ndm_family=AF_BRIDGE, ndm_ifindex=_V1, ndm_state=_PERMANENT, ndm_flags=4,
             lladdr=b"\2\0\0\0\0\x19"),
    Sysctl("net.ipv6.conf.all.forwarding", "1"),
    Sysctl("net.ipv4.conf.all.forwarding", "1"),
    LinkMsg(ifi_index=_V1, mtu=60),
)  # fmt: skip
_END: Final[tuple[Message, ...]] = (
    RuleMsg(nlmsg_type=RTM_DELRULE, frh_family=AF_INET, frh_action=_GOTO, goto=50, priority=40),
    LinkMsg(nlmsg_type=RTM_DELLINK, ifname="br0"),
    LinkMsg(nlmsg_type=RTM_DELLINK, ifname="v0"),
    LinkMsg(ifi_index=_LO, ifi_change=IFF_UP),
)

DUMPS: Final[tuple[WireMessage, ...]] = (
    *(LinkMsg(nlmsg_type=RTM_GETLINK, ifi_family=family) for family in (AF_UNSPEC, AF_INET6, AF_BRIDGE)),
    AddrMsg(nlmsg_type=RTM_GETANYCAST, ifa_prefixlen=0),
    *(
        question
        for family in (AF_INET, AF_INET6)
        for question in (
            AddrMsg(nlmsg_type=RTM_GETADDR, ifa_family=family, ifa_prefixlen=0),
            AddrMsg(nlmsg_type=RTM_GETMULTICAST, ifa_family=family, ifa_prefixlen=0),
            RouteMsg(nlmsg_type=RTM_GETROUTE, rtm_family=family),
            RuleMsg(nlmsg_type=RTM_GETRULE, frh_family=family),
            NeighMsg(nlmsg_type=RTM_GETNEIGH, ndm_family=family),
            NeightblMsg(nlmsg_type=RTM_GETNEIGHTBL, ndtm_family=family),
            NetconfMsg(nlmsg_type=RTM_GETNETCONF, ncm_family=family),
        )
    ),
    NeighMsg(nlmsg_type=RTM_GETNEIGH, ndm_flags=8),
    NeighMsg(nlmsg_type=RTM_GETNEIGH, ndm_family=AF_BRIDGE),
    StatsMsg(nlmsg_type=RTM_GETSTATS, filter_mask=0x1F),
    NsidMsg(nlmsg_type=RTM_GETNSID),
)
LOOKUPS: Final[tuple[WireMessage, ...]] = (
    LinkMsg(nlmsg_type=RTM_GETLINK, ifi_index=_LO, ext_mask=9),
    AddrMsg(nlmsg_type=RTM_GETADDR, ifa_index=_LO, address=six("::1")),
    RouteMsg(nlmsg_type=RTM_GETROUTE, rtm_family=AF_INET, rtm_dst_len=32, dst=four("127.0.0.1")),
    RouteMsg(nlmsg_type=RTM_GETROUTE, rtm_family=AF_INET, rtm_dst_len=32, dst=four("10.1.0.2")),
    RouteMsg(nlmsg_type=RTM_GETROUTE, rtm_family=AF_INET6, rtm_dst_len=128, dst=six("::1")),
)


def record(netns: NetNs) -> list[bytes]:
    """Everything that the kernel says of the script, told and asked for, one message each."""
    with RtnlKernel(netns) as kernel, run_in(netns, _listener) as listener:
        for request in SCRIPT:
            with suppress(OSError):  # a kernel that lacks a kind of device, or has no second address on it
                kernel.request(request)
        with create_anonymous() as other, suppress(OSError):
            kernel.request(NsidMsg(nlmsg_flags=_NEW, nsid=5, fd=other.fileno()))
            asked = run_in(netns, _answers)
        for request in _END:
            with suppress(OSError):
                kernel.request(request)
        return [*_heard(listener), *asked]


def _answers() -> list[bytes]:
    with socket.socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) as sock:
        dumps = [answer for question in DUMPS for answer in ask(sock, question, NLM_F_DUMP)]
        return dumps + [answer for question in LOOKUPS for answer in ask(sock, question, 0)]


def ask(sock: socket.socket, question: WireMessage, flags: int) -> Iterator[bytes]:
    """The answers to a question in bytes: to a dump all of them, else the one."""
    request = bytearray(encode(question, 1))
    length, nlmsg_type, _, seq, _ = HEADER.unpack_from(request)
    HEADER.pack_into(request, 0, length, nlmsg_type, NLM_F_REQUEST | flags, seq, 0)
    sock.send(request)
    while True:
        for message in split(sock.recv(1 << 17)):
            if HEADER.unpack_from(message)[1] in (NLMSG_ERROR, NLMSG_DONE):
                return
            yield message
            if not flags:
                return


def _listener() -> socket.socket:
    sock = socket.socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    sock.bind((0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 22)
    for group in Rtnlgrp:
        with suppress(OSError):
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    sock.settimeout(0.1)
    return sock


def _heard(sock: socket.socket) -> Iterator[bytes]:
    with suppress(TimeoutError):
        while True:
            yield from split(sock.recv(1 << 17))


def split(data: bytes) -> Iterator[bytes]:
    """The messages of a datagram, without padding behind them."""
    while data:
        length = HEADER.unpack_from(data)[0]
        yield data[:length]
        data = data[length + 3 & ~3 :]


def form(message: bytes) -> Form:
    """Type, family, and the attribute types in order: messages of one form teach the codec the same."""
    nlmsg_type = HEADER.unpack_from(message)[1]
    pos, types = HEADER.size + _FAMILY_HEADER.get(nlmsg_type & ~3, len(message)), []
    while pos < len(message):
        length, attribute = _ATTRIBUTE.unpack_from(message, pos)
        types.append(attribute)
        pos += length + 3 & ~3
    return nlmsg_type, message[HEADER.size], *types


def one_of_each(messages: Iterable[bytes]) -> list[bytes]:
    """The first message of each form, of those that are about what the codec knows."""
    return list({form(message): message for message in messages if knows(HEADER.unpack_from(message)[1])}.values())


if __name__ == "__main__":
    with create_anonymous() as fresh:
        RECORDED.write_text("".join(f"{message.hex()}\n" for message in one_of_each(record(fresh))))
