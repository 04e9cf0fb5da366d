"""What follows from what has happened: one notifier chain, through which the events of all namespaces run.

It is the model's own kind of chain (kernel/notifier.c), with the kernel's words for what happens to addresses and to
lo.  Its blocks are called in this order, and each does one thing:

* `heal` puts back at once what one message can put back.
* `note` remembers how things are now.
* `follow_up` sees to what can wait until everything that is ready was heard and healed: it tells what was heard, what
  was done, and what came of it; counts reversals, and sees to what is not put back at once; and looks at the whole
  namespace where one message did not tell enough.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from functools import partial
from sys import byteorder
from time import monotonic_ns
from typing import Final

from addrsvc.keeper import compare
from addrsvc.keeper.compare import Step
from addrsvc.keeper.events import Ring
from addrsvc.keeper.hear import Heard, hear, is_about_others, present_of
from addrsvc.keeper.kept import LO, LOOPBACK, Kept, Restored, Why, key_text
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.mend import LO_UP_STEP, Mender, why_not
from addrsvc.keeper.messages import LO_IFINDEX
from addrsvc.keeper.wanted import Lo, Loopback, Reaction
from addrsvc.model.notifier import (
    NOTIFY_DONE,
    NOTIFY_OK,
    NotifierBlock,
    RawNotifierHead,
    raw_notifier_call_chain,
    raw_notifier_chain_register,
)
from addrsvc.uapi import IFF_UP, IPV6_MIN_MTU, RTM_DELADDR, RTM_NEWADDR, RTM_NEWLINK, NetdevEvent, Rtm

__all__ = ["Decisions", "is_as_usual", "is_certain"]

_NAMES: Final[Mapping[int, str]] = {rtm: Rtm(rtm).name for rtm in (RTM_NEWADDR, RTM_DELADDR, RTM_NEWLINK)}
ENSURE: Final = Loopback.ENSURE
HEAL: Final = Reaction.HEAL
_RESTORE: Final = compare.RESTORED.wire
_KIND: Final = slice(4, 6)
_DELADDR: Final = int(RTM_DELADDR).to_bytes(2, byteorder)
_ABOUT: Final = slice(20, 24)
_LO: Final = LO_IFINDEX.to_bytes(4, byteorder)
_LOOPBACK: Final = LOOPBACK[0]
_ADDRESS: Final = slice(28, 44)
"""Where a message tells of which address it is; of another length or address family it does not read as ::1 there."""
_MOST_WAITING: Final = 2048
"""What may be left to be seen to later: a flood takes no more memory than that."""
NETDEV_UP: Final = int(NetdevEvent.NETDEV_UP)
NETDEV_DOWN: Final = int(NetdevEvent.NETDEV_DOWN)
NETDEV_CHANGEMTU: Final = int(NetdevEvent.NETDEV_CHANGEMTU)


class Decisions:
    """The chain, and its blocks.

    Args:
        loop: in which what can wait waits until all that is ready has been heard.
        ring: where everything is told.
        mender: what asks the kernel.

    Attributes:
        chain: who else wants to know what happens may register here.
    """

    def __init__(self, loop: Loop, ring: Ring, mender: Mender) -> None:
        self._afterwards = loop.afterwards
        self._ring = ring
        self._mender = mender
        self._waiting: list[tuple[int, Heard]] = []
        self.chain: Final = RawNotifierHead("keeper")
        for priority, block in enumerate((self.follow_up, self.note, self.heal)):
            raw_notifier_chain_register(self.chain, NotifierBlock(block, priority))

    def heard(self, kept: Kept, message: bytes) -> bool:
        """A namespace's kernel has said something; whether that was of no interest.

        If it is that ::1 has gone, and all else is as usual, that is put back before anything else is done, if the
        kernel has not done so by itself.  What the chain would decide is known beforehand then; it hears of it a moment
        later, in `follow_reflex`.
        """
        if kept.restored is not None:
            self.follow_reflex(kept)
        if (
            message[_ADDRESS] == _LOOPBACK
            and message[_KIND] == _DELADDR
            and message[_ABOUT] == _LO
            and self._restore(kept, message)
        ):
            return False
        if is_about_others(kept, message):
            return True
        heard = hear(kept, message, monotonic_ns())
        if heard is not None:
            self.decide(heard)
        return heard is None

    def _restore(self, kept: Kept, message: bytes) -> bool:
        """Put ::1 back, if that is what the chain would do; whether that was done."""
        since = monotonic_ns()
        if kept.reflex is not None and kept.reflex.has_answered(message):
            requests = kept.reflex.requests
        elif is_as_usual(kept):
            requests = kept.requests
            try:
                requests.send(_RESTORE)
            except OSError:  # the chain tries as well, and tells
                return False
        else:
            return False
        kept.restored = Restored(message, since, monotonic_ns(), requests)
        self._afterwards(partial(self.follow_reflex, kept))
        return True

    def decide(self, heard: Heard) -> None:
        """Let what was heard run through the chain."""
        if heard.key is not LO:
            raw_notifier_call_chain(self.chain, NETDEV_UP if heard.kind == RTM_NEWADDR else NETDEV_DOWN, heard)
            return
        for val in _events_of_lo(heard):
            raw_notifier_call_chain(self.chain, val, copy(heard))

    def follow_reflex(self, kept: Kept) -> None:
        """Let the chain hear of what was put back; that has to be before anything else is heard of the namespace."""
        if kept.restored is None or not kept.is_claimed:
            return
        (message, since, done, requests), kept.restored = kept.restored, None
        refusals = self._mender.answer(requests)
        heard = hear(kept, message, since)
        if heard is not None:
            heard.step = heard.answer = compare.RESTORED
            heard.refusals, heard.us = refusals, (done - since) / 1000
            self.decide(heard)

    def call(self, val: int, heard: Heard) -> int:
        """Call the chain with what nobody has heard, as if somebody had; what it returned."""
        return raw_notifier_call_chain(self.chain, val, heard)

    def heal(self, val: int, heard: Heard) -> int:
        """Put back at once what one message can put back."""
        kept, key = heard.kept, heard.key
        if heard.step is not None:
            return NOTIFY_OK
        if val == NETDEV_DOWN and key is not LO and kept.is_expected(key):
            heard.is_own = True
            return NOTIFY_OK
        step = heard.answer = _answer(val, heard)
        if step is None or why_not(kept, key) or not self._mender.reactions.is_at_once(kept, key):
            return NOTIFY_DONE
        heard.step = step
        heard.refusals = self._mender.put(kept, step.wire)
        heard.us = (monotonic_ns() - heard.since) / 1000
        return NOTIFY_OK

    def note(self, val: int, heard: Heard) -> int:
        """Remember how things are now."""
        kept, key = heard.kept, heard.key
        if not heard.kind:
            return NOTIFY_DONE
        if key is LO:
            _note_lo(val, heard)
        elif val == NETDEV_UP:
            _note_address(heard)
        elif heard.step is None and heard.answer is not None:
            kept.lacks(key, why_not(kept, key) or "deleted")
        return NOTIFY_OK

    def follow_up(self, val: int, heard: Heard) -> int:
        """See to the rest: at once where something is left to repair, else when all that is ready was heard."""
        if heard.refusals or _why_look(val, heard) is not None:
            self.finish()
            self._follow_up(val, heard)
            return NOTIFY_OK
        if not self._waiting:
            self._afterwards(self.finish)
        self._waiting.append((val, heard))
        if len(self._waiting) >= _MOST_WAITING:
            self.finish()
        return NOTIFY_OK

    def finish(self) -> None:
        """See to all that was left to be seen to."""
        waiting, self._waiting = self._waiting, []
        for val, heard in waiting:
            self._follow_up(val, heard)

    def _follow_up(self, val: int, heard: Heard) -> None:
        self._tell(heard)
        if heard.kept.is_claimed:
            self._judge(heard)
            self._look(val, heard)

    def _tell(self, heard: Heard) -> None:
        """Say what was heard, what was done, and what came of it."""
        kept = heard.kept
        if heard.kind:
            heard.cause = self._ring.tell(_NAMES[heard.kind], kept.label, None, **_said(heard))
        if heard.step is not None:
            self._mender.tell(kept, (heard.step,), heard.refusals, heard.why, heard.cause, heard.us)

    def _judge(self, heard: Heard) -> None:
        """Count reversals, and see to what is not put back at once."""
        kept, key = heard.kept, heard.key
        if heard.step is not None:
            if not heard.refusals:
                self._mender.reactions.reversed(kept, key, heard.portid, heard.cause)
        elif heard.answer is not None and not why_not(kept, key):
            self._mender.reactions.hold(kept, key, heard.why, heard.cause)

    def _look(self, val: int, heard: Heard) -> None:
        """Look at the whole namespace where one message did not tell enough."""
        why = _why_look(val, heard)
        if why is not None:
            self._mender.look(heard.kept, why, heard.cause, heard.since)


def is_as_usual(kept: Kept) -> bool:
    """Whether ::1 is put back at once just now, and by a message alone, should it be deleted."""
    return (
        kept.wanted.loopback is ENSURE
        and kept.wanted.loopback_reaction is HEAL
        and bool(kept.flags & IFF_UP)
        and not kept.is_disabled
        and not kept.fighting
        and kept.expected is None
        and kept.is_claimed
        and kept.fd >= 0  # else its one socket is read by who listens, too
    )


def is_certain(kept: Kept) -> bool:
    """Whether it will be so, too, when ::1 goes before it is told that lo has gone down."""
    return kept.wanted.lo is Lo.UP and is_as_usual(kept)


def _events_of_lo(heard: Heard) -> Iterator[int]:
    """What the kernel calls what has happened to lo."""
    kept = heard.kept
    changes, mtu = heard.flags ^ kept.flags, kept.mtu
    if changes & IFF_UP:
        yield NETDEV_UP if heard.flags & IFF_UP else NETDEV_DOWN
    if heard.mtu != mtu:
        yield NETDEV_CHANGEMTU


def _answer(val: int, heard: Heard) -> Step | None:
    """What would undo what has happened, where a rule wants that."""
    wanted, key = heard.kept.wanted, heard.key
    if not heard.kept.is_claimed:
        return None
    if key is LO:
        return LO_UP_STEP if val == NETDEV_DOWN and wanted.lo is Lo.UP else None
    if val == NETDEV_UP:
        return _against(heard)
    if key == LOOPBACK:
        return compare.RESTORED if wanted.loopback is Loopback.ENSURE else None
    service = wanted.addresses.get(key)
    return None if service is None or service.is_route else compare.add(key, service)


def _against(heard: Heard) -> Step | None:
    """What undoes that an address has come, or has changed."""
    kept, key = heard.kept, heard.key
    if key == LOOPBACK:
        return compare.FORBIDDEN if kept.wanted.loopback is Loopback.FORBID else None
    seen = present_of(heard.data, key)
    if seen is None or kept.lacks_or_shares(key):
        return None
    return compare.change(kept.wanted, key, seen, (key,))


def _note_lo(val: int, heard: Heard) -> None:
    kept = heard.kept
    if val == NETDEV_CHANGEMTU:
        kept.mtu = heard.mtu
        kept.reason = Why.MTU if heard.mtu < IPV6_MIN_MTU else Why.DELETED
        return
    kept.flags = heard.flags
    if val == NETDEV_DOWN:
        kept.reason = Why.LO_DOWN


def _note_address(heard: Heard) -> None:
    """An address is there: whatever took others away is over, since it would have taken this one, too."""
    kept, key = heard.kept, heard.key
    kept.reason = Why.DELETED
    kept.expects_no_more(key)
    if kept.missing is None or key not in kept.missing or kept.is_fought_about(key):
        return
    kept.has(key)
    kept.due(key, None)
    seen = present_of(heard.data, key)
    if seen is not None and key in kept.wanted.addresses:
        kept.is_foreign(key, foreign=not compare.is_ours(key, seen, kept.wanted, kept.ours))


def _why_look(val: int, heard: Heard) -> Why | None:
    """Why to look again, if there is a reason: something is back on which addresses depend."""
    kept, key = heard.kept, heard.key
    if not heard.kind:
        return Why.COMMAND
    if key is LO and val == NETDEV_UP:
        return Why.LO_DOWN
    if key is LO and val == NETDEV_CHANGEMTU:
        may_lack = kept.missing or kept.wanted.has_routes
        return Why.MTU if may_lack and kept.mtu >= IPV6_MIN_MTU else None
    is_back = val == NETDEV_UP and key == LOOPBACK and (kept.is_disabled or kept.wanted.has_routes)
    if not is_back:
        return None
    return Why.DISABLED if heard.why is Why.DELETED else heard.why


def _said(heard: Heard) -> dict[str, object]:
    """What an event says of what was heard."""
    if heard.key is LO:
        return {"up": bool(heard.flags & IFF_UP), "mtu": heard.mtu}
    said: dict[str, object] = {"address": key_text(heard.key)}
    if heard.is_own:
        said["own"] = True
    return said
