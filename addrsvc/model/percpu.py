"""Per-CPU data: which CPUs there may be, one copy of a structure for each, and counters that a reader never sees torn.

Kernel: include/linux/cpumask.h, kernel/smp.c, include/linux/percpu.h, include/linux/u64_stats_sync.h, and of
include/linux/netdevice.h and net/core/dev.c the counters of loopback-like devices (lstats).  Here a CPU is a number
that the caller has; whoever adds to a counter says on which CPU it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from errno import ENOMEM
from typing import Final, Generic, Protocol, TypeVar

from addrsvc.errors import KernelError

__all__ = [
    "Allocator", "Cpus", "PcpuLstats", "PerCpu", "U64StatsSync32", "U64StatsSync64", "alloc_percpu_gfp", "cpumask_next",
    "for_each_cpu", "for_each_possible_cpu", "free_percpu", "get_option", "lstats_read", "netdev_alloc_pcpu_stats",
    "nrcpus",
]  # fmt: skip

T = TypeVar("T")

NR_CPUS: Final = 256
"""The most CPUs that a kernel built like the reference can have (CONFIG_NR_CPUS)."""


# --- CPUs -----------------------------------------------------------------------------------------------------------


class Cpus:
    """cpu_possible_mask and nr_cpu_ids of one machine.

    Attributes:
        possible: the mask, bit n for CPU n.
        nr_cpu_ids: one more than the highest number a CPU may have.
    """

    __slots__ = ("nr_cpu_ids", "possible")

    def __init__(self, possible: int = 0b11, cmdline: str = "") -> None:
        """`possible` as a mask; `cmdline` may hold ``nr_cpus=``, which can only lower their number.

        Raises:
            ValueError: no CPU at all, or more than NR_CPUS.
        """
        if not 0 < possible < 1 << NR_CPUS:
            raise ValueError(f"possible: {possible:#x} is not a mask of 1 to {NR_CPUS} CPUs")
        self.nr_cpu_ids = possible.bit_length()
        for value in re.findall(r"(?:^|\s)nr_cpus=(\S*)", cmdline):
            nrcpus(self, value)
        self.possible = possible & (1 << self.nr_cpu_ids) - 1


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
        return 0, None, text
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


class U64StatsSync32:
    """On 32-bit machines a sequence counter is odd while somebody writes: a reader that met one reads again.

    Kernel: include/linux/u64_stats_sync.h, with BITS_PER_LONG == 32; include/linux/seqlock.h, seqcount_t.
    """

    __slots__ = ("sequence",)

    def __init__(self) -> None:
        self.sequence = 0

    def update_begin(self) -> None:
        """Make it odd."""
        self.sequence += 1

    def update_end(self) -> None:
        """Make it even again."""
        self.sequence += 1

    def fetch_begin(self) -> int:
        """Wait until nobody writes, and take the number."""
        while (sequence := self.sequence) & 1:
            pass
        return sequence

    def fetch_retry(self, start: int) -> bool:
        """Whether somebody wrote since."""
        return self.sequence != start


class PcpuLstats:
    """struct pcpu_lstats: what one CPU has sent over a loopback-like device.

    Kernel: include/linux/netdevice.h, pcpu_lstats.  There it is aligned to twice the size of a counter, so that both
    counters share a cache line; here the alignment is told and nothing more.
    """

    __slots__ = ("bytes", "packets", "syncp")

    ALIGNMENT: Final = 2 * 8

    def __init__(self, syncp: Callable[[], U64StatsSync] = U64StatsSync64) -> None:
        self.packets = self.bytes = 0
        self.syncp = syncp()

    def add(self, length: int) -> None:
        """Count one packet of `length` bytes.

        Kernel: include/linux/netdevice.h, dev_lstats_add(), on the CPU that this copy belongs to.
        """
        self.syncp.update_begin()
        self.packets += 1
        self.bytes += length
        self.syncp.update_end()

    def read(self) -> tuple[int, int]:
        """Packets and bytes of one moment.

        Kernel: net/core/dev.c, dev_lstats_read(), for one CPU.
        """
        syncp = self.syncp
        while True:
            start = syncp.fetch_begin()
            packets, octets = self.packets, self.bytes
            if not syncp.fetch_retry(start):
                return packets, octets


def netdev_alloc_pcpu_stats(
    allocator: Allocator, cpus: Cpus, syncp: Callable[[], U64StatsSync] = U64StatsSync64
) -> PerCpu[PcpuLstats]:
    """Counters for every possible CPU, each with its synchronisation set up.

    Kernel: include/linux/netdevice.h, netdev_alloc_pcpu_stats(), __netdev_alloc_pcpu_stats().

    Raises:
        KernelError: ENOMEM.
    """
    stats = alloc_percpu_gfp(allocator, cpus, lambda: PcpuLstats(syncp))
    if stats is None:
        raise KernelError(ENOMEM)
    return stats


def lstats_read(stats: PerCpu[PcpuLstats], cpus: Cpus) -> tuple[int, int]:
    """Packets and bytes of all possible CPUs together.

    Kernel: net/core/dev.c, dev_lstats_read().
    """
    packets = octets = 0
    for cpu in for_each_possible_cpu(cpus):
        more_packets, more_octets = stats.per_cpu_ptr(cpu).read()
        packets, octets = packets + more_packets, octets + more_octets
    return packets, octets
