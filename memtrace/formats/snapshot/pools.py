"""Private pools of memory (CUDA graphs, MemPool): of which pool events are that do not say so, and which pools do not split."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from memtrace.formats.snapshot.records import Action, Recording, State
from memtrace.trace.model import Int32s, Int64s

LEAST_REST = 512  # bytes: a small block is split if so much is left ...
LEAST_LARGE_REST = 1 << 20  # ... and a large one if more than this


class Ranges(NamedTuple):
    """Hold segments at the end of a recording as columns, by address."""

    address: Int64s
    size: Int64s  # bytes
    pool: Int32s  # code of the pool's id, 0 for the default pool


def pools_by_segment(action: Any, address: Int64s, size: Int64s, ranges: Ranges) -> Int32s:
    """Return the pool of each event as the code of the pool of the segment at its address, where the events do not say it.

    A segment counts from the event on that made it; 0 where there is no segment at the end. ``action``, ``address`` and ``size``
    are the columns of the events.
    """
    found = np.zeros(action.size, np.int32)
    if not ranges.pool.any():
        return found
    at = np.searchsorted(ranges.address, address, side="right") - 1
    inside = (at >= 0) & (address < (ranges.address + ranges.size)[at]) & (action != Action.OOM)
    for segment in np.flatnonzero(ranges.pool).tolist():
        own = np.flatnonzero(inside & (at == segment))
        made = own[action[own] == Action.SEGMENT_ALLOC]
        found[own[own >= (made[-1] if made.size else 0)]] = ranges.pool[segment]
    return found


def unsplit_pools(recording: Recording) -> list[int]:
    """Return the codes of private pools that hand out blocks whole: MemPool(no_split=True).

    Such a pool has a block in use at the end whose rest would have been split off anywhere else.
    """
    blocks, segments = recording.blocks, recording.segments
    used = (blocks.state != State.INACTIVE) & (segments.pool[blocks.segment] > 0) & ~segments.expandable[blocks.segment]
    rest = blocks.size - -(-np.maximum(blocks.requested, 1) // LEAST_REST) * LEAST_REST
    large = segments.large[blocks.segment]
    whole = used & np.where(large, rest > LEAST_LARGE_REST, rest >= LEAST_REST) & (blocks.size == segments.size[blocks.segment])
    found: list[int] = np.unique(segments.pool[blocks.segment[whole]]).tolist()
    return found
