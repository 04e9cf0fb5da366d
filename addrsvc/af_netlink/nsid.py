"""RTM_*NSID as bytes: net/core/net_namespace.c, the ids by which a namespace knows others."""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENOENT
from typing import Final

from addrsvc.af_netlink.nets import get_net_ns_by_fd, get_net_ns_by_pid, rtnl_get_net_ns_capable
from addrsvc.af_netlink.request import Dump, Handler, Request
from addrsvc.errors import KernelError
from addrsvc.model.netns_ids import get_net_ns_by_id, peernet2id, rtnl_net_newid
from addrsvc.model.structs import Net
from addrsvc.netlink.messages import NsidMsg
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NLA_S32,
    NLA_U32,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_UNSPEC,
    NETNSA_FD,
    NETNSA_MAX,
    NETNSA_NSID,
    NETNSA_PID,
    NETNSA_TARGET_NSID,
    RTM_GETNSID,
    RTM_NEWNSID,
)

__all__ = ["HANDLERS"]

_RTGENMSG_SIZE: Final = 1

# Kernel: net/core/net_namespace.c, rtnl_net_policy.
_POLICY: Final[Policies] = {
    NETNSA_NSID: NlaPolicy(NLA_S32),
    NETNSA_PID: NlaPolicy(NLA_U32),
    NETNSA_FD: NlaPolicy(NLA_U32),
    NETNSA_TARGET_NSID: NlaPolicy(NLA_S32),
}


def _parse(request: Request, validate: int) -> None:
    request.tb = nlmsg_parse(request.data, _RTGENMSG_SIZE, NETNSA_MAX, _POLICY, validate, request.extack)


def _peer(request: Request, *, known: bool) -> tuple[Net, int]:
    """The namespace that a request is about, perhaps named by an id already known, and what it is named by."""
    for attr in (NETNSA_PID, NETNSA_FD, NETNSA_NSID) if known else (NETNSA_PID, NETNSA_FD):
        number = request.number(attr, signed=attr == NETNSA_NSID)
        if number is not None:
            try:
                return _named(request, attr, number), attr
            except KernelError as refusal:
                raise KernelError(refusal.errno or EINVAL, "Peer netns reference is invalid", attr=attr) from None
    raise KernelError(EINVAL, "Peer netns reference is missing")


def _named(request: Request, attr: int, number: int) -> Net:
    if attr == NETNSA_PID:
        return get_net_ns_by_pid(request, number)
    if attr == NETNSA_FD:
        return get_net_ns_by_fd(request, number)
    net = get_net_ns_by_id(request.net, number)
    if net is None:
        raise KernelError(ENOENT)
    return net


def _target(request: Request, words: str) -> Net | None:
    """The namespace whose ids are asked for, if that is another one."""
    nsid = request.number(NETNSA_TARGET_NSID, signed=True)
    return None if nsid is None else rtnl_get_net_ns_capable(request, nsid, words, NETNSA_TARGET_NSID)


def _newid(request: Request) -> None:
    """Kernel: net/core/net_namespace.c, rtnl_net_newid()."""
    _parse(request, NL_VALIDATE_LIBERAL)
    nsid = request.number(NETNSA_NSID, signed=True)
    if nsid is None:
        raise KernelError(EINVAL, "nsid is missing")
    peer, attr = _peer(request, known=False)
    rtnl_net_newid(request.net, peer, nsid, named_by=attr)


def _getid(request: Request) -> None:
    """Kernel: net/core/net_namespace.c, rtnl_net_getid(), rtnl_net_valid_getid_req()."""
    _parse(request, NL_VALIDATE_DEPRECATED_STRICT if request.strict else NL_VALIDATE_LIBERAL)
    if request.strict and request.tb.keys() - {NETNSA_PID, NETNSA_FD, NETNSA_NSID, NETNSA_TARGET_NSID}:
        raise KernelError(EINVAL, "Unsupported attribute in peer netns getid request")
    peer, _ = _peer(request, known=True)
    target = _target(request, "Target netns reference is invalid")
    request.answer(_fill(request.net, target, peer))


def _fill(net: Net, target: Net | None, peer: Net) -> NsidMsg:
    """Kernel: net/core/net_namespace.c, rtnl_net_fill()."""
    if target is None:
        return NsidMsg(RTM_NEWNSID, nsid=peernet2id(net, peer))
    return NsidMsg(RTM_NEWNSID, nsid=peernet2id(target, peer), current_nsid=peernet2id(net, peer))


def _dumpid(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/core/net_namespace.c, rtnl_net_dumpid(), rtnl_valid_dump_net_req()."""
    target = None
    if dump.strict:
        _parse(dump, NL_VALIDATE_DEPRECATED_STRICT)
        for attr in sorted(dump.tb):
            if attr != NETNSA_TARGET_NSID:
                raise KernelError(EINVAL, "Unsupported attribute in dump request", attr=attr)
            target = _target(dump, "Invalid target network namespace id")
    about = target or dump.net
    dump.lossy = True
    for nsid in sorted(about.netns_ids):
        yield dump.message(_fill(dump.net, target, about.netns_ids[nsid]))


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWNSID, AF_UNSPEC): Handler(_newid),
    (RTM_GETNSID, AF_UNSPEC): Handler(_getid, _dumpid),
}
