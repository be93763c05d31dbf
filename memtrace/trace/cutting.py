"""Split the batches of a trace after given events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from memtrace.trace.model import Events, Int64s


def cut(batches: Iterable[Events], after: Int64s) -> Iterator[Events]:
    """Yield the same events in batches such that each event number in `after` is the last event of its batch.

    `after` is ascending. Columns are slices of the input, not copies; a column of one element (a default) is passed on.
    """
    start = 0
    for events in batches:
        count = events.op.size
        inside = after[np.searchsorted(after, start) : np.searchsorted(after, start + count)] - start + 1
        for low, high in pairwise(dict.fromkeys([0, *inside.tolist(), count])):
            yield Events._make(column if column.size == 1 else column[low:high] for column in events)
        start += count
