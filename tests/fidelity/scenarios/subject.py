"""The kernel that a scenario is about: the model, the running one, or both at once, who then have to agree.

The same test runs on each.  On the first two it proves the facts that it states; on both at once also everything that
it does not state, since every field of what they refuse, say and hold is compared after every request.
"""

import socket
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from ipaddress import ip_address
from typing import Self, TypeVar

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, RouteMsg
from addrsvc.pytest_plugin.namespaces import create
from addrsvc.uapi import AF_INET6, IFA_F_TENTATIVE, IFF_UP, RTM_DELADDR, RTM_GETMULTICAST, RTM_NEWADDR
from tests.af_netlink.twins import KernelPort, ModelPort
from tests.fidelity.compare import DAD_RESTART, Difference, Outcome, by_address, is_chancy, normal
from tests.fidelity.notation import brief, holds, refusal
from tests.fidelity.scenarios.programs import Program, model_program, running_program
from tests.fidelity.scenarios.wire import PORTID, ComparedPort, OnePort, Port, UnprivilegedPort

__all__ = ["Compared", "Model", "Running", "Subject", "address", "addresses", "groups", "lo", "routes"]

T = TypeVar("T")

QUIET = 0.008
"""Seconds of silence after which the running kernel's work queues count as empty."""
SOON = 0.001
"""And those after which it is worth a look whether all has been said that is expected."""
PATIENCE = 0.8
"""Seconds that a busy machine may take until an address is done with, or until all is said that is expected.

Less than any of the kernel's timers here, so that a model which does at once what the kernel does by one still shows.
"""

UPTIME = 60.0
UNORDERED = "net/if_inet6"
"""The addresses once more; in the kernel by a hash that is another in each namespace."""


class Subject(ABC):
    """One fresh namespace of a kernel, asked and listened to."""

    def ask(self, *asks: Message) -> str:
        """Ask one after the other; what the last one was refused with, if it was, and what was said to it, in brief."""
        *before, last = asks
        for ask in before:
            self.do(ask)
        outcome = self.do(last)
        return f"{outcome.refused} {brief(outcome.said)}".strip()

    @abstractmethod
    def do(self, ask: Message) -> Outcome:
        """Ask: what it was refused with, what was said to it, and what is held then, in full."""

    @abstractmethod
    def rush(self, *asks: Message) -> str:
        """Ask one right after the other, so that work which is put off may not have begun when the next one comes."""

    @abstractmethod
    def send(self, ask: Message) -> None:
        """Ask, and do not wait for what is said to it."""

    @abstractmethod
    def wait(self, seconds: float) -> tuple[Message, ...]:
        """Let time pass; what was said in it."""

    @abstractmethod
    def holds(self) -> tuple[Message, ...]:
        """What a dump shows."""

    @abstractmethod
    def read(self, sysctl: str) -> str:
        """The text of a sysctl; KernelError where it cannot be read."""

    @abstractmethod
    def proc(self, path: str) -> str:
        """A file below /proc; KernelError where there is none."""

    @abstractmethod
    def port(self, *, strict: bool = False, admin: bool = True) -> Port:
        """A netlink socket in it, bytes in and bytes out; ends with the subject."""

    @abstractmethod
    def program(self) -> Program:
        """A program that runs in it, and ends with the subject."""

    @abstractmethod
    def another(self) -> "Subject":
        """A second namespace of the same kernel."""

    @abstractmethod
    def close(self) -> None:
        """End the namespace."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Model(Subject):
    """A namespace of the model.  Its time passes only in `wait`."""

    def __init__(self, linux: Linux | None = None, net: Namespace | None = None) -> None:
        self.linux = linux or _booted()
        self.net = net or self.linux.init_net
        self._watch = self.net.watch()

    def do(self, ask: Message) -> Outcome:
        refused = _refused(self.net, ask)
        if is_chancy(ask):
            self.linux.advance(DAD_RESTART)
        return Outcome(refused, normal(self._watch), self.holds())

    def send(self, ask: Message) -> None:
        self.net.request(ask)

    def rush(self, *asks: Message) -> str:
        return " ".join(filter(None, map(self.ask, asks)))

    def wait(self, seconds: float) -> tuple[Message, ...]:
        self.linux.advance(seconds)
        return normal(self._watch)

    def holds(self) -> tuple[Message, ...]:
        return normal(self.net.dump())

    def read(self, sysctl: str) -> str:
        return self.net.sysctl(sysctl)

    def proc(self, path: str) -> str:
        return self.net.proc(path)

    def port(self, *, strict: bool = False, admin: bool = True) -> Port:
        return OnePort(ModelPort(self.net, portid=PORTID, strict=strict, admin=admin))

    def program(self) -> Program:
        return model_program(self.linux, self.net)

    def another(self) -> "Model":
        return Model(self.linux, self.linux.add_net(f"net{len(self.linux.nets)}"))

    def close(self) -> None:
        self._watch.close()


def _booted() -> Linux:
    """A machine that has been up for a while, so that a time stamp of 0 is none."""
    linux = Linux()
    linux.advance(UPTIME)
    return linux


class Running(Subject):
    """A namespace of the running kernel."""

    def __init__(self) -> None:
        with create("compared") as netns:
            self.kernel = RtnlKernel(netns)
        self._watch = self.kernel.watch(settle=QUIET)
        self._ports: list[Port] = []
        self._opened: list[socket.socket] = []

    @property
    def netns(self) -> NetNs:
        return self.kernel.netns

    def fileno(self) -> int:
        """Readable when something was said."""
        return self._watch.fileno()

    def do(self, ask: Message, expected: Outcome | None = None) -> Outcome:
        """The same; where it is known what is to come, without waiting for more once that has come."""
        refused, said = _refused(self.kernel, ask), tuple[Message, ...]()
        if expected is not None:
            said = self.wait(0, quiet=SOON)
            if Outcome(refused, said, self.holds()) == expected:
                return expected
        said += self.wait(DAD_RESTART if is_chancy(ask) else 0)
        return Outcome(refused, said + self._finish(), self.holds())

    def _finish(self) -> tuple[Message, ...]:
        """Wait until no address waits for the work queue any more, and for what the queue says last."""
        said, begun = tuple[Message, ...](), time.monotonic()
        while time.monotonic() < begun + _patience(self.kernel.dump()):
            said += self.wait(0)
        _refused(self.kernel, _BARRIER)
        return said + self.wait(0, quiet=SOON)

    def send(self, ask: Message) -> None:
        self.kernel.request(ask)

    def rush(self, *asks: Message) -> str:
        for ask in asks:
            self.send(ask)
        return brief(self.wait(0))

    def wait(self, seconds: float, *, quiet: float = QUIET) -> tuple[Message, ...]:
        said: list[Message] = []
        until = time.monotonic() + seconds
        while True:
            self._watch.settle = max(quiet, until - time.monotonic())
            said.extend(self._watch)
            if time.monotonic() >= until:
                return normal(said)

    def holds(self) -> tuple[Message, ...]:
        return normal(self.kernel.dump())

    def read(self, sysctl: str) -> str:
        return self.kernel.sysctl(sysctl)

    def proc(self, path: str) -> str:
        return self.kernel.proc(path)

    def port(self, *, strict: bool = False, admin: bool = True) -> Port:
        port = OnePort(KernelPort(self.netns, portid=PORTID, strict=strict)) if admin else UnprivilegedPort(self.netns)
        self._ports.append(port)
        return port

    def program(self) -> Program:
        return running_program(self.netns, self._opened)

    def another(self) -> "Running":
        return Running()

    def close(self) -> None:
        for port in self._ports:
            port.close()
        for sock in self._opened:
            sock.close()
        self._watch.close()
        self.kernel.close()


class Compared(Subject):
    """A namespace of each kernel, asked the same.  Where they part, the test ends with both sides."""

    def __init__(self, model: Model | None = None, running: Running | None = None) -> None:
        self.model, self.running = model or Model(), running or Running()
        self._script: list[Message] = []

    def do(self, ask: Message) -> Outcome:
        self._script.append(ask)
        model = self.model.do(ask)
        running = self.running.do(ask, model)
        deadline = time.monotonic() + PATIENCE
        while _sorted(model, ask) != _sorted(running, ask) and time.monotonic() < deadline:
            running = replace(running, said=running.said + self.running.wait(0), holds=self.running.holds())
        if _sorted(model, ask) != _sorted(running, ask):
            pytest.fail(str(Difference(tuple(self._script), model, running)))
        self._agreed(*(sorted(it.proc(UNORDERED).splitlines()) for it in (self.model, self.running)))
        return running

    def send(self, ask: Message) -> None:
        self.model.send(ask)
        self.running.send(ask)

    def rush(self, *asks: Message) -> str:
        raise NotImplementedError("two kernels need not be in time with each other")

    def wait(self, seconds: float) -> tuple[Message, ...]:
        model, running = self.model.wait(seconds), self.running.wait(seconds)
        deadline = time.monotonic() + PATIENCE
        while model != running and time.monotonic() < deadline:
            running += self.running.wait(0)
        return self._agreed(model, running)

    def holds(self) -> tuple[Message, ...]:
        return self._agreed(self.model.holds(), self.running.holds())

    def read(self, sysctl: str) -> str:
        return self._agreed(self.model.read(sysctl), self.running.read(sysctl))

    def proc(self, path: str) -> str:
        return self._agreed(self.model.proc(path), self.running.proc(path))

    def _agreed(self, model: T, running: T) -> T:
        assert model == running
        return running

    def port(self, *, strict: bool = False, admin: bool = True) -> Port:
        return ComparedPort(*(it.port(strict=strict, admin=admin) for it in (self.model, self.running)))

    def program(self) -> Program:
        raise NotImplementedError("a program runs on one kernel")

    def another(self) -> "Compared":
        return Compared(self.model.another(), self.running.another())

    def close(self) -> None:
        self.model.close()
        self.running.close()


def _sorted(outcome: Outcome, ask: Message) -> Outcome:
    return replace(outcome, said=by_address(outcome.said)) if is_chancy(ask) else outcome


def _refused(kernel: Namespace | RtnlKernel, ask: Message) -> str:
    try:
        kernel.request(ask)
    except KernelError as error:
        return refusal(error)
    return ""


_BARRIER = AddrMsg(
    nlmsg_type=RTM_DELADDR, ifa_index=1, ifa_prefixlen=128, local=b"\x20\x01\x0d\xb8" + bytes(11) + b"\xff"
)
"""A request that is refused, but only with RTNL: the work queue, which holds it too, has said by then what it does."""


def _patience(dump: tuple[Message, ...]) -> float:
    """How many seconds the work queue may take yet: DAD ends an address's being tentative, and gives it its route."""
    up = {msg.ifi_index for msg in dump if isinstance(msg, LinkMsg) and msg.ifi_flags & IFF_UP}
    addresses = [msg for msg in dump if isinstance(msg, AddrMsg) and _is_there(msg) and msg.ifa_index in up]
    if any((msg.flags or 0) & IFA_F_TENTATIVE for msg in addresses):
        return PATIENCE
    routed = {msg.dst for msg in dump if isinstance(msg, RouteMsg)}
    return PATIENCE if any((msg.local or msg.address) not in routed for msg in addresses) else 0.0


def _is_there(msg: AddrMsg) -> bool:
    """Whether it is of a dump of IPv6 addresses, not of groups."""
    return (msg.nlmsg_type, msg.ifa_family) == (RTM_NEWADDR, AF_INET6)


# --- what is held, in brief -----------------------------------------------------------------------------------------


def addresses(subject: Subject) -> str:
    """The addresses with their prefix lengths, in the order of a dump."""
    return holds(subject.holds())


def address(subject: Subject, text: str) -> AddrMsg:
    """One address in full, by what it reads as without its prefix length."""
    packed = ip_address(text).packed
    found = [msg for msg in subject.holds() if isinstance(msg, AddrMsg) and packed in (msg.local, msg.address)]
    assert len(found) == 1, f"{text} is there {len(found)} times"
    return found[0]


def routes(subject: Subject) -> str:
    """The IPv6 routes, in the order of a dump."""
    return brief(msg for msg in subject.holds() if isinstance(msg, RouteMsg))


def groups(subject: Subject) -> str:
    """The IPv6 groups that are joined, in the order of a dump."""
    told = (msg.multicast for msg in subject.holds() if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_GETMULTICAST)
    return " ".join(str(ip_address(group)) for group in told if group)


def lo(subject: Subject) -> LinkMsg:
    """The loopback device in full."""
    return next(msg for msg in subject.holds() if isinstance(msg, LinkMsg))
