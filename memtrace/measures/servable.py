"""Measures of whether free memory would serve requests: the next one, and the largest that would nearly always fit."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from memtrace.engine.known import HOLES, STATES
from memtrace.measures.declaration import Ints, Readings, metric
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.trace import Trace

ORDER = 3
RARELY = 100  # one of so many samples may have a smaller largest hole


@metric(
    "ratio",
    "lower",
    "share of the samples with a request after them whose size is above max h and at most F: it fits no hole, though the free "
    "bytes would do",
    needs=(STATES, HOLES),
)
def lost_to_fragmentation(r: Readings) -> float | None:
    asked = requests_after(r.placement.trace, r.placement.recorder.sample_events[:-1])[: r.samples.table.shape[0]]
    known = asked >= 0
    if not known.any():
        return None
    return float(((asked > r.samples.column("largest")) & (asked <= r.samples.column("free")))[known].mean())


@metric("bytes", "higher", "the size that max h has at least at 99 % of the samples", needs=(STATES, HOLES))
def servable_p99_bytes(r: Readings) -> int | None:
    sizes = np.sort(r.samples.column("largest"))
    return int(sizes[sizes.size // RARELY]) if sizes.size else None


_asked: WeakKeyDictionary[Trace, dict[int, Ints]] = WeakKeyDictionary()


def requests_after(trace: Trace, samples: Ints) -> Ints:
    """Return `next_requests` of a trace's samples, which is worked out once for each number of samples."""
    kept = _asked.setdefault(trace, {})
    if samples.size not in kept:
        kept[samples.size] = next_requests(trace, samples)
    return kept[samples.size]


def next_requests(trace: Trace, events: Ints) -> Ints:
    """Return the size in bytes of the first request after each of the given events, and -1 where no request follows.

    ``events`` is ascending.
    """
    found, start = np.full(events.size, -1, np.int64), 0
    for batch in trace.batches():
        at = np.flatnonzero((batch.op == Op.ALLOC) | (batch.op == Op.REALLOC))
        waiting = np.flatnonzero((found < 0) & (events < start + batch.op.size))
        next_at = np.searchsorted(at + start, events[waiting], side="right")
        inside = next_at < at.size
        found[waiting[inside]] = batch.size[at[next_at[inside]]]
        start += batch.op.size
    return found
