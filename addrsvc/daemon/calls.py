"""The call story: which functions of the kernel run while something is done, as an indented tree.

Functions of the model say in their docstrings which function of the kernel they are; Python's own profiling hook says
when they are called.  What is told on the way (messages, lines of the kernel's log, tracepoints) stands where it is
told.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Final

from addrsvc.daemon.packets import Called
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import NetDevice, Printk, RtnlNotify
from addrsvc.netlink.text import json_line, to_json

if TYPE_CHECKING:
    from addrsvc.linux import Linux

__all__ = ["listening"]

_MODEL: Final = "addrsvc.model."
_ORIGIN: Final = re.compile(r"([\w/-]+\.[ch]), (\w+)\(\)((?:, \w+\(\))*)")


@contextmanager
def listening(linux: "Linux") -> Iterator[list[Called]]:
    """The calls that the block leads to, as far as it has come; its trace has to be on."""
    listener = _Listener(linux)
    before = sys.getprofile()
    sys.setprofile(listener)
    try:
        yield listener.story
    finally:
        sys.setprofile(before)
        listener.tell_what_was_recorded()


class _Listener:
    """The profiling hook, and what it has heard."""

    def __init__(self, linux: "Linux") -> None:
        self.story: list[Called] = []
        self._linux, self._ring = linux, linux.trace.ring
        self._recorded = len(self._ring)
        self._depth = 0
        self._origins: dict[CodeType, tuple[str, str] | None] = {}

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        """Heed that a function is called, or returns."""
        if event not in ("call", "return") or (origin := self._origin(frame)) is None:
            return
        self.tell_what_was_recorded()
        if event == "return":
            self._depth -= 1
            return
        name, path = origin
        self._tell(f"{name}({_about(frame.f_locals)})", path)
        self._depth += 1

    def _origin(self, frame: FrameType) -> tuple[str, str] | None:
        code = frame.f_code
        if code not in self._origins:
            self._origins[code] = _origin(code, frame.f_globals.get("__name__", ""))
        return self._origins[code]

    def tell_what_was_recorded(self) -> None:
        """Tell the effects and tracepoints that came since the last look."""
        while self._recorded < len(self._ring):
            if text := self._in_words(self._ring[self._recorded]):
                self._tell(text, "")
            self._recorded += 1

    def _in_words(self, what: object) -> str:
        """A record of the trace; nothing for the steps of a chain, whose callbacks are calls."""
        match what:
            case RtnlNotify(net=net, msg=msg):
                data = to_json(msg, self._names(net))
                return f"{data['message']}  {json_line(data)}"
            case Printk(level=level, text=text):
                return f"printk: <{level}> {text}"
            case tuple() | int() | None:
                return ""
            case _ if type(what).__str__ is object.__str__:
                return ""
            case _:
                return str(what)

    def _names(self, net: str) -> dict[int, str]:
        devices = [dev for ns in self._linux.nets.values() if ns.name == net for dev in ns.net.dev_base_head.values()]
        return {dev.ifindex: dev.name for dev in devices}

    def _tell(self, text: str, path: str) -> None:
        self.story.append({"depth": max(self._depth, 0), "text": text, "file": path})


def _origin(code: CodeType, module: str) -> tuple[str, str] | None:
    """Which function of the kernel this is, and in which file; None if it is ours, or only part of one."""
    if not module.startswith(_MODEL) or code.co_flags & inspect.CO_GENERATOR:
        return None
    docstring = code.co_consts[0] if code.co_consts else None
    _, kernel, origins = (docstring if isinstance(docstring, str) else "").partition("Kernel: ")
    found = _ORIGIN.findall(origins.partition(".\n")[0].rstrip("."))
    if not kernel or not found:
        return None
    compiled = [origin for origin in found if origin[0].endswith(".c")] or found[:1]
    names = dict.fromkeys(_name_in(code.co_name, first, others) for _, first, others in compiled)
    return "/".join(names), compiled[0][0]


def _name_in(own: str, first: str, others: str) -> str:
    """What a function is called in one file: as here, if that is a name in there, else as its first one."""
    return own if own in re.findall(r"\w+", others) else first


def _about(arguments: Mapping[str, object]) -> str:
    """What a call is about: its device, or the device of its packet."""
    for value in arguments.values():
        match value:
            case NetDevice(name=name) | SkBuff(dev=NetDevice(name=name)):
                return name
    return ""
