"""Serve one event: requests are passed to the policy and counted here.

Allocs and frees are served in the loop itself (``engine.loop``); all other events are served here, out of line.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, HOLE_TAKEN, INSPECTED
from memtrace.contract.ops import ACCESS, COMPLETE, COPY, REALLOC, RECORD, SWAP, TRIM
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.engine.blocks import DEAD, PLACED, count_out, make_request, record_block, record_of, request_of, with_handle
from memtrace.engine.recorder import (
    FIT_RATIO,
    FITS,
    MOVED,
    REQUESTS,
    SEARCH_MAX,
    SEARCH_SUM,
    SKIPPED,
    SPARE,
    count_request,
    note_end,
)


class Mode(NamedTuple):
    """How a replay treats failures and swaps, and what it keeps."""

    skip: bool  # a request that fails is skipped; False: it ends the replay
    swap_scratch: bool  # a swap needs a scratch block as large as the smaller of the two
    keep: bool  # every event's address and reserved bytes are kept
    limit: int  # bytes that may be reserved


class Kept(NamedTuple):
    """What the loop keeps of every event of a batch, where the mode says so; else arrays of one element, left as they are."""

    addresses: np.ndarray  # int64[event]: of an alloc or realloc, NOWHERE where it failed; NOTHING for other events
    reserved: np.ndarray  # int64[event]: bytes reserved after the event


def request_block(policy, state, request, recorder):
    """Ask the policy for a block, count the search and the size of the block, and return what the policy answered."""
    ledger = state.ledger
    if recorder.measured:
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
        if inspected > totals[SEARCH_MAX]:
            totals[SEARCH_MAX] = inspected
        if address != NOWHERE:
            count_request(recorder, request.size, ledger[ALLOCATED] - allocated)
            note_end(recorder, address + request.size)
            if ledger[HOLE_TAKEN] > 0:
                totals[FITS] += 1
                recorder.sums[FIT_RATIO] += ledger[HOLE_TAKEN] / ledger[BLOCK_SIZE]
    return address


@out_of_line
def request_block_out_of_line(policy, state, request, recorder):
    """Do what `request_block` does, compiled out of line."""
    return np.int64(request_block(policy, state, request, recorder))


@out_of_line
def free_out_of_line(policy, state, request, address):
    """Call the policy's ``free``, compiled out of line."""
    policy.free(state, request, address)


@out_of_line
def serve(policy, kind, slot, asked, other, state, blocks, recorder, mode):
    """Serve an event that is neither alloc nor free; return the address of a block, NOTHING, NOWHERE or ENLARGE.

    ``kind`` is the op code, ``slot`` the event's block and ``other`` its second block (-1: none). ``asked`` has the event's size,
    alignment and stream.
    """
    totals = recorder.totals
    b = record_of(blocks, max(slot, 0))
    if kind == TRIM:
        policy.trim(state)
    elif kind == COMPLETE and (slot < 0 or b.status != DEAD):
        request = make_request(asked.size, 0, asked.stream, -1, b.handle if slot >= 0 else -1)
        policy.complete(state, request, asked.stream, b.address if slot >= 0 else NOTHING)
    elif slot < 0:
        pass  # it is about nothing
    elif b.status == DEAD or ((kind == COPY or kind == SWAP) and record_of(blocks, other).status == DEAD):
        totals[SKIPPED] += 1
    elif kind == REALLOC:
        return reallocate(policy, slot, asked, state, blocks, recorder, mode.keep)
    elif kind == COPY or kind == SWAP:
        smaller = min(b.requested, record_of(blocks, other).requested)
        if kind == SWAP and mode.swap_scratch:
            request = make_request(smaller, 0, 0, -1, totals[SPARE])
            address = request_block_out_of_line(policy, state, request, recorder)
            if address == ENLARGE or address == NOWHERE:
                return address
            if address >= 0:
                free_out_of_line(policy, state, request, address)
        totals[MOVED] += moved_bytes(asked.size, smaller)
    elif kind == RECORD:
        return np.int64(policy.record(state, request_of(b), asked.stream, b.address))
    elif kind == ACCESS:
        policy.access(state, request_of(b), b.address)
    return np.int64(NOTHING)


@out_of_line
def reallocate(policy, slot, asked, state, blocks, recorder, keep):
    """Resize the block in ``slot`` in place, or else allocate a new block, count the copied bytes, and free the old one.

    Return the address, NOTHING, NOWHERE (the old block stays as it was) or ENLARGE (nothing has changed). ``asked`` has the new
    size and alignment.
    """
    totals = recorder.totals
    b = record_of(blocks, slot)
    old, old_address = request_of(b), b.address
    request, placed = make_request(asked.size, asked.align, old.stream, old.tag, old.block), b.status == PLACED
    address = np.int64(NOWHERE)
    if placed:
        address = np.int64(policy.resize(state, request, old_address, old.size))
        if recorder.measured and address >= 0:
            note_end(recorder, address + request.size)
    if address == NOWHERE:
        if placed:
            request = with_handle(request, totals[SPARE])
        address = request_block_out_of_line(policy, state, request, recorder)
        if address == NOWHERE or address == ENLARGE:
            return address
        if placed:
            totals[MOVED] += min(old.size, request.size)
            free_out_of_line(policy, state, old, old_address)
            totals[SPARE] = old.block
            b.handle = request.block
    if address != ENLARGE:
        count_out(b, recorder)
        record_block(policy, state, blocks, slot, request, address, recorder, keep, False)
    return address


def moved_bytes(size, smaller):
    """Return the bytes that a copy or swap moves: ``size`` if the event gives it, else (-1) those of the smaller block."""
    return size if size >= 0 else smaller
