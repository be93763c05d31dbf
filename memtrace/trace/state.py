"""What the preparing kernel fills: the prepared columns, and the live blocks with the running counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s


class Out(NamedTuple):
    """Where prepared events go; a column that is not wanted has one element."""

    op: NDArray[np.uint8]
    block: Int32s
    size: Int64s
    align: Int64s
    stream: Int32s
    dst: Int32s
    tag: Int32s
    time: Int64s
    id: Int64s
    row: Int32s  # the row of the batch that the event was


class Table(NamedTuple):
    """The live blocks and the running counts."""

    pairs: Int64s  # [2 * places] id, slot; slot -1: the place is empty
    slots: Int64s  # [2 * slots] bytes, event of the alloc (-1 - event: another stream uses it)
    waiting: Int64s  # [2 * slots] the slots of the waiting blocks freed after and before, -1 for none
    spare: Int32s  # stack of slots to be used again
    totals: Int64s  # [TOTALS]
    size_bins: Int64s  # [SIZE_BINS] requests
    size_bytes: Int64s  # [64]
    lifetime_bytes: Int64s  # [64]
    size_lifetime: Int64s  # [64 * 64]
