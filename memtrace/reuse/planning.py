"""A trace -> what it need not hold: blocks that could take over another's bytes, be dropped over the peak, or be freed sooner."""

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
    """What one tag's candidates come to."""

    tag: str
    blocks: int
    bytes: int  # of all candidates
    peak_bytes: int  # of those that would be away after the event of the peak


@dataclass(frozen=True)
class InPlace:
    """Blocks that could be put in the place of one that is freed up to ``window`` events later."""

    window: int
    tags: tuple[TagShare, ...]
    peak_live_bytes: int  # if all of them are


@dataclass(frozen=True)
class Idle:
    """Blocks that lie idle over the peak: from the use before it to the next one, or to a free."""

    least_events: int
    tags: tuple[TagShare, ...]
    peak_live_bytes: int
    rebuilt_bytes: int  # written again, each once; of late frees 0
    rebuilt_ns: int | None  # modelled: the time from each block's alloc to the next event; None without times


@dataclass(frozen=True)
class Plan:
    """Candidates, most bytes at the peak first. Each kind's peak is by itself; they cannot be added up."""

    trace: str
    peak_live_bytes: int
    peak_live_event: int
    in_place: InPlace
    recompute: Idle
    free_early: Idle


def plan(trace: Trace, window: int = 1, least_idle: int = 100, keep: tuple[str, ...] = ()) -> Plan:
    """Blocks tagged with one of ``keep`` are neither dropped nor freed early. Exact, for any batches; see docs/reuse.md."""
    facts = trace.facts
    recompute, late = idle_blocks(trace, least_idle, keep)
    return Plan(trace.name, facts.peak_live_bytes, facts.peak_live_event, in_place(trace, window), recompute, late)


def in_place(trace: Trace, window: int) -> InPlace:
    slots = np.zeros((trace.facts.max_live + 1, 5), np.int64)
    totals, recent, fresh = np.zeros(3, np.int64), np.zeros(window + 1, np.int64), np.full(window + 1, -1, np.int64)
    pairs = np.zeros((len(trace.tags) + 1, 3), np.int64)
    for e in trace.batches():
        peak = trace.facts.peak_live_event
        kernel.pair(e.op, e.block, e.size, e.stream, e.tag, window, slots, totals, recent, fresh, pairs, peak)
    return InPlace(window, shares(trace, pairs), kernel.final(totals, recent, window))


def idle_blocks(trace: Trace, least_idle: int, keep: tuple[str, ...]) -> tuple[Idle, Idle]:
    """What could be recomputed, and what could be freed early: the blocks that are live and idle at the peak."""
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
    """By slot: the event of the alloc of the block that is there at the peak."""
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
    """The peak of live bytes if the blocks of ``rows`` are away between their uses."""
    starts, ends = np.argsort(rows[:, 0], kind="stable"), np.argsort(rows[:, 1], kind="stable")
    edges = (rows[starts, 0], rows[ends, 1], rows[starts, 2], rows[ends, 2])
    sizes, totals, first = np.zeros(trace.facts.max_live + 1, np.int64), np.zeros(5, np.int64), 0
    for e in trace.batches():
        kernel.peak_without(e.op, e.block, e.size, first, *edges, sizes, totals)
        first += e.op.size
    return int(totals[1])


def shares(trace: Trace, pairs: Ints) -> tuple[TagShare, ...]:
    names = [NO_TAG, *trace.tags]
    found = [TagShare(names[row], *pairs[row].tolist()) for row in np.flatnonzero(pairs[:, 0]).tolist()]
    return tuple(sorted(found, key=lambda share: (-share.peak_bytes, -share.bytes, share.tag)))
