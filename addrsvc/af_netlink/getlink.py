"""RTM_GETLINK as bytes: net/core/rtnetlink.c and net/ipv6/addrconf.c, single answers and dumps."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from errno import EINVAL
from struct import Struct
from typing import Final, TypeAlias

from addrsvc.af_netlink.ifinfomsg import (
    IFINFOMSG,
    Reader,
    check_header,
    each_attr,
    has_header,
    parse,
    refuse_others,
)
from addrsvc.af_netlink.link_request import decode, ensure_unique_netns, kind_of
from addrsvc.af_netlink.nets import rtnl_get_net_ns_capable
from addrsvc.af_netlink.request import Dump, Handler, Request, for_each_netdev_dump
from addrsvc.af_netlink.truesize import if_nlmsg_size, large_truesize, trimmed
from addrsvc.errors import KernelError
from addrsvc.model.inet6_dev import inet6_fill_ifinfo
from addrsvc.model.newlink import find_link
from addrsvc.model.rtnl import rtmsg_ifinfo_build
from addrsvc.model.rtnl_link_ops import rtnl_link_ops_get
from addrsvc.model.structs import Net, NetDevice, RtnlLinkOps
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import LinkMsg
from addrsvc.netlink.nlattr import NL_VALIDATE_DEPRECATED_STRICT
from addrsvc.uapi import (
    AF_INET6,
    AF_UNSPEC,
    IFLA_ALT_IFNAME,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_TARGET_NETNSID,
    NLM_F_DUMP_FILTERED,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    RTM_GETLINK,
    RTM_NEWLINK,
)

__all__ = ["HANDLERS"]

_NLMSG_HDRLEN: Final = 16
_NLA_HDRLEN: Final = 4
_U32: Final = Struct("=I")


def _fill_ifinfo(request: Request, dev: NetDevice, asked: LinkMsg, flags: int = 0) -> bytes:
    """Kernel: net/core/rtnetlink.c, rtnl_fill_ifinfo()."""
    msg = rtmsg_ifinfo_build(RTM_NEWLINK, dev, 0, ext_filter_mask=asked.ext_mask or 0)
    return encode(replace(msg, nlmsg_flags=flags, target_netnsid=asked.target_netnsid), request.seq, request.portid)


def _getlink(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_getlink()."""
    reader = _valid_getlink_req(request)
    ensure_unique_netns(reader, netns_id_only=True)
    asked = decode(reader)
    dev = find_link(_target(reader), asked)
    message = _fill_ifinfo(request, dev, asked.msg)
    request.reply(message, trimmed(len(message), large_truesize(_size_of(dev, asked.msg.ext_mask or 0))))


def _target(reader: Reader, words: str | None = None) -> Net:
    """The namespace that is asked about."""
    nsid, request = reader.s32(IFLA_TARGET_NETNSID), reader.request
    return request.net if nsid is None else rtnl_get_net_ns_capable(request, nsid, words)


def _valid_getlink_req(request: Request) -> Reader:
    """Kernel: net/core/rtnetlink.c, rtnl_valid_getlink_req()."""
    if not has_header(request):
        raise KernelError(EINVAL, "Invalid header for get link")
    if not request.strict:
        return parse(request)
    check_header(request, "Invalid values in header for get link request")
    reader = parse(request, NL_VALIDATE_DEPRECATED_STRICT)
    allowed = (IFLA_IFNAME, IFLA_ALT_IFNAME, IFLA_EXT_MASK, IFLA_TARGET_NETNSID)
    refuse_others(reader, allowed, "Unsupported attribute in get link request")
    return reader


_Keeps: TypeAlias = Callable[[NetDevice], bool]


def _dump_ifinfo(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/rtnetlink.c, rtnl_dump_ifinfo()."""
    net, asked, keeps = _valid_dump_ifinfo_req(dump)
    opens, prev_seq = True, 0
    for dev in for_each_netdev_dump(dump, net):
        if not keeps(dev):
            continue
        flags = NLM_F_MULTI if keeps is _everything else NLM_F_MULTI | NLM_F_DUMP_FILTERED
        if opens and prev_seq not in (0, net.dev_base_seq):
            flags |= NLM_F_DUMP_INTR
        prev_seq = net.dev_base_seq
        yield _fill_ifinfo(dump, dev, asked, flags)
        opens = dump.full


def _calcit(request: Request) -> int:
    """How many bytes a datagram must hold, for a reader who can say what is to be left out; 0 for the usual.

    Kernel: net/core/rtnetlink.c, rtnl_calcit().
    """
    start = _NLMSG_HDRLEN + (IFINFOMSG.size if has_header(request) else 1 + 3 & ~3)
    ext_mask = 0
    for type_, (offset, length) in each_attr(request.data, start, len(request.data)):
        if type_ == IFLA_EXT_MASK and length == _U32.size:
            ext_mask = int(_U32.unpack_from(request.data, offset)[0])
    if not ext_mask:
        return 0
    devs = request.net.dev_base_head.values()
    return max((_size_of(dev, ext_mask) for dev in devs), default=_NLMSG_HDRLEN)


def _size_of(dev: NetDevice, ext_mask: int) -> int:
    kind = dev.rtnl_link_ops.kind if dev.rtnl_link_ops is not None else None
    ipv4, ipv6 = dev.ip_ptr is not None, dev.ip6_ptr is not None
    return if_nlmsg_size(len(dev.altnames), kind, ipv4=ipv4, ipv6=ipv6, ext_filter_mask=ext_mask)


def _everything(dev: NetDevice) -> bool:
    return True


def _valid_dump_ifinfo_req(dump: Dump) -> tuple[Net, LinkMsg, _Keeps]:
    """Of which namespace devices are to be told, how, and which of them.

    Kernel: net/core/rtnetlink.c, rtnl_valid_dump_ifinfo_req(): what cannot be read is passed over, unless the socket
    wants it strictly.
    """
    try:
        reader = _parse_dump_req(dump)
    except KernelError:
        if dump.strict:
            raise
        return dump.net, LinkMsg(), _everything
    net = dump.net
    for attr in sorted(reader.tb):
        if attr == IFLA_TARGET_NETNSID:
            net = _target(reader, "Invalid target network namespace id")
        elif dump.strict and attr not in (IFLA_EXT_MASK, IFLA_MASTER, IFLA_LINKINFO):
            raise KernelError(EINVAL, "Unsupported attribute in link dump request")
    asked = LinkMsg(ext_mask=reader.u32(IFLA_EXT_MASK), target_netnsid=reader.s32(IFLA_TARGET_NETNSID))
    return net, asked, _filter(reader)


def _parse_dump_req(dump: Dump) -> Reader:
    if not dump.strict:
        return parse(dump, hdrlen=IFINFOMSG.size if has_header(dump) else 1)
    if not has_header(dump):
        raise KernelError(EINVAL, "Invalid header for link dump")
    check_header(dump, "Invalid values in header for link dump request")
    if IFINFOMSG.unpack_from(dump.data, _NLMSG_HDRLEN)[3]:
        raise KernelError(EINVAL, "Filter by device index not supported for link dumps")
    return parse(dump, NL_VALIDATE_DEPRECATED_STRICT)


def _filter(reader: Reader) -> _Keeps:
    """Kernel: net/core/rtnetlink.c, link_dump_filtered(): no device of the model has a master."""
    master = reader.s32(IFLA_MASTER) or 0
    ops = _kind_ops(reader)
    if not master and ops is None:
        return _everything
    return lambda dev: master in (0, -1) and (ops is None or dev.rtnl_link_ops is ops)


def _kind_ops(reader: Reader) -> RtnlLinkOps | None:
    """Kernel: net/core/rtnetlink.c, linkinfo_to_kind_ops()."""
    try:
        kind = kind_of(reader)
    except KernelError:
        return None
    return rtnl_link_ops_get(reader.request.net.machine, kind)


def _dump_ifinfo6(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/ipv6/addrconf.c, inet6_dump_ifinfo(), inet6_valid_dump_ifinfo()."""
    if dump.strict:
        if not has_header(dump):
            raise KernelError(EINVAL, "ipv6: Invalid header for link dump request")
        if len(dump.data) > _NLMSG_HDRLEN + IFINFOMSG.size:
            raise KernelError(EINVAL, "ipv6: Invalid data after header")
        check_header(dump, "ipv6: Invalid values in header for dump request", also_index=True)
    for dev in for_each_netdev_dump(dump):
        if dev.ip6_ptr is not None:
            yield encode(replace(inet6_fill_ifinfo(dev.ip6_ptr), nlmsg_flags=NLM_F_MULTI), dump.seq, dump.portid)


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETLINK, AF_UNSPEC): Handler(doit=_getlink, dumpit=_dump_ifinfo, split_done=True, calcit=_calcit),
    (RTM_GETLINK, AF_INET6): Handler(dumpit=_dump_ifinfo6),
}
