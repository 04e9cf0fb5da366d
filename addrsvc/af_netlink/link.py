"""RTM_NEWLINK and what else changes links, as bytes: net/core/rtnetlink.c."""

from collections.abc import Iterator, Mapping
from typing import Final

from addrsvc.af_netlink.ifinfomsg import IFLA_POLICY, Reader, nla_strscpy, parse
from addrsvc.af_netlink.link_request import decode, ensure_unique_netns, read_linkinfo
from addrsvc.af_netlink.request import Handler, Request
from addrsvc.model.newlink import dellink, newlink, rtnl_linkprop, setlink
from addrsvc.netlink.nlattr import NL_VALIDATE_LIBERAL, NL_VALIDATE_STRICT, nla_parse
from addrsvc.uapi import (
    AF_UNSPEC,
    ALTIFNAMSIZ,
    IFLA_ALT_IFNAME,
    IFLA_MAX,
    IFLA_PROP_LIST,
    RTM_DELLINK,
    RTM_DELLINKPROP,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
    RTM_SETLINK,
)

__all__ = ["HANDLERS"]

_NLA_HDRLEN: Final = 4


def _read(request: Request, validate: int = NL_VALIDATE_LIBERAL, *, netns_id_only: bool = False) -> Reader:
    reader = parse(request, validate)
    ensure_unique_netns(reader, netns_id_only=netns_id_only)
    return reader


def _newlink(request: Request) -> None:
    reader = _read(request)
    newlink(request.net, decode(reader, read_linkinfo(reader)))


def _setlink(request: Request) -> None:
    setlink(request.net, decode(_read(request)))


def _dellink(request: Request) -> None:
    dellink(request.net, decode(_read(request, netns_id_only=True)))


def _linkprop(request: Request) -> None:
    """Kernel: net/core/rtnetlink.c, rtnl_linkprop()."""
    reader = _read(request, NL_VALIDATE_STRICT, netns_id_only=True)
    rtnl_linkprop(request.net, decode(reader), _altnames(reader), add=request.nlmsg_type == RTM_NEWLINKPROP)


def _altnames(reader: Reader) -> Iterator[str]:
    """Kernel: net/core/rtnetlink.c, rtnl_alt_ifname()."""
    data, extack = reader.data, reader.request.extack
    for type_, (offset, length) in reader.each(IFLA_PROP_LIST):
        if type_ == IFLA_ALT_IFNAME:
            end = offset + length
            nla_parse(data, offset - _NLA_HDRLEN, end, IFLA_MAX, IFLA_POLICY, NL_VALIDATE_STRICT, extack)
            yield nla_strscpy(data[offset:end], ALTIFNAMSIZ)


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWLINK, AF_UNSPEC): Handler(doit=_newlink),
    (RTM_DELLINK, AF_UNSPEC): Handler(doit=_dellink),
    (RTM_SETLINK, AF_UNSPEC): Handler(doit=_setlink),
    (RTM_NEWLINKPROP, AF_UNSPEC): Handler(doit=_linkprop),
    (RTM_DELLINKPROP, AF_UNSPEC): Handler(doit=_linkprop),
}
