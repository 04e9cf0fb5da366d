"""What can be injected into the netdevice chain: any event by name or number, with the info that belongs to it.

Injecting only calls the chain.  It changes nothing by itself; an operation (`link set lo up`) changes a device and
thereby causes events.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from addrsvc.errors import ControlError
from addrsvc.model.dev import dev_get_by_name
from addrsvc.model.structs import (
    NetDevice,
    NetdevNotifierChangeInfo,
    NetdevNotifierChangeupperInfo,
    NetdevNotifierInfo,
    NetdevNotifierInfoExt,
    NetdevNotifierPreChangeaddrInfo,
)
from addrsvc.uapi import (
    IFF_NAMES,
    NETDEV_CHANGE,
    NETDEV_CHANGEMTU,
    NETDEV_CHANGEUPPER,
    NETDEV_PRE_CHANGEADDR,
    NETDEV_PRECHANGEUPPER,
    NetdevEvent,
)

__all__ = ["INFO_OF_EVENT", "make_info", "parse_event"]

_FLAG_BITS: Final = {name: bit for bit, name in IFF_NAMES.items()}


def parse_event(event: str | int) -> NetdevEvent:
    """An event by name, with or without NETDEV_ and in any case, or by number.

    Raises:
        ControlError: there is none such; the text names the nearest.
    """
    if isinstance(event, bool) or not isinstance(event, int | str):
        raise ControlError(f"event: {event!r} is neither a name nor a number")
    text = str(int(event)) if isinstance(event, int) else event.strip()
    if text.isascii() and text.removeprefix("-").isdigit():
        try:
            return NetdevEvent(int(text))
        except ValueError:
            raise ControlError(f"event: no event has number {text}; they go from 1 to {len(NetdevEvent)}") from None
    name = "NETDEV_" + text.upper().removeprefix("NETDEV_")
    if name in NetdevEvent.__members__:
        return NetdevEvent[name]
    raise ControlError(f"event: unknown event {event!r}{_near(name, NetdevEvent.__members__)}")


def _near(word: str, known: Mapping[str, object]) -> str:
    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


# --- the info of an event -------------------------------------------------------------------------------------------


def _number(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    try:
        if not text.isascii() or "_" in text:
            raise ValueError(text)
        return int(text, 0)
    except ValueError:
        raise ControlError(f"{name}: {value!r} is not a number") from None


def _u32(name: str, value: object) -> int:
    number = _number(name, value)
    if not 0 <= number <= 0xFFFFFFFF:
        raise ControlError(f"{name}: {number} does not fit 32 bits")
    return number


def _flags(name: str, value: object) -> int:
    """Flag bits: a number, or names joined by commas (NOARP,DEBUG)."""
    if isinstance(value, int) or str(value)[:1].isdigit():
        return _u32(name, value)
    bits = 0
    for word in str(value).split(","):
        flag = word.strip().upper().removeprefix("IFF_")
        if flag not in _FLAG_BITS:
            raise ControlError(f"{name}: unknown flag {word!r}{_near(flag, _FLAG_BITS)}")
        bits |= _FLAG_BITS[flag]
    return bits


def _bool(name: str, value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ControlError(f"{name}: {value!r} is neither yes nor no") from None


def _hwaddr(name: str, value: object) -> bytes:
    try:
        return value if isinstance(value, bytes) else bytes.fromhex(str(value).replace(":", ""))
    except ValueError:
        raise ControlError(f"{name}: {value!r} is no hardware address, such as 02:00:00:00:00:01") from None


def _text(name: str, value: object) -> str:
    return str(value)


_Parser = Callable[[str, object], object]
_Made = tuple[Callable[..., NetdevNotifierInfo], Mapping[str, _Parser]]

# One row per event that brings more than its device: the struct, and how each of its members is read.
INFO_OF_EVENT: Final[Mapping[int, _Made]] = {
    NETDEV_CHANGEMTU: (NetdevNotifierInfoExt, {"mtu": _u32}),
    NETDEV_CHANGE: (NetdevNotifierChangeInfo, {"flags_changed": _flags}),
    NETDEV_PRE_CHANGEADDR: (NetdevNotifierPreChangeaddrInfo, {"dev_addr": _hwaddr}),
    NETDEV_CHANGEUPPER: (NetdevNotifierChangeupperInfo, {"upper_dev": _text, "master": _bool, "linking": _bool}),
    NETDEV_PRECHANGEUPPER: (NetdevNotifierChangeupperInfo, {"upper_dev": _text, "master": _bool, "linking": _bool}),
}


def make_info(event: NetdevEvent, dev: NetDevice, given: Mapping[str, object]) -> NetdevNotifierInfo:
    """The info to inject, out of `given` texts or values.

    For CHANGEMTU, `mtu` is the MTU from before the change; for PRE_CHANGEADDR, `dev_addr` is the address to come.  Both
    default to the device's own.

    Raises:
        ControlError: a member that this event does not have, or a value that cannot be one.
    """
    make, members = INFO_OF_EVENT.get(event, (NetdevNotifierInfo, {}))
    own = {"mtu": dev.mtu, "dev_addr": dev.dev_addr}
    values: dict[str, Any] = {name: own[name] for name in members if name in own}
    for name, value in given.items():
        if name not in members:
            has = f"only {', '.join(members)}" if members else "no info"
            raise ControlError(f"{name}: {event.name} has {has}")
        values[name] = _device(dev, value) if name == "upper_dev" else members[name](name, value)
    if "dev_addr" in given and len(values["dev_addr"]) != dev.addr_len:
        raise ControlError(f"dev_addr: {dev.name} has hardware addresses of {dev.addr_len} bytes")
    return make(dev, **values)


def _device(dev: NetDevice, value: object) -> NetDevice:
    upper = dev_get_by_name(dev.net, str(value))
    if upper is None:
        raise ControlError(f"upper_dev: no device {value!r} in namespace {dev.net.name}")
    return upper
