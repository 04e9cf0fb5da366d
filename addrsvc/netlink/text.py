"""rtnetlink messages for people and for scripts, in the words of ip(8).

`to_json` turns a message into the dict that ``ip -j`` prints for such a thing; everything else here turns such dicts
into text, so what was said can be printed wherever the dict was carried to.  Where ip(8) has no words for a message
(multicast and anycast addresses, the IPv6 half of a link, a sysctl) the words are ours.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, NetconfMsg, RouteMsg, Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IF_OPER_NAMES,
    IF_READY,
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_SECONDARY,
    IFA_F_STABLE_PRIVACY,
    IFA_F_TENTATIVE,
    IFAPROT_NAMES,
    IFF_ALLMULTI,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_MULTICAST,
    IFF_NAMES,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    INFINITY_LIFE_TIME,
    NETCONFA_IFINDEX_ALL,
    NETCONFA_IFINDEX_DEFAULT,
    NLM_F_REPLACE,
    RT_SCOPE_NAMES,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RT_TABLE_NAMES,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTN_NAMES,
    RTN_UNICAST,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    RTPROT_NAMES,
    Arphrd,
    Rtm,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "ADDR_GEN_MODES", "addr_show", "addr_show_json", "command_line", "inet_ntop", "Json", "json_line", "line",
    "LINK_MODES", "link_show", "link_show_json", "lladdr", "names_of", "to_json",
]  # fmt: skip

Json: TypeAlias = dict[str, object]
"""One message as ``ip -j`` would say it: keys in the order of the text."""

_FAMILIES: Final = {AF_INET: "inet", AF_INET6: "inet6"}
_LINK_TYPES: Final[Mapping[int, str]] = {
    Arphrd.ARPHRD_LOOPBACK: "loopback",
    Arphrd.ARPHRD_ETHER: "ether",
    Arphrd.ARPHRD_NONE: "none",
}
LINK_MODES: Final = ("DEFAULT", "DORMANT")
ADDR_GEN_MODES: Final = ("eui64", "none", "stable_secret", "random")
_PREFERENCES: Final = {0: "medium", 1: "high", 3: "low"}
_ADDR_FLAGS: Final = {
    IFA_F_NODAD: "nodad",
    IFA_F_OPTIMISTIC: "optimistic",
    IFA_F_DADFAILED: "dadfailed",
    IFA_F_HOMEADDRESS: "home",
    IFA_F_DEPRECATED: "deprecated",
    IFA_F_TENTATIVE: "tentative",
    IFA_F_PERMANENT: "dynamic",
    IFA_F_MANAGETEMPADDR: "mngtmpaddr",
    IFA_F_NOPREFIXROUTE: "noprefixroute",
    IFA_F_MCAUTOJOIN: "autojoin",
    IFA_F_STABLE_PRIVACY: "stable-privacy",
}
_NETCONF: Final = (
    "forwarding", "rp_filter", "mc_forwarding", "proxy_neigh", "ignore_routes_with_linkdown", "bc_forwarding",
)  # fmt: skip


def to_json(msg: Message, names: Mapping[int, str] | None = None) -> Json:
    """The message as a dict of plain values, keys and spellings as ``ip -j`` has them.

    `names` gives device names by ifindex; a device without one is spelled ``if7``, as ip(8) does.  Two keys are ours:
    `message` is the message's name (``RTM_NEWADDR``), and `deleted` is true for the announcement of an end.
    """
    names = names or {}
    match msg:
        case LinkMsg():
            return _named(msg.nlmsg_type) | _link(msg)
        case AddrMsg():
            where = {"ifindex": msg.ifa_index, "dev": _dev(names, msg.ifa_index)}
            return _named(msg.nlmsg_type) | where | _addr(msg)
        case RouteMsg():
            return _named(msg.nlmsg_type) | _route(msg, names)
        case NetconfMsg():
            return _named(msg.nlmsg_type) | _netconf(msg, names)
        case Sysctl():
            return {"message": "sysctl", "name": msg.name, "value": msg.value}
        case _:
            return _named(msg.nlmsg_type) | _fields(msg)


def line(msg: Message, names: Mapping[int, str] | None = None) -> str:
    """The message as one line, the words of ``ip monitor``; a lifetime is told only where there is an end to it."""
    return json_line(to_json(msg, names))


def json_line(said: Json) -> str:
    """What `to_json` made, as one line."""
    deleted = "Deleted " if said.get("deleted") else ""
    return deleted + _line_of(said)


def names_of(dump: Iterable[Message]) -> dict[int, str]:
    """The device names of a dump, by ifindex."""
    return {m.ifi_index: m.ifname for m in dump if isinstance(m, LinkMsg) and m.ifname is not None}


def link_show_json(dump: Iterable[Message], *, details: bool = False) -> list[Json]:
    """The devices of a dump as ``ip -j link show`` prints them; `details` as with ``-d``."""
    return [_link(msg, details=details) for msg in dump if isinstance(msg, LinkMsg)]


def addr_show_json(dump: Sequence[Message], *, details: bool = False) -> list[Json]:
    """The devices of a dump with their addresses, as ``ip -j addr show`` prints them."""
    links = link_show_json(dump, details=details)
    hidden = _ONLY_LINK if details else (*_ONLY_LINK, "ifalias")
    return [_without(link, hidden) | {"addr_info": _addr_info(dump, link["ifindex"])} for link in links]


def link_show(links: Iterable[Json]) -> str:
    """What `link_show_json` made, as the text of ``ip link show``."""
    return "".join(f"{row}\n" for link in links for row in _link_rows(link))


def addr_show(links: Iterable[Json]) -> str:
    """What `addr_show_json` made, as the text of ``ip addr show``."""
    return "".join(f"{row}\n" for link in links for row in (*_link_rows(link), *_addr_rows(link)))


def inet_ntop(packed: bytes) -> str:
    """Four or sixteen bytes as text, the shortest form (RFC 5952), as the C library writes it."""
    if len(packed) == 4:
        return ".".join(map(str, packed))
    words = [int.from_bytes(packed[i : i + 2]) for i in range(0, 16, 2)]
    start, length = _longest_zeros(words)
    if start == 0 and (length == 6 or (length == 5 and words[5] == 0xFFFF)):
        return "::" + ("ffff:" if length == 5 else "") + inet_ntop(packed[12:])
    text = [f"{word:x}" for word in words]
    if length < 2:
        return ":".join(text)
    return ":".join(text[:start]) + "::" + ":".join(text[start + length :])


def lladdr(packed: bytes) -> str:
    """A hardware address, ``00:00:5e:00:53:01``."""
    return packed.hex(":")


def _longest_zeros(words: Sequence[int]) -> tuple[int, int]:
    """Where the first of the longest runs of zeros begins, and how long it is."""
    best = (0, 0)
    start = 0
    for here, word in enumerate((*words, 1)):
        if word:
            best = max(best, (start, here - start), key=lambda run: run[1])
            start = here + 1
    return best


# --- messages to dicts ----------------------------------------------------------------------------------------


def _named(nlmsg_type: int) -> Json:
    name = Rtm(nlmsg_type).name
    return {"message": name, "deleted": True} if name.startswith("RTM_DEL") else {"message": name}


def _given(**values: object) -> Json:
    return {key: value for key, value in values.items() if value is not None}


def _without(said: Json, keys: Sequence[str]) -> Json:
    return {key: value for key, value in said.items() if key not in keys}


def _dev(names: Mapping[int, str], ifindex: int) -> str:
    return names.get(ifindex, f"if{ifindex}")


def _pick(names: Sequence[str] | Mapping[int, str], number: int | None) -> str | None:
    if number is None:
        return None
    if isinstance(names, Mapping):
        return names.get(number, str(number))
    return names[number] if number < len(names) else f"{number:#x}"


_ONLY_LINK: Final = ("linkmode", "inet6_addr_gen_mode")


def _link(msg: LinkMsg, *, details: bool = False) -> Json:
    basic = _given(
        family=_FAMILIES.get(msg.ifi_family),
        ifindex=msg.ifi_index,
        ifname=msg.ifname or f"if{msg.ifi_index}",
        flags=_link_flags(msg.ifi_flags),
        mtu=msg.mtu,
        qdisc=msg.qdisc,
        operstate=_pick(IF_OPER_NAMES, msg.operstate),
        linkmode=_pick(LINK_MODES, msg.linkmode),
        group=_pick({0: "default"}, msg.group),
        txqlen=msg.txqlen,
        link_type=_pick(_LINK_TYPES, msg.ifi_type),
        address=msg.address and lladdr(msg.address),
        broadcast=msg.broadcast and lladdr(msg.broadcast),
    )
    return basic | (_link_details(msg) if details else {}) | _given(ifalias=msg.ifalias) | _inet6(msg)


def _link_flags(flags: int) -> list[str]:
    no_carrier = ["NO-CARRIER"] if flags & IFF_UP and not flags & IFF_RUNNING else []
    return no_carrier + [name for bit, name in IFF_NAMES.items() if flags & bit]


def _link_details(msg: LinkMsg) -> Json:
    return _given(
        promiscuity=msg.promiscuity,
        allmulti=msg.allmulti,
        min_mtu=msg.min_mtu,
        max_mtu=msg.max_mtu,
        inet6_addr_gen_mode=msg.inet6 and _pick(ADDR_GEN_MODES, msg.inet6.addr_gen_mode),
        num_tx_queues=msg.num_tx_queues,
        num_rx_queues=msg.num_rx_queues,
        gso_max_size=msg.gso_max_size,
        gso_max_segs=msg.gso_max_segs,
        tso_max_size=msg.tso_max_size,
        tso_max_segs=msg.tso_max_segs,
        gro_max_size=msg.gro_max_size,
    )


def _inet6(msg: LinkMsg) -> Json:
    """Ours: the IPv6 half of a link, of which ip(8) says nothing, in the message that is about nothing else."""
    if msg.ifi_family != AF_INET6 or msg.inet6 is None:
        return {}
    ready = bool((msg.inet6.flags or 0) & IF_READY)
    return {"ready": ready} | _given(disable_ipv6=msg.inet6.disable_ipv6, mtu6=msg.inet6.mtu6)


def _addr(msg: AddrMsg) -> Json:
    life = msg.cacheinfo
    return _given(
        family=_FAMILIES.get(msg.ifa_family, str(msg.ifa_family)),
        **_local_and_peer(msg),
        prefixlen=None if msg.multicast or msg.anycast else msg.ifa_prefixlen,
        metric=msg.rt_priority,
        broadcast=msg.broadcast and inet_ntop(msg.broadcast),
        anycast=msg.anycast and inet_ntop(msg.anycast),
        multicast=msg.multicast and inet_ntop(msg.multicast),
        scope=_pick(RT_SCOPE_NAMES, msg.ifa_scope),
        **({} if msg.multicast or msg.anycast else _addr_flags(msg)),
        protocol=_addr_proto(msg.proto),
        label=msg.label,
        valid_life_time=life and life.ifa_valid,
        preferred_life_time=life and life.ifa_prefered,
    )


def _local_and_peer(msg: AddrMsg) -> Json:
    local = msg.local or msg.address
    if local is None:
        return {}
    peer = msg.address if msg.address != local else None
    return _given(local=inet_ntop(local), address=peer and inet_ntop(peer))


def _addr_flags(msg: AddrMsg) -> Json:
    flags = (msg.ifa_flags if msg.flags is None else msg.flags) ^ IFA_F_PERMANENT
    first = "secondary" if msg.ifa_family == AF_INET else "temporary"
    words = {IFA_F_SECONDARY: first} | _ADDR_FLAGS
    return {word: True for bit, word in words.items() if flags & bit}


def _addr_proto(proto: int | None) -> str | None:
    return _pick(IFAPROT_NAMES, proto) if proto else None


def _addr_info(dump: Iterable[Message], ifindex: object) -> list[Json]:
    addresses = (msg for msg in dump if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR)
    return [_addr(msg) for msg in addresses if msg.ifa_index == ifindex]


def _route(msg: RouteMsg, names: Mapping[int, str]) -> Json:
    table = msg.rtm_table if msg.table is None else msg.table
    six = msg.rtm_family == AF_INET6
    return _given(
        type=None if msg.rtm_type == RTN_UNICAST else _pick(RTN_NAMES, msg.rtm_type),
        dst=_prefix(msg),
        gateway=msg.gateway and inet_ntop(msg.gateway),
        dev=None if msg.oif is None else _dev(names, msg.oif),
        table=None if table == RT_TABLE_MAIN else _pick(RT_TABLE_NAMES, table),
        protocol=_pick(RTPROT_NAMES, msg.rtm_protocol),
        scope=None if six or msg.rtm_scope == RT_SCOPE_UNIVERSE else _pick(RT_SCOPE_NAMES, msg.rtm_scope),
        prefsrc=msg.prefsrc and inet_ntop(msg.prefsrc),
        metric=msg.priority,
        flags=[word for bit, word in ((RTNH_F_DEAD, "dead"), (RTNH_F_LINKDOWN, "linkdown")) if msg.rtm_flags & bit],
        expires=(msg.expires or 0) // 100 or None,
        pref=None if msg.pref is None else _PREFERENCES.get(msg.pref, str(msg.pref)),
    )


def _prefix(msg: RouteMsg) -> str:
    if msg.dst is None:
        return f"0/{msg.rtm_dst_len}" if msg.rtm_dst_len else "default"
    host = msg.rtm_dst_len == len(msg.dst) * 8
    return inet_ntop(msg.dst) if host else f"{inet_ntop(msg.dst)}/{msg.rtm_dst_len}"


def _netconf(msg: NetconfMsg, names: Mapping[int, str]) -> Json:
    every = {NETCONFA_IFINDEX_ALL: "all", NETCONFA_IFINDEX_DEFAULT: "default"}
    index = 0 if msg.ifindex is None else msg.ifindex
    values = {key: getattr(msg, key) for key in _NETCONF}
    return _given(
        family=_FAMILIES.get(msg.ncm_family, str(msg.ncm_family)),
        interface=every.get(index) or _dev(names, index),
        **{key: _on_off(value) for key, value in values.items() if value is not None},
    )


# What is told by its fields alone.
_BY_FIELDS: Final = ("NEIGH", "NEIGHTBL", "NSID", "RULE", "STATS")


def _fields(value: "DataclassInstance") -> Json:
    """Ours: whatever is there, under the names of the fields."""
    values = ((field.name, getattr(value, field.name)) for field in fields(value))
    return {name: _plain(told) for name, told in values if told not in (None, ()) and not name.startswith("nlmsg_")}


def _plain(value: object) -> object:
    """Bytes as their digits, a value in a message as the dict of its own fields."""
    if isinstance(value, bytes):
        return value.hex()
    return _fields(value) if is_dataclass(value) and not isinstance(value, type) else value


def _on_off(value: int) -> str:
    return "on" if value else "off"


# --- requests ---------------------------------------------------------------------------------------------------


def command_line(msg: Message, names: Mapping[int, str] | None = None) -> str:
    """A request as the command that would make it: ``ip addr add ::1/128 dev lo``, ``ip link set dev lo up``."""
    names = names or {}
    match msg:
        case LinkMsg():
            return " ".join(["ip link set dev", _dev(names, msg.ifi_index), *_link_changes(msg)])
        case AddrMsg():
            return " ".join(["ip addr", _addr_action(msg), *_addr_request(msg, names)])
        case RouteMsg():
            action = "del" if msg.nlmsg_type == RTM_DELROUTE else "add"
            return f"ip route {action} {_line_of(to_json(msg, names))}"
        case Sysctl():
            return f"sysctl {msg.name}={msg.value}"
        case _:
            return line(msg, names)


_FLAG_WORDS: Final = {
    IFF_NOARP: ("arp off", "arp on"),
    IFF_MULTICAST: ("multicast on", "multicast off"),
    IFF_ALLMULTI: ("allmulticast on", "allmulticast off"),
    IFF_PROMISC: ("promisc on", "promisc off"),
    IFF_DYNAMIC: ("dynamic on", "dynamic off"),
    IFF_DEBUG: ("debug on", "debug off"),
    IFF_UP: ("up", "down"),
}
_CHANGE_WORDS: Final = {
    "ifname": "name", "mtu": "mtu", "txqlen": "txqueuelen", "group": "group", "ifalias": "alias",
    "address": "address", "broadcast": "broadcast", "operstate": "state", "linkmode": "mode",
    "inet6_addr_gen_mode": "addrgenmode",
}  # fmt: skip


def _link_changes(msg: LinkMsg) -> Iterator[str]:
    named = {} if msg.ifname is None else {"ifname": msg.ifname}
    yield from _words(_without(_link(msg, details=True), ("ifname",)) | named, _CHANGE_WORDS)
    for bit, (on, off) in _FLAG_WORDS.items():
        if msg.ifi_change & bit:
            yield on if msg.ifi_flags & bit else off


def _addr_action(msg: AddrMsg) -> str:
    if msg.nlmsg_type == RTM_DELADDR:
        return "del"
    return "replace" if msg.nlmsg_flags & NLM_F_REPLACE else "add"


def _addr_request(msg: AddrMsg, names: Mapping[int, str]) -> Iterator[str]:
    said = _without(_addr(msg), ("dynamic",))
    yield _local_word(said)
    yield f"dev {_dev(names, msg.ifa_index)}"
    yield from _words(said, {"metric": "metric", "broadcast": "brd", "protocol": "proto", "label": "label"})
    if msg.cacheinfo is not None:
        yield _lifetimes(said)
    yield from (key for key, value in said.items() if value is True)


# --- dicts to text ----------------------------------------------------------------------------------------------

_LINK_WORDS: Final = {
    "mtu": "mtu", "qdisc": "qdisc", "operstate": "state", "linkmode": "mode", "group": "group", "txqlen": "qlen",
}  # fmt: skip
_DETAIL_WORDS: Final = {
    "promiscuity": "promiscuity", "allmulti": "allmulti", "min_mtu": "minmtu", "max_mtu": "maxmtu",
    "inet6_addr_gen_mode": "addrgenmode", "num_tx_queues": "numtxqueues", "num_rx_queues": "numrxqueues",
    "gso_max_size": "gso_max_size", "gso_max_segs": "gso_max_segs", "tso_max_size": "tso_max_size",
    "tso_max_segs": "tso_max_segs", "gro_max_size": "gro_max_size",
}  # fmt: skip
_ROUTE_WORDS: Final = {
    "gateway": "via", "dev": "dev", "table": "table", "protocol": "proto", "scope": "scope", "prefsrc": "src",
    "metric": "metric",
}  # fmt: skip


def _words(said: Json, words: Mapping[str, str]) -> Iterator[str]:
    return (f"{word} {said[key]}" for key, word in words.items() if key in said)


def _line_of(said: Json) -> str:
    match str(said["message"]):
        case "RTM_NEWLINK" | "RTM_DELLINK" | "RTM_SETLINK":
            return _link_line(said)
        case "RTM_NEWROUTE" | "RTM_DELROUTE":
            return _route_line(said)
        case "RTM_NEWNETCONF" | "RTM_DELNETCONF":
            return " ".join(_netconf_words(said))
        case name if name[len("RTM_NEW") :] in _BY_FIELDS:
            return " ".join([name, *(f"{k} {value}" for k, value in said.items() if k not in ("message", "deleted"))])
        case "sysctl":
            return f"{said['name']} = {said['value']}"
        case _:
            return _addr_line(said)


def _link_head(said: Json) -> str:
    flags = said["flags"]
    shown = ",".join(flags) if isinstance(flags, list) else flags
    return " ".join([f"{said['ifindex']}: {said['ifname']}: <{shown}>", *_words(said, _LINK_WORDS)])


def _hardware(said: Json) -> str:
    brd = f" brd {said['broadcast']}" if "broadcast" in said else ""
    return f"link/{said['link_type']} {said.get('address', '')}{brd}".rstrip()


def _link_rows(said: Json) -> Iterator[str]:
    yield _link_head(said)
    rest = " ".join([*([_hardware(said)] if "link_type" in said else []), *_words(said, _DETAIL_WORDS)])
    if rest:
        yield f"    {rest}"
    if "ifalias" in said:
        yield f"    alias {said['ifalias']}"


def _link_line(said: Json) -> str:
    if said.get("family") == "inet6":
        return " ".join(["inet6", _link_head(said), "ready" if said.get("ready") else "not ready"])
    return " ".join([_link_head(said), _hardware(said)])


def _addr_words(said: Json) -> Iterator[str]:
    if "local" in said:
        yield _local_word(said)
    yield from _words(said, {"metric": "metric", "broadcast": "brd", "anycast": "any", "multicast": "mcast"})
    yield f"scope {said['scope']}"
    yield from (key for key, value in said.items() if value is True and key != "deleted")
    yield from _words(said, {"protocol": "proto"})
    if "label" in said:
        yield str(said["label"])


def _local_word(said: Json) -> str:
    peer = f" peer {said['address']}" if "address" in said else ""
    return f"{said['local']}{peer}/{said['prefixlen']}"


def _lifetime(seconds: object) -> str:
    return "forever" if seconds == INFINITY_LIFE_TIME else f"{seconds}sec"


def _lifetimes(said: Json) -> str:
    valid, preferred = said["valid_life_time"], said["preferred_life_time"]
    return f"valid_lft {_lifetime(valid)} preferred_lft {_lifetime(preferred)}"


def _addr_line(said: Json) -> str:
    words = [f"{said['ifindex']}: {said['dev']}    {said['family']}", *_addr_words(said)]
    forever = said.get("preferred_life_time", INFINITY_LIFE_TIME) == INFINITY_LIFE_TIME
    return " ".join(words if forever else [*words, _lifetimes(said)])


def _addr_rows(link: Json) -> Iterator[str]:
    infos = link["addr_info"]
    assert isinstance(infos, list)
    for said in infos:
        yield " ".join([f"    {said['family']}", *_addr_words(said)])
        if "valid_life_time" in said:
            yield f"       {_lifetimes(said)}"


def _route_line(said: Json) -> str:
    kind = [str(said["type"])] if "type" in said else []
    flags = said["flags"]
    expires = [f"expires {said['expires']}sec"] if "expires" in said else []
    words = [*kind, str(said["dst"]), *_words(said, _ROUTE_WORDS), *(flags if isinstance(flags, list) else [])]
    return " ".join([*words, *expires, *_words(said, {"pref": "pref"})])


def _netconf_words(said: Json) -> Iterator[str]:
    yield f"{said['family']} {said['interface']}"
    yield from _words(said, {key: key for key in _NETCONF})
