"""RTM_*LINK and RTM_*LINKPROP as bytes: net/core/rtnetlink.c, what it reads and writes.

What a request says in nests is read when the model asks for it, see `addrsvc.model.link_request`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from errno import EINVAL, ENODEV, EOPNOTSUPP
from functools import partial
from struct import Struct
from typing import Final, TypeAlias

from addrsvc.af_netlink.nets import get_net_ns_by_fd, get_net_ns_by_pid
from addrsvc.af_netlink.request import Dump, Handler, Request, for_each_netdev_dump
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.inet6_dev import inet6_fill_ifinfo
from addrsvc.model.link_request import LinkAf, LinkRequest, XdpWish
from addrsvc.model.netns_ids import get_net_ns_by_id
from addrsvc.model.newlink import dellink, find_link, newlink, rtnl_linkprop, rtnl_prop_list_size, setlink
from addrsvc.model.rtnl import rtmsg_ifinfo_build
from addrsvc.model.rtnl_link_ops import rtnl_link_ops_get
from addrsvc.model.structs import InetLinkWish, Net, NetDevice, RtnlLinkOps
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import Inet6LinkInfo, LinkInfo, LinkMsg
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NL_VALIDATE_STRICT,
    NLA_BINARY,
    NLA_NESTED,
    NLA_NUL_STRING,
    NLA_REJECT,
    NLA_S32,
    NLA_STRING,
    NLA_U8,
    NLA_U16,
    NLA_U32,
    Attrs,
    ExtAck,
    NlaPolicy,
    Policies,
    nla_parse,
    nla_parse_nested_deprecated,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
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
    IFLA_PROTINFO,
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
    INT_MAX,
    MAX_ADDR_LEN,
    MAX_TCP_HEADER,
    NLM_F_DUMP_FILTERED,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    RTEXT_FILTER_VF,
    RTM_DELLINK,
    RTM_DELLINKPROP,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
    RTM_SETLINK,
)

__all__ = ["HANDLERS", "IFLA_POLICY"]

_NLMSG_HDRLEN: Final = 16
_NLA_HDRLEN: Final = 4
_NLA_TYPE_MASK: Final = 0x3FFF
_IFINFOMSG: Final = Struct("=BBHiII")
_IFMAP: Final = Struct("=QQQHBB4x")
_NLATTR: Final = Struct("=HH")
_U32: Final = Struct("=I")
_S32: Final = Struct("=i")
_U16: Final = Struct("=H")

# --- what attributes must look like -----------------------------------------------------------------------------------

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
    IFLA_MAP: NlaPolicy(len=_IFMAP.size),
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

_INFO_KIND, _INFO_DATA, _INFO_XSTATS, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = range(1, 6)
_IFLA_INFO_MAX: Final = _INFO_SLAVE_DATA
_INFO_POLICY: Final[Policies] = {
    _INFO_KIND: NlaPolicy(NLA_STRING),
    _INFO_DATA: NlaPolicy(NLA_NESTED),
    _INFO_SLAVE_KIND: NlaPolicy(NLA_STRING),
    _INFO_SLAVE_DATA: NlaPolicy(NLA_NESTED),
}
_MODULE_NAME_LEN: Final = 64 - 8

(
    _VF_MAC, _VF_VLAN, _VF_TX_RATE, _VF_SPOOFCHK, _VF_LINK_STATE, _VF_RATE, _VF_RSS_QUERY_EN, _VF_STATS, _VF_TRUST,
    _VF_IB_NODE_GUID, _VF_IB_PORT_GUID, _VF_VLAN_LIST, _VF_BROADCAST,
) = range(1, 14)  # fmt: skip
_IFLA_VF_MAX: Final = _VF_BROADCAST
_VF_POLICY: Final[Policies] = {
    _VF_MAC: NlaPolicy(len=36),
    _VF_BROADCAST: NlaPolicy(NLA_REJECT),
    _VF_VLAN: NlaPolicy(len=12),
    _VF_VLAN_LIST: NlaPolicy(NLA_NESTED),
    _VF_TX_RATE: NlaPolicy(len=8),
    _VF_SPOOFCHK: NlaPolicy(len=8),
    _VF_RATE: NlaPolicy(len=12),
    _VF_LINK_STATE: NlaPolicy(len=8),
    _VF_RSS_QUERY_EN: NlaPolicy(len=8),
    _VF_STATS: NlaPolicy(NLA_NESTED),
    _VF_TRUST: NlaPolicy(len=8),
    _VF_IB_NODE_GUID: NlaPolicy(len=16),
    _VF_IB_PORT_GUID: NlaPolicy(len=16),
}
# The settings of a virtual function in the order in which they are made; each begins with the function's number.
_VF_SETTINGS: Final = (
    _VF_MAC, _VF_VLAN, _VF_VLAN_LIST, _VF_TX_RATE, _VF_RATE, _VF_SPOOFCHK, _VF_LINK_STATE, _VF_RSS_QUERY_EN,
    _VF_TRUST, _VF_IB_NODE_GUID, _VF_IB_PORT_GUID,
)  # fmt: skip
_IFLA_VF_INFO: Final = 1

_PORT_VF, _PORT_PROFILE, _PORT_VSI_TYPE, _PORT_INSTANCE, _PORT_HOST, _PORT_REQUEST, _PORT_RESPONSE = range(1, 8)
_IFLA_PORT_MAX: Final = _PORT_RESPONSE
_PORT_POLICY: Final[Policies] = {
    _PORT_VF: NlaPolicy(NLA_U32),
    _PORT_PROFILE: NlaPolicy(NLA_STRING, len=40),
    _PORT_INSTANCE: NlaPolicy(NLA_BINARY, len=16),
    _PORT_HOST: NlaPolicy(NLA_STRING, len=16),
    _PORT_REQUEST: NlaPolicy(NLA_U8),
    _PORT_RESPONSE: NlaPolicy(NLA_U16),
    _PORT_VSI_TYPE: NlaPolicy(NLA_BINARY, len=8),
}

_XDP_FD, _XDP_ATTACHED, _XDP_FLAGS, _XDP_PROG_ID = range(1, 5)
_XDP_EXPECTED_FD: Final = 8
_IFLA_XDP_MAX: Final = _XDP_EXPECTED_FD
_XDP_POLICY: Final[Policies] = {
    IFLA_UNSPEC: NlaPolicy(strict_start_type=_XDP_EXPECTED_FD),
    _XDP_FD: NlaPolicy(NLA_S32),
    _XDP_EXPECTED_FD: NlaPolicy(NLA_S32),
    _XDP_ATTACHED: NlaPolicy(NLA_U8),
    _XDP_FLAGS: NlaPolicy(NLA_U32),
    _XDP_PROG_ID: NlaPolicy(NLA_U32),
}

_INET_CONF: Final = 1
_IFLA_INET_MAX: Final = _INET_CONF
_INET_POLICY: Final[Policies] = {_INET_CONF: NlaPolicy(NLA_NESTED)}

_INET6_TOKEN, _INET6_ADDR_GEN_MODE, _INET6_RA_MTU = 7, 8, 9
_IFLA_INET6_MAX: Final = _INET6_RA_MTU
_INET6_POLICY: Final[Policies] = {
    _INET6_ADDR_GEN_MODE: NlaPolicy(NLA_U8),
    _INET6_TOKEN: NlaPolicy(len=16),
    _INET6_RA_MTU: NlaPolicy.refuse("IFLA_INET6_RA_MTU can not be set"),
}


# --- reading ----------------------------------------------------------------------------------------------------------


class _Reader:
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
        return self.data[self.tb[attr][0]] if attr in self.tb else None

    def u32(self, attr: int) -> int | None:
        return int(_U32.unpack_from(self.data, self.tb[attr][0])[0]) if attr in self.tb else None

    def s32(self, attr: int) -> int | None:
        return int(_S32.unpack_from(self.data, self.tb[attr][0])[0]) if attr in self.tb else None

    def text(self, attr: int, size: int) -> str | None:
        """A string, up to its end or to what fits into `size` bytes (nla_strscpy)."""
        payload = self.raw(attr)
        return None if payload is None else _text(payload, size)

    def nested(self, attr: int, maxtype: int, policy: Policies, extack: ExtAck | None = None) -> "_Reader":
        """The attributes of a nest; without `extack`, no more is told of a refusal than its errno."""
        try:
            found = nla_parse_nested_deprecated(self.data, self.tb[attr], maxtype, policy, extack or ExtAck())
        except KernelError as refusal:
            raise refusal if extack else KernelError(refusal.errno or EINVAL) from None
        return _Reader(self.request, found)

    def each(self, attr: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """What lies in a nest, as it comes: type, and place of the payload (nla_for_each_nested)."""
        if attr in self.tb:
            offset, length = self.tb[attr]
            yield from _each(self.data, offset, offset + length)


def _text(payload: bytes, size: int) -> str:
    return payload.split(b"\0", 1)[0][: size - 1].decode("utf-8", "surrogateescape")


def _each(data: bytes, offset: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Kernel: include/net/netlink.h, nla_for_each_attr()."""
    while end - offset >= _NLA_HDRLEN:
        nla_len, nla_type = _NLATTR.unpack_from(data, offset)
        if not _NLA_HDRLEN <= nla_len <= end - offset:
            return
        yield nla_type & _NLA_TYPE_MASK, (offset + _NLA_HDRLEN, nla_len - _NLA_HDRLEN)
        offset += nla_len + 3 & ~3


def _parse(request: Request, validate: int = NL_VALIDATE_LIBERAL, hdrlen: int = _IFINFOMSG.size) -> _Reader:
    request.tb = tb = nlmsg_parse(request.data, hdrlen, IFLA_MAX, IFLA_POLICY, validate, request.extack)
    return _Reader(request, tb)


def _decode(reader: _Reader, linkinfo: LinkInfo | None = None) -> LinkRequest:
    """What any request for a link says; `linkinfo` is what one says to which kinds matter."""
    tb = reader.tb
    return LinkRequest(
        _link_msg(reader, linkinfo),
        af_spec=tuple(LinkAf(af, partial(_af, reader, af, place)) for af, place in reader.each(IFLA_AF_SPEC)),
        tgt_net=partial(_tgt_net, reader) if any(attr in tb for attr in _NETNS) else None,
        link_net=partial(_link_net, reader) if IFLA_LINK_NETNSID in tb else None,
        vfinfo=partial(_vfinfo, reader) if IFLA_VFINFO_LIST in tb else None,
        port_self=partial(_port_self, reader) if IFLA_PORT_SELF in tb else None,
        xdp=partial(_xdp, reader) if IFLA_XDP in tb else None,
        has_protinfo=IFLA_PROTINFO in tb,
        has_vf_ports=IFLA_VF_PORTS in tb,
        has_proto_down_reason=IFLA_PROTO_DOWN_REASON in tb,
    )


def _link_msg(reader: _Reader, linkinfo: LinkInfo | None) -> LinkMsg:
    request = reader.request
    family, _, type_, index, flags, change = _IFINFOMSG.unpack_from(request.data, _NLMSG_HDRLEN)
    return LinkMsg(
        nlmsg_type=request.nlmsg_type,
        nlmsg_flags=request.flags,
        ifi_family=family,
        ifi_type=type_,
        ifi_index=index,
        ifi_flags=flags,
        ifi_change=change,
        ifname=reader.text(IFLA_IFNAME, IFNAMSIZ),
        txqlen=reader.u32(IFLA_TXQLEN),
        operstate=reader.u8(IFLA_OPERSTATE),
        linkmode=reader.u8(IFLA_LINKMODE),
        mtu=reader.u32(IFLA_MTU),
        group=reader.u32(IFLA_GROUP),
        num_tx_queues=reader.u32(IFLA_NUM_TX_QUEUES),
        num_rx_queues=reader.u32(IFLA_NUM_RX_QUEUES),
        gso_max_segs=reader.u32(IFLA_GSO_MAX_SEGS),
        gso_max_size=reader.u32(IFLA_GSO_MAX_SIZE),
        gro_max_size=reader.u32(IFLA_GRO_MAX_SIZE),
        gso_ipv4_max_size=reader.u32(IFLA_GSO_IPV4_MAX_SIZE),
        gro_ipv4_max_size=reader.u32(IFLA_GRO_IPV4_MAX_SIZE),
        master=reader.u32(IFLA_MASTER),
        carrier=reader.u8(IFLA_CARRIER),
        ifalias=reader.text(IFLA_IFALIAS, IFALIASZ),
        address=reader.raw(IFLA_ADDRESS),
        broadcast=reader.raw(IFLA_BROADCAST),
        proto_down=reader.u8(IFLA_PROTO_DOWN),
        linkinfo=linkinfo,
        new_ifindex=reader.s32(IFLA_NEW_IFINDEX),
        map=_IFMAP.unpack_from(request.data, reader.tb[IFLA_MAP][0]) if IFLA_MAP in reader.tb else None,
        alt_ifname=reader.text(IFLA_ALT_IFNAME, ALTIFNAMSIZ),
        ext_mask=reader.u32(IFLA_EXT_MASK),
        target_netnsid=reader.s32(IFLA_TARGET_NETNSID),
    )


def _linkinfo(reader: _Reader) -> _Reader:
    if IFLA_LINKINFO not in reader.tb:
        return _Reader(reader.request, {})
    return reader.nested(IFLA_LINKINFO, _IFLA_INFO_MAX, _INFO_POLICY)


def _vfinfo(reader: _Reader) -> None:
    """Refuse the first virtual function that is to be set, if any is."""
    for type_, place in reader.each(IFLA_VFINFO_LIST):
        if type_ != _IFLA_VF_INFO or place[1] < _NLA_HDRLEN:
            raise KernelError(EINVAL)
        _do_setvfinfo(_Reader(reader.request, {_IFLA_VF_INFO: place}).nested(_IFLA_VF_INFO, _IFLA_VF_MAX, _VF_POLICY))


def _do_setvfinfo(vf: _Reader) -> None:
    """Kernel: net/core/rtnetlink.c, do_setvfinfo()."""
    for setting in _VF_SETTINGS:
        if setting in vf.tb:
            numbered = setting != _VF_VLAN_LIST
            raise KernelError(EINVAL if numbered and (vf.u32(setting) or 0) >= INT_MAX else EOPNOTSUPP)
    raise KernelError(EINVAL)


def _port_self(reader: _Reader) -> None:
    reader.nested(IFLA_PORT_SELF, _IFLA_PORT_MAX, _PORT_POLICY)


def _xdp(reader: _Reader) -> XdpWish:
    xdp = reader.nested(IFLA_XDP, _IFLA_XDP_MAX, _XDP_POLICY)
    return XdpWish(
        fd=xdp.s32(_XDP_FD),
        flags=xdp.u32(_XDP_FLAGS) or 0,
        expected_fd=xdp.s32(_XDP_EXPECTED_FD),
        reads_only=_XDP_ATTACHED in xdp.tb or _XDP_PROG_ID in xdp.tb,
    )


def _af(reader: _Reader, family: int, place: tuple[int, int]) -> InetLinkWish | Inet6LinkInfo:
    """What a request wants of a family."""
    maxtype, policy, read = _AF[family]
    af = _Reader(reader.request, {family: place})
    return read(af.nested(family, maxtype, policy, reader.request.extack))


def _inet(af: _Reader) -> InetLinkWish:
    conf: list[tuple[int, int]] = []
    for number, (offset, length) in af.each(_INET_CONF):
        if length < _S32.size:
            raise KernelError(EINVAL)
        conf.append((number, int(_S32.unpack_from(af.data, offset)[0])))
    return InetLinkWish(tuple(conf))


def _inet6(af: _Reader) -> Inet6LinkInfo:
    token = af.raw(_INET6_TOKEN)
    return Inet6LinkInfo(addr_gen_mode=af.u8(_INET6_ADDR_GEN_MODE), token=None if token is None else token[:16])


# One row per family that link messages can want something of.
_AF: Final[Mapping[int, tuple[int, Policies, Callable[[_Reader], InetLinkWish | Inet6LinkInfo]]]] = {
    AF_INET: (_IFLA_INET_MAX, _INET_POLICY, _inet),
    AF_INET6: (_IFLA_INET6_MAX, _INET6_POLICY, _inet6),
}


# --- which namespace --------------------------------------------------------------------------------------------------


def _ensure_unique_netns(reader: _Reader, *, netns_id_only: bool) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_ensure_unique_netns()."""
    named = [attr for attr in (IFLA_NET_NS_PID, IFLA_NET_NS_FD) if attr in reader.tb]
    if netns_id_only and named:
        raise KernelError(EOPNOTSUPP, "specified netns attribute not supported")
    if len(named) + (IFLA_TARGET_NETNSID in reader.tb) > 1:
        raise KernelError(EINVAL, "multiple netns identifying attributes specified")


_NETNS: Final = (IFLA_NET_NS_PID, IFLA_NET_NS_FD, IFLA_TARGET_NETNSID)


def _tgt_net(reader: _Reader) -> Net:
    """The namespace that the request names.

    Kernel: net/core/rtnetlink.c, rtnl_link_get_net_by_nlattr().
    """
    if (pid := reader.u32(IFLA_NET_NS_PID)) is not None:
        return get_net_ns_by_pid(reader.request, pid)
    if (fd := reader.u32(IFLA_NET_NS_FD)) is not None:
        return get_net_ns_by_fd(reader.request, fd)
    return _net_of_id(reader, IFLA_TARGET_NETNSID)


def _net_of_id(reader: _Reader, attr: int, words: str | None = None) -> Net:
    net = get_net_ns_by_id(reader.request.net, reader.s32(attr) or 0)
    if net is None:
        raise KernelError(EINVAL, words)
    return net


def _link_net(reader: _Reader) -> Net:
    return _net_of_id(reader, IFLA_LINK_NETNSID, "Unknown network namespace id")


# --- changes ----------------------------------------------------------------------------------------------------------


def _read(request: Request, validate: int = NL_VALIDATE_LIBERAL, *, netns_id_only: bool = False) -> _Reader:
    reader = _parse(request, validate)
    _ensure_unique_netns(reader, netns_id_only=netns_id_only)
    return reader


def _newlink(request: Request) -> None:
    reader = _read(request)
    info = _linkinfo(reader)
    linkinfo = LinkInfo(
        kind=info.text(_INFO_KIND, _MODULE_NAME_LEN),
        data=info.raw(_INFO_DATA),
        slave_data=info.raw(_INFO_SLAVE_DATA),
    )
    newlink(request.net, _decode(reader, linkinfo))


def _setlink(request: Request) -> None:
    setlink(request.net, _decode(_read(request)))


def _dellink(request: Request) -> None:
    dellink(request.net, _decode(_read(request, netns_id_only=True)))


def _linkprop(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_linkprop()."""
    reader = _read(request, NL_VALIDATE_STRICT, netns_id_only=True)
    rtnl_linkprop(request.net, _decode(reader), _altnames(reader), add=request.nlmsg_type == RTM_NEWLINKPROP)


def _altnames(reader: _Reader) -> Iterator[str]:
    """Kernel: net/core/rtnetlink.c, rtnl_alt_ifname()."""
    data, extack = reader.data, reader.request.extack
    for type_, (offset, length) in reader.each(IFLA_PROP_LIST):
        if type_ == IFLA_ALT_IFNAME:
            end = offset + length
            nla_parse(data, offset - _NLA_HDRLEN, end, IFLA_MAX, IFLA_POLICY, NL_VALIDATE_STRICT, extack)
            yield _text(data[offset:end], ALTIFNAMSIZ)


# --- RTM_GETLINK ------------------------------------------------------------------------------------------------------


def _fill_ifinfo(request: Request, dev: NetDevice, asked: LinkMsg, flags: int = 0) -> bytes:
    """Kernel: net/core/rtnetlink.c, rtnl_fill_ifinfo()."""
    msg = rtmsg_ifinfo_build(RTM_NEWLINK, dev, 0, ext_filter_mask=asked.ext_mask or 0)
    return encode(replace(msg, nlmsg_flags=flags, target_netnsid=asked.target_netnsid), request.seq, request.portid)


def _check_header(request: Request, words: str, *, also_index: bool = False) -> None:
    """Refuse a header that says more than which device is meant, or even that.

    Kernel: net/core/rtnetlink.c, rtnl_valid_getlink_req() and kin.
    """
    _, pad, type_, index, flags, change = _IFINFOMSG.unpack_from(request.data, _NLMSG_HDRLEN)
    if pad or type_ or flags or change or (also_index and index):
        raise KernelError(EINVAL, words)


def _has_header(request: Request) -> bool:
    return len(request.data) >= _NLMSG_HDRLEN + _IFINFOMSG.size


def _refuse_others(reader: _Reader, allowed: Sequence[int], words: str) -> None:
    if any(attr not in allowed for attr in reader.tb):
        raise KernelError(EINVAL, words)


def _getlink(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_getlink()."""
    reader = _valid_getlink_req(request)
    _ensure_unique_netns(reader, netns_id_only=True)
    asked = _decode(reader)
    dev = find_link(asked.target(request.net), asked)
    request.reply(_fill_ifinfo(request, dev, asked.msg))


def _valid_getlink_req(request: Request) -> _Reader:
    """Kernel: net/core/rtnetlink.c, rtnl_valid_getlink_req()."""
    if not _has_header(request):
        raise KernelError(EINVAL, "Invalid header for get link")
    if not request.strict:
        return _parse(request)
    _check_header(request, "Invalid values in header for get link request")
    reader = _parse(request, NL_VALIDATE_DEPRECATED_STRICT)
    allowed = (IFLA_IFNAME, IFLA_ALT_IFNAME, IFLA_EXT_MASK, IFLA_TARGET_NETNSID)
    _refuse_others(reader, allowed, "Unsupported attribute in get link request")
    return reader


_Keeps: TypeAlias = Callable[[NetDevice], bool]


def _dump_ifinfo(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/rtnetlink.c, rtnl_dump_ifinfo()."""
    net, asked, keeps = _valid_dump_ifinfo_req(dump)
    opens, prev_seq = True, 0
    for dev in for_each_netdev_dump(dump, net):
        if not keeps(dev):
            continue
        flags = NLM_F_MULTI if keeps is _everything else NLM_F_MULTI | NLM_F_DUMP_FILTERED
        if opens and prev_seq not in (0, net.dev_base_seq):
            flags |= NLM_F_DUMP_INTR
        prev_seq = net.dev_base_seq
        yield _fill_ifinfo(dump, dev, asked, flags)
        opens = dump.full


_IPV4_DEVCONF_SIZE: Final = 33 * 4


def _total(payload: int) -> int:
    """Kernel: include/net/netlink.h, nla_total_size()."""
    return _NLA_HDRLEN + (payload + 3 & ~3)


# Of IFLA_INET6_*: flags, cacheinfo, conf, stats, icmp6stats, token, addr_gen_mode, ra_mtu.
_SIZE_OF_INET6: Final = sum(map(_total, (4, 16, 60 * 4, 38 * 8, 7 * 8, 16, 1, 4)))
_U32S: Final = 27
_U8S: Final = 5  # carrier, operstate, link mode, netns_immutable, proto_down
# What any device may need: names and alias, map, addresses, numbers, port ids, XDP, the reason of proto_down, nests of
# the address families, empty nests of devlink and dpll, more numbers, the permanent address, counters.
_SIZE_OF_ANY: Final = (
    _IFINFOMSG.size
    + sum(map(_total, (IFNAMSIZ, IFALIASZ, IFNAMSIZ, _IFMAP.size, MAX_ADDR_LEN, MAX_ADDR_LEN)))
    + _U32S * _total(4) + _U8S * _total(1)
    + sum(map(_total, (_MAX_PHYS_ITEM_ID_LEN, _MAX_PHYS_ITEM_ID_LEN, IFNAMSIZ)))
    + sum(map(_total, (0, 1, 4, 4)))
    + _total(0) + _total(4)
    + 4 * _total(_NLA_HDRLEN)
    + _total(0) + _total(0)
    + _total(8) + 2 * _total(2) + _total(MAX_ADDR_LEN)
    + _total(24 * 4) + _total(25 * 8)
)  # fmt: skip


def _calcit(request: Request) -> int:
    """How many bytes a datagram must hold, for a reader who can say what is to be left out; 0 for the usual.

    Kernel: net/core/rtnetlink.c, rtnl_calcit().
    """
    start = _NLMSG_HDRLEN + (_IFINFOMSG.size if _has_header(request) else 1 + 3 & ~3)
    ext_mask = 0
    for type_, (offset, length) in _each(request.data, start, len(request.data)):
        if type_ == IFLA_EXT_MASK and length == _U32.size:
            ext_mask = int(_U32.unpack_from(request.data, offset)[0])
    if not ext_mask:
        return 0
    devs = request.net.dev_base_head.values()
    return _NLMSG_HDRLEN + max((_if_nlmsg_size(dev, ext_mask) for dev in devs), default=0)


def _if_nlmsg_size(dev: NetDevice, ext_mask: int) -> int:
    """How long a link message may become.

    Kernel: net/core/rtnetlink.c, if_nlmsg_size().
    """
    size = _SIZE_OF_ANY + rtnl_prop_list_size(dev)
    if dev.rtnl_link_ops is not None:
        size += _total(_NLA_HDRLEN) + _total(len(dev.rtnl_link_ops.kind) + 1)
    if ext_mask & RTEXT_FILTER_VF:
        size += 4
    if dev.ip_ptr is not None:
        size += _total(_IPV4_DEVCONF_SIZE)
    if dev.ip6_ptr is not None:
        size += _SIZE_OF_INET6
    return size


def _everything(dev: NetDevice) -> bool:
    return True


def _valid_dump_ifinfo_req(dump: Dump) -> tuple[Net, LinkMsg, _Keeps]:
    """Of which namespace devices are to be told, how, and which of them.

    Kernel: net/core/rtnetlink.c, rtnl_valid_dump_ifinfo_req(): what cannot be read is passed over, unless the socket
    wants it strictly.
    """
    try:
        reader = _parse_dump_req(dump)
    except KernelError:
        if dump.strict:
            raise
        return dump.net, LinkMsg(), _everything
    for attr in sorted(reader.tb):
        if attr == IFLA_TARGET_NETNSID:
            _net_of_id(reader, attr, "Invalid target network namespace id")
        elif dump.strict and attr not in (IFLA_EXT_MASK, IFLA_MASTER, IFLA_LINKINFO):
            raise KernelError(EINVAL, "Unsupported attribute in link dump request")
    asked = LinkMsg(ext_mask=reader.u32(IFLA_EXT_MASK), target_netnsid=reader.s32(IFLA_TARGET_NETNSID))
    net = dump.net if asked.target_netnsid is None else _net_of_id(reader, IFLA_TARGET_NETNSID)
    return net, asked, _filter(reader)


def _parse_dump_req(dump: Dump) -> _Reader:
    if not dump.strict:
        return _parse(dump, hdrlen=_IFINFOMSG.size if _has_header(dump) else 1)
    if not _has_header(dump):
        raise KernelError(EINVAL, "Invalid header for link dump")
    _check_header(dump, "Invalid values in header for link dump request")
    if _IFINFOMSG.unpack_from(dump.data, _NLMSG_HDRLEN)[3]:
        raise KernelError(EINVAL, "Filter by device index not supported for link dumps")
    return _parse(dump, NL_VALIDATE_DEPRECATED_STRICT)


def _filter(reader: _Reader) -> _Keeps:
    """Kernel: net/core/rtnetlink.c, link_dump_filtered(): no device of the model has a master."""
    master = reader.s32(IFLA_MASTER) or 0
    ops = _kind_ops(reader)
    if not master and ops is None:
        return _everything
    return lambda dev: master in (0, -1) and (ops is None or dev.rtnl_link_ops is ops)


def _kind_ops(reader: _Reader) -> RtnlLinkOps | None:
    """Kernel: net/core/rtnetlink.c, linkinfo_to_kind_ops()."""
    try:
        info = _linkinfo(reader)
    except KernelError:
        return None
    return rtnl_link_ops_get(reader.request.net.machine, info.text(_INFO_KIND, _MODULE_NAME_LEN))


def _dump_ifinfo6(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv6/addrconf.c, inet6_dump_ifinfo(), inet6_valid_dump_ifinfo()."""
    if dump.strict:
        if not _has_header(dump):
            raise KernelError(EINVAL, "ipv6: Invalid header for link dump request")
        if len(dump.data) > _NLMSG_HDRLEN + _IFINFOMSG.size:
            raise KernelError(EINVAL, "ipv6: Invalid data after header")
        _check_header(dump, "ipv6: Invalid values in header for dump request", also_index=True)
    for dev in for_each_netdev_dump(dump):
        if dev.ip6_ptr is not None:
            yield encode(replace(inet6_fill_ifinfo(dev.ip6_ptr), nlmsg_flags=NLM_F_MULTI), dump.seq, dump.portid)


# --- bridges ----------------------------------------------------------------------------------------------------------

_IFLA_BRIDGE_FLAGS, _IFLA_BRIDGE_MODE = 0, 1


def _dump_bridge(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/rtnetlink.c, rtnl_bridge_getlink(): there are no bridges."""
    try:
        _valid_bridge_getlink_req(dump)
    except KernelError:
        if dump.strict:
            raise
    yield from ()


def _valid_bridge_getlink_req(dump: Dump) -> None:
    """Kernel: net/core/rtnetlink.c, valid_bridge_getlink_req()."""
    if not dump.strict:
        _parse(dump)
        return
    if not _has_header(dump):
        raise KernelError(EINVAL, "Invalid header for bridge link dump")
    _check_header(dump, "Invalid values in header for bridge link dump request", also_index=True)
    reader = _parse(dump, NL_VALIDATE_DEPRECATED_STRICT)
    _refuse_others(reader, (IFLA_EXT_MASK,), "Unsupported attribute in bridge link dump request")


def _bridge_change(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_bridge_setlink(), rtnl_bridge_dellink(): no device takes such a request."""
    if not _has_header(request):
        raise KernelError(EINVAL)
    ifindex = _IFINFOMSG.unpack_from(request.data, _NLMSG_HDRLEN)[3]
    if dev_get_by_index(request.net, ifindex) is None:
        raise KernelError(ENODEV, "unknown ifindex")
    _check_bridge_spec(request)
    raise KernelError(EOPNOTSUPP)


def _check_bridge_spec(request: Request) -> None:
    """Refuse flags, or in RTM_SETLINK a mode, that are too short; of several flags the first count."""
    has_flags = False
    for type_, (_, length) in _bridge_spec(request):
        is_flags = type_ == _IFLA_BRIDGE_FLAGS and not has_flags
        is_mode = type_ == _IFLA_BRIDGE_MODE and request.nlmsg_type == RTM_SETLINK
        if (is_flags or is_mode) and length < _U16.size:
            raise KernelError(EINVAL)
        has_flags |= is_flags


def _bridge_spec(request: Request) -> Iterator[tuple[int, tuple[int, int]]]:
    """What lies in the first IFLA_AF_SPEC."""
    start = _NLMSG_HDRLEN + _IFINFOMSG.size
    for type_, (offset, length) in _each(request.data, start, len(request.data)):
        if type_ == IFLA_AF_SPEC:
            return _each(request.data, offset, offset + length)
    return iter(())


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWLINK, AF_UNSPEC): Handler(doit=_newlink),
    (RTM_DELLINK, AF_UNSPEC): Handler(doit=_dellink),
    (RTM_SETLINK, AF_UNSPEC): Handler(doit=_setlink),
    (RTM_GETLINK, AF_UNSPEC): Handler(doit=_getlink, dumpit=_dump_ifinfo, split_done=True, calcit=_calcit),
    (RTM_NEWLINKPROP, AF_UNSPEC): Handler(doit=_linkprop),
    (RTM_DELLINKPROP, AF_UNSPEC): Handler(doit=_linkprop),
    (RTM_GETLINK, AF_INET6): Handler(dumpit=_dump_ifinfo6),
    (RTM_GETLINK, AF_BRIDGE): Handler(dumpit=_dump_bridge),
    (RTM_SETLINK, AF_BRIDGE): Handler(doit=_bridge_change),
    (RTM_DELLINK, AF_BRIDGE): Handler(doit=_bridge_change),
}
