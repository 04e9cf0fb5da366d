"""The service without its sockets: a model that runs, the kernels that follow it, and those who watch.

Two entrances, `ask` and `tick`, end in the same pump: what happened is handed to the watchers, the mirrors whose
namespace is concerned look at their kernel, and the one timer is set again.  A look goes both ways: what changed in the
kernel alone is adopted by the model, and then what the model has and the kernel has not is sent.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from errno import EEXIST, ENODEV
from itertools import count
from typing import TYPE_CHECKING, Final

from addrsvc.daemon import commands
from addrsvc.daemon.commands import Said
from addrsvc.daemon.story import Teller
from addrsvc.errors import AddrsvcError, ControlError, KernelError, NotPermitted
from addrsvc.model.timer import HZ
from addrsvc.netlink.messages import AddrMsg, Message
from addrsvc.netlink.text import command_line, names_of, to_json

if TYPE_CHECKING:
    from addrsvc.daemon.packets import Recorder
    from addrsvc.linux import Linux, Namespace
    from addrsvc.mirror.kernel import Door, Kernel
    from addrsvc.mirror.plan import Divergence, Dump, Plan, Step
    from addrsvc.model.structs import NetDevice

__all__ = ["HISTORY", "Mirror", "Service", "Watcher"]

HISTORY: Final = 1000
"""How many of the last things said a new watcher can still be told."""

_LOOK_EVERY: Final = HZ
"""Jiffies after which to see, at the latest, whether the mirrored namespaces are still there."""


class Watcher:
    """A bounded queue of what was said.  Whoever reads too slowly loses the oldest, and is told how many.

    What is offered in one thread may be taken in another.

    Args:
        size: how much it holds.
        wake: called when there is something to take and there was nothing before, and when the watcher is closed.
    """

    def __init__(self, size: int = HISTORY, wake: Callable[[], None] = lambda: None) -> None:
        self._queue: deque[Said] = deque(maxlen=size)
        self._wake = wake
        self._lost = 0
        self.is_open = True

    def offer(self, said: Said) -> None:
        """Put one thing into the queue; never waits."""
        if len(self._queue) == self._queue.maxlen:
            self._lost += 1
        self._queue.append(said)
        if len(self._queue) == 1:
            self._wake()

    def take(self) -> tuple[list[Said], int]:
        """Everything in the queue, and how many things before it were lost."""
        lost, self._lost = self._lost, 0
        return [self._queue.popleft() for _ in range(len(self._queue))], lost

    def close(self) -> None:
        """No more will come; what is in the queue can still be taken."""
        self.is_open = False
        self._wake()


@dataclass(slots=True, eq=False)
class Mirror:
    """One namespace of the running kernel, and the model's namespace that it follows.

    Attributes:
        name: what the kernel's namespace was opened by.
        net: the model's namespace.
        kernel: the running kernel's namespace; any other Kernel will do.  None while it is gone.
        door: where to find it again once it has gone, if there is a way.
        baseline: the devices as the model and the kernel last agreed on them.
        withheld: addresses that the model lost when it adopted something, such as disable_ipv6, and cannot have now.
        sent: how many messages were sent in all.
        divergences: what differed still at the last look.
        is_due: the pump is to look.
        is_dry: nothing is ever sent; one only wants to know what would be.
    """

    name: str
    net: "Namespace"
    kernel: "Kernel | None"
    door: "Door | None" = None
    baseline: "Dump" = ()
    withheld: tuple[AddrMsg, ...] = ()
    sent: int = 0
    divergences: "tuple[Divergence, ...]" = ()
    is_due: bool = True
    is_dry: bool = False
    _unadopted: "tuple[Divergence, ...]" = ()

    def desired(self) -> "Dump":
        """What the kernel's namespace should look like."""
        return (*self.net.dump(), *self.withheld)

    def adopt(self) -> list[Message]:
        """Let the model take over what has changed in the kernel alone, so that it never resets it.

        The addresses that it loses by that it is given back: it is not for the host to take them.

        Returns:
            What the model was asked for, and did.
        """
        from addrsvc.mirror.plan import adopt, lost, rebase

        if self.kernel is None:
            return []
        seen, before = self.kernel.dump(), self.net.dump()
        self._unadopted = ()
        adopted = [msg for msg in adopt(seen, before, baseline=self.baseline) if self._is_adopted(msg)]
        again = (*self.withheld, *lost(before, self.net.dump()))
        self.withheld = tuple(msg for msg in again if not self._is_given_back(msg))
        self.baseline = rebase(self.net.dump(), seen, self.baseline, with_new=True)
        return adopted

    def _is_adopted(self, msg: Message) -> bool:
        from addrsvc.mirror.plan import Divergence

        try:
            self.net.request(msg)
        except KernelError as error:
            text = command_line(msg, names_of(self.net.dump()))
            self._unadopted += (Divergence(f"the model refused what the host did, {text}: {error}", msg),)
            return False
        return True

    def _is_given_back(self, msg: AddrMsg) -> bool:
        try:
            self.net.request(msg)
        except KernelError as error:
            return error.errno in (EEXIST, ENODEV)
        return True

    def plan(self) -> "Plan":
        """What would be sent now."""
        from addrsvc.mirror.plan import Plan, plan

        if self.kernel is None:
            return Plan((), self.divergences)
        return plan(self.desired(), self.kernel.dump(), baseline=self.baseline)

    def converge(self) -> "tuple[Step, ...]":
        """Send what is missing.

        Returns:
            What was sent.
        """
        from addrsvc.mirror.converge import converge

        self.is_due = False
        if self.kernel is None:
            return ()
        outcome = converge(self.desired, self.kernel, baseline=self.baseline)
        self.sent += len(outcome.sent)
        self.divergences = (*self._unadopted, *outcome.divergences)
        self.baseline = outcome.baseline
        return outcome.sent

    def find(self) -> bool:
        """See whether the namespace is still there; if it is not, or has come back, start anew.

        Returns:
            Whether `kernel` is another one now.
        """
        if self.door is None or (self.kernel is not None and self.door.is_current()):
            return False
        had, self.kernel = self.kernel, None
        self.door.close()
        try:
            self.kernel = self.door.open()
        except AddrsvcError as error:
            self.divergences = (_gone(self.name, error),)
        self.baseline, self._unadopted, self.is_due = (), (), True
        return had is not self.kernel


def _gone(name: str, error: AddrsvcError) -> "Divergence":
    from addrsvc.mirror.netns import NoNetns
    from addrsvc.mirror.plan import Divergence

    return Divergence(f"{name} is gone" if isinstance(error, NoNetns) else str(error))


@dataclass(slots=True, eq=False)
class Service:
    """A running model.

    Args:
        linux: the model; the service is the only one that runs its timers and drains its effects.
        rearm: called with the jiffies of the next tick that is needed, or None, whenever it may have changed.
        heed: called with a mirror whose kernel has gone, or has come back, to listen to what is there now.
    """

    linux: "Linux"
    rearm: Callable[[int | None], None] = lambda expires: None
    heed: Callable[[Mirror], None] = lambda mirror: None
    mirrors: dict[str, Mirror] = field(default_factory=dict)
    history: deque[Said] = field(default_factory=lambda: deque(maxlen=HISTORY))
    recorders: "dict[NetDevice, Recorder]" = field(default_factory=dict)
    _watchers: list[Watcher] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _teller: Teller = field(init=False)

    def __post_init__(self) -> None:
        """Tell what the model did until now with the first ask or tick."""
        self._teller = Teller(self.linux)

    # --- the two entrances ---

    def ask(
        self, command: str, parameters: Mapping[str, object] | None = None, *, privileged: bool = True
    ) -> dict[str, object]:
        """Run one command out of `commands.QUERIES` or `commands.CHANGES`.

        Raises:
            ControlError: no such command, or parameters that it does not take.
            NotPermitted: a change, asked for without privilege.
            KernelError: the model refused.
        """
        run = commands.look_up(command)
        if command in commands.CHANGES and not privileged:
            raise NotPermitted(command)
        if command in commands.CHANGES:
            self._adopt_for((parameters or {}).get("net"))
        try:
            return dict(run(self, **commands.bind(run, parameters or {})) or {})
        finally:
            self._pump()

    def tick(self, now: int) -> None:
        """Let time pass: `now` is in jiffies, and never goes back."""
        self.linux.run_timers(now)
        self._pump()

    # --- who follows and who watches ---

    def follow(
        self, name: str, net: str, kernel: "Kernel", *, door: "Door | None" = None, is_dry: bool = False
    ) -> Mirror:
        """Make a kernel's namespace follow the model's namespace `net`, from the next ask or tick on.

        What the kernel's devices are like is taken over into the model first.

        Args:
            name: what the kernel's namespace is called.
            net: the model's namespace.
            kernel: the kernel's namespace.
            door: where it was opened, and is looked for again when it has gone.
            is_dry: nothing is ever sent.
        """
        mirror = self.mirrors[name] = Mirror(name, self.net(net), kernel, door, is_dry=is_dry)
        mirror.adopt()
        return mirror

    def watch(self, size: int = HISTORY, wake: Callable[[], None] = lambda: None) -> Watcher:
        """A watcher of everything that is said from now on; `unwatch` it when done."""
        watcher = Watcher(size, wake)
        self._watchers.append(watcher)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        """Forget a watcher.  Doing it twice is no error."""
        watcher.close()
        self._watchers = [other for other in self._watchers if other is not watcher]

    @property
    def watchers(self) -> int:
        """How many are watching."""
        return len(self._watchers)

    def close(self) -> None:
        """End all watchers' streams."""
        for watcher in list(self._watchers):
            self.unwatch(watcher)

    @property
    def default_net(self) -> str:
        """The namespace of the model that is meant where none is named: with one mirror, the one that is mirrored."""
        nets = {mirror.net.name for mirror in self.mirrors.values()}
        return nets.pop() if len(nets) == 1 else commands.INIT_NET

    def net(self, name: str | None = None) -> "Namespace":
        """A namespace of the model.

        Raises:
            ControlError: there is none of that name.
        """
        name = self.default_net if name is None else name
        if name not in self.linux.nets:
            raise ControlError(f"net: no namespace {name!r}{commands.did_you_mean(name, list(self.linux.nets))}")
        return self.linux.nets[name]

    def withdraw(self, net: str, is_meant: Callable[[AddrMsg], bool]) -> bool:
        """Forget addresses that are withheld, and tell whether there were any."""
        found = False
        for mirror in self.mirrors.values():
            if mirror.net.name == net:
                kept = tuple(msg for msg in mirror.withheld if not is_meant(msg))
                found, mirror.withheld = found or kept != mirror.withheld, kept
        return found

    def mirror_names(self, netns: str | None) -> list[str]:
        """All mirrors, or the one that is asked for.

        Raises:
            ControlError: it is not mirrored.
        """
        if netns is None:
            return list(self.mirrors)
        if netns not in self.mirrors:
            raise ControlError(f"netns: {netns!r} is not mirrored{commands.did_you_mean(netns, list(self.mirrors))}")
        return [netns]

    # --- the pump ---

    def look(self, names: Sequence[str]) -> list[Mirror]:
        """Look at mirrored namespaces now, and send what is missing."""
        mirrors = [self.mirrors[name] for name in names]
        for mirror in mirrors:
            mirror.is_due = True
        self._pump()
        return mirrors

    def _adopt_for(self, net: object) -> None:
        """Before the model's namespace is changed it learns what the host has done: of two changes the later counts."""
        for mirror in self.mirrors.values():
            if mirror.net.name == (net or self.default_net) and not mirror.is_dry:
                self._find(mirror)
                self._adopt(mirror)

    def _pump(self) -> None:
        self._tell()
        for mirror in list(self.mirrors.values()):
            self._find(mirror)
            if mirror.is_due and not mirror.is_dry:
                self._converge(mirror)
        self.rearm(self._next_tick())

    def _next_tick(self) -> int | None:
        expiry = self.linux.next_expiry()
        if not any(mirror.door for mirror in self.mirrors.values()):
            return expiry
        look = self.linux.jiffies + _LOOK_EVERY
        return look if expiry is None else min(look, expiry)

    def _tell(self) -> None:
        self._hand_out(self._teller.tell())
        for mirror in self.mirrors.values():
            mirror.is_due = mirror.is_due or mirror.net.name in self._teller.said_by

    def _hand_out(self, things: list[Said]) -> None:
        for said in things:
            said["seq"] = next(self._numbers)
            self.history.append(said)
            for watcher in self._watchers:
                watcher.offer(said)

    def _find(self, mirror: Mirror) -> None:
        before = mirror.divergences
        if mirror.find():
            self.heed(mirror)
        self._tell_divergences(mirror, before)

    def _adopt(self, mirror: Mirror) -> None:
        names = names_of(mirror.net.dump())
        for msg in mirror.adopt():
            text = f"adopted {command_line(msg, names)}  (the host's own)"
            self._hand_out([_said(mirror, "adopted", text, to_json(msg, names))])
        self._tell()

    def _converge(self, mirror: Mirror) -> None:
        self._adopt(mirror)
        before = mirror.divergences
        steps = mirror.converge()
        names = names_of(mirror.net.dump())
        for step in steps:
            data = to_json(step.message, names)
            text = f"sent {data['message']}  {command_line(step.message, names)}  ({step.why})"
            self._hand_out([_said(mirror, "sent", text, {**data, "why": step.why, "repair": step.is_repair})])
        self._tell_divergences(mirror, before)

    def _tell_divergences(self, mirror: Mirror, before: "tuple[Divergence, ...]") -> None:
        for diverged in mirror.divergences:
            if diverged not in before:
                self._hand_out([_said(mirror, "differs", f"cannot be sent: {diverged.why}", {})])


def _said(mirror: Mirror, kind: str, text: str, data: Mapping[str, object]) -> Said:
    return {"seq": 0, "kind": kind, "net": mirror.name, "depth": 0, "text": text, "data": dict(data)}
