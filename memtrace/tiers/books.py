"""What the replay over tiers keeps: the blocks, the counts of each tier and link, the samples. All of fixed size."""

from typing import NamedTuple

import numpy as np

from memtrace.engine.recorder import ROW, evenly
from memtrace.tiers.eviction.cost import NEVER

DEAD, PLACED, EMPTY, FREED = 0, 1, 2, 3  # as in engine.blocks

BLOCK = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("address", "i8"),
                ("requested", "i8"),
                ("stored", "i8"),  # bytes asked of its tier's policy: fewer than requested where it is compressed
                ("born", "i8"),  # event of the alloc
                ("next", "i8"),  # event of the next use, NEVER if there is none; only for rules that foresee
                ("ready", "i8"),  # when its last transfer ends, in ns of the modelled clock
                ("handle", "u4"),
                ("stream", "i4"),
                ("tag", "i4"),
                ("lives", "i4"),  # allocs of this slot so far
                ("align", "i1"),
                ("status", "i1"),
                ("tier", "i1"),
                ("pinned", "i1"),
                ("visited", "i1"),  # a bit for each tier that it was in
            ],
            align=True,
        ),
    )
)

# totals
EVENT, STEP, LIVE, FAILED, SKIPPED, MOVED, SPARE, OOM_EVENT = range(8)
SAMPLE, CLOCK, STALL, LAST_TIME, ENLARGED, USE, AHEAD, EXTRA = range(8, 16)
TOUCHED, LANDED, PREFETCHES, WASTED, COMPUTE, ENOUGH = range(16, 22)
TOTALS = 24

# tiers[tier]: counts, and what does not change
(
    CAPACITY, GROUP, MEMBER, LATENCY, PACKS,
    BLOCKS, RESIDENT, STORED, PINNED,
    PLACED_BLOCKS, PLACED_BYTES, IN_BYTES, OUT_BYTES, WRITTEN, DISTINCT,
    HITS, HIT_BYTES, DOWN, DOWN_BYTES, UP, UP_BYTES, AHEAD_UP, AHEAD_BYTES, REMOTE, REMOTE_BYTES, COPIES, COPIED_BYTES,
    EVICTIONS, EVICTED_BYTES, STALLED, BUSY, CODEC,
    PEAK_LIVE, PEAK_ALLOCATED, PEAK_RESERVED, PEAK_STORED,
) = range(36)  # fmt: skip
COUNTS = 36
OWN = len(ROW)  # where a tier's own columns begin
SAMPLED = (*ROW, "stored", "down_bytes", "up_bytes", "remote_bytes", "evictions", "stall_ns")
MOST_RATIOS = 256


class Books(NamedTuple):
    blocks: np.ndarray
    totals: np.ndarray
    tiers: np.ndarray  # [tier, count]
    speed: np.ndarray  # [tier, 3] ns per byte: of the link to the tier above, of packing, of unpacking
    queues: np.ndarray  # [tier, 2] when the link above is free again: down, up
    ratios: np.ndarray  # [tier, tag + 1, i] thousandths; the last tag is that of blocks without one
    ratio_counts: np.ndarray  # [tier, tag + 1] how many of them there are
    pinned: np.ndarray  # [tag + 1]
    last_uses: np.ndarray  # [tag + 1] whether a free is a use
    by_tag: np.ndarray  # [tier, tag + 1, 2] evictions and their bytes
    stack: np.ndarray  # [tier, 2] blocks on their way, and where to
    sample_events: np.ndarray
    samples: np.ndarray  # [sample, tier, SAMPLED]
    peaks: np.ndarray  # [tier, 3, ROW]
    use_slots: np.ndarray  # every use in order, where the future is asked for
    use_events: np.ndarray
    use_next: np.ndarray  # event of the same block's next use
    use_born: np.ndarray  # 1: the use is an alloc
    extra_events: np.ndarray  # uses that are no events of the trace, before the event of this number; ends with one never
    extra_slots: np.ndarray
    ahead_lives: np.ndarray  # [slot] allocs that the prefetcher has passed
    ahead: int  # events that prefetch looks ahead; 0: none
    foresees: bool
    overlap: bool
    skip: bool
    scratch: bool  # a swap needs a scratch block
    event_ns: int  # time of an event where the trace has none


class Future(NamedTuple):
    """Every use in order; arrays of one element where nobody asks."""

    slots: np.ndarray
    events: np.ndarray
    next: np.ndarray
    born: np.ndarray


NO_FUTURE = Future(np.zeros(1, np.int32), np.full(1, NEVER), np.full(1, NEVER), np.zeros(1, np.uint8))


def new_books(facts, tags, tiers, samples, extra, future, **how):
    """``tiers``: rows (CAPACITY, GROUP, MEMBER, LATENCY, PACKS) and arrays speed, ratios, counts; ``tags``: how many."""
    fixed, speed, ratios, ratio_counts = tiers
    count, slots = fixed.shape[0], facts.max_live + 1
    blocks = np.zeros(slots, BLOCK).view(np.recarray)
    blocks["handle"] = np.arange(slots)
    totals = np.zeros(TOTALS, np.int64)
    totals[SPARE], totals[OOM_EVENT], totals[LAST_TIME] = facts.max_live, -1, facts.first_time
    table = np.zeros((count, COUNTS), np.int64)
    table[:, : fixed.shape[1]] = fixed
    sampled = evenly(facts.events, samples)
    return Books(
        blocks=blocks,
        totals=totals,
        tiers=table,
        speed=speed,
        queues=np.zeros((count, 2), np.int64),
        ratios=ratios,
        ratio_counts=ratio_counts,
        by_tag=np.zeros((count, tags + 1, 2), np.int64),
        stack=np.zeros((count + 1, 2), np.int64),
        sample_events=np.append(sampled, facts.events),
        samples=np.zeros((sampled.size, count, len(SAMPLED)), np.int64),
        peaks=np.zeros((count, 3, len(ROW)), np.int64),
        use_slots=future.slots,
        use_events=future.events,
        use_next=future.next,
        use_born=future.born,
        extra_events=np.append(extra[0], NEVER),
        extra_slots=np.append(extra[1], 0).astype(np.int32),
        ahead_lives=np.zeros(slots, np.int32),
        **how,
    )
