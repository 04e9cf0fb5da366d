"""What keeps ``localhost`` from working, made out of facts: one row per thing that can be wrong.

The rows stand in the order in which what they find has to be mended: a command counts on those above it.
"""

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import EACCES, ECONNREFUSED, EPERM, ETIMEDOUT
from ipaddress import ip_address
from typing import Final, TypeAlias

from addrsvc.daemon.names import LOCALHOST, HostsLine, Names
from addrsvc.daemon.symptoms import IN6ADDR_LOOPBACK, INADDR_LOOPBACK, Facts, Probe
from addrsvc.errors import KernelError
from addrsvc.mirror.netns import HOST
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

__all__ = ["BROKEN", "CHECKS", "WARNING", "Finding", "find", "fine", "untried"]

BROKEN: Final = "broken"
WARNING: Final = "warning"

_LO_MTU: Final = 65536


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: the name of the row that found it.
        severity: BROKEN where something does not work, WARNING where something is odd.
        what: what is wrong.
        why: which rule was broken, and what the kernel, or the C library, does then.
        mend: the commands that mend it, in this order.
        look: commands that show more, where what is wrong has no name.
    """

    check: str
    severity: str
    what: str
    why: str
    mend: tuple[str, ...] = ()
    look: tuple[str, ...] = ()


_Look: TypeAlias = Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that can be wrong.

    Attributes:
        name: what findings call it.
        fine: what is to be said where it is not.
        look: what finds it.
        unless: checks that explain it where they find something that is broken; it is not made then.
    """

    name: str
    fine: str
    look: _Look
    unless: tuple[str, ...] = ()


def find(facts: Facts) -> list[Finding]:
    """All that is wrong, each thing once: what follows from another thing is not told."""
    return [finding for _, findings in _checked(facts) for finding in findings or ()]


def fine(facts: Facts) -> list[str]:
    """What was looked at and is as it should be, in words."""
    return [check.fine.format(dev=facts.dev) for check, findings in _checked(facts) if findings == []]


def untried(facts: Facts) -> list[str]:
    """The names of checks that nothing can be said of before what was found is mended."""
    return [check.name for check, findings in _checked(facts) if findings is None]


def _checked(facts: Facts) -> Iterator[tuple[Check, list[Finding] | None]]:
    """Each check that is about these facts, and what it found; None where it cannot be made."""
    broken: set[str] = set()
    for check in CHECKS:
        if facts.names is None and check.name in _ABOUT_NAMES:
            continue
        if not broken.isdisjoint(check.unless):
            yield check, None
            continue
        findings = list(check.look(facts))
        broken |= {finding.check for finding in findings if finding.severity == BROKEN}
        yield check, findings


# --- commands ---------------------------------------------------------------------------------------------------------


def _in_netns(facts: Facts, words: str) -> str:
    """A command, to be run in the namespace."""
    name = shlex.quote(facts.spec)
    if facts.spec == HOST:
        return words
    if facts.spec.isdecimal():
        return f"nsenter --target {name} --net {words}"
    if "/" in facts.spec:
        return f"nsenter --net={name} {words}"
    return f"ip -n {name} {words.removeprefix('ip ')}" if words.startswith("ip ") else f"ip netns exec {name} {words}"


def _dev(facts: Facts) -> str:
    """The device, as a shell has to be told it: its name may be anything."""
    return shlex.quote(facts.dev)


def _enable(facts: Facts) -> str:
    setting = f"net.ipv6.conf.{facts.dev.replace('.', '/')}.disable_ipv6=0"
    return _in_netns(facts, f"sysctl -w {shlex.quote(setting)}")


def _add_loopback(facts: Facts) -> str:
    """As the kernel does it: without duplicate address detection, and without a prefix route."""
    return _in_netns(facts, f"ip addr add ::1/128 dev {_dev(facts)} nodad noprefixroute")


def _renew_loopback(facts: Facts) -> tuple[str, ...]:
    return _in_netns(facts, f"ip addr del ::1/128 dev {_dev(facts)}"), _add_loopback(facts)


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
        (_in_netns(facts, f"ip link set {_dev(facts)} mtu {_LO_MTU}"), *([_add_loopback(facts)] if is_all else [])),
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
            (_in_netns(facts, f"ip link set {_dev(facts)} up"),),
        )  # fmt: skip


_NO_IPV6: Final = ("ipv6", "mtu", "disable_ipv6", "lo")
_NO_LOOPBACK6: Final = (*_NO_IPV6, "::1", "state", "route", "rules")
_NOT_FOUND: Final = ("nsswitch", "hosts", "getaddrinfo")


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
    forever = _in_netns(facts, f"ip addr change ::1/128 dev {_dev(facts)} preferred_lft forever valid_lft forever")
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
    delete = [_in_netns(facts, f"ip -6 rule del pref {_preference(rule)}") for rule in before if not _preference(rule)]
    yield Finding(
        "rules", BROKEN, f"the local route to ::1 is not found{_led_to(facts)}",
        "the kernel looks into table local first; here "
        + (f"{_listed(before)} before" if before else "no rule leads to it"),
        (*delete, _in_netns(facts, "ip -6 rule add pref 0 lookup local")),
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
            (_in_netns(facts, f"ip addr add 127.0.0.1/8 dev {_dev(facts)}"),),
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


def _blocked(check: str, address: str) -> _Look:
    def look(facts: Facts) -> Iterator[Finding]:
        failed = [probe for probe in facts.probes if probe.address == address and not probe.works]
        if failed and facts.lo.qdisc != "noqueue":
            yield _queued(check, facts, failed[0])
        elif failed:
            yield Finding(
                check, BROKEN, "; ".join(map(str, failed)),
                f"all that the kernel needs for it is there; {_why_blocked(failed)}",
                look=tuple(_in_netns(facts, command) for command in _LOOK_AT_FILTERS[address]),
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
        (_in_netns(facts, f"tc qdisc del dev {_dev(facts)} root"),),
    )  # fmt: skip


# --- settings that surprise -------------------------------------------------------------------------------------------


def _bindv6only(facts: Facts) -> Iterator[Finding]:
    if facts.settings.bindv6only:
        yield Finding(
            "bindv6only", WARNING, "bindv6only is 1",
            "a socket that is bound to :: gets nothing that is sent to 127.0.0.1, unless its program asks for it",
            (_in_netns(facts, "sysctl -w net.ipv6.bindv6only=0"),),
        )  # fmt: skip


def _default_disabled(facts: Facts) -> Iterator[Finding]:
    if facts.settings.default_disabled:
        yield Finding(
            "default", WARNING, "disable_ipv6 of default is 1",
            "a device that comes is without IPv6",
            (_in_netns(facts, "sysctl -w net.ipv6.conf.default.disable_ipv6=0"),),
        )  # fmt: skip


# --- names ------------------------------------------------------------------------------------------------------------


def _names(facts: Facts) -> Names:
    assert facts.names is not None
    return facts.names


def _severity(names: Names) -> str:
    """Of a fault in the files: another service may know localhost all the same."""
    return WARNING if "::1" in names.answer else BROKEN


_ANSWERS_ITSELF: Final = "myhostname"
"""The service of nsswitch.conf that knows localhost without any file."""


def _nsswitch(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    if names.order and not {"files", _ANSWERS_ITSELF} & set(names.order):
        yield Finding(
            "nsswitch", _severity(names), f"{names.nsswitch} has no files among hosts: {' '.join(names.order)}",
            f"nobody reads {names.hosts} then, and whether {LOCALHOST} is found is up to others",
            (f"sed -i 's/^\\([[:space:]]*hosts:\\)/\\1 files/' {shlex.quote(names.nsswitch)}",),
        )  # fmt: skip


def _hosts(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    ours = [line for line in names.lines if line.address == "::1" and LOCALHOST in line.names]
    if any(not line.is_commented for line in ours) or _ANSWERS_ITSELF in names.order:
        return
    path = shlex.quote(names.hosts)
    if ours:
        number = ours[0].number
        yield Finding(
            "hosts", _severity(names), f"line {number} of {names.hosts}, ::1 {LOCALHOST}, is commented out",
            _WITHOUT_LINE, (f"sed -i '{number}s/^[#[:space:]]*//' {path}",),
        )  # fmt: skip
    else:
        yield Finding(
            "hosts", _severity(names), f"{names.hosts} has no line ::1 {LOCALHOST}{_who_has(names)}",
            _WITHOUT_LINE, (f"echo '::1 {LOCALHOST}' >> {path}",),
        )  # fmt: skip


_WITHOUT_LINE: Final = f"the C library finds {LOCALHOST} at the addresses that the file has for it, and at no others"


def _who_has(names: Names) -> str:
    others = [line.address for line in names.lines if LOCALHOST in line.names and not line.is_commented]
    return f"; {LOCALHOST} is {', '.join(others)} there" if others else ""


def _getaddrinfo(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    if names.failure:
        yield Finding(
            "getaddrinfo", BROKEN, f"{LOCALHOST} is not found: {names.failure}",
            f"{names.nsswitch} says who is asked, and nobody of them knew",
            look=(f"getent -s files ahosts {LOCALHOST}",),
        )  # fmt: skip
    elif "::1" not in names.answer:
        yield Finding(
            "getaddrinfo", BROKEN, f"{LOCALHOST} is {', '.join(names.answer)}, and not ::1",
            f"the files have it; of the services in {names.nsswitch} another one answered before",
            look=(f"getent ahosts {LOCALHOST}",),
        )  # fmt: skip


def _first(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    if not names.answer or names.answer[0] == "::1" or "::1" not in names.answer:
        return
    lines = [it.number for it in names.precedences]
    path = shlex.quote(names.gai)
    yield Finding(
        "precedence", WARNING, f"{LOCALHOST} is {names.answer[0]} first, and ::1 only then",
        f"the precedences of {names.gai} say so; where it has any, none of RFC 6724's holds" if lines else
        "where it can be reached RFC 6724 has ::1 first",
        tuple(f"sed -i '{number}s/^/#/' {path}" for number in lines),
    )  # fmt: skip


def _addrconfig(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    if "::1" in names.answer and "::1" not in names.configured:
        yield Finding(
            "addrconfig", WARNING, f"{LOCALHOST} is {', '.join(names.configured) or 'nowhere'} for programs that ask "
            "with AI_ADDRCONFIG, and not ::1",
            "the C library leaves out a family of which no device has an address, and ::1 does not count; an IPv6 "
            "address on any device would, a link-local one too",
            look=(_in_netns(facts, f"getent ahosts {LOCALHOST}"),),
        )  # fmt: skip


def _strangers(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    for address in names.answer:
        if not ip_address(address).is_loopback:
            lines = [line.number for line in names.lines if _is_stranger(line, address)]
            yield Finding(
                "strangers", BROKEN if address == names.answer[0] else WARNING, f"{LOCALHOST} is also {address}",
                "programs try all the addresses that they find, in order, and this one leads elsewhere",
                tuple(f"sed -i '{number}s/[[:space:]]{LOCALHOST}\\b//' {shlex.quote(names.hosts)}" for number in lines),
                () if lines else (f"getent ahosts {LOCALHOST}",),
            )  # fmt: skip


def _is_stranger(line: HostsLine, address: str) -> bool:
    return not line.is_commented and LOCALHOST in line.names and ip_address(line.address) == ip_address(address)


CHECKS: Final = (
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
        _NO_LOOPBACK6,
    ),
    Check(
        "packets4", "127.0.0.1 can be bound and reached, over TCP and UDP", _blocked("packets4", "127.0.0.1"),
        ("lo", "127.0.0.1", "packets6"),
    ),
    Check("bindv6only", "what is bound to :: is reached at 127.0.0.1 too", _bindv6only, ("ipv6",)),
    Check("default", "devices that come have IPv6", _default_disabled, ("ipv6",)),
    Check("nsswitch", "the hosts file is read", _nsswitch),
    Check("hosts", "the hosts file has ::1 for localhost", _hosts, ("nsswitch",)),
    Check("getaddrinfo", "localhost is found at ::1", _getaddrinfo, ("nsswitch", "hosts")),
    Check("strangers", "localhost leads nowhere else", _strangers),
    Check(
        "addrconfig", "localhost is found at ::1 with AI_ADDRCONFIG too", _addrconfig, (*_NO_LOOPBACK6, *_NOT_FOUND)
    ),
    Check("precedence", "localhost is ::1 first", _first, (*_NO_LOOPBACK6, *_NOT_FOUND, "strangers")),
)  # fmt: skip
"""All that is looked at, in the order in which it has to be mended."""

_ABOUT_NAMES: Final = frozenset({"nsswitch", "hosts", "getaddrinfo", "strangers", "addrconfig", "precedence"})
