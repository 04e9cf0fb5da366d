"""What a request for a link says, as the model takes it: net/core/rtnetlink.c, what it reads.

What is said in nests is read when the model asks for it, see `addrsvc.model.link_request`.
"""

from collections.abc import Callable, Mapping
from errno import EINVAL, EOPNOTSUPP
from functools import partial
from struct import Struct
from typing import Final

from addrsvc.af_netlink.ifinfomsg import IFINFOMSG, IFMAP, Reader
from addrsvc.af_netlink.nets import get_net_ns_by_fd, get_net_ns_by_pid
from addrsvc.errors import KernelError
from addrsvc.model.link_request import LinkAf, LinkRequest, XdpWish
from addrsvc.model.netns_ids import get_net_ns_by_id
from addrsvc.model.structs import InetLinkWish, Net
from addrsvc.netlink.messages import Inet6LinkInfo, LinkInfo, LinkMsg
from addrsvc.netlink.nlattr import (
    NLA_BINARY,
    NLA_NESTED,
    NLA_REJECT,
    NLA_S32,
    NLA_STRING,
    NLA_U8,
    NLA_U16,
    NLA_U32,
    NlaPolicy,
    Policies,
)
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    ALTIFNAMSIZ,
    IFALIASZ,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_ALT_IFNAME,
    IFLA_BROADCAST,
    IFLA_CARRIER,
    IFLA_EXT_MASK,
    IFLA_GRO_IPV4_MAX_SIZE,
    IFLA_GRO_MAX_SIZE,
    IFLA_GROUP,
    IFLA_GSO_IPV4_MAX_SIZE,
    IFLA_GSO_MAX_SEGS,
    IFLA_GSO_MAX_SIZE,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_LINKMODE,
    IFLA_MAP,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_NET_NS_PID,
    IFLA_NEW_IFINDEX,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    IFLA_OPERSTATE,
    IFLA_PORT_SELF,
    IFLA_PROTINFO,
    IFLA_PROTO_DOWN,
    IFLA_PROTO_DOWN_REASON,
    IFLA_TARGET_NETNSID,
    IFLA_TXQLEN,
    IFLA_UNSPEC,
    IFLA_VF_PORTS,
    IFLA_VFINFO_LIST,
    IFLA_XDP,
    IFNAMSIZ,
    INT_MAX,
)

__all__ = ["decode", "ensure_unique_netns", "kind_of", "read_linkinfo"]

_NLMSG_HDRLEN: Final = 16
_NLA_HDRLEN: Final = 4
_S32: Final = Struct("=i")

# --- what attributes must look like -----------------------------------------------------------------------------------

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


def decode(reader: Reader, linkinfo: LinkInfo | None = None) -> LinkRequest:
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


def _link_msg(reader: Reader, linkinfo: LinkInfo | None) -> LinkMsg:
    request = reader.request
    family, _, type_, index, flags, change = IFINFOMSG.unpack_from(request.data, _NLMSG_HDRLEN)
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
        map=IFMAP.unpack_from(request.data, reader.tb[IFLA_MAP][0]) if IFLA_MAP in reader.tb else None,
        alt_ifname=reader.text(IFLA_ALT_IFNAME, ALTIFNAMSIZ),
        ext_mask=reader.u32(IFLA_EXT_MASK),
        target_netnsid=reader.s32(IFLA_TARGET_NETNSID),
    )


def _linkinfo(reader: Reader) -> Reader:
    if IFLA_LINKINFO not in reader.tb:
        return Reader(reader.request, {})
    return reader.nested(IFLA_LINKINFO, _IFLA_INFO_MAX, _INFO_POLICY)


def kind_of(reader: Reader) -> str | None:
    """The kind of device that a request names."""
    return _linkinfo(reader).text(_INFO_KIND, _MODULE_NAME_LEN)


def read_linkinfo(reader: Reader) -> LinkInfo:
    """What a request says to which kinds matter."""
    info = _linkinfo(reader)
    return LinkInfo(
        kind=info.text(_INFO_KIND, _MODULE_NAME_LEN), data=info.raw(_INFO_DATA), slave_data=info.raw(_INFO_SLAVE_DATA)
    )


def _vfinfo(reader: Reader) -> None:
    """Refuse the first virtual function that is to be set, if any is."""
    for type_, place in reader.each(IFLA_VFINFO_LIST):
        if type_ != _IFLA_VF_INFO or place[1] < _NLA_HDRLEN:
            raise KernelError(EINVAL)
        _do_setvfinfo(Reader(reader.request, {_IFLA_VF_INFO: place}).nested(_IFLA_VF_INFO, _IFLA_VF_MAX, _VF_POLICY))


def _do_setvfinfo(vf: Reader) -> None:
    """Kernel: net/core/rtnetlink.c, do_setvfinfo()."""
    for setting in _VF_SETTINGS:
        if setting in vf.tb:
            numbered = setting != _VF_VLAN_LIST
            raise KernelError(EINVAL if numbered and (vf.u32(setting) or 0) >= INT_MAX else EOPNOTSUPP)
    raise KernelError(EINVAL)


def _port_self(reader: Reader) -> None:
    reader.nested(IFLA_PORT_SELF, _IFLA_PORT_MAX, _PORT_POLICY)


def _xdp(reader: Reader) -> XdpWish:
    xdp = reader.nested(IFLA_XDP, _IFLA_XDP_MAX, _XDP_POLICY)
    return XdpWish(
        fd=xdp.s32(_XDP_FD),
        flags=xdp.u32(_XDP_FLAGS) or 0,
        expected_fd=xdp.s32(_XDP_EXPECTED_FD),
        reads_only=_XDP_ATTACHED in xdp.tb or _XDP_PROG_ID in xdp.tb,
    )


def _af(reader: Reader, family: int, place: tuple[int, int]) -> InetLinkWish | Inet6LinkInfo:
    """What a request wants of a family."""
    maxtype, policy, read = _AF[family]
    af = Reader(reader.request, {family: place})
    return read(af.nested(family, maxtype, policy, reader.request.extack))


def _inet(af: Reader) -> InetLinkWish:
    conf: list[tuple[int, int]] = []
    for number, (offset, length) in af.each(_INET_CONF):
        if length < _S32.size:
            raise KernelError(EINVAL)
        conf.append((number, int(_S32.unpack_from(af.data, offset)[0])))
    return InetLinkWish(tuple(conf))


def _inet6(af: Reader) -> Inet6LinkInfo:
    token = af.raw(_INET6_TOKEN)
    return Inet6LinkInfo(addr_gen_mode=af.u8(_INET6_ADDR_GEN_MODE), token=None if token is None else token[:16])


# One row per family that link messages can want something of.
_AF: Final[Mapping[int, tuple[int, Policies, Callable[[Reader], InetLinkWish | Inet6LinkInfo]]]] = {
    AF_INET: (_IFLA_INET_MAX, _INET_POLICY, _inet),
    AF_INET6: (_IFLA_INET6_MAX, _INET6_POLICY, _inet6),
}


# --- which namespace --------------------------------------------------------------------------------------------------


def ensure_unique_netns(reader: Reader, *, netns_id_only: bool) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_ensure_unique_netns()."""
    named = [attr for attr in (IFLA_NET_NS_PID, IFLA_NET_NS_FD) if attr in reader.tb]
    if netns_id_only and named:
        raise KernelError(EOPNOTSUPP, "specified netns attribute not supported")
    if len(named) + (IFLA_TARGET_NETNSID in reader.tb) > 1:
        raise KernelError(EINVAL, "multiple netns identifying attributes specified")


_NETNS: Final = (IFLA_NET_NS_PID, IFLA_NET_NS_FD, IFLA_TARGET_NETNSID)


def _tgt_net(reader: Reader) -> Net:
    """The namespace that the request names.

    Kernel: net/core/rtnetlink.c, rtnl_link_get_net_by_nlattr().
    """
    if (pid := reader.u32(IFLA_NET_NS_PID)) is not None:
        return get_net_ns_by_pid(reader.request, pid)
    if (fd := reader.u32(IFLA_NET_NS_FD)) is not None:
        return get_net_ns_by_fd(reader.request, fd)
    return _net_of_id(reader, IFLA_TARGET_NETNSID)


def _net_of_id(reader: Reader, attr: int, words: str | None = None) -> Net:
    """The namespace whose id an attribute has."""
    net = get_net_ns_by_id(reader.request.net, reader.s32(attr) or 0)
    if net is None:
        raise KernelError(EINVAL, words)
    return net


def _link_net(reader: Reader) -> Net:
    return _net_of_id(reader, IFLA_LINK_NETNSID, "Unknown network namespace id")
