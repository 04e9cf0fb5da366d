"""net/core/rtnetlink.c: which handler a request goes to, and what is checked before it gets there."""

from collections.abc import Iterator, Mapping
from errno import EOPNOTSUPP, EPERM
from typing import Final

from addrsvc.af_netlink import (
    action,
    addr,
    addrlabel,
    bridge,
    fdb,
    getlink,
    ipmr,
    link,
    neigh,
    neightbl,
    netconf,
    newroute,
    nexthop,
    nsid,
    others,
    route,
    rule,
    sched,
    stats,
)
from addrsvc.af_netlink.request import NEXT_DATAGRAM, Dump, Handler, Lane, Request
from addrsvc.errors import KernelError
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.uapi import (
    AF_PACKET,
    AF_UNSPEC,
    NLM_F_BULK,
    NLM_F_DUMP,
    RTM_GETADDR,
    RTM_GETNETCONF,
    RTM_GETROUTE,
    RTM_MAX,
    RTNL_FAMILY_MAX,
)

__all__ = ["HANDLERS", "LANES", "rtnetlink_rcv_msg"]

_NLMSG_HDRLEN: Final = 16
_KIND_DEL, _KIND_GET = 1, 2


def rtnl_dump_all(dump: Dump) -> Iterator[bytes]:
    """What every family has to tell, family by family; the end comes in a datagram of its own.

    Kernel: net/core/rtnetlink.c, rtnl_dump_all().
    """
    for family in range(AF_UNSPEC + 1, RTNL_FAMILY_MAX + 1):
        handler = HANDLERS.get((dump.nlmsg_type, family))
        if family != AF_PACKET and handler is not None and handler.dumpit is not None:
            dump.prev_seq = 0
            yield from handler.dumpit(dump)
    dump.base_seq = None  # nobody looks at it again
    yield NEXT_DATAGRAM


# One row per message type and family, from the tables of the modules that serve them.
HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    **action.HANDLERS,
    **addr.HANDLERS,
    **addrlabel.HANDLERS,
    **fdb.HANDLERS,
    **ipmr.HANDLERS,
    **link.HANDLERS,
    **getlink.HANDLERS,
    **bridge.HANDLERS,
    **neigh.HANDLERS,
    **neightbl.HANDLERS,
    **netconf.HANDLERS,
    **newroute.HANDLERS,
    **nexthop.HANDLERS,
    **nsid.HANDLERS,
    **others.HANDLERS,
    **route.HANDLERS,
    **rule.HANDLERS,
    **sched.HANDLERS,
    **stats.HANDLERS,
    (RTM_GETADDR, AF_UNSPEC): Handler(dumpit=rtnl_dump_all),
    (RTM_GETROUTE, AF_UNSPEC): Handler(dumpit=rtnl_dump_all),
    (RTM_GETNETCONF, AF_UNSPEC): Handler(dumpit=rtnl_dump_all),
}


# One row per message type that has a usual form which is served without further ado.
LANES: Final[Mapping[int, Lane]] = addr.LANES


def _find(nlmsg_type: int, family: int, half: str) -> Handler:
    """The handler of a family, or the one for any family, that has this half.

    Kernel: net/core/rtnetlink.c, rtnl_get_link().
    """
    for wanted in (family, AF_UNSPEC):
        handler = HANDLERS.get((nlmsg_type, wanted))
        if handler is not None and getattr(handler, half) is not None:
            return handler
    raise KernelError(EOPNOTSUPP)


def rtnetlink_rcv_msg(request: Request) -> bool:
    """Serve one request.  False if it became a dump, which is answered by and by and never acknowledged.

    Kernel: net/core/rtnetlink.c, rtnetlink_rcv_msg().

    Raises:
        KernelError: the refusal; what it says beyond its errno and text is in `request.extack`.
    """
    if request.nlmsg_type > RTM_MAX:
        raise KernelError(EOPNOTSUPP)
    if len(request.data) == _NLMSG_HDRLEN:
        return True
    kind = request.nlmsg_type & 3
    if kind != _KIND_GET and not request.sock.may_admin():
        raise KernelError(EPERM)
    family = request.data[_NLMSG_HDRLEN]
    if kind == _KIND_GET and request.flags & NLM_F_DUMP:
        handler = _find(request.nlmsg_type, family, "dumpit")
        request.sock.dump_start(request, handler)
        return False
    handler = _find(request.nlmsg_type, family, "doit")
    if kind == _KIND_DEL and request.flags & NLM_F_BULK and not handler.bulk_delete:
        raise KernelError(EOPNOTSUPP, "Bulk delete is not supported")
    assert handler.doit is not None
    with rtnl_lock(request.net.machine):
        handler.doit(request)
    return True
