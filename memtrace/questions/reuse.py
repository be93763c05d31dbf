"""Compiled passes over a trace's events for reuse planning. Memory follows the live set; no function allocates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.trace import Trace

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS = (int(op) for op in (Op.ALLOC, Op.FREE, Op.REALLOC, Op.COPY, Op.SWAP, Op.ACCESS))
# columns of slots: bytes; event of the alloc (-1: the slot is free); stream; tag; 1: the block can no longer be paired, since
# it is in the place of another or was reallocated
SIZE, BORN, STREAM, TAG, TAKEN = range(5)
LIVE, PLANNED_PEAK, EVENT = range(3)  # places in totals: live bytes, peak with pairs, events so far


@njit(cache=True, nogil=True)
def find_pairs(op, block, size, stream, tag, window, slots, totals, recent, fresh, pairs, peak_event):  # type: ignore[no-untyped-def]
    """Find the in-place pairs of one batch: blocks that could take over the bytes of a block freed a little later.

    Each free of a block A takes the largest block of A's stream that was allocated after A and in the ``window`` events
    before the free, fits into A, and was neither freed nor reallocated; the earliest of equals. ``slots`` is [slot, (SIZE,
    BORN, STREAM, TAG, TAKEN)]. ``recent[e % (window + 1)]`` are the live bytes after event e, less what pairs save;
    ``fresh`` is likewise the slot that event e allocated, or -1. ``pairs`` is [tag + 1, (blocks, bytes, bytes saved at
    ``peak_event``)]. All arrays are updated in place.
    """
    n = window + 1
    for i in range(op.size):
        event = totals[EVENT]
        totals[EVENT] += 1
        kind, slot = op[i], block[i]
        place = event % n
        if event >= n:
            totals[PLANNED_PEAK] = max(totals[PLANNED_PEAK], recent[place])
        fresh[place] = -1
        if kind == ALLOC:
            slots[slot, SIZE], slots[slot, BORN], slots[slot, TAKEN] = size[i], event, 0
            slots[slot, STREAM] = stream[i if stream.size > 1 else 0]
            slots[slot, TAG] = tag[i if tag.size > 1 else 0]
            totals[LIVE] += size[i]
            fresh[place] = slot
        elif kind == REALLOC:
            totals[LIVE] += size[i] - slots[slot, SIZE]
            slots[slot, SIZE], slots[slot, TAKEN] = size[i], 1
        elif kind == FREE and slot >= 0:
            totals[LIVE] -= slots[slot, SIZE]
            best = np.int64(-1)
            for e in range(max(event - window, slots[slot, BORN] + 1), event):
                other = fresh[e % n]
                if other < 0 or slots[other, BORN] != e or slots[other, TAKEN] or slots[other, SIZE] == 0:
                    continue
                fits = slots[other, SIZE] <= slots[slot, SIZE] and slots[other, STREAM] == slots[slot, STREAM]
                if fits and (best < 0 or slots[other, SIZE] > slots[best, SIZE]):
                    best = np.int64(other)
            if best >= 0:
                slots[best, TAKEN] = 1
                for e in range(slots[best, BORN], event):
                    recent[e % n] -= slots[best, SIZE]
                at = slots[best, BORN] <= peak_event < event
                tagged = slots[best, TAG] + 1  # the tag of the block that takes over; row 0 is for blocks without a tag
                pairs[tagged, 0] += 1
                pairs[tagged, 1] += slots[best, SIZE]
                pairs[tagged, 2] += slots[best, SIZE] if at else 0
            slots[slot, BORN] = -1
        recent[place] = totals[LIVE]


@njit(cache=True, nogil=True)
def track_idle(op, block, size, dst, tag, event, peak, accesses, live, idle):  # type: ignore[no-untyped-def]
    """Note, over one batch, the last use up to event ``peak`` and the next use after it of each block live then.

    ``live`` is [slot, (bytes, born, last use, tag)], ``idle`` [slot, (from, until, bytes, tag, late)], with events as
    numbers. ``from`` -1: no block of the slot is live at the peak; ``until`` -1: not known yet; ``late`` 1: the next event
    of the block is a free that is no use. ``event`` is the number of the first event. ``accesses``: the trace has accesses,
    so a free is no use.
    """
    for i in range(op.size):
        kind, slot, now = op[i], block[i], event + i
        if slot >= 0:
            uses = kind == ACCESS or kind == COPY or kind == SWAP or kind == REALLOC or (kind == FREE and not accesses)
            if now > peak and idle[slot, 0] >= 0 and idle[slot, 1] < 0 and (uses or kind == FREE):
                idle[slot, 1] = now
                idle[slot, 4] = 0 if uses else 1
            if kind == ALLOC:
                live[slot, 3] = tag[i if tag.size > 1 else 0]
                live[slot, 1] = now
            if kind == ALLOC or kind == REALLOC:
                live[slot, 0] = size[i]
            if kind == ALLOC or uses:
                live[slot, 2] = now
            if kind == FREE:
                live[slot, 0] = 0
                live[slot, 2] = -1
        if kind == COPY or kind == SWAP:
            other = dst[i if dst.size > 1 else 0]
            live[other, 2] = now
            if now > peak and idle[other, 0] >= 0 and idle[other, 1] < 0:
                idle[other, 1], idle[other, 4] = now, 0
        if now == peak:
            for k in range(idle.shape[0]):
                if live[k, 0] > 0:
                    idle[k, 0], idle[k, 2], idle[k, 3] = live[k, 2], live[k, 0], live[k, 3]


@njit(cache=True, nogil=True)
def peak_without(op, block, size, event, starts, ends, start_bytes, end_bytes, sizes, totals):  # type: ignore[no-untyped-def]
    """Follow, over one batch, the peak of live bytes if some bytes are away: after event ``starts[i]``, until event ``ends[i]``.

    ``starts`` and ``ends`` ascend; ``start_bytes`` and ``end_bytes`` are the bytes of each. ``sizes`` is [slot] bytes;
    ``totals`` is (live, peak, away, next start, next end). Both are updated in place. ``event`` is the number of the first
    event.
    """
    live, most, away, start, end = totals[0], totals[1], totals[2], totals[3], totals[4]
    for i in range(op.size):
        kind, slot = op[i], block[i]
        if kind == ALLOC:
            live += size[i]
            sizes[slot] = size[i]
        elif kind == REALLOC:
            live += size[i] - sizes[slot]
            sizes[slot] = size[i]
        elif kind == FREE and slot >= 0:
            live -= sizes[slot]
        while end < ends.size and ends[end] <= event + i:
            away -= end_bytes[end]
            end += 1
        while start < starts.size and starts[start] < event + i:
            away += start_bytes[start]
            start += 1
        most = max(most, live - away)
    totals[0], totals[1], totals[2], totals[3], totals[4] = live, most, away, start, end


def planned_peak(totals: Any, recent: Any, window: int) -> int:
    """Return the planned peak of live bytes, once `find_pairs` has seen all batches; the events in ``recent`` count too."""
    filled = min(int(totals[EVENT]), window + 1)
    return max(int(totals[PLANNED_PEAK]), int(recent[:filled].max(initial=0)))


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
        find_pairs(e.op, e.block, e.size, e.stream, e.tag, window, slots, totals, recent, fresh, pairs, peak)
    return InPlace(window, shares(trace, pairs), planned_peak(totals, recent, window))


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
        track_idle(e.op, e.block, e.size, e.dst, e.tag, first, facts.peak_live_event, facts.accesses > 0, live, idle)
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
        found.append(Idle(least_idle, shares(trace, pairs), peak_without_idle(trace, rows), rebuilt, cost))
    return found[0], found[1]


def born_before(trace: Trace) -> Ints:
    """Return the event of the alloc of each block that is live at the peak, by slot. Slots without a block have any value."""
    born, first = np.zeros(trace.facts.max_live + 1, np.int64), 0
    for e in trace.batches():
        ends = min(e.op.size, trace.facts.peak_live_event + 1 - first)
        allocs = np.flatnonzero(e.op[:ends] == ALLOC)
        born[e.block[allocs]] = allocs + first  # the last of a slot stays
        first += e.op.size
        if first > trace.facts.peak_live_event:
            break
    return born


def peak_without_idle(trace: Trace, rows: Ints) -> int:
    """Return the peak of live bytes if the blocks of ``rows`` are away between their uses.

    ``rows`` is [block, (from, until, bytes, tag, late)].
    """
    starts, ends = np.argsort(rows[:, 0], kind="stable"), np.argsort(rows[:, 1], kind="stable")
    edges = (rows[starts, 0], rows[ends, 1], rows[starts, 2], rows[ends, 2])
    sizes, totals, first = np.zeros(trace.facts.max_live + 1, np.int64), np.zeros(5, np.int64), 0
    for e in trace.batches():
        peak_without(e.op, e.block, e.size, first, *edges, sizes, totals)
        first += e.op.size
    return int(totals[1])


def shares(trace: Trace, pairs: Ints) -> tuple[TagShare, ...]:
    """Return the candidates by tag, most bytes at the peak first; ``pairs`` is [tag + 1, (blocks, bytes, bytes at the peak)]."""
    names = [NO_TAG, *trace.tags]
    found = [TagShare(names[row], *pairs[row].tolist()) for row in np.flatnonzero(pairs[:, 0]).tolist()]
    return tuple(sorted(found, key=lambda share: (-share.peak_bytes, -share.bytes, share.tag)))
