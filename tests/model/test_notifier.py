"""Notifier chains: kernel/notifier.c, its return values and what happens to a walk whose chain changes under it."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from errno import EBUSY, EEXIST, EINVAL, ENOENT, EPERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc.errors import KernelError
from addrsvc.model import notifier
from addrsvc.model.notifier import (
    NOTIFY_BAD,
    NOTIFY_DONE,
    NOTIFY_OK,
    NOTIFY_STOP,
    NOTIFY_STOP_MASK,
    AtomicNotifierHead,
    BlockingNotifierHead,
    NotifierBlock,
    NotifierHead,
    RawNotifierHead,
    atomic_notifier_call_chain_is_empty,
    atomic_notifier_chain_register,
    atomic_notifier_chain_register_unique_prio,
    blocking_notifier_chain_register_unique_prio,
    notifier_call_chain,
    notifier_from_errno,
    notifier_to_errno,
    raw_notifier_call_chain,
    raw_notifier_call_chain_robust,
    raw_notifier_chain_register,
    raw_notifier_chain_unregister,
)
from addrsvc.model.tracepoint import CallbackRan

EVENT = 7


class Chain:
    """A raw chain whose callbacks write down who was called with what."""

    def __init__(self) -> None:
        self.nh = RawNotifierHead("chain")
        self.calls: list[str] = []

    def add(
        self, name: str, priority: int = 0, *, ret: int = NOTIFY_DONE, then: Callable[[], object] | None = None
    ) -> NotifierBlock:
        """Register a block that writes down its name, does `then` and returns `ret`."""
        nb = self.block(name, priority, ret=ret, then=then)
        raw_notifier_chain_register(self.nh, nb)
        return nb

    def block(
        self, name: str, priority: int = 0, *, ret: int = NOTIFY_DONE, then: Callable[[], object] | None = None
    ) -> NotifierBlock:
        def callback(val: int, v: object) -> int:
            self.calls.append(name)
            if then:
                then()
            return ret

        return NotifierBlock(callback, priority, name)

    def remove(self, nb: NotifierBlock) -> None:
        raw_notifier_chain_unregister(self.nh, nb)

    def call(self) -> int:
        return raw_notifier_call_chain(self.nh, EVENT, None)

    @property
    def names(self) -> list[str]:
        return [nb.name for nb in self.nh]


@pytest.fixture(params=[False, True], ids=["untraced", "traced"])
def chain(request: pytest.FixtureRequest) -> Chain:
    """An empty chain, with its trace off and on: the walk has a loop for each."""
    chain = Chain()
    chain.nh.trace.on = request.param
    return chain


# --- return values -------------------------------------------------------------------------------------------------


def test_return_values_are_the_kernels() -> None:
    assert (NOTIFY_DONE, NOTIFY_OK, NOTIFY_STOP_MASK, NOTIFY_BAD, NOTIFY_STOP) == (0, 1, 0x8000, 0x8002, 0x8001)


@pytest.mark.parametrize(("err", "ret"), [(0, NOTIFY_OK), (-EPERM, NOTIFY_BAD), (-EEXIST, 0x8012), (-EINVAL, 0x8017)])
def test_an_errno_is_said_as_one_minus_it_with_the_stop_bit(err: int, ret: int) -> None:
    assert notifier_from_errno(err) == ret
    assert notifier_to_errno(ret) == err


@given(st.integers(-4095, 0))
def test_every_errno_comes_back_out_of_its_return_value(err: int) -> None:
    assert notifier_to_errno(notifier_from_errno(err)) == err


@pytest.mark.parametrize(
    ("ret", "err"), [(NOTIFY_DONE, 0), (NOTIFY_OK, 0), (NOTIFY_STOP, 0), (NOTIFY_BAD, -EPERM), (2, -1)]
)
def test_stop_carries_no_errno_and_bad_carries_eperm(ret: int, err: int) -> None:
    assert notifier_to_errno(ret) == err


def test_a_positive_errno_is_refused_since_it_would_read_as_success() -> None:
    with pytest.raises(ValueError, match="negative"):
        notifier_from_errno(EINVAL)


# --- registration --------------------------------------------------------------------------------------------------


def test_higher_priority_comes_first_and_equals_keep_their_order(chain: Chain) -> None:
    for name, priority in [("a", 0), ("late", -10), ("b", 0), ("early", 5), ("c", 0), ("later", -10)]:
        chain.add(name, priority)

    chain.call()

    assert chain.calls == chain.names == ["early", "a", "b", "c", "late", "later"]


def test_a_block_registered_twice_is_refused_with_the_kernels_warning(chain: Chain) -> None:
    nb = chain.add("a")
    chain.add("b")

    with pytest.raises(KernelError, match="notifier callback a already registered") as refused:
        raw_notifier_chain_register(chain.nh, nb)

    assert refused.value.errno == EEXIST
    assert chain.names == ["a", "b"]


def test_one_callback_may_stand_on_a_chain_in_several_blocks(chain: Chain) -> None:
    def callback(val: int, v: object) -> int:
        chain.calls.append("again")
        return NOTIFY_DONE

    for _ in range(3):
        raw_notifier_chain_register(chain.nh, NotifierBlock(callback))

    chain.call()

    assert chain.calls == ["again"] * 3


def test_a_duplicate_behind_the_new_place_is_not_noticed_and_ties_the_chain_into_a_circle(chain: Chain) -> None:
    chain.add("a", 5)
    nb = chain.add("n", 0)
    nb.priority = 10

    raw_notifier_chain_register(chain.nh, nb)

    assert notifier_call_chain(chain.nh, EVENT, None, 5) == (NOTIFY_DONE, 5)
    assert chain.calls == ["n", "a", "n", "a", "n"]


def test_a_circle_goes_round_until_somebody_stops_it(chain: Chain) -> None:
    rounds = itertools.count(1)
    stopper = NotifierBlock(lambda val, v: NOTIFY_STOP if next(rounds) == 100 else NOTIFY_DONE)
    chain.add("a", 5)
    raw_notifier_chain_register(chain.nh, stopper)
    stopper.priority = 10
    raw_notifier_chain_register(chain.nh, stopper)

    assert chain.call() == NOTIFY_STOP
    assert len(chain.calls) == 99


def test_absent_blocks_cannot_be_removed(chain: Chain) -> None:
    nb = chain.add("a")
    chain.remove(nb)

    for absent in (nb, chain.block("never")):
        with pytest.raises(KernelError) as refused:
            chain.remove(absent)
        assert refused.value.errno == ENOENT


def test_a_removed_block_may_come_back_at_the_end_of_its_equals(chain: Chain) -> None:
    nb = chain.add("a")
    chain.add("b")
    chain.remove(nb)
    raw_notifier_chain_register(chain.nh, nb)

    assert chain.names == ["b", "a"]


def test_a_block_of_another_chain_is_refused(chain: Chain) -> None:
    nb = Chain().add("a")

    with pytest.raises(ValueError, match="another chain"):
        raw_notifier_chain_register(chain.nh, nb)


@pytest.mark.parametrize(
    ("head", "register"),
    [
        (BlockingNotifierHead("blocking"), blocking_notifier_chain_register_unique_prio),
        (AtomicNotifierHead("atomic"), atomic_notifier_chain_register_unique_prio),
    ],
)
def test_a_taken_priority_is_busy_where_priorities_are_unique(
    head: NotifierHead, register: Callable[[NotifierHead, NotifierBlock], None]
) -> None:
    first, second, third = (NotifierBlock(lambda val, v: NOTIFY_OK, priority) for priority in (1, 1, 2))
    register(head, first)
    register(head, third)

    with pytest.raises(KernelError) as busy:
        register(head, second)
    with pytest.raises(KernelError) as duplicate:
        register(head, first)

    assert (busy.value.errno, duplicate.value.errno) == (EBUSY, EEXIST)
    assert list(head) == [third, first]


def test_raw_chains_have_no_unique_priorities_and_atomic_ones_no_robust_call() -> None:
    assert not hasattr(notifier, "raw_notifier_chain_register_unique_prio")
    assert not hasattr(notifier, "atomic_notifier_call_chain_robust")


def test_an_atomic_chain_says_whether_it_is_empty() -> None:
    head = AtomicNotifierHead("atomic")
    assert atomic_notifier_call_chain_is_empty(head)
    atomic_notifier_chain_register(head, NotifierBlock(lambda val, v: NOTIFY_OK))
    assert not atomic_notifier_call_chain_is_empty(head)


def test_a_block_is_named_after_its_callback(chain: Chain) -> None:
    class Callback:
        def __call__(self, val: int, v: object) -> int:
            return NOTIFY_OK

        def method(self, val: int, v: object) -> int:
            return NOTIFY_OK

    assert NotifierBlock(Callback().method).name == "method"
    assert NotifierBlock(Callback()).name == "Callback"
    assert NotifierBlock(Callback(), name="other").name == "other"


# --- the walk ------------------------------------------------------------------------------------------------------


def test_an_empty_chain_is_done(chain: Chain) -> None:
    assert chain.call() == NOTIFY_DONE
    assert notifier_call_chain(chain.nh, EVENT, None) == (NOTIFY_DONE, 0)


def test_the_callbacks_get_the_event_and_its_info(chain: Chain) -> None:
    heard: list[tuple[int, object]] = []
    info = object()

    def callback(val: int, v: object) -> int:
        heard.append((val, v))
        return NOTIFY_OK

    raw_notifier_chain_register(chain.nh, NotifierBlock(callback))
    raw_notifier_call_chain(chain.nh, EVENT, info)

    assert heard == [(EVENT, info)]


@pytest.mark.parametrize("last", [NOTIFY_DONE, NOTIFY_OK, 2, 0x7FFF, 0x10000])
def test_the_chain_returns_what_the_last_block_returned_not_an_or(chain: Chain, last: int) -> None:
    chain.add("a", ret=NOTIFY_OK)
    chain.add("b", ret=4)
    chain.add("c", ret=last)

    assert chain.call() == last
    assert chain.calls == ["a", "b", "c"]


@pytest.mark.parametrize("stop", [NOTIFY_STOP, NOTIFY_BAD, 0x8017, NOTIFY_STOP_MASK, 0x18000, -1, -EINVAL])
def test_a_value_with_the_stop_bit_ends_the_walk_every_time(chain: Chain, stop: int) -> None:
    chain.add("a", ret=NOTIFY_OK)
    chain.add("b", ret=stop)
    chain.add("c")

    assert [chain.call(), chain.call()] == [stop, stop]
    assert notifier_call_chain(chain.nh, EVENT, None) == (stop, 2)
    assert chain.calls == ["a", "b"] * 3


@pytest.mark.parametrize("go_on", [-0x8001, -0x10000])
def test_a_negative_value_without_the_stop_bit_does_not_end_the_walk(chain: Chain, go_on: int) -> None:
    chain.add("a", ret=go_on)
    chain.add("b", ret=NOTIFY_OK)

    assert chain.call() == NOTIFY_OK


def test_a_callback_that_says_nothing_does_not_care(chain: Chain) -> None:
    raw_notifier_chain_register(chain.nh, NotifierBlock(lambda val, v: None))

    assert chain.call() == NOTIFY_DONE
    assert notifier_call_chain(chain.nh, EVENT, None) == (NOTIFY_DONE, 1)


def test_at_most_nr_to_call_blocks_are_called(chain: Chain) -> None:
    for name, ret in [("a", 2), ("b", 3), ("c", NOTIFY_STOP), ("d", 0)]:
        chain.add(name, ret=ret)

    answers = [notifier_call_chain(chain.nh, EVENT, None, nr_to_call) for nr_to_call in (0, 1, 2, 3, 4, -1)]

    assert answers == [(NOTIFY_DONE, 0), (2, 1), (3, 2), (NOTIFY_STOP, 3), (NOTIFY_STOP, 3), (NOTIFY_STOP, 3)]


def test_a_robust_call_takes_back_from_those_before_the_refusing_block_in_forward_order(chain: Chain) -> None:
    heard: list[tuple[str, int]] = []

    def subscriber(name: str, ret: int) -> NotifierBlock:
        def callback(val: int, v: object) -> int:
            heard.append((name, val))
            return ret

        return NotifierBlock(callback, name=name)

    for name, ret in [("a", NOTIFY_OK), ("b", NOTIFY_OK), ("c", NOTIFY_BAD), ("d", NOTIFY_OK)]:
        raw_notifier_chain_register(chain.nh, subscriber(name, ret))

    assert raw_notifier_call_chain_robust(chain.nh, 1, 2, None) == NOTIFY_BAD
    assert heard == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2)]


def test_a_robust_call_that_nobody_refuses_takes_nothing_back(chain: Chain) -> None:
    chain.add("a", ret=NOTIFY_OK)
    chain.add("b", ret=NOTIFY_OK)

    assert raw_notifier_call_chain_robust(chain.nh, 1, 2, None) == NOTIFY_OK
    assert chain.calls == ["a", "b"]


def test_a_robust_call_refused_by_the_first_block_takes_nothing_back(chain: Chain) -> None:
    chain.add("a", ret=NOTIFY_BAD)

    assert raw_notifier_call_chain_robust(chain.nh, 1, 2, None) == NOTIFY_BAD
    assert chain.calls == ["a"]


# --- a chain that changes while it runs ------------------------------------------------------------------------------


def test_a_block_may_remove_itself_while_the_chain_runs(chain: Chain) -> None:
    chain.add("a")
    nb = chain.add("b", then=lambda: chain.remove(nb))
    chain.add("c")

    chain.call()
    chain.call()

    assert chain.calls == ["a", "b", "c", "a", "c"]


def test_the_next_block_is_called_even_if_it_was_just_removed(chain: Chain) -> None:
    chain.add("a", then=lambda: chain.remove(b))
    b = chain.add("b")
    chain.add("c")

    chain.call()

    assert chain.calls == ["a", "b", "c"]
    assert chain.names == ["a", "c"]


def test_a_later_block_that_was_removed_is_not_called(chain: Chain) -> None:
    chain.add("a", then=lambda: chain.remove(c))
    chain.add("b")
    c = chain.add("c")
    chain.add("d")

    chain.call()

    assert chain.calls == ["a", "b", "d"]


def test_a_block_put_between_this_and_the_next_is_not_called_but_a_later_one_is(chain: Chain) -> None:
    chain.add("a", 3, then=lambda: (chain.add("between", 2), chain.add("later", 0)))
    chain.add("b", 1)

    chain.call()

    assert chain.calls == ["a", "b", "later"]
    assert chain.names == ["a", "between", "b", "later"]


def test_a_block_put_behind_the_last_one_while_that_runs_is_not_called(chain: Chain) -> None:
    chain.add("a")
    chain.add("b", then=lambda: chain.add("c"))

    chain.call()

    assert chain.calls == ["a", "b"]


def test_a_removed_block_leads_on_by_the_link_it_had(chain: Chain) -> None:
    """a removes b, then c: b still runs, and still knows c, which runs too."""

    def remove_both() -> None:
        chain.remove(b)
        chain.remove(c)

    chain.add("a", then=remove_both)
    b = chain.add("b")
    c = chain.add("c")
    chain.add("d")

    chain.call()

    assert chain.calls == ["a", "b", "c", "d"]
    assert chain.names == ["a", "d"]


def test_the_stop_bit_holds_in_the_callback_that_changed_the_chain(chain: Chain) -> None:
    nb = chain.add("a", ret=NOTIFY_BAD, then=lambda: chain.remove(nb))
    chain.add("b")

    assert chain.call() == NOTIFY_BAD
    assert chain.calls == ["a"]


def test_a_walk_inside_a_walk_that_changes_the_chain_leaves_both_exact(chain: Chain) -> None:
    """The inner walk starts anew; the outer one goes on to the next block it had read."""
    depth = itertools.count()

    def nest() -> None:
        if next(depth) == 0:
            chain.remove(b)
            chain.call()

    chain.add("a", then=nest)
    b = chain.add("b")
    chain.add("c")

    chain.call()

    assert chain.calls == ["a", "a", "c", "b", "c"]


def test_a_callback_that_raises_leaves_the_chain_usable(chain: Chain) -> None:
    def bug() -> None:
        chain.remove(nb)
        raise ZeroDivisionError

    nb = chain.add("a", then=bug)
    chain.add("b")

    with pytest.raises(ZeroDivisionError) as raised:
        chain.call()
    chain.call()

    assert raised.value.__context__ is None
    assert chain.calls == ["a", "b"]


# --- against a plain linked list, under random changes ----------------------------------------------------------------


@dataclass(eq=False)
class Link:
    """A block of the plain list."""

    name: int
    priority: int
    next: "Link | None" = None


@dataclass
class PlainChain:
    """The chain as the kernel has it: links, and `next` read before each call."""

    head: Link | None = None

    def find(self, link: Link) -> bool:
        at = self.head
        while at and at is not link:
            at = at.next
        return at is link

    def register(self, link: Link) -> int:
        if self.find(link):
            return EEXIST
        before, at = None, self.head
        while at and at.priority >= link.priority:
            before, at = at, at.next
        link.next = at
        self.put(before, link)
        return 0

    def unregister(self, link: Link) -> int:
        before, at = None, self.head
        while at and at is not link:
            before, at = at, at.next
        if at is None:
            return ENOENT
        self.put(before, link.next)
        return 0

    def put(self, before: Link | None, link: Link | None) -> None:
        if before:
            before.next = link
        else:
            self.head = link

    def call(self, callback: Callable[[int], int]) -> int:
        ret, at = NOTIFY_DONE, self.head
        while at:
            following = at.next
            ret = callback(at.name)
            if ret & NOTIFY_STOP_MASK:
                break
            at = following
        return ret


PRIORITIES = (5, 5, 0, 0, 0, -5, -5, 9)
Step = tuple[str, int]
STEPS = st.one_of(
    st.tuples(st.just("register"), st.integers(0, len(PRIORITIES) - 1)),
    st.tuples(st.just("unregister"), st.integers(0, len(PRIORITIES) - 1)),
    st.just(("call", 0)),
    st.tuples(st.just("return"), st.sampled_from([0, 0, 0, 1, 1, 2, NOTIFY_STOP, NOTIFY_BAD, -EINVAL])),
)


@dataclass
class Player:
    """Plays one script on a chain.  What the script says runs wherever one happens to be: inside or outside a walk."""

    script: list[Step]
    register: Callable[[int], int]
    unregister: Callable[[int], int]
    call: Callable[[], int]
    trace: Callable[[int], int]
    log: list[tuple[object, ...]] = field(default_factory=list)
    at: int = 0

    def play(self) -> list[tuple[object, ...]]:
        while self.at < len(self.script):
            self.callback(-1)
        return self.log

    def callback(self, name: int) -> int:
        self.log.append(("in", name))
        while self.at < len(self.script):
            verb, argument = self.script[self.at]
            self.at += 1
            if verb == "return":
                return argument
            answer = self.do(verb, argument)
            self.log.append((verb, argument, answer))
        return NOTIFY_DONE

    def do(self, verb: str, argument: int) -> int:
        match verb:
            case "register":
                return self.register(argument)
            case "unregister":
                return self.unregister(argument)
            case "trace":
                return self.trace(argument)
        return self.call()


def play_plain(script: list[Step]) -> list[tuple[object, ...]]:
    links = [Link(name, priority) for name, priority in enumerate(PRIORITIES)]
    chain = PlainChain()
    player = Player(
        script,
        register=lambda name: chain.register(links[name]),
        unregister=lambda name: chain.unregister(links[name]),
        call=lambda: chain.call(player.callback),
        trace=lambda on: 0,
    )
    return player.play()


def errno_of(change: Callable[[], None]) -> int:
    try:
        change()
    except KernelError as refused:
        return refused.errno or 0
    return 0


def play_ours(script: list[Step], nh: NotifierHead) -> list[tuple[object, ...]]:
    def subscriber(name: int, priority: int) -> NotifierBlock:
        return NotifierBlock(lambda val, v: player.callback(name), priority, str(name))

    def turn(on: int) -> int:
        nh.trace.on = bool(on)
        return 0

    blocks = [subscriber(name, priority) for name, priority in enumerate(PRIORITIES)]
    player = Player(
        script,
        register=lambda name: errno_of(lambda: raw_notifier_chain_register(nh, blocks[name])),
        unregister=lambda name: errno_of(lambda: raw_notifier_chain_unregister(nh, blocks[name])),
        call=lambda: raw_notifier_call_chain(nh, EVENT, None),
        trace=turn,
    )
    return player.play()


TRACE = st.tuples(st.just("trace"), st.integers(0, 1))


def scripts(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    """Scripts that begin with four blocks on the chain."""
    return st.lists(steps, max_size=60).map(lambda steps: [("register", name) for name in (0, 2, 3, 5)] + steps)


@given(scripts(STEPS | TRACE))
def test_walks_agree_with_a_plain_linked_list_however_the_chain_changes(script: list[Step]) -> None:
    assert play_ours(script, RawNotifierHead("chain")) == play_plain(script)


@given(scripts(STEPS))
def test_the_story_names_the_callbacks_in_the_order_in_which_they_ran(script: list[Step]) -> None:
    nh = RawNotifierHead("chain")
    nh.trace.on = True

    log = play_ours(script, nh)

    ran = [entry.name for entry in nh.trace.story() if isinstance(entry, CallbackRan)]
    assert ran == [str(name) for what, name, *_ in log if what == "in" and name != -1]
