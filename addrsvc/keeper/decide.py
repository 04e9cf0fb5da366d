"""What follows from what has happened: one notifier chain, through which the events of all namespaces run.

It is the model's own kind of chain (kernel/notifier.c), with the kernel's words for what happens to addresses and to
lo.  Its blocks are called in this order, and each does one thing:

* `heal` puts back at once what one message can put back.
* `note` remembers how things are now.
* `tell` says what was heard, what was done, and what came of it.
* `judge` counts reversals, and sees to what is not put back at once.
* `look` looks at the whole namespace where one message did not tell enough.
"""

import time
from typing import Final

from addrsvc.keeper import compare
from addrsvc.keeper.compare import Step
from addrsvc.keeper.events import Ring
from addrsvc.keeper.hear import Heard, present_of
from addrsvc.keeper.kept import LO, LOOPBACK, Why, key_text
from addrsvc.keeper.mend import LO_UP_STEP, Mender, why_not
from addrsvc.keeper.wanted import Lo, Loopback
from addrsvc.model.notifier import (
    NOTIFY_DONE,
    NOTIFY_OK,
    NotifierBlock,
    RawNotifierHead,
    raw_notifier_call_chain,
    raw_notifier_chain_register,
)
from addrsvc.uapi import IFF_UP, IPV6_MIN_MTU, RTM_DELADDR, RTM_NEWADDR, NetdevEvent, Rtm

__all__ = ["Decisions"]

NETDEV_UP: Final = int(NetdevEvent.NETDEV_UP)
NETDEV_DOWN: Final = int(NetdevEvent.NETDEV_DOWN)
NETDEV_CHANGEMTU: Final = int(NetdevEvent.NETDEV_CHANGEMTU)


class Decisions:
    """The chain, and its blocks.

    Args:
        ring: where everything is told.
        mender: what asks the kernel.

    Attributes:
        chain: who else wants to know what happens may register here.
    """

    def __init__(self, ring: Ring, mender: Mender) -> None:
        self._ring = ring
        self._mender = mender
        self.chain: Final = RawNotifierHead("keeper")
        for priority, block in enumerate((self.look, self.judge, self.tell, self.note, self.heal)):
            raw_notifier_chain_register(self.chain, NotifierBlock(block, priority))

    def decide(self, heard: Heard) -> None:
        """Let what was heard run through the chain."""
        for val in _events(heard):
            raw_notifier_call_chain(self.chain, val, heard)

    def heal(self, val: int, heard: Heard) -> int:
        """Put back at once what one message can put back."""
        kept, key = heard.kept, heard.key
        if val == NETDEV_DOWN and key is not LO and kept.is_expected(key):
            heard.is_own = True
            return NOTIFY_OK
        step = self._step(val, heard)
        if step is None or why_not(kept, key) or not self._mender.reactions.is_at_once(kept, key):
            return NOTIFY_DONE
        heard.step = step
        heard.refusals = self._mender.ask(kept, (step,))
        return NOTIFY_OK

    def _step(self, val: int, heard: Heard) -> Step | None:
        """What would undo what has happened, where a rule wants that."""
        wanted = heard.kept.wanted
        if heard.key is LO:
            return LO_UP_STEP if val == NETDEV_DOWN and wanted.lo is Lo.UP else None
        if heard.key == LOOPBACK:
            if val == NETDEV_UP:
                return compare.FORBIDDEN if wanted.loopback is Loopback.FORBID else None
            return compare.add(LOOPBACK, None) if wanted.loopback is Loopback.ENSURE else None
        if val == NETDEV_UP:
            return self._change(heard)
        service = wanted.addresses[heard.key]
        return None if service.is_route else compare.add(heard.key, service)

    def _change(self, heard: Heard) -> Step | None:
        """What makes an address of ours as it is wanted, where somebody has changed it."""
        return None

    def note(self, val: int, heard: Heard) -> int:
        """Remember how things are now."""
        return NOTIFY_OK
