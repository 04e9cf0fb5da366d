"""RTM_*NEXTHOP and RTM_GETNEXTHOPBUCKET as bytes: net/ipv4/nexthop.c.  There are no next hop objects."""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENETDOWN, ENOENT, EOPNOTSUPP
from struct import Struct
from typing import Final

from addrsvc.af_netlink.newroute import lwtunnel_valid_encap_type
from addrsvc.af_netlink.request import Dump, Handler, Request
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.structs import NetDevice
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_STRICT,
    NLA_BINARY,
    NLA_FLAG,
    NLA_NESTED,
    NLA_U16,
    NLA_U32,
    ExtAck,
    NlaPolicy,
    Policies,
    nla_parse_nested,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IFF_UP,
    INT_MAX,
    NLM_F_REPLACE,
    RTM_DELNEXTHOP,
    RTM_GETNEXTHOP,
    RTM_GETNEXTHOPBUCKET,
    RTM_NEWNEXTHOP,
    RTNH_F_ONLINK,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_NHMSG: Final = Struct("=BBBBI")
(
    _NHA_UNSPEC, _NHA_ID, _NHA_GROUP, _NHA_GROUP_TYPE, _NHA_BLACKHOLE, _NHA_OIF, _NHA_GATEWAY, _NHA_ENCAP_TYPE,
    _NHA_ENCAP, _NHA_GROUPS, _NHA_MASTER, _NHA_FDB, _NHA_RES_GROUP, _NHA_RES_BUCKET, _NHA_OP_FLAGS, _NHA_GROUP_STATS,
    _NHA_HW_STATS_ENABLE,
) = range(17)  # fmt: skip
_NHA_RES_BUCKET_INDEX, _NHA_RES_BUCKET_NH_ID = 1, 3
_NEXTHOP_GRP: Final = Struct("=IBBH")
_NEXTHOP_GRP_TYPE_RES: Final = 1
_WITH_GROUP: Final = frozenset((_NHA_ID, _NHA_GROUP, _NHA_GROUP_TYPE, _NHA_FDB, _NHA_HW_STATS_ENABLE))
_NHA_RES_GROUP_BUCKETS: Final = 1
_DUMP_ALL: Final = 3
_U32: Final = NlaPolicy(NLA_U32)

# Kernel: net/ipv4/nexthop.c, rtm_nh_policy_new, rtm_nh_policy_get and kin.
_NEW: Final[Policies] = {
    **dict.fromkeys((_NHA_ID, _NHA_OIF), _U32),
    **dict.fromkeys((_NHA_GROUP, _NHA_GATEWAY), NlaPolicy(NLA_BINARY)),
    **dict.fromkeys((_NHA_GROUP_TYPE, _NHA_ENCAP_TYPE), NlaPolicy(NLA_U16)),
    **dict.fromkeys((_NHA_BLACKHOLE, _NHA_FDB), NlaPolicy(NLA_FLAG)),
    **dict.fromkeys((_NHA_ENCAP, _NHA_RES_GROUP), NlaPolicy(NLA_NESTED)),
    _NHA_HW_STATS_ENABLE: NlaPolicy.at_most(NLA_U32, 1),
}
_NEW_RES: Final[Policies] = {_NHA_RES_GROUP_BUCKETS: NlaPolicy(NLA_U16), **dict.fromkeys((2, 3), _U32)}
_GET: Final[Policies] = {_NHA_ID: _U32, _NHA_OP_FLAGS: NlaPolicy.masked(NLA_U32, _DUMP_ALL)}
_DEL: Final[Policies] = {_NHA_ID: _U32}
_DUMP: Final[Policies] = {
    **dict.fromkeys((_NHA_OIF, _NHA_MASTER), _U32),
    **dict.fromkeys((_NHA_GROUPS, _NHA_FDB), NlaPolicy(NLA_FLAG)),
    _NHA_OP_FLAGS: NlaPolicy.masked(NLA_U32, _DUMP_ALL),
}
_GET_BUCKET: Final[Policies] = {_NHA_ID: _U32, _NHA_RES_BUCKET: NlaPolicy(NLA_NESTED)}
_DUMP_BUCKET: Final[Policies] = {
    **dict.fromkeys((_NHA_ID, _NHA_OIF, _NHA_MASTER), _U32),
    _NHA_RES_BUCKET: NlaPolicy(NLA_NESTED),
}
_GET_RES: Final[Policies] = {_NHA_RES_BUCKET_INDEX: NlaPolicy(NLA_U16)}
_DUMP_RES: Final[Policies] = {_NHA_RES_BUCKET_NH_ID: _U32}


def _parse(request: Request, policy: Policies, extack: ExtAck | None = None) -> None:
    """The tables are as long as their last attribute."""
    request.tb = nlmsg_parse(
        request.data, _NHMSG.size, max(policy), policy, NL_VALIDATE_STRICT, extack or request.extack
    )


def _has(request: Request, *attrs: int) -> bool:
    return any(attr in request.tb for attr in attrs)


# --- new ones ---------------------------------------------------------------------------------------------------------


def _new(request: Request) -> None:
    """Kernel: net/ipv4/nexthop.c, rtm_new_nexthop()."""
    _to_nh_config(request)
    if request.flags & NLM_F_REPLACE and not request.number(_NHA_ID):
        raise KernelError(EINVAL, "Replace requires nexthop id")
    if _has(request, _NHA_GROUP):
        raise KernelError(EINVAL, "Invalid nexthop id")
    ifindex = request.number(_NHA_OIF)
    if ifindex is not None:
        _check_device(dev_get_by_index(request.net, ifindex))
    raise KernelError(EOPNOTSUPP, "Nexthop objects are not modelled")


def _to_nh_config(request: Request) -> None:
    """Kernel: net/ipv4/nexthop.c, rtm_to_nh_config()."""
    _parse(request, _NEW)
    family, scope, _, resvd, flags = _NHMSG.unpack_from(request.data, _HDRLEN)
    if resvd or scope:
        raise KernelError(EINVAL, "Invalid values in ancillary header")
    if flags & ~RTNH_F_ONLINK:
        raise KernelError(EINVAL, "Invalid nexthop flags in ancillary header")
    if family not in (AF_INET, AF_INET6) and (family != AF_UNSPEC or not _has(request, _NHA_GROUP)):
        raise KernelError(EINVAL, "Invalid address family")
    if _has(request, _NHA_FDB):
        _check_fdb(request, flags)
    if _has(request, _NHA_GROUP):
        _check_group(request, family)
    elif _has(request, _NHA_BLACKHOLE):
        if _has(request, _NHA_GATEWAY, _NHA_OIF, _NHA_ENCAP, _NHA_ENCAP_TYPE, _NHA_FDB):
            raise KernelError(EINVAL, "Blackhole attribute can not be used with gateway, oif, encap or fdb")
    else:
        _check_single(request, family, flags)


def _check_fdb(request: Request, flags: int) -> None:
    if _has(request, _NHA_OIF, _NHA_BLACKHOLE, _NHA_ENCAP, _NHA_ENCAP_TYPE):
        raise KernelError(EINVAL, "Fdb attribute can not be used with encap, oif or blackhole")
    if flags:
        raise KernelError(EINVAL, "Unsupported nexthop flags in ancillary header")


def _check_group(request: Request, family: int) -> None:
    """Kernel: net/ipv4/nexthop.c, nh_check_attr_group(), rtm_to_nh_config_grp_res()."""
    if family != AF_UNSPEC:
        raise KernelError(EINVAL, "Invalid family for group")
    kind = request.number(_NHA_GROUP_TYPE, 2) or 0
    if kind > _NEXTHOP_GRP_TYPE_RES:
        raise KernelError(EINVAL, "Invalid group type")
    _check_entries(request.payload(_NHA_GROUP) or b"")
    resilient = kind == _NEXTHOP_GRP_TYPE_RES
    allowed = _WITH_GROUP | {_NHA_RES_GROUP} if resilient else _WITH_GROUP
    if request.tb.keys() - allowed:
        raise KernelError(EINVAL, "No other attributes can be set in nexthop groups")
    if resilient and _has(request, _NHA_RES_GROUP):
        _check_resilience(request)


def _check_entries(group: bytes) -> None:
    if not group or len(group) % _NEXTHOP_GRP.size:
        raise KernelError(EINVAL, "Invalid length for nexthop group attribute")
    entries = list(_NEXTHOP_GRP.iter_unpack(group))
    for place, (nh_id, weight, weight_high, resvd2) in enumerate(entries):
        if resvd2:
            raise KernelError(EINVAL, "Reserved field in nexthop_grp must be 0")
        if (weight | weight_high << 8) + 1 & 0xFFFF == 0:
            raise KernelError(EINVAL, "Invalid value for weight")
        if any(other[0] == nh_id for other in entries[place + 1 :]):
            raise KernelError(EINVAL, "Nexthop id can not be used twice in a group")


def _check_resilience(request: Request) -> None:
    group = nla_parse_nested(request.data, request.tb[_NHA_RES_GROUP], max(_NEW_RES), _NEW_RES, request.extack)
    if _NHA_RES_GROUP_BUCKETS in group:
        at, length = group[_NHA_RES_GROUP_BUCKETS]
        if not any(request.data[at : at + length]):
            raise KernelError(EINVAL, "Number of buckets needs to be non-0")


def _check_single(request: Request, family: int, flags: int) -> None:
    if not _has(request, _NHA_FDB, _NHA_OIF):
        raise KernelError(EINVAL, "Device attribute required for non-blackhole and non-fdb nexthops")
    gateway = request.payload(_NHA_GATEWAY)
    if gateway is not None and len(gateway) != (4 if family == AF_INET else 16):
        raise KernelError(EINVAL, "Invalid gateway")
    if gateway is None and flags & RTNH_F_ONLINK:
        raise KernelError(EINVAL, "ONLINK flag can not be set for nexthop without a gateway")
    if _has(request, _NHA_ENCAP) and not _has(request, _NHA_ENCAP_TYPE):
        raise KernelError(EINVAL, "LWT encapsulation type is missing")
    if _has(request, _NHA_ENCAP):
        lwtunnel_valid_encap_type(request.number(_NHA_ENCAP_TYPE, 2) or 0)
    elif _has(request, _NHA_ENCAP_TYPE):
        raise KernelError(EINVAL, "LWT encapsulation attribute is missing")
    if _has(request, _NHA_HW_STATS_ENABLE):
        raise KernelError(EINVAL, "Cannot enable nexthop hardware statistics for non-group nexthops")


def _check_device(dev: NetDevice | None) -> None:
    """Kernel: net/ipv4/nexthop.c, rtm_to_nh_config_rtnl()."""
    if dev is None:
        raise KernelError(EINVAL, "Invalid device index")
    if not dev.flags & IFF_UP:
        raise KernelError(ENETDOWN, "Nexthop device is not up")
    if not dev.carrier:
        raise KernelError(ENETDOWN, "Carrier for nexthop device is down")


# --- those that there are, which is none ------------------------------------------------------------------------------


def _find(request: Request) -> None:
    """Kernel: net/ipv4/nexthop.c, nh_valid_get_del_req()."""
    _, scope, protocol, resvd, flags = _NHMSG.unpack_from(request.data, _HDRLEN)
    if protocol or resvd or scope or flags:
        raise KernelError(EINVAL, "Invalid values in header")
    if not _has(request, _NHA_ID):
        raise KernelError(EINVAL, "Nexthop id is missing")
    if not request.number(_NHA_ID):
        raise KernelError(EINVAL, "Invalid nexthop id")


def _del(request: Request) -> None:
    """Kernel: net/ipv4/nexthop.c, rtm_del_nexthop()."""
    _parse(request, _DEL)
    _find(request)
    raise KernelError(ENOENT)


def _get(request: Request) -> None:
    """Kernel: net/ipv4/nexthop.c, rtm_get_nexthop()."""
    _parse(request, _GET)
    _find(request)
    raise KernelError(ENOENT)


def _get_bucket(request: Request) -> None:
    """Kernel: net/ipv4/nexthop.c, nh_valid_get_bucket_req()."""
    _parse(request, _GET_BUCKET)
    _find(request)
    if not _has(request, _NHA_RES_BUCKET):
        raise KernelError(EINVAL, "Bucket information is missing")
    bucket = nla_parse_nested(request.data, request.tb[_NHA_RES_BUCKET], max(_GET_RES), _GET_RES, request.extack)
    if _NHA_RES_BUCKET_INDEX not in bucket:
        raise KernelError(EINVAL, "Bucket index is missing")
    raise KernelError(ENOENT)


def _valid_dump_req(dump: Dump) -> None:
    """Kernel: net/ipv4/nexthop.c, __nh_valid_dump_req()."""
    for attr, what in ((_NHA_OIF, "device"), (_NHA_MASTER, "master device")):
        if (dump.number(attr) or 0) > INT_MAX:
            raise KernelError(EINVAL, f"Invalid {what} index")
    _, scope, protocol, resvd, flags = _NHMSG.unpack_from(dump.data, _HDRLEN)
    if protocol or resvd or scope or flags:
        raise KernelError(EINVAL, "Invalid values in header for nexthop dump request")


def _dump(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv4/nexthop.c, rtm_dump_nexthop()."""
    _parse(dump, _DUMP)
    _valid_dump_req(dump)
    yield from ()


def _dump_bucket(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv4/nexthop.c, nh_valid_dump_bucket_req(): what cannot be parsed is refused without a word."""
    try:
        _parse(dump, _DUMP_BUCKET, ExtAck())
    except KernelError as refusal:
        raise KernelError(refusal.errno or EINVAL) from None
    if dump.number(_NHA_ID) == 0:
        raise KernelError(EINVAL, "Invalid nexthop id")
    if _has(dump, _NHA_RES_BUCKET):
        _check_dumped_bucket(dump)
    _valid_dump_req(dump)
    if _has(dump, _NHA_ID):
        raise KernelError(ENOENT)
    yield from ()


def _check_dumped_bucket(dump: Dump) -> None:
    place = dump.tb[_NHA_RES_BUCKET]
    bucket = nla_parse_nested(dump.data, place, max(_DUMP_RES), _DUMP_RES, dump.extack)
    if _NHA_RES_BUCKET_NH_ID in bucket:
        at, _ = bucket[_NHA_RES_BUCKET_NH_ID]
        if not any(dump.data[at : at + 4]):
            raise KernelError(EINVAL, "Invalid nexthop id")


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    **{(RTM_NEWNEXTHOP, family): Handler(_new) for family in (AF_UNSPEC, AF_INET, AF_INET6)},
    (RTM_DELNEXTHOP, AF_UNSPEC): Handler(_del),
    (RTM_GETNEXTHOP, AF_UNSPEC): Handler(_get, _dump),
    (RTM_GETNEXTHOP, AF_INET): Handler(dumpit=_dump),
    (RTM_GETNEXTHOP, AF_INET6): Handler(dumpit=_dump),
    (RTM_GETNEXTHOPBUCKET, AF_UNSPEC): Handler(_get_bucket, _dump_bucket),
}
