"""Messages in the short notation of the tests, and in full for a reader who has to find a difference."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from ipaddress import ip_address

from addrsvc.errors import KernelError
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, NetconfMsg, RouteMsg, Sysctl
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_F_DEPRECATED,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_PERMANENT,
    IFA_F_TENTATIVE,
    RTM_DELADDR,
    RTM_DELANYCAST,
    RTM_DELLINK,
    RTM_DELMULTICAST,
    RTM_DELNETCONF,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWANYCAST,
    RTM_NEWMULTICAST,
    RTN_ANYCAST,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
    Rtm,
)

_KINDS: Mapping[int, str] = {
    RTM_NEWADDR: "A", RTM_DELADDR: "A", RTM_NEWMULTICAST: "M", RTM_DELMULTICAST: "M",
    RTM_NEWANYCAST: "AC", RTM_DELANYCAST: "AC",
}  # fmt: skip
_GONE = frozenset((RTM_DELLINK, RTM_DELADDR, RTM_DELROUTE, RTM_DELMULTICAST, RTM_DELANYCAST, RTM_DELNETCONF))
_ROUTES = {RTN_LOCAL: "loc", RTN_UNICAST: "pfx", RTN_BROADCAST: "brd", RTN_ANYCAST: "any", RTN_MULTICAST: "mc"}
_FLAGS = (
    (IFA_F_TENTATIVE, "T"), (IFA_F_NODAD, "NODAD"), (IFA_F_DEPRECATED, "D"), (IFA_F_NOPREFIXROUTE, "NOPFX"),
    (IFA_F_PERMANENT, "P"),
)  # fmt: skip


def brief(messages: Iterable[Message]) -> str:
    """Messages in order, one word each.

    L and I are RTM_NEWLINK in the groups LINK and IPV6_IFINFO, A an address (flags in front of it unless it is just
    permanent), M a multicast and AC an anycast membership, R a route with its type, NC a netconf with its index.
    A 4 means IPv4; + and - are NEW and DEL.
    """
    return " ".join(map(_word, messages))


def _word(msg: Message) -> str:
    match msg:
        case LinkMsg():
            return ("I" if msg.ifi_family == AF_INET6 else "L") + ("-" if msg.nlmsg_type in _GONE else "")
        case AddrMsg():
            return f"{_KINDS[msg.nlmsg_type]}{_sign(msg, msg.ifa_family)}{_flags(msg)}{_who(msg)}"
        case RouteMsg():
            return f"R{_sign(msg, msg.rtm_family)}{_ROUTES[msg.rtm_type]}:{_destination(msg)}"
        case NetconfMsg():
            return f"NC{_sign(msg, msg.ncm_family)}{msg.ifindex}"
        case Sysctl():
            return f"{msg.name}={msg.value}"
        case _:
            return Rtm(msg.nlmsg_type).name


def _sign(msg: AddrMsg | RouteMsg | NetconfMsg, family: int) -> str:
    return ("4" if family == AF_INET else "") + ("-" if msg.nlmsg_type in _GONE else "+")


def _flags(msg: AddrMsg) -> str:
    if msg.nlmsg_type != RTM_NEWADDR or msg.flags == IFA_F_PERMANENT:
        return ""
    return "(" + ",".join(name for bit, name in _FLAGS if (msg.flags or 0) & bit) + ")"


def _who(msg: AddrMsg) -> str:
    packed = msg.local or msg.address or msg.multicast or msg.anycast
    return "?" if packed is None else str(ip_address(packed))


def _destination(msg: RouteMsg) -> str:
    if msg.dst is None:
        return "default"
    length = "" if msg.rtm_dst_len == 8 * len(msg.dst) and msg.rtm_type != RTN_UNICAST else f"/{msg.rtm_dst_len}"
    return f"{ip_address(msg.dst)}{length}"


def holds(dump: Iterable[Message]) -> str:
    """The addresses of a dump, with their prefix lengths, in its order."""
    addresses = (msg for msg in dump if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR)
    return " ".join(f"{_who(msg)}/{msg.ifa_prefixlen}" for msg in addresses)


def refusal(error: KernelError) -> str:
    """What a kernel said no with: the errno's name and the extack text."""
    return f"{error.name} {error.extack or '-'}"


def spelled(msg: Message) -> str:
    """A message as Python spells it, without what is as it is by default."""
    given = ((field.name, getattr(msg, field.name)) for field in fields(msg) if not _is_default(msg, field.name))
    return f"{type(msg).__name__}({', '.join(f'{name}={_value(name, value)}' for name, value in given)})"


def _value(name: str, value: object) -> str:
    """Numbers as numbers, whether or not they are members of an enum, but for the one that every reader looks for."""
    if isinstance(value, int):
        return Rtm(value).name if name == "nlmsg_type" else str(int(value))
    return repr(value)


def _is_default(msg: Message, name: str) -> bool:
    (field,) = (field for field in fields(msg) if field.name == name)
    return field.default is not MISSING and bool(getattr(msg, name) == field.default)
