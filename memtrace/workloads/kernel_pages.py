"""Pages of an operating system's kernel: processes, page cache, slabs, page tables, stacks and packets, by migratetype.

Each event asks for 1 to 512 pages of 4,096 bytes, a power of two, as the Linux kernel's event mm_page_alloc has them: `size` is
4,096 times 2^order, the tag begins with the migratetype, the stream is the CPU. Processes start at `forks` a second, each with
a kernel stack, page tables and anonymous pages that come over its life and go at its end; some live as long as the machine,
some use huge pages. The page cache is read at `reads` pages a second. Slabs of inodes and dentries are reclaimable, other slabs
unmovable; some stay for good. Packets live for milliseconds. `load` scales all rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from memtrace.workloads.chance import lognormal, whole
from memtrace.workloads.events import Made
from memtrace.workloads.lifespans import NEVER, SECOND, Spans, Stretch, events, spans, together
from memtrace.workloads.options import Between

# Names of tags, of which the first word is the migratetype, and their indices.
TAGS = (
    *("movable anonymous", "movable cache", "movable huge", "unmovable stack", "unmovable pagetable"),
    *("unmovable slab", "reclaimable inode", "unmovable packet"),
)
ANONYMOUS, CACHE, HUGE, STACK, TABLE, SLAB, INODE, PACKET = range(8)

PAGE = 4096
STACK_ORDER, HUGE_ORDER = 2, 9
SLAB_ORDERS = (0, 1, 2, 3)
SLAB_SHARES = np.array([0.5, 0.2, 0.15, 0.15])  # of the orders
DAEMONS = 0.02  # share of processes that stay
STAYING = 0.03  # share of slabs that stay
HUGE_SHARE = 0.05  # share of processes with huge pages
LIFE, ANONYMOUS_PAGES, TABLE_PAGES = 2.0, 60.0, 10.0  # of a process, means: seconds, pages
CACHED, INODE_LIFE, SLAB_LIFE, PACKET_LIFE = 40.0, 60.0, 30.0, 0.005  # mean lives in seconds
MINUTE = 60 * SECOND


def generate(
    seed: int,
    *,
    minutes: Annotated[float, Between(0.01, 10**5, "of the machine's time")] = 2.0,
    cpus: Annotated[int, Between(1, 4096, "that events are of, the streams")] = 4,
    forks: Annotated[float, Between(0, 10**5, "processes that start a second")] = 8.0,
    reads: Annotated[float, Between(0, 10**6, "pages a second that the page cache reads")] = 250.0,
    slabs: Annotated[float, Between(0, 10**6, "slabs a second, half of them of inodes")] = 40.0,
    packets: Annotated[float, Between(0, 10**6, "buffers for packets a second")] = 500.0,
    load: Annotated[float, Between(0.001, 1000, "factor of all rates")] = 1.0,
) -> Made:
    """Return the events of the workload `kernel-pages`, as its module describes."""
    rates = (forks * load, reads * load, slabs * load, packets * load)
    machine = _Machine(np.random.default_rng(seed), minutes, cpus, *rates)
    return Made(events(machine.stretches(), int(minutes * MINUTE)), TAGS)


@dataclass
class _Machine:
    """Draw the blocks of a machine; the options have the names and meanings of `generate`."""

    rng: np.random.Generator
    minutes: float
    cpus: int
    forks: float
    reads: float
    slabs: float
    packets: float

    def stretches(self) -> Iterator[Stretch]:
        """Yield the blocks in stretches of a minute."""
        for minute in range(int(np.ceil(self.minutes))):
            start, end = minute * MINUTE, (minute + 1) * MINUTE
            parts = [*self._processes(start, end), self._cache(start, end), *self._slabs(start, end), self._packets(start, end)]
            yield Stretch(end, together(parts))
        yield Stretch(NEVER, together([]))

    def _births(self, start: int, end: int, rate: float) -> np.ndarray:
        """Return ascending times in ns between `start` and `end`, at so many a second in the mean."""
        count = int(self.rng.random() + rate * (end - start) / SECOND)
        return np.sort(start + (self.rng.random(count) * (end - start)).astype(np.int64))

    def _cpu(self, count: int) -> np.ndarray:
        """Return a CPU for each of so many blocks."""
        return self.rng.integers(0, self.cpus, count)

    def _lives(self, count: int, seconds: float, spread: float) -> np.ndarray:
        """Return log-normal lives in ns of this mean."""
        return whole(SECOND * lognormal(self.rng, count, seconds, spread), 1, NEVER)

    def _processes(self, start: int, end: int) -> list[Spans]:
        """Return the stack, the page tables and the pages of each process that starts; they go with it."""
        born = self._births(start, end, self.forks)
        count = born.size
        death = np.where(self.rng.random(count) < DAEMONS, NEVER, born + self._lives(count, LIFE, 2.5))
        cpu = self._cpu(count)
        found = [spans(born, death, PAGE << STACK_ORDER, STACK, cpu)]
        for tag, mean, spread in ((TABLE, TABLE_PAGES, 0.6), (ANONYMOUS, ANONYMOUS_PAGES, 1.5)):
            found.append(self._over_life(born, death, cpu, whole(lognormal(self.rng, count, mean, spread), 1, 20_000), tag))
        huge = np.where(self.rng.random(count) < HUGE_SHARE, whole(lognormal(self.rng, count, 4.0, 1.0), 1, 64), 0)
        found.append(self._over_life(born, death, cpu, huge, HUGE))
        return found

    def _over_life(self, born: np.ndarray, death: np.ndarray, cpu: np.ndarray, pages: np.ndarray, tag: int) -> Spans:
        """Return so many blocks of each process, most of them early in its life, all freed at its end."""
        which = np.repeat(np.arange(born.size), pages)
        life = np.minimum(death - born, MINUTE)[which]
        late = (self.rng.random(which.size) ** 4 * life).astype(np.int64)
        size = PAGE << HUGE_ORDER if tag == HUGE else PAGE
        return spans(born[which] + 1 + late, death[which], size, tag, cpu[which])

    def _cache(self, start: int, end: int) -> Spans:
        """Return the pages that the page cache reads, in runs of up to 16 pages."""
        runs = self._births(start, end, self.reads / 8)
        lengths = self.rng.integers(1, 16, runs.size)
        births = np.repeat(runs, lengths) + np.arange(lengths.sum())
        cpu = np.repeat(self._cpu(runs.size), lengths)
        return spans(births, births + self._lives(births.size, CACHED, 2.0), PAGE, CACHE, cpu)

    def _slabs(self, start: int, end: int) -> list[Spans]:
        """Return the slabs of inodes, which are reclaimable, and all others; some stay."""
        found = []
        for tag, seconds in ((INODE, INODE_LIFE), (SLAB, SLAB_LIFE)):
            births = self._births(start, end, self.slabs / 2)
            orders = np.searchsorted(np.cumsum(SLAB_SHARES)[:-1], self.rng.random(births.size), side="right")
            sizes = PAGE << np.array(SLAB_ORDERS)[orders]
            stays = self.rng.random(births.size) < STAYING
            deaths = np.where(stays, NEVER, births + self._lives(births.size, seconds, 1.5))
            found.append(spans(births, deaths, sizes, tag, self._cpu(births.size)))
        return found

    def _packets(self, start: int, end: int) -> Spans:
        """Return the buffers of packets, of one page or of eight."""
        births = self._births(start, end, self.packets)
        sizes = np.where(self.rng.random(births.size) < 0.85, PAGE, PAGE << 3)
        return spans(births, births + self._lives(births.size, PACKET_LIFE, 2.0), sizes, PACKET, self._cpu(births.size))
