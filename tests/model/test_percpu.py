"""Per-CPU data: which CPUs there may be, and counters that a reader never sees torn while real threads write them."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOMEM
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc.errors import KernelError
from addrsvc.model.percpu import (
    NR_CPUS,
    Allocator,
    Cpus,
    PcpuLstats,
    PerCpu,
    U64Stats32,
    U64Stats64,
    U64StatsSync32,
    U64StatsSync64,
    alloc_percpu_gfp,
    cpumask_next,
    for_each_cpu,
    for_each_possible_cpu,
    free_percpu,
    get_option,
    lstats_read,
    netdev_alloc_pcpu_stats,
)

MASKS = st.integers(0, (1 << NR_CPUS) - 1)
WORDS = st.integers(0, (1 << 32) - 1)
MASK64 = (1 << 64) - 1
PATIENCE = 30.0
"""Seconds after which a test that waits for two threads to meet gives up."""


# --- CPUs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", (1, 2, "")), ("0x10", (1, 16, "")), ("0X1f", (1, 31, "")), ("010", (1, 8, "")), ("0", (1, 0, "")),
        ("-3", (1, -3, "")), ("-0x1", (1, -1, "")), ("4,5", (2, 4, "5")), ("4-5", (3, 4, "-5")), ("4x", (1, 4, "x")),
        ("08", (1, 0, "8")), ("0x", (1, 0, "x")), ("0xg", (1, 0, "xg")), ("", (0, None, "")), ("-", (0, None, "")),
        ("--1", (0, None, "-1")), ("+1", (0, None, "+1")), (" 1", (0, None, " 1")), ("all", (0, None, "all")),
        ("2147483648", (1, -(1 << 31), "")), ("4294967298", (1, 2, "")), (str((1 << 64) + 7), (1, 7, "")),
    ],
)  # fmt: skip
def test_one_number_of_an_option(text: str, expected: tuple[int, int | None, str]) -> None:
    assert get_option(text) == expected


@pytest.mark.parametrize(
    ("cmdline", "nr_cpu_ids"),
    [
        ("", 4), ("nr_cpus=1", 1), ("nr_cpus=3", 3), ("nr_cpus=4", 4), ("nr_cpus=5", 4), ("nr_cpus=0", 4),
        ("nr_cpus=-1", 4), ("nr_cpus=", 4), ("nr_cpus", 4), ("nr_cpus=two", 4), ("nr_cpus=0x2", 2), ("nr_cpus=02", 2),
        ("nr_cpus=2,1", 2), ("nr_cpus=2-3", 2), ("nr_cpus=2cpus", 2), ("nr_cpus=4294967297", 1),
        ("nr_cpus=2 nr_cpus=3", 2), ("nr_cpus=3 nr_cpus=2", 2), ("quiet nr_cpus=2 console=ttyS0", 2),
        ("xnr_cpus=1", 4), ("nr_cpusx=1", 4), ("maxcpus=1", 4), ("nr-cpus=2", 2), ("quiet -- nr_cpus=1", 4),
        ('nr_cpus="2"', 2), ('"nr_cpus=2"', 2), ('init="/a nr_cpus=1" quiet', 4),
    ],
)  # fmt: skip
def test_nr_cpus_can_only_lower_the_number_of_cpus(cmdline: str, nr_cpu_ids: int) -> None:
    cpus = Cpus(0b1111, cmdline)

    assert cpus.nr_cpu_ids == nr_cpu_ids
    assert list(for_each_possible_cpu(cpus)) == list(range(nr_cpu_ids))


def test_cpus_that_there_may_not_be_are_left_out() -> None:
    cpus = Cpus(0b1001, "nr_cpus=3")

    assert (list(for_each_possible_cpu(cpus)), cpus.nr_cpu_ids) == ([0], 1)


@pytest.mark.parametrize("possible", [0, 0b10, -1, 1 << NR_CPUS | 1])
def test_a_machine_has_cpu_0_and_at_most_as_many_as_it_was_built_for(possible: int) -> None:
    with pytest.raises(ValueError, match="possible"):
        Cpus(possible)


def test_words_have_32_or_64_bits() -> None:
    with pytest.raises(ValueError, match="bits_per_long: 16 is none of 64, 32"):
        Cpus(bits_per_long=16)


@given(MASKS, st.integers(1, NR_CPUS))
def test_for_each_cpu_visits_every_cpu_of_the_mask_below_the_limit_in_order(mask: int, nr_cpu_ids: int) -> None:
    assert list(for_each_cpu(mask, nr_cpu_ids)) == [cpu for cpu in range(nr_cpu_ids) if mask >> cpu & 1]


@given(MASKS, st.integers(1, NR_CPUS), st.integers(-1, NR_CPUS))
def test_the_next_cpu_is_the_lowest_above_or_none(mask: int, nr_cpu_ids: int, n: int) -> None:
    found = cpumask_next(n, mask, nr_cpu_ids)
    between = range(n + 1, min(found, nr_cpu_ids))

    assert found >= nr_cpu_ids or (found > n and mask >> found & 1)
    assert not any(mask >> cpu & 1 for cpu in between)


@given(MASKS.map(lambda mask: mask | 1), st.integers(1, NR_CPUS))
def test_nr_cpu_ids_is_one_more_than_the_last_possible_cpu(possible: int, limit: int) -> None:
    cpus = Cpus(possible, f"nr_cpus={limit}")
    possible_cpus = list(for_each_possible_cpu(cpus))

    assert cpus.nr_cpu_ids == possible_cpus[-1] + 1 <= limit
    assert possible_cpus == [cpu for cpu in range(limit) if possible >> cpu & 1]


# --- one copy for each CPU ------------------------------------------------------------------------------------------


def test_every_possible_cpu_has_a_copy_of_its_own_and_no_other_has_one() -> None:
    cpus = Cpus(0b101)
    data = alloc_percpu_gfp(Allocator(), cpus, PcpuLstats)
    assert data is not None

    assert data.per_cpu_ptr(0) is not data.per_cpu_ptr(2)
    with pytest.raises(KeyError):
        data.per_cpu_ptr(1)


def test_memory_runs_out_when_it_is_told_to_and_is_given_back() -> None:
    allocator = Allocator(left=1)
    stats = netdev_alloc_pcpu_stats(allocator, Cpus())

    with pytest.raises(KernelError) as refused:
        netdev_alloc_pcpu_stats(allocator, Cpus())
    assert (refused.value.errno, allocator.in_use) == (ENOMEM, 1)
    free_percpu(allocator, stats)
    free_percpu(allocator, None)
    assert allocator.in_use == 0


# --- counters -------------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(WORDS, st.integers(0, MASK64)), max_size=20))
def test_both_forms_count_alike_and_wrap_around_alike(lengths: list[int]) -> None:
    whole, halves = U64Stats64(), U64Stats32()
    for length in lengths:
        for counter in (whole, halves):
            counter.add(length)
            counter.inc()

    assert whole.read() == halves.read() == sum(lengths) + len(lengths) & MASK64


@given(st.lists(st.tuples(st.sampled_from([0, 1, 3]), WORDS), max_size=30), st.sampled_from([32, 64]))
def test_what_was_counted_on_all_cpus_is_read_together(packets: list[tuple[int, int]], bits: int) -> None:
    cpus = Cpus(0b1011, bits_per_long=bits)
    stats = netdev_alloc_pcpu_stats(Allocator(), cpus)
    for cpu, length in packets:
        stats.per_cpu_ptr(cpu).add(length)

    assert lstats_read(stats, cpus) == (len(packets), sum(length for _, length in packets))


def test_both_counters_share_a_cache_line() -> None:
    assert PcpuLstats.ALIGNMENT == 16


def test_a_64_bit_machine_keeps_nothing_and_never_repeats() -> None:
    syncp = U64StatsSync64()
    start = syncp.fetch_begin()
    syncp.update_begin()

    assert (start, syncp.fetch_begin(), syncp.fetch_retry(start)) == (0, 0, False)


def test_a_reader_repeats_if_somebody_wrote_meanwhile_and_only_then() -> None:
    syncp = U64StatsSync32()
    start = syncp.fetch_begin()
    assert not syncp.fetch_retry(start)
    syncp.update_begin()
    assert syncp.fetch_retry(start)
    syncp.update_end()
    assert syncp.fetch_retry(start)
    assert not syncp.fetch_retry(syncp.fetch_begin())


# --- a race with real threads ---------------------------------------------------------------------------------------


class NoRetry(U64StatsSync32):
    """What a reader would see that does not read again."""

    def fetch_retry(self, start: int) -> bool:
        return False


class NoWait(NoRetry):
    """What a reader would see that does not even wait."""

    def fetch_begin(self) -> int:
        return 0


@contextmanager
def eager_threads() -> Iterator[None]:
    """Let threads take turns after every few instructions."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextmanager
def written_by_threads(stats: PerCpu[PcpuLstats], lengths: dict[int, int]) -> Iterator[None]:
    """One thread for each CPU counts packets of one length on it, without end."""
    ended = threading.Event()

    def write(mine: PcpuLstats, length: int) -> None:
        while not ended.is_set():
            mine.add(length)

    threads = [threading.Thread(target=write, args=(stats.per_cpu_ptr(cpu), length)) for cpu, length in lengths.items()]
    with eager_threads():
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def is_torn(reading: tuple[int, int], length: int) -> bool:
    """Whether it is of no moment at all: bytes that are not those of the packets."""
    packets, octets = reading
    return octets != packets * length & MASK64


def raced(syncp: Callable[[], U64StatsSync32]) -> PerCpu[PcpuLstats]:
    return PerCpu({cpu: PcpuLstats(U64Stats32, syncp) for cpu in range(2)})


@settings(max_examples=8, deadline=None)
@given(st.integers((1 << 31) - 1, (1 << 32) - 1))
def test_a_reader_that_races_writers_never_sees_a_torn_pair(length: int) -> None:
    stats, cpus = raced(U64StatsSync32), Cpus(0b11)
    before = (0, 0)
    with written_by_threads(stats, {0: length, 1: length}):
        for _ in range(300):
            now = lstats_read(stats, cpus)
            assert not is_torn(now, length)
            assert now >= before
            before = now
    assert before > (0, 0)


@pytest.mark.parametrize("syncp", [NoRetry, NoWait])
def test_without_the_retry_a_reader_does_see_torn_pairs(syncp: type[U64StatsSync32]) -> None:
    """So the test above can fail."""
    stats, cpus, length = raced(syncp), Cpus(0b11), (1 << 32) - 1
    deadline = monotonic() + PATIENCE
    with written_by_threads(stats, {0: length, 1: length}):
        while not is_torn(lstats_read(stats, cpus), length):
            assert monotonic() < deadline, "no reading was ever torn"


# --- a writer that always comes in between --------------------------------------------------------------------------


class Meeting:
    """Lets a writer's thread count one packet while a reader stands between the two counters, once when `armed`."""

    def __init__(self) -> None:
        self.armed = False
        self._turn, self._done = threading.Event(), threading.Event()

    def let_write(self) -> None:
        if self.armed:
            self.armed = False
            self._done.clear()
            self._turn.set()
            assert self._done.wait(PATIENCE), "the writer did not come"

    @contextmanager
    def writer(self, mine: PcpuLstats, length: int) -> Iterator[None]:
        ended = False

        def write() -> None:
            while self._turn.wait() and not ended:
                self._turn.clear()
                mine.add(length)
                self._done.set()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            ended = True
            self._turn.set()
            thread.join()


class Overtaken(U64Stats32):
    """A counter before whose reading somebody else writes."""

    def __init__(self, meeting: Meeting) -> None:
        super().__init__()
        self._meeting = meeting

    def read(self) -> int:
        self._meeting.let_write()
        return super().read()


def readings(syncp: Callable[[], U64StatsSync32], length: int, times: int) -> list[tuple[int, int]]:
    """What a reader gets that a writer's thread overtakes every time."""
    meeting = Meeting()
    mine = PcpuLstats(U64Stats32, syncp)
    mine.bytes = Overtaken(meeting)
    seen = []
    with meeting.writer(mine, length):
        for _ in range(times):
            meeting.armed = True
            seen.append(mine.read())
    return seen


@settings(max_examples=30, deadline=None)
@given(st.integers(1, (1 << 32) - 1), st.integers(1, 20))
def test_a_reader_that_is_overtaken_reads_again(length: int, times: int) -> None:
    assert readings(U64StatsSync32, length, times) == [(n, n * length) for n in range(1, times + 1)]


@pytest.mark.parametrize("syncp", [NoRetry, NoWait])
def test_a_reader_that_is_overtaken_and_does_not_read_again_is_torn_every_time(syncp: type[U64StatsSync32]) -> None:
    """So removing the retry makes the test above fail, and not only now and then."""
    assert readings(syncp, 1000, 5) == [(n, (n + 1) * 1000) for n in range(5)]
