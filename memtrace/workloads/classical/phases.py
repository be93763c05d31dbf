"""Draw the sizes and lifetimes of random blocks, in a steady state or in phases, and turn them into events in order.

`Blocks` draws batches of births in one of Wilson's three shapes (Wilson et al. 1995, section 2.4), or in a steady state: a ramp
keeps what it allocates; peaks build up many blocks and drop them; plateaus build up many blocks, use them for long, and drop
them. A phase has sizes of its own, and part of its blocks die young.

`churn` turns births, of any origin, into events; the clock counts allocations. The live blocks are a binary heap ordered by time
of death. One step of the kernel makes one event: it frees the block that is due, or allocates the next block. The kernel
returns when the output or the heap is full, or the batch of blocks is used up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import jit
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int32s, Int64s, Op
from memtrace.workloads.chance import Distribution, draw, whole
from memtrace.workloads.events import PIECE_EVENTS, Piece

Shape = Literal["steady", "ramp", "peaks", "plateaus"]

ALLOC, FREE = int(Op.ALLOC), int(Op.FREE)
CLOCK, LIVE, TAKEN = range(3)  # indices in `counts`: blocks born, blocks live, blocks taken from this batch
FIRST_HEAP = 1 << 12  # length of the heap at the start
BIRTHS = 1 << 17  # blocks of a batch
NEVER = 1 << 62  # time of death of a block that is never freed
YOUNG_SHARE = 0.5  # share of the blocks of a peak that die young
YOUNG_PART = 0.02  # the mean lifetime of these, as a share of `live`
SURVIVORS = 0.03  # share of a phase's other blocks that live for some more phases
USE = 8  # a plateau is used USE times as long as its rise takes
MOST_FACTOR = 4.0  # a phase's mean size is between a quarter of the mean and four times the mean
TAGS = ("steady", "young", "kept", "survivor")
STEADY, YOUNG, KEPT, SURVIVOR = range(4)


class Births(NamedTuple):
    """Describe a batch of blocks in the order of their birth."""

    size: Int64s  # bytes
    due: Int64s  # number of births after which the block dies
    tag: Int32s  # index into the workload's tags


class Heap(NamedTuple):
    """The live blocks, a binary heap ordered by time of death. A block's id is its number among all births."""

    due: Int64s  # [place] number of births after which the block dies
    id: Int64s  # [place]


@dataclass(frozen=True)
class Blocks:
    """Describe how the blocks of a workload are drawn."""

    shape: Shape
    events: int  # length of the trace, which determines how fast a ramp grows
    sizes: Distribution
    mean: int  # bytes
    spread: float  # coefficient of variation of sizes and lifetimes
    least: int  # bytes; smaller sizes are raised to it
    most: int  # bytes; larger sizes are cut to it
    lifetimes: Distribution
    live: int  # about the number of live blocks, or its maximum

    def births(self, rng: np.random.Generator) -> Iterator[Births]:
        """Yield blocks in batches, without end."""
        first = 0
        phases = Phases(self, rng)
        while True:
            clock = np.arange(first, first + BIRTHS)
            factor, due, tag = phases.of(clock)
            size = whole(draw(self.sizes, rng, BIRTHS, self.mean, self.spread) * factor, self.least, self.most)
            yield Births(size, due, tag.astype(np.int32))
            first += BIRTHS


class Phases:
    """Draw for each block the phase in which it is born, how large it is, and when it dies."""

    def __init__(self, blocks: Blocks, rng: np.random.Generator) -> None:
        """Start before the first phase."""
        self.blocks, self.rng = blocks, rng
        self.factors = np.empty(0)

    def of(self, clock: Int64s) -> tuple[np.ndarray, Int64s, np.ndarray]:
        """Return size factors, times of death and tags of the blocks that are born at these times (all in births)."""
        blocks, rng, count = self.blocks, self.rng, clock.size
        if blocks.shape == "steady":
            life = whole(draw(blocks.lifetimes, rng, count, blocks.live, blocks.spread), 1, NEVER)
            return np.ones(count), clock + life, np.full(count, STEADY)
        young = whole(draw(blocks.lifetimes, rng, count, max(1.0, YOUNG_PART * blocks.live), blocks.spread), 1, NEVER)
        dies_young = rng.random(count) < self._young_share(clock)
        length = self._length()
        phase = clock // length
        end = (phase + 1) * length + (rng.random(count) * length * 0.1).astype(np.int64)
        survives = ~dies_young & (rng.random(count) < SURVIVORS)
        if blocks.shape == "ramp":
            end, survives = np.full(count, NEVER), np.zeros(count, np.bool_)
        end = end + survives * length * (1 + (rng.random(count) * 4).astype(np.int64))
        tag = np.where(dies_young, YOUNG, np.where(survives, SURVIVOR, KEPT))
        return self._factor(phase), np.where(dies_young, clock + young, end), tag

    def _length(self) -> int:
        """Return the number of births in a phase."""
        live = self.blocks.live
        if self.blocks.shape == "plateaus":
            return live * (1 + USE)
        return int(live / (1 - YOUNG_SHARE))

    def _young_share(self, clock: Int64s) -> np.ndarray:
        """Return the probability that a block dies young, for blocks born at these times."""
        blocks = self.blocks
        if blocks.shape == "peaks":
            return np.full(clock.size, YOUNG_SHARE)
        if blocks.shape == "plateaus":
            return (clock % self._length() >= blocks.live).astype(np.float64)
        births = max(1, (blocks.events + blocks.live) // 2)  # all but `live` blocks are freed
        return np.full(clock.size, max(0.0, 1 - blocks.live / births))

    def _factor(self, phase: Int64s) -> np.ndarray:
        """Return the factor of the mean size for these phases, ascending.

        Each phase has one factor, drawn when the first block of the phase is born.
        """
        if self.blocks.shape == "ramp":
            return np.ones(phase.size)
        while self.factors.size <= phase[-1]:
            drawn = MOST_FACTOR ** (2 * self.rng.random(64) - 1)
            self.factors = np.concatenate([self.factors, drawn])
        found: np.ndarray = self.factors[phase]
        return found


def churn(births: Iterator[Births], events: int) -> Iterator[Piece]:
    """Yield the first `events` events of these blocks in pieces; fewer if the blocks run out."""
    heap = Heap(np.empty(FIRST_HEAP, np.int64), np.empty(FIRST_HEAP, np.int64))
    counts = np.zeros(3, np.int64)
    batch, left = next(births, None), events
    while left > 0 and batch is not None:
        count = min(left, PIECE_EVENTS)
        out = Piece(
            op=np.empty(count, np.uint8),
            id=np.empty(count, np.int64),
            size=np.empty(count, np.int64),
            tag=np.empty(count, np.int32),
        )
        at = _run(batch, heap, counts, out)
        if at:
            yield Piece(op=out.op[:at], id=out.id[:at], size=out.size[:at], tag=out.tag[:at])
            left -= at
        if counts[LIVE] >= heap.due.size:
            heap = Heap(_doubled(heap.due), _doubled(heap.id))
        elif counts[TAKEN] >= batch.size.size:
            batch, counts[TAKEN] = next(births, None), 0


@jit(error_model="numpy")
def _run(births, heap, counts, out):  # type: ignore[no-untyped-def]
    """Write events until the output or the heap is full or the batch of births is used up, and return their number.

    The heap and `counts` ([CLOCK, LIVE, TAKEN]) are changed in place; `out` is a Piece with the columns op, id, size and tag.
    """
    size, due, tag, heap_due, heap_id = births.size, births.due, births.tag, heap.due, heap.id
    op, id, out_size, out_tag = out.op, out.id, out.size, out.tag
    at = 0
    clock, live, taken = counts[0], counts[1], counts[2]
    while at < op.size:
        if live > 0 and heap_due[0] <= clock:
            op[at], id[at], out_size[at], out_tag[at] = FREE, heap_id[0], MISSING, -1
            live -= 1
            last_due, last_id, place = heap_due[live], heap_id[live], 0
            while True:
                child = 2 * place + 1
                if child >= live:
                    break
                if child + 1 < live and heap_due[child + 1] < heap_due[child]:
                    child += 1
                if heap_due[child] >= last_due:
                    break
                heap_due[place], heap_id[place] = heap_due[child], heap_id[child]
                place = child
            heap_due[place], heap_id[place] = last_due, last_id
        else:
            if taken >= size.size or live >= heap_due.size:
                break
            op[at], id[at], out_size[at], out_tag[at] = ALLOC, clock, size[taken], tag[taken]
            dies, place = max(due[taken], clock + 1), live
            while place > 0 and heap_due[(place - 1) // 2] > dies:
                heap_due[place], heap_id[place] = heap_due[(place - 1) // 2], heap_id[(place - 1) // 2]
                place = (place - 1) // 2
            heap_due[place], heap_id[place] = dies, clock
            live += 1
            taken += 1
            clock += 1
        at += 1
    counts[0], counts[1], counts[2] = clock, live, taken
    return at


def _doubled(array: Int64s) -> NDArray[np.int64]:
    """Return a copy of the array with twice the length; the new half has no defined values."""
    return np.concatenate([array, np.empty_like(array)])
