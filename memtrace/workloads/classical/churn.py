"""Turn blocks with a size and a time of death into events in order; the clock counts allocations.

The live blocks are a binary heap ordered by time of death. One step of the kernel makes one event: it frees the block that is
due, or allocates the next block. The kernel returns when the output or the heap is full, or the batch of blocks is used up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s, Op
from memtrace.trace.raw import MISSING
from memtrace.workloads.events import PIECE_EVENTS, Piece

ALLOC, FREE = int(Op.ALLOC), int(Op.FREE)
CLOCK, LIVE, TAKEN = range(3)  # indices in `counts`: blocks born, blocks live, blocks taken from this batch
FIRST_HEAP = 1 << 12  # length of the heap at the start


class Births(NamedTuple):
    """Describe a batch of blocks in the order of their birth."""

    size: Int64s  # bytes
    due: Int64s  # number of births after which the block dies
    tag: Int32s  # index into the workload's tags


@njit(cache=True, nogil=True, error_model="numpy")
def _run(size, due, tag, heap_due, heap_id, counts, op, id, out_size, out_tag):  # type: ignore[no-untyped-def]
    """Write events until the output or the heap is full or the batch is used up, and return their number.

    The batch is `size`, `due`, `tag`; the heap is `heap_due`, `heap_id`; the output is `op`, `id`, `out_size`, `out_tag`. The
    heap and `counts` ([CLOCK, LIVE, TAKEN]) are changed in place. A block's id is its number among all births.
    """
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


def churn(births: Iterator[Births], events: int) -> Iterator[Piece]:
    """Yield the first `events` events of these blocks in pieces; fewer if the blocks run out."""
    heap_due, heap_id = np.empty(FIRST_HEAP, np.int64), np.empty(FIRST_HEAP, np.int64)
    counts = np.zeros(3, np.int64)
    batch, left = next(births, None), events
    while left > 0 and batch is not None:
        count = min(left, PIECE_EVENTS)
        op, id, size, tag = (
            np.empty(count, np.uint8),
            np.empty(count, np.int64),
            np.empty(count, np.int64),
            np.empty(count, np.int32),
        )
        at = _run(*batch, heap_due, heap_id, counts, op, id, size, tag)
        if at:
            yield Piece(op[:at], id[:at], size[:at], tag[:at])
            left -= at
        if counts[LIVE] >= heap_due.size:
            heap_due, heap_id = _doubled(heap_due), _doubled(heap_id)
        elif counts[TAKEN] >= batch.size.size:
            batch, counts[TAKEN] = next(births, None), 0


def _doubled(array: Int64s) -> NDArray[np.int64]:
    """Return a copy of the array with twice the length; the new half has no defined values."""
    return np.concatenate([array, np.empty_like(array)])
