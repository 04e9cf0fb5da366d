"""Per-CPU data: which CPUs there may be, one copy of a structure for each, and counters that a reader never sees torn.

Kernel: include/linux/cpumask.h, kernel/smp.c, include/linux/percpu.h, include/linux/u64_stats_sync.h, and of
include/linux/netdevice.h the counters of loopback-like devices (lstats).  Here a CPU is a number that the caller has;
whoever adds to a counter says on which CPU it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from errno import ENOMEM
from typing import Final, Generic, Protocol, TypeVar

from addrsvc.errors import KernelError

__all__ = [
    "Allocator", "Cpus", "PcpuLstats", "PerCpu", "U64Stats32", "U64Stats64", "U64StatsSync32", "U64StatsSync64",
    "alloc_percpu_gfp", "cpumask_next", "for_each_cpu", "for_each_possible_cpu", "free_percpu", "get_option",
    "lstats_read", "netdev_alloc_pcpu_stats", "nrcpus",
]  # fmt: skip

T = TypeVar("T")

NR_CPUS: Final = 256
"""The most CPUs that a kernel built like the reference can have (CONFIG_NR_CPUS)."""


# --- CPUs -----------------------------------------------------------------------------------------------------------


class Cpus:
    """cpu_possible_mask and nr_cpu_ids of one machine, and the size of its words.

    Attributes:
        possible: the mask, bit n for CPU n.  CPU 0, which boots, is always there.
        nr_cpu_ids: one more than the highest number a CPU may have.
        bits_per_long: 64 or 32.
    """

    __slots__ = ("bits_per_long", "nr_cpu_ids", "possible")

    def __init__(self, possible: int = 0b11, cmdline: str = "", *, bits_per_long: int = 64) -> None:
        """`possible` as a mask; the kernel's command line may hold ``nr_cpus=``, which can only lower their number.

        Raises:
            ValueError: no CPU 0, more than NR_CPUS, or words of another size than 32 or 64 bits.
        """
        if not 0 < possible < 1 << NR_CPUS or not possible & 1:
            raise ValueError(f"possible: {possible:#x} is not a mask of 1 to {NR_CPUS} CPUs with CPU 0 among them")
        if bits_per_long not in U64_STATS:
            raise ValueError(f"bits_per_long: {bits_per_long} is none of {', '.join(map(str, U64_STATS))}")
        self.bits_per_long = bits_per_long
        self.nr_cpu_ids = NR_CPUS
        for value in _early_params(cmdline, "nr_cpus"):
            nrcpus(self, value)
        self.possible = possible & (1 << self.nr_cpu_ids) - 1
        self.nr_cpu_ids = self.possible.bit_length()


_WORD: Final = re.compile(r'(?:"[^"]*"?|[^\s"])+')


def _early_params(cmdline: str, wanted: str) -> Iterator[str]:
    """The values of a parameter on the kernel's command line, up to "--"; "-" and "_" are the same in its name.

    Kernel: init/main.c, do_early_param(); lib/cmdline.c, next_arg(); kernel/params.c, parameq().
    """
    for word in _WORD.findall(cmdline):
        if word == "--":
            return
        name, _, value = word.strip('"').partition("=")
        if name.replace("-", "_") == wanted:
            yield value.strip('"')


def get_option(text: str) -> tuple[int, int | None, str]:
    """Read one number of an option: decimal, 0x or 0 for octal, a leading "-" negates.

    Kernel: lib/cmdline.c, get_option().

    Returns:
        What was found (0 no number, 1 a number, 2 a number and a comma, 3 a number and "-"), the number as a C int,
        and what is left of the text.
    """
    negative = text.startswith("-")
    found = re.match(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*", text[negative:])
    if found is None:
        return 0, None, text[negative:]
    digits = found.group()
    number = int(digits, 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10)
    rest = text[negative + found.end() :]
    kind = {",": 2, "-": 3}.get(rest[:1], 1)
    return kind, _as_c_int(-number if negative else number), rest[kind == 2 :]


def _as_c_int(number: int) -> int:
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def nrcpus(cpus: Cpus, text: str) -> None:
    """Heed ``nr_cpus=``: a number above zero and below what there is lowers nr_cpu_ids; all else is ignored.

    Kernel: kernel/smp.c, nrcpus().
    """
    kind, number, _ = get_option(text)
    if kind and number is not None and 0 < number < cpus.nr_cpu_ids:
        cpus.nr_cpu_ids = number


def cpumask_next(n: int, mask: int, nr_cpu_ids: int) -> int:
    """The first CPU above `n` in the mask, or a number that is at least nr_cpu_ids.

    Kernel: include/linux/cpumask.h, cpumask_next().
    """
    above = (mask & (1 << nr_cpu_ids) - 1) >> n + 1
    return n + (above & -above).bit_length() if above else nr_cpu_ids


def for_each_cpu(mask: int, nr_cpu_ids: int) -> Iterator[int]:
    """The CPUs of a mask, lowest first.

    Kernel: include/linux/cpumask.h, for_each_cpu().
    """
    cpu = -1
    while (cpu := cpumask_next(cpu, mask, nr_cpu_ids)) < nr_cpu_ids:
        yield cpu


def for_each_possible_cpu(cpus: Cpus) -> Iterator[int]:
    """Every CPU that there may be.

    Kernel: include/linux/cpumask.h, for_each_possible_cpu().
    """
    return for_each_cpu(cpus.possible, cpus.nr_cpu_ids)


# --- one copy for each CPU ------------------------------------------------------------------------------------------


class PerCpu(Generic[T]):
    """What a __percpu pointer leads to."""

    __slots__ = ("_copies",)

    def __init__(self, copies: dict[int, T]) -> None:
        self._copies = copies

    def per_cpu_ptr(self, cpu: int) -> T:
        """The copy of one CPU.

        Kernel: include/linux/percpu-defs.h, per_cpu_ptr().
        """
        return self._copies[cpu]


class Allocator:
    """Memory for per-CPU data, which can run out: a test says after how many allocations.

    Attributes:
        left: how many more allocations succeed; None for as many as wanted.
        in_use: allocations that were not freed.
    """

    __slots__ = ("in_use", "left")

    def __init__(self, left: int | None = None) -> None:
        self.left, self.in_use = left, 0


def alloc_percpu_gfp(allocator: Allocator, cpus: Cpus, make: Callable[[], T]) -> PerCpu[T] | None:
    """A zeroed copy of a structure for every possible CPU, or None where memory has run out.

    Kernel: include/linux/percpu.h, alloc_percpu_gfp(), __alloc_percpu_gfp().
    Differs: no allocation flags, size or alignment: `make` makes one copy.
    """
    if allocator.left == 0:
        return None
    if allocator.left is not None:
        allocator.left -= 1
    allocator.in_use += 1
    return PerCpu({cpu: make() for cpu in for_each_possible_cpu(cpus)})


def free_percpu(allocator: Allocator, data: PerCpu[T] | None) -> None:
    """Give it back; nothing to give back is no error.

    Kernel: mm/percpu.c, free_percpu().
    """
    if data is not None:
        allocator.in_use -= 1


# --- counters that are read while they are written --------------------------------------------------------------------

_MASK32: Final = (1 << 32) - 1
_MASK64: Final = (1 << 64) - 1


class U64Stats(Protocol):
    """u64_stats_t: one counter."""

    def add(self, val: int) -> None:
        """u64_stats_add()."""

    def inc(self) -> None:
        """u64_stats_inc()."""

    def read(self) -> int:
        """u64_stats_read()."""


class U64StatsSync(Protocol):
    """struct u64_stats_sync: what makes the counters beside it readable as one."""

    def update_begin(self) -> None:
        """u64_stats_update_begin()."""

    def update_end(self) -> None:
        """u64_stats_update_end()."""

    def fetch_begin(self) -> int:
        """u64_stats_fetch_begin()."""

    def fetch_retry(self, start: int) -> bool:
        """u64_stats_fetch_retry()."""


class U64Stats64:
    """A counter of one word, which wraps around.

    Kernel: include/linux/u64_stats_sync.h, u64_stats_t with BITS_PER_LONG == 64.
    """

    __slots__ = ("_v",)

    def __init__(self) -> None:
        self._v = 0

    def add(self, val: int) -> None:
        """Count `val` more."""
        self._v = self._v + val & _MASK64

    def inc(self) -> None:
        """Count one more."""
        self._v = self._v + 1 & _MASK64

    def read(self) -> int:
        """What was counted."""
        return self._v


class U64StatsSync64:
    """On 64-bit machines a counter is read in one go: there is nothing to keep, and nothing to repeat.

    Kernel: include/linux/u64_stats_sync.h, with BITS_PER_LONG == 64.
    """

    __slots__ = ()

    def update_begin(self) -> None:
        """Nothing."""

    def update_end(self) -> None:
        """Nothing."""

    def fetch_begin(self) -> int:
        """Always 0."""
        return 0

    def fetch_retry(self, start: int) -> bool:
        """Never."""
        return False


class U64Stats32:
    """A counter of two words, which are written and read one after the other.

    Kernel: include/linux/u64_stats_sync.h, u64_stats_t with BITS_PER_LONG == 32.
    """

    __slots__ = ("_high", "_low")

    def __init__(self) -> None:
        self._low = self._high = 0

    def add(self, val: int) -> None:
        """Count `val` more: the low half, then the carry."""
        total = self._low + val
        self._store_low(total)
        self._store_high(self._high + (total >> 32))

    def inc(self) -> None:
        """Count one more."""
        self.add(1)

    def read(self) -> int:
        """What was counted, if nobody has written in between."""
        return self._load_low() | self._load_high() << 32

    # Each half in a call of its own: between two calls another thread may run, as between two instructions there.

    def _store_low(self, word: int) -> None:
        self._low = word & _MASK32

    def _store_high(self, word: int) -> None:
        self._high = word & _MASK32

    def _load_low(self) -> int:
        return self._low

    def _load_high(self) -> int:
        return self._high


class U64StatsSync32:
    """On 32-bit machines a sequence counter is odd while somebody writes: a reader that met one reads again.

    Kernel: include/linux/u64_stats_sync.h, with BITS_PER_LONG == 32; include/linux/seqlock.h, seqcount_t.
    """

    __slots__ = ("_sequence",)

    def __init__(self) -> None:
        self._sequence = 0

    def update_begin(self) -> None:
        """Make it odd."""
        self._sequence = self._sequence + 1 & _MASK32

    def update_end(self) -> None:
        """Make it even again."""
        self._sequence = self._sequence + 1 & _MASK32

    def fetch_begin(self) -> int:
        """Wait until nobody writes, and take the number."""
        while (sequence := self._sequence) & 1:
            pass
        return sequence

    def fetch_retry(self, start: int) -> bool:
        """Whether somebody wrote since."""
        return self._sequence != start


U64_STATS: Final[Mapping[int, tuple[Callable[[], U64Stats], Callable[[], U64StatsSync]]]] = {
    64: (U64Stats64, U64StatsSync64),
    32: (U64Stats32, U64StatsSync32),
}
"""Counters and their synchronisation by BITS_PER_LONG."""


class PcpuLstats:
    """struct pcpu_lstats: what one CPU has sent over a loopback-like device.

    Kernel: include/linux/netdevice.h, pcpu_lstats.  There it is aligned to twice the size of a counter, so that both
    counters share a cache line; here the alignment is told and nothing more.
    """

    __slots__ = ("bytes", "packets", "syncp")

    ALIGNMENT: Final = 2 * 8

    def __init__(
        self, counter: Callable[[], U64Stats] = U64Stats64, syncp: Callable[[], U64StatsSync] = U64StatsSync64
    ) -> None:
        self.packets, self.bytes, self.syncp = counter(), counter(), syncp()

    def add(self, length: int) -> None:
        """Count one packet of `length` bytes.  Ours: dev_lstats_add() on the CPU that this copy belongs to."""
        self.syncp.update_begin()
        self.bytes.add(length)
        self.packets.inc()
        self.syncp.update_end()

    def read(self) -> tuple[int, int]:
        """Packets and bytes of one moment.  Ours: what dev_lstats_read() does for each CPU."""
        while True:
            start = self.syncp.fetch_begin()
            packets, octets = self.packets.read(), self.bytes.read()
            if not self.syncp.fetch_retry(start):
                return packets, octets


def netdev_alloc_pcpu_stats(allocator: Allocator, cpus: Cpus) -> PerCpu[PcpuLstats]:
    """Counters for every possible CPU, each with its synchronisation set up.

    Kernel: include/linux/netdevice.h, netdev_alloc_pcpu_stats(), __netdev_alloc_pcpu_stats().

    Raises:
        KernelError: ENOMEM.
    """
    form = U64_STATS[cpus.bits_per_long]
    stats = alloc_percpu_gfp(allocator, cpus, lambda: PcpuLstats(*form))
    if stats is None:
        raise KernelError(ENOMEM)
    return stats


def lstats_read(stats: PerCpu[PcpuLstats], cpus: Cpus) -> tuple[int, int]:
    """Packets and bytes of all possible CPUs together: dev_lstats_read() without its device.  Ours."""
    packets = octets = 0
    for cpu in for_each_possible_cpu(cpus):
        more_packets, more_octets = stats.per_cpu_ptr(cpu).read()
        packets, octets = packets + more_packets, octets + more_octets
    return packets & _MASK64, octets & _MASK64
