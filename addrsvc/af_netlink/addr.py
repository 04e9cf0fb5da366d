"""RTM_*ADDR and its kin as bytes: net/ipv6/addrconf.c and net/ipv4/devinet.c, what they read and write."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import Dump, Handler, Request, resumable
from addrsvc.model.addr_request import inet6_rtm_deladdr, inet6_rtm_newaddr
from addrsvc.model.ifaddr import inet6_fill_ifaddr
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import AddrMsg, IfaCacheinfo
from addrsvc.netlink.nlattr import NL_VALIDATE_LIBERAL, NLA_U8, NLA_U32, NlaPolicy, nlmsg_parse
from addrsvc.uapi import AF_INET6, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR

__all__ = ["HANDLERS"]

_IFADDRMSG: Final = Struct("=BBBBi")
_CACHEINFO: Final = Struct("=IIII")
_U32: Final = Struct("=I")
(_ADDRESS, _LOCAL, _LABEL, _BROADCAST, _ANYCAST, _INFO, _MULTICAST, _FLAGS, _PRIORITY, _TARGET_NETNSID, _PROTO) = range(
    1, 12
)
_IFA_MAX: Final = _PROTO

# Kernel: net/ipv6/addrconf.c, ifa_ipv6_policy.
_IPV6_POLICY: Final[Mapping[int, NlaPolicy]] = {
    _ADDRESS: NlaPolicy(len=16),
    _LOCAL: NlaPolicy(len=16),
    _INFO: NlaPolicy(len=_CACHEINFO.size),
    _FLAGS: NlaPolicy(NLA_U32),
    _PRIORITY: NlaPolicy(NLA_U32),
    _PROTO: NlaPolicy(NLA_U8),
}


def _decode(request: Request, policy: Mapping[int, NlaPolicy]) -> AddrMsg:
    data = request.data
    request.tb = tb = nlmsg_parse(data, _IFADDRMSG.size, _IFA_MAX, policy, NL_VALIDATE_LIBERAL, request.extack)
    family, plen, flags, scope, ifindex = _IFADDRMSG.unpack_from(data, 16)

    def u32(attr: int) -> int | None:
        return int(_U32.unpack_from(data, tb[attr][0])[0]) if attr in tb else None

    def raw(attr: int) -> bytes | None:
        return data[tb[attr][0] : tb[attr][0] + tb[attr][1]] if attr in tb else None

    return AddrMsg(
        nlmsg_type=request.nlmsg_type,
        nlmsg_flags=request.flags,
        ifa_family=family,
        ifa_prefixlen=plen,
        ifa_flags=flags,
        ifa_scope=scope,
        ifa_index=ifindex,
        address=raw(_ADDRESS),
        local=raw(_LOCAL),
        cacheinfo=IfaCacheinfo(*_CACHEINFO.unpack_from(data, tb[_INFO][0])) if _INFO in tb else None,
        flags=u32(_FLAGS),
        rt_priority=u32(_PRIORITY),
        proto=data[tb[_PROTO][0]] if _PROTO in tb else None,
    )


def _newaddr6(request: Request) -> None:
    inet6_rtm_newaddr(request.net, _decode(request, _IPV6_POLICY))


def _deladdr6(request: Request) -> None:
    inet6_rtm_deladdr(request.net, _decode(request, _IPV6_POLICY))


def _dump6(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv6/addrconf.c, inet6_dump_addr()."""
    devs = dump.net.dev_base_head
    for dev in resumable(dump, lambda: [devs[ifindex] for ifindex in sorted(devs)]):
        idev = dev.ip6_ptr
        if idev is None:
            continue
        for ifp in resumable(dump, lambda idev=idev: list(idev.addr_list)):  # type: ignore[misc]
            yield encode(replace(inet6_fill_ifaddr(ifp), nlmsg_flags=dump.nlmsg_flags()), dump.seq, dump.portid)


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWADDR, AF_INET6): Handler(doit=_newaddr6),
    (RTM_DELADDR, AF_INET6): Handler(doit=_deladdr6),
    (RTM_GETADDR, AF_INET6): Handler(dumpit=_dump6),
}
