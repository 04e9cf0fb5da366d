"""net/core/fib_rules.c, net/ipv4/fib_rules.c, net/ipv6/fib6_rules.c and those of ipmr.c and ip6mr.c: policy rules.

Rules are kept, added, deleted and told here, and look-ups of IPv4 go through them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from errno import EACCES, EAFNOSUPPORT, EAGAIN, EEXIST, EINVAL, ENETUNREACH, ENOENT, EPERM
from typing import Final, Protocol

from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_name
from addrsvc.model.fib_trie import (
    FibResult,
    Flowi4,
    fib_empty_table,
    fib_get_table,
    fib_table_lookup,
    fib_unmerge,
    masked,
)
from addrsvc.model.ip6_route import fib6_new_table
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_notify
from addrsvc.model.structs import FibRule, Machine, Net, NetDevice, NetdevNotifierInfo, PernetOperations
from addrsvc.netlink.messages import RuleMsg
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    FR_ACT_BLACKHOLE,
    FR_ACT_GOTO,
    FR_ACT_NOP,
    FR_ACT_PROHIBIT,
    FR_ACT_TO_TBL,
    FR_ACT_UNREACHABLE,
    FRA_DPORT_MASK,
    FRA_DSCP_MASK,
    FRA_FLOWLABEL,
    FRA_FLOWLABEL_MASK,
    FRA_SPORT_MASK,
    NETDEV_CHANGENAME,
    NETDEV_REGISTER,
    NETDEV_UNREGISTER,
    NLM_F_EXCL,
    RT_TABLE_COMPAT,
    RT_TABLE_DEFAULT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_DELRULE,
    RTM_NEWRULE,
    RTNL_FAMILY_IP6MR,
    RTNL_FAMILY_IPMR,
    RTPROT_KERNEL,
)

__all__ = [
    "FAMILIES", "fib_delrule", "fib_lookup", "fib_newrule", "fib_nl_fill_rule", "fib_rule_match", "fib_rules_init",
    "fib_rules_net_ops", "ports_match", "walk_rules",
]  # fmt: skip

FIB_RULE_PERMANENT: Final = 0x01
FIB_RULE_INVERT: Final = 0x02
FIB_RULE_UNRESOLVED: Final = 0x04
FIB_RULE_IIF_DETACHED: Final = 0x08
FIB_RULE_OIF_DETACHED: Final = 0x10

_DETACHED: Final = -1
_ANY: Final = -1
"""suppress_prefixlen and suppress_ifgroup of a rule that suppresses nothing."""
_U16_MAX: Final = 0xFFFF
_U32_MAX: Final = 0xFFFFFFFF
_ECN_MASK: Final = 0x03
_IPTOS_TOS_MASK: Final = 0x1E
_INET_DSCP_MASK: Final = 0xFC
_FLOWLABEL_MASK: Final = 0x000FFFFF
_LEGACY_TOS_MASK: Final = 0x1C


# --- what a message says ----------------------------------------------------------------------------------------------


def _ports(told: tuple[int, int] | None, mask: int | None, name: str, attr: int) -> tuple[tuple[int, int] | None, int]:
    """A range of ports and the mask of a single one.

    Kernel: net/core/fib_rules.c, nla_get_port_range(), fib_nl2rule_port_mask().
    """
    if told is not None and not 0 < told[0] <= told[1] < _U16_MAX:
        raise KernelError(EINVAL, f"Invalid {name} range")
    if mask is None:
        return told, _U16_MAX if told is not None and told[0] == told[1] else 0
    if told is None:
        raise KernelError(EINVAL, "Cannot specify port mask without port value", attr=attr)
    if told[0] != told[1]:
        raise KernelError(EINVAL, "Cannot specify port mask for port range", attr=attr)
    if told[0] & ~mask:
        raise KernelError(EINVAL, "Invalid port mask", attr=attr)
    return told, mask


def _check_prefix(addr: bytes | None, plen: int, size: int, refusal: str) -> None:
    if plen and (addr is None or plen > 8 * size or len(addr) != size):
        raise KernelError(EINVAL, refusal)


def fib_nl2rule(msg: RuleMsg) -> FibRule:
    """A rule as a message describes it, before anybody has looked at the namespace.

    Kernel: net/core/fib_rules.c, fib_nl2rule().

    Raises:
        KernelError: EINVAL, a rule that contradicts itself.
    """
    size = FAMILIES[msg.frh_family].addr_size
    _check_prefix(msg.src, msg.frh_src_len, size, "Invalid source address")
    _check_prefix(msg.dst, msg.frh_dst_len, size, "Invalid dst address")
    if msg.l3mdev not in (None, 1):
        raise KernelError(EINVAL, "Invalid l3mdev attribute")
    rule = FibRule(
        msg.frh_family,
        pref=msg.priority or 0,
        table=msg.frh_table if msg.table is None else msg.table,
        action=msg.frh_action,
        flags=msg.frh_flags,
        proto=msg.protocol or 0,
        iifname=msg.iifname or "",
        iifindex=0 if msg.iifname is None else _DETACHED,
        oifname=msg.oifname or "",
        oifindex=0 if msg.oifname is None else _DETACHED,
        mark=msg.fwmark or 0,
        mark_mask=(_U32_MAX if msg.fwmark else 0) if msg.fwmask is None else msg.fwmask,
        tun_id=msg.tun_id or bytes(8),
        l3mdev=msg.l3mdev or 0,
        suppress_prefixlen=_signed(msg.suppress_prefixlen),
        suppress_ifgroup=_signed(msg.suppress_ifgroup),
    )
    _set_target(rule, msg)
    if rule.l3mdev and rule.table:
        raise KernelError(EINVAL, "l3mdev and table are mutually exclusive")
    if msg.uid_range is not None and not msg.uid_range[0] <= msg.uid_range[1] < _U32_MAX:
        raise KernelError(EINVAL, "Invalid uid range")
    rule.uid_range, rule.ip_proto = msg.uid_range, msg.ip_proto or 0
    rule.sport_range, rule.sport_mask = _ports(msg.sport_range, msg.sport_mask, "sport", FRA_SPORT_MASK)
    rule.dport_range, rule.dport_mask = _ports(msg.dport_range, msg.dport_mask, "dport", FRA_DPORT_MASK)
    return rule


def _signed(value: int | None) -> int:
    """A u32 that is kept in an int, absent as _ANY."""
    if value is None:
        return _ANY
    return value - (1 << 32) if value >= 1 << 31 else value


def _set_target(rule: FibRule, msg: RuleMsg) -> None:
    if msg.goto is None:
        if rule.action == FR_ACT_GOTO:
            raise KernelError(EINVAL, "Missing goto target for action goto")
    elif rule.action != FR_ACT_GOTO:
        raise KernelError(EINVAL, "Unexpected goto")
    else:
        rule.target = msg.goto


def _nl2rule_rtnl(net: Net, rule: FibRule, msg: RuleMsg) -> None:
    """What depends on the other rules and on the devices of the namespace.

    Kernel: net/core/fib_rules.c, fib_nl2rule_rtnl().
    """
    if msg.priority is None:
        rule.pref = _default_pref(net.rules_ops[rule.family])
    if msg.goto is not None and rule.target <= rule.pref:
        raise KernelError(EINVAL, "Backward goto not supported")
    for name, field in ((msg.iifname, "iifindex"), (msg.oifname, "oifindex")):
        dev = dev_get_by_name(net, name) if name else None
        if dev is not None:
            setattr(rule, field, dev.ifindex)


def _default_pref(rules: list[FibRule]) -> int:
    """Just before the second rule.

    Kernel: net/core/fib_rules.c, fib_default_rule_pref().
    """
    return max(rules[1].pref - 1, 0) if len(rules) > 1 else 0


# --- what the families add --------------------------------------------------------------------------------------------


def _set_dscp(rule: FibRule, msg: RuleMsg) -> None:
    """Kernel: net/ipv4/fib_rules.c, fib4_nl2rule_dscp(), fib4_nl2rule_dscp_mask(); IPv6 likewise."""
    rule.dscp, rule.dscp_mask = msg.frh_tos, _INET_DSCP_MASK if msg.frh_tos else 0
    if msg.dscp is not None:
        if rule.dscp:
            raise KernelError(EINVAL, "Cannot specify both TOS and DSCP")
        rule.dscp, rule.dscp_mask, rule.dscp_full = msg.dscp << 2, _INET_DSCP_MASK, True
    if msg.dscp_mask is None:
        return
    if not rule.dscp_full:
        raise KernelError(EINVAL, "Cannot specify DSCP mask without DSCP value", attr=FRA_DSCP_MASK)
    if rule.dscp & ~(msg.dscp_mask << 2):
        raise KernelError(EINVAL, "Invalid DSCP mask", attr=FRA_DSCP_MASK)
    rule.dscp_mask = msg.dscp_mask << 2


def _check_tos(tos: int) -> None:
    if tos & _ECN_MASK:
        raise KernelError(EINVAL, "Invalid dsfield (tos): ECN bits must be 0")


def _set_prefixes(rule: FibRule, msg: RuleMsg) -> None:
    size = FAMILIES[rule.family].addr_size
    rule.src_len, rule.dst_len = msg.frh_src_len, msg.frh_dst_len
    rule.src = msg.src[:size] if msg.src is not None and rule.src_len else bytes(size)
    rule.dst = msg.dst[:size] if msg.dst is not None and rule.dst_len else bytes(size)


def fib4_rule_configure(net: Net, rule: FibRule, msg: RuleMsg) -> None:
    """What IPv4 adds to a rule: a TOS or DSCP, prefixes, a realm, and a table that nobody uses yet if none is named.

    Kernel: net/ipv4/fib_rules.c, fib4_rule_configure().

    Raises:
        KernelError: EINVAL.
    """
    if msg.flowlabel is not None or msg.flowlabel_mask is not None:
        raise KernelError(EINVAL, "Flow label cannot be specified for IPv4 FIB rules")
    _check_tos(msg.frh_tos)
    if msg.frh_tos & ~_IPTOS_TOS_MASK:
        raise KernelError(EINVAL, "Invalid tos")
    _set_dscp(rule, msg)
    fib_unmerge(net)
    if not rule.table and not rule.l3mdev and rule.action == FR_ACT_TO_TBL:
        rule.table = fib_empty_table(net)
    _set_prefixes(rule, msg)
    rule.tclassid = msg.flow or 0


def fib6_rule_configure(net: Net, rule: FibRule, msg: RuleMsg) -> None:
    """What IPv6 adds to a rule: a TOS or DSCP, a flow label, prefixes, and the table if it is not there yet.

    Kernel: net/ipv6/fib6_rules.c, fib6_rule_configure().

    Raises:
        KernelError: EINVAL.
    """
    _check_tos(msg.frh_tos)
    _set_dscp(rule, msg)
    _set_flowlabel(rule, msg)
    if rule.action == FR_ACT_TO_TBL and not rule.l3mdev:
        if not rule.table:
            raise KernelError(EINVAL, "Invalid table")
        fib6_new_table(net, rule.table)
    _set_prefixes(rule, msg)
    net.ipv6.fib6_has_custom_rules = True


def _set_flowlabel(rule: FibRule, msg: RuleMsg) -> None:
    """Kernel: net/ipv6/fib6_rules.c, fib6_nl2rule_flowlabel()."""
    if msg.flowlabel is None and msg.flowlabel_mask is None:
        return
    for value, attr in ((msg.flowlabel, FRA_FLOWLABEL), (msg.flowlabel_mask, FRA_FLOWLABEL_MASK)):
        if value is None:
            raise KernelError(EINVAL, missing=attr)
    assert msg.flowlabel is not None
    assert msg.flowlabel_mask is not None
    label, mask = int.from_bytes(msg.flowlabel), int.from_bytes(msg.flowlabel_mask)
    if mask & ~_FLOWLABEL_MASK:
        raise KernelError(EINVAL, "Invalid flow label mask", attr=FRA_FLOWLABEL_MASK)
    if label & ~mask:
        raise KernelError(EINVAL, "Flow label and mask do not match")
    rule.flowlabel, rule.flowlabel_mask = label, mask


def _mr_rule_configure(net: Net, rule: FibRule, msg: RuleMsg) -> None:
    """Kernel: net/ipv4/ipmr.c, ipmr_rule_configure(); net/ipv6/ip6mr.c likewise: nothing is added."""


def _inet_rule_compare(rule: FibRule, msg: RuleMsg) -> bool:
    """Whether a rule is as a message says in what IPv4 and IPv6 have added.

    Kernel: net/ipv4/fib_rules.c, fib4_rule_compare(); net/ipv6/fib6_rules.c, fib6_rule_compare().
    """
    return all(
        (
            not msg.frh_src_len or (rule.src_len, rule.src) == (msg.frh_src_len, msg.src),
            not msg.frh_dst_len or (rule.dst_len, rule.dst) == (msg.frh_dst_len, msg.dst),
            not msg.frh_tos or (not rule.dscp_full and rule.dscp == msg.frh_tos),
            msg.dscp is None or (rule.dscp_full and rule.dscp == msg.dscp << 2),
            msg.dscp_mask is None or (rule.dscp_full and rule.dscp_mask == msg.dscp_mask << 2),
        )
    )


def fib4_rule_compare(rule: FibRule, msg: RuleMsg) -> bool:
    """Whether an IPv4 rule is as a message says, as far as it says anything.

    Kernel: net/ipv4/fib_rules.c, fib4_rule_compare().
    """
    return (msg.flow is None or rule.tclassid == msg.flow) and _inet_rule_compare(rule, msg)


def fib6_rule_compare(rule: FibRule, msg: RuleMsg) -> bool:
    """Whether an IPv6 rule is as a message says, as far as it says anything.

    Kernel: net/ipv6/fib6_rules.c, fib6_rule_compare().
    """
    label, mask = msg.flowlabel, msg.flowlabel_mask
    return (
        (label is None or rule.flowlabel == int.from_bytes(label))
        and (mask is None or rule.flowlabel_mask == int.from_bytes(mask))
        and _inet_rule_compare(rule, msg)
    )


def _mr_rule_compare(rule: FibRule, msg: RuleMsg) -> bool:
    """Kernel: net/ipv4/ipmr.c, ipmr_rule_compare(); net/ipv6/ip6mr.c likewise: one is like another."""
    return True


def fib4_rule_delete(net: Net) -> None:
    """After a rule has gone, local and main are two tables.

    Kernel: net/ipv4/fib_rules.c, fib4_rule_delete().
    """
    fib_unmerge(net)


def _keep_quiet(net: Net) -> None:
    """Of the other families nobody cares."""


@dataclass(frozen=True, slots=True)
class _Family:
    """struct fib_rules_ops: what a family does its own way."""

    addr_size: int
    default: tuple[tuple[int, int], ...]
    """(priority, table) of the rules that a namespace is born with."""
    configure: Callable[[Net, FibRule, RuleMsg], None] = _mr_rule_configure
    compare: Callable[[FibRule, RuleMsg], bool] = _mr_rule_compare
    delete: Callable[[Net], None] = _keep_quiet


# In the order in which they are registered, which is that of a dump of all.
FAMILIES: Final[Mapping[int, _Family]] = {
    AF_INET: _Family(
        4,
        ((0, RT_TABLE_LOCAL), (0x7FFE, RT_TABLE_MAIN), (0x7FFF, RT_TABLE_DEFAULT)),
        fib4_rule_configure,
        fib4_rule_compare,
        fib4_rule_delete,
    ),
    RTNL_FAMILY_IPMR: _Family(4, ((0x7FFF, RT_TABLE_DEFAULT),)),
    RTNL_FAMILY_IP6MR: _Family(16, ((0x7FFF, RT_TABLE_MAIN),)),
    AF_INET6: _Family(16, ((0, RT_TABLE_LOCAL), (0x7FFE, RT_TABLE_MAIN)), fib6_rule_configure, fib6_rule_compare),
}


# --- requests ---------------------------------------------------------------------------------------------------------

# What makes two rules the same, with the value by which a request to delete one leaves it open.
_SAME: Final[Mapping[str, object]] = {
    "action": 0,
    "table": 0,
    "iifname": "",
    "oifname": "",
    "mark": 0,
    "suppress_ifgroup": _ANY,
    "suppress_prefixlen": _ANY,
    "mark_mask": 0,
    "tun_id": bytes(8),
    "l3mdev": 0,
    "uid_range": None,
    "ip_proto": 0,
    "proto": 0,
    "sport_range": None,
    "sport_mask": 0,
    "dport_range": None,
    "dport_mask": 0,
}


def _rules(net: Net, msg: RuleMsg) -> list[FibRule]:
    """Kernel: net/core/fib_rules.c, lookup_rules_ops()."""
    if msg.frh_family not in net.rules_ops:
        raise KernelError(EAFNOSUPPORT, "Rule family not supported")
    return net.rules_ops[msg.frh_family]


def _exists(rules: Iterable[FibRule], rule: FibRule, msg: RuleMsg) -> bool:
    """Kernel: net/core/fib_rules.c, rule_exists()."""
    compare = FAMILIES[rule.family].compare
    return any(
        other.pref == rule.pref
        and all(getattr(other, name) == getattr(rule, name) for name in _SAME)
        and compare(other, msg)
        for other in rules
    )


def _find(rules: Iterable[FibRule], rule: FibRule, msg: RuleMsg) -> FibRule:
    """Kernel: net/core/fib_rules.c, rule_find()."""
    compare = FAMILIES[rule.family].compare
    wanted = {name: getattr(rule, name) for name, open_ in _SAME.items() if getattr(rule, name) != open_}
    if msg.priority is not None:
        wanted["pref"] = rule.pref
    for other in rules:
        if all(getattr(other, name) == value for name, value in wanted.items()) and compare(other, msg):
            return other
    raise KernelError(ENOENT)


def fib_newrule(net: Net, msg: RuleMsg) -> None:
    """Add a rule, behind those of its priority.

    Kernel: net/core/fib_rules.c, fib_newrule().

    Raises:
        KernelError: EAFNOSUPPORT, a family without rules; EINVAL, no rule; EEXIST, there is one like it and
            NLM_F_EXCL.
    """
    ASSERT_RTNL(net)
    rules = _rules(net, msg)
    rule = fib_nl2rule(msg)
    _nl2rule_rtnl(net, rule, msg)
    if msg.nlmsg_flags & NLM_F_EXCL and _exists(rules, rule, msg):
        raise KernelError(EEXIST)
    FAMILIES[rule.family].configure(net, rule, msg)
    if rule.action == FR_ACT_GOTO:
        rule.ctarget = next((other for other in rules if other.pref == rule.target), None)
    rules.insert(next((at for at, other in enumerate(rules) if other.pref > rule.pref), len(rules)), rule)
    for other in _gotos(rules):
        if other.ctarget is None and other.target == rule.pref:
            other.ctarget = rule
    rtnl_notify(net, fib_nl_fill_rule(rule), asked=True)


def fib_delrule(net: Net, msg: RuleMsg) -> None:
    """Delete the first rule that is as the message says, as far as it says anything.

    Kernel: net/core/fib_rules.c, fib_delrule().

    Raises:
        KernelError: EAFNOSUPPORT, a family without rules; EINVAL, no rule; ENOENT, none is so; EPERM, it is permanent.
    """
    ASSERT_RTNL(net)
    rules = _rules(net, msg)
    wanted = fib_nl2rule(msg)
    _nl2rule_rtnl(net, wanted, msg)
    rule = _find(rules, wanted, msg)
    if rule.flags & FIB_RULE_PERMANENT:
        raise KernelError(EPERM)
    FAMILIES[rule.family].delete(net)
    at = rules.index(rule)
    del rules[at]
    heir = rules[at] if at < len(rules) and rules[at].pref == rule.pref else None
    for other in _gotos(rules):
        if other.ctarget is rule:
            other.ctarget = heir
    rtnl_notify(net, fib_nl_fill_rule(rule, RTM_DELRULE), asked=True)


def _gotos(rules: Iterable[FibRule]) -> Iterator[FibRule]:
    return (rule for rule in rules if rule.action == FR_ACT_GOTO)


def fib_nl_fill_rule(rule: FibRule, nlmsg_type: int = RTM_NEWRULE) -> RuleMsg:
    """A rule as a message.

    Kernel: net/core/fib_rules.c, fib_nl_fill_rule(), and the families' fill.
    """
    inet = rule.family in (AF_INET, AF_INET6)
    return RuleMsg(
        nlmsg_type=nlmsg_type,
        frh_family=rule.family,
        frh_dst_len=rule.dst_len,
        frh_src_len=rule.src_len,
        frh_tos=0 if rule.dscp_full else rule.dscp,
        frh_table=rule.table if rule.table < 256 else RT_TABLE_COMPAT,
        frh_action=rule.action,
        frh_flags=rule.flags | _shown_flags(rule),
        table=rule.table,
        suppress_prefixlen=rule.suppress_prefixlen & _U32_MAX,
        protocol=rule.proto,
        iifname=rule.iifname or None,
        oifname=rule.oifname or None,
        priority=rule.pref or None,
        fwmark=rule.mark or None,
        fwmask=rule.mark_mask if rule.mark or rule.mark_mask else None,
        goto=rule.target or None,
        tun_id=rule.tun_id if any(rule.tun_id) else None,
        l3mdev=rule.l3mdev or None,
        uid_range=rule.uid_range,
        sport_range=rule.sport_range,
        sport_mask=rule.sport_mask or None,
        dport_range=rule.dport_range,
        dport_mask=rule.dport_mask or None,
        ip_proto=rule.ip_proto or None,
        suppress_ifgroup=None if rule.suppress_ifgroup == _ANY else rule.suppress_ifgroup & _U32_MAX,
        dscp=rule.dscp >> 2 if rule.dscp_full else None,
        dscp_mask=rule.dscp_mask >> 2 if rule.dscp_full else None,
        flowlabel=rule.flowlabel.to_bytes(4) if rule.flowlabel_mask else None,
        flowlabel_mask=rule.flowlabel_mask.to_bytes(4) if rule.flowlabel_mask else None,
        dst=rule.dst if inet and rule.dst_len else None,
        src=rule.src if inet and rule.src_len else None,
        flow=rule.tclassid or None,
    )


def _shown_flags(rule: FibRule) -> int:
    flags = FIB_RULE_UNRESOLVED if rule.action == FR_ACT_GOTO and rule.ctarget is None else 0
    if rule.iifname and rule.iifindex == _DETACHED:
        flags |= FIB_RULE_IIF_DETACHED
    if rule.oifname and rule.oifindex == _DETACHED:
        flags |= FIB_RULE_OIF_DETACHED
    return flags


# --- walking the rules ------------------------------------------------------------------------------------------------


class Flow(Protocol):
    """struct flowi: what the rules of every family look at."""

    iif: int
    oif: int
    mark: int
    uid: int
    proto: int
    sport: int
    dport: int
    tun_id: bytes


def fib_rule_match(rule: FibRule, flow: Flow, *, family_matches: Callable[[], bool]) -> bool:
    """Whether a rule is about a flow.

    Kernel: net/core/fib_rules.c, fib_rule_match().
    Differs: no device is a layer 3 master here, so a rule that asks for one is about nothing.
    """
    low, high = rule.uid_range or (0, _U32_MAX)
    matches = (
        rule.iifindex in (0, flow.iif)
        and rule.oifindex in (0, flow.oif)
        and not (rule.mark ^ flow.mark) & rule.mark_mask
        and (not any(rule.tun_id) or rule.tun_id == flow.tun_id)
        and not rule.l3mdev
        and low <= flow.uid <= high
        and family_matches()
    )
    return matches != bool(rule.flags & FIB_RULE_INVERT)


def ports_match(rule: FibRule, flow: Flow) -> bool:
    """Whether protocol and ports are those of a rule.

    Kernel: include/net/fib_rules.h, fib_rule_port_match().
    """
    return (
        rule.ip_proto in (0, flow.proto)
        and _port_matches(rule.sport_range, rule.sport_mask, flow.sport)
        and _port_matches(rule.dport_range, rule.dport_mask, flow.dport)
    )


def _port_matches(wanted: tuple[int, int] | None, mask: int, port: int) -> bool:
    if wanted is None:
        return True
    return not (wanted[0] ^ port) & mask if mask else wanted[0] <= port <= wanted[1]


def walk_rules(rules: list[FibRule], matches: Callable[[FibRule], bool]) -> Iterator[FibRule]:
    """The rules that decide about a flow, in order; gotos are followed, and what has no effect left out.

    Kernel: net/core/fib_rules.c, fib_rules_lookup().
    """
    at = 0
    while at < len(rules):
        rule = rules[at]
        at += 1
        if not matches(rule) or rule.action == FR_ACT_NOP:
            continue
        if rule.action != FR_ACT_GOTO:
            yield rule
        elif rule.ctarget is not None:
            at = rules.index(rule.ctarget)


def fib4_rule_match(rule: FibRule, flow: Flowi4) -> bool:
    """Whether an IPv4 rule is about a flow, in what IPv4 adds.

    Kernel: net/ipv4/fib_rules.c, fib4_rule_match().
    """
    if masked(flow.saddr, rule.src_len) != masked(rule.src, rule.src_len):
        return False
    if masked(flow.daddr, rule.dst_len) != masked(rule.dst, rule.dst_len):
        return False
    if rule.dscp_full:
        if (rule.dscp ^ flow.tos) & rule.dscp_mask:
            return False
    elif rule.dscp and rule.dscp != flow.tos & _LEGACY_TOS_MASK:
        return False
    return ports_match(rule, flow)


# Kernel: net/ipv4/fib_rules.c, fib4_rule_action().
_REFUSING_ACTIONS: Final = {FR_ACT_UNREACHABLE: ENETUNREACH, FR_ACT_PROHIBIT: EACCES, FR_ACT_BLACKHOLE: EINVAL}


def fib_lookup(net: Net, flow: Flowi4, *, ignore_linkstate: bool = False) -> FibResult:
    """The route for a flow, by the rules.

    Kernel: include/net/ip_fib.h, fib_lookup(); net/ipv4/fib_rules.c, __fib_lookup().

    Raises:
        KernelError: ENETUNREACH, there is none; the errno of the route or the rule that refuses.
    """
    if net.ipv4.fib_has_custom_rules:
        return _lookup_by_rules(net, flow, ignore_linkstate=ignore_linkstate)
    for table in (RT_TABLE_MAIN, RT_TABLE_DEFAULT):
        if table in net.ipv4.fib_tables:
            try:
                return fib_table_lookup(net, table, flow, ignore_linkstate=ignore_linkstate)
            except KernelError as error:
                if error.errno != EAGAIN:
                    raise
    raise KernelError(ENETUNREACH)


def _lookup_by_rules(net: Net, flow: Flowi4, *, ignore_linkstate: bool) -> FibResult:
    def about(rule: FibRule) -> bool:
        return fib_rule_match(rule, flow, family_matches=lambda: fib4_rule_match(rule, flow))

    for rule in walk_rules(net.rules_ops[AF_INET], about):
        if rule.action != FR_ACT_TO_TBL:
            raise KernelError(_REFUSING_ACTIONS.get(rule.action, EINVAL))
        table = fib_get_table(net, rule.table)
        if table is None:
            continue
        try:
            found = fib_table_lookup(net, table, flow, ignore_linkstate=ignore_linkstate)
        except KernelError as error:
            if error.errno == EAGAIN:
                continue
            raise
        if not _suppresses(rule, found.prefixlen, found.fa.dev):
            found.tclassid = rule.tclassid
            return found
    raise KernelError(ENETUNREACH)


def _suppresses(rule: FibRule, plen: int, dev: NetDevice | None) -> bool:
    """Kernel: net/ipv4/fib_rules.c, fib4_rule_suppress()."""
    if plen <= rule.suppress_prefixlen:
        return True
    return rule.suppress_ifgroup != _ANY and dev is not None and dev.group == rule.suppress_ifgroup


# --- devices that rules name ------------------------------------------------------------------------------------------


def _attach_rules(dev: NetDevice, rules: Iterable[FibRule]) -> None:
    for rule in rules:
        if rule.iifindex == _DETACHED and rule.iifname == dev.name:
            rule.iifindex = dev.ifindex
        if rule.oifindex == _DETACHED and rule.oifname == dev.name:
            rule.oifindex = dev.ifindex


def _detach_rules(dev: NetDevice, rules: Iterable[FibRule]) -> None:
    for rule in rules:
        if rule.iifindex == dev.ifindex:
            rule.iifindex = _DETACHED
        if rule.oifindex == dev.ifindex:
            rule.oifindex = _DETACHED


# One row per event by which a name comes to mean a device, or no longer does.
ON_NETDEV_EVENT: Final[Mapping[int, tuple[Callable[[NetDevice, Iterable[FibRule]], None], ...]]] = {
    NETDEV_REGISTER: (_attach_rules,),
    NETDEV_CHANGENAME: (_detach_rules, _attach_rules),
    NETDEV_UNREGISTER: (_detach_rules,),
}


def fib_rules_event(event: int, info: NetdevNotifierInfo) -> int:
    """The rules' ear on the netdevice chain: rules name devices, and look-ups compare indexes.

    Kernel: net/core/fib_rules.c, fib_rules_event().
    """
    for act in ON_NETDEV_EVENT.get(event, ()):
        for rules in info.dev.net.rules_ops.values():
            act(info.dev, rules)
    return NOTIFY_DONE


def _fib_rules_net_init(net: Net) -> None:
    for family, ops in FAMILIES.items():
        net.rules_ops[family] = [
            FibRule(family, pref=pref, table=table, proto=RTPROT_KERNEL, action=FR_ACT_TO_TBL)
            for pref, table in ops.default
        ]


fib_rules_net_ops = PernetOperations("fib_rules_net_ops", init=_fib_rules_net_init)
"""The rules that every namespace is born with.

Kernel: net/core/fib_rules.c, fib_rules_net_ops; fib4_rules_init() and its kin.
"""


def fib_rules_init(machine: Machine) -> None:
    """Subscribe the rules to devices.

    Kernel: net/core/fib_rules.c, fib_rules_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(fib_rules_event))
