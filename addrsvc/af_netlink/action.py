"""RTM_*ACTION as bytes: net/sched/act_api.c.  There is one kind of action, mirred, and none of it."""

from collections.abc import Iterator, Mapping
from errno import EINVAL, ENOENT, EOPNOTSUPP
from typing import Final

from addrsvc.af_netlink.request import Dump, Handler, Request
from addrsvc.errors import KernelError
from addrsvc.model.rtnl import printk
from addrsvc.netlink.messages import TcaMsg
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_LIBERAL,
    NLA_BINARY,
    NLA_STRING,
    NLA_U32,
    Attrs,
    ExtAck,
    NlaPolicy,
    Policies,
    nla_parse_nested_deprecated,
    nlmsg_parse,
)
from addrsvc.uapi import AF_UNSPEC, IFNAMSIZ, NLM_F_ROOT, RTM_DELACTION, RTM_GETACTION, RTM_NEWACTION

__all__ = ["HANDLERS"]

_TCAMSG_SIZE: Final = 4
_TCA_ACT_TAB, _TCA_ROOT_FLAGS, _TCA_ROOT_TIME_DELTA, _TCA_ROOT_MAX = 1, 2, 4, 5
_TCA_ACT_MAX_PRIO: Final = 32
_KIND, _OPTIONS, _INDEX, _COOKIE, _FLAGS, _HW_STATS = 1, 2, 3, 6, 7, 8
_TCA_ACT_MAX: Final = 10
_MIRRED: Final = "mirred"

# Kernel: net/sched/act_api.c, tcaa_policy, tcf_action_policy.
_ROOT_POLICY: Final[Policies] = {
    _TCA_ROOT_FLAGS: NlaPolicy.bitfield32(3),
    _TCA_ROOT_TIME_DELTA: NlaPolicy(NLA_U32),
}
_ACTION_POLICY: Final[Policies] = {
    _KIND: NlaPolicy(NLA_STRING),
    _INDEX: NlaPolicy(NLA_U32),
    _COOKIE: NlaPolicy(NLA_BINARY, len=16),
    _FLAGS: NlaPolicy.bitfield32(7),
    _HW_STATS: NlaPolicy.bitfield32(3),
}


def _actions(request: Request) -> list[tuple[int, int]]:
    """Where the actions of a request lie, up to the first number that is missing."""
    request.tb = nlmsg_parse(request.data, _TCAMSG_SIZE, _TCA_ROOT_MAX, None, NL_VALIDATE_LIBERAL, request.extack)
    if _TCA_ACT_TAB not in request.tb:
        raise KernelError(EINVAL, "Netlink action attributes missing")
    return _listed(request, request.extack)


def _listed(request: Request, extack: ExtAck) -> list[tuple[int, int]]:
    table = request.tb[_TCA_ACT_TAB]
    places = nla_parse_nested_deprecated(request.data, table, _TCA_ACT_MAX_PRIO + 1, None, extack)
    if request.nlmsg_type == RTM_NEWACTION and _TCA_ACT_MAX_PRIO + 1 in places:
        raise KernelError(EINVAL, "Only 32 actions supported per filter")
    listed: list[tuple[int, int]] = []
    while len(listed) < _TCA_ACT_MAX_PRIO and len(listed) + 1 in places:
        listed.append(places[len(listed) + 1])
    return listed


def _parse(request: Request, place: tuple[int, int], extack: ExtAck) -> Attrs:
    return nla_parse_nested_deprecated(request.data, place, _TCA_ACT_MAX, _ACTION_POLICY, extack)


def _kind(request: Request, action: Attrs) -> str | None:
    if _KIND not in action:
        return None
    at, length = action[_KIND]
    return request.data[at : at + length].split(b"\0")[0].decode("utf-8", "surrogateescape")


def _add(request: Request) -> None:
    """Kernel: net/sched/act_api.c, tc_ctl_action(), tcf_action_init(), tc_action_load_ops()."""
    parsed = []
    for place in _actions(request):
        action = _parse(request, place, request.extack)
        kind = _kind(request, action)
        if kind is None:
            raise KernelError(EINVAL, "TC action kind must be specified")
        if len(kind.encode("utf-8", "surrogateescape")) >= IFNAMSIZ:
            raise KernelError(EINVAL, "TC action name too long")
        if kind != _MIRRED:
            raise KernelError(ENOENT, "Failed to load TC action module")
        parsed.append(action)
    if any(_OPTIONS not in action for action in parsed[:1]):
        raise KernelError(EINVAL, "act_mirred: Mirred requires attributes to be passed")
    if parsed:
        raise KernelError(EOPNOTSUPP, "Actions are not modelled")
    request.send(TcaMsg(RTM_NEWACTION, request.flags, tab=b"", ext_warn_msg=request.extack.msg))


def _find(request: Request, place: tuple[int, int]) -> None:
    """Kernel: net/sched/act_api.c, tcf_action_get_1()."""
    action = _parse(request, place, request.extack)
    if _INDEX not in action:
        raise KernelError(EINVAL, "Invalid TC action index value")
    if _kind(request, action) != _MIRRED:
        raise KernelError(EINVAL, "Specified TC action kind not found")
    raise KernelError(ENOENT, "TC action with specified index not found")


def _del(request: Request) -> None:
    """Kernel: net/sched/act_api.c, tca_action_gd(), tca_action_flush()."""
    actions = _actions(request)
    if request.flags & NLM_F_ROOT:
        if not actions:
            raise KernelError(EINVAL, "Invalid netlink attributes while flushing TC action")
        if _kind(request, _parse(request, actions[0], request.extack)) != _MIRRED:
            raise KernelError(EINVAL, "Cannot flush unknown TC action")
        return
    for place in actions:
        _find(request, place)
    request.send(TcaMsg(RTM_DELACTION, tab=b"", ext_warn_msg=request.extack.msg))


def _get(request: Request) -> None:
    """Kernel: net/sched/act_api.c, tca_action_gd(), tcf_get_notify()."""
    for place in _actions(request):
        _find(request, place)
    request.answer(TcaMsg(RTM_GETACTION, tab=b""))


def _dump(dump: Dump) -> Iterator[bytes]:
    """Kernel: net/sched/act_api.c, tc_dump_action(), find_dump_kind()."""
    dump.tb = nlmsg_parse(dump.data, _TCAMSG_SIZE, _TCA_ROOT_MAX, _ROOT_POLICY, NL_VALIDATE_LIBERAL, dump.extack)
    if not _names_a_kind(dump):
        printk(dump.net.machine, "info", "tc_dump_action: action bad kind")
    yield from ()


def _names_a_kind(dump: Dump) -> bool:
    if _TCA_ACT_TAB not in dump.tb:
        return False
    try:
        actions = _listed(dump, ExtAck())
        return bool(actions) and _KIND in _parse(dump, actions[0], ExtAck())
    except KernelError:
        return False


HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_NEWACTION, AF_UNSPEC): Handler(_add),
    (RTM_DELACTION, AF_UNSPEC): Handler(_del),
    (RTM_GETACTION, AF_UNSPEC): Handler(_get, _dump),
}
