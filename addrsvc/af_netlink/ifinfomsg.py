"""struct ifinfomsg and what may follow it, in every request about links.

What stands in the nests of a request that changes one is in `link_request`.
"""

from collections.abc import Iterator, Sequence
from errno import EINVAL
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import Request
from addrsvc.errors import KernelError
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_LIBERAL,
    NLA_BINARY,
    NLA_NESTED,
    NLA_NUL_STRING,
    NLA_REJECT,
    NLA_S32,
    NLA_STRING,
    NLA_U8,
    NLA_U32,
    Attrs,
    ExtAck,
    NlaPolicy,
    Policies,
    nla_parse_nested_deprecated,
    nlmsg_parse,
)
from addrsvc.uapi import (
    ALTIFNAMSIZ,
    IFALIASZ,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_ALLMULTI,
    IFLA_ALT_IFNAME,
    IFLA_BROADCAST,
    IFLA_CARRIER,
    IFLA_CARRIER_CHANGES,
    IFLA_CARRIER_DOWN_COUNT,
    IFLA_CARRIER_UP_COUNT,
    IFLA_DPLL_PIN,
    IFLA_EVENT,
    IFLA_EXT_MASK,
    IFLA_GRO_IPV4_MAX_SIZE,
    IFLA_GRO_MAX_SIZE,
    IFLA_GROUP,
    IFLA_GSO_IPV4_MAX_SIZE,
    IFLA_GSO_MAX_SEGS,
    IFLA_GSO_MAX_SIZE,
    IFLA_HEADROOM,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_LINKMODE,
    IFLA_MAP,
    IFLA_MASTER,
    IFLA_MAX,
    IFLA_MAX_MTU,
    IFLA_MIN_MTU,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_NET_NS_PID,
    IFLA_NETNS_IMMUTABLE,
    IFLA_NEW_IFINDEX,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    IFLA_OPERSTATE,
    IFLA_PARENT_DEV_NAME,
    IFLA_PERM_ADDRESS,
    IFLA_PHYS_PORT_ID,
    IFLA_PHYS_SWITCH_ID,
    IFLA_PORT_SELF,
    IFLA_PROMISCUITY,
    IFLA_PROP_LIST,
    IFLA_PROTO_DOWN,
    IFLA_PROTO_DOWN_REASON,
    IFLA_TAILROOM,
    IFLA_TARGET_NETNSID,
    IFLA_TSO_MAX_SEGS,
    IFLA_TSO_MAX_SIZE,
    IFLA_TXQLEN,
    IFLA_UNSPEC,
    IFLA_VF_PORTS,
    IFLA_VFINFO_LIST,
    IFLA_WEIGHT,
    IFLA_XDP,
    IFNAMSIZ,
    MAX_ADDR_LEN,
    MAX_TCP_HEADER,
)

__all__ = [
    "IFINFOMSG",
    "IFLA_POLICY",
    "IFMAP",
    "Reader",
    "check_header",
    "each_attr",
    "has_header",
    "nla_strscpy",
    "parse",
    "refuse_others",
]

_NLMSG_HDRLEN: Final = 16
_NLA_HDRLEN: Final = 4
_NLA_TYPE_MASK: Final = 0x3FFF
_NLATTR: Final = Struct("=HH")
_U32: Final = Struct("=I")
_S32: Final = Struct("=i")

IFINFOMSG: Final = Struct("=BBHiII")
IFMAP: Final = Struct("=QQQHBB4x")

_MAX_PHYS_ITEM_ID_LEN: Final = 32
_U32_ONLY: Final = (
    IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_TXQLEN, IFLA_WEIGHT, IFLA_NET_NS_PID, IFLA_NET_NS_FD, IFLA_EXT_MASK,
    IFLA_PROMISCUITY, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_GSO_MAX_SEGS, IFLA_CARRIER_CHANGES, IFLA_EVENT,
    IFLA_GROUP, IFLA_CARRIER_UP_COUNT, IFLA_CARRIER_DOWN_COUNT, IFLA_MIN_MTU, IFLA_MAX_MTU, IFLA_GRO_MAX_SIZE,
    IFLA_GRO_IPV4_MAX_SIZE,
)  # fmt: skip
_NESTS: Final = (
    IFLA_LINKINFO, IFLA_VFINFO_LIST, IFLA_VF_PORTS, IFLA_PORT_SELF, IFLA_AF_SPEC, IFLA_XDP, IFLA_PROP_LIST,
    IFLA_PROTO_DOWN_REASON,
)  # fmt: skip
_ONLY_TOLD: Final = (
    IFLA_PERM_ADDRESS, IFLA_TSO_MAX_SIZE, IFLA_TSO_MAX_SEGS, IFLA_ALLMULTI, IFLA_NETNS_IMMUTABLE, IFLA_HEADROOM,
    IFLA_TAILROOM,
)  # fmt: skip

IFLA_POLICY: Final[Policies] = {
    IFLA_UNSPEC: NlaPolicy(strict_start_type=IFLA_DPLL_PIN),
    IFLA_IFNAME: NlaPolicy(NLA_STRING, len=IFNAMSIZ - 1),
    IFLA_ADDRESS: NlaPolicy(NLA_BINARY, len=MAX_ADDR_LEN),
    IFLA_BROADCAST: NlaPolicy(NLA_BINARY, len=MAX_ADDR_LEN),
    IFLA_MAP: NlaPolicy(len=IFMAP.size),
    IFLA_IFALIAS: NlaPolicy(NLA_BINARY, len=IFALIASZ - 1),
    IFLA_PHYS_PORT_ID: NlaPolicy(NLA_BINARY, len=_MAX_PHYS_ITEM_ID_LEN),
    IFLA_PHYS_SWITCH_ID: NlaPolicy(NLA_BINARY, len=_MAX_PHYS_ITEM_ID_LEN),
    IFLA_GSO_MAX_SIZE: NlaPolicy.at_least(NLA_U32, MAX_TCP_HEADER + 1),
    IFLA_GSO_IPV4_MAX_SIZE: NlaPolicy.at_least(NLA_U32, MAX_TCP_HEADER + 1),
    IFLA_NEW_IFINDEX: NlaPolicy.at_least(NLA_S32, 1),
    IFLA_ALT_IFNAME: NlaPolicy(NLA_STRING, len=ALTIFNAMSIZ - 1),
    IFLA_PARENT_DEV_NAME: NlaPolicy(NLA_NUL_STRING),
    **dict.fromkeys(_U32_ONLY, NlaPolicy(NLA_U32)),
    **dict.fromkeys((IFLA_CARRIER, IFLA_OPERSTATE, IFLA_LINKMODE, IFLA_PROTO_DOWN), NlaPolicy(NLA_U8)),
    **dict.fromkeys((IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID), NlaPolicy(NLA_S32)),
    **dict.fromkeys(_NESTS, NlaPolicy(NLA_NESTED)),
    **dict.fromkeys(_ONLY_TOLD, NlaPolicy(NLA_REJECT)),
}
"""Kernel: net/core/rtnetlink.c, ifla_policy."""


class Reader:
    """The attributes of one request, by number."""

    def __init__(self, request: Request, tb: Attrs) -> None:
        self.request, self.data, self.tb = request, request.data, tb

    def raw(self, attr: int) -> bytes | None:
        """The payload."""
        if attr not in self.tb:
            return None
        offset, length = self.tb[attr]
        return self.data[offset : offset + length]

    def u8(self, attr: int) -> int | None:
        """A number of one byte."""
        return self.data[self.tb[attr][0]] if attr in self.tb else None

    def u32(self, attr: int) -> int | None:
        """A number of four bytes."""
        return int(_U32.unpack_from(self.data, self.tb[attr][0])[0]) if attr in self.tb else None

    def s32(self, attr: int) -> int | None:
        """A number of four bytes, with a sign."""
        return int(_S32.unpack_from(self.data, self.tb[attr][0])[0]) if attr in self.tb else None

    def text(self, attr: int, size: int) -> str | None:
        """A string; see nla_strscpy()."""
        payload = self.raw(attr)
        return None if payload is None else nla_strscpy(payload, size)

    def nested(self, attr: int, maxtype: int, policy: Policies, extack: ExtAck | None = None) -> "Reader":
        """The attributes of a nest; without `extack`, no more is told of a refusal than its errno."""
        try:
            found = nla_parse_nested_deprecated(self.data, self.tb[attr], maxtype, policy, extack or ExtAck())
        except KernelError as refusal:
            raise refusal if extack else KernelError(refusal.errno or EINVAL) from None
        return Reader(self.request, found)

    def each(self, attr: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """What lies in a nest, as it comes: type, and place of the payload (nla_for_each_nested)."""
        if attr in self.tb:
            offset, length = self.tb[attr]
            yield from each_attr(self.data, offset, offset + length)


def nla_strscpy(payload: bytes, size: int) -> str:
    """A string, up to its end or to what fits into `size` bytes with a zero behind it.

    Kernel: lib/nlattr.c, nla_strscpy().
    """
    return payload.split(b"\0", 1)[0][: size - 1].decode("utf-8", "surrogateescape")


def each_attr(data: bytes, offset: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Kernel: include/net/netlink.h, nla_for_each_attr()."""
    while end - offset >= _NLA_HDRLEN:
        nla_len, nla_type = _NLATTR.unpack_from(data, offset)
        if not _NLA_HDRLEN <= nla_len <= end - offset:
            return
        yield nla_type & _NLA_TYPE_MASK, (offset + _NLA_HDRLEN, nla_len - _NLA_HDRLEN)
        offset += nla_len + 3 & ~3


def parse(request: Request, validate: int = NL_VALIDATE_LIBERAL, hdrlen: int = IFINFOMSG.size) -> Reader:
    """The attributes of a request for a link, if they are what they must be."""
    request.tb = tb = nlmsg_parse(request.data, hdrlen, IFLA_MAX, IFLA_POLICY, validate, request.extack)
    return Reader(request, tb)


def check_header(request: Request, words: str, *, also_index: bool = False) -> None:
    """Refuse a header that says more than which device is meant, or even that.

    Kernel: net/core/rtnetlink.c, rtnl_valid_getlink_req() and kin.
    """
    _, pad, type_, index, flags, change = IFINFOMSG.unpack_from(request.data, _NLMSG_HDRLEN)
    if pad or type_ or flags or change or (also_index and index):
        raise KernelError(EINVAL, words)


def has_header(request: Request) -> bool:
    """Whether there is a whole struct ifinfomsg."""
    return len(request.data) >= _NLMSG_HDRLEN + IFINFOMSG.size


def refuse_others(reader: Reader, allowed: Sequence[int], words: str) -> None:
    """Refuse attributes that are not among those allowed."""
    if any(attr not in allowed for attr in reader.tb):
        raise KernelError(EINVAL, words)
