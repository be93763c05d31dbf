"""The one loop that every policy shares: events in, addresses and a filled recorder out.

``specialise`` closes the loop over one policy's functions. The same text runs in the interpreter, as the tests'
oracle, and compiled (``engine.compile``). The compiled loop allocates nothing: it stops at an event for which the
policy's arrays are too small, its driver makes larger ones, and it goes on from there.
"""

from typing import NamedTuple

import numpy as np

from memtrace.engine.recorder import (
    AT_PEAK_ALLOCATED,
    AT_PEAK_LIVE,
    AT_PEAK_RESERVED,
    CLASS_SAMPLE,
    EVENT,
    FAILED,
    FIT_RATIO,
    FITS,
    HOLES_MAX,
    HOLES_SUM,
    LIVE,
    MOVED,
    OOM_EVENT,
    PEAK_ALLOCATED,
    PEAK_LIVE,
    PEAK_RESERVED,
    RATIO_EVENTS,
    REQUESTS,
    RESERVED_RATIO,
    SAMPLE,
    SEARCH_MAX,
    SEARCH_SUM,
    SKIPPED,
    SPARE,
    count_request,
    write_classes,
    write_row,
)
from memtrace.engine.request import ENLARGE, NOTHING, NOWHERE, Request
from memtrace.structures.bits import highest_set
from memtrace.structures.calls import apart, hold, prefetch
from memtrace.structures.ledger import ALLOCATED, BLOCK_SIZE, HOLE_TAKEN, HOLES, INSPECTED, RESERVED

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS, TRIM, RECORD, COMPLETE = range(9)  # memtrace.trace.Op

DEAD, PLACED, EMPTY, FREED = 0, 1, 2, 3  # a block that failed; that has an address; that needed none; that is no more
FINISHED, STOPPED, TOO_SMALL, NO_ROOM = 0, 1, 2, 3
FAR, NEAR, SOON = 16, 10, 5  # events looked ahead
CACHED = 4096  # up to so many slots, what is kept of blocks stays in the processor's cache unasked

BLOCK = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("address", "i8"),
                ("requested", "i8"),
                ("handle", "u4"),
                ("stream", "i4"),
                ("tag", "i4"),
                ("align", "i1"),  # log2; -1 for the policy's own
                ("status", "i1"),
            ],
            align=True,
        ),
    )
)


class Mode(NamedTuple):
    """How a replay treats failures and swaps, and what it keeps."""

    skip: bool  # a request that fails is skipped; False: it ends the replay
    swap_scratch: bool
    keep: bool  # every event's address and reserved bytes are kept


def new_blocks(max_live):
    """One record per slot, and one more for the scratch block of a swap."""
    blocks = np.zeros(max_live + 1, BLOCK).view(np.recarray)
    blocks["handle"] = np.arange(max_live + 1)
    return blocks


def make_request(size, align, stream, tag, handle):
    """All fields in one type, so that the policy's functions are compiled once."""
    return Request(np.int64(size), np.int64(align), np.int64(stream), np.int64(tag), np.int64(handle))


def with_handle(request, handle):
    return make_request(request.size, request.align, request.stream, request.tag, handle)


def record_of(blocks, slot):
    """Unsigned, so that compiled code need not ask whether the slot is negative: it is not."""
    return blocks[np.uint64(slot)]


def request_of(b):
    return make_request(b.requested, 1 << b.align if b.align >= 0 else 0, b.stream, b.tag, b.handle)


def ask(policy, state, request, recorder):
    """Ask the policy for a block, and count the search."""
    ledger = state.ledger
    ledger[INSPECTED] = 0
    ledger[HOLE_TAKEN] = 0
    ledger[BLOCK_SIZE] = 0
    allocated = ledger[ALLOCATED]
    address = policy.alloc(state, request)
    if recorder.measured and address != ENLARGE and address != NOTHING:
        totals = recorder.totals
        inspected = ledger[INSPECTED]
        totals[REQUESTS] += 1
        totals[SEARCH_SUM] += inspected
        totals[SEARCH_MAX] = max(totals[SEARCH_MAX], inspected)
        if address != NOWHERE:
            count_request(recorder, request.size, ledger[ALLOCATED] - allocated)
            if ledger[HOLE_TAKEN] > 0:
                totals[FITS] += 1
                recorder.sums[FIT_RATIO] += ledger[HOLE_TAKEN] / ledger[BLOCK_SIZE]
    return address


def settle(policy, state, blocks, slot, request, address, recorder, keep):
    """Note where a new block lives."""
    b = record_of(blocks, slot)
    b.address = address
    b.requested = request.size
    b.align = highest_set(request.align) if request.align > 0 else -1
    b.stream = request.stream
    b.tag = request.tag
    b.status = PLACED if address >= 0 else EMPTY
    recorder.totals[LIVE] += request.size
    if keep and address >= 0:
        policy.log(policy, state, blocks, slot, recorder)


def clear(b, recorder):
    """Forget a block that covers nothing any more."""
    recorder.totals[LIVE] -= b.requested
    b.status = DEAD


def mask(column):
    """With which the index into a column is masked: a column of one row stands for all events."""
    return np.uint64(0xFFFFFFFFFFFFFFFF) if column.size > 1 else np.uint64(0)


def moved_bytes(size, smaller):
    """Bytes that a copy or a swap moves: as the event says (size -1: it does not), else the smaller of the two blocks."""
    return size if size >= 0 else smaller


def observe(policy, recorder, state, event):
    """Count the state after an event, and write it down where a sample or a peak asks for it."""
    ledger, totals = state.ledger, recorder.totals
    live, allocated, reserved, holes = totals[LIVE], ledger[ALLOCATED], ledger[RESERVED], ledger[HOLES]
    totals[HOLES_SUM] += holes
    totals[HOLES_MAX] = max(totals[HOLES_MAX], holes)
    if live > 0:
        totals[RATIO_EVENTS] += 1
        recorder.sums[RESERVED_RATIO] += reserved / live
    if live > totals[PEAK_LIVE]:
        totals[PEAK_LIVE] = live
        write_peak(policy, recorder, state, AT_PEAK_LIVE, event)
    if allocated > totals[PEAK_ALLOCATED]:
        totals[PEAK_ALLOCATED] = allocated
        write_peak(policy, recorder, state, AT_PEAK_ALLOCATED, event)
    if reserved > totals[PEAK_RESERVED]:
        totals[PEAK_RESERVED] = reserved
        write_peak(policy, recorder, state, AT_PEAK_RESERVED, event)
    if event == recorder.sample_events[totals[SAMPLE]]:
        write_row(recorder.samples[totals[SAMPLE]], event, live, ledger, policy.largest_hole(state), policy.releasable(state))
        policy.write_counters(state, recorder.sample_counters[totals[SAMPLE]])
        totals[SAMPLE] += 1
        if event == recorder.class_events[totals[CLASS_SAMPLE]]:
            write_classes(recorder, ledger)


@apart
def write_peak(policy, recorder, state, peak, event):
    largest, releasable = policy.largest_hole(state), policy.releasable(state)
    write_row(recorder.peaks[peak], event, recorder.totals[LIVE], state.ledger, largest, releasable)
    policy.write_counters(state, recorder.peak_counters[peak])


def look_ahead(policy, op, block, i, state, blocks):
    """Fetch what the events to come will read: a block's record, then what the policy keeps of it."""
    prefetch(blocks, block[np.uint64(i + FAR)])
    near, soon = np.uint64(i + NEAR), np.uint64(i + SOON)
    if op[near] == FREE and block[near] >= 0:
        policy.expect(state, record_of(blocks, block[near]).handle)
    if op[soon] == FREE and block[soon] >= 0:
        policy.expect_soon(state, record_of(blocks, block[soon]).handle)


def specialise(policy):
    """The loop of one policy; ``policy`` is the module that ``engine.binding.bind`` makes of it."""

    def replay(op, block, size, align, stream, dst, tag, start, state, blocks, recorder, mode, addresses, reserved):
        """Replay one batch from event ``start`` of it; returns how far it came, and why it stopped."""
        held, counts = hold(state), hold(recorder)
        return through(op, block, size, align, stream, dst, tag, start, held, blocks, counts, mode, addresses, reserved)

    @apart
    def through(op, block, size, align, stream, dst, tag, start, state, blocks, recorder, mode, addresses, reserved):
        totals, ledger = recorder.totals, state.ledger
        aligns, streams, dsts, tags = mask(align), mask(stream), mask(dst), mask(tag)
        ahead = op.size - FAR if blocks.size > CACHED else 0  # events before it look ahead
        for i in range(start, op.size):
            at = np.uint64(i)
            kind, slot = op[at], block[at]
            b = record_of(blocks, max(slot, 0))  # where slot is -1, it is that of no matter which block
            if i < ahead:
                look_ahead(policy, op, block, i, state, blocks)
            if mode.keep and not policy.has_room(policy, state, blocks, recorder):
                return i, NO_ROOM
            # What the event asks for is worked out first: each policy function is compiled in at one place only.
            address = NOTHING
            asks, frees, moves = False, False, 0
            request = make_request(size[at], 0, stream[at & streams], -1, 0)
            old, old_address = request, np.int64(0)
            if kind == ALLOC:
                request = make_request(request.size, align[at & aligns], request.stream, tag[at & tags], b.handle)
                asks = True
            elif kind == TRIM:
                policy.trim(state)
            elif kind == COMPLETE and (slot < 0 or b.status != DEAD):
                request = with_handle(request, b.handle if slot >= 0 else -1)
                policy.complete(state, request, request.stream, b.address if slot >= 0 else NOTHING)
            elif slot < 0:
                pass  # a free of nothing
            elif b.status == DEAD:
                totals[SKIPPED] += 1
            elif kind == FREE:
                old, old_address = request_of(b), b.address
                frees = b.status == PLACED
                if frees:
                    policy.freed_by(state, old, request.stream)
                clear(b, recorder)
                b.status = FREED
            elif kind == REALLOC:
                old, old_address = request_of(b), b.address
                request = make_request(request.size, align[at & aligns], old.stream, old.tag, old.block)
                asks = b.status == EMPTY
                if not asks:
                    address = policy.resize(state, request, old_address, old.size)
                    if address == NOWHERE:
                        request = with_handle(request, totals[SPARE])
                        asks, frees = True, True
                        moves = min(old.size, size[at])
            elif kind == COPY or kind == SWAP:
                other = dst[at & dsts]
                if record_of(blocks, other).status == DEAD:
                    totals[SKIPPED] += 1
                else:
                    smaller = min(b.requested, record_of(blocks, other).requested)
                    moves = moved_bytes(size[at], smaller)
                    if kind == SWAP and mode.swap_scratch:
                        request = make_request(smaller, 0, 0, -1, totals[SPARE])
                        asks, frees = True, True
            elif kind == RECORD:
                address = policy.record(state, request_of(b), request.stream, b.address)
            elif kind == ACCESS:
                policy.access(state, request_of(b), b.address)

            if asks:
                address = ask(policy, state, request, recorder)
            if address == ENLARGE:
                return i, TOO_SMALL
            if kind == ALLOC:
                b.status = DEAD
            failed = address == NOWHERE
            if not failed:
                totals[MOVED] += moves
                if kind == SWAP and frees:
                    old, old_address = request, address
                    frees = address >= 0
                if frees:
                    policy.free(state, old, old_address)
                resized = kind == REALLOC and b.status != DEAD
                if resized:
                    if frees:
                        totals[SPARE] = old.block
                        b.handle = request.block
                    clear(b, recorder)
                if resized or kind == ALLOC:
                    settle(policy, state, blocks, slot, request, address, recorder, mode.keep)
            policy.follow(policy, state, blocks, recorder, mode.keep)

            event = totals[EVENT]
            totals[EVENT] = event + 1
            if mode.keep:
                if address >= 0 and kind == REALLOC:
                    address = b.address  # freeing the old block may have moved the new one
                addresses[at] = address if kind == ALLOC or kind == REALLOC else NOTHING
                reserved[at] = ledger[RESERVED]
            if recorder.measured:
                observe(policy, recorder, state, event)
            elif ledger[RESERVED] > totals[PEAK_RESERVED]:
                totals[PEAK_RESERVED] = ledger[RESERVED]
            if failed:
                totals[FAILED] += 1
                if not mode.skip:
                    totals[OOM_EVENT] = event
                    return i + 1, STOPPED
        return op.size, FINISHED

    return replay
