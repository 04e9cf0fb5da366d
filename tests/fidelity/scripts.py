"""Random scripts of steps: requests well- and ill-formed, and all that is done to sockets between them.

A script depends on its seed alone, not on what the kernels answer.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Final, TypeAlias

from tests.fidelity.left_out import starts_traffic, why_not
from tests.fidelity.mutations import mutated
from tests.fidelity.requests import Repertoire
from tests.fidelity.requests.links import up
from tests.fidelity.steps import (
    ASKER,
    ELSEWHERE,
    LAGGARD,
    OUTSIDER,
    SECOND,
    SOL_NETLINK,
    SOL_SOCKET,
    Bind,
    Connect,
    Getsockname,
    Getsockopt,
    Op,
    Read,
    Reopen,
    Send,
    Setsockopt,
    Sysctl,
)
from tests.fidelity.wire import ACK, REQUEST, Message, datagram, nest, nla, text, u8, u32

__all__ = ["CHECK_EVERY", "script"]

CHECK_EVERY: Final = 40
"""Steps after which everything is dumped."""

Maker: TypeAlias = Callable[[Random, Repertoire], tuple[str, list[Op]]]

LISTEN_ALL_NSID, EXT_ACK, CAP_ACK, STRICT = 8, 11, 10, 12
MSG_PEEK, MSG_TRUNC = 2, 0x20


# --- requests ---------------------------------------------------------------------------------------------------------


def _asker(rng: Random) -> int:
    return rng.choices((ASKER, SECOND, LAGGARD, OUTSIDER, ELSEWHERE), (78, 12, 2, 6, 4))[0]


def _ask(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    name, message = asks.request(rng)
    return name, [Send(bytes(message), _asker(rng))]


def _ask_wrongly(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    _, message = asks.request(rng)
    name, raw = mutated(rng, message)
    if rng.random() < 0.1:
        _, raw = mutated(rng, message.but(family_header=raw[16:], attrs=()))
    return f"ill-formed: {name}", [Send(raw, _asker(rng))]


def _ask_several(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    parts: list[Message] = [asks.request(rng)[1] for _ in range(rng.choice((2, 2, 3, 5)))]
    if rng.random() < 0.15:
        at = rng.randrange(len(parts))
        parts[at] = parts[at].but(length=rng.choice((0, 15, 16, 10_000)))
    return "several messages in a datagram", [Send(datagram(parts), _asker(rng))]


def _two_dumps(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    """A second dump, or another request, while one is unfinished; then the rest is read, in small pieces or large."""
    by = rng.choice((ASKER, SECOND))
    ops: list[Op] = [Send(bytes(asks.dump(rng)), by, hold=True)]
    for _ in range(rng.choice((1, 1, 2))):
        message = asks.dump(rng) if rng.random() < 0.5 else asks.request(rng)[1]
        ops.append(Send(bytes(message), by, hold=True))
        ops += _reads(rng, by) if rng.random() < 0.5 else []
    ops.append(Getsockname(by, hold=False))
    return "request while a dump is unfinished", ops


def _reads(rng: Random, by: int) -> list[Op]:
    sizes = (0, 1, 16, 20, 100, 1000, 4096, 8192, 16384, 32768)
    return [
        Read(by, rng.choice(sizes), rng.choice((0, 0, 0, MSG_PEEK, MSG_TRUNC, MSG_PEEK | MSG_TRUNC)))
        for _ in range(rng.choice((1, 2, 3)))
    ]


def _small_reads(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    by = rng.choice((ASKER, SECOND))
    message = asks.dump(rng) if rng.random() < 0.6 else asks.request(rng)[1]
    return "small reads", [Send(bytes(message), by, hold=True), *_reads(rng, by), Getsockname(by, hold=False)]


def _many_addresses(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    """More than one datagram holds, so that dumps stop on their way."""
    host = rng.randrange(256)
    if rng.random() < 0.5:
        heads = ((b"\x0a\x40\0\0" + u32(1), b"\xfd" + bytes(13) + u8(host) + u8(last)) for last in range(1, 81))
    else:
        heads = ((b"\x02\x18\0\0" + u32(1), bytes((10, 9, host, last))) for last in range(1, 81))
    flags = REQUEST | rng.choice((0x400, 0x600))
    return "many addresses", [Send(bytes(Message(20, flags, head, (nla(2, addr),)))) for head, addr in heads]


def _many_names(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    """Alternative names, until a link message is larger than a page."""
    names = [nla(53, text(f"{number}{'-' * 120}")) for number in range(rng.choice((5, 20, 30, 60)))]
    head = bytes(4) + u32(1) + bytes(8)
    link = Message(rng.choice((108, 108, 109)), REQUEST | ACK, head, (nest(52, *names),))
    return "many names", [Send(bytes(link))]


def _changed_meanwhile(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    """A dump goes on after something has changed."""
    by = rng.choice((ASKER, SECOND))
    ops: list[Op] = [Send(bytes(asks.dump(rng)), by, hold=True)]
    for _ in range(rng.choice((1, 2, 4))):
        ops += [Read(by, rng.choice((4096, 8192))) for _ in range(rng.choice((0, 1, 1, 2)))]
        ops.append(Send(bytes(asks.request(rng)[1]), rng.choice((ASKER, SECOND)), hold=True))
    return "changes during a dump", [*ops, Getsockname(ASKER, hold=False), Getsockname(SECOND, hold=False)]


# --- sockets ----------------------------------------------------------------------------------------------------------


def _toggle(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    """The options that decide how requests are answered, on and off."""
    option = rng.choice((EXT_ACK, EXT_ACK, EXT_ACK, CAP_ACK, STRICT, STRICT))
    on = rng.random() < (0.75 if option == EXT_ACK else 0.4)
    by = rng.choice((ASKER, ASKER, SECOND, OUTSIDER))
    return "EXT_ACK, CAP_ACK, GET_STRICT_CHK", [Setsockopt(option, int(on).to_bytes(4, "little"), by)]


def _setsockopt(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    option = rng.choice((1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 6, 7, 0, 13, 99))
    value = rng.choice((0, 1, 2, 5, 7, 11, 38, 39, 40, 64, -1, 2**31 - 1))
    raw = value.to_bytes(4, "little", signed=True)[: rng.choice((4, 4, 4, 4, 4, 0, 1, 3))]
    level = rng.choice((SOL_NETLINK,) * 9 + (SOL_SOCKET + 5,))
    return "setsockopt", [Setsockopt(option, raw, rng.choice((SECOND, SECOND, ASKER, OUTSIDER)), level)]


def _getsockopt(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    length = rng.choice((4, 4, 4, 8, 12, 2, 0, 3, -1))
    return "getsockopt", [
        Getsockopt(rng.choice((*range(14), 99)), length, rng.choice((SECOND, ASKER, LAGGARD, OUTSIDER)))
    ]


def _bind(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    by = rng.choice((SECOND, SECOND, OUTSIDER))
    own = {SECOND: 2000, OUTSIDER: 4000}[by]
    pid = rng.choice((own, own, own, 0, 1000, 2001, 7))
    groups = rng.choice((0, 0x11, 0x7FF, 0xFFFFFFFF, 0x100, 0x40405DD, 1 << 29, rng.getrandbits(32)))
    return "bind", [Bind(pid, groups, by), Getsockname(by)]


def _membership(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    by = rng.choice((SECOND, SECOND, SECOND, ASKER, OUTSIDER, LAGGARD))
    option = rng.choice((1, 1, 2))
    group = rng.choice((1, 5, 7, 9, 11, 12, 24, 25, 30, 31, 37, 38, 39, 0, 40, rng.randrange(1, 40)))
    return "membership", [Setsockopt(option, group.to_bytes(4, "little"), by)]


def _reopen(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    ops: list[Op] = [Reopen(SECOND)]
    if rng.random() < 0.7:
        ops.append(Bind(rng.choice((2000, 2000, 0, 2001)), rng.choice((0, 0x7FF)), SECOND))
    return "close and open", [*ops, Getsockname(SECOND)]


def _address(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    """Datagrams to others than the kernel."""
    to = rng.choice((1000, 2000, 2001, 4000, 7, 0, 0))
    groups = rng.choice((0, 0, 1, 0x10, 0x400, 1 << 31))
    _, message = asks.request(rng)
    return "sent to another socket", [Send(bytes(message), rng.choice((ASKER, SECOND, OUTSIDER)), to, groups)]


def _connect(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    by = rng.choice((SECOND, OUTSIDER))
    return "connect", [
        Connect(rng.choice((0, 0, 1000, 7)), rng.choice((0, 0, 1)), by),
        Getsockname(by),
        Connect(0, 0, by),
    ]


def _lag(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    """Let the slow one read a little, or be overrun."""
    kind = rng.random()
    if kind < 0.5:
        return "slow reader", [Read(LAGGARD, rng.choice((65536, 4096, 100))) for _ in range(rng.choice((1, 2, 5)))]
    if kind < 0.7:
        size = rng.choice((0, 1, 2304, 4096, 4097, 8192, 212992, 2**31 - 1))
        return "SO_RCVBUF", [
            Setsockopt(8, size.to_bytes(4, "little"), LAGGARD, SOL_SOCKET),
            Getsockopt(8, 4, LAGGARD, SOL_SOCKET),
        ]
    if kind < 0.77:
        return "SO_MEMINFO", [Getsockopt(55, 36, rng.choice((LAGGARD, SECOND)), SOL_SOCKET)]
    if kind < 0.85:
        return "NO_ENOBUFS, BROADCAST_ERROR", [
            Setsockopt(rng.choice((4, 5)), rng.choice((0, 1)).to_bytes(4, "little"), LAGGARD)
        ]
    return "slow reader catches up", [Getsockname(LAGGARD, hold=False)]


def _overrun(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    """More answers than the sender's own buffer holds."""
    ops: list[Op] = [Setsockopt(8, rng.choice((0, 2304, 4096)).to_bytes(4, "little"), SECOND, SOL_SOCKET)]
    ops += [Send(bytes(asks.request(rng)[1]), SECOND, hold=True) for _ in range(rng.choice((4, 8, 16)))]
    return "ENOBUFS of the sender", [
        *ops,
        Getsockname(SECOND, hold=False),
        Setsockopt(8, (212992).to_bytes(4, "little"), SECOND, SOL_SOCKET),
    ]


# --- sysctls ----------------------------------------------------------------------------------------------------------

_IPV6: Final[Mapping[str, tuple[str, ...]]] = {
    "disable_ipv6": ("0", "0", "0", "0", "0", "0", "1", "2", "-1", "x"),
    "keep_addr_on_down": ("-1", "0", "1", "1"),
    "addr_gen_mode": ("0", "1", "2", "3", "4"),
    "forwarding": ("0", "1"),
    "proxy_ndp": ("0", "1", "2"),
    "ignore_routes_with_linkdown": ("0", "1"),
    "mtu": ("1280", "1500", "65536", "1279", "70000"),
    "accept_ra": ("0", "1", "2"),
    "hop_limit": ("64", "1", "255", "256", "0"),
    "optimistic_dad": ("0", "1"),
    "use_tempaddr": ("0", "-1"),  # temporary addresses are drawn at random
    "accept_dad": ("-1", "0", "1", "2"),
    "force_forwarding": ("0", "1", "2"),
}
_IPV4: Final[Mapping[str, tuple[str, ...]]] = {
    "forwarding": ("0", "1"),
    "rp_filter": ("0", "1", "2"),
    "proxy_arp": ("0", "1"),
    "ignore_routes_with_linkdown": ("0", "1"),
    "bc_forwarding": ("0", "1"),
    "promote_secondaries": ("0", "1"),
    "arp_ignore": ("0", "1"),
}


_VALUES: Final = ("0", "1", "2", "-1", "3", "255", "65536", "x", "", " 1 ", "1 2", "99999999999", "0x10", "010", "1\n")


def _sysctl(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    version, table = rng.choice((("ipv6", _IPV6), ("ipv6", _IPV6), ("ipv6", _IPV6), ("ipv4", _IPV4)))
    leaf = rng.choice(list(table)) if rng.random() < 0.6 else next(iter(table))
    device = rng.choice(("lo", "lo", "lo", "all", "default", "lo0", "ifb0"))
    path = f"net/{version}/conf/{device}/{leaf}"
    ops: list[Op] = [Sysctl(path, rng.choice(table[leaf]))]
    return "sysctl", [*ops, Sysctl(path)] if rng.random() < 0.3 else ops


def _any_sysctl(rng: Random, asks: Repertoire) -> tuple[str, list[Op]]:
    version = rng.choice(list(_LEAVES))
    device = rng.choice(("lo", "lo", "lo", "all", "default", "lo0", "nonesuch"))
    path = f"net/{version}/conf/{device}/{rng.choice(_LEAVES[version])}"
    ops: list[Op] = [Sysctl(path, rng.choice(_VALUES))] if rng.random() < 0.7 else []
    return "sysctl, any", [*ops, Sysctl(path)]


# But for what would bring chance back: router_solicitation_delay, use_tempaddr, stable_secret.
_LEAVES: Final = {
    "ipv6": """
        accept_dad accept_ra accept_ra_defrtr accept_ra_from_local accept_ra_min_hop_limit accept_ra_min_lft
        accept_ra_mtu accept_ra_pinfo accept_ra_rt_info_max_plen accept_ra_rt_info_min_plen accept_ra_rtr_pref
        accept_redirects accept_source_route accept_untracked_na addr_gen_mode autoconf dad_transmits disable_ipv6
        disable_policy drop_unicast_in_l2_multicast drop_unsolicited_na enhanced_dad force_forwarding
        force_mld_version force_tllao forwarding hop_limit ignore_routes_with_linkdown ioam6_enabled ioam6_id
        ioam6_id_wide keep_addr_on_down max_addresses max_desync_factor mc_forwarding
        mldv1_unsolicited_report_interval mldv2_unsolicited_report_interval mtu ndisc_evict_nocarrier ndisc_notify
        ndisc_tclass optimistic_dad proxy_ndp ra_defrtr_metric ra_honor_pio_life ra_honor_pio_pflag regen_max_retry
        regen_min_advance router_probe_interval router_solicitation_interval router_solicitation_max_interval
        router_solicitations rpl_seg_enabled seg6_enabled seg6_require_hmac suppress_frag_ndisc temp_prefered_lft
        temp_valid_lft use_oif_addrs_only use_optimistic nonesuch
    """.split(),
    "ipv4": """
        accept_local accept_redirects accept_source_route arp_accept arp_announce arp_evict_nocarrier arp_filter
        arp_ignore arp_notify bc_forwarding bootp_relay disable_policy disable_xfrm drop_gratuitous_arp
        drop_unicast_in_l2_multicast force_igmp_version forwarding igmpv2_unsolicited_report_interval
        igmpv3_unsolicited_report_interval ignore_routes_with_linkdown log_martians mc_forwarding medium_id
        promote_secondaries proxy_arp proxy_arp_pvlan route_localnet rp_filter secure_redirects send_redirects
        shared_media src_valid_mark tag nonesuch
    """.split(),
}


# --- scripts ----------------------------------------------------------------------------------------------------------

# One row per kind of step.
STEPS: Final[Mapping[str, tuple[float, Maker]]] = {
    "ask": (48, _ask),
    "ask wrongly": (28, _ask_wrongly),
    "ask several": (4, _ask_several),
    "two dumps": (1.5, _two_dumps),
    "many addresses": (0.08, _many_addresses),
    "many names": (0.15, _many_names),
    "changes during a dump": (1.5, _changed_meanwhile),
    "small reads": (1.5, _small_reads),
    "toggle": (4, _toggle),
    "setsockopt": (1.5, _setsockopt),
    "getsockopt": (1.5, _getsockopt),
    "bind": (0.7, _bind),
    "membership": (1.2, _membership),
    "reopen": (0.4, _reopen),
    "address": (0.8, _address),
    "connect": (0.3, _connect),
    "lag": (1.5, _lag),
    "overrun": (0.4, _overrun),
    "sysctl": (3, _sysctl),
    "sysctl, any": (1.5, _any_sysctl),
}

PREAMBLE: Final[tuple[Op, ...]] = (
    # What NOARP sets off comes at once and in order then, instead of at random within a second.
    Sysctl("net/ipv6/conf/lo/router_solicitation_delay", "0"),
    Sysctl("net/ipv6/conf/default/router_solicitation_delay", "0"),
    # DAD of a device that has neighbours ends at once, instead of a second or so later.
    Sysctl("net/ipv6/conf/default/dad_transmits", "0"),
    Sysctl("net/ipv6/conf/lo/router_solicitation_delay", "0", ELSEWHERE),
    Sysctl("net/ipv6/conf/default/router_solicitation_delay", "0", ELSEWHERE),
    Sysctl("net/ipv6/conf/default/dad_transmits", "0", ELSEWHERE),
)


def script(seed: str, length: int, counts: Counter[str], only: str = "") -> Iterator[Op]:
    """About `length` steps, the first of them those that every script begins with.

    `counts` learns what the steps were, and what was left out.  With `only`, requests are of the kinds that match.
    """
    rng, asks = Random(seed), Repertoire(only)
    start = [*PREAMBLE] if only else _start(rng)
    counts["start"] += 1
    yield from start
    in_traffic, done = any(map(starts_traffic, start)), len(start)
    for name, ops in _turns(rng, asks):
        left_out = next((why for op in ops if (why := why_not(op, in_traffic=in_traffic)) is not None), None)
        counts[f"left out: {left_out}" if left_out else name] += 1
        if left_out is None:
            yield from ops
            done += len(ops)
            in_traffic = in_traffic or any(map(starts_traffic, ops))
        if done >= length:
            return


def _turns(rng: Random, asks: Repertoire) -> Iterator[tuple[str, list[Op]]]:
    """What is done in one go, without end; now and then that is a look at everything."""
    names, weights = list(STEPS), [weight for weight, _ in STEPS.values()]
    for number in itertools.count(1):
        yield STEPS[rng.choices(names, weights)[0]][1](rng, asks)
        if number % CHECK_EVERY == 0:
            yield from _everything(asks)


def _everything(asks: Repertoire) -> Iterator[tuple[str, list[Op]]]:
    """All that the namespace holds, and much of what the other one does."""
    for message in asks.dumps:
        yield "everything dumped", [Send(bytes(message))]
    for message in asks.dumps[::3]:
        yield "everything dumped", [Send(bytes(message), ELSEWHERE)]


def _start(rng: Random) -> list[Op]:
    start: list[Op] = [*PREAMBLE]
    if rng.random() < 0.8:
        start.append(Setsockopt(EXT_ACK, b"\1\0\0\0"))
    if rng.random() < 0.3:
        start.append(Setsockopt(STRICT, b"\1\0\0\0"))
    if rng.random() < 0.8:
        start.append(Send(bytes(up(rng))))
    if rng.random() < 0.3:
        start += [Setsockopt(LISTEN_ALL_NSID, b"\1\0\0\0", SECOND), Bind(2000, 0x7FB, SECOND)]
    return start
