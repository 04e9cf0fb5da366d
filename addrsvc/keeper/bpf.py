"""Filters before rtnetlink sockets: the kernel drops what would only wake us.

A filter is a program for the kernel's classic BPF machine, which reads a message in network order, whatever order its
numbers are in.
"""

import ctypes
import socket
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache
from itertools import chain
from struct import Struct
from typing import Final, NamedTuple

from addrsvc.uapi import (
    AF_INET,
    AF_INET6,
    IFA_ADDRESS,
    IFA_LOCAL,
    RT_TABLE_LOCAL,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTPROT_ADDRSVC,
    SOL_SOCKET,
)

__all__ = ["FEW", "hear_deleted", "hear_deleted_routes", "hear_everything", "hear_lo"]

_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_SOCK_FILTER: Final = Struct("@HBBI")
_SOCK_FPROG: Final = Struct("@HP")

_LOAD_WORD: Final = 0x20
_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_ALL_OF_IT: Final = 0xFFFF_FFFF
_NOTHING: Final = 0

_TYPE_AT: Final = 4
_PORTID_AT: Final = 12
_FAMILY_AT: Final = 16
"""Of struct ifaddrmsg, and behind it the prefix length."""
_IFINDEX_AT: Final = 20
"""Of struct ifinfomsg and of struct ifaddrmsg."""
_TABLE_AT: Final = 20
_PROTOCOL_AT: Final = 21
"""Of struct rtmsg."""
_ATTRS_AT: Final = 24
"""Of an address; an IPv6 address is there, an IPv4 address is in the second one."""
_V6_AT: Final = 28
_LOCAL_V4_AT: Final = 32
_V4_AT: Final = 36
_LO: Final = 1
"""lo is the first device of every namespace, and never leaves it."""
FEW: Final = 16
"""Of so many addresses a filter knows; a jump leads no farther than 255 steps."""


class _Step(NamedTuple):
    """One instruction; if it compares, where to go on where that holds and where it does not.

    That is the next step, the end that passes a message or the one that drops it, or by so many steps farther.
    """

    code: int
    value: int
    if_so: str | int = "next"
    if_not: str | int = "next"


def hear_lo(
    sock: socket.socket,
    *,
    additions: bool = True,
    answers: bool = False,
    addresses: Collection[bytes] | None = None,
) -> None:
    """Let a socket hear what is about lo, and nothing else; a filter that it had is replaced.

    Args:
        sock: an rtnetlink socket, bound if it is to hear answers.
        additions: addresses that are added or changed too, not only those that are deleted.
        answers: what answers its own requests too.
        addresses: of which addresses it is to hear, of 4 or 16 bytes; None for all.  More than a few are not told from
            others.
    """
    portid = sock.getsockname()[0] if answers else 0
    known = None if addresses is None or len(addresses) > FEW else tuple(addresses)
    _attach(sock, _about_lo(additions, portid, known))


def hear_deleted(sock: socket.socket, address: bytes) -> None:
    """Let a socket hear that lo has lost an IPv6 address of 16 bytes that covers itself alone, and nothing else."""
    _attach(sock, _deleted(address))


def hear_deleted_routes(sock: socket.socket) -> None:
    """Let a socket hear that local routes of ours are deleted, and nothing else: not those that addresses bring."""
    _attach(sock, _deleted_routes())


def hear_everything(sock: socket.socket) -> None:
    """Let a socket hear all that its groups are told; a filter that it had is taken away."""
    with suppress(FileNotFoundError):
        sock.setsockopt(SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _attach(sock: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    steps = len(program) // _SOCK_FILTER.size
    sock.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, _SOCK_FPROG.pack(steps, ctypes.addressof(code)))


@cache
def _about_lo(
    additions: bool,  # noqa: FBT001 - a cache tells positions from keywords
    portid: int,
    addresses: tuple[bytes, ...] | None,
) -> bytes:
    steps = []
    if portid:
        steps += [_Step(_LOAD_WORD, _PORTID_AT), _Step(_JUMP_IF_EQUAL, _turned(portid, 4), "pass")]
    steps += [*_must_be(_IFINDEX_AT, _turned(_LO, 4)), _Step(_LOAD_HALF, _TYPE_AT)]
    if not additions:
        steps += [_Step(_JUMP_IF_EQUAL, _turned(RTM_NEWADDR, 2), "drop")]
    if addresses is not None:
        steps += [
            _Step(_JUMP_IF_EQUAL, _turned(RTM_DELADDR, 2), 1),
            _Step(_JUMP_IF_EQUAL, _turned(RTM_NEWADDR, 2), "next", "pass"),
            *_of_addresses(addresses),
            _Step(_RETURN, _NOTHING),
        ]
    return _assembled(steps)


@cache
def _deleted_routes() -> bytes:
    return _assembled(
        [
            *_must_be(_TYPE_AT, _turned(RTM_DELROUTE, 2), _LOAD_HALF),
            *_must_be(_TABLE_AT, RT_TABLE_LOCAL, _LOAD_BYTE),
            *_must_be(_PROTOCOL_AT, RTPROT_ADDRSVC, _LOAD_BYTE),
        ]
    )


def _of_addresses(addresses: Iterable[bytes]) -> list[_Step]:
    """What is about one of these passes, so does what is not laid out as usual; all else is dropped."""
    v6, v4 = [each for each in addresses if len(each) == 16], [each for each in addresses if len(each) == 4]
    for_v6 = [
        _Step(_LOAD_WORD, _ATTRS_AT),
        _Step(_JUMP_IF_EQUAL, _nlattr(20, IFA_ADDRESS), 1),
        _Step(_JUMP_IF_EQUAL, _nlattr(20, IFA_LOCAL), "next", "pass"),
        *chain.from_iterable(map(_passes_v6, v6)),
        _Step(_RETURN, _NOTHING),
    ]
    for_v4 = [
        _Step(_LOAD_WORD, _ATTRS_AT),
        _Step(_JUMP_IF_EQUAL, _nlattr(8, IFA_ADDRESS), "next", "pass"),
        _Step(_LOAD_WORD, _LOCAL_V4_AT),
        _Step(_JUMP_IF_EQUAL, _nlattr(8, IFA_LOCAL), "next", "pass"),
        _Step(_LOAD_WORD, _V4_AT),
        *(_Step(_JUMP_IF_EQUAL, int.from_bytes(address), "pass") for address in v4),
        _Step(_RETURN, _NOTHING),
    ]
    return [
        _Step(_LOAD_BYTE, _FAMILY_AT),
        _Step(_JUMP_IF_EQUAL, AF_INET6, 1),
        _Step(_JUMP_IF_EQUAL, AF_INET, len(for_v6), "pass"),
        *for_v6,
        *for_v4,
    ]


def _passes_v6(address: bytes) -> list[_Step]:
    """The last word is looked at first, since it tells most addresses from each other."""
    steps: list[_Step] = [_Step(_RETURN, _ALL_OF_IT)]
    for at in range(0, 16, 4):
        word = int.from_bytes(address[at : at + 4])
        steps = [_Step(_LOAD_WORD, _V6_AT + at), _Step(_JUMP_IF_EQUAL, word, "next", len(steps)), *steps]
    return steps


@cache
def _deleted(address: bytes) -> bytes:
    steps = [
        *_must_be(_TYPE_AT, _turned(RTM_DELADDR, 2), _LOAD_HALF),
        *_must_be(_IFINDEX_AT, _turned(_LO, 4)),
        *_must_be(_FAMILY_AT, AF_INET6 << 8 | 128, _LOAD_HALF),
        *_must_be(_ATTRS_AT, _nlattr(20, IFA_ADDRESS)),
    ]
    for at in range(0, 16, 4):
        steps += _must_be(_V6_AT + at, int.from_bytes(address[at : at + 4]))
    return _assembled(steps)


def _must_be(at: int, value: int, load: int = _LOAD_WORD) -> list[_Step]:
    return [_Step(load, at), _Step(_JUMP_IF_EQUAL, value, "next", "drop")]


def _assembled(steps: Iterable[_Step]) -> bytes:
    """The program: the steps, and behind them two more, of which one passes a message and one drops it."""
    program = [*steps, _Step(_RETURN, _ALL_OF_IT), _Step(_RETURN, _NOTHING)]
    ends = {"next": 0, "pass": len(program) - 2, "drop": len(program) - 1}

    def distance(target: str | int, here: int) -> int:
        return target if isinstance(target, int) else max(0, ends[target] - here - 1)

    return b"".join(
        _SOCK_FILTER.pack(step.code, distance(step.if_so, here), distance(step.if_not, here), step.value)
        for here, step in enumerate(program)
    )


def _nlattr(length: int, number: int) -> int:
    """What the machine reads where an attribute begins."""
    return int.from_bytes(Struct("=HH").pack(length, number))


def _turned(number: int, size: int) -> int:
    """What the machine reads where this host has written a number."""
    return int.from_bytes(number.to_bytes(size, sys.byteorder))
