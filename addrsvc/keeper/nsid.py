"""Ids that other namespaces have in the service's own: by them one socket tells whom it hears.

An id stays until its namespace ends, since the kernel has no way to take it back.
"""

import os
from errno import EEXIST
from struct import Struct
from sys import byteorder
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.keeper.rtnl import open_rtnl
from addrsvc.mirror.netns import THIS_ONE
from addrsvc.uapi import (
    NETNSA_FD,
    NETNSA_NSID,
    NETNSA_NSID_NOT_ASSIGNED,
    NLM_F_ECHO,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    RTM_GETNSID,
    RTM_NEWNSID,
)

__all__ = ["HERE", "Ids"]

HERE: Final = b""
"""Of the namespace that hears: it has no id in itself."""

_REQUEST: Final = Struct("=IHHII4xHHIHHi")
"""nlmsghdr, rtgenmsg, NETNSA_FD and NETNSA_NSID."""
_ANSWER: Final = Struct("=4xH10xi")
"""The type, and the errno of an error, which is negative."""
_NLA_U32: Final = 8
_ID: Final = slice(24, 28)
"""Where an answer that is no error has the id: NETNSA_NSID comes first."""
_DATAGRAM: Final = 1 << 12
_NONE: Final = NETNSA_NSID_NOT_ASSIGNED.to_bytes(4, byteorder, signed=True)


class Ids:
    """Asks for the ids of namespaces, and gives one to those that have none.  An id is bytes, as messages have it."""

    def __init__(self) -> None:
        self._sock = open_rtnl()
        self._send, self._recv = self._sock.send, self._sock.recv
        self._here = os.stat(THIS_ONE).st_ino

    def of(self, netns_fd: int) -> bytes:
        """The id of a namespace; HERE for the one that asks.

        Raises:
            KernelError: it cannot have one.
        """
        if os.fstat(netns_fd).st_ino == self._here:
            return HERE
        found = self._ask(RTM_GETNSID, NLM_F_REQUEST, netns_fd)
        return found if found != _NONE else self._new(netns_fd)

    def _new(self, netns_fd: int) -> bytes:
        try:
            return self._ask(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ECHO, netns_fd)
        except KernelError as error:
            if error.errno != EEXIST:  # else somebody else was quicker
                raise
        return self._ask(RTM_GETNSID, NLM_F_REQUEST, netns_fd)

    def _ask(self, nlmsg_type: int, flags: int, netns_fd: int) -> bytes:
        self._send(
            _REQUEST.pack(
                _REQUEST.size, nlmsg_type, flags, 1, 0,
                _NLA_U32, NETNSA_FD, netns_fd, _NLA_U32, NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED,
            )
        )  # fmt: skip
        answer = self._recv(_DATAGRAM)
        kind, error = _ANSWER.unpack_from(answer)
        if kind == NLMSG_ERROR and error:
            raise KernelError(-error, "giving a network namespace an id")
        return answer[_ID]

    def close(self) -> None:
        """Ask no more."""
        self._sock.close()
