"""RTM_*ADDR, RTM_GETMULTICAST and RTM_GETANYCAST as bytes: what net/ipv6/addrconf.c and net/ipv4/devinet.c read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from errno import EADDRNOTAVAIL, EINVAL, ENODEV
from itertools import takewhile
from struct import Struct
from typing import Any, Final, TypeAlias, TypeVar

from addrsvc.af_netlink.addr_form import ABSENT, newaddr_form
from addrsvc.af_netlink.nets import rtnl_get_net_ns_capable
from addrsvc.af_netlink.request import NLMSGHDR, Dump, Dumpit, Grant, Handler, Lane, Request
from addrsvc.errors import KernelError
from addrsvc.model.addr_request import REQUESTABLE, inet6_newaddr, inet6_rtm_deladdr, inet6_rtm_newaddr
from addrsvc.model.anycast import inet6_dump_ifacaddr
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.devinet import inet_base_seq, inet_fill_ifaddr, inet_ifa_list, inet_rtm_deladdr, inet_rtm_newaddr
from addrsvc.model.ifaddr import (
    Ifa6Config,
    inet6_addr_list,
    inet6_base_seq,
    inet6_fill_ifaddr,
    inet6_ifaddr_wire,
    ipv6_get_ifaddr,
)
from addrsvc.model.igmp import inet_dump_ifmcaddr
from addrsvc.model.mcast import inet6_dump_ifmcaddr
from addrsvc.model.netns_ids import get_net_ns_by_id
from addrsvc.model.structs import Inet6Ifaddr, Net, NetDevice
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NLA_S32,
    NLA_STRING,
    NLA_U8,
    NLA_U32,
    NLMSG_HDRLEN,
    Attrs,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_CACHEINFO,
    IFA_FLAGS,
    IFA_LABEL,
    IFA_LOCAL,
    IFA_MAX,
    IFA_PROTO,
    IFA_RT_PRIORITY,
    IFA_TARGET_NETNSID,
    IFNAMSIZ,
    NLM_F_ACK,
    NLM_F_DUMP_FILTERED,
    NLM_F_ECHO,
    NLM_F_REQUEST,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_GETANYCAST,
    RTM_GETMULTICAST,
    RTM_NEWADDR,
)

__all__ = ["HANDLERS", "LANES"]

_IFADDRMSG: Final = Struct("=BBBBi")
_CACHEINFO: Final = Struct("=IIII")
_U32: Final = Struct("=I")
_S32: Final = Struct("=i")

T = TypeVar("T")

_IFA_IPV4_POLICY: Final[Policies] = {
    IFA_LOCAL: NlaPolicy(NLA_U32),
    IFA_ADDRESS: NlaPolicy(NLA_U32),
    IFA_BROADCAST: NlaPolicy(NLA_U32),
    IFA_LABEL: NlaPolicy(NLA_STRING, len=IFNAMSIZ - 1),
    IFA_CACHEINFO: NlaPolicy(len=_CACHEINFO.size),
    IFA_FLAGS: NlaPolicy(NLA_U32),
    IFA_RT_PRIORITY: NlaPolicy(NLA_U32),
    IFA_TARGET_NETNSID: NlaPolicy(NLA_S32),
    IFA_PROTO: NlaPolicy(NLA_U8),
}
_IFA_IPV6_POLICY: Final[Policies] = {
    IFA_ADDRESS: NlaPolicy(len=16),
    IFA_LOCAL: NlaPolicy(len=16),
    IFA_CACHEINFO: NlaPolicy(len=_CACHEINFO.size),
    IFA_FLAGS: NlaPolicy(len=_U32.size),
    IFA_RT_PRIORITY: NlaPolicy(len=_U32.size),
    IFA_TARGET_NETNSID: NlaPolicy(NLA_S32),
    IFA_PROTO: NlaPolicy(NLA_U8),
}

# --- reading ----------------------------------------------------------------------------------------------------------


def _u32(payload: bytes) -> int:
    return int(_U32.unpack_from(payload)[0])


def _label(payload: bytes) -> str:
    """NULs at the end are left off; one before them is not, since a deletion compares it (nla_strcmp)."""
    return payload.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _cacheinfo(payload: bytes) -> IfaCacheinfo:
    return IfaCacheinfo(*_CACHEINFO.unpack_from(payload))


# How each attribute of a request reads, and the field of an AddrMsg that holds it.
_FIELDS: Final[Mapping[int, tuple[str, Callable[[bytes], object]]]] = {
    IFA_ADDRESS: ("address", bytes),
    IFA_LOCAL: ("local", bytes),
    IFA_LABEL: ("label", _label),
    IFA_BROADCAST: ("broadcast", bytes),
    IFA_CACHEINFO: ("cacheinfo", _cacheinfo),
    IFA_FLAGS: ("flags", _u32),
    IFA_RT_PRIORITY: ("rt_priority", _u32),
    IFA_PROTO: ("proto", lambda payload: payload[0]),
}


def _value(request: Request, policy: Policies) -> AddrMsg:
    """A request to add or delete as a value; attributes that no family looks at are left out."""
    data = request.data
    request.tb = nlmsg_parse(data, _IFADDRMSG.size, IFA_MAX, policy, NL_VALIDATE_LIBERAL, request.extack)
    fields: dict[str, Any] = {}
    for attr, (offset, length) in request.tb.items():
        if attr in policy and attr in _FIELDS:
            name, read = _FIELDS[attr]
            fields[name] = read(data[offset : offset + length])
    family, plen, flags, scope, ifindex = _IFADDRMSG.unpack_from(data, NLMSG_HDRLEN)
    return AddrMsg(
        nlmsg_type=request.nlmsg_type,
        nlmsg_flags=request.flags,
        ifa_family=family,
        ifa_prefixlen=plen,
        ifa_flags=flags,
        ifa_scope=scope,
        ifa_index=ifindex,
        **fields,
    )


# --- single requests --------------------------------------------------------------------------------------------------


def _inet6_rtm_newaddr(request: Request) -> None:
    inet6_rtm_newaddr(request.net, _value(request, _IFA_IPV6_POLICY))


_ASKED: Final = NLM_F_REQUEST | NLM_F_ECHO
_RUN: Final = 1 << 14
"""Bytes that are looked at as a whole, so that requests of changing forms are not copied over and over."""


def _newaddr_lane(net: Net, data: bytes, offset: int, length: int, grant: Grant) -> tuple[int, KernelError | None]:
    """Add IPv6 addresses by well-made requests that have one form and want no echo: by the thousand.

    It is what _inet6_rtm_newaddr() does with each, only that nothing is looked for which is not there.
    """
    machine, form = net.machine, newaddr_form(data, offset, length)
    if form is None or machine.rtnl_held:
        return 0, None
    layout, frame, alike, wish = form
    cfg, at, end = Ifa6Config(b"", 0), offset, min(offset + _RUN, len(data))
    granted: list[bytes] = []
    refusal: KernelError | None = None
    machine.rtnl_held = True
    try:
        for members in layout.iter_unpack(data[offset : end - (end - offset) % layout.size]):
            if frame(members) != alike:
                break
            (
                nlm, ifindex, cfg.plen, cfg.pfx, peer, cfg.rt_priority, cfg.ifa_proto, flags, cfg.valid_lft,
                cfg.preferred_lft,
            ) = wish(ABSENT + members)  # fmt: skip
            if nlm & _ASKED != NLM_F_REQUEST:
                break
            cfg.ifa_flags = flags & REQUESTABLE
            cfg.peer_pfx = None if peer == cfg.pfx else peer
            inet6_newaddr(net, ifindex, nlm, cfg)
            if machine.effects and (granted or nlm & NLM_F_ACK):
                machine.rtnl_held = False
                grant(granted)
                granted.clear()
                machine.rtnl_held = True
            if nlm & NLM_F_ACK:
                granted.append(data[at : at + NLMSG_HDRLEN])
            at += layout.size
    except KernelError as refused:
        refusal = refused
    finally:
        machine.rtnl_held = False
    grant(granted)
    return at - offset, refusal


def _inet6_rtm_deladdr(request: Request) -> None:
    inet6_rtm_deladdr(request.net, _value(request, _IFA_IPV6_POLICY))


def _inet_rtm_newaddr(request: Request) -> None:
    inet_rtm_newaddr(request.net, _value(request, _IFA_IPV4_POLICY))


def _inet_rtm_deladdr(request: Request) -> None:
    inet_rtm_deladdr(request.net, _value(request, _IFA_IPV4_POLICY))


_GETADDR_ATTRS: Final = (IFA_TARGET_NETNSID, IFA_ADDRESS, IFA_LOCAL)


def _valid_getaddr_req(request: Request) -> Attrs:
    """Kernel: net/ipv6/addrconf.c, inet6_rtm_valid_getaddr_req()."""
    if len(request.data) < NLMSG_HDRLEN + _IFADDRMSG.size:
        raise KernelError(EINVAL, "ipv6: Invalid header for get address request")
    if not request.strict:
        return _parse(request, _IFA_IPV6_POLICY, NL_VALIDATE_LIBERAL)
    if any(request.data[NLMSG_HDRLEN + 1 : NLMSG_HDRLEN + 4]):
        raise KernelError(EINVAL, "ipv6: Invalid values in header for get address request")
    tb = _parse(request, _IFA_IPV6_POLICY, NL_VALIDATE_DEPRECATED_STRICT)
    if any(attr not in _GETADDR_ATTRS for attr in tb):
        raise KernelError(EINVAL, "ipv6: Unsupported attribute in get address request")
    return tb


def _parse(request: Request, policy: Policies, validate: int) -> Attrs:
    return nlmsg_parse(request.data, _IFADDRMSG.size, IFA_MAX, policy, validate, request.extack)


def _inet6_rtm_getaddr(request: Request) -> None:
    """Kernel: net/ipv6/addrconf.c, inet6_rtm_getaddr()."""
    request.tb = tb = _valid_getaddr_req(request)
    netnsid = _s32_of(request, tb, IFA_TARGET_NETNSID)
    net = request.net if netnsid is None else rtnl_get_net_ns_capable(request, netnsid)
    attr = tb.get(IFA_LOCAL) or tb.get(IFA_ADDRESS)
    if attr is None:
        raise KernelError(EINVAL)
    ifindex = _IFADDRMSG.unpack_from(request.data, NLMSG_HDRLEN)[4]
    ifp = ipv6_get_ifaddr(net, request.data[attr[0] : attr[0] + 16], dev_get_by_index(net, ifindex))
    if ifp is None:
        raise KernelError(EADDRNOTAVAIL)
    msg = replace(inet6_fill_ifaddr(ifp), target_netnsid=netnsid)
    request.reply(encode(msg, request.seq, request.portid))


def _s32_of(request: Request, tb: Attrs, attr: int) -> int | None:
    return int(_S32.unpack_from(request.data, tb[attr][0])[0]) if attr in tb else None


# --- dumps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Family:
    """What differs between the dumps of two families."""

    name: str
    policy: Policies
    base_seq: Callable[[Net], int]


_IPV4: Final = _Family("ipv4", _IFA_IPV4_POLICY, inet_base_seq)
_IPV6: Final = _Family("ipv6", _IFA_IPV6_POLICY, inet6_base_seq)


def _valid_dump_req(dump: Dump, family: _Family) -> tuple[int, int | None]:
    """The device and the namespace that a dump is about, each of them if it is about one.

    Kernel: net/ipv6/addrconf.c, inet6_valid_dump_ifaddr_req(); net/ipv4/devinet.c, inet_valid_dump_ifaddr_req().
    """
    if len(dump.data) < NLMSG_HDRLEN + _IFADDRMSG.size:
        raise KernelError(EINVAL, f"{family.name}: Invalid header for address dump request")
    if any(dump.data[NLMSG_HDRLEN + 1 : NLMSG_HDRLEN + 4]):
        raise KernelError(EINVAL, f"{family.name}: Invalid values in header for address dump request")
    ifindex = _IFADDRMSG.unpack_from(dump.data, NLMSG_HDRLEN)[4]
    if ifindex:
        dump.answer_flags |= NLM_F_DUMP_FILTERED
    tb = _parse(dump, family.policy, NL_VALIDATE_DEPRECATED_STRICT)
    netnsid = None
    for attr in sorted(tb):
        if attr != IFA_TARGET_NETNSID:
            raise KernelError(EINVAL, f"{family.name}: Unsupported attribute in dump request")
        netnsid = _s32_of(dump, tb, IFA_TARGET_NETNSID) or 0
        rtnl_get_net_ns_capable(dump, netnsid, f"{family.name}: Invalid target network namespace id")
    return ifindex, netnsid


_Tell: TypeAlias = Callable[[Dump, Sequence[T], int, int | None], tuple[int, bytes]]
"""Tells things of a list from a place on, which are perhaps in a namespace of an id: how many, and the messages.

Several at once are told only where there is room for all of them.
"""


def _one_by_one(fill: Callable[[T], AddrMsg]) -> _Tell[T]:
    def tell(dump: Dump, items: Sequence[T], position: int, netnsid: int | None) -> tuple[int, bytes]:
        msg = replace(fill(items[position]), nlmsg_flags=dump.nlmsg_flags(), target_netnsid=netnsid)
        return 1, encode(msg, dump.seq, dump.portid)

    return tell


def _dumpit(
    family: _Family, listed: Callable[[NetDevice], Sequence[T]], tell: _Tell[T], *, checked: bool = True
) -> Dumpit:
    """A dump of what devices have; `checked` for what says that it was interrupted (nl_dump_check_consistent()).

    By device index and then by place in the device's list.  After each datagram it goes on from the index and the place
    where it was, whatever stands there by then.

    Kernel: net/ipv6/addrconf.c, inet6_dump_addr(); net/ipv4/devinet.c, inet_dump_addr().
    """

    def dumpit(dump: Dump) -> Iterator[bytes]:
        wanted, netnsid = _valid_dump_req(dump, family) if dump.strict else (0, None)
        net = dump.net if netnsid is None else get_net_ns_by_id(dump.net, netnsid) or dump.net
        dump.base_seq = (lambda: family.base_seq(net)) if checked and not wanted else None
        ifindex, position = wanted, 0
        while (dev := _device(net, ifindex, only=wanted)) is not None:
            ifindex, items = dev.ifindex, listed(dev)
            while position < len(items):
                number, messages = tell(dump, items, position, netnsid)
                yield messages
                if dump.full:
                    dump.full = False
                    break
                position += number
            else:
                if wanted:
                    return
                ifindex, position = ifindex + 1, 0

    return dumpit


def _device(net: Net, ifindex: int, *, only: int) -> NetDevice | None:
    """The device that is asked for, or else the next one from an index on.

    Raises:
        KernelError: ENODEV, the one that is asked for is not there.
    """
    if only:
        dev = dev_get_by_index(net, only)
        if dev is None:
            raise KernelError(ENODEV)
        return dev
    left = [index for index in net.dev_base_head if index >= ifindex]
    return net.dev_base_head[min(left)] if left else None


def _inet6_addr_list(dev: NetDevice) -> list[Inet6Ifaddr]:
    return inet6_addr_list(dev.ip6_ptr) if dev.ip6_ptr is not None else []


def _as_it_is(msg: AddrMsg) -> AddrMsg:
    return msg


_one_inet6_ifaddr: Final = _one_by_one(inet6_fill_ifaddr)


def _inet6_ifaddrs(dump: Dump, items: Sequence[Inet6Ifaddr], position: int, netnsid: int | None) -> tuple[int, bytes]:
    """As many addresses as fit whose messages have one size, as most have."""
    size = len(inet6_ifaddr_wire(items[position]))
    several = items[position : position + dump.room // size]
    if len(several) < 2 or netnsid is not None:
        return _one_inet6_ifaddr(dump, items, position, netnsid)
    wires = [ifp.wire if ifp.wire_flags == ifp.flags else inet6_ifaddr_wire(ifp) for ifp in several]
    if {*map(len, wires)} != {size}:
        wires = list(takewhile(lambda wire: len(wire) == size, wires))
    first, next_ = (NLMSGHDR.pack(size, RTM_NEWADDR, dump.nlmsg_flags(), dump.seq, dump.portid) for _ in range(2))
    return len(wires), first + next_.join([wire[NLMSG_HDRLEN:] for wire in wires])


LANES: Final[Mapping[int, Lane]] = {RTM_NEWADDR: _newaddr_lane}
HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWADDR, AF_INET): Handler(doit=_inet_rtm_newaddr),
    (RTM_DELADDR, AF_INET): Handler(doit=_inet_rtm_deladdr),
    (RTM_GETADDR, AF_INET): Handler(
        dumpit=_dumpit(_IPV4, inet_ifa_list, _one_by_one(inet_fill_ifaddr)), split_done=True
    ),
    (RTM_GETMULTICAST, AF_INET): Handler(dumpit=_dumpit(_IPV4, inet_dump_ifmcaddr, _one_by_one(_as_it_is))),
    (RTM_NEWADDR, AF_INET6): Handler(doit=_inet6_rtm_newaddr),
    (RTM_DELADDR, AF_INET6): Handler(doit=_inet6_rtm_deladdr),
    (RTM_GETADDR, AF_INET6): Handler(doit=_inet6_rtm_getaddr, dumpit=_dumpit(_IPV6, _inet6_addr_list, _inet6_ifaddrs)),
    (RTM_GETMULTICAST, AF_INET6): Handler(
        dumpit=_dumpit(_IPV6, inet6_dump_ifmcaddr, _one_by_one(_as_it_is), checked=False)
    ),
    (RTM_GETANYCAST, AF_INET6): Handler(
        dumpit=_dumpit(_IPV6, inet6_dump_ifacaddr, _one_by_one(_as_it_is), checked=False)
    ),
}
