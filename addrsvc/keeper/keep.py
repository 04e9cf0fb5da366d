"""The keeper: all namespaces that a configuration names, found, watched, looked at, and kept as they are wanted.

It lives in one thread, that of its loop, and never waits there.  What happens is heard by `watch` and decided in
`decide`; what is asked of kernels is asked by `mend`.  Addresses stay where they are when it ends, however that is, and
when it begins again it only looks: where all is well nothing is sent.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from socket import socket
from typing import Final

from addrsvc.errors import ControlError, KernelError
from addrsvc.keeper.alone import Called, Rules
from addrsvc.keeper.book import Door
from addrsvc.keeper.claim import claim, release, who_keeps
from addrsvc.keeper.decide import Decisions, is_certain
from addrsvc.keeper.discover import Discovery
from addrsvc.keeper.entrance import Entrance, rehearse
from addrsvc.keeper.events import Event, Ring
from addrsvc.keeper.hear import Heard
from addrsvc.keeper.kept import LOOPBACK, Kept, Key, Why, key_text, named
from addrsvc.keeper.loop import Loop, Timer
from addrsvc.keeper.mend import LO_UP_STEP, NOTHING_REFUSED, Mender
from addrsvc.keeper.places import HOST
from addrsvc.keeper.reflex import Reflexes, hold
from addrsvc.keeper.routes import RouteWatch
from addrsvc.keeper.rtnl import Requests
from addrsvc.keeper.status import Counts, NetnsStatus, Summary, status_of
from addrsvc.keeper.sweep import Sweep
from addrsvc.keeper.unheard import Unheard
from addrsvc.keeper.wanted import NOTHING, Lo, Loopback, Wanted
from addrsvc.keeper.watch import AutoWatch, Hearer, Watch

__all__ = ["Keeper", "Rules"]

_CLAIM_EVERY: Final = 1.0
"""Seconds between two tries to have what another service has."""


class Keeper:
    """Keeps namespaces.

    Args:
        loop: in whose thread all of it happens, but for `__init__`.
        ring: where it is told.
        rules: what is wanted where.
        may_enter: whether other namespaces than the host's may be entered.
        here: what the namespace is called that this process is in.
        sweep: seconds in which every namespace is looked at once, for what no message told; 0 for never.
        make_watch: makes what hears namespaces.

    Attributes:
        heard: whom `make_watch` has told what a kernel says, which is the shortest way.
    """

    def __init__(
        self,
        loop: Loop,
        ring: Ring,
        rules: Rules,
        *,
        may_enter: bool = True,
        here: str = HOST,
        sweep: float = 60.0,
        make_watch: Callable[[Loop, Hearer[Kept]], Watch[Kept]] = AutoWatch,
    ) -> None:
        self._loop = loop
        self._ring = ring
        self.rules = rules
        self.mender: Final = Mender(loop, ring)
        self.mender.has_withdrawn = self._withdrawn
        self.decisions: Final = Decisions(loop, ring, self.mender)
        self.heard: Final = self.decisions.heard
        self._kept: dict[str, Kept] = {}
        self._unheard = Unheard(loop, ring, self.found)
        self._left: dict[str, int] = {}
        self._withheld: dict[str, frozenset[Key]] = {}
        self._raised: dict[str, bool] = {}
        self._sweep_in = sweep
        self.mender.is_swept = sweep > 0
        self._claiming: Timer | None = None
        self._reflexes = Reflexes(is_certain)
        loop.at_first, loop.at_last = self._reflexes.rest, self._reflexes.turn
        self._sweep = Sweep(loop, self._all_to_sweep, self._check)
        self._watch = make_watch(loop, self)
        self._routes = RouteWatch(loop, ring, self.mender, self._settled, self.lost)
        self.here: Final = here
        self.discovery: Final = Discovery(loop, Called(self, here), may_enter=may_enter)
        self._repairs: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._end_counting = ring.subscribe(self._count)

    def start(self) -> None:
        """Find what there is, and mend it; go on with what comes."""
        self.discovery.select(self.rules.selectors())
        self._sweep.every(self._sweep_in)

    def close(self) -> None:
        """Let go of everything; all addresses stay."""
        self._sweep.stop()
        self._unheard.close()
        if self._claiming is not None:
            self._claiming.cancel()
        for kept in self._kept.values():
            self._let_go(kept)
        self._kept.clear()
        self._reflexes.close()
        self._watch.close()
        self.discovery.close()
        self._end_counting()

    # --- namespaces come and go ---------------------------------------------------------------------------------------

    def expected(self, label: str) -> None:
        """There will be a namespace in a moment, whose lo has to be brought up at once then."""
        if self._raises(label):
            rehearse(label)

    def opened(self, label: str, netns_fd: int) -> Entrance | None:
        """One can be entered: bring its lo up before anything else, since who has made it uses it next."""
        try:
            return Entrance(netns_fd, label, raises=claim(netns_fd) and self._raises(label))
        except OSError:  # it is tried again, and told, when it is found
            return None

    def _raises(self, label: str) -> bool:
        if label not in self._raised:
            self._raised = {label: self.wanted(label).lo is Lo.UP}
        return self._raised[label]

    def found(self, label: str, netns_fd: int, door: Door | None = None) -> None:
        """A namespace is there: hear it, look at it, mend it."""
        entrance = door if isinstance(door, Entrance) else self.opened(label, netns_fd)
        kept = None
        try:
            entrance = entrance or Entrance(netns_fd, label, raises=False)
            kept = Kept(label, netns_fd, entrance.requests, self.wanted(label))
            self._watch.attach(kept, netns_fd)
        except OSError as error:
            if entrance is not None:
                entrance.close()
            self._cannot(label, netns_fd, error)
            return
        self._raised.clear()
        self._unheard.forget(label)
        self._attached(kept, entrance.raised())

    def adopt(self, label: str, sock: socket) -> None:
        """Keep a namespace of which only a netlink socket is known, that somebody else has opened there.

        Raises:
            KernelError: it cannot be used.
        """
        kept = Kept(label, -1, Requests(sock), self.wanted(label))
        kept.requests = Requests(self._watch.adopt(kept, sock))
        self._attached(kept)

    def disown(self, label: str) -> None:
        """What was adopted by this name is called so no more."""
        kept = self._kept.get(label)
        if kept is not None and kept.fd < 0:
            self.gone(label)

    def _attached(self, kept: Kept, us: float | None = None) -> None:
        """It is heard from now on: look at it; its lo was brought up within so many microseconds, if it was."""
        self._kept[kept.label] = kept
        self._reflexes.add(kept)
        names = self.discovery.names(kept.label)
        also = {"names": list(names)} if len(names) > 1 else {}
        kept.cause = self._ring.tell("attached", kept.label, None, rules=list(kept.wanted.rules), **also)
        self._tell_conflict(kept, kept.cause)
        if us is not None:
            self.mender.tell(kept, (LO_UP_STEP,), NOTHING_REFUSED, Why.START, kept.cause, us)
        self._routes.follow(kept)
        self._keep(kept)

    def _cannot(self, label: str, netns_fd: int, error: OSError) -> None:
        """It cannot be heard or asked, unless another service can."""
        release(netns_fd)
        why = str(error) if isinstance(error, KernelError) else f"{error.strerror}"
        self._unheard.add(label, netns_fd, why)

    def _keep(self, kept: Kept) -> None:
        """Look at it and mend it, unless another service keeps it: two of them would never agree."""
        if not claim(kept.fd):
            if kept.is_claimed:
                kept.is_claimed = False
                self._ring.tell("waiting", kept.label, kept.cause, why=who_keeps(kept.fd))
                with suppress(OSError):  # it is told as it is, all the same
                    self.mender.note_lo(kept)
            if self._claiming is None:
                self._claiming = self._loop.call_later(_CLAIM_EVERY, self._keep_what_is_free)
            return
        kept.is_claimed = True
        self.mender.look(kept, Why.START, kept.cause)

    def _keep_what_is_free(self) -> None:
        """See whether another service has let go of anything, or has ended."""
        self._claiming = None
        for kept in [kept for kept in self._kept.values() if not kept.is_claimed]:
            self._keep(kept)

    def gone(self, label: str) -> None:
        """Nothing leads to it any more: forget everything about it."""
        self.decisions.finish()
        self._unheard.forget(label)
        self._left.pop(label, None)
        self._withheld.pop(label, None)
        kept = self._kept.pop(label, None)
        if kept is not None:
            self._let_go(kept)
            self._ring.tell("gone", label, kept.cause)

    def _let_go(self, kept: Kept) -> None:
        self._reflexes.remove(kept)
        self._watch.detach(kept)
        self._routes.forget(kept)
        kept.calm()
        kept.owes(None)
        kept.stop_withdrawing()
        kept.requests.close()
        self._release(kept)

    def _release(self, kept: Kept) -> None:
        """Let another service keep it."""
        if kept.is_claimed:
            release(kept.fd)
        kept.is_claimed = False

    def renamed(self, label: str, instead: str) -> None:
        """It is kept under another name."""
        self.decisions.finish()
        self._unheard.rename(label, instead)
        if label in self._left:
            self._left[instead] = self._left.pop(label)
        kept = self._kept.pop(label, None)
        if kept is None:
            return
        self._ring.tell("renamed", label, kept.cause, instead=instead)
        self._kept[instead] = kept
        kept.label = instead
        if label in self._withheld:
            self._withheld[instead] = self._withheld.pop(label)

    def named(self, label: str) -> None:
        """It has a name more, or one less, which other rules may be about."""
        kept = self._kept.get(label)
        if kept is not None:
            self.decisions.finish()
            cause = self._ring.tell("named", label, None, names=list(self.discovery.names(label)))
            self._want(kept, self.wanted(label), cause, Why.NAMED)

    def waiting(self, label: str, why: str) -> None:
        """It is named, and not there; of one that was adopted one knows better."""
        if label not in self._kept:
            self._ring.tell("waiting", label, None, why=why)

    def _settled(self, kept: Kept) -> None:
        """Have all that was heard of a namespace be over, before it is asked for anything else."""
        self.decisions.follow_reflex(kept)
        self.decisions.finish()

    # --- what happens in them -----------------------------------------------------------------------------------------

    def interests(self, kept: Kept) -> set[bytes]:
        """Which addresses a rule has something to say of."""
        return {LOOPBACK[0], *(address for address, _ in kept.wanted.addresses)}

    def limited(self, why: str) -> None:
        """Namespaces are heard in a way that costs more."""
        self._ring.tell("limited", "", None, why=why)

    def lost(self, kept: Kept | None, seconds: float) -> None:
        """It has said more than was heard: whatever it was, its result can be looked at."""
        where = tuple(self._kept.values()) if kept is None else (kept,)
        for each in where:
            self.decisions.follow_reflex(each)
            if each.reflex is not None:
                each.reflex.lost()
        self.decisions.finish()
        cause = self._ring.tell(
            "lost", kept.label if kept else "", None, seconds=round(seconds, 6), namespaces=len(where)
        )
        for each in where:
            each.lost += 1
            each.expected = None
            if each.is_claimed:
                self.mender.look(each, Why.LOST, cause)

    # --- what is wanted of them ---------------------------------------------------------------------------------------

    def reconfigure(self, rules: Rules, *, sweep: float | None = None) -> int:
        """Put another configuration in force; what both want is not touched.

        Returns:
            The number of the event that tells it.
        """
        cause = self._ring.tell("reload", "", None, namespaces=len(self._kept))
        self.rules = rules
        self._raised.clear()
        if sweep is not None:
            self._sweep.every(sweep)
            self.mender.is_swept = sweep > 0
        left = self.discovery.select(rules.selectors())
        for label, kept in tuple(self._kept.items()):
            self._want(kept, NOTHING if label in left else self.wanted(label), cause)
        self._left = dict.fromkeys(left, cause)
        for label in left:
            self._leave(label)
        return cause

    def wanted(self, label: str, rules: Rules | None = None) -> Wanted:
        """What is wanted of a namespace by the rules in force, or by others, less what is withdrawn by command."""
        wanted = self.declared(label, rules)
        withheld = self._withheld.get(label)
        return wanted if withheld is None else wanted.without(withheld)

    def declared(self, label: str, rules: Rules | None = None) -> Wanted:
        """What rules want of a namespace, by any of its names."""
        return (rules or self.rules).wanted(*self.discovery.names(label)) or NOTHING

    def _tell_conflict(self, kept: Kept, cause: int) -> None:
        if kept.wanted.conflict:
            self._ring.tell("conflict", kept.label, cause, why=kept.wanted.conflict)

    def _want(self, kept: Kept, wanted: Wanted, cause: int, why: Why = Why.RELOAD, drain: float | None = None) -> None:
        """Want something else of a namespace; `drain` is how many seconds what goes may take, if not as rules say."""
        hold(kept)
        self.decisions.follow_reflex(kept)
        before = kept.turn_to(wanted)
        if before == wanted:
            return
        self._watch.turn_to(kept)
        self._routes.follow(kept)
        if wanted.conflict != before.conflict:
            self._tell_conflict(kept, cause)
        if drain is not None:
            before = before.draining(drain)
        for key in tuple(kept.missing or ()):
            kept.has(key)
        kept.calm()
        if kept.withdrawals is not None:
            kept.withdrawals.keep(wanted)
        if kept.is_claimed:
            self.mender.look(kept, why, cause, before=before)

    def _leave(self, label: str) -> None:
        """No rule is about it any more: once what was ours has been withdrawn, let go of it."""
        kept = self._kept.get(label)
        if kept is not None and (kept.withdrawals is not None or kept.owed is not None):
            return
        cause = self._left.pop(label)
        self._unheard.forget(label)
        if self._kept.pop(label, None) is not None and kept is not None:
            self._let_go(kept)
            self._ring.tell("gone", label, cause, why="no rule is about it any more")
        self.discovery.forget(label)

    def _withdrawn(self, kept: Kept) -> None:
        if kept.label in self._left:
            self._leave(kept.label)

    # --- the sweep ----------------------------------------------------------------------------------------------------

    def _all_to_sweep(self) -> list[Kept]:
        """Whom a round of the sweep is about."""
        return list(self._kept.values())

    def _check(self, kept: Kept) -> None:
        """Look at one, if it is kept still."""
        if self._kept.get(kept.label) is not kept:
            return
        self.mender.reactions.tidy(kept)
        self._routes.follow(kept)
        if kept.is_claimed:
            self.mender.look(kept, Why.SWEEP, kept.cause)
        else:
            self._keep(kept)

    # --- commands -----------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Kept | None:
        """One that is kept, by any of its names.

        Raises:
            ControlError: that means nothing.
        """
        return self._kept.get(name) or self._kept.get(self.discovery.names(name)[0])

    def _named(self, name: str) -> Kept:
        kept = self.get(name)
        if kept is None:
            raise ControlError(f"netns: {name!r} is not kept; see: addrsvc status")
        return kept

    def resume(self, name: str, cause: int | None = None) -> list[str]:
        """End all fights of a namespace, want again what was withdrawn by command, and mend at once.

        Args:
            name: of which namespace, whichever of its names.
            cause: the number of the event that asks for it, if there is one.

        Returns:
            What the fights were about, and what was withdrawn.

        Raises:
            ControlError: it is not kept.
        """
        kept = self._named(name)
        label = kept.label
        keys = self.mender.reactions.resume(kept)
        withheld = self._withheld.pop(label, frozenset())
        if keys:
            seq = self._ring.tell("peace", label, cause, why="command", **named(keys))
            cause = seq if cause is None else cause
        cause = kept.cause if cause is None else cause
        self._want(kept, self.wanted(label), cause, Why.RESUME)
        if keys:
            self.mender.look(kept, Why.RESUME, cause)
        return [key_text(key) for key in (*keys, *withheld)]

    def withdraw(self, name: str, keys: Collection[Key], cause: int, drain: float | None = None) -> None:
        """Take service addresses away, and want them no more until they are resumed.

        Args:
            name: of which namespace, whichever of its names.
            keys: which addresses.
            cause: the number of the event that asks for it.
            drain: how many seconds their sockets have to end; as the rules say if nothing is said.

        Raises:
            ControlError: it is not kept, or no rule wants one of them there.
        """
        kept = self._named(name)
        label = kept.label
        declared = self.declared(label).addresses
        for key in keys:
            if key not in declared:
                raise ControlError(f"address: no rule wants {key_text(key)} in {name}; see: addrsvc status {name}")
        self._withheld[label] = self._withheld.get(label, frozenset()) | frozenset(keys)
        self._want_less(kept, keys, cause, drain)

    def _want_less(self, kept: Kept, keys: Collection[Key], cause: int, drain: float | None) -> None:
        """Want some addresses no more; whatever else is missing, reported or fought about stays as it is."""
        hold(kept)
        self.decisions.follow_reflex(kept)
        before = kept.turn_to(self.wanted(kept.label))
        self._watch.turn_to(kept)
        self._routes.follow(kept)
        for key in keys:
            kept.has(key)
            kept.due(key, None)
            kept.forget_quarrel(key)
        if kept.is_claimed:
            self.mender.prune(kept, Why.COMMAND, cause, before if drain is None else before.draining(drain))

    def look(self, name: str, cause: int | None = None) -> None:
        """Look at a namespace now, mend it, and take away what is ours and not wanted.

        Args:
            name: of which namespace, whichever of its names.
            cause: the number of the event that asks for it, if there is one.

        Raises:
            ControlError: it is not kept.
        """
        kept = self._named(name)
        if kept.is_claimed:
            self.mender.look(kept, Why.COMMAND, kept.cause if cause is None else cause)

    def inject(self, val: int, name: str, key: Key, cause: int) -> None:
        """Let an event run through the chain as if a kernel had told it; nothing is believed, all is looked at.

        Raises:
            ControlError: it is not kept.
        """
        heard = Heard(self._named(name), key, 0, time.monotonic_ns(), why=Why.COMMAND)
        heard.cause = cause
        self.decisions.call(val, heard)

    def is_alive(self) -> bool:
        """Whether a kernel answers, and answers what is believed of it; if it does not, that is mended first."""
        kept = self._kept.get(self.here) or next(iter(self._kept.values()), None)
        if kept is None or not kept.is_claimed:
            return True
        try:
            if self._is_as_believed(kept):
                return True
            self.mender.look(kept, Why.SWEEP, kept.cause)
            return self._is_as_believed(kept)
        except OSError:
            return False

    def _is_as_believed(self, kept: Kept) -> bool:
        is_believed = kept.wanted.loopback is Loopback.ENSURE and LOOPBACK not in (kept.missing or ())
        return kept.requests.has(LOOPBACK[0]) or not is_believed

    # --- how it is ----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Kept]:
        """All that are kept."""
        return iter(self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def summary(self) -> Summary:
        """How everything is, in numbers."""
        wanted = present = fighting = 0
        lacking = None
        for kept in self._kept.values():
            count = kept.how_many
            wanted += count
            present += count if kept.is_claimed else 0
            if not kept.is_as_wanted:
                present -= len(kept.missing or ())
                fighting += kept.is_fighting
                lacking = kept.label
        return Summary(len(self._kept), len(self.awaited()), fighting, wanted, max(0, present), lacking)

    def wants_loopback(self, name: str) -> bool:
        """Whether a namespace is kept, and ::1 is wanted there."""
        kept = self.get(name)
        return kept is not None and kept.wanted.loopback is Loopback.ENSURE

    def status(self, name: str) -> NetnsStatus:
        """How one namespace is.

        Raises:
            ControlError: it is not kept.
        """
        kept = self._named(name)
        _, *aliases = self.discovery.names(kept.label)
        return status_of(kept, tuple(aliases), self._withheld.get(kept.label, frozenset()))

    def lacking(self) -> list[Kept]:
        """Those that are not as they are wanted."""
        return [kept for kept in self._kept.values() if not kept.is_as_wanted]

    def counts(self) -> Counts:
        """What was counted since the start."""
        told = self._counts
        return Counts(
            dict(self._repairs), told["lost"], told["fight"], told["drift"], told["divergence"],
            type(self._watch).__name__,
        )  # fmt: skip

    def awaited(self) -> dict[str, str]:
        """What is named and not kept, and why not."""
        whys = {**self.discovery.waiting(), **self._unheard.why()}
        return {label: why for label, why in whys.items() if label not in self._kept}

    def _count(self, event: Event) -> None:
        self._counts[event.name] += 1
        if event.name == "repair":
            self._repairs[str(event.fields["why"])] += 1
