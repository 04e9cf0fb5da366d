"""net/ipv4/fib_trie.c and the tables of fib_frontend.c: IPv4 routes kept, found, added and deleted.

A table is no trie here: routes are found by their prefix, from the longest length to the shortest, which is what a
look-up in the kernel's trie comes to.  What makes a route a good one is not known here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from errno import EACCES, EAGAIN, EEXIST, EHOSTUNREACH, EINVAL, ENOBUFS, ENOENT, ESRCH
from sys import byteorder
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.metrics import Metric
from addrsvc.model.rtnl import ASSERT_RTNL, rtnl_notify
from addrsvc.model.structs import FibAlias, Net, NetDevice
from addrsvc.netlink.messages import RouteMsg
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_COMPAT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTN_BLACKHOLE,
    RTN_BROADCAST,
    RTN_MULTICAST,
    RTN_NAT,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTN_XRESOLVE,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    RTNH_F_OFFLOAD,
    RTNH_F_ONLINK,
    RTNH_F_TRAP,
)

__all__ = [
    "fib_dump_info", "fib_empty_table", "FIB_ERRORS", "fib_flush", "fib_get_table", "fib_info_key", "fib_new_table",
    "fib_table_delete", "fib_table_dump", "fib_table_insert", "fib_table_lookup", "fib_tables", "fib_unmerge",
    "FibConfig", "FibResult", "find_routes", "Flowi4", "inet_addr_type", "ip_ignore_linkdown", "ipv4_is_lbcast",
    "ipv4_is_multicast", "ipv4_is_zeronet", "masked", "rt_cache_flush", "via6",
]  # fmt: skip

# Kernel: net/ipv4/fib_semantics.c, fib_props: how routes of a type refuse.
FIB_ERRORS: Final = {
    RTN_BLACKHOLE: EINVAL,
    RTN_UNREACHABLE: EHOSTUNREACH,
    RTN_PROHIBIT: EACCES,
    RTN_THROW: EAGAIN,
    RTN_NAT: EINVAL,
    RTN_XRESOLVE: EINVAL,
}
FIB_LOOKUP_IGNORE_LINKSTATE: Final = 2
FIB_MAX_AUTO_TABLE_ID: Final = 4096
_HASH_SIZE: Final = 256
_LENGTH: Final = 32
_ANY: Final = bytes(4)
_LEGACY_TOS_MASK: Final = 0x1C
_DSCP_MASK: Final = 0xFC
_STATE_FLAGS: Final = RTNH_F_DEAD | RTNH_F_LINKDOWN | RTNH_F_OFFLOAD | RTNH_F_TRAP
_SHOWN_NH_FLAGS: Final = RTNH_F_ONLINK | RTNH_F_OFFLOAD | RTNH_F_TRAP


@dataclass(slots=True)
class Flowi4:
    """struct flowi4: what a look-up is for."""

    daddr: bytes = _ANY
    saddr: bytes = _ANY
    oif: int = 0
    iif: int = 0
    mark: int = 0
    tos: int = 0
    scope: int = RT_SCOPE_UNIVERSE
    proto: int = 0
    uid: int = 0
    sport: int = 0
    dport: int = 0
    tun_id: bytes = bytes(8)


@dataclass(slots=True)
class FibResult:
    """struct fib_result: the route that was found, and where."""

    fa: FibAlias
    table: int
    """The table that was asked, which has the routes of local too while the two are one."""
    tclassid: int = 0
    """The realm that a rule gives."""

    @property
    def type(self) -> int:
        """RTN_*."""
        return self.fa.type

    @property
    def prefixlen(self) -> int:
        """How much of the address decided."""
        return self.fa.dst_len


@dataclass(slots=True)
class FibConfig:
    """struct fib_config: a route that is to be added or deleted."""

    table: int
    dst: bytes
    dst_len: int
    type: int
    scope: int
    protocol: int = 0
    tos: int = 0
    flags: int = 0
    priority: int = 0
    prefsrc: bytes = _ANY
    oif: int = 0
    gw: bytes = b""
    gw_family: int = 0
    flow: int = 0
    mx: tuple[Metric, ...] | None = None
    nlflags: int = 0
    multipath: bool = False
    encap: bool = False
    encap_type: int = 0
    nh_id: int = 0


# --- addresses --------------------------------------------------------------------------------------------------------


def masked(addr: bytes, plen: int) -> bytes:
    """The first `plen` bits of an address.

    Kernel: include/linux/inetdevice.h, inet_make_mask().
    """
    keep = 0xFFFFFFFF << (_LENGTH - plen) & 0xFFFFFFFF
    return (int.from_bytes(addr) & keep).to_bytes(4)


def ipv4_is_zeronet(addr: bytes) -> bool:
    """Whether an address is 0.0.0.0.

    Kernel: include/linux/in.h, ipv4_is_zeronet().
    """
    return not any(addr)


def ipv4_is_multicast(addr: bytes) -> bool:
    """Whether an address is a group's.

    Kernel: include/linux/in.h, ipv4_is_multicast().
    """
    return addr[0] & 0xF0 == 0xE0


def ipv4_is_lbcast(addr: bytes) -> bool:
    """Whether an address is the limited broadcast.

    Kernel: include/linux/in.h, ipv4_is_lbcast().
    """
    return addr == b"\xff\xff\xff\xff"


# --- tables -----------------------------------------------------------------------------------------------------------


def fib_get_table(net: Net, table: int) -> int | None:
    """The table of this number, main for 0, or None if there is none.

    Kernel: net/ipv4/fib_frontend.c, fib_get_table().
    """
    table = table or RT_TABLE_MAIN
    return table if table in net.ipv4.fib_tables else None


def fib_new_table(net: Net, table: int) -> int:
    """The table of this number, made if it is not there; with local comes main, as long as the two are one.

    Kernel: net/ipv4/fib_frontend.c, fib_new_table().
    """
    table = table or RT_TABLE_MAIN
    if table not in net.ipv4.fib_tables:
        if table == RT_TABLE_LOCAL and not net.ipv4.fib_has_custom_rules:
            fib_new_table(net, RT_TABLE_MAIN)
        net.ipv4.fib_tables[table] = None
    return table


def fib_empty_table(net: Net) -> int:
    """A new table, with the lowest number that is free.

    Kernel: net/ipv4/fib_rules.c, fib_empty_table().

    Raises:
        KernelError: ENOBUFS, all are taken.
    """
    for table in range(1, FIB_MAX_AUTO_TABLE_ID + 1):
        if table not in net.ipv4.fib_tables:
            return fib_new_table(net, table)
    raise KernelError(ENOBUFS)


def fib_unmerge(net: Net) -> None:
    """Make local and main two tables, for good.

    Kernel: net/ipv4/fib_frontend.c, fib_unmerge().
    """
    net.ipv4.fib_has_custom_rules = True
    rt_cache_flush(net)


def fib_tables(net: Net) -> list[int]:
    """The tables in the order in which they are walked: by hash, newest first where two share it.

    Kernel: net/ipv4/fib_frontend.c, inet_dump_fib().
    """
    newest_first = list(net.ipv4.fib_tables)[::-1]
    return sorted(newest_first, key=_hash)


def _hash(table: int) -> int:
    return table % _HASH_SIZE


def rt_cache_flush(net: Net) -> None:
    """Forget the results of look-ups.

    Kernel: net/ipv4/route.c, rt_cache_flush().
    """
    net.ipv4.rt_cache.clear()


# --- looking up -------------------------------------------------------------------------------------------------------


def fib_table_lookup(net: Net, table: int, flow: Flowi4, *, ignore_linkstate: bool = False) -> FibResult:
    """The longest match for a destination.

    Kernel: net/ipv4/fib_trie.c, fib_table_lookup().

    Raises:
        KernelError: EAGAIN, there is none; the errno of a route that refuses.
    """
    tables = (RT_TABLE_LOCAL, RT_TABLE_MAIN) if _is_merged(net, table) else (table,)
    for plen in range(_LENGTH, -1, -1):
        prefix = masked(flow.daddr, plen)
        for each in tables:
            for fa in net.ipv4.fib.get((each, prefix, plen), ()):
                if _matches(fa, flow, ignore_linkstate=ignore_linkstate):
                    return FibResult(fa, table)
    raise KernelError(EAGAIN)


def _is_merged(net: Net, table: int) -> bool:
    return not net.ipv4.fib_has_custom_rules and table in (RT_TABLE_LOCAL, RT_TABLE_MAIN)


def _matches(fa: FibAlias, flow: Flowi4, *, ignore_linkstate: bool) -> bool:
    if fa.tos and fa.tos != flow.tos & _DSCP_MASK & _LEGACY_TOS_MASK:
        return False
    if fa.scope < flow.scope:
        return False
    fa.accessed = True
    if fa.type in FIB_ERRORS:
        raise KernelError(FIB_ERRORS[fa.type])
    return fib_lookup_good_nhc(fa, flow, ignore_linkstate=ignore_linkstate)


def fib_lookup_good_nhc(fa: FibAlias, flow: Flowi4, *, ignore_linkstate: bool = False) -> bool:
    """Whether a route's device is fit for a flow.

    Kernel: net/ipv4/fib_trie.c, fib_lookup_good_nhc().
    """
    if fa.dev is None or fa.nh_flags & RTNH_F_DEAD:
        return False
    if not ignore_linkstate and fa.nh_flags & RTNH_F_LINKDOWN and ip_ignore_linkdown(fa.dev):
        return False
    return flow.oif in (0, fa.dev.ifindex)


def ip_ignore_linkdown(dev: NetDevice) -> bool:
    """Whether routes over a device without link are passed over.

    Kernel: include/linux/inetdevice.h, ip_ignore_linkdown(), IN_DEV_IGNORE_ROUTES_WITH_LINKDOWN.
    """
    everywhere = dev.net.ipv4.devconf_all["ignore_routes_with_linkdown"]
    return dev.ip_ptr is not None and bool(everywhere or dev.ip_ptr.cnf["ignore_routes_with_linkdown"])


def inet_addr_type(net: Net, addr: bytes, table: int = RT_TABLE_LOCAL, dev: NetDevice | None = None) -> int:
    """What an address is to this host: RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST, or RTN_UNICAST if nothing special.

    Kernel: net/ipv4/fib_frontend.c, __inet_dev_addr_type().
    """
    if ipv4_is_zeronet(addr) or ipv4_is_lbcast(addr):
        return RTN_BROADCAST
    if ipv4_is_multicast(addr):
        return RTN_MULTICAST
    if fib_get_table(net, table) is None:
        return RTN_BROADCAST
    try:
        found = fib_table_lookup(net, table, Flowi4(daddr=addr))
    except KernelError:
        return RTN_UNICAST
    return found.type if dev is None or found.fa.dev is dev else RTN_UNICAST


# --- changing ---------------------------------------------------------------------------------------------------------


def fib_info_key(fa: FibAlias) -> object:
    """What makes two routes share what is known of where they go: struct fib_info.

    Kernel: net/ipv4/fib_semantics.c, fib_find_info(), nh_comp().
    """
    return (
        fa.type, fa.protocol, fa.scope, fa.prefsrc, fa.priority, fa.table, tuple(sorted(fa.metrics.items())), fa.dev,
        fa.gw, fa.nh_scope, fa.tclassid, fa.fib_flags & ~_STATE_FLAGS, fa.nh_flags & ~_STATE_FLAGS,
    )  # fmt: skip


def fib_table_insert(net: Net, new: FibAlias, nlflags: int, *, asked: bool = False) -> None:
    """Put a route into its table, among others of its prefix by falling TOS and rising priority, and say so.

    Kernel: net/ipv4/fib_trie.c, fib_table_insert().

    Raises:
        KernelError: EEXIST, one of this prefix, TOS and priority is there, and NLM_F_EXCL, or the very same; ENOENT,
            there is none, and no NLM_F_CREATE.
    """
    key = (new.table, new.dst, new.dst_len)
    aliases = net.ipv4.fib.get(key, [])
    at = next((i for i, fa in enumerate(aliases) if (-fa.tos, fa.priority) >= (-new.tos, new.priority)), len(aliases))
    end = at
    while end < len(aliases) and (aliases[end].tos, aliases[end].priority) == (new.tos, new.priority):
        end += 1
    rivals = aliases[at:end]
    if rivals and nlflags & NLM_F_EXCL:
        raise KernelError(EEXIST)
    match = next((fa for fa in rivals if fib_info_key(fa) == fib_info_key(new)), None)
    if rivals and nlflags & NLM_F_REPLACE:
        _replace(net, aliases, at, new, match, asked=asked)
        return
    if match is not None:
        raise KernelError(EEXIST)
    if not nlflags & NLM_F_CREATE:
        raise KernelError(ENOENT)
    appends = bool(rivals) and bool(nlflags & NLM_F_APPEND)
    aliases.insert(end if appends else at, new)
    net.ipv4.fib[key] = aliases
    rt_cache_flush(net)
    told = NLM_F_CREATE | (NLM_F_APPEND if appends else 0) | (0 if rivals else NLM_F_EXCL)
    _rtmsg_fib(net, RTM_NEWROUTE, new, told, asked=asked)


def _replace(net: Net, aliases: list[FibAlias], at: int, new: FibAlias, match: FibAlias | None, *, asked: bool) -> None:
    if match is not None:
        if match is aliases[at]:
            return
        raise KernelError(EEXIST)
    accessed, aliases[at] = aliases[at].accessed, new
    if accessed:
        rt_cache_flush(net)
    _rtmsg_fib(net, RTM_NEWROUTE, new, NLM_F_REPLACE, asked=asked)


def fib_table_delete(net: Net, fa: FibAlias, *, asked: bool = False) -> None:
    """Take a route out of its table and say so.

    Kernel: net/ipv4/fib_trie.c, fib_table_delete(), what follows the search.
    """
    _rtmsg_fib(net, RTM_DELROUTE, fa, 0, asked=asked)
    _forget(net, fa)


def _forget(net: Net, fa: FibAlias) -> None:
    key = (fa.table, fa.dst, fa.dst_len)
    net.ipv4.fib[key].remove(fa)
    if not net.ipv4.fib[key]:
        del net.ipv4.fib[key]
    if fa.accessed:
        rt_cache_flush(net)


def fib_flush(net: Net, dead: list[FibAlias], *, silent: bool = True) -> None:
    """Forget routes that are of no use any more, those of the highest key first.

    Kernel: net/ipv4/fib_frontend.c, fib_flush(); net/ipv4/fib_trie.c, fib_table_flush().
    """
    for table in fib_tables(net):
        for fa in _walk(net, table, descending=True):
            if fa in dead:
                if not silent:
                    _rtmsg_fib(net, RTM_DELROUTE, fa, 0)
                _forget(net, fa)


def fib_table_dump(net: Net, table: int) -> list[FibAlias]:
    """The routes of a table in the order of its keys, longer prefixes of a key first.

    Kernel: net/ipv4/fib_trie.c, fib_table_dump(), fn_trie_dump_leaf().
    """
    return _walk(net, table)


def _walk(net: Net, table: int, *, descending: bool = False) -> list[FibAlias]:
    sign = -1 if descending else 1
    keys = [(sign * int.from_bytes(dst), -plen, dst) for each, dst, plen in net.ipv4.fib if each == table]
    return [fa for _, plen, dst in sorted(keys) for fa in net.ipv4.fib[table, dst, -plen]]


def find_routes(net: Net, table: int, dst: bytes, plen: int, tos: int) -> Iterator[FibAlias]:
    """The routes of one prefix and TOS, in order.

    Kernel: net/ipv4/fib_trie.c, fib_find_alias(), as fib_table_delete() uses it.

    Raises:
        KernelError: ESRCH, no route has this prefix.
    """
    aliases = net.ipv4.fib.get((table, dst, plen))
    if aliases is None:
        raise KernelError(ESRCH)
    return (fa for fa in aliases if fa.tos == tos)


# --- routes as messages -----------------------------------------------------------------------------------------------


def _rtmsg_fib(net: Net, nlmsg_type: int, fa: FibAlias, nlmsg_flags: int, *, asked: bool = False) -> None:
    """Kernel: net/ipv4/fib_semantics.c, rtmsg_fib()."""
    ASSERT_RTNL(net)
    rtnl_notify(net, fib_dump_info(fa, nlmsg_type, nlmsg_flags), asked=asked)


def fib_dump_info(
    fa: FibAlias, nlmsg_type: int = RTM_NEWROUTE, nlmsg_flags: int = 0, table: int | None = None
) -> RouteMsg:
    """A route as a message; `table` if it is to be told as another's.

    Kernel: net/ipv4/fib_semantics.c, fib_dump_info(), fib_nexthop_info().
    """
    table = fa.table if table is None else table
    return RouteMsg(
        nlmsg_type=nlmsg_type,
        nlmsg_flags=nlmsg_flags,
        rtm_family=AF_INET,
        rtm_dst_len=fa.dst_len,
        rtm_tos=fa.tos,
        rtm_table=table if table < 256 else RT_TABLE_COMPAT,
        rtm_protocol=fa.protocol,
        rtm_scope=fa.scope,
        rtm_type=fa.type,
        rtm_flags=nexthop_flags(fa),
        table=table,
        dst=fa.dst if fa.dst_len else None,
        priority=fa.priority or None,
        metrics=tuple(sorted(fa.metrics.items())) or None,
        prefsrc=fa.prefsrc if any(fa.prefsrc) else None,
        gateway=fa.gw if len(fa.gw) == 4 else None,
        via=via6(fa.gw) if len(fa.gw) == 16 else None,
        oif=fa.dev.ifindex if fa.dev is not None else None,
        flow=fa.tclassid or None,
    )


def via6(gw: bytes) -> bytes:
    """An IPv6 gateway as an IPv4 route tells it: struct rtvia.

    Kernel: net/ipv4/fib_semantics.c, fib_nexthop_info().
    """
    return AF_INET6.to_bytes(2, byteorder) + gw


def nexthop_flags(fa: FibAlias) -> int:
    """RTNH_F_* as they are told.

    Kernel: net/ipv4/fib_semantics.c, fib_nexthop_info().
    """
    flags = fa.nh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN | _SHOWN_NH_FLAGS)
    if flags & RTNH_F_LINKDOWN and fa.dev is not None and ip_ignore_linkdown(fa.dev):
        flags |= RTNH_F_DEAD
    return flags
