"""The service without its sockets: a model that runs, the kernels that follow it, and those who watch.

Two entrances, `ask` and `tick`, end in the same pump: what happened is handed to the watchers, the mirrors whose
namespace is concerned look at their kernel, and the one timer is set again.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from addrsvc.daemon import commands
from addrsvc.daemon.commands import Said
from addrsvc.daemon.story import Teller
from addrsvc.errors import AddrsvcError, ControlError
from addrsvc.netlink.text import command_line, names_of, to_json

if TYPE_CHECKING:
    from addrsvc.linux import Linux, Namespace
    from addrsvc.mirror.converge import Outcome
    from addrsvc.mirror.kernel import Kernel
    from addrsvc.mirror.plan import Divergence, Dump, Plan

__all__ = ["HISTORY", "Mirror", "NotPermitted", "Service", "Watcher"]

HISTORY: Final = 1000
"""How many of the last things said a new watcher can still be told."""


class NotPermitted(AddrsvcError):
    """A change was asked for by somebody who may only query."""


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
        kernel: the running kernel's namespace; any other Kernel will do.
        baseline: the model's namespace when it last agreed with the kernel's.
        sent: how many messages were sent in all.
        divergences: what differed still at the last look.
        is_due: the pump is to look.
        is_dry: nothing is ever sent; one only wants to know what would be.
    """

    name: str
    net: "Namespace"
    kernel: "Kernel"
    baseline: "Dump" = ()
    sent: int = 0
    divergences: "tuple[Divergence, ...]" = ()
    is_due: bool = True
    is_dry: bool = False

    def adopt(self) -> None:
        """Let the model take over what is the host's own, so that it never resets it."""
        from addrsvc.mirror.plan import adopt

        for msg in adopt(self.kernel.dump(), self.net.dump()):
            self.net.request(msg)
        self.baseline = self.net.dump()

    def plan(self) -> "Plan":
        """What would be sent now."""
        from addrsvc.mirror.plan import plan

        return plan(self.net.dump(), self.kernel.dump(), baseline=self.baseline)

    def converge(self) -> "Outcome":
        """Send what is missing."""
        from addrsvc.mirror.converge import converge

        self.is_due = False
        outcome = converge(self.net.dump, self.kernel, baseline=self.baseline)
        self.sent += len(outcome.sent)
        self.divergences = outcome.divergences
        self.baseline = outcome.baseline
        return outcome


@dataclass(slots=True, eq=False)
class Service:
    """A running model.

    Args:
        linux: the model; the service is the only one that runs its timers and drains its effects.
        rearm: called with the jiffies of the next timer, or None, whenever it may have changed.
    """

    linux: "Linux"
    rearm: Callable[[int | None], None] = lambda expires: None
    mirrors: dict[str, Mirror] = field(default_factory=dict)
    history: deque[Said] = field(default_factory=lambda: deque(maxlen=HISTORY))
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
        try:
            return dict(run(self, **commands.bind(run, parameters or {})) or {})
        finally:
            self._pump()

    def tick(self, now: int) -> None:
        """Let time pass: `now` is in jiffies, and never goes back."""
        self.linux.run_timers(now)
        self._pump()

    # --- who follows and who watches ---

    def follow(self, name: str, net: str, kernel: "Kernel", *, is_dry: bool = False) -> Mirror:
        """Make a kernel's namespace follow the model's namespace `net`, from the next ask or tick on.

        What the kernel's devices are like is taken over into the model first.
        """
        mirror = self.mirrors[name] = Mirror(name, self.net(net), kernel, is_dry=is_dry)
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

    def net(self, name: str) -> "Namespace":
        """A namespace of the model.

        Raises:
            ControlError: there is none of that name.
        """
        if name not in self.linux.nets:
            raise ControlError(f"net: no namespace {name!r}{commands.did_you_mean(name, list(self.linux.nets))}")
        return self.linux.nets[name]

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

    def _pump(self) -> None:
        self._hand_out(self._teller.tell())
        for mirror in list(self.mirrors.values()):
            if not mirror.is_dry and (mirror.is_due or mirror.net.name in self._teller.said_by):
                self._converge(mirror)
        self.rearm(self.linux.next_expiry())

    def _hand_out(self, things: list[Said]) -> None:
        for said in things:
            said["seq"] = next(self._numbers)
            self.history.append(said)
            for watcher in self._watchers:
                watcher.offer(said)

    def _converge(self, mirror: Mirror) -> None:
        before = mirror.divergences
        outcome = mirror.converge()
        names = names_of(mirror.net.dump())
        for step in outcome.sent:
            data = to_json(step.message, names)
            text = f"sent {data['message']}  {command_line(step.message, names)}  ({step.why})"
            self._hand_out([_said(mirror, "sent", text, {**data, "why": step.why, "repair": step.is_repair})])
        for diverged in outcome.divergences:
            if diverged not in before:
                self._hand_out([_said(mirror, "differs", f"cannot be sent: {diverged.why}", {})])


def _said(mirror: Mirror, kind: str, text: str, data: Mapping[str, object]) -> Said:
    return {"seq": 0, "kind": kind, "net": mirror.name, "depth": 0, "text": text, "data": dict(data)}
