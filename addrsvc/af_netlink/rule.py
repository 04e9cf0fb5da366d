"""RTM_*RULE as bytes: net/core/fib_rules.c."""

from collections.abc import Iterator, Mapping
from errno import EAFNOSUPPORT, EINVAL
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import Dump, Handler, Request, resumable
from addrsvc.errors import KernelError
from addrsvc.model.fib_rules import FAMILIES, fib_delrule, fib_newrule, fib_nl_fill_rule
from addrsvc.netlink.messages import RuleMsg
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_LIBERAL,
    NLA_BE32,
    NLA_STRING,
    NLA_U8,
    NLA_U16,
    NLA_U32,
    NLA_U64,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_UNSPEC,
    FRA_DPORT_MASK,
    FRA_DPORT_RANGE,
    FRA_DSCP,
    FRA_DSCP_MASK,
    FRA_DST,
    FRA_FLOW,
    FRA_FLOWLABEL,
    FRA_FLOWLABEL_MASK,
    FRA_FWMARK,
    FRA_FWMASK,
    FRA_GOTO,
    FRA_IIFNAME,
    FRA_IP_PROTO,
    FRA_L3MDEV,
    FRA_MAX,
    FRA_OIFNAME,
    FRA_PRIORITY,
    FRA_PROTOCOL,
    FRA_SPORT_MASK,
    FRA_SPORT_RANGE,
    FRA_SRC,
    FRA_SUPPRESS_IFGROUP,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    FRA_TUN_ID,
    FRA_UID_RANGE,
    IFNAMSIZ,
    RTM_DELRULE,
    RTM_GETRULE,
    RTM_NEWRULE,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_FIB_RULE_HDR: Final = Struct("=BBBBBBBBI")
_NAME: Final = NlaPolicy(NLA_STRING, len=IFNAMSIZ - 1)
_DSCP: Final = 0x3F
_RANGES: Final = {FRA_UID_RANGE: Struct("=II"), FRA_SPORT_RANGE: Struct("=HH"), FRA_DPORT_RANGE: Struct("=HH")}

# Kernel: net/core/fib_rules.c, fib_rule_policy.
_POLICY: Final[Policies] = {
    0: NlaPolicy(strict_start_type=FRA_DPORT_RANGE + 1),
    FRA_IIFNAME: _NAME,
    FRA_OIFNAME: _NAME,
    **dict.fromkeys(
        (FRA_PRIORITY, FRA_FWMARK, FRA_FLOW, FRA_FWMASK, FRA_TABLE, FRA_SUPPRESS_PREFIXLEN, FRA_SUPPRESS_IFGROUP,
         FRA_GOTO),
        NlaPolicy(NLA_U32),
    ),
    FRA_TUN_ID: NlaPolicy(NLA_U64),
    **dict.fromkeys((FRA_L3MDEV, FRA_PROTOCOL, FRA_IP_PROTO), NlaPolicy(NLA_U8)),
    **{attr: NlaPolicy(len=pair.size) for attr, pair in _RANGES.items()},
    FRA_DSCP: NlaPolicy.at_most(NLA_U8, _DSCP),
    FRA_DSCP_MASK: NlaPolicy.masked(NLA_U8, _DSCP),
    FRA_FLOWLABEL: NlaPolicy(NLA_BE32),
    FRA_FLOWLABEL_MASK: NlaPolicy(NLA_BE32),
    FRA_SPORT_MASK: NlaPolicy(NLA_U16),
    FRA_DPORT_MASK: NlaPolicy(NLA_U16),
}  # fmt: skip


def _decode(request: Request) -> RuleMsg:
    if len(request.data) < _HDRLEN + _FIB_RULE_HDR.size:
        raise KernelError(EINVAL, "Invalid msg length")
    family, dst_len, src_len, tos, table, _, _, action, flags = _FIB_RULE_HDR.unpack_from(request.data, _HDRLEN)
    if family not in request.net.rules_ops:
        raise KernelError(EAFNOSUPPORT, "Rule family not supported")
    try:
        request.tb = nlmsg_parse(
            request.data, _FIB_RULE_HDR.size, FRA_MAX, _POLICY, NL_VALIDATE_LIBERAL, request.extack
        )
    except KernelError as refusal:
        raise KernelError(refusal.errno or EINVAL, "Error parsing msg") from None
    return RuleMsg(
        nlmsg_type=request.nlmsg_type,
        nlmsg_flags=request.flags,
        frh_family=family,
        frh_dst_len=dst_len,
        frh_src_len=src_len,
        frh_tos=tos,
        frh_table=table,
        frh_action=action,
        frh_flags=flags,
        table=request.number(FRA_TABLE),
        suppress_prefixlen=request.number(FRA_SUPPRESS_PREFIXLEN),
        protocol=request.number(FRA_PROTOCOL, 1),
        iifname=_name(request, FRA_IIFNAME),
        oifname=_name(request, FRA_OIFNAME),
        priority=request.number(FRA_PRIORITY),
        fwmark=request.number(FRA_FWMARK),
        fwmask=request.number(FRA_FWMASK),
        goto=request.number(FRA_GOTO),
        tun_id=_first(request, FRA_TUN_ID, 8),
        l3mdev=request.number(FRA_L3MDEV, 1),
        uid_range=_range(request, FRA_UID_RANGE),
        sport_range=_range(request, FRA_SPORT_RANGE),
        sport_mask=request.number(FRA_SPORT_MASK, 2),
        dport_range=_range(request, FRA_DPORT_RANGE),
        dport_mask=request.number(FRA_DPORT_MASK, 2),
        ip_proto=request.number(FRA_IP_PROTO, 1),
        suppress_ifgroup=request.number(FRA_SUPPRESS_IFGROUP),
        dst=request.payload(FRA_DST),
        src=request.payload(FRA_SRC),
        flow=request.number(FRA_FLOW),
        dscp=request.number(FRA_DSCP, 1),
        dscp_mask=request.number(FRA_DSCP_MASK, 1),
        flowlabel=_first(request, FRA_FLOWLABEL, 4),
        flowlabel_mask=_first(request, FRA_FLOWLABEL_MASK, 4),
    )


def _name(request: Request, attr: int) -> str | None:
    payload = request.payload(attr)
    return None if payload is None else payload.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _first(request: Request, attr: int, size: int) -> bytes | None:
    payload = request.payload(attr)
    return None if payload is None else payload[:size]


def _range(request: Request, attr: int) -> tuple[int, int] | None:
    payload = request.payload(attr)
    if payload is None:
        return None
    low, high = _RANGES[attr].unpack_from(payload)
    return low, high


def _newrule(request: Request) -> None:
    fib_newrule(request.net, _decode(request))


def _delrule(request: Request) -> None:
    fib_delrule(request.net, _decode(request))


def _check_dump(dump: Dump) -> None:
    """Kernel: net/core/fib_rules.c, fib_valid_dumprule_req()."""
    if len(dump.data) < _HDRLEN + _FIB_RULE_HDR.size:
        raise KernelError(EINVAL, "Invalid header for fib rule dump request")
    _, *values = _FIB_RULE_HDR.unpack_from(dump.data, _HDRLEN)
    if any(values):
        raise KernelError(EINVAL, "Invalid values in header for fib rule dump request")
    if len(dump.data) > _HDRLEN + _FIB_RULE_HDR.size:
        raise KernelError(EINVAL, "Invalid data after header in fib rule dump request")


def _dumprule(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/fib_rules.c, fib_nl_dumprule(), dump_rules()."""
    if dump.strict:
        _check_dump(dump)
    wanted = dump.data[_HDRLEN]
    if wanted not in (AF_UNSPEC, *dump.net.rules_ops):
        raise KernelError(EAFNOSUPPORT)
    for family in FAMILIES if wanted == AF_UNSPEC else (wanted,):
        for rule in resumable(dump, lambda family=family: list(dump.net.rules_ops[family])):  # type: ignore[misc]
            yield dump.message(fib_nl_fill_rule(rule))


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWRULE, AF_UNSPEC): Handler(doit=_newrule),
    (RTM_DELRULE, AF_UNSPEC): Handler(doit=_delrule),
    (RTM_GETRULE, AF_UNSPEC): Handler(dumpit=_dumprule),
}
