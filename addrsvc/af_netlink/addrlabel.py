"""RTM_*ADDRLABEL as bytes: net/ipv6/addrlabel.c."""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ESRCH
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import NLMSGHDR, Dump, Handler, Request, resumable
from addrsvc.errors import KernelError
from addrsvc.model.addrlabel import (
    IPV6_ADDR_LABEL_DEFAULT,
    IPV6_ADDR_MAPPED,
    ip6addrlbl_add,
    ip6addrlbl_del,
    ipv6_addr_label_entry,
    label_type,
)
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.structs import AddrLabel
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_INET6,
    NLM_F_REPLACE,
    RTM_DELADDRLABEL,
    RTM_GETADDRLABEL,
    RTM_NEWADDRLABEL,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_IFADDRLBLMSG: Final = Struct("=BBBBiI")
_PREFIX_MAX: Final = 128
_IFAL_ADDRESS, _IFAL_LABEL = 1, 2
_IFAL_MAX: Final = _IFAL_LABEL
_NLATTRS: Final = Struct("=HH16sHHI")
"""IFAL_ADDRESS and IFAL_LABEL."""

# Kernel: net/ipv6/addrlabel.c, ifal_policy.
_POLICY: Final[Policies] = {_IFAL_ADDRESS: NlaPolicy(len=16), _IFAL_LABEL: NlaPolicy(len=4)}


def _parse(request: Request, validate: int) -> None:
    request.tb = nlmsg_parse(request.data, _IFADDRLBLMSG.size, _IFAL_MAX, _POLICY, validate, request.extack)


def _address(request: Request) -> bytes:
    payload = request.payload(_IFAL_ADDRESS)
    if payload is None:
        raise KernelError(EINVAL)
    return payload[:16]


def _newdel(request: Request) -> None:
    """Kernel: net/ipv6/addrlabel.c, ip6addrlbl_newdel()."""
    _parse(request, NL_VALIDATE_LIBERAL)
    family, _, prefixlen, _, ifindex, _ = _IFADDRLBLMSG.unpack_from(request.data, _HDRLEN)
    if family != AF_INET6 or prefixlen > _PREFIX_MAX:
        raise KernelError(EINVAL)
    prefix, label = _address(request), request.number(_IFAL_LABEL)
    if label is None or label == IPV6_ADDR_LABEL_DEFAULT:
        raise KernelError(EINVAL)
    if request.nlmsg_type == RTM_DELADDRLABEL:
        ip6addrlbl_del(request.net, prefix, prefixlen, ifindex)
        return
    _check_device(request, ifindex)
    replace = bool(request.flags & NLM_F_REPLACE)
    ip6addrlbl_add(request.net, prefix, prefixlen, ifindex, label, replace=replace)


def _check_device(request: Request, ifindex: int) -> None:
    if ifindex and dev_get_by_index(request.net, ifindex) is None:
        raise KernelError(EINVAL)


def _valid_get_req(request: Request) -> None:
    """Kernel: net/ipv6/addrlabel.c, ip6addrlbl_valid_get_req()."""
    if len(request.data) < _HDRLEN + _IFADDRLBLMSG.size:
        raise KernelError(EINVAL, "ipv6: Invalid header for addrlabel get request")
    _, reserved, _, flags, _, seq = _IFADDRLBLMSG.unpack_from(request.data, _HDRLEN)
    if request.strict and (reserved or flags or seq):
        raise KernelError(EINVAL, "ipv6: Invalid values in header for addrlabel get request")
    _parse(request, NL_VALIDATE_DEPRECATED_STRICT if request.strict else NL_VALIDATE_LIBERAL)
    if request.strict and request.tb.keys() - {_IFAL_ADDRESS}:
        raise KernelError(EINVAL, "ipv6: Unsupported attribute in addrlabel get request")


def _get(request: Request) -> None:
    """Kernel: net/ipv6/addrlabel.c, ip6addrlbl_get()."""
    _valid_get_req(request)
    family, _, prefixlen, _, ifindex, _ = _IFADDRLBLMSG.unpack_from(request.data, _HDRLEN)
    if family != AF_INET6 or prefixlen != _PREFIX_MAX:
        raise KernelError(EINVAL)
    _check_device(request, ifindex)
    address = _address(request)
    # The rest of the type is not masked out here, so that only mapped addresses are told apart by it.
    entry = ipv6_addr_label_entry(request.net, address, ifindex, label_type(address) & IPV6_ADDR_MAPPED)
    if entry is None:
        raise KernelError(ESRCH)
    request.reply(_fill(request, entry, 0))


def _fill(request: Request, entry: AddrLabel, flags: int) -> bytes:
    """Kernel: net/ipv6/addrlabel.c, ip6addrlbl_fill()."""
    body = _IFADDRLBLMSG.pack(AF_INET6, 0, entry.prefixlen, 0, entry.ifindex, request.net.ipv6.addr_labels_seq)
    body += _NLATTRS.pack(20, _IFAL_ADDRESS, entry.prefix, 8, _IFAL_LABEL, entry.label)
    return NLMSGHDR.pack(_HDRLEN + len(body), RTM_NEWADDRLABEL, flags, request.seq, request.portid) + body


def _dump(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv6/addrlabel.c, ip6addrlbl_dump()."""
    if dump.strict:
        _valid_dump_req(dump)
    for entry in resumable(dump, lambda: dump.net.ipv6.addr_labels):
        yield _fill(dump, entry, dump.nlmsg_flags())


def _valid_dump_req(dump: Dump) -> None:
    """Kernel: net/ipv6/addrlabel.c, ip6addrlbl_valid_dump_req()."""
    if len(dump.data) < _HDRLEN + _IFADDRLBLMSG.size:
        raise KernelError(EINVAL, "ipv6: Invalid header for address label dump request")
    _, *values = _IFADDRLBLMSG.unpack_from(dump.data, _HDRLEN)
    if any(values):
        raise KernelError(EINVAL, "ipv6: Invalid values in header for address label dump request")
    if len(dump.data) > _HDRLEN + _IFADDRLBLMSG.size:
        raise KernelError(EINVAL, "ipv6: Invalid data after header for address label dump request")


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWADDRLABEL, AF_INET6): Handler(_newdel),
    (RTM_DELADDRLABEL, AF_INET6): Handler(_newdel),
    (RTM_GETADDRLABEL, AF_INET6): Handler(_get, _dump),
}
