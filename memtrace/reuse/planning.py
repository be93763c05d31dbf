"""Reuse planning: finds blocks that could take over another block's bytes, be dropped over the peak, or be freed sooner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrace.reuse import kernel

if TYPE_CHECKING:
    from memtrace.trace import Trace

Ints = NDArray[np.int64]
NO_TAG = "(none)"


@dataclass(frozen=True)
class TagShare:
    """The candidates of one tag, added up."""

    tag: str
    blocks: int  # candidates
    bytes: int  # of all candidates
    peak_bytes: int  # of those that would be away after the event of the peak


@dataclass(frozen=True)
class InPlace:
    """Blocks that could be put in the place of a block that is freed up to ``window`` events later."""

    window: int  # events
    tags: tuple[TagShare, ...]
    peak_live_bytes: int  # if all of them are put there


@dataclass(frozen=True)
class Idle:
    """Blocks that lie idle over the peak: from the last use before it to the next one, or to the free."""

    least_events: int  # a block counts if it is idle for more events
    tags: tuple[TagShare, ...]
    peak_live_bytes: int  # if all of them are away while idle
    rebuilt_bytes: int  # bytes to write again, once for each block; 0 for blocks that are freed early
    rebuilt_ns: int | None  # modelled: the time from each block's alloc to the next event; None without times


@dataclass(frozen=True)
class Plan:
    """The candidates of a trace by kind. The peaks of the kinds hold for one kind alone; they cannot be added up."""

    trace: str  # name
    peak_live_bytes: int  # of the unchanged trace
    peak_live_event: int
    in_place: InPlace
    recompute: Idle
    free_early: Idle


def plan(trace: Trace, window: int = 1, least_idle: int = 100, keep: tuple[str, ...] = ()) -> Plan:
    """Return what a trace need not hold at its peak: pairs in place, blocks to recompute, and blocks to free early.

    Blocks must be idle for more than ``least_idle`` events. Blocks tagged with one of ``keep`` are neither dropped nor
    freed early. The result is exact, however the trace is cut into batches; see docs/reuse.md.
    """
    facts = trace.facts
    recompute, late = idle_blocks(trace, least_idle, keep)
    return Plan(trace.name, facts.peak_live_bytes, facts.peak_live_event, in_place(trace, window), recompute, late)


def in_place(trace: Trace, window: int) -> InPlace:
    """Return the pairs of blocks that could share their bytes, for frees up to ``window`` events after the alloc."""
    slots = np.zeros((trace.facts.max_live + 1, 5), np.int64)
    totals, recent, fresh = np.zeros(3, np.int64), np.zeros(window + 1, np.int64), np.full(window + 1, -1, np.int64)
    pairs = np.zeros((len(trace.tags) + 1, 3), np.int64)
    for e in trace.batches():
        peak = trace.facts.peak_live_event
        kernel.pair(e.op, e.block, e.size, e.stream, e.tag, window, slots, totals, recent, fresh, pairs, peak)
    return InPlace(window, shares(trace, pairs), kernel.final(totals, recent, window))


def idle_blocks(trace: Trace, least_idle: int, keep: tuple[str, ...]) -> tuple[Idle, Idle]:
    """Return two kinds of blocks live and idle at the peak: those to recompute, and those that could be freed early.

    A block of the first kind is used again after the peak; one of the second kind is only freed.
    """
    facts = trace.facts
    live = np.zeros((facts.max_live + 1, 4), np.int64)
    born = np.zeros(facts.max_live + 1, np.int64)
    idle = np.full((facts.max_live + 1, 5), -1, np.int64)
    first = 0
    for e in trace.batches():
        count = e.op.size
        kernel.idle_at(e.op, e.block, e.size, e.dst, e.tag, first, facts.peak_live_event, facts.accesses > 0, live, idle)
        if first <= facts.peak_live_event < first + count:
            born = born_before(trace)
        first += count
    kept = [code for code, tag in enumerate(trace.tags) if tag in keep]
    wide = (idle[:, 0] >= 0) & (idle[:, 1] - idle[:, 0] > least_idle) & ~np.isin(idle[:, 3], kept)
    wide &= (idle[:, 0] < facts.peak_live_event) & (idle[:, 1] > facts.peak_live_event)
    found = []
    for late in (0, 1):
        chosen = wide & (idle[:, 4] == late)
        rows = idle[chosen]
        cost = None
        if "time" in trace.columns:
            at = born[chosen]
            after = trace.times(np.minimum(at + 1, max(facts.events - 1, 0)))
            cost = 0 if late else int((after - trace.times(at)).sum())
        pairs = np.zeros((len(trace.tags) + 1, 3), np.int64)
        np.add.at(pairs, rows[:, 3] + 1, np.stack((np.ones(rows.shape[0], np.int64), rows[:, 2], rows[:, 2]), axis=1))
        rebuilt = 0 if late else int(rows[:, 2].sum())
        found.append(Idle(least_idle, shares(trace, pairs), peak_without(trace, rows), rebuilt, cost))
    return found[0], found[1]


def born_before(trace: Trace) -> Ints:
    """Return the event of the alloc of each block that is live at the peak, by slot. Slots without a block have any value."""
    born, first = np.zeros(trace.facts.max_live + 1, np.int64), 0
    for e in trace.batches():
        ends = min(e.op.size, trace.facts.peak_live_event + 1 - first)
        allocs = np.flatnonzero(e.op[:ends] == kernel.ALLOC)
        born[e.block[allocs]] = allocs + first  # the last of a slot stays
        first += e.op.size
        if first > trace.facts.peak_live_event:
            break
    return born


def peak_without(trace: Trace, rows: Ints) -> int:
    """Return the peak of live bytes if the blocks of ``rows`` are away between their uses.

    ``rows`` is [block, (from, until, bytes, tag, late)].
    """
    starts, ends = np.argsort(rows[:, 0], kind="stable"), np.argsort(rows[:, 1], kind="stable")
    edges = (rows[starts, 0], rows[ends, 1], rows[starts, 2], rows[ends, 2])
    sizes, totals, first = np.zeros(trace.facts.max_live + 1, np.int64), np.zeros(5, np.int64), 0
    for e in trace.batches():
        kernel.peak_without(e.op, e.block, e.size, first, *edges, sizes, totals)
        first += e.op.size
    return int(totals[1])


def shares(trace: Trace, pairs: Ints) -> tuple[TagShare, ...]:
    """Return the candidates by tag, most bytes at the peak first; ``pairs`` is [tag + 1, (blocks, bytes, bytes at the peak)]."""
    names = [NO_TAG, *trace.tags]
    found = [TagShare(names[row], *pairs[row].tolist()) for row in np.flatnonzero(pairs[:, 0]).tolist()]
    return tuple(sorted(found, key=lambda share: (-share.peak_bytes, -share.bytes, share.tag)))
