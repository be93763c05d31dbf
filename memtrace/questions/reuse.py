"""What a trace need not hold at its peak: pairs of blocks that could share bytes, and blocks that lie idle over the peak.

The passes over the trace's events are compiled. Their memory follows the live set; none of them allocates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import fast_options, jit
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.trace import Trace

Ints = NDArray[np.int64]

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS = (int(op) for op in (Op.ALLOC, Op.FREE, Op.REALLOC, Op.COPY, Op.SWAP, Op.ACCESS))
# columns of Pairing.slots: bytes; event of the alloc (-1: the slot is free); stream; tag; 1: the block can no longer be paired,
# since it is in the place of another or was reallocated
SIZE, BORN, STREAM, TAG, TAKEN = range(5)
LIVE, PLANNED_PEAK, EVENT = range(3)  # entries of Pairing.totals: live bytes, peak with pairs, events so far
NO_TAG = "(none)"

compiled = jit(**fast_options())


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


class Pairing(NamedTuple):
    """The state of `find_pairs`; updated in place. A window of w events takes w + 1 entries of a ring."""

    slots: Ints  # [slot, (SIZE, BORN, STREAM, TAG, TAKEN)]
    totals: Ints  # [LIVE, PLANNED_PEAK, EVENT]
    recent: Ints  # [event % (window + 1)] live bytes after the event, less what pairs save
    fresh: Ints  # [event % (window + 1)] slot that the event allocated, -1 for none
    pairs: Ints  # [tag + 1, (blocks, bytes, bytes saved at the peak)]


class Idling(NamedTuple):
    """The state of `track_idle`; updated in place. Events are numbers."""

    live: Ints  # [slot, (bytes, born, last use, tag)]; 0 bytes: there is no block
    idle: Ints  # [slot, (from, until, bytes, tag, late)]; see `new_idling`


class Edges(NamedTuple):
    """When bytes go away and come back: after event ``starts[i]``, and until event ``ends[i]``, both ascending."""

    starts: Ints  # [i] event
    ends: Ints  # [i] event
    start_bytes: Ints  # [i] bytes that go away after starts[i]
    end_bytes: Ints  # [i] bytes that come back at ends[i]


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
    pairing = Pairing(
        slots=np.zeros((trace.facts.max_live + 1, 5), np.int64),
        totals=np.zeros(3, np.int64),
        recent=np.zeros(window + 1, np.int64),
        fresh=np.full(window + 1, -1, np.int64),
        pairs=np.zeros((len(trace.tags) + 1, 3), np.int64),
    )
    for events in trace.batches():
        find_pairs(events, pairing, trace.facts.peak_live_event)
    return InPlace(window, shares(trace, pairing.pairs), planned_peak(pairing))


def planned_peak(pairing: Pairing) -> int:
    """Return the planned peak of live bytes, once `find_pairs` has seen all batches; the events of the window count too."""
    filled = min(int(pairing.totals[EVENT]), pairing.recent.size)
    return max(int(pairing.totals[PLANNED_PEAK]), int(pairing.recent[:filled].max(initial=0)))


def idle_blocks(trace: Trace, least_idle: int, keep: tuple[str, ...]) -> tuple[Idle, Idle]:
    """Return two kinds of blocks live and idle at the peak: those to recompute, and those that could be freed early.

    A block of the first kind is used again after the peak; one of the second kind is only freed.
    """
    facts = trace.facts
    idling, born, first = new_idling(facts.max_live + 1), np.zeros(facts.max_live + 1, np.int64), 0
    for events in trace.batches():
        track_idle(events, first, facts.peak_live_event, facts.accesses > 0, idling)
        if first <= facts.peak_live_event < first + events.op.size:
            born = born_before(trace)
        first += events.op.size
    idle = idling.idle
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


def new_idling(slots: int) -> Idling:
    """Return the state of `track_idle` before the first event.

    Its ``idle`` is [slot, (from, until, bytes, tag, late)]. ``from`` -1: no block of the slot is live at the peak; ``until`` -1:
    not known yet; ``late`` 1: the next event of the block is a free that is no use.
    """
    return Idling(np.zeros((slots, 4), np.int64), np.full((slots, 5), -1, np.int64))


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
    edges = Edges(starts=rows[starts, 0], ends=rows[ends, 1], start_bytes=rows[starts, 2], end_bytes=rows[ends, 2])
    sizes, totals, first = np.zeros(trace.facts.max_live + 1, np.int64), np.zeros(5, np.int64), 0
    for events in trace.batches():
        peak_without(events, first, edges, sizes, totals)
        first += events.op.size
    return int(totals[1])


def shares(trace: Trace, pairs: Ints) -> tuple[TagShare, ...]:
    """Return the candidates by tag, most bytes at the peak first; ``pairs`` is [tag + 1, (blocks, bytes, bytes at the peak)]."""
    names = [NO_TAG, *trace.tags]
    return in_order(TagShare(names[row], *pairs[row].tolist()) for row in np.flatnonzero(pairs[:, 0]).tolist())


def grouped(tags: tuple[TagShare, ...], names: Mapping[str, str]) -> tuple[TagShare, ...]:
    """Return candidates added up by the name that ``names`` has for their tag, most bytes at the peak first."""
    sums: dict[str, TagShare] = {}
    for share in tags:
        name = names.get(share.tag, share.tag)
        had = sums.get(name, TagShare(name, 0, 0, 0))
        added = (had.blocks + share.blocks, had.bytes + share.bytes, had.peak_bytes + share.peak_bytes)
        sums[name] = TagShare(name, *added)
    return in_order(sums.values())


def in_order(found: Iterable[TagShare]) -> tuple[TagShare, ...]:
    """Return candidates with most bytes at the peak first, then most bytes, then by name."""
    return tuple(sorted(found, key=lambda share: (-share.peak_bytes, -share.bytes, share.tag)))


@compiled
def find_pairs(events: Any, pairing: Any, peak_event: Any) -> None:
    """Find the in-place pairs of one batch: blocks that could take over the bytes of a block freed a little later.

    Each free of a block A takes the largest block of A's stream that was allocated after A and in the window of events before
    the free, fits into A, and was neither freed nor reallocated; the earliest of equals.
    """
    op, block, size, stream, tag = events.op, events.block, events.size, events.stream, events.tag
    slots, totals, recent, fresh, pairs = pairing.slots, pairing.totals, pairing.recent, pairing.fresh, pairing.pairs
    n = recent.size
    window = n - 1
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


@compiled
def track_idle(events: Any, first: Any, peak: Any, accesses: Any, idling: Any) -> None:
    """Note, over one batch, the last use up to event ``peak`` and the next use after it of each block live then.

    ``first`` is the number of the first event. ``accesses``: the trace has accesses, so a free is no use.
    """
    op, block, size, dst, tag = events.op, events.block, events.size, events.dst, events.tag
    live, idle = idling.live, idling.idle
    for i in range(op.size):
        kind, slot, now = op[i], block[i], first + i
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


@compiled
def peak_without(events: Any, first: Any, edges: Any, sizes: Any, totals: Any) -> None:
    """Follow, over one batch, the peak of live bytes if the bytes of ``edges`` are away.

    ``sizes`` is [slot] bytes; ``totals`` is (live, peak, away, next start, next end). Both are updated in place. ``first`` is
    the number of the first event.
    """
    op, block, size = events.op, events.block, events.size
    starts, ends = edges.starts, edges.ends
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
        while end < ends.size and ends[end] <= first + i:
            away -= edges.end_bytes[end]
            end += 1
        while start < starts.size and starts[start] < first + i:
            away += edges.start_bytes[start]
            start += 1
        most = max(most, live - away)
    totals[0], totals[1], totals[2], totals[3], totals[4] = live, most, away, start, end
