"""A trace -> its buffers: for each block that a request asks for, when it lives and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.trace import Trace

Ints = NDArray[np.int64]

MOST_BUFFERS = 20_000_000
ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)


@dataclass(frozen=True)
class Buffers:
    """One entry per request, in their order; a buffer lives over the events [lower, upper)."""

    lower: Ints
    upper: Ints
    size: Ints  # bytes, rounded up to the alignment
    align: Ints
    follows: Ints  # the next request of the same block, a realloc; -1 if there is none

    def __len__(self) -> int:
        return int(self.size.size)

    @property
    def bound(self) -> int:
        """The most bytes that live at once: no packing is lower."""
        times = np.concatenate((self.upper, self.lower))
        change = np.concatenate((-self.size, self.size))
        order = np.argsort(times, kind="stable")  # what ends at a time goes before what begins at it
        return int(np.cumsum(change[order]).max(initial=0))


def buffers_of(trace: Trace, align: int = 16) -> Buffers:
    """The buffers of a trace, sizes rounded up to ``align``. A realloc begins a new buffer, and for its event both live.

    Raises UsageError where they are more than memory can hold.
    """
    facts = trace.facts
    requests = facts.allocs + facts.reallocs
    if requests > MOST_BUFFERS:
        raise UsageError(
            f"{trace.name} has {requests:,} requests, and packing them needs all at once: more than {MOST_BUFFERS:,} are too many"
        )
    lower, upper, size = np.empty(requests, np.int64), np.full(requests, facts.events, np.int64), np.empty(requests, np.int64)
    aligned, follows = np.full(requests, align, np.int64), np.full(requests, -1, np.int64)
    current = np.full(facts.max_live, -1, np.int64)
    found, event = 0, 0
    for events in trace.batches():
        out = (lower, upper, size, aligned, follows)
        found = _note(events.op, events.block, events.size, events.align, event, found, current, *out)
        event += events.op.size
    size = np.maximum(-(-size // align), 1) * align
    return Buffers(lower[:found], upper[:found], size[:found], aligned[:found], follows[:found])


def lasting(trace: Trace, buffers: Buffers) -> Ints | None:
    """How long each buffer lives by the trace's own clock, if it has one."""
    if "time" not in trace.columns or len(buffers) == 0:
        return None
    ends = np.minimum(buffers.upper, trace.facts.events - 1)
    return trace.times(ends) - trace.times(buffers.lower)


@njit(cache=True, nogil=True)
def _note(op, block, size, align, event, found, current, lower, upper, sizes, aligned, follows):  # type: ignore[no-untyped-def]
    """Note the buffers that begin or end in a batch whose first event has this number; returns how many there are now."""
    for i in range(op.size):
        slot = block[i]
        if slot < 0:
            continue
        if op[i] == FREE or op[i] == REALLOC:
            if current[slot] >= 0:
                upper[current[slot]] = event + i + (op[i] == REALLOC)
                if op[i] == REALLOC:
                    follows[current[slot]] = found
            current[slot] = -1
        if op[i] == ALLOC or op[i] == REALLOC:
            lower[found] = event + i
            sizes[found] = size[i]
            aligned[found] = max(aligned[found], align[i if align.size > 1 else 0])
            current[slot] = found
            found += 1
    return found
