"""Filters before rtnetlink sockets: the kernel drops what would only wake us.

A filter is a program for the kernel's classic BPF machine, which reads a message in network order, whatever order its
numbers are in.
"""

import ctypes
import socket
import sys
from functools import cache
from struct import Struct
from typing import Final, NamedTuple

from addrsvc.uapi import RT_TABLE_LOCAL, RTM_DELROUTE, RTM_NEWADDR, RTPROT_ADDRSVC, SOL_SOCKET

__all__ = ["hear_deleted_routes", "hear_lo"]

_SO_ATTACH_FILTER: Final = 26
_SOCK_FILTER: Final = Struct("@HBBI")
_SOCK_FPROG: Final = Struct("@HP")

_LOAD_WORD: Final = 0x20
_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_ALL_OF_IT: Final = 0xFFFF_FFFF

_TYPE_AT: Final = 4
_PORTID_AT: Final = 12
_IFINDEX_AT: Final = 20
"""Of struct ifinfomsg and of struct ifaddrmsg."""
_TABLE_AT: Final = 20
_PROTOCOL_AT: Final = 21
"""Of struct rtmsg."""
_LO: Final = 1
"""lo is the first device of every namespace, and never leaves it."""


class _Step(NamedTuple):
    """One instruction; if it compares, where to go on where that holds and where it does not."""

    code: int
    value: int
    if_so: str = "next"
    if_not: str = "next"


def hear_lo(sock: socket.socket, *, additions: bool = True, answers: bool = False) -> None:
    """Let a socket hear what is about lo, and nothing else; a filter that it had is replaced.

    Args:
        sock: an rtnetlink socket, bound if it is to hear answers.
        additions: addresses that are added or changed too, not only those that are deleted.
        answers: what answers its own requests too.
    """
    _attach(sock, _program(additions, sock.getsockname()[0] if answers else 0))


def hear_deleted_routes(sock: socket.socket) -> None:
    """Let a socket hear that local routes of ours are deleted, and nothing else: not those that addresses bring."""
    _attach(sock, _deleted_routes())


def _attach(sock: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    steps = len(program) // _SOCK_FILTER.size
    sock.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, _SOCK_FPROG.pack(steps, ctypes.addressof(code)))


@cache
def _program(additions: bool, portid: int) -> bytes:  # noqa: FBT001 - a cache tells positions from keywords
    steps = [_Step(_LOAD_WORD, _IFINDEX_AT), _Step(_JUMP_IF_EQUAL, _turned(_LO, 4), "next", "drop")]
    if portid:
        steps = [_Step(_LOAD_WORD, _PORTID_AT), _Step(_JUMP_IF_EQUAL, _turned(portid, 4), "pass"), *steps]
    if not additions:
        steps += [_Step(_LOAD_HALF, _TYPE_AT), _Step(_JUMP_IF_EQUAL, _turned(RTM_NEWADDR, 2), "drop")]
    return _assembled([*steps, _Step(_RETURN, _ALL_OF_IT), _Step(_RETURN, 0)])


@cache
def _deleted_routes() -> bytes:
    tests = (
        (_LOAD_HALF, _TYPE_AT, _turned(RTM_DELROUTE, 2)),
        (_LOAD_BYTE, _TABLE_AT, RT_TABLE_LOCAL),
        (_LOAD_BYTE, _PROTOCOL_AT, RTPROT_ADDRSVC),
    )
    steps = [
        step for load, at, value in tests for step in (_Step(load, at), _Step(_JUMP_IF_EQUAL, value, "next", "drop"))
    ]
    return _assembled([*steps, _Step(_RETURN, _ALL_OF_IT), _Step(_RETURN, 0)])


def _assembled(steps: list[_Step]) -> bytes:
    """The program, whose last two steps pass a message and drop it."""

    def distance(target: str, here: int) -> int:
        return {"next": here + 1, "pass": len(steps) - 2, "drop": len(steps) - 1}[target] - here - 1

    return b"".join(
        _SOCK_FILTER.pack(step.code, distance(step.if_so, here), distance(step.if_not, here), step.value)
        for here, step in enumerate(steps)
    )


def _turned(number: int, size: int) -> int:
    """What the machine reads where this host has written a number."""
    return int.from_bytes(number.to_bytes(size, sys.byteorder), "big")
