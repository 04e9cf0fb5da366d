"""What happened in the model, told one thing at a time: events, the callbacks that they passed, and what was said.

The trace gives the order and the nesting, this module the words.  A thing told is a plain dict (`Said`), so it can be
printed, kept, and carried over the control socket.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from addrsvc.daemon.commands import Said
from addrsvc.model.notifier import NOTIFY_BAD, NOTIFY_STOP_MASK, notifier_to_errno
from addrsvc.model.structs import (
    In6ValidatorInfo,
    Inet6Ifaddr,
    InIfaddr,
    InValidatorInfo,
    NetDevice,
    NetdevNotifierChangeInfo,
    NetdevNotifierInfo,
    NetdevNotifierInfoExt,
    Printk,
    RtnlNotify,
)
from addrsvc.model.tracepoint import CallbackRan, ChainEntered, ChainLeft, Recorded, StoryEntry
from addrsvc.netlink.messages import LinkMsg, Message
from addrsvc.netlink.text import Json, inet_ntop, json_line, to_json
from addrsvc.uapi import NetdevEvent

if TYPE_CHECKING:
    from addrsvc.linux import Linux

__all__ = ["Teller"]

_NETDEV_CHAIN: Final = "netdev_chain"


class Teller:
    """Tells what a model did since the last time it was asked."""

    def __init__(self, linux: "Linux") -> None:
        self._linux = linux
        self._names: dict[str, dict[int, str]] = {}
        self.said_by: list[str] = []
        """The namespaces that said something, as of the last tell()."""

    def tell(self) -> list[Said]:
        """Everything since the last time, oldest first; trace and effects are taken from the model."""
        self.said_by = [effect.net for effect in self._linux.effects() if isinstance(effect, RtnlNotify)]
        story = list(_without_idle_walks(self._linux.trace.story()))
        self._linux.trace.clear()
        return [said for entry in story if (said := self._said(entry)) is not None]

    def _said(self, entry: "StoryEntry | _Idle") -> Said | None:
        match entry:
            case _Idle(walk=walk, passed=passed):
                return _event(walk, f"  (passed {_callbacks(passed)})", {"passed": passed})
            case ChainEntered():
                return _event(entry)
            case CallbackRan():
                return _callback(entry)
            case Recorded():
                return self._recorded(entry)
            case ChainLeft():
                return None

    def _recorded(self, entry: Recorded) -> Said:
        match entry.what:
            case RtnlNotify(net=net, msg=msg):
                data = to_json(msg, self._names_for(net, msg))
                return _tell("message", net, entry.depth, f"{data['message']}  {json_line(data)}", data)
            case Printk(level=level, text=text):
                return _tell("printk", "", entry.depth, text, {"level": level})
            case what:
                return _tell("tracepoint", "", entry.depth, str(what), {})

    def _names_for(self, net: str, msg: Message) -> dict[int, str]:
        """Device names as of this message: what the links said on the way here."""
        names = self._names.setdefault(net, {})
        if isinstance(msg, LinkMsg) and msg.ifname is not None:
            names[msg.ifi_index] = msg.ifname
        return names


# --- walks ----------------------------------------------------------------------------------------------------------


class _Idle:
    """A walk during which nothing happened: `passed` callbacks were called."""

    __match_args__ = ("walk", "passed")

    def __init__(self, walk: ChainEntered, passed: int) -> None:
        self.walk = walk
        self.passed = passed


def _without_idle_walks(story: Iterable[StoryEntry]) -> Iterator["StoryEntry | _Idle"]:
    """Fold a walk in which every callback just passed into one entry, and drop the walks of empty chains."""
    walk: list[StoryEntry] = []
    for entry in story:
        match entry:
            case ChainEntered():
                yield from walk
                walk = [entry]
            case CallbackRan() if walk and not _is_stop(entry.ret):
                walk.append(entry)
            case ChainLeft() if walk and isinstance(first := walk[0], ChainEntered):
                yield from [_Idle(first, len(walk) - 1)] if len(walk) > 1 else []
                walk = []
            case _:
                yield from walk
                walk = []
                yield entry
    yield from walk


def _is_stop(ret: int | None) -> bool:
    return ret is None or bool(ret & NOTIFY_STOP_MASK)


def _callbacks(number: int) -> str:
    return "1 callback" if number == 1 else f"{number} callbacks"


# --- words ----------------------------------------------------------------------------------------------------------


def _tell(kind: str, net: str, depth: int, text: str, data: Json) -> Said:
    return {"seq": 0, "kind": kind, "net": net, "depth": depth, "text": text, "data": data}


def _event(entry: ChainEntered, more: str = "", more_data: Json | None = None) -> Said:
    event = _event_name(entry.val)
    net, what, data = _about(entry.v)
    where = "" if entry.chain == _NETDEV_CHAIN else f"  [{entry.chain}]"
    data = {"event": event, "chain": entry.chain, **data, **(more_data or {})}
    return _tell("event", net, entry.depth, f"{event}  {what}{where}{more}", data)


def _event_name(val: int) -> str:
    try:
        return NetdevEvent(val).name
    except ValueError:
        return str(val)


def _about(v: object) -> tuple[str, str, Json]:
    """The namespace, the words, and the data of what came with an event."""
    match v:
        case NetdevNotifierInfoExt(dev=dev, mtu=mtu):
            return dev.net.name, f"{dev.name}  (mtu was {mtu})", {"dev": dev.name, "mtu": mtu}
        case NetdevNotifierChangeInfo(dev=dev, flags_changed=changed):
            return (
                dev.net.name,
                f"{dev.name}  (flags_changed {changed:#x})",
                {"dev": dev.name, "flags_changed": changed},
            )
        case NetdevNotifierInfo(dev=dev):
            return _of_device(dev, "")
        case Inet6Ifaddr():
            return _of_device(v.idev.dev, f"{inet_ntop(v.addr)}/{v.prefix_len}")
        case InIfaddr():
            return _of_device(v.ifa_dev.dev, f"{inet_ntop(v.ifa_local)}/{v.ifa_prefixlen}")
        case In6ValidatorInfo(i6vi_addr=addr, i6vi_dev=idev):
            return _of_device(idev.dev, inet_ntop(addr))
        case InValidatorInfo(ivi_addr=addr, ivi_dev=in_dev):
            return _of_device(in_dev.dev, inet_ntop(addr))
        case _:
            return "", type(v).__name__, {}


def _of_device(dev: NetDevice, address: str) -> tuple[str, str, Json]:
    if not address:
        return dev.net.name, dev.name, {"dev": dev.name}
    return dev.net.name, f"{dev.name} {address}", {"dev": dev.name, "address": address}


def _callback(entry: CallbackRan) -> Said:
    text = entry.name
    if entry.priority:
        text += f"  (priority {entry.priority})"
    if entry.ret is None or entry.ret & NOTIFY_STOP_MASK:
        text += f"  {_verdict(entry.ret)}"
    data: Json = {"callback": entry.name, "priority": entry.priority, "ret": entry.ret}
    return _tell("callback", "", entry.depth, text, data)


def _verdict(ret: int | None) -> str:
    if ret is None:
        return "raised"
    if ret == NOTIFY_BAD:
        return "NOTIFY_BAD"
    return f"stopped the chain ({notifier_to_errno(ret)})"
