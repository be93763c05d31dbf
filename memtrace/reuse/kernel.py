"""Compiled passes over a trace's events for reuse planning. Memory follows the live set; no function allocates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from memtrace.trace import Op

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS = (int(op) for op in (Op.ALLOC, Op.FREE, Op.REALLOC, Op.COPY, Op.SWAP, Op.ACCESS))

# columns of slots: bytes; event of the alloc (-1: the slot is free); stream; tag; 1: the block can no longer be paired, since
# it is in the place of another or was reallocated
SIZE, BORN, STREAM, TAG, TAKEN = range(5)
LIVE, PLANNED_PEAK, EVENT = range(3)  # places in totals: live bytes, peak with pairs, events so far


@njit(cache=True, nogil=True)
def pair(op, block, size, stream, tag, window, slots, totals, recent, fresh, pairs, peak_event):  # type: ignore[no-untyped-def]
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
def idle_at(op, block, size, dst, tag, event, peak, accesses, live, idle):  # type: ignore[no-untyped-def]
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


def final(totals: Any, recent: Any, window: int) -> int:
    """Return the planned peak of live bytes, when all batches have been through ``pair``: the events in ``recent`` count too."""
    filled = min(int(totals[EVENT]), window + 1)
    return max(int(totals[PLANNED_PEAK]), int(recent[:filled].max(initial=0)))
