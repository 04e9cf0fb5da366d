"""Notifier chains: blocks in falling order of priority, called in turn until one stops the walk (kernel/notifier.c).

A chain is a linked list through `NotifierBlock.next`, as in the kernel.  Beside it lies the same chain once more as a
flat list of functions, because that is what a `for` loop runs through fastest.  A change of the chain makes a new flat
list and turns each place of the old one into a way out: a walk that still runs over the old list leaves it there, and
goes on over the links from the block that the kernel, which reads `next` before each call, would go on with.
"""

from collections.abc import Callable, Iterator
from errno import EBUSY, EEXIST, ENOENT
from typing import Any, Final, NoReturn, TypeAlias

from addrsvc.errors import KernelError
from addrsvc.model.tracepoint import CHAIN_LEFT, CHAIN_RAISED, Trace

__all__ = [
    "AtomicNotifierHead", "BlockingNotifierHead", "ChainMoved", "NOTIFY_BAD", "NOTIFY_DONE", "NOTIFY_OK", "NOTIFY_STOP",
    "NOTIFY_STOP_MASK", "NotifierBlock", "NotifierFn", "NotifierHead", "RawNotifierHead",
    "atomic_notifier_call_chain", "atomic_notifier_call_chain_is_empty", "atomic_notifier_chain_register",
    "atomic_notifier_chain_register_unique_prio", "atomic_notifier_chain_unregister",
    "blocking_notifier_call_chain", "blocking_notifier_call_chain_robust", "blocking_notifier_chain_register",
    "blocking_notifier_chain_register_unique_prio", "blocking_notifier_chain_unregister", "notifier_call_chain",
    "notifier_from_errno", "notifier_to_errno", "raw_notifier_call_chain", "raw_notifier_call_chain_robust",
    "raw_notifier_chain_register", "raw_notifier_chain_unregister",
]  # fmt: skip

NOTIFY_DONE: Final = 0x0000
"""Does not care."""
NOTIFY_OK: Final = 0x0001
"""Agrees."""
NOTIFY_STOP_MASK: Final = 0x8000
"""The bit that ends the walk."""
NOTIFY_BAD: Final = NOTIFY_STOP_MASK | 0x0002
"""Refuses; the same as notifier_from_errno(-EPERM)."""
NOTIFY_STOP: Final = NOTIFY_STOP_MASK | NOTIFY_OK
"""Agrees, and ends the walk."""

NotifierFn: TypeAlias = Callable[[int, Any], int | None]
"""callback(val, v): the event and what comes with it, the kernel's void pointer.

The result is NOTIFY_* or an encoded errno; None counts as NOTIFY_DONE, so who does not care may say nothing.
"""


def notifier_from_errno(err: int) -> int:
    """Say `err` (0 or a negative errno, the kernel's way) as a callback's return value; any error stops the walk.

    Kernel: include/linux/notifier.h, notifier_from_errno().
    Differs: a positive number is refused, since it would read as success.

    Raises:
        ValueError: `err` is positive.
    """
    if err > 0:
        raise ValueError(f"{err} is no kernel error: those are negative")
    return NOTIFY_STOP_MASK | (NOTIFY_OK - err) if err else NOTIFY_OK


def notifier_to_errno(ret: int) -> int:
    """The errno in a chain's return value: 0, or negative.

    Kernel: include/linux/notifier.h, notifier_to_errno().
    """
    ret &= ~NOTIFY_STOP_MASK
    return NOTIFY_OK - ret if ret > NOTIFY_OK else 0


class NotifierBlock:
    """One subscriber of a chain: struct notifier_block.

    The callback gets no pointer to its block: a closure or a bound method knows its owner without container_of().
    A block is on one chain at most.

    Attributes:
        notifier_call: the callback, fixed for the block's life.
        priority: higher is called earlier; equal ones in the order of registration.  Read when the block is registered.
        name: what traces call it; by default the callback's own name.
        next: the block behind this one.  A block keeps it when it is removed, so that a walk can go on from there.
        chain: the chain it is on, or None.
    """

    __slots__ = ("chain", "name", "next", "notifier_call", "priority")

    def __init__(self, notifier_call: NotifierFn, priority: int = 0, name: str | None = None) -> None:
        self.notifier_call: Final = notifier_call
        self.priority = priority
        self.name: Final[str] = name or getattr(notifier_call, "__name__", None) or type(notifier_call).__name__
        self.next: NotifierBlock | None = None
        self.chain: NotifierHead | None = None

    def __repr__(self) -> str:
        return f"NotifierBlock({self.name}, priority={self.priority})"


class NotifierHead:
    """A chain.  Iterating over it gives its blocks in the order in which they are called.

    Attributes:
        name: what traces call it.
        trace: where its walks are recorded.
        head: the first block, or None.
        blocks, functions: the blocks and their callbacks once more, flat; new ones after each change.
        calls: what a walk calls in turn: the functions, or in their place one that walks over them and records it.
        usual: what the last whole walk returned.  A return value that is this very object does not stop the walk, which
            is quicker to see than a bit.
    """

    __slots__ = ("__weakref__", "blocks", "calls", "functions", "head", "name", "trace", "usual")

    def __init__(self, name: str = "", trace: Trace | None = None) -> None:
        self.name: Final = name
        self.trace: Final = trace or Trace()
        self.trace.chains.add(self)
        self.head: NotifierBlock | None = None
        self.blocks: tuple[NotifierBlock, ...] = ()
        self.functions: list[NotifierFn] = []
        self.calls: list[NotifierFn] = []
        self.usual: int | None = NOTIFY_DONE

    def __iter__(self) -> Iterator[NotifierBlock]:
        return iter(self.blocks)

    def retrace(self) -> None:
        """Let the walks that begin from now on be recorded, or not, as the trace wants it.  Ours."""
        self.calls = [_traced_walk(self)] if self.trace.on and self.blocks else self.functions
        if self.blocks and self.blocks[-1].next:  # a circle has no end, hence no flat list
            self.calls = [lambda val, v: notifier_call_chain(self, val, v)[0]]


class RawNotifierHead(NotifierHead):
    """A chain whose caller does the locking: struct raw_notifier_head."""

    __slots__ = ()


class BlockingNotifierHead(NotifierHead):
    """A chain whose callbacks may sleep: struct blocking_notifier_head.

    Its lock is left out: a callback that changes its own chain waits for itself for ever in the kernel, but not here.
    """

    __slots__ = ()


class AtomicNotifierHead(NotifierHead):
    """A chain whose callbacks may not sleep: struct atomic_notifier_head."""

    __slots__ = ()


def notifier_chain_register(nh: NotifierHead, n: NotifierBlock) -> None:
    """Put `n` behind all blocks of higher or equal priority.

    Kernel: kernel/notifier.c, raw_notifier_chain_register() and its blocking and atomic kin.
    Differs: the text of the kernel's warning comes with the error; a block of another chain is refused, where the
    kernel would tangle the two.

    As in the kernel a duplicate is only noticed if it stands before the new place.  If its priority was raised in the
    meantime it is not, and the chain runs in a circle.

    Raises:
        KernelError: EEXIST, the block is registered already.
        ValueError: the block is on another chain.
    """
    _insert(nh, n, unique_priority=False)


def notifier_chain_register_unique_prio(nh: NotifierHead, n: NotifierBlock) -> None:
    """Put `n` behind all blocks of higher priority, unless one of equal priority is there.

    Kernel: kernel/notifier.c, blocking_notifier_chain_register_unique_prio() and its atomic kin.
    Differs: as notifier_chain_register().

    Raises:
        KernelError: EEXIST, the block is registered already; EBUSY, the priority is taken.
        ValueError: the block is on another chain.
    """
    _insert(nh, n, unique_priority=True)


def notifier_chain_unregister(nh: NotifierHead, n: NotifierBlock) -> None:
    """Take `n` out of the chain.  It may be the block that is running, or one that still would.

    Kernel: kernel/notifier.c, raw_notifier_chain_unregister() and its blocking and atomic kin.

    Raises:
        KernelError: ENOENT, the block is not on this chain.
    """
    before: NotifierBlock | None = None
    for nb in _linked(nh):
        if nb is n:
            return _remove(nh, before, n)
        before = nb
    raise KernelError(ENOENT)


def notifier_call_chain_all(nh: NotifierHead, val: int, v: object) -> int:
    """Call the blocks in order until one returns a value with NOTIFY_STOP_MASK.

    Kernel: kernel/notifier.c, raw_notifier_call_chain() and its blocking and atomic kin.

    Returns:
        What the last block called returned, NOTIFY_DONE if there was none.
    """
    ret: int | None = NOTIFY_DONE
    usual = nh.usual
    try:
        for call in nh.calls:
            if (ret := call(val, v)) is not usual and ret and ret & NOTIFY_STOP_MASK:
                return ret
    except ChainMoved as moved:
        rest = moved.rest
    else:
        nh.usual = ret
        return ret or NOTIFY_DONE
    return call_linked(nh, rest, ret, val, v)[0]


def notifier_call_chain(nh: NotifierHead, val: int, v: object, nr_to_call: int = -1) -> tuple[int, int]:
    """Call at most `nr_to_call` blocks (-1: all) in order until one returns a value with NOTIFY_STOP_MASK.

    Kernel: kernel/notifier.c, notifier_call_chain().

    Returns:
        What the last block called returned, and how many were called, the stopping one included.
    """
    if nh.head is None:
        return NOTIFY_DONE, 0
    nh.trace.record((nh, val, v, ()))
    return call_linked(nh, nh.head, NOTIFY_DONE, val, v, nr_to_call)


def notifier_call_chain_robust(nh: NotifierHead, val_up: int, val_down: int, v: object) -> int:
    """Call the chain with `val_up`; if a block stops it, call those before that block with `val_down`, also forward.

    Kernel: kernel/notifier.c, raw_notifier_call_chain_robust() and its blocking kin.

    Returns:
        What the chain returned to `val_up`.
    """
    ret, nr_calls = notifier_call_chain(nh, val_up, v)
    if ret & NOTIFY_STOP_MASK:
        notifier_call_chain(nh, val_down, v, nr_calls - 1)
    return ret


def atomic_notifier_call_chain_is_empty(nh: AtomicNotifierHead) -> bool:
    """Whether there is nobody to call.

    Kernel: kernel/notifier.c, atomic_notifier_call_chain_is_empty().
    """
    return nh.head is None


# The flavours differ in their locks, which are left out here, and in which calls they have.
raw_notifier_chain_register = notifier_chain_register
raw_notifier_chain_unregister = notifier_chain_unregister
raw_notifier_call_chain = notifier_call_chain_all
raw_notifier_call_chain_robust = notifier_call_chain_robust

blocking_notifier_chain_register = notifier_chain_register
blocking_notifier_chain_register_unique_prio = notifier_chain_register_unique_prio
blocking_notifier_chain_unregister = notifier_chain_unregister
blocking_notifier_call_chain = notifier_call_chain_all
blocking_notifier_call_chain_robust = notifier_call_chain_robust

atomic_notifier_chain_register = notifier_chain_register
atomic_notifier_chain_register_unique_prio = notifier_chain_register_unique_prio
atomic_notifier_chain_unregister = notifier_chain_unregister
atomic_notifier_call_chain = notifier_call_chain_all


def _insert(nh: NotifierHead, n: NotifierBlock, *, unique_priority: bool) -> None:
    if n.chain not in (None, nh):
        raise ValueError(f"{n} is on another chain")
    before: NotifierBlock | None = None
    for nb in _linked(nh):
        if nb is n:
            raise KernelError(EEXIST, f"notifier callback {n.name} already registered")
        if n.priority > nb.priority:
            break
        if unique_priority and n.priority == nb.priority:
            raise KernelError(EBUSY)
        before = nb
    n.next = before.next if before else nh.head
    n.chain = nh
    _link(nh, before, n)
    nh.trace.hit("notifier_register", n.name)


def _remove(nh: NotifierHead, before: NotifierBlock | None, n: NotifierBlock) -> None:
    n.chain = None
    _link(nh, before, n.next)
    nh.trace.hit("notifier_unregister", n.name)


def _link(nh: NotifierHead, before: NotifierBlock | None, n: NotifierBlock | None) -> None:
    """Let `n` follow `before`, and flatten the chain anew; walks over the old list leave it at their next step."""
    old_blocks, old_functions = nh.blocks, nh.functions
    if before:
        before.next = n
    else:
        nh.head = n
    nh.blocks = tuple(_linked(nh))
    nh.functions = [nb.notifier_call for nb in nh.blocks]
    nh.retrace()
    old_functions[:] = map(_way_out, (*old_blocks, None))


def _linked(nh: NotifierHead) -> Iterator[NotifierBlock]:
    """The blocks along the links, each once, even if they run in a circle."""
    seen: dict[NotifierBlock, None] = {}
    nb = nh.head
    while nb and nb not in seen:
        seen[nb] = None
        yield nb
        nb = nb.next


class ChainMoved(Exception):
    """The flat list that a walk runs over is no longer the chain; `rest` is where it goes on over the links."""

    def __init__(self, rest: NotifierBlock | None) -> None:
        self.rest = rest


def _way_out(rest: NotifierBlock | None) -> Callable[[int, object], NoReturn]:
    def leave(val: int, v: object) -> NoReturn:
        raise ChainMoved(rest)

    return leave


def _traced_walk(nh: NotifierHead) -> NotifierFn:
    append = nh.trace.ring.append

    def walk(val: int, v: object) -> int:
        append((nh, val, v, nh.blocks))
        ret: int | None = NOTIFY_DONE
        usual = nh.usual
        try:
            for call in nh.functions:
                append(ret := call(val, v))
                if ret is not usual and ret and ret & NOTIFY_STOP_MASK:
                    break
        except ChainMoved as moved:
            rest = moved.rest
        except BaseException:
            append(CHAIN_RAISED)
            raise
        else:
            append(CHAIN_LEFT)
            return ret or NOTIFY_DONE
        return call_linked(nh, rest, ret, val, v)[0]

    return walk


def call_linked(
    nh: NotifierHead, nb: NotifierBlock | None, ret: int | None, val: int, v: object, nr_to_call: int = -1
) -> tuple[int, int]:
    """Walk over the links from `nb` on: slower, and right whatever becomes of the chain meanwhile.  Ours."""
    record = nh.trace.record
    nr_calls = 0
    try:
        while nb and nr_calls != nr_to_call:
            rest = nb.next
            record((nb,))
            record(ret := nb.notifier_call(val, v))
            nr_calls += 1
            if ret and ret & NOTIFY_STOP_MASK:
                break
            nb = rest
    except BaseException:
        record(CHAIN_RAISED)
        raise
    record(CHAIN_LEFT)
    return ret or NOTIFY_DONE, nr_calls
