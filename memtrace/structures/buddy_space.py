"""The space of a buddy system: which blocks are free, and what of them is reserved and so is a hole.

Functions over a state with `bitmaps`, `ledger` and `unit`. Every free block below the reserved end is a hole; one that
the end cuts is a hole as far as it is reserved.
"""

import numpy as np

from memtrace.structures.bits import highest_set, lowest_set
from memtrace.structures.calls import apart
from memtrace.structures.ledger import RESERVED, close_hole, open_hole, resize_hole
from memtrace.structures.order_bitmaps import MASK, free_block_at, lowest_free, set_free, set_used


def give_space(state, start, end):
    """Cut [start, end) into the fewest aligned powers of two, which become free."""
    address = -(-start // (1 << state.unit)) << state.unit
    while address + (1 << state.unit) <= end:
        order = int(highest_set(end - address))
        if address > 0:
            order = min(order, int(lowest_set(np.int64(address))))
        add_free(state, np.int64(order), np.int64(address >> order))
        address += 1 << order


def visible(start, size, reserved):
    """Bytes of a free block that are reserved."""
    return max(min(start + size, reserved) - start, 0)


def add_free(state, order, i):
    set_free(state.bitmaps, order, i)
    size = visible(i << order, 1 << order, state.ledger[RESERVED])
    if size > 0:
        open_hole(state.ledger, size)


def take_free(state, order, i):
    set_used(state.bitmaps, order, i)
    size = visible(i << order, 1 << order, state.ledger[RESERVED])
    if size > 0:
        close_hole(state.ledger, size)


@apart
def change_reserved(state, reserved):
    """Move the top; the free blocks that it uncovers or covers are counted anew."""
    ledger, bitmaps, unit = state.ledger, state.bitmaps, state.unit
    before = ledger[RESERVED]
    address, end = min(before, reserved), max(before, reserved)
    while address < end:
        order = free_block_at(bitmaps, unit, address)
        if order < 0:
            address = ((address >> unit) + 1) << unit
            continue
        start, size = (address >> order) << order, 1 << order
        old, new = visible(start, size, before), visible(start, size, reserved)
        if old == 0:
            open_hole(ledger, new)
        elif new == 0:
            close_hole(ledger, old)
        else:
            resize_hole(ledger, old, new)
        address = start + size
    ledger[RESERVED] = reserved


def largest_hole(state):
    """The largest free block, as far as it is reserved."""
    bitmaps = state.bitmaps
    reserved = state.ledger[RESERVED]
    mask = bitmaps.shape[MASK]
    most = np.int64(0)
    while mask != 0:
        order = highest_set(mask)
        mask &= ~(1 << order)
        most = max(most, visible(lowest_free(bitmaps, order) << order, 1 << order, reserved))
        if most >= 1 << order >> 1:
            break
    return most
