"""The one loop that every policy shares: it replays events and fills the recorder.

``specialise`` closes the loop over one policy's functions. The same text runs in the interpreter, as the oracle of the tests,
and compiled (``engine.compile``). The compiled loop allocates nothing: it stops at an event for which the policy's arrays are too
small, its driver makes larger ones, and it goes on from that event (``engine.driver``). Allocs and frees are served in the
loop itself, all other events out of line (``engine.serving``).
"""

import numpy as np

from memtrace.contract.calls import by_reference, out_of_line, prefetch
from memtrace.contract.ledger import ALLOCATED, HOLES, RESERVED, settle
from memtrace.contract.ops import ALLOC, FREE, REALLOC
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.engine.blocks import (
    DEAD,
    FREED,
    PLACED,
    count_out,
    free_without_address,
    make_request,
    record_block,
    record_of,
    request_of,
)
from memtrace.engine.recorder import (
    AT_PEAK_ALLOCATED,
    AT_PEAK_LIVE,
    AT_PEAK_RESERVED,
    CLASS_SAMPLE,
    EVENT,
    FAILED,
    HOLES_MAX,
    HOLES_SUM,
    LIVE,
    NEXT_SAMPLE,
    OOM_EVENT,
    PEAK_ALLOCATED,
    PEAK_LIVE,
    PEAK_RESERVED,
    RATIO_EVENTS,
    RESERVED_RATIO,
    RISES,
    SAMPLE,
    VARIED,
    write_classes,
    write_row,
)
from memtrace.engine.serving import request_block, serve

FINISHED, STOPPED, TOO_SMALL, NO_ROOM, OFFENCE = 0, 1, 2, 3, 4
FAR, NEAR, SOON = 24, 16, 8  # events looked ahead
CACHED = 4096  # up to so many slots, what is kept of blocks stays in the processor's cache unasked


def row_mask(column):
    """Return the mask of a row number for a column: all bits, or 0 for a column of one row, which stands for all events."""
    return np.uint64(0xFFFFFFFFFFFFFFFF) if column.size > 1 else np.uint64(0)


def has_varied_requests(align, stream, tag):
    """Return whether an event of the batch may have an alignment, a stream or a tag."""
    return max(align.size, stream.size, tag.size) > 1 or align[0] != 0 or stream[0] != 0 or tag[0] != -1


def count_state(policy, recorder, state, event, limit):
    """Add the state after an event to the sums, and write it down if the event is a sample or reaches a peak.

    Return whether more than ``limit`` bytes are reserved, which is looked at where they have a new peak.
    """
    ledger, totals = state.ledger, recorder.totals
    live, allocated, reserved, holes = totals[LIVE], ledger[ALLOCATED], ledger[RESERVED], ledger[HOLES]
    totals[HOLES_SUM] += holes
    if holes > totals[HOLES_MAX]:
        totals[HOLES_MAX] = holes
    if live > 0:
        totals[RATIO_EVENTS] += 1
        recorder.sums[RESERVED_RATIO] += reserved / live
    if live > totals[PEAK_LIVE] or allocated > totals[PEAK_ALLOCATED] or reserved > totals[PEAK_RESERVED]:
        write_peaks(policy, recorder, state, event)
        if reserved > limit:
            return True
    if event == totals[NEXT_SAMPLE]:
        write_sample(policy, recorder, state, event)
    return False


@out_of_line
def write_peaks(policy, recorder, state, event):
    """Write the state down for each peak that this event is the first to reach."""
    ledger, totals = state.ledger, recorder.totals
    live, allocated, reserved = totals[LIVE], ledger[ALLOCATED], ledger[RESERVED]
    settle(ledger)
    largest, releasable = policy.largest_hole(state), policy.releasable(state)
    if live > totals[PEAK_LIVE]:
        totals[PEAK_LIVE] = live
        write_peak(policy, recorder, state, AT_PEAK_LIVE, event, largest, releasable)
    if allocated > totals[PEAK_ALLOCATED]:
        totals[PEAK_ALLOCATED] = allocated
        write_peak(policy, recorder, state, AT_PEAK_ALLOCATED, event, largest, releasable)
    if reserved > totals[PEAK_RESERVED]:
        totals[PEAK_RESERVED] = reserved
        totals[RISES] += 1
        write_peak(policy, recorder, state, AT_PEAK_RESERVED, event, largest, releasable)


@out_of_line
def write_peak(policy, recorder, state, peak, event, largest, releasable):
    """Write the state down as the one at ``peak``, with the policy's counters."""
    write_row(recorder.peaks[peak], event, recorder.totals[LIVE], state.ledger, largest, releasable)
    policy.write_counters(state, recorder.peak_counters[peak])


@out_of_line
def write_sample(policy, recorder, state, event):
    """Write the state down as the next sample, with the policy's counters, and the classes of hole sizes where due."""
    ledger, totals = state.ledger, recorder.totals
    row = recorder.samples[totals[SAMPLE]]
    settle(ledger)
    write_row(row, event, totals[LIVE], ledger, policy.largest_hole(state), policy.releasable(state))
    policy.write_counters(state, recorder.sample_counters[totals[SAMPLE]])
    totals[SAMPLE] += 1
    totals[NEXT_SAMPLE] = recorder.sample_events[totals[SAMPLE]]
    if event == recorder.class_events[totals[CLASS_SAMPLE]]:
        write_classes(recorder, ledger)


def look_ahead(policy, op, block, i, state, blocks):
    """Prefetch what events to come will read: FAR ahead a block's record, then what the policy keeps of it.

    The policy prefetches in ``expect`` (NEAR ahead) and ``expect_soon`` (SOON ahead), only for frees.
    """
    prefetch(blocks, block[np.uint64(i + FAR)])
    near, soon = np.uint64(i + NEAR), np.uint64(i + SOON)
    if op[near] == FREE and block[near] >= 0:
        policy.expect(state, record_of(blocks, block[near]).handle)
    if op[soon] == FREE and block[soon] >= 0:
        policy.expect_soon(state, record_of(blocks, block[soon]).handle)


def specialise(policy):
    """Return the loop of one policy; ``policy`` is the module that ``engine.binding.bind`` makes of it."""

    def replay(events, start, state, blocks, recorder, mode, kept):
        """Replay one batch from event ``start`` of it on; return the events replayed and why it stopped.

        ``events`` is a `trace.model.Events`. ``state``, ``blocks``, ``recorder`` and the arrays of ``kept`` are changed in place.
        """
        if has_varied_requests(events.align, events.stream, events.tag):
            recorder.totals[VARIED] = 1
        return replay_events(events, start, by_reference(state), blocks, by_reference(recorder), mode, kept)

    @out_of_line
    def replay_events(events, start, state, blocks, recorder, mode, kept):
        """Do what `replay` says, with the state and the recorder by reference."""
        totals, ledger = recorder.totals, state.ledger
        op, block, size, align, stream, dst, tag = events
        aligns, streams, dsts, tags = row_mask(align), row_mask(stream), row_mask(dst), row_mask(tag)
        addresses, reserved = kept.addresses, kept.reserved
        plain, watched = totals[VARIED] == 0, mode.keep or recorder.measured
        ahead = op.size - FAR if blocks.size > CACHED else 0  # events before it look ahead
        i = start
        while i < op.size:
            at = np.uint64(i)
            kind, slot = op[at], block[at]
            policy.next_event(state, totals[EVENT])
            if i < ahead:
                look_ahead(policy, op, block, i, state, blocks)
            if mode.keep and not policy.has_room(policy, state, blocks, recorder):
                return i, NO_ROOM
            address = np.int64(NOTHING)
            if kind == ALLOC:
                b = record_of(blocks, slot)
                if plain:
                    request = make_request(size[at], 0, 0, -1, b.handle)
                else:
                    request = make_request(size[at], align[at & aligns], stream[at & streams], tag[at & tags], b.handle)
                address = np.int64(request_block(policy, state, request, recorder))
                if address == ENLARGE:
                    return i, TOO_SMALL
                if address == NOWHERE:
                    b.status = DEAD
                else:
                    record_block(policy, state, blocks, slot, request, address, recorder, mode.keep, plain)
                    suspected = policy.suspects(state, address, request.size) or (not plain and request.align > 1)
                    if suspected and policy.offends(state, address, request.size, request.align):
                        return i, OFFENCE
            elif kind != FREE:
                asked, other = make_request(size[at], align[at & aligns], stream[at & streams], -1, 0), dst[at & dsts]
                address = serve(policy, kind, slot, asked, other, state, blocks, recorder, mode)
                if address == ENLARGE:
                    return i, TOO_SMALL
                if kind == REALLOC and address != NOWHERE and address != NOTHING:
                    policy.track_moves(policy, state, blocks, recorder, mode.keep)  # freeing the old block may have moved the new
                    if policy.offends(state, record_of(blocks, slot).address, asked.size, asked.align):
                        return i, OFFENCE
            elif slot >= 0:
                b = record_of(blocks, slot)
                if b.status == PLACED:
                    old = request_of(b)
                    count_out(b, recorder)
                    b.status = FREED
                    policy.freed_by(state, old, np.int64(stream[at & streams]))
                    policy.free(state, old, b.address)
                else:
                    free_without_address(b, recorder)
            policy.track_moves(policy, state, blocks, recorder, mode.keep)

            totals[EVENT] += 1
            if watched:
                if mode.keep:  # the columns are read again, so that nothing of them is kept while the policy is at work
                    kind = op[at]
                    if address >= 0 and kind == REALLOC:
                        address = record_of(blocks, block[at]).address  # freeing the old block may have moved the new one
                    addresses[at] = address if kind == ALLOC or kind == REALLOC else NOTHING
                    reserved[at] = ledger[RESERVED]
                if recorder.measured and count_state(policy, recorder, state, totals[EVENT] - 1, mode.limit):
                    return i, OFFENCE
            if ledger[RESERVED] > totals[PEAK_RESERVED]:
                totals[PEAK_RESERVED] = ledger[RESERVED]
                if ledger[RESERVED] > mode.limit:
                    return i, OFFENCE
            i += 1
            if address == NOWHERE:
                totals[FAILED] += 1
                if not mode.skip:
                    totals[OOM_EVENT] = totals[EVENT] - 1
                    return i, STOPPED
        return op.size, FINISHED

    return replay
