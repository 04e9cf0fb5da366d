"""Look, plan, send, look again: until there is nothing left to send, or what is left cannot be sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EEXIST
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.plan import Divergence, Dump, Step, plan, rebase
from addrsvc.netlink.messages import AddrMsg, Message
from addrsvc.netlink.text import command_line, names_of
from addrsvc.uapi import RTM_DELADDR, RTM_NEWADDR

__all__ = ["MAX_ROUNDS", "Outcome", "converge", "settle"]

MAX_ROUNDS: Final = 8
"""Links, their addresses, a repair, and some again for what others change meanwhile."""

_LOOKS: Final = 10
_ALREADY_SO: Final = {(RTM_NEWADDR, EEXIST), (RTM_DELADDR, EADDRNOTAVAIL)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a convergence did.

    Attributes:
        rounds: how many times something was sent; 0 if all was well at the first look.
        sent: the steps that the kernel accepted, in sending order.
        divergences: what differs still, and why.
        baseline: what to give to the next convergence as its `baseline`.
    """

    rounds: int
    sent: tuple[Step, ...]
    divergences: tuple[Divergence, ...]
    baseline: Dump = ()


def converge(
    desired: Dump | Callable[[], Dump], kernel: Kernel, *, baseline: Dump = (), max_rounds: int = MAX_ROUNDS
) -> Outcome:
    """Make a kernel's namespace look like the model's.

    A refusal stops no other step: it becomes a divergence and is not tried again.

    Args:
        desired: a dump of the model's namespace or, where the model goes on living, what gives one.
        kernel: the namespace to change.
        baseline: see `plan`.
        max_rounds: after so many rounds what is left becomes divergences.
    """
    sent: list[Step] = []
    refused: dict[Message, Divergence] = {}
    rounds = 0
    while True:
        model, seen = desired() if callable(desired) else desired, settle(kernel)
        now = plan(model, seen, baseline=baseline, refused=refused)
        if not now.steps or rounds == max_rounds:
            break
        for step in now.steps:
            if refusal := _send(kernel, step, names_of(seen)):
                refused[step.message] = refusal
            else:
                sent.append(step)
        rounds += 1
    left = (Divergence(f"after {max_rounds} rounds still: {step.why}", step.message) for step in now.steps)
    divergences = (*now.divergences, *refused.values(), *left)
    return Outcome(rounds, tuple(sent), divergences, rebase(model, seen, baseline))


def settle(kernel: Kernel) -> Dump:
    """Look until two looks in a row agree: a kernel finishes some of its work just after it has answered.

    Give up quietly after a few looks, as lifetimes count down, and somebody else may be at work.
    """
    dump = kernel.dump()
    for _ in range(_LOOKS):
        before, dump = dump, kernel.dump()
        if dump == before:
            break
    return dump


def _send(kernel: Kernel, step: Step, names: Mapping[int, str]) -> Divergence | None:
    try:
        kernel.request(step.message)
    except KernelError as error:
        if _is_already_so(step.message, error):
            return None
        return Divergence(f"the kernel refused {command_line(step.message, names)}: {error}", step.message)
    return None


def _is_already_so(message: Message, error: KernelError) -> bool:
    return isinstance(message, AddrMsg) and (message.nlmsg_type, error.errno) in _ALREADY_SO
