"""RTM_*QDISC, RTM_*TCLASS, RTM_*TFILTER and RTM_*CHAIN as bytes: net/sched/sch_api.c and cls_api.c.

A device has the one discipline that it was born with; it has no classes, and nobody filters.
"""

from collections.abc import Callable, Iterator, Mapping
from errno import EINVAL, ENODEV, ENOENT, EOPNOTSUPP
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import NEXT_DATAGRAM, Dump, Handler, Request, resumable
from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.structs import NetDevice
from addrsvc.netlink.messages import TcMsg
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_LIBERAL,
    NLA_BINARY,
    NLA_FLAG,
    NLA_NESTED,
    NLA_STRING,
    NLA_U32,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import (
    AF_UNSPEC,
    IFNAMSIZ,
    NLM_F_CREATE,
    RTM_DELCHAIN,
    RTM_DELQDISC,
    RTM_DELTCLASS,
    RTM_DELTFILTER,
    RTM_GETCHAIN,
    RTM_GETQDISC,
    RTM_GETTCLASS,
    RTM_GETTFILTER,
    RTM_NEWCHAIN,
    RTM_NEWQDISC,
    RTM_NEWTCLASS,
    RTM_NEWTFILTER,
)

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_TCMSG: Final = Struct("=B3xiIII")
_TCA_KIND, _TCA_RATE, _TCA_STAB, _TCA_DUMP_INVISIBLE, _TCA_CHAIN = 1, 5, 8, 10, 11
_TCA_INGRESS_BLOCK, _TCA_EGRESS_BLOCK, _TCA_DUMP_FLAGS = 13, 14, 15
_TCA_MAX: Final = 16
_TC_H_ROOT: Final = 0xFFFFFFFF
_TC_H_INGRESS: Final = 0xFFFFFFF1
_MAJOR: Final = 0xFFFF0000
_MINOR: Final = 0x0000FFFF
_TCM_IFINDEX_MAGIC_BLOCK: Final = -1
_BUILTIN: Final = "noop"
_KINDS: Final = (
    "pfifo_fast", "pfifo", "bfifo", "pfifo_head_drop", "mq", "noqueue", "htb", "tbf", "ingress", "clsact",
)  # fmt: skip
"""The disciplines that the running kernel has."""

# Kernel: net/sched/sch_api.c, rtm_tca_policy; net/sched/cls_api.c, tcf_tfilter_dump_policy.
_POLICY: Final[Policies] = {
    _TCA_KIND: NlaPolicy(NLA_STRING),
    _TCA_RATE: NlaPolicy(NLA_BINARY, len=2),
    _TCA_STAB: NlaPolicy(NLA_NESTED),
    _TCA_DUMP_INVISIBLE: NlaPolicy(NLA_FLAG),
    _TCA_CHAIN: NlaPolicy(NLA_U32),
    _TCA_INGRESS_BLOCK: NlaPolicy(NLA_U32),
    _TCA_EGRESS_BLOCK: NlaPolicy(NLA_U32),
}
_FILTER_DUMP_POLICY: Final[Policies] = {
    _TCA_CHAIN: NlaPolicy(NLA_U32),
    _TCA_DUMP_FLAGS: NlaPolicy.bitfield32(1),
}


class _Tc:
    """struct tcmsg and the attributes of a request."""

    __slots__ = ("handle", "ifindex", "info", "kind", "parent", "request")

    def __init__(self, request: Request, policy: Policies = _POLICY) -> None:
        request.tb = nlmsg_parse(request.data, _TCMSG.size, _TCA_MAX, policy, NL_VALIDATE_LIBERAL, request.extack)
        self.request = request
        _, self.ifindex, self.handle, self.parent, self.info = _TCMSG.unpack_from(request.data, _HDRLEN)
        kind = request.payload(_TCA_KIND)
        self.kind = None if kind is None else kind.split(b"\0")[0].decode("utf-8", "surrogateescape")

    @property
    def device(self) -> NetDevice:
        """The device that it is about."""
        dev = dev_get_by_index(self.request.net, self.ifindex)
        if dev is None:
            raise KernelError(ENODEV)
        return dev


# --- disciplines ------------------------------------------------------------------------------------------------------


def _tc_fill_qdisc(dev: NetDevice) -> TcMsg | None:
    """The discipline of a device as a message, unless it is the one that devices have which never were up.

    Kernel: net/sched/sch_api.c, tc_fill_qdisc(), tc_qdisc_dump_ignore().
    Differs: it has counted nothing.
    """
    if dev.qdisc_sleeping == _BUILTIN:
        return None
    return TcMsg(
        tcm_ifindex=dev.ifindex,
        tcm_parent=_TC_H_ROOT,
        tcm_info=_REFERENCES,
        kind=dev.qdisc_sleeping,
        options=_OPTIONS.get(dev.qdisc_sleeping),
        hw_offload=0,
        stats2=_NO_STATS2,
        stats=_NO_STATS,
    )


_REFERENCES: Final = 2
# struct tc_prio_qopt.
_OPTIONS: Final = {"pfifo_fast": bytes.fromhex("03000000 01020202010200000101010101010101")}
# TCA_STATS_BASIC and TCA_STATS_QUEUE; struct tc_stats.
_NO_STATS2: Final = bytes.fromhex("14000100") + bytes(16) + bytes.fromhex("18000300") + bytes(20)
_NO_STATS: Final = bytes(40)


def _dump_qdisc(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/sched/sch_api.c, tc_dump_qdisc()."""
    _Tc(dump)
    for dev in resumable(dump, lambda: list(dump.net.dev_base_head.values())):
        msg = _tc_fill_qdisc(dev)
        if msg is not None:
            yield dump.message(msg)
    yield NEXT_DATAGRAM


def _find_qdisc(tc: _Tc) -> NetDevice:
    """The device whose discipline is meant; none has a handle, so that it can be named as the root only."""
    dev = tc.device
    if not tc.parent:
        raise KernelError(ENOENT, "Failed to find qdisc with specified handle")
    if tc.parent & _MAJOR != _MAJOR:
        raise KernelError(ENOENT, "Failed to find qdisc with specified classid")
    if tc.parent != _TC_H_ROOT and not dev.ingress_queue:
        raise KernelError(ENOENT, "Cannot find specified qdisc on specified device")
    if tc.handle:
        raise KernelError(EINVAL, "Invalid handle")
    kind = dev.qdisc_sleeping if tc.parent == _TC_H_ROOT else _BUILTIN
    if tc.kind not in (None, kind):
        raise KernelError(EINVAL, "Invalid qdisc name: must match existing qdisc")
    return dev


def _get_qdisc(request: Request) -> None:
    """Tell whoever listens, rather than who asks.

    Kernel: net/sched/sch_api.c, tc_get_qdisc(), qdisc_get_notify().
    """
    tc = _Tc(request)
    msg = _tc_fill_qdisc(_find_qdisc(tc))
    if msg is not None and tc.parent == _TC_H_ROOT:
        request.send(msg, must_arrive=False)


def _del_qdisc(request: Request) -> None:
    """Kernel: net/sched/sch_api.c, tc_get_qdisc()."""
    _find_qdisc(_Tc(request))
    raise KernelError(ENOENT, "Cannot delete qdisc with handle of zero")


def _new_qdisc(request: Request) -> None:
    """Kernel: net/sched/sch_api.c, tc_modify_qdisc(), qdisc_create()."""
    tc = _Tc(request)
    dev = tc.device
    if not tc.parent and not tc.handle:
        raise KernelError(EINVAL, "Handle cannot be zero")
    if not tc.parent:
        raise KernelError(ENOENT, "Specified qdisc not found")
    if tc.parent not in (_TC_H_ROOT, _TC_H_INGRESS):
        raise KernelError(ENOENT, "Failed to find specified qdisc")
    dev.ingress_queue |= tc.parent == _TC_H_INGRESS
    if tc.handle & _MINOR:
        raise KernelError(EINVAL, "Invalid minor handle")
    if not request.flags & NLM_F_CREATE:
        raise KernelError(ENOENT, "Qdisc not found. To create specify NLM_F_CREATE flag")
    if tc.kind not in _KINDS:
        raise KernelError(ENOENT, "Specified qdisc kind is unknown")
    raise KernelError(EOPNOTSUPP, "Disciplines of a user's own are not modelled")


# --- classes, filters and chains --------------------------------------------------------------------------------------


def _class(request: Request) -> None:
    """Kernel: net/sched/sch_api.c, tc_ctl_tclass(): without a handle a discipline is not found."""
    tc = _Tc(request)
    _ = tc.device
    majors = {tc.handle & _MAJOR, tc.parent & _MAJOR} - {0}
    if tc.parent != _TC_H_ROOT and len(majors) > 1:
        raise KernelError(EINVAL)
    raise KernelError(ENOENT)


def _check_block(tc: _Tc, *, named: bool) -> None:
    """Kernel: net/sched/cls_api.c, __tcf_qdisc_find(), __tcf_block_find(): there is no block of filters."""
    if tc.ifindex != _TCM_IFINDEX_MAGIC_BLOCK:
        _ = tc.device
        raise KernelError(EINVAL, "Parent Qdisc doesn't exists" if tc.parent else "Qdisc not classful")
    if named and tc.kind is not None and len(tc.kind.encode("utf-8", "surrogateescape")) >= IFNAMSIZ:
        raise KernelError(EINVAL, "Specified TC filter name too long")
    raise KernelError(EINVAL, "Block of given index was not found")


def _new_filter(request: Request) -> None:
    """Kernel: net/sched/cls_api.c, tc_new_tfilter()."""
    tc = _Tc(request)
    if not tc.info & _MAJOR and not request.flags & NLM_F_CREATE:
        raise KernelError(ENOENT, "Invalid filter command with priority of zero")
    _check_block(tc, named=True)


def _del_filter(request: Request) -> None:
    """Kernel: net/sched/cls_api.c, tc_del_tfilter()."""
    tc = _Tc(request)
    if not tc.info & _MAJOR and (tc.info & _MINOR or tc.handle or tc.kind is not None):
        raise KernelError(ENOENT, "Cannot flush filters with protocol, handle or kind set")
    _check_block(tc, named=True)


def _get_filter(request: Request) -> None:
    """Kernel: net/sched/cls_api.c, tc_get_tfilter()."""
    tc = _Tc(request)
    if not tc.info & _MAJOR:
        raise KernelError(ENOENT, "Invalid filter command with priority of zero")
    _check_block(tc, named=True)


def _chain(request: Request) -> None:
    """Kernel: net/sched/cls_api.c, tc_ctl_chain()."""
    _check_block(_Tc(request), named=False)


def _dump_nothing(policy: Policies | None) -> Callable[[Dump], Iterator[bytes]]:
    def dumpit(dump: Dump) -> Iterator[bytes]:
        """Kernel: net/sched/sch_api.c, tc_dump_tclass(); net/sched/cls_api.c, tc_dump_tfilter(), tc_dump_chain()."""
        if policy is not None and len(dump.data) >= _HDRLEN + _TCMSG.size:
            _Tc(dump, policy)
        yield from ()

    return dumpit


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWQDISC, AF_UNSPEC): Handler(_new_qdisc),
    (RTM_DELQDISC, AF_UNSPEC): Handler(_del_qdisc),
    (RTM_GETQDISC, AF_UNSPEC): Handler(_get_qdisc, _dump_qdisc),
    (RTM_NEWTCLASS, AF_UNSPEC): Handler(_class),
    (RTM_DELTCLASS, AF_UNSPEC): Handler(_class),
    (RTM_GETTCLASS, AF_UNSPEC): Handler(_class, _dump_nothing(None)),
    (RTM_NEWTFILTER, AF_UNSPEC): Handler(_new_filter),
    (RTM_DELTFILTER, AF_UNSPEC): Handler(_del_filter),
    (RTM_GETTFILTER, AF_UNSPEC): Handler(_get_filter, _dump_nothing(_FILTER_DUMP_POLICY)),
    (RTM_NEWCHAIN, AF_UNSPEC): Handler(_chain),
    (RTM_DELCHAIN, AF_UNSPEC): Handler(_chain),
    (RTM_GETCHAIN, AF_UNSPEC): Handler(_chain, _dump_nothing(_POLICY)),
}
