"""struct rtmsg and what may follow it, in every request about routes."""

from dataclasses import dataclass
from errno import EINVAL
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import Request
from addrsvc.errors import KernelError
from addrsvc.netlink.nlattr import NLA_BE32, NLA_NESTED, NLA_U8, NLA_U16, NLA_U32, NlaPolicy, Policies
from addrsvc.uapi import (
    RTA_DPORT,
    RTA_DST,
    RTA_ENCAP,
    RTA_ENCAP_TYPE,
    RTA_EXPIRES,
    RTA_FLOW,
    RTA_FLOWLABEL,
    RTA_GATEWAY,
    RTA_IIF,
    RTA_IP_PROTO,
    RTA_MARK,
    RTA_METRICS,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PREF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_SPORT,
    RTA_SRC,
    RTA_TABLE,
    RTA_UID,
)

__all__ = ["IPV4_POLICY", "IPV6_POLICY", "RTMSG_SIZE", "Rtmsg"]

_HDRLEN: Final = 16
_RTMSG: Final = Struct("=BBBBBBBBI")
RTMSG_SIZE: Final = _RTMSG.size
_RTNEXTHOP_SIZE: Final = 8

# Kernel: net/ipv4/fib_frontend.c, rtm_ipv4_policy.
IPV4_POLICY: Final[Policies] = {
    0: NlaPolicy(strict_start_type=RTA_DPORT + 1),
    **dict.fromkeys(
        (RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_FLOW, RTA_UID, RTA_MARK,
         RTA_TABLE, RTA_NH_ID),
        NlaPolicy(NLA_U32),
    ),
    RTA_METRICS: NlaPolicy(NLA_NESTED),
    RTA_MULTIPATH: NlaPolicy(len=_RTNEXTHOP_SIZE),
    RTA_ENCAP_TYPE: NlaPolicy(NLA_U16),
    RTA_ENCAP: NlaPolicy(NLA_NESTED),
    RTA_IP_PROTO: NlaPolicy(NLA_U8),
    RTA_SPORT: NlaPolicy(NLA_U16),
    RTA_DPORT: NlaPolicy(NLA_U16),
}  # fmt: skip
# Kernel: net/ipv6/route.c, rtm_ipv6_policy.
IPV6_POLICY: Final[Policies] = {
    0: NlaPolicy(strict_start_type=RTA_DPORT + 1),
    RTA_GATEWAY: NlaPolicy(len=16),
    RTA_PREFSRC: NlaPolicy(len=16),
    **dict.fromkeys(
        (RTA_OIF, RTA_IIF, RTA_PRIORITY, RTA_EXPIRES, RTA_UID, RTA_MARK, RTA_TABLE, RTA_NH_ID), NlaPolicy(NLA_U32)
    ),
    RTA_METRICS: NlaPolicy(NLA_NESTED),
    RTA_MULTIPATH: NlaPolicy(len=_RTNEXTHOP_SIZE),
    RTA_PREF: NlaPolicy(NLA_U8),
    RTA_ENCAP_TYPE: NlaPolicy(NLA_U16),
    RTA_ENCAP: NlaPolicy(NLA_NESTED),
    RTA_IP_PROTO: NlaPolicy(NLA_U8),
    RTA_SPORT: NlaPolicy(NLA_U16),
    RTA_DPORT: NlaPolicy(NLA_U16),
    RTA_FLOWLABEL: NlaPolicy(NLA_BE32),
}


@dataclass(frozen=True, slots=True)
class Rtmsg:
    """struct rtmsg."""

    family: int
    dst_len: int
    src_len: int
    tos: int
    table: int
    protocol: int
    scope: int
    type: int
    flags: int

    @classmethod
    def of(cls, request: Request, refusal: str | None = None) -> "Rtmsg":
        """The header of a request, refused in these words if it is too short."""
        if len(request.data) < _HDRLEN + _RTMSG.size:
            raise KernelError(EINVAL, refusal)
        return cls(*_RTMSG.unpack_from(request.data, _HDRLEN))
