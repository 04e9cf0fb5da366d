"""The running kernel as a port: rtnetlink over sockets of our own, with pyroute2 putting values into bytes and back.

This is the one file that knows pyroute2, and it loads it when the first message is translated.  Of pyroute2 only the
message classes are used; the sockets are opened inside the namespace by `run_in` and work from anywhere afterwards.
"""

import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from errno import EINTR, EINVAL, EIO, ENOBUFS
from functools import cache
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from addrsvc.errors import AddrsvcError, ControlError, KernelError
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.mirror.operations import Operations, no_device
from addrsvc.netlink.messages import (
    AddrMsg,
    IfaCacheinfo,
    Inet6LinkInfo,
    LinkMsg,
    Message,
    NetconfMsg,
    RouteMsg,
    Sysctl,
)
from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_DELADDR,
    RTM_DELANYCAST,
    RTM_DELLINK,
    RTM_DELMULTICAST,
    RTM_DELNETCONF,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETANYCAST,
    RTM_GETLINK,
    RTM_GETMULTICAST,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWANYCAST,
    RTM_NEWLINK,
    RTM_NEWMULTICAST,
    RTM_NEWNETCONF,
    RTM_NEWROUTE,
    RTM_SETLINK,
    Rtnlgrp,
)

__all__ = ["MessagesLost", "RtnlKernel", "RtnlWatch"]

_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLM_F_REQUEST: Final = 0x01
_NLM_F_MULTI: Final = 0x02
_NLM_F_ACK: Final = 0x04
_NLM_F_DUMP_INTR: Final = 0x10
_NLM_F_DUMP_FILTERED: Final = 0x20
_NLM_F_DUMP: Final = 0x300
_NLM_F_ACK_TLVS: Final = 0x200
_HOW_A_DUMP_TRAVELS: Final = _NLM_F_MULTI | _NLM_F_DUMP_INTR | _NLM_F_DUMP_FILTERED

_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_SO_RCVBUFFORCE: Final = 33
_WATCH_BUFFER: Final = 8 << 20
_DATAGRAM: Final = 1 << 16
_DUMP_ATTEMPTS: Final = 64


_WATCHED: Final = (
    Rtnlgrp.RTNLGRP_LINK, Rtnlgrp.RTNLGRP_IPV4_IFADDR, Rtnlgrp.RTNLGRP_IPV4_ROUTE, Rtnlgrp.RTNLGRP_IPV6_IFADDR,
    Rtnlgrp.RTNLGRP_IPV6_ROUTE, Rtnlgrp.RTNLGRP_IPV6_IFINFO, Rtnlgrp.RTNLGRP_IPV4_NETCONF,
    Rtnlgrp.RTNLGRP_IPV6_NETCONF, Rtnlgrp.RTNLGRP_IPV4_MCADDR, Rtnlgrp.RTNLGRP_IPV6_MCADDR,
    Rtnlgrp.RTNLGRP_IPV6_ACADDR,
)  # fmt: skip


class MessagesLost(AddrsvcError):
    """The kernel said more than the watch's buffer holds: what a watcher knows is no longer whole.  Dump again."""


# --- where the bytes lie ----------------------------------------------------------------------------------------

_DEVCONF_MTU6: Final = 2
_DEVCONF_DISABLE_IPV6: Final = 26


_Wire: TypeAlias = Any
"""Something of pyroute2's, which says nothing of its types."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one attribute's payload becomes a field: pyroute2's class for it, and our way there and back."""

    nla: str
    decode: Callable[[_Wire], _Wire] = lambda value: value
    encode: Callable[[_Wire], _Wire] = lambda value: value


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _text_bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _name_bytes(value: str) -> bytes:
    return _text_bytes(value) + b"\0"


def _cacheinfo(value: bytes) -> IfaCacheinfo:
    return IfaCacheinfo(*struct.unpack_from("=IIII", value))


def _cacheinfo_bytes(value: IfaCacheinfo) -> bytes:
    return struct.pack("=IIII", value.ifa_prefered, value.ifa_valid, value.cstamp, value.tstamp)


def _expires(value: bytes) -> int:
    return int(struct.unpack_from("=IIi", value)[2])


def _expires_bytes(value: int) -> bytes:
    return struct.pack("=IIiIIIII", 0, 0, value, 0, 0, 0, 0, 0)


def _inet6_of_af_spec(value: _Wire) -> Inet6LinkInfo | None:
    inet6 = value.get_attr("AF_INET6")
    return None if inet6 is None else _inet6(inet6)


def _inet6(value: _Wire) -> Inet6LinkInfo:
    conf = value.get_attr("conf") or b""
    numbers = struct.unpack(f"={len(conf) // 4}i", conf)
    return Inet6LinkInfo(
        flags=value.get_attr("flags"),
        addr_gen_mode=value.get_attr("addr_gen_mode"),
        disable_ipv6=numbers[_DEVCONF_DISABLE_IPV6] if len(numbers) > _DEVCONF_DISABLE_IPV6 else None,
        mtu6=numbers[_DEVCONF_MTU6] if len(numbers) > _DEVCONF_MTU6 else None,
    )


def _af_spec_attrs(value: Inet6LinkInfo) -> dict[str, _Wire]:
    return {"attrs": [("AF_INET6", _inet6_attrs(value))]}


def _inet6_attrs(value: Inet6LinkInfo) -> dict[str, _Wire]:
    settable = (("flags", value.flags), ("addr_gen_mode", value.addr_gen_mode))
    return {"attrs": [(name, number) for name, number in settable if number is not None]}


_U8: Final = _Kind("uint8")
_U32: Final = _Kind("uint32")
_S32: Final = _Kind("int32")
_BYTES: Final = _Kind("cdata", bytes)
_TEXT: Final = _Kind("cdata", _text, _text_bytes)
"""As ip(8) sends names: with the zero byte, without which an empty one is refused."""
_NAME: Final = _Kind("cdata", _text, _name_bytes)
_IFA_CACHEINFO: Final = _Kind("cdata", _cacheinfo, _cacheinfo_bytes)
_RTA_EXPIRES: Final = _Kind("cdata", _expires, _expires_bytes)
_AF_SPEC: Final = _Kind("af_spec", _inet6_of_af_spec, _af_spec_attrs)
_PROTINFO: Final = _Kind("inet6", _inet6, _inet6_attrs)

_Said: TypeAlias = LinkMsg | AddrMsg | RouteMsg | NetconfMsg
_Attributes: TypeAlias = Mapping[int, tuple[str, _Kind]]


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """One message on the wire: its header's members in order, and its attributes by number."""

    value: Callable[..., Message]
    header: tuple[tuple[str, str], ...]
    attributes: _Attributes


_LINK_ATTRIBUTES: Final[_Attributes] = {
    1: ("address", _BYTES),
    2: ("broadcast", _BYTES),
    3: ("ifname", _NAME),
    4: ("mtu", _U32),
    6: ("qdisc", _TEXT),
    13: ("txqlen", _U32),
    16: ("operstate", _U8),
    17: ("linkmode", _U8),
    20: ("ifalias", _TEXT),
    26: ("inet6", _AF_SPEC),
    27: ("group", _U32),
    30: ("promiscuity", _U32),
    31: ("num_tx_queues", _U32),
    32: ("num_rx_queues", _U32),
    33: ("carrier", _U8),
    39: ("proto_down", _U8),
    40: ("gso_max_segs", _U32),
    41: ("gso_max_size", _U32),
    44: ("event", _U32),
    49: ("new_ifindex", _S32),
    50: ("min_mtu", _U32),
    51: ("max_mtu", _U32),
    58: ("gro_max_size", _U32),
    59: ("tso_max_size", _U32),
    60: ("tso_max_segs", _U32),
    61: ("allmulti", _U32),
    63: ("gso_ipv4_max_size", _U32),
    64: ("gro_ipv4_max_size", _U32),
    67: ("netns_immutable", _U8),
}
_LINK_HEADER: Final = (
    ("ifi_family", "B"), ("_", "B"), ("ifi_type", "H"), ("ifi_index", "i"), ("ifi_flags", "I"), ("ifi_change", "I"),
)  # fmt: skip
_LINK: Final = _Layout(LinkMsg, _LINK_HEADER, _LINK_ATTRIBUTES)
_INET6_LINK: Final = _Layout(LinkMsg, _LINK_HEADER, {**_LINK_ATTRIBUTES, 12: ("inet6", _PROTINFO)})
_ADDR: Final = _Layout(
    AddrMsg,
    (("ifa_family", "B"), ("ifa_prefixlen", "B"), ("ifa_flags", "B"), ("ifa_scope", "B"), ("ifa_index", "i")),
    {
        1: ("address", _BYTES),
        2: ("local", _BYTES),
        3: ("label", _NAME),
        4: ("broadcast", _BYTES),
        5: ("anycast", _BYTES),
        6: ("cacheinfo", _IFA_CACHEINFO),
        7: ("multicast", _BYTES),
        8: ("flags", _U32),
        9: ("rt_priority", _U32),
        11: ("proto", _U8),
    },
)
_ROUTE: Final = _Layout(
    RouteMsg,
    (
        ("rtm_family", "B"), ("rtm_dst_len", "B"), ("rtm_src_len", "B"), ("rtm_tos", "B"), ("rtm_table", "B"),
        ("rtm_protocol", "B"), ("rtm_scope", "B"), ("rtm_type", "B"), ("rtm_flags", "I"),
    ),
    {
        1: ("dst", _BYTES),
        4: ("oif", _U32),
        5: ("gateway", _BYTES),
        6: ("priority", _U32),
        7: ("prefsrc", _BYTES),
        12: ("expires", _RTA_EXPIRES),
        15: ("table", _U32),
        20: ("pref", _U8),
    },
)  # fmt: skip
_NETCONF: Final = _Layout(
    NetconfMsg,
    (("ncm_family", "B"),),
    {
        1: ("ifindex", _S32),
        2: ("forwarding", _S32),
        3: ("rp_filter", _S32),
        4: ("mc_forwarding", _S32),
        5: ("proxy_neigh", _S32),
        6: ("ignore_routes_with_linkdown", _S32),
        8: ("bc_forwarding", _S32),
    },
)
_LAYOUTS: Final[Mapping[int, _Layout]] = {
    **dict.fromkeys((RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK), _LINK),
    **dict.fromkeys((RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR), _ADDR),
    **dict.fromkeys((RTM_NEWMULTICAST, RTM_DELMULTICAST, RTM_GETMULTICAST), _ADDR),
    **dict.fromkeys((RTM_NEWANYCAST, RTM_DELANYCAST, RTM_GETANYCAST), _ADDR),
    **dict.fromkeys((RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE), _ROUTE),
    **dict.fromkeys((RTM_NEWNETCONF, RTM_DELNETCONF), _NETCONF),
}


@cache
def _wire(layout: _Layout) -> _Wire:
    """The pyroute2 message class of a layout: its fields and attributes bear the names of ours."""
    from pyroute2.netlink import nla, nlmsg

    inet6 = type(
        "inet6",
        (nla,),
        {"nla_map": ((1, "flags", "uint32"), (2, "conf", "cdata"), (8, "addr_gen_mode", "uint8"))},
    )
    af_spec = type("af_spec", (nla,), {"nla_map": ((AF_INET6, "AF_INET6", "inet6"),), "inet6": inet6})
    nla_map = tuple((number, str(number), kind.nla) for number, (_, kind) in layout.attributes.items())
    return type("wire", (nlmsg,), {"fields": layout.header, "nla_map": nla_map, "inet6": inet6, "af_spec": af_spec})


@cache
def _error_wire() -> Mapping[int, _Wire]:
    """A refusal, and the end of a dump that was refused, as the kernel says it under NETLINK_CAP_ACK."""
    from pyroute2.netlink import nlmsg

    nla_map = ((1, "message", "cdata"),)
    request = (("length", "I"), ("type", "H"), ("flags", "H"), ("sequence_number", "I"), ("pid", "I"))
    error = type("error", (nlmsg,), {"fields": (("error", "i"), *request), "nla_map": nla_map})
    done = type("done", (nlmsg,), {"fields": (("error", "i"),), "nla_map": nla_map})
    return {_NLMSG_ERROR: error, _NLMSG_DONE: done}


# --- values to bytes and back -------------------------------------------------------------------------------------


def _encode(msg: _Said, flags: int, sequence: int) -> bytes:
    layout = _layout_of(msg)
    wire = _wire(layout)()
    wire["header"] = {"type": msg.nlmsg_type, "flags": flags, "sequence_number": sequence}
    for name, _ in layout.header:
        wire[name] = getattr(msg, name, 0)
    wire["attrs"] = list(_attrs(msg, layout))
    wire.encode()
    return bytes(wire.data)


def _layout_of(msg: _Said) -> _Layout:
    match msg:
        case LinkMsg(ifi_family=family):
            return _INET6_LINK if family == AF_INET6 else _LINK
        case AddrMsg():
            return _ADDR
        case RouteMsg():
            return _ROUTE
        case NetconfMsg():
            return _NETCONF


def _attrs(msg: _Said, layout: _Layout) -> Iterator[tuple[str, _Wire]]:
    """The attributes that a request carries, in the order of our own fields."""
    numbers = {name: (number, kind) for number, (name, kind) in layout.attributes.items()}
    for field in fields(msg):
        if field.name in numbers and (value := getattr(msg, field.name)) is not None:
            number, kind = numbers[field.name]
            yield str(number), kind.encode(value)


def _decode(data: bytes, offset: int) -> Message | None:
    """The message at `offset`, or None where it is of a type that we have no value for."""
    nlmsg_type, nlmsg_flags = struct.unpack_from("=HH", data, offset + 4)
    layout = _LAYOUTS.get(nlmsg_type)
    if layout is _LINK and data[offset + 16] == AF_INET6:
        layout = _INET6_LINK
    if layout is None:
        return None
    wire = _wire(layout)(data, offset)
    wire.decode()
    return layout.value(
        nlmsg_type=nlmsg_type,
        nlmsg_flags=nlmsg_flags & ~_HOW_A_DUMP_TRAVELS,
        **{name: wire[name] for name, _ in layout.header if name != "_"},
        **{name: kind.decode(value) for name, kind, value in _known(wire, layout)},
    )


def _known(wire: _Wire, layout: _Layout) -> Iterator[tuple[str, _Kind, _Wire]]:
    for slot in wire["attrs"]:
        if slot.name != "UNKNOWN":
            name, kind = layout.attributes[int(slot.name)]
            yield name, kind, slot.value


def _split(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(offset, type, flags, sequence) of each message in a datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, nlmsg_type, flags, sequence = struct.unpack_from("=IHHI", data, offset)
        yield offset, nlmsg_type, flags, sequence
        offset += max(length + 3 & ~3, 16)


def _check(data: bytes, offset: int, nlmsg_type: int, flags: int) -> None:
    """Raise what a NLMSG_ERROR or NLMSG_DONE says, if it says an error."""
    (code,) = struct.unpack_from("=i", data, offset + 16)
    if code >= 0:
        return
    if not flags & _NLM_F_ACK_TLVS:
        raise KernelError(-code)
    answer = _error_wire()[nlmsg_type](data, offset)
    answer.decode()
    text = answer.get_attr("message")
    raise KernelError(-code, None if text is None else _text(text))


# --- the port -----------------------------------------------------------------------------------------------------

_LINKS: Final = LinkMsg(nlmsg_type=RTM_GETLINK, ifi_family=AF_UNSPEC)
_DUMPS: Final[tuple[_Said, ...]] = (
    _LINKS,
    AddrMsg(nlmsg_type=RTM_GETADDR, ifa_family=AF_INET, ifa_prefixlen=0),
    AddrMsg(nlmsg_type=RTM_GETADDR, ifa_family=AF_INET6, ifa_prefixlen=0),
    RouteMsg(nlmsg_type=RTM_GETROUTE, rtm_family=AF_INET6),
    AddrMsg(nlmsg_type=RTM_GETMULTICAST, ifa_family=AF_INET6, ifa_prefixlen=0),
)


class RtnlKernel(Operations):
    """One network namespace of the running kernel: a Kernel port (see addrsvc.mirror.kernel).

    It holds the namespace by a descriptor of its own, so `netns` may be closed as soon as this object exists.  It
    belongs to one thread at a time.
    """

    def __init__(self, netns: NetNs) -> None:
        self._netns = netns.dup()
        self._sequence = 0
        try:
            self._socket = run_in(self._netns, _request_socket)
        except BaseException:
            self._netns.close()
            raise

    @property
    def netns(self) -> NetNs:
        """The namespace; closed with this object."""
        return self._netns

    def request(self, msg: Message) -> None:
        """Ask for a change and wait for the answer; what it set off by work queues may still be to come.

        Raises:
            KernelError: the kernel refused, with its errno and extack text.
            ControlError: a Sysctl whose name is not below ``net.``.
        """
        if isinstance(msg, Sysctl):
            run_in(self._netns, lambda: _write_sysctl(msg))
            return
        sequence = self._send(msg, msg.nlmsg_flags | _NLM_F_REQUEST | _NLM_F_ACK)
        _check(*next(answer for answer in self._answers(sequence) if answer[2] == _NLMSG_ERROR))

    def dump(self) -> tuple[Message, ...]:
        """All devices, addresses (IPv4, IPv6), IPv6 routes of main and local, IPv6 multicast memberships.

        Each in the kernel's order.  Devices carry no statistics; nlmsg_flags are without NLM_F_MULTI and its kin,
        which say how a dump travels and nothing of what it says.

        Raises:
            KernelError: the kernel refused, or never came to rest while we looked (EINTR).
        """
        return tuple(msg for question in _DUMPS for msg in self._dump_one(question) if _wanted(msg))

    def watch(self, *, settle: float = 0.008) -> "RtnlWatch":
        """Subscribe to notifications.

        Args:
            settle: seconds of silence after which the namespace counts as quiet.
        """
        return RtnlWatch(run_in(self._netns, _watch_socket), settle)

    def read_sysctl(self, name: str) -> str:
        """A setting, as its file below /proc/sys reads, without the line feed.

        Raises:
            KernelError: it cannot be opened or read.
            ControlError: its name is not below ``net.``.
        """
        return run_in(self._netns, lambda: _read(_sysctl_path(name))).removesuffix("\n")

    def ifindex(self, dev: str) -> int:
        """The number of the device of this name.

        Raises:
            KernelError: ENODEV.
        """
        for msg in self._dump_one(_LINKS):
            if isinstance(msg, LinkMsg) and msg.ifname == dev:
                return msg.ifi_index
        raise no_device(dev)

    def close(self) -> None:
        """Close the socket and let go of the namespace.  Watches live on until they are closed."""
        self._socket.close()
        self._netns.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _send(self, msg: _Said, flags: int) -> int:
        self._sequence += 1
        self._socket.send(_encode(msg, flags, self._sequence))
        return self._sequence

    def _answers(self, sequence: int) -> Iterator[tuple[bytes, int, int, int]]:
        while True:
            data = self._socket.recv(_DATAGRAM)
            for offset, nlmsg_type, flags, number in _split(data):
                if number == sequence:
                    yield data, offset, nlmsg_type, flags

    def _dump_one(self, question: _Said) -> list[Message]:
        for _ in range(_DUMP_ATTEMPTS):
            messages, interrupted = self._dump_once(question)
            if not interrupted:
                return messages
        raise KernelError(EINTR, "the namespace changes faster than it can be dumped")

    def _dump_once(self, question: _Said) -> tuple[list[Message], bool]:
        messages: list[Message] = []
        interrupted = False
        sequence = self._send(question, _NLM_F_REQUEST | _NLM_F_DUMP)
        for data, offset, nlmsg_type, flags in self._answers(sequence):
            interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
            if nlmsg_type in (_NLMSG_DONE, _NLMSG_ERROR):
                _check(data, offset, nlmsg_type, flags)
                break
            if (msg := _decode(data, offset)) is not None:
                messages.append(msg)
        return messages, interrupted


def _wanted(msg: Message) -> bool:
    """Whether a dump shows it: of routes those in main and local."""
    return not isinstance(msg, RouteMsg) or msg.table in (RT_TABLE_MAIN, RT_TABLE_LOCAL)


class RtnlWatch:
    """A subscription to what is told of links, addresses, routes and settings: a Watch port (addrsvc.mirror.kernel).

    Attributes:
        settle: seconds of silence after which the namespace counts as quiet; may be set at any time.
    """

    def __init__(self, sock: socket.socket, settle: float) -> None:
        self.settle = settle
        self._socket = sock
        self._pending: deque[Message] = deque()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def fileno(self) -> int:
        """A descriptor that polls readable when there is something to hear; -1 after close()."""
        return self._socket.fileno()

    def __iter__(self) -> Iterator[Message]:
        """Yield what was said since the last look, in the kernel's order, and end when it has been quiet.

        Raises:
            MessagesLost: the kernel dropped messages for want of room.  Iterating again goes on with what is left.
        """
        while self._pending or self._poll.poll(self.settle * 1000):
            if not self._pending:
                self._pending.extend(self._receive())
            while self._pending:
                yield self._pending.popleft()

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to hear, at most so long; whether there is."""
        return bool(self._pending or self._poll.poll(seconds * 1000))

    def now(self) -> float:
        """Seconds on the clock that `wait` goes by: the monotonic one."""
        return time.monotonic()

    def _receive(self) -> Iterator[Message]:
        try:
            data = self._socket.recv(_DATAGRAM)
        except OSError as error:
            if error.errno == ENOBUFS:
                raise MessagesLost("the kernel said more than was read in time") from None
            raise
        for offset, _, _, _ in _split(data):
            if (msg := _decode(data, offset)) is not None:
                yield msg

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


# --- called inside the namespace ----------------------------------------------------------------------------------


def _request_socket() -> socket.socket:
    sock = _netlink_socket()
    sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
    sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    return sock


def _watch_socket() -> socket.socket:
    sock = _netlink_socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _WATCH_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WATCH_BUFFER)
    for group in _WATCHED:
        _join(sock, group)
    return sock


def _join(sock: socket.socket, group: Rtnlgrp) -> None:
    """Join a group; one that this kernel does not have is one that it has nothing to say to."""
    try:
        sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    except OSError as error:
        if error.errno != EINVAL:
            raise


def _netlink_socket() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.bind((0, 0))
    return sock


def _read(path: str) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise KernelError(error.errno or EIO) from None


def _write_sysctl(sysctl: Sysctl) -> None:
    path = _sysctl_path(sysctl.name)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb", buffering=0) as file:
            file.write(sysctl.value.encode())
    except OSError as error:
        raise KernelError(error.errno or EIO) from None


def _sysctl_path(name: str) -> str:
    parts = [part.replace("/", ".") for part in name.split(".")]
    if parts[0] != "net" or len(parts) < 2 or not all(parts) or "." in parts or ".." in parts:
        raise ControlError(f"sysctl: {name!r} is no name below net.; an example is net.ipv6.conf.lo.disable_ipv6")
    return os.path.join("/proc/sys", *parts)
