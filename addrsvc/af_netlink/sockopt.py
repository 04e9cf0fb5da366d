"""net/netlink/af_netlink.c and net/core/sock.c, the options of a netlink socket."""

from collections.abc import Mapping
from errno import EINVAL, ENOPROTOOPT, EPERM
from struct import Struct
from typing import TYPE_CHECKING, Final

from addrsvc.af_netlink.groups import NGROUPS
from addrsvc.errors import KernelError
from addrsvc.netlink.nlattr import NLMSG_ALIGN
from addrsvc.uapi import (
    INT_MAX,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_BROADCAST_ERROR,
    NETLINK_CAP_ACK,
    NETLINK_DROP_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NETLINK_LIST_MEMBERSHIPS,
    NETLINK_LISTEN_ALL_NSID,
    NETLINK_NO_ENOBUFS,
    NETLINK_PKTINFO,
    SO_MEMINFO,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SOL_NETLINK,
    SOL_SOCKET,
)

if TYPE_CHECKING:
    from addrsvc.af_netlink.sock import NetlinkSock

__all__ = ["netlink_getsockopt", "netlink_setsockopt"]

_S32: Final = Struct("=i")
_MEMINFO: Final = Struct("=9I")
_U32_MAX: Final = 0xFFFFFFFF
_BUFFER_MAX: Final = 4194304
_RCVBUF_MIN: Final = 2304
_SNDBUF_MIN: Final = 4608

# One row per option that is a flag, with the member that holds it.
_FLAGS: Final[Mapping[int, str]] = {
    NETLINK_PKTINFO: "pktinfo",
    NETLINK_BROADCAST_ERROR: "broadcast_error",
    NETLINK_NO_ENOBUFS: "no_enobufs",
    NETLINK_LISTEN_ALL_NSID: "listen_all_nsid",
    NETLINK_CAP_ACK: "cap_ack",
    NETLINK_EXT_ACK: "ext_ack",
    NETLINK_GET_STRICT_CHK: "strict_chk",
}


def netlink_setsockopt(sock: "NetlinkSock", level: int, option: int, value: int) -> None:
    """Set an option; those of SOL_NETLINK, and of SOL_SOCKET the sizes of the buffers.

    Kernel: net/netlink/af_netlink.c, netlink_setsockopt(); net/core/sock.c, sk_setsockopt().

    Raises:
        KernelError: ENOPROTOOPT, no such option; EINVAL, no such group; EPERM.
    """
    if level == SOL_SOCKET:
        _set_buffer(sock, option, value)
    elif level != SOL_NETLINK:
        raise KernelError(ENOPROTOOPT)
    elif option in (NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP):
        _set_membership(sock, option, value & _U32_MAX)
    elif option in _FLAGS:
        _set_flag(sock, option, on=bool(value))
    else:
        raise KernelError(ENOPROTOOPT)


def _set_membership(sock: "NetlinkSock", option: int, group: int) -> None:
    sock.ngroups = NGROUPS
    if not 0 < group <= NGROUPS:
        raise KernelError(EINVAL)
    if option == NETLINK_DROP_MEMBERSHIP:
        sock.listen(sock.groups - {group})
        return
    sock.may_hear(group)
    sock.listen(sock.groups | {group})


def _set_flag(sock: "NetlinkSock", option: int, *, on: bool) -> None:
    if option == NETLINK_LISTEN_ALL_NSID and not sock.admin:
        raise KernelError(EPERM)
    setattr(sock, _FLAGS[option], on)
    if option == NETLINK_NO_ENOBUFS and on:
        sock.congested = False


def _set_buffer(sock: "NetlinkSock", option: int, value: int) -> None:
    force = option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE)
    if option not in (SO_RCVBUF, SO_SNDBUF) and not force:
        raise KernelError(ENOPROTOOPT)
    if force and not sock.admin:
        raise KernelError(EPERM)
    size = 2 * min(max(value, 0) if force else min(value & _U32_MAX, _BUFFER_MAX), INT_MAX // 2)
    if option in (SO_RCVBUF, SO_RCVBUFFORCE):
        sock.rcvbuf = max(size, _RCVBUF_MIN)
    else:
        sock.sndbuf = max(size, _SNDBUF_MIN)


def netlink_getsockopt(sock: "NetlinkSock", level: int, option: int, length: int = 64) -> bytes:
    """What an option is, as bytes: how many they are is what getsockopt(2) tells, what fits of them is copied.

    Args:
        level: SOL_NETLINK or SOL_SOCKET.
        option: the option.
        length: the room that the caller says it has.

    Kernel: net/netlink/af_netlink.c, netlink_getsockopt(); net/core/sock.c, sk_getsockopt().

    Raises:
        KernelError: ENOPROTOOPT, no such option; EINVAL, no room.
    """
    if length < 0:
        raise KernelError(EINVAL)
    if level == SOL_SOCKET:
        return _get_socket(sock, option)[:length]
    if level == SOL_NETLINK and option == NETLINK_LIST_MEMBERSHIPS:
        return sum(1 << group - 1 for group in sock.groups).to_bytes(NLMSG_ALIGN((sock.ngroups + 7) // 8), "little")
    if level != SOL_NETLINK or option not in _FLAGS:
        raise KernelError(ENOPROTOOPT)
    if length < _S32.size:
        raise KernelError(EINVAL)
    return _S32.pack(getattr(sock, _FLAGS[option]))


def _get_socket(sock: "NetlinkSock", option: int) -> bytes:
    if option in (SO_RCVBUF, SO_SNDBUF):
        return _S32.pack(sock.rcvbuf if option == SO_RCVBUF else sock.sndbuf)
    if option == SO_MEMINFO:
        return _MEMINFO.pack(sock.rmem_alloc, sock.rcvbuf, 0, sock.sndbuf, 0, 0, 0, 0, sock.drops)
    raise KernelError(ENOPROTOOPT)
