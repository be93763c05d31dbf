"""The replay loop over tiers: it takes the events in order, moves blocks between tiers, and counts everything.

The functions are compiled as those of `engine.loop` are; the interpreter can run the same text.
The loop stops at an event for which a policy's arrays are too small. When it is called again with larger ones, it goes on
from the same step of that event, which the totals STEP, USE, AHEAD and EXTRA of the books tell.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.engine.blocks import make_request
from memtrace.engine.loop import FINISHED, OFFENCE, STOPPED, TOO_SMALL
from memtrace.tiers.moving import find_place, move_up, request_for, serve_use
from memtrace.tiers.records import (
    AHEAD,
    CLOCK,
    COMPUTE,
    DEAD,
    EVENT,
    EXTRA,
    FAILED,
    GROUP,
    LAST_TIME,
    LIMIT,
    MEMBER,
    OOM_EVENT,
    PEAK_RESERVED,
    PLACED,
    SAMPLE,
    SKIPPED,
    STEP,
    TOUCHED,
    USE,
    WASTED,
)
from memtrace.tiers.sampling import record_peaks, record_sample
from memtrace.tiers.serving import copy_or_swap, free_block, open_block, reallocate, record_placement

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS, TRIM, RECORD, COMPLETE = range(9)  # the codes of memtrace.trace.Op


def tick(books, time, i):
    """Advance the modelled clock by the program's own time for row ``i`` of the batch.

    ``time`` has the time of each event in ns; it has one element if the trace has no times, and ``books.event_ns`` passes.
    """
    totals = books.totals
    passed = books.event_ns
    if time.size > 1:
        passed = time[i] - totals[LAST_TIME]
        totals[LAST_TIME] = time[i]
    totals[CLOCK] += passed
    totals[COMPUTE] += passed


@out_of_line
def fetch_ahead(t, world):
    """Prefetch the blocks that the next ``books.ahead`` events use, if they are live and below the top tier.

    Return NOTHING, or ENLARGE if a policy needs a larger state first: then call again. ``t``: module made by `bind_tiers`.
    """
    books = world.books
    totals, until = books.totals, books.totals[EVENT] + books.ahead
    while totals[AHEAD] < books.use_slots.size and books.use_events[totals[AHEAD]] <= until:
        slot = np.int64(books.use_slots[totals[AHEAD]])
        b = books.blocks[slot]
        if books.use_born[totals[AHEAD]] != 0:
            books.ahead_lives[slot] += 1
        elif books.ahead_lives[slot] == b.lives and b.status == PLACED and b.tier > 0 and totals[AHEAD] >= totals[USE]:
            tier = b.tier
            if move_up(t, world, slot, np.int64(-1), True) == ENLARGE:
                return ENLARGE
            if b.tier == tier:
                totals[WASTED] += 1
        totals[AHEAD] += 1
    return NOTHING


def use_extra(t, world, books):
    """Serve the uses due by the current event for which the trace has no event (``books.extra_events``).

    Return NOTHING, or ENLARGE if a policy needs a larger state first: then call again. ``t``: module made by `bind_tiers`.
    """
    totals = books.totals
    while books.extra_events[totals[EXTRA]] <= totals[EVENT]:
        if serve_use(t, world, np.int64(books.extra_slots[totals[EXTRA]]), np.int64(-1), True) == ENLARGE:
            return ENLARGE
        totals[EXTRA] += 1
    return NOTHING


def uses_of_event(t, world, books, kind, slot, other):
    """Serve the uses that an event of op code ``kind`` makes: of the block in ``slot``, then of that in ``other`` (-1: none).

    totals[STEP] becomes 2 after the first use and 3 after the second, so a repeated call serves none twice. The free of a block
    is a use only if ``books.last_uses`` of its tag says so.
    Return NOTHING, or ENLARGE if a policy needs a larger state first: then call again. ``t``: module made by `bind_tiers`.
    """
    totals = books.totals
    if kind == FREE and books.last_uses[books.blocks[slot].tag] == 0:
        return NOTHING
    if totals[STEP] == 1:
        # A copy or swap does not read the whole blocks: `copy_or_swap` carries the bytes that it moves.
        if serve_use(t, world, slot, other, other < 0) == ENLARGE:
            return ENLARGE
        totals[STEP] = 2
    if other >= 0 and totals[STEP] == 2:
        if serve_use(t, world, other, slot, False) == ENLARGE:
            return ENLARGE
        totals[STEP] = 3
    return NOTHING


@out_of_line
def tell(t, world, books):
    """Tell the policy of each tier the number of the current event."""
    request = make_request(0, 0, 0, -1, 0)
    for tier in range(books.tiers.shape[0]):
        row = books.tiers[tier]
        t.next_event(world, row[GROUP], row[MEMBER], request, books.totals[EVENT], 0, books.peaks[tier, 0])


def above_capacity(books, touched):
    """Return whether a tier of which the current event may have changed the policy (a bit in ``touched``) reserves too much."""
    for tier in range(books.tiers.shape[0]):
        if touched >> tier & 1 and books.tiers[tier, PEAK_RESERVED] > books.tiers[tier, LIMIT]:
            return True
    return False


def specialise(t):
    """Return the loop for one choice of policies and eviction rule; ``t`` is the module that `bind_tiers` makes of them."""

    def replay(events, time, start, state, addresses, tiers):
        """Replay a batch from row ``start`` on; return the row to go on from, and FINISHED, STOPPED, TOO_SMALL or OFFENCE.

        ``events`` is a `trace.model.Events`; a column of one element is the same for all rows. ``time`` is as in `tick`.
        ``state`` is a `World`, whose arrays are changed in place. If ``addresses`` and ``tiers`` have more than one element, the
        address (NOWHERE, NOTHING) and tier (-1: none) of each alloc and realloc go there. TOO_SMALL: enlarge the state of the
        policy of tier totals[ENLARGED], and call again. STOPPED: a request found no room.
        """
        world, books = t.keep(state), state.books
        op, block, size, align, stream, dst, tag = events
        totals, blocks = books.totals, books.blocks
        for i in range(start, op.size):
            kind, slot = op[i], np.int64(block[i])
            if totals[STEP] == 0:
                tick(books, time, i)
                totals[STEP] = 1
                if books.told:
                    tell(t, world, books)
            if books.ahead > 0 and fetch_ahead(t, world) == ENLARGE:
                return i, TOO_SMALL
            if use_extra(t, world, books) == ENLARGE:
                return i, TOO_SMALL
            other = np.int64(-1)
            if kind == COPY or kind == SWAP:
                other = np.int64(dst[i if dst.size > 1 else 0])
            if slot >= 0 and kind != ALLOC and kind != TRIM and kind != COMPLETE:
                if uses_of_event(t, world, books, kind, slot, other) == ENLARGE:
                    return i, TOO_SMALL
            address = np.int64(NOTHING)
            its_align = align[i if align.size > 1 else 0]
            if kind == ALLOC:
                code = tag[i if tag.size > 1 else 0]
                open_block(books, slot, size[i], its_align, stream[i if stream.size > 1 else 0], code)
                address = find_place(t, world, slot, np.int64(0), np.int64(books.tiers.shape[0]), np.int64(-1))
                if address == ENLARGE:
                    return i, TOO_SMALL
                blocks[slot].lives += 1
                if address != NOWHERE:
                    record_placement(t, world, slot, address)
                totals[USE] += 1
            elif kind == TRIM:
                request = make_request(0, 0, 0, -1, 0)
                for tier in range(books.tiers.shape[0]):
                    row = books.tiers[tier]
                    t.trim(world, row[GROUP], row[MEMBER], request, 0, 0, books.peaks[tier, 0])
                    totals[TOUCHED] |= 1 << tier
            elif kind == COMPLETE or slot < 0:
                pass
            elif blocks[slot].status == DEAD or (other >= 0 and blocks[other].status == DEAD):
                totals[SKIPPED] += 1
            elif kind == FREE:
                free_block(t, world, slot, stream[i if stream.size > 1 else 0])
            elif kind == REALLOC:
                address = reallocate(t, world, slot, size[i], its_align)
                if address == ENLARGE:
                    return i, TOO_SMALL
            elif other >= 0:
                address = copy_or_swap(t, world, kind == SWAP, slot, other, size[i])
                if address == ENLARGE:
                    return i, TOO_SMALL
            elif kind == ACCESS:
                row = books.tiers[blocks[slot].tier]
                request = request_for(blocks[slot], blocks[slot].stored)
                t.access(world, row[GROUP], row[MEMBER], request, blocks[slot].address, 0, books.peaks[0, 0])

            failed = address == NOWHERE
            event = totals[EVENT]
            if addresses.size > 1:
                placed = (kind == ALLOC or kind == REALLOC) and address != NOWHERE and blocks[slot].status != DEAD
                addresses[i] = address if kind == ALLOC or kind == REALLOC else NOTHING
                tiers[i] = blocks[slot].tier if placed else -1
            touched = totals[TOUCHED]
            if touched & 1:
                record_peaks(t, world, np.int64(0))
            for tier in range(1, books.tiers.shape[0]):
                if touched >> tier & 1:
                    record_peaks(t, world, tier)
            if event == books.sample_events[totals[SAMPLE]]:
                record_sample(t, world)
            if books.offence[0] != 0 or above_capacity(books, touched):
                return i, OFFENCE
            totals[TOUCHED] = 0
            totals[STEP] = 0
            totals[EVENT] = event + 1
            if failed:
                totals[FAILED] += 1
                if not books.skip:
                    totals[OOM_EVENT] = event
                    return i + 1, STOPPED
        return op.size, FINISHED

    return replay
