"""Ids that other namespaces have in the service's own: by them one socket tells whom it hears.

An id stays until its namespace ends, since the kernel has no way to take it back.
"""

import os
from errno import EEXIST
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.keeper.rtnl import open_rtnl
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
_HEADER: Final = Struct("=IHHII")
_NLA_U32: Final = 8
_ID: Final = slice(24, 28)
"""Where an answer has the id: NETNSA_NSID comes first."""
_ERROR: Final = Struct("=i")


class Ids:
    """Asks for the ids of namespaces, and gives one to those that have none.  An id is bytes, as messages have it."""

    def __init__(self) -> None:
        self._sock = open_rtnl()
        self._here = os.stat("/proc/thread-self/ns/net").st_ino

    def of(self, netns_fd: int) -> bytes:
        """The id of a namespace; HERE for the one that asks.

        Raises:
            KernelError: it cannot have one.
        """
        if os.fstat(netns_fd).st_ino == self._here:
            return HERE
        answer = self._ask(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ECHO, netns_fd)
        if _errno(answer) == EEXIST:
            answer = self._ask(RTM_GETNSID, NLM_F_REQUEST, netns_fd)
        if errno := _errno(answer):
            raise KernelError(errno, "giving a network namespace an id")
        return answer[_ID]

    def _ask(self, nlmsg_type: int, flags: int, netns_fd: int) -> bytes:
        self._sock.send(
            _REQUEST.pack(
                _REQUEST.size, nlmsg_type, flags, 1, 0,
                _NLA_U32, NETNSA_FD, netns_fd, _NLA_U32, NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED,
            )
        )  # fmt: skip
        return self._sock.recv(1 << 12)

    def close(self) -> None:
        """Ask no more."""
        self._sock.close()


def _errno(answer: bytes) -> int:
    """The errno that an answer refuses with, or 0."""
    (_, nlmsg_type, *_) = _HEADER.unpack_from(answer)
    return -int(_ERROR.unpack_from(answer, _HEADER.size)[0]) if nlmsg_type == NLMSG_ERROR else 0
