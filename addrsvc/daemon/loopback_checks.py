"""What keeps loopback from working: the kernel, lo and its addresses, routes and rules, and whatever drops packets.

The rows stand in the order in which what they find has to be mended: a command counts on those above it.
"""

import os
import shlex
from collections.abc import Iterator
from errno import EACCES, ECONNREFUSED, EPERM, ETIMEDOUT
from typing import Final

from addrsvc.daemon.finding import BROKEN, WARNING, Check, Finding, Look, in_netns
from addrsvc.daemon.symptoms import IN6ADDR_LOOPBACK, INADDR_LOOPBACK, Facts, Probe
from addrsvc.errors import KernelError
from addrsvc.netlink.messages import RouteMsg, RuleMsg
from addrsvc.netlink.text import inet_ntop
from addrsvc.uapi import (
    FR_ACT_BLACKHOLE,
    FR_ACT_PROHIBIT,
    FR_ACT_TO_TBL,
    FR_ACT_UNREACHABLE,
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_TENTATIVE,
    IFF_UP,
    INFINITY_LIFE_TIME,
    IPV6_MIN_MTU,
    RT_TABLE_LOCAL,
    RTN_LOCAL,
)

__all__ = ["LOOPBACK_CHECKS", "NO_LOOPBACK6"]

_LO_MTU: Final = 65536

# --- commands ---------------------------------------------------------------------------------------------------------


def _dev(facts: Facts) -> str:
    """The device, as a shell has to be told it: its name may be anything."""
    return shlex.quote(facts.dev)


def _enable(facts: Facts) -> str:
    setting = f"net.ipv6.conf.{facts.dev.replace('.', '/')}.disable_ipv6=0"
    return in_netns(facts, f"sysctl -w {shlex.quote(setting)}")


def _add_loopback(facts: Facts) -> str:
    """As the kernel does it: without duplicate address detection, and without a prefix route."""
    return in_netns(facts, f"ip addr add ::1/128 dev {_dev(facts)} nodad noprefixroute")


def _renew_loopback(facts: Facts) -> tuple[str, ...]:
    return in_netns(facts, f"ip addr del ::1/128 dev {_dev(facts)}"), _add_loopback(facts)


def _is_up(facts: Facts) -> bool:
    return bool(facts.lo.ifi_flags & IFF_UP)


# --- the kernel -------------------------------------------------------------------------------------------------------


def _ipv6(facts: Facts) -> Iterator[Finding]:
    if facts.has_ipv6:
        return
    disabled = next((word for word in facts.cmdline.split() if word.startswith("ipv6.disable=1")), "")
    if disabled:
        yield Finding(
            "ipv6", BROKEN, "this kernel was booted without IPv6",
            f"{disabled} stands on its command line: there is no socket of AF_INET6 then; without it, boot again",
        )  # fmt: skip
    else:
        yield Finding(
            "ipv6", BROKEN, "this kernel has no IPv6",
            "there is no /proc/net/if_inet6: the module is not loaded, or was not built", ("modprobe ipv6",),
        )  # fmt: skip


def _mtu(facts: Facts) -> Iterator[Finding]:
    mtu = facts.lo.mtu or 0
    if mtu >= IPV6_MIN_MTU:
        return
    is_all = _is_up(facts) and not facts.settings.lo_disabled  # else ::1 comes with what is to be mended next
    yield Finding(
        "mtu", BROKEN, f"the MTU of {facts.dev} is {mtu}, less than {IPV6_MIN_MTU}",
        "the kernel takes IPv6, and ::1 with it, from a device whose MTU falls below what IPv6 needs; when it rises "
        "again it restores no address",
        (in_netns(facts, f"ip link set {_dev(facts)} mtu {_LO_MTU}"), *([_add_loopback(facts)] if is_all else [])),
    )  # fmt: skip


def _disable_ipv6(facts: Facts) -> Iterator[Finding]:
    if not facts.settings.lo_disabled:
        return
    from_all = "; it was written to that of all, which is copied to each device" if facts.settings.all_disabled else ""
    yield Finding(
        "disable_ipv6", BROKEN, f"disable_ipv6 of {facts.dev} is 1",
        f"the kernel takes all IPv6 addresses from the device then{from_all}; it makes ::1 again when it is 0 and the "
        "device is up",
        (_enable(facts),),
    )  # fmt: skip


def _lo(facts: Facts) -> Iterator[Finding]:
    if not _is_up(facts):
        yield Finding(
            "lo", BROKEN, f"{facts.dev} is down",
            "the kernel gives it ::1 and 127.0.0.1 when it comes up, and drops every packet while it is down",
            (in_netns(facts, f"ip link set {_dev(facts)} up"),),
        )  # fmt: skip


def _loopback6(facts: Facts) -> Iterator[Finding]:
    if facts.address(IN6ADDR_LOOPBACK) is None:
        yield Finding(
            "::1", BROKEN, f"::1 is not on {facts.dev}, though it is up and has IPv6",
            "somebody deleted it, or the MTU was too small for a while; the kernel makes it only when the device comes "
            "up or IPv6 is enabled",
            (_add_loopback(facts),),
        )  # fmt: skip


def _state(facts: Facts) -> Iterator[Finding]:
    msg = facts.address(IN6ADDR_LOOPBACK)
    if msg is None:
        return
    flags = msg.ifa_flags if msg.flags is None else msg.flags
    forever = in_netns(facts, f"ip addr change ::1/128 dev {_dev(facts)} preferred_lft forever valid_lft forever")
    if flags & (IFA_F_DADFAILED | IFA_F_TENTATIVE):
        yield Finding(
            "state", BROKEN, f"::1 is {'dadfailed' if flags & IFA_F_DADFAILED else 'tentative'}",
            "the kernel lets nobody use an address before it knows that nobody else has it",
            _renew_loopback(facts),
        )  # fmt: skip
    elif flags & IFA_F_DEPRECATED:
        yield Finding(
            "state", WARNING, "::1 is deprecated",
            "its preferred lifetime is over: the kernel chooses it as a source only where it has no other", (forever,),
        )  # fmt: skip
    elif msg.cacheinfo is not None and msg.cacheinfo.ifa_valid != INFINITY_LIFE_TIME:
        yield Finding(
            "state", WARNING, f"::1 will be gone in {msg.cacheinfo.ifa_valid} s",
            "somebody gave it a valid lifetime; the kernel deletes it when that is over, and makes no other",
            (forever,),
        )  # fmt: skip


def _route(facts: Facts) -> Iterator[Finding]:
    if not facts.local:
        yield Finding(
            "route", BROKEN, f"there is no local route to ::1{_led_to(facts)}",
            "somebody deleted it from table local; the kernel makes it along with the address, and only then",
            _renew_loopback(facts),
        )  # fmt: skip


def _led_to(facts: Facts) -> str:
    match facts.lookup:
        case KernelError() as error:
            return f": {error.strerror}"
        case RouteMsg(table=table):
            return f", and table {table} answers for it"
    return ""


_ACTIONS: Final = {FR_ACT_BLACKHOLE: "blackhole", FR_ACT_UNREACHABLE: "unreachable", FR_ACT_PROHIBIT: "prohibit"}


def _rules(facts: Facts) -> Iterator[Finding]:
    """The rule that the kernel makes has preference 0; what stands before the one for table local is in the way."""
    found = facts.lookup
    if isinstance(found, RouteMsg) and found.rtm_type == RTN_LOCAL:
        return
    before = _before_local(facts.rules)
    delete = [in_netns(facts, f"ip -6 rule del pref {_preference(rule)}") for rule in before if not _preference(rule)]
    yield Finding(
        "rules", BROKEN, f"the local route to ::1 is not found{_led_to(facts)}",
        "the kernel looks into table local first; here "
        + (f"{_listed(before)} before" if before else "no rule leads to it"),
        (*delete, in_netns(facts, "ip -6 rule add pref 0 lookup local")),
    )  # fmt: skip


def _before_local(rules: tuple[RuleMsg, ...]) -> list[RuleMsg]:
    before: list[RuleMsg] = []
    for rule in rules:
        if (rule.frh_action, rule.table) == (FR_ACT_TO_TBL, RT_TABLE_LOCAL) and not rule.frh_dst_len:
            return before
        before.append(rule)
    return []


def _preference(rule: RuleMsg) -> int:
    return rule.priority or 0


def _listed(rules: list[RuleMsg]) -> str:
    told = ", ".join(f"{_preference(rule)} ({_rule(rule)})" for rule in rules)
    return f"{'rule' if len(rules) == 1 else 'rules'} {told} {'comes' if len(rules) == 1 else 'come'}"


def _rule(rule: RuleMsg) -> str:
    to = f"to {inet_ntop(rule.dst)}{'' if rule.frh_dst_len == 128 else f'/{rule.frh_dst_len}'} " if rule.dst else ""
    return to + _ACTIONS.get(rule.frh_action, f"lookup {rule.table or rule.frh_table}")


def _loopback4(facts: Facts) -> Iterator[Finding]:
    if facts.address(INADDR_LOOPBACK) is None:
        yield Finding(
            "127.0.0.1", BROKEN, f"127.0.0.1 is not on {facts.dev}, though it is up",
            "somebody deleted it; the kernel makes it only when the device comes up",
            (in_netns(facts, f"ip addr add 127.0.0.1/8 dev {_dev(facts)}"),),
        )  # fmt: skip


# --- packets ----------------------------------------------------------------------------------------------------------

_WHY_BLOCKED: Final = {
    EPERM: "a packet filter, or a BPF program of the control group, forbids it",
    EACCES: "a route, a rule or a security module prohibits it",
    ECONNREFUSED: "a packet filter rejects it: a socket was listening",
    ETIMEDOUT: "nothing refused, and nothing came: a packet filter drops it on the way",
}
_LOOK_AT_FILTERS: Final = {
    "::1": ("nft list ruleset", "ip6tables-save"),
    "127.0.0.1": ("nft list ruleset", "iptables-save"),
}


def _blocked(check: str, address: str) -> Look:
    def look(facts: Facts) -> Iterator[Finding]:
        failed = [probe for probe in facts.probes if probe.address == address and not probe.works]
        if failed and facts.lo.qdisc != "noqueue":
            yield _queued(check, facts, failed[0])
        elif failed:
            yield Finding(
                check, BROKEN, "; ".join(map(str, failed)),
                f"all that the kernel needs for it is there; {_why_blocked(failed)}",
                look=tuple(in_netns(facts, command) for command in _LOOK_AT_FILTERS[address]),
            )  # fmt: skip

    return look


def _why_blocked(failed: list[Probe]) -> str:
    """By the one that tells most."""
    probe = min(failed, key=lambda probe: probe.errno == ETIMEDOUT)
    return _WHY_BLOCKED.get(probe.errno, f"{probe.step} says: {os.strerror(probe.errno)}")


def _queued(check: str, facts: Facts, probe: Probe) -> Finding:
    return Finding(
        check, BROKEN, str(probe),
        f"{facts.dev} has a queueing discipline ({facts.lo.qdisc}), which the kernel gives it not by itself, and which "
        "drops or holds packets",
        (in_netns(facts, f"tc qdisc del dev {_dev(facts)} root"),),
    )  # fmt: skip


# --- settings that surprise -------------------------------------------------------------------------------------------


def _bindv6only(facts: Facts) -> Iterator[Finding]:
    if facts.settings.bindv6only:
        yield Finding(
            "bindv6only", WARNING, "bindv6only is 1",
            "a socket that is bound to :: gets nothing that is sent to 127.0.0.1, unless its program asks for it",
            (in_netns(facts, "sysctl -w net.ipv6.bindv6only=0"),),
        )  # fmt: skip


def _default_disabled(facts: Facts) -> Iterator[Finding]:
    if facts.settings.default_disabled:
        yield Finding(
            "default", WARNING, "disable_ipv6 of default is 1",
            "a device that comes is without IPv6",
            (in_netns(facts, "sysctl -w net.ipv6.conf.default.disable_ipv6=0"),),
        )  # fmt: skip


# --- the rows ---------------------------------------------------------------------------------------------------------

_NO_IPV6: Final = ("ipv6", "mtu", "disable_ipv6", "lo")
NO_LOOPBACK6: Final = (*_NO_IPV6, "::1", "state", "route", "rules")

LOOPBACK_CHECKS: Final = (
    Check("ipv6", "the kernel has IPv6", _ipv6),
    Check("mtu", "the MTU of {dev} is enough for IPv6", _mtu, ("ipv6",)),
    Check("disable_ipv6", "IPv6 is enabled on {dev}", _disable_ipv6, ("ipv6",)),
    Check("lo", "{dev} is up", _lo),
    Check("::1", "::1 is on {dev}", _loopback6, _NO_IPV6),
    Check("state", "::1 may be used, for ever", _state, (*_NO_IPV6, "::1")),
    Check("route", "there is a local route to ::1", _route, (*_NO_IPV6, "::1", "state")),
    Check("rules", "what is sent to ::1 takes a local route", _rules, (*_NO_IPV6, "::1", "state", "route")),
    Check("127.0.0.1", "127.0.0.1 is on {dev}", _loopback4, ("lo",)),
    Check(
        "packets6", "::1 can be bound and reached, over TCP and UDP", _blocked("packets6", "::1"),
        NO_LOOPBACK6,
    ),
    Check(
        "packets4", "127.0.0.1 can be bound and reached, over TCP and UDP", _blocked("packets4", "127.0.0.1"),
        ("lo", "127.0.0.1", "packets6"),
    ),
    Check("bindv6only", "what is bound to :: is reached at 127.0.0.1 too", _bindv6only, ("ipv6",)),
    Check("default", "devices that come have IPv6", _default_disabled, ("ipv6",)),
)  # fmt: skip
