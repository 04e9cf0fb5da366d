"""What the campaign does not ask, each with its reason, and nowhere else.

RACES are steps to which the running kernel has no single answer, SCOPE those that one side serves and the other does
not claim to.  CHANCE is what remains: where the running kernel gives now one answer, now another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from tests.fidelity.normal import GRAIN, places
from tests.fidelity.steps import RESIDENT, Op, Send, Sysctl
from tests.fidelity.wire import HEADER_LENGTHS, Header, attributes, messages

__all__ = ["CHANCE", "RACES", "SCOPE", "Exclusion", "starts_traffic", "why_not"]

_U32: Final = Struct("=I")
_RESIDENT: Final = RESIDENT.to_bytes(4, "little")
IFF_UP, IFF_NOARP, IFF_MULTICAST, IFA_F_MCAUTOJOIN, NTF_PROXY, NLM_F_CREATE = 0x1, 0x80, 0x1000, 0x400, 0x08, 0x400


def starts_traffic(op: Op) -> bool:
    """Whether a step may make a device of the running kernel send packets of its own, which the model does not send.

    A device with IFF_MULTICAST reports the groups that it joins, and so does lo where an address joins its group, or is
    answered for.  Devices that are made have the flag from the start.  With arp_notify and ndisc_notify, addresses are
    announced.
    """
    if isinstance(op, Sysctl):
        return op.path.endswith(("/arp_notify", "/ndisc_notify")) and op.value is not None
    return isinstance(op, Send) and any(_may_send(op.data, found) for found in messages(op.data))


def _may_send(data: bytes, found: Header) -> bool:
    if found.nlmsg_type in (16, 19) and found.nlmsg_len >= 32:
        # IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF, IPV4_DEVCONF_ARP_NOTIFY
        if any(_number(data, start, end) for start, end in places(data, found.offset + 32, found.end, (26, 2, 1, 22))):
            return True
        flags, change = _U32.unpack_from(data, found.offset + 24)[0], _U32.unpack_from(data, found.offset + 28)[0]
        return bool(flags & IFF_MULTICAST and (change & IFF_MULTICAST or not change)) or _makes_a_device(data, found)
    if found.nlmsg_type == 20:
        attrs = attributes(data, found.offset + 24, found.end)
        return any(kind == 8 and _number(data, start, end) & IFA_F_MCAUTOJOIN for kind, start, end in attrs)
    header = data[found.offset + 16 : found.offset + 28].ljust(12, b"\0")
    return found.nlmsg_type == 28 and header[0] == 10 and bool(header[10] & NTF_PROXY)


def _number(data: bytes, start: int, end: int) -> int:
    return int.from_bytes(data[start : min(end, start + 4)], "little")


def _made_kind(data: bytes, found: Header) -> bytes:
    """The kind of device in IFLA_LINKINFO, if there is one."""
    kind = b""
    for nla_type, payload, payload_end in attributes(data, found.offset + 32, found.end):
        for inner, start, end in attributes(data, payload, payload_end):
            if (nla_type, inner) == (18, 1):
                kind = data[start:end].split(b"\0")[0]
    return kind


def _makes_a_device(data: bytes, found: Header) -> bool:
    """Of the one kind that both sides have."""
    return bool(found.nlmsg_type == 16 and found.flags & NLM_F_CREATE and _made_kind(data, found) == b"ifb")


# --- requests that are not sent ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Steps that are left out.

    Attributes:
        holds: which ones.
        in_traffic: only once there is traffic (see starts_traffic).
    """

    what: str
    why: str
    holds: Callable[[Op], bool]
    in_traffic: bool = False


def _sent(holds: Callable[[bytes], bool]) -> Callable[[Op], bool]:
    """A rule about what is sent."""
    return lambda op: isinstance(op, Send) and holds(op.data)


def _requests(data: bytes, *types: int) -> Iterator[Header]:
    return (found for found in messages(data) if found.nlmsg_type in types and found.flags & 1)


_LINK_CHANGES = (16, 17, 19, 18)
_NEW_ADDRESS = 20


def _everywhere(data: bytes, start: int, end: int, depth: int = 3) -> Iterator[tuple[int, bytes]]:
    for nla_type, payload, payload_end in attributes(data, start, end):
        yield nla_type, data[payload:payload_end]
        if depth:
            yield from _everywhere(data, payload, payload_end, depth - 1)


def _names_a_process(data: bytes) -> bool:
    """IFLA_NET_NS_PID, IFLA_NET_NS_FD, NETNSA_PID, NETNSA_FD with a number that might be one."""
    for found in _requests(data, *_LINK_CHANGES, 88, 89, 90):
        wanted = (19, 28) if found.nlmsg_type < 80 else (2, 3)
        start = found.offset + 16 + HEADER_LENGTHS[found.nlmsg_type]
        for nla_type, payload in _everywhere(data, start, found.end):
            if nla_type in wanted and len(payload) >= 4 and int.from_bytes(payload[:4], "little") < 1 << 23:
                return True
    return _halves_a_process(data)


def _halves_a_process(data: bytes) -> bool:
    """A message ends within RESIDENT, so that part of the number that stands there really comes back."""
    at = data.find(_RESIDENT)
    return at >= 0 and any(found.offset < at < found.end < at + 4 for found in messages(data))


def _deferred_then_more(data: bytes) -> bool:
    requests = [found for found in messages(data) if found.flags & 1]
    return any(_defers(data, found) for found in requests if found.end + 16 <= len(data))


def _defers(data: bytes, found: Header) -> bool:
    """Whether a request leaves work to a work queue: DAD of an IPv6 address, new, kept, or asked to begin again."""
    if found.nlmsg_type == _NEW_ADDRESS:
        return data[found.offset + 16 :][:1] == b"\x0a"
    if found.nlmsg_type not in (16, 19) or found.nlmsg_len < 32:
        return False
    flags, change = _U32.unpack_from(data, found.offset + 24)[0], _U32.unpack_from(data, found.offset + 28)[0]
    mask = change or 0xFFFFFFFF * bool(flags)
    return bool(mask & IFF_NOARP or flags & mask & IFF_UP)


def _draws_an_address(data: bytes) -> bool:
    """A device is made, without an address."""
    for found in _requests(data, 16):
        attrs = list(attributes(data, found.offset + 32, found.end))
        if _makes_a_device(data, found) and not any(kind == 1 and end - start >= 6 for kind, start, end in attrs):
            return True
    return False


def _draws_a_secret(data: bytes) -> bool:
    """IFLA_INET6_ADDR_GEN_MODE random of a device that is not lo, the one that makes no such address."""
    for found in _requests(data, 16, 19):
        index = data[found.offset + 20 : found.offset + 24]
        for path in (26, 10, 8), (12, 8):
            for start, end in places(data, found.offset + 32, found.end, path):
                if data[start:end][:1] == b"\3" and (index != b"\1\0\0\0" or _makes_a_device(data, found)):
                    return True
    return False


def _expires_soon(data: bytes) -> bool:
    """RTA_EXPIRES."""
    return any(
        kind == 23 and _number(data, start, end) < GRAIN
        for found in _requests(data, 24)
        for kind, start, end in attributes(data, found.offset + 28, found.end)
    )


def _writes(leaf: str, *values: str) -> Callable[[Op], bool]:
    """A rule about sysctls: any value, or one of these."""

    def holds(op: Op) -> bool:
        if not isinstance(op, Sysctl) or op.value is None or not op.path.endswith(f"/{leaf}"):
            return False
        return not values or op.value.strip() in values

    return holds


def _dumps_neighbours_slowly(op: Op) -> bool:
    """Entries of a forwarding database are none."""
    if not isinstance(op, Send) or not op.hold:
        return False
    dumps = (found for found in messages(op.data) if found.nlmsg_type == 30 and found.flags & 0x300)
    return any(op.data[found.offset + 16 :][:1] != b"\x07" for found in dumps)


def _probes_a_neighbour(data: bytes) -> bool:
    """NUD_INCOMPLETE, NUD_DELAY or NUD_PROBE; NTF_USE; NTF_EXT_MANAGED."""
    for found in _requests(data, 28):
        header = data[found.offset + 16 : found.offset + 28].ljust(12, b"\0")
        attrs = attributes(data, found.offset + 28, found.end)
        managed = any(kind == 15 and _number(data, start, end) & 1 for kind, start, end in attrs)
        if header[8] & 0x19 or header[10] & 0x01 or managed:
            return True
    return False


def _answers_everywhere(data: bytes) -> bool:
    """NTF_PROXY without a device."""
    headers = (data[found.offset + 16 : found.offset + 28].ljust(12, b"\0") for found in _requests(data, 28))
    return any(header[10] & NTF_PROXY and header[4:8] == bytes(4) for header in headers)


def _is_soon_unreachable(data: bytes) -> bool:
    """NDTPA_BASE_REACHABLE_TIME."""
    return any(
        not GRAIN * 1000 <= int.from_bytes(data[start : min(end, start + 8)], "little") <= 100_000 * GRAIN
        for found in _requests(data, 67)
        for start, end in places(data, found.offset + 20, found.end, (6, 4))
    )


RACES: Final = (
    Exclusion(
        "a neighbour that is to be probed",
        "probes are sent, and answers given up, by clocks that the two kernels do not look at in the same instant",
        _sent(_probes_a_neighbour),
    ),
    Exclusion(
        "a proxy entry without a device",
        "the kernel keeps it when the namespace is gone, and shows it to the next one that is made at the same address",
        _sent(_answers_everywhere),
    ),
    Exclusion(
        "NDTPA_BASE_REACHABLE_TIME below 10,000 s, or so large that it is none any more",
        "a neighbour is reachable for a time drawn at random from it",
        _sent(_is_soon_unreachable),
    ),
    Exclusion(
        "net.ipv6.conf.*.dad_transmits",
        "with probes to send, DAD ends seconds later, and at a random time",
        _writes("dad_transmits"),
    ),
    Exclusion(
        "net.ipv6.conf.*.addr_gen_mode=3",
        "the kernel draws a secret, of which a device's link-local address is made",
        _writes("addr_gen_mode", "3"),
    ),
    Exclusion(
        "IFLA_INET6_ADDR_GEN_MODE random, of a device that may not be lo",
        "as above",
        _sent(_draws_a_secret),
    ),
    Exclusion(
        "a route that expires in less than 10,000 s",
        "the two kernels do not look at their clocks in the same instant",
        _sent(_expires_soon),
    ),
    Exclusion(
        "a device that is made without a hardware address",
        "the kernel draws one at random",
        _sent(_draws_an_address),
    ),
    Exclusion(
        "a request that names a process or a descriptor that may exist",
        "it is one of this test's own, or of the machine it runs on, and means a namespace that is not ours",
        _sent(_names_a_process),
    ),
    Exclusion(
        "a message behind one that adds an IPv6 address, changes IFF_NOARP or sets IFF_UP, in one datagram",
        "addresses are finished by a work queue that runs beside what follows",
        _sent(_deferred_then_more),
    ),
)


# Where the running kernel gives one answer or another to the same script all the same: where it was seen to, it is for
# one of these reasons.
CHANCE: Final = (
    "an acknowledgement and what a work queue says: it is sent when the lock has been released, so that the work may "
    "come first",
    "kept addresses, when lo comes up: their DAD is queued, and by the same request queued again, behind that of "
    "others, or taken down with IPv6, for an mtu below 1280; whether the work item has started by then is chance",
)


def _other_object(data: bytes) -> bool:
    """A queueing discipline of a kind that there is, an action that mirrors, or a next hop object."""
    makes_qdisc = any(
        kind == 1 and data[start:end].split(b"\0")[0] in _DISCIPLINES
        for found in _requests(data, 36)
        for kind, start, end in attributes(data, found.offset + 36, found.end)
    )
    mirrors = any(b"mirred" in data[found.offset : found.end] for found in _requests(data, 48))
    return makes_qdisc or mirrors or any(_may_be_made(data, found) for found in _requests(data, 104))


def _may_be_made(data: bytes, found: Header) -> bool:
    """A next hop object that is no group: a blackhole, one for forwarding databases, or one by a device that may be."""
    attrs = list(attributes(data, found.offset + 24, found.end))
    by_device = any(kind == 5 and 0 < _number(data, start, end) < 77 for kind, start, end in attrs)
    return by_device or any(kind in (4, 11) for kind, _, _ in attrs)


_DISCIPLINES: Final = (
    b"pfifo_fast", b"pfifo", b"bfifo", b"pfifo_head_drop", b"mq", b"noqueue", b"htb", b"tbf", b"ingress", b"clsact",
)  # fmt: skip


def _other_route(data: bytes) -> bool:
    """RTA_MULTIPATH, RTA_VIA or RTA_ENCAP, or an IPv6 route with a source prefix or with a gateway beside others."""
    for found in _requests(data, 24, 25):
        header = data[found.offset + 16 : found.offset + 28]
        kinds = {kind for kind, _, _ in attributes(data, found.offset + 28, found.end)}
        ipv6 = header[:1] == b"\x0a" and found.nlmsg_type == 24
        if kinds & {9, 18, 22} or (ipv6 and (header[2:3] != b"\0" or (5 in kinds and not found.flags & 0x200))):
            return True
    return False


def _other_kind(data: bytes) -> bool:
    """A kind of device that one side has and the other has not, where kinds are looked up."""
    return any(_made_kind(data, found) in _KINDS_ELSEWHERE for found in _requests(data, 16, 18))


_KINDS_ELSEWHERE: Final = (b"bridge", b"dummy", b"macvlan", b"macvtap", b"tun", b"veth", b"vxlan")

SCOPE: Final = (
    Exclusion(
        "dumps of neighbours that are not read at once, once there is traffic",
        "the model sends no reports of MLD; in the kernel the group that they are sent to is a neighbour then, for a "
        "random time, so that a dump may stop elsewhere",
        _dumps_neighbours_slowly,
        in_traffic=True,
    ),
    Exclusion(
        "objects that the model does not have",
        "queueing disciplines of a user's own, actions of filters, next hop objects",
        _sent(_other_object),
    ),
    Exclusion(
        "routes that the model does not have",
        "several next hops, IPv6 gateways of IPv4 routes, encapsulations, source prefixes",
        _sent(_other_route),
    ),
    Exclusion(
        "RTM_NEWLINK and RTM_GETLINK with a device kind that only one side has",
        "dummy is not built into the running kernel; bridge, macvlan, macvtap, tun, veth, vxlan are not in the model",
        _sent(_other_kind),
    ),
)


def why_not(op: Op, *, in_traffic: bool = False) -> str | None:
    """Why a step is left out, or None; `in_traffic`, once there is traffic."""
    for exclusion in (*RACES, *SCOPE):
        if (in_traffic or not exclusion.in_traffic) and exclusion.holds(op):
            return exclusion.what
    return None
