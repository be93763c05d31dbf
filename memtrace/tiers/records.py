"""The arrays that a replay over tiers keeps: the record of each block, the counts of each tier and link, peaks and samples.

All have a fixed size, allotted before the first event.
"""

from typing import NamedTuple

import numpy as np

from memtrace.engine.recorder import ROW, even_events
from memtrace.tiers.eviction.cost import NEVER

# Status of a block, as in engine.blocks: its request failed; it has an address; it needs none; it was freed.
DEAD, PLACED, EMPTY, FREED = 0, 1, 2, 3

# The record of a block, one per slot.
BLOCK = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("address", "i8"),  # bytes, in the address space of its tier
                ("requested", "i8"),  # bytes that the program asked for
                ("stored", "i8"),  # bytes asked of its tier's policy: fewer than requested where it is compressed
                ("born", "i8"),  # event of its alloc
                ("next", "i8"),  # event of the next use, NEVER if there is none; only where the future is known
                ("ready", "i8"),  # when its last transfer ends, in ns of the modelled clock
                ("handle", "u4"),  # index that the policies know it by
                ("stream", "i4"),
                ("tag", "i4"),  # code of Trace.tags, -1 for none
                ("lives", "i4"),  # allocs of this slot so far
                ("align", "i1"),  # engine.blocks.align_code
                ("status", "i1"),
                ("tier", "i1"),  # number of its tier, 0 for the top
                ("pinned", "i1"),  # 1: it is never evicted
                ("visited", "i1"),  # a bit for each tier that it was in
            ],
            align=True,
        ),
    )
)

# Entries of Books.totals:
#   EVENT       number of the current event
#   STEP        how far the current event has come: 1 once the clock has advanced, 2 and 3 after its first and second use
#   LIVE        live bytes
#   FAILED      requests that no tier had room for
#   SKIPPED     events that are about a block whose request failed
#   MOVED       bytes moved by reallocs, copies and swaps
#   SPARE       the handle that no block has
#   OOM_EVENT   the event that ended the replay for want of room, -1 if none did
#   SAMPLE      samples taken
#   CLOCK       modelled time in ns: COMPUTE + STALL
#   STALL       ns that the program waited for transfers
#   LAST_TIME   the trace's time of the last event, in ns
#   ENLARGED    the tier whose policy asked last for a larger state
#   USE         uses served: the index of the next one in use_slots
#   AHEAD       uses that the prefetcher has passed
#   EXTRA       uses served of extra_slots
#   TOUCHED     a bit for each tier whose policy the current event may have changed
#   LANDED      the tier in which `moving.find_place` found a place
#   PREFETCHES  blocks that a prefetch moved up
#   WASTED      prefetches that found no room above
#   COMPUTE     ns of the program's own time
#   ENOUGH      when the evictions end that made room for the current block, in ns of the modelled clock
EVENT, STEP, LIVE, FAILED, SKIPPED, MOVED, SPARE, OOM_EVENT = range(8)
SAMPLE, CLOCK, STALL, LAST_TIME, ENLARGED, USE, AHEAD, EXTRA = range(8, 16)
TOUCHED, LANDED, PREFETCHES, WASTED, COMPUTE, ENOUGH = range(16, 22)
TOTALS = 24

# Columns of Books.tiers. The link of a tier is the one to the tier above. "Bytes" are as requested unless said otherwise.
#   CAPACITY, LATENCY           bytes; ns per transfer over the link
#   GROUP, MEMBER               where the state of its policy is: states[GROUP][MEMBER]
#   PACKS                       1: it compresses
#   LIMIT                       bytes that its policy may reserve
#   BLOCKS, RESIDENT, STORED    blocks in it now, their bytes, and the bytes asked of its policy for them
#   PINNED                      STORED of the pinned blocks among them
#   PLACED_BLOCKS, PLACED_BYTES new blocks placed in it, and their bytes
#   IN_BYTES, OUT_BYTES         bytes of blocks that came in (new, moved, resized), and that left (freed, moved, resized)
#   WRITTEN, DISTINCT           stored bytes of all blocks that came in; the same, each block counted once
#   HITS, HIT_BYTES             uses that found their block in it, and the bytes of those blocks
#   DOWN, DOWN_BYTES            blocks moved down over its link, and the bytes that crossed; UP, UP_BYTES likewise
#   AHEAD_UP, AHEAD_BYTES       blocks that a prefetch moved up out of it, and their bytes
#   REMOTE, REMOTE_BYTES        reads and writes in place, below the top, over its link, and the bytes that crossed
#   COPIES, COPIED_BYTES        copies over its link of a copy, swap or realloc, and their bytes
#   EVICTIONS, EVICTED_BYTES    victims that left it, and their bytes
#   STALLED, CODEC              ns of stall, and of packing and unpacking, in transfers that have it as the lower end
#   BUSY                        ns that transfers took on its link
#   PEAK_LIVE, PEAK_ALLOCATED, PEAK_RESERVED, PEAK_STORED  the most bytes there were after any event
(
    CAPACITY, GROUP, MEMBER, LATENCY, PACKS, LIMIT,
    BLOCKS, RESIDENT, STORED, PINNED,
    PLACED_BLOCKS, PLACED_BYTES, IN_BYTES, OUT_BYTES, WRITTEN, DISTINCT,
    HITS, HIT_BYTES, DOWN, DOWN_BYTES, UP, UP_BYTES, AHEAD_UP, AHEAD_BYTES, REMOTE, REMOTE_BYTES, COPIES, COPIED_BYTES,
    EVICTIONS, EVICTED_BYTES, STALLED, BUSY, CODEC,
    PEAK_LIVE, PEAK_ALLOCATED, PEAK_RESERVED, PEAK_STORED,
) = range(37)  # fmt: skip
COUNTS = 37
OWN = len(ROW)  # first column of a sample that is not of ROW
# Columns of a sample of a tier: those of ROW, then some of Books.tiers; stall_ns is totals[STALL].
SAMPLED = (*ROW, "stored", "down_bytes", "up_bytes", "remote_bytes", "evictions", "stall_ns")
MOST_RATIOS = 256  # of a tag in a tier


class Records(NamedTuple):
    """All that a replay over tiers keeps, but for the states of the policies and the arrays of the eviction rule."""

    blocks: np.ndarray  # [slot] BLOCK; the last one is the scratch block of a realloc
    totals: np.ndarray
    tiers: np.ndarray  # [tier, column]
    speed: np.ndarray  # [tier, 3] ns per byte: of the link to the tier above, of packing, of unpacking
    queues: np.ndarray  # [tier, 2] when the link is free again downwards and upwards, in ns of the modelled clock
    ratios: np.ndarray  # [tier, tag, i] in thousandths; the last tag is that of blocks without a tag, here and below
    ratio_counts: np.ndarray  # [tier, tag] number of ratios
    pinned: np.ndarray  # [tag] 1: blocks of this tag are pinned
    last_uses: np.ndarray  # [tag] 1: the free of a block is a use
    by_tag: np.ndarray  # [tier, tag, 2] evictions and their bytes
    stack: np.ndarray  # [depth, 2] slots that `moving.find_place` has to place, each with the tier that is tried
    sample_events: np.ndarray  # events that are sampled; ends with a sentinel that is never reached
    samples: np.ndarray  # [sample, tier, column of SAMPLED]
    peaks: np.ndarray  # [tier, 3, column of ROW] the tier when it reached its peak of live, allocated and reserved bytes
    use_slots: np.ndarray  # [use] the four arrays of Future
    use_events: np.ndarray
    use_next: np.ndarray
    use_born: np.ndarray
    extra_events: np.ndarray  # [use] uses without an event: each comes just before this event; ends with the sentinel NEVER
    extra_slots: np.ndarray  # [use]
    ahead_lives: np.ndarray  # [slot] allocs that the prefetcher has passed
    offence: np.ndarray  # [column of `note_offence`] the first thing that a policy did and may not do
    ahead: int  # events that prefetch looks ahead; 0: none
    foresees: bool  # the future is known: the four arrays of Future have every use
    overlap: bool  # transfers run beside the program
    skip: bool  # a request that no tier has room for is skipped; False: it ends the replay
    scratch: bool  # a swap within a tier needs a scratch block
    told: bool  # some policy is told the number of each event
    event_ns: int  # the program's own ns per event, where the trace has no times


def note_offence(offence, group, member, address, request, reserved):
    """Write down, unless there is one already, an address at which a policy placed a block and may not."""
    if offence[0] == 0:
        offence[0] = 1
        offence[1] = group
        offence[2] = member
        offence[3] = address
        offence[4] = request.size
        offence[5] = request.align
        offence[6] = reserved


class Future(NamedTuple):
    """Every use of the trace in the order in which the replay serves them; the last entry of each array is a sentinel.

    Where neither the eviction rule nor prefetch needs the future, it is NO_FUTURE, which has only the sentinel.
    """

    slots: np.ndarray  # [use] slot of the block
    events: np.ndarray  # [use]
    next: np.ndarray  # [use] event of the same block's next use, NEVER if there is none
    born: np.ndarray  # [use] 1: the use is an alloc


NO_FUTURE = Future(np.zeros(1, np.int32), np.full(1, NEVER), np.full(1, NEVER), np.zeros(1, np.uint8))


def new_records(facts, tags, tiers, samples, extra, future, **how):
    """Return the books of a replay before its first event.

    ``facts`` are those of the trace, ``tags`` is its number of tags, ``samples`` the most events that are sampled. ``tiers`` is
    (rows, speed, ratios, ratio_counts), where a row per tier has (CAPACITY, GROUP, MEMBER, LATENCY, PACKS, LIMIT), and the others
    are fields of Books. ``extra`` is (events, slots) of the uses without an event, ``how`` all fields that are not made here.
    """
    fixed, speed, ratios, ratio_counts = tiers
    count, slots = fixed.shape[0], facts.max_live + 1
    blocks = np.zeros(slots, BLOCK).view(np.recarray)
    blocks["handle"] = np.arange(slots)
    totals = np.zeros(TOTALS, np.int64)
    totals[SPARE], totals[OOM_EVENT], totals[LAST_TIME] = facts.max_live, -1, facts.first_time
    table = np.zeros((count, COUNTS), np.int64)
    table[:, : fixed.shape[1]] = fixed
    sampled = even_events(facts.events, samples)
    return Records(
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
        offence=np.zeros(7, np.int64),
        **how,
    )
