"""Define the arrays that the preparing kernel fills: the prepared columns, and the live blocks with the running counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s


class Out(NamedTuple):
    """Receive prepared events, one element for each in every column; a column that is not wanted has one element in all.

    The columns are those of `model.Events`, and `time` (nanoseconds), `id` (of the input) and `row`.
    """

    op: NDArray[np.uint8]
    block: Int32s
    size: Int64s
    align: Int64s
    stream: Int32s
    dst: Int32s
    tag: Int32s
    time: Int64s
    id: Int64s
    row: Int32s  # the event's row number in its raw batch


class Table(NamedTuple):
    """Keep the live blocks of a trace and the running counts.

    A place is an index in the hash table of `live_ids`; `slots` and `waiting` have two elements for each slot.
    """

    pairs: Int64s  # [2 * places] id and slot of each place; slot -1: the place is empty
    # [2 * slots] bytes, and event of the alloc (-1 - event: another stream uses the block); for a waiting block WAITS and its id.
    slots: Int64s
    waiting: Int64s  # [2 * slots] doubly linked list of waiting blocks: slots freed next after and last before this one, -1: none
    spare: Int32s  # stack of free slots; totals[SPARE_SLOTS] is its height
    totals: Int64s  # [TOTALS] counts, at the indices that `kernel` defines
    size_bins: Int64s  # [SIZE_BINS] number of requests by `kernel.size_bin`
    size_bytes: Int64s  # [64] requested bytes by size class floor(log2)
    lifetime_bytes: Int64s  # [64] bytes of freed blocks by lifetime class floor(log2), in events
    size_lifetime: Int64s  # [64 * size class + lifetime class] freed blocks
