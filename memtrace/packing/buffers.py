"""Turn a trace into buffers: when the block of each request lives, how large it is, and which others live at the same time.

Only buffers that live at the same time, which are called neighbours, must not overlap in addresses. A section is a set of
buffers that live at once, without those sets that are part of another: the buffers of a section must not overlap in addresses,
and two buffers that share no section may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.kernels import jit
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.trace import Trace

Ints = NDArray[np.int64]
MOST_BUFFERS = 20_000_000  # that are packed: memory holds all at once
ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)


@dataclass(frozen=True)
class Buffers:
    """The buffers of a trace, one entry per request, in their order; a buffer lives over the events [lower, upper)."""

    lower: Ints  # event of the request
    upper: Ints  # event of the free, or just after the next realloc of the block; the number of events if neither comes
    size: Ints  # bytes, rounded up to the alignment
    align: Ints  # bytes
    follows: Ints  # index of the next request of the same block, a realloc; -1 if there is none

    def __len__(self) -> int:
        """Return the number of buffers."""
        return int(self.size.size)

    @property
    def bound(self) -> int:
        """Return the most bytes that live at once: no packing is lower."""
        return self._most(self.upper)

    @property
    def bound_in_place(self) -> int:
        """Return the most bytes that live at once if each realloc stays in place: no placement of any policy is lower."""
        replaced = self.follows >= 0
        return self._most(np.where(replaced, self.lower[np.where(replaced, self.follows, 0)], self.upper))

    def _most(self, upper: Ints) -> int:
        """Return the most bytes that live at once if buffer i lives up to the event ``upper[i]``."""
        times = np.concatenate((upper, self.lower))
        change = np.concatenate((-self.size, self.size))
        order = np.argsort(times, kind="stable")  # at the same time ends go before begins
        return int(np.cumsum(change[order]).max(initial=0))


class Columns(NamedTuple):
    """The columns of Buffers while a trace is read, ``size`` not rounded yet."""

    lower: Ints  # [request] event
    upper: Ints  # [request] event
    size: Ints  # [request] bytes
    align: Ints  # [request] bytes
    follows: Ints  # [request] request, -1 for none
    current: Ints  # [slot] the live buffer, -1 for none


class Overlaps(NamedTuple):
    """For each buffer the buffers that live at the same time, its neighbours.

    Those of buffer i are ``others[first[i]:first[i + 1]]``.
    """

    first: NDArray[np.int64]
    others: NDArray[np.int32]


class Sections(NamedTuple):
    """Buffer i lives in the sections [begin[i], end[i]); sections follow each other in time.

    The buffers of section s are ``members[first[s]:first[s + 1]]``. ``across[s]`` buffers live in both s and s + 1.
    """

    begin: Ints
    end: Ints
    first: Ints
    members: Ints
    across: Ints


def buffers_of(trace: Trace, align: int = 16) -> Buffers:
    """Return the buffers of a trace, with sizes rounded up to ``align`` bytes.

    A realloc begins a new buffer, and for its event both buffers live. Raises UsageError if there are more than MOST_BUFFERS.
    """
    facts = trace.facts
    requests = facts.allocs + facts.reallocs
    if requests > MOST_BUFFERS:
        raise UsageError(
            f"{trace.name} has {requests:,} requests, and packing them needs all at once: more than {MOST_BUFFERS:,} are too many"
        )
    columns = Columns(
        lower=np.empty(requests, np.int64),
        upper=np.full(requests, facts.events, np.int64),
        size=np.empty(requests, np.int64),
        align=np.full(requests, align, np.int64),
        follows=np.full(requests, -1, np.int64),
        current=np.full(facts.max_live, -1, np.int64),
    )
    found, event = 0, 0
    for events in trace.batches():
        found = _note(events, event, found, columns)
        event += events.op.size
    size = np.maximum(-(-columns.size // align), 1) * align
    return Buffers(
        lower=columns.lower[:found],
        upper=columns.upper[:found],
        size=size[:found],
        align=columns.align[:found],
        follows=columns.follows[:found],
    )


@jit()
def _note(events: Any, event: Any, found: Any, columns: Any) -> Any:
    """Write down the buffers that begin or end in a batch whose first event has number ``event``.

    ``found`` is how many buffers have begun, and the new number of them is returned.
    """
    op, block, size, align = events.op, events.block, events.size, events.align
    lower, upper, sizes, aligned = columns.lower, columns.upper, columns.size, columns.align
    follows, current = columns.follows, columns.current
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


def lasting(trace: Trace, buffers: Buffers) -> Ints | None:
    """Return how long each buffer lives by the trace's own clock, in ns; None if the trace has no times, or no buffers."""
    if "time" not in trace.columns or len(buffers) == 0:
        return None
    ends = np.minimum(buffers.upper, trace.facts.events - 1)
    return trace.times(ends) - trace.times(buffers.lower)


@jit()
def count_pairs(lower: Any, upper: Any) -> Any:
    """Return the number of pairs of buffers that live at the same time; buffer i lives over the events [lower[i], upper[i])."""
    starts, ends = np.sort(lower), np.sort(upper)
    pairs, ended = 0, 0
    for i in range(starts.size):
        while ends[ended] <= starts[i]:
            ended += 1
        pairs += i - ended
    return pairs


def overlaps(lower: NDArray[np.int64], upper: NDArray[np.int64]) -> Overlaps:
    """Return the neighbours of each buffer; buffer i lives over the events [lower[i], upper[i])."""
    return Overlaps(*find(lower, upper))


@jit()
def find(lower: Any, upper: Any) -> Any:
    """Return the arrays of Overlaps: each pair of buffers that live at the same time, both ways; that takes 8 bytes per pair.

    Buffer i lives over the events [lower[i], upper[i]).
    """
    first = np.zeros(lower.size + 1, np.int64)
    order = np.argsort(lower)
    _sweep(order, lower, upper, first, np.zeros(0, np.int32), False)
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(first[:-1])))
    others = np.empty(first[-1], np.int32)
    _sweep(order, lower, upper, first.copy(), others, True)
    return first, others


@jit()
def _sweep(order: Any, lower: Any, upper: Any, at: Any, others: Any, fill: Any) -> None:
    """Go through the buffers by begin (``order``), with a list of those that live, and count each one's neighbours in ``at``.

    If ``fill``, ``at[i]`` is where the next neighbour of buffer i goes in ``others``, and the neighbours are written there.
    """
    live = np.empty(lower.size, np.int64)
    count = 0
    for new in order:
        kept = 0
        for q in range(count):
            old = live[q]
            if upper[old] > lower[new]:
                live[kept] = old
                kept += 1
                if fill:
                    others[at[old]] = new
                    others[at[new]] = old
                at[old] += 1
                at[new] += 1
        live[kept] = new
        count = kept + 1


def spans(buffers: Buffers) -> tuple[Ints, Ints, int]:
    """Return the begin and the end of each buffer in sections, a half-open interval, and the number of sections.

    A section is as late as it may be: no buffer has ended since the last of its buffers began.
    """
    starts, ends = np.sort(buffers.lower), np.sort(buffers.upper)
    followed = np.searchsorted(ends, starts, side="right")  # number of buffers that have ended when each begins
    ended = np.append(followed[1:], -1)
    last_start = starts[followed != ended]  # begins that an end follows before the next begin
    begin = np.searchsorted(last_start, buffers.lower, side="left")
    end = np.searchsorted(last_start, buffers.upper, side="left")
    return begin, end, last_start.size


def sections(buffers: Buffers) -> Sections:
    """Return all sections with their members; that takes memory for each section of each buffer."""
    begin, end, count = spans(buffers)
    lives = end - begin
    which = np.repeat(np.arange(lives.size), lives)
    section = np.arange(which.size) - np.repeat(np.cumsum(lives) - lives, lives) + np.repeat(begin, lives)
    first = np.concatenate(([0], np.cumsum(np.bincount(section, minlength=count))))
    change = np.zeros(count + 1, np.int64)
    np.add.at(change, begin, 1)
    np.add.at(change, end - 1, -1)
    return Sections(begin, end, first, which[np.argsort(section, kind="stable")], np.cumsum(change)[:count])
