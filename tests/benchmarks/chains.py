"""Events through eight callbacks: a bare loop, and the chains that stop when they are told to."""

from collections.abc import Callable, Sequence

from addrsvc.model.netdev_chain import call_netdevice_notifiers
from addrsvc.model.notifier import (
    NOTIFY_DONE,
    NOTIFY_OK,
    NotifierBlock,
    NotifierHead,
    RawNotifierHead,
    raw_notifier_call_chain,
    raw_notifier_chain_register,
)
from addrsvc.model.rtnl import rtnl_lock
from tests.benchmarks.race import Lap

CALLBACKS = 8
EVENT = 4
Callback = Callable[[int, object], int]

RETURNS = {"NOTIFY_DONE": (NOTIFY_DONE,), "NOTIFY_OK": (NOTIFY_OK,), "both in turn": (NOTIFY_DONE, NOTIFY_OK)}


def callbacks(*returns: int) -> list[Callback]:
    """Eight functions, each with code of its own to run, that return these values in turn."""

    def subscriber(ret: int) -> Callback:
        def callback(val: int, v: object) -> int:
            return ret

        return callback

    return [subscriber(returns[number % len(returns)]) for number in range(CALLBACKS)]


def chain_of(functions: Sequence[Callback], *, traced: bool = False) -> RawNotifierHead:
    """A chain that calls these functions in this order."""
    nh = RawNotifierHead("benchmark")
    fill(nh, functions)
    nh.trace.on = traced
    return nh


def fill(nh: NotifierHead, functions: Sequence[Callback]) -> None:
    for function in functions:
        raw_notifier_chain_register(nh, NotifierBlock(function))


def bare_loop(functions: Sequence[Callback], v: object, events: int) -> Lap:
    """What every chain is measured against: the same calls, and nothing else."""

    def lap() -> None:
        calls, val, info = functions, EVENT, v
        for _ in range(events):
            for call in calls:
                call(val, info)

    return lap


def through_chain(nh: RawNotifierHead, v: object, events: int) -> Lap:
    """The same events, through the chain."""

    def lap() -> None:
        chain, val, info = nh, EVENT, v
        for _ in range(events):
            raw_notifier_call_chain(chain, val, info)

    return lap


def through_devices(functions: Sequence[Callback], events: int, *, traced: bool = False) -> Lap:
    """The same events about lo, on a machine whose netdevice chain calls these functions and no others."""
    from addrsvc import Linux

    linux = Linux()
    machine = linux.machine
    machine.netdev_chain = RawNotifierHead("netdev_chain", linux.trace)
    fill(machine.netdev_chain, functions)
    linux.trace.on = traced
    lo = linux.init_net.device("lo")

    def lap() -> None:
        val, dev = EVENT, lo
        with rtnl_lock(machine):
            for _ in range(events):
                call_netdevice_notifiers(val, dev)

    return lap
