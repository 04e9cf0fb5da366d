"""RTM_*LINK of bridges' family as bytes: net/core/rtnetlink.c; there are no bridges."""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENODEV, EOPNOTSUPP
from struct import Struct
from typing import Final

from addrsvc.af_netlink.ifinfomsg import IFINFOMSG, check_header, each_attr, has_header, parse, refuse_others
from addrsvc.af_netlink.request import Dump, Handler, Request
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.netlink.nlattr import NL_VALIDATE_DEPRECATED_STRICT
from addrsvc.uapi import AF_BRIDGE, IFLA_AF_SPEC, IFLA_EXT_MASK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK

__all__ = ["HANDLERS"]

_NLMSG_HDRLEN: Final = 16
_U16: Final = Struct("=H")

_IFLA_BRIDGE_FLAGS, _IFLA_BRIDGE_MODE = 0, 1


def _dump_bridge(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/rtnetlink.c, rtnl_bridge_getlink(): there are no bridges."""
    try:
        _valid_bridge_getlink_req(dump)
    except KernelError:
        if dump.strict:
            raise
    yield from ()


def _valid_bridge_getlink_req(dump: Dump) -> None:
    """Kernel: net/core/rtnetlink.c, valid_bridge_getlink_req()."""
    if not dump.strict:
        parse(dump)
        return
    if not has_header(dump):
        raise KernelError(EINVAL, "Invalid header for bridge link dump")
    check_header(dump, "Invalid values in header for bridge link dump request", also_index=True)
    reader = parse(dump, NL_VALIDATE_DEPRECATED_STRICT)
    refuse_others(reader, (IFLA_EXT_MASK,), "Unsupported attribute in bridge link dump request")


def _bridge_change(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_bridge_setlink(), rtnl_bridge_dellink(): no device takes such a request."""
    if not has_header(request):
        raise KernelError(EINVAL)
    ifindex = IFINFOMSG.unpack_from(request.data, _NLMSG_HDRLEN)[3]
    if dev_get_by_index(request.net, ifindex) is None:
        raise KernelError(ENODEV, "unknown ifindex")
    _check_bridge_spec(request)
    raise KernelError(EOPNOTSUPP)


def _check_bridge_spec(request: Request) -> None:
    """Refuse flags, or in RTM_SETLINK a mode, that are too short; of several flags the first count."""
    has_flags = False
    for type_, (_, length) in _bridge_spec(request):
        is_flags = type_ == _IFLA_BRIDGE_FLAGS and not has_flags
        is_mode = type_ == _IFLA_BRIDGE_MODE and request.nlmsg_type == RTM_SETLINK
        if (is_flags or is_mode) and length < _U16.size:
            raise KernelError(EINVAL)
        has_flags |= is_flags


def _bridge_spec(request: Request) -> Iterator[tuple[int, tuple[int, int]]]:
    """What lies in the first IFLA_AF_SPEC."""
    start = _NLMSG_HDRLEN + IFINFOMSG.size
    for type_, (offset, length) in each_attr(request.data, start, len(request.data)):
        if type_ == IFLA_AF_SPEC:
            return each_attr(request.data, offset, offset + length)
    return iter(())


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETLINK, AF_BRIDGE): Handler(dumpit=_dump_bridge),
    (RTM_SETLINK, AF_BRIDGE): Handler(doit=_bridge_change),
    (RTM_DELLINK, AF_BRIDGE): Handler(doit=_bridge_change),
}
