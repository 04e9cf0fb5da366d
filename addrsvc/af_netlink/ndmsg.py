"""struct ndmsg and what may follow it, in every request about neighbours and forwarding databases."""

from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import Request
from addrsvc.netlink.nlattr import (
    NLA_BINARY,
    NLA_NESTED,
    NLA_U8,
    NLA_U16,
    NLA_U32,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    MAX_ADDR_LEN,
    NDA_CACHEINFO,
    NDA_DST,
    NDA_FDB_EXT_ATTRS,
    NDA_FLAGS_EXT,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_MAX,
    NDA_NH_ID,
    NDA_PORT,
    NDA_PROBES,
    NDA_PROTOCOL,
    NDA_UNSPEC,
    NDA_VLAN,
    NDA_VNI,
    NTF_EXT_MASK,
)

__all__ = ["NDMSG_SIZE", "Ndmsg", "has_header", "parse"]

_HDRLEN: Final = 16
_NDMSG: Final = Struct("=BBHiHBB")
NDMSG_SIZE: Final = _NDMSG.size

# Kernel: net/core/neighbour.c, nda_policy.
_NDA_POLICY: Final[Policies] = {
    NDA_UNSPEC: NlaPolicy(strict_start_type=NDA_NH_ID),
    NDA_DST: NlaPolicy(NLA_BINARY, len=MAX_ADDR_LEN),
    NDA_LLADDR: NlaPolicy(NLA_BINARY, len=MAX_ADDR_LEN),
    NDA_CACHEINFO: NlaPolicy(len=16),
    NDA_PROBES: NlaPolicy(NLA_U32),
    NDA_VLAN: NlaPolicy(NLA_U16),
    NDA_PORT: NlaPolicy(NLA_U16),
    NDA_VNI: NlaPolicy(NLA_U32),
    NDA_IFINDEX: NlaPolicy(NLA_U32),
    NDA_MASTER: NlaPolicy(NLA_U32),
    NDA_PROTOCOL: NlaPolicy(NLA_U8),
    NDA_NH_ID: NlaPolicy(NLA_U32),
    NDA_FLAGS_EXT: NlaPolicy.masked(NLA_U32, NTF_EXT_MASK),
    NDA_FDB_EXT_ATTRS: NlaPolicy(NLA_NESTED),
}


class Ndmsg:
    """struct ndmsg of a request that has one.

    Attributes:
        is_odd: something is set that a request to look something up leaves zero.
    """

    __slots__ = ("family", "flags", "ifindex", "is_odd", "state")

    def __init__(self, request: Request) -> None:
        """Read it."""
        self.family, pad1, pad2, self.ifindex, self.state, self.flags, ndm_type = _NDMSG.unpack_from(
            request.data, _HDRLEN
        )
        self.is_odd = bool(pad1 or pad2 or self.state or ndm_type)


def has_header(request: Request, size: int = _NDMSG.size) -> bool:
    """Whether a request is long enough for struct ndmsg, or another header of this size."""
    return len(request.data) >= _HDRLEN + size


def parse(request: Request, validate: int, policy: Policies | None = _NDA_POLICY) -> None:
    """Find the attributes."""
    request.tb = nlmsg_parse(request.data, _NDMSG.size, NDA_MAX, policy, validate, request.extack)
